/* The ternary product in vectors of 512 bits, for ternary_vbmi.c and ternary_amx.c, which multiply
 * many tokens each in its own way. Each defines before it includes this:
 *
 *   TABLE_TOKENS    up to so many tokens go through the tables
 *   WEIGHT_BIAS     added to the weights that multiply_segment gets
 *
 * and behind it multiply_segment.
 *
 * Layout. A tile is 64 rows in two halves of 32. A chunk of 16 blocks (64 columns) of a half is
 * five vectors of 32 words: word 2i belongs to row i, word 2i + 1 to row 16 + i, and the five words
 * of a row are an 80-bit string with code k, written as slot << 1 | sign, in bits 5k..5k+4. Chunks
 * lie behind each other, both halves of one together; the last is filled up with code 0 (its
 * activations are 0). Scales follow the chunks of their groups (sol_unit in matrix_impl.h).
 *
 * Few tokens: for each block of four activations the 32 signed sums are a table of 32 words, so
 * that one vpermw looks up four weights of 32 rows, and its index needs no masking: it reads the
 * low five bits of a word. Sums stay exact in int16 over a segment of 128 (32 x 381 < 32768).
 * Measured against it on one core of a Sapphire Rapids, in cache: decoding with vpermi2d into
 * vpdpbusd reaches 0.69 of its rate, pshufb into tables of low and high bytes with signs as masks
 * also 0.69. From memory: without prefetching 0.6 of the rate; scales behind all codes of a tile
 * 0.9; distances of 0.5 to 4 KB, prefetches spread between the look-ups, and a second one 6 KB
 * ahead into the outer cache all lie within 3 %. Many tokens: blocks are decoded once to bytes, a
 * doubleword a row and block, which meet all tokens. */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/kernels_x86.h"

