/* The figures over layers: heat maps, profiles, errors of a calibration. figures.c lists them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "study/figures.h"

/* ---- kinds of layers ---- */

int sol_kind_of(const sol_kinds *k, const sol_study_layer *l)
{
    const char *name = sol_study_layer_kind(l);
    int i = 0;
    while (i < k->n - 1 && strcmp(k->name[i], name) != 0) i++;
    return i;
}

sol_kinds sol_kinds_of(const sol_study_run *run)
{
    sol_kinds k = {0};
    for (int i = 0; i < run->n_layers && k.n < SOL_KINDS; i++) {
        const char *name = sol_study_layer_kind(&run->layers[i]);
        if (k.n == 0 || strcmp(k.name[sol_kind_of(&k, &run->layers[i])], name) != 0)
            k.name[k.n++] = name;
    }
    return k;
}

/* ---- layers x time ---- */

/* Cells of a heat map: each is a rectangle of the page. */
enum { MAX_COLUMNS = 150, MAX_CELLS = 4000, NAMED_LAYERS = 42 };

static int64_t heat_columns(const sol_study_run *run, int n_runs)
{
    int64_t max = sol_max_i64(MAX_CELLS / ((int64_t)run->n_layers * n_runs), 8);
    return sol_min_i64(run->n_records, sol_min_i64(max, MAX_COLUMNS));
}

static int64_t heat_record(const sol_study_run *run, int64_t column, int64_t columns)
{
    return columns > 1 ? column * (run->n_records - 1) / (columns - 1) : 0;
}

/* Rows from below: the layers as they follow each other while each has its name, else kind after
 * kind. Next: the layer after `at`, -1 for the first; -1 after the last. */
static int next_row(const sol_study_run *run, const sol_kinds *k, int at)
{
    if (run->n_layers <= NAMED_LAYERS) return at + 1 < run->n_layers ? at + 1 : -1;
    int kind = at < 0 ? 0 : sol_kind_of(k, &run->layers[at]);
    for (int i = at + 1; i < run->n_layers; i++)
        if (sol_kind_of(k, &run->layers[i]) == kind) return i;
    for (int i = 0; i < run->n_layers; i++)
        if (sol_kind_of(k, &run->layers[i]) == kind + 1) return i;
    return -1;
}

static void add_matrix(sol_text *t, const sol_study_run *run, const sol_kinds *kind, int m, int r,
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

/* A mark for every layer. */
static void add_layer_tics(sol_text *t, const sol_study_run *run, const sol_kinds *k)
{
    char label[96];
    int row = 0;
    for (int i = -1; (i = next_row(run, k, i)) >= 0; row++) {
        sol_text_add(t, NULL, "%s", row ? ", " : "");
        sol_plot_quote(t, sol_study_layer_label(&run->layers[i], label, sizeof label));
        sol_text_add(t, NULL, " %d", row);
    }
}

/* A mark for every kind, in the middle of its rows, with white lines between kinds in `borders`. */
static void add_kind_tics(sol_text *t, const sol_study_run *run, const sol_kinds *k, bool named,
                          sol_text *borders)
{
    int last = -1, begun = 0, lines = 0;
    for (int i = -1, row = 0; last < k->n; row++) {
        i = next_row(run, k, i);
        int kind = i < 0 ? k->n : sol_kind_of(k, &run->layers[i]);
        if (kind != last && last >= 0) {
            sol_text_add(t, NULL, "%s", last ? ", " : "");
            sol_plot_quote(t, named ? k->name[last] : "");
            sol_text_add(t, NULL, " %.1f", (begun + row - 1) / 2.0);
            if (kind < k->n)
                sol_text_add(borders, NULL,
                             "set arrow %d from graph 0, first %.1f to graph 1, first %.1f nohead "
                             "lw 2 lc rgb '#ffffff' front\n",
                             ++lines, row - 0.5, row - 0.5);
        }
        if (kind != last) begun = row;
        last = kind;
    }
}

/* The marks of the first of several runs side by side have names. */
static void add_row_tics(sol_text *t, const sol_study_run *run, const sol_kinds *k, bool named)
{
    bool all = run->n_layers <= NAMED_LAYERS;
    sol_text borders = {0};
    sol_text_add(t, NULL, named || !all ? "set ytics (" : "set ytics ('' 0");
    if (!all)
        add_kind_tics(t, run, k, named, &borders);
    else if (named)
        add_layer_tics(t, run, k);
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
    sol_kinds k = sol_kinds_of(&runs[0]);
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
static void add_profiles(sol_text *t, const sol_study_run *run, const sol_kinds *k, int r)
{
    int64_t at = (run->n_records - 1) * run->n_layers;
    sol_text_add(t, NULL, "$run%d << EOD\n", r);
    for (int kind = 0; kind < k->n; kind++) {
        for (int i = 0; i < run->n_layers; i++) {
            if (sol_kind_of(k, &run->layers[i]) != kind) continue;
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
    sol_kinds k = sol_kinds_of(&runs[0]);
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
            if (any)
                for (int r = 0; r < n; r++)
                    sol_text_add(t, NULL,
                                 "%s$run%d index %d using 1:%d with linespoints pt 7 ps 0.35 lw "
                                 "1.2 lc rgb '%s'",
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
