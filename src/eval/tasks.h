/* Zero-shot multiple-choice tasks, scored as lm-evaluation-harness does.
 *
 *     sol_task *t;
 *     st = sol_task_read(&t, sol_task_find("piqa"), "piqa_valid.jsonl.gz", 0, err);
 *     st = sol_task_run(net, t, &opts, &result, err);
 *     sol_task_free(&t);
 *
 * Each item has choices, each choice a context and a continuation. The score of a choice is the
 * log-probability of the continuation's tokens: those that encode(context + continuation) has
 * beyond the length of encode(context); trailing blanks of the context move to the continuation;
 * too long inputs lose their beginning. acc: the largest score wins, the first of equals; acc_norm:
 * the largest score divided by the characters of the choice. Tokens that all choices of an item
 * begin with are computed once. */
#ifndef SOLERA_EVAL_TASKS_H
#define SOLERA_EVAL_TASKS_H

#include "eval/eval.h"

typedef struct sol_task_kind {
    const char *name; /* arc_easy, arc_challenge, hellaswag, piqa, winogrande */
    const char *file; /* as in a folder of prepared files: arc_easy_test.jsonl, ... (.gz or not) */
    bool norm;        /* acc_norm is part of its report */
} sol_task_kind;
/* The tasks: how many, by index, by name (NULL: none). Static storage. */
int sol_task_count(void);
const sol_task_kind *sol_task_at(int i);
const sol_task_kind *sol_task_find(const char *name);

typedef struct sol_task_choice {
    char *context, *continuation; /* owned */
    int64_t characters;           /* of the choice as the task gives it */
} sol_task_choice;

typedef struct sol_task_item {
    sol_task_choice *choice; /* [n_choices]; owned */
    int n_choices, gold;
} sol_task_item;

typedef struct sol_task {
    const sol_task_kind *kind;
    sol_task_item *item; /* [n]; owned */
    int64_t n;
    size_t capacity;
} sol_task;

/* A JSONL file, gzipped or not; blank lines do not count. Each line in the prepared form ({ctx,
 * choices, gold} or {contexts, continuation, gold}) or in that of the original dataset:
 *   arc_*       {question: {stem, choices: [{label, text}]}, answerKey}, or Hugging Face's
 *               {question, choices: {label, text}, answerKey}
 *   hellaswag   {activity_label, ctx_a, ctx_b, endings, label}
 *   piqa        {goal, sol1, sol2, label}
 *   winogrande  {sentence, option1, option2, answer}
 * limit > 0: only the first so many items. The caller owns *t. SOL_ERR_FORMAT, SOL_ERR_RANGE (an
 * answer that is no choice): the text names file, line and what is wrong. */
sol_status sol_task_read(sol_task **t, const sol_task_kind *kind, const char *path, int64_t limit,
                         sol_err *err);
void sol_task_free(sol_task **t);

typedef struct sol_task_opts {
    bool no_bos;          /* without what the tokenizer's template puts in front (the harness'
                           * add_bos_token=False, the default of older versions) */
    sol_eval_watch watch; /* items done and in all */
    sol_dist *dist;       /* as in sol_eval_opts; all ranks then call sample */
    /* Called for every item in order with the scores of its choices; may be NULL. */
    sol_status (*sample)(void *user, const sol_task *t, int64_t item, const double *score,
                         int picked, int picked_norm, sol_err *err);
    void *sample_user;
} sol_task_opts;

typedef struct sol_task_result {
    int64_t n, n_cut; /* items; of these, longer than the context: they lost their beginning */
    double acc, acc_stderr, acc_norm, acc_norm_stderr; /* the standard error of a mean: sample
                                                        * deviation / sqrt(n) */
    int64_t tokens;                                    /* computed */
    double seconds;
} sol_task_result;

/* Scores every item of t. SOL_ERR_FORMAT: the net has no tokenizer; SOL_ERR_UNSUPPORTED: an empty
 * context, and neither BOS nor EOS to begin with, or a choice without a token; SOL_ERR_NONFINITE:
 * a score is not a number; whatever o->sample returns. */
sol_status sol_task_run(sol_net *net, const sol_task *t, const sol_task_opts *o, sol_task_result *r,
                        sol_err *err);

#endif
