/* The ternary product with NEON, for ternary_dotprod.c and ternary_i8mm.c, which multiply many
 * tokens each in its own way. Each defines TERNARY_OPS, the name of the exported table, before it
 * includes this, and behind it multiply_segment.
 *
 * Layout. A tile is 16 rows; a part of it is 8 blocks (32 columns): four vectors of slots, where
 * byte r of vector j holds row r's slots of blocks 2j (low nibble) and 2j + 1; then one of signs,
 * with the sign of block k in bit k. Two parts are a chunk of 64 columns; the last one is filled
 * up, its activations are 0. Scales follow the chunks of their groups (sol_unit in matrix_impl.h).
 *
 * One token (or few): for each block of four activations the 16 sums of the slots, written as 31
 * high + low with |low| <= 15 and |high| <= 12, are two tables of bytes. Two tbl look up 16 rows,
 * two eor put the signs; both stay exact in int8 over eight blocks (8 x 15, 8 x 12 < 128), then
 * widening additions and products by 31 make words, exact over a segment of 128. Many tokens:
 * blocks are decoded once to signed bytes, four of a row together.
 *
 * There is no form for SVE. Its vectors have 128 bits on Neoverse N2 and V2, where its tbl, sdot
 * and smmla do what those of NEON do; Neoverse V1 has two units of 256 bits for it, or four of 128
 * for NEON. */
#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/arm/kernels_arm.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    TILE_ROWS = 16,
    PART_BLOCKS = 8,
    SLOT_BYTES = PART_BLOCKS / 2 * TILE_ROWS, /* of a part */
    PART_BYTES = SLOT_BYTES + TILE_ROWS,      /* with its signs */
    CHUNK_PARTS = 2,
    CHUNK_BYTES = CHUNK_PARTS * PART_BYTES,
    TABLE_TOKENS = 4, /* up to so many tokens go through the tables */
    TOKENS = 256,     /* of one call */
    SEGMENT_BLOCKS = SOL_TERNARY_BLOCK / 4,
};

static sol_unit unit_of(const sol_segments *s)
{
    return sol_unit_make(s, CHUNK_BYTES, TILE_ROWS);
}

static size_t tile_bytes(sol_dtype type, const sol_segments *s)
{
    (void)type;
    sol_unit u = unit_of(s);
    return (size_t)sol_round_up(u.count * u.bytes, 64);
}

/* ---- packing ---- */

/* Where part i of a tile lies. */
static inline int64_t part_at(const sol_unit *u, int64_t i)
{
    return sol_unit_chunk(u, i / CHUNK_PARTS) + i % CHUNK_PARTS * PART_BYTES;
}

static void pack(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile)
{
    (void)type;
    const sol_unit u = unit_of(s);
    int64_t slots = (s->cols / 4 + 1) / 2, signs = sol_ceil_div(s->cols / 4, PART_BLOCKS);
    for (int r = 0; r < rows->n; r++) {
        for (int64_t i = 0; i < slots; i++)
            tile[part_at(&u, i / 4) + i % 4 * TILE_ROWS + r] = rows->data[r][i];
        for (int64_t i = 0; i < signs; i++)
            tile[part_at(&u, i) + SLOT_BYTES + r] = rows->signs[r][i];
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
    for (int64_t b = 0; b < s->cols / 4; b++) {
        const uint8_t *part = tile + part_at(&u, b / PART_BLOCKS);
        int64_t k = b % PART_BLOCKS;
        int sign = part[SLOT_BYTES + r] >> k & 1,
            slot = part[k / 2 * TILE_ROWS + r] >> 4 * (k & 1) & 15;
        memcpy(q + 4 * b, sol_code_levels[sign << 4 | slot], 4);
    }
    for (int64_t g = 0; g < s->n_groups; g++)
        scales[g] = ((const sol_f16 *)(tile + sol_unit_scales(&u, g)))[r];
}

/* Slots of block k of a part, a byte a row. */
ALWAYS_INLINE uint8x16_t slots_at(const uint8_t *part, int64_t k)
{
    uint8x16_t both = vld1q_u8(part + k / 2 * TILE_ROWS);
    return k & 1 ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15));
}

