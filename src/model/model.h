/* LLaMA-architecture models: configuration, named parameters in one flat block.
 *
 *     sol_model *m;
 *     st = sol_model_create(&m, &config, SOL_F32, err);      // all parameters zero
 *     const sol_param *p = sol_model_param(m, "model.layers.0.self_attn.q_proj.weight");
 *     float *w = sol_model_f32(m, p); // [p->rows, p->cols]
 *     p = sol_model_by_role(m, 0, SOL_ROLE_Q); // the same parameter
 *     sol_model_free(&m);
 *
 * RoPE is the half-split form of Hugging Face (importers permute interleaved q/k rows). */
#ifndef SOLERA_MODEL_MODEL_H
#define SOLERA_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/ctx.h"
#include "quant/quant.h"
#include "tensor/tensor.h"

enum { SOL_MAX_EOS = 32 }; /* tokens that end a text, at most */

/* Names as in Hugging Face config.json. */
typedef struct sol_model_config {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
    int64_t max_position_embeddings;
    double rms_norm_eps, rope_theta;
    bool tie_word_embeddings;
    /* rope_scaling of type llama3; factor 0: none */
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int64_t rope_original_max_position;
    int64_t bos_token_id, eos_token_id; /* -1: none */
    int64_t n_more_eos, more_eos[SOL_MAX_EOS - 1]; /* further tokens that end a text; the first one is eos_token_id */
} sol_model_config;

/* What a parameter does: a lookup, the weight of a norm, a matrix product, the product that gives logits, a number that a
 * quantizer learns. */
typedef enum { SOL_PARAM_EMBED, SOL_PARAM_NORM, SOL_PARAM_LINEAR, SOL_PARAM_HEAD, SOL_PARAM_QUANT } sol_param_kind;

/* The rows of params.def: a parameter's part in the architecture, whatever its layer. */
typedef enum sol_role {
#define PARAM(role, place, hf, gguf, rows, cols, kind, quantized, present) SOL_ROLE_##role,
#include "model/params.def"
#undef PARAM
    SOL_ROLES /* how many */
} sol_role;

/* Letters of shapes; ONE: the single row of a vector. */
typedef enum { SOL_DIM_ONE, SOL_DIM_V, SOL_DIM_C, SOL_DIM_F, SOL_DIM_D, SOL_DIM_HD, SOL_DIM_KD } sol_dim;

typedef struct sol_param_row {
    const char *name, *gguf_name; /* in_block: as they continue the name of the block */
    bool in_block;
    sol_dim rows, cols;
    sol_param_kind kind;
    bool quantized;
} sol_param_row;

extern const sol_param_row sol_param_rows[SOL_ROLES];

enum { SOL_PARAM_NAME = 96 };
/* Of models of configuration c: whether they have a parameter, how many a block has, the size of a dimension. */
bool sol_role_present(const sol_model_config *c, sol_role role);
int sol_block_params(const sol_model_config *c);
int64_t sol_dim_size(const sol_model_config *c, sol_dim dim);
/* "model.layers.3.mlp.up_proj.weight" and "blk.3.ffn_up.weight"; layer counts in blocks only. Return name. */
const char *sol_role_name(sol_role role, int layer, char name[SOL_PARAM_NAME]);
const char *sol_role_gguf_name(sol_role role, int layer, char name[SOL_PARAM_NAME]);

typedef struct sol_param {
    char name[SOL_PARAM_NAME]; /* Hugging Face tensor name */
    sol_role role;      /* SOL_PARAM_QUANT: that of the layer it belongs to */
    sol_param_kind kind;
    bool quantized;     /* a model with a quantizer computes with Q(W) */
    int layer;          /* -1: outside the blocks */
    int learned;        /* index of the first of the n_learned parameters that a quantizer learns beside it; 0: none */
    int64_t rows, cols; /* a vector is [1, n] */
    int64_t offset;     /* first element in the flat block; a multiple of SOL_PARAM_ALIGN elements */
} sol_param;

#define SOL_PARAM_ALIGN 16

typedef struct sol_model {
    sol_model_config config;
    sol_param *params; /* [n_params], in the order of the flat block: that of params.def, then learned parameters of a quantizer */
    int n_params, n_plain; /* n_plain: without the learned ones */
    int first_block, n_block; /* where block 0 begins; parameters of a block, which stand together, one block behind the other */
    int place[SOL_ROLES];     /* index of a role's first parameter; -1: the model has none */
    int n_learned;      /* learned parameters a linear layer has */
    int64_t n_elements; /* of the flat block, alignment gaps (always zero) included */
    int64_t n_weights;  /* without the gaps */
    sol_dtype dtype;    /* SOL_F32 or SOL_BF16 */
    void *data;         /* [n_elements]; owned */
} sol_model;

