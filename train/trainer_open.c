/* Does everything before the first step: run directory, checkpoint (trainer_resume.c) or model,
 * data, graph. cmd_train.c calls it before the loop. */
#include "base/crc.h"
#include "base/num.h"
#include "calibrate.h"
#include "job_norms.h"
#include "job_self.h"
#include "ranks.h"
#include "speed.h"
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What is opened on the way and not needed once the run goes on. */
typedef struct opening {
    sol_config *config;
    bool resume;
    sol_checkpoint from; /* what a resume goes on from, less what the trainer has taken out of it;
                          * all zeros: a new run */
    sol_job_norms norms;
    sol_job_calibration calibration;
} opening;

/* ---- together ---- */

/* Done by ranks alone, whose failures all learn of behind it. */
typedef sol_status (*open_fn)(sol_trainer *t, opening *o, sol_err *err);

static sol_status on_first(open_fn fn, sol_trainer *t, opening *o, sol_err *err)
{
    return sol_dist_agree(t->dist, sol_trainer_writes(t) ? fn(t, o, err) : SOL_OK, err);
}

static sol_status on_all(open_fn fn, sol_trainer *t, opening *o, sol_err *err)
{
    return sol_dist_agree(t->dist, fn(t, o, err), err);
}

/* Rank 0 makes the files that the others then read. */
static sol_status first_then_others(open_fn fn, sol_trainer *t, opening *o, sol_err *err)
{
    SOL_TRY(on_first(fn, t, o, err));
    return sol_dist_agree(t->dist, sol_trainer_writes(t) ? SOL_OK : fn(t, o, err), err);
}

/* ---- data ---- */

/* The key that is to blame for the training data. */
static const char *train_key(const sol_trainer *t)
{
    return t->config->data.train ? "data.train" : "data.source";
}

/* The training data may have moved since the last time; it must not have changed. */
static sol_status compare_data(const sol_trainer *t, const sol_run_state *was, sol_err *err)
{
    bool self = t->config->data.source == SOL_DATA_SELF;
    if (was->data_digest == 0 || was->data_digest == t->train.digest) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG,
                    "%s: cannot resume, %s not the data the run was trained on",
                    t->train.n > 1 ? "data.train"
                    : self         ? "data.source self"
                                   : t->train.name[0],
                    t->train.n == 1 ? "this is" : "these files with these weights are");
}

/* Datasets that are made (from the model, from text files) lie in the run directory, so that a
 * resume finds them: the training data once a checkpoint knows them, the evaluation data as long as
 * the job names the same file. */
static sol_status open_train_data(sol_trainer *t, const opening *o, sol_err *err)
{
    const sol_run_state *was = &o->from.state;
    const sol_config *c = t->config;
    bool self = c->data.source == SOL_DATA_SELF, made = !sol_trainer_writes(t);
    sol_job_made how = sol_job_made_how(!made, t->saved_step >= 0, t->same.train);
    char sampled[SOL_PATH_MAX], tokens[SOL_PATH_MAX];
    sol_run_dir_file(&t->dir, "tokens-self.h5", sampled);
    sol_run_dir_file(&t->dir, "tokens-train.h5", tokens);
    if (self && !made && t->saved_step >= 0 && !sol_file_exists(sampled))
        return sol_fail(
            err, SOL_ERR_CONFIG,
            "%s: cannot resume, this file is missing: it holds the text that was sampled "
            "from the model before the run's first step",
            sampled);
    if (self && !made && t->saved_step < 0) {
        sol_model plain = o->norms.added ? sol_model_without_sub_norms(t->model) : *t->model;
        SOL_TRY(sol_job_sample_self(t->program, c, &t->dir, &plain, t->tokenizer, sampled, err));
    }
    sol_sources files = self ? sol_job_sampled_source(c, sampled) : *c->data.train;
    SOL_TRY(sol_job_open_data(t->program, c, train_key(t), &files, tokens, how, t->tokenizer,
                              &t->train, err));
    if (self) t->train.name[0] = "from the model itself";
    SOL_TRY(sol_job_batcher(c, &t->train, &t->batcher, err));
    t->batcher.drawn = was->drawn;
    return compare_data(t, was, err);
}

