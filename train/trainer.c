#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- one line of metrics.jsonl ---- */

static size_t add_number(char *out, size_t n, const char *name, double x)
{
    if (!isfinite(x)) return n + (size_t)sprintf(out + n, ", \"%s\": null", name);
    return n + (size_t)sprintf(out + n, ", \"%s\": %.9g", name, x);
}

size_t sol_step_record_json(const sol_step_record *r, char *out)
{
    size_t n = (size_t)sprintf(out, "{\"step\": %" PRIu64 ", \"tokens\": %" PRIu64, r->step, r->tokens);
    n = add_number(out, n, "loss", r->loss);
    n = add_number(out, n, "lr", r->lr);
    n = add_number(out, n, "lambda", r->lambda);
    n = add_number(out, n, "grad_norm", r->grad_norm);
    if (r->has_eval) n = add_number(out, n, "eval_loss", r->eval_loss);
    if (r->has_packed) n = add_number(out, n, "packed_loss", r->packed_loss);
    if (r->skipped) n += (size_t)sprintf(out + n, ", \"skipped\": true");
    n = add_number(out, n, "tok_s", r->tok_s);
    return n + (size_t)sprintf(out + n, "}\n");
}

/* ---- opening ---- */

static int64_t window_tokens(const sol_trainer *t)
{
    return t->config->train.batch * t->config->train.seq;
}

static int64_t step_tokens(const sol_trainer *t)
{
    return window_tokens(t) * t->config->train.accumulate;
}

static bool watch_sampling(void *user, int64_t done, int64_t total)
{
    sol_trainer *t = user;
    sol_live_show(t->program, false, "sampling training text from the model: %" PRId64 " of %" PRId64 " tokens", done, total);
    return !sol_interrupted();
}

