/* The published QAT modules, run in PyTorch on two real models, against ours: losses, gradients, 30 training steps. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "llama2c.h"
#include "suite.h"

enum { BATCH = 4, SEQ = 128, STEPS = 30 };

typedef struct oracle {
    json_t *json;
    sol_model *model;
    int32_t *ids; /* [STEPS, BATCH, SEQ + 1] */
    sol_ctx *ctx;
} oracle;

/* false: the data is not there. */
static bool oracle_open(oracle *o, const char *name)
{
    char path[96];
    size_t size;
    snprintf(path, sizeof path, "oracles/qat-%s.json", name);
    const char *found = sol_test_data(path);
    if (!found) return false;
    o->json = json_load_file(found, 0, NULL);
    ck_assert_ptr_nonnull(o->json);
    snprintf(path, sizeof path, "oracles/qat-%s-tokens.i32", name);
    ck_ok(sol_file_read(sol_test_data(path), (char **)&o->ids, &size, err));
    ck_assert_uint_eq(size, sizeof(int32_t) * STEPS * BATCH * (SEQ + 1));
    snprintf(path, sizeof path, "models/%s.bin", strcmp(name, "llama2xs") == 0 ? "llama2xs-279K" : name);
    sol_test_llama2c_read(&o->model, sol_test_data(path));
    ck_ok(sol_ctx_create(&o->ctx, 2, SOL_TIER_BEST, NULL, err));
    return true;
}

static void oracle_close(oracle *o)
{
    json_decref(o->json);
    sol_free(o->ids);
    sol_model_free(&o->model);
    sol_ctx_free(&o->ctx);
}

