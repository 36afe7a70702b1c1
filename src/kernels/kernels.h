/* The table of kernels: filled with C first, then overwritten tier by tier by what this processor and this build have.
 * Ternary, packing and integer kernels are bit-equal to C in every tier; float reductions have a stated order.
 *
 * Kernels run on the calling thread; threading over tiles is the caller's (quant, autograd, infer). */
#ifndef SOLERA_KERNELS_KERNELS_H
#define SOLERA_KERNELS_KERNELS_H

#include <stdint.h>

#include "base/cpu.h"
#include "kernels/elementwise.h"
#include "kernels/float_ops.h"
#include "kernels/segments.h"
#include "kernels/train_ops.h"

struct sol_ternary_ops;
struct sol_dense_ops;
struct sol_bf16_ops;

typedef struct sol_kernels {
    sol_tier tier;
    sol_float_ops f;
    sol_train_ops t;
    sol_elementwise e; /* quantization, sums, AdamW */
    sol_act_quantize_fn act_quantize;
    const struct sol_ternary_ops *ternary;
    const struct sol_dense_ops *dense;
    const struct sol_bf16_ops *bf16;
} sol_kernels;

/* Fills the table for `tier`, lowered to what cpu and build have. */
void sol_kernels_init(sol_kernels *k, const sol_cpu *cpu, sol_tier tier);

#endif
