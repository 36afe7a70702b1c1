/* A Cholesky factorization that runs from the last column to the first, by blocks, for
 * calibration: the block on the diagonal is factored by hand, the blocks above it are solved
 * for, and what they explain is subtracted from the rest, both by BLAS, a tile of rows at a
 * time. */
#include "kernels/factor.h"

#include <cblas.h>
#include <math.h>

#include "base/num.h"

enum { BLOCK = 64, TILE = 64 };

typedef struct factor_args {
    double *a, *b;
    int64_t n, m, at, width; /* the columns [at, at + width) */
} factor_args;

/* A = V V^T of a small block: column j of V is known once the columns behind it are. */
static bool factor_block(double *a, int64_t ld, int64_t n)
{
    for (int64_t j = n - 1; j >= 0; j--) {
        double pivot = a[j * ld + j];
        for (int64_t k = j + 1; k < n; k++) pivot -= a[j * ld + k] * a[j * ld + k];
        if (!(pivot > 0) || !isfinite(pivot)) return false;
        pivot = sqrt(pivot);
        a[j * ld + j] = pivot;
        for (int64_t i = 0; i < j; i++) {
            double sum = a[i * ld + j];
            for (int64_t k = j + 1; k < n; k++) sum -= a[i * ld + k] * a[j * ld + k];
            a[i * ld + j] = sum / pivot;
        }
    }
    return true;
}

/* Rows above the block: X V^T = A. */
static void solve_tile(void *arg, int64_t tile, int thread)
{
    const factor_args *f = arg;
    (void)thread;
    int64_t row = tile * TILE, rows = sol_min_i64(TILE, f->at - row);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, (int)rows,
                (int)f->width, 1, f->a + f->at * f->n + f->at, (int)f->n, f->a + row * f->n + f->at,
                (int)f->n);
}

/* What is left of the rows of a tile, from its diagonal to the block: A -= X X^T. */
static void update_tile(void *arg, int64_t tile, int thread)
{
    const factor_args *f = arg;
    (void)thread;
    int64_t row = tile * TILE, rows = sol_min_i64(TILE, f->at - row);
    const double *x = f->a + f->at;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)(f->at - row),
                (int)f->width, -1, x + row * f->n, (int)f->n, x + row * f->n, (int)f->n, 1,
                f->a + row * f->n + row, (int)f->n);
}

bool sol_factor_upper(const sol_ctx *ctx, double *a, int64_t n)
{
    factor_args f = {.a = a, .n = n};
    for (int64_t end = n; end > 0; end = f.at) {
        f.at = (end - 1) / BLOCK * BLOCK;
        f.width = end - f.at;
        if (!factor_block(a + f.at * n + f.at, n, f.width)) return false;
        sol_pool_run(ctx->pool, sol_ceil_div(f.at, TILE), solve_tile, &f);
        sol_pool_run(ctx->pool, sol_ceil_div(f.at, TILE), update_tile, &f);
    }
    return true;
}

static void solve_rows(void *arg, int64_t tile, int thread)
{
    const factor_args *f = arg;
    (void)thread;
    int rows = (int)sol_min_i64(TILE, f->m - tile * TILE), n = (int)f->n;
    double *b = f->b + tile * TILE * f->n;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, rows, n, 1, f->a,
                n, b, n);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, rows, n, 1, f->a,
                n, b, n);
}

void sol_factor_solve(const sol_ctx *ctx, const double *v, int64_t n, double *b, int64_t m)
{
    factor_args f = {.a = (double *)(uintptr_t)v, .b = b, .n = n, .m = m};
    sol_pool_run(ctx->pool, sol_ceil_div(m, TILE), solve_rows, &f);
}

bool sol_solve_spd(double *a, int64_t n, double *b)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int64_t k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
            if (j < i)
                a[i * n + j] = sum / a[j * n + j];
            else if (!(sum > 0) || !isfinite(sum))
                return false;
            else
                a[i * n + i] = sqrt(sum);
        }
        for (int64_t k = 0; k < i; k++) b[i] -= a[i * n + k] * b[k];
        b[i] /= a[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++) b[i] -= a[k * n + i] * b[k];
        b[i] /= a[i * n + i];
    }
    return true;
}
