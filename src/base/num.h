/* Small integer arithmetic, defined once. Nothing here checks for overflow: sizes that a file or an
 * argument gives are checked before (base/mem.h).
 *
 *     int64_t n_tiles = sol_ceil_div(n, TILE); // tiles of TILE, the last one shorter
 *     int64_t some = sol_min_i64(n - tile * TILE, TILE); // elements of this one
 *     size_t bytes = sol_round_up_size((size_t)n * 4, SOL_ALIGN); // up to the next boundary */
#ifndef SOLERA_BASE_NUM_H
#define SOLERA_BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

static inline int64_t sol_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t sol_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline size_t sol_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* n / step rounded up; n >= 0, step > 0. */
static inline int64_t sol_ceil_div(int64_t n, int64_t step)
{
    return (n + step - 1) / step;
}

/* The least multiple of step that is not below n; n >= 0, step > 0. */
static inline int64_t sol_round_up(int64_t n, int64_t step)
{
    return sol_ceil_div(n, step) * step;
}

static inline size_t sol_round_up_size(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

#endif
