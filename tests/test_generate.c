/* Sampling against the distribution, texts whole in characters, many texts as one by one. */
#include <math.h>
#include <string.h>

#include "suite.h"

static const sol_sampler_config plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

/* Shares of 20000 draws from logits[V] = log of weights. */
static void draw(const sol_sampler_config *c, const float *logits, int V, double *share)
{
    enum { DRAWS = 20000 };
    sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
    float copy[16];
    char scratch[256];
    ck_assert_uint_le(sol_sample_scratch_bytes(V), sizeof scratch);
    for (int i = 0; i < V; i++) share[i] = 0;
    for (int n = 0; n < DRAWS; n++) {
        memcpy(copy, logits, (size_t)V * sizeof *copy);
        share[sol_sample(c, &rng, copy, V, NULL, 0, scratch)] += 1.0 / DRAWS;
    }
}

START_TEST(draws_follow_the_distribution)
{
    static const double p[5] = {0.1, 0.4, 0.05, 0.25, 0.2};
    float logits[5];
    double share[5];
    sol_sampler_config c = plain;
    for (int i = 0; i < 5; i++) logits[i] = (float)log(p[i]) + 7;
    draw(&c, logits, 5, share);
    for (int i = 0; i < 5; i++) ck_assert_double_eq_tol(share[i], p[i], 0.012);
    c.temperature = 0.5f; /* squares */
    draw(&c, logits, 5, share);
    for (int i = 0; i < 5; i++) ck_assert_double_eq_tol(share[i], p[i] * p[i] / 0.275, 0.012);
    c = plain;
    c.top_k = 2;
    draw(&c, logits, 5, share);
    ck_assert_double_eq_tol(share[1], 0.4 / 0.65, 0.012);
    ck_assert_double_eq_tol(share[3], 0.25 / 0.65, 0.012);
    ck_assert(share[0] + share[2] + share[4] == 0);
    c = plain;
    c.top_p = 0.8f; /* 0.4 + 0.25 is not enough, with 0.2 it is */
    draw(&c, logits, 5, share);
    ck_assert_double_eq_tol(share[4], 0.2 / 0.85, 0.012);
    ck_assert(share[0] + share[2] == 0);
    c = plain;
    c.min_p = 0.6f;
    draw(&c, logits, 5, share);
    ck_assert_double_eq_tol(share[1], 0.4 / 0.65, 0.012);
    ck_assert_double_eq_tol(share[3], 0.25 / 0.65, 0.012);
    c = (sol_sampler_config){
        .temperature = 1, .top_p = 0, .repetition_penalty = 1}; /* the most likely always stays */
    draw(&c, logits, 5, share);
    ck_assert(share[1] > 0.999);
}
END_TEST

START_TEST(edges_of_sampling)
{
    float x[6] = {1, 5, 5, NAN, -INFINITY, 2};
    char scratch[64];
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST), before = rng;
    sol_sampler_config c = plain;
    c.temperature = 0;
    ck_assert_int_eq(sol_sample(&c, &rng, x, 6, NULL, 0, scratch), 1); /* the first of equals */
    ck_assert_mem_eq(&rng, &before, sizeof rng);
    static const int32_t recent[] = {1, 1, 77, -1};
    c.repetition_penalty = 2; /* once, though the token came twice: 5 / 2 < 5 */
    ck_assert_int_eq(sol_sample(&c, &rng, x, 6, recent, 4, scratch), 2);
    ck_assert_float_eq(x[1], 2.5f);
    float negative[2] = {-1, -1.5f};
    ck_assert_int_eq(sol_sample(&c, &rng, negative, 2, (const int32_t[]){0}, 1, scratch), 1);
    for (int i = 0; i < 100; i++) { /* what is not a number, or has no chance, is never drawn */
        float y[6] = {1, 5, 5, NAN, -INFINITY, 2};
        int32_t id = sol_sample(&plain, &rng, y, 6, NULL, 0, scratch);
        ck_assert(id != 3 && id != 4 && id >= 0);
    }
    float none[2] = {NAN, NAN}, sure[3] = {1, INFINITY, 2};
    ck_assert_int_eq(sol_sample(&plain, &rng, none, 2, NULL, 0, scratch), -1);
    ck_assert_int_eq(sol_sample(&plain, &rng, sure, 3, NULL, 0, scratch), 1);
    c = plain;
    c.temperature = -1;
    ck_fails(sol_sampler_check(&c, err), SOL_ERR_RANGE, "temperature is -1");
    c = plain;
    c.top_p = NAN;
    ck_fails(sol_sampler_check(&c, err), SOL_ERR_RANGE, "top-p");
    c = plain;
    c.top_k = -1;
    ck_fails(sol_sampler_check(&c, err), SOL_ERR_RANGE, "top-k");
}
END_TEST

