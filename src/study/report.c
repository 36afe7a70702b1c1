/* Writes the report as one HTML page, with the figures of figures.c inline, and beside it what
 * report_csv.c makes. `solera study` calls it. */
#include "study/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "study/figures.h"
#include "study/page.h"
#include "study/seeds.h"

static const char introduction[] =
    "<div class=\"box\"><p><b>What this is about.</b> A ternary layer multiplies by "
    "&minus;&alpha;, 0 or +&alpha;, but training moves a "
    "full-precision <i>latent</i> weight w behind each of them. Under 3:4 sparsity the smallest of "
    "four neighbours becomes 0. "
    "<b>Weight trapping</b> is what happens when latent weights gather at two magnitudes near "
    "&plusmn;&alpha;: no weight is small enough "
    "to change its sign, no block has reason to choose another zero, the gradients of all neurons "
    "become alike, and the model is stuck "
    "with the binary-like solution it has.</p>";
static const char reading_model[] =
    "<p><b>How to read it.</b> These are the weights as they are: look for mass near &alpha; above "
    "what Gaussian weights have (0.097) "
    "together with an empty valley below 0.25 &alpha;, and for layers that differ from their "
    "neighbours. How it came about only a run "
    "with <code>study.every</code> shows.</p></div>\n";
static const char reading_run[] =
    "<p><b>How to read it.</b> Ask three questions. <i>Whether</i>: does the mass near &alpha; "
    "rise above what Gaussian weights have "
    "(0.097) while the valley below 0.25 &alpha; empties? <i>Where</i>: which rows of the heat "
    "maps brighten first? <i>When</i>: is it "
    "before or after the loss has settled, and before or after lambda reached 0? Few flips late in "
    "a run whose learning rate has fallen "
    "are convergence, not trapping.</p></div>\n";

static void add_cell(sol_text *t, double x)
{
    if (isfinite(x))
        sol_text_add(t, NULL, "<td class=\"n\">%.4g</td>", x);
    else
        sol_text_add(t, NULL, "<td class=\"n\">&ndash;</td>");
}

/* ---- figures in the page ---- */

