/* Inference against PyTorch and the training graph: a row's bits in any company, caches, quantized
 * activations, files. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "infer/net.h"
#include "llama2c_file.h"
#include "suite.h"

static sol_ctx *make_ctx(int threads, sol_cpu_features tier)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, tier, NULL, err));
    return ctx;
}

enum { N = 90, V = 315, WIDE_V = 8230 }; /* WIDE_V: two runs of the head */

/* Grouped heads, scaled RoPE, widths that are no multiple of a vector. */
static sol_model_config small_config(void)
{
    return (sol_model_config){.vocab_size = V,
                              .hidden_size = 24,
                              .intermediate_size = 40,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 6,
                              .max_position_embeddings = 300,
                              .rms_norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .rope_factor = 8,
                              .rope_low_freq_factor = 1,
                              .rope_high_freq_factor = 4,
                              .rope_original_max_position = 64,
                              .tie_word_embeddings = true,
                              .bos_token_id = 1,
                              .eos_token_id = 2};
}

/* Weights large enough that attention is not uniform. */
static sol_model *make_model(const sol_ctx *ctx, const sol_model_config *c, sol_dtype dtype)
{
    sol_model *m;
    ck_ok(sol_model_create(&m, c, dtype, err));
    sol_model_init_random(ctx, m, 5);
    for (int64_t i = 0; dtype == SOL_F32 && i < m->n_elements; i++) ((float *)m->data)[i] *= 3.0f;
    return m;
}

static sol_quant_spec make_spec(void)
{
    return (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                            .granularity = SOL_PER_GROUP,
                            .group_size = 8,
                            .layout = SOL_LAYOUT_CONTIGUOUS,
                            .scale_dtype = SOL_F16};
}

/* A model with the net that runs it. */
enum { FP, BF16, LATENT, PACKED, PACKED_FLOAT, N_FORMS };
typedef struct fixture {
    sol_ctx *ctx;
    sol_model *model;
    sol_packed_model packed;
    sol_net *net;
} fixture;

static fixture make_net_of(sol_model_config c, int form, int threads, sol_cpu_features tier,
                           const sol_net_opts *opts)
{
    fixture f = {.ctx = make_ctx(threads, tier)};
    sol_quant_spec spec = make_spec();
    sol_net_opts o = opts ? *opts : (sol_net_opts){0};
    c.tie_word_embeddings = form != LATENT; /* both kinds of head */
    f.model = make_model(f.ctx, &c, form == BF16 ? SOL_BF16 : SOL_F32);
    if (form == PACKED || form == PACKED_FLOAT) {
        if (form == PACKED_FLOAT) o.activations = SOL_ACTIVATIONS_FLOAT;
        ck_ok(sol_packed_model_from(f.ctx, &f.packed, f.model, &spec, SOL_F32, NULL, err));
        ck_ok(sol_net_from_packed(&f.net, f.ctx, &f.packed, &o, err));
    } else {
        ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, form == LATENT ? &spec : NULL, &o,
                                 err));
    }
    return f;
}

static fixture make_net(int form, int threads, sol_cpu_features tier, const sol_net_opts *opts)
{
    return make_net_of(small_config(), form, threads, tier, opts);
}

static fixture make_wide_net(int form, int threads, const sol_net_opts *opts)
{
    sol_model_config c = small_config();
    c.vocab_size = WIDE_V;
    return make_net_of(c, form, threads, SOL_TIER_BEST, opts);
}

static void free_net(fixture *f)
{
    sol_net_free(&f->net);
    sol_packed_model_free(&f->packed);
    sol_model_free(&f->model);
    sol_ctx_free(&f->ctx);
}

static int32_t token_at(int64_t i)
{
    return (int32_t)((i * 7919 + 13) % V);
}

/* Logits of N tokens one after the other: the reference of the tests below. */
static float *decode_all(sol_net *net, int64_t n_vocab)
{
    float *logits;
    sol_kv *kv;
    ck_ok(sol_alloc_array((void **)&logits, (size_t)(N * n_vocab), sizeof *logits, err));
    ck_ok(sol_kv_create(&kv, net, N, err));
    for (int64_t i = 0; i < N; i++) {
        sol_row row = {.kv = kv, .token = token_at(i), .want_logits = true};
        ck_ok(sol_net_forward(net, &row, 1, logits + i * n_vocab, err));
    }
    sol_kv_free(&kv);
    return logits;
}

