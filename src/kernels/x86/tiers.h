/* The x86 tiers of the integer products. */
#ifndef SOLERA_KERNELS_X86_TIERS_H
#define SOLERA_KERNELS_X86_TIERS_H

#include "kernels/dense_impl.h"
#include "kernels/segments.h"
#include "kernels/ternary_impl.h"

void sol_act_quantize_avx2(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum);
void sol_act_quantize_avx512(const sol_segments *s, const float *x, int8_t *q, float *d, int32_t *nsum);
extern const sol_ternary_ops sol_ternary_ops_avx2, sol_ternary_ops_avx512, sol_ternary_ops_amx;
extern const sol_dense_ops sol_dense_ops_avx2, sol_dense_ops_avx512;

#endif
