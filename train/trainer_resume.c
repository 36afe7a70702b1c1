/* The checkpoint that a resume goes on from: the newest one that is whole and that the job may go
 * on from, read on all ranks. trainer_open.c calls it, before it opens anything that depends on it.
 */
#include "base/num.h"
#include "trainer.h"

#include <inttypes.h>
#include <string.h>

sol_status sol_trainer_compare_config(sol_trainer *t, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(&t->dir, "config.yaml", path);
    if (t->saved_step >= 0 && !sol_file_exists(path)) return SOL_OK;
    return sol_job_compare_run(t->program, t->config, &t->dir, sol_max_i64(t->saved_step, 0),
                               t->saved_step < 0, &t->same, err);
}

static sol_status read_checkpoint(const sol_trainer *t, const char *path, sol_checkpoint *from,
                                  sol_err *err)
{
    sol_moments_how how = SOL_MOMENTS_READ;
    sol_phase phase = {t->program, "reading the checkpoint", "bytes", sol_clock()};
    sol_progress progress = {sol_phase_show_part, &phase};
    if (sol_dist_size(t->dist) > 1) /* open_lanes reads each rank's own */
        how = sol_trainer_writes(t) ? SOL_MOMENTS_VERIFIED : SOL_MOMENTS_LEFT;
    sol_dtype dtype = sol_config_param_dtype(t->config);
    sol_status st = sol_checkpoint_read_with(from, path, dtype, how, &progress, err);
    sol_live_clear(t->program);
    SOL_TRY(st);
    if (from->has_optim && from->file.config_yaml && from->file.tokenizer) return SOL_OK;
    sol_checkpoint_free(from);
    return sol_fail(err, SOL_ERR_FORMAT, "%s: is no checkpoint of a run", path);
}

/* A file that could not be read, or not to its end, is not a damaged one. */
static bool is_damage(sol_status st)
{
    return st != SOL_ERR_NOMEM && st != SOL_ERR_IO && st != SOL_ERR_SYSTEM &&
           st != SOL_ERR_INTERRUPTED;
}

/* On all ranks, or on none. */
static sol_status read_together(const sol_trainer *t, const char *path, sol_checkpoint *from,
                                sol_err *err)
{
    sol_status st = read_checkpoint(t, path, from, err);
    sol_status all = sol_dist_agree(t->dist, st, err);
    if (st == SOL_OK && all != SOL_OK) sol_checkpoint_free(from);
    return all;
}

/* The first of n checkpoints, newest first, that is whole, with a warning for each before it. */
static sol_status read_first_whole(sol_trainer *t, const uint64_t *steps, int n,
                                   sol_checkpoint *from, sol_err *err)
{
    for (int i = 0; i < n; i++) {
        char path[SOL_PATH_MAX];
        sol_err why = {0};
        sol_run_dir_checkpoint(&t->dir, steps[i], path);
        sol_status st = read_together(t, path, from, &why);
        if (st == SOL_OK) {
            t->saved_step = (int64_t)from->state.step;
            return SOL_OK;
        }
        if (!is_damage(st)) return sol_fail(err, st, "%s", why.text);
        if (i + 1 == n) return sol_fail(err, st, "%s; no other checkpoint is left", why.text);
        sol_log_line(&t->program->log, SOL_LOG_WARN, "%s; going back to step %" PRIu64, why.text,
                     steps[i + 1]);
    }
    return SOL_OK;
}

/* How many of n checkpoints, newest first, are too new for a run of another length: the steps
 * before them had a rate or lambda that it has not. 0 where that holds for all: the resume is
 * refused. */
static sol_status count_too_new(const sol_trainer *t, const uint64_t *steps, int n, int *too_new,
                                sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_config *was = NULL;
    *too_new = 0;
    sol_run_dir_file(&t->dir, "config.yaml", path);
    if (!sol_file_exists(path)) return SOL_OK;
    SOL_TRY(sol_config_read(&was, path, err));
    bool fatal = was->train.steps != t->config->train.steps;
    if (t->config->train.lanes == 0) was->train.lanes = 0;
    sol_status st = SOL_OK;
    int i = 0;
    for (; i < n; i++) {
        if (!fatal) break;
        char *text = NULL;
        st = sol_config_diff(was, t->config, (int64_t)steps[i], &text, &fatal, err);
        sol_free(text);
        if (st != SOL_OK) break;
    }
    if (st == SOL_OK && !fatal && i > 0) *too_new = i - 1;
    sol_config_free(&was);
    return st;
}

