/* What the dense quantizers share: alpha = mean |w|, and a threshold up to which a weight is
 * zero. */
#ifndef SOLERA_QUANT_DENSE_LEVELS_H
#define SOLERA_QUANT_DENSE_LEVELS_H

#include "quant/quant.h"

/* acc.sum += sum |w| */
static inline void sol_dense_measure_mean(const sol_kernels *k, const sol_quant_spec *spec,
                                          int pass, const sol_quant_group *g, const float *w,
                                          int64_t n, sol_quant_acc *acc)
{
    (void)spec, (void)pass, (void)g;
    k->elementwise.abs_sum(w, n, &acc->sum);
}

/* scale = mean |w|, threshold = scale / 2; the threshold is of alpha before it is rounded. */
static inline bool sol_dense_settle_mean(const sol_quant_spec *spec, int pass, int64_t n,
                                         const sol_quant_acc *acc, sol_quant_group *g)
{
    (void)spec, (void)pass;
    g->scale = (float)(acc->sum / (double)n);
    g->threshold = g->scale / 2;
    return false;
}

/* t = sign(w) where |w| > threshold, else 0 */
static inline void sol_dense_levels(const sol_kernels *k, const sol_quant_spec *spec,
                                    const sol_quant_group *g, const float *w, int64_t n, int8_t *t)
{
    (void)k, (void)spec;
    for (int64_t i = 0; i < n; i++) t[i] = (int8_t)((w[i] > g->threshold) - (w[i] < -g->threshold));
}

#endif
