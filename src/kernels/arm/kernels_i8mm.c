/* What the products of two by two rows of eight bytes lay over the table of kernels: the integer
 * products. */
#include "kernels/arm/kernels_arm.h"

void sol_kernels_i8mm(sol_kernels *k)
{
    k->tiles[SOL_TERNARY] = &sol_tile_ops_ternary_i8mm;
    k->tiles[SOL_Q8] = k->tiles[SOL_Q6] = k->tiles[SOL_Q4] = &sol_tile_ops_dense_i8mm;
}
