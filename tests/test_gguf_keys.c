/* GGUF metadata: keys that change the model or the tokenizer are refused by name unless they say
 * what is computed anyway, others are ignored; a model in several files; what stands for keys that
 * are not there. */
#include "suite.h"

#include <string.h>

#include "foreign/gguf.h"

static char dir[64], model[96], file[96], back[96];
static sol_ctx *ctx;
static char *bytes; /* of the exported file */
static size_t n_bytes;

static void setup(void)
{
    sol_model_file c = {0};
    sol_model_config config = {
        .vocab_size = SOL_TEST_BYTE_VOCAB,
        .hidden_size = 32,
        .intermediate_size = 64,
        .num_hidden_layers = 2,
        .num_attention_heads = 2,
        .num_key_value_heads = 1,
        .head_dim = 16,
        .max_position_embeddings = 64,
        .rms_norm_eps = 1e-5,
        .rope_theta = 1e4,
        .tie_word_embeddings = true,
        .bos_token_id = 1,
        .eos_token_id = 2,
    };
    sol_gguf_opts o = {.type = "f32", .embed_type = "f32", .name = "test", .version = "1"};
    sol_gguf_result r;
    sol_test_dir_make(dir);
    snprintf(model, sizeof model, "%s/m.h5", dir);
    snprintf(file, sizeof file, "%s/m.gguf", dir);
    snprintf(back, sizeof back, "%s/b.h5", dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&c.model, &config, SOL_F32, err));
    sol_model_init_random(NULL, c.model, 11);
    sol_test_byte_tokenizer(&c.tokenizer);
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    sol_model_file_free(&c);
    ck_ok(sol_export_gguf(ctx, model, file, &o, &r, err));
    ck_ok(sol_file_read(file, &bytes, &n_bytes, err));
}