static sol_status write_documents(const sol_trainer *t, const sol_tokens *data, const char *path, sol_err *err)
{
    sol_dataset_writer *w = NULL;
    int32_t *ids = NULL;
    size_t capacity = 0;
    sol_status st = sol_dataset_writer_open(&w, path, sol_tokenizer_vocab_size(t->ck.tokenizer), sol_tokenizer_hash(t->ck.tokenizer), err);
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

/* The training text of data.source self: sampled once from the model the run starts with, then a dataset like any other. */
static sol_status sample_self(sol_trainer *t, const char *path, sol_err *err)
{
    const sol_config *c = t->config;
    sol_net *net = NULL;
    sol_self_data data = {0};
    sol_self_opts o = {.n_tokens = c->data.self_tokens, .max_len = c->data.self_length ? c->data.self_length : c->train.seq,
                       .temperature = (float)c->data.self_temperature, .seed = (uint64_t)c->run.seed,
                       .watch = {.fn = watch_sampling, .user = t}};
    char duration[32];
    double begun = sol_clock();
    sol_log_line(&t->program->log, SOL_LOG_INFO, "sampling %" PRId64 " tokens of training text from the model", o.n_tokens);
    sol_status st = sol_net_from_model(&net, t->ctx, t->ck.model, t->ck.tokenizer, NULL, NULL, err);
    if (st == SOL_OK) st = sol_self_data_sample(net, &o, &data, err);
    sol_live_clear(t->program);
    if (st == SOL_OK) st = write_documents(t, &data.tokens, path, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_INFO, "sampled in %s", sol_duration_text(sol_clock() - begun, duration));
    sol_self_data_free(&data);
    sol_net_free(&net);
    return st;
}

/* Datasets that are made (from the model, from text files) lie in the run directory, so that a resume finds them. */
static sol_status open_data(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    bool self = strcmp(c->data.source, "self") == 0, keep = t->dir.has_run;
    char path[SOL_PATH_MAX];
    sol_status st = SOL_OK;
    sol_run_dir_file(&t->dir, self ? "tokens-self.h5" : "tokens-train.h5", path);
    if (self && !(keep && sol_file_exists(path))) st = sample_self(t, path, err);
    if (st == SOL_OK)
        st = sol_job_open_tokens(t->program, c, self ? "data.source" : "data.train", self ? path : c->data.train, path, keep, t->ck.tokenizer,
                                 &t->train, err);
    sol_run_dir_file(&t->dir, "tokens-eval.h5", path);
    if (st == SOL_OK && c->train.eval_every > 0)
        st = sol_job_open_tokens(t->program, c, "data.eval", c->data.eval, path, keep, t->ck.tokenizer, &t->eval, err);
    if (st == SOL_OK) st = sol_batcher_init(&t->batcher, &t->train.file.tokens, c->train.seq, (uint64_t)c->run.seed, err);
    t->batcher.drawn = t->ck.state.drawn;
    return st;
}

/* The checkpoint of a resume against the job that is asked for. */
static sol_status compare_jobs(sol_trainer *t, const char *name, const char *old_yaml, sol_err *err)
{
    sol_config *old = NULL;
    char *text = NULL;
    bool fatal = false;
    sol_status st = sol_config_parse(&old, name, old_yaml, strlen(old_yaml), err);
    if (st == SOL_OK) st = sol_config_diff(old, t->config, &text, &fatal, err);
    if (st == SOL_OK && fatal)
        st = sol_fail(err, SOL_ERR_CONFIG, "%s: cannot resume, these keys would make it another run: %s", t->dir.path, text);
    if (st == SOL_OK && text[0]) sol_log_line(&t->program->log, SOL_LOG_INFO, "changed since the last time: %s", text);
    sol_free(text);
    sol_config_free(&old);
    return st;
}

/* The newest checkpoint that can be read; a damaged one is put aside with a warning. *found stays false when there is none. */
static sol_status read_newest(sol_trainer *t, bool *found, sol_err *err)
{
    uint64_t *steps;
    int n;
    sol_status last = SOL_OK;
    *found = false;
    sol_status st = sol_run_dir_steps(&t->dir, &steps, &n, err);
    for (int i = 0; st == SOL_OK && i < n && !*found; i++) {
        char path[SOL_PATH_MAX], aside[SOL_PATH_MAX + 16];
        sol_err why = {0};
        sol_run_dir_checkpoint(&t->dir, steps[i], path);
        last = sol_checkpoint_read(&t->ck, path, SOL_F32, &why);
        if (last == SOL_OK && (!t->ck.optim || !t->ck.config_yaml || !t->ck.tokenizer))
            last = sol_fail(&why, SOL_ERR_FORMAT, "%s: is no checkpoint of a run", path);
        if (last == SOL_OK) last = sol_run_dir_metrics_cut(&t->dir, t->ck.state.metrics_bytes, &why);
        *found = last == SOL_OK;
        if (*found) t->saved_step = (int64_t)t->ck.state.step;
        if (*found) break;
        sol_checkpoint_free(&t->ck);
        memset(&t->ck, 0, sizeof t->ck);
        if (last == SOL_ERR_NOMEM) st = sol_fail(err, last, "%s", why.text);
        if (i + 1 == n && st == SOL_OK) st = sol_fail(err, last, "%s; no other checkpoint is left", why.text);
        if (st != SOL_OK) break;
        sol_log_line(&t->program->log, SOL_LOG_WARN, "%s; going back to step %" PRIu64, why.text, steps[i + 1]);
        snprintf(aside, sizeof aside, "%s.damaged", path);
        if (rename(path, aside) != 0) st = sol_fail_errno(err, path, "cannot put aside");
    }
    sol_free(steps);
    return st;
}

/* Model, moments, state: from the newest checkpoint, else from model.init. */
static sol_status open_state(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    char path[SOL_PATH_MAX], *yaml = NULL;
    size_t n;
    bool found = false;
    sol_adamw_config adamw = sol_config_adamw(c);
    sol_status st = t->dir.has_run ? read_newest(t, &found, err) : SOL_OK;
    if (st == SOL_OK && found) st = compare_jobs(t, "the checkpoint's job", t->ck.config_yaml, err);
    if (st == SOL_OK && t->dir.has_run && !found) {
        sol_run_dir_file(&t->dir, "config.yaml", path);
        st = sol_file_read(path, &yaml, &n, err);
        if (st == SOL_OK) st = compare_jobs(t, path, yaml, err);
        sol_free(yaml);
    }
    if (st == SOL_OK && !found) st = sol_job_open_model(c, &t->ck, err);
    if (st == SOL_OK && !found) st = sol_adamw_create(&t->ck.optim, t->ck.model, &adamw, err);
    if (st == SOL_OK) t->ck.optim->config = adamw;
    if (st == SOL_OK && !found) t->ck.state = (sol_run_state){.seed = (uint64_t)c->run.seed, .best_eval_loss = INFINITY};
    return st;
}

static sol_status open_graph(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    sol_graph_opts o = {.batch = c->train.batch, .seq = c->train.seq, .activation_checkpoints = c->train.activation_checkpoints};
    sol_status st = sol_graph_create(&t->graph, t->ctx, t->ck.model, &t->ck.quant, &o, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&t->batch, (size_t)step_tokens(t), 3 * sizeof *t->batch, err);
    sol_study_opts study = {.every = c->study.every, .steps = c->train.steps, .layers = c->study.layers, .sample_rows = c->study.rows,
                            .tokens = window_tokens(t)};
    if (st == SOL_OK && study.every > 0) st = sol_study_create(&t->study, t->ctx, t->ck.model, &t->ck.quant, &study, err);
    return st;
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

static void log_start(const sol_trainer *t, bool resumed)
{
    const sol_config *c = t->config;
    const sol_log *log = &t->program->log;
    char a[32], b[32];
    sol_log_line(log, SOL_LOG_INFO, "solera %s, kernels %s, %s, %d threads", SOL_VERSION, sol_tier_name(t->ctx->k.tier), sol_gemm_library(),
                 sol_pool_threads(t->ctx->pool));
    sol_log_line(log, SOL_LOG_INFO, "model %s: %s parameters, quantizer %s, residual %s %s", c->model.init,
                 sol_count_text((double)t->ck.model->n_weights, a), c->quant.method, t->ck.quant.method ? c->residual.schedule : "none",
                 t->ck.quant.method ? c->residual.form : "");
    sol_log_line(log, SOL_LOG_INFO, "data %s: %s tokens, %" PRId64 " documents; a step takes %s tokens, an epoch %" PRId64 " steps",
                 strcmp(c->data.source, "self") == 0 ? "from the model itself" : c->data.train,
                 sol_count_text((double)t->train.file.tokens.n, a), t->train.file.tokens.n_docs, sol_count_text((double)step_tokens(t), b),
                 sol_batcher_windows(&t->batcher) / (c->train.batch * c->train.accumulate));
    if (resumed) sol_log_line(log, SOL_LOG_INFO, "resumed at step %" PRIu64 " of %" PRId64, t->ck.state.step, c->train.steps);
}

static sol_status open_all(sol_trainer *t, bool resume, sol_err *err)
{
    const sol_config *c = t->config;
    sol_status st = sol_config_quant(c, &t->ck.quant, err);
    if (st == SOL_OK) st = sol_run_dir_open(&t->dir, c->run.dir, resume, err);
    bool resumed = t->dir.has_run;
    if (st == SOL_OK) st = open_state(t, err);
    if (st == SOL_OK) st = sol_config_quant(c, &t->ck.quant, err);
    if (st == SOL_OK) st = sol_job_check_quant(c, t->ck.model, &t->ck.quant, err);
    sol_free(t->ck.config_yaml);
    t->ck.config_yaml = NULL;
    if (st == SOL_OK) st = sol_config_write(c, &t->ck.config_yaml, err);
    if (st == SOL_OK) st = open_data(t, err);
    if (st == SOL_OK) st = open_graph(t, err);
    if (st == SOL_OK) st = sol_run_dir_begin(&t->dir, t->ck.config_yaml, err);
    if (st == SOL_OK) t->program->log_file = t->dir.log;
    if (st == SOL_OK && t->saved_step < 0) st = sol_run_dir_metrics_cut(&t->dir, 0, err);
    if (st == SOL_OK) st = start_study(t, err);
    if (st == SOL_OK) log_start(t, resumed);
    return st;
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
    sol_graph_free(&t->graph);
    sol_free(t->batch);
    sol_job_close_tokens(&t->train);
    sol_job_close_tokens(&t->eval);
    sol_checkpoint_free(&t->ck);
    t->program->log_file = NULL;
    sol_run_dir_close(&t->dir);
    sol_free(t);
    *tp = NULL;
}

/* ---- a step ---- */

typedef struct micro_batch {
    int32_t *inputs, *targets, *doc_start; /* [B, T] */
} micro_batch;

static micro_batch batch_at(const sol_trainer *t, int64_t i)
{
    int64_t n = window_tokens(t);
    int32_t *at = t->batch + 3 * n * i;
    return (micro_batch){at, at + n, at + 2 * n};
}

/* Draws all micro-batches of the step, so that the mean's weight is known before the first backward pass. *counted: targets
 * that count. Ids come from a file: none may leave the vocabulary. */
static sol_status draw(sol_trainer *t, int64_t *counted, sol_err *err)
{
    int64_t n = window_tokens(t), vocab = t->ck.model->config.vocab_size;
    *counted = 0;
    for (int64_t i = 0; i < t->config->train.accumulate; i++) {
        micro_batch b = batch_at(t, i);
        sol_batcher_next(&t->batcher, t->config->train.batch, b.inputs, b.targets, b.doc_start);
        for (int64_t k = 0; k < n; k++) {
            if (b.inputs[k] < 0 || b.inputs[k] >= vocab || b.targets[k] < -1 || b.targets[k] >= vocab)
                return sol_fail(err, SOL_ERR_FORMAT, "%s: holds the token %" PRId32 ", the model's vocabulary ends at %" PRId64,
                                t->config->data.train, b.inputs[k] < 0 || b.inputs[k] >= vocab ? b.inputs[k] : b.targets[k], vocab - 1);
            *counted += b.targets[k] >= 0;
        }
    }
    return SOL_OK;
}

static bool study_due(const sol_trainer *t)
{
    return t->study && sol_study_due(t->study, (int64_t)t->ck.state.step);
}

/* Loss and gradient of the whole step. */
static sol_status accumulate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    double sum = 0;
    int64_t counted;
    sol_status st = draw(t, &counted, err);
    if (st != SOL_OK) return st;
    sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda));
    sol_graph_zero_grads(t->graph);
    for (int64_t i = 0; i < t->config->train.accumulate; i++) {
        micro_batch b = batch_at(t, i);
        double loss;
        int64_t n;
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        if (study_due(t) && i + 1 == t->config->train.accumulate) sol_study_watch(t->study, t->graph);
        sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, 1.0f / (float)counted, &loss, &n);
        sum += loss;
    }
    r->loss = sum / (double)counted; /* NaN when nothing counts: the step is skipped */
    r->grad_norm = sol_global_norm(t->ctx, sol_graph_grads(t->graph), t->ck.model->n_elements);
    return SOL_OK;
}

