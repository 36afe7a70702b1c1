/* AdamW over the flat block: an update in fixed tiles, parameter by parameter, on moments that
 * moments.c holds. The trainer calls it once a step, or for each block inside the backward pass. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"
#include "optim/moments.h"

/* TILE: elements of a parameter that a thread takes at a time, in chunks that are unpacked. */
enum { TILE = 1 << 15, CHUNK = SOL_MOMENT_CHUNK, NORM_TILES = 256 };

int64_t sol_moment_blocks(const sol_param *p)
{
    return sol_ceil_div(sol_param_count(p), SOL_MOMENT_BLOCK);
}

size_t sol_adamw_bytes(const sol_model *model, const sol_adamw_config *c)
{
    size_t blocks = 0;
    if (c->moments == SOL_U8)
        for (int i = 0; i < model->n_params; i++)
            blocks += (size_t)sol_moment_blocks(&model->params[i]);
    return 2 * ((size_t)model->n_elements * sol_dtype_size(c->moments) + blocks * sizeof(float));
}

static sol_status alloc_moments(sol_adamw *o, sol_err *err)
{
    size_t n = (size_t)o->n_elements, size = sol_dtype_size(o->config.moments),
           blocks = (size_t)o->n_blocks;
    SOL_TRY(sol_alloc_array(&o->m, n, size, err));
    SOL_TRY(sol_alloc_array(&o->v, n, size, err));
    if (o->config.moments != SOL_U8) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&o->m_scale, blocks, sizeof(float), err));
    return sol_alloc_array((void **)&o->v_scale, blocks, sizeof(float), err);
}

/* Counts the moment blocks, each parameter beginning with a new one, and allocates the moments. */
static sol_status lay_out(sol_adamw *o, const sol_model *model, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&o->block, (size_t)model->n_params, sizeof *o->block, err));
    for (int i = 0; i < model->n_params; i++) {
        o->block[i] = o->n_blocks;
        o->n_blocks += sol_moment_blocks(&model->params[i]);
    }
    return alloc_moments(o, err);
}

sol_status sol_adamw_create(sol_adamw **out, const sol_model *model, const sol_adamw_config *c,
                            sol_err *err)
{
    sol_adamw *o;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&o, 1, sizeof *o, err));
    o->config = *c;
    o->n_elements = model->n_elements;
    sol_status st = lay_out(o, model, err);
    if (st != SOL_OK) sol_adamw_free(&o);
    *out = o;
    return st;
}

void sol_adamw_free(sol_adamw **o)
{
    if (!*o) return;
    sol_free((*o)->m);
    sol_free((*o)->v);
    sol_free((*o)->m_scale);
    sol_free((*o)->v_scale);
    sol_free((*o)->block);
    sol_free(*o);
    *o = NULL;
}

typedef struct update_args {
    const sol_ctx *ctx;
    sol_adamw *o;
    sol_model *model;
    int index;          /* of the parameter */
    const float *grads; /* its gradient */
    sol_adamw_step step;
} update_args;

/* Rounds the new weights [first, first + n) to bf16: to nearest, or up or down at random with the
 * draws of this step, whose stream depends on the element alone. */
static void store_bf16(const sol_adamw *o, int64_t first, int64_t n, const float *p, sol_bf16 *out)
{
    uint16_t draw[CHUNK];
    if (!o->config.stochastic_rounding) {
        for (int64_t i = 0; i < n; i++) out[i] = sol_f32_to_bf16(p[i]);
        return;
    }
    sol_moment_draws(o->config.seed, SOL_STREAM_ROUNDING + ((uint64_t)o->t << 8), first, n, draw);
    for (int64_t i = 0; i < n; i++)
        out[i] = isfinite(p[i]) ? (sol_bf16)((sol_f32_bits(p[i]) + draw[i]) >> 16)
                                : sol_f32_to_bf16(p[i]);
}

/* Updates one tile of a parameter, a chunk at a time: moments and bf16 weights are cast to fp32,
 * updated by the kernel, and rounded back. */
