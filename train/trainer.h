/* The training loop, on each of the ranks of a job.
 *
 *     sol_trainer *t;
 *     st = sol_trainer_open(&t, program, config, resume, err);   // allocates once what steps need
 *     st = sol_trainer_run(t, err);                // to the last step, or until sol_interrupted()
 *     sol_trainer_free(&t);
 *
 * A step: lambda and learning rate for it, W_eff once, micro-batches, global norm, clip, AdamW. Its
 * micro-batches are cut into lanes, which the ranks share (optim/lanes.h); every figure is summed
 * in the order of micro-batches. All ranks have the model and the counters, each its shard of the
 * moments. Only rank 0 writes. What a rank alone may fail at ends with sol_dist_agree, so that all
 * return the same status.
 *
 * With optim.fused AdamW runs block by block inside the backward pass; a gradient that is not
 * finite then stops the update where it shows, the blocks above it have moved. Then, where due:
 * evaluation, the line in metrics.jsonl, a checkpoint. A checkpoint holds all that the next step
 * depends on, and the length of metrics.jsonl at that moment; a resume cuts the file to it. So a
 * run that was killed anywhere goes on with the same bits. */
#ifndef SOLERA_TRAIN_TRAINER_H
#define SOLERA_TRAIN_TRAINER_H

#include "events.h"
#include "job_teacher.h"
#include "program.h"
#include "run_dir.h"
#include "step_record.h"
#include "task_plan.h"

/* The parts of a step's gradient as they are summed up over ranks, and with optim.fused updated,
 * while the backward pass of a rank's last micro-batch goes on. */
typedef struct sol_reduction {
    float lr;
    sol_graph_part under_way; /* n 0: none */
    sol_graph_part updated;   /* but not yet complete on all ranks; n 0: none */
    double square;            /* of the norm of the gradients so far */
    bool asked;               /* whether the losses of all ranks are finite */
    bool begun, stop;  /* stop: the loss, or a gradient, was not finite: the rest stays as it is */
    sol_status status; /* of what is exchanged */
    sol_err *err;
} sol_reduction;

/* What a micro-batch adds to the figures of its step. */
typedef struct sol_micro_sums {
    double loss;
    sol_graph_distilled distilled; /* 0 without a teacher */
} sol_micro_sums;

typedef struct sol_trainer {
    sol_program *program;     /* borrowed */
    const sol_config *config; /* borrowed */
    sol_ctx *ctx;             /* borrowed */
    sol_dist *dist;           /* borrowed */
    sol_run_dir dir;
    /* The live state: all that the next step depends on, with the batcher's place in the data. A
     * checkpoint is written from it (sol_trainer_save), and a resume takes it out of one. */
    sol_model *model;
    sol_tokenizer *tokenizer;
    sol_adamw *optim;      /* of this rank's shard */
    uint64_t step, tokens; /* optimizer steps done, tokens seen */
    uint64_t skipped;      /* steps whose loss or gradient was not finite */
    double best_eval_loss; /* infinity: none yet */
    double full_loss;      /* before step 1 in full precision; 0: not measured */
    uint64_t best_step;
    double ema_loss;
    sol_batcher batcher;
    /* Of the job. */
    sol_quant_spec quant;
    sol_windows windows;
    char *config_yaml; /* owned */
    sol_job_cut cut;
    sol_lanes *lanes;
    sol_graph *graph;
    sol_micro_sums *sums; /* [sol_trainer_micro_batches] of the step */
    sol_study *study;     /* NULL without study.every, and on all ranks but the first */
    sol_events *events;   /* NULL without train.tensorboard */
    sol_text sample;      /* the last one */
    sol_job_data train;
    sol_job_tokens eval;
    uint64_t model_digest; /* of model.init as the run began; 0: random weights */
    uint64_t eval_digest;  /* of eval and of how it is measured; 0: it is not */
    sol_task_plan *tasks;  /* of eval.tasks; [n_tasks] */
    int n_tasks;
    sol_job_teacher teacher; /* empty without distill.teacher */
    bool went_back;          /* a resume with more steps left checkpoints behind */
    sol_job_same same;       /* as the last time; all, in a new run */
    int32_t *batch;          /* [micro-batches] x (inputs, targets, doc_start) of [rows, T] */
    sol_residual residual;
    sol_lr_schedule lr;
    sol_reduction reduction;
    float *shard_grads; /* by_layer, not fused: the sum in this rank's shard; else NULL */
    int64_t saved_step; /* step of the newest checkpoint on disk; -1: none */
    double started;     /* sol_clock() */
    double step_peak;   /* tokens a second, were a step its products alone on all ranks, at the best
                         * rate of a large one; never less than what was reached; 0: not measured */
    uint64_t config_digest;
    uint64_t first_step, logged_step;
    /* Since the last log line, for it. */
    double loss_sum, objective_sum;
    int64_t loss_count;
    double step_seconds;                     /* of the steps alone */
    double exchange_seconds, hidden_seconds; /* of these, waiting for ranks; exchanging meanwhile */
} sol_trainer;

