/* The training loop, which `solera train` calls: a step (trainer_step.c), then what is due after
 * it. */
#include "trainer.h"

#include <inttypes.h>

/* Whether something that happens every so many steps (0: never), and after the last, is due. */
static bool is_due(const sol_trainer *t, int64_t every)
{
    return every > 0 &&
           (t->step == (uint64_t)t->config->train.steps || t->step % (uint64_t)every == 0);
}

/* What is due to be written about a step. */
static sol_status write_step(sol_trainer *t, sol_step_record *r, bool sample, sol_err *err)
{
    if (sample) SOL_TRY(sol_trainer_sample(t, r, err));
    SOL_TRY(sol_trainer_add_metrics(t, r, err));
    return sol_trainer_add_events(t, r, err);
}

sol_status sol_trainer_advance(sol_trainer *t, sol_err *err)
{
    const sol_config *c = t->config;
    sol_step_record r;
    sol_status st = SOL_OK;
    SOL_TRY(sol_trainer_step(t, &r, err));
    bool give_up = r.skipped && !r.empty && t->skipped > (uint64_t)c->train.max_skipped;
    bool sample = !give_up && is_due(t, c->train.sample_every);
    if (r.skipped) sol_trainer_warn_skipped(t, &r);
    if (!give_up && is_due(t, c->train.eval_every)) SOL_TRY(sol_trainer_evaluate(t, &r, err));
    if (sol_trainer_writes(t)) st = write_step(t, &r, sample, err);
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    if (give_up) return sol_dist_agree(t->dist, sol_trainer_fail_skipped(t, &r, err), err);
    sol_trainer_log_step(t, &r);
    bool best = c->checkpoint.best && t->best_step == t->step;
    return best || is_due(t, c->checkpoint.every) ? sol_trainer_save_due(t, err) : SOL_OK;
}

static sol_status interrupted(sol_trainer *t, sol_err *err)
{
    SOL_TRY(sol_trainer_save(t, err));
    char loss[32] = "";
    if (t->step) snprintf(loss, sizeof loss, " at loss %.4f", t->ema_loss);
    sol_fail(err, SOL_ERR_INTERRUPTED,
             "interrupted after step %" PRIu64 " of %" PRId64 "%s, saved; --resume goes on",
             t->step, t->config->train.steps, loss);
    return sol_dist_agree(t->dist, SOL_ERR_INTERRUPTED, err);
}

sol_status sol_trainer_run(sol_trainer *t, sol_err *err)
{
    sol_status st = SOL_OK;
    char duration[32], peak[32];
    t->started = sol_clock();
    t->first_step = t->logged_step = t->step;
    while (st == SOL_OK && t->step < (uint64_t)t->config->train.steps)
        st = sol_trainer_advance(t, err);
    sol_live_clear(t->program);
    if (st == SOL_ERR_INTERRUPTED) st = interrupted(t, err);
    if (st == SOL_OK)
        sol_log_line(&t->program->log, SOL_LOG_INFO,
                     "done: %" PRIu64 " steps, %" PRIu64
                     " tokens, %s, memory at most %s; %s/ckpt/step-%06" PRIu64 ".h5",
                     t->step, t->tokens, sol_duration_text(sol_clock() - t->started, duration),
                     sol_bytes_text((double)sol_peak_rss(), peak), t->dir.path, t->step);
    else
        sol_log_line(&t->program->log, SOL_LOG_DEBUG, "%s", err ? err->text : sol_status_text(st));
    return st;
}
