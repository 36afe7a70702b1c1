/* The training graph against PyTorch; the same bits for any threads, checkpoints and cuts of the
 * batch; what its plan counts. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "llama2c_file.h"
#include "suite.h"

static sol_ctx *make_ctx(int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
    return ctx;
}

static json_t *read_json(const char *name)
{
    const char *path = sol_test_data(name);
    if (!path) return NULL;
    json_t *j = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(j);
    return j;
}

/* The float32 array in a file of third-party data; the caller frees it. */
static float *read_floats(const char *name, size_t *n)
{
    char *data;
    size_t size;
    const char *path = sol_test_data(name);
    ck_assert_ptr_nonnull(path);
    ck_ok(sol_file_read(path, &data, &size, err));
    *n = size / sizeof(float);
    return (float *)data;
}

static double norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

START_TEST(logits_match_pytorch)
{
    json_t *j = read_json("oracles/stories260K-torch-logits.json");
    if (!j) return;
    sol_model *m;
    sol_test_llama2c_read(&m, sol_test_data("models/stories260K.bin"));
    sol_ctx *ctx = make_ctx(2);
    sol_graph *g;
    const json_t *ids = json_object_get(j, "ids");
    int64_t n = (int64_t)json_array_size(ids);
    int32_t tokens[512];
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    ck_ok(sol_graph_create(&g, ctx, m, NULL,
                           &(sol_graph_opts){.batch = 1, .seq = n, .no_grad = true}, err));
    double loss;
    int64_t counted;
    sol_graph_loss(g, tokens, tokens, NULL, &loss, &counted);
    size_t count;
    float *want = read_floats("oracles/stories260K-torch-logits.f32", &count), *got;
    ck_assert_uint_eq(count, (size_t)(n * 512));
    ck_ok(sol_alloc_array((void **)&got, count, sizeof *got, err));
    sol_graph_logits(g, got);
    for (size_t i = 0; i < count; i++) ck_assert_float_eq_tol(got[i], want[i], 1e-4f);
    sol_free(want);
    sol_free(got);
    sol_graph_free(&g);
    sol_model_free(&m);
    sol_ctx_free(&ctx);
    json_decref(j);
}
END_TEST

/* Rows of T + 1 ids become inputs [B, T] and targets [B, T]. */
static void shift_rows(const json_t *rows, int32_t *tokens, int32_t *targets, int64_t T)
{
    for (size_t b = 0; b < json_array_size(rows); b++)
        for (int64_t t = 0; t < T; t++) {
            const json_t *row = json_array_get(rows, b);
            *tokens++ = (int32_t)json_integer_value(json_array_get(row, (size_t)t));
            *targets++ = (int32_t)json_integer_value(json_array_get(row, (size_t)t + 1));
        }
}

static void compare_gradients(const sol_model *m, float *grads, const char *oracle,
                              double tolerance)
{
    size_t count;
    float *want = read_floats(oracle, &count), *got;
    ck_assert_uint_eq(count, (size_t)m->n_weights);
    ck_ok(sol_alloc_array((void **)&got, count, sizeof *got, err));
    sol_test_llama2c_order(m, grads, got, true);
    const float *w = want, *x = got;
    for (int kind = 0; kind < SOL_TEST_LLAMA2C_KINDS; kind++) {
        int64_t layers =
            kind == 0 || kind == SOL_TEST_LLAMA2C_KINDS - 1 ? 1 : m->config.num_hidden_layers;
        int64_t n = sol_test_llama2c_count(m, kind) / layers;
        for (int64_t l = 0; l < layers; l++, w += n, x += n) {
            double difference = 0, size = norm(w, n);
            for (int64_t i = 0; i < n; i++)
                difference += ((double)x[i] - w[i]) * ((double)x[i] - w[i]);
            ck_assert_msg(sqrt(difference) <= tolerance * size,
                          "%s, layer %d: gradient differs by %g of %g", sol_test_llama2c_kind[kind],
                          (int)l, sqrt(difference), size);
        }
    }
    sol_free(want);
    sol_free(got);
}