static void teardown(void)
{
    sol_free(bytes);
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

/* ---- a file with other metadata ---- */

static size_t put_key(char *to, const char *key, uint32_t kind, const void *value, size_t n)
{
    uint64_t length = strlen(key);
    memcpy(to, &length, 8);
    memcpy(to + 8, key, length);
    memcpy(to + 8 + length, &kind, 4);
    memcpy(to + 12 + length, value, n);
    return 12 + length + n;
}

/* One key more, in front of all others; a second one fills up to the alignment of the data. */
static void write_with(const char *key, uint32_t kind, const void *value, size_t n)
{
    char record[1024] = {0}, filler[128] = {0}, *out;
    uint64_t values;
    size_t at = put_key(record, key, kind, value, n);
    uint64_t rest = 64 - (at + 12 + 4 + 8) % 32;
    memcpy(filler, &rest, 8);
    at += put_key(record + at, "fill", SOL_GGUF_STRING, filler, 8 + rest);
    ck_assert_uint_eq(at % 32, 0);
    memcpy(&values, bytes + 16, 8);
    values += 2;
    ck_ok(sol_alloc_array((void **)&out, n_bytes + at, 1, err));
    memcpy(out, bytes, 24);
    memcpy(out + 16, &values, 8);
    memcpy(out + 24, record, at);
    memcpy(out + 24 + at, bytes + 24, n_bytes - 24);
    ck_ok(sol_file_write(file, out, n_bytes + at, err));
    sol_free(out);
}

/* Hides a key: nobody asks for the name that it gets. */
static void rename_key(const char *key)
{
    char *at = memmem(bytes, n_bytes, key, strlen(key));
    ck_assert_ptr_nonnull(at);
    at[0] = 'X';
}

static void write_with_text(const char *key, const char *text)
{
    char value[128];
    uint64_t n = strlen(text);
    memcpy(value, &n, 8);
    memcpy(value + 8, text, n);
    write_with(key, SOL_GGUF_STRING, value, 8 + n);
}

static void write_with_real(const char *key, float x)
{
    write_with(key, SOL_GGUF_F32, &x, sizeof x);
}

static void write_with_flag(const char *key, bool x)
{
    write_with(key, SOL_GGUF_BOOL, &(uint8_t){x}, 1);
}

static void write_with_count(const char *key, uint32_t x)
{
    write_with(key, SOL_GGUF_U32, &x, sizeof x);
}

static void write_with_counts(const char *key, uint32_t a, uint32_t b)
{
    uint32_t value[] = {SOL_GGUF_U32, 2, 0, a, b};
    write_with(key, SOL_GGUF_ARRAY, value, sizeof value);
}

static sol_status import(sol_err *err)
{
    sol_import_opts o = {0};
    sol_import_result r;
    return sol_import(file, back, &o, &r, err);
}

/* ---- */

START_TEST(rope_scaling)
{
    static const char *const types[] = {"yarn", "longrope", "dynamic", ""};
    static const char *const factors[] = {"llama.rope.scaling.factor", "llama.rope.scale_linear"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        write_with_text("llama.rope.scaling.type", types[i]);
        ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.rope.scaling.type = '");
    }
    for (int i = 0; i < 2;
         i++) { /* without a type, llama.cpp scales by the factor, 0 and 1 not at all */
        write_with_real(factors[i], 4);
        ck_fails(import(err), SOL_ERR_UNSUPPORTED, factors[i]);
        write_with_real(factors[i], 1);
        ck_ok(import(err));
        write_with_real(factors[i], 0);
        ck_ok(import(err));
    }
    write_with_text("llama.rope.scaling.type", "linear");
    ck_ok(import(err));
    write_with_real("llama.rope.scaling.attn_factor", 1.25f);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.rope.scaling.attn_factor = 1.25");
    write_with_real("llama.rope.scaling.attn_factor", 1);
    ck_ok(import(err));
}
END_TEST

/* A factor beside a type: both keys are in the file. */
static void write_scaling(const char *type, const char *key, float factor)
{
    char *plain = bytes;
    size_t n_plain = n_bytes;
    write_with_text("llama.rope.scaling.type", type);
    ck_ok(sol_file_read(file, &bytes, &n_bytes, err));
    rename_key("fill");
    write_with_real(key, factor);
    sol_free(bytes);
    bytes = plain;
    n_bytes = n_plain;
}

START_TEST(rope_scaling_by_type)
{
    static const char *const factors[] = {"llama.rope.scaling.factor", "llama.rope.scale_linear"};
    sol_model_file c;
    for (int i = 0; i < 2; i++) {
        write_scaling("none", factors[i], 8);
        ck_ok(import(err));
        ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err));
        ck_assert(c.model->config.rope_factor == 0);
        sol_model_file_free(&c);
        write_scaling("linear", factors[i], 2.5f);
        ck_ok(import(err));
        ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err));
        ck_assert(sol_rope_is_linear(&c.model->config) && c.model->config.rope_factor == 2.5);
        sol_model_file_free(&c);
        write_scaling("linear", factors[i], -2);
        ck_fails(import(err), SOL_ERR_RANGE, "factor is -2");
    }
}
END_TEST

