/* The figures of a report over time, as gnuplot panels; figures_layers.c draws those over
 * layers. report.c includes them. */
#include "study/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

/* Okabe and Ito's colours: told apart by all readers, and in grey. */
const char *sol_run_color(int r)
{
    static const char *const colors[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                         "#E69F00", "#56B4E9", "#000000", "#8C6D31"};
    return colors[r % (int)(sizeof colors / sizeof colors[0])];
}

void sol_plot_number(sol_text *t, double x)
{
    if (isfinite(x))
        sol_text_add(t, NULL, " %.6g", x);
    else
        sol_text_add(t, NULL, " NaN");
}

/* The legend: one square and name a run in the run's colour, in lines of the figure's width;
 * returns how many. gnuplot's own key keeps to the width of one panel. With t NULL it is only
 * counted. */
static int add_legend(sol_text *t, const sol_figure_size *size, const sol_study_run *runs, int n,
                      const char *extra)
{
    double x = 92;
    int line = 0;
    for (int r = 0; r < n + (extra != NULL); r++) {
        const char *name = r < n ? runs[r].name : extra;
        double width = 7.4 * (double)strlen(name) + 34;
        if (x > 92 && x + width > size->width - 10) {
            x = 92;
            line++;
        }
        if (t) {
            sol_text_add(t, NULL, "set label %d at screen %.4f,%.4f front tc rgb '%s' ", 100 + r,
                         x / size->width, 1 - (14.0 + 18 * line) / size->height,
                         r < n ? sol_run_color(r) : "#777777");
            char text[300];
            snprintf(text, sizeof text, "%s %.250s", r < n ? "\xe2\x96\xa0" : "- -", name);
            sol_plot_quote(t, text);
            sol_text_add(t, NULL, "\n");
        }
        x += width;
    }
    return line + 1;
}

void sol_figure_begin(sol_plot *p, const char *name, const sol_figure_size *shape,
                      const sol_study_run *runs, int n_runs)
{
    sol_figure_size z = *shape;
    int top = 32 + (z.legend ? 18 * add_legend(NULL, &z, runs, n_runs, z.extra) : 0);
    int below = z.below ? z.below : 80;
    z.height = (z.panel_height + below) * z.rows + top - below + 80;
    sol_plot_begin(p, name, z.width, z.height);
    double h = z.height, w = z.width;
    int left = z.left ? z.left : 92, right = z.right ? z.right : 16;
    sol_text_add(
        &p->draw, NULL,
        "set border 3 lc rgb '#555555'\nset tics nomirror out scale 0.5 tc rgb '#222222'\nset grid "
        "lc rgb '#e4e4e4' lt 1\n"
        "set datafile missing 'NaN'\nset format x '%%.0f'\nset title offset 0,-0.5\nunset key\n");
    if (z.legend) add_legend(&p->draw, &z, runs, n_runs, z.extra);
    sol_text_add(&p->draw, NULL,
                 "set multiplot layout %d,%d margins %.4f,%.4f,%.4f,%.4f spacing %.4f,%.4f\n",
                 z.rows, z.columns, left / w, 1 - right / w, 58 / h, 1 - top / h,
                 (z.gap ? z.gap : 106) / w, below / h);
}

void sol_figure_next(sol_plot *p)
{
    sol_text_add(&p->draw, NULL, "unset label\n");
}

void sol_draw_empty_panel(sol_text *t)
{
    sol_text_add(t, NULL,
                 "set xrange [0:1]\nset yrange [0:1]\nset label 999 'not measured in these "
                 "records' at graph 0.5,0.5 center "
                 "tc rgb '#777777'\nplot 2\nunset label 999\nset xrange [*:*]\nset yrange [*:*]\n");
}

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

/* Adds a row a record: the step, then three numbers a measure. $short has what does not compare,
 * because its interval was shorter, and its mean alone is drawn. */
