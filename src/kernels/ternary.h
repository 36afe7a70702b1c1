/* Products with packed 3:4 ternary matrices: what evaluation, decoding and prefill run on.
 *
 *     sol_ternary_part part = {.rows = m->rows, .codes = m->codes, .signs = m->signs,
 *                              .scales = m->scales};
 *     sol_ternary *t;
 *     st = sol_ternary_prepare(&t, ctx, m->cols, m->group_size, m->layout, &part, 1, NULL, err);
 *     st = sol_alloc_array(&scratch, 1, sol_ternary_scratch_bytes(ctx, t, max_tokens), err);
 *     sol_ternary_matmul(ctx, t, SOL_ACT_INT8, x, n_tokens, y, scratch); // y[n, rows] = x[n, cols] W^T
 *     sol_ternary_free(&t);
 *
 * Preparing copies the matrix into the layout of the kernel tier in ctx; the source may be released
 * afterwards. Matrices with the same input can be stacked (q, k, v; gate, up): several parts, rows
 * below each other, one product.
 *
 * What is computed (bit-equal in every tier, for any number of threads, and for a token alone or
 * inside any batch): x is put into block order (block g, lane p: see block.h), then cut into
 * segments. A scale group of 128 columns or more is cut into segments of 128 (its last may be
 * shorter), each its own activation block; smaller groups are a segment each and floor(128 / group)
 * of them share an activation block.
 *
 * SOL_ACT_INT8: d = max|x| / 127 of the activation block, q = round_to_even(x * (127 / max|x|)). A
 * block with max|x| < 2^-100 gives d = 0, q = 0; one with an infinity or a NaN gives d = NaN, so
 * that the outputs of that token are NaN.
 *   y = 0;  for each scale group:  u = 0
 *               for each segment:  u = fma(d, float(sum of t q, an exact integer), u)
 *               y = fma(scale, u, y)
 * SOL_ACT_FLOAT: the same with  u = u + (sum of t x over the segment), where that sum is 16 partial
 * sums (lane j takes columns j, j + 16, ... of the segment in order) folded 8, 4, 2, 1. It differs
 * from a dense product with T * scale by rounding alone. */
#ifndef SOLERA_KERNELS_TERNARY_H
#define SOLERA_KERNELS_TERNARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/status.h"
#include "kernels/codebook.h"
#include "kernels/ctx.h"

typedef struct sol_ternary sol_ternary;
typedef enum { SOL_ACT_INT8, SOL_ACT_FLOAT } sol_act;

/* One matrix in the canonical form of quant/codec.h. */
typedef struct sol_ternary_part {
    int64_t rows;
    const uint8_t *codes;  /* [rows, (cols/4 + 1) / 2] slots, low nibble first */
    const uint8_t *signs;  /* [rows, (cols/4 + 7) / 8] */
    const sol_f16 *scales; /* [rows, cols / group_size], or [1] for group_size 0 */
} sol_ternary_part;

/* cols: a multiple of 4 (64 for stride16). group_size: divides cols, a multiple of 4 (64 for
 * stride16), or 0: one scale for each part. SOL_ERR_RANGE otherwise. *t is owned by the caller.
 * Uses the pool of ctx. room: memory for the copy, sol_ternary_room bytes of zeros, 64-byte
 * aligned, which must outlive *t; NULL: *t allocates it. (A network puts all its matrices into one
 * block, so that they lie on huge pages.) */
sol_status sol_ternary_prepare(sol_ternary **t, const sol_ctx *ctx, int64_t cols, int64_t group_size, sol_block_layout layout,
                               const sol_ternary_part *parts, int n_parts, void *room, sol_err *err);
/* Bytes of that memory for a matrix of `rows` rows in all parts; a multiple of 64. */
size_t sol_ternary_room(const sol_ctx *ctx, int64_t rows, int64_t cols, int64_t group_size);
void sol_ternary_free(sol_ternary **t);

int64_t sol_ternary_rows(const sol_ternary *t); /* of all parts */
int64_t sol_ternary_cols(const sol_ternary *t);
size_t sol_ternary_bytes(const sol_ternary *t); /* that a product with one token reads */

/* Bytes of workspace, 64-byte aligned, for products with up to n_tokens tokens on the threads of
 * ctx. */
size_t sol_ternary_scratch_bytes(const sol_ctx *ctx, const sol_ternary *t, int64_t n_tokens);

/* y[n_tokens, rows] = x[n_tokens, cols] W^T over the pool (sets; y must not overlap x). ctx has the
 * tier that prepared t. scratch: sol_ternary_scratch_bytes, any content. */
void sol_ternary_matmul(const sol_ctx *ctx, const sol_ternary *t, sol_act act, const float *x, int64_t n_tokens, float *y,
                        void *scratch);

#endif
