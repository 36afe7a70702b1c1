/* Causal grouped-query attention inside documents. Row t of a batch row sees positions doc_start[t] .. t of that row.
 *
 *   s = q k^T / sqrt(D),  p = softmax(s),  o = p v;   a second output keeps lse = ln sum exp(s), [B, H, T]
 *   backward:  p = exp(s - lse),  dv = p^T do,  dp = do v^T,  ds = p (dp - rowsum(do o)) / sqrt(D),  dq = ds k,  dk = ds^T q
 *
 * q, o [B T, H D]; k, v [B T, K D]; doc_start [B T] i32, ascending within a batch row. Scores exist for one block of
 * ROWS x COLUMNS at a time, on the stack. A forward tile is a row block of one head (online softmax over column blocks);
 * a backward tile is a kv head with all its query heads, so that dk and dv have one owner and one order. */
#include <math.h>
#include <string.h>

#include "autograd/ops.h"
#include "kernels/gemm.h"

enum { ROWS = 64, COLUMNS = 64 };

static sol_status shapes(sol_op_call *c, sol_err *err)
{
    const sol_attention_shape *a = c->attr;
    int64_t n = a->batch * a->time, kv = a->kv_heads * a->head_dim;
    const sol_shape *q = &c->in[0].shape, *k = &c->in[1].shape, *v = &c->in[2].shape;
    char s[96], z[96];
    if (a->kv_heads < 1 || a->heads % a->kv_heads)
        return sol_fail(err, SOL_ERR_SHAPE, "%lld heads do not share %lld kv heads", (long long)a->heads, (long long)a->kv_heads);
    if (q->dim[0] != n || q->dim[1] != a->heads * a->head_dim || k->dim[0] != n || k->dim[1] != kv ||
        memcmp(k, v, sizeof *k) != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "q %s and k %s do not fit the heads", sol_shape_text(q, s), sol_shape_text(k, z));
    if (c->in[3].dtype != SOL_I32 || sol_shape_count(&c->in[3].shape) != n)
        return sol_fail(err, SOL_ERR_SHAPE, "expects i32 document starts of %lld tokens", (long long)n);
    c->out[0] = (sol_slot){.shape = *q, .dtype = SOL_F32};
    c->out[1] = (sol_slot){.shape = sol_shape3(a->batch, a->heads, a->time), .dtype = SOL_F32};
    return SOL_OK;
}

/* One row block of one head: where its matrices start and which rows and columns it has. */
typedef struct block {
    const sol_attention_shape *a;
    int64_t q_ld, kv_ld, row, rows, column; /* rows [row, row + rows), columns from `column` on */
    const float *q, *k, *v;                 /* q: first row of the block; k, v: position 0 */
    const int32_t *start;                   /* doc_start of the block's first row */
    float scale;
    int64_t q_at, kv_at, lse_at; /* element offsets of the same places */
} block;

static block block_of(const sol_op_call *c, int64_t b, int64_t h, int64_t row)
{
    const sol_attention_shape *a = c->attr;
    int64_t D = a->head_dim, kvh = h / (a->heads / a->kv_heads);
    block k = {.a = a, .q_ld = a->heads * D, .kv_ld = a->kv_heads * D, .row = row, .rows = sol_min64(ROWS, a->time - row)};
    k.q_at = (b * a->time + row) * k.q_ld + h * D;
    k.kv_at = b * a->time * k.kv_ld + kvh * D;
    k.lse_at = (b * a->heads + h) * a->time + row;
    k.q = (const float *)c->in[0].data + k.q_at;
    k.k = (const float *)c->in[1].data + k.kv_at;
    k.v = (const float *)c->in[2].data + k.kv_at;
    k.start = (const int32_t *)c->in[3].data + b * a->time + row;
    k.column = k.start[0];
    k.scale = (float)(1 / sqrt((double)D));
    return k;
}

/* s[rows, COLUMNS] = scale q k^T for columns [j, j + n). */
static void scores(const block *k, int64_t j, int64_t n, float *s)
{
    sol_gemm_tile(false, true, k->rows, n, k->a->head_dim, k->scale, k->q, k->q_ld, k->k + j * k->kv_ld, k->kv_ld, 0, s, COLUMNS);
}

