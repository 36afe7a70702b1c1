/* Memory: checked sizes, aligned blocks, and the plan that says what will be allocated before it
 * is.
 *
 *     float *w = NULL;
 *     st = sol_alloc_array((void **)&w, n, sizeof *w, err);
 *     if (st != SOL_OK) return st;
 *     for (size_t i = 0; i < n; i++) w[i] = 1;
 *     sol_free(w);
 *
 * All memory that the library itself asks for comes from here, so that a test can count allocations
 * and make the n-th one fail; HDF5, jansson, libyaml and zlib have their own. */
#ifndef SOLERA_BASE_MEM_H
#define SOLERA_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SOL_ALIGN 64

/* *out = a * b; SOL_ERR_RANGE when it does not fit. */
sol_status sol_size_mul(size_t a, size_t b, size_t *out, sol_err *err);

/* A block of count * size bytes, zeroed and 64-byte aligned; 0 bytes give a valid pointer. Owned by
 * the caller (sol_free). SOL_ERR_NOMEM, or SOL_ERR_RANGE when the size does not fit; *out is then
 * NULL. */
sol_status sol_alloc_array(void **out, size_t count, size_t size, sol_err *err);

/* Makes *block, of *capacity items of `size` bytes, hold at least `count` items. It keeps its
 * contents, may move, and grows by half at least, so that appending is O(1) amortized. Start from
 * NULL and 0. On failure both stay. */
sol_status sol_grow_array(void **block, size_t *capacity, size_t count, size_t size, sol_err *err);

/* The same for bytes, without zeros behind what was there and aligned as malloc does it: a large
 * block moves without being copied. */
sol_status sol_grow_bytes(char **block, size_t *capacity, size_t count, sol_err *err);

/* A copy of n bytes of s and a 0 byte behind them. Owned by the caller (sol_free); NULL on
 * failure. */
sol_status sol_copy_string(char **out, const char *s, size_t n, sol_err *err);

/* Releases a block of the functions above. NULL is fine. */
void sol_free(void *block);
/* Gives the system back what was freed in many small blocks: worth its time behind a large tree
 * of JSON. */
void sol_mem_trim(void);

/* Number of allocations since the process started. A test reads it before and after a training
 * step. */
uint64_t sol_alloc_count(void);

/* Peak resident memory of this process in bytes, as the operating system counts it; 0: unknown. */
uint64_t sol_peak_rss(void);

/* A plan: what will be allocated, by name, before anything is. */
typedef struct sol_plan_row {
    const char *what; /* static text */
    size_t bytes;
} sol_plan_row;

typedef struct sol_plan {
    sol_plan_row row[32];
    int n;
} sol_plan;

/* Adds bytes to the row named `what`, or a row; when all 32 are taken, to the last one. */
void sol_plan_add(sol_plan *plan, const char *what, size_t bytes);
/* The sum over the rows, in bytes. */
size_t sol_plan_total(const sol_plan *plan);

#endif
