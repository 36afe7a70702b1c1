#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenize.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct sol_pretok_scratch {
    pcre2_general_context *general;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* Heap of one match outside the JIT, in KiB; the JIT's stack, in bytes. */
enum { HEAP_LIMIT_KIB = 64 << 10, JIT_STACK_START = 32 << 10, JIT_STACK_MAX = 1 << 20 };

static void *pcre_alloc(PCRE2_SIZE size, void *user)
{
    void *block;
    (void)user;
    return sol_alloc_array(&block, size, 1, NULL) == SOL_OK ? block : NULL;
}

static void pcre_free(void *block, void *user)
{
    (void)user;
    sol_free(block);
}

/* Rewrites \s and \S to Unicode's White_Space: PCRE2's own \s also takes U+180E, which Oniguruma does not. */
static sol_status translate(const char *regex, char **out, sol_err *err)
{
    static const char set[] = "\\t-\\r\\x{85}\\p{Z}";
    size_t n = strlen(regex), room, at = 0;
    bool in_class = false;
    sol_status st = sol_size_mul(n + 1, sizeof set + 4, &room, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)out, room, 1, err);
    for (size_t i = 0; st == SOL_OK && i < n; i++) {
        char c = regex[i], next = regex[i + 1];
        if (c == '\\' && (next == 's' || (next == 'S' && !in_class))) {
            const char *before = in_class ? "" : next == 's' ? "[" : "[^";
            at += (size_t)snprintf(*out + at, room - at, "%s%s%s", before, set, in_class ? "" : "]");
            i++;
        } else if (c == '\\' && next) {
            (*out)[at++] = c;
            (*out)[at++] = next;
            i++;
        } else {
            if (c == '[' && !in_class) {
                in_class = true;
                if (next == '^') (*out)[at++] = regex[i++];
                if (regex[i + 1] == ']') (*out)[at++] = regex[i++];
                c = regex[i];
            } else if (c == ']') {
                in_class = false;
            }
            (*out)[at++] = c;
        }
    }
    return st;
}

static sol_status compile(const char *regex, void **code, sol_err *err)
{
    int number;
    PCRE2_SIZE where;
    PCRE2_UCHAR why[128];
    char *translated = NULL;
    sol_status st = SOL_OK;
    *code = NULL;
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    if (!context) {
        st = sol_fail(err, SOL_ERR_NOMEM, "out of memory for a regular expression");
        goto done;
    }
    st = translate(regex, &translated, err);
    if (st != SOL_OK) goto done;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C;
    if (sol_utf8_valid_prefix(translated, strlen(translated)) < strlen(translated)) {
        st = sol_fail(err, SOL_ERR_FORMAT, "pre-tokenizer regex is not UTF-8");
        goto done;
    }
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED, options, &number, &where,
                                  context);
    if (!c) {
        pcre2_get_error_message(number, why, sizeof why);
        st = sol_fail(err, number == PCRE2_ERROR_HEAP_FAILED ? SOL_ERR_NOMEM : SOL_ERR_FORMAT,
                      "pre-tokenizer regex '%.200s': %s", regex, (const char *)why);
        goto done;
    }
    /* Where there is no JIT, pcre2_match interprets: slower, the same matches. */
    pcre2_jit_compile(c, PCRE2_JIT_COMPLETE);
    *code = c;
done:
    sol_free(translated);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return st;
}

sol_status sol_pretok_add(sol_pretok *p, const char *regex, sol_err *err)
{
    size_t n = strlen(regex);
    if (p->n == SOL_PRETOK_STAGES)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre-tokenizer has more than %d stages", SOL_PRETOK_STAGES);
    if (n == 0 || n > SOL_PRETOK_MAX_REGEX)
        return sol_fail(err, SOL_ERR_FORMAT, "pre-tokenizer regex has %zu bytes: 1 to %d fit", n,
                        SOL_PRETOK_MAX_REGEX);
    sol_status st = sol_copy_string(&p->source[p->n], regex, n, err);
    if (st == SOL_OK) st = compile(regex, &p->code[p->n], err);
    p->n++; /* also after an error, so that free finds the source */
    return st;
}

void sol_pretok_free(sol_pretok *p)
{
    for (int i = 0; i < p->n; i++) {
        sol_free(p->source[i]);
        pcre2_code_free(p->code[i]);
    }
    *p = (sol_pretok){0};
}

typedef struct named_pretok {
    const char *name;
    bool ignore_merges, add_bos;
    const char *stage[SOL_PRETOK_STAGES]; /* ends with NULL */
} named_pretok;

static const named_pretok named[] = {
#define SOL_PRETOK(name, ignore_merges, add_bos, ...) {name, ignore_merges, add_bos, {__VA_ARGS__}},
#include "pretok.def"
#undef SOL_PRETOK
};
enum { N_NAMED = sizeof named / sizeof named[0] };

