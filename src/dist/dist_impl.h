/* What carries the bytes between ranks. Internal to dist. */
#ifndef SOLERA_DIST_DIST_IMPL_H
#define SOLERA_DIST_DIST_IMPL_H

#include "dist/dist.h"

enum { SOL_DIST_HOST = 64 };

/* The functions leave out what a rank sends to itself. */
typedef struct sol_dist_engine {
    sol_status (*start)(sol_dist *d, const sol_dist_piece *send, const sol_dist_piece *recv,
                        sol_err *err);
    sol_status (*wait)(sol_dist *d, sol_err *err);
    void (*close)(sol_dist *d);
    void (*abort)(const sol_dist *d, int code);
} sol_dist_engine;

struct sol_dist {
    const sol_dist_engine *engine;
    void *state; /* of the engine; owned by it */
    int rank, size;
    double timeout, waited;
    bool agreed, any_thread;
    sol_dist_piece *send, *recv; /* [size], for dist.c; owned */
    char (*host)[SOL_DIST_HOST]; /* [size]; owned */
};

/* dist.c. The arrays above, of d->size; the caller frees them by sol_dist_close. */
sol_status sol_dist_reserve(sol_dist *d, sol_err *err);
/* How many processes the launcher says that it started; 0: it does not say. */
long sol_dist_processes(void);

/* dist_mpi.c. Starts MPI, fills engine, state, rank and size, and reserves. Fails as sol_dist_open
 * does, on all ranks or on none. */
sol_status sol_dist_open_mpi(sol_dist *d, sol_err *err);

#endif
