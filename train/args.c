/* Parses options and positional words by the table of each verb, and prints the usage text from
 * the same table. main.c calls it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "program.h"

const sol_opt sol_common_options[] = {
    {.name = "-t",
     .value = "THREADS",
     .kind = SOL_OPT_INT,
     .offset = offsetof(sol_program, threads),
     .max = 1024,
     .help = "threads; 0: as many as this process may run on"},
    {.name = "-q",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_program, quiet),
     .help = "say on stderr only what went wrong"},
    {.name = "-v",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(sol_program, verbose),
     .help = "say more on stderr"},
    {.name = "--tier",
     .value = "TIER",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_program, tier),
     .preset = "best",
     .choices = "best|c|avx2|avx512|neon",
     .help = "kernels to use"},
    {.name = "--cpu",
     .value = "FEATURES",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(sol_program, cpu),
     .preset = "best",
     .help = "kernels to use, by what they need of the processor: names as avx2,vnni or "
             "no-amx,no-bf16; "
             "`solera version` lists those here"},
    {0},
};

const sol_opt *sol_verb_options(const sol_verb *v)
{
    static const sol_opt none[] = {{0}};
    return v->options ? v->options : none;
}

typedef struct found_opt {
    const sol_opt *opt;
    void *field;
} found_opt;

static found_opt find_option(sol_program *p, void *args, const char *name, size_t n)
{
    for (const sol_opt *o = sol_verb_options(p->verb); o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return (found_opt){o, (char *)args + o->offset};
    for (const sol_opt *o = sol_common_options; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return (found_opt){o, (char *)p + o->offset};
    return (found_opt){0};
}

static sol_status unknown_option(const sol_program *p, const char *word, sol_err *err)
{
    const char *names[64] = {"--help"};
    int n = 1;
    char hint[SOL_HINT];
    for (const sol_opt *o = sol_verb_options(p->verb); o->name && n < 62; o++) names[n++] = o->name;
    for (const sol_opt *o = sol_common_options; o->name; o++) names[n++] = o->name;
    return sol_fail(err, SOL_ERR_USAGE, "unknown option '%s'%s `solera help %s` lists them", word,
                    sol_name_hint(hint, word, names, n, ";"), p->verb->name);
}

static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = choices; *at;) {
        size_t len = strcspn(at, "|");
        if (len == n && memcmp(at, word, n) == 0) return true;
        at += len + (at[len] == '|');
    }
    return false;
}

static sol_status check_range(const sol_opt *o, const char *text, double x, sol_err *err)
{
    if ((o->min == 0 && o->max == 0) || (x >= o->min && x <= o->max)) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE, "option '%s': %s is out of range: %.12g to %.12g", o->name,
                    text, o->min, o->max);
}

static sol_status add_word(sol_words *w, const char *text, sol_err *err)
{
    SOL_TRY(
        sol_grow_array((void **)&w->word, &w->capacity, (size_t)w->n + 1, sizeof *w->word, err));
    w->word[w->n++] = text;
    return SOL_OK;
}

static sol_status set_int(const sol_opt *o, void *field, const char *text, sol_err *err)
{
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (*text == 0 || *end || errno)
        return sol_fail(err, SOL_ERR_USAGE, "option '%s': '%s' is not a whole number that fits",
                        o->name, text);
    *(int64_t *)field = x;
    return check_range(o, text, (double)x, err);
}

static sol_status set_real(const sol_opt *o, void *field, const char *text, sol_err *err)
{
    char *end;
    double x = strtod(text, &end);
    if (*text == 0 || *end || !isfinite(x))
        return sol_fail(err, SOL_ERR_USAGE, "option '%s': '%s' is not a finite number", o->name,
                        text);
    *(double *)field = x;
    return check_range(o, text, x, err);
}

static sol_status set_option(const sol_opt *o, void *field, const char *text, sol_err *err)
{
    char names[256];
    if (o->reads && text && strcmp(text, "-") == 0) text = "/dev/stdin";
    switch (o->kind) {
    case SOL_OPT_FLAG: *(bool *)field = true; return SOL_OK;
    case SOL_OPT_TEXT:
        if (o->choices && !is_choice(o->choices, text))
            return sol_fail(err, SOL_ERR_USAGE, "option '%s': '%s' is none of %s", o->name, text,
                            o->choices);
        *(const char **)field = text;
        return SOL_OK;
    case SOL_OPT_ENUM:
        if (sol_enum_find(o->names, text, strlen(text), field)) return SOL_OK;
        return sol_fail(err, SOL_ERR_USAGE, "option '%s': '%s' is none of %s", o->name, text,
                        sol_enum_list(o->names, "|", "|", names, sizeof names));
    case SOL_OPT_INT: return set_int(o, field, text, err);
    case SOL_OPT_REAL: return set_real(o, field, text, err);
    case SOL_OPT_EACH:
    case SOL_OPT_LIST: return add_word(field, text, err);
    }
    return SOL_OK;
}

static sol_status set_presets(const sol_opt *options, void *base, sol_err *err)
{
    for (const sol_opt *o = options; o->name; o++)
        if (o->preset) SOL_TRY(set_option(o, (char *)base + o->offset, o->preset, err));
    return SOL_OK;
}

/* Takes the option at argv[*i] with its value or values; *i stays on the last word taken. *seen:
 * the table's row. */
