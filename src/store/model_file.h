/* Model files (checkpoints/SCHEMA.md): a model and what belongs to it. A checkpoint is read as one,
 * too: what a run needs beside it is not looked at (store/checkpoint.h).
 *
 * Writers replace files atomically (base/file.h). Readers check everything; SOL_ERR_FORMAT:
 * damaged, or not such a file; SOL_ERR_SHAPE: an object of another shape; SOL_ERR_UNSUPPORTED: a
 * version or kind that is not read. Errors name the file and the object in it. This holds for every
 * header of store.
 *
 *     sol_model_file f;
 *     st = sol_model_file_read(&f, "model.h5", SOL_F32, NULL, err);
 *     if (st == SOL_OK) printf("%" PRId64 " weights\n", f.model->n_weights);
 *     sol_model_file_free(&f); */
#ifndef SOLERA_STORE_MODEL_FILE_H
#define SOLERA_STORE_MODEL_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/progress.h"
#include "model/model.h"
#include "quant/overrides.h"
#include "quant/quant.h"
#include "text/tokenizer.h"

/* How a run cuts the data that it is measured on: what an evaluation of its model does unless it is
 * told otherwise. The windows hold the tokens of the data and no others: no BOS is put in front. */
typedef struct sol_windows {
    int64_t seq; /* tokens a window; 0: not known (an import, a file from before this was kept) */
    int64_t max; /* the first so many windows; 0: all */
    bool apart;  /* attention restarts at each document, whose first token is not predicted */
} sol_windows;

/* Start from {0}. */
typedef struct sol_model_file {
    sol_model *model;               /* owned */
    sol_tokenizer *tokenizer;       /* owned; NULL when the file has none */
    char *config_yaml;              /* owned; the resolved YAML of the run; NULL: none */
    sol_quant_spec quant;           /* method NULL: full precision */
    sol_quant_overrides *overrides; /* those that the file holds, which quant borrows; owned */
    sol_windows windows;
    uint64_t step,
        tokens; /* of the run that made it, optimizer steps done and tokens seen; 0: none */
} sol_model_file;

void sol_model_file_free(sol_model_file *f);
/* dtype: of the parameters in memory, SOL_F32 or SOL_BF16. The caller owns *f
 * (sol_model_file_free); after a failure it is empty. progress: after each parameter, in weights;
 * NULL: none. */
sol_status sol_model_file_read(sol_model_file *f, const char *path, sol_dtype dtype,
                               const sol_progress *progress, sol_err *err);
/* Reads it without weights: f->model is a table. That every parameter is in the file with its shape
 * is checked. */
sol_status sol_model_file_describe(sol_model_file *f, const char *path, sol_dtype dtype,
                                   sol_err *err);
/* Reads a model without ever holding all of it: `begin` sees the file without its weights (f->model
 * is described), then `rows` gets rows [from, from + n) of every parameter in order, in
 * f32. */
typedef struct sol_param_sink {
    sol_status (*begin)(void *user, const sol_model_file *f, sol_err *err);
    sol_status (*rows)(void *user, const sol_param *p, int64_t from, int64_t n, const float *rows,
                       sol_err *err);
    void *user;
} sol_param_sink;
sol_status sol_model_file_stream(const char *path, const sol_param_sink *sink, sol_err *err);
/* params_dtype: of the parameters on disk, SOL_F32 or SOL_BF16. SOL_ERR_NONFINITE: a weight is not
 * finite in that type. progress: as of a read. */
sol_status sol_model_file_write(const sol_model_file *f, const char *path, sol_dtype params_dtype,
                                const sol_progress *progress, sol_err *err);

#endif
