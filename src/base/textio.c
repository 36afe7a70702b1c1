/* Reads files that may be gzipped as a stream of bytes; zlib is used here alone. text/docs.c
 * reads training text through it. */
#include "base/textio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"

enum { IN_BUFFER = 256 << 10, STEP_MAX = 1 << 30, WAIT_MS = 100 };

struct sol_reader {
    int fd;
    char *path;
    const sol_progress *waits;
    uint8_t *in; /* [at, n) is not taken yet */
    size_t at, n;
    uint64_t loaded; /* bytes of the file that went into `in` or, where it is not gzip, past it */
    uint64_t size;   /* of a regular file as it was opened; 0: of another one */
    bool begun, gzip, eof;
    z_stream z;
    bool z_made, in_member; /* in_member: the running gzip member has not ended */
};

/* Keeps the path for messages, allocates the buffer and opens the file: without O_NONBLOCK the open
 * of a FIFO waits for its writer, and nothing ends that. */
static sol_status open_file(sol_reader *r, const char *path, sol_err *err)
{
    SOL_TRY(sol_copy_string(&r->path, path, strlen(path), err));
    SOL_TRY(sol_alloc_array((void **)&r->in, IN_BUFFER, 1, err));
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0 || fcntl(r->fd, F_SETFL, 0) != 0) return sol_fail_errno(err, path, "cannot open");
    struct stat s;
    if (fstat(r->fd, &s) == 0 && S_ISREG(s.st_mode)) r->size = (uint64_t)s.st_size;
    return SOL_OK;
}

sol_status sol_reader_open(sol_reader **out, const char *path, const sol_progress *waits,
                           sol_err *err)
{
    sol_reader *r;
    struct stat s;
    *out = NULL;
    if (stat(path, &s) != 0) return sol_fail_errno(err, path, "cannot open");
    if (S_ISDIR(s.st_mode)) return sol_fail(err, SOL_ERR_IO, "%s: is a directory", path);
    SOL_TRY(sol_alloc_array((void **)&r, 1, sizeof *r, err));
    r->fd = -1;
    r->waits = waits;
    sol_status st = open_file(r, path, err);
    if (st != SOL_OK) sol_reader_close(&r);
    *out = r;
    return st;
}

void sol_reader_close(sol_reader **rp)
{
    sol_reader *r = *rp;
    if (!r) return;
    if (r->z_made) inflateEnd(&r->z);
    if (r->fd >= 0) close(r->fd);
    sol_free(r->in);
    sol_free(r->path);
    sol_free(r);
    *rp = NULL;
}

/* Returns once the file has bytes, has ended or has failed. */
static sol_status wait_for_bytes(const sol_reader *r, sol_err *err)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    for (;;) {
        int n = poll(&p, 1, WAIT_MS);
        if (n > 0 || (n < 0 && errno != EINTR)) return SOL_OK;
        if (!sol_progress_show(r->waits, r->path, (int64_t)r->loaded, 0))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: interrupted", r->path);
    }
}

/* Reads up to `size` bytes of the file as they are; sets eof at its end. */
static sol_status load(sol_reader *r, void *buf, size_t size, size_t *n, sol_err *err)
{
    ssize_t got;
    *n = 0;
    SOL_TRY(wait_for_bytes(r, err));
    do got = read(r->fd, buf, size);
    while (got < 0 && errno == EINTR);
    if (got < 0) return sol_fail_errno(err, r->path, "cannot read");
    *n = (size_t)got;
    r->loaded += *n;
    r->eof = got == 0;
    if (!r->eof || r->loaded >= r->size) return SOL_OK;
    return sol_fail(err, SOL_ERR_IO, "%s: became shorter while it was read: %llu of %llu bytes",
                    r->path, (unsigned long long)r->loaded, (unsigned long long)r->size);
}

/* Fills the buffer to at least `want` bytes; there are fewer only at the end of the file. */
static sol_status need(sol_reader *r, size_t want, sol_err *err)
{
    while (r->n - r->at < want && !r->eof) {
        size_t got;
        memmove(r->in, r->in + r->at, r->n - r->at);
        r->n -= r->at;
        r->at = 0;
        SOL_TRY(load(r, r->in + r->n, IN_BUFFER - r->n, &got, err));
        r->n += got;
    }
    return SOL_OK;
}

/* Does a gzip member begin here? Asked for when two bytes are in the buffer, or the file ends. */
static bool at_member(const sol_reader *r)
{
    return r->n - r->at >= 2 && r->in[r->at] == 0x1F && r->in[r->at + 1] == 0x8B;
}

