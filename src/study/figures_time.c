/* The figures over time: losses, schedules, measures. figures.c lists them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/figures.h"

/* ---- losses, lambda, learning rate ---- */

enum { MAX_POINTS = 600 }; /* of a curve: longer ones are averaged in bins */

static void add_curve(sol_text *t, const sol_study_curve *c, int r)
{
    int64_t bin = sol_ceil_div(c->n, MAX_POINTS);
    sol_text_add(t, NULL, "$loss%d << EOD\n", r);
    for (int64_t i = 0; i < c->n; i += bin) {
        double loss = 0;
        int64_t n = 0;
        for (int64_t k = i; k < i + bin && k < c->n; k++) {
            if (!isfinite(c->loss[k])) continue;
            loss += c->loss[k];
            n++;
        }
        sol_plot_number(t, c->step[i + (i + bin <= c->n ? bin : c->n - i) / 2]);
        sol_plot_number(t, n ? loss / (double)n : NAN);
        sol_plot_number(t, c->lambda[i]);
        sol_plot_number(t, c->lr[i]);
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n$eval%d << EOD\n", r);
    for (int64_t i = 0; i < c->n_evals; i++) {
        sol_plot_number(t, c->eval_step[i]);
        sol_plot_number(t, c->eval_loss[i]);
        sol_plot_number(t, c->eval_low ? c->eval_low[i] : c->eval_loss[i]);
        sol_plot_number(t, c->eval_high ? c->eval_high[i] : c->eval_loss[i]);
        sol_text_add(t, NULL, "\n");
    }
    if (c->n_evals == 0) sol_text_add(t, NULL, " NaN NaN NaN NaN\n");
    sol_text_add(t, NULL, "EOD\n");
}

typedef struct range {
    double lo, hi; /* lo > hi: of nothing */
} range;

static void range_add(range *a, double x)
{
    if (!isfinite(x)) return;
    a->lo = fmin(a->lo, x);
    a->hi = fmax(a->hi, x);
}

/* Losses without the first steps, which would flatten everything after them. */
static void ranges_of_losses(const sol_study_run *runs, int n, range *training, range *evaluation)
{
    *training = *evaluation = (range){INFINITY, -INFINITY};
    for (int r = 0; r < n; r++) {
        const sol_study_curve *c = &runs[r].curve;
        for (int64_t i = c->n / 25; i < c->n; i++) range_add(training, c->loss[i]);
        for (int64_t i = 0; i < c->n_evals; i++) {
            if (c->eval_step[i] < 0.04 * c->step[c->n - 1]) continue;
            range_add(evaluation, c->eval_low ? c->eval_low[i] : c->eval_loss[i]);
            range_add(evaluation, c->eval_high ? c->eval_high[i] : c->eval_loss[i]);
        }
    }
}

/* An axis of at least 0.2 nats: what is smaller is rarely more than the noise of one batch. */
static void set_loss_axis(sol_text *t, const range *a)
{
    double middle = (a->lo + a->hi) / 2, half = fmax(0.55 * (a->hi - a->lo), 0.1);
    sol_text_add(t, NULL, "set yrange [%.6g:%.6g]\n", middle - half, middle + half);
}

/* Those of a step stand beside each other, each run with a mark of its own. */
static void draw_evals(sol_text *t, const sol_study_run *runs, int n, double steps)
{
    static const int mark[] = {7, 5, 9, 13, 11, 6, 4, 8};
    sol_text_add(t, NULL, "plot ");
    for (int r = 0; r < n; r++) {
        double aside = (r - (n - 1) / 2.0) * fmin(0.018, 0.06 / n) * steps;
        if (runs[r].curve.eval_low && runs[r].n_seeds > 1)
            sol_text_add(t, NULL,
                         "$eval%d using 1:3:4 with filledcurves lc rgb '%s' fs transparent solid "
                         "0.18 noborder, \\\n",
                         r, sol_run_color(r));
        sol_text_add(t, NULL,
                     "$eval%d using ($1%+.6g):2 with linespoints pt %d ps 0.8 lw 1 lc rgb '%s'%s",
                     r, aside, mark[r % 8], sol_run_color(r), r + 1 < n ? ", \\\n" : "\n");
    }
}

/* A column of all runs; `outlined`: the first ones are wider, so that they show below equal ones.
 */
static void draw_lines(sol_text *t, int column, bool outlined, int n)
{
    for (int r = 0; r < n; r++)
        sol_text_add(t, NULL, "%s$loss%d using 1:%d with lines lw %g lc rgb '%s'",
                     r ? ", " : "plot ", r, column,
                     outlined ? 1.4 + 1.2 * sol_min_i64(n - 1 - r, 4) : 1.0, sol_run_color(r));
    sol_text_add(t, NULL, "\n");
}

void sol_draw_loss(sol_plot *p, const sol_study_run *runs, int n)
{
    range training, evaluation;
    double steps = 1;
    sol_figure_begin(
        p, "loss",
        &(sol_figure_size){
            .width = 900, .panel_height = 210, .rows = 2, .columns = 2, .legend = true},
        runs, n);
    for (int r = 0; r < n; r++) {
        const sol_study_curve *c = &runs[r].curve;
        add_curve(&p->data, c, r);
        if (c->n) steps = fmax(steps, c->step[c->n - 1]);
    }
    ranges_of_losses(runs, n, &training, &evaluation);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set xrange [0:%.6g]\nset ylabel 'nats a token'\nset title 'Training loss'\n",
                 1.03 * steps);
    if (training.lo <= training.hi) {
        set_loss_axis(t, &training);
        draw_lines(t, 2, false, n);
    } else {
        sol_draw_empty_panel(t);
    }
    sol_figure_next(p);
    sol_text_add(t, NULL, "set xrange [0:%.6g]\nset title 'Evaluation at lambda 0'\n",
                 1.03 * steps);
    if (evaluation.lo <= evaluation.hi) {
        set_loss_axis(t, &evaluation);
        draw_evals(t, runs, n, steps);
    } else {
        sol_draw_empty_panel(t);
    }
    sol_text_add(t, NULL,
                 "set xrange [0:%.6g]\nset yrange [-0.04:1.04]\nset xlabel 'optimizer steps'\nset "
                 "ylabel 'lambda'\nset title 'Residual factor lambda'\n",
                 1.03 * steps);
    draw_lines(t, 3, true, n);
    sol_text_add(t, NULL,
                 "set yrange [0:*]\nset format y '%%g'\nset ylabel 'a step'\n"
                 "set title 'Learning rate'\n");
    draw_lines(t, 4, true, n);
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- measures over time ---- */

sol_axis sol_axis_of(int measure)
{
    static const struct {
        int measure;
        sol_axis axis;
    } rows[] = {
        {SOL_M_near_alpha, {0, 0.25, 0.0967, SOL_NEAR_MILD, SOL_NEAR_TRAPPED}},
        {SOL_M_valley_mass, {0, 0.25, 0.1929, SOL_VALLEY_MILD, SOL_VALLEY_TRAPPED}},
        {SOL_M_bimodality, {0, 1, 1 / 3.0, NAN, NAN}},
        {SOL_M_kurtosis, {1, 6, 3, NAN, NAN}},
        {SOL_M_nmse, {0, 0.4, 0.2818, NAN, NAN}},
        {SOL_M_pow2_mass, {0, 0.05, 2 / 128.0, NAN, NAN}},
        {SOL_M_margin, {0, 0.5, NAN, NAN, NAN}},
        {SOL_M_zero_flips, {0, 0.05, NAN, NAN, NAN}},
        {SOL_M_sign_flips, {0, 0.01, NAN, NAN, NAN}},
        {SOL_M_unchanged, {0, 0.05, NAN, NAN, NAN}},
        {SOL_M_er_dw, {0, 0.5, NAN, NAN, NAN}},
        {SOL_M_er_dx, {0, 1, NAN, NAN, NAN}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].measure == measure) return rows[i].axis;
    return (sol_axis){0, 0, NAN, NAN, NAN};
}

void sol_draw_thresholds(sol_text *t, const sol_axis *a, bool named)
{
    static const char *const name[] = {"mild", "trapped"};
    const double at[] = {a->mild, a->trapped};
    for (int i = 0; i < 2; i++) {
        sol_text_add(t, NULL, "unset label %d\n", 201 + i);
        if (named && isfinite(at[i]))
            sol_text_add(t, NULL,
                         "set label %d '%s' at graph 0.99, first %g right offset 0,%g font ',9' tc "
                         "rgb '#AA3377'\n",
                         201 + i, name[i], at[i], at[0] < at[1] ? 0.4 : -0.45);
    }
    sol_text_add(t, NULL, "plot ");
    for (int i = 0; i < 2; i++)
        if (isfinite(at[i]))
            sol_text_add(t, NULL, "%.6g with lines dt 3 lw 1.2 lc rgb '#AA3377', \\\n", at[i]);
    if (isfinite(a->gauss))
        sol_text_add(t, NULL, "%.6g with lines dt 2 lw 1.2 lc rgb '#777777', \\\n", a->gauss);
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The mean of measure m over the layers at a record, and the band about it: the extremes of joined
 * seeds, else the 10th and the 90th percentile of the layers. sorted: a number a layer. */
static void add_mean_and_band(sol_text *t, const sol_study_run *run, int m, int64_t i,
                              double *sorted)
{
    int n = 0;
    for (int l = 0; l < run->n_layers; l++) {
        double x = (double)run->measure[m][i * run->n_layers + l];
        if (isfinite(x)) sorted[n++] = x;
    }
    qsort(sorted, (size_t)n, sizeof *sorted, compare_numbers);
    bool seeds = run->n_seeds > 1;
    sol_plot_number(t, sol_study_mean(run, m, i));
    sol_plot_number(t, seeds ? run->low[m][i] : n ? sorted[(n - 1) / 10] : NAN);
    sol_plot_number(t, seeds ? run->high[m][i] : n ? sorted[n - 1 - (n - 1) / 10] : NAN);
}

/* Adds a row a record: the step, then three numbers a measure. $apart has what does not compare,
 * because its interval was another one, and its mean alone is drawn. */
static void add_measures(sol_text *t, const sol_study_run *run, int r, const int *measures,
                         int n_measures, bool comparable, double *sorted)
{
    sol_text_add(t, NULL, "$%s%d << EOD\n", comparable ? "run" : "apart", r);
    for (int64_t i = 0; i < run->n_records; i++) {
        sol_plot_number(t, run->step[i]);
        for (int k = 0; k < n_measures; k++)
            if (sol_study_comparable(run, measures[k], i) == comparable)
                add_mean_and_band(t, run, measures[k], i, sorted);
            else
                sol_text_add(t, NULL, " NaN NaN NaN");
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

static bool was_measured(const sol_study_run *runs, int n, int m)
{
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < runs[r].n_records; i++)
            if (sol_study_comparable(&runs[r], m, i) && isfinite(sol_study_mean(&runs[r], m, i)))
                return true;
    return false;
}

static bool any_apart(const sol_study_run *run, int m)
{
    for (int64_t i = 0; i < run->n_records; i++)
        if (!sol_study_comparable(run, m, i) && isfinite(sol_study_mean(run, m, i))) return true;
    return false;
}

bool sol_any_seeds(const sol_study_run *runs, int n)
{
    for (int r = 0; r < n; r++)
        if (runs[r].n_seeds > 1) return true;
    return false;
}

/* Measure m of all n runs, column 3 k + 2 of their data, on an axis of time that is the same in all
 * panels. */
static void add_measure_panel(sol_text *t, int m, int k, const sol_study_run *runs, int n)
{
    sol_axis axis = sol_axis_of(m);
    bool seeds = sol_any_seeds(runs, n);
    double last = 1;
    for (int r = 0; r < n; r++) last = fmax(last, runs[r].step[runs[r].n_records - 1] + 1);
    sol_text_add(t, NULL, "set xrange [0:%.0f]\nset yrange [%.6g:%.6g<*]\n", last, axis.lo,
                 axis.hi);
    sol_draw_thresholds(t, &axis, true);
    if (seeds || n <= 3) /* bands of the layers of more runs only hide each other */
        for (int r = 0; r < n; r++)
            if (!seeds || runs[r].n_seeds > 1)
                sol_text_add(t, NULL, "$run%d using 1:%d:%d with filledcurves lc rgb '%s', \\\n", r,
                             3 * k + 3, 3 * k + 4, sol_run_color(r));
    for (int r = 0; r < n; r++)
        if (any_apart(&runs[r], m))
            sol_text_add(t, NULL,
                         "$apart%d using 1:%d with points pt 6 ps 0.7 lw 1.6 lc rgb '%s', \\\n", r,
                         3 * k + 2, sol_run_color(r));
    for (int r = 0; r < n; r++)
        sol_text_add(t, NULL, "%s$run%d using 1:%d with linespoints pt 7 ps 0.3 lw 1.6 lc rgb '%s'",
                     r ? ", \\\n" : "", r, 3 * k + 2, sol_run_color(r));
    sol_text_add(t, NULL, "\n");
}

void sol_draw_measures(sol_plot *p, const char *name, const int *measures, int n_measures,
                       const sol_study_run *runs, int n)
{
    sol_figure_size size = {.width = 900,
                            .panel_height = 210,
                            .rows = (n_measures + 1) / 2,
                            .columns = 2,
                            .legend = true};
    double *sorted = NULL;
    for (int k = 0; k < n_measures; k++)
        if (isfinite(sol_axis_of(measures[k]).gauss)) size.extra = "Gaussian weights under 3:4";
    sol_figure_begin(p, name, &size, runs, n);
    p->data.status =
        sol_alloc_array((void **)&sorted, (size_t)runs[0].n_layers, sizeof *sorted, NULL);
    if (!sorted) return; /* sol_plot_write says it */
    for (int r = 0; r < n; r++) {
        add_measures(&p->data, &runs[r], r, measures, n_measures, true, sorted);
        add_measures(&p->data, &runs[r], r, measures, n_measures, false, sorted);
    }
    sol_free(sorted);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL, "set style fill transparent solid 0.15 noborder\n");
    for (int k = 0; k < n_measures; k++) {
        const sol_measure_row *row = sol_measure_at(measures[k]);
        sol_text_add(t, NULL, "set title '%s'\nset ylabel '%s'\nset xlabel '%s'\n", row->title,
                     row->unit, k >= n_measures - 2 ? "optimizer steps" : "");
        if (was_measured(runs, n, measures[k]))
            add_measure_panel(t, measures[k], k, runs, n);
        else
            sol_draw_empty_panel(t);
        if (k == 0) sol_figure_next(p);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}
