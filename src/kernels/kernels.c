#include "kernels/kernels.h"

#include "kernels/bf16.h"
#include "kernels/dense_impl.h"
#include "kernels/ternary_impl.h"
#if defined(__x86_64__)
#include "kernels/x86/tiers.h"
#elif defined(__aarch64__)
#include "kernels/arm/tiers.h"
#endif

void sol_kernels_init(sol_kernels *k, const sol_cpu *cpu, sol_tier tier)
{
    sol_tier best = sol_cpu_tier(cpu);
    if (best == SOL_TIER_NEON && tier != SOL_TIER_NEON) tier = SOL_TIER_C; /* tiers of another architecture */
    k->tier = tier < best ? tier : best;
    sol_elementwise_c(&k->e);
    sol_float_ops_c(&k->f);
    sol_train_ops_c(&k->t);
    k->act_quantize = sol_act_quantize_ref;
    k->ternary = &sol_ternary_ops_ref;
    k->dense = &sol_dense_ops_ref;
    k->bf16 = &sol_bf16_ops_c;
#if defined(__x86_64__)
    if (k->tier == SOL_TIER_AVX2) {
        sol_float_ops_avx2(&k->f);
        sol_elementwise_avx2(&k->e);
        sol_train_ops_avx2(&k->t);
        k->act_quantize = sol_act_quantize_avx2;
        k->ternary = &sol_ternary_ops_avx2;
        k->dense = &sol_dense_ops_avx2;
        k->bf16 = &sol_bf16_ops_avx2;
    }
    if (k->tier == SOL_TIER_AVX512) {
        sol_float_ops_avx512(&k->f);
        sol_elementwise_avx512(&k->e);
        sol_train_ops_avx512(&k->t);
        k->act_quantize = sol_act_quantize_avx512;
        k->ternary = cpu->amx_int8 ? &sol_ternary_ops_amx : &sol_ternary_ops_avx512;
        k->dense = &sol_dense_ops_avx512;
        k->bf16 = cpu->amx_bf16 ? &sol_bf16_ops_amx : cpu->avx512_bf16 ? &sol_bf16_ops_dot : &sol_bf16_ops_avx512;
    }
#elif defined(__aarch64__)
    if (k->tier == SOL_TIER_NEON) {
        sol_float_ops_neon(&k->f);
        k->act_quantize = sol_act_quantize_neon;
        k->ternary = &sol_ternary_ops_neon;
        k->dense = &sol_dense_ops_neon;
        sol_elementwise_neon(&k->e);
        sol_train_ops_neon(&k->t);
    }
#endif
}
