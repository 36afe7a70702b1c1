/* The cost of each layer by itself, for `solera study --sensitivity`. */
#ifndef SOLERA_TRAIN_STUDY_LAYERS_H
#define SOLERA_TRAIN_STUDY_LAYERS_H

#include "program.h"

typedef struct sol_sensitivity_args {
    const char *data;     /* a dataset; NULL: that of the job, which may be text */
    int64_t windows, seq; /* seq 0: the context, at most 2048; -1: as the training, else 256 */
    bool json;
} sol_sensitivity_args;

/* Measures p->word[0], a job, a model or a run, and prints a table or JSON. */
sol_status sol_study_sensitivity(sol_program *p, const sol_sensitivity_args *a, sol_err *err);

#endif
