/* Checkpoints: a model file, and beside the model all that its training run needs to go on bit for
 * bit. The run owns its state and lends it to the writer; the reader hands it over.
 *
 *     sol_checkpoint_view v = {
 *         .model = model, .tokenizer = tokenizer, .optim = optim, .state = {.step = step}};
 *     st = sol_checkpoint_write(&v, "step.h5", SOL_F32, err);
 *     sol_checkpoint c;
 *     if (st == SOL_OK) st = sol_checkpoint_read(&c, "step.h5", SOL_F32, err);
 *     if (st == SOL_OK) sol_checkpoint_free(&c); */
#ifndef SOLERA_STORE_CHECKPOINT_H
#define SOLERA_STORE_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "optim/lanes.h"
#include "optim/optim.h"
#include "store/model_file.h"

/* The counters of a run. */
typedef struct sol_run_state {
    uint64_t step, tokens; /* optimizer steps done, tokens seen */
    uint64_t drawn;        /* sol_batcher.drawn */
    uint64_t skipped;      /* non-finite steps */
    uint64_t seed;
    double best_eval_loss; /* infinity: none yet */
    double full_loss;      /* of the model that the run started from, in full precision, on the
                            * same data; 0: not measured */
    uint64_t best_step;
    uint64_t metrics_bytes; /* length of metrics.jsonl that belongs to this state */
    double ema_loss;
    uint64_t model_digest;   /* sol_store_model_digest of what the run began with; 0: unknown */
    uint64_t data_digest;    /* sol_dataset.digest of the training data; 0: unknown */
    uint64_t teacher_digest; /* sol_store_model_digest of the teacher; 0: none */
    uint64_t cache_digest;   /* of what the teacher's cache says; 0: unknown, or none */
    uint64_t eval_digest;    /* of what best_eval_loss and full_loss were measured on; 0: unknown */
} sol_run_state;

/* What is written; everything is borrowed. */
typedef struct sol_checkpoint_view {
    const sol_model *model;
    const sol_tokenizer *tokenizer; /* NULL: none */
    const char *config_yaml;        /* the resolved YAML of the run; NULL: none */
    sol_quant_spec quant;
    sol_windows windows;
    const sol_adamw *optim; /* NULL: a model file, with the step and tokens of state alone */
    sol_lanes *lanes;       /* where the ranks have shards of the moments: _write calls
                             * sol_lanes_gather_moments, on this rank, the first; NULL: optim has
                             * them all */
    sol_run_state state;
    const void *study; /* [study_bytes] the recorder's own state (study/recorder.h); NULL: none */
    size_t study_bytes;
    const sol_progress *progress; /* after each parameter, in weights; NULL: none */
} sol_checkpoint_view;

/* Writes a checkpoint, or without v->optim a model file. params_dtype: of the parameters on disk,
 * SOL_F32 or SOL_BF16. SOL_ERR_NONFINITE: a weight is not finite in that type. Moments are gathered
 * from the ranks after a failure, too, so that these need not know of it. */
sol_status sol_checkpoint_write(const sol_checkpoint_view *v, const char *path,
                                sol_dtype params_dtype, sol_err *err);

/* What was read. Start from {0}. */
typedef struct sol_checkpoint {
    sol_model_file file;
    sol_adamw *optim;    /* owned; NULL in a model file */
    bool has_optim;      /* the file has it, read or not */
    sol_run_state state; /* zero in a model file */
    void *study;         /* [study_bytes] owned; NULL: none */
    size_t study_bytes;
} sol_checkpoint;

void sol_checkpoint_free(sol_checkpoint *c);
/* dtype: of the parameters in memory, SOL_F32 or SOL_BF16. The caller owns *c
 * (sol_checkpoint_free); after a failure it is empty. */
sol_status sol_checkpoint_read(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err);

/* For ranks, each of which holds the moments of its shard alone: the same without the moments,
 * which are looked at for damage (by one rank) or left; then those of the shard, for the model that
 * was read, without a look at the rest. The caller owns *o. */
typedef enum { SOL_MOMENTS_READ, SOL_MOMENTS_VERIFIED, SOL_MOMENTS_LEFT } sol_moments_how;
/* progress: after each parameter and each piece of the moments, in bytes of both; NULL: none. */
sol_status sol_checkpoint_read_with(sol_checkpoint *c, const char *path, sol_dtype dtype,
                                    sol_moments_how how, const sol_progress *progress,
                                    sol_err *err);
sol_status sol_checkpoint_read_shard(sol_adamw **o, const char *path, const sol_model *m,
                                     const sol_shard *shard, sol_err *err);

#endif
