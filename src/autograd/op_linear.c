/* Y = X W^T, every product of a block (model/block.c). Backward: dX = dY W, then dW (+)= s dY^T X,
 * where s is the factor of a fake-quantized W (SOL_IN_GRAD_SCALED).
 *
 * X [N, in] f32, or bf16: then all three products take operands rounded to bf16 and sum in f32.
 * W [out, in] f32, or with X in bf16 also bf16. Y [N, out] f32, or with X in bf16 also bf16, where
 * it is asked for and rows of X are not too long for that. dX first: dW may lie over W. */
#include "autograd/ops.h"
#include "kernels/gemm.h"

enum { X, W, Y = 0 };

typedef struct attr {
    sol_dtype out;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_slot *x = &c->in[0], *w = &c->in[1];
    char a[96], b[96];
    bool bf16 = x->dtype == SOL_BF16;
    if (x->shape.n_dims != 2 || w->shape.n_dims != 2 || x->shape.dim[1] != w->shape.dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "X %s and W %s do not multiply",
                        sol_shape_text(&x->shape, a), sol_shape_text(&w->shape, b));
    if (!(bf16 || x->dtype == SOL_F32) || !(w->dtype == SOL_F32 || (bf16 && w->dtype == SOL_BF16)))
        return sol_fail(err, SOL_ERR_SHAPE, "X in %s and W in %s do not multiply",
                        sol_dtype_name(x->dtype), sol_dtype_name(w->dtype));
    bool out_bf16 =
        bf16 && ((const attr *)c->attr)->out == SOL_BF16 && x->shape.dim[1] <= SOL_GEMM_ROUNDED_K;
    c->out[0] = (sol_slot){.shape = sol_shape2(x->shape.dim[0], w->shape.dim[0]),
                           .dtype = out_bf16 ? SOL_BF16 : SOL_F32};
    return SOL_OK;
}

/* Whether the products are of bf16 numbers. */
static bool in_bf16(const sol_op_call *c)
{
    return c->in[0].dtype == SOL_BF16;
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    int64_t n = c->in[0].shape.dim[0], in = c->in[0].shape.dim[1], out = c->in[1].shape.dim[0];
    if (!backward) return sol_product_scratch(in_bf16(c), out, in);
    return sol_max_size(sol_product_scratch(in_bf16(c), in, out),
                        sol_product_scratch(in_bf16(c), in, n));
}

static sol_operand operand(const sol_slot *s, bool trans)
{
    return (sol_operand){
        .data = s->data, .ld = s->shape.dim[1], .trans = trans, .bf16 = s->dtype == SOL_BF16};
}

static void forward(const sol_op_call *c)
{
    int64_t n = c->in[0].shape.dim[0], in = c->in[0].shape.dim[1], out = c->in[1].shape.dim[0];
    sol_operand x = operand(&c->in[0], false), w = operand(&c->in[1], true);
    if (c->out[0].dtype == SOL_BF16)
        sol_gemm_bf16_rounded(c->ctx, n, out, in, &x, &w, c->out[0].data, out, c->workspace);
    else
        sol_product(c->ctx, in_bf16(c), n, out, in, 1, &x, &w, 0, c->out[0].data, out,
                    c->workspace);
}

static void backward(const sol_op_call *c)
{
    const sol_slot *x = &c->in[0], *w = &c->in[1], *y = &c->out[0];
    int64_t n = x->shape.dim[0], in = x->shape.dim[1], out = w->shape.dim[0];
    sol_operand dy = {.data = y->grad, .ld = out, .bf16 = y->grad_bf16}, dy_t = dy,
                wx = operand(w, false), xx = operand(x, false);
    dy_t.trans = true;
    if (x->grad)
        sol_product(c->ctx, in_bf16(c), n, in, out, 1, &dy, &wx, x->grad_add, x->grad, in,
                    c->workspace);
    if (w->grad)
        sol_product(c->ctx, in_bf16(c), out, in, n, w->grad_scale ? *w->grad_scale : 1, &dy_t, &xx,
                    w->grad_add, w->grad, in, c->workspace);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int64_t dims[][3] = {{5, 7, 3}, {1, 4, 6}, {3, 1, 1}};
    enum { FP32 = 3, BF16 = 3 }; /* the latter: W in fp32, W in bf16, Y in bf16 */
    if (i >= FP32 + BF16) return false;
    const int64_t *d = dims[i < FP32 ? i : 0];
    c->in[X] = sol_shape2(d[0], d[1]);
    c->in[W] = sol_shape2(d[2], d[1]);
    if (i < FP32) return true;
    c->fp32_case = 1;
    c->bf16[X] = true;
    c->bf16[W] = i > FP32;
    *(attr *)c->attr = (attr){i == FP32 + BF16 - 1 ? SOL_BF16 : SOL_F32};
    return true;
}

const sol_op sol_op_linear = {
    .name = "linear",
    .n_in = 2,
    .n_out = 1,
    .attr_size = sizeof(attr),
    .shapes = shapes,
    .workspace = workspace,
    .forward = forward,
    .backward = backward,
    .in = {[X] = SOL_IN_READ, [W] = SOL_IN_READ | SOL_IN_GRAD_SCALED | SOL_IN_GRAD_OVER_DATA},
    .out = {[Y] = SOL_OUT_GRAD_BF16},
    .check_case = check_case};

sol_var sol_linear(sol_tape *t, sol_var x, sol_var w, sol_dtype type)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_linear, (sol_var[]){x, w}, &out, &(attr){type});
}
