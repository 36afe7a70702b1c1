/* Models like LLaMA: configuration, named parameters in one flat block.
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
#include "model/family.h"
#include "quant/overrides.h"
#include "quant/quant.h"
#include "tensor/tensor.h"

enum { SOL_MAX_EOS = 32 }; /* tokens that end a text, at most */

/* Where a model comes from, for its card and for files of other programs; nothing that is computed
 * depends on it. "": not known. */
#define SOL_ORIGIN_FIELDS(ROW) \
    ROW(name, 128)         /* of the model that was imported: "Llama-3.2-1B" */ \
    ROW(repo, 192)         /* where it is: "meta-llama/Llama-3.2-1B" on the hub, or a URL */ \
    ROW(license, 64)       /* as the hub names it: apache-2.0, llama3.2, other */ \
    ROW(license_name, 128) /* of an `other` one */ \
    ROW(license_link, 256)
typedef struct sol_origin {
#define ROW(field, size) char field[size];
    SOL_ORIGIN_FIELDS(ROW)
#undef ROW
} sol_origin;

/* Copies text[n] into a field of `size` bytes. What does not fit, or holds control characters, is
 * left out: the field is then as it was. */
void sol_origin_take(char *field, size_t size, const char *text, size_t n);

/* The shape of a model; names as in Hugging Face's config.json. */
struct sol_model_config {
    sol_family family; /* what other programs call it; changes nothing that is computed */
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
        num_key_value_heads, head_dim;
    int64_t max_position_embeddings;
    double rms_norm_eps, rope_theta;
    bool tie_word_embeddings;
    bool qkv_bias;          /* q, k and v have a bias */
    bool qk_norm;           /* q and k are normed, each head by itself, before they are rotated */
    bool sub_norm;          /* what o and down read is normed (SubLN, as in BitNet) */
    int64_t sliding_window; /* a token sees itself and the sliding_window - 1 ones before it; 0: all
                             * of its document */
    int64_t max_window_layers;      /* the first so many layers are without that window */
    int64_t no_rope_layer_interval; /* every so many layers one, the last of them, without RoPE; 0:
                                     * none */
    /* rope_scaling of type llama3; factor 0: none */
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int64_t rope_original_max_position;
    int64_t bos_token_id, eos_token_id;            /* -1: none */
    int64_t n_more_eos, more_eos[SOL_MAX_EOS - 1]; /* further tokens that end a text; the first
                                                    * one is eos_token_id */
    sol_origin origin;
};

/* What a parameter does: a lookup, the weight of a norm, a matrix product, what is added to one,
 * the product that gives logits, a number that a quantizer learns. */
typedef enum {
    SOL_PARAM_EMBED,
    SOL_PARAM_NORM,
    SOL_PARAM_LINEAR,
    SOL_PARAM_BIAS,
    SOL_PARAM_HEAD,
    SOL_PARAM_QUANT
} sol_param_kind;

/* The rows of params.def: a parameter's part in the architecture, whatever its layer. */
typedef enum sol_role {
#define PARAM(role, label, place, hf, gguf, rows, cols, kind, quantized, present) SOL_ROLE_##role,
#include "model/params.def"
#undef PARAM
    SOL_ROLES /* how many */
} sol_role;

/* Letters of shapes; ONE: the single row of a vector. */
typedef enum {
    SOL_DIM_ONE,
    SOL_DIM_V,
    SOL_DIM_C,
    SOL_DIM_F,
    SOL_DIM_D,
    SOL_DIM_HD,
    SOL_DIM_KD
} sol_dim;

typedef struct sol_param_row {
    const char *name, *gguf_name; /* in_block: as they continue the name of the block */
    const char *label;            /* "gate" */
    bool in_block;
    sol_dim rows, cols;
    sol_param_kind kind;
    bool quantized;
} sol_param_row;

extern const sol_param_row sol_param_rows[SOL_ROLES];

enum { SOL_PARAM_NAME = 96 };
/* For models of configuration c: whether they have this parameter, how many parameters a block has,
 * how many elements a dimension has. */
bool sol_role_present(const sol_model_config *c, sol_role role);
int sol_block_params(const sol_model_config *c);
int64_t sol_dim_size(const sol_model_config *c, sol_dim dim);
/* Writes "model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight" to name and returns it. layer
 * is ignored outside blocks. */
