#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"

sol_status sol_fail_errno(sol_err *err, const char *path, const char *what)
{
    int e = errno;
    sol_status st = e == ENOSPC || e == EDQUOT ? SOL_ERR_NOSPACE : SOL_ERR_IO;
    return sol_fail(err, st, "%s: %s: %s", path, what, strerror(e));
}

static sol_status open_regular(int *fd, size_t *size, const char *path, sol_err *err)
{
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return sol_fail_errno(err, path, "cannot open");
    sol_status st = SOL_OK;
    if (fstat(*fd, &s) != 0)
        st = sol_fail_errno(err, path, "cannot read");
    else if (!S_ISREG(s.st_mode))
        st = sol_fail(err, SOL_ERR_IO, "%s: is not a regular file", path);
    if (st != SOL_OK) {
        close(*fd);
        *fd = -1;
        return st;
    }
    *size = (size_t)s.st_size;
    return SOL_OK;
}

sol_status sol_file_read(const char *path, char **data, size_t *size, sol_err *err)
{
    int fd;
    size_t n = 0, got = 0;
    *data = NULL;
    *size = 0;
    sol_status st = open_regular(&fd, &n, path, err);
    if (st != SOL_OK) return st;
    st = sol_alloc_array((void **)data, n + 1, 1, err);
    while (st == SOL_OK && got < n) {
        ssize_t r = read(fd, *data + got, n - got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) st = sol_fail_errno(err, path, "cannot read");
        if (r == 0) break; /* the file shrank meanwhile: what is there counts */
        if (r > 0) got += (size_t)r;
    }
    close(fd);
    if (st != SOL_OK) {
        sol_free(*data);
        *data = NULL;
        return st;
    }
    (*data)[got] = 0;
    *size = got;
    return SOL_OK;
}

sol_status sol_map_open(sol_map *map, const char *path, sol_err *err)
{
    int fd;
    size_t n = 0;
    *map = (sol_map){0};
    sol_status st = open_regular(&fd, &n, path, err);
    if (st != SOL_OK) return st;
    if (n > 0) {
        void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = sol_fail_errno(err, path, "cannot map");
        else
            *map = (sol_map){p, n};
    }
    close(fd);
    return st;
}

void sol_map_close(sol_map *map)
{
    if (map->data) munmap((void *)map->data, map->size);
    *map = (sol_map){0};
}

static sol_status sync_path(const char *path, int flags, sol_err *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return sol_fail_errno(err, path, "cannot open to sync");
    sol_status st = SOL_OK;
    /* Some file systems cannot sync a directory and say EINVAL: there is nothing more to do there. */
    if (fsync(fd) != 0 && errno != EINVAL) st = sol_fail_errno(err, path, "cannot sync");
    close(fd);
    return st;
}

static void parent_dir(char out[SOL_PATH_MAX], const char *path)
{
    snprintf(out, SOL_PATH_MAX, "%s", path);
    char *slash = strrchr(out, '/');
    if (!slash)
        snprintf(out, SOL_PATH_MAX, ".");
    else
        slash[slash == out] = 0;
}

sol_status sol_replace_begin(sol_replace *r, const char *path, sol_err *err)
{
    struct stat s;
    memset(r, 0, sizeof *r);
    if (strlen(path) > SOL_PATH_MAX - 32) return sol_fail(err, SOL_ERR_IO, "%.200s...: path is too long", path);
    if (path[0] == 0) return sol_fail(err, SOL_ERR_IO, "the path to write to is empty");
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode))
        return sol_fail(err, SOL_ERR_IO, "%s: exists and is not a regular file", path);
    memcpy(r->path, path, strlen(path) + 1);
    /* A fixed suffix, so that a leftover of a killed process is overwritten by its successor and never piles up. */
    memcpy(r->temp_path, path, strlen(path) + 1);
    strcat(r->temp_path, ".tmp");
    int fd = open(r->temp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        sol_status st = sol_fail_errno(err, path, "cannot write");
        r->temp_path[0] = 0;
        return st;
    }
    close(fd);
    return SOL_OK;
}

sol_status sol_replace_commit(sol_replace *r, sol_err *err)
{
    char dir[SOL_PATH_MAX];
    sol_status st = sync_path(r->temp_path, O_RDWR, err);
    if (st != SOL_OK) return st;
    if (rename(r->temp_path, r->path) != 0) return sol_fail_errno(err, r->path, "cannot rename into place");
    r->temp_path[0] = 0;
    parent_dir(dir, r->path);
    return sync_path(dir, O_RDONLY | O_DIRECTORY, err);
}

void sol_replace_abort(sol_replace *r)
{
    if (r->temp_path[0]) unlink(r->temp_path);
    r->temp_path[0] = 0;
}

static sol_status write_all(const char *path, const void *data, size_t size, sol_err *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return sol_fail_errno(err, path, "cannot write");
    sol_status st = SOL_OK;
    for (size_t done = 0; st == SOL_OK && done < size;) {
        ssize_t w = write(fd, (const char *)data + done, size - done);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0)
            st = sol_fail_errno(err, path, "cannot write");
        else
            done += (size_t)w;
    }
    if (close(fd) != 0 && st == SOL_OK) st = sol_fail_errno(err, path, "cannot write");
    return st;
}

sol_status sol_file_write(const char *path, const void *data, size_t size, sol_err *err)
{
    sol_replace r;
    sol_status st = sol_replace_begin(&r, path, err);
    if (st == SOL_OK) st = write_all(r.temp_path, data, size, err);
    if (st == SOL_OK) st = sol_replace_commit(&r, err);
    if (st != SOL_OK) sol_replace_abort(&r);
    return st;
}

bool sol_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

sol_status sol_file_size(const char *path, uint64_t *size, sol_err *err)
{
    struct stat s;
    if (stat(path, &s) != 0) return sol_fail_errno(err, path, "cannot read");
    *size = (uint64_t)s.st_size;
    return SOL_OK;
}

sol_status sol_dir_create(const char *path, sol_err *err)
{
    char part[SOL_PATH_MAX];
    struct stat s;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return sol_fail(err, SOL_ERR_IO, "'%.200s': not a usable directory path", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char keep = part[i];
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return sol_fail_errno(err, part, "cannot make directory");
        part[i] = keep;
    }
    if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode))
        return sol_fail(err, SOL_ERR_IO, "%s: exists and is not a directory", path);
    return SOL_OK;
}

sol_status sol_dir_free_space(const char *path, uint64_t *bytes, sol_err *err)
{
    char dir[SOL_PATH_MAX];
    struct statvfs v;
    snprintf(dir, sizeof dir, "%s", path);
    while (statvfs(dir, &v) != 0) {
        if (errno != ENOENT || strcmp(dir, ".") == 0 || strcmp(dir, "/") == 0)
            return sol_fail_errno(err, path, "cannot ask for free space");
        char up[SOL_PATH_MAX];
        parent_dir(up, dir);
        memcpy(dir, up, sizeof dir);
    }
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return SOL_OK;
}
