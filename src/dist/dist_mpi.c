/* The engine over MPI: pieces are sent and received without blocking, and waited for with an eye on
 * the clock. A program that is built without MPI has none. */
#include "dist/dist_impl.h"

#ifdef SOL_MPI

#include <mpi.h>
#include <sched.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { TAG = 1, SPINS = 200 };
static const size_t message_bytes = (size_t)1 << 30; /* at most: MPI counts in int */

typedef struct engine_state {
    MPI_Request *request; /* [n] under way; owned */
    int *peer;            /* [n]; owned */
    size_t n, request_capacity, peer_capacity;
} engine_state;

static sol_status fail_mpi(const sol_dist *d, int code, int peer, sol_err *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;
    MPI_Error_string(code, text, &n);
    return sol_fail(err, SOL_ERR_SYSTEM, "rank %d on %s: %s", peer,
                    d->host ? d->host[peer] : "its machine", text);
}

/* Room for one more request. */
static sol_status add_request(engine_state *s, int peer, MPI_Request **request, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&s->request, &s->request_capacity, s->n + 1, sizeof *s->request,
                           err));
    SOL_TRY(sol_grow_array((void **)&s->peer, &s->peer_capacity, s->n + 1, sizeof *s->peer, err));
    s->peer[s->n] = peer;
    *request = &s->request[s->n++];
    **request = MPI_REQUEST_NULL;
    return SOL_OK;
}

/* Sends or receives a piece, in as many messages as its bytes need. */
static sol_status start_piece(sol_dist *d, int peer, const sol_dist_piece *p, bool receive,
                              sol_err *err)
{
    for (size_t at = 0; at < p->n; at += message_bytes) {
        size_t left = p->n - at;
        int n = (int)(left < message_bytes ? left : message_bytes), code;
        char *data = (char *)p->data + at;
        MPI_Request *request;
        SOL_TRY(add_request(d->state, peer, &request, err));
        code = receive ? MPI_Irecv(data, n, MPI_BYTE, peer, TAG, MPI_COMM_WORLD, request)
                       : MPI_Isend(data, n, MPI_BYTE, peer, TAG, MPI_COMM_WORLD, request);
        if (code != MPI_SUCCESS) return fail_mpi(d, code, peer, err);
    }
    return SOL_OK;
}

/* Each rank begins with its neighbour, so that not all send to rank 0 at first. */
static sol_status mpi_start(sol_dist *d, const sol_dist_piece *send, const sol_dist_piece *recv,
                            sol_err *err)
{
    for (int i = 1; i < d->size; i++) {
        int from = (d->rank + d->size - i) % d->size;
        SOL_TRY(start_piece(d, from, &recv[from], true, err));
    }
    for (int i = 1; i < d->size; i++) {
        int to = (d->rank + i) % d->size;
        SOL_TRY(start_piece(d, to, &send[to], false, err));
    }
    return SOL_OK;
}

/* Gives the processor away: ranks may share it, and a long wait should cost nothing. */
static void pause_for(int64_t turns)
{
    struct timespec t = {.tv_nsec = turns < 10 * SPINS ? 20000 : 500000};
    if (turns < SPINS)
        sched_yield();
    else
        nanosleep(&t, NULL);
}

/* One request, of a wait that began at `begun`. */
static sol_status wait_for(const sol_dist *d, size_t i, double begun, sol_err *err)
{
    const engine_state *s = d->state;
    int peer = s->peer[i], done = 0;
    for (int64_t turns = 0;; turns++) {
        int code = MPI_Test(&s->request[i], &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return fail_mpi(d, code, peer, err);
        if (done) return SOL_OK;
        if (d->timeout > 0 && sol_clock() - begun > d->timeout)
            return sol_fail(err, SOL_ERR_SYSTEM,
                            "rank %d on %s has sent nothing for %g s (dist.timeout)", peer,
                            d->host ? d->host[peer] : "its machine", d->timeout);
        pause_for(turns);
    }
}

/* One after the other, so that a failure names its rank; MPI moves all of them meanwhile. */
static sol_status mpi_wait(sol_dist *d, sol_err *err)
{
    engine_state *s = d->state;
    double begun = sol_clock();
    for (size_t i = 0; i < s->n; i++) SOL_TRY(wait_for(d, i, begun, err));
    s->n = 0;
    return SOL_OK;
}

static void mpi_close(sol_dist *d)
{
    engine_state *s = d->state;
    if (s) {
        sol_free(s->request);
        sol_free(s->peer);
    }
    sol_free(s);
    MPI_Finalize();
}

static void mpi_abort(const sol_dist *d, int code)
{
    (void)d;
    MPI_Abort(MPI_COMM_WORLD, code);
}

static const sol_dist_engine over_mpi = {mpi_start, mpi_wait, mpi_close, mpi_abort};

/* What the launcher says, where it does: srun can serve another library than ours, which then knows
 * of one rank alone. */
static sol_status check_size(const sol_dist *d, sol_err *err)
{
    long launched = sol_dist_processes();
    if (d->size > SOL_DIST_MAX)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%d ranks are more than %d", d->size,
                        SOL_DIST_MAX);
    if (launched <= 1 || d->size > 1) return SOL_OK;
    return sol_fail(err, SOL_ERR_USAGE,
                    "the launcher started %ld processes, %s knows of this one alone: use the "
                    "launcher of that library",
                    launched, sol_dist_library());
}

/* Memory for all that a gather needs. */
static sol_status reserve(sol_dist *d, sol_err *err)
{
    size_t n = 2 * (size_t)d->size;
    SOL_TRY(sol_dist_reserve(d, err));
    SOL_TRY(sol_alloc_array(&d->state, 1, sizeof(engine_state), err));
    engine_state *s = d->state;
    SOL_TRY(sol_grow_array((void **)&s->request, &s->request_capacity, n, sizeof *s->request, err));
    return sol_grow_array((void **)&s->peer, &s->peer_capacity, n, sizeof *s->peer, err);
}

/* One status for all, by MPI alone: a rank without memory keeps no other one waiting. */
static sol_status agree(sol_status st, sol_err *err)
{
    int mine = st, worst = st;
    MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (st != SOL_OK || worst == SOL_OK) return st;
    return sol_fail(err, worst, "another rank: %s", sol_status_text(worst));
}

sol_status sol_dist_open_mpi(sol_dist *d, sol_err *err)
{
    int has;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &has) != MPI_SUCCESS)
        return sol_fail(err, SOL_ERR_LIBRARY, "MPI does not start");
    d->engine = &over_mpi;
    d->any_thread = has >= MPI_THREAD_SERIALIZED;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &d->size);
    sol_status st = check_size(d, err);
    return agree(st == SOL_OK ? reserve(d, err) : st, err);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *sol_dist_library(void)
{
#ifdef OMPI_MAJOR_VERSION
    return "Open MPI " TEXT(OMPI_MAJOR_VERSION) "." TEXT(OMPI_MINOR_VERSION) "." TEXT(
        OMPI_RELEASE_VERSION);
#elif defined MPICH_VERSION
    return "MPICH " MPICH_VERSION;
#else
    return "MPI " TEXT(MPI_VERSION) "." TEXT(MPI_SUBVERSION);
#endif
}

#else

sol_status sol_dist_open_mpi(sol_dist *d, sol_err *err)
{
    if (sol_dist_processes() == 1) return sol_dist_reserve(d, err);
    return sol_fail(err, SOL_ERR_USAGE,
                    "was started as one of several ranks, but was built without MPI (make MPI=1 "
                    "builds with it)");
}

const char *sol_dist_library(void)
{
    return "none";
}

#endif