/* Losses on other data, or other windows of it, do not compare: the best one starts anew. */
static void compare_eval(sol_trainer *t, const sol_run_state *was)
{
    const sol_config *c = t->config;
    uint64_t how[] = {t->eval.file.digest, (uint64_t)c->train.eval_windows, c->train.eval_form};
    t->eval_digest = sol_fnv1a(SOL_FNV_START, how, sizeof how);
    if (was->eval_digest == 0 || was->eval_digest == t->eval_digest) return;
    t->best_eval_loss = INFINITY;
    t->full_loss = 0;
    if (sol_trainer_writes(t))
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "data.eval, or how it is measured, is not what it was: the best checkpoint is "
                     "chosen from here on, whatever came before");
}

/* After all that a resume may be refused for: what it replaces belongs to the run as it was. */
static sol_status open_eval_data(sol_trainer *t, opening *o, sol_err *err)
{
    const sol_config *c = t->config;
    bool keep = !sol_trainer_writes(t) || (t->dir.has_run && t->same.eval);
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&t->dir, "tokens-eval.h5", path);
    if (c->train.eval_every > 0) {
        SOL_TRY(sol_job_open_tokens(t->program, c, "data.eval", c->data.eval, path,
                                    keep ? SOL_MADE_TAKEN : SOL_MADE_AGAIN, t->tokenizer, &t->eval,
                                    err));
        compare_eval(t, &o->from.state);
    }
    return sol_job_tasks(c, &t->tasks, &t->n_tasks, err);
}

/* The lanes that YAML of the run names. */
static sol_status lanes_of(const char *name, const char *yaml, int64_t *lanes, sol_err *err)
{
    sol_config *was = NULL;
    sol_status st = sol_config_parse(&was, name, yaml, strlen(yaml), err);
    if (st == SOL_OK) *lanes = sol_max_i64(was->train.lanes, 1);
    sol_config_free(&was);
    return st;
}

/* train.lanes 0: those of the checkpoint, of the run's config.yaml, or as many as there are
 * ranks. */
static sol_status choose_lanes(const sol_trainer *t, opening *o, sol_err *err)
{
    char path[SOL_PATH_MAX], *yaml = NULL;
    int64_t *lanes = &o->config->train.lanes;
    size_t n;
    sol_run_dir_file(&t->dir, "config.yaml", path);
    if (*lanes > 0) return SOL_OK;
    if (t->saved_step >= 0)
        return lanes_of("the checkpoint's job", o->from.file.config_yaml, lanes, err);
    *lanes = sol_dist_size(t->dist);
    if (!t->dir.has_run) return SOL_OK;
    sol_status st = sol_file_read(path, &yaml, &n, err);
    if (st == SOL_OK) st = lanes_of(path, yaml, lanes, err);
    sol_free(yaml);
    return st;
}

/* The state as the checkpoint left it. */
static void take_state(sol_trainer *t, sol_checkpoint *from)
{
    t->model = from->file.model;
    t->tokenizer = from->file.tokenizer;
    t->optim = from->optim;
    from->file.model = NULL;
    from->file.tokenizer = NULL;
    from->optim = NULL;
    t->step = from->state.step;
    t->tokens = from->state.tokens;
    t->skipped = from->state.skipped;
    t->best_eval_loss = from->state.best_eval_loss;
    t->full_loss = from->state.full_loss;
    t->eval_digest = from->state.eval_digest;
    t->model_digest = from->state.model_digest;
    t->best_step = from->state.best_step;
    t->ema_loss = from->state.ema_loss;
}

/* The state of a new run: the model of model.init, with norms that the job adds, and what its
 * quantizer learns. */
