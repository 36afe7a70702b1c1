/* Shows what a run learns: the event file of TensorBoard, and a text that the model writes. The
 * loop calls it when one is due. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "talk.h"

sol_status sol_trainer_watch_open(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&t->dir, "events.out.tfevents.solera", path);
    return t->config->train.tensorboard ? sol_events_open(&t->events, path, t->step, err) : SOL_OK;
}

void sol_trainer_watch_close(sol_trainer *t)
{
    sol_events_close(&t->events);
    sol_free(t->sample.data);
}

/* ---- the event file ---- */

/* The mean over the layers that have the measure; NaN: none has. */
static double mean_measure(const sol_study_record_view *s, int m)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < s->n_layers; i++) {
        float x = s->measure[m * s->n_layers + i];
        if (!isfinite(x)) continue;
        sum += (double)x;
        n++;
    }
    return n ? sum / n : NAN;
}

static void add_study(sol_events *e, const sol_study_record_view *s)
{
    char tag[128];
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
        double x = mean_measure(s, m);
        snprintf(tag, sizeof tag, "study/%s", sol_measure_at(m)->name);
        if (isfinite(x)) sol_events_scalar(e, tag, x);
    }
    for (int i = 0; i < s->n_layers; i++) {
        double range = s->layers[i].w_range;
        snprintf(tag, sizeof tag, "weights/%s", s->layers[i].name);
        sol_events_histogram(e, tag, -range, 2 * range / SOL_HIST_W_BINS,
                             s->w + i * SOL_HIST_W_BINS, SOL_HIST_W_BINS);
    }
}

static void add_scalars(sol_events *e, const sol_step_record *r)
{
    char tag[128];
    sol_events_scalar(e, "train/loss", r->loss);
    sol_events_scalar(e, "train/lr", r->lr);
    sol_events_scalar(e, "train/lambda", r->lambda);
    sol_events_scalar(e, "train/grad_norm", r->grad_norm);
    sol_events_scalar(e, "train/tok_s", r->tok_s);
    if (r->has_distill) sol_events_scalar(e, "train/objective", r->objective);
    if (r->has_distill) sol_events_scalar(e, "train/distill_loss", r->distill_loss);
    if (r->has_hidden) sol_events_scalar(e, "train/hidden_loss", r->hidden_loss);
    if (r->has_relation) sol_events_scalar(e, "train/relation_loss", r->relation_loss);
    if (r->has_eval) sol_events_scalar(e, "eval/eval_loss", r->eval_loss);
    if (r->has_packed) sol_events_scalar(e, "eval/packed_loss", r->packed_loss);
    for (int i = 0; i < r->n_tasks; i++) {
        snprintf(tag, sizeof tag, "tasks/%s", r->tasks[i].kind->name);
        sol_events_scalar(e, tag, r->tasks[i].result.acc);
    }
}

/* A full disk costs the record where the job goes on without space. */
sol_status sol_trainer_add_events(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    sol_err why = {0};
    if (!t->events) return SOL_OK;
    sol_events_begin(t->events, r->step);
    add_scalars(t->events, r);
    if (r->has_study) {
        sol_study_record_view last = sol_study_newest(t->study);
        add_study(t->events, &last);
    }
    if (r->sample) sol_events_text(t->events, "sample", r->sample);
    sol_status st = sol_events_end(t->events, &why);
    if (st == SOL_ERR_NOSPACE && t->dir.wait_when_full) {
        sol_log_line(&t->program->log, SOL_LOG_DEBUG, "step %" PRIu64 ": %s", r->step, why.text);
        return SOL_OK;
    }
    return st == SOL_OK ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

/* ---- a text of the model ---- */

/* Of BOS and the prompt, or of BOS alone. */
static sol_status encode_prompt(const sol_trainer *t, sol_ids *ids, sol_err *err)
{
    const char *prompt = t->config->train.sample_prompt;
    int64_t bos = t->model->config.bos_token_id;
    size_t n = strlen(prompt);
    int flags =
        sol_tokenizer_begin(t->tokenizer, prompt, n, t->config->data.special == SOL_SPECIAL_YES);
    SOL_TRY(sol_tokenizer_encode(t->tokenizer, prompt, n, flags, ids, err));
    if (ids->n > 0) return SOL_OK;
    if (bos < 0)
        return sol_config_fail(t->config, "train.sample_prompt", err,
                               "is empty, and the model has no BOS token to begin with");
    SOL_TRY(sol_grow_array((void **)&ids->id, &ids->capacity, 1, sizeof *ids->id, err));
    ids->id[ids->n++] = (int32_t)bos;
    return SOL_OK;
}

/* Line breaks and control characters become blanks, for the log. */
static void log_sample(const sol_trainer *t)
{
    sol_text line = {0};
    sol_text_add(&line, NULL, "%s", t->sample.data);
    if (!line.data) return;
    for (char *c = line.data; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
    sol_log_line(&t->program->log, SOL_LOG_INFO, "step %" PRIu64 ": %s", t->step, line.data);
    sol_free(line.data);
}

sol_status sol_trainer_sample(sol_trainer *t, sol_step_record *r, sol_err *err)
{
    sol_net *net = NULL;
    sol_ids ids = {0};
    sol_generate_result result = {0};
    sol_err why = {0};
    const char *prompt = t->config->train.sample_prompt;
    t->sample.n = 0;
    sol_status st = encode_prompt(t, &ids, err);
    int64_t left = t->model->config.max_position_embeddings - (int64_t)ids.n + 1;
    sol_generate_opts o = {.max_tokens = sol_min_i64(left, SOL_SAMPLE_TOKENS),
                           .sampler = {.temperature = 0.8f,
                                       .top_p = 1,
                                       .repetition_penalty = 1,
                                       .seed = (uint64_t)t->config->run.seed},
                           .text = sol_talk_keep,
                           .user = &t->sample};
    if (st == SOL_OK && left < 1)
        st = sol_config_fail(t->config, "train.sample_prompt", err,
                             "is longer than the model's context");
    if (st == SOL_OK)
        st = sol_net_from_model(&net, t->ctx, t->model, t->tokenizer, &t->quant, NULL, err);
    if (st == SOL_OK) st = sol_text_add(&t->sample, err, "%s", prompt);
    if (st == SOL_OK) st = sol_generate(net, ids.id, (int64_t)ids.n, &o, &result, &why);
    sol_free(result.ids);
    sol_ids_free(&ids);
    sol_net_free(&net);
    if (st == SOL_ERR_NONFINITE) { /* as with a loss that is no number: the line goes without */
        sol_log_line(&t->program->log, SOL_LOG_WARN, "sample: %s", why.text);
        return SOL_OK;
    }
    if (st != SOL_OK) return why.text[0] ? sol_fail(err, st, "%s", why.text) : st;
    r->sample = t->sample.data;
    log_sample(t);
    return SOL_OK;
}
