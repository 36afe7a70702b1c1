/* The C reference of the dense product: rows stay as they are on disk, each is decoded to int8 once a product. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/dense_impl.h"

enum { TILE_ROWS = 16 };

static size_t scale_bytes(const sol_segments *s)
{
    return (size_t)s->n_groups * sizeof(sol_f16);
}

static size_t ref_tile_bytes(sol_dense_type type, const sol_segments *s)
{
    return (size_t)sol_round_up((int64_t)(TILE_ROWS * (sol_dense_row_bytes(type, s->cols) + scale_bytes(s))), 64);
}

static void ref_pack(sol_dense_type type, const sol_segments *s, const uint8_t *src, const sol_f16 *scales, int64_t n, uint8_t *tile)
{
    memcpy(tile, scales, (size_t)n * scale_bytes(s));
    memcpy(tile + TILE_ROWS * scale_bytes(s), src, (size_t)n * sol_dense_row_bytes(type, s->cols));
}

/* The stored row in a tile. */
static const uint8_t *row_at(sol_dense_type type, const sol_segments *s, const uint8_t *tile, int64_t r)
{
    return tile + TILE_ROWS * scale_bytes(s) + (size_t)r * sol_dense_row_bytes(type, s->cols);
}

static const sol_f16 *scales_at(const sol_segments *s, const uint8_t *tile, int64_t r)
{
    return (const sol_f16 *)tile + r * s->n_groups;
}

static void ref_row(sol_dense_type type, const sol_segments *s, const uint8_t *tile, int64_t r, float *w)
{
    const uint8_t *row = row_at(type, s, tile, r);
    const sol_f16 *scales = scales_at(s, tile, r);
    for (int64_t c = 0; c < s->cols; c++)
        w[c] = sol_f16_to_f32(scales[c / SOL_DENSE_BLOCK]) * (float)sol_dense_stored(type, row, s->cols, c);
}

static size_t ref_thread_bytes(const sol_segments *s)
{
    return (size_t)s->cols_pad;
}

static float row_product(const sol_segments *s, const int8_t *w, const sol_f16 *scales, const int8_t *q, const float *d)
{
    float y = 0;
    for (int64_t g = 0; g < s->n_groups; g++) {
        int64_t start = g * SOL_DENSE_BLOCK, end = sol_min_i64(start + SOL_DENSE_BLOCK, s->cols);
        int32_t sum = 0;
        for (int64_t c = start; c < end; c++) sum += w[c] * q[c];
        y = fmaf(sol_f16_to_f32(scales[g]), d[g] * (float)sum, y);
    }
    return y;
}

static void decode_row(sol_dense_type type, const uint8_t *row, int64_t cols, int8_t *w)
{
    int64_t c = 0;
    if (type == SOL_DENSE_Q8) memcpy(w, row, (size_t)cols);
    for (; type == SOL_DENSE_Q4 && c + 2 <= cols; c += 2) {
        w[c] = (int8_t)((row[c / 2] & 15) - 8);
        w[c + 1] = (int8_t)((row[c / 2] >> 4) - 8);
    }
    for (; type != SOL_DENSE_Q8 && c < cols; c++) w[c] = (int8_t)sol_dense_stored(type, row, cols, c);
}

static void ref_product(const sol_dense_job *job, int64_t first, int64_t last, void *thread)
{
    const sol_segments *s = job->seg;
    int8_t *w = thread;
    int64_t end = sol_min_i64(last * TILE_ROWS, job->rows);
    for (int64_t r = first * TILE_ROWS; r < end; r++) {
        const uint8_t *tile = job->tiles + (size_t)(r / TILE_ROWS) * job->tile_bytes;
        const uint8_t *row = row_at(job->type, s, tile, r % TILE_ROWS);
        const sol_f16 *scales = scales_at(s, tile, r % TILE_ROWS);
        decode_row(job->type, row, s->cols, w);
        for (int64_t t = 0; t < job->acts->n; t++)
            job->y[t * job->rows + r] = row_product(s, w, scales, job->acts->q + t * s->q_stride, job->acts->d + t * s->n_segs);
    }
}

const sol_dense_ops sol_dense_ops_ref = {
    .tile_rows = TILE_ROWS,
    .max_tokens = 256,
    .tile_bytes = ref_tile_bytes,
    .pack = ref_pack,
    .row = ref_row,
    .thread_bytes = ref_thread_bytes,
    .product = ref_product,
};
