/* Expressions of Jinja, evaluated as they are read: the operators from the loosest to the tightest,
 * a function for each level. What is not to be evaluated (the other side of `or`, a branch of
 * a condition) is read all the same, with skip above 0. */
#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "chat/jinja_impl.h"

enum { MAX_DEPTH = 60 };

/* ---- reading ---- */

void sol_jinja_read(sol_jinja_state *j, const char *at, const char *end)
{
    j->at = at;
    j->end = end;
    sol_jinja_spend(j, (size_t)(end - at) >> 8);
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static void skip_blanks(sol_jinja_state *j)
{
    while (j->at < j->end && isspace((unsigned char)*j->at)) j->at++;
}

bool sol_jinja_sign(sol_jinja_state *j, const char *sign)
{
    size_t n = strlen(sign);
    skip_blanks(j);
    if ((size_t)(j->end - j->at) < n || memcmp(j->at, sign, n) != 0) return false;
    j->at += n;
    return true;
}

static size_t name_length(const sol_jinja_state *j)
{
    size_t n = 0;
    if (j->at == j->end || isdigit((unsigned char)*j->at)) return 0;
    while (j->at + n < j->end && is_name(j->at[n])) n++;
    return n;
}

bool sol_jinja_name(sol_jinja_state *j, char name[64])
{
    skip_blanks(j);
    size_t n = name_length(j);
    if (n == 0 || n >= 64) return false;
    memcpy(name, j->at, n);
    name[n] = 0;
    j->at += n;
    return true;
}

bool sol_jinja_word(sol_jinja_state *j, const char *word)
{
    skip_blanks(j);
    size_t n = name_length(j);
    if (n != strlen(word) || memcmp(j->at, word, n) != 0) return false;
    j->at += n;
    return true;
}

void sol_jinja_done(sol_jinja_state *j)
{
    skip_blanks(j);
    if (j->at < j->end)
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "'%.*s' is not understood",
                       j->end - j->at < 20 ? (int)(j->end - j->at) : 20, j->at);
}

static void expect(sol_jinja_state *j, const char *sign)
{
    if (!sol_jinja_sign(j, sign) && j->status == SOL_OK)
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "expected '%s' at '%.*s'", sign,
                       j->end - j->at < 20 ? (int)(j->end - j->at) : 20, j->at);
}

/* Is there an `if` further on at this level of brackets? */
static bool has_if(const sol_jinja_state *j)
{
    int depth = 0;
    if (!memmem(j->at, (size_t)(j->end - j->at), "if", 2)) return false; /* as most often */
    for (const char *s = j->at; s < j->end; s++) {
        bool starts = s == j->at || !is_name(s[-1]);
        if (*s == '"' || *s == '\'') {
            char quote = *s++;
            while (s < j->end && *s != quote) s += *s == '\\' ? 2 : 1;
        } else if (strchr("([{", *s)) {
            depth++;
        } else if (strchr(")]}", *s)) {
            if (depth-- == 0) return false;
        } else if (depth == 0 && *s == ',') {
            return false;
        } else if (depth == 0 && starts && j->end - s > 2 && memcmp(s, "if", 2) == 0 &&
                   !is_name(s[2])) {
            return true;
        }
    }
    return false;
}

/* ---- values ---- */

/* Sets *v to the other value. */
static void become(json_t **v, json_t *other)
{
    json_decref(*v);
    *v = other;
}

static json_t *joined(sol_jinja_state *j, const json_t *a, const json_t *b)
{
    sol_text t = {0};
    sol_jinja_print(j, a, &t);
    sol_jinja_print(j, b, &t);
    sol_jinja_spend(j, t.n >> 8);
    json_t *v = sol_jinja_take(j, json_stringn_nocheck(t.data ? t.data : "", t.n));
    sol_free(t.data);
    return v;
}

/* What is read may be walked through. */
static json_t *read_again(sol_jinja_state *j, json_t *v)
{
    sol_jinja_spend(j, (json_string_length(v) + json_array_size(v)) >> 10);
    return json_incref(v);
}

