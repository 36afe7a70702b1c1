/* The inner kernels of products of bf16 matrices with fp32 sums: entries of sol_kernels.
 * gemm_bf16.c builds the product from them; its blocks have one layout for all tiers:
 *
 *   a block of A: 16 rows of 32 numbers along k, row after row              uint16_t [16][32]
 *   a block of B: 16 pairs of numbers along k, for each 16 columns          uint16_t [16][16][2]
 *
 * In both a block is 1 KiB, and the 32-bit words of one are those of the other transposed. Numbers
 * are rounded to the nearest bf16, ties to even. */
#ifndef SOLERA_KERNELS_BF16_H
#define SOLERA_KERNELS_BF16_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SOL_BF16_EDGE = 16,
    SOL_BF16_DEPTH = 32,
    SOL_BF16_BLOCK = SOL_BF16_EDGE * SOL_BF16_DEPTH,
    SOL_BF16_TILE = 32
};

/* A part of a matrix, along k and along the edge (rows of A, columns of B). */
typedef struct sol_bf16_source {
    const void *data; /* its first element; fp32, or bf16 */
    int64_t ld;       /* between rows, in elements */
    bool bf16;
    bool k_inner;        /* k runs along the rows of the matrix (A [m, k], B^T [n, k]); else down
                          * its columns */
    int64_t edge, depth; /* how much there is, at most 16 and 32: zeros follow */
    float scale;         /* the numbers are multiplied by it before they are rounded */
} sol_bf16_source;

/* 32 rows of A, in blocks (row 32, step 512) or as they lie in a matrix (step 32); distances in
 * elements. */
typedef struct sol_bf16_rows {
    const uint16_t *data;
    int64_t row;  /* between rows */
    int64_t half; /* from row 0 to row 16 */
    int64_t step; /* from 32 numbers along k to the next */
} sol_bf16_rows;

typedef struct sol_bf16_ops {
    const char *name;
    bool native; /* by instructions made for it */
    /* To a block of A, or of B (`pairs`). */
    void (*pack)(const sol_bf16_source *s, bool pairs, uint16_t *block);
    /* A tile of 32 x 32 sums over `blocks` blocks, C = A B or C += A B, columns of B in two halves,
     * `b` and `b + half_b` (in elements). The sum runs over k in ascending order, from 0 or from C;
     * how the two products of a pair and the sum are rounded is the tier's. Call between begin and
     * end. */
    void (*tile)(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                 bool add, float *c, int64_t ldc);
    void (*begin)(void), (*end)(void); /* on the calling thread, around calls of tile */
    /* C [rows, cols], at most 32 x 32, of sums with rows of 32, rounded. */
    void (*to_bf16)(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc);
} sol_bf16_ops;

/* Sets all entries to their C forms. */
void sol_bf16_ops_c(sol_bf16_ops *k);

#endif
