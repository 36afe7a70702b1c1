/* Losses of windows against the training graph, text of the model's own, what each layer costs. */
#include "suite.h"

#include <math.h>
#include <string.h>

typedef struct fixture {
    sol_ctx *ctx;
    sol_model *model;
    sol_net *net;
} fixture;

enum { V = 60, CONTEXT = 64 };

static fixture make_net(int threads, const sol_quant_spec *spec)
{
    fixture f;
    sol_model_config c = {.vocab_size = V,
                          .hidden_size = 16,
                          .intermediate_size = 32,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = 8,
                          .max_position_embeddings = CONTEXT,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = 1,
                          .eos_token_id = 2,
                          .n_more_eos = 1,
                          .more_eos = {7}};
    ck_ok(sol_ctx_create(&f.ctx, threads, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&f.model, &c, SOL_F32, err));
    sol_model_init_random(f.ctx, f.model, 9);
    for (int64_t i = 0; i < f.model->n_elements; i++) ((float *)f.model->data)[i] *= 4.0f;
    ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, spec, NULL, err));
    return f;
}

static void free_net(fixture *f)
{
    sol_net_free(&f->net);
    sol_model_free(&f->model);
    sol_ctx_free(&f->ctx);
}

/* 200 tokens in documents of very different lengths, one of them empty, one of a single token. */
static uint16_t stream[200];
static const uint64_t offsets[] = {0, 3, 40, 40, 41, 130, 132, 200};

static sol_tokens make_tokens(void)
{
    for (int i = 0; i < 200; i++) stream[i] = (uint16_t)((i * 37 + i / 7) % V);
    return (sol_tokens){.data = stream, .width = 2, .n = 200, .doc_offsets = offsets, .n_docs = 7};
}

/* Mean loss of the same windows through the training graph; doc_start NULL: joined. */
static double graph_loss(const fixture *f, const sol_quant_spec *spec, const sol_tokens *t,
                         int64_t seq, bool apart, int64_t *n)
{
    sol_graph *g;
    sol_batcher b;
    int32_t inputs[64], targets[64], start[64];
    double sum = 0, loss;
    int64_t count;
    *n = 0;
    ck_ok(sol_batcher_init(&b, t, seq, 0, err));
    ck_ok(sol_graph_create(&g, f->ctx, f->model, spec,
                           &(sol_graph_opts){.batch = 1, .seq = seq, .no_grad = true}, err));
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
    for (int64_t w = 0; w < sol_batcher_windows(&b); w++) {
        sol_batcher_window(&b, w, inputs, targets, start);
        for (int64_t i = 0; !apart && i < seq; i++) targets[i] = sol_tokens_at(t, w * seq + i + 1);
        sol_graph_loss(g, inputs, targets, apart ? start : NULL, &loss, &count);
        sum += loss;
        *n += count;
    }
    sol_graph_free(&g);
    return sum / (double)*n;
}

/* The loss with documents apart, as training has it. */
static sol_status eval_apart(sol_net *net, const sol_tokens *t, int64_t seq, sol_eval_result *r,
                             sol_err *e)
{
    sol_eval_opts o = {.windows = {.seq = seq, .apart = true}};
    return sol_eval_windows(net, t, &o, r, e);
}

static sol_status sample(sol_net *net, int64_t n_tokens, int64_t max_len, float temperature,
                         uint64_t seed, sol_self_data *out, sol_err *e)
{
    sol_self_opts o = {
        .n_tokens = n_tokens, .max_len = max_len, .temperature = temperature, .seed = seed};
    return sol_self_data_sample(net, &o, out, e);
}

START_TEST(windows_give_the_training_graphs_loss)
{
    static const int64_t seqs[] = {7, 33, 64, 1};
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_CHANNEL,
                           .scale_dtype = SOL_F16};
    sol_tokens t = make_tokens();
    for (int latent = 0; latent < 2; latent++) {
        fixture f = make_net(2, latent ? &spec : NULL);
        for (int apart = 0; apart < 2; apart++)
            for (int i = 0; i < 4; i++) {
                int64_t seq = seqs[i], n;
                sol_eval_result r;
                double want = graph_loss(&f, latent ? &spec : NULL, &t, seq, apart, &n);
                sol_eval_opts o = {.windows = {.seq = seq, .max = 199 / seq, .apart = apart}};
                ck_ok(sol_eval_windows(f.net, &t, &o, &r, err));
                ck_assert_int_eq(r.tokens, n);
                ck_assert_double_eq_tol(r.loss, want, 1e-5);
                ck_assert_double_eq_tol(r.ppl, exp(r.loss), 1e-9 * r.ppl);
            }
        free_net(&f);
    }
}
END_TEST

