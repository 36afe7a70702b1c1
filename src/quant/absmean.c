/* AbsMean: dense ternary as in BitNet b1.58. alpha = mean |w|; t = round(w / alpha) clipped to -1..1, which is the sign where
 * |w| > alpha / 2 and 0 elsewhere (a tie rounds to the even 0). The threshold is of alpha before it is rounded. */
#include <math.h>

#include "quant/quant.h"

static void measure(const sol_kernels *k, const sol_quant_spec *spec, int pass, const sol_quant_group *g, const float *w,
                    int64_t n, sol_quant_acc *acc)
{
    (void)spec, (void)pass, (void)g;
    k->e.abs_sum(w, n, &acc->sum);
}

static bool settle(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc, sol_quant_group *g)
{
    (void)spec, (void)pass;
    g->scale = (float)(acc->sum / (double)n);
    g->threshold = g->scale / 2;
    return false;
}

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g, const float *w, int64_t n,
                   int8_t *t)
{
    (void)k, (void)spec;
    for (int64_t i = 0; i < n; i++) t[i] = (int8_t)((w[i] > g->threshold) - (w[i] < -g->threshold));
}

const sol_quantizer sol_quantizer_absmean = {
    .name = "absmean",
    .summary = "dense ternary, 1.58 bits a weight: zero where |w| <= alpha / 2, scale mean |w| (BitNet b1.58)",
    .packable = false,
    .block = 1,
    .measure = measure,
    .settle = settle,
    .levels = levels,
};
