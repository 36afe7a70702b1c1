/* What AVX-512 (F, BW, DQ, VL) lays over the table of kernels: those of floats. The integer
 * products gain by VNNI and VBMI only. */
#include "kernels/x86/kernels_x86.h"

void sol_kernels_avx512(sol_kernels *k)
{
    sol_float_ops_avx512(&k->f);
    sol_train_ops_avx512(&k->t);
    sol_elementwise_avx512(&k->e);
    k->bf16 = &sol_bf16_ops_avx512;
}
