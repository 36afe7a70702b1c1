/* Attention with products of bf16 operands and fp32 sums: q, k, v, p, do and ds are rounded,
 * softmax and all sums stay in fp32. A tile is a kv head of a batch row with all its query heads,
 * forward and backward: its keys and values are packed once. */
#include "autograd/attention.h"
#include "base/num.h"
#include "kernels/gemm.h"

/* The workspace of one tile: its packed matrices, and what one block of rows needs; the blocks come
 * one after the other. */
typedef struct tile_workspace {
    const sol_op_call *c;
    int64_t b, kvh, T, D, ld;             /* ld: of scores; T in whole tiles of a product */
    sol_packed_operand k_columns, v_rows; /* k^T [D, T], v [T, D] */
    sol_packed_operand k_rows, v_columns; /* backward: k [T, D], v^T [D, T] */
    uint16_t *left, *right;               /* an operand of a block, its edge or k at most 64 */
    float *s, *ds, *o;                    /* [64, ld], [64, ld], [64, D] */
} tile_workspace;

typedef struct sizes {
    size_t matrix, operand, scores, out; /* bytes; the first: k or v, packed either way */
} sizes;

/* Columns of a row of scores: T in whole steps of a product. */
static int64_t score_width(int64_t T)
{
    return sol_round_up(T, SOL_BF16_STEP);
}

static sizes sizes_of(const sol_op_call *c)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    int64_t longest = a->time > a->head_dim ? a->time : a->head_dim;
    sizes z = {.matrix = sol_max_size(sol_bf16_packed_bytes(a->time, a->head_dim),
                                      sol_bf16_packed_bytes(a->head_dim, a->time)),
               .operand = sol_max_size(sol_bf16_packed_bytes(SOL_ATTENTION_ROWS, longest),
                                       sol_bf16_packed_bytes(longest, SOL_ATTENTION_ROWS)),
               .scores = (size_t)(SOL_ATTENTION_ROWS * score_width(a->time)) * sizeof(float)};
    z.out = (size_t)(SOL_ATTENTION_ROWS * a->head_dim) * sizeof(float);
    return z;
}

/* Bytes of the workspace of one tile. */
static size_t tile_bytes(const sizes *z, bool backward)
{
    return (backward ? 4 : 2) * z->matrix + 2 * z->operand + 2 * z->scores + z->out;
}

size_t sol_attention_bf16_workspace(const sol_op_call *c, bool backward)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    sizes z = sizes_of(c);
    return (size_t)(a->batch * a->kv_heads) * tile_bytes(&z, backward);
}

/* The next `bytes` of a workspace. */
static void *take(unsigned char **at, size_t bytes)
{
    void *p = *at;
    *at += bytes;
    return p;
}

/* Divides the workspace of a tile, and packs its keys and values. */
static tile_workspace enter(const sol_op_call *c, int64_t tile, bool backward)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    sizes z = sizes_of(c);
    unsigned char *at = (unsigned char *)c->workspace + (size_t)tile * tile_bytes(&z, backward);
    tile_workspace r = {.c = c,
                        .b = tile / a->kv_heads,
                        .kvh = tile % a->kv_heads,
                        .T = a->time,
                        .D = a->head_dim,
                        .ld = score_width(a->time)};
    int64_t ld = a->kv_heads * r.D, first = r.b * r.T * ld + r.kvh * r.D;
    sol_operand k = {(const float *)c->in[1].data + first, ld, false, false},
                v = {(const float *)c->in[2].data + first, ld, false, false};
    sol_operand k_t = k, v_t = v;
    k_t.trans = v_t.trans = true;
    r.k_columns = sol_bf16_pack(c->ctx, &k_t, true, r.T, r.D, 1, take(&at, z.matrix));
    if (backward) {
        r.k_rows = sol_bf16_pack(c->ctx, &k, true, r.D, r.T, 1, take(&at, z.matrix));
        r.v_columns = sol_bf16_pack(c->ctx, &v_t, true, r.T, r.D, 1, take(&at, z.matrix));
    } else {
        r.v_rows = sol_bf16_pack(c->ctx, &v, true, r.D, r.T, 1, take(&at, z.matrix));
    }
    r.left = take(&at, z.operand);
    r.right = take(&at, z.operand);
    r.s = take(&at, z.scores);
    r.ds = take(&at, z.scores);
    r.o = take(&at, z.out);
    return r;
}

/* The block's columns from a whole step of a product on. */
static sol_attention_block block_at(const tile_workspace *r, int64_t h, int64_t row)
{
    sol_attention_block k = sol_attention_block_of(r->c, r->b, h, row);
    int64_t early = k.column % SOL_BF16_STEP;
    k.column -= early;
    k.columns += early;
    k.kv_at -= early * k.kv_ld;
    return k;
}

/* S [rows, columns] = scale X Y^T for the rows of X in the block and the packed columns Y. */
static void score(const tile_workspace *r, const sol_attention_block *k, const float *x,
                  float scale, sol_packed_operand y, float *s)
{
    sol_operand rows = {x + k->q_at, k->q_ld, false, false};
    sol_packed_operand a = sol_bf16_pack(r->c->ctx, &rows, false, k->rows, r->D, scale, r->left);
    sol_bf16_multiply(r->c->ctx, a, sol_packed_part(y, k->column, 0), k->rows, k->columns, r->D, 0,
                      s, r->ld);
}

