/* float_ops.h and train_ops.h in plain C: vectors of four floats that every target has, multiply
 * and add rounded apart. */
#include <stdint.h>

#define VW 4
#define DOT_OUTS 2
#define ATTEND_REGISTERS 8
#define FMA(a, b, c) ((a) * (b) + (c))
#define LOAD_F16(p) f16_to_f32(p)
#define IN_REGISTER(v) ((void)(v))
#define FLOAT_OPS_NAME sol_float_ops_c
#define TRAIN_OPS_NAME sol_train_ops_c

#include "base/half.h"

static inline float __attribute__((vector_size(16))) f16_to_f32(const void *p)
{
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return (float __attribute__((vector_size(16)))){sol_f16_to_f32(h[0]), sol_f16_to_f32(h[1]),
                                                    sol_f16_to_f32(h[2]), sol_f16_to_f32(h[3])};
}

#include "kernels/float_tmpl.h"
#include "kernels/train_tmpl.h"
