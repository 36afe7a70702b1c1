/* The ternary matrix whose outputs come nearest to given ones, in closed form and by coordinate
 * descent.
 *
 * Inputs X [n, in] as the layer will see them, outputs Y [n, out] as they should be, both with
 * their rows multiplied by the root of the token's weight; W [out, in] the layer's own weights.
 * Wanted is Q = T alpha, T of the quantizer's patterns, with the least
 *
 *   |X Q^T - Y|^2 / n + d |Q - W|^2  =  tr((W* - Q) (H + d I) (W* - Q)^T) + constant,
 *   H = X^T X / n,   B = Y^T X / n,   W* = (B + d W) (H + d I)^-1,   d = damping mean(diag H)
 *
 * 1. First assignment: block after block from the left, each takes the pattern with the least
 *    error that the columns to its right cannot make up for. With H + d I = V V^T that error is
 *    |((W* - Q) V)_b|^2, which is GPTQ (Frantar et al., arXiv 2210.17323) with a block for its
 *    column; the scale of a group is that of the nearest patterns to what W* has become there.
 *    SOL_ASSIGN_NEAREST takes the pattern nearest to that, too, as GPTQ rounds.
 * 2. Sweeps: scales by least squares, then for each two neighbouring blocks the patterns with the
 *    least objective while all others stay (for each block alone, where there are more than 32
 *    patterns). The objective never rises. After the last sweep the scales once more.
 * 3. From other starting scales (smaller and larger ones) again; each row keeps its best. Not per
 *    tensor, where rows share a scale.
 *
 * Rows are independent of each other: the same bits for any number of threads. */
#ifndef SOLERA_CALIB_SOLVE_H
#define SOLERA_CALIB_SOLVE_H

#include "calib/calib.h"
#include "kernels/ctx.h"
#include "quant/quant.h"

enum { SOL_CALIB_MAX_SWEEPS = 16, SOL_CALIB_MAX_STARTS = 5, SOL_CALIB_MAX_PARTS = 4 };

typedef struct sol_calib_system {
    int64_t cols; /* in */
    int n_parts;  /* matrices that share their input lie one above the other: q, k, v */
    int64_t part_rows[SOL_CALIB_MAX_PARTS]; /* out of each */
    const float *w;                         /* W [sum of part_rows, cols] */
    float *h; /* H [cols, cols]; becomes H + d I, in the quantizer's order of columns */
    float *b; /* B [rows, cols]; becomes B + d W, likewise */
    float *q; /* Q [rows, cols], set */
    /* Set: the objective without its constant, which is below 0 where Q is better than 0: of the
     * first assignment, and after each sweep, from the first start; the last one: of what was
     * kept. */
    double objective[SOL_CALIB_MAX_SWEEPS + 1];
    double optimum;                     /* the same of W*, the least that any matrix has */
    double damping;                     /* that was needed */
    double misfit[SOL_CALIB_MAX_PARTS]; /* |X Q^T - Y|^2 / n - |Y|^2 / n of each part */
} sol_calib_system;

/* Of o: assign, sweeps, starts, and damping > 0, which is raised, ten times a try, where H + d I is
 * not positive definite. Inputs that are all 0 leave W to be rounded. name: for errors.
 * SOL_ERR_NONFINITE: H, B or W hold something that is not a number. Q is what spec makes of itself:
 * sol_quant_effective of Q gives Q, bit for bit. */
sol_status sol_calib_solve(const sol_ctx *ctx, const sol_quant_spec *spec, const char *name,
                           const sol_calib_opts *o, sol_calib_system *s, sol_err *err);

/* What a solve computes: sets solver, factors and search. */
sol_calib_work sol_calib_solve_work(const sol_quant_spec *spec, const sol_calib_opts *o,
                                    int64_t rows, int64_t cols);
/* Bytes that a solve takes beside the arrays of its system. */
size_t sol_calib_solve_bytes(const sol_quant_spec *spec, int64_t rows, int64_t cols, int starts,
                             int threads);

#endif
