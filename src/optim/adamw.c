/* AdamW over the flat block: an update in fixed tiles, parameter by parameter, on moments that
 * moments.c holds. The trainer calls it once a step, or for each block inside the backward pass. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "base/rng.h"
#include "optim/moments.h"

/* TILE: elements of a parameter that a thread takes at a time, in chunks that are unpacked. */
enum { TILE = 1 << 15, CHUNK = SOL_MOMENT_CHUNK };

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

/* ---- the shard ---- */

/* The last parameter that begins at or before element x. */
static int param_at(const sol_model *m, int64_t x)
{
    int lo = 0, hi = m->n_params;
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (m->params[mid].offset <= x)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

int64_t sol_moment_align(const sol_model *m, int64_t x)
{
    int i = param_at(m, x);
    const sol_param *p = &m->params[i];
    int64_t behind = i + 1 < m->n_params ? p[1].offset : m->n_elements;
    return sol_min_i64(p->offset + sol_ceil_div(x - p->offset, SOL_MOMENT_BLOCK) * SOL_MOMENT_BLOCK,
                       behind);
}

/* The first moment block of the model at or behind an aligned place. */
static int64_t block_at(const sol_adamw *o, const sol_model *m, int64_t x)
{
    int i = param_at(m, x);
    int64_t k = o->block[i] + sol_ceil_div(x - m->params[i].offset, SOL_MOMENT_BLOCK);
    return sol_min_i64(k, o->block[i + 1]);
}

int64_t sol_stretch_blocks(const sol_adamw *o, const sol_model *model, sol_stretch s)
{
    return block_at(o, model, s.first + s.n) - block_at(o, model, s.first);
}

/* Counts the moment blocks of the model, each parameter beginning with a new one. */
static sol_status count_blocks(sol_adamw *o, const sol_model *model, sol_err *err)
{
    size_t n = (size_t)model->n_params + 1;
    SOL_TRY(sol_alloc_array((void **)&o->block, n, sizeof *o->block, err));
    for (int i = 0; i < model->n_params; i++)
        o->block[i + 1] = o->block[i] + sol_moment_blocks(&model->params[i]);
    o->n_blocks = o->block[model->n_params];
    return SOL_OK;
}

static sol_status take_shard(sol_adamw *o, const sol_model *model, const sol_shard *shard,
                             sol_err *err)
{
    sol_stretch all = {0, o->n_elements};
    sol_shard whole = {&all, 1};
    if (!shard) shard = &whole;
    SOL_TRY(sol_alloc_array((void **)&o->shard.stretch, (size_t)shard->n, sizeof all, err));
    o->shard.n = shard->n;
    for (int i = 0; i < shard->n; i++) {
        sol_stretch r = shard->stretch[i];
        o->shard.stretch[i] = r;
        o->shard_elements += r.n;
        o->shard_blocks += sol_stretch_blocks(o, model, r);
    }
    return SOL_OK;
}

static sol_status alloc_moments(sol_adamw *o, sol_err *err)
{
    size_t n = (size_t)o->shard_elements, size = sol_dtype_size(o->config.moments),
           blocks = (size_t)o->shard_blocks;
    SOL_TRY(sol_alloc_array(&o->m, n, size, err));
    SOL_TRY(sol_alloc_array(&o->v, n, size, err));
    if (o->config.moments != SOL_U8) return SOL_OK;
    SOL_TRY(sol_alloc_array((void **)&o->m_scale, blocks, sizeof(float), err));
    return sol_alloc_array((void **)&o->v_scale, blocks, sizeof(float), err);
}

static sol_status fill(sol_adamw *o, const sol_model *model, const sol_shard *shard, sol_err *err)
{
    SOL_TRY(count_blocks(o, model, err));
    SOL_TRY(take_shard(o, model, shard, err));
    return alloc_moments(o, err);
}

sol_status sol_adamw_create_shard(sol_adamw **out, const sol_model *model,
                                  const sol_adamw_config *c, const sol_shard *shard, sol_err *err)
{
    sol_adamw *o;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&o, 1, sizeof *o, err));
    o->config = *c;
    o->n_elements = model->n_elements;
    sol_status st = fill(o, model, shard, err);
    if (st != SOL_OK) sol_adamw_free(&o);
    *out = o;
    return st;
}

