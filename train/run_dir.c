/* The directory of a run: claims and locks it, appends metrics, names and prunes checkpoints,
 * and leaves what is not its own alone. */
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
#include "text/batcher.h"

void sol_run_dir_file(const sol_run_dir *d, const char *name, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s/%s", d->path, name);
}

void sol_run_dir_checkpoint(const sol_run_dir *d, uint64_t step, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s/ckpt/step-%06" PRIu64 ".h5", d->path, step);
}

/* What a run makes beside ckpt/; the first is there before anything else, the last are what
 * sol_job_made_name calls the further files of data.train. */
static const char *const own_files[SOL_RUN_DIR_FILES] = {"lock",
                                                         "config.yaml",
                                                         "log.txt",
                                                         "metrics.jsonl",
                                                         "study.h5",
                                                         "tokens-train.h5",
                                                         "tokens-eval.h5",
                                                         "tokens-self.h5",
                                                         "tokens-self-part.h5",
                                                         "tokens-calibrate.h5",
                                                         "calibrate.jsonl",
                                                         "events.out.tfevents.solera",
                                                         "tokens-train-2.h5",
                                                         "tokens-train-3.h5",
                                                         "tokens-train-4.h5",
                                                         "tokens-train-5.h5",
                                                         "tokens-train-6.h5",
                                                         "tokens-train-7.h5",
                                                         "tokens-train-8.h5",
                                                         "tokens-train-9.h5",
                                                         "tokens-train-10.h5",
                                                         "tokens-train-11.h5",
                                                         "tokens-train-12.h5",
                                                         "tokens-train-13.h5",
                                                         "tokens-train-14.h5",
                                                         "tokens-train-15.h5",
                                                         "tokens-train-16.h5"};
_Static_assert(SOL_RUN_DIR_FILES == 12 + SOL_MIX_MAX - 1, "own_files: every file of data.train");

/* Links count, wherever they lead. */
static bool is_there(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

/* ---- lock ---- */

/* Other ranks look at it next (sol_run_dir_join): over NFS they see what is synced. */
static sol_status write_lock(const sol_run_dir *d, const char *text, sol_err *err)
{
    ssize_t n = (ssize_t)strlen(text);
    if (ftruncate(d->lock_fd, 0) == 0 && pwrite(d->lock_fd, text, (size_t)n, 0) == n &&
        (fsync(d->lock_fd) == 0 || errno == EINVAL))
        return SOL_OK;
    return sol_fail_errno(err, d->path, "lock: cannot write");
}

static void look_for_files(sol_run_dir *d)
{
    char path[SOL_PATH_MAX];
    for (int i = 1; i < SOL_RUN_DIR_FILES; i++) {
        sol_run_dir_file(d, own_files[i], path);
        d->had[i] = is_there(path);
    }
}

/* Whether text [n] may be what write_lock left in a file: all of it, or as much as a killed process
 * or a lost power let through, which may be bytes of 0. */
static bool is_ours(const char *text, size_t n)
{
    size_t digits = strspn(text, "0123456789"), zeros = 0;
    while (zeros < n && text[zeros] == 0) zeros++;
    return digits == n || zeros == n || strcmp(text + digits, "\n") == 0;
}

static sol_status lock_dir(sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX];
    bool taken;
    int fd;
    sol_run_dir_file(d, "lock", path);
    d->had[0] = is_there(path);
    sol_status st =
        sol_lock_open(&fd, &(sol_lock){.path = path, .name = path, .must = true}, &taken, err);
    if (st != SOL_OK) return st;
    ssize_t n = read(fd, d->lock_was, sizeof d->lock_was - 1);
    d->lock_was[n > 0 ? n : 0] = 0;
    size_t digits = strspn(d->lock_was, "0123456789");
    if (taken)
        st = sol_fail(err, SOL_ERR_LOCKED, "%s: in use by process %.*s", d->path,
                      digits ? (int)digits : 9, digits ? d->lock_was : "(unknown)");
    else if (n < 0)
        st = sol_fail_errno(err, path, "cannot read");
    else if (n + 1 == sizeof d->lock_was || !is_ours(d->lock_was, (size_t)n))
        st = sol_fail(err, SOL_ERR_IO,
                      "%s: is not the lock of a run, which holds the number of a process", path);
    if (st != SOL_OK) {
        close(fd);
        return st;
    }
    d->lock_fd = fd;
    look_for_files(d);
    return SOL_OK;
}

static sol_status sign_lock(sol_run_dir *d, sol_err *err)
{
    snprintf(d->lock_is, sizeof d->lock_is, "%ld\n", (long)getpid());
    return write_lock(d, d->lock_is, err);
}

/* ---- listing ---- */

