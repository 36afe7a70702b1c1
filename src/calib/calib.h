/* A ternary start that needs no end-to-end training: block after block, each linear layer in closed form (solve.h), then the block's
 * latent weights by a few steps of straight-through training on the block's own output.
 *
 *     sol_calib *c;
 *     st = sol_calib_create(&c, ctx, model, &spec, &opts, &tokens, err);
 *     for (int64_t l = 0; st == SOL_OK && l < model->config.num_hidden_layers; l++)
 *         st = sol_calib_block(c, l, &report, err);          // model's block l now holds latent weights
 *     sol_calib_free(&c);
 *
 * Two streams of hidden states run side by side through the model: x_fp as the full-precision blocks make them, x_q as the quantized
 * ones do. A layer's inputs come from x_q, what it should put out from x_fp, and o and down, which add to the stream, are asked to make
 * up for x_fp - x_q too: so an error is not only kept small but repaired by the layers that follow. In memory are the streams, one
 * block three times (its weights, its latent weights, what these quantize to) and one system of solve.h; nothing of the other blocks.
 * The same bits for any number of threads, and whether blocks were calibrated now or restored. */
#ifndef SOLERA_CALIB_CALIB_H
#define SOLERA_CALIB_CALIB_H

#include "base/mem.h"
#include "model/model.h"
#include "quant/quant.h"
#include "text/dataset.h"

typedef struct sol_calib sol_calib;

typedef struct sol_calib_opts {
    int64_t windows, held_out; /* of the data: to calibrate on, and more of them to measure alone */
    int64_t seq;               /* tokens of a window */
    uint64_t seed;             /* which windows, and the order they are trained on in */
    sol_dtype compute;         /* operands of products: SOL_F32 or SOL_BF16 */
    double damping;            /* pull to the original weights: of the mean of H's diagonal */
    int sweeps;                /* over all patterns; 0: the first assignment alone */
    int starts;                /* scales to start from, 1 to 5; each row keeps its best */
    bool asymmetric;           /* outputs wanted: those of the full-precision prefix, else those of the quantized one */
    bool token_weights;        /* o and down: a token counts by 1 / |its hidden state|^2, else each alike */
    double first_token;        /* times that, for the first token of a window or document; 1: as the others */
    int64_t steps, batch;      /* training of a block: optimizer steps, windows of each; steps 0: none */
    double lr;                 /* its peak, as a share of the root mean square of the block's weights */
    bool norms;                /* train the block's norms too */
} sol_calib_opts;

/* Errors are means over tokens of |y - y_fp|^2 / |y_fp|^2, y the block's output from x_q, y_fp that of the full-precision model. */
typedef struct sol_calib_report {
    int64_t block;
    double rounded;  /* its weights rounded to nearest */
    double solved;   /* after the closed form */
    double trained;  /* after the training: what the block ends with; equal to solved where that did not help, or was not asked for */
    double held_out; /* the same on windows it has not seen; NaN without any */
} sol_calib_report;

/* A phase of a block and how far it is, in steps; false interrupts. */
typedef bool (*sol_calib_watch_fn)(void *user, int64_t block, const char *phase, int64_t done, int64_t total);

/* Can this quantizer be calibrated? SOL_ERR_UNSUPPORTED names those that can. */
sol_status sol_calib_check_quant(const sol_quant_spec *spec, sol_err *err);

/* Bytes that sol_calib_create and a block take at most, beside the model; its table is read. */
sol_status sol_calib_bytes(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o, int threads, size_t *bytes, sol_err *err);

/* Operations (a multiplication and an addition count as two) of all blocks: of products in opts.compute, of products in f32 within the
 * solver and in double, and of its search over patterns. */
typedef struct sol_calib_work {
    double products, solver, factors, search;
} sol_calib_work;
sol_calib_work sol_calib_count(const sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o);

/* The model (f32 or bf16) is borrowed, and its blocks are changed one after the other. SOL_ERR_UNSUPPORTED: a quantizer that cannot be
 * calibrated; SOL_ERR_RANGE: less data than windows + held_out. */
sol_status sol_calib_create(sol_calib **c, sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec, const sol_calib_opts *o,
                            const sol_tokens *tokens, sol_err *err);
void sol_calib_free(sol_calib **c);
void sol_calib_watch(sol_calib *c, sol_calib_watch_fn fn, void *user);

/* Calibrates block `layer`; blocks come in order, from 0. SOL_ERR_INTERRUPTED: the watch function said so; the model's block is as it was.
 * SOL_ERR_NONFINITE names the layer whose inputs are not numbers. */
sol_status sol_calib_block(sol_calib *c, int64_t layer, sol_calib_report *r, sol_err *err);
/* The same for a block whose latent weights are known: `block` is a model of this one block (sol_calib_block_model). */
sol_status sol_calib_restore(sol_calib *c, int64_t layer, const sol_model *block, sol_err *err);
/* Latent weights of the block calibrated last, as a model of one block (with an embedding of one token, and f32): to be stored. Borrowed. */
const sol_model *sol_calib_block_model(const sol_calib *c);

#endif
