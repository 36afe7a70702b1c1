/* What the ranks of a job compare before step 1, called by trainer_open.c: job, data and teacher
 * must be the same, and the threads of a machine should have a processor each. */
#include "ranks.h"
#include "trainer.h"

#include <string.h>

/* Rank 0's job as YAML, to all; owned by the caller. */
static sol_status job_of_first(const sol_trainer *t, char **yaml, sol_err *err)
{
    bool first = sol_trainer_writes(t);
    sol_status st = first ? sol_config_write(t->config, yaml, err) : SOL_OK;
    SOL_TRY(sol_dist_agree(t->dist, st, err));
    size_t n = first ? strlen(*yaml) : 0;
    return sol_ranks_send_text(t->dist, yaml, &n, err);
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

sol_status sol_trainer_compare_threads(const sol_trainer *t, sol_err *err)
{
    return sol_ranks_compare_threads(t->program, sol_pool_threads(t->ctx->pool), err);
}
