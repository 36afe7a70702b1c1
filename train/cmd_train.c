/* solera train: opens or resumes a run and trains it to its end (trainer.h). */
#include "trainer.h"

#include <string.h>

#include "run_model.h"

struct args {
    sol_words set;
    bool resume;
};

static const sol_opt options[] = {
    {.name = "--set",
     .value = "SECTION.KEY=VALUE",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, set),
     .help = "change a key of the job"},
    {.name = "--resume",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, resume),
     .help = "go on with the run in run.dir, from its newest checkpoint; start it where there is "
             "none. With the "
             "directory of a run its own job goes on"},
    {0},
};

/* The job of the run in `dir`, which goes on where it lies now, whatever place its job names. */
static sol_status read_job_of_run(sol_config **c, const char *dir, bool resume, sol_err *err)
{
    char path[SOL_PATH_MAX], set[SOL_PATH_MAX];
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    if (n >= SOL_PATH_MAX / 2) return sol_fail(err, SOL_ERR_IO, "%.100s...: path is too long", dir);
    snprintf(path, sizeof path, "%.*s/config.yaml", (int)n, dir);
    if (!sol_file_exists(path))
        return sol_fail(err, SOL_ERR_USAGE, "%s: is a directory, and no run, which has config.yaml",
                        dir);
    if (!resume)
        return sol_fail(err, SOL_ERR_USAGE, "%s: is a run already; --resume goes on with it", dir);
    SOL_TRY(sol_config_read(c, path, err));
    snprintf(set, sizeof set, "run.dir=%.*s", (int)n, dir);
    return sol_config_set(*c, set, err);
}

static sol_status read_job(sol_program *p, sol_config **c, const struct args *a, sol_err *err)
{
    const char *path = p->word[0];
    SOL_TRY(sol_is_directory(path) ? read_job_of_run(c, path, a->resume, err)
                                   : sol_config_read(c, path, err));
    for (int i = 0; i < a->set.n; i++) SOL_TRY(sol_config_set(*c, a->set.word[i], err));
    return sol_config_finish(*c, err);
}

static sol_status choose_compute(sol_program *p, sol_config *c, sol_err *err)
{
    bool asked = (int)c->train.compute == SOL_COMPUTE_AUTO;
    SOL_TRY(sol_job_choose_compute(p, c, err));
    if (asked && sol_dist_size(p->dist) > 1)
        sol_log_line(&p->log, SOL_LOG_INFO,
                     "train.compute auto: %s on all ranks, by the processor of rank 0",
                     sol_config_word(c, "train.compute"));
    return SOL_OK;
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_dist *dist;
    sol_config *c = NULL;
    sol_trainer *t = NULL;
    SOL_TRY(sol_program_dist(p, &dist, err));
    sol_status st = sol_dist_agree(dist, read_job(p, &c, args, err), err);
    if (st == SOL_OK) st = choose_compute(p, c, err);
    if (st == SOL_OK) sol_interrupt_catch(true);
    if (st == SOL_OK) st = sol_trainer_open(&t, p, c, args->resume, err);
    if (st == SOL_OK) st = sol_trainer_run(t, err);
    sol_trainer_free(&t);
    sol_config_free(&c);
    return st;
}

const sol_verb sol_verb_train = {
    .name = "train",
    .words = "CONFIG.yaml|RUN",
    .ranks = true,
    .min_words = 1,
    .max_words = 1,
    .summary = "run the training job of a YAML file, or go on with it",
    .details =
        "The run directory (run.dir) gets config.yaml, metrics.jsonl (a line a step), log.txt and "
        "ckpt/step-NNNNNN.h5.\n"
        "Other files there stay as they are; a directory without a run that holds such a name "
        "already, or a link of that name,\n"
        "is refused.\n"
        "SIGINT, SIGTERM and SIGUSR1 save a checkpoint and end with exit code 130; a second SIGINT "
        "ends at "
        "once. A run "
        "that was\n"
        "killed in any way goes on with --resume as if nothing had happened, bit for bit.\n"
        "train.steps may change at a resume if the schedules of the steps that are done stay the "
        "same: always where\n"
        "both are constant (optim.schedule constant, residual.schedule none), with wsd before its "
        "fall begins.\n"
        "Otherwise a new run goes on with the weights: model.init is then a checkpoint.\n"
        "A line of metrics.jsonl is a JSON object; null stands for what is not a finite number:\n"
        "  step tokens             done after this step\n"
        "  loss                    cross-entropy of the next token in nats, the mean over the "
        "tokens of this step\n"
        "  lr lambda               of this step\n"
        "  grad_norm               before clipping\n"
        "  objective               with a teacher: what is minimized, distill.ce_weight * loss + "
        "distill.weight * distill_loss +\n"
        "                          distill.hidden_weight * hidden_loss + distill.relation_weight * "
        "relation_loss; without one\n"
        "                          it is the loss\n"
        "  distill_loss            with a teacher: the divergence, times the square of "
        "distill.temperature\n"
        "  hidden_loss             with distill.hidden_weight: the difference of the blocks' "
        "outputs, by distill.hidden_form\n"
        "  relation_loss           with distill.relation_weight: the divergence of the attention's "
        "relations\n"
        "  grad_norms              every distill.grad_norms steps: the norm of the gradient of "
        "each weighted term by itself\n"
        "                          (next_token distill hidden relation), of the step's first "
        "micro-batch\n"
        "  eval_loss packed_loss   where measured: the loss on data.eval at lambda 0, and that of "
        "the packed model\n"
        "  tasks                   where measured: acc, acc_norm and items of each\n"
        "  sample                  with train.sample_every: the prompt and what the model makes of "
        "it\n"
        "  skipped                 true: loss or gradient was not finite, the parameters stay as "
        "they were\n"
        "  tok_s                   tokens a second of the step by all ranks, without evaluations, "
        "checkpoints and study records\n"
        "  exchange                with several ranks: the share of the step's time that rank 0 "
        "waits for the others\n"
        "  exchange_hidden         the share in which gradients are exchanged while it computes\n"
        "and in the first line of a process what computes it and those behind it:\n"
        "  version commit          of solera\n"
        "  tier features threads   kernels, what they use of the processor, how many threads\n"
        "  config_digest           of the keys that make a job another run; model_digest: of "
        "model.init as the run began;\n"
        "                          teacher_digest, data_digest: of teacher and training data; "
        "eval_digest: of data.eval\n"
        "                          and how it is measured\n"
        "With train.tensorboard events.out.tfevents.solera holds the same for TensorBoard: "
        "train/*, eval/*, tasks/*,\n"
        "study/* (means over the layers) and weights/* (histograms) where the study has a record, "
        "sample.\n"
        "The losses in log.txt are means since its line before, the loss of the live line is one "
        "of about 20 steps.\n"
        "`solera help config` explains every key.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
