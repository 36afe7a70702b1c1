/* What a training step computes, and how fast this machine multiplies matrices: for `solera plan`
 * and the log of a run. */
#ifndef SOLERA_TRAIN_SPEED_H
#define SOLERA_TRAIN_SPEED_H

#include "solera.h"

/* Operations of a step of so many tokens, those of its products; a multiplication and an addition
 * count as two. teacher NULL: none. */
double sol_step_flops(const sol_config *c, const sol_model *m, const sol_teacher *teacher,
                      int64_t tokens);
/* The backward pass of one block for a token, with what activation checkpoints compute again. */
double sol_block_backward_flops(const sol_config *c, const sol_model *m);
/* Weights in linear layers of the blocks. */
size_t sol_linear_weights(const sol_model *m);
/* Operations a second of a large product in fp32 or bf16, the best of tries until it grows no more:
 * about a tenth of a second, at most one. */
sol_status sol_product_rate(const sol_ctx *ctx, sol_dtype type, double *rate, sol_err *err);
/* One such product: what the libraries allocate for it is there afterwards. */
sol_status sol_product_once(const sol_ctx *ctx, sol_dtype type, sol_err *err);

#endif
