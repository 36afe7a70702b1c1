/* The quantizer binary, which quant.c drives group by group: t = sign(w), 0 counts as +; alpha =
 * mean |w|, the L2 optimum (XNOR-Net). */
#include "quant/dense_levels.h"

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                   const float *w, int64_t n, int8_t *t)
{
    (void)k, (void)spec, (void)g;
    for (int64_t i = 0; i < n; i++) t[i] = w[i] < 0 ? -1 : 1;
}

static int patterns(const sol_quant_spec *spec, int max, int8_t *t)
{
    (void)spec;
    return sol_quant_patterns(1, 1, 1, max, t);
}

const sol_quantizer sol_quantizer_binary = {
    .name = "binary",
    .summary = "one bit a weight: the sign, scale mean |w|",
    .block = 1,
    .measure = sol_dense_measure_mean,
    .settle = sol_dense_settle_mean,
    .levels = levels,
    .patterns = patterns,
};
