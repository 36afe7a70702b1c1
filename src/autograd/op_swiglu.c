/* h = silu(g) u with silu(g) = g s, s = 1 / (1 + exp(-g)): the MLP of a block (model/block.c).
 *
 *   backward:  du = dh g s,  dg = dh u s (1 + g (1 - s))
 *
 * g, u, h of one shape; g and u may be bf16, and so may h (rounded). */
#include "autograd/ops.h"

enum { GATE, UP };
enum { ITEMS = 8192, PART = 1024 }; /* elements of a tile of the pool, of a buffer */

typedef struct attr {
    sol_dtype out;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_slot *g = &c->in[0], *u = &c->in[1];
    char s[96], z[96];
    if (g->dtype != u->dtype || (g->dtype != SOL_F32 && g->dtype != SOL_BF16) ||
        !sol_shape_equal(&g->shape, &u->shape))
        return sol_fail(err, SOL_ERR_SHAPE, "gate %s and up %s differ",
                        sol_shape_text(&g->shape, s), sol_shape_text(&u->shape, z));
    c->out[0] = (sol_slot){.shape = g->shape, .dtype = ((const attr *)c->attr)->out};
    return SOL_OK;
}

/* Numbers [at, at + n) of a tensor or gradient in fp32: where they lie, or cast into the buffer. */
static const float *in_fp32(const sol_op_call *c, const void *data, bool bf16, int64_t at,
                            int64_t n, float *buffer)
{
    if (!bf16) return (const float *)data + at;
    c->ctx->kernels.elementwise.from_bf16((const uint16_t *)data + at, n, buffer);
    return buffer;
}

/* Where gradients are computed: those of fp32 in their place, those of bf16 in a buffer, which
 * `settle` then rounds into it. */
static float *place(void *data, bool bf16, int64_t at, float *buffer)
{
    if (!data) return NULL;
    return bf16 ? buffer : (float *)data + at;
}

/* Rounds what `place` put into the buffer. */
static void settle(const sol_op_call *c, void *data, bool bf16, int64_t at, int64_t n,
                   const float *buffer)
{
    if (bf16 && data) c->ctx->kernels.elementwise.to_bf16(buffer, n, (uint16_t *)data + at);
}

static void forward_part(const sol_op_call *c, int64_t at, int64_t n)
{
    float g[PART], u[PART], h[PART];
    bool bf16 = c->in[0].dtype == SOL_BF16, out_bf16 = c->out[0].dtype == SOL_BF16;
    c->ctx->kernels.float_ops.swiglu(in_fp32(c, c->in[0].data, bf16, at, n, g),
                                     in_fp32(c, c->in[1].data, bf16, at, n, u), n,
                                     place(c->out[0].data, out_bf16, at, h));
    settle(c, c->out[0].data, out_bf16, at, n, h);
}

static void backward_part(const sol_op_call *c, int64_t at, int64_t n)
{
    float g[PART], u[PART], dg[PART], du[PART];
    const sol_slot *gate = &c->in[0], *up = &c->in[1];
    bool bf16 = gate->dtype == SOL_BF16;
    sol_swiglu_grad a = {.g = in_fp32(c, gate->data, bf16, at, n, g),
                         .u = in_fp32(c, up->data, bf16, at, n, u),
                         .dh = c->out[0].grad + at,
                         .dg = place(gate->grad, gate->grad_bf16, at, dg),
                         .du = place(up->grad, up->grad_bf16, at, du),
                         .add_g = gate->grad_add,
                         .add_u = up->grad_add};
    c->ctx->kernels.train_ops.swiglu_backward(&a, n);
    settle(c, gate->grad, gate->grad_bf16, at, n, dg);
    settle(c, up->grad, up->grad_bf16, at, n, du);
}

/* A tile part by part: PART numbers fit the buffers on the stack. */
static void each_part(const sol_op_call *c, int64_t tile,
                      void (*part)(const sol_op_call *c, int64_t at, int64_t n))
{
    int64_t end = sol_min_i64((tile + 1) * ITEMS, sol_shape_count(&c->out[0].shape));
    for (int64_t at = tile * ITEMS; at < end; at += PART) part(c, at, sol_min_i64(PART, end - at));
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    (void)thread;
    each_part(arg, tile, forward_part);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    (void)thread;
    each_part(arg, tile, backward_part);
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

static void backward(const sol_op_call *c)
{
    run(c, backward_tile);
}

static bool check_case(int i, sol_op_case *c)
{
    if (i >= 2) return false;
    c->in[GATE] = c->in[UP] = sol_shape2(3, 5);
    if (i == 0) return true;
    c->fp32_case = 1;
    c->bf16[GATE] = c->bf16[UP] = true;
    *(attr *)c->attr = (attr){SOL_BF16};
    return true;
}

const sol_op sol_op_swiglu = {
    .name = "swiglu",
    .n_in = 2,
    .n_out = 1,
    .attr_size = sizeof(attr),
    .shapes = shapes,
    .forward = forward,
    .backward = backward,
    .in = {[GATE] = SOL_IN_READ | SOL_IN_GRAD_BF16, [UP] = SOL_IN_READ | SOL_IN_GRAD_BF16},
    .promises = SOL_OP_CHEAP_TO_REPEAT,
    .check_case = check_case};

sol_var sol_swiglu(sol_tape *t, sol_var gate, sol_var up, sol_dtype type)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_swiglu, (sol_var[]){gate, up}, &out, &(attr){type});
}
