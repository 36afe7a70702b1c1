/* Quantizer, residual, engine and optimizer together, held against the published QAT modules run in PyTorch
 * (oracles/qat-*): forward losses, gradient norms, a whole gradient, and the 30-step training trajectories.
 *
 * How exact a comparison can be is a property of the oracle. With the residual these networks are badly conditioned: the same
 * step in float64 differs from the oracle's float32 gradient norms by up to 1.1e-3 (llama2xs, per tensor, lambda 0.5), hence
 * the 2e-3 there. And the 30 steps are chaotic, AdamW's first updates being lr * sign(g): two float64 trainings whose first
 * weights differ by one rounding (6e-8) are 1e-5 apart in loss after 2 steps, 1e-2 after 5 and up to 1e-1 from there on,
 * and float64 misses the oracle by as much. So the first steps are held tightly, the later ones to that spread, their mean and
 * the norms of the trained parameters tightly again. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "llama2c.h"
#include "suite.h"

enum { B = 4, T = 128, STEPS = 30 };

typedef struct oracle {
    json_t *json;
    sol_model *m;
    sol_ctx *ctx;
    int32_t inputs[STEPS][B * T], targets[STEPS][B * T];
    float *in_file_order; /* [n_weights] */
} oracle;

static double number(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    ck_assert_msg(json_is_number(v), "the oracle lacks '%s'", key);
    return json_number_value(v);
}

static bool oracle_open(oracle *o, const char *name, int threads)
{
    char path[96], *data;
    const char *found;
    size_t size;
    snprintf(path, sizeof path, "oracles/qat-%s.json", name);
    if (!(found = sol_test_data(path))) return false;
    o->json = json_load_file(found, 0, NULL);
    ck_assert_ptr_nonnull(o->json);
    snprintf(path, sizeof path, "models/%s.bin", strcmp(name, "llama2xs") == 0 ? "llama2xs-279K" : name);
    ck_assert_ptr_nonnull(found = sol_test_data(path));
    sol_test_llama2c_read(&o->m, found);
    ck_ok(sol_ctx_create(&o->ctx, threads, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_alloc_array((void **)&o->in_file_order, (size_t)o->m->n_weights, sizeof(float), err));
    snprintf(path, sizeof path, "oracles/qat-%s-tokens.i32", name);
    ck_ok(sol_file_read(sol_test_data(path), &data, &size, err));
    ck_assert_uint_eq(size, STEPS * B * (T + 1) * sizeof(int32_t));
    const int32_t *ids = (const int32_t *)data;
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < B * T; i++) {
            o->inputs[s][i] = ids[(s * B + i / T) * (T + 1) + i % T];
            o->targets[s][i] = ids[(s * B + i / T) * (T + 1) + i % T + 1];
        }
    }
    sol_free(data);
    return true;
}

static void oracle_close(oracle *o)
{
    json_decref(o->json);
    sol_free(o->in_file_order);
    sol_model_free(&o->m);
    sol_ctx_free(&o->ctx);
}

/* The published modules keep the scale in fp32. */
static sol_quant_spec spec_of(const json_t *j)
{
    const char *granularity = json_string_value(json_object_get(j, "granularity"));
    sol_quant_spec s = {.method = sol_quantizer_find("sherry"), .scale_dtype = SOL_F32};
    s.granularity = strcmp(granularity, "per_tensor") == 0 ? SOL_PER_TENSOR : strcmp(granularity, "per_group") == 0 ? SOL_PER_GROUP
                                                                                                            : SOL_PER_CHANNEL;
    s.group_size = (int)json_integer_value(json_object_get(j, "group_size"));
    return s;
}

static sol_graph *graph_of(const oracle *o, const sol_quant_spec *spec)
{
    sol_graph *g;
    ck_ok(sol_graph_create(&g, o->ctx, o->m, spec, &(sol_graph_opts){.batch = B, .seq = T}, err));
    return g;
}

/* Mean loss of a batch; gradients of it. */
static double step_gradients(sol_graph *g, const oracle *o, int batch, float lambda)
{
    double loss;
    int64_t n;
    sol_graph_begin_step(g, sol_residual_coeffs(SOL_RESIDUAL_ADDITIVE, lambda));
    sol_graph_new_grads(g);
    sol_graph_accumulate(g, o->inputs[batch], o->targets[batch], NULL, 1.0f / (B * T), &loss, &n);
    ck_assert_int_eq(n, B * T);
    return loss / (double)n;
}

static double norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Norms of each kind of tensor in a block of the model's form, against the oracle's. */
static void compare_norms(const oracle *o, float *block, const json_t *want, double tolerance, const char *what)
{
    sol_test_llama2c_order(o->m, block, o->in_file_order, true);
    const float *x = o->in_file_order;
    for (int kind = 0; kind < SOL_TEST_LLAMA2C_KINDS; kind++) {
        int64_t n = sol_test_llama2c_count(o->m, kind);
        double expect = number(want, sol_test_llama2c_kind[kind]), got = norm(x, n);
        ck_assert_msg(fabs(got - expect) <= tolerance * expect, "%s: norm of %s is %g, want %g", what,
                      sol_test_llama2c_kind[kind], got, expect);
        x += n;
    }
}