static void update_tile(void *arg, int64_t tile, int thread)
{
    const update_args *a = arg;
    const sol_param *p = &a->model->params[a->index];
    int64_t count = sol_param_count(p), end = sol_min_i64((tile + 1) * TILE, count);
    bool is_bf16 = a->model->dtype == SOL_BF16;
    (void)thread;
    for (int64_t i = tile * TILE; i < end; i += CHUNK) {
        float w_buffer[CHUNK], m_buffer[CHUNK], v_buffer[CHUNK];
        int64_t n = sol_min_i64(end - i, CHUNK), at = p->offset + i;
        sol_moment_chunk c = {a->o, at, n, a->o->block[a->index] + i / SOL_MOMENT_BLOCK};
        sol_bf16 *data = (sol_bf16 *)a->model->data + at;
        float *w = is_bf16 ? w_buffer : (float *)a->model->data + at;
        float *m = sol_moment_load(&c, false, m_buffer), *v = sol_moment_load(&c, true, v_buffer);
        if (is_bf16) sol_convert(w_buffer, SOL_F32, data, SOL_BF16, n);
        a->ctx->kernels.elementwise.adamw(&a->step, a->grads + i, n, w, m, v);
        sol_moments_store(&c, m, v);
        if (is_bf16) store_bf16(a->o, at, n, w_buffer, data);
    }
}

static bool decays(const sol_param *p)
{
    return p->kind == SOL_PARAM_LINEAR || p->kind == SOL_PARAM_HEAD;
}

void sol_adamw_begin(sol_adamw *o, float lr)
{
    o->t++;
    o->lr = lr;
}

void sol_adamw_update_params(const sol_ctx *ctx, sol_adamw *o, sol_model *model, int first, int n,
                             const float *grads, float grad_scale)
{
    const sol_adamw_config *c = &o->config;
    double correction1 = 1 - pow(c->beta1, (double)o->t),
           correction2 = 1 - pow(c->beta2, (double)o->t);
    update_args a = {.ctx = ctx, .o = o, .model = model};
    a.step = (sol_adamw_step){
        .grad_scale = grad_scale,
        .beta1 = c->beta1,
        .one_minus_1 = (float)(1 - (double)c->beta1),
        .beta2 = c->beta2,
        .one_minus_2 = (float)(1 - (double)c->beta2),
        .inv_sqrt_correction = (float)(1 / sqrt(correction2)),
        .eps = c->eps,
        .rate = (float)((double)o->lr / correction1),
    };
    for (a.index = first; a.index < first + n; a.index++) {
        const sol_param *p = &model->params[a.index];
        a.grads = grads + (p->offset - model->params[first].offset);
        a.step.keep = decays(p) ? (float)(1 - (double)o->lr * (double)c->weight_decay) : 1;
        sol_pool_run(ctx->pool, sol_ceil_div(sol_param_count(p), TILE), update_tile, &a);
    }
}

void sol_adamw_update(const sol_ctx *ctx, sol_adamw *o, sol_model *model, const float *grads,
                      float grad_scale, float lr)
{
    sol_adamw_begin(o, lr);
    sol_adamw_update_params(ctx, o, model, 0, model->n_params, grads, grad_scale);
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
    int64_t begin = tile * a->tile, n = sol_min_i64(a->n - begin, a->tile);
    (void)thread;
    a->ctx->kernels.elementwise.square_sum(a->x + begin, n, &a->partial[tile]);
}

double sol_global_norm(const sol_ctx *ctx, const float *x, int64_t n)
{
    norm_args a = {.ctx = ctx, .x = x, .n = n, .tile = sol_ceil_div(n, NORM_TILES)};
    if (a.tile < TILE) a.tile = TILE;
    int64_t n_tiles = sol_ceil_div(n, a.tile);
    double sum = 0;
    sol_pool_run(ctx->pool, n_tiles, norm_tile, &a);
    for (int64_t i = 0; i < n_tiles; i++) sum += a.partial[i];
    return sqrt(sum);
}
