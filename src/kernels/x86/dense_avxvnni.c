/* What AVX-VNNI lays over the table of kernels: the 8-, 6- and 4-bit dense product, dense_tmpl.h
 * with 8 rows a vector. AVX-VNNI is vpdpbusd in 256 bits, for processors without AVX-512; its
 * instruction stands in `asm`, as in dense_vnni.c. tests/checkkern compiles this file with the
 * encoding of AVX-512, so that a processor which has only that can check it. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#ifndef VPDPBUSD
#define VPDPBUSD "%{vex%} vpdpbusd"
#endif
#define LANES 8
#define Q8_OFFSET 128
#define DOT_4(type, i, acc, words, w, x) \
    __asm__(VPDPBUSD " %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x))
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define LOAD_F16(p) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define PREFETCH_LINE(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define DENSE_OPS sol_tile_ops_dense_avxvnni
#include "kernels/dense_tmpl.h"

void sol_kernels_avxvnni(sol_kernels *k)
{
    k->tiles[SOL_Q8] = k->tiles[SOL_Q6] = k->tiles[SOL_Q4] = &sol_tile_ops_dense_avxvnni;
}
