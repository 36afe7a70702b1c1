/* out = a + b, same shapes: model/block.c adds to the residual stream by it. Backward: both
 * gradients are dout. */
#include <string.h>

#include "autograd/ops.h"

enum { ITEMS = 16384 }; /* elements of a tile of the pool */

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *a = &c->in[0].shape, *b = &c->in[1].shape;
    char s[96], z[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || !sol_shape_equal(a, b))
        return sol_fail(err, SOL_ERR_SHAPE, "a %s and b %s differ", sol_shape_text(a, s),
                        sol_shape_text(b, z));
    c->out[0] = (sol_slot){.shape = *a, .dtype = SOL_F32};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t from = tile * ITEMS, n = sol_min_i64(ITEMS, sol_shape_count(&c->out[0].shape) - from);
    const float *a = (const float *)c->in[0].data + from, *b = (const float *)c->in[1].data + from;
    float *out = (float *)c->out[0].data + from;
    for (int64_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

static void run(const sol_op_call *c, sol_tile_fn fn)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(sol_shape_count(&c->out[0].shape), ITEMS), fn,
                 (void *)c);
}

static void forward(const sol_op_call *c)
{
    run(c, forward_tile);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t from = tile * ITEMS, n = sol_min_i64(ITEMS, sol_shape_count(&c->out[0].shape) - from);
    const float *dout = c->out[0].grad + from;
    for (int k = 0; k < 2; k++) {
        float *d = c->in[k].grad ? c->in[k].grad + from : NULL;
        if (!d) continue;
        if (!c->in[k].grad_add)
            memcpy(d, dout, (size_t)n * sizeof *d);
        else
            for (int64_t i = 0; i < n; i++) d[i] += dout[i];
    }
}

static void backward(const sol_op_call *c)
{
    run(c, backward_tile);
}

static bool check_case(int i, sol_op_case *c)
{
    if (i >= 1) return false;
    c->in[0] = c->in[1] = sol_shape2(3, 5);
    return true;
}

const sol_op sol_op_add = {.name = "add",
                           .n_in = 2,
                           .n_out = 1,
                           .shapes = shapes,
                           .forward = forward,
                           .backward = backward,
                           .check_case = check_case};

sol_var sol_add(sol_tape *t, sol_var a, sol_var b)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_add, (sol_var[]){a, b}, &out, NULL);
}
