/* solera calibrate: model.init of a job, calibrated, becomes a model file that trains, evaluates
 * and exports like any other. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "calibrate.h"
#include "job_norms.h"
#include "output.h"
#include "ranks.h"

struct args {
    sol_words set;
    const char *out;
    bool resume, json, force;
};

static const sol_opt options[] = {
    {.name = "-o",
     .value = "M.h5",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, out),
     .help = "the calibrated model (default: run.dir/calibrated.h5)"},
    {.name = "--set",
     .value = "SECTION.KEY=VALUE",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, set),
     .help = "change a key of the job"},
    {.name = "--resume",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, resume),
     .help = "go on with the calibration in run.dir; start it where there is none"},
    SOL_OPT_FORCE(struct args, NULL),
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .help = "one JSON object on stdout"},
    {0},
};

static sol_status add_blocks(sol_text *t, const sol_job_calibration *r, sol_err *err)
{
    for (int64_t i = 0; i < r->n; i++) {
        SOL_TRY(sol_text_add(t, err, "%s", i ? ", " : ""));
        SOL_TRY(sol_calibration_add_block(t, &r->block[i], r->took[i], err));
    }
    return SOL_OK;
}

static sol_status print_json(const sol_job_calibration *r, sol_err *err)
{
    sol_text t = {0};
    sol_status st = sol_text_add(&t, err, "{\"blocks\": [");
    if (st == SOL_OK) st = add_blocks(&t, r, err);
    if (st == SOL_OK)
        printf("%s], \"seconds\": %.3f, \"peak_bytes\": %" PRIu64 "}\n", t.data, r->seconds,
               sol_peak_rss());
    sol_free(t.data);
    return st;
}

/* Blocks, each with its worst layer; then the worst of all. */
static void print_table(const sol_job_calibration *r)
{
    const sol_calib_report *worst = NULL;
    char name[SOL_PARAM_NAME];
    printf("block   rounded    solved   trained  held out   seconds  worst layer\n");
    for (int64_t i = 0; i < r->n; i++) {
        const sol_calib_report *b = &r->block[i];
        int role = sol_calibration_worst(b);
        printf("%5" PRId64 " %9.4f %9.4f %9.4f ", i, b->rounded, b->solved, b->trained);
        if (isfinite(b->held_out))
            printf("%9.4f", b->held_out);
        else
            printf("%9s", "-");
        printf(" %9.1f", r->took[i]);
        if (role >= 0) printf("  %.4f %s", b->layer[role], sol_param_rows[role].name);
        printf("\n");
        if (role >= 0 && (!worst || b->layer[role] > worst->layer[sol_calibration_worst(worst)]))
            worst = b;
    }
    if (!worst) return;
    int role = sol_calibration_worst(worst);
    printf("worst layer: %s, %.4f of its outputs' size is not met; quant.overrides can keep it "
           "finer\n",
           sol_role_name((sol_role)role, (int)worst->block, name), worst->layer[role]);
}

typedef struct calibrate_job {
    const sol_config *config;
    sol_run_dir dir;
    sol_model_file model;
    sol_job_norms norms;
    sol_job_data train;
    sol_job_calibration result;
    sol_job_same same;     /* on the first rank */
    uint64_t model_digest; /* of model.init; 0: random weights */
    char *yaml;
} calibrate_job;

/* A training in the same directory has blocks of its own, and lines that this verb does not know.
 */
static sol_status refuse_training(const calibrate_job *j, sol_err *err)
{
    uint64_t *steps;
    int n;
    sol_status st = sol_run_dir_steps(&j->dir, &steps, &n, err);
    sol_free(steps);
    if (st != SOL_OK || n == 0) return st;
    return sol_fail(err, SOL_ERR_USAGE,
                    "%s: holds a training already; calibrate in another run.dir", j->dir.path);
}

/* The model file knows its job, for the card of what is exported from it; but where and by how many
 * threads it was made changes no byte. */
static sol_status keep_job(calibrate_job *j, sol_err *err)
{
    sol_config *c = NULL;
    sol_status st = sol_config_parse(&c, "the job", j->yaml, strlen(j->yaml), err);
    if (st == SOL_OK) st = sol_config_set(c, "run.dir=calibrated", err);
    if (st == SOL_OK) st = sol_config_set(c, "run.threads=0", err);
    if (st == SOL_OK) st = sol_config_write(c, &j->model.config_yaml, err);
    sol_config_free(&c);
    return st;
}