static bool starts(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* The svg element of a file of gnuplot's, its title replaced and its ids made unique by a prefix.
 */
static sol_status add_svg(sol_text *t, const char *dir, const sol_figure *f, sol_err *err)
{
    static const char *const marks[] = {" id=\"",  " id='", "href=\"#",
                                        "href='#", "url(#", "url('#"};
    char path[SOL_PATH_MAX], *data = NULL;
    size_t size;
    bool titled = false;
    snprintf(path, sizeof path, "%s/%s.svg", dir, f->name);
    sol_status st = sol_file_read(path, &data, &size, err);
    if (st != SOL_OK) return st;
    const char *s = strstr(data, "<svg");
    if (!s) st = sol_fail(err, SOL_ERR_FORMAT, "%s: is no SVG", path);
    while (s && *s && t->status == SOL_OK) {
        const char *mark = NULL;
        if (starts(s, "<title>")) { /* gnuplot's own names would show when the mouse rests on the
                                       figure */
            const char *end = strstr(s, "</title>");
            if (!titled) {
                sol_text_add(t, NULL, "<title>");
                sol_page_text(t, f->title);
                sol_text_add(t, NULL, "</title>");
            }
            titled = true;
            s = end ? end + 8 : s + 7;
            continue;
        }
        for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
            if (starts(s, marks[i])) mark = marks[i];
        if (mark) {
            sol_text_add(t, NULL, "%s%s-", mark, f->name);
            s += strlen(mark);
            continue;
        }
        size_t plain = 1 + strcspn(s + 1, "< hu");
        sol_text_add(t, NULL, "%.*s", (int)plain, s);
        s += plain;
    }
    sol_free(data);
    return st == SOL_OK ? t->status : st;
}

static sol_status add_figure(sol_text *t, const char *dir, const sol_figure *f, bool printed,
                             sol_err *err)
{
    const char *class = f->layer < 0 ? f->tall ? " class=\"tall\"" : ""
                        : printed    ? " class=\"layer\""
                                     : " class=\"layer more\"";
    sol_text_add(t, NULL, "<section%s>\n<h3 id=\"%s\">", class, f->name);
    sol_page_text(t, f->title);
    sol_text_add(t, NULL, "</h3>\n");
    if (f->look[0]) sol_text_add(t, NULL, "<p class=\"look\">%s</p>\n", f->look);
    sol_text_add(t, NULL, "<figure role=\"img\">\n");
    sol_status st = add_svg(t, dir, f, err);
    sol_text_add(t, NULL, "</figure>\n</section>\n");
    return st;
}

/* ---- tables and words ---- */

/* What is on the page: the runs, and the points that they are seeds of. */
typedef struct report {
    const sol_study_run *runs;
    int n;
    sol_study_run *point; /* [n_points] owned */
    int n_points;
    int *place; /* [n] the point of a run; owned */
} report;

static double last_loss(const sol_study_curve *c, const double *loss)
{
    return c->n_evals ? loss[c->n_evals - 1] : NAN;
}

/* The mean over the seeds of a point, with their sample deviation where there are several. */
static void add_loss_cell(sol_text *t, const report *p, int point, bool packed)
{
    double sum = 0, squares = 0;
    int n = 0;
    for (int r = 0; r < p->n; r++) {
        const sol_study_curve *c = &p->runs[r].curve;
        double x = last_loss(c, packed ? c->packed_loss : c->eval_loss);
        if (p->place[r] != point || !isfinite(x)) continue;
        sum += x;
        squares += x * x;
        n++;
    }
    double variance = n > 1 ? fmax(squares - sum * sum / n, 0) / (n - 1) : 0;
    if (n == 0)
        sol_text_add(t, NULL, "<td class=\"n\">&ndash;</td>");
    else if (n == 1)
        sol_text_add(t, NULL, sum < 100 ? "<td class=\"n\">%.4f</td>" : "<td class=\"n\">%.4g</td>",
                     sum);
    else
        sol_text_add(t, NULL, "<td class=\"n\">%.4f<br><small>&plusmn; %.4f</small></td>", sum / n,
                     sqrt(variance));
}

static void add_recipe(sol_text *t, const report *p, int point)
{
    const sol_study_recipe *r = &p->point[point].recipe;
    const char *const words[] = {r->residual, r->teacher, r->start};
    for (int i = 0; i < 3; i++) {
        sol_text_add(t, NULL, "<td>");
        sol_page_text(t, r->known ? words[i] : "?");
        sol_text_add(t, NULL, "</td>");
    }
    sol_text_add(t, NULL, "<td class=\"n\">");
    if (r->known) sol_text_add(t, NULL, "%g<br><small>%s</small>", r->lr, r->schedule);
    sol_text_add(t, NULL, "</td>");
    sol_text_add(t, NULL, "<td class=\"n\">");
    if (r->known) sol_text_add(t, NULL, "%lld", (long long)r->steps);
    sol_text_add(t, NULL, "</td><td class=\"n\">");
    for (int i = 0, n = 0; i < p->n; i++)
        if (r->known && p->place[i] == point)
            sol_text_add(t, NULL, "%s%lld", n++ ? ", " : "", (long long)p->runs[i].recipe.seed);
    sol_text_add(t, NULL, "</td>");
}

static void add_quantizer(sol_text *t, const sol_study_head *head)
{
    sol_text_add(t, NULL, "<td>");
    sol_page_text(t, head->method);
    if (strcmp(head->method, "none") == 0) sol_text_add(t, NULL, " (seen as 3:4)");
    sol_text_add(t, NULL, "<br><small>");
    sol_page_text(t, head->granularity);
    if (head->group_size) sol_text_add(t, NULL, " %lld", (long long)head->group_size);
    sol_text_add(t, NULL, ", ");
    sol_page_text(t, head->block_layout);
    sol_text_add(t, NULL, "</small></td>");
}

/* Do some of the runs differ in what they were measured on, or how? */
static bool measured_apart(const report *p)
{
    uint64_t first = 0;
    for (int r = 0; r < p->n; r++) {
        uint64_t digest = p->runs[r].curve.eval_digest;
        if (first && digest && digest != first) return true;
        if (!first) first = digest;
    }
    return false;
}

static void add_runs(sol_text *t, const report *p)
{
    bool over_time = !p->runs[0].is_static;
    sol_text_add(t, NULL, "<div class=\"scroll\"><table><tr><th>%s</th><th>quantizer</th>%s</tr>\n",
                 over_time ? "run" : "model",
                 over_time
                     ? "<th>residual</th><th>teacher</th><th>start</th><th class=\"n\">learning "
                       "rate</th><th class=\"n\">steps</th><th class=\"n\">seeds</th><th "
                       "class=\"n\">loss at lambda 0</th><th class=\"n\">packed loss</th>"
                     : "<th class=\"n\">layers</th>");
    for (int i = 0; i < p->n_points; i++) {
        sol_text_add(t, NULL, "<tr><td><span style=\"color:%s\">&#9632;</span>&nbsp;",
                     sol_run_color(i));
        sol_page_text(t, p->point[i].name);
        sol_text_add(t, NULL, "</td>");
        add_quantizer(t, &p->point[i].head);
        if (over_time) {
            add_recipe(t, p, i);
            add_loss_cell(t, p, i, false);
            add_loss_cell(t, p, i, true);
        } else {
            sol_text_add(t, NULL, "<td class=\"n\">%d</td>", p->point[i].n_layers);
        }
        sol_text_add(t, NULL, "</tr>\n");
    }
    sol_text_add(t, NULL, "</table></div>\n");
    if (measured_apart(p))
        sol_text_add(
            t, NULL,
            "<div class=\"box\"><p><b>Not comparable:</b> these runs differ in data.eval, or "
            "in train.eval_windows or train.eval_form: so do their losses at lambda "
            "0.</p></div>\n");
    if (sol_any_seeds(p->point, p->n_points))
        sol_text_add(
            t, NULL,
            "<p class=\"look\">Runs that differ in the seed alone are one line here and in "
            "every figure: the mean over the seeds, with a band from the lowest seed to the "
            "highest; losses with their sample deviation.</p>\n");
    else if (over_time)
        sol_text_add(t, NULL,
                     "<p class=\"look\">One seed each: a difference may be chance. In the figures "
                     "over time lines are means over the layers, bands hold four layers out of "
                     "five.</p>\n");
}

static const sol_study_layer *extreme_layer(const sol_study_run *run, int m, double *value)
{
    const float *x = run->measure[m] + (run->n_records - 1) * run->n_layers;
    int best = 0;
    for (int i = 1; i < run->n_layers; i++)
        if (x[i] > x[best]) best = i;
    *value = (double)x[best];
    return &run->layers[best];
}

/* Where a run had no loss. What the records after it say of the weights is no use then. */
static void add_divergence(sol_text *t, const sol_study_run *run)
{
    sol_study_divergence d = sol_study_find_divergence(run);
    if (d.n == 0) return;
    sol_text_add(t, NULL, "<li><b>");
    sol_page_text(t, run->name);
    if (d.from >= 0)
        sol_text_add(t, NULL,
                     "</b>: <b>diverged at step %.0f</b>: from there on its loss is not a finite "
                     "number; later records say nothing.</li>\n",
                     d.from);
    else
        sol_text_add(t, NULL,
                     "</b>: the loss of %lld steps is not a finite number, that of step %.0f "
                     "first; such steps are skipped.</li>\n",
                     (long long)d.n, d.first);
}

/* A rule of thumb, and the numbers it rests on. Gaussian weights: 0.097 near alpha, 0.193 in the
 * valley. A learned step may be so large that few weights come near alpha at all. */
static void add_verdict(sol_text *t, const sol_study_run *run)
{
    char label[96];
    double near_alpha = sol_study_last(run, SOL_M_near_alpha),
           valley = sol_study_last(run, SOL_M_valley_mass), worst;
    const sol_study_layer *layer = extreme_layer(run, SOL_M_near_alpha, &worst);
    const char *verdict =
        near_alpha > SOL_NEAR_TRAPPED && valley < SOL_VALLEY_TRAPPED
            ? "the latent weights pile up at two magnitudes: trapped"
        : near_alpha > SOL_NEAR_MILD && valley > sol_axis_of(SOL_M_valley_mass).gauss
            ? "the latent weights gather at all three levels, 0 among them, as calibration leaves "
              "them: no trapping"
        : near_alpha > SOL_NEAR_MILD || valley < SOL_VALLEY_MILD
            ? "a mild pile-up at two magnitudes"
        : valley > 0.35
            ? "no pile-up, but &alpha; is far above most weights, which so are 0 or far from "
              "their level"
            : "no pile-up: the weights are spread like those of an ordinary layer";
    sol_text_add(t, NULL, "<li><b>");
    sol_page_text(t, run->name);
    sol_text_add(t, NULL, "</b>: %s. Mass near &alpha; ", verdict);
    if (!run->is_static)
        sol_text_add(t, NULL, "%.3f &rarr; ", sol_study_first(run, SOL_M_near_alpha));
    sol_text_add(t, NULL, "%.3f, valley ", near_alpha);
    if (!run->is_static)
        sol_text_add(t, NULL, "%.3f &rarr; ", sol_study_first(run, SOL_M_valley_mass));
    sol_text_add(t, NULL, "%.3f", valley);
    if (!run->is_static)
        sol_text_add(t, NULL,
                     ", effective rank of dL/dW %.2f &rarr; %.2f, zero-lane flips between records "
                     "%.2g &rarr; %.2g",
                     sol_study_first(run, SOL_M_er_dw), sol_study_last(run, SOL_M_er_dw),
                     sol_study_first(run, SOL_M_zero_flips), sol_study_last(run, SOL_M_zero_flips));
    sol_text_add(t, NULL, ". Most mass near &alpha;: layer ");
    sol_page_text(t, sol_study_layer_label(layer, label, sizeof label));
    sol_text_add(t, NULL, " (%.3f).</li>\n", worst);
}

enum { MAX_PAIRS = 4 }; /* runs whose first and last records stand side by side across a page */

static void add_measures(sol_text *t, const sol_study_run *runs, int n)
{
    bool over_time = !runs[0].is_static, first = over_time && n <= MAX_PAIRS;
    sol_text_add(t, NULL,
                 "<h2 id=\"measures\">All measures</h2>\n<p class=\"look\">Means over the "
                 "layers%s. A dash: no value, for a first "
                 "record has none to compare with, a constant layer no shape, and what is not "
                 "finite is left out.</p>\n<div class=\"scroll\"><table><tr><th>measure</th>",
                 first       ? ", first and last record"
                 : over_time ? ", last record; the others are in <code>measures.csv</code>"
                             : "");
    for (int r = 0; r < n; r++) {
        sol_text_add(t, NULL, "<th class=\"n name\"%s>", first ? " colspan=\"2\"" : "");
        sol_page_text(t, runs[r].name);
        sol_text_add(t, NULL, "</th>");
    }
    sol_text_add(t, NULL, "</tr>\n");
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
        const sol_measure_row *row = sol_measure_at(m);
        bool any = false;
        for (int r = 0; r < n; r++) any = any || isfinite(sol_study_first(&runs[r], m));
        if (!any) continue;
        sol_text_add(t, NULL, "<tr><td>");
        sol_page_text(t, row->title);
        sol_text_add(t, NULL, " <code>%s</code><br><small>", row->name);
        sol_page_text(t, row->formula);
        sol_text_add(t, NULL, row->good[0] ? " &middot; " : "");
        sol_page_text(t, row->good);
        sol_text_add(t, NULL, "</small></td>");
        for (int r = 0; r < n; r++) {
            if (first) add_cell(t, sol_study_first(&runs[r], m));
            add_cell(t, sol_study_last(&runs[r], m));
        }
        sol_text_add(t, NULL, "</tr>\n");
    }
    sol_text_add(t, NULL, "</table></div>\n");
}

