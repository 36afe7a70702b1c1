/* metrics.jsonl and calibrate.jsonl read back: what reports and sweeps need of them. */
#ifndef SOLERA_TRAIN_METRICS_H
#define SOLERA_TRAIN_METRICS_H

#include "solera.h"

/* Sets *c, whose arrays the caller owns (sol_metrics_free, or the run that they become part of).
 * SOL_ERR_FORMAT: a line that is no JSON or has no step. A last line without line break is one that
 * a killed process did not finish: left out. null reads as NaN. */
sol_status sol_metrics_read(const char *path, sol_study_curve *c, sol_err *err);
/* calibrate.jsonl, likewise; the run that it becomes part of owns its arrays, after a failure, too.
 */
sol_status sol_calibration_read(const char *path, sol_study_calibration *c, sol_err *err);
void sol_metrics_free(sol_study_curve *c);

#endif
