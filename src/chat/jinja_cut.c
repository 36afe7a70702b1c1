/* Jinja: cuts a template into pieces (text, {{ outputs }}, {% statements %}) and links the
 * statements that belong together. */
#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "chat/jinja_impl.h"
#include "text/blank.h"

enum { MAX_OPEN = 32 };

static const char *const words[SOL_JINJA_WORDS] = {
    "if",     "elif",  "else",     "endif",      "for",           "endfor", "set",
    "endset", "macro", "endmacro", "generation", "endgeneration", "break",  "continue"};

static sol_status fail(int line, const char *what, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "line %d: %s", line, what);
}

/* ---- cutting ---- */

/* A copy with line ends as "\n" and without the last one. */
static sol_status copy_source(sol_jinja *t, const char *jinja, sol_err *err)
{
    size_t n = 0;
    SOL_TRY(sol_copy_string(&t->source, jinja, strlen(jinja), err));
    for (const char *s = jinja; *s; s++) {
        if (s[0] == '\r' && s[1] == '\n') continue;
        t->source[n++] = *s == '\r' ? '\n' : *s;
    }
    if (n > 0 && t->source[n - 1] == '\n') n--;
    t->source[n] = 0;
    return SOL_OK;
}

static sol_status add_piece(sol_jinja *t, sol_jinja_piece p, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&t->piece, &t->capacity, t->n + 1, sizeof p, err));
    t->piece[t->n++] = p;
    return SOL_OK;
}

/* Where the tag that opens at `at` closes: at "}}", "%}" or "#}", or a sign before it. NULL: it
 * does not. */
static const char *find_close(const char *at)
{
    char last = at[1] == '{' ? '}' : at[1];
    int depth = 0;
    for (const char *s = at + 2; *s; s++) {
        const char *c = *s == '-' || *s == '+' ? s + 1 : s;
        if (depth == 0 && c[0] == last && c[1] == '}') return s;
        if (last == '#') continue;
        if (*s == '"' || *s == '\'') {
            char quote = *s++;
            while (*s && *s != quote) s += *s == '\\' && s[1] ? 2 : 1;
            if (!*s) return NULL;
        }
        depth += (strchr("([{", *s) != NULL) - (strchr(")]}", *s) != NULL);
    }
    return NULL;
}

/* The end of text that stands before a tag, without the blanks that the tag takes away. */
static const char *trim_before(const sol_jinja *t, const char *from, const char *tag)
{
    const char *to = tag;
    if (tag[2] == '-') {
        for (size_t k; (k = sol_blank_last(from, (size_t)(to - from))) > 0;) to -= k;
        return to;
    }
    if (tag[1] == '{' || tag[2] == '+') return tag;
    for (size_t k; to > from && to[-1] != '\n'; to -= k) {
        k = sol_blank_last(from, (size_t)(to - from));
        if (k == 0) return tag;
    }
    bool line_starts = to > from || from == t->source || from[-1] == '\n';
    return line_starts ? to : tag;
}

static const char *trim_behind(const char *close, char kind)
{
    const char *at = close + (*close == '-' || *close == '+' ? 3 : 2);
    if (*close == '-')
        for (size_t k; (k = sol_blank_first(at, strlen(at))) > 0;) at += k;
    else if (*close != '+' && kind != '{' && *at == '\n')
        at++;
    return at;
}

/* A statement: its word is read off. */
static sol_status add_statement(sol_jinja *t, sol_jinja_piece p, sol_err *err)
{
    size_t n = 0;
    while (p.at < p.to && sol_blank_first(p.at, 1)) p.at++;
    while (p.at + n < p.to && isalpha((unsigned char)p.at[n])) n++;
    for (int k = 0; k < SOL_JINJA_WORDS; k++) {
        if (strlen(words[k]) != n || memcmp(words[k], p.at, n) != 0) continue;
        p.kind = (sol_jinja_kind)k;
        p.at += n;
        return add_piece(t, p, err);
    }
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "line %d: the statement '%.*s'", p.line,
                    n < 40 ? (int)n : 40, p.at);
}

