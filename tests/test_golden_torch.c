/* What PyTorch computes with transformers' LLaMA and the published QAT layer
 * (tests/golden/torch.json, made by scripts/make_golden_torch.py), for the embedded model and a
 * random one: logits in every tier and in the training graph, losses and gradients of each
 * granularity and lambda, a step of AdamW, a training of 20 steps. */
#include <math.h>
#include <string.h>

#include "golden.h"
#include "suite.h"

enum { B = 2, T = 64, STEPS = 20, SAMPLED = 16 };

static json_t *golden;
static sol_ctx *ctx;
static const json_t *want; /* of the model at hand */
static sol_model *m;
static float *start; /* [n_elements], the model as it was */
static int32_t inputs[STEPS][B * T], targets[STEPS][B * T];

static double number(const json_t *j, const char *key)
{
    return json_number_value(golden_member(j, key));
}

static void setup(void)
{
    golden = golden_load("tests/golden/torch.json");
    ck_assert_int_eq(json_integer_value(golden_member(golden, "batch")), B);
    ck_assert_int_eq(json_integer_value(golden_member(golden, "seq")), T);
    ck_assert_int_eq(json_integer_value(golden_member(golden, "steps")), STEPS);
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    json_decref(golden);
    sol_ctx_free(&ctx);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const sol_param *const *)a)->name, (*(const sol_param *const *)b)->name);
}

/* FNV-1a of all weights in the order of their names. */
static void check_weights(const char *expected)
{
    const sol_param *p[64];
    uint64_t h = 0xCBF29CE484222325u;
    char text[24];
    ck_assert_int_le(m->n_params, 64);
    for (int i = 0; i < m->n_params; i++) p[i] = &m->params[i];
    qsort(p, (size_t)m->n_params, sizeof *p, by_name);
    for (int i = 0; i < m->n_params; i++) {
        const uint8_t *byte = (const uint8_t *)sol_model_f32(m, p[i]);
        for (size_t k = 0; k < (size_t)sol_param_count(p[i]) * sizeof(float); k++)
            h = (h ^ byte[k]) * 0x100000001B3u;
    }
    snprintf(text, sizeof text, "%016llx", (unsigned long long)h);
    ck_assert_msg(strcmp(text, expected) == 0,
                  "the random weights are not those of the golden file: make it again");
}

static void open_model(const char *name)
{
    want = golden_member(golden_member(golden, "models"), name);
    if (strcmp(name, "tiny") == 0) {
        sol_model_config c;
        ck_ok(sol_model_config_named(name, &c, err));
        ck_ok(sol_model_create(&m, &c, SOL_F32, err));
        sol_model_init_random(ctx, m, 7);
        check_weights(json_string_value(golden_member(want, "fnv1a")));
    } else {
        sol_model_file ck;
        ck_ok(sol_model_file_read(&ck, "checkpoints/embedded.h5", SOL_F32, NULL, err));
        m = ck.model;
        ck.model = NULL;
        sol_model_file_free(&ck);
    }
    const json_t *ids = golden_member(want, "ids");
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < B * T; i++) {
            size_t at = (size_t)((s * B + i / T) * (T + 1) + i % T);
            inputs[s][i] = (int32_t)golden_item(ids, at);
            targets[s][i] = (int32_t)golden_item(ids, at + 1);
        }
    ck_ok(sol_alloc_array((void **)&start, (size_t)m->n_elements, sizeof *start, err));
    memcpy(start, m->data, (size_t)m->n_elements * sizeof *start);
}

static void close_model(void)
{
    sol_free(start);
    sol_model_free(&m);
}

/* x[n] has the norm and the products in `digest`, but for a distance of `relative` times the norm
 * and `apart`. */
static void check_digest(const float *x, int64_t n, const json_t *digest, double relative,
                         double apart, const char *what, const char *name)
{
    double sum[GOLDEN_DIGEST], limit = relative * golden_item(digest, 0) + apart;
    golden_digest(x, n, sum);
    for (int k = 0; k < GOLDEN_DIGEST;
         k++) /* a product of a random difference may be some deviations larger than its norm */
        ck_assert_msg(fabs(sum[k] - golden_item(digest, (size_t)k)) <= (k == 0 ? 1 : 4) * limit,
                      "%s: %s: %s %g, want %g, limit %g", what, name, k == 0 ? "norm" : "product",
                      sum[k], golden_item(digest, (size_t)k), limit);
}