sol_status sol_adamw_create(sol_adamw **o, const sol_model *model, const sol_adamw_config *c,
                            sol_err *err)
{
    return sol_adamw_create_shard(o, model, c, NULL, err);
}

void sol_adamw_free(sol_adamw **o)
{
    if (!*o) return;
    sol_free((*o)->m);
    sol_free((*o)->v);
    sol_free((*o)->m_scale);
    sol_free((*o)->v_scale);
    sol_free((*o)->block);
    sol_free((*o)->shard.stretch);
    sol_free(*o);
    *o = NULL;
}

static void copy_stretch(sol_adamw *to, const sol_adamw *from, const sol_model *m, int64_t at,
                         int64_t block, sol_stretch r)
{
    size_t size = sol_dtype_size(from->config.moments), n = (size_t)r.n * size;
    size_t first = (size_t)block_at(to, m, r.first) * sizeof(float),
           scales = (size_t)sol_stretch_blocks(to, m, r) * sizeof(float);
    memcpy((char *)to->m + (size_t)at * size, (char *)from->m + (size_t)r.first * size, n);
    memcpy((char *)to->v + (size_t)at * size, (char *)from->v + (size_t)r.first * size, n);
    if (!to->m_scale) return;
    memcpy(to->m_scale + block, (char *)from->m_scale + first, scales);
    memcpy(to->v_scale + block, (char *)from->v_scale + first, scales);
}

sol_status sol_adamw_cut(sol_adamw **o, const sol_adamw *all, const sol_model *model,
                         const sol_shard *shard, sol_err *err)
{
    int64_t at = 0, block = 0;
    SOL_TRY(sol_adamw_create_shard(o, model, &all->config, shard, err));
    (*o)->t = all->t;
    for (int i = 0; i < shard->n; i++) {
        sol_stretch r = shard->stretch[i];
        copy_stretch(*o, all, model, at, block, r);
        at += r.n;
        block += sol_stretch_blocks(*o, model, r);
    }
    return SOL_OK;
}

/* ---- the update ---- */

