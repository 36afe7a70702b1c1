/* The ranks of a verb: mpirun starts the program N times, and what must be alike on all of them is
 * compared before they work together.
 *
 *     sol_dist *dist;
 *     sol_dataset data = {0};
 *     sol_status st = sol_program_dist(program, &dist, err);
 *     if (st == SOL_OK) st = sol_dist_agree(dist, sol_dataset_open(&data, "d.h5", err), err);
 *     if (st == SOL_OK) st = sol_ranks_compare(dist, "other data", data.digest, err);
 *
 * What a rank alone may fail at ends with sol_dist_agree, so that all go on or none does; main
 * prints what all know of once, by rank 0. */
#ifndef SOLERA_TRAIN_RANKS_H
#define SOLERA_TRAIN_RANKS_H

#include "program.h"
#include "run_dir.h"

/* Before the verb: where a launcher of MPI started this process, all its ranks run the same verb of
 * the same build, a verb that takes several, or none goes on. st: what this rank alone says so
 * far. */
sol_status sol_ranks_join(sol_program *p, sol_status st, sol_err *err);

/* SOL_ERR_CONFIG names the first rank that has another number than rank 0: `what`, "another
 * tokenizer", is what it then has. */
sol_status sol_ranks_compare(sol_dist *d, const char *what, uint64_t number, sol_err *err);
/* The same for a text. */
sol_status sol_ranks_compare_text(sol_dist *d, const char *what, const char *text, sol_err *err);
/* The same for a job: names the keys that differ. */
sol_status sol_ranks_compare_job(sol_dist *d, const sol_config *c, sol_err *err);
/* Warns, once a job, where the ranks on a machine have more threads than it has processors. */
sol_status sol_ranks_compare_threads(sol_program *p, int threads, sol_err *err);

/* Rank 0's text[n] to the others, whose *text is NULL before, and their own with a 0 behind it
 * after. */
sol_status sol_ranks_send_text(sol_dist *d, char **text, size_t *n, sol_err *err);

/* The directory of a run: rank 0 opens it (sol_run_dir_open), the others join it. SOL_ERR_IO: a
 * rank has another one under this name. */
sol_status sol_ranks_open_dir(sol_dist *d, sol_run_dir *dir, const char *path, bool resume,
                              sol_err *err);

/* At the end of a verb: sol_dist_agree, unless all know already that it has failed. */
sol_status sol_ranks_end(sol_dist *d, sol_status st, sol_err *err);

#endif
