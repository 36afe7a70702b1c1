/* The training text of data.source self: sampled once from the model that the run starts with, then
 * a dataset like any other. What is finished is kept in the run directory, so that whatever ends
 * the process, the next one goes on from there, to the same bytes.
 *
 *   <run.dir>/tokens-self-part.h5   the first documents, and of what model they are
 *   <run.dir>/tokens-self.h5        all of them, in place of that */
#ifndef SOLERA_TRAIN_JOB_SELF_H
#define SOLERA_TRAIN_JOB_SELF_H

#include "job.h"
#include "run_dir.h"

/* What would be refused behind the sampling, before it: the model, and the files of data.train
 * beside the text, which are looked at as sol_job_look_at_data does. */
sol_status sol_job_check_self(sol_program *p, const sol_config *c, const sol_model_config *m,
                              const sol_tokenizer *t, sol_err *err);

/* Before the run has a checkpoint: makes the dataset `path` in dir, which is claimed, unless the
 * run has it already. m: of model.init. Goes on with what dir holds of an earlier process;
 * SOL_ERR_CONFIG: that was sampled from another model, or otherwise. */
sol_status sol_job_sample_self(sol_program *p, const sol_config *c, sol_run_dir *dir,
                               const sol_model *m, const sol_tokenizer *t, const char *path,
                               sol_err *err);

#endif
