/* Generates text, one or many side by side: what the cache of a sequence lacks goes through the
 * network, all sequences in one pass; then a token is drawn for each, until something ends it. The
 * verbs generate and chat call it, and the trainer for its samples. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "infer/net.h"

/* A text as it grows. */
typedef struct sequence {
    int64_t request; /* -1: none, the place is free */
    sol_kv *kv;
    sol_rng rng;
    int32_t *ids; /* prompt, then what was drawn; owned */
    int64_t n, n_prompt, max_tokens;
    int32_t ended_by;
    bool ended;
    sol_utf8_joiner joiner;
} sequence;

typedef struct generation {
    sol_net *net;
    const sol_generate_opts *o;
    sequence *seq; /* [n_seq] */
    int64_t n_seq;
    sol_draw *draw; /* [n_seq] */
    float *logits;  /* [n_seq, V] */
    void *scratch;
    sol_row *row;
    size_t n_rows, cap_rows;
} generation;

static void free_generation(generation *g)
{
    if (g->seq)
        for (int64_t i = 0; i < g->n_seq; i++) {
            sol_kv_free(&g->seq[i].kv);
            sol_free(g->seq[i].ids);
        }
    sol_free(g->seq);
    sol_free(g->draw);
    sol_free(g->logits);
    sol_free(g->scratch);
    sol_free(g->row);
}

static sol_status begin(generation *g, sol_net *net, int64_t n_seq, const sol_generate_opts *o,
                        sol_err *err)
{
    size_t n = (size_t)n_seq, V = (size_t)sol_net_config(net)->vocab_size, count;
    *g = (generation){.net = net, .o = o, .n_seq = n_seq};
    SOL_TRY(sol_sampler_check(&o->sampler, err));
    SOL_TRY(sol_size_mul(n, V, &count, err));
    SOL_TRY(sol_alloc_array((void **)&g->seq, n, sizeof *g->seq, err));
    for (int64_t i = 0; i < n_seq; i++) g->seq[i].request = -1;
    SOL_TRY(sol_alloc_array((void **)&g->draw, n, sizeof *g->draw, err));
    SOL_TRY(sol_alloc_array((void **)&g->logits, count, sizeof *g->logits, err));
    return sol_alloc_array(&g->scratch, sol_net_draw_scratch_bytes(net), 1, err);
}

