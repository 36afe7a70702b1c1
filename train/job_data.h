/* The training data of a job: the files of data.train, alone or mixed. Opened, a batcher draws from
 * them; closed after a failure, too. */
#ifndef SOLERA_TRAIN_JOB_DATA_H
#define SOLERA_TRAIN_JOB_DATA_H

#include "job.h"

typedef struct sol_job_data {
    sol_job_tokens file[SOL_MIX_MAX];
    int n;
    const char *name[SOL_MIX_MAX]; /* their paths, borrowed, for messages */
    sol_mixture mix;               /* points into the files */
    uint64_t content;              /* digest of all files: of one alone its own */
    uint64_t digest;               /* of files and weights */
} sol_job_data;

/* One file as a list of files, which borrows the path. */
sol_sources sol_one_source(const char *path);

/* What the model itself was sampled to, at path, then the files of data.train; borrows both. */
sol_sources sol_job_sampled_source(const sol_config *c, const char *path);

/* As sol_job_open_tokens, for every file. made: where the dataset of a text file is written, if it
 * is the first file; sol_job_made_name says where that of file i is. */
sol_status sol_job_open_data(sol_program *p, const sol_config *c, const char *key,
                             const sol_sources *files, const char *made, sol_job_made how,
                             const sol_tokenizer *t, sol_job_data *d, sol_err *err);
/* As sol_job_look_at_tokens. */
sol_status sol_job_look_at_data(sol_program *p, const sol_config *c, const char *key,
                                const sol_sources *files, const sol_tokenizer *t, sol_job_data *d,
                                sol_err *err);
void sol_job_close_data(sol_job_data *d);
/* tokens.h5, tokens-2.h5, ... for i from 0 on. */
void sol_job_made_name(const char *made, int i, char out[SOL_PATH_MAX]);

/* Whether there are files, and all of each was read. */
bool sol_job_data_whole(const sol_job_data *d);
/* Draws what the job trains on. SOL_ERR_CONFIG, too: data.loss_on wants answers that a file has
 * not. */
sol_status sol_job_batcher(const sol_config *c, const sol_job_data *d, sol_batcher *b,
                           sol_err *err);
/* Adds a line about file i, as "75 % chats.h5: 1.2M tokens, 340 documents, an epoch 120 steps, 2.5
 * epochs". */
sol_status sol_job_data_describe(const sol_config *c, const sol_job_data *d, const sol_batcher *b,
                                 int i, sol_text *t, sol_err *err);

#endif