static sol_status cut(sol_jinja *t, sol_err *err)
{
    const char *at = t->source;
    int line = 1;
    for (const char *tag = at; *at; tag = at) {
        while (*tag && !(tag[0] == '{' && tag[1] && strchr("{%#", tag[1]))) tag++;
        const char *to = *tag ? trim_before(t, at, tag) : tag;
        sol_jinja_piece text = {SOL_JINJA_TEXT, at, to, line, 0, 0};
        if (to > at) SOL_TRY(add_piece(t, text, err));
        for (; at < tag; at++) line += *at == '\n';
        if (!*tag) break;
        const char *close = find_close(tag), *from = tag + (strchr("-+", tag[2]) ? 3 : 2);
        if (!close) return fail(line, "a tag does not end", err);
        sol_jinja_piece p = {SOL_JINJA_OUTPUT, from < close ? from : close, close, line, 0, 0};
        if (tag[1] == '{') SOL_TRY(add_piece(t, p, err));
        if (tag[1] == '%') SOL_TRY(add_statement(t, p, err));
        const char *next = trim_behind(close, tag[1]);
        for (; at < next; at++) line += *at == '\n';
    }
    return SOL_OK;
}

/* ---- linking ---- */

/* What closes the block that the piece opens; WORDS: it opens none. {% set a %} without a value is
 * a block. */
static sol_jinja_kind close_of(const sol_jinja_piece *p)
{
    switch (p->kind) {
    case SOL_JINJA_IF: return SOL_JINJA_ENDIF;
    case SOL_JINJA_FOR: return SOL_JINJA_ENDFOR;
    case SOL_JINJA_MACRO: return SOL_JINJA_ENDMACRO;
    case SOL_JINJA_GENERATION: return SOL_JINJA_ENDGENERATION;
    case SOL_JINJA_SET:
        return memchr(p->at, '=', (size_t)(p->to - p->at)) ? SOL_JINJA_WORDS : SOL_JINJA_ENDSET;
    default: return SOL_JINJA_WORDS;
    }
}

static bool is_branch(const sol_jinja_piece *p, const sol_jinja_piece *of)
{
    return (p->kind == SOL_JINJA_ELIF && of->kind == SOL_JINJA_IF) ||
           (p->kind == SOL_JINJA_ELSE && (of->kind == SOL_JINJA_IF || of->kind == SOL_JINJA_FOR));
}

/* May a statement stand by itself, in so many loops? */
static bool stands_alone(const sol_jinja_piece *p, int loops)
{
    if (p->kind == SOL_JINJA_BREAK || p->kind == SOL_JINJA_CONTINUE) return loops > 0;
    return p->kind == SOL_JINJA_SET || p->kind >= SOL_JINJA_WORDS;
}

static sol_status link_pieces(sol_jinja *t, sol_err *err)
{
    size_t open[MAX_OPEN], branch[MAX_OPEN], depth = 0;
    int loops = 0;
    for (size_t i = 0; i < t->n; i++) {
        sol_jinja_piece *p = &t->piece[i], *top = depth ? &t->piece[open[depth - 1]] : NULL;
        if (close_of(p) != SOL_JINJA_WORDS) {
            if (depth == MAX_OPEN) return fail(p->line, "it is nested too deeply", err);
            open[depth] = branch[depth] = i;
            depth++;
            loops += p->kind == SOL_JINJA_FOR;
        } else if (top && is_branch(p, top)) {
            t->piece[branch[depth - 1]].next = i;
            branch[depth - 1] = i;
        } else if (top && p->kind == close_of(top)) {
            t->piece[branch[depth - 1]].next = i;
            top->end = i;
            depth--;
            loops -= top->kind == SOL_JINJA_FOR;
        } else if (!stands_alone(p, loops)) {
            return fail(p->line, "a statement outside the block that it belongs to", err);
        }
    }
    return depth ? fail(t->piece[open[depth - 1]].line, "a block does not end", err) : SOL_OK;
}

sol_status sol_jinja_create(sol_jinja **tp, const char *text, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)tp, 1, sizeof **tp, err));
    sol_status st = copy_source(*tp, text, err);
    if (st == SOL_OK) st = cut(*tp, err);
    if (st == SOL_OK) st = link_pieces(*tp, err);
    if (st != SOL_OK) sol_jinja_free(tp);
    return st;
}

void sol_jinja_free(sol_jinja **tp)
{
    if (!*tp) return;
    sol_free((*tp)->source);
    sol_free((*tp)->piece);
    sol_free(*tp);
    *tp = NULL;
}

bool sol_jinja_has_blocks(const sol_jinja *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->piece[i].kind == SOL_JINJA_GENERATION) return true;
    return false;
}
