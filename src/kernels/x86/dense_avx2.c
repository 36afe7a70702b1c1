/* The 8-, 6- and 4-bit dense product with AVX2: dense_lanes.h with 8 rows a vector. pmaddubsw wants one unsigned operand and
 * 2 x 127 x w below 32768, so w enters as |w| and its sign moves to x: exact for |w| <= 128, whatever the type. */
#include <immintrin.h>

#include "kernels/x86/tiers.h"

#define LANES 8
#define Q8_OFFSET 0
#define DOT_4(acc, w, x) ((acc) = dot_4(acc, w, x))
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define LOAD_F16(p) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define PREFETCH_LINE(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define DENSE_OPS sol_dense_ops_avx2

typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) i32x8 dot_4(i32x8 acc, u8x32 w, i32x8 x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), _mm256_sign_epi8((__m256i)x, (__m256i)w));
    return (i32x8)_mm256_add_epi32((__m256i)acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "kernels/dense_lanes.h"
