/* The 8-, 6- and 4-bit dense product with AVX-512.
 *
 * Layout. A tile is 32 rows in two halves of 16. For each block of 32 columns: 32 fp16 scales, then each half's weights in the
 * operand order of vpdpbusd, a doubleword a row holding four columns as unsigned bytes or parts of them:
 *   Q8: eight vectors, q + 128; vector i holds columns 4i..4i+3.
 *   Q4: four vectors; nibbles q + 8, columns 4i.. low and 16 + 4i.. high.
 *   Q6: four as Q4 with the low bits of q + 32, then two with its upper bits: vector k, bit pair m is column 16 k + 4 m...
 * The offset is taken away through nsum, the negative sum of the activations of a block. */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/tiers.h"

enum {
    TILE_ROWS = 32,
    TOKENS = 256,     /* of one job */
    SCALE_BYTES = TILE_ROWS * 2,
    PREFETCH = 1536,  /* bytes ahead */
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Vectors of a half for one block. */
ALWAYS_INLINE int n_vectors(sol_dense_type type)
{
    return type == SOL_DENSE_Q8 ? 8 : type == SOL_DENSE_Q6 ? 6 : 4;
}

ALWAYS_INLINE int offset_of(sol_dense_type type)
{
    return type == SOL_DENSE_Q8 ? 128 : type == SOL_DENSE_Q6 ? 32 : 8;
}

ALWAYS_INLINE size_t block_bytes(sol_dense_type type)
{
    return SCALE_BYTES + 2 * 64 * (size_t)n_vectors(type);
}

static size_t tile_bytes(sol_dense_type type, const sol_segments *s)
{
    return (size_t)s->n_groups * block_bytes(type);
}

/* ---- packing ---- */

/* The four bytes of row r in vector i of a block. */
static uint8_t *word_at(sol_dense_type type, uint8_t *block, int64_t r, int64_t i)
{
    return block + SCALE_BYTES + r / 16 * 64 * n_vectors(type) + 64 * i + r % 16 * 4;
}

/* q + offset of 32 columns, zero behind the end of the row. */
static void read_block(sol_dense_type type, const uint8_t *row, int64_t cols, int64_t first, uint8_t v[32])
{
    memset(v, 0, 32);
    for (int64_t c = first; c < sol_min_i64(first + 32, cols); c++)
        v[c - first] = (uint8_t)(sol_dense_stored(type, row, cols, c) + offset_of(type));
}

/* A whole Q4 block: columns 0..15 to the low nibbles, 16..31 to the high ones. */
static void pack_q4_block(const uint8_t *from, int64_t r, uint8_t *block)
{
    const __m128i nibble = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)from);
    __m128i even = _mm_and_si128(both, nibble), odd = _mm_and_si128(_mm_srli_epi16(both, 4), nibble);
    __m128i low = _mm_unpacklo_epi8(even, odd), high = _mm_unpackhi_epi8(even, odd);
    uint32_t word[4];
    _mm_storeu_si128((__m128i *)word, _mm_or_si128(low, _mm_slli_epi16(high, 4)));
    for (int64_t i = 0; i < 4; i++) memcpy(word_at(SOL_DENSE_Q4, block, r, i), &word[i], 4);
}

static void pack_block(sol_dense_type type, const uint8_t v[32], int64_t r, uint8_t *block)
{
    for (int64_t c = 0; c < 32; c++) {
        if (type == SOL_DENSE_Q8) {
            word_at(type, block, r, c / 4)[c % 4] = v[c];
            continue;
        }
        word_at(type, block, r, c % 16 / 4)[c % 4] |= (uint8_t)((v[c] & 15) << (c < 16 ? 0 : 4));
        if (type == SOL_DENSE_Q6) word_at(type, block, r, 4 + c / 16)[c % 4] |= (uint8_t)(v[c] >> 4 << 2 * (c % 16 / 4));
    }
}

static void pack(sol_dense_type type, const sol_segments *s, const uint8_t *src, const sol_f16 *scales, int64_t n, uint8_t *tile)
{
    size_t row_bytes = sol_dense_row_bytes(type, s->cols);
    memset(tile, 0, tile_bytes(type, s));
    for (int64_t r = 0; r < n; r++) {
        for (int64_t g = 0; g < s->n_groups; g++) {
            uint8_t v[32], *block = tile + (size_t)g * block_bytes(type);
            ((sol_f16 *)block)[r] = scales[r * s->n_groups + g];
            if (type == SOL_DENSE_Q4 && 32 * (g + 1) <= s->cols) {
                pack_q4_block(src + (size_t)r * row_bytes + 16 * g, r, block);
                continue;
            }
            read_block(type, src + (size_t)r * row_bytes, s->cols, 32 * g, v);
            pack_block(type, v, r, block);
        }
    }
}

static void row(sol_dense_type type, const sol_segments *s, const uint8_t *tile, int64_t r, float *w)
{
    for (int64_t c = 0; c < s->cols; c++) {
        uint8_t *block = (uint8_t *)tile + (size_t)(c / 32) * block_bytes(type);
        int64_t k = c % 32;
        int v = type == SOL_DENSE_Q8 ? word_at(type, block, r, k / 4)[k % 4]
                                     : word_at(type, block, r, k % 16 / 4)[k % 4] >> (k < 16 ? 0 : 4) & 15;
        if (type == SOL_DENSE_Q6) v |= (word_at(type, block, r, 4 + k / 16)[k % 4] >> 2 * (k % 16 / 4) & 3) << 4;
        w[c] = sol_f16_to_f32(((const sol_f16 *)block)[r]) * (float)(v - offset_of(type));
    }
}

