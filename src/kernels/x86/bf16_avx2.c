/* bf16.h for AVX2: numbers are cast to float by shifts, as they are multiplied. */
#include <immintrin.h>

#include "base/half.h"
#include "kernels/x86/kernels_x86.h"
#include "kernels/x86/transpose_avx2.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    EDGE = SOL_BF16_EDGE,
    DEPTH = SOL_BF16_DEPTH,
    BLOCK = SOL_BF16_BLOCK,
    TILE = SOL_BF16_TILE,
    LANES = 8
};

/* ---- packing ---- */

/* The nearest bf16, ties to even, in the upper half of each word, with anything below; a NaN stays
 * one. */
ALWAYS_INLINE __m256i round_up(__m256 x)
{
    __m256i bits = _mm256_castps_si256(x),
            odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256 quiet = _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x400000)));
    return _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(near), quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

/* 16 numbers in order. */
ALWAYS_INLINE __m256i round_two(__m256 low, __m256 high)
{
    __m256i x = _mm256_packus_epi32(_mm256_srli_epi32(round_up(low), 16),
                                    _mm256_srli_epi32(round_up(high), 16));
    return _mm256_permute4x64_epi64(x, 0xd8);
}

ALWAYS_INLINE __m256 load_scaled(const void *p, int64_t at, __m256 scale)
{
    return _mm256_mul_ps(scale, _mm256_loadu_ps((const float *)p + at));
}

/* 16 words of pairs along k, from a row of 32 numbers, or from two rows of 16 for even and odd k.
 */
ALWAYS_INLINE void pairs_in_row(const char *row, bool bf16, __m256 scale, __m256i out[2])
{
    for (int i = 0; i < 2; i++)
        out[i] =
            bf16 ? _mm256_loadu_si256((const void *)(row + 32 * i))
                 : round_two(load_scaled(row, 16 * i, scale), load_scaled(row, 16 * i + 8, scale));
}

ALWAYS_INLINE void pairs_of_rows(const char *even, const char *odd, bool bf16, __m256 scale,
                                 __m256i out[2])
{
    if (bf16) {
        __m256i e = _mm256_loadu_si256((const void *)even),
                o = _mm256_loadu_si256((const void *)odd);
        __m256i low = _mm256_unpacklo_epi16(e, o), high = _mm256_unpackhi_epi16(e, o);
        out[0] = _mm256_permute2x128_si256(low, high, 0x20);
        out[1] = _mm256_permute2x128_si256(low, high, 0x31);
        return;
    }
    for (int i = 0; i < 2; i++) {
        __m256i e = round_up(load_scaled(even, 8 * i, scale)),
                o = round_up(load_scaled(odd, 8 * i, scale));
        out[i] = _mm256_blend_epi16(_mm256_srli_epi32(e, 16), o, 0xaa);
    }
}

