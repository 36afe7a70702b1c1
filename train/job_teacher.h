/* The teacher of a job: in memory or as a cache, checked against the student and its data. Shared
 * by the verbs train, plan and distill-cache. */
#ifndef SOLERA_TRAIN_JOB_TEACHER_H
#define SOLERA_TRAIN_JOB_TEACHER_H

#include "job_data.h"

typedef struct sol_job_teacher {
    sol_teacher *teacher;     /* NULL: none, or a cache stands for it */
    sol_teacher_cache *cache; /* NULL: none */
    sol_distill loss;         /* top_k > 0 with a cache */
    uint64_t digest;          /* of the model in the teacher's file */
    uint64_t cache_digest;    /* of what the cache says of its first window; 0: none */
} sol_job_teacher;

static inline bool sol_job_has_teacher(const sol_config *c)
{
    return c->distill.teacher[0] != 0;
}

/* The file that the teacher is read from: distill.teacher, or for self model.init. */
const char *sol_job_teacher_path(const sol_config *c);

/* What it must fit. */
typedef struct sol_job_student {
    const sol_model_config *config;
    const sol_tokenizer *tokenizer;
    const sol_job_data *data;
} sol_job_student;

/* For training: with distill.cache that file, which must be complete, else the teacher, rounded to
 * distill.teacher_dtype. */
sol_status sol_job_teacher_open(sol_program *p, const sol_config *c, const sol_job_student *s,
                                sol_job_teacher *t, sol_err *err);
/* For making a cache: the teacher, and the file to go on with, new where there is none. */
sol_status sol_job_teacher_open_maker(sol_program *p, const sol_config *c, const sol_job_student *s,
                                      sol_job_teacher *t, sol_err *err);
/* For a plan: the same without weights. s->data NULL: it is not known yet, and a cache is not
 * compared with it. */
sol_status sol_job_teacher_describe(const sol_config *c, const sol_job_student *s,
                                    sol_job_teacher *t, sol_err *err);
void sol_job_teacher_close(sol_job_teacher *t);

/* Fills the fields of the graph's options. */
void sol_job_teacher_opts(const sol_config *c, const sol_job_teacher *t, sol_graph_opts *o);

/* start [seq]: where the drawing of samples begins for the tokens of a window, by run.seed and
 * their places in the data. */
void sol_job_teacher_starts(const sol_batcher *b, int64_t window, float *start);
/* What a micro-batch of `rows` windows needs of the teacher beside its tokens, its first window
 * being draw number `drawn` of the batcher: with a cache the teacher's tokens, else where the
 * drawing of samples begins. */
sol_status sol_job_teacher_feed(const sol_config *c, sol_job_teacher *t, sol_graph *g,
                                const sol_batcher *b, uint64_t drawn, int64_t rows, sol_err *err);

/* The gamma of CAKLD: the teacher's mean probability of the next token over the first windows of
 * the data (SOL_GAMMA_WINDOWS at most), by the graph's own teacher or from the cache. rows: windows
 * of a micro-batch of the graph; buffer: 3 [rows, seq]. */
enum { SOL_GAMMA_WINDOWS = 64 };
sol_status sol_job_teacher_gamma(sol_job_teacher *t, sol_graph *g, const sol_batcher *data,
                                 int64_t rows, int32_t *buffer, sol_err *err);

#endif