START_TEST(the_last_window_may_be_short)
{
    fixture f = make_net(2, NULL);
    sol_tokens t = make_tokens();
    sol_eval_result all, whole, one;
    sol_eval_opts o = {.windows = {.seq = 60}};
    ck_ok(sol_eval_windows(f.net, &t, &o, &all, err));
    ck_assert_int_eq(all.tokens, 199);
    o.windows.max = 3;
    ck_ok(sol_eval_windows(f.net, &t, &o, &whole, err));
    ck_assert_int_eq(whole.tokens, 180);
    o.windows.max = 4;
    ck_ok(sol_eval_windows(f.net, &t, &o, &one, err));
    ck_assert_double_eq(one.loss, all.loss);
    ck_ok(eval_apart(f.net, &t, 60, &one, err));
    /* Six documents that are not empty: five beginnings are not predicted. */
    ck_assert_int_eq(one.tokens, 199 - 5);
    free_net(&f);
}
END_TEST

START_TEST(threads_and_gathering_do_not_change_the_loss)
{
    sol_tokens t = make_tokens();
    double want = 0;
    for (int threads = 1; threads <= 3; threads++) {
        fixture f = make_net(threads, NULL);
        sol_eval_result r;
        ck_ok(eval_apart(f.net, &t, 20, &r, err));
        if (threads == 1) want = r.loss;
        ck_assert_double_eq(r.loss, want);
        sol_net *narrow; /* a few rows at a time */
        ck_ok(sol_net_from_model(&narrow, f.ctx, f.model, NULL, NULL,
                                 &(sol_net_opts){.max_rows = 3}, err));
        ck_ok(eval_apart(narrow, &t, 20, &r, err));
        ck_assert_double_eq(r.loss, want);
        sol_net_free(&narrow);
        free_net(&f);
    }
}
END_TEST

static bool stop(void *user, int64_t done, int64_t total)
{
    ck_assert_int_le(done, total);
    return ++*(int *)user < 2;
}

START_TEST(bad_data_is_refused)
{
    fixture f = make_net(1, NULL);
    sol_tokens t = make_tokens();
    sol_eval_result r;
    ck_fails(eval_apart(f.net, &t, CONTEXT + 1, &r, err), SOL_ERR_RANGE, "windows of 65 tokens");
    stream[150] = V;
    ck_fails(eval_apart(f.net, &t, 20, &r, err), SOL_ERR_RANGE,
             "token 60 at place 150: the model's vocabulary is 0..59");
    stream[150] = 5;
    stream[199] = 65535;
    ck_fails(eval_apart(f.net, &t, 20, &r, err), SOL_ERR_RANGE, "token 65535 at place 199");
    t = make_tokens();
    t.n = 1;
    ck_fails(eval_apart(f.net, &t, 20, &r, err), SOL_ERR_SHAPE, "1 tokens");
    t = make_tokens();
    static const uint64_t singles[] = {0, 1, 2, 3};
    t.n = 3, t.n_docs = 3, t.doc_offsets = singles;
    ck_fails(eval_apart(f.net, &t, 20, &r, err), SOL_ERR_SHAPE, "nothing to predict");
    t = make_tokens();
    int calls = 0;
    sol_eval_opts o = {.windows = {.seq = 20}, .watch = {.fn = stop, .user = &calls}};
    sol_net *narrow;
    ck_ok(sol_net_from_model(&narrow, f.ctx, f.model, NULL, NULL, NULL, err));
    ck_ok(sol_eval_windows(narrow, &t, &o, &r, err)); /* one batch, one call */
    ck_fails(sol_eval_windows(narrow, &t, &o, &r, err), SOL_ERR_INTERRUPTED, "interrupted");
    sol_net_free(&narrow);
    for (int64_t i = 0; i < f.model->n_elements; i++) ((float *)f.model->data)[i] = NAN;
    ck_fails(eval_apart(f.net, &t, 20, &r, err), SOL_ERR_NONFINITE, "loss");
    sol_sensitivity each; /* has nothing to compare with */
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_CHANNEL};
    ck_fails(sol_sensitivity_measure(&each, f.ctx, f.model, &spec, &t, &o.windows, NULL, err),
             SOL_ERR_NONFINITE, "loss");
    free_net(&f);
}
END_TEST

