/* Arenas: the annealing residual synapse (Sherry, arXiv 2601.07892, eq. 7-8, 23-25).
 *
 * A quantized layer multiplies by   W_eff = a Q(W) + b W   in one GEMM:
 *   additive (the paper)   a = 1            b = lambda
 *   blend                  a = 1 - lambda   b = lambda; at lambda 1 the full-precision model itself
 * The straight-through gradient is dW = (a + b) dY^T X. At lambda 0 both are the deployed model.
 *
 * Schedule, by optimizer step s (0-based) of n; e = round(end_fraction n), w =
 * round(warmup_fraction n) or 0 without warm-up:
 *   warm-up   s < w: lambda = lambda_max (s + 1) / w
 *   decay     p = (s - max(w - 1, 0)) / (e - max(w - 1, 0)), which would be 1 at step e;
 *             lambda_max times: linear 1 - p, cosine (1 + cos(pi p)) / 2, exp exp(-5 p) with the
 *             last step forced to 0
 *   after     s >= e: 0, also when the warm-up is cut short by it.
 *
 *     sol_residual r = {.schedule = SOL_RESIDUAL_COSINE, .form = SOL_RESIDUAL_BLEND,
 *                       .lambda_max = 1, .end_fraction = 0.4f};
 *     float lambda = sol_residual_lambda(&r, step, n_steps);
 *     sol_residual_mix mix = sol_residual_coeffs(r.form, lambda); */
#ifndef SOLERA_QUANT_RESIDUAL_H
#define SOLERA_QUANT_RESIDUAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/enums.h"

#define SOL_RESIDUAL_SCHEDULES(ROW) \
    ROW(SOL_RESIDUAL_NONE, "none") \
    ROW(SOL_RESIDUAL_LINEAR, "linear") \
    ROW(SOL_RESIDUAL_COSINE, "cosine") \
    ROW(SOL_RESIDUAL_EXP, "exp")
typedef enum { SOL_RESIDUAL_SCHEDULES(SOL_ENUM_CONSTANT) } sol_residual_schedule;

#define SOL_RESIDUAL_FORMS(ROW) \
    ROW(SOL_RESIDUAL_ADDITIVE, "additive") \
    ROW(SOL_RESIDUAL_BLEND, "blend")
typedef enum { SOL_RESIDUAL_FORMS(SOL_ENUM_CONSTANT) } sol_residual_form;

typedef struct sol_residual {
    sol_residual_schedule schedule;
    sol_residual_form form;
    bool warmup;
    float lambda_max;      /* the default of a job is 1 */
    float warmup_fraction; /* of all steps; 0.1 */
    float end_fraction;    /* of all steps; 1 */
} sol_residual;

/* lambda, in [0, lambda_max], of optimizer step `step` (0-based) of `n_steps`, as in the published
 * implementation. */
float sol_residual_lambda(const sol_residual *r, int64_t step, int64_t n_steps);

/* The two factors of W_eff. */
typedef struct sol_residual_mix {
    float a, b;
} sol_residual_mix;
/* The factors of a form at lambda, by the table above. */
sol_residual_mix sol_residual_coeffs(sol_residual_form form, float lambda);

#endif
