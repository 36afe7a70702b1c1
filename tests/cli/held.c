/* `solera` with a brake, for the scripts beside this file: the program's own objects, linked so
 * that each call by which they change a file passes here first (--wrap, see the Makefile). What is
 * on the disk does not change between two such calls, so that whoever can stop at each of them can
 * stop at every moment that matters, on a processor of any speed. From the environment:
 *
 *     HOLD=DIR HOLD_AT=NAME:N  stands before its N-th write to files called NAME: makes DIR/held,
 *                              waits for a line in the FIFO DIR/go, and goes on to the place that
 *                              the line names, or to the end where it names none
 *     KILL_AT=N                SIGKILL at the N-th call of any kind; a write has written half by
 *                              then
 *     FULL_AT=NAME:N           from the N-th write to files called NAME on there is no space left
 *                              for them
 *     COUNT=FILE               holds the number of calls when the process has ended */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int __real_open(const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t at);

static atomic_long calls;   /* of any kind */
static atomic_long writes;  /* to files of the name that HOLD_AT gives */
static atomic_long refused; /* likewise, that FULL_AT gives */
static char place[256];

static void read_place(const char *text)
{
    snprintf(place, sizeof place, "%s", text ? text : "");
    place[strcspn(place, "\n")] = 0;
}

__attribute__((constructor)) static void begin(void)
{
    read_place(getenv("HOLD_AT"));
}

__attribute__((destructor)) static void end(void)
{
    FILE *f = getenv("COUNT") ? fopen(getenv("COUNT"), "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld\n", calls);
    fclose(f);
}

static bool dies(void)
{
    const char *at = getenv("KILL_AT");
    return ++calls == (at ? atol(at) : 0);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    pause();
}

/* A signal's handler may run while the process stands; it stands on. ThreadSanitizer runs handlers
 * between calls only, so that none of them blocks for long. */
static void stand(void)
{
    const struct timespec moment = {.tv_nsec = 10000000};
    const char *dir = getenv("HOLD");
    char path[4096], line[sizeof place];
    ssize_t n;
    snprintf(path, sizeof path, "%s/go", dir ? dir : ".");
    /* Both ways: whoever writes never waits for a reader, nor it for a writer. */
    int go = __real_open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/held", dir ? dir : ".");
    int held = __real_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (go < 0 || held < 0) abort();
    close(held);
    while ((n = read(go, line, sizeof line - 1)) < 0 && (errno == EINTR || errno == EAGAIN))
        nanosleep(&moment, NULL);
    close(go);
    line[n > 0 ? n : 0] = 0;
    read_place(line);
}

/* Does `at`, NAME:N, name the file of fd? *n: N. */
static bool names(const char *at, int fd, long *count)
{
    char link[64], path[4096];
    size_t name = strcspn(at, ":");
    if (!at[0]) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    const char *base = strrchr(path, '/');
    *count = at[name] ? atol(at + name + 1) : 0;
    return base && strlen(base + 1) == name && strncmp(base + 1, at, name) == 0;
}

static void before_write(int fd)
{
    long n;
    if (names(place, fd, &n) && ++writes == n) stand();
}

static bool is_full(int fd)
{
    const char *at = getenv("FULL_AT");
    long n;
    if (!at || !names(at, fd, &n) || ++refused < n) return false;
    errno = ENOSPC;
    return true;
}

ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    before_write(fd);
    if (is_full(fd)) return -1;
    if (!dies()) return __real_write(fd, data, n);
    (void)!__real_write(fd, data, n / 2);
    die();
    return -1;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at)
{
    before_write(fd);
    if (is_full(fd)) return -1;
    if (!dies()) return __real_pwrite(fd, data, n, at);
    (void)!__real_pwrite(fd, data, n / 2, at);
    die();
    return -1;
}

int __wrap_open(const char *path, int flags,
                int mode); /* an unused argument does no harm in the ABIs we build for */
int __wrap_open(const char *path, int flags, int mode)
{
    if ((flags & O_CREAT) && dies()) die();
    return __real_open(path, flags, mode);
}

#define WRAP(name, params, args) \
    int __real_##name params; \
    int __wrap_##name params; \
    int __wrap_##name params \
    { \
        if (dies()) die(); \
        return __real_##name args; \
    }
WRAP(fsync, (int fd), (fd))
WRAP(ftruncate, (int fd, off_t n), (fd, n))
WRAP(rename, (const char *from, const char *to), (from, to))
WRAP(symlink, (const char *from, const char *to), (from, to))
WRAP(unlink, (const char *path), (path))
WRAP(mkdir, (const char *path, mode_t mode), (path, mode))
