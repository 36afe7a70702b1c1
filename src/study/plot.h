/* Figures through gnuplot: a figure is a script with its data inside, NAME.gp, which makes NAME.svg
 * and NAME.png beside itself, so that a reader can change it and run it again.
 *
 *     sol_plot p = {0};
 *     sol_plot_begin(&p, "loss", 900, 500);
 *     sol_text_add(&p.data, NULL, "$a << EOD\n1 2\n3 4\nEOD\n"); // what stands once
 *     sol_text_add(&p.draw, NULL, "plot $a with lines\n"); // what is drawn, once a format
 *     st = sol_plot_write(&p, "DIR", err);  sol_plot_free(&p);
 *     st = sol_plot_run("DIR", names, n, err); */
#ifndef SOLERA_STUDY_PLOT_H
#define SOLERA_STUDY_PLOT_H

#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

typedef struct sol_plot {
    char name[64];
    int width, height; /* of the SVG in points; the PNG has twice as many pixels */
    sol_text data, draw;
} sol_plot;

/* A figure of width x height points; the caller adds to p->data and p->draw. */
void sol_plot_begin(sol_plot *p, const char *name, int width, int height);
void sol_plot_free(sol_plot *p);
/* A text as gnuplot's string; enhanced text is off everywhere. */
void sol_plot_quote(sol_text *t, const char *s);
/* "set title" of a panel that is `width` points wide: of a text too long for it the end stays. */
void sol_plot_title(sol_text *t, const char *s, int width);

/* Writes DIR/NAME.gp. Fails when memory was short while the texts grew. */
sol_status sol_plot_write(const sol_plot *p, const char *dir, sol_err *err);
/* Is there a gnuplot? Otherwise SOL_ERR_UNSUPPORTED, with the package that has it. */
sol_status sol_plot_available(sol_err *err);
/* Runs gnuplot on DIR/NAME.gp of all names. What it said when it failed stays in
 * DIR/gnuplot.log. */
sol_status sol_plot_run(const char *dir, const char *const *names, int n, sol_err *err);

#endif