static sol_status start_state(sol_trainer *t, opening *o, sol_err *err)
{
    sol_model_file file;
    sol_status st = sol_job_open_model(t->program, t->config, &file, err);
    t->model = file.model;
    t->tokenizer = file.tokenizer;
    t->best_eval_loss = INFINITY;
    SOL_TRY(st);
    if (!sol_config_random_shape(t->config))
        SOL_TRY(sol_store_model_digest(t->config->model.init, &t->model_digest, err));
    SOL_TRY(sol_job_add_norms(t->config, t->model, &o->norms, err));
    SOL_TRY(sol_job_check_quant(t->config, t->model, &t->quant, err));
    SOL_TRY(sol_model_add_learned(t->model, &t->quant, err));
    sol_model_start_learned(t->ctx, t->model, &t->quant);
    return SOL_OK;
}

/* Model, moments, counters: from the checkpoint that was read, else from model.init. */
static sol_status open_state(sol_trainer *t, opening *o, sol_err *err)
{
    const sol_config *c = t->config;
    sol_checkpoint *from = &o->from;
    t->same = (sol_job_same){true, true, true};
    bool found = t->saved_step >= 0;
    SOL_TRY(choose_lanes(t, o, err));
    if (found)
        SOL_TRY(sol_job_compare(t->program, c, t->dir.path, t->saved_step, "the checkpoint's job",
                                from->file.config_yaml, true, &t->same, err));
    if (t->dir.has_run) SOL_TRY(sol_trainer_compare_config(t, err));
    SOL_TRY(sol_job_cut_step(c, sol_dist_size(t->dist), &t->cut, err));
    SOL_TRY(sol_config_write(c, &t->config_yaml, err));
    SOL_TRY(sol_config_digest(c, false, &t->config_digest, err));
    if (!found) return start_state(t, o, err);
    take_state(t, from);
    return sol_job_check_quant(c, t->model, &t->quant, err);
}

/* The moments of this rank's shard: 0 in a new run. */
static sol_status open_moments(sol_trainer *t, const sol_shard *shard, sol_err *err)
{
    sol_adamw_config adamw = sol_config_adamw(t->config);
    char path[SOL_PATH_MAX];
    if (t->saved_step < 0) return sol_adamw_create_shard(&t->optim, t->model, &adamw, shard, err);
    sol_run_dir_checkpoint(&t->dir, (uint64_t)t->saved_step, path);
    if (!t->optim) SOL_TRY(sol_checkpoint_read_shard(&t->optim, path, t->model, shard, err));
    t->optim->config = adamw;
    return SOL_OK;
}

static sol_status open_lanes(sol_trainer *t, opening *o, sol_err *err)
{
    const sol_config *c = t->config;
    (void)o;
    sol_lanes_opts lanes = {
        .lanes = t->cut.lanes, .by_layer = t->cut.in_parts, .transport = c->dist.transport};
    SOL_TRY(sol_lanes_create(&t->lanes, t->ctx, t->dist, t->model, &lanes, err));
    return open_moments(t, sol_lanes_shard(t->lanes), err);
}

/* Read anew at a resume: it must be the same. */
static sol_status open_teacher(sol_trainer *t, const sol_run_state *was, sol_err *err)
{
    const sol_config *c = t->config;
    if (!sol_job_has_teacher(c)) return SOL_OK;
    sol_job_student student = {&t->model->config, t->tokenizer, &t->train};
    sol_job_teacher_close(&t->teacher);
    SOL_TRY(sol_job_teacher_open(t->program, c, &student, &t->teacher, err));
    if (was->teacher_digest && was->teacher_digest != t->teacher.digest)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "%s: cannot resume, this is not the teacher the run was trained with",
                        sol_job_teacher_path(c));
    if (was->cache_digest && was->cache_digest != t->teacher.cache_digest)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "%s: cannot resume, this is not the cache the run was trained with",
                        c->distill.cache);
    return SOL_OK;
}

static sol_graph_opts graph_opts(const sol_trainer *t)
{
    const sol_config *c = t->config;
    sol_graph_opts o = {.batch = t->cut.rows,
                        .seq = c->train.seq,
                        .activation_checkpoints = c->train.activation_checkpoints,
                        .one_batch = t->cut.micro * t->cut.own == 1,
                        .by_layer = t->cut.by_layer,
                        .in_turns = t->cut.in_turns,
                        .compute = c->train.compute};
    if (sol_job_has_teacher(c)) sol_job_teacher_opts(c, &t->teacher, &o);
    return o;
}

