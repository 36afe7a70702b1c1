/* Parses a GGUF file from a map: metadata, tensor table, the parts of a split model.
 * gguf_import.c makes a source of it. */
#include "foreign/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

enum {
    MAX_KEY = 65535,
    MAX_TENSOR_NAME = 256,
    MAX_ALIGNMENT = 1 << 16,
    MAX_NESTING = 8,
    MAX_PARTS = 99999
};

static const uint8_t kind_bytes[SOL_GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct cursor {
    const uint8_t *data;
    uint64_t size, at;
    sol_err *err;
} cursor;

static sol_status ends_early(const cursor *c, const char *what)
{
    return sol_fail(c->err, SOL_ERR_FORMAT, "byte %llu: %s goes beyond the end of the file",
                    (unsigned long long)c->at, what);
}

static sol_status take(cursor *c, int n, uint64_t *out, const char *what)
{
    *out = 0;
    if (c->size - c->at < (uint64_t)n) return ends_early(c, what);
    for (int i = 0; i < n; i++) *out |= (uint64_t)c->data[c->at + (uint64_t)i] << 8 * i;
    c->at += (uint64_t)n;
    return SOL_OK;
}

static sol_status take_string(cursor *c, uint64_t max, sol_span *out, const char *what)
{
    uint64_t n;
    SOL_TRY(take(c, 8, &n, what));
    if (n > c->size - c->at) return ends_early(c, what);
    if (n > max)
        return sol_fail(
            c->err, SOL_ERR_FORMAT, "byte %llu: %s has %llu bytes, at most %llu are read",
            (unsigned long long)c->at, what, (unsigned long long)n, (unsigned long long)max);
    *out = (sol_span){(const char *)c->data + c->at, n};
    c->at += n;
    return SOL_OK;
}

static sol_status skip(cursor *c, uint64_t count, uint64_t size, const char *what)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > c->size - c->at)
        return ends_early(c, what);
    c->at += bytes;
    return SOL_OK;
}

/* ---- metadata ---- */

static sol_status fail_kind(const cursor *c, const sol_gguf_value *v, uint64_t kind)
{
    return sol_fail(c->err, SOL_ERR_FORMAT, "%.*s: has type %" PRIu64 ", which is none",
                    v->key.n < 80 ? (int)v->key.n : 80, v->key.at, kind);
}

/* Arrays of arrays are stepped over: no key that is read holds one. */
static sol_status take_array(cursor *c, sol_gguf_value *v, int depth)
{
    uint64_t element, count;
    sol_span s;
    SOL_TRY(take(c, 4, &element, "an array"));
    SOL_TRY(take(c, 8, &count, "an array"));
    if (element >= SOL_GGUF_KINDS) return fail_kind(c, v, element);
    if (depth == MAX_NESTING)
        return sol_fail(c->err, SOL_ERR_FORMAT, "%.*s: arrays lie more than %d deep",
                        v->key.n < 80 ? (int)v->key.n : 80, v->key.at, MAX_NESTING);
    v->element = (sol_gguf_kind)element;
    v->count = count;
    v->at = c->data + c->at;
    sol_gguf_value inner = *v;
    if (v->element == SOL_GGUF_ARRAY)
        for (uint64_t i = 0; i < count; i++) SOL_TRY(take_array(c, &inner, depth + 1));
    else if (v->element == SOL_GGUF_STRING)
        for (uint64_t i = 0; i < count; i++)
            SOL_TRY(take_string(c, UINT32_MAX, &s, "a string of an array"));
    else
        SOL_TRY(skip(c, count, kind_bytes[element], "an array"));
    return SOL_OK;
}

static sol_status take_value(cursor *c, sol_gguf_value *v)
{
    uint64_t kind;
    sol_span s;
    *v = (sol_gguf_value){.count = 1};
    SOL_TRY(take_string(c, MAX_KEY, &v->key, "a key"));
    SOL_TRY(take(c, 4, &kind, "a type"));
    if (kind >= SOL_GGUF_KINDS) return fail_kind(c, v, kind);
    v->kind = (sol_gguf_kind)kind;
    v->at = c->data + c->at;
    if (v->kind == SOL_GGUF_ARRAY) return take_array(c, v, 1);
    return v->kind == SOL_GGUF_STRING ? take_string(c, UINT32_MAX, &s, "a string")
                                      : skip(c, 1, kind_bytes[kind], "a value");
}

