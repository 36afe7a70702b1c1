/* Packed models: the quantized matrices in the 1.25-bit code (quant/codec.h), embedding and head in a
 * dense type.
 *
 *     sol_packed_model p;
 *     st = sol_packed_model_read(&p, "packed.h5", err);
 *     if (st == SOL_OK) printf("%.4g bits a quantized weight\n", sol_packed_model_bits(&p));
 *     sol_packed_model_free(&p); */
#ifndef SOLERA_STORE_PACKED_H
#define SOLERA_STORE_PACKED_H

#include <stdint.h>

#include "kernels/ctx.h"
#include "kernels/dense.h"
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

#endif
