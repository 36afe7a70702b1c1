/* Speed of the products. Each figure is the best of many short runs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "checkkern.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Cycles a second: a chain of dependent additions takes one each. */
static double clock_rate(void)
{
    enum { N = 2000000 };
    double best = 0;
    for (int i = 0; i < 20; i++) {
        double start = now();
        uint64_t x = 0;
        for (int64_t n = 0; n < N; n++) {
            x += 1;
            __asm__ volatile("" : "+r"(x));
        }
        double rate = N / (now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

typedef struct task {
    const sol_ctx *ctx;
    const sol_matrix *m;
    const float *x;
    float *y;
    void *scratch;
    int64_t n;
} task;

static double best_time(const task *k)
{
    double best = 1e9, end = now() + 0.3;
    while (now() < end) {
        double start = now();
        sol_matrix_matmul(k->ctx, k->m, SOL_ACT_INT8, k->x, k->n, k->y, k->scratch);
        double t = now() - start;
        best = t < best ? t : best;
    }
    return best;
}

static void report(const sol_ctx *ctx, const char *what, int64_t rows, int64_t cols, int64_t n,
                   size_t bytes, double t, double clock)
{
    double weights = (double)rows * (double)cols * (double)n;
    printf(
        "%-28s %-12s %6lld x %-5lld %4lld tokens %8.2f GB/s %8.1f weights/ns %7.4f cycles/weight\n",
        label(ctx), what, (long long)rows, (long long)cols, (long long)n, (double)bytes / t / 1e9,
        weights / t / 1e9, t * clock / weights);
    fflush(stdout);
}

static void bench_ternary(const sol_ctx *ctx, int64_t rows, int64_t cols, int64_t group, int64_t n,
                          double clock)
{
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    matrix m = random_matrix(rows, cols, group, SOL_LAYOUT_CONTIGUOUS, false, &rng);
    sol_matrix *t = prepare(ctx, &m, 1);
    task k = {.ctx = ctx,
              .m = t,
              .n = n,
              .x = get((size_t)(n * cols), 4),
              .y = get((size_t)(n * rows), 4)};
    k.scratch = get(sol_matrix_scratch_bytes(ctx, t, n), 1);
    char what[32];
    snprintf(what, sizeof what, "ternary/%lld", (long long)group);
    fill((float *)k.x, n * cols, NORMAL, &rng);
    report(ctx, what, rows, cols, n, sol_matrix_bytes(t), best_time(&k), clock);
    sol_free((void *)k.x);
    sol_free(k.y);
    sol_free(k.scratch);
    sol_matrix_free(&t);
    free_matrix(&m);
}

static void bench_dense(const sol_ctx *ctx, sol_dtype type, int64_t rows, int64_t cols, int64_t n,
                        double clock)
{
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    sol_matrix *d;
    uint8_t *data = get((size_t)rows, sol_dtype_row_bytes(type, cols));
    size_t n_scales = (size_t)(rows * sol_dtype_row_scales(type, cols));
    sol_f16 *scales = get(n_scales, sizeof *scales);
    for (size_t i = 0; i < (size_t)rows * sol_dtype_row_bytes(type, cols); i++)
        data[i] = type == SOL_F16 ? 0 : (uint8_t)sol_rng_u32(&rng);
    for (size_t i = 0; i < n_scales; i++) scales[i] = 0x2000;
    sol_stored src = {.type = type, .rows = rows, .cols = cols, .data = data, .scales = scales};
    REQUIRE_OK(sol_matrix_prepare(&d, ctx, &src, 1, NULL, NULL, err));
    task k = {.ctx = ctx,
              .m = d,
              .n = n,
              .x = get((size_t)(n * cols), 4),
              .y = get((size_t)(n * rows), 4)};
    k.scratch = get(sol_matrix_scratch_bytes(ctx, d, n), 1);
    fill((float *)k.x, n * cols, NORMAL, &rng);
    report(ctx, sol_dtype_name(type), rows, cols, n, sol_matrix_bytes(d), best_time(&k), clock);
    sol_free((void *)k.x);
    sol_free(k.y);
    sol_free(k.scratch);
    sol_matrix_free(&d);
    sol_free(data);
    sol_free(scales);
}

void bench(void)
{
    double clock = clock_rate();
    printf("clock %.2f GHz; one thread\n", clock / 1e9);
    for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx)) {
        static const int64_t tokens[] = {1, 4, 8, 32, 256};
        for (int i = 0; i < 5; i++) bench_ternary(ctx, 512, 2048, 128, tokens[i], clock);
        bench_ternary(ctx, 512, 2048, 0, 1, clock);
        bench_ternary(ctx, 512, 2048, 0, 256, clock);
        bench_ternary(ctx, 512, 2048, 32, 1, clock);
        bench_ternary(ctx, 512, 8192, 128, 1, clock);
        bench_ternary(ctx, 65536, 2048, 128, 1, clock); /* beyond the caches */
        for (int type = SOL_Q8; type <= SOL_Q4; type++)
            for (int64_t n = 1; n <= 32; n += 31)
                bench_dense(ctx, (sol_dtype)type, 512, 2048, n, clock);
        bench_dense(ctx, SOL_Q4, 65536, 2048, 1, clock);
    }
}