START_TEST(refused_by_name)
{
    static const struct {
        const char *key;
        float value;
    } reals[] = {{"llama.logit_scale", 0.25f},
                 {"llama.residual_scale", 0.22f},
                 {"llama.embedding_scale", 12},
                 {"llama.attention.scale", 0.125f},
                 {"llama.attention.clamp_kqv", 8},
                 {"llama.attention.max_alibi_bias", 8},
                 {"llama.attn_logit_softcapping", 50},
                 {"llama.final_logit_softcapping", 30},
                 {"llama.rope.scaling.yarn_ext_factor", 1},
                 {"llama.rope.scaling.alpha", 1000}};
    static const struct {
        const char *key;
        uint32_t value;
    } counts[] = {{"llama.expert_count", 8},
                  {"llama.not_known_yet", 3},
                  {"prism.hadamard.block_size", 1024},
                  {"prism.hadamard.version", 0},
                  {"quant.rotation.block", 64}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        write_with_real(reals[i].key, reals[i].value);
        ck_fails(import(err), SOL_ERR_UNSUPPORTED, reals[i].key);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        write_with_count(counts[i].key, counts[i].value);
        ck_fails(import(err), SOL_ERR_UNSUPPORTED, counts[i].key);
    }
    write_with_flag("llama.attention.causal", false);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.attention.causal = false");
    write_with_flag("llama.use_parallel_residual", true);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.use_parallel_residual = true");
    write_with_flag("tokenizer.ggml.normalizer.lowercase", true);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "tokenizer.ggml.normalizer.lowercase = true");
    write_with_flag("tokenizer.ggml.remove_extra_whitespaces", true);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "tokenizer.ggml.remove_extra_whitespaces = true");
    write_with_counts("tokenizer.ggml.precompiled_charsmap", 1, 2);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "tokenizer.ggml.precompiled_charsmap");
    write_with_counts("prism.hadamard.weight_names", 1, 2);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "prism.hadamard.weight_names");
    write_with_text("llama.tensor_data_layout", "reference");
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.tensor_data_layout = 'reference'");
    rename_key("tokenizer.ggml.model");
    write_with_text("tokenizer.ggml.model", "rwkv");
    ck_fails(import(err), SOL_ERR_UNSUPPORTED,
             "tokenizer model 'rwkv': gpt2 and llama are supported; import with --tokenizer");
    write_with_text("adapter.type", "lora");
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "adapter.type = 'lora': is an adapter");
    ck_assert(!sol_file_exists(back));
}
END_TEST

/* llama.cpp has no name of its own for Mistral. */
START_TEST(window_means_mistral)
{
    static const int64_t windows[] = {0, 32, 64};
    for (int i = 0; i < 3; i++) {
        sol_model_file c;
        write_with_count("llama.attention.sliding_window", (uint32_t)windows[i]);
        ck_ok(import(err));
        ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err));
        ck_assert_int_eq(c.model->config.family, i == 1 ? SOL_FAMILY_MISTRAL : SOL_FAMILY_LLAMA);
        ck_assert_int_eq(c.model->config.sliding_window, i == 1 ? 32 : 0);
        sol_model_file_free(&c);
    }
    write_with_count("llama.attention.sliding_window_pattern", 6); /* and no window */
    ck_ok(import(err));
    write_with_count("llama.attention.sliding_window", 32);
    sol_free(bytes);
    ck_ok(sol_file_read(file, &bytes, &n_bytes, err));
    rename_key("fill");
    write_with_counts("llama.attention.sliding_window_pattern", 1, 1);
    ck_ok(import(err));
    write_with_counts("llama.attention.sliding_window_pattern", 1, 0);
    ck_fails(import(err), SOL_ERR_UNSUPPORTED, "llama.attention.sliding_window_pattern: ");
}
END_TEST

START_TEST(accepted)
{
    static const struct {
        const char *key;
        float value;
    } reals[] = {{"llama.logit_scale", 1},
                 {"llama.logit_scale", 0},
                 {"llama.residual_scale", 1},
                 {"llama.attention.scale", 0.25f},
                 {"llama.attention.layer_norm_epsilon", 1e-6f},
                 {"llama.attention.clamp_kqv", 0},
                 {"granite.logit_scale", 3}};
    static const struct {
        const char *key;
        uint32_t value;
    } counts[] = {{"llama.expert_count", 0},
                  {"llama.expert_used_count", 0},
                  {"llama.attention.sliding_window", 64},
                  {"llama.attention.sliding_window", 0},
                  {"llama.rope.scaling.original_context_length", 32},
                  {"llama.pooling_type", 3},
                  {"tokenizer.ggml.padding_token_id", 0},
                  {"tokenizer.ggml.eot_token_id", 2},
                  {"general.count_of_something", 7},
                  {"imatrix.chunks", 100}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        write_with_real(reals[i].key, reals[i].value);
        ck_ok(import(err));
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        write_with_count(counts[i].key, counts[i].value);
        ck_ok(import(err));
    }
    write_with_flag("llama.attention.causal", true);
    ck_ok(import(err));
    write_with_text("llama.tensor_data_layout", "Meta AI original pth");
    ck_ok(import(err));
    write_with_text("general.hadamard.note", "a text about rotations");
    ck_ok(import(err));
    /* [[7, 7], [7]] under a key that nobody reads */
    write_with("x.nested", SOL_GGUF_ARRAY, (uint32_t[]){9, 2, 0, 4, 2, 0, 7, 7, 4, 1, 0, 7}, 48);
    ck_ok(import(err));
}
END_TEST

