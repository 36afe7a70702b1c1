/* y = what a packed file holds of w outside its quantized layers: the embedding and the head in 8,
 * 6 or 4 bits or ternary, kept layers in fp16. Straight through: dw = dy; its surrogate is w. On a
 * tape both gradients share one buffer, and this backward does not run.
 *
 * w, y [rows, cols] f32. */
#include <string.h>

#include "autograd/ops.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernels/stored.h"

typedef struct attr {
    sol_dtype type;
    sol_quant_spec spec; /* of TERNARY */
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *w = &c->in[0].shape;
    if (c->in[0].dtype != SOL_F32 || w->n_dims != 2)
        return sol_fail(err, SOL_ERR_SHAPE, "expects a matrix f32");
    c->out[0] = (sol_slot){.shape = *w, .dtype = SOL_F32};
    return SOL_OK;
}

static sol_stored stored_of(const sol_op_call *c)
{
    const sol_shape *w = &c->in[0].shape;
    return (sol_stored){
        .type = ((const attr *)c->attr)->type, .rows = w->dim[0], .cols = w->dim[1]};
}

/* Data, scales, and the weights of columns. */
static size_t workspace(const sol_op_call *c, bool backward)
{
    sol_stored s = stored_of(c);
    if (backward || s.type == SOL_TERNARY) return 0;
    size_t data = sol_round_up_size(sol_stored_bytes(&s), SOL_ALIGN);
    size_t scales = sol_round_up_size(sol_stored_scale_bytes(&s), SOL_ALIGN);
    return data + scales + (size_t)s.cols * sizeof(float);
}

static void forward(const sol_op_call *c)
{
    sol_stored s = stored_of(c);
    char *at = c->workspace;
    if (s.type == SOL_TERNARY) {
        sol_quant_effective(c->ctx, &((const attr *)c->attr)->spec, c->in[0].data, s.rows, s.cols,
                            (sol_residual_mix){1, 0}, c->out[0].data);
        return;
    }
    s.data = at;
    at += sol_round_up_size(sol_stored_bytes(&s), SOL_ALIGN);
    s.scales = (sol_f16 *)(void *)at;
    at += sol_round_up_size(sol_stored_scale_bytes(&s), SOL_ALIGN);
    sol_stored_fill(c->ctx, &s, c->in[0].data, (float *)(void *)at);
    sol_stored_to_f32(c->ctx, &s, c->out[0].data);
}

static void backward(const sol_op_call *c)
{
    const sol_slot *w = &c->in[0];
    const float *dy = c->out[0].grad;
    if (!w->grad) return;
    for (int64_t i = 0; i < sol_shape_count(&w->shape); i++)
        w->grad[i] = dy[i] + (w->grad_add ? w->grad[i] : 0);
}

static void surrogate(const sol_op_call *c, const sol_op_call *at)
{
    (void)at;
    memcpy(c->out[0].data, c->in[0].data, (size_t)sol_shape_count(&c->in[0].shape) * sizeof(float));
}

static bool check_case(int i, sol_op_case *c)
{
    static const sol_dtype types[] = {SOL_Q8, SOL_Q6, SOL_Q4, SOL_F16, SOL_TERNARY};
    if (i >= 5) return false;
    c->in[0] = sol_shape2(3, 40);
    *(attr *)c->attr = (attr){
        types[i],
        {.method = sol_quantizer_at(0), .granularity = SOL_PER_CHANNEL, .scale_dtype = SOL_F16}};
    return true;
}

const sol_op sol_op_fake_dense = {.name = "fake_dense",
                                  .n_in = 1,
                                  .n_out = 1,
                                  .attr_size = sizeof(attr),
                                  .shapes = shapes,
                                  .workspace = workspace,
                                  .forward = forward,
                                  .backward = backward,
                                  .promises = SOL_OP_STRAIGHT_THROUGH,
                                  .surrogate = surrogate,
                                  .check_case = check_case};

sol_var sol_fake_dense(sol_tape *t, sol_var w, sol_dtype type, const sol_quant_spec *spec)
{
    sol_var out;
    attr a = {type, *spec};
    a.spec.scale_dtype = SOL_F16;
    return sol_tape_apply(t, &sol_op_fake_dense, &w, &out, &a);
}
