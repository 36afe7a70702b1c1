/* What templates do with values: filters, methods, tests and functions, as Jinja and Python have
 * them. Upper and lower case of letters beyond ASCII are refused. */
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "chat/jinja_impl.h"
#include "text/blank.h"
#include "text/capitalize.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static json_t *string_of(sol_jinja_state *j, const char *text, size_t n)
{
    sol_jinja_spend(j, n >> 8);
    return sol_jinja_take(j, json_stringn_nocheck(text, n));
}

/* An empty list, for n items that are there already. */
static json_t *list_for(sol_jinja_state *j, size_t n)
{
    sol_jinja_spend(j, n >> 3);
    return sol_jinja_take(j, json_array());
}

static sol_span span_of(const json_t *v)
{
    return (sol_span){json_string_value(v), json_string_length(v)};
}

static json_t *unsupported(sol_jinja_state *j, const char *what, const char *name)
{
    return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "%s '%s', or its arguments", what, name);
}

/* ---- strings ---- */

/* Bytes of the character at the start; a byte that is no UTF-8 is one by itself. */
static size_t step(const char *at, size_t n)
{
    size_t len = sol_utf8_char(at, n);
    return len ? len : 1;
}

/* Is the character one of `set`? A blank, where that is NULL. */
static bool is_of(const char *at, size_t n, const json_t *set)
{
    if (!set) return sol_blank_first(at, n) > 0;
    return memmem(json_string_value(set), json_string_length(set), at, n);
}

static json_t *strip(sol_jinja_state *j, const json_t *v, const json_t *set, bool left, bool right)
{
    sol_span s = span_of(v);
    for (size_t n; left && s.n > 0; s.at += n, s.n -= n) {
        n = step(s.at, s.n);
        if (!is_of(s.at, n, set)) break;
    }
    while (right && s.n > 0) {
        size_t at = s.n - 1;
        while (at > 0 && ((unsigned char)s.at[at] & 0xC0) == 0x80) at--;
        if (!is_of(s.at + at, s.n - at, set)) break;
        s.n = at;
    }
    return string_of(j, s.at, s.n);
}

/* At most `most` cuts; -1: all. */
static json_t *split(sol_jinja_state *j, const json_t *v, const json_t *by, json_int_t most)
{
    json_t *list = sol_jinja_take(j, json_array());
    sol_span s = span_of(v), sep = span_of(by);
    const char *hit;
    for (; most != 0 && (hit = memmem(s.at, s.n, sep.at, sep.n)) != NULL; most--) {
        sol_jinja_spend(j, 1);
        if (j->status != SOL_OK) break;
        json_array_append_new(list, string_of(j, s.at, (size_t)(hit - s.at)));
        s.n -= (size_t)(hit - s.at) + sep.n;
        s.at = hit + sep.n;
    }
    json_array_append_new(list, string_of(j, s.at, s.n));
    return list;
}

static json_t *replaced(sol_jinja_state *j, const json_t *v, const json_t *what, const json_t *with)
{
    sol_text t = {0};
    sol_span s = span_of(v), from = span_of(what);
    const char *hit;
    while (t.n < SOL_JINJA_BYTES && (hit = memmem(s.at, s.n, from.at, from.n)) != NULL) {
        sol_text_add_bytes(&t, j->err, s.at, (size_t)(hit - s.at));
        sol_text_add_bytes(&t, j->err, json_string_value(with), json_string_length(with));
        s.n -= (size_t)(hit - s.at) + from.n;
        s.at = hit + from.n;
    }
    if (sol_text_add_bytes(&t, j->err, s.at, s.n) != SOL_OK) j->status = t.status;
    if (t.n >= SOL_JINJA_BYTES) sol_jinja_fail(j, SOL_ERR_RANGE, "more than 16 MB are written");
    json_t *out = string_of(j, t.data ? t.data : "", t.n);
    sol_free(t.data);
    return out;
}

static json_t *capitalized(sol_jinja_state *j, const json_t *v)
{
    sol_text t = {0};
    sol_span s = span_of(v);
    if (sol_utf8_valid_prefix(s.at, s.n) < s.n)
        return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "'capitalize' of bytes that are no UTF-8");
    j->status = sol_capitalize(s.at, s.n, &t, j->err);
    json_t *out = string_of(j, t.data ? t.data : "", t.n);
    sol_free(t.data);
    return out;
}

