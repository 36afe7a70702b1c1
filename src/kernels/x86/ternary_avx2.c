/* The ternary product with AVX2.
 *
 * Layout. A tile is 32 rows; a part of it is 8 blocks (32 columns): four vectors of slots, where
 * the byte of a row in vector j holds its slots of blocks 2j (low nibble) and 2j + 1; then one of
 * signs, with the sign of block k in bit 7 - k. Rows lie in the order of row_at, from which
 * widening words brings them back without another shuffle. Two parts are a chunk of 64 columns; the
 * last one is filled up, its activations are 0. Scales follow the chunks of their groups (sol_unit
 * in matrix_impl.h).
 *
 * One token (or few): for each block of four activations the 16 sums of the slots, written as 31
 * high + low with |low| <= 15 and |high| <= 12, are two tables of bytes. Two pshufb look up 32
 * rows, psignb puts the signs; both parts stay exact in int8 over eight blocks (8 x 15, 8 x 12 <
 * 128), then punpck and pmaddubsw with (1, 31) make words, exact over a segment of 128. A part is
 * 76 operations for the four vector pipes of a Zen 3, 19 cycles, and takes 22, more with each that
 * is added, whether the tables come from memory or stay in registers for two tiles; a segment's
 * way to floats takes 13. Measured on one core, in cache: 19.5 GB/s of codes at 3.2 GHz. Against it
 * tables of the sums' low and high bytes, which must become words block by block, reach 0.6 of the
 * rate; decoding into pmaddubsw, for one token, 0.17; signs by pcmpgtb and pxor on sums that are
 * off by a half 0.95. Lines fetched into all caches push out the tables.
 *
 * Many tokens: a token a lane. The 32 sums of a block (one a code) for 32 tokens are words in a
 * table; a row adds to its sums the line that its code names, so one instruction with an operand
 * in memory is 64 multiplications. Tables of 8 blocks lie in 16 KiB of the nearest cache, and are
 * built for all rows of a panel; those rows' sums, exact in 16 bits over a segment (32 x 3 x 127 <
 * 32768), wait in the next one. Two loads of 32 bytes a cycle bound it at 113 multiplications a
 * cycle; codes of a row lie together in a register because each that is loaded takes the place of
 * a line. It reaches 60 with everything else, 52 with scale groups of 64, where bytes of weights
 * and tokens in pmaddubsw (eight with their paddw take five cycles, 51) came to 42 and 38. */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/kernels_x86.h"
#include "kernels/x86/transpose_avx2.h"

