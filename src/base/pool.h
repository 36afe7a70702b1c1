/* A pool of threads for loops over tiles.
 *
 *     static void halve(void *arg, int64_t i, int thread) { ((float *)arg)[i] /= 2; }
 *
 *     sol_pool_run(pool, n, halve, x); // x[0, n); returns when all tiles are done
 *
 * Rule of the house: what a tile computes depends on its index alone, never on the thread or the number of threads, and no
 * two tiles write the same bytes. Then results are the same bits for any number of threads.
 *
 * sol_pool_run must not be called from inside a tile. One thread may drive a pool at a time. After fork(), the child
 * must not use the parent's pool. */
#ifndef SOLERA_BASE_POOL_H
#define SOLERA_BASE_POOL_H

#include <stdint.h>

#include "base/status.h"

typedef struct sol_pool sol_pool;
typedef void (*sol_tile_fn)(void *arg, int64_t tile, int thread);

/* n_threads counts the caller: 1 starts no thread; 0 means as many as this process may run on. */
sol_status sol_pool_create(sol_pool **pool, int n_threads, sol_err *err);
void sol_pool_free(sol_pool **pool);
int sol_pool_threads(const sol_pool *pool); /* NULL counts as 1 */

/* Runs fn(arg, i, thread) for i in [0, n_tiles), 0 <= thread < sol_pool_threads. Tiles are handed out in index order.
 * pool NULL runs all of them on the caller. */
void sol_pool_run(sol_pool *pool, int64_t n_tiles, sol_tile_fn fn, void *arg);

#endif
