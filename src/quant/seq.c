/* The quantizer seq, which quant.c drives group by group: stretched elastic quantization (ParetoQ)
 * at three levels, the step learned.
 *
 *   Q(w) = step q,  q = round(1.5 clamp(w / step, -0.99, 0.99)) / 1.5 in {-2/3, 0, 2/3}
 *
 * So scale = 2/3 step, and a weight is 0 up to step / 3.
 *
 *   dQ/dw    = 1 where |w| <= 0.99 step, else 0
 *   dQ/dstep = q - x with x = w / step where |x| <= 0.99, else sign(x), as published
 *              (the level there is 2/3) */
#include "quant/dense_levels.h"
#include "quant/learned.h"

static const float clamp = 0.99f;

static void derive(sol_quant_group *g)
{
    float step = sol_learned_step(g);
    g->scale = step / 1.5f;
    g->threshold = step / 3;
}

static void backward(const sol_quant_group *g, const float *w, const float *d, int64_t n,
                     float *through, double *sum)
{
    float step = sol_learned_step(g);
    for (int64_t i = 0; i < n; i++) {
        float x = w[i] / step;
        bool inside = fabsf(x) <= clamp;
        through[i] = inside ? d[i] : 0;
        sum[0] += (double)d[i] * (double)(inside ? rintf(1.5f * x) / 1.5f - x : copysignf(1, x));
    }
}

const sol_quantizer sol_quantizer_seq = {
    .name = "seq",
    .summary = "dense ternary on levels -2/3, 0, 2/3 of a learned step (ParetoQ's SEQ), which "
               "starts at max |w|",
    .block = 1,
    .measure = sol_learned_measure,
    .settle = sol_learned_settle,
    .levels = sol_dense_levels,
    .n_learned = 1,
    .learned_name = {"quant_step"},
    .derive = derive,
    .backward = backward,
};