/* The loss with this layer alone quantized, of a net that is made for it. */
static double loss_with(const fixture *f, const sol_param *p, const sol_quant_spec *spec,
                        const sol_tokens *t, const sol_eval_opts *o)
{
    const sol_net_opts full = {.full_precision = true};
    sol_quant_matrix x = sol_model_quant_matrix(f->model, p);
    float *w = sol_model_f32(f->model, p), *before;
    size_t bytes = (size_t)sol_param_count(p) * sizeof *w;
    sol_net *net;
    sol_eval_result r;
    ck_ok(sol_alloc_array((void **)&before, bytes, 1, err));
    memcpy(before, w, bytes);
    x.w = before;
    sol_quant_forward(f->ctx, spec, &x, (sol_residual_mix){1, 0}, w, NULL);
    ck_ok(sol_net_from_model(&net, f->ctx, f->model, NULL, NULL, &full, err));
    ck_ok(sol_eval_windows(net, t, o, &r, err));
    sol_net_free(&net);
    memcpy(w, before, bytes);
    sol_free(before);
    return r.loss;
}

/* Each layer alone, the dearest first, with what the model has learned; the model stays. */
START_TEST(what_each_layer_costs)
{
    static const char *const methods[] = {"sherry", "lsq", "dlt"};
    sol_tokens t = make_tokens();
    sol_eval_opts o = {.windows = {.seq = 33}};
    for (int i = 0; i < 3; i++) {
        fixture f = make_net(2, NULL);
        sol_sensitivity s;
        sol_eval_result r;
        sol_quant_spec spec = {.method = sol_quantizer_find(methods[i]),
                               .granularity = SOL_PER_CHANNEL,
                               .scale_dtype = SOL_F32};
        ck_ok(sol_eval_windows(f.net, &t, &o, &r, err));
        sol_net_free(&f.net);
        ck_ok(sol_model_add_learned(f.model, &spec, err));
        sol_model_start_learned(f.ctx, f.model, &spec);
        for (int k = f.model->n_plain; k < f.model->n_params; k++) { /* as after some training */
            float *learned = sol_model_f32(f.model, &f.model->params[k]);
            for (int64_t e = 0; e < f.model->params[k].rows; e++)
                learned[e] = 0.4f * learned[e] + 0.01f;
        }
        size_t bytes = (size_t)f.model->n_elements * sizeof(float);
        float *before = malloc(bytes);
        memcpy(before, f.model->data, bytes);
        ck_ok(sol_sensitivity_measure(&s, f.ctx, f.model, &spec, &t, &o.windows, NULL, err));
        ck_assert_mem_eq(before, f.model->data, bytes);
        ck_assert_int_eq(s.n, 2 * 7);
        ck_assert_int_eq(s.tokens, r.tokens);
        ck_assert_double_eq(s.loss, r.loss);
        for (int k = 0; k < s.n; k++) {
            ck_assert_double_eq(s.layer[k].loss, loss_with(&f, s.layer[k].param, &spec, &t, &o));
            ck_assert(k == 0 || s.layer[k].loss <= s.layer[k - 1].loss);
            ck_assert(s.layer[k].loss != s.loss);
        }
        free(before);
        sol_sensitivity_free(&s);
        free_net(&f);
    }
}
END_TEST

