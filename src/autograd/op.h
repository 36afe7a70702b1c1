/* What an op is: one file op_<name>.c with shapes, forward, backward, gradient-check cases and
 * descriptor, plus one line in ops.def. No switch over ops anywhere; the tape plans lifetimes from
 * what the descriptor says.
 *
 * Rules for forward and backward:
 *   - forward sets every output; it reads inputs only. No output overlaps an input.
 *   - backward reads the data of the inputs and outputs that reads_in and reads_out name (the memory of
 *     others may hold anything) and out[o].grad. It sets every in[i].grad that is not NULL, or adds to
 *     it when in[i].grad_add.
 *   - both run over the pool in tiles that depend on shapes alone, allocate nothing, and keep large
 *     temporaries in `workspace`. */
#ifndef SOLERA_AUTOGRAD_OP_H
#define SOLERA_AUTOGRAD_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "kernels/ctx.h"
#include "tensor/tensor.h"

enum { SOL_OP_MAX_IN = 5, SOL_OP_MAX_OUT = 2, SOL_OP_MAX_ATTR = 96 };

/* One tensor as an op sees it during a call. Its gradient is fp32, or bf16 where grad_bf16 is
 * set. */
typedef struct sol_slot {
    sol_shape shape;
    sol_dtype dtype;
    void *data;
    float *grad;   /* input: NULL when none is wanted; output: NULL when none arrives */
    bool grad_bf16; /* grad holds bf16 */
    bool grad_add;  /* input: add to grad instead of setting it */
    const float *grad_scale; /* input: *grad_scale times the gradient is due, where scaled_in
                              * allows; NULL: 1 */
} sol_slot;

typedef struct sol_op_call {
    const sol_ctx *ctx;
    sol_slot in[SOL_OP_MAX_IN], out[SOL_OP_MAX_OUT];
    const void *attr; /* attr_size bytes of the op's own struct */
    void *workspace;    /* what `workspace` asked for; 64-byte aligned; holds anything at the start */
} sol_op_call;

/* Inputs for a gradient check. Float inputs are drawn from a normal distribution. */
typedef struct sol_op_case {
    sol_shape in[SOL_OP_MAX_IN];
    const int32_t *ints[SOL_OP_MAX_IN]; /* values of integer inputs; NULL: a float input that is
                                         * differentiated */
    bool constant[SOL_OP_MAX_IN];       /* a float input that takes no gradient */
    const float *floats[SOL_OP_MAX_IN]; /* values of such an input; NULL: drawn like the others */
    _Alignas(16) unsigned char attr[SOL_OP_MAX_ATTR];
} sol_op_case;

typedef struct sol_op {
    const char *name;
    int n_in, n_out;
    size_t attr_size;
    /* Checks input shapes and types, sets shape and dtype of the outputs. */
    sol_status (*shapes)(sol_op_call *c, sol_err *err);
    size_t (*workspace)(const sol_op_call *c, bool backward); /* bytes; NULL: none */
    void (*forward)(const sol_op_call *c);
    void (*backward)(const sol_op_call *c);
    /* What the planner may rely on. Bit i stands for in[i] (reads_out: out[i]). */
    unsigned reads_in, reads_out; /* backward reads in[i].data, out[i].data: they are kept until
                                   * then */
    unsigned scaled_in;           /* backward multiplies the gradient by *in[i].grad_scale */
    unsigned narrow_in;           /* backward can write in[i].grad in bf16; done where in[i] is
                                   * bf16 and has one reader */
    unsigned over_in;             /* backward reads in[i].data before it writes in[i].grad: both
                                   * may share memory */
    /* Backward computes the outputs as well. When the op is the last one of a graph, a training run
     * skips its forward. */
    bool backward_computes;
    /* Forward is one pass over inputs that stay in memory anyway, because the op's backward reads
     * them. So the outputs are not kept for the backward calls of other ops; forward runs a second
     * time before the first of these. */
    bool cheap;
    /* Straight-through ops: the gradient of in[0] is *factor times that of out[0]; a NULL factor is
     * 1. The tape gives both one buffer and passes the factor to the ops that write it (scaled_in),
     * so that the op's own backward costs nothing. */
    const float *(*alias_factor)(const void *attr);
    /* Straight-through ops: the function whose gradient backward computes, for the gradient check;
     * NULL: forward. */
    void (*surrogate)(const sol_op_call *c);
    /* Sets case i of the gradient check; false when there is none. Case 0 must exist. */
    bool (*check_case)(int i, sol_op_case *c);
} sol_op;

/* The ops of ops.def: how many, by index, by name (NULL: none). Static storage. */
int sol_op_count(void);
const sol_op *sol_op_at(int i);
const sol_op *sol_op_find(const char *name);

#define SOL_OP(name) extern const sol_op sol_op_##name;
#include "autograd/ops.def"
#undef SOL_OP

#endif
