/* Makes jansson's values of bytes that may be no UTF-8 and of attributes of HDF5. card.c,
 * cmd_inspect.c and cmd_runs.c call it. */
#include "as_json.h"

#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "infer/infer.h"

static void add_text(void *user, const char *text, size_t n)
{
    sol_text_add_bytes(user, NULL, text, n);
}

json_t *sol_json_bytes(const char *bytes, size_t n)
{
    sol_utf8_joiner joiner = {0};
    sol_text text = {0};
    sol_utf8_join(&joiner, bytes, n, add_text, &text);
    sol_utf8_finish(&joiner, add_text, &text);
    json_t *value = text.status == SOL_OK ? json_stringn(text.data ? text.data : "", text.n) : NULL;
    sol_free(text.data);
    return value;
}

json_t *sol_json_base_name(const char *path)
{
    size_t n;
    const char *name = sol_path_last(path, &n);
    return sol_json_bytes(name, n);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

static json_t *integer_json(const sol_h5_attr *a)
{
    uint64_t u = 0;
    memcpy(&u, a->value, a->size);
    char text[32];
    if (a->type == SOL_H5_I64 || (!ends_with(a->name, "hash") && !ends_with(a->name, "digest")))
        return json_integer((json_int_t)u);
    snprintf(text, sizeof text, "%016" PRIx64, u);
    return json_string(text);
}

json_t *sol_json_attr(const sol_h5_attr *a)
{
    double real;
    switch (a->type) {
    case SOL_H5_STRING: return sol_json_bytes(a->value, a->size);
    case SOL_H5_F64:
        memcpy(&real, a->value, sizeof real);
        return real - real == 0 ? json_real(real) : json_null(); /* infinity: none yet */
    case SOL_H5_U8:
    case SOL_H5_U16:
    case SOL_H5_U32:
    case SOL_H5_U64:
    case SOL_H5_I64: return integer_json(a);
    case SOL_H5_I8: return json_integer(*(const int8_t *)a->value);
    default: return json_string(sol_h5_type_name(a->type));
    }
}