static int compare_spans(const sol_span *a, const sol_span *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = n ? memcmp(a->at, b->at, n) : 0;
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static int by_key(const void *a, const void *b)
{
    return compare_spans(&((const sol_gguf_value *)a)->key, &((const sol_gguf_value *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return compare_spans(&((const sol_gguf_tensor *)a)->name, &((const sol_gguf_tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const sol_gguf_tensor *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

const sol_gguf_value *sol_gguf_find(const sol_gguf *g, const char *key)
{
    sol_gguf_value want = {.key = {key, strlen(key)}};
    return g->n_values ? bsearch(&want, g->value, g->n_values, sizeof want, by_key) : NULL;
}

const sol_gguf_tensor *sol_gguf_tensor_named(const sol_gguf *g, const char *name)
{
    sol_gguf_tensor want = {.name = {name, strlen(name)}};
    return g->n_tensors ? bsearch(&want, g->tensor, g->n_tensors, sizeof want, by_name) : NULL;
}

static const sol_gguf *file_of(const sol_gguf *g, const sol_gguf_tensor *t)
{
    return t->part ? &g->part[t->part - 1] : g;
}

const sol_in *sol_gguf_tensor_in(const sol_gguf *g, const sol_gguf_tensor *t)
{
    return &file_of(g, t)->in;
}

const uint8_t *sol_gguf_tensor_bytes(const sol_gguf *g, const sol_gguf_tensor *t)
{
    return file_of(g, t)->map.data + t->offset;
}

static uint64_t number_at(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

bool sol_gguf_integer(const sol_gguf_value *v, int64_t *out)
{
    static const bool is_signed[SOL_GGUF_KINDS] = {
        [SOL_GGUF_I8] = true, [SOL_GGUF_I16] = true, [SOL_GGUF_I32] = true};
    if (v->kind == SOL_GGUF_F32 || v->kind == SOL_GGUF_F64 || v->kind == SOL_GGUF_STRING ||
        v->kind == SOL_GGUF_ARRAY)
        return false;
    int n = kind_bytes[v->kind];
    uint64_t u = number_at(v->at, n);
    if (is_signed[v->kind] && u >> (8 * n - 1)) u |= ~(uint64_t)0 << 8 * n;
    if (v->kind == SOL_GGUF_U64 && u > INT64_MAX) return false;
    *out = (int64_t)u;
    return true;
}

bool sol_gguf_equal_integers(const sol_gguf_value *v, int64_t *out)
{
    if (v->kind != SOL_GGUF_ARRAY) return sol_gguf_integer(v, out);
    int64_t next;
    for (uint64_t i = 0; i < v->count; i++) {
        sol_gguf_value one = {
            .kind = v->element, .count = 1, .at = v->at + i * kind_bytes[v->element]};
        if (!sol_gguf_integer(&one, &next) || (i && next != *out)) return false;
        *out = next;
    }
    return v->count > 0;
}

bool sol_gguf_real(const sol_gguf_value *v, double *out)
{
    int64_t whole;
    if (v->kind == SOL_GGUF_F32) {
        uint32_t bits = (uint32_t)number_at(v->at, 4);
        float x;
        memcpy(&x, &bits, 4);
        *out = x;
        return true;
    }
    if (v->kind == SOL_GGUF_F64) {
        uint64_t bits = number_at(v->at, 8);
        memcpy(out, &bits, 8);
        return true;
    }
    if (!sol_gguf_integer(v, &whole)) return false;
    *out = (double)whole;
    return true;
}

bool sol_gguf_text(const sol_gguf_value *v, sol_span *out)
{
    if (v->kind != SOL_GGUF_STRING) return false;
    *out = (sol_span){(const char *)v->at + 8, (size_t)number_at(v->at, 8)};
    return true;
}

sol_status sol_gguf_strings(const sol_gguf *g, const sol_gguf_value *v, sol_span **out,
                            sol_err *err)
{
    *out = NULL;
    if (v->kind != SOL_GGUF_ARRAY || v->element != SOL_GGUF_STRING)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %.*s: is not an array of strings",
                        g->path ? g->path : "GGUF", (int)v->key.n, v->key.at);
    SOL_TRY(sol_alloc_array((void **)out, v->count, sizeof **out, err));
    const uint8_t *p = v->at;
    for (uint64_t i = 0; i < v->count; i++) {
        size_t n = (size_t)number_at(p, 8);
        (*out)[i] = (sol_span){(const char *)p + 8, n};
        p += 8 + n;
    }
    return SOL_OK;
}

/* ---- tensors ---- */

static sol_status take_tensor(cursor *c, sol_gguf_tensor *t)
{
    uint64_t dims, d, type, count = 1;
    *t = (sol_gguf_tensor){0};
    SOL_TRY(take_string(c, MAX_TENSOR_NAME, &t->name, "a tensor's name"));
    SOL_TRY(take(c, 4, &dims, "a tensor's shape"));
    int shown = (int)t->name.n;
    if (dims < 1 || dims > 4)
        return sol_fail(c->err, SOL_ERR_FORMAT, "tensor %.*s: has %llu dimensions, expected 1 to 4",
                        shown, t->name.at, (unsigned long long)dims);
    t->n_dims = (int)dims;
    for (int i = 0; i < 4; i++) t->dim[i] = 1;
    for (int i = 0; i < t->n_dims; i++) {
        SOL_TRY(take(c, 8, &d, "a tensor's shape"));
        if (d == 0 || d > INT64_MAX || __builtin_mul_overflow(count, d, &count))
            return sol_fail(c->err, SOL_ERR_FORMAT, "tensor %.*s: dimension %d is not a size",
                            shown, t->name.at, i);
        t->dim[i] = (int64_t)d;
    }
    SOL_TRY(take(c, 4, &type, "a tensor's type"));
    SOL_TRY(take(c, 8, &t->offset, "a tensor's place"));
    t->type = sol_ggml_type_of((uint32_t)type);
    if (!t->type)
        return sol_fail(c->err, SOL_ERR_UNSUPPORTED, "tensor %.*s: has type %llu; read are %s",
                        shown, t->name.at, (unsigned long long)type, sol_ggml_names());
    if (t->dim[0] % t->type->block)
        return sol_fail(c->err, SOL_ERR_FORMAT,
                        "tensor %.*s: its rows of %lld are no multiple of %lld, as %s needs", shown,
                        t->name.at, (long long)t->dim[0], (long long)t->type->block, t->type->name);
    if (__builtin_mul_overflow(count / (uint64_t)t->type->block, (uint64_t)t->type->bytes,
                               &t->bytes))
        return sol_fail(c->err, SOL_ERR_FORMAT, "tensor %.*s: its shape overflows", shown,
                        t->name.at);
    return SOL_OK;
}

/* One id stands for Q2_0, and in the first files of STQ1_0 for that: the bytes up to the next
 * tensor, or to the end of the data, tells. */
static void settle_type(sol_gguf_tensor *t, uint64_t bytes)
{
    const sol_ggml_type *stq = sol_ggml_type_of(SOL_GGML_STQ1_0);
    if (t->type->id != SOL_GGML_Q2_0 || t->bytes <= bytes || t->dim[0] % stq->block) return;
    t->bytes =
        t->bytes / t->type->bytes * (uint64_t)t->type->block / (uint64_t)stq->block * stq->bytes;
    t->type = stq;
}

/* The same ids stand for other types in some versions of llama.cpp. */
static sol_status check_extent(const sol_gguf_tensor *t, uint64_t end, uint64_t alignment,
                               sol_err *err)
{
    bool shared = t->type->id == SOL_GGML_STQ1_0 || t->type->id == SOL_GGML_Q2_0;
    if (!shared || end - t->offset < t->bytes + alignment) return SOL_OK;
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "tensor %.*s: takes %llu bytes, %llu as %s: the number of its type stands for "
                    "another type here, which is not read",
                    (int)t->name.n, t->name.at, (unsigned long long)(end - t->offset),
                    (unsigned long long)t->bytes, t->type->name);
}

static sol_status sort_by_name(sol_gguf *g, sol_err *err)
{
    if (g->n_tensors) qsort(g->tensor, g->n_tensors, sizeof *g->tensor, by_name);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (by_name(&g->tensor[i - 1], &g->tensor[i]) == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "tensor %.*s: is there twice",
                            (int)g->tensor[i].name.n, g->tensor[i].name.at);
    return SOL_OK;
}

/* Inside the file, aligned, one after the other; leaves them sorted by name. */
static sol_status place_tensors(sol_gguf *g, uint64_t start, uint64_t alignment, uint64_t size,
                                sol_err *err)
{
    uint64_t data = size > start ? size - start : 0;
    if (g->n_tensors) qsort(g->tensor, g->n_tensors, sizeof *g->tensor, by_place);
    for (size_t i = 0; i < g->n_tensors; i++) {
        uint64_t at = g->tensor[i].offset,
                 end = i + 1 < g->n_tensors ? g->tensor[i + 1].offset : data;
        settle_type(&g->tensor[i], end > at ? end - at : 0);
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        sol_gguf_tensor *t = &g->tensor[i];
        if (t->offset % alignment || t->offset > size || start > size - t->offset ||
            t->bytes > size - t->offset - start)
            return sol_fail(err, SOL_ERR_FORMAT,
                            "tensor %.*s: its data lie outside the file or are not aligned",
                            (int)t->name.n, t->name.at);
        t->offset += start;
    }
    for (size_t i = 1; i < g->n_tensors; i++)
        if (g->tensor[i].offset < g->tensor[i - 1].offset + g->tensor[i - 1].bytes)
            return sol_fail(err, SOL_ERR_FORMAT, "tensor %.*s: its data overlap those of %.*s",
                            (int)g->tensor[i].name.n, g->tensor[i].name.at,
                            (int)g->tensor[i - 1].name.n, g->tensor[i - 1].name.at);
    for (size_t i = 0; i < g->n_tensors; i++) {
        SOL_TRY(check_extent(&g->tensor[i], i + 1 < g->n_tensors ? g->tensor[i + 1].offset : size,
                             alignment, err));
    }
    return sort_by_name(g, err);
}

static sol_status read_alignment(const sol_gguf *g, uint64_t *alignment, sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, "general.alignment");
    int64_t a = 32;
    if (v && (!sol_gguf_integer(v, &a) || a < 1 || a > MAX_ALIGNMENT || (a & (a - 1)) != 0))
        return sol_fail(err, SOL_ERR_FORMAT, "general.alignment is not a power of two up to %d",
                        MAX_ALIGNMENT);
    *alignment = (uint64_t)a;
    return SOL_OK;
}

/* A count of things that take at least `least` bytes each. */
static sol_status take_count(cursor *c, uint64_t least, uint64_t *n, const char *what)
{
    SOL_TRY(take(c, 8, n, what));
    if (*n > (c->size - c->at) / least)
        return sol_fail(c->err, SOL_ERR_FORMAT, "says it has %llu %s, more than it has room for",
                        (unsigned long long)*n, what);
    return SOL_OK;
}

static sol_status check_version(uint64_t version, sol_err *err)
{
    if (version == 2 || version == 3) return SOL_OK;
    if (version && (version & 0xFFFF) == 0) /* no version is that large: its bytes are swapped */
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "is a big-endian GGUF file, only little-endian ones are read: "
                        "`gguf-convert-endian FILE little` "
                        "of the Python package gguf turns a copy of it");
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "is GGUF version %" PRIu64 ", this program reads 2 and 3", version);
}

sol_status sol_gguf_parse(sol_gguf *g, const uint8_t *data, size_t size, sol_err *err)
{
    cursor c = {data, size, 4, err};
    uint64_t version, tensors, values, alignment = 32;
    if (size < 24 || memcmp(data, "GGUF", 4) != 0)
        return sol_fail(err, SOL_ERR_FORMAT, "is not a GGUF file");
    SOL_TRY(take(&c, 4, &version, "the header"));
    SOL_TRY(check_version(version, err));
    SOL_TRY(take_count(&c, 24, &tensors, "tensors"));
    SOL_TRY(take_count(&c, 13, &values, "metadata values"));
    SOL_TRY(sol_alloc_array((void **)&g->value, values, sizeof *g->value, err));
    SOL_TRY(sol_alloc_array((void **)&g->tensor, tensors, sizeof *g->tensor, err));
    for (; g->n_values < values; g->n_values++) SOL_TRY(take_value(&c, &g->value[g->n_values]));
    if (g->n_values) qsort(g->value, g->n_values, sizeof *g->value, by_key);
    for (size_t i = 1; i < g->n_values; i++)
        if (by_key(&g->value[i - 1], &g->value[i]) == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "%.*s: is there twice",
                            g->value[i].key.n < 80 ? (int)g->value[i].key.n : 80,
                            g->value[i].key.at);
    SOL_TRY(read_alignment(g, &alignment, err));
    for (; g->n_tensors < tensors; g->n_tensors++)
        SOL_TRY(take_tensor(&c, &g->tensor[g->n_tensors]));
    return place_tensors(g, sol_round_up_size(c.at, alignment), alignment, size, err);
}

static sol_status open_file(sol_gguf *g, const char *path, sol_err *err)
{
    *g = (sol_gguf){.in.fd = -1};
    sol_status st = sol_copy_string(&g->path, path, strlen(path), err);
    if (st == SOL_OK) st = sol_in_open(&g->in, g->path, err);
    if (st == SOL_OK) st = sol_in_map(&g->in, &g->map, err);
    if (st == SOL_OK) {
        st = sol_gguf_parse(g, g->map.data, g->map.size, err);
        if (st != SOL_OK) sol_err_prefix(err, st, "%s", path);
    }
    if (st != SOL_OK) sol_gguf_close(g);
    return st;
}

/* ---- a model in several files ---- */

static int64_t split_number(const sol_gguf *g, const char *key, int64_t absent)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    int64_t n;
    return !v ? absent : sol_gguf_integer(v, &n) ? n : -1;
}

/* "dir/name-00001-of-00003.gguf": how long "dir/name" is; -1: it is not named so. */
static int stem_length(const char *path, int64_t parts)
{
    char end[64];
    size_t n = strlen(path),
           n_end = (size_t)snprintf(end, sizeof end, "-00001-of-%05" PRId64 ".gguf", parts);
    return n > n_end && strcmp(path + n - n_end, end) == 0 ? (int)(n - n_end) : -1;
}

static sol_status open_part(sol_gguf *g, int64_t index, int64_t parts, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_gguf *p = &g->part[index - 1];
    snprintf(path, sizeof path, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf",
             stem_length(g->path, parts), g->path, index + 1, parts);
    if (!sol_file_exists(path))
        return sol_fail(err, SOL_ERR_IO, "%s: is part 1 of %" PRId64 ", but %s is missing", g->path,
                        parts, path);
    SOL_TRY(open_file(p, path, err));
    g->n_parts++;
    if (split_number(p, "split.no", -1) != index || split_number(p, "split.count", -1) != parts)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: does not say that it is part %" PRId64 " of %" PRId64, path, index + 1,
                        parts);
    size_t capacity = g->n_tensors;
    SOL_TRY(sol_grow_array((void **)&g->tensor, &capacity, g->n_tensors + p->n_tensors,
                           sizeof *g->tensor, err));
    for (size_t i = 0; i < p->n_tensors; i++) {
        g->tensor[g->n_tensors] = p->tensor[i];
        g->tensor[g->n_tensors++].part = (int)index;
    }
    return SOL_OK;
}

static sol_status open_parts(sol_gguf *g, sol_err *err)
{
    int64_t parts = split_number(g, "split.count", 0), index = split_number(g, "split.no", 0);
    if (parts == 0 || parts == 1) return SOL_OK;
    if (parts < 0 || parts > MAX_PARTS || index < 0 || index >= parts)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: split.no and split.count are not those of a part",
                        g->path);
    if (index > 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: is part %" PRId64 " of %" PRId64
                        ": name part 1, the others are found beside it",
                        g->path, index + 1, parts);
    if (stem_length(g->path, parts) < 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: is part 1 of %" PRId64
                        ": the parts must be named NAME-00001-of-%05" PRId64 ".gguf and so on, or "
                        "be merged with `llama-gguf-split --merge`",
                        g->path, parts, parts);
    SOL_TRY(sol_alloc_array((void **)&g->part, (size_t)parts - 1, sizeof *g->part, err));
    for (int64_t i = 1; i < parts; i++) SOL_TRY(open_part(g, i, parts, err));
    if (split_number(g, "split.tensors.count", (int64_t)g->n_tensors) != (int64_t)g->n_tensors)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: its %" PRId64
                        " parts have %zu tensors, not as many as split.tensors.count says",
                        g->path, parts, g->n_tensors);
    sol_status st = sort_by_name(g, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "%s", g->path);
}

sol_status sol_gguf_open(sol_gguf *g, const char *path, sol_err *err)
{
    sol_status st = open_file(g, path, err);
    if (st == SOL_OK) st = open_parts(g, err);
    if (st != SOL_OK) sol_gguf_close(g);
    return st;
}

void sol_gguf_close(sol_gguf *g)
{
    for (size_t i = 0; i < g->n_parts; i++) sol_gguf_close(&g->part[i]);
    sol_free(g->part);
    sol_free(g->value);
    sol_free(g->tensor);
    sol_map_close(&g->map);
    sol_in_close(&g->in);
    sol_free(g->path);
    *g = (sol_gguf){.in.fd = -1};
}
