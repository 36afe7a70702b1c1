/* Inference: one network for full precision, fake-quantized and packed weights, over KV caches.
 *
 *     sol_net *net;
 *     st = sol_net_open(&net, ctx, "model.h5", &opts, err); // or checkpoint, or packed
 *     sol_kv *kv;
 *     st = sol_kv_create(&kv, net, n_positions, err);
 *     sol_row rows[2] = {{.kv = kv, .token = bos}, {.kv = kv, .token = id, .want_logits = true}};
 *     st = sol_net_forward(net, rows, 2, logits, err); // prefill: many rows of one kv;
 *                                                      // decode: one row of each of many
 *     sol_kv_free(&kv);
 *     sol_net_free(&net);
 *
 * A row stands at the position after the last one of its kv. Every row's result is independent of
 * what else is in the batch: the same bits alone, in a prefill, or beside others, and for any
 * number of threads. One thread drives a net at a time. */
#ifndef SOLERA_INFER_INFER_H
#define SOLERA_INFER_INFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "store/packed.h"

typedef struct sol_net sol_net;
typedef struct sol_kv sol_kv;

/* Full precision; a quantized model at lambda 0, with Q(W) as dense fp32; a packed model. */
typedef enum { SOL_NET_FP, SOL_NET_LATENT, SOL_NET_PACKED } sol_net_kind;
/* "fp", "latent", "packed"; static storage. */
const char *sol_net_kind_name(sol_net_kind k);

/* The inputs of products. INT8: packed weights are multiplied with activations rounded to int8
 * (kernels/matrix.h), as deployed; others in fp32. FLOAT: no rounding; a packed
 * network equals the latent one to float rounding. Q8_0, Q8_K: the inputs of the blocks' linears
 * are rounded as llama.cpp rounds them before it multiplies with Q8_0 weights (blocks of 32, scales
 * in fp16), with TQ1_0 and TQ2_0 (blocks of 256); then as FLOAT: what such a file computes there,
 * to float rounding. A row's last block may be shorter. */
typedef enum {
    SOL_ACTIVATIONS_INT8,
    SOL_ACTIVATIONS_FLOAT,
    SOL_ACTIVATIONS_Q8_0,
    SOL_ACTIVATIONS_Q8_K
} sol_activations;

typedef struct sol_net_opts {
    sol_activations activations;
    int64_t max_rows;      /* rows computed at once, longer calls are cut; 0: 512 */
    sol_dtype kv_type;     /* SOL_F32 (the default), SOL_F16, SOL_I8 (a scale for each position
                            * and head) */
    bool full_precision;   /* a checkpoint with a quantizer is read as its plain latent weights,
                            * unquantized */
    sol_dtype weights;     /* of a full-precision file in memory: SOL_F32 (the default) or SOL_BF16,
                            * rounded to nearest even: half of the memory, and of what decoding
                            * reads. Inputs and sums of products stay fp32. */
    sol_progress progress; /* of sol_net_open, after each piece; show NULL: none */
} sol_net_opts;

/* A checkpoint, model file or packed model; o NULL: defaults. Owned by the caller; ctx is borrowed.
 * SOL_ERR_FORMAT: another kind of file; SOL_ERR_USAGE: full_precision of a packed model, or other
 * weights than fp32 of a packed or quantized one, whose weights have their types already;
 * SOL_ERR_UNSUPPORTED: a head dimension above 512 or another kv_type. */
sol_status sol_net_open(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o,
                        sol_err *err);
/* From memory. The model and the tokenizer (NULL: none) are borrowed and must outlive the net. spec
 * NULL or method NULL: FP. Otherwise LATENT: Q(W) is computed here, and later changes of the
 * model's linear layers do not reach the net. */
sol_status sol_net_from_model(sol_net **net, sol_ctx *ctx, const sol_model *m,
                              const sol_tokenizer *t, const sol_quant_spec *spec,
                              const sol_net_opts *o, sol_err *err);
sol_status sol_net_from_packed(sol_net **net, sol_ctx *ctx, const sol_packed_model *p,
                               const sol_net_opts *o, sol_err *err);
void sol_net_free(sol_net **net);

