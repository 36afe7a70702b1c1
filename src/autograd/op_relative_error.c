/* out[n] = sum_c (x - target)^2 / sum_c target^2 of each row: how far it is from its target, as a
 * share of the target's size. A target of zeros counts as one of size 1. calib/refine.c trains a
 * block on it.
 *
 *   backward:  dx = dout 2 (x - target) / sum_c target^2, and nothing to the target
 *
 * x, target [N, C] f32; out [N, 1]. */
#include "autograd/ops.h"

enum { X, TARGET };
enum { ROWS = 16 }; /* of a tile of the pool */

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *t = &c->in[1].shape;
    char a[96], b[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || x->n_dims != 2 ||
        !sol_shape_equal(x, t))
        return sol_fail(err, SOL_ERR_SHAPE, "x %s and its target %s are not of one shape",
                        sol_shape_text(x, a), sol_shape_text(t, b));
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    return SOL_OK;
}

static double square(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum > 0 ? sum : 1;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t C = c->in[0].shape.dim[1];
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->in[0].shape.dim[0]); n < end;
         n++) {
        const float *x = (const float *)c->in[0].data + n * C,
                    *t = (const float *)c->in[1].data + n * C;
        double sum = 0;
        for (int64_t i = 0; i < C; i++) sum += ((double)x[i] - t[i]) * ((double)x[i] - t[i]);
        ((float *)c->out[0].data)[n] = (float)(sum / square(t, C));
    }
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), forward_tile,
                 (void *)(uintptr_t)c);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t C = c->in[0].shape.dim[1];
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->in[0].shape.dim[0]); n < end;
         n++) {
        const float *x = (const float *)c->in[0].data + n * C,
                    *t = (const float *)c->in[1].data + n * C;
        float *dx = c->in[0].grad + n * C, f = (float)(2 * c->out[0].grad[n] / square(t, C));
        for (int64_t i = 0; i < C; i++) dx[i] = f * (x[i] - t[i]) + (c->in[0].grad_add ? dx[i] : 0);
    }
}

static void backward(const sol_op_call *c)
{
    if (c->in[0].grad)
        sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), backward_tile,
                     (void *)(uintptr_t)c);
}

static bool check_case(int i, sol_op_case *c)
{
    if (i >= 1) return false;
    c->in[0] = c->in[1] = sol_shape2(5, 6);
    c->constant[1] = true;
    return true;
}

const sol_op sol_op_relative_error = {.name = "relative_error",
                                      .n_in = 2,
                                      .n_out = 1,
                                      .shapes = shapes,
                                      .forward = forward,
                                      .backward = backward,
                                      .in = {[X] = SOL_IN_READ, [TARGET] = SOL_IN_READ},
                                      .check_case = check_case};

sol_var sol_relative_error(sol_tape *t, sol_var x, sol_var target)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_relative_error, (sol_var[]){x, target}, &out, NULL);
}