const char *sol_role_name(sol_role role, int layer, char name[SOL_PARAM_NAME]);
const char *sol_role_gguf_name(sol_role role, int layer, char name[SOL_PARAM_NAME]);
/* The role of a Hugging Face tensor name; false: no parameter has it. */
bool sol_role_find(const char *name, sol_role *role);
/* Writes a name of either kind with a star for the number of its block,
 * "model.layers.*.mlp.up_proj.weight", to pattern and returns it; one outside the blocks as it is.
 */
const char *sol_param_pattern(const char *name, char pattern[SOL_PARAM_NAME]);

typedef struct sol_param {
    char name[SOL_PARAM_NAME]; /* Hugging Face tensor name */
    sol_role role;             /* SOL_PARAM_QUANT: that of the layer it belongs to */
    sol_param_kind kind;
    bool quantized;     /* a model with a quantizer computes with Q(W) */
    int layer;          /* -1: outside the blocks */
    int learned;        /* index of the first of the n_learned parameters that a quantizer learns
                         * beside it; 0: none */
    int64_t rows, cols; /* a vector is [1, n] */
    int64_t offset;     /* first element in the flat block; a multiple of SOL_PARAM_ALIGN
                         * elements */
} sol_param;

#define SOL_PARAM_ALIGN 16

typedef struct sol_model {
    sol_model_config config;
    sol_param *params;     /* [n_params], in the order of the flat block: that of params.def, then
                            * learned parameters of a quantizer */
    int n_params, n_plain; /* n_plain: without the learned ones, which come last */
    int first_block, n_block; /* where block 0 begins; parameters of a block, which stand
                               * together, one block behind the other */
    int place[SOL_ROLES];     /* index of a role's first parameter; -1: the model has none */
    int n_learned;            /* learned parameters a linear layer has */
    int64_t n_elements;       /* of the flat block, alignment gaps (always zero) included */
    int64_t n_weights;        /* without the gaps */
    sol_dtype dtype;          /* SOL_F32 or SOL_BF16 */
    void *data;               /* [n_elements]; owned */
} sol_model;

/* Whether a text that the model writes ends with this token: one of its EOS. */
bool sol_model_is_eos(const sol_model_config *c, int64_t id);
/* Adds an EOS. A negative id, or one that is there, changes nothing. SOL_ERR_UNSUPPORTED: there are
 * SOL_MAX_EOS already. */
sol_status sol_model_add_eos(sol_model_config *c, int64_t id, sol_err *err);
/* The window of a layer; 0: none. */
int64_t sol_layer_window(const sol_model_config *c, int64_t layer);
/* Whether q and k of a layer are rotated by their position. */
bool sol_layer_has_rope(const sol_model_config *c, int64_t layer);
/* Checks range and divisibility of every field: SOL_ERR_RANGE, SOL_ERR_SHAPE name the field, its
 * value and what fits. The functions below take a configuration that passed. */
sol_status sol_model_config_check(const sol_model_config *c, sol_err *err);
/* Exact shapes by name: llama-3.2-1b, llama-3.2-3b, llama-3.2-1b-layer (one block of it, vocabulary
 * 256), smollm2-135m, smollm3-3b, qwen2.5-0.5b, qwen3-0.6b, 15m, embedded (the model in
 * checkpoints/), mini (1.4 M parameters, for configs/study), tiny (for tests). SOL_ERR_USAGE names
 * the nearest and all of them. */
sol_status sol_model_config_named(const char *name, sol_model_config *c, sol_err *err);
/* These names: how many, by index. Static storage. */
int sol_model_shape_count(void);
const char *sol_model_shape_name(int i);

/* A model with all parameters 0, dtype SOL_F32 or SOL_BF16 (else SOL_ERR_UNSUPPORTED). Owned by the
 * caller. */
sol_status sol_model_create(sol_model **m, const sol_model_config *c, sol_dtype dtype,
                            sol_err *err);
void sol_model_free(sol_model **m);
/* A table: the model without weights (data NULL), for plans. Owned by the caller
 * (sol_model_free). */
sol_status sol_model_describe(sol_model **m, const sol_model_config *c, sol_dtype dtype,
                              sol_err *err);
/* Draws weights from Normal(0, 0.02), those of o and down divided by sqrt(2 L) as in GPT-2 (Radford
 * et al. 2019); norms are 1. ctx NULL: on the calling thread, with the same bits. */
void sol_model_init_random(const sol_ctx *ctx, sol_model *m, uint64_t seed);
/* The same numbers for elements [first, first + n) of parameter `index`, to out [n] of dtype,
 * SOL_F32 or SOL_BF16. m may be a table. */
