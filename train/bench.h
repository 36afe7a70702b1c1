/* What the bench verb measures with. */
#ifndef SOLERA_TRAIN_BENCH_H
#define SOLERA_TRAIN_BENCH_H

#include "program.h"

/* A packed network of the shape `c` with random weights, and the seconds it took to bring them into
 * the kernels' layout. group_size as in sol_stored. The caller frees *net, then *packed, which it
 * stands on. */
sol_status sol_bench_random_net(sol_net **net, sol_packed_model *packed, sol_ctx *ctx,
                                const sol_model_config *c, int64_t group_size, sol_dtype embed_type,
                                const sol_net_opts *o, double *load_seconds, sol_err *err);

/* Memory read by all threads at once, each its own contiguous share: the best of several ways to
 * read it. */
typedef struct sol_bench_memory {
    uint8_t *data;
    size_t bytes;
} sol_bench_memory;
sol_status sol_bench_memory_create(sol_bench_memory *m, size_t bytes, sol_err *err);
void sol_bench_memory_free(sol_bench_memory *m);
double sol_bench_memory_rate(const sol_bench_memory *m,
                             const sol_ctx *ctx); /* bytes a second, once */

/* The ternary product alone, n tokens by a [rows, cols] matrix. */
typedef struct sol_bench_product {
    sol_matrix *m;
    float *x, *y;
    void *scratch;
    int64_t n;
} sol_bench_product;
sol_status sol_bench_product_create(sol_bench_product *b, const sol_ctx *ctx, int64_t rows,
                                    int64_t cols, int64_t group_size, int64_t n, sol_err *err);
void sol_bench_product_free(sol_bench_product *b);
double sol_bench_product_rate(const sol_bench_product *b,
                              const sol_ctx *ctx); /* multiplications a second, once */

#endif
