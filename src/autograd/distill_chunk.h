/* The student's half of a distillation head, chunk by chunk, shared by the ops with the teacher in memory and with a
 * cache. */
#ifndef SOLERA_AUTOGRAD_DISTILL_CHUNK_H
#define SOLERA_AUTOGRAD_DISTILL_CHUNK_H

#include "autograd/distill_row.h"

enum { SOL_CHUNK_TILE = 8 }; /* rows of a tile of the pool */

typedef struct sol_distill_chunk {
    const sol_op_call *c;
    const sol_distill *d;
    int64_t from, rows; /* tokens from .. from + rows - 1 */
    bool grads;
    float *z; /* [rows, V] */
    /* Row i of the chunk: with r filled in but for the teacher, returns the loss. */
    float (*row)(const struct sol_distill_chunk *k, sol_distill_row *r, int64_t i);
    const float *t;                /* [rows, V] of a teacher in memory */
    int32_t *ids;                  /* the op's own room, k a row */
    float *probs, *turned;         /* k + 1 and k a row */
} sol_distill_chunk;

/* Rows of a chunk of N tokens. */
int64_t sol_distill_chunk_rows(int64_t N, int64_t V);
/* Checks x, w and targets, sets the shapes of both outputs. */
sol_status sol_distill_chunk_shapes(sol_op_call *c, const sol_distill *d, sol_err *err);
/* Bytes for n items of 4 bytes, aligned. */
size_t sol_distill_chunk_bytes(int64_t n);
/* z = x W^T, the rows over the pool, then dx and dW. k->z and what k->row reads must be ready but for z. */
void sol_distill_chunk_run(const sol_distill_chunk *k);

#endif