START_TEST(one_number_a_block)
{
    rename_key("llama.feed_forward_length");
    write_with_counts("llama.feed_forward_length", 64, 64);
    ck_ok(import(err));
    write_with_counts("llama.feed_forward_length", 64, 32);
    ck_fails(import(err), SOL_ERR_FORMAT, "llama.feed_forward_length differs from block to block");
}
END_TEST

START_TEST(what_is_not_there)
{
    sol_model_file c;
    rename_key("llama.attention.layer_norm_rms_epsilon");
    write_with_count("x", 0);
    ck_fails(import(err), SOL_ERR_FORMAT, "has no llama.attention.layer_norm_rms_epsilon");
    teardown();
    setup();
    rename_key("solera.version"); /* our own files name what there is */
    rename_key("tokenizer.ggml.bos_token_id");
    rename_key("tokenizer.ggml.eos_token_id");
    write_with_count("x", 0);
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err)); /* SentencePiece has 1 and 2 */
    ck_assert_int_eq(sol_tokenizer_bos(c.tokenizer), 1);
    ck_assert_int_eq(sol_tokenizer_eos(c.tokenizer), 2);
    ck_assert_int_eq(c.model->config.eos_token_id, 2);
    sol_model_file_free(&c);
    /* Not where 2 is a token of text: its type stands behind the key, kind, element and count. */
    static const char key[] = "tokenizer.ggml.token_type";
    char *at = memmem(bytes, n_bytes, key, strlen(key));
    ck_assert_ptr_nonnull(at);
    memcpy(at + strlen(key) + 16 + 2 * 4, &(int32_t){1}, 4);
    write_with_count("x", 0);
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err));
    ck_assert_int_eq(sol_tokenizer_bos(c.tokenizer), 1);
    ck_assert_int_eq(sol_tokenizer_eos(c.tokenizer), -1);
    ck_assert_int_eq(c.model->config.eos_token_id, -1);
    sol_model_file_free(&c);
}
END_TEST

START_TEST(several_ends)
{
    sol_model_file c;
    write_with_counts("tokenizer.ggml.eos_token_ids", 2, 259); /* the first is eos_token_id, too */
    ck_ok(import(err));
    ck_ok(sol_model_file_read(&c, back, SOL_F32, NULL, err));
    ck_assert_int_eq(c.model->config.eos_token_id, 2);
    ck_assert(c.model->config.n_more_eos == 1 && c.model->config.more_eos[0] == 259);
    sol_model_file_free(&c);
    write_with_text("tokenizer.ggml.eos_token_ids", "2");
    ck_fails(import(err), SOL_ERR_FORMAT, "tokenizer.ggml.eos_token_ids is not an array of int32");
}
END_TEST

/* ---- a model in two files ---- */

static void path_of_part(char out[128], int part)
{
    snprintf(out, 128, "%s/p-%05d-of-00002.gguf", dir, part);
}

