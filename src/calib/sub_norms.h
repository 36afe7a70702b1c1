/* SubLN: RMSNorms of what o_proj and down_proj read, given to a model that was trained without them
 * (BitDistill, Wu et al. 2025, arXiv 2510.13998, before a ternary training; the place is that of
 * BitNet, Wang et al. 2023, arXiv 2310.11453).
 *
 *     sol_sub_norm_change off[32]; // of each block
 *     st = sol_model_add_sub_norms(model, err); // the norms are there, their weights 1
 *     if (st == SOL_OK) st = sol_calib_sub_norms(ctx, model, &opts, &mix, off, err);
 *
 * With x [F] what a layer reads for a token and r = sqrt(mean(x^2) + eps), it reads from then on
 *
 *   y_c = g_c x_c / r.
 *
 * No g gives y = x for every token: what a token's size says is lost. The weights are those that
 * lose least of it on a text, by least squares over its tokens,
 *
 *   minimize sum_t s_t |y_t - x_t|^2:   g_c = sum_t s_t x_tc^2 / r_t  /  sum_t s_t x_tc^2 / r_t^2,
 *
 * where s_t = 1 / (the mean square of the hidden state that the layer adds to, behind it), as
 * calibration weighs tokens. A channel that is always 0 gets the weight of all others together. The
 * function is kept where a layer reads tokens of one size, and as far as `off` says. */
#ifndef SOLERA_CALIB_SUB_NORMS_H
#define SOLERA_CALIB_SUB_NORMS_H

#include "calib/calib.h"

/* What is left of the change that a norm makes: the root of sum_t s_t |y_t - x_t|^2 / sum_t s_t
 * |x_t|^2, 0: none; of what o_proj and down_proj of one block read. */
typedef struct sol_sub_norm_change {
    double o, down;
} sol_sub_norm_change;

/* Sets the weights of all norms before o_proj and down_proj of m (f32 or bf16), from o->windows
 * windows of o->seq tokens of the data, which run through m without these norms; of o, seed and
 * compute are read too. off [num_hidden_layers]: set. SOL_ERR_NONFINITE names the norm whose inputs
 * are not finite; SOL_ERR_RANGE, SOL_ERR_FORMAT: as sol_calib_create. The same bits for any number
 * of threads. */
sol_status sol_calib_sub_norms(const sol_ctx *ctx, sol_model *m, const sol_calib_opts *o,
                               const sol_mixture *data, sol_sub_norm_change *off, sol_err *err);

#endif
