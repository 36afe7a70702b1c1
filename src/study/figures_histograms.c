/* Histograms: of all weights over powers of two, of each kind of layer, of one layer over time.
 * figures.c lists them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "study/figures.h"

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
static void add_kind(sol_text *t, const sol_study_run *run, const sol_kinds *k, int kind)
{
    const double width = SOL_HIST_X_MAX / SOL_HIST_X_BINS;
    for (int b = 0; b < SOL_HIST_X_BINS - 1; b++) { /* the last one is open */
        double weights = 0, first = 0, last = 0;
        for (int i = 0; i < run->n_layers; i++) {
            if (sol_kind_of(k, &run->layers[i]) != kind) continue;
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
    sol_kinds k = sol_kinds_of(&runs[0]);
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
                                        .below = 64},
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
