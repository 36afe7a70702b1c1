/* Fills the table of kernels that a context hands to every layer: C first, then feature by feature.
 * sol_ctx_create calls it. Which kernels a feature has is said in x86/ and arm/ (kernels_impl.h);
 * this file knows none of them. */
#include "kernels/kernels_impl.h"

#include "kernels/bf16.h"
#include "kernels/matrix_impl.h"

void sol_kernels_init(sol_kernels *k, sol_cpu_features features)
{
    k->features = features;
    sol_elementwise_c(&k->elementwise);
    sol_float_ops_c(&k->float_ops);
    sol_train_ops_c(&k->train_ops);
    k->act_quantize = sol_act_quantize_ref;
    for (int t = 0; t < SOL_DTYPES; t++)
        k->tiles[t] = sol_dtype_of(t)->segment ? &sol_tile_ops_ref : NULL;
    sol_bf16_ops_c(&k->bf16);
#if defined(__x86_64__)
#define SOL_CPU_X86(ID, name, ...) \
    if (features & SOL_CPU_##ID) sol_kernels_##name(k);
#elif defined(__aarch64__)
#define SOL_CPU_ARM(ID, name, ...) \
    if (features & SOL_CPU_##ID) sol_kernels_##name(k);
#endif
#include "base/cpu_features.def"
}
