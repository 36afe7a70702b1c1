/* Effective rank of a matrix (Roy & Vetterli, "The effective rank", EUSIPCO 2007):
 *
 *   p_i = sigma_i / sum_j sigma_j    ER(G) = exp(-sum_i p_i ln p_i)    1 <= ER <= min(rows, cols)
 *
 * Singular values are square roots of the eigenvalues of the smaller Gram matrix, G G^T or G^T G,
 * built in double (dsyrk) and solved by LAPACK dsyev. For fp32 input that is as accurate as an fp32
 * SVD: squaring in double leaves an absolute error of about sqrt(2^-53) sigma_max = 1e-8 sigma_max,
 * an fp32 sgesdd one of 6e-8 sigma_max, and it costs a third of the time, because most of the work
 * is one matrix product. An error of 1e-8 in each of 512 values moves ER by less than 1e-4 of
 * itself.
 *
 *     double *work;
 *     st = sol_alloc_array((void **)&work, sol_rank_work(rows, cols), sizeof *work, err);
 *     double er = sol_effective_rank(g, rows, cols, work); */
#ifndef SOLERA_STUDY_RANK_H
#define SOLERA_STUDY_RANK_H

#include <stddef.h>
#include <stdint.h>

/* Doubles of workspace for a [rows, cols] matrix; grows with both. */
size_t sol_rank_work(int64_t rows, int64_t cols);

/* The singular values of g[rows, cols], descending, to sigma[min(rows, cols)], on the calling
 * thread. work: sol_rank_work doubles, any content. Returns 0; or -1, with sigma not set, when g is
 * not finite or LAPACK does not converge. */
int sol_singular_values(const float *g, int64_t rows, int64_t cols, double *work, double *sigma);

/* ER(g); NaN for a matrix of zeros or one that is not finite. work as above. */
double sol_effective_rank(const float *g, int64_t rows, int64_t cols, double *work);

/* min(k, n) distinct indices of [0, n), ascending, into index: all of them when k >= n, otherwise a
 * sample that depends on n and k alone, so that every run and every step looks at the same rows.
 * Returns how many. */
int64_t sol_sample_rows(int64_t n, int64_t k, int64_t *index);

#endif