static sol_status open_graph(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    sol_graph_opts o = graph_opts(t);
    SOL_TRY(sol_graph_create(&t->graph, t->ctx, t->model, &t->quant, &o, err));
    if (t->cut.by_layer && !c->optim.fused)
        SOL_TRY(sol_alloc_array((void **)&t->shard_grads, (size_t)t->optim->shard_elements,
                                sizeof *t->shard_grads, err));
    SOL_TRY(sol_alloc_array((void **)&t->batch, (size_t)sol_trainer_step_tokens(t),
                            3 * sizeof *t->batch, err));
    SOL_TRY(sol_alloc_array((void **)&t->sums, (size_t)sol_trainer_micro_batches(t),
                            sizeof *t->sums, err));
    if (!sol_job_has_teacher(c)) return SOL_OK;
    return sol_job_teacher_gamma(&t->teacher, t->graph, &t->batcher, t->cut.rows, t->batch, err);
}

static sol_study_opts study_opts(const sol_trainer *t)
{
    const sol_config *c = t->config;
    return (sol_study_opts){.every = c->study.every,
                            .steps = c->train.steps,
                            .layers = c->study.layers,
                            .sample_rows = c->study.rows,
                            .tokens = sol_trainer_micro_tokens(t)};
}

/* The recorder, its file cut to the step of the checkpoint, and what it knew then. */
static sol_status open_study(sol_trainer *t, opening *opened, sol_err *err)
{
    const sol_checkpoint *from = &opened->from;
    sol_study_opts o = study_opts(t);
    char path[SOL_PATH_MAX];
    sol_err why = {0};
    if (o.every == 0) return SOL_OK;
    sol_status st = sol_study_create(&t->study, t->ctx, t->model, &t->quant, &o, &why);
    if (st != SOL_OK) return sol_job_blame(t->config, "study.layers", st, &why, err);
    sol_run_dir_file(&t->dir, "study.h5", path);
    SOL_TRY(sol_study_start(t->study, path, (int64_t)t->step, err));
    if (from->study && sol_study_restore(t->study, from->study, from->study_bytes, &why) != SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_WARN, "%s; the first record counts no flips",
                     why.text);
    return SOL_OK;
}

/* Before step 1: the model's blocks as the calibration leaves them. The quantizer has no parameters
 * to start, and there are no moments. */
static bool calibrates(const sol_trainer *t)
{
    return t->config->calibrate.enabled && t->saved_step < 0;
}

static sol_status open_calibration(sol_trainer *t, sol_job_calibration *r, sol_err *err)
{
    const char *key = train_key(t);
    sol_job_made how = sol_job_made_how(sol_trainer_writes(t), t->dir.has_run, t->same.calibrate);
    if (!calibrates(t)) return SOL_OK;
    return sol_job_calibration_open(r, t->program, t->config, &t->dir, how, t->model, t->tokenizer,
                                    key, &t->train, err);
}

static const double probed_from = 2e10; /* operations: the probe takes about half of that */

/* How fast products are here, in the type they are computed in: what a step is measured against.
 * Products in bf16 without instructions for it are worth a word. A run that has hardly more to
 * compute than the probe is not measured. */