/* Bytes that a row takes while it is computed, with its position in an fp32 cache: for plans. */
size_t sol_net_row_bytes(const sol_model_config *c);
/* Configuration, and tokenizer (NULL: none), in memory of the net. */
const sol_model_config *sol_net_config(const sol_net *net);
const sol_tokenizer *sol_net_tokenizer(const sol_net *net);
/* Sets logits[V] to -infinity at the ids that the tokenizer lacks (gaps, and the padding of the
 * vocabulary), so that they are never drawn. */
void sol_net_hide_missing(const sol_net *net, float *logits);
sol_net_kind sol_net_kind_of(const sol_net *net);
/* Bits a weight of the quantized linear layers, scales included. FP: 32 or 16. LATENT: that of the
 * packed model, 32 for a method that cannot be packed. */
double sol_net_bits_per_weight(const sol_net *net);
uint64_t sol_net_bytes_per_token(const sol_net *net); /* weight bytes read to decode one token */

/* A cache of up to n_positions positions of one sequence; SOL_ERR_RANGE outside 1 to the model's
 * max_position_embeddings. Owned by the caller, who frees it before the net. */
sol_status sol_kv_create(sol_kv **kv, sol_net *net, int64_t n_positions, sol_err *err);
void sol_kv_free(sol_kv **kv);
void sol_kv_truncate(sol_kv *kv, int64_t n); /* drops positions from n on */
int64_t sol_kv_length(const sol_kv *kv);     /* positions held */
int64_t sol_kv_capacity(const sol_kv *kv);   /* positions at most */

/* One token of one sequence in a forward pass. */
typedef struct sol_row {
    sol_kv *kv;       /* of the sequence; several rows may share it */
    int32_t token;    /* at the position after the last one of kv */
    bool want_logits; /* those of the next token */
} sol_row;
/* Appends every row to its kv, in order. logits [rows with want_logits, V], in the order of the
 * rows; NULL when none wants them. SOL_ERR_RANGE: a token outside the vocabulary, or a full kv;
 * every kv is then as it was. */
sol_status sol_net_forward(sol_net *net, const sol_row *rows, int64_t n, float *logits,
                           sol_err *err);
/* Appends rows as sol_net_forward does. logprob[i] = ln p(targets[i]) after row i, 0 where
 * targets[i] is negative; no [rows, V] matrix is made. want_logits is ignored. */
sol_status sol_net_logprobs(sol_net *net, const sol_row *rows, int64_t n, const int32_t *targets,
                            double *logprob, sol_err *err);

/* Sampling. The logits of tokens in `recent` are first divided (positive) or multiplied (negative)
 * by the repetition penalty, then divided by the temperature; of the resulting distribution top_k
 * keeps the k most likely, top_p the smallest set that holds at least p of the mass, min_p those
 * with at least min_p of the largest probability; one of the rest is drawn. temperature 0 is argmax
 * (first index wins). */
typedef struct sol_sampler_config {
    float temperature, top_p, min_p, repetition_penalty; /* off: 1, 1, 0, 1 */
    int64_t top_k;                                       /* 0: off */
    uint64_t seed;
} sol_sampler_config;
/* SOL_ERR_RANGE names the field that is out of range and the range. */
sol_status sol_sampler_check(const sol_sampler_config *c, sol_err *err);
/* Draws a token from logits[V], which it may overwrite. recent[n_recent]: tokens that the
 * repetition penalty applies to; -1 entries are ignored. scratch: sol_sample_scratch_bytes(V)
 * bytes, any content. Returns the id, or -1 when no logit is a number. Calls sol_rng_u64 once, or
 * not at all where the result is certain. */
int32_t sol_sample(const sol_sampler_config *c, sol_rng *rng, float *logits, int64_t V,
                   const int32_t *recent, int64_t n_recent, void *scratch);
size_t sol_sample_scratch_bytes(int64_t V); /* a workspace for a vocabulary of V */

/* sol_sample for a sequence among many: what it is given, and the id that it returned. */
typedef struct sol_draw {
    const sol_sampler_config *sampler;
    sol_rng *rng;          /* of this sequence alone */
    float *logits;         /* [V], overwritten */
    const int32_t *recent; /* [n_recent] */
    int64_t n_recent;
    int32_t id;
} sol_draw;
/* Draws a token for each of n sequences over the pool, after sol_net_hide_missing. scratch:
 * sol_net_draw_scratch_bytes, any content. */
