/* The zero-shot tasks that a command line or a job names, with their files and results.
 *
 *     sol_task_plan *tasks;
 *     SOL_TRY(sol_task_plans_read(&tasks, &n, "arc_easy,piqa=mine.jsonl", dir, limit, err));
 *     for (int i = 0; i < n; i++) {
 *         st = sol_task_run(net, tasks[i].task, &opts, &tasks[i].result, err);
 *         if (st != SOL_OK) break;
 *     }
 *     sol_task_plans_free(&tasks, n); */
#ifndef SOLERA_TRAIN_TASK_PLAN_H
#define SOLERA_TRAIN_TASK_PLAN_H

#include "eval/tasks.h"
#include "program.h"

typedef struct sol_task_plan {
    const sol_task_kind *kind;
    char path[SOL_PATH_MAX];
    sol_task *task;         /* owned */
    sol_task_result result; /* of the last run */
} sol_task_plan;

/* names: NAME or NAME=FILE, commas between. dir: where the files of bare names are; NULL:
 * $SOLERA_DATA/eval or data/eval. limit > 0: the first items only. Errors name the task or
 * file:line. On failure *plans is NULL. */
sol_status sol_task_plans_read(sol_task_plan **plans, int *n, const char *names, const char *dir,
                               int64_t limit, sol_err *err);
/* Those of a job's eval.tasks. */
sol_status sol_job_tasks(const sol_config *c, sol_task_plan **plans, int *n, sol_err *err);
void sol_task_plans_free(sol_task_plan **plans, int n);

#endif
