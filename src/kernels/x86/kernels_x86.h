/* The kernels for x86-64 that one file defines and another lays over the table. */
#ifndef SOLERA_KERNELS_X86_KERNELS_X86_H
#define SOLERA_KERNELS_X86_KERNELS_X86_H

#include "kernels/bf16.h"
#include "kernels/kernels_impl.h"
#include "kernels/matrix_impl.h"

/* Each sets the entries that its instruction set improves. */
void sol_float_ops_avx2(sol_float_ops *f);
void sol_float_ops_avx512(sol_float_ops *f);
void sol_train_ops_avx2(sol_train_ops *t);
void sol_train_ops_avx512(sol_train_ops *t);
void sol_elementwise_avx2(sol_elementwise *k);
void sol_elementwise_avx512(sol_elementwise *k);
void sol_bf16_ops_avx2(sol_bf16_ops *k);
void sol_bf16_ops_avx512(sol_bf16_ops *k);
void sol_bf16_ops_amx(sol_bf16_ops *k);
/* sol_act_quantize_fn of segments.h. */
void sol_act_quantize_avx2(const sol_segments *s, const float *x, int8_t *q, float *d,
                           int32_t *nsum);
void sol_act_quantize_vnni(const sol_segments *s, const float *x, int8_t *q, float *d,
                           int32_t *nsum);
extern const sol_tile_ops sol_tile_ops_ternary_avx2, sol_tile_ops_ternary_amx;
extern const sol_tile_ops sol_tile_ops_dense_avx2, sol_tile_ops_dense_vnni;

#endif
