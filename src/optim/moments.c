#include "optim/moments.h"

#include <string.h>

#include "base/half.h"
#include "base/rng.h"

enum { BLOCK = SOL_MOMENT_BLOCK, M_TOP = 127, V_TOP = 255 };

void sol_moment_draws(uint64_t seed, uint64_t stream, int64_t first, int64_t n, uint16_t *draw)
{
    for (int64_t i = 0; i < n; i += 8) {
        uint32_t word[4];
        sol_philox4x32(seed, stream, (uint64_t)(first + i) / 8, word);
        for (int64_t k = 0; k < 8 && i + k < n; k++) draw[i + k] = (uint16_t)(word[k / 2] >> 16 * (k % 2));
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
    sol_bf16 *to_m = (sol_bf16 *)c->o->m + c->first, *to_v = (sol_bf16 *)c->o->v + c->first;
    sol_moment_draws(c->o->config.seed, SOL_STREAM_MOMENTS + ((uint64_t)c->o->t << 8), c->first, c->n, draw);
    for (int64_t i = 0; i < c->n; i++) {
        to_m[i] = dither(m[i], draw[i] & 0xff);
        to_v[i] = dither(v[i], draw[i] >> 8);
    }
}

/* ---- 8 bit: a float whose exponent starts at `bias`, three bits of fraction ---- */

/* x in [0, 2) to its code. Below 2^(1 - bias) adding that number moves x into a binade where the fraction counts evenly. */
static inline uint32_t encode(float x, int bias, uint32_t top)
{
    float least = sol_f32_from_bits((uint32_t)(128 - bias) << 23);
    bool small = x < least;
    uint32_t bits = sol_f32_bits(small ? x + least : x);
    uint32_t code = ((bits + 0x7ffffu + (bits >> 20 & 1)) >> 20) - (uint32_t)((small ? 128 : 127) - bias) * 8;
    return code < top ? code : top;
}

static inline float decode(uint32_t code, int bias)
{
    float least = sol_f32_from_bits((uint32_t)(128 - bias) << 23);
    bool small = code < 8;
    return sol_f32_from_bits((code + (uint32_t)((small ? 128 : 127) - bias) * 8) << 20) - (small ? least : 0);
}

/* The scale of a block: its largest magnitude over the top code. */
static float scale_of(const float *x, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = sol_f32_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return sol_f32_from_bits(most) / 1.875f;
}

static float store_m8(const float *x, int64_t n, uint8_t *code)
{
    float scale = scale_of(x, n);
    if (scale == 0) memset(code, 0, (size_t)n);
    for (int64_t i = 0; scale != 0 && i < n; i++) {
        uint32_t bits = sol_f32_bits(x[i]);
        float size = sol_f32_from_bits(bits & 0x7fffffffu) / scale;
        code[i] = (uint8_t)(encode(size, 15, M_TOP) | (bits >> 31) << 7);
    }
    return scale;
}

static float store_v8(const float *x, int64_t n, uint8_t *code)
{
    float scale = scale_of(x, n);
    if (scale == 0) memset(code, 0, (size_t)n);
    for (int64_t i = 0; scale != 0 && i < n; i++) {
        uint32_t c = encode(x[i] / scale, 31, V_TOP);
        code[i] = (uint8_t)(c == 0 && x[i] > 0 ? 1 : c);
    }
    return scale;
}

static void load_8(const sol_moment_chunk *c, bool second, float *out)
{
    const uint8_t *code = (const uint8_t *)(second ? c->o->v : c->o->m) + c->first;
    const float *scale = (second ? c->o->v_scale : c->o->m_scale) + c->block;
    for (int64_t i = 0; i < c->n; i++) {
        uint32_t x = code[i];
        float value = second ? decode(x, 31) : decode(x & 0x7f, 15);
        out[i] = scale[i / BLOCK] * (!second && x >> 7 ? -value : value);
    }
}

static void store_8(const sol_moment_chunk *c, const float *m, const float *v)
{
    for (int64_t i = 0; i < c->n; i += BLOCK) {
        int64_t n = c->n - i < BLOCK ? c->n - i : BLOCK, b = c->block + i / BLOCK;
        c->o->m_scale[b] = store_m8(m + i, n, (uint8_t *)c->o->m + c->first + i);
        c->o->v_scale[b] = store_v8(v + i, n, (uint8_t *)c->o->v + c->first + i);
    }
}

/* ---- the three ---- */

float *sol_moment_load(const sol_moment_chunk *c, bool second, float *buffer)
{
    void *data = second ? c->o->v : c->o->m;
    switch (c->o->config.moments) {
    case SOL_MOMENTS_F32: return (float *)data + c->first;
    case SOL_MOMENTS_BF16: sol_convert(buffer, SOL_F32, (sol_bf16 *)data + c->first, SOL_BF16, c->n); break;
    case SOL_MOMENTS_8BIT: load_8(c, second, buffer); break;
    }
    return buffer;
}

void sol_moments_store(const sol_moment_chunk *c, const float *m, const float *v)
{
    if (c->o->config.moments == SOL_MOMENTS_BF16) store_bf16(c, m, v);
    if (c->o->config.moments == SOL_MOMENTS_8BIT) store_8(c, m, v);
}
