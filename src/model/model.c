#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"

/* Parameters of one block, in the order of the flat block. */
static const struct {
    const char *name;
    sol_param_kind kind;
} block_params[SOL_BLOCK_PARAMS] = {
    [SOL_ROLE_INPUT_NORM] = {"input_layernorm", SOL_PARAM_NORM},
    [SOL_ROLE_Q] = {"self_attn.q_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_K] = {"self_attn.k_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_V] = {"self_attn.v_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_O] = {"self_attn.o_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_POST_NORM] = {"post_attention_layernorm", SOL_PARAM_NORM},
    [SOL_ROLE_GATE] = {"mlp.gate_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_UP] = {"mlp.up_proj", SOL_PARAM_LINEAR},
    [SOL_ROLE_DOWN] = {"mlp.down_proj", SOL_PARAM_LINEAR},
};

static void block_shape(const sol_model_config *c, sol_role which, int64_t *rows, int64_t *cols)
{
    int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
    *rows = 1;
    *cols = c->hidden_size;
    switch (which) {
    case SOL_ROLE_INPUT_NORM:
    case SOL_ROLE_POST_NORM:
    case SOL_BLOCK_PARAMS: break;
    case SOL_ROLE_Q: *rows = q; break;
    case SOL_ROLE_K:
    case SOL_ROLE_V: *rows = kv; break;
    case SOL_ROLE_O: *rows = c->hidden_size, *cols = q; break;
    case SOL_ROLE_GATE:
    case SOL_ROLE_UP: *rows = c->intermediate_size; break;
    case SOL_ROLE_DOWN: *rows = c->hidden_size, *cols = c->intermediate_size; break;
    }
}

/* Appends the parameter whose name is already written. */
static void add_param(sol_model *m, sol_param_kind kind, int layer, int64_t rows, int64_t cols)
{
    sol_param *p = &m->params[m->n_params++];
    p->kind = kind;
    p->layer = layer;
    p->rows = rows;
    p->cols = cols;
    p->offset = m->n_elements;
    m->n_weights += rows * cols;
    m->n_elements += (rows * cols + SOL_PARAM_ALIGN - 1) / SOL_PARAM_ALIGN * SOL_PARAM_ALIGN;
}

static void fill_table(sol_model *m)
{
    const sol_model_config *c = &m->config;
    snprintf(m->params[0].name, sizeof m->params[0].name, "model.embed_tokens.weight");
    add_param(m, SOL_PARAM_EMBED, -1, c->vocab_size, c->hidden_size);
    for (int layer = 0; layer < c->num_hidden_layers; layer++) {
        for (int which = 0; which < SOL_BLOCK_PARAMS; which++) {
            int64_t rows, cols;
            char *name = m->params[m->n_params].name;
            snprintf(name, sizeof m->params[0].name, "model.layers.%d.%s.weight", layer, block_params[which].name);
            block_shape(c, (sol_role)which, &rows, &cols);
            add_param(m, block_params[which].kind, layer, rows, cols);
        }
    }
    snprintf(m->params[m->n_params].name, sizeof m->params[0].name, "model.norm.weight");
    add_param(m, SOL_PARAM_NORM, -1, 1, c->hidden_size);
    if (c->tie_word_embeddings) return;
    snprintf(m->params[m->n_params].name, sizeof m->params[0].name, "lm_head.weight");
    add_param(m, SOL_PARAM_HEAD, -1, c->vocab_size, c->hidden_size);
}

sol_status sol_model_describe(sol_model **out, const sol_model_config *c, sol_dtype dtype, sol_err *err)
{
    sol_model *m = NULL;
    *out = NULL;
    sol_status st = sol_model_config_check(c, err);
    if (st == SOL_OK && dtype != SOL_F32 && dtype != SOL_BF16)
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "parameters are held as f32 or bf16, not as %s", sol_dtype_name(dtype));
    if (st == SOL_OK) st = sol_alloc_array((void **)&m, 1, sizeof *m, err);
    if (st != SOL_OK) return st;
    m->config = *c;
    m->dtype = dtype;
    size_t count = (size_t)c->num_hidden_layers * SOL_BLOCK_PARAMS + 3;
    st = sol_alloc_array((void **)&m->params, count, sizeof *m->params, err);
    if (st != SOL_OK) {
        sol_model_free(&m);
        return st;
    }
    fill_table(m);
    *out = m;
    return SOL_OK;
}

sol_status sol_model_create(sol_model **out, const sol_model_config *c, sol_dtype dtype, sol_err *err)
{
    sol_status st = sol_model_describe(out, c, dtype, err);
    if (st != SOL_OK) return st;
    st = sol_alloc_array(&(*out)->data, (size_t)(*out)->n_elements, sol_dtype_size(dtype), err);
    if (st != SOL_OK) sol_model_free(out);
    return st;
}

