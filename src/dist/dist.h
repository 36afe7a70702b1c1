/* The ranks of a job: processes that compute one result together, on one machine or on many, when
 * mpirun (or another launcher of MPI) has started them; otherwise a single one.
 *
 *     sol_dist *d;
 *     st = sol_dist_open(&d, err);
 *     int64_t mine = sol_dist_rank(d), all[SOL_DIST_MAX];
 *     if (st == SOL_OK) st = sol_dist_gather(d, &mine, sizeof mine, all, err); // 0 1 2 ...
 *     sol_dist_close(&d);
 *
 * What travels is bytes. Whoever receives numbers adds them in the order of their positions, so
 * that no result depends on the number of ranks. All ranks call the functions below from _start on
 * in the same order; a single rank keeps its own bytes, by the same calls. SOL_ERR_SYSTEM: a rank
 * is gone, or has sent nothing for the time of sol_dist_set_timeout; no other call may follow but
 * sol_dist_abort. */
#ifndef SOLERA_DIST_DIST_H
#define SOLERA_DIST_DIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { SOL_DIST_MAX = 4096 }; /* ranks */

typedef struct sol_dist sol_dist;

/* The ranks that the launcher started; MPI is started only for these. Owned by the caller. At most
 * once a process. SOL_ERR_USAGE: a launcher started several processes, but MPI does not join them,
 * or the program was built without it. SOL_ERR_UNSUPPORTED: more than SOL_DIST_MAX ranks. */
sol_status sol_dist_open(sol_dist **d, sol_err *err);
/* Waits for all ranks when they were started by MPI. */
void sol_dist_close(sol_dist **d);
/* Ends the processes of all ranks, this one with `code`. */
_Noreturn void sol_dist_abort(const sol_dist *d, int code);
/* Whether a launcher of MPI started this process, maybe as one of several. */
bool sol_dist_launched(void);
/* Whether this entry of the environment, "NAME=value", is from a launcher: a process that is
 * started without them is alone. */
bool sol_dist_is_launch(const char *entry);
/* What this program was built with, "Open MPI 4.1.4"; "none". Static storage. */
const char *sol_dist_library(void);

/* 0 <= rank < size; of NULL: rank 0 of 1. */
int sol_dist_rank(const sol_dist *d);
int sol_dist_size(const sol_dist *d);
/* The name of a rank's machine. */
const char *sol_dist_host(const sol_dist *d, int rank);
/* Whether another thread than the one that opened it may make the calls, one thread at a time. */
bool sol_dist_any_thread(const sol_dist *d);
/* How long a call waits for other ranks; 0, as at first: without limit. */
void sol_dist_set_timeout(sol_dist *d, double seconds);
/* Seconds spent waiting for other ranks so far. */
double sol_dist_seconds(const sol_dist *d);

/* n bytes from or to one rank. */
typedef struct sol_dist_piece {
    void *data;
    size_t n;
} sol_dist_piece;
/* Begins to send send[i] to rank i, and to receive what rank i sends here into recv[i], for all
 * ranks; sizes must agree, [size] each. The memory, not the two arrays, stays untouched by the
 * caller until _wait returns, which completes all that was begun. */
sol_status sol_dist_start(sol_dist *d, const sol_dist_piece *send, const sol_dist_piece *recv,
                          sol_err *err);
sol_status sol_dist_wait(sol_dist *d, sol_err *err);

/* Rank 0's n bytes, to all. */
sol_status sol_dist_broadcast(sol_dist *d, void *data, size_t n, sol_err *err);
/* The n bytes of each rank, to all: all[size], in the order of ranks. */
sol_status sol_dist_gather(sol_dist *d, const void *mine, size_t n, void *all, sol_err *err);
/* Completes an array of which each rank has a part: of[i], bytes of the array, is that of rank i.
 * What belongs to no part stays. */
typedef struct sol_dist_range {
    size_t first, n;
} sol_dist_range;
sol_status sol_dist_share(sol_dist *d, void *data, const sol_dist_range *of, sol_err *err);

/* One status for all: SOL_OK where every rank has that, else the status and text of the first rank
 * that failed, whose number and machine the text names unless it is rank 0. */
sol_status sol_dist_agree(sol_dist *d, sol_status st, sol_err *err);
/* Whether the last failure is known to all ranks, by sol_dist_agree. */
bool sol_dist_agreed(const sol_dist *d);

#endif