START_TEST(loss_and_gradients_match_pytorch)
{
    json_t *j = read_json("oracles/stories260K-torch-step.json");
    if (!j) return;
    sol_model *m;
    sol_test_llama2c_read(&m, sol_test_data("models/stories260K.bin"));
    int32_t tokens[256], targets[256];
    shift_rows(json_object_get(j, "tokens"), tokens, targets, 128);
    for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
        sol_ctx *ctx = make_ctx(2);
        sol_graph *g;
        sol_graph_opts o = {.batch = 2, .seq = 128, .activation_checkpoints = checkpoints};
        double loss;
        int64_t n;
        ck_ok(sol_graph_create(&g, ctx, m, NULL, &o, err));
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_accumulate(g, tokens, targets, NULL, 1.0f / 256, &loss, &n);
        ck_assert_int_eq(n, 256);
        ck_assert_double_eq_tol(loss / 256, json_real_value(json_object_get(j, "loss")), 1e-5);
        compare_gradients(m, sol_graph_grads(g), "oracles/stories260K-torch-grads.f32", 1e-3);
        sol_graph_free(&g);
        sol_ctx_free(&ctx);
    }
    sol_model_free(&m);
    json_decref(j);
}
END_TEST

static sol_model_config tiny_config(void)
{
    return (sol_model_config){.vocab_size = 37,
                              .hidden_size = 16,
                              .intermediate_size = 24,
                              .num_hidden_layers = 3,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 4,
                              .max_position_embeddings = 256,
                              .rms_norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .tie_word_embeddings = true,
                              .bos_token_id = -1,
                              .eos_token_id = -1};
}

/* Weights large enough that every part of the network matters. */
static sol_model *random_model(const sol_model_config *c)
{
    sol_model *m;
    ck_ok(sol_model_create(&m, c, SOL_F32, err));
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    for (int p = 0; p < m->n_params; p++) {
        float *w = sol_model_f32(m, &m->params[p]),
              size = m->params[p].kind == SOL_PARAM_NORM ? 0.3f : 0.5f;
        for (int64_t i = 0; i < sol_param_count(&m->params[p]); i++)
            w[i] =
                (m->params[p].kind == SOL_PARAM_NORM ? 1.0f : 0.0f) + size * sol_rng_normal(&rng);
    }
    return m;
}

enum { MAX_TOKENS = 1024 };

static void random_tokens(uint64_t seed, int64_t vocab, int64_t n, int32_t *tokens,
                          int32_t *targets)
{
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int64_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)sol_rng_below(&rng, (uint64_t)vocab);
        targets[i] =
            sol_rng_below(&rng, 8) == 0 ? -1 : (int32_t)sol_rng_below(&rng, (uint64_t)vocab);
    }
}

static const sol_quant_spec *sherry(void)
{
    static sol_quant_spec spec;
    spec = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                            .granularity = SOL_PER_GROUP,
                            .group_size = 4,
                            .scale_dtype = SOL_F16};
    return &spec;
}

/* Loss and gradients of one batch, on a graph of its own; the caller frees the gradients. */
static float *step(const sol_model *m, const sol_quant_spec *spec, sol_residual_mix mix,
                   sol_graph_opts o, int threads, const int32_t *tokens, const int32_t *targets,
                   const int32_t *doc_start, double *loss)
{
    sol_ctx *ctx = make_ctx(threads);
    sol_graph *g;
    float *grads;
    int64_t n;
    ck_ok(sol_graph_create(&g, ctx, m, spec, &o, err));
    sol_graph_begin_step(g, mix, 1);
    sol_graph_accumulate(g, tokens, targets, doc_start, 0.125f, loss, &n);
    ck_ok(sol_alloc_array((void **)&grads, (size_t)m->n_elements, sizeof *grads, err));
    memcpy(grads, sol_graph_grads(g), (size_t)m->n_elements * sizeof *grads);
    double again;
    sol_graph_loss(g, tokens, targets, doc_start, &again, &n);
    ck_assert_double_eq(again, *loss);
    sol_graph_free(&g);
    sol_ctx_free(&ctx);
    return grads;
}

static const sol_residual_mix some_mix = {1, 0.5f};

