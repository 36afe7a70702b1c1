/* Dense matrix products over BLAS, cut into fixed tiles over the pool: the same bits for any number
 * of threads. All matrices are row-major fp32; ld* is the distance between rows in elements.
 *
 *   C = alpha op(A) op(B) + beta C    op(A) [m, k], op(B) [k, n], C [m, n]; C overlaps neither
 *
 *     st = sol_gemm_reserve(ctx, err); // once, before the first product
 *     sol_gemm(ctx, false, true, N, V, C, 1, x, C, w, C, 0, y, V); // y[N, V] = x w^T */
#ifndef SOLERA_KERNELS_GEMM_H
#define SOLERA_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ctx.h"

/* The product above, over the pool. beta 0: C is set and may hold anything. trans_a: A is stored as
 * [k, m]; trans_b: B as [n, k]. BLAS chooses the order of a sum over k. */
void sol_gemm(const sol_ctx *ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
              float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
              float *c, int64_t ldc);

/* OpenBLAS maps SOL_BLAS_BUFFER bytes of address space for each thread that multiplies, keeps them
 * until the process ends, and when a map fails tries again without end. This function makes it map
 * them now, for all threads of ctx, so that a lack of memory is an error: SOL_ERR_NOMEM. Whoever
 * starts a sequence of products calls it first. */
enum { SOL_BLAS_BUFFER = (128 << 20) + (64 << 10) };
sol_status sol_gemm_reserve(const sol_ctx *ctx, sol_err *err);

/* The product of sol_gemm on the calling thread alone, for use inside a tile. */
void sol_gemm_tile(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                   int64_t ldc);

/* Solves X V = B on the calling thread, for V [n, n] upper triangular: B [m, n] in x becomes X. */
void sol_solve_tile(int64_t m, int64_t n, const float *v, int64_t ldv, float *x, int64_t ldx);

/* The product with bf16 operands and fp32 sums, by the kernels of bf16.h; the same bits for any
 * number of threads. An operand in fp32 is rounded to bf16, to nearest even, which changes a number
 * by at most 2^-9 of itself. C is fp32; with beta 0 it is set and may hold anything. scratch:
 * sol_gemm_bf16_scratch bytes, 64-byte aligned. A sum runs in fp32 over k in ascending order, from
 * 0 or from beta C, the same for every element of C. Processors with bf16 instructions take
 * denormals for zero. */
typedef struct sol_operand {
    const void *data; /* borrowed */
    int64_t ld;       /* between rows, in elements */
    bool trans;       /* A is stored as [k, m], B as [n, k] */
    bool bf16;        /* data holds bf16, else fp32 */
} sol_operand;
size_t sol_gemm_bf16_scratch(int64_t n, int64_t k);
void sol_gemm_bf16(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k, float alpha,
                   const sol_operand *a, const sol_operand *b, float beta, float *c, int64_t ldc,
                   void *scratch);

/* sol_gemm_bf16 if `bf16`, else sol_gemm, whose operands must hold fp32. scratch:
 * sol_product_scratch bytes, 64-byte aligned; none for fp32. */
size_t sol_product_scratch(bool bf16, int64_t n, int64_t k);
void sol_product(const sol_ctx *ctx, bool bf16, int64_t m, int64_t n, int64_t k, float alpha,
                 const sol_operand *a, const sol_operand *b, float beta, float *c, int64_t ldc,
                 void *scratch);

/* C = op(A) op(B), rounded once to bf16, to nearest even; k at most SOL_GEMM_ROUNDED_K. scratch as
 * in sol_gemm_bf16. */
enum { SOL_GEMM_ROUNDED_K = 4096 };
void sol_gemm_bf16_rounded(const sol_ctx *ctx, int64_t m, int64_t n, int64_t k,
                           const sol_operand *a, const sol_operand *b, uint16_t *c, int64_t ldc,
                           void *scratch);

/* The name of the kernel that multiplies bf16, in static storage: "amx-bf16" or "avx512-bf16"; on
 * processors without bf16 instructions "avx512", "avx2" or "c", which cast to fp32. */
const char *sol_gemm_bf16_kernel(const sol_ctx *ctx);
bool sol_gemm_bf16_native(const sol_ctx *ctx); /* whether that kernel uses bf16 instructions */

/* The steps of sol_gemm_bf16 on the calling thread, for use inside a tile that multiplies one
 * operand often: pack each operand once, then multiply. A packed operand is a sequence of panels. A
 * panel holds 16 rows of op(A) or 16 columns of op(B) over all of k, in blocks of 32; zeros fill
 * the last block, and the last panels up to an even number. */
enum { SOL_BF16_PANEL = 16, SOL_BF16_STEP = 32 };
typedef struct sol_packed_operand {
    const uint16_t *data;
    int64_t panel; /* between panels, in elements */
} sol_packed_operand;
/* Bytes of an operand of `edge` rows of op(A), or columns of op(B), over k; a multiple of 64. */
size_t sol_bf16_packed_bytes(int64_t edge, int64_t k);
/* Packs scale * op(A) [edge, k], or with `right` scale * op(B) [k, edge], into packed:
 * sol_bf16_packed_bytes, 64-byte aligned, borrowed by the result. */
sol_packed_operand sol_bf16_pack(const sol_ctx *ctx, const sol_operand *x, bool right, int64_t edge,
                                 int64_t k, float scale, uint16_t *packed);
/* The operand from row or column edge_at (a multiple of 2 SOL_BF16_PANEL: panels are multiplied in
 * pairs) and k_at (of SOL_BF16_STEP) on. */
static inline sol_packed_operand sol_packed_part(sol_packed_operand p, int64_t edge_at,
                                                 int64_t k_at)
{
    p.data +=
        edge_at / SOL_BF16_PANEL * p.panel + k_at / SOL_BF16_STEP * SOL_BF16_STEP * SOL_BF16_PANEL;
    return p;
}
/* C [m, n] = A B + beta C, sums over k as in sol_gemm_bf16. ctx: whose kernels packed both. */
void sol_bf16_multiply(const sol_ctx *ctx, sol_packed_operand a, sol_packed_operand b, int64_t m,
                       int64_t n, int64_t k, float beta, float *c, int64_t ldc);

/* The name and version of the BLAS, "OpenBLAS 0.3.21 ...". Static storage. */
const char *sol_gemm_library(void);

#endif
