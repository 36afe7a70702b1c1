/* Cross-entropy fused with the output head, z = x W^T:  loss[n] = ln sum_v exp(z[n, v]) - z[n, target]; target -1: 0.
 * Backward, for each chunk of tokens while its logits are there:
 *   dz = dloss (softmax(z) - onehot(target)),  dx = dz W,  dW += dz^T x
 * x [N, C]; W [V, C]; targets [N] i32; loss [N, 1]. The logits of one chunk lie in scratch, no [N, V] matrix exists; the
 * backward call computes them anyway and therefore sets the losses too. */
#include <string.h>

#include "autograd/ops.h"
#include "base/mem.h"
#include "kernels/gemm.h"

/* Rows of a chunk: enough that W and dW, which pass through memory once a chunk, cost little beside the products. */
enum { CHUNK_ITEMS = 4 << 20, CHUNK_ROWS = 256, CHUNK_ROWS_BF16 = 512, ROWS = 8 };

typedef struct attr {
    sol_dtype compute;
} attr;

typedef struct chunk {
    const sol_op_call *c;
    int64_t from, rows;
    bool grads;
} chunk;

static bool in_bf16(const sol_op_call *c)
{
    return ((const attr *)c->attr)->compute == SOL_BF16;
}

static int64_t chunk_rows(const sol_op_call *c)
{
    int64_t n = c->in[0].shape.dim[0], V = c->in[1].shape.dim[0], rows = CHUNK_ITEMS / V / ROWS * ROWS;
    int64_t least = in_bf16(c) ? CHUNK_ROWS_BF16 : CHUNK_ROWS; /* the faster the products, the more that passing costs */
    return sol_min64(n, rows < least ? least : rows);
}

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_shape *x = &c->in[0].shape, *w = &c->in[1].shape;
    char a[96], b[96];
    if (x->n_dims != 2 || w->n_dims != 2 || x->dim[1] != w->dim[1])
        return sol_fail(err, SOL_ERR_SHAPE, "x %s and W %s do not multiply", sol_shape_text(x, a),
                        sol_shape_text(w, b));
    if (c->in[2].dtype != SOL_I32 || sol_shape_count(&c->in[2].shape) != x->dim[0])
        return sol_fail(err, SOL_ERR_SHAPE, "expects an i32 target for each of %lld rows", (long long)x->dim[0]);
    c->out[0] = (sol_slot){.shape = sol_shape2(x->dim[0], 1), .dtype = SOL_F32};
    return SOL_OK;
}

static size_t logit_bytes(const sol_op_call *c)
{
    size_t bytes = (size_t)chunk_rows(c) * (size_t)c->in[1].shape.dim[0] * sizeof(float);
    return (bytes + SOL_ALIGN - 1) / SOL_ALIGN * SOL_ALIGN;
}

/* The logits of a chunk, and behind them what a product in bf16 wants. */
static size_t scratch(const sol_op_call *c, bool backward)
{
    int64_t C = c->in[1].shape.dim[1], V = c->in[1].shape.dim[0], inner[] = {C, V, chunk_rows(c)};
    int64_t outer[] = {V, C, C};
    size_t most = 0;
    for (int i = 0; in_bf16(c) && i < (backward ? 3 : 1); i++) {
        size_t bytes = sol_gemm_bf16_scratch(outer[i], inner[i]);
        if (bytes > most) most = bytes;
    }
    return logit_bytes(c) + most;
}

/* C = op(A) op(B) + beta C, f32 all of them, in the type the op computes in. */
static void product(const sol_op_call *c, int64_t m, int64_t n, int64_t k, sol_operand a, sol_operand b, bool add, float *out)
{
    if (in_bf16(c))
        sol_gemm_bf16(c->ctx, m, n, k, 1, &a, &b, add, out, n, (char *)c->scratch + logit_bytes(c));
    else
        sol_gemm(c->ctx, a.trans, b.trans, m, n, k, 1, a.data, a.ld, b.data, b.ld, add, out, n);
}

/* One row: the loss; with dloss the logits turn into dz in place. */
static float row_loss(const sol_train_ops *t, float *z, int64_t V, int32_t target, const float *dloss)
{
    if (target >= 0) return t->cross_entropy(z, V, target, dloss);
    if (dloss) memset(z, 0, (size_t)V * sizeof *z);
    return 0;
}

static void row_tile(void *arg, int64_t tile, int thread)
{
    const chunk *k = arg;
    (void)thread;
    int64_t V = k->c->in[1].shape.dim[0];
    const int32_t *target = k->c->in[2].data;
    float *loss = k->c->out[0].data;
    for (int64_t i = tile * ROWS, end = sol_min64(i + ROWS, k->rows); i < end; i++) {
        int64_t n = k->from + i;
        loss[n] = row_loss(&k->c->ctx->k.t, (float *)k->c->scratch + i * V, V, target[n],
                           k->grads ? k->c->out[0].grad + n : NULL);
    }
}

static void run(const sol_op_call *c, bool grads)
{
    int64_t N = c->in[0].shape.dim[0], C = c->in[0].shape.dim[1], V = c->in[1].shape.dim[0], step = chunk_rows(c);
    const float *x = c->in[0].data, *w = c->in[1].data;
    float *z = c->scratch, *dx = c->in[0].grad, *dw = c->in[1].grad;
    for (int64_t n = 0; n < N; n += step) {
        chunk k = {.c = c, .from = n, .rows = sol_min64(step, N - n), .grads = grads};
        product(c, k.rows, V, C, (sol_operand){x + n * C, C, false, false}, (sol_operand){w, C, true, false}, false, z);
        sol_pool_run(c->ctx->pool, sol_tile_count(k.rows, ROWS), row_tile, &k);
        if (!grads) continue;
        sol_operand dz = {z, V, false, false}, dz_t = {z, V, true, false};
        if (dx) product(c, k.rows, C, V, dz, (sol_operand){w, C, false, false}, c->in[0].grad_add, dx + n * C);
        if (dw) product(c, V, C, k.rows, dz_t, (sol_operand){x + n * C, C, false, false}, c->in[1].grad_add || n > 0, dw);
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
    static const int32_t targets[] = {3, 0, -1, 2, 4, 3};
    static const int64_t vocab[] = {5, 11};
    if (i >= 2) return false;
    c->in[0] = sol_shape2(6, 4);
    c->in[1] = sol_shape2(vocab[i], 4);
    c->in[2] = sol_shape1(6);
    c->ints[2] = targets;
    return true;
}

const sol_op sol_op_head_loss = {.name = "head_loss",
                                 .n_in = 3,
                                 .n_out = 1,
                                 .attr_size = sizeof(attr),
                                 .shapes = shapes,
                                 .scratch = scratch,
                                 .forward = forward,
                                 .backward = backward,
                                 .reads_in = 7,
                                 .backward_computes = true,
                                 .check_case = check_case};

sol_var sol_head_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_dtype compute)
{
    sol_var out;
    return sol_tape_apply(t, &sol_op_head_loss, (sol_var[]){x, w, targets}, &out, &(attr){compute});
}
