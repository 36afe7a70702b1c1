/* Sums up the runs of a sweep: means and intervals over the seeds, as table.md and table.csv. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "metrics.h"
#include "sweep_table.h"

double *sol_sweep_values(const sol_sweep_table *t, int point, int seed)
{
    return t->value +
           ((size_t)point * (size_t)t->runs->sweep->n_seeds + (size_t)seed) * (size_t)t->n_values;
}

/* ---- reading ---- */

/* Loss over the last tenth of the steps: one step's batch alone says little. */
static double last_training_loss(const sol_study_curve *c)
{
    double sum = 0;
    int64_t n = (c->n + 9) / 10;
    for (int64_t i = c->n - n; i < c->n; i++) sum += c->loss[i];
    return n ? sum / (double)n : NAN;
}

static int measure_number(const char *name)
{
    for (int i = 0; i < SOL_MEASURE_COUNT; i++)
        if (strcmp(sol_measure_at(i)->name, name) == 0) return i;
    return -1;
}

static sol_status read_study(const sol_sweep_table *t, const sol_sweep_run *run, double *value,
                             sol_err *err)
{
    const sol_sweep *s = t->runs->sweep;
    char path[SOL_PATH_MAX];
    sol_study_run records;
    SOL_TRY(sol_path_join(path, run->job->run.dir, "study.h5", err));
    SOL_TRY(sol_study_run_read(&records, path, run->job->run.dir, err));
    for (int i = 0; i < s->n_measures; i++)
        value[SOL_SWEEP_MEASURES + i] = sol_study_last(&records, measure_number(s->measure[i]));
    sol_study_run_free(&records);
    return SOL_OK;
}

static sol_status read_run(const sol_sweep_table *t, int i, double *value, sol_err *err)
{
    const sol_sweep_run *run = &t->runs->run[i];
    char path[SOL_PATH_MAX];
    sol_study_curve c;
    SOL_TRY(sol_path_join(path, run->job->run.dir, "metrics.jsonl", err));
    SOL_TRY(sol_metrics_read(path, &c, err));
    value[SOL_SWEEP_TRAIN_LOSS] = last_training_loss(&c);
    if (c.n_evals > 0) {
        value[SOL_SWEEP_EVAL_LOSS] = c.eval_loss[c.n_evals - 1];
        value[SOL_SWEEP_PACKED_LOSS] = c.packed_loss[c.n_evals - 1];
    }
    t->file[SOL_SWEEP_MODEL][i] = c.model_digest;
    t->file[SOL_SWEEP_TEACHER][i] = c.teacher_digest;
    t->file[SOL_SWEEP_DATA][i] = c.data_digest;
    t->file[SOL_SWEEP_EVAL][i] = c.eval_digest;
    sol_metrics_free(&c);
    return t->runs->sweep->n_measures > 0 ? read_study(t, run, value, err) : SOL_OK;
}

static sol_status read_all(const sol_sweep_table *t, sol_err *err)
{
    for (int i = 0; i < t->runs->n; i++) {
        const sol_sweep_run *run = &t->runs->run[i];
        double *value = sol_sweep_values(t, run->point, run->seed);
        for (int k = 0; k < t->n_values; k++) value[k] = NAN;
        if (run->phase == SOL_RUN_DONE) SOL_TRY(read_run(t, i, value, err));
    }
    return SOL_OK;
}

/* ---- over the seeds ---- */

static sol_sweep_mean summarize(const sol_sweep_table *t, int point, int column)
{
    sol_sweep_mean s = {.mean = NAN, .deviation = NAN};
    double sum = 0, squares = 0;
    int n_seeds = t->runs->sweep->n_seeds;
    for (int i = 0; i < n_seeds; i++) {
        double x = sol_sweep_values(t, point, i)[column];
        if (!isfinite(x)) continue;
        sum += x;
        s.n++;
    }
    if (s.n > 0) s.mean = sum / s.n;
    if (s.n <= 1) return s;
    for (int i = 0; i < n_seeds; i++) {
        double x = sol_sweep_values(t, point, i)[column];
        if (isfinite(x)) squares += (x - s.mean) * (x - s.mean);
    }
    s.deviation = sqrt(squares / (s.n - 1));
    return s;
}

/* Runs of one seed saw the same batches: their differences vary less than they do. */
static void subtract(const sol_sweep_table *t)
{
    const sol_sweep *s = t->runs->sweep;
    if (s->against < 0) return;
    for (int p = 0; p < s->n_points; p++)
        for (int i = 0; i < s->n_seeds; i++)
            sol_sweep_values(t, p, i)[SOL_SWEEP_DIFFERENCE] =
                sol_sweep_values(t, p, i)[SOL_SWEEP_EVAL_LOSS] -
                sol_sweep_values(t, s->against, i)[SOL_SWEEP_EVAL_LOSS];
}

