/* The distillation head with the teacher in memory (formulas: distill.h). For each chunk of tokens: the student's
 * logits z = x W^T, the teacher's t = xt Wt^T with Wt widened in blocks, the losses, then as in op_head_loss.c dx = dz W
 * and dW += dz^T x.
 * x [N, C]; W [V, C]; targets [N] i32; xt [N, Ct] without gradient; extra [N, 1]; loss [N, 1]; parts [N, SOL_PARTS].
 * d extra = dloss where the target is not -1. */
#include <math.h>

#include "autograd/distill_chunk.h"

typedef struct attr {
    const sol_stored *head;
    const sol_distill *d;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const attr *a = c->attr;
    const sol_shape *x = &c->in[0].shape, *xt = &c->in[3].shape;
    sol_status st = sol_distill_chunk_shapes(c, a->d, err);
    if (st != SOL_OK) return st;
    if (xt->n_dims != 2 || xt->dim[0] != x->dim[0] || xt->dim[1] != a->head->cols ||
        a->head->rows != c->in[1].shape.dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "the teacher's head is [%lld, %lld], expected [%lld, %lld]",
                        (long long)a->head->rows, (long long)a->head->cols, (long long)c->in[1].shape.dim[0],
                        (long long)xt->dim[1]);
    if (sol_shape_count(&c->in[4].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects one extra loss for each of %lld rows", (long long)x->dim[0]);
    return SOL_OK;
}

/* Scratch in this order: z, t, the widened part of the head, and for top_k the teacher's choice and the gradients of
 * it. */
typedef struct room {
    float *z, *t, *wide, *probs, *turned;
    int32_t *ids;
    size_t bytes;
} room;

static room divide(const sol_op_call *c)
{
    const attr *a = c->attr;
    int64_t V = c->in[1].shape.dim[0], rows = sol_distill_chunk_rows(c->in[0].shape.dim[0], V), k = a->d->top_k;
    size_t logits = sol_distill_chunk_bytes(rows * V), at = 2 * logits;
    size_t wide = (sol_stored_scratch_bytes(a->head) + SOL_ALIGN - 1) / SOL_ALIGN * SOL_ALIGN;
    char *base = c->scratch;
    room r = {0};
    if (!base) {
        r.bytes = at + wide + 2 * sol_distill_chunk_bytes(rows * k) + sol_distill_chunk_bytes(rows * (k + 1));
        return r;
    }
    r.z = (float *)base;
    r.t = (float *)(base + logits);
    r.wide = (float *)(base + at);
    r.ids = (int32_t *)(base + at + wide);
    r.turned = (float *)(base + at + wide + sol_distill_chunk_bytes(rows * k));
    r.probs = (float *)(base + at + wide + 2 * sol_distill_chunk_bytes(rows * k));
    return r;
}

static size_t scratch(const sol_op_call *c, bool backward)
{
    sol_op_call without = *c;
    without.scratch = NULL;
    (void)backward;
    return divide(&without).bytes;
}

static float row(const sol_distill_chunk *q, sol_distill_row *r, int64_t i)
{
    int64_t V = r->V, k = q->d->top_k;
    const float *extra = q->c->in[4].data, *t = q->t + i * V;
    float *z = q->z + i * V, loss;
    if (k) {
        int32_t *ids = q->ids + i * k;
        float *probs = q->probs + i * (k + 1);
        float plain = r->ops->log_sum_exp(t, V, 1);
        sol_distill_row_select(r->ops, t, V, k, q->d->temperature, ids, probs);
        r->part[SOL_PART_TEACHER] = expf(t[r->target] - plain);
        loss = sol_distill_row_top(r, z, k, ids, probs, q->turned + i * k);
    } else {
        loss = sol_distill_row_full(r, z, t);
    }
    return loss + extra[q->from + i];
}

/* d extra (+)= dloss of the tokens that count. */
static void pass_extra(const sol_op_call *c)
{
    const int32_t *target = c->in[2].data;
    for (int64_t n = 0; c->in[4].grad && n < c->in[0].shape.dim[0]; n++)
        c->in[4].grad[n] = (c->in[4].grad_add ? c->in[4].grad[n] : 0) + (target[n] >= 0 ? c->out[0].grad[n] : 0);
}

static void run(const sol_op_call *c, bool grads)
{
    const attr *a = c->attr;
    int64_t N = c->in[0].shape.dim[0], V = c->in[1].shape.dim[0], Ct = a->head->cols;
    int64_t step = sol_distill_chunk_rows(N, V);
    room r = divide(c);
    for (int64_t n = 0; n < N; n += step) {
        sol_distill_chunk k = {.c = c, .d = a->d, .from = n, .rows = sol_min64(step, N - n), .grads = grads,
                               .z = r.z, .row = row, .t = r.t, .ids = r.ids, .probs = r.probs, .turned = r.turned};
        sol_stored_gemm(c->ctx, (const float *)c->in[3].data + n * Ct, k.rows, a->head, r.t, r.wide);
        sol_distill_chunk_run(&k);
    }
    if (grads) pass_extra(c);
}

static void forward(const sol_op_call *c)
{
    run(c, false);
}

static void backward(const sol_op_call *c)
{
    run(c, true);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t targets[] = {3, 0, -1, 2, 4, 3};
    static float weights[11 * 3];
    static const sol_stored head = {.type = SOL_STORED_F32, .rows = 11, .cols = 3, .data = weights};
    static const sol_distill cases[] = {
        {SOL_DISTILL_FORWARD_KL, 1, 0, 1, 0, 0},         {SOL_DISTILL_REVERSE_KL, 1, 0, 1, 0, 0},
        {SOL_DISTILL_CAKLD, 1, 0, 0.7f, 0.4f, 0.3f},     {SOL_DISTILL_CAKLD, 2, 0, 0.7f, 0.4f, 0.3f},
        {SOL_DISTILL_FORWARD_KL, 1, 4, 1, 0, 0},         {SOL_DISTILL_REVERSE_KL, 1, 4, 1, 0, 0},
        {SOL_DISTILL_CAKLD, 1.5f, 4, 0.7f, 0.4f, 0.3f},  {SOL_DISTILL_CAKLD, 1, 11, 1, 0.5f, 0.5f},
    };
    if (i >= (int)(sizeof cases / sizeof *cases)) return false;
    for (int j = 0; j < 33; j++) weights[j] = 0.25f * (float)((j * 7) % 11 - 5);
    c->in[0] = sol_shape2(6, 4);
    c->in[1] = sol_shape2(11, 4);
    c->in[2] = sol_shape1(6);
    c->in[3] = sol_shape2(6, 3);
    c->in[4] = sol_shape2(6, 1);
    c->ints[2] = targets;
    c->constant[3] = true;
    *(attr *)c->attr = (attr){&head, &cases[i]};
    return true;
}

const sol_op sol_op_distill_loss = {.name = "distill_loss",
                                    .n_in = 5,
                                    .n_out = 2,
                                    .attr_size = sizeof(attr),
                                    .shapes = shapes,
                                    .scratch = scratch,
                                    .forward = forward,
                                    .backward = backward,
                                    .reads_in = 31,
                                    .backward_computes = true,
                                    .check_case = check_case};

sol_var sol_distill_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var teacher_x, sol_var extra,
                         const sol_stored *head, const sol_distill *d, sol_var *parts)
{
    sol_var out[2];
    sol_tape_apply(t, &sol_op_distill_loss, (sol_var[]){x, w, targets, teacher_x, extra}, out, &(attr){head, d});
    *parts = out[1];
    return out[0];
}
