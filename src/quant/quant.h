/* Quantizers: one file each, one row each in quantizers.def; a registry of descriptors, no switch
 * anywhere.
 *
 *     sol_quant_spec spec = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_GROUP,
 *                            .group_size = 128, .scale_dtype = SOL_F16};
 *     st = sol_quant_check(&spec, "model.layers.0.self_attn.q_proj.weight", rows, cols, err);
 *     sol_quant_effective(ctx, &spec, w, rows, cols, mix, w_eff); // W_eff = a Q(W) + b W
 *
 * W is [rows = out, cols = in], row-major. Scale groups are runs of columns in a row: per-channel
 * has one a row, per-tensor one in all. Q(W) = T * alpha with T in {-1, 0, 1} (dlt adds a shift).
 *
 * Nothing here allocates, and the result is the same bits for any number of threads and every
 * kernel tier. Sums run over a group in 16 float lanes (weight i of the group, or of the row for
 * per-tensor, goes to lane i % 16); every 256 weights the lanes are folded pairwise (8, 4, 2, 1
 * apart) and added to a double; nm, and twn for its kept weights, add to the double one by one.
 * Per-tensor adds rows, then tiles of rows, in order.
 *
 * Weights that are not finite: sherry, nm and binary keep them. Magnitudes compare by bit pattern,
 * so that infinity and NaN are the largest (a NaN gets the sign +); T stays valid and packable,
 * alpha of the group becomes infinity or NaN, and so does W_eff there: the loss shows it. Methods
 * with a threshold hide them: NaN is above none, nothing is above one that is infinite or NaN, and
 * W_eff is 0 where the level is. Denormal weights are ordinary numbers; an alpha up to 2^-25 rounds
 * to 0 in fp16, one from 65520 on to infinity; so does a sum above the range of float. A group of
 * zeros has alpha 0. */
#ifndef SOLERA_QUANT_QUANT_H
#define SOLERA_QUANT_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/enums.h"
#include "base/status.h"
#include "kernels/codebook.h" /* sol_block_layout */
#include "kernels/ctx.h"
#include "kernels/dtype.h"
#include "quant/residual.h"

#define SOL_GRANULARITIES(ROW) \
    ROW(SOL_PER_TENSOR, "per_tensor") \
    ROW(SOL_PER_CHANNEL, "per_channel") \
    ROW(SOL_PER_GROUP, "per_group")
typedef enum { SOL_GRANULARITIES(SOL_ENUM_CONSTANT) } sol_granularity;

/* Their names in jobs and in stored files; static storage. */
const char *sol_granularity_name(sol_granularity granularity);
const char *sol_layout_name(sol_block_layout layout);

/* The types of sol_quant_spec.scale_dtype. */
#define SOL_SCALE_DTYPES(ROW) \
    ROW(SOL_F16, "fp16") \
    ROW(SOL_F32, "fp32")

/* The types of sol_quant_spec.embed_type; TERNARY: as the layers. */
#define SOL_TRAINED_EMBED_TYPES(ROW) \
    ROW(SOL_F32, "none") \
    ROW(SOL_Q8, "q8") \
    ROW(SOL_Q6, "q6") \
    ROW(SOL_Q4, "q4") \
    ROW(SOL_TERNARY, "ternary")

typedef struct sol_quantizer sol_quantizer;
typedef struct sol_quant_overrides sol_quant_overrides; /* quant/overrides.h */

enum { SOL_QUANT_MAX_M = 64 };

typedef struct sol_quant_spec {
    const sol_quantizer *method; /* NULL: none, full precision */
    sol_granularity granularity;
    int group_size; /* SOL_PER_GROUP only; a multiple of 4 */
    sol_block_layout layout;
    sol_dtype scale_dtype; /* SOL_F16: alpha is rounded to fp16 inside the forward pass, so what
                            * trains is what ships */
    int n, m;              /* method nm only: n of m weights are kept, 1 <= n < m <=
                            * SOL_QUANT_MAX_M */
    sol_dtype embed_type;  /* of a model: what its embedding and head are rounded to in the
                            * forward pass; SOL_F32: they are not */
    /* Layers of a model that differ; borrowed, NULL: none does. Functions about one matrix do not
     * read it. */
    const sol_quant_overrides *overrides;
} sol_quant_spec;

