/* Ranks: finds out whether a launcher started several, and makes what they do together out of one
 * exchange of pieces; the engine of a single rank. */
#include "dist/dist.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "dist/dist_impl.h"

/* ---- one rank ---- */

static sol_status alone_start(sol_dist *d, const sol_dist_piece *send, const sol_dist_piece *recv,
                              sol_err *err)
{
    (void)d, (void)send, (void)recv, (void)err;
    return SOL_OK;
}

static sol_status alone_wait(sol_dist *d, sol_err *err)
{
    (void)d, (void)err;
    return SOL_OK;
}

static void alone_close(sol_dist *d)
{
    (void)d;
}

static void alone_abort(const sol_dist *d, int code)
{
    (void)d;
    _exit(code);
}

static const sol_dist_engine alone = {alone_start, alone_wait, alone_close, alone_abort};

/* ---- opening ---- */

/* A number that a launcher left in the environment; 0: none. */
static long number_in(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* By mpirun of Open MPI, of MPICH and its kin, by srun --mpi; the last one by srun alone. */
static const char *const launch_names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK",
                                           "PMIX_RANK", "SLURM_PROCID"};
enum { LAUNCH_NAMES = sizeof launch_names / sizeof *launch_names };

bool sol_dist_launched(void)
{
    for (int i = 0; i < LAUNCH_NAMES - 1; i++)
        if (getenv(launch_names[i])) return true;
    return false;
}

bool sol_dist_is_launch(const char *entry)
{
    for (int i = 0; i < LAUNCH_NAMES; i++) {
        size_t n = strlen(launch_names[i]);
        if (strncmp(entry, launch_names[i], n) == 0 && entry[n] == '=') return true;
    }
    return false;
}

/* How many tasks srun started; 0 without it. */
static long slurm_tasks(void)
{
    const char *name = getenv("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    return getenv("SLURM_PROCID") ? number_in(name) : 0;
}

long sol_dist_processes(void)
{
    long n = number_in("OMPI_COMM_WORLD_SIZE");
    if (n == 0) n = number_in("PMI_SIZE");
    return n > 0 ? n : slurm_tasks();
}

static sol_status open_engine(sol_dist *d, sol_err *err)
{
    long tasks = slurm_tasks();
    *d = (sol_dist){.engine = &alone, .size = 1, .any_thread = true};
    if (sol_dist_launched()) return sol_dist_open_mpi(d, err);
    if (tasks <= 1) return sol_dist_reserve(d, err);
    return sol_fail(err, SOL_ERR_USAGE,
                    "Slurm started %ld tasks without MPI, so that each would believe it is alone: "
                    "start them with mpirun or `srun --mpi=pmix`, or one with `srun -n 1`",
                    tasks);
}

sol_status sol_dist_reserve(sol_dist *d, sol_err *err)
{
    size_t n = (size_t)d->size;
    SOL_TRY(sol_alloc_array((void **)&d->send, n, sizeof *d->send, err));
    SOL_TRY(sol_alloc_array((void **)&d->recv, n, sizeof *d->recv, err));
    return sol_alloc_array((void **)&d->host, n, sizeof *d->host, err);
}

static sol_status learn_hosts(sol_dist *d, sol_err *err)
{
    char mine[SOL_DIST_HOST] = "";
    gethostname(mine, sizeof mine - 1);
    return sol_dist_gather(d, mine, sizeof mine, d->host, err);
}

sol_status sol_dist_open(sol_dist **out, sol_err *err)
{
    sol_dist *d;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&d, 1, sizeof *d, err));
    sol_status st = open_engine(d, err);
    if (st == SOL_OK) st = learn_hosts(d, err);
    if (st != SOL_OK) sol_dist_close(&d);
    *out = d;
    return st;
}

void sol_dist_close(sol_dist **dp)
{
    sol_dist *d = *dp;
    if (!d) return;
    d->engine->close(d);
    sol_free(d->send);
    sol_free(d->recv);
    sol_free(d->host);
    sol_free(d);
    *dp = NULL;
}

