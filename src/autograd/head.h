/* An output head over N tokens, chunk by chunk: the logits of one chunk exist at a time, no [N, V]
 * matrix. Shared by the ops that compute a loss from logits; internal to autograd.
 *
 *   z = x W^T,   a loss for each row, z turning into dz,   dx (+)= dz W,   dW (+)= dz^T x
 *
 * The op's inputs 0, 1, 2 are x [N, C], W [V, C], targets [N] i32; its output 0 is loss [N, 1]. A
 * token whose target is -1 has loss 0, no gradient, and zeros in the op's other output. */
#ifndef SOLERA_AUTOGRAD_HEAD_H
#define SOLERA_AUTOGRAD_HEAD_H

#include "autograd/op.h"

enum { SOL_HEAD_TILE = 8 }; /* rows of a tile of the pool */

typedef struct sol_head_chunk {
    const struct sol_head *head;
    int64_t from, rows; /* tokens from .. from + rows - 1 */
    bool grads;
    float *z;  /* [rows, V] */
    char *own; /* the op's workspace: sol_head.own bytes, 64-byte aligned */
} sol_head_chunk;

typedef struct sol_head {
    const sol_op_call *c;
    sol_dtype compute; /* of the products: SOL_F32 or SOL_BF16 */
    size_t own;
    /* Before the rows of a chunk, on the calling thread, z not made yet; NULL: nothing to do. */
    void (*begin)(const sol_head_chunk *k);
    /* Row i of the chunk, its logits at z, its target not -1: returns the loss of token from + i.
     * dloss not NULL: turns z into dloss times the gradient. */
    float (*row)(const sol_head_chunk *k, int64_t i, float *z, const float *dloss);
} sol_head;

/* Rows of a chunk of N tokens. */
int64_t sol_head_rows(int64_t N, int64_t V, sol_dtype compute);
/* Checks x, W and targets, sets the shape of output 0. */
sol_status sol_head_shapes(sol_op_call *c, sol_err *err);
/* Bytes rounded up to SOL_ALIGN. */
size_t sol_head_bytes(size_t bytes);
/* Bytes of c->workspace: the logits, what the products want, h->own. */
size_t sol_head_workspace(const sol_head *h, bool backward);
/* grads: backward, which computes the losses too. */
void sol_head_run(const sol_head *h, bool grads);

#endif
