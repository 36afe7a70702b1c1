/* Rounding of activations to int8, 16 floats at a time; the rule is in ternary.h. */
#include <immintrin.h>

#include "base/half.h"
#include "kernels/x86/tiers.h"

/* Lanes of a vector that holds the columns from c on of n. */
static inline __mmask16 lanes(int64_t n, int64_t c)
{
    return n - c >= 16 ? 0xffff : (__mmask16)((1u << (n - c)) - 1);
}

static uint32_t max_magnitude(const float *x, int64_t n)
{
    __m512i top = _mm512_setzero_si512(), magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int64_t c = 0; c < n; c += 16) {
        __m512i bits = _mm512_maskz_loadu_epi32(lanes(n, c), x + c);
        top = _mm512_max_epu32(top, _mm512_and_si512(bits, magnitude));
    }
    return _mm512_reduce_max_epu32(top);
}

static float quantize_block(const float *x, int64_t n, int8_t *q)
{
    uint32_t bits = max_magnitude(x, n);
    float top = sol_f32_from_bits(bits);
    if (bits >= 0x7f800000u || top < 0x1p-100f) {
        for (int64_t c = 0; c < n; c += 16) _mm512_mask_cvtsepi32_storeu_epi8(q + c, lanes(n, c), _mm512_setzero_si512());
        return bits >= 0x7f800000u ? sol_f32_from_bits(0x7fc00000u) : 0;
    }
    __m512 inverse = _mm512_set1_ps(127.0f / top);
    for (int64_t c = 0; c < n; c += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n, c), x + c);
        _mm512_mask_cvtsepi32_storeu_epi8(q + c, lanes(n, c), _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse)));
    }
    return top / 127.0f;
}

static int32_t sum_int8(const int8_t *q, int64_t n)
{
    __m512i sum = _mm512_setzero_si512(), ones = _mm512_set1_epi8(1);
    for (int64_t c = 0; c < n; c += 64) {
        __mmask64 some = n - c >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - c)) - 1;
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_maskz_loadu_epi8(some, q + c));
    }
    return _mm512_reduce_add_epi32(sum);
}

void sol_act_quantize_avx512(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum)
{
    for (int64_t c = s->cols; c < s->cols_pad; c++) q[c] = 0;
    for (int64_t i = 0; i < s->n_segs;) {
        int64_t len, first = sol_segment_at(s, i, &len), last = sol_min_i64(i + s->groups_per_block, s->n_segs);
        int64_t start = sol_segment_at(s, last - 1, &len);
        float scale = quantize_block(x + first, start + len - first, q + first);
        for (; i < last; i++) {
            start = sol_segment_at(s, i, &len);
            d[i] = scale;
            nsum[i] = -sum_int8(q + start, len);
        }
    }
}
