/* y = x r w with r = 1 / sqrt(mean(x^2) + eps) of each row; a second output keeps r. All
 * norms are recorded as it: those of blocks (model/block.c), and the final one.
 *
 * Backward, with g = w dy and h = x r:  dx = r (g - h mean(g h)),  dw = sum over rows of dy h.
 * x, y [N, k C], y may be bf16 (rounded); w [1, C]; r [k N]. A row of x is k rows of the norm: k
 * is 1, or the number of heads that are normed each by itself. dw is summed over fixed blocks of
 * rows first, then over the blocks in order. */
#include "autograd/ops.h"

enum { X, W, Y = 0, R };
enum { ROWS = 32 }; /* of a tile of the pool, and of a part of dw */

typedef struct attr {
    float eps;
    sol_dtype out;
} attr;

/* Numbers that are normed together. */
static int64_t width(const sol_op_call *c)
{
    return sol_shape_count(&c->in[1].shape);
}

/* How often: rows of x, times heads where these are normed each by itself. */
static int64_t row_count(const sol_op_call *c)
{
    return sol_shape_count(&c->in[0].shape) / width(c);
}

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    char a[96], b[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || x->n_dims != 2 ||
        sol_shape_count(w) < 1 || x->dim[1] % sol_shape_count(w) != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "x %s and w %s do not fit", sol_shape_text(x, a),
                        sol_shape_text(w, b));
    c->out[0] = (sol_slot){.shape = *x, .dtype = ((const attr *)c->attr)->out};
    c->out[1] = (sol_slot){.shape = sol_shape1(row_count(c)), .dtype = SOL_F32};
    return SOL_OK;
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    size_t blocks = (size_t)sol_ceil_div(row_count(c), ROWS);
    return backward || c->out[0].dtype == SOL_BF16 ? blocks * (size_t)width(c) * sizeof(float) : 0;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t n = row_count(c), C = width(c);
    const float *w = c->in[1].data;
    float eps = ((const attr *)c->attr)->eps, *r = c->out[1].data;
    bool bf16 = c->out[0].dtype == SOL_BF16;
    for (int64_t i = tile * ROWS, end = sol_min_i64(i + ROWS, n); i < end; i++) {
        float *y = bf16 ? (float *)c->workspace + tile * C : (float *)c->out[0].data + i * C;
        r[i] =
            c->ctx->kernels.train_ops.rmsnorm((const float *)c->in[0].data + i * C, w, eps, C, y);
        if (bf16) c->ctx->kernels.elementwise.to_bf16(y, C, (uint16_t *)c->out[0].data + i * C);
    }
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(row_count(c), ROWS), forward_tile, (void *)c);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t n = row_count(c), C = width(c);
    const float *x = c->in[0].data, *r = c->out[1].data, *dy = c->out[0].grad;
    float *dw = (float *)c->workspace + tile * C, *dx = c->in[0].grad;
    for (int64_t j = 0; j < C; j++) dw[j] = 0;
    for (int64_t i = tile * ROWS, end = sol_min_i64(i + ROWS, n); i < end; i++) {
        sol_rmsnorm_grad a = {.x = x + i * C,
                              .w = c->in[1].data,
                              .dy = dy + i * C,
                              .r = r[i],
                              .dw = dw,
                              .dx = dx ? dx + i * C : NULL,
                              .add = c->in[0].grad_add};
        c->ctx->kernels.train_ops.rmsnorm_backward(&a, C);
    }
}

static void backward(const sol_op_call *c)
{
    int64_t C = width(c), blocks = sol_ceil_div(row_count(c), ROWS);
    float *dw = c->in[1].grad;
    sol_pool_run(c->ctx->pool, blocks, backward_tile, (void *)c);
    if (!dw) return;
    if (!c->in[1].grad_add)
        for (int64_t j = 0; j < C; j++) dw[j] = 0;
    for (int64_t b = 0; b < blocks; b++) {
        const float *part = (const float *)c->workspace + b * C;
        for (int64_t j = 0; j < C; j++) dw[j] += part[j];
    }
}

static bool check_case(int i, sol_op_case *c)
{
    static const int64_t dims[][3] = {{3, 8, 1}, {70, 5, 1}, {1, 1, 1}, {11, 3, 4}};
    enum { FP32 = 4, BF16 = 1 };
    if (i >= FP32 + BF16) return false;
    const int64_t *d = dims[i < FP32 ? i : 1];
    c->in[X] = sol_shape2(d[0], d[2] * d[1]);
    c->in[W] = sol_shape2(1, d[1]);
    c->fp32_case = i < FP32 ? 0 : 2;
    *(attr *)c->attr = (attr){.eps = 0.1f, .out = i < FP32 ? SOL_F32 : SOL_BF16};
    return true;
}

const sol_op sol_op_rmsnorm = {.name = "rmsnorm",
                               .n_in = 2,
                               .n_out = 2,
                               .attr_size = sizeof(attr),
                               .shapes = shapes,
                               .workspace = workspace,
                               .forward = forward,
                               .backward = backward,
                               .in = {[X] = SOL_IN_READ, [W] = SOL_IN_READ},
                               .out = {[R] = SOL_OUT_READ},
                               .promises = SOL_OP_CHEAP_TO_REPEAT,
                               .check_case = check_case};

sol_var sol_rmsnorm(sol_tape *t, sol_var x, sol_var w, float eps, sol_dtype type)
{
    sol_var out[2];
    return sol_tape_apply(t, &sol_op_rmsnorm, (sol_var[]){x, w}, out, &(attr){eps, type});
}
