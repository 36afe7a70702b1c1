/* Files: whole reads, read-only maps, and replacement that is atomic: written to a temporary name in the same directory,
 * synced, renamed. A reader sees the old file or the new one, never a part.
 *
 *     sol_replace r;
 *     st = sol_replace_begin(&r, "out.h5", err);        // r.temp_path is where to write
 *     ... write r.temp_path by any means, close it ...
 *     st = st == SOL_OK ? sol_replace_commit(&r, err) : st;
 *     if (st != SOL_OK) sol_replace_abort(&r);          // removes the temporary file */
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

typedef struct sol_replace {
    char path[SOL_PATH_MAX], temp_path[SOL_PATH_MAX];
} sol_replace;
sol_status sol_replace_begin(sol_replace *r, const char *path, sol_err *err);
sol_status sol_replace_commit(sol_replace *r, sol_err *err);
void sol_replace_abort(sol_replace *r);

bool sol_file_exists(const char *path);
sol_status sol_file_size(const char *path, uint64_t *size, sol_err *err);
/* Makes a directory and its parents; an existing one is fine. */
sol_status sol_dir_create(const char *path, sol_err *err);
/* Bytes that an ordinary user may still write on the file system that holds `path` (or its nearest existing parent). */
sol_status sol_dir_free_space(const char *path, uint64_t *bytes, sol_err *err);
/* SOL_ERR_NOSPACE for ENOSPC and EDQUOT, SOL_ERR_IO otherwise; text "path: what: reason". Uses errno. */
sol_status sol_fail_errno(sol_err *err, const char *path, const char *what);

#endif