void sol_dist_abort(const sol_dist *d, int code)
{
    if (d) d->engine->abort(d, code);
    _exit(code);
}

int sol_dist_rank(const sol_dist *d)
{
    return d ? d->rank : 0;
}

int sol_dist_size(const sol_dist *d)
{
    return d ? d->size : 1;
}

const char *sol_dist_host(const sol_dist *d, int rank)
{
    return d->host[rank];
}

bool sol_dist_any_thread(const sol_dist *d)
{
    return d->any_thread;
}

void sol_dist_set_timeout(sol_dist *d, double seconds)
{
    d->timeout = seconds;
}

double sol_dist_seconds(const sol_dist *d)
{
    return d->waited;
}

/* ---- together ---- */

sol_status sol_dist_start(sol_dist *d, const sol_dist_piece *send, const sol_dist_piece *recv,
                          sol_err *err)
{
    const sol_dist_piece *from = &send[d->rank], *to = &recv[d->rank];
    if (to->n && to->data != from->data) memmove(to->data, from->data, to->n);
    return d->engine->start(d, send, recv, err);
}

sol_status sol_dist_wait(sol_dist *d, sol_err *err)
{
    double begun = sol_clock();
    sol_status st = d->engine->wait(d, err);
    d->waited += sol_clock() - begun;
    return st;
}

static sol_status exchange(sol_dist *d, sol_err *err)
{
    SOL_TRY(sol_dist_start(d, d->send, d->recv, err));
    return sol_dist_wait(d, err);
}

static sol_status broadcast_from(sol_dist *d, int root, void *data, size_t n, sol_err *err)
{
    sol_dist_piece all = {data, n}, none = {0};
    for (int i = 0; i < d->size; i++) {
        d->send[i] = d->rank == root ? all : none;
        d->recv[i] = i == root ? all : none;
    }
    return exchange(d, err);
}

sol_status sol_dist_broadcast(sol_dist *d, void *data, size_t n, sol_err *err)
{
    return broadcast_from(d, 0, data, n, err);
}

sol_status sol_dist_gather(sol_dist *d, const void *mine, size_t n, void *all, sol_err *err)
{
    for (int i = 0; i < d->size; i++) {
        d->send[i] = (sol_dist_piece){(void *)mine, n};
        d->recv[i] = (sol_dist_piece){(char *)all + (size_t)i * n, n};
    }
    return exchange(d, err);
}

sol_status sol_dist_share(sol_dist *d, void *data, const sol_dist_range *of, sol_err *err)
{
    const sol_dist_range *mine = &of[d->rank];
    for (int i = 0; i < d->size; i++) {
        d->send[i] = (sol_dist_piece){(char *)data + mine->first, mine->n};
        d->recv[i] = (sol_dist_piece){(char *)data + of[i].first, of[i].n};
    }
    return exchange(d, err);
}

/* The first rank whose status is a failure; size: none. */
static sol_status find_failed(sol_dist *d, sol_status st, int *failed, sol_err *err)
{
    sol_status all[SOL_DIST_MAX];
    SOL_TRY(sol_dist_gather(d, &st, sizeof st, all, err));
    for (*failed = 0; *failed < d->size && all[*failed] == SOL_OK;) ++*failed;
    return SOL_OK;
}

sol_status sol_dist_agree(sol_dist *d, sol_status st, sol_err *err)
{
    int failed;
    sol_err why = {.status = st};
    if (st != SOL_OK && err) why = *err;
    d->agreed = false;
    SOL_TRY(find_failed(d, st, &failed, err));
    if (failed == d->size) return SOL_OK;
    why.status = st;
    SOL_TRY(broadcast_from(d, failed, &why, sizeof why, err));
    d->agreed = true;
    if (failed == 0) return sol_fail(err, why.status, "%s", why.text);
    return sol_fail(err, why.status, "rank %d on %s: %s", failed, d->host[failed], why.text);
}

bool sol_dist_agreed(const sol_dist *d)
{
    return d->agreed;
}
