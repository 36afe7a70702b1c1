/* A template and a run of it: jinja_cut.c cuts it into pieces, jinja.c runs them, jinja_expr.c
 * evaluates expressions, jinja_value.c has what can be done with values, jinja_state.c what all of
 * them need. A value is a tree of jansson, owned by who got it and never NULL: after a failure,
 * which `status` keeps, values are null and nothing is evaluated any more. */
#ifndef SOLERA_CHAT_JINJA_IMPL_H
#define SOLERA_CHAT_JINJA_IMPL_H

#include "chat/jinja.h"

#include <stdbool.h>

typedef enum {
    SOL_JINJA_IF,
    SOL_JINJA_ELIF,
    SOL_JINJA_ELSE,
    SOL_JINJA_ENDIF,
    SOL_JINJA_FOR,
    SOL_JINJA_ENDFOR,
    SOL_JINJA_SET,
    SOL_JINJA_ENDSET,
    SOL_JINJA_MACRO,
    SOL_JINJA_ENDMACRO,
    SOL_JINJA_GENERATION,
    SOL_JINJA_ENDGENERATION,
    SOL_JINJA_BREAK,
    SOL_JINJA_CONTINUE,
    SOL_JINJA_WORDS, /* of statements, in this order */
    SOL_JINJA_TEXT = SOL_JINJA_WORDS,
    SOL_JINJA_OUTPUT
} sol_jinja_kind;

typedef struct sol_jinja_piece {
    sol_jinja_kind kind;
    const char *at, *to; /* text; an expression; what follows the word of a statement */
    int line;
    size_t next, end; /* of an if, a for and their branches the next branch; of what opens a block
                       * the piece that closes it, else 0 */
} sol_jinja_piece;

struct sol_jinja {
    char *source;           /* owned */
    sol_jinja_piece *piece; /* owned */
    size_t n, capacity;
};

enum {
    SOL_JINJA_ARGS = 8,
    SOL_JINJA_BYTES = 1 << 24,  /* of a string, or written, at most */
    SOL_JINJA_NESTING = 100,    /* of values that are compared or written as JSON */
    SOL_JINJA_NAMESPACES = 1000 /* of one run */
};

typedef struct sol_jinja_state sol_jinja_state;
struct sol_jinja_state {
    const char *at, *end; /* of the expression that is read */
    int line;             /* of the piece at work */
    int skip;             /* above 0: what is read is not evaluated */
    int depth;            /* of expressions and macros in each other */
    int64_t left;         /* work that may still be done: values read, see sol_jinja_spend */
    json_t *undefined;    /* known by its address */
    json_t *function;     /* a function that is not called, as in `f is defined` */
    json_t *scopes;       /* an array of objects, the innermost last */
    json_t *spaces;       /* an array of the namespaces: what alone a template may change */
    json_t *inner;        /* an array of what lies in other values (sol_jinja_hold) */
    json_t *macros;       /* name: index of its piece */
    sol_status status;    /* of the first failure */
    sol_err *err;
    /* Calls the macro whose piece has this index. */
    json_t *(*call)(sol_jinja_state *j, size_t macro, json_t **args, int n, json_t *named);
};

/* Is nothing evaluated, because it is skipped or something failed? */
static inline bool sol_jinja_idle(const sol_jinja_state *j)
{
    return j->skip > 0 || j->status != SOL_OK;
}

/* Whole numbers, of which true is 1. */
static inline bool sol_jinja_is_whole(const json_t *v)
{
    return json_is_integer(v) || json_is_boolean(v);
}
static inline json_int_t sol_jinja_whole(const json_t *v)
{
    return json_is_integer(v) ? json_integer_value(v) : json_is_true(v);
}

/* Keeps a failure, with its line; returns a null. */
json_t *sol_jinja_fail(sol_jinja_state *j, sol_status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A value that was made just now: NULL is want of memory. */
json_t *sol_jinja_take(sol_jinja_state *j, json_t *v);
/* Takes n off the work that is left. A value that is read counts 1, and more where it is large;
 * so do copies. */
void sol_jinja_spend(sol_jinja_state *j, size_t n);
/* Keeps a list or dict that becomes a part of another one until the run ends: jansson frees values
 * by recursion, and a template can nest them without end. */
void sol_jinja_hold(sol_jinja_state *j, json_t *v);
/* Appends to what is written, at most SOL_JINJA_BYTES in all. */
void sol_jinja_write(sol_jinja_state *j, sol_text *out, const char *text, size_t n);

/* Sets what is read, and reads it: an expression; a name (false: there is none); a sign or word. */
void sol_jinja_read(sol_jinja_state *j, const char *at, const char *end);
json_t *sol_jinja_expr(sol_jinja_state *j);
json_t *sol_jinja_expr_no_if(sol_jinja_state *j); /* what stands in front of the `if` of a loop */
bool sol_jinja_name(sol_jinja_state *j, char name[64]);
bool sol_jinja_word(sol_jinja_state *j, const char *word);
bool sol_jinja_sign(sol_jinja_state *j, const char *sign);
/* Fails where anything is left. */
void sol_jinja_done(sol_jinja_state *j);

/* Whether v counts as true. */
bool sol_jinja_truth(const sol_jinja_state *j, const json_t *v);
/* a == b, where true is 1. */
bool sol_jinja_equal(sol_jinja_state *j, const json_t *a, const json_t *b);
/* Appends v as {{ v }} writes it. */
void sol_jinja_print(sol_jinja_state *j, const json_t *v, sol_text *out);
/* v.name */
json_t *sol_jinja_attr(sol_jinja_state *j, const json_t *v, const char *name);
/* args[n] are lent, missing ones NULL; `named` holds those with names. */
json_t *sol_jinja_filter(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n,
                         json_t *named);
json_t *sol_jinja_method(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n);
json_t *sol_jinja_function(sol_jinja_state *j, const char *name, json_t **args, int n,
                           json_t *named);
/* `v is name`, `v is name arg`. */
bool sol_jinja_test(sol_jinja_state *j, const char *name, const json_t *v, const json_t *arg);
/* Does the function or filter `name` exist? */
bool sol_jinja_has_function(const char *name);

#endif
