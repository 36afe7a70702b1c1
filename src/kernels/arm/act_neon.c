/* Rounding of activations to int8, 4 floats at a time; the rule is in ternary.h. */
#include <arm_neon.h>
#include <string.h>

#include "base/half.h"
#include "kernels/arm/tiers.h"

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
        top = vmaxq_u32(top, vandq_u32(vreinterpretq_u32_f32(load_some(x + c, n - c)), vdupq_n_u32(0x7fffffff)));
    return vmaxvq_u32(top);
}

static float quantize_block(const float *x, int64_t n, int8_t *q)
{
    uint32_t bits = max_magnitude(x, n);
    float top = sol_f32_from_bits(bits);
    if (bits >= 0x7f800000u || top < 0x1p-100f) {
        memset(q, 0, (size_t)n);
        return bits >= 0x7f800000u ? sol_f32_from_bits(0x7fc00000u) : 0;
    }
    float32x4_t inverse = vdupq_n_f32(127.0f / top);
    for (int64_t c = 0; c < n; c += 4) {
        int16x4_t words = vmovn_s32(vcvtnq_s32_f32(vmulq_f32(load_some(x + c, n - c), inverse)));
        int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
        memcpy(q + c, &bytes, (size_t)sol_min_i64(4, n - c));
    }
    return top / 127.0f;
}

void sol_act_quantize_neon(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum)
{
    memset(q + s->cols, 0, (size_t)(s->cols_pad - s->cols));
    for (int64_t i = 0; i < s->n_segs;) {
        int64_t len, first = sol_segment_at(s, i, &len), last = sol_min_i64(i + s->groups_per_block, s->n_segs);
        int64_t start = sol_segment_at(s, last - 1, &len);
        float scale = quantize_block(x + first, start + len - first, q + first);
        for (; i < last; i++) {
            int32_t sum = 0;
            start = sol_segment_at(s, i, &len);
            for (int64_t c = start; c < start + len; c++) sum += q[c];
            d[i] = scale;
            nsum[i] = -sum;
        }
    }
}
