/* Tequila: AbsMean ternary whose dead weights (t = 0) also feed a bias of their row that does not depend on the input:
 * y = Q(W) x + lambda sum of the dead w, lambda 1e-3. They so get a gradient of their own, and the bias is merged when the
 * model ships. */
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

const sol_quantizer sol_quantizer_tequila = {
    .name = "tequila",
    .summary = "absmean whose dead weights feed a bias of their row, 1e-3 of their sum",
    .block = 1,
    .measure = measure,
    .settle = settle,
    .levels = levels,
    .dead_bias = 1e-3f,
};
