/* The quantizer absmean, which quant.c drives group by group: dense ternary as in BitNet b1.58.
 * alpha = mean |w|; t = round(w / alpha) clipped to -1..1, which is the sign where |w| > alpha /
 * 2 and 0 elsewhere (a tie rounds to the even 0). */
#include "quant/dense_levels.h"

const sol_quantizer sol_quantizer_absmean = {
    .name = "absmean",
    .summary = "dense ternary, 1.58 bits a weight: zero where |w| <= alpha / 2, scale mean |w| "
               "(BitNet b1.58)",
    .block = 1,
    .measure = sol_dense_measure_mean,
    .settle = sol_dense_settle_mean,
    .levels = sol_dense_levels,
};
