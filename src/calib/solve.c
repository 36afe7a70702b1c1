/* One layer from its moments to Q: the order of columns, the damped factor, the target W*, and what
 * is kept of several starts. calib.c gathers the moments, assign.c does the search itself. */
#include "calib/solve.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "calib/assign.h"
#include "calib/calib.h"
#include "kernels/factor.h"
#include "kernels/gemm.h"

enum { DAMPING_TRIES = 4 };

/* ---- the target ---- */

static bool all_finite(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * 0.0f;
    return sum == 0;
}

/* Factors H + d I = V V^T into v [n, n], with the first d that makes it positive definite:
 * `damping` of the mean of the diagonal of H, then 10 times as much. */
static sol_status find_factor(sol_solver *z, const char *name, double damping, double *v,
                              sol_err *err)
{
    int64_t n = z->cols;
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += z->h[i * n + i] / (double)n;
    if (!(mean > 0)) mean = 1; /* no input, or none but 0: then any d does */
    double d = damping * mean;
    for (int i = 0; i < DAMPING_TRIES; i++) {
        if (i > 0) d *= 10;
        for (int64_t k = 0; k < n * n; k++) v[k] = z->h[k];
        for (int64_t k = 0; k < n; k++) v[k * n + k] += d;
        if (!sol_factor_upper(z->ctx, v, n)) continue;
        z->s->damping = d / mean;
        z->pull = d;
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_NONFINITE,
                    "%s: the second moments of its inputs are not positive definite, with damping "
                    "up to %g of their mean",
                    name, d / mean);
}

/* Solves W* = (B + d W) (H + d I)^-1 by the factor v; b [rows, cols] is its workspace. */
static void solve_target(sol_solver *z, const double *v, double *b)
{
    int64_t n = z->cols, rows = z->rows;
    float d = (float)z->pull;
    for (int64_t k = 0; k < n; k++) z->h[k * n + k] += d;
    for (int64_t k = 0; k < rows * n; k++) z->b[k] += d * z->target[k];
    for (int64_t k = 0; k < rows * n; k++) b[k] = z->b[k];
    sol_factor_solve(z->ctx, v, n, b, rows);
    z->s->optimum = 0;
    for (int64_t k = 0; k < rows * n; k++) z->s->optimum -= b[k] * z->b[k];
    for (int64_t k = 0; k < rows * n; k++) z->target[k] = (float)b[k];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) z->v[i * n + j] = j < i ? 0 : (float)v[i * n + j];
}

static sol_status find_target(sol_solver *z, const char *name, double damping, sol_err *err)
{
    double *v = NULL, *b = NULL;
    sol_status st = sol_alloc_array((void **)&v, (size_t)(z->cols * z->cols), sizeof *v, err);
    if (st == SOL_OK) st = find_factor(z, name, damping, v, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&b, (size_t)(z->rows * z->cols), sizeof *b, err);
    if (st == SOL_OK) solve_target(z, v, b);
    sol_free(v);
    sol_free(b);
    return st;
}

/* ---- the order of columns ---- */

/* Column of place i: blocks become contiguous. */
static int64_t column(const sol_solver *z, int64_t i)
{
    return z->spec->method->block == 4 ? sol_block_column(z->spec->layout, i / 4, i % 4) : i;
}

static void reorder_row(const sol_solver *z, float *x, float *workspace, bool back)
{
    memcpy(workspace, x, (size_t)z->cols * sizeof *x);
    for (int64_t i = 0; i < z->cols; i++) {
        int64_t c = column(z, i);
        if (back)
            x[c] = workspace[i];
        else
            x[i] = workspace[c];
    }
}

static void reorder(const sol_solver *z, float *x, int64_t rows, bool back)
{
    if (z->spec->layout == SOL_LAYOUT_CONTIGUOUS) return;
    for (int64_t r = 0; r < rows; r++)
        reorder_row(z, x + r * z->cols, (float *)(void *)z->scratch, back);
}

/* Rows and columns of H. The factor's memory serves until there is a factor. */
static void reorder_square(const sol_solver *z)
{
    if (z->spec->layout == SOL_LAYOUT_CONTIGUOUS) return;
    memcpy(z->v, z->h, (size_t)(z->cols * z->cols) * sizeof *z->v);
    for (int64_t i = 0; i < z->cols; i++)
        memcpy(z->h + i * z->cols, z->v + column(z, i) * z->cols, (size_t)z->cols * sizeof *z->h);
    reorder(z, z->h, z->cols, false);
}

