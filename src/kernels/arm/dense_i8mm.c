/* The 8-, 6- and 4-bit dense product with i8mm: dense_tmpl.h with 4 rows a vector. Two tokens and
 * more go through smmla, which multiplies two of them by two rows and eight columns. */
#include <arm_neon.h>

#include "kernels/arm/kernels_arm.h"

#define LANES 4
#define Q8_OFFSET 0
#define TOKENS_AT_ONCE 8
#define DOT_4(type, i, acc, words, w, x) \
    ((acc) = (vi)vdotq_s32((int32x4_t)(acc), (int8x16_t)(w), (int8x16_t)(x)))
#define DOT_BLOCK dot_pairs
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define LOAD_F16(p) ((vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)(p)))))
#define PREFETCH_LINE(p) __builtin_prefetch(p)
#define DENSE_OPS sol_tile_ops_dense_i8mm
#include "kernels/dense_tmpl.h"

ALWAYS_INLINE void dot_pairs(sol_dtype type, int T, const uint8_t *w, const int8_t *q,
                             int64_t stride, vi acc[TOKENS_AT_ONCE][2])
{
    if (T == 1) {
        dot_block(type, T, w, q, stride, acc);
        return;
    }
    /* Of two tokens: the first by rows 2r and 2r + 1, then the second. */
    int32x4_t sum[TOKENS_AT_ONCE / 2][4];
    UNROLL for (int t = 0; t < T; t += 2) UNROLL for (int r = 0; r < 4; r++) sum[t / 2][r] =
        vdupq_n_s32(0);
    UNROLL for (int i = 0; i < 8; i += 2)
    {
        int8x16_t rows[4]; /* 2r and 2r + 1, eight columns each */
        UNROLL for (int h = 0; h < 2; h++)
        {
            const uint8_t *half = w + h * VECTOR * n_vectors(type);
            int32x4_t a = (int32x4_t)weights_at(type, half, i),
                      b = (int32x4_t)weights_at(type, half, i + 1);
            rows[2 * h] = (int8x16_t)vzip1q_s32(a, b);
            rows[2 * h + 1] = (int8x16_t)vzip2q_s32(a, b);
        }
        UNROLL for (int t = 0; t < T; t += 2)
        {
            int8x16_t x =
                vcombine_s8(vld1_s8(q + t * stride + 4 * i), vld1_s8(q + (t + 1) * stride + 4 * i));
            UNROLL for (int r = 0; r < 4; r++) sum[t / 2][r] =
                vmmlaq_s32(sum[t / 2][r], x, rows[r]);
        }
    }
    UNROLL for (int t = 0; t < T; t += 2) UNROLL for (int h = 0; h < 2; h++)
    {
        int64x2_t a = (int64x2_t)sum[t / 2][2 * h], b = (int64x2_t)sum[t / 2][2 * h + 1];
        acc[t][h] += (vi)vzip1q_s64(a, b);
        acc[t + 1][h] += (vi)vzip2q_s64(a, b);
    }
}
