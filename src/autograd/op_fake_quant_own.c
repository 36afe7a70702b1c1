/* W_eff = a Q(W) + b W of a method that has a backward of its own: it learns parameters (lsq, seq,
 * dlt), or the weights that it zeroes feed a bias (tequila). Recorded in the prologue of a tape,
 * its backward call finishes the gradient of W once a step, in the place where dL/dW_eff has been
 * summed up; recorded in a segment, right after the product that reads W_eff.
 *
 * W [rows, cols] f32 or bf16; up to SOL_QUANT_MAX_LEARNED learned parameters [scale count, 1] f32;
 * W_eff of the shape of W, f32 or bf16; bias [1, rows] f32 where the method makes one. */
#include <math.h>
#include <string.h>

#include "autograd/fake_quant.h"

enum {
    W = SOL_FAKE_QUANT_W,
    LEARNED = SOL_FAKE_QUANT_LEARNED,
    W_EFF = SOL_FAKE_QUANT_W_EFF,
    BIAS = SOL_FAKE_QUANT_BIAS
};

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_fake_quant_attr *a = c->attr;
    SOL_TRY(sol_fake_quant_shapes(c, err));
    int64_t n = sol_quant_scale_count(&a->spec, c->in[W].shape.dim[0], c->in[W].shape.dim[1]);
    for (int k = 0; k < SOL_QUANT_MAX_LEARNED; k++) {
        const sol_slot *s = &c->in[LEARNED + k];
        if (s->shape.n_dims > 0 && (s->dtype != SOL_F32 || sol_shape_count(&s->shape) != n))
            return sol_fail(err, SOL_ERR_SHAPE, "learns %lld numbers in f32", (long long)n);
    }
    return SOL_OK;
}

static void backward(const sol_op_call *c)
{
    const sol_fake_quant_attr *a = c->attr;
    sol_quant_matrix x = sol_fake_quant_matrix(c);
    sol_quant_grads g = {.dw_eff = c->out[W_EFF].grad,
                         .d_bias = c->out[BIAS].grad,
                         .dw = c->in[W].grad,
                         .add = c->in[W].grad_add};
    for (int k = 0; k < SOL_QUANT_MAX_LEARNED; k++) {
        const sol_slot *s = &c->in[LEARNED + k];
        g.d_learned[k] = s->grad;
        if (s->grad && !s->grad_add)
            memset(s->grad, 0, (size_t)sol_shape_count(&s->shape) * sizeof *s->grad);
    }
    sol_quant_backward(c->ctx, &a->spec, &x, a->mix->mix, &g);
}

/* ---- the gradient check ---- */

enum { ROWS = 3, COLS = 8 };

/* LSQ near the point w0, s0, what rounds being fixed there: w + s (round(x0) - x0) inside the
 * clamp, s sign(x0) outside, x0 = w0 / s0. The step counts 1 / sqrt(rows cols), as its gradient. */
static float near_lsq(float w, float s, float w0, float s0)
{
    float x0 = w0 / s0, moved = s0 + (s - s0) / sqrtf(ROWS * COLS);
    return fabsf(x0) <= 1 ? w + moved * (rintf(x0) - x0) : copysignf(moved, x0);
}

/* Both methods of the cases have a scale for each row. Tequila near a point: (a + b) W, and what
 * is zeroed there feeds the bias. */
static void surrogate(const sol_op_call *c, const sol_op_call *at)
{
    const sol_fake_quant_attr *a = c->attr;
    sol_residual_mix mix = a->mix->mix;
    bool lsq = a->spec.method->n_learned > 0;
    const float *w = c->in[W].data, *w0 = at->in[W].data, *s = c->in[LEARNED].data,
                *s0 = at->in[LEARNED].data;
    float *w_eff = c->out[W_EFF].data, *bias = c->out[BIAS].data;
    int8_t t[ROWS * COLS];
    sol_quant_parts parts = {.ternary = t};
    sol_quant_take_apart(c->ctx, &a->spec,
                         &(sol_quant_matrix){.w = w0, .rows = ROWS, .cols = COLS, .learned = {s0}},
                         &parts);
    if (bias) memset(bias, 0, ROWS * sizeof *bias);
    for (int i = 0; i < ROWS * COLS; i++) {
        int r = i / COLS;
        w_eff[i] = mix.a * (lsq ? near_lsq(w[i], s[r], w0[i], s0[r]) : w[i]) + mix.b * w[i];
        if (bias && t[i] == 0) bias[r] += mix.a * a->spec.method->dead_bias * w[i];
    }
}

static bool check_case(int i, sol_op_case *c)
{
    static sol_quantizer method[2]; /* lsq, and tequila with a bias that counts beside W_eff */
    static const sol_quant_mix mix[] = {{{1, 0.25f}, 1.25f}, {{0.5f, 0}, 0.5f}};
    static const float steps[ROWS] = {0.5f, 1.5f, 0.75f};
    if (i >= 4) return false;
    method[0] = *sol_quantizer_find("lsq");
    method[1] = *sol_quantizer_find("tequila");
    method[1].dead_bias = 0.5f;
    sol_quant_spec spec = {
        .method = &method[i % 2], .granularity = SOL_PER_CHANNEL, .scale_dtype = SOL_F32};
    c->in[W] = sol_shape2(ROWS, COLS);
    if (spec.method->n_learned > 0) c->in[LEARNED] = sol_shape2(ROWS, 1);
    c->floats[LEARNED] = steps;
    *(sol_fake_quant_attr *)c->attr = (sol_fake_quant_attr){spec, &mix[i / 2], SOL_F32};
    return true;
}

const sol_op sol_op_fake_quant_own = {
    .name = "fake_quant_own",
    .n_in = 1 + SOL_QUANT_MAX_LEARNED,
    .optional_in = SOL_QUANT_MAX_LEARNED,
    .n_out = 2,
    .optional_out = 1,
    .attr_size = sizeof(sol_fake_quant_attr),
    .shapes = shapes,
    .workspace = sol_fake_quant_workspace,
    .forward = sol_fake_quant_forward,
    .backward = backward,
    .in = {[W] = SOL_IN_READ, [LEARNED] = SOL_IN_READ, SOL_IN_READ},
    .out = {[BIAS] = SOL_OUT_GRAD},
    .promises = SOL_OP_GRAD_IN_PLACE,
    .surrogate = surrogate,
    .check_case = check_case};