bool sol_run_dir_step_of(const char *name, uint64_t *step)
{
    char exact[32];
    if (strncmp(name, "step-", 5) != 0) return false;
    *step = strtoull(name + 5, NULL, 10);
    snprintf(exact, sizeof exact, "step-%06" PRIu64 ".h5", *step);
    return strcmp(exact, name) == 0;
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
    for (struct dirent *e; (e = readdir(dir));) {
        if (!sol_run_dir_step_of(e->d_name, &step)) continue;
        st = sol_grow_array((void **)steps, &capacity, (size_t)*n + 1, sizeof **steps, err);
        if (st != SOL_OK) break;
        (*steps)[(*n)++] = step;
    }
    closedir(dir);
    if (*n) qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
    return st;
}

static sol_status link_best(const sol_run_dir *d, uint64_t best, sol_err *err)
{
    char link[SOL_PATH_MAX], temp[SOL_PATH_MAX], path[SOL_PATH_MAX];
    struct stat s;
    sol_run_dir_file(d, "ckpt/best.h5", link);
    sol_run_dir_file(d, "ckpt/best.h5.tmp", temp);
    sol_run_dir_checkpoint(d, best, path);
    if (!best || !sol_file_exists(path)) return SOL_OK;
    if (lstat(temp, &s) == 0 && S_ISLNK(s.st_mode)) unlink(temp);
    if (symlink(strrchr(path, '/') + 1, temp) != 0 || rename(temp, link) != 0)
        return sol_fail_errno(err, link, "cannot link");
    return SOL_OK;
}

/* All but the first `keep` of steps[n], and the best. */
static sol_status remove_old(const sol_run_dir *d, const uint64_t *steps, int n, int64_t keep,
                             uint64_t best, sol_err *err)
{
    for (int i = 0; i < n; i++) {
        char path[SOL_PATH_MAX];
        sol_run_dir_checkpoint(d, steps[i], path);
        if (i >= keep && steps[i] != best && unlink(path) != 0 && errno != ENOENT)
            return sol_fail_errno(err, path, "cannot remove");
    }
    return SOL_OK;
}

sol_status sol_run_dir_prune(const sol_run_dir *d, int64_t keep, uint64_t best, sol_err *err)
{
    uint64_t *steps = NULL;
    int n = 0;
    sol_status st = link_best(d, best, err);
    if (st == SOL_OK) st = sol_run_dir_steps(d, &steps, &n, err);
    if (st == SOL_OK) st = remove_old(d, steps, n, keep, best, err);
    sol_free(steps);
    return st;
}

/* Of a file that is ours; a link of that name is not. */
static void remove_leftover(const char *path)
{
    struct stat s;
    if (lstat(path, &s) == 0 && S_ISREG(s.st_mode) && s.st_nlink == 1) unlink(path);
}

/* A killed process leaves at most the temporary file of the write it was in. */
static sol_status remove_leftovers(const sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX], name[320];
    uint64_t step;
    for (int i = 1; i < SOL_RUN_DIR_FILES; i++) { /* the lock has none */
        snprintf(name, sizeof name, "%s.tmp", own_files[i]);
        sol_run_dir_file(d, name, path);
        remove_leftover(path);
    }
    sol_run_dir_file(d, "ckpt", path);
    DIR *dir = opendir(path);
    if (!dir) return sol_fail_errno(err, path, "cannot read");
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 4, ".tmp") != 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)n - 4, e->d_name);
        if (!sol_run_dir_step_of(name, &step)) continue;
        snprintf(name, sizeof name, "ckpt/%s", e->d_name);
        sol_run_dir_file(d, name, path);
        remove_leftover(path);
    }
    closedir(dir);
    return SOL_OK;
}

/* ---- opening ---- */

static sol_status look_for_run(sol_run_dir *d, sol_err *err)
{
    uint64_t *steps;
    int n;
    d->has_run = d->had[1];
    sol_status st = sol_run_dir_steps(d, &steps, &n, err);
    if (n > 0) d->has_run = true;
    sol_free(steps);
    return st;
}

/* A new run would overwrite what somebody keeps here under these names; log.txt is only added to.
 */
static sol_status refuse_foreign(const sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX];
    const char *name = NULL;
    for (int i = 1; i < SOL_RUN_DIR_FILES; i++)
        if (d->had[i] && strcmp(own_files[i], "log.txt") != 0) {
            name = own_files[i];
            break;
        }
    sol_run_dir_file(d, "ckpt/best.h5", path);
    if (!name && is_there(path)) name = "ckpt/best.h5";
    if (!name) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE,
                    "%s: holds no run, but %s, which a run would overwrite: move it away or take "
                    "another run.dir",
                    d->path, name);
}

