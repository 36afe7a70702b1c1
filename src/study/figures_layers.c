/* The figures of a report that lie over layers: heat maps, profiles, histograms. figures.c calls
 * it for each of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "study/figures.h"

enum { MAX_COLUMNS = 150 }; /* of a heat map */

/* Marks for the layers: every one while they are few, otherwise the blocks. */
static void add_layer_tics(sol_text *t, const char *axis, const sol_study_run *run, bool all)
{
    char label[96];
    int64_t n_blocks = run->layers[run->n_layers - 1].block + 1,
            every = n_blocks > 16 ? (n_blocks + 15) / 16 : 1;
    int n = 0;
    sol_text_add(t, NULL, "set %stics (", axis);
    for (int i = 0; i < run->n_layers; i++) {
        const sol_study_layer *l = &run->layers[i];
        bool first = i == 0 || l->block != run->layers[i - 1].block;
        if (!all && (!first || l->block % every != 0)) continue;
        if (!all) snprintf(label, sizeof label, "%lld", (long long)l->block);
        sol_text_add(t, NULL, "%s", n++ ? ", " : "");
        sol_plot_quote(t, all ? sol_study_layer_label(l, label, sizeof label) : label);
        sol_text_add(t, NULL, " %d", i);
    }
    sol_text_add(t, NULL, ")\n");
}

/* ---- layers x time ---- */

static int64_t heat_record(const sol_study_run *run, int64_t column, int64_t columns)
{
    return columns > 1 ? column * (run->n_records - 1) / (columns - 1) : 0;
}

