/* What is known of a step, as the loop hands it on: the step fills in its figures, the evaluation
 * and the sample theirs; the log, metrics.jsonl and the event file are made of it. */
#ifndef SOLERA_TRAIN_STEP_RECORD_H
#define SOLERA_TRAIN_STEP_RECORD_H

#include "task_plan.h"

enum { SOL_TRAINER_TERMS = 4 }; /* next token, distill, hidden, relation */

typedef struct sol_step_record {
    uint64_t step, tokens; /* after this step */
    double loss;           /* next-token cross-entropy, the mean over the tokens of the step */
    double lambda, lr;     /* of this step */
    double grad_norm;      /* before clipping */
    double seconds, tok_s; /* of the step alone: no evaluation, checkpoint or study record */
    bool has_exchange;     /* there are several ranks */
    double exchange;       /* share of that time in which rank 0 waited for the others */
    double hidden;         /* share in which gradients were exchanged while rank 0 computed */
    bool skipped;          /* loss or gradient was not finite: parameters as before */
    bool empty;            /* none of its targets counts: skipped, and nothing is wrong */
    bool has_distill, has_hidden, has_relation, has_norms;
    double
        objective; /* minimized: the loss, or with a teacher its weighted sum with the next two */
    double distill_loss, hidden_loss, relation_loss;
    double norm[SOL_TRAINER_TERMS]; /* of the gradient of each term; -1: the objective lacks it */
    bool has_eval, has_packed;
    double eval_loss, packed_loss;
    const sol_task_plan *tasks; /* [n_tasks] with results of this step */
    int n_tasks;
    bool has_study;     /* a record of the study was made before the update */
    const char *sample; /* the text of train.sample_every; NULL: none at this step */
} sol_step_record;

/* The line of metrics.jsonl, with its line break and without the sample, into a buffer of at least
 * SOL_STEP_LINE bytes; returns its length. What is not finite is null. */
enum { SOL_STEP_LINE = 3712 + SOL_CPU_TEXT };
size_t sol_step_record_json(const sol_step_record *r, char *out);

#endif
