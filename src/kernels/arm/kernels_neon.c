/* What NEON lays over the table of kernels: those of floats, and the rounding of activations. */
#include "kernels/arm/kernels_arm.h"

void sol_kernels_neon(sol_kernels *k)
{
    sol_float_ops_neon(&k->f);
    sol_train_ops_neon(&k->t);
    sol_elementwise_neon(&k->e);
    k->act_quantize = sol_act_quantize_neon;
}
