/* Half-split rotary embedding: in every head, components i and i + D/2 are rotated by the angle of
 * the row's position. model/block.c rotates q and k by it.
 *
 *   y0 = x0 cos - x1 sin     y1 = x1 cos + x0 sin     backward: dy rotated the other way
 *
 * x, y [N, heads * D]; position [N] i32; cos, sin [P, D/2] with P above every position. */
#include "autograd/ops.h"

enum { X, POSITION, COSINE, SINE };
enum { ROWS = 32 }; /* of a tile of the pool */

typedef struct attr {
    int64_t head_dim;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape;
    int64_t D = ((const attr *)c->attr)->head_dim;
    char a[96];
    if (D < 2 || D % 2 || x->n_dims != 2 || x->dim[1] % D ||
        sol_shape_count(&c->in[1].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "x %s does not fit heads of %lld", sol_shape_text(x, a),
                        (long long)D);
    if (c->in[1].dtype != SOL_I32 || c->in[2].shape.dim[1] != D / 2 ||
        c->in[3].shape.dim[1] != D / 2)
        return sol_fail(err, SOL_ERR_SHAPE, "expects i32 positions and tables of %lld columns",
                        (long long)D / 2);
    c->out[0] = (sol_slot){.shape = *x, .dtype = SOL_F32};
    return SOL_OK;
}

static void rotate_rows(const sol_op_call *c, int64_t tile, const float *x, float sign, float *y,
                        bool add)
{
    int64_t n = c->in[0].shape.dim[0], width = c->in[0].shape.dim[1],
            D = ((const attr *)c->attr)->head_dim;
    const int32_t *position = c->in[1].data;
    for (int64_t i = tile * ROWS, end = sol_min_i64(i + ROWS, n); i < end; i++) {
        sol_rope_rotation r = {.cosine = (const float *)c->in[2].data + position[i] * (D / 2),
                               .sine = (const float *)c->in[3].data + position[i] * (D / 2),
                               .sign = sign,
                               .half = D / 2,
                               .add = add};
        for (int64_t h = 0; h < width; h += D) {
            r.x = x + i * width + h;
            r.y = y + i * width + h;
            c->ctx->kernels.train_ops.rope(&r);
        }
    }
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    rotate_rows(c, tile, c->in[0].data, 1, c->out[0].data, false);
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), forward_tile, (void *)c);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    (void)thread;
    rotate_rows(c, tile, c->out[0].grad, -1, c->in[0].grad, c->in[0].grad_add);
}

static void backward(const sol_op_call *c)
{
    if (!c->in[0].grad) return;
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->in[0].shape.dim[0], ROWS), backward_tile, (void *)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t position[] = {0, 1, 2, 0, 1, 4};
    static const int64_t head_dim[] = {4, 2};
    if (i >= 2) return false;
    c->in[0] = sol_shape2(6, 8);
    c->in[1] = sol_shape1(6);
    c->ints[1] = position;
    c->in[2] = c->in[3] = sol_shape2(5, head_dim[i] / 2);
    c->constant[2] = c->constant[3] = true;
    *(attr *)c->attr = (attr){head_dim[i]};
    return true;
}

const sol_op sol_op_rope = {
    .name = "rope",
    .n_in = 4,
    .n_out = 1,
    .attr_size = sizeof(attr),
    .shapes = shapes,
    .forward = forward,
    .backward = backward,
    .in = {[POSITION] = SOL_IN_READ, [COSINE] = SOL_IN_READ, [SINE] = SOL_IN_READ},
    .check_case = check_case};

sol_var sol_rope(sol_tape *t, sol_var x, sol_var position, sol_var cos_table, sol_var sin_table,
                 int64_t head_dim)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_rope, (sol_var[]){x, position, cos_table, sin_table}, &out,
                          &(attr){head_dim});
}
