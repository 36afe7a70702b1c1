/* The distillation head (formulas: distill.h; chunk by chunk: head.h), with the teacher in memory
 * or with a cache of some of its tokens.
 *
 * x [N, C]; W [V, C]; targets [N] i32; loss [N, 1]; parts [N, SOL_PARTS].
 * The teacher in memory: xt [N, Ct] without gradient, and extra [N, 1]; its logits are t = xt Wt^T;
 * d extra = dloss where the target is not -1.
 * A cache: ids [N, k] i32 and probs [N, k + 1], that of the rest last. */
#include <string.h>

#include "autograd/distill_row.h"
#include "autograd/head.h"

typedef struct attr {
    const sol_stored *head; /* Wt; NULL: a cache */
    const sol_distill *d;
    const float *start; /* [N] of the drawing; NULL: a cache, or no samples */
    sol_dtype compute;
} attr;

static sol_status teacher_shapes(const sol_op_call *c, sol_err *err)
{
    const sol_stored *head = ((const attr *)c->attr)->head;
    const sol_shape *x = &c->in[0].shape, *xt = &c->in[3].shape;
    if (xt->n_dims != 2 || xt->dim[0] != x->dim[0] || xt->dim[1] != head->cols ||
        head->rows != c->in[1].shape.dim[0])
        return sol_fail(err, SOL_ERR_SHAPE,
                        "the teacher's head is [%lld, %lld], expected [%lld, %lld]",
                        (long long)head->rows, (long long)head->cols,
                        (long long)c->in[1].shape.dim[0], (long long)xt->dim[1]);
    if (sol_shape_count(&c->in[4].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects one extra loss for each of %lld rows",
                        (long long)x->dim[0]);
    return SOL_OK;
}

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const attr *a = c->attr;
    int64_t N = c->in[0].shape.dim[0], V = c->in[1].shape.dim[0], k = a->d->top_k;
    SOL_TRY(sol_head_shapes(c, err));
    if (k < 0 || k > V)
        return sol_fail(err, SOL_ERR_RANGE, "the %lld most probable tokens of %lld", (long long)k,
                        (long long)V);
    if (a->d->samples < 0 || (k > 0 && a->d->samples >= k))
        return sol_fail(err, SOL_ERR_RANGE, "%lld of %lld tokens are to be drawn",
                        (long long)a->d->samples, (long long)k);
    c->out[1] = (sol_slot){.shape = sol_shape2(N, SOL_PARTS), .dtype = SOL_F32};
    if (a->head) return teacher_shapes(c, err);
    if (k < 1 || c->in[3].dtype != SOL_I32 || sol_shape_count(&c->in[3].shape) != N * k ||
        sol_shape_count(&c->in[4].shape) != N * (k + 1))
        return sol_fail(err, SOL_ERR_SHAPE,
                        "expects ids [%lld, %lld] and one probability more a row", (long long)N,
                        (long long)k);
    return SOL_OK;
}

/* The workspace of a chunk: the gradients of the k tokens; with a teacher in memory also its k
 * tokens, its logits, and the workspace of the product that makes these. */
typedef struct chunk_workspace {
    float *dz, *probs, *t;
    int32_t *ids;
    char *product;
    size_t bytes;
} chunk_workspace;

/* Places the arrays of a workspace one behind the other from base on. base NULL: only `bytes`,
 * which they take together, is meant. */
static chunk_workspace divide(const sol_op_call *c, char *base)
{
    const attr *a = c->attr;
    int64_t V = c->in[1].shape.dim[0], rows = sol_head_rows(c->in[0].shape.dim[0], V, a->compute),
            k = a->d->top_k;
    bool teacher = a->head;
    size_t dz = sol_head_bytes((size_t)(rows * k) * sizeof(float));
    size_t probs = dz + (teacher ? sol_head_bytes((size_t)(rows * (k + 1)) * sizeof(float)) : 0);
    size_t ids = probs + (teacher ? dz : 0);
    size_t t = ids + (teacher ? sol_head_bytes((size_t)(rows * V) * sizeof(float)) : 0);
    chunk_workspace r = {
        .bytes = t + (teacher ? sol_stored_scratch_bytes(a->head, a->compute == SOL_BF16) : 0)};
    if (!base) return r;
    r.dz = (float *)base;
    r.probs = (float *)(base + dz);
    r.ids = (int32_t *)(base + probs);
    r.t = (float *)(base + ids);
    r.product = base + t;
    return r;
}

