/* Perplexity of plain text, in windows and by words: encodes it and sums log-probabilities of a
 * network. */
#include "eval/plain_text.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"

/* What one pass over a text carries. */
typedef struct pass {
    sol_net *net;
    const sol_text_opts *o;
    sol_row *rows;    /* [context] */
    int32_t *targets; /* [context] */
    double *logprob;  /* [context] */
    double sum;       /* of -log p */
    int64_t counted, done, total;
} pass;

static void pass_free(pass *p)
{
    sol_free(p->rows);
    sol_free(p->targets);
    sol_free(p->logprob);
}

static sol_status pass_make(pass *p, sol_err *err)
{
    int64_t most = sol_net_config(p->net)->max_position_embeddings, context = p->o->context;
    if (context < 1 || context > most)
        return sol_fail(err, SOL_ERR_RANGE, "windows of %lld tokens were asked for: the model has a context of 1..%lld",
                        (long long)context, (long long)most);
    if (p->o->stride < 1 || p->o->stride > context)
        return sol_fail(err, SOL_ERR_RANGE, "a stride of %lld tokens: must lie in 1..%lld, the window", (long long)p->o->stride,
                        (long long)context);
    if (!sol_net_tokenizer(p->net))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "the model has no tokenizer, so that text cannot be read");
    SOL_TRY(sol_alloc_array((void **)&p->rows, (size_t)context, sizeof *p->rows, err));
    SOL_TRY(sol_alloc_array((void **)&p->targets, (size_t)context, sizeof *p->targets, err));
    return sol_alloc_array((void **)&p->logprob, (size_t)context, sizeof *p->logprob, err);
}

/* One window: inputs[n], of which the last `predicting` predict the token after them; `done` tokens are finished by it. */
static sol_status window(pass *p, const int32_t *inputs, int64_t n, const int32_t *targets, int64_t predicting, sol_err *err)
{
    sol_kv *kv;
    sol_status st = sol_kv_create(&kv, p->net, n, err);
    for (int64_t i = 0; st == SOL_OK && i < n; i++) {
        p->rows[i] = (sol_row){.kv = kv, .token = inputs[i]};
        p->targets[i] = i < n - predicting ? -1 : targets[i - (n - predicting)];
    }
    if (st == SOL_OK) st = sol_net_logprobs(p->net, p->rows, n, p->targets, p->logprob, err);
    for (int64_t i = n - predicting; st == SOL_OK && i < n; i++) p->sum -= p->logprob[i];
    sol_kv_free(&kv);
    p->counted += predicting;
    p->done += predicting;
    if (st == SOL_OK && p->o->watch.fn && !p->o->watch.fn(p->o->watch.user, p->done, p->total))
        return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return st;
}

static sol_status finish(const pass *p, double start, sol_text_result *r, sol_err *err)
{
    r->loss = p->sum / (double)p->counted;
    r->ppl = exp(r->loss);
    r->tokens = p->counted;
    r->seconds = sol_clock() - start;
    if (!isfinite(r->loss))
        return sol_fail(err, SOL_ERR_NONFINITE, "the loss is %s: the model's weights are broken", isnan(r->loss) ? "not a number" : "infinite");
    return SOL_OK;
}

sol_status sol_eval_text_windows(sol_net *net, const char *text, size_t n, const sol_text_opts *o, sol_text_result *r,
                                 sol_err *err)
{
    pass p = {.net = net, .o = o};
    sol_ids ids = {0};
    double start = sol_clock();
    *r = (sol_text_result){0};
    if (o->context == 1)
        return sol_fail(err, SOL_ERR_RANGE, "windows of 1 token predict nothing, since a window never predicts its own first: "
                        "at least 2 are needed");
    sol_status st = pass_make(&p, err);
    if (st == SOL_OK) st = sol_tokenizer_encode(sol_net_tokenizer(net), text, n, SOL_ENCODE_BOS, &ids, err);
    int64_t end = (int64_t)ids.n, seen = 0;
    if (st == SOL_OK && end < 2)
        st = sol_fail(err, SOL_ERR_SHAPE, "the text has %lld tokens: at least 2 are needed to predict one", (long long)end);
    if (o->stride == o->context && end > o->context) end = end / o->context * o->context;
    p.total = end;
    for (int64_t from = 0; st == SOL_OK && seen < end; from += o->stride) {
        int64_t to = sol_min_i64(from + o->context, end);
        int64_t first = seen > from + 1 ? seen : from + 1; /* the first token this window predicts */
        if (to > first) st = window(&p, ids.id + from, to - from - 1, ids.id + first, to - first, err);
        seen = to;
    }
    if (st == SOL_OK) st = finish(&p, start, r, err);
    pass_free(&p);
    sol_ids_free(&ids);
    return st;
}

