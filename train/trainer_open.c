/* Everything before the first step: run directory, checkpoint or model, data, graph. */
#include "calibrate.h"
#include "speed.h"
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static sol_status write_documents(const sol_trainer *t, const sol_tokens *data, const char *path, sol_err *err)
{
    sol_dataset_writer *w = NULL;
    int32_t *ids = NULL;
    size_t capacity = 0;
    sol_status st = sol_dataset_writer_open(&w, path, sol_tokenizer_vocab_size(t->ck.tokenizer),
                                            sol_tokenizer_hash(t->ck.tokenizer), err);
    for (int64_t d = 0; st == SOL_OK && d < data->n_docs; d++) {
        int64_t from = (int64_t)data->doc_offsets[d], n = (int64_t)data->doc_offsets[d + 1] - from;
        st = sol_grow_array((void **)&ids, &capacity, (size_t)n, sizeof *ids, err);
        for (int64_t i = 0; st == SOL_OK && i < n; i++) ids[i] = sol_tokens_at(data, from + i);
        if (st == SOL_OK) st = sol_dataset_writer_add(w, ids, (size_t)n, err);
    }
    sol_free(ids);
    if (st == SOL_OK) return sol_dataset_writer_close(&w, err);
    sol_dataset_writer_abort(&w);
    return st;
}

/* The training text of data.source self: sampled once from the model the run starts with, then a dataset like any
 * other. */
static sol_status sample_self(sol_trainer *t, const char *path, sol_err *err)
{
    sol_net *net = NULL;
    sol_self_data data = {0};
    sol_self_opts o = sol_job_self(t->config);
    sol_phase phase = {t->program, "sampling training text", "tokens", sol_clock()};
    o.watch = (sol_eval_watch){.fn = sol_phase_show, .user = &phase};
    char duration[32];
    sol_log_line(&t->program->log, SOL_LOG_INFO, "sampling %" PRId64 " tokens of training text from the model",
                 o.n_tokens);
    sol_status st = sol_net_from_model(&net, t->ctx, t->ck.model, t->ck.tokenizer, NULL, NULL, err);
    if (st == SOL_OK) st = sol_self_data_sample(net, &o, &data, err);
    sol_live_clear(t->program);
    if (st == SOL_OK) st = write_documents(t, &data.tokens, path, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_INFO, "sampled in %s",
                     sol_duration_text(sol_clock() - phase.begun, duration));
    sol_self_data_free(&data);
    sol_net_free(&net);
    return st;
}

/* The training data may have moved since the last time; it must not have changed. */
static sol_status compare_data(sol_trainer *t, sol_err *err)
{
    sol_run_state *s = &t->ck.state;
    bool self = t->config->data.source == SOL_DATA_SELF;
    if (s->data_digest && s->data_digest != t->train.file.digest)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: cannot resume, this is not the data the run was trained on",
                        self ? "data.source self" : t->config->data.train);
    s->data_digest = t->train.file.digest;
    return SOL_OK;
}

/* Datasets that are made (from the model, from text files) lie in the run directory, so that a resume finds them: the
 * training data once a checkpoint knows them, the evaluation data as long as the job names the same file. */
static sol_status open_train_data(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    bool self = c->data.source == SOL_DATA_SELF, keep = t->dir.has_run;
    char path[SOL_PATH_MAX];
    sol_status st = SOL_OK;
    sol_run_dir_file(&t->dir, self ? "tokens-self.h5" : "tokens-train.h5", path);
    if (self && !(keep && sol_file_exists(path))) st = sample_self(t, path, err);
    if (st == SOL_OK)
        st = sol_job_open_tokens(t->program, c, self ? "data.source" : "data.train", self ? path : c->data.train,
                                 path, keep && t->saved_step >= 0, t->ck.tokenizer, &t->train, err);
    if (st == SOL_OK)
        st = sol_batcher_init(&t->batcher, &t->train.file.tokens, c->train.seq, (uint64_t)c->run.seed, err);
    if (st != SOL_OK) return st;
    t->batcher.drawn = t->ck.state.drawn;
    return compare_data(t, err);
}

