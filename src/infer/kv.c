/* Makes, clears and cuts KV caches, and the RoPE tables that grow with the longest of them.
 * attention.c fills and reads them. */
#include "base/mem.h"
#include "base/num.h"
#include "infer/net.h"

/* Tables for positions [0, n). */
static sol_status reserve_rope(sol_net *net, int64_t n, sol_err *err)
{
    if (n <= net->rope_positions) return SOL_OK;
    int64_t max = net->config.max_position_embeddings, want = 2 * net->rope_positions;
    want = want < n ? n : want;
    want = want > max ? max : want;
    float *c = NULL, *s = NULL;
    size_t count = (size_t)(want * (net->config.head_dim / 2));
    sol_status st = sol_alloc_array((void **)&c, count, sizeof *c, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&s, count, sizeof *s, err);
    if (st != SOL_OK) {
        sol_free(c);
        return st;
    }
    sol_rope_tables(&net->config, want, c, s);
    sol_free(net->rope_cos);
    sol_free(net->rope_sin);
    net->rope_cos = c;
    net->rope_sin = s;
    net->rope_positions = want;
    return SOL_OK;
}

sol_status sol_kv_create(sol_kv **out, sol_net *net, int64_t n_positions, sol_err *err)
{
    sol_kv *kv = NULL;
    *out = NULL;
    int64_t max = net->config.max_position_embeddings;
    if (n_positions < 1 || n_positions > max)
        return sol_fail(err, SOL_ERR_RANGE,
                        "a context of %lld tokens was asked for: the model has 1..%lld",
                        (long long)n_positions, (long long)max);
    sol_status st = reserve_rope(net, n_positions, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&kv, 1, sizeof *kv, err);
    if (st != SOL_OK) return st;
    *kv = (sol_kv){.net = net, .limit = n_positions};
    kv->capacity = sol_round_up(n_positions, SOL_KV_BLOCK);
    const sol_model_config *c = &net->config;
    size_t lanes, count;
    st = sol_size_mul((size_t)kv->capacity, (size_t)(c->num_hidden_layers * c->num_key_value_heads),
                      &lanes, err);
    if (st == SOL_OK) st = sol_size_mul(lanes, (size_t)c->head_dim, &count, err);
    if (st == SOL_OK) st = sol_alloc_array(&kv->keys, count, sol_dtype_size(net->kv_type), err);
    if (st == SOL_OK) st = sol_alloc_array(&kv->values, count, sol_dtype_size(net->kv_type), err);
    if (st == SOL_OK && net->kv_type == SOL_I8) {
        st = sol_alloc_array((void **)&kv->key_scale, lanes, sizeof(float), err);
        if (st == SOL_OK)
            st = sol_alloc_array((void **)&kv->value_scale, lanes, sizeof(float), err);
    }
    if (st != SOL_OK) sol_kv_free(&kv);
    *out = kv;
    return st;
}

void sol_kv_free(sol_kv **kv)
{
    if (!*kv) return;
    sol_free((*kv)->keys);
    sol_free((*kv)->values);
    sol_free((*kv)->key_scale);
    sol_free((*kv)->value_scale);
    sol_free(*kv);
    *kv = NULL;
}

void sol_kv_truncate(sol_kv *kv, int64_t n)
{
    if (n < kv->n) kv->n = n < 0 ? 0 : n;
}

int64_t sol_kv_length(const sol_kv *kv)
{
    return kv->n;
}

int64_t sol_kv_capacity(const sol_kv *kv)
{
    return kv->limit;
}