void sol_model_free(sol_model **m)
{
    if (!*m) return;
    sol_free((*m)->data);
    sol_free((*m)->params);
    sol_free(*m);
    *m = NULL;
}

const sol_param *sol_model_param(const sol_model *m, const char *name)
{
    for (int i = 0; i < m->n_params; i++)
        if (strcmp(m->params[i].name, name) == 0) return &m->params[i];
    return NULL;
}

const sol_param *sol_model_by_role(const sol_model *m, int64_t layer, sol_role which)
{
    return &m->params[1 + layer * SOL_BLOCK_PARAMS + which];
}

const sol_param *sol_model_embedding(const sol_model *m)
{
    return &m->params[0];
}

const sol_param *sol_model_final_norm(const sol_model *m)
{
    return &m->params[1 + m->config.num_hidden_layers * SOL_BLOCK_PARAMS];
}

const sol_param *sol_model_head(const sol_model *m)
{
    return m->config.tie_word_embeddings ? &m->params[0] : sol_model_final_norm(m) + 1;
}

void *sol_model_at(const sol_model *m, const sol_param *p)
{
    return (char *)m->data + (size_t)p->offset * sol_dtype_size(m->dtype);
}

float *sol_model_f32(const sol_model *m, const sol_param *p)
{
    return (float *)m->data + p->offset;
}

int64_t sol_param_count(const sol_param *p)
{
    return p->rows * p->cols;
}

typedef struct init_args {
    void *out;
    sol_dtype dtype;
    int64_t first, n;
    uint64_t seed, stream;
    float std;
} init_args;

enum { INIT_TILE = 1 << 16 };

static void store(void *out, sol_dtype dtype, int64_t i, float x)
{
    if (dtype == SOL_F32)
        ((float *)out)[i] = x;
    else
        ((sol_bf16 *)out)[i] = sol_f32_to_bf16(x);
}

/* Element i of a parameter comes from word i % 4 of the stream's block i / 4: two Box-Muller pairs a block. */
static void init_tile(void *arg, int64_t tile, int thread)
{
    const init_args *a = arg;
    (void)thread;
    int64_t begin = a->first + tile * INIT_TILE, end = begin + INIT_TILE;
    if (end > a->first + a->n) end = a->first + a->n;
    for (int64_t i = begin - begin % 4; i < end; i += 4) {
        uint32_t word[4];
        float z[4];
        sol_philox4x32(a->seed, a->stream, (uint64_t)i / 4, word);
        for (int pair = 0; pair < 4; pair += 2) {
            float u = ((float)(word[pair] >> 8) + 1.0f) * 0x1p-24f; /* (0, 1] */
            float angle = (float)(word[pair + 1] >> 8) * (0x1p-24f * 6.2831853f);
            float radius = a->std * sqrtf(-2.0f * logf(u));
            z[pair] = radius * cosf(angle);
            z[pair + 1] = radius * sinf(angle);
        }
        for (int64_t k = i < begin ? begin : i; k < end && k < i + 4; k++) store(a->out, a->dtype, k - a->first, z[k - i]);
    }
}

void sol_param_init_random(const sol_ctx *ctx, const sol_model *m, int index, uint64_t seed, int64_t first, int64_t n,
                           sol_dtype dtype, void *out)
{
    const sol_param *p = &m->params[index];
    if (p->kind == SOL_PARAM_NORM) {
        for (int64_t k = 0; k < n; k++) store(out, dtype, k, 1.0f);
        return;
    }
    bool residual = p->layer >= 0 && (p == sol_model_by_role(m, p->layer, SOL_ROLE_O) ||
                                      p == sol_model_by_role(m, p->layer, SOL_ROLE_DOWN));
    float residual_scale = 1.0f / sqrtf(2.0f * (float)m->config.num_hidden_layers);
    init_args a = {.out = out, .dtype = dtype, .first = first, .n = n, .seed = seed,
                   .stream = SOL_STREAM_INIT + ((uint64_t)index << 8), .std = 0.02f * (residual ? residual_scale : 1.0f)};
    sol_pool_run(ctx ? ctx->pool : NULL, (n + INIT_TILE - 1) / INIT_TILE, init_tile, &a);
}

void sol_model_init_random(const sol_ctx *ctx, sol_model *m, uint64_t seed)
{
    for (int i = 0; i < m->n_params; i++)
        sol_param_init_random(ctx, m, i, seed, 0, sol_param_count(&m->params[i]), m->dtype, sol_model_at(m, &m->params[i]));
}
