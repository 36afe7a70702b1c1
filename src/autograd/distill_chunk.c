#include "autograd/distill_chunk.h"

#include <string.h>

#include "kernels/gemm.h"

/* As in op_head_loss.c. */
enum { CHUNK_ITEMS = 4 << 20, CHUNK_ROWS = 256 };

int64_t sol_distill_chunk_rows(int64_t N, int64_t V)
{
    int64_t rows = CHUNK_ITEMS / V / SOL_CHUNK_TILE * SOL_CHUNK_TILE;
    return sol_min64(N, rows < CHUNK_ROWS ? CHUNK_ROWS : rows);
}

size_t sol_distill_chunk_bytes(int64_t n)
{
    return ((size_t)n * sizeof(float) + SOL_ALIGN - 1) / SOL_ALIGN * SOL_ALIGN;
}

sol_status sol_distill_chunk_shapes(sol_op_call *c, const sol_distill *d, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    char a[96], b[96];
    if (x->n_dims != 2 || w->n_dims != 2 || x->dim[1] != w->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "x %s and W %s do not multiply", sol_shape_text(x, a),
                        sol_shape_text(w, b));
    if (c->in[2].dtype != SOL_I32 || sol_shape_count(&c->in[2].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects an i32 target for each of %lld rows", (long long)x->dim[0]);
    if (d->top_k < 0 || d->top_k > w->dim[0])
        return sol_fail(err, SOL_ERR_RANGE, "the %lld most probable tokens of %lld", (long long)d->top_k,
                        (long long)w->dim[0]);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    c->out[1] = (sol_slot){.shape = sol_shape2(x->dim[0], SOL_PARTS), .dtype = SOL_F32};
    return SOL_OK;
}

static void row_tile(void *arg, int64_t tile, int thread)
{
    const sol_distill_chunk *k = arg;
    (void)thread;
    int64_t V = k->c->in[1].shape.dim[0];
    const int32_t *target = k->c->in[2].data;
    float *loss = k->c->out[0].data, *parts = k->c->out[1].data;
    for (int64_t i = tile * SOL_CHUNK_TILE, end = sol_min64(i + SOL_CHUNK_TILE, k->rows); i < end; i++) {
        int64_t n = k->from + i;
        sol_distill_row r = {.ops = &k->c->ctx->k.t,
                             .d = k->d,
                             .V = V,
                             .target = target[n],
                             .dloss = k->grads ? k->c->out[0].grad + n : NULL};
        if (target[n] >= 0) {
            loss[n] = k->row(k, &r, i);
        } else {
            loss[n] = 0;
            if (k->grads) memset(k->z + i * V, 0, (size_t)V * sizeof *k->z);
        }
        memcpy(parts + n * SOL_PARTS, r.part, sizeof r.part);
    }
}

void sol_distill_chunk_run(const sol_distill_chunk *k)
{
    const sol_op_call *c = k->c;
    int64_t C = c->in[0].shape.dim[1], V = c->in[1].shape.dim[0];
    const float *x = (const float *)c->in[0].data + k->from * C, *w = c->in[1].data;
    float *dx = c->in[0].grad, *dw = c->in[1].grad;
    sol_gemm(c->ctx, false, true, k->rows, V, C, 1, x, C, w, C, 0, k->z, V);
    sol_pool_run(c->ctx->pool, sol_tile_count(k->rows, SOL_CHUNK_TILE), row_tile, (void *)(uintptr_t)k);
    if (!k->grads) return;
    if (dx) sol_gemm(c->ctx, false, false, k->rows, C, V, 1, k->z, V, w, C, c->in[0].grad_add, dx + k->from * C, C);
    if (dw) sol_gemm(c->ctx, true, false, V, C, k->rows, 1, k->z, V, x, C, c->in[1].grad_add || k->from > 0, dw, C);
}
