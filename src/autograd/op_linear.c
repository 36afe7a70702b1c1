/* Y = X W^T.  Backward: dX = dY W, dW (+)= s dY^T X, where s is W's gradient factor (a fake-quantized W).
 * X [N, in]; W [out, in]; Y [N, out]. */
#include "autograd/ops.h"
#include "kernels/gemm.h"

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    char a[96], b[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || x->n_dims != 2 || w->n_dims != 2 ||
        x->dim[1] != w->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "X %s and W %s do not multiply", sol_shape_text(x, a),
                        sol_shape_text(w, b));
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], w->dim[0]), .dtype = SOL_F32};
    return SOL_OK;
}

static void forward(const sol_op_call *c)
{
    int64_t n = c->in[0].shape.dim[0], in = c->in[0].shape.dim[1], out = c->in[1].shape.dim[0];
    sol_gemm(c->ctx, false, true, n, out, in, 1, c->in[0].data, in, c->in[1].data, in, 0, c->out[0].data, out);
}

static void backward(const sol_op_call *c)
{
    const sol_slot *x = &c->in[0], *w = &c->in[1];
    int64_t n = x->shape.dim[0], in = x->shape.dim[1], out = w->shape.dim[0];
    const float *dy = c->out[0].grad;
    if (x->grad) sol_gemm(c->ctx, false, false, n, in, out, 1, dy, out, w->data, in, x->grad_add, x->grad, in);
    if (w->grad)
        sol_gemm(c->ctx, true, false, out, in, n, w->grad_scale ? *w->grad_scale : 1, dy, out, x->data, in, w->grad_add,
                 w->grad, in);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int64_t dims[][3] = {{5, 7, 3}, {1, 4, 6}, {3, 1, 1}};
    if (i >= 3) return false;
    c->in[0] = sol_shape2(dims[i][0], dims[i][1]);
    c->in[1] = sol_shape2(dims[i][2], dims[i][1]);
    return true;
}

const sol_op sol_op_linear = {.name = "linear",
                              .n_in = 2,
                              .n_out = 1,
                              .shapes = shapes,
                              .forward = forward,
                              .backward = backward,
                              .reads_in = 3,
                              .scaled_in = 2,
                              .check_case = check_case};

sol_var sol_linear(sol_tape *t, sol_var x, sol_var w)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_linear, (sol_var[]){x, w}, &out, NULL);
}
