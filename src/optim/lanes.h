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
 *     sol_lanes_begin(l, &all, NULL, model);
 *     st = sol_lanes_end(l, &norm, err);
 *     sol_adamw_update(ctx, optim, model, all.grads, sol_clip_scale(norm, 1), lr);
 *     st = sol_lanes_share_params(l, &all, model, err);
 *
 * Where sol_graph_on_gradients hands out the parts of the last lane while the backward pass goes
 * on, _begin in it, and _end before the next _begin: a thread of the lanes then exchanges and adds
 * a part while the ones below it are computed.
 *
 * There is no fp32 master to be cut among ranks: what is updated are the parameters themselves, in
 * fp32, which all ranks read whole to make W_eff of them, or in bf16, rounded after each update.
 *
 * All ranks call the functions below together but for those that say otherwise. */
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

/* Adds the gradient of own lane i, [n_elements] of the model, on this rank alone; lanes come in
 * order, from 0. Its content is then the caller's again. What it holds of the last lane is added
 * part by part, by sol_lanes_begin, and until then stays. */
void sol_lanes_add(sol_lanes *l, int64_t i, float *grads);
/* Begins to complete the parameters of `updated`, a part, as sol_lanes_share_params does, and then
 * to sum up `part` over all lanes and ranks: part->grads has this rank's last lane. Either may be
 * NULL. Until _end neither gradients nor parameters of these may be touched, and no other function
 * of the lanes or of their sol_dist be called. */
void sol_lanes_begin(sol_lanes *l, const sol_graph_part *part, const sol_graph_part *updated,
                     sol_model *model);
/* Waits for it: the sum is in this rank's shard of part->grads; the rest of that is left in any
 * state. *norm: of the whole part, as sol_global_norm has it; 0 without one. */
sol_status sol_lanes_end(sol_lanes *l, double *norm, sol_err *err);
/* Copies this rank's shard of a part that was summed up to its place in shard, [elements of
 * sol_lanes_shard], stretch behind stretch. */
void sol_lanes_take(const sol_lanes *l, const sol_graph_part *part, float *shard);
/* Completes the sum of a part in part->grads, for all. */
sol_status sol_lanes_share_grads(sol_lanes *l, const sol_graph_part *part, sol_err *err);
/* Completes the parameters of a part, of which each rank has updated its shard, for all. */
sol_status sol_lanes_share_params(sol_lanes *l, const sol_graph_part *part, sol_model *model,
                                  sol_err *err);

/* So far on this rank: seconds spent waiting for others, and seconds in which a part was exchanged
 * and added while the caller computed. */
typedef struct sol_lanes_seconds {
    double waited, hidden;
} sol_lanes_seconds;
sol_lanes_seconds sol_lanes_seconds_of(const sol_lanes *l);

/* Sends the moments of all ranks to rank 0, which passes them to `put` in the order of the flat
 * block, array by array: 0 m, 1 v, and of 8-bit moments 2 m_scale, 3 v_scale. A put that fails ends
 * nothing but further puts; its status is rank 0's. put NULL: as on all other ranks. */
typedef sol_status (*sol_moments_put)(void *user, int array, const void *data, size_t bytes,
                                      sol_err *err);
sol_status sol_lanes_gather_moments(sol_lanes *l, const sol_adamw *o, sol_moments_put put,
                                    void *user, sol_err *err);

#endif
