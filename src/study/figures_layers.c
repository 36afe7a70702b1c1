/* Figures over layers: heat maps, profiles, histograms. */
#include <math.h>
#include <stdio.h>

#include "study/figures.h"

enum { MAX_COLUMNS = 150 }; /* of a heat map */

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Marks for the layers: every one while they are few, otherwise the blocks. */
static void add_layer_tics(sol_text *t, const char *axis, const sol_study_run *run, bool all)
{
    char label[96];
    int64_t n_blocks = run->layers[run->n_layers - 1].block + 1, every = n_blocks > 16 ? (n_blocks + 15) / 16 : 1;
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
    int64_t columns = min64(run->n_records, MAX_COLUMNS);
    sol_text_add(t, NULL, "$heat%d << EOD\n", r);
    for (int i = 0; i < run->n_layers; i++) {
        for (int64_t c = 0; c < columns; c++) {
            double x = (double)run->measure[m][heat_record(run, c, columns) * run->n_layers + i];
            sol_plot_number(t, x);
            if (isfinite(x)) *lo = fmin(*lo, x), *hi = fmax(*hi, x);
        }
        sol_text_add(t, NULL, "\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

static void add_time_tics(sol_text *t, const sol_study_run *run)
{
    int64_t columns = min64(run->n_records, MAX_COLUMNS), tics = min64(columns, 5);
    sol_text_add(t, NULL, "set xtics (");
    for (int64_t k = 0; k < tics; k++) {
        int64_t c = tics > 1 ? k * (columns - 1) / (tics - 1) : 0;
        sol_text_add(t, NULL, "%s'%.0f' %lld", k ? ", " : "", run->step[heat_record(run, c, columns)], (long long)c);
    }
    sol_text_add(t, NULL, ")\n");
}

void sol_draw_heat(sol_plot *p, int measure, const sol_study_run *runs, int n)
{
    char name[64];
    double lo = INFINITY, hi = -INFINITY;
    int columns = n < 3 ? n : 3, rows = (n + columns - 1) / columns, layers = runs[0].n_layers;
    int height = layers * 11 < 200 ? 200 : layers * 11 > 480 ? 480 : layers * 11;
    snprintf(name, sizeof name, "heat-%s", sol_measure_at(measure)->name);
    sol_figure_begin(p, name, 900, (height + 74) * rows, rows, columns, runs, n, false);
    for (int r = 0; r < n; r++) add_matrix(&p->data, &runs[r], measure, r, &lo, &hi);
    if (!(lo < hi)) lo = lo < INFINITY ? lo : 0, hi = lo + 1;
    sol_text *t = &p->draw;
    /* Dark to bright in equal steps of lightness (the colours of viridis). */
    sol_text_add(t, NULL,
                 "set palette defined (0 '#440154', 1 '#46327e', 2 '#365c8d', 3 '#277f8e', 4 '#1fa187', 5 '#4ac16d', "
                 "6 '#a0da39', 7 '#fde725')\nunset grid\nset cbrange [%.6g:%.6g]\nset cblabel '%s'\nset autoscale xfix\n"
                 "set autoscale yfix\n", lo, hi, sol_measure_at(measure)->unit);
    for (int r = 0; r < n; r++) {
        bool first = r % columns == 0;
        add_layer_tics(t, "y", &runs[r], first && layers <= 42);
        add_time_tics(t, &runs[r]);
        if (layers <= 42) sol_text_add(t, NULL, "set ytics font ',9'\n");
        sol_text_add(t, NULL, "set ylabel '%s' offset %d,0\nset xlabel 'optimizer steps'\n", first ? "layer (block and projection)" : "",
                     layers <= 42 ? -1 : 0);
        if (!first && layers <= 42) sol_text_add(t, NULL, "set format y ''\n");
        sol_text_add(t, NULL, "set %s colorbox\nset title ", r % columns == columns - 1 || r == n - 1 ? "" : "no");
        sol_plot_quote(t, runs[r].name);
        sol_text_add(t, NULL, "\nplot $heat%d matrix with image pixels notitle\n", r);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* ---- profiles ---- */

void sol_draw_profile(sol_plot *p, const sol_study_run *runs, int n)
{
    static const int measures[] = {SOL_M_near_alpha, SOL_M_valley_mass, SOL_M_bimodality, SOL_M_nmse};
    sol_figure_begin(p, "layers", 900, 560, 2, 2, runs, n, true);
    for (int r = 0; r < n; r++) {
        const sol_study_run *run = &runs[r];
        int64_t at = (run->n_records - 1) * run->n_layers;
        sol_text_add(&p->data, NULL, "$run%d << EOD\n", r);
        for (int i = 0; i < run->n_layers; i++) {
            sol_text_add(&p->data, NULL, "%d", i);
            for (int k = 0; k < 4; k++) sol_plot_number(&p->data, (double)run->measure[measures[k]][at + i]);
            sol_text_add(&p->data, NULL, "\n");
        }
        sol_text_add(&p->data, NULL, "EOD\n");
    }
    sol_text *t = &p->draw;
    add_layer_tics(t, "x", &runs[0], false);
    sol_text_add(t, NULL, "set offsets graph 0, graph 0, graph 0.05, graph 0.05\n");
    for (int k = 0; k < 4; k++) {
        const sol_measure_row *row = sol_measure_at(measures[k]);
        sol_text_add(t, NULL, "set title '%s'\nset ylabel '%s'\nset xlabel '%s'\nplot ", row->title, row->unit,
                     k >= 2 ? "first layer of block" : "");
        for (int r = 0; r < n; r++) {
            sol_text_add(t, NULL, "%s$run%d using 1:%d with linespoints pt 7 ps 0.4 lw 1.2 lc rgb '%s' title ", r ? ", \\\n" : "", r,
                         k + 2, sol_run_color(r));
            sol_plot_quote(t, runs[r].name);
        }
        sol_text_add(t, NULL, "\nunset key\n");
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
    int columns = n < 2 ? n : 2, rows = (n + columns - 1) / columns;
    sol_figure_begin(p, "powers", 900, 300 * rows, rows, columns, runs, n, false);
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
            /* Eight bins of equal width in |w| from 2^e to 2^(e+1): on the axis of log2 their width is unequal. */
            double left = SOL_HIST_LOG2_MIN + b / 8 + log2(1 + b % 8 / 8.0), right = SOL_HIST_LOG2_MIN + b / 8 + log2(1 + (b % 8 + 1) / 8.0);
            sol_text_add(&p->data, NULL, "%.5f %.6g %.6g\n", (left + right) / 2, first / weights / (right - left),
                         last / weights / (right - left));
        }
        sol_text_add(&p->data, NULL, "EOD\n");
    }
    sol_text *t = &p->draw;
    sol_text_add(t, NULL, "set key top left Left reverse samplen 2\nset xtics -18,2,2\nset mxtics 2\nset grid mxtics xtics ytics lc rgb "
                          "'#dddddd' lt 1, lc rgb '#e8e8e8' lt 1\nset format x '2^{%%.0f}'\nset xrange [-14:2]\nset yrange [0:*]\n");
    for (int r = 0; r < n; r++) {
        sol_text_add(t, NULL, "set title ");
        sol_plot_quote(t, runs[r].name);
        sol_text_add(t, NULL, "\nset ylabel 'weights, density over log2 |w|'\nset xlabel '|w|' enhanced\nset xtics enhanced\nplot ");
        if (runs[r].n_slices > 1)
            sol_text_add(t, NULL, "$log%d using 1:2 with lines lw 1.2 lc rgb '#999999' title 'first record', ", r);
        sol_text_add(t, NULL, "$log%d using 1:3 with lines lw 1.6 lc rgb '%s' title '%s'\n", r, sol_run_color(r),
                     runs[r].n_slices > 1 ? "last record" : "all layers");
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}

/* One block a slice: x, baseline, and the curves on it; the highest peak of all slices is `peak` baselines high. */
static void add_ridges(sol_text *t, const char *name, int r, const sol_study_run *run, int layer, int kind, int second, double lo,
                       double hi)
{
    const double peak = run->n_slices > 1 ? 1.9 : 1;
    int bins = sol_hist_bins(kind);
    double highest = 1;
    for (int s = 0; s < run->n_slices; s++)
        for (int b = 0; b < bins; b++) {
            highest = fmax(highest, slice_of(run, kind, s, layer)[b]);
            if (second >= 0) highest = fmax(highest, slice_of(run, second, s, layer)[b]);
        }
    sol_text_add(t, NULL, "$%s%d << EOD\n", name, r);
    for (int s = 0; s < run->n_slices; s++) {
        for (int b = 0; b < bins; b++) {
            sol_text_add(t, NULL, "%.5g %d %.5g", lo + (hi - lo) * (b + 0.5) / bins, s,
                         s + peak * slice_of(run, kind, s, layer)[b] / highest);
            if (second >= 0) sol_text_add(t, NULL, " %.5g", s + peak * slice_of(run, second, s, layer)[b] / highest);
            sol_text_add(t, NULL, "\n");
        }
        sol_text_add(t, NULL, "\n\n");
    }
    sol_text_add(t, NULL, "EOD\n");
}

static void draw_ridges_of(sol_text *t, const char *name, int r, const sol_study_run *run, bool two)
{
    static const char *const kept = "#0072B2", *const zeroed = "#D55E00", *const all = "#666666";
    int n = run->n_slices;
    if (run->is_static)
        sol_text_add(t, NULL, "unset ytics\nset ylabel 'share of weights'\n");
    else {
        sol_text_add(t, NULL, "set ylabel 'step'\nset ytics (");
        for (int s = 0; s < n; s++) sol_text_add(t, NULL, "%s'%.0f' %d", s ? ", " : "", run->step[run->slice[s]], s);
        sol_text_add(t, NULL, ")\n");
    }
    sol_text_add(t, NULL, "set yrange [-0.1:%.2f]\nplot ", n > 1 ? n + 1.0 : 1.1);
    for (int s = n - 1; s >= 0; s--) { /* later ones behind */
        sol_text_add(t, NULL, "%s$%s%d index %d using 1:2:3 with filledcurves lw 0.8 lc rgb '%s' fs transparent solid 0.75 border lc rgb "
                              "'#ffffff' title '%s'", s < n - 1 ? ", \\\n" : "", name, r, s, two ? kept : all,
                     s == 0 && two ? "kept weights" : "");
        if (two)
            sol_text_add(t, NULL, ", \\\n$%s%d index %d using 1:2:4 with filledcurves lw 0.8 lc rgb '%s' fs transparent solid 0.75 border "
                                  "lc rgb '#ffffff' title '%s'", name, r, s, zeroed, s == 0 ? "zeroed weights" : "");
    }
    sol_text_add(t, NULL, "\n");
}

void sol_draw_ridges(sol_plot *p, int layer, const sol_study_run *runs, int n)
{
    char name[64], label[96];
    snprintf(name, sizeof name, "layer-%03d", layer);
    int rows = n == 1 ? 1 : 2, columns = n == 1 ? 2 : n;
    int panel = runs[0].is_static ? 200 : 330;
    sol_figure_begin(p, name, columns < 4 ? 900 : 260 * columns, panel * rows, rows, columns, runs, n, false);
    for (int r = 0; r < n; r++) {
        const sol_study_layer *l = &runs[r].layers[layer];
        add_ridges(&p->data, "x", r, &runs[r], layer, 1, 0, 0, SOL_HIST_X_MAX);
        add_ridges(&p->data, "w", r, &runs[r], layer, 2, -1, -l->w_range, l->w_range);
    }
    sol_text *t = &p->draw;
    sol_study_layer_label(&runs[0].layers[layer], label, sizeof label);
    sol_text_add(t, NULL, "set grid x noy\nset key top right samplen 1\nset xrange [0:3.2]\nset xlabel '|w| / alpha'\nset format x '%%g'\n"
                          "set arrow 1 from 1, graph 0 to 1, graph 1 nohead dt 2 lw 1 lc rgb '#444444' front\n");
    for (int r = 0; r < n; r++) {
        sol_text_add(t, NULL, "set title ");
        char title[256];
        snprintf(title, sizeof title, "%.120s: %s", runs[r].name, label);
        sol_plot_quote(t, title);
        sol_text_add(t, NULL, "\n");
        draw_ridges_of(t, "x", r, &runs[r], true);
        if (r == 0) sol_text_add(t, NULL, "unset key\n");
    }
    sol_text_add(t, NULL, "unset arrow 1\nset xlabel 'w'\nset title ''\n");
    for (int r = 0; r < n; r++) {
        double range = runs[r].layers[layer].w_range;
        sol_text_add(t, NULL, "set xrange [%.6g:%.6g]\n", -range, range);
        draw_ridges_of(t, "w", r, &runs[r], false);
    }
    sol_text_add(t, NULL, "unset multiplot\n");
}