START_TEST(same_bits_for_any_threads_and_with_checkpoints)
{
    sol_model_config c = tiny_config();
    sol_model *m = random_model(&c);
    int32_t tokens[MAX_TOKENS], targets[MAX_TOKENS];
    random_tokens(1, c.vocab_size, 3 * 150, tokens, targets);
    double want_loss, loss;
    float *want = step(m, sherry(), some_mix, (sol_graph_opts){.batch = 3, .seq = 150}, 1, tokens,
                       targets, NULL, &want_loss);
    for (int threads = 1; threads <= 3; threads++) {
        sol_graph_opts o = {.batch = 3, .seq = 150, .activation_checkpoints = threads != 2};
        float *got = step(m, sherry(), some_mix, o, threads, tokens, targets, NULL, &loss);
        ck_assert_double_eq(loss, want_loss);
        ck_assert_mem_eq(got, want, (size_t)m->n_elements * sizeof *got);
        sol_free(got);
    }
    sol_free(want);
    sol_model_free(&m);
}
END_TEST

/* |a - b| <= tolerance * |b| over the whole block. */
static void assert_close(const float *a, const float *b, int64_t n, double tolerance)
{
    double difference = 0;
    for (int64_t i = 0; i < n; i++) difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    ck_assert_msg(sqrt(difference) <= tolerance * norm(b, n), "blocks differ by %g of %g",
                  sqrt(difference), norm(b, n));
}

/* Products in bf16: the same bits for any threads, and near the gradients of fp32. */
START_TEST(bf16_compute)
{
    sol_model_config c = tiny_config();
    sol_model *m;
    ck_ok(sol_model_create(&m, &c, SOL_F32, err));
    /* As a training begins: sums of rounding errors stay small. */
    sol_model_init_random(NULL, m, 1);
    int32_t tokens[MAX_TOKENS], targets[MAX_TOKENS], start[3 * 150];
    random_tokens(1, c.vocab_size, 3 * 150, tokens, targets);
    for (int i = 0; i < 3 * 150; i++) start[i] = i % 150 < 41 ? 0 : i % 150 < 120 ? 41 : 120;
    double exact_loss, want_loss, loss;
    sol_graph_opts o = {.batch = 3, .seq = 150};
    float *exact = step(m, sherry(), some_mix, o, 1, tokens, targets, start, &exact_loss);
    o.compute = SOL_BF16;
    float *want = step(m, sherry(), some_mix, o, 1, tokens, targets, start, &want_loss);
    ck_assert_double_ne(want_loss, exact_loss);
    ck_assert_double_eq_tol(want_loss, exact_loss, 1e-3 * exact_loss);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        int64_t n = sol_param_count(p);
        double difference = 0;
        for (int64_t k = p->offset; k < p->offset + n; k++)
            difference += ((double)want[k] - exact[k]) * ((double)want[k] - exact[k]);
        ck_assert_msg(sqrt(difference) <= 0.02 * norm(exact + p->offset, n), "%s: off by %g of %g",
                      p->name, sqrt(difference), norm(exact + p->offset, n));
    }
    for (int threads = 2; threads <= 3; threads++) {
        o.activation_checkpoints = threads == 3;
        float *got = step(m, sherry(), some_mix, o, threads, tokens, targets, start, &loss);
        ck_assert_double_eq(loss, want_loss);
        ck_assert_mem_eq(got, want, (size_t)m->n_elements * sizeof *got);
        sol_free(got);
    }
    sol_free(exact);
    sol_free(want);
    /* Weights that are not quantized stay in fp32. */
    want = step(m, NULL, some_mix, o, 2, tokens, targets, NULL, &loss);
    exact = step(m, NULL, some_mix, (sol_graph_opts){.batch = 3, .seq = 150}, 2, tokens, targets,
                 NULL, &exact_loss);
    assert_close(want, exact, m->n_elements, 0.02);
    sol_free(exact);
    sol_free(want);
    sol_model_free(&m);
}
END_TEST

START_TEST(a_step_allocates_nothing)
{
    sol_model_config c = tiny_config();
    sol_model *m = random_model(&c);
    sol_ctx *ctx = make_ctx(2);
    sol_graph *g;
    int32_t tokens[64], targets[64];
    double loss;
    int64_t n;
    random_tokens(2, c.vocab_size, 64, tokens, targets);
    for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
        ck_ok(sol_graph_create(
            &g, ctx, m, sherry(),
            &(sol_graph_opts){.batch = 2, .seq = 32, .activation_checkpoints = checkpoints}, err));
        uint64_t before = sol_alloc_count();
        sol_graph_begin_step(g, some_mix, 1);
        sol_graph_accumulate(g, tokens, targets, NULL, 1, &loss, &n);
        sol_graph_loss(g, tokens, targets, NULL, &loss, &n);
        ck_assert_uint_eq(sol_alloc_count(), before);
        sol_graph_free(&g);
    }
    sol_ctx_free(&ctx);
    sol_model_free(&m);
}
END_TEST

