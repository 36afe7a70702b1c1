#include "quant/quant.h"

#include <string.h>

#include "base/half.h"

/* CHUNK: weights handed to a method at a time, a multiple of what blocks and lane sums count in. TILE_WEIGHTS: the least
 * that is worth handing to a thread. MAX_TILES bounds the partial sums of one per-tensor scale. */
enum { CHUNK = 1024, TILE_WEIGHTS = 1 << 15, MAX_TILES = 64 };

typedef struct job {
    const sol_kernels *k;
    const sol_quant_spec *spec;
    const float *w;
    int64_t rows, cols, rows_a_tile;
    sol_residual_mix mix;
    float *w_eff;   /* NULL: only the parts */
    int8_t *levels; /* NULL: only W_eff */
    float *scales;
    int pass; /* per-tensor only, from here */
    sol_quant_group whole;
    sol_quant_acc partial[MAX_TILES];
} job;

static float rounded_scale(const sol_quant_spec *spec, float scale)
{
    return spec->scale_dtype == SOL_F16 ? sol_f16_to_f32(sol_f32_to_f16(scale)) : scale;
}

static void measure(const job *j, int pass, const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc)
{
    for (int64_t i = 0; i < n; i += CHUNK)
        j->spec->method->measure(j->k, j->spec, pass, g, w + i, n - i < CHUNK ? n - i : CHUNK, acc);
}

/* All passes over a group that lies in one row. */
static void settle_group(const job *j, const float *w, int64_t n, sol_quant_group *g)
{
    bool more = true;
    *g = (sol_quant_group){0};
    for (int pass = 0; more; pass++) {
        sol_quant_acc acc = {0};
        measure(j, pass, g, w, n, &acc);
        more = j->spec->method->settle(j->spec, pass, n, &acc, g);
    }
    g->scale = rounded_scale(j->spec, g->scale);
}

/* A level times the scale, also when the scale is infinite. */
static inline float level_value(int8_t t, float scale)
{
    return t == 0 ? 0.0f : t < 0 ? -scale : scale;
}

static void emit_effective(const job *j, const sol_quant_group *g, const float *w, int64_t n, float *out)
{
    const sol_quantizer *q = j->spec->method;
    float scale = j->mix.a * g->scale, b = j->mix.b;
    if (q->effective) {
        q->effective(j->k, j->spec, g, scale, b, w, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i += CHUNK) {
        int8_t t[CHUNK];
        int64_t m = n - i < CHUNK ? n - i : CHUNK;
        q->levels(j->k, j->spec, g, w + i, m, t);
        for (int64_t k = 0; k < m; k++) {
            float value = level_value(t[k], scale);
            out[i + k] = b == 0 ? value : value + b * w[i + k];
        }
    }
}

static void emit(const job *j, const sol_quant_group *g, int64_t first, int64_t n)
{
    if (j->w_eff) emit_effective(j, g, j->w + first, n, j->w_eff + first);
    if (j->levels) j->spec->method->levels(j->k, j->spec, g, j->w + first, n, j->levels + first);
}

static void tile_range(const job *j, int64_t tile, int64_t *begin, int64_t *end)
{
    *begin = tile * j->rows_a_tile;
    *end = *begin + j->rows_a_tile < j->rows ? *begin + j->rows_a_tile : j->rows;
}

/* Groups that lie within rows: measure and emit while the weights are in the cache. */
static void rows_tile(void *arg, int64_t tile, int thread)
{
    const job *j = arg;
    int64_t begin, end, n = j->spec->granularity == SOL_PER_GROUP ? j->spec->group_size : j->cols;
    (void)thread;
    tile_range(j, tile, &begin, &end);
    for (int64_t i = begin * j->cols; i < end * j->cols; i += n) {
        sol_quant_group g;
        settle_group(j, j->w + i, n, &g);
        emit(j, &g, i, n);
        if (j->scales) j->scales[i / n] = g.scale;
    }
}

static void measure_tile(void *arg, int64_t tile, int thread)
{
    job *j = arg;
    int64_t begin, end;
    (void)thread;
    tile_range(j, tile, &begin, &end);
    j->partial[tile] = (sol_quant_acc){0};
    for (int64_t r = begin; r < end; r++)
        measure(j, j->pass, &j->whole, j->w + r * j->cols, j->cols, &j->partial[tile]);
}

static void emit_tile(void *arg, int64_t tile, int thread)
{
    const job *j = arg;
    int64_t begin, end;
    (void)thread;
    tile_range(j, tile, &begin, &end);
    for (int64_t r = begin; r < end; r++) emit(j, &j->whole, r * j->cols, j->cols);
}

static void run_tensor(const sol_ctx *ctx, job *j, int64_t n_tiles)
{
    bool more = true;
    for (j->pass = 0; more; j->pass++) {
        sol_quant_acc acc = {0};
        sol_pool_run(ctx->pool, n_tiles, measure_tile, j);
        for (int64_t i = 0; i < n_tiles; i++) {
            acc.sum += j->partial[i].sum;
            acc.count += j->partial[i].count;
        }
        more = j->spec->method->settle(j->spec, j->pass, j->rows * j->cols, &acc, &j->whole);
    }
    j->whole.scale = rounded_scale(j->spec, j->whole.scale);
    if (j->scales) j->scales[0] = j->whole.scale;
    sol_pool_run(ctx->pool, n_tiles, emit_tile, j);
}

/* Tiles depend on the shape alone. */
static void run(const sol_ctx *ctx, job *j)
{
    bool tensor = j->spec->granularity == SOL_PER_TENSOR;
    int64_t rows_a_tile = (TILE_WEIGHTS + j->cols - 1) / j->cols;
    if (tensor && rows_a_tile < (j->rows + MAX_TILES - 1) / MAX_TILES) rows_a_tile = (j->rows + MAX_TILES - 1) / MAX_TILES;
    j->k = &ctx->k;
    j->rows_a_tile = rows_a_tile;
    int64_t n_tiles = (j->rows + rows_a_tile - 1) / rows_a_tile;
    if (tensor)
        run_tensor(ctx, j, n_tiles);
    else
        sol_pool_run(ctx->pool, n_tiles, rows_tile, j);
}

void sol_quant_effective(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows, int64_t cols,
                         sol_residual_mix mix, float *w_eff)
{
    if (!spec->method) {
        memcpy(w_eff, w, (size_t)(rows * cols) * sizeof *w);
        return;
    }
    job j = {.spec = spec, .w = w, .rows = rows, .cols = cols, .mix = mix, .w_eff = w_eff};
    run(ctx, &j);
}

void sol_quant_split(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows, int64_t cols,
                     int8_t *ternary, float *scales)
{
    job j = {.spec = spec, .w = w, .rows = rows, .cols = cols, .levels = ternary, .scales = scales};
    run(ctx, &j);
}
