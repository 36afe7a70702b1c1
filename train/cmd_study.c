/* solera study: reads runs and models and writes their report. */
#include <string.h>

#include "base/mem.h"
#include "metrics.h"
#include "output.h"
#include "program.h"
#include "run_model.h"
#include "study_layers.h"

struct args {
    const char *out;
    bool csv, force, sensitivity;
    sol_sensitivity_args each; /* of --sensitivity */
};

static const sol_opt options[] = {
    {.name = "--csv",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, csv),
     .without = "-o|--force",
     .help = "instead of a report its measures.csv on stdout; needs no gnuplot"},
    {.name = "-o",
     .value = "DIR",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .help = "directory of the report; default: RUN/report for one run, study-report otherwise"},
    SOL_OPT_FORCE(struct args, NULL),
    {.name = "--sensitivity",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, sensitivity),
     .without = "-o|--force|--csv",
     .help =
         "of one MODEL, RUN or job: the loss with each layer alone quantized, the dearest first"},
    {.name = "--data",
     .value = "D.h5",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, each.data),
     .with = "--sensitivity",
     .help = "the dataset to measure it on (default: data.eval of a job, or its data.train)"},
    {.name = "--windows",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, each.windows),
     .preset = "16",
     .min = 1,
     .max = 1e9,
     .with = "--sensitivity",
     .help = "the first N windows of it"},
    {.name = "--seq",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, each.seq),
     .preset = "-1",
     .min = -1,
     .max = 1e7,
     .with = "--sensitivity",
     .help = "tokens a window; 0: the model's context, at most 2048; -1: as in the model's "
             "training, else 256"},
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, each.json),
     .with = "--sensitivity",
     .help = "one JSON object on stdout"},
    {0},
};

/* The path without slashes at its end and without /study.h5. */
static const char *plain_path(const char *path, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s", path);
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') out[--n] = 0;
    if (n > 9 && strcmp(out + n - 9, "/study.h5") == 0) out[n - 9] = 0;
    return out;
}

/* The last k parts of a path; all of it where it has no more. */
static const char *last_parts(const char *path, int k)
{
    const char *s = path + strlen(path);
    while (s > path && (s[-1] != '/' || --k > 0)) s--;
    return s;
}

/* Do the last k parts of word i differ from those of all other words (any false), or are all of
 * them equal (any true)? */
static bool parts_differ(const sol_program *p, int i, int k, bool any)
{
    char mine[SOL_PATH_MAX], other[SOL_PATH_MAX];
    bool differ = !any;
    const char *name = last_parts(plain_path(p->word[i], mine), k);
    for (int n = 0; n < p->n_words; n++) {
        bool same = n == i || strcmp(name, last_parts(plain_path(p->word[n], other), k)) == 0;
        differ = any ? differ || !same : differ && (n == i || !same);
    }
    return differ;
}

/* As few parts of the path as tell it from the others, without those at the end that all have: of
 * a/x/seed-1 and b/y/seed-1, x and y. */
static const char *shown_name(const sol_program *p, int i, char out[SOL_PATH_MAX])
{
    enum { MAX = 16 };
    int k = 1, common = 0;
    plain_path(p->word[i], out);
    while (k < MAX && !parts_differ(p, i, k, false)) k++;
    if (k == MAX) return out;
    while (common + 1 < k && !parts_differ(p, i, common + 1, true)) common++;
    const char *name = last_parts(out, k);
    if (common > 0) out[last_parts(out, common) - out - 1] = 0;
    return name;
}

/* The keys of the job that studies compare. A job of another version may not be read any more: the
 * page then says less. */
static sol_study_recipe read_recipe(const char *path, sol_study_curve *curve)
{
    sol_study_recipe r = {.residual = "none", .teacher = "none"};
    sol_config *c;
    if (sol_config_read(&c, path, NULL) != SOL_OK) return r;
    const char *init = strrchr(c->model.init, '/');
    snprintf(r.start, sizeof r.start, "%s%s", c->calibrate.enabled ? "calibrated from " : "",
             init ? init + 1 : c->model.init);
    snprintf(r.schedule, sizeof r.schedule, "%s", sol_config_word(c, "optim.schedule"));
    if (sol_config_quantizes(c) && c->residual.schedule != SOL_RESIDUAL_NONE)
        snprintf(r.residual, sizeof r.residual, "%s, %s to %g%s",
                 sol_config_word(c, "residual.form"), sol_config_word(c, "residual.schedule"),
                 c->residual.end_fraction, c->residual.warmup ? ", warm-up" : "");
    if (c->distill.teacher[0]) snprintf(r.teacher, sizeof r.teacher, "%s", c->distill.teacher);
    r.lr = c->optim.lr;
    r.steps = c->train.steps;
    r.seed = c->run.seed;
    c->run.seed = 0; /* for a digest of the others */
    r.known = sol_config_digest(c, true, &r.job, NULL) == SOL_OK;
    if (c->data.source == SOL_DATA_SELF) curve->data_digest = 0; /* each seed samples its own */
    sol_config_free(&c);
    return r;
}

/* What lies beside a file of a run: its losses, its calibration, its job. */
static sol_status read_beside(sol_study_run *run, const char *path, sol_err *err)
{
    char file[SOL_PATH_MAX + 32];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash + 1 - path) : 0;
    sol_status st = SOL_OK;
    snprintf(file, sizeof file, "%.*smetrics.jsonl", n, path);
    if (!run->is_static && sol_file_exists(file)) st = sol_metrics_read(file, &run->curve, err);
    snprintf(file, sizeof file, "%.*scalibrate.jsonl", n, path);
    if (st == SOL_OK && sol_file_exists(file))
        st = sol_calibration_read(file, &run->calibration, err);
    snprintf(file, sizeof file, "%.*sconfig.yaml", n, path);
    if (st == SOL_OK && !run->is_static && sol_file_exists(file))
        run->recipe = read_recipe(file, &run->curve);
    if (st != SOL_OK) sol_study_run_free(run);
    return st;
}