/* Looks at the first two bytes: is the file gzipped? */
static sol_status begin(sol_reader *r, sol_err *err)
{
    SOL_TRY(need(r, 2, err));
    r->begun = true;
    r->gzip = at_member(r);
    if (r->gzip && inflateInit2(&r->z, 16 + MAX_WBITS) != Z_OK)
        return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", r->path);
    r->z_made = r->in_member = r->gzip;
    return SOL_OK;
}

static sol_status damaged(const sol_reader *r, const char *why, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "%s: damaged gzip file at byte %llu: %s", r->path,
                    (unsigned long long)sol_reader_position(r), why);
}

/* Fails because what follows a gzip member is none. Reads to the end of the file first, since the
 * message says how many bytes these are. */
static sol_status trailing(sol_reader *r, sol_err *err)
{
    unsigned long long from = sol_reader_position(r);
    while (!r->eof) {
        r->at = r->n;
        SOL_TRY(need(r, 1, err));
    }
    return sol_fail(err, SOL_ERR_FORMAT,
                    "%s: %llu bytes that are no gzip follow the compressed data, which end at byte "
                    "%llu: compress the whole text, or cut them off",
                    r->path, (unsigned long long)r->loaded - from, from);
}

/* Begins the next member, if one follows. Zeros before it, or before the end of the file, are
 * skipped: they pad files that are stored in blocks. */
static sol_status next_member(sol_reader *r, sol_err *err)
{
    do {
        while (r->at < r->n && r->in[r->at] == 0) r->at++;
        SOL_TRY(need(r, 2, err));
    } while (r->at < r->n && r->in[r->at] == 0);
    if (r->at == r->n) return SOL_OK;
    if (!at_member(r)) return trailing(r, err);
    r->in_member = true;
    return inflateReset(&r->z) == Z_OK ? SOL_OK : damaged(r, "inconsistent stream", err);
}

/* Inflates 1 to `size` bytes, across the ends of members; *n stays 0 at the end of the file. */
static sol_status inflate_some(sol_reader *r, void *buf, size_t size, size_t *n, sol_err *err)
{
    while (*n == 0) {
        SOL_TRY(r->in_member ? need(r, 1, err) : next_member(r, err));
        if (!r->in_member) return SOL_OK;
        if (r->at == r->n) return damaged(r, "it ends early", err);
        r->z.next_in = r->in + r->at;
        r->z.avail_in = (unsigned)(r->n - r->at);
        r->z.next_out = buf;
        r->z.avail_out = (unsigned)size;
        int code = inflate(&r->z, Z_NO_FLUSH);
        r->at = r->n - r->z.avail_in;
        *n = size - r->z.avail_out;
        r->in_member = code != Z_STREAM_END;
        if (code == Z_MEM_ERROR) return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", r->path);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return damaged(r, r->z.msg ? r->z.msg : "inconsistent stream", err);
    }
    return SOL_OK;
}

sol_status sol_reader_read(sol_reader *r, void *buf, size_t size, size_t *n, sol_err *err)
{
    *n = 0;
    if (size > STEP_MAX) size = STEP_MAX;
    if (!r->begun) SOL_TRY(begin(r, err));
    if (r->gzip) return inflate_some(r, buf, size, n, err);
    if (r->at == r->n) return r->eof ? SOL_OK : load(r, buf, size, n, err);
    *n = r->n - r->at < size ? r->n - r->at : size;
    memcpy(buf, r->in + r->at, *n);
    r->at += *n;
    return SOL_OK;
}

uint64_t sol_reader_position(const sol_reader *r)
{
    return r->loaded - (r->n - r->at);
}

/* Reads to the end into *data, which grows and stays the caller's on failure, too; a 0 byte follows
 * the text. */
static sol_status read_all(sol_reader *r, size_t limit, char **data, size_t *size, sol_err *err)
{
    enum { STEP = 1 << 20 };
    size_t capacity = 0, n = 0, got;
    do {
        SOL_TRY(sol_grow_array((void **)data, &capacity, n + STEP, 1, err));
        SOL_TRY(sol_reader_read(r, *data + n, STEP - 1, &got, err));
        n += got;
        if (n > limit)
            return sol_fail(err, SOL_ERR_RANGE, "%s: has more than %zu bytes", r->path, limit);
    } while (got > 0);
    (*data)[n] = 0;
    *size = n;
    return SOL_OK;
}

sol_status sol_text_read(const char *path, size_t limit, const sol_progress *waits, char **data,
                         size_t *size, sol_err *err)
{
    sol_reader *r;
    *data = NULL;
    *size = 0;
    SOL_TRY(sol_reader_open(&r, path, waits, err));
    sol_status st = read_all(r, limit, data, size, err);
    if (st == SOL_OK) st = sol_file_refuse_pointer(path, *data, *size, err);
    sol_reader_close(&r);
    if (st != SOL_OK) {
        sol_free(*data);
        *data = NULL;
    }
    return st;
}
