/* Hugging Face folders: what is exported comes back bit for bit; shards, dtypes, names of tensors;
 * and hostile folders. config.json: test_hf_config.c. */
#include "hf_folder.h"

#include <math.h>
#include <string.h>

static char model[80];
static sol_ctx *ctx;

static void setup(void)
{
    hf_make();
    snprintf(model, sizeof model, "%s/m.h5", hf_dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    sol_ctx_free(&ctx);
    hf_remove();
}

static sol_model_config small_config(bool tied, bool scaled)
{
    sol_model_config c = {
        .vocab_size = 20,
        .hidden_size = 64,
        .intermediate_size = 128,
        .num_hidden_layers = 2,
        .num_attention_heads = 2,
        .num_key_value_heads = 1,
        .head_dim = 16,
        .max_position_embeddings = 32,
        .rms_norm_eps = 1e-6,
        .rope_theta = 5e5,
        .tie_word_embeddings = tied,
        .bos_token_id = 1,
        .eos_token_id = 3,
    };
    for (int i = 0; tied && i < 2; i++) ck_ok(sol_model_add_eos(&c, (int64_t[]){19, 0}[i], err));
    if (scaled) {
        c.rope_factor = 32;
        c.rope_low_freq_factor = 1;
        c.rope_high_freq_factor = 4;
        c.rope_original_max_position = 16;
    }
    return c;
}

static void make_model(sol_model_file *c, sol_model_config config)
{
    *c = (sol_model_file){0};
    ck_ok(sol_model_create(&c->model, &config, SOL_F32, err));
    sol_model_init_random(NULL, c->model, 8);
    c->quant = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                                .granularity = SOL_PER_GROUP,
                                .group_size = 32,
                                .scale_dtype = SOL_F16};
}

static void export(const sol_export_opts *o)
{
    sol_export_result r;
    ck_ok(sol_export_safetensors(ctx, model, hf_folder, o, &r, err));
}

START_TEST(round_trip)
{
    for (int k = 0; k < 5; k++) {
        sol_model_file a, b;
        sol_model_config config = small_config(k & 1, k & 2);
        if (k == 4) sol_rope_set_linear(&config, 2.5);
        make_model(&a, config);
        ck_ok(sol_model_file_write(&a, model, k == 3 ? SOL_BF16 : SOL_F32, NULL, err));
        export(&(sol_export_opts){0});
        ck_ok(hf_import(err));
        ck_ok(sol_model_file_read(&b, hf_back, SOL_F32, NULL, err));
        sol_model_file_free(&a);
        ck_ok(sol_model_file_read(&a, model, SOL_F32, NULL, err));
        b.model->config.origin = a.model->config.origin; /* a folder has the name of its own */
        ck_assert_mem_eq(&a.model->config, &b.model->config, sizeof a.model->config);
        ck_assert_mem_eq(a.model->data, b.model->data, (size_t)a.model->n_elements * 4);
        sol_model_file_free(&a);
        sol_model_file_free(&b);
    }
}
END_TEST

START_TEST(dequantized)
{
    sol_model_file a, b;
    sol_packed_model p;
    char packed[80];
    snprintf(packed, sizeof packed, "%s/p.h5", hf_dir);
    make_model(&a, small_config(false, false));
    ck_ok(sol_model_file_write(&a, model, SOL_F32, NULL, err));
    ck_ok(sol_packed_model_from(ctx, &p, a.model, &a.quant, SOL_F32, NULL, err));
    ck_ok(sol_packed_model_write(&p, NULL, packed, err));
    /* From the latent weights and from the packed file: the same Q(W), norms and embedding
     * untouched. */
    for (int k = 0; k < 2; k++) {
        if (k) memcpy(model, packed, sizeof packed);
        export(&(sol_export_opts){.dequantize = true});
        ck_ok(hf_import(err));
        ck_ok(sol_model_file_read(&b, hf_back, SOL_F32, NULL, err));
        float *q;
        ck_ok(sol_alloc_array((void **)&q, 64 * 128, sizeof *q, err));
        for (int i = 0; i < a.model->n_params; i++) {
            const sol_param *x = &a.model->params[i];
            const float *want = sol_model_f32(a.model, x);
            if (x->quantized) {
                sol_quant_effective(ctx, &a.quant, want, x->rows, x->cols, (sol_residual_mix){1, 0},
                                    q);
                want = q;
            }
            const float *has = sol_model_f32(b.model, x);
            for (int64_t e = 0; e < sol_param_count(x); e++) ck_assert(has[e] == want[e]);
        }
        sol_free(q);
        sol_model_file_free(&b);
    }
    sol_packed_model_free(&p);
    sol_model_file_free(&a);
}
END_TEST

