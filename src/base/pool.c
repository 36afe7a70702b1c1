/* The thread pool. sol_pool_run hands out the tiles of one computation: workers wait for it and
 * take tile after tile. All work of training and inference is spread over threads here. */
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/mem.h"

typedef struct worker {
    sol_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct sol_pool {
    int n_threads;
    worker *workers; /* [n_threads - 1]; the caller is thread 0 */
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    _Atomic uint64_t posted; /* runs so far; written under lock */
    _Atomic int64_t next;
    _Atomic uint32_t gate; /* OPEN while a run takes workers, plus the number of workers inside */
    bool stop;             /* under lock */
    sol_tile_fn fn;
    void *arg;
    int64_t n_tiles;
};

/* Turns to spin before sleeping: matrix-vector products come every few microseconds, a futex round
 * trip costs as much. With 1000 spins decoding with two threads on a busy machine is a fifth
 * slower, with 16000 no faster. */
enum { SPINS = 4000 };

/* A worker takes part in a run only if it comes while the gate is open; the caller closes it when
 * no tile is left and waits for those inside. So a worker that the system did not schedule in time
 * is not waited for. */
#define OPEN 0x80000000u

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_tiles(sol_pool *pool, int thread)
{
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= pool->n_tiles) return;
        pool->fn(pool->arg, i, thread);
    }
}

/* Waits for a run after `seen` and returns its number; false in *go when the pool stops. */
static uint64_t wait_for_work(sol_pool *pool, uint64_t seen, bool *go)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(&pool->posted, memory_order_acquire) != seen) break;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->posted, memory_order_relaxed) == seen && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->lock);
    seen = atomic_load_explicit(&pool->posted, memory_order_relaxed);
    *go = !pool->stop;
    pthread_mutex_unlock(&pool->lock);
    return seen;
}

static bool enter(sol_pool *pool)
{
    uint32_t gate = atomic_load_explicit(&pool->gate, memory_order_relaxed);
    while (gate & OPEN)
        if (atomic_compare_exchange_weak_explicit(&pool->gate, &gate, gate + 1,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    return false;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    sol_pool *pool = w->pool;
    bool go;
    for (uint64_t seen = wait_for_work(pool, 0, &go); go; seen = wait_for_work(pool, seen, &go)) {
        if (!enter(pool)) continue;
        run_tiles(pool, w->index);
        if (atomic_fetch_sub_explicit(&pool->gate, 1, memory_order_acq_rel) ==
            1) { /* the last one, the gate is closed */
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    return NULL;
}

/* Starts the workers 1 to n_threads - 1; whoever calls sol_pool_run is thread 0. n_started counts
 * those that run, also where one cannot be started, so that sol_pool_free joins them all. */
static sol_status start_workers(sol_pool *pool, sol_err *err)
{
    int n = pool->n_threads;
    SOL_TRY(sol_alloc_array((void **)&pool->workers, (size_t)n, sizeof *pool->workers, err));
    for (int i = 1; i < n; i++) {
        worker *w = &pool->workers[i - 1];
        *w = (worker){.pool = pool, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            return sol_fail(err, SOL_ERR_LIBRARY, "cannot start thread %d of %d", i + 1, n);
        pool->n_started++;
    }
    return SOL_OK;
}

sol_status sol_pool_create(sol_pool **out, int n_threads, sol_err *err)
{
    sol_pool *pool;
    *out = NULL;
    if (n_threads <= 0) {
        sol_cpu cpu;
        sol_cpu_detect(&cpu);
        n_threads = cpu.n_online;
    }
    SOL_TRY(sol_alloc_array((void **)&pool, 1, sizeof *pool, err));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->n_threads = n_threads;
    sol_status st = start_workers(pool, err);
    if (st != SOL_OK) sol_pool_free(&pool);
    *out = pool;
    return st;
}

void sol_pool_free(sol_pool **poolp)
{
    sol_pool *pool = *poolp;
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    atomic_fetch_add_explicit(&pool->posted, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    sol_free(pool->workers);
    sol_free(pool);
    *poolp = NULL;
}

int sol_pool_threads(const sol_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

void sol_pool_run(sol_pool *pool, int64_t n_tiles, sol_tile_fn fn, void *arg)
{
    if (!pool || pool->n_threads == 1 || n_tiles <= 1) {
        for (int64_t i = 0; i < n_tiles; i++) fn(arg, i, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->n_tiles = n_tiles;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->gate, OPEN, memory_order_release);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->posted, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    run_tiles(pool, 0);
    if (atomic_fetch_and_explicit(&pool->gate, ~OPEN, memory_order_acq_rel) == OPEN) return;
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(&pool->gate, memory_order_acquire) == 0) return;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->gate, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
