/* float_ops.h and train_ops.h for AVX2 with FMA and F16C: float_tmpl.h and train_tmpl.h with its
 * vectors; kernels_avx2.c takes them. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define VW 8
#define DOT_OUTS 3
#define ATTEND_REGISTERS 15
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define LOAD_F16(p) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define IN_REGISTER(v) __asm__("" : "+x"(v))
#define FLOAT_OPS_NAME sol_float_ops_avx2
#define TRAIN_OPS_NAME sol_train_ops_avx2

#include "kernels/float_tmpl.h"
#include "kernels/train_tmpl.h"
