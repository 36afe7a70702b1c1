/* What AMX lays over the table of kernels: the products that have many rows on both sides. */
#include "kernels/x86/kernels_x86.h"

void sol_kernels_amx(sol_kernels *k)
{
    k->tiles[SOL_TERNARY] = &sol_tile_ops_ternary_amx;
    sol_bf16_ops_amx(&k->bf16);
}
