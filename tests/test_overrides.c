/* Layers that a model quantizes in another way: patterns, their text, graph, packed model and
 * network; and the embedding, rounded as it ships. */
#include "suite.h"

#include <string.h>

#include "config/keys.h"

#define HEAD "run: {dir: r}\nmodel: {init: m.h5}\ndata: {train: d.h5}\n"
#define DOWN "*.down_proj.weight"

static sol_config *job(const char *quant)
{
    sol_config *c;
    char yaml[1024];
    snprintf(yaml, sizeof yaml, HEAD "quant: {group_size: 64, overrides: %s}\n", quant);
    ck_ok(sol_config_parse(&c, "job.yaml", yaml, strlen(yaml), err));
    return c;
}

static sol_status refused(const char *quant, sol_err *err)
{
    sol_config *c;
    char yaml[1024];
    sol_quant_spec spec;
    snprintf(yaml, sizeof yaml, HEAD "quant:\n  %s\n", quant);
    sol_status st = sol_config_parse(&c, "job.yaml", yaml, strlen(yaml), err);
    if (st == SOL_OK) st = sol_config_quant(c, &spec, err);
    sol_config_free(&c);
    return st;
}

START_TEST(rows_of_a_job)
{
    sol_config *c =
        job("[{match: \"model.layers.[01].*.o_proj.weight\", method: none}, {match: \"" DOWN
            "\", group_size: 32, method: absmean}]");
    sol_quant_spec spec, layer;
    ck_ok(sol_config_quant(c, &spec, err));
    layer = sol_quant_for(&spec, "model.layers.1.self_attn.o_proj.weight");
    ck_assert(layer.method == NULL && layer.overrides == NULL);
    layer = sol_quant_for(&spec, "model.layers.2.self_attn.o_proj.weight");
    ck_assert_str_eq(layer.method->name, "sherry");
    ck_assert_int_eq(layer.group_size, 64);
    layer = sol_quant_for(&spec, "model.layers.0.mlp.down_proj.weight");
    ck_assert_str_eq(layer.method->name, "absmean");
    ck_assert_int_eq(layer.group_size, 32);
    ck_assert(!sol_quant_packable(&spec));

    /* What is written reads back: as a job, as --set, as the text of a file. */
    char *yaml, *again, assignment[600];
    sol_text t = {0};
    sol_config *back;
    sol_quant_overrides *o;
    ck_ok(sol_config_write(c, &yaml, err));
    ck_ok(sol_config_parse(&back, "again", yaml, strlen(yaml), err));
    ck_ok(sol_quant_overrides_write(c->quant.overrides, &t, err));
    snprintf(assignment, sizeof assignment, "quant.overrides=%s", t.data);
    ck_ok(sol_config_set(back, "quant.overrides=[]", err));
    ck_assert(back->quant.overrides == NULL);
    ck_ok(sol_config_set(back, assignment, err));
    ck_ok(sol_config_write(back, &again, err));
    ck_assert_str_eq(yaml, again);
    ck_ok(sol_quant_overrides_parse(&o, t.data, err));
    ck_assert_mem_eq(o, c->quant.overrides, sizeof *o);
    sol_quant_overrides_free(&o);
    for (size_t n = 0; n < t.n; n++) { /* no beginning of it is one */
        char cut[600];
        snprintf(cut, sizeof cut, "%.*s", (int)n, t.data);
        ck_fails(sol_quant_overrides_parse(&o, cut, err), SOL_ERR_FORMAT, "no list of overrides");
        ck_assert(o == NULL);
    }
    static const char *const sizes[] = {"64x", "4294967360", "-64", "99999999999999999999"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char one[64];
        snprintf(one, sizeof one, "[{match: \"*\", group_size: %s}]", sizes[i]);
        ck_fails(sol_quant_overrides_parse(&o, one, err), SOL_ERR_FORMAT, "no list of overrides");
    }
    bool fatal;
    char *text;
    ck_ok(sol_config_set(back, "quant.overrides=[]", err));
    ck_ok(sol_config_diff(c, back, c->train.steps, &text, &fatal, err));
    ck_assert(fatal && strstr(text, "quant.overrides: [{match: \"model.layers.[01]"));
    sol_free(text);
    sol_free(t.data);
    sol_free(yaml);
    sol_free(again);
    sol_config_free(&back);
    sol_config_free(&c);
}
END_TEST

