/* Normalizers of tokenizers: a list of steps that change a text before it is cut into words.
 * encode.c runs them. */
#include "text/normalize.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/utf8.h"

static sol_status add_step(sol_normalizer *z, sol_normal_kind kind, sol_normal_step **step,
                           sol_err *err)
{
    *step = NULL;
    if (z->n == SOL_NORMAL_STEPS)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "normalizer has more than %d steps",
                        SOL_NORMAL_STEPS);
    *step = &z->step[z->n++];
    (*step)->kind = kind;
    return SOL_OK;
}

sol_status sol_normalizer_add(sol_normalizer *z, sol_normal_kind kind, sol_err *err)
{
    sol_normal_step *s;
    return add_step(z, kind, &s, err);
}

sol_status sol_normalizer_add_prepend(sol_normalizer *z, const char *content, sol_err *err)
{
    sol_normal_step *s;
    SOL_TRY(add_step(z, SOL_NORMAL_PREPEND, &s, err));
    return sol_copy_string(&s->content, content, strlen(content), err);
}

sol_status sol_normalizer_add_strip(sol_normalizer *z, bool left, bool right, sol_err *err)
{
    sol_normal_step *s;
    SOL_TRY(add_step(z, SOL_NORMAL_STRIP, &s, err));
    s->left = left;
    s->right = right;
    return SOL_OK;
}

sol_status sol_normalizer_add_replace(sol_normalizer *z, const char *find, const char *regex,
                                      const char *content, sol_err *err)
{
    sol_normal_step *s;
    SOL_TRY(add_step(z, SOL_NORMAL_REPLACE, &s, err));
    SOL_TRY(sol_copy_string(&s->content, content, strlen(content), err));
    if (find) SOL_TRY(sol_copy_string(&s->find, find, strlen(find), err));
    if (!find) SOL_TRY(sol_regex_create(&s->regex, regex, err));
    return SOL_OK;
}

void sol_normalizer_free(sol_normalizer *z)
{
    for (int i = 0; i < z->n; i++) {
        sol_free(z->step[i].find);
        sol_free(z->step[i].content);
        sol_regex_free(&z->step[i].regex);
    }
    *z = (sol_normalizer){0};
}

void sol_normal_scratch_free(sol_normal_scratch *s)
{
    sol_free(s->text[0]);
    sol_free(s->text[1]);
    sol_free(s->runes);
    *s = (sol_normal_scratch){0};
}

/* A step at work: it reads text[0, n) and, as soon as something differs, writes the whole text to
 * out. */
typedef struct rewrite {
    const char *text;
    size_t n;
    char **out;
    size_t *cap, n_out;
    bool changed;
    sol_normal_scratch *s;
    sol_regex_scratch *regex;
} rewrite;

static sol_status put(rewrite *r, const char *text, size_t n, sol_err *err)
{
    SOL_TRY(sol_grow_bytes(r->out, r->cap, r->n_out + n, err));
    if (n) memcpy(*r->out + r->n_out, text, n);
    r->n_out += n;
    return SOL_OK;
}

static sol_status prepend(rewrite *r, const sol_normal_step *p, sol_err *err)
{
    if (r->n == 0) return SOL_OK;
    r->changed = true;
    SOL_TRY(put(r, p->content, strlen(p->content), err));
    return put(r, r->text, r->n, err);
}

static sol_status replace_string(rewrite *r, const sol_normal_step *p, sol_err *err)
{
    size_t n_find = strlen(p->find), n_content = strlen(p->content), done = 0;
    const char *hit;
    while (done < r->n && (hit = memmem(r->text + done, r->n - done, p->find, n_find)) != NULL) {
        size_t at = (size_t)(hit - r->text);
        r->changed = true;
        SOL_TRY(put(r, r->text + done, at - done, err));
        SOL_TRY(put(r, p->content, n_content, err));
        done = at + n_find;
    }
    return r->changed ? put(r, r->text + done, r->n - done, err) : SOL_OK;
}

/* Replaces the matches in one run of valid UTF-8. */
static sol_status replace_matches(rewrite *r, const sol_normal_step *p, const char *text, size_t n,
                                  sol_err *err)
{
    sol_regex_at m = {0};
    size_t done = 0;
    bool found;
    if (n == 0) return SOL_OK;
    SOL_TRY(sol_regex_next(p->regex, r->regex, text, n, &m, &found, err));
    while (found) {
        SOL_TRY(put(r, text + done, m.from - done, err));
        SOL_TRY(put(r, p->content, strlen(p->content), err));
        done = m.to;
        SOL_TRY(sol_regex_next(p->regex, r->regex, text, n, &m, &found, err));
    }
    return put(r, text + done, n - done, err);
}

static sol_status replace_regex(rewrite *r, const sol_normal_step *p, sol_err *err)
{
    r->changed = true;
    for (size_t at = 0; at < r->n;) {
        size_t valid = sol_utf8_valid_prefix(r->text + at, r->n - at);
        SOL_TRY(replace_matches(r, p, r->text + at, valid, err));
        at += valid;
        if (at == r->n) break;
        SOL_TRY(put(r, r->text + at, 1, err));
        at++;
    }
    return SOL_OK;
}

