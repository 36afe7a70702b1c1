/* The quantizer nm, which quant.c drives group by group: N:M sparse ternary. In each block of m
 * contiguous weights the n largest |w| keep their sign (of equals the later ones: ties zero the
 * lowest index), the others become 0; alpha = mean |w| over the kept. 3:4 is sherry, but
 * for the rounding of sums. */
#include <math.h>

#include "base/half.h"
#include "quant/quant.h"

/* t = 0 for the m - n smallest magnitudes, compared as integers so that NaN has a place too. */
static void choose(const float *w, int n, int m, int8_t *t)
{
    uint32_t mag[SOL_QUANT_MAX_M];
    for (int i = 0; i < m; i++) mag[i] = sol_f32_bits(w[i]) & 0x7fffffffu;
    for (int i = 0; i < m; i++) {
        int before = 0; /* how many are zeroed before this one */
        for (int k = 0; k < m; k++) before += mag[k] < mag[i] || (mag[k] == mag[i] && k < i);
        t[i] = (int8_t)(before < m - n ? 0 : w[i] < 0 ? -1 : 1);
    }
}

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                   const float *w, int64_t n, int8_t *t)
{
    (void)k, (void)g;
    for (int64_t i = 0; i < n; i += spec->m) choose(w + i, spec->n, spec->m, t + i);
}

static void measure(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                    const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc)
{
    int8_t t[SOL_QUANT_MAX_M];
    (void)k, (void)pass, (void)g;
    for (int64_t i = 0; i < n; i += spec->m) {
        choose(w + i, spec->n, spec->m, t);
        for (int p = 0; p < spec->m; p++) acc->sum += t[p] ? (double)fabsf(w[i + p]) : 0;
    }
}

static bool settle(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc,
                   sol_quant_group *g)
{
    (void)pass;
    g->scale = (float)(acc->sum / ((double)n * spec->n / spec->m));
    return false;
}

static int patterns(const sol_quant_spec *spec, int max, int8_t *t)
{
    return sol_quant_patterns(spec->m, spec->n, spec->n, max, t);
}

const sol_quantizer sol_quantizer_nm = {
    .name = "nm",
    .summary = "N:M sparse ternary: the quant.n largest of each quant.m weights, scale mean |w| of "
               "the kept",
    .block = 0,
    .measure = measure,
    .settle = settle,
    .levels = levels,
    .patterns = patterns,
};