/* A byte a row: -1 where block k of a part has the sign -, else 0. */
ALWAYS_INLINE int8x16_t minus_at(const uint8_t *part, int64_t k)
{
    uint8x16_t signs = vld1q_u8(part + SLOT_BYTES);
    return vreinterpretq_s8_u8(vtstq_u8(signs, vdupq_n_u8((uint8_t)(1 << k))));
}

/* ---- tables: one token ---- */

/* Sums of the 16 slots with sign + for one block, each HIGH_WEIGHT * high + low. */
enum { HIGH_WEIGHT = 31 };
typedef struct slot_sums {
    int8_t low[16], high[16];
} slot_sums;

/* low + HIGH_WEIGHT * high = sum, in bytes: high is sum / 31 to nearest, never halfway between two,
 * as 31 is odd. */
ALWAYS_INLINE void split_sums(int16x8_t sum, int8x8_t *low, int8x8_t *high)
{
    int16x8_t h = vqrdmulhq_n_s16(sum, (32768 + HIGH_WEIGHT / 2) / HIGH_WEIGHT);
    *low = vmovn_s16(vmlsq_n_s16(sum, h, HIGH_WEIGHT));
    *high = vmovn_s16(h);
}

static void build_tables(const int8_t *q, int64_t blocks, slot_sums *table)
{
    int8_t lane[4][16];
    int8x16_t w[4];
    for (int p = 0; p < 4; p++) {
        for (int slot = 0; slot < 16; slot++) lane[p][slot] = sol_code_levels[slot][p];
        w[p] = vld1q_s8(lane[p]);
    }
    for (int64_t b = 0; b < blocks; b++, q += 4) {
        int16x8_t first = vdupq_n_s16(0), second = vdupq_n_s16(0);
        for (int p = 0; p < 4; p++) {
            int8x8_t x = vdup_n_s8(q[p]);
            first = vmlal_s8(first, vget_low_s8(w[p]), x);
            second = vmlal_s8(second, vget_high_s8(w[p]), x);
        }
        int8x8_t low[2], high[2];
        split_sums(first, &low[0], &high[0]);
        split_sums(second, &low[1], &high[1]);
        vst1q_s8(table[b].low, vcombine_s8(low[0], low[1]));
        vst1q_s8(table[b].high, vcombine_s8(high[0], high[1]));
    }
}

/* Sums of bytes of up to PART_BLOCKS blocks for 16 rows. Those of blocks with sign - are added as
 * their complement, which is one too low; `minus` counts these ones. */
typedef struct byte_sums {
    int8x16_t low, high, minus;
} byte_sums;

ALWAYS_INLINE void look_up(const slot_sums *table, const uint8_t *part, int64_t k, byte_sums *sums)
{
    uint8x16_t slots = slots_at(part, k);
    int8x16_t minus = minus_at(part, k), low = vqtbl1q_s8(vld1q_s8(table->low), slots),
              high = vqtbl1q_s8(vld1q_s8(table->high), slots);
    sums->low = vaddq_s8(sums->low, veorq_s8(low, minus));
    sums->high = vaddq_s8(sums->high, veorq_s8(high, minus));
    sums->minus = vsubq_s8(sums->minus, minus);
}

/* acc[0] (rows 0-7) and acc[1] (8-15) += the sums. */
ALWAYS_INLINE void join_bytes(byte_sums sums, int16x8_t acc[2])
{
    const int8x16_t weight = vdupq_n_s8(HIGH_WEIGHT);
    int8x16_t low = vaddq_s8(sums.low, sums.minus), high = vaddq_s8(sums.high, sums.minus);
    acc[0] = vmlal_s8(vaddw_s8(acc[0], vget_low_s8(low)), vget_low_s8(high), vget_low_s8(weight));
    acc[1] = vmlal_high_s8(vaddw_high_s8(acc[1], low), high, weight);
}

ALWAYS_INLINE void look_up_part(const uint8_t *part, const slot_sums *table, int16x8_t acc[2])
{
    byte_sums sums = {vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0)};
