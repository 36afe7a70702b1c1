/* Files: whole reads, read-only maps, and replacement that is atomic: written to a temporary name in the same directory,
 * synced, renamed. A reader sees the old file or the new one, never a part.
 *
 *     sol_replace r;
 *     sol_out o;
 *     st = sol_replace_begin(&r, "out.h5", n, err);
 *     if (st == SOL_OK) st = sol_out_open(&o, &r, err);
 *     if (st == SOL_OK) st = sol_out_write(&o, 0, data, n, err);
 *     if (st == SOL_OK) st = sol_out_close(&o, err);
 *     if (st == SOL_OK) st = sol_replace_commit(&r, err); // "out.h5" is the new file
 *     if (st != SOL_OK) sol_replace_abort(&r);            // "out.h5" is as it was */
#ifndef SOLERA_BASE_FILE_H
#define SOLERA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SOL_PATH_MAX 4096

/* The whole file plus a 0 byte that *size does not count. Owned by the caller (sol_free). */
sol_status sol_file_read(const char *path, char **data, size_t *size, sol_err *err);
/* Atomically replaces `path` by `size` bytes. */
sol_status sol_file_write(const char *path, const void *data, size_t size, sol_err *err);

/* A read-only map of a regular file; an empty file maps to size 0. */
typedef struct sol_map {
    const uint8_t *data;
    size_t size;
} sol_map;
sol_status sol_map_open(sol_map *map, const char *path, sol_err *err);
void sol_map_close(sol_map *map);

/* A regular file held open for reading at positions; `path` is borrowed. */
typedef struct sol_in {
    int fd; /* -1: closed */
    uint64_t size;
    const char *path;
} sol_in;
sol_status sol_in_open(sol_in *in, const char *path, sol_err *err);
/* Exactly n bytes; a file that ends before is SOL_ERR_FORMAT. */
sol_status sol_in_read(const sol_in *in, uint64_t offset, void *data, size_t n, sol_err *err);
/* Maps the whole open file; the map outlives the file. */
sol_status sol_in_map(const sol_in *in, sol_map *map, sol_err *err);
void sol_in_close(sol_in *in);

/* Opens a file to be changed in place, with the flags of open(2) but O_TRUNC; O_CREAT makes it where there is none. A link, whose
 * other name may be anybody's file, and what is no regular file are refused (SOL_ERR_IO). name: what other errors call it. */
sol_status sol_own_open(int *fd, const char *path, const char *name, int flags, sol_err *err);

/* A lock on a file, made where there is none. It is gone when *fd is closed or the process ends, however it ends, so that a leftover is
 * told from a file in use. *taken: another process has it, and *fd is open all the same. */
typedef struct sol_lock {
    const char *path, *name; /* name: what errors call it */
    bool must;               /* a file system without locks is an error; otherwise it locks nothing there */
    bool wait;               /* until the other process is done; never *taken */
} sol_lock;
sol_status sol_lock_open(int *fd, const sol_lock *what, bool *taken, sol_err *err);

typedef struct sol_replace {
    char path[SOL_PATH_MAX], temp_path[SOL_PATH_MAX];
    int lock;      /* on the temporary file; -1: none */
    unsigned mode; /* permissions of the file that is replaced, which the new one gets; 0: it is new, the umask says */
} sol_replace;
/* SOL_ERR_LOCKED while another process replaces the same file (sol_file_write waits for it), SOL_ERR_NOSPACE when an ordinary user may
 * not write `bytes` (0: unknown) to its file system; a leftover of a killed process does not count. */
sol_status sol_replace_begin(sol_replace *r, const char *path, uint64_t bytes, sol_err *err);
sol_status sol_replace_commit(sol_replace *r, sol_err *err);
void sol_replace_abort(sol_replace *r);

/* Positioned writing into the temporary file of a replacement; errors name the final path. `path` is borrowed.
 *     sol_out o;  st = sol_out_open(&o, &r, err);  sol_out_write(&o, offset, data, n, err);  sol_out_close(&o, err); */
typedef struct sol_out {
    int fd;           /* -1: closed */
    const char *path; /* what errors name */
} sol_out;
sol_status sol_out_open(sol_out *o, const sol_replace *r, sol_err *err);
/* An existing file, to be changed in place. */
sol_status sol_out_reopen(sol_out *o, const char *path, sol_err *err);
sol_status sol_out_write(sol_out *o, uint64_t offset, const void *data, size_t n, sol_err *err);
/* What was written is on the disk. */
sol_status sol_out_sync(const sol_out *o, sol_err *err);
/* Also after a failure; a second close does nothing. */
sol_status sol_out_close(sol_out *o, sol_err *err);

/* SOL_ERR_USAGE for a path that a shell would have changed: ~ at its beginning and $NAME are expanded by nobody else, and would become
 * the names of directories. What makes a file or directory here asks this first. */
sol_status sol_path_check(const char *path, sol_err *err);
bool sol_file_exists(const char *path);
/* SOL_ERR_USAGE when `out` is to be written and is the file `in`, under whatever name. */
sol_status sol_file_differs(const char *in, const char *out, sol_err *err);
sol_status sol_file_size(const char *path, uint64_t *size, sol_err *err);
/* Makes a directory and its parents; an existing one is fine. */
sol_status sol_dir_create(const char *path, sol_err *err);
/* SOL_ERR_NOSPACE when the file may not grow (ENOSPC, EDQUOT, EFBIG), SOL_ERR_SYSTEM when the system lacks something (memory, open
 * files) or a device fails, SOL_ERR_IO when it is about the path; text "path: what: reason". Uses errno. */
sol_status sol_fail_errno(sol_err *err, const char *path, const char *what);

#endif