START_TEST(a_row_has_the_same_bits_in_any_company)
{
    enum { OTHERS = 4 };
    for (int form = 0; form < N_FORMS; form++) {
        fixture f = make_wide_net(form, 3,
                                  &(sol_net_opts){.max_rows = 50,
                                                  .kv_type = form % 3 == 0   ? SOL_F32
                                                             : form % 3 == 1 ? SOL_F16
                                                                             : SOL_I8});
        float *want = decode_all(f.net, WIDE_V), *got;
        sol_kv *kv, *other;
        sol_row rows[N + OTHERS];
        ck_ok(sol_alloc_array((void **)&got, N * WIDE_V, sizeof *got, err));
        ck_ok(sol_kv_create(&kv, f.net, N, err));
        ck_ok(sol_kv_create(&other, f.net, OTHERS, err));
        /* A prefill cut into pieces of 50 rows, with rows of another sequence in between and every
         * third logit asked for. */
        int64_t n = 0, wanted = 0;
        for (int64_t i = 0; i < N; i++) {
            if (i % 20 == 10) rows[n++] = (sol_row){.kv = other, .token = token_at(1000 + i)};
            rows[n++] = (sol_row){.kv = kv, .token = token_at(i), .want_logits = i % 3 == 0};
        }
        ck_ok(sol_net_forward(f.net, rows, n, got, err));
        for (int64_t i = 0; i < N; i += 3, wanted++)
            ck_assert_msg(memcmp(want + i * WIDE_V, got + wanted * WIDE_V, WIDE_V * sizeof *got) ==
                              0,
                          "form %d, row %ld", form, (long)i);
        ck_assert_int_eq(sol_kv_length(kv), N);
        ck_assert_int_eq(sol_kv_length(other), OTHERS);
        sol_kv_free(&kv);
        sol_kv_free(&other);
        sol_free(want);
        sol_free(got);
        free_net(&f);
    }
}
END_TEST

START_TEST(threads_do_not_change_a_bit)
{
    for (int form = 0; form < N_FORMS; form++) {
        float *want = NULL;
        for (int threads = 1; threads <= 4; threads += 3) {
            fixture f = make_wide_net(form, threads, NULL);
            float *got = decode_all(f.net, WIDE_V);
            if (want)
                ck_assert_mem_eq(want, got, N * WIDE_V * sizeof *got);
            else
                want = got;
            if (want != got) sol_free(got);
            free_net(&f);
        }
        sol_free(want);
    }
}
END_TEST

START_TEST(logprobs_are_the_log_softmax_of_the_logits)
{
    fixture f = make_wide_net(LATENT, 2, &(sol_net_opts){.max_rows = 70});
    float *logits = decode_all(f.net, WIDE_V);
    sol_kv *kv;
    sol_row rows[N];
    int32_t targets[N];
    double got[N];
    ck_ok(sol_kv_create(&kv, f.net, N, err));
    for (int64_t i = 0; i < N; i++) {
        rows[i] = (sol_row){.kv = kv, .token = token_at(i)};
        targets[i] = i % 4 == 1 ? -1 : i == 2 ? WIDE_V - 1 : token_at(i + 1);
    }
    ck_ok(sol_net_logprobs(f.net, rows, N, targets, got, err));
    for (int64_t i = 0; i < N; i++) {
        double sum = 0, high = -INFINITY;
        for (int v = 0; v < WIDE_V; v++) high = fmax(high, logits[i * WIDE_V + v]);
        for (int v = 0; v < WIDE_V; v++) sum += exp(logits[i * WIDE_V + v] - high);
        double want = targets[i] < 0 ? 0 : logits[i * WIDE_V + targets[i]] - high - log(sum);
        ck_assert_double_eq_tol(got[i], want, 2e-6 * (1 + fabs(want)));
    }
    sol_kv_free(&kv);
    sol_free(logits);
    free_net(&f);
}
END_TEST

/* Largest difference of two nets' logits over N tokens, relative to the spread of the first. */
static double distance(const float *a, const float *b, int64_t n)
{
    double max = 0, high = 0;
    for (int64_t i = 0; i < n; i++) {
        max = fmax(max, fabs((double)a[i] - b[i]));
        high = fmax(high, fabs((double)a[i]));
    }
    return max / high;
}