enum {
    TILE_ROWS = 32,
    PART_BLOCKS = 8,
    SLOT_BYTES = PART_BLOCKS / 2 * TILE_ROWS, /* of a part */
    PART_BYTES = SLOT_BYTES + TILE_ROWS,      /* with its signs */
    CHUNK_PARTS = 2,
    CHUNK_BYTES = CHUNK_PARTS * PART_BYTES,
    CHUNK_BLOCKS = CHUNK_PARTS * PART_BLOCKS,
    TABLE_TOKENS = 10, /* up to so many tokens go through tables one by one */
    TOKENS = 256,      /* rounded at once */
    LANES = 16,        /* words of a vector */
    LANE_VECTORS = 2,
    CODES = 32,       /* of a block */
    PANEL_TILES = 64, /* whose sums stay in the caches */
    PREFETCH = 2560,  /* bytes ahead */
    PACK_CHUNKS = 4,  /* eight bytes of signs */
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

/* Bytes [at, at + 8) of a row of n, zero beyond its end. */
static uint64_t eight_bytes(const uint8_t *row, int64_t at, int64_t n)
{
    uint64_t v = 0;
    if (at + 8 <= n)
        memcpy(&v, row + at, 8);
    else if (at < n)
        memcpy(&v, row + at, (size_t)(n - at));
    return v;
}

/* Byte i of v[r] to byte r of out[i]. */
ALWAYS_INLINE void transpose_bytes(const uint64_t v[8], uint64_t out[8])
{
    __m128i pair[4], quad[4];
    for (int i = 0; i < 4; i++)
        pair[i] = _mm_unpacklo_epi8(_mm_cvtsi64_si128((int64_t)v[2 * i]),
                                    _mm_cvtsi64_si128((int64_t)v[2 * i + 1]));
    for (int i = 0; i < 2; i++) {
        quad[2 * i] = _mm_unpacklo_epi16(pair[2 * i], pair[2 * i + 1]);
        quad[2 * i + 1] = _mm_unpackhi_epi16(pair[2 * i], pair[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        _mm_storeu_si128((__m128i *)(out + 4 * i), _mm_unpacklo_epi32(quad[i], quad[2 + i]));
        _mm_storeu_si128((__m128i *)(out + 4 * i + 2), _mm_unpackhi_epi32(quad[i], quad[2 + i]));
    }
}

/* The bits of each byte from back to front. */
static uint64_t reverse_bits(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
    x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
    return (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
}

/* The row whose byte is at place p of a vector, and the place of row r. The vectors of words that
 * join_parts makes, and of dwords that are their even and odd words, then hold 8 rows in order. */
static int row_at(int p)
{
    return p / 8 % 2 * 16 + p % 2 * 8 + p / 16 * 4 + p % 8 / 2;
}

static int place_of(int r)
{
    return r / 4 % 2 * 16 + r / 16 * 8 + r % 4 * 2 + r / 8 % 2;
}

/* Rows at places p to p + 7 of a tile (those that there are), n chunks from `first` on. */
static void pack_eight(const sol_segments *s, const sol_unit *u, const sol_tile_rows *rows, int p,
                       int64_t first, int64_t n, uint8_t *tile)
{
    int64_t code_bytes = (s->cols / 4 + 1) / 2, sign_bytes = sol_ceil_div(s->cols / 4, 8);
    uint64_t v[8] = {0}, out[8];
    for (int64_t c = first; c < first + n; c++) {
        uint8_t *to = tile + sol_unit_chunk(u, c) + p;
        for (int i = 0; i < 8; i++)
            if (row_at(p + i) < rows->n)
                v[i] = eight_bytes(rows->data[row_at(p + i)], 8 * c, code_bytes);
        transpose_bytes(v, out);
        for (int i = 0; i < 8; i++) memcpy(to + i / 4 * PART_BYTES + i % 4 * TILE_ROWS, &out[i], 8);
    }
    for (int i = 0; i < 8; i++)
        if (row_at(p + i) < rows->n)
            v[i] = reverse_bits(eight_bytes(rows->signs[row_at(p + i)], 2 * first, sign_bytes));
    transpose_bytes(v, out);
    for (int64_t i = 0; i < CHUNK_PARTS * n; i++)
        memcpy(tile + sol_unit_chunk(u, first + i / 2) + i % 2 * PART_BYTES + SLOT_BYTES + p,
               &out[i], 8);
}

static void pack(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile)
{
    (void)type;
    const sol_unit u = unit_of(s);
    int64_t chunks = s->cols_pad / 64;
    for (int64_t first = 0; first < chunks; first += PACK_CHUNKS)
        for (int p = 0; p < TILE_ROWS; p += 8)
            pack_eight(s, &u, rows, p, first, sol_min_i64(PACK_CHUNKS, chunks - first), tile);
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
    int place = place_of((int)r);
    for (int64_t b = 0; b < s->cols / 4; b++) {
        const uint8_t *part = tile + sol_unit_chunk(&u, b / PART_BLOCKS / CHUNK_PARTS) +
                              b / PART_BLOCKS % CHUNK_PARTS * PART_BYTES;
        int64_t k = b % PART_BLOCKS;
        int sign = part[SLOT_BYTES + place] >> (7 - k) & 1,
            slot = part[k / 2 * TILE_ROWS + place] >> 4 * (k & 1) & 15;
        memcpy(q + 4 * b, sol_code_levels[sign << 4 | slot], 4);
    }
    for (int64_t g = 0; g < s->n_groups; g++)
        scales[g] = ((const sol_f16 *)(tile + sol_unit_scales(&u, g)))[r];
}

ALWAYS_INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Slots of block k of a part, a byte a row. */
ALWAYS_INLINE __m256i slots_at(const uint8_t *part, int64_t k)
{
    __m256i both = load(part + k / 2 * TILE_ROWS);
    return _mm256_and_si256(k & 1 ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
}

/* For psignb: a byte a row that is negative where block k of a part has the sign -, and never 0.
 * Shifts of words: what comes over from the byte below is not looked at. */
ALWAYS_INLINE __m256i signs_at(const uint8_t *part, int64_t k)
{
    __m256i bits = _mm256_sll_epi16(load(part + SLOT_BYTES), _mm_cvtsi32_si128((int)k));
    return _mm256_or_si256(bits, _mm256_set1_epi8(1));
}

/* sum += x, written out: the compiler would add in a tree, with more sums than registers. */
#define ADD_BYTES(sum, x) __asm__("vpaddb %1, %0, %0" : "+x"(sum) : "x"(x))
#define ADD_WORDS(sum, x) __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "xm"(x))

/* ---- tables: one token ---- */

/* Sums of the 16 slots with sign + for one block, each HIGH_WEIGHT * high + low. */
enum { HIGH_WEIGHT = 31 };
typedef struct slot_sums {
    int8_t low[16], high[16];
} slot_sums;

static void build_tables(const int8_t *q, int64_t blocks, slot_sums *table)
{
    int8_t pair[2][16][2];
    int16_t offset[16];
    for (int slot = 0; slot < 16; slot++) {
        offset[slot] = 0;
        for (int p = 0; p < 4; p++) {
            pair[p / 2][slot][p % 2] = sol_code_levels[slot][p];
            offset[slot] = (int16_t)(offset[slot] + 128 * sol_code_levels[slot][p]);
        }
    }
    const __m256i first = load(pair[0]), second = load(pair[1]), offsets = load(offset);
    for (int64_t b = 0; b < blocks; b++, q += 4) {
        uint32_t x;
        memcpy(&x, q, 4);
        x ^= 0x80808080u; /* q + 128, for pmaddubsw */
        __m256i sum =
            _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_set1_epi16((short)x), first),
                             _mm256_maddubs_epi16(_mm256_set1_epi16((short)(x >> 16)), second));
        sum = _mm256_sub_epi16(sum, offsets);
        /* sum / 31 to nearest: never halfway between two, as 31 is odd. */
        __m256i high =
            _mm256_mulhrs_epi16(sum, _mm256_set1_epi16((32768 + HIGH_WEIGHT / 2) / HIGH_WEIGHT));
        __m256i low =
            _mm256_sub_epi16(sum, _mm256_mullo_epi16(high, _mm256_set1_epi16(HIGH_WEIGHT)));
        _mm256_storeu_si256((__m256i *)&table[b],
                            _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8));
    }
}

/* low, high += the signed parts of the sums of one block, for 32 rows. */
ALWAYS_INLINE void look_up(const slot_sums *sums, __m256i slots, __m256i sign, __m256i *low,
                           __m256i *high)
{
    __m256i lows = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)sums->low));
    __m256i highs = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)sums->high));
    ADD_BYTES(*low, _mm256_sign_epi8(_mm256_shuffle_epi8(lows, slots), sign));
    ADD_BYTES(*high, _mm256_sign_epi8(_mm256_shuffle_epi8(highs, slots), sign));
}

