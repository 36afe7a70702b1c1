/* Makes batches of windows of a token stream, in file order or drawn at random, for the trainer,
 * and finds the documents in them. */
#include "text/batcher.h"

#include <string.h>

#include "base/rng.h"

int32_t sol_tokens_at(const sol_tokens *t, int64_t i)
{
    return t->width == 2 ? ((const uint16_t *)t->data)[i] : (int32_t)((const uint32_t *)t->data)[i];
}

sol_status sol_batcher_init(sol_batcher *b, const sol_tokens *t, int64_t seq, uint64_t seed,
                            sol_err *err)
{
    *b = (sol_batcher){.tokens = t, .seq = seq, .seed = seed};
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

int64_t sol_batcher_windows(const sol_batcher *b)
{
    return (b->tokens->n - 1) / b->seq;
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
static void keep_answers(const sol_batcher *b, uint64_t from, int32_t *targets)
{
    const sol_tokens *t = b->tokens;
    int64_t answer = answer_behind(t, from + 1);
    for (int64_t i = 0; i < b->seq; i++) {
        uint64_t at = from + 1 + (uint64_t)i;
        if (answer < t->n_answers && t->answers[2 * answer + 1] <= at) answer++;
        if (answer == t->n_answers || at < t->answers[2 * answer]) targets[i] = -1;
    }
}

void sol_batcher_window(const sol_batcher *b, int64_t index, int32_t *inputs, int32_t *targets,
                        int32_t *doc_start)
{
    const sol_tokens *t = b->tokens;
    int64_t from = index * b->seq, start = 0;
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
    if (b->answers_only) keep_answers(b, (uint64_t)from, targets);
}

int64_t sol_batcher_index(const sol_batcher *b, uint64_t drawn)
{
    uint64_t windows = (uint64_t)sol_batcher_windows(b), epoch = drawn / windows;
    return (int64_t)sol_permute(b->seed, SOL_STREAM_DATA | epoch << 8, windows, drawn % windows);
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
