/* The ops as functions that record a node on a tape. Shapes: N = B T tokens; float tensors are fp32, [rows, cols], but for
 * those that are multiplied next or kept for long: with SOL_BF16 as their `out` type they are rounded, and sol_linear computes in
 * bf16 where its X is.
 * Errors stick to the tape (sol_tape_plan returns the first one), so a model reads as its formula. */
#ifndef SOLERA_AUTOGRAD_OPS_H
#define SOLERA_AUTOGRAD_OPS_H

#include "autograd/tape.h"
#include "quant/quant.h"

/* out[n] = W[token[n]]; tokens [N] i32 in [0, V), W [V, C]. */
sol_var sol_embedding(sol_tape *t, sol_var tokens, sol_var w);
/* X [N, in] times W [out, in] transposed; in bf16 with fp32 sums where X is bf16. */
sol_var sol_linear(sol_tape *t, sol_var x, sol_var w, sol_dtype out);
/* x / sqrt(mean(x^2) + eps) * w; x [N, C], w [1, C]. */
sol_var sol_rmsnorm(sol_tape *t, sol_var x, sol_var w, float eps, sol_dtype out);
/* Half-split rotary embedding of x [N, heads * D]: (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin) for lanes i and i +
 * D/2 of every head. position [N] i32; cos, sin [max position, D/2]. */
sol_var sol_rope(sol_tape *t, sol_var x, sol_var position, sol_var cos_table, sol_var sin_table, int64_t head_dim);

typedef struct sol_attention_shape {
    int64_t batch, time, heads, kv_heads, head_dim;
} sol_attention_shape;
/* softmax(q k^T / sqrt(D)) v over positions doc_start[n] .. n of the same batch row. q [N, H D], k and v [N, K D],
 * doc_start [N] i32, counted from the start of the row. Query head h reads kv head h / (H / K). */
sol_var sol_attention(sol_tape *t, sol_var q, sol_var k, sol_var v, sol_var doc_start,
                      const sol_attention_shape *shape, sol_dtype out);
/* silu(gate) * up, both fp32 or both bf16. */
sol_var sol_swiglu(sol_tape *t, sol_var gate, sol_var up, sol_dtype out);
sol_var sol_add(sol_tape *t, sol_var a, sol_var b);
/* Loss of each token, [N, 1]: -ln softmax(x W^T)[target]; 0 where the target is -1. x [N, C], W [V, C], targets [N]
 * i32. The logits exist for one chunk of tokens at a time. compute: SOL_F32, or SOL_BF16 for the products. */
sol_var sol_head_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_dtype compute);

/* The residual mix of a step, shared by all fake-quant nodes of a graph. */
typedef struct sol_quant_mix {
    sol_residual_mix mix;
    float grad_factor; /* mix.a + mix.b */
} sol_quant_mix;
/* What some methods read and write beside W: learned parameters, [scale count] each, and a bias [rows] that forward sets. */
typedef struct sol_quant_extra {
    const float *learned[SOL_QUANT_MAX_LEARNED];
    float *bias;
} sol_quant_extra;
/* W_eff = a Q(W) + b W. Straight-through methods have the gradient dW = (a + b) dW_eff. For the others the gradient of W receives
 * dW_eff itself, and whoever owns the tape calls sol_quant_backward on it. extra may be NULL. `mix` and what extra points to are
 * used at every run and must outlive the tape. out: SOL_F32, or SOL_BF16 (rounded) for sol_linear. */
sol_var sol_fake_quant(sol_tape *t, sol_var w, const sol_quant_spec *spec, const sol_quant_mix *mix,
                       const sol_quant_extra *extra, sol_dtype out);
/* The same values as f32: of a parameter that is held in bf16. */
sol_var sol_widen(sol_tape *t, sol_var w);
/* x [N, C] + bias [1, C]. */
sol_var sol_add_bias(sol_tape *t, sol_var x, sol_var bias);
/* sum_c (x - target)^2 / sum_c target^2 of each row, [N, 1]; x, target [N, C]. No gradient to the target. */
sol_var sol_relative_error(sol_tape *t, sol_var x, sol_var target);

#endif