static sol_status measure_speed(sol_trainer *t, sol_err *err)
{
    sol_dtype type = t->config->train.compute;
    int64_t tokens = sol_trainer_step_tokens(t);
    double rate, plain, flops = sol_step_flops(t->config, t->model, t->teacher.teacher, tokens);
    char a[32];
    if (flops * (double)(t->config->train.steps - (int64_t)t->step) < probed_from) return SOL_OK;
    SOL_TRY(sol_product_rate(t->ctx, type, &rate, err));
    t->step_peak = rate * sol_dist_size(t->dist) * (double)tokens / flops;
    sol_log_line(&t->program->log, SOL_LOG_INFO, "products in %s by %s: %sFLOP/s",
                 sol_config_word(t->config, "train.compute"),
                 type == SOL_BF16 ? sol_gemm_bf16_kernel(t->ctx) : sol_gemm_library(),
                 sol_count_text(rate, a));
    if (type != SOL_BF16 || sol_gemm_bf16_native(t->ctx)) return SOL_OK;
    SOL_TRY(sol_product_rate(t->ctx, SOL_F32, &plain, err));
    sol_log_line(&t->program->log, SOL_LOG_WARN,
                 "train.compute bf16: this processor has no instructions for bf16; its products "
                 "take %.1f times as long as in fp32",
                 plain / rate);
    return SOL_OK;
}

/* A line a file. */
static void log_data(const sol_trainer *t)
{
    for (int i = 0; i < t->train.n; i++) {
        sol_text line = {0};
        if (sol_job_data_describe(t->config, &t->train, &t->batcher, i, &line, NULL) == SOL_OK)
            sol_log_line(&t->program->log, SOL_LOG_INFO, "data %s", line.data);
        sol_free(line.data);
    }
}

static void log_start(const sol_trainer *t)
{
    const sol_config *c = t->config;
    const sol_log *log = &t->program->log;
    char a[32];
    sol_log_line(log, SOL_LOG_INFO, "solera %s, kernels %s, %s, %d threads", SOL_VERSION,
                 sol_tier_name(t->ctx->kernels.features), sol_gemm_library(),
                 sol_pool_threads(t->ctx->pool));
    if (sol_dist_size(t->dist) > 1)
        sol_log_line(log, SOL_LOG_INFO, "%d ranks, %" PRId64 " lanes, products in %s on all ranks",
                     sol_dist_size(t->dist), t->cut.lanes, sol_config_word(c, "train.compute"));
    sol_log_line(log, SOL_LOG_INFO, "model %s: %s parameters, quantizer %s, residual %s %s",
                 c->model.init, sol_count_text((double)t->model->n_weights, a), c->quant.method,
                 t->quant.method ? sol_config_word(c, "residual.schedule") : "none",
                 t->quant.method ? sol_config_word(c, "residual.form") : "");
    log_data(t);
    sol_log_line(log, SOL_LOG_INFO, "a step takes %s tokens",
                 sol_count_text((double)sol_trainer_step_tokens(t), a));
    if (t->dir.has_run)
        sol_log_line(log, SOL_LOG_INFO, "resumed at step %" PRIu64 " of %" PRId64, t->step,
                     c->train.steps);
}

static void log_teacher(const sol_trainer *t)
{
    const sol_config *c = t->config;
    char gamma[32] = "";
    if (!sol_job_has_teacher(c)) return;
    if (t->teacher.loss.kind == SOL_DISTILL_CAKLD)
        snprintf(gamma, sizeof gamma, ", gamma %.3f", (double)t->teacher.loss.gamma);
    sol_log_line(&t->program->log, SOL_LOG_INFO, "teacher %s %s %s, loss %s%s",
                 sol_job_teacher_path(c), t->teacher.cache ? "from" : "in",
                 t->teacher.cache ? c->distill.cache : sol_config_word(c, "distill.teacher_dtype"),
                 sol_config_word(c, "distill.loss"), gamma);
}

/* ---- the whole ---- */

static sol_status open_dir(sol_trainer *t, const opening *o, sol_err *err)
{
    SOL_TRY(sol_ranks_open_dir(t->dist, &t->dir, t->config->run.dir, o->resume, err));
    if (o->resume && !t->dir.has_run)
        sol_log_line(&t->program->log, SOL_LOG_INFO, "%s holds no run yet: this one begins",
                     t->dir.path);
    return SOL_OK;
}

/* A new run gets its config.yaml. */
static sol_status claim_dir(sol_trainer *t, opening *o, sol_err *err)
{
    (void)o;
    return sol_run_dir_claim(&t->dir, t->config_yaml, err);
}

