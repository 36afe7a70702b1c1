/* The figures of a report that lie over layers: heat maps, profiles, histograms. figures.c calls
 * it for each of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/figures.h"

/* ---- kinds of layers ---- */

enum { MAX_KINDS = 12 };

/* The kinds of the layers of a run, in the order of their first one; what is beyond MAX_KINDS goes
 * to the last. */
typedef struct kinds {
    const char *name[MAX_KINDS];
    int n;
} kinds;

static int kind_of(const kinds *k, const sol_study_layer *l)
{
    const char *name = sol_study_layer_kind(l);
    int i = 0;
    while (i < k->n - 1 && strcmp(k->name[i], name) != 0) i++;
    return i;
}

static kinds kinds_of(const sol_study_run *run)
{
    kinds k = {0};
    for (int i = 0; i < run->n_layers && k.n < MAX_KINDS; i++) {
        const char *name = sol_study_layer_kind(&run->layers[i]);
        if (k.n == 0 || strcmp(k.name[kind_of(&k, &run->layers[i])], name) != 0)
            k.name[k.n++] = name;
    }
    return k;
}

/* ---- layers x time ---- */

/* Cells of a heat map: each is a rectangle of the page. */
enum { MAX_COLUMNS = 150, MAX_CELLS = 4000, NAMED_LAYERS = 42 };

static int64_t heat_columns(const sol_study_run *run, int n_runs)
{
    int64_t room = sol_max_i64(MAX_CELLS / ((int64_t)run->n_layers * n_runs), 8);
    return sol_min_i64(run->n_records, sol_min_i64(room, MAX_COLUMNS));
}

static int64_t heat_record(const sol_study_run *run, int64_t column, int64_t columns)
{
    return columns > 1 ? column * (run->n_records - 1) / (columns - 1) : 0;
}

/* Rows from below: the layers as they follow each other while each has its name, else kind after
 * kind. Next: the layer after `at`, -1 for the first; -1 after the last. */
static int next_row(const sol_study_run *run, const kinds *k, int at)
{
    if (run->n_layers <= NAMED_LAYERS) return at + 1 < run->n_layers ? at + 1 : -1;
    int kind = at < 0 ? 0 : kind_of(k, &run->layers[at]);
    for (int i = at + 1; i < run->n_layers; i++)
        if (kind_of(k, &run->layers[i]) == kind) return i;
    for (int i = 0; kind + 1 < k->n && i < run->n_layers; i++)
        if (kind_of(k, &run->layers[i]) == kind + 1) return i;
    return -1;
}

