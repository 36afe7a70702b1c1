/* The losses of distillation for one token, and the selection of a teacher's tokens for a cache.
 * Called by op_distill_loss.c and op_teacher_top.c for every row of logits that head.c makes;
 * the sums over the vocabulary are kernels. */
#include "autograd/distill_row.h"

#include <math.h>

#include "base/num.h"
#include "base/rng.h"

enum { BLOCKS = 256 };               /* that a vocabulary is cut into to be drawn from */
static const double LEAST = 0x1p-24; /* probability in logarithms and quotients (distill.h) */

typedef struct mix {
    double forward, reverse; /* shares of the two divergences */
} mix;

static mix mix_of(const sol_distill *d)
{
    if (d->kind == SOL_DISTILL_FORWARD_KL) return (mix){1, 0};
    if (d->kind == SOL_DISTILL_REVERSE_KL) return (mix){0, 1};
    return (mix){1 - (double)d->gamma, d->gamma};
}

/* ln sum exp(z) at T = 1, which is `scaled` where T is 1. */
static float plain_lse(const sol_train_ops *ops, const float *z, int64_t V, float scale,
                       float scaled)
{
    return scale == 1 ? scaled : ops->log_sum_exp(z, V, 1);
}

static float total(sol_distill_row *r, double divergence, float ce)
{
    float t2 = r->d->temperature * r->d->temperature;
    r->part[SOL_PART_NEXT_TOKEN] = ce;
    r->part[SOL_PART_DISTILL] = (float)(t2 * divergence);
    return r->d->weight * r->part[SOL_PART_DISTILL] + r->d->ce_weight * ce;
}

float sol_distill_row_full(sol_distill_row *r, float *z, const float *t)
{
    const sol_distill *d = r->d;
    float scale = 1 / d->temperature;
    sol_kl_row row = {.z = z, .t = t, .scale = scale};
    double kl[2];
    mix m = mix_of(d);
    row.lse_z = r->ops->log_sum_exp(z, r->V, scale);
    row.lse_t = r->ops->log_sum_exp(t, r->V, scale);
    float lse_1 = plain_lse(r->ops, z, r->V, scale, row.lse_z);
    r->ops->kl(&row, r->V, kl);
    r->part[SOL_PART_TEACHER] = expf(t[r->target] - plain_lse(r->ops, t, r->V, scale, row.lse_t));
    float loss = total(r, m.forward * kl[0] + m.reverse * kl[1], lse_1 - z[r->target]);
    if (!r->dloss) return loss;
    /* dz = dloss (weight T (forward (q - p) + reverse q (ln(q / p) - R)) + ce_weight (softmax(z) -
     * onehot)) */
    double g = *r->dloss, soft = g * d->weight * d->temperature;
    float ce = (float)(g * d->ce_weight);
    sol_distill_grad grad = {
        .row = row,
        .lse_1 = lse_1,
        .ce = scale == 1 ? 0 : ce,
        .q = (float)(soft * (m.forward - m.reverse * kl[1]) + (scale == 1 ? ce : 0)),
        .p = (float)(-soft * m.forward),
        .log = (float)(soft * m.reverse)};
    r->ops->distill_grad(&grad, r->V, z);
    z[r->target] -= ce;
    return loss;
}

static double at_least(double x)
{
    return x > LEAST ? x : LEAST;
}

/* One event of the two divergences, with the logarithm of its q; NaN shows. */
static double add_event(double p, double q, double log_q, double kl[2])
{
    double ratio = log_q - log(at_least(p));
    kl[0] -= p * ratio;
    kl[1] += q * ratio;
    return ratio;
}

/* sum ln(p / q) of n tokens. */
static double drawn_ratios(const float *z, float scale, float lse, const int32_t *ids,
                           const float *probs, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += log(at_least(probs[i])) - ((double)z[ids[i]] * scale - lse);
    return sum;
}

float sol_distill_row_top(sol_distill_row *r, float *z, int64_t k, const int32_t *ids,
                          const float *probs, float *dz)
{
    const sol_distill *d = r->d;
    float scale = 1 / d->temperature, lse = r->ops->log_sum_exp(z, r->V, scale);
    float lse_1 = plain_lse(r->ops, z, r->V, scale, lse);
    int64_t samples = sol_distill_samples(d, r->V), top = k - samples;
    double q_rest = 1, kl[2] = {0, 0}, share = samples ? probs[k] / (double)samples : 0;
    mix m = mix_of(d);
    for (int64_t i = 0; i < top; i++) {
        double log_q = (double)z[ids[i]] * scale - lse, q = exp(log_q);
        q_rest -= q;
        dz[i] =
            (float)(m.forward * (q - probs[i]) + m.reverse * q * add_event(probs[i], q, log_q, kl));
    }
    if (q_rest < 0) q_rest = 0;
    double known = kl[0], ratio = add_event(probs[k], q_rest, log(at_least(q_rest)), kl);
    if (samples)
        kl[0] = known + share * drawn_ratios(z, scale, lse, ids + top, probs + top, samples);
    float loss = total(r, m.forward * kl[0] + m.reverse * kl[1], lse_1 - z[r->target]);
    if (!r->dloss) return loss;
    double g = *r->dloss, soft = g * d->weight * d->temperature;
    float ce = (float)(g * d->ce_weight);
    for (int64_t i = 0; i < top; i++) {
        double q = exp((double)z[ids[i]] * scale - lse),
               q_1 = scale == 1 ? q : exp((double)z[ids[i]] - lse_1);
        dz[i] = (float)(soft * (dz[i] - m.reverse * q * kl[1]) + ce * q_1);
    }
    double away =
        m.forward * (samples ? 1 : 1 - probs[k] / at_least(q_rest)) + m.reverse * (ratio - kl[1]);
    sol_distill_grad grad = {.row = {.z = z, .scale = scale, .lse_z = lse},
                             .lse_1 = lse_1,
                             .ce = scale == 1 ? 0 : ce,
                             .q = (float)(soft * away + (scale == 1 ? ce : 0))};
    r->ops->distill_grad(&grad, r->V, z);
    for (int64_t i = 0; i < top; i++) z[ids[i]] = dz[i];
    for (int64_t i = top; i < k; i++)
        z[ids[i]] -= (float)(soft * m.forward * share); /* one may be drawn twice */
    z[r->target] -= ce;
    return loss;
}