/* The teacher's logits of a chunk. */
static void teacher_logits(const sol_head_chunk *k)
{
    const sol_op_call *c = k->head->c;
    const attr *a = c->attr;
    chunk_workspace r = divide(c, k->own);
    const float *xt = (const float *)c->in[3].data + k->from * a->head->cols;
    sol_stored_gemm(c->ctx, a->compute == SOL_BF16, xt, k->rows, a->head, r.t, r.product);
}

/* Row i of a chunk, which draws from `start` on. */
static float teacher_row(const sol_op_call *c, const chunk_workspace *q, sol_distill_row *r,
                         int64_t i, float start, float *z)
{
    const attr *a = c->attr;
    int64_t k = a->d->top_k;
    const float *t = q->t + i * r->V;
    if (k == 0) return sol_distill_row_full(r, z, t);
    int32_t *ids = q->ids + i * k;
    float *probs = q->probs + i * (k + 1);
    r->part[SOL_PART_TEACHER] =
        sol_distill_row_select(r->ops, t, r->V, a->d, start, r->target, ids, probs);
    return sol_distill_row_top(r, z, k, ids, probs, q->dz + i * k);
}

/* The loss of token i of a chunk, and its parts. */
static float row(const sol_head_chunk *k, int64_t i, float *z, const float *dloss)
{
    const sol_op_call *c = k->head->c;
    const attr *a = c->attr;
    int64_t n = k->from + i, top_k = a->d->top_k;
    chunk_workspace q = divide(c, k->own);
    float loss;
    sol_distill_row r = {.ops = &c->ctx->kernels.train_ops,
                         .d = a->d,
                         .V = c->in[1].shape.dim[0],
                         .target = ((const int32_t *)c->in[2].data)[n],
                         .dloss = dloss};
    if (a->head)
        loss = teacher_row(c, &q, &r, i, a->start ? a->start[n] : 0, z) +
               ((const float *)c->in[4].data)[n];
    else
        loss =
            sol_distill_row_top(&r, z, top_k, (const int32_t *)c->in[3].data + n * top_k,
                                (const float *)c->in[4].data + n * (top_k + 1), q.dz + i * top_k);
    memcpy((float *)c->out[1].data + n * SOL_PARTS, r.part, sizeof r.part);
    return loss;
}

/* d extra (+)= dloss of the tokens that count. */
static void pass_extra(const sol_op_call *c)
{
    const int32_t *target = c->in[2].data;
    if (c->in[4].grad)
        for (int64_t n = 0; n < c->in[0].shape.dim[0]; n++)
            c->in[4].grad[n] = (c->in[4].grad_add ? c->in[4].grad[n] : 0) +
                               (target[n] >= 0 ? c->out[0].grad[n] : 0);
}

static sol_head head(const sol_op_call *c)
{
    const attr *a = c->attr;
    return (sol_head){.c = c,
                      .compute = a->compute,
                      .own = divide(c, NULL).bytes,
                      .begin = a->head ? teacher_logits : NULL,
                      .row = row};
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    sol_head h = head(c);
    return sol_head_workspace(&h, backward);
}

static void forward(const sol_op_call *c)
{
    sol_head h = head(c);
    sol_head_run(&h, false);
}

static void backward(const sol_op_call *c)
{
    sol_head h = head(c);
    sol_head_run(&h, true);
    pass_extra(c);
}

