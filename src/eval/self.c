/* Samples text from a model as its own training data: many documents at a time, each a sequence
 * of one forward batch. The trainer calls it before the first step. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "eval/eval.h"

/* Documents that are sampled side by side: the rate of products grows no more, and the caches of a
 * small model still lie in the processor's. */
enum { SLOTS = 32 };

/* New tokens after which the finished documents are kept, at the latest. */
enum { KEEP_TOKENS = 8192 };

typedef struct document {
    int32_t *ids; /* owned */
    size_t n, capacity;
} document;

typedef struct slot {
    int64_t doc; /* -1: idle */
    sol_kv *kv;
    sol_rng rng;
} slot;

typedef struct sampling {
    sol_net *net;
    const sol_self_opts *o;
    int32_t begin; /* BOS, or EOS where there is none */
    sol_sampler_config sampler;
    slot slot[SLOTS];
    document *docs; /* [n_docs] in order */
    size_t n_docs, cap_docs;
    int64_t sampled;        /* tokens in all documents, finished or not */
    int64_t n_ended, ended; /* documents that are finished, tokens in them */
    size_t n_first;         /* the first documents, as far as all are finished */
    int64_t first;          /* tokens in them */
    int64_t kept;           /* of which o->keep knows */
    float *logits;          /* [SLOTS, V] */
    void *scratch;
} sampling;

void sol_self_data_free(sol_self_data *d)
{
    sol_free(d->ids16);
    sol_free(d->ids32);
    sol_free(d->doc_offsets);
    *d = (sol_self_data){0};
}

static sol_status append(sampling *s, document *d, int32_t id, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&d->ids, &d->capacity, d->n + 1, sizeof *d->ids, err));
    d->ids[d->n++] = id;
    s->sampled++;
    return SOL_OK;
}

/* Whether one more document is needed: those at work are taken to become as long as the finished
 * ones are in the mean. A guess that is too long costs time alone: another one is begun later. */
static bool needs_more(const sampling *s)
{
    int64_t at_work = (int64_t)s->n_docs - s->n_ended;
    double mean = s->n_ended ? (double)s->ended / (double)s->n_ended : (double)s->o->max_len;
    return (double)s->ended + (double)at_work * mean < (double)s->o->n_tokens;
}

/* Puts the next document into an idle slot. */
static sol_status begin_document(sampling *s, slot *x, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&s->docs, &s->cap_docs, s->n_docs + 1, sizeof *s->docs, err));
    s->docs[s->n_docs] = (document){0};
    x->doc = (int64_t)s->n_docs++;
    x->rng = sol_rng_make(s->o->seed, SOL_STREAM_SELF + ((uint64_t)x->doc << 8));
    if (x->kv)
        sol_kv_truncate(x->kv, 0);
    else
        SOL_TRY(sol_kv_create(&x->kv, s->net, s->o->max_len, err));
    return append(s, &s->docs[x->doc], s->begin, err);
}

/* What was drawn for x goes into its document, or ends it. */
static sol_status take(sampling *s, slot *x, int32_t id, sol_err *err)
{
    document *d = &s->docs[x->doc];
    if (id < 0)
        return sol_fail(err, SOL_ERR_NONFINITE,
                        "the model gives no number for a token: its weights are broken");
    bool ends = sol_model_is_eos(sol_net_config(s->net), id);
    if (id != s->begin || ends) SOL_TRY(append(s, d, id, err));
    if (id != s->begin && !ends && (int64_t)d->n < s->o->max_len) return SOL_OK;
    x->doc = -1;
    s->n_ended++;
    s->ended += (int64_t)d->n;
    return SOL_OK;
}

/* Samples one token for every busy slot, after idle ones have begun the next documents. */
static sol_status step(sampling *s, sol_err *err)
{
    int64_t V = sol_net_config(s->net)->vocab_size, n = 0;
    sol_row rows[SLOTS];
    sol_draw draw[SLOTS];
    slot *busy[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        slot *x = &s->slot[i];
        if (x->doc < 0 && needs_more(s)) SOL_TRY(begin_document(s, x, err));
        if (x->doc < 0) continue;
        const document *d = &s->docs[x->doc];
        rows[n] = (sol_row){.kv = x->kv, .token = d->ids[d->n - 1], .want_logits = true};
        draw[n] = (sol_draw){.sampler = &s->sampler, .rng = &x->rng, .logits = s->logits + n * V};
        busy[n++] = x;
    }
    SOL_TRY(sol_net_forward(s->net, rows, n, s->logits, err));
    sol_net_draw(s->net, draw, n, s->scratch);
    for (int64_t i = 0; i < n; i++) SOL_TRY(take(s, busy[i], draw[i].id, err));
    return SOL_OK;
}

/* The first of the finished documents that hold n_tokens together, or all of them, joined. */
static sol_status join(const sampling *s, sol_self_data *out, sol_err *err)
{
    int64_t V = sol_net_config(s->net)->vocab_size, n = 0;
    const sol_tokenizer *t = sol_net_tokenizer(s->net);
    size_t docs = 0;
    while (docs < s->n_first && n < s->o->n_tokens) n += (int64_t)s->docs[docs++].n;
    bool is_u16 = V <= 65536;
    SOL_TRY(sol_alloc_array((void **)&out->doc_offsets, docs + 1, sizeof *out->doc_offsets, err));
    SOL_TRY(sol_alloc_array(is_u16 ? (void **)&out->ids16 : (void **)&out->ids32, (size_t)n,
                            is_u16 ? 2 : 4, err));
    uint64_t at = 0;
    for (size_t d = 0; d < docs; d++) {
        out->doc_offsets[d] = at;
        for (size_t i = 0; i < s->docs[d].n; i++, at++) {
            if (is_u16)
                out->ids16[at] = (uint16_t)s->docs[d].ids[i];
            else
                out->ids32[at] = (uint32_t)s->docs[d].ids[i];
        }
    }
    out->doc_offsets[docs] = at;
    out->tokens = (sol_tokens){.data = is_u16 ? (const void *)out->ids16 : (const void *)out->ids32,
                               .width = is_u16 ? 2 : 4,
                               .n = n,
                               .doc_offsets = out->doc_offsets,
                               .n_docs = (int64_t)docs,
                               .tokenizer_hash = t ? sol_tokenizer_hash(t) : 0};
    return SOL_OK;
}

