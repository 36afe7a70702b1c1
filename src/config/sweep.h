/* A sweep: one job, run for a list of points with several seeds.
 *
 *     base: qat.yaml                    # the job; relative to this file
 *     dir: runs/methods                 # a run lives in dir/POINT/seed-N; the tables in dir
 *     seeds: [1, 2, 3]
 *     jobs: 1                           # processes at a time
 *     set: {train.steps: 600}           # of every point
 *     points:                           # names and what they change; without it there is one point
 *       naive: {residual.schedule: none}
 *       arenas: {}
 *     grid:                             # times every combination of these
 *       quant.group_size: [32, 128]
 *     measures: [near_alpha, er_dw]     # of study.h5, beside the losses
 *
 *     sol_sweep *s;
 *     st = sol_sweep_read(&s, "sweep.yaml", err);     // every point was tried on the job: keys, types, ranges, what spans keys
 *     ... s->point[i] ...
 *     sol_sweep_free(&s);
 *
 * Errors read "sweep.yaml:9:5: ..." as those of a job do. */
#ifndef SOLERA_CONFIG_SWEEP_H
#define SOLERA_CONFIG_SWEEP_H

#include <stdint.h>

#include "base/status.h"

typedef struct sol_sweep_point {
    char *name;  /* of its directory: the point's name and the values of the grid */
    char **cell; /* [n_columns] what the table shows */
    char **set;  /* [n_set] "section.key=value" */
    int n_set;
} sol_sweep_point;

typedef struct sol_sweep {
    char *base, *dir; /* base: as it can be opened from here */
    int64_t *seed;
    int n_seeds;
    int64_t jobs;
    char **column; /* [n_columns] "point" when there are points, then the keys of the grid */
    int n_columns;
    sol_sweep_point *point;
    int n_points;
    char **measure;
    int n_measures;
} sol_sweep; /* everything owned */

sol_status sol_sweep_read(sol_sweep **s, const char *path, sol_err *err);
void sol_sweep_free(sol_sweep **s);

#endif
