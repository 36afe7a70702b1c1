/* Products of bf16 operands with fp32 sums: packs parts of B, then strips of A, and multiplies
 * them by the tile kernel of bf16.h. */
#include <string.h>

#include "base/num.h"
#include "kernels/bf16.h"
#include "kernels/gemm.h"

_Static_assert((int)SOL_GEMM_ROUNDED_K *(int)SOL_BF16_TILE <= 128 * 1024,
               "a tile of rows fits a strip");
_Static_assert((int)SOL_BF16_PANEL == (int)SOL_BF16_EDGE &&
                   (int)SOL_BF16_STEP == (int)SOL_BF16_DEPTH,
               "one layout");

/* B is packed in parts of at most PART_K x PART_N and PART numbers, which stay in a cache of the
 * second level while strips of A pass over them. A strip is packed on the stack (STRIP_CAPACITY),
 * unless it can be read as it lies. */
enum {
    PART_K = 1024,
    PART_N = 4096,
    PART = 768 * 1024,
    STRIP = 64,
    STRIP_CAPACITY = 128 * 1024,
    PANELS_A_TILE = 8
};

/* n cut into equal parts of at most `max`, each a multiple of `step`. */
static int64_t part_size(int64_t n, int64_t max, int64_t step)
{
    return sol_ceil_div(sol_ceil_div(n, sol_ceil_div(n, max)), step) * step;
}

size_t sol_bf16_packed_bytes(int64_t edge, int64_t k)
{
    return (size_t)(sol_round_up(edge, SOL_BF16_TILE) * sol_round_up(k, SOL_BF16_DEPTH)) *
           sizeof(uint16_t);
}

/* Block i along k of panel p. */
static void pack_block(const sol_bf16_ops *ops, const sol_operand *x, bool right, int64_t edge,
                       int64_t k, float scale, int64_t p, int64_t i, uint16_t *block)
{
    bool k_inner = x->trans == right;
    int64_t first = p * SOL_BF16_EDGE, depth = i * SOL_BF16_DEPTH,
            at = k_inner ? first * x->ld + depth : depth * x->ld + first;
    sol_bf16_source s = {.ld = x->ld, .bf16 = x->bf16, .k_inner = k_inner, .scale = scale};
    s.edge = first < edge ? sol_min_i64(SOL_BF16_EDGE, edge - first) : 0;
    s.depth = sol_min_i64(SOL_BF16_DEPTH, k - depth);
    s.data = s.edge > 0 ? (const char *)x->data + at * (x->bf16 ? 2 : 4) : x->data;
    ops->pack(&s, right, block);
}

/* Panels [from, to) of an operand, in the order in which its rows lie in memory. */
static void pack_panels(const sol_bf16_ops *ops, const sol_operand *x, bool right, int64_t edge,
                        int64_t k, float scale, int64_t from, int64_t to, uint16_t *out)
{
    int64_t blocks = sol_ceil_div(k, SOL_BF16_DEPTH);
    if (x->trans == right) {
        for (int64_t p = from; p < to; p++)
            for (int64_t i = 0; i < blocks; i++, out += SOL_BF16_BLOCK)
                pack_block(ops, x, right, edge, k, scale, p, i, out);
        return;
    }
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t p = from; p < to; p++)
            pack_block(ops, x, right, edge, k, scale, p, i,
                       out + ((p - from) * blocks + i) * SOL_BF16_BLOCK);
}

static int64_t panel_count(int64_t edge)
{
    return sol_round_up(edge, SOL_BF16_TILE) / SOL_BF16_EDGE;
}

sol_packed_operand sol_bf16_pack(const sol_ctx *ctx, const sol_operand *x, bool right, int64_t edge,
                                 int64_t k, float scale, uint16_t *packed)
{
    pack_panels(&ctx->kernels.bf16, x, right, edge, k, scale, 0, panel_count(edge), packed);
    return (sol_packed_operand){packed, sol_round_up(k, SOL_BF16_DEPTH) * SOL_BF16_EDGE};
}

/* A tile at the edge of C, or of a C in bf16, is summed in S [32, 32]: beta C is loaded before the
 * sums, and C = S is stored after them. */
static void load_part(float *sums, int64_t rows, int64_t cols, float beta, const float *c,
                      int64_t ldc)
{
    memset(sums, 0, SOL_BF16_TILE * SOL_BF16_TILE * sizeof *sums);
    for (int64_t i = 0; i < rows; i++, sums += SOL_BF16_TILE, c += ldc)
        for (int64_t p = 0; p < cols; p++) sums[p] = beta * c[p];
}

