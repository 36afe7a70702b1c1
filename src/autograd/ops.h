/* The ops as functions. Each records a node on a tape and returns its output, or -1 after an error.
 * The tape keeps the first error for sol_tape_plan: SOL_ERR_SHAPE when shapes or types do not fit.
 * So a model reads as its formula.
 *
 *     sol_var h = sol_rmsnorm(t, x, norm, 1e-5f, SOL_F32);
 *     sol_var y = sol_add(t, x, sol_linear(t, h, w, SOL_F32));
 *
 * N = B T tokens. Float tensors are fp32, [rows, cols]. `out` is the type of the output: SOL_BF16
 * rounds it, for a tensor that is multiplied next or kept for long. A pointer argument is read at
 * every run and must outlive the tape, unless said. */
#ifndef SOLERA_AUTOGRAD_OPS_H
#define SOLERA_AUTOGRAD_OPS_H

#include "autograd/tape.h"
#include "quant/quant.h"

/* Embedding: out[n] = W[tokens[n]], [N, C]; tokens [N] i32 in [0, V), W [V, C]. */
sol_var sol_embedding(sol_tape *t, sol_var tokens, sol_var w);
/* X W^T, [N, out]; X [N, in] fp32 or bf16, W [out, in] fp32, or bf16 where X is. With X in bf16 the
 * product is of bf16 numbers, summed in fp32. */
sol_var sol_linear(sol_tape *t, sol_var x, sol_var w, sol_dtype out);
/* RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467): x / sqrt(mean(x^2) + eps) * w; x [N, k C], w
 * [1, C]: each run of C numbers, a row or a head of it, by itself. */
sol_var sol_rmsnorm(sol_tape *t, sol_var x, sol_var w, float eps, sol_dtype out);
/* RoPE (Su et al. 2021, arXiv 2104.09864), half-split: components i and i + D/2 of every head
 * become (x0 cos - x1 sin, x1 cos + x0 sin). x [N, heads D], position [N] i32, cos and sin tables
 * [positions, D/2]. */
sol_var sol_rope(sol_tape *t, sol_var x, sol_var position, sol_var cos_table, sol_var sin_table,
                 int64_t head_dim);

typedef struct sol_attention_shape {
    int64_t batch, time, heads, kv_heads, head_dim;
    int64_t window; /* positions that a token sees, its own included; 0: all */
} sol_attention_shape;
/* Causal attention with grouped heads (Ainslie et al. 2023, arXiv 2305.13245): softmax(q k^T /
 * sqrt(D)) v over positions doc_start[n] to n of the same batch row, at most the last `window` of
 * them (Beltagy et al. 2020, arXiv 2004.05150). q [N, H D], k and v [N, K D], doc_start [N] i32,
 * counted from the start of the row. Query head h reads kv head h / (H / K).
 * shape is copied. */
sol_var sol_attention(sol_tape *t, sol_var q, sol_var k, sol_var v, sol_var doc_start,
                      const sol_attention_shape *shape, sol_dtype out);
/* SwiGLU (Shazeer 2020, arXiv 2002.05202): silu(gate) * up, both [N, F], both fp32 or both bf16. */
sol_var sol_swiglu(sol_tape *t, sol_var gate, sol_var up, sol_dtype out);
/* a + b, of one shape. */
sol_var sol_add(sol_tape *t, sol_var a, sol_var b);
/* Next-token loss of each token in nats, [N, 1]: -ln softmax(x W^T)[target]; 0 where the target is
 * -1. x [N, C], W [V, C], targets [N] i32. Logits are computed for one chunk of tokens at a time.
 * compute: operands of products, SOL_F32 or SOL_BF16. */
sol_var sol_head_loss(sol_tape *t, sol_var x, sol_var w, sol_var targets, sol_dtype compute);

/* The residual mix of a step, shared by all fake-quant nodes of a graph. */
typedef struct sol_quant_mix {
    sol_residual_mix mix;
    float grad_factor; /* mix.a + mix.b */
} sol_quant_mix;
/* W_eff = a Q(W) + b W, [rows, cols]; W fp32 or bf16. learned: the parameters that the method
 * learns, [scale count, 1] fp32 each; NULL: their starting values, computed from W. *bias: what the
 * method adds to every row of the product, [1, rows]; -1: nothing; bias may be NULL. spec is
 * copied, its overrides are not read. For straight-through methods dW = (a + b) dW_eff; the
 * backward pass of the others is sol_quant_backward. */
sol_var sol_fake_quant(sol_tape *t, sol_var w, const sol_var *learned, const sol_quant_spec *spec,
                       const sol_quant_mix *mix, sol_dtype out, sol_var *bias);
/* x in another type, SOL_F32 (exact) or SOL_BF16 (to nearest even); x [..], fp32 or bf16. */
sol_var sol_cast(sol_tape *t, sol_var x, sol_dtype out);
/* What a matrix of `type` (F16, Q8, Q6, Q4, TERNARY) holds of w [rows, cols], bit for bit as the
 * packed file (sol_packed_round); the gradient goes straight through. spec: of TERNARY, copied. */
sol_var sol_fake_dense(sol_tape *t, sol_var w, sol_dtype type, const sol_quant_spec *spec);
/* x [N, C] + bias [1, C]. */
sol_var sol_add_bias(sol_tape *t, sol_var x, sol_var bias);
/* sum_c (x - target)^2 / sum_c target^2 of each row, [N, 1]; x, target [N, C]. No gradient to the
 * target. */
sol_var sol_relative_error(sol_tape *t, sol_var x, sol_var target);

#endif