static void strip(rewrite *r, const sol_normal_step *p)
{
    size_t len;
    while (p->left && r->n > 0 && (len = sol_utf8_char(r->text, r->n)) > 0 &&
           sol_is_space(sol_utf8_get(r->text, len))) {
        r->text += len;
        r->n -= len;
    }
    while (p->right && r->n > 0) {
        size_t at = r->n - 1;
        while (at > 0 && r->n - at < 4 && ((uint8_t)r->text[at] & 0xC0) == 0x80) at--;
        len = sol_utf8_char(r->text + at, r->n - at);
        if (len != r->n - at || !sol_is_space(sol_utf8_get(r->text + at, len))) return;
        r->n = at;
    }
}

/* Rust's to_lowercase, which is that of Unicode 17. The table has what utf8proc may not know yet;
 * U+0130 alone becomes two characters. */
size_t sol_letter_lower(uint32_t c, char out[8])
{
    static const struct {
        uint32_t first, last, to;
    } more[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                {0x16EA0, 0x16EB8, 0x16EBB}};
    if (c == 0x130) return sol_utf8_put('i', out) + sol_utf8_put(0x307, out + 1);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (c >= more[i].first && c <= more[i].last)
            return sol_utf8_put(more[i].to + (c - more[i].first), out);
    return sol_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), out);
}

static sol_status lowercase(rewrite *r, sol_err *err)
{
    r->changed = true;
    for (size_t i = 0; i < r->n;) {
        char out[8];
        size_t len = sol_utf8_char(r->text + i, r->n - i);
        if (len)
            SOL_TRY(put(r, out, sol_letter_lower(sol_utf8_get(r->text + i, len), out), err));
        else
            SOL_TRY(put(r, r->text + i, 1, err));
        i += len ? len : 1;
    }
    return SOL_OK;
}

/* ---- NFC and its relatives ---- */

/* `tokenizers` normalizes as Unicode 9 has it. A character in this table got its decomposition or
 * its combining class later, or is half of a composition that came later: it stays as it is, and
 * nothing moves or joins across it. */