static void store_part(const float *sums, int64_t rows, int64_t cols, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++, sums += SOL_BF16_TILE, c += ldc)
        memcpy(c, sums, (size_t)cols * sizeof *c);
}

/* A as tiles read it, `tile` elements from one to the next. */
typedef struct left {
    sol_bf16_rows rows;
    int64_t tile;
} left;

static left left_packed(sol_packed_operand a)
{
    return (left){{a.data, SOL_BF16_DEPTH, a.panel, SOL_BF16_BLOCK}, 2 * a.panel};
}

/* C = sums + beta C, or with `bf16` the sums in bf16 (beta is 0). */
typedef struct result {
    float *c;
    uint16_t *bf16;
    int64_t ld;
    float beta;
} result;

/* The tile at c [rows, cols], which may be cut off by the edge of C. Its sums begin from 0 or from
 * beta C. */
static void one_tile(const sol_bf16_ops *ops, const sol_bf16_rows *a, sol_packed_operand b,
                     int64_t blocks, int64_t rows, int64_t cols, const result *r, int64_t at)
{
    _Alignas(64) float sums[SOL_BF16_TILE * SOL_BF16_TILE];
    bool add = r->beta != 0;
    if (!r->bf16 && rows == SOL_BF16_TILE && cols == SOL_BF16_TILE && (!add || r->beta == 1)) {
        ops->tile(a, b.data, b.panel, blocks, add, r->c + at, r->ld);
        return;
    }
    if (add) load_part(sums, rows, cols, r->beta, r->c + at, r->ld);
    ops->tile(a, b.data, b.panel, blocks, add, sums, SOL_BF16_TILE);
    if (r->bf16)
        ops->to_bf16(sums, rows, cols, r->bf16 + at, r->ld);
    else
        store_part(sums, rows, cols, r->c + at, r->ld);
}

/* Panels of B in the outer loop: one stays in the first level of the cache for all rows. */
static void multiply(const sol_bf16_ops *ops, const left *a, sol_packed_operand b, int64_t m,
                     int64_t n, int64_t k, const result *r)
{
    ops->begin();
    for (int64_t p = 0; p < n; p += SOL_BF16_TILE) {
        sol_bf16_rows rows = a->rows;
        for (int64_t i = 0; i < m; i += SOL_BF16_TILE, rows.data += a->tile)
            one_tile(ops, &rows, sol_packed_part(b, p, 0), sol_ceil_div(k, SOL_BF16_DEPTH),
                     sol_min_i64(SOL_BF16_TILE, m - i), sol_min_i64(SOL_BF16_TILE, n - p), r,
                     i * r->ld + p);
    }
    ops->end();
}

void sol_bf16_multiply(const sol_ctx *ctx, sol_packed_operand a, sol_packed_operand b, int64_t m,
                       int64_t n, int64_t k, float beta, float *c, int64_t ldc)
{
    left rows = left_packed(a);
    multiply(&ctx->kernels.bf16, &rows, b, m, n, k, &(result){.c = c, .ld = ldc, .beta = beta});
}

/* ---- a product over the pool ---- */

static int64_t part_k_size(int64_t k)
{
    return part_size(k, PART_K, SOL_BF16_DEPTH);
}

static int64_t part_n_size(int64_t n, int64_t part_k)
{
    return part_size(n, sol_min_i64(PART_N, PART / part_k / SOL_BF16_TILE * SOL_BF16_TILE),
                     SOL_BF16_TILE);
}

size_t sol_gemm_bf16_scratch(int64_t n, int64_t k)
{
    int64_t part_k = part_k_size(k);
    size_t bytes = sol_bf16_packed_bytes(part_n_size(n, part_k), part_k), rounded = 0;
    if (k <= SOL_GEMM_ROUNDED_K) rounded = sol_bf16_packed_bytes(part_n_size(n, k), k);
    return bytes > rounded ? bytes : rounded;
}

typedef struct product {
    const sol_ctx *ctx;
    sol_operand a, b; /* at the part of k, and B at the part of n */
    int64_t m, n, k, rows_a_strip;
    float alpha;
    result c;
    uint16_t *packed;
} product;

static void pack_tile(void *arg, int64_t index, int thread)
{
    const product *p = arg;
    int64_t from = index * PANELS_A_TILE, to = sol_min_i64(from + PANELS_A_TILE, panel_count(p->n));
    (void)thread;
    pack_panels(&p->ctx->kernels.bf16, &p->b, true, p->n, p->k, 1, from, to,
                p->packed + from * SOL_BF16_EDGE * sol_round_up(p->k, SOL_BF16_DEPTH));
}