void sol_net_draw(const sol_net *net, sol_draw *d, int64_t n, void *scratch);
size_t sol_net_draw_scratch_bytes(const sol_net *net);

/* Joins token pieces to whole UTF-8 characters: bytes of an unfinished one are held back, invalid
 * ones become U+FFFD. */
typedef struct sol_utf8_joiner {
    unsigned char held[4];
    unsigned n;
} sol_utf8_joiner; /* start from {0} */
typedef void (*sol_text_fn)(void *user, const char *text, size_t n);
/* Adds n bytes; calls text, any number of times, with whole characters. */
void sol_utf8_join(sol_utf8_joiner *j, const char *bytes, size_t n, sol_text_fn text, void *user);
/* Ends the text: an unfinished character becomes U+FFFD. */
void sol_utf8_finish(sol_utf8_joiner *j, sol_text_fn text, void *user);

/* What one text leaves to the next that begins alike, as the turns of a conversation do: the cache,
 * and the ids that it holds. Start from {0}; sol_session_free before the net is freed. */
typedef struct sol_session {
    sol_kv *kv;
    int32_t *ids; /* [positions of kv] */
    size_t capacity;
} sol_session;
void sol_session_free(sol_session *s);

/* Text generation. It ends with an EOS or BOS token (of the model or the tokenizer), with a stop
 * token, or after max_tokens. */
typedef struct sol_generate_opts {
    int64_t max_tokens;
    sol_sampler_config sampler;
    int64_t repeat_window; /* tokens that the repetition penalty looks back on, the prompt
                            * included */
    const int32_t *stop;   /* [n_stop] further stop tokens */
    int n_stop;
    sol_text_fn text;                /* gets whole characters as they come; may be NULL */
    bool (*interrupted)(void *user); /* asked before every token, may be NULL: true ends with
                                      * SOL_ERR_INTERRUPTED */
    void *user;
    sol_session *session; /* NULL, or: tokens that the prompt has in common with what the session
                           * holds are not computed again. The text is the same. */
} sol_generate_opts;
typedef struct sol_generate_result {
    int32_t *ids; /* [tokens] the new ones, without the one that ended it; owned by the caller
                   * (sol_free) */
    int64_t prompt_tokens, tokens;
    int32_t ended_by; /* the token that stopped it; -1: max_tokens */
    double prefill_seconds, decode_seconds;
} sol_generate_result;
/* Continues prompt[n_prompt], whose first id is normally BOS. SOL_ERR_USAGE: the prompt is empty;
 * SOL_ERR_RANGE: prompt and max_tokens exceed the context, or a field of the sampler is out of
 * range; SOL_ERR_NONFINITE: the model gives no number; SOL_ERR_INTERRUPTED: o->interrupted said so,
 * and *r holds what was generated. */
sol_status sol_generate(sol_net *net, const int32_t *prompt, int64_t n_prompt,
                        const sol_generate_opts *o, sol_generate_result *r, sol_err *err);

/* Many texts, n_at_once of them side by side: each pass of the network computes a token of every
 * one, or the prompt of one that begins; where one ends, the next request begins. Each is what
 * sol_generate makes of its request alone, bit for bit. */
typedef struct sol_generate_request {
    const int32_t *prompt; /* [n_prompt] */
    int64_t n_prompt, max_tokens;
    uint64_t seed;
} sol_generate_request;
/* Gets text `i` of the requests, in their order; r->ids, which it may not keep, and no times.
 * Another status than SOL_OK ends the work with it. */
typedef sol_status (*sol_generated_fn)(void *user, int64_t i, const sol_generate_result *r,
                                       sol_err *err);
/* Errors are those of sol_generate, before anything is computed where a request is to blame. Of o,
 * max_tokens, the seed, text and session have no meaning here. */
sol_status sol_generate_many(sol_net *net, const sol_generate_request *requests, int64_t n_requests,
                             int64_t n_at_once, const sol_generate_opts *o, sol_generated_fn each,
                             void *user, sol_err *err);

#endif
