/* Means over the seeds of a job, and their spread. */
#include "study/seeds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* The runs that are joined into one, borrowed. */
typedef struct seeds {
    const sol_study_run **run;
    int n;
} seeds;

static bool may_be_same(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 || a == b;
}

/* Runs that saw another model or other data under one name are no seeds of one job. */
static bool same_job(const sol_study_run *a, const sol_study_run *b)
{
    return a->recipe.known && b->recipe.known && a->recipe.job == b->recipe.job &&
           may_be_same(a->curve.model_digest, b->curve.model_digest) &&
           may_be_same(a->curve.teacher_digest, b->curve.teacher_digest) &&
           may_be_same(a->curve.data_digest, b->curve.data_digest) &&
           may_be_same(a->curve.eval_digest, b->curve.eval_digest) &&
           a->n_records == b->n_records &&
           memcmp(a->step, b->step, (size_t)a->n_records * sizeof *a->step) == 0;
}

/* Is it one more seed of the job of those in s? A copy of one of them is not. */
static bool is_another_seed(const seeds *s, const sol_study_run *run)
{
    for (int i = 0; i < s->n; i++)
        if (!same_job(s->run[i], run) || s->run[i]->recipe.seed == run->recipe.seed) return false;
    return true;
}

typedef struct mean {
    double sum, low, high;
    int n;
} mean;

static void mean_add(mean *m, double x)
{
    if (!isfinite(x)) return;
    m->low = m->n ? fmin(m->low, x) : x;
    m->high = m->n ? fmax(m->high, x) : x;
    m->sum += x;
    m->n++;
}

static double mean_of(const mean *m)
{
    return m->n ? m->sum / m->n : NAN;
}

static sol_status new_doubles(double **array, int64_t n, sol_err *err)
{
    return sol_alloc_array((void **)array, (size_t)n, sizeof **array, err);
}

/* "a/x" of a/x/seed-1 and a/x/seed-2: the directories that all names begin with; the first name
 * where there is none. */
static sol_status join_names(sol_study_run *out, const seeds *s, sol_err *err)
{
    const char *name = s->run[0]->name;
    size_t n = strlen(name);
    for (int i = 1; i < s->n; i++) {
        size_t same = 0;
        while (same < n && name[same] == s->run[i]->name[same]) same++;
        n = same;
    }
    while (s->n > 1 && n > 0 && name[n] != '/') n--;
    return sol_copy_string(&out->name, name, n ? n : strlen(name), err);
}

static sol_status join_series(sol_study_run *out, const seeds *s, sol_err *err)
{
    SOL_TRY(new_doubles(&out->step, out->n_records, err));
    SOL_TRY(new_doubles(&out->lambda, out->n_records, err));
    SOL_TRY(new_doubles(&out->loss, out->n_records, err));
    for (int64_t i = 0; i < out->n_records; i++) {
        mean loss = {0};
        for (int k = 0; k < s->n; k++) mean_add(&loss, s->run[k]->loss[i]);
        out->step[i] = s->run[0]->step[i];
        out->lambda[i] = s->run[0]->lambda[i];
        out->loss[i] = mean_of(&loss);
    }
    return SOL_OK;
}

static sol_status join_measure(sol_study_run *out, const seeds *s, int m, sol_err *err)
{
    int64_t cells = out->n_records * out->n_layers;
    SOL_TRY(sol_alloc_array((void **)&out->measure[m], (size_t)cells, sizeof **out->measure, err));
    SOL_TRY(new_doubles(&out->low[m], out->n_records, err));
    SOL_TRY(new_doubles(&out->high[m], out->n_records, err));
    for (int64_t i = 0; i < cells; i++) {
        mean x = {0};
        for (int k = 0; k < s->n; k++) mean_add(&x, (double)s->run[k]->measure[m][i]);
        out->measure[m][i] = (float)mean_of(&x);
    }
    for (int64_t i = 0; i < out->n_records; i++) {
        mean x = {0};
        for (int k = 0; k < s->n; k++) mean_add(&x, sol_study_mean(s->run[k], m, i));
        out->low[m][i] = x.n ? x.low : NAN;
        out->high[m][i] = x.n ? x.high : NAN;
    }
    return SOL_OK;
}

/* Histograms of w over different ranges, as from different random weights, have no mean: that of
 * the first seed stays. */
static bool same_bins(const sol_study_run *a, const sol_study_run *b, int kind, int layer)
{
    return kind != SOL_HIST_W || a->layers[layer].w_range == b->layers[layer].w_range;
}

static sol_status join_histograms(sol_study_run *out, const seeds *s, int kind, sol_err *err)
{
    int bins = sol_hist_bins(kind);
    int64_t rows = (int64_t)out->n_slices * out->n_layers;
    SOL_TRY(
        sol_alloc_array((void **)&out->hist[kind], (size_t)(rows * bins), sizeof **out->hist, err));
    for (int64_t i = 0; i < rows * bins; i++) {
        uint64_t sum = 0, n = 0;
        for (int k = 0; k < s->n; k++) {
            if (!same_bins(s->run[0], s->run[k], kind, (int)(i / bins % out->n_layers))) continue;
            sum += s->run[k]->hist[kind][i];
            n++;
        }
        out->hist[kind][i] = (uint32_t)((sum + n / 2) / n);
    }
    return SOL_OK;
}

