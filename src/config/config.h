/* The YAML job. One key table (keys.def) drives parsing, --set, `solera help config` and configs/reference.yaml.
 *
 *     sol_config *c;
 *     st = sol_config_read(&c, "job.yaml", err);
 *     st = sol_config_set(c, "train.steps=100", err);
 *     st = sol_config_finish(c, err);                       // checks what spans keys
 *
 * Errors: file:line:column, the value, what is allowed, the nearest valid key. */
#ifndef SOLERA_CONFIG_CONFIG_H
#define SOLERA_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "optim/optim.h"
#include "quant/quant.h"

typedef struct sol_config {
    struct { char *dir; int64_t seed; int64_t threads; char *tier; } run;
    struct { char *init; } model; /* checkpoint to start from, or "random:<shape>" */
    struct {
        char *source;      /* "file" or "self" */
        char *train, *eval; /* dataset files */
        int64_t self_tokens;
        double self_temperature;
    } data;
    struct { char *method; char *granularity; int64_t group_size; char *block_layout; char *scale_dtype; } quant;
    struct { char *schedule; char *form; bool warmup; double lambda_max, warmup_fraction, end_fraction; } residual;
    struct {
        int64_t steps, batch, seq, accumulate, max_skipped, log_every, eval_every, eval_windows;
        double grad_clip;
        bool activation_checkpoints;
    } train;
    struct { char *schedule; double lr, min_ratio, decay_fraction, beta1, beta2, eps, weight_decay; int64_t warmup_steps; } optim;
    struct { int64_t every, keep; } checkpoint;
} sol_config; /* the owner fills in the rest: the key table is the truth, this struct its shape */

sol_status sol_config_read(sol_config **c, const char *path, sol_err *err);
/* "a.b=value" as on the command line; errors say --set instead of a file place. */
sol_status sol_config_set(sol_config *c, const char *assignment, sol_err *err);
sol_status sol_config_finish(sol_config *c, sol_err *err);
void sol_config_free(sol_config **c);

/* The resolved job as YAML text, every key with its value; owned by the caller. */
sol_status sol_config_write(const sol_config *c, char **yaml, sol_err *err);
/* The reference: every key with type, default, range and meaning, as commented YAML. */
sol_status sol_config_reference(char **yaml, sol_err *err);

/* Keys that differ between two jobs. *fatal: one of them would make it another run (model, data, quantizer, seed, ...). */
sol_status sol_config_diff(const sol_config *a, const sol_config *b, char **text, bool *fatal, sol_err *err);

/* The library's view of the strings above. */
sol_status sol_config_quant(const sol_config *c, sol_quant_spec *spec, sol_err *err);
sol_status sol_config_residual(const sol_config *c, sol_residual *r, sol_err *err);
sol_status sol_config_lr(const sol_config *c, sol_lr_schedule *s, sol_err *err);

#endif
