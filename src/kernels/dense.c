/* The dense product above its tiers: types, checks, packing into tiles, threads, row lookup. */
#include "kernels/dense.h"

#include <float.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/dense_impl.h"

struct sol_dense {
    sol_dense_type type;
    sol_segments seg;
    int64_t rows, n_tiles; /* F32, F16: a tile is FLOAT_ROWS rows */
    const sol_dense_ops *ops;
    const void *data;      /* F32, F16: borrowed */
    size_t row_bytes, tile_bytes;
    uint8_t *tiles;        /* the others: [n_tiles, tile_bytes] */
    bool owned;            /* tiles */
};

/* Rows of a float product that are decoded together, and tokens they are multiplied with before the next rows. */
enum { FLOAT_ROWS = 16 };

static const char *const type_names[] = {"f32", "f16", "q8", "q6", "q4"};
enum { N_TYPES = sizeof type_names / sizeof *type_names };

const char *sol_dense_type_name(sol_dense_type type)
{
    return type_names[type];
}

sol_status sol_dense_type_from_name(const char *name, sol_dense_type *type, sol_err *err)
{
    for (int i = 0; i < N_TYPES; i++) {
        if (strcmp(name, type_names[i]) != 0) continue;
        *type = (sol_dense_type)i;
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_USAGE, "unknown type '%s' of a dense matrix: one of f32, f16, q8, q6, q4", name);
}

static bool is_float(sol_dense_type type)
{
    return type == SOL_DENSE_F32 || type == SOL_DENSE_F16;
}

size_t sol_dense_row_bytes(sol_dense_type type, int64_t cols)
{
    switch (type) {
    case SOL_DENSE_F32: return 4 * (size_t)cols;
    case SOL_DENSE_F16: return 2 * (size_t)cols;
    case SOL_DENSE_Q8: return (size_t)cols;
    case SOL_DENSE_Q6: return (size_t)(cols + 1) / 2 + (size_t)(cols + 3) / 4;
    default: return (size_t)(cols + 1) / 2;
    }
}

int64_t sol_dense_row_scales(sol_dense_type type, int64_t cols)
{
    return is_float(type) ? 0 : sol_ceil_div(cols, SOL_DENSE_BLOCK);
}

double sol_dense_bits(sol_dense_type type)
{
    static const double bits[] = {32, 16, 8.5, 6.5, 4.5};
    return bits[type];
}

float sol_dense_most(sol_dense_type type)
{
    static const float most[] = {FLT_MAX, SOL_F16_MOST, 127 * SOL_F16_MOST, 32 * SOL_F16_MOST, 8 * SOL_F16_MOST};
    return most[type];
}

typedef struct pack_args {
    sol_dense *d;
    const sol_dense_src *src;
} pack_args;

static void pack_tile(void *arg, int64_t tile, int thread)
{
    const pack_args *a = arg;
    const sol_dense *d = a->d;
    int64_t first = tile * d->ops->tile_rows, n = sol_min_i64(d->ops->tile_rows, d->rows - first);
    (void)thread;
    d->ops->pack(d->type, &d->seg, (const uint8_t *)a->src->data + (size_t)first * d->row_bytes,
                 a->src->scales + first * d->seg.n_groups, n, d->tiles + (size_t)tile * d->tile_bytes);
}

size_t sol_dense_room(const sol_ctx *ctx, sol_dense_type type, int64_t rows, int64_t cols)
{
    const sol_dense_ops *ops = ctx->k.dense;
    sol_segments s = sol_segments_make(cols, SOL_DENSE_BLOCK, SOL_DENSE_BLOCK);
    return is_float(type) ? 0 : (size_t)sol_ceil_div(rows, ops->tile_rows) * ops->tile_bytes(type, &s);
}

