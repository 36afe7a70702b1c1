/* Reading, mapping, locking and atomic replacement of files. All writers of the library and the
 * program go through here. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/mem.h"

/* Arrays go into files, and come from them, as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "every file here is little-endian");

static sol_status status_of(int e)
{
    switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return SOL_ERR_NOSPACE;
    case EIO:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ENOLCK: return SOL_ERR_SYSTEM;
    default: return SOL_ERR_IO;
    }
}

sol_status sol_fail_errno(sol_err *err, const char *path, const char *what)
{
    int e = errno;
    return sol_fail(err, status_of(e), "%s: %s: %s", path, what, strerror(e));
}

static const char lfs[] = "version https://git-lfs.github.com/spec/";
enum { LFS = sizeof lfs - 1 };

sol_status sol_file_refuse_pointer(const char *path, const char *head, size_t n, sol_err *err)
{
    if (n < LFS || memcmp(head, lfs, LFS) != 0) return SOL_OK;
    return sol_fail(
        err, SOL_ERR_FORMAT,
        "%s: is a pointer of Git LFS in the place of the file: `git lfs pull` fetches it", path);
}

static sol_status refuse_pointer(int fd, const char *path, sol_err *err)
{
    char head[LFS];
    ssize_t n;
    do n = pread(fd, head, LFS, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) return sol_fail_errno(err, path, "cannot read");
    return sol_file_refuse_pointer(path, head, (size_t)n, err);
}

static sol_status open_regular(int *fd, size_t *size, const char *path, sol_err *err)
{
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO waits for nobody */
    if (*fd < 0) return sol_fail_errno(err, path, "cannot open");
    sol_status st = SOL_OK;
    if (fstat(*fd, &s) != 0)
        st = sol_fail_errno(err, path, "cannot read");
    else if (!S_ISREG(s.st_mode))
        st = sol_fail(err, SOL_ERR_IO, "%s: is not a regular file", path);
    else
        st = refuse_pointer(*fd, path, err);
    if (st != SOL_OK) {
        close(*fd);
        *fd = -1;
        return st;
    }
    *size = (size_t)s.st_size;
    return SOL_OK;
}

/* Reads up to n bytes into data [n + 1] and ends them with a 0 byte; *size: how many there were. */
static sol_status read_all(int fd, const char *path, char *data, size_t n, size_t *size,
                           sol_err *err)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(fd, data + got, n - got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return sol_fail_errno(err, path, "cannot read");
        if (r == 0) break; /* the file shrank meanwhile: what is there counts */
        got += (size_t)r;
    }
    data[got] = 0;
    *size = got;
    return SOL_OK;
}

sol_status sol_file_read(const char *path, char **data, size_t *size, sol_err *err)
{
    int fd;
    size_t n = 0;
    *data = NULL;
    *size = 0;
    SOL_TRY(open_regular(&fd, &n, path, err));
    sol_status st = sol_alloc_array((void **)data, n + 1, 1, err);
    if (st == SOL_OK) st = read_all(fd, path, *data, n, size, err);
    close(fd);
    if (st != SOL_OK) {
        sol_free(*data);
        *data = NULL;
    }
    return st;
}

sol_status sol_in_open(sol_in *in, const char *path, sol_err *err)
{
    size_t size = 0;
    *in = (sol_in){.fd = -1, .path = path};
    sol_status st = open_regular(&in->fd, &size, path, err);
    in->size = size;
    return st;
}

sol_status sol_in_read(const sol_in *in, uint64_t offset, void *data, size_t n, sol_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = pread(in->fd, (char *)data + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return sol_fail_errno(err, in->path, "cannot read");
        if (r == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "%s: ends at byte %llu, %zu bytes too early",
                            in->path, (unsigned long long)(offset + done), n - done);
        done += (size_t)r;
    }
    return SOL_OK;
}

sol_status sol_file_head(const char *path, void *head, size_t n, sol_err *err)
{
    sol_in in;
    memset(head, 0, n);
    SOL_TRY(sol_in_open(&in, path, err));
    sol_status st = sol_in_read(&in, 0, head, in.size < n ? (size_t)in.size : n, err);
    sol_in_close(&in);
    return st;
}