/* After all that a resume may be refused for: what it replaces belongs to the run as it was. */
static sol_status open_eval_data(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    char path[SOL_PATH_MAX];
    sol_status st = SOL_OK;
    sol_run_dir_file(&t->dir, "tokens-eval.h5", path);
    if (c->train.eval_every > 0)
        st = sol_job_open_tokens(t->program, c, "data.eval", c->data.eval, path, t->dir.has_run && t->same_eval,
                                 t->ck.tokenizer, &t->eval, err);
    return st == SOL_OK ? sol_job_tasks(c, &t->tasks, &t->n_tasks, err) : st;
}

/* config.yaml, which is newer than a checkpoint when the last resume was killed before its first one. */
static sol_status compare_config(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&t->dir, "config.yaml", path);
    if (t->saved_step >= 0 && !sol_file_exists(path)) return SOL_OK;
    return sol_job_compare_run(t->program, t->config, &t->dir, t->saved_step < 0, &t->same_eval, err);
}

/* The newest checkpoint that can be read, with a warning for each newer one, which is damaged. *found stays false when there is none. */
static sol_status read_newest(sol_trainer *t, bool *found, sol_err *err)
{
    uint64_t *steps;
    int n;
    sol_status last = SOL_OK;
    *found = false;
    sol_status st = sol_run_dir_steps(&t->dir, &steps, &n, err);
    for (int i = 0; st == SOL_OK && i < n && !*found; i++) {
        char path[SOL_PATH_MAX];
        sol_err why = {0};
        sol_run_dir_checkpoint(&t->dir, steps[i], path);
        last = sol_checkpoint_read(&t->ck, path, sol_config_param_dtype(t->config), &why);
        if (last == SOL_OK && (!t->ck.optim || !t->ck.config_yaml || !t->ck.tokenizer))
            last = sol_fail(&why, SOL_ERR_FORMAT, "%s: is no checkpoint of a run", path);
        *found = last == SOL_OK;
        if (*found) t->saved_step = (int64_t)t->ck.state.step;
        if (*found) break;
        sol_checkpoint_free(&t->ck);
        memset(&t->ck, 0, sizeof t->ck);
        /* A file that could not be read is not a damaged one. */
        if (last == SOL_ERR_NOMEM || last == SOL_ERR_IO || last == SOL_ERR_SYSTEM) st = sol_fail(err, last, "%s", why.text);
        if (i + 1 == n && st == SOL_OK) st = sol_fail(err, last, "%s; no other checkpoint is left", why.text);
        if (st == SOL_OK) sol_log_line(&t->program->log, SOL_LOG_WARN, "%s; going back to step %" PRIu64, why.text, steps[i + 1]);
    }
    sol_free(steps);
    return st;
}

/* Those newer than the checkpoint of a resume: the run will write them again. */
static sol_status put_damaged_aside(const sol_trainer *t, sol_err *err)
{
    uint64_t *steps;
    int n;
    sol_status st = sol_run_dir_steps(&t->dir, &steps, &n, err);
    for (int i = 0; st == SOL_OK && i < n && (int64_t)steps[i] > t->saved_step; i++) {
        char path[SOL_PATH_MAX], aside[SOL_PATH_MAX + 32];
        sol_run_dir_checkpoint(&t->dir, steps[i], path);
        snprintf(aside, sizeof aside, "%s.damaged", path);
        for (int k = 2; sol_file_exists(aside); k++) snprintf(aside, sizeof aside, "%s.damaged%d", path, k);
        if (rename(path, aside) != 0) st = sol_fail_errno(err, path, "cannot put aside");
    }
    sol_free(steps);
    return st;
}

/* Parameters of the quantizer, from the weights that the run starts with. */
static sol_status start_learned(sol_trainer *t, sol_err *err)
{
    sol_quant_spec spec;
    sol_status st = sol_config_quant(t->config, &spec, err);
    if (st == SOL_OK) st = sol_job_check_quant(t->config, t->ck.model, &spec, err);
    if (st == SOL_OK) st = sol_model_add_learned(t->ck.model, &spec, err);
    if (st == SOL_OK) sol_model_start_learned(t->ctx, t->ck.model, &spec);
    return st;
}

