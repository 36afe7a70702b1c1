/* The learning rate of a step. The trainer asks for it before each call of sol_adamw_update. */
#include <math.h>

#include "optim/optim.h"

/* Progress of step from `begin` towards `end`, 0 before and 1 after. */
static double progress(int64_t step, int64_t begin, int64_t end)
{
    if (step <= begin) return 0;
    if (step >= end) return 1;
    return (double)(step - begin) / (double)(end - begin);
}

float sol_lr_at(const sol_lr_schedule *s, int64_t step, int64_t n_steps)
{
    double peak = s->peak, floor_rate = peak * (double)s->min_ratio, rest = 1;
    if (step < s->warmup_steps) return (float)(peak * (double)(step + 1) / (double)s->warmup_steps);
    switch (s->kind) {
    case SOL_LR_CONSTANT: break;
    case SOL_LR_COSINE:
        rest = (1 + cos(M_PI * progress(step, s->warmup_steps, n_steps))) / 2;
        break;
    case SOL_LR_LINEAR: rest = 1 - progress(step, s->warmup_steps, n_steps); break;
    case SOL_LR_WSD: {
        int64_t begin = n_steps - llround((double)s->decay_fraction * (double)n_steps);
        if (begin < s->warmup_steps) begin = s->warmup_steps;
        rest = 1 - progress(step, begin, n_steps);
        break;
    }
    }
    return (float)(floor_rate + (peak - floor_rate) * rest);
}

float sol_clip_scale(double norm, double max_norm)
{
    if (max_norm <= 0) return 1;
    double scale = max_norm / (norm + 1e-6);
    return scale < 1 ? (float)scale : 1;
}