static void summarize_all(const sol_sweep_table *t)
{
    for (int p = 0; p < t->runs->sweep->n_points; p++)
        for (int k = 0; k < t->n_values; k++) {
            sol_sweep_mean *s = &t->summary[p * t->n_values + k];
            *s = summarize(t, p, k);
            if (s->n > 0 || k >= SOL_SWEEP_MEASURES) t->shown[k] = true;
        }
}

double sol_sweep_half_interval(const sol_sweep_mean *s)
{
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571,
                               2.447,  2.365, 2.306, 2.262, 2.228};
    if (s->n < 2) return NAN;
    int freedom = s->n - 1, known = sizeof t / sizeof *t;
    double quantile =
        freedom <= known ? t[freedom - 1] : 1.960 + 2.372 / freedom + 2.822 / freedom / freedom;
    return quantile * s->deviation / sqrt(s->n);
}

static int seeds_done(const sol_sweep_table *t, int point)
{
    int n = 0;
    for (int i = 0; i < t->runs->sweep->n_seeds; i++)
        n += t->runs->run[point * t->runs->sweep->n_seeds + i].phase == SOL_RUN_DONE;
    return n;
}

static void column_title(const sol_sweep_table *t, int k, char *out, size_t size)
{
    static const char *const losses[] = {"eval loss", "packed loss", "train loss"};
    const sol_sweep *s = t->runs->sweep;
    if (k < SOL_SWEEP_DIFFERENCE)
        snprintf(out, size, "%s", losses[k]);
    else if (k == SOL_SWEEP_DIFFERENCE)
        snprintf(out, size, "eval loss - %.100s", s->against >= 0 ? s->point[s->against].name : "");
    else
        snprintf(out, size, "%s", s->measure[k - SOL_SWEEP_MEASURES]);
}

/* Of a difference the cells have half of the interval, of a loss the deviation. */
static void heading(const sol_sweep_table *t, int k, char *out, size_t size)
{
    char title[SOL_SWEEP_CELL - 16];
    column_title(t, k, title, sizeof title);
    snprintf(out, size, "%s%s", title, k == SOL_SWEEP_DIFFERENCE ? " (95 %)" : "");
}

/* ---- what the means do not tell ---- */

static bool same_sources(const sol_sources *a, const sol_sources *b)
{
    int n = a ? a->n : 0;
    if (n != (b ? b->n : 0)) return false;
    for (int i = 0; i < n; i++)
        if (strcmp(a->row[i].path, b->row[i].path) != 0 || a->row[i].weight != b->row[i].weight)
            return false;
    return true;
}

static bool same_model(const sol_config *a, const sol_config *b)
{
    return strcmp(a->model.init, b->model.init) == 0;
}

static bool same_teacher(const sol_config *a, const sol_config *b)
{
    return same_model(a, b) && strcmp(a->distill.teacher, b->distill.teacher) == 0;
}

/* Do the jobs name the same text, cut into tokens in the same way? */
static bool same_text(const sol_config *a, const sol_config *b)
{
    return same_model(a, b) && strcmp(a->model.tokenizer, b->model.tokenizer) == 0 &&
           a->data.special == b->data.special && a->data.loss_on == b->data.loss_on;
}

static bool same_training(const sol_config *a, const sol_config *b)
{
    return a->data.source == SOL_DATA_FILE && b->data.source == SOL_DATA_FILE && same_text(a, b) &&
           same_sources(a->data.train, b->data.train);
}

static bool same_evaluation(const sol_config *a, const sol_config *b)
{
    return same_text(a, b) && strcmp(a->data.eval, b->data.eval) == 0 &&
           a->train.eval_windows == b->train.eval_windows &&
           a->train.eval_form == b->train.eval_form;
}

/* The first run whose file was another one than that of an earlier run with its name: it was
 * replaced meanwhile. */
static void note_other_file(sol_sweep_table *t, const uint64_t *digest, const char *key,
                            bool (*same)(const sol_config *, const sol_config *))
{
    const sol_sweep_runs *r = t->runs;
    for (int i = 1; i < r->n; i++) {
        int k = 0;
        while (k < i && (!digest[k] || !same(r->run[k].job, r->run[i].job))) k++;
        if (k == i || !digest[i] || digest[k] == digest[i]) continue;
        const char *points[] = {r->sweep->point[r->run[k].point].name,
                                r->sweep->point[r->run[i].point].name};
        sol_text_add(&t->notes, NULL,
                     "Not comparable: the file of %s was another one for %s seed %lld than for %s "
                     "seed %lld.\n",
                     key, points[1], (long long)r->sweep->seed[r->run[i].seed], points[0],
                     (long long)r->sweep->seed[r->run[k].seed]);
        return;
    }
}

