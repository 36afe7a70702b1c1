/* The ternary product with NEON dotprod: ternary_neon_tmpl.h with sdot for many tokens. */
#define TERNARY_OPS sol_tile_ops_ternary_dotprod
#include "kernels/arm/ternary_neon_tmpl.h"

/* Tokens t to t + T - 1 (T is 1 or 4) by 16 rows over one segment. q, d: of token 0, at distances
 * q_stride and n_segs. */
ALWAYS_INLINE void gemm_tokens(int T, const sol_segments *s, int8x16_t (*w)[4], int64_t blocks,
                               const int8_t *q, const float *d, const gemm_sums *to, int64_t t)
{
    int32x4_t acc[4][4];
    for (int k = 0; k < T; k++)
        for (int j = 0; j < 4; j++) acc[k][j] = vdupq_n_s32(0);
    for (int64_t i = 0; i < blocks; i++) {
        for (int k = 0; k < T; k++) {
            int32_t four;
            memcpy(&four, q + (t + k) * s->q_stride + 4 * i, 4);
            int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
            for (int j = 0; j < 4; j++) acc[k][j] = vdotq_s32(acc[k][j], w[i][j], x);
        }
    }
    for (int k = 0; k < T; k++) add_sums(to, t + k, d[(t + k) * s->n_segs], acc[k]);
}

static void multiply_segment(const sol_segments *s, int8x16_t (*w)[4], int64_t seg,
                             const sol_acts *a, const gemm_sums *to)
{
    int64_t len, start = sol_segment_at(s, seg, &len), t = 0;
    for (; t + 4 <= a->n; t += 4) gemm_tokens(4, s, w, len / 4, a->q + start, a->d + seg, to, t);
    for (; t < a->n; t++) gemm_tokens(1, s, w, len / 4, a->q + start, a->d + seg, to, t);
}