/* ---- products ---- */

/* vpdpbusd in place (see ternary_avx512.c on why not the intrinsic). */
ALWAYS_INLINE void dot_4(__m512i *acc, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(w), "v"(x));
}

/* Columns 4i.. of a half block at w, as unsigned bytes. */
ALWAYS_INLINE __m512i weights_at(sol_dense_type type, const uint8_t *w, int i)
{
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_set1_epi8(0x30);
    __m512i v = _mm512_loadu_si512(w + 64 * (type == SOL_DENSE_Q8 ? i : i % 4));
    if (type == SOL_DENSE_Q8) return v;
    v = _mm512_and_si512(i < 4 ? v : _mm512_srli_epi16(v, 4), nibble);
    if (type == SOL_DENSE_Q4) return v;
    __m512i upper = _mm512_loadu_si512(w + 64 * (4 + i / 4));
    int m = 2 * (i % 4);
    upper = m < 4 ? _mm512_slli_epi16(upper, 4 - m) : _mm512_srli_epi16(upper, m - 4);
    return _mm512_ternarylogic_epi32(v, upper, pair, 0xf8); /* v | (upper & pair) */
}

/* T tokens by one tile: y[t][half]. q, d, nsum: of the first token, at distances cols_pad and n_segs. */
ALWAYS_INLINE void tile_tokens(sol_dense_type type, int T, const sol_segments *s, const uint8_t *block, const int8_t *q,
                               const float *d, const int32_t *nsum, __m512 y[4][2])
{
    UNROLL for (int t = 0; t < T; t++) y[t][0] = y[t][1] = _mm512_setzero_ps();
    for (int64_t g = 0; g < s->n_groups; g++, block += block_bytes(type), q += 32) {
        const uint8_t *w = block + SCALE_BYTES, *w1 = w + 64 * n_vectors(type);
        __m512i acc[4][2];
        for (size_t line = 0; line < block_bytes(type); line += 64) _mm_prefetch((const char *)block + PREFETCH + line, _MM_HINT_T0);
        UNROLL for (int t = 0; t < T; t++)
            acc[t][0] = acc[t][1] = _mm512_set1_epi32(offset_of(type) * nsum[t * s->n_segs + g]);
        UNROLL for (int i = 0; i < 8; i++) {
            __m512i v0 = weights_at(type, w, i), v1 = weights_at(type, w1, i);
            UNROLL for (int t = 0; t < T; t++) {
                int32_t four;
                memcpy(&four, q + t * s->cols_pad + 4 * i, 4);
                dot_4(&acc[t][0], v0, _mm512_set1_epi32(four));
                dot_4(&acc[t][1], v1, _mm512_set1_epi32(four));
            }
        }
        __m512 scale0 = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)block));
        __m512 scale1 = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)block + 1));
        UNROLL for (int t = 0; t < T; t++) {
            __m512 dt = _mm512_set1_ps(d[t * s->n_segs + g]);
            y[t][0] = _mm512_fmadd_ps(scale0, _mm512_mul_ps(dt, _mm512_cvtepi32_ps(acc[t][0])), y[t][0]);
            y[t][1] = _mm512_fmadd_ps(scale1, _mm512_mul_ps(dt, _mm512_cvtepi32_ps(acc[t][1])), y[t][1]);
        }
    }
}

ALWAYS_INLINE void store_rows(float *y, int64_t r, int64_t rows, __m512 v)
{
    int64_t n = rows - r;
    if (n >= 16)
        _mm512_storeu_ps(y + r, v);
    else if (n > 0)
        _mm512_mask_storeu_ps(y + r, (__mmask16)((1u << n) - 1), v);
}

ALWAYS_INLINE void some_tokens(sol_dense_type type, int T, const sol_dense_job *job, int64_t tile, int64_t t)
{
    const sol_segments *s = job->seg;
    __m512 y[4][2];
    tile_tokens(type, T, s, job->tiles + (size_t)tile * job->tile_bytes, job->acts->q + t * s->cols_pad,
                job->acts->d + t * s->n_segs, job->acts->nsum + t * s->n_segs, y);
    for (int i = 0; i < T; i++)
        for (int h = 0; h < 2; h++) store_rows(job->y + (t + i) * job->rows, tile * TILE_ROWS + 16 * h, job->rows, y[i][h]);
}

ALWAYS_INLINE void product_of(sol_dense_type type, const sol_dense_job *job, int64_t first, int64_t last)
{
    for (int64_t tile = first; tile < last; tile++) {
        int64_t t = 0, n = job->acts->n;
        for (; t + 4 <= n; t += 4) some_tokens(type, 4, job, tile, t);
        for (; t + 2 <= n; t += 2) some_tokens(type, 2, job, tile, t);
        if (t < n) some_tokens(type, 1, job, tile, t);
    }
}

static void product(const sol_dense_job *job, int64_t first, int64_t last, void *thread)
{
    (void)thread;
    if (job->type == SOL_DENSE_Q8)
        product_of(SOL_DENSE_Q8, job, first, last);
    else if (job->type == SOL_DENSE_Q6)
        product_of(SOL_DENSE_Q6, job, first, last);
    else
        product_of(SOL_DENSE_Q4, job, first, last);
}

static size_t thread_bytes(const sol_segments *s)
{
    (void)s;
    return 0;
}

const sol_dense_ops sol_dense_ops_avx512 = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .row = row,
    .thread_bytes = thread_bytes,
    .product = product,
};
