/* Finds the text of a JSON value without building a tree of it, because docs.c decodes millions. */
#include "text/jsontext.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "text/filekind.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 1000 };

typedef struct parser {
    char *at, *end;
    const char *why; /* of the first failure, at `at` */
    char names[160]; /* of fields that hold strings, for the error when none is "text" */
} parser;

static bool fail(parser *p, const char *why)
{
    if (!p->why) p->why = why;
    return false;
}

static void skip_blanks(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take(parser *p, char c)
{
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

/* Four hexadecimal digits at s; -1: there are none. */
static int32_t hex4(const char *s, const char *end)
{
    int32_t x = 0;
    if (end - s < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int32_t digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
        if (digit < 0) return -1;
        x = x * 16 + digit;
    }
    return x;
}

/* Takes the escape at p->at, behind its backslash, and returns its character. */
static bool escape(parser *p, uint32_t *rune, bool strict)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end) return fail(p, "the string is not closed");
    const char *c = *p->at ? strchr(from, *p->at) : NULL;
    if (c) {
        *rune = (uint8_t)to[c - from];
        p->at++;
        return true;
    }
    int32_t x = *p->at == 'u' ? hex4(p->at + 1, p->end) : -1, low;
    if (x < 0) return fail(p, "not an escape of JSON");
    *rune = (uint32_t)x;
    if (x >= 0xD800 && x < 0xE000) {
        bool pair = x < 0xDC00 && p->end - p->at >= 11 && p->at[5] == '\\' && p->at[6] == 'u';
        low = pair ? hex4(p->at + 7, p->end) : -1;
        pair = low >= 0xDC00 && low < 0xE000;
        if (!pair && strict) return fail(p, "half of a surrogate pair is no character");
        if (pair) *rune = 0x10000 + (((uint32_t)x - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
        if (pair) p->at += 6;
    }
    p->at += 5;
    return true;
}

/* Moves over characters that stand for themselves, up to a quote or a backslash. */
static bool plain_run(parser *p, bool strict)
{
    while (p->at < p->end && *p->at != '"' && *p->at != '\\') {
        uint8_t c = (uint8_t)*p->at;
        size_t n = 1;
        if (c < 0x20) return fail(p, "a control character in a string");
        if (c >= 0x80 && strict && (n = sol_utf8_char(p->at, (size_t)(p->end - p->at))) == 0)
            return fail(p, "a byte that is no UTF-8: " SOL_TEXT_RECODE);
        p->at += n;
    }
    return true;
}

/* Takes a string and decodes it in place into *text; NULL: it is only checked, and its characters
 * need not be Unicode. */
static bool string(parser *p, sol_span *text)
{
    char *begin = p->at + 1, *out = begin;
    if (!take(p, '"')) return fail(p, "a string is expected");
    for (;;) {
        char *run = p->at;
        uint32_t rune;
        if (!plain_run(p, text != NULL)) return false;
        if (text && out != run) memmove(out, run, (size_t)(p->at - run));
        out += p->at - run;
        if (!take(p, '\\')) break;
        if (!escape(p, &rune, text != NULL)) return false;
        if (text) out += sol_utf8_put(rune, out);
    }
    if (text) *text = (sol_span){begin, (size_t)(out - begin)};
    return take(p, '"') || fail(p, "the string is not closed");
}

static bool word(parser *p, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, text, n) != 0) return false;
    p->at += n;
    return true;
}

static bool digits(parser *p)
{
    char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return p->at > from;
}

static bool number(parser *p)
{
    take(p, '-');
    if (word(p, "Infinity")) return true;
    char *first = p->at;
    if (!digits(p) || (*first == '0' && p->at - first > 1)) return fail(p, "a value is expected");
    if (take(p, '.') && !digits(p)) return fail(p, "a digit is expected");
    if (take(p, 'e') || take(p, 'E')) {
        if (!take(p, '+')) take(p, '-');
        if (!digits(p)) return fail(p, "a digit is expected");
    }
    return true;
}

static bool skip_value(parser *p, int depth);

