/* Float kernels of the forward pass: dense rows, attention, activation. One source
 * (float_tmpl.h) compiled once a tier. Each runs on the calling thread; row-major; outputs must not
 * overlap inputs unless said.
 *
 * Order of every sum over n elements: 16 partial sums, lane j takes the elements i = j mod 16 in
 * rising order, then the lanes are added in halves (j and j+8, j and j+4, j and j+2, j and j+1).
 * The tiers with fused multiply-add round once where the C tier rounds twice: bits agree inside a
 * tier, whatever the number of rows or columns of the call, and to a relative 1e-6 * sum |a b|
 * between tiers. */
#ifndef SOLERA_KERNELS_FLOAT_OPS_H
#define SOLERA_KERNELS_FLOAT_OPS_H

#include <stdint.h>

#include "base/cpu.h"
#include "kernels/dtype.h"

enum { SOL_KV_BLOCK = 16 }; /* positions of one block of the key cache */

/* y[r * ldy + o] = sum_i x[r * ldx + i] w[o * ldw + i] (sets), r < rows, o < outs, i < k. w: float,
 * bf16 or f16. */
typedef void (*sol_dot_fn)(const void *w, int64_t ldw, int64_t outs, const float *x, int64_t ldx,
                           int64_t rows, int64_t k, float *y, int64_t ldy);

/* Attention of `heads` query heads that share one kv head, for `rows` rows of one sequence: row r
 * sees the last `window` of the positions [0, n + r), 0: all. An online softmax over runs of 64
 * positions, the first of which begins with the block of the first position that is seen; a row's
 * bits do not depend on the others. q, out: [rows, heads, D], rows at distances ldq, ldout. keys:
 * [ceil((n + rows - 1) / 16), D, 16], the 16 positions of a block innermost; values: [n + rows - 1,
 * D]. Lanes of the last block beyond them may hold anything. Sets out. n > 0, D <= 512. int8
 * caches: key j is key_scale[j] * keys, value j is value_scale[j] * values; key_scale is read in
 * whole blocks. */
typedef struct sol_attend_args {
    const float *q;
    const void *keys, *values;
    const float *key_scale, *value_scale; /* [n + rows - 1] of an int8 cache; unused otherwise */
    float *out;
    int64_t ldq, ldout, rows, heads, D, n, window;
    float scale; /* 1 / sqrt(D) */
} sol_attend_args;

typedef struct sol_float_ops {
    sol_dot_fn dot[SOL_DTYPES]; /* weights of F32, F16, BF16; else NULL */
    void (*attend_f32)(const sol_attend_args *a);
    void (*attend_f16)(const sol_attend_args *a);
    void (*attend_i8)(const sol_attend_args *a);
    /* y[n] = silu(gate) * up; y may be gate or up */
    void (*swiglu)(const float *gate, const float *up, int64_t n, float *y);
    /* x[n] += y[n] */
    void (*add)(float *x, const float *y, int64_t n);
    /* *max = largest of x[n]; returns sum of exp(x - *max). n > 0 */
    float (*sumexp)(const float *x, int64_t n, float *max);
} sol_float_ops;

/* Sets all entries to their C forms. */
void sol_float_ops_c(sol_float_ops *f);

#endif