/* What of a run's records is missing or stands apart: an early end, another interval. */
static void add_records(sol_text *t, const sol_study_run *run)
{
    int64_t n = run->n_records, every = run->head.every, steps = run->head.steps;
    double last = run->step[n - 1];
    sol_text_add(t, NULL, "<li>");
    sol_page_text(t, run->name);
    sol_text_add(t, NULL, ": %lld records, every %lld steps, the last before step %.0f of %lld.",
                 (long long)n, (long long)every, last + 1, (long long)steps);
    if (last < (double)(steps - 1))
        sol_text_add(t, NULL, " The others are missing: the run has not gone on, or goes on now.");
    for (int64_t i = 1; i < n; i++) {
        if (sol_study_comparable(run, SOL_M_state_flips, i)) continue;
        double interval = run->step[i] - run->step[i - 1];
        sol_text_add(
            t, NULL,
            " The record at step %.0f comes %.0f steps after the one before: its flips are "
            "of %s steps, and it is an open circle in the figures and blank in the maps.",
            run->step[i], interval, interval < (double)every ? "fewer" : "more");
    }
    sol_text_add(t, NULL, "</li>\n");
}

/* What a careful reader must know about the numbers. */
static void add_notes(sol_text *t, const sol_study_run *runs, int n)
{
    bool same = true, one_method = true;
    for (int r = 1; r < n; r++) {
        same = same && runs[r].head.every == runs[0].head.every;
        one_method = one_method && strcmp(runs[r].head.method, runs[0].head.method) == 0;
    }
    sol_text_add(t, NULL, "<h2 id=\"notes\">Notes</h2>\n<ul>\n");
    if (!runs[0].is_static) {
        sol_text_add(t, NULL,
                     "<li>Effective ranks, the cosine of gradients and the share of unchanged "
                     "weights look at a fixed sample of at "
                     "most %lld rows of each matrix; an effective rank is divided by the smaller "
                     "side of its sample.</li>\n",
                     (long long)runs[0].head.sample_rows);
        sol_text_add(t, NULL, "<li>Flips are counted between records, not per step.%s</li>\n",
                     same ? ""
                          : " <b>These runs recorded at different intervals: their flips do not "
                            "compare.</b>");
        for (int r = 0; r < n; r++) add_records(t, &runs[r]);
        sol_text_add(
            t, NULL,
            "<li>A first record has nothing to compare with: no flips, no cosine, no share "
            "of unchanged weights, and a blank column in the maps.</li>\n");
        sol_text_add(
            t, NULL,
            "<li>dL/dX is that of each layer alone, on the last micro-batch of the step.</li>\n"
            "<li>The data are in <code>study.h5</code> of each run: <pre>import h5py\nf = "
            "h5py.File(\"study.h5\"); n = "
            "f[\"n_records\"][0]\nnames = [f[f\"layers/{i}\"].attrs[\"name\"] for i in "
            "range(len(f[\"layers\"]))]\n"
            "valley = f[\"measures/valley_mass\"][:n]    # [records, layers]</pre></li>\n");
    }
    if (!one_method)
        sol_text_add(t, NULL,
                     "<li><b>These runs differ in the quantizer, and so in what &alpha; is</b>: "
                     "mass near &alpha;, valley and error "
                     "compare over time within a run, not between runs. Gaussian values are those "
                     "of 3:4.</li>\n");
    sol_text_add(
        t, NULL,
        "<li>Every figure of this page lies beside it as SVG and PNG, with the gnuplot script "
        "that makes it; "
        "<code>measures.csv</code> holds the means of the table, "
        "<code>measures-key.csv</code> says what its columns are.</li>\n</ul>\n");
}