/* A run that goes on with more steps goes back to before its schedules fell, if it can. */
static sol_status drop_too_new(sol_trainer *t, uint64_t *steps, int *n, sol_err *err)
{
    int too_new;
    SOL_TRY(count_too_new(t, steps, *n, &too_new, err));
    if (too_new == 0) return SOL_OK;
    *n -= too_new;
    memmove(steps, steps + too_new, (size_t)*n * sizeof *steps);
    t->went_back = true;
    sol_log_line(&t->program->log, SOL_LOG_INFO,
                 "going back to step %" PRIu64 ", the last that a run of %" PRId64
                 " steps shares; newer checkpoints are put aside",
                 steps[0], t->config->train.steps);
    return SOL_OK;
}

/* Says that a run begins again at step 0 where it went past the step of its first checkpoint: the
 * checkpoints are gone, and its metrics are made anew. */
static sol_status warn_of_lost(const sol_trainer *t, int n, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_config *was = NULL;
    uint64_t last = 0;
    if (n > 0) return SOL_OK;
    sol_run_dir_file(&t->dir, "config.yaml", path);
    SOL_TRY(sol_config_read(&was, path, err));
    uint64_t first = (uint64_t)was->checkpoint.every;
    sol_config_free(&was);
    SOL_TRY(sol_run_dir_last_step(&t->dir, &last, err));
    if (last > first) /* else it may have been killed before that one was written */
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "%s: metrics.jsonl has step %" PRIu64
                     ", but ckpt holds no checkpoint: the run begins again at step 0",
                     t->dir.path, last);
    return SOL_OK;
}

/* The steps of the checkpoints as rank 0 sees them, newest first, to all. */
static sol_status list_steps(sol_trainer *t, uint64_t **steps, int *n, sol_err *err)
{
    sol_status st = SOL_OK;
    *steps = NULL;
    *n = 0;
    if (sol_trainer_writes(t)) st = sol_run_dir_steps(&t->dir, steps, n, err);
    if (st == SOL_OK && sol_trainer_writes(t)) st = warn_of_lost(t, *n, err);
    if (st == SOL_OK && sol_trainer_writes(t)) st = drop_too_new(t, *steps, n, err);
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    SOL_TRY(sol_dist_broadcast(t->dist, n, sizeof *n, err));
    if (!sol_trainer_writes(t))
        st = sol_alloc_array((void **)steps, (size_t)*n, sizeof **steps, err);
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    return sol_dist_broadcast(t->dist, *steps, (size_t)*n * sizeof **steps, err);
}

sol_status sol_trainer_read_newest(sol_trainer *t, sol_checkpoint *from, sol_err *err)
{
    uint64_t *steps = NULL;
    int n = 0;
    sol_status st = t->dir.has_run ? list_steps(t, &steps, &n, err) : SOL_OK;
    if (st == SOL_OK) st = read_first_whole(t, steps, n, from, err);
    sol_free(steps);
    return st;
}

static sol_status put_aside(const sol_trainer *t, uint64_t step, sol_err *err)
{
    char path[SOL_PATH_MAX], aside[SOL_PATH_MAX + 32];
    const char *what = t->went_back ? "ended" : "damaged";
    sol_run_dir_checkpoint(&t->dir, step, path);
    snprintf(aside, sizeof aside, "%s.%s", path, what);
    for (int k = 2; sol_file_exists(aside); k++)
        snprintf(aside, sizeof aside, "%s.%s%d", path, what, k);
    return rename(path, aside) == 0 ? SOL_OK : sol_fail_errno(err, path, "cannot put aside");
}

sol_status sol_trainer_put_newer_aside(const sol_trainer *t, sol_err *err)
{
    uint64_t *steps; /* newest first */
    int n;
    sol_status st = sol_run_dir_steps(&t->dir, &steps, &n, err);
    for (int i = 0; i < n; i++) {
        if (st != SOL_OK || (int64_t)steps[i] <= t->saved_step) break;
        st = put_aside(t, steps[i], err);
    }
    sol_free(steps);
    return st;
}