/* Weights before the step, gradients of it. */
static sol_status record_study(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    sol_study_at at = {.step = (int64_t)t->ck.state.step, .tokens = (int64_t)t->ck.state.tokens, .lambda = r->lambda, .lr = r->lr,
                       .loss = r->loss};
    return study_due(t) ? sol_study_record(t->study, t->graph, &at, err) : SOL_OK;
}

static void update(sol_trainer *t, const sol_step_record *r)
{
    float scale = sol_clip_scale(r->grad_norm, t->config->train.grad_clip);
    sol_adamw_update(t->ctx, t->ck.optim, t->ck.model, sol_graph_grads(t->graph), scale, (float)r->lr);
}

static bool watch_eval(void *user, int64_t done, int64_t total)
{
    sol_trainer *t = user;
    sol_live_show(t->program, false, "step %" PRIu64 "/%" PRId64 "  evaluating: %" PRId64 " of %" PRId64 " tokens", t->ck.state.step,
                  t->config->train.steps, done, total);
    return true; /* not interrupted: the step is done and its line wants the figure */
}

/* A loss that is not a number is a result (null in the line), not a failure of the run. */
static sol_status measure(sol_trainer *t, sol_net *net, bool *has, double *loss, sol_err *err)
{
    sol_err why = {0};
    sol_eval_result result = {0};
    sol_eval_opts o = {.seq = t->config->train.seq, .max_windows = t->config->train.eval_windows, .apart = true,
                       .watch = {.fn = watch_eval, .user = t}};
    sol_status st = sol_eval_windows(net, &t->eval.file.tokens, &o, &result, &why);
    *has = true;
    *loss = st == SOL_OK ? result.loss : NAN;
    if (st == SOL_ERR_NONFINITE) sol_log_line(&t->program->log, SOL_LOG_WARN, "evaluation: %s", why.text);
    return st == SOL_OK || st == SOL_ERR_NONFINITE ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

/* Latent: Q(W) at lambda 0 in float. Packed: what an export would write, by the kernels it ships with. */
static sol_status evaluate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_quant_spec *spec = &t->ck.quant;
    sol_net *net = NULL;
    sol_packed_model packed = {0};
    sol_status st = sol_net_from_model(&net, t->ctx, t->ck.model, t->ck.tokenizer, spec, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_eval, &r->eval_loss, err);
    sol_net_free(&net);
    if (st != SOL_OK || !spec->method || !spec->method->packable || spec->scale_dtype != SOL_F16) return st;
    st = sol_packed_model_from(t->ctx, &packed, t->ck.model, spec, SOL_DENSE_F16, err);
    if (st == SOL_OK) st = sol_net_from_packed(&net, t->ctx, &packed, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_packed, &r->packed_loss, err);
    sol_net_free(&net);
    sol_packed_model_free(&packed);
    return st;
}

