/* Dense fp32 products over BLAS, cut into fixed tiles over the pool. Every product of training
 * ends here or in gemm_bf16.c. */
#include "kernels/gemm.h"

#include <cblas.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/num.h"
#include "kernels/ctx.h"

/* Tiles of C, all of about one size. Each packs its parts of A and B anew, so they are large; C is
 * cut until the threads have something to share or the tiles get too small to pay: into rows, while
 * they are not much shorter than the columns. BLAS_STEP: what the micro-kernels of BLAS count in.
 */
enum { MAX_ROWS = 512, MAX_COLS = 2048, MIN_TILE = 128, MIN_TILES = 8, BLAS_STEP = 16 };

void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                   int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                (int)ldb, beta, c, (int)ldc);
}

void sol_solve_tile(int64_t m, int64_t n, const float *v, int64_t ldv, float *x, int64_t ldx)
{
    cblas_strsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, (int)m, (int)n,
                1, v, (int)ldv, x, (int)ldx);
}

typedef struct gemm_args {
    bool trans_a, trans_b;
    int64_t m, n, k, lda, ldb, ldc, tile_m, tile_n, tiles_n;
    float alpha, beta;
    const float *a, *b;
    float *c;
} gemm_args;

static void gemm_tile(void *arg, int64_t tile, int thread)
{
    const gemm_args *g = arg;
    (void)thread;
    int64_t i = tile / g->tiles_n * g->tile_m, j = tile % g->tiles_n * g->tile_n;
    int64_t rows = sol_min_i64(g->m - i, g->tile_m), cols = sol_min_i64(g->n - j, g->tile_n);
    const float *a = g->a + (g->trans_a ? i : i * g->lda);
    const float *b = g->b + (g->trans_b ? j * g->ldb : j);
    sol_gemm_tile(g->trans_a, g->trans_b, rows, cols, g->k, g->alpha, a, g->lda, b, g->ldb, g->beta,
                  g->c + i * g->ldc + j, g->ldc);
}

void sol_gemm(const sol_ctx *ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
              float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
              float *c, int64_t ldc)
{
    gemm_args g = {.trans_a = trans_a,
                   .trans_b = trans_b,
                   .m = m,
                   .n = n,
                   .k = k,
                   .lda = lda,
                   .ldb = ldb,
                   .ldc = ldc,
                   .alpha = alpha,
                   .beta = beta,
                   .a = a,
                   .b = b,
                   .c = c};
    int64_t parts_m = 1, parts_n = 1;
    g.tile_m = m, g.tile_n = n;
    while (parts_m * parts_n < MIN_TILES || g.tile_m > MAX_ROWS || g.tile_n > MAX_COLS) {
        if (g.tile_m >= 2 * MIN_TILE && g.tile_m >= g.tile_n / 4)
            g.tile_m = sol_round_up(sol_ceil_div(m, parts_m *= 2), BLAS_STEP);
        else if (g.tile_n >= 2 * MIN_TILE)
            g.tile_n = sol_round_up(sol_ceil_div(n, parts_n *= 2), BLAS_STEP);
        else
            break;
    }
    g.tiles_n = sol_ceil_div(n, g.tile_n);
    sol_pool_run(ctx->pool, sol_ceil_div(m, g.tile_m) * g.tiles_n, gemm_tile, &g);
}

size_t sol_product_scratch(bool bf16, int64_t n, int64_t k)
{
    return bf16 ? sol_gemm_bf16_scratch(n, k) : 0;
}

void sol_product(const sol_ctx *ctx, bool bf16, int64_t m, int64_t n, int64_t k, float alpha,
                 const sol_operand *a, const sol_operand *b, float beta, float *c, int64_t ldc,
                 void *scratch)
{
    if (bf16)
        sol_gemm_bf16(ctx, m, n, k, alpha, a, b, beta, c, ldc, scratch);
    else
        sol_gemm(ctx, a->trans, b->trans, m, n, k, alpha, a->data, a->ld, b->data, b->ld, beta, c,
                 ldc);
}

/* OpenBLAS keeps what it once had. These two are how its own routines get a buffer; no header
 * declares them. */
extern void *blas_memory_alloc(int how) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

sol_status sol_gemm_reserve(const sol_ctx *ctx, sol_err *err)
{
    enum { MAX_BUFFERS = 64 }; /* half of what the builds of distributions have room for */
    void *buffer[MAX_BUFFERS];
    int n = sol_pool_threads(ctx->pool) < MAX_BUFFERS ? sol_pool_threads(ctx->pool) : MAX_BUFFERS;
    size_t bytes = (size_t)n * SOL_BLAS_BUFFER;
    void *reserved = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserved == MAP_FAILED)
        return sol_fail(
            err, SOL_ERR_NOMEM,
            "out of memory: products of matrices by %d threads want %zu MiB of address space: %s",
            n, bytes >> 20, strerror(errno));
    munmap(reserved, bytes);
    if (!blas_memory_alloc || !blas_memory_free) return SOL_OK;
    for (int i = 0; i < n; i++) buffer[i] = blas_memory_alloc(0);
    for (int i = 0; i < n; i++) blas_memory_free(buffer[i]);
    return SOL_OK;
}

const char *sol_gemm_library(void)
{
    return openblas_get_config();
}

__attribute__((constructor)) static void one_thread_a_call(void)
{
    openblas_set_num_threads(1); /* threads are ours: tiles over the pool */
}
