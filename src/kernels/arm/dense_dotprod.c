/* The 8-, 6- and 4-bit dense product with NEON dotprod: dense_tmpl.h with 4 rows a vector. */
#include <arm_neon.h>

#include "kernels/arm/kernels_arm.h"

#define LANES 4
#define Q8_OFFSET 0
#define DOT_4(type, i, acc, words, w, x) \
    ((acc) = (vi)vdotq_s32((int32x4_t)(acc), (int8x16_t)(w), (int8x16_t)(x)))
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define LOAD_F16(p) ((vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)(p)))))
#define PREFETCH_LINE(p) __builtin_prefetch(p)
#define DENSE_OPS sol_tile_ops_dense_dotprod
#include "kernels/dense_tmpl.h"
