/* The page of a sweep: index.html in its directory, written anew whenever a run has ended. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "study/page.h"
#include "sweep_table.h"

enum { RELOAD = 30, FEW_SEEDS = 3 };

/* ---- intervals, as a figure ---- */

enum { ROW = 26, LEFT = 190, WIDTH = 900, RIGHT = 30, TOP = 10, BELOW = 44 };

/* What is drawn: differences where there is a point to compare with, else losses. */
typedef struct chart {
    const sol_sweep_table *t;
    int column;
    double lo, hi; /* of the axis */
} chart;

static void chart_add(chart *c, double x)
{
    if (!isfinite(x)) return;
    c->lo = fmin(c->lo, x);
    c->hi = fmax(c->hi, x);
}

/* The axis spans all seeds and intervals, and 0.05 nats at least: less is rarely more than noise.
 * false: there is nothing to draw. */
static bool chart_range(chart *c)
{
    const sol_sweep *s = c->t->runs->sweep;
    c->lo = INFINITY;
    c->hi = -INFINITY;
    for (int p = 0; p < s->n_points; p++) {
        const sol_sweep_mean *m = &c->t->summary[p * c->t->n_values + c->column];
        for (int i = 0; i < s->n_seeds; i++) chart_add(c, sol_sweep_values(c->t, p, i)[c->column]);
        chart_add(c, m->mean - sol_sweep_half_interval(m));
        chart_add(c, m->mean + sol_sweep_half_interval(m));
    }
    if (!(c->lo <= c->hi)) return false;
    if (c->column == SOL_SWEEP_DIFFERENCE) chart_add(c, 0);
    double middle = (c->lo + c->hi) / 2, half = fmax(0.55 * (c->hi - c->lo), 0.025);
    c->lo = middle - half;
    c->hi = middle + half;
    return true;
}

static double chart_x(const chart *c, double x)
{
    return LEFT + (WIDTH - RIGHT - LEFT) * (x - c->lo) / (c->hi - c->lo);
}

/* Marks of the axis: 1, 2 or 5 times a power of ten apart, four to ten of them. */
static void add_axis(sol_text *o, const chart *c, int bottom)
{
    double step = pow(10, floor(log10((c->hi - c->lo) / 4)));
    step *= (c->hi - c->lo) / step >= 40 ? 10 : (c->hi - c->lo) / step >= 20 ? 5 : 2;
    int digits = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    for (long i = (long)ceil(c->lo / step); (double)i * step <= c->hi; i++) {
        double at = (double)i * step;
        sol_text_add(o, NULL,
                     "<path d=\"M%.1f %dV%d\" stroke=\"#e4e4e4\"/><text x=\"%.1f\" y=\"%d\" "
                     "text-anchor=\"middle\">%.*f</text>\n",
                     chart_x(c, at), TOP, bottom, chart_x(c, at), bottom + 16, digits, at);
    }
    if (c->column == SOL_SWEEP_DIFFERENCE)
        sol_text_add(o, NULL, "<path d=\"M%.1f %dV%d\" stroke=\"#555\"/>\n", chart_x(c, 0), TOP,
                     bottom);
    sol_text_add(o, NULL,
                 "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s, nats a token</text>\n",
                 (LEFT + WIDTH - RIGHT) / 2, bottom + 36,
                 c->column == SOL_SWEEP_DIFFERENCE ? "difference of the eval loss, seed by seed"
                                                   : "eval loss");
}

static void add_point(sol_text *o, const chart *c, int p)
{
    const sol_sweep *s = c->t->runs->sweep;
    const sol_sweep_mean *m = &c->t->summary[p * c->t->n_values + c->column];
    double half = sol_sweep_half_interval(m);
    int y = TOP + ROW * p + ROW / 2;
    char name[64];
    snprintf(name, sizeof name, strlen(s->point[p].name) > 24 ? "%.23s\xe2\x80\xa6" : "%s",
             s->point[p].name);
    sol_text_add(o, NULL, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT - 12, y + 4);
    sol_page_text(o, name);
    sol_text_add(o, NULL, "</text>\n");
    if (isfinite(half))
        sol_text_add(o, NULL,
                     "<path d=\"M%.1f %dH%.1f\" stroke=\"#0072B2\" stroke-width=\"3\" "
                     "stroke-opacity=\"0.5\"/>\n",
                     chart_x(c, m->mean - half), y, chart_x(c, m->mean + half));
    for (int i = 0; i < s->n_seeds; i++) {
        double x = sol_sweep_values(c->t, p, i)[c->column];
        if (isfinite(x))
            sol_text_add(
                o, NULL,
                "<circle cx=\"%.1f\" cy=\"%d\" r=\"3.5\" stroke-width=\"1.5\" fill=\"none\" "
                "stroke=\"#D55E00\"/>\n",
                chart_x(c, x), y);
    }
    if (m->n > 1)
        sol_text_add(o, NULL, "<path d=\"M%.1f %dv12\" stroke=\"#0072B2\" stroke-width=\"3\"/>\n",
                     chart_x(c, m->mean), y - 6);
}

