/* Pre-tokenizers: a list of stages that cut text into the words that BPE merges inside of.
 * encode.c runs them. */
#include "text/pretokenize.h"

#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

struct sol_pretok_scratch {
    sol_regex_scratch *regex;
    char *text; /* of the stage that changes it, of which a pre-tokenizer has one */
    size_t cap_text;
};

static sol_status add_stage(sol_pretok *p, sol_stage_kind kind, const char *source,
                            sol_stage **stage, sol_err *err)
{
    *stage = NULL;
    if (p->n == SOL_PRETOK_STAGES)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre-tokenizer has more than %d stages",
                        SOL_PRETOK_STAGES);
    if (kind != SOL_STAGE_SPLIT)
        for (int i = 0; i < p->n; i++)
            if (p->stage[i].kind != SOL_STAGE_SPLIT)
                return sol_fail(err, SOL_ERR_UNSUPPORTED,
                                "pre-tokenizer has two stages that put blanks in front");
    sol_status st = sol_copy_string(&p->stage[p->n].source, source, strlen(source), err);
    *stage = &p->stage[p->n++]; /* also after an error, so that free finds the source */
    (*stage)->kind = kind;
    return st;
}

sol_status sol_pretok_add_split(sol_pretok *p, const char *regex, sol_split split, bool invert,
                                sol_err *err)
{
    sol_stage *s;
    SOL_TRY(add_stage(p, SOL_STAGE_SPLIT, regex, &s, err));
    s->split = split;
    s->invert = invert;
    if (strcmp(regex, SOL_REGEX_DIGIT) == 0)
        regex = "\\p{N17}"; /* Rust is one version of Unicode ahead of Oniguruma */
    if (strcmp(regex, SOL_REGEX_DIGITS) == 0) regex = "\\p{N17}+";
    sol_status st = sol_regex_create(&s->regex, regex, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "pre-tokenizer");
}

sol_status sol_pretok_add(sol_pretok *p, const char *regex, sol_err *err)
{
    return sol_pretok_add_split(p, regex, SOL_SPLIT_ISOLATED, false, err);
}

sol_status sol_pretok_add_prefix_space(sol_pretok *p, sol_err *err)
{
    sol_stage *s;
    return add_stage(p, SOL_STAGE_PREFIX_SPACE, " ", &s, err);
}

sol_status sol_pretok_add_metaspace(sol_pretok *p, const char *space, sol_prepend prepend, bool cut,
                                    sol_err *err)
{
    sol_stage *s;
    SOL_TRY(add_stage(p, SOL_STAGE_METASPACE, space, &s, err));
    s->prepend = prepend;
    s->cut = cut;
    return SOL_OK;
}

void sol_pretok_free(sol_pretok *p)
{
    for (int i = 0; i < p->n; i++) {
        sol_free(p->stage[i].source);
        sol_regex_free(&p->stage[i].regex);
    }
    *p = (sol_pretok){0};
}

typedef struct named_pretok {
    const char *name;
    bool ignore_merges, add_bos, nfc;
    const char *stage[SOL_PRETOK_STAGES]; /* ends with NULL */
} named_pretok;

static const named_pretok named[] = {
#define SOL_PRETOK(name, ignore_merges, add_bos, nfc, ...) \
    {name, ignore_merges, add_bos, nfc, {__VA_ARGS__}},
#include "pretok.def"
#undef SOL_PRETOK
};
enum { N_NAMED = sizeof named / sizeof named[0] };

static sol_status add_stages(sol_pretok *p, const named_pretok *row, sol_err *err)
{
    for (int s = 0; s < SOL_PRETOK_STAGES && row->stage[s]; s++)
        SOL_TRY(sol_pretok_add(p, row->stage[s], err));
    return SOL_OK;
}

sol_status sol_pretok_add_named(sol_pretok *p, const char *name, bool *ignore_merges, bool *add_bos,
                                sol_err *err)
{
    const char *names[N_NAMED];
    char hint[SOL_HINT];
    if (!name) name = "default";
    for (int i = 0; i < N_NAMED; i++) {
        names[i] = named[i].name;
        if (strcmp(name, named[i].name) != 0) continue;
        *ignore_merges = named[i].ignore_merges;
        *add_bos = named[i].add_bos;
        return add_stages(p, &named[i], err);
    }
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre-tokenizer '%.100s' is not known%s", name,
                    sol_name_hint(hint, name, names, N_NAMED, ""));
}

bool sol_pretok_name_means_nfc(const char *name)
{
    for (int i = 0; i < N_NAMED; i++)
        if (name && strcmp(name, named[i].name) == 0) return named[i].nfc;
    return false;
}

