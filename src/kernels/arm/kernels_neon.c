/* What NEON lays over the table of kernels: those of floats, and the rounding of activations. */
#include "kernels/arm/kernels_arm.h"

void sol_kernels_neon(sol_kernels *k)
{
    sol_float_ops_neon(&k->float_ops);
    sol_train_ops_neon(&k->train_ops);
    sol_elementwise_neon(&k->elementwise);
    k->act_quantize = sol_act_quantize_neon;
}
