/* Matrices as files hold them: sizes, parts, rounding from fp32 and casts back to it.
 * Teachers keep their weights so, and packed models their embeddings. */
#include "kernels/stored.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* Elements of a tile that is cast or rounded. */
enum { TILE_ELEMENTS = 1 << 16 };

size_t sol_stored_bytes(const sol_stored *s)
{
    return (size_t)s->rows * sol_dtype_row_bytes(s->type, s->cols);
}

size_t sol_stored_scale_bytes(const sol_stored *s)
{
    return (size_t)(s->rows * sol_dtype_row_scales(s->type, s->cols)) * sizeof(sol_f16);
}

sol_status sol_stored_alloc(sol_stored *s, sol_err *err)
{
    size_t n_scales = (size_t)sol_dtype_row_scales(s->type, s->cols);
    SOL_TRY(sol_alloc_array(&s->data, (size_t)s->rows, sol_dtype_row_bytes(s->type, s->cols), err));
    if (n_scales == 0) return SOL_OK;
    return sol_alloc_array((void **)&s->scales, (size_t)s->rows, n_scales * sizeof(sol_f16), err);
}

void sol_stored_free(sol_stored *s)
{
    sol_free(s->data);
    sol_free(s->scales);
    sol_free(s->signs);
    s->data = NULL;
    s->scales = NULL;
    s->signs = NULL;
}

sol_stored sol_stored_part(const sol_stored *s, int64_t from, int64_t n)
{
    sol_stored part = *s;
    part.rows = n;
    part.data = (char *)s->data + (size_t)from * sol_dtype_row_bytes(s->type, s->cols);
    if (s->scales) part.scales = s->scales + from * sol_dtype_row_scales(s->type, s->cols);
    return part;
}

/* ---- to fp32 ---- */

/* One row of a type with scales, a piece of whole blocks at a time. */
static void decode_row(const sol_dtype_traits *t, const uint8_t *row, const sol_f16 *scales,
                       int64_t cols, float *out)
{
    enum { PIECE = 32 * SOL_SCALE_BLOCK };
    const uint8_t *second = row + sol_ceil_div(cols * t->bits, 32);
    int8_t q[PIECE];
    for (int64_t at = 0; at < cols; at += PIECE) {
        int64_t n = sol_min_i64(PIECE, cols - at);
        t->integers(row + at * t->bits / 32, second + at * t->more_bits / 32, n, q);
        for (int64_t c = 0; c < n; c += SOL_SCALE_BLOCK) {
            float scale = sol_f16_to_f32(*scales++);
            int64_t end = sol_min_i64(c + SOL_SCALE_BLOCK, n);
            for (int64_t i = c; i < end; i++) out[at + i] = scale * (float)q[i];
        }
    }
}

void sol_stored_rows(const sol_stored *s, int64_t from, int64_t n, float *out)
{
    const sol_dtype_traits *t = sol_dtype_of(s->type);
    sol_stored part = sol_stored_part(s, from, n);
    size_t row_bytes = sol_dtype_row_bytes(s->type, s->cols);
    if (!t->block) {
        sol_convert(out, SOL_F32, part.data, s->type, n * s->cols);
        return;
    }
    for (int64_t r = 0; r < n; r++)
        decode_row(t, (const uint8_t *)part.data + (size_t)r * row_bytes,
                   part.scales + r * sol_dtype_row_scales(s->type, s->cols), s->cols,
                   out + r * s->cols);
}

typedef struct cast_args {
    const sol_stored *s;
    float *out;
    int64_t tile_rows;
} cast_args;

static void cast_tile(void *arg, int64_t tile, int thread)
{
    const cast_args *a = arg;
    (void)thread;
    int64_t first = tile * a->tile_rows, n = sol_min_i64(a->s->rows - first, a->tile_rows);
    sol_stored_rows(a->s, first, n, a->out + first * a->s->cols);
}

void sol_stored_to_f32(const sol_ctx *ctx, const sol_stored *s, float *out)
{
    cast_args a = {.s = s, .out = out, .tile_rows = sol_max_i64(1, TILE_ELEMENTS / s->cols)};
    sol_pool_run(ctx->pool, sol_ceil_div(s->rows, a.tile_rows), cast_tile, &a);
}

/* ---- from fp32 ---- */

typedef struct fill_args {
    const sol_stored *s;
    const float *w;
    float *weight; /* [cols] or NULL */
    int64_t tile_rows;
} fill_args;

enum { WEIGHT_COLS = 64 };

/* Mean squares of WEIGHT_COLS columns, summed in double, row after row. */
static void weigh_columns(void *arg, int64_t tile, int thread)
{
    const fill_args *a = arg;
    int64_t rows = a->s->rows, cols = a->s->cols;
    int64_t first = tile * WEIGHT_COLS, n = sol_min_i64(WEIGHT_COLS, cols - first);
    double sum[WEIGHT_COLS] = {0};
    (void)thread;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++) {
            double w = (double)a->w[r * cols + first + c];
            sum[c] += w * w;
        }
    for (int64_t c = 0; c < n; c++) a->weight[first + c] = (float)(sum[c] / (double)rows);
}