START_TEST(micro_batches_add_up_to_the_large_batch)
{
    sol_model_config c = tiny_config();
    sol_model *m = random_model(&c);
    int32_t tokens[4 * 40], targets[4 * 40];
    random_tokens(3, c.vocab_size, 160, tokens, targets);
    double want_loss, sum = 0;
    float *want = step(m, sherry(), some_mix, (sol_graph_opts){.batch = 4, .seq = 40}, 2, tokens,
                       targets, NULL, &want_loss);
    sol_ctx *ctx = make_ctx(2);
    sol_graph *g;
    ck_ok(sol_graph_create(&g, ctx, m, sherry(), &(sol_graph_opts){.batch = 1, .seq = 40}, err));
    sol_graph_begin_step(g, some_mix, 4);
    for (int64_t b = 0; b < 4; b++) {
        double loss;
        int64_t n;
        sol_graph_accumulate(g, tokens + b * 40, targets + b * 40, NULL, 0.125f, &loss, &n);
        sum += loss;
    }
    ck_assert_double_eq_tol(sum, want_loss, 1e-5 * want_loss);
    assert_close(sol_graph_grads(g), want, m->n_elements, 1e-5);
    /* Anew: what the gradients held does not matter. */
    float *alone = step(m, sherry(), some_mix, (sol_graph_opts){.batch = 1, .seq = 40}, 2, tokens,
                        targets, NULL, &sum);
    double loss;
    int64_t n;
    sol_graph_begin_step(g, some_mix, 1);
    sol_graph_accumulate(g, tokens, targets, NULL, 0.125f, &loss, &n);
    ck_assert_mem_eq(sol_graph_grads(g), alone, (size_t)m->n_elements * sizeof(float));
    sol_free(alone);
    sol_free(want);
    sol_graph_free(&g);
    sol_ctx_free(&ctx);
    sol_model_free(&m);
}
END_TEST

/* Documents of 1, 69, 3 and 27 tokens in one row: as if each were alone. */
START_TEST(documents_do_not_see_each_other)
{
    static const int64_t lengths[] = {1, 69, 3, 27};
    sol_model_config c = tiny_config();
    sol_model *m = random_model(&c);
    int32_t tokens[100], targets[100], start[100];
    random_tokens(4, c.vocab_size, 100, tokens, targets);
    double sum = 0, loss;
    float *total;
    ck_ok(sol_alloc_array((void **)&total, (size_t)m->n_elements, sizeof *total, err));
    for (int64_t d = 0, at = 0; d < 4; at += lengths[d++]) {
        sol_graph_opts o = {.batch = 1, .seq = lengths[d]};
        float *grads = step(m, NULL, some_mix, o, 1, tokens + at, targets + at, NULL, &loss);
        for (int64_t i = 0; i < m->n_elements; i++) total[i] += grads[i];
        for (int64_t t = 0; t < lengths[d]; t++) start[at + t] = (int32_t)at;
        sol_free(grads);
        sum += loss;
    }
    float *packed = step(m, NULL, some_mix, (sol_graph_opts){.batch = 1, .seq = 100}, 2, tokens,
                         targets, start, &loss);
    ck_assert_double_eq_tol(loss, sum, 1e-5 * sum);
    assert_close(packed, total, m->n_elements, 1e-5);
    sol_free(packed);
    sol_free(total);
    sol_model_free(&m);
}
END_TEST

