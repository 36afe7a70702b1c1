/* The ternary product with AVX2.
 *
 * Layout. A tile is 32 rows; a chunk of it is 16 blocks (64 columns): eight vectors of slots, byte r of vector j holding row
 * r's slots of blocks 2j (low nibble) and 2j + 1; then two vectors of signs, a word a row with block k's sign in bit
 * 15 - k: rows 0-7, 16-23 and 8-15, 24-31, the order in which punpck makes words of bytes. The last chunk is filled up with
 * code 0 (its activations are 0). Then the scales, [n_groups, 32] fp16.
 *
 * One token (or few): for each block of four activations the 16 sums of the slots are a table of low and of high bytes; two
 * pshufb look up 32 rows, punpck makes words, psignw puts the signs. Sums stay exact in int16 over a segment of 128.
 * Many tokens: blocks are decoded once to bytes 0, 1, 2, four of a row together, for pmaddubsw; 32 blocks stay below
 * 32 x 2 x 127 x 2 < 32768, so that one pmaddwd a segment suffices. */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/tiers.h"

enum {
    TILE_ROWS = 32,
    CHUNK_BLOCKS = 16,
    SLOT_BYTES = 256,
    CHUNK_BYTES = SLOT_BYTES + 64,
    TABLE_TOKENS = 6, /* up to so many tokens go through the tables */
    TOKENS = 256,     /* of one job */
    SEGMENT_BLOCKS = SOL_TERNARY_BLOCK / 4,
    PREFETCH = 1280,  /* bytes ahead */
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static int64_t n_chunks(const sol_segments *s)
{
    return s->cols_pad / 64;
}

static size_t tile_bytes(const sol_segments *s)
{
    return (size_t)(n_chunks(s) * CHUNK_BYTES + sol_round_up(s->n_groups * TILE_ROWS * (int64_t)sizeof(sol_f16), 64));
}

/* ---- packing ---- */

/* The sign word of row r in a chunk. */
static uint16_t *sign_word(uint8_t *chunk, int64_t r)
{
    int64_t lane = r / 16, vector = r % 16 / 8;
    return (uint16_t *)(chunk + SLOT_BYTES + 32 * vector) + 8 * lane + r % 8;
}

static void pack(const sol_segments *s, const sol_ternary_source *rows, uint8_t *tile)
{
    int64_t blocks = s->cols / 4;
    sol_f16 *scales = (sol_f16 *)(tile + n_chunks(s) * CHUNK_BYTES);
    for (int r = 0; r < rows->n; r++) {
        const uint8_t *codes = rows->codes[r], *signs = rows->signs[r];
        for (int64_t j = 0; j < (blocks + 1) / 2; j++)
            tile[j / 8 * CHUNK_BYTES + j % 8 * 32 + r] = codes[j] & (2 * j + 1 < blocks ? 0xff : 0x0f);
        for (int64_t j = 0; j < (blocks + 7) / 8; j++) {
            uint8_t bits = 0;
            for (int64_t k = 0; k < 8 && 8 * j + k < blocks; k++) bits |= (uint8_t)((signs[j] >> k & 1) << (7 - k));
            *sign_word(tile + j / 2 * CHUNK_BYTES, r) |= (uint16_t)(j % 2 ? bits : bits << 8);
        }
        for (int64_t g = 0; g < s->n_groups; g++) scales[g * TILE_ROWS + r] = rows->scales[r][g];
    }
}

static void unpack(const sol_segments *s, const uint8_t *tile, int64_t r, uint8_t *codes, sol_f16 *scales)
{
    const sol_f16 *from = (const sol_f16 *)(tile + n_chunks(s) * CHUNK_BYTES);
    for (int64_t b = 0; b < s->cols / 4; b++) {
        const uint8_t *chunk = tile + b / CHUNK_BLOCKS * CHUNK_BYTES;
        int64_t k = b % CHUNK_BLOCKS;
        int sign = *sign_word((uint8_t *)chunk, r) >> (15 - k) & 1;
        codes[b] = (uint8_t)(sign << 4 | (chunk[k / 2 * 32 + r] >> 4 * (k & 1) & 15));
    }
    for (int64_t g = 0; g < s->n_groups; g++) scales[g] = from[g * TILE_ROWS + r];
}

ALWAYS_INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Slots of block k of a chunk, a byte a row. */
ALWAYS_INLINE __m256i slots_at(const uint8_t *chunk, int64_t k)
{
    __m256i both = load(chunk + k / 2 * 32);
    return _mm256_and_si256(k & 1 ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
}

/* ---- tables: one token ---- */

/* Sums of the 16 slots with sign + for one block: 16 low bytes, 16 high bytes. */
typedef struct slot_sums {
    uint8_t low[16], high[16];
} slot_sums;

static void build_tables(const int8_t *q, int64_t blocks, slot_sums *table)
{
    int8_t codes[32][4], pair[2][16][2];
    sol_code_table(codes);
    for (int slot = 0; slot < 16; slot++)
        for (int p = 0; p < 4; p++) pair[p / 2][slot][p % 2] = (int8_t)(codes[slot][p] + 1);
    const __m256i first = load(pair[0]), second = load(pair[1]), bytes = _mm256_set1_epi16(255);
    for (int64_t b = 0; b < blocks; b++, q += 4) {
        uint16_t x01, x23;
        memcpy(&x01, q, 2);
        memcpy(&x23, q + 2, 2);
        __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(first, _mm256_set1_epi16((short)x01)),
                                       _mm256_maddubs_epi16(second, _mm256_set1_epi16((short)x23)));
        sum = _mm256_sub_epi16(sum, _mm256_set1_epi16((short)(q[0] + q[1] + q[2] + q[3])));
        __m256i split = _mm256_packus_epi16(_mm256_and_si256(sum, bytes), _mm256_srli_epi16(sum, 8));
        _mm256_storeu_si256((__m256i *)&table[b], _mm256_permute4x64_epi64(split, 0xd8));
    }
}

/* sum += words, written out: the compiler would add in a tree, with more sums than registers. */
#define ADD_WORDS(sum, words) __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(words))

/* acc[0..1] += signed sums of one block for 32 rows; a negative word of sign[0..1] turns the sum of its row. */
ALWAYS_INLINE void look_up(const slot_sums *sums, __m256i slots, __m256i sign0, __m256i sign1, __m256i acc[2])
{
    __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)sums->low));
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)sums->high));
    low = _mm256_shuffle_epi8(low, slots);
    high = _mm256_shuffle_epi8(high, slots);
    ADD_WORDS(acc[0], _mm256_sign_epi16(_mm256_unpacklo_epi8(low, high), sign0));
    ADD_WORDS(acc[1], _mm256_sign_epi16(_mm256_unpackhi_epi8(low, high), sign1));
}

