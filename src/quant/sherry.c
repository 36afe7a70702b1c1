/* The quantizer sherry, which quant.c drives group by group: 3:4 sparse ternary (paper eq. 3-5,
 * 9-13). In each block of four the smallest |w| becomes 0, the others their sign; alpha = mean
 * |w| over the kept three quarters of a scale group, which is the exact L2 optimum. */
#include "quant/quant.h"

static void measure(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                    const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc)
{
    (void)pass, (void)g;
    k->elementwise.sherry_sum(w, n, spec->layout, &acc->sum);
}

static bool settle(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc,
                   sol_quant_group *g)
{
    (void)spec, (void)pass;
    g->scale = (float)(acc->sum / (0.75 * (double)n));
    return false;
}

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                   const float *w, int64_t n, int8_t *t)
{
    (void)g;
    k->elementwise.sherry_levels(w, n, spec->layout, t);
}

static void effective(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                      float scale, float b, const float *w, int64_t n, float *out)
{
    (void)g;
    k->elementwise.sherry_effective(w, n, spec->layout, scale, b, out);
}

static int patterns(const sol_quant_spec *spec, int max, int8_t *t)
{
    (void)spec;
    return sol_quant_patterns(4, 3, 3, max, t);
}

const sol_quantizer sol_quantizer_sherry = {
    .name = "sherry",
    .summary = "3:4 sparse ternary, 1.25 bits a weight: one zero in each block of four, scale mean "
               "|w| of the kept",
    .packable = true,
    .block = 4,
    .measure = measure,
    .settle = settle,
    .levels = levels,
    .effective = effective,
    .patterns = patterns,
};
