/* Runs that differ in the seed alone, as one: means over the seeds, with their spread.
 *
 *     sol_study_run joined[16] = {0};
 *     int place[16], n_joined;
 *     st = sol_study_join_seeds(runs, n, joined, &n_joined, place, err);
 *     for (int i = 0; i < n_joined; i++) sol_study_run_free(&joined[i]); */
#ifndef SOLERA_STUDY_SEEDS_H
#define SOLERA_STUDY_SEEDS_H

#include "study/run.h"

/* Sets joined[*n_joined], at most n: one for each job, in the order of the first of its runs;
 * place[r] is where run r went. Runs that passed sol_study_runs_check are joined when their
 * recipe.job and the steps of their records are equal, so that a seed that ended early stands
 * alone. Measures, losses and histograms are means over the seeds without what is not finite; low,
 * high, eval_low and eval_high their extremes. joined: [n] of {0}; the caller frees each run, also
 * after a failure. */
sol_status sol_study_join_seeds(const sol_study_run *runs, int n, sol_study_run *joined,
                                int *n_joined, int *place, sol_err *err);

#endif
