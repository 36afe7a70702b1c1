/* make_seeds DIR: small good files of every kind, as this program writes them, into DIR/<target>/.
 */
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "study/run.h"

static const char *root;
static sol_ctx *ctx;

/* The path of a seed; its folder is there afterwards. Static storage. */
static const char *seed(const char *target, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, target);
    fuzz_check(sol_dir_create(path, NULL) == SOL_OK);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    return path;
}

static void write_models(void)
{
    sol_model_file c = {.model = fuzz_tiny_model(8, 8)};
    sol_adamw_config a = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_GROUP,
                           .group_size = 4,
                           .scale_dtype = SOL_F16};
    sol_adamw *optim;
    sol_packed_model p;
    sol_dtype types[] = {SOL_F16, SOL_Q8};
    fuzz_check(sol_model_file_write(&c, seed("h5_model", "plain"), SOL_BF16, NULL, NULL) == SOL_OK);
    c.quant = spec;
    fuzz_check(sol_adamw_create(&optim, c.model, &a, NULL) == SOL_OK);
    fuzz_check(sol_copy_string(&c.config_yaml, "run:\n", 5, NULL) == SOL_OK);
    sol_checkpoint_view v = {
        .model = c.model, .config_yaml = c.config_yaml, .quant = c.quant, .optim = optim};
    fuzz_check(sol_checkpoint_write(&v, seed("h5_model", "checkpoint"), SOL_F32, NULL) == SOL_OK);
    sol_adamw_free(&optim);
    for (int i = 0; i < 2; i++) {
        spec.granularity = i ? SOL_PER_CHANNEL : SOL_PER_GROUP;
        fuzz_check(sol_packed_model_from(ctx, &p, c.model, &spec, types[i], NULL, NULL) == SOL_OK);
        fuzz_check(sol_packed_model_write(&p, NULL, seed("h5_packed", i ? "channel" : "group"),
                                          NULL) == SOL_OK);
        sol_packed_model_free(&p);
    }
    sol_model_file_free(&c);
    c = (sol_model_file){.model = fuzz_tiny_model(8, 8)};
    c.quant = (sol_quant_spec){.method = sol_quantizer_find("lsq"),
                               .granularity = SOL_PER_CHANNEL,
                               .scale_dtype = SOL_F16};
    fuzz_check(sol_model_add_learned(c.model, &c.quant, NULL) == SOL_OK);
    sol_model_start_learned(ctx, c.model, &c.quant);
    fuzz_check(sol_model_file_write(&c, seed("h5_model", "learned"), SOL_BF16, NULL, NULL) ==
               SOL_OK);
    sol_model_file_free(&c);
}

static void write_data(void)
{
    static const int32_t ids[] = {1, 2, 3, 4, 3, 2, 1, 0, 5, 6, 7, 0};
    for (int wide = 0; wide < 2; wide++) {
        sol_dataset_writer *w;
        const char *path = seed("h5_dataset", wide ? "wide" : "narrow");
        fuzz_check(sol_dataset_writer_open(&w, path, wide ? 100000 : 8, 77, NULL) == SOL_OK);
        fuzz_check(sol_dataset_writer_add(w, ids, 5, NULL) == SOL_OK);
        fuzz_check(sol_dataset_writer_add(w, ids + 5, 7, NULL) == SOL_OK);
        fuzz_check(sol_dataset_writer_close(&w, NULL) == SOL_OK);
    }
    sol_study_head head = {.method = "sherry",
                           .granularity = "per_group",
                           .block_layout = "contiguous",
                           .group_size = 4,
                           .every = 1,
                           .steps = 1,
                           .sample_rows = 4};
    sol_study_layer layer = {.name = "model.layers.0.mlp.gate_proj.weight",
                             .rows = 4,
                             .cols = 4,
                             .weight_rows = 4,
                             .token_rows = 4,
                             .w_range = 1};
    sol_study_file *f;
    const void *rows[SOL_STUDY_COLUMNS];
    static const double zero[512];
    for (int i = 0; i < SOL_STUDY_COLUMNS; i++) rows[i] = zero;
    fuzz_check(sol_study_file_create(&f, seed("h5_study", "one"), &head, &layer, 1,
                                     sol_study_columns, SOL_STUDY_COLUMNS, 2, NULL,
                                     NULL) == SOL_OK);
    fuzz_check(sol_study_file_append(f, rows, NULL) == SOL_OK);
    sol_study_file_close(&f);
}

/* A cache that is complete, and one that ends after the first of two windows, with tokens that were
 * drawn. */
static void write_teacher(void)
{
    enum { SEQ = 2, K = 3 };
    static const int32_t ids[SEQ * K] = {1, 2, 3, 7, 5, 6};
    static const float probs[SEQ * (K + 2)] = {0.5f,  0.25f,  0.125f,  0.125f,  0.5f,
                                               0.75f, 0.125f, 0.0625f, 0.0625f, 0.75f};
    for (int drawn = 0; drawn < 2; drawn++) {
        sol_teacher_cache *c;
        sol_teacher_cache_head head = {.data_digest = 1,
                                       .teacher_digest = 2,
                                       .tokenizer_hash = 3,
                                       .vocab_size = 8,
                                       .windows = 2,
                                       .seq = SEQ,
                                       .k = K,
                                       .samples = drawn,
                                       .seed = drawn,
                                       .temperature = 1};
        fuzz_check(sol_teacher_cache_create(&c, seed("h5_teacher", drawn ? "drawn" : "whole"),
                                            &head, NULL) == SOL_OK);
        for (int w = 0; w < 2 - drawn; w++)
            fuzz_check(sol_teacher_cache_append(c, ids, probs, NULL) == SOL_OK);
        fuzz_check(sol_teacher_cache_commit(c, NULL) == SOL_OK);
        sol_teacher_cache_close(&c);
    }
}

