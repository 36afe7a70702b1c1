/* One layer's attention over KV caches: stores keys and values of new rows, then attends, a tile
 * some rows of a sequence and a kv head. */
#include <math.h>

#include "base/half.h"
#include "infer/net.h"

typedef struct attention_args {
    const sol_net *net;
    int64_t layer, n;
    const sol_row *rows;
} attention_args;

static int64_t qkv_width(const sol_model_config *c)
{
    return (c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim;
}

/* First element of kv head `head` of this layer in both caches, counted in positions of one head.
 */
static int64_t cache_at(const sol_kv *kv, int64_t layer, int64_t head)
{
    return (layer * kv->net->config.num_key_value_heads + head) * kv->capacity;
}

/* The scale that maps the largest |x| to 127, and 1 over it; both 0 for zeros. */
static float int8_scale(const float *x, int64_t n, float *inverse)
{
    float high = 0;
    for (int64_t i = 0; i < n; i++) high = fabsf(x[i]) > high ? fabsf(x[i]) : high;
    *inverse = high >= 0x1p-100f ? 127.0f / high : 0.0f;
    return high >= 0x1p-100f ? high / 127.0f : 0.0f;
}

/* Element d goes to place at + d * step of an int8 cache. A row that is not finite gets a scale
 * that is not, either. */
static void store_int8(int8_t *to, int64_t step, float *scale, const float *x, int64_t n)
{
    float inverse, sum = 0;
    *scale = int8_scale(x, n, &inverse);
    for (int64_t d = 0; d < n; d++) sum += x[d] * 0.0f;
    *scale += sum; /* NaN, or nothing */
    for (int64_t d = 0; d < n; d++) to[d * step] = sum == 0 ? (int8_t)lrintf(x[d] * inverse) : 0;
}

/* Key of one position: lane pos % 16 of its block. */
static void store_key(const sol_kv *kv, int64_t at, int64_t pos, const float *k)
{
    int64_t D = kv->net->config.head_dim,
            place = (at + pos / SOL_KV_BLOCK * SOL_KV_BLOCK) * D + pos % SOL_KV_BLOCK;
    if (kv->net->kv_type == SOL_F32)
        for (int64_t d = 0; d < D; d++) ((float *)kv->keys)[place + d * SOL_KV_BLOCK] = k[d];
    else if (kv->net->kv_type == SOL_F16)
        for (int64_t d = 0; d < D; d++)
            ((sol_f16 *)kv->keys)[place + d * SOL_KV_BLOCK] = sol_f32_to_f16(k[d]);
    else
        store_int8((int8_t *)kv->keys + place, SOL_KV_BLOCK, &kv->key_scale[at + pos], k, D);
}

static void store_value(const sol_kv *kv, int64_t at, int64_t pos, const float *v)
{
    int64_t D = kv->net->config.head_dim, place = (at + pos) * D;
    if (kv->net->kv_type == SOL_I8)
        store_int8((int8_t *)kv->values + place, 1, &kv->value_scale[at + pos], v, D);
    else
        sol_convert((char *)kv->values + (size_t)place * sol_dtype_size(kv->net->kv_type),
                    kv->net->kv_type, v, SOL_F32, D);
}

/* x[heads, D] normed by head, where the architecture does so. */
static void norm_heads(const sol_net *net, const float *w, float *x, int64_t heads)
{
    int64_t D = net->config.head_dim;
    if (w)
        for (int64_t h = 0; h < heads; h++, x += D)
            net->ctx->kernels.train_ops.rmsnorm(x, w, (float)net->config.rms_norm_eps, D, x);
}

/* x[heads, D] rotated to position pos, by the kernel that training uses. */
static void rotate_heads(const sol_net *net, int64_t pos, float *x, int64_t heads)
{
    int64_t D = net->config.head_dim, half = D / 2;
    sol_rope_rotation r = {.cosine = net->rope_cos + pos * half,
                           .sine = net->rope_sin + pos * half,
                           .sign = 1,
                           .half = half};
    for (int64_t h = 0; h < heads; h++, x += D) {
        r.x = r.y = x;
        net->ctx->kernels.train_ops.rope(&r);
    }
}

/* Row i: norms q and k, rotates them by its position where the layer does, writes k and v to the
 * cache. */
static void store_tile(void *arg, int64_t i, int thread)
{
    const attention_args *a = arg;
    const sol_net *net = a->net;
    const sol_model_config *c = &net->config;
    const sol_kv *kv = a->rows[i].kv;
    int64_t D = c->head_dim, K = c->num_key_value_heads, pos = net->scratch.pos[i];
    float *q = net->scratch.qkv + i * qkv_width(c), *k = q + c->num_attention_heads * D,
          *v = k + K * D;
    (void)thread;
    norm_heads(net, net->layers[a->layer].vector[SOL_ROLE_Q_NORM], q, c->num_attention_heads);
    norm_heads(net, net->layers[a->layer].vector[SOL_ROLE_K_NORM], k, K);
    if (sol_layer_has_rope(c, a->layer)) {
        rotate_heads(net, pos, q, c->num_attention_heads);
        rotate_heads(net, pos, k, K);
    }
    for (int64_t h = 0; h < K; h++) {
        int64_t at = cache_at(kv, a->layer, h);
        store_key(kv, at, pos, k + h * D);
        store_value(kv, at, pos, v + h * D);
    }
}

/* How many rows from row i on attend together, for one pass over the cache: those of its sequence
 * up to the next multiple of ATTEND_ROWS positions; 0 where the rows before have row i with them.
 */
enum { ATTEND_ROWS = 16 };
static int64_t rows_together(const attention_args *a, int64_t i)
{
    const sol_kv *kv = a->rows[i].kv;
    int64_t pos = a->net->scratch.pos[i], n = 1;
    if (i > 0 && a->rows[i - 1].kv == kv && pos % ATTEND_ROWS != 0) return 0;
    while (i + n < a->n && a->rows[i + n].kv == kv && (pos + n) % ATTEND_ROWS != 0) n++;
    return n;
}

/* The rows that attend from row i on, one kv head with the query heads that share it. All rows of a
 * head follow each other: its cache stays near. */
static void attend_tile(void *arg, int64_t tile, int thread)
{
    const attention_args *a = arg;
    const sol_net *net = a->net;
    const sol_model_config *c = &net->config;
    const sol_float_ops *f = &net->ctx->kernels.float_ops;
    int64_t H = c->num_attention_heads, K = c->num_key_value_heads, D = c->head_dim, group = H / K,
            h = tile / a->n, i = tile % a->n, rows = rows_together(a, i);
    const sol_kv *kv = a->rows[i].kv;
    int64_t at = cache_at(kv, a->layer, h);
    size_t bytes = (size_t)(at * D) * sol_dtype_size(net->kv_type);
    (void)thread;
    if (rows == 0) return;
    sol_attend_args t = {.q = net->scratch.qkv + i * qkv_width(c) + h * group * D,
                         .ldq = qkv_width(c),
                         .keys = (const char *)kv->keys + bytes,
                         .values = (const char *)kv->values + bytes,
                         .out = net->scratch.att + (i * H + h * group) * D,
                         .ldout = H * D,
                         .rows = rows,
                         .heads = group,
                         .D = D,
                         .n = net->scratch.pos[i] + 1,
                         .window = sol_layer_window(c, a->layer),
                         .scale = (float)(1.0 / sqrt((double)D))};
    if (net->kv_type == SOL_I8)
        t.key_scale = kv->key_scale + at, t.value_scale = kv->value_scale + at;
    (net->kv_type == SOL_F32   ? f->attend_f32
     : net->kv_type == SOL_F16 ? f->attend_f16
                               : f->attend_i8)(&t);
}

void net_attention(const sol_net *net, int64_t layer, const sol_row *rows, int64_t n)
{
    attention_args a = {.net = net, .layer = layer, .rows = rows, .n = n};
    sol_pool_run(net->ctx->pool, n, store_tile, &a);
    sol_pool_run(net->ctx->pool, n * net->config.num_key_value_heads, attend_tile, &a);
}
