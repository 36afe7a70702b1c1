/* Folders of Hugging Face models, made for tests of import and export. */
#include "hf_folder.h"

#include <string.h>

char hf_dir[64], hf_folder[80], hf_back[80];
bool hf_bare_names;

void hf_make(void)
{
    sol_test_dir_make(hf_dir);
    snprintf(hf_folder, sizeof hf_folder, "%s/hf", hf_dir);
    snprintf(hf_back, sizeof hf_back, "%s/b.h5", hf_dir);
}

void hf_remove(void)
{
    sol_test_dir_remove(hf_dir);
}

sol_status hf_import(sol_err *err)
{
    sol_import_opts o = {0};
    sol_import_result r;
    return sol_import(hf_folder, hf_back, &o, &r, err);
}

void hf_put(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", hf_folder, name);
    ck_ok(sol_file_write(path, text, strlen(text), err));
}

void hf_drop(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", hf_folder, name);
    remove(path);
}

void hf_put_weights(const char *file, const char *dtype, const char *skip, const char *extra,
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
        const char *name = names[i] + (hf_bare_names && i < 11 ? 6 : 0);
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
    snprintf(path, sizeof path, "%s/%s", hf_folder, file);
    ck_ok(sol_file_write(path, bytes, 8 + t.n + at, err));
    sol_free(bytes);
    sol_free(t.data);
}

void hf_good_folder(void)
{
    ck_ok(sol_dir_create(hf_folder, err));
    hf_drop("model.safetensors.index.json");
    hf_drop("generation_config.json");
    hf_put("config.json", "{" HF_CONFIG "}");
    hf_put_weights("model.safetensors", "F32", NULL, NULL, 0, 12);
}
