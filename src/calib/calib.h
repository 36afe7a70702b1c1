/* Calibration: a ternary start that needs no end-to-end training. Block after block, each linear
 * layer is solved in closed form (solve.h); then a few steps of straight-through training move the
 * block's latent weights to reproduce its output.
 *
 *     sol_calib *c;
 *     st = sol_calib_create(&c, ctx, model, &spec, &opts, &mix, err);
 *     if (st != SOL_OK) return st;
 *     for (int64_t l = 0; l < model->config.num_hidden_layers; l++) {
 *         st = sol_calib_block(c, l, &report, err); // model's block l now holds latent weights
 *         if (st != SOL_OK) break;
 *     }
 *     sol_calib_free(&c);
 *
 * Two streams of hidden states run through the model side by side: x_fp through the full-precision
 * blocks, x_q through the quantized ones. The inputs of a layer come from x_q, the outputs it
 * should have from x_fp. The targets of o and down, whose outputs are added to the stream, include
 * the difference x_fp - x_q, so that later layers repair an error of earlier ones. Memory holds the
 * streams, one block three times (its weights, its latent weights and their quantized values) and
 * one system of solve.h; nothing of the other blocks. The same bits for any number of threads and
 * ranks, and whether blocks were calibrated now or restored.
 *
 * Ranks share the passes over the windows, which make up to 8 lanes, the sums of their moments, and
 * the windows of each step of the training. Layers are solved by rank 0, for which the others wait.
 * All ranks call the functions together and get the same result, or failure. */
#ifndef SOLERA_CALIB_CALIB_H
#define SOLERA_CALIB_CALIB_H

#include "base/mem.h"
#include "dist/dist.h"
#include "model/model.h"
#include "quant/quant.h"
#include "text/batcher.h"

typedef struct sol_calib sol_calib;

/* Where a block's latent weights begin: on the levels they were solved to, or beside them with what
 * the original weights say beyond (soften.h). */
#define SOL_CALIB_LATENTS(ROW) \
    ROW(SOL_LATENT_HARD, "hard") \
    ROW(SOL_LATENT_SOFT, "soft")
typedef enum { SOL_CALIB_LATENTS(SOL_ENUM_CONSTANT) } sol_calib_latent;

/* How the first assignment of a layer chooses the pattern of a block (solve.h). */
#define SOL_CALIB_ASSIGNS(ROW) \
    ROW(SOL_ASSIGN_SEARCHED, "searched") \
    ROW(SOL_ASSIGN_NEAREST, "nearest")
typedef enum { SOL_CALIB_ASSIGNS(SOL_ENUM_CONSTANT) } sol_calib_assign;

typedef struct sol_calib_opts {
    int64_t windows, held_out; /* of the data: to calibrate on; further ones, to measure alone */
    int64_t seq;               /* tokens of a window */
    uint64_t seed;             /* which windows, and the order they are trained on in */
    sol_dtype compute;         /* operands of products: SOL_F32 or SOL_BF16 */
    double damping;            /* pull to the original weights: of the mean of H's diagonal */
    sol_calib_assign assign;
    int sweeps;           /* over all patterns; 0: the first assignment alone */
    int starts;           /* scales to start from, 1 to 5; each row keeps its best */
    bool asymmetric;      /* outputs wanted: those of the full-precision prefix, else those
                           * of the quantized one */
    bool token_weights;   /* o and down: a token counts by 1 / |its hidden state|^2, else
                           * each alike */
    double first_token;   /* times that, for the first token of a window or document; 1: as
                           * the others */
    int64_t steps, batch; /* training of a block: optimizer steps, windows of each; steps 0:
                           * none */
    double lr;            /* its peak, as a share of the root mean square of the block's
                           * weights */
    bool norms;           /* train the block's norms, and biases of q, k and v, too */
    bool added_norms;     /* the model was without its norms before o and down (sub_norms.h): the
                           * full-precision blocks, whose outputs are wanted, run without them */
    sol_calib_latent latent;
    sol_dist *dist; /* ranks that share the work, borrowed; NULL: one */
} sol_calib_opts;

