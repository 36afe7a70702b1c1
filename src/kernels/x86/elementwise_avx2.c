/* elementwise.h for AVX2: elementwise_tmpl.h with its vectors; kernels_avx2.c takes them. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define VW 8
#define SQRT(v) ((vf)_mm256_sqrt_ps((__m256)(v)))
#define ELEMENTWISE_NAME sol_elementwise_avx2

#include "kernels/elementwise_tmpl.h"
