/* The quantizer tequila, which quant.c drives group by group: AbsMean ternary whose dead weights
 * (t = 0) also feed a bias of their row that does not depend on the input: y = Q(W) x + lambda
 * sum of the dead w, lambda 1e-3. They so get a gradient of their own, and the bias is merged
 * when the model ships. */
#include "quant/dense_levels.h"

const sol_quantizer sol_quantizer_tequila = {
    .name = "tequila",
    .summary = "absmean whose dead weights feed a bias of their row, 1e-3 of their sum",
    .block = 1,
    .measure = sol_dense_measure_mean,
    .settle = sol_dense_settle_mean,
    .levels = sol_dense_levels,
    .dead_bias = 1e-3f,
};
