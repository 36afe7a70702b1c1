#include "kernels/gemm.h"

#include <cblas.h>

#include "kernels/ctx.h"

/* One tile of C. Small enough that two threads share even one linear layer of a small model, large enough that
 * packing A and B anew for each tile costs little. */
enum { TILE_M = 256, TILE_N = 512 };

void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

typedef struct gemm_args {
    bool trans_a, trans_b;
    int64_t m, n, k, lda, ldb, ldc, tiles_n;
    float alpha, beta;
    const float *a, *b;
    float *c;
} gemm_args;

static void gemm_tile(void *arg, int64_t tile, int thread)
{
    const gemm_args *g = arg;
    (void)thread;
    int64_t i = tile / g->tiles_n * TILE_M, j = tile % g->tiles_n * TILE_N;
    int64_t rows = g->m - i < TILE_M ? g->m - i : TILE_M, cols = g->n - j < TILE_N ? g->n - j : TILE_N;
    const float *a = g->a + (g->trans_a ? i : i * g->lda);
    const float *b = g->b + (g->trans_b ? j * g->ldb : j);
    sol_gemm_tile(g->trans_a, g->trans_b, rows, cols, g->k, g->alpha, a, g->lda, b, g->ldb, g->beta,
                  g->c + i * g->ldc + j, g->ldc);
}

void sol_gemm(const sol_ctx *ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    int64_t tiles_m = (m + TILE_M - 1) / TILE_M, tiles_n = (n + TILE_N - 1) / TILE_N;
    gemm_args g = {.trans_a = trans_a, .trans_b = trans_b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
                   .tiles_n = tiles_n, .alpha = alpha, .beta = beta, .a = a, .b = b, .c = c};
    sol_pool_run(ctx->pool, tiles_m * tiles_n, gemm_tile, &g);
}

const char *sol_gemm_library(void)
{
    return openblas_get_config();
}

__attribute__((constructor)) static void one_thread_a_call(void)
{
    openblas_set_num_threads(1); /* threads are ours: tiles over the pool */
}
