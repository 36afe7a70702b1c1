/* Batches of an evaluation that the ranks of a job compute in turns, batch i of each round by rank
 * i; after a round all ranks have its values, in the order of the batches. So what is added up of
 * them has the same bits for any number of ranks. Internal to eval.
 *
 * All ranks walk over the same batches: each fails at what is wrong with them, and what one alone
 * fails at becomes the status of all. One rank takes the values of a batch as soon as it is done.
 */
#ifndef SOLERA_EVAL_TURNS_H
#define SOLERA_EVAL_TURNS_H

#include "dist/dist.h"

typedef struct sol_turns {
    sol_dist *dist; /* borrowed; NULL: one rank */
    /* Gets the values of a round, on all ranks; of whole batches, in order. */
    sol_status (*take)(void *user, const double *value, size_t n, sol_err *err);
    void *user;
    double *value; /* [n] of this round; owned, as below */
    size_t n, capacity;
    sol_dist_range *range; /* [size] of its bytes: of each batch */
    size_t range_capacity;
    int batch;  /* how many of this round are done */
    bool ended; /* all ranks know that one has failed */
} sol_turns;

/* Whether the next batch is this rank's. */
bool sol_turns_mine(const sol_turns *t);
/* Begins the next batch, of n values: *value [n] is 0 and, where the batch is this rank's, to be
 * filled before sol_turns_done. */
sol_status sol_turns_begin(sol_turns *t, size_t n, double **value, sol_err *err);
/* Ends it, with the status of what this rank did for it; the last batch of a round waits for the
 * other ranks. */
sol_status sol_turns_done(sol_turns *t, sol_status st, sol_err *err);
/* After the last batch, or a failure, of which st is the status: one status for all ranks. Releases
 * what t holds. */
sol_status sol_turns_end(sol_turns *t, sol_status st, sol_err *err);

#endif