/* q = clamp(round(w / scale)); returns the squared error of scale * q, each element times m. */
static float try_scale(const float *w, const float *m, int64_t n, float scale, float low,
                       float high, int8_t *q)
{
    float inverse = scale != 0 ? 1 / scale : 0, error = 0;
    for (int64_t i = 0; i < n; i++) {
        float v = rintf(w[i] * inverse);
        v = v > high ? high : v >= low ? v : low; /* NaN goes low, too */
        q[i] = (int8_t)v;
        error += m[i] * (w[i] - scale * v) * (w[i] - scale * v);
    }
    return error;
}

static float least_squares_scale(const float *w, const float *m, const int8_t *q, int64_t n)
{
    float wq = 0, qq = 0;
    for (int64_t i = 0; i < n; i++) {
        wq += m[i] * w[i] * (float)q[i];
        qq += m[i] * (float)(q[i] * q[i]);
    }
    return qq > 0 ? wq / qq : 0;
}

/* The element furthest from 0 goes to `low` (which has one level more than `high`) or near it:
 * starting there, each candidate scale is refined once by least squares, and the best of all is
 * kept. */
static sol_f16 round_block(const sol_dtype_traits *t, const float *w, const float *m, int64_t n,
                           int8_t *q)
{
    const float low = (float)t->low, high = (float)t->high;
    float top = 0, best_error = INFINITY;
    int8_t trial[SOL_SCALE_BLOCK] = {0};
    sol_f16 best = 0;
    for (int64_t i = 0; i < n; i++) top = fabsf(w[i]) > fabsf(top) ? w[i] : top;
    for (int k = 0; k < t->trials; k++) {
        float scale =
            sol_f16_to_f32(sol_f32_to_f16(top / (low + 0.15f * (float)(k - t->trials / 3))));
        for (int pass = 0; pass < 2; pass++) {
            float error = try_scale(w, m, n, scale, low, high, trial);
            if (error < best_error) {
                best_error = error;
                best = sol_f32_to_f16(scale);
                memcpy(q, trial, (size_t)n);
            }
            scale = sol_f16_to_f32(sol_f32_to_f16(least_squares_scale(w, m, trial, n)));
        }
    }
    return best;
}

/* q of columns [first, first + n) into a row of zeros. */
static void store_block(const sol_dtype_traits *t, const int8_t *q, int64_t first, int64_t n,
                        int64_t cols, uint8_t *row)
{
    uint8_t *second = row + sol_ceil_div(cols * t->bits, 32);
    int bits = t->bits / 4, more = t->more_bits / 4;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = (first + i) * bits, more_at = (first + i) * more;
        int v = q[i] + t->zero;
        row[at / 8] |= (uint8_t)((v & ((1 << bits) - 1)) << at % 8);
        if (more) second[more_at / 8] |= (uint8_t)(v >> bits << more_at % 8);
    }
}

static void round_row(const fill_args *a, int64_t r)
{
    const sol_stored *s = a->s;
    const sol_dtype_traits *t = sol_dtype_of(s->type);
    sol_stored part = sol_stored_part(s, r, 1);
    float alike[SOL_SCALE_BLOCK];
    for (int i = 0; i < SOL_SCALE_BLOCK; i++) alike[i] = 1;
    memset(part.data, 0, sol_dtype_row_bytes(s->type, s->cols));
    for (int64_t c = 0; c < s->cols; c += SOL_SCALE_BLOCK) {
        int8_t q[SOL_SCALE_BLOCK] = {0};
        int64_t n = sol_min_i64(SOL_SCALE_BLOCK, s->cols - c);
        part.scales[c / SOL_SCALE_BLOCK] =
            round_block(t, a->w + r * s->cols + c, a->weight ? a->weight + c : alike, n, q);
        store_block(t, q, c, n, s->cols, part.data);
    }
}

static void fill_tile(void *arg, int64_t tile, int thread)
{
    const fill_args *a = arg;
    const sol_stored *s = a->s;
    (void)thread;
    int64_t first = tile * a->tile_rows, end = sol_min_i64(s->rows, first + a->tile_rows);
    if (sol_dtype_of(s->type)->block) {
        for (int64_t r = first; r < end; r++) round_row(a, r);
        return;
    }
    sol_convert(sol_stored_part(s, first, end - first).data, s->type, a->w + first * s->cols,
                SOL_F32, (end - first) * s->cols);
}

void sol_stored_fill(const sol_ctx *ctx, const sol_stored *s, const float *w, float *weight)
{
    bool scaled = sol_dtype_of(s->type)->block;
    fill_args a = {.s = s,
                   .w = w,
                   .weight = weight,
                   .tile_rows = scaled ? 1 : sol_max_i64(1, TILE_ELEMENTS / s->cols)};
    if (weight) sol_pool_run(ctx->pool, sol_ceil_div(s->cols, WEIGHT_COLS), weigh_columns, &a);
    sol_pool_run(ctx->pool, sol_ceil_div(s->rows, a.tile_rows), fill_tile, &a);
}

sol_status sol_stored_round(const sol_ctx *ctx, sol_dtype type, const float *w, int64_t rows,
                            int64_t cols, float *out, sol_err *err)
{
    sol_stored s = {.type = type, .rows = rows, .cols = cols};
    float *weight = NULL;
    sol_status st = sol_stored_alloc(&s, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&weight, (size_t)cols, sizeof *weight, err);
    if (st == SOL_OK) {
        sol_stored_fill(ctx, &s, w, weight);
        sol_stored_to_f32(ctx, &s, out);
    }
    sol_free(weight);
    sol_stored_free(&s);
    return st;
}
