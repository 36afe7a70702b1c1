/* Cross-entropy of token data: gathers windows, or their documents, into batches for the network,
 * which ranks compute in turns, and sums in file order. The trainer's evaluations and `solera eval
 * --data` call it. */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "eval/eval.h"
#include "eval/turns.h"

/* Rows are gathered from many windows, or documents, before they go through the network together.
 */
enum { GATHER_ROWS = 512 };

typedef struct gather {
    sol_net *net;
    const sol_eval_opts *o;
    int64_t capacity, n, n_kvs;
    sol_row *rows;    /* [capacity] */
    int32_t *targets; /* [capacity] */
    double *logprob;  /* [capacity] */
    sol_kv **kvs;     /* [capacity] one a stretch; none of a batch that another rank computes */
    sol_turns turns;
    int64_t done, total;
    double sum;
    int64_t counted;
} gather;

static void free_kvs(gather *g)
{
    while (g->n_kvs > 0) sol_kv_free(&g->kvs[--g->n_kvs]);
}

static void gather_free(gather *g)
{
    if (g->kvs) free_kvs(g);
    sol_free(g->rows);
    sol_free(g->targets);
    sol_free(g->logprob);
    sol_free(g->kvs);
}

static sol_status gather_make(gather *g, sol_err *err)
{
    g->capacity = g->o->windows.seq > GATHER_ROWS ? g->o->windows.seq : GATHER_ROWS;
    size_t n = (size_t)g->capacity;
    SOL_TRY(sol_alloc_array((void **)&g->rows, n, sizeof *g->rows, err));
    SOL_TRY(sol_alloc_array((void **)&g->targets, n, sizeof *g->targets, err));
    SOL_TRY(sol_alloc_array((void **)&g->logprob, n, sizeof *g->logprob, err));
    return sol_alloc_array((void **)&g->kvs, n, sizeof(sol_kv *), err);
}

/* The losses of the gathered rows that predict something, in order. */
static sol_status compute(gather *g, double *loss, sol_err *err)
{
    SOL_TRY(sol_net_logprobs(g->net, g->rows, g->n, g->targets, g->logprob, err));
    for (int64_t i = 0; i < g->n; i++)
        if (g->targets[i] >= 0) *loss++ = -g->logprob[i];
    return SOL_OK;
}

static sol_status add_losses(void *user, const double *loss, size_t n, sol_err *err)
{
    gather *g = user;
    (void)err;
    for (size_t i = 0; i < n; i++) g->sum += loss[i];
    g->counted += (int64_t)n;
    return SOL_OK;
}

/* Computes the gathered rows, where it is this rank's turn. On failure gather_free releases the
 * rest. */
static sol_status flush(gather *g, sol_err *err)
{
    double *loss;
    size_t predicts = 0;
    if (g->n == 0) return SOL_OK;
    for (int64_t i = 0; i < g->n; i++) predicts += g->targets[i] >= 0;
    bool mine = sol_turns_mine(&g->turns);
    SOL_TRY(sol_turns_begin(&g->turns, predicts, &loss, err));
    sol_status st = mine ? compute(g, loss, err) : SOL_OK;
    free_kvs(g);
    g->done += g->n;
    g->n = 0;
    if (st == SOL_OK && g->o->watch.fn && !g->o->watch.fn(g->o->watch.user, g->done, g->total))
        st = sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return sol_turns_done(&g->turns, st, err);
}

static sol_status take_token(const gather *g, const sol_tokens *t, int64_t i, int32_t *id,
                             sol_err *err)
{
    int64_t V = sol_net_config(g->net)->vocab_size;
    *id = sol_tokens_at(t, i);
    if ((uint32_t)*id < (uint64_t)V) return SOL_OK;
    return sol_fail(err, SOL_ERR_RANGE, "token %u at place %lld: the model's vocabulary is 0..%lld",
                    (uint32_t)*id, (long long)i, (long long)V - 1);
}

/* Tokens [from, to) as one stretch of attention; the token after each is its target, but for the
 * last when it is closed. */
