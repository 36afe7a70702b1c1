/* What an op is: one file op_<name>.c with shapes, forward, backward, the cases of its gradient
 * check and a descriptor, plus one row in ops.def. Nothing else in the program knows one op from
 * another: the planner asks the descriptor, and there is no switch over ops.
 *
 *     static sol_status shapes(sol_op_call *c, sol_err *err)
 *     {
 *         if (!sol_shape_equal(&c->in[0].shape, &c->in[1].shape))
 *             return sol_fail(err, SOL_ERR_SHAPE, "x and w differ");
 *         c->out[0] = (sol_slot){.shape = c->in[0].shape, .dtype = SOL_F32};
 *         return SOL_OK;
 *     }
 *     static void forward(const sol_op_call *c) // y = x w, element by element
 *     {
 *         const float *x = c->in[0].data, *w = c->in[1].data;
 *         float *y = c->out[0].data;
 *         for (int64_t i = 0; i < sol_shape_count(&c->in[0].shape); i++) y[i] = x[i] * w[i];
 *     }
 *     static void backward(const sol_op_call *c) // dx (+)= dy w, dw (+)= dy x
 *     {
 *         for (int k = 0; k < 2; k++) {
 *             const sol_slot *s = &c->in[k];
 *             const float *dy = c->out[0].grad, *other = c->in[1 - k].data;
 *             if (!s->grad) continue;
 *             for (int64_t i = 0; i < sol_shape_count(&s->shape); i++)
 *                 s->grad[i] = dy[i] * other[i] + (s->grad_add ? s->grad[i] : 0);
 *         }
 *     }
 *     static bool check_case(int i, sol_op_case *c)
 *     {
 *         c->in[0] = c->in[1] = sol_shape2(3, 5);
 *         return i == 0;
 *     }
 *     const sol_op sol_op_multiply = {.name = "multiply", .n_in = 2, .n_out = 1,
 *                                     .shapes = shapes, .forward = forward, .backward = backward,
 *                                     .in = {SOL_IN_READ, SOL_IN_READ}, .check_case = check_case};
 *
 * Rules for forward and backward, which autograd/gradcheck.h tests for every op:
 *   - forward sets every output and reads inputs only. No output overlaps an input.
 *   - backward reads out[o].grad, and of the data only what SOL_IN_READ and SOL_OUT_READ name: the
 *     memory of all other tensors may hold anything, and is not written.
 *   - backward sets every in[i].grad that is not NULL, or adds to it when in[i].grad_add is set.
 *   - both run over the pool in tiles that depend on shapes alone, allocate nothing, and keep large
 *     temporaries in `workspace`, whose content at the start is arbitrary. */
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
    float *grad;             /* input: NULL when none is wanted; output: NULL when none arrives */
    bool grad_bf16;          /* grad holds bf16: see SOL_IN_GRAD_BF16 */
    bool grad_add;           /* input: add to grad instead of setting it */
    const float *grad_scale; /* input: see SOL_IN_GRAD_SCALED; NULL: 1 */
} sol_slot;

typedef struct sol_op_call {
    const sol_ctx *ctx;
    sol_slot in[SOL_OP_MAX_IN], out[SOL_OP_MAX_OUT];
    const void *attr; /* attr_size bytes of the op's own struct */
    void *workspace;  /* what `workspace` asked for, 64-byte aligned */
} sol_op_call;

/* Promises about an input, in sol_op.in: flags, combined by |. First what the op says, then what
 * the planner makes of it. A promise that is not given costs memory or time, never correctness. */
enum {
    /* backward reads in[i].data. The planner keeps the tensor from the forward pass until that
     * call, or has it computed again right before; without this flag its memory serves others as
     * soon as the last forward call has read it. */
    SOL_IN_READ = 1 << 0,
    /* backward multiplies the gradient of in[i] by *in[i].grad_scale. Where all readers of a tensor
     * say so, the straight-through op that made it (SOL_OP_STRAIGHT_THROUGH) hands its factor to
     * them, and its own backward pass costs nothing: a product applies the factor as it writes. */
    SOL_IN_GRAD_SCALED = 1 << 1,
    /* backward writes in[i].grad in bf16 when in[i].grad_bf16 is set, which only happens where
     * in[i] is bf16 itself. The planner asks for it where this is the only reader of the tensor,
     * and the op that made it takes such a gradient (SOL_OUT_GRAD_BF16). The gradient then takes
     * half of the memory. */
    SOL_IN_GRAD_BF16 = 1 << 2,
    /* backward has read all of in[i].data before it writes in[i].grad, so that both may lie in the
     * same memory. With sol_tape_opts.one_run the planner puts an effective weight where the
     * gradient of its parameter will lie, when this call is the only one that writes that gradient.
     */
    SOL_IN_GRAD_OVER_DATA = 1 << 3,
};

