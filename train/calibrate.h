/* The calibration of a job, alone or before a training: blocks are kept in the run directory as
 * soon as they are done, so that whatever ends the process, the next one goes on at the block where
 * it was.
 *
 *   <run.dir>/calibrated/block-NNN.h5   the latent weights of a block (a model file of it alone)
 *   <run.dir>/calibrate.jsonl           a line of what was calibrated on, then one a block
 *
 * On several ranks all call the functions: they share the passes over the windows and the training
 * of a block, with the bits of one rank. Layers are solved by rank 0, for which the others wait. */
#ifndef SOLERA_TRAIN_CALIBRATE_H
#define SOLERA_TRAIN_CALIBRATE_H

#include "job_data.h"
#include "run_dir.h"

typedef struct sol_job_calibration {
    const char *key;          /* what named the data, for errors */
    sol_job_data own;         /* of calibrate.data, where it is set */
    const sol_job_data *data; /* what is calibrated on */
    sol_calib_report *block;  /* [n]; owned */
    double *took;             /* [n] seconds of each block, in whichever process; owned */
    int64_t n;
    bool added_norms; /* those before o_proj and down_proj are the job's (job_norms.h) */
    double seconds;   /* of all blocks */
} sol_job_calibration;

/* Can this quantizer be calibrated, and are there enough data, which `key` named? data NULL: these
 * are not looked at. */
sol_status sol_job_calibration_check(const sol_config *c, const char *key, const sol_job_data *data,
                                     sol_err *err);

/* All that a calibration may be refused for, before anything of it is written: the quantizer, the
 * data, which are those of calibrate.data or, where it is unset, `train` that `key` named. m: what
 * will be calibrated. how: the dataset of calibrate.data. Ranks other than the first come after it.
 * A failure wants a free, too. */
sol_status sol_job_calibration_open(sol_job_calibration *r, sol_program *p, const sol_config *c,
                                    const sol_run_dir *dir, sol_job_made how, const sol_model *m,
                                    const sol_tokenizer *t, const char *key,
                                    const sol_job_data *train, sol_err *err);
/* Calibrates m (from model.init) in place. dir: begun; blocks that it holds of an earlier process
 * are taken, but not where they were calibrated on other data. */
sol_status sol_job_calibrate(sol_job_calibration *r, sol_program *p, sol_ctx *ctx,
                             const sol_config *c, const sol_run_dir *dir, sol_model *m,
                             sol_err *err);
/* Adds a block's line of calibrate.jsonl, a JSON object, without the line break. */
sol_status sol_calibration_add_block(sol_text *t, const sol_calib_report *r, double seconds,
                                     sol_err *err);
/* The role of the layer with the largest error of its own; -1: none was measured. */
int sol_calibration_worst(const sol_calib_report *r);
void sol_job_calibration_free(sol_job_calibration *r);

#endif
