/* The figures of a report: what is drawn of one run or of several side by side. */
#ifndef SOLERA_STUDY_FIGURES_H
#define SOLERA_STUDY_FIGURES_H

#include "study/plot.h"
#include "study/run.h"

typedef struct sol_figure {
    char name[64]; /* DIR/NAME.svg, .png, .gp */
    char title[128];
    const char *look; /* what a reader should look at; static text */
    int layer;        /* of a figure about one layer; -1: all of them */
    bool tall;        /* wants more of a printed page than others */
} sol_figure;

/* Layers have a figure each while they are few; of more, those with the most mass near alpha. */
enum { SOL_FIGURES_FEW = 14, SOL_FIGURES_WORST = 10 };

/* Writes all figures of runs that passed sol_study_runs_check into DIR, which exists, through
 * gnuplot. *figures is owned by the caller. */
sol_status sol_figures_make(const sol_study_run *runs, int n, const char *dir, sol_figure **figures,
                            int *n_figures, sol_err *err);

/* Shared by the files that draw: figures_time.c, figures_layers.c, figures_histograms.c. */

typedef struct sol_figure_size {
    int width, panel_height, rows, columns;
    bool legend;          /* of the runs, on top */
    const char *extra;    /* one more entry of it, for dashed grey; NULL: none */
    int left, right, gap; /* margins and distance of panels in points; 0: as usual */
    int below;            /* space below each panel in points; 0: as usual */
    int height;           /* set by sol_figure_begin */
} sol_figure_size;

/* Begins a figure of panels; p->draw: the multiplot is open. */
void sol_figure_begin(sol_plot *p, const char *name, const sol_figure_size *size,
                      const sol_study_run *runs, int n_runs);
/* After the first panel: what belongs to the whole figure is drawn once. */
void sol_figure_next(sol_plot *p);
/* "#0072B2": the colour of run r. */
const char *sol_run_color(int r);
/* A number for gnuplot; NaN where it is not finite. */
void sol_plot_number(sol_text *t, double x);

/* A panel without a number says so; gnuplot would refuse it. */
void sol_draw_empty_panel(sol_text *t);

/* The rule of thumb of the report: shares of weights near alpha above which, and in the valley
 * below which, a layer is called trapped or mildly so. */
#define SOL_NEAR_TRAPPED 0.18
#define SOL_NEAR_MILD 0.13
#define SOL_VALLEY_TRAPPED 0.12
#define SOL_VALLEY_MILD 0.15

/* The axis of a measure: it spans lo to hi at least, so that noise does not fill it. NaN where a
 * measure has no such value. */
typedef struct sol_axis {
    double lo, hi;
    double gauss;         /* of Gaussian weights under 3:4 with many weights a scale */
    double mild, trapped; /* thresholds as above */
} sol_axis;
sol_axis sol_axis_of(int measure);
/* "plot", and the lines of the axis: dashed for gauss, dotted for the thresholds, which are
 * `named`; more follows. */
void sol_draw_thresholds(sol_text *t, const sol_axis *a, bool named);
/* Whether any of them is of joined seeds, so that bands are of these. */
bool sol_any_seeds(const sol_study_run *runs, int n);

/* The kinds of the layers of a run, in the order of their first one; what is beyond SOL_KINDS goes
 * to the last. */
enum { SOL_KINDS = 12 };
typedef struct sol_kinds {
    const char *name[SOL_KINDS]; /* borrowed from the run */
    int n;
} sol_kinds;
sol_kinds sol_kinds_of(const sol_study_run *run);
int sol_kind_of(const sol_kinds *k, const sol_study_layer *l);

/* Each draws one figure of runs[n] into *p: losses over steps; errors of a calibration; measures
 * over steps; a measure over layers and steps; profiles of each kind of layer over the blocks;
 * powers of two; histograms of each kind of layer; histograms of one layer over time. */
void sol_draw_loss(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_calibration(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_measures(sol_plot *p, const char *name, const int *measures, int n_measures,
                       const sol_study_run *runs, int n);
void sol_draw_heat(sol_plot *p, int measure, const sol_study_run *runs, int n);
void sol_draw_profile(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_powers(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_kinds(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_ridges(sol_plot *p, int layer, const sol_study_run *runs, int n);

#endif
