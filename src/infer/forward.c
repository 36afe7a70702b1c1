/* The forward pass of inference: embedding, blocks, final norm, for rows of any mix of
 * sequences, over scratch memory that grows with them. net.c made the matrices, attention.c has
 * the cache, logits.c the logits. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "infer/net.h"

void net_scratch_free(net_scratch *s)
{
    void *block[] = {s->x,   s->h,   s->qkv,      s->att,    s->gate_up,
                     s->act, s->pos, s->selected, s->logits, s->kernel};
    for (size_t i = 0; i < sizeof block / sizeof block[0]; i++) sol_free(block[i]);
    *s = (net_scratch){0};
}

static size_t kernel_scratch(const sol_net *net, int64_t n)
{
    size_t max = sol_max_size(1, sol_matrix_scratch_bytes(net->ctx, net->embed, 1));
    max =
        sol_max_size(max, sol_matrix_scratch_bytes(net->ctx, net->head, sol_min_i64(n, HEAD_ROWS)));
    for (int64_t l = 0; l < net->config.num_hidden_layers; l++)
        for (int m = 0; m < NET_MATRICES; m++)
            max =
                sol_max_size(max, sol_matrix_scratch_bytes(net->ctx, net->layers[l].matrix[m], n));
    return max;
}

size_t sol_net_row_bytes(const sol_model_config *c)
{
    int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
    int64_t floats = 3 * c->hidden_size + 2 * q + 2 * kv + 3 * c->intermediate_size;
    int64_t cache = 2 * c->num_hidden_layers * kv;
    return (size_t)(floats + cache) * sizeof(float) + sizeof(int64_t);
}

static sol_status alloc_scratch(sol_net *net, int64_t n, sol_err *err)
{
    const sol_model_config *c = &net->config;
    net_scratch *s = &net->scratch;
    int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
    int64_t cols = sol_min_i64(c->vocab_size, HEAD_COLS);
    const struct {
        void **block;
        int64_t width;
        size_t size;
    } want[] = {
        {(void **)&s->x, c->hidden_size, 4},
        {(void **)&s->h, c->hidden_size, 4},
        {(void **)&s->qkv, q + 2 * kv, 4},
        {(void **)&s->att, q, 4},
        {(void **)&s->gate_up, 2 * c->intermediate_size, 4},
        {(void **)&s->act, c->intermediate_size, 4},
        {(void **)&s->pos, 1, sizeof *s->pos},
        {(void **)&s->selected, c->hidden_size, 4},
    };
    SOL_TRY(sol_alloc_array(&s->kernel, kernel_scratch(net, n), 1, err));
    SOL_TRY(sol_alloc_array((void **)&s->logits, (size_t)(cols * HEAD_ROWS), sizeof(float), err));
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        size_t count;
        SOL_TRY(sol_size_mul((size_t)n, (size_t)want[i].width, &count, err));
        SOL_TRY(sol_alloc_array(want[i].block, count, want[i].size, err));
    }
    s->rows = n;
    return SOL_OK;
}

/* Makes the scratch hold at least n rows. */
static sol_status reserve(sol_net *net, int64_t n, sol_err *err)
{
    if (n <= net->scratch.rows) return SOL_OK;
    net_scratch_free(&net->scratch);
    sol_status st = alloc_scratch(net, n, err);
    if (st != SOL_OK) net_scratch_free(&net->scratch);
    return st;
}

static sol_status check_row(const sol_net *net, const sol_row *row, sol_err *err)
{
    int64_t V = net->config.vocab_size;
    if (row->token < 0 || row->token >= V)
        return sol_fail(err, SOL_ERR_RANGE, "token %d: the vocabulary is 0..%lld", row->token,
                        (long long)V - 1);
    if (row->kv->n >= row->kv->limit)
        return sol_fail(err, SOL_ERR_RANGE, "the context of %lld tokens is full",
                        (long long)row->kv->limit);
    return SOL_OK;
}

/* Whether every token is in the vocabulary and every kv can take its rows: they are counted in and
 * out again, because several may share one kv. */
static sol_status check_rows(const sol_net *net, const sol_row *rows, int64_t n, sol_err *err)
{
    sol_status st = SOL_OK;
    int64_t i = 0;
    for (; i < n; i++) {
        st = check_row(net, &rows[i], err);
        if (st != SOL_OK) break;
        rows[i].kv->n++;
    }
    while (i > 0) rows[--i].kv->n--;
    return st;
}