START_TEST(dtypes)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    for (int k = 0; k < 3; k++) {
        sol_model_file c;
        hf_good_folder();
        hf_put_weights("model.safetensors", names[k], NULL, NULL, 0, 12);
        sol_import_opts o = {0};
        sol_import_result r;
        ck_ok(sol_import(hf_folder, hf_back, &o, &r, err));
        ck_assert_int_eq(r.dtype, k == 2 ? SOL_BF16 : SOL_F32);
        ck_ok(sol_model_file_read(&c, hf_back, SOL_F32, NULL, err));
        const float *head = sol_model_f32(c.model, sol_model_head(c.model));
        ck_assert(head[3] == 143); /* 16 + 4 + 4 * 16 + 4 + 3 * 16 + 4 + 3 */
        ck_assert(!c.model->config.tie_word_embeddings);
        ck_assert(c.model->config.rms_norm_eps == 1e-6 && c.model->config.rope_theta == 10000);
        ck_assert_int_eq(c.model->config.num_key_value_heads, 1);
        ck_assert_int_eq(c.model->config.head_dim, 4);
        ck_assert_int_eq(c.model->config.bos_token_id, -1);
        sol_model_file_free(&c);
    }
}
END_TEST

/* The head [3, 3] of what is imported, -1 for a tied model, and whether there was something to say.
 */
static double head_of(const char *tie, bool *noted)
{
    sol_model_file c;
    sol_import_opts o = {0};
    sol_import_result r;
    char text[320];
    snprintf(text, sizeof text, "{" HF_CONFIG ",\"tie_word_embeddings\":%s}", tie);
    hf_put("config.json", text);
    ck_ok(sol_import(hf_folder, hf_back, &o, &r, err));
    ck_ok(sol_model_file_read(&c, hf_back, SOL_F32, NULL, err));
    double x = c.model->config.tie_word_embeddings
                   ? -1
                   : (double)sol_model_f32(c.model, sol_model_head(c.model))[15];
    ck_assert(sol_model_f32(c.model, sol_model_embedding(c.model))[15] == 15);
    *noted = strstr(r.notes, "lm_head.weight holds other values") != NULL;
    sol_model_file_free(&c);
    return x;
}

/* Element k of a file is k, so that tensors in files of their own can be the same. */
START_TEST(heads_and_names)
{
    bool noted;
    hf_good_folder();
    ck_assert(head_of("false", &noted) == 155 && !noted);
    ck_assert(head_of("true", &noted) == 155 && noted); /* another head is kept */
    hf_put_weights("model.safetensors", "F32", NULL, NULL, 0, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    hf_put("config.json", "{" HF_CONFIG "}");
    ck_fails(hf_import(err), SOL_ERR_SHAPE,
             "has no tensor lm_head.weight: where the embedding is the head, config.json says "
             "tie_word_embeddings true");
    /* Stored twice with the same values, in two types; the head alone; neither. */
    hf_drop("model.safetensors");
    hf_put(
        "model.safetensors.index.json",
        "{\"weight_map\":{\"model.embed_tokens.weight\":\"a.safetensors\",\"lm_head.weight\":\"b."
        "safetensors\",\"model.norm.weight\":\"c.safetensors\"}}");
    hf_put_weights("a.safetensors", "F32", NULL, NULL, 0, 1);
    hf_put_weights("b.safetensors", "BF16", NULL, NULL, 11, 12);
    hf_put_weights("c.safetensors", "F32", NULL, NULL, 1, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    ck_assert(head_of("false", &noted) == 15 && !noted);
    hf_put("model.safetensors.index.json", "{\"weight_map\":{\"lm_head.weight\":\"b.safetensors\","
                                           "\"model.norm.weight\":\"c.safetensors\"}}");
    ck_assert(head_of("true", &noted) == -1 && !noted);
    hf_put("config.json", "{" HF_CONFIG "}");
    ck_fails(hf_import(err), SOL_ERR_SHAPE, "has no tensor model.embed_tokens.weight");
    hf_put("model.safetensors.index.json",
           "{\"weight_map\":{\"model.norm.weight\":\"c.safetensors\"}}");
    hf_put("config.json", "{" HF_CONFIG ",\"tie_word_embeddings\":true}");
    ck_fails(hf_import(err), SOL_ERR_SHAPE, "has no tensor model.embed_tokens.weight");
    /* Names of a model without its head, and tables of RoPE under all the names that they had. */
    hf_drop("model.safetensors.index.json");
    hf_bare_names = true;
    hf_put_weights("model.safetensors", "F32", NULL, "rotary_emb.inv_freq", 0, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    hf_put_weights("model.safetensors", "F32", NULL, "layers.0.self_attn.rotary_emb.inv_freq", 0,
                   12);
    ck_assert(head_of("true", &noted) == 155 && noted);
    ck_assert(head_of("false", &noted) == 155 && !noted);
    hf_put_weights("model.safetensors", "F32", NULL, "layers.1.mlp.up_proj.weight", 0, 12);
    ck_fails(hf_import(err), SOL_ERR_SHAPE, "layers.1.mlp.up_proj.weight: is not a parameter");
    hf_bare_names = false;
    hf_put_weights("model.safetensors", "F32", NULL, "embed_tokens.weight", 0, 12);
    hf_put("config.json", "{" HF_CONFIG "}");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "model.embed_tokens.weight: is in");
}
END_TEST

START_TEST(shards)
{
    sol_model_file c;
    hf_good_folder();
    hf_drop("model.safetensors");
    hf_put_weights("a.safetensors", "F32", NULL, NULL, 0, 6);
    hf_put_weights("b.safetensors", "BF16", NULL, NULL, 6, 12);
    hf_put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                           "safetensors\",\"lm_head.weight\":\"b.safetensors\"}}");
    ck_ok(hf_import(err));
    ck_ok(sol_model_file_read(&c, hf_back, SOL_F32, NULL, err));
    ck_assert(sol_model_f32(c.model, sol_model_head(c.model))[0] == 56); /* 4 + 3 * 16 + 4 */
    sol_model_file_free(&c);
    hf_put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                           "safetensors\",\"lm_head.weight\":\"a.safetensors\"}}");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "lm_head.weight: is not in a.safetensors");
    hf_put("model.safetensors.index.json",
           "{\"weight_map\":{\"model.embed_tokens.weight\":\"../a.safetensors\"}}");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "is not in a file of this folder");
    hf_put("model.safetensors.index.json",
           "{\"weight_map\":{\"model.embed_tokens.weight\":\"none.safetensors\"}}");
    ck_fails(hf_import(err), SOL_ERR_IO, "index.json: names none.safetensors, which is not there");
    hf_put("model.safetensors.index.json", "{\"weight_map\":[]}");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "has no weight_map");
    hf_put_weights("b.safetensors", "F32", NULL, NULL, 5, 12);
    hf_put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                           "safetensors\",\"lm_head.weight\":\"b.safetensors\"}}");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "o_proj.weight: is in");
}
END_TEST

