/* A model on the tape: loss and gradients of one micro-batch, planned before anything is allocated.
 *
 *     sol_graph *g;
 *     st = sol_graph_create(&g, ctx, model, &spec, &opts, err); // the only allocation
 *     sol_graph_begin_step(g, mix, accumulate); // W_eff = a Q(W) + b W of all quantized layers
 *     for (int i = 0; i < accumulate; i++) {
 *         sol_batcher_next(&batcher, opts.batch, tokens, targets, doc_start);
 *         sol_graph_accumulate(g, tokens, targets, doc_start, weight, &loss_sum, &n_tokens);
 *     }
 *     double norm = sol_global_norm(ctx, sol_graph_grads(g), model->n_elements); // optim/optim.h
 *     sol_graph_free(&g);
 *
 * The quantized layers are q, k, v, o, gate, up and down of every block; norms never are, embedding
 * and head are rounded where spec has an embed_type, layers that overrides keep to fp16. After
 * sol_graph_create nothing allocates. All results have the same bits for any number of threads,
 * with and without activation checkpoints. Tokens must lie in [0, V) and targets in [-1, V); the
 * caller checks ids that come from files. */
#ifndef SOLERA_MODEL_TRAIN_GRAPH_H
#define SOLERA_MODEL_TRAIN_GRAPH_H

#include "autograd/tape.h"
#include "base/mem.h"
#include "kernels/ctx.h"
#include "kernels/gemm.h"
#include "model/model.h"
#include "model/teacher.h"
#include "quant/quant.h"

typedef struct sol_graph sol_graph;

typedef struct sol_graph_opts {
    int64_t batch, seq;          /* B, T of a micro-batch */
    bool activation_checkpoints; /* recompute each block in the backward pass */
    bool no_grad;                /* loss only: no gradient buffers */
    sol_dtype compute;           /* operands of products: SOL_F32, or SOL_BF16 (sums, master
                                  * weights, gradients stay f32) */
    bool one_batch;              /* every step is one micro-batch, begun by sol_graph_begin_step:
                                  * W_eff shares the memory of its gradient */
    bool by_layer;               /* gradients, W_eff and cast parameters exist for one block at a
                                  * time (sol_graph_on_gradients); W_eff is computed in every
                                  * forward pass, also a repeated one. Not for methods that learn */
    bool in_turns;               /* by_layer: gradients of two blocks exist, so that those of one
                                  * stay while the next one's are made */
    /* What is minimized instead of the next-token loss (autograd/distill.h); copied. NULL:
     * nothing. */
    const sol_distill *distill;
    const sol_teacher *teacher; /* borrowed; NULL with distill: from a cache,
                                 * sol_graph_cached_inputs */
    float hidden_weight; /* of the difference of the blocks' outputs to the teacher's, of the same
                          * shape, the mean over blocks */
    sol_hidden_form hidden_form;
    float relation_weight;  /* of the relations of queries, keys and values of one block to the
                             * teacher's (sol_attention_relation), the mean of the three */
    int64_t relation_layer; /* that block, in both; negative: counted from the last one, -1 */
} sol_graph_opts;

/* Adds what sol_graph_create would allocate to *plan, by kind; m may be a table. Fails where that
 * would. */
sol_status sol_graph_plan(const sol_model *m, const sol_quant_spec *spec, const sol_graph_opts *o,
                          sol_plan *plan, sol_err *err);
/* The model is borrowed and must outlive the graph, which reads its parameters at every step, in
 * fp32 or in bf16, which are cast to fp32 first. spec is copied; NULL or method NULL: full
 * precision. The caller owns *g. SOL_ERR_RANGE: batch or seq; SOL_ERR_USAGE: the model lacks the
 * parameters that the method learns (sol_model_add_learned), or opts ask a cache for hidden states;
 * SOL_ERR_UNSUPPORTED: such a method with by_layer; SOL_ERR_SHAPE: the teacher has another
 * vocabulary, or with hidden_weight other hidden states. */
sol_status sol_graph_create(sol_graph **g, sol_ctx *ctx, const sol_model *m,
                            const sol_quant_spec *spec, const sol_graph_opts *o, sol_err *err);
void sol_graph_free(sol_graph **g);

/* Begins a step of n micro-batches: computes W_eff. Of the n calls of sol_graph_accumulate that
 * follow, the first sets the gradients, the others add to them, and the last completes them: until
 * then the gradients of quantized layers are those of W_eff. Call it after every change of the
 * parameters, and for a new mix; as long as neither changes, further n calls are another step. With
 * one_batch or by_layer n is 1; without gradients it means nothing. */
void sol_graph_begin_step(sol_graph *g, sol_residual_mix mix, int64_t n);

