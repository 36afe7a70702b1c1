/* Pages of wikitext and the cleaning that lm-evaluation-harness applies to them, before
 * plain_text.c encodes them. */
#include <string.h>

#include "base/mem.h"
#include "text/blank.h"
#include "eval/plain_text.h"

int64_t sol_count_words(const char *text, size_t n)
{
    int64_t words = 1;
    bool in_word = true;
    for (size_t i = 0, k; i < n; i += k ? k : 1) {
        k = sol_blank_first(text + i, n - i);
        words += k > 0 && in_word;
        in_word = k == 0;
    }
    return words;
}

/* " = Title = " with one equals sign on each side. */
static bool is_title(const char *line, size_t n)
{
    if (n > 0 && line[n - 1] == '\r') n--;
    return n > 6 && memcmp(line, " = ", 3) == 0 && line[3] != '=' &&
           memcmp(line + n - 3, " = ", 3) == 0 && line[n - 4] != '=';
}

/* Where the title line number `which` (from 0) begins; n: there are not so many. */
static size_t find_title(const char *text, size_t n, int which)
{
    for (size_t i = 0; i < n;) {
        const char *end = memchr(text + i, '\n', n - i);
        size_t next = end ? (size_t)(end - text) + 1 : n, length = end ? next - 1 - i : n - i;
        if (is_title(text + i, length) && which-- == 0) return i;
        i = next;
    }
    return n;
}

bool sol_wikitext_titled(const char *text, size_t n)
{
    return find_title(text, n, 0) < n;
}

size_t sol_wikitext_page(const char *text, size_t n)
{
    return find_title(text, n, 1);
}

/* Adds text[n] with every `from` replaced by `to`. */
static sol_status add_replaced(sol_text *out, const char *text, size_t n, const char *from,
                               const char *to, sol_err *err)
{
    const char *at = text, *end = text + n;
    size_t k = strlen(from);
    for (const char *hit; (hit = memmem(at, (size_t)(end - at), from, k)) != NULL; at = hit + k) {
        SOL_TRY(sol_text_add_bytes(out, err, at, (size_t)(hit - at)));
        SOL_TRY(sol_text_add_bytes(out, err, to, strlen(to)));
    }
    return sol_text_add_bytes(out, err, at, (size_t)(end - at));
}

/* Replaces every `from` in t by `to`, left to right. */
static sol_status replace(sol_text *t, const char *from, const char *to, sol_err *err)
{
    if (!memmem(t->data, t->n, from, strlen(from))) return SOL_OK;
    sol_text out = {0};
    sol_status st = add_replaced(&out, t->data, t->n, from, to, err);
    sol_free(t->data);
    *t = out;
    return st;
}

/* Drops the blanks inside each pair: "( a )" becomes "(a)". What stands between holds no `close`.
 */
static void tighten(sol_text *t, char open, char close)
{
    size_t to = 0;
    for (size_t i = 0; i < t->n;) {
        char *end = t->data[i] == open ? memchr(t->data + i + 1, close, t->n - i - 1) : NULL;
        if (!end) {
            t->data[to++] = t->data[i++];
            continue;
        }
        const char *inner = t->data + i + 1;
        size_t length = (size_t)(end - inner);
        sol_blank_strip(&inner, &length);
        i = (size_t)(end - t->data) + 1;
        t->data[to++] = open;
        memmove(t->data + to, inner, length);
        to += length;
        t->data[to++] = close;
    }
    t->n = to;
    t->data[to] = 0;
}

/* Cleans t in its place, step by step in the harness' order. */
static sol_status clean(sol_text *t, sol_err *err)
{
    static const char *const before[][2] = {
        {"s '", "s'"}, {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."}, {" : ", ": "},
        {" ; ", "; "}, {" . ", ". "},  {" ! ", "! "},  {" ? ", "? "},  {" , ", ", "},
    };
    static const char pairs[][2] = {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
    static const char *const after[][2] = {
        {"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},  {" \xC2\xB0 ", "\xC2\xB0"},
        {" \n", "\n"},       {"\n ", "\n"},    {" N ", " 1 "}, {" 's", "'s"},
    };
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
        SOL_TRY(replace(t, before[i][0], before[i][1], err));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        tighten(t, pairs[i][0], pairs[i][1]);
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++)
        SOL_TRY(replace(t, after[i][0], after[i][1], err));
    return SOL_OK;
}

sol_status sol_wikitext_clean(const char *page, size_t n, sol_text *out, sol_err *err)
{
    sol_text t = {0};
    sol_status st = sol_text_add_bytes(&t, err, page, n);
    if (st == SOL_OK) st = clean(&t, err);
    if (st == SOL_OK) st = sol_text_add_bytes(out, err, t.data, t.n);
    sol_free(t.data);
    return st;
}
