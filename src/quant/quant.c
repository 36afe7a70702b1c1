/* The driver of all quantizers: measures scale groups, settles their numbers, emits W_eff or the
 * parts of Q(W), and runs the backward pass, over the pool. A quantizer supplies what happens
 * inside a group. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"

/* CHUNK: weights handed to a method at a time, a multiple of what blocks and lane sums count in.
 * TILE_WEIGHTS: the least that is worth handing to a thread. MAX_TILES bounds the partial sums of
 * one per-tensor scale. */
enum { CHUNK = 1024, TILE_WEIGHTS = 1 << 15, MAX_TILES = 64 };

typedef struct call {
    const sol_kernels *k;
    const sol_quant_spec *spec;
    const sol_quant_matrix *x;
    int64_t rows_a_tile, chunk;
    sol_residual_mix mix;
    /* What is wanted; NULL: not. */
    float *w_eff, *bias;
    uint16_t *w_eff_bf16;
    sol_quant_parts parts;
    const sol_quant_grads *grads;
    float learned_scale;
    /* per-tensor only */
    int pass;
    sol_quant_group whole;
    sol_quant_acc partial[MAX_TILES];
    double partial_learned[MAX_TILES][SOL_QUANT_MAX_LEARNED];
} call;

static float rounded(const sol_quant_spec *spec, float x)
{
    return spec->scale_dtype == SOL_F16 ? sol_f16_to_f32(sol_f32_to_f16(x)) : x;
}

static void measure(const call *c, int pass, const sol_quant_group *g, const float *w, int64_t n,
                    sol_quant_acc *acc)
{
    for (int64_t i = 0; i < n; i += c->chunk)
        c->spec->method->measure(c->k, c->spec, pass, g, w + i, sol_min_i64(n - i, c->chunk), acc);
}

/* Parameters that were learned take the place of measuring. */
static bool take_learned(const call *c, int64_t index, sol_quant_group *g)
{
    const sol_quantizer *q = c->spec->method;
    if (q->n_learned == 0 || !c->x->learned[0]) return false;
    for (int k = 0; k < q->n_learned; k++) g->learned[k] = c->x->learned[k][index];
    return true;
}

static void finish_group(const call *c, sol_quant_group *g)
{
    if (c->spec->method->derive) c->spec->method->derive(g);
    g->scale = rounded(c->spec, g->scale);
    g->shift = rounded(c->spec, g->shift);
}

/* Group `index`, which lies in one row. */
static void settle_group(const call *c, int64_t index, const float *w, int64_t n,
                         sol_quant_group *g)
{
    *g = (sol_quant_group){0};
    bool more = !take_learned(c, index, g);
    for (int pass = 0; more; pass++) {
        sol_quant_acc acc = {0};
        measure(c, pass, g, w, n, &acc);
        more = c->spec->method->settle(c->spec, pass, n, &acc, g);
    }
    finish_group(c, g);
}

/* A level times the scale, also when the scale is infinite. */
static inline float level_value(int8_t t, float scale)
{
    return t == 0 ? 0.0f : t < 0 ? -scale : scale;
}

static void emit_effective(const call *c, const sol_quant_group *g, const float *w, int64_t n,
                           float *out)
{
    const sol_quantizer *q = c->spec->method;
    float scale = c->mix.a * g->scale, shift = c->mix.a * g->shift, b = c->mix.b;
    if (q->effective) {
        q->effective(c->k, c->spec, g, scale, b, w, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i += c->chunk) {
        int8_t t[CHUNK];
        int64_t m = sol_min_i64(n - i, c->chunk);
        q->levels(c->k, c->spec, g, w + i, m, t);
        for (int64_t k = 0; k < m; k++) {
            float value = level_value(t[k], scale);
            if (shift != 0) value += shift; /* adding a 0 would turn -0 to +0 */
            out[i + k] = b == 0 ? value : value + b * w[i + k];
        }
    }
}

static void emit_bf16(const call *c, const sol_quant_group *g, const float *w, int64_t n,
                      uint16_t *out)
{
    float part[CHUNK];
    for (int64_t i = 0; i < n; i += c->chunk) {
        int64_t m = sol_min_i64(n - i, c->chunk);
        emit_effective(c, g, w + i, m, part);
        c->k->elementwise.to_bf16(part, m, out + i);
    }
}

static void add_dead(const call *c, const sol_quant_group *g, const float *w, int64_t n,
                     float *bias)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += c->chunk) {
        int8_t t[CHUNK];
        int64_t m = sol_min_i64(n - i, c->chunk);
        c->spec->method->levels(c->k, c->spec, g, w + i, m, t);
        for (int64_t k = 0; k < m; k++) sum += t[k] == 0 ? (double)w[i + k] : 0;
    }
    *bias += c->mix.a * (float)((double)c->spec->method->dead_bias * sum);
}

