/* out[n, :] = W[token[n], :]. Backward: dW[v, :] += the sum of dout[n, :] over the n with token v,
 * in the order of n. A graph of training begins with it (model/train_graph.c).
 *
 * tokens [N] i32 in [0, V); W [V, C]; out [N, C]. */
#include <string.h>

#include "autograd/ops.h"

enum { TOKENS, W };
enum { ROWS = 64, COLUMNS = 32 }; /* of a forward and of a backward tile */

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_slot *tokens = &c->in[0], *w = &c->in[1];
    if (tokens->dtype != SOL_I32 || w->dtype != SOL_F32 || w->shape.n_dims != 2)
        return sol_fail(err, SOL_ERR_SHAPE, "expects tokens i32 and a matrix f32");
    c->out[0] = (sol_slot){.shape = sol_shape2(sol_shape_count(&tokens->shape), w->shape.dim[1]),
                           .dtype = SOL_F32};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t n = c->out[0].shape.dim[0], C = c->out[0].shape.dim[1];
    const int32_t *token = c->in[0].data;
    const float *w = c->in[1].data;
    float *out = c->out[0].data;
    for (int64_t i = tile * ROWS, end = sol_min_i64(i + ROWS, n); i < end; i++)
        memcpy(out + i * C, w + token[i] * C, (size_t)C * sizeof *out);
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->out[0].shape.dim[0], ROWS), forward_tile, (void *)c);
}

/* A tile owns some columns of dW, so that equal tokens never meet in two tiles. */
static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    int64_t n = c->out[0].shape.dim[0], C = c->out[0].shape.dim[1], V = c->in[1].shape.dim[0];
    int64_t from = tile * COLUMNS, count = sol_min_i64(COLUMNS, C - from);
    const int32_t *token = c->in[0].data;
    const float *dout = c->out[0].grad;
    float *dw = c->in[1].grad;
    if (!c->in[1].grad_add)
        for (int64_t v = 0; v < V; v++) memset(dw + v * C + from, 0, (size_t)count * sizeof *dw);
    for (int64_t i = 0; i < n; i++) {
        float *to = dw + token[i] * C + from;
        const float *add = dout + i * C + from;
        for (int64_t j = 0; j < count; j++) to[j] += add[j];
    }
}

static void backward(const sol_op_call *c)
{
    if (!c->in[1].grad) return;
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->out[0].shape.dim[1], COLUMNS), backward_tile,
                 (void *)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t tokens[] = {3, 0, 3, 1, 4, 3};
    static const int64_t width[] = {5, 33, 1};
    if (i >= 3) return false;
    c->in[0] = sol_shape1(i == 2 ? 1 : 6);
    c->ints[0] = tokens;
    c->in[1] = sol_shape2(5, width[i]);
    return true;
}

const sol_op sol_op_embedding = {.name = "embedding",
                                 .n_in = 2,
                                 .n_out = 1,
                                 .shapes = shapes,
                                 .forward = forward,
                                 .backward = backward,
                                 .in = {[TOKENS] = SOL_IN_READ},
                                 .check_case = check_case};

sol_var sol_embedding(sol_tape *t, sol_var tokens, sol_var w)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_embedding, (sol_var[]){tokens, w}, &out, NULL);
}
