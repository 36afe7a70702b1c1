/* The 8-, 6- and 4-bit dense product with AVX-512 VNNI: dense_tmpl.h with 16 rows a vector. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define LANES 16
#define Q8_OFFSET 128
/* Not the intrinsic: through it gcc 12 copies and spills the accumulators of a loop. */
#define DOT_4(type, i, acc, words, w, x) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x))
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define LOAD_F16(p) ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p))))
#define PREFETCH_LINE(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define DENSE_OPS sol_tile_ops_dense_vnni
#include "kernels/dense_tmpl.h"
