/* Rounds the inputs of linear layers as llama.cpp does, for comparisons with it. forward.c calls
 * it before each product. */
#include <math.h>

#include "base/half.h"
#include "base/num.h"
#include "infer/net.h"

#define TINY 0x1p-100f /* a block below it becomes zeros */

/* ggml's quantize_row_q8_0 as its vector forms have it: d = max|x| / 127, stored in fp16; q =
 * round_to_even(x * (127 / max|x|)). */
static void round_q8_0(float *x, int64_t n)
{
    float max = 0;
    for (int64_t i = 0; i < n; i++) max = fmaxf(max, fabsf(x[i]));
    float inverse = max < TINY ? 0 : 127.0f / max, d = sol_f16_to_f32(sol_f32_to_f16(max / 127.0f));
    for (int64_t i = 0; i < n; i++) x[i] = rintf(x[i] * inverse) * d;
}

/* ggml's quantize_row_q8_K: of the first x of the largest magnitude, m: s = -127 / m, q = min(127,
 * round_to_even(s * x)), x = q * (1 / s). */
static void round_q8_k(float *x, int64_t n)
{
    float m = 0;
    for (int64_t i = 0; i < n; i++) m = fabsf(x[i]) > fabsf(m) ? x[i] : m;
    float s = -127.0f / m, d = 1.0f / s;
    for (int64_t i = 0; i < n; i++) x[i] = fabsf(m) < TINY ? 0 : fminf(127, rintf(s * x[i])) * d;
}

typedef struct rule {
    void (*round)(float *x, int64_t n); /* NULL: none */
    int64_t block;
} rule;

static const rule rules[] = {
    [SOL_ACTIVATIONS_Q8_0] = {round_q8_0, 32}, [SOL_ACTIVATIONS_Q8_K] = {round_q8_k, 256}};

typedef struct round_args {
    const rule *rule;
    int64_t cols;
    float *x;
} round_args;

static void round_row(void *arg, int64_t r, int thread)
{
    const round_args *a = arg;
    int64_t block = a->rule->block;
    (void)thread;
    for (int64_t i = 0; i < a->cols; i += block)
        a->rule->round(a->x + r * a->cols + i, sol_min_i64(a->cols - i, block));
}

void net_round_activations(const sol_net *net, float *x, int64_t n, int64_t cols)
{
    round_args a = {.rule = &rules[net->activations], .cols = cols, .x = x};
    if (a.rule->round) sol_pool_run(net->ctx->pool, n, round_row, &a);
}
