/* The bench of inference: decoding, prefill, and what the machine reaches at best, measured in
 * turns.
 *
 *     sol_bench_infer b = {.ctx = ctx, .net = net, .prompt = {512}, .n_prompts = 1};
 *     st = sol_bench_infer_prepare(&b, err);
 *     if (st == SOL_OK) st = sol_bench_infer_measure(&b, program, 10, err);
 *     printf("%.1f tokens/s\n", sol_bench_series_median(&b.decode));
 *     sol_bench_infer_free(&b); */
#ifndef SOLERA_TRAIN_BENCH_INFER_H
#define SOLERA_TRAIN_BENCH_INFER_H

#include "bench.h"
#include "bench_series.h"
#include "probe.h"

enum { SOL_BENCH_PROMPTS = 3 };

typedef struct sol_bench_infer {
    sol_ctx *ctx; /* borrowed, as net */
    sol_net *net;
    int64_t prompt[SOL_BENCH_PROMPTS]; /* tokens of each prefill that is measured */
    int n_prompts;
    int64_t context; /* decoding begins behind so many positions */
    int64_t at_once; /* sequences that are decoded side by side, too; 0: not measured */
    sol_kv *kv;
    sol_kv **many; /* [at_once] */
    sol_row *rows; /* [the largest of prompts, context and at_once] */
    float *logits; /* [at_once or 1, V] */
    sol_bench_memory memory;
    sol_bench_product product;                                         /* of a packed net */
    sol_bench_series decode, side_by_side, prefill[SOL_BENCH_PROMPTS]; /* tokens/s */
    sol_probe bandwidth, product_rate; /* bytes/s, multiplications/s */
} sol_bench_infer;

/* Allocates what is measured with: caches, rows, logits, and for a packed net a product. The caller
 * sets the fields up to at_once before, and frees *b, also after a failure. */
sol_status sol_bench_infer_prepare(sol_bench_infer *b, sol_err *err);
/* For so many seconds, at least two rounds. SOL_ERR_INTERRUPTED. */
sol_status sol_bench_infer_measure(sol_bench_infer *b, sol_program *p, double seconds,
                                   sol_err *err);
void sol_bench_infer_free(sol_bench_infer *b); /* not the net */

/* Shares of what the machine reached in the same rounds, NaN where there is none: decoding of the
 * memory's rate, prompt i of the rate of the product alone. */
double sol_bench_infer_memory_share(sol_bench_infer *b);
double sol_bench_infer_product_share(sol_bench_infer *b, int i);

#endif
