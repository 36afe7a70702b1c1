/* W_eff = a Q(W) + b W.  Straight through: dW = (a + b) dW_eff, for the zeroed weights too, no gradient through the
 * scale. Its surrogate is (a + b) W. On a tape the gradient of W_eff is that of W times a factor (sol_op.factor) and
 * this backward does not run; methods that are not straight-through get the factor 1 and are finished outside
 * (sol_quant_backward). */
#include <string.h>

#include "autograd/ops.h"

enum { ITEMS = 16384 };

typedef struct attr {
    sol_quant_spec spec;
    const sol_quant_mix *mix;
    sol_quant_extra extra;
    sol_dtype out;
} attr;

_Static_assert(sizeof(attr) <= SOL_OP_MAX_ATTR, "the attributes must fit a node");

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *w = &c->in[0].shape;
    if (c->in[0].dtype != SOL_F32 || w->n_dims != 2) return sol_fail(err, SOL_ERR_SHAPE, "expects a matrix f32");
    c->out[0] = (sol_slot){.shape = *w, .dtype = ((const attr *)c->attr)->out};
    return SOL_OK;
}

static void forward(const sol_op_call *c)
{
    const attr *a = c->attr;
    sol_quant_matrix x = {.w = c->in[0].data, .rows = c->in[0].shape.dim[0], .cols = c->in[0].shape.dim[1]};
    memcpy(x.learned, a->extra.learned, sizeof x.learned);
    if (a->out == SOL_BF16)
        sol_quant_forward_bf16(c->ctx, &a->spec, &x, a->mix->mix, c->out[0].data, a->extra.bias);
    else
        sol_quant_forward(c->ctx, &a->spec, &x, a->mix->mix, c->out[0].data, a->extra.bias);
}

typedef struct scaled {
    float *out;
    const float *in;
    float factor;
    bool add;
    int64_t n;
} scaled;

static void scaled_tile(void *arg, int64_t tile, int thread)
{
    const scaled *s = arg;
    (void)thread;
    for (int64_t i = tile * ITEMS, end = sol_min_i64(i + ITEMS, s->n); i < end; i++)
        s->out[i] = s->factor * s->in[i] + (s->add ? s->out[i] : 0);
}

static void scale(const sol_op_call *c, float *out, const float *in, bool add)
{
    scaled s = {out, in, ((const attr *)c->attr)->mix->grad_factor, add, sol_shape_count(&c->in[0].shape)};
    sol_pool_run(c->ctx->pool, sol_ceil_div(s.n, ITEMS), scaled_tile, &s);
}

static void backward(const sol_op_call *c)
{
    if (c->in[0].grad) scale(c, c->in[0].grad, c->out[0].grad, c->in[0].grad_add);
}

static void surrogate(const sol_op_call *c)
{
    scale(c, c->out[0].data, c->in[0].data, false);
}

static const float *factor(const void *at)
{
    static const float one = 1;
    const attr *a = at;
    return sol_quant_is_straight_through(&a->spec) ? &a->mix->grad_factor : &one;
}

static bool check_case(int i, sol_op_case *c)
{
    static const sol_quant_mix mix[] = {{{1, 0.25f}, 1.25f}, {{0.5f, 0.5f}, 1}, {{1, 0}, 1}};
    if (i >= 3) return false;
    c->in[0] = sol_shape2(3, 8);
    attr *a = (attr *)c->attr;
    *a = (attr){.spec = {.method = sol_quantizer_at(0), .granularity = SOL_PER_CHANNEL, .scale_dtype = SOL_F32},
                .mix = &mix[i]};
    return true;
}

const sol_op sol_op_fake_quant = {.name = "fake_quant",
                                  .n_in = 1,
                                  .n_out = 1,
                                  .attr_size = sizeof(attr),
                                  .shapes = shapes,
                                  .forward = forward,
                                  .backward = backward,
                                  .promises = SOL_OP_STRAIGHT_THROUGH,
                                  .factor = factor,
                                  .surrogate = surrogate,
                                  .check_case = check_case};

sol_var sol_fake_quant(sol_tape *t, sol_var w, const sol_quant_spec *spec, const sol_quant_mix *mix,
                       const sol_quant_extra *extra, sol_dtype type)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_fake_quant, &w, &out,
                          &(attr){*spec, mix, extra ? *extra : (sol_quant_extra){{0}, NULL}, type});
}
