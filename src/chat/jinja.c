/* Jinja: runs the pieces of a template. */
#include "chat/jinja.h"

#include <string.h>

#include "base/mem.h"
#include "chat/jinja_impl.h"

enum { MAX_WORK = 1000000, MAX_MACROS = 20 };

typedef struct work {
    sol_jinja_state j;
    const sol_jinja *t;
    sol_text *out;
    sol_jinja_kind leaving;   /* BREAK or CONTINUE on the way to its loop, else WORDS */
    int macros;               /* at work in each other */
    sol_jinja_block_fn block; /* or NULL */
    void *user;
    const sol_text *result; /* out, unless what is written is captured */
} work;

/* ---- running ---- */

static void run(work *w, size_t from, size_t to);

static void push(work *w)
{
    json_array_append_new(w->j.scopes, sol_jinja_take(&w->j, json_object()));
}

static void pop(work *w)
{
    json_array_remove(w->j.scopes, json_array_size(w->j.scopes) - 1);
}

static void assign(work *w, const char *name, json_t *value)
{
    json_t *scope = json_array_get(w->j.scopes, json_array_size(w->j.scopes) - 1);
    json_object_set_new(scope, name, value);
}

/* Begins to read what a statement says behind its word. */
static void read_piece(work *w, size_t i)
{
    w->j.line = w->t->piece[i].line;
    sol_jinja_read(&w->j, w->t->piece[i].at, w->t->piece[i].to);
}

static void run_output(work *w, size_t i)
{
    read_piece(w, i);
    json_t *v = sol_jinja_expr(&w->j);
    sol_jinja_done(&w->j);
    sol_jinja_print(&w->j, v, w->out);
    json_decref(v);
}

/* Whether the branch that begins with piece i is to run. */
static bool is_taken(work *w, size_t i)
{
    read_piece(w, i);
    bool taken = w->t->piece[i].kind == SOL_JINJA_ELSE;
    if (!taken) {
        json_t *v = sol_jinja_expr(&w->j);
        taken = sol_jinja_truth(&w->j, v);
        json_decref(v);
    }
    sol_jinja_done(&w->j);
    return taken && w->j.status == SOL_OK;
}

static void run_if(work *w, size_t i)
{
    size_t end = w->t->piece[i].end;
    while (i != end && w->j.status == SOL_OK) {
        size_t next = w->t->piece[i].next;
        bool taken = is_taken(w, i);
        if (taken) run(w, i + 1, next);
        i = taken ? end : next;
    }
}

/* One name or two, with a comma between. */
static int read_names(work *w, char name[2][64])
{
    int n = 0;
    do {
        if (n == 2 || !sol_jinja_name(&w->j, name[n])) {
            sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "expected one name or two");
            return 0;
        }
        n++;
    } while (sol_jinja_sign(&w->j, ","));
    return n;
}

static void assign_names(work *w, char name[2][64], int n, json_t *value)
{
    if (n == 1) {
        assign(w, name[0], json_incref(value));
        return;
    }
    if (json_array_size(value) != (size_t)n)
        sol_jinja_fail(&w->j, SOL_ERR_FORMAT, "%d names for something else", n);
    for (int k = 0; k < n && w->j.status == SOL_OK; k++)
        assign(w, name[k], json_incref(json_array_get(value, (size_t)k)));
}

/* The items of v for which the condition holds, which may follow. */
static json_t *items_of_loop(work *w, json_t *v, char name[2][64], int n)
{
    json_t *items = sol_jinja_take(&w->j, json_array()), *item;
    bool filtered = sol_jinja_word(&w->j, "if");
    const char *condition = w->j.at;
    size_t i;
    if (json_is_object(v) && v != w->j.undefined) {
        json_t *keys = sol_jinja_method(&w->j, "keys", v, NULL, 0);
        json_array_extend(items, keys);
        json_decref(keys);
    } else if (json_is_array(v)) {
        json_array_extend(items, v);
    } else if (v != w->j.undefined) {
        sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "a loop over something other than a list");
    }
    if (!filtered) return items;
    json_t *kept = sol_jinja_take(&w->j, json_array());
    json_array_foreach(items, i, item)
    {
        if (w->j.status != SOL_OK) break;
        push(w);
        assign_names(w, name, n, item);
        w->j.at = condition;
        json_t *holds = sol_jinja_expr(&w->j);
        if (sol_jinja_truth(&w->j, holds)) json_array_append(kept, item);
        json_decref(holds);
        pop(w);
    }
    if (json_array_size(items) == 0) w->j.at = w->j.end;
    json_decref(items);
    return kept;
}