/* The transpose of 8 x 8 words, rows 16 words apart. */
ALWAYS_INLINE void transpose(const uint32_t *from, uint32_t *to)
{
    __m256 r[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_load_ps((const float *)from + 16 * i);
    sol_transpose_8x8(r);
    for (int i = 0; i < 8; i++) _mm256_storeu_ps((float *)to + 16 * i, r[i]);
}

/* A whole block. Rows of 16 words: by edge (as a block of A has them) when k runs along the rows,
 * else by pairs of k (B). */
ALWAYS_INLINE void pack_form(const sol_bf16_source *s, bool bf16, bool k_inner, bool pairs,
                             uint16_t *block)
{
    _Alignas(32) uint32_t words[EDGE * 16];
    const char *p = s->data;
    int64_t step = s->ld * (bf16 ? 2 : 4);
    __m256 scale = _mm256_set1_ps(s->scale);
    bool transposed = k_inner == pairs;
    char *to = transposed ? (char *)words : (char *)block;
    for (int i = 0; i < 16; i++) {
        __m256i out[2];
        if (k_inner)
            pairs_in_row(p + i * step, bf16, scale, out);
        else
            pairs_of_rows(p + 2 * i * step, p + (2 * i + 1) * step, bf16, scale, out);
        for (int j = 0; j < 2; j++) _mm256_storeu_si256((void *)(to + 64 * i + 32 * j), out[j]);
    }
    if (transposed)
        for (int i = 0; i < 4; i++)
            transpose(words + i / 2 * 128 + i % 2 * 8,
                      (uint32_t *)(void *)block + i % 2 * 128 + i / 2 * 8);
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

/* A copy with zeros around it where less than a block is left; as fp32 where bf16 is to be
 * multiplied. */
static void pack_part(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    _Alignas(32) float part[BLOCK] = {0};
    sol_bf16_source whole = *s;
    int64_t rows = s->k_inner ? s->edge : s->depth, cols = s->k_inner ? s->depth : s->edge;
    whole.data = part;
    whole.ld = s->k_inner ? DEPTH : EDGE;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            part[i * whole.ld + j] =
                s->bf16 ? sol_bf16_to_f32(((const sol_bf16 *)s->data)[i * s->ld + j])
                        : ((const float *)s->data)[i * s->ld + j];
    pack_whole(&whole, false, pairs, block);
}

static void pack(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    if (s->edge < EDGE || s->depth < DEPTH || (s->bf16 && s->scale != 1))
        pack_part(s, pairs, block);
    else if (s->bf16)
        pack_whole(s, true, pairs, block);
    else
        pack_whole(s, false, pairs, block);
}

/* ---- tiles ---- */

/* A is cast CHUNK blocks at a time, all 32 rows, since each number meets 32 of B. A row of a
 * block keeps its 16 pairs as two times 8 even and 8 odd numbers; B, 16 pairs a row, is cast as
 * it is read. */
enum { CHUNK = 2, ROW = CHUNK * DEPTH };

ALWAYS_INLINE __m256i load(const uint16_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

ALWAYS_INLINE __m256 even(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}

/* By two shifts: a mask would want a register that the sums need. */
ALWAYS_INLINE __m256 odd(__m256i pairs)
{
    return even(_mm256_srli_epi32(pairs, 16));
}

static void rows_to_f32(const sol_bf16_rows *a, int64_t first, int64_t blocks, float *f32)
{
    for (int64_t i = 0; i < TILE; i++, f32 += ROW) {
        const uint16_t *row = a->data + i / EDGE * a->half + i % EDGE * a->row + first * a->step;
        for (int64_t k = 0; k < blocks; k++, row += a->step)
            for (int h = 0; h < 2; h++) {
                __m256i pairs = _mm256_loadu_si256((const void *)(row + 16 * h));
                _mm256_store_ps(f32 + k * DEPTH + 16 * h, even(pairs));
                _mm256_store_ps(f32 + k * DEPTH + 16 * h + LANES, odd(pairs));
            }
    }
}

/* sum += x b for one k. */
ALWAYS_INLINE void step(int rows, __m256 sum[6][2], const float *x, __m256 b0, __m256 b1)
{
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
        __m256 a = _mm256_broadcast_ss(x + i * ROW);
        sum[i][0] = _mm256_fmadd_ps(a, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(a, b1, sum[i][1]);
    }
}

/* rows x 16 sums, which stay in registers. */
ALWAYS_INLINE void sums_by(int rows, const float *a, const uint16_t *b, int64_t blocks, bool add,
                           float *c, int64_t ldc)
{
    __m256 sum[6][2];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            sum[i][j] = add ? _mm256_loadu_ps(c + i * ldc + LANES * j) : _mm256_setzero_ps();
    for (int64_t half = 0; half < 2 * blocks; half++, a += 16)
        for (int p = 0; p < 8; p++, b += 2 * EDGE) {
            step(rows, sum, a + p, even(load(b)), even(load(b + EDGE)));
            step(rows, sum, a + p + LANES, odd(load(b)), odd(load(b + EDGE)));
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++) _mm256_storeu_ps(c + i * ldc + LANES * j, sum[i][j]);
}

static void sums_6(const float *a, const uint16_t *b, int64_t blocks, bool add, float *c,
                   int64_t ldc)
{
    sums_by(6, a, b, blocks, add, c, ldc);
}

static void sums_4(const float *a, const uint16_t *b, int64_t blocks, bool add, float *c,
                   int64_t ldc)
{
    sums_by(4, a, b, blocks, add, c, ldc);
}

static void tile(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                 bool add, float *c, int64_t ldc)
{
    _Alignas(32) float f32[TILE * ROW];
    for (int64_t first = 0; first < blocks; first += CHUNK, b += CHUNK * BLOCK, add = true) {
        int64_t n = blocks - first < CHUNK ? blocks - first : CHUNK;
        rows_to_f32(a, first, n, f32);
        for (int j = 0; j < 2; j++) {
            int i = 0;
            for (; i < 24; i += 6)
                sums_6(f32 + i * ROW, b + j * half_b, n, add, c + i * ldc + j * EDGE, ldc);
            for (; i < TILE; i += 4)
                sums_4(f32 + i * ROW, b + j * half_b, n, add, c + i * ldc + j * EDGE, ldc);
        }
    }
}

static void to_bf16(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++, sums += TILE, c += ldc) {
        int64_t j = 0;
        for (; j + 16 <= cols; j += 16)
            _mm256_storeu_si256((void *)(c + j), round_two(_mm256_loadu_ps(sums + j),
                                                           _mm256_loadu_ps(sums + j + 8)));
        for (; j < cols; j++) c[j] = sol_f32_to_bf16(sums[j]);
    }
}

void sol_bf16_ops_avx2(sol_bf16_ops *k)
{
    k->name = "avx2";
    k->pack = pack;
    k->tile = tile;
    k->to_bf16 = to_bf16;
}
