/* A thread that sleeps until it is given a call to make, and its owner until the call is made. */
#include "base/worker.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/mem.h"

struct sol_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*fn)(void *arg); /* NULL: nothing to do. This and stop: under lock */
    void *arg;
    bool stop;
};

static void *work(void *arg)
{
    sol_worker *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        if (!w->fn) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        w->fn(w->arg);
        pthread_mutex_lock(&w->lock);
        w->fn = NULL;
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void release(sol_worker *w)
{
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    sol_free(w);
}

sol_status sol_worker_create(sol_worker **out, sol_err *err)
{
    sol_worker *w;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&w, 1, sizeof *w, err));
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (pthread_create(&w->thread, NULL, work, w) != 0) {
        release(w);
        return sol_fail(err, SOL_ERR_LIBRARY, "cannot start a thread");
    }
    *out = w;
    return SOL_OK;
}

void sol_worker_free(sol_worker **wp)
{
    sol_worker *w = *wp;
    if (!w) return;
    sol_worker_wait(w);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    release(w);
    *wp = NULL;
}

void sol_worker_start(sol_worker *w, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&w->lock);
    w->fn = fn;
    w->arg = arg;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void sol_worker_wait(sol_worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->fn) pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}