static void check_logits(const float *logits, const char *what)
{
    const json_t *rows = golden_member(want, "logits");
    int64_t V = m->config.vocab_size;
    ck_assert_uint_eq(json_array_size(rows), T);
    for (int64_t t = 0; t < T; t++, logits += V) {
        const json_t *row = json_array_get(rows, (size_t)t);
        double square = 0, worst = 0;
        for (int64_t v = 0; v < V; v++) square += (double)logits[v] * (double)logits[v];
        for (int k = 0; k < SAMPLED; k++)
            worst = fmax(worst, fabs((double)logits[(131 * t + 127 * k) % V] -
                                     golden_item(row, (size_t)k + 1)));
        ck_assert_msg(worst < 1e-4, "%s: row %d: a logit is off by %g", what, (int)t, worst);
        ck_assert_msg(fabs(sqrt(square) / golden_item(row, 0) - 1) < 1e-5,
                      "%s: row %d: norm %g, want %g", what, (int)t, sqrt(square),
                      golden_item(row, 0));
    }
}

static void check_all_logits(const char *name)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    float *logits;
    sol_graph *g;
    double loss;
    int64_t n;
    open_model(name);
    ck_ok(
        sol_alloc_array((void **)&logits, (size_t)(T * m->config.vocab_size), sizeof *logits, err));
    ck_ok(sol_graph_create(&g, ctx, m, NULL,
                           &(sol_graph_opts){.batch = 1, .seq = T, .no_grad = true}, err));
    sol_graph_loss(g, inputs[0], targets[0], NULL, &loss, &n);
    sol_graph_logits(g, logits);
    check_logits(logits, "graph");
    sol_graph_free(&g);
    for (int t = 0; t < n_sets; t++) {
        sol_ctx *c;
        sol_net *net;
        sol_kv *kv;
        sol_row rows[T];
        ck_ok(sol_ctx_create(&c, 2, set[t], NULL, err));
        ck_ok(sol_net_from_model(&net, c, m, NULL, NULL, NULL, err));
        ck_ok(sol_kv_create(&kv, net, T, err));
        for (int i = 0; i < T; i++)
            rows[i] = (sol_row){.kv = kv, .token = inputs[0][i], .want_logits = true};
        ck_ok(sol_net_forward(net, rows, T, logits, err));
        check_logits(logits, "network");
        sol_kv_free(&kv);
        sol_net_free(&net);
        sol_ctx_free(&c);
    }
    sol_free(logits);
    close_model();
}

START_TEST(logits_of_tiny)
{
    check_all_logits("tiny");
}
END_TEST

START_TEST(logits_of_embedded)
{
    check_all_logits("embedded");
}
END_TEST

/* The published layer keeps the scale in fp32. */
static sol_quant_spec spec_of(const json_t *j)
{
    const char *g = json_string_value(golden_member(j, "granularity"));
    return (sol_quant_spec){.method = strcmp(g, "none") == 0 ? NULL : sol_quantizer_find("sherry"),
                            .granularity = strcmp(g, "per_tensor") == 0  ? SOL_PER_TENSOR
                                           : strcmp(g, "per_group") == 0 ? SOL_PER_GROUP
                                                                         : SOL_PER_CHANNEL,
                            .group_size = (int)json_integer_value(golden_member(j, "group_size")),
                            .scale_dtype = SOL_F32};
}

/* Mean loss of a batch; gradients of it. */
static double step_gradients(sol_graph *g, int batch, double lambda)
{
    double loss;
    int64_t n;
    sol_graph_begin_step(g, sol_residual_coeffs(SOL_RESIDUAL_ADDITIVE, (float)lambda), 1);
    sol_graph_accumulate(g, inputs[batch], targets[batch], NULL, 1.0f / (B * T), &loss, &n);
    ck_assert_int_eq(n, B * T);
    return loss / (double)n;
}

static void check_forward(const char *name, bool checkpoints)
{
    open_model(name);
    const json_t *cases = golden_member(want, "forward");
    ck_assert_uint_eq(json_array_size(cases), 10);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        sol_quant_spec spec = spec_of(c);
        sol_graph *g;
        char what[96];
        snprintf(what, sizeof what, "%s %s lambda %g", name,
                 json_string_value(golden_member(c, "granularity")), number(c, "lambda"));
        ck_ok(sol_graph_create(
            &g, ctx, m, spec.method ? &spec : NULL,
            &(sol_graph_opts){.batch = B, .seq = T, .activation_checkpoints = checkpoints}, err));
        double loss = step_gradients(g, 0, number(c, "lambda"));
        ck_assert_msg(fabs(loss - number(c, "loss")) <= 1e-5, "%s: loss %.7f, want %.7f", what,
                      loss, number(c, "loss"));
        for (int p = 0; p < m->n_params; p++)
            check_digest(sol_graph_grads(g) + m->params[p].offset, sol_param_count(&m->params[p]),
                         golden_member(golden_member(c, "grads"), m->params[p].name), 1e-4, 0, what,
                         m->params[p].name);
        sol_graph_free(&g);
    }
    close_model();
}

