/* What AVX-512 VNNI lays over the table of kernels: rounding of activations, the dense product. */
#include "kernels/x86/kernels_x86.h"

void sol_kernels_vnni(sol_kernels *k)
{
    k->act_quantize = sol_act_quantize_vnni;
    k->tiles[SOL_Q8] = k->tiles[SOL_Q6] = k->tiles[SOL_Q4] = &sol_tile_ops_dense_vnni;
}
