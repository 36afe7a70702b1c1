/* float_ops.h and train_ops.h for NEON: float_tmpl.h and train_tmpl.h with its vectors;
 * kernels_neon.c takes them. */
#include <arm_neon.h>

#include "kernels/arm/kernels_arm.h"

#define VW 4
#define DOT_OUTS 5
#define ATTEND_REGISTERS 30
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define LOAD_F16(p) ((vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)(p)))))
#define IN_REGISTER(v) ((void)(v))
#define FLOAT_OPS_NAME sol_float_ops_neon
#define TRAIN_OPS_NAME sol_train_ops_neon

#include "kernels/float_tmpl.h"
#include "kernels/train_tmpl.h"
