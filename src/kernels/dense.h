/* Products with dense matrices for inference: embedding, head, and the linears of a network that is
 * not packed.
 *
 *     sol_dense_src src = {.type = SOL_DENSE_F32, .rows = V, .cols = C, .data = embed};
 *     sol_dense *d;
 *     st = sol_dense_prepare(&d, ctx, &src, NULL, err);
 *     st = sol_alloc_array(&scratch, 1, sol_dense_scratch_bytes(ctx, d, n_tokens), err);
 *     sol_dense_matmul(ctx, d, SOL_ACT_INT8, x, n_tokens, y, scratch); // y[n, V] = x[n, C] W^T
 *     sol_dense_row(d, token, out);                                    // out[C]: embedding lookup
 *     sol_dense_free(&d);
 *
 * Unlike gemm.h a token gives the same bits alone, in any batch, and for any number of threads.
 *
 * F32, F16: the order of float_ops.h; activations are float in both modes. Q8, Q6, Q4: w = scale *
 * q, one fp16 scale for 32 columns (the last block of a row may be shorter), q in -127..127,
 * -32..31, -8..7; a scale may be negative. SOL_ACT_INT8: x is rounded to int8 in the same blocks of
 * 32 (rule in ternary.h) and
 *   y = 0;  for each block:  y = fma(scale, d * float(sum of q_w q_x, an exact integer), y)
 * bit-equal in every tier.
 * SOL_ACT_FLOAT: the F32 product with the rows decoded to float. */
#ifndef SOLERA_KERNELS_DENSE_H
#define SOLERA_KERNELS_DENSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/status.h"
#include "kernels/ctx.h"
#include "kernels/ternary.h" /* sol_act */

typedef enum { SOL_DENSE_F32, SOL_DENSE_F16, SOL_DENSE_Q8, SOL_DENSE_Q6, SOL_DENSE_Q4 } sol_dense_type;
enum { SOL_DENSE_BLOCK = 32 };

/* A matrix as it is stored. Bytes of a row of data (sol_dense_row_bytes): F32 4 cols; F16 2 cols;
 * Q8 cols (int8); Q4 ceil(cols / 2): q + 8, low nibble first; Q6 those of Q4 with the low four bits
 * of q + 32, then ceil(cols / 4) with its upper two bits, lowest pair first. */
typedef struct sol_dense_src {
    sol_dense_type type;
    int64_t rows, cols;
    const void *data;      /* [rows, row_bytes] */
    const sol_f16 *scales; /* [rows, ceil(cols / 32)]; NULL for F32 and F16 */
} sol_dense_src;

typedef struct sol_dense sol_dense;

const char *sol_dense_type_name(sol_dense_type type); /* "f32", "f16", "q8", "q6", "q4" */
/* The type of that name; SOL_ERR_USAGE lists them. */
sol_status sol_dense_type_from_name(const char *name, sol_dense_type *type, sol_err *err);
size_t sol_dense_row_bytes(sol_dense_type type, int64_t cols);   /* of data */
int64_t sol_dense_row_scales(sol_dense_type type, int64_t cols); /* fp16 numbers; 0 for F32, F16 */
double sol_dense_bits(sol_dense_type type);                      /* a weight, scales included */

/* The largest magnitude that a matrix of this type can hold. */
float sol_dense_most(sol_dense_type type);
/* Rounds w[rows, cols] to `type` into data and scales, the caller's memory, laid out as in
 * sol_dense_src, over the pool; the same bits in every tier. A small search chooses the scale of a
 * block that has the least squared error. weight NULL: all columns have the same weight in it.
 * Otherwise weight is a workspace of [cols] floats, and the weight of a column is its mean square,
 * which suits an output matrix: its columns are large where the hidden states are. Perplexity of
 * SmolLM2-135M on wikitext-2 with embedding and head rounded, tied: q8 +0 %, q6 +0.3 %, q4 +14.7 %,
 * weighted +8.0 %. Every |w| must be at most sol_dense_most(type), or its block has no scale; the
 * caller checks (sol_first_beyond). A block whose scale rounds to 0 in fp16 (below 2^-25) becomes
 * zeros. */
void sol_dense_quantize(const sol_ctx *ctx, sol_dense_type type, const float *w, int64_t rows, int64_t cols, void *data,
                        sol_f16 *scales, float *weight);

/* F32 and F16 matrices borrow src->data, which must outlive *d. The others are copied into the
 * layout of the tier of ctx, into room: NULL, or sol_dense_room bytes as in sol_ternary_prepare.
 * SOL_ERR_RANGE: rows or cols below 1. Owned by the caller. */
sol_status sol_dense_prepare(sol_dense **d, const sol_ctx *ctx, const sol_dense_src *src, void *room, sol_err *err);
/* Bytes of that memory, a multiple of 64; 0 for F32 and F16. */
size_t sol_dense_room(const sol_ctx *ctx, sol_dense_type type, int64_t rows, int64_t cols);
void sol_dense_free(sol_dense **d);

int64_t sol_dense_rows(const sol_dense *d); /* of the matrix: outputs */
int64_t sol_dense_cols(const sol_dense *d); /* inputs */
size_t sol_dense_bytes(const sol_dense *d); /* that a product with one token reads */
/* Bytes of workspace for products with up to n_tokens tokens on the threads of ctx. */
size_t sol_dense_scratch_bytes(const sol_ctx *ctx, const sol_dense *d, int64_t n_tokens);

/* y[n_tokens, rows] = x[n_tokens, cols] W^T over the pool (sets; y must not overlap x). ctx has the
 * tier that prepared d. scratch: sol_dense_scratch_bytes, 64-byte aligned, any content. */
void sol_dense_matmul(const sol_ctx *ctx, const sol_dense *d, sol_act act, const float *x, int64_t n_tokens, float *y,
                      void *scratch);

/* Decodes row r, 0 <= r < rows, to w[cols]. */
void sol_dense_row(const sol_dense *d, int64_t r, float *w);

#endif