json_t *sol_jinja_attr(sol_jinja_state *j, const json_t *v, const char *name)
{
    if (sol_jinja_idle(j)) return json_null();
    if (v == j->undefined)
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "'%s' of an undefined value", name);
    json_t *found = json_object_get(v, name);
    return read_again(j, found ? found : j->undefined);
}

static json_t *lookup(sol_jinja_state *j, const char *name)
{
    for (size_t i = json_array_size(j->scopes); i-- > 0;) {
        json_t *v = json_object_get(json_array_get(j->scopes, i), name);
        if (v) return read_again(j, v);
    }
    if (sol_jinja_has_function(name) || json_object_get(j->macros, name))
        return json_incref(j->function);
    return json_incref(j->undefined);
}

/* ---- calls ---- */

typedef struct arguments {
    json_t *at[SOL_JINJA_ARGS], *named;
    int n;
} arguments;

static void free_arguments(arguments *a)
{
    for (int i = 0; i < a->n; i++) json_decref(a->at[i]);
    json_decref(a->named);
}

/* The name of `name = value`, but not of `name == value`. */
static bool takes_name(sol_jinja_state *j, char name[64])
{
    const char *from = j->at;
    if (sol_jinja_name(j, name) && sol_jinja_sign(j, "=") && j->at < j->end && *j->at != '=')
        return true;
    j->at = from;
    return false;
}

/* What follows the opening bracket. */
static void read_arguments(sol_jinja_state *j, arguments *a)
{
    char name[64];
    *a = (arguments){.named = sol_jinja_take(j, json_object())};
    if (sol_jinja_sign(j, ")")) return;
    do {
        if (takes_name(j, name)) {
            json_t *v = sol_jinja_expr(j);
            sol_jinja_hold(j, v);
            json_object_set_new(a->named, name, v);
        } else if (a->n == SOL_JINJA_ARGS)
            sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "more than %d arguments", SOL_JINJA_ARGS);
        else
            a->at[a->n++] = sol_jinja_expr(j);
    } while (sol_jinja_sign(j, ","));
    expect(j, ")");
}

static json_t *call_name(sol_jinja_state *j, const char *name)
{
    arguments a;
    json_t *v = json_null();
    read_arguments(j, &a);
    const json_t *macro = json_object_get(j->macros, name);
    if (!sol_jinja_idle(j))
        v = macro ? j->call(j, (size_t)json_integer_value(macro), a.at, a.n, a.named)
                  : sol_jinja_function(j, name, a.at, a.n, a.named);
    free_arguments(&a);
    return v;
}

static json_t *call_method(sol_jinja_state *j, const char *name, json_t *v)
{
    arguments a;
    json_t *result = json_null();
    read_arguments(j, &a);
    if (!sol_jinja_idle(j) && json_object_size(a.named) > 0)
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "named arguments of the method '%s'", name);
    if (!sol_jinja_idle(j)) result = sol_jinja_method(j, name, v, a.at, a.n);
    free_arguments(&a);
    return result;
}

/* ---- the tightest level: literals, names, what follows them ---- */

/* A string in its quotes, with the escapes that templates use. */
static json_t *read_string(sol_jinja_state *j)
{
    static const char from[] = "ntr\\'\"", to[] = "\n\t\r\\'\"";
    sol_text t = {0};
    char quote = *j->at++;
    while (j->at < j->end && *j->at != quote) {
        size_t n = 0;
        while (j->at + n < j->end && j->at[n] != quote && j->at[n] != '\\') n++;
        sol_text_add_bytes(&t, j->err, j->at, n);
        j->at += n;
        if (j->at == j->end || *j->at == quote) continue;
        const char *hit = j->at + 1 < j->end ? strchr(from, j->at[1]) : NULL;
        if (!hit) {
            sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "an escape in a string");
            break;
        }
        sol_text_add_bytes(&t, j->err, &to[hit - from], 1);
        j->at += 2;
    }
    if (j->at < j->end)
        j->at++;
    else
        sol_jinja_fail(j, SOL_ERR_FORMAT, "a string does not end");
    json_t *v = sol_jinja_take(j, json_stringn_nocheck(t.data ? t.data : "", t.n));
    sol_free(t.data);
    return v;
}

