#include "trainer.h"

struct args {
    sol_words set;
    bool resume;
};

static const sol_opt options[] = {
    {.name = "--set", .value = "SECTION.KEY=VALUE", .kind = SOL_OPT_EACH, .offset = offsetof(struct args, set),
     .help = "change a key of the job"},
    {.name = "--resume", .kind = SOL_OPT_FLAG, .offset = offsetof(struct args, resume),
     .help = "go on with the run in run.dir, from its newest checkpoint; start it where there is none"},
    {0},
};

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_config *c = NULL;
    sol_trainer *t = NULL;
    sol_status st = sol_config_read(&c, p->word[0], err);
    for (int i = 0; st == SOL_OK && i < args->set.n; i++) st = sol_config_set(c, args->set.word[i], err);
    if (st == SOL_OK) st = sol_config_finish(c, err);
    if (st == SOL_OK) sol_interrupt_catch(true);
    if (st == SOL_OK) st = sol_trainer_open(&t, p, c, args->resume, err);
    if (st == SOL_OK) st = sol_trainer_run(t, err);
    sol_trainer_free(&t);
    sol_config_free(&c);
    return st;
}

const sol_verb sol_verb_train = {
    .name = "train",
    .words = "CONFIG.yaml",
    .min_words = 1,
    .max_words = 1,
    .summary = "run the training job of a YAML file, or go on with it",
    .details = "The run directory (run.dir) gets config.yaml, metrics.jsonl (a line a step), log.txt and "
               "ckpt/step-NNNNNN.h5.\n"
               "SIGINT and SIGTERM save a checkpoint and end with exit code 130; a second SIGINT ends at once. A run "
               "that was\n"
               "killed in any way goes on with --resume as if nothing had happened, bit for bit.\n"
               "`solera help config` explains every key.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