START_TEST(every_set_of_features_computes_the_same_function)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    for (int form = 0; form < N_FORMS; form++) {
        fixture c = make_net(form, 2, set[0], NULL);
        float *want = decode_all(c.net, V);
        for (int i = 1; i < n_sets; i++) {
            char features[SOL_CPU_TEXT];
            fixture f = make_net(form, 2, set[i], NULL);
            float *got = decode_all(f.net, V);
            /* An activation on the edge between two integers may fall either way. */
            double limit = form == PACKED ? 2e-2 : 1e-5;
            ck_assert_msg(distance(want, got, N * V) < limit, "form %d, %s: %g", form,
                          sol_cpu_text(set[i], features), distance(want, got, N * V));
            sol_free(got);
            free_net(&f);
        }
        sol_free(want);
        free_net(&c);
    }
}
END_TEST

START_TEST(matches_the_training_graph)
{
    for (int latent = 0; latent < 2; latent++) {
        fixture f = make_net(latent ? LATENT : FP, 2, SOL_TIER_BEST, NULL);
        sol_quant_spec spec = make_spec();
        float *got = decode_all(f.net, V), *want;
        int32_t tokens[N];
        double loss;
        int64_t n;
        sol_graph *g;
        for (int64_t i = 0; i < N; i++) tokens[i] = token_at(i);
        ck_ok(sol_alloc_array((void **)&want, N * V, sizeof *want, err));
        ck_ok(sol_graph_create(&g, f.ctx, f.model, latent ? &spec : NULL,
                               &(sol_graph_opts){.batch = 1, .seq = N, .no_grad = true}, err));
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_loss(g, tokens, tokens, NULL, &loss, &n);
        sol_graph_logits(g, want);
        ck_assert_msg(distance(want, got, N * V) < 1e-5, "%g", distance(want, got, N * V));
        sol_graph_free(&g);
        sol_free(want);
        sol_free(got);
        free_net(&f);
    }
}
END_TEST

START_TEST(float_activations_equal_the_latent_network)
{
    sol_model_config c = small_config();
    sol_quant_spec spec = make_spec();
    fixture f = make_net(PACKED_FLOAT, 2, SOL_TIER_BEST, NULL),
            rounded = make_net(PACKED, 2, SOL_TIER_BEST, NULL);
    sol_net *latent;
    ck_ok(sol_net_from_model(&latent, f.ctx, f.model, NULL, &spec, NULL, err));
    float *want = decode_all(latent, V), *exact = decode_all(f.net, V),
          *near = decode_all(rounded.net, V);
    ck_assert_msg(distance(want, exact, N * V) < 1e-5, "%g", distance(want, exact, N * V));
    ck_assert(distance(want, near, N * V) < 0.1);
    ck_assert(memcmp(exact, near, N * V * sizeof *near) != 0);
    ck_assert_int_eq(sol_net_kind_of(latent), SOL_NET_LATENT);
    ck_assert_int_eq(sol_net_kind_of(f.net), SOL_NET_PACKED);
    /* 1.25 bits and a 16-bit scale for 8 weights */
    ck_assert_double_eq_tol(sol_net_bits_per_weight(latent), 3.25, 1e-9);
    ck_assert_double_eq_tol(sol_net_bits_per_weight(f.net), 3.25, 0.3); /* whole bytes a row */
    ck_assert_uint_gt(sol_net_bytes_per_token(latent), sol_net_bytes_per_token(f.net));
    ck_assert_int_eq(sol_net_config(f.net)->vocab_size, c.vocab_size);
    sol_free(want);
    sol_free(exact);
    sol_free(near);
    sol_net_free(&latent);
    free_net(&f);
    free_net(&rounded);
}
END_TEST

/* Biases of q, k and v, norms of heads and before o and down, windows, layers without RoPE: every
 * form of a network computes what the training graph does, also where the quantizer has biases of
 * its own. */
