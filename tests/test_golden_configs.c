/* What transformers computes with one model under many a config.json
 * (tests/golden/hf-configs.jsonl, made by scripts/make_golden_configs.py): RoPE settings in every
 * place and form, a head that a tied model holds beside its embedding. */
#include "suite.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { IDS = 40, VOCAB = 480 };

static char dir[64], folder[80], back[80];
static sol_ctx *ctx;
static json_t *plain; /* config.json of the model */

static void setup(void)
{
    char path[160], *weights;
    size_t n;
    json_error_t why;
    sol_test_dir_make(dir);
    snprintf(folder, sizeof folder, "%s/hf", dir);
    snprintf(back, sizeof back, "%s/m.h5", dir);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    plain = json_load_file("tests/golden/hf-bytes/config.json", 0, &why);
    ck_assert_msg(plain != NULL, "%s", why.text);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_dir_create(folder, err));
    ck_ok(sol_file_read("tests/golden/hf-bytes/model.safetensors", &weights, &n, err));
    ck_ok(sol_file_write(path, weights, n, err));
    sol_free(weights);
}

static void teardown(void)
{
    json_decref(plain);
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

/* config.json with these keys in place of its own, null where one is taken out. */
static void put_config(const json_t *keys)
{
    const char *key;
    json_t *value, *config = json_copy(plain);
    char path[160];
    json_object_foreach((json_t *)keys, key, value)
    {
        if (json_is_null(value))
            json_object_del(config, key);
        else
            json_object_set(config, key, value);
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    json_decref(config);
}

/* The largest difference of a log-probability. */
static double difference(const json_t *want)
{
    static float logits[IDS * VOCAB];
    sol_net *net;
    sol_kv *kv;
    sol_row rows[IDS];
    double worst = 0;
    ck_ok(sol_net_open(&net, ctx, back, NULL, err));
    ck_ok(sol_kv_create(&kv, net, IDS, err));
    for (int k = 0; k < IDS; k++)
        rows[k] = (sol_row){.kv = kv, .token = (7 * k * k + 3 * k) % VOCAB, .want_logits = true};
    ck_ok(sol_net_forward(net, rows, IDS, logits, err));
    ck_assert_uint_eq(json_array_size(want), IDS - 1);
    for (int k = 0; k + 1 < IDS; k++) {
        double sum = 0;
        for (int v = 0; v < VOCAB; v++) sum += exp((double)logits[k * VOCAB + v]);
        double has = (double)logits[k * VOCAB + rows[k + 1].token] - log(sum);
        worst = fmax(worst, fabs(has - json_number_value(json_array_get(want, (size_t)k))));
    }
    sol_kv_free(&kv);
    sol_net_free(&net);
    return worst;
}

START_TEST(as_transformers_computes)
{
    char line[4096];
    int lines = 0;
    sol_import_opts o = {0};
    sol_import_result r;
    FILE *golden = fopen("tests/golden/hf-configs.jsonl", "r");
    ck_assert_ptr_nonnull(golden);
    for (; fgets(line, sizeof line, golden); lines++) {
        json_t *one = json_loads(line, 0, NULL);
        ck_assert_ptr_nonnull(one);
        put_config(json_object_get(one, "config"));
        ck_ok(sol_import(folder, back, &o, &r, err));
        double worst = difference(json_object_get(one, "logprobs"));
        ck_assert_msg(worst < 1e-4, "%.300s: log-probabilities differ by %g", line, worst);
        json_decref(one);
    }
    fclose(golden);
    ck_assert_int_eq(lines, 32);
}
END_TEST

SOL_TEST_MAIN("golden_configs", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, as_transformers_computes))
