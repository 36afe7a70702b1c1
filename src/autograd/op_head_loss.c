/* Cross-entropy fused with the output head, z = x W^T, chunk by chunk (head.h). A graph without a
 * teacher ends with it (model/train_graph.c).
 *
 *   loss[n] = ln sum_v exp(z[n, v]) - z[n, target], 0 where the target is -1
 *   backward:  dz = dloss (softmax(z) - onehot(target)),  dx = dz W,  dW += dz^T x
 *
 * x [N, C]; W [V, C]; targets [N] i32; loss [N, 1]. The backward call computes the losses, too. */
#include "autograd/head.h"
#include "autograd/ops.h"

typedef struct attr {
    sol_dtype compute;
} attr;

static float row(const sol_head_chunk *k, int64_t i, float *z, const float *dloss)
{
    const sol_op_call *c = k->head->c;
    const int32_t *target = c->in[2].data;
    return c->ctx->kernels.train_ops.cross_entropy(z, c->in[1].shape.dim[0], target[k->from + i],
                                                   dloss);
}

static sol_head head(const sol_op_call *c)
{
    return (sol_head){.c = c, .compute = ((const attr *)c->attr)->compute, .row = row};
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    sol_head h = head(c);
    return sol_head_workspace(&h, backward);
}

static void forward(const sol_op_call *c)
{
    sol_head h = head(c);
    sol_head_run(&h, false);
}

static void backward(const sol_op_call *c)
{
    sol_head h = head(c);
    sol_head_run(&h, true);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t targets[] = {3, 0, -1, 2, 4, 3};
    static const int64_t vocab[] = {5, 11};
    if (i >= 2) return false;
    c->in[0] = sol_shape2(6, 4);
    c->in[1] = sol_shape2(vocab[i], 4);
    c->in[2] = sol_shape1(6);
    c->ints[2] = targets;
    return true;
}

const sol_op sol_op_head_loss = {.name = "head_loss",
                                 .n_in = 3,
                                 .n_out = 1,
                                 .attr_size = sizeof(attr),
                                 .shapes = sol_head_shapes,
                                 .workspace = workspace,
                                 .forward = forward,
                                 .backward = backward,
                                 .in = {SOL_IN_READ, SOL_IN_READ, SOL_IN_READ},
                                 .promises = SOL_OP_COMPUTES_IN_BACKWARD,
                                 .check_case = check_case};

sol_var sol_head_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_dtype compute)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_head_loss, (sol_var[]){x, w, targets}, &out, &(attr){compute});
}
