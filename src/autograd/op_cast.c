/* y = x in another float type. model/train_graph.c casts parameters that are held in bf16 to fp32
 * by it. The gradient of x is that of y: on a tape both share one buffer, and this backward does
 * not run.
 *
 * x [..], y of the same shape; each f32 or bf16. */
#include "autograd/ops.h"

enum { ITEMS = 1 << 16 }; /* elements of a tile of the pool */

typedef struct attr {
    sol_dtype out;
} attr;

static bool is_float(sol_dtype t)
{
    return t == SOL_BF16 || t == SOL_F32;
}

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    sol_dtype from = c->in[0].dtype, to = ((const attr *)c->attr)->out;
    if (!is_float(from) || !is_float(to))
        return sol_fail(err, SOL_ERR_SHAPE, "expects bf16 or f32, not %s to %s",
                        sol_dtype_name(from), sol_dtype_name(to));
    c->out[0] = (sol_slot){.shape = c->in[0].shape, .dtype = to};
    return SOL_OK;
}

/* The elements [*from, *from + n) of a tile; returns n. */
static int64_t tile_items(const sol_op_call *c, int64_t tile, int64_t *from)
{
    *from = tile * ITEMS;
    return sol_min_i64(ITEMS, sol_shape_count(&c->in[0].shape) - *from);
}

static void run(const sol_op_call *c, sol_tile_fn fn)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(sol_shape_count(&c->in[0].shape), ITEMS), fn,
                 (void *)c);
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_slot *x = &c->in[0], *y = &c->out[0];
    int64_t from, n = tile_items(c, tile, &from);
    (void)thread;
    sol_convert((char *)y->data + (size_t)from * sol_dtype_size(y->dtype), y->dtype,
                (const char *)x->data + (size_t)from * sol_dtype_size(x->dtype), x->dtype, n);
}

static void forward(const sol_op_call *c)
{
    run(c, forward_tile);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    int64_t from, n = tile_items(c, tile, &from);
    const float *dy = c->out[0].grad + from;
    float *dx = c->in[0].grad + from;
    (void)thread;
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] + (c->in[0].grad_add ? dx[i] : 0);
}

static void backward(const sol_op_call *c)
{
    if (c->in[0].grad) run(c, backward_tile);
}

static bool check_case(int i, sol_op_case *c)
{
    if (i >= 1) return false;
    c->in[0] = sol_shape2(3, 5);
    return true;
}

const sol_op sol_op_cast = {.name = "cast",
                            .n_in = 1,
                            .n_out = 1,
                            .attr_size = sizeof(attr),
                            .shapes = shapes,
                            .forward = forward,
                            .backward = backward,
                            .promises = SOL_OP_STRAIGHT_THROUGH,
                            .check_case = check_case};

sol_var sol_cast(sol_tape *t, sol_var x, sol_dtype type)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_cast, &x, &out, &(attr){type});
}
