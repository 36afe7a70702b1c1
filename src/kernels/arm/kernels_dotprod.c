/* What the dot products of four bytes lay over the table of kernels: the integer products. */
#include "kernels/arm/kernels_arm.h"

void sol_kernels_dotprod(sol_kernels *k)
{
    k->ternary = &sol_ternary_ops_dotprod;
    k->dense = &sol_dense_ops_dotprod;
}
