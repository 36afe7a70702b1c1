/* A part of a block as a tape of its own, run over the windows of a stream. Internal to calib. */
#ifndef SOLERA_CALIB_STAGE_H
#define SOLERA_CALIB_STAGE_H

#include "model/block.h"

/* From the hidden states [B T, C] to what a linear layer reads: */
typedef enum sol_stage_kind {
    SOL_STAGE_INPUT_NORM, /* q, k, v */
    SOL_STAGE_HEADS,      /* o */
    SOL_STAGE_POST_NORM,  /* gate, up */
    SOL_STAGE_GATED,      /* down */
    SOL_STAGES
} sol_stage_kind;

typedef struct sol_stage {
    sol_tape *tape;
    sol_block_inputs in;
    sol_block block;
    const sol_model *weights; /* of one block, borrowed; read at every run */
    sol_var x, out;
} sol_stage;

/* weights: a model of one block. config: of what runs, borrowed: that of weights, or the same
 * without its norms before o and down. compute: operands of products. The caller frees *s. */
sol_status sol_stage_create(sol_stage *s, sol_stage_kind kind, const sol_ctx *ctx,
                            const sol_model *weights, const sol_model_config *config, int64_t batch,
                            int64_t seq, sol_dtype compute, sol_err *err);
void sol_stage_free(sol_stage *s);
/* x: [n T, C], n <= batch windows; doc_start [n T]. Returns the outputs in the compute type, until
 * the next run. */
const void *sol_stage_run(sol_stage *s, const float *x, const int32_t *doc_start, int64_t n);

/* block, a model of one block in f32, becomes block `layer` of m. */
void sol_stage_take_block(const sol_model *m, int64_t layer, sol_model *block);

/* y [n, out] = beta y + x [n, in] W^T, W the layer `which` of a model of one block; x in the
 * compute type; rows of y are ldy apart. scratch: of sol_product_scratch(bf16, out, in). */
void sol_stage_project(const sol_ctx *ctx, const sol_model *block, sol_role which,
                       sol_dtype compute, const void *x, int64_t n, float beta, float *y,
                       int64_t ldy, void *scratch);

#endif
