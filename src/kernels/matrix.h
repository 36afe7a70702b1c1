/* Products of inference: activations by a matrix of any type of dtype.h but the plain integers.
 * Evaluation, decoding and prefill run on them.
 *
 *     sol_stored part = {.type = SOL_Q6, .rows = V, .cols = C, .data = embed, .scales = scales};
 *     sol_matrix *m;
 *     st = sol_matrix_prepare(&m, ctx, &part, 1, NULL, NULL, err);
 *     st = sol_alloc_array(&scratch, 1, sol_matrix_scratch_bytes(ctx, m, n_tokens), err);
 *     sol_matrix_matmul(ctx, m, SOL_ACT_INT8, x, n_tokens, y, scratch); // y[n, V] = x[n, C] W^T
 *     sol_matrix_row(m, token, out, scratch); // out[C]: embedding lookup
 *     sol_matrix_free(&m);
 *
 * Matrices with the same input can be stacked (q, k, v; gate, up): several parts, rows below each
 * other, one product. Each part is a sol_stored of the same width. Parts that follow each other and
 * are alike in type, group size and layout are multiplied together, others one after another.
 *
 * What is computed. The bits of a token are the same alone, in any batch, and for any number of
 * threads; those of integer products are the same in every tier as well.
 *
 * F32, F16, BF16: the order of sums of float_ops.h, whatever the activations.
 *
 * Scaled integers: the columns of a row (TERNARY: in block order, block g and lane p, see
 * codebook.h) are cut into segments. Q8, Q6, Q4: a scale group of 32 columns is a segment, and an
 * activation block. TERNARY: a group of 128 columns or more is cut into segments of 128 (its last
 * may be shorter), each its own activation block; smaller groups are a segment each and floor(128 /
 * group) of them share an activation block.
 *
 * SOL_ACT_INT8: d = max|x| / 127 of the activation block, q = round_to_even(x * (127 / max|x|)). A
 * block with max|x| < 2^-100 gives d = 0, q = 0; one with an infinity or a NaN gives d = NaN, so
 * that the outputs of that token are NaN.
 *   y = 0;  for each scale group:  u = 0
 *               for each segment:  u = fma(d, float(sum of w q, an exact integer), u)
 *               y = fma(scale, u, y)
 * SOL_ACT_FLOAT, Q8, Q6, Q4: the product of F32 with the rows decoded to float. TERNARY: the
 * sums above with  u = u + (sum of t x over the segment), where that sum is 16 partial sums (lane j
 * takes columns j, j + 16, ... of the segment in order) folded 8, 4, 2, 1. It differs from a
 * product with T * scale in float by rounding alone. */
#ifndef SOLERA_KERNELS_MATRIX_H
#define SOLERA_KERNELS_MATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/ctx.h"
#include "kernels/stored.h"

typedef struct sol_matrix sol_matrix;
typedef enum { SOL_ACT_INT8, SOL_ACT_FLOAT } sol_act;

/* Stacks the parts. F32, F16, BF16: their data are borrowed and must outlive *m. Other types are
 * copied into the layout of the kernels of ctx, over its pool, into tiles: sol_matrix_tile_bytes of
 * zeros, 64-byte aligned, that must outlive *m; NULL: *m allocates them. (A network puts all its
 * matrices into one block, so that they lie on huge pages.) bias: [rows of all parts], borrowed,
 * added to every product; NULL: none.
 *
 * SOL_ERR_RANGE: rows or cols below 1; TERNARY: cols no multiple of 4 (64 for stride16), or a
 * group_size that is neither 0 nor a multiple of 4 (64) that divides cols. *m is the caller's. */
sol_status sol_matrix_prepare(sol_matrix **m, const sol_ctx *ctx, const sol_stored *parts,
                              int n_parts, const float *bias, void *tiles, sol_err *err);
/* Bytes of that memory, a multiple of 64; of the parts type and shape alone are read. */
size_t sol_matrix_tile_bytes(const sol_ctx *ctx, const sol_stored *parts, int n_parts);
void sol_matrix_free(sol_matrix **m);

int64_t sol_matrix_rows(const sol_matrix *m); /* of all parts: outputs */
int64_t sol_matrix_cols(const sol_matrix *m); /* inputs */
size_t sol_matrix_bytes(const sol_matrix *m); /* that a product with one token reads */

/* Bytes of workspace, 64-byte aligned, for products with up to n_tokens tokens on the threads of
 * ctx. */
size_t sol_matrix_scratch_bytes(const sol_ctx *ctx, const sol_matrix *m, int64_t n_tokens);

/* y[n_tokens, rows] = x[n_tokens, cols] W^T + bias over the pool (sets; y must not overlap x). ctx
 * has the kernels that prepared m. scratch: sol_matrix_scratch_bytes, any content. */
void sol_matrix_matmul(const sol_ctx *ctx, const sol_matrix *m, sol_act act, const float *x,
                       int64_t n_tokens, float *y, void *scratch);
/* The same with rows [first, first + n_rows) of W alone: y[n_tokens, n_rows], whose rows are ldy
 * apart. first is 0, or a multiple of SOL_MATRIX_RUN in a matrix whose parts are alike. */
enum { SOL_MATRIX_RUN = 256 };
void sol_matrix_matmul_rows(const sol_ctx *ctx, const sol_matrix *m, int64_t first, int64_t n_rows,
                            sol_act act, const float *x, int64_t n_tokens, float *y, int64_t ldy,
                            void *scratch);

/* Decodes row r, 0 <= r < rows, to w[cols]. scratch: that of a product with one token. */
void sol_matrix_row(const sol_matrix *m, int64_t r, float *w, void *scratch);

#endif
