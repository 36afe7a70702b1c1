/* The quantizer twn, which quant.c drives group by group: ternary weight networks (Li et al.
 * 2016), threshold 0.75 mean |w|, alpha = mean |w| over the kept weights. */
#include <math.h>

#include "quant/dense_levels.h"

static void measure(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                    const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc)
{
    (void)spec;
    if (pass == 0) {
        k->elementwise.abs_sum(w, n, &acc->sum);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        bool kept = fabsf(w[i]) > g->threshold;
        acc->sum += kept ? (double)fabsf(w[i]) : 0;
        acc->count += kept;
    }
}

static bool settle(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc,
                   sol_quant_group *g)
{
    (void)spec;
    if (pass == 0) {
        g->threshold = (float)(0.75 * acc->sum / (double)n);
        return true;
    }
    /* Nothing is kept where all weights are 0, or where the threshold is not a number: then neither
     * may alpha be one. */
    g->scale = acc->count ? (float)(acc->sum / (double)acc->count) : g->threshold;
    return false;
}

static int patterns(const sol_quant_spec *spec, int max, int8_t *t)
{
    (void)spec;
    return sol_quant_patterns(1, 0, 1, max, t);
}

const sol_quantizer sol_quantizer_twn = {
    .name = "twn",
    .summary = "dense ternary, 1.58 bits a weight: zero up to 0.75 mean |w|, scale mean |w| of the "
               "rest (TWN)",
    .block = 1,
    .measure = measure,
    .settle = settle,
    .levels = sol_dense_levels,
    .patterns = patterns,
};
