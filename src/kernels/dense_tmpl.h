/* The source of all vector forms of the 8-, 6- and 4-bit dense product. The including file defines
 *
 *   LANES              rows of a vector (4, 8, 16)
 *   Q8_OFFSET          128 where DOT_4 wants unsigned weights, 0 where it takes signed ones
 *   DOT_4(type, i, acc, words, w, x)   acc[r] += sum of the four products of bytes w[4r..] and x;
 *                      x: one doubleword for all rows.
 *                      It may keep sums in words, a vector of its own, from i = 0 on, and add
 *                      them to acc by i = 7
 *   FMA(a, b, c)       a * b + c on vectors
 *   LOAD_F16(p)        a vector from LANES float16 at p
 *   PREFETCH_LINE(p)   asks for the line at p
 *   DENSE_OPS          name of the exported table
 *   TOKENS_AT_ONCE     4 where it is not defined, or 8
 *   DOT_BLOCK          may name a function that stands behind the include, with the arguments and
 *                      the result of dot_block
 *
 * Layout. A tile is 2 LANES rows in two halves. For each block of 32 columns: 2 LANES fp16 scales,
 * then each half's weights, a doubleword a row holding four columns as bytes or parts of them:
 *
 *   Q8: eight vectors, q + Q8_OFFSET; vector i holds columns 4i..4i+3.
 *   Q4: four vectors; nibbles q + 8, columns 4i.. low and 16 + 4i.. high.
 *   Q6: four as Q4 with the low bits of q + 32, then two with its upper bits:
 *       vector k, bit pair m is column 16 k + 4 m...
 *
 * The offset is taken away through nsum, the negative sum of the activations of a block. */
#include <string.h>

#include "kernels/matrix_impl.h"

#ifndef TOKENS_AT_ONCE
#define TOKENS_AT_ONCE 4
#endif

