/* Hugging Face folders: what is exported comes back bit for bit; shards, dtypes, configurations;
 * and hostile folders. */
#include "suite.h"

#include <math.h>
#include <string.h>

static char dir[64], folder[80], model[80], back[80];
static sol_ctx *ctx;

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(folder, sizeof folder, "%s/hf", dir);
    snprintf(model, sizeof model, "%s/m.h5", dir);
    snprintf(back, sizeof back, "%s/b.h5", dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
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

static sol_status import(sol_err *err)
{
    sol_import_opts o = {0};
    sol_import_result r;
    return sol_import(folder, back, &o, &r, err);
}

static void export(const sol_export_opts *o)
{
    sol_export_result r;
    ck_ok(sol_export_safetensors(ctx, model, folder, o, &r, err));
}

START_TEST(round_trip)
{
    for (int k = 0; k < 5; k++) {
        sol_model_file a, b;
        sol_model_config config = small_config(k & 1, k & 2);
        if (k == 4) sol_rope_set_linear(&config, 2.5);
        make_model(&a, config);
        ck_ok(sol_model_file_write(&a, model, k == 3 ? SOL_BF16 : SOL_F32, err));
        export(&(sol_export_opts){0});
        ck_ok(import(err));
        ck_ok(sol_model_file_read(&b, back, SOL_F32, err));
        sol_model_file_free(&a);
        ck_ok(sol_model_file_read(&a, model, SOL_F32, err));
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
    snprintf(packed, sizeof packed, "%s/p.h5", dir);
    make_model(&a, small_config(false, false));
    ck_ok(sol_model_file_write(&a, model, SOL_F32, err));
    ck_ok(sol_packed_model_from(ctx, &p, a.model, &a.quant, SOL_F32, NULL, err));
    ck_ok(sol_packed_model_write(&p, NULL, packed, err));
    /* From the latent weights and from the packed file: the same Q(W), norms and embedding
     * untouched. */
    for (int k = 0; k < 2; k++) {
        if (k) memcpy(model, packed, sizeof packed);
        export(&(sol_export_opts){.dequantize = true});
        ck_ok(import(err));
        ck_ok(sol_model_file_read(&b, back, SOL_F32, err));
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

/* ---- folders by hand ---- */

static void put(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_ok(sol_file_write(path, text, strlen(text), err));
}

static void drop(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
}

#define CONFIG \
    "\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":4,\"intermediate_size\":4,\"num_" \
    "hidden_layers\":1,\"num_attention_heads\":1"

static bool bare_names; /* put_weights leaves out "model." */

/* safetensors of every parameter of a one-layer model with all dimensions 4, element k of the file
 * being k; `skip` is left out, `extra` is put in as a [4] tensor. Only parameters with index in
 * [from, to) are written. */
static void put_weights(const char *file, const char *dtype, const char *skip, const char *extra,
                        int from, int to)
{
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.layers.0.input_layernorm.weight",
                                        "model.layers.0.self_attn.q_proj.weight",
                                        "model.layers.0.self_attn.k_proj.weight",
                                        "model.layers.0.self_attn.v_proj.weight",
                                        "model.layers.0.self_attn.o_proj.weight",
                                        "model.layers.0.post_attention_layernorm.weight",
                                        "model.layers.0.mlp.gate_proj.weight",
                                        "model.layers.0.mlp.up_proj.weight",
                                        "model.layers.0.mlp.down_proj.weight",
                                        "model.norm.weight",
                                        "lm_head.weight"};
    sol_text t = {0};
    uint64_t at = 0, size = strcmp(dtype, "F32") == 0 ? 4 : strcmp(dtype, "F64") == 0 ? 8 : 2;
    sol_text_add(&t, NULL, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = from; i < to; i++) {
        bool norm = strstr(names[i], "norm") != NULL;
        if (skip && strcmp(skip, names[i]) == 0) continue;
        const char *name = names[i] + (bare_names && i < 11 ? 6 : 0);
        uint64_t n = norm ? 4 : 16;
        sol_text_add(&t, NULL, ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}",
                     name, dtype, norm ? "[4]" : "[4,4]", (int)at, (int)(at + n * size));
        at += n * size;
    }
    if (extra) {
        sol_text_add(&t, NULL, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[%d,%d]}",
                     extra, dtype, (int)at, (int)(at + 4 * size));
        at += 4 * size;
    }
    sol_text_add(&t, NULL, "}");
    char *bytes, path[160];
    ck_ok(sol_alloc_array((void **)&bytes, 8 + t.n + at, 1, err));
    uint64_t n = t.n;
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, t.data, t.n);
    for (uint64_t k = 0; k < at / size; k++) {
        float x = (float)k;
        uint16_t half = strcmp(dtype, "F16") == 0 ? sol_f32_to_f16(x) : sol_f32_to_bf16(x);
        if (size == 4) memcpy(bytes + 8 + t.n + 4 * k, &x, 4);
        if (size == 2) memcpy(bytes + 8 + t.n + 2 * k, &half, 2);
    }
    snprintf(path, sizeof path, "%s/%s", folder, file);
    ck_ok(sol_file_write(path, bytes, 8 + t.n + at, err));
    sol_free(bytes);
    sol_free(t.data);
}

