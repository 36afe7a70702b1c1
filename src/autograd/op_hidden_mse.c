/* out[n] = sum[n] + factor / size sum_c (x - teacher)^2, size: C (mse), or sum_c teacher^2
 * (relative; 1 for a teacher's state of zeros).  dx = dout 2 factor / size (x - teacher), dsum =
 * dout, none to the teacher. model/train_graph.c compares hidden states by it.
 *
 * x, teacher [N, C]; sum, out [N, 1]. */
#include "autograd/distill.h"

enum { X, TEACHER, SUM };
enum { ROWS = 16 }; /* of a tile of the pool */

typedef struct attr {
    const float *factor;
    sol_hidden_form form;
} attr;

static double size_of(const attr *a, const float *t, int64_t C)
{
    double sum = 0;
    if (a->form == SOL_HIDDEN_MSE) return (double)C;
    for (int64_t i = 0; i < C; i++) sum += (double)t[i] * t[i];
    return sum > 0 ? sum : 1;
}

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *t = &c->in[1].shape;
    char a[96], b[96];
    if (x->n_dims != 2 || t->n_dims != 2 || x->dim[0] != t->dim[0] || x->dim[1] != t->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE,
                        "hidden states %s and the teacher's %s are not of one shape",
                        sol_shape_text(x, a), sol_shape_text(t, b));
    if (sol_shape_count(&c->in[2].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects one sum for each of %lld rows",
                        (long long)x->dim[0]);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    return SOL_OK;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const attr *a = c->attr;
    (void)thread;
    int64_t C = c->in[0].shape.dim[1];
    const float *sum = c->in[2].data;
    float *out = c->out[0].data;
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->in[0].shape.dim[0]); n < end;
         n++) {
        const float *x = (const float *)c->in[0].data + n * C,
                    *t = (const float *)c->in[1].data + n * C;
        double squares = 0;
        for (int64_t i = 0; i < C; i++) squares += ((double)x[i] - t[i]) * ((double)x[i] - t[i]);
        out[n] = sum[n] + *a->factor * (float)(squares / size_of(a, t, C));
    }
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), forward_tile,
                 (void *)(uintptr_t)c);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const attr *a = c->attr;
    (void)thread;
    int64_t C = c->in[0].shape.dim[1];
    const float *dout = c->out[0].grad;
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->in[0].shape.dim[0]); n < end;
         n++) {
        const float *x = (const float *)c->in[0].data + n * C,
                    *t = (const float *)c->in[1].data + n * C;
        float *dx = c->in[0].grad ? c->in[0].grad + n * C : NULL;
        float f = dout[n] * 2 * *a->factor / (float)size_of(a, t, C);
        if (dx)
            for (int64_t i = 0; i < C; i++)
                dx[i] = f * (x[i] - t[i]) + (c->in[0].grad_add ? dx[i] : 0);
        if (c->in[2].grad) c->in[2].grad[n] = dout[n] + (c->in[2].grad_add ? c->in[2].grad[n] : 0);
    }
}

static void backward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), backward_tile,
                 (void *)(uintptr_t)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const float factor = 0.75f;
    if (i >= 2) return false;
    c->in[0] = c->in[1] = sol_shape2(5, 6);
    c->in[2] = sol_shape2(5, 1);
    c->constant[1] = true;
    *(attr *)c->attr = (attr){&factor, i == 0 ? SOL_HIDDEN_MSE : SOL_HIDDEN_RELATIVE};
    return true;
}

const sol_op sol_op_hidden_mse = {.name = "hidden_mse",
                                  .n_in = 3,
                                  .n_out = 1,
                                  .attr_size = sizeof(attr),
                                  .shapes = shapes,
                                  .forward = forward,
                                  .backward = backward,
                                  .in = {[X] = SOL_IN_READ, [TEACHER] = SOL_IN_READ},
                                  .check_case = check_case};

sol_var sol_hidden_mse(sol_tape *t, sol_var x, sol_var teacher, sol_var sum, sol_hidden_form form,
                       const float *factor)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_hidden_mse, (sol_var[]){x, teacher, sum}, &out,
                          &(attr){factor, form});
}