sol_status sol_trainer_save(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    if (t->saved_step == (int64_t)t->ck.state.step) return SOL_OK;
    sol_live_show(t->program, true, "step %" PRIu64 "/%" PRId64 "  saving", t->ck.state.step, t->config->train.steps);
    sol_run_dir_checkpoint(&t->dir, t->ck.state.step, path);
    t->ck.state.metrics_bytes = t->dir.metrics_bytes;
    sol_status st = sol_run_dir_metrics_sync(&t->dir, err);
    sol_checkpoint with_study = t->ck; /* borrows everything */
    if (t->study) with_study.study = (void *)(uintptr_t)sol_study_state(t->study, &with_study.study_bytes);
    if (st == SOL_OK) st = sol_checkpoint_write(&with_study, path, SOL_F32, err);
    if (st != SOL_OK) return st;
    t->saved_step = (int64_t)t->ck.state.step;
    return sol_run_dir_prune(&t->dir, t->config->checkpoint.keep, t->config->checkpoint.best ? t->ck.state.best_step : 0, err);
}

/* ---- progress ---- */

static void show_progress(sol_trainer *t, const sol_step_record *r)
{
    const sol_config *c = t->config;
    double now = sol_clock(), passed = now - t->started;
    uint64_t done = r->step - t->first_step, left = (uint64_t)c->train.steps - r->step;
    double mean = t->loss_count ? t->loss_sum / (double)t->loss_count : r->loss;
    char rate[32], rest[32], skipped[48] = "", eval[80] = "";
    sol_duration_text(passed / (double)done * (double)left, rest);
    if (t->ck.state.skipped) snprintf(skipped, sizeof skipped, "  skipped %" PRIu64, t->ck.state.skipped);
    sol_live_show(t->program, false, "step %" PRIu64 "/%" PRId64 "  loss %.4f  lambda %.3f  %s tok/s  %s left%s", r->step, c->train.steps,
                  t->ck.state.ema_loss, r->lambda, sol_count_text(r->tok_s, rate), rest, skipped);
    bool due = r->step % (uint64_t)c->train.log_every == 0 || r->has_eval || left == 0;
    if (!due) return;
    uint64_t steps = r->step - t->logged_step;
    double speed = (double)steps * (double)step_tokens(t) / (now - t->logged);
    if (r->has_packed)
        snprintf(eval, sizeof eval, "  eval %.4f  packed %.4f", r->eval_loss, r->packed_loss);
    else if (r->has_eval)
        snprintf(eval, sizeof eval, "  eval %.4f", r->eval_loss);
    /* On a terminal the live line says it already: only what was measured stays on the screen, the rest goes to log.txt. */
    sol_log_line(&t->program->log, t->program->terminal && !r->has_eval ? SOL_LOG_DEBUG : SOL_LOG_INFO,
                 "step %" PRIu64 "/%" PRId64 "  loss %.4f  lambda %.3f  lr %.3g  norm %.3f  %s tok/s  %s left%s%s", r->step,
                 c->train.steps, mean, r->lambda, r->lr, r->grad_norm, sol_count_text(speed, rate), rest, skipped, eval);
    t->logged = now;
    t->logged_step = r->step;
    t->loss_sum = 0;
    t->loss_count = 0;
}

