/* out[n] = sum[n] + factor / H sum_h KL(P_h(n) || Q_h(n)): how the student's heads relate tokens,
 * against how the teacher's do; the formula is in distill.h.
 *
 *   P = softmax_m(t_n . t_m / sqrt(Dt)), Q = softmax_m(x_n . x_m / sqrt(D)), doc_start[n] <= m <= n
 *   g_m = dout[n] factor / H (Q_m - P_m) / sqrt(D);  dx_n += sum_m g_m x_m;  dx_m += g_m x_n
 *
 * No gradient to the teacher; dsum = dout. x [N, H D], teacher [N, H Dt], doc_start [N] i32, sum
 * and out [N, 1]. Workspace: 3 N H floats. A tile is one head of one row of the batch: it alone
 * writes its columns of dx. */
#include <math.h>
#include <string.h>

#include "autograd/distill.h"

enum { ROWS = 1024 }; /* of a tile of the sums */

typedef struct attr {
    int64_t time, heads;
    const float *factor;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *t = &c->in[1].shape;
    const attr *a = c->attr;
    char s[96], u[96];
    if (x->n_dims != 2 || t->n_dims != 2 || x->dim[0] != t->dim[0] || x->dim[1] % a->heads != 0 ||
        t->dim[1] % a->heads != 0 || x->dim[0] % a->time != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "states %s and the teacher's %s are not of %lld heads",
                        sol_shape_text(x, s), sol_shape_text(t, u), (long long)a->heads);
    if (sol_shape_count(&c->in[2].shape) != x->dim[0] ||
        sol_shape_count(&c->in[3].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects a document and a sum for each of %lld rows",
                        (long long)x->dim[0]);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    return SOL_OK;
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    (void)backward;
    return 3 * (size_t)(c->in[0].shape.dim[0] * ((const attr *)c->attr)->heads) * sizeof(float);
}

/* One head in one row of the batch. */
typedef struct head {
    const float *x, *t;     /* its first column at the row's first token */
    int64_t width, t_width; /* of a row of x and t */
    int64_t dim, t_dim;     /* of the head */
    const int32_t *start;   /* [time] */
    float *q, *p;           /* [time] scores, then probabilities */
    int64_t first;          /* the row's first token */
    int64_t index;          /* of the head */
} head;

static head head_of(const sol_op_call *c, int64_t tile)
{
    const attr *a = c->attr;
    int64_t b = tile / a->heads, h = tile % a->heads, row = b * a->time;
    head z = {
        .width = c->in[0].shape.dim[1], .t_width = c->in[1].shape.dim[1], .first = row, .index = h};
    z.dim = z.width / a->heads;
    z.t_dim = z.t_width / a->heads;
    z.x = (const float *)c->in[0].data + row * z.width + h * z.dim;
    z.t = (const float *)c->in[1].data + row * z.t_width + h * z.t_dim;
    z.start = (const int32_t *)c->in[2].data + row;
    z.q = (float *)c->workspace + 2 * tile * a->time;
    z.p = z.q + a->time;
    return z;
}

/* s[0, n) of one token to those from `from` to itself; returns the logarithm of their sum. */
static double softmax(const sol_ctx *ctx, const float *x, int64_t width, int64_t dim, int64_t from,
                      int64_t at, float *s)
{
    int64_t n = at - from + 1;
    float scale = 1 / sqrtf((float)dim), top = -INFINITY;
    double sum = 0;
    ctx->kernels.float_ops.dot[SOL_F32](x + from * width, width, n, x + at * width, width, 1, dim,
                                        s, n);
    for (int64_t m = 0; m < n; m++) {
        s[m] *= scale;
        top = fmaxf(top, s[m]);
    }
    for (int64_t m = 0; m < n; m++) sum += exp((double)s[m] - top);
    /* cppcheck-suppress invalidFunctionArg -- n > 0, and the largest element adds 1 */
    return log(sum) + top;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const attr *a = c->attr;
    head z = head_of(c, tile);
    float *kl = (float *)c->workspace + 2 * c->in[0].shape.dim[0] * a->heads;
    (void)thread;
    for (int64_t at = 0; at < a->time; at++) {
        int64_t from = z.start[at];
        double q = softmax(c->ctx, z.x, z.width, z.dim, from, at, z.q),
               p = softmax(c->ctx, z.t, z.t_width, z.t_dim, from, at, z.p);
        double sum = 0;
        for (int64_t m = 0; m <= at - from; m++) {
            double log_p = z.p[m] - p;
            sum += exp(log_p) * (log_p - (z.q[m] - q));
        }
        kl[(z.first + at) * a->heads + z.index] = (float)sum;
    }
}

/* Over the heads, in order. */
static void sum_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const attr *a = c->attr;
    const float *kl = (const float *)c->workspace + 2 * c->in[0].shape.dim[0] * a->heads,
                *sum = c->in[3].data;
    float *out = c->out[0].data;
    (void)thread;
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->in[0].shape.dim[0]); n < end;
         n++) {
        double all = 0;
        for (int64_t h = 0; h < a->heads; h++) all += kl[n * a->heads + h];
        out[n] = sum[n] + *a->factor * (float)(all / (double)a->heads);
    }
}

