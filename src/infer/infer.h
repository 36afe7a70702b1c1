/* Inference: one network for full precision, fake-quantized and packed weights, over KV caches.
 *
 *     sol_net *net;
 *     st = sol_net_open(&net, ctx, "model.h5", &opts, err);            // any solera file
 *     sol_kv *kv;  st = sol_kv_create(&kv, net, n_positions, err);
 *     sol_row rows[n] = {{.kv = kv, .pos = 0, .token = bos}, ...};
 *     st = sol_net_forward(net, rows, n, logits, err);   // prefill: many rows of one kv; decode: a row each of many
 *
 * Rows of one kv must come with consecutive positions. Every row's result is independent of what else is in the batch:
 * the same bits alone, in a prefill, or beside others. */
#ifndef SOLERA_INFER_INFER_H
#define SOLERA_INFER_INFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "store/store.h"

typedef struct sol_net sol_net;
typedef struct sol_kv sol_kv;

typedef enum { SOL_NET_FP, SOL_NET_LATENT, SOL_NET_PACKED } sol_net_kind; /* LATENT: Q(W) as dense fp32, lambda 0 */
const char *sol_net_kind_name(sol_net_kind k);                            /* "fp", "latent", "packed" */

typedef struct sol_net_opts {
    bool float_activations; /* packed: no int8 rounding of activations; equals the latent network to float rounding */
    int64_t max_rows;       /* rows of one forward; 0: 512 */
    bool full_precision;    /* a checkpoint with a quantizer is read as its plain latent weights, unquantized */
} sol_net_opts;

sol_status sol_net_open(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o, sol_err *err);
/* From memory. The model (or packed model) is borrowed and must outlive the net. spec NULL or method NULL: FP. */
sol_status sol_net_from_model(sol_net **net, sol_ctx *ctx, const sol_model *m, const sol_tokenizer *t,
                              const sol_quant_spec *spec, const sol_net_opts *o, sol_err *err);
sol_status sol_net_from_packed(sol_net **net, sol_ctx *ctx, const sol_packed_model *p, const sol_net_opts *o, sol_err *err);
void sol_net_free(sol_net **net);

const sol_model_config *sol_net_config(const sol_net *net);
const sol_tokenizer *sol_net_tokenizer(const sol_net *net); /* may be NULL */
sol_net_kind sol_net_kind_of(const sol_net *net);
double sol_net_bits_per_weight(const sol_net *net);         /* of the quantized linears; 32 or 16 for FP */
uint64_t sol_net_bytes_per_token(const sol_net *net);       /* weight bytes read to decode one token */

sol_status sol_kv_create(sol_kv **kv, const sol_net *net, int64_t n_positions, sol_err *err);
void sol_kv_free(sol_kv **kv);
void sol_kv_truncate(sol_kv *kv, int64_t n); /* forget positions >= n */
int64_t sol_kv_length(const sol_kv *kv);

typedef struct sol_row {
    sol_kv *kv;
    int32_t token;
    bool want_logits;
} sol_row;
/* Appends each row at the end of its kv. logits: [rows with want_logits, V] in row order. */
sol_status sol_net_forward(sol_net *net, const sol_row *rows, int64_t n, float *logits, sol_err *err);
/* Natural-log probability of target[i] after row i for every row with target >= 0, without a [rows, V] matrix. */
sol_status sol_net_logprobs(sol_net *net, const sol_row *rows, int64_t n, const int32_t *targets, double *logprob, sol_err *err);

/* Sampling. temperature 0 is argmax (first index wins). */
typedef struct sol_sampler_config {
    float temperature, top_p, min_p, repetition_penalty; /* off: 1, 0, 1 */
    int top_k;                                           /* 0: off */
    uint64_t seed;
} sol_sampler_config;
/* Draws from logits[V] (which it may overwrite); scratch holds V pairs. recent: tokens for the repetition penalty. */
int32_t sol_sample(const sol_sampler_config *c, sol_rng *rng, float *logits, int64_t V, const int32_t *recent, int64_t n_recent,
                   void *scratch);
size_t sol_sample_scratch_bytes(int64_t V);

#endif
