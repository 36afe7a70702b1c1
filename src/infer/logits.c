/* The output head of inference, the last step of forward.c: logits of the selected rows, or
 * log-probabilities without a matrix of all logits. */
#include <math.h>

#include "base/num.h"
#include "infer/net.h"

/* Logits [first, first + width) of n rows, at distance ld. */
static void product(const sol_net *net, int64_t first, int64_t width, const float *x, int64_t n,
                    float *logits, int64_t ld)
{
    sol_matrix_matmul_rows(net->ctx, net->head, first, width, net->act, x, n, logits, ld,
                           net->scratch.kernel);
}

void net_head_logits(const sol_net *net, const float *x, int64_t n, float *logits)
{
    int64_t C = net->config.hidden_size, V = net->config.vocab_size;
    for (int64_t i = 0; i < n; i += HEAD_ROWS) {
        int64_t rows = sol_min_i64(n - i, HEAD_ROWS);
        for (int64_t first = 0; first < V; first += HEAD_COLS)
            product(net, first, sol_min_i64(V - first, HEAD_COLS), x + i * C, rows,
                    logits + i * V + first, V);
    }
}

/* What a row carries from run to run: the largest logit and the sum of exp(logit - max). */
typedef struct logprob_args {
    const sol_net *net;
    const int32_t *targets;
    int64_t first, width;
    double max[HEAD_ROWS], sum[HEAD_ROWS], logit[HEAD_ROWS];
} logprob_args;

static void logprob_tile(void *arg, int64_t r, int thread)
{
    logprob_args *a = arg;
    const float *logits = a->net->scratch.logits + r * a->width;
    int64_t t = a->targets[r] - a->first;
    float high;
    (void)thread;
    double sum = a->net->ctx->kernels.float_ops.sumexp(logits, a->width, &high),
           max = high > a->max[r] ? high : a->max[r];
    a->sum[r] = a->sum[r] * exp(a->max[r] - max) + sum * exp(high - max);
    a->max[r] = max;
    if (t >= 0 && t < a->width) a->logit[r] = logits[t];
}

void net_head_logprobs(const sol_net *net, const float *x, int64_t n, const int32_t *targets,
                       double *logprob)
{
    logprob_args a = {.net = net, .targets = targets};
    int64_t V = net->config.vocab_size;
    for (int64_t r = 0; r < n; r++) a.max[r] = -INFINITY;
    for (; a.first < V; a.first += a.width) {
        a.width = sol_min_i64(V - a.first, HEAD_COLS);
        product(net, a.first, a.width, x, n, net->scratch.logits, a.width);
        sol_pool_run(net->ctx->pool, n, logprob_tile, &a);
    }
    for (int64_t r = 0; r < n; r++) logprob[r] = a.logit[r] - (a.max[r] + log(a.sum[r]));
}