static int64_t tiles(const sol_op_call *c)
{
    const attr *a = c->attr;
    return c->in[0].shape.dim[0] / a->time * a->heads;
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, tiles(c), forward_tile, (void *)(uintptr_t)c);
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), sum_tile,
                 (void *)(uintptr_t)c);
}

static void add_scaled(float *y, float factor, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const attr *a = c->attr;
    head z = head_of(c, tile);
    float *dx = c->in[0].grad + z.first * z.width + z.index * z.dim;
    const float *dout = c->out[0].grad + z.first;
    (void)thread;
    if (!c->in[0].grad_add)
        for (int64_t at = 0; at < a->time; at++)
            memset(dx + at * z.width, 0, (size_t)z.dim * sizeof *dx);
    for (int64_t at = 0; at < a->time; at++) {
        int64_t from = z.start[at];
        double q = softmax(c->ctx, z.x, z.width, z.dim, from, at, z.q),
               p = softmax(c->ctx, z.t, z.t_width, z.t_dim, from, at, z.p);
        float f = dout[at] * *a->factor / ((float)a->heads * sqrtf((float)z.dim));
        for (int64_t m = 0; m <= at - from; m++) {
            float g = f * (float)(exp(z.q[m] - q) - exp(z.p[m] - p));
            add_scaled(dx + at * z.width, g, z.x + (from + m) * z.width, z.dim);
            add_scaled(dx + (from + m) * z.width, g, z.x + at * z.width, z.dim);
        }
    }
}

static void backward(const sol_op_call *c)
{
    const sol_slot *sum = &c->in[3];
    if (c->in[0].grad) sol_pool_run(c->ctx->pool, tiles(c), backward_tile, (void *)(uintptr_t)c);
    if (sum->grad)
        for (int64_t n = 0; n < c->in[0].shape.dim[0]; n++)
            sum->grad[n] = c->out[0].grad[n] + (sum->grad_add ? sum->grad[n] : 0);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t starts[] = {0, 0, 2, 2, 0, 0, 0, 0};
    static const float factor = 0.75f;
    if (i >= 2) return false;
    c->in[0] = sol_shape2(8, 4);
    c->in[1] = sol_shape2(8, i == 0 ? 4 : 6); /* the teacher's heads may be of another size */
    c->in[2] = sol_shape1(8);
    c->in[3] = sol_shape2(8, 1);
    c->ints[2] = starts;
    c->constant[1] = true;
    *(attr *)c->attr = (attr){4, 2, &factor};
    return true;
}

const sol_op sol_op_attention_relation = {.name = "attention_relation",
                                          .n_in = 4,
                                          .n_out = 1,
                                          .attr_size = sizeof(attr),
                                          .shapes = shapes,
                                          .workspace = workspace,
                                          .forward = forward,
                                          .backward = backward,
                                          .in = {SOL_IN_READ, SOL_IN_READ, SOL_IN_READ},
                                          .check_case = check_case};

sol_var sol_attention_relation(sol_tape *t, sol_var x, sol_var teacher, sol_var doc_start,
                               sol_var sum, int64_t time, int64_t heads, const float *factor)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_attention_relation, (sol_var[]){x, teacher, doc_start, sum},
                          &out, &(attr){time, heads, factor});
}