enum {
    TILE_ROWS = 64,
    HALVES = 2,
    WORDS = 5, /* vectors of a half chunk */
    CHUNK_BLOCKS = 16,
    CHUNK_BYTES = HALVES * WORDS * 64,
    TOKENS = 256, /* of one call */
    SEGMENT_BLOCKS = SOL_TERNARY_BLOCK / 4,
    PREFETCH = 1536, /* bytes ahead */
    PACK_CHUNKS = 8, /* a line of codes */
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static sol_unit unit_of(const sol_segments *s)
{
    return sol_unit_make(s, CHUNK_BYTES, TILE_ROWS);
}

static size_t tile_bytes(sol_dtype type, const sol_segments *s)
{
    (void)type;
    sol_unit u = unit_of(s);
    return (size_t)(u.count * u.bytes);
}

/* ---- packing ---- */

/* Eight codes of a row as 40 bits: four bytes of slots and a byte of signs. */
static inline uint64_t join_codes(uint32_t slots, uint8_t signs)
{
    return _pdep_u64(slots, 0xf7bdef7bdeull) | _pdep_u64(signs, 0x0842108421ull);
}

/* Chunk c of a row, zero beyond its end. */
static void read_chunk(const sol_segments *s, const uint8_t *codes, const uint8_t *signs, int64_t c,
                       uint64_t *slots, uint32_t *sign)
{
    int64_t blocks = s->cols / 4, first = c * CHUNK_BLOCKS,
            n = sol_min_i64(CHUNK_BLOCKS, blocks - first);
    *slots = 0;
    *sign = 0;
    if (n == CHUNK_BLOCKS) {
        memcpy(slots, codes + first / 2, 8);
        memcpy(sign, signs + first / 8, 2);
        return;
    }
    memcpy(slots, codes + first / 2, (size_t)(n + 1) / 2);
    memcpy(sign, signs + first / 8, (size_t)sol_ceil_div(n, 8));
    *slots &= (1ull << 4 * n) - 1;
    *sign &= (1u << n) - 1;
}

/* Chunk c of a row into its half chunk at `to`, at the row's word. */
ALWAYS_INLINE void pack_chunk(const sol_segments *s, const uint8_t *codes, const uint8_t *signs,
                              int64_t c, uint16_t *to)
{
    uint64_t slots;
    uint32_t sign;
    read_chunk(s, codes, signs, c, &slots, &sign);
    uint64_t low = join_codes((uint32_t)slots, (uint8_t)sign),
             high = join_codes((uint32_t)(slots >> 32), (uint8_t)(sign >> 8));
    to[0] = (uint16_t)low;
    to[32] = (uint16_t)(low >> 16);
    to[64] = (uint16_t)(low >> 32 | high << 8);
    to[96] = (uint16_t)(high >> 8);
    to[128] = (uint16_t)(high >> 24);
}

/* A few chunks of all rows, then the next: they and a line of each row stay in the first cache. */
static void pack(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile)
{
    (void)type;
    const sol_unit u = unit_of(s);
    int64_t chunks = s->cols_pad / 64, at[PACK_CHUNKS];
    for (int64_t first = 0; first < chunks; first += PACK_CHUNKS) {
        int64_t n = sol_min_i64(PACK_CHUNKS, chunks - first);
        for (int64_t i = 0; i < n; i++) at[i] = sol_unit_chunk(&u, first + i);
        for (int r = 0; r < rows->n; r++) {
            uint16_t *to = (uint16_t *)(tile + r / 32 * WORDS * 64) + (r % 16 * 2 + r % 32 / 16);
            for (int64_t i = 0; i < n; i++)
                pack_chunk(s, rows->data[r], rows->signs[r], first + i, to + at[i] / 2);
        }
    }
    for (int64_t g = 0; g < s->n_groups; g++) {
        sol_f16 *scales = (sol_f16 *)(tile + sol_unit_scales(&u, g));
        for (int r = 0; r < rows->n; r++) scales[r] = rows->scales[r][g];
    }
}

static void unpack(sol_dtype type, const sol_segments *s, const uint8_t *tile, int64_t r, int8_t *q,
                   sol_f16 *scales)
{
    (void)type;
    const sol_unit u = unit_of(s);
    int64_t half = r / 32, word = r % 16 * 2 + r % 32 / 16;
    for (int64_t b = 0; b < s->cols / 4; b++) {
        const uint16_t *words =
            (const uint16_t *)(tile + sol_unit_chunk(&u, b / CHUNK_BLOCKS) + half * WORDS * 64) +
            word;
        int64_t bit = 5 * (b % CHUNK_BLOCKS), i = bit / 16;
        uint32_t both = words[32 * i] | (i < WORDS - 1 ? (uint32_t)words[32 * i + 32] << 16 : 0);
        uint32_t code = both >> bit % 16 & 31;
        memcpy(q + 4 * b, sol_code_levels[(code & 1) << 4 | code >> 1], 4);
    }
    for (int64_t g = 0; g < s->n_groups; g++)
        scales[g] = ((const sol_f16 *)(tile + sol_unit_scales(&u, g)))[r];
}

/* Code K of a half chunk at w, in the low five bits of each word. */
#define CODE(w, K) \
    (5 * (K) % 16 == 0 ? _mm512_load_si512((w) + 5 * (K) / 16) \
     : 5 * (K) % 16 < 12 \
         ? _mm512_srli_epi16(_mm512_load_si512((w) + 5 * (K) / 16), 5 * (K) % 16) \
         : _mm512_shrdi_epi16(_mm512_load_si512((w) + 5 * (K) / 16), \
                              _mm512_load_si512((w) + (5 * (K) / 16 + 1) % WORDS), 5 * (K) % 16))

/* The same for a k that is not a constant. */
ALWAYS_INLINE __m512i code_at(const __m512i *w, int64_t k)
{
    int64_t i = 5 * k / 16;
    __m512i next = _mm512_load_si512(w + (i < WORDS - 1 ? i + 1 : i));
    return _mm512_shrdv_epi16(_mm512_load_si512(w + i), next,
                              _mm512_set1_epi16((short)(5 * k % 16)));
}

/* ---- tables: one token ---- */

/* Doubleword i: the four weights of slot i with sign +, as signed bytes. */
static __m512i slot_weights(void)
{
    return _mm512_loadu_si512(sol_code_levels);
}

/* table[b], word 2 slot + sign: the sum of that code with the activations of block b. */
static void build_tables(const int8_t *q, int64_t blocks, __m512i *table)
{
    const __m512i weights = slot_weights(), zero = _mm512_setzero_si512(),
                  flip = _mm512_set1_epi8(-128);
    /* Activations enter as unsigned q + 128: minus 128 times the sum of the weights. */
    __m512i bias = _mm512_dpbusd_epi32(zero, flip, weights);
    bias = _mm512_sub_epi32(zero, bias);
    for (int64_t b = 0; b < blocks; b++) {
        int32_t four;
        memcpy(&four, q + 4 * b, 4);
        __m512i sum =
            _mm512_dpbusd_epi32(bias, _mm512_xor_si512(_mm512_set1_epi32(four), flip), weights);
        __m512i minus = _mm512_slli_epi32(_mm512_sub_epi32(zero, sum), 16);
        _mm512_store_si512(table + b, _mm512_mask_blend_epi16(0xaaaaaaaau, sum, minus));
    }
}

/* int16 sums of 32 rows into u (two vectors of 16 rows): u += d * sum. */
ALWAYS_INLINE void flush_sums(__m512i sum, __m512 d, __m512 u[2])
{
    __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(sum, 16), 16),
            high = _mm512_srai_epi32(sum, 16);
    u[0] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(low), u[0]);
    u[1] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(high), u[1]);
}

