/* Row kernels of training, forward and backward: softmax of attention, cross-entropy, SwiGLU,
 * RMSNorm, RoPE, losses of distillation. One source (train_tmpl.h) compiled once a tier beside
 * float_tmpl.h. Each runs on the calling thread on one row; `add` says whether an output is set or
 * added to; outputs must not overlap inputs unless said. Any n, any alignment.
 *
 * Sums: 16 partial sums as in float_ops.h; softmax and cross_entropy fold them into a double every
 * SOL_TRAIN_RUN elements, RMSNorm's are double throughout (they scale whole rows). A NaN or
 * infinity in a row makes its results NaN, so that a bad step shows in the loss and in the
 * gradients. */
#ifndef SOLERA_KERNELS_TRAIN_OPS_H
#define SOLERA_KERNELS_TRAIN_OPS_H

#include <stdbool.h>
#include <stdint.h>

enum { SOL_TRAIN_RUN = 1024 };

/* h = silu(g) u: du (+)= dh silu(g), dg (+)= dh u silu'(g). dg or du may be NULL. */
typedef struct sol_swiglu_grad {
    const float *g, *u, *dh;
    float *dg, *du;
    bool add_g, add_u;
} sol_swiglu_grad;

/* y = x r w: dw += dy x r, dx (+)= r (w dy - x r mean(w dy x r)). dx may be NULL. */
typedef struct sol_rmsnorm_grad {
    const float *x, *w, *dy;
    float r;
    float *dw, *dx;
    bool add;
} sol_rmsnorm_grad;

/* Rotates one head of 2 half components: y0 (+)= x0 cosine - sign x1 sine, y1 (+)= x1 cosine + sign
 * x0 sine. y may be x. */
typedef struct sol_rope_rotation {
    const float *x, *cosine, *sine;
    float sign;
    int64_t half;
    float *y;
    bool add;
} sol_rope_rotation;

/* A row of distillation: logits of student and teacher; u = scale z - lse_z and v = scale t - lse_t
 * are the logarithms of their distributions at the temperature 1 / scale. */
typedef struct sol_kl_row {
    const float *z, *t;
    float scale, lse_z, lse_t;
} sol_kl_row;

/* In place: z = ce exp(z - lse_1) + exp(u) (q + log (u - v)) + p exp(v). row.t NULL: p and log
 * count as 0. */
typedef struct sol_distill_grad {
    sol_kl_row row;
    float lse_1, ce, q, p, log;
} sol_distill_grad;

typedef struct sol_train_ops {
    /* In place: s[from, to) becomes exp(s - m) and the rest of s[0, n) 0; norm = {m = largest, 1 /
     * sum}. from < to. */
    void (*softmax)(float *s, int64_t n, int64_t from, int64_t to, float *norm);
    /* In place, with the norm of softmax: s[from, to) becomes p = norm[1] exp(s - norm[0]), dp
     * becomes scale p (dp - sum p dp); both 0 in the rest of [0, n). */
    void (*softmax_backward)(float *s, float *dp, int64_t n, int64_t from, int64_t to,
                             const float *norm, float scale);
    /* Returns ln sum exp(z) - z[target]. dloss not NULL: z becomes *dloss (softmax(z) -
     * onehot(target)). */
    float (*cross_entropy)(float *z, int64_t n, int64_t target, const float *dloss);
    void (*swiglu_backward)(const sol_swiglu_grad *a, int64_t n);
    /* y = x r w, y may be x; returns r = 1 / sqrt(mean(x^2) + eps). Inference calls it, too. */
    float (*rmsnorm)(const float *x, const float *w, float eps, int64_t n, float *y);
    void (*rmsnorm_backward)(const sol_rmsnorm_grad *a, int64_t n);
    void (*rope)(const sol_rope_rotation *r);
    /* ln sum exp(scale x), scale > 0. */
    float (*log_sum_exp)(const float *x, int64_t n, float scale);
    /* kl[0] = sum exp(v) (v - u), kl[1] = sum exp(u) (u - v). */
    void (*kl)(const sol_kl_row *r, int64_t n, double kl[2]);
    void (*distill_grad)(const sol_distill_grad *g, int64_t n, float *z);
} sol_train_ops;

/* Sets all entries to their C forms. */
void sol_train_ops_c(sol_train_ops *t);

#endif
