/* The files of solera: checkpoints, model files, packed models and datasets in HDF5
 * (checkpoints/SCHEMA.md). Writers replace files atomically (base/file.h). Readers check
 * everything; SOL_ERR_FORMAT: damaged, or not such a file; SOL_ERR_SHAPE: an object of another
 * shape; SOL_ERR_UNSUPPORTED: a version or kind that is not read. Errors name the file and the
 * object in it.
 *
 *     sol_checkpoint c = {0};
 *     st = sol_checkpoint_read(&c, "model.h5", SOL_F32, err);
 *     if (st == SOL_OK) printf("%" PRId64 " weights\n", c.model->n_weights);
 *     sol_checkpoint_free(&c); */
#ifndef SOLERA_STORE_STORE_H
#define SOLERA_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/ctx.h"
#include "kernels/dense.h"
#include "model/model.h"
#include "optim/optim.h"
#include "quant/codec.h"
#include "quant/overrides.h"
#include "text/batcher.h"
#include "text/tokenizer.h"

/* What a training run needs besides parameters and moments to go on bit for bit. */
typedef struct sol_run_state {
    uint64_t step, tokens; /* optimizer steps done, tokens seen */
    uint64_t drawn;        /* sol_batcher.drawn */
    uint64_t skipped;      /* non-finite steps */
    uint64_t seed;
    double best_eval_loss; /* infinity: none yet */
    uint64_t best_step;
    uint64_t metrics_bytes; /* length of metrics.jsonl that belongs to this state */
    double ema_loss;
    uint64_t data_digest; /* sol_dataset.digest of the training data; 0: unknown */
    uint64_t teacher_digest; /* sol_store_model_digest of the teacher; 0: none */
} sol_run_state;

/* How a run cuts the data that it is measured on: what an evaluation of its model does unless it is
 * told otherwise. The windows hold the tokens of the data and no others: no BOS is put in front. */
typedef struct sol_windows {
    int64_t seq;  /* tokens a window; 0: not known (an import, a file from before this was kept) */
    int64_t most; /* the first so many windows; 0: all */
    bool apart;   /* attention restarts at each document, whose first token is not predicted */
} sol_windows;

typedef struct sol_checkpoint {
    sol_model *model;         /* owned */
    sol_tokenizer *tokenizer; /* owned; NULL when the file has none */
    sol_adamw *optim;         /* owned; NULL in a model file */
    sol_run_state state;      /* zero in a model file */
    char *config_yaml;        /* owned; the resolved YAML of the run; NULL: none */
    void *study;              /* [study_bytes] owned; the recorder's own state
                               * (study/recorder.h); NULL: none */
    size_t study_bytes;
    sol_quant_spec quant;     /* from config_yaml's quant section as stored attributes; method
                               * NULL: full precision */
    sol_quant_overrides *overrides; /* those that a file holds, which quant then borrows; owned */
    sol_windows windows;
} sol_checkpoint;

void sol_checkpoint_free(sol_checkpoint *c);
/* Reads a checkpoint (with optim and state) or a model file. dtype: of the parameters in memory,
 * SOL_F32 or SOL_BF16. The caller owns *c (sol_checkpoint_free); after a failure it is empty. */
sol_status sol_checkpoint_read(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err);
/* Reads it without the moments of the optimizer, which may take twice the size of the model; optim
 * is NULL. */
sol_status sol_checkpoint_read_model(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err);
/* Reads it without weights: c->model is a table, optim NULL. That every parameter is in the file
 * with its shape is checked. */
sol_status sol_checkpoint_describe(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err);
/* Reads a model without ever holding all of it: `begin` sees the file without its weights (c->model
 * is described, optim NULL), then `rows` gets rows [from, from + n) of every parameter in order, in
 * f32. */
typedef struct sol_param_sink {
    sol_status (*begin)(void *user, const sol_checkpoint *c, sol_err *err);
    sol_status (*rows)(void *user, const sol_param *p, int64_t from, int64_t n, const float *rows, sol_err *err);
    void *user;
} sol_param_sink;
sol_status sol_checkpoint_stream(const char *path, const sol_param_sink *sink, sol_err *err);
/* A digest of the configuration and the parameters in a checkpoint or model file; nothing else in
 * the file counts. */
sol_status sol_store_model_digest(const char *path, uint64_t *digest, sol_err *err);
/* Only the configuration and the tokenizer of a checkpoint, model file or packed model; either may
 * be NULL. The caller owns *tokenizer, which is NULL when the file has none. */
sol_status sol_store_read_header(const char *path, sol_model_config *config, sol_tokenizer **tokenizer, sol_err *err);
/* Reads the windows of a checkpoint, model file or packed model. */
sol_status sol_store_read_windows(const char *path, sol_windows *w, sol_err *err);
/* Writes a checkpoint when c->optim is there, else a model file. params_dtype: of the parameters on
 * disk, SOL_F32 or SOL_BF16. SOL_ERR_NONFINITE: a weight is not finite in that type. */
sol_status sol_checkpoint_write(const sol_checkpoint *c, const char *path, sol_dtype params_dtype, sol_err *err);

