/* A sweep at work: the runs of its points, each one a process `solera train JOB --resume`, and the
 * table of what they found. Under mpirun every rank starts processes, each of them alone, and all
 * ranks know of each run whether it waits, goes or has ended; rank 0 writes what is summed up.
 *
 *     sol_sweep_runs *r;
 *     st = sol_sweep_runs_open(&r, program, sweep, err); // every job and its directory looked at
 *     st = sol_sweep_runs_go(r, err); // those that are not done
 *     st = sol_sweep_report(r, err); // dir/table.md, table.csv, index.html, stdout
 *     sol_sweep_runs_free(&r);
 *
 * Nothing about progress is kept beside the runs themselves: a run is done when its metrics end at
 * its last step. So the same command goes on after a kill of any of the processes, as each run
 * does. */
#ifndef SOLERA_TRAIN_SWEEP_RUNS_H
#define SOLERA_TRAIN_SWEEP_RUNS_H

#include <sys/types.h>

#include "program.h"

typedef enum { SOL_RUN_WAITS, SOL_RUN_GOES, SOL_RUN_DONE, SOL_RUN_FAILED } sol_run_phase;

typedef struct sol_sweep_run {
    int point, seed; /* numbers in the sweep */
    sol_config *job; /* owned */
    sol_run_phase phase;
    bool chose; /* train.compute auto, which rank 0 has decided */
    int rank;   /* that it goes on */
    pid_t pid;  /* there, while it goes; -1: it could not be started */
    double started;
} sol_sweep_run;

typedef struct sol_sweep_runs {
    sol_program *program;   /* borrowed */
    const sol_sweep *sweep; /* borrowed */
    sol_sweep_run *run;     /* [n], those of a point one after another */
    int n;
    char failed[512]; /* what the first failed run said; "": none failed */
    int n_failed;
    bool stopping; /* a rank got a signal */
    int *news;     /* [1 + ranks, n + 1] of a turn: of this rank, of all; owned */
} sol_sweep_runs;

/* A directory that holds another run (other keys that make it one) is an error, as are ranks with
 * another sweep: nothing was started then. The caller owns *r. */
sol_status sol_sweep_runs_open(sol_sweep_runs **r, sol_program *p, const sol_sweep *s,
                               sol_err *err);
void sol_sweep_runs_free(sol_sweep_runs **r);

/* Runs what waits, sweep->jobs at a time on each rank. A run that fails is counted and the others
 * go on. SOL_ERR_INTERRUPTED after a signal, when all processes have saved and ended;
 * SOL_ERR_LOCKED where another sweep is at work in the directory; SOL_ERR_CONFIG where a rank has
 * another directory under that name. The same on all ranks. */
sol_status sol_sweep_runs_go(sol_sweep_runs *r, sol_err *err);

/* Writes what the runs that are done found to dir/table.md, dir/table.csv, dir/index.html and, as
 * Markdown, to stdout: means over the seeds and, where the sweep has a point to compare with, the
 * differences seed by seed with their 95 % interval. For rank 0. */
sol_status sol_sweep_report(const sol_sweep_runs *r, sol_err *err);

#endif