static sol_operand moved(const sol_operand *x, int64_t row, int64_t column)
{
    sol_operand y = *x;
    y.data = (const char *)x->data +
             (x->trans ? column * x->ld + row : row * x->ld + column) * (x->bf16 ? 2 : 4);
    return y;
}

static result moved_result(const result *c, int64_t row, int64_t column)
{
    result r = *c;
    if (r.c) r.c += row * r.ld + column;
    if (r.bf16) r.bf16 += row * r.ld + column;
    return r;
}

/* Rows of A can be read as they lie when they are whole tiles of bf16, and not to be scaled. */
static bool readable_in_place(const product *p, int64_t rows)
{
    return p->a.bf16 && !p->a.trans && p->alpha == 1 && rows % SOL_BF16_TILE == 0 &&
           p->k % SOL_BF16_DEPTH == 0;
}

static void product_strip(void *arg, int64_t index, int thread)
{
    const product *p = arg;
    _Alignas(64) uint16_t work[STRIP_CAPACITY];
    int64_t row = index * p->rows_a_strip, rows = sol_min_i64(p->rows_a_strip, p->m - row),
            ld = p->a.ld;
    sol_operand a = moved(&p->a, row, 0);
    sol_packed_operand b = {p->packed, sol_round_up(p->k, SOL_BF16_DEPTH) * SOL_BF16_EDGE};
    left at = {{a.data, ld, SOL_BF16_EDGE * ld, SOL_BF16_DEPTH}, SOL_BF16_TILE * ld};
    (void)thread;
    if (!readable_in_place(p, rows))
        at = left_packed(sol_bf16_pack(p->ctx, &a, false, rows, p->k, p->alpha, work));
    result c = moved_result(&p->c, row, 0);
    multiply(&p->ctx->kernels.bf16, &at, b, rows, p->n, p->k, &c);
}

/* Rows of a strip of A, such that every thread gets the same number of strips. A strip may have
 * twice as many rows when A is transposed, because the matrix is then read along its rows. The cut
 * changes no sum. */
static int64_t strip_rows(const sol_operand *a, int64_t m, int64_t k, int threads)
{
    int64_t max = sol_min_i64(a->trans ? 2 * STRIP : STRIP,
                              STRIP_CAPACITY / k / SOL_BF16_TILE * SOL_BF16_TILE);
    return sol_round_up(sol_ceil_div(m, sol_round_up(sol_ceil_div(m, max), threads)),
                        SOL_BF16_TILE);
}

static void run(product *p, const sol_operand *a, const sol_operand *b, int64_t n, int64_t k,
                int64_t part_k, const result *c)
{
    int64_t part_n = part_n_size(n, part_k);
    p->rows_a_strip = strip_rows(a, p->m, part_k, sol_pool_threads(p->ctx->pool));
    for (int64_t at_n = 0; at_n < n; at_n += part_n)
        for (int64_t at_k = 0; at_k < k; at_k += part_k) {
            p->a = moved(a, 0, at_k);
            p->b = moved(b, at_k, at_n);
            p->n = sol_min_i64(part_n, n - at_n);
            p->k = sol_min_i64(part_k, k - at_k);
            p->c = moved_result(c, 0, at_n);
            if (at_k > 0) p->c.beta = 1;
            sol_pool_run(p->ctx->pool, sol_ceil_div(panel_count(p->n), PANELS_A_TILE), pack_tile,
                         p);
            sol_pool_run(p->ctx->pool, sol_ceil_div(p->m, p->rows_a_strip), product_strip, p);
        }
}

void sol_gemm_bf16(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, float alpha,
                   const sol_operand *a, const sol_operand *b, float beta, float *c, int64_t ldc,
                   void *scratch)
{
    product p = {.ctx = ctx, .m = m, .alpha = alpha, .packed = scratch};
    run(&p, a, b, n, k, part_k_size(k), &(result){.c = c, .ld = ldc, .beta = beta});
}

void sol_gemm_bf16_rounded(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k,
                           const sol_operand *a, const sol_operand *b, uint16_t *c, int64_t ldc,
                           void *scratch)
{
    product p = {.ctx = ctx, .m = m, .alpha = 1, .packed = scratch};
    run(&p, a, b, n, k, k, &(result){.bf16 = c, .ld = ldc});
}

const char *sol_gemm_bf16_kernel(const sol_ctx *ctx)
{
    return ctx->kernels.bf16.name;
}

bool sol_gemm_bf16_native(const sol_ctx *ctx)
{
    return ctx->kernels.bf16.native;
}
