/* The moments of AdamW in fp32, bf16 or blocks of 8 bits: loads a chunk as floats for adamw.c
 * and stores it rounded. The formats are in moments.h. */
#include "optim/moments.h"

#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"

enum { BLOCK = SOL_MOMENT_BLOCK, M_TOP = 127, V_TOP = 255 };

void sol_moment_draws(uint64_t seed, uint64_t stream, int64_t first, int64_t n, uint16_t *draw)
{
    for (int64_t i = 0; i < n; i += 8) {
        uint32_t word[4];
        sol_philox4x32(seed, stream, (uint64_t)(first + i) / 8, word);
        for (int64_t k = 0; k < 8 && i + k < n; k++)
            draw[i + k] = (uint16_t)(word[k / 2] >> 16 * (k % 2));
    }
}

/* ---- bf16 ---- */

/* Eight random bits, centred, so that the mean of what is stored is x to 1/512 of a spacing. */
static inline sol_bf16 dither(float x, uint32_t bits8)
{
    uint32_t bits = sol_f32_bits(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return sol_f32_to_bf16(x);
    return (sol_bf16)((bits + (bits8 << 8) + 0x80) >> 16);
}

static void store_bf16(const sol_moment_chunk *c, const float *m, const float *v)
{
    uint16_t draw[SOL_MOMENT_CHUNK];
    sol_bf16 *to_m = (sol_bf16 *)c->o->m + c->at, *to_v = (sol_bf16 *)c->o->v + c->at;
    sol_moment_draws(c->o->config.seed, SOL_STREAM_MOMENTS + ((uint64_t)c->o->t << 8), c->first,
                     c->n, draw);
    for (int64_t i = 0; i < c->n; i++) {
        to_m[i] = dither(m[i], draw[i] & 0xff);
        to_v[i] = dither(v[i], draw[i] >> 8);
    }
}

/* ---- 8 bit: a float whose exponent starts at `bias`, three bits of fraction ---- */

/* x in [0, 2) to its code. Below 2^(1 - bias) adding that number moves x into a binade where the
 * fraction counts evenly. Choices are made among integers, by masks: so the loops around become
 * vectors. */
static inline uint32_t encode(float x, int bias, uint32_t top)
{
    uint32_t least = (uint32_t)(128 - bias) << 23, small = sol_f32_bits(x) < least;
    uint32_t bits = sol_f32_bits(x + sol_f32_from_bits(least & (0u - small)));
    uint32_t code =
        ((bits + 0x7ffffu + (bits >> 20 & 1)) >> 20) - ((uint32_t)(127 - bias) + small) * 8;
    return code < top ? code : top;
}

static inline float decode(uint32_t code, int bias)
{
    uint32_t least = (uint32_t)(128 - bias) << 23, small = code < 8;
    float x = sol_f32_from_bits((code + ((uint32_t)(127 - bias) + small) * 8) << 20);
    return x - sol_f32_from_bits(least & (0u - small));
}

/* The scale of a block: its largest magnitude over the top code. */
static float scale_of(const float *x, int64_t n)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = sol_f32_bits(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return sol_f32_from_bits(largest) / 1.875f;
}

/* One block each: plain loops that the compiler turns into vectors. */
static void encode_m(const float *restrict x, float scale, int64_t n, uint8_t *restrict code)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = sol_f32_bits(x[i]);
        float size = sol_f32_from_bits(bits & 0x7fffffffu) / scale;
        code[i] = (uint8_t)(encode(size, 15, M_TOP) | (bits >> 31) << 7);
    }
}

static void encode_v(const float *restrict x, float scale, int64_t n, uint8_t *restrict code)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t c = encode(x[i] / scale, 31, V_TOP), least = sol_f32_bits(x[i]) != 0;
        code[i] = (uint8_t)(c | (least & (c == 0)));
    }
}

static void decode_m(const uint8_t *restrict code, float scale, int64_t n, float *restrict out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t c = code[i];
        out[i] = sol_f32_from_bits(sol_f32_bits(scale * decode(c & 0x7f, 15)) | (c >> 7) << 31);
    }
}

static void decode_v(const uint8_t *restrict code, float scale, int64_t n, float *restrict out)
{
    for (int64_t i = 0; i < n; i++) out[i] = scale * decode(code[i], 31);
}

static float store_block(const float *x, int64_t n, bool second, uint8_t *code)
{
    float scale = scale_of(x, n);
    if (scale == 0)
        memset(code, 0, (size_t)n);
    else if (second)
        encode_v(x, scale, n, code);
    else
        encode_m(x, scale, n, code);
    return scale;
}

static int64_t block_length(const sol_moment_chunk *c, int64_t i)
{
    return sol_min_i64(c->n - i, BLOCK);
}

static void load_8(const sol_moment_chunk *c, bool second, float *out)
{
    const uint8_t *code = (const uint8_t *)(second ? c->o->v : c->o->m) + c->at;
    const float *scale = (second ? c->o->v_scale : c->o->m_scale) + c->block;
    for (int64_t i = 0; i < c->n; i += BLOCK) {
        if (second)
            decode_v(code + i, scale[i / BLOCK], block_length(c, i), out + i);
        else
            decode_m(code + i, scale[i / BLOCK], block_length(c, i), out + i);
    }
}

static void store_8(const sol_moment_chunk *c, const float *m, const float *v)
{
    for (int64_t i = 0; i < c->n; i += BLOCK) {
        int64_t n = block_length(c, i), b = c->block + i / BLOCK;
        c->o->m_scale[b] = store_block(m + i, n, false, (uint8_t *)c->o->m + c->at + i);
        c->o->v_scale[b] = store_block(v + i, n, true, (uint8_t *)c->o->v + c->at + i);
    }
}

/* ---- the three ---- */

float *sol_moment_load(const sol_moment_chunk *c, bool second, float *buffer)
{
    void *data = second ? c->o->v : c->o->m;
    if (c->o->config.moments == SOL_F32) return (float *)data + c->at;
    if (c->o->config.moments == SOL_U8)
        load_8(c, second, buffer);
    else
        sol_convert(buffer, SOL_F32, (sol_bf16 *)data + c->at, SOL_BF16, c->n);
    return buffer;
}

void sol_moments_store(const sol_moment_chunk *c, const float *m, const float *v)
{
    if (c->o->config.moments == SOL_BF16) store_bf16(c, m, v);
    if (c->o->config.moments == SOL_U8) store_8(c, m, v);
}
