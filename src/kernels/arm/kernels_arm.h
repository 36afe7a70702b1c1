/* The kernels for arm64 that one file defines and another lays over the table. */
#ifndef SOLERA_KERNELS_ARM_KERNELS_ARM_H
#define SOLERA_KERNELS_ARM_KERNELS_ARM_H

#include "kernels/kernels_impl.h"
#include "kernels/matrix_impl.h"

/* Each sets the entries that NEON improves. */
void sol_float_ops_neon(sol_float_ops *f);
void sol_train_ops_neon(sol_train_ops *t);
void sol_elementwise_neon(sol_elementwise *k);
/* sol_act_quantize_fn of segments.h. */
void sol_act_quantize_neon(const sol_segments *s, const float *x, int8_t *q, float *d,
                           int32_t *nsum);
extern const sol_tile_ops sol_tile_ops_ternary_dotprod, sol_tile_ops_ternary_i8mm;
extern const sol_tile_ops sol_tile_ops_dense_dotprod, sol_tile_ops_dense_i8mm;

#endif
