/* A model: the rows of params.def laid out in one flat block for a configuration, and random
 * weights in it. */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"

/* Appends the parameter of a role. */
static void add_param(sol_model *m, sol_role role, int layer)
{
    const sol_param_row *row = &sol_param_rows[role];
    sol_param *p = &m->params[m->n_params];
    *p = (sol_param){.role = role,
                     .kind = row->kind,
                     .quantized = row->quantized,
                     .layer = row->in_block ? layer : -1,
                     .rows = sol_dim_size(&m->config, row->rows),
                     .cols = sol_dim_size(&m->config, row->cols),
                     .offset = m->n_elements};
    sol_role_name(role, layer, p->name);
    if (m->place[role] < 0) m->place[role] = m->n_params;
    m->n_params++;
    m->n_weights += sol_param_count(p);
    m->n_elements += sol_round_up(sol_param_count(p), SOL_PARAM_ALIGN);
}

/* Appends what the model has of the rows from `role` on that stand together, in a block or
 * (layer -1) outside; returns the row behind. */
static int add_rows(sol_model *m, int role, int layer)
{
    for (; role < SOL_ROLES && sol_param_rows[role].in_block == (layer >= 0); role++)
        if (sol_role_present(&m->config, (sol_role)role)) add_param(m, (sol_role)role, layer);
    return role;
}

/* Names, shapes and offsets of all parameters. */
static void fill_table(sol_model *m)
{
    for (int role = 0; role < SOL_ROLES; role++) m->place[role] = -1;
    int block = add_rows(m, 0, -1), behind = block;
    m->first_block = m->n_params;
    for (int layer = 0; layer < m->config.num_hidden_layers; layer++)
        behind = add_rows(m, block, layer);
    add_rows(m, behind, -1);
}

/* Parameters of a model without learned ones. */
static size_t count_params(const sol_model_config *c)
{
    size_t n = (size_t)c->num_hidden_layers * (size_t)sol_block_params(c);
    for (int role = 0; role < SOL_ROLES; role++)
        n += !sol_param_rows[role].in_block && sol_role_present(c, (sol_role)role);
    return n;
}

sol_status sol_model_describe(sol_model **out, const sol_model_config *c, sol_dtype dtype,
                              sol_err *err)
{
    *out = NULL;
    SOL_TRY(sol_model_config_check(c, err));
    if (dtype != SOL_F32 && dtype != SOL_BF16)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "parameters are held as f32 or bf16, not as %s",
                        sol_dtype_name(dtype));
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_model *m = *out;
    m->config = *c;
    m->dtype = dtype;
    m->n_block = sol_block_params(c);
    sol_status st = sol_alloc_array((void **)&m->params, count_params(c), sizeof *m->params, err);
    if (st != SOL_OK) {
        sol_model_free(out);
        return st;
    }
    fill_table(m);
    m->n_plain = m->n_params;
    return SOL_OK;
}

sol_status sol_model_create(sol_model **out, const sol_model_config *c, sol_dtype dtype,
                            sol_err *err)
{
    SOL_TRY(sol_model_describe(out, c, dtype, err));
    sol_status st =
        sol_alloc_array(&(*out)->data, (size_t)(*out)->n_elements, sol_dtype_size(dtype), err);
    if (st != SOL_OK) sol_model_free(out);
    return st;
}

sol_status sol_model_add_sub_norms(sol_model *m, sol_err *err)
{
    sol_model_config c = m->config;
    sol_model *wide;
    if (c.sub_norm) return SOL_OK;
    sol_family_add_sub_norms(&c);
    SOL_TRY(m->data ? sol_model_create(&wide, &c, m->dtype, err)
                    : sol_model_describe(&wide, &c, m->dtype, err));
    for (int i = 0; i < wide->n_params; i++) {
        const sol_param *to = &wide->params[i], *from = sol_model_by_role(m, to->layer, to->role);
        if (!m->data) break;
        void *at = sol_model_at(wide, to);
        if (from)
            memcpy(at, sol_model_at(m, from),
                   (size_t)sol_param_count(to) * sol_dtype_size(m->dtype));
        else
            sol_param_init_random(NULL, wide, i, 0, 0, sol_param_count(to), m->dtype, at);
    }
    sol_model was = *m;
    *m = *wide;
    *wide = was;
    sol_model_free(&wide);
    return SOL_OK;
}