/* The gradient's projection on a random direction against the difference of two losses. */
static void check_direction(const sol_model_config *c, int64_t batch, int64_t seq)
{
    sol_model *m = random_model(c);
    float *w = m->data, *direction;
    int32_t tokens[MAX_TOKENS], targets[MAX_TOKENS];
    int64_t n = batch * seq;
    double loss[2];
    random_tokens(6, c->vocab_size, n, tokens, targets);
    targets[0] = 0;
    sol_graph_opts o = {.batch = batch, .seq = seq};
    float *grads = step(m, NULL, some_mix, o, 2, tokens, targets, NULL, &loss[0]);
    ck_ok(sol_alloc_array((void **)&direction, (size_t)m->n_elements, sizeof *direction, err));
    /* Along the signs of the gradient, as far as changes the loss by about 0.01. */
    double expected = 0, sum = 1e-3;
    sol_rng rng = sol_rng_make(7, SOL_STREAM_TEST);
    for (int64_t i = 0; i < m->n_elements; i++) sum += fabs((double)grads[i]) / 0.125;
    for (int64_t i = 0; i < m->n_elements; i++) {
        direction[i] = copysignf(sol_rng_uniform(&rng) * (float)(0.02 / sum), grads[i]);
        expected += (double)grads[i] / 0.125 * direction[i];
    }
    for (int up = 0; up < 2; up++) {
        for (int64_t i = 0; i < m->n_elements; i++) w[i] += up ? 2 * direction[i] : -direction[i];
        sol_free(step(m, NULL, some_mix, o, 1, tokens, targets, NULL, &loss[up]));
    }
    double numeric = (loss[1] - loss[0]) / 2;
    ck_assert_msg(fabs(numeric - expected) <= 1e-2 * fabs(expected) + 2e-5,
                  "batch %d x %d: difference %g, gradient %g", (int)batch, (int)seq, numeric,
                  expected);
    sol_free(direction);
    sol_free(grads);
    sol_model_free(&m);
}

START_TEST(biases_and_further_norms)
{
    sol_model_config c = tiny_config();
    for (int flags = 1; flags < 8; flags++) {
        c.qkv_bias = flags & 1;
        c.qk_norm = flags & 2;
        c.sub_norm = flags & 4;
        check_direction(&c, 2, 9);
    }
}
END_TEST

START_TEST(windows_and_layers_without_rope)
{
    sol_model_config c = tiny_config();
    for (int flags = 1; flags < 4; flags++) {
        c.sliding_window = flags & 1 ? 3 : 0;
        c.no_rope_layer_interval = flags & 2;
        check_direction(&c, 2, 9);
    }
    check_direction(&c, 1, 131);
}
END_TEST

START_TEST(odd_shapes)
{
    sol_model_config c = tiny_config();
    check_direction(&c, 2, 9);
    check_direction(&c, 1, 1);
    check_direction(&c, 3, 1);
    check_direction(&c, 1, 131);
    c.tie_word_embeddings = false;
    check_direction(&c, 2, 5);
    c.head_dim = 2;
    c.num_hidden_layers = 1;
    check_direction(&c, 1, 7);
    c.num_attention_heads = c.num_key_value_heads = 1;
    c.intermediate_size = c.hidden_size = 1;
    check_direction(&c, 2, 3);
    c.vocab_size = 1;
    check_direction(&c, 1, 4);
}
END_TEST

/* A quantized graph computes with W_eff and hands W the gradient of W_eff times a + b. */
START_TEST(quantized_layers_are_straight_through)
{
    sol_model_config c = tiny_config();
    sol_model *m = random_model(&c), *effective = random_model(&c);
    int32_t tokens[64], targets[64];
    random_tokens(8, c.vocab_size, 64, tokens, targets);
    sol_ctx *ctx = make_ctx(1);
    const sol_residual_mix mix = {0.75f, 0.5f};
    double loss[2];
    for (int p = 0; p < m->n_params; p++)
        if (m->params[p].quantized)
            sol_quant_effective(ctx, sherry(), sol_model_f32(m, &m->params[p]), m->params[p].rows,
                                m->params[p].cols, mix, sol_model_f32(effective, &m->params[p]));
    sol_graph_opts o = {.batch = 2, .seq = 32};
    float *got = step(m, sherry(), mix, o, 2, tokens, targets, NULL, &loss[0]);
    float *want = step(effective, NULL, mix, o, 2, tokens, targets, NULL, &loss[1]);
    ck_assert_double_eq(loss[0], loss[1]);
    for (int p = 0; p < m->n_params; p++)
        for (int64_t i = 0; i < sol_param_count(&m->params[p]) && m->params[p].quantized; i++)
            want[m->params[p].offset + i] *= 1.25f;
    assert_close(got, want, m->n_elements, 1e-6);
    sol_free(got);
    sol_free(want);
    sol_ctx_free(&ctx);
    sol_model_free(&m);
    sol_model_free(&effective);
}
END_TEST