/* What would stop the run at its first checkpoint that is the best: only links go over links. */
static sol_status check_best(const sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX];
    struct stat s;
    sol_run_dir_file(d, "ckpt/best.h5.tmp", path);
    bool bad = lstat(path, &s) == 0 && !S_ISLNK(s.st_mode);
    if (!bad) {
        sol_run_dir_file(d, "ckpt/best.h5", path);
        bad = lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
    }
    if (!bad) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE,
                    "%s: is in the place of the link to the best checkpoint: move it away", path);
}

/* How much of a path's directories is there already. */
static size_t part_that_is_there(const char *path)
{
    char part[SOL_PATH_MAX];
    size_t n = strlen(path);
    memcpy(part, path, n + 1);
    while (n > 0 && !is_there(part)) {
        while (n > 0 && part[n - 1] != '/') n--;
        while (n > 1 && part[n - 1] == '/') n--;
        part[n] = 0;
    }
    return n;
}

sol_status sol_run_dir_open(sol_run_dir *d, const char *path, bool resume, sol_err *err)
{
    char ckpt[SOL_PATH_MAX];
    memset(d, 0, sizeof *d);
    d->lock_fd = d->metrics_fd = -1;
    if (strlen(path) >= sizeof d->path)
        return sol_fail(err, SOL_ERR_IO, "run.dir %.100s...: path is too long", path);
    memcpy(d->path, path, strlen(path) + 1);
    sol_run_dir_file(d, "ckpt", ckpt);
    d->had_dirs = part_that_is_there(ckpt);
    SOL_TRY(sol_dir_create(ckpt, err));
    SOL_TRY(lock_dir(d, err));
    SOL_TRY(look_for_run(d, err));
    if (d->has_run && !resume)
        return sol_fail(
            err, SOL_ERR_USAGE,
            "%s: holds a run already; --resume goes on with it, another run.dir starts a new one",
            path);
    if (!d->has_run) SOL_TRY(refuse_foreign(d, err));
    SOL_TRY(check_best(d, err));
    return sign_lock(d, err);
}

sol_status sol_run_dir_join(sol_run_dir *d, const sol_run_dir *first, sol_err *err)
{
    char path[SOL_PATH_MAX], *text = NULL;
    size_t n;
    sol_run_dir_file(first, "lock", path);
    bool same = sol_file_read(path, &text, &n, NULL) == SOL_OK && strcmp(text, first->lock_is) == 0;
    sol_free(text);
    memset(d, 0, sizeof *d);
    d->lock_fd = d->metrics_fd = -1;
    d->has_run = first->has_run;
    d->begun = true;
    memcpy(d->path, first->path, sizeof d->path);
    if (same) return SOL_OK;
    return sol_fail(err, SOL_ERR_IO,
                    "%s: is not the directory that rank 0 has under this name: run.dir must lie on "
                    "a file system that all ranks share",
                    d->path);
}

static sol_status write_config(const sol_run_dir *d, const char *yaml, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(d, "config.yaml", path);
    return sol_file_write(path, yaml, strlen(yaml), err);
}

sol_status sol_run_dir_claim(sol_run_dir *d, const char *config_yaml, sol_err *err)
{
    return d->has_run ? SOL_OK : write_config(d, config_yaml, err);
}

/* A line that a crash cut short is ended. */
static sol_status open_log(sol_run_dir *d, sol_err *err)
{
    char path[SOL_PATH_MAX], last = '\n';
    int fd;
    sol_run_dir_file(d, "log.txt", path);
    SOL_TRY(sol_own_open(&fd, path, path, O_RDWR | O_CREAT | O_APPEND, err));
    off_t end = lseek(fd, 0, SEEK_END);
    if (end > 0 && pread(fd, &last, 1, end - 1) != 1) last = '\n';
    d->log = fdopen(fd, "a");
    if (!d->log) {
        close(fd);
        return sol_fail_errno(err, path, "cannot write");
    }
    if (last != '\n') fputc('\n', d->log);
    return SOL_OK;
}

static const char line_head[] = "{\"step\": ";

static uint64_t step_of_line(const char *line)
{
    return strtoull(line + sizeof line_head - 1, NULL, 10);
}

/* Is it one whole line of metrics, its break included, of a step up to `last`? */
static bool is_kept(const char *line, size_t n, uint64_t last)
{
    if (n < sizeof line_head + 2 || memcmp(line, line_head, sizeof line_head - 1) != 0 ||
        memcmp(line + n - 2, "}\n", 2) != 0)
        return false;
    return !memchr(line, 0, n) && step_of_line(line) <= last;
}

/* The last line in text[*n] that is kept, NULL where there is none; *n becomes where it ends. A
 * crash may have taken lines, cut the last one or left zeros in its place. */
static const char *find_last_line(const char *text, size_t *n, uint64_t last)
{
    for (size_t from; *n > 0; *n = from) {
        const char *before = *n > 1 ? memrchr(text, '\n', *n - 1) : NULL;
        from = before ? (size_t)(before + 1 - text) : 0;
        if (is_kept(text + from, *n - from, last)) return text + from;
    }
    return NULL;
}