/* A run that diverged and went on has no finite loss. */
static void note_left_out(sol_sweep_table *t, int k)
{
    for (int p = 0; p < t->runs->sweep->n_points; p++) {
        int n = t->summary[p * t->n_values + k].n, done = seeds_done(t, p);
        char title[SOL_SWEEP_CELL];
        if (n == done || !t->shown[k]) continue;
        column_title(t, k, title, sizeof title);
        sol_text_add(&t->notes, NULL, "%s, %s: %d of %d seeds have a finite one.\n",
                     t->runs->sweep->point[p].name, title, n, done);
    }
}

static sol_status take_notes(sol_sweep_table *t, sol_err *err)
{
    static const struct {
        const char *key;
        bool (*same)(const sol_config *, const sol_config *);
    } files[SOL_SWEEP_FILES] = {[SOL_SWEEP_MODEL] = {"model.init", same_model},
                                [SOL_SWEEP_TEACHER] = {"distill.teacher", same_teacher},
                                [SOL_SWEEP_DATA] = {"data.train", same_training},
                                [SOL_SWEEP_EVAL] = {"data.eval", same_evaluation}};
    for (int i = 0; i < SOL_SWEEP_FILES; i++)
        note_other_file(t, t->file[i], files[i].key, files[i].same);
    for (int k = 0; k < SOL_SWEEP_DIFFERENCE; k++) note_left_out(t, k);
    return t->notes.status == SOL_OK ? SOL_OK
                                     : sol_fail(err, t->notes.status, "table: out of memory");
}

/* ---- writing ---- */

static void cell_text(const sol_sweep_table *t, int point, int k, char *out, size_t size)
{
    const sol_sweep_mean *s = &t->summary[point * t->n_values + k];
    if (s->n == 0)
        snprintf(out, size, "-");
    else if (s->n == 1)
        snprintf(out, size, k == SOL_SWEEP_DIFFERENCE ? "%+.4f" : "%.4f", s->mean);
    else if (k == SOL_SWEEP_DIFFERENCE)
        snprintf(out, size, "%+.4f ± %.4f", s->mean, sol_sweep_half_interval(s));
    else
        snprintf(out, size, "%.4f ± %.4f", s->mean, s->deviation);
}

void sol_sweep_cell(const sol_sweep_table *t, int row, int column, char *out, size_t size)
{
    const sol_sweep *s = t->runs->sweep;
    int k = column - s->n_columns - 1;
    if (k < -1)
        snprintf(out, size, "%s", row < 0 ? s->column[column] : s->point[row].cell[column]);
    else if (k == -1 && row < 0)
        snprintf(out, size, "seeds");
    else if (k == -1)
        snprintf(out, size, "%d", seeds_done(t, row));
    else if (row < 0)
        heading(t, k, out, size);
    else
        cell_text(t, row, k, out, size);
}

bool sol_sweep_column_shown(const sol_sweep_table *t, int column)
{
    int k = column - t->runs->sweep->n_columns - 1;
    return k < 0 || t->shown[k];
}