static const sol_quant_spec *tequila(void)
{
    static sol_quant_spec spec;
    spec = *sherry();
    spec.method = sol_quantizer_find("tequila");
    return &spec;
}

/* Parameters in bf16 against the same values in f32: loss and gradients, to the bit. */
START_TEST(bf16_parameters_compute_as_their_values)
{
    const sol_quant_spec *const specs[] = {NULL, sherry(), tequila()};
    for (int i = 0; i < 6; i++) {
        sol_model_config c = tiny_config();
        c.tie_word_embeddings = i % 2 == 0;
        sol_model *bf16, *f32 = random_model(&c);
        int32_t tokens[64], targets[64];
        double want_loss, loss;
        sol_graph_opts o = {.batch = 2, .seq = 32, .activation_checkpoints = i % 2};
        random_tokens(9, c.vocab_size, 64, tokens, targets);
        ck_ok(sol_model_create(&bf16, &c, SOL_BF16, err));
        sol_convert(bf16->data, SOL_BF16, f32->data, SOL_F32, f32->n_elements);
        sol_convert(f32->data, SOL_F32, bf16->data, SOL_BF16, f32->n_elements);
        float *want = step(f32, specs[i / 2], some_mix, o, 1, tokens, targets, NULL, &want_loss);
        float *got = step(bf16, specs[i / 2], some_mix, o, 2, tokens, targets, NULL, &loss);
        ck_assert_double_eq(loss, want_loss);
        ck_assert_mem_eq(got, want, (size_t)f32->n_elements * sizeof *got);
        sol_free(want);
        sol_free(got);
        sol_model_free(&bf16);
        sol_model_free(&f32);
    }
}
END_TEST

typedef struct collector {
    const sol_model *m;
    float *grads;
    int parts;
    double loss;
    bool late;           /* takes the gradients of a block when the next one has been handed out */
    sol_graph_part last; /* not taken yet; n 0: none */
} collector;

static void take(collector *c, const sol_graph_part *part)
{
    memcpy(c->grads + c->m->params[part->first].offset, part->grads,
           (size_t)part->n_elements * sizeof(float));
}

static void collect(void *user, const sol_graph_part *part)
{
    collector *c = user;
    const sol_graph_part *complete = c->late ? &c->last : part;
    if (complete->n) take(c, complete);
    c->last = *part;
    /* The parameters are not needed any more: spoiled here, they must not change what follows. */
    for (int i = part->first; i < part->first + part->n; i++) {
        const sol_param *p = &c->m->params[i];
        memset(sol_model_at(c->m, p), 0x7f,
               (size_t)sol_param_count(p) * sol_dtype_size(c->m->dtype));
    }
    c->loss = part->loss_sum;
    c->parts++;
}

/* Block by block the gradients are those of the whole, also when each block is overwritten as soon
 * as it is through. */
START_TEST(gradients_block_by_block)
{
    const sol_quant_spec *const specs[] = {NULL, sherry(), tequila()};
    for (int i = 0; i < 24; i++) {
        sol_model_config c = tiny_config();
        c.tie_word_embeddings = i % 2 == 0;
        c.qkv_bias = c.qk_norm = i % 3 == 0;
        c.sub_norm = i % 2;
        sol_model *f32 = random_model(&c), *m;
        int32_t tokens[64], targets[64];
        double want_loss, loss;
        int64_t n;
        random_tokens(9, c.vocab_size, 64, tokens, targets);
        ck_ok(sol_model_create(&m, &c, i % 4 / 2 ? SOL_BF16 : SOL_F32, err));
        sol_convert(m->data, m->dtype, f32->data, SOL_F32, m->n_elements);
        sol_graph_opts o = {.batch = 2, .seq = 32, .activation_checkpoints = i % 3 != 0};
        const sol_quant_spec *spec = specs[i % 12 / 4];
        float *want = step(m, spec, some_mix, o, 2, tokens, targets, NULL, &want_loss);
        collector got = {.m = m, .late = i >= 12};
        ck_ok(sol_alloc_array((void **)&got.grads, (size_t)m->n_elements, sizeof(float), err));
        o.by_layer = true;
        o.in_turns = got.late;
        sol_ctx *ctx = make_ctx(1);
        sol_graph *g;
        ck_ok(sol_graph_create(&g, ctx, m, spec, &o, err));
        ck_assert_ptr_null(sol_graph_grads(g));
        sol_graph_on_gradients(g, collect, &got);
        sol_graph_begin_step(g, some_mix, 1);
        uint64_t before = sol_alloc_count();
        sol_graph_accumulate(g, tokens, targets, NULL, 0.125f, &loss, &n);
        take(&got, &got.last);
        ck_assert_uint_eq(sol_alloc_count(), before);
        ck_assert_double_eq(loss, want_loss);
        ck_assert_double_eq(got.loss, want_loss);
        ck_assert_int_eq(got.parts, 5);
        ck_assert_mem_eq(got.grads, want, (size_t)m->n_elements * sizeof(float));
        sol_graph_free(&g);
        sol_ctx_free(&ctx);
        sol_free(got.grads);
        sol_free(want);
        sol_model_free(&m);
        sol_model_free(&f32);
    }
}
END_TEST

