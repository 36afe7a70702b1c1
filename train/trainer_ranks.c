/* What the ranks of a job compare before step 1, called by trainer_open.c: job, data and teacher
 * must be the same, and the threads of a machine should have a processor each. */
#include "ranks.h"
#include "trainer.h"

#include <string.h>
#include <unistd.h>

/* Rank 0's job as YAML, to all; owned by the caller. */
static sol_status job_of_first(const sol_trainer *t, char **yaml, sol_err *err)
{
    sol_status st = sol_config_write(t->config, yaml, err);
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    size_t n = strlen(*yaml) + 1;
    SOL_TRY(sol_dist_broadcast(t->dist, &n, sizeof n, err));
    if (!sol_trainer_writes(t)) {
        sol_free(*yaml);
        st = sol_alloc_array((void **)yaml, n, 1, err);
    }
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    return sol_dist_broadcast(t->dist, *yaml, n, err);
}

/* The keys that differ are named. */
static sol_status compare_job(const sol_trainer *t, const char *yaml, sol_err *err)
{
    sol_config *first = NULL;
    char *text = NULL;
    bool fatal;
    sol_status st = sol_config_parse(&first, "the job of rank 0", yaml, strlen(yaml), err);
    if (st == SOL_OK) st = sol_config_diff(first, t->config, 0, &text, &fatal, err);
    if (st == SOL_OK && text[0])
        st = sol_fail(err, SOL_ERR_CONFIG, "has another job than rank 0: %s", text);
    sol_free(text);
    sol_config_free(&first);
    return st;
}

sol_status sol_trainer_compare_jobs(const sol_trainer *t, sol_err *err)
{
    char *yaml = NULL;
    sol_status st = job_of_first(t, &yaml, err);
    if (st == SOL_OK) st = sol_dist_agree(t->dist, compare_job(t, yaml, err), err);
    sol_free(yaml);
    return st;
}

sol_status sol_trainer_compare_files(const sol_trainer *t, sol_err *err)
{
    uint64_t eval = t->eval.open ? t->eval.file.digest : 0;
    SOL_TRY(sol_ranks_compare(t->dist, "another tokenizer", sol_tokenizer_hash(t->tokenizer), err));
    SOL_TRY(sol_ranks_compare(t->dist, "other training data", t->train.digest, err));
    SOL_TRY(sol_ranks_compare(t->dist, "other evaluation data", eval, err));
    return sol_ranks_compare(t->dist, "another teacher", t->teacher.digest, err);
}

typedef struct share_of_machine {
    int threads, processors;
} share_of_machine;

/* The first machine whose ranks have more threads together than it has processors. */
static void warn_crowded(const sol_trainer *t, const share_of_machine *all)
{
    char advice[64] = "fewer ranks would each have one";
    int size = sol_dist_size(t->dist);
    for (int i = 0; i < size; i++) {
        const char *host = sol_dist_host(t->dist, i);
        int threads = 0, ranks = 0;
        for (int k = 0; k < size; k++) {
            if (strcmp(sol_dist_host(t->dist, k), host) != 0) continue;
            threads += all[k].threads;
            ranks++;
        }
        if (threads <= all[i].processors) continue;
        int fit = all[i].processors / ranks;
        if (fit > 0) snprintf(advice, sizeof advice, "-t %d would give each one its own", fit);
        sol_log_line(&t->program->log, SOL_LOG_WARN,
                     "%d ranks on %s have %d threads, which is more than its %d processors: %s",
                     ranks, host, threads, all[i].processors, advice);
        return;
    }
}

sol_status sol_trainer_compare_threads(const sol_trainer *t, sol_err *err)
{
    share_of_machine all[SOL_DIST_MAX], mine = {.threads = sol_pool_threads(t->ctx->pool),
                                                .processors = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    SOL_TRY(sol_dist_gather(t->dist, &mine, sizeof mine, all, err));
    if (sol_dist_size(t->dist) > 1) warn_crowded(t, all);
    return SOL_OK;
}