typedef struct row_args {
    const sol_net *net;
    const float *norm;
    int64_t width; /* of a row that is normed */
    const float *x;
    float *y;
} row_args;

static void norm_tile(void *arg, int64_t i, int thread)
{
    const row_args *a = arg;
    const float *x = a->x + i * a->width;
    float *y = a->y + i * a->width;
    (void)thread;
    a->net->ctx->kernels.train_ops.rmsnorm(x, a->norm, (float)a->net->config.rms_norm_eps, a->width,
                                           y);
}

static void add_tile(void *arg, int64_t i, int thread)
{
    const row_args *a = arg;
    int64_t C = a->net->config.hidden_size;
    (void)thread;
    a->net->ctx->kernels.float_ops.add(a->y + i * C, a->x + i * C, C);
}

static void swiglu_tile(void *arg, int64_t i, int thread)
{
    const sol_net *net = ((const row_args *)arg)->net;
    int64_t F = net->config.intermediate_size;
    const float *gate = net->scratch.gate_up + i * 2 * F;
    (void)thread;
    net->ctx->kernels.float_ops.swiglu(gate, gate + F, F, net->scratch.act + i * F);
}

static void norm_rows(const sol_net *net, const float *norm, const float *x, int64_t n, float *y)
{
    row_args a = {.net = net, .norm = norm, .width = net->config.hidden_size, .x = x, .y = y};
    sol_pool_run(net->ctx->pool, n, norm_tile, &a);
}

/* In place, what o or down reads, where the model norms it. */
static void sub_norm_rows(const sol_net *net, int64_t layer, sol_role role, int64_t n, float *x)
{
    const float *norm = net->layers[layer].vector[role];
    int64_t width = sol_dim_size(&net->config, sol_param_rows[role].cols);
    row_args a = {.net = net, .norm = norm, .width = width, .x = x, .y = x};
    if (net->config.sub_norm) sol_pool_run(net->ctx->pool, n, norm_tile, &a);
}

/* x += h */
static void add_rows(const sol_net *net, int64_t n)
{
    row_args a = {.net = net, .x = net->scratch.h, .y = net->scratch.x};
    sol_pool_run(net->ctx->pool, n, add_tile, &a);
}

/* y = the product of matrix `which` with x, whose values it may round. */
static void linear(const sol_net *net, int64_t layer, int which, float *x, int64_t n, float *y)
{
    const sol_matrix *m = net->layers[layer].matrix[which];
    net_round_activations(net, x, n, sol_matrix_cols(m));
    sol_matrix_matmul(net->ctx, m, net->act, x, n, y, net->scratch.kernel);
}

/* Rows of a call, and which of them have an output that is asked for. */
typedef struct forward_rows {
    const sol_row *row;     /* [n] */
    const int32_t *targets; /* [n], negative: none is asked for; NULL: row[i].want_logits says it */
    int64_t n;
} forward_rows;

static bool is_wanted(const forward_rows *r, int64_t i)
{
    return r->targets ? r->targets[i] >= 0 : r->row[i].want_logits;
}

/* Moves the residual stream and the attention of the wanted rows to the front; returns how many
 * they are. */
static int64_t keep_wanted(const net_scratch *s, const sol_model_config *c, const forward_rows *r)
{
    size_t C = (size_t)c->hidden_size, A = (size_t)(c->num_attention_heads * c->head_dim), m = 0;
    for (int64_t i = 0; i < r->n; i++) {
        if (!is_wanted(r, i)) continue;
        memmove(s->x + m * C, s->x + (size_t)i * C, C * sizeof(float));
        memmove(s->att + m * A, s->att + (size_t)i * A, A * sizeof(float));
        m++;
    }
    return (int64_t)m;
}

/* Returns how many rows have gone through: behind the attention of the last layer only the wanted
 * ones do. */