static void look_up_chunk(const uint8_t *chunk, const slot_sums *table, __m256i acc[2])
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i all0 = load(chunk + SLOT_BYTES), all1 = load(chunk + SLOT_BYTES + 32);
    /* Bit 15 is the sign of the block at hand; the 1 below keeps the word from being 0, which psignw would take for 0. */
    __m256i sign0 = _mm256_or_si256(all0, one), sign1 = _mm256_or_si256(all1, one);
#pragma GCC unroll 16
    for (int k = 0; k < CHUNK_BLOCKS; k++) {
        look_up(table + k, slots_at(chunk, k), sign0, sign1, acc);
        sign0 = k < 14 ? _mm256_add_epi16(sign0, sign0) : _mm256_or_si256(_mm256_slli_epi16(all0, 15), one);
        sign1 = k < 14 ? _mm256_add_epi16(sign1, sign1) : _mm256_or_si256(_mm256_slli_epi16(all1, 15), one);
    }
}

static void look_up_segment(const uint8_t *tile, int64_t b, int64_t blocks, const slot_sums *table, __m256i acc[2])
{
    acc[0] = acc[1] = _mm256_setzero_si256();
    if (b % CHUNK_BLOCKS == 0 && blocks % CHUNK_BLOCKS == 0) {
        for (int64_t c = b / CHUNK_BLOCKS; c < (b + blocks) / CHUNK_BLOCKS; c++) {
            const uint8_t *chunk = tile + c * CHUNK_BYTES;
            for (int line = 0; line < CHUNK_BYTES; line += 64) _mm_prefetch((const char *)chunk + PREFETCH + line, _MM_HINT_T0);
            look_up_chunk(chunk, table + c * CHUNK_BLOCKS, acc);
        }
        return;
    }
    for (int64_t i = b; i < b + blocks; i++) {
        const uint8_t *chunk = tile + i / CHUNK_BLOCKS * CHUNK_BYTES;
        const __m256i one = _mm256_set1_epi16(1);
        __m128i k = _mm_cvtsi32_si128((int)(i % CHUNK_BLOCKS));
        __m256i sign0 = _mm256_or_si256(_mm256_sll_epi16(load(chunk + SLOT_BYTES), k), one);
        __m256i sign1 = _mm256_or_si256(_mm256_sll_epi16(load(chunk + SLOT_BYTES + 32), k), one);
        look_up(table + i, slots_at(chunk, i % CHUNK_BLOCKS), sign0, sign1, acc);
    }
}

