/* The output head chunk by chunk: products that give logits, a loss for each row, products that
 * give gradients. The ops at the end of a graph (op_head_loss.c, op_distill_loss.c,
 * op_teacher_top.c) supply what happens to a row. */
#include "autograd/head.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/gemm.h"

/* Rows of a chunk: enough that W and dW, which pass through memory once a chunk, cost little beside
 * the products; the faster these are, the more that passing costs. */
enum { CHUNK_ITEMS = 4 << 20, CHUNK_ROWS = 256, CHUNK_ROWS_BF16 = 512 };

int64_t sol_head_rows(int64_t N, int64_t V, sol_dtype compute)
{
    int64_t rows = CHUNK_ITEMS / V / SOL_HEAD_TILE * SOL_HEAD_TILE;
    int64_t least = compute == SOL_BF16 ? CHUNK_ROWS_BF16 : CHUNK_ROWS;
    return sol_min_i64(N, rows < least ? least : rows);
}

sol_status sol_head_shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    char a[96], b[96];
    if (x->n_dims != 2 || w->n_dims != 2 || x->dim[1] != w->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "x %s and W %s do not multiply", sol_shape_text(x, a),
                        sol_shape_text(w, b));
    if (c->in[2].dtype != SOL_I32 || sol_shape_count(&c->in[2].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects an i32 target for each of %lld rows",
                        (long long)x->dim[0]);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    return SOL_OK;
}

size_t sol_head_bytes(size_t bytes)
{
    return sol_round_up_size(bytes, SOL_ALIGN);
}

/* Bytes of the logits of a chunk. */
static size_t logit_bytes(const sol_head *h)
{
    int64_t N = h->c->in[0].shape.dim[0], V = h->c->in[1].shape.dim[0];
    return sol_head_bytes((size_t)(sol_head_rows(N, V, h->compute) * V) * sizeof(float));
}

size_t sol_head_workspace(const sol_head *h, bool backward)
{
    int64_t N = h->c->in[0].shape.dim[0], C = h->c->in[1].shape.dim[1],
            V = h->c->in[1].shape.dim[0];
    int64_t outer[] = {V, C, C}, inner[] = {C, V, sol_head_rows(N, V, h->compute)};
    size_t max = 0;
    for (int i = 0; i < (backward ? 3 : 1); i++) {
        size_t bytes = sol_product_scratch(h->compute == SOL_BF16, outer[i], inner[i]);
        max = sol_max_size(max, bytes);
    }
    return logit_bytes(h) + sol_head_bytes(h->own) + max;
}

/* The losses of some rows of a chunk; with gradients, z becomes dz. */
static void row_tile(void *arg, int64_t tile, int thread)
{
    const sol_head_chunk *k = arg;
    const sol_op_call *c = k->head->c;
    (void)thread;
    int64_t V = c->in[1].shape.dim[0];
    const int32_t *target = c->in[2].data;
    float *loss = c->out[0].data;
    for (int64_t i = tile * SOL_HEAD_TILE, end = sol_min_i64(i + SOL_HEAD_TILE, k->rows); i < end;
         i++) {
        int64_t n = k->from + i, others = c->out[1].data ? c->out[1].shape.dim[1] : 0;
        float *z = k->z + i * V;
        loss[n] = 0;
        if (target[n] >= 0) {
            loss[n] = k->head->row(k, i, z, k->grads ? c->out[0].grad + n : NULL);
            continue;
        }
        if (k->grads) memset(z, 0, (size_t)V * sizeof *z);
        for (int64_t j = 0; j < others; j++) ((float *)c->out[1].data)[n * others + j] = 0;
    }
}

/* The products around the rows of a chunk. */
static void run_chunk(const sol_head_chunk *k, void *workspace)
{
    const sol_op_call *c = k->head->c;
    bool bf16 = k->head->compute == SOL_BF16;
    int64_t C = c->in[1].shape.dim[1], V = c->in[1].shape.dim[0];
    float *dx = c->in[0].grad, *dw = c->in[1].grad;
    sol_operand x = {.data = (const float *)c->in[0].data + k->from * C, .ld = C},
                z = {.data = k->z, .ld = V};
    sol_operand w = {.data = c->in[1].data, .ld = C}, w_t = w, z_t = z;
    w_t.trans = z_t.trans = true;
    if (k->head->begin) k->head->begin(k);
    sol_product(c->ctx, bf16, k->rows, V, C, 1, &x, &w_t, 0, k->z, V, workspace);
    sol_pool_run(c->ctx->pool, sol_ceil_div(k->rows, SOL_HEAD_TILE), row_tile,
                 (void *)(uintptr_t)k);
    if (!k->grads) return;
    if (dx)
        sol_product(c->ctx, bf16, k->rows, C, V, 1, &z, &w, c->in[0].grad_add, dx + k->from * C, C,
                    workspace);
    if (dw)
        sol_product(c->ctx, bf16, V, C, k->rows, 1, &z_t, &x, c->in[1].grad_add || k->from > 0, dw,
                    C, workspace);
}

void sol_head_run(const sol_head *h, bool grads)
{
    int64_t N = h->c->in[0].shape.dim[0],
            step = sol_head_rows(N, h->c->in[1].shape.dim[0], h->compute);
    char *own = (char *)h->c->workspace + logit_bytes(h);
    for (int64_t n = 0; n < N; n += step) {
        sol_head_chunk k = {.head = h,
                            .from = n,
                            .rows = sol_min_i64(step, N - n),
                            .grads = grads,
                            .z = h->c->workspace,
                            .own = own};
        run_chunk(&k, own + sol_head_bytes(h->own));
    }
}
