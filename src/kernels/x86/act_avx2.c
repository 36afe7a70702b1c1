/* Rounding of activations to int8, 8 floats at a time; the rule is in matrix.h.
 * kernels_avx2.c takes it. */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/kernels_x86.h"

/* Up to eight floats, zero behind n. */
static inline __m256 load_some(const float *x, int64_t n)
{
    if (n >= 8) return _mm256_loadu_ps(x);
    float some[8] = {0};
    memcpy(some, x, (size_t)n * sizeof *x);
    return _mm256_loadu_ps(some);
}

static uint32_t max_magnitude(const float *x, int64_t n)
{
    __m256i top = _mm256_setzero_si256(), magnitude = _mm256_set1_epi32(0x7fffffff);
    for (int64_t c = 0; c < n; c += 8)
        top = _mm256_max_epu32(
            top, _mm256_and_si256(_mm256_castps_si256(load_some(x + c, n - c)), magnitude));
    uint32_t lane[8], m = 0;
    _mm256_storeu_si256((__m256i *)lane, top);
    for (int i = 0; i < 8; i++) m = lane[i] > m ? lane[i] : m;
    return m;
}

static void round_block(const float *x, int64_t n, float inverse, int8_t *q)
{
    __m256 factor = _mm256_set1_ps(inverse);
    for (int64_t c = 0; c < n; c += 8) {
        __m256i v = _mm256_cvtps_epi32(_mm256_mul_ps(load_some(x + c, n - c), factor));
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
        memcpy(q + c, &bytes, (size_t)sol_min_i64(8, n - c));
    }
}

#define ACT_QUANTIZE sol_act_quantize_avx2
#include "kernels/act_tmpl.h"