START_TEST(bad_tensors)
{
    hf_good_folder();
    hf_put_weights("model.safetensors", "F32", "model.norm.weight", NULL, 0, 12);
    ck_fails(hf_import(err), SOL_ERR_SHAPE, "has no tensor model.norm.weight");
    hf_put_weights("model.safetensors", "F32", NULL, "adapter", 0, 12);
    ck_fails(hf_import(err), SOL_ERR_SHAPE,
             "adapter: is not a parameter of the model that config.json describes");
    hf_put_weights("model.safetensors", "F32", NULL, "model.layers.0.self_attn.q_proj.bias", 0, 12);
    ck_fails(hf_import(err), SOL_ERR_UNSUPPORTED,
             "q_proj.bias: a bias, which llama models do not have");
    hf_put_weights("model.safetensors", "F64", NULL, NULL, 0, 12);
    ck_fails(hf_import(err), SOL_ERR_UNSUPPORTED, "has dtype F64, only F32, F16 and BF16");
    hf_drop("model.safetensors");
    ck_fails(hf_import(err), SOL_ERR_IO,
             "cannot open model.safetensors or model.safetensors.index.json: neither is there");
}
END_TEST

/* A header and so many zeros behind it. */
static void put_header(const char *json, uint64_t length, size_t zeros)
{
    char *bytes, path[160];
    size_t n = strlen(json);
    ck_ok(sol_alloc_array((void **)&bytes, 8 + n + zeros, 1, err));
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, json, n);
    snprintf(path, sizeof path, "%s/model.safetensors", hf_folder);
    ck_ok(sol_file_write(path, bytes, 8 + n + zeros, err));
    sol_free(bytes);
}

