/* The verb eval: its options, and the part that runs tasks. */
#ifndef SOLERA_TRAIN_EVAL_ARGS_H
#define SOLERA_TRAIN_EVAL_ARGS_H

#include "open_net.h"

#define SOL_DOCUMENTS(ROW) \
    ROW(SOL_DOCUMENTS_JOINED, "joined") \
    ROW(SOL_DOCUMENTS_APART, "apart") \
    ROW(SOL_DOCUMENTS_TRAINED, "trained") /* as in the model's training */
typedef enum { SOL_DOCUMENTS(SOL_ENUM_CONSTANT) } sol_documents;

typedef struct sol_eval_args {
    sol_net_args net;
    const char *data;
    sol_documents documents;
    int64_t seq, max_windows;
    const char *text;
    sol_special_mode special;
    int64_t context, stride;
    bool word_level;
    const char *tasks, *task_dir, *samples;
    int64_t limit;
    bool no_bos, json, force;
} sol_eval_args;

/* Runs a->tasks and prints their table. */
sol_status sol_eval_run_tasks(sol_program *p, const sol_eval_args *a, sol_net *net, sol_err *err);

#endif