static void compare_gradient_file(const oracle *o, const char *name, double tolerance)
{
    char path[96], *data;
    size_t size;
    snprintf(path, sizeof path, "oracles/%s", name);
    ck_ok(sol_file_read(sol_test_data(path), &data, &size, err));
    ck_assert_uint_eq(size, (size_t)o->m->n_weights * sizeof(float));
    const float *want = (const float *)data, *got = o->in_file_order;
    for (int kind = 0; kind < SOL_TEST_LLAMA2C_KINDS; kind++) {
        int64_t n = sol_test_llama2c_count(o->m, kind);
        double difference = 0;
        for (int64_t i = 0; i < n; i++) difference += pow((double)got[i] - (double)want[i], 2);
        ck_assert_msg(sqrt(difference) <= tolerance * norm(want, n), "gradient of %s differs by %g of %g",
                      sol_test_llama2c_kind[kind], sqrt(difference), norm(want, n));
        got += n, want += n;
    }
    sol_free(data);
}

static void check_forward(const char *name)
{
    static oracle o;
    if (!oracle_open(&o, name, 2)) return;
    const json_t *cases = json_object_get(o.json, "forward");
    ck_assert_uint_ge(json_array_size(cases), 6);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        sol_quant_spec spec = spec_of(c);
        char what[96];
        snprintf(what, sizeof what, "%s %s %d lambda %g", name, json_string_value(json_object_get(c, "granularity")),
                 spec.group_size, number(c, "lambda"));
        sol_graph *g = graph_of(&o, &spec);
        double loss = step_gradients(g, &o, 0, (float)number(c, "lambda"));
        ck_assert_msg(fabs(loss - number(c, "loss")) <= 1e-5, "%s: loss %.7f, want %.7f", what, loss, number(c, "loss"));
        double tolerance = number(c, "lambda") > 0 ? 2e-3 : 1e-3;
        compare_norms(&o, sol_graph_grads(g), json_object_get(c, "grad_norm"), tolerance, what);
        const char *file = json_string_value(json_object_get(c, "grads_file"));
        if (file) compare_gradient_file(&o, file, tolerance);
        sol_graph_free(&g);
    }
    oracle_close(&o);
}

START_TEST(forward_and_gradients_llama2xs)
{
    check_forward("llama2xs");
}
END_TEST

START_TEST(forward_and_gradients_stories260k)
{
    check_forward("stories260K");
}
END_TEST

static const sol_residual published = {.schedule = SOL_RESIDUAL_COSINE, .form = SOL_RESIDUAL_ADDITIVE, .warmup = true,
                                       .lambda_max = 1, .warmup_fraction = 0.1f, .end_fraction = 1};

/* What rounding alone does to the loss of step s. */
static double allowed(int s)
{
    return s < 3 ? 1e-3 : s == 3 ? 2e-2 : 0.3;
}

static void check_trajectory(const char *name)
{
    static oracle o;
    double bias = 0;
    if (!oracle_open(&o, name, 2)) return;
    const json_t *train = json_object_get(o.json, "train"), *steps = json_object_get(train, "steps");
    sol_quant_spec spec = spec_of(train);
    sol_adamw_config c = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
    sol_adamw *optim;
    ck_ok(sol_adamw_create(&optim, o.m, &c, err));
    sol_graph *g = graph_of(&o, &spec);
    ck_assert_uint_eq(json_array_size(steps), STEPS);
    for (int s = 0; s < STEPS; s++) {
        const json_t *want = json_array_get(steps, (size_t)s);
        float lambda = sol_residual_lambda(&published, s, STEPS);
        ck_assert_double_eq_tol(lambda, number(want, "lambda"), 1e-6);
        double loss = step_gradients(g, &o, s, lambda), difference = loss - number(want, "loss");
        ck_assert_msg(fabs(difference) <= allowed(s), "step %d: loss %.6f, want %.6f", s, loss, number(want, "loss"));
        bias += difference / STEPS;
        double grad_norm = sol_global_norm(o.ctx, sol_graph_grads(g), o.m->n_elements);
        if (s < 2) ck_assert_double_eq_tol(grad_norm / number(want, "grad_norm"), 1, 2e-3);
        sol_adamw_update(o.ctx, optim, o.m, sol_graph_grads(g), sol_clip_scale(grad_norm, 1), 1e-3f);
    }
    ck_assert_msg(fabs(bias) <= 0.05, "losses are %.4f off on the average", bias);
    double last = step_gradients(g, &o, 0, 0);
    ck_assert_double_eq_tol(last, number(train, "final_loss_lambda0_batch0"), allowed(STEPS));
    compare_norms(&o, o.m->data, json_object_get(train, "final_param_norm"), 2e-3, "after training");
    sol_graph_free(&g);
    sol_adamw_free(&optim);
    oracle_close(&o);
}

START_TEST(trajectory_llama2xs)
{
    check_trajectory("llama2xs");
}
END_TEST

START_TEST(trajectory_stories260k)
{
    check_trajectory("stories260K");
}
END_TEST

SOL_TEST_MAIN("qat oracle", tcase_set_timeout(tc, 600); tcase_add_test(tc, forward_and_gradients_llama2xs);
              tcase_add_test(tc, forward_and_gradients_stories260k); tcase_add_test(tc, trajectory_llama2xs);
              tcase_add_test(tc, trajectory_stories260k))