/* upper, lower, title */
static json_t *cased(sol_jinja_state *j, const char *name, const json_t *v)
{
    sol_span s = span_of(v);
    bool word = false;
    json_t *out = string_of(j, s.at, s.n);
    char *to = (char *)json_string_value(out); /* made here alone */
    for (size_t i = 0, n; i < s.n && j->status == SOL_OK; i += n) {
        unsigned char c = (unsigned char)s.at[i];
        bool large = name[0] == 'u' || (name[0] == 't' && !word);
        n = step(s.at + i, s.n - i);
        word = isalpha(c);
        if (c < 0x80)
            to[i] = (char)(large ? toupper(c) : tolower(c));
        else if (n > 1 && sol_has_case(sol_utf8_get(s.at + i, n)))
            sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "'%s' of letters beyond ASCII", name);
    }
    return out;
}

static int64_t characters(sol_span s)
{
    int64_t n = 0;
    for (size_t at = 0; at < s.n; n++) at += step(s.at + at, s.n - at);
    return n;
}

/* The byte where character i begins, or the end. */
static size_t place(sol_span s, int64_t i)
{
    size_t at = 0;
    for (; i > 0 && at < s.n; i--) at += step(s.at + at, s.n - at);
    return at;
}

/* ---- lists and strings alike ---- */

static int64_t length_of(sol_jinja_state *j, const json_t *v)
{
    if (v == j->undefined) return 0;
    if (json_is_string(v)) return characters(span_of(v));
    if (json_is_array(v)) return (int64_t)json_array_size(v);
    if (json_is_object(v)) return (int64_t)json_object_size(v);
    sol_jinja_fail(j, SOL_ERR_FORMAT, "the length of a value that has none");
    return 0;
}

static json_t *item_of(sol_jinja_state *j, const json_t *v, int64_t i)
{
    int64_t n = length_of(j, v);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return json_incref(j->undefined);
    if (json_is_array(v)) return json_incref(json_array_get(v, (size_t)i));
    sol_span s = span_of(v);
    size_t at = place(s, i);
    return string_of(j, s.at + at, step(s.at + at, s.n - at));
}

static json_t *indexed(sol_jinja_state *j, const json_t *v, const json_t *i)
{
    if (v == j->undefined)
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "an item of an undefined value");
    if (!json_is_integer(i) || !(json_is_array(v) || json_is_string(v)))
        return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "such an item");
    return item_of(j, v, json_integer_value(i));
}

/* Where a slice begins or ends; i null or NULL: `none`. */
static int64_t bound(const json_t *i, int64_t n, int64_t none)
{
    if (!json_is_integer(i)) return none;
    int64_t at = json_integer_value(i);
    if (at < 0) at += n;
    return at < 0 ? 0 : at > n ? n : at;
}

static json_t *backwards(sol_jinja_state *j, const json_t *v)
{
    json_t *list = list_for(j, json_array_size(v));
    for (size_t i = json_array_size(v); i-- > 0;) json_array_append(list, json_array_get(v, i));
    return list;
}

static json_t *sliced(sol_jinja_state *j, const json_t *v, json_t **part)
{
    bool whole = json_is_null(part[0]) && json_is_null(part[1]),
         back = json_is_integer(part[2]) && json_integer_value(part[2]) == -1;
    if (back && whole && json_is_array(v)) return backwards(j, v);
    for (int i = 0; i < 2; i++)
        if (!json_is_null(part[i]) && !json_is_integer(part[i])) back = true;
    if (back || (part[2] && !json_is_null(part[2])) || !(json_is_array(v) || json_is_string(v)))
        return sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "such a slice");
    int64_t n = length_of(j, v), from = bound(part[0], n, 0), to = bound(part[1], n, n);
    if (to < from) to = from;
    if (json_is_string(v)) {
        sol_span s = span_of(v);
        size_t at = place(s, from);
        return string_of(j, s.at + at, place(s, to) - at);
    }
    json_t *list = list_for(j, (size_t)(to - from));
    for (int64_t i = from; i < to; i++) json_array_append(list, json_array_get(v, (size_t)i));
    return list;
}

static json_t *items_of(sol_jinja_state *j, json_t *v)
{
    json_t *list = list_for(j, 8 * json_object_size(v)), *value;
    const char *key;
    if (v == j->undefined) return list;
    json_object_foreach(v, key, value)
    {
        json_array_append_new(list, sol_jinja_take(j, json_pack("[s,O]", key, value)));
    }
    return list;
}

/* ---- methods ---- */

static bool all_strings(json_t **args, int n)
{
    for (int i = 0; i < n; i++)
        if (!json_is_string(args[i])) return false;
    return true;
}

