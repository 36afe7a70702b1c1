/* Binary: t = sign(w), 0 counts as +; alpha = mean |w|, the L2 optimum (XNOR-Net). */
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
    return false;
}

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g, const float *w, int64_t n,
                   int8_t *t)
{
    (void)k, (void)spec, (void)g;
    for (int64_t i = 0; i < n; i++) t[i] = w[i] < 0 ? -1 : 1;
}

const sol_quantizer sol_quantizer_binary = {
    .name = "binary",
    .summary = "one bit a weight: the sign, scale mean |w|",
    .block = 1,
    .measure = measure,
    .settle = settle,
    .levels = levels,
};
