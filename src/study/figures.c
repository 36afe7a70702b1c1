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
    z.height = (z.panel_height + 80) * z.rows + top;
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
                 (z.gap ? z.gap : 106) / w, 80 / h);
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

/* ---- loss and lambda ---- */

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
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n$eval%d << EOD\n", r);
    for (int64_t i = 0; i < c->n_evals; i++) {
        sol_plot_number(t, c->eval_step[i]);
        sol_plot_number(t, c->eval_loss[i]);
        sol_text_add(t, NULL, "\n");
    }
    if (c->n_evals == 0) sol_text_add(t, NULL, " NaN NaN\n");
    sol_text_add(t, NULL, "EOD\n");
}

/* The range of the losses without the first steps, which would flatten everything after them;
 * false: no loss is a number. */
static bool loss_range(const sol_study_run *runs, int n, double *lo, double *hi)
{
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int r = 0; r < n; r++) {
        const sol_study_curve *c = &runs[r].curve;
        for (int64_t i = 0; i < c->n; i++) {
            *lo = fmin(*lo, c->loss[i]);
            if (i >= c->n / 25) *hi = fmax(*hi, c->loss[i]);
        }
        for (int64_t i = 0; i < c->n_evals; i++) {
            *lo = fmin(*lo, c->eval_loss[i]);
            if (c->eval_step[i] >= 0.04 * c->step[c->n - 1]) *hi = fmax(*hi, c->eval_loss[i]);
        }
    }
    if (!isfinite(*lo)) return false;
    if (*hi < *lo) *hi = *lo; /* only the first steps have a loss */
    double margin = 0.05 * (*hi - *lo) + 1e-3;
    *lo -= margin;
    *hi += margin;
    return true;
}

static void draw_curves(sol_text *t, const sol_study_run *runs, int n)
{
    double lo, hi;
    if (!loss_range(runs, n, &lo, &hi)) {
        sol_draw_empty_panel(t);
        return;
    }
    sol_text_add(t, NULL, "set yrange [%.6g:%.6g]\nplot ", lo, hi);
    for (int r = 0; r < n; r++) {
        sol_text_add(t, NULL, "%s$loss%d using 1:2 with lines lw 1 lc rgb '%s', \\\n",
                     r ? ", \\\n" : "", r, sol_run_color(r));
        sol_text_add(t, NULL,
                     "$eval%d using 1:2 with linespoints pt 7 ps 0.7 dt 3 lw 1 lc rgb '%s'", r,
                     sol_run_color(r));
    }
    sol_text_add(t, NULL, "\n");
}

void sol_draw_loss(sol_plot *p, const sol_study_run *runs, int n)
{
    sol_figure_begin(
        p, "loss",
        &(sol_figure_size){
            .width = 900, .panel_height = 200, .rows = 2, .columns = 1, .legend = true},
        runs, n);
    for (int r = 0; r < n; r++) add_curve(&p->data, &runs[r].curve, r);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set xlabel ''\nset ylabel 'loss, nats a token'\nset title 'Training loss; "
                 "points: evaluation at lambda 0'\n");
    draw_curves(t, runs, n);
    sol_figure_next(p);
    sol_text_add(t, NULL,
                 "set yrange [-0.04:1.04]\nset xlabel 'optimizer steps'\nset ylabel 'lambda'\n"
                 "set title 'Residual factor lambda'\nplot ");
    for (int r = 0; r < n; r++)
        sol_text_add(t, NULL, "%s$loss%d using 1:3 with lines lw 1.6 lc rgb '%s'", r ? ", " : "", r,
                     sol_run_color(r));
    sol_text_add(t, NULL, "\nunset multiplot\n");
}

/* ---- measures over time ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Adds a row a record: the step, and for each measure the mean over the layers, their 10th and
 * their 90th percentile. sorted: workspace for a number a layer. */