bool sol_pretok_is_plain(const sol_pretok *p)
{
    for (int i = 0; i < p->n; i++)
        if (p->stage[i].kind != SOL_STAGE_SPLIT || p->stage[i].split != SOL_SPLIT_ISOLATED)
            return false;
    return true;
}

static bool is_named(const sol_pretok *p, const named_pretok *row)
{
    int s = 0;
    while (s < p->n && row->stage[s] && strcmp(p->stage[s].source, row->stage[s]) == 0) s++;
    return s > 0 && s == p->n && !row->stage[s] && sol_pretok_is_plain(p);
}

bool sol_pretok_is_known(const sol_pretok *p)
{
    return sol_pretok_name(p, false) || sol_pretok_name(p, true);
}

const char *sol_pretok_name(const sol_pretok *p, bool ignore_merges)
{
    for (int i = 0; i < N_NAMED; i++)
        if (named[i].ignore_merges == ignore_merges && is_named(p, &named[i])) return named[i].name;
    return NULL;
}

sol_status sol_pretok_scratch_create(sol_pretok_scratch **out, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_status st = sol_regex_scratch_create(&(*out)->regex, err);
    if (st != SOL_OK) sol_pretok_scratch_free(out);
    return st;
}

void sol_pretok_scratch_free(sol_pretok_scratch **sp)
{
    sol_pretok_scratch *s = *sp;
    if (!s) return;
    sol_regex_scratch_free(&s->regex);
    sol_free(s->text);
    sol_free(s);
    *sp = NULL;
}

sol_regex_scratch *sol_pretok_regex_scratch(sol_pretok_scratch *s)
{
    return s->regex;
}

typedef struct word_sink {
    const sol_pretok *p;
    sol_pretok_scratch *s;
    sol_word_fn fn;
    void *user;
} word_sink;

static sol_status run_stage(const word_sink *k, int stage, const char *text, size_t n,
                            sol_place place, sol_err *err);

/* Cuts a text by one Split stage: takes matches and what lies between them in order, and hands out
 * the pieces that its behavior makes of them. */
typedef struct splitter {
    const word_sink *k;
    int stage;
    const char *text;
    sol_place place;
    size_t from, to; /* the piece that may still grow; empty: none */
    bool held, matched;
} splitter;

static sol_status hand_out(const splitter *s, size_t from, size_t to, sol_err *err)
{
    if (from == to) return SOL_OK;
    return run_stage(s->k, s->stage + 1, s->text + from, to - from,
                     from == 0 ? s->place : SOL_PLACE_BEHIND, err);
}

/* Takes the next piece of the text: hands out the one before, unless the two are joined. */
static sol_status take(splitter *s, size_t from, size_t to, bool match, sol_err *err)
{
    sol_split split = s->k->p->stage[s->stage].split;
    bool joins = split == SOL_SPLIT_MERGED_WITH_PREVIOUS ? match && !s->matched
                 : split == SOL_SPLIT_MERGED_WITH_NEXT   ? !match && s->matched
                 : split == SOL_SPLIT_CONTIGUOUS         ? match == s->matched
                                                         : false;
    if (split == SOL_SPLIT_REMOVED && match) return SOL_OK;
    if (s->held && !joins) SOL_TRY(hand_out(s, s->from, s->to, err));
    if (!s->held || !joins) s->from = from;
    s->to = to;
    s->held = true;
    s->matched = match;
    return SOL_OK;
}

static sol_status run_split(const word_sink *k, int stage, const char *text, size_t n,
                            sol_place place, sol_err *err)
{
    const sol_stage *g = &k->p->stage[stage];
    splitter s = {.k = k, .stage = stage, .text = text, .place = place};
    sol_regex_at m = {0};
    size_t done = 0; /* text before `done` was taken */
    bool found;
    SOL_TRY(sol_regex_next(g->regex, k->s->regex, text, n, &m, &found, err));
    while (found) {
        if (m.from > done) SOL_TRY(take(&s, done, m.from, g->invert, err));
        SOL_TRY(take(&s, m.from, m.to, !g->invert, err));
        done = m.to;
        SOL_TRY(sol_regex_next(g->regex, k->s->regex, text, n, &m, &found, err));
    }
    if (done < n) SOL_TRY(take(&s, done, n, g->invert, err));
    return s.held ? hand_out(&s, s.from, s.to, err) : SOL_OK;
}

/* Does the same for the usual behavior, Isolated, where no piece joins another. Matches go straight
 * to the caller from the last stage. */
