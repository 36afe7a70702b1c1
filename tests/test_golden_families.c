/* What transformers and PyTorch compute with a tiny model of each family (tests/golden/families,
 * made by scripts/make_golden_families.py): the log-probability of every token, in training and in
 * inference; the gradient of every parameter; and the same model after a way out and in again, as a
 * Hugging Face folder and as GGUF. */
#include <math.h>
#include <string.h>

#include "golden.h"
#include "suite.h"

enum { B = 2, T = 24 };

#define ROOT "tests/golden/families/"

static const char *const names[] = {"llama", "mistral",    "mistral-null", "qwen2", "qwen2-window",
                                    "qwen3", "qwen3-tied", "smollm3",      "bitnet"};
enum { N = sizeof names / sizeof *names };

static sol_ctx *ctx;
static json_t *golden;
static char dir[64], file[96], other[96], folder[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(file, sizeof file, "%s/m.h5", dir);
    snprintf(other, sizeof other, "%s/m.gguf", dir);
    snprintf(folder, sizeof folder, "%s/hf", dir);
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    json_decref(golden);
    golden = NULL;
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

static const json_t *member(const char *key)
{
    return golden_member(golden, key);
}

/* The model of `source` as a model file, read back. */
static void import(const char *source, sol_model_file *c)
{
    sol_import_opts o = {.tokenizer = ROOT "qwen3/tokenizer.json"};
    sol_import_result r;
    ck_ok(sol_import(source, file, &o, &r, err));
    ck_ok(sol_model_file_read(c, file, SOL_F32, NULL, err));
}

static void open_family(const char *name, sol_model_file *c)
{
    char path[96];
    snprintf(path, sizeof path, ROOT "%s/golden.json", name);
    golden = golden_load(path);
    snprintf(path, sizeof path, ROOT "%s", name);
    import(path, c);
}

static int32_t id_at(int row, int at)
{
    return (int32_t)golden_item(json_array_get(member("ids"), (size_t)row), (size_t)at);
}

/* Each token's log-probability given those before it, by the network that runs. */
static void check_logprobs(const sol_model *m, const char *what)
{
    sol_net *net;
    ck_ok(sol_net_from_model(&net, ctx, m, NULL, NULL, NULL, err));
    for (int r = 0; r < B; r++) {
        sol_kv *kv;
        sol_row rows[T];
        int32_t targets[T];
        double p[T];
        ck_ok(sol_kv_create(&kv, net, T, err));
        for (int t = 0; t < T; t++) {
            rows[t] = (sol_row){.kv = kv, .token = id_at(r, t)};
            targets[t] = t + 1 < T ? id_at(r, t + 1) : -1;
        }
        ck_ok(sol_net_logprobs(net, rows, T, targets, p, err));
        for (int t = 0; t + 1 < T; t++) {
            double want = golden_item(json_array_get(member("logprobs"), (size_t)r), (size_t)t);
            ck_assert_msg(fabs(p[t] - want) < 1e-4, "%s: row %d, token %d: %g, want %g", what, r, t,
                          p[t], want);
        }
        sol_kv_free(&kv);
    }
    sol_net_free(&net);
}

static void check_gradient(const sol_param *p, const float *x, const char *what)
{
    const json_t *digest = json_object_get(member("grads"), p->name);
    double sum[GOLDEN_DIGEST];
    ck_assert_msg(digest != NULL, "%s: no gradient of %s", what, p->name);
    golden_digest(x, sol_param_count(p), sum);
    for (int k = 0; k < GOLDEN_DIGEST; k++)
        ck_assert_msg(fabs(sum[k] - golden_item(digest, (size_t)k)) <=
                          1e-3 * golden_item(digest, 0),
                      "%s: %s: %g, want %g of norm %g", what, p->name, sum[k],
                      golden_item(digest, (size_t)k), golden_item(digest, 0));
}

static void check_training(const sol_model *m, const char *what)
{
    sol_graph *g;
    int32_t inputs[B * T], targets[B * T];
    double loss;
    int64_t n;
    for (int i = 0; i < B * T; i++) {
        inputs[i] = id_at(i / T, i % T);
        targets[i] = i % T + 1 < T ? id_at(i / T, i % T + 1) : -1;
    }
    ck_ok(sol_graph_create(&g, ctx, m, NULL, &(sol_graph_opts){.batch = B, .seq = T}, err));
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
    sol_graph_accumulate(g, inputs, targets, NULL, 1.0f / (B * (T - 1)), &loss, &n);
    double want = json_number_value(member("loss"));
    ck_assert_int_eq(n, B * (T - 1));
    ck_assert_msg(fabs(loss / (double)n - want) < 1e-5, "%s: loss %g, want %g", what,
                  loss / (double)n, want);
    for (int i = 0; i < m->n_params; i++)
        check_gradient(&m->params[i], sol_graph_grads(g) + m->params[i].offset, what);
    sol_graph_free(&g);
}

START_TEST(as_transformers_computes)
{
    sol_model_file c;
    open_family(names[_i], &c);
    check_logprobs(c.model, names[_i]);
    check_training(c.model, names[_i]);
    sol_model_file_free(&c);
}
END_TEST

static void check_same(const sol_model *a, const sol_model *b)
{
    const sol_model_config *x = &a->config, *y = &b->config;
    ck_assert_int_eq(x->family, y->family);
    ck_assert_int_eq(x->sliding_window, y->sliding_window);
    ck_assert_int_eq(x->max_window_layers, y->max_window_layers);
    ck_assert_int_eq(x->no_rope_layer_interval, y->no_rope_layer_interval);
    ck_assert_int_eq(x->max_position_embeddings, y->max_position_embeddings);
    ck_assert(x->rope_theta == y->rope_theta && x->rms_norm_eps == y->rms_norm_eps);
    ck_assert_int_eq(a->n_elements, b->n_elements);
    ck_assert_mem_eq(a->data, b->data, (size_t)a->n_elements * sizeof(float));
}

START_TEST(out_and_in_again)
{
    sol_model_file c, back;
    sol_export_result r;
    sol_gguf_result g;
    open_family(names[_i], &c);
    ck_ok(sol_export_safetensors(ctx, file, folder, &(sol_export_opts){.dequantize = false}, &r,
                                 err));
    ck_ok(sol_export_gguf(ctx, file, other, &(sol_gguf_opts){.type = "f32", .embed_type = "f32"},
                          &g, err));
    import(folder, &back);
    check_same(c.model, back.model);
    sol_model_file_free(&back);
    import(other, &back);
    check_same(c.model, back.model);
    check_logprobs(back.model, names[_i]);
    sol_model_file_free(&back);
    sol_model_file_free(&c);
}
END_TEST

SOL_TEST_MAIN("golden families", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_loop_test(tc, as_transformers_computes, 0, N);
              tcase_add_loop_test(tc, out_and_in_again, 0, N))