static sol_status open_data(sol_trainer *t, opening *o, sol_err *err)
{
    SOL_TRY(open_train_data(t, o, err));
    SOL_TRY(open_calibration(t, &o->calibration, err));
    o->calibration.added_norms = o->norms.added;
    return SOL_OK;
}

static sol_status open_computation(sol_trainer *t, opening *o, sol_err *err)
{
    SOL_TRY(open_teacher(t, &o->from.state, err));
    return open_graph(t, err);
}

/* All that the steps need beside the model. */
static sol_status open_training(sol_trainer *t, opening *o, sol_err *err)
{
    SOL_TRY(on_all(open_lanes, t, o, err));
    SOL_TRY(on_all(open_computation, t, o, err));
    return on_first(open_study, t, o, err);
}

/* What open_training may refuse, where a calibration comes before it: the memory of one is then not
 * beside that of the other. */
static sol_status check_training(sol_trainer *t, opening *o, sol_err *err)
{
    sol_job_student student = {&t->model->config, t->tokenizer, &t->train};
    sol_study_opts study = study_opts(t);
    sol_plan plan = {0};
    (void)o;
    SOL_TRY(sol_job_teacher_describe(t->config, &student, &t->teacher, err));
    sol_graph_opts graph = graph_opts(t);
    if (study.every > 0)
        SOL_TRY(sol_job_plan_study(t->config, t->model, &study, sol_pool_threads(t->ctx->pool),
                                   &plan, err));
    return sol_graph_plan(t->model, &t->quant, &graph, &plan, err);
}

/* From here on the files are those of the run that goes on. */
static sol_status begin_run(sol_trainer *t, opening *o, sol_err *err)
{
    bool lost = false;
    SOL_TRY(sol_run_dir_begin(&t->dir, t->config_yaml, o->from.state.metrics_bytes, t->step, &lost,
                              err));
    SOL_TRY(sol_trainer_put_newer_aside(t, err));
    SOL_TRY(sol_trainer_watch_open(t, err));
    t->program->log_file = t->dir.log;
    if (lost)
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "metrics.jsonl lacks lines of steps before the checkpoint");
    /* What a process that was killed after its checkpoint left. */
    if (t->dir.has_run) SOL_TRY(sol_trainer_prune(t, err));
    log_start(t);
    sol_job_log_norms(&o->norms, &t->program->log);
    return SOL_OK;
}

static sol_status measure_start(sol_trainer *t, opening *o, sol_err *err)
{
    return sol_trainer_measure_start(t, o->norms.added, err);
}

/* Weights of norms that were added, from the text of the calibration where there is one. */
static sol_status fit_norms(sol_trainer *t, opening *o, sol_err *err)
{
    bool own = calibrates(t);
    return sol_job_fit_norms(&o->norms, t->ctx, t->config, own ? o->calibration.key : train_key(t),
                             own ? o->calibration.data : &t->train, t->model, err);
}

/* Rank 0's parameters, to all. */
static sol_status send_model(sol_trainer *t, sol_err *err)
{
    size_t bytes = (size_t)t->model->n_elements * sol_dtype_size(t->model->dtype);
    return sol_dist_broadcast(t->dist, t->model->data, bytes, err);
}

/* Ranks calibrate together. All take the model of rank 0: on another processor the same job may
 * have come out otherwise. */
static sol_status calibrate(sol_trainer *t, opening *o, sol_err *err)
{
    sol_status st =
        sol_job_calibrate(&o->calibration, t->program, t->ctx, t->config, &t->dir, t->model, err);
    SOL_TRY(sol_ranks_end(t->dist, st, err));
    return send_model(t, err);
}

/* Before step 1: the first rank that has other data than rank 0 is named. */
static sol_status compare_files(const sol_trainer *t, sol_err *err)
{
    uint64_t eval = t->eval.open ? t->eval.file.digest : 0;
    SOL_TRY(sol_ranks_compare(t->dist, "another tokenizer", sol_tokenizer_hash(t->tokenizer), err));
    SOL_TRY(sol_ranks_compare(t->dist, "other training data", t->train.digest, err));
    SOL_TRY(sol_ranks_compare(t->dist, "other evaluation data", eval, err));
    SOL_TRY(sol_ranks_compare(t->dist, "another teacher", t->teacher.digest, err));
    return sol_ranks_compare(t->dist, "another cache of it", t->teacher.cache_digest, err);
}