/* Promises about an output, in sol_op.out. */
enum {
    /* backward reads out[o].data, which is kept like an input with SOL_IN_READ: a softmax that
     * forward has computed, or its sums. */
    SOL_OUT_READ = 1 << 0,
    /* backward takes out[o].grad in bf16 when out[o].grad_bf16 is set: see SOL_IN_GRAD_BF16. */
    SOL_OUT_GRAD_BF16 = 1 << 1,
    /* out[o] is differentiated like out[0], which always is: backward adds up what arrives for
     * both, and takes a NULL for either. Without it no gradient flows through out[o]. */
    SOL_OUT_GRAD = 1 << 2,
};

/* Promises about the whole op, in sol_op.promises. */
enum {
    /* backward sets the outputs too, to the same bits as forward. Such an op ends its graph; in a
     * training run the planner leaves out its forward call. A loss over a large vocabulary would
     * otherwise compute all logits twice. */
    SOL_OP_COMPUTES_IN_BACKWARD = 1 << 0,
    /* forward is cheap: one pass over inputs that stay in memory anyway, because they have
     * SOL_IN_READ. The planner does not keep the outputs for the backward calls of other ops, but
     * runs forward a second time before the first of these. (The field says rematerialization.) */
    SOL_OP_CHEAP_TO_REPEAT = 1 << 1,
    /* The gradient of in[0] is that of out[0] times *factor, and no other input takes one: the
     * straight-through estimator, a cast. The planner gives both gradients one buffer and never
     * calls backward, provided that the readers of out[0] apply the factor (SOL_IN_GRAD_SCALED) or
     * there is none. */
    SOL_OP_STRAIGHT_THROUGH = 1 << 2,
    /* in[0].grad may be the memory of out[0].grad: backward then turns the one into the other. The
     * planner does so where nobody else writes the gradient of in[0], so that dL/dW_eff is summed
     * up where dL/dW will stand. */
    SOL_OP_GRAD_IN_PLACE = 1 << 3,
};

/* Inputs for a gradient check. Float inputs are drawn from a normal distribution. */
typedef struct sol_op_case {
    sol_shape in[SOL_OP_MAX_IN];
    const int32_t *ints[SOL_OP_MAX_IN]; /* values of integer inputs; NULL: a float input that is
                                         * differentiated */
    bool constant[SOL_OP_MAX_IN];       /* a float input that takes no gradient */
    const float *floats[SOL_OP_MAX_IN]; /* values of such an input; NULL: drawn like the others */
    bool bf16[SOL_OP_MAX_IN];           /* a float input that is held in bf16 */
    int fp32_case; /* > 0: this case computes case fp32_case - 1 in bf16, and its gradients are
                    * compared with the ones of that case, because differences of rounded numbers
                    * tell nothing */
    _Alignas(16) unsigned char attr[SOL_OP_MAX_ATTR];
} sol_op_case;

typedef struct sol_op {
    const char *name;
    int n_in, n_out;
    int optional_in, optional_out; /* the last so many may be missing: var -1, a slot of zeros; an
                                    * output is missing when `shapes` leaves it so */
    size_t attr_size;
    /* Checks shapes and types of the inputs, sets shape and dtype of the outputs. */
    sol_status (*shapes)(sol_op_call *c, sol_err *err);
    /* Bytes of workspace for a forward or a backward call, from shapes and attr; NULL: none. */
    size_t (*workspace)(const sol_op_call *c, bool backward);
    void (*forward)(const sol_op_call *c);
    void (*backward)(const sol_op_call *c);
    unsigned in[SOL_OP_MAX_IN];   /* SOL_IN_... of each input */
    unsigned out[SOL_OP_MAX_OUT]; /* SOL_OUT_... of each output */
    unsigned promises;            /* SOL_OP_... */
    /* Of SOL_OP_STRAIGHT_THROUGH: where the factor stands, which is read at every call; NULL: it
     * is 1. */
    const float *(*factor)(const void *attr);
    /* For the gradient check, where backward is not the derivative of forward: the function whose
     * derivative it is at the inputs of `at`, to the outputs of c; NULL: forward. */
    void (*surrogate)(const sol_op_call *c, const sol_op_call *at);
    /* Sets case i of the gradient check; false when there is none. Case 0 must exist. */
    bool (*check_case)(int i, sol_op_case *c);
} sol_op;

/* The ops of ops.def: how many, and by index. Static storage. */
int sol_op_count(void);
const sol_op *sol_op_at(int i);

#define SOL_OP(name) extern const sol_op sol_op_##name;
#include "autograd/ops.def"
#undef SOL_OP

#endif