/* Cases of the gradient check with a cache. */
static bool cached_case(int i, sol_op_case *c)
{
    static const int32_t targets[] = {3, 0, -1, 2}, ids[] = {3, 1, 0, 5, 0, 1, 6, 2};
    static const sol_distill cases[] = {{SOL_DISTILL_FORWARD_KL, 1, 2, 1, 0.5f, 0, 0},
                                        {SOL_DISTILL_REVERSE_KL, 2, 2, 1, 0.5f, 0, 0},
                                        {SOL_DISTILL_CAKLD, 1.5f, 2, 0.5f, 0, 0.25f, 0},
                                        {SOL_DISTILL_CAKLD, 1.5f, 2, 0.5f, 0.25f, 0.25f, 1}};
    static const float probs[] = {0.5f, 0.25f, 0.25f, 0.75f, 0.125f, 0.125f,
                                  0.5f, 0.5f,  0,     0.25f, 0.25f,  0.5f};
    static const float drawn[] = {0.5f, 0.25f, 0.5f, 0.75f, 0.125f, 0.25f,
                                  0.5f, 0.5f,  0.5f, 0.25f, 0.25f,  0.75f};
    if (i >= (int)(sizeof cases / sizeof *cases)) return false;
    c->in[0] = sol_shape2(4, 3);
    c->in[1] = sol_shape2(7, 3);
    c->in[2] = sol_shape1(4);
    c->in[3] = sol_shape2(4, 2);
    c->in[4] = sol_shape2(4, 3);
    c->ints[2] = targets;
    c->ints[3] = ids;
    c->constant[4] = true;
    c->floats[4] = cases[i].samples ? drawn : probs;
    *(attr *)c->attr = (attr){NULL, &cases[i], NULL, SOL_F32};
    return true;
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t targets[] = {3, 0, -1, 2, 4, 3};
    static float weights[11 * 3];
    static const float starts[] = {0, 0.5f, 0.25f, 0.9f, 0.1f, 0.75f};
    static const sol_stored head = {.type = SOL_F32, .rows = 11, .cols = 3, .data = weights};
    static const sol_distill cases[] = {
        {SOL_DISTILL_FORWARD_KL, 1, 0, 1, 0, 0, 0},
        {SOL_DISTILL_REVERSE_KL, 1, 0, 1, 0, 0, 0},
        {SOL_DISTILL_CAKLD, 1, 0, 0.7f, 0.4f, 0.3f, 0},
        {SOL_DISTILL_CAKLD, 2, 0, 0.7f, 0.4f, 0.3f, 0},
        {SOL_DISTILL_FORWARD_KL, 1, 4, 1, 0, 0, 0},
        {SOL_DISTILL_REVERSE_KL, 1, 4, 1, 0, 0, 0},
        {SOL_DISTILL_CAKLD, 1.5f, 4, 0.7f, 0.4f, 0.3f, 0},
        {SOL_DISTILL_CAKLD, 1, 11, 1, 0.5f, 0.5f, 3},
        {SOL_DISTILL_FORWARD_KL, 2, 6, 1, 0, 0, 4},
    };
    int n = (int)(sizeof cases / sizeof *cases);
    if (i >= n) return cached_case(i - n, c);
    for (int j = 0; j < 33; j++) weights[j] = 0.25f * (float)((j * 7) % 11 - 5);
    c->in[0] = sol_shape2(6, 4);
    c->in[1] = sol_shape2(11, 4);
    c->in[2] = sol_shape1(6);
    c->in[3] = sol_shape2(6, 3);
    c->in[4] = sol_shape2(6, 1);
    c->ints[2] = targets;
    c->constant[3] = true;
    *(attr *)c->attr = (attr){&head, &cases[i], starts, SOL_F32};
    return true;
}

const sol_op sol_op_distill_loss = {
    .name = "distill_loss",
    .n_in = 5,
    .n_out = 2,
    .attr_size = sizeof(attr),
    .shapes = shapes,
    .workspace = workspace,
    .forward = forward,
    .backward = backward,
    .in = {SOL_IN_READ, SOL_IN_READ, SOL_IN_READ, SOL_IN_READ, SOL_IN_READ},
    .promises = SOL_OP_COMPUTES_IN_BACKWARD,
    .check_case = check_case};

sol_var sol_distill_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var teacher_x,
                         sol_var extra, const sol_stored *head, const sol_distill *d,
                         const float *start, sol_dtype compute, sol_var *parts)
{
    sol_var out[2];
    attr a = {head, d, start, compute};
    sol_tape_apply(t, &sol_op_distill_loss, (sol_var[]){x, w, targets, teacher_x, extra}, out, &a);
    *parts = out[1];
    return out[0];
}

sol_var sol_distill_cached(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var ids,
                           sol_var probs, const sol_distill *d, sol_dtype compute, sol_var *parts)
{
    return sol_distill_loss(t, x, w, targets, ids, probs, NULL, d, NULL, compute, parts);
}
