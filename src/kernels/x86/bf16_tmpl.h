/* bf16.h in vectors of 512 bits. A file of a feature defines before it includes this:
 *
 *   round_32(low, high)   32 floats, rounded, as words of 16 bits in order
 *   dot_pairs(sum, a, b)  16 sums, each plus the products of a pair
 *
 * and gets pack, tile and to_bf16. */
#include <immintrin.h>
#include <string.h>

#include "base/half.h"
#include "kernels/x86/kernels_x86.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { EDGE = SOL_BF16_EDGE, DEPTH = SOL_BF16_DEPTH, BLOCK = SOL_BF16_BLOCK, TILE = SOL_BF16_TILE };

/* ---- packing ---- */

/* 16 numbers from p on, and 16 from q on. */
ALWAYS_INLINE __m512i load_two(const char *p, const char *q, bool bf16, __m512 scale)
{
    if (bf16)
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)p)),
                                  _mm256_loadu_si256((const void *)q), 1);
    return round_32(_mm512_mul_ps(scale, _mm512_loadu_ps(p)),
                    _mm512_mul_ps(scale, _mm512_loadu_ps(q)));
}

/* The transpose of 16 x 16 words in place. */
ALWAYS_INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

/* A whole block. Rows of words: by edge (as a block of A has them) when k runs along the rows, else
 * by pairs of k (B). Lines that the next blocks will want are fetched: the rows are too many for
 * the processor to see where they go. */
ALWAYS_INLINE void pack_form(const sol_bf16_source *s, bool bf16, bool k_inner, bool pairs,
                             uint16_t *block)
{
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const char *p = s->data;
    int64_t step = s->ld * (bf16 ? 2 : 4);
    __m512i r[16], interleave = _mm512_loadu_si512(order);
    __m512 scale = _mm512_set1_ps(s->scale);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        if (k_inner) {
            const char *row = p + i * step;
            r[i] = load_two(row, row + (bf16 ? 32 : 64), bf16, scale);
            _mm_prefetch(row + 256, _MM_HINT_T0);
            if (!bf16) _mm_prefetch(row + 320, _MM_HINT_T0);
        } else {
            const char *row = p + 2 * i * step;
            r[i] = _mm512_permutexvar_epi16(interleave, load_two(row, row + step, bf16, scale));
        }
    if (k_inner == pairs) transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) _mm512_storeu_si512(block + 32 * i, r[i]);
}

ALWAYS_INLINE void pack_whole(const sol_bf16_source *s, bool bf16, bool pairs, uint16_t *block)
{
    if (s->k_inner && pairs)
        pack_form(s, bf16, true, true, block);
    else if (s->k_inner)
        pack_form(s, bf16, true, false, block);
    else if (pairs)
        pack_form(s, bf16, false, true, block);
    else
        pack_form(s, bf16, false, false, block);
}

/* A copy with zeros around it where less than a block is left; `to_f32`: of bf16 as fp32, to be
 * multiplied. */
ALWAYS_INLINE void pack_part(const sol_bf16_source *s, bool to_f32, bool pairs, uint16_t *block)
{
    _Alignas(64) char part[BLOCK * sizeof(float)] = {0};
    sol_bf16_source whole = *s;
    int64_t rows = s->k_inner ? s->edge : s->depth, cols = s->k_inner ? s->depth : s->edge;
    size_t size = s->bf16 ? 2 : 4;
    whole.data = part;
    whole.ld = s->k_inner ? DEPTH : EDGE;
    for (int64_t i = 0; i < rows; i++) {
        const char *from = (const char *)s->data + (size_t)(i * s->ld) * size;
        if (to_f32)
            for (int64_t j = 0; j < cols; j++)
                ((float *)part)[i * whole.ld + j] = sol_bf16_to_f32(((const sol_bf16 *)from)[j]);
        else
            memcpy(part + (size_t)(i * whole.ld) * size, from, (size_t)cols * size);
    }
    pack_whole(&whole, s->bf16 && !to_f32, pairs, block);
}

static void pack(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    bool to_f32 = s->bf16 && s->scale != 1;
    if (s->edge < EDGE || s->depth < DEPTH || to_f32)
        pack_part(s, to_f32, pairs, block);
    else if (s->bf16)
        pack_whole(s, true, pairs, block);
    else
        pack_whole(s, false, pairs, block);
}

/* ---- tiles ---- */

/* Rows of a tile at a time: ROWS x 2 vectors of sums stay in registers. */
enum { ROWS = 8 };

static void tile(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                 bool add, float *c, int64_t ldc)
{
    for (int r = 0; r < TILE; r += ROWS) {
        const uint16_t *rows = a->data + r / EDGE * a->half + r % EDGE * a->row;
        __m512 sum[ROWS][2];
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++)
                sum[i][j] = add ? _mm512_loadu_ps(c + (r + i) * ldc + 16 * j) : _mm512_setzero_ps();
        for (int64_t k = 0; k < blocks * BLOCK; k += BLOCK, rows += a->step)
            for (int p = 0; p < DEPTH / 2; p++) {
                __m512i b0 = _mm512_loadu_si512(b + k + p * DEPTH),
                        b1 = _mm512_loadu_si512(b + half_b + k + p * DEPTH);
                for (int i = 0; i < ROWS; i++) {
                    int32_t pair;
                    memcpy(&pair, rows + i * a->row + 2 * p, sizeof pair);
                    __m512i x = _mm512_set1_epi32(pair);
                    sum[i][0] = dot_pairs(sum[i][0], x, b0);
                    sum[i][1] = dot_pairs(sum[i][1], x, b1);
                }
            }
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) _mm512_storeu_ps(c + (r + i) * ldc + 16 * j, sum[i][j]);
    }
}

static void to_bf16(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc)
{
    __mmask32 there = (__mmask32)((1ull << cols) - 1);
    for (int64_t i = 0; i < rows; i++, sums += TILE, c += ldc)
        _mm512_mask_storeu_epi16(c, there,
                                 round_32(_mm512_loadu_ps(sums), _mm512_loadu_ps(sums + EDGE)));
}
