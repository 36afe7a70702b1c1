/* A teacher: a full-precision model that is only read, its matrices held in f32, bf16 or 8 bits (kernels/stored.h),
 * its norms in f32. And what it thinks of a batch, for a cache.
 *
 *     sol_teacher *t;
 *     st = sol_teacher_create(&t, ctx, model, SOL_STORED_BF16, err); // rounds; the model may go
 *     sol_graph_opts opts = {.batch = 1, .seq = 256, .teacher = t, .distill = &d}; // train_graph.h
 *
 * Its forward pass is recorded on the tape of the student: its activations are gone when those of the student begin. It shares no
 * weights with the student, also where it is the model as it was before the training: training moves every parameter, embedding and
 * norms too. */
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

/* m: f32. */
sol_status sol_teacher_create(sol_teacher **t, const sol_ctx *ctx, const sol_model *m, sol_stored_type type,
                              sol_err *err);
/* By parts: without weights, for plans; with room for them; rows [from, from + n) of parameter p of any table with
 * its names. */
sol_status sol_teacher_describe(sol_teacher **t, const sol_model_config *c, sol_stored_type type, sol_err *err);
sol_status sol_teacher_allocate(sol_teacher *t, sol_err *err);
void sol_teacher_fill(sol_teacher *t, const sol_ctx *ctx, const sol_param *p, int64_t from, int64_t n,
                      const float *rows);
void sol_teacher_free(sol_teacher **t);
/* p: of t->table. */
const sol_stored *sol_teacher_param(const sol_teacher *t, const sol_param *p);
const sol_stored *sol_teacher_head(const sol_teacher *t);

/* The k most probable next tokens of a batch. */
typedef struct sol_teacher_graph sol_teacher_graph;
/* d: top_k > 0 and temperature; compute: SOL_F32 or SOL_BF16, of the products; the teacher must outlive the graph. */
sol_status sol_teacher_graph_create(sol_teacher_graph **g, sol_ctx *ctx, const sol_teacher *t, int64_t batch,
                                    int64_t seq, const sol_distill *d, sol_dtype compute, sol_err *err);
void sol_teacher_graph_free(sol_teacher_graph **g);
/* [B T], zeros at first: where the drawing of each token's samples begins (sol_distill_start), to be filled before a run. */
float *sol_teacher_graph_starts(sol_teacher_graph *g);
/* Arrays as in sol_graph_accumulate. *ids [B T, k], *probs [B T, k + 2]: their probabilities at d's temperature, the
 * rest, and the probability of the target at temperature 1 (0 where it is -1). They live until the next run. */
void sol_teacher_graph_run(sol_teacher_graph *g, const int32_t *tokens, const int32_t *targets,
                           const int32_t *doc_start,
                           const int32_t **ids, const float **probs);

#endif
