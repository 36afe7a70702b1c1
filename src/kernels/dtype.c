/* The table of element types, their casts, and the integers of a stored row. */
#include "kernels/dtype.h"

#include <float.h>
#include <string.h>

#include "base/num.h"
#include "kernels/codebook.h"

/* One loop a pair of types, so that the compiler makes vectors of it. */
static void bf16_to_f32(const void *in, int64_t n, float *out)
{
    const sol_bf16 *x = in;
    for (int64_t i = 0; i < n; i++) out[i] = sol_bf16_to_f32(x[i]);
}

static void f32_to_bf16(const float *in, int64_t n, void *out)
{
    sol_bf16 *y = out;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = sol_f32_bits(in[i]), nearest = u + 0x7fffu + (u >> 16 & 1),
                 quiet = u | 0x400000u;
        y[i] = (sol_bf16)(((u & 0x7fffffffu) > 0x7f800000u ? quiet : nearest) >> 16);
    }
}

static void f16_to_f32(const void *in, int64_t n, float *out)
{
    const sol_f16 *x = in;
    for (int64_t i = 0; i < n; i++) out[i] = sol_f16_to_f32(x[i]);
}

static void f32_to_f16(const float *in, int64_t n, void *out)
{
    sol_f16 *y = out;
    for (int64_t i = 0; i < n; i++) y[i] = sol_f32_to_f16(in[i]);
}

static void q8_integers(const uint8_t *bytes, const uint8_t *none, int64_t n, int8_t *q)
{
    (void)none;
    memcpy(q, bytes, (size_t)n);
}

/* Two columns a byte, so that the compiler makes vectors of it. */
static void q4_integers(const uint8_t *nibbles, const uint8_t *none, int64_t n, int8_t *q)
{
    int64_t c = 0;
    (void)none;
    for (; c + 2 <= n; c += 2) {
        q[c] = (int8_t)((nibbles[c / 2] & 15) - 8);
        q[c + 1] = (int8_t)((nibbles[c / 2] >> 4) - 8);
    }
    if (c < n) q[c] = (int8_t)((nibbles[c / 2] & 15) - 8);
}

static void q6_integers(const uint8_t *nibbles, const uint8_t *pairs, int64_t n, int8_t *q)
{
    for (int64_t c = 0; c < n; c++) {
        int low = nibbles[c / 2] >> 4 * (c & 1) & 15, high = pairs[c / 4] >> 2 * (c & 3) & 3;
        q[c] = (int8_t)((low | high << 4) - 32);
    }
}

static void ternary_integers(const uint8_t *slots, const uint8_t *signs, int64_t n, int8_t *q)
{
    for (int64_t g = 0; g < n / 4; g++) {
        int code = (signs[g / 8] >> g % 8 & 1) << 4 | (slots[g / 2] >> 4 * (g & 1) & 15);
        memcpy(q + 4 * g, sol_code_levels[code], 4);
    }
}

static const sol_dtype_traits traits[SOL_DTYPES] = {
    [SOL_F32] = {.name = "f32", .bits = 128, .max = FLT_MAX},
    [SOL_F16] = {.name = "f16",
                 .bits = 64,
                 .max = SOL_F16_MAX,
                 .to_f32 = f16_to_f32,
                 .from_f32 = f32_to_f16},
    [SOL_BF16] = {.name = "bf16",
                  .bits = 64,
                  .max = SOL_BF16_MAX,
                  .to_f32 = bf16_to_f32,
                  .from_f32 = f32_to_bf16},
    [SOL_Q8] = {.name = "q8",
                .bits = 32,
                .block = SOL_SCALE_BLOCK,
                .segment = SOL_SCALE_BLOCK,
                .low = -127,
                .high = 127,
                .trials = 1,
                .max = 127 * SOL_F16_MAX,
                .integers = q8_integers},
    [SOL_Q6] = {.name = "q6",
                .bits = 16,
                .more_bits = 8,
                .block = SOL_SCALE_BLOCK,
                .segment = SOL_SCALE_BLOCK,
                .low = -32,
                .high = 31,
                .zero = 32,
                .trials = 6,
                .max = 32 * SOL_F16_MAX,
                .integers = q6_integers},
    [SOL_Q4] = {.name = "q4",
                .bits = 16,
                .block = SOL_SCALE_BLOCK,
                .segment = SOL_SCALE_BLOCK,
                .low = -8,
                .high = 7,
                .zero = 8,
                .trials = 12,
                .max = 8 * SOL_F16_MAX,
                .integers = q4_integers},
    [SOL_TERNARY] = {.name = "ternary",
                     .bits = 4,
                     .segment = SOL_TERNARY_BLOCK,
                     .low = -1,
                     .high = 1,
                     .max = SOL_F16_MAX,
                     .integers = ternary_integers},
    [SOL_I32] = {.name = "i32", .bits = 128},
    [SOL_U32] = {.name = "u32", .bits = 128},
    [SOL_U16] = {.name = "u16", .bits = 64},
    [SOL_U8] = {.name = "u8", .bits = 32},
    [SOL_I8] = {.name = "i8", .bits = 32},
};

const sol_dtype_traits *sol_dtype_of(sol_dtype t)
{
    return &traits[t];
}

const char *sol_dtype_name(sol_dtype t)
{
    return traits[t].name;
}

size_t sol_dtype_size(sol_dtype t)
{
    return (size_t)traits[t].bits / 32;
}

float sol_dtype_max(sol_dtype t)
{
    return traits[t].max;
}

size_t sol_dtype_row_bytes(sol_dtype t, int64_t cols)
{
    return (size_t)(sol_ceil_div(cols * traits[t].bits, 32) +
                    sol_ceil_div(cols * traits[t].more_bits, 32));
}

int64_t sol_dtype_row_scales(sol_dtype t, int64_t cols)
{
    return traits[t].block ? sol_ceil_div(cols, traits[t].block) : 0;
}

/* Between two types of 16 bits: through fp32, a piece at a time. */
static void between_halves(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type,
                           int64_t n)
{
    enum { PIECE = 256 };
    for (int64_t i = 0; i < n; i += PIECE) {
        float x[PIECE];
        int64_t some = sol_min_i64(n - i, PIECE);
        traits[src_type].to_f32((const uint16_t *)src + i, some, x);
        traits[dst_type].from_f32(x, some, (uint16_t *)dst + i);
    }
}

void sol_convert(void *dst, sol_dtype dst_type, const void *src, sol_dtype src_type, int64_t n)
{
    if (dst_type == src_type)
        memcpy(dst, src, (size_t)n * sol_dtype_size(dst_type));
    else if (dst_type == SOL_F32)
        traits[src_type].to_f32(src, n, dst);
    else if (src_type == SOL_F32)
        traits[dst_type].from_f32(src, n, dst);
    else
        between_halves(dst, dst_type, src, src_type, n);
}

int64_t sol_first_beyond(const float *x, int64_t n, float max)
{
    uint32_t limit = sol_f32_bits(max),
             top = 0; /* as bits infinity and NaN are above all numbers */
    for (int64_t i = 0; i < n; i++) {
        uint32_t size = sol_f32_bits(x[i]) & 0x7fffffffu;
        top = size > top ? size : top;
    }
    if (top <= limit) return -1;
    for (int64_t i = 0; i < n; i++)
        if ((sol_f32_bits(x[i]) & 0x7fffffffu) > limit) return i;
    return -1;
}