START_TEST(own_text_depends_on_seed_and_document_alone)
{
    enum { WANT = 1500, LONGEST = 40 };
    fixture f = make_net(2, NULL);
    sol_self_data a, b, more;
    int ended_by[V] = {0};
    ck_ok(sample(f.net, WANT, LONGEST, 1.0f, 21, &a, err));
    const sol_tokens *t = &a.tokens;
    ck_assert_int_ge(t->n, WANT);
    ck_assert_int_lt(t->n, WANT + LONGEST);
    ck_assert_int_eq(t->width, 2);
    for (int64_t d = 0; d < t->n_docs; d++) {
        int64_t from = (int64_t)t->doc_offsets[d], to = (int64_t)t->doc_offsets[d + 1];
        ck_assert_int_ge(to - from, 1);
        ck_assert_int_le(to - from, LONGEST);
        ck_assert_int_eq(sol_tokens_at(t, from), 1);
        for (int64_t i = from + 1; i < to; i++) {
            ck_assert_int_ne(sol_tokens_at(t, i), 1);
            if (i + 1 < to) ck_assert(sol_tokens_at(t, i) != 2 && sol_tokens_at(t, i) != 7);
        }
        ended_by[sol_tokens_at(t, to - 1)]++;
    }
    ck_assert(ended_by[2] > 0 && ended_by[7] > 0);
    ck_assert_int_eq(t->doc_offsets[t->n_docs], t->n);
    /* Another number of threads, more documents: the same ones first. */
    fixture one = make_net(1, NULL);
    ck_ok(sample(one.net, 3 * WANT, LONGEST, 1.0f, 21, &more, err));
    ck_assert_mem_eq(more.ids16, a.ids16, (size_t)t->n * 2);
    ck_assert_mem_eq(more.doc_offsets, a.doc_offsets, (size_t)t->n_docs * 8);
    ck_ok(sample(f.net, WANT, LONGEST, 1.0f, 22, &b, err));
    ck_assert(memcmp(a.ids16, b.ids16, 1000) != 0);
    /* Document 3 by hand. */
    sol_kv *kv;
    float logits[V];
    char scratch[V * 8];
    int64_t from = (int64_t)t->doc_offsets[3], to = (int64_t)t->doc_offsets[4];
    sol_rng rng = sol_rng_make(21, SOL_STREAM_SELF + (3 << 8));
    sol_sampler_config c = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};
    ck_ok(sol_kv_create(&kv, f.net, LONGEST, err));
    for (int64_t i = from; i + 1 < to; i++) {
        ck_ok(sol_net_forward(
            f.net, &(sol_row){.kv = kv, .token = sol_tokens_at(t, i), .want_logits = true}, 1,
            logits, err));
        ck_assert_int_eq(sol_sample(&c, &rng, logits, V, NULL, 0, scratch),
                         sol_tokens_at(t, i + 1));
    }
    sol_kv_free(&kv);
    sol_self_data_free(&a);
    sol_self_data_free(&b);
    sol_self_data_free(&more);
    ck_assert_ptr_null(a.ids16);
    free_net(&one);
    ck_fails(sample(f.net, WANT, CONTEXT + 1, 1.0f, 21, &a, err), SOL_ERR_RANGE,
             "documents of 65 tokens");
    ck_fails(sample(f.net, 0, 10, 1.0f, 21, &a, err), SOL_ERR_RANGE, "0 tokens");
    ck_fails(sample(f.net, 10, 10, -1.0f, 21, &a, err), SOL_ERR_RANGE, "temperature");
    free_net(&f);
}
END_TEST

typedef struct kept_text {
    sol_self_data last;
    int64_t calls, stop; /* at the stop-th step of the watch */
    int64_t steps;
} kept_text;

static sol_status keep_text(void *user, const sol_tokens *first, sol_err *e)
{
    kept_text *k = user;
    ck_assert_int_gt(first->n, k->last.tokens.n);
    sol_self_data_free(&k->last);
    size_t n_offsets = (size_t)first->n_docs + 1;
    SOL_TRY(sol_alloc_array((void **)&k->last.ids16, (size_t)first->n, 2, e));
    SOL_TRY(sol_alloc_array((void **)&k->last.doc_offsets, n_offsets, 8, e));
    memcpy(k->last.ids16, first->data, (size_t)first->n * 2);
    memcpy(k->last.doc_offsets, first->doc_offsets, n_offsets * 8);
    k->last.tokens = *first;
    k->last.tokens.data = k->last.ids16;
    k->last.tokens.doc_offsets = k->last.doc_offsets;
    k->calls++;
    return SOL_OK;
}

static bool stops_there(void *user, int64_t done, int64_t total)
{
    kept_text *k = user;
    (void)done;
    (void)total;
    return ++k->steps != k->stop;
}

