/* The teacher of a job: opened, checked against the student, its share in the loss measured. Used by train, plan and
 * distill-cache. */
#ifndef SOLERA_TRAIN_DISTILL_H
#define SOLERA_TRAIN_DISTILL_H

#include "job.h"

typedef struct sol_job_teacher {
    sol_teacher *teacher; /* NULL: none, or a cache stands for it */
    sol_distill loss;
    uint64_t digest; /* of the model in the teacher's file */
} sol_job_teacher;

static inline bool sol_job_has_teacher(const sol_config *c)
{
    return c->distill.teacher[0] != 0;
}

/* The file that the teacher is read from: distill.teacher, or for self model.init. */
const char *sol_job_teacher_path(const sol_config *c);

/* Its configuration, from the header of its file: as many tokens and positions as the job needs. */
sol_status sol_job_teacher_config(const sol_config *c, const sol_model_config *student, sol_model_config *teacher,
                                  sol_err *err);
/* Reads it and rounds it to distill.teacher_dtype. tokenizer: the student's. */
sol_status sol_job_teacher_open(const sol_ctx *ctx, const sol_config *c, const sol_model_config *student,
                                const sol_tokenizer *tokenizer, sol_job_teacher *t, sol_err *err);
void sol_job_teacher_close(sol_job_teacher *t);

/* Fills the fields of the graph's options. */
void sol_job_teacher_opts(const sol_config *c, const sol_job_teacher *t, sol_graph_opts *o);

/* The gamma of CAKLD: the teacher's mean probability of the next token over the first windows of the data
 * (SOL_GAMMA_WINDOWS at most), by the graph's own teacher. buffer: 3 [batch, seq]. */
enum { SOL_GAMMA_WINDOWS = 64 };
float sol_job_teacher_gamma(const sol_config *c, sol_graph *g, const sol_batcher *data, int32_t *buffer);

#endif