/* acc[0] (places 0-7, 16-23) and acc[1] (8-15, 24-31) += the sums of at most PART_BLOCKS blocks. */
ALWAYS_INLINE void join_parts(__m256i low, __m256i high, __m256i acc[2])
{
    const __m256i weights = _mm256_set1_epi16(HIGH_WEIGHT << 8 | 1);
    ADD_WORDS(acc[0], _mm256_maddubs_epi16(weights, _mm256_unpacklo_epi8(low, high)));
    ADD_WORDS(acc[1], _mm256_maddubs_epi16(weights, _mm256_unpackhi_epi8(low, high)));
}

ALWAYS_INLINE void look_up_part(const uint8_t *part, const slot_sums *table, __m256i acc[2])
{
    const __m256i one = _mm256_set1_epi8(1);
    __m256i all = load(part + SLOT_BYTES), low = _mm256_setzero_si256(), high = low;
    /* Bit 7 is the sign of the block at hand; the 1 below keeps the byte from being 0, which psignb
     * would take for 0. */
    __m256i sign = _mm256_or_si256(all, one);
#pragma GCC unroll 8
    for (int i = 0; i < PART_BLOCKS; i++) {
        look_up(table + i, slots_at(part, i), sign, &low, &high);
        sign = i < PART_BLOCKS - 2 ? _mm256_add_epi8(sign, sign)
                                   : _mm256_or_si256(_mm256_slli_epi16(all, 7), one);
    }
    join_parts(low, high, acc);
}