/* Takes the members of an object or the items of an array, behind its bracket. */
static bool skip_inside(parser *p, char close, int depth)
{
    if (depth == MAX_DEPTH) return fail(p, "nested too deeply");
    skip_blanks(p);
    if (take(p, close)) return true;
    do {
        skip_blanks(p);
        if (close == '}' && !string(p, NULL)) return false;
        skip_blanks(p);
        if (close == '}' && !take(p, ':')) return fail(p, "':' is expected");
        if (!skip_value(p, depth + 1)) return false;
        skip_blanks(p);
    } while (take(p, ','));
    return take(p, close) ||
           fail(p, close == '}' ? "',' or '}' is expected" : "',' or ']' is expected");
}

static bool skip_value(parser *p, int depth)
{
    skip_blanks(p);
    if (p->at == p->end) return fail(p, "it ends before a value");
    if (*p->at == '"') return string(p, NULL);
    if (take(p, '{')) return skip_inside(p, '}', depth);
    if (take(p, '[')) return skip_inside(p, ']', depth);
    return word(p, "true") || word(p, "false") || word(p, "null") || word(p, "NaN") || number(p);
}

static const char *kind_at(const parser *p)
{
    switch (p->at < p->end ? *p->at : 0) {
    case '"': return NULL;
    case '{': return "an object";
    case '[': return "an array";
    case 't':
    case 'f': return "a truth value";
    case 'n': return "null";
    default: return "a number";
    }
}

/* Remembers the name of a field that holds a string, where it can be shown. */
static void add_name(parser *p, sol_span key)
{
    size_t used = strlen(p->names);
    for (size_t i = 0; i < key.n; i++)
        if ((uint8_t)key.at[i] < 0x20 || key.at[i] == 0x7F) return;
    if (key.n > 40 || used + key.n + 6 > sizeof p->names) return;
    snprintf(p->names + used, sizeof p->names - used, "%s\"%.*s\"", used ? ", " : "", (int)key.n,
             key.at);
}

/* Takes the members of the object, behind its bracket. *what: the kind of value under "text"; NULL:
 * a string, or nothing. */
static bool object(parser *p, sol_span *text, const char **what)
{
    skip_blanks(p);
    if (take(p, '}')) return true;
    do {
        sol_span key;
        skip_blanks(p);
        if (!string(p, &key)) return false;
        skip_blanks(p);
        if (!take(p, ':')) return fail(p, "':' is expected");
        skip_blanks(p);
        const char *kind = kind_at(p);
        bool wanted = key.n == 4 && memcmp(key.at, "text", 4) == 0;
        if (wanted) *text = (sol_span){0};
        if (wanted) *what = kind;
        if (!wanted && !kind) add_name(p, key);
        if (wanted && !kind ? !string(p, text) : !skip_value(p, 1)) return false;
        skip_blanks(p);
    } while (take(p, ','));
    return take(p, '}') || fail(p, "',' or '}' is expected");
}

sol_status sol_json_text(char *json, size_t n, const char *name, int64_t line, sol_span *text,
                         sol_err *err)
{
    parser p = {.at = json, .end = json + n};
    const char *what = NULL;
    *text = (sol_span){0};
    skip_blanks(&p);
    const char *top = kind_at(&p);
    bool ok = !top ? string(&p, text) : take(&p, '{') ? object(&p, text, &what) : skip_value(&p, 0);
    skip_blanks(&p);
    if (ok && p.at < p.end) ok = fail(&p, "something follows the value");
    if (!ok)
        return sol_fail(err, SOL_ERR_FORMAT, "%s:%lld:%lld: not a JSON object: %s", name,
                        (long long)line, (long long)(p.at - json) + 1,
                        p.at == p.end
                            ? "it ends early; a value stands on one line, as `jq -c .` writes it"
                            : p.why);
    if (text->at) return SOL_OK;
    if (what)
        return sol_fail(err, SOL_ERR_FORMAT, "%s:%lld: no string under \"text\": it is %s", name,
                        (long long)line, what);
    if (top && strcmp(top, "an object") != 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s:%lld: no string under \"text\": the value is %s, not an object", name,
                        (long long)line, top);
    return sol_fail(
        err, SOL_ERR_FORMAT,
        "%s:%lld: no string under \"text\"%s%s%s; `solera tokenize --format chat` reads "
        "conversations",
        name, (long long)line, p.names[0] ? ": strings are under " : "", p.names,
        p.names[0] ? "; rename one, as `jq -c '{text: .NAME}'` does"
                   : ": {\"text\": \"...\"} is expected");
}