START_TEST(hostile_headers)
{
    static const struct {
        const char *json;
        size_t zeros;
        const char *part;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{}}", 8,
         "duplicate object key"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\","
         "\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, "its data begin at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12,
         "its data begin at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9,
         "the tensors end at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
         "lie outside the 7 bytes of data"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
         "hold 8 bytes, its shape wants 12"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "lie outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "lie outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, "lie outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
         "dimension 1 of its shape is not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]}}", 8,
         "dimension 0 of its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,8]}}", 8,
         "dimension 0 of its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
         "has 5 dimensions"},
        {"{\"a\":{\"dtype\":\"Q99\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "dtype Q99 is not known"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype is missing"},
        {"{\"a\":7}", 0, "is not described by an object"},
        {"[]", 0, "header: is not a JSON object"},
        {"{\"a\":", 0, "header, byte"},
    };
    hf_good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_header(cases[i].json, strlen(cases[i].json), cases[i].zeros);
        sol_err e = {0};
        sol_status st = hf_import(&e);
        ck_assert_msg(st == SOL_ERR_FORMAT || st == SOL_ERR_UNSUPPORTED, "%s: %d %s", cases[i].json,
                      st, e.text);
        ck_assert_msg(strstr(e.text, cases[i].part) && strstr(e.text, "model.safetensors: "),
                      "%s: '%s' lacks '%s'", cases[i].json, e.text, cases[i].part);
    }
    put_header("{}", 3, 0);
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "its header has 3 bytes, at most 2 fit");
    put_header("{}", UINT64_MAX, 0);
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "at most 2 fit");
    hf_put("model.safetensors", "1234567");
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "has 7 bytes: no header");
    char deep[100001];
    memset(deep, '[', 100000);
    deep[100000] = 0;
    put_header(deep, 100000, 0);
    ck_fails(hf_import(err), SOL_ERR_FORMAT, "maximum parsing depth");
    ck_assert(!sol_file_exists(hf_back));
}
END_TEST

START_TEST(not_finite)
{
    char path[160], *data;
    size_t n;
    float inf = INFINITY;
    hf_good_folder();
    snprintf(path, sizeof path, "%s/model.safetensors", hf_folder);
    ck_ok(sol_file_read(path, &data, &n, err));
    memcpy(data + n - 4, &inf, 4);
    ck_ok(sol_file_write(path, data, n, err));
    sol_free(data);
    ck_fails(hf_import(err), SOL_ERR_FORMAT,
             "lm_head.weight: element [3, 3] is not a finite number");
    snprintf(path, sizeof path, "%s.tmp", hf_back);
    ck_assert(!sol_file_exists(hf_back) && !sol_file_exists(path));
}
END_TEST

/* Several batches and a tokenizer that is read meanwhile: the same file for any number of threads;
 * the same weights. */
START_TEST(threads)
{
    sol_export_result made;
    sol_model_file a, b;
    char *first = NULL, *bytes;
    size_t n_first = 0, n;
    ck_ok(sol_export_safetensors(ctx, "checkpoints/embedded.h5", hf_folder, &(sol_export_opts){0},
                                 &made, err));
    for (int t = 0; t < 4; t++) {
        sol_import_opts o = {0};
        sol_import_result r;
        if (t) ck_ok(sol_pool_create(&o.pool, t, err));
        ck_ok(sol_import(hf_folder, hf_back, &o, &r, err));
        sol_pool_free(&o.pool);
        ck_assert(r.has_tokenizer);
        ck_assert_int_eq(r.weights, 3672320);
        ck_ok(sol_file_read(hf_back, &bytes, &n, err));
        ck_assert(!first || (n == n_first && memcmp(bytes, first, n) == 0));
        if (first)
            sol_free(bytes);
        else
            first = bytes, n_first = n;
    }
    sol_free(first);
    ck_ok(sol_model_file_read(&a, "checkpoints/embedded.h5", SOL_F32, NULL, err));
    ck_ok(sol_model_file_read(&b, hf_back, SOL_F32, NULL, err));
    ck_assert_mem_eq(a.model->data, b.model->data, (size_t)a.model->n_elements * 4);
    ck_assert_uint_eq(sol_tokenizer_hash(a.tokenizer), sol_tokenizer_hash(b.tokenizer));
    sol_model_file_free(&a);
    sol_model_file_free(&b);
}
END_TEST

/* What is wrong with the tokenizer shows while the weights are copied: an older file stays, no
 * other is left. */
START_TEST(bad_tokenizer)
{
    static const char *const text[] = {"{\"model\": 3}", "no JSON"};
    char path[96];
    hf_good_folder();
    hf_put("config.json", "{" HF_CONFIG "}");
    for (int k = 0; k < 2; k++) {
        hf_put("tokenizer.json", text[k]);
        ck_ok(sol_file_write(hf_back, "old", 3, err));
        ck_fails(hf_import(err), SOL_ERR_FORMAT, "tokenizer.json");
        uint64_t size;
        ck_ok(sol_file_size(hf_back, &size, err));
        ck_assert_uint_eq(size, 3);
        snprintf(path, sizeof path, "%s.tmp", hf_back);
        ck_assert(!sol_file_exists(path));
    }
}
END_TEST

SOL_TEST_MAIN("import_hf", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, round_trip); tcase_add_test(tc, dequantized);
              tcase_add_test(tc, dtypes); tcase_add_test(tc, heads_and_names);
              tcase_add_test(tc, shards); tcase_add_test(tc, bad_tensors);
              tcase_add_test(tc, hostile_headers); tcase_add_test(tc, not_finite);
              tcase_add_test(tc, threads); tcase_add_test(tc, bad_tokenizer))