static void good_folder(void)
{
    ck_ok(sol_dir_create(folder, err));
    drop("model.safetensors.index.json");
    drop("generation_config.json");
    put("config.json", "{" CONFIG "}");
    put_weights("model.safetensors", "F32", NULL, NULL, 0, 12);
}

START_TEST(dtypes)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    for (int k = 0; k < 3; k++) {
        sol_model_file c;
        good_folder();
        put_weights("model.safetensors", names[k], NULL, NULL, 0, 12);
        sol_import_opts o = {0};
        sol_import_result r;
        ck_ok(sol_import(folder, back, &o, &r, err));
        ck_assert_int_eq(r.dtype, k == 2 ? SOL_BF16 : SOL_F32);
        ck_ok(sol_model_file_read(&c, back, SOL_F32, err));
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

START_TEST(configurations)
{
    sol_model_file c;
    good_folder();
    put("config.json", "{" CONFIG ",\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,\"eos_token_"
                       "id\":[2,3],\"bos_token_id\":null,"
                       "\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
                       "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                       "\"original_max_position_embeddings\":8192},\"unknown\":[{}]}");
    put_weights("model.safetensors", "F32", NULL, NULL, 0, 11);
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, err));
    ck_assert(c.model->config.tie_word_embeddings && c.model->config.rope_factor == 8 &&
              c.model->config.rope_theta == 5e5);
    ck_assert_int_eq(c.model->config.eos_token_id, 2);
    sol_model_file_free(&c);
    /* As newer files put it; and what generation_config.json adds. */
    put("config.json",
        "{" CONFIG ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4}}");
    put("generation_config.json", "{\"eos_token_id\":3,\"bos_token_id\":1}");
    put_weights("model.safetensors", "F32", NULL, "model.layers.0.self_attn.rotary_emb.inv_freq", 0,
                12);
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, err));
    ck_assert(c.model->config.rope_factor == 0 && c.model->config.rope_theta == 7e4);
    ck_assert_int_eq(c.model->config.eos_token_id, 3);
    ck_assert_int_eq(c.model->config.bos_token_id, 1);
    sol_model_file_free(&c);
}
END_TEST

/* Lists are kept whole and in order; generation_config.json wins, as it does in `generate` of
 * transformers, where it names any. */
START_TEST(eos_lists)
{
    static const struct {
        const char *config, *generation, *want;
    } cases[] = {
        {"", NULL, ""},
        {",\"eos_token_id\":null", NULL, ""},
        {",\"eos_token_id\":[]", NULL, ""},
        {",\"eos_token_id\":-1", NULL, ""},
        {",\"eos_token_id\":2.0", NULL, "2"},
        {",\"eos_token_id\":[3]", NULL, "3"},
        {",\"eos_token_id\":[3,0,3,1]", NULL, "3 0 1"},
        {",\"eos_token_id\":[-1,2]", NULL, "2"},
        {",\"eos_token_id\":1", "{}", "1"},
        {",\"eos_token_id\":1", "{\"eos_token_id\":null}", "1"},
        {",\"eos_token_id\":1", "{\"eos_token_id\":[3,1]}", "3 1"},
        {",\"eos_token_id\":[1,2]", "{\"eos_token_id\":0,\"temperature\":NaN}", "0"},
        {"", "{\"eos_token_id\":[2,3]}", "2 3"},
    };
    good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512], has[64] = "";
        sol_model_config c;
        snprintf(text, sizeof text, "{" CONFIG "%s}", cases[i].config);
        put("config.json", text);
        drop("generation_config.json");
        if (cases[i].generation) put("generation_config.json", cases[i].generation);
        ck_ok(import(err));
        ck_ok(sol_store_read_header(back, &c, NULL, err));
        if (c.eos_token_id >= 0) snprintf(has, sizeof has, "%lld", (long long)c.eos_token_id);
        for (int64_t k = 0; k < c.n_more_eos; k++)
            snprintf(has + strlen(has), sizeof has - strlen(has), " %lld",
                     (long long)c.more_eos[k]);
        ck_assert_msg(strcmp(has, cases[i].want) == 0, "%s, %s: '%s'", cases[i].config,
                      cases[i].generation, has);
    }
}
END_TEST

