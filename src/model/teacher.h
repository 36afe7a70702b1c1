/* A teacher: a full-precision model that is only read, its matrices held in f32, bf16 or 8 bits
 * (kernels/stored.h), its norms in f32; and the teacher's predictions for a batch, for a cache.
 *
 *     sol_teacher *t;
 *     st = sol_teacher_create(&t, ctx, model, SOL_BF16, err); // rounds; the model may go
 *     sol_graph_opts opts = {.batch = 1, .seq = 256, .teacher = t, .distill = &d}; // train_graph.h
 *
 * The teacher's forward pass is recorded on the tape of the student, before that of the student, so
 * that their activations share memory. The teacher has its own copy of all weights, also when it is
 * the student as it was before the training, because training changes every parameter. */
#ifndef SOLERA_MODEL_TEACHER_H
#define SOLERA_MODEL_TEACHER_H

#include "autograd/distill.h"
#include "base/mem.h"
#include "model/model.h"

typedef struct sol_teacher {
    sol_model_config config;
    sol_model *table;  /* the parameters without weights; owned */
    sol_stored *param; /* [table->n_params]; owned; data NULL in a teacher that is only described */
    void *block;       /* all data and scales; owned */
    size_t bytes;      /* of the block */
} sol_teacher;

/* Rounds the parameters of m, a SOL_F32 model, to type; m is not needed afterwards. Owned by the
 * caller. */
sol_status sol_teacher_create(sol_teacher **t, const sol_ctx *ctx, const sol_model *m,
                              sol_dtype type, sol_err *err);
/* The same in steps. _describe: a teacher without weights, for plans, owned by the caller.
 * _allocate: adds memory for them. _fill: rounds rows [from, from + n) of parameter p, from a table
 * of any model with these names, out of rows [n, cols]. */
sol_status sol_teacher_describe(sol_teacher **t, const sol_model_config *c, sol_dtype type,
                                sol_err *err);
sol_status sol_teacher_allocate(sol_teacher *t, sol_err *err);
void sol_teacher_fill(sol_teacher *t, const sol_ctx *ctx, const sol_param *p, int64_t from,
                      int64_t n, const float *rows);
void sol_teacher_free(sol_teacher **t);
/* The matrix of the output head; memory of the teacher. */
const sol_stored *sol_teacher_head(const sol_teacher *t);

/* The k most probable next tokens of a batch. */
typedef struct sol_teacher_graph sol_teacher_graph;
/* d: uses top_k, which must be above 0, samples and temperature. compute: of products, SOL_F32 or
 * SOL_BF16. The teacher is borrowed until the graph is freed. The caller owns *g. */
sol_status sol_teacher_graph_create(sol_teacher_graph **g, sol_ctx *ctx, const sol_teacher *t,
                                    int64_t batch, int64_t seq, const sol_distill *d,
                                    sol_dtype compute, sol_err *err);
void sol_teacher_graph_free(sol_teacher_graph **g);
/* [B T] offsets of the systematic sampling of each token (sol_distill_start), 0 at first; the
 * caller fills them before a run. */
float *sol_teacher_graph_starts(sol_teacher_graph *g);
/* Takes the arrays of sol_graph_accumulate. *ids [B T, k]; *probs [B T, k + 2]: the probabilities
 * of these tokens and of all others together, at d's temperature, and of the target at temperature
 * 1 (0 where it is -1). Valid until the next run. */
void sol_teacher_graph_run(sol_teacher_graph *g, const int32_t *tokens, const int32_t *targets,
                           const int32_t *doc_start, const int32_t **ids, const float **probs);

#endif