START_TEST(what_families_have)
{
    static const char *const methods[] = {NULL, "sherry", "tequila"};
    for (int k = 0; k < 9; k++) {
        fixture f = {.ctx = make_ctx(2, SOL_TIER_BEST)};
        sol_model_config c = small_config();
        sol_quant_spec spec = make_spec();
        spec.method = methods[k % 3] ? sol_quantizer_find(methods[k % 3]) : NULL;
        c.qkv_bias = k / 3 != 0;
        c.qk_norm = k / 3 != 1;
        c.sub_norm = k % 2 == 0;
        c.sliding_window = k % 2 ? 5 : 0;
        c.no_rope_layer_interval = k % 4 ? 2 : 0;
        f.model = make_model(f.ctx, &c, SOL_F32);
        for (int i = 0; i < f.model->n_params; i++) {
            const sol_param *p = &f.model->params[i];
            for (int64_t j = 0; p->kind == SOL_PARAM_BIAS && j < p->cols; j++)
                sol_model_f32(f.model, p)[j] = 0.1f * (float)((3 * i + 5 * j) % 23 - 11);
            for (int64_t j = 0; p->kind == SOL_PARAM_NORM && j < p->cols; j++)
                sol_model_f32(f.model, p)[j] = 0.5f + 0.1f * (float)((i + 7 * j) % 13);
        }
        ck_ok(sol_net_from_model(&f.net, f.ctx, f.model, NULL, &spec, NULL, err));
        float *got = decode_all(f.net, V), *want;
        int32_t tokens[N];
        double loss;
        int64_t n;
        sol_graph *g;
        for (int64_t i = 0; i < N; i++) tokens[i] = token_at(i);
        ck_ok(sol_alloc_array((void **)&want, N * V, sizeof *want, err));
        ck_ok(sol_graph_create(&g, f.ctx, f.model, &spec,
                               &(sol_graph_opts){.batch = 1, .seq = N, .no_grad = true}, err));
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_loss(g, tokens, tokens, NULL, &loss, &n);
        sol_graph_logits(g, want);
        ck_assert_msg(distance(want, got, N * V) < 1e-5, "case %d: %g", k,
                      distance(want, got, N * V));
        if (spec.method && spec.method->packable && !spec.method->dead_bias) {
            sol_net *packed;
            ck_ok(sol_packed_model_from(f.ctx, &f.packed, f.model, &spec, SOL_F32, NULL, err));
            ck_ok(sol_net_from_packed(&packed, f.ctx, &f.packed,
                                      &(sol_net_opts){.activations = SOL_ACTIVATIONS_FLOAT}, err));
            float *exact = decode_all(packed, V);
            ck_assert_msg(distance(want, exact, N * V) < 1e-5, "case %d: %g", k,
                          distance(want, exact, N * V));
            sol_free(exact);
            sol_net_free(&packed);
        }
        sol_graph_free(&g);
        sol_free(want);
        sol_free(got);
        free_net(&f);
    }
}
END_TEST

