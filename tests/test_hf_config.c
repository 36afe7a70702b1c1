/* config.json and generation_config.json of Hugging Face folders: what they may say, lists of end
 * tokens, RoPE, keys that change the meaning of the weights. The weights: test_import_hf.c. */
#include "hf_folder.h"

#include <string.h>

#include "foreign/hf.h"

START_TEST(configurations)
{
    sol_model_file c;
    hf_good_folder();
    hf_put("config.json",
           "{" HF_CONFIG ",\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,\"eos_token_"
           "id\":[2,3],\"bos_token_id\":null,"
           "\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
           "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
           "\"original_max_position_embeddings\":8192},\"unknown\":[{}]}");
    hf_put_weights("model.safetensors", "F32", NULL, NULL, 0, 11);
    ck_ok(hf_import(err));
    ck_ok(sol_model_file_read(&c, hf_back, SOL_F32, NULL, err));
    ck_assert(c.model->config.tie_word_embeddings && c.model->config.rope_factor == 8 &&
              c.model->config.rope_theta == 5e5);
    ck_assert_int_eq(c.model->config.eos_token_id, 2);
    sol_model_file_free(&c);
    /* As newer files put it; and what generation_config.json adds. */
    hf_put("config.json",
           "{" HF_CONFIG ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4}}");
    hf_put("generation_config.json", "{\"eos_token_id\":3,\"bos_token_id\":1}");
    hf_put_weights("model.safetensors", "F32", NULL, "model.layers.0.self_attn.rotary_emb.inv_freq",
                   0, 12);
    ck_ok(hf_import(err));
    ck_ok(sol_model_file_read(&c, hf_back, SOL_F32, NULL, err));
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
        {",\"eos_token_id\":4,\"bos_token_id\":4", NULL, ""},
        {",\"eos_token_id\":[4,2]", "{\"eos_token_id\":[4]}", "2"},
        {",\"eos_token_id\":1", "{}", "1"},
        {",\"eos_token_id\":1", "{\"eos_token_id\":null}", "1"},
        {",\"eos_token_id\":1", "{\"eos_token_id\":[3,1]}", "3 1"},
        {",\"eos_token_id\":[1,2]", "{\"eos_token_id\":0,\"temperature\":NaN}", "0"},
        {"", "{\"eos_token_id\":[2,3]}", "2 3"},
    };
    hf_good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512], has[64] = "";
        sol_model_config c;
        snprintf(text, sizeof text, "{" HF_CONFIG "%s}", cases[i].config);
        hf_put("config.json", text);
        hf_drop("generation_config.json");
        if (cases[i].generation) hf_put("generation_config.json", cases[i].generation);
        ck_ok(hf_import(err));
        sol_test_config(&c, hf_back);
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
    hf_good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{" HF_CONFIG "%s%s}", cases[i].text[0] ? "," : "",
                 cases[i].text);
        hf_put("config.json", text);
        ck_ok(hf_import(err));
        sol_test_config(&c, hf_back);
        ck_assert_msg(c.rope_theta == cases[i].theta && c.rope_factor == cases[i].factor &&
                          c.rope_original_max_position == cases[i].original,
                      "%s: theta %g, factor %g, original %d", cases[i].text, c.rope_theta,
                      c.rope_factor, (int)c.rope_original_max_position);
        ck_assert(sol_rope_is_linear(&c) == (cases[i].original == 1));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{" HF_CONFIG ",%s}", bad[i].text);
        hf_put("config.json", text);
        ck_fails(hf_import(err), bad[i].status, bad[i].part);
    }
}
END_TEST