/* Columns [*from, *to) of block column j that row i sees; empty when from >= to. */
static void visible(const block *k, int64_t i, int64_t j, int64_t n, int64_t *from, int64_t *to)
{
    *from = k->start[i] > j ? k->start[i] - j : 0;
    *to = sol_min64(n, k->row + i + 1 - j);
}

/* One row of scores joins the online softmax: s becomes exp(s - top), sum and the row of o are brought to the new top. */
static void softmax_row(float *s, int64_t n, int64_t from, int64_t to, float *top, double *sum, float *o, int64_t D)
{
    float m = *top;
    for (int64_t x = from; x < to; x++) m = s[x] > m ? s[x] : m;
    if (from >= to) {
        memset(s, 0, (size_t)n * sizeof *s);
        return;
    }
    if (m > *top) {
        float shrink = expf(*top - m);
        *sum *= shrink;
        for (int64_t d = 0; d < D; d++) o[d] *= shrink;
        *top = m;
    }
    for (int64_t x = 0; x < from; x++) s[x] = 0;
    for (int64_t x = from; x < to; x++) {
        s[x] = expf(s[x] - m);
        *sum += s[x];
    }
    for (int64_t x = to; x < n; x++) s[x] = 0;
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_attention_shape *a = c->attr;
    (void)thread;
    int64_t blocks = sol_tile_count(a->time, ROWS), D = a->head_dim;
    block k = block_of(c, tile / blocks / a->heads, tile / blocks % a->heads, tile % blocks * ROWS);
    float s[ROWS * COLUMNS], top[ROWS], *o = (float *)c->out[0].data + k.q_at, *lse = (float *)c->out[1].data + k.lse_at;
    double sum[ROWS];
    for (int64_t i = 0; i < k.rows; i++) {
        memset(o + i * k.q_ld, 0, (size_t)D * sizeof *o);
        top[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t j = k.column; j < k.row + k.rows; j += COLUMNS) {
        int64_t n = sol_min64(COLUMNS, k.row + k.rows - j), from, to;
        scores(&k, j, n, s);
        for (int64_t i = 0; i < k.rows; i++) {
            visible(&k, i, j, n, &from, &to);
            softmax_row(s + i * COLUMNS, n, from, to, &top[i], &sum[i], o + i * k.q_ld, D);
        }
        sol_gemm_tile(false, false, k.rows, D, n, 1, s, COLUMNS, k.v + j * k.kv_ld, k.kv_ld, 1, o, k.q_ld);
    }
    for (int64_t i = 0; i < k.rows; i++) {
        float r = (float)(1 / sum[i]);
        for (int64_t d = 0; d < D; d++) o[i * k.q_ld + d] *= r;
        lse[i] = (float)(top[i] + log(sum[i]));
    }
}

static void forward(const sol_op_call *c)
{
    const sol_attention_shape *a = c->attr;
    sol_pool_run(c->ctx->pool, a->batch * a->heads * sol_tile_count(a->time, ROWS), forward_tile, (void *)c);
}

/* s -> p = exp(s - lse) and dp -> ds, both in place; unseen columns become 0. */
static void backward_scores(const block *k, int64_t j, int64_t n, const float *lse, const float *delta, float *p, float *ds)
{
    for (int64_t i = 0; i < k->rows; i++, p += COLUMNS, ds += COLUMNS) {
        int64_t from, to;
        visible(k, i, j, n, &from, &to);
        for (int64_t x = 0; x < n; x++) {
            bool seen = x >= from && x < to;
            p[x] = seen ? expf(p[x] - lse[i]) : 0;
            ds[x] = seen ? p[x] * (ds[x] - delta[i]) * k->scale : 0;
        }
    }
}

static void backward_block(const sol_op_call *c, int64_t b, int64_t h, int64_t row)
{
    block k = block_of(c, b, h, row);
    int64_t D = k.a->head_dim;
    const float *o = (const float *)c->out[0].data + k.q_at, *lse = (const float *)c->out[1].data + k.lse_at;
    const float *d_o = c->out[0].grad + k.q_at;
    float *dq = c->in[0].grad + k.q_at, *dk = c->in[1].grad + k.kv_at, *dv = c->in[2].grad + k.kv_at;
    float p[ROWS * COLUMNS], ds[ROWS * COLUMNS], delta[ROWS];
    for (int64_t i = 0; i < k.rows; i++) {
        double dot = 0;
        for (int64_t d = 0; d < D; d++) dot += (double)d_o[i * k.q_ld + d] * o[i * k.q_ld + d];
        delta[i] = (float)dot;
    }
    for (int64_t j = k.column; j < row + k.rows; j += COLUMNS) {
        int64_t n = sol_min64(COLUMNS, row + k.rows - j), at = j * k.kv_ld;
        scores(&k, j, n, p);
        sol_gemm_tile(false, true, k.rows, n, D, 1, d_o, k.q_ld, k.v + at, k.kv_ld, 0, ds, COLUMNS);
        backward_scores(&k, j, n, lse, delta, p, ds);
        sol_gemm_tile(true, false, n, D, k.rows, 1, p, COLUMNS, d_o, k.q_ld, 1, dv + at, k.kv_ld);
        sol_gemm_tile(true, false, n, D, k.rows, 1, ds, COLUMNS, k.q, k.q_ld, 1, dk + at, k.kv_ld);
        sol_gemm_tile(false, false, k.rows, D, n, 1, ds, COLUMNS, k.k + at, k.kv_ld, 1, dq, k.q_ld);
    }
}

/* Sets T rows of `width` columns to 0, unless the gradient adds. */
static void clear(const sol_slot *s, int64_t at, int64_t T, int64_t width, int64_t ld)
{
    for (int64_t t = 0; t < T && !s->grad_add; t++) memset(s->grad + at + t * ld, 0, (size_t)width * sizeof(float));
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_attention_shape *a = c->attr;
    (void)thread;
    int64_t b = tile / a->kv_heads, group = a->heads / a->kv_heads, first = tile % a->kv_heads * group;
    block k = block_of(c, b, first, 0);
    clear(&c->in[0], k.q_at, a->time, group * a->head_dim, k.q_ld);
    clear(&c->in[1], k.kv_at, a->time, a->head_dim, k.kv_ld);
    clear(&c->in[2], k.kv_at, a->time, a->head_dim, k.kv_ld);
    for (int64_t h = first; h < first + group; h++)
        for (int64_t row = 0; row < a->time; row += ROWS) backward_block(c, b, h, row);
}

static void backward(const sol_op_call *c)
{
    const sol_attention_shape *a = c->attr;
    sol_pool_run(c->ctx->pool, a->batch * a->kv_heads, backward_tile, (void *)c);
}

static bool check_case(int i, sol_op_case *c)
{
    static const sol_attention_shape shape[] = {{2, 5, 4, 2, 4}, {1, 1, 1, 1, 2}, {1, 7, 3, 1, 3}, {1, 70, 1, 1, 2}};
    static const int32_t start[] = {0, 0, 0, 3, 3, 0, 1, 1, 1, 1}, none[70];
    if (i >= 4) return false;
    int64_t n = shape[i].batch * shape[i].time;
    c->in[0] = sol_shape2(n, shape[i].heads * shape[i].head_dim);
    c->in[1] = c->in[2] = sol_shape2(n, shape[i].kv_heads * shape[i].head_dim);
    c->in[3] = sol_shape1(n);
    c->ints[3] = n > 10 ? none : start;
    memcpy(c->attr, &shape[i], sizeof shape[i]);
    return true;
}

const sol_op sol_op_attention = {.name = "attention", .n_in = 4, .n_out = 2, .attr_size = sizeof(sol_attention_shape),
                                 .shapes = shapes, .forward = forward, .backward = backward, .reads_in = 15, .reads_out = 3,
                                 .check_case = check_case};

sol_var sol_attention(sol_tape *t, sol_var q, sol_var k, sol_var v, sol_var doc_start, const sol_attention_shape *shape)
{
    sol_var out[2];
    return sol_tape_apply(t, &sol_op_attention, (sol_var[]){q, k, v, doc_start}, out, shape);
}
