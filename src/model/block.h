/* The architecture, described once: inputs and blocks of a LLaMA model as nodes on a tape, whatever
 * its weights are. train_graph.c and teacher.c record whole models with it, calib parts of a
 * block. */
#ifndef SOLERA_MODEL_BLOCK_H
#define SOLERA_MODEL_BLOCK_H

#include "autograd/ops.h"
#include "model/model.h"

typedef struct sol_block_inputs {
    int64_t batch, seq;
    sol_var tokens, targets, doc_start, position; /* [B T] i32 */
} sol_block_inputs;

/* Records the inputs, for batch rows of seq tokens. */
void sol_block_inputs_record(sol_block_inputs *in, sol_tape *t, int64_t batch, int64_t seq);
/* Fills them before a run, from the arrays of sol_graph_accumulate. */
void sol_block_inputs_fill(const sol_block_inputs *in, sol_tape *t, const int32_t *tokens,
                           const int32_t *targets, const int32_t *doc_start);
/* Fills document starts and positions alone, for a tape that begins with hidden states: doc_start
 * [n T] of the first n windows; each other window is one document. */
void sol_block_inputs_place(const sol_block_inputs *in, sol_tape *t, const int32_t *doc_start,
                            int64_t n);

typedef struct sol_block {
    sol_tape *t;
    const sol_model_config *config;
    const sol_block_inputs *in;
    sol_var cosine, sine; /* [T, D/2] of this model */
    sol_dtype compute;    /* operands of products: SOL_F32 or SOL_BF16 */
    /* Called right before the block reads a weight, to record it. bias returns -1 for none, and may
     * be NULL. */
    sol_var (*weight)(void *user, int64_t layer, sol_role role);
    sol_var (*bias)(void *user, int64_t layer, sol_role role);
    void *user;
    /* Set while block `watched` is recorded: its queries, keys and values, as attention reads them.
     * NULL: not wanted. */
    sol_var *qkv; /* [3] */
    int64_t watched;
} sol_block;

/* Records the RoPE tables, and fills them once the tape is allocated. */
void sol_block_tables_record(sol_block *b);
void sol_block_tables_fill(const sol_block *b);
/* The parts of a block, each [B T, its width]: the norm that `role` names, of fp32; the heads'
 * outputs of normed x, which o_proj reads; silu(gate) * up of normed x, which down_proj reads, both
 * normed once more where the model has it so (sub_norm). */
sol_var sol_block_norm(const sol_block *b, int64_t layer, sol_role role, sol_var x);
sol_var sol_block_heads(const sol_block *b, int64_t layer, sol_var x);
sol_var sol_block_gated(const sol_block *b, int64_t layer, sol_var x);
/* All of it: y = x + o(heads(norm(x))), y + down(gated(norm(y))). */
sol_var sol_block_record(const sol_block *b, int64_t layer, sol_var x);

#endif
