/* What the forms of attention share: op_attention.c in fp32, attention_bf16.c. */
#ifndef SOLERA_AUTOGRAD_ATTENTION_H
#define SOLERA_AUTOGRAD_ATTENTION_H

#include <math.h>
#include <string.h>

#include "autograd/ops.h"

enum { SOL_ATTENTION_ROWS = 64 }; /* rows of scores that exist at a time, of one head */

typedef struct sol_attention_attr {
    sol_attention_shape shape;
    sol_dtype out;
} sol_attention_attr;

static inline const sol_attention_shape *sol_attention_shape_of(const sol_op_call *c)
{
    return &((const sol_attention_attr *)c->attr)->shape;
}

/* A row block of one head: where its matrices start, which rows it has and which columns they see
 * together. */
typedef struct sol_attention_block {
    int64_t q_ld, kv_ld;                /* elements from row to row of q and o, of k and v */
    int64_t row, rows, column, columns; /* rows [row, row + rows), columns alike */
    int64_t q_at, kv_at, norm_at; /* first element: of the rows in q and o, of the columns in k and
                                   * v, of the rows in m and r */
    const int32_t *start;         /* doc_start of the rows */
    int64_t window;
    float scale;
} sol_attention_block;

static inline sol_attention_block sol_attention_block_of(const sol_op_call *c, int64_t b, int64_t h,
                                                         int64_t row)
{
    const sol_attention_shape *a = sol_attention_shape_of(c);
    int64_t D = a->head_dim, kvh = h / (a->heads / a->kv_heads);
    sol_attention_block k = {.q_ld = a->heads * D,
                             .kv_ld = a->kv_heads * D,
                             .row = row,
                             .rows = sol_min_i64(SOL_ATTENTION_ROWS, a->time - row)};
    k.start = (const int32_t *)c->in[3].data + b * a->time + row;
    k.window = a->window ? a->window : a->time;
    k.column = sol_max_i64(k.start[0], row + 1 - k.window);
    k.columns = row + k.rows - k.column;
    k.q_at = (b * a->time + row) * k.q_ld + h * D;
    k.kv_at = (b * a->time + k.column) * k.kv_ld + kvh * D;
    k.norm_at = ((b * a->heads + h) * a->time + row) * 2;
    k.scale = (float)(1 / sqrt((double)D));
    return k;
}

/* Columns [*from, *to) of the block that row i sees; never empty. */
static inline void sol_attention_visible(const sol_attention_block *k, int64_t i, int64_t *from,
                                         int64_t *to)
{
    *from = sol_max_i64(k->start[i], k->row + i + 1 - k->window) - k->column;
    *to = k->row + i + 1 - k->column;
}

/* Sets T rows of D columns of a gradient to 0, unless it adds or is not wanted. */
static inline void sol_attention_clear(const sol_slot *s, int64_t at, int64_t T, int64_t D,
                                       int64_t ld)
{
    if (s->grad_add || !s->grad) return;
    for (int64_t t = 0; t < T; t++) memset(s->grad + at + t * ld, 0, (size_t)D * sizeof(float));
}

/* attention_bf16.c: the op for q, k and v that are multiplied in bf16. */
size_t sol_attention_bf16_workspace(const sol_op_call *c, bool backward);
void sol_attention_bf16_forward(const sol_op_call *c);
void sol_attention_bf16_backward(const sol_op_call *c);

#endif