static json_t *string_method(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n)
{
    sol_span s = span_of(v), a = span_of(n > 0 ? args[0] : NULL);
    bool left = strcmp(name, "rstrip") != 0, right = strcmp(name, "lstrip") != 0;
    bool strips = strcmp(name, "strip") == 0 || !left || !right;
    if (strcmp(name, "split") == 0 && a.n > 0 && (n == 1 || (n == 2 && json_is_integer(args[1]))))
        return split(j, v, args[0], n == 2 ? json_integer_value(args[1]) : -1);
    if (!all_strings(args, n)) return unsupported(j, "the method", name);
    if (strips && n <= 1) return strip(j, v, n ? args[0] : NULL, left, right);
    if (strcmp(name, "startswith") == 0 && n == 1)
        return json_boolean(s.n >= a.n && memcmp(s.at, a.at, a.n) == 0);
    if (strcmp(name, "endswith") == 0 && n == 1)
        return json_boolean(s.n >= a.n && memcmp(s.at + s.n - a.n, a.at, a.n) == 0);
    if (strcmp(name, "replace") == 0 && n == 2 && a.n > 0) return replaced(j, v, args[0], args[1]);
    if (strcmp(name, "capitalize") == 0 && n == 0) return capitalized(j, v);
    if (n == 0 &&
        (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0 || strcmp(name, "title") == 0))
        return cased(j, name, v);
    return unsupported(j, "the method", name);
}

static json_t *object_method(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n)
{
    json_t *pairs, *list, *pair;
    size_t i;
    if (strcmp(name, "get") == 0 && (n == 1 || n == 2) && json_is_string(args[0])) {
        json_t *found = json_object_get(v, json_string_value(args[0]));
        return json_incref(found ? found : n == 2 ? args[1] : json_null());
    }
    bool keys = strcmp(name, "keys") == 0;
    if (strcmp(name, "items") == 0 && n == 0) return items_of(j, v);
    if ((!keys && strcmp(name, "values") != 0) || n > 0) return unsupported(j, "the method", name);
    pairs = items_of(j, v);
    list = sol_jinja_take(j, json_array());
    json_array_foreach(pairs, i, pair)
    {
        json_array_append(list, json_array_get(pair, keys ? 0 : 1));
    }
    json_decref(pairs);
    return list;
}

json_t *sol_jinja_method(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n)
{
    if (strcmp(name, "[i]") == 0) return indexed(j, v, args[0]);
    if (strcmp(name, "[]") == 0) return sliced(j, v, args);
    if (v == j->undefined)
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "the method '%s' of an undefined value", name);
    if (json_is_string(v)) return string_method(j, name, v, args, n);
    if (json_is_object(v)) return object_method(j, name, v, args, n);
    return unsupported(j, "the method", name);
}

/* ---- tests ---- */

bool sol_jinja_test(sol_jinja_state *j, const char *name, const json_t *v, const json_t *arg)
{
    bool undefined = v == j->undefined, object = json_is_object(v) && !undefined;
    if (strcmp(name, "defined") == 0) return !undefined;
    if (strcmp(name, "undefined") == 0) return undefined;
    if (strcmp(name, "none") == 0) return json_is_null(v);
    if (strcmp(name, "string") == 0) return json_is_string(v);
    if (strcmp(name, "mapping") == 0) return object;
    if (strcmp(name, "sequence") == 0 || strcmp(name, "iterable") == 0)
        return undefined || object || json_is_string(v) || json_is_array(v);
    if (strcmp(name, "boolean") == 0) return json_is_boolean(v);
    if (strcmp(name, "true") == 0) return json_is_true(v);
    if (strcmp(name, "false") == 0) return json_is_false(v);
    if (strcmp(name, "integer") == 0) return json_is_integer(v);
    if (strcmp(name, "number") == 0) return json_is_number(v) || json_is_boolean(v);
    if ((strcmp(name, "odd") == 0 || strcmp(name, "even") == 0) && json_is_integer(v))
        return (json_integer_value(v) % 2 != 0) == (name[0] == 'o');
    if (arg && (strcmp(name, "equalto") == 0 || strcmp(name, "eq") == 0))
        return sol_jinja_equal(j, v, arg);
    if (arg && strcmp(name, "ne") == 0) return !sol_jinja_equal(j, v, arg);
    if (json_is_array(arg) && strcmp(name, "in") == 0) {
        size_t i;
        json_t *item;
        json_array_foreach(arg, i, item)
        {
            if (sol_jinja_equal(j, v, item)) return true;
        }
        return false;
    }
    unsupported(j, "the test", name);
    return false;
}