/* Model, moments, state: from the newest checkpoint, else from model.init. */
static sol_status open_state(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    bool found = false;
    sol_adamw_config adamw = sol_config_adamw(c);
    sol_status st = t->dir.has_run ? read_newest(t, &found, err) : SOL_OK;
    t->same_eval = true;
    if (st == SOL_OK && found)
        st = sol_job_compare(t->program, c, t->dir.path, "the checkpoint's job", t->ck.config_yaml, true, &t->same_eval, err);
    if (st == SOL_OK && t->dir.has_run) st = compare_config(t, err);
    if (st == SOL_OK && found) t->ck.optim->config = adamw;
    if (st != SOL_OK || found) return st;
    st = sol_job_open_model(t->ctx, c, &t->ck, err);
    if (st == SOL_OK) st = start_learned(t, err);
    if (st == SOL_OK) st = sol_adamw_create(&t->ck.optim, t->ck.model, &adamw, err);
    if (st != SOL_OK) return st;
    t->ck.state = (sol_run_state){.seed = (uint64_t)c->run.seed, .best_eval_loss = INFINITY};
    return SOL_OK;
}

/* Read anew at a resume: it must be the same. */
static sol_status open_teacher(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    sol_run_state *s = &t->ck.state;
    if (!sol_job_has_teacher(c)) return SOL_OK;
    sol_job_student student = {&t->ck.model->config, t->ck.tokenizer, &t->train.file};
    sol_status st = sol_job_teacher_open(t->ctx, c, &student, &t->teacher, err);
    if (st != SOL_OK) return st;
    if (s->teacher_digest && s->teacher_digest != t->teacher.digest)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: cannot resume, this is not the teacher the run was trained with",
                        sol_job_teacher_path(c));
    s->teacher_digest = t->teacher.digest;
    return SOL_OK;
}

static sol_status open_graph(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    sol_graph_opts o = {.batch = c->train.batch,
                        .seq = c->train.seq,
                        .activation_checkpoints = c->train.activation_checkpoints,
                        .one_batch = c->train.accumulate == 1,
                        .by_layer = c->optim.fused,
                        .compute = c->train.compute};
    if (sol_job_has_teacher(c)) sol_job_teacher_opts(c, &t->teacher, &o);
    sol_status st = sol_graph_create(&t->graph, t->ctx, t->ck.model, &t->ck.quant, &o, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&t->batch, (size_t)sol_trainer_step_tokens(t), 3 * sizeof *t->batch, err);
    if (st == SOL_OK && sol_job_has_teacher(c))
        st = sol_job_teacher_gamma(c, &t->teacher, t->graph, &t->batcher, t->batch, err);
    sol_study_opts study = {.every = c->study.every,
                            .steps = c->train.steps,
                            .layers = c->study.layers,
                            .sample_rows = c->study.rows,
                            .tokens = sol_trainer_window_tokens(t)};
    if (st == SOL_OK && study.every > 0)
        st = sol_study_create(&t->study, t->ctx, t->ck.model, &t->ck.quant, &study, err);
    return st;
}

/* Before step 1: the model's blocks as the calibration leaves them. The quantizer has no parameters to start, and there are no moments. */
static bool calibrates(const sol_trainer *t)
{
    return t->config->calibrate.enabled && t->saved_step < 0;
}

static sol_status open_calibration(sol_trainer *t, sol_job_calibration *r, sol_err *err)
{
    const char *key = t->config->data.source == SOL_DATA_SELF ? "data.source" : "data.train";
    if (!calibrates(t)) return SOL_OK;
    return sol_job_calibration_open(r, t->program, t->config, &t->dir, t->ck.model, t->ck.tokenizer, key, &t->train.file, err);
}