/* What is kept of metrics.jsonl: up to `bytes`, where the checkpoint of `step` saw it end. */
static sol_status find_cut(const sol_run_dir *d, const char *path, uint64_t *bytes, uint64_t step,
                           sol_err *err)
{
    sol_in in = {.fd = d->metrics_fd, .path = path};
    sol_map map;
    struct stat s;
    if (fstat(in.fd, &s) != 0) return sol_fail_errno(err, path, "cannot read");
    in.size = (uint64_t)s.st_size;
    SOL_TRY(sol_in_map(&in, &map, err));
    size_t n = map.size < *bytes ? map.size : (size_t)*bytes;
    find_last_line((const char *)map.data, &n, step);
    sol_map_close(&map);
    *bytes = n;
    return SOL_OK;
}

sol_status sol_run_dir_last_step(const sol_run_dir *d, uint64_t *step, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_map map;
    *step = 0;
    sol_run_dir_file(d, "metrics.jsonl", path);
    if (!sol_file_exists(path)) return SOL_OK;
    SOL_TRY(sol_map_open(&map, path, err));
    size_t n = map.size;
    const char *line = find_last_line((const char *)map.data, &n, UINT64_MAX);
    if (line) *step = step_of_line(line);
    sol_map_close(&map);
    return SOL_OK;
}

static sol_status open_metrics(sol_run_dir *d, uint64_t bytes, uint64_t step, bool *lost,
                               sol_err *err)
{
    char path[SOL_PATH_MAX];
    uint64_t kept = bytes;
    sol_run_dir_file(d, "metrics.jsonl", path);
    SOL_TRY(sol_own_open(&d->metrics_fd, path, path, O_RDWR | O_CREAT | O_APPEND, err));
    SOL_TRY(find_cut(d, path, &kept, step, err));
    if (ftruncate(d->metrics_fd, (off_t)kept) != 0) return sol_fail_errno(err, path, "cannot cut");
    d->metrics_bytes = kept;
    *lost = kept < bytes;
    return SOL_OK;
}

sol_status sol_run_dir_begin(sol_run_dir *d, const char *config_yaml, uint64_t bytes, uint64_t step,
                             bool *lost, sol_err *err)
{
    sol_status st = open_log(d, err);
    if (st == SOL_OK) st = open_metrics(d, bytes, step, lost, err);
    if (st == SOL_OK) st = remove_leftovers(d, err);
    if (st == SOL_OK && d->has_run) st = write_config(d, config_yaml, err);
    d->begun = st == SOL_OK;
    return st;
}

/* rmdir takes empty directories only: nobody's file is lost. */
static void take_back(const sol_run_dir *d)
{
    char path[SOL_PATH_MAX];
    for (int i = 1; i < SOL_RUN_DIR_FILES; i++) {
        sol_run_dir_file(d, own_files[i], path);
        if (!d->had[i]) unlink(path);
    }
    sol_run_dir_file(d, "lock", path);
    if (d->had[0])
        write_lock(d, d->lock_was, NULL);
    else
        unlink(path);
}

static void remove_made_dirs(const sol_run_dir *d)
{
    char path[SOL_PATH_MAX];
    sol_run_dir_file(d, "ckpt", path);
    for (size_t n = strlen(path); n > d->had_dirs; path[n] = 0) {
        if (rmdir(path) != 0 && errno != ENOENT) return;
        while (n > 0 && path[n - 1] != '/') n--;
        while (n > 1 && path[n - 1] == '/') n--;
    }
}

void sol_run_dir_keep(sol_run_dir *d)
{
    d->begun = true;
}

void sol_run_dir_close(sol_run_dir *d)
{
    if (!d->path[0]) return;
    if (d->log) fclose(d->log);
    sol_free(d->waiting.data);
    if (d->metrics_fd >= 0) close(d->metrics_fd);
    if (d->lock_fd >= 0 && !d->begun) take_back(d);
    if (!d->begun) remove_made_dirs(d);
    if (d->lock_fd >= 0) close(d->lock_fd);
    memset(d, 0, sizeof *d);
    d->lock_fd = d->metrics_fd = -1;
}

/* ---- metrics.jsonl ---- */

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
    if (d->waiting.n) SOL_TRY(append(d, d->waiting.data, d->waiting.n, err));
    d->waiting.n = 0;
    return SOL_OK;
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
    SOL_TRY(append_waiting(d, err));
    if (d->metrics_fd >= 0 && fsync(d->metrics_fd) != 0 && errno != EINVAL)
        return sol_fail_errno(err, d->path, "metrics.jsonl: cannot sync");
    return SOL_OK;
}