static sol_status read_run(sol_study_run *run, const char *path, const char *name, sol_err *err)
{
    SOL_TRY(sol_study_run_read(run, path, name, err));
    return read_beside(run, path, err);
}

static sol_status read_model(sol_program *p, sol_study_run *run, const char *path, const char *name,
                             sol_err *err)
{
    sol_ctx *ctx;
    sol_model_file file = {0};
    sol_status st = sol_program_ctx(p, &ctx, err);
    if (st == SOL_OK) st = sol_model_file_read(&file, path, SOL_F32, NULL, err);
    if (st == SOL_OK) st = sol_study_run_static(run, ctx, file.model, &file.quant, name, err);
    sol_model_file_free(&file);
    return st;
}

/* A calibration without a training: the weights that it ended with. */
static sol_status read_calibrated(sol_program *p, sol_study_run *run, const char *path,
                                  const char *name, sol_err *err)
{
    SOL_TRY(read_model(p, run, path, name, err));
    return read_beside(run, path, err);
}

static sol_status read_word(sol_program *p, sol_study_run *run, int i, sol_err *err)
{
    const char *path = p->word[i];
    char name_buffer[SOL_PATH_MAX], file[SOL_PATH_MAX];
    const char *name = shown_name(p, i, name_buffer);
    sol_file_kind kind;
    if (sol_is_directory(path)) {
        SOL_TRY(sol_path_join(file, path, "study.h5", err));
        if (sol_file_exists(file)) return read_run(run, file, name, err);
        SOL_TRY(sol_path_join(file, path, "calibrated.h5", err));
        if (sol_file_exists(file)) return read_calibrated(p, run, file, name, err);
        return sol_fail(
            err, SOL_ERR_IO,
            "%s: has no study.h5; train with study.every, as --set study.every=50, or name a "
            "checkpoint for a look at its weights",
            path);
    }
    SOL_TRY(sol_store_kind(path, &kind, err));
    if (kind == SOL_FILE_STUDY) return read_run(run, path, name, err);
    if (kind == SOL_FILE_CHECKPOINT || kind == SOL_FILE_MODEL)
        return read_model(p, run, path, name, err);
    return sol_fail(
        err, SOL_ERR_USAGE, "%s: holds %s%s; a study needs a run, a checkpoint or a model", path,
        sol_file_kind_text(kind), kind == SOL_FILE_PACKED ? ", whose latent weights are gone" : "");
}

static sol_status print_csv(const sol_study_run *runs, int n, sol_err *err)
{
    char *csv = NULL;
    sol_status st = sol_study_runs_check(runs, n, err);
    if (st == SOL_OK) st = sol_report_csv(runs, n, &csv, err);
    if (st == SOL_OK) fputs(csv, stdout);
    sol_free(csv);
    return st;
}

static sol_status read_words(sol_program *p, sol_study_run *runs, sol_err *err)
{
    for (int i = 0; i < p->n_words; i++) SOL_TRY(read_word(p, &runs[i], i, err));
    return SOL_OK;
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_study_run *runs = NULL;
    char dir[SOL_PATH_MAX] = "study-report";
    int n = p->n_words;
    if (args->sensitivity && n > 1)
        return sol_fail(err, SOL_ERR_USAGE, "--sensitivity takes one model or job, not %d", n);
    if (args->sensitivity) return sol_study_sensitivity(p, &args->each, err);
    sol_status st = sol_alloc_array((void **)&runs, (size_t)n, sizeof *runs, err);
    if (st == SOL_OK && n == 1 && sol_is_directory(p->word[0]))
        st = sol_path_join(dir, p->word[0], "report", err);
    const char *out = args->out ? args->out : dir;
    if (st == SOL_OK && !args->csv) st = sol_output_check(out, SOL_OUTPUT_REPORT, args->force, err);
    if (st == SOL_OK) st = read_words(p, runs, err);
    if (st == SOL_OK)
        st = args->csv ? print_csv(runs, n, err) : sol_report_write(runs, n, out, err);
    if (st == SOL_OK && !args->csv) printf("%s/index.html\n", out);
    if (runs)
        for (int i = 0; i < n; i++) sol_study_run_free(&runs[i]);
    sol_free(runs);
    return st;
}

const sol_verb sol_verb_study = {
    .name = "study",
    .words = "RUN|MODEL.h5...",
    .min_words = 1,
    .max_words = 64,
    .summary = "report on weight trapping in runs or models, side by side",
    .details = "A run that was trained with study.every has study.h5: its report shows loss, "
               "flips, effective rank and histograms over\n"
               "time. Runs that differ in the seed alone are drawn as one, with a band. Of a "
               "checkpoint or model the report shows the\n"
               "weights as they are. Where a run was calibrated, its errors over depth are drawn, "
               "too. DIR gets index.html, which stands\n"
               "alone, and each figure as SVG, PNG and gnuplot script. Needs gnuplot (package "
               "gnuplot-nox).\n"
               "--sensitivity quantizes one layer at a time, of MODEL or of a job's model.init, "
               "and measures the loss: what costs most\n"
               "may stay finer by quant.overrides. Layers that overrides keep are left out; a "
               "model without a quantizer is looked at\n"
               "as 3:4.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
