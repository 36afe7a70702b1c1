/* AdamW on a flat block, learning-rate schedules, global-norm clipping. Everything runs over fixed tiles: the same bits for any
 * number of threads. */
#ifndef SOLERA_OPTIM_OPTIM_H
#define SOLERA_OPTIM_OPTIM_H

#include "base/mem.h"
#include "kernels/ctx.h"
#include "model/model.h"

typedef struct sol_adamw_config {
    float beta1, beta2, eps, weight_decay; /* decoupled; not applied to norms and embedding (Loshchilov & Hutter 2019) */
} sol_adamw_config;

typedef struct sol_adamw {
    sol_adamw_config config;
    float *m, *v;       /* [n_elements] first and second moments; owned */
    int64_t n_elements;
    int64_t t;          /* updates done: bias correction */
} sol_adamw;

sol_status sol_adamw_create(sol_adamw **o, const sol_model *model, const sol_adamw_config *c, sol_err *err);
void sol_adamw_free(sol_adamw **o);
/* One update of the whole block with gradient grad_scale * grads. */
void sol_adamw_update(sol_ctx *ctx, sol_adamw *o, sol_model *model, const float *grads, float grad_scale, float lr);

/* L2 norm of a block, accumulated in double over fixed tiles; not finite when any element is not. */
double sol_global_norm(sol_ctx *ctx, const float *x, int64_t n);

typedef enum { SOL_LR_CONSTANT, SOL_LR_COSINE, SOL_LR_LINEAR, SOL_LR_WSD } sol_lr_kind;
typedef struct sol_lr_schedule {
    sol_lr_kind kind;
    float peak, min_ratio; /* the floor is peak * min_ratio */
    int64_t warmup_steps;
    float decay_fraction; /* WSD: the last share of the steps, over which the rate falls */
} sol_lr_schedule;
float sol_lr_at(const sol_lr_schedule *s, int64_t step, int64_t n_steps); /* step is 0-based */

#endif