sol_status sol_dense_prepare(sol_dense **out, const sol_ctx *ctx, const sol_dense_src *src, void *room, sol_err *err)
{
    sol_dense *d = NULL;
    *out = NULL;
    if (src->rows <= 0 || src->cols <= 0)
        return sol_fail(err, SOL_ERR_RANGE, "dense matrix: shape [%lld, %lld]", (long long)src->rows, (long long)src->cols);
    sol_status st = sol_alloc_array((void **)&d, 1, sizeof *d, err);
    if (st != SOL_OK) return st;
    d->type = src->type;
    d->seg = sol_segments_make(src->cols, SOL_DENSE_BLOCK, SOL_DENSE_BLOCK);
    d->rows = src->rows;
    d->ops = ctx->k.dense;
    d->row_bytes = sol_dense_row_bytes(src->type, src->cols);
    if (is_float(src->type)) {
        d->data = src->data;
        d->n_tiles = sol_ceil_div(d->rows, FLOAT_ROWS);
    } else {
        d->n_tiles = sol_ceil_div(d->rows, d->ops->tile_rows);
        d->tile_bytes = d->ops->tile_bytes(d->type, &d->seg);
        d->tiles = room;
        d->owned = !room;
        if (d->owned) st = sol_alloc_array((void **)&d->tiles, (size_t)d->n_tiles, d->tile_bytes, err);
        pack_args args = {.d = d, .src = src};
        if (st == SOL_OK) sol_pool_run(ctx->pool, d->n_tiles, pack_tile, &args);
    }
    if (st != SOL_OK) sol_dense_free(&d);
    *out = d;
    return st;
}

void sol_dense_free(sol_dense **d)
{
    if (!*d) return;
    if ((*d)->owned) sol_free((*d)->tiles);
    sol_free(*d);
    *d = NULL;
}

int64_t sol_dense_rows(const sol_dense *d)
{
    return d->rows;
}

int64_t sol_dense_cols(const sol_dense *d)
{
    return d->seg.cols;
}

size_t sol_dense_bytes(const sol_dense *d)
{
    return is_float(d->type) ? (size_t)d->rows * d->row_bytes : (size_t)d->n_tiles * d->tile_bytes;
}

/* Scratch of a thread in the float product: FLOAT_ROWS rows as floats. */
static size_t float_thread_bytes(const sol_segments *s)
{
    return (size_t)(4 * FLOAT_ROWS * s->cols_pad);
}

typedef struct scratch_plan {
    size_t q, d, nsum, threads, per_thread, total;
} scratch_plan;

static scratch_plan plan_scratch(const sol_ctx *ctx, const sol_dense *d, int64_t n)
{
    const sol_segments *s = &d->seg;
    scratch_plan p = {0};
    size_t tokens = is_float(d->type) ? 0 : (size_t)sol_min_i64(n, d->ops->max_tokens);
    size_t sums = (size_t)sol_round_up(4 * s->n_segs, 64), a = d->ops->thread_bytes(s), b = float_thread_bytes(s);
    p.d = p.q + tokens * (size_t)s->q_stride;
    p.nsum = p.d + tokens * sums;
    p.threads = p.nsum + tokens * sums;
    p.per_thread = (size_t)sol_round_up((int64_t)(a > b ? a : b), 64);
    p.total = p.threads + (size_t)sol_pool_threads(ctx->pool) * p.per_thread;
    return p;
}

size_t sol_dense_scratch_bytes(const sol_ctx *ctx, const sol_dense *d, int64_t n_tokens)
{
    return plan_scratch(ctx, d, n_tokens).total;
}

typedef struct product {
    const sol_ctx *ctx;
    const sol_dense *d;
    const float *x;
    int64_t n;
    float *y;
    sol_acts acts;
    sol_dense_job job;
    uint8_t *threads;
    size_t per_thread;
    int64_t tiles_a_run;
} product;

