/* Causal grouped-query attention inside documents. Row t of a batch row sees positions doc_start[t]
 * to t of that row. model/block.c records it once a block.
 *
 *   s = q k^T / sqrt(D),  p = softmax(s),  o = p v
 *   backward:  p = r exp(s - m),  dv = p^T do,  dp = do v^T,  ds = p (dp - sum(p dp)) / sqrt(D),
 *              dq = ds k,  dk = ds^T q
 *
 * A second output keeps m = max s and r = 1 / sum exp(s - m), [B, H, T, 2], and not m - ln r alone:
 * where scores are large, its rounding would be that of p. The sum is over p dp and not over do o,
 * which differs by rounding: where p is all on one position, ds is exactly 0.
 *
 * q, o [B T, H D]; k, v [B T, K D]; doc_start [B T] i32, ascending within a batch row. Scores exist
 * for SOL_ATTENTION_ROWS rows of a head at a time, in the workspace: one strip [ROWS, T] a tile,
 * two in the backward pass. A forward tile is one head of a batch row; a backward tile is a kv head
 * with all its query heads, so that dk and dv have one owner and one order.
 *
 * With o in bf16 (rounded) the products take operands rounded to bf16, too: attention_bf16.c. */
#include "autograd/attention.h"
#include "kernels/gemm.h"

enum { Q, K, V, DOC_START, O = 0, NORM };

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    int64_t n = a->batch * a->time, kv = a->kv_heads * a->head_dim;
    const sol_shape *q = &c->in[0].shape, *k = &c->in[1].shape, *v = &c->in[2].shape;
    char s[96], z[96];
    if (a->kv_heads < 1 || a->heads % a->kv_heads)
        return sol_fail(err, SOL_ERR_SHAPE, "%lld heads do not share %lld kv heads",
                        (long long)a->heads, (long long)a->kv_heads);
    if (q->dim[0] != n || q->dim[1] != a->heads * a->head_dim || k->dim[0] != n ||
        k->dim[1] != kv || !sol_shape_equal(k, v))
        return sol_fail(err, SOL_ERR_SHAPE, "q %s and k %s do not fit the heads",
                        sol_shape_text(q, s), sol_shape_text(k, z));
    if (c->in[3].dtype != SOL_I32 || sol_shape_count(&c->in[3].shape) != n)
        return sol_fail(err, SOL_ERR_SHAPE, "expects i32 document starts of %lld tokens",
                        (long long)n);
    c->out[0] = (sol_slot){.shape = *q, .dtype = ((const sol_attention_attr *)c->attr)->out};
    c->out[1] = (sol_slot){.shape = sol_shape4(a->batch, a->heads, a->time, 2), .dtype = SOL_F32};
    return SOL_OK;
}

static size_t workspace(const sol_op_call *c, bool backward)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    if (c->out[0].dtype == SOL_BF16) return sol_attention_bf16_workspace(c, backward);
    return (size_t)(a->batch * (backward ? 2 * a->kv_heads : a->heads) * SOL_ATTENTION_ROWS *
                    a->time) *
           sizeof(float);
}

static void forward_block(const sol_op_call *c, int64_t b, int64_t h, int64_t row, float *s)
{
    sol_attention_block k = sol_attention_block_of(c, b, h, row);
    int64_t D = sol_attention_shape_of(c)->head_dim, n = k.columns, from, to;
    float *o = (float *)c->out[0].data + k.q_at, *norm = (float *)c->out[1].data + k.norm_at;
    sol_gemm_tile(false, true, k.rows, n, D, k.scale, (const float *)c->in[0].data + k.q_at, k.q_ld,
                  (const float *)c->in[1].data + k.kv_at, k.kv_ld, 0, s, n);
    for (int64_t i = 0; i < k.rows; i++) {
        sol_attention_visible(&k, i, &from, &to);
        c->ctx->kernels.train_ops.softmax(s + i * n, n, from, to, norm + 2 * i);
    }
    sol_gemm_tile(false, false, k.rows, D, n, 1, s, n, (const float *)c->in[2].data + k.kv_at,
                  k.kv_ld, 0, o, k.q_ld);
    for (int64_t i = 0; i < k.rows; i++)
        for (int64_t d = 0; d < D; d++) o[i * k.q_ld + d] *= norm[2 * i + 1];
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_attention_shape *a = sol_attention_shape_of(c);
    (void)thread;
    for (int64_t row = 0; row < a->time; row += SOL_ATTENTION_ROWS)
        forward_block(c, tile / a->heads, tile % a->heads, row,
                      (float *)c->workspace + tile * SOL_ATTENTION_ROWS * a->time);
}

static void forward(const sol_op_call *c)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    if (c->out[0].dtype == SOL_BF16)
        sol_attention_bf16_forward(c);
    else
        sol_pool_run(c->ctx->pool, a->batch * a->heads, forward_tile, (void *)c);
}

