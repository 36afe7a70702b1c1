/* out = x + bias, the same row added to every token. Backward: dx = dout, dbias = column sums of
 * dout, tokens in order. model/block.c adds the biases of q, k and v by it, and those that tequila
 * makes.
 *
 * x [N, C]; bias [1, C]; out [N, C]. */
#include "autograd/ops.h"

enum { ROWS = 16, COLUMNS = 64 }; /* of a tile of x, of the bias */

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *b = &c->in[1].shape;
    char s[96], z[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || x->n_dims != 2 ||
        b->n_dims != 2 || b->dim[0] != 1 || b->dim[1] != x->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "a bias %s does not fit %s", sol_shape_text(b, z),
                        sol_shape_text(x, s));
    c->out[0] = (sol_slot){.shape = *x, .dtype = SOL_F32};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t C = c->in[0].shape.dim[1], end = sol_min_i64(c->in[0].shape.dim[0], (tile + 1) * ROWS);
    const float *bias = c->in[1].data;
    (void)thread;
    for (int64_t n = tile * ROWS; n < end; n++) {
        const float *x = (const float *)c->in[0].data + n * C;
        float *out = (float *)c->out[0].data + n * C;
        for (int64_t i = 0; i < C; i++) out[i] = x[i] + bias[i];
    }
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), forward_tile, (void *)c);
}

static void x_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t C = c->in[0].shape.dim[1], from = tile * ROWS * C,
            n = sol_min_i64(ROWS * C, sol_shape_count(&c->in[0].shape) - from);
    const float *dout = c->out[0].grad + from;
    float *dx = c->in[0].grad + from;
    (void)thread;
    for (int64_t i = 0; i < n; i++) dx[i] = dout[i] + (c->in[0].grad_add ? dx[i] : 0);
}

static void bias_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t N = c->in[0].shape.dim[0], C = c->in[0].shape.dim[1], from = tile * COLUMNS,
            n = sol_min_i64(COLUMNS, C - from);
    double sum[COLUMNS] = {0};
    (void)thread;
    for (int64_t t = 0; t < N; t++)
        for (int64_t i = 0; i < n; i++) sum[i] += (double)c->out[0].grad[t * C + from + i];
    float *d = c->in[1].grad + from;
    for (int64_t i = 0; i < n; i++) d[i] = (float)sum[i] + (c->in[1].grad_add ? d[i] : 0);
}

static void backward(const sol_op_call *c)
{
    if (c->in[0].grad)
        sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), x_tile, (void *)c);
    if (c->in[1].grad)
        sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[1], COLUMNS), bias_tile,
                     (void *)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int64_t dims[][2] = {{3, 5}, {1, 1}, {20, 70}};
    if (i >= 3) return false;
    c->in[0] = sol_shape2(dims[i][0], dims[i][1]);
    c->in[1] = sol_shape2(1, dims[i][1]);
    return true;
}

const sol_op sol_op_add_bias = {.name = "add_bias",
                                .n_in = 2,
                                .n_out = 1,
                                .shapes = shapes,
                                .forward = forward,
                                .backward = backward,
                                .check_case = check_case};

sol_var sol_add_bias(sol_tape *t, sol_var x, sol_var bias)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_add_bias, (sol_var[]){x, bias}, &out, NULL);
}