static sol_status add_figures(sol_text *t, const char *dir, const sol_figure *figures, int n,
                              const sol_study_run *runs, sol_err *err)
{
    bool over_time = !runs[0].is_static, all = runs[0].n_layers <= SOL_FIGURES_FEW, layers = false;
    sol_text_add(t, NULL, "<h2 id=\"figures\">Figures</h2>\n");
    for (int i = 0; i < n; i++) {
        bool first = figures[i].layer >= 0 && !layers;
        if (first) {
            layers = true;
            sol_text_add(
                t, NULL,
                "<h2 id=\"layers\">%s</h2>\n<p class=\"look\">Histograms%s. Blue: |w|/&alpha; of "
                "the kept weights, orange: of "
                "the zeroed ones, grey: w itself. The dashed line is |w| = &alpha;. Healthy: one "
                "broad hill that orange "
                "and blue share. Trapped: a blue spike at the dashed line, orange pressed against "
                "it, nothing near 0.%s</p>\n",
                all ? "Every layer" : "The ten layers with the most mass near &alpha;",
                over_time ? " over time, from the first record at the bottom to the last on top"
                          : "",
                all ? ""
                    : " The scripts of all other layers lie beside this page: <code>gnuplot "
                      "layer_000.gp</code> draws one.");
        }
        SOL_TRY(add_figure(t, dir, &figures[i], first, err));
    }
    return SOL_OK;
}

