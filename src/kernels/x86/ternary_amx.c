/* The ternary product with AMX: ternary_tmpl.h with tiles of int8 for many tokens, 2.5 times as
 * fast as vpdpbusd (ternary_vbmi.c). Tile registers: 0 to 3 are sums of 16 tokens by 16 rows each,
 * 4 activations of 16 tokens by 64 columns, 5 and 6 weights of 64 columns by 16 rows. */
#define TABLE_TOKENS 3
#define WEIGHT_BIAS 0
#include "kernels/x86/amx.h"
#include "kernels/x86/ternary_tmpl.h"

/* sums += activations * weights, all signed */
#define TILE_DOT(sums, x, w) __asm__ volatile("tdpbssd %%tmm" #w ", %%tmm" #x ", %%tmm" #sums : :)

/* Up to 16 tokens by 64 rows over one segment of which w holds a multiple of 16 blocks. Reads 16
 * rows of q, and up to the next 64 columns: what lies there meets weight 0, or tokens that are not
 * stored. */
static void multiply_tokens(const sol_segments *s, __m512i (*w)[SEGMENT_BLOCKS], int64_t blocks,
                            const int8_t *q, const float *d, const gemm_sums *to, int64_t n)
{
    __m512i sums[4][16];
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int64_t i = 0; i < blocks; i += 16) {
        TILE_LOAD(4, q + 4 * i, s->q_stride);
        TILE_LOAD(5, &w[0][i], (int64_t)64);
        TILE_DOT(0, 4, 5);
        TILE_LOAD(6, &w[1][i], (int64_t)64);
        TILE_DOT(1, 4, 6);
        TILE_LOAD(5, &w[2][i], (int64_t)64);
        TILE_DOT(2, 4, 5);
        TILE_LOAD(6, &w[3][i], (int64_t)64);
        TILE_DOT(3, 4, 6);
    }
    TILE_STORE(0, sums[0], (int64_t)64);
    TILE_STORE(1, sums[1], (int64_t)64);
    TILE_STORE(2, sums[2], (int64_t)64);
    TILE_STORE(3, sums[3], (int64_t)64);
    const __m512 zero = _mm512_setzero_ps();
    for (int64_t t = 0; t < n; t++) {
        __m512 dt = _mm512_set1_ps(d[t * s->n_segs]);
        for (int j = 0; j < 4; j++) {
            __m512 u =
                _mm512_fmadd_ps(dt, _mm512_cvtepi32_ps(sums[j][t]), to->only ? zero : to->to[t][j]);
            to->to[t][j] = to->only ? _mm512_fmadd_ps(to->scale[j], u, to->to[t][j]) : u;
        }
    }
}

static void multiply_segment(const sol_segments *s, __m512i (*w)[SEGMENT_BLOCKS], int64_t seg,
                             const sol_acts *a, gemm_sums to)
{
    int64_t len, start = sol_segment_at(s, seg, &len), blocks = sol_round_up(len / 4, 16);
    for (int j = 0; j < 4; j++)
        for (int64_t i = len / 4; i < blocks; i++) w[j][i] = _mm512_setzero_si512();
    for (int64_t t = 0; t < a->n; t += 16, to.to += 16)
        multiply_tokens(s, w, blocks, a->q + start + t * s->q_stride, a->d + seg + t * s->n_segs,
                        &to, sol_min_i64(16, a->n - t));
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    if (call->acts->n <= TABLE_TOKENS) {
        product_by_tables(call, first, last, thread, ready);
        return;
    }
    begin_tiles();
    product_by_gemm(call, first, last, thread);
    end_tiles();
}

const sol_tile_ops sol_tile_ops_ternary_amx = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};
