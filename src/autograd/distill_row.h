/* One token of a distillation loss, inside autograd. */
#ifndef SOLERA_AUTOGRAD_DISTILL_ROW_H
#define SOLERA_AUTOGRAD_DISTILL_ROW_H

#include "autograd/distill.h"

typedef struct sol_distill_row {
    const sol_train_ops *ops;
    const sol_distill *d;
    int64_t V;
    int32_t target;     /* not -1 */
    const float *dloss; /* NULL: no gradient; otherwise z becomes dloss times it */
    float part[SOL_PARTS];
} sol_distill_row;

/* All tokens. z, t: logits [V]. Returns the loss. */
float sol_distill_row_full(sol_distill_row *r, float *z, const float *t);
/* k tokens, the samples last, and the rest: probs[k + 1]. dz[k]: workspace for the
 * gradients. */
float sol_distill_row_top(sol_distill_row *r, float *z, int64_t k, const int32_t *ids,
                          const float *probs, float *dz);
/* Of the teacher's logits t[V]: ids[k] of k = d->top_k tokens, the samples last, drawn from `start`
 * in [0, 1) on; probs[k + 1] at d's temperature, the rest last. Returns its probability of the
 * target at temperature 1; 0 where that is -1. */
float sol_distill_row_select(const sol_train_ops *ops, const float *t, int64_t V,
                             const sol_distill *d, float start, int32_t target, int32_t *ids,
                             float *probs);

#endif