static void add_matrix(sol_text *t, const sol_study_run *run, int m, int r, double *lo, double *hi)
{
    int64_t columns = sol_min_i64(run->n_records, MAX_COLUMNS);
    sol_text_add(t, NULL, "$heat%d << EOD\n", r);
    for (int i = 0; i < run->n_layers; i++) {
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

static void add_time_tics(sol_text *t, const sol_study_run *run)
{
    int64_t columns = sol_min_i64(run->n_records, MAX_COLUMNS), tics = sol_min_i64(columns, 5);
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
    bool label_all = layers <= 42;
    sol_figure_size size = {.width = 900,
                            .rows = sol_ceil_div(n, columns),
                            .columns = columns,
                            .left = 90,
                            .right = 96,
                            .gap = 56};
    size.panel_height = layers * 11 < 200 ? 200 : layers * 11 > 462 ? 462 : layers * 11;
    snprintf(name, sizeof name, "heat_%s", sol_measure_at(measure)->name);
    sol_figure_begin(p, name, &size, runs, n);
    for (int r = 0; r < n; r++) add_matrix(&p->data, &runs[r], measure, r, &lo, &hi);
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
        add_layer_tics(t, "y", &runs[r], first && label_all);
        add_time_tics(t, &runs[r]);
        sol_text_add(t, NULL,
                     "set ytics font ',%d'\nset ylabel '%s' offset %d,0\nset xlabel '%s'\n",
                     label_all ? 9 : 11,
                     !first      ? ""
                     : label_all ? "block and projection"
                                 : "first layer of block",
                     label_all ? -1 : 0, r + columns >= n ? "optimizer steps" : "");
        sol_text_add(t, NULL, "%s colorbox\n",
                     r % columns == columns - 1 || r == n - 1 ? "set" : "unset");
        sol_plot_title(t, runs[r].name, (size.width - size.left - size.right) / columns);
        sol_text_add(t, NULL, "plot $heat%d matrix with image pixels\n", r);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- profiles ---- */

/* Does any layer of any run have a number at its last record? */
static bool any_number(const sol_study_run *runs, int n, int m)
{
    for (int r = 0; r < n; r++)
        for (int i = 0; i < runs[r].n_layers; i++)
            if (isfinite(runs[r].measure[m][(runs[r].n_records - 1) * runs[r].n_layers + i]))
                return true;
    return false;
}

void sol_draw_profile(sol_plot *p, const sol_study_run *runs, int n)
{
    static const int measures[] = {SOL_M_near_alpha, SOL_M_valley_mass, SOL_M_bimodality,
                                   SOL_M_nmse};
    sol_figure_begin(
        p, "layers",
        &(sol_figure_size){
            .width = 900, .panel_height = 210, .rows = 2, .columns = 2, .legend = true},
        runs, n);
    for (int r = 0; r < n; r++) {
        const sol_study_run *run = &runs[r];
        int64_t at = (run->n_records - 1) * run->n_layers;
        sol_text_add(&p->data, NULL, "$run%d << EOD\n", r);
        for (int i = 0; i < run->n_layers; i++) {
            sol_text_add(&p->data, NULL, "%d", i);
            for (int k = 0; k < 4; k++)
                sol_plot_number(&p->data, (double)run->measure[measures[k]][at + i]);
            sol_text_add(&p->data, NULL, "\n");
        }
        sol_text_add(&p->data, NULL, "EOD\n");
    }
    sol_text *t = &p->draw;
    add_layer_tics(t, "x", &runs[0], false);
    sol_text_add(t, NULL, "set offsets graph 0, graph 0, graph 0.05, graph 0.05\n");
    for (int k = 0; k < 4; k++) {
        const sol_measure_row *row = sol_measure_at(measures[k]);
        bool any = any_number(runs, n, measures[k]);
        sol_text_add(t, NULL, "set title '%s'\nset ylabel '%s'\nset xlabel '%s'\n%s", row->title,
                     row->unit, k >= 2 ? "first layer of block" : "", any ? "plot " : "");
        if (any)
            for (int r = 0; r < n; r++)
                sol_text_add(t, NULL,
                             "%s$run%d using 1:%d with linespoints pt 7 ps 0.4 lw 1.2 lc rgb '%s'",
                             r ? ", \\\n" : "", r, k + 2, sol_run_color(r));
        sol_text_add(t, NULL, "\n");
        if (!any) sol_draw_empty_panel(t);
        if (k == 0) sol_figure_next(p);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- calibration ---- */

/* Two runs side by side; each has a line for every stage. */
void sol_draw_calibration(sol_plot *p, const sol_study_run *runs, int n)
{
    static const struct {
        const char *name, *style;
    } stage[SOL_CALIB_ERRORS] = {{"rounded", "lw 1.2 lc rgb '#999999'"},
                                 {"solved", "lw 1.6 lc rgb '#E69F00'"},
                                 {"trained", "lw 2.2 lc rgb '#0072B2'"},
                                 {"held out", "lw 1.6 dt 3 lc rgb '#0072B2'"}};
    int columns = n < 2 ? n : 2;
    sol_figure_begin(p, "calibration",
                     &(sol_figure_size){.width = 900,
                                        .panel_height = 260,
                                        .rows = sol_ceil_div(n, columns),
                                        .columns = columns},
                     runs, n);
    sol_text *t = &p->draw;
    sol_text_add(t, NULL,
                 "set key top left horizontal samplen 2\nset logscale y\nset ytics (0.005, 0.01, "
                 "0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)\nset yrange [*:*] noextend\nset offsets 0, "
                 "0, graph 0.15, graph 0.05\n"
                 "set xlabel 'block'\nset ylabel 'relative error'\n");
    for (int r = 0; r < n; r++) {
        const sol_study_calibration *c = &runs[r].calibration;
        bool any = false;
        sol_text_add(&p->data, NULL, "$calibration%d << EOD\n", r);
        for (int64_t i = 0; i < c->n; i++) {
            sol_text_add(&p->data, NULL, "%lld", (long long)i);
            for (int k = 0; k < SOL_CALIB_ERRORS; k++) sol_plot_number(&p->data, c->error[k][i]);
            sol_text_add(&p->data, NULL, "\n");
            any = any || isfinite(c->error[0][i]);
        }
        sol_text_add(&p->data, NULL, "EOD\n");
        sol_plot_title(t, runs[r].name, columns > 1 ? 390 : 790);
        sol_text_add(t, NULL, "set xtics %lld\n", (long long)(c->n / 12 + 1));
        if (any)
            for (int k = 0, drawn = 0; k < SOL_CALIB_ERRORS; k++) {
                bool numbers = false;
                for (int64_t i = 0; i < c->n; i++) numbers = numbers || isfinite(c->error[k][i]);
                if (!numbers) continue;
                sol_text_add(
                    t, NULL,
                    "%s$calibration%d using 1:%d with linespoints pt 7 ps 0.4 %s title '%s'",
                    drawn++ ? ", \\\n" : "plot ", r, k + 2, stage[k].style, stage[k].name);
            }
        sol_text_add(t, NULL, "\n");
        if (!any) sol_draw_empty_panel(t);
        if (r == 0) sol_figure_next(p);
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
                first += slice_of(run, 3, 0, i)[b];
                last += slice_of(run, 3, run->n_slices - 1, i)[b];
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
    ridges x = {
        .name = "x", .kind = 1, .second = 0, .merge = 1, .hi = SOL_HIST_X_MAX, .shown = 3.2};
    ridges w = {.name = "w", .kind = 2, .second = -1, .merge = 2};
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