/* Of this rank by itself. */
static sol_status open_model(sol_program *p, calibrate_job *j, sol_err *err)
{
    const sol_config *c = j->config;
    SOL_TRY(sol_job_open_model(p, c, &j->model, err));
    if (!sol_config_random_shape(c))
        SOL_TRY(sol_store_model_digest(c->model.init, &j->model_digest, err));
    SOL_TRY(sol_job_add_norms(c, j->model.model, &j->norms, err));
    SOL_TRY(sol_config_quant(c, &j->model.quant, err));
    SOL_TRY(sol_job_check_quant(c, j->model.model, &j->model.quant, err));
    SOL_TRY(sol_config_write(c, &j->yaml, err));
    return keep_job(j, err);
}

/* By rank 0. */
static sol_status claim_dir(sol_program *p, calibrate_job *j, sol_err *err)
{
    SOL_TRY(refuse_training(j, err));
    SOL_TRY(sol_run_dir_claim(&j->dir, j->yaml, err));
    if (!j->dir.has_run) return SOL_OK;
    return sol_job_compare_run(p, j->config, &j->dir, j->config->train.steps, true, &j->same, err);
}

static sol_status open_data(sol_program *p, calibrate_job *j, sol_err *err)
{
    const sol_config *c = j->config;
    bool is_first = sol_dist_rank(p->dist) == 0, goes_on = j->dir.has_run;
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&j->dir, "tokens-train.h5", path);
    if (!c->calibrate.data[0])
        SOL_TRY(sol_job_open_data(p, c, "data.train", c->data.train, path,
                                  sol_job_made_how(is_first, goes_on, j->same.train),
                                  j->model.tokenizer, &j->train, err));
    return sol_job_calibration_open(
        &j->result, p, c, &j->dir, sol_job_made_how(is_first, goes_on, j->same.calibrate),
        j->model.model, j->model.tokenizer, "data.train", &j->train, err);
}

/* Rank 0 makes the files that the others then read. */
static sol_status open_data_together(sol_program *p, calibrate_job *j, sol_err *err)
{
    bool is_first = sol_dist_rank(p->dist) == 0;
    SOL_TRY(sol_ranks_compare(p->dist, "another model", j->model_digest, err));
    SOL_TRY(sol_dist_agree(p->dist, is_first ? open_data(p, j, err) : SOL_OK, err));
    SOL_TRY(sol_dist_agree(p->dist, is_first ? SOL_OK : open_data(p, j, err), err));
    uint64_t tokenizer = sol_tokenizer_hash(j->model.tokenizer);
    SOL_TRY(sol_ranks_compare(p->dist, "another tokenizer", tokenizer, err));
    return sol_ranks_compare(p->dist, "other data", j->result.data->digest, err);
}

static sol_status begin_run(sol_program *p, calibrate_job *j, sol_err *err)
{
    bool lost;
    SOL_TRY(sol_run_dir_begin(&j->dir, j->yaml, 0, 0, &lost, err));
    p->log_file = j->dir.log;
    return SOL_OK;
}

static sol_status open_job(sol_program *p, calibrate_job *j, sol_ctx *ctx, bool resume,
                           sol_err *err)
{
    const sol_config *c = j->config;
    bool is_first = sol_dist_rank(p->dist) == 0;
    SOL_TRY(sol_ranks_compare_job(p->dist, c, err));
    if (c->data.source == SOL_DATA_SELF && !c->calibrate.data[0])
        return sol_config_fail(c, "calibrate.data", err,
                               "is needed where data.source is self: name tokens-self.h5 of a run");
    SOL_TRY(sol_ranks_open_dir(p->dist, &j->dir, c->run.dir, resume, err));
    SOL_TRY(sol_dist_agree(p->dist, open_model(p, j, err), err));
    SOL_TRY(sol_dist_agree(p->dist, is_first ? claim_dir(p, j, err) : SOL_OK, err));
    SOL_TRY(open_data_together(p, j, err));
    SOL_TRY(sol_dist_agree(p->dist, is_first ? begin_run(p, j, err) : SOL_OK, err));
    return sol_ranks_compare_threads(p, sol_pool_threads(ctx->pool), err);
}