/* ---- the whole ---- */

static sol_status check_one(const sol_quant_spec *spec, sol_err *err)
{
    char list[256] = "";
    if (spec->method && spec->method->patterns && sol_quant_block(spec) <= SOL_ASSIGN_MAX_M &&
        spec->method->patterns(spec, SOL_ASSIGN_MAX_PATTERNS, NULL) > 0)
        return SOL_OK;
    for (int i = 0; i < sol_quantizer_count(); i++)
        if (sol_quantizer_at(i)->patterns) {
            strcat(list, list[0] ? ", " : "");
            strcat(list, sol_quantizer_at(i)->name);
        }
    if (spec->method && spec->method->patterns)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%d:%d has too many patterns of a block to be calibrated: at most %d "
                        "weights, %d patterns",
                        spec->n, spec->m, SOL_ASSIGN_MAX_M, SOL_ASSIGN_MAX_PATTERNS);
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s cannot be calibrated, only %s",
                    spec->method ? spec->method->name : "none", list);
}

sol_status sol_calib_check_quant(const sol_quant_spec *spec, sol_err *err)
{
    int n = spec->overrides ? spec->overrides->n : 0;
    SOL_TRY(check_one(spec, err));
    for (int i = 0; i < n; i++) {
        sol_quant_spec layer = *spec;
        if (!spec->overrides->row[i].method) continue;
        layer.method = spec->overrides->row[i].method;
        SOL_TRY(check_one(&layer, err));
    }
    return SOL_OK;
}

/* Everything that follows from the shape: rows, cols and spec are set. */
static void find_sizes(sol_solver *z)
{
    z->m = sol_quant_block(z->spec);
    z->n_patterns = z->spec->method->patterns(z->spec, SOL_ASSIGN_MAX_PATTERNS, NULL);
    z->group = z->spec->granularity == SOL_PER_GROUP ? z->spec->group_size : z->cols;
    z->groups = z->cols / z->group;
    /* What the two kinds of tile keep: two matrices of a run and the norms; moments, signs and
     * products of some rows. */
    int64_t some = SOL_ASSIGN_RUN / z->groups > 1 ? SOL_ASSIGN_RUN / z->groups : 1;
    size_t runs =
        (size_t)(2 * SOL_ASSIGN_TILE_ROWS * SOL_ASSIGN_LONGEST_RUN + SOL_ASSIGN_MAX_PATTERNS +
                 SOL_ASSIGN_PAIR_PATTERNS * SOL_ASSIGN_PAIR_PATTERNS) *
        sizeof(float);
    size_t scales =
        (size_t)(2 * z->groups * z->groups + 2 * z->groups) * sizeof(double) +
        (size_t)(z->groups + some * z->group + some * z->groups * z->cols) * sizeof(float);
    size_t row = (size_t)z->cols * sizeof(float); /* reorder */
    size_t max = runs > scales ? runs : scales;
    z->scratch_bytes = sol_round_up_size(max > row ? max : row, SOL_ALIGN);
}

static bool several_starts(const sol_quant_spec *spec, int starts)
{
    return starts > 1 &&
           spec->granularity != SOL_PER_TENSOR; /* where rows do not choose apart from each other */
}

/* As prepare and find_target allocate it. */
size_t sol_calib_solve_bytes(const sol_quant_spec *spec, int64_t rows, int64_t cols, int starts,
                             int threads)
{
    sol_solver z = {.spec = spec, .rows = rows, .cols = cols};
    find_sizes(&z);
    size_t weights = (size_t)(rows * cols), square = (size_t)(cols * cols),
           scales = (size_t)(rows * z.groups);
    size_t each = weights / (size_t)z.m * sizeof *z.chosen + scales * sizeof *z.alpha +
                  (size_t)rows * sizeof *z.gain;
    return square * (sizeof(double) + sizeof *z.v) + weights * (sizeof(double) + sizeof *z.target) +
           each * (several_starts(spec, starts) ? 2 : 1) + (size_t)threads * z.scratch_bytes;
}

