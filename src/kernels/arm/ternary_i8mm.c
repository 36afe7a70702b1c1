/* The ternary product with i8mm: ternary_neon_tmpl.h with smmla for many tokens, which multiplies
 * two of them by two rows and eight columns. */
#define TERNARY_OPS sol_tile_ops_ternary_i8mm
#include "kernels/arm/ternary_neon_tmpl.h"

/* Puts blocks 2i and 2i + 1 together, zeros behind the last: vector [i][p] then holds rows 2p and
 * 2p + 1, eight weights each. */
static int8x16_t (*pair_blocks(int8x16_t (*w)[4], int64_t blocks))[8]
{
    if (blocks % 2)
        for (int j = 0; j < 4; j++) w[blocks][j] = vdupq_n_s8(0);
    for (int64_t i = 0; i < blocks; i += 2) {
        int8x16_t pair[8];
        for (int j = 0; j < 4; j++) {
            int32x4_t a = vreinterpretq_s32_s8(w[i][j]), b = vreinterpretq_s32_s8(w[i + 1][j]);
            pair[2 * j] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
            pair[2 * j + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
        }
        memcpy(w[i], pair, sizeof pair);
    }
    return (int8x16_t(*)[8])w;
}

/* Tokens t to t + T - 1 (T is 1, 2 or 4) by 16 rows over one segment of `eights` times eight
 * columns. q, d: of token 0, at distances q_stride and n_segs. A token without another is
 * multiplied beside itself. */
ALWAYS_INLINE void gemm_tokens(int T, const sol_segments *s, int8x16_t (*w)[8], int64_t eights,
                               const int8_t *q, const float *d, const gemm_sums *to, int64_t t)
{
    int32x4_t acc[2][8]; /* of two tokens: the first by rows 2p and 2p + 1, then the second */
    for (int k = 0; k < T; k += 2)
        for (int p = 0; p < 8; p++) acc[k / 2][p] = vdupq_n_s32(0);
    for (int64_t i = 0; i < eights; i++) {
        for (int k = 0; k < T; k += 2) {
            const int8_t *one = q + (t + k) * s->q_stride + 8 * i,
                         *other = k + 1 < T ? one + s->q_stride : one;
            int8x16_t x = vcombine_s8(vld1_s8(one), vld1_s8(other));
            for (int p = 0; p < 8; p++) acc[k / 2][p] = vmmlaq_s32(acc[k / 2][p], x, w[i][p]);
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < T; k++) {
        int32x4_t sum[4];
        for (int j = 0; j < 4; j++) {
            int64x2_t a = vreinterpretq_s64_s32(acc[k / 2][2 * j]),
                      b = vreinterpretq_s64_s32(acc[k / 2][2 * j + 1]);
            sum[j] = vreinterpretq_s32_s64(k % 2 ? vzip2q_s64(a, b) : vzip1q_s64(a, b));
        }
        add_sums(to, t + k, d[(t + k) * s->n_segs], sum);
    }
}

/* What lies behind the columns of an odd block is read and meets weights 0. */
static void multiply_segment(const sol_segments *s, int8x16_t (*w)[4], int64_t seg,
                             const sol_acts *a, const gemm_sums *to)
{
    int64_t len, start = sol_segment_at(s, seg, &len), eights = sol_ceil_div(len, 8), t = 0;
    int8x16_t(*pair)[8] = pair_blocks(w, len / 4);
    const int8_t *q = a->q + start;
    const float *d = a->d + seg;
    for (; t + 4 <= a->n; t += 4) gemm_tokens(4, s, pair, eights, q, d, to, t);
    for (; t + 2 <= a->n; t += 2) gemm_tokens(2, s, pair, eights, q, d, to, t);
    if (t < a->n) gemm_tokens(1, s, pair, eights, q, d, to, t);
}
