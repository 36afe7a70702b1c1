/* The bench of training: whole optimizer steps of a model of random weights, and in turns with them
 * the products of matrices of such a step alone. */
#ifndef SOLERA_TRAIN_BENCH_TRAIN_H
#define SOLERA_TRAIN_BENCH_TRAIN_H

#include "program.h"

#define SOL_BENCH_TEACHERS(ROW) \
    ROW(SOL_BENCH_TEACHER_NONE, "none") \
    ROW(SOL_BENCH_TEACHER_SELF, "self")   /* in memory in bf16 */ \
    ROW(SOL_BENCH_TEACHER_CACHE, "cache") /* with its 64 most probable tokens */
typedef enum { SOL_BENCH_TEACHERS(SOL_ENUM_CONSTANT) } sol_bench_teacher;

typedef struct sol_bench_train_opts {
    const char *shape; /* sol_model_config_named */
    int64_t batch, seq;
    double seconds;
    bool json;
    bool row;          /* print a row of the report instead (bench_report.h) */
    sol_dtype compute; /* SOL_F32 or SOL_BF16 */
    sol_dtype moments;
    sol_bench_teacher teacher; /* with one: steps with it and without, in turns */
} sol_bench_train_opts;

/* Measures and prints. */
sol_status sol_bench_train(sol_program *p, const sol_bench_train_opts *o, sol_err *err);

#endif
