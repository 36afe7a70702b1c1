/* Translates a tokenizer's regular expression to PCRE2, or refuses it, and finds its matches for
 * pretokenize.c, normalize.c and tokenizer_added.c. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

struct sol_regex {
    pcre2_code *code;
    pcre2_code *extended; /* for texts with characters that PCRE2 may not know yet: half as fast;
                             NULL: the same */
};

struct sol_regex_scratch {
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

/* ---- Oniguruma's dialect as PCRE2's ---- */

typedef struct category_row {
    const char *category;
    uint32_t first, last;
} category_row;

static const category_row later[] = {
#define SOL_UNICODE16(category, first, last) {category, first, last},
#include "unicode16.def"
#undef SOL_UNICODE16
};

/* Whether text[0, n), valid UTF-8, has one of them. */
static bool has_later(const char *text, size_t n)
{
    enum { BLOCK = 8 };
    for (size_t i = 0; i < n;) {
        uint64_t w;
        if (i + BLOCK <= n && (memcpy(&w, text + i, BLOCK), (w & 0x8080808080808080u) == 0)) {
            i += BLOCK;
            continue;
        }
        uint8_t lead = (uint8_t)text[i];
        size_t len = lead < 0xE0 ? 1 : lead < 0xF0 ? 3 : 4; /* of others no byte matters */
        uint32_t c = len > 1 ? sol_utf8_get(text + i, len) : 0;
        i += len;
        if (c < later[0].first || (c >= 0x3200 && c < 0xA7CB) || (c > 0xA7DC && c < 0x10000))
            continue; /* most of all texts */
        size_t from = 0, to = sizeof later / sizeof *later;
        while (from < to) {
            size_t mid = (from + to) / 2;
            if (c > later[mid].last)
                from = mid + 1;
            else
                to = mid;
        }
        if (from < sizeof later / sizeof *later && c >= later[from].first) return true;
    }
    return false;
}

static const char *const categories[] = {
    "N17", "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",
    "Pc",  "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};

/* White_Space; PCRE2's own \s also takes U+180E. */
#define SPACES "\\t-\\r\\x{85}\\p{Z}"

typedef struct translation {
    const char *source;
    size_t at; /* in source */
    char *out;
    size_t n_out, cap_out;
    bool in_class, extended;
    sol_status st;
    sol_err *err;
} translation;

static void put(translation *t, const char *text, size_t n)
{
    if (t->st == SOL_OK)
        t->st = sol_grow_array((void **)&t->out, &t->cap_out, t->n_out + n + 1, 1, t->err);
    if (t->st != SOL_OK) return;
    memcpy(t->out + t->n_out, text, n);
    t->n_out += n;
    t->out[t->n_out] = 0;
}

static void put_text(translation *t, const char *text)
{
    put(t, text, strlen(text));
}

static void refuse(translation *t, size_t n)
{
    if (t->st == SOL_OK)
        t->st = sol_fail(t->err, SOL_ERR_UNSUPPORTED,
                         "regex '%.200s': '%.*s' at byte %zu is not supported", t->source, (int)n,
                         t->source + t->at, t->at);
}

/* The members of a general category, as they stand inside a class. */
static void put_category(translation *t, const char *name)
{
    bool rust = strcmp(name, "N17") == 0;
    char text[40];
    size_t n = rust ? 1 : strlen(name);
    snprintf(text, sizeof text, "\\p{%.*s}", (int)n, name);
    put_text(t, text);
    if (t->extended)
        for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
            if (strncmp(later[i].category, name, n) != 0 ||
                (strcmp(later[i].category, "N17") == 0 && !rust))
                continue;
            snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", (unsigned)later[i].first,
                     (unsigned)later[i].last);
            put_text(t, text);
        }
}

/* What Oniguruma's \w takes. It asks its table of Latin-1, which has the small digits and the
 * fractions, unless \w stands in a class. */
static void put_word(translation *t)
{
    static const char *const part[] = {"L", "M", "Nd", "Nl", "Pc"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) put_category(t, part[i]);
    if (!t->in_class) put_text(t, "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}");
    put_text(t,
             "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}");
}

/* \p{Name}, \P{Name}, \p{^Name}. */
static void translate_property(translation *t)
{
    const char *s = t->source + t->at, *end = s[2] == '{' ? strchr(s, '}') : NULL;
    bool inverted = s[1] == 'P';
    char name[8] = "";
    if (end && s[3] == '^') inverted = !inverted;
    const char *from = s + 3 + (end && s[3] == '^');
    if (end && (size_t)(end - from) < sizeof name) memcpy(name, from, (size_t)(end - from));
    bool known = strcmp(name, "Han") == 0;
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        known |= strcmp(name, categories[i]) == 0;
    if (!known || (inverted && t->in_class)) {
        refuse(t, end ? (size_t)(end - s) + 1 : 2);
        return;
    }
    bool bare = !t->in_class && !inverted && !t->extended && strcmp(name, "Han") != 0;
    if (bare) { /* faster than a class of one */
        put_category(t, name);
        t->at += (size_t)(end - s) + 1;
        return;
    }
    if (!t->in_class) put_text(t, inverted ? "[^" : "[");
    if (strcmp(name, "Han") == 0)
        put_text(t, "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}");
    else
        put_category(t, name);
    if (!t->in_class) put_text(t, "]");
    t->at += (size_t)(end - s) + 1;
}

