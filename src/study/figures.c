/* The figures of a report: what they share, and the list of them. figures_time.c,
 * figures_layers.c and figures_histograms.c draw them; report.c puts them on the page. */
#include "study/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

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
                   "gradients become alike. An open circle is a record after another interval "
                   "than the rest, which had less or more time to flip.",
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
    float max = -1;
    for (int l = 0; l < k->runs[0].n_layers; l++) {
        if (taken[l]) continue;
        for (int r = 0; r < k->n_runs; r++) {
            const sol_study_run *run = &k->runs[r];
            float x = run->measure[SOL_M_near_alpha][(run->n_records - 1) * run->n_layers + l];
            if (worst >= 0 && !(x > max)) continue;
            worst = l;
            max = isfinite(x) ? x : -1;
        }
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
    for (int i = 0; i < n; i++) {
        if (st != SOL_OK) break;
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