static void add_measures(sol_text *t, const sol_study_run *run, int r, const int *measures,
                         int n_measures, double *sorted)
{
    sol_text_add(t, NULL, "$run%d << EOD\n", r);
    for (int64_t i = 0; i < run->n_records; i++) {
        sol_plot_number(t, run->step[i]);
        for (int k = 0; k < n_measures; k++) {
            int m = measures[k], n = 0;
            for (int l = 0; l < run->n_layers; l++) {
                double x = (double)run->measure[m][i * run->n_layers + l];
                if (isfinite(x)) sorted[n++] = x;
            }
            if (!sol_study_comparable(run, m, i)) n = 0;
            qsort(sorted, (size_t)n, sizeof *sorted, compare_numbers);
            sol_plot_number(t, n ? sol_study_mean(run, m, i) : NAN);
            sol_plot_number(t, n ? sorted[(n - 1) / 10] : NAN);
            sol_plot_number(t, n ? sorted[n - 1 - (n - 1) / 10] : NAN);
        }
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

/* What a layer of Gaussian weights has under 3:4 with many weights a scale; NaN: no such number. */
static double gaussian_value(int m)
{
    switch (m) {
    case SOL_M_near_alpha: return 0.0967;
    case SOL_M_valley_mass: return 0.1929;
    case SOL_M_bimodality: return 1 / 3.0;
    case SOL_M_kurtosis: return 3;
    case SOL_M_nmse: return 0.2818;
    case SOL_M_pow2_mass: return 2 / 128.0;
    default: return NAN;
    }
}

static bool was_measured(const sol_study_run *runs, int n, int m)
{
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < runs[r].n_records; i++)
            if (sol_study_comparable(&runs[r], m, i) && isfinite(sol_study_mean(&runs[r], m, i)))
                return true;
    return false;
}

/* Measure m of all n runs, column 3 k + 2 of their data, on an axis of time that is the same in all
 * panels. */
static void add_measure_panel(sol_text *t, int m, int k, const sol_study_run *runs, int n)
{
    double gauss = gaussian_value(m), last = 1;
    for (int r = 0; r < n; r++) last = fmax(last, runs[r].step[runs[r].n_records - 1] + 1);
    sol_text_add(t, NULL, "set xrange [0:%.0f]\nplot ", last);
    if (isfinite(gauss))
        sol_text_add(t, NULL, "%.6g with lines dt 2 lw 1.2 lc rgb '#777777', \\\n", gauss);
    if (n <= 3) /* bands of more runs only hide each other */
        for (int r = 0; r < n; r++)
            sol_text_add(t, NULL, "$run%d using 1:%d:%d with filledcurves lc rgb '%s', \\\n", r,
                         3 * k + 3, 3 * k + 4, sol_run_color(r));
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
        if (isfinite(gaussian_value(measures[k]))) size.extra = "Gaussian weights under 3:4";
    sol_figure_begin(p, name, &size, runs, n);
    p->data.status =
        sol_alloc_array((void **)&sorted, (size_t)runs[0].n_layers, sizeof *sorted, NULL);
    for (int r = 0; r < n; r++) add_measures(&p->data, &runs[r], r, measures, n_measures, sorted);
    sol_free(sorted);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL, "set yrange [*:*]\nset style fill transparent solid 0.15 noborder\n");
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
        *f = (sol_figure){.look = look, .layer = layer};
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
        SOL_TRY(finish(k, &p, "Loss and lambda",
                       "While lambda is above 0 the training loss belongs to a model that still "
                       "has its full-precision synapse; the points "
                       "are the deployed model. Where both meet, the help is gone. Compare runs by "
                       "their last points.",
                       -1, err));
    }
    sol_draw_measures(&p, "flips_rank", moves, 4, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p, "Flips and effective rank over time",
                   "Lines are means over the layers, bands hold four layers out of five. A healthy "
                   "run flips much at first "
                   "and settles slowly; a trapped one stops flipping early while its loss is still "
                   "high. Falling effective rank means "
                   "that gradients become alike.",
                   -1, err));
    sol_draw_measures(&p, "trapping", shapes, 6, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p, "Where the weights are",
                   "The dashed line is what Gaussian weights have. Trapping shows as mass near "
                   "alpha rising, the valley emptying and the "
                   "bimodality coefficient climbing towards 1, all at once.",
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

static sol_status make_layers(maker *k, sol_err *err)
{
    sol_plot p;
    char title[128], label[96];
    sol_draw_profile(&p, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p,
                   k->runs[0].is_static ? "Layer by layer" : "Layer by layer, at the last record",
                   "Layers from the input to the output. One layer far from its neighbours "
                   "deserves a look at its histogram below.",
                   -1, err));
    sol_draw_powers(&p, k->runs, k->n_runs);
    SOL_TRY(finish(k, &p, "Magnitudes, and powers of two",
                   "A smooth hill is healthy. Spikes exactly on the vertical lines (powers of two) "
                   "come from rounding: bf16 weights "
                   "without an fp32 copy cannot take steps smaller than half the distance to their "
                   "neighbour, and pile up where that "
                   "distance doubles.",
                   -1, err));
    for (int l = 0; l < k->runs[0].n_layers; l++) {
        sol_draw_ridges(&p, l, k->runs, k->n_runs);
        snprintf(title, sizeof title, "Layer %s",
                 sol_study_layer_label(&k->runs[0].layers[l], label, sizeof label));
        SOL_TRY(finish(k, &p, title, "", l, err));
    }
    return SOL_OK;
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