static void write_foreign(void)
{
    char model[512], name[64];
    sol_model_file c = {.model = fuzz_tiny_model(260, 32), .tokenizer = fuzz_tiny_tokenizer()};
    sol_export_opts o = {0};
    sol_export_result r;
    sol_gguf_result g;
    static const char *const files[] = {"model.safetensors", "config.json",
                                        "generation_config.json"};
    snprintf(model, sizeof model, "%s/m.h5", fuzz_dir());
    fuzz_check(sol_model_file_write(&c, model, SOL_BF16, NULL, NULL) == SOL_OK);
    static const char *const types[] = {"f16", "q8_0"};
    for (int i = 0; i < 2; i++) {
        sol_gguf_opts x = {.type = types[i], .embed_type = types[i]};
        fuzz_check(sol_export_gguf(ctx, model, seed("gguf", types[i]), &x, &g, NULL) == SOL_OK);
    }
    sol_model_file_free(&c);
    c = (sol_model_file){.model = fuzz_tiny_model(8, 8)};
    fuzz_check(sol_model_file_write(&c, model, SOL_BF16, NULL, NULL) == SOL_OK);
    fuzz_check(sol_export_safetensors(ctx, model, fuzz_dir(), &o, &r, NULL) == SOL_OK);
    for (int i = 0; i < 3; i++) {
        char *bytes, path[512];
        size_t n;
        snprintf(path, sizeof path, "%s/%s", fuzz_dir(), files[i]);
        fuzz_check(sol_file_read(path, &bytes, &n, NULL) == SOL_OK);
        char *with_kind = malloc(n + 1);
        with_kind[0] = (char)i;
        memcpy(with_kind + 1, bytes, n);
        snprintf(name, sizeof name, "%d", i);
        fuzz_write(seed("safetensors", name), with_kind, n + 1);
        free(with_kind);
        sol_free(bytes);
    }
    static const char index[] =
        "\3{\"weight_map\": {\"model.norm.weight\": \"shard.safetensors\"}}";
    fuzz_write(seed("safetensors", "3"), index, sizeof index - 1);
    sol_model_file_free(&c);
}

/* A GGUF file as part `index` of 2: three keys more, 64 bytes, so that the data stay aligned.
 * Without its tensors if it `has` none. Returns the length. */
static size_t put_part(uint8_t *out, const char *file, size_t n, uint16_t index, bool has)
{
    static const char *const key[] = {"split.no", "split.count", "more"};
    const uint16_t value[] = {index, 2, 0};
    const uint32_t kind[] = {2, 2, 0}; /* uint16, uint16, uint8 */
    uint64_t values, none = 0;
    uint8_t *at = out + 24;
    memcpy(out, file, 24);
    memcpy(&values, out + 16, sizeof values);
    values += 3;
    memcpy(out + 16, &values, sizeof values);
    if (!has) memcpy(out + 8, &none, sizeof none);
    for (int i = 0; i < 3; i++) {
        uint64_t n_key = strlen(key[i]);
        at = mempcpy(at, &n_key, sizeof n_key);
        at = mempcpy(at, key[i], n_key);
        at = mempcpy(at, &kind[i], sizeof kind[i]);
        at = mempcpy(at, &value[i], kind[i] ? 2 : 1);
    }
    fuzz_check(at == out + 24 + 64);
    memcpy(at, file + 24, n - 24);
    return n + 64;
}

/* Models in two files, of which one has the tensors, and a part in one file. */
static void write_split(void)
{
    char *file, path[512];
    size_t n;
    snprintf(path, sizeof path, "%s", seed("gguf", "q8_0"));
    fuzz_check(sol_file_read(path, &file, &n, NULL) == SOL_OK);
    uint8_t *out = malloc(2 * n + 256);
    for (int with = 0; with < 2; with++) {
        uint32_t n_first = (uint32_t)put_part(out + 5, file, n, 0, with == 0), n_second;
        uint8_t *second = out + 5 + n_first;
        out[0] = 1 | 1 << 2;
        memcpy(out + 1, &n_first, sizeof n_first);
        n_second = (uint32_t)put_part(second + 4, file, n, 1, with == 1);
        memcpy(second, &n_second, sizeof n_second);
        fuzz_write(seed("gguf_split", with ? "second" : "first"), out, 9 + n_first + n_second);
    }
    out[0] = 1 << 2;
    fuzz_write(seed("gguf_split", "alone"), out, 5 + n + 64);
    free(out);
    sol_free(file);
}

/* Width 4, 8 of the MLP, one layer, one head, vocabulary 5, 3 positions. */
static void write_llama2c(void)
{
    int32_t head[7] = {4, 8, 1, 1, 1, 5, 3};
    float w[512] = {0};
    uint8_t file[28 + sizeof w];
    size_t n = 5 * 4 + 4 + 4 * 16 + 4 + 3 * 32 + 4 + 3 * 4;
    for (size_t i = 0; i < n; i++) w[i] = (float)i / 64;
    memcpy(file, head, 28);
    memcpy(file + 28, w, 4 * n);
    fuzz_write(seed("llama2c", "one"), file, 28 + 4 * n);
}

int main(int argc, char **argv)
{
    fuzz_check(argc == 2);
    root = argv[1];
    fuzz_check(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, NULL) == SOL_OK);
    write_models();
    write_data();
    write_teacher();
    write_foreign();
    write_split();
    write_llama2c();
    sol_ctx_free(&ctx);
    return 0;
}