static sol_status add_stretch(gather *g, const sol_tokens *t, int64_t from, int64_t to, bool closed,
                              sol_err *err)
{
    if (g->n + to - from > g->capacity) SOL_TRY(flush(g, err));
    sol_kv *kv = NULL;
    if (sol_turns_mine(&g->turns)) {
        SOL_TRY(sol_kv_create(&kv, g->net, to - from, err));
        g->kvs[g->n_kvs++] = kv;
    }
    for (int64_t i = from; i < to; i++, g->n++) {
        bool predicts = i + 1 < to || !closed;
        g->rows[g->n] = (sol_row){.kv = kv};
        g->targets[g->n] = -1;
        SOL_TRY(take_token(g, t, i, &g->rows[g->n].token, err));
        if (predicts) SOL_TRY(take_token(g, t, i + 1, &g->targets[g->n], err));
    }
    return SOL_OK;
}

/* Window [from, to), its documents apart. *doc: the document that `from` lies in, moved on. */
static sol_status add_apart(gather *g, const sol_tokens *t, int64_t from, int64_t to, int64_t *doc,
                            sol_err *err)
{
    while (from < to) {
        while ((int64_t)t->doc_offsets[*doc + 1] <= from) ++*doc;
        int64_t end = (int64_t)t->doc_offsets[*doc + 1], next = sol_min_i64(end, to);
        SOL_TRY(add_stretch(g, t, from, next, end <= to, err));
        from = next;
    }
    return SOL_OK;
}

/* All windows of the first `last` tokens. */
static sol_status add_windows(gather *g, const sol_tokens *t, int64_t last, sol_err *err)
{
    int64_t doc = 0, seq = g->o->windows.seq;
    for (int64_t from = 0; from < last; from += seq) {
        int64_t to = sol_min_i64(from + seq, last);
        SOL_TRY(g->o->windows.apart ? add_apart(g, t, from, to, &doc, err)
                                    : add_stretch(g, t, from, to, false, err));
    }
    return flush(g, err);
}

static sol_status check_data(const sol_net *net, const sol_tokens *t, const sol_eval_opts *o,
                             sol_err *err)
{
    const sol_tokenizer *tokenizer = sol_net_tokenizer(net);
    if (t->n < 2)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "the data holds %lld tokens: at least 2 are needed to predict one",
                        (long long)t->n);
    if (o->windows.seq < 1 || o->windows.seq > sol_net_config(net)->max_position_embeddings)
        return sol_fail(err, SOL_ERR_RANGE,
                        "windows of %lld tokens were asked for: the model has a context of 1..%lld",
                        (long long)o->windows.seq,
                        (long long)sol_net_config(net)->max_position_embeddings);
    if (tokenizer && t->tokenizer_hash && t->tokenizer_hash != sol_tokenizer_hash(tokenizer))
        return sol_fail(
            err, SOL_ERR_FORMAT,
            "the data was made with another tokenizer (%016llx) than the model's (%016llx)",
            (unsigned long long)t->tokenizer_hash,
            (unsigned long long)sol_tokenizer_hash(tokenizer));
    return SOL_OK;
}

static sol_status evaluate(gather *g, const sol_tokens *t, sol_err *err)
{
    const sol_windows *w = &g->o->windows;
    int64_t last = t->n - 1; /* the last token is a target alone */
    SOL_TRY(check_data(g->net, t, g->o, err));
    if (w->max > 0 && w->max <= last / w->seq) last = w->max * w->seq;
    g->total = last;
    SOL_TRY(gather_make(g, err));
    return add_windows(g, t, last, err);
}

sol_status sol_eval_windows(sol_net *net, const sol_tokens *t, const sol_eval_opts *o,
                            sol_eval_result *r, sol_err *err)
{
    gather g = {.net = net, .o = o};
    double start = sol_clock();
    g.turns = (sol_turns){.dist = o->dist, .take = add_losses, .user = &g};
    sol_status st = evaluate(&g, t, err);
    st = sol_turns_end(&g.turns, st, err);
    gather_free(&g);
    if (st != SOL_OK) return st;
    if (g.counted == 0)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "no document of the data holds 2 tokens: nothing to predict");
    double loss = g.sum / (double)g.counted;
    *r = (sol_eval_result){
        .loss = loss, .ppl = exp(loss), .tokens = g.counted, .seconds = sol_clock() - start};
    if (isfinite(loss)) return SOL_OK;
    return sol_fail(err, SOL_ERR_NONFINITE, "the loss is %s: the model's weights are broken",
                    isnan(loss) ? "not a number" : "infinite");
}