START_TEST(top_k_keeps_the_largest_of_many)
{
    enum { V = 4000 };
    static float logits[V], copy[V];
    void *scratch;
    sol_rng rng = sol_rng_make(4, SOL_STREAM_TEST);
    ck_ok(sol_alloc_array(&scratch, sol_sample_scratch_bytes(V), 1, err));
    for (int i = 0; i < V; i++) logits[i] = sol_rng_normal(&rng);
    for (int k = 1; k <= 50; k += 7)
        for (int n = 0; n < 50; n++) {
            sol_sampler_config c = plain;
            c.top_k = k;
            memcpy(copy, logits, sizeof copy);
            int32_t id = sol_sample(&c, &rng, copy, V, NULL, 0, scratch);
            int larger = 0;
            for (int i = 0; i < V; i++) larger += logits[i] > logits[id];
            ck_assert_int_lt(larger, k);
        }
    sol_free(scratch);
}
END_TEST

static void append(void *user, const char *text, size_t n)
{
    strncat(user, text, n);
}

/* The text that comes out when `bytes` come in pieces of `step`. */
static void join(const char *bytes, size_t step, char *out)
{
    sol_utf8_joiner j = {0};
    size_t n = strlen(bytes);
    out[0] = 0;
    for (size_t i = 0; i < n; i += step)
        sol_utf8_join(&j, bytes + i, n - i < step ? n - i : step, append, out);
    sol_utf8_finish(&j, append, out);
}

START_TEST(characters_come_whole)
{
    static const char good[] =
        "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xEF\xBF\xBF\xED\x9F\xBF\xF4\x8F\xBF\xBF";
    static const char *const bad[][2] = {
        {"\xC3", "\xEF\xBF\xBD"},                 /* cut at the end */
        {"\xC3(", "\xEF\xBF\xBD("},               /* cut in the middle */
        {"\x80x", "\xEF\xBF\xBDx"},               /* no beginning */
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"}, /* overlong */
        {"\xE0\x80\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE2\x82\xC3\xA9", "\xEF\xBF\xBD\xC3\xA9"}, /* a new one begins too early */
    };
    char out[512], text[400];
    for (size_t step = 1; step < sizeof good; step++) {
        join(good, step, out);
        ck_assert_str_eq(out, good);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            join(bad[i][0], step, out);
            ck_assert_str_eq(out, bad[i][1]);
        }
    }
    for (size_t i = 0; i < sizeof text - 1; i += 3) memcpy(text + i, "\xE2\x82\xAC", 3);
    text[sizeof text - 1] = 0;
    join(text, 400, out); /* longer than the joiner's buffer */
    ck_assert_str_eq(out, text);
    sol_utf8_joiner j = {0};
    out[0] = 0;
    sol_utf8_join(&j, "\xE2\x82", 2, append, out);
    ck_assert_str_eq(out, ""); /* held back */
    sol_utf8_join(&j, "\xAC", 1, append, out);
    ck_assert_str_eq(out, "\xE2\x82\xAC");
}
END_TEST

typedef struct fixture {
    sol_ctx *ctx;
    sol_model *model;
    sol_net *net;
} fixture;

static fixture make_net(void)
{
    fixture f;
    sol_model_config c = {.vocab_size = 50,
                          .hidden_size = 16,
                          .intermediate_size = 24,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = 8,
                          .max_position_embeddings = 64,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    ck_ok(sol_ctx_create(&f.ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&f.model, &c, SOL_F32, err));
    sol_model_init_random(f.ctx, f.model, 9);
    for (int64_t i = 0; i < f.model->n_elements; i++) ((float *)f.model->data)[i] *= 10.0f;
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, NULL, NULL, err));
    return f;
}