static void add_matrix(sol_text *t, const sol_study_run *run, const kinds *kind, int m, int r,
                       int64_t columns, double *lo, double *hi)
{
    sol_text_add(t, NULL, "$heat%d << EOD\n", r);
    for (int i = -1; (i = next_row(run, kind, i)) >= 0;) {
        for (int64_t c = 0; c < columns; c++) {
            int64_t record = heat_record(run, c, columns);
            double x = sol_study_comparable(run, m, record)
                           ? (double)run->measure[m][record * run->n_layers + i]
                           : NAN;
            sol_plot_number(t, x);
            if (isfinite(x)) *lo = fmin(*lo, x), *hi = fmax(*hi, x);
        }
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

/* A mark for every layer, or for every kind in the middle of its rows, with white lines between
 * kinds. */
static void add_row_tics(sol_text *t, const sol_study_run *run, const kinds *k, bool named)
{
    char label[96];
    int row = 0, last = -1, begun = 0, lines = 0;
    bool all = run->n_layers <= NAMED_LAYERS;
    sol_text borders = {0};
    sol_text_add(t, NULL, named || !all ? "set ytics (" : "set ytics ('' 0");
    for (int i = -1; named && all && (i = next_row(run, k, i)) >= 0; row++) {
        sol_text_add(t, NULL, "%s", row ? ", " : "");
        sol_plot_quote(t, sol_study_layer_label(&run->layers[i], label, sizeof label));
        sol_text_add(t, NULL, " %d", row);
    }
    for (int i = -1; !all && last < k->n; row++) {
        i = next_row(run, k, i);
        int kind = i < 0 ? k->n : kind_of(k, &run->layers[i]);
        if (kind != last && last >= 0) {
            sol_text_add(t, NULL, "%s", last ? ", " : "");
            sol_plot_quote(t, named ? k->name[last] : "");
            sol_text_add(t, NULL, " %.1f", (begun + row - 1) / 2.0);
            if (kind < k->n)
                sol_text_add(&borders, NULL,
                             "set arrow %d from graph 0, first %.1f to graph 1, first %.1f nohead "
                             "lw 2 lc rgb '#ffffff' front\n",
                             ++lines, row - 0.5, row - 0.5);
        }
        if (kind != last) begun = row;
        last = kind;
    }
    sol_text_add(t, NULL, ")\n%s", borders.data ? borders.data : "");
    sol_free(borders.data);
}

static void add_time_tics(sol_text *t, const sol_study_run *run, int64_t columns)
{
    int64_t tics = sol_min_i64(columns, 5);
    sol_text_add(t, NULL, "set xtics (");
    for (int64_t k = 0; k < tics; k++) {
        int64_t c = tics > 1 ? k * (columns - 1) / (tics - 1) : 0;
        sol_text_add(t, NULL, "%s'%.0f' %lld", k ? ", " : "",
                     run->step[heat_record(run, c, columns)], (long long)c);
    }
    sol_text_add(t, NULL, ")\n");
}

/* Ranges that mean the same in every report: a layer without trapping must not look bright because
 * all others are even darker. */
static void heat_range(int measure, double *lo, double *hi)
{
    if (!(*lo <= *hi)) *lo = 0, *hi = 1; /* nothing but NaN */
    if (measure == SOL_M_near_alpha) *lo = 0.05, *hi = fmax(*hi, 0.3);
    if (measure == SOL_M_er_dw) *lo = 0, *hi = 1;
    if (measure == SOL_M_zero_flips) *lo = 0, *hi = fmax(*hi, 0.05);
}

void sol_draw_heat(sol_plot *p, int measure, const sol_study_run *runs, int n)
{
    char name[64];
    double lo = INFINITY, hi = -INFINITY;
    int columns = n < 3 ? n : 3, layers = runs[0].n_layers;
    bool label_all = layers <= NAMED_LAYERS;
    kinds k = kinds_of(&runs[0]);
    sol_figure_size size = {.width = 900,
                            .rows = sol_ceil_div(n, columns),
                            .columns = columns,
                            .left = 104,
                            .right = 96,
                            .gap = 40};
    size.panel_height = layers * 11 < 200 ? 200 : layers * 11 > 462 ? 462 : layers * 11;
    snprintf(name, sizeof name, "heat_%s", sol_measure_at(measure)->name);
    sol_figure_begin(p, name, &size, runs, n);
    for (int r = 0; r < n; r++)
        add_matrix(&p->data, &runs[r], &k, measure, r, heat_columns(&runs[r], n), &lo, &hi);
    heat_range(measure, &lo, &hi);
    sol_text *t = &p->draw;
    /* Dark to bright in equal steps of lightness (the colours of viridis). */
    sol_text_add(t, NULL,
                 "set palette defined (0 '#440154', 1 '#46327e', 2 '#365c8d', 3 '#277f8e', 4 "
                 "'#1fa187', 5 '#4ac16d', "
                 "6 '#a0da39', 7 '#fde725')\nunset grid\nset cbrange [%.6g:%.6g]\nset cblabel "
                 "'%s'\nset autoscale xfix\n"
                 "set autoscale yfix\n",
                 lo, hi, sol_measure_at(measure)->unit);
    for (int r = 0; r < n; r++) {
        bool first = r % columns == 0;
        add_row_tics(t, &runs[r], &k, first);
        add_time_tics(t, &runs[r], heat_columns(&runs[r], n));
        sol_text_add(t, NULL, "set ytics font ',%d'\nset ylabel '%s'\nset xlabel '%s'\n",
                     label_all ? 9 : 11,
                     !first      ? ""
                     : label_all ? "block and projection"
                                 : "kind; in each, blocks from below",
                     r + columns >= n ? "optimizer steps" : "");
        sol_text_add(t, NULL, "%s colorbox\n",
                     r % columns == columns - 1 || r == n - 1 ? "set" : "unset");
        sol_plot_title(t, runs[r].name, (size.width - size.left - size.right) / columns);
        sol_text_add(t, NULL, "plot $heat%d matrix with image pixels\n", r);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- profiles ---- */

/* The axis of a measure over the last records of all runs and layers; false: none has a number. */
static bool last_axis(const sol_study_run *runs, int n, int m, sol_axis *axis)
{
    bool any = false;
    *axis = sol_axis_of(m);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < runs[r].n_layers; i++) {
            double x = (double)runs[r].measure[m][(runs[r].n_records - 1) * runs[r].n_layers + i];
            if (!isfinite(x)) continue;
            axis->hi = fmax(axis->hi, 1.05 * x);
            any = true;
        }
    return any;
}

enum { N_PROFILES = 3 };
static const int profiles[N_PROFILES] = {SOL_M_near_alpha, SOL_M_valley_mass, SOL_M_nmse};

/* $run0 and so on: a block of lines a kind; in each the block's number and the measures. */
static void add_profiles(sol_text *t, const sol_study_run *run, const kinds *k, int r)
{
    int64_t at = (run->n_records - 1) * run->n_layers;
    sol_text_add(t, NULL, "$run%d << EOD\n", r);
    for (int kind = 0; kind < k->n; kind++) {
        for (int i = 0; i < run->n_layers; i++) {
            if (kind_of(k, &run->layers[i]) != kind) continue;
            sol_text_add(t, NULL, "%lld", (long long)run->layers[i].block);
            for (int m = 0; m < N_PROFILES; m++)
                sol_plot_number(t, (double)run->measure[profiles[m]][at + i]);
            sol_text_add(t, NULL, "\n");
        }
        sol_text_add(t, NULL, "\n\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

void sol_draw_profile(sol_plot *p, const sol_study_run *runs, int n)
{
    static const char *const short_name[N_PROFILES] = {"mass near alpha", "valley mass",
                                                       "quantization error"};
    kinds k = kinds_of(&runs[0]);
    double last = (double)runs[0].layers[runs[0].n_layers - 1].block;
    sol_figure_begin(p, "layers",
                     &(sol_figure_size){.width = 900,
                                        .panel_height = 130,
                                        .rows = N_PROFILES,
                                        .columns = k.n,
                                        .legend = true,
                                        .extra = "Gaussian weights under 3:4",
                                        .left = 78,
                                        .gap = 9,
                                        .below = 34},
                     runs, n);
    for (int r = 0; r < n; r++) add_profiles(&p->data, &runs[r], &k, r);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL, "set xrange [%g:%g]\nset xtics %g\n", -0.04 * last - 0.3,
                 1.04 * last + 0.3, last < 4 ? 1 : ceil(last / 4));
    for (int m = 0; m < N_PROFILES; m++)
        for (int kind = 0; kind < k.n; kind++) {
            sol_axis axis;
            bool any = last_axis(runs, n, profiles[m], &axis);
            sol_text_add(t, NULL, "set format y '%s'\nset ylabel '%s'\nset xlabel '%s'\nset title ",
                         kind == 0 ? "%g" : "", kind == 0 ? short_name[m] : "",
                         m == N_PROFILES - 1 ? "block" : "");
            sol_plot_quote(t, m == 0 ? k.name[kind] : "");
            sol_text_add(t, NULL, "\nset yrange [%.6g:%.6g]\n", axis.lo, axis.hi);
            if (any) sol_draw_thresholds(t, &axis, kind == k.n - 1);
            for (int r = 0; any && r < n; r++)
                sol_text_add(
                    t, NULL,
                    "%s$run%d index %d using 1:%d with linespoints pt 7 ps 0.35 lw 1.2 lc rgb '%s'",
                    r ? ", \\\n" : "", r, kind, m + 2, sol_run_color(r));
            sol_text_add(t, NULL, "\n");
            if (!any) sol_draw_empty_panel(t);
            if (m == 0 && kind == 0) sol_figure_next(p);
        }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- calibration ---- */

/* Was run r calibrated, and does any block have an error? */
static bool calibrated(const sol_study_run *run)
{
    for (int64_t i = 0; i < run->calibration.n; i++)
        if (isfinite(run->calibration.error[0][i])) return true;
    return false;
}

static void draw_calibration(sol_plot *p, const sol_study_run *run, int r)
{
    static const struct {
        const char *name, *style;
    } stage[SOL_CALIB_ERRORS] = {{"rounded", "lw 1.2 lc rgb '#999999'"},
                                 {"solved", "lw 1.6 lc rgb '#E69F00'"},
                                 {"trained", "lw 2.2 lc rgb '#0072B2'"},
                                 {"held out", "lw 1.6 dt 3 lc rgb '#0072B2'"}};
    const sol_study_calibration *c = &run->calibration;
    const char *comma = "plot ";
    sol_text_add(&p->data, NULL, "$calibration%d << EOD\n", r);
    for (int64_t i = 0; i < c->n; i++) {
        sol_text_add(&p->data, NULL, "%lld", (long long)i);
        for (int k = 0; k < SOL_CALIB_ERRORS; k++) sol_plot_number(&p->data, c->error[k][i]);
        sol_text_add(&p->data, NULL, "\n");
    }
    sol_text_add(&p->data, NULL, "EOD\n");
    sol_text_add(&p->draw, NULL, "set xtics %lld\n", (long long)(c->n / 12 + 1));
    for (int k = 0; k < SOL_CALIB_ERRORS; k++) {
        bool numbers = false;
        for (int64_t i = 0; i < c->n; i++) numbers = numbers || isfinite(c->error[k][i]);
        if (!numbers) continue;
        sol_text_add(&p->draw, NULL,
                     "%s$calibration%d using 1:%d with linespoints pt 7 ps 0.4 %s title '%s'",
                     comma, r, k + 2, stage[k].style, stage[k].name);
        comma = ", \\\n";
    }
    sol_text_add(&p->draw, NULL, "\n");
}

/* Those that were calibrated, two side by side. */
void sol_draw_calibration(sol_plot *p, const sol_study_run *runs, int n)
{
    int n_drawn = 0;
    for (int r = 0; r < n; r++) n_drawn += calibrated(&runs[r]);
    int columns = n_drawn < 2 ? 1 : 2;
    sol_figure_begin(p, "calibration",
                     &(sol_figure_size){.width = 900,
                                        .panel_height = 230,
                                        .rows = (int)sol_ceil_div(n_drawn, columns),
                                        .columns = columns},
                     runs, n);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set key top left horizontal samplen 2\nset logscale y\nset ytics (0.005, 0.01, "
                 "0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)\nset yrange [*:*] noextend\nset offsets 0, "
                 "0, graph 0.15, graph 0.05\n"
                 "set xlabel 'block'\nset ylabel 'relative error'\n");
    for (int r = 0; r < n; r++) {
        if (!calibrated(&runs[r])) continue;
        sol_plot_title(t, runs[r].name, columns > 1 ? 390 : 790);
        draw_calibration(p, &runs[r], r);
        sol_figure_next(p);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- histograms ---- */

static const uint32_t *slice_of(const sol_study_run *run, int kind, int slice, int layer)
{
    int64_t bins = sol_hist_bins(kind);
    return run->hist[kind] + ((int64_t)slice * run->n_layers + layer) * bins;
}

void sol_draw_powers(sol_plot *p, const sol_study_run *runs, int n)
{
    int columns = n < 2 ? n : 2;
    sol_figure_begin(p, "powers",
                     &(sol_figure_size){.width = 900,
                                        .panel_height = 210,
                                        .rows = sol_ceil_div(n, columns),
                                        .columns = columns},
                     runs, n);
    for (int r = 0; r < n; r++) {
        const sol_study_run *run = &runs[r];
        sol_text_add(&p->data, NULL, "$log%d << EOD\n", r);
        for (int b = 1; b < SOL_HIST_LOG2_BINS - 1; b++) { /* the outer bins are open */
            double weights = 0, first = 0, last = 0;
            for (int i = 0; i < run->n_layers; i++) {
                weights += (double)(run->layers[i].rows * run->layers[i].cols);
                first += slice_of(run, SOL_HIST_LOG2, 0, i)[b];
                last += slice_of(run, SOL_HIST_LOG2, run->n_slices - 1, i)[b];
            }
            /* Eight bins of equal width in |w| from 2^e to 2^(e+1): on the axis of log2 their width
             * is unequal. */
            double left = SOL_HIST_LOG2_MIN + b / 8 + log2(1 + b % 8 / 8.0),
                   right = SOL_HIST_LOG2_MIN + b / 8 + log2(1 + (b % 8 + 1) / 8.0);
            sol_text_add(&p->data, NULL, "%.5f %.6g %.6g\n", (left + right) / 2,
                         first / weights / (right - left), last / weights / (right - left));
        }
        sol_text_add(&p->data, NULL, "EOD\n");
    }
    static const char *const raised[] = {"\u2070", "\u00b9", "\u00b2", "\u00b3", "\u2074",
                                         "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
    sol_text *t = &p->draw;
    sol_text_add(t, NULL, "set key top left Left reverse samplen 2\nset xtics (");
    for (int e = -14; e <= 2; e++) { /* a name at every second power */
        char power[24] = "";
        if (e % 2 == 0)
            snprintf(power, sizeof power, "2%s%s%s", e < 0 ? "\u207b" : "",
                     abs(e) > 9 ? raised[1] : "", raised[abs(e) % 10]);
        sol_text_add(t, NULL, "%s'%s' %d %d", e > -14 ? ", " : "", power, e, e % 2 != 0);
    }
    sol_text_add(t, NULL,
                 ")\nset grid mxtics xtics ytics lc rgb '#d0d0d0' lt 1, lc rgb '#d0d0d0' lt 1\nset "
                 "xrange [-14:2]\n"
                 "set yrange [0:*]\n");
    for (int r = 0; r < n; r++) {
        sol_plot_title(t, runs[r].name, 800 / columns);
        sol_text_add(t, NULL, "set ylabel 'weights, density over log2 |w|'\nset xlabel '%s'\nplot ",
                     r + columns >= n ? "|w|" : "");
        if (runs[r].n_slices > 1)
            sol_text_add(
                t, NULL,
                "$log%d using 1:2 with lines lw 1.2 lc rgb '#999999' title 'first record', ", r);
        sol_text_add(t, NULL, "$log%d using 1:3 with lines lw 1.6 lc rgb '%s' title '%s'\n", r,
                     sol_run_color(r), runs[r].n_slices > 1 ? "last record" : "all layers");
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* Weights of a kind by |w| / alpha, as a density: at the first record and at the last one. */
static void add_kind(sol_text *t, const sol_study_run *run, const kinds *k, int kind)
{
    const double width = SOL_HIST_X_MAX / SOL_HIST_X_BINS;
    for (int b = 0; b < SOL_HIST_X_BINS - 1; b++) { /* the last one is open */
        double weights = 0, first = 0, last = 0;
        for (int i = 0; i < run->n_layers; i++) {
            if (kind_of(k, &run->layers[i]) != kind) continue;
            weights += (double)(run->layers[i].rows * run->layers[i].cols);
            for (int h = SOL_HIST_ZEROED; h <= SOL_HIST_KEPT; h++) {
                first += slice_of(run, h, 0, i)[b];
                last += slice_of(run, h, run->n_slices - 1, i)[b];
            }
        }
        if (weights == 0) weights = NAN;
        sol_text_add(t, NULL, "%.2f %.4g %.4g\n", (b + 0.5) * width, first / weights / width,
                     last / weights / width);
    }
    sol_text_add(t, NULL, "\n\n");
}

void sol_draw_kinds(sol_plot *p, const sol_study_run *runs, int n)
{
    kinds k = kinds_of(&runs[0]);
    int columns = k.n < 4 ? k.n : 4;
    sol_figure_begin(p, "kinds",
                     &(sol_figure_size){.width = 900,
                                        .panel_height = 140,
                                        .rows = sol_ceil_div(k.n, columns),
                                        .columns = columns,
                                        .legend = true,
                                        .extra = runs[0].is_static ? NULL : "first record",
                                        .left = 60,
                                        .gap = 34,
                                        .below = 46},
                     runs, n);
    for (int r = 0; r < n; r++) {
        sol_text_add(&p->data, NULL, "$kind%d << EOD\n", r);
        for (int kind = 0; kind < k.n; kind++) add_kind(&p->data, &runs[r], &k, kind);
        sol_text_add(&p->data, NULL, "EOD\n");
    }
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set grid x noy\nset xrange [0:3]\nset xtics 1\nset format x '%%g'\nset yrange "
                 "[0:1<*]\nset ytics 1\nset arrow 1 from 1, graph 0 to 1, graph 1 nohead dt 2 lw 1 "
                 "lc rgb '#444444' front\n");
    for (int kind = 0; kind < k.n; kind++) {
        sol_text_add(t, NULL, "set ylabel '%s'\nset xlabel '%s'\nset title ",
                     kind % columns == 0 ? "density" : "",
                     kind + columns >= k.n ? "|w| / alpha" : "");
        sol_plot_quote(t, k.name[kind]);
        sol_text_add(t, NULL, "\nplot ");
        for (int r = 0; r < n; r++) {
            if (!runs[r].is_static)
                sol_text_add(t, NULL,
                             "$kind%d index %d using 1:2 with lines dt 2 lw 1 lc rgb '#777777', ",
                             r, kind);
            sol_text_add(t, NULL, "$kind%d index %d using 1:3 with lines lw 1.6 lc rgb '%s'%s", r,
                         kind, sol_run_color(r), r + 1 < n ? ", \\\n" : "\n");
        }
        if (kind == 0) sol_figure_next(p);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* One curve a slice on the baseline s, `merge` bins in one; the highest peak of all slices is
 * `peak` baselines high. kind: the histogram, second: another one over the same bins, -1: none. */
typedef struct ridges {
    const char *name;
    int kind, second, merge;
    double lo, hi; /* of the whole histogram */
    double shown;  /* right end of the axis */
} ridges;

static double merged(const sol_study_run *run, int kind, int slice, int layer, int bin, int merge)
{
    const uint32_t *h = slice_of(run, kind, slice, layer);
    double sum = 0;
    for (int k = 0; k < merge; k++) sum += h[bin * merge + k];
    return sum;
}

/* The curve of one histogram from its baseline to its baseline, a polygon; a block of its own. */
static void add_ridge(sol_text *t, const ridges *d, const sol_study_run *run, int layer, int kind,
                      int slice, double scale)
{
    int bins = sol_hist_bins(kind) / d->merge;
    double width = (d->hi - d->lo) / bins;
    sol_text_add(t, NULL, "%.5g %d\n", d->lo, slice);
    for (int b = 0; b < bins && d->lo + b * width < d->shown; b++)
        sol_text_add(t, NULL, "%.5g %.4f\n", d->lo + width * (b + 0.5),
                     slice + scale * merged(run, kind, slice, layer, b, d->merge));
    sol_text_add(t, NULL, "%.5g %d\n\n\n", d->shown, slice);
}

static void add_ridges(sol_text *t, const ridges *d, int r, const sol_study_run *run, int layer)
{
    const double peak = run->n_slices > 1 ? 1.9 : 1;
    int bins = sol_hist_bins(d->kind) / d->merge;
    double highest = 1;
    for (int s = 0; s < run->n_slices; s++)
        for (int b = 0; b < bins; b++) {
            highest = fmax(highest, merged(run, d->kind, s, layer, b, d->merge));
            if (d->second >= 0)
                highest = fmax(highest, merged(run, d->second, s, layer, b, d->merge));
        }
    sol_text_add(t, NULL, "$%s%d << EOD\n", d->name, r);
    for (int s = 0; s < run->n_slices; s++) {
        add_ridge(t, d, run, layer, d->kind, s, peak / highest);
        if (d->second >= 0) add_ridge(t, d, run, layer, d->second, s, peak / highest);
    }
    sol_text_add(t, NULL, "EOD\n");
}

static void draw_ridges_of(sol_text *t, const ridges *d, int r, const sol_study_run *run)
{
    static const char *const kept = "#0072B2", *const zeroed = "#E69F00", *const all = "#666666";
    static const char look[] = "fs transparent solid 0.8 noborder";
    int n = run->n_slices;
    bool two = d->second >= 0;
    if (run->is_static)
        sol_text_add(t, NULL, "unset ytics\nset ylabel 'weights'\n");
    else {
        sol_text_add(t, NULL, "set ylabel 'optimizer steps'\nset ytics (");
        for (int s = 0; s < n; s++)
            sol_text_add(t, NULL, "%s'%.0f' %d", s ? ", " : "", run->step[run->slice[s]], s);
        sol_text_add(t, NULL, ")\n");
    }
    sol_text_add(t, NULL, "set yrange [-0.1:%.2f]\nplot ", n > 1 ? n + 1.6 : 1.3);
    for (int s = n - 1; s >= 0; s--) { /* later ones behind */
        sol_text_add(t, NULL, "%s$%s%d index %d with filledcurves closed fc rgb '%s' %s title '%s'",
                     s < n - 1 ? ", \\\n" : "", d->name, r, two ? 2 * s : s, two ? kept : all, look,
                     s == 0 && two ? "kept" : "");
        if (two)
            sol_text_add(t, NULL,
                         ", \\\n$%s%d index %d with filledcurves closed fc rgb '%s' %s title '%s'",
                         d->name, r, 2 * s + 1, zeroed, look, s == 0 ? "zeroed" : "");
    }
    sol_text_add(t, NULL, "\n");
}

/* Of 1, 2 and 5 times a power of ten the largest up to x. */
static double round_step(double x)
{
    double power = pow(10, floor(log10(x)));
    return power * (x >= 5 * power ? 5 : x >= 2 * power ? 2 : 1);
}

void sol_draw_ridges(sol_plot *p, int layer, const sol_study_run *runs, int n)
{
    char name[64], label[96], axis[128];
    ridges x = {.name = "x",
                .kind = SOL_HIST_KEPT,
                .second = SOL_HIST_ZEROED,
                .merge = 1,
                .hi = SOL_HIST_X_MAX,
                .shown = 3.2};
    ridges w = {.name = "w", .kind = SOL_HIST_W, .second = -1, .merge = 2};
    snprintf(name, sizeof name, "layer_%03d", layer);
    sol_figure_begin(p, name,
                     &(sol_figure_size){.width = n < 4 ? 900 : 250 * n,
                                        .panel_height = runs[0].is_static ? 150 : 270,
                                        .rows = n == 1 ? 1 : 2,
                                        .columns = n == 1 ? 2 : n},
                     runs, n);
    for (int r = 0; r < n; r++) {
        w.hi = w.shown = runs[r].layers[layer].w_range;
        w.lo = -w.hi;
        add_ridges(&p->data, &x, r, &runs[r], layer);
        add_ridges(&p->data, &w, r, &runs[r], layer);
    }
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set grid x noy\nset key top right samplen 1\nset xrange [0:3.2]\nset xtics "
                 "%s\nset format x '%%g'\n"
                 "set arrow 1 from 1, graph 0 to 1, graph 1 nohead dt 2 lw 1 lc rgb '#444444' "
                 "front\nset xlabel ",
                 n < 3 ? "0.5" : "1");
    snprintf(axis, sizeof axis, "|w| / alpha of %s",
             sol_study_layer_label(&runs[0].layers[layer], label, sizeof label));
    sol_plot_quote(t, axis);
    sol_text_add(t, NULL, "\n");
    for (int r = 0; r < n; r++) {
        sol_plot_title(t, runs[r].name, (n < 4 ? 900 / n : 250) - 30);
        draw_ridges_of(t, &x, r, &runs[r]);
        if (r == 0) sol_text_add(t, NULL, "unset key\n");
    }
    snprintf(axis, sizeof axis, "w of %s", label);
    sol_text_add(t, NULL, "unset arrow 1\nset title ''\nset xlabel ");
    sol_plot_quote(t, axis);
    sol_text_add(t, NULL, "\n");
    for (int r = 0; r < n; r++) {
        double range = runs[r].layers[layer].w_range;
        sol_text_add(t, NULL, "set xrange [%.6g:%.6g]\nset xtics %.6g\n", -range, range,
                     round_step(n < 3 ? range / 2 : range));
        draw_ridges_of(t, &w, r, &runs[r]);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}
