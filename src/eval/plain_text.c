/* Perplexity of plain text, in windows and by words: encodes the text and sums the
 * log-probabilities of a network. `solera eval --text` calls it. */
#include "eval/plain_text.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "eval/turns.h"

/* What one pass over a text carries. */
typedef struct pass {
    sol_net *net;
    const sol_text_opts *o;
    sol_row *rows;    /* [context] */
    int32_t *targets; /* [context] */
    double *logprob;  /* [context] */
    sol_turns turns;  /* a batch is a window */
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
    int64_t max = sol_net_config(p->net)->max_position_embeddings, context = p->o->context;
    if (context < 1 || context > max)
        return sol_fail(err, SOL_ERR_RANGE,
                        "windows of %lld tokens were asked for: the model has a context of 1..%lld",
                        (long long)context, (long long)max);
    if (p->o->stride < 1 || p->o->stride > context)
        return sol_fail(err, SOL_ERR_RANGE,
                        "a stride of %lld tokens: must lie in 1..%lld, the window",
                        (long long)p->o->stride, (long long)context);
    if (!sol_net_tokenizer(p->net))
        return sol_fail(err, SOL_ERR_FORMAT,
                        "the model has no tokenizer, so that text cannot be read");
    SOL_TRY(sol_alloc_array((void **)&p->rows, (size_t)context, sizeof *p->rows, err));
    SOL_TRY(sol_alloc_array((void **)&p->targets, (size_t)context, sizeof *p->targets, err));
    return sol_alloc_array((void **)&p->logprob, (size_t)context, sizeof *p->logprob, err);
}

static sol_status add_losses(void *user, const double *loss, size_t n, sol_err *err)
{
    pass *p = user;
    (void)err;
    for (size_t i = 0; i < n; i++) p->sum += loss[i];
    return SOL_OK;
}

/* loss[predicting]: -log p of targets, which the last rows of inputs [n] predict. */
static sol_status compute(pass *p, sol_kv *kv, const int32_t *inputs, int64_t n,
                          const int32_t *targets, int64_t predicting, double *loss, sol_err *err)
{
    int64_t first = n - predicting;
    for (int64_t i = 0; i < n; i++) {
        p->rows[i] = (sol_row){.kv = kv, .token = inputs[i]};
        p->targets[i] = i < first ? -1 : targets[i - first];
    }
    SOL_TRY(sol_net_logprobs(p->net, p->rows, n, p->targets, p->logprob, err));
    for (int64_t i = first; i < n; i++) loss[i - first] = -p->logprob[i];
    return SOL_OK;
}

/* Computes one window, where it is this rank's turn: inputs [n], the last `predicting` of which
 * predict targets [predicting]. */
static sol_status window(pass *p, const int32_t *inputs, int64_t n, const int32_t *targets,
                         int64_t predicting, sol_err *err)
{
    sol_kv *kv = NULL;
    double *loss;
    sol_status st = SOL_OK;
    bool mine = sol_turns_mine(&p->turns);
    SOL_TRY(sol_turns_begin(&p->turns, (size_t)predicting, &loss, err));
    if (mine) st = sol_kv_create(&kv, p->net, n, err);
    if (mine && st == SOL_OK) st = compute(p, kv, inputs, n, targets, predicting, loss, err);
    sol_kv_free(&kv);
    p->counted += predicting;
    p->done += predicting;
    if (st == SOL_OK && p->o->watch.fn && !p->o->watch.fn(p->o->watch.user, p->done, p->total))
        st = sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return sol_turns_done(&p->turns, st, err);
}

/* A pass by the ranks of o. */
static pass pass_of(sol_net *net, const sol_text_opts *o)
{
    return (pass){.net = net, .o = o, .turns = {.dist = o->dist, .take = add_losses}};
}

static sol_status finish(const pass *p, double start, sol_text_result *r, sol_err *err)
{
    r->loss = p->sum / (double)p->counted;
    r->ppl = exp(r->loss);
    r->tokens = p->counted;
    r->seconds = sol_clock() - start;
    if (!isfinite(r->loss))
        return sol_fail(err, SOL_ERR_NONFINITE, "the loss is %s: the model's weights are broken",
                        isnan(r->loss) ? "not a number" : "infinite");
    return SOL_OK;
}

