/* bf16.h for AVX-512: without instructions for bf16 (cast to float), with the dot product of
 * pairs (AVX512-BF16), and with the tiles of AMX. */
#include <immintrin.h>
#include <string.h>

#include "base/half.h"
#include "kernels/x86/kernels_x86.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { EDGE = SOL_BF16_EDGE, DEPTH = SOL_BF16_DEPTH, BLOCK = SOL_BF16_BLOCK, TILE = SOL_BF16_TILE };

/* ---- packing ---- */

/* How a tier rounds 32 floats: to words of 16 bits in order. Written out since the flags of this
 * file do not allow the intrinsic of AVX512-BF16. */
typedef __m512i (*round_fn)(__m512 low, __m512 high);

ALWAYS_INLINE __m512i round_native(__m512 low, __m512 high)
{
    __m512i out;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(out) : "v"(low), "v"(high));
    return out;
}

/* To nearest even; a NaN stays one. */
ALWAYS_INLINE __m256i round_half(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_srli_epi32(_mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000)), 16));
}

ALWAYS_INLINE __m512i round_steps(__m512 low, __m512 high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(round_half(low)), round_half(high), 1);
}

/* 16 numbers from p on, and 16 from q on. */
ALWAYS_INLINE __m512i load_two(round_fn round, const char *p, const char *q, bool bf16,
                               __m512 scale)
{
    if (bf16)
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)p)),
                                  _mm256_loadu_si256((const void *)q), 1);
    return round(_mm512_mul_ps(scale, _mm512_loadu_ps(p)),
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
ALWAYS_INLINE void pack_form(round_fn round, const sol_bf16_source *s, bool bf16, bool k_inner,
                             bool pairs, uint16_t *block)
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
            r[i] = load_two(round, row, row + (bf16 ? 32 : 64), bf16, scale);
            _mm_prefetch(row + 256, _MM_HINT_T0);
            if (!bf16) _mm_prefetch(row + 320, _MM_HINT_T0);
        } else {
            const char *row = p + 2 * i * step;
            r[i] =
                _mm512_permutexvar_epi16(interleave, load_two(round, row, row + step, bf16, scale));
        }
    if (k_inner == pairs) transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) _mm512_storeu_si512(block + 32 * i, r[i]);
}

ALWAYS_INLINE void pack_whole(round_fn round, const sol_bf16_source *s, bool bf16, bool pairs,
                              uint16_t *block)
{
    if (s->k_inner && pairs)
        pack_form(round, s, bf16, true, true, block);
    else if (s->k_inner)
        pack_form(round, s, bf16, true, false, block);
    else if (pairs)
        pack_form(round, s, bf16, false, true, block);
    else
        pack_form(round, s, bf16, false, false, block);
}

/* A copy with zeros around it where less than a block is left; `to_f32`: of bf16 as fp32, to be
 * multiplied. */
ALWAYS_INLINE void pack_part(round_fn round, const sol_bf16_source *s, bool to_f32, bool pairs,
                             uint16_t *block)
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
    pack_whole(round, &whole, s->bf16 && !to_f32, pairs, block);
}

ALWAYS_INLINE void pack_by(round_fn round, const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    bool to_f32 = s->bf16 && s->scale != 1;
    if (s->edge < EDGE || s->depth < DEPTH || to_f32)
        pack_part(round, s, to_f32, pairs, block);
    else if (s->bf16)
        pack_whole(round, s, true, pairs, block);
    else
        pack_whole(round, s, false, pairs, block);
}

static void pack_steps(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    pack_by(round_steps, s, pairs, block);
}

static void pack_native(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    pack_by(round_native, s, pairs, block);
}

/* ---- tiles ---- */

/* Rows of a tile at a time: ROWS x 2 vectors of sums stay in registers. `dot` adds the products of
 * a pair. */
enum { ROWS = 8 };

ALWAYS_INLINE __m512 dot_cast(__m512 sum, __m512i a, __m512i b)
{
    __m512i high = _mm512_set1_epi32((int)0xffff0000);
    __m512 even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16)),
                                  _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), sum);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(a, high)),
                           _mm512_castsi512_ps(_mm512_and_si512(b, high)), even);
}

/* zmm += zmm . zmm, pairs of bf16; written out since the flags of this file do not allow its
 * intrinsic. */
ALWAYS_INLINE __m512 dot_native(__m512 sum, __m512i a, __m512i b)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

