/* W_eff = a Q(W) + b W of a straight-through method: dW = (a + b) dW_eff, for the zeroed weights
 * too, and no gradient through the scale. Its surrogate is (a + b) W. On a tape both gradients are
 * one buffer, the factor is applied by the products that write it, and this backward does not run.
 *
 * W [rows, cols] f32 or bf16; W_eff of the same shape, f32 or bf16. */

#include "autograd/fake_quant.h"

enum { ITEMS = 16384 }; /* elements of a tile of the pool */

/* ---- shared with op_fake_quant_own.c ---- */

sol_status sol_fake_quant_shapes(sol_op_call *c, sol_err *err)
{
    const sol_fake_quant_attr *a = c->attr;
    const sol_slot *w = &c->in[SOL_FAKE_QUANT_W];
    if ((w->dtype != SOL_F32 && w->dtype != SOL_BF16) || w->shape.n_dims != 2)
        return sol_fail(err, SOL_ERR_SHAPE, "expects a matrix f32 or bf16");
    c->out[SOL_FAKE_QUANT_W_EFF] = (sol_slot){.shape = w->shape, .dtype = a->out};
    if (a->spec.method->dead_bias != 0)
        c->out[SOL_FAKE_QUANT_BIAS] =
            (sol_slot){.shape = sol_shape2(1, w->shape.dim[0]), .dtype = SOL_F32};
    return SOL_OK;
}

size_t sol_fake_quant_workspace(const sol_op_call *c, bool backward)
{
    const sol_slot *w = &c->in[SOL_FAKE_QUANT_W];
    (void)backward;
    return w->dtype == SOL_F32 ? 0 : (size_t)sol_shape_count(&w->shape) * sizeof(float);
}

static void cast_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_slot *w = &c->in[SOL_FAKE_QUANT_W];
    int64_t from = tile * ITEMS, n = sol_min_i64(ITEMS, sol_shape_count(&w->shape) - from);
    (void)thread;
    sol_convert((float *)c->workspace + from, SOL_F32, (const uint16_t *)w->data + from, w->dtype,
                n);
}

sol_quant_matrix sol_fake_quant_matrix(const sol_op_call *c)
{
    const sol_slot *w = &c->in[SOL_FAKE_QUANT_W];
    sol_quant_matrix x = {.w = w->data, .rows = w->shape.dim[0], .cols = w->shape.dim[1]};
    for (int k = 0; k < SOL_QUANT_MAX_LEARNED; k++)
        x.learned[k] = c->in[SOL_FAKE_QUANT_LEARNED + k].data;
    if (w->dtype == SOL_F32) return x;
    sol_pool_run(c->ctx->pool, sol_ceil_div(sol_shape_count(&w->shape), ITEMS), cast_tile,
                 (void *)c);
    x.w = c->workspace;
    return x;
}

void sol_fake_quant_forward(const sol_op_call *c)
{
    const sol_fake_quant_attr *a = c->attr;
    sol_quant_matrix x = sol_fake_quant_matrix(c);
    void *w_eff = c->out[SOL_FAKE_QUANT_W_EFF].data;
    float *bias = c->out[SOL_FAKE_QUANT_BIAS].data;
    if (a->out == SOL_BF16)
        sol_quant_forward_bf16(c->ctx, &a->spec, &x, a->mix->mix, w_eff, bias);
    else
        sol_quant_forward(c->ctx, &a->spec, &x, a->mix->mix, w_eff, bias);
}

/* ---- the op ---- */

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
    int64_t from = tile * ITEMS, end = sol_min_i64(from + ITEMS, s->n);
    (void)thread;
    for (int64_t i = from; i < end; i++)
        s->out[i] = s->factor * s->in[i] + (s->add ? s->out[i] : 0);
}

/* out (+)= (a + b) in. */
static void scale(const sol_op_call *c, float *out, const float *in, bool add)
{
    const sol_fake_quant_attr *a = c->attr;
    scaled s = {out, in, a->mix->grad_factor, add, sol_shape_count(&c->in[SOL_FAKE_QUANT_W].shape)};
    sol_pool_run(c->ctx->pool, sol_ceil_div(s.n, ITEMS), scaled_tile, &s);
}

static void backward(const sol_op_call *c)
{
    const sol_slot *w = &c->in[SOL_FAKE_QUANT_W];
    if (w->grad) scale(c, w->grad, c->out[SOL_FAKE_QUANT_W_EFF].grad, w->grad_add);
}

static void surrogate(const sol_op_call *c, const sol_op_call *at)
{
    (void)at;
    scale(c, c->out[SOL_FAKE_QUANT_W_EFF].data, c->in[SOL_FAKE_QUANT_W].data, false);
}

static const float *factor(const void *attr)
{
    return &((const sol_fake_quant_attr *)attr)->mix->grad_factor;
}

static bool check_case(int i, sol_op_case *c)
{
    static const sol_quant_mix mix[] = {{{1, 0.25f}, 1.25f}, {{0.5f, 0.5f}, 1}, {{1, 0}, 1}};
    if (i >= 4) return false;
    c->in[SOL_FAKE_QUANT_W] = sol_shape2(3, 8);
    c->bf16[SOL_FAKE_QUANT_W] = i == 3;
    c->fp32_case = i == 3 ? 1 : 0;
    sol_quant_spec spec = {
        .method = sol_quantizer_at(0), .granularity = SOL_PER_CHANNEL, .scale_dtype = SOL_F32};
    *(sol_fake_quant_attr *)c->attr = (sol_fake_quant_attr){spec, &mix[i % 3], SOL_F32};
    return true;
}

const sol_op sol_op_fake_quant = {.name = "fake_quant",
                                  .n_in = 1,
                                  .n_out = 1,
                                  .attr_size = sizeof(sol_fake_quant_attr),
                                  .shapes = sol_fake_quant_shapes,
                                  .workspace = sol_fake_quant_workspace,
                                  .forward = sol_fake_quant_forward,
                                  .backward = backward,
                                  .promises = SOL_OP_STRAIGHT_THROUGH,
                                  .factor = factor,
                                  .surrogate = surrogate,
                                  .check_case = check_case};

sol_var sol_fake_quant(sol_tape *t, sol_var w, const sol_var *learned, const sol_quant_spec *spec,
                       const sol_quant_mix *mix, sol_dtype type, sol_var *bias)
{
    sol_var in[1 + SOL_QUANT_MAX_LEARNED] = {w, -1, -1}, out[2] = {-1, -1};
    sol_fake_quant_attr attr = {*spec, mix, type};
    bool straight = sol_quant_is_straight_through(spec);
    int n_learned = learned ? spec->method->n_learned : 0;
    for (int k = 0; k < n_learned; k++) in[SOL_FAKE_QUANT_LEARNED + k] = learned[k];
    sol_tape_apply(t, straight ? &sol_op_fake_quant : &sol_op_fake_quant_own, in, out, &attr);
    if (bias) *bias = out[SOL_FAKE_QUANT_BIAS];
    return out[SOL_FAKE_QUANT_W_EFF];
}
