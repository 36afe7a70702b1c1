/* Dense matrix products over BLAS, cut into fixed tiles over the pool: the same bits for any number of threads.
 * All matrices are row-major fp32; ld* is the distance between rows in elements.
 *
 *   op(A): [m, k]   op(B): [k, n]   C: [m, n]      C = alpha op(A) op(B) + beta C      (C must not overlap A or B)
 */
#ifndef SOLERA_KERNELS_GEMM_H
#define SOLERA_KERNELS_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/ctx.h"

void sol_gemm(const sol_ctx *ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* The same product on the calling thread only, for use inside a tile. */
void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* "OpenBLAS 0.3.21 ...": what multiplies. Static storage. */
const char *sol_gemm_library(void);

#endif