/* dL/dW = a dL/dQ dQ/dW + b dL/dW_eff, and what reaches the dead weights through the bias, for n
 * weights from element `first`. */
static void emit_backward(const call *c, const sol_quant_group *g, int64_t row, int64_t first,
                          int64_t n, double *learned)
{
    static const float zeros[CHUNK];
    const sol_quantizer *q = c->spec->method;
    const sol_quant_grads *to = c->grads;
    const float *w = c->x->w + first;
    float a = c->mix.a, b = c->mix.b, *dw = to->dw ? to->dw + first : NULL;
    for (int64_t i = 0; i < n; i += c->chunk) {
        float through[CHUNK];
        int8_t t[CHUNK];
        int64_t m = sol_min_i64(n - i, c->chunk);
        const float *d = to->dw_eff ? to->dw_eff + first + i : zeros;
        if (q->backward)
            q->backward(g, w + i, d, m, through, learned);
        else
            memcpy(through, d, (size_t)m * sizeof *d);
        if (q->dead_bias != 0 && to->d_bias) {
            q->levels(c->k, c->spec, g, w + i, m, t);
            for (int64_t k = 0; k < m; k++)
                if (t[k] == 0) through[k] += q->dead_bias * to->d_bias[row];
        }
        if (!dw) continue;
        for (int64_t k = 0; k < m; k++) {
            float value = a * through[k] + b * d[k];
            dw[i + k] = to->add ? dw[i + k] + value : value;
        }
    }
}

/* n weights of group g from element `first`, which lies in `row`. */
static void emit(const call *c, const sol_quant_group *g, int64_t row, int64_t first, int64_t n,
                 double *learned)
{
    const float *w = c->x->w + first;
    if (c->w_eff) emit_effective(c, g, w, n, c->w_eff + first);
    if (c->w_eff_bf16) emit_bf16(c, g, w, n, c->w_eff_bf16 + first);
    if (c->bias) add_dead(c, g, w, n, c->bias + row);
    if (c->parts.ternary) c->spec->method->levels(c->k, c->spec, g, w, n, c->parts.ternary + first);
    if (c->grads) emit_backward(c, g, row, first, n, learned);
}

static void emit_numbers(const call *c, const sol_quant_group *g, int64_t index)
{
    if (c->parts.scales) c->parts.scales[index] = g->scale;
    if (c->parts.shifts) c->parts.shifts[index] = g->shift;
    for (int k = 0; k < c->spec->method->n_learned; k++)
        if (c->parts.learned[k]) c->parts.learned[k][index] = g->learned[k];
}

static void add_learned(const call *c, int64_t index, const double *sum)
{
    if (!c->grads) return;
    for (int k = 0; k < c->spec->method->n_learned; k++)
        if (c->grads->d_learned[k])
            c->grads->d_learned[k][index] += c->mix.a * c->learned_scale * (float)sum[k];
}

static void tile_rows(const call *c, int64_t tile, int64_t *begin, int64_t *end)
{
    *begin = tile * c->rows_a_tile;
    *end = sol_min_i64(*begin + c->rows_a_tile, c->x->rows);
    if (c->bias)
        for (int64_t r = *begin; r < *end; r++) c->bias[r] = 0;
}

/* Groups that lie within rows: measure and emit while the weights are in the cache. */
static void rows_tile(void *arg, int64_t tile, int thread)
{
    const call *c = arg;
    int64_t begin, end, cols = c->x->cols,
                        n = c->spec->granularity == SOL_PER_GROUP ? c->spec->group_size : cols;
    (void)thread;
    tile_rows(c, tile, &begin, &end);
    for (int64_t i = begin * cols; i < end * cols; i += n) {
        sol_quant_group g;
        double learned[SOL_QUANT_MAX_LEARNED] = {0};
        settle_group(c, i / n, c->x->w + i, n, &g);
        emit(c, &g, i / cols, i, n, learned);
        emit_numbers(c, &g, i / n);
        add_learned(c, i / n, learned);
    }
}

static void measure_tile(void *arg, int64_t tile, int thread)
{
    call *c = arg;
    int64_t begin = tile * c->rows_a_tile, end = sol_min_i64(begin + c->rows_a_tile, c->x->rows);
    (void)thread;
    c->partial[tile] = (sol_quant_acc){0};
    for (int64_t r = begin; r < end; r++)
        measure(c, c->pass, &c->whole, c->x->w + r * c->x->cols, c->x->cols, &c->partial[tile]);
}

