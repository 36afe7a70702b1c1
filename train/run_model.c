/* Finds the checkpoint that stands for a run; main does so before a verb that takes a model. */
#include "run_model.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "run_dir.h"

bool sol_is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static bool holds(const sol_run_dir *d, const char *name)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(d, name, path);
    return sol_file_exists(path);
}

/* ckpt/best.h5 is a link; the file that it leads to says which step that is. */
static bool find_best(const sol_run_dir *d, char path[SOL_PATH_MAX])
{
    char link[SOL_PATH_MAX], name[64];
    uint64_t step;
    sol_run_dir_file(d, "ckpt/best.h5", link);
    ssize_t n = readlink(link, name, sizeof name - 1);
    if (n <= 0) return false;
    name[n] = 0;
    if (!sol_run_dir_step_of(name, &step)) return false;
    sol_run_dir_checkpoint(d, step, path);
    return sol_file_exists(path);
}

static sol_status find_newest(const sol_run_dir *d, char path[SOL_PATH_MAX], sol_err *err)
{
    uint64_t *steps;
    int n;
    sol_status st = sol_run_dir_steps(d, &steps, &n, err);
    if (st == SOL_OK && n == 0)
        st = sol_fail(err, SOL_ERR_USAGE, "%s: this run has no checkpoint yet", d->path);
    if (st == SOL_OK) sol_run_dir_checkpoint(d, steps[0], path);
    sol_free(steps);
    return st;
}

sol_status sol_run_model(const char *dir, char path[SOL_PATH_MAX], bool *best, sol_err *err)
{
    sol_run_dir d = {0};
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    if (n >= sizeof d.path) return sol_fail(err, SOL_ERR_IO, "%.100s...: path is too long", dir);
    memcpy(d.path, dir, n);
    if (holds(&d, "config.json"))
        return sol_fail(err, SOL_ERR_USAGE,
                        "%s: is a Hugging Face folder: `solera import %s -o M.h5` makes a model "
                        "file of it",
                        d.path, d.path);
    if (!holds(&d, "config.yaml") || !holds(&d, "ckpt"))
        return sol_fail(err, SOL_ERR_USAGE,
                        "%s: is a directory, and no run, which has config.yaml and ckpt", d.path);
    *best = find_best(&d, path);
    return *best ? SOL_OK : find_newest(&d, path, err);
}

sol_status sol_run_refuse(const char *dir, sol_err *err)
{
    char found[SOL_PATH_MAX];
    bool best;
    SOL_TRY(sol_run_model(dir, found, &best, err));
    return sol_fail(err, SOL_ERR_USAGE, "%s: is a run: name a checkpoint of it, as %s", dir, found);
}

sol_status sol_program_find_model(sol_program *p, sol_err *err)
{
    if (p->n_words == 0 || !sol_is_directory(p->word[0])) return SOL_OK;
    bool best;
    SOL_TRY(sol_run_model(p->word[0], p->model, &best, err));
    sol_log_line(&p->log, SOL_LOG_INFO, "%s: %s checkpoint is %s", p->word[0],
                 best ? "the best" : "the newest", p->model);
    p->word[0] = p->model;
    return SOL_OK;
}