/* A packed model, in memory as on disk: for each parameter of `table` what holds it. */
typedef struct sol_packed_model {
    sol_model_config config;
    sol_model *table;         /* of this configuration, without weights; owned */
    sol_tokenizer *tokenizer; /* owned; may be NULL */
    sol_quant_spec quant;
    sol_quant_overrides *overrides; /* as in sol_checkpoint */
    sol_windows windows;
    sol_packed_mat *linear;   /* [table->n_params]: the quantized parameters, empty for the
                               * others; owned */
    sol_dense_src *kept;      /* [table->n_params]: those that overrides leave in full precision,
                               * in fp16; rows 0 for the others; owned */
    float **vector;           /* [table->n_params]: where each vector lies in vectors, NULL for
                               * the others; owned */
    float *vectors;           /* all of them, one behind the other; owned */
    sol_dense_src embed;      /* [V, C]; data and scales owned */
    sol_dense_src head;       /* likewise; data NULL when tied */
} sol_packed_model;

/* Table and arrays for this configuration, all empty or zero; released by sol_packed_model_free
 * even after an error. */
sol_status sol_packed_model_begin(sol_packed_model *p, const sol_model_config *c, sol_err *err);
/* The quantized parameter of this role. */
const sol_packed_mat *sol_packed_linear(const sol_packed_model *p, int64_t layer, sol_role role);

/* Packs the quantized linears of a model through sol_packed_from_weights; embedding and head are
 * rounded to embed_type. p->tokenizer stays NULL, p->windows unknown. SOL_ERR_NONFINITE, with the
 * parameter, for weights that are no numbers, scales that fp16 cannot hold, and embeddings outside
 * sol_dense_most. */
sol_status sol_packed_model_from(sol_ctx *ctx, sol_packed_model *p, const sol_model *m, const sol_quant_spec *spec,
                                 sol_dense_type embed_type, sol_err *err);
void sol_packed_model_free(sol_packed_model *p);
/* Bits a weight over all quantized matrices, scales included. */
double sol_packed_model_bits(const sol_packed_model *p);
/* Writes and reads a packed model file. tokenizer: stored with the model, normally p->tokenizer;
 * NULL: none. The caller owns what is read (sol_packed_model_free). */
sol_status sol_packed_model_write(const sol_packed_model *p, const sol_tokenizer *tokenizer, const char *path, sol_err *err);
sol_status sol_packed_model_read(sol_packed_model *p, const char *path, sol_err *err);
/* *bytes: the size of the file that sol_packed_model_from and _write make of a model of these
 * shapes; table needs no weights. Fails where they would. */
sol_status sol_packed_model_bytes(const sol_model *table, const sol_tokenizer *t, const sol_quant_spec *spec,
                                  const sol_windows *windows, sol_dense_type embed_type, uint64_t *bytes, sol_err *err);

typedef enum { SOL_FILE_CHECKPOINT, SOL_FILE_MODEL, SOL_FILE_PACKED, SOL_FILE_DATASET, SOL_FILE_STUDY,
               SOL_FILE_TEACHER_CACHE } sol_file_kind;
/* What kind of file it is, by its root attributes; SOL_ERR_FORMAT: none of these. */
sol_status sol_store_kind(const char *path, sol_file_kind *kind, sol_err *err);
/* A tokenizer from any file: alone from a checkpoint, model or packed file (SOL_ERR_FORMAT when
 * there is none in it), or what sol_tokenizer_open reads. */
sol_status sol_store_tokenizer(sol_tokenizer **t, const char *path, sol_err *err);

/* A dataset file, mapped: tokens point into the map and are paged in when they are read. A small
 * file is checked against its checksum when it is opened, a large one by sol_store_verify. Token
 * ids are not checked here. */
typedef struct sol_dataset {
    sol_tokens tokens;
    int64_t vocab_size; /* as the file says: ids should lie below it */
    uint64_t digest;    /* of the content: the same data give the same number wherever the file
                         * lies */
    void *impl;
} sol_dataset;
sol_status sol_dataset_open(sol_dataset *d, const char *path, sol_err *err);
void sol_dataset_close(sol_dataset *d);

/* Streams documents into a dataset file, which appears under its name at close. Ids are stored in
 * 16 bits where vocab_size allows, else in 32. */
typedef struct sol_dataset_writer sol_dataset_writer;
sol_status sol_dataset_writer_open(sol_dataset_writer **w, const char *path, int32_t vocab_size, uint64_t tokenizer_hash,
                                   sol_err *err);
/* Adds a document of n ids. SOL_ERR_RANGE: one is outside the vocabulary. */
sol_status sol_dataset_writer_add(sol_dataset_writer *w, const int32_t *ids, size_t n, sol_err *err);
/* A document in pieces: any number of appends, then an end. One without tokens is left out.
 * SOL_ERR_RANGE: an id outside the vocabulary. */
sol_status sol_dataset_writer_append(sol_dataset_writer *w, const int32_t *ids, size_t n, sol_err *err);
sol_status sol_dataset_writer_end(sol_dataset_writer *w, sol_err *err);
/* Commits and frees the writer in any case. SOL_ERR_USAGE: the last document has no end;
 * SOL_ERR_FORMAT: there are no tokens. */
sol_status sol_dataset_writer_close(sol_dataset_writer **w, sol_err *err);
/* Removes what was written, and frees the writer. */
void sol_dataset_writer_abort(sol_dataset_writer **w);

/* Reads every dataset of a file for its checksum; on damage the error names the object. *n_objects,
 * *bytes: what was compared. A file without checksums (made by another program) is
 * SOL_ERR_UNSUPPORTED. */
sol_status sol_store_verify(const char *path, int64_t *n_objects, uint64_t *bytes, sol_err *err);

#endif