/* Ended anywhere, and begun again with what was kept: the same text. */
START_TEST(own_text_goes_on_from_what_was_kept)
{
    fixture f = make_net(2, NULL);
    sol_self_opts o = {.n_tokens = 1500, .max_len = 40, .temperature = 1, .seed = 21};
    sol_self_data whole, again;
    ck_ok(sol_self_data_sample(f.net, &o, &whole, err));
    static const int64_t stops[] = {1, 2, 17, 39, 60};
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        kept_text k = {.stop = stops[i]};
        o.keep = keep_text;
        o.watch = (sol_eval_watch){.fn = stops_there, .user = &k};
        o.keep_user = &k;
        o.done = NULL;
        sol_status st = sol_self_data_sample(f.net, &o, &again, NULL);
        ck_assert(st == SOL_ERR_INTERRUPTED || st == SOL_OK);
        sol_self_data_free(&again);
        ck_assert(stops[i] < 39 || k.calls > 0);
        sol_self_opts on = o;
        on.watch = (sol_eval_watch){0};
        on.keep = NULL;
        on.done = k.calls ? &k.last.tokens : NULL;
        ck_ok(sol_self_data_sample(f.net, &on, &again, err));
        ck_assert_int_eq(again.tokens.n, whole.tokens.n);
        ck_assert_int_eq(again.tokens.n_docs, whole.tokens.n_docs);
        ck_assert_mem_eq(again.ids16, whole.ids16, (size_t)whole.tokens.n * 2);
        sol_self_data_free(&again);
        sol_self_data_free(&k.last);
    }
    sol_self_data_free(&whole);
    free_net(&f);
}
END_TEST

/* The packed network on real text: no rounding of activations is the latent loss, rounding costs
 * little. */
START_TEST(packed_loss_on_a_real_model)
{
    enum { DOCS = SOL_TEST_SLOW ? 1 : 4 };
    static const uint64_t docs[] = {0, 129, 258, 387, 516};
    uint16_t ids[129 * DOCS];
    char *text;
    size_t size;
    sol_ids encoded = {0};
    sol_model_file ck;
    sol_ctx *ctx;
    ck_ok(sol_model_file_read(&ck, "checkpoints/embedded.h5", SOL_F32, NULL, err));
    ck_ok(sol_file_read("data/sample/stories.txt", &text, &size, err));
    ck_ok(sol_tokenizer_encode(ck.tokenizer, text, size, 0, &encoded, err));
    for (int i = 0; i < 129 * DOCS; i++) ids[i] = (uint16_t)encoded.id[i];
    sol_ids_free(&encoded);
    sol_free(text);
    sol_tokens t = {.data = ids, .width = 2, .n = 129 * DOCS, .doc_offsets = docs, .n_docs = DOCS};
    sol_model *m = ck.model;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int layout = SOL_TEST_SLOW; layout < 2; layout++) {
        sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                               .granularity = SOL_PER_GROUP,
                               .group_size = 64,
                               .layout = layout ? SOL_LAYOUT_STRIDE16 : SOL_LAYOUT_CONTIGUOUS,
                               .scale_dtype = SOL_F16};
        double loss[3];
        sol_packed_model p;
        ck_ok(sol_packed_model_from(ctx, &p, m, &spec, SOL_F32, NULL, err));
        for (int form = 0; form < 3; form++) {
            sol_net *net;
            sol_eval_result r;
            if (form == 0)
                ck_ok(sol_net_from_model(&net, ctx, m, NULL, &spec, NULL, err));
            else
                ck_ok(sol_net_from_packed(
                    &net, ctx, &p,
                    &(sol_net_opts){.activations =
                                        form == 1 ? SOL_ACTIVATIONS_FLOAT : SOL_ACTIVATIONS_INT8},
                    err));
            ck_ok(eval_apart(net, &t, 128, &r, err));
            ck_assert_int_eq(r.tokens, 128 * DOCS);
            loss[form] = r.loss;
            sol_net_free(&net);
        }
        ck_assert_double_eq_tol(loss[1], loss[0], 1e-5);
        ck_assert_double_eq_tol(loss[2], loss[0], 0.02);
        ck_assert(loss[2] != loss[0]);
        sol_packed_model_free(&p);
    }
    sol_model_file_free(&ck);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("eval", tcase_add_test(tc, windows_give_the_training_graphs_loss);
              tcase_add_test(tc, the_last_window_may_be_short);
              tcase_add_test(tc, threads_and_gathering_do_not_change_the_loss);
              tcase_add_test(tc, bad_data_is_refused); tcase_add_test(tc, what_each_layer_costs);
              tcase_add_test(tc, own_text_depends_on_seed_and_document_alone);
              tcase_add_test(tc, own_text_goes_on_from_what_was_kept);
              tcase_add_test(tc, packed_loss_on_a_real_model))