static void add_chart(sol_text *o, const sol_sweep_table *t)
{
    const sol_sweep *s = t->runs->sweep;
    chart c = {.t = t, .column = s->against >= 0 ? SOL_SWEEP_DIFFERENCE : SOL_SWEEP_EVAL_LOSS};
    if (!chart_range(&c)) return;
    int bottom = TOP + ROW * s->n_points;
    sol_text_add(o, NULL,
                 "<figure><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                 "font-size=\"13\" fill=\"#1c1c1c\">\n",
                 WIDTH, bottom + BELOW);
    add_axis(o, &c, bottom);
    for (int p = 0; p < s->n_points; p++) add_point(o, &c, p);
    sol_text_add(o, NULL,
                 "</svg></figure>\n<p class=\"look\">Circles are seeds, the upright mark their "
                 "mean, the bar its 95 %% interval by Student's t. %s</p>\n",
                 c.column == SOL_SWEEP_DIFFERENCE
                     ? "A bar that crosses 0 shows no difference."
                     : "With <code>against: POINT</code> in the sweep's file the differences are "
                       "drawn, which vary less.");
}

/* ---- tables and words ---- */

static void add_state(sol_text *o, const sol_sweep_table *t, const char *left)
{
    const sol_sweep_runs *r = t->runs;
    int phases[SOL_RUN_FAILED + 1] = {0};
    for (int i = 0; i < r->n; i++) phases[r->run[i].phase]++;
    sol_text_add(o, NULL, "<p><b>%d of %d runs done</b>", phases[SOL_RUN_DONE], r->n);
    if (phases[SOL_RUN_FAILED])
        sol_text_add(o, NULL, ", %d failed, the first of them ", phases[SOL_RUN_FAILED]);
    if (phases[SOL_RUN_FAILED]) sol_page_text(o, r->failed);
    if (left[0]) {
        time_t now = time(NULL);
        struct tm parts;
        char when[32];
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &parts));
        sol_text_add(o, NULL, ", %d at work, %s at %s. This page looks again every %d seconds.",
                     phases[SOL_RUN_GOES], left, when, RELOAD);
    } else if (phases[SOL_RUN_WAITS]) {
        sol_text_add(o, NULL, "; the same command goes on");
    }
    sol_text_add(o, NULL, "</p>\n");
    if (r->sweep->n_seeds < FEW_SEEDS)
        sol_text_add(o, NULL,
                     "<div class=\"box\"><p><b>Fewer than %d seeds:</b> a difference of the size "
                     "of the deviations may be chance.</p></div>\n",
                     FEW_SEEDS);
    if (t->notes.n > 0) {
        sol_text_add(o, NULL, "<div class=\"box\"><p>");
        sol_page_text(o, t->notes.data);
        sol_text_add(o, NULL, "</p></div>\n");
    }
}

/* A difference that its interval parts from 0 is bold. */
static bool stands_out(const sol_sweep_table *t, int row, int k)
{
    if (k != SOL_SWEEP_DIFFERENCE || row < 0) return false;
    const sol_sweep_mean *m = &t->summary[row * t->n_values + k];
    return m->n > 1 && fabs(m->mean) > sol_sweep_half_interval(m);
}

