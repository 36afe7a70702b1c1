/* model.sub_norm of a job: norms before o_proj and down_proj of a model that has none yet, with
 * weights that a text gives them (calib/sub_norms.h). A verb adds them as soon as it has read the
 * model, fits them once it has the text, and tells what they change. */
#ifndef SOLERA_TRAIN_JOB_NORMS_H
#define SOLERA_TRAIN_JOB_NORMS_H

#include "job_data.h"

typedef struct sol_job_norms {
    bool added;
    sol_sub_norm_change *off; /* [n] of each block, once they are fitted; owned */
    int64_t n;
} sol_job_norms;

/* Whether the job wants norms that a model of this configuration lacks. */
bool sol_job_adds_norms(const sol_config *c, const sol_model_config *m);
/* Adds those, with weights of 1; nothing to do is no failure. */
sol_status sol_job_add_norms(const sol_config *c, sol_model *m, sol_job_norms *n, sol_err *err);
/* Gives them their weights, where they were added: on the windows that a calibration of this job
 * takes, or as many of them as the data hold. key: what named the data, for errors. */
sol_status sol_job_fit_norms(sol_job_norms *n, const sol_ctx *ctx, const sol_config *c,
                             const char *key, const sol_job_data *data, sol_model *m, sol_err *err);
/* A line about what they change. */
void sol_job_log_norms(const sol_job_norms *n, const sol_log *log);
void sol_job_free_norms(sol_job_norms *n);

#endif