static void free_net(fixture *f)
{
    sol_net_free(&f->net);
    sol_model_free(&f->model);
    sol_ctx_free(&f->ctx);
}

static bool stop_at_once(void *user)
{
    return ++*(int *)user > 5;
}

START_TEST(generation_is_the_loop_by_hand)
{
    fixture f = make_net();
    static const int32_t prompt[3] = {4, 17, 30};
    sol_generate_opts o = {
        .max_tokens = 62,
        .sampler = {.temperature = 0.8f, .top_p = 1, .repetition_penalty = 1.3f, .seed = 12},
        .repeat_window = 5};
    sol_generate_result r, again;
    float logits[50];
    char scratch[50 * 8];
    int32_t ids[80] = {4, 17, 30};
    sol_kv *kv;
    ck_ok(sol_generate(f.net, prompt, 3, &o, &r, err));
    ck_assert_int_eq(r.tokens, 62); /* 3 + 62 fill the context of 64: the last one is not fed */
    ck_assert_int_eq(r.ended_by, -1);
    ck_ok(sol_kv_create(&kv, f.net, 64, err));
    sol_rng rng = sol_rng_make(12, SOL_STREAM_SAMPLER);
    for (int i = 0; i < 64; i++) {
        ck_ok(sol_net_forward(f.net, &(sol_row){.kv = kv, .token = ids[i], .want_logits = true}, 1,
                              logits, err));
        if (i < 2) continue;
        int64_t window = i + 1 < 5 ? i + 1 : 5;
        ids[i + 1] =
            sol_sample(&o.sampler, &rng, logits, 50, ids + i + 1 - window, window, scratch);
        ck_assert_int_eq(ids[i + 1], r.ids[i - 2]);
    }
    ck_ok(sol_generate(f.net, prompt, 3, &o, &again, err));
    ck_assert_mem_eq(again.ids, r.ids, 62 * sizeof *r.ids);
    sol_free(again.ids);
    o.stop = (const int32_t[]){r.ids[20]};
    o.n_stop = 1;
    ck_ok(sol_generate(f.net, prompt, 3, &o, &again, err));
    int64_t first = 0;
    while (r.ids[first] != r.ids[20]) first++;
    ck_assert_int_eq(again.tokens, first);
    ck_assert_int_eq(again.ended_by, r.ids[20]);
    sol_free(again.ids);
    o.n_stop = 0;
    /* The same by an EOS of the model that is not its first. */
    f.model->config.eos_token_id = r.ids[20] ? 0 : 1;
    ck_ok(sol_model_add_eos(&f.model->config, r.ids[20], err));
    sol_net_free(&f.net);
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, NULL, NULL, err));
    ck_ok(sol_generate(f.net, prompt, 3, &o, &again, err));
    ck_assert_int_le(again.tokens, first);
    ck_assert(again.ended_by == r.ids[20] || again.ended_by == f.model->config.eos_token_id);
    sol_free(again.ids);
    f.model->config.eos_token_id = -1;
    f.model->config.n_more_eos = 0;
    sol_net_free(&f.net);
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, NULL, NULL, err));
    int calls = 0;
    o.interrupted = stop_at_once;
    o.user = &calls;
    ck_fails(sol_generate(f.net, prompt, 3, &o, &again, err), SOL_ERR_INTERRUPTED, "interrupted");
    ck_assert_int_eq(again.tokens, 5);
    sol_free(again.ids);
    sol_free(r.ids);
    sol_kv_free(&kv);
    free_net(&f);
}
END_TEST

START_TEST(what_cannot_be_generated)
{
    fixture f = make_net();
    static int32_t prompt[70];
    sol_generate_opts o = {.max_tokens = 4, .sampler = plain};
    sol_generate_result r;
    ck_fails(sol_generate(f.net, prompt, 0, &o, &r, err), SOL_ERR_USAGE, "prompt is empty");
    ck_fails(sol_generate(f.net, prompt, 62, &o, &r, err), SOL_ERR_RANGE,
             "context overflow: a prompt of 62 tokens and 4 new");
    ck_fails(sol_generate(f.net, prompt, 70, &o, &r, err), SOL_ERR_RANGE, "context overflow");
    prompt[1] = 50;
    ck_fails(sol_generate(f.net, prompt, 3, &o, &r, err), SOL_ERR_RANGE, "token 50");
    prompt[1] = 0;
    o.max_tokens = 0;
    ck_fails(sol_generate(f.net, prompt, 3, &o, &r, err), SOL_ERR_RANGE, "0 tokens");
    o.max_tokens = 3;
    for (int64_t i = 0; i < f.model->n_elements; i++) ((float *)f.model->data)[i] = NAN;
    ck_fails(sol_generate(f.net, prompt, 3, &o, &r, err), SOL_ERR_NONFINITE, "broken");
    free_net(&f);
}
END_TEST