static void close_job(sol_program *p, calibrate_job *j)
{
    sol_job_calibration_free(&j->result);
    sol_job_free_norms(&j->norms);
    sol_job_close_data(&j->train);
    sol_model_file_free(&j->model);
    sol_free(j->yaml);
    p->log_file = NULL;
    sol_run_dir_close(&j->dir);
}

/* What is calibrated is needed once more where a block is done again. */
static sol_status check_output(const sol_config *c, const struct args *args, sol_err *err)
{
    if (!args->out) return SOL_OK;
    SOL_TRY(sol_file_differs(c->model.init, args->out, err));
    return sol_output_check(args->out, SOL_OUTPUT_MODEL, args->force, err);
}

static sol_status write_result(sol_program *p, const struct args *args, const calibrate_job *j,
                               sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&j->dir, "calibrated.h5", path);
    const char *out = args->out ? args->out : path;
    SOL_TRY(sol_model_file_write(&j->model, out, j->model.model->dtype, NULL, err));
    if (args->json)
        SOL_TRY(print_json(&j->result, err));
    else
        print_table(&j->result);
    sol_log_line(&p->log, SOL_LOG_INFO, "%s", out);
    return SOL_OK;
}

/* By rank 0, for all. */
static sol_status fit_norms(sol_program *p, calibrate_job *j, sol_ctx *ctx, sol_err *err)
{
    sol_model *m = j->model.model;
    sol_status st = SOL_OK;
    if (sol_dist_rank(p->dist) == 0)
        st = sol_job_fit_norms(&j->norms, ctx, j->config, j->result.key, j->result.data, m, err);
    SOL_TRY(sol_dist_agree(p->dist, st, err));
    sol_job_log_norms(&j->norms, &p->log);
    j->result.added_norms = j->norms.added;
    if (!j->norms.added) return SOL_OK;
    return sol_dist_broadcast(p->dist, m->data, (size_t)m->n_elements * sol_dtype_size(m->dtype),
                              err);
}

static sol_status calibrate(sol_program *p, const struct args *args, calibrate_job *j, sol_err *err)
{
    sol_ctx *ctx;
    bool is_first = sol_dist_rank(p->dist) == 0;
    if (is_first) SOL_TRY(check_output(j->config, args, err));
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    SOL_TRY(open_job(p, j, ctx, args->resume, err));
    SOL_TRY(fit_norms(p, j, ctx, err));
    SOL_TRY(sol_job_calibrate(&j->result, p, ctx, j->config, &j->dir, j->model.model, err));
    return is_first ? write_result(p, args, j, err) : SOL_OK;
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_dist *dist;
    sol_config *c = NULL;
    SOL_TRY(sol_program_dist(p, &dist, err));
    sol_status st = sol_job_read(p, &c, p->word[0], &args->set, err);
    SOL_TRY(sol_ranks_end(dist, st, err));
    calibrate_job j = {.config = c};
    sol_interrupt_catch(true);
    if (p->threads == 0) p->threads = c->run.threads;
    st = sol_ranks_end(dist, calibrate(p, args, &j, err), err);
    close_job(p, &j);
    sol_config_free(&c);
    return st;
}

const sol_verb sol_verb_calibrate = {
    .name = "calibrate",
    .words = "CONFIG.yaml",
    .min_words = 1,
    .max_words = 1,
    .ranks = true,
    .summary = "make a model that is ready to be ternary, without training it end to end",
    .details = "Block after block, from model.init and the text of data.train (or calibrate.data): "
               "each layer in closed form, then the\n"
               "block trained on its own output; `solera help config calibrate` has the keys. A "
               "job with calibrate.enabled does the\n"
               "same before its first step. Each block that is done is kept in run.dir, so that "
               "--resume goes on after any end, to the\n"
               "same bits. The output is a model file: evaluate it, export it, or train it further "
               "as model.init.\n"
               "`mpirun -n N solera calibrate ...` shares the windows, and those of a block's "
               "training, among N ranks: the same bits.\n"
               "Layers are solved by rank 0, for which the others wait.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