static sol_status run_isolated(const word_sink *k, int stage, const char *text, size_t n,
                               sol_place place, sol_err *err)
{
    const sol_stage *g = &k->p->stage[stage];
    splitter s = {.k = k, .stage = stage, .text = text, .place = place};
    bool last = stage + 1 == k->p->n, found;
    sol_regex_at m = {0};
    size_t done = 0;
    SOL_TRY(sol_regex_next(g->regex, k->s->regex, text, n, &m, &found, err));
    while (found) {
        SOL_TRY(hand_out(&s, done, m.from, err));
        if (!last)
            SOL_TRY(hand_out(&s, m.from, m.to, err));
        else if (m.to > m.from)
            SOL_TRY(k->fn(k->user, text + m.from, m.to - m.from, err));
        done = m.to;
        SOL_TRY(sol_regex_next(g->regex, k->s->regex, text, n, &m, &found, err));
    }
    return hand_out(&s, done, n, err);
}

/* Copies a text into the scratch memory with `space` for each blank and, if asked for, in front. */
static sol_status write_spaces(sol_pretok_scratch *s, const char *space, bool in_front,
                               const char **text, size_t *n, sol_err *err)
{
    size_t n_space = strlen(space), blanks = in_front, at = 0, extra;
    for (size_t i = 0; i < *n; i++) blanks += (*text)[i] == ' ';
    if (!blanks) return SOL_OK;
    SOL_TRY(sol_size_mul(blanks, n_space, &extra, err));
    SOL_TRY(sol_grow_bytes(&s->text, &s->cap_text, *n + extra, err));
    if (in_front) at += (memcpy(s->text, space, n_space), n_space);
    for (size_t i = 0; i < *n; i++) {
        if ((*text)[i] == ' ')
            at += (memcpy(s->text + at, space, n_space), n_space);
        else
            s->text[at++] = (*text)[i];
    }
    *text = s->text;
    *n = at;
    return SOL_OK;
}

static sol_status run_metaspace(const word_sink *k, int stage, const char *text, size_t n,
                                sol_place place, sol_err *err)
{
    const sol_stage *g = &k->p->stage[stage];
    size_t n_space = strlen(g->source);
    bool begins = text[0] == ' ' || (n >= n_space && memcmp(text, g->source, n_space) == 0);
    bool in_front = !begins && ((g->prepend == SOL_PREPEND_ALWAYS && place != SOL_PLACE_INSIDE) ||
                                (g->prepend == SOL_PREPEND_FIRST && place == SOL_PLACE_FIRST));
    SOL_TRY(write_spaces(k->s, g->source, in_front, &text, &n, err));
    while (n > 0) {
        const char *next =
            g->cut && n > n_space ? memmem(text + 1, n - 1, g->source, n_space) : NULL;
        size_t len = next ? (size_t)(next - text) : n;
        SOL_TRY(run_stage(k, stage + 1, text, len, place, err));
        place = SOL_PLACE_BEHIND;
        text += len;
        n -= len;
    }
    return SOL_OK;
}

static sol_status run_prefix_space(const word_sink *k, int stage, const char *text, size_t n,
                                   sol_place place, sol_err *err)
{
    if (text[0] == ' ' || place == SOL_PLACE_INSIDE)
        return run_stage(k, stage + 1, text, n, place, err);
    SOL_TRY(sol_grow_bytes(&k->s->text, &k->s->cap_text, n + 1, err));
    k->s->text[0] = ' ';
    memcpy(k->s->text + 1, text, n);
    return run_stage(k, stage + 1, k->s->text, n + 1, place, err);
}

/* Takes valid UTF-8, n > 0, through the stages from `stage` on. */
static sol_status run_stage(const word_sink *k, int stage, const char *text, size_t n,
                            sol_place place, sol_err *err)
{
    if (stage == k->p->n) return k->fn(k->user, text, n, err);
    const sol_stage *g = &k->p->stage[stage];
    if (g->kind == SOL_STAGE_METASPACE) return run_metaspace(k, stage, text, n, place, err);
    if (g->kind == SOL_STAGE_PREFIX_SPACE) return run_prefix_space(k, stage, text, n, place, err);
    return g->split == SOL_SPLIT_ISOLATED ? run_isolated(k, stage, text, n, place, err)
                                          : run_split(k, stage, text, n, place, err);
}

sol_status sol_pretok_run(const sol_pretok *p, sol_pretok_scratch *s, const char *text, size_t n,
                          sol_place place, sol_word_fn fn, void *user, sol_err *err)
{
    word_sink sink = {p, s, fn, user};
    while (n > 0) {
        size_t valid = sol_utf8_valid_prefix(text, n), bad = 0;
        if (valid) SOL_TRY(run_stage(&sink, 0, text, valid, place, err));
        while (valid + bad < n && sol_utf8_char(text + valid + bad, n - valid - bad) == 0) bad++;
        if (bad) SOL_TRY(fn(user, text + valid, bad, err));
        text += valid + bad;
        n -= valid + bad;
        place = SOL_PLACE_BEHIND;
    }
    return SOL_OK;
}
