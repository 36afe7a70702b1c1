/* A thread that does one thing at a time behind its owner's back.
 *
 *     static void halve(void *arg) { *(float *)arg /= 2; }
 *
 *     sol_worker *w;
 *     st = sol_worker_create(&w, err);
 *     sol_worker_start(w, halve, x); // returns at once
 *     sol_worker_wait(w);            // halve has returned, and what it wrote is seen
 *     sol_worker_free(&w);
 *
 * One thread may own a worker at a time. What runs there must not drive the owner's pool
 * (base/pool.h). */
#ifndef SOLERA_BASE_WORKER_H
#define SOLERA_BASE_WORKER_H

#include "base/status.h"

typedef struct sol_worker sol_worker;

/* Owned by the caller. SOL_ERR_LIBRARY: the system starts no more threads. */
sol_status sol_worker_create(sol_worker **w, sol_err *err);
/* Waits for what it does, then ends and joins the thread. */
void sol_worker_free(sol_worker **w);
/* Calls fn(arg) on the worker's thread. What was started before must have been waited for. */
void sol_worker_start(sol_worker *w, void (*fn)(void *arg), void *arg);
/* Returns when the last fn has; at once where none was started. */
void sol_worker_wait(sol_worker *w);

#endif
