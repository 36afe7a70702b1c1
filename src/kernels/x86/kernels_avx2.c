/* What AVX2 lays over the table of kernels: all of it. */
#include "kernels/x86/kernels_x86.h"

void sol_kernels_avx2(sol_kernels *k)
{
    sol_float_ops_avx2(&k->float_ops);
    sol_train_ops_avx2(&k->train_ops);
    sol_elementwise_avx2(&k->elementwise);
    k->act_quantize = sol_act_quantize_avx2;
    k->tiles[SOL_TERNARY] = &sol_tile_ops_ternary_avx2;
    k->tiles[SOL_Q8] = k->tiles[SOL_Q6] = k->tiles[SOL_Q4] = &sol_tile_ops_dense_avx2;
    sol_bf16_ops_avx2(&k->bf16);
}