ALWAYS_INLINE void tile_by(__m512 (*dot)(__m512, __m512i, __m512i), const sol_bf16_rows *a,
                           const uint16_t *b, int64_t half_b, int64_t blocks, bool add, float *c,
                           int64_t ldc)
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
                    sum[i][0] = dot(sum[i][0], x, b0);
                    sum[i][1] = dot(sum[i][1], x, b1);
                }
            }
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) _mm512_storeu_ps(c + (r + i) * ldc + 16 * j, sum[i][j]);
    }
}

static void tile_cast(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                      bool add, float *c, int64_t ldc)
{
    tile_by(dot_cast, a, b, half_b, blocks, add, c, ldc);
}

static void tile_dot(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                     bool add, float *c, int64_t ldc)
{
    tile_by(dot_native, a, b, half_b, blocks, add, c, ldc);
}

ALWAYS_INLINE void to_bf16_by(round_fn round, const float *sums, int64_t rows, int64_t cols,
                              uint16_t *c, int64_t ldc)
{
    __mmask32 there = (__mmask32)((1ull << cols) - 1);
    for (int64_t i = 0; i < rows; i++, sums += TILE, c += ldc)
        _mm512_mask_storeu_epi16(c, there,
                                 round(_mm512_loadu_ps(sums), _mm512_loadu_ps(sums + EDGE)));
}

static void to_bf16_steps(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc)
{
    to_bf16_by(round_steps, sums, rows, cols, c, ldc);
}

static void to_bf16_native(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc)
{
    to_bf16_by(round_native, sums, rows, cols, c, ldc);
}

static void nothing(void)
{
}

/* ---- AMX: tiles 0 to 3 are sums, 4 and 5 the halves of A, 6 and 7 those of B ---- */

static void amx_begin(void)
{
    unsigned char config[64] = {1};
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void amx_end(void)
{
    __asm__ volatile("tilerelease");
}

#define TILE_ZERO(n) __asm__ volatile("tilezero %%tmm" #n : :)
#define TILE_LOAD(n, p, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #n \
                     : \
                     : "r"(p), "r"((int64_t)(stride)) \
                     : "memor" \
                       "y")
#define TILE_STORE(n, p, stride) \
    __asm__ volatile("tilestored %%tmm" #n ", (%0,%1,1)" \
                     : \
                     : "r"(p), "r"((int64_t)(stride)) \
                     : "memory")
#define TILE_DOT(sums, x, w) __asm__ volatile("tdpbf16ps %%tmm" #w ", %%tmm" #x ", %%tmm" #sums : :)

static void tile_amx(const sol_bf16_rows *rows, const uint16_t *b, int64_t half_b, int64_t blocks,
                     bool add, float *c, int64_t ldc)
{
    const uint16_t *a = rows->data;
    int64_t step = rows->step, half_a = rows->half, row = 2 * rows->row;
    if (add) {
        TILE_LOAD(0, c, 4 * ldc);
        TILE_LOAD(1, c + EDGE, 4 * ldc);
        TILE_LOAD(2, c + EDGE * ldc, 4 * ldc);
        TILE_LOAD(3, c + EDGE * ldc + EDGE, 4 * ldc);
    } else {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    /* The lines of C are fetched on the way, two at a time, so that the stores at the end find
     * them. */
    for (int64_t k = 0; k < blocks * BLOCK; k += BLOCK, a += step) {
        const float *ahead = c + k / BLOCK % TILE * ldc;
        __asm__ volatile("prefetchw (%0)\n\tprefetchw 64(%0)" : : "r"(ahead));
        TILE_LOAD(6, b + k, 64);
        TILE_LOAD(4, a, row);
        TILE_LOAD(7, b + half_b + k, 64);
        TILE_LOAD(5, a + half_a, row);
        TILE_DOT(0, 4, 6);
        TILE_DOT(1, 4, 7);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
    TILE_STORE(0, c, 4 * ldc);
    TILE_STORE(1, c + EDGE, 4 * ldc);
    TILE_STORE(2, c + EDGE * ldc, 4 * ldc);
    TILE_STORE(3, c + EDGE * ldc + EDGE, 4 * ldc);
}

const sol_bf16_ops sol_bf16_ops_avx512 = {"avx512", false,   pack_steps,   tile_cast,
                                          nothing,  nothing, to_bf16_steps};
static const sol_bf16_ops ops_dot = {"avx512-bf16", true,    pack_native,   tile_dot,
                                     nothing,       nothing, to_bf16_native};
const sol_bf16_ops sol_bf16_ops_amx = {"amx-bf16", true,    pack_native,   tile_amx,
                                       amx_begin,  amx_end, to_bf16_native};

void sol_kernels_bf16(sol_kernels *k)
{
    k->bf16 = &ops_dot;
}