static sol_status check_request(const sol_net *net, const sol_generate_request *request,
                                sol_err *err)
{
    int64_t context = sol_net_config(net)->max_position_embeddings;
    if (request->n_prompt < 1)
        return sol_fail(err, SOL_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (request->max_tokens < 1)
        return sol_fail(err, SOL_ERR_RANGE, "%lld tokens were asked for: at least 1",
                        (long long)request->max_tokens);
    if (request->n_prompt > context || request->max_tokens > context - request->n_prompt + 1)
        return sol_fail(err, SOL_ERR_RANGE,
                        "context overflow: a prompt of %lld tokens and %lld new ones; the model "
                        "has room for %lld",
                        (long long)request->n_prompt, (long long)request->max_tokens,
                        (long long)context);
    return SOL_OK;
}

/* An empty cache for n positions; one that is large enough serves again. */
static sol_status empty_cache(sol_kv **kv, sol_net *net, int64_t n, sol_err *err)
{
    if (*kv && sol_kv_capacity(*kv) >= n) {
        sol_kv_truncate(*kv, 0);
        return SOL_OK;
    }
    sol_kv_free(kv);
    return sol_kv_create(kv, net, n, err);
}

/* s takes the cache of the session, with what the prompt has in common with the text there; the
 * prompt's last token is computed in any case: its logits are wanted. A cache that has become too
 * small begins anew with twice the capacity. */
static sol_status resume(sequence *s, sol_session *session, sol_net *net,
                         const sol_generate_request *request, sol_err *err)
{
    int64_t need = request->n_prompt + request->max_tokens - 1, same = 0,
            context = sol_net_config(net)->max_position_embeddings;
    if (!session->kv || sol_kv_capacity(session->kv) < need)
        SOL_TRY(empty_cache(&session->kv, net, sol_min_i64(2 * need, context), err));
    int64_t held = sol_kv_length(session->kv);
    while (same < held && same + 1 < request->n_prompt &&
           session->ids[same] == request->prompt[same])
        same++;
    sol_kv_truncate(session->kv, same);
    s->kv = session->kv;
    session->kv = NULL;
    return SOL_OK;
}

/* The session gets the cache of s and the ids that it holds. */
static sol_status suspend(sequence *s, sol_session *session, sol_err *err)
{
    size_t n = (size_t)sol_kv_length(s->kv);
    SOL_TRY(
        sol_grow_array((void **)&session->ids, &session->capacity, n, sizeof *session->ids, err));
    memcpy(session->ids, s->ids, n * sizeof *s->ids);
    session->kv = s->kv;
    s->kv = NULL;
    return SOL_OK;
}

void sol_session_free(sol_session *s)
{
    sol_kv_free(&s->kv);
    sol_free(s->ids);
    *s = (sol_session){0};
}

/* Request `index` takes the place of s. */
static sol_status place(generation *g, sequence *s, const sol_generate_request *request,
                        int64_t index, sol_err *err)
{
    int64_t n = request->n_prompt + request->max_tokens;
    SOL_TRY(check_request(g->net, request, err));
    if (g->o->session)
        SOL_TRY(resume(s, g->o->session, g->net, request, err));
    else
        SOL_TRY(empty_cache(&s->kv, g->net, n - 1, err));
    SOL_TRY(sol_alloc_array((void **)&s->ids, (size_t)n, sizeof *s->ids, err));
    memcpy(s->ids, request->prompt, (size_t)request->n_prompt * sizeof *request->prompt);
    s->request = index;
    s->rng = sol_rng_make(request->seed, SOL_STREAM_SAMPLER);
    s->n = s->n_prompt = request->n_prompt;
    s->max_tokens = request->max_tokens;
    s->ended = false;
    s->ended_by = -1;
    return SOL_OK;
}

/* The rows of s that its cache lacks; the last one asks for logits. */
static sol_status add_rows(generation *g, const sequence *s, sol_err *err)
{
    int64_t done = sol_kv_length(s->kv);
    SOL_TRY(sol_grow_array((void **)&g->row, &g->cap_rows, g->n_rows + (size_t)(s->n - done),
                           sizeof *g->row, err));
    for (int64_t i = done; i < s->n; i++)
        g->row[g->n_rows++] =
            (sol_row){.kv = s->kv, .token = s->ids[i], .want_logits = i + 1 == s->n};
    return SOL_OK;
}

/* Logits of all sequences at work, in their order. */
static sol_status forward(generation *g, sol_err *err)
{
    g->n_rows = 0;
    for (int64_t i = 0; i < g->n_seq; i++)
        if (g->seq[i].request >= 0) SOL_TRY(add_rows(g, &g->seq[i], err));
    return sol_net_forward(g->net, g->row, (int64_t)g->n_rows, g->logits, err);
}

static bool ends(const generation *g, int32_t id)
{
    const sol_model_config *c = sol_net_config(g->net);
    const sol_tokenizer *t = sol_net_tokenizer(g->net);
    if (sol_model_is_eos(c, id) || id == c->bos_token_id) return true;
    if (t && (id == sol_tokenizer_eos(t) || id == sol_tokenizer_bos(t))) return true;
    for (int i = 0; i < g->o->n_stop; i++)
        if (id == g->o->stop[i]) return true;
    return false;
}

static void emit(const generation *g, sequence *s, int32_t id)
{
    const sol_tokenizer *t = sol_net_tokenizer(g->net);
    size_t n;
    if (!t || !g->o->text) return;
    const char *piece = sol_tokenizer_piece(t, s->ids[s->n - 1], id, &n);
    sol_utf8_join(&s->joiner, piece, n, g->o->text, g->o->user);
}

/* What was drawn for s goes behind it, or ends it. */
static sol_status take(const generation *g, sequence *s, int32_t id, sol_err *err)
{
    if (id < 0)
        return sol_fail(err, SOL_ERR_NONFINITE,
                        "the model gives no number for token %lld: its weights are broken",
                        (long long)s->n);
    if (ends(g, id)) {
        s->ended = true;
        s->ended_by = id;
        return SOL_OK;
    }
    emit(g, s, id);
    s->ids[s->n++] = id;
    s->ended = s->n - s->n_prompt == s->max_tokens;
    return SOL_OK;
}

/* Draws a token for every sequence at work. */
static sol_status draw(generation *g, sol_err *err)
{
    int64_t V = sol_net_config(g->net)->vocab_size, n = 0;
    if (g->o->interrupted && g->o->interrupted(g->o->user))
        return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    for (int64_t i = 0; i < g->n_seq; i++) {
        sequence *s = &g->seq[i];
        if (s->request < 0) continue;
        int64_t window = sol_min_i64(g->o->repeat_window, s->n);
        g->draw[n] = (sol_draw){.sampler = &g->o->sampler,
                                .rng = &s->rng,
                                .logits = g->logits + n * V,
                                .recent = s->ids + s->n - window,
                                .n_recent = window};
        n++;
    }
    sol_net_draw(g->net, g->draw, n, g->scratch);
    for (int64_t i = 0, k = 0; i < g->n_seq; i++)
        if (g->seq[i].request >= 0) SOL_TRY(take(g, &g->seq[i], g->draw[k++].id, err));
    return SOL_OK;
}

/* The new ids of s, which no longer has them: its place is free. */
static void give(sequence *s, sol_generate_result *r)
{
    r->prompt_tokens = s->n_prompt;
    r->tokens = s->n - s->n_prompt;
    r->ended_by = s->ended_by;
    memmove(s->ids, s->ids + s->n_prompt, (size_t)r->tokens * sizeof *s->ids);
    r->ids = s->ids;
    s->ids = NULL;
    s->request = -1;
}

sol_status sol_generate(sol_net *net, const int32_t *prompt, int64_t n_prompt,
                        const sol_generate_opts *o, sol_generate_result *r, sol_err *err)
{
    sol_generate_request request = {prompt, n_prompt, o->max_tokens, o->sampler.seed};
    generation g;
    *r = (sol_generate_result){.prompt_tokens = n_prompt, .ended_by = -1};
    sol_status st = begin(&g, net, 1, o, err);
    if (st == SOL_OK) st = place(&g, g.seq, &request, 0, err);
    if (st != SOL_OK) {
        free_generation(&g);
        return st;
    }
    double start = sol_clock();
    st = forward(&g, err);
    double middle = sol_clock();
    r->prefill_seconds = middle - start;
    while (st == SOL_OK) {
        st = draw(&g, err);
        if (st != SOL_OK || g.seq->ended) break;
        st = forward(&g, err);
    }
    r->decode_seconds = sol_clock() - middle;
    if (o->text) sol_utf8_finish(&g.seq->joiner, o->text, o->user);
    if (o->session && (st == SOL_OK || st == SOL_ERR_INTERRUPTED)) {
        sol_status kept = suspend(g.seq, o->session, err);
        if (kept != SOL_OK) st = kept;
    }
    if (st == SOL_OK || st == SOL_ERR_INTERRUPTED) give(g.seq, r);
    free_generation(&g);
    return st;
}

/* ---- many texts ---- */

typedef struct many {
    const sol_generate_request *request; /* [n_requests] */
    sol_generate_result *result;         /* [n_requests]; ids of those that wait for their turn */
    bool *ready;                         /* [n_requests] */
    int64_t n_requests, next, told;      /* the first that is not begun, not told of */
} many;

/* Gives every free place the next request; *busy: whether any is at work. */
static sol_status fill_places(generation *g, many *m, bool *busy, sol_err *err)
{
    *busy = false;
    for (int64_t i = 0; i < g->n_seq; i++) {
        sequence *s = &g->seq[i];
        if (s->request < 0 && m->next < m->n_requests) {
            SOL_TRY(place(g, s, &m->request[m->next], m->next, err));
            m->next++;
        }
        *busy |= s->request >= 0;
    }
    return SOL_OK;
}

/* Takes what has ended, and tells of it in the order of the requests. */
static sol_status tell(generation *g, many *m, sol_generated_fn each, void *user, sol_err *err)
{
    for (int64_t i = 0; i < g->n_seq; i++) {
        sequence *s = &g->seq[i];
        if (s->request < 0 || !s->ended) continue;
        m->ready[s->request] = true;
        give(s, &m->result[s->request]);
    }
    for (; m->told < m->n_requests && m->ready[m->told]; m->told++) {
        sol_generate_result *r = &m->result[m->told];
        sol_status st = each(user, m->told, r, err);
        sol_free(r->ids);
        r->ids = NULL;
        if (st != SOL_OK) return st;
    }
    return SOL_OK;
}

static sol_status work(generation *g, many *m, sol_generated_fn each, void *user, sol_err *err)
{
    for (;;) {
        bool busy;
        SOL_TRY(fill_places(g, m, &busy, err));
        if (!busy) return SOL_OK;
        SOL_TRY(forward(g, err));
        SOL_TRY(draw(g, err));
        SOL_TRY(tell(g, m, each, user, err));
    }
}

sol_status sol_generate_many(sol_net *net, const sol_generate_request *requests, int64_t n_requests,
                             int64_t n_at_once, const sol_generate_opts *opts,
                             sol_generated_fn each, void *user, sol_err *err)
{
    sol_generate_opts o = *opts;
    many m = {.request = requests, .n_requests = n_requests};
    generation g;
    o.text = NULL;
    o.session = NULL;
    for (int64_t i = 0; i < n_requests; i++) {
        sol_status st = check_request(net, &requests[i], err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "prompt %lld", (long long)i + 1);
    }
    if (n_requests < 1) return SOL_OK;
    sol_status st = begin(&g, net, sol_min_i64(sol_max_i64(n_at_once, 1), n_requests), &o, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&m.result, (size_t)n_requests, sizeof *m.result, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&m.ready, (size_t)n_requests, sizeof *m.ready, err);
    if (st == SOL_OK) st = work(&g, &m, each, user, err);
    if (m.result)
        for (int64_t i = m.told; i < n_requests; i++) sol_free(m.result[i].ids);
    sol_free(m.result);
    sol_free(m.ready);
    free_generation(&g);
    return st;
}