/* Sums of the rows of a tile: of places 0-7, 16-23 and 8-15, 24-31. */
typedef struct row_sums {
    __m256i words[2];
} row_sums;

ALWAYS_INLINE row_sums look_up_parts(const uint8_t *part, int64_t n, const slot_sums *table)
{
    row_sums sums = {0};
    for (; n > 0; n--, part += PART_BYTES, table += PART_BLOCKS) {
        for (int line = 0; line < PART_BYTES; line += 64)
            _mm_prefetch((const char *)part + PREFETCH + line, _MM_HINT_NTA);
        look_up_part(part, table, sums.words);
    }
    return sums;
}

/* The sums of `blocks` blocks of a unit from block k on, which begin or end inside a part. A
 * function of its own, because in the loop of whole parts registers are scarce. */
static __attribute__((noinline)) row_sums look_up_blocks(const uint8_t *unit, int64_t k,
                                                         int64_t blocks, const slot_sums *table)
{
    row_sums sums = {0};
    for (int64_t end = k + blocks; k < end; k++, table++) {
        const uint8_t *part = unit + k / PART_BLOCKS * PART_BYTES;
        __m256i low = _mm256_setzero_si256(), high = low;
        look_up(table, slots_at(part, k % PART_BLOCKS), signs_at(part, k % PART_BLOCKS), &low,
                &high);
        join_parts(low, high, sums.words);
    }
    return sums;
}

ALWAYS_INLINE __m256 load_scales(const sol_f16 *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* 32 rows of y from row r on, of `rows`. */
static void store_rows(float *y, int64_t r, int64_t rows, const __m256 v[4])
{
    if (rows - r >= TILE_ROWS) {
        for (int j = 0; j < 4; j++) _mm256_storeu_ps(y + r + 8 * j, v[j]);
        return;
    }
    float all[TILE_ROWS];
    for (int j = 0; j < 4; j++) _mm256_storeu_ps(all + 8 * j, v[j]);
    memcpy(y + r, all, (size_t)(rows - r) * sizeof *y);
}

/* u += the segments of one scale group, `at` columns behind the start of its unit. `padded`: its
 * last segment may run on, up to a whole part. */
ALWAYS_INLINE void look_up_group(const sol_segments *s, const uint8_t *unit, int64_t at,
                                 bool padded, const slot_sums *table, const float *d, __m256 u[4])
{
    const __m256i even = _mm256_set1_epi32(1), odd = _mm256_set1_epi32(1 << 16);
    for (int64_t begin = 0; begin < s->group; begin += SOL_TERNARY_BLOCK, d++) {
        int64_t k = (at + begin) / 4, blocks = sol_min_i64(SOL_TERNARY_BLOCK, s->group - begin) / 4;
        bool whole = k % PART_BLOCKS == 0 && (padded || blocks % PART_BLOCKS == 0);
        row_sums sums = whole ? look_up_parts(unit + k / PART_BLOCKS * PART_BYTES,
                                              sol_ceil_div(blocks, PART_BLOCKS), table + begin / 4)
                              : look_up_blocks(unit, k, blocks, table + begin / 4);
        __m256 scale = _mm256_broadcast_ss(d);
        for (int j = 0; j < 4; j++) {
            __m256i dwords = _mm256_madd_epi16(sums.words[j / 2], j % 2 ? odd : even);
            u[j] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dwords), u[j]);
        }
    }
}

