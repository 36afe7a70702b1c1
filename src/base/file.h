/* Files: whole reads, read-only maps, and atomic replacement: the new file is written under a
 * temporary name in the same directory, synced, and renamed. A reader sees the old file or the new
 * one, never a part.
 *
 *     sol_replace r;
 *     st = sol_replace_begin(&r, "out.h5", n, err);
 *     if (st == SOL_OK) st = save(r.temp_path, err);      // writes that file by any means
 *     if (st == SOL_OK) st = sol_replace_commit(&r, err); // "out.h5" is the new file
 *     if (st != SOL_OK) sol_replace_abort(&r);            // "out.h5" is as it was
 *
 * Errors name the path. SOL_ERR_IO: the path is at fault (missing, no permission, not a regular
 * file); SOL_ERR_NOSPACE: the file cannot grow; SOL_ERR_SYSTEM: the device or the system failed. */
#ifndef SOLERA_BASE_FILE_H
#define SOLERA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SOL_PATH_MAX 4096

/* Reads a whole regular file. *data holds *size bytes and a 0 byte behind them; owned by the caller
 * (sol_free). */
sol_status sol_file_read(const char *path, char **data, size_t *size, sol_err *err);
/* Refuses a file that begins with head[n] for a pointer of Git LFS, a few lines that stand where
 * the file itself was not fetched. All that opens a file here does it. */
sol_status sol_file_refuse_pointer(const char *path, const char *head, size_t n, sol_err *err);
/* The first n bytes of a regular file; zeros for what a shorter one lacks. */
sol_status sol_file_head(const char *path, void *head, size_t n, sol_err *err);
/* The CRC-32C of a regular file. */
sol_status sol_file_crc(const char *path, uint32_t *crc, sol_err *err);
/* Atomically replaces the file at `path` by `size` bytes; waits while another process replaces
 * it. */
sol_status sol_file_write(const char *path, const void *data, size_t size, sol_err *err);

/* A read-only map of a regular file. An empty file has data NULL and size 0. */
typedef struct sol_map {
    const uint8_t *data;
    size_t size; /* bytes */
} sol_map;
/* On failure *map is empty. sol_map_close unmaps and empties it; an empty one is fine. */
sol_status sol_map_open(sol_map *map, const char *path, sol_err *err);
void sol_map_close(sol_map *map);

/* A regular file open for reads at any offset, by any number of threads. */
typedef struct sol_in {
    int fd;           /* -1: closed */
    uint64_t size;    /* bytes, when it was opened */
    const char *path; /* borrowed until close; for errors */
} sol_in;
sol_status sol_in_open(sol_in *in, const char *path, sol_err *err);
/* Reads n bytes from byte `offset` on. SOL_ERR_FORMAT: the file ends before that. */
sol_status sol_in_read(const sol_in *in, uint64_t offset, void *data, size_t n, sol_err *err);
/* Maps the whole file. The map stays valid after sol_in_close; release it with sol_map_close. */
sol_status sol_in_map(const sol_in *in, sol_map *map, sol_err *err);
void sol_in_close(sol_in *in);

/* Opens a file to change it in place; *fd is owned by the caller. flags: those of open(2) but
 * O_TRUNC; with O_CREAT a missing file is created. name: what errors call the file. SOL_ERR_IO for
 * a symbolic link, a file with a second hard link (either may be somebody else's file), and what is
 * not a regular file. */
sol_status sol_own_open(int *fd, const char *path, const char *name, int flags, sol_err *err);

/* An exclusive lock on a file, which is created when missing. The lock ends when *fd is closed or
 * the process ends in any way, so a leftover file is told from a file in use. */
typedef struct sol_lock {
    const char *path, *name; /* name: what errors call it */
    bool must;               /* a file system without locks is an error; else nothing is locked
                              * there */
    bool wait;               /* until another process releases the lock; *taken is then never set */
} sol_lock;
/* *fd is open and owned by the caller, also when *taken says that another process holds the lock.
 * -1 on failure. */
sol_status sol_lock_open(int *fd, const sol_lock *what, bool *taken, sol_err *err);

/* A replacement under way. */
typedef struct sol_replace {
    char path[SOL_PATH_MAX], temp_path[SOL_PATH_MAX];
    int lock;      /* on the temporary file; -1: none */
    unsigned mode; /* permissions of the replaced file, which the new one gets; 0: there is none,
                    * the umask decides */
} sol_replace;
/* Creates and locks an empty temporary file; a leftover of a killed process is overwritten. bytes:
 * the size to come, 0: unknown. SOL_ERR_LOCKED: another process is replacing the same file.
 * SOL_ERR_NOSPACE: the file system has fewer bytes free for ordinary users. SOL_ERR_USAGE as
 * sol_path_check. */
sol_status sol_replace_begin(sol_replace *r, const char *path, uint64_t bytes, sol_err *err);
/* Syncs the temporary file, renames it, syncs the directory. After a failure call
 * sol_replace_abort. */
sol_status sol_replace_commit(sol_replace *r, sol_err *err);
/* Removes the temporary file and its lock. Does nothing after a commit or a failed begin. */
void sol_replace_abort(sol_replace *r);

/* Writes at any offset into a file. Errors name the final path. */
typedef struct sol_out {
    int fd;           /* -1: closed */
    const char *path; /* borrowed until close */
} sol_out;
/* Opens the temporary file of a replacement, which must outlive *o. */
sol_status sol_out_open(sol_out *o, const sol_replace *r, sol_err *err);
/* Opens an existing file to change it in place; refuses what sol_own_open refuses. */
sol_status sol_out_reopen(sol_out *o, const char *path, sol_err *err);
/* Until it is closed; where a file system has no locks, nothing is locked. SOL_ERR_LOCKED: another
 * process holds the lock. */
sol_status sol_out_lock(const sol_out *o, sol_err *err);
/* Writes n bytes from byte `offset` on; the file grows as needed. */
sol_status sol_out_write(sol_out *o, uint64_t offset, const void *data, size_t n, sol_err *err);
/* Returns when all that was written is on the disk. */
sol_status sol_out_sync(const sol_out *o, sol_err *err);
/* Closes the file, also after a failed write. A second close does nothing. */
sol_status sol_out_close(sol_out *o, sol_err *err);

/* SOL_ERR_USAGE for a path with a leading ~ or with $NAME, which only a shell expands and which
 * would otherwise become the name of a file. Called before a file or directory is created. */
sol_status sol_path_check(const char *path, sol_err *err);
/* "dir/name". SOL_ERR_IO: the path is too long. */
sol_status sol_path_join(char out[SOL_PATH_MAX], const char *dir, const char *name, sol_err *err);
/* Where the last part of a path begins; *n is its length without the slashes behind it, 0 for the
 * root. */
const char *sol_path_last(const char *path, size_t *n);
/* Whether anything exists under this name. */
bool sol_file_exists(const char *path);
/* SOL_ERR_USAGE when `in` and `out` are the same file, under whatever names. */
sol_status sol_file_differs(const char *in, const char *out, sol_err *err);
/* Size in bytes. */
sol_status sol_file_size(const char *path, uint64_t *size, sol_err *err);
/* Creates a directory and its parents; an existing directory is fine. */
sol_status sol_dir_create(const char *path, sol_err *err);
/* An error from errno, with the text "path: what: reason": SOL_ERR_NOSPACE for ENOSPC, EDQUOT and
 * EFBIG, SOL_ERR_SYSTEM when memory or open files run out or a device fails, SOL_ERR_IO
 * otherwise. */
sol_status sol_fail_errno(sol_err *err, const char *path, const char *what);

#endif