/* What one pass over a scale group gathers. */
typedef struct sol_quant_acc {
    double sum;
    int64_t count;
    float max;
} sol_quant_acc;

enum { SOL_QUANT_MAX_LEARNED = 2 };

/* The numbers of one scale group: Q(w) = scale * t + shift. The driver rounds scale and shift to
 * scale_dtype. */
typedef struct sol_quant_group {
    float scale, shift;
    float threshold;                      /* the method's own, for `levels` and between its
                                           * passes */
    uint32_t low, high;                   /* the same, as bit patterns */
    float learned[SOL_QUANT_MAX_LEARNED]; /* values of the learned parameters, when the method
                                           * has any */
} sol_quant_group;

struct sol_quantizer {
    const char *name;    /* as in YAML */
    const char *summary; /* one line for `solera help` */
    bool packable;       /* obeys 3:4 and can be written in the 1.25-bit code */
    int block;           /* weights that are chosen together: groups and widths must be multiples
                          * of it; 1: each alone; 0: spec->m */
    /* Pass `pass` over n more weights of a group, in order: adds to *acc. */
    void (*measure)(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                    const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc);
    /* After a pass over all n weights of the group: sets what it can of *g, or for a method that
     * learns the starting values g->learned. Returns whether it needs another pass. */
    bool (*settle)(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc,
                   sol_quant_group *g);
    /* t[i] in {-1, 0, 1} of n weights. Deterministic: ties zero the lowest index, a kept zero gets
     * the sign +. */
    void (*levels)(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                   const float *w, int64_t n, int8_t *t);
    /* Optional, the same bits faster: out[i] = scale * t[i] + b * w[i], without the second term
     * when b is 0. */
    void (*effective)(const sol_kernels *k, const sol_quant_spec *spec, const sol_quant_group *g,
                      float scale, float b, const float *w, int64_t n, float *out);

    /* Methods that learn parameters, one of each a scale group: */
    int n_learned;
    const char *learned_name[SOL_QUANT_MAX_LEARNED]; /* suffix of the parameter's name */
    void (*derive)(sol_quant_group *g);              /* scale, shift and threshold from
                                                      * g->learned */
    /* d = dL/dQ of n weights. Sets through[i] = dL/dw[i] and adds dL/dlearned[k], before its
     * gradient scale, to sum[k]. NULL: the straight-through estimator, through = d. */
    void (*backward)(const sol_quant_group *g, const float *w, const float *d, int64_t n,
                     float *through, double *sum);

    /* All patterns t [n, sol_quant_block] that levels can give a block, such that scale * t has the
     * levels t and the scale `scale`: for searches (calib). Returns n, or 0 when there are more
     * than `max`. t NULL: only counts. A method without such a table has NULL here. */
    int (*patterns)(const sol_quant_spec *spec, int max, int8_t *t);

    bool shifted; /* a group has a shift, too: its levels are not 0 and its scale alone */

    /* Tequila: weights with t = 0 add dead_bias * w to a bias of their row; 0: there is none. */
    float dead_bias;
};

/* The registry, in the order of quantizers.def: by name (NULL: none), how many, by index. Static
 * storage. */
const sol_quantizer *sol_quantizer_find(const char *name);
int sol_quantizer_count(void);
const sol_quantizer *sol_quantizer_at(int i);

/* Whether spec can quantize a [rows, cols] matrix; layer: its name, for errors. SOL_ERR_SHAPE: a
 * width that does not divide into blocks or groups; SOL_ERR_RANGE: a bad group_size or n of m;
 * SOL_ERR_UNSUPPORTED: a scale type or layout that the method lacks. The text says which group
 * sizes fit. The functions below assume a spec that passed. */
sol_status sol_quant_check(const sol_quant_spec *spec, const char *layer, int64_t rows,
                           int64_t cols, sol_err *err);