/* One token and one tile. */
static void look_up_tile(const sol_segments *s, const sol_unit *unit, const uint8_t *tile,
                         const slot_sums *table, const float *d, __m256 y[4])
{
    for (int j = 0; j < 4; j++) y[j] = _mm256_setzero_ps();
    for (int64_t g = 0; g < s->n_groups; tile += unit->bytes) {
        const sol_f16 *scales = (const sol_f16 *)(tile + unit->scales);
        for (int64_t end = sol_min_i64(g + unit->groups, s->n_groups), at = 0; g < end;
             g++, at += s->group, scales += TILE_ROWS) {
            __m256 u[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                           _mm256_setzero_ps()};
            look_up_group(s, tile, at, g == s->n_groups - 1, table, d, u);
            for (int j = 0; j < 4; j++)
                y[j] = _mm256_fmadd_ps(load_scales(scales + 8 * j), u[j], y[j]);
            table += s->group / 4;
            d += s->segs_per_group;
        }
    }
}

static void product_by_tables(const sol_tile_call *call, int64_t first, int64_t last,
                              slot_sums *tables, int64_t *ready)
{
    const sol_segments *s = call->seg;
    const sol_unit unit = unit_of(s);
    int64_t blocks = s->cols_pad / 4, n = call->acts->n;
    if (!*ready)
        for (int64_t t = 0; t < n; t++)
            build_tables(call->acts->q + t * s->q_stride, blocks, tables + t * blocks);
    *ready = 1;
    for (int64_t i = first; i < last; i++) {
        for (int64_t t = 0; t < n; t++) {
            __m256 y[4];
            look_up_tile(s, &unit, call->tiles + (size_t)i * call->tile_bytes, tables + t * blocks,
                         call->acts->d + t * s->n_segs, y);
            store_rows(call->y + t * call->ldy, i * TILE_ROWS, call->rows, y);
        }
    }
}

/* ---- a token a lane: many tokens ---- */

/* What is constant while a tile's rows take their sums from at most PART_BLOCKS blocks. */
typedef struct lane_step {
    int64_t blocks;
    bool first, last;             /* of their segment's */
    bool group_first, group_last; /* their segment, of its group */
} lane_step;

/* Scratch of a thread. The words of a vector are tokens 0, 8, 1, 9, .., 7, 15, so that its even and
 * its odd words are eight tokens in order; rows of a tile lie at their lane_place. */
typedef struct lane_scratch {
    __m256i table[PART_BLOCKS * CODES * LANE_VECTORS]; /* [block, code, vector] */
    uint64_t codes[TILE_ROWS]; /* of a row: 8 times the code of a block, a byte a block */
    float scale[TILE_ROWS];
    __m256 d[2 * LANE_VECTORS]; /* of the segment, a float a token */
    __m256i sum[PANEL_TILES * TILE_ROWS * LANE_VECTORS];
    __m256 u[PANEL_TILES * TILE_ROWS * 2 * LANE_VECTORS];
    __m256 y[PANEL_TILES * TILE_ROWS * 2 * LANE_VECTORS];
} lane_scratch;

/* Columns [c, c + 8) of 16 tokens from token t on: words of column c + i to x[i]. */
ALWAYS_INLINE void load_lanes(const sol_acts *a, int64_t stride, int64_t t, int64_t c, __m256i x[8])
{
    const int8_t *q = a->q + t * stride + c;
    __m128i v[8], w[8]; /* of tokens i and 8 + i, 16 bits a column */
    for (int64_t i = 0; i < 8; i++)
        v[i] = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(q + i * stride)),
                                 _mm_loadl_epi64((const __m128i *)(q + (8 + i) * stride)));
    for (int i = 0; i < 4; i++) {
        w[i] = _mm_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
        w[4 + i] = _mm_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 2) {
        v[i] = _mm_unpacklo_epi32(w[i], w[i + 1]);
        v[i + 1] = _mm_unpackhi_epi32(w[i], w[i + 1]);
    }
    for (int i = 0; i < 8; i++) { /* columns 4 j + 2 k and 4 j + 2 k + 1 */
        int j = i / 4, k = i / 2 % 2;
        __m128i front = v[4 * j + k], back = v[4 * j + 2 + k];
        x[i] = _mm256_cvtepi8_epi16(i % 2 ? _mm_unpackhi_epi64(front, back)
                                          : _mm_unpacklo_epi64(front, back));
    }
}

