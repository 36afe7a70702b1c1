#include <math.h>

#include "base/half.h"
#include "infer/net.h"

typedef struct attention_args {
    const sol_net *net;
    int64_t layer;
    const sol_row *rows;
} attention_args;

static int64_t qkv_width(const sol_model_config *c)
{
    return (c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim;
}

/* First element of kv head `head` of this layer in both caches. */
static size_t cache_at(const sol_kv *kv, int64_t layer, int64_t head)
{
    const sol_model_config *c = &kv->net->config;
    return (size_t)((layer * c->num_key_value_heads + head) * kv->capacity * c->head_dim);
}

static void store_key(const sol_kv *kv, size_t at, int64_t pos, const float *k)
{
    int64_t D = kv->net->config.head_dim;
    at += (size_t)(pos / SOL_KV_BLOCK * SOL_KV_BLOCK * D + pos % SOL_KV_BLOCK);
    if (kv->net->kv_type == SOL_F32)
        for (int64_t d = 0; d < D; d++) ((float *)kv->keys)[at + (size_t)(d * SOL_KV_BLOCK)] = k[d];
    else
        for (int64_t d = 0; d < D; d++) ((sol_f16 *)kv->keys)[at + (size_t)(d * SOL_KV_BLOCK)] = sol_f32_to_f16(k[d]);
}

/* Row i: rotates q and k by its position, writes k and v to the cache. */
static void store_tile(void *arg, int64_t i, int thread)
{
    const attention_args *a = arg;
    const sol_net *net = a->net;
    const sol_model_config *c = &net->config;
    const sol_kv *kv = a->rows[i].kv;
    int64_t D = c->head_dim, K = c->num_key_value_heads, pos = net->scratch.pos[i];
    float *q = net->scratch.qkv + i * qkv_width(c), *k = q + c->num_attention_heads * D, *v = k + K * D;
    const float *cos_row = net->rope_cos + pos * (D / 2), *sin_row = net->rope_sin + pos * (D / 2);
    (void)thread;
    net->ctx->k.f.rope(q, cos_row, sin_row, c->num_attention_heads, D);
    net->ctx->k.f.rope(k, cos_row, sin_row, K, D);
    for (int64_t h = 0; h < K; h++) {
        size_t at = cache_at(kv, a->layer, h);
        store_key(kv, at, pos, k + h * D);
        sol_convert((char *)kv->values + (at + (size_t)(pos * D)) * sol_dtype_size(net->kv_type), net->kv_type, v + h * D,
                    SOL_F32, D);
    }
}

/* One row, one kv head with the query heads that share it. */
static void attend_tile(void *arg, int64_t tile, int thread)
{
    const attention_args *a = arg;
    const sol_net *net = a->net;
    const sol_model_config *c = &net->config;
    int64_t K = c->num_key_value_heads, D = c->head_dim, group = c->num_attention_heads / K, i = tile / K, h = tile % K;
    const sol_kv *kv = a->rows[i].kv;
    size_t at = cache_at(kv, a->layer, h) * sol_dtype_size(net->kv_type);
    (void)thread;
    sol_attend_args t = {.q = net->scratch.qkv + i * qkv_width(c) + h * group * D, .ldq = D,
                         .keys = (const char *)kv->keys + at, .values = (const char *)kv->values + at,
                         .out = net->scratch.att + (i * c->num_attention_heads + h * group) * D, .ldout = D, .heads = group,
                         .D = D, .n = net->scratch.pos[i] + 1, .scale = (float)(1.0 / sqrt((double)D))};
    (net->kv_type == SOL_F32 ? net->ctx->k.f.attend_f32 : net->ctx->k.f.attend_f16)(&t);
}

void net_attention(const sol_net *net, int64_t layer, const sol_row *rows, int64_t n)
{
    attention_args a = {.net = net, .layer = layer, .rows = rows};
    sol_pool_run(net->ctx->pool, n, store_tile, &a);
    sol_pool_run(net->ctx->pool, n * net->config.num_key_value_heads, attend_tile, &a);
}
