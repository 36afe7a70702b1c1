/* Makes batches of windows of token streams, in file order or drawn at random, for the trainer, and
 * finds the documents in them. */
#include "text/batcher.h"

#include <math.h>

#include "base/rng.h"

int32_t sol_tokens_at(const sol_tokens *t, int64_t i)
{
    return t->width == 2 ? ((const uint16_t *)t->data)[i] : (int32_t)((const uint32_t *)t->data)[i];
}

static sol_status check_stream(const sol_tokens *t, int64_t seq, sol_err *err)
{
    if (t->width != 2 && t->width != 4)
        return sol_fail(err, SOL_ERR_FORMAT, "tokens of %d bytes: 2 or 4 are expected", t->width);
    if (seq < 1)
        return sol_fail(err, SOL_ERR_RANGE, "a sequence of %lld tokens: at least 1 is expected",
                        (long long)seq);
    if (t->n <= seq)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "the data holds %lld tokens: a window of %lld needs %lld", (long long)t->n,
                        (long long)seq, (long long)seq + 1);
    if (t->n_docs < 1 || t->doc_offsets[0] != 0 || t->doc_offsets[t->n_docs] != (uint64_t)t->n)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "document offsets do not run from 0 to the %lld tokens", (long long)t->n);
    for (int64_t i = 0; i < t->n_docs; i++)
        if (t->doc_offsets[i] > t->doc_offsets[i + 1])
            return sol_fail(err, SOL_ERR_FORMAT, "document %lld ends before it begins",
                            (long long)i);
    return SOL_OK;
}

enum { LONGEST_ROUND = 65536 };

/* Is a round of P draws one that has the weights exactly? Then shares are set. */
static bool try_round(const sol_mixture *m, double sum, int64_t P, int64_t share[SOL_MIX_MAX])
{
    int64_t left = P;
    for (int i = 0; i < m->n; i++) {
        double want = m->stream[i].weight / sum * (double)P;
        share[i] = (int64_t)round(want);
        left -= share[i];
        if (share[i] < 1 || fabs(want - round(want)) > 1e-9) return false;
    }
    return left == 0;
}

/* The longest round: shares rounded down, what is left one each to the largest remainders. */
static void fill_longest_round(const sol_mixture *m, double sum, int64_t share[SOL_MIX_MAX])
{
    double rest[SOL_MIX_MAX];
    int64_t left = LONGEST_ROUND;
    for (int i = 0; i < m->n; i++) {
        double want = m->stream[i].weight / sum * LONGEST_ROUND;
        share[i] = (int64_t)want;
        rest[i] = want - floor(want);
        left -= share[i];
    }
    for (; left > 0; left--) {
        int largest = 0;
        for (int i = 1; i < m->n; i++)
            if (rest[i] > rest[largest]) largest = i;
        share[largest]++;
        rest[largest] = -1;
    }
}

sol_status sol_mixture_shares(const sol_mixture *m, int64_t share[SOL_MIX_MAX], int64_t *round,
                              int *at, sol_err *err)
{
    double sum = 0;
    for (int i = 0; i < m->n; i++) {
        double w = m->stream[i].weight;
        *at = i;
        if (!(w > 0 && isfinite(w)))
            return sol_fail(err, SOL_ERR_RANGE, "the weight %g: above 0 is expected", w);
        sum += w;
    }
    for (int i = 0; i < m->n; i++) {
        *at = i;
        if (!(m->stream[i].weight / sum >= 1.0 / LONGEST_ROUND))
            return sol_fail(err, SOL_ERR_RANGE, "the weight %g is less than 1/%d of all weights",
                            m->stream[i].weight, LONGEST_ROUND);
    }
    for (*round = m->n; *round < LONGEST_ROUND; ++*round)
        if (try_round(m, sum, *round, share)) return SOL_OK;
    fill_longest_round(m, sum, share);
    return SOL_OK;
}

sol_status sol_batcher_init_mixed(sol_batcher *b, const sol_mixture *m, int64_t seq, uint64_t seed,
                                  sol_err *err)
{
    *b = (sol_batcher){.seq = seq, .seed = seed};
    for (int i = 0; i < m->n; i++) {
        b->n = i;
        SOL_TRY(check_stream(m->stream[i].tokens, seq, err));
        b->stream[i].tokens = m->stream[i].tokens;
        b->stream[i].first = b->windows;
        b->windows += (m->stream[i].tokens->n - 1) / seq;
    }
    int64_t share[SOL_MIX_MAX] = {0};
    SOL_TRY(sol_mixture_shares(m, share, &b->round, &b->n, err));
    for (int i = 0; i < m->n; i++) b->stream[i].share = share[i];
    b->n = m->n;
    return SOL_OK;
}