/* Links to the parts of the page, and to the figures that are of no single layer. */
static void add_contents(sol_text *t, const sol_figure *figures, int n)
{
    sol_text_add(t, NULL, "<nav><ul><li><a href=\"#short\">In short</a>");
    for (int i = 0; i < n; i++) {
        if (figures[i].layer >= 0) continue;
        sol_text_add(t, NULL, "<li><a href=\"#%s\">", figures[i].name);
        sol_page_text(t, figures[i].title);
        sol_text_add(t, NULL, "</a>");
    }
    sol_text_add(t, NULL,
                 "<li><a href=\"#layers\">Single layers</a><li><a href=\"#measures\">All "
                 "measures</a><li><a href=\"#notes\">Notes</a></ul></nav>\n");
}

/* The layers with the most mass near alpha, where there are too many to look at each. */
static void add_worst(sol_text *t, const sol_study_run *run)
{
    const float *x = run->measure[SOL_M_near_alpha] + (run->n_records - 1) * run->n_layers;
    const float *valley = run->measure[SOL_M_valley_mass] + (run->n_records - 1) * run->n_layers;
    char label[96];
    int last = -1; /* the one that was named before */
    if (run->n_layers <= SOL_FIGURES_FEW) return;
    sol_text_add(t, NULL, "<li>");
    sol_page_text(t, run->name);
    sol_text_add(t, NULL, ", the %d layers with the most mass near &alpha; (valley in brackets):",
                 SOL_FIGURES_WORST);
    for (int k = 0; k < SOL_FIGURES_WORST; k++) {
        int best = -1;
        for (int i = 0; i < run->n_layers; i++) {
            bool left =
                isfinite(x[i]) && (last < 0 || x[i] < x[last] || (x[i] == x[last] && i > last));
            if (left && (best < 0 || x[i] > x[best])) best = i;
        }
        if (best < 0) break;
        last = best;
        sol_text_add(t, NULL, "%s <span class=\"nb\">", k ? "," : "");
        sol_page_text(t, sol_study_layer_label(&run->layers[best], label, sizeof label));
        sol_text_add(t, NULL, " %.3f (%.3f)</span>", (double)x[best], (double)valley[best]);
    }
    sol_text_add(t, NULL, "</li>\n");
}