START_TEST(bad_rows)
{
    ck_fails(refused("overrides: finer", err), SOL_ERR_CONFIG,
             "job.yaml:5:14: key 'quant.overrides': wants a list");
    ck_fails(refused("overrides: [down]", err), SOL_ERR_CONFIG, "wants rows as {match:");
    ck_fails(refused("overrides: [{method: none}]", err), SOL_ERR_CONFIG, "a row without match");
    ck_fails(refused("overrides: [{match: a}]", err), SOL_ERR_CONFIG,
             "neither method nor group_size");
    ck_fails(refused("overrides: [{match: a, match: b}]", err), SOL_ERR_CONFIG,
             "match is there twice");
    ck_fails(refused("overrides: [{match: 'a b', method: none}]", err), SOL_ERR_CONFIG,
             "character 2 of the pattern");
    ck_fails(
        refused("overrides:\n    - {match: a, method: none}\n    - {match: b, groups: 8}", err),
        SOL_ERR_CONFIG, "job.yaml:7:18: key 'quant.overrides': unknown field 'groups'");
    ck_fails(refused("overrides: [{match: a, method: shery}]", err), SOL_ERR_CONFIG,
             "'shery' is no quantizer");
    ck_fails(refused("overrides: [{match: a, group_size: 6}]", err), SOL_ERR_CONFIG,
             "'6' is no multiple of 4");
    ck_fails(refused("overrides: [{match: a, method: none, group_size: 8}]", err), SOL_ERR_CONFIG,
             "none has no group_size");
    ck_fails(refused("overrides: [{match: a, method: lsq}]", err), SOL_ERR_CONFIG,
             "lsq learns parameters");
    ck_fails(refused("overrides: [{match: a, method: tequila}]", err), SOL_ERR_CONFIG,
             "tequila makes biases");
    ck_fails(refused("method: none\n  overrides: [{match: a, group_size: 8}]", err), SOL_ERR_CONFIG,
             "nothing to override");
}
END_TEST