/* Weights whose levels are chosen together (sherry: 4); 1: each alone. */
int sol_quant_block(const sol_quant_spec *spec);
/* All t [n, m] in {-1, 0, 1} with from kept_min to kept_max of the m not 0, in rising order of
 * their digits: the `patterns` of a method. It walks through all 3^m, so that m must be small. */
int sol_quant_patterns(int m, int kept_min, int kept_max, int max, int8_t *t);
/* Weights that share a scale: rows * cols, cols, or group_size. */
int64_t sol_quant_group_weights(const sol_quant_spec *spec, int64_t rows, int64_t cols);
/* Scales of a [rows, cols] matrix: 1, rows, or rows * cols / group_size. */
int64_t sol_quant_scale_count(const sol_quant_spec *spec, int64_t rows, int64_t cols);

/* w_eff[rows, cols] = mix.a Q(w) + mix.b w over the pool (sets; must not overlap w): (mix.a *
 * alpha) * t + mix.b * w, each operation rounded to float. At mix {1, 0} that is alpha * t exactly.
 * method NULL copies w. */
void sol_quant_effective(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                         int64_t rows, int64_t cols, sol_residual_mix mix, float *w_eff);

/* The parts of Q(w): ternary[rows, cols] and scales[sol_quant_scale_count], exactly what
 * sol_quant_effective multiplies. */
void sol_quant_split(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w, int64_t rows,
                     int64_t cols, int8_t *ternary, float *scales);

/* A matrix with the parameters that its method learns, [sol_quant_scale_count] each; NULL: their
 * starting values, computed from w. The functions below take every method, sol_quant_forward also
 * none; those above take one that learns with its starting values. */
typedef struct sol_quant_matrix {
    const float *w;
    int64_t rows, cols;
    const float *learned[SOL_QUANT_MAX_LEARNED];
} sol_quant_matrix;

typedef struct sol_quant_parts {
    int8_t *ternary;                       /* [rows, cols] */
    float *scales;                         /* [scale count]; any of the three may be NULL */
    float *shifts;                         /* [scale count] */
    float *learned[SOL_QUANT_MAX_LEARNED]; /* [scale count] each: the values in use (starting
                                            * values: with NULL in the matrix) */
} sol_quant_parts;

/* Sets w_eff as sol_quant_effective does, and bias[rows] (may be NULL) to mix.a * dead_bias * the
 * sum of the dead weights. */
void sol_quant_forward(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                       sol_residual_mix mix, float *w_eff, float *bias);
/* sol_quant_forward with w_eff rounded to bf16, to nearest even. */
void sol_quant_forward_bf16(const sol_ctx *ctx, const sol_quant_spec *spec,
                            const sol_quant_matrix *x, sol_residual_mix mix, uint16_t *w_eff,
                            float *bias);
/* The parts of Q(w) of any method: sets those arrays of *parts that are not NULL. */
void sol_quant_take_apart(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                          sol_quant_parts *parts);

/* Whether dL/dW = (a + b) dL/dW_eff is the whole backward pass (the straight-through estimator,
 * Bengio et al. 2013, arXiv 1308.3432). The caller may then fold the factor into another
 * product. */
bool sol_quant_is_straight_through(const sol_quant_spec *spec);

/* Gradients of a loss L: what sol_quant_backward reads, and what it writes. */
typedef struct sol_quant_grads {
    const float *dw_eff; /* [rows, cols] dL/dW_eff; NULL: 0 */
    const float *d_bias; /* [rows] dL/dbias; NULL: there is no bias, or 0 */
    float *dw;           /* [rows, cols] dL/dW; NULL: not wanted. It may be dw_eff, unless `add` */
    bool add;            /* adds to dw instead of setting it */
    /* [scale count] += dL/dlearned[k] / sqrt(rows * cols), the gradient scale of LSQ (Esser et al.
     * 2020, arXiv 1902.08153); NULL: not wanted. */
    float *d_learned[SOL_QUANT_MAX_LEARNED];
} sol_quant_grads;

/* The backward pass of sol_quant_forward, over the pool. */
void sol_quant_backward(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                        sol_residual_mix mix, const sol_quant_grads *g);

#endif