/* The gradients of the whole model, too, are handed out in these parts, complete, in the last
 * micro-batch of a step; those of a method with a backward of its own behind it. */
START_TEST(gradients_of_the_whole_in_parts)
{
    const sol_quant_spec *const specs[] = {NULL, sherry(), tequila()};
    for (int i = 0; i < 12; i++) {
        sol_model_config c = tiny_config();
        c.tie_word_embeddings = i % 2 == 0;
        sol_model *m = random_model(&c), *again = random_model(&c);
        int32_t tokens[64], targets[64];
        double loss;
        int64_t n;
        random_tokens(9, c.vocab_size, 64, tokens, targets);
        sol_graph_opts o = {.batch = 2, .seq = 32, .activation_checkpoints = i % 4 < 2};
        sol_graph *plain, *g;
        sol_ctx *ctx = make_ctx(1);
        ck_ok(sol_graph_create(&plain, ctx, m, specs[i / 4], &o, err));
        ck_ok(sol_graph_create(&g, ctx, again, specs[i / 4], &o, err));
        collector got = {.m = again};
        ck_ok(sol_alloc_array((void **)&got.grads, (size_t)m->n_elements, sizeof(float), err));
        sol_graph_begin_step(plain, some_mix, 2);
        sol_graph_begin_step(g, some_mix, 2);
        for (int micro = 0; micro < 2; micro++) {
            sol_graph_accumulate(plain, tokens, targets, NULL, 0.125f, &loss, &n);
            if (micro == 1) sol_graph_on_gradients(g, collect, &got);
            sol_graph_accumulate(g, tokens, targets, NULL, 0.125f, &loss, &n);
        }
        ck_assert_int_eq(got.parts, 5);
        size_t bytes = (size_t)m->n_elements * sizeof(float);
        ck_assert_mem_eq(got.grads, sol_graph_grads(plain), bytes);
        ck_assert_mem_eq(sol_graph_grads(g), sol_graph_grads(plain), bytes);
        sol_graph_free(&plain);
        sol_graph_free(&g);
        sol_ctx_free(&ctx);
        sol_free(got.grads);
        sol_model_free(&m);
        sol_model_free(&again);
    }
}
END_TEST

static size_t planned(const sol_model *m, const sol_quant_spec *spec, sol_graph_opts o)
{
    sol_plan plan = {0};
    ck_ok(sol_graph_plan(m, spec, &o, &plan, err));
    return sol_plan_total(&plan);
}

