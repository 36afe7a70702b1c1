/* solera runs: what the runs of a folder have come to, a row each, from config.yaml and
 * metrics.jsonl; reads only, so that a run may be at work meanwhile. */
#include "program.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "as_json.h"
#include "base/file.h"
#include "metrics.h"
#include "run_model.h"

struct args {
    bool json;
};

static const sol_opt options[] = {
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .help = "a JSON array, an object a run"},
    {0},
};

/* Losses are NaN where nothing was measured yet. */
typedef struct row {
    double step, loss, eval_loss, packed_loss; /* the newest */
    double best_loss, best_step; /* as the trainer scores: the least eval_loss, else packed_loss */
} row;

static row row_of(const sol_study_curve *c)
{
    row r = {0, NAN, NAN, NAN, NAN, NAN};
    if (c->n > 0) {
        r.step = c->step[c->n - 1];
        r.loss = c->loss[c->n - 1];
    }
    for (int64_t i = 0; i < c->n_evals; i++) {
        r.eval_loss = c->eval_loss[i];
        r.packed_loss = c->packed_loss[i];
        double score = isnan(r.eval_loss) ? r.packed_loss : r.eval_loss;
        if (i < c->first_eval || r.best_loss <= score || isnan(score)) continue;
        r.best_loss = score;
        r.best_step = c->eval_step[i];
    }
    return r;
}

static json_t *number_json(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *row_json(const char *dir, const sol_config *c, const row *r)
{
    return json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:s, s:I}", "run",
                     sol_json_bytes(dir, strlen(dir)), "step", (json_int_t)r->step, "steps",
                     (json_int_t)c->train.steps, "loss", number_json(r->loss), "eval_loss",
                     number_json(r->eval_loss), "packed_loss", number_json(r->packed_loss),
                     "best_loss", number_json(r->best_loss), "best_step",
                     isnan(r->best_step) ? json_null() : json_integer((json_int_t)r->best_step),
                     "method", c->quant.method, "seed", (json_int_t)c->run.seed);
}

static const char *loss_text(double x, char out[32])
{
    snprintf(out, 32, isfinite(x) ? "%.4f" : "-", x);
    return out;
}

static void print_row(const char *dir, const sol_config *c, const row *r)
{
    char steps[64], loss[32], eval[32], packed[32], best[32], at[32] = "-";
    snprintf(steps, sizeof steps, "%.0f/%" PRId64, r->step, c->train.steps);
    if (!isnan(r->best_step)) snprintf(at, sizeof at, "%.0f", r->best_step);
    printf("%13s %8s %9s %11s %9s %9s  %-10s %5" PRId64 "  %s\n", steps, loss_text(r->loss, loss),
           loss_text(r->eval_loss, eval), loss_text(r->packed_loss, packed),
           loss_text(r->best_loss, best), at, c->quant.method, c->run.seed, dir);
}

/* rows NULL: to be printed. */
static sol_status show_run(const char *dir, json_t *rows, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_config *c = NULL;
    sol_study_curve curve = {0};
    SOL_TRY(sol_path_join(path, dir, "config.yaml", err));
    SOL_TRY(sol_config_read(&c, path, err));
    sol_status st = sol_path_join(path, dir, "metrics.jsonl", err);
    if (st == SOL_OK && sol_file_exists(path)) st = sol_metrics_read(path, &curve, err);
    if (st == SOL_OK) {
        row r = row_of(&curve);
        if (rows)
            json_array_append_new(rows, row_json(dir, c, &r));
        else
            print_row(dir, c, &r);
    }
    sol_metrics_free(&curve);
    sol_config_free(&c);
    return st;
}

static bool is_run(const char *dir)
{
    char path[SOL_PATH_MAX];
    return sol_path_join(path, dir, "metrics.jsonl", NULL) == SOL_OK && sol_file_exists(path) &&
           sol_path_join(path, dir, "config.yaml", NULL) == SOL_OK && sol_file_exists(path);
}

/* A run that cannot be read hides no other: it is a warning. */
static void show_entries(sol_program *p, const char *dir, struct dirent **entry, int n,
                         json_t *rows, int *shown)
{
    for (int i = 0; i < n; i++) {
        char path[SOL_PATH_MAX];
        sol_err why = {0};
        if (entry[i]->d_name[0] == '.' ||
            sol_path_join(path, dir, entry[i]->d_name, NULL) != SOL_OK || !is_run(path))
            continue;
        ++*shown;
        if (show_run(path, rows, &why) != SOL_OK)
            sol_log_line(&p->log, SOL_LOG_WARN, "%s", why.text);
    }
}

static sol_status show_folder(sol_program *p, const char *dir, json_t *rows, sol_err *err)
{
    struct dirent **entry;
    int shown = 0, n = scandir(dir, &entry, NULL, alphasort);
    if (n < 0) return sol_fail_errno(err, dir, "cannot read");
    show_entries(p, dir, entry, n, rows, &shown);
    for (int i = 0; i < n; i++) free(entry[i]);
    free(entry);
    if (shown) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE, "%s: neither is a run nor holds one", dir);
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    const struct args *a = argsp;
    json_t *rows = a->json ? json_array() : NULL;
    sol_status st = SOL_OK;
    if (!rows)
        puts("        steps     loss eval_loss packed_loss best_loss best_step  method      seed"
             "  run");
    for (int i = 0; i < p->n_words; i++) {
        char dir[SOL_PATH_MAX];
        size_t n = (size_t)snprintf(dir, sizeof dir, "%s", p->word[i]);
        while (n > 1 && dir[n - 1] == '/') dir[--n] = 0;
        st = is_run(dir) ? show_run(dir, rows, err) : show_folder(p, dir, rows, err);
        if (st != SOL_OK) break;
    }
    char *text = st == SOL_OK && rows ? json_dumps(rows, JSON_REAL_PRECISION(12)) : NULL;
    if (text) puts(text);
    free(text);
    json_decref(rows);
    return st;
}

const sol_verb sol_verb_runs = {
    .name = "runs",
    .words = "DIR...",
    .min_words = 1,
    .max_words = 256,
    .summary = "list and compare runs",
    .details = "DIR is a run, or a folder of runs, of which each is a row: steps done\n"
               "and wanted, the loss of "
               "the newest step, the newest eval_loss and packed_loss, the least eval_loss\n"
               "(packed_loss with train.eval_form packed) and its step, quantizer and seed;\n"
               "- (in JSON null) where there is none.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
