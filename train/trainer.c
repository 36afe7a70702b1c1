/* The loop: a step, and what follows it. */
#include "trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>


/* ---- one line of metrics.jsonl ---- */

static size_t add_number(char *out, size_t n, const char *name, double x)
{
    if (!isfinite(x)) return n + (size_t)sprintf(out + n, ", \"%s\": null", name);
    return n + (size_t)sprintf(out + n, ", \"%s\": %.9g", name, x);
}

/* "tasks": {"piqa": {"acc": 0.61, "acc_norm": 0.62, "items": 100}, ...} */
static size_t add_tasks(char *out, size_t n, const sol_step_record *r)
{
    for (int i = 0; i < r->n_tasks; i++) {
        const sol_task_plan *t = &r->tasks[i];
        n += (size_t)sprintf(out + n, "%s\"%s\": {\"acc\": %.6g", i ? ", " : ", \"tasks\": {", t->kind->name, t->result.acc);
        if (t->kind->norm) n = add_number(out, n, "acc_norm", t->result.acc_norm);
        n += (size_t)sprintf(out + n, ", \"items\": %" PRId64 "}", t->result.n);
    }
    return r->n_tasks ? n + (size_t)sprintf(out + n, "}") : n;
}

static size_t add_norms(char *out, size_t n, const sol_step_record *r)
{
    static const char *const names[SOL_TRAINER_TERMS] = {"next_token", "distill", "hidden",
                                                         "relation"};
    const char *comma = "";
    n += (size_t)sprintf(out + n, ", \"grad_norms\": {");
    for (int i = 0; i < SOL_TRAINER_TERMS; i++) {
        if (r->norm[i] < 0) continue;
        n += (size_t)sprintf(out + n, "%s\"%s\": ", comma, names[i]);
        n += isfinite(r->norm[i]) ? (size_t)sprintf(out + n, "%.9g", r->norm[i])
                                  : (size_t)sprintf(out + n, "null");
        comma = ", ";
    }
    return n + (size_t)sprintf(out + n, "}");
}

size_t sol_step_record_json(const sol_step_record *r, char *out)
{
    size_t n = (size_t)sprintf(out, "{\"step\": %" PRIu64 ", \"tokens\": %" PRIu64, r->step, r->tokens);
    n = add_number(out, n, "loss", r->loss);
    n = add_number(out, n, "lr", r->lr);
    n = add_number(out, n, "lambda", r->lambda);
    n = add_number(out, n, "grad_norm", r->grad_norm);
    if (r->has_distill) n = add_number(out, n, "objective", r->objective);
    if (r->has_distill) n = add_number(out, n, "distill_loss", r->distill_loss);
    if (r->has_hidden) n = add_number(out, n, "hidden_loss", r->hidden_loss);
    if (r->has_relation) n = add_number(out, n, "relation_loss", r->relation_loss);
    if (r->has_norms) n = add_norms(out, n, r);
    if (r->has_eval) n = add_number(out, n, "eval_loss", r->eval_loss);
    if (r->has_packed) n = add_number(out, n, "packed_loss", r->packed_loss);
    n = add_tasks(out, n, r);
    if (r->skipped) n += (size_t)sprintf(out + n, ", \"skipped\": true");
    n = add_number(out, n, "tok_s", r->tok_s);
    return n + (size_t)sprintf(out + n, "}\n");
}

/* ---- a step ---- */

typedef struct micro_batch {
    int32_t *inputs, *targets, *doc_start; /* [B, T] */
} micro_batch;

static micro_batch batch_at(const sol_trainer *t, int64_t i)
{
    int64_t n = sol_trainer_window_tokens(t);
    int32_t *at = t->batch + 3 * n * i;
    return (micro_batch){at, at + n, at + 2 * n};
}

/* Draws all micro-batches of the step, so that the mean's weight is known before the first backward pass. *counted:
 * targets that count. Ids come from a file: none may leave the vocabulary. */
