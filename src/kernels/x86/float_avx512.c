/* float_ops.h and train_ops.h for AVX-512: float_tmpl.h and train_tmpl.h with its vectors;
 * kernels_avx512.c takes them. */
#include <immintrin.h>

#include "kernels/x86/kernels_x86.h"

#define VW 16
#define DOT_OUTS 5
#define ATTEND_REGISTERS 20
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define LOAD_F16(p) ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p))))
#define IN_REGISTER(v) ((void)(v))
#define FLOAT_OPS_NAME sol_float_ops_avx512
#define TRAIN_OPS_NAME sol_train_ops_avx512

#include "kernels/float_tmpl.h"
#include "kernels/train_tmpl.h"