sol_status sol_batcher_init(sol_batcher *b, const sol_tokens *t, int64_t seq, uint64_t seed,
                            sol_err *err)
{
    sol_mixture one = {.n = 1, .stream = {{t, 1}}};
    return sol_batcher_init_mixed(b, &one, seq, seed, err);
}

int64_t sol_batcher_windows(const sol_batcher *b)
{
    return b->windows;
}

int64_t sol_batcher_stream_windows(const sol_batcher *b, int stream)
{
    int64_t end = stream + 1 < b->n ? b->stream[stream + 1].first : b->windows;
    return end - b->stream[stream].first;
}

int64_t sol_batcher_stream_epoch(const sol_batcher *b, int stream)
{
    return sol_batcher_stream_windows(b, stream) * b->round / b->stream[stream].share;
}

int sol_batcher_short_stream(const sol_batcher *b, int64_t draws)
{
    int64_t taken[SOL_MIX_MAX] = {0};
    for (int64_t i = 0; i < draws; i++) {
        int s = sol_batcher_stream(b, sol_batcher_index(b, (uint64_t)i));
        if (++taken[s] > sol_batcher_stream_windows(b, s)) return s;
    }
    return -1;
}

int sol_batcher_stream(const sol_batcher *b, int64_t window)
{
    int i = b->n - 1;
    while (b->stream[i].first > window) i--;
    return i;
}

/* The last document that begins at or before token `at`. */
static int64_t document_at(const sol_tokens *t, uint64_t at)
{
    int64_t lo = 0, hi = t->n_docs;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (t->doc_offsets[mid] <= at)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* The first answer that ends behind token `at`; n_answers: none does. */
static int64_t answer_behind(const sol_tokens *t, uint64_t at)
{
    int64_t lo = 0, hi = t->n_answers;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (t->answers[2 * mid + 1] > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Takes targets[i], which is token from + 1 + i, out of the loss where no answer holds it. */
static void keep_answers(const sol_tokens *t, uint64_t from, int64_t seq, int32_t *targets)
{
    int64_t answer = answer_behind(t, from + 1);
    for (int64_t i = 0; i < seq; i++) {
        uint64_t at = from + 1 + (uint64_t)i;
        if (answer < t->n_answers && t->answers[2 * answer + 1] <= at) answer++;
        if (answer == t->n_answers || at < t->answers[2 * answer]) targets[i] = -1;
    }
}

void sol_batcher_window(const sol_batcher *b, int64_t index, int32_t *inputs, int32_t *targets,
                        int32_t *doc_start)
{
    int stream = sol_batcher_stream(b, index);
    const sol_tokens *t = b->stream[stream].tokens;
    int64_t from = (index - b->stream[stream].first) * b->seq, start = 0;
    int64_t doc = document_at(t, (uint64_t)from);
    for (int64_t i = 0; i < b->seq; i++) {
        uint64_t next = (uint64_t)(from + i) + 1;
        inputs[i] = sol_tokens_at(t, from + i);
        targets[i] = sol_tokens_at(t, from + i + 1);
        doc_start[i] = (int32_t)start;
        if (t->doc_offsets[doc + 1] != next) continue;
        /* next < n: the window's last target is inside the data, so another document follows; empty
         * ones are skipped. */
        while (doc + 1 < t->n_docs && t->doc_offsets[doc + 1] == next) doc++;
        targets[i] = -1;
        start = i + 1;
    }
    if (b->answers_only) keep_answers(t, (uint64_t)from, b->seq, targets);
}

/* Place i of a round, permuted, belongs to the stream whose share holds it: so each place is at
 * once a stream and the number of a draw from it, without looking at the draws before. */
int64_t sol_batcher_index(const sol_batcher *b, uint64_t drawn)
{
    uint64_t length = (uint64_t)b->round, turn = drawn / length;
    int64_t place =
        (int64_t)sol_permute(b->seed, SOL_STREAM_MIX | turn << 8, length, drawn % length);
    int s = 0;
    while (place >= b->stream[s].share) place -= b->stream[s++].share;
    uint64_t draw = turn * (uint64_t)b->stream[s].share + (uint64_t)place,
             windows = (uint64_t)sol_batcher_stream_windows(b, s), epoch = draw / windows,
             order = SOL_STREAM_DATA | (epoch * (uint64_t)b->n + (uint64_t)s) << 8;
    return b->stream[s].first + (int64_t)sol_permute(b->seed, order, windows, draw % windows);
}

void sol_batcher_next(sol_batcher *b, int64_t batch, int32_t *inputs, int32_t *targets,
                      int32_t *doc_start)
{
    for (int64_t row = 0; row < batch; row++, b->drawn++) {
        int64_t at = row * b->seq;
        sol_batcher_window(b, sol_batcher_index(b, b->drawn), inputs + at, targets + at,
                           doc_start + at);
    }
}