ALWAYS_INLINE __m512 load_scales(const sol_f16 *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* 16 rows of y from row r on, of `rows`. */
ALWAYS_INLINE void store_rows(float *y, int64_t r, int64_t rows, __m512 v)
{
    int64_t n = rows - r;
    if (n >= 16)
        _mm512_storeu_ps(y + r, v);
    else if (n > 0)
        _mm512_mask_storeu_ps(y + r, (__mmask16)((1u << n) - 1), v);
}

/* Block K of a chunk, for the halves at a, a + WORDS, b, b + WORDS. The empty asm keeps gcc from
 * adding all sums of a chunk as a tree, for which it has too few registers. */
#define LOOK_UP(K) \
    sums = _mm512_load_si512(table + (K)); \
    acc0 = _mm512_add_epi16(acc0, _mm512_permutexvar_epi16(CODE(a, K), sums)); \
    acc1 = _mm512_add_epi16(acc1, _mm512_permutexvar_epi16(CODE(a + WORDS, K), sums)); \
    acc2 = _mm512_add_epi16(acc2, _mm512_permutexvar_epi16(CODE(b, K), sums)); \
    acc3 = _mm512_add_epi16(acc3, _mm512_permutexvar_epi16(CODE(b + WORDS, K), sums)); \
    __asm__("" : "+v"(acc0), "+v"(acc1), "+v"(acc2), "+v"(acc3));

/* n whole chunks of two tiles: the int16 sums of their four halves. */
ALWAYS_INLINE void look_up_chunks(const __m512i *a, const __m512i *b, const __m512i *table,
                                  int64_t n, __m512i acc[4])
{
    __m512i sums, acc0 = _mm512_setzero_si512(), acc1 = acc0, acc2 = acc0, acc3 = acc0;
    for (const __m512i *end = table + n * CHUNK_BLOCKS; table < end; table += CHUNK_BLOCKS) {
        for (int line = 0; line < CHUNK_BYTES; line += 64) {
            _mm_prefetch((const char *)a + PREFETCH + line, _MM_HINT_T0);
            _mm_prefetch((const char *)b + PREFETCH + line, _MM_HINT_T0);
        }
        LOOK_UP(0)
        LOOK_UP(1)
        LOOK_UP(2)
        LOOK_UP(3)
        LOOK_UP(4)
        LOOK_UP(5)
        LOOK_UP(6)
        LOOK_UP(7)
        LOOK_UP(8)
        LOOK_UP(9)
        LOOK_UP(10)
        LOOK_UP(11)
        LOOK_UP(12)
        LOOK_UP(13)
        LOOK_UP(14)
        LOOK_UP(15)
        a += HALVES * WORDS;
        b += HALVES * WORDS;
    }
    acc[0] = acc0;
    acc[1] = acc1;
    acc[2] = acc2;
    acc[3] = acc3;
}

/* The same for blocks [first, end) that are no whole chunks. */
static void look_up_blocks(const __m512i *a, const __m512i *b, const __m512i *table, int64_t first,
                           int64_t end, __m512i acc[4])
{
    for (int h = 0; h < 4; h++) acc[h] = _mm512_setzero_si512();
    for (int64_t i = first; i < end; i++) {
        int64_t at = i / CHUNK_BLOCKS * HALVES * WORDS, k = i % CHUNK_BLOCKS;
        for (int h = 0; h < 4; h++) {
            __m512i code = code_at((h < 2 ? a : b) + at + h % 2 * WORDS, k);
            acc[h] = _mm512_add_epi16(acc[h], _mm512_permutexvar_epi16(code, table[i]));
        }
    }
}

/* Segment of len columns from `start` on, both inside one unit. The last segment of a row may run
 * into the zeros behind its end, up to a whole chunk. */
ALWAYS_INLINE void look_up_segment(const uint8_t *a, const uint8_t *b, const __m512i *table,
                                   int64_t start, int64_t len, __m512i acc[4])
{
    int64_t c = start / 64;
    if (start % 64 == 0 && len % 64 == 0)
        look_up_chunks((const __m512i *)(a + c * CHUNK_BYTES),
                       (const __m512i *)(b + c * CHUNK_BYTES), table + c * CHUNK_BLOCKS, len / 64,
                       acc);
    else
        look_up_blocks((const __m512i *)a, (const __m512i *)b, table, start / 4, (start + len) / 4,
                       acc);
}

/* Adds scales[64] * u[4] to y[4]. */
ALWAYS_INLINE void add_group(const uint8_t *scales, const __m512 u[4], __m512 y[4])
{
    for (int j = 0; j < 4; j++)
        y[j] = _mm512_fmadd_ps(load_scales((const sol_f16 *)scales + 16 * j), u[j], y[j]);
}

/* One token and two tiles: y[0..3] of the 64 rows of a, y[4..7] of b. */
static void look_up_tiles(const sol_segments *s, const sol_unit *unit, const uint8_t *a,
                          const uint8_t *b, const __m512i *table, const float *d, __m512 y[8])
{
    for (int j = 0; j < 8; j++) y[j] = _mm512_setzero_ps();
    for (int64_t first = 0; first < s->n_groups; first += unit->groups) {
        int64_t end = sol_min_i64(unit->groups, s->n_groups - first), start = 0,
                left = s->cols - first * s->group;
        for (int64_t g = 0; g < end; g++) {
            __m512 u[8];
            for (int j = 0; j < 8; j++) u[j] = _mm512_setzero_ps();
            for (int64_t group_end = start + s->group; start < group_end; d++) {
                __m512i acc[4];
                int64_t len = sol_min_i64(s->block, group_end - start),
                        to_end = start + len == left ? sol_round_up(left, 64) - start : len;
                look_up_segment(a, b, table, start, start % 64 == 0 ? to_end : len, acc);
                for (int h = 0; h < 4; h++) flush_sums(acc[h], _mm512_set1_ps(*d), u + 2 * h);
                start += len;
            }
            add_group(a + unit->scales + g * TILE_ROWS * 2, u, y);
            add_group(b + unit->scales + g * TILE_ROWS * 2, u + 4, y + 4);
        }
        a += unit->bytes;
        b += unit->bytes;
        table += unit->chunks * CHUNK_BLOCKS;
    }
}

/* A run of tiles is read as two streams, its first and its second half side by side: that reads
 * faster than one, and a table serves both. An odd tile goes with itself. */
static void product_by_tables(const sol_tile_call *call, int64_t first, int64_t last,
                              __m512i *tables, int64_t *ready)
{
    const sol_segments *s = call->seg;
    const sol_unit unit = unit_of(s);
    int64_t blocks = s->cols_pad / 4, n = call->acts->n, pairs = (last - first + 1) / 2;
    if (!*ready)
        for (int64_t t = 0; t < n; t++)
            build_tables(call->acts->q + t * s->q_stride, blocks, tables + t * blocks);
    *ready = 1;
    for (int64_t i = first; i < first + pairs; i++) {
        int64_t j = i + pairs < last ? i + pairs : i;
        const uint8_t *a = call->tiles + (size_t)i * call->tile_bytes,
                      *b = call->tiles + (size_t)j * call->tile_bytes;
        for (int64_t t = 0; t < n; t++) {
            __m512 y[8];
            look_up_tiles(s, &unit, a, b, tables + t * blocks, call->acts->d + t * s->n_segs, y);
            for (int h = 0; h < 4; h++) {
                store_rows(call->y + t * call->ldy, i * TILE_ROWS + 16 * h, call->rows, y[h]);
                store_rows(call->y + t * call->ldy, j * TILE_ROWS + 16 * h, call->rows, y[4 + h]);
            }
        }
    }
}

/* ---- many tokens: blocks are decoded to bytes ---- */

/* The weights of each code, in the order slot << 1 | sign, plus `bias`. */
typedef struct code_book {
    __m512i low, high;
} code_book;

static code_book make_book(int bias)
{
    int8_t book[32][4];
    for (int code = 0; code < 32; code++)
        for (int p = 0; p < 4; p++)
            book[code][p] = (int8_t)(sol_code_levels[(code & 1) << 4 | code >> 1][p] + bias);
    return (code_book){_mm512_loadu_si512(book), _mm512_loadu_si512(book + 16)};
}

/* 32 codes of a half to the doublewords of rows 0-15 and of rows 16-31. */
#define DECODE(codes, to0, to1) \
    do { \
        __m512i code = codes; \
        *(to0) = _mm512_permutex2var_epi32(book->low, code, book->high); \
        *(to1) = _mm512_permutex2var_epi32(book->low, _mm512_srli_epi32(code, 16), book->high); \
    } while (0)
#define DECODE_BOTH(K) \
    DECODE(CODE(at, K), &w[0][i + (K)], &w[1][i + (K)]); \
    DECODE(CODE(at + WORDS, K), &w[2][i + (K)], &w[3][i + (K)]);

/* Blocks b.. of a unit to w[4][SEGMENT_BLOCKS]: vector [j][i] holds rows 16 j.. of block b + i, a
 * byte a weight. */
static void decode_segment(const uint8_t *unit, int64_t b, int64_t blocks, const code_book *book,
                           __m512i (*w)[SEGMENT_BLOCKS])
{
    int64_t i = 0;
    for (; b % CHUNK_BLOCKS == 0 && i + CHUNK_BLOCKS <= blocks; i += CHUNK_BLOCKS) {
        const __m512i *at = (const __m512i *)(unit + (b + i) / CHUNK_BLOCKS * CHUNK_BYTES);
        DECODE_BOTH(0)
        DECODE_BOTH(1)
        DECODE_BOTH(2)
        DECODE_BOTH(3)
        DECODE_BOTH(4)
        DECODE_BOTH(5)
        DECODE_BOTH(6)
        DECODE_BOTH(7)
        DECODE_BOTH(8)
        DECODE_BOTH(9)
        DECODE_BOTH(10)
        DECODE_BOTH(11)
        DECODE_BOTH(12)
        DECODE_BOTH(13)
        DECODE_BOTH(14)
        DECODE_BOTH(15)
    }
    for (; i < blocks; i++) {
        const __m512i *at = (const __m512i *)(unit + (b + i) / CHUNK_BLOCKS * CHUNK_BYTES);
        int64_t k = (b + i) % CHUNK_BLOCKS;
        DECODE(code_at(at, k), &w[0][i], &w[1][i]);
        DECODE(code_at(at + WORDS, k), &w[2][i], &w[3][i]);
    }
}

/* Where the sums of a segment go. `only`: the segment is its whole scale group, so that  y =
 * fma(scale, fma(d, sum, 0), y); otherwise  u = fma(d, sum, u). to[t][j]: y or u of token t, rows
 * 16 j... */
typedef struct gemm_sums {
    bool only;
    __m512 scale[4];
    __m512 (*to)[4];
} gemm_sums;

/* A segment by all tokens of a. w: the segment as decode_segment leaves it, which may be written
 * over. Never inlined: its sums fill the registers. */
static void multiply_segment(const sol_segments *s, __m512i (*w)[SEGMENT_BLOCKS], int64_t seg,
                             const sol_acts *a, gemm_sums to) __attribute__((noinline));

/* Scratch of a thread. */
typedef struct gemm_scratch {
    __m512i w[4][SEGMENT_BLOCKS];
    __m512 u[TOKENS][4], y[TOKENS][4];
} gemm_scratch;

static void gemm_group(const sol_tile_call *call, const uint8_t *tile, int64_t g,
                       const code_book *book, gemm_scratch *work)
{
    const sol_segments *s = call->seg;
    const sol_unit u = unit_of(s);
    const uint8_t *unit = tile + g / u.groups * u.bytes;
    const sol_f16 *scales = (const sol_f16 *)(unit + u.scales) + g % u.groups * TILE_ROWS;
    int64_t n = call->acts->n, first = g * s->segs_per_group,
            skip = g / u.groups * u.groups * s->group;
    gemm_sums to = {.only = s->segs_per_group == 1};
    to.to = to.only ? work->y : work->u;
    for (int j = 0; j < 4; j++) to.scale[j] = load_scales(scales + 16 * j);
    if (!to.only) memset(work->u, 0, (size_t)n * sizeof *work->u);
    for (int64_t i = first; i < first + s->segs_per_group; i++) {
        int64_t len, start = sol_segment_at(s, i, &len);
        decode_segment(unit, (start - skip) / 4, len / 4, book, work->w);
        multiply_segment(s, work->w, i, call->acts, to);
    }
    if (!to.only)
        for (int64_t t = 0; t < n; t++)
            for (int j = 0; j < 4; j++)
                work->y[t][j] = _mm512_fmadd_ps(to.scale[j], work->u[t][j], work->y[t][j]);
}

static void product_by_gemm(const sol_tile_call *call, int64_t first, int64_t last,
                            gemm_scratch *work)
{
    const code_book book = make_book(WEIGHT_BIAS);
    for (int64_t tile = first; tile < last; tile++) {
        memset(work->y, 0, (size_t)call->acts->n * sizeof *work->y);
        for (int64_t g = 0; g < call->seg->n_groups; g++)
            gemm_group(call, call->tiles + (size_t)tile * call->tile_bytes, g, &book, work);
        for (int64_t t = 0; t < call->acts->n; t++)
            for (int j = 0; j < 4; j++)
                store_rows(call->y + t * call->ldy, tile * TILE_ROWS + 16 * j, call->rows,
                           work->y[t][j]);
    }
}

static size_t thread_bytes(const sol_segments *s)
{
    size_t tables = (size_t)(TABLE_TOKENS * s->cols_pad / 4 * 64);
    return tables > sizeof(gemm_scratch) ? tables : sizeof(gemm_scratch);
}
