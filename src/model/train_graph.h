/* A model on the tape: loss and gradients of one micro-batch, planned before anything is allocated.
 *
 *     sol_graph *g;
 *     st = sol_graph_create(&g, ctx, model, &spec, &opts, err); // the only allocation
 *     sol_graph_begin_step(g, mix);  // W_eff = a Q(W) + b W of all quantized layers
 *     sol_graph_new_grads(g);        // the next accumulate sets the gradients
 *     for (int i = 0; i < accumulate; i++) {
 *         sol_batcher_next(&batcher, opts.batch, tokens, targets, doc_start);
 *         sol_graph_accumulate(g, tokens, targets, doc_start, weight, &loss_sum, &n_tokens);
 *     }
 *     sol_graph_finish_step(g);      // methods with a backward of their own: dL/dW from dL/dW_eff
 *     double norm = sol_global_norm(ctx, sol_graph_grads(g), model->n_elements); // then optim/optim.h
 *     sol_graph_free(&g);
 *
 * The quantized layers are q, k, v, o, gate, up and down of every block; embedding, head and norms
 * never are. After sol_graph_create nothing allocates. All results have the same bits for any number
 * of threads, with and without activation checkpoints. Tokens must lie in [0, V) and targets in
 * [-1, V); the caller checks ids that come from files. */
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
    sol_dtype compute;           /* operands of products: SOL_F32, or SOL_BF16 (sums, master weights, gradients stay f32) */
    bool one_batch;              /* a step is one micro-batch, begun by sol_graph_begin_step: W_eff lies where its gradient will */
    bool by_layer;               /* gradients, W_eff and widened parameters for one block at a time: sol_graph_on_gradients.
                                  * W_eff is made in every forward (and recomputed) pass. Not for methods that learn. */
    /* What is minimized instead of the next-token loss (autograd/distill.h); copied. NULL: nothing. */
    const sol_distill *distill;
    const sol_teacher *teacher; /* borrowed; NULL with distill: from a cache, sol_graph_cached_inputs */
    float hidden_weight; /* of the mean squared difference of the blocks' outputs to the teacher's, of the same shape */
} sol_graph_opts;

/* What sol_graph_create would allocate, by kind. */
sol_status sol_graph_plan(const sol_model *m, const sol_quant_spec *spec, const sol_graph_opts *o, sol_plan *plan,
                          sol_err *err);
/* The model is borrowed and must outlive the graph, which reads its parameters at every step: f32, or bf16, which are widened
 * (exactly) before anything is computed with them. spec NULL or method NULL: full precision. SOL_ERR_USAGE: a method that learns, but the model lacks its parameters
 * (sol_model_add_learned). */
sol_status sol_graph_create(sol_graph **g, sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec,
                            const sol_graph_opts *o, sol_err *err);
void sol_graph_free(sol_graph **g);

/* Once after every change of the parameters or of the mix. */
void sol_graph_begin_step(sol_graph *g, sol_residual_mix mix);
/* Once after the micro-batches of a step, before the gradients are used: takes the gradients of W_eff to those of W, of
 * learned parameters and of weights that feed a bias. Costs nothing for straight-through methods. */
void sol_graph_finish_step(sol_graph *g);

/* tokens, targets: [B, T]; a target of -1 does not count. doc_start[B, T]: for each position the first position of its
 * document in the same row (attention never crosses it, RoPE positions restart there), NULL: one document a row.
 * *loss_sum: the sum of -ln p over the counted targets, in double in the order of the tokens; *n: how many. Gradients
 * of (weight * loss_sum) are added. */
void sol_graph_accumulate(sol_graph *g, const int32_t *tokens, const int32_t *targets, const int32_t *doc_start,
                          float weight, double *loss_sum, int64_t *n);
/* Forward only. */
void sol_graph_loss(sol_graph *g, const int32_t *tokens, const int32_t *targets, const int32_t *doc_start,
                    double *loss_sum, int64_t *n);
/* With opts.distill: sums over the counted targets of the last run. Unweighted: the divergence, the mean squared difference of
 * the hidden states, and the probability that the teacher gave to the target (0 with a cache). objective: what is minimized, the
 * weighted sum of next-token loss, divergence and hidden states. */
typedef struct sol_graph_distilled {
    double distill, hidden, teacher, objective;
} sol_graph_distilled;
sol_graph_distilled sol_graph_last_distilled(const sol_graph *g);
/* The share of the reverse divergence in CAKLD, from the next run on. */
void sol_graph_set_gamma(sol_graph *g, float gamma);
/* With opts.distill and no teacher: ids [B T, k] in [0, V) and probs [B T, k + 1], the rest last, to be filled before a run. */
void sol_graph_cached_inputs(sol_graph *g, int32_t **ids, float **probs);
/* With opts.distill that draws samples from a teacher: [B T], zeros at first, where the drawing begins for each token
 * (sol_distill_start), to be filled before a run. NULL: nothing is drawn. */
float *sol_graph_starts(sol_graph *g);
/* Logits [B*T, V] of the last forward pass, for tests and scoring. */
void sol_graph_logits(sol_graph *g, float *logits);

/* A look at the gradients between the layers: sol_graph_accumulate calls fn for every linear layer of the blocks when
 * its dL/dY has arrived. w: [rows, cols], what the layer multiplies by (W_eff when p is quantized), in the type it does so; dy: [tokens, rows], too;
 * so dL/dX of the layer is dy w. Both live until fn returns, which must change nothing. fn NULL: none. */
typedef void (*sol_graph_watch_fn)(void *user, const sol_param *p, const sol_operand *w, const sol_operand *dy,
                                   int64_t tokens);
void sol_graph_watch(sol_graph *g, sol_graph_watch_fn fn, void *user);

/* by_layer: in sol_graph_accumulate, fn gets the gradients of every block as soon as they are complete, last block first, then of
 * the embedding, then of the final norm and an untied head: of parameters [first, first + n) of the model's table, at the
 * distances that these have in the flat block (gaps are zeros). They live until fn returns, which may change these parameters, and
 * only them. loss_sum: as sol_graph_accumulate will return it. fn NULL: none. */
typedef struct sol_graph_part {
    int first, n;
    const float *grads;
    int64_t n_elements; /* of grads */
    double loss_sum;
} sol_graph_part;
typedef void (*sol_graph_done_fn)(void *user, const sol_graph_part *part);
void sol_graph_on_gradients(sol_graph *g, sol_graph_done_fn fn, void *user);

/* The flat gradient block, [model->n_elements] fp32, in the order of the model's block; NULL with no_grad and by_layer. Gaps
 * between the parameters hold zeros. */
float *sol_graph_grads(sol_graph *g);
/* The next sol_graph_accumulate sets the gradients, the ones after it add to them. Implied by sol_graph_create. */
void sol_graph_new_grads(sol_graph *g);

/* sol_tape_trace of the graph's tape. */
void sol_graph_trace(sol_graph *g, sol_tape_trace_fn fn, void *user);

#endif
