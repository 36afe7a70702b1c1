/* Effective rank of a matrix, from the singular values that LAPACK computes; the library is used
 * here alone. recorder.c asks for the ranks of weights and gradients. */
#include "study/rank.h"

#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/rng.h"

/* LAPACK and BLAS in double, Fortran interface (column-major; every argument by address), as
 * OpenBLAS exports them. */
void dsyrk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *beta, double *c, const int *ldc);
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
            double *work, const int *lwork, int *info);

/* Fixed, so that every machine and every run samples the same rows. */
enum { SAMPLE_SEED = 1 };

/* dsyev wants 3 n - 1 and blocks its reduction when it gets (32 + 2) n. */
static int64_t lapack_work(int64_t n)
{
    return 34 * n;
}

size_t sol_rank_work(int64_t rows, int64_t cols)
{
    int64_t n = sol_min_i64(rows, cols);
    return (size_t)(rows * cols + n * n + n + lapack_work(n));
}

int sol_singular_values(const float *g, int64_t rows, int64_t cols, double *work, double *sigma)
{
    int n = (int)sol_min_i64(rows, cols), k = (int)(rows < cols ? cols : rows);
    double *a = work, *gram = a + rows * cols, *eigen = gram + (int64_t)n * n, *rest = eigen + n;
    for (int64_t i = 0; i < rows * cols; i++) {
        if (!isfinite(g[i])) return -1;
        a[i] = (double)g[i];
    }
    /* Row-major [rows, cols] is column-major [cols, rows] =: A. rows <= cols: A^T A, otherwise A
     * A^T. */
    int lda = (int)cols, lwork = (int)lapack_work(n), info = 0;
    double one = 1, zero = 0;
    dsyrk_("U", rows <= cols ? "T" : "N", &n, &k, &one, a, &lda, &zero, gram, &n);
    dsyev_("N", "U", &n, gram, &n, eigen, rest, &lwork, &info);
    if (info != 0) return -1;
    for (int i = 0; i < n; i++)
        sigma[i] = sqrt(fmax(eigen[n - 1 - i], 0)); /* dsyev sorts ascending */
    return 0;
}

double sol_effective_rank(const float *g, int64_t rows, int64_t cols, double *work)
{
    int64_t n = sol_min_i64(rows, cols);
    double *sigma = work; /* the copy of g is not needed any more when sigma is written */
    if (n < 1 || sol_singular_values(g, rows, cols, work, sigma) != 0) return NAN;
    double sum = 0, entropy = 0;
    for (int64_t i = 0; i < n; i++) sum += sigma[i];
    if (!(sum > 0)) return NAN;
    for (int64_t i = 0; i < n; i++) {
        double p = sigma[i] / sum;
        if (p > 0) entropy -= p * log(p);
    }
    return exp(entropy);
}

static int compare_index(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t sol_sample_rows(int64_t n, int64_t k, int64_t *index)
{
    if (k >= n) {
        for (int64_t i = 0; i < n; i++) index[i] = i;
        return n;
    }
    for (int64_t i = 0; i < k; i++)
        index[i] = (int64_t)sol_permute(SAMPLE_SEED, SOL_STREAM_STUDY, (uint64_t)n, (uint64_t)i);
    qsort(index, (size_t)k, sizeof *index, compare_index);
    return k;
}