static void add_measures(sol_text *t, const sol_study_run *run, int r, const int *measures,
                         int n_measures, bool comparable, double *sorted)
{
    sol_text_add(t, NULL, "$%s%d << EOD\n", comparable ? "run" : "short", r);
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

static bool any_short(const sol_study_run *run, int m)
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
        if (any_short(&runs[r], m))
            sol_text_add(t, NULL,
                         "$short%d using 1:%d with points pt 6 ps 0.7 lw 1.6 lc rgb '%s', \\\n", r,
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

/* ---- all of them ---- */

typedef struct maker {
    const sol_study_run *runs;
    int n_runs;
    const char *dir;
    sol_figure *figures; /* owned by the caller in the end */
    size_t capacity;
    int n;
} maker;

/* Writes and releases the plot, and lists it. */
static sol_status finish(maker *k, sol_plot *p, const char *title, const char *look, int layer,
                         sol_err *err)
{
    sol_status st = sol_plot_write(p, k->dir, err);
    if (st == SOL_OK)
        st = sol_grow_array((void **)&k->figures, &k->capacity, (size_t)k->n + 1,
                            sizeof *k->figures, err);
    if (st == SOL_OK) {
        sol_figure *f = &k->figures[k->n++];
        *f = (sol_figure){.look = look, .layer = layer, .tall = p->height > 800};
        memcpy(f->name, p->name, sizeof f->name);
        snprintf(f->title, sizeof f->title, "%s", title);
    }
    sol_plot_free(p);
    return st;
}

static sol_status make_calibration(maker *k, sol_err *err)
{
    sol_plot p;
    bool any = false;
    for (int r = 0; r < k->n_runs; r++) any = any || k->runs[r].calibration.n > 0;
    if (!any) return SOL_OK;
    sol_draw_calibration(&p, k->runs, k->n_runs);
    return finish(k, &p, "Calibration: output error over depth",
                  "The error of each block's output, as a share of the output, from the blocks "
                  "before it as they were calibrated: with its "
                  "weights rounded, solved in closed form, and trained. Look at the distance from "
                  "the solid line to the dotted one, "
                  "which is measured on text that the calibration has not seen: where it is wide, "
                  "more windows help.",
                  -1, err);
}

static sol_status make_time(maker *k, sol_err *err)
{
    static const int moves[] = {SOL_M_zero_flips, SOL_M_sign_flips, SOL_M_er_dw, SOL_M_er_dx};
    static const int shapes[] = {SOL_M_near_alpha, SOL_M_valley_mass, SOL_M_bimodality,
                                 SOL_M_margin,     SOL_M_nmse,        SOL_M_unchanged};
    static const struct {
        int measure;
        const char *look;
    } heat[] = {{SOL_M_near_alpha, "Bright cells are trapped layers: their weights sit on plus and "
                                   "minus alpha. Look for the row that brightens "
                                   "first: that is where trapping begins."},
                {SOL_M_zero_flips, "A dark row is a layer whose zeros are settled: it no longer "
                                   "changes which connections it cuts. That is "
                                   "convergence late in a run, and trapping early in one."},
                {SOL_M_er_dw, "Dark: the gradient of the layer has collapsed to few directions, "
                              "all neurons are pushed alike. A layer that "
                              "darkens here and brightens in the mass near alpha is trapped in the "
                              "sense of the paper."}};
    sol_plot p;
    bool curves = false;
    for (int r = 0; r < k->n_runs; r++) curves = curves || k->runs[r].curve.n > 0;
    if (curves) {
        sol_draw_loss(&p, k->runs, k->n_runs);
        SOL_TRY(finish(k, &p, "Loss, lambda and learning rate",
                       "While lambda is above 0 the training loss belongs to a model that still "
                       "has its full-precision synapse; the evaluation is of the deployed model. "
                       "Compare runs by their last points, which stand beside each other, a little "
                       "off their step.",
                       -1, err));
    }
    sol_draw_measures(&p, "flips_rank", moves, 4, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p, "Flips and effective rank over time",
                   "A healthy run flips much at first and settles slowly; a trapped one stops "
                   "flipping early while its loss is still high. Falling effective rank means that "
                   "gradients become alike. An open circle is a record after a shorter interval, "
                   "which had less time to flip.",
                   -1, err));
    sol_draw_measures(&p, "trapping", shapes, 6, k->runs, k->n_runs);
    SOL_TRY(
        finish(k, &p, "Where the weights are",
               "The dashed line is what Gaussian weights have, the dotted ones are the thresholds "
               "for mild and for trapped. Trapping shows as mass near alpha rising, the valley "
               "emptying and the bimodality coefficient climbing towards 1, all at once.",
               -1, err));
    for (size_t i = 0; i < sizeof heat / sizeof heat[0]; i++) {
        char title[128];
        snprintf(title, sizeof title, "Layers over time: %s",
                 sol_measure_at(heat[i].measure)->title);
        sol_draw_heat(&p, heat[i].measure, k->runs, k->n_runs);
        SOL_TRY(finish(k, &p, title, heat[i].look, -1, err));
    }
    return SOL_OK;
}

/* The layer with the most mass near alpha at the last record of any run that is not `taken` yet. */
static int worst_layer(const maker *k, const bool *taken)
{
    int worst = -1;
    float most = -1;
    for (int l = 0; l < k->runs[0].n_layers; l++)
        for (int r = 0; r < k->n_runs && !taken[l]; r++) {
            const sol_study_run *run = &k->runs[r];
            float x = run->measure[SOL_M_near_alpha][(run->n_records - 1) * run->n_layers + l];
            if (worst >= 0 && !(x > most)) continue;
            worst = l;
            most = isfinite(x) ? x : -1;
        }
    return worst;
}

/* Layers in their order while they are few, else the worst, the worst first. The others' scripts
 * lie beside the page and wait for gnuplot. */
static sol_status make_single_layers(maker *k, sol_err *err)
{
    int n = k->runs[0].n_layers;
    char title[128], label[96];
    bool *taken;
    sol_plot p;
    SOL_TRY(sol_alloc_array((void **)&taken, (size_t)n, sizeof *taken, err));
    sol_status st = SOL_OK;
    for (int i = 0; i < n && st == SOL_OK; i++) {
        int l = n > SOL_FIGURES_FEW ? worst_layer(k, taken) : i;
        taken[l] = true;
        sol_draw_ridges(&p, l, k->runs, k->n_runs);
        snprintf(title, sizeof title, "Layer %s",
                 sol_study_layer_label(&k->runs[0].layers[l], label, sizeof label));
        if (n <= SOL_FIGURES_FEW || i < SOL_FIGURES_WORST) {
            st = finish(k, &p, title, "", l, err);
            continue;
        }
        st = sol_plot_write(&p, k->dir, err);
        sol_plot_free(&p);
    }
    sol_free(taken);
    return st;
}

static sol_status make_layers(maker *k, sol_err *err)
{
    sol_plot p;
    sol_draw_profile(&p, k->runs, k->n_runs);
    SOL_TRY(finish(
        k, &p, k->runs[0].is_static ? "Layer by layer" : "Layer by layer, at the last record",
        "Each kind of layer over the blocks, from the input to the output. Dotted: the "
        "thresholds for mild and for trapped. One layer far from its neighbours deserves "
        "a look at its histogram below.",
        -1, err));
    sol_draw_powers(&p, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p, "Magnitudes, and powers of two",
                   "A smooth hill is healthy. Spikes exactly on the vertical lines (powers of two) "
                   "come from rounding: bf16 weights "
                   "without an fp32 copy cannot take steps smaller than half the distance to their "
                   "neighbour, and pile up where that "
                   "distance doubles.",
                   -1, err));
    sol_draw_kinds(&p, k->runs, k->n_runs);
    SOL_TRY(
        finish(k, &p, "Histograms by kind",
               "|w|/alpha of all layers of a kind together, zeroed and kept weights. The dashed "
               "line is |w| = alpha. Healthy: one broad hill. Trapped: a spike at the dashed "
               "line, and nothing near 0.",
               -1, err));
    return make_single_layers(k, err);
}

/* Runs gnuplot on all figures that were written. */
static sol_status draw(const maker *k, sol_err *err)
{
    const char **names;
    SOL_TRY(sol_alloc_array((void **)&names, (size_t)k->n, sizeof *names, err));
    for (int i = 0; i < k->n; i++) names[i] = k->figures[i].name;
    sol_status st = sol_plot_run(k->dir, names, k->n, err);
    sol_free(names);
    return st;
}

static sol_status make_all(maker *k, sol_err *err)
{
    SOL_TRY(make_calibration(k, err));
    if (!k->runs[0].is_static) SOL_TRY(make_time(k, err));
    SOL_TRY(make_layers(k, err));
    return draw(k, err);
}

sol_status sol_figures_make(const sol_study_run *runs, int n, const char *dir, sol_figure **figures,
                            int *n_figures, sol_err *err)
{
    maker k = {.runs = runs, .n_runs = n, .dir = dir};
    sol_status st = make_all(&k, err);
    if (st != SOL_OK) {
        sol_free(k.figures);
        k.figures = NULL;
        k.n = 0;
    }
    *figures = k.figures;
    *n_figures = k.n;
    return st;
}
