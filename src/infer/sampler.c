/* Draws a token from logits: repetition penalty, temperature, top-k, top-p, min-p. generate.c
 * calls it after each forward pass. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/net.h"

typedef struct candidate {
    float p; /* not normalized: the largest is 1 */
    int32_t id;
} candidate;

size_t sol_sample_scratch_bytes(int64_t V)
{
    return (size_t)V * sizeof(candidate);
}

/* The negated comparisons also catch NaN. */
sol_status sol_sampler_check(const sol_sampler_config *c, sol_err *err)
{
    const struct {
        const char *name;
        float value, low, high;
    } rows[] = {
        {"temperature", c->temperature, 0.0f, 100.0f},
        {"top-p", c->top_p, 0.0f, 1.0f},
        {"min-p", c->min_p, 0.0f, 1.0f},
        {"repetition penalty", c->repetition_penalty, 0.01f, 100.0f},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!(rows[i].value >= rows[i].low && rows[i].value <= rows[i].high))
            return sol_fail(err, SOL_ERR_RANGE, "%s is %g: must lie in %g..%g", rows[i].name,
                            (double)rows[i].value, (double)rows[i].low, (double)rows[i].high);
    if (c->top_k < 0)
        return sol_fail(err, SOL_ERR_RANGE, "top-k is %lld: must not be negative",
                        (long long)c->top_k);
    return SOL_OK;
}

/* Each token of `recent` once. */
static void penalize(float penalty, float *logits, int64_t V, const int32_t *recent,
                     int64_t n_recent, uint8_t *seen)
{
    if (penalty == 1.0f || n_recent == 0) return;
    memset(seen, 0, (size_t)V);
    for (int64_t i = 0; i < n_recent; i++) {
        int32_t id = recent[i];
        if (id < 0 || id >= V || seen[id]) continue;
        seen[id] = 1;
        logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
}

static int32_t argmax(const float *logits, int64_t V)
{
    int64_t best = -1;
    for (int64_t i = 0; i < V; i++)
        if (best < 0 ? !isnan(logits[i]) : logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Most likely first, lower id first among equals: a total order, so that sorting has one result. */
static int more_likely(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void sift_down(candidate *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t least = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (more_likely(&heap[child], &heap[least]) > 0) least = child;
        if (least == i) return;
        candidate t = heap[i];
        heap[i] = heap[least];
        heap[least] = t;
        i = least;
    }
}

/* Moves the k most likely to the front; a heap with the least likely of them on top. */
static int64_t keep_top_k(candidate *c, int64_t n, int64_t k)
{
    if (k == 0 || k >= n) return n;
    for (int64_t i = k / 2; i-- > 0;) sift_down(c, k, i);
    for (int64_t i = k; i < n; i++)
        if (more_likely(&c[i], &c[0]) < 0) {
            c[0] = c[i];
            sift_down(c, k, 0);
        }
    return k;
}

static double mass(const candidate *c, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)c[i].p;
    return sum;
}

/* The shortest run of most likely candidates that holds top_p of the mass. */
static int64_t keep_top_p(candidate *c, int64_t n, float top_p)
{
    if (top_p >= 1.0f || n < 2) return n;
    double sum = mass(c, n), held = 0;
    /* All below this together hold less than 1 - top_p: they are never needed. */
    float floor_p = (float)(sum * (1.0 - (double)top_p) / (double)(n - 1) * 0.999);
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].p >= floor_p) c[m++] = c[i];
    qsort(c, (size_t)m, sizeof *c, more_likely);
    for (int64_t i = 0; i < m; i++) {
        held += (double)c[i].p;
        if (held >= (double)top_p * sum) return i + 1;
    }
    return m;
}

static int64_t keep_min_p(candidate *c, int64_t n, float min_p)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].p >= min_p) c[m++] = c[i]; /* the largest p is 1 */
    return m;
}

int32_t sol_sample(const sol_sampler_config *cfg, sol_rng *rng, float *logits, int64_t V,
                   const int32_t *recent, int64_t n_recent, void *scratch)
{
    candidate *c = scratch;
    penalize(cfg->repetition_penalty, logits, V, recent, n_recent, scratch);
    int32_t best = argmax(logits, V);
    if (cfg->temperature == 0.0f || best < 0 || isinf(logits[best])) return best;
    int64_t n = 0;
    float high = logits[best];
    for (int64_t i = 0; i < V; i++) {
        float p = expf((logits[i] - high) / cfg->temperature);
        if (p > 0) c[n++] = (candidate){p, (int32_t)i};
    }
    n = keep_top_k(c, n, cfg->top_k);
    n = keep_top_p(c, n, cfg->top_p);
    n = keep_min_p(c, n, cfg->min_p);
    double u = (double)(sol_rng_u64(rng) >> 11) * 0x1p-53 * mass(c, n);
    for (int64_t i = 0; i < n; i++) {
        u -= (double)c[i].p;
        if (u < 0) return c[i].id;
    }
    return c[n - 1].id;
}

/* ---- many sequences ---- */

typedef struct draw_args {
    const sol_net *net;
    sol_draw *draw;
    uint8_t *scratch; /* [threads, scratch_of_thread] */
} draw_args;

static size_t scratch_of_thread(const sol_net *net)
{
    return sol_round_up_size(sol_sample_scratch_bytes(net->config.vocab_size), 64);
}

size_t sol_net_draw_scratch_bytes(const sol_net *net)
{
    return (size_t)sol_pool_threads(net->ctx->pool) * scratch_of_thread(net);
}

static void draw_tile(void *arg, int64_t i, int thread)
{
    const draw_args *a = arg;
    sol_draw *d = &a->draw[i];
    sol_net_hide_missing(a->net, d->logits);
    d->id = sol_sample(d->sampler, d->rng, d->logits, a->net->config.vocab_size, d->recent,
                       d->n_recent, a->scratch + (size_t)thread * scratch_of_thread(a->net));
}

void sol_net_draw(const sol_net *net, sol_draw *d, int64_t n, void *scratch)
{
    draw_args a = {.net = net, .draw = d, .scratch = scratch};
    sol_pool_run(net->ctx->pool, n, draw_tile, &a);
}
