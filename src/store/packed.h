/* Packed models: the quantized matrices in the 1.25-bit code (quant/codec.h), embedding and head in
 * a dense type.
 *
 *     sol_packed_model p;
 *     st = sol_packed_model_read(&p, "packed.h5", err);
 *     if (st == SOL_OK) printf("%.4g bits a quantized weight\n", sol_packed_model_bits(&p));
 *     sol_packed_model_free(&p); */
#ifndef SOLERA_STORE_PACKED_H
#define SOLERA_STORE_PACKED_H

#include <stdint.h>

#include "base/progress.h"
#include "kernels/ctx.h"
#include "quant/codec.h"
#include "store/model_file.h"

/* A packed model, in memory as on disk: for each parameter of `table` what holds it. */
typedef struct sol_packed_model {
    sol_model_config config;
    sol_model *table;         /* of this configuration, without weights; owned */
    sol_tokenizer *tokenizer; /* owned; may be NULL */
    sol_quant_spec quant;
    sol_quant_overrides *overrides; /* as in sol_model_file */
    sol_windows windows;
    sol_stored *matrix; /* [table->n_params]: the matrices, SOL_TERNARY the packed ones, fp16
                         * those that overrides keep; rows 0 for vectors; owned */
    float **vector;     /* [table->n_params]: where each vector lies in vectors, NULL for
                         * the others; owned */
    float *vectors;     /* all of them, one behind the other; owned */
} sol_packed_model;

/* Table and arrays for this configuration, all empty or zero; released by sol_packed_model_free
 * even after an error. */
sol_status sol_packed_model_begin(sol_packed_model *p, const sol_model_config *c, sol_err *err);
/* The matrix of this role; layer -1 for embedding and head. NULL: the model has none, as a head of
 * its own when it is tied. */
const sol_stored *sol_packed_matrix(const sol_packed_model *p, int64_t layer, sol_role role);

/* The types that embedding and head may be packed in. */
#define SOL_EMBED_TYPES(ROW) \
    ROW(SOL_F32, "f32") \
    ROW(SOL_F16, "f16") \
    ROW(SOL_Q8, "q8") \
    ROW(SOL_Q6, "q6") \
    ROW(SOL_Q4, "q4") \
    ROW(SOL_TERNARY, "ternary")
/* The one of that name; SOL_ERR_USAGE lists them. */
sol_status sol_embed_type_from_name(const char *name, sol_dtype *type, sol_err *err);

/* Packs the quantized linears of a model through sol_packed_from_weights; embedding and head are
 * rounded to embed_type, TERNARY by spec. p->tokenizer stays NULL, p->windows unknown. progress:
 * told after each parameter; NULL: none.
 * SOL_ERR_NONFINITE, with the parameter, for weights that are no numbers, scales that fp16 cannot
 * hold, and embeddings outside sol_dtype_max. */
sol_status sol_packed_model_from(sol_ctx *ctx, sol_packed_model *p, const sol_model *m,
                                 const sol_quant_spec *spec, sol_dtype embed_type,
                                 const sol_progress *progress, sol_err *err);
void sol_packed_model_free(sol_packed_model *p);
/* Bits a weight over all quantized matrices, scales included. */
double sol_packed_model_bits(const sol_packed_model *p);
/* Writes and reads a packed model file. tokenizer: stored with the model, normally p->tokenizer;
 * NULL: none. The caller owns what is read (sol_packed_model_free). */
sol_status sol_packed_model_write(const sol_packed_model *p, const sol_tokenizer *tokenizer,
                                  const char *path, sol_err *err);
sol_status sol_packed_model_read(sol_packed_model *p, const char *path, sol_err *err);
/* The same a matrix at a time, for who brings each into a layout of its own and holds none twice:
 * _open reads all but the data of the matrices, whose types and shapes are in p->matrix; _load
 * reads those of matrix i, once. p outlives *f, and is freed as ever. */
typedef struct sol_packed_file sol_packed_file;
sol_status sol_packed_file_open(sol_packed_file **f, sol_packed_model *p, const char *path,
                                sol_err *err);
sol_status sol_packed_file_load(sol_packed_file *f, int i, sol_err *err);
void sol_packed_file_close(sol_packed_file **f);
/* *bytes: the size of the file that sol_packed_model_from and _write make of a model of these
 * shapes; table needs no weights. Fails where they would. */
sol_status sol_packed_model_bytes(const sol_model *table, const sol_tokenizer *t,
                                  const sol_quant_spec *spec, const sol_windows *windows,
                                  sol_dtype embed_type, uint64_t *bytes, sol_err *err);

#endif
