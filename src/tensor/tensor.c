/* Element types, shapes, and casts between float types. */
#include "tensor/tensor.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"

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

bool sol_shape_equal(const sol_shape *a, const sol_shape *b)
{
    return a->n_dims == b->n_dims && memcmp(a->dim, b->dim, (size_t)a->n_dims * sizeof a->dim[0]) == 0;
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

/* One loop a pair of types, so that the compiler can widen it to vectors. */
static void bf16_to_f32(float *out, const sol_bf16 *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_bf16_to_f32(in[i]);
}

static void f32_to_bf16(sol_bf16 *out, const float *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = sol_f32_bits(in[i]), nearest = u + 0x7fffu + (u >> 16 & 1), quiet = u | 0x400000u;
        out[i] = (sol_bf16)(((u & 0x7fffffffu) > 0x7f800000u ? quiet : nearest) >> 16);
    }
}

static void f16_to_f32(float *out, const sol_f16 *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_f16_to_f32(in[i]);
}

static void f32_to_f16(sol_f16 *out, const float *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_f32_to_f16(in[i]);
}

/* Between two types of 16 bits: through fp32, a piece at a time. */
static void between_halves(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type, int64_t n)
{
    enum { PIECE = 256 };
    for (int64_t i = 0; i < n; i += PIECE) {
        float x[PIECE];
        int64_t some = sol_min_i64(n - i, PIECE);
        sol_convert(x, SOL_F32, (const uint16_t *)src + i, src_type, some);
        sol_convert((uint16_t *)dst + i, dst_type, x, SOL_F32, some);
    }
}

void sol_convert(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type, int64_t n)
{
    if (dst_type == src_type)
        memcpy(dst, src, (size_t)n * sol_dtype_size(dst_type));
    else if (dst_type == SOL_F32 && src_type == SOL_BF16)
        bf16_to_f32(dst, src, n);
    else if (dst_type == SOL_F32)
        f16_to_f32(dst, src, n);
    else if (src_type == SOL_F32 && dst_type == SOL_BF16)
        f32_to_bf16(dst, src, n);
    else if (src_type == SOL_F32)
        f32_to_f16(dst, src, n);
    else
        between_halves(dst, dst_type, src, src_type, n);
}

float sol_dtype_most(sol_dtype t)
{
    return t == SOL_F16 ? SOL_F16_MOST : t == SOL_BF16 ? SOL_BF16_MOST : FLT_MAX;
}

int64_t sol_first_beyond(const float *x, int64_t n, float most)
{
    uint32_t limit = sol_f32_bits(most), top = 0; /* as bits infinity and NaN are above all numbers */
    for (int64_t i = 0; i < n; i++) {
        uint32_t size = sol_f32_bits(x[i]) & 0x7fffffffu;
        top = size > top ? size : top;
    }
    if (top <= limit) return -1;
    for (int64_t i = 0; i < n; i++)
        if ((sol_f32_bits(x[i]) & 0x7fffffffu) > limit) return i;
    return -1;
}