#define L3(type) \
    "{" type "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_" \
    "embeddings\":16}"
#define L3_WITHOUT "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}"

/* What transformers 5 makes of each, found by comparing log-probabilities of the two programs. */
START_TEST(rope_settings)
{
    static const struct {
        const char *text;
        double theta, factor;
        int original;
    } cases[] = {
        {"", 10000, 0, 0},
        {"\"rope_theta\":500000", 5e5, 0, 0},
        {"\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_theta\":5e5", 5e5, 0, 0},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4},\"rope_theta\":5e5",
         7e4, 0, 0},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5},\"rope_theta\":4e5,"
         "\"rope_scaling\":" L3("\"rope_type\":\"llama3\","),
         4e5, 8, 16},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5},\"rope_scaling\":" L3(
             "\"rope_type\":\"llama3\","),
         10000, 8, 16},
        {"\"rope_parameters\":" L3(
             "\"rope_theta\":5e5,\"rope_type\":\"llama3\",") ",\"rope_scaling\":{}",
         5e5, 8, 16},
        {"\"rope_parameters\":" L3(
             "\"rope_theta\":5e5,\"rope_type\":\"llama3\",") ",\"rope_scaling\":null",
         5e5, 8, 16},
        {"\"rope_parameters\":" L3(
             "\"rope_theta\":5e5,\"rope_type\":\"llama3\",") ",\"rope_scaling\":[]",
         5e5, 8, 16},
        {"\"rope_parameters\":" L3(
             "\"rope_theta\":5e5,\"rope_type\":\"llama3\",") ",\"rope_scaling\":{\"type\":"
                                                             "\"default\"}",
         10000, 0, 0},
        {"\"rope_parameters\":{},\"rope_theta\":3e4", 3e4, 0, 0},
        {"\"rope_scaling\":{},\"rope_theta\":3e4", 3e4, 0, 0},
        {"\"rope_scaling\":false,\"rope_theta\":3e4", 3e4, 0, 0},
        {"\"rope_scaling\":" L3(
             "\"rope_theta\":2e5,\"rope_type\":\"llama3\",") ",\"rope_theta\":3e4",
         2e5, 8, 16},
        {"\"rope_scaling\":" L3("\"type\":\"llama3\",") ",\"rope_theta\":3e4", 3e4, 8, 16},
        {"\"rope_scaling\":" L3("\"rope_type\":\"default\",\"type\":\"llama3\","), 10000, 0, 0},
        {"\"rope_scaling\":" L3(
             "\"rope_type\":\"llama3\",\"type\":\"linear\",\"attention_factor\":2,"),
         10000, 8, 16},
        {"\"rope_scaling\":{\"factor\":4}", 10000, 0, 0},
        {"\"rope_scaling\":" L3("\"type\":\"llama3\",") ",\"original_max_position_embeddings\":64",
         10000, 8, 64},
        {"\"rope_scaling\":" L3_WITHOUT ",\"original_max_position_embeddings\":32", 10000, 8, 32},
        {"\"rope_scaling\":" L3_WITHOUT ",\"max_position_embeddings\":128.0", 10000, 8, 128},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}", 10000, 2.5, 1},
        {"\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":2e4},\"rope_"
         "theta\":5e5",
         2e4, 4, 1},
        {"\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4},\"rope_theta\":5e5", 5e5, 0, 0},
        {"\"partial_rotary_factor\":1.0,\"rope_parameters\":{\"partial_rotary_factor\":1,\"mrope_"
         "section\":[1,1]}",
         10000, 0, 0},
    };
    static const struct {
        const char *text;
        sol_status status;
        const char *part;
    } bad[] = {
        {"\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", SOL_ERR_UNSUPPORTED,
         "rope_type is \"yarn\": only default, linear, llama3 and dynamic"},
        {"\"rope_scaling\":{\"type\":\"longrope\"}", SOL_ERR_UNSUPPORTED,
         "rope_type is \"longrope\""},
        {"\"rope_scaling\":{\"type\":\"linear\"}", SOL_ERR_FORMAT, "has no factor"},
        {"\"rope_scaling\":{\"type\":\"dynamic\"}", SOL_ERR_FORMAT, "has no factor"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", SOL_ERR_RANGE,
         "rope_scaling factor is 0"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}", SOL_ERR_RANGE, "factor is 0.5"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":NaN}", SOL_ERR_RANGE,
         "factor is 1.79769e+308"},
        {"\"rope_scaling\":{\"rope_type\":null,\"type\":\"linear\",\"factor\":2}", SOL_ERR_FORMAT,
         "rope_type is null, expected a name"},
        {"\"rope_scaling\":\"linear\"", SOL_ERR_FORMAT,
         "rope_scaling is \"linear\", expected an object"},
        {"\"rope_parameters\":[1]", SOL_ERR_FORMAT, "rope_parameters is [1], expected an object"},
        {"\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5e5}}", SOL_ERR_UNSUPPORTED,
         "rope_parameters has settings of its own for full_attention"},
        {"\"rope_parameters\":{\"partial_rotary_factor\":0.5}", SOL_ERR_UNSUPPORTED,
         "partial_rotary_factor is 0.5"},
        {"\"rope_theta\":null", SOL_ERR_FORMAT, "rope_theta is null, expected a number"},
        {"\"rope_theta\":\"1e4\"", SOL_ERR_FORMAT, "rope_theta is \"1e4\", expected a number"},
        {"\"rope_theta\":1e400", SOL_ERR_RANGE, "rope_theta is 1.79769e+308"},
        {"\"rope_theta\":5e5,\"rope_parameters\":{\"rope_theta\":null,\"rope_type\":\"default\"}",
         SOL_ERR_FORMAT, "rope_theta is null"},
    };
    char text[640];
    sol_model_config c;
    good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{" CONFIG "%s%s}", cases[i].text[0] ? "," : "", cases[i].text);
        put("config.json", text);
        ck_ok(import(err));
        ck_ok(sol_store_read_header(back, &c, NULL, err));
        ck_assert_msg(c.rope_theta == cases[i].theta && c.rope_factor == cases[i].factor &&
                          c.rope_original_max_position == cases[i].original,
                      "%s: theta %g, factor %g, original %d", cases[i].text, c.rope_theta,
                      c.rope_factor, (int)c.rope_original_max_position);
        ck_assert(sol_rope_is_linear(&c) == (cases[i].original == 1));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{" CONFIG ",%s}", bad[i].text);
        put("config.json", text);
        ck_fails(import(err), bad[i].status, bad[i].part);
    }
}
END_TEST