START_TEST(gradients_of_tiny)
{
    check_forward("tiny", _i);
}
END_TEST

START_TEST(gradients_of_embedded)
{
    check_forward("embedded", _i);
}
END_TEST

/* What the weights have changed by. */
static void check_changes(const json_t *changes, const char *what)
{
    const float *now = m->data;
    float *change;
    ck_ok(sol_alloc_array((void **)&change, (size_t)m->n_elements, sizeof *change, err));
    for (int64_t i = 0; i < m->n_elements; i++) change[i] = now[i] - start[i];
    for (int p = 0; p < m->n_params; p++) {
        const json_t *digest = golden_member(changes, m->params[p].name);
        check_digest(change + m->params[p].offset, sol_param_count(&m->params[p]), digest, 1e-3,
                     2 * golden_item(digest, GOLDEN_DIGEST), what, m->params[p].name);
    }
    sol_free(change);
}

static void check_training(const char *name)
{
    static const sol_residual published = {.schedule = SOL_RESIDUAL_COSINE,
                                           .form = SOL_RESIDUAL_ADDITIVE,
                                           .warmup = true,
                                           .lambda_max = 1,
                                           .warmup_fraction = 0.1f,
                                           .end_fraction = 1};
    sol_adamw_config c = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
    sol_adamw *optim;
    sol_graph *g;
    double spread = 0;
    open_model(name);
    const json_t *train = golden_member(want, "train"), *loss = golden_member(train, "loss"),
                 *norms = golden_member(train, "grad_norm");
    sol_quant_spec spec = spec_of(train);
    ck_ok(sol_adamw_create(&optim, m, &c, err));
    ck_ok(sol_graph_create(&g, ctx, m, &spec, &(sol_graph_opts){.batch = B, .seq = T}, err));
    for (int s = 0; s <= STEPS; s++) {
        bool last = s == STEPS; /* the loss at lambda 0 of what came out */
        float lambda = last ? 0 : sol_residual_lambda(&published, s, STEPS);
        double got = step_gradients(g, last ? 0 : s, (double)lambda);
        spread = fmax(spread, golden_item(golden_member(train, "spread"), (size_t)s));
        ck_assert_msg(fabs(got - golden_item(loss, (size_t)s)) <= 2e-5 + 4 * spread,
                      "%s: step %d: loss %.6f, want %.6f, spread %g", name, s, got,
                      golden_item(loss, (size_t)s), spread);
        if (last) break;
        ck_assert_double_eq_tol((double)lambda,
                                golden_item(golden_member(train, "lambda"), (size_t)s), 1e-6);
        double norm = sol_global_norm(ctx, sol_graph_grads(g), m->n_elements);
        ck_assert_double_eq_tol(norm / golden_item(norms, (size_t)s), 1, 1e-4 + 10 * spread);
        sol_adamw_update(ctx, optim, m, sol_graph_grads(g), sol_clip_scale(norm, 1),
                         (float)number(train, "lr"));
        if (s == 0) check_changes(golden_member(train, "first_change"), "after a step");
    }
    check_changes(golden_member(train, "whole_change"), "after the training");
    sol_graph_free(&g);
    sol_adamw_free(&optim);
    close_model();
}

START_TEST(training_of_tiny)
{
    check_training("tiny");
}
END_TEST

START_TEST(training_of_embedded)
{
    check_training("embedded");
}
END_TEST

/* Sanitizers, which are slow, see the small model alone. */
SOL_TEST_MAIN("golden torch", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, logits_of_tiny); tcase_add_test(tc, logits_of_embedded);
              tcase_add_loop_test(tc, gradients_of_tiny, 0, 2);
              tcase_add_test(tc, training_of_tiny);
              if (!SOL_TEST_SLOW) tcase_add_loop_test(tc, gradients_of_embedded, 0, 2);
              if (!SOL_TEST_SLOW) tcase_add_test(tc, training_of_embedded))
