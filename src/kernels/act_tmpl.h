/* The source of a tier's rounding of activations to int8; the rule is in matrix.h. The including
 * file defines ACT_QUANTIZE, the name of the function, and before that
 *
 *   max_magnitude(x, n)           the largest |x| as bits: NaN > infinity > numbers, so that one
 *                                 comparison finds what is not finite
 *   round_block(x, n, inverse, q) q = x * inverse to nearest even
 *
 * where n is any number, and columns behind n are neither read nor written. ACT_SUM may name a
 * faster sum of int8. */
#include <string.h>

#include "base/half.h"
#include "kernels/segments.h"

#ifndef ACT_SUM
#define ACT_SUM sum_plain
static int32_t sum_plain(const int8_t *q, int64_t n)
{
    int32_t sum = 0;
    for (int64_t c = 0; c < n; c++) sum += q[c];
    return sum;
}
#endif

/* Rounds one activation block; returns d. */
static float quantize_block(const float *x, int64_t n, int8_t *q)
{
    uint32_t bits = max_magnitude(x, n);
    float top = sol_f32_from_bits(bits);
    if (bits >= 0x7f800000u || top < 0x1p-100f) {
        memset(q, 0, (size_t)n);
        return bits >= 0x7f800000u ? sol_f32_from_bits(0x7fc00000u) : 0;
    }
    round_block(x, n, 127.0f / top, q);
    return top / 127.0f;
}

void ACT_QUANTIZE(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum)
{
    memset(q + s->cols, 0, (size_t)(s->cols_pad - s->cols));
    for (int64_t i = 0; i < s->n_segs;) {
        int64_t len, first = sol_segment_at(s, i, &len),
                     last = sol_min_i64(i + s->groups_per_block, s->n_segs);
        int64_t start = sol_segment_at(s, last - 1, &len);
        float scale = quantize_block(x + first, start + len - first, q + first);
        for (; i < last; i++) {
            start = sol_segment_at(s, i, &len);
            d[i] = scale;
            nsum[i] = -ACT_SUM(q + start, len);
        }
    }
}
