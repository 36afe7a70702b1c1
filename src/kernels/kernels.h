/* The table of kernels: filled with C first, over which each feature of the processor lays what it
 * makes faster. Ternary, packing and integer kernels are bit-equal to C with every set of features;
 * float reductions have a stated order.
 *
 * Kernels run on the calling thread; threading over tiles is the caller's (quant, autograd,
 * infer). */
#ifndef SOLERA_KERNELS_KERNELS_H
#define SOLERA_KERNELS_KERNELS_H

#include <stdint.h>

#include "base/cpu.h"
#include "kernels/bf16.h"
#include "kernels/dtype.h"
#include "kernels/elementwise.h"
#include "kernels/float_ops.h"
#include "kernels/segments.h"
#include "kernels/train_ops.h"

struct sol_tile_ops;

typedef struct sol_kernels {
    sol_cpu_features features; /* that the kernels below may use */
    sol_float_ops float_ops;
    sol_train_ops train_ops;
    sol_elementwise elementwise; /* quantization, sums, AdamW */
    sol_act_quantize_fn act_quantize;
    const struct sol_tile_ops *tiles[SOL_DTYPES]; /* products of types with scales; NULL: numbers */
    sol_bf16_ops bf16;
} sol_kernels;

/* Fills the table with the kernels of `features`, of which the processor has all
 * (sol_cpu_usable). */
void sol_kernels_init(sol_kernels *k, sol_cpu_features features);

#endif