static json_t *read_number(sol_jinja_state *j)
{
    json_int_t v = 0;
    for (; j->at < j->end && isdigit((unsigned char)*j->at) && v < 1000000000000; j->at++)
        v = 10 * v + (*j->at - '0');
    if (j->at < j->end && (is_name(*j->at) || *j->at == '.'))
        return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "a number that is not whole, or too large");
    return sol_jinja_take(j, json_integer(v));
}

static void append(sol_jinja_state *j, json_t *list, json_t *v)
{
    sol_jinja_hold(j, v);
    json_array_append_new(list, v);
}

/* Items up to `close`, behind the first one, where that was read. */
static json_t *read_list(sol_jinja_state *j, json_t *first, const char *close)
{
    json_t *list = sol_jinja_take(j, json_array());
    if (first) append(j, list, first);
    while (j->status == SOL_OK && !sol_jinja_sign(j, close)) {
        append(j, list, sol_jinja_expr(j));
        if (sol_jinja_sign(j, ",")) continue;
        expect(j, close);
        break;
    }
    return list;
}

static json_t *read_brackets(sol_jinja_state *j)
{
    if (sol_jinja_sign(j, ")")) return sol_jinja_take(j, json_array());
    json_t *v = sol_jinja_expr(j);
    if (sol_jinja_sign(j, ",")) return read_list(j, v, ")");
    expect(j, ")");
    return v;
}

static json_t *read_dict(sol_jinja_state *j)
{
    json_t *dict = sol_jinja_take(j, json_object());
    while (j->status == SOL_OK && !sol_jinja_sign(j, "}")) {
        json_t *key = sol_jinja_expr(j);
        expect(j, ":");
        json_t *value = sol_jinja_expr(j);
        if (!sol_jinja_idle(j) && !json_is_string(key))
            sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "a key that is not a string");
        sol_jinja_hold(j, value);
        if (sol_jinja_idle(j))
            json_decref(value);
        else
            json_object_set_new(dict, json_string_value(key), value);
        json_decref(key);
        if (sol_jinja_sign(j, ",")) continue;
        expect(j, "}");
        break;
    }
    return dict;
}

static json_t *read_word(sol_jinja_state *j)
{
    char name[64];
    if (sol_jinja_word(j, "true") || sol_jinja_word(j, "True")) return json_true();
    if (sol_jinja_word(j, "false") || sol_jinja_word(j, "False")) return json_false();
    if (sol_jinja_word(j, "none") || sol_jinja_word(j, "None")) return json_null();
    if (!sol_jinja_name(j, name)) {
        sol_jinja_done(j);
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "an expression ends early");
    }
    if (sol_jinja_sign(j, "(")) return call_name(j, name);
    return sol_jinja_idle(j) ? json_null() : lookup(j, name);
}

static json_t *read_primary(sol_jinja_state *j)
{
    sol_jinja_spend(j, 1);
    skip_blanks(j);
    char c = 0;
    if (j->at < j->end) c = *j->at;
    if (c == '"' || c == '\'') {
        json_t *v = read_string(j);
        for (skip_blanks(j); j->at < j->end && (*j->at == '"' || *j->at == '\''); skip_blanks(j)) {
            json_t *more = read_string(j);
            become(&v, joined(j, v, more));
            json_decref(more);
        }
        return v;
    }
    if (isdigit((unsigned char)c)) return read_number(j);
    if (sol_jinja_sign(j, "(")) return read_brackets(j);
    if (sol_jinja_sign(j, "[")) return read_list(j, NULL, "]");
    if (sol_jinja_sign(j, "{")) return read_dict(j);
    return read_word(j);
}

/* The piece [from, to) of a list or string; backwards where step is -1. */
static json_t *slice(sol_jinja_state *j, json_t *v, json_t *from, json_t *to, json_t *step)
{
    json_t *args[] = {from, to, step};
    if (sol_jinja_idle(j)) return json_null();
    return sol_jinja_method(j, "[]", v, args, 3);
}

