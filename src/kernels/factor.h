/* Factors of symmetric positive definite matrices in double, over BLAS, cut into fixed tiles over
 * the pool: the same bits for any number of threads. All matrices are row-major and square of size
 * n unless said.
 *
 *     if (sol_factor_upper(ctx, a, n))       // A = V V^T
 *         sol_factor_solve(ctx, a, n, b, m); // B becomes the X with X A = B */
#ifndef SOLERA_KERNELS_FACTOR_H
#define SOLERA_KERNELS_FACTOR_H

#include <stdint.h>

#include "kernels/ctx.h"

/* In place: the upper triangle of A [n, n] becomes V with A = V V^T, V upper triangular with a
 * positive diagonal; what lies below the diagonal is neither read nor written. This is the Cholesky
 * factor of A read backwards: V^-1 is the upper factor U of A^-1 = U^T U that GPTQ (arXiv
 * 2210.17323) works with. False when A is not positive definite, or holds a NaN: then A is
 * spoiled. */
bool sol_factor_upper(const sol_ctx *ctx, double *a, int64_t n);

/* B [m, n] becomes X with X V V^T = B. */
void sol_factor_solve(const sol_ctx *ctx, const double *v, int64_t n, double *b, int64_t m);

/* On the calling thread, for small n: x with A x = b in the place of b. The lower triangle of A is
 * read, A is spoiled. False: A is not positive definite. */
bool sol_solve_spd(double *a, int64_t n, double *b);

#endif