ALWAYS_INLINE __m256 widen(__m128i eight_words)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight_words));
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

/* One token and one tile. The last segment of a row may run into the zeros behind its end, up to a whole chunk. */
static void look_up_tile(const sol_segments *s, const uint8_t *tile, const slot_sums *table, const float *d, __m256 y[4])
{
    const sol_f16 *scales = (const sol_f16 *)(tile + n_chunks(s) * CHUNK_BYTES);
    for (int j = 0; j < 4; j++) y[j] = _mm256_setzero_ps();
    for (int64_t g = 0, i = 0; g < s->n_groups; g++, scales += TILE_ROWS) {
        __m256 u[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int64_t end = i + s->segs_per_group; i < end; i++) {
            __m256i acc[2];
            int64_t len, start = sol_segment_at(s, i, &len);
            if (i == s->n_segs - 1 && start % 64 == 0) len = s->cols_pad - start;
            look_up_segment(tile, start / 4, len / 4, table, acc);
            __m256 scale = _mm256_set1_ps(d[i]);
            u[0] = _mm256_fmadd_ps(scale, widen(_mm256_castsi256_si128(acc[0])), u[0]);
            u[1] = _mm256_fmadd_ps(scale, widen(_mm256_castsi256_si128(acc[1])), u[1]);
            u[2] = _mm256_fmadd_ps(scale, widen(_mm256_extracti128_si256(acc[0], 1)), u[2]);
            u[3] = _mm256_fmadd_ps(scale, widen(_mm256_extracti128_si256(acc[1], 1)), u[3]);
        }
        for (int j = 0; j < 4; j++) y[j] = _mm256_fmadd_ps(load_scales(scales + 8 * j), u[j], y[j]);
    }
}

static void product_by_tables(const sol_ternary_job *job, int64_t first, int64_t last, slot_sums *tables, int64_t *ready)
{
    const sol_segments *s = job->seg;
    int64_t blocks = s->cols_pad / 4, n = job->acts->n;
    if (!*ready)
        for (int64_t t = 0; t < n; t++) build_tables(job->acts->q + t * s->q_stride, blocks, tables + t * blocks);
    *ready = 1;
    for (int64_t i = first; i < last; i++) {
        for (int64_t t = 0; t < n; t++) {
            __m256 y[4];
            look_up_tile(s, job->tiles + (size_t)i * job->tile_bytes, tables + t * blocks, job->acts->d + t * s->n_segs, y);
            store_rows(job->y + t * job->rows, i * TILE_ROWS, job->rows, y);
        }
    }
}

/* ---- pmaddubsw: many tokens ---- */

/* A slot's weight in lane p, in both halves. */
static __m256i lane_table(const int8_t codes[32][4], int p)
{
    int8_t lane[16];
    for (int slot = 0; slot < 16; slot++) lane[slot] = codes[slot][p];
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lane));
}

/* Blocks b.. of a tile to w[SEGMENT_BLOCKS][4]: vector [i][j] holds rows 8 j.. of block b + i, four bytes weight + 1 each. */
static void decode_segment(const uint8_t *tile, int64_t b, int64_t blocks, __m256i (*w)[4])
{
    int8_t codes[32][4];
    sol_code_table(codes);
    const __m256i one = _mm256_set1_epi8(1);
    const __m256i lane[4] = {lane_table(codes, 0), lane_table(codes, 1), lane_table(codes, 2), lane_table(codes, 3)};
    for (int64_t i = 0; i < blocks; i++) {
        const uint8_t *chunk = tile + (b + i) / CHUNK_BLOCKS * CHUNK_BYTES;
        int64_t k = (b + i) % CHUNK_BLOCKS;
        __m128i shift = _mm_cvtsi32_si128((int)k);
        __m256i minus0 = _mm256_srai_epi16(_mm256_sll_epi16(load(chunk + SLOT_BYTES), shift), 15);
        __m256i minus1 = _mm256_srai_epi16(_mm256_sll_epi16(load(chunk + SLOT_BYTES + 32), shift), 15);
        __m256i sign = _mm256_or_si256(_mm256_packs_epi16(minus0, minus1), one), slots = slots_at(chunk, k), t[4];
        for (int p = 0; p < 4; p++)
            t[p] = _mm256_add_epi8(_mm256_sign_epi8(_mm256_shuffle_epi8(lane[p], slots), sign), one);
        __m256i a0 = _mm256_unpacklo_epi8(t[0], t[1]), a1 = _mm256_unpackhi_epi8(t[0], t[1]);
        __m256i b0 = _mm256_unpacklo_epi8(t[2], t[3]), b1 = _mm256_unpackhi_epi8(t[2], t[3]);
        __m256i r0 = _mm256_unpacklo_epi16(a0, b0), r4 = _mm256_unpackhi_epi16(a0, b0); /* rows 0-3, 16-19; 4-7, 20-23 */
        __m256i r8 = _mm256_unpacklo_epi16(a1, b1), r12 = _mm256_unpackhi_epi16(a1, b1);
        w[i][0] = _mm256_permute2x128_si256(r0, r4, 0x20);
        w[i][1] = _mm256_permute2x128_si256(r8, r12, 0x20);
        w[i][2] = _mm256_permute2x128_si256(r0, r4, 0x31);
        w[i][3] = _mm256_permute2x128_si256(r8, r12, 0x31);
    }
}