static sol_status draw(sol_trainer *t, int64_t *counted, sol_err *err)
{
    int64_t n = sol_trainer_window_tokens(t), vocab = t->model->config.vocab_size;
    *counted = 0;
    for (int64_t i = 0; i < t->config->train.accumulate; i++) {
        micro_batch b = batch_at(t, i);
        sol_batcher_next(&t->batcher, t->config->train.batch, b.inputs, b.targets, b.doc_start);
        for (int64_t k = 0; k < n; k++) {
            if (b.inputs[k] < 0 || b.inputs[k] >= vocab || b.targets[k] < -1 || b.targets[k] >= vocab)
                return sol_fail(err, SOL_ERR_FORMAT,
                                "%s: holds the token %" PRId32 ", the model's vocabulary ends at %" PRId64,
                                t->config->data.train,
                                b.inputs[k] < 0 || b.inputs[k] >= vocab ? b.inputs[k] : b.targets[k], vocab - 1);
            *counted += b.targets[k] >= 0;
        }
    }
    return SOL_OK;
}

static bool study_due(const sol_trainer *t)
{
    return t->study && sol_study_due(t->study, (int64_t)t->step);
}

/* sol_graph_done_fn */
static void update_part(void *user, const sol_graph_part *part)
{
    sol_trainer *t = user;
    sol_fused *f = &t->fused;
    double norm = sol_global_norm(t->ctx, part->grads, part->n_elements);
    f->square += norm * norm;
    f->stop = f->stop || !isfinite(part->loss_sum) || !isfinite(norm);
    if (f->stop) return;
    if (!f->begun) sol_adamw_begin(t->optim, f->lr);
    f->begun = true;
    sol_adamw_update_params(t->ctx, t->optim, t->model, part->first, part->n, part->grads, 1);
}

static void add_distilled(sol_graph_distilled *sum, sol_graph_distilled x)
{
    sum->distill += x.distill;
    sum->hidden += x.hidden;
    sum->relation += x.relation;
    sum->objective += x.objective;
}

/* The first micro-batch of a step alone, term by term; the step itself begins anew afterwards. */
static sol_status measure_norms(sol_trainer *t, sol_step_record *r, int64_t counted, uint64_t drawn,
                                sol_err *err)
{
    const sol_config *c = t->config;
    const double weight[SOL_TRAINER_TERMS] = {c->distill.ce_weight, c->distill.weight,
                                              c->distill.hidden_weight, c->distill.relation_weight};
    float share = (float)c->train.accumulate / (float)counted;
    micro_batch b = batch_at(t, 0);
    SOL_TRY(sol_job_teacher_feed(c, &t->teacher, t->graph, &t->batcher, drawn, err));
    for (int i = 0; i < SOL_TRAINER_TERMS; i++) {
        double loss;
        int64_t n;
        r->norm[i] = -1;
        if (weight[i] == 0) continue;
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        sol_graph_choose_terms(t->graph, 1 << i);
        sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda), 1);
        sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, share, &loss, &n);
        r->norm[i] = sol_global_norm(t->ctx, sol_graph_grads(t->graph), t->model->n_elements);
    }
    sol_graph_choose_terms(t->graph, SOL_TERMS_ALL);
    r->has_norms = true;
    return SOL_OK;
}

static bool norms_due(const sol_trainer *t)
{
    int64_t every = t->config->distill.grad_norms;
    return every > 0 && sol_job_has_teacher(t->config) && ((int64_t)t->step + 1) % every == 0;
}

