/* out = the parameter in fp32, the same values: what a graph computes with where parameters are held in bf16. The gradient is that
 * of out itself; on a tape both share one buffer and this backward does not run.
 * in [..] bf16 (or f32); out the same shape, f32. */
#include "autograd/ops.h"

enum { ITEMS = 1 << 16 };

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    if (c->in[0].dtype != SOL_BF16 && c->in[0].dtype != SOL_F32)
        return sol_fail(err, SOL_ERR_SHAPE, "expects bf16 or f32, not %s", sol_dtype_name(c->in[0].dtype));
    c->out[0] = (sol_slot){.shape = c->in[0].shape, .dtype = SOL_F32};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t from = tile * ITEMS, n = sol_min_i64(ITEMS, sol_shape_count(&c->in[0].shape) - from);
    const char *in = (const char *)c->in[0].data + (size_t)from * sol_dtype_size(c->in[0].dtype);
    (void)thread;
    sol_convert((float *)c->out[0].data + from, SOL_F32, in, c->in[0].dtype, n);
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(sol_shape_count(&c->in[0].shape), ITEMS), forward_tile, (void *)c);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t from = tile * ITEMS, n = sol_min_i64(ITEMS, sol_shape_count(&c->in[0].shape) - from);
    const float *dout = c->out[0].grad + from;
    float *dx = c->in[0].grad + from;
    (void)thread;
    for (int64_t i = 0; i < n; i++) dx[i] = dout[i] + (c->in[0].grad_add ? dx[i] : 0);
}

static void backward(const sol_op_call *c)
{
    if (!c->in[0].grad) return;
    sol_pool_run(c->ctx->pool, sol_ceil_div(sol_shape_count(&c->in[0].shape), ITEMS), backward_tile, (void *)c);
}

static const float *alias_factor(const void *attr)
{
    (void)attr;
    return NULL;
}

static bool check_case(int i, sol_op_case *c)
{
    if (i >= 1) return false;
    c->in[0] = sol_shape2(3, 5);
    return true;
}

const sol_op sol_op_widen = {.name = "widen",
                             .n_in = 1,
                             .n_out = 1,
                             .shapes = shapes,
                             .forward = forward,
                             .backward = backward,
                             .alias_factor = alias_factor,
                             .check_case = check_case};

sol_var sol_widen(sol_tape *t, sol_var w)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_widen, &w, &out, NULL);
}
