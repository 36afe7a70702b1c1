/* Kernels that pass once over a block of floats: 3:4 quantization, sums of magnitudes, AdamW.
 * Entries of sol_kernels; the C forms here are the definition, those for features of processors
 * give the same bits. Weights may be unaligned; n may be any number, for the sherry kernels a
 * multiple of 4 (contiguous) or 64 (stride16). Inputs and outputs must not overlap unless said.
 *
 * Sums: element i goes to float lane i % 16; every SOL_SUM_RUN elements, and after the last, the
 * lanes are folded pairwise (8, 4, 2, 1 apart) and added to *sum. */
#ifndef SOLERA_KERNELS_ELEMENTWISE_H
#define SOLERA_KERNELS_ELEMENTWISE_H

#include <stdint.h>

#include "kernels/codebook.h"

enum { SOL_SUM_LANES = 16, SOL_SUM_RUN = 256 };

typedef struct sol_adamw_step {
    float grad_scale;          /* g = grad_scale * grad */
    float beta1, one_minus_1;  /* m = beta1 m + one_minus_1 g */
    float beta2, one_minus_2;  /* v = beta2 v + (one_minus_2 g) g */
    float inv_sqrt_correction; /* d = sqrt(v) * inv_sqrt_correction + eps */
    float eps;
    float keep; /* p = keep p - rate (m / d) */
    float rate;
} sol_adamw_step;

typedef struct sol_elementwise {
    /* *sum += |w[i]| */
    void (*abs_sum)(const float *w, int64_t n, double *sum);
    /* *sum += |w[i]| over the kept lanes: of each block of four the smallest |w|, the first of
     * equals, is left out. */
    void (*sherry_sum)(const float *w, int64_t n, sol_block_layout layout, double *sum);
    /* t[i] = 0 in the lane left out, else -1 where w[i] < 0, else 1. */
    void (*sherry_levels)(const float *w, int64_t n, sol_block_layout layout, int8_t *t);
    /* out[i] = scale t[i] + b w[i]; the second term is not computed when b is 0. */
    void (*sherry_effective)(const float *w, int64_t n, sol_block_layout layout, float scale,
                             float b, float *out);
    /* One AdamW update in place of p, m, v. */
    void (*adamw)(const sol_adamw_step *s, const float *grad, int64_t n, float *p, float *m,
                  float *v);
    /* *sum += (double)x[i] * x[i], in 16 double lanes folded once at the end as above. */
    void (*square_sum)(const float *x, int64_t n, double *sum);
    /* out[i] = x[i] rounded to bf16, to nearest even; a NaN stays one. */
    void (*to_bf16)(const float *x, int64_t n, uint16_t *out);
    void (*from_bf16)(const uint16_t *x, int64_t n, float *out);
} sol_elementwise;

/* Sets all entries to their C forms. */
void sol_elementwise_c(sol_elementwise *k);

#endif
