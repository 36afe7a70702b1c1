/* Measures inference in turns for the verb bench: one token after the other, many sequences at
 * once, prompts, the memory and the product alone. */
#include "bench_infer.h"

#include <math.h>

#include "base/mem.h"
#include "base/num.h"

enum { DECODE_TOKENS = 8, MIN_MEMORY = 256 << 20 };
static const double probe_seconds = 2;

/* Any tokens: which ones they are changes no time. */
static int32_t any_token(const sol_bench_infer *b, int64_t at)
{
    return (int32_t)(at * 7919 % sol_net_config(b->net)->vocab_size);
}

static sol_status feed(sol_bench_infer *b, int64_t n, sol_err *err)
{
    int64_t at = sol_kv_length(b->kv);
    for (int64_t i = 0; i < n; i++)
        b->rows[i] =
            (sol_row){.kv = b->kv, .token = any_token(b, at + i), .want_logits = i == n - 1};
    return sol_net_forward(b->net, b->rows, n, b->logits, err);
}

static sol_status measure_decode(sol_bench_infer *b, sol_err *err)
{
    sol_kv_truncate(b->kv, b->context);
    if (sol_kv_length(b->kv) < b->context) SOL_TRY(feed(b, b->context - sol_kv_length(b->kv), err));
    double from = sol_clock();
    for (int i = 0; i < DECODE_TOKENS; i++) SOL_TRY(feed(b, 1, err));
    sol_bench_series_add(&b->decode, DECODE_TOKENS / (sol_clock() - from));
    return SOL_OK;
}

/* From the beginning of each sequence. */
static sol_status measure_side_by_side(sol_bench_infer *b, sol_err *err)
{
    for (int64_t s = 0; s < b->at_once; s++) sol_kv_truncate(b->many[s], 0);
    double from = sol_clock();
    for (int i = 0; i < DECODE_TOKENS; i++) {
        for (int64_t s = 0; s < b->at_once; s++)
            b->rows[s] =
                (sol_row){.kv = b->many[s], .token = any_token(b, 31 * s + i), .want_logits = true};
        SOL_TRY(sol_net_forward(b->net, b->rows, b->at_once, b->logits, err));
    }
    sol_bench_series_add(&b->side_by_side,
                         DECODE_TOKENS * (double)b->at_once / (sol_clock() - from));
    return SOL_OK;
}

static sol_status measure_prefill(sol_bench_infer *b, int i, sol_err *err)
{
    sol_kv_truncate(b->kv, 0);
    double from = sol_clock();
    SOL_TRY(feed(b, b->prompt[i], err));
    sol_bench_series_add(&b->prefill[i], (double)b->prompt[i] / (sol_clock() - from));
    return SOL_OK;
}

sol_status sol_bench_infer_prepare(sol_bench_infer *b, sol_err *err)
{
    const sol_model_config *c = sol_net_config(b->net);
    int64_t positions = b->context + DECODE_TOKENS, n_logits = sol_max_i64(b->at_once, 1);
    for (int i = 0; i < b->n_prompts; i++) positions = sol_max_i64(positions, b->prompt[i]);
    SOL_TRY(sol_kv_create(&b->kv, b->net, positions, err));
    SOL_TRY(sol_alloc_array((void **)&b->rows, (size_t)sol_max_i64(positions, b->at_once),
                            sizeof *b->rows, err));
    SOL_TRY(sol_alloc_array((void **)&b->logits, (size_t)(n_logits * c->vocab_size),
                            sizeof *b->logits, err));
    if (b->at_once)
        SOL_TRY(sol_alloc_array((void **)&b->many, (size_t)b->at_once, sizeof *b->many, err));
    for (int64_t s = 0; s < b->at_once; s++)
        SOL_TRY(sol_kv_create(&b->many[s], b->net, DECODE_TOKENS, err));
    uint64_t bytes = sol_net_bytes_per_token(b->net);
    SOL_TRY(sol_bench_memory_create(&b->memory, bytes > MIN_MEMORY ? bytes : MIN_MEMORY, err));
    if (sol_net_kind_of(b->net) == SOL_NET_PACKED)
        SOL_TRY(sol_bench_product_create(&b->product, b->ctx, 1024, c->hidden_size, 0, 256, err));
    return SOL_OK;
}

void sol_bench_infer_free(sol_bench_infer *b)
{
    sol_bench_product_free(&b->product);
    sol_bench_memory_free(&b->memory);
    sol_kv_free(&b->kv);
    if (b->many)
        for (int64_t s = 0; s < b->at_once; s++) sol_kv_free(&b->many[s]);
    sol_free(b->many);
    sol_free(b->rows);
    sol_free(b->logits);
}

/* What the machine reaches at best. The rounds add to it. */
static void probe(sol_bench_infer *b, double at_most)
{
    b->bandwidth = sol_probe_begin(at_most);
    while (!sol_probe_settled(&b->bandwidth))
        sol_probe_add(&b->bandwidth, sol_bench_memory_rate(&b->memory, b->ctx));
    if (!b->product.m) return;
    b->product_rate = sol_probe_begin(at_most);
    while (!sol_probe_settled(&b->product_rate))
        sol_probe_add(&b->product_rate, sol_bench_product_rate(&b->product, b->ctx));
}

/* Kinds of measurements alternate, so that a slow moment of the machine meets all of them. */
sol_status sol_bench_infer_measure(sol_bench_infer *b, sol_program *p, double seconds, sol_err *err)
{
    SOL_TRY(feed(b, 1, err));
    probe(b, fmin(seconds, probe_seconds));
    double end = sol_clock() + seconds;
    for (int round = 0; round < 2 || sol_clock() < end; round++) {
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        sol_live_show(p, false, "bench: round %d", round + 1);
        sol_probe_add(&b->bandwidth, sol_bench_memory_rate(&b->memory, b->ctx));
        if (b->product.m)
            sol_probe_add(&b->product_rate, sol_bench_product_rate(&b->product, b->ctx));
        for (int i = 0; i < b->n_prompts; i++) SOL_TRY(measure_prefill(b, i, err));
        SOL_TRY(measure_decode(b, err));
        if (b->at_once) SOL_TRY(measure_side_by_side(b, err));
    }
    return SOL_OK;
}

/* ---- shares ---- */

/* Multiplications of one prefilled token in the linears. */
static double linear_weights(const sol_model_config *c)
{
    double attention =
        (double)((2 * c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim);
    return (double)c->num_hidden_layers * (double)c->hidden_size *
           (attention + 3 * (double)c->intermediate_size);
}

double sol_bench_infer_memory_share(sol_bench_infer *b)
{
    return sol_probe_share(sol_bench_series_median(&b->decode) *
                               (double)sol_net_bytes_per_token(b->net),
                           b->bandwidth.best);
}

double sol_bench_infer_product_share(sol_bench_infer *b, int i)
{
    return sol_probe_share(sol_bench_series_median(&b->prefill[i]) *
                               linear_weights(sol_net_config(b->net)),
                           b->product_rate.best);
}