/* What stands between `[` and `]`. */
static json_t *read_subscript(sol_jinja_state *j, json_t *v)
{
    json_t *part[3] = {NULL}, *result;
    int n = 0;
    for (bool more = true; more && n < 3 && j->status == SOL_OK; n++) {
        skip_blanks(j);
        bool empty = j->at < j->end && (*j->at == ':' || *j->at == ']');
        part[n] = empty ? json_null() : sol_jinja_expr(j);
        more = sol_jinja_sign(j, ":");
        if (more && n + 1 < 3) continue;
    }
    expect(j, "]");
    if (sol_jinja_idle(j))
        result = json_null();
    else if (n > 1)
        result = slice(j, v, part[0], part[1], part[2]);
    else
        result = json_is_string(part[0]) ? sol_jinja_attr(j, v, json_string_value(part[0]))
                                         : sol_jinja_method(j, "[i]", v, part, 1);
    for (int i = 0; i < 3; i++) json_decref(part[i]);
    return result;
}

static json_t *read_postfix(sol_jinja_state *j, json_t *v)
{
    char name[64];
    for (bool more = true; more && j->status == SOL_OK;) {
        if (sol_jinja_sign(j, "[")) {
            become(&v, read_subscript(j, v));
        } else if (sol_jinja_sign(j, ".")) {
            if (!sol_jinja_name(j, name))
                sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "expected a name behind a point");
            else if (sol_jinja_sign(j, "("))
                become(&v, call_method(j, name, v));
            else
                become(&v, sol_jinja_attr(j, v, name));
        } else {
            more = false;
        }
    }
    return v;
}

static json_t *read_unary(sol_jinja_state *j, bool filters);

static json_t *apply_filter(sol_jinja_state *j, json_t *v)
{
    char name[64];
    arguments a = {0};
    json_t *result = json_null();
    if (!sol_jinja_name(j, name)) sol_jinja_fail(j, SOL_ERR_FORMAT, "expected a filter behind |");
    if (sol_jinja_sign(j, "(")) read_arguments(j, &a);
    if (!sol_jinja_idle(j)) result = sol_jinja_filter(j, name, v, a.at, a.n, a.named);
    free_arguments(&a);
    return result;
}

static json_t *apply_test(sol_jinja_state *j, const json_t *v)
{
    static const char *const with_argument[] = {"equalto", "eq", "ne", "in", "sameas"};
    char name[64];
    json_t *arg = NULL;
    bool negated = sol_jinja_word(j, "not"), result = false;
    if (!sol_jinja_name(j, name)) sol_jinja_fail(j, SOL_ERR_FORMAT, "expected a test behind is");
    for (size_t i = 0; i < sizeof with_argument / sizeof *with_argument; i++)
        if (!arg && j->status == SOL_OK && strcmp(name, with_argument[i]) == 0)
            arg = read_unary(j, false);
    if (!sol_jinja_idle(j)) result = sol_jinja_test(j, name, v, arg) != negated;
    json_decref(arg);
    return json_boolean(result);
}

/* ---- the levels above ---- */

static json_t *negated(sol_jinja_state *j, json_t *v)
{
    if (!sol_jinja_idle(j) && !json_is_integer(v))
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "- before something other than a whole number");
    return sol_jinja_idle(j) ? json_null()
                             : sol_jinja_take(j, json_integer(-json_integer_value(v)));
}

static json_t *read_unary(sol_jinja_state *j, bool filters)
{
    json_t *v;
    if (++j->depth > MAX_DEPTH) sol_jinja_fail(j, SOL_ERR_RANGE, "it is nested too deeply");
    if (sol_jinja_sign(j, "-")) {
        v = read_unary(j, false);
        become(&v, negated(j, v));
    } else {
        v = read_primary(j);
    }
    v = read_postfix(j, v);
    for (bool more = filters; more && j->status == SOL_OK;) {
        if (sol_jinja_sign(j, "|"))
            become(&v, apply_filter(j, v));
        else if (sol_jinja_word(j, "is"))
            become(&v, apply_test(j, v));
        else
            more = false;
    }
    j->depth--;
    return v;
}