static int columns_on_screen(const char *s)
{
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static void add_markdown_row(const sol_sweep_table *t, int row, const int *width, sol_text *out)
{
    char text[SOL_SWEEP_CELL];
    for (int c = 0; c < t->runs->sweep->n_columns + 1 + t->n_values; c++) {
        if (!sol_sweep_column_shown(t, c)) continue;
        sol_sweep_cell(t, row, c, text, sizeof text);
        sol_text_add(out, NULL, "| %s%*s ", text, width[c] - columns_on_screen(text), "");
    }
    sol_text_add(out, NULL, "|\n");
}

static sol_status make_markdown(const sol_sweep_table *t, sol_text *out, sol_err *err)
{
    const sol_sweep *s = t->runs->sweep;
    char text[SOL_SWEEP_CELL];
    int *width = NULL, n = s->n_columns + 1 + t->n_values;
    SOL_TRY(sol_alloc_array((void **)&width, (size_t)n, sizeof *width, err));
    for (int c = 0; c < n; c++)
        for (int row = -1; row < s->n_points; row++) {
            sol_sweep_cell(t, row, c, text, sizeof text);
            if (columns_on_screen(text) > width[c]) width[c] = columns_on_screen(text);
        }
    add_markdown_row(t, -1, width, out);
    for (int c = 0; c < n; c++) {
        if (!sol_sweep_column_shown(t, c)) continue;
        sol_text_add(out, NULL, "|");
        for (int i = 0; i < width[c] + 2; i++) sol_text_add(out, NULL, "-");
    }
    sol_text_add(out, NULL, "|\n");
    for (int row = 0; row < s->n_points; row++) add_markdown_row(t, row, width, out);
    if (s->n_seeds < 3)
        sol_text_add(
            out, NULL,
            "\nFewer than 3 seeds: a difference of the size of the deviations may be chance.\n");
    if (t->notes.n > 0) sol_text_add(out, NULL, "\n%s", t->notes.data);
    sol_free(width);
    return out->status == SOL_OK ? SOL_OK : sol_fail(err, out->status, "table: out of memory");
}

static void add_csv_text(sol_text *out, const char *s)
{
    bool quoted = s[strcspn(s, ",\"\n")] != 0;
    if (quoted) sol_text_add(out, NULL, "\"");
    for (; *s; s++) sol_text_add(out, NULL, *s == '"' ? "\"\"" : "%c", *s);
    if (quoted) sol_text_add(out, NULL, "\"");
}

static sol_status make_csv(const sol_sweep_table *t, sol_text *out, sol_err *err)
{
    const sol_sweep *s = t->runs->sweep;
    char text[SOL_SWEEP_CELL];
    for (int row = -1; row < s->n_points; row++) {
        for (int c = 0; c <= s->n_columns; c++) {
            sol_sweep_cell(t, row, c, text, sizeof text);
            if (c) sol_text_add(out, NULL, ",");
            add_csv_text(out, text);
        }
        for (int k = 0; k < t->n_values; k++) {
            if (!t->shown[k]) continue;
            const sol_sweep_mean *x = row < 0 ? NULL : &t->summary[row * t->n_values + k];
            column_title(t, k, text, sizeof text);
            if (row < 0) sol_text_add(out, NULL, ",%s,%s deviation", text, text);
            if (x) sol_text_add(out, NULL, ",");
            if (x && x->n > 0) sol_text_add(out, NULL, "%.9g", x->mean);
            if (x) sol_text_add(out, NULL, ",");
            if (x && x->n > 1) sol_text_add(out, NULL, "%.9g", x->deviation);
        }
        sol_text_add(out, NULL, "\n");
    }
    return out->status == SOL_OK ? SOL_OK : sol_fail(err, out->status, "table: out of memory");
}

static sol_status write_text(const sol_sweep *s, const char *name, const sol_text *text,
                             sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, s->dir, name, err));
    SOL_TRY(sol_dir_create(s->dir, err));
    return sol_file_write(path, text->data, text->n, err);
}

sol_status sol_sweep_table_make(sol_sweep_table *t, const sol_sweep_runs *r, sol_err *err)
{
    const sol_sweep *s = r->sweep;
    *t = (sol_sweep_table){.runs = r, .n_values = SOL_SWEEP_MEASURES + s->n_measures};
    size_t values = (size_t)t->n_values;
    SOL_TRY(sol_alloc_array((void **)&t->value, (size_t)r->n * values, sizeof *t->value, err));
    for (int i = 0; i < SOL_SWEEP_FILES; i++)
        SOL_TRY(sol_alloc_array((void **)&t->file[i], (size_t)r->n, sizeof **t->file, err));
    SOL_TRY(sol_alloc_array((void **)&t->summary, (size_t)s->n_points * values, sizeof *t->summary,
                            err));
    SOL_TRY(sol_alloc_array((void **)&t->shown, values, sizeof *t->shown, err));
    SOL_TRY(read_all(t, err));
    subtract(t);
    summarize_all(t);
    return take_notes(t, err);
}

void sol_sweep_table_free(sol_sweep_table *t)
{
    sol_free(t->value);
    for (int i = 0; i < SOL_SWEEP_FILES; i++) sol_free(t->file[i]);
    sol_free(t->notes.data);
    sol_free(t->summary);
    sol_free(t->shown);
    *t = (sol_sweep_table){0};
}

static sol_status write_all(const sol_sweep_table *t, sol_text *markdown, sol_text *csv,
                            sol_err *err)
{
    const sol_sweep *s = t->runs->sweep;
    SOL_TRY(make_markdown(t, markdown, err));
    SOL_TRY(make_csv(t, csv, err));
    SOL_TRY(write_text(s, "table.md", markdown, err));
    SOL_TRY(write_text(s, "table.csv", csv, err));
    return sol_sweep_page_write(t, "", err);
}

sol_status sol_sweep_report(const sol_sweep_runs *r, sol_err *err)
{
    sol_sweep_table t;
    sol_text markdown = {0}, csv = {0};
    sol_status st = sol_sweep_table_make(&t, r, err);
    if (st == SOL_OK) st = write_all(&t, &markdown, &csv, err);
    if (st == SOL_OK) fputs(markdown.data, stdout);
    sol_free(markdown.data);
    sol_free(csv.data);
    sol_sweep_table_free(&t);
    return st;
}