sol_calib_work sol_calib_solve_work(const sol_quant_spec *spec, const sol_calib_opts *o,
                                    int64_t rows, int64_t cols)
{
    int n = spec->method->patterns(spec, SOL_ASSIGN_MAX_PATTERNS, NULL), starts = o->starts;
    double out = (double)rows, in = (double)cols, sweeps = o->sweeps;
    double blocks = out * in / sol_quant_block(spec);
    if (!several_starts(spec, starts)) starts = 1;
    /* A product of a run by all columns in the first assignment (half), a sweep, a fit of scales.
     */
    double of_start = out * in * in * (1 + 2 * sweeps + 2 * (sweeps + 1));
    double pairs = n <= SOL_ASSIGN_PAIR_PATTERNS ? n : 1;
    return (sol_calib_work){.solver = starts * of_start,
                            .factors = in * in * in / 3 + 2 * out * in * in,
                            .search = starts * blocks * n * (1 + sweeps * pairs)};
}

static sol_status prepare(sol_solver *z, int starts, sol_err *err)
{
    sol_calib_system *s = z->s;
    const sol_quant_spec *spec = z->spec;
    size_t threads = (size_t)sol_pool_threads(z->ctx->pool);
    z->cols = s->cols;
    for (int i = 0; i < s->n_parts; i++) z->rows += s->part_rows[i];
    find_sizes(z);
    z->h = s->h;
    z->b = s->b;
    size_t weights = (size_t)(z->rows * z->cols);
    SOL_TRY(sol_alloc_array((void **)&z->pattern, (size_t)(z->n_patterns * z->m), 1, err));
    SOL_TRY(sol_alloc_array((void **)&z->by_lane, (size_t)(z->n_patterns * z->m),
                            sizeof *z->by_lane, err));
    SOL_TRY(sol_alloc_array((void **)&z->v, (size_t)(z->cols * z->cols), sizeof *z->v, err));
    SOL_TRY(sol_alloc_array((void **)&z->target, weights, sizeof *z->target, err));
    SOL_TRY(sol_alloc_array((void **)&z->chosen, weights / (size_t)z->m, sizeof *z->chosen, err));
    SOL_TRY(
        sol_alloc_array((void **)&z->alpha, (size_t)(z->rows * z->groups), sizeof *z->alpha, err));
    SOL_TRY(sol_alloc_array((void **)&z->gain, (size_t)z->rows, sizeof *z->gain, err));
    SOL_TRY(sol_alloc_array((void **)&z->scratch, threads, z->scratch_bytes, err));
    if (spec->granularity == SOL_PER_TENSOR)
        SOL_TRY(
            sol_alloc_array((void **)&z->moments, (size_t)z->rows, 2 * sizeof *z->moments, err));
    if (several_starts(spec, starts)) {
        SOL_TRY(sol_alloc_array((void **)&z->best_chosen, weights / (size_t)z->m,
                                sizeof *z->best_chosen, err));
        SOL_TRY(sol_alloc_array((void **)&z->best_alpha, (size_t)(z->rows * z->groups),
                                sizeof *z->best_alpha, err));
        SOL_TRY(
            sol_alloc_array((void **)&z->best_gain, (size_t)z->rows, sizeof *z->best_gain, err));
    }
    spec->method->patterns(spec, SOL_ASSIGN_MAX_PATTERNS, z->pattern);
    for (int t = 0; t < z->n_patterns; t++)
        for (int j = 0; j < z->m; j++)
            z->by_lane[j * z->n_patterns + t] = (float)z->pattern[t * z->m + j];
    return sol_gemm_reserve(z->ctx, err);
}

static void release(sol_solver *z)
{
    sol_free(z->pattern);
    sol_free(z->by_lane);
    sol_free(z->v);
    sol_free(z->target);
    sol_free(z->chosen);
    sol_free(z->alpha);
    sol_free(z->gain);
    sol_free(z->scratch);
    sol_free(z->moments);
    sol_free(z->best_chosen);
    sol_free(z->best_alpha);
    sol_free(z->best_gain);
}

/* Of each row what is better, this start or the best before it, becomes both. Returns the objective
 * of it. */
