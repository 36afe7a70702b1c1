#include "kernels/bf16.h"
#include "kernels/gemm.h"

/* B is packed in parts of at most PART_K x PART_N. A strip of A, packed on the stack, stays in a cache of the second level
 * while they pass over it; it is lower where that gives fewer than LEAST_STRIPS for the threads to share. */
enum { PART_K = 1024, PART_N = 4096, STRIP = 128, LEAST_STRIPS = 8, PANELS_A_TILE = 4 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t parts(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* n cut into equal parts of at most `most`, each a multiple of `step`. */
static int64_t part_size(int64_t n, int64_t most, int64_t step)
{
    return parts(parts(n, parts(n, most)), step) * step;
}

size_t sol_gemm_bf16_scratch(int64_t n, int64_t k)
{
    return (size_t)(part_size(n, PART_N, SOL_BF16_TILE) * part_size(k, PART_K, SOL_BF16_DEPTH)) * sizeof(uint16_t);
}

typedef struct job {
    const sol_bf16_ops *ops;
    const sol_operand *a, *b;
    int64_t m, n, k, ldc, part_n, part_k, rows_a_strip;
    int64_t n_at, k_at, n_now, k_now; /* the part of B */
    float alpha, beta;
    float *c;
    uint16_t *packed; /* [panel of 16 columns][block along k] */
} job;

static sol_bf16_source source(const sol_operand *x, bool k_inner, int64_t edge_at, int64_t k_at, int64_t edge, int64_t depth,
                              float scale)
{
    int64_t at = k_inner ? edge_at * x->ld + k_at : k_at * x->ld + edge_at;
    return (sol_bf16_source){.data = (const char *)x->data + at * (x->bf16 ? 2 : 4),
                             .ld = x->ld,
                             .bf16 = x->bf16,
                             .k_inner = k_inner,
                             .edge = edge,
                             .depth = depth,
                             .scale = scale};
}

/* `edge` rows or columns from edge_at on, in panels of 16, an empty one after the last if `to` ends there. */
static void pack_panels(const job *j, const sol_operand *x, bool k_inner, bool pairs, int64_t edge_at, int64_t edge, int64_t n_panels,
                        float scale, uint16_t *out)
{
    int64_t blocks = parts(j->k_now, SOL_BF16_DEPTH);
    for (int64_t p = 0; p < n_panels; p++)
        for (int64_t i = 0; i < blocks; i++, out += SOL_BF16_BLOCK) {
            int64_t left = edge - p * SOL_BF16_EDGE;
            sol_bf16_source s = source(x, k_inner, edge_at + p * SOL_BF16_EDGE, j->k_at + i * SOL_BF16_DEPTH,
                                       left < 0 ? 0 : min64(SOL_BF16_EDGE, left), min64(SOL_BF16_DEPTH, j->k_now - i * SOL_BF16_DEPTH), scale);
            j->ops->pack(&s, pairs, out);
        }
}

static void pack_tile(void *arg, int64_t index, int thread)
{
    const job *j = arg;
    int64_t blocks = parts(j->k_now, SOL_BF16_DEPTH), first = index * PANELS_A_TILE;
    int64_t all = parts(j->n_now, SOL_BF16_TILE) * 2, n = min64(PANELS_A_TILE, all - first);
    (void)thread;
    pack_panels(j, j->b, j->b->trans, true, j->n_at + first * SOL_BF16_EDGE, j->n_now - first * SOL_BF16_EDGE, n, 1,
                j->packed + first * blocks * SOL_BF16_BLOCK);
}

/* C = beta C + S for what is left at the edges, S [32, 32]; C is not read where beta is 0. */
static void add_part(const float *sums, int64_t rows, int64_t cols, float beta, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++, sums += SOL_BF16_TILE, c += ldc)
        for (int64_t j = 0; j < cols; j++) c[j] = beta == 0 ? sums[j] : beta * c[j] + sums[j];
}

/* Rows of C by the part of B. Panels of B in the outer loop: one stays in the first level for all rows. */
static void product_strip(void *arg, int64_t index, int thread)
{
    const job *j = arg;
    _Alignas(64) uint16_t a[STRIP * PART_K];
    _Alignas(64) float sums[SOL_BF16_TILE * SOL_BF16_TILE];
    int64_t row = index * j->rows_a_strip, rows = min64(j->rows_a_strip, j->m - row);
    int64_t blocks = parts(j->k_now, SOL_BF16_DEPTH), panel = blocks * SOL_BF16_BLOCK;
    float beta = j->k_at == 0 ? j->beta : 1;
    (void)thread;
    pack_panels(j, j->a, !j->a->trans, false, row, rows, 2 * parts(rows, SOL_BF16_TILE), j->alpha, a);
    j->ops->begin();
    for (int64_t n = 0; n < j->n_now; n += SOL_BF16_TILE)
        for (int64_t m = 0; m < rows; m += SOL_BF16_TILE) {
            const uint16_t *at = a + m / SOL_BF16_EDGE * panel, *b = j->packed + n / SOL_BF16_EDGE * panel;
            float *c = j->c + (row + m) * j->ldc + j->n_at + n;
            int64_t height = min64(SOL_BF16_TILE, rows - m), width = min64(SOL_BF16_TILE, j->n_now - n);
            bool whole = height == SOL_BF16_TILE && width == SOL_BF16_TILE && (beta == 0 || beta == 1);
            j->ops->tile(at, panel, b, panel, blocks, whole && beta == 1, whole ? c : sums, whole ? j->ldc : SOL_BF16_TILE);
            if (!whole) add_part(sums, height, width, beta, c, j->ldc);
        }
    j->ops->end();
}

void sol_gemm_bf16(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, float alpha, const sol_operand *a, const sol_operand *b,
                   float beta, float *c, int64_t ldc, void *scratch)
{
    job j = {.ops = ctx->k.bf16, .a = a, .b = b, .m = m, .n = n, .k = k, .ldc = ldc, .alpha = alpha, .beta = beta, .c = c, .packed = scratch};
    j.part_n = part_size(n, PART_N, SOL_BF16_TILE);
    j.part_k = part_size(k, PART_K, SOL_BF16_DEPTH);
    j.rows_a_strip = min64(STRIP, parts(parts(m, LEAST_STRIPS), SOL_BF16_TILE) * SOL_BF16_TILE);
    for (j.n_at = 0; j.n_at < n; j.n_at += j.part_n)
        for (j.k_at = 0; j.k_at < k; j.k_at += j.part_k) {
            j.n_now = min64(j.part_n, n - j.n_at);
            j.k_now = min64(j.part_k, k - j.k_at);
            sol_pool_run(ctx->pool, parts(parts(j.n_now, SOL_BF16_TILE) * 2, PANELS_A_TILE), pack_tile, &j);
            sol_pool_run(ctx->pool, parts(m, j.rows_a_strip), product_strip, &j);
        }
}
