/* The report: figures and words about one run, or several side by side, as one page that stands
 * alone.
 *
 *     st = sol_report_write(runs, n, "study-report", err);
 *
 * The folder holds index.html, each figure as svg, png and gp, measures.csv and its key. The page
 * holds its figures inline, loads nothing and runs no script; it can be printed. */
#ifndef SOLERA_STUDY_REPORT_H
#define SOLERA_STUDY_REPORT_H

#include "study/run.h"

/* Writes the report on runs[n] into dir, which is created. Fails as sol_study_runs_check does;
 * SOL_ERR_UNSUPPORTED: gnuplot is not installed; SOL_ERR_LIBRARY: it failed. */
sol_status sol_report_write(const sol_study_run *runs, int n, const char *dir, sol_err *err);

/* What measures.csv holds: a line a record and run, the means of the measures over the layers. The
 * caller owns *csv (sol_free). */
sol_status sol_report_csv(const sol_study_run *runs, int n, char **csv, sol_err *err);
/* What measures-key.csv holds: a line a measure, with its unit, title and formula. *csv likewise.
 */
sol_status sol_report_csv_key(char **csv, sol_err *err);

#endif