enum {
    TILE_ROWS = 2 * LANES,
    VECTOR = 4 * LANES, /* bytes */
    SCALE_BYTES = 2 * TILE_ROWS,
    TOKENS = 256,    /* of one call */
    PREFETCH = 1536, /* bytes ahead */
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

typedef float vf __attribute__((vector_size(VECTOR)));
typedef int32_t vi __attribute__((vector_size(VECTOR)));
typedef uint8_t vb __attribute__((vector_size(VECTOR)));

/* Vectors of a half for one block. */
ALWAYS_INLINE int n_vectors(sol_dtype type)
{
    return type == SOL_Q8 ? 8 : type == SOL_Q6 ? 6 : 4;
}

ALWAYS_INLINE int offset_of(sol_dtype type)
{
    return type == SOL_Q8 ? Q8_OFFSET : type == SOL_Q6 ? 32 : 8;
}

ALWAYS_INLINE size_t block_bytes(sol_dtype type)
{
    return SCALE_BYTES + 2 * VECTOR * (size_t)n_vectors(type);
}

static size_t tile_bytes(sol_dtype type, const sol_segments *s)
{
    return (size_t)sol_round_up(s->n_groups * (int64_t)block_bytes(type), 64);
}

/* The four bytes of row r in vector i of a block. */
ALWAYS_INLINE size_t word_at(sol_dtype type, int64_t r, int64_t i)
{
    return (size_t)(SCALE_BYTES + r / LANES * VECTOR * n_vectors(type) + VECTOR * i +
                    r % LANES * 4);
}

/* 32 columns of row r as q + offset, into a block. */
ALWAYS_INLINE void pack_block(sol_dtype type, const uint8_t v[32], int64_t r, uint8_t *block)
{
    if (type == SOL_Q8)
        for (int64_t i = 0; i < 8; i++) memcpy(block + word_at(type, r, i), v + 4 * i, 4);
    if (type == SOL_Q8) return;
    uint8_t low[16], upper[2][4] = {{0}};
    for (int64_t c = 0; c < 16; c++) low[c] = (uint8_t)((v[c] & 15) | v[c + 16] << 4);
    for (int64_t i = 0; i < 4; i++) memcpy(block + word_at(type, r, i), low + 4 * i, 4);
    if (type == SOL_Q4) return;
    for (int64_t c = 0; c < 32; c++)
        upper[c / 16][c % 4] |= (uint8_t)(v[c] >> 4 << 2 * (c % 16 / 4));
    for (int64_t i = 0; i < 2; i++) memcpy(block + word_at(type, r, 4 + i), upper[i], 4);
}

/* Four bytes, each to the low half of 16 bits. */
ALWAYS_INLINE uint64_t spread_bytes(uint32_t v)
{
    uint64_t x = (v | (uint64_t)v << 16) & 0x0000ffff0000ffffull;
    return (x | x << 8) & 0x00ff00ff00ff00ffull;
}

/* The same from the 16 bytes of a whole stored block of nibbles: eight columns a step, without
 * taking them apart. */
ALWAYS_INLINE void pack_nibbles(const uint8_t *from, int64_t r, uint8_t *block, sol_dtype type)
{
    const uint64_t low = 0x0f0f0f0f0f0f0f0full;
    uint64_t a, b;
    memcpy(&a, from, 8);
    memcpy(&b, from + 8, 8);
    uint64_t even = (a & low) | (b & low) << 4, odd = (a >> 4 & low) | (b & low << 4);
    for (int64_t i = 0; i < 4; i += 2, even >>= 32, odd >>= 32) {
        uint64_t eight = spread_bytes((uint32_t)even) | spread_bytes((uint32_t)odd) << 8;
        memcpy(block + word_at(type, r, i), &eight, 4);
        eight >>= 32;
        memcpy(block + word_at(type, r, i + 1), &eight, 4);
    }
}

/* Upper bits: 16 pairs a word, pair 4 m + b goes to pair 4 b + m. */
ALWAYS_INLINE uint32_t transpose_pairs(uint32_t x)
{
    uint32_t t = (x ^ x >> 6) & 0x00cc00ccu;
    x ^= t ^ t << 6;
    t = (x ^ x >> 12) & 0x0000f0f0u;
    return x ^ t ^ t << 12;
}

/* Block g of row `from`, all 32 columns there. */
ALWAYS_INLINE void pack_whole(sol_dtype type, const sol_segments *s, const uint8_t *from, int64_t g,
                              int64_t r, uint8_t *block)
{
    uint32_t word;
    if (type == SOL_Q8)
        for (int64_t i = 0; i < 8; i++) {
            memcpy(&word, from + 32 * g + 4 * i, 4);
            word ^= Q8_OFFSET * 0x01010101u;
            memcpy(block + word_at(type, r, i), &word, 4);
        }
    if (type == SOL_Q8) return;
    pack_nibbles(from + 16 * g, r, block, type);
    if (type == SOL_Q6)
        for (int64_t i = 0; i < 2; i++) {
            memcpy(&word, from + (s->cols + 1) / 2 + 8 * g + 4 * i, 4);
            word = transpose_pairs(word);
            memcpy(block + word_at(type, r, 4 + i), &word, 4);
        }
}

/* Block g of row `from`, the last one and shorter than 32 columns, as q + offset. */
static void stored_block(sol_dtype type, const sol_segments *s, const uint8_t *from, int64_t g,
                         uint8_t v[32])
{
    const sol_dtype_traits *t = sol_dtype_of(type);
    const uint8_t *second = from + sol_ceil_div(s->cols * t->bits, 32);
    int8_t q[32];
    int64_t n = s->cols - 32 * g;
    t->integers(from + g * t->bits, second + g * t->more_bits, n, q);
    for (int64_t c = 0; c < n; c++) v[c] = (uint8_t)(q[c] + offset_of(type));
}

/* All rows of a block, then the next block: the tile is written once from front to back. */
ALWAYS_INLINE void pack_rows(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows,
                             uint8_t *block)
{
    for (int64_t g = 0; g < s->n_groups; g++, block += block_bytes(type))
        for (int r = 0; r < rows->n; r++) {
            uint8_t v[32] = {0};
            ((sol_f16 *)block)[r] = rows->scales[r][g];
            if (32 * (g + 1) <= s->cols) {
                pack_whole(type, s, rows->data[r], g, r, block);
                continue;
            }
            stored_block(type, s, rows->data[r], g, v);
            pack_block(type, v, r, block);
        }
}

static void pack(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile)
{
    if (type == SOL_Q8)
        pack_rows(SOL_Q8, s, rows, tile);
    else if (type == SOL_Q6)
        pack_rows(SOL_Q6, s, rows, tile);
    else
        pack_rows(SOL_Q4, s, rows, tile);
}

static void unpack(sol_dtype type, const sol_segments *s, const uint8_t *tile, int64_t r, int8_t *q,
                   sol_f16 *scales)
{
    for (int64_t g = 0; g < s->n_groups; g++)
        scales[g] = ((const sol_f16 *)(tile + (size_t)g * block_bytes(type)))[r];
    for (int64_t c = 0; c < s->cols; c++) {
        const uint8_t *block = tile + (size_t)(c / 32) * block_bytes(type);
        int64_t k = c % 32;
        int v = block[word_at(type, r, type == SOL_Q8 ? k / 4 : k % 16 / 4) + (size_t)k % 4];
        if (type == SOL_Q8)
            v = Q8_OFFSET ? v : (int8_t)v;
        else
            v = v >> (k < 16 ? 0 : 4) & 15;
        if (type == SOL_Q6)
            v |= (block[word_at(type, r, 4 + k / 16) + (size_t)k % 4] >> 2 * (k % 16 / 4) & 3) << 4;
        q[c] = (int8_t)(v - offset_of(type));
    }
}

ALWAYS_INLINE vb load_bytes(const uint8_t *p)
{
    vb v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Columns 4i.. of a half block at w, a byte each. */
ALWAYS_INLINE vb weights_at(sol_dtype type, const uint8_t *w, int i)
{
    if (type == SOL_Q8) return load_bytes(w + VECTOR * i);
    vb v = load_bytes(w + VECTOR * (i % 4));
    v = i < 4 ? v & 15 : v >> 4;
    if (type == SOL_Q4) return v;
    vb upper = load_bytes(w + VECTOR * (4 + i / 4));
    int m = 2 * (i % 4);
    return v | ((m < 4 ? upper << (4 - m) : upper >> (m - 4)) & 0x30);
}

/* acc[t][half] += the sums of one block, whose weights are at w. q: of the first of T tokens, at
 * distances stride. */
ALWAYS_INLINE void dot_block(sol_dtype type, int T, const uint8_t *w, const int8_t *q,
                             int64_t stride, vi acc[TOKENS_AT_ONCE][2])
{
    const uint8_t *w1 = w + VECTOR * n_vectors(type);
    vi words[TOKENS_AT_ONCE][2];
    (void)words;
    UNROLL for (int i = 0; i < 8; i++)
    {
        vb v0 = weights_at(type, w, i), v1 = weights_at(type, w1, i);
        UNROLL for (int t = 0; t < T; t++)
        {
            int32_t four;
            memcpy(&four, q + t * stride + 4 * i, 4);
            vi x = four - (vi){0};
            DOT_4(type, i, acc[t][0], words[t][0], v0, x);
            DOT_4(type, i, acc[t][1], words[t][1], v1, x);
        }
    }
}

#ifdef DOT_BLOCK
ALWAYS_INLINE void DOT_BLOCK(sol_dtype type, int T, const uint8_t *w, const int8_t *q,
                             int64_t stride, vi acc[TOKENS_AT_ONCE][2]);
#else
#define DOT_BLOCK dot_block
#endif

/* T tokens by one tile: y[t][half]. q, d, nsum: of the first token, at distances q_stride and
 * n_segs. */
ALWAYS_INLINE void tile_tokens(sol_dtype type, int T, const sol_segments *s, const uint8_t *block,
                               const int8_t *q, const float *d, const int32_t *nsum,
                               vf y[TOKENS_AT_ONCE][2])
{
    UNROLL for (int t = 0; t < T; t++) y[t][0] = y[t][1] = (vf){0};
    for (int64_t g = 0; g < s->n_groups; g++, block += block_bytes(type), q += 32) {
        vi acc[TOKENS_AT_ONCE][2];
        for (size_t line = 0; line < block_bytes(type); line += 64)
            PREFETCH_LINE(block + PREFETCH + line);
        UNROLL for (int t = 0; t < T; t++) acc[t][0] = acc[t][1] =
            offset_of(type) * nsum[t * s->n_segs + g] - (vi){0};
        DOT_BLOCK(type, T, block + SCALE_BYTES, q, s->q_stride, acc);
        vf scale0 = LOAD_F16(block), scale1 = LOAD_F16(block + SCALE_BYTES / 2);
        UNROLL for (int t = 0; t < T; t++)
        {
            vf dt = d[t * s->n_segs + g] - (vf){0};
            y[t][0] = FMA(scale0, dt * __builtin_convertvector(acc[t][0], vf), y[t][0]);
            y[t][1] = FMA(scale1, dt * __builtin_convertvector(acc[t][1], vf), y[t][1]);
        }
    }
}

ALWAYS_INLINE void some_tokens(sol_dtype type, int T, const sol_tile_call *call, int64_t tile,
                               int64_t t)
{
    const sol_segments *s = call->seg;
    vf y[TOKENS_AT_ONCE][2];
    tile_tokens(type, T, s, call->tiles + (size_t)tile * call->tile_bytes,
                call->acts->q + t * s->q_stride, call->acts->d + t * s->n_segs,
                call->acts->nsum + t * s->n_segs, y);
    size_t bytes = (size_t)sol_min_i64(TILE_ROWS, call->rows - tile * TILE_ROWS) * sizeof(float);
    for (int i = 0; i < T; i++)
        memcpy(call->y + (t + i) * call->ldy + tile * TILE_ROWS, y[i], bytes);
}

ALWAYS_INLINE void product_of(sol_dtype type, const sol_tile_call *call, int64_t first,
                              int64_t last)
{
    for (int64_t tile = first; tile < last; tile++) {
        int64_t t = 0, n = call->acts->n;
        for (; t + TOKENS_AT_ONCE <= n; t += TOKENS_AT_ONCE)
            some_tokens(type, TOKENS_AT_ONCE, call, tile, t);
        if (TOKENS_AT_ONCE > 4 && t + 4 <= n) {
            some_tokens(type, 4, call, tile, t);
            t += 4;
        }
        if (t + 2 <= n) {
            some_tokens(type, 2, call, tile, t);
            t += 2;
        }
        if (t < n) some_tokens(type, 1, call, tile, t);
    }
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    (void)thread;
    (void)ready;
    if (call->type == SOL_Q8)
        product_of(SOL_Q8, call, first, last);
    else if (call->type == SOL_Q6)
        product_of(SOL_Q6, call, first, last);
    else
        product_of(SOL_Q4, call, first, last);
}

static size_t thread_bytes(const sol_segments *s)
{
    (void)s;
    return 0;
}

const sol_tile_ops DENSE_OPS = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
