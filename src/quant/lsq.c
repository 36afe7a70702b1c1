/* The quantizer lsq, which quant.c drives group by group: LSQ (Esser et al. 2020) at three
 * levels, Q(w) = step round(clamp(w / step, -1, 1)), the step learned.
 *
 *   dQ/dw    = 1 where |w| <= step, else 0
 *   dQ/dstep = round(x) - x with x = w / step where |x| <= 1, else sign(x) */
#include "quant/dense_levels.h"
#include "quant/learned.h"

static void derive(sol_quant_group *g)
{
    g->scale = sol_learned_step(g);
    g->threshold = g->scale / 2; /* rounding to even sends exactly half to 0 */
}

static void backward(const sol_quant_group *g, const float *w, const float *d, int64_t n,
                     float *through, double *sum)
{
    float step = sol_learned_step(g);
    for (int64_t i = 0; i < n; i++) {
        float x = w[i] / step;
        bool inside = fabsf(x) <= 1;
        through[i] = inside ? d[i] : 0;
        sum[0] += (double)d[i] * (double)(inside ? rintf(x) - x : copysignf(1, x));
    }
}

const sol_quantizer sol_quantizer_lsq = {
    .name = "lsq",
    .summary = "dense ternary with a learned step (LSQ), which starts at max |w|",
    .block = 1,
    .measure = sol_learned_measure,
    .settle = sol_learned_settle,
    .levels = sol_dense_levels,
    .n_learned = 1,
    .learned_name = {"quant_step"},
    .derive = derive,
    .backward = backward,
};
