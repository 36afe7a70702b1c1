/* A block's latent weights trained on the block's own output. Internal to calib. */
#ifndef SOLERA_CALIB_REFINE_H
#define SOLERA_CALIB_REFINE_H

#include "calib/calib.h"
#include "model/block.h"
#include "optim/optim.h"

typedef struct sol_refine {
    sol_ctx *ctx;
    const sol_calib_opts *opts;
    sol_quant_spec spec;
    int64_t layer; /* the block whose overrides the tape was recorded with */
    sol_quant_mix mix;
    sol_model *latent; /* one block, f32; borrowed, trained in place */
    float *grads;      /* [latent->n_elements] */
    sol_adamw *optim;
    sol_tape *tape;
    sol_block_inputs in;
    sol_block block;
    sol_var x, target, loss;
    int32_t *doc_start; /* [batch T] */
} sol_refine;

/* Plans and allocates the training of `latent`; spec is copied, o borrowed. The caller frees *r. */
sol_status sol_refine_create(sol_refine *r, sol_ctx *ctx, sol_model *latent,
                             const sol_quant_spec *spec, const sol_calib_opts *o, sol_err *err);
void sol_refine_free(sol_refine *r);

/* opts.steps steps on windows [0, opts.windows) of x (inputs) and y (wanted outputs), [n T, C]
 * both; doc_start [n T]. layer: for the order of the windows, and for overrides: where those of the
 * block before were others, the tape is made anew. step: called after each one; false
 * ends with SOL_ERR_INTERRUPTED. */
sol_status sol_refine_run(sol_refine *r, int64_t layer, const float *x, const float *y,
                          const int32_t *doc_start, bool (*step)(void *user, int64_t done),
                          void *user, sol_err *err);

#endif
