/* A step's gradient, summed over lanes by the ranks of a job.
 *
 * The micro-batches of a step are cut into `lanes`, a power of two. A lane adds up its own in
 * order; lanes are added in a fixed binary tree, ((0 + 1) + (2 + 3)) + ..., whichever rank has
 * computed them: the sum has the same bits for any number of ranks that divides the lanes. Each
 * rank has as many lanes as any other, that follow each other; rank 0, which records, has the last.
 *
 * A rank owns a part of the elements (its shard): it receives the gradients of these from all
 * ranks, adds them in the order of the tree, updates its parameters, whose moments it alone holds,
 * and sends them to all.
 *
 *     sol_lanes *l;
 *     st = sol_lanes_create(&l, ctx, dist, model, &(sol_lanes_opts){.lanes = 8}, err);
 *     st = sol_adamw_create_shard(&optim, model, &adamw, sol_lanes_shard(l), err);
 *     for (int64_t i = 0; i < sol_lanes_own(l); i++) { // each step
 *         // lane sol_lanes_first(l) + i
 *         sol_graph_accumulate(graph, tokens, targets, doc_start, weight, &loss_sum, &n_tokens);
 *         sol_lanes_add(l, i, sol_graph_grads(graph));
 *     }
 *     sol_graph_part all = sol_graph_part_at(model, false, 0);
 *     all.grads = sol_graph_grads(graph);
 *     st = sol_lanes_reduce(l, &all, &norm, err);
 *     sol_adamw_update(ctx, optim, model, all.grads, sol_clip_scale(norm, 1), lr);
 *     st = sol_lanes_share_params(l, &all, model, err);
 *
 * All ranks call the functions that return a status together. */
#ifndef SOLERA_OPTIM_LANES_H
#define SOLERA_OPTIM_LANES_H

#include "dist/dist.h"
#include "model/train_graph.h"
#include "optim/optim.h"

typedef struct sol_lanes sol_lanes;

typedef struct sol_lanes_opts {
    int64_t lanes;       /* the ranks divide them */
    bool by_layer;       /* the parts that are reduced are those of a graph by layer */
    sol_dtype transport; /* SOL_F32, or SOL_BF16: what is added in the tree is rounded to bf16
                          * first, so that half the bytes travel; the result still does not depend
                          * on the number of ranks */
} sol_lanes_opts;
/* model: only its table is read; borrowed, as ctx and dist. */
sol_status sol_lanes_create(sol_lanes **l, const sol_ctx *ctx, sol_dist *dist,
                            const sol_model *model, const sol_lanes_opts *o, sol_err *err);
void sol_lanes_free(sol_lanes **l);
/* Bytes that sol_lanes_create allocates on each of the ranks. */
size_t sol_lanes_bytes(const sol_model *model, const sol_lanes_opts *o, int ranks);

/* How many lanes this rank computes, and the first of them. */
int64_t sol_lanes_own(const sol_lanes *l);
int64_t sol_lanes_first(const sol_lanes *l);
/* The elements that this rank owns. Borrowed. */
const sol_shard *sol_lanes_shard(const sol_lanes *l);

/* Adds the gradient of own lane i, [n_elements] of the model; lanes come in order, from 0. After
 * the last of them grads holds the sum over all; until then its content is the caller's again. With
 * one lane a rank it does nothing. */
void sol_lanes_add(sol_lanes *l, int64_t i, float *grads);
/* The sum of a part over all ranks, in this rank's shard of part->grads; the rest of it is left in
 * any state. *norm: of the whole part, as sol_global_norm has it. */
sol_status sol_lanes_reduce(sol_lanes *l, const sol_graph_part *part, double *norm, sol_err *err);
/* Copies this rank's shard of a part that was reduced to its place in shard, [elements of
 * sol_lanes_shard], stretch behind stretch. */
void sol_lanes_take(const sol_lanes *l, const sol_graph_part *part, float *shard);
/* Completes the sum of a part in part->grads, for all. */
sol_status sol_lanes_share_grads(sol_lanes *l, const sol_graph_part *part, sol_err *err);
/* Completes the parameters of a part, of which each rank has updated its shard, for all. */
sol_status sol_lanes_share_params(sol_lanes *l, const sol_graph_part *part, sol_model *model,
                                  sol_err *err);

/* Sends the moments of all ranks to rank 0, which passes them to `put` in the order of the flat
 * block, array by array: 0 m, 1 v, and of 8-bit moments 2 m_scale, 3 v_scale. A put that fails ends
 * nothing but further puts; its status is rank 0's. put NULL: as on all other ranks. */
typedef sol_status (*sol_moments_put)(void *user, int array, const void *data, size_t bytes,
                                      sol_err *err);
sol_status sol_lanes_gather_moments(sol_lanes *l, const sol_adamw *o, sol_moments_put put,
                                    void *user, sol_err *err);

#endif
