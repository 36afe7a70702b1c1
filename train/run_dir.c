#include "run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

void sol_run_dir_file(const sol_run_dir *d, const char *name, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s/%s", d->path, name);
}

void sol_run_dir_checkpoint(const sol_run_dir *d, uint64_t step, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s/ckpt/step-%06" PRIu64 ".h5", d->path, step);
}

/* ---- lock ---- */

static sol_status refuse_locked(const sol_run_dir *d, int fd, sol_err *err)
{
    char owner[32] = "";
    ssize_t n = read(fd, owner, sizeof owner - 1);
    owner[n > 0 ? n : 0] = 0;
    owner[strcspn(owner, "\n")] = 0;
    return sol_fail(err, SOL_ERR_LOCKED, "%s: in use by process %s", d->path, owner[0] ? owner : "(unknown)");
}

static sol_status lock_dir(sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX], text[32];
    bool taken;
    int fd;
    sol_run_dir_file(d, "lock", path);
    sol_status st = sol_lock_open(&fd, &(sol_lock){.path = path, .name = path, .must = true}, &taken, err);
    if (st == SOL_OK && taken) {
        st = refuse_locked(d, fd, err);
        close(fd);
    }
    if (st != SOL_OK) return st;
    d->lock_fd = fd;
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, text, (size_t)n, 0) != n)
        return sol_fail_errno(err, path, "cannot write");
    return SOL_OK;
}

/* ---- listing ---- */

/* "step-000120.h5" -> 120; false for anything else. */
static bool parse_step(const char *name, uint64_t *step)
{
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return false;
    errno = 0;
    *step = strtoull(name + 5, &end, 10);
    return errno == 0 && strcmp(end, ".h5") == 0;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

sol_status sol_run_dir_steps(const sol_run_dir *d, uint64_t **steps, int *n, sol_err *err)
{
    char path[SOL_PATH_MAX];
    uint64_t step;
    size_t capacity = 0;
    sol_status st = SOL_OK;
    *steps = NULL;
    *n = 0;
    sol_run_dir_file(d, "ckpt", path);
    DIR *dir = opendir(path);
    if (!dir) return sol_fail_errno(err, path, "cannot read");
    for (struct dirent *e; st == SOL_OK && (e = readdir(dir));) {
        if (!parse_step(e->d_name, &step)) continue;
        st = sol_grow_array((void **)steps, &capacity, (size_t)*n + 1, sizeof **steps, err);
        if (st == SOL_OK) (*steps)[(*n)++] = step;
    }
    closedir(dir);
    if (*n) qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
    return st;
}

static sol_status link_best(const sol_run_dir *d, uint64_t best, sol_err *err)
{
    char link[SOL_PATH_MAX], temp[SOL_PATH_MAX], path[SOL_PATH_MAX];
    sol_run_dir_file(d, "ckpt/best.h5", link);
    sol_run_dir_file(d, "ckpt/best.h5.tmp", temp);
    sol_run_dir_checkpoint(d, best, path);
    if (!best || !sol_file_exists(path)) return SOL_OK;
    unlink(temp);
    if (symlink(strrchr(path, '/') + 1, temp) != 0 || rename(temp, link) != 0)
        return sol_fail_errno(err, link, "cannot link");
    return SOL_OK;
}

sol_status sol_run_dir_prune(const sol_run_dir *d, int64_t keep, uint64_t best, sol_err *err)
{
    uint64_t *steps = NULL;
    int n = 0;
    sol_status st = link_best(d, best, err);
    if (st == SOL_OK) st = sol_run_dir_steps(d, &steps, &n, err);
    for (int i = 0; st == SOL_OK && i < n; i++) {
        char path[SOL_PATH_MAX];
        sol_run_dir_checkpoint(d, steps[i], path);
        if (i >= keep && steps[i] != best && unlink(path) != 0 && errno != ENOENT)
            st = sol_fail_errno(err, path, "cannot remove");
    }
    sol_free(steps);
    return st;
}

/* A killed process leaves at most the temporary file of the write it was in. */
static sol_status remove_leftovers(const sol_run_dir *d, const char *sub, sol_err *err)
{
    char path[SOL_PATH_MAX], file[SOL_PATH_MAX + 256];
    sol_run_dir_file(d, sub, path);
    DIR *dir = opendir(path);
    if (!dir) return sol_fail_errno(err, path, "cannot read");
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 4, ".tmp") != 0) continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        unlink(file);
    }
    closedir(dir);
    return SOL_OK;
}

/* ---- opening ---- */

static sol_status look_for_run(sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX];
    uint64_t *steps;
    int n;
    sol_run_dir_file(d, "config.yaml", path);
    d->has_run = sol_file_exists(path);
    sol_status st = sol_run_dir_steps(d, &steps, &n, err);
    if (n > 0) d->has_run = true;
    sol_free(steps);
    return st;
}