/* A key that changes the meaning is refused by name unless its value changes nothing; others are
 * not looked at. */
START_TEST(keys_with_a_meaning)
{
    static const char *const good[] = {
        "\"hidden_act\":\"swish\"",
        "\"hidden_act\":\"silu\"",
        "\"quantization_config\":null",
        "\"attention_bias\":false",
        "\"mlp_bias\":0",
        "\"sliding_window\":null",
        "\"sliding_window\":8,\"use_sliding_window\":false",
        "\"sliding_window\":64,\"max_position_embeddings\":64",
        "\"layer_types\":[\"full_attention\"]",
        "\"layer_types\":null",
        "\"num_local_experts\":0",
        "\"pruned_heads\":{}",
        "\"rope_interleaved\":false",
        "\"no_rope_layers\":[1,1]",
        "\"no_rope_layers\":[]",
        "\"logit_scale\":1.0",
        "\"logit_scale\":null",
        "\"final_logit_softcapping\":null",
        "\"pretraining_tp\":2,\"use_cache\":true,\"torch_dtype\":\"float64\",\"attention_dropout\":"
        "0.5,\"auto_map\":{\"A\":[1]}",
        "\"head_dim\":null,\"num_key_value_heads\":null",
        "\"initializer_range\":NaN,\"a\":[-Infinity,1e999],\"b\":123456789012345678901234567890",
        "\"num_key_value_heads\":1.0,\"head_dim\":4e0",
        "\"scale_embedding\":false,\"clip_qkv\":null,\"rope_ratio\":1",
        "\"ffn_dim_multiplier\":1.3,\"num_experts_per_tok\":2,\"logits_to_keep\":1",
    };
    static const char *const bad[] = {
        "\"hidden_act\":\"relu\"",
        "\"hidden_act\":7",
        "\"quantization_config\":{\"quant_method\":\"gptq\"}",
        "\"compression_config\":{}",
        "\"attention_bias\":true",
        "\"attention_bias\":\"false\"",
        "\"mlp_bias\":true",
        "\"qkv_bias\":true",
        "\"use_bias\":true",
        "\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
        "\"layer_types\":[[\"full_attention\"]]",
        "\"attention_chunk_size\":8192",
        "\"use_bidirectional_attention\":true",
        "\"is_encoder_decoder\":true",
        "\"add_cross_attention\":true",
        "\"num_experts\":8",
        "\"num_local_experts\":8",
        "\"n_routed_experts\":8",
        "\"per_layer_config\":{\"0\":{}}",
        "\"pruned_heads\":{\"0\":[1]}",
        "\"alibi\":true",
        "\"use_alibi\":true",
        "\"rope_interleaved\":true",
        "\"partial_rotary_factor\":0.5",
        "\"no_rope_layers\":[1,0]",
        "\"use_qk_norm\":true",
        "\"qk_norm\":true",
        "\"qk_layernorm\":true",
        "\"attn_logit_softcapping\":50",
        "\"final_logit_softcapping\":30.0",
        "\"query_pre_attn_scalar\":256",
        "\"attention_multiplier\":1.0",
        "\"embedding_multiplier\":12",
        "\"scale_emb\":12",
        "\"residual_multiplier\":0.22",
        "\"logit_scale\":0.0625",
        "\"logits_scaling\":8",
        "\"logit_softcap\":30",
        "\"clip_qkv\":8",
        "\"kv_lora_rank\":512",
        "\"use_parallel_residual\":true",
        "\"rope_ratio\":50",
        "\"scale_embedding\":true",
        "\"moe_num_experts\":2",
        "\"lm_head_bias\":true",
        "\"lm_head_multiplier\":NaN",
        "\"sliding_window\":8",
        "\"sliding_window\":8,\"use_sliding_window\":true",
        "\"sliding_window\":63,\"max_position_embeddings\":64",
    };
    char text[512];
    good_folder();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "{" CONFIG ",%s}", good[i]);
        put("config.json", text);
        ck_ok(import(err));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[64];
        sscanf(bad[i], "\"%60[^\"]", name);
        strcat(name, " is ");
        snprintf(text, sizeof text, "{" CONFIG ",%s}", bad[i]);
        put("config.json", text);
        ck_fails(import(err), SOL_ERR_UNSUPPORTED, name);
    }
    put("config.json", "{" CONFIG "}");
    put("adapter_config.json", "{}");
    ck_fails(import(err), SOL_ERR_UNSUPPORTED,
             "adapter_config.json: the folder holds an adapter: merge it");
    drop("adapter_config.json");
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
    snprintf(text, sizeof text, "{" CONFIG ",\"tie_word_embeddings\":%s}", tie);
    put("config.json", text);
    ck_ok(sol_import(folder, back, &o, &r, err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, err));
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
    good_folder();
    ck_assert(head_of("false", &noted) == 155 && !noted);
    ck_assert(head_of("true", &noted) == 155 && noted); /* another head is kept */
    put_weights("model.safetensors", "F32", NULL, NULL, 0, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    put("config.json", "{" CONFIG "}");
    ck_fails(import(err), SOL_ERR_SHAPE,
             "has no tensor lm_head.weight: where the embedding is the head, config.json says "
             "tie_word_embeddings true");
    /* Stored twice with the same values, in two types; the head alone; neither. */
    drop("model.safetensors");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"model.embed_tokens.weight\":\"a.safetensors\",\"lm_head.weight\":\"b."
        "safetensors\",\"model.norm.weight\":\"c.safetensors\"}}");
    put_weights("a.safetensors", "F32", NULL, NULL, 0, 1);
    put_weights("b.safetensors", "BF16", NULL, NULL, 11, 12);
    put_weights("c.safetensors", "F32", NULL, NULL, 1, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    ck_assert(head_of("false", &noted) == 15 && !noted);
    put("model.safetensors.index.json", "{\"weight_map\":{\"lm_head.weight\":\"b.safetensors\","
                                        "\"model.norm.weight\":\"c.safetensors\"}}");
    ck_assert(head_of("true", &noted) == -1 && !noted);
    put("config.json", "{" CONFIG "}");
    ck_fails(import(err), SOL_ERR_SHAPE, "has no tensor model.embed_tokens.weight");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"model.norm.weight\":\"c.safetensors\"}}");
    put("config.json", "{" CONFIG ",\"tie_word_embeddings\":true}");
    ck_fails(import(err), SOL_ERR_SHAPE, "has no tensor model.embed_tokens.weight");
    /* Names of a model without its head, and tables of RoPE under all the names that they had. */
    drop("model.safetensors.index.json");
    bare_names = true;
    put_weights("model.safetensors", "F32", NULL, "rotary_emb.inv_freq", 0, 11);
    ck_assert(head_of("true", &noted) == -1 && !noted);
    put_weights("model.safetensors", "F32", NULL, "layers.0.self_attn.rotary_emb.inv_freq", 0, 12);
    ck_assert(head_of("true", &noted) == 155 && noted);
    ck_assert(head_of("false", &noted) == 155 && !noted);
    put_weights("model.safetensors", "F32", NULL, "layers.1.mlp.up_proj.weight", 0, 12);
    ck_fails(import(err), SOL_ERR_SHAPE, "layers.1.mlp.up_proj.weight: is not a parameter");
    bare_names = false;
    put_weights("model.safetensors", "F32", NULL, "embed_tokens.weight", 0, 12);
    put("config.json", "{" CONFIG "}");
    ck_fails(import(err), SOL_ERR_FORMAT, "model.embed_tokens.weight: is in");
}
END_TEST

