/* A block's latent weights trained on the block's own output. Internal to calib. */
#ifndef SOLERA_CALIB_REFINE_H
#define SOLERA_CALIB_REFINE_H

#include "calib/share.h"
#include "model/block.h"
#include "optim/optim.h"

/* A step's windows are its lanes: each has a gradient of its own, rank after rank computes one, and
 * they are added in the order of the windows, so that the sum does not depend on the ranks. All
 * ranks then make the same update. */
typedef struct sol_refine {
    sol_ctx *ctx;
    const sol_calib_opts *opts;
    sol_quant_spec spec;
    int64_t layer; /* the block whose overrides the tape was recorded with */
    sol_quant_mix mix;
    sol_model *latent; /* one block, f32; borrowed, trained in place */
    float *grads;      /* [latent->n_elements] of a window */
    float *sum;        /* [latent->n_elements] of the step */
    sol_share share;
    sol_adamw *optim;
    sol_tape *tape; /* of a window */
    sol_block_inputs in;
    sol_block block;
    sol_var weight[SOL_ROLES], x, target, loss;
    int32_t *doc_start; /* [T] */
} sol_refine;

/* Plans and allocates the training of `latent`; spec is copied, o borrowed. The caller frees *r. */
sol_status sol_refine_create(sol_refine *r, sol_ctx *ctx, sol_model *latent,
                             const sol_quant_spec *spec, const sol_calib_opts *o, sol_err *err);
void sol_refine_free(sol_refine *r);

/* Bytes that sol_refine_create allocates beside the tape. */
size_t sol_refine_bytes(const sol_model *block, const sol_calib_opts *o);

/* opts.steps steps on windows [0, opts.windows) of x (inputs) and y (wanted outputs), [n T, C]
 * both; doc_start [n T]. layer: for the order of the windows, and for overrides: where those of the
 * block before were others, the tape is made anew. step: called after each one; a failure of it
 * ends the training with its status, which must be the same on all ranks. */
sol_status sol_refine_run(sol_refine *r, int64_t layer, const float *x, const float *y,
                          const int32_t *doc_start,
                          sol_status (*step)(void *user, int64_t done, sol_err *err), void *user,
                          sol_err *err);

#endif