/* ---- filters ---- */

/* selectattr(attribute, test, argument) and rejectattr. */
static json_t *selected(sol_jinja_state *j, const json_t *v, bool keep, json_t **args, int n)
{
    json_t *list = list_for(j, json_array_size(v)), *item;
    size_t i;
    if (n < 1 || n > 3 || !all_strings(args, n > 1 ? 2 : 1) || !json_is_array(v))
        unsupported(j, "the filter", keep ? "selectattr" : "rejectattr");
    json_array_foreach(v, i, item)
    {
        if (j->status != SOL_OK) break;
        json_t *a = sol_jinja_attr(j, item, json_string_value(args[0]));
        bool holds = n == 1
                         ? sol_jinja_truth(j, a)
                         : sol_jinja_test(j, json_string_value(args[1]), a, n > 2 ? args[2] : NULL);
        if (holds == keep) json_array_append(list, item);
        json_decref(a);
    }
    return list;
}

static json_t *attributes(sol_jinja_state *j, const json_t *v, const json_t *name)
{
    json_t *list = list_for(j, json_array_size(v)), *item;
    size_t i;
    json_array_foreach(v, i, item)
    {
        json_array_append_new(list, sol_jinja_attr(j, item, json_string_value(name)));
    }
    return list;
}

static json_t *join(sol_jinja_state *j, const json_t *v, const json_t *by)
{
    sol_text t = {0};
    json_t *item;
    size_t i;
    json_array_foreach(v, i, item)
    {
        if (i > 0 && by) sol_jinja_print(j, by, &t);
        sol_jinja_print(j, item, &t);
    }
    json_t *out = string_of(j, t.data ? t.data : "", t.n);
    sol_free(t.data);
    return out;
}

static int add_json(const char *text, size_t n, void *to)
{
    sol_text *t = to;
    return t->n < SOL_JINJA_BYTES && sol_text_add_bytes(t, NULL, text, n) == SOL_OK ? 0 : -1;
}

/* Whether lists and dicts lie in each other at most `depth` deep. */
static bool is_shallow(sol_jinja_state *j, json_t *v, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (!json_is_array(v) && !json_is_object(v)) return true;
    sol_jinja_spend(j, 1);
    if (depth == 0 || j->status != SOL_OK) return false;
    json_array_foreach(v, i, item)
    {
        if (!is_shallow(j, item, depth - 1)) return false;
    }
    json_object_foreach(v, key, item)
    {
        if (!is_shallow(j, item, depth - 1)) return false;
    }
    return true;
}

static json_t *as_json(sol_jinja_state *j, json_t *v)
{
    sol_text t = {0};
    if (!is_shallow(j, v, SOL_JINJA_NESTING))
        return sol_jinja_fail(j, SOL_ERR_RANGE, "tojson of values nested too deeply");
    if (json_dump_callback(v, add_json, &t, JSON_ENCODE_ANY) != 0)
        sol_jinja_fail(j, SOL_ERR_RANGE, "what tojson writes is too long, or no UTF-8");
    json_t *out = string_of(j, t.data ? t.data : "", t.n);
    sol_free(t.data);
    return out;
}

static json_t *printed(sol_jinja_state *j, const json_t *v)
{
    json_t *one = sol_jinja_take(j, json_pack("[O]", v)), *out = join(j, one, NULL);
    json_decref(one);
    return out;
}

/* The filters of lists and of everything; NULL: none of these. */
static json_t *filter_any(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n,
                          json_t *named)
{
    const json_t *attribute = json_object_get(named, "attribute");
    bool list = json_is_array(v);
    if (strcmp(name, "selectattr") == 0) return selected(j, v, true, args, n);
    if (strcmp(name, "rejectattr") == 0) return selected(j, v, false, args, n);
    if (strcmp(name, "map") == 0 && list && n == 0 && json_is_string(attribute))
        return attributes(j, v, attribute);
    if (json_object_size(named) > 0) return NULL;
    if ((strcmp(name, "default") == 0 || strcmp(name, "d") == 0) && (n == 1 || n == 2)) {
        bool missing =
            v == j->undefined || (n == 2 && sol_jinja_truth(j, args[1]) && !sol_jinja_truth(j, v));
        return json_incref(missing ? args[0] : v);
    }
    if (strcmp(name, "join") == 0 && list && n <= 1 && all_strings(args, n))
        return join(j, v, n ? args[0] : NULL);
    if (n > 0) return NULL;
    if (strcmp(name, "length") == 0 || strcmp(name, "count") == 0)
        return sol_jinja_take(j, json_integer(length_of(j, v)));
    if (strcmp(name, "first") == 0 && (list || json_is_string(v))) return item_of(j, v, 0);
    if (strcmp(name, "last") == 0 && (list || json_is_string(v))) return item_of(j, v, -1);
    if (strcmp(name, "list") == 0 && list) return json_incref(v);
    if (strcmp(name, "reverse") == 0 && list) return backwards(j, v);
    if (strcmp(name, "items") == 0 && json_is_object(v)) return items_of(j, v);
    if (strcmp(name, "string") == 0) return printed(j, v);
    if (strcmp(name, "int") == 0 && json_is_integer(v)) return json_incref(v);
    if (strcmp(name, "tojson") == 0 && v != j->undefined) return as_json(j, v);
    return NULL;
}

