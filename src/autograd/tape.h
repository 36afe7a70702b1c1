/* Reverse-mode differentiation: define once, plan once, run many times.
 *
 *     sol_tape *t;
 *     st = sol_tape_create(&t, ctx, err);
 *     sol_var x = sol_tape_input(t, SOL_F32, sol_shape2(N, C));
 *     sol_var targets = sol_tape_input(t, SOL_I32, sol_shape1(N));
 *     sol_var w = sol_tape_param(t, SOL_F32, sol_shape2(C, C), weights, grads);
 *     sol_var head = sol_tape_constant(t, SOL_F32, sol_shape2(V, C), head_weights);
 *     sol_var y = sol_linear(t, x, w, SOL_F32);                   // autograd/ops.h
 *     sol_var loss = sol_head_loss(t, y, head, targets, SOL_F32); // [N, 1]
 *     st = sol_tape_plan(t, loss, &opts, err);                    // schedule, lifetimes, offsets
 *     st = sol_tape_allocate(t, err);                             // the only allocation
 *     memcpy(sol_tape_data(t, x), inputs, N * C * sizeof(float));
 *     memcpy(sol_tape_data(t, targets), labels, N * sizeof(int32_t));
 *     for (int64_t i = 0; i < N; i++) sol_tape_grad(t, loss)[i] = 1.0f / N; // of the mean
 *     sol_tape_prepare(t);
 *     sol_tape_run_backward(t, true, true); // forward and backward: sets grads
 *     sol_tape_free(&t);
 *
 * The plan is a list of calls. First come the forward calls, then the backward ones. A node marked
 * cheap, and with `recompute` every forward node of a segment, runs a second time, right before the
 * backward calls that read its output, so that this output need not be kept since the forward pass.
 * From the list follows for every tensor and gradient the first and the last call that uses it; the
 * plan assigns offsets in one block, such that tensors in use at the same time do not overlap. A
 * run allocates nothing. */
#ifndef SOLERA_AUTOGRAD_TAPE_H
#define SOLERA_AUTOGRAD_TAPE_H

#include "autograd/op.h"
#include "base/mem.h"

typedef struct sol_tape sol_tape;
typedef int sol_var; /* -1 after an error */

typedef struct sol_tape_opts {
    bool no_grad;   /* forward only */
    bool recompute; /* activation checkpoints: keep what crosses segments, compute the rest again */
    bool one_run;   /* the caller promises that every step is one run (first and last), right after
                     * sol_tape_prepare. A prologue tensor with one reader then lies where the
                     * gradient of its param will, which the reader's backward writes over it */
} sol_tape_opts;

/* ctx is borrowed; NULL for a tape that is only planned. The caller owns *t. */
sol_status sol_tape_create(sol_tape **t, const sol_ctx *ctx, sol_err *err);
void sol_tape_free(sol_tape **t);

/* A tensor in memory of the tape, which the caller fills before a run (sol_tape_data). It has no
 * gradient. */
sol_var sol_tape_input(sol_tape *t, sol_dtype dtype, sol_shape shape);
/* A leaf in the caller's memory, which outlives the tape; f32 or bf16. grad is f32 of the same
 * shape, and every backward run sets it or adds to it; NULL: no gradient. data may be NULL in a
 * tape that is only planned. */
sol_var sol_tape_param(sol_tape *t, sol_dtype dtype, sol_shape shape, const void *data,
                       float *grad);
/* A leaf without a gradient. What depends on constants and inputs alone has no backward pass. */
sol_var sol_tape_constant(sol_tape *t, sol_dtype dtype, sol_shape shape, const void *data);
/* Records a node: op on in[op->n_in], its outputs to out[op->n_out]. attr, op->attr_size bytes, is
 * copied. Returns out[0], or -1 when shapes do not fit or memory is short; the tape keeps the first
 * error for sol_tape_plan. */
sol_var sol_tape_apply(sol_tape *t, const sol_op *op, const sol_var *in, sol_var *out,
                       const void *attr);

/* Nodes recorded while `on` is set form the prologue: they depend on parameters alone. Their
 * forward calls run in sol_tape_prepare, their backward calls after the last run of a step. Record
 * them before the segments. */
void sol_tape_prologue(sol_tape *t, bool on);
/* Nodes recorded from here on form segment `id` (>= 0, ascending) for recomputation; -1: none. */
void sol_tape_segment(sol_tape *t, int id);
/* The tensor stays valid until the next run. */
void sol_tape_keep(sol_tape *t, sol_var v);

/* Plans calls, lifetimes and offsets; record nothing afterwards. root: the output whose gradient
 * the caller supplies. Returns the first error of the recording. */
sol_status sol_tape_plan(sol_tape *t, sol_var root, const sol_tape_opts *opts, sol_err *err);
/* Adds what sol_tape_allocate will allocate to *plan, by kind. */
void sol_tape_report(const sol_tape *t, sol_plan *plan);
sol_status sol_tape_allocate(sol_tape *t, sol_err *err);

/* After sol_tape_allocate. Data of an input, a kept or prologue tensor or the root; NULL for any
 * other. Gradient of a param, or of the root, which the caller fills. Memory of the tape;
 * row-major, in the shape of v. */
void *sol_tape_data(const sol_tape *t, sol_var v);
float *sol_tape_grad(const sol_tape *t, sol_var v);

/* Watches the backward pass: fn is called before the backward call of every node outside the
 * prologue, with the vars of its inputs and the call, whose out[o].grad hold the gradients that
 * arrive. These are valid until fn returns, and fn must not change them. fn NULL: no watch. */
typedef void (*sol_tape_watch_fn)(void *user, const sol_op *op, const sol_var *in,
                                  const sol_op_call *call);
void sol_tape_watch(sol_tape *t, sol_tape_watch_fn fn, void *user);

/* Runs the prologue: once after every change of the parameters. */
void sol_tape_prepare(sol_tape *t);
/* Runs the forward pass. */
void sol_tape_run_forward(sol_tape *t);
/* Forward and backward; the root's gradient must be filled. A step is one run or several, whose
 * gradients add up. first: this run sets the gradients of params, whatever they held; otherwise it
 * adds to them. last: afterwards the backward calls of the prologue run, and the gradients are
 * complete; until then those of params that the prologue reads are not. */
void sol_tape_run_backward(sol_tape *t, bool first, bool last);

/* fn is called in a backward run after the last backward call of segment `id`. The gradients of
 * params that only this segment reads are then complete, and this run does not read the data of
 * these params again: fn may use the gradients and change the data. fn NULL: none. */
typedef void (*sol_tape_segment_fn)(void *user, int id);
void sol_tape_after_segment(sol_tape *t, sol_tape_segment_fn fn, void *user);
/* Whether the prologue has backward calls, which complete gradients behind all segments. */
bool sol_tape_ends_in_prologue(const sol_tape *t);

/* fn is called after every call of a node, also in sol_tape_prepare, to measure times. fn NULL:
 * none. */
typedef void (*sol_tape_trace_fn)(void *user, const sol_op *op, bool backward);
void sol_tape_trace(sol_tape *t, sol_tape_trace_fn fn, void *user);

#endif
