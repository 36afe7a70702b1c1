/* Stored matrices: rounding, casts back to fp32, and products with rows cast block by block. The
 * teacher's weights are held so. */
#include "kernels/stored.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/dense.h"
#include "kernels/gemm.h"

/* Items of a tile that is widened or rounded, and of a block that a product widens: large enough that the product
 * runs at full speed, small enough to come back out of a cache. */
enum { TILE_ITEMS = 1 << 16, BLOCK_ITEMS = 1 << 21, BLOCK_ROWS = 256 };

size_t sol_stored_bytes(const sol_stored *s)
{
    static const size_t size[] = {[SOL_STORED_F32] = 4, [SOL_STORED_BF16] = 2, [SOL_STORED_Q8] = 1};
    return (size_t)s->rows * (size_t)s->cols * size[s->type];
}

static int64_t row_scales(const sol_stored *s)
{
    return s->type == SOL_STORED_Q8 ? sol_dense_row_scales(SOL_DENSE_Q8, s->cols) : 0;
}

size_t sol_stored_scale_bytes(const sol_stored *s)
{
    return (size_t)s->rows * (size_t)row_scales(s) * sizeof(sol_f16);
}

sol_stored sol_stored_part(const sol_stored *s, int64_t from, int64_t n)
{
    sol_stored part = *s, before = *s;
    before.rows = from;
    part.rows = n;
    part.data = (char *)s->data + sol_stored_bytes(&before);
    if (s->scales) part.scales = s->scales + from * row_scales(s);
    return part;
}

static void widen_bf16(const sol_bf16 *in, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_bf16_to_f32(in[i]);
}

static void widen_q8(const int8_t *q, const sol_f16 *scales, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += SOL_DENSE_BLOCK) {
        float scale = sol_f16_to_f32(*scales++);
        int64_t end = sol_min_i64(i + SOL_DENSE_BLOCK, n);
        for (int64_t j = i; j < end; j++) out[j] = scale * (float)q[j];
    }
}

void sol_stored_rows(const sol_stored *s, int64_t from, int64_t n, float *out)
{
    int64_t C = s->cols;
    if (s->type == SOL_STORED_F32) memcpy(out, (const float *)s->data + from * C, (size_t)(n * C) * sizeof *out);
    if (s->type == SOL_STORED_BF16) widen_bf16((const sol_bf16 *)s->data + from * C, n * C, out);
    for (int64_t r = from; s->type == SOL_STORED_Q8 && r < from + n; r++)
        widen_q8((const int8_t *)s->data + r * C, s->scales + r * row_scales(s), C, out + (r - from) * C);
}

typedef struct tiles {
    const sol_stored *s;
    const float *in;
    float *out;
    int64_t from, rows, tile; /* rows of the part, and of a tile */
} tiles;

static int64_t tile_rows(const sol_stored *s)
{
    return s->cols < TILE_ITEMS ? TILE_ITEMS / s->cols : 1;
}

static void widen_tile(void *arg, int64_t tile, int thread)
{
    const tiles *t = arg;
    (void)thread;
    int64_t first = tile * t->tile, n = sol_min_i64(t->rows - first, t->tile);
    sol_stored_rows(t->s, t->from + first, n, t->out + first * t->s->cols);
}

static void widen_part(const sol_ctx *ctx, const sol_stored *s, int64_t from, int64_t rows, float *out)
{
    tiles t = {.s = s, .out = out, .from = from, .rows = rows, .tile = tile_rows(s)};
    sol_pool_run(ctx->pool, sol_ceil_div(rows, t.tile), widen_tile, &t);
}

void sol_stored_widen(const sol_ctx *ctx, const sol_stored *s, float *out)
{
    widen_part(ctx, s, 0, s->rows, out);
}

static void round_tile(void *arg, int64_t tile, int thread)
{
    const tiles *t = arg;
    (void)thread;
    int64_t C = t->s->cols, begin = tile * t->tile * C, end = begin + t->tile * C;
    sol_bf16 *out = t->s->data;
    if (end > t->rows * C) end = t->rows * C;
    for (int64_t i = begin; i < end; i++) out[i] = sol_f32_to_bf16(t->in[i]);
}

void sol_stored_fill(const sol_ctx *ctx, const sol_stored *s, const float *w)
{
    tiles t = {.s = s, .in = w, .rows = s->rows, .tile = tile_rows(s)};
    if (s->type == SOL_STORED_F32) memcpy(s->data, w, sol_stored_bytes(s));
    if (s->type == SOL_STORED_BF16) sol_pool_run(ctx->pool, sol_ceil_div(t.rows, t.tile), round_tile, &t);
    if (s->type == SOL_STORED_Q8) sol_dense_quantize(ctx, SOL_DENSE_Q8, w, s->rows, s->cols, s->data, s->scales, NULL);
}

static bool as_it_lies(const sol_stored *s, bool bf16)
{
    return s->type == SOL_STORED_F32 || (bf16 && s->type == SOL_STORED_BF16);
}

static int64_t block_rows(const sol_stored *s, bool bf16)
{
    int64_t rows = BLOCK_ITEMS / s->cols;
    if (rows < BLOCK_ROWS) rows = BLOCK_ROWS;
    return rows < s->rows && !as_it_lies(s, bf16) ? rows : s->rows;
}

static size_t wide_bytes(const sol_stored *s, bool bf16)
{
    size_t bytes = (size_t)(block_rows(s, bf16) * s->cols) * sizeof(float);
    return as_it_lies(s, bf16) ? 0 : sol_round_up_size(bytes, SOL_ALIGN);
}

size_t sol_stored_scratch_bytes(const sol_stored *s, bool bf16)
{
    return wide_bytes(s, bf16) + sol_product_scratch(bf16, block_rows(s, bf16), s->cols);
}

void sol_stored_gemm(const sol_ctx *ctx, bool bf16, const float *x, int64_t m, const sol_stored *s, float *y,
                     void *scratch)
{
    int64_t C = s->cols, block = block_rows(s, bf16);
    bool lies = as_it_lies(s, bf16);
    char *room = (char *)scratch + wide_bytes(s, bf16);
    sol_operand a = {.data = x, .ld = C};
    sol_operand w = {.data = s->data, .ld = C, .trans = true, .bf16 = s->type == SOL_STORED_BF16};
    if (!lies) w.data = scratch, w.bf16 = false;
    for (int64_t r = 0; r < s->rows; r += block) {
        int64_t n = sol_min_i64(s->rows - r, block);
        if (!lies) widen_part(ctx, s, r, n, scratch);
        sol_product(ctx, bf16, m, n, C, 1, &a, &w, 0, y + r, s->rows, room);
    }
}