static json_t *loop_of(work *w, const json_t *items, size_t i)
{
    size_t n = json_array_size(items);
    json_t *loop = sol_jinja_take(
        &w->j, json_pack("{s:i, s:i, s:i, s:i, s:i, s:b, s:b}", "index", (int)i + 1, "index0",
                         (int)i, "revindex", (int)(n - i), "revindex0", (int)(n - i) - 1, "length",
                         (int)n, "first", i == 0, "last", i + 1 == n));
    json_object_set(loop, "previtem", i > 0 ? json_array_get(items, i - 1) : w->j.undefined);
    json_object_set(loop, "nextitem", i + 1 < n ? json_array_get(items, i + 1) : w->j.undefined);
    return loop;
}

static void run_for(work *w, size_t i)
{
    char name[2][64];
    size_t body = w->t->piece[i].next, end = w->t->piece[i].end;
    read_piece(w, i);
    int n = read_names(w, name);
    if (!sol_jinja_word(&w->j, "in")) sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "expected in");
    json_t *over = sol_jinja_expr_no_if(&w->j);
    json_t *items = items_of_loop(w, over, name, n), *item;
    size_t k;
    bool finished = false; /* an iteration came to its end: then else does not run */
    sol_jinja_done(&w->j);
    json_array_foreach(items, k, item)
    {
        if (w->j.status != SOL_OK || w->leaving == SOL_JINJA_BREAK) break;
        w->leaving = SOL_JINJA_WORDS;
        push(w);
        assign(w, "loop", loop_of(w, items, k));
        assign_names(w, name, n, item);
        run(w, i + 1, body);
        pop(w);
        finished = finished || w->leaving == SOL_JINJA_WORDS;
    }
    w->leaving = SOL_JINJA_WORDS;
    if (!finished && body != end) run(w, body + 1, end);
    json_decref(items);
    json_decref(over);
}

/* What the pieces write, as a string. */
static json_t *captured(work *w, size_t from, size_t to)
{
    sol_text text = {0}, *out = w->out;
    w->out = &text;
    run(w, from, to);
    w->out = out;
    sol_jinja_spend(&w->j, text.n >> 8);
    json_t *v = sol_jinja_take(&w->j, json_stringn_nocheck(text.data ? text.data : "", text.n));
    sol_free(text.data);
    return v;
}

/* {% set name.part = v %} */
static void set_part(work *w, const char *name, const char *part, json_t *v)
{
    json_t *found = NULL, *space;
    size_t i, k = json_array_size(w->j.scopes);
    while (k > 0 && !found) found = json_object_get(json_array_get(w->j.scopes, --k), name);
    json_array_foreach(w->j.spaces, i, space)
    {
        if (space != found) continue;
        sol_jinja_hold(&w->j, v);
        if (json_object_set(space, part, v) == 0) return;
    }
    sol_jinja_fail(&w->j, SOL_ERR_FORMAT, "'%s' is no namespace", name);
}

static void run_set(work *w, size_t i)
{
    char name[2][64], part[64];
    json_t *v;
    read_piece(w, i);
    int n = read_names(w, name);
    if (w->t->piece[i].end) {
        sol_jinja_done(&w->j);
        push(w);
        v = captured(w, i + 1, w->t->piece[i].end);
        pop(w);
        assign_names(w, name, n, v);
        json_decref(v);
        return;
    }
    bool has_part = n == 1 && sol_jinja_sign(&w->j, ".") && sol_jinja_name(&w->j, part);
    if (!sol_jinja_sign(&w->j, "="))
        sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "expected = after the name");
    v = sol_jinja_expr(&w->j);
    if (sol_jinja_sign(&w->j, ",")) sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "a list in set");
    sol_jinja_done(&w->j);
    if (has_part && w->j.status == SOL_OK)
        set_part(w, name[0], part, v);
    else if (w->j.status == SOL_OK)
        assign_names(w, name, n, v);
    json_decref(v);
}

static void run_macro(work *w, size_t i)
{
    char name[64];
    read_piece(w, i);
    if (!sol_jinja_name(&w->j, name))
        sol_jinja_fail(&w->j, SOL_ERR_FORMAT, "a macro without a name");
    else
        json_object_set_new(w->j.macros, name, sol_jinja_take(&w->j, json_integer((json_int_t)i)));
}