typedef struct update_args {
    const sol_ctx *ctx;
    sol_adamw *o;
    sol_model *model;
    int index;          /* of the parameter */
    const float *grads; /* its gradient, or that of the shard */
    bool of_shard;
    int64_t from, to;  /* its elements that are updated */
    int64_t at, block; /* where the moments of element 0 would be, and of block 0 the scales */
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
    int64_t begin = a->from + tile * TILE, end = sol_min_i64(begin + TILE, a->to);
    bool is_bf16 = a->model->dtype == SOL_BF16;
    (void)thread;
    for (int64_t i = begin; i < end; i += CHUNK) {
        float w_buffer[CHUNK], m_buffer[CHUNK], v_buffer[CHUNK];
        int64_t n = sol_min_i64(end - i, CHUNK), at = p->offset + i;
        sol_moment_chunk c = {a->o, at, n, a->at + i, a->block + i / SOL_MOMENT_BLOCK};
        sol_bf16 *data = (sol_bf16 *)a->model->data + at;
        float *w = is_bf16 ? w_buffer : (float *)a->model->data + at;
        float *m = sol_moment_load(&c, false, m_buffer), *v = sol_moment_load(&c, true, v_buffer);
        if (is_bf16) sol_convert(w_buffer, SOL_F32, data, SOL_BF16, n);
        a->ctx->kernels.elementwise.adamw(&a->step, a->grads + (a->of_shard ? c.at : i), n, w, m,
                                          v);
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

/* The elements of a parameter that lie in the shard. */
static void update_param(update_args *a)
{
    const sol_adamw *o = a->o;
    const sol_param *p = &a->model->params[a->index];
    int64_t at = 0, block = 0;
    for (int i = 0; i < o->shard.n; i++) {
        const sol_stretch *r = &o->shard.stretch[i];
        int64_t first = block_at(o, a->model, r->first);
        a->from = sol_max_i64(r->first - p->offset, 0);
        a->to = sol_min_i64(r->first + r->n - p->offset, sol_param_count(p));
        a->at = at + p->offset - r->first;
        a->block = block + o->block[a->index] - first;
        if (a->from < a->to)
            sol_pool_run(a->ctx->pool, sol_ceil_div(a->to - a->from, TILE), update_tile, a);
        at += r->n;
        block += sol_stretch_blocks(o, a->model, *r);
    }
}

/* What the update of every parameter has in common. */
static update_args make_update(const sol_ctx *ctx, sol_adamw *o, sol_model *model, float grad_scale)
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
    return a;
}

static void update_one(update_args *a, int index)
{
    a->index = index;
    a->step.keep = decays(&a->model->params[index])
                       ? (float)(1 - (double)a->o->lr * (double)a->o->config.weight_decay)
                       : 1;
    update_param(a);
}

void sol_adamw_update_params(const sol_ctx *ctx, sol_adamw *o, sol_model *model, int first, int n,
                             const float *grads, float grad_scale)
{
    update_args a = make_update(ctx, o, model, grad_scale);
    for (int i = first; i < first + n; i++) {
        a.grads = grads + (model->params[i].offset - model->params[first].offset);
        update_one(&a, i);
    }
}

void sol_adamw_update_shard(const sol_ctx *ctx, sol_adamw *o, sol_model *model, int first, int n,
                            const float *grads, float grad_scale)
{
    update_args a = make_update(ctx, o, model, grad_scale);
    a.grads = grads;
    a.of_shard = true;
    for (int i = first; i < first + n; i++) update_one(&a, i);
}

void sol_adamw_update(const sol_ctx *ctx, sol_adamw *o, sol_model *model, const float *grads,
                      float grad_scale, float lr)
{
    sol_adamw_begin(o, lr);
    sol_adamw_update_params(ctx, o, model, 0, model->n_params, grads, grad_scale);
}

/* ---- the norm ---- */

typedef struct norm_args {
    const sol_ctx *ctx;
    const float *x;
    int64_t n, tile, first;
    double *sum;
} norm_args;

static void norm_tile(void *arg, int64_t i, int thread)
{
    norm_args *a = arg;
    int64_t tile = a->first + i, begin = tile * a->tile, n = sol_min_i64(a->n - begin, a->tile);
    (void)thread;
    a->sum[tile] = 0;
    a->ctx->kernels.elementwise.square_sum(a->x + begin, n, &a->sum[tile]);
}

int64_t sol_norm_tile(int64_t n)
{
    return sol_max_i64(sol_ceil_div(n, SOL_NORM_TILES), TILE);
}

void sol_norm_squares(const sol_ctx *ctx, const float *x, int64_t n, int64_t first, int64_t end,
                      double *sum)
{
    norm_args a = {
        .ctx = ctx, .x = x, .n = n, .tile = sol_norm_tile(n), .first = first, .sum = sum};
    sol_pool_run(ctx->pool, end - first, norm_tile, &a);
}

double sol_norm_of(const double *sum, int64_t n_tiles)
{
    double all = 0;
    for (int64_t i = 0; i < n_tiles; i++) all += sum[i];
    return sqrt(all);
}

double sol_global_norm(const sol_ctx *ctx, const float *x, int64_t n)
{
    double sum[SOL_NORM_TILES];
    int64_t n_tiles = sol_ceil_div(n, sol_norm_tile(n));
    sol_norm_squares(ctx, x, n, 0, n_tiles, sum);
    return sol_norm_of(sum, n_tiles);
}