START_TEST(shards)
{
    sol_model_file c;
    good_folder();
    drop("model.safetensors");
    put_weights("a.safetensors", "F32", NULL, NULL, 0, 6);
    put_weights("b.safetensors", "BF16", NULL, NULL, 6, 12);
    put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                        "safetensors\",\"lm_head.weight\":\"b.safetensors\"}}");
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, err));
    ck_assert(sol_model_f32(c.model, sol_model_head(c.model))[0] == 56); /* 4 + 3 * 16 + 4 */
    sol_model_file_free(&c);
    put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                        "safetensors\",\"lm_head.weight\":\"a.safetensors\"}}");
    ck_fails(import(err), SOL_ERR_FORMAT, "lm_head.weight: is not in a.safetensors");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"model.embed_tokens.weight\":\"../a.safetensors\"}}");
    ck_fails(import(err), SOL_ERR_FORMAT, "is not in a file of this folder");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"model.embed_tokens.weight\":\"none.safetensors\"}}");
    ck_fails(import(err), SOL_ERR_IO, "index.json: names none.safetensors, which is not there");
    put("model.safetensors.index.json", "{\"weight_map\":[]}");
    ck_fails(import(err), SOL_ERR_FORMAT, "has no weight_map");
    put_weights("b.safetensors", "F32", NULL, NULL, 5, 12);
    put("model.safetensors.index.json", "{\"weight_map\":{\"model.embed_tokens.weight\":\"a."
                                        "safetensors\",\"lm_head.weight\":\"b.safetensors\"}}");
    ck_fails(import(err), SOL_ERR_FORMAT, "o_proj.weight: is in");
}
END_TEST

