/* The recorder: measures the quantized layers of a model in training and appends to study.h5 of the
 * run.
 *
 *     sol_study *s;
 *     st = sol_study_create(&s, ctx, model, &spec, &opts, err); // the only allocation
 *     st = sol_study_start(s, "runs/a/study.h5", step, err);    // step: optimizer steps done
 *     for (; step < opts.steps; step++) {
 *         bool due = sol_study_due(opts.every, opts.steps, step);
 *         if (due) sol_study_watch(s, graph); // then comes the last micro-batch
 *         sol_graph_accumulate(graph, tokens, targets, doc_start, weight, &loss_sum, &n_tokens);
 *         if (due) st = sol_study_record(s, graph, &at, err); // then clipping and the update
 *     }
 *     sol_study_free(&s);
 *
 * A checkpoint stores sol_study_state; a resume calls sol_study_start, then sol_study_restore.
 *
 * A record at step n shows the weights after n optimizer steps and the gradients of the step that
 * follows. What compares with the record before (flips, unchanged, grad_cosine) needs the state; a
 * run resumed with it writes the same bytes as one that was never interrupted. Nothing here changes
 * the training. */
#ifndef SOLERA_STUDY_RECORDER_H
#define SOLERA_STUDY_RECORDER_H

#include "base/mem.h"
#include "model/train_graph.h"
#include "study/run.h"

typedef struct sol_study sol_study;

typedef struct sol_study_opts {
    int64_t every, steps; /* a record at steps 0, every, 2 every, ... and at the last one */
    const char *layers;   /* "all", or terms as in sol_study_select */
    int64_t sample_rows;  /* rows of a gradient that ranks, cosines and `unchanged` look at, at
                           * most */
    int64_t tokens;       /* of a micro-batch; 0: dL/dX is not measured */
} sol_study_opts;

/* chosen[i]: parameter i is a linear layer of a block and one of the terms, separated by commas,
 * names it: a block ("3"), blocks ("0-3"), a part of its name ("down_proj", "layers.0.mlp"), "all".
 * *n: how many. chosen: [n_params] of m. SOL_ERR_CONFIG: a term names none. */
sol_status sol_study_select(const sol_model *m, const char *terms, bool *chosen, int *n,
                            sol_err *err);

/* Adds what sol_study_create would allocate to *plan. threads: of the pool. */
sol_status sol_study_plan(const sol_model *m, const sol_study_opts *o, int threads, sol_plan *plan,
                          sol_err *err);
/* ctx and model are borrowed; spec is copied. Weights of a spec without method (full precision) are
 * measured as 3:4 would quantize them. SOL_ERR_CONFIG: o->layers as in sol_study_select. */
sol_status sol_study_create(sol_study **s, sol_ctx *ctx, const sol_model *m,
                            const sol_quant_spec *spec, const sol_study_opts *o, sol_err *err);
void sol_study_free(sol_study **s);

/* Opens the file of the run. step 0: it is created anew. Otherwise records of this and later steps
 * are dropped; a missing file is created. SOL_ERR_CONFIG: it holds records of other layers or
 * samples. */
sol_status sol_study_start(sol_study *s, const char *path, int64_t step, sol_err *err);

/* Whether step, 0-based, of a run of `steps` gets a record; every 0: none does. */
bool sol_study_due(int64_t every, int64_t steps, int64_t step);
/* Installs the recorder as the graph's watch (sol_graph_watch): it sees the gradients of the next
 * sol_graph_accumulate. */
void sol_study_watch(sol_study *s, sol_graph *g);

typedef struct sol_study_at {
    int64_t step, tokens; /* done before */
    double lambda, lr, loss;
} sol_study_at;
/* Appends a record and ends the watch. The gradients of g must be those of the step, not
 * clipped. */
sol_status sol_study_record(sol_study *s, sol_graph *g, const sol_study_at *at, sol_err *err);

/* What the last record holds: measure m of layer i at [m * n_layers + i], and counts of the
 * histogram of w, [n_layers, SOL_HIST_W_BINS] over the layer's w_range. Borrowed until the next
 * record. */
typedef struct sol_study_record_view {
    int n_layers;
    const sol_study_layer *layers;
    const float *measure;
    const uint32_t *w;
} sol_study_record_view;
sol_study_record_view sol_study_newest(const sol_study *s);

/* Seconds spent in the watch and in records so far, not counted in the speed of the training; 0
 * when s is NULL. */
double sol_study_seconds(const sol_study *s);

/* The state for a checkpoint, *size bytes; borrowed until the next call of the recorder. */
const void *sol_study_state(const sol_study *s, size_t *size);
/* SOL_ERR_FORMAT when it is not from a recorder of the same layers and samples. */
sol_status sol_study_restore(sol_study *s, const void *state, size_t size, sol_err *err);

#endif
