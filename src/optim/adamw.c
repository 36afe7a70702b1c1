#include <math.h>

#include "base/half.h"
#include "base/rng.h"
#include "optim/optim.h"

/* TILE: elements a thread takes at a time; CHUNK: elements of a bf16 model that are updated in float at a time. */
enum { TILE = 1 << 15, CHUNK = 1024, NORM_TILES = 256 };

sol_status sol_adamw_create(sol_adamw **out, const sol_model *model, const sol_adamw_config *c, sol_err *err)
{
    sol_adamw *o;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&o, 1, sizeof *o, err);
    if (st != SOL_OK) return st;
    o->config = *c;
    o->n_elements = model->n_elements;
    st = sol_alloc_array((void **)&o->m, (size_t)o->n_elements, sizeof *o->m, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&o->v, (size_t)o->n_elements, sizeof *o->v, err);
    if (st != SOL_OK) sol_adamw_free(&o);
    *out = o;
    return st;
}

void sol_adamw_free(sol_adamw **o)
{
    if (!*o) return;
    sol_free((*o)->m);
    sol_free((*o)->v);
    sol_free(*o);
    *o = NULL;
}

typedef struct update_args {
    const sol_ctx *ctx;
    sol_adamw *o;
    sol_model *model;
    const float *grads;
    sol_adamw_step step;
    float keep_decayed, keep_plain;
} update_args;

/* Element i of step t draws half-word i % 8 of block i / 8 of the step's stream. */
static void store_bf16(const update_args *a, int64_t first, int64_t n, const float *p, sol_bf16 *out)
{
    uint32_t word[4] = {0};
    for (int64_t i = first; i < first + n; i++) {
        float x = p[i - first];
        if (!a->o->config.stochastic_rounding || !isfinite(x)) {
            out[i] = sol_f32_to_bf16(x);
            continue;
        }
        if (i == first || i % 8 == 0)
            sol_philox4x32(a->o->config.seed, SOL_STREAM_ROUNDING + ((uint64_t)a->o->t << 8), (uint64_t)i / 8, word);
        uint32_t draw = word[i % 8 / 2] >> 16 * (i % 2) & 0xffff, bits = sol_f32_bits(x);
        out[i] = (sol_bf16)((bits + draw) >> 16);
    }
}

static void update_bf16(const update_args *a, const sol_adamw_step *step, int64_t first, int64_t n)
{
    sol_bf16 *data = a->model->data;
    for (int64_t i = first; i < first + n; i += CHUNK) {
        float p[CHUNK];
        int64_t m = first + n - i < CHUNK ? first + n - i : CHUNK;
        for (int64_t k = 0; k < m; k++) p[k] = sol_bf16_to_f32(data[i + k]);
        a->ctx->k.e.adamw(step, a->grads + i, m, p, a->o->m + i, a->o->v + i);
        store_bf16(a, i, m, p, data);
    }
}

static bool decays(const sol_param *p)
{
    return p->kind == SOL_PARAM_LINEAR || p->kind == SOL_PARAM_HEAD;
}

/* The parameters that overlap the tile, each with its own decay; the gaps between them stay zero. */
static void update_tile(void *arg, int64_t tile, int thread)
{
    const update_args *a = arg;
    int64_t begin = tile * TILE, end = begin + TILE;
    (void)thread;
    for (int i = 0; i < a->model->n_params; i++) {
        const sol_param *p = &a->model->params[i];
        int64_t from = p->offset > begin ? p->offset : begin, to = p->offset + sol_param_count(p);
        if (to > end) to = end;
        if (from >= to) continue;
        sol_adamw_step step = a->step;
        step.keep = decays(p) ? a->keep_decayed : a->keep_plain;
        if (a->model->dtype == SOL_BF16)
            update_bf16(a, &step, from, to - from);
        else
            a->ctx->k.e.adamw(&step, a->grads + from, to - from, (float *)a->model->data + from, a->o->m + from,
                              a->o->v + from);
    }
}

void sol_adamw_update(const sol_ctx *ctx, sol_adamw *o, sol_model *model, const float *grads, float grad_scale, float lr)
{
    const sol_adamw_config *c = &o->config;
    o->t++;
    double correction1 = 1 - pow(c->beta1, (double)o->t), correction2 = 1 - pow(c->beta2, (double)o->t);
    update_args a = {.ctx = ctx, .o = o, .model = model, .grads = grads, .keep_plain = 1};
    a.keep_decayed = (float)(1 - (double)lr * (double)c->weight_decay);
    a.step = (sol_adamw_step){
        .grad_scale = grad_scale,
        .beta1 = c->beta1,
        .one_minus_1 = (float)(1 - (double)c->beta1),
        .beta2 = c->beta2,
        .one_minus_2 = (float)(1 - (double)c->beta2),
        .inv_sqrt_correction = (float)(1 / sqrt(correction2)),
        .eps = c->eps,
        .rate = (float)((double)lr / correction1),
    };
    sol_pool_run(ctx->pool, (model->n_elements + TILE - 1) / TILE, update_tile, &a);
}

typedef struct norm_args {
    const sol_ctx *ctx;
    const float *x;
    int64_t n, tile;
    double partial[NORM_TILES];
} norm_args;

static void norm_tile(void *arg, int64_t tile, int thread)
{
    norm_args *a = arg;
    int64_t begin = tile * a->tile, n = a->n - begin < a->tile ? a->n - begin : a->tile;
    (void)thread;
    a->ctx->k.e.square_sum(a->x + begin, n, &a->partial[tile]);
}

double sol_global_norm(const sol_ctx *ctx, const float *x, int64_t n)
{
    norm_args a = {.ctx = ctx, .x = x, .n = n, .tile = (n + NORM_TILES - 1) / NORM_TILES};
    if (a.tile < TILE) a.tile = TILE;
    int64_t n_tiles = (n + a.tile - 1) / a.tile;
    double sum = 0;
    sol_pool_run(ctx->pool, n_tiles, norm_tile, &a);
    for (int64_t i = 0; i < n_tiles; i++) sum += a.partial[i];
    return sqrt(sum);
}