json_t *sol_jinja_filter(sol_jinja_state *j, const char *name, json_t *v, json_t **args, int n,
                         json_t *named)
{
    json_t *out = filter_any(j, name, v, args, n, named);
    if (out || j->status != SOL_OK) return out ? out : json_null();
    if (json_object_size(named) > 0 || !all_strings(args, n) || !json_is_string(v))
        return unsupported(j, "the filter", name);
    if (strcmp(name, "trim") == 0 && n <= 1) return strip(j, v, n ? args[0] : NULL, true, true);
    if (strcmp(name, "safe") == 0 && n == 0) return json_incref(v);
    if (strcmp(name, "replace") == 0 && n == 2 && json_string_length(args[0]) > 0)
        return replaced(j, v, args[0], args[1]);
    if (strcmp(name, "capitalize") == 0 && n == 0) return capitalized(j, v);
    if (n == 0 && (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0))
        return cased(j, name, v);
    return unsupported(j, "the filter", name);
}

/* ---- functions ---- */

/* range(end), range(begin, end[, step]) */
static json_t *range(sol_jinja_state *j, json_t **args, int n)
{
    json_int_t bound[3] = {0, 0, 1};
    for (int i = 0; i < n; i++) {
        if (n > 3 || !json_is_integer(args[i])) return unsupported(j, "the function", "range");
        bound[n == 1 ? 1 : i] = json_integer_value(args[i]);
    }
    json_int_t step_by = bound[2], at = bound[0];
    json_t *list = sol_jinja_take(j, json_array());
    if (step_by == 0) sol_jinja_fail(j, SOL_ERR_FORMAT, "a range in steps of 0");
    for (; j->status == SOL_OK && (step_by > 0 ? at < bound[1] : at > bound[1]); at += step_by) {
        sol_jinja_spend(j, 1);
        json_array_append_new(list, sol_jinja_take(j, json_integer(at)));
    }
    return list;
}

static json_t *namespace(sol_jinja_state *j, json_t *named)
{
    json_t *space = sol_jinja_take(j, json_copy(named));
    if (json_array_size(j->spaces) == SOL_JINJA_NAMESPACES)
        sol_jinja_fail(j, SOL_ERR_RANGE, "more than %d namespaces", SOL_JINJA_NAMESPACES);
    else
        json_array_append(j->spaces, space);
    return space;
}

static json_t *now(sol_jinja_state *j, const json_t *form)
{
    char text[128];
    time_t at = time(NULL);
    struct tm day;
    size_t n = strftime(text, sizeof text, json_string_value(form), localtime_r(&at, &day));
    return string_of(j, text, n);
}

bool sol_jinja_has_function(const char *name)
{
    static const char *const names[] = {"namespace", "range", "dict", "raise_exception",
                                        "strftime_now"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

json_t *sol_jinja_function(sol_jinja_state *j, const char *name, json_t **args, int n,
                           json_t *named)
{
    bool only_named = n == 0, only_string = n == 1 && json_is_string(args[0]);
    if (strcmp(name, "namespace") == 0 && only_named) return namespace(j, named);
    if (strcmp(name, "dict") == 0 && only_named) return sol_jinja_take(j, json_copy(named));
    if (strcmp(name, "range") == 0 && n > 0) return range(j, args, n);
    if (strcmp(name, "raise_exception") == 0 && only_string)
        return sol_jinja_fail(j, SOL_ERR_FORMAT, "%.200s", json_string_value(args[0]));
    if (strcmp(name, "strftime_now") == 0 && only_string) return now(j, args[0]);
    return unsupported(j, "the function", name);
}