START_TEST(rows_against_a_model)
{
    sol_model_config shape;
    sol_model *m;
    sol_quant_spec spec;
    static const struct {
        const char *rows, *text;
    } bad[] = {
        {"[{match: \"*.downproj.weight\", method: none}]",
         "'*.downproj.weight' matches no linear layer"},
        {"[{match: \"model.norm.weight\", method: none}]",
         "'model.norm.weight' matches no linear layer"},
        {"[{match: \"*.mlp.*\", method: none}, {match: \"*.0.mlp.up*\", group_size: 32}]",
         "'*.mlp.*' and '*.0.mlp.up*' both match model.layers.0.mlp.up_proj.weight"},
    };
    ck_ok(sol_model_config_named("tiny", &shape, err));
    ck_ok(sol_model_describe(&m, &shape, SOL_F32, err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sol_config *c = job(bad[i].rows);
        ck_ok(sol_config_quant(c, &spec, err));
        ck_fails(sol_model_check_overrides(m, &spec, err), SOL_ERR_CONFIG, bad[i].text);
        sol_config_free(&c);
    }
    sol_model_free(&m);
}
END_TEST

enum { T = 8 };

static double loss_of(sol_net *net, const int32_t *ids)
{
    double loss = 0, logprob[T];
    sol_kv *kv;
    sol_row rows[T];
    ck_ok(sol_kv_create(&kv, net, T, err));
    for (int i = 0; i < T; i++) rows[i] = (sol_row){.token = ids[i], .kv = kv};
    ck_ok(sol_net_logprobs(net, rows, T, ids + 1, logprob, err));
    for (int i = 0; i < T; i++) loss -= logprob[i];
    sol_kv_free(&kv);
    return loss / T;
}

/* The training graph, the latent network and the packed one compute with the same layers; the
 * gradient reaches a kept layer whole. */
START_TEST(graph_latent_and_packed)
{
    static const char *const rows[] = {
        "[]",
        "[{match: \"*.o_proj.weight\", method: none}]",
        "[{match: \"*.q_proj.weight\", method: none}, {match: \"*.v_proj.weight\", group_size: "
        "32}, {match: \"*.1.mlp.*\", group_size: 32}]",
    };
    double loss[3];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sol_ctx *ctx;
        sol_model_config shape;
        sol_model *m;
        sol_quant_spec spec;
        sol_graph *g;
        sol_net *latent, *packed;
        sol_packed_model p;
        sol_config *c = job(rows[i]);
        int32_t ids[T + 1];
        double sum;
        int64_t n;
        sol_net_opts o = {.activations = SOL_ACTIVATIONS_FLOAT};
        ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
        ck_ok(sol_model_config_named("tiny", &shape, err));
        ck_ok(sol_model_create(&m, &shape, SOL_F32, err));
        sol_model_init_random(ctx, m, 1);
        for (int k = 0; k < m->n_params; k++) /* far from the start, where all losses are alike */
            for (int64_t e = 0; m->params[k].quantized && e < sol_param_count(&m->params[k]); e++)
                sol_model_f32(m, &m->params[k])[e] *= 10;
        for (int k = 0; k <= T; k++) ids[k] = (int32_t)((k * 37 + 11) % shape.vocab_size);
        ck_ok(sol_config_quant(c, &spec, err));
        ck_ok(sol_model_check_overrides(m, &spec, err));
        ck_ok(sol_graph_create(&g, ctx, m, &spec, &(sol_graph_opts){.batch = 1, .seq = T}, err));
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_accumulate(g, ids, ids + 1, NULL, 1, &sum, &n);
        loss[i] = sum / (double)n;
        ck_ok(sol_net_from_model(&latent, ctx, m, NULL, &spec, &o, err));
        ck_ok(sol_packed_model_from(ctx, &p, m, &spec, SOL_F32, NULL, err));
        ck_ok(sol_net_from_packed(&packed, ctx, &p, &o, err));
        ck_assert_double_eq_tol(loss_of(latent, ids), loss[i], 1e-5);
        ck_assert_double_eq_tol(loss_of(packed, ids), loss[i], 1e-5);
        double bits = sol_packed_model_bits(&p);
        ck_assert_double_eq_tol(sol_net_bits_per_weight(latent), bits, 1e-9);
        ck_assert(i == 0 ? bits == 1.5 : bits > 1.5);
        sol_net_free(&latent);
        sol_net_free(&packed);
        sol_packed_model_free(&p);
        sol_graph_free(&g);
        sol_model_free(&m);
        sol_config_free(&c);
        sol_ctx_free(&ctx);
    }
    ck_assert(loss[0] != loss[1] && loss[1] != loss[2] && loss[0] != loss[2]);
}
END_TEST

