/* What each form of the dense product implements (dense_ref.c, x86/, arm/). Inside kernels (and its tests) only. */
#ifndef SOLERA_KERNELS_DENSE_IMPL_H
#define SOLERA_KERNELS_DENSE_IMPL_H

#include "kernels/dense.h"
#include "kernels/segments.h"

enum { SOL_DENSE_TILE_MAX = 64 };

/* A product of tiles [first, last) of a Q8, Q6 or Q4 matrix with the tokens of acts. */
typedef struct sol_dense_job {
    sol_dense_type type;
    const sol_segments *seg; /* groups and blocks of SOL_DENSE_BLOCK */
    const uint8_t *tiles;
    size_t tile_bytes;
    int64_t rows;
    const sol_acts *acts;
    float *y; /* [acts->n, rows] */
} sol_dense_job;

typedef struct sol_dense_ops {
    int64_t tile_rows;  /* at most SOL_DENSE_TILE_MAX */
    int64_t max_tokens; /* of one job */
    size_t (*tile_bytes)(sol_dense_type type, const sol_segments *s); /* a multiple of 64 */
    /* n rows, starting at src (rows of sol_dense_row_bytes) and scales, into one tile. */
    void (*pack)(sol_dense_type type, const sol_segments *s, const uint8_t *src, const sol_f16 *scales, int64_t n, uint8_t *tile);
    /* Row r of a tile as floats, scale * q: [cols]. */
    void (*row)(sol_dense_type type, const sol_segments *s, const uint8_t *tile, int64_t r, float *w);
    size_t (*thread_bytes)(const sol_segments *s);
    void (*product)(const sol_dense_job *job, int64_t first, int64_t last, void *thread);
} sol_dense_ops;

extern const sol_dense_ops sol_dense_ops_ref;

/* q of column c in a stored row (dense.h) of Q8, Q6 or Q4. */
static inline int sol_dense_stored(sol_dense_type type, const uint8_t *row, int64_t cols, int64_t c)
{
    if (type == SOL_DENSE_Q8) return (int8_t)row[c];
    int low = row[c / 2] >> 4 * (c & 1) & 15;
    if (type == SOL_DENSE_Q4) return low - 8;
    return (low | (row[(cols + 1) / 2 + c / 4] >> 2 * (c & 3) & 3) << 4) - 32;
}

#endif