/* The sums of all codes (codebook.h) of a block for one vector of tokens, to[code * V]. */
ALWAYS_INLINE void sums_of_codes(int V, const __m256i x[4], __m256i *to)
{
    const __m256i zero = _mm256_setzero_si256();
    for (int z = 0; z < 4; z++) {
        __m256i first = x[z == 0], second = x[z < 2 ? 2 : 1], third = x[z < 3 ? 3 : 2];
        for (int slot = 4 * z; slot < 4 * z + 4; slot++) {
            __m256i sum =
                slot & 1 ? _mm256_sub_epi16(first, second) : _mm256_add_epi16(first, second);
            sum = slot & 2 ? _mm256_sub_epi16(sum, third) : _mm256_add_epi16(sum, third);
            to[slot * V] = sum;
            to[(CODES / 2 + slot) * V] = _mm256_sub_epi16(zero, sum);
        }
    }
}

/* Those of `blocks` blocks from column c on, of V vectors of tokens: rows of q that there are not,
 * and four bytes behind the columns of the last, are read like others and not used. */
ALWAYS_INLINE void build_lanes(int V, const sol_acts *a, int64_t stride, int64_t c, int64_t blocks,
                               __m256i *table)
{
    for (int v = 0; v < V; v++)
        for (int64_t k = 0; k < blocks; k += 2) {
            __m256i x[8];
            load_lanes(a, stride, LANES * v, c + 4 * k, x);
            sums_of_codes(V, x, table + k * CODES * V + v);
            sums_of_codes(V, x + 4, table + (k + 1) * CODES * V + v);
        }
}

/* Where decode_codes leaves row r of a tile, and the row at place w. */
static int lane_place(int r)
{
    return (r & 16) | (r & 3) << 2 | (r >> 1 & 2) | (r >> 3 & 1);
}

static int lane_row(int w)
{
    return (w & 16) | (w & 1) << 3 | (w & 2) << 1 | (w >> 2 & 3);
}

/* 8 times the codes of `blocks` blocks from block k behind `part` on, which lie in one unit; those
 * of a row together. */
