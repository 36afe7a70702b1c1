/* Generates text: prefill of the prompt, then one sampled token after the other until something
 * ends it. The verbs generate and chat call it, and the trainer for its samples. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "infer/infer.h"

typedef struct generation {
    sol_net *net;
    const sol_generate_opts *o;
    sol_kv *kv;
    sol_rng rng;
    float *logits; /* [V] */
    void *scratch; /* of the sampler */
    int32_t *ids;  /* prompt, then what was drawn */
    int64_t n;
    sol_utf8_joiner joiner;
} generation;

static void free_generation(generation *g)
{
    sol_kv_free(&g->kv);
    sol_free(g->logits);
    sol_free(g->scratch);
    sol_free(g->ids);
}

static sol_status begin(generation *g, sol_net *net, const int32_t *prompt, int64_t n_prompt,
                        const sol_generate_opts *o, sol_err *err)
{
    const sol_model_config *c = sol_net_config(net);
    *g = (generation){.net = net,
                      .o = o,
                      .rng = sol_rng_make(o->sampler.seed, SOL_STREAM_SAMPLER),
                      .n = n_prompt};
    if (n_prompt < 1)
        return sol_fail(err, SOL_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (o->max_tokens < 1)
        return sol_fail(err, SOL_ERR_RANGE, "%lld tokens were asked for: at least 1",
                        (long long)o->max_tokens);
    if (n_prompt > c->max_position_embeddings ||
        o->max_tokens > c->max_position_embeddings - n_prompt + 1)
        return sol_fail(err, SOL_ERR_RANGE,
                        "context overflow: a prompt of %lld tokens and %lld new ones; the model "
                        "has room for %lld",
                        (long long)n_prompt, (long long)o->max_tokens,
                        (long long)c->max_position_embeddings);
    SOL_TRY(sol_sampler_check(&o->sampler, err));
    SOL_TRY(sol_kv_create(&g->kv, net, n_prompt + o->max_tokens - 1, err));
    SOL_TRY(sol_alloc_array((void **)&g->logits, (size_t)c->vocab_size, sizeof *g->logits, err));
    SOL_TRY(sol_alloc_array(&g->scratch, sol_sample_scratch_bytes(c->vocab_size), 1, err));
    SOL_TRY(
        sol_alloc_array((void **)&g->ids, (size_t)(n_prompt + o->max_tokens), sizeof *g->ids, err));
    memcpy(g->ids, prompt, (size_t)n_prompt * sizeof *prompt);
    return SOL_OK;
}

static sol_status prefill(generation *g, sol_err *err)
{
    sol_row *rows = NULL;
    sol_status st = sol_alloc_array((void **)&rows, (size_t)g->n, sizeof *rows, err);
    if (st != SOL_OK) return st;
    for (int64_t i = 0; i < g->n; i++)
        rows[i] = (sol_row){.kv = g->kv, .token = g->ids[i], .want_logits = i + 1 == g->n};
    st = sol_net_forward(g->net, rows, g->n, g->logits, err);
    sol_free(rows);
    return st;
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

static void emit(generation *g, int32_t previous, int32_t id)
{
    const sol_tokenizer *t = sol_net_tokenizer(g->net);
    size_t n;
    if (!t || !g->o->text) return;
    const char *piece = sol_tokenizer_piece(t, previous, id, &n);
    sol_utf8_join(&g->joiner, piece, n, g->o->text, g->o->user);
}

static sol_status decode(generation *g, sol_generate_result *r, sol_err *err)
{
    const sol_generate_opts *o = g->o;
    int64_t V = sol_net_config(g->net)->vocab_size;
    r->ended_by = -1;
    while (r->tokens < o->max_tokens) {
        if (o->interrupted && o->interrupted(o->user))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        int64_t window = sol_min_i64(o->repeat_window, g->n);
        sol_net_hide_missing(g->net, g->logits);
        int32_t id = sol_sample(&o->sampler, &g->rng, g->logits, V, g->ids + g->n - window, window,
                                g->scratch);
        if (id < 0)
            return sol_fail(err, SOL_ERR_NONFINITE,
                            "the model gives no number for token %lld: its weights are broken",
                            (long long)g->n);
        if (ends(g, id)) {
            r->ended_by = id;
            break;
        }
        emit(g, g->ids[g->n - 1], id);
        g->ids[g->n++] = id;
        r->tokens++;
        sol_row row = {.kv = g->kv, .token = id, .want_logits = true};
        if (r->tokens < o->max_tokens) SOL_TRY(sol_net_forward(g->net, &row, 1, g->logits, err));
    }
    return SOL_OK;
}

sol_status sol_generate(sol_net *net, const int32_t *prompt, int64_t n_prompt,
                        const sol_generate_opts *o, sol_generate_result *r, sol_err *err)
{
    generation g;
    *r = (sol_generate_result){.prompt_tokens = n_prompt, .ended_by = -1};
    sol_status st = begin(&g, net, prompt, n_prompt, o, err);
    double start = sol_clock();
    if (st == SOL_OK) st = prefill(&g, err);
    double middle = sol_clock();
    r->prefill_seconds = middle - start;
    if (st == SOL_OK) st = decode(&g, r, err);
    r->decode_seconds = sol_clock() - middle;
    if (o->text) sol_utf8_finish(&g.joiner, o->text, o->user);
    if (st == SOL_OK || st == SOL_ERR_INTERRUPTED) {
        memmove(g.ids, g.ids + n_prompt, (size_t)r->tokens * sizeof *g.ids);
        r->ids = g.ids;
        g.ids = NULL;
    }
    free_generation(&g);
    return st;
}
