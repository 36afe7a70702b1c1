/* Writes what is told about a step: its line in metrics.jsonl, the live line and the log. The
 * loop calls it after each step. */
#include "trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* ---- metrics.jsonl ---- */

static size_t add_digest(char *line, size_t n, const char *of, uint64_t digest)
{
    return n + (size_t)snprintf(line + n, SOL_STEP_LINE - n, ", \"%s_digest\": \"%016" PRIx64 "\"",
                                of, digest);
}

/* What computes the steps from this record on, at the end of the line (in place of its closing
 * brace). */
static size_t add_origin(const sol_trainer *t, char *line, size_t n)
{
    char features[SOL_CPU_TEXT];
    n -= 2;
    n += (size_t)snprintf(
        line + n, SOL_STEP_LINE - n,
        ", \"version\": \"%s\", \"commit\": \"%s\", \"tier\": \"%s\", \"features\": \"%s\", "
        "\"threads\": %d",
        SOL_VERSION, sol_build_commit, sol_tier_name(t->ctx->kernels.features),
        sol_cpu_text(t->ctx->kernels.features, features), sol_pool_threads(t->ctx->pool));
    n = add_digest(line, n, "config", t->config_digest);
    if (t->model_digest) n = add_digest(line, n, "model", t->model_digest);
    if (t->teacher.digest) n = add_digest(line, n, "teacher", t->teacher.digest);
    n = add_digest(line, n, "data", t->train.digest);
    n = add_digest(line, n, "eval", t->eval_digest);
    return n + (size_t)snprintf(line + n, SOL_STEP_LINE - n, "}\n");
}

/* The line with the text at its end, which is of any length. */
static sol_status add_sampled(sol_trainer *t, const sol_step_record *r, const char *line, size_t n,
                              sol_err *err)
{
    sol_text out = {0};
    json_t *value = json_string(r->sample);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    sol_status st =
        quoted ? sol_text_add(&out, err, "%.*s, \"sample\": %s}\n", (int)n - 2, line, quoted)
               : sol_fail(err, SOL_ERR_NOMEM, "out of memory for a sample");
    if (st == SOL_OK) st = sol_run_dir_metrics_add(&t->dir, out.data, out.n, err);
    sol_free(out.data);
    free(quoted);
    json_decref(value);
    return st;
}

sol_status sol_trainer_add_metrics(sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    char line[SOL_STEP_LINE];
    size_t n = sol_step_record_json(r, line), waited = t->dir.waiting.n;
    if (r->step == t->first_step + 1) n = add_origin(t, line, n);
    SOL_TRY(r->sample ? add_sampled(t, r, line, n, err)
                      : sol_run_dir_metrics_add(&t->dir, line, n, err));
    if (t->dir.waiting.n && !waited)
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "step %" PRIu64 ": the disk is full: lines of metrics.jsonl wait in memory",
                     r->step);
    return SOL_OK;
}

/* ---- the log ---- */

enum { EMA_STEPS = 20 }; /* of the loss in the live line */

/* NaN has a sign, which means nothing. */
static double unsigned_nan(double x)
{
    return isnan(x) ? (double)NAN : x;
}

/* The mean of the first steps, a moving average from then on; and the sums of the log line. */
static void add_to_means(sol_trainer *t, const sol_step_record *r)
{
    t->step_seconds += r->seconds;
    t->exchange_seconds += r->exchange * r->seconds;
    t->hidden_seconds += r->hidden * r->seconds;
    if (r->skipped) return;
    double share = 1.0 / (double)(r->step < EMA_STEPS ? r->step : EMA_STEPS);
    t->ema_loss += share * (r->loss - t->ema_loss);
    t->loss_sum += r->loss;
    t->objective_sum += r->objective;
    t->loss_count++;
}

/* The means since the last log line, of steps that were not skipped. */
static const char *mean_losses(const sol_trainer *t, const sol_step_record *r, char out[96])
{
    double n = (double)t->loss_count;
    if (t->loss_count == 0)
        snprintf(out, 96, "loss %.4f (skipped)", unsigned_nan(r->loss));
    else if (r->has_distill)
        snprintf(out, 96, "objective %.4f  loss %.4f (means of %" PRId64 " step%s)",
                 t->objective_sum / n, t->loss_sum / n, t->loss_count,
                 t->loss_count == 1 ? "" : "s");
    else
        snprintf(out, 96, "loss %.4f (mean of %" PRId64 " step%s)", t->loss_sum / n, t->loss_count,
                 t->loss_count == 1 ? "" : "s");
    return out;
}

/* The loss of the last steps: the two spaces let a narrow terminal do without what it is the mean
 * of. */