static sol_status take_option(sol_program *p, int n, char **argv, int *i, void *args,
                              const sol_opt **seen, sol_err *err)
{
    const char *word = argv[*i];
    size_t name_len = strncmp(word, "--", 2) == 0 ? strcspn(word, "=") : strlen(word);
    found_opt f = find_option(p, args, word, name_len);
    if (!f.opt) return unknown_option(p, word, err);
    *seen = f.opt;
    bool glued = word[name_len] == '=';
    if (f.opt->kind == SOL_OPT_FLAG)
        return glued ? sol_fail(err, SOL_ERR_USAGE, "option '%s' takes no value", f.opt->name)
                     : set_option(f.opt, f.field, NULL, err);
    if (glued) return set_option(f.opt, f.field, word + name_len + 1, err);
    if (*i + 1 >= n)
        return sol_fail(err, SOL_ERR_USAGE, "option '%s' wants a value: %s", f.opt->name,
                        f.opt->value);
    SOL_TRY(set_option(f.opt, f.field, argv[++*i], err));
    while (f.opt->kind == SOL_OPT_LIST && *i + 1 < n &&
           (argv[*i + 1][0] != '-' || !argv[*i + 1][1]))
        SOL_TRY(set_option(f.opt, f.field, argv[++*i], err));
    return SOL_OK;
}

bool sol_args_given(const sol_program *p, const char *names)
{
    const sol_opt *o = sol_verb_options(p->verb);
    for (int i = 0; o[i].name; i++)
        if (p->given[i] && is_choice(names, o[i].name)) return true;
    return false;
}

/* No option is given in vain: it would say that something happened which did not. */
static sol_status check_effect(const sol_program *p, sol_err *err)
{
    const sol_opt *o = sol_verb_options(p->verb);
    for (int i = 0; o->name; i++, o++) {
        if (!p->given[i]) continue;
        if (o->with && !sol_args_given(p, o->with))
            return sol_fail(err, SOL_ERR_USAGE, "option '%s' has no effect without %s", o->name,
                            o->with);
        if (o->without && sol_args_given(p, o->without))
            return sol_fail(err, SOL_ERR_USAGE, "option '%s' has no effect with %s", o->name,
                            o->without);
    }
    return SOL_OK;
}

static sol_status check_complete(const sol_program *p, sol_err *err)
{
    const sol_verb *v = p->verb;
    if (p->n_words < v->min_words)
        return sol_fail(err, SOL_ERR_USAGE, "wants %s; `solera help %s` explains", v->words,
                        v->name);
    for (int i = 0; i < p->n_words; i++)
        if (!*p->word[i])
            return sol_fail(err, SOL_ERR_USAGE,
                            "an empty word in place of %s; `solera help %s` explains", v->words,
                            v->name);
    if (p->n_words > v->max_words && v->max_words > 1)
        return sol_fail(err, SOL_ERR_USAGE, "'%s' is one too many: takes at most %d of %s",
                        p->word[v->max_words], v->max_words, v->words);
    if (p->n_words > v->max_words)
        return sol_fail(err, SOL_ERR_USAGE, "unexpected word '%s'; `solera help %s` explains",
                        p->word[v->max_words], v->name);
    const sol_opt *o = sol_verb_options(v);
    for (int i = 0; o[i].name; i++)
        if (o[i].required && !p->given[i])
            return sol_fail(err, SOL_ERR_USAGE, "wants %s %s (%s)", o[i].name, o[i].value,
                            o[i].help);
    if (p->quiet && p->verbose)
        return sol_fail(err, SOL_ERR_USAGE, "options '-q' and '-v' contradict each other");
    return check_effect(p, err);
}

