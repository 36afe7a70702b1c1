/* A run in place of a model file: `solera eval RUN` takes the run's best checkpoint. */
#ifndef SOLERA_TRAIN_RUN_MODEL_H
#define SOLERA_TRAIN_RUN_MODEL_H

#include "base/file.h"
#include "program.h"

/* Is there a directory at `path`, be it through a link? */
bool sol_is_directory(const char *path);

/* The checkpoint of the run in `dir`: what ckpt/best.h5 links to, else the newest one (*best says
 * which). SOL_ERR_USAGE: the directory holds no run, or the run no checkpoint yet. */
sol_status sol_run_model(const char *dir, char path[SOL_PATH_MAX], bool *best, sol_err *err);

/* Of a verb whose first word is a model (sol_verb.takes_model): replaces a directory among p->word
 * by the checkpoint of its run, which a line on stderr names. Other words stay as they are. */
sol_status sol_program_find_model(sol_program *p, sol_err *err);

/* A directory where a job wants the file of a model: what a run has as its best checkpoint may
 * change. SOL_ERR_USAGE says what to name instead. */
sol_status sol_run_refuse(const char *dir, sol_err *err);

#endif