static sol_status join_steps(sol_study_curve *out, const seeds *s, sol_err *err)
{
    double **made[] = {&out->step, &out->loss, &out->lambda, &out->lr};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        SOL_TRY(new_doubles(made[i], out->n, err));
    for (int64_t i = 0; i < out->n; i++) {
        const sol_study_curve *first = &s->run[0]->curve;
        mean loss = {0};
        for (int k = 0; k < s->n; k++) mean_add(&loss, s->run[k]->curve.loss[i]);
        out->step[i] = first->step[i];
        out->loss[i] = mean_of(&loss);
        out->lambda[i] = first->lambda[i];
        out->lr[i] = first->lr[i];
    }
    return SOL_OK;
}

static sol_status join_evals(sol_study_curve *out, const seeds *s, sol_err *err)
{
    double **made[] = {&out->eval_step, &out->eval_loss, &out->packed_loss, &out->eval_low,
                       &out->eval_high};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        SOL_TRY(new_doubles(made[i], out->n_evals, err));
    for (int64_t i = 0; i < out->n_evals; i++) {
        mean loss = {0}, packed = {0};
        for (int k = 0; k < s->n; k++) {
            mean_add(&loss, s->run[k]->curve.eval_loss[i]);
            mean_add(&packed, s->run[k]->curve.packed_loss[i]);
        }
        out->eval_step[i] = s->run[0]->curve.eval_step[i];
        out->eval_loss[i] = mean_of(&loss);
        out->packed_loss[i] = mean_of(&packed);
        out->eval_low[i] = loss.n ? loss.low : NAN;
        out->eval_high[i] = loss.n ? loss.high : NAN;
    }
    return SOL_OK;
}

/* Where seeds went on for different lengths, what all of them have. */
static sol_status join_curves(sol_study_run *out, const seeds *s, sol_err *err)
{
    sol_study_curve *c = &out->curve;
    c->n = s->run[0]->curve.n;
    c->n_evals = s->run[0]->curve.n_evals;
    for (int k = 1; k < s->n; k++) {
        c->n = sol_min_i64(c->n, s->run[k]->curve.n);
        c->n_evals = sol_min_i64(c->n_evals, s->run[k]->curve.n_evals);
    }
    SOL_TRY(join_steps(c, s, err));
    return join_evals(c, s, err);
}

static sol_status join_calibrations(sol_study_run *out, const seeds *s, sol_err *err)
{
    sol_study_calibration *c = &out->calibration;
    c->n = s->run[0]->calibration.n;
    for (int k = 1; k < s->n; k++) c->n = sol_min_i64(c->n, s->run[k]->calibration.n);
    for (int e = 0; e < SOL_CALIB_ERRORS; e++) {
        SOL_TRY(new_doubles(&c->error[e], c->n, err));
        for (int64_t i = 0; i < c->n; i++) {
            mean x = {0};
            for (int k = 0; k < s->n; k++) mean_add(&x, s->run[k]->calibration.error[e][i]);
            c->error[e][i] = mean_of(&x);
        }
    }
    return SOL_OK;
}

static sol_status join(sol_study_run *out, const seeds *s, sol_err *err)
{
    const sol_study_run *first = s->run[0];
    size_t n_layers = (size_t)first->n_layers;
    out->is_static = first->is_static;
    out->head = first->head;
    out->recipe = first->recipe;
    out->n_records = first->n_records;
    out->n_slices = first->n_slices;
    out->n_seeds = s->n > 1 ? s->n : 0;
    memcpy(out->slice, first->slice, sizeof out->slice);
    SOL_TRY(sol_alloc_array((void **)&out->layers, n_layers, sizeof *out->layers, err));
    memcpy(out->layers, first->layers, n_layers * sizeof *out->layers);
    out->n_layers = first->n_layers;
    SOL_TRY(join_names(out, s, err));
    SOL_TRY(join_series(out, s, err));
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) SOL_TRY(join_measure(out, s, m, err));
    for (int k = 0; k < SOL_HIST_KINDS; k++) SOL_TRY(join_histograms(out, s, k, err));
    SOL_TRY(join_curves(out, s, err));
    return join_calibrations(out, s, err);
}

static sol_status join_all(const sol_study_run *runs, int n, sol_study_run *joined, int *n_joined,
                           int *place, seeds *s, sol_err *err)
{
    for (int r = 0; r < n; r++) place[r] = -1;
    for (int r = 0; r < n; r++) {
        if (place[r] >= 0) continue;
        s->n = 0;
        for (int i = r; i < n; i++) {
            if (place[i] >= 0 || !is_another_seed(s, &runs[i])) continue;
            s->run[s->n++] = &runs[i];
            place[i] = *n_joined;
        }
        SOL_TRY(join(&joined[(*n_joined)++], s, err));
    }
    return SOL_OK;
}

sol_status sol_study_join_seeds(const sol_study_run *runs, int n, sol_study_run *joined,
                                int *n_joined, int *place, sol_err *err)
{
    seeds s = {0};
    *n_joined = 0;
    SOL_TRY(sol_alloc_array((void **)&s.run, (size_t)n, sizeof *s.run, err));
    sol_status st = join_all(runs, n, joined, n_joined, place, &s, err);
    sol_free(s.run);
    return st;
}
