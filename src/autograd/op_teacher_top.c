/* What a cache keeps of the teacher, t = x W^T chunk by chunk: its k tokens (the most probable
 * ones, then samples); their probabilities at temperature T, that of the rest, and that of the
 * target at temperature 1, which is 0 where the target is -1. No gradient.
 *
 * x [N, C]; targets [N] i32; W [V, C] stored; probs [N, k + 2]; ids [N, k] i32. */
#include "autograd/distill_row.h"
#include "autograd/head.h"

typedef struct attr {
    const sol_stored *head;
    const sol_distill *d;
    const float *start; /* [N] of the drawing; NULL: no samples */
    sol_dtype compute;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const attr *a = c->attr;
    const sol_shape *x = &c->in[0].shape;
    int64_t k = a->d->top_k;
    if (x->n_dims != 2 || x->dim[1] != a->head->cols || c->in[1].dtype != SOL_I32 ||
        sol_shape_count(&c->in[1].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects rows of %lld and an i32 target each",
                        (long long)a->head->cols);
    if (k < 1 || k > a->head->rows || a->d->samples < 0 || a->d->samples >= k)
        return sol_fail(err, SOL_ERR_RANGE, "%lld tokens of %lld, %lld of them drawn", (long long)k,
                        (long long)a->head->rows, (long long)a->d->samples);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], k + 2), .dtype = SOL_F32};
    c->out[1] = (sol_slot){.shape = sol_shape2(x->dim[0], k), .dtype = SOL_I32};
    return SOL_OK;
}

/* Bytes of the logits of a chunk. */
static size_t logit_bytes(const sol_op_call *c)
{
    const attr *a = c->attr;
    return sol_head_bytes(
        (size_t)(sol_head_rows(c->in[0].shape.dim[0], a->head->rows, a->compute) * a->head->rows) *
        sizeof(float));
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    const attr *a = c->attr;
    (void)backward;
    return logit_bytes(c) + sol_stored_scratch_bytes(a->head, a->compute == SOL_BF16);
}

/* Tokens [from, from + rows), whose logits are in the workspace. */
typedef struct part {
    const sol_op_call *c;
    int64_t from, rows;
} part;

static void row_tile(void *arg, int64_t tile, int thread)
{
    const part *q = arg;
    const attr *a = q->c->attr;
    const int32_t *target = q->c->in[1].data;
    int64_t k = a->d->top_k, V = a->head->rows;
    (void)thread;
    for (int64_t i = tile * SOL_HEAD_TILE, end = sol_min_i64(i + SOL_HEAD_TILE, q->rows); i < end;
         i++) {
        int64_t n = q->from + i;
        float *probs = (float *)q->c->out[0].data + n * (k + 2);
        probs[k + 1] = sol_distill_row_select(
            &q->c->ctx->kernels.train_ops, (const float *)q->c->workspace + i * V, V, a->d,
            a->start ? a->start[n] : 0, target[n], (int32_t *)q->c->out[1].data + n * k, probs);
    }
}

static void forward(const sol_op_call *c)
{
    const attr *a = c->attr;
    int64_t N = c->in[0].shape.dim[0], C = a->head->cols,
            step = sol_head_rows(N, a->head->rows, a->compute);
    for (int64_t n = 0; n < N; n += step) {
        part q = {.c = c, .from = n, .rows = sol_min_i64(step, N - n)};
        const float *x = (const float *)c->in[0].data + n * C;
        sol_stored_gemm(c->ctx, a->compute == SOL_BF16, x, q.rows, a->head, c->workspace,
                        (char *)c->workspace + logit_bytes(c));
        sol_pool_run(c->ctx->pool, sol_ceil_div(q.rows, SOL_HEAD_TILE), row_tile, &q);
    }
}

static void backward(const sol_op_call *c)
{
    (void)c;
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t targets[] = {3, -1};
    static float weights[5 * 3];
    static const sol_stored head = {.type = SOL_F32, .rows = 5, .cols = 3, .data = weights};
    static const sol_distill d = {.temperature = 1, .top_k = 2};
    if (i >= 1) return false;
    c->in[0] = sol_shape2(2, 3);
    c->in[1] = sol_shape1(2);
    c->ints[1] = targets;
    c->constant[0] = true;
    *(attr *)c->attr = (attr){&head, &d, NULL, SOL_F32};
    return true;
}

const sol_op sol_op_teacher_top = {.name = "teacher_top",
                                   .n_in = 2,
                                   .n_out = 2,
                                   .attr_size = sizeof(attr),
                                   .shapes = shapes,
                                   .workspace = workspace,
                                   .forward = forward,
                                   .backward = backward,
                                   .check_case = check_case};

sol_var sol_teacher_top(sol_tape *t, sol_var x, sol_var targets, const sol_stored *head,
                        const sol_distill *d, const float *start, sol_dtype compute, sol_var *ids)
{
    sol_var out[2];
    sol_tape_apply(t, &sol_op_teacher_top, (sol_var[]){x, targets}, out,
                   &(attr){head, d, start, compute});
    *ids = out[1];
    return out[0];
}
