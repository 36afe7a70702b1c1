/* The quantizer dlt, which quant.c drives group by group: dual learnable ternarization
 * (TernaryLLM), LSQ with a learned shift, Q(w) = step t + shift, t = round(clamp(x, -1, 1)), x =
 * (w - shift) / step.
 *
 *   dQ/dw     = 1 where |x| <= 1, else 0
 *   dQ/dstep  = t - x where |x| <= 1, else t
 *   dQ/dshift = 0 where |x| <= 1, else 1 */
#include "quant/learned.h"

static void derive(sol_quant_group *g)
{
    g->scale = sol_learned_step(g);
    g->shift = g->learned[1];
    g->threshold = g->scale / 2;
}

static void levels(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                   const float *w, int64_t n, int8_t *t)
{
    (void)k, (void)spec;
    for (int64_t i = 0; i < n; i++) {
        float x = w[i] - g->learned[1];
        t[i] = (int8_t)((x > g->threshold) - (x < -g->threshold));
    }
}

static void backward(const sol_quant_group *g, const float *w, const float *d, int64_t n,
                     float *through, double *sum)
{
    float step = sol_learned_step(g), shift = g->learned[1];
    for (int64_t i = 0; i < n; i++) {
        float x = (w[i] - shift) / step;
        bool inside = fabsf(x) <= 1;
        through[i] = inside ? d[i] : 0;
        sum[0] += (double)d[i] * (double)(inside ? rintf(x) - x : copysignf(1, x));
        sum[1] += inside ? 0 : (double)d[i];
    }
}

const sol_quantizer sol_quantizer_dlt = {
    .name = "dlt",
    .summary = "dense ternary with learned step and shift (TernaryLLM's DLT)",
    .block = 1,
    .measure = sol_learned_measure,
    .settle = sol_learned_settle,
    .levels = levels,
    .n_learned = 2,
    .learned_name = {"quant_step", "quant_shift"},
    .derive = derive,
    .backward = backward,
    .shifted = true,
};