/* Gives the parameters of the macro their values. */
static void bind(work *w, json_t **args, int n, json_t *named)
{
    char name[64];
    int k = 0;
    size_t used = 0;
    bool more =
        sol_jinja_name(&w->j, name) && sol_jinja_sign(&w->j, "(") && !sol_jinja_sign(&w->j, ")");
    while (more && w->j.status == SOL_OK) {
        if (!sol_jinja_name(&w->j, name)) break;
        json_t *given = k < n ? args[k] : json_object_get(named, name), *v;
        used += k >= n && given;
        k++;
        v = json_incref(given ? given : w->j.undefined);
        if (sol_jinja_sign(&w->j, "=")) {
            json_t *preset = sol_jinja_expr(&w->j);
            if (!given) json_decref(v), v = json_incref(preset);
            json_decref(preset);
        }
        assign(w, name, v);
        more = sol_jinja_sign(&w->j, ",");
    }
    if (k > 0 && !sol_jinja_sign(&w->j, ")"))
        sol_jinja_fail(&w->j, SOL_ERR_UNSUPPORTED, "expected ) behind the parameters");
    sol_jinja_done(&w->j);
    if (n > k || used < json_object_size(named))
        sol_jinja_fail(&w->j, SOL_ERR_FORMAT, "arguments that the macro does not have");
}

static json_t *call_macro(sol_jinja_state *j, size_t i, json_t **args, int n, json_t *named)
{
    work *w = (work *)j;
    const char *at = j->at, *to = j->end;
    int line = j->line;
    json_t *scopes = j->scopes;
    if (w->macros == MAX_MACROS) return sol_jinja_fail(j, SOL_ERR_RANGE, "macros without end");
    w->macros++;
    j->scopes = sol_jinja_take(j, json_pack("[O, {}]", json_array_get(scopes, 0)));
    read_piece(w, i);
    bind(w, args, n, named);
    json_t *v = captured(w, i + 1, w->t->piece[i].end);
    json_decref(j->scopes);
    j->scopes = scopes;
    w->macros--;
    sol_jinja_read(j, j->status == SOL_OK ? at : to, to);
    j->line = line;
    return v;
}

static void run_generation(work *w, size_t i)
{
    size_t begin = w->out->n;
    push(w);
    run(w, i + 1, w->t->piece[i].end);
    pop(w);
    if (w->block && w->out == w->result && w->j.status == SOL_OK)
        w->j.status = w->block(w->user, begin, w->out->n, w->j.err);
}

/* Runs pieces[from, to). */
static void run(work *w, size_t from, size_t to)
{
    for (size_t i = from; i < to && w->j.status == SOL_OK && w->leaving == SOL_JINJA_WORDS; i++) {
        const sol_jinja_piece *p = &w->t->piece[i];
        switch (p->kind) {
        case SOL_JINJA_TEXT: sol_jinja_write(&w->j, w->out, p->at, (size_t)(p->to - p->at)); break;
        case SOL_JINJA_OUTPUT: run_output(w, i); break;
        case SOL_JINJA_IF: run_if(w, i); break;
        case SOL_JINJA_FOR: run_for(w, i); break;
        case SOL_JINJA_SET: run_set(w, i); break;
        case SOL_JINJA_MACRO: run_macro(w, i); break;
        case SOL_JINJA_GENERATION: run_generation(w, i); break;
        default: w->leaving = p->kind; /* break, continue */
        }
        if (p->end) i = p->end;
    }
}

/* Frees the values of a run, none of them by a deep recursion: what lies in others is older than
 * they are, but for what namespaces hold. These may also hold each other. */
static void free_state(sol_jinja_state *j)
{
    size_t i;
    json_t *space;
    json_decref(j->scopes);
    json_array_foreach(j->spaces, i, space)
    {
        json_object_clear(space);
    }
    for (size_t n = json_array_size(j->inner); n > 0; n--) json_array_remove(j->inner, n - 1);
    json_decref(j->inner);
    json_decref(j->spaces);
    json_decref(j->macros);
    json_decref(j->undefined);
    json_decref(j->function);
}

sol_status sol_jinja_render(const sol_jinja *t, json_t *given, sol_jinja_block_fn block, void *user,
                            sol_text *out, sol_err *err)
{
    work w = {.j = {.err = err, .left = MAX_WORK, .call = call_macro},
              .t = t,
              .out = out,
              .leaving = SOL_JINJA_WORDS,
              .block = block,
              .user = user,
              .result = out};
    sol_jinja_state *j = &w.j;
    j->undefined = sol_jinja_take(j, json_pack("{s:n}", "\x01"));
    j->function = sol_jinja_take(j, json_pack("{s:n}", "\x02"));
    j->scopes = sol_jinja_take(j, json_pack("[o]", json_copy(given)));
    j->macros = sol_jinja_take(j, json_object());
    j->spaces = sol_jinja_take(j, json_array());
    j->inner = sol_jinja_take(j, json_array());
    if (j->status == SOL_OK) run(&w, 0, t->n);
    free_state(j);
    return j->status;
}