static double number(const json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static sol_quant_spec spec_of(const json_t *j)
{
    const char *g = json_string_value(json_object_get(j, "granularity"));
    return (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                            .granularity = strcmp(g, "per_tensor") == 0    ? SOL_PER_TENSOR
                                           : strcmp(g, "per_channel") == 0 ? SOL_PER_CHANNEL
                                                                           : SOL_PER_GROUP,
                            .group_size = (int)json_integer_value(json_object_get(j, "group_size")),
                            .scale_dtype = SOL_F32};
}

static void batch_of(const oracle *o, int step, int32_t *tokens, int32_t *targets)
{
    for (int b = 0; b < BATCH; b++) {
        const int32_t *row = o->ids + (step * BATCH + b) * (SEQ + 1);
        memcpy(tokens + b * SEQ, row, SEQ * sizeof *row);
        memcpy(targets + b * SEQ, row + 1, SEQ * sizeof *row);
    }
}

/* Mean loss of batch `step`; gradients of it in the graph. */
static double run(const oracle *o, sol_graph *g, float lambda, int step)
{
    int32_t tokens[BATCH * SEQ], targets[BATCH * SEQ];
    double loss;
    int64_t n;
    batch_of(o, step, tokens, targets);
    sol_graph_zero_grads(g);
    sol_graph_begin_step(g, sol_residual_coeffs(SOL_RESIDUAL_ADDITIVE, lambda));
    sol_graph_accumulate(g, tokens, targets, NULL, 1.0f / (BATCH * SEQ), &loss, &n);
    return loss / (double)n;
}

static double norm_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Norms by kind of a block in the model's order. */
static void compare_norms(const oracle *o, float *block, const json_t *want, double tolerance, const char *what)
{
    float *file, *at;
    ck_ok(sol_alloc_array((void **)&file, (size_t)o->model->n_weights, sizeof *file, err));
    sol_test_llama2c_order(o->model, block, file, true);
    at = file;
    for (int kind = 0; kind < SOL_TEST_LLAMA2C_KINDS; kind++) {
        int64_t n = sol_test_llama2c_count(o->model, kind);
        double expected = number(want, sol_test_llama2c_kind[kind]), got = norm_of(at, n);
        ck_assert_msg(fabs(got - expected) <= tolerance * expected, "%s: norm of %s is %g, not %g", what,
                      sol_test_llama2c_kind[kind], got, expected);
        at += n;
    }
    sol_free(file);
}

static void compare_elements(const oracle *o, float *grads, const char *name)
{
    char path[96], *data;
    float *file;
    size_t size, n = (size_t)o->model->n_weights;
    snprintf(path, sizeof path, "oracles/%s", name);
    ck_ok(sol_file_read(sol_test_data(path), &data, &size, err));
    ck_assert_uint_eq(size, n * sizeof *file);
    const float *want = (const float *)(void *)data;
    ck_ok(sol_alloc_array((void **)&file, n, sizeof *file, err));
    sol_test_llama2c_order(o->model, grads, file, true);
    for (size_t i = 0; i < n; i++) file[i] -= want[i];
    ck_assert_double_le(norm_of(file, (int64_t)n), 1e-3 * norm_of(want, (int64_t)n));
    sol_free(file);
    sol_free(data);
}

static void check_forward(const char *name)
{
    oracle o = {0};
    size_t i;
    json_t *entry;
    if (!oracle_open(&o, name)) return;
    json_array_foreach(json_object_get(o.json, "forward"), i, entry) {
        sol_graph *g;
        char what[64];
        sol_quant_spec spec = spec_of(entry);
        snprintf(what, sizeof what, "%s, forward %d", name, (int)i);
        ck_ok(sol_graph_create(&g, o.ctx, o.model, &spec, &(sol_graph_opts){.batch = BATCH, .seq = SEQ}, err));
        double loss = run(&o, g, (float)number(entry, "lambda"), 0), want = number(entry, "loss");
        ck_assert_msg(fabs(loss - want) <= 1e-5, "%s: loss %.7f, not %.7f", what, loss, want);
        compare_norms(&o, sol_graph_grads(g), json_object_get(entry, "grad_norm"),
                      spec.granularity == SOL_PER_TENSOR ? 2e-3 : 1e-3, what);
        const char *grads = json_string_value(json_object_get(entry, "grads_file"));
        if (grads) compare_elements(&o, sol_graph_grads(g), grads);
        sol_graph_free(&g);
    }
    oracle_close(&o);
}

/* With one scale a tensor the attention scores reach the hundreds and the gradient norms move by 1e-3 when a single scale changes
 * in its last bit. The same graph in double precision (lambda 0.5: tok_emb 13.0396) lies between PyTorch's fp32 norms
 * (13.0500) and ours (13.032 to 13.038); hence the 2e-3 above. */
START_TEST(forward_and_gradients_match)
{
    check_forward("llama2xs");
    check_forward("stories260K");
}
END_TEST

/* The oracle's run is chaotic: AdamW's first steps are lr * sign(g) whatever the size of g, and lambda brings large scores. The same
 * run in double precision leaves PyTorch's losses by 1e-3 at step 4 (stories260K) and 7 (llama2xs), and so does a double run
 * from another one whose weights start 1e-7 off. What can be held: the first steps tightly, later ones within the spread of those
 * double runs, and where the training arrives. */
enum { EXACT_STEPS = 4 };

static double allowed(size_t step)
{
    return step < EXACT_STEPS ? 1e-3 : 0.2;
}

static void check_training(const char *name)
{
    oracle o = {0};
    size_t i;
    json_t *entry;
    if (!oracle_open(&o, name)) return;
    const json_t *train = json_object_get(o.json, "train");
    const sol_residual residual = {.schedule = SOL_RESIDUAL_COSINE, .form = SOL_RESIDUAL_ADDITIVE, .warmup = true,
                                   .lambda_max = 1, .warmup_fraction = 0.1f, .end_fraction = 1};
    sol_quant_spec spec = spec_of(train);
    sol_adamw *optim;
    sol_graph *g;
    ck_ok(sol_adamw_create(&optim, o.model, &(sol_adamw_config){.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f}, err));
    ck_ok(sol_graph_create(&g, o.ctx, o.model, &spec, &(sol_graph_opts){.batch = BATCH, .seq = SEQ}, err));
    double late = 0;
    json_array_foreach(json_object_get(train, "steps"), i, entry) {
        float lambda = sol_residual_lambda(&residual, (int64_t)i, STEPS);
        ck_assert_float_eq_tol(lambda, (float)number(entry, "lambda"), 1e-6f);
        double loss = run(&o, g, lambda, (int)i), want = number(entry, "loss");
        ck_assert_msg(fabs(loss - want) <= allowed(i), "%s, step %d: loss %.6f, not %.6f", name, (int)i, loss, want);
        late += i >= STEPS / 2 ? (loss - want) / (STEPS / 2) : 0;
        double norm = sol_global_norm(o.ctx, sol_graph_grads(g), o.model->n_elements);
        sol_adamw_update(o.ctx, optim, o.model, sol_graph_grads(g), sol_clip_scale(norm, 1.0), 1e-3f);
    }
    ck_assert_uint_eq(i, STEPS);
    ck_assert_double_le(fabs(late), 0.05);
    ck_assert_double_eq_tol(run(&o, g, 0, 0), number(train, "final_loss_lambda0_batch0"), 0.2);
    compare_norms(&o, o.model->data, json_object_get(train, "final_param_norm"), 2e-2, name);
    sol_graph_free(&g);
    sol_adamw_free(&optim);
    oracle_close(&o);
}

START_TEST(training_follows_the_published_trajectory)
{
    check_training("llama2xs");
    check_training("stories260K");
}
END_TEST

SOL_TEST_MAIN("qat_oracle", tcase_add_test(tc, forward_and_gradients_match);
              tcase_add_test(tc, training_follows_the_published_trajectory))