static bool is_barrier(uint32_t c)
{
    static const uint32_t range[][2] = {
        {0x558, 0x558},     {0x58B, 0x58C},     {0x5C8, 0x5C9},     {0x7FD, 0x7FD},
        {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
        {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1AF0},
        {0x1DF6, 0x1DFA},   {0x209D, 0x209F},   {0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},
        {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x105C9, 0x105C9}, {0x105D2, 0x105D2},
        {0x105DA, 0x105DA}, {0x105E4, 0x105E4}, {0x10781, 0x10785}, {0x10787, 0x107B0},
        {0x107B2, 0x107BF}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC},
        {0x10ECB, 0x10ECF}, {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
        {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11382, 0x11385},
        {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x11391}, {0x113B8, 0x113B8},
        {0x113BB, 0x113BB}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113C9},
        {0x113CE, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
        {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
        {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
        {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
        {0x1611E, 0x16129}, {0x1612F, 0x1612F}, {0x16D63, 0x16D63}, {0x16D67, 0x16D6A},
        {0x16FF0, 0x16FF1}, {0x1B123, 0x1B126}, {0x1CCD6, 0x1CCF9}, {0x1D127, 0x1D128},
        {0x1D250, 0x1D252}, {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F}, {0x1D280, 0x1D281},
        {0x1D6A6, 0x1D6A6}, {0x1DF95, 0x1DF95}, {0x1DFCD, 0x1DFFF}, {0x1E030, 0x1E06D},
        {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
        {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6},
        {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
    size_t from = 0, to = sizeof range / sizeof *range;
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (c > range[mid][1])
            from = mid + 1;
        else
            to = mid;
    }
    return from < sizeof range / sizeof *range && c >= range[from][0];
}

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

typedef struct mark {
    int32_t c, order;
} mark;

static int by_class(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    int d = combining_class(x->c) - combining_class(y->c);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* Brings marks into canonical order: by their combining class, equal ones as they stand. */
static sol_status order_marks(int32_t *c, size_t n, sol_err *err)
{
    mark few[32], *marks = few;
    if (n < 2) return SOL_OK;
    if (n > sizeof few / sizeof *few)
        SOL_TRY(sol_alloc_array((void **)&marks, n, sizeof *marks, err));
    for (size_t i = 0; i < n; i++) marks[i] = (mark){c[i], (int32_t)i};
    qsort(marks, n, sizeof *marks, by_class);
    for (size_t i = 0; i < n; i++) c[i] = marks[i].c;
    if (marks != few) sol_free(marks);
    return SOL_OK;
}

/* Decomposes the valid characters text[0, n) into s->runes. */
static sol_status decompose(sol_normal_scratch *s, const char *text, size_t n, int options,
                            size_t *n_runes, sol_err *err)
{
    enum { MAX_RUNES = 32 }; /* the longest decomposition has 18 */
    size_t at = 0, first_mark = 0;
    for (size_t i = 0; i < n;) {
        int bound = 0;
        size_t len = sol_utf8_char(text + i, n - i);
        SOL_TRY(sol_grow_array((void **)&s->runes, &s->cap_runes, at + MAX_RUNES, sizeof *s->runes,
                               err));
        utf8proc_ssize_t got =
            utf8proc_decompose_char((utf8proc_int32_t)sol_utf8_get(text + i, len), s->runes + at,
                                    MAX_RUNES, (utf8proc_option_t)options, &bound);
        for (utf8proc_ssize_t k = 0; k < got; k++, at++) {
            if (combining_class(s->runes[at]) != 0) continue;
            SOL_TRY(order_marks(s->runes + first_mark, at - first_mark, err));
            first_mark = at + 1;
        }
        i += len;
    }
    *n_runes = at;
    return order_marks(s->runes + first_mark, at - first_mark, err);
}

static sol_status normalize_run(rewrite *r, sol_normal_kind kind, const char *text, size_t n,
                                sol_err *err)
{
    bool compose = kind == SOL_NORMAL_NFC || kind == SOL_NORMAL_NFKC,
         compat = kind == SOL_NORMAL_NFKC || kind == SOL_NORMAL_NFKD;
    size_t n_runes;
    SOL_TRY(decompose(r->s, text, n,
                      UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0),
                      &n_runes, err));
    if (compose)
        n_runes = (size_t)utf8proc_normalize_utf32(r->s->runes, (utf8proc_ssize_t)n_runes,
                                                   UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (size_t i = 0; i < n_runes; i++) {
        char out[4];
        SOL_TRY(put(r, out, sol_utf8_put((uint32_t)r->s->runes[i], out), err));
    }
    return SOL_OK;
}

/* How many bytes at the start of text[0, n) stay as they are: invalid ones, barriers, and ASCII in
 * front of ASCII or the end. */
static size_t inert(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint8_t c = (uint8_t)text[i];
        size_t len = c < 0x80 ? 1 : sol_utf8_char(text + i, n - i);
        if (c < 0x80 && i + 1 < n && (uint8_t)text[i + 1] >= 0x80 &&
            sol_utf8_char(text + i + 1, n - i - 1) > 0 &&
            !is_barrier(sol_utf8_get(text + i + 1, sol_utf8_char(text + i + 1, n - i - 1))))
            break;
        if (c >= 0x80 && len > 0 && !is_barrier(sol_utf8_get(text + i, len))) break;
        i += len ? len : 1;
    }
    return i;
}

/* How many bytes at the start of text[0, n) may change one another: a character of any kind, then
 * all that are neither ASCII nor inert. */
static size_t active(const char *text, size_t n)
{
    size_t i = sol_utf8_char(text, n);
    while (i < n && (uint8_t)text[i] >= 0x80) {
        size_t len = sol_utf8_char(text + i, n - i);
        if (!len || is_barrier(sol_utf8_get(text + i, len))) break;
        i += len;
    }
    return i;
}

static sol_status normalize(rewrite *r, sol_normal_kind kind, sol_err *err)
{
    size_t same = inert(r->text, r->n);
    if (same == r->n) return SOL_OK;
    r->changed = true;
    for (size_t i = 0; i < r->n;) {
        SOL_TRY(put(r, r->text + i, same, err));
        i += same;
        size_t n = i < r->n ? active(r->text + i, r->n - i) : 0;
        if (n) SOL_TRY(normalize_run(r, kind, r->text + i, n, err));
        i += n;
        same = inert(r->text + i, r->n - i);
    }
    return SOL_OK;
}

static sol_status run_step(rewrite *r, const sol_normal_step *p, sol_err *err)
{
    switch (p->kind) {
    case SOL_NORMAL_PREPEND: return prepend(r, p, err);
    case SOL_NORMAL_REPLACE: return p->find ? replace_string(r, p, err) : replace_regex(r, p, err);
    case SOL_NORMAL_STRIP: strip(r, p); return SOL_OK;
    case SOL_NORMAL_LOWERCASE: return lowercase(r, err);
    default: return normalize(r, p->kind, err);
    }
}

sol_status sol_normalizer_run(const sol_normalizer *z, sol_normal_scratch *s,
                              sol_regex_scratch *regex, bool begins, const char **text, size_t *n,
                              sol_err *err)
{
    int to = 0; /* the buffer that the next step writes to */
    for (int i = 0; i < z->n; i++) {
        rewrite r = {.text = *text,
                     .n = *n,
                     .out = &s->text[to],
                     .cap = &s->cap_text[to],
                     .s = s,
                     .regex = regex};
        if (begins || z->step[i].kind != SOL_NORMAL_PREPEND)
            SOL_TRY(run_step(&r, &z->step[i], err));
        *text = r.changed ? s->text[to] : r.text;
        *n = r.changed ? r.n_out : r.n;
        to ^= r.changed;
    }
    return SOL_OK;
}
