/* The C reference of integer products and of the rounding of activations: rows stay as they are
 * stored, each is decoded to int8 once a product. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/matrix_impl.h"

static uint32_t max_magnitude(const float *x, int64_t n)
{
    uint32_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = sol_f32_bits(x[i]) & 0x7fffffffu;
        m = u > m ? u : m;
    }
    return m;
}

static void round_block(const float *x, int64_t n, float inverse, int8_t *q)
{
    for (int64_t i = 0; i < n; i++) q[i] = (int8_t)rintf(x[i] * inverse);
}

#define ACT_QUANTIZE sol_act_quantize_ref
#include "kernels/act_tmpl.h"

enum { TILE_ROWS = 16 };

/* Bytes of one row in a tile, which holds the scales of all its rows (so that they are aligned),
 * then their data, then their signs. */
typedef struct tile_layout {
    size_t scales, data, signs;
} tile_layout;

static tile_layout layout_of(sol_dtype type, const sol_segments *s)
{
    size_t signs = type == SOL_TERNARY ? (size_t)sol_ceil_div(s->cols / 4, 8) : 0;
    return (tile_layout){(size_t)s->n_groups * sizeof(sol_f16), sol_dtype_row_bytes(type, s->cols),
                         signs};
}

static size_t tile_bytes(sol_dtype type, const sol_segments *s)
{
    tile_layout l = layout_of(type, s);
    return sol_round_up_size(TILE_ROWS * (l.scales + l.data + l.signs), 64);
}

static void pack(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile)
{
    tile_layout l = layout_of(type, s);
    uint8_t *data = tile + TILE_ROWS * l.scales, *signs = data + TILE_ROWS * l.data;
    for (int r = 0; r < rows->n; r++) {
        memcpy(tile + (size_t)r * l.scales, rows->scales[r], l.scales);
        memcpy(data + (size_t)r * l.data, rows->data[r], l.data);
        if (l.signs) memcpy(signs + (size_t)r * l.signs, rows->signs[r], l.signs);
    }
}

static void unpack(sol_dtype type, const sol_segments *s, const uint8_t *tile, int64_t r, int8_t *q,
                   sol_f16 *scales)
{
    const sol_dtype_traits *t = sol_dtype_of(type);
    tile_layout l = layout_of(type, s);
    const uint8_t *data = tile + TILE_ROWS * l.scales, *signs = data + TILE_ROWS * l.data;
    const uint8_t *first = data + (size_t)r * l.data;
    const uint8_t *second =
        l.signs ? signs + (size_t)r * l.signs : first + sol_ceil_div(s->cols * t->bits, 32);
    memcpy(scales, tile + (size_t)r * l.scales, l.scales);
    t->integers(first, second, s->cols, q);
}

/* Scratch of a thread: a row, and its scales. */
static size_t thread_bytes(const sol_segments *s)
{
    return (size_t)(s->cols_pad + sol_round_up(2 * s->n_groups, 64));
}

static int32_t dot_int8(const int8_t *a, const int8_t *b, int64_t n)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static float row_product(const sol_segments *s, const int8_t *w, const sol_f16 *scales,
                         const int8_t *q, const float *d)
{
    float y = 0;
    for (int64_t g = 0, i = 0; g < s->n_groups; g++) {
        float u = 0;
        for (int64_t end = i + s->segs_per_group; i < end; i++) {
            int64_t len, start = sol_segment_at(s, i, &len);
            u = fmaf(d[i], (float)dot_int8(w + start, q + start, len), u);
        }
        y = fmaf(sol_f16_to_f32(scales[g]), u, y);
    }
    return y;
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    const sol_segments *s = call->seg;
    int8_t *w = thread;
    sol_f16 *scales = (sol_f16 *)(w + s->cols_pad);
    (void)ready;
    int64_t end = sol_min_i64(last * TILE_ROWS, call->rows);
    for (int64_t r = first * TILE_ROWS; r < end; r++) {
        unpack(call->type, s, call->tiles + (size_t)(r / TILE_ROWS) * call->tile_bytes,
               r % TILE_ROWS, w, scales);
        for (int64_t t = 0; t < call->acts->n; t++)
            call->y[t * call->ldy + r] = row_product(s, w, scales, call->acts->q + t * s->q_stride,
                                                     call->acts->d + t * s->n_segs);
    }
}

const sol_tile_ops sol_tile_ops_ref = {
    .tile_rows = TILE_ROWS,
    .max_tokens = 256,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