sol_status sol_pretok_add_named(sol_pretok *p, const char *name, bool *ignore_merges, bool *add_bos,
                                sol_err *err)
{
    const char *names[N_NAMED];
    if (!name) name = "default";
    for (int i = 0; i < N_NAMED; i++) {
        names[i] = named[i].name;
        if (strcmp(name, named[i].name) != 0) continue;
        sol_status st = SOL_OK;
        for (int s = 0; st == SOL_OK && s < SOL_PRETOK_STAGES && named[i].stage[s]; s++)
            st = sol_pretok_add(p, named[i].stage[s], err);
        *ignore_merges = named[i].ignore_merges;
        *add_bos = named[i].add_bos;
        return st;
    }
    const char *near = sol_nearest_name(name, names, N_NAMED);
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "pre-tokenizer '%.100s' is not known%s%s%s", name,
                    near ? "; nearest: '" : "", near ? near : "", near ? "'" : "");
}

static bool is_named(const sol_pretok *p, const named_pretok *row)
{
    int s = 0;
    while (s < p->n && row->stage[s] && strcmp(p->source[s], row->stage[s]) == 0) s++;
    return s > 0 && s == p->n && !row->stage[s];
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
    sol_pretok_scratch *s;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&s, 1, sizeof *s, err);
    if (st != SOL_OK) return st;
    s->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (s->general) {
        s->match = pcre2_match_data_create(1, s->general);
        s->context = pcre2_match_context_create(s->general);
        s->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, s->general); /* NULL without JIT */
    }
    if (!s->match || !s->context) {
        sol_pretok_scratch_free(&s);
        return sol_fail(err, SOL_ERR_NOMEM, "out of memory for a regular expression");
    }
    pcre2_set_heap_limit(s->context, HEAP_LIMIT_KIB);
    if (s->stack) pcre2_jit_stack_assign(s->context, NULL, s->stack);
    *out = s;
    return SOL_OK;
}

void sol_pretok_scratch_free(sol_pretok_scratch **sp)
{
    sol_pretok_scratch *s = *sp;
    if (!s) return;
    pcre2_jit_stack_free(s->stack);
    pcre2_match_context_free(s->context);
    pcre2_match_data_free(s->match);
    pcre2_general_context_free(s->general);
    sol_free(s);
    *sp = NULL;
}

typedef struct word_sink {
    const sol_pretok *p;
    sol_pretok_scratch *s;
    sol_word_fn fn;
    void *user;
} word_sink;

static sol_status fail_match(int rc, size_t at, size_t n, sol_err *err)
{
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(rc, why, sizeof why);
    return sol_fail(err, SOL_ERR_RANGE, "the pre-tokenizer regex fails at byte %zu of a text of %zu bytes: %s",
                    at, n, (const char *)why);
}

/* Valid UTF-8 through the stages from `stage` on. */
static sol_status run_stage(const word_sink *k, int stage, const char *text, size_t n, sol_err *err)
{
    if (stage == k->p->n) return k->fn(k->user, text, n, err);
    const pcre2_code *code = k->p->code[stage];
    PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(k->s->match);
    bool last = stage + 1 == k->p->n;
    size_t done = 0, at = 0; /* text before `done` is handed out, the search goes on at `at` */
    while (at < n) {
        int rc = pcre2_match(code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, k->s->match, k->s->context);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return fail_match(rc, at, n, err);
        size_t from = ovector[0], to = ovector[1];
        if (from < at || to < from)
            return sol_fail(err, SOL_ERR_FORMAT, "the pre-tokenizer regex moves backwards");
        if (to == from) { /* an empty match isolates nothing: step over one character */
            at = to + 1;
            while (at < n && ((uint8_t)text[at] & 0xC0) == 0x80) at++;
            continue;
        }
        sol_status st = SOL_OK;
        if (from > done) st = run_stage(k, stage + 1, text + done, from - done, err);
        if (st == SOL_OK)
            st = last ? k->fn(k->user, text + from, to - from, err)
                      : run_stage(k, stage + 1, text + from, to - from, err);
        if (st != SOL_OK) return st;
        done = at = to;
    }
    return done < n ? run_stage(k, stage + 1, text + done, n - done, err) : SOL_OK;
}

sol_status sol_pretok_run(const sol_pretok *p, sol_pretok_scratch *s, const char *text, size_t n,
                          sol_word_fn fn, void *user, sol_err *err)
{
    word_sink sink = {p, s, fn, user};
    sol_status st = SOL_OK;
    while (st == SOL_OK && n > 0) {
        size_t valid = sol_utf8_valid_prefix(text, n), bad = 0;
        if (valid) st = run_stage(&sink, 0, text, valid, err);
        while (valid + bad < n && sol_utf8_char(text + valid + bad, n - valid - bad) == 0) bad++;
        if (st == SOL_OK && bad) st = fn(user, text + valid, bad, err);
        text += valid + bad;
        n -= valid + bad;
    }
    return st;
}

/* Unicode 15, table 3-7. */
size_t sol_utf8_char(const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    uint8_t c = s[0];
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < len) return 0;
    uint8_t lo = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, hi = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < lo || s[1] > hi) return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return len;
}

size_t sol_utf8_valid_prefix(const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        if (i + 8 <= n && (memcpy(&w, s + i, 8), (w & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = sol_utf8_char(text + i, n - i);
        if (!len) break;
        i += len;
    }
    return i;
}
