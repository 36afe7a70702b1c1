/* Matrices that are only read and are held in fewer bits than products use: the weights of a
 * teacher.
 *
 *     sol_stored w = {.type = SOL_STORED_Q8, .rows = R, .cols = C};
 *     st = sol_alloc_array(&w.data, 1, sol_stored_bytes(&w), err);
 *     st = sol_alloc_array((void **)&w.scales, 1, sol_stored_scale_bytes(&w), err);
 *     sol_stored_fill(ctx, &w, weights);
 *     sol_stored_rows(&w, 0, R, out);                         // back in fp32
 *
 * f32 is exact, bf16 rounds to nearest even, q8 is SOL_DENSE_Q8 of dense.h: one fp16 scale for 32
 * columns of int8. */
#ifndef SOLERA_KERNELS_STORED_H
#define SOLERA_KERNELS_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/enums.h"
#include "base/half.h"
#include "kernels/ctx.h"

#define SOL_STORED_TYPES(ROW) \
    ROW(SOL_STORED_F32, "fp32") \
    ROW(SOL_STORED_BF16, "bf16") \
    ROW(SOL_STORED_Q8, "int8")
typedef enum { SOL_STORED_TYPES(SOL_ENUM_CONSTANT) } sol_stored_type;

typedef struct sol_stored {
    sol_stored_type type;
    int64_t rows, cols;
    void *data;      /* [rows, cols] of the type */
    sol_f16 *scales; /* q8: [rows, ceil(cols / 32)]; else NULL */
} sol_stored;

size_t sol_stored_bytes(const sol_stored *s);       /* of data */
size_t sol_stored_scale_bytes(const sol_stored *s); /* of scales; 0 without them */

/* Rows [from, from + n) as a matrix that borrows the memory of s. */
sol_stored sol_stored_part(const sol_stored *s, int64_t from, int64_t n);
/* Rounds w[rows, cols] into data and scales, over the pool; the same bits in every tier. */
void sol_stored_fill(const sol_ctx *ctx, const sol_stored *s, const float *w);
/* Casts rows [from, from + n) to out[n, cols], on the calling thread. */
void sol_stored_rows(const sol_stored *s, int64_t from, int64_t n, float *out);
/* Casts the whole matrix to out[rows, cols], over the pool. */
void sol_stored_widen(const sol_ctx *ctx, const sol_stored *s, float *out);

/* y[m, rows] = x[m, cols] W^T (sets; y must not overlap x), with operands in fp32 or bf16 (gemm.h).
 * A matrix whose type the product takes is multiplied in place, any other one is cast in blocks of
 * rows. scratch: sol_stored_scratch_bytes, 64-byte aligned, any content. */
size_t sol_stored_scratch_bytes(const sol_stored *s, bool bf16);
void sol_stored_gemm(const sol_ctx *ctx, bool bf16, const float *x, int64_t m, const sol_stored *s, float *y,
                     void *scratch);

#endif
