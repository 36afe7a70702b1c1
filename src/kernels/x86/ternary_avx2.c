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
 * off by a half 0.95. Lines fetched into all caches push out the tables. Many tokens: blocks are
 * decoded once to bytes 0, 1, 2, four of a row together, for pmaddubsw; 32 blocks stay below 32 x 2
 * x 127 x 2 < 32768, so that one pmaddwd a segment suffices. */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/kernels_x86.h"

enum {
    TILE_ROWS = 32,
    PART_BLOCKS = 8,
    SLOT_BYTES = PART_BLOCKS / 2 * TILE_ROWS, /* of a part */
    PART_BYTES = SLOT_BYTES + TILE_ROWS,      /* with its signs */
    CHUNK_PARTS = 2,
    CHUNK_BYTES = CHUNK_PARTS * PART_BYTES,
    TABLE_TOKENS = 10, /* up to so many tokens go through the tables */
    TOKENS = 256,      /* of one call */
    SEGMENT_BLOCKS = SOL_TERNARY_BLOCK / 4,
    PREFETCH = 2560, /* bytes ahead */
    PACK_CHUNKS = 4, /* eight bytes of signs */
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
#define ADD_WORDS(sum, x) __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(x))

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

/* ---- pmaddubsw: many tokens ---- */

/* A slot's weight in lane p, in both halves. */
static __m256i lane_table(int p)
{
    int8_t lane[16];
    for (int slot = 0; slot < 16; slot++) lane[slot] = sol_code_levels[slot][p];
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lane));
}

/* Blocks [b, b + blocks) of a row to w[SEGMENT_BLOCKS][4]: vector [i][j] holds rows 8 j.. of block
 * b + i, four bytes weight + 1 each. They lie in one unit; `chunk` holds the first. */
static void decode_segment(const uint8_t *chunk, int64_t b, int64_t blocks, __m256i (*w)[4])
{
    const __m256i one = _mm256_set1_epi8(1);
    const __m256i lane[4] = {lane_table(0), lane_table(1), lane_table(2), lane_table(3)};
    for (int64_t i = 0; i < blocks; i++) {
        int64_t k = b % (CHUNK_PARTS * PART_BLOCKS) + i;
        const uint8_t *part = chunk + k / PART_BLOCKS * PART_BYTES;
        __m256i sign = signs_at(part, k % PART_BLOCKS), slots = slots_at(part, k % PART_BLOCKS),
                t[4];
        for (int p = 0; p < 4; p++)
            t[p] =
                _mm256_add_epi8(_mm256_sign_epi8(_mm256_shuffle_epi8(lane[p], slots), sign), one);
        /* Words of two bytes of a row; of the even and of the odd ones those that belong together.
         */
        for (int j = 0; j < 2; j++) {
            __m256i front = j ? _mm256_unpackhi_epi8(t[0], t[1]) : _mm256_unpacklo_epi8(t[0], t[1]),
                    back = j ? _mm256_unpackhi_epi8(t[2], t[3]) : _mm256_unpacklo_epi8(t[2], t[3]);
            w[i][2 * j] = _mm256_blend_epi16(front, _mm256_slli_epi32(back, 16), 0xaa);
            w[i][2 * j + 1] = _mm256_blend_epi16(_mm256_srli_epi32(front, 16), back, 0xaa);
        }
    }
}

/* A segment of one token and a vector of rows: u + d * (sum of weight * q), of pairs of (weight +
 * 1) * q and -sum of q. */
ALWAYS_INLINE __m256 finish(__m256i pairs, int32_t nsum, float d, __m256 u)
{
    __m256i sum =
        _mm256_add_epi32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)), _mm256_set1_epi32(nsum));
    return _mm256_fmadd_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(sum), u);
}

/* A segment of a tile in the many-token product. */
typedef struct gemm_step {
    const sol_segments *seg;
    __m256i (*w)[4]; /* of decode_segment */
    int64_t blocks;
    const int8_t *q; /* of the first token, as d and nsum */
    const float *d;
    const int32_t *nsum;
    __m256 scale[4];         /* of its scale group */
    __m256 (*u)[4], (*y)[4]; /* [tokens] */
} gemm_step;

/* T (1 or 2) tokens from t on: u += d * sum, from 0 at the first segment of a group; at its last y
 * += scale * u. The q of the next segment are fetched: they are too far from each other for the
 * processor to see where they go. */
