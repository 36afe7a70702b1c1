/* Rounding of activations to int8, 4 floats at a time; the rule is in matrix.h.
 * kernels_neon.c takes it. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/arm/kernels_arm.h"

/* Up to four floats, zero behind n. */
static inline float32x4_t load_some(const float *x, int64_t n)
{
    if (n >= 4) return vld1q_f32(x);
    float some[4] = {0};
    memcpy(some, x, (size_t)n * sizeof *x);
    return vld1q_f32(some);
}

static uint32_t max_magnitude(const float *x, int64_t n)
{
    uint32x4_t top = vdupq_n_u32(0);
    for (int64_t c = 0; c < n; c += 4)
        top = vmaxq_u32(top, vandq_u32(vreinterpretq_u32_f32(load_some(x + c, n - c)),
                                       vdupq_n_u32(0x7fffffff)));
    return vmaxvq_u32(top);
}

static void round_block(const float *x, int64_t n, float inverse, int8_t *q)
{
    float32x4_t factor = vdupq_n_f32(inverse);
    for (int64_t c = 0; c < n; c += 4) {
        int16x4_t words = vmovn_s32(vcvtnq_s32_f32(vmulq_f32(load_some(x + c, n - c), factor)));
        int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
        memcpy(q + c, &bytes, (size_t)sol_min_i64(4, n - c));
    }
}

#define ACT_QUANTIZE sol_act_quantize_neon
#include "kernels/act_tmpl.h"
