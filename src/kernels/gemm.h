/* Dense matrix products over BLAS, cut into fixed tiles over the pool: the same bits for any number of threads.
 * All matrices are row-major fp32; ld* is the distance between rows in elements.
 *
 *   op(A): [m, k]   op(B): [k, n]   C: [m, n]      C = alpha op(A) op(B) + beta C      (C must not overlap A or B)
 */
#ifndef SOLERA_KERNELS_GEMM_H
#define SOLERA_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ctx.h"

void sol_gemm(const sol_ctx *ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* The same product on the calling thread only, for use inside a tile. */
void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* The same with bf16 operands and fp32 sums, by kernels of our own (bf16.h), the same bits for any number of threads. Operands
 * may be fp32 (rounded on the way, to nearest even) or bf16; trans as above: A is [k, m], B is [n, k]. C is fp32. `scratch`
 * has sol_gemm_bf16_scratch bytes, 64-byte aligned.
 * Error: each operand is off by at most 2^-9 of itself, the sums are those of fp32 in ascending order of k; processors with
 * instructions for bf16 take denormals for zero. */
typedef struct sol_operand {
    const void *data;
    int64_t ld;
    bool trans, bf16;
} sol_operand;
size_t sol_gemm_bf16_scratch(int64_t n, int64_t k);
void sol_gemm_bf16(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, float alpha, const sol_operand *a, const sol_operand *b,
                   float beta, float *c, int64_t ldc, void *scratch);

/* "OpenBLAS 0.3.21 ...": what multiplies. Static storage. */
const char *sol_gemm_library(void);

#endif
