/* The search for patterns and scales of one layer, once its target is known. Internal to calib; the
 * method is in solve.h. sol_assign_first and sol_assign_fit_scales come first, then any number of
 * sweeps, each followed by sol_assign_fit_scales. */
#ifndef SOLERA_CALIB_ASSIGN_H
#define SOLERA_CALIB_ASSIGN_H

#include "calib/solve.h"

/* Limits of what is searched, and how the work is cut: rows of a tile, columns of a run. */
enum {
    SOL_ASSIGN_MAX_M = 8,
    SOL_ASSIGN_MAX_PATTERNS = 2048,
    SOL_ASSIGN_PAIR_PATTERNS = 32, /* with at most so many, two blocks are searched together */
    SOL_ASSIGN_TILE_ROWS = 64,
    SOL_ASSIGN_RUN = 64,
    SOL_ASSIGN_LONGEST_RUN = 256
};

/* One layer at work: solve.c makes it, with shape, h, b, v and target set, and owns all of it. */
typedef struct sol_solver {
    const sol_ctx *ctx;
    const sol_quant_spec *spec;
    sol_calib_system *s;
    int m, n_patterns;
    int8_t *pattern; /* [n_patterns, m] */
    float *by_lane;  /* [m, n_patterns]: the same, as floats */
    int64_t rows, cols, group,
        groups;   /* weights of a row that share a scale, and how many such there are */
    int64_t run;  /* columns of a run now: in the first assignment a whole scale group where that is
                     not too long */
    float *h, *b; /* as in s, columns ordered so that blocks are contiguous */
    double pull;  /* d, by which Q is pulled to W */
    float *v;     /* [cols, cols] factor of H; zeros below the diagonal */
    float *target;    /* W* [rows, cols]; the errors W* - Q where the first assignment has been */
    uint16_t *chosen; /* [rows, cols / m] */
    float *alpha;     /* [rows, groups]; per tensor: the same in all rows of a part */
    double *moments;  /* [rows, 2], per tensor: what each row adds to the scale's quadratic and
                         linear term */
    double *gain;     /* [rows]: objective of each row */
    bool nearest;     /* of the first assignment: SOL_ASSIGN_NEAREST */
    float start;      /* the scales of the first assignment, times this */
    uint16_t *best_chosen; /* of the best start so far, as chosen, alpha and gain; NULL: there is
                              but one start */
    float *best_alpha;
    double *best_gain;
    char *scratch; /* [threads, scratch_bytes] */
    size_t scratch_bytes;
} sol_solver;

/* Patterns and scales of all blocks from W*, scales times `factor`, and Q. The target becomes W* -
 * Q. */
void sol_assign_first(sol_solver *z, float factor);
/* One sweep of coordinate descent over the patterns; Q follows. */
void sol_assign_sweep(sol_solver *z);
/* Scales by least squares, where they are better, and Q; sets gain and returns its sum, the
 * objective without its constant. */
double sol_assign_fit_scales(sol_solver *z);
/* Q of a row from its patterns and scales. */
void sol_assign_write_row(const sol_solver *z, int64_t row);

#endif