sol_status sol_in_map(const sol_in *in, sol_map *map, sol_err *err)
{
    *map = (sol_map){0};
    if (in->size == 0) return SOL_OK;
    void *p = mmap(NULL, in->size, PROT_READ, MAP_PRIVATE, in->fd, 0);
    if (p == MAP_FAILED) return sol_fail_errno(err, in->path, "cannot map");
    *map = (sol_map){p, in->size};
    return SOL_OK;
}

void sol_in_close(sol_in *in)
{
    if (in->fd >= 0) close(in->fd);
    in->fd = -1;
}

sol_status sol_map_open(sol_map *map, const char *path, sol_err *err)
{
    sol_in in;
    *map = (sol_map){0};
    sol_status st = sol_in_open(&in, path, err);
    if (st == SOL_OK) st = sol_in_map(&in, map, err);
    sol_in_close(&in);
    return st;
}

void sol_map_close(sol_map *map)
{
    if (map->data) munmap((void *)map->data, map->size);
    *map = (sol_map){0};
}

sol_status sol_file_crc(const char *path, uint32_t *crc, sol_err *err)
{
    sol_map map;
    SOL_TRY(sol_map_open(&map, path, err));
    *crc = sol_crc32c(0, map.data, map.size);
    sol_map_close(&map);
    return SOL_OK;
}

static sol_status sync_path(const char *path, int flags, sol_err *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return sol_fail_errno(err, path, "cannot open to sync");
    sol_status st = SOL_OK;
    /* Some file systems cannot sync a directory and say EINVAL: nothing more can be done there. */
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

sol_status sol_own_open(int *fd, const char *path, const char *name, int flags, sol_err *err)
{
    struct stat s;
    const char *what = NULL;
    *fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666);
    bool unread = *fd < 0 && errno == ENXIO; /* a FIFO without a reader */
    if (*fd < 0 && errno == ELOOP && lstat(path, &s) == 0 && S_ISLNK(s.st_mode))
        what = "is a symbolic link";
    else if (!unread && (*fd < 0 || fstat(*fd, &s) != 0))
        return sol_fail_errno(err, name, "cannot write");
    else if (unread || !S_ISREG(s.st_mode))
        what = "is not a regular file";
    else if (s.st_nlink > 1)
        what = "has a second name (a hard link)";
    if (!what) return SOL_OK;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return sol_fail(
        err, SOL_ERR_IO,
        "%s: %s, where only a file of its own is written: remove it or put a copy there", path,
        what);
}

/* Opens the lock file and locks it. *taken: another process holds it. *again: its owner renamed or
 * removed the file between our open and our lock, so that what we locked has no name any more. */