ALWAYS_INLINE void gemm_tokens(int T, bool first, bool last, const gemm_step *g, int64_t t)
{
    int64_t stride = g->seg->q_stride, segs = g->seg->n_segs;
    const int8_t *q = g->q + t * stride;
    __m256i sum[2][4];
    for (int k = 0; k < T; k++) {
        for (int j = 0; j < 4; j++) sum[k][j] = _mm256_setzero_si256();
        for (int line = 0; line < SOL_TERNARY_BLOCK; line += 64)
            _mm_prefetch((const char *)q + k * stride + SOL_TERNARY_BLOCK + line, _MM_HINT_T1);
    }
#pragma GCC unroll 2
    for (int64_t i = 0; i < g->blocks; i++) {
        __m256i x[2];
        for (int k = 0; k < T; k++) {
            int32_t four;
            memcpy(&four, q + k * stride + 4 * i, 4);
            x[k] = _mm256_set1_epi32(four);
        }
        for (int j = 0; j < 4; j++) {
            __m256i rows = g->w[i][j];
            for (int k = 0; k < T; k++) ADD_WORDS(sum[k][j], _mm256_maddubs_epi16(rows, x[k]));
        }
    }
    for (int k = 0; k < T; k++)
        for (int j = 0; j < 4; j++) {
            __m256 u = first ? _mm256_setzero_ps() : g->u[t + k][j];
            u = finish(sum[k][j], g->nsum[(t + k) * segs], g->d[(t + k) * segs], u);
            if (last)
                g->y[t + k][j] = _mm256_fmadd_ps(g->scale[j], u, g->y[t + k][j]);
            else
                g->u[t + k][j] = u;
        }
}

ALWAYS_INLINE void gemm_all(bool first, bool last, const gemm_step *g, int64_t n)
{
    int64_t t = 0;
    for (; t + 2 <= n; t += 2) gemm_tokens(2, first, last, g, t);
    if (t < n) gemm_tokens(1, first, last, g, t);
}

/* Scratch of a thread in the many-token product. */
typedef struct gemm_scratch {
    __m256i w[SEGMENT_BLOCKS][4];
    __m256 u[TOKENS][4], y[TOKENS][4];
} gemm_scratch;

static void product_by_gemm(const sol_tile_call *call, int64_t tile_index, gemm_scratch *work)
{
    const sol_segments *s = call->seg;
    const sol_acts *a = call->acts;
    const uint8_t *tile = call->tiles + (size_t)tile_index * call->tile_bytes;
    const sol_unit unit = unit_of(s);
    gemm_step g = {.seg = s, .w = work->w, .u = work->u, .y = work->y};
    memset(work->y, 0, (size_t)a->n * sizeof *work->y);
    for (int64_t i = 0; i < s->n_segs; i++) {
        int64_t len, start = sol_segment_at(s, i, &len), in_group = i % s->segs_per_group;
        bool first = in_group == 0, last = in_group == s->segs_per_group - 1;
        const sol_f16 *scales =
            (const sol_f16 *)(tile + sol_unit_scales(&unit, i / s->segs_per_group));
        if (first)
            for (int j = 0; j < 4; j++) g.scale[j] = load_scales(scales + 8 * j);
        g.blocks = len / 4;
        g.q = a->q + start;
        g.d = a->d + i;
        g.nsum = a->nsum + i;
        decode_segment(tile + sol_unit_chunk(&unit, start / 64), start / 4, g.blocks, work->w);
        if (first && last)
            gemm_all(true, true, &g, a->n);
        else
            gemm_all(first, last, &g, a->n);
    }
    for (int64_t t = 0; t < a->n; t++)
        store_rows(call->y + t * call->ldy, tile_index * TILE_ROWS, call->rows, work->y[t]);
}

static size_t thread_bytes(const sol_segments *s)
{
    size_t tables = (size_t)(TABLE_TOKENS * s->cols_pad / 4) * sizeof(slot_sums);
    return tables > sizeof(gemm_scratch) ? tables : sizeof(gemm_scratch);
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    if (call->acts->n <= TABLE_TOKENS)
        product_by_tables(call, first, last, thread, ready);
    else
        for (int64_t i = first; i < last; i++) product_by_gemm(call, i, thread);
}

const sol_tile_ops sol_tile_ops_ternary_avx2 = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
