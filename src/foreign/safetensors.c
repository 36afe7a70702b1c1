/* Parses the header of a safetensors file. hf_import.c reads tensors at the places that it
 * finds. */
#include "foreign/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* The largest published header has 0.2 MB; the parsed JSON takes some 40 times the space of the
 * text. */
#define MAX_HEADER (16u << 20)

void sol_safetensors_close(sol_safetensors *t)
{
    for (size_t i = 0; i < t->n; i++) sol_free(t->tensor[i].name);
    sol_free(t->tensor);
    sol_free(t->path);
    sol_in_close(&t->in);
    *t = (sol_safetensors){.in.fd = -1};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sol_st_tensor *)a)->name, ((const sol_st_tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const sol_st_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

const sol_st_tensor *sol_safetensors_find(const sol_safetensors *t, const char *name)
{
    sol_st_tensor key = {.name = (char *)name};
    return t->n ? bsearch(&key, t->tensor, t->n, sizeof *t->tensor, by_name) : NULL;
}

/* Bytes of an element; 0 for a type that this format does not have. */
static uint64_t element_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } types[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},     {"I64", 8},
                 {"U64", 8}, {"I32", 4}, {"U32", 4},  {"I16", 2},     {"U16", 2},
                 {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(dtype, types[i].name) == 0) return types[i].bytes;
    return 0;
}

static bool whole_number(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static sol_status read_dtype(sol_st_tensor *x, const json_t *v, sol_err *err)
{
    const char *text = json_string_value(v);
    if (!text || strlen(text) >= sizeof x->dtype || !element_bytes(text))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "tensor %.100s: dtype %.40s is not known (read are F32, F16 and BF16)",
                        x->name, text ? text : "is missing or");
    memcpy(x->dtype, text, strlen(text) + 1);
    x->readable = true;
    if (strcmp(text, "F32") == 0)
        x->type = SOL_F32;
    else if (strcmp(text, "F16") == 0)
        x->type = SOL_F16;
    else if (strcmp(text, "BF16") == 0)
        x->type = SOL_BF16;
    else
        x->readable = false;
    return SOL_OK;
}

/* *bytes: what the shape asks for. */
static sol_status read_shape(sol_st_tensor *x, const json_t *v, uint64_t *bytes, sol_err *err)
{
    *bytes = element_bytes(x->dtype);
    if (!json_is_array(v))
        return sol_fail(err, SOL_ERR_FORMAT, "tensor %.100s: has no shape", x->name);
    if (json_array_size(v) > SOL_MAX_DIMS)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "tensor %.100s: has %zu dimensions, at most %d are read", x->name,
                        json_array_size(v), SOL_MAX_DIMS);
    x->shape.n_dims = (int)json_array_size(v);
    for (int i = 0; i < x->shape.n_dims; i++) {
        uint64_t d;
        if (!whole_number(json_array_get(v, (size_t)i), &d) ||
            __builtin_mul_overflow(*bytes, d, bytes) || d > INT64_MAX)
            return sol_fail(err, SOL_ERR_FORMAT,
                            "tensor %.100s: dimension %d of its shape is not a size", x->name, i);
        x->shape.dim[i] = (int64_t)d;
    }
    return SOL_OK;
}

static sol_status read_tensor(sol_st_tensor *x, const json_t *o, uint64_t start, uint64_t data,
                              sol_err *err)
{
    uint64_t bytes = 0;
    const json_t *at = json_object_get(o, "data_offsets");
    if (!json_is_object(o))
        return sol_fail(err, SOL_ERR_FORMAT, "tensor %.100s: is not described by an object",
                        x->name);
    SOL_TRY(read_dtype(x, json_object_get(o, "dtype"), err));
    SOL_TRY(read_shape(x, json_object_get(o, "shape"), &bytes, err));
    if (json_array_size(at) != 2 || !whole_number(json_array_get(at, 0), &x->begin) ||
        !whole_number(json_array_get(at, 1), &x->end) || x->begin > x->end || x->end > data)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "tensor %.100s: its data_offsets lie outside the %llu bytes of data",
                        x->name, (unsigned long long)data);
    if (x->end - x->begin != bytes)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "tensor %.100s: its data_offsets hold %llu bytes, its shape wants %llu",
                        x->name, (unsigned long long)(x->end - x->begin),
                        (unsigned long long)bytes);
    x->begin += start;
    x->end += start;
    return SOL_OK;
}

