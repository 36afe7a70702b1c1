/* Quantizers: one file each, one row each in quantizers.def; a registry of descriptors, no switch anywhere.
 *
 *     sol_quant_spec spec = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_GROUP, .group_size = 128, ...};
 *     st = sol_quant_check(&spec, "model.layers.0.self_attn.q_proj.weight", rows, cols, err);   // divisibility, once
 *     sol_quant_effective(ctx, &spec, w, rows, cols, mix, w_eff);           // W_eff = a Q(W) + b W, over the pool
 *
 * W is [rows = out, cols = in], row-major. Scale groups are runs of columns in a row: per-channel has one a row,
 * per-tensor one in all. Q(W) = T * alpha with T in {-1, 0, 1} for the ternary methods. */
#ifndef SOLERA_QUANT_QUANT_H
#define SOLERA_QUANT_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/block.h" /* sol_block_layout */
#include "kernels/ctx.h"
#include "quant/residual.h"
#include "tensor/tensor.h"

typedef enum { SOL_PER_TENSOR, SOL_PER_CHANNEL, SOL_PER_GROUP } sol_granularity;

typedef struct sol_quantizer sol_quantizer;

typedef struct sol_quant_spec {
    const sol_quantizer *method; /* NULL: none, full precision */
    sol_granularity granularity;
    int group_size; /* SOL_PER_GROUP only; a multiple of 4 */
    sol_block_layout layout;
    sol_dtype scale_dtype; /* SOL_F16: alpha is rounded to fp16 inside the forward pass, so what trains is what ships */
} sol_quant_spec;

struct sol_quantizer {
    const char *name;    /* as in YAML */
    const char *summary; /* one line for `solera help` */
    bool packable;       /* obeys 3:4 and can be written in the 1.25-bit code */
    /* Quantizes one scale group of n weights: t[i] in {-1, 0, 1} (or small levels), returns alpha (before rounding
     * to scale_dtype). w[i] is read at w[i]. Group and lane order follow `layout`. Deterministic: ties zero the lowest index, a
     * kept zero gets the sign +. */
    float (*group)(const float *w, int64_t n, sol_block_layout layout, int8_t *t);
};

const sol_quantizer *sol_quantizer_find(const char *name); /* NULL when there is none */
int sol_quantizer_count(void);
const sol_quantizer *sol_quantizer_at(int i);

/* Can this spec quantize this matrix? Otherwise an error that names the layer and the group sizes that fit. */
sol_status sol_quant_check(const sol_quant_spec *spec, const char *layer, int64_t rows, int64_t cols, sol_err *err);

/* Scales of a [rows, cols] matrix: 1, rows, or rows * cols / group_size. */
int64_t sol_quant_scale_count(const sol_quant_spec *spec, int64_t rows, int64_t cols);

/* w_eff[rows, cols] = mix.a Q(w) + mix.b w (sets; must not overlap w). method NULL copies w. */
void sol_quant_effective(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows, int64_t cols,
                         sol_residual_mix mix, float *w_eff);

/* The parts of Q(w): ternary[rows, cols] and scales[sol_quant_scale_count], exactly what sol_quant_effective multiplies. */
void sol_quant_split(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows, int64_t cols,
                     int8_t *ternary, float *scales);

#endif