static void add_table(sol_text *o, const sol_sweep_table *t)
{
    const sol_sweep *s = t->runs->sweep;
    char text[SOL_SWEEP_CELL];
    sol_text_add(o, NULL, "<div class=\"scroll\"><table>\n");
    for (int row = -1; row < s->n_points; row++) {
        sol_text_add(o, NULL, "<tr>");
        for (int c = 0; c < s->n_columns + 1 + t->n_values; c++) {
            if (!sol_sweep_column_shown(t, c)) continue;
            bool bold = stands_out(t, row, c - s->n_columns - 1);
            sol_sweep_cell(t, row, c, text, sizeof text);
            sol_text_add(o, NULL, "<%s%s>%s", row < 0 ? "th" : "td",
                         c < s->n_columns ? "" : " class=\"n\"", bold ? "<b>" : "");
            char *spread = strstr(text, " \u00b1 ");
            if (spread) *spread++ = 0;
            sol_page_text(o, text);
            sol_text_add(o, NULL, "%s", bold ? "</b>" : "");
            if (spread) sol_text_add(o, NULL, "<br><small>%s</small>", spread);
        }
        sol_text_add(o, NULL, "\n");
    }
    sol_text_add(o, NULL,
                 "</table></div>\n<p class=\"look\">Means over the seeds that are done, &plusmn; "
                 "their sample deviation%s</p>\n",
                 s->against >= 0 ? "; differences &plusmn; half of their 95 % interval, bold where "
                                   "it does not hold 0: runs of one seed saw the same batches."
                                 : ".");
}

static void add_seeds(sol_text *o, const sol_sweep_table *t)
{
    static const char *const words[] = {
        [SOL_RUN_WAITS] = "waits", [SOL_RUN_GOES] = "at work", [SOL_RUN_FAILED] = "failed"};
    const sol_sweep *s = t->runs->sweep;
    sol_text_add(o, NULL,
                 "<h2>Eval loss, seed by seed</h2>\n<div class=\"scroll\"><table>\n"
                 "<tr><th>point");
    for (int i = 0; i < s->n_seeds; i++)
        sol_text_add(o, NULL, "<th class=\"n\">seed %lld", (long long)s->seed[i]);
    for (int p = 0; p < s->n_points; p++) {
        sol_text_add(o, NULL, "\n<tr><td>");
        sol_page_text(o, s->point[p].name);
        for (int i = 0; i < s->n_seeds; i++) {
            const sol_sweep_run *run = &t->runs->run[p * s->n_seeds + i];
            double x = sol_sweep_values(t, p, i)[SOL_SWEEP_EVAL_LOSS];
            if (run->phase != SOL_RUN_DONE)
                sol_text_add(o, NULL, "<td class=\"n\">%s", words[run->phase]);
            else
                sol_text_add(o, NULL, isfinite(x) ? "<td class=\"n\">%.4f" : "<td class=\"n\">-",
                             x);
        }
    }
    sol_text_add(o, NULL, "\n</table></div>\n");
}

static void add_files(sol_text *o, const sol_sweep *s)
{
    sol_text_add(o, NULL, "<h2>Files</h2>\n<p>The job is <code>");
    sol_page_text(o, s->base);
    sol_text_add(o, NULL,
                 "</code>; a run is in <code>POINT/seed-N</code>, what it said in "
                 "<code>POINT/seed-N.txt</code>. <code>table.md</code> and "
                 "<code>table.csv</code> hold the first table, of the runs that were done "
                 "when the sweep ended last.</p>\n");
    if (s->n_measures > 0) sol_text_add(o, NULL, "<p><code>solera study ");
    if (s->n_measures > 0) sol_page_text(o, s->dir);
    if (s->n_measures > 0)
        sol_text_add(o, NULL,
                     "/*/seed-*/</code> shows the measures over time, seeds joined.</p>\n");
}

sol_status sol_sweep_page_write(const sol_sweep_table *t, const char *left, sol_err *err)
{
    const sol_sweep *s = t->runs->sweep;
    char path[SOL_PATH_MAX];
    sol_text o = {0};
    sol_page_begin(&o, "Sweep", s->dir, left[0] ? RELOAD : 0);
    sol_text_add(&o, NULL, "<h1>");
    sol_page_text(&o, s->dir);
    sol_text_add(&o, NULL, "</h1>\n");
    add_state(&o, t, left);
    add_table(&o, t);
    add_chart(&o, t);
    add_seeds(&o, t);
    add_files(&o, s);
    sol_text_add(&o, NULL, "</body>\n</html>\n");
    sol_status st = sol_path_join(path, s->dir, "index.html", err);
    if (st == SOL_OK)
        st = o.status == SOL_OK ? sol_file_write(path, o.data, o.n, err)
                                : sol_fail(err, o.status, "%s: out of memory", path);
    sol_free(o.data);
    return st;
}
