/* The 8-, 6- and 4-bit dense product with AVX2: dense_tmpl.h with 8 rows a vector. pmaddubsw wants
 * one unsigned operand and sums in 16 bits. Nibbles and six bits are unsigned, and words hold the
 * sums of eight (8 x 2 x 127 x 15) and of two vectors (2 x 2 x 127 x 63). Signed bytes enter as
 * |w|, their sign moves to x: exact for |w| <= 128. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define LANES 8
#define Q8_OFFSET 0
#define DOT_4(type, i, acc, words, w, x) dot_4(type, i, &(acc), &(words), w, x)
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define LOAD_F16(p) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define PREFETCH_LINE(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define DENSE_OPS sol_tile_ops_dense_avx2

typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) void dot_4(sol_dtype type, int i, i32x8 *acc,
                                                        i32x8 *words, u8x32 w, i32x8 x)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i bytes = (__m256i)w, q = (__m256i)x;
    if (type == SOL_Q8) {
        *acc += (i32x8)_mm256_madd_epi16(
            _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), _mm256_sign_epi8(q, bytes)), one);
        return;
    }
    int together = type == SOL_Q6 ? 2 : 8;
    __m256i pairs = _mm256_maddubs_epi16(bytes, q);
    *words = i % together == 0 ? (i32x8)pairs : (i32x8)_mm256_add_epi16((__m256i)*words, pairs);
    if (i % together == together - 1) *acc += (i32x8)_mm256_madd_epi16((__m256i)*words, one);
}

#include "kernels/dense_tmpl.h"