/* Every token of ids[1..n) once; ids[0] is what the first one follows. */
static sol_status roll(pass *p, const int32_t *ids, int64_t n, sol_err *err)
{
    sol_status st = SOL_OK;
    int64_t context = p->o->context;
    for (int64_t done = 1; st == SOL_OK && done < n;) {
        int64_t to = sol_min_i64(done + context, n); /* predicts [done, to) */
        int64_t from = to - 1 - context > 0 ? to - 1 - context : 0;
        st = window(p, ids + from, to - 1 - from, ids + done, to - done, err);
        done = to;
    }
    return st;
}

/* The prefix token and the ids of one cleaned page. */
static sol_status encode_page(const sol_net *net, const char *page, size_t n, bool titled, sol_ids *ids, sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    const sol_tokenizer *t = sol_net_tokenizer(net);
    int64_t prefix = c->bos_token_id >= 0 ? c->bos_token_id : c->eos_token_id;
    sol_text clean = {0};
    ids->n = 0;
    if (prefix < 0) return sol_fail(err, SOL_ERR_UNSUPPORTED, "the model has neither BOS nor EOS to begin a text with");
    sol_status st = sol_grow_array((void **)&ids->id, &ids->capacity, 1, sizeof *ids->id, err);
    if (st != SOL_OK) return st;
    ids->id[ids->n++] = (int32_t)prefix;
    if (titled) st = sol_wikitext_clean(page, n, &clean, err);
    if (st == SOL_OK) st = sol_tokenizer_encode(t, titled ? clean.data : page, titled ? clean.n : n, 0, ids, err);
    sol_free(clean.data);
    return st;
}

sol_status sol_eval_text_words(sol_net *net, const char *text, size_t n, const sol_text_opts *o, sol_text_result *r, sol_err *err)
{
    pass p = {.net = net, .o = o};
    sol_ids ids = {0};
    double start = sol_clock();
    *r = (sol_text_result){.bytes = (int64_t)n};
    sol_status st = pass_make(&p, err);
    bool titled = sol_wikitext_titled(text, n);
    for (size_t at = 0; st == SOL_OK && at < n;) {
        size_t size = titled ? sol_wikitext_page(text + at, n - at) : n;
        st = encode_page(net, text + at, size, titled, &ids, err);
        /* Tokens in all are not known before the last page is encoded: bytes stand for them. */
        p.total = at + size < n ? p.done + (int64_t)ids.n + (int64_t)(n - at - size) / 4 : p.done + (int64_t)ids.n;
        if (st == SOL_OK) st = roll(&p, ids.id, (int64_t)ids.n, err);
        r->words += sol_count_words(text + at, size);
        r->pages++;
        at += size;
    }
    if (st == SOL_OK && p.counted == 0) st = sol_fail(err, SOL_ERR_SHAPE, "the text is empty: there is nothing to predict");
    if (st == SOL_OK) st = finish(&p, start, r, err);
    if (st == SOL_OK) {
        r->word_ppl = exp(p.sum / (double)r->words);
        r->byte_ppl = exp(p.sum / (double)r->bytes);
        r->bits_per_byte = p.sum / (double)r->bytes / log(2);
    }
    pass_free(&p);
    sol_ids_free(&ids);
    return st;
}
