/* AdamW on a flat block, learning-rate schedules, global-norm clipping. Everything runs over fixed
 * tiles: the same bits for any number of threads and every kernel tier. Nothing allocates but the
 * functions that create, and sol_adamw_cut.
 *
 *     double norm = sol_global_norm(ctx, grads, model->n_elements);
 *     float scale = sol_clip_scale(norm, 1.0);
 *     sol_adamw_update(ctx, optim, model, grads, scale, sol_lr_at(&schedule, step, n_steps)); */
#ifndef SOLERA_OPTIM_OPTIM_H
#define SOLERA_OPTIM_OPTIM_H

#include "base/enums.h"
#include "base/mem.h"
#include "kernels/ctx.h"
#include "model/model.h"

/* How moments are held: 8, 4 or a little more than 2 bytes a parameter for both. Formulas:
 * optim/moments.h. */
#define SOL_MOMENTS(ROW) ROW(SOL_F32, "fp32") ROW(SOL_BF16, "bf16") ROW(SOL_U8, "8bit")

enum { SOL_MOMENT_BLOCK = 256 };
int64_t sol_moment_blocks(const sol_param *p); /* of 8-bit moments of a parameter */

typedef struct sol_adamw_config {
    float beta1, beta2, eps, weight_decay; /* decoupled; only on linear layers and an untied head
                                            * (Loshchilov & Hutter 2019) */
    bool stochastic_rounding;              /* SOL_BF16 models: round up with the probability of
                                            * the part cut off, else to nearest */
    sol_dtype moments;                     /* of SOL_MOMENTS */
    uint64_t seed;                         /* of the random rounding of parameters and moments,
                                            * which is a function of (seed, t, element) */
} sol_adamw_config;

/* Elements [first, first + n) of the flat block. */
typedef struct sol_stretch {
    int64_t first, n;
} sol_stretch;

/* The elements whose moments a process holds: stretches in rising order, that begin and end where a
 * moment block of a parameter does (sol_moment_align). */
typedef struct sol_shard {
    sol_stretch *stretch; /* [n] */
    int n;
} sol_shard;
/* The first place at or behind element x where a stretch may begin. */
int64_t sol_moment_align(const sol_model *m, int64_t x);

typedef struct sol_adamw {
    sol_adamw_config config;
    void *m, *v; /* [shard_elements] first and second moments, stretch after stretch: float, bf16,
                    or codes of 8 bits; owned */
    float *m_scale, *v_scale;             /* [shard_blocks] of 8-bit moments, else NULL; owned */
    int64_t n_elements, n_blocks;         /* of the model */
    int64_t shard_elements, shard_blocks; /* of the shard: the same where one process has all */
    sol_shard shard;                      /* owned */
    int64_t *block; /* [parameters + 1]: the first block of each in the model; owned */
    int64_t t;      /* updates done: bias correction */
    float lr;       /* of the update that began last */
} sol_adamw;

/* Moments 0, t 0, for the parameters of model, of which only the table is read. Owned by the
 * caller. */
sol_status sol_adamw_create(sol_adamw **o, const sol_model *model, const sol_adamw_config *c,
                            sol_err *err);
/* The moments of a shard alone, which is copied; NULL: of all. */
sol_status sol_adamw_create_shard(sol_adamw **o, const sol_model *model, const sol_adamw_config *c,
                                  const sol_shard *shard, sol_err *err);
void sol_adamw_free(sol_adamw **o);
/* How many moment blocks of the model begin in a stretch of a shard. */
int64_t sol_stretch_blocks(const sol_adamw *o, const sol_model *model, sol_stretch s);
/* The moments of the shard out of all, which m, v, m_scale and v_scale of `all` point to, at any
 * address; of it only these, config and t are read. */
sol_status sol_adamw_cut(sol_adamw **o, const sol_adamw *all, const sol_model *model,
                         const sol_shard *shard, sol_err *err);
/* Bytes of the moments that sol_adamw_create allocates. */
size_t sol_adamw_bytes(const sol_model *model, const sol_adamw_config *c);

/* One update of all parameters, or of those elements in the shard, with gradient g = grad_scale *
 * grads (t counts from 1):
 *   m = beta1 m + (1 - beta1) g      v = beta2 v + (1 - beta2) g^2
 *   p = (1 - lr weight_decay) p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 * A SOL_BF16 model is updated in float and rounded; it has no other copy of its parameters. */
void sol_adamw_update(const sol_ctx *ctx, sol_adamw *o, sol_model *model, const float *grads,
                      float grad_scale, float lr);
/* The same update in pieces, with the same bits: sol_adamw_begin, then every parameter once, in any
 * order. grads holds the gradients of parameters [first, first + n), at the offsets that these have
 * in the flat block from parameter first on. */
void sol_adamw_begin(sol_adamw *o, float lr);
void sol_adamw_update_params(const sol_ctx *ctx, sol_adamw *o, sol_model *model, int first, int n,
                             const float *grads, float grad_scale);
/* The same with the gradients of the shard alone, [shard_elements] in the order of its moments. */
void sol_adamw_update_shard(const sol_ctx *ctx, sol_adamw *o, sol_model *model, int first, int n,
                            const float *grads, float grad_scale);

/* L2 norm of x[n], summed in double over fixed tiles; not finite when an element is not. */
double sol_global_norm(const sol_ctx *ctx, const float *x, int64_t n);
/* The same in pieces: tile i is x[i size, (i + 1) size), there are at most SOL_NORM_TILES; _squares
 * writes the sums of tiles [first, end) to sum[first, end); the norm is the root of the sum over
 * all. */
enum { SOL_NORM_TILES = 256 };
int64_t sol_norm_tile(int64_t n); /* size */
void sol_norm_squares(const sol_ctx *ctx, const float *x, int64_t n, int64_t first, int64_t end,
                      double *sum);
double sol_norm_of(const double *sum, int64_t n_tiles);
/* The factor that clips a gradient of this norm to max_norm: min(1, max_norm / (norm + 1e-6)), as
 * torch.nn.utils.clip_grad_norm_ has it. max_norm 0: 1, no clipping. */
float sol_clip_scale(double norm, double max_norm);

/* Learning-rate schedules, for step s (0-based) of n. Warm-up: peak (s + 1) / warmup_steps for s <
 * warmup_steps. After it, with p running from 0 at the first step towards 1 at step n, and floor =
 * peak * min_ratio:
 *   constant  peak
 *   cosine    floor + (peak - floor) (1 + cos(pi p)) / 2
 *   linear    floor + (peak - floor) (1 - p)
 *   wsd       peak; over the last decay_fraction of all steps, linear (warm-up, stable, decay)
 * The rate reaches floor at step n, so the last step, n - 1, is above it: with d steps in the fall,
 * by 1/d of peak - floor in linear and wsd, by sin^2(pi / 2d) of it in cosine. When d is 1, that
 * step runs at peak. */
#define SOL_LR_KINDS(ROW) \
    ROW(SOL_LR_CONSTANT, "constant") \
    ROW(SOL_LR_COSINE, "cosine") \
    ROW(SOL_LR_LINEAR, "linear") \
    ROW(SOL_LR_WSD, "wsd")
typedef enum { SOL_LR_KINDS(SOL_ENUM_CONSTANT) } sol_lr_kind;
typedef struct sol_lr_schedule {
    sol_lr_kind kind;
    float peak, min_ratio;
    int64_t warmup_steps;
    float decay_fraction; /* WSD only */
} sol_lr_schedule;
/* The learning rate of a step, 0 <= step < n_steps. */
float sol_lr_at(const sol_lr_schedule *s, int64_t step, int64_t n_steps);

#endif
