/* What the trainer's tests run in: a directory with text, a tokenizer, datasets and a model
 * (text.txt, tokenizer.json, train.h5, eval.h5, model.h5), and jobs of 12 steps on them. */
#ifndef SOLERA_TESTS_TRAINER_WORLD_H
#define SOLERA_TESTS_TRAINER_WORLD_H

#include "suite.h"

#include "../train/trainer.h"

enum { WORLD_VOCAB = 280, WORLD_SEQ = 16 };

typedef struct world {
    char dir[64];
    char warning[2048]; /* the warnings of the trainer, one after the other */
    sol_program program;
} world;

void world_make(world *w);
void world_remove(world *w);

void world_path(const world *w, const char *name, char out[160]);

/* One more model, whose final norm begins with `poison` unless that is 0. */
void world_model(const world *w, const char *name, sol_tokenizer *t, float poison);

/* The job in YAML: run is the name of the run directory, set ends with NULL or is NULL. */
sol_config *world_job(const world *w, const char *run, const char *const *set);

/* Finishes the job and opens it; *t is NULL when that fails. */
sol_status world_open(world *w, sol_trainer **t, sol_config *c, bool resume, sol_err *err);
sol_status world_run(world *w, const char *run, const char *const *set, bool resume, sol_err *err);

/* metrics.jsonl without the timing, which is the last field of a line. Owned by the caller. */
char *world_metrics(const world *w, const char *run);

void world_checkpoint(const world *w, const char *run, int step, sol_checkpoint *ck);

/* The files of directory `sub` whose names end with `suffix`. */
int world_count(const world *w, const char *sub, const char *suffix);

#endif