/* Documents are begun in their order: those before the first that is at work are finished. */
static void count_first(sampling *s)
{
    size_t n = s->n_docs;
    for (int i = 0; i < SLOTS; i++)
        if (s->slot[i].doc >= 0 && (size_t)s->slot[i].doc < n) n = (size_t)s->slot[i].doc;
    while (s->n_first < n) s->first += (int64_t)s->docs[s->n_first++].n;
}

static sol_status keep_first(sampling *s, sol_err *err)
{
    sol_self_data first = {0};
    if (!s->o->keep || s->first == s->kept) return SOL_OK;
    sol_status st = join(s, &first, err);
    if (st == SOL_OK) st = s->o->keep(s->o->keep_user, &first.tokens, err);
    sol_self_data_free(&first);
    s->kept = s->first;
    return st;
}

static sol_status sample_all(sampling *s, sol_err *err)
{
    int64_t n = s->o->n_tokens, part = sol_min_i64(n / 32, KEEP_TOKENS);
    const sol_eval_watch *watch = &s->o->watch;
    while (s->first < n) {
        SOL_TRY(step(s, err));
        count_first(s);
        bool stop = watch->fn && !watch->fn(watch->user, sol_min_i64(s->sampled, n), n);
        if (stop || (s->first < n && s->first - s->kept >= part)) SOL_TRY(keep_first(s, err));
        if (stop) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    }
    return SOL_OK;
}

/* The documents that an earlier call has finished. */
static sol_status take_done(sampling *s, sol_err *err)
{
    const sol_tokens *t = s->o->done;
    for (int64_t d = 0; t && d < t->n_docs; d++) {
        SOL_TRY(
            sol_grow_array((void **)&s->docs, &s->cap_docs, s->n_docs + 1, sizeof *s->docs, err));
        document *doc = &s->docs[s->n_docs++];
        *doc = (document){0};
        for (uint64_t i = t->doc_offsets[d]; i < t->doc_offsets[d + 1]; i++)
            SOL_TRY(append(s, doc, sol_tokens_at(t, (int64_t)i), err));
        s->n_ended++;
        s->ended += (int64_t)doc->n;
    }
    count_first(s);
    s->kept = s->first;
    return SOL_OK;
}

static sol_sampler_config sampler_of(const sol_self_opts *o)
{
    return (sol_sampler_config){
        .temperature = o->temperature, .top_p = 1, .repetition_penalty = 1, .seed = o->seed};
}

sol_status sol_self_check(const sol_model_config *c, const sol_tokenizer *t, const sol_self_opts *o,
                          sol_err *err)
{
    sol_sampler_config sampler = sampler_of(o);
    if (o->n_tokens < 1)
        return sol_fail(err, SOL_ERR_RANGE, "%lld tokens of own text: at least 1",
                        (long long)o->n_tokens);
    if (o->max_len < 2 || o->max_len > c->max_position_embeddings)
        return sol_fail(err, SOL_ERR_RANGE, "documents of %lld tokens: the model has 2..%lld",
                        (long long)o->max_len, (long long)c->max_position_embeddings);
    if (c->bos_token_id < 0 && c->eos_token_id < 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "the model has neither BOS nor EOS: nothing begins its own text");
    int64_t begin = c->bos_token_id >= 0 ? c->bos_token_id : c->eos_token_id;
    if (t && !sol_tokenizer_has(t, (int32_t)begin))
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "the model's own text begins with id %lld, which its tokenizer of %d tokens lacks",
            (long long)begin, (int)sol_tokenizer_vocab_size(t));
    return sol_sampler_check(&sampler, err);
}

sol_status sol_self_data_sample(sol_net *net, const sol_self_opts *o, sol_self_data *out,
                                sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    sampling s = {.net = net,
                  .o = o,
                  .begin = (int32_t)(c->bos_token_id >= 0 ? c->bos_token_id : c->eos_token_id),
                  .sampler = sampler_of(o)};
    *out = (sol_self_data){0};
    for (int i = 0; i < SLOTS; i++) s.slot[i].doc = -1;
    sol_status st = sol_self_check(c, sol_net_tokenizer(net), o, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&s.logits, (size_t)(SLOTS * c->vocab_size), sizeof(float),
                             err);
    if (st == SOL_OK) st = sol_alloc_array(&s.scratch, sol_net_draw_scratch_bytes(net), 1, err);
    if (st == SOL_OK) st = take_done(&s, err);
    if (st == SOL_OK) st = sample_all(&s, err);
    if (st == SOL_OK) st = join(&s, out, err);
    if (st != SOL_OK) sol_self_data_free(out);
    for (int i = 0; i < SLOTS; i++) sol_kv_free(&s.slot[i].kv);
    for (size_t d = 0; d < s.n_docs; d++) sol_free(s.docs[d].ids);
    sol_free(s.docs);
    sol_free(s.logits);
    sol_free(s.scratch);
    return st;
}
