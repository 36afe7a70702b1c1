/* h = silu(g) u with silu(g) = g s, s = 1 / (1 + exp(-g)).
 * Backward: du = dh g s,  dg = dh u s (1 + g (1 - s)).   g, u, h: one shape; h may be bf16 (rounded). */
#include <string.h>

#include "autograd/ops.h"

enum { ITEMS = 8192, PART = 1024 };

typedef struct attr {
    sol_dtype out;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *a = &c->in[0].shape, *b = &c->in[1].shape;
    char s[96], z[96];
    if (c->in[0].dtype != SOL_F32 || c->in[1].dtype != SOL_F32 || memcmp(a, b, sizeof *a) != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "gate %s and up %s differ", sol_shape_text(a, s), sol_shape_text(b, z));
    c->out[0] = (sol_slot){.shape = *a, .dtype = ((const attr *)c->attr)->out};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t from = tile * ITEMS, n = sol_min64(ITEMS, sol_shape_count(&c->out[0].shape) - from);
    const float *g = (const float *)c->in[0].data + from, *u = (const float *)c->in[1].data + from;
    if (c->out[0].dtype == SOL_F32) {
        c->ctx->k.f.swiglu(g, u, n, (float *)c->out[0].data + from);
        return;
    }
    for (int64_t i = 0; i < n; i += PART) {
        float h[PART];
        int64_t m = sol_min64(PART, n - i);
        c->ctx->k.f.swiglu(g + i, u + i, m, h);
        c->ctx->k.e.to_bf16(h, m, (uint16_t *)c->out[0].data + from + i);
    }
}

static void run(const sol_op_call *c, sol_tile_fn fn)
{
    sol_pool_run(c->ctx->pool, sol_tile_count(sol_shape_count(&c->out[0].shape), ITEMS), fn, (void *)c);
}

static void forward(const sol_op_call *c)
{
    run(c, forward_tile);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t from = tile * ITEMS, n = sol_min64(ITEMS, sol_shape_count(&c->out[0].shape) - from);
    const sol_slot *gate = &c->in[0], *up = &c->in[1];
    sol_swiglu_grad a = {.g = (const float *)gate->data + from,
                         .u = (const float *)up->data + from,
                         .dh = c->out[0].grad + from,
                         .dg = gate->grad ? gate->grad + from : NULL,
                         .du = up->grad ? up->grad + from : NULL,
                         .add_g = gate->grad_add,
                         .add_u = up->grad_add};
    c->ctx->k.t.swiglu_backward(&a, n);
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

const sol_op sol_op_swiglu = {.name = "swiglu",
                              .n_in = 2,
                              .n_out = 1,
                              .attr_size = sizeof(attr),
                              .shapes = shapes,
                              .forward = forward,
                              .backward = backward,
                              .reads_in = 3,
                              .check_case = check_case};

sol_var sol_swiglu(sol_tape *t, sol_var gate, sol_var up, sol_dtype type)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_swiglu, (sol_var[]){gate, up}, &out, &(attr){type});
}
