/* The arm64 tier of the integer products. */
#ifndef SOLERA_KERNELS_ARM_TIERS_H
#define SOLERA_KERNELS_ARM_TIERS_H

#include "kernels/dense_impl.h"
#include "kernels/segments.h"
#include "kernels/ternary_impl.h"

void sol_act_quantize_neon(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum);
extern const sol_ternary_ops sol_ternary_ops_neon;
extern const sol_dense_ops sol_dense_ops_neon;

#endif
