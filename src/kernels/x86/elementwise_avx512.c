/* elementwise.h for AVX-512: elementwise_tmpl.h with its vectors; kernels_avx512.c takes them. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define VW 16
#define SQRT(v) ((vf)_mm512_sqrt_ps((__m512)(v)))
#define ELEMENTWISE_NAME sol_elementwise_avx512

#include "kernels/elementwise_tmpl.h"