/* Tensors lie back to back: no gap, no overlap, nothing behind the last. Leaves them sorted by
 * name. */
static sol_status check_places(sol_safetensors *t, uint64_t start, uint64_t data, sol_err *err)
{
    uint64_t at = start;
    if (t->n) qsort(t->tensor, t->n, sizeof *t->tensor, by_place);
    for (size_t i = 0; i < t->n; i++) {
        if (t->tensor[i].begin != at)
            return sol_fail(
                err, SOL_ERR_FORMAT,
                "tensor %.100s: its data begin at byte %llu, those before it end at %llu",
                t->tensor[i].name, (unsigned long long)t->tensor[i].begin, (unsigned long long)at);
        at = t->tensor[i].end;
    }
    if (at != start + data)
        return sol_fail(err, SOL_ERR_FORMAT, "the tensors end at byte %llu, the file at %llu",
                        (unsigned long long)at, (unsigned long long)(start + data));
    if (t->n) qsort(t->tensor, t->n, sizeof *t->tensor, by_name);
    return SOL_OK;
}

/* Parses the header json[size] of a file whose `data` bytes of tensors begin at byte `start`. */
static sol_status parse(sol_safetensors *t, const char *json, size_t size, uint64_t start,
                        uint64_t data, sol_err *err)
{
    json_error_t why;
    const char *name;
    json_t *value, *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &why);
    if (!root) return sol_fail(err, SOL_ERR_FORMAT, "header, byte %d: %s", why.position, why.text);
    sol_status st = json_is_object(root)
                        ? SOL_OK
                        : sol_fail(err, SOL_ERR_FORMAT, "header: is not a JSON object");
    if (st == SOL_OK) {
        json_object_foreach(root, name, value)
        {
            if (strcmp(name, "__metadata__") == 0) continue;
            st =
                sol_grow_array((void **)&t->tensor, &t->capacity, t->n + 1, sizeof *t->tensor, err);
            if (st != SOL_OK) break;
            sol_st_tensor *x = &t->tensor[t->n];
            *x = (sol_st_tensor){0};
            st = sol_copy_string(&x->name, name, strlen(name), err);
            if (st != SOL_OK) break;
            t->n++;
            st = read_tensor(x, value, start, data, err);
            if (st != SOL_OK) break;
        }
    }
    json_decref(root);
    return st == SOL_OK ? check_places(t, start, data, err) : st;
}

static sol_status read_header(sol_safetensors *t, sol_err *err)
{
    uint8_t head[8] = {0};
    uint64_t n = 0;
    char *json = NULL;
    if (t->in.size < 8)
        return sol_fail(err, SOL_ERR_FORMAT, "has %llu bytes: no header",
                        (unsigned long long)t->in.size);
    sol_status st = sol_in_read(&t->in, 0, head, 8, err);
    for (int i = 0; i < 8; i++) n |= (uint64_t)head[i] << 8 * i;
    if (st == SOL_OK && (n > t->in.size - 8 || n > MAX_HEADER))
        st = sol_fail(
            err, SOL_ERR_FORMAT, "its header has %llu bytes, at most %llu fit",
            (unsigned long long)n,
            (unsigned long long)(t->in.size - 8 < MAX_HEADER ? t->in.size - 8 : MAX_HEADER));
    if (st == SOL_OK) st = sol_alloc_array((void **)&json, n, 1, err);
    if (st == SOL_OK) st = sol_in_read(&t->in, 8, json, n, err);
    if (st == SOL_OK) st = parse(t, json, n, 8 + n, t->in.size - 8 - n, err);
    sol_free(json);
    return st;
}

sol_status sol_safetensors_open(sol_safetensors *t, const char *path, sol_err *err)
{
    *t = (sol_safetensors){.in.fd = -1};
    sol_status st = sol_copy_string(&t->path, path, strlen(path), err);
    if (st == SOL_OK) st = sol_in_open(&t->in, t->path, err);
    if (st == SOL_OK) {
        st = read_header(t, err);
        if (st != SOL_OK) sol_err_prefix(err, st, "%s", path);
    }
    if (st != SOL_OK) sol_safetensors_close(t);
    return st;
}
