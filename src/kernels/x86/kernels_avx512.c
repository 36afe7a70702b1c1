/* What AVX-512 (F, BW, DQ, VL) lays over the table of kernels: those of floats. The integer
 * products gain by VNNI and VBMI only. */
#include "kernels/x86/kernels_x86.h"

void sol_kernels_avx512(sol_kernels *k)
{
    sol_float_ops_avx512(&k->float_ops);
    sol_train_ops_avx512(&k->train_ops);
    sol_elementwise_avx512(&k->elementwise);
    sol_bf16_ops_avx512(&k->bf16);
}