/* ---- many texts, and sessions ---- */

enum { TEXTS = 9 };

typedef struct texts {
    int32_t ids[TEXTS][64];
    int64_t n[TEXTS];
    int32_t ended_by[TEXTS];
    int64_t told;
} texts;

static sol_status keep(void *user, int64_t i, const sol_generate_result *r, sol_err *err)
{
    texts *t = user;
    (void)err;
    ck_assert_int_eq(i, t->told++); /* in the order of the requests */
    t->n[i] = r->tokens;
    t->ended_by[i] = r->ended_by;
    memcpy(t->ids[i], r->ids, (size_t)r->tokens * sizeof *r->ids);
    return SOL_OK;
}

static sol_status refuse_third(void *user, int64_t i, const sol_generate_result *r, sol_err *err)
{
    (void)r;
    ++*(int *)user;
    return i == 2 ? sol_fail(err, SOL_ERR_LIBRARY, "the third is refused") : SOL_OK;
}

/* Prompts of 1 to 60 tokens, texts that end early, at their length and where the context does. */
static void make_requests(sol_generate_request *request, int32_t ids[TEXTS][64])
{
    static const int64_t length[TEXTS] = {3, 1, 60, 17, 2, 33, 5, 1, 40};
    for (int i = 0; i < TEXTS; i++) {
        for (int k = 0; k < length[i]; k++) ids[i][k] = (7 * i + 11 * k + 1) % 50;
        int64_t most = i % 3 == 0 ? 12 : 64 - length[i] + 1;
        request[i] = (sol_generate_request){ids[i], length[i], most, 5 + (uint64_t)i / 2};
    }
}

static void check_texts(sol_net *net, const sol_generate_request *request,
                        const sol_generate_opts *opts)
{
    int early = 0;
    for (int at_once = 1; at_once <= TEXTS + 1; at_once += 2) {
        static texts got;
        memset(&got, 0, sizeof got);
        ck_ok(sol_generate_many(net, request, TEXTS, at_once, opts, keep, &got, err));
        ck_assert_int_eq(got.told, TEXTS);
        for (int i = 0; i < TEXTS; i++) {
            sol_generate_opts o = *opts;
            sol_generate_result r;
            o.max_tokens = request[i].max_tokens;
            o.sampler.seed = request[i].seed;
            ck_ok(sol_generate(net, request[i].prompt, request[i].n_prompt, &o, &r, err));
            ck_assert_int_eq(got.n[i], r.tokens);
            ck_assert_int_eq(got.ended_by[i], r.ended_by);
            ck_assert_mem_eq(got.ids[i], r.ids, (size_t)r.tokens * sizeof *r.ids);
            early += r.ended_by >= 0 && r.tokens < request[i].max_tokens;
            sol_free(r.ids);
        }
    }
    ck_assert_int_gt(early, 0);
}