static const char *smooth_text(const sol_trainer *t, char out[96])
{
    uint64_t step = t->step;
    snprintf(out, 96, "loss %.4f  (mean of %s%d step%s)", t->ema_loss,
             step > EMA_STEPS ? "about " : "", (int)(step < EMA_STEPS ? step : EMA_STEPS),
             step == 1 ? "" : "s");
    return out;
}

/* The speed since the last log line, in tokens a second, and its share of the peak. */
static double log_speed(sol_trainer *t, const sol_step_record *r, char share[32])
{
    uint64_t steps = r->step - t->logged_step;
    double speed = (double)steps * (double)sol_trainer_step_tokens(t) / t->step_seconds;
    share[0] = '\0';
    if (t->step_peak == 0) return speed;
    if (speed > t->step_peak) t->step_peak = speed;
    snprintf(share, 32, " (%.0f %% of peak)", 100 * speed / t->step_peak);
    return speed;
}

/* "", or the shares of the exchange since the last log line. */
static const char *exchange_text(const sol_trainer *t, const sol_step_record *r, char out[48])
{
    out[0] = '\0';
    if (r->has_exchange)
        snprintf(out, 48, ", exchange %.0f %%, hidden %.0f %%",
                 100 * t->exchange_seconds / t->step_seconds,
                 100 * t->hidden_seconds / t->step_seconds);
    return out;
}

void sol_trainer_log_step(sol_trainer *t, const sol_step_record *r)
{
    const sol_config *c = t->config;
    bool evaluated = r->has_eval || r->has_packed;
    uint64_t done = r->step - t->first_step, left = (uint64_t)c->train.steps - r->step;
    char rate[32], rest[48], share[32], exchange[48], skipped[48] = "", losses[96], eval[80] = "";
    add_to_means(t, r);
    sol_left_text(t->started, (double)done, (double)(done + left), rest);
    if (t->skipped) snprintf(skipped, sizeof skipped, "  skipped %" PRIu64, t->skipped);
    sol_live_show(t->program, evaluated,
                  "step %" PRIu64 "/%" PRId64 "  %s  lambda %.3f  %s tok/s%s%s  %s", r->step,
                  c->train.steps, smooth_text(t, losses), r->lambda, sol_count_text(r->tok_s, rate),
                  exchange_text(t, r, exchange), skipped, rest);
    if (r->step % (uint64_t)c->train.log_every && !evaluated && left) return;
    double speed = log_speed(t, r, share);
    size_t used = 0;
    if (r->has_eval) used = (size_t)snprintf(eval, sizeof eval, "  eval %.4f", r->eval_loss);
    if (r->has_packed && used < sizeof eval)
        snprintf(eval + used, sizeof eval - used, "  packed %.4f", r->packed_loss);
    /* On a terminal the live line says it already: only what was measured stays on the screen, the
     * rest goes to log.txt. */
    sol_log_line(
        &t->program->log, t->program->terminal && !evaluated ? SOL_LOG_DEBUG : SOL_LOG_INFO,
        "step %" PRIu64 "/%" PRId64 "  %s  lambda %.3f  lr %.3g  norm %.3f  %s tok/s%s%s  %s%s%s",
        r->step, c->train.steps, mean_losses(t, r, losses), r->lambda, r->lr,
        unsigned_nan(r->grad_norm), sol_count_text(speed, rate), share,
        exchange_text(t, r, exchange), rest, skipped, eval);
    t->logged_step = r->step;
    t->loss_sum = t->objective_sum = 0;
    t->step_seconds = t->exchange_seconds = t->hidden_seconds = 0;
    t->loss_count = 0;
}

void sol_trainer_warn_skipped(const sol_trainer *t, const sol_step_record *r)
{
    if (r->empty) {
        sol_log_line(&t->program->log, SOL_LOG_INFO,
                     "step %" PRIu64 ": no token that counts, as of an answer: nothing to learn",
                     r->step);
        return;
    }
    sol_log_line(&t->program->log, SOL_LOG_WARN,
                 "step %" PRIu64
                 ": loss %g, gradient norm %g: skipped, parameters stay as they were",
                 r->step, unsigned_nan(r->loss), unsigned_nan(r->grad_norm));
}

sol_status sol_trainer_fail_skipped(const sol_trainer *t, const sol_step_record *r, sol_err *err)
{
    char saved[64];
    return sol_fail(err, SOL_ERR_NONFINITE,
                    "step %" PRIu64 ": loss %g, gradient norm %g; %" PRIu64
                    " skipped steps are more than train.max_skipped; %s",
                    r->step, unsigned_nan(r->loss), unsigned_nan(r->grad_norm), t->skipped,
                    sol_trainer_saved_text(t, saved));
}
