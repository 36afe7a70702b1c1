/* Writes the checkpoint after a step: lends the live state to the writer and removes older ones. */
#include "trainer.h"

#include <inttypes.h>

sol_status sol_trainer_prune(sol_trainer *t, sol_err *err)
{
    return sol_run_dir_prune(&t->dir, t->config->checkpoint.keep,
                             t->config->checkpoint.best ? t->best_step : 0, err);
}

static sol_checkpoint_view lend_state(const sol_trainer *t)
{
    sol_checkpoint_view v = {.model = t->model,
                             .tokenizer = t->tokenizer,
                             .config_yaml = t->config_yaml,
                             .quant = t->quant,
                             .windows = t->windows,
                             .optim = t->optim,
                             .lanes = t->lanes,
                             .state = {.step = t->step,
                                       .tokens = t->tokens,
                                       .drawn = t->batcher.drawn,
                                       .skipped = t->skipped,
                                       .seed = (uint64_t)t->config->run.seed,
                                       .best_eval_loss = t->best_eval_loss,
                                       .full_loss = t->full_loss,
                                       .best_step = t->best_step,
                                       .metrics_bytes = t->dir.metrics_bytes,
                                       .ema_loss = t->ema_loss,
                                       .model_digest = t->model_digest,
                                       .data_digest = t->train.digest,
                                       .teacher_digest = t->teacher.digest,
                                       .cache_digest = t->teacher.cache_digest,
                                       .eval_digest = t->eval_digest}};
    if (t->study) v.study = sol_study_state(t->study, &v.study_bytes);
    return v;
}

/* Whatever rank 0 fails at, it takes the moments of the others, who wait to send them. */
static sol_status write_checkpoint(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_live_show(t->program, true, "step %" PRIu64 "/%" PRId64 "  saving", t->step,
                  t->config->train.steps);
    sol_run_dir_checkpoint(&t->dir, t->step, path);
    sol_status st = sol_run_dir_metrics_sync(&t->dir, err);
    if (st != SOL_OK) {
        sol_lanes_gather_moments(t->lanes, t->optim, NULL, NULL, NULL);
        return st;
    }
    sol_checkpoint_view v = lend_state(t);
    return sol_checkpoint_write(&v, path, t->model->dtype, err);
}

sol_status sol_trainer_save(sol_trainer *t, sol_err *err)
{
    if (t->saved_step == (int64_t)t->step) return SOL_OK;
    sol_status st = sol_trainer_writes(t)
                        ? write_checkpoint(t, err)
                        : sol_lanes_gather_moments(t->lanes, t->optim, NULL, NULL, err);
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    t->saved_step = (int64_t)t->step;
    return sol_dist_agree(t->dist, sol_trainer_writes(t) ? sol_trainer_prune(t, err) : SOL_OK, err);
}

const char *sol_trainer_saved_text(const sol_trainer *t, char out[64])
{
    snprintf(out, 64, "there is no checkpoint yet");
    if (t->saved_step >= 0)
        snprintf(out, 64, "the last checkpoint is of step %" PRId64, t->saved_step);
    return out;
}

sol_status sol_trainer_save_due(sol_trainer *t, sol_err *err)
{
    char saved[64];
    sol_err why = {0};
    bool last = t->step == (uint64_t)t->config->train.steps;
    sol_status st = sol_trainer_save(t, &why);
    if (st == SOL_OK) return SOL_OK;
    sol_trainer_saved_text(t, saved);
    if (st != SOL_ERR_NOSPACE || last || !t->dir.wait_when_full)
        return sol_fail(err, st, "%s; %s", why.text, saved);
    sol_log_line(&t->program->log, SOL_LOG_WARN, "step %" PRIu64 ": %s; training goes on, %s",
                 t->step, why.text, saved);
    return SOL_OK;
}
