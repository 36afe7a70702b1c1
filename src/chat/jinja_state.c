/* Jinja: what is common to a run: its failures, the work that is left, values that are compared and
 * written. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/jinja_impl.h"

json_t *sol_jinja_fail(sol_jinja_state *j, sol_status st, const char *fmt, ...)
{
    char text[256];
    va_list args;
    j->at = j->end;
    if (j->status != SOL_OK) return json_null();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *c = text; *c; c++) *c = (unsigned char)*c < ' ' ? ' ' : *c;
    j->status = sol_fail(j->err, st, "line %d: %s", j->line, text);
    return json_null();
}

json_t *sol_jinja_take(sol_jinja_state *j, json_t *v)
{
    return v ? v : sol_jinja_fail(j, SOL_ERR_NOMEM, "out of memory");
}

void sol_jinja_spend(sol_jinja_state *j, size_t n)
{
    j->left -= (int64_t)n;
    if (j->left < 0) sol_jinja_fail(j, SOL_ERR_RANGE, "it does not come to an end");
}

void sol_jinja_hold(sol_jinja_state *j, json_t *v)
{
    if (json_is_array(v) || json_is_object(v)) json_array_append(j->inner, v);
}

/* ---- values ---- */

bool sol_jinja_truth(const sol_jinja_state *j, const json_t *v)
{
    if (v == j->undefined) return false;
    if (json_is_string(v)) return json_string_length(v) > 0;
    if (json_is_number(v)) return json_number_value(v) != 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    if (json_is_object(v)) return json_object_size(v) > 0;
    return json_is_true(v);
}

static bool equal(sol_jinja_state *j, const json_t *a, const json_t *b, int depth);

static bool equal_arrays(sol_jinja_state *j, const json_t *a, const json_t *b, int depth)
{
    size_t n = json_array_size(a);
    if (n != json_array_size(b)) return false;
    for (size_t i = 0; i < n; i++)
        if (!equal(j, json_array_get(a, i), json_array_get(b, i), depth)) return false;
    return true;
}

static bool equal_objects(sol_jinja_state *j, const json_t *a, const json_t *b, int depth)
{
    const char *key;
    json_t *v;
    if (json_object_size(a) != json_object_size(b)) return false;
    json_object_foreach((json_t *)a, key, v)
    {
        const json_t *other = json_object_get(b, key);
        if (!other || !equal(j, v, other, depth)) return false;
    }
    return true;
}

static bool equal(sol_jinja_state *j, const json_t *a, const json_t *b, int depth)
{
    if (a == b) return true;
    if (sol_jinja_is_whole(a) && sol_jinja_is_whole(b))
        return sol_jinja_whole(a) == sol_jinja_whole(b);
    sol_jinja_spend(j, 1);
    if (depth == SOL_JINJA_NESTING)
        sol_jinja_fail(j, SOL_ERR_RANGE, "values nested too deeply are compared");
    if (j->status != SOL_OK) return false;
    if (json_is_array(a) && json_is_array(b)) return equal_arrays(j, a, b, depth + 1);
    if (json_is_object(a) && json_is_object(b)) return equal_objects(j, a, b, depth + 1);
    return json_equal(a, b);
}

bool sol_jinja_equal(sol_jinja_state *j, const json_t *a, const json_t *b)
{
    return equal(j, a, b, 0);
}

void sol_jinja_write(sol_jinja_state *j, sol_text *out, const char *text, size_t n)
{
    if (j->status != SOL_OK) return;
    if (n > SOL_JINJA_BYTES || out->n + n > SOL_JINJA_BYTES)
        sol_jinja_fail(j, SOL_ERR_RANGE, "more than 16 MB are written");
    else
        j->status = sol_text_add_bytes(out, j->err, text, n);
}

void sol_jinja_print(sol_jinja_state *j, const json_t *v, sol_text *out)
{
    char number[32];
    const char *text = number;
    if (sol_jinja_idle(j) || v == j->undefined) return;
    if (json_is_string(v))
        text = json_string_value(v);
    else if (json_is_integer(v))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        text = json_is_true(v) ? "True" : "False";
    else if (json_is_null(v))
        text = "None";
    else
        sol_jinja_fail(j, SOL_ERR_UNSUPPORTED, "a list or a number with a point is printed");
    if (j->status == SOL_OK) sol_jinja_write(j, out, text, strlen(text));
}