/* A part with the tensors [from, to) of the exported file. */
static void write_part(int part, size_t from, size_t to, uint64_t total)
{
    char *out, path[128];
    sol_gguf g;
    size_t at = 24, header;
    uint64_t offset = 0, values = 3, tensors = to - from;
    ck_ok(sol_file_write(file, bytes, n_bytes, err));
    ck_ok(sol_gguf_open(&g, file, err));
    ck_ok(sol_alloc_array((void **)&out, 2 * n_bytes + 4096, 1, err));
    memcpy(out, bytes, 24);
    if (part == 1) { /* the metadata */
        at = (size_t)(g.tensor[0].name.at - (char *)g.map.data);
        for (size_t i = 1; i < g.n_tensors; i++) {
            size_t other = (size_t)(g.tensor[i].name.at - (char *)g.map.data);
            if (other < at) at = other;
        }
        at -= 8;
        memcpy(out, bytes, at);
        values += g.n_values;
    }
    at += put_key(out + at, "split.no", SOL_GGUF_U16, &(uint16_t){(uint16_t)(part - 1)}, 2);
    at += put_key(out + at, "split.count", SOL_GGUF_U16, &(uint16_t){2}, 2);
    at += put_key(out + at, "split.tensors.count", SOL_GGUF_I32, &(int32_t){(int32_t)total}, 4);
    memcpy(out + 8, &tensors, 8);
    memcpy(out + 16, &values, 8);
    for (size_t i = from; i < to; i++) {
        const sol_gguf_tensor *t = &g.tensor[i];
        size_t n = 8 + t->name.n + 4 + 8 * (size_t)t->n_dims + 4;
        memcpy(out + at, t->name.at - 8, n);
        memcpy(out + at + n, &offset, 8);
        at += n + 8;
        offset += (t->bytes + 31) / 32 * 32;
    }
    header = (at + 31) / 32 * 32;
    for (size_t i = from; i < to; i++) {
        memcpy(out + header, g.map.data + g.tensor[i].offset, g.tensor[i].bytes);
        header += (g.tensor[i].bytes + 31) / 32 * 32;
    }
    path_of_part(path, part);
    ck_ok(sol_file_write(path, out, header, err));
    sol_gguf_close(&g);
    sol_free(out);
}

START_TEST(split_model)
{
    char first[128], second[128], other[128], *whole, *joined;
    sol_import_opts o = {0};
    sol_import_result r;
    size_t n_whole, n_joined;
    path_of_part(first, 1);
    path_of_part(second, 2);
    snprintf(other, sizeof other, "%s/alone.gguf", dir);
    ck_ok(import(err));
    ck_ok(sol_file_read(back, &whole, &n_whole, err));
    write_part(1, 0, 7, 20);
    ck_fails(sol_import(first, back, &o, &r, err), SOL_ERR_IO, "is part 1 of 2, but");
    write_part(2, 7, 20, 20);
    ck_ok(sol_import(first, back, &o, &r, err));
    ck_ok(sol_file_read(back, &joined, &n_joined, err));
    ck_assert_uint_eq(n_joined, n_whole);
    ck_assert_mem_eq(joined, whole, n_whole);
    ck_fails(sol_import(second, back, &o, &r, err), SOL_ERR_FORMAT, "is part 2 of 2: name part 1");
    sol_free(joined);
    ck_ok(sol_file_read(first, &joined, &n_joined, err));
    ck_ok(sol_file_write(other, joined, n_joined, err));
    ck_fails(sol_import(other, back, &o, &r, err), SOL_ERR_FORMAT,
             "the parts must be named NAME-00001-of-00002.gguf");
    ck_ok(sol_file_write(second, joined, n_joined, err));
    ck_fails(sol_import(first, back, &o, &r, err), SOL_ERR_FORMAT,
             "does not say that it is part 2 of 2");
    write_part(2, 6, 20, 20);
    ck_fails(sol_import(first, back, &o, &r, err), SOL_ERR_FORMAT,
             "not as many as split.tensors.count says");
    write_part(2, 6, 19, 20);
    ck_fails(sol_import(first, back, &o, &r, err), SOL_ERR_FORMAT, "is there twice");
    sol_free(joined);
    sol_free(whole);
}
END_TEST

SOL_TEST_MAIN("gguf_keys", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, rope_scaling); tcase_add_test(tc, rope_scaling_by_type);
              tcase_add_test(tc, refused_by_name); tcase_add_test(tc, accepted);
              tcase_add_test(tc, window_means_mistral); tcase_add_test(tc, one_number_a_block);
              tcase_add_test(tc, what_is_not_there); tcase_add_test(tc, several_ends);
              tcase_add_test(tc, split_model))