/* Loss and gradient of the whole step; with optim.fused its update, too. */
static sol_status accumulate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    double sum = 0;
    sol_graph_distilled d = {0};
    int64_t counted;
    uint64_t drawn = t->batcher.drawn; /* the first window of the step */
    SOL_TRY(draw(t, &counted, err));
    if (norms_due(t)) SOL_TRY(measure_norms(t, r, counted, drawn, err));
    sol_graph_begin_step(t->graph, sol_residual_coeffs(t->residual.form, (float)r->lambda),
                         t->config->train.accumulate);
    if (t->config->optim.fused) {
        t->fused = (sol_fused){.lr = (float)r->lr, .stop = counted == 0};
        sol_graph_on_gradients(t->graph, update_part, t);
    }
    for (int64_t i = 0; i < t->config->train.accumulate; i++) {
        micro_batch b = batch_at(t, i);
        double loss;
        int64_t n;
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        if (study_due(t) && i + 1 == t->config->train.accumulate) sol_study_watch(t->study, t->graph);
        SOL_TRY(sol_job_teacher_feed(t->config, &t->teacher, t->graph, &t->batcher,
                                     drawn + (uint64_t)(i * t->config->train.batch), err));
        sol_graph_accumulate(t->graph, b.inputs, b.targets, b.doc_start, 1.0f / (float)counted, &loss, &n);
        sum += loss;
        if (sol_job_has_teacher(t->config)) add_distilled(&d, sol_graph_last_distilled(t->graph));
    }
    r->loss = sum / (double)counted; /* NaN when nothing counts: the step is skipped */
    r->has_distill = sol_job_has_teacher(t->config);
    r->has_hidden = r->has_distill && t->config->distill.hidden_weight > 0;
    r->objective = r->has_distill ? d.objective / (double)counted : r->loss;
    r->distill_loss = d.distill / (double)counted;
    r->hidden_loss = d.hidden / (double)counted;
    r->has_relation = r->has_distill && t->config->distill.relation_weight > 0;
    r->relation_loss = d.relation / (double)counted;
    r->grad_norm = t->config->optim.fused ? sqrt(t->fused.square)
                                          : sol_global_norm(t->ctx, sol_graph_grads(t->graph), t->model->n_elements);
    return SOL_OK;
}

/* Weights before the step, gradients of it. */
static sol_status record_study(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    sol_study_at at = {.step = (int64_t)t->step,
                       .tokens = (int64_t)t->tokens,
                       .lambda = r->lambda,
                       .lr = r->lr,
                       .loss = r->loss};
    return study_due(t) ? sol_study_record(t->study, t->graph, &at, err) : SOL_OK;
}

static void update(sol_trainer *t, const sol_step_record *r)
{
    float scale = sol_clip_scale(r->grad_norm, t->config->train.grad_clip);
    sol_adamw_update(t->ctx, t->optim, t->model, sol_graph_grads(t->graph), scale, (float)r->lr);
}

/* A phase after a step. */
typedef struct step_phase {
    sol_phase phase;
    char what[64];
} step_phase;

static void step_phase_begin(step_phase *f, const sol_trainer *t, const char *what, const char *unit)
{
    snprintf(f->what, sizeof f->what, "step %" PRIu64 "/%" PRId64 "  %s", t->step, t->config->train.steps, what);
    f->phase = (sol_phase){t->program, f->what, unit, sol_clock()};
}

/* sol_eval_watch: never interrupted, for the step is done and its line wants the figure. */
static bool watch_step_phase(void *phase, int64_t done, int64_t total)
{
    (void)sol_phase_show(phase, done, total);
    return true;
}