/* Forward and backward pass of a micro-batch; adds the gradients of weight * loss_sum. tokens,
 * targets: [B, T]; a target of -1 is not counted. doc_start[B, T]: for every position the first
 * position of its document in the same row, which attention does not cross and where RoPE positions
 * restart; NULL: one document a row. *loss_sum: the sum of -ln p over the counted targets, in nats,
 * in double in the order of the tokens; *n: how many. */
void sol_graph_accumulate(sol_graph *g, const int32_t *tokens, const int32_t *targets,
                          const int32_t *doc_start, float weight, double *loss_sum, int64_t *n);
/* The forward pass of sol_graph_accumulate alone. */
void sol_graph_loss(sol_graph *g, const int32_t *tokens, const int32_t *targets,
                    const int32_t *doc_start, double *loss_sum, int64_t *n);
/* With opts.distill: sums over the counted targets of the last run. distill: the divergence;
 * hidden: the difference of the hidden states, relation: of the attention's relations; teacher: the
 * probability that the teacher gives the target, 0 with a cache; all unweighted. objective: what is
 * minimized, the weighted sum of next-token loss, divergence, hidden states and relations. */
typedef struct sol_graph_distilled {
    double distill, hidden, relation, teacher, objective;
} sol_graph_distilled;
sol_graph_distilled sol_graph_last_distilled(const sol_graph *g);
/* Which terms of the objective the next runs have, a sum of these; all at first. For the norms of
 * their gradients. */
enum {
    SOL_TERM_NEXT_TOKEN = 1,
    SOL_TERM_DISTILL = 2,
    SOL_TERM_HIDDEN = 4,
    SOL_TERM_RELATION = 8,
    SOL_TERMS_ALL = 15
};
void sol_graph_choose_terms(sol_graph *g, int terms);
/* Sets gamma, the weight of the reverse KL in CAKLD, for the next runs. */
void sol_graph_set_gamma(sol_graph *g, float gamma);
/* With opts.distill and no teacher: *ids [B T, k] in [0, V) and *probs [B T, k + 1], that of all
 * other tokens last. Memory of the graph; the caller fills both before a run. */
void sol_graph_cached_inputs(sol_graph *g, int32_t **ids, float **probs);
/* With opts.distill that draws samples from a teacher: [B T] offsets of the systematic sampling of
 * each token (sol_distill_start), 0 at first; the caller fills them before a run. NULL: nothing is
 * drawn. */
float *sol_graph_starts(sol_graph *g);
/* Writes the logits of the last forward pass to logits [B T, V], for tests and scoring. */
void sol_graph_logits(sol_graph *g, float *logits);

/* Watches the gradients between layers: sol_graph_accumulate calls fn for every linear layer of the
 * blocks when its dL/dY is complete. w: [rows, cols], what the layer multiplies by (W_eff when p is
 * quantized), in the type it does so; dy: [tokens, rows], too; so dL/dX of the layer is dy w. Both
 * live until fn returns, which must change nothing. fn NULL: none. */
typedef void (*sol_graph_watch_fn)(void *user, const sol_param *p, const sol_operand *w,
                                   const sol_operand *dy, int64_t tokens);
void sol_graph_watch(sol_graph *g, sol_graph_watch_fn fn, void *user);

/* The next calls of sol_graph_accumulate, each the last micro-batch of its step, pass the gradients
 * of a block to fn as soon as they are complete: last block first, then the embedding, then the
 * final norm and an untied head; behind the whole backward pass where the method has a backward of
 * its own (op_fake_quant_own.c). They are those of parameters [first, first + n) of the model, at
 * the offsets that these have in the flat block from parameter first on (gaps hold 0). By layer
 * they are valid until fn returns, and with in_turns until it has returned from the next block,
 * too; otherwise they stay where they lie. Until then they may be changed, as these parameters, and
 * no others. loss_sum: what sol_graph_accumulate will return. fn NULL: none. */
typedef struct sol_graph_part {
    int first, n;
    float *grads;
    int64_t n_elements; /* of grads */
    double loss_sum;
} sol_graph_part;
typedef void (*sol_graph_done_fn)(void *user, const sol_graph_part *part);
void sol_graph_on_gradients(sol_graph *g, sol_graph_done_fn fn, void *user);
/* The parts of a model in the order of the flat block: how many there are by layer, or otherwise,
 * when it is one; and part i, grads NULL. */
int sol_graph_part_count(const sol_model *m, bool by_layer);
sol_graph_part sol_graph_part_at(const sol_model *m, bool by_layer, int i);

/* The flat gradient block, [model->n_elements] fp32, in the order of the model's block; NULL with
 * no_grad and by_layer. Gaps between the parameters hold zeros. */
float *sol_graph_grads(sol_graph *g);
/* Calls fn after every call of an op: sol_tape_trace of the graph's tape. */
void sol_graph_trace(sol_graph *g, sol_tape_trace_fn fn, void *user);

#endif