/* \s \S \w \W \d \D. */
static void translate_shorthand(translation *t, char c)
{
    bool inverted = c == 'S' || c == 'W' || c == 'D';
    if (c == 'S' && t->in_class) {
        put_text(t, "\\S\\x{180E}"); /* which PCRE2 takes for a blank */
    } else if (inverted && t->in_class) {
        refuse(t, 2);
    } else {
        if (!t->in_class) put_text(t, inverted ? "[^" : "[");
        if (c == 's' || c == 'S')
            put_text(t, SPACES);
        else if (c == 'w' || c == 'W')
            put_word(t);
        else
            put_category(t, "Nd");
        if (!t->in_class) put_text(t, "]");
    }
    t->at += 2;
}

static void translate_escape(translation *t)
{
    const char *s = t->source + t->at;
    char c = s[1];
    bool ascii_hex = c == 'x' && s[2] >= '0' &&
                     s[2] <= '7'; /* a byte from 0x80 on would be a part of a character */
    if (c == 'p' || c == 'P') {
        translate_property(t);
    } else if (c && strchr("sSwWdD", c)) {
        translate_shorthand(t, c);
    } else if (c == 'v') {
        put_text(t, "\\x0B"); /* PCRE2 takes it for more */
        t->at += 2;
    } else if (c && ((uint8_t)c < 0x80
                         ? strchr("nrtfae", c) || ((c == 'A' || c == 'z') && !t->in_class) ||
                               (c == 'x' && s[2] == '{') || ascii_hex ||
                               strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ", c)
                         : false)) {
        put(t, s, 2);
        t->at += 2;
    } else {
        refuse(t, c ? 2 : 1);
    }
}

static bool starts(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static void translate_in_class(translation *t)
{
    const char *s = t->source + t->at;
    if (*s == '[' || starts(s, "&&")) { /* sets of sets */
        refuse(t, *s == '[' ? 1 : 2);
        return;
    }
    if (*s == ']') t->in_class = false;
    put(t, s, 1);
    t->at++;
}

static void open_class(translation *t)
{
    size_t n = 1;
    t->in_class = true;
    if (t->source[t->at + n] == '^') n++;
    if (t->source[t->at + n] == ']') n++;
    put(t, t->source + t->at, n);
    t->at += n;
}

static void translate_outside(translation *t)
{
    static const char *const groups[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    const char *s = t->source + t->at;
    bool fine = *s != '(' || (s[1] != '?' && s[1] != '*') || (t->at == 0 && starts(s, "(?i)"));
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (starts(s, groups[i])) fine = true;
    const char *end = *s == '{' ? strchr(s, '}')
                                : NULL; /* of an interval: neither possessive nor, if fixed, lazy */
    if (end &&
        (s[1] == ',' || end[1] == '+' || (end[1] == '?' && !memchr(s, ',', (size_t)(end - s)))))
        fine = false;
    if (!fine) {
        refuse(t, end ? (size_t)(end - s) + 2 : 3);
        return;
    }
    if (*s == '[') {
        open_class(t);
        return;
    }
    put(t, s, 1);
    t->at++;
}

/* Translates a whole regex; the caller owns *out, after a failure, too. */
static sol_status translate(const char *source, bool extended, char **out, sol_err *err)
{
    translation t = {.source = source, .extended = extended, .err = err};
    put_text(&t, "");
    while (t.st == SOL_OK && source[t.at]) {
        if (source[t.at] == '\\')
            translate_escape(&t);
        else if (t.in_class)
            translate_in_class(&t);
        else
            translate_outside(&t);
    }
    *out = t.out;
    return t.st;
}

static sol_status compile(pcre2_compile_context *context, const char *pattern, const char *source,
                          pcre2_code **code, sol_err *err)
{
    int number;
    PCRE2_SIZE where;
    PCRE2_UCHAR why[128];
    uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C | PCRE2_MULTILINE;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &number, &where,
                          context);
    if (!*code) {
        pcre2_get_error_message(number, why, sizeof why);
        return sol_fail(err, number == PCRE2_ERROR_HEAP_FAILED ? SOL_ERR_NOMEM : SOL_ERR_FORMAT,
                        "regex '%.200s': %s", source, (const char *)why);
    }
    /* Where there is no JIT, pcre2_match interprets: slower, the same matches. */
    pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE);
    return SOL_OK;
}

