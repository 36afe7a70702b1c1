/* A matrix as files hold it and as training reads it: rows of any type of dtype.h, in the caller's
 * memory. The embedding and the head of a packed model, its ternary layers, the weights of a
 * teacher, and the parameters of a model that runs as it is are such matrices; matrix.h brings one
 * into the layout that decodes fastest.
 *
 *     sol_stored w = {.type = SOL_Q8, .rows = R, .cols = C};
 *     st = sol_stored_alloc(&w, err);
 *     sol_stored_fill(ctx, &w, weights, NULL);                   // rounds
 *     sol_stored_rows(&w, 0, R, out);                            // back in fp32
 *     sol_stored_gemm(ctx, false, x, n_tokens, &w, y, scratch);  // y[n, R] = x[n, C] W^T
 *     sol_stored_free(&w); */
#ifndef SOLERA_KERNELS_STORED_H
#define SOLERA_KERNELS_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/codebook.h"
#include "kernels/ctx.h"
#include "kernels/dtype.h"

typedef struct sol_stored {
    sol_dtype type;
    int64_t rows, cols;
    void *data;      /* [rows, sol_dtype_row_bytes] */
    sol_f16 *scales; /* [rows, sol_dtype_row_scales]; NULL for numbers. TERNARY: [rows, cols /
                      * group_size], or [1] for group_size 0 */
    /* TERNARY alone. */
    int64_t group_size;
    sol_block_layout layout;
    uint8_t *signs; /* [rows, (cols/4 + 7) / 8] */
} sol_stored;

/* Of all types but TERNARY, whose memory quant/codec.h makes. */
size_t sol_stored_bytes(const sol_stored *s);       /* of data */
size_t sol_stored_scale_bytes(const sol_stored *s); /* of scales; 0 without them */
/* Allocates data and scales, zeroed, for s->type, rows and cols. */
sol_status sol_stored_alloc(sol_stored *s, sol_err *err);
/* Releases data, scales and signs; type and shape stay. */
void sol_stored_free(sol_stored *s);

/* Rows [from, from + n) as a matrix that borrows the memory of s. */
sol_stored sol_stored_part(const sol_stored *s, int64_t from, int64_t n);

/* Rounds w[rows, cols] into data and scales, over the pool; the same bits in every tier. Types with
 * scales: a small search chooses the scale of a block that has the least squared error. weight
 * NULL: all columns have the same weight in it. Otherwise weight is a workspace of [cols] floats,
 * and the weight of a column is its mean square, which suits an output matrix: its columns are
 * large where the hidden states are. Perplexity of SmolLM2-135M on wikitext-2 with embedding and
 * head rounded, tied: q8 +0 %, q6 +0.3 %, q4 +14.7 %, weighted +8.0 %. Every |w| must be at most
 * sol_dtype_max(type), or its block has no scale; the caller checks (sol_first_beyond). A block
 * whose scale rounds to 0 in fp16 (below 2^-25) becomes zeros. */
void sol_stored_fill(const sol_ctx *ctx, const sol_stored *s, const float *w, float *weight);

/* out[rows, cols] = what a matrix of `type` holds of w: filled, with weighted columns, and cast
 * back. out must not overlap w. SOL_ERR_NOMEM alone. */
sol_status sol_stored_round(const sol_ctx *ctx, sol_dtype type, const float *w, int64_t rows,
                            int64_t cols, float *out, sol_err *err);

/* Casts rows [from, from + n) to out[n, cols], on the calling thread. */
void sol_stored_rows(const sol_stored *s, int64_t from, int64_t n, float *out);
/* Casts the whole matrix to out[rows, cols], over the pool. */
void sol_stored_to_f32(const sol_ctx *ctx, const sol_stored *s, float *out);

/* y[m, rows] = x[m, cols] W^T (sets; y must not overlap x), with operands in fp32 or bf16 (gemm.h).
 * A matrix whose type the product takes is multiplied in place, any other one is cast in blocks of
 * rows. scratch: sol_stored_scratch_bytes, 64-byte aligned, any content. */
size_t sol_stored_scratch_bytes(const sol_stored *s, bool bf16);
void sol_stored_gemm(const sol_ctx *ctx, bool bf16, const float *x, int64_t m, const sol_stored *s,
                     float *y, void *scratch);

#endif