START_TEST(bad_configurations)
{
    static const struct {
        const char *text;
        sol_status status;
        const char *part;
    } cases[] = {
        {"", SOL_ERR_FORMAT, "config.json:1:"},
        {"[1]", SOL_ERR_FORMAT, "config.json: is not a JSON object"},
        {"{\"a\":1,\"a\":2}", SOL_ERR_FORMAT, "duplicate"},
        {"{" CONFIG ",\"attention_bias\":true}", SOL_ERR_UNSUPPORTED,
         "attention_bias is true: linear layers with a bias"},
        {"{" CONFIG ",\"mlp_bias\":1}", SOL_ERR_UNSUPPORTED,
         "mlp_bias is 1: linear layers with a bias"},
        {"{" CONFIG ",\"hidden_act\":\"gelu\"}", SOL_ERR_UNSUPPORTED,
         "hidden_act is \"gelu\": only silu"},
        {"{" CONFIG ",\"tie_word_embeddings\":1}", SOL_ERR_FORMAT,
         "tie_word_embeddings is 1, expected true or false"},
        {"{" CONFIG ",\"quantization_config\":{}}", SOL_ERR_UNSUPPORTED, "quantization_config"},
        {"{" CONFIG ",\"rope_scaling\":{\"rope_type\":\"yarn\"}}", SOL_ERR_UNSUPPORTED,
         "rope_type is \"yarn\""},
        {"{" CONFIG ",\"rope_scaling\":{\"rope_type\":\"llama3\"}}", SOL_ERR_FORMAT,
         "has no factor"},
        {"{" CONFIG ",\"rope_scaling\":7}", SOL_ERR_FORMAT,
         "rope_scaling is 7, expected an object"},
        {"{" CONFIG ",\"head_dim\":\"4\"}", SOL_ERR_FORMAT,
         "head_dim is \"4\", expected a whole number"},
        {"{" CONFIG ",\"head_dim\":3}", SOL_ERR_SHAPE, "head_dim is 3"},
        {"{" CONFIG ",\"eos_token_id\":[1,4]}", SOL_ERR_FORMAT,
         "eos_token_id is 4, expected an id in the vocabulary"},
        {"{" CONFIG ",\"eos_token_id\":[1,2.5]}", SOL_ERR_FORMAT,
         "eos_token_id is 2.5, expected a token id"},
        {"{" CONFIG ",\"eos_token_id\":\"2\"}", SOL_ERR_FORMAT,
         "eos_token_id is \"2\", expected a token id"},
        {"{" CONFIG ",\"eos_token_id\":NaN}", SOL_ERR_FORMAT, "expected a token id"},
        {"{" CONFIG ",\"eos_token_id\":4}", SOL_ERR_FORMAT,
         "eos_token_id is 4, expected an id in the vocabulary"},
        {"{" CONFIG ",\"num_key_value_heads\":0}", SOL_ERR_RANGE, "num_key_value_heads is 0"},
        {"{\"model_type\":\"gpt2\"}", SOL_ERR_UNSUPPORTED,
         "model_type is 'gpt2': positions that are learned"},
        {"{}", SOL_ERR_FORMAT, "model_type is null, expected a name"},
        {"{\"model_type\":\"gemma3_text\"}", SOL_ERR_UNSUPPORTED, "norms behind attention and MLP"},
        {"{\"model_type\":\"newest\"}", SOL_ERR_UNSUPPORTED,
         "'newest', which is not known here: a model of llama, mistral, qwen2"},
        {"{\"model_type\":\"llama\",\"vocab_size\":4}", SOL_ERR_FORMAT,
         "config.json: has no hidden_size"},
        {"{\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":4,\"intermediate_size\":4,"
         "\"num_attention_heads\":1,\"num_hidden_layers\":4000}",
         SOL_ERR_SHAPE, "has 4000 layers, the weights only 12 tensors"},
        {"{\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":4,\"intermediate_size\":8,"
         "\"num_attention_heads\":1,\"num_hidden_layers\":1}",
         SOL_ERR_SHAPE, "gate_proj.weight: has shape [4, 4], config.json wants [8, 4]"},
    };
    good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("config.json", cases[i].text);
        ck_fails(import(err), cases[i].status, cases[i].part);
    }
    drop("config.json");
    ck_fails(import(err), SOL_ERR_IO, "config.json");
    ck_assert(!sol_file_exists(back));
}
END_TEST