static sol_status try_lock(int *out, const sol_lock *l, bool *taken, bool *again, sol_err *err)
{
    struct stat mine, there;
    int fd;
    sol_status st = sol_own_open(&fd, l->path, l->name, O_RDWR | O_CREAT, err);
    if (st != SOL_OK) return st;
    int rc;
    do rc = flock(fd, l->wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    bool mine_now = rc == 0;
    *taken = !mine_now && errno == EWOULDBLOCK;
    if (!mine_now && !*taken && l->must)
        st = sol_fail_errno(err, l->name, "cannot lock");
    else if (fstat(fd, &mine) != 0)
        st = sol_fail_errno(err, l->name, "cannot read");
    *again =
        st == SOL_OK && !*taken &&
        (stat(l->path, &there) != 0 || there.st_ino != mine.st_ino || there.st_dev != mine.st_dev);
    if (st != SOL_OK || *again)
        close(fd);
    else
        *out = fd;
    return st;
}

sol_status sol_lock_open(int *fd, const sol_lock *what, bool *taken, sol_err *err)
{
    bool again;
    *fd = -1;
    *taken = false;
    do {
        SOL_TRY(try_lock(fd, what, taken, &again, err));
    } while (again);
    return SOL_OK;
}

static void unlock(sol_replace *r)
{
    if (r->lock >= 0) close(r->lock);
    r->lock = -1;
}

/* The temporary file is never more open than the one that it replaces. */
static sol_status set_mode(const sol_replace *r, unsigned mode, sol_err *err)
{
    if (r->mode == 0 || fchmod(r->lock, (mode_t)mode) == 0) return SOL_OK;
    return sol_fail_errno(err, r->path, "cannot keep the permissions");
}

/* Makes and locks the temporary file of `path`, empty and with its permissions. */
static sol_status begin(sol_replace *r, const char *path, bool wait, sol_err *err)
{
    struct stat s;
    bool taken = false;
    memset(r, 0, sizeof *r);
    r->lock = -1;
    if (strlen(path) > SOL_PATH_MAX - 32)
        return sol_fail(err, SOL_ERR_IO, "%.200s...: path is too long", path);
    if (path[0] == 0) return sol_fail(err, SOL_ERR_IO, "the path to write to is empty");
    SOL_TRY(sol_path_check(path, err));
    bool there = stat(path, &s) == 0;
    if (there && !S_ISREG(s.st_mode))
        return sol_fail(err, SOL_ERR_IO, "%s: exists and is not a regular file", path);
    r->mode = there ? s.st_mode & 0777 : 0;
    memcpy(r->path, path, strlen(path) + 1);
    /* The suffix is fixed, so that what a killed process leaves is overwritten by its successor and
     * never piles up. */
    memcpy(r->temp_path, path, strlen(path) + 1);
    strcat(r->temp_path, ".tmp");
    sol_status st = sol_lock_open(
        &r->lock, &(sol_lock){.path = r->temp_path, .name = path, .wait = wait}, &taken, err);
    if (taken)
        st = sol_fail(err, SOL_ERR_LOCKED, "%s: another process is writing it", path);
    else if (st == SOL_OK && ftruncate(r->lock, 0) != 0)
        st = sol_fail_errno(err, path, "cannot write");
    else if (st == SOL_OK)
        st = set_mode(r, r->mode | S_IRUSR | S_IWUSR, err);
    if (st != SOL_OK) {
        if (r->lock >= 0 && !taken) unlink(r->temp_path);
        unlock(r);
        r->temp_path[0] = 0;
    }
    return st;
}

sol_status sol_replace_begin(sol_replace *r, const char *path, uint64_t bytes, sol_err *err)
{
    struct statvfs v;
    sol_status st = begin(r, path, false, err);
    if (st != SOL_OK || bytes == 0) return st;
    if (fstatvfs(r->lock, &v) != 0)
        st = sol_fail_errno(err, path, "cannot ask for free space");
    else if ((uint64_t)v.f_bavail * v.f_frsize < bytes)
        st = sol_fail(err, SOL_ERR_NOSPACE,
                      "%s: needs %.3f MB, but only %.3f MB are free on its file system", path,
                      (double)bytes / 1e6, (double)v.f_bavail * (double)v.f_frsize / 1e6);
    if (st != SOL_OK) sol_replace_abort(r);
    return st;
}

sol_status sol_replace_commit(sol_replace *r, sol_err *err)
{
    char dir[SOL_PATH_MAX];
    SOL_TRY(sync_path(r->temp_path, O_RDWR, err));
    SOL_TRY(set_mode(r, r->mode, err));
    if (rename(r->temp_path, r->path) != 0)
        return sol_fail_errno(err, r->path, "cannot rename into place");
    r->temp_path[0] = 0;
    unlock(r);
    parent_dir(dir, r->path);
    return sync_path(dir, O_RDONLY | O_DIRECTORY, err);
}

void sol_replace_abort(sol_replace *r)
{
    if (r->temp_path[0]) unlink(r->temp_path);
    r->temp_path[0] = 0;
    unlock(r);
}

sol_status sol_out_open(sol_out *o, const sol_replace *r, sol_err *err)
{
    *o = (sol_out){.fd = -1, .path = r->path};
    return sol_own_open(&o->fd, r->temp_path, r->path, O_WRONLY, err);
}

sol_status sol_out_reopen(sol_out *o, const char *path, sol_err *err)
{
    *o = (sol_out){.fd = -1, .path = path};
    return sol_own_open(&o->fd, path, path, O_WRONLY, err);
}

sol_status sol_out_lock(const sol_out *o, sol_err *err)
{
    if (flock(o->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return SOL_OK;
    return sol_fail(err, SOL_ERR_LOCKED, "%s: another process is writing it", o->path);
}

sol_status sol_out_sync(const sol_out *o, sol_err *err)
{
    return fdatasync(o->fd) != 0 && errno != EINVAL ? sol_fail_errno(err, o->path, "cannot sync")
                                                    : SOL_OK;
}

/* Tells the disk to begin with every full 32 MiB at once, so that the sync at the end of a large
 * file finds little left to do. It is a hint: where it fails, that sync does it all. */
static void start_writeback(const sol_out *o, uint64_t from, uint64_t to)
{
#ifdef SYNC_FILE_RANGE_WRITE
    const uint64_t step = 32u << 20;
    uint64_t first = from / step * step, end = to / step * step;
    if (end > first)
        (void)!sync_file_range(o->fd, (off_t)first, (off_t)(end - first), SYNC_FILE_RANGE_WRITE);
#else
    (void)o, (void)from, (void)to;
#endif
}

sol_status sol_out_write(sol_out *o, uint64_t offset, const void *data, size_t n, sol_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = pwrite(o->fd, (const char *)data + done, n - done, (off_t)(offset + done));
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return sol_fail_errno(err, o->path, "cannot write");
        done += (size_t)w;
    }
    start_writeback(o, offset, offset + n);
    return SOL_OK;
}

sol_status sol_out_close(sol_out *o, sol_err *err)
{
    int fd = o->fd;
    o->fd = -1;
    if (fd >= 0 && close(fd) != 0) return sol_fail_errno(err, o->path, "cannot write");
    return SOL_OK;
}

sol_status sol_file_write(const char *path, const void *data, size_t size, sol_err *err)
{
    sol_replace r;
    sol_out o = {.fd = -1};
    sol_status st = begin(&r, path, true, err);
    if (st == SOL_OK) st = sol_out_open(&o, &r, err);
    if (st == SOL_OK) st = sol_out_write(&o, 0, data, size, err);
    sol_status closed = sol_out_close(&o, st == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = closed;
    if (st == SOL_OK) st = sol_replace_commit(&r, err);
    if (st != SOL_OK) sol_replace_abort(&r);
    return st;
}

sol_status sol_path_check(const char *path, sol_err *err)
{
    if (path[0] == '~')
        return sol_fail(
            err, SOL_ERR_USAGE,
            "'%s': ~ is not expanded here: write the path out, or ./~ for a name that begins so",
            path);
    for (const char *at = path; (at = strchr(at, '$')); at++)
        if (at[1] == '{' || at[1] == '_' || ((at[1] | 32) >= 'a' && (at[1] | 32) <= 'z'))
            return sol_fail(err, SOL_ERR_USAGE,
                            "'%s': $NAME is not expanded here: write the path out", path);
    return SOL_OK;
}

sol_status sol_path_join(char out[SOL_PATH_MAX], const char *dir, const char *name, sol_err *err)
{
    if ((size_t)snprintf(out, SOL_PATH_MAX, "%s/%s", dir, name) >= SOL_PATH_MAX)
        return sol_fail(err, SOL_ERR_IO, "%.200s...: path is too long", dir);
    return SOL_OK;
}

const char *sol_path_last(const char *path, size_t *n)
{
    size_t to = strlen(path);
    while (to > 1 && path[to - 1] == '/') to--;
    size_t from = to;
    while (from > 0 && path[from - 1] != '/') from--;
    *n = to - from;
    return path + from;
}

bool sol_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

sol_status sol_file_differs(const char *in, const char *out, sol_err *err)
{
    struct stat a, b;
    if (stat(in, &a) != 0 || stat(out, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
        return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE, "%s: is read, too: write another file", out);
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
    if (n == 0 || n >= sizeof part)
        return sol_fail(err, SOL_ERR_IO, "'%.200s': not a usable directory path", path);
    SOL_TRY(sol_path_check(path, err));
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char keep = part[i];
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return sol_fail_errno(err, part, "cannot make directory");
        part[i] = keep;
    }
    if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode))
        return sol_fail(err, SOL_ERR_IO, "%s: exists and is not a directory", path);
    return SOL_OK;
}
