/* The distillation head with a cache of the teacher's k most probable tokens (formulas: distill.h, top_k).
 * x [N, C]; W [V, C]; targets [N] i32; ids [N, k] i32; probs [N, k + 1], the rest last; loss [N, 1]; parts [N,
 * SOL_PARTS]. */
#include "autograd/distill_chunk.h"

typedef struct attr {
    const sol_distill *d;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const attr *a = c->attr;
    int64_t N = c->in[0].shape.dim[0], k = a->d->top_k;
    sol_status st = sol_distill_chunk_shapes(c, a->d, err);
    if (st != SOL_OK) return st;
    if (k < 1 || c->in[3].dtype != SOL_I32 || sol_shape_count(&c->in[3].shape) != N * k ||
        sol_shape_count(&c->in[4].shape) != N * (k + 1))
        return sol_fail(err, SOL_ERR_SHAPE, "expects ids [%lld, %lld] and one probability more a row", (long long)N,
                        (long long)k);
    return SOL_OK;
}

static size_t scratch(const sol_op_call *c, bool backward)
{
    const attr *a = c->attr;
    int64_t V = c->in[1].shape.dim[0], rows = sol_distill_chunk_rows(c->in[0].shape.dim[0], V);
    (void)backward;
    return sol_distill_chunk_bytes(rows * V) + sol_distill_chunk_bytes(rows * a->d->top_k);
}

static float row(const sol_distill_chunk *q, sol_distill_row *r, int64_t i)
{
    int64_t k = q->d->top_k, n = q->from + i;
    const int32_t *ids = (const int32_t *)q->c->in[3].data + n * k;
    const float *probs = (const float *)q->c->in[4].data + n * (k + 1);
    return sol_distill_row_top(r, q->z + i * r->V, k, ids, probs, q->turned + i * k);
}

static void run(const sol_op_call *c, bool grads)
{
    const attr *a = c->attr;
    int64_t N = c->in[0].shape.dim[0], V = c->in[1].shape.dim[0], step = sol_distill_chunk_rows(N, V);
    float *turned = (float *)((char *)c->scratch + sol_distill_chunk_bytes(step * V));
    for (int64_t n = 0; n < N; n += step) {
        sol_distill_chunk k = {.c = c, .d = a->d, .from = n, .rows = sol_min64(step, N - n), .grads = grads,
                               .z = c->scratch, .row = row, .turned = turned};
        sol_distill_chunk_run(&k);
    }
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
    static const int32_t targets[] = {3, 0, -1, 2}, ids[] = {3, 1, 0, 5, 0, 1, 6, 2};
    static const sol_distill cases[] = {{SOL_DISTILL_FORWARD_KL, 1, 2, 1, 0.5f, 0},
                                        {SOL_DISTILL_REVERSE_KL, 2, 2, 1, 0.5f, 0},
                                        {SOL_DISTILL_CAKLD, 1.5f, 2, 0.5f, 0, 0.25f}};
    static const float probs[] = {0.5f, 0.25f, 0.25f, 0.75f, 0.125f, 0.125f, 0.5f, 0.5f, 0, 0.25f, 0.25f, 0.5f};
    if (i >= (int)(sizeof cases / sizeof *cases)) return false;
    c->in[0] = sol_shape2(4, 3);
    c->in[1] = sol_shape2(7, 3);
    c->in[2] = sol_shape1(4);
    c->in[3] = sol_shape2(4, 2);
    c->in[4] = sol_shape2(4, 3);
    c->ints[2] = targets;
    c->ints[3] = ids;
    c->constant[4] = true;
    c->floats[4] = probs;
    *(attr *)c->attr = (attr){&cases[i]};
    return true;
}

const sol_op sol_op_distill_cached = {.name = "distill_cached",
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

sol_var sol_distill_cached(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_var ids, sol_var probs,
                           const sol_distill *d, sol_var *parts)
{
    sol_var out[2];
    sol_tape_apply(t, &sol_op_distill_cached, (sol_var[]){x, w, targets, ids, probs}, out, &(attr){d});
    *parts = out[1];
    return out[0];
}