START_TEST(bad_tensors)
{
    good_folder();
    put_weights("model.safetensors", "F32", "model.norm.weight", NULL, 0, 12);
    ck_fails(import(err), SOL_ERR_SHAPE, "has no tensor model.norm.weight");
    put_weights("model.safetensors", "F32", NULL, "adapter", 0, 12);
    ck_fails(import(err), SOL_ERR_SHAPE,
             "adapter: is not a parameter of the model that config.json describes");
    put_weights("model.safetensors", "F32", NULL, "model.layers.0.self_attn.q_proj.bias", 0, 12);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED,
             "q_proj.bias: a bias, which llama models do not have");
    put_weights("model.safetensors", "F64", NULL, NULL, 0, 12);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "has dtype F64, only F32, F16 and BF16");
    drop("model.safetensors");
    ck_fails(import(err), SOL_ERR_IO,
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
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
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
    good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_header(cases[i].json, strlen(cases[i].json), cases[i].zeros);
        sol_err e = {0};
        sol_status st = import(&e);
        ck_assert_msg(st == SOL_ERR_FORMAT || st == SOL_ERR_UNSUPPORTED, "%s: %d %s", cases[i].json,
                      st, e.text);
        ck_assert_msg(strstr(e.text, cases[i].part) && strstr(e.text, "model.safetensors: "),
                      "%s: '%s' lacks '%s'", cases[i].json, e.text, cases[i].part);
    }
    put_header("{}", 3, 0);
    ck_fails(import(err), SOL_ERR_FORMAT, "its header has 3 bytes, at most 2 fit");
    put_header("{}", UINT64_MAX, 0);
    ck_fails(import(err), SOL_ERR_FORMAT, "at most 2 fit");
    put("model.safetensors", "1234567");
    ck_fails(import(err), SOL_ERR_FORMAT, "has 7 bytes: no header");
    char deep[100001];
    memset(deep, '[', 100000);
    deep[100000] = 0;
    put_header(deep, 100000, 0);
    ck_fails(import(err), SOL_ERR_FORMAT, "maximum parsing depth");
    ck_assert(!sol_file_exists(back));
}
END_TEST