void sol_param_init_random(const sol_ctx *ctx, const sol_model *m, int index, uint64_t seed,
                           int64_t first, int64_t n, sol_dtype dtype, void *out);

/* Gives a model, or a table, norms before o and down (sub_norm), all of weight 1; one that has them
 * stays as it is. It moves the flat block, as does sol_model_add_learned, which comes after it.
 * SOL_ERR_NOMEM: for a second copy of the weights, which exists as long as it copies; the model is
 * as it was. calib/sub_norms.h gives them weights that keep what the model computes. */
sol_status sol_model_add_sub_norms(sol_model *m, sol_err *err);
/* The same weights without these norms, for what only reads them: borrows the memory of m. */
sol_model sol_model_without_sub_norms(const sol_model *m);

/* The parameters that spec's method learns (lsq, seq, dlt): [scale count, 1] each, named
 * "<layer>.quant_step" and the like; optimizer and checkpoints treat them as any other. _add
 * replaces the learned parameters of m by those of spec, all 0; spec NULL, or a method that learns
 * nothing: removes them. It moves the flat block, so call it before a graph or an optimizer is
 * made; SOL_ERR_UNSUPPORTED: m is not SOL_F32. _start sets them to their starting values, computed
 * from the weights. */
sol_status sol_model_add_learned(sol_model *m, const sol_quant_spec *spec, sol_err *err);
void sol_model_start_learned(const sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec);
/* Learned parameter k of a linear layer; NULL: it has none. */
const sol_param *sol_model_learned(const sol_model *m, const sol_param *linear, int k);
/* A linear layer of a SOL_F32 model with its learned parameters, for sol_quant_forward; borrows the
 * model's memory. */
sol_quant_matrix sol_model_quant_matrix(const sol_model *m, const sol_param *linear);

/* What p is rounded to in the forward pass because a packed file holds it so: embedding and head to
 * spec->embed_type, a layer that an override keeps to SOL_F16. SOL_F32: it is not, or a quantizer
 * does it. */
sol_dtype sol_param_shipped(const sol_param *p, const sol_quant_spec *spec);

/* Whether every row of spec's overrides may stand there and matches a linear layer that no other
 * row does: SOL_ERR_CONFIG names the row, and the layer that two of them match;
 * SOL_ERR_UNSUPPORTED as sol_quant_override_check. */
sol_status sol_model_check_overrides(const sol_model *m, const sol_quant_spec *spec, sol_err *err);

/* The parameter of this Hugging Face name; NULL: the model has none. */
const sol_param *sol_model_param(const sol_model *m, const char *name);
/* The parameter of a role; layer is ignored outside blocks. NULL: the model has none. */
const sol_param *sol_model_by_role(const sol_model *m, int64_t layer, sol_role role);
/* The first of the n_block parameters of a block; with the number of layers: the first one behind
 * the blocks. */
const sol_param *sol_model_block(const sol_model *m, int64_t layer);
const sol_param *sol_model_embedding(const sol_model *m);
const sol_param *sol_model_final_norm(const sol_model *m);
const sol_param *sol_model_head(const sol_model *m); /* the embedding when tied */
/* The weights of a parameter, row-major [rows, cols] in m->dtype, in memory of the model. _f32:
 * only of a SOL_F32 model. */
void *sol_model_at(const sol_model *m, const sol_param *p);
float *sol_model_f32(const sol_model *m, const sol_param *p);
int64_t sol_param_count(const sol_param *p);  /* rows * cols */
bool sol_param_is_vector(const sol_param *p); /* whether it has one dimension in files */

/* Linear RoPE scaling divides every frequency by the factor. It is stored as a llama3 scaling with
 * so short an original context that every frequency counts as low, so that readers know one kind of
 * scaling only. _is_linear recognizes it. */
void sol_rope_set_linear(sol_model_config *c, double factor);
bool sol_rope_is_linear(const sol_model_config *c);
/* inv_freq[D/2] of RoPE (Su et al. 2021, arXiv 2104.09864), in radians a position, with llama3
 * scaling as in Hugging Face modeling_rope_utils, _compute_llama3_parameters. Computed in double,
 * rounded once. */
void sol_rope_inv_freq(const sol_model_config *c, float *inv_freq);
/* cos and sin of position * inv_freq[i], [T, D/2] each, for positions 0 to T - 1; computed in
 * double, rounded once. */
void sol_rope_tables(const sol_model_config *c, int64_t T, float *cos_table, float *sin_table);

#endif