static void emit_tile(void *arg, int64_t tile, int thread)
{
    call *c = arg;
    int64_t begin, end;
    (void)thread;
    tile_rows(c, tile, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        emit(c, &c->whole, r, r * c->x->cols, c->x->cols, c->partial_learned[tile]);
}

static void run_tensor(const sol_ctx *ctx, call *c, int64_t n_tiles)
{
    bool more = !take_learned(c, 0, &c->whole);
    for (c->pass = 0; more; c->pass++) {
        sol_quant_acc acc = {0};
        sol_pool_run(ctx->pool, n_tiles, measure_tile, c);
        for (int64_t i = 0; i < n_tiles; i++) {
            acc.sum += c->partial[i].sum;
            acc.count += c->partial[i].count;
            acc.max = fmaxf(acc.max, c->partial[i].max);
        }
        more = c->spec->method->settle(c->spec, c->pass, c->x->rows * c->x->cols, &acc, &c->whole);
    }
    finish_group(c, &c->whole);
    emit_numbers(c, &c->whole, 0);
    sol_pool_run(ctx->pool, n_tiles, emit_tile, c);
    double learned[SOL_QUANT_MAX_LEARNED] = {0};
    for (int64_t i = 0; i < n_tiles; i++)
        for (int k = 0; k < SOL_QUANT_MAX_LEARNED; k++) learned[k] += c->partial_learned[i][k];
    add_learned(c, 0, learned);
}

/* Tiles depend on the shape alone. */
static void run(const sol_ctx *ctx, call *c)
{
    int64_t rows = c->x->rows, cols = c->x->cols, rows_a_tile = sol_ceil_div(TILE_WEIGHTS, cols);
    bool tensor = c->spec->granularity == SOL_PER_TENSOR;
    if (tensor && rows_a_tile < sol_ceil_div(rows, MAX_TILES))
        rows_a_tile = sol_ceil_div(rows, MAX_TILES);
    c->k = &ctx->kernels;
    c->rows_a_tile = rows_a_tile;
    c->chunk = CHUNK - CHUNK % sol_quant_block(c->spec);
    c->learned_scale = (float)(1 / sqrt((double)rows * (double)cols));
    int64_t n_tiles = sol_ceil_div(rows, rows_a_tile);
    if (tensor)
        run_tensor(ctx, c, n_tiles);
    else
        sol_pool_run(ctx->pool, n_tiles, rows_tile, c);
}

void sol_quant_forward(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                       sol_residual_mix mix, float *w_eff, float *bias)
{
    if (!spec->method) {
        memcpy(w_eff, x->w, (size_t)(x->rows * x->cols) * sizeof *x->w);
        return;
    }
    call c = {.spec = spec, .x = x, .mix = mix, .w_eff = w_eff, .bias = bias};
    run(ctx, &c);
}

void sol_quant_forward_bf16(const sol_ctx *ctx, const sol_quant_spec *spec,
                            const sol_quant_matrix *x, sol_residual_mix mix, uint16_t *w_eff,
                            float *bias)
{
    call c = {.spec = spec, .x = x, .mix = mix, .w_eff_bf16 = w_eff, .bias = bias};
    run(ctx, &c);
}

void sol_quant_effective(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                         int64_t rows, int64_t cols, sol_residual_mix mix, float *w_eff)
{
    sol_quant_forward(ctx, spec, &(sol_quant_matrix){.w = w, .rows = rows, .cols = cols}, mix,
                      w_eff, NULL);
}

void sol_quant_take_apart(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                          sol_quant_parts *parts)
{
    call c = {.spec = spec, .x = x, .parts = *parts};
    run(ctx, &c);
}

void sol_quant_split(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows,
                     int64_t cols, int8_t *ternary, float *scales)
{
    sol_quant_parts parts = {.ternary = ternary, .scales = scales};
    sol_quant_take_apart(ctx, spec, &(sol_quant_matrix){.w = w, .rows = rows, .cols = cols},
                         &parts);
}

bool sol_quant_is_straight_through(const sol_quant_spec *spec)
{
    return !spec->method || (!spec->method->backward && spec->method->dead_bias == 0);
}

void sol_quant_backward(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                        sol_residual_mix mix, const sol_quant_grads *g)
{
    call c = {.spec = spec, .x = x, .mix = mix, .grads = g};
    run(ctx, &c);
}
