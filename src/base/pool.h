/* A pool of threads for loops over tiles.
 *
 *     static void halve(void *arg, int64_t i, int thread) { ((float *)arg)[i] /= 2; }
 *
 *     sol_pool_run(pool, n, halve, x); // x[0, n); returns when all tiles are done
 *
 * What a tile computes must depend on its index alone, never on the thread or the number of
 * threads, and no two tiles may write the same bytes. Then results have the same bits for any
 * number of threads.
 *
 * sol_pool_run must not be called from inside a tile. One thread may drive a pool at a time. After
 * fork(), the child must not use the parent's pool. */
#ifndef SOLERA_BASE_POOL_H
#define SOLERA_BASE_POOL_H

#include <stdint.h>

#include "base/status.h"

typedef struct sol_pool sol_pool;
typedef void (*sol_tile_fn)(void *arg, int64_t tile, int thread);

/* n_threads includes the calling thread: 1 starts none, 0 stands for the number of processors that
 * this process may run on. SOL_ERR_LIBRARY: the system starts no more threads. sol_pool_free ends
 * and joins them. */
sol_status sol_pool_create(sol_pool **pool, int n_threads, sol_err *err);
void sol_pool_free(sol_pool **pool);
int sol_pool_threads(const sol_pool *pool); /* the calling thread included; 1 for NULL */

/* Calls fn(arg, i, thread) for every i in [0, n_tiles) and returns when all calls have; 0 <= thread
 * < sol_pool_threads. Tiles start in the order of their index. pool NULL: all run on the calling
 * thread. */
void sol_pool_run(sol_pool *pool, int64_t n_tiles, sol_tile_fn fn, void *arg);

#endif
