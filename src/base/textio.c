#include "base/textio.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"

struct sol_reader {
    gzFile file;
    char *path;
};

enum { GZ_BUFFER = 256 << 10 };

sol_status sol_reader_open(sol_reader **out, const char *path, sol_err *err)
{
    sol_reader *r;
    struct stat s;
    *out = NULL;
    if (stat(path, &s) != 0) return sol_fail_errno(err, path, "cannot open");
    if (S_ISDIR(s.st_mode)) return sol_fail(err, SOL_ERR_IO, "%s: is a directory", path);
    sol_status st = sol_alloc_array((void **)&r, 1, sizeof *r, err);
    if (st != SOL_OK) return st;
    st = sol_copy_string(&r->path, path, strlen(path), err);
    if (st == SOL_OK) {
        errno = 0;
        r->file = gzopen(path, "rbe");
        if (!r->file)
            st = errno ? sol_fail_errno(err, path, "cannot open")
                       : sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", path);
        else
            gzbuffer(r->file, GZ_BUFFER);
    }
    if (st != SOL_OK) sol_reader_close(&r);
    *out = r;
    return st;
}

void sol_reader_close(sol_reader **rp)
{
    sol_reader *r = *rp;
    if (!r) return;
    if (r->file) gzclose_r(r->file);
    sol_free(r->path);
    sol_free(r);
    *rp = NULL;
}

sol_status sol_reader_read(sol_reader *r, void *buf, size_t size, size_t *n, sol_err *err)
{
    int code;
    *n = 0;
    int got = gzread(r->file, buf, size > INT_MAX / 2 ? INT_MAX / 2 : (unsigned)size);
    if (got > 0) {
        *n = (size_t)got;
        return SOL_OK;
    }
    const char *why = gzerror(r->file, &code);
    if (code == Z_OK || code == Z_STREAM_END) return SOL_OK;
    if (code == Z_ERRNO) return sol_fail_errno(err, r->path, "cannot read");
    if (code == Z_MEM_ERROR) return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", r->path);
    size_t name = strlen(r->path); /* zlib begins with it */
    if (strncmp(why, r->path, name) == 0 && strncmp(why + name, ": ", 2) == 0) why += name + 2;
    return sol_fail(err, SOL_ERR_FORMAT, "%s: damaged gzip file at byte %llu: %s", r->path,
                    (unsigned long long)sol_reader_position(r), why);
}

uint64_t sol_reader_position(const sol_reader *r)
{
    z_off_t at = gzoffset(r->file);
    return at > 0 ? (uint64_t)at : 0;
}

sol_status sol_text_read(const char *path, size_t limit, char **data, size_t *size, sol_err *err)
{
    enum { STEP = 1 << 20 };
    sol_reader *r;
    size_t capacity = 0, n = 0, got = 1;
    *data = NULL;
    *size = 0;
    sol_status st = sol_reader_open(&r, path, err);
    while (st == SOL_OK && got > 0) {
        st = sol_grow_array((void **)data, &capacity, n + STEP, 1, err);
        if (st == SOL_OK) st = sol_reader_read(r, *data + n, STEP - 1, &got, err);
        if (st == SOL_OK) n += got;
        if (st == SOL_OK && n > limit)
            st = sol_fail(err, SOL_ERR_RANGE, "%s: has more than %zu bytes", path, limit);
    }
    sol_reader_close(&r);
    if (st != SOL_OK) {
        sol_free(*data);
        *data = NULL;
        return st;
    }
    (*data)[n] = 0;
    *size = n;
    return SOL_OK;
}