static double keep_better(sol_solver *z)
{
    size_t blocks = (size_t)(z->cols / z->m), groups = (size_t)z->groups;
    double sum = 0;
    for (int64_t r = 0; r < z->rows; r++) {
        uint16_t *chosen = z->chosen + (size_t)r * blocks,
                 *best = z->best_chosen + (size_t)r * blocks;
        float *alpha = z->alpha + (size_t)r * groups,
              *best_alpha = z->best_alpha + (size_t)r * groups;
        bool better = z->gain[r] < z->best_gain[r];
        memcpy(better ? best : chosen, better ? chosen : best, blocks * sizeof *best);
        memcpy(better ? best_alpha : alpha, better ? alpha : best_alpha, groups * sizeof *alpha);
        if (better)
            z->best_gain[r] = z->gain[r];
        else
            sol_assign_write_row(z, r);
        sum += z->best_gain[r];
    }
    return sum;
}

/* The target is left as it was, but for rounding. */
static void solve_from(sol_solver *z, float factor, int sweeps, bool first)
{
    sol_calib_system *s = z->s;
    sol_assign_first(z, factor);
    for (int64_t i = 0; i < z->rows * z->cols; i++) z->target[i] += s->q[i];
    double value = sol_assign_fit_scales(z);
    if (first) s->objective[0] = value;
    for (int i = 0; i < sweeps; i++) {
        sol_assign_sweep(z);
        value = sol_assign_fit_scales(z);
        if (first) s->objective[i + 1] = value;
    }
    if (!z->best_gain) return;
    if (first)
        for (int64_t r = 0; r < z->rows; r++) z->best_gain[r] = INFINITY;
    s->objective[sweeps] = keep_better(z);
}

/* The objective of the rows of each part without the pull to W: d |Q - W|^2 - d |W|^2 of it. */
static void measure_parts(const sol_solver *z)
{
    sol_calib_system *s = z->s;
    int64_t row = 0, cols = z->cols;
    for (int p = 0; p < s->n_parts; p++) {
        double sum = 0, pull = 0;
        for (int64_t end = row + s->part_rows[p]; row < end; row++) {
            const float *q = s->q + row * cols, *w = s->w + row * cols;
            for (int64_t i = 0; i < cols; i++) pull += ((double)q[i] - 2 * (double)w[i]) * q[i];
            sum += z->best_gain ? z->best_gain[row] : z->gain[row];
        }
        s->misfit[p] = sum - z->pull * pull;
    }
}

/* The work of sol_calib_solve, which releases what z holds. */
static sol_status solve_layer(sol_solver *z, const char *name, const sol_calib_opts *o,
                              sol_err *err)
{
    static const float start_factors[SOL_CALIB_MAX_STARTS] = {1, 0.8f, 1.2f, 0.6f, 1.4f};
    sol_calib_system *s = z->s;
    SOL_TRY(sol_calib_check_quant(z->spec, err));
    SOL_TRY(prepare(z, o->starts, err));
    if (!all_finite(s->h, z->cols * z->cols) || !all_finite(s->b, z->rows * z->cols) ||
        !all_finite(s->w, z->rows * z->cols))
        return sol_fail(err, SOL_ERR_NONFINITE,
                        "%s: its inputs, outputs or weights hold a number that is not finite",
                        name);
    memcpy(z->target, s->w, (size_t)(z->rows * z->cols) * sizeof *z->target);
    reorder_square(z);
    reorder(z, s->b, z->rows, false);
    reorder(z, z->target, z->rows, false);
    SOL_TRY(find_target(z, name, o->damping, err));
    int n = z->best_chosen ? o->starts : 1;
    for (int i = 0; i < n; i++) solve_from(z, start_factors[i], o->sweeps, i == 0);
    reorder(z, s->q, z->rows, true);
    measure_parts(z);
    return SOL_OK;
}

sol_status sol_calib_solve(const sol_ctx *ctx, const sol_quant_spec *spec, const char *name,
                           const sol_calib_opts *o, sol_calib_system *s, sol_err *err)
{
    sol_solver z = {.ctx = ctx, .spec = spec, .s = s, .nearest = o->assign == SOL_ASSIGN_NEAREST};
    sol_status st = solve_layer(&z, name, o, err);
    release(&z);
    return st;
}