static int64_t layer_forward(const sol_net *net, int64_t layer, const forward_rows *r)
{
    int64_t n = r->n;
    const net_layer *l = &net->layers[layer];
    const net_scratch *s = &net->scratch;
    row_args a = {.net = net};
    norm_rows(net, l->vector[SOL_ROLE_INPUT_NORM], s->x, n, s->h);
    linear(net, layer, NET_QKV, s->h, n, s->qkv);
    net_attention(net, layer, r->row, n);
    if (layer + 1 == net->config.num_hidden_layers) n = keep_wanted(s, &net->config, r);
    if (n == 0) return 0;
    sub_norm_rows(net, layer, SOL_ROLE_ATTN_SUB_NORM, n, s->att);
    linear(net, layer, NET_O, s->att, n, s->h);
    add_rows(net, n);
    norm_rows(net, l->vector[SOL_ROLE_POST_NORM], s->x, n, s->h);
    linear(net, layer, NET_GATE_UP, s->h, n, s->gate_up);
    sol_pool_run(net->ctx->pool, n, swiglu_tile, &a);
    sub_norm_rows(net, layer, SOL_ROLE_FFN_SUB_NORM, n, s->act);
    linear(net, layer, NET_DOWN, s->act, n, s->h);
    add_rows(net, n);
    return n;
}

/* Embedding, blocks and the final norm: scratch.selected holds the wanted rows, whose number is
 * returned. */
static int64_t blocks_forward(const sol_net *net, const forward_rows *r)
{
    const net_scratch *s = &net->scratch;
    int64_t C = net->config.hidden_size, m = 0;
    for (int64_t i = 0; i < r->n; i++) {
        sol_matrix_row(net->embed, r->row[i].token, s->x + i * C, s->kernel);
        s->pos[i] = r->row[i].kv->n++;
    }
    for (int64_t l = 0; l < net->config.num_hidden_layers; l++) m = layer_forward(net, l, r);
    norm_rows(net, net->final_norm, s->x, m, s->selected);
    return m;
}

sol_status sol_net_forward(sol_net *net, const sol_row *rows, int64_t n, float *logits,
                           sol_err *err)
{
    SOL_TRY(check_rows(net, rows, n, err));
    SOL_TRY(reserve(net, sol_min_i64(n, net->max_rows), err));
    for (int64_t i = 0; i < n; i += net->max_rows) {
        forward_rows r = {.row = rows + i, .n = sol_min_i64(n - i, net->max_rows)};
        int64_t m = blocks_forward(net, &r);
        net_head_logits(net, net->scratch.selected, m, logits);
        if (m) logits += m * net->config.vocab_size;
    }
    return SOL_OK;
}

static sol_status check_targets(const sol_net *net, const int32_t *targets, int64_t n, sol_err *err)
{
    int64_t V = net->config.vocab_size;
    for (int64_t i = 0; i < n; i++)
        if (targets[i] >= V)
            return sol_fail(err, SOL_ERR_RANGE, "token %d: the vocabulary is 0..%lld", targets[i],
                            (long long)V - 1);
    return SOL_OK;
}

/* The selected rows' log-probabilities, spread to the rows they belong to. */
static void rows_logprobs(const sol_net *net, const forward_rows *r, double *logprob)
{
    int64_t m = blocks_forward(net, r), next = 0, C = net->config.hidden_size;
    const int32_t *targets = r->targets;
    int32_t want[HEAD_ROWS];
    double got[HEAD_ROWS];
    for (int64_t done = 0; done < m; done += HEAD_ROWS) {
        int64_t part = sol_min_i64(m - done, HEAD_ROWS), from = next;
        for (int64_t k = 0; k < part; next++)
            if (targets[next] >= 0) want[k++] = targets[next];
        net_head_logprobs(net, net->scratch.selected + done * C, part, want, got);
        for (int64_t i = from, k = 0; i < next; i++) logprob[i] = targets[i] >= 0 ? got[k++] : 0;
    }
    for (; next < r->n; next++) logprob[next] = 0;
}

sol_status sol_net_logprobs(sol_net *net, const sol_row *rows, int64_t n, const int32_t *targets,
                            double *logprob, sol_err *err)
{
    SOL_TRY(check_rows(net, rows, n, err));
    SOL_TRY(check_targets(net, targets, n, err));
    SOL_TRY(reserve(net, sol_min_i64(n, net->max_rows), err));
    for (int64_t i = 0; i < n; i += net->max_rows) {
        forward_rows r = {rows + i, targets + i, sol_min_i64(n - i, net->max_rows)};
        rows_logprobs(net, &r, logprob + i);
    }
    return SOL_OK;
}
