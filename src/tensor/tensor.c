#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [SOL_F32] = {"f32", 4}, [SOL_F16] = {"f16", 2}, [SOL_BF16] = {"bf16", 2}, [SOL_I32] = {"i32", 4},
    [SOL_U32] = {"u32", 4}, [SOL_U16] = {"u16", 2}, [SOL_U8] = {"u8", 1},     [SOL_I8] = {"i8", 1},
};

size_t sol_dtype_size(sol_dtype t)
{
    return types[t].size;
}

const char *sol_dtype_name(sol_dtype t)
{
    return types[t].name;
}

sol_shape sol_shape1(int64_t a)
{
    return (sol_shape){1, {a}};
}

sol_shape sol_shape2(int64_t a, int64_t b)
{
    return (sol_shape){2, {a, b}};
}

sol_shape sol_shape3(int64_t a, int64_t b, int64_t c)
{
    return (sol_shape){3, {a, b, c}};
}

sol_shape sol_shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (sol_shape){4, {a, b, c, d}};
}

int64_t sol_shape_count(const sol_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->n_dims; i++) n *= s->dim[i];
    return n;
}

const char *sol_shape_text(const sol_shape *s, char *buffer)
{
    char *p = buffer;
    *p++ = '[';
    for (int i = 0; i < s->n_dims; i++) p += sprintf(p, "%s%lld", i ? ", " : "", (long long)s->dim[i]);
    strcpy(p, "]");
    return buffer;
}

sol_status sol_shape_bytes(const sol_shape *s, sol_dtype t, size_t *bytes, sol_err *err)
{
    sol_status st = SOL_OK;
    *bytes = sol_dtype_size(t);
    for (int i = 0; st == SOL_OK && i < s->n_dims; i++) st = sol_size_mul(*bytes, (size_t)s->dim[i], bytes, err);
    return st;
}

static float load(const void *src, sol_dtype t, int64_t i)
{
    if (t == SOL_F32) return ((const float *)src)[i];
    uint16_t h = ((const uint16_t *)src)[i];
    return t == SOL_BF16 ? sol_bf16_to_f32(h) : sol_f16_to_f32(h);
}

void sol_convert(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type, int64_t n)
{
    if (dst_type == src_type) {
        memcpy(dst, src, (size_t)n * sol_dtype_size(dst_type));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float x = load(src, src_type, i);
        if (dst_type == SOL_F32)
            ((float *)dst)[i] = x;
        else
            ((uint16_t *)dst)[i] = dst_type == SOL_BF16 ? sol_f32_to_bf16(x) : sol_f32_to_f16(x);
    }
}