/* Does element a come after element b in the order of sol_top_k? */
static bool comes_after(const float *x, int32_t a, int32_t b)
{
    return x[a] < x[b] || (x[a] == x[b] && a > b);
}

/* heap[0, n) holds at its top the element that comes last. */
static void sift(const float *x, int32_t *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t next = 2 * i + 1;
        if (next >= n) return;
        if (next + 1 < n && comes_after(x, heap[next + 1], heap[next])) next++;
        if (!comes_after(x, heap[next], heap[i])) return;
        int32_t swap = heap[i];
        heap[i] = heap[next];
        heap[next] = swap;
        i = next;
    }
}

void sol_top_k(const float *x, int64_t n, int64_t k, int32_t *index)
{
    for (int64_t i = 0; i < k; i++) index[i] = (int32_t)i;
    for (int64_t i = k / 2 - 1; i >= 0; i--) sift(x, index, k, i);
    for (int64_t i = k; i < n; i++) {
        if (!(x[i] > x[index[0]])) continue; /* an equal one comes after */
        index[0] = (int32_t)i;
        sift(x, index, k, 0);
    }
    for (int64_t m = k - 1; m > 0; m--) {
        int32_t last = index[0];
        index[0] = index[m];
        index[m] = last;
        sift(x, index, m, 0);
    }
}

/* A teacher's logits, and the order of sol_top_k up to the last of its most probable tokens. */
typedef struct tail {
    const float *t;
    int64_t V;
    float scale, lse;
    int32_t last;
} tail;

static bool in_tail(const tail *a, int64_t v)
{
    return comes_after(a->t, (int32_t)v, a->last);
}

static double mass_of(const tail *a, int64_t v)
{
    return exp((double)a->t[v] * a->scale - a->lse);
}

/* The probability of the tail in each of the blocks of `size` tokens; returns the sum. */
static double block_masses(const sol_train_ops *ops, const tail *a, const int32_t *top,
                           int64_t n_top, int64_t size, double mass[BLOCKS])
{
    double sum = 0;
    for (int64_t b = 0; b < BLOCKS; b++) {
        int64_t from = b * size, n = sol_min_i64(a->V - from, size);
        mass[b] = n > 0 ? exp((double)ops->log_sum_exp(a->t + from, n, a->scale) - a->lse) : 0;
    }
    for (int64_t i = 0; i < n_top; i++) mass[top[i] / size] -= mass_of(a, top[i]);
    for (int b = 0; b < BLOCKS; b++) {
        if (!(mass[b] > 0)) mass[b] = 0; /* rounding */
        sum += mass[b];
    }
    return sum;
}

float sol_distill_start(uint64_t seed, uint64_t position)
{
    uint32_t word[4];
    sol_philox4x32(seed, SOL_STREAM_TEACHER, position, word);
    return (float)(word[0] >> 8) * 0x1p-24f;
}

/* Systematic sampling: n points at equal distances in the tail's mass, the first one `start` of a
 * distance from its beginning. */
static void draw(const sol_train_ops *ops, const tail *a, float start, const int32_t *top,
                 int64_t n_top, int64_t n, int32_t *out)
{
    double mass[BLOCKS], before = 0, inside = 0;
    int64_t size = sol_ceil_div(a->V, BLOCKS), b = 0, v = 0, found = -1;
    double step = block_masses(ops, a, top, n_top, size, mass) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double at = ((double)i + (double)start) * step;
        while (b < BLOCKS - 1 && before + mass[b] <= at) {
            before += mass[b++];
            inside = 0;
            v = b * size;
        }
        for (int64_t end = sol_min_i64((b + 1) * size, a->V); v < end && before + inside <= at;
             v++) {
            if (!in_tail(a, v)) continue;
            inside += mass_of(a, v);
            found = v;
        }
        /* Nothing but rounding was left in the block; the last token where logits are NaN, which no
         * comparison finds. */
        for (int64_t w = 0; found < 0; w++)
            if (in_tail(a, w) || w == a->V - 1) found = w;
        out[i] = (int32_t)found;
    }
}

float sol_distill_row_select(const sol_train_ops *ops, const float *t, int64_t V,
                             const sol_distill *d, float start, int32_t target, int32_t *ids,
                             float *probs)
{
    int64_t k = d->top_k, samples = sol_distill_samples(d, V), top = k - samples;
    float scale = 1 / d->temperature, lse = ops->log_sum_exp(t, V, scale);
    double rest = 1;
    sol_top_k(t, V, top, ids);
    tail a = {t, V, scale, lse, ids[top - 1]};
    if (samples) draw(ops, &a, start, ids, top, samples, ids + top);
    for (int64_t i = 0; i < k; i++) {
        double p = mass_of(&a, ids[i]);
        probs[i] = (float)p;
        if (i < top) rest -= p;
    }
    probs[k] = rest < 0 || k == V ? 0 : (float)rest;
    return target < 0 ? 0 : expf(t[target] - plain_lse(ops, t, V, scale, lse));
}