/* Errors are means over tokens of |y - y_fp|^2 / |y_fp|^2, y the block's output from x_q, y_fp that
 * of the full-precision model. */
typedef struct sol_calib_report {
    int64_t block;
    double rounded;  /* its weights rounded to nearest */
    double solved;   /* after the closed form */
    double trained;  /* after the training: what the block ends with; equal to solved where that
                      * did not help, or was not asked for */
    double held_out; /* the same on windows it has not seen; NaN without any */
    /* Of each layer by itself, by its role: what is left of the outputs it should have, as weighted
     * in the closed form: |x Q - y|^2 / |y|^2 over all tokens. NaN: a layer that is kept, a role
     * that is none. */
    double layer[SOL_ROLES];
} sol_calib_report;

/* Progress: a phase of a block, its steps done and in all, and about which share of the block's
 * time has passed. Returning false interrupts. */
typedef bool (*sol_calib_watch_fn)(void *user, int64_t block, const char *phase, int64_t done,
                                   int64_t total, double share);

/* Whether this quantizer can be calibrated; SOL_ERR_UNSUPPORTED names those that can. */
sol_status sol_calib_check_quant(const sol_quant_spec *spec, sol_err *err);

/* *bytes: the most that sol_calib_create and sol_calib_block allocate, beside the model, of which
 * only the table is read. threads: of the pool. */
sol_status sol_calib_bytes(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o,
                           int threads, size_t *bytes, sol_err *err);

/* What a calibration computes, or the operations a second of each kind; a multiplication and an
 * addition count as two. */
typedef struct sol_calib_work {
    double products; /* of blocks that run, and of moments, in o->compute */
    double training; /* of blocks that train */
    double solver;   /* of the solver, in f32 */
    double factors;  /* in double */
    double search;   /* steps of the search over patterns */
} sol_calib_work;

/* Of all blocks. Only the table of m is read. */
sol_calib_work sol_calib_count(const sol_model *m, const sol_quant_spec *spec,
                               const sol_calib_opts *o);
/* What this machine reaches now: measured on a narrow layer, one up to 2,048 columns as wide as
 * those of m, and a small block, all of random weights and tokens, calibrated as o says, in one to
 * four seconds. */
sol_status sol_calib_rates(sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec,
                           const sol_calib_opts *o, sol_calib_work *rates, sol_err *err);
/* The sum over all kinds of work / rate. */
double sol_calib_seconds(const sol_calib_work *work, const sol_calib_work *rates);

/* The model (f32 or bf16) and tokens are borrowed, the mixture is not kept; the blocks of the model
 * are changed one after the other. The caller owns *c. SOL_ERR_UNSUPPORTED: the quantizer cannot be
 * calibrated; SOL_ERR_RANGE: the data have not windows + held_out windows; SOL_ERR_FORMAT: a token
 * outside the vocabulary. */
sol_status sol_calib_create(sol_calib **c, sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec,
                            const sol_calib_opts *o, const sol_mixture *data, sol_err *err);
void sol_calib_free(sol_calib **c);
/* Installs the progress function; fn NULL: none. */
void sol_calib_watch(sol_calib *c, sol_calib_watch_fn fn, void *user);

/* Calibrates block `layer` and sets *r. SOL_ERR_USAGE: the blocks do not come in order, from 0.
 * SOL_ERR_INTERRUPTED: the progress function said so; the model's block is as it was.
 * SOL_ERR_NONFINITE names the layer whose inputs are not finite. After a failure c can only be
 * freed: the streams stand inside the block. */
sol_status sol_calib_block(sol_calib *c, int64_t layer, sol_calib_report *r, sol_err *err);
/* Takes the latent weights of block `layer` from an earlier calibration instead; block: a model of
 * this one block, as sol_calib_block_model gives it. SOL_ERR_SHAPE: it is of another shape;
 * SOL_ERR_USAGE as sol_calib_block. */
sol_status sol_calib_restore(sol_calib *c, int64_t layer, const sol_model *block, sol_err *err);
/* The latent weights of the last block, to be stored: a model of one block, in f32, with an
 * embedding of one token. Borrowed. */
const sol_model *sol_calib_block_model(const sol_calib *c);

#endif