/* The study's file, cut to the step of the checkpoint, and what the recorder knew then. */
static sol_status start_study(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_err why = {0};
    if (!t->study) return SOL_OK;
    sol_run_dir_file(&t->dir, "study.h5", path);
    sol_status st = sol_study_start(t->study, path, (int64_t)t->ck.state.step, err);
    if (st == SOL_OK && t->ck.study && sol_study_restore(t->study, t->ck.study, t->ck.study_bytes, &why) != SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_WARN, "%s; the first record counts no flips", why.text);
    sol_free(t->ck.study);
    t->ck.study = NULL;
    return st;
}

static const double probed_from = 2e10; /* operations: the probe takes about half of that */

/* How fast products are here, in the type they are computed in: what a step is measured against. Products in bf16 without
 * instructions for it are worth a word. A run that has hardly more to compute than the probe is not measured. */
static sol_status measure_speed(sol_trainer *t, sol_err *err)
{
    sol_dtype type = t->config->train.compute;
    int64_t tokens = sol_trainer_step_tokens(t);
    double rate, plain, flops = sol_step_flops(t->config, t->ck.model, t->teacher.teacher, tokens);
    char a[32];
    if (flops * (double)(t->config->train.steps - (int64_t)t->ck.state.step) < probed_from) return SOL_OK;
    sol_status st = sol_product_rate(t->ctx, type, &rate, err);
    if (st != SOL_OK) return st;
    t->step_peak = rate * (double)tokens / flops;
    sol_log_line(&t->program->log, SOL_LOG_INFO, "products in %s by %s: %sFLOP/s", sol_config_word(t->config, "train.compute"),
                 type == SOL_BF16 ? sol_gemm_bf16_kernel(t->ctx) : sol_gemm_library(), sol_count_text(rate, a));
    if (type != SOL_BF16 || sol_gemm_bf16_native(t->ctx)) return SOL_OK;
    st = sol_product_rate(t->ctx, SOL_F32, &plain, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "train.compute bf16: this processor has no instructions for bf16; its products take %.1f times as long as in fp32",
                     plain / rate);
    return st;
}

static void log_start(const sol_trainer *t)
{
    const sol_config *c = t->config;
    const sol_log *log = &t->program->log;
    char a[32], b[32];
    sol_log_line(log, SOL_LOG_INFO, "solera %s, kernels %s, %s, %d threads", SOL_VERSION,
                 sol_tier_name(t->ctx->k.features), sol_gemm_library(), sol_pool_threads(t->ctx->pool));
    sol_log_line(log, SOL_LOG_INFO, "model %s: %s parameters, quantizer %s, residual %s %s", c->model.init,
                 sol_count_text((double)t->ck.model->n_weights, a), c->quant.method,
                 t->ck.quant.method ? sol_config_word(c, "residual.schedule") : "none",
                 t->ck.quant.method ? sol_config_word(c, "residual.form") : "");
    sol_log_line(log, SOL_LOG_INFO,
                 "data %s: %s tokens, %" PRId64 " documents; a step takes %s tokens, an epoch %" PRId64 " steps",
                 c->data.source == SOL_DATA_SELF ? "from the model itself" : c->data.train,
                 sol_count_text((double)t->train.file.tokens.n, a), t->train.file.tokens.n_docs,
                 sol_count_text((double)sol_trainer_step_tokens(t), b),
                 sol_batcher_windows(&t->batcher) / (c->train.batch * c->train.accumulate));
    if (t->teacher.loss.kind == SOL_DISTILL_CAKLD) snprintf(a, sizeof a, ", gamma %.3f", (double)t->teacher.loss.gamma);
    if (sol_job_has_teacher(c))
        sol_log_line(log, SOL_LOG_INFO, "teacher %s %s %s, loss %s%s", sol_job_teacher_path(c),
                     t->teacher.cache ? "from" : "in", t->teacher.cache ? c->distill.cache : sol_config_word(c, "distill.teacher_dtype"),
                     sol_config_word(c, "distill.loss"), t->teacher.loss.kind == SOL_DISTILL_CAKLD ? a : "");
    if (t->dir.has_run)
        sol_log_line(log, SOL_LOG_INFO, "resumed at step %" PRIu64 " of %" PRId64, t->ck.state.step, c->train.steps);
}

