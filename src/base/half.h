/* IEEE half precision (f16) and bfloat16 (bf16), one number at a time. Casts to f32 are exact;
 * casts from f32 round to nearest even and keep a NaN a NaN. Vector forms are in the kernels. */
#ifndef SOLERA_BASE_HALF_H
#define SOLERA_BASE_HALF_H

#include <stdint.h>
#include <string.h>

typedef uint16_t sol_f16;
typedef uint16_t sol_bf16;

/* The largest floats that do not round to infinity: the last ones less than half a step above 65504
 * and 3.39e38. */
#define SOL_F16_MAX 0x1.ffdffep15f
#define SOL_BF16_MAX 0x1.fefffep127f

/* The bits of x as an integer, and back. */
static inline uint32_t sol_f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float sol_f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float sol_bf16_to_f32(sol_bf16 h)
{
    return sol_f32_from_bits((uint32_t)h << 16);
}

static inline sol_bf16 sol_f32_to_bf16(float x)
{
    uint32_t u = sol_f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (sol_bf16)(u >> 16 | 0x40); /* quiet NaN */
    return (sol_bf16)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static inline float sol_f16_to_f32(sol_f16 h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest >= 0x7c00) return sol_f32_from_bits(sign | 0x7f800000u | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return sol_f32_from_bits(sign | ((rest << 13) + 0x38000000u));
    float tiny = (float)rest * 0x1p-24f; /* subnormal: exact */
    return sol_f32_from_bits(sign | sol_f32_bits(tiny));
}

/* A magnitude of 65520 (65504 and half a step) or more becomes infinity, as IEEE 754 says. */
static inline sol_f16 sol_f32_to_f16(float x)
{
    uint32_t u = sol_f32_bits(x), sign = u >> 16 & 0x8000, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (sol_f16)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x477ff000u) return (sol_f16)(sign | 0x7c00);
    if (mag < 0x38800000u) { /* subnormal or zero: the addition rounds to multiples of 2^-24 */
        float shifted = sol_f32_from_bits(mag) + 0.5f;
        return (sol_f16)(sign | (sol_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = mag + 0xfffu + (mag >> 13 & 1);
    return (sol_f16)(sign | (rounded - 0x38000000u) >> 13);
}

#endif