#pragma GCC unroll 8
    for (int k = 0; k < PART_BLOCKS; k++) look_up(table + k, part, k, &sums);
    join_bytes(sums, acc);
}

/* The sums of `blocks` blocks of a unit from block k on, which begin or end inside a part. */
static void look_up_blocks(const uint8_t *unit, int64_t k, int64_t blocks, const slot_sums *table,
                           int16x8_t acc[2])
{
    for (int64_t end = k + blocks; k < end; k++, table++) {
        byte_sums sums = {vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0)};
        look_up(table, unit + k / PART_BLOCKS * PART_BYTES, k % PART_BLOCKS, &sums);
        join_bytes(sums, acc);
    }
}

static inline float32x4_t load_scales(const sol_f16 *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static void store_rows(float *y, int64_t r, int64_t rows, const float32x4_t v[4])
{
    memcpy(y + r, v, (size_t)sol_min_i64(TILE_ROWS, rows - r) * sizeof *y);
}

/* u += the segments of one scale group, `at` columns behind the start of its unit. `padded`: its
 * last segment may run on, up to a whole part. */
ALWAYS_INLINE void look_up_group(const sol_segments *s, const uint8_t *unit, int64_t at,
                                 bool padded, const slot_sums *table, const float *d,
                                 float32x4_t u[4])
{
    for (int64_t begin = 0; begin < s->group; begin += SOL_TERNARY_BLOCK, d++) {
        int64_t k = (at + begin) / 4, blocks = sol_min_i64(SOL_TERNARY_BLOCK, s->group - begin) / 4;
        bool whole = k % PART_BLOCKS == 0 && (padded || blocks % PART_BLOCKS == 0);
        int16x8_t acc[2] = {vdupq_n_s16(0), vdupq_n_s16(0)};
        if (whole)
            for (int64_t i = 0; i < blocks; i += PART_BLOCKS)
                look_up_part(unit + (k + i) / PART_BLOCKS * PART_BYTES, table + begin / 4 + i, acc);
        else
            look_up_blocks(unit, k, blocks, table + begin / 4, acc);
        float32x4_t scale = vdupq_n_f32(*d);
        for (int j = 0; j < 2; j++) {
            u[2 * j] = vfmaq_f32(u[2 * j], scale, vcvtq_f32_s32(vmovl_s16(vget_low_s16(acc[j]))));
            u[2 * j + 1] =
                vfmaq_f32(u[2 * j + 1], scale, vcvtq_f32_s32(vmovl_s16(vget_high_s16(acc[j]))));
        }
    }
}

/* One token and one tile. */
static void look_up_tile(const sol_segments *s, const sol_unit *unit, const uint8_t *tile,
                         const slot_sums *table, const float *d, float32x4_t y[4])
{
    for (int j = 0; j < 4; j++) y[j] = vdupq_n_f32(0);
    for (int64_t g = 0; g < s->n_groups; tile += unit->bytes) {
        const sol_f16 *scales = (const sol_f16 *)(tile + unit->scales);
        for (int64_t end = sol_min_i64(g + unit->groups, s->n_groups), at = 0; g < end;
             g++, at += s->group, scales += TILE_ROWS) {
            float32x4_t u[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
            look_up_group(s, tile, at, g == s->n_groups - 1, table, d, u);
            for (int j = 0; j < 4; j++) y[j] = vfmaq_f32(y[j], load_scales(scales + 4 * j), u[j]);
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
            float32x4_t y[4];
            look_up_tile(s, &unit, call->tiles + (size_t)i * call->tile_bytes, tables + t * blocks,
                         call->acts->d + t * s->n_segs, y);
            store_rows(call->y + t * call->ldy, i * TILE_ROWS, call->rows, y);
        }
    }
}

/* ---- many tokens: blocks are decoded to bytes ---- */

/* Blocks [b, b + blocks) of a row to w[SEGMENT_BLOCKS][4]: vector [i][j] holds rows 4 j.. of block
 * b + i, four weights each. They lie in one unit; `chunk` holds the first. */
static void decode_segment(const uint8_t *chunk, int64_t b, int64_t blocks, int8x16_t (*w)[4])
{
    int8_t bytes[4][16];
    int8x16_t lane[4];
    for (int p = 0; p < 4; p++) {
        for (int slot = 0; slot < 16; slot++) bytes[p][slot] = sol_code_levels[slot][p];
        lane[p] = vld1q_s8(bytes[p]);
    }
    for (int64_t i = 0; i < blocks; i++) {
        int64_t k = b % (CHUNK_PARTS * PART_BLOCKS) + i;
        const uint8_t *part = chunk + k / PART_BLOCKS * PART_BYTES;
        uint8x16_t slots = slots_at(part, k % PART_BLOCKS);
        int8x16_t m = minus_at(part, k % PART_BLOCKS);
        int8x16x4_t t;
        for (int p = 0; p < 4; p++) t.val[p] = vsubq_s8(veorq_s8(vqtbl1q_s8(lane[p], slots), m), m);
        vst4q_s8((int8_t *)w[i], t);
    }
}

/* Where the sums of a segment go. `only`: the segment is its whole scale group, so that  y =
 * fma(scale, fma(d, sum, 0), y); otherwise  u = fma(d, sum, u). to[t][j]: y or u of token t, rows 4
 * j... */
typedef struct gemm_sums {
    bool only;
    float32x4_t scale[4];
    float32x4_t (*to)[4];
} gemm_sums;

static inline void add_sums(const gemm_sums *g, int64_t t, float d, const int32x4_t sum[4])
{
    for (int j = 0; j < 4; j++) {
        float32x4_t x = vcvtq_f32_s32(sum[j]), *to = &g->to[t][j];
        if (g->only)
            *to = vfmaq_f32(*to, g->scale[j], vfmaq_n_f32(vdupq_n_f32(0), x, d));
        else
            *to = vfmaq_n_f32(*to, x, d);
    }
}

/* A segment by all tokens of a. w: the segment as decode_segment leaves it, which may be written
 * over. */
static void multiply_segment(const sol_segments *s, int8x16_t (*w)[4], int64_t seg,
                             const sol_acts *a, const gemm_sums *to);

/* Scratch of a thread in the many-token product. */
typedef struct gemm_scratch {
    int8x16_t w[SEGMENT_BLOCKS][4];
    float32x4_t u[TOKENS][4], y[TOKENS][4];
} gemm_scratch;

static void gemm_group(const sol_tile_call *call, const uint8_t *tile, int64_t g,
                       gemm_scratch *work)
{
    const sol_segments *s = call->seg;
    const sol_unit unit = unit_of(s);
    const sol_f16 *scales = (const sol_f16 *)(tile + sol_unit_scales(&unit, g));
    int64_t n = call->acts->n, first = g * s->segs_per_group;
    gemm_sums to = {.only = s->segs_per_group == 1};
    to.to = to.only ? work->y : work->u;
    for (int j = 0; j < 4; j++) to.scale[j] = load_scales(scales + 4 * j);
    if (!to.only) memset(work->u, 0, (size_t)n * sizeof *work->u);
    for (int64_t i = first; i < first + s->segs_per_group; i++) {
        int64_t len, start = sol_segment_at(s, i, &len);
        decode_segment(tile + sol_unit_chunk(&unit, start / 64), start / 4, len / 4, work->w);
        multiply_segment(s, work->w, i, call->acts, &to);
    }
    if (!to.only)
        for (int64_t t = 0; t < n; t++)
            for (int j = 0; j < 4; j++)
                work->y[t][j] = vfmaq_f32(work->y[t][j], to.scale[j], work->u[t][j]);
}

static void product_by_gemm(const sol_tile_call *call, int64_t tile_index, gemm_scratch *work)
{
    const uint8_t *tile = call->tiles + (size_t)tile_index * call->tile_bytes;
    int64_t n = call->acts->n;
    memset(work->y, 0, (size_t)n * sizeof *work->y);
    for (int64_t g = 0; g < call->seg->n_groups; g++) gemm_group(call, tile, g, work);
    for (int64_t t = 0; t < n; t++)
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

const sol_tile_ops TERNARY_OPS = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
