/* Finds and reads the files of the tasks that a command line or a job names. */
#include "task_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum { MAX_TASKS = 16 };

/* The file of a task in one folder, gzipped or not. */
static bool find_in(const char *dir, const char *sub, const sol_task_kind *kind, char *path)
{
    static const char *const ends[] = {"", ".gz"};
    if (!dir) return false;
    for (int i = 0; i < 2; i++) {
        int n = snprintf(path, SOL_PATH_MAX, "%s%s/%s%s", dir, sub, kind->file, ends[i]);
        if (n > 0 && n < SOL_PATH_MAX && sol_file_exists(path)) return true;
    }
    return false;
}

static sol_status find_file(const char *dir, const sol_task_kind *kind, char *path, sol_err *err)
{
    if (dir) {
        if (find_in(dir, "", kind, path)) return SOL_OK;
        return sol_fail(err, SOL_ERR_IO, "%s: has no file %s or %s.gz for task %s", dir, kind->file,
                        kind->file, kind->name);
    }
    if (find_in(getenv("SOLERA_DATA"), "/eval", kind, path) || find_in("data/eval", "", kind, path))
        return SOL_OK;
    return sol_fail(err, SOL_ERR_IO,
                    "no file %s or %s.gz for task %s in $SOLERA_DATA/eval or data/eval: name "
                    "another folder, or NAME=FILE",
                    kind->file, kind->file, kind->name);
}

/* NAME or NAME=FILE. */
static sol_status plan_task(const char *dir, const char *word, size_t n, sol_task_plan *t,
                            sol_err *err)
{
    char name[64];
    const char *names[MAX_TASKS];
    const char *equals = memchr(word, '=', n);
    size_t length = equals ? (size_t)(equals - word) : n, rest = equals ? n - length - 1 : 0;
    snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), word);
    t->kind = sol_task_find(name);
    if (!t->kind) {
        int count = 0;
        char hint[SOL_HINT];
        for (; count < sol_task_count() && count < MAX_TASKS; count++)
            names[count] = sol_task_at(count)->name;
        return sol_fail(err, SOL_ERR_USAGE, "unknown task '%s'%s", name,
                        sol_name_hint(hint, name, names, count, NULL));
    }
    if (!equals) return find_file(dir, t->kind, t->path, err);
    if (rest >= sizeof t->path)
        return sol_fail(err, SOL_ERR_USAGE, "the file name of task %s is too long", name);
    memcpy(t->path, equals + 1, rest);
    t->path[rest] = 0;
    return SOL_OK;
}

void sol_task_plans_free(sol_task_plan **plans, int n)
{
    if (!*plans) return;
    for (int i = 0; i < n; i++) sol_task_free(&(*plans)[i].task);
    sol_free(*plans);
    *plans = NULL;
}

/* One more of *n, from NAME or NAME=FILE at `at`. */
static sol_status read_task(sol_task_plan *plans, int *n, const char *at, size_t length,
                            const char *dir, int64_t limit, sol_err *err)
{
    if (*n == MAX_TASKS) return sol_fail(err, SOL_ERR_USAGE, "more than %d tasks", MAX_TASKS);
    sol_task_plan *t = &plans[(*n)++];
    SOL_TRY(plan_task(dir, at, length, t, err));
    for (int i = 0; i < *n - 1; i++)
        if (plans[i].kind == t->kind)
            return sol_fail(err, SOL_ERR_USAGE, "task %s is named twice", t->kind->name);
    return sol_task_read(&t->task, t->kind, t->path, limit, err);
}

static sol_status read_tasks(sol_task_plan *plans, int *n, const char *names, const char *dir,
                             int64_t limit, sol_err *err)
{
    for (const char *at = names;; at++) {
        size_t length = strcspn(at, ",");
        SOL_TRY(read_task(plans, n, at, length, dir, limit, err));
        at += length;
        if (!*at) return SOL_OK;
    }
}

sol_status sol_task_plans_read(sol_task_plan **plans, int *n, const char *names, const char *dir,
                               int64_t limit, sol_err *err)
{
    *n = 0;
    SOL_TRY(sol_alloc_array((void **)plans, MAX_TASKS, sizeof **plans, err));
    sol_status st = read_tasks(*plans, n, names, dir, limit, err);
    if (st != SOL_OK) sol_task_plans_free(plans, *n);
    return st;
}

sol_status sol_job_tasks(const sol_config *c, sol_task_plan **plans, int *n, sol_err *err)
{
    sol_err why = {0};
    *plans = NULL;
    *n = 0;
    if (!c->eval.tasks[0]) return SOL_OK;
    sol_status st =
        sol_task_plans_read(plans, n, c->eval.tasks, c->eval.task_dir[0] ? c->eval.task_dir : NULL,
                            c->eval.limit, &why);
    return st == SOL_OK ? SOL_OK : sol_config_fail(c, "eval.tasks", err, "%s", why.text);
}
