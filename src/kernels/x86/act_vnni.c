/* Rounding of activations to int8, 16 floats at a time; the rule is in matrix.h.
 * kernels_vnni.c takes it. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

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

static void round_block(const float *x, int64_t n, float inverse, int8_t *q)
{
    __m512 factor = _mm512_set1_ps(inverse);
    for (int64_t c = 0; c < n; c += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n, c), x + c);
        _mm512_mask_cvtsepi32_storeu_epi8(q + c, lanes(n, c),
                                          _mm512_cvtps_epi32(_mm512_mul_ps(v, factor)));
    }
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

#define ACT_SUM sum_int8
#define ACT_QUANTIZE sol_act_quantize_vnni
#include "kernels/act_tmpl.h"
