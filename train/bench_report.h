/* The report of the verb bench: all that it measures of this machine as one table in Markdown. */
#ifndef SOLERA_TRAIN_BENCH_REPORT_H
#define SOLERA_TRAIN_BENCH_REPORT_H

#include "bench_infer.h"

/* Prints the machine, the head of the table, and the rows of what was measured of inference.
 * load_seconds: how long it took to load the model, or sol_bench_random_net's. */
void sol_bench_report_begin(sol_bench_infer *b, const char *model, double load_seconds);
/* One row: a median, what a tenth and nine tenths of the rounds do not exceed, the unit, and what
 * share it is of what; "": none. */
void sol_bench_report_row(const char *what, double median, double low, double high,
                          const char *unit, const char *share);

#endif