sol_status sol_run_dir_open(sol_run_dir *d, const char *path, bool resume, sol_err *err)
{
    char ckpt[SOL_PATH_MAX];
    memset(d, 0, sizeof *d);
    d->lock_fd = d->metrics_fd = -1;
    if (strlen(path) >= sizeof d->path) return sol_fail(err, SOL_ERR_IO, "run.dir %.100s...: path is too long", path);
    memcpy(d->path, path, strlen(path) + 1);
    sol_run_dir_file(d, "ckpt", ckpt);
    sol_status st = sol_dir_create(ckpt, err);
    if (st == SOL_OK) st = lock_dir(d, err);
    if (st == SOL_OK) st = look_for_run(d, err);
    if (st == SOL_OK && d->has_run && !resume)
        st = sol_fail(err, SOL_ERR_USAGE,
                      "%s: holds a run already; --resume goes on with it, another run.dir starts a new one", path);
    return st;
}

sol_status sol_run_dir_begin(sol_run_dir *d, const char *config_yaml, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_status st = remove_leftovers(d, "", err);
    if (st == SOL_OK) st = remove_leftovers(d, "ckpt", err);
    sol_run_dir_file(d, "config.yaml", path);
    if (st == SOL_OK) st = sol_file_write(path, config_yaml, strlen(config_yaml), err);
    if (st != SOL_OK) return st;
    d->has_run = true;
    sol_run_dir_file(d, "log.txt", path);
    d->log = fopen(path, "ae");
    return d->log ? SOL_OK : sol_fail_errno(err, path, "cannot write");
}

/* rmdir takes empty directories only: nobody's file is lost. */
static void remove_empty(const sol_run_dir *d)
{
    static const char *const made[] = {"tokens-train.h5", "tokens-eval.h5", "tokens-self.h5", "lock"};
    char path[SOL_PATH_MAX];
    for (int i = 0; i < 4; i++) {
        sol_run_dir_file(d, made[i], path);
        unlink(path);
    }
    sol_run_dir_file(d, "ckpt", path);
    rmdir(path);
    rmdir(d->path);
}

void sol_run_dir_close(sol_run_dir *d)
{
    if (!d->path[0]) return;
    if (d->log) fclose(d->log);
    sol_free(d->waiting.data);
    if (d->metrics_fd >= 0) close(d->metrics_fd);
    if (d->lock_fd >= 0) {
        if (!d->has_run) remove_empty(d);
        close(d->lock_fd);
    }
    memset(d, 0, sizeof *d);
    d->lock_fd = d->metrics_fd = -1;
}

/* ---- metrics.jsonl ---- */

sol_status sol_run_dir_metrics_cut(sol_run_dir *d, uint64_t bytes, sol_err *err)
{
    char path[SOL_PATH_MAX];
    struct stat s;
    sol_run_dir_file(d, "metrics.jsonl", path);
    if (d->metrics_fd < 0) d->metrics_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (d->metrics_fd < 0 || fstat(d->metrics_fd, &s) != 0) return sol_fail_errno(err, path, "cannot write");
    if ((uint64_t)s.st_size < bytes) bytes = (uint64_t)s.st_size;
    if (ftruncate(d->metrics_fd, (off_t)bytes) != 0) return sol_fail_errno(err, path, "cannot cut");
    d->metrics_bytes = bytes;
    return SOL_OK;
}

static sol_status append(sol_run_dir *d, const char *text, size_t n, sol_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = write(d->metrics_fd, text + done, n - done);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            sol_status st = sol_fail_errno(err, d->path, "metrics.jsonl: cannot write");
            if (ftruncate(d->metrics_fd, (off_t)d->metrics_bytes) != 0)
                return sol_fail_errno(err, d->path, "metrics.jsonl: cannot cut a torn line");
            return st;
        }
        done += (size_t)w;
    }
    d->metrics_bytes += n;
    return SOL_OK;
}

static sol_status append_waiting(sol_run_dir *d, sol_err *err)
{
    sol_status st = d->waiting.n ? append(d, d->waiting.data, d->waiting.n, err) : SOL_OK;
    if (st == SOL_OK) d->waiting.n = 0;
    return st;
}

sol_status sol_run_dir_metrics_add(sol_run_dir *d, const char *line, size_t n, sol_err *err)
{
    sol_status st = append_waiting(d, err);
    if (st == SOL_OK) st = append(d, line, n, err);
    if (st != SOL_ERR_NOSPACE || !d->wait_when_full) return st;
    return sol_text_add(&d->waiting, err, "%.*s", (int)n, line);
}

sol_status sol_run_dir_metrics_sync(sol_run_dir *d, sol_err *err)
{
    sol_status st = append_waiting(d, err);
    if (st == SOL_OK && d->metrics_fd >= 0 && fsync(d->metrics_fd) != 0 && errno != EINVAL)
        return sol_fail_errno(err, d->path, "metrics.jsonl: cannot sync");
    return st;
}
