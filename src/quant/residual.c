/* The schedule of lambda and the pair a, b of W_eff = a Q(W) + b W. The trainer asks for them
 * before every step. */
#include "quant/residual.h"

#include <math.h>

/* The shape of the anneal at progress p in [0, 1). */
static double decay(sol_residual_schedule schedule, double p)
{
    switch (schedule) {
    case SOL_RESIDUAL_NONE: break;
    case SOL_RESIDUAL_LINEAR: return 1 - p;
    case SOL_RESIDUAL_COSINE: return (1 + cos(M_PI * p)) / 2;
    case SOL_RESIDUAL_EXP: return exp(-5 * p);
    }
    return 0;
}

float sol_residual_lambda(const sol_residual *r, int64_t step, int64_t n_steps)
{
    if (r->schedule == SOL_RESIDUAL_NONE || n_steps <= 0 || step < 0) return 0;
    int64_t warm = r->warmup ? llround((double)r->warmup_fraction * (double)n_steps) : 0;
    int64_t end = llround((double)r->end_fraction * (double)n_steps);
    if (step < warm && step < end)
        return (float)((double)r->lambda_max * (double)(step + 1) / (double)warm);
    int64_t start = warm > 0 ? warm - 1 : 0; /* the step that has lambda_max */
    if (step >= end || (r->schedule == SOL_RESIDUAL_EXP && step == end - 1)) return 0;
    return (float)((double)r->lambda_max *
                   decay(r->schedule, (double)(step - start) / (double)(end - start)));
}

sol_residual_mix sol_residual_coeffs(sol_residual_form form, float lambda)
{
    return (sol_residual_mix){.a = form == SOL_RESIDUAL_BLEND ? 1 - lambda : 1, .b = lambda};
}
