/* The C reference of the ternary product: rows stay as they are on disk, each is decoded to int8 once a product. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/ternary_impl.h"

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

void sol_code_table(int8_t table[32][4])
{
    for (int c = 0; c < 32; c++)
        for (int p = 0; p < 4; p++) table[c][p] = (int8_t)((sol_codebook[c] >> 2 * p & 3) - 1);
}

enum { TILE_ROWS = 16 };

typedef struct tile_layout {
    size_t code_bytes, sign_bytes, scale_bytes; /* of one row */
} tile_layout;

static tile_layout layout_of(const sol_segments *s)
{
    size_t blocks = (size_t)s->cols / 4;
    return (tile_layout){(blocks + 1) / 2, (blocks + 7) / 8, (size_t)s->n_groups * sizeof(sol_f16)};
}

static size_t ref_tile_bytes(const sol_segments *s)
{
    tile_layout l = layout_of(s);
    return (size_t)sol_round_up((int64_t)(TILE_ROWS * (l.code_bytes + l.sign_bytes + l.scale_bytes)), 64);
}

/* Scales of all rows (so that they are aligned), then codes, then signs. */
static void ref_pack(const sol_segments *s, const sol_ternary_source *rows, uint8_t *tile)
{
    tile_layout l = layout_of(s);
    uint8_t *codes = tile + TILE_ROWS * l.scale_bytes, *signs = codes + TILE_ROWS * l.code_bytes;
    for (int r = 0; r < rows->n; r++) {
        memcpy(tile + (size_t)r * l.scale_bytes, rows->scales[r], l.scale_bytes);
        memcpy(codes + (size_t)r * l.code_bytes, rows->codes[r], l.code_bytes);
        memcpy(signs + (size_t)r * l.sign_bytes, rows->signs[r], l.sign_bytes);
    }
}

static void ref_unpack(const sol_segments *s, const uint8_t *tile, int64_t r, uint8_t *out, sol_f16 *scales)
{
    tile_layout l = layout_of(s);
    const uint8_t *codes = tile + TILE_ROWS * l.scale_bytes, *signs = codes + TILE_ROWS * l.code_bytes;
    codes += (size_t)r * l.code_bytes;
    signs += (size_t)r * l.sign_bytes;
    memcpy(scales, tile + (size_t)r * l.scale_bytes, l.scale_bytes);
    int64_t g = 0;
    for (; g + 8 <= s->cols / 4; g += 8) /* with a constant k the compiler makes vectors of it */
        for (int k = 0; k < 8; k++)
            out[g + k] = (uint8_t)((signs[g / 8] >> k & 1) << 4 | (codes[(g + k) / 2] >> 4 * (k & 1) & 15));
    for (; g < s->cols / 4; g++)
        out[g] = (uint8_t)((signs[g / 8] >> g % 8 & 1) << 4 | (codes[g / 2] >> 4 * (g & 1) & 15));
}

/* Scratch of a thread: a row as codes, as weights, and its scales. */
static size_t ref_thread_bytes(const sol_segments *s)
{
    return (size_t)(s->cols_pad + s->cols_pad + sol_round_up(2 * s->n_groups, 64));
}

static int32_t dot_int8(const int8_t *a, const int8_t *b, int64_t n)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static float row_product(const sol_segments *s, const int8_t *w, const sol_f16 *scales, const int8_t *q, const float *d)
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

static void ref_product(const sol_ternary_job *job, int64_t first, int64_t last, void *thread, int64_t *ready)
{
    const sol_segments *s = job->seg;
    uint8_t *codes = thread;
    int8_t *w = (int8_t *)codes + s->cols_pad, table[32][4];
    sol_f16 *scales = (sol_f16 *)(w + s->cols_pad);
    (void)ready;
    sol_code_table(table);
    int64_t end = sol_min_i64(last * TILE_ROWS, job->rows);
    for (int64_t r = first * TILE_ROWS; r < end; r++) {
        ref_unpack(s, job->tiles + (size_t)(r / TILE_ROWS) * job->tile_bytes, r % TILE_ROWS, codes, scales);
        for (int64_t g = 0; g < s->cols / 4; g++) memcpy(w + 4 * g, table[codes[g]], 4);
        for (int64_t t = 0; t < job->acts->n; t++)
            job->y[t * job->rows + r] = row_product(s, w, scales, job->acts->q + t * s->q_stride, job->acts->d + t * s->n_segs);
    }
}

const sol_ternary_ops sol_ternary_ops_ref = {
    .tile_rows = TILE_ROWS,
    .max_tokens = 256,
    .tile_bytes = ref_tile_bytes,
    .pack = ref_pack,
    .unpack = ref_unpack,
    .thread_bytes = ref_thread_bytes,
    .product = ref_product,
};