/* The floor of a / b, as Python has it. */
static json_int_t floor_div(json_int_t a, json_int_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static json_t *calculate(sol_jinja_state *j, char op, const json_t *a, const json_t *b)
{
    if (sol_jinja_idle(j)) return json_null();
    if (op == '+' && json_is_string(a) && json_is_string(b)) return joined(j, a, b);
    if (op == '+' && json_is_array(a) && json_is_array(b)) {
        json_t *list = sol_jinja_take(j, json_copy((json_t *)a));
        json_array_extend(list, (json_t *)b);
        sol_jinja_spend(j, json_array_size(list));
        return list;
    }
    if (!sol_jinja_is_whole(a) || !sol_jinja_is_whole(b))
        return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "%c between such values", op);
    json_int_t x = sol_jinja_whole(a), y = sol_jinja_whole(b), limit = (json_int_t)1 << 31, v = 0;
    if ((op == '/' || op == '%') && y == 0)
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "a division by 0");
    if (x < -limit || x > limit || y < -limit || y > limit)
        return sol_jinja_fail(j, SOL_ERR_RANGE, "a number beyond 2^31");
    switch (op) {
    case '+': v = x + y; break;
    case '-': v = x - y; break;
    case '*': v = x * y; break;
    case '/': v = floor_div(x, y); break;
    default: v = x - y * floor_div(x, y);
    }
    return sol_jinja_take(j, json_integer(v));
}

static json_t *read_product(sol_jinja_state *j)
{
    json_t *v = read_unary(j, true);
    for (bool more = true; more && j->status == SOL_OK;) {
        char op = sol_jinja_sign(j, "//")  ? '/'
                  : sol_jinja_sign(j, "*") ? '*'
                  : sol_jinja_sign(j, "%") ? '%'
                                           : 0;
        more = op != 0;
        if (!more) break;
        json_t *right = read_unary(j, true);
        become(&v, calculate(j, op, v, right));
        json_decref(right);
    }
    return v;
}

static json_t *read_concat(sol_jinja_state *j)
{
    json_t *v = read_product(j);
    while (j->status == SOL_OK && sol_jinja_sign(j, "~")) {
        json_t *right = read_product(j);
        become(&v, joined(j, v, right));
        json_decref(right);
    }
    return v;
}

static json_t *read_sum(sol_jinja_state *j)
{
    json_t *v = read_concat(j);
    while (j->status == SOL_OK) {
        char op = sol_jinja_sign(j, "+") ? '+' : sol_jinja_sign(j, "-") ? '-' : 0;
        if (!op) break;
        json_t *right = read_concat(j);
        become(&v, calculate(j, op, v, right));
        json_decref(right);
    }
    return v;
}

static bool contains(sol_jinja_state *j, const json_t *all, const json_t *v)
{
    if (json_is_string(all) && json_is_string(v))
        return strstr(json_string_value(all), json_string_value(v));
    if (all == j->undefined) return false;
    if (json_is_object(all)) return json_is_string(v) && json_object_get(all, json_string_value(v));
    if (!json_is_array(all)) {
        sol_jinja_fail(j, SOL_ERR_FORMAT, "`in` something that holds nothing");
        return false;
    }
    size_t i;
    json_t *item;
    json_array_foreach(all, i, item)
    {
        if (sol_jinja_equal(j, item, v)) return true;
    }
    return false;
}

/* -1, 0, 1 */
static int order(sol_jinja_state *j, const json_t *a, const json_t *b)
{
    if (sol_jinja_is_whole(a) && sol_jinja_is_whole(b))
        return (sol_jinja_whole(a) > sol_jinja_whole(b)) -
               (sol_jinja_whole(a) < sol_jinja_whole(b));
    if (!json_is_string(a) || !json_is_string(b)) {
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "the order of such values");
        return 0;
    }
    int d = strcmp(json_string_value(a), json_string_value(b));
    return (d > 0) - (d < 0);
}