ALWAYS_INLINE void decode_codes(const uint8_t *part, int64_t k, int64_t blocks, uint64_t *codes)
{
    __m256i v[PART_BLOCKS], pair[PART_BLOCKS], quad[PART_BLOCKS];
    for (int64_t i = 0; i < PART_BLOCKS; i++) {
        int64_t at = k + sol_min_i64(i, blocks - 1);
        const uint8_t *of = part + at / PART_BLOCKS * PART_BYTES;
        __m256i both = load(of + at % PART_BLOCKS / 2 * TILE_ROWS),
                slots = at & 1 ? _mm256_srli_epi16(both, 1) : _mm256_slli_epi16(both, 3),
                signs = _mm256_sll_epi16(load(of + SLOT_BYTES),
                                         _mm_cvtsi32_si128((int)(at % PART_BLOCKS)));
        v[i] = _mm256_or_si256(_mm256_and_si256(slots, _mm256_set1_epi8(15 << 3)),
                               _mm256_and_si256(signs, _mm256_set1_epi8(-128)));
    }
    for (int i = 0; i < 4; i++) {
        pair[i] = _mm256_unpacklo_epi8(v[2 * i], v[2 * i + 1]);
        pair[4 + i] = _mm256_unpackhi_epi8(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            quad[i + j] = _mm256_unpacklo_epi16(pair[i + 2 * j], pair[i + 2 * j + 1]);
            quad[i + 2 + j] = _mm256_unpackhi_epi16(pair[i + 2 * j], pair[i + 2 * j + 1]);
        }
    for (int i = 0; i < 8; i += 2) {
        _mm256_storeu_si256((__m256i *)codes + i, _mm256_unpacklo_epi32(quad[i], quad[i + 1]));
        _mm256_storeu_si256((__m256i *)codes + i + 1, _mm256_unpackhi_epi32(quad[i], quad[i + 1]));
    }
}

/* The sums of a row's segment to floats: u + d * sum, and at the end of its group y + scale * u. */
ALWAYS_INLINE void finish_row(int V, lane_step step, const __m256 *d, const __m256i *sum,
                              float scale, __m256 *u, __m256 *y)
{
    const __m256i even = _mm256_set1_epi32(1), odd = _mm256_set1_epi32(1 << 16);
    for (int j = 0; j < 2 * V; j++) {
        __m256 f = _mm256_cvtepi32_ps(_mm256_madd_epi16(sum[j / 2], j % 2 ? odd : even));
        f = _mm256_fmadd_ps(d[j], f, step.group_first ? _mm256_setzero_ps() : u[j]);
        if (step.group_last)
            y[j] = _mm256_fmadd_ps(_mm256_set1_ps(scale), f, y[j]);
        else
            u[j] = f;
    }
}

/* The rows of tile i of a panel += the entries of their codes. */
ALWAYS_INLINE void add_rows(int V, lane_step step, int64_t i, lane_scratch *work)
{
    const uint8_t *table = (const uint8_t *)work->table;
    __m256i *sums = work->sum + i * TILE_ROWS * V;
    __m256 *u = work->u + i * TILE_ROWS * 2 * V, *y = work->y + i * TILE_ROWS * 2 * V;
    for (int w = 0; w < TILE_ROWS; w++, sums += V, u += 2 * V, y += 2 * V) {
        uint64_t codes = work->codes[w];
        __m256i sum[LANE_VECTORS];
        for (int v = 0; v < V; v++) sum[v] = step.first ? _mm256_setzero_si256() : sums[v];
#pragma GCC unroll 8
        for (int64_t k = 0; k < step.blocks; k++) {
            const void *entry = table + (codes >> 8 * k & 0xff) * (4 * (size_t)V);
            for (int v = 0; v < V; v++)
                ADD_WORDS(sum[v], ((const __m256i *)entry)[k * CODES * V + v]);
        }
        if (step.last)
            finish_row(V, step, work->d, sum, work->scale[w], u, y);
        else
            for (int v = 0; v < V; v++) sums[v] = sum[v];
    }
}

/* add_rows, in loops of their own for steps that are frequent: whole parts before the last of a
 * segment, and the last of one that is a whole group. */
ALWAYS_INLINE void add_tile(int V, const lane_step *step, int64_t i, lane_scratch *work)
{
    if (step->blocks < PART_BLOCKS || (step->last && !(step->group_first && step->group_last)))
        add_rows(V, *step, i, work);
    else if (step->last)
        add_rows(V, (lane_step){PART_BLOCKS, step->first, true, true, true}, i, work);
    else if (step->first)
        add_rows(V, (lane_step){PART_BLOCKS, true, false, false, false}, i, work);
    else
        add_rows(V, (lane_step){PART_BLOCKS, false, false, false, false}, i, work);
}

/* The scales of a group, at the places of their rows. */
ALWAYS_INLINE void place_scales(const sol_f16 *scales, float *to)
{
    float f[TILE_ROWS];
    for (int j = 0; j < TILE_ROWS; j += 8) _mm256_storeu_ps(f + j, load_scales(scales + j));
    for (int w = 0; w < TILE_ROWS; w++) to[w] = f[lane_row(w)];
}

/* A tile's y, [place, token], to where the call wants it. */
ALWAYS_INLINE void store_lanes(int V, const sol_tile_call *call, int64_t tile, const __m256 *y)
{
    int64_t n = call->acts->n, rows = sol_min_i64(TILE_ROWS, call->rows - tile * TILE_ROWS);
    for (int64_t t = 0; t < n; t += 8)
        for (int64_t r = 0; r < rows; r += 8) {
            __m256 v[8];
            for (int i = 0; i < 8; i++) v[i] = y[lane_place((int)r + i) * 2 * V + t / 8];
            sol_transpose_8x8(v);
            float *to = call->y + t * call->ldy + tile * TILE_ROWS + r;
            for (int64_t i = 0; i < sol_min_i64(8, n - t); i++, to += call->ldy)
                if (rows - r >= 8)
                    _mm256_storeu_ps(to, v[i]);
                else
                    memcpy(to, &v[i], (size_t)(rows - r) * sizeof *to);
        }
}

/* The step of blocks [b, b + step->blocks), which scale group g has, for tiles [first, last). */
ALWAYS_INLINE void lane_part(int V, const sol_tile_call *call, int64_t first, int64_t last,
                             int64_t b, int64_t g, const lane_step *step, lane_scratch *work)
{
    const sol_segments *s = call->seg;
    const sol_unit unit = unit_of(s);
    int64_t k = b % PART_BLOCKS, part = sol_unit_chunk(&unit, b / CHUNK_BLOCKS) +
                                        b % CHUNK_BLOCKS / PART_BLOCKS * PART_BYTES;
    build_lanes(V, call->acts, s->q_stride, 4 * b, step->blocks, work->table);
    for (int64_t i = first; i < last; i++) {
        const uint8_t *tile = call->tiles + (size_t)i * call->tile_bytes;
        if (step->last && step->group_last)
            place_scales((const sol_f16 *)(tile + sol_unit_scales(&unit, g)), work->scale);
        if (k == 0 && step->blocks == PART_BLOCKS)
            decode_codes(tile + part, 0, PART_BLOCKS, work->codes);
        else
            decode_codes(tile + part, k, step->blocks, work->codes);
        add_tile(V, step, i - first, work);
    }
}

/* V vectors of tokens and a panel of tiles. */
ALWAYS_INLINE void lane_panel(int V, const sol_tile_call *call, int64_t first, int64_t last,
                              lane_scratch *work)
{
    const sol_segments *s = call->seg;
    const sol_acts *a = call->acts;
    memset(work->y, 0, (size_t)((last - first) * TILE_ROWS * 2 * V) * sizeof *work->y);
    for (int64_t i = 0; i < s->n_segs; i++) {
        int64_t len, begin = sol_segment_at(s, i, &len) / 4, end = begin + len / 4,
                     g = i / s->segs_per_group, in_group = i % s->segs_per_group;
        float d[LANE_VECTORS * LANES] = {0};
        for (int64_t t = 0; t < a->n; t++) d[t] = a->d[t * s->n_segs + i];
        for (int j = 0; j < 2 * V; j++) work->d[j] = _mm256_loadu_ps(d + 8 * j);
        lane_step step = {.group_first = in_group == 0,
                          .group_last = in_group == s->segs_per_group - 1};
        for (int64_t b = begin; b < end; b += step.blocks) {
            step.blocks = sol_min_i64(PART_BLOCKS, end - b);
            step.first = b == begin;
            step.last = b + step.blocks == end;
            lane_part(V, call, first, last, b, g, &step, work);
        }
    }
    for (int64_t i = first; i < last; i++)
        store_lanes(V, call, i, work->y + (i - first) * TILE_ROWS * 2 * V);
}

static void product_by_lanes(const sol_tile_call *call, int64_t first, int64_t last,
                             lane_scratch *work)
{
    for (int64_t i = first, end; i < last; i = end) {
        end = sol_min_i64(i + PANEL_TILES, last);
        if (call->acts->n <= LANES)
            lane_panel(1, call, i, end, work);
        else
            lane_panel(2, call, i, end, work);
    }
}

static size_t thread_bytes(const sol_segments *s)
{
    size_t tables = (size_t)(TABLE_TOKENS * s->cols_pad / 4) * sizeof(slot_sums);
    return sol_max_size(tables, sizeof(lane_scratch));
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    if (call->acts->n <= TABLE_TOKENS)
        product_by_tables(call, first, last, thread, ready);
    else
        product_by_lanes(call, first, last, thread);
}

const sol_tile_ops sol_tile_ops_ternary_avx2 = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .few_tokens = TABLE_TOKENS,
    .run_tokens = LANES * LANE_VECTORS,
    .run_tiles = 16,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