static void backward_block(const sol_op_call *c, int64_t b, int64_t h, int64_t row, float *p)
{
    sol_attention_block k = sol_attention_block_of(c, b, h, row);
    int64_t D = sol_attention_shape_of(c)->head_dim, n = k.columns, from, to;
    const float *q = (const float *)c->in[0].data + k.q_at,
                *key = (const float *)c->in[1].data + k.kv_at;
    const float *norm = (const float *)c->out[1].data + k.norm_at, *d_o = c->out[0].grad + k.q_at;
    float *dq = c->in[Q].grad, *dk = c->in[K].grad, *dv = c->in[V].grad, *ds = p + k.rows * n;
    sol_gemm_tile(false, true, k.rows, n, D, k.scale, q, k.q_ld, key, k.kv_ld, 0, p, n);
    sol_gemm_tile(false, true, k.rows, n, D, 1, d_o, k.q_ld, (const float *)c->in[2].data + k.kv_at,
                  k.kv_ld, 0, ds, n);
    for (int64_t i = 0; i < k.rows; i++) {
        sol_attention_visible(&k, i, &from, &to);
        c->ctx->kernels.train_ops.softmax_backward(p + i * n, ds + i * n, n, from, to, norm + 2 * i,
                                                   k.scale);
    }
    if (dv)
        sol_gemm_tile(true, false, n, D, k.rows, 1, p, n, d_o, k.q_ld, 1, dv + k.kv_at, k.kv_ld);
    if (dk) sol_gemm_tile(true, false, n, D, k.rows, 1, ds, n, q, k.q_ld, 1, dk + k.kv_at, k.kv_ld);
    if (dq)
        sol_gemm_tile(false, false, k.rows, D, n, 1, ds, n, key, k.kv_ld, c->in[Q].grad_add,
                      dq + k.q_at, k.q_ld);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_attention_shape *a = sol_attention_shape_of(c);
    (void)thread;
    int64_t b = tile / a->kv_heads, kvh = tile % a->kv_heads, group = a->heads / a->kv_heads,
            ld = a->kv_heads * a->head_dim;
    int64_t at = b * a->time * ld + kvh * a->head_dim;
    sol_attention_clear(&c->in[1], at, a->time, a->head_dim, ld);
    sol_attention_clear(&c->in[2], at, a->time, a->head_dim, ld);
    for (int64_t h = kvh * group; h < (kvh + 1) * group; h++)
        for (int64_t row = 0; row < a->time; row += SOL_ATTENTION_ROWS)
            backward_block(c, b, h, row,
                           (float *)c->workspace + tile * 2 * SOL_ATTENTION_ROWS * a->time);
}

static void backward(const sol_op_call *c)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    if (c->out[0].dtype == SOL_BF16)
        sol_attention_bf16_backward(c);
    else
        sol_pool_run(c->ctx->pool, a->batch * a->kv_heads, backward_tile, (void *)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const sol_attention_shape shape[] = {
        {2, 5, 4, 2, 4, 0},  {1, 1, 1, 1, 2, 0}, {1, 7, 3, 1, 3, 0},
        {1, 70, 1, 1, 2, 0}, {2, 5, 2, 1, 2, 3}, {1, 70, 1, 1, 2, 4},
    };
    static const int32_t start[] = {0, 0, 0, 3, 3, 0, 1, 1, 1, 1}, none[70];
    enum { FP32 = sizeof shape / sizeof *shape }; /* then the same ones in bf16 */
    if (i >= 2 * FP32) return false;
    const sol_attention_shape *a = &shape[i % FP32];
    int64_t n = a->batch * a->time;
    c->in[Q] = sol_shape2(n, a->heads * a->head_dim);
    c->in[K] = c->in[V] = sol_shape2(n, a->kv_heads * a->head_dim);
    c->in[DOC_START] = sol_shape1(n);
    c->ints[DOC_START] = n > 10 ? none : start;
    c->fp32_case = i < FP32 ? 0 : i - FP32 + 1;
    *(sol_attention_attr *)c->attr = (sol_attention_attr){*a, i < FP32 ? SOL_F32 : SOL_BF16};
    return true;
}

const sol_op sol_op_attention = {
    .name = "attention",
    .n_in = 4,
    .n_out = 2,
    .attr_size = sizeof(sol_attention_attr),
    .shapes = shapes,
    .workspace = workspace,
    .forward = forward,
    .backward = backward,
    .in = {[Q] = SOL_IN_READ, [K] = SOL_IN_READ, [V] = SOL_IN_READ, [DOC_START] = SOL_IN_READ},
    .out = {[NORM] = SOL_OUT_READ},
    .check_case = check_case};

sol_var sol_attention(sol_tape *t, sol_var q, sol_var k, sol_var v, sol_var doc_start,
                      const sol_attention_shape *shape, sol_dtype type)
{
    sol_var out[2];
    return sol_tape_apply(t, &sol_op_attention, (sol_var[]){q, k, v, doc_start}, out,
                          &(sol_attention_attr){*shape, type});
}
