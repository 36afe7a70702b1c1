/* Weight trapping, measured on one quantized layer. Pure functions of their arguments; nothing is
 * sampled unless it says so; the same bits for any number of threads.
 *
 * measures.def has the formulas. Symbols: w latent weight, t in {-1, 0, 1} its ternary state, alpha
 * the scale of its group (w / alpha is 0 where alpha is 0), n weights in blocks of four (the
 * quantizer's block layout); min(dim) is that of the sample of rows, where there are more than
 * sample_rows.
 *
 * Sources: er_dw and er_dx "Sherry", arXiv 2601.07892, section on weight trapping (study/rank.h);
 * kurtosis Pearson's; bimodality Sarle's coefficient in its population form (SAS/STAT manual,
 * CLUSTER); valley_mass, near_alpha, pow2_mass, zero_entropy, unchanged and margin are ours.
 * Gaussian weights under 3:4 have 0.097 near alpha; a density that is smooth inside a binade has a
 * pow2_mass of 2/128.
 *
 * What cannot be computed (no previous record, a constant layer, not finite) is NaN. */
#ifndef SOLERA_STUDY_MEASURES_H
#define SOLERA_STUDY_MEASURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "quant/quant.h"

typedef enum sol_measure {
#define SOL_MEASURE(name, unit, formula, title, good) SOL_M_##name,
#include "study/measures.def"
#undef SOL_MEASURE
    SOL_MEASURE_COUNT
} sol_measure;

typedef struct sol_measure_row {
    const char *name, *unit, *formula, *title, *good; /* the columns of measures.def */
} sol_measure_row;
const sol_measure_row *sol_measure_at(int i); /* 0 <= i < SOL_MEASURE_COUNT */

/* Histograms: counts of weights. The outer bins take what lies beyond. */
enum {
    SOL_HIST_X_BINS = 100,   /* |x| over [0, 4) in steps of 0.04, zeroed and kept weights apart */
    SOL_HIST_W_BINS = 96,    /* w over [-w_range, w_range) */
    SOL_HIST_LOG2_BINS = 160 /* |w| by exponent and 3 mantissa bits: 8 equal bins from 2^e to
                              * 2^(e+1), e from -18 to 1 */
};
#define SOL_HIST_X_MAX 4.0
#define SOL_HIST_LOG2_MIN (-18)

typedef struct sol_histograms {
    uint32_t zeroed[SOL_HIST_X_BINS], kept[SOL_HIST_X_BINS];
    uint32_t w[SOL_HIST_W_BINS], log2[SOL_HIST_LOG2_BINS];
} sol_histograms;

typedef struct sol_layer_view {
    const float *w; /* [rows, cols] */
    int64_t rows, cols;
    const int8_t *ternary; /* [rows, cols] */
    const float *scales;   /* [n_scales], each for rows * cols / n_scales weights in row-major
                            * order */
    const float *shifts;   /* [n_scales] beside them; NULL: all 0 */
    int64_t n_scales;
    sol_block_layout layout;
    float w_range; /* of the histogram of w; > 0 */
} sol_layer_view;

/* Bytes of the packed states of a layer: one byte a block of four, rows padded to whole blocks. */
size_t sol_state_bytes(int64_t rows, int64_t cols);

/* Fills the measures that depend on weights, scales and states, and the histograms. state:
 * [sol_state_bytes], on entry (when has_previous) the states of the last record, on exit those of
 * now: 2 bits a lane, t + 1, lane p in bits 2p..2p+1. work: sol_measure_work() bytes, aligned for a
 * double; its content on entry does not matter. */
void sol_measure_weights(sol_pool *pool, const sol_layer_view *v, uint8_t *state, bool has_previous,
                         void *work, double *m, sol_histograms *h);
size_t sol_measure_work(void); /* bytes */

/* The workspace of sol_measure_layer, for layers of up to `largest` weights. */
typedef struct sol_measure_scratch {
    int8_t *ternary;        /* [rows * cols] of the largest layer; owned */
    float *scales, *shifts; /* [rows * cols / 4] of the largest layer, at least 1; owned */
    void *work;             /* owned */
} sol_measure_scratch;
sol_status sol_measure_scratch_create(sol_measure_scratch *s, int64_t largest, sol_err *err);
void sol_measure_scratch_free(sol_measure_scratch *s);
/* sol_measure_weights of x quantized by spec. scratch: of sol_measure_scratch_create with at least
 * rows * cols weights. */
void sol_measure_layer(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                       float w_range, const sol_measure_scratch *scratch, uint8_t *state,
                       bool has_previous, double *m, sol_histograms *h);

/* grad_norm of g[n]: sqrt(sum g^2), over the pool. */
double sol_measure_norm(sol_pool *pool, const float *g, int64_t n);

/* unchanged and grad_cosine on gathered rows: `previous` [n] holds the last record's values, `now`
 * today's. */
double sol_share_unchanged(const float *now, const float *previous, int64_t n);
double sol_cosine(const float *now, const float *previous, int64_t n);

/* A range for the histogram of w: 4 times the root mean square, rounded up to two digits; 1 for a
 * layer of zeros. */
float sol_histogram_range(const float *w, int64_t n);

#endif
