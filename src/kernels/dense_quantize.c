/* Rounding of dense matrices to 8, 6 and 4 bits in blocks of 32 with one fp16 scale. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/dense_impl.h"

typedef struct quantize_args {
    sol_dense_type type;
    const float *w;
    int64_t rows, cols;
    uint8_t *data;
    sol_f16 *scales;
    float *weight; /* [cols] or NULL */
} quantize_args;

enum { WEIGHT_COLS = 64 };

/* Mean squares of WEIGHT_COLS columns, summed in double, row after row. */
static void weigh_columns(void *arg, int64_t tile, int thread)
{
    const quantize_args *a = arg;
    int64_t first = tile * WEIGHT_COLS, n = sol_min_i64(WEIGHT_COLS, a->cols - first);
    double sum[WEIGHT_COLS] = {0};
    (void)thread;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < n; c++) sum[c] += (double)a->w[r * a->cols + first + c] * (double)a->w[r * a->cols + first + c];
    for (int64_t c = 0; c < n; c++) a->weight[first + c] = (float)(sum[c] / (double)a->rows);
}

/* q = clamp(round(w / scale)); returns the squared error of scale * q, each element times m. */
static float round_block(const float *w, const float *m, int64_t n, float scale, float low, float high, int8_t *q)
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

/* The element furthest from 0 goes to `low` (which has one level more than `high`) or near it: starting there, each
 * candidate scale is refined once by least squares, and the best of all is kept. */
static sol_f16 quantize_block(const float *w, const float *m, int64_t n, float low, float high, int n_candidates, int8_t *q)
{
    float top = 0, best_error = INFINITY;
    int8_t trial[SOL_DENSE_BLOCK] = {0};
    sol_f16 best = 0;
    for (int64_t i = 0; i < n; i++) top = fabsf(w[i]) > fabsf(top) ? w[i] : top;
    for (int k = 0; k < n_candidates; k++) {
        float scale = sol_f16_to_f32(sol_f32_to_f16(top / (low + 0.15f * (float)(k - n_candidates / 3))));
        for (int turn = 0; turn < 2; turn++) {
            float error = round_block(w, m, n, scale, low, high, trial);
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

static void store_row(sol_dense_type type, const int8_t *q, int64_t first, int64_t n, int64_t cols, uint8_t *row)
{
    uint8_t *high = row + (cols + 1) / 2;
    if (type == SOL_DENSE_Q8) {
        memcpy(row + first, q, (size_t)n);
        return;
    }
    int offset = type == SOL_DENSE_Q4 ? 8 : 32;
    for (int64_t i = 0; i < n; i++) {
        int64_t c = first + i;
        int v = q[i] + offset;
        row[c / 2] |= (uint8_t)((v & 15) << 4 * (c & 1));
        if (type == SOL_DENSE_Q6) high[c / 4] |= (uint8_t)(v >> 4 << 2 * (c & 3));
    }
}

static void quantize_row(void *arg, int64_t r, int thread)
{
    static const float low[] = {[SOL_DENSE_Q8] = -127, [SOL_DENSE_Q6] = -32, [SOL_DENSE_Q4] = -8};
    static const float high[] = {[SOL_DENSE_Q8] = 127, [SOL_DENSE_Q6] = 31, [SOL_DENSE_Q4] = 7};
    static const int candidates[] = {[SOL_DENSE_Q8] = 1, [SOL_DENSE_Q6] = 6, [SOL_DENSE_Q4] = 12};
    const quantize_args *a = arg;
    size_t row_bytes = sol_dense_row_bytes(a->type, a->cols);
    uint8_t *row = a->data + (size_t)r * row_bytes;
    const float *w = a->w + r * a->cols;
    (void)thread;
    if (a->type == SOL_DENSE_F32) {
        memcpy(row, w, row_bytes);
        return;
    }
    if (a->type == SOL_DENSE_F16) {
        for (int64_t c = 0; c < a->cols; c++) ((sol_f16 *)row)[c] = sol_f32_to_f16(w[c]);
        return;
    }
    memset(row, 0, row_bytes);
    sol_f16 *scales = a->scales + r * sol_dense_row_scales(a->type, a->cols);
    float alike[SOL_DENSE_BLOCK];
    for (int i = 0; i < SOL_DENSE_BLOCK; i++) alike[i] = 1;
    for (int64_t c = 0; c < a->cols; c += SOL_DENSE_BLOCK) {
        const float *m = a->weight ? a->weight + c : alike;
        int8_t q[SOL_DENSE_BLOCK] = {0};
        int64_t n = sol_min_i64(SOL_DENSE_BLOCK, a->cols - c);
        scales[c / SOL_DENSE_BLOCK] = quantize_block(w + c, m, n, low[a->type], high[a->type], candidates[a->type], q);
        store_row(a->type, q, c, n, a->cols, row);
    }
}

void sol_dense_quantize(const sol_ctx *ctx, sol_dense_type type, const float *w, int64_t rows, int64_t cols, void *data,
                        sol_f16 *scales, float *weight)
{
    quantize_args args = {.type = type, .w = w, .rows = rows, .cols = cols, .data = data, .scales = scales, .weight = weight};
    if (weight) sol_pool_run(ctx->pool, sol_ceil_div(cols, WEIGHT_COLS), weigh_columns, &args);
    sol_pool_run(ctx->pool, rows, quantize_row, &args);
}
