/* The report: figures and words about one run, or several side by side, as one page that stands alone.
 *
 *     st = sol_report_write(runs, n, "study-report", err);     // DIR/index.html, DIR/<figure>.{svg,png,gp}, DIR/measures.csv
 *
 * The page holds its figures inline, loads nothing and runs no script; it prints. */
#ifndef SOLERA_STUDY_REPORT_H
#define SOLERA_STUDY_REPORT_H

#include "study/run.h"

/* Checks that the runs fit together, makes DIR and writes into it. */
sol_status sol_report_write(const sol_study_run *runs, int n, const char *dir, sol_err *err);

#endif