/* C [rows, D] = P Y over the block's columns, Y packed by rows; beta C is added. */
static void mix(const tile_workspace *r, const sol_attention_block *k, const float *p,
                sol_packed_operand y, float beta, float *c, int64_t ldc)
{
    sol_operand rows = {p, r->ld, false, false};
    sol_packed_operand a = sol_bf16_pack(r->c->ctx, &rows, false, k->rows, k->columns, 1, r->left);
    sol_bf16_multiply(r->c->ctx, a, sol_packed_part(y, 0, k->column), k->rows, r->D, k->columns,
                      beta, c, ldc);
}

/* C [columns, D] += P^T X for the rows of X in the block. */
static void spread(const tile_workspace *r, const sol_attention_block *k, const float *p,
                   const float *x, float *c)
{
    sol_operand columns = {p, r->ld, true, false}, rows = {x + k->q_at, k->q_ld, false, false};
    sol_packed_operand a =
        sol_bf16_pack(r->c->ctx, &columns, false, k->columns, k->rows, 1, r->left);
    sol_packed_operand b = sol_bf16_pack(r->c->ctx, &rows, true, r->D, k->rows, 1, r->right);
    sol_bf16_multiply(r->c->ctx, a, b, k->columns, r->D, k->rows, 1, c + k->kv_at, k->kv_ld);
}

static void forward_block(const tile_workspace *r, int64_t h, int64_t row)
{
    const sol_op_call *c = r->c;
    sol_attention_block k = block_at(r, h, row);
    float *norm = (float *)c->out[1].data + k.norm_at;
    int64_t from, to;
    score(r, &k, c->in[0].data, k.scale, r->k_columns, r->s);
    for (int64_t i = 0; i < k.rows; i++) {
        sol_attention_visible(&k, i, &from, &to);
        c->ctx->kernels.train_ops.softmax(r->s + i * r->ld, k.columns, from, to, norm + 2 * i);
    }
    mix(r, &k, r->s, r->v_rows, 0, r->o, r->D);
    for (int64_t i = 0; i < k.rows; i++) {
        float *o = r->o + i * r->D;
        for (int64_t d = 0; d < r->D; d++) o[d] *= norm[2 * i + 1];
        c->ctx->kernels.elementwise.to_bf16(o, r->D,
                                            (uint16_t *)c->out[0].data + k.q_at + i * k.q_ld);
    }
}

static void forward_tile(void *arg, int64_t tile, int thread)
{
    const sol_attention_shape *a = sol_attention_shape_of(arg);
    tile_workspace r = enter(arg, tile, false);
    int64_t group = a->heads / a->kv_heads;
    (void)thread;
    for (int64_t h = r.kvh * group; h < (r.kvh + 1) * group; h++)
        for (int64_t row = 0; row < a->time; row += SOL_ATTENTION_ROWS) forward_block(&r, h, row);
}

void sol_attention_bf16_forward(const sol_op_call *c)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    sol_pool_run(c->ctx->pool, a->batch * a->kv_heads, forward_tile, (void *)c);
}

static void backward_block(const tile_workspace *r, int64_t h, int64_t row)
{
    const sol_op_call *c = r->c;
    sol_attention_block k = block_at(r, h, row);
    const float *norm = (const float *)c->out[1].data + k.norm_at;
    int64_t from, to;
    score(r, &k, c->in[0].data, k.scale, r->k_columns, r->s);
    score(r, &k, c->out[0].grad, 1, r->v_columns, r->ds);
    for (int64_t i = 0; i < k.rows; i++) {
        sol_attention_visible(&k, i, &from, &to);
        c->ctx->kernels.train_ops.softmax_backward(r->s + i * r->ld, r->ds + i * r->ld, k.columns,
                                                   from, to, norm + 2 * i, k.scale);
    }
    if (c->in[2].grad) spread(r, &k, r->s, c->out[0].grad, c->in[2].grad);
    if (c->in[1].grad) spread(r, &k, r->ds, c->in[0].data, c->in[1].grad);
    if (c->in[0].grad)
        mix(r, &k, r->ds, r->k_rows, c->in[0].grad_add, c->in[0].grad + k.q_at, k.q_ld);
}

static void backward_tile(void *arg, int64_t tile, int thread)
{
    const sol_op_call *c = arg;
    const sol_attention_shape *a = sol_attention_shape_of(c);
    tile_workspace r = enter(c, tile, true);
    int64_t group = a->heads / a->kv_heads, ld = a->kv_heads * r.D,
            at = r.b * r.T * ld + r.kvh * r.D;
    (void)thread;
    sol_attention_clear(&c->in[1], at, r.T, r.D, ld);
    sol_attention_clear(&c->in[2], at, r.T, r.D, ld);
    for (int64_t h = r.kvh * group; h < (r.kvh + 1) * group; h++)
        for (int64_t row = 0; row < a->time; row += SOL_ATTENTION_ROWS) backward_block(&r, h, row);
}

void sol_attention_bf16_backward(const sol_op_call *c)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    sol_pool_run(c->ctx->pool, a->batch * a->kv_heads, backward_tile, (void *)c);
}