/* Compiles the regex for common texts and, where it differs, for those with characters that need
 * the extended classes. *pattern and *extended are the caller's to free, after a failure, too. */
static sol_status compile_both(pcre2_compile_context *context, const char *source, sol_regex *r,
                               char **pattern, char **extended, sol_err *err)
{
    SOL_TRY(translate(source, false, pattern, err));
    SOL_TRY(translate(source, true, extended, err));
    SOL_TRY(compile(context, *pattern, source, &r->code, err));
    if (strcmp(*pattern, *extended) == 0) return SOL_OK;
    return compile(context, *extended, source, &r->extended, err);
}

sol_status sol_regex_create(sol_regex **out, const char *source, sol_err *err)
{
    char *pattern = NULL, *extended = NULL;
    size_t n = strlen(source);
    *out = NULL;
    if (n == 0 || n > SOL_REGEX_MAX)
        return sol_fail(err, SOL_ERR_FORMAT, "a regex has %zu bytes: 1 to %d fit", n,
                        SOL_REGEX_MAX);
    if (sol_utf8_valid_prefix(source, n) < n)
        return sol_fail(err, SOL_ERR_FORMAT, "a regex is not UTF-8");
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    sol_status st = context
                        ? compile_both(context, source, *out, &pattern, &extended, err)
                        : sol_fail(err, SOL_ERR_NOMEM, "out of memory for a regular expression");
    sol_free(pattern);
    sol_free(extended);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (st != SOL_OK) sol_regex_free(out);
    return st;
}

void sol_regex_free(sol_regex **rp)
{
    sol_regex *r = *rp;
    if (!r) return;
    pcre2_code_free(r->code);
    pcre2_code_free(r->extended);
    sol_free(r);
    *rp = NULL;
}

bool sol_regex_may_be_empty(const sol_regex *r)
{
    uint32_t yes = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &yes);
    return yes;
}

/* ---- matching ---- */

sol_status sol_regex_scratch_create(sol_regex_scratch **out, sol_err *err)
{
    sol_regex_scratch *s;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&s, 1, sizeof *s, err));
    s->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (s->general) {
        s->match = pcre2_match_data_create(1, s->general);
        s->context = pcre2_match_context_create(s->general);
        s->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX,
                                          s->general); /* NULL without JIT */
    }
    if (!s->match || !s->context) {
        sol_regex_scratch_free(&s);
        return sol_fail(err, SOL_ERR_NOMEM, "out of memory for a regular expression");
    }
    pcre2_set_heap_limit(s->context, HEAP_LIMIT_KIB);
    if (s->stack) pcre2_jit_stack_assign(s->context, NULL, s->stack);
    *out = s;
    return SOL_OK;
}

void sol_regex_scratch_free(sol_regex_scratch **sp)
{
    sol_regex_scratch *s = *sp;
    if (!s) return;
    pcre2_jit_stack_free(s->stack);
    pcre2_match_context_free(s->context);
    pcre2_match_data_free(s->match);
    pcre2_general_context_free(s->general);
    sol_free(s);
    *sp = NULL;
}

static sol_status fail_match(int rc, size_t at, size_t n, sol_err *err)
{
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(rc, why, sizeof why);
    return sol_fail(err, SOL_ERR_RANGE,
                    "the tokenizer's regex fails at byte %zu of a text of %zu bytes: %s", at, n,
                    (const char *)why);
}

sol_status sol_regex_next(const sol_regex *r, sol_regex_scratch *s, const char *text, size_t n,
                          sol_regex_at *m, bool *found, sol_err *err)
{
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(s->match);
    *found = false;
    if (!m->begun) {
        m->begun = true;
        m->code = r->extended && has_later(text, n) ? r->extended : r->code;
    }
    while (m->next <= n) {
        int rc = pcre2_match(m->code, (PCRE2_SPTR)text, n, m->next, PCRE2_NO_UTF_CHECK, s->match,
                             s->context);
        if (rc == PCRE2_ERROR_NOMATCH) return SOL_OK;
        if (rc < 0) return fail_match(rc, m->next, n, err);
        m->from = ovector[0];
        m->to = ovector[1];
        if (m->from < m->next || m->to < m->from)
            return sol_fail(err, SOL_ERR_FORMAT, "the tokenizer's regex moves backwards");
        *found = m->to > m->from || !m->any || m->last_end != m->to;
        if (*found) {
            m->any = true;
            m->next = m->last_end = m->to;
            return SOL_OK;
        }
        m->next++;
        while (m->next < n && ((uint8_t)text[m->next] & 0xC0) == 0x80) m->next++;
    }
    return SOL_OK;
}