static sol_status write_page(const report *p, const char *dir, const sol_figure *figures,
                             int n_figures, sol_err *err)
{
    char path[SOL_PATH_MAX];
    const sol_study_run *points = p->point;
    int n = p->n_points;
    sol_text t = {0}, names = {0};
    for (int r = 0; r < n; r++) sol_text_add(&names, NULL, "%s%s", r ? ", " : "", points[r].name);
    sol_page_begin(&t, "Weight trapping", names.data ? names.data : "", 0);
    sol_free(names.data);
    sol_text_add(&t, NULL, "<h1>Weight trapping</h1>\n");
    add_runs(&t, p);
    add_contents(&t, figures, n_figures);
    sol_text_add(&t, NULL, "%s%s<h2 id=\"short\">In short</h2>\n<ul>\n", introduction,
                 points[0].is_static ? reading_model : reading_run);
    for (int r = 0; r < p->n; r++) add_divergence(&t, &p->runs[r]);
    for (int r = 0; r < n; r++) {
        if (sol_study_find_divergence(&points[r]).from >= 0) continue;
        add_verdict(&t, &points[r]);
        add_worst(&t, &points[r]);
    }
    sol_text_add(
        &t, NULL,
        "</ul>\n<p class=\"look\">A rule of thumb (trapped: more than %g near &alpha; "
        "and less than %g in the valley; mild: more than %g or less than %g), not a "
        "verdict: look at the layers. \"0 q\" is the query projection of block 0; k key, v "
        "value, o output of the attention; gate, up and down make the MLP.</p>\n",
        SOL_NEAR_TRAPPED, SOL_VALLEY_TRAPPED, SOL_NEAR_MILD, SOL_VALLEY_MILD);
    sol_status st = add_figures(&t, dir, figures, n_figures, points, err);
    add_measures(&t, points, n);
    add_notes(&t, points, n);
    sol_text_add(&t, NULL, "</body>\n</html>\n");
    if (st == SOL_OK && t.status != SOL_OK) st = sol_fail(err, t.status, "%s: out of memory", dir);
    if (st == SOL_OK) st = sol_path_join(path, dir, "index.html", err);
    if (st == SOL_OK) st = sol_file_write(path, t.data, t.n, err);
    sol_free(t.data);
    return st;
}

