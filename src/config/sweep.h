/* A sweep: one job, run for a list of points with several seeds.
 *
 *   base: qat.yaml                    # the job; relative to this file
 *   dir: runs/methods                 # a run lives in dir/POINT/seed-N; the tables in dir
 *   seeds: [1, 2, 3]
 *   jobs: 1                           # processes at a time
 *   keep_checkpoints: true            # false: those of a finished run are removed
 *   set: {train.steps: 600}           # of every point
 *   points:                           # names and what they change; without it there is one point
 *     naive: {residual.schedule: none}
 *     arenas: {}
 *   grid:                             # times every combination of these
 *     quant.group_size: [32, 128]
 *   against: naive                    # a point: the others' losses minus its, seed by seed
 *   measures: [near_alpha, er_dw]     # of study.h5, beside the losses
 *
 *     sol_sweep *s;
 *     st = sol_sweep_read(&s, "sweep.yaml", NULL, err); // every point is checked
 *     st = sol_sweep_job(s, point, seed, &config, err);   // the job of one run
 *     sol_sweep_free(&s);
 *
 * Errors read "sweep.yaml:9:5: ..." as those of a job do. */
#ifndef SOLERA_CONFIG_SWEEP_H
#define SOLERA_CONFIG_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

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
    bool keep_checkpoints;
    char **column; /* [n_columns] "point" when there are points, then the keys of the grid */
    int n_columns;
    sol_sweep_point *point;
    int n_points;
    int against; /* a point, or -1 */
    char **measure;
    int n_measures;
} sol_sweep; /* everything owned */

/* What a command line puts in the place of the file's own entries; NULL or 0: the file's. */
typedef struct sol_sweep_opts {
    const char *base, *dir;
    int64_t jobs;
    const char *const *set; /* [n_set] "section.key=value", after those of the file's set, before
                             * those of the points */
    int n_set;
} sol_sweep_opts;

/* Reads a sweep and checks the job of every point; o NULL: nothing is replaced. The caller owns *s.
 * SOL_ERR_CONFIG names file, line and column; SOL_ERR_USAGE: o->set sets what the sweep itself
 * sets. */
sol_status sol_sweep_read(sol_sweep **s, const char *path, const sol_sweep_opts *o, sol_err *err);
void sol_sweep_free(sol_sweep **s);

/* The finished job of point p, 0 <= p < n_points, with seed[i], 0 <= i = `seed` < n_seeds. The
 * caller owns *c. */
sol_status sol_sweep_job(const sol_sweep *s, int p, int seed, sol_config **c, sol_err *err);

#endif