/* W_eff in the place of its gradient: the same bits in every step, and its memory less. */
START_TEST(steps_of_one_batch)
{
    const sol_quant_spec *const specs[] = {NULL, sherry(), tequila()};
    for (int i = 0; i < 24; i++) {
        sol_model_config c = tiny_config();
        c.tie_word_embeddings = i % 2 == 0;
        sol_model *f32 = random_model(&c), *m;
        const sol_quant_spec *spec = specs[i / 8];
        int32_t tokens[64], targets[64];
        double want_loss, loss;
        int64_t n, linear = 0;
        random_tokens(9, c.vocab_size, 64, tokens, targets);
        ck_ok(sol_model_create(&m, &c, i % 4 / 2 ? SOL_BF16 : SOL_F32, err));
        sol_convert(m->data, m->dtype, f32->data, SOL_F32, m->n_elements);
        sol_graph_opts o = {.batch = 2,
                            .seq = 32,
                            .activation_checkpoints = i % 3 != 0,
                            .compute = i % 8 / 4 ? SOL_BF16 : SOL_F32};
        float *want = step(m, spec, some_mix, o, 2, tokens, targets, NULL, &want_loss);
        size_t apart = planned(m, spec, o);
        o.one_batch = true;
        for (int p = 0; p < m->n_params; p++)
            if (m->params[p].quantized) linear += sol_param_count(&m->params[p]);
        if (spec)
            ck_assert_uint_le(planned(m, spec, o) + (size_t)linear * sol_dtype_size(o.compute),
                              apart);
        sol_ctx *ctx = make_ctx(2);
        sol_graph *g;
        ck_ok(sol_graph_create(&g, ctx, m, spec, &o, err));
        for (int s = 0; s < 3; s++) {
            sol_graph_begin_step(g, some_mix, 1);
            if (s == 1)
                sol_graph_loss(g, tokens, targets, NULL, &loss,
                               &n); /* reads what begin_step made */
            sol_graph_accumulate(g, tokens, targets, NULL, 0.125f, &loss, &n);
            ck_assert_double_eq(loss, want_loss);
            ck_assert_mem_eq(sol_graph_grads(g), want, (size_t)m->n_elements * sizeof(float));
        }
        sol_graph_free(&g);
        sol_ctx_free(&ctx);
        sol_free(want);
        sol_model_free(&m);
        sol_model_free(&f32);
    }
}
END_TEST

START_TEST(plan_counts_and_checkpoints_save)
{
    sol_model_config c = tiny_config();
    c.num_hidden_layers = 12;
    sol_model *m;
    ck_ok(sol_model_describe(&m, &c, SOL_F32, err));
    size_t total[4];
    for (int i = 0; i < 4; i++) {
        sol_plan plan = {0};
        sol_graph_opts o = {.batch = 2,
                            .seq = 64,
                            .activation_checkpoints = i % 2,
                            .no_grad = i == 2,
                            .by_layer = i == 3};
        ck_ok(sol_graph_plan(m, sherry(), &o, &plan, err));
        total[i] = sol_plan_total(&plan);
    }
    ck_assert_uint_lt(total[1], total[0] / 2);
    ck_assert_uint_lt(total[2], total[1]);
    ck_assert_uint_lt(total[3], total[1]);
    sol_plan plan = {0};
    sol_quant_spec spec = *sherry();
    spec.group_size = 7;
    ck_fails(sol_graph_plan(m, &spec, &(sol_graph_opts){.batch = 1, .seq = 8}, &plan, err),
             SOL_ERR_RANGE, "q_proj");
    ck_fails(sol_graph_plan(m, NULL, &(sol_graph_opts){.batch = 0, .seq = 8}, &plan, err),
             SOL_ERR_RANGE, "0 x 8");
    sol_model_free(&m);
}
END_TEST

SOL_TEST_MAIN("graph", tcase_add_test(tc, logits_match_pytorch);
              tcase_add_test(tc, loss_and_gradients_match_pytorch);
              tcase_add_test(tc, same_bits_for_any_threads_and_with_checkpoints);
              tcase_add_test(tc, bf16_compute); tcase_add_test(tc, a_step_allocates_nothing);
              tcase_add_test(tc, micro_batches_add_up_to_the_large_batch);
              tcase_add_test(tc, documents_do_not_see_each_other); tcase_add_test(tc, odd_shapes);
              tcase_add_test(tc, biases_and_further_norms);
              tcase_add_test(tc, windows_and_layers_without_rope);
              tcase_add_test(tc, quantized_layers_are_straight_through);
              tcase_add_test(tc, bf16_parameters_compute_as_their_values);
              tcase_add_test(tc, gradients_block_by_block);
              tcase_add_test(tc, gradients_of_the_whole_in_parts);
              tcase_add_test(tc, steps_of_one_batch);
              tcase_add_test(tc, plan_counts_and_checkpoints_save))
