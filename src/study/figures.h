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
} sol_figure;

/* Writes all figures of runs that passed sol_study_runs_check into DIR, which exists, through
 * gnuplot. *figures is owned by the caller. */
sol_status sol_figures_make(const sol_study_run *runs, int n, const char *dir, sol_figure **figures,
                            int *n_figures, sol_err *err);

/* Shared by the files that draw: figures.c (over time), figures_layers.c (over layers,
 * histograms). */

typedef struct sol_figure_size {
    int width, panel_height, rows, columns;
    bool legend;          /* of the runs, on top */
    const char *extra;    /* one more entry of it, for dashed grey; NULL: none */
    int left, right, gap; /* margins and distance of panels in points; 0: as usual */
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

/* Each draws one figure of runs[n] into *p: losses over steps; errors of a calibration; measures
 * over steps; a measure over layers and steps; profiles over layers; powers of two; histograms of a
 * layer over time. */
void sol_draw_loss(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_calibration(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_measures(sol_plot *p, const char *name, const int *measures, int n_measures,
                       const sol_study_run *runs, int n);
void sol_draw_heat(sol_plot *p, int measure, const sol_study_run *runs, int n);
void sol_draw_profile(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_powers(sol_plot *p, const sol_study_run *runs, int n);
void sol_draw_ridges(sol_plot *p, int layer, const sol_study_run *runs, int n);

#endif