/* Options into args and *p, the other words into *words. */
static sol_status take_all(sol_program *p, int n, char **argv, void *args, sol_words *words,
                           bool *help, sol_err *err)
{
    bool plain = false;
    SOL_TRY(set_presets(sol_verb_options(p->verb), args, err));
    SOL_TRY(set_presets(sol_common_options, p, err));
    for (int i = 0; i < n; i++) {
        const char *w = argv[i];
        if (!plain && strcmp(w, "--") == 0) {
            plain = true;
        } else if (!plain && (strcmp(w, "--help") == 0 || strcmp(w, "-h") == 0)) {
            *help = true;
        } else if (!plain && w[0] == '-' && w[1]) {
            const sol_opt *seen = NULL, *own = sol_verb_options(p->verb);
            SOL_TRY(take_option(p, n, argv, &i, args, &seen, err));
            for (int k = 0; own[k].name && k < 64; k++)
                if (&own[k] == seen) p->given[k] = true;
        } else {
            SOL_TRY(add_word(words, w, err));
        }
    }
    return SOL_OK;
}

sol_status sol_args_parse(sol_program *p, int n, char **argv, void *args, bool *help, sol_err *err)
{
    sol_words words = {0};
    *help = false;
    sol_status st = take_all(p, n, argv, args, &words, help, err);
    p->word = words.word;
    p->n_words = words.n;
    if (st == SOL_OK && !*help) st = check_complete(p, err);
    return st;
}

void sol_args_free(sol_program *p, void *args)
{
    for (const sol_opt *o = sol_verb_options(p->verb); o->name; o++) {
        if (o->kind != SOL_OPT_EACH && o->kind != SOL_OPT_LIST) continue;
        sol_words *w = (sol_words *)((char *)args + o->offset);
        sol_free(w->word);
        *w = (sol_words){0};
    }
    sol_free(p->word);
    p->word = NULL;
    p->n_words = 0;
}

static void print_options(const sol_opt *options, FILE *to)
{
    for (const sol_opt *o = options; o->name; o++) {
        char left[64], names[256];
        snprintf(left, sizeof left, "%s%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "", o->kind == SOL_OPT_LIST ? "..." : "");
        fprintf(to, "  %-22s %s", left, o->help);
        if (o->choices) fprintf(to, ": %s", o->choices);
        if (o->names) fprintf(to, ": %s", sol_enum_list(o->names, "|", "|", names, sizeof names));
        if (o->preset) fprintf(to, " (default %s)", o->preset);
        if (o->kind == SOL_OPT_EACH) fprintf(to, "; may be given again");
        fputc('\n', to);
    }
}

void sol_verb_usage(const sol_verb *v, FILE *to)
{
    fprintf(to, "solera %s", v->name);
    if (v->words) fprintf(to, " %s", v->words);
    for (const sol_opt *o = sol_verb_options(v); o->name; o++) {
        fprintf(to, o->required ? " %s" : " [%s", o->name);
        if (o->value) fprintf(to, " %s", o->value);
        if (o->kind == SOL_OPT_LIST) fputs("...", to);
        if (!o->required) fputs(o->kind == SOL_OPT_EACH ? "]..." : "]", to);
    }
    fprintf(to, "\n\n%s\n\n", v->summary);
    print_options(sol_verb_options(v), to);
    print_options(sol_common_options, to);
    if (v->details) fprintf(to, "\n%s\n", v->details);
    if (v->takes_model)
        fputs("\nThe directory of a run stands for its best checkpoint, else its newest.\n", to);
}