static sol_status open_all(sol_trainer *t, opening *o, sol_err *err)
{
    SOL_TRY(sol_config_quant(t->config, &t->quant, err));
    SOL_TRY(sol_ranks_compare_job(t->dist, t->config, err));
    SOL_TRY(open_dir(t, o, err));
    SOL_TRY(sol_trainer_read_newest(t, &o->from, err));
    SOL_TRY(on_all(open_state, t, o, err));
    SOL_TRY(sol_ranks_compare(t->dist, "another model", t->model_digest, err));
    t->first_step = t->step;
    t->windows = sol_job_windows(t->config);
    t->dir.wait_when_full = t->config->checkpoint.on_full == SOL_ON_FULL_CONTINUE;
    SOL_TRY(on_first(claim_dir, t, o, err));
    /* All that a run may still be refused for. */
    SOL_TRY(first_then_others(open_data, t, o, err));
    if (o->norms.added) {
        SOL_TRY(on_first(fit_norms, t, o, err));
        SOL_TRY(send_model(t, err));
    }
    SOL_TRY(calibrates(t) ? on_all(check_training, t, o, err) : open_training(t, o, err));
    SOL_TRY(first_then_others(open_eval_data, t, o, err));
    SOL_TRY(compare_files(t, err));
    SOL_TRY(on_first(begin_run, t, o, err));
    if (t->saved_step < 0) SOL_TRY(on_first(measure_start, t, o, err));
    SOL_TRY(sol_ranks_compare_threads(t->program, sol_pool_threads(t->ctx->pool), err));
    if (calibrates(t)) {
        SOL_TRY(calibrate(t, o, err));
        SOL_TRY(open_training(t, o, err));
    }
    log_teacher(t);
    sol_dist_set_timeout(t->dist, (double)t->config->dist.timeout);
    return measure_speed(t, err);
}

sol_status sol_trainer_open(sol_trainer **out, sol_program *p, sol_config *c, bool resume,
                            sol_err *err)
{
    sol_trainer *t;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&t, 1, sizeof *t, err);
    if (st != SOL_OK) return st;
    t->program = p;
    t->config = c;
    t->saved_step = -1;
    t->residual = sol_config_residual(c);
    t->lr = sol_config_lr(c);
    if (p->threads == 0) p->threads = c->run.threads;
    opening o = {.config = c, .resume = resume};
    st = sol_program_dist(p, &t->dist, err);
    if (st == SOL_OK) st = sol_program_ctx(p, &t->ctx, err);
    if (st == SOL_OK) st = open_all(t, &o, err);
    sol_checkpoint_free(&o.from);
    sol_job_calibration_free(&o.calibration);
    sol_job_free_norms(&o.norms);
    if (st != SOL_OK) sol_trainer_free(&t);
    *out = t;
    return st;
}

void sol_trainer_free(sol_trainer **tp)
{
    sol_trainer *t = *tp;
    if (!t) return;
    sol_study_free(&t->study);
    sol_trainer_watch_close(t);
    sol_graph_free(&t->graph);
    sol_lanes_free(&t->lanes);
    sol_free(t->sums);
    sol_free(t->shard_grads);
    sol_job_teacher_close(&t->teacher);
    sol_free(t->batch);
    sol_job_close_data(&t->train);
    sol_job_close_tokens(&t->eval);
    sol_task_plans_free(&t->tasks, t->n_tasks);
    sol_model_free(&t->model);
    sol_tokenizer_free(&t->tokenizer);
    sol_adamw_free(&t->optim);
    sol_free(t->config_yaml);
    t->program->log_file = NULL;
    sol_run_dir_close(&t->dir);
    sol_free(t);
    *tp = NULL;
}