/* A loss that is not a number is a result (null in the line), not a failure of the run. */
static sol_status measure(sol_trainer *t, sol_net *net, bool *has, double *loss, sol_err *err)
{
    sol_err why = {0};
    sol_eval_result result = {0};
    step_phase f;
    step_phase_begin(&f, t, "evaluating", "tokens");
    sol_eval_opts o = {.windows = t->windows, .watch = {.fn = watch_step_phase, .user = &f.phase}};
    sol_status st = sol_eval_windows(net, &t->eval.file.tokens, &o, &result, &why);
    *has = true;
    *loss = st == SOL_OK ? result.loss : NAN;
    if (st == SOL_ERR_NONFINITE) sol_log_line(&t->program->log, SOL_LOG_WARN, "evaluation: %s", why.text);
    return st == SOL_OK || st == SOL_ERR_NONFINITE ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

/* As with the loss: scores that are not numbers do not end the run, the line goes without. */
static sol_status measure_tasks(sol_trainer *t, sol_net *net, sol_step_record *r, sol_err *err)
{
    step_phase f;
    sol_task_opts o = {.watch = {.fn = watch_step_phase, .user = &f.phase}};
    for (int i = 0; i < t->n_tasks; i++) {
        step_phase_begin(&f, t, t->tasks[i].kind->name, "items");
        sol_err why = {0};
        sol_status st = sol_task_run(net, t->tasks[i].task, &o, &t->tasks[i].result, &why);
        if (st != SOL_OK && st != SOL_ERR_NONFINITE) return sol_fail(err, st, "%s: %s", t->tasks[i].path, why.text);
        if (st != SOL_OK) {
            sol_log_line(&t->program->log, SOL_LOG_WARN, "%s: %s", t->tasks[i].path, why.text);
            return SOL_OK;
        }
        sol_log_line(&t->program->log, SOL_LOG_INFO, "%s: acc %.4f of %" PRId64 " items", t->tasks[i].kind->name, t->tasks[i].result.acc,
                     t->tasks[i].result.n);
    }
    r->tasks = t->tasks;
    r->n_tasks = t->n_tasks;
    return SOL_OK;
}

/* Q(W) at lambda 0 in float. */
static sol_status evaluate_latent(sol_trainer *t, sol_step_record *r, bool tasks, sol_err *err)
{
    sol_net *net = NULL;
    sol_status st = sol_net_from_model(&net, t->ctx, t->model, t->tokenizer, &t->quant, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_eval, &r->eval_loss, err);
    if (st == SOL_OK && tasks) st = measure_tasks(t, net, r, err);
    sol_net_free(&net);
    return st;
}

/* What an export would write, by the kernels it ships with: bit for bit where the job says what
 * embedding and head are rounded to, else with them in f16. */
static sol_status evaluate_packed(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_quant_spec *spec = &t->quant;
    sol_dtype type = spec->embed_type != SOL_F32 ? spec->embed_type : SOL_F16;
    sol_net *net = NULL;
    sol_packed_model packed = {0};
    sol_err why = {0};
    sol_status st = sol_packed_model_from(t->ctx, &packed, t->model, spec, type, &why);
    if (st == SOL_ERR_NONFINITE) { /* weights that cannot ship, with the same consequence as a loss that is no number */
        sol_log_line(&t->program->log, SOL_LOG_WARN, "packing: %s", why.text);
        r->has_packed = true;
        r->packed_loss = NAN;
        return SOL_OK;
    }
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    packed.tokenizer = t->tokenizer; /* lent, for the tasks */
    st = sol_net_from_packed(&net, t->ctx, &packed, NULL, err);
    if (st == SOL_OK) st = measure(t, net, &r->has_packed, &r->packed_loss, err);
    if (st == SOL_OK) st = measure_tasks(t, net, r, err);
    sol_net_free(&net);
    packed.tokenizer = NULL;
    sol_packed_model_free(&packed);
    return st;
}

static sol_status evaluate(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    bool packs = sol_quant_packable(&t->quant);
    bool latent = t->config->train.eval_form != SOL_EVAL_PACKED;
    sol_status st = latent ? evaluate_latent(t, r, !packs, err) : SOL_OK;
    return st == SOL_OK && packs ? evaluate_packed(t, r, err) : st;
}

static bool was_evaluated(const sol_step_record *r)
{
    return r->has_eval || r->has_packed;
}

/* What the best checkpoint is chosen by. */
static double score(const sol_step_record *r)
{
    return r->has_eval ? r->eval_loss : r->packed_loss;
}

sol_status sol_trainer_prune(sol_trainer *t, sol_err *err)
{
    return sol_run_dir_prune(&t->dir, t->config->checkpoint.keep, t->config->checkpoint.best ? t->best_step : 0, err);
}

static sol_checkpoint_view lend_state(const sol_trainer *t)
{
    sol_checkpoint_view v = {.model = t->model,
                             .tokenizer = t->tokenizer,
                             .config_yaml = t->config_yaml,
                             .quant = t->quant,
                             .windows = t->windows,
                             .optim = t->optim,
                             .state = {.step = t->step,
                                       .tokens = t->tokens,
                                       .drawn = t->batcher.drawn,
                                       .skipped = t->skipped,
                                       .seed = (uint64_t)t->config->run.seed,
                                       .best_eval_loss = t->best_eval_loss,
                                       .best_step = t->best_step,
                                       .metrics_bytes = t->dir.metrics_bytes,
                                       .ema_loss = t->ema_loss,
                                       .data_digest = t->train.file.digest,
                                       .teacher_digest = t->teacher.digest}};
    if (t->study) v.study = sol_study_state(t->study, &v.study_bytes);
    return v;
}

sol_status sol_trainer_save(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    if (t->saved_step == (int64_t)t->step) return SOL_OK;
    sol_live_show(t->program, true, "step %" PRIu64 "/%" PRId64 "  saving", t->step, t->config->train.steps);
    sol_run_dir_checkpoint(&t->dir, t->step, path);
    SOL_TRY(sol_run_dir_metrics_sync(&t->dir, err));
    sol_checkpoint_view v = lend_state(t);
    SOL_TRY(sol_checkpoint_write(&v, path, t->model->dtype, err));
    t->saved_step = (int64_t)t->step;
    return sol_trainer_prune(t, err);
}

/* ---- progress ---- */

/* NaN has a sign, which means nothing. */
static double unsigned_nan(double x)
{
    return isnan(x) ? (double)NAN : x;
}

enum { EMA_STEPS = 20 }; /* of the loss in the live line */

/* The means since the last log line, of steps that were not skipped. */
static const char *mean_losses(const sol_trainer *t, const sol_step_record *r, char out[96])
{
    double n = (double)t->loss_count;
    if (t->loss_count == 0)
        snprintf(out, 96, "loss %.4f (skipped)", unsigned_nan(r->loss));
    else if (r->has_distill)
        snprintf(out, 96, "objective %.4f  loss %.4f (means of %" PRId64 " steps)", t->objective_sum / n, t->loss_sum / n, t->loss_count);
    else
        snprintf(out, 96, "loss %.4f (mean of %" PRId64 " step%s)", t->loss_sum / n, t->loss_count, t->loss_count == 1 ? "" : "s");
    return out;
}

/* The loss of the last steps: the two spaces let a narrow terminal do without what it is the mean of. */
static const char *smooth_text(const sol_trainer *t, char out[96])
{
    uint64_t step = t->step;
    snprintf(out, 96, "loss %.4f  (mean of %s%d step%s)", t->ema_loss, step > EMA_STEPS ? "about " : "",
             (int)(step < EMA_STEPS ? step : EMA_STEPS), step == 1 ? "" : "s");
    return out;
}

static void show_progress(sol_trainer *t, const sol_step_record *r)
{
    const sol_config *c = t->config;
    uint64_t done = r->step - t->first_step, left = (uint64_t)c->train.steps - r->step;
    char rate[32], rest[48], skipped[48] = "", losses[96], eval[80] = "";
    sol_left_text(t->started, (double)done, (double)(done + left), rest);
    if (t->skipped) snprintf(skipped, sizeof skipped, "  skipped %" PRIu64, t->skipped);
    sol_live_show(t->program, was_evaluated(r), "step %" PRIu64 "/%" PRId64 "  %s  lambda %.3f  %s tok/s%s  %s", r->step,
                  c->train.steps, smooth_text(t, losses), r->lambda, sol_count_text(r->tok_s, rate), skipped, rest);
    bool due = r->step % (uint64_t)c->train.log_every == 0 || was_evaluated(r) || left == 0;
    if (!due) return;
    uint64_t steps = r->step - t->logged_step;
    double speed = (double)steps * (double)sol_trainer_step_tokens(t) / t->step_seconds;
    char share[32] = "";
    if (t->step_peak > 0) {
        if (speed > t->step_peak) t->step_peak = speed;
        snprintf(share, sizeof share, " (%.0f %% of peak)", 100 * speed / t->step_peak);
    }
    size_t used = 0;
    if (r->has_eval) used = (size_t)snprintf(eval, sizeof eval, "  eval %.4f", r->eval_loss);
    if (r->has_packed && used < sizeof eval) snprintf(eval + used, sizeof eval - used, "  packed %.4f", r->packed_loss);
    /* On a terminal the live line says it already: only what was measured stays on the screen, the rest goes to
     * log.txt. */
    sol_log_line(&t->program->log, t->program->terminal && !was_evaluated(r) ? SOL_LOG_DEBUG : SOL_LOG_INFO,
                 "step %" PRIu64 "/%" PRId64 "  %s  lambda %.3f  lr %.3g  norm %.3f  %s tok/s%s  %s%s%s",
                 r->step, c->train.steps, mean_losses(t, r, losses), r->lambda, r->lr, unsigned_nan(r->grad_norm), sol_count_text(speed, rate),
                 share, rest, skipped, eval);
    t->logged_step = r->step;
    t->loss_sum = t->objective_sum = t->step_seconds = 0;
    t->loss_count = 0;
}

/* The mean of the first steps, a moving average from then on. */
static void smooth_loss(sol_trainer *t, const sol_step_record *r)
{
    double share = 1.0 / (double)(r->step < EMA_STEPS ? r->step : EMA_STEPS);
    t->ema_loss += share * (r->loss - t->ema_loss);
    t->loss_sum += r->loss;
    t->objective_sum += r->objective;
    t->loss_count++;
}

static const char *saved_text(const sol_trainer *t, char out[64])
{
    snprintf(out, 64, "there is no checkpoint yet");
    if (t->saved_step >= 0) snprintf(out, 64, "the last checkpoint is of step %" PRId64, t->saved_step);
    return out;
}

/* A checkpoint that is due. A full disk ends the run or not, by checkpoint.on_full; at the last step always. */
static sol_status save_due(sol_trainer *t, bool last, sol_err *err)
{
    char saved[64];
    sol_err why = {0};
    sol_status st = sol_trainer_save(t, &why);
    if (st == SOL_OK) return SOL_OK;
    if (st != SOL_ERR_NOSPACE || last || !t->dir.wait_when_full) return sol_fail(err, st, "%s; %s", why.text, saved_text(t, saved));
    sol_log_line(&t->program->log, SOL_LOG_WARN, "step %" PRIu64 ": %s; training goes on, %s", t->step, why.text,
                 saved_text(t, saved));
    return SOL_OK;
}

/* What computes the steps from this record on, at the end of the line (in place of its closing brace). */
static size_t add_origin(const sol_trainer *t, char *line, size_t n)
{
    char features[SOL_CPU_TEXT];
    n -= 2;
    return n + (size_t)snprintf(line + n, SOL_STEP_LINE - n,
                                ", \"version\": \"%s\", \"commit\": \"%s\", \"tier\": \"%s\", \"features\": \"%s\", \"threads\": %d, "
                                "\"config_digest\": \"%016" PRIx64 "\", \"data_digest\": \"%016" PRIx64 "\"}\n",
                                SOL_VERSION, sol_build_commit, sol_tier_name(t->ctx->k.features),
                                sol_cpu_text(t->ctx->k.features, features), sol_pool_threads(t->ctx->pool),
                                t->config_digest, t->train.file.digest);
}

/* The line with the text at its end, which is of any length. */
static sol_status add_sampled(sol_trainer *t, const sol_step_record *r, const char *line, size_t n, sol_err *err)
{
    sol_text out = {0};
    json_t *value = json_string(r->sample);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    sol_status st = quoted ? sol_text_add(&out, err, "%.*s, \"sample\": %s}\n", (int)n - 2, line, quoted)
                           : sol_fail(err, SOL_ERR_NOMEM, "out of memory for a sample");
    if (st == SOL_OK) st = sol_run_dir_metrics_add(&t->dir, out.data, out.n, err);
    sol_free(out.data);
    free(quoted);
    json_decref(value);
    return st;
}

static sol_status add_metrics(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    char line[SOL_STEP_LINE];
    size_t n = sol_step_record_json(r, line), waited = t->dir.waiting.n;
    if (r->step == t->first_step + 1) n = add_origin(t, line, n);
    sol_status st = r->sample ? add_sampled(t, r, line, n, err) : sol_run_dir_metrics_add(&t->dir, line, n, err);
    if (st == SOL_OK && t->dir.waiting.n && !waited)
        sol_log_line(&t->program->log, SOL_LOG_WARN, "step %" PRIu64 ": the disk is full: lines of metrics.jsonl wait in memory",
                     r->step);
    return st;
}

static sol_status count_skipped(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    double loss = unsigned_nan(r->loss), norm = unsigned_nan(r->grad_norm);
    char saved[64];
    t->skipped++;
    sol_log_line(&t->program->log, SOL_LOG_WARN,
                 "step %" PRIu64 ": loss %g, gradient norm %g: skipped, parameters stay as they were", r->step,
                 loss, norm);
    if (t->skipped <= (uint64_t)t->config->train.max_skipped) return SOL_OK;
    return sol_fail(err, SOL_ERR_NONFINITE,
                    "step %" PRIu64 ": loss %g, gradient norm %g; %" PRIu64
                    " skipped steps are more than train.max_skipped; %s",
                    r->step, loss, norm, t->skipped, saved_text(t, saved));
}

/* What follows the update: evaluation, line, progress, checkpoint. */
static sol_status finish_step(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    const sol_config *c = t->config;
    bool last = r->step == (uint64_t)c->train.steps, best = false;
    sol_status st = SOL_OK, stop = SOL_OK;
    if (r->skipped)
        stop = count_skipped(t, r, err);
    else
        smooth_loss(t, r);
    bool eval_due = c->train.eval_every > 0 && (last || r->step % (uint64_t)c->train.eval_every == 0);
    if (eval_due && stop == SOL_OK) st = evaluate(t, r, err);
    if (st == SOL_OK && was_evaluated(r) && score(r) < t->best_eval_loss) {
        best = true;
        t->best_eval_loss = score(r);
        t->best_step = r->step;
    }
    bool sample_due = c->train.sample_every > 0 && (last || r->step % (uint64_t)c->train.sample_every == 0);
    if (sample_due && st == SOL_OK && stop == SOL_OK) st = sol_trainer_sample(t, r, err);
    if (st == SOL_OK) st = add_metrics(t, r, stop == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = sol_trainer_add_events(t, r, stop == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = stop;
    if (st != SOL_OK) return st;
    show_progress(t, r);
    bool save = last || r->step % (uint64_t)c->checkpoint.every == 0 || (best && c->checkpoint.best);
    return save ? save_due(t, last, err) : SOL_OK;
}

static double study_seconds(const sol_trainer *t)
{
    return t->study ? sol_study_seconds(t->study) : 0;
}

sol_status sol_trainer_step(sol_trainer *t, sol_err *err)
{
    int64_t step = (int64_t)t->step, n_steps = t->config->train.steps;
    sol_step_record r = {.step = t->step + 1, .tokens = t->tokens + (uint64_t)sol_trainer_step_tokens(t)};
    uint64_t drawn = t->batcher.drawn;
    double begun = sol_clock() - study_seconds(t);
    r.has_study = study_due(t);
    r.lambda = sol_residual_lambda(&t->residual, step, n_steps);
    r.lr = sol_lr_at(&t->lr, step, n_steps);
    sol_status st = accumulate(t, &r, err);
    if (st == SOL_OK) st = record_study(t, &r, err);
    if (st != SOL_OK) {
        t->batcher.drawn = drawn;
        return st;
    }
    r.skipped = !isfinite(r.loss) || !isfinite(r.grad_norm) || !isfinite(r.objective);
    if (!r.skipped && !t->config->optim.fused) update(t, &r);
    t->step = r.step;
    t->tokens = r.tokens;
    double took = sol_clock() - study_seconds(t) - begun;
    r.tok_s = (double)sol_trainer_step_tokens(t) / took;
    t->step_seconds += took;
    return finish_step(t, &r, err);
}

static sol_status interrupted(sol_trainer *t, sol_err *err)
{
    sol_status st = sol_trainer_save(t, err);
    if (st != SOL_OK) return st;
    char loss[32] = "";
    if (t->step) snprintf(loss, sizeof loss, " at loss %.4f", t->ema_loss);
    return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted after step %" PRIu64 " of %" PRId64 "%s, saved; --resume goes on",
                    t->step, t->config->train.steps, loss);
}

sol_status sol_trainer_run(sol_trainer *t, sol_err *err)
{
    sol_status st = SOL_OK;
    char duration[32], peak[32];
    t->started = sol_clock();
    t->first_step = t->logged_step = t->step;
    while (st == SOL_OK && t->step < (uint64_t)t->config->train.steps)
        st = sol_interrupted() ? SOL_ERR_INTERRUPTED : sol_trainer_step(t, err);
    sol_live_clear(t->program);
    if (st == SOL_ERR_INTERRUPTED) st = interrupted(t, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_INFO,
                     "done: %" PRIu64 " steps, %" PRIu64 " tokens, %s, memory at most %s; %s/ckpt/step-%06" PRIu64
                     ".h5",
                     t->step, t->tokens, sol_duration_text(sol_clock() - t->started, duration),
                     sol_bytes_text((double)sol_peak_rss(), peak), t->dir.path, t->step);
    else
        sol_log_line(&t->program->log, SOL_LOG_DEBUG, "%s", err ? err->text : sol_status_text(st));
    return st;
}