START_TEST(many_texts_are_those_of_one_by_one)
{
    sol_generate_request request[TEXTS];
    int32_t ids[TEXTS][64];
    make_requests(request, ids);
    for (int k = 0; k < 3; k++) { /* fp32, bf16, ternary with rounded activations */
        fixture f = make_net();
        sol_generate_opts o = {
            .sampler = {.temperature = 0.9f, .top_p = 0.95f, .repetition_penalty = 1.1f},
            .repeat_window = 8,
            .stop = (const int32_t[]){8, 9, 10},
            .n_stop = 3};
        sol_model *bf16 = NULL;
        sol_packed_model packed = {0};
        sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                               .granularity = SOL_PER_CHANNEL};
        sol_net_free(&f.net);
        if (k == 0) ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, NULL, NULL, err));
        if (k == 1) {
            ck_ok(sol_model_create(&bf16, &f.model->config, SOL_BF16, err));
            sol_convert(bf16->data, SOL_BF16, f.model->data, SOL_F32, f.model->n_elements);
            ck_ok(sol_net_from_model(&f.net, f.ctx, bf16, NULL, NULL, NULL, err));
        }
        if (k == 2) {
            ck_ok(sol_packed_model_from(f.ctx, &packed, f.model, &spec, SOL_Q6, NULL, err));
            ck_ok(sol_net_from_packed(&f.net, f.ctx, &packed, NULL, err));
        }
        check_texts(f.net, request, &o);
        free_net(&f);
        sol_model_free(&bf16);
        sol_packed_model_free(&packed);
    }
}
END_TEST

START_TEST(many_texts_that_cannot_be)
{
    fixture f = make_net();
    sol_generate_request request[TEXTS];
    int32_t ids[TEXTS][64];
    int told = 0;
    sol_generate_opts o = {.sampler = plain};
    make_requests(request, ids);
    ck_fails(sol_generate_many(f.net, request, TEXTS, 4, &o, refuse_third, &told, err),
             SOL_ERR_LIBRARY, "the third is refused");
    ck_assert_int_eq(told, 3);
    told = 0;
    request[7].max_tokens = 65; /* found before anything is computed */
    ck_fails(sol_generate_many(f.net, request, TEXTS, 4, &o, refuse_third, &told, err),
             SOL_ERR_RANGE, "prompt 8: context overflow: a prompt of 1 tokens and 65 new ones");
    ck_assert_int_eq(told, 0);
    ck_ok(sol_generate_many(f.net, request, 0, 4, &o, refuse_third, &told, err));
    request[7].max_tokens = 1;
    o.interrupted = stop_at_once;
    o.user = &(int){0};
    ck_fails(sol_generate_many(f.net, request, TEXTS, 4, &o, refuse_third, &told, err),
             SOL_ERR_INTERRUPTED, "interrupted");
    free_net(&f);
}
END_TEST

/* Turns of a conversation: a prompt that goes on, one that leaves the last text early, one that
 * begins otherwise, the same again, one that is shorter than what is held. */
START_TEST(a_session_changes_no_text)
{
    static const int32_t turn[][12] = {{4, 17, 30},
                                       {4, 17, 30, 1, 2, 3, 4, 5, 6, 7, 8, 9},
                                       {4, 17, 30, 1, 2, 9, 9},
                                       {5, 17},
                                       {5, 17},
                                       {5}};
    static const int64_t n_turn[] = {3, 12, 7, 2, 2, 1}, most[] = {6, 9, 40, 3, 3, 60};
    fixture f = make_net();
    sol_session session = {0};
    for (int i = 0; i < 6; i++) {
        sol_generate_opts o = {.max_tokens = most[i], .sampler = plain};
        sol_generate_result a, b;
        ck_ok(sol_generate(f.net, turn[i], n_turn[i], &o, &a, err));
        o.session = &session;
        ck_ok(sol_generate(f.net, turn[i], n_turn[i], &o, &b, err));
        ck_assert_int_eq(a.tokens, b.tokens);
        ck_assert_mem_eq(a.ids, b.ids, (size_t)a.tokens * sizeof *a.ids);
        ck_assert_int_eq(sol_kv_length(session.kv), n_turn[i] + a.tokens - (a.ended_by < 0));
        sol_free(a.ids);
        sol_free(b.ids);
    }
    sol_session_free(&session);
    free_net(&f);
}
END_TEST

SOL_TEST_MAIN("generate", tcase_add_test(tc, draws_follow_the_distribution);
              tcase_add_test(tc, edges_of_sampling);
              tcase_add_test(tc, top_k_keeps_the_largest_of_many);
              tcase_add_test(tc, characters_come_whole);
              tcase_add_test(tc, generation_is_the_loop_by_hand);
              tcase_add_test(tc, what_cannot_be_generated);
              tcase_add_test(tc, many_texts_are_those_of_one_by_one);
              tcase_add_test(tc, many_texts_that_cannot_be);
              tcase_add_test(tc, a_session_changes_no_text))
