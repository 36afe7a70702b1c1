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

/* BLAS wants SOL_BLAS_BUFFER bytes of address space for each thread that multiplies and, where it gets none, asks for ever. This takes
 * them for all threads of ctx, for as long as the process lives; SOL_ERR_NOMEM when they are not there. To be called before the first
 * product by what owns a sequence of them. */
enum { SOL_BLAS_BUFFER = (128 << 20) + (64 << 10) };
sol_status sol_gemm_reserve(const sol_ctx *ctx, sol_err *err);

/* The same product on the calling thread only, for use inside a tile. */
void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* On the calling thread: X [m, n] becomes the one with X V = X_old, for V [n, n] upper triangular. */
void sol_solve_tile(int64_t m, int64_t n, const float *v, int64_t ldv, float *x, int64_t ldx);

/* The same with bf16 operands and fp32 sums, by kernels of our own (bf16.h), the same bits for any number of threads. Operands
 * may be fp32 (rounded on the way, to nearest even) or bf16; trans as above: A is [k, m], B is [n, k]. C is fp32. `scratch`
 * has sol_gemm_bf16_scratch bytes, 64-byte aligned.
 * Error: each operand is off by at most 2^-9 of itself. A sum is one of fp32 over k in ascending order, from 0 or from beta C,
 * wherever in C it stands. Processors with instructions for bf16 take denormals for zero. */
typedef struct sol_operand {
    const void *data;
    int64_t ld;
    bool trans, bf16;
} sol_operand;
size_t sol_gemm_bf16_scratch(int64_t n, int64_t k);
void sol_gemm_bf16(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, float alpha, const sol_operand *a, const sol_operand *b,
                   float beta, float *c, int64_t ldc, void *scratch);

/* Either of the two, with operands in fp32 unless `bf16`. scratch: sol_product_scratch bytes. */
size_t sol_product_scratch(bool bf16, int64_t n, int64_t k);
void sol_product(const sol_ctx *ctx, bool bf16, int64_t m, int64_t n, int64_t k, float alpha, const sol_operand *a,
                 const sol_operand *b, float beta, float *c, int64_t ldc, void *scratch);

/* C = op(A) op(B) rounded to bf16, k at most SOL_GEMM_NARROW_K. */
enum { SOL_GEMM_NARROW_K = 4096 };
void sol_gemm_bf16_narrow(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, const sol_operand *a, const sol_operand *b, uint16_t *c,
                          int64_t ldc, void *scratch);

/* The kernel that multiplies bf16: "amx-bf16", "avx512-bf16"; without instructions for it "avx512", "avx2" or "c". */
const char *sol_gemm_bf16_kernel(const sol_ctx *ctx);
bool sol_gemm_bf16_native(const sol_ctx *ctx); /* with instructions for it */

/* The same by parts, on the calling thread, for use inside a tile: operands packed once and used often. A packed operand is a
 * row of panels, each 16 rows of op(A) or 16 columns of op(B) with all of k in blocks of 32; zeros fill the last panel (of an
 * even number) and the last block. A part of one begins whole panels or whole blocks later. */
enum { SOL_BF16_PANEL = 16, SOL_BF16_STEP = 32 };
typedef struct sol_packed_operand {
    const uint16_t *data;
    int64_t panel; /* between panels, in elements */
} sol_packed_operand;
/* Bytes of `edge` rows or columns along k, a multiple of 64. */
size_t sol_bf16_packed_bytes(int64_t edge, int64_t k);
/* scale * op(A) [edge, k], or with `right` scale * op(B) [k, edge]. */
sol_packed_operand sol_bf16_pack(const sol_ctx *ctx, const sol_operand *x, bool right, int64_t edge, int64_t k, float scale,
                                 uint16_t *room);
static inline sol_packed_operand sol_packed_part(sol_packed_operand p, int64_t edge_at, int64_t k_at)
{
    p.data += edge_at / SOL_BF16_PANEL * p.panel + k_at / SOL_BF16_STEP * SOL_BF16_STEP * SOL_BF16_PANEL;
    return p;
}
/* C[m, n] = A B + beta C over k. */
void sol_bf16_multiply(const sol_ctx *ctx, sol_packed_operand a, sol_packed_operand b, int64_t m, int64_t n, int64_t k, float beta,
                       float *c, int64_t ldc);

/* "OpenBLAS 0.3.21 ...": what multiplies. Static storage. */
const char *sol_gemm_library(void);

#endif