typedef enum {
    EQUAL,
    UNEQUAL,
    AT_MOST,
    AT_LEAST,
    BELOW,
    ABOVE,
    IN,
    NOT_IN,
    NO_COMPARISON
} relation;

static relation read_relation(sol_jinja_state *j)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    const char *from = j->at;
    for (int i = 0; i < 6; i++)
        if (sol_jinja_sign(j, signs[i])) return (relation)i;
    if (sol_jinja_word(j, "in")) return IN;
    if (sol_jinja_word(j, "not") && sol_jinja_word(j, "in")) return NOT_IN;
    j->at = from;
    return NO_COMPARISON;
}

static bool holds(sol_jinja_state *j, relation r, const json_t *a, const json_t *b)
{
    switch (r) {
    case EQUAL: return sol_jinja_equal(j, a, b);
    case UNEQUAL: return !sol_jinja_equal(j, a, b);
    case AT_MOST: return order(j, a, b) <= 0;
    case AT_LEAST: return order(j, a, b) >= 0;
    case BELOW: return order(j, a, b) < 0;
    case ABOVE: return order(j, a, b) > 0;
    case IN: return contains(j, b, a);
    default: return !contains(j, b, a);
    }
}

static json_t *read_compare(sol_jinja_state *j)
{
    json_t *v = read_sum(j);
    relation r = read_relation(j);
    if (r == NO_COMPARISON) return v;
    bool all = true;
    for (; r != NO_COMPARISON && j->status == SOL_OK; r = read_relation(j)) {
        j->skip += !all;
        json_t *right = read_sum(j);
        j->skip -= !all;
        all = all && !sol_jinja_idle(j) && holds(j, r, v, right);
        become(&v, right);
    }
    json_decref(v);
    return json_boolean(all);
}

static json_t *read_not(sol_jinja_state *j)
{
    bool inverted = false, any = false;
    for (; sol_jinja_word(j, "not"); inverted = !inverted) any = true;
    json_t *v = read_compare(j);
    if (any) become(&v, json_boolean(sol_jinja_truth(j, v) != inverted));
    return v;
}

/* `a and b`, `a or b`: b where a does not decide. */
static json_t *read_both(sol_jinja_state *j, const char *word, json_t *(*read)(sol_jinja_state *))
{
    json_t *v = read(j);
    while (j->status == SOL_OK && sol_jinja_word(j, word)) {
        bool decided = sol_jinja_truth(j, v) == (word[0] == 'o');
        j->skip += decided;
        json_t *right = read(j);
        j->skip -= decided;
        if (decided)
            json_decref(right);
        else
            become(&v, right);
    }
    return v;
}

static json_t *read_and(sol_jinja_state *j)
{
    return read_both(j, "and", read_not);
}

json_t *sol_jinja_expr_no_if(sol_jinja_state *j)
{
    return read_both(j, "or", read_and);
}

/* a if c else b: a is read twice, as c decides whether it is evaluated. */
json_t *sol_jinja_expr(sol_jinja_state *j)
{
    if (!has_if(j)) return sol_jinja_expr_no_if(j);
    const char *from = j->at;
    j->skip++;
    json_decref(sol_jinja_expr_no_if(j));
    j->skip--;
    if (!sol_jinja_word(j, "if")) return sol_jinja_expr_no_if(j); /* fails */
    json_t *condition = sol_jinja_expr_no_if(j), *v = json_null(), *other;
    bool truth = sol_jinja_truth(j, condition);
    json_decref(condition);
    const char *behind = j->at;
    if (truth && j->status == SOL_OK) {
        j->at = from;
        v = sol_jinja_expr_no_if(j);
        j->at = j->status == SOL_OK ? behind : j->end;
    }
    if (!sol_jinja_word(j, "else"))
        return truth || sol_jinja_idle(j) ? v : json_incref(j->undefined);
    j->skip += truth;
    other = sol_jinja_expr(j);
    j->skip -= truth;
    if (!truth) become(&v, json_incref(other));
    json_decref(other);
    return v;
}
