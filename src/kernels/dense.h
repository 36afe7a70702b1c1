/* Products with dense matrices for inference: embedding, head, and the linears of a network that is not packed.
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
 * F32, F16: the order of float_ops.h; activations are float in both modes.
 * Q8, Q6, Q4: w = scale * q, one fp16 scale for 32 columns (the last block of a row may be shorter), q in -127..127,
 * -32..31, -8..7; a scale may be negative. SOL_ACT_INT8: x is rounded to int8 in the same blocks of 32 (rule in ternary.h) and
 *   y = 0;  for each block:  y = fma(scale, d * float(sum of q_w q_x, an exact integer), y)     bit-equal in every tier.
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

/* A matrix as it is stored. Bytes of a row of data (sol_dense_row_bytes):
 * F32 4 cols; F16 2 cols; Q8 cols (int8); Q4 ceil(cols / 2): q + 8, low nibble first; Q6 those of Q4 with the low four bits
 * of q + 32, then ceil(cols / 4) with its upper two bits, lowest pair first. */
typedef struct sol_dense_src {
    sol_dense_type type;
    int64_t rows, cols;
    const void *data;      /* [rows, row_bytes] */
    const sol_f16 *scales; /* [rows, ceil(cols / 32)]; NULL for F32 and F16 */
} sol_dense_src;

typedef struct sol_dense sol_dense;

const char *sol_dense_type_name(sol_dense_type type); /* "f32", "f16", "q8", "q6", "q4" */
sol_status sol_dense_type_from_name(const char *name, sol_dense_type *type, sol_err *err);
size_t sol_dense_row_bytes(sol_dense_type type, int64_t cols);
int64_t sol_dense_row_scales(sol_dense_type type, int64_t cols); /* 0 for F32 and F16 */
double sol_dense_bits(sol_dense_type type);                      /* a weight, scales included */

/* The largest magnitude that a matrix of this type can hold. */
float sol_dense_most(sol_dense_type type);
/* Rounds w[rows, cols] to `type` into data and scales as above (caller's memory), over the pool. The scale of a block is the one of
 * a small search with the least squared error; the same bits everywhere. weight NULL: all columns count alike. Else [cols] floats
 * of room: each column counts by its mean square. That suits an output matrix, which is large where the hidden states are.
 * Perplexity of SmolLM2-135M on wikitext-2 with embedding and head rounded, tied: q8 +0 %, q6 +0.3 %, q4 +14.7 %, by weight +8.0 %.
 * w must lie within sol_dense_most(type): beyond it, as for what is not a number, there is no scale. A block whose scale rounds to 0 in
 * fp16 (below 2^-25) becomes zeros. */
void sol_dense_quantize(const sol_ctx *ctx, sol_dense_type type, const float *w, int64_t rows, int64_t cols, void *data,
                        sol_f16 *scales, float *weight);

/* F32 and F16 borrow src->data, which must outlive *d; the others are copied into the layout of the tier. room as in
 * sol_ternary_prepare. */
sol_status sol_dense_prepare(sol_dense **d, const sol_ctx *ctx, const sol_dense_src *src, void *room, sol_err *err);
size_t sol_dense_room(const sol_ctx *ctx, sol_dense_type type, int64_t rows, int64_t cols); /* a multiple of 64; 0 for F32, F16 */
void sol_dense_free(sol_dense **d);

int64_t sol_dense_rows(const sol_dense *d);
int64_t sol_dense_cols(const sol_dense *d);
size_t sol_dense_bytes(const sol_dense *d); /* what one product with one token reads */
size_t sol_dense_scratch_bytes(const sol_ctx *ctx, const sol_dense *d, int64_t n_tokens);

/* y[n_tokens, rows] = x[n_tokens, cols] W^T (sets; y must not overlap x). scratch: 64-byte aligned. */
void sol_dense_matmul(const sol_ctx *ctx, const sol_dense *d, sol_act act, const float *x, int64_t n_tokens, float *y,
                      void *scratch);

/* Row r decoded to cols floats. */
void sol_dense_row(const sol_dense *d, int64_t r, float *w);

#endif