/* The run as it was left, or a new one, which gets its config.yaml: directory, model and state. */
static sol_status open_run(sol_trainer *t, bool resume, sol_err *err)
{
    const sol_config *c = t->config;
    sol_status st = sol_run_dir_open(&t->dir, c->run.dir, resume, err);
    if (st != SOL_OK) return st;
    if (resume && !t->dir.has_run)
        sol_log_line(&t->program->log, SOL_LOG_INFO, "%s holds no run yet: this one begins", t->dir.path);
    st = open_state(t, err);
    if (st == SOL_OK) st = sol_config_quant(c, &t->ck.quant, err);
    if (st == SOL_OK) st = sol_job_check_quant(c, t->ck.model, &t->ck.quant, err);
    if (st != SOL_OK) return st;
    t->first_step = t->ck.state.step;
    t->ck.windows = sol_job_windows(c);
    sol_free(t->ck.config_yaml);
    t->ck.config_yaml = NULL;
    st = sol_config_write(c, &t->ck.config_yaml, err);
    if (st == SOL_OK) st = sol_config_digest(c, &t->config_digest, err);
    return st == SOL_OK ? sol_run_dir_claim(&t->dir, t->ck.config_yaml, err) : st;
}

/* All that a run may still be refused for. */
static sol_status open_parts(sol_trainer *t, sol_job_calibration *calibration, sol_err *err)
{
    sol_status st = open_train_data(t, err);
    if (st == SOL_OK) st = open_calibration(t, calibration, err);
    if (st == SOL_OK) st = open_teacher(t, err);
    if (st == SOL_OK) st = open_graph(t, err);
    if (st == SOL_OK) st = start_study(t, err);
    return st == SOL_OK ? open_eval_data(t, err) : st;
}

/* From here on the files are those of the run that goes on. */
static sol_status begin_run(sol_trainer *t, sol_err *err)
{
    bool lost = false;
    sol_status st = sol_run_dir_begin(&t->dir, t->ck.config_yaml, t->ck.state.metrics_bytes, t->ck.state.step, &lost, err);
    if (st == SOL_OK) st = put_damaged_aside(t, err);
    if (st == SOL_OK) st = sol_trainer_watch_open(t, err);
    if (st != SOL_OK) return st;
    t->program->log_file = t->dir.log;
    t->dir.wait_when_full = t->config->checkpoint.on_full == SOL_ON_FULL_CONTINUE;
    if (lost) sol_log_line(&t->program->log, SOL_LOG_WARN, "metrics.jsonl lacks lines of steps before the checkpoint");
    if (t->dir.has_run) st = sol_trainer_prune(t, err); /* what a process that was killed after its checkpoint left */
    if (st == SOL_OK) log_start(t);
    return st;
}

static sol_status open_all(sol_trainer *t, bool resume, sol_err *err)
{
    sol_job_calibration calibration = {0};
    sol_status st = sol_config_quant(t->config, &t->ck.quant, err);
    if (st == SOL_OK) st = open_run(t, resume, err);
    if (st == SOL_OK) st = open_parts(t, &calibration, err);
    if (st == SOL_OK) st = begin_run(t, err);
    if (st == SOL_OK && calibrates(t))
        st = sol_job_calibrate(&calibration, t->program, t->ctx, t->config, &t->dir, t->ck.model, err);
    sol_job_calibration_free(&calibration);
    return st == SOL_OK ? measure_speed(t, err) : st;
}

sol_status sol_trainer_open(sol_trainer **out, sol_program *p, const sol_config *c, bool resume, sol_err *err)
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
    st = sol_program_ctx(p, &t->ctx, err);
    if (st == SOL_OK) st = open_all(t, resume, err);
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
    sol_job_teacher_close(&t->teacher);
    sol_free(t->batch);
    sol_job_close_tokens(&t->train);
    sol_job_close_tokens(&t->eval);
    sol_task_plans_free(&t->tasks, t->n_tasks);
    sol_checkpoint_free(&t->ck);
    t->program->log_file = NULL;
    sol_run_dir_close(&t->dir);
    sol_free(t);
    *tp = NULL;
}
