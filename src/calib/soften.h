/* Latent weights for a solved layer that do not stand on its levels. Internal to calib. */
#ifndef SOLERA_CALIB_SOFTEN_H
#define SOLERA_CALIB_SOFTEN_H

#include "kernels/ctx.h"
#include "quant/quant.h"

/* latent [rows, cols] = weights that quantize to q, but hold what w, the original ones, say beyond
 * its patterns: a kept weight has the size of the original where their signs agree, at least 0.3
 * alpha, times what makes the group's mean alpha again; a zero is the original weight, cut at 0.8
 * of the smallest kept weight of its block. Where a method chooses each weight alone, latent = q.
 * q: of sol_calib_solve. latent must not overlap q; it may be w. Over the pool, the same bits for
 * any number of threads. */
void sol_calib_soften(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                      const float *q, int64_t rows, int64_t cols, float *latent);

#endif