/* Rounding is what the matrix of a network decodes to, bit for bit. */
START_TEST(rounding_is_what_is_stored)
{
    enum { ROWS = 7, COLS = 70 };
    static const sol_dtype types[] = {SOL_F16, SOL_Q8, SOL_Q6, SOL_Q4};
    float w[ROWS * COLS], weight[COLS], out[ROWS * COLS], row[COLS];
    sol_ctx *ctx;
    sol_rng r = sol_rng_make(5, SOL_STREAM_TEST);
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < ROWS * COLS; i++) w[i] = sol_rng_normal(&r) * (i % 11 == 0 ? 30 : 1);
    for (int i = 0; i < COLS; i++) w[2 * COLS + i] = 0; /* a row of zeros */
    for (int i = 0; i < 4; i++) {
        sol_stored s = {.type = types[i], .rows = ROWS, .cols = COLS};
        sol_matrix *m;
        void *scratch;
        ck_ok(sol_stored_alloc(&s, err));
        sol_stored_fill(ctx, &s, w, weight);
        ck_ok(sol_matrix_prepare(&m, ctx, &s, 1, NULL, NULL, err));
        ck_ok(sol_alloc_array(&scratch, 1, sol_matrix_scratch_bytes(ctx, m, 1), err));
        ck_ok(sol_stored_round(ctx, types[i], w, ROWS, COLS, out, err));
        for (int k = 0; k < ROWS; k++) {
            sol_matrix_row(m, k, row, scratch);
            for (int c = 0; c < COLS; c++) ck_assert(row[c] == out[k * COLS + c]);
        }
        sol_free(scratch);
        sol_matrix_free(&m);
        sol_stored_free(&s);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* The same of an embedding in the 1.25-bit code, in both orders of columns. */
START_TEST(ternary_rounding_is_what_is_stored)
{
    enum { ROWS = 70, COLS = 192 };
    float w[ROWS * COLS], out[ROWS * COLS], row[COLS];
    sol_ctx *ctx;
    sol_rng r = sol_rng_make(6, SOL_STREAM_TEST);
    static const sol_granularity granularities[] = {SOL_PER_TENSOR, SOL_PER_CHANNEL, SOL_PER_GROUP};
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < ROWS * COLS; i++) w[i] = sol_rng_normal(&r);
    for (int i = 0; i < 6; i++) {
        sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                               .granularity = granularities[i / 2],
                               .group_size = i / 2 == 2 ? 64 : 0,
                               .layout = i % 2 ? SOL_LAYOUT_STRIDE16 : SOL_LAYOUT_CONTIGUOUS,
                               .scale_dtype = SOL_F32};
        sol_stored s = {0};
        sol_matrix *m;
        void *scratch;
        ck_ok(sol_packed_from_weights(ctx, &spec, w, ROWS, COLS, &s, err));
        ck_ok(sol_matrix_prepare(&m, ctx, &s, 1, NULL, NULL, err));
        ck_ok(sol_alloc_array(&scratch, 1, sol_matrix_scratch_bytes(ctx, m, 1), err));
        ck_ok(sol_packed_round(ctx, &spec, SOL_TERNARY, "e", w, ROWS, COLS, out, err));
        for (int k = 0; k < ROWS; k++) {
            sol_matrix_row(m, k, row, scratch);
            for (int c = 0; c < COLS; c++) ck_assert(row[c] == out[k * COLS + c]);
        }
        sol_free(scratch);
        sol_matrix_free(&m);
        sol_stored_free(&s);
        spec.group_size = 48;
        spec.granularity = SOL_PER_GROUP;
        if (i % 2)
            ck_fails(sol_packed_round(ctx, &spec, SOL_TERNARY, "e", w, ROWS, COLS, out, err),
                     SOL_ERR_RANGE, "e: group_size 48");
        spec.method = sol_quantizer_find("absmean");
        ck_fails(sol_packed_round(ctx, &spec, SOL_TERNARY, "e", w, ROWS, COLS, out, err),
                 SOL_ERR_UNSUPPORTED, "absmean");
    }
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("overrides", tcase_add_test(tc, rows_of_a_job); tcase_add_test(tc, bad_rows);
              tcase_add_test(tc, rows_against_a_model); tcase_add_test(tc, graph_latent_and_packed);
              tcase_add_test(tc, rounding_is_what_is_stored);
              tcase_add_test(tc, ternary_rounding_is_what_is_stored))
