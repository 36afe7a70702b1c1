/* The inside of the inference module. */
#ifndef SOLERA_INFER_NET_H
#define SOLERA_INFER_NET_H

#include "infer/infer.h"
#include "kernels/matrix.h"

enum { NET_QKV, NET_O, NET_GATE_UP, NET_DOWN, NET_MATRICES };

typedef struct net_layer {
    sol_matrix *matrix[NET_MATRICES];
    const float *vector[SOL_ROLES]; /* norms and biases in fp32 by their role; NULL: a matrix, or
                                       the model has none */
} net_layer;

/* Memory of one forward, grown to the largest number of rows that came. */
typedef struct net_scratch {
    int64_t rows;
    float *x, *h;         /* [n, C] residual stream, normalized or projected */
    float *qkv, *att;     /* [n, (H + 2K) D], [n, H D] */
    float *gate_up, *act; /* [n, 2F], [n, F] */
    int64_t *pos;         /* [n] */
    float *selected;      /* [n, C] rows whose logits are asked for */
    float *logits;        /* [HEAD_ROWS, HEAD_COLS] */
    void *kernel;         /* of products */
} net_scratch;

struct sol_net {
    sol_ctx *ctx; /* borrowed */
    sol_model_config config;
    const sol_tokenizer *tokenizer; /* borrowed or owned through `file` and `packed` */
    int32_t *missing;               /* [n_missing] ids of the vocabulary that it lacks */
    size_t n_missing, cap_missing;
    sol_net_kind kind;
    double bits_per_weight;
    sol_activations activations;
    sol_act act; /* of the kernels */
    sol_dtype kv_type;
    int64_t max_rows;
    net_layer *layers;
    const float *final_norm;
    sol_matrix *head;           /* [V, C] */
    sol_matrix *embed;          /* likewise; the same matrix when tied */
    float *rope_cos, *rope_sin; /* [rope_positions, D/2] */
    int64_t rope_positions;
    net_scratch scratch;
    float *vectors;   /* owned: norms and biases in fp32; NULL: packed, whose file has them so */
    float *biases;    /* owned: [L, rows of q, k, v] where the model has biases */
    uint8_t *weights; /* owned: every packed matrix in the layout of the kernels */
    size_t weights_used;
    float **latent;    /* owned: [L * NET_MATRICES] Q(W) of a latent net */
    float *rounded[2]; /* owned: embedding and head as they ship, where a latent net rounds them */
    sol_model_file file;     /* owned, of sol_net_open */
    sol_packed_model packed; /* likewise */
};

/* Rows of the vocabulary in one product of the head, a multiple of SOL_MATRIX_RUN, and tokens. */
enum { HEAD_COLS = 8192, HEAD_ROWS = 64 };

struct sol_kv {
    const sol_net *net;
    int64_t n, limit;               /* positions held, and at most */
    int64_t capacity;               /* limit rounded up to a multiple of SOL_KV_BLOCK */
    void *keys;                     /* [L, K, capacity / 16, D, 16] */
    void *values;                   /* [L, K, capacity, D] */
    float *key_scale, *value_scale; /* [L, K, capacity] of an int8 cache */
};

/* x[n, cols], the input of a block's linear, as net->activations wants it. */
void net_round_activations(const sol_net *net, float *x, int64_t n, int64_t cols);
/* Writes keys and values of rows (k, v inside qkv, already rotated) to their caches, then att =
 * attention of every row. */
void net_attention(const sol_net *net, int64_t layer, const sol_row *rows, int64_t n);

/* Last hidden states x[n, C] (already normalized) -> logits[n, V], or log-probabilities of
 * targets. */
void net_head_logits(const sol_net *net, const float *x, int64_t n, float *logits);
void net_head_logprobs(const sol_net *net, const float *x, int64_t n, const int32_t *targets,
                       double *logprob);

/* Releases what net_scratch points to. */
void net_scratch_free(net_scratch *s);

#endif