void sol_dense_row(const sol_dense *d, int64_t r, float *w)
{
    int64_t t = d->ops->tile_rows, cols = d->seg.cols;
    if (d->type == SOL_DENSE_F32)
        memcpy(w, (const float *)d->data + r * cols, d->row_bytes);
    else if (d->type == SOL_DENSE_F16)
        for (int64_t c = 0; c < cols; c++) w[c] = sol_f16_to_f32(((const sol_f16 *)d->data)[r * cols + c]);
    else
        d->ops->row(d->type, &d->seg, d->tiles + (size_t)(r / t) * d->tile_bytes, r % t, w);
}

static void float_tile(void *arg, int64_t tile, int thread)
{
    const product *p = arg;
    const sol_dense *d = p->d;
    const sol_float_ops *f = &p->ctx->k.f;
    int64_t first = tile * FLOAT_ROWS, n = sol_min_i64(FLOAT_ROWS, d->rows - first), cols = d->seg.cols;
    float *room = (float *)(p->threads + (size_t)thread * p->per_thread), *y = p->y + first;
    if (d->type == SOL_DENSE_F32) {
        f->dot_f32((const float *)d->data + first * cols, cols, n, p->x, cols, p->n, cols, y, d->rows);
    } else if (d->type == SOL_DENSE_F16) {
        f->dot_f16((const sol_f16 *)d->data + first * cols, cols, n, p->x, cols, p->n, cols, y, d->rows);
    } else {
        for (int64_t r = 0; r < n; r++) sol_dense_row(d, first + r, room + r * cols);
        f->dot_f32(room, cols, n, p->x, cols, p->n, cols, y, d->rows);
    }
}

static void round_token(void *arg, int64_t i, int thread)
{
    const product *p = arg;
    const sol_segments *s = &p->d->seg;
    (void)thread;
    p->ctx->k.act_quantize(s, p->x + i * s->cols, p->acts.q + i * s->q_stride, p->acts.d + i * s->n_segs,
                           p->acts.nsum + i * s->n_segs);
}

static void product_tiles(void *arg, int64_t run, int thread)
{
    const product *p = arg;
    int64_t first = run * p->tiles_a_run, last = sol_min_i64(first + p->tiles_a_run, p->d->n_tiles);
    p->d->ops->product(&p->job, first, last, p->threads + (size_t)thread * p->per_thread);
}

/* At most max_tokens tokens. */
static void multiply_rounded(product *p, const float *x, int64_t n, float *y)
{
    int threads = sol_pool_threads(p->ctx->pool);
    p->x = x;
    p->acts.n = n;
    p->job.y = y;
    sol_pool_run(n < 4 ? NULL : p->ctx->pool, n, round_token, p);
    p->tiles_a_run = (p->d->n_tiles + 4 * threads - 1) / (4 * threads);
    sol_pool_run(p->ctx->pool, sol_ceil_div(p->d->n_tiles, p->tiles_a_run), product_tiles, p);
}

void sol_dense_matmul(const sol_ctx *ctx, const sol_dense *d, sol_act act, const float *x, int64_t n_tokens, float *y,
                      void *scratch)
{
    scratch_plan plan = plan_scratch(ctx, d, n_tokens);
    uint8_t *base = scratch;
    product p = {.ctx = ctx, .d = d, .x = x, .n = n_tokens, .y = y, .threads = base + plan.threads, .per_thread = plan.per_thread};
    if (is_float(d->type) || act == SOL_ACT_FLOAT) {
        sol_pool_run(ctx->pool, sol_ceil_div(d->rows, FLOAT_ROWS), float_tile, &p);
        return;
    }
    p.acts = (sol_acts){.q = (int8_t *)(base + plan.q), .d = (float *)(base + plan.d), .nsum = (int32_t *)(base + plan.nsum)};
    p.job = (sol_dense_job){.type = d->type, .seg = &d->seg, .tiles = d->tiles, .tile_bytes = d->tile_bytes, .rows = d->rows,
                            .acts = &p.acts};
    for (int64_t i = 0; i < n_tokens; i += d->ops->max_tokens)
        multiply_rounded(&p, x + i * d->seg.cols, sol_min_i64(n_tokens - i, d->ops->max_tokens), y + i * d->rows);
}