static sol_status write_csv(const char *dir, const char *name, char *csv, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_status st = sol_path_join(path, dir, name, err);
    if (st == SOL_OK) st = sol_file_write(path, csv, strlen(csv), err);
    sol_free(csv);
    return st;
}

static sol_status write_measures(const sol_study_run *runs, int n, const char *dir, sol_err *err)
{
    char *csv;
    SOL_TRY(sol_report_csv(runs, n, &csv, err));
    SOL_TRY(write_csv(dir, "measures.csv", csv, err));
    SOL_TRY(sol_report_csv_key(&csv, err));
    return write_csv(dir, "measures-key.csv", csv, err);
}

/* Joins the seeds and makes figures and page of the points. */
static sol_status write_points(report *p, const char *dir, sol_err *err)
{
    sol_figure *figures;
    int n_figures;
    SOL_TRY(sol_alloc_array((void **)&p->point, (size_t)p->n, sizeof *p->point, err));
    SOL_TRY(sol_alloc_array((void **)&p->place, (size_t)p->n, sizeof *p->place, err));
    SOL_TRY(sol_study_join_seeds(p->runs, p->n, p->point, &p->n_points, p->place, err));
    SOL_TRY(sol_figures_make(p->point, p->n_points, dir, &figures, &n_figures, err));
    sol_status st = write_page(p, dir, figures, n_figures, err);
    sol_free(figures);
    return st;
}

sol_status sol_report_write(const sol_study_run *runs, int n, const char *dir, sol_err *err)
{
    report p = {.runs = runs, .n = n};
    SOL_TRY(sol_study_runs_check(runs, n, err));
    SOL_TRY(sol_plot_available(err));
    SOL_TRY(sol_dir_create(dir, err));
    SOL_TRY(write_measures(runs, n, dir, err));
    sol_status st = write_points(&p, dir, err);
    for (int i = 0; i < p.n_points; i++) sol_study_run_free(&p.point[i]);
    sol_free(p.point);
    sol_free(p.place);
    return st;
}
