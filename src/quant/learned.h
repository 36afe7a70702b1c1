/* What lsq, seq and dlt share: they start from the largest |w| of the group, and a step never falls
 * below 1e-5. */
#ifndef SOLERA_QUANT_LEARNED_H
#define SOLERA_QUANT_LEARNED_H

#include <math.h>

#include "quant/quant.h"

#define SOL_LEARNED_LEAST_STEP 1e-5f

static inline float sol_learned_step(const sol_quant_group *g)
{
    return g->learned[0] > SOL_LEARNED_LEAST_STEP ? g->learned[0] : SOL_LEARNED_LEAST_STEP;
}

/* Counts NaNs: one makes the starting value of the step a NaN, which sol_learned_step takes for the
 * least step. */
static inline void sol_learned_measure(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                                       const sol_quant_group *g, const float *w, int64_t n,
                                       sol_quant_acc *acc)
{
    (void)k, (void)spec, (void)pass, (void)g;
    for (int64_t i = 0; i < n; i++) {
        acc->max = fmaxf(acc->max, fabsf(w[i]));
        acc->count += isnan(w[i]);
    }
}

static inline bool sol_learned_settle(const sol_quant_spec *spec, int pass, int64_t n,
                                      const sol_quant_acc *acc, sol_quant_group *g)
{
    (void)spec, (void)pass, (void)n;
    g->learned[0] = acc->count ? NAN : acc->max;
    g->learned[1] = 0;
    return false;
}

#endif