sol_model sol_model_without_sub_norms(const sol_model *m)
{
    sol_model plain = *m;
    plain.config.sub_norm = false;
    return plain;
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

const sol_param *sol_model_by_role(const sol_model *m, int64_t layer, sol_role role)
{
    if (m->place[role] < 0) return NULL;
    return &m->params[m->place[role] + (sol_param_rows[role].in_block ? layer * m->n_block : 0)];
}

const sol_param *sol_model_block(const sol_model *m, int64_t layer)
{
    return &m->params[m->first_block + layer * m->n_block];
}

const sol_param *sol_model_embedding(const sol_model *m)
{
    return sol_model_by_role(m, -1, SOL_ROLE_EMBED);
}

const sol_param *sol_model_final_norm(const sol_model *m)
{
    return sol_model_by_role(m, -1, SOL_ROLE_FINAL_NORM);
}

const sol_param *sol_model_head(const sol_model *m)
{
    const sol_param *head = sol_model_by_role(m, -1, SOL_ROLE_HEAD);
    return head ? head : sol_model_embedding(m);
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

bool sol_param_is_vector(const sol_param *p)
{
    return p->kind != SOL_PARAM_QUANT && sol_param_rows[p->role].rows == SOL_DIM_ONE;
}

typedef struct init_args {
    void *out;
    sol_dtype dtype;
    int64_t first, n;
    uint64_t seed, stream;
    float std;
} init_args;

enum { INIT_TILE = 1 << 16 };

/* out[i] = x, in dtype. */
static void store(void *out, sol_dtype dtype, int64_t i, float x)
{
    if (dtype == SOL_F32)
        ((float *)out)[i] = x;
    else
        ((sol_bf16 *)out)[i] = sol_f32_to_bf16(x);
}

/* Element i of a parameter comes from word i % 4 of the stream's block i / 4: two Box-Muller pairs
 * a block. */
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
        int64_t from = i < begin ? begin : i, to = sol_min_i64(end, i + 4);
        for (int64_t k = from; k < to; k++) store(a->out, a->dtype, k - a->first, z[k - i]);
    }
}

void sol_param_init_random(const sol_ctx *ctx, const sol_model *m, int index, uint64_t seed,
                           int64_t first, int64_t n, sol_dtype dtype, void *out)
{
    const sol_param *p = &m->params[index];
    if (sol_param_is_vector(p)) {
        for (int64_t k = 0; k < n; k++)
            store(out, dtype, k, p->kind == SOL_PARAM_NORM ? 1.0f : 0.0f);
        return;
    }
    /* What they give is added to the residual stream. */
    bool residual = p->role == SOL_ROLE_O || p->role == SOL_ROLE_DOWN;
    float residual_scale = 1.0f / sqrtf(2.0f * (float)m->config.num_hidden_layers);
    init_args a = {.out = out,
                   .dtype = dtype,
                   .first = first,
                   .n = n,
                   .seed = seed,
                   .stream = SOL_STREAM_INIT + ((uint64_t)index << 8),
                   .std = 0.02f * (residual ? residual_scale : 1.0f)};
    sol_pool_run(ctx ? ctx->pool : NULL, sol_ceil_div(n, INIT_TILE), init_tile, &a);
}

void sol_model_init_random(const sol_ctx *ctx, sol_model *m, uint64_t seed)
{
    for (int i = 0; i < m->n_params; i++)
        sol_param_init_random(ctx, m, i, seed, 0, sol_param_count(&m->params[i]), m->dtype,
                              sol_model_at(m, &m->params[i]));
}
