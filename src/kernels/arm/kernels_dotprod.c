/* What the dot products of four bytes lay over the table of kernels: the integer products. */
#include "kernels/arm/kernels_arm.h"

void sol_kernels_dotprod(sol_kernels *k)
{
    k->tiles[SOL_TERNARY] = &sol_tile_ops_ternary_dotprod;
    k->tiles[SOL_Q8] = k->tiles[SOL_Q6] = k->tiles[SOL_Q4] = &sol_tile_ops_dense_dotprod;
}