/* Worked by hand. Rows of 258: eight blocks of 32 and one of 2, or one of 256 and one of 2. */
START_TEST(activations_are_rounded_as_llama_cpp_does)
{
    enum { COLS = 258 };
    sol_ctx *ctx = make_ctx(2, SOL_TIER_BEST);
    for (int k = 0; k < 2; k++) {
        sol_net net = {.ctx = ctx, .activations = k ? SOL_ACTIVATIONS_Q8_K : SOL_ACTIVATIONS_Q8_0};
        float x[2 * COLS] = {0}, *r = x + COLS; /* the first row is all zeros */
        r[0] = -254, r[1] = 254, r[2] = 3, r[3] = 4.9f, r[4] = -5.1f, r[5] = 0.9f;
        r[32] = 3, r[33] = 1000;
        r[256] = 0x1p-110f, r[257] = -0x1p-120f;
        net_round_activations(&net, x, 2, COLS);
        for (int i = 0; i < COLS; i++) ck_assert_float_eq(x[i], 0);
        double d = 1000.0 / 127, stored = k ? d : 7.875; /* 7.874 in fp16 */
        ck_assert_double_eq_tol(r[33], 127 * stored, 1e-4);
        ck_assert_float_eq(r[32], 0); /* 0.38 steps */
        if (k) {                      /* one scale with the 1000: steps of 7.87 */
            const double want[] = {-32 * d, 32 * d, 0, d, -d, 0};
            for (int i = 0; i < 6; i++) ck_assert_double_eq_tol(r[i], want[i], 1e-4);
        } else { /* steps of 2, half steps to even */
            const float want[] = {-254, 254, 4, 4, -6, 0};
            for (int i = 0; i < 6; i++) ck_assert_float_eq(r[i], want[i]);
        }
        ck_assert_float_eq(r[256], 0);
        ck_assert_float_eq(r[257], 0);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* The rounding reaches the products of every kind of network, and is small. */
START_TEST(rounded_activations_are_close)
{
    for (int form = 0; form < N_FORMS; form++) {
        if (form == PACKED_FLOAT) continue;
        fixture f =
            make_net(form, 2, SOL_TIER_BEST, &(sol_net_opts){.activations = SOL_ACTIVATIONS_FLOAT});
        float *exact = decode_all(f.net, V);
        free_net(&f);
        for (int k = 0; k < 2; k++) {
            f = make_net(
                form, 2, SOL_TIER_BEST,
                &(sol_net_opts){.activations = k ? SOL_ACTIVATIONS_Q8_K : SOL_ACTIVATIONS_Q8_0});
            float *rounded = decode_all(f.net, V);
            double far = distance(exact, rounded, N * V);
            ck_assert_msg(far > 1e-5 && far < 0.1, "form %d: %g", form, far);
            sol_free(rounded);
            free_net(&f);
        }
        sol_free(exact);
    }
}
END_TEST

START_TEST(f16_and_int8_caches_are_close)
{
    static const sol_dtype types[] = {SOL_F16, SOL_I8};
    fixture f = make_net(FP, 2, SOL_TIER_BEST, NULL);
    float *want = decode_all(f.net, V);
    for (int i = 0; i < 2; i++) {
        fixture smaller = make_net(FP, 2, SOL_TIER_BEST, &(sol_net_opts){.kv_type = types[i]});
        float *got = decode_all(smaller.net, V);
        ck_assert_msg(distance(want, got, N * V) < (i ? 0.03 : 1e-3), "%d: %g", i,
                      distance(want, got, N * V));
        ck_assert(memcmp(want, got, N * V * sizeof *got) != 0);
        sol_free(got);
        free_net(&smaller);
    }
    sol_free(want);
    free_net(&f);
}
END_TEST

START_TEST(caches_are_cut)
{
    static const sol_dtype types[] = {SOL_F32, SOL_F16, SOL_I8};
    for (int t = 0; t < 3; t++) {
        fixture f = make_net(FP, 2, SOL_TIER_BEST, &(sol_net_opts){.kv_type = types[t]});
        sol_kv *kv;
        sol_row rows[N];
        float *want = decode_all(f.net, V), *got;
        ck_ok(sol_alloc_array((void **)&got, V, sizeof *got, err));
        ck_ok(sol_kv_create(&kv, f.net, 60, err));
        ck_assert_int_eq(sol_kv_capacity(kv), 60);
        for (int64_t i = 0; i < N; i++) rows[i] = (sol_row){.kv = kv, .token = token_at(i)};
        ck_ok(sol_net_forward(f.net, rows, 60, NULL, err));
        sol_kv_truncate(kv, 21);
        ck_assert_int_eq(sol_kv_length(kv), 21);
        sol_kv_truncate(kv, 30); /* nothing to forget */
        ck_assert_int_eq(sol_kv_length(kv), 21);
        rows[21].want_logits = true;
        ck_ok(sol_net_forward(f.net, rows + 21, 1, got, err));
        ck_assert_mem_eq(got, want + 21 * V, V * sizeof *got);
        sol_kv_free(&kv);
        sol_free(want);
        sol_free(got);
        free_net(&f);
    }
}
END_TEST

START_TEST(bad_rows_change_nothing)
{
    fixture f = make_net(FP, 1, SOL_TIER_BEST, NULL);
    sol_kv *kv, *none;
    double logprob[4];
    ck_ok(sol_kv_create(&kv, f.net, 3, err));
    sol_row rows[4] = {{.kv = kv, .token = 5},
                       {.kv = kv, .token = 6},
                       {.kv = kv, .token = V},
                       {.kv = kv, .token = 1}};
    int32_t targets[4] = {1, 1, 1, V};
    ck_fails(sol_net_forward(f.net, rows, 4, NULL, err), SOL_ERR_RANGE,
             "token 315: the vocabulary is 0..314");
    rows[2].token = -1;
    ck_fails(sol_net_forward(f.net, rows, 4, NULL, err), SOL_ERR_RANGE, "token -1");
    rows[2].token = 1;
    ck_fails(sol_net_forward(f.net, rows, 4, NULL, err), SOL_ERR_RANGE,
             "the context of 3 tokens is full");
    ck_fails(sol_net_logprobs(f.net, rows, 4, targets, logprob, err), SOL_ERR_RANGE, "full");
    targets[1] = V;
    ck_fails(sol_net_logprobs(f.net, rows, 2, targets, logprob, err), SOL_ERR_RANGE, "token 315");
    ck_assert_int_eq(sol_kv_length(kv), 0);
    ck_ok(sol_net_forward(f.net, rows, 3, NULL, err));
    ck_assert_int_eq(sol_kv_length(kv), 3);
    ck_fails(sol_kv_create(&none, f.net, 301, err), SOL_ERR_RANGE, "301");
    ck_assert_ptr_null(none);
    sol_kv_free(&kv);
    free_net(&f);
}
END_TEST

START_TEST(impossible_networks_are_refused)
{
    sol_ctx *ctx = make_ctx(1, SOL_TIER_BEST);
    sol_model_config c = small_config();
    sol_quant_spec spec = make_spec();
    sol_net *net;
    sol_model *m = make_model(ctx, &c, SOL_F32);
    spec.group_size = 16;
    ck_fails(sol_net_from_model(&net, ctx, m, NULL, &spec, NULL, err), SOL_ERR_SHAPE, "q_proj");
    ck_assert_ptr_null(net);
    sol_net *const stale = (sol_net *)ctx; /* what a variable may hold before */
    net = stale;
    ck_fails(
        sol_net_from_model(&net, ctx, m, NULL, NULL, &(sol_net_opts){.kv_type = SOL_BF16}, err),
        SOL_ERR_UNSUPPORTED, "bf16");
    ck_assert_ptr_null(net);
    net = stale;
    ck_fails(sol_net_open(&net, ctx, "/nonexistent.h5", NULL, err), SOL_ERR_IO, "/nonexistent.h5");
    ck_assert_ptr_null(net);
    sol_packed_model p;
    spec = make_spec();
    ck_ok(sol_packed_model_from(ctx, &p, m, &spec, SOL_F32, NULL, err));
    net = stale;
    ck_fails(sol_net_from_packed(&net, ctx, &p, &(sol_net_opts){.kv_type = SOL_BF16}, err),
             SOL_ERR_UNSUPPORTED, "bf16");
    ck_assert_ptr_null(net);
    sol_packed_model_free(&p);
    sol_model_free(&m);
    c.vocab_size = 8;
    c.head_dim = 514;
    m = make_model(ctx, &c, SOL_F32);
    ck_fails(sol_net_from_model(&net, ctx, m, NULL, NULL, NULL, err), SOL_ERR_UNSUPPORTED,
             "head_dim is 514");
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(files_run_as_the_memory_they_came_from)
{
    static const sol_dtype types[] = {SOL_F32, SOL_F16, SOL_Q8, SOL_Q6, SOL_Q4};
    char dir[64], path[96];
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/m.h5", dir);
    fixture f = make_net(LATENT, 2, SOL_TIER_BEST, NULL);
    sol_model_file file = {.model = f.model, .quant = make_spec()};
    sol_net *net;
    ck_ok(sol_model_file_write(&file, path, SOL_F32, NULL, err));
    ck_ok(sol_net_open(&net, f.ctx, path, NULL, err));
    float *want = decode_all(f.net, V), *got = decode_all(net, V), *fp;
    ck_assert_mem_eq(want, got, N * V * sizeof *got);
    ck_assert_int_eq(sol_net_kind_of(net), SOL_NET_LATENT);
    sol_net_free(&net);
    ck_ok(sol_net_open(&net, f.ctx, path, &(sol_net_opts){.full_precision = true}, err));
    fp = decode_all(net, V);
    ck_assert_int_eq(sol_net_kind_of(net), SOL_NET_FP);
    ck_assert_double_eq(sol_net_bits_per_weight(net), 32);
    ck_assert(memcmp(fp, got, N * V * sizeof *got) != 0);
    sol_net_free(&net);
    sol_net_opts bf16 = {.weights = SOL_BF16};
    ck_fails(sol_net_open(&net, f.ctx, path, &bf16, err), SOL_ERR_USAGE,
             "weights in bf16 are those of full precision");
    bf16.full_precision = true;
    ck_ok(sol_net_open(&net, f.ctx, path, &bf16, err));
    float *rounded = decode_all(net, V);
    ck_assert_double_eq(sol_net_bits_per_weight(net), 16);
    ck_assert_double_lt(distance(fp, rounded, N * V), 0.05);
    ck_assert(memcmp(fp, rounded, N * V * sizeof *fp) != 0);
    sol_free(rounded);
    sol_net_free(&net);
    for (int i = 0; i < 5; i++) {
        sol_packed_model p;
        ck_ok(sol_packed_model_from(f.ctx, &p, f.model, &file.quant, types[i], NULL, err));
        ck_ok(sol_packed_model_write(&p, NULL, path, err));
        sol_packed_model_free(&p);
        ck_ok(sol_net_open(&net, f.ctx, path, &(sol_net_opts){.activations = SOL_ACTIVATIONS_FLOAT},
                           err));
        sol_free(got);
        got = decode_all(net, V);
        double limit = i == 0 ? 1e-5 : i == 1 ? 1e-3 : i == 2 ? 0.02 : 0.5;
        ck_assert_msg(distance(want, got, N * V) < limit, "%s: %g", sol_dtype_name(types[i]),
                      distance(want, got, N * V));
        sol_net_free(&net);
        ck_fails(sol_net_open(&net, f.ctx, path, &(sol_net_opts){.full_precision = true}, err),
                 SOL_ERR_USAGE, "packed");
    }
    sol_free(want);
    sol_free(got);
    sol_free(fp);
    free_net(&f);
    sol_test_dir_remove(dir);
}
END_TEST

START_TEST(logits_match_pytorch_with_every_set_of_features)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    const char *path = sol_test_data("oracles/stories260K-torch-logits.json");
    if (!path) return;
    json_t *j = json_load_file(path, 0, NULL);
    const json_t *ids = json_object_get(j, "ids");
    int64_t n = (int64_t)json_array_size(ids);
    sol_model *m;
    sol_row rows[512];
    char *data;
    size_t size;
    float *got;
    sol_test_llama2c_read(&m, sol_test_data("models/stories260K.bin"));
    ck_ok(sol_file_read(sol_test_data("oracles/stories260K-torch-logits.f32"), &data, &size, err));
    const float *want = (const float *)data;
    ck_assert_uint_eq(size, (size_t)(n * 512) * sizeof *want);
    ck_ok(sol_alloc_array((void **)&got, (size_t)(n * 512), sizeof *got, err));
    for (int t = 0; t < n_sets; t++) {
        sol_ctx *ctx = make_ctx(2, set[t]);
        sol_net *net;
        sol_kv *kv;
        ck_ok(sol_net_from_model(&net, ctx, m, NULL, NULL, NULL, err));
        ck_ok(sol_kv_create(&kv, net, n, err));
        for (int64_t i = 0; i < n; i++)
            rows[i] =
                (sol_row){.kv = kv,
                          .token = (int32_t)json_integer_value(json_array_get(ids, (size_t)i)),
                          .want_logits = true};
        ck_ok(sol_net_forward(net, rows, n, got, err));
        int64_t far = 0;
        for (int64_t i = 0; i < n * 512; i++) far += !(fabsf(got[i] - want[i]) < 1e-4f);
        ck_assert_int_eq(far, 0);
        sol_kv_free(&kv);
        sol_net_free(&net);
        sol_ctx_free(&ctx);
    }
    sol_free(got);
    sol_free(data);
    sol_model_free(&m);
    json_decref(j);
}
END_TEST

SOL_TEST_MAIN("infer", tcase_add_test(tc, a_row_has_the_same_bits_in_any_company);
              tcase_add_test(tc, threads_do_not_change_a_bit);
              tcase_add_test(tc, logprobs_are_the_log_softmax_of_the_logits);
              tcase_add_test(tc, every_set_of_features_computes_the_same_function);
              tcase_add_test(tc, matches_the_training_graph);
              tcase_add_test(tc, float_activations_equal_the_latent_network);
              tcase_add_test(tc, what_families_have);
              tcase_add_test(tc, activations_are_rounded_as_llama_cpp_does);
              tcase_add_test(tc, rounded_activations_are_close);
              tcase_add_test(tc, f16_and_int8_caches_are_close); tcase_add_test(tc, caches_are_cut);
              tcase_add_test(tc, bad_rows_change_nothing);
              tcase_add_test(tc, impossible_networks_are_refused);
              tcase_add_test(tc, files_run_as_the_memory_they_came_from);
              tcase_add_test(tc, logits_match_pytorch_with_every_set_of_features))
