/* What the runs of a sweep found: means over the seeds that are done, and differences seed by seed.
 * sweep_table.c writes it as table.md and table.csv, sweep_page.c as index.html. */
#ifndef SOLERA_TRAIN_SWEEP_TABLE_H
#define SOLERA_TRAIN_SWEEP_TABLE_H

#include "sweep_runs.h"

/* What is measured: three losses, the difference to the point of `against`, then the measures. */
enum {
    SOL_SWEEP_EVAL_LOSS,
    SOL_SWEEP_PACKED_LOSS,
    SOL_SWEEP_TRAIN_LOSS,
    SOL_SWEEP_DIFFERENCE,
    SOL_SWEEP_MEASURES
};

/* What runs whose jobs name the same files must have read alike. */
enum { SOL_SWEEP_MODEL, SOL_SWEEP_TEACHER, SOL_SWEEP_DATA, SOL_SWEEP_EVAL, SOL_SWEEP_FILES };

typedef struct sol_sweep_mean {
    double mean, deviation; /* NaN: of nothing, of one */
    int n;
} sol_sweep_mean;

typedef struct sol_sweep_table {
    const sol_sweep_runs *runs; /* borrowed */
    int n_values;
    double *value; /* [runs, n_values]; NaN where there is none; owned, as below */
    uint64_t *file[SOL_SWEEP_FILES]; /* [runs] digests; 0: unknown, or none */
    sol_sweep_mean *summary;         /* [points, n_values] */
    bool *shown;                     /* [n_values] */
    sol_text notes;                  /* lines: what the means do not tell; may be empty */
} sol_sweep_table;

/* Reads the runs that are done. The caller frees *t, also after a failure. */
sol_status sol_sweep_table_make(sol_sweep_table *t, const sol_sweep_runs *r, sol_err *err);
void sol_sweep_table_free(sol_sweep_table *t);

/* The values of one run, [n_values]; borrowed. */
double *sol_sweep_values(const sol_sweep_table *t, int point, int seed);
/* Half of the interval that holds the mean of n samples with 95 % confidence, by Student's t with
 * n - 1 degrees of freedom; above ten of them by its expansion about the normal quantile. NaN of
 * less than two samples. */
double sol_sweep_half_interval(const sol_sweep_mean *s);

/* The text of a cell. Row -1 is the heading. Columns: the point's own, the seeds, what was
 * measured; shown is what some run has. */
enum { SOL_SWEEP_CELL = 320 };
void sol_sweep_cell(const sol_sweep_table *t, int row, int column, char *out, size_t size);
bool sol_sweep_column_shown(const sol_sweep_table *t, int column);

/* Writes index.html into the directory of the sweep. left: the time that it still takes, while it
 * goes on; "": it has ended. */
sol_status sol_sweep_page_write(const sol_sweep_table *t, const char *left, sol_err *err);

#endif