/* Which layers have a window in Qwen2 and Qwen3, as their classes in transformers 5 resolve it. */
START_TEST(windows_of_upper_layers)
{
#define USED ",\"use_sliding_window\":true"
#define FULL "\"full_attention\""
#define SLIDING "\"sliding_attention\""
    static const struct {
        const char *config;
        int64_t window, first;
    } cases[] = {
        {"", 0, 0},
        {",\"sliding_window\":9,\"max_window_layers\":1", 0, 0},
        {USED ",\"sliding_window\":9,\"max_window_layers\":1", 9, 1},
        {USED ",\"max_window_layers\":0", 4096, 0},
        {USED ",\"sliding_window\":9", 0, 0}, /* 28 layers are without */
        {USED ",\"sliding_window\":null,\"max_window_layers\":0", 0, 0},
        {USED ",\"sliding_window\":9,\"layer_types\":[" FULL "," SLIDING "]", 9, 1},
        {USED ",\"sliding_window\":9,\"layer_types\":[" SLIDING "," SLIDING "]", 9, 0},
        {USED ",\"sliding_window\":9,\"layer_types\":[" FULL "," FULL "]", 0, 0},
        {USED ",\"sliding_window\":9,\"layer_types\":[" SLIDING "," FULL "]", -1, 0},
        {USED ",\"sliding_window\":9,\"layer_types\":[" SLIDING "]", -1, 0},
        {USED ",\"sliding_window\":9,\"layer_types\":[" FULL ",\"linear_attention\"]", -1, 0},
        {USED ",\"sliding_window\":-3,\"max_window_layers\":1", -1, 0},
        {",\"layer_types\":[" FULL "," SLIDING "]", -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        const char *note;
        sol_model_config c;
        sol_err err = {0};
        snprintf(text, sizeof text,
                 "{\"model_type\":\"qwen2\",\"vocab_size\":8,\"hidden_size\":8,"
                 "\"intermediate_size\":8,\"num_hidden_layers\":2,\"num_attention_heads\":2%s}",
                 cases[i].config);
        json_t *root = json_loads(text, 0, NULL);
        ck_assert_ptr_nonnull(root);
        sol_status st = sol_hf_config("config.json", root, &c, &note, &err);
        ck_assert_msg((st == SOL_OK) == (cases[i].window >= 0), "%s: %s", text, err.text);
        if (st == SOL_OK) {
            ck_assert_int_eq(c.sliding_window, cases[i].window);
            ck_assert_int_eq(c.max_window_layers, cases[i].first);
        }
        json_decref(root);
    }
#undef USED
#undef FULL
#undef SLIDING
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
        "\"is_causal\":true",
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
        "\"is_causal\":false",
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
    hf_good_folder();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "{" HF_CONFIG ",%s}", good[i]);
        hf_put("config.json", text);
        ck_ok(hf_import(err));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[64];
        sscanf(bad[i], "\"%60[^\"]", name);
        strcat(name, " is ");
        snprintf(text, sizeof text, "{" HF_CONFIG ",%s}", bad[i]);
        hf_put("config.json", text);
        ck_fails(hf_import(err), SOL_ERR_UNSUPPORTED, name);
    }
    hf_put("config.json", "{" HF_CONFIG "}");
    hf_put("adapter_config.json", "{}");
    ck_fails(hf_import(err), SOL_ERR_UNSUPPORTED,
             "adapter_config.json: the folder holds an adapter: merge it");
    hf_drop("adapter_config.json");
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
        {"{" HF_CONFIG ",\"attention_bias\":true}", SOL_ERR_UNSUPPORTED,
         "attention_bias is true: linear layers with a bias"},
        {"{" HF_CONFIG ",\"mlp_bias\":1}", SOL_ERR_UNSUPPORTED,
         "mlp_bias is 1: linear layers with a bias"},
        {"{" HF_CONFIG ",\"hidden_act\":\"gelu\"}", SOL_ERR_UNSUPPORTED,
         "hidden_act is \"gelu\": only silu"},
        {"{" HF_CONFIG ",\"tie_word_embeddings\":1}", SOL_ERR_FORMAT,
         "tie_word_embeddings is 1, expected true or false"},
        {"{" HF_CONFIG ",\"quantization_config\":{}}", SOL_ERR_UNSUPPORTED, "quantization_config"},
        {"{" HF_CONFIG ",\"rope_scaling\":{\"rope_type\":\"yarn\"}}", SOL_ERR_UNSUPPORTED,
         "rope_type is \"yarn\""},
        {"{" HF_CONFIG ",\"rope_scaling\":{\"rope_type\":\"llama3\"}}", SOL_ERR_FORMAT,
         "has no factor"},
        {"{" HF_CONFIG ",\"rope_scaling\":7}", SOL_ERR_FORMAT,
         "rope_scaling is 7, expected an object"},
        {"{" HF_CONFIG ",\"head_dim\":\"4\"}", SOL_ERR_FORMAT,
         "head_dim is \"4\", expected a whole number"},
        {"{" HF_CONFIG ",\"head_dim\":3}", SOL_ERR_SHAPE, "head_dim is 3"},
        {"{" HF_CONFIG ",\"eos_token_id\":[1,2.5]}", SOL_ERR_FORMAT,
         "eos_token_id is 2.5, expected a token id"},
        {"{" HF_CONFIG ",\"eos_token_id\":\"2\"}", SOL_ERR_FORMAT,
         "eos_token_id is \"2\", expected a token id"},
        {"{" HF_CONFIG ",\"eos_token_id\":NaN}", SOL_ERR_FORMAT, "expected a token id"},
        {"{" HF_CONFIG ",\"num_key_value_heads\":0}", SOL_ERR_RANGE, "num_key_value_heads is 0"},
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
    hf_good_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hf_put("config.json", cases[i].text);
        ck_fails(hf_import(err), cases[i].status, cases[i].part);
    }
    hf_drop("config.json");
    ck_fails(hf_import(err), SOL_ERR_IO, "config.json");
    ck_assert(!sol_file_exists(hf_back));
}
END_TEST

SOL_TEST_MAIN("hf_config", tcase_add_checked_fixture(tc, hf_make, hf_remove);
              tcase_add_test(tc, configurations); tcase_add_test(tc, eos_lists);
              tcase_add_test(tc, rope_settings); tcase_add_test(tc, windows_of_upper_layers);
              tcase_add_test(tc, keys_with_a_meaning); tcase_add_test(tc, bad_configurations))