/* Micro-batches of a step, tokens of one, tokens of a step. */
static inline int64_t sol_trainer_micro_batches(const sol_trainer *t)
{
    return t->cut.lanes * t->cut.micro;
}

static inline int64_t sol_trainer_micro_tokens(const sol_trainer *t)
{
    return t->cut.rows * t->config->train.seq;
}

static inline int64_t sol_trainer_step_tokens(const sol_trainer *t)
{
    return sol_trainer_micro_batches(t) * sol_trainer_micro_tokens(t);
}

/* Whether this rank writes. */
static inline bool sol_trainer_writes(const sol_trainer *t)
{
    return sol_dist_rank(t->dist) == 0;
}

/* On failure *t is NULL. The config must be finished (sol_config_finish) and the same on all ranks;
 * a train.lanes of 0 becomes what the run has, or the number of ranks. */
sol_status sol_trainer_open(sol_trainer **t, sol_program *p, sol_config *c, bool resume,
                            sol_err *err);
void sol_trainer_free(sol_trainer **t);

/* All remaining steps. After a signal: a checkpoint, then SOL_ERR_INTERRUPTED. */
sol_status sol_trainer_run(sol_trainer *t, sol_err *err);
/* One step and what is due after it, in the order of the functions below. SOL_ERR_INTERRUPTED when
 * a signal came, to whichever rank, before the step was complete: nothing of it stays.
 * SOL_ERR_NONFINITE: one more step than train.max_skipped was skipped. */
sol_status sol_trainer_advance(sol_trainer *t, sol_err *err);

/* trainer_resume.c. Reads the newest checkpoint of the directory that is whole, on all ranks or on
 * none, with its step in t->saved_step, which stays -1 when there is none. The caller owns *from.
 */
sol_status sol_trainer_read_newest(sol_trainer *t, sol_checkpoint *from, sol_err *err);
/* Compares the job with config.yaml, which is newer than a checkpoint when the last resume was
 * killed before its first one. SOL_ERR_CONFIG: a key changed that may not. */
sol_status sol_trainer_compare_config(sol_trainer *t, sol_err *err);
/* Puts checkpoints newer than t->saved_step aside: the run will write them again. */
sol_status sol_trainer_put_newer_aside(const sol_trainer *t, sol_err *err);

/* ---- what a turn of the loop does; *r is the record of the step. Together: the step, the
 * evaluation, saving. Rank 0 alone: the rest ---- */

/* trainer_step.c. The step alone: batch, forward and backward, clip, update. Sets *r; after a
 * failure the step can be made again, but for blocks that a fused update has moved. */
sol_status sol_trainer_step(sol_trainer *t, sol_step_record *r, sol_err *err);

/* trainer_eval.c. Losses and tasks of the model as it is, into *r; the best step so far. */
sol_status sol_trainer_evaluate(sol_trainer *t, sol_step_record *r, sol_err *err);
/* Before step 1: the loss of the trained model that the run starts from, in full precision, for the
 * log and the model card; where the run added norms to it, without them, and then with them. */
sol_status sol_trainer_measure_start(sol_trainer *t, bool added_norms, sol_err *err);

/* trainer_watch.c. Opens and closes what the next two write; a text of the model at lambda 0, of at
 * most SOL_SAMPLE_TOKENS tokens, into *r; *r into the event file. */
enum { SOL_SAMPLE_TOKENS = 64 };
sol_status sol_trainer_watch_open(sol_trainer *t, sol_err *err);
void sol_trainer_watch_close(sol_trainer *t);
sol_status sol_trainer_sample(sol_trainer *t, sol_step_record *r, sol_err *err);
sol_status sol_trainer_add_events(sol_trainer *t, const sol_step_record *r, sol_err *err);

/* trainer_report.c. *r into metrics.jsonl; into the means of the log, its live line and its log
 * line; a warning that the step was skipped; the failure after one too many, SOL_ERR_NONFINITE. */
sol_status sol_trainer_add_metrics(sol_trainer *t, const sol_step_record *r, sol_err *err);
void sol_trainer_log_step(sol_trainer *t, const sol_step_record *r);
void sol_trainer_warn_skipped(const sol_trainer *t, const sol_step_record *r);
sol_status sol_trainer_fail_skipped(const sol_trainer *t, const sol_step_record *r, sol_err *err);

/* trainer_save.c. Writes the checkpoint of the current step, unless it is there. */
sol_status sol_trainer_save(sol_trainer *t, sol_err *err);
/* The same, but a full disk ends the run only at the last step, or as checkpoint.on_full says. */
sol_status sol_trainer_save_due(sol_trainer *t, sol_err *err);
/* Removes the checkpoints that the job does not keep; sol_trainer_save and a resume end with it. */
sol_status sol_trainer_prune(sol_trainer *t, sol_err *err);
/* Which checkpoint is the last one, for messages; returns out. */
const char *sol_trainer_saved_text(const sol_trainer *t, char out[64]);

#endif