/* Encodes the text into *ids, freed by the caller, and moves the window over it. */
static sol_status run_windows(pass *p, const char *text, size_t n, sol_ids *ids, sol_err *err)
{
    const sol_text_opts *o = p->o;
    SOL_TRY(pass_make(p, err));
    const sol_tokenizer *t = sol_net_tokenizer(p->net);
    int flags = sol_tokenizer_begin(t, text, n, o->special);
    SOL_TRY(sol_tokenizer_encode(t, text, n, flags, ids, err));
    int64_t end = (int64_t)ids->n, seen = 0;
    if (end < 2)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "the text has %lld tokens: at least 2 are needed to predict one",
                        (long long)end);
    if (o->stride == o->context && end > o->context) end = end / o->context * o->context;
    p->total = end;
    for (int64_t from = 0; seen < end; from += o->stride) {
        int64_t to = sol_min_i64(from + o->context, end);
        int64_t first = sol_max_i64(seen, from + 1); /* the first token that this window predicts */
        if (to > first)
            SOL_TRY(window(p, ids->id + from, to - from - 1, ids->id + first, to - first, err));
        seen = to;
    }
    return SOL_OK;
}

sol_status sol_eval_text_windows(sol_net *net, const char *text, size_t n, const sol_text_opts *o,
                                 sol_text_result *r, sol_err *err)
{
    pass p = pass_of(net, o);
    sol_ids ids = {0};
    double start = sol_clock();
    p.turns.user = &p;
    *r = (sol_text_result){0};
    if (o->context == 1)
        return sol_fail(
            err, SOL_ERR_RANGE,
            "windows of 1 token predict nothing, since a window never predicts its own first: "
            "at least 2 are needed");
    sol_status st = sol_turns_end(&p.turns, run_windows(&p, text, n, &ids, err), err);
    if (st == SOL_OK) st = finish(&p, start, r, err);
    pass_free(&p);
    sol_ids_free(&ids);
    return st;
}

/* Predicts every token of ids [1, n) once; ids[0] is what the first one follows. */
static sol_status roll(pass *p, const int32_t *ids, int64_t n, sol_err *err)
{
    int64_t context = p->o->context;
    for (int64_t done = 1, to; done < n; done = to) {
        to = sol_min_i64(done + context, n); /* the window predicts [done, to) */
        int64_t from = sol_max_i64(to - 1 - context, 0);
        SOL_TRY(window(p, ids + from, to - 1 - from, ids + done, to - done, err));
    }
    return SOL_OK;
}

/* The prefix token and the ids of one cleaned page. */
static sol_status encode_page(const sol_net *net, const char *page, size_t n, bool titled,
                              int flags, sol_ids *ids, sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    const sol_tokenizer *t = sol_net_tokenizer(net);
    int64_t prefix = c->bos_token_id >= 0 ? c->bos_token_id : c->eos_token_id;
    sol_text clean = {0};
    ids->n = 0;
    if (prefix < 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "the model has neither BOS nor EOS to begin a text with");
    sol_status st = sol_grow_array((void **)&ids->id, &ids->capacity, 1, sizeof *ids->id, err);
    if (st != SOL_OK) return st;
    ids->id[ids->n++] = (int32_t)prefix;
    if (titled) st = sol_wikitext_clean(page, n, &clean, err);
    if (st == SOL_OK)
        st = sol_tokenizer_encode(t, titled ? clean.data : page, titled ? clean.n : n, flags, ids,
                                  err);
    sol_free(clean.data);
    return st;
}

/* Scores page after page; ids is their workspace, freed by the caller. */
static sol_status run_pages(pass *p, const char *text, size_t n, sol_ids *ids, sol_text_result *r,
                            sol_err *err)
{
    bool titled = sol_wikitext_titled(text, n);
    SOL_TRY(pass_make(p, err));
    for (size_t at = 0, size; at < n; at += size) {
        size = titled ? sol_wikitext_page(text + at, n - at) : n;
        SOL_TRY(encode_page(p->net, text + at, size, titled, p->o->special ? SOL_ENCODE_SPECIAL : 0,
                            ids, err));
        /* The number of all tokens is not known before the last page is encoded: a token is taken
         * for 4 bytes of what is left. */
        p->total = p->done + (int64_t)ids->n + (int64_t)(n - at - size) / 4;
        SOL_TRY(roll(p, ids->id, (int64_t)ids->n, err));
        r->words += sol_count_words(text + at, size);
        r->pages++;
    }
    if (p->counted > 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_SHAPE, "the text is empty: there is nothing to predict");
}

sol_status sol_eval_text_words(sol_net *net, const char *text, size_t n, const sol_text_opts *o,
                               sol_text_result *r, sol_err *err)
{
    pass p = pass_of(net, o);
    sol_ids ids = {0};
    double start = sol_clock();
    p.turns.user = &p;
    *r = (sol_text_result){.bytes = (int64_t)n};
    sol_status st = sol_turns_end(&p.turns, run_pages(&p, text, n, &ids, r, err), err);
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