START_TEST(not_finite)
{
    char path[160], *data;
    size_t n;
    float inf = INFINITY;
    good_folder();
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_ok(sol_file_read(path, &data, &n, err));
    memcpy(data + n - 4, &inf, 4);
    ck_ok(sol_file_write(path, data, n, err));
    sol_free(data);
    ck_fails(import(err), SOL_ERR_FORMAT, "lm_head.weight: element [3, 3] is not a finite number");
    snprintf(path, sizeof path, "%s.tmp", back);
    ck_assert(!sol_file_exists(back) && !sol_file_exists(path));
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
    ck_ok(sol_export_safetensors(ctx, "checkpoints/embedded.h5", folder, &(sol_export_opts){0},
                                 &made, err));
    for (int t = 0; t < 4; t++) {
        sol_import_opts o = {0};
        sol_import_result r;
        if (t) ck_ok(sol_pool_create(&o.pool, t, err));
        ck_ok(sol_import(folder, back, &o, &r, err));
        sol_pool_free(&o.pool);
        ck_assert(r.has_tokenizer);
        ck_assert_int_eq(r.weights, 3672320);
        ck_ok(sol_file_read(back, &bytes, &n, err));
        ck_assert(!first || (n == n_first && memcmp(bytes, first, n) == 0));
        if (first)
            sol_free(bytes);
        else
            first = bytes, n_first = n;
    }
    sol_free(first);
    ck_ok(sol_model_file_read(&a, "checkpoints/embedded.h5", SOL_F32, err));
    ck_ok(sol_model_file_read(&b, back, SOL_F32, err));
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
    good_folder();
    put("config.json", "{" CONFIG "}");
    for (int k = 0; k < 2; k++) {
        put("tokenizer.json", text[k]);
        ck_ok(sol_file_write(back, "old", 3, err));
        ck_fails(import(err), SOL_ERR_FORMAT, "tokenizer.json");
        uint64_t size;
        ck_ok(sol_file_size(back, &size, err));
        ck_assert_uint_eq(size, 3);
        snprintf(path, sizeof path, "%s.tmp", back);
        ck_assert(!sol_file_exists(path));
    }
}
END_TEST

SOL_TEST_MAIN("import_hf", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, round_trip); tcase_add_test(tc, dequantized);
              tcase_add_test(tc, dtypes); tcase_add_test(tc, configurations);
              tcase_add_test(tc, eos_lists); tcase_add_test(tc, rope_settings);
              tcase_add_test(tc, keys_with_a_meaning); tcase_add_test(tc, heads_and_names);
              tcase_add_test(tc, shards); tcase_add_test(tc, bad_configurations);
              tcase_add_test(tc, bad_tensors); tcase_add_test(tc, hostile_headers);
              tcase_add_test(tc, not_finite); tcase_add_test(tc, threads);
              tcase_add_test(tc, bad_tokenizer))