/* Whether a text that the model writes ends with this token: one of its EOS. */
bool sol_model_is_eos(const sol_model_config *c, int64_t id);
/* Appends an EOS; one that is there already, or negative, changes nothing. SOL_ERR_UNSUPPORTED: there are SOL_MAX_EOS. */
sol_status sol_model_add_eos(sol_model_config *c, int64_t id, sol_err *err);
/* Range and divisibility of every field; the error names the field, its value and what fits. */
sol_status sol_model_config_check(const sol_model_config *c, sol_err *err);
/* Exact shapes by name: llama-3.2-1b, llama-3.2-3b, llama-3.2-1b-layer (one block of it, vocabulary 256), smollm2-135m, 15m,
 * embedded (the model in checkpoints/), mini (1.4 M parameters, for configs/study), tiny (for tests). SOL_ERR_USAGE names the
 * nearest and all of them. */
sol_status sol_model_config_named(const char *name, sol_model_config *c, sol_err *err);
int sol_model_shape_count(void);
const char *sol_model_shape_name(int i);

sol_status sol_model_create(sol_model **m, const sol_model_config *c, sol_dtype dtype, sol_err *err);
void sol_model_free(sol_model **m);
/* The parameter table alone, without weights (data NULL): for plans. */
sol_status sol_model_describe(sol_model **m, const sol_model_config *c, sol_dtype dtype, sol_err *err);
/* Normal(0, 0.02), o and down projections scaled by 1/sqrt(2 L), norms 1. ctx NULL: on this thread, the same bits. */
void sol_model_init_random(const sol_ctx *ctx, sol_model *m, uint64_t seed);
/* Elements [first, first + n) of the same numbers for one parameter; m may be a table without weights. dtype: SOL_F32 or SOL_BF16. */
void sol_param_init_random(const sol_ctx *ctx, const sol_model *m, int index, uint64_t seed, int64_t first, int64_t n,
                           sol_dtype dtype, void *out);

/* Parameters that spec's method learns (lsq, seq, dlt), [scale count, 1] each, named "<layer>.quant_step" and the like: ordinary
 * parameters for optimizer and checkpoint. _add replaces those that are there by those of spec (none: NULL or a method that
 * learns nothing), zero; it moves the block, so call it before a graph or an optimizer is made. _start sets them to their
 * starting values from the weights. */
sol_status sol_model_add_learned(sol_model *m, const sol_quant_spec *spec, sol_err *err);
void sol_model_start_learned(const sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec);
/* The k-th learned parameter of a linear layer; NULL when there is none. */
const sol_param *sol_model_learned(const sol_model *m, const sol_param *linear, int k);
/* How many parameters are none of these: the first ones. */
int sol_model_plain_params(const sol_model *m);
/* A linear layer of an f32 model with its learned parameters, as quant takes it. */
sol_quant_matrix sol_model_quant_matrix(const sol_model *m, const sol_param *linear);

const sol_param *sol_model_param(const sol_model *m, const char *name); /* NULL when there is none */
/* By its role; the layer counts in blocks only. NULL: the model has none. */
const sol_param *sol_model_by_role(const sol_model *m, int64_t layer, sol_role role);
/* The first of the n_block parameters of a block; with the number of layers: the first one behind the blocks. */
const sol_param *sol_model_block(const sol_model *m, int64_t layer);
const sol_param *sol_model_embedding(const sol_model *m);
const sol_param *sol_model_final_norm(const sol_model *m);
const sol_param *sol_model_head(const sol_model *m); /* the embedding when tied */
void *sol_model_at(const sol_model *m, const sol_param *p);             /* first element, in m->dtype */
float *sol_model_f32(const sol_model *m, const sol_param *p);           /* only for SOL_F32 models */
int64_t sol_param_count(const sol_param *p);                            /* rows * cols */
bool sol_param_is_vector(const sol_param *p);                           /* of one dimension in files */

/* Linear scaling divides every frequency by the factor. It is llama3 scaling whose original context is so short that every frequency is
 * a low one, and is kept as that: no reader needs to know a second kind. */
void sol_rope_set_linear(sol_model_config *c, double factor);
bool sol_rope_is_linear(const sol_model_config *c);
/* For a checked configuration. inv_freq[D/2] of RoPE with llama3 scaling (Hugging Face modeling_rope_utils, _compute_llama3_parameters); computed in
 * double, rounded once. */
void sol_rope_inv_freq(const sol_model_config *c, float *inv_freq);
/* cos/sin tables [T, D/2] for positions 0..T-1: of position * inv_freq[i] in double, rounded once. */
void sol_rope_tables(const sol_model_config *c, int64_t T, float *cos_table, float *sin_table);

#endif