/* A segment of one token and a vector of rows: u + d * (sum of weight * q), of pairs of (weight + 1) * q and -sum of q. */
ALWAYS_INLINE __m256 finish(__m256i pairs, int32_t nsum, float d, __m256 u)
{
    __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)), _mm256_set1_epi32(nsum));
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
    bool first, last;  /* of its scale group */
    __m256 scale[4];   /* of the group */
    __m256 (*u)[4], (*y)[4]; /* [tokens] */
} gemm_step;

/* T (1 or 2) tokens from t on: u += d * sum, from 0 at the first segment of a group; at its last y += scale * u. The q of the next
 * segment are fetched: they are too far from each other for the processor to see where they go. */
ALWAYS_INLINE void gemm_tokens(int T, const gemm_step *g, int64_t t)
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
            __m256 u = g->first ? _mm256_setzero_ps() : g->u[t + k][j];
            u = finish(sum[k][j], g->nsum[(t + k) * segs], g->d[(t + k) * segs], u);
            if (g->last)
                g->y[t + k][j] = _mm256_fmadd_ps(g->scale[j], u, g->y[t + k][j]);
            else
                g->u[t + k][j] = u;
        }
}

/* Scratch of a thread in the many-token product. */
typedef struct gemm_room {
    __m256i w[SEGMENT_BLOCKS][4];
    __m256 u[TOKENS][4], y[TOKENS][4];
} gemm_room;

static void product_by_gemm(const sol_ternary_job *job, int64_t tile_index, gemm_room *room)
{
    const sol_segments *s = job->seg;
    const sol_acts *a = job->acts;
    const uint8_t *tile = job->tiles + (size_t)tile_index * job->tile_bytes;
    const sol_f16 *scales = (const sol_f16 *)(tile + n_chunks(s) * CHUNK_BYTES);
    gemm_step g = {.seg = s, .w = room->w, .u = room->u, .y = room->y};
    memset(room->y, 0, (size_t)a->n * sizeof *room->y);
    for (int64_t i = 0; i < s->n_segs; i++) {
        int64_t len, start = sol_segment_at(s, i, &len), in_group = i % s->segs_per_group, t = 0;
        g.first = in_group == 0;
        g.last = in_group == s->segs_per_group - 1;
        for (int j = 0; g.first && j < 4; j++) g.scale[j] = load_scales(scales + i / s->segs_per_group * TILE_ROWS + 8 * j);
        g.blocks = len / 4;
        g.q = a->q + start;
        g.d = a->d + i;
        g.nsum = a->nsum + i;
        decode_segment(tile, start / 4, g.blocks, room->w);
        for (; t + 2 <= a->n; t += 2) gemm_tokens(2, &g, t);
        if (t < a->n) gemm_tokens(1, &g, t);
    }
    for (int64_t t = 0; t < a->n; t++) store_rows(job->y + t * job->rows, tile_index * TILE_ROWS, job->rows, room->y[t]);
}

static size_t thread_bytes(const sol_segments *s)
{
    size_t tables = (size_t)(TABLE_TOKENS * s->cols_pad / 4) * sizeof(slot_sums);
    return tables > sizeof(gemm_room) ? tables : sizeof(gemm_room);
}

static void product(const sol_ternary_job *job, int64_t first, int64_t last, void *thread, int64_t *ready)
{
    if (job->acts->n <= TABLE_TOKENS)
        product_by_tables(job, first, last, thread, ready);
    else
        for (int64_t i = first; i < last; i++) product_by_gemm(job, i, thread);
}

const sol_ternary_ops sol_ternary_ops_avx2 = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