/* The mean of the first 20 steps, a moving average from then on. */
static void smooth_loss(sol_trainer *t, const sol_step_record *r)
{
    sol_run_state *s = &t->ck.state;
    double share = r->step < 20 ? 1.0 / (double)r->step : 0.05;
    s->ema_loss += share * (r->loss - s->ema_loss);
    t->loss_sum += r->loss;
    t->loss_count++;
}

static sol_status count_skipped(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    sol_run_state *s = &t->ck.state;
    char saved[64] = "there is no checkpoint yet";
    s->skipped++;
    sol_log_line(&t->program->log, SOL_LOG_WARN, "step %" PRIu64 ": loss %g, gradient norm %g: skipped, parameters stay as they were",
                 r->step, r->loss, r->grad_norm);
    if (s->skipped <= (uint64_t)t->config->train.max_skipped) return SOL_OK;
    if (t->saved_step >= 0) snprintf(saved, sizeof saved, "the last checkpoint is of step %" PRId64, t->saved_step);
    return sol_fail(err, SOL_ERR_NONFINITE, "step %" PRIu64 ": loss %g, gradient norm %g; %" PRIu64 " skipped steps are more than train.max_skipped; %s",
                    r->step, r->loss, r->grad_norm, s->skipped, saved);
}

/* What follows the update: evaluation, line, progress, checkpoint. */
static sol_status finish_step(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_config *c = t->config;
    sol_run_state *s = &t->ck.state;
    char line[512];
    bool last = r->step == (uint64_t)c->train.steps, best = false;
    sol_status st = SOL_OK, stop = SOL_OK;
    if (r->skipped)
        stop = count_skipped(t, r, err);
    else
        smooth_loss(t, r);
    bool eval_due = c->train.eval_every > 0 && (last || r->step % (uint64_t)c->train.eval_every == 0);
    if (eval_due && stop == SOL_OK) st = evaluate(t, r, err);
    if (st == SOL_OK && r->has_eval && r->eval_loss < s->best_eval_loss) {
        best = true;
        s->best_eval_loss = r->eval_loss;
        s->best_step = r->step;
    }
    if (st == SOL_OK) st = sol_run_dir_metrics_add(&t->dir, line, sol_step_record_json(r, line), stop == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = stop;
    if (st != SOL_OK) return st;
    show_progress(t, r);
    bool save = last || r->step % (uint64_t)c->checkpoint.every == 0 || (best && c->checkpoint.best);
    return save ? sol_trainer_save(t, err) : SOL_OK;
}

sol_status sol_trainer_step(sol_trainer *t, sol_err *err)
{
    sol_run_state *s = &t->ck.state;
    int64_t step = (int64_t)s->step, n_steps = t->config->train.steps;
    sol_step_record r = {.step = s->step + 1, .tokens = s->tokens + (uint64_t)step_tokens(t)};
    double begun = sol_clock();
    r.lambda = sol_residual_lambda(&t->residual, step, n_steps);
    r.lr = sol_lr_at(&t->lr, step, n_steps);
    sol_status st = accumulate(t, &r, err);
    if (st == SOL_OK) st = record_study(t, &r, err);
    if (st != SOL_OK) {
        t->batcher.drawn = s->drawn;
        return st;
    }
    r.skipped = !isfinite(r.loss) || !isfinite(r.grad_norm);
    if (!r.skipped) update(t, &r);
    s->step = r.step;
    s->tokens = r.tokens;
    s->drawn = t->batcher.drawn;
    r.tok_s = (double)step_tokens(t) / (sol_clock() - begun);
    return finish_step(t, &r, err);
}

static sol_status interrupted(sol_trainer *t, sol_err *err)
{
    sol_status st = sol_trainer_save(t, err);
    if (st != SOL_OK) return st;
    return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted after step %" PRIu64 " of %" PRId64 ", saved; --resume goes on", t->ck.state.step,
                    t->config->train.steps);
}

sol_status sol_trainer_run(sol_trainer *t, sol_err *err)
{
    sol_status st = SOL_OK;
    char duration[32];
    t->started = t->logged = sol_clock();
    t->first_step = t->logged_step = t->ck.state.step;
    while (st == SOL_OK && t->ck.state.step < (uint64_t)t->config->train.steps)
        st = sol_interrupted() ? SOL_ERR_INTERRUPTED : sol_trainer_step(t, err);
    sol_live_clear(t->program);
    if (st == SOL_ERR_INTERRUPTED) st = interrupted(t, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_INFO, "done: %" PRIu64 " steps, %" PRIu64 " tokens, %s; %s/ckpt/step-%06" PRIu64 ".h5",
                     t->ck.state.step, t->ck.state.tokens, sol_duration_text(sol_clock() - t->started, duration), t->dir.path,
                     t->ck.state.step);
    else if (t->dir.log)
        fprintf(t->dir.log, "%s\n", err ? err->text : sol_status_text(st));
    return st;
}
