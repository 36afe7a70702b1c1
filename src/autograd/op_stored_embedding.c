/* out[n] = row token[n] of a matrix of the teacher in fp32, where its graph begins
 * (model/teacher.c). No gradient.
 *
 * tokens [N] i32 in [0, rows); out [N, cols]. */
#include "autograd/distill.h"

enum { ROWS = 64 }; /* of a tile of the pool */

typedef struct attr {
    const sol_stored *s;
} attr;

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_stored *s = ((const attr *)c->attr)->s;
    if (c->in[0].dtype != SOL_I32) return sol_fail(err, SOL_ERR_SHAPE, "expects i32 tokens");
    c->out[0] = (sol_slot){.shape = sol_shape2(sol_shape_count(&c->in[0].shape), s->cols),
                           .dtype = SOL_F32};
    return SOL_OK;
}

static void tile_rows(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_stored *s = ((const attr *)c->attr)->s;
    const int32_t *token = c->in[0].data;
    (void)thread;
    for (int64_t n = tile * ROWS, end = sol_min_i64(n + ROWS, c->out[0].shape.dim[0]); n < end; n++)
        sol_stored_rows(s, token[n], 1, (float *)c->out[0].data + n * s->cols);
}

static void forward(const sol_op_call *c)
{
    sol_pool_run(c->ctx->pool, sol_ceil_div(c->out[0].shape.dim[0], ROWS), tile_rows,
                 (void *)(uintptr_t)c);
}

static void backward(const sol_op_call *c)
{
    (void)c;
}

static bool check_case(int i, sol_op_case *c)
{
    static const int32_t tokens[] = {1, 0, 1};
    static uint16_t bits[2 * 3];
    static const sol_stored s = {.type = SOL_BF16, .rows = 2, .cols = 3, .data = bits};
    if (i >= 1) return false;
    c->in[0] = sol_shape1(3);
    c->ints[0] = tokens;
    *(attr *)c->attr = (attr){&s};
    return true;
}

const sol_op sol_op_stored_embedding = {.name = "stored_embedding",
                                        .n_in = 1,
                                        .n_out = 1,
                                        .attr_size = sizeof(attr),
                                        .shapes = shapes,
                                        .forward = forward,
                                        .backward = backward,
                                        .check_case = check_case};

sol_var sol_stored_embedding(sol_tape *t, sol_var tokens, const sol_stored *s)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_stored_embedding, &tokens, &out, &(attr){s});
}
