/* GGUF: files against the .bin, export and import, the exact channel permutation of STQ1_0, hostile
 * files. Element types: test_ggml.c. */
#include "suite.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "foreign/gguf.h"
#include "llama2c_file.h"

static char dir[64], model[96], file[96], back[96];
static sol_ctx *ctx;

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(model, sizeof model, "%s/m.h5", dir);
    snprintf(file, sizeof file, "%s/m.gguf", dir);
    snprintf(back, sizeof back, "%s/b.h5", dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

START_TEST(same_as_llama2c)
{
    sol_model_file a;
    sol_model *m;
    sol_import_opts o = {0};
    sol_import_result r;
    char gguf[256], bin[256];
    const char *p = sol_test_data("oracles/stories260K-f32.gguf");
    if (!p) return;
    snprintf(gguf, sizeof gguf, "%s", p);
    snprintf(bin, sizeof bin, "%s", sol_test_data("models/stories260K.bin"));
    ck_ok(sol_import(gguf, back, &o, &r, err));
    ck_assert_str_eq(r.source, "GGUF");
    ck_ok(sol_model_file_read(&a, back, SOL_F32, NULL, err));
    sol_test_llama2c_read(&m, bin);
    ck_assert_int_eq(a.model->n_elements, m->n_elements);
    ck_assert_mem_eq(a.model->data, m->data, (size_t)a.model->n_elements * 4);
    ck_assert(a.model->config.tie_word_embeddings && a.model->config.rms_norm_eps == 1e-5);
    ck_assert_int_eq(sol_tokenizer_vocab_size(a.tokenizer), 512);
    sol_model_file_free(&a);
    sol_model_free(&m);
}
END_TEST

enum { VOCAB = SOL_TEST_BYTE_VOCAB };

/* Biases, and norms that tell their channels apart. */
static void fill_vectors(sol_model *m)
{
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        float *x = sol_model_f32(m, p), least = p->kind == SOL_PARAM_NORM ? 0.5f : -0.5f;
        for (int64_t k = 0; k < p->cols && sol_param_is_vector(p); k++)
            x[k] = least + (float)(k % 37) / 37;
    }
}

static void write_model_of(sol_family family, bool tied, sol_block_layout layout,
                           sol_granularity granularity, int group)
{
    sol_model_file c = {0};
    sol_model_config config = {
        .vocab_size = VOCAB,
        .hidden_size = 256,
        .intermediate_size = 512,
        .num_hidden_layers = 2,
        .num_attention_heads = 4,
        .num_key_value_heads = 2,
        .head_dim = 64,
        .max_position_embeddings = 64,
        .rms_norm_eps = 1e-5,
        .rope_theta = 5e5,
        .tie_word_embeddings = tied,
        .bos_token_id = 1,
        .eos_token_id = 2,
        .rope_factor = tied ? 32 : 8,
        .rope_low_freq_factor = tied ? 1 : 1.5,
        .rope_high_freq_factor = tied ? 4 : 6,
        .rope_original_max_position = tied ? 8192 : 64,
    };
    sol_family_apply(&sol_families[family], &config);
    if (!(sol_families[family].has & SOL_FAMILY_ROPE_TABLE)) sol_rope_set_linear(&config, 4);
    ck_ok(sol_model_create(&c.model, &config, SOL_F32, err));
    sol_model_init_random(NULL, c.model, 11);
    fill_vectors(c.model);
    c.quant = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                               .granularity = granularity,
                               .group_size = group,
                               .layout = layout,
                               .scale_dtype = SOL_F16};
    sol_test_byte_tokenizer(&c.tokenizer);
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    sol_model_file_free(&c);
}

static void write_model(bool tied, sol_block_layout layout, sol_granularity granularity, int group)
{
    write_model_of(SOL_FAMILY_LLAMA, tied, layout, granularity, group);
}

enum { LENGTH = 12 };

/* Logits [LENGTH, VOCAB] of a fixed text; with the file's quantizer (Q(W)) or without. */
static void logits_of(const char *path, float *logits)
{
    sol_net *net;
    sol_kv *kv;
    sol_row rows[LENGTH];
    ck_ok(sol_net_open(&net, ctx, path, NULL, err));
    ck_ok(sol_kv_create(&kv, net, LENGTH, err));
    for (int i = 0; i < LENGTH; i++)
        rows[i] = (sol_row){.kv = kv, .token = i == 0 ? 1 : (i * 37) % VOCAB, .want_logits = true};
    ck_ok(sol_net_forward(net, rows, LENGTH, logits, err));
    sol_kv_free(&kv);
    sol_net_free(&net);
}

static void export(const char *type, const char *embed, bool stq_first_id)
{
    sol_gguf_opts o = {.type = type,
                       .embed_type = embed,
                       .stq_first_id = stq_first_id,
                       .name = "test",
                       .version = "1"};
    sol_gguf_result r;
    uint64_t bytes;
    ck_ok(sol_export_gguf(ctx, model, file, &o, &r, err));
    ck_ok(sol_file_size(file, &bytes, err));
    ck_assert_uint_eq(bytes, r.bytes);
}

static void import(void)
{
    sol_import_opts o = {0};
    sol_import_result r;
    ck_ok(sol_import(file, back, &o, &r, err));
}

/* Every type that holds the model exactly gives the network of Q(W) back; STQ1_0 of a contiguous
 * one after moving channels. */
START_TEST(exact_exports)
{
    static const struct {
        const char *type;
        sol_block_layout layout;
        sol_granularity granularity;
        int group;
        bool first_id, tied;
        sol_family family;
    } cases[] = {
        {"stq1_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0, false, true, SOL_FAMILY_LLAMA},
        {"stq1_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_GROUP, 256, true, false, SOL_FAMILY_LLAMA},
        {"stq1_0", SOL_LAYOUT_STRIDE16, SOL_PER_TENSOR, 0, false, true, SOL_FAMILY_LLAMA},
        {"tq1_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0, false, false, SOL_FAMILY_LLAMA},
        {"tq2_0", SOL_LAYOUT_STRIDE16, SOL_PER_GROUP, 256, false, true, SOL_FAMILY_LLAMA},
        {"f16", SOL_LAYOUT_CONTIGUOUS, SOL_PER_GROUP, 32, false, true, SOL_FAMILY_LLAMA},
        {"q2_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_GROUP, 64, false, false, SOL_FAMILY_LLAMA},
        {"q2_0", SOL_LAYOUT_STRIDE16, SOL_PER_CHANNEL, 0, false, true, SOL_FAMILY_LLAMA},
        {"stq1_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0, false, true, SOL_FAMILY_QWEN2},
        {"stq1_0", SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0, false, false, SOL_FAMILY_QWEN3},
    };
    static float want[LENGTH * VOCAB], has[LENGTH * VOCAB];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        write_model_of(cases[k].family, cases[k].tied, cases[k].layout, cases[k].granularity,
                       cases[k].group);
        logits_of(model, want);
        export(cases[k].type, "f32", cases[k].first_id);
        import();
        logits_of(back, has);
        double worst = 0;
        for (int i = 0; i < LENGTH * VOCAB; i++)
            worst = fmax(worst, fabs((double)has[i] - want[i]));
        ck_assert_msg(worst < 1e-5, "%s, case %zu: logits differ by %g", cases[k].type, k, worst);
    }
}
END_TEST

/* What a quantizer learned is in the weights; the file has no tensors for it. */
START_TEST(learned_parameters_stay_behind)
{
    static float want[LENGTH * VOCAB], has[LENGTH * VOCAB];
    sol_model_file c = {0};
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
    c.quant.method = sol_quantizer_find("lsq");
    ck_ok(sol_model_add_learned(c.model, &c.quant, err));
    sol_model_start_learned(ctx, c.model, &c.quant);
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    logits_of(model, want);
    for (int latent = 0; latent < 2; latent++) {
        sol_gguf_opts o = {
            .type = "f32", .embed_type = "f32", .latent = latent, .name = "test", .version = "1"};
        sol_gguf_result r;
        ck_ok(sol_export_gguf(ctx, model, file, &o, &r, err));
        ck_assert_uint_eq(r.bytes, r.predicted);
        import();
        logits_of(back, has);
        double worst = 0;
        for (int i = 0; i < LENGTH * VOCAB; i++)
            worst = fmax(worst, fabs((double)has[i] - want[i]));
        ck_assert_msg(latent ? worst > 1e-3 : worst < 1e-5, "logits differ by %g", worst);
    }
    sol_model_file_free(&c);
}
END_TEST

/* All that end a text come back in order; llama.cpp sees the three for which it has names. */
START_TEST(eos_lists_come_back)
{
    sol_model_file c;
    sol_model_config config;
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    for (int first = 2; first <= 260; first += 258) { /* the tokenizer's own EOS, and another */
        ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
        c.model->config.eos_token_id = first;
        c.model->config.n_more_eos = 0;
        for (int k = 0; k < 3; k++)
            ck_ok(sol_model_add_eos(&c.model->config, (int64_t[]){259, 7, 1}[k], err));
        ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
        export("f16", "f32", false);
        import();
        sol_test_config(&config, back);
        ck_assert_int_eq(config.eos_token_id, first);
        ck_assert_int_eq(config.n_more_eos, 3);
        ck_assert_mem_eq(config.more_eos, c.model->config.more_eos, sizeof config.more_eos);
        sol_gguf g;
        int64_t v;
        ck_ok(sol_gguf_open(&g, file, err));
        ck_assert(sol_gguf_integer(sol_gguf_find(&g, "tokenizer.ggml.eos_token_id"), &v) && v == 2);
        ck_assert(sol_gguf_integer(sol_gguf_find(&g, "tokenizer.ggml.eot_token_id"), &v) &&
                  v == (first == 2 ? 259 : 260));
        ck_assert(sol_gguf_integer(sol_gguf_find(&g, "tokenizer.ggml.eom_token_id"), &v) &&
                  v == (first == 2 ? 7 : 259));
        sol_gguf_close(&g);
        sol_model_file_free(&c);
    }
}
END_TEST

/* From the shapes alone, as a plan does it. */
static uint64_t foretold_bytes(const sol_gguf_opts *o)
{
    sol_model_file c;
    sol_model *shapes;
    uint64_t bytes;
    ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
    ck_ok(sol_model_describe(&shapes, &c.model->config, SOL_F32, err));
    ck_ok(sol_export_gguf_bytes(shapes, c.tokenizer, &c.quant, o, &bytes, err));
    sol_model_free(&shapes);
    sol_model_file_free(&c);
    return bytes;
}

static uint64_t exported_bytes(const char *type)
{
    sol_gguf_opts o = {.type = type, .embed_type = "f16"};
    sol_gguf_result r;
    uint64_t bytes;
    ck_ok(sol_export_gguf(ctx, model, file, &o, &r, err));
    ck_ok(sol_file_size(file, &bytes, err));
    ck_assert_uint_eq(bytes, r.bytes);
    ck_assert_uint_eq(bytes, r.predicted);
    ck_assert_uint_eq(bytes, foretold_bytes(&o));
    return bytes;
}

/* Bits a weight as the formats promise, beside what every type has: header, embedding, norms. */
START_TEST(sizes_are_as_predicted)
{
    static const struct {
        const char *type;
        double bits;
    } cases[] = {{"stq1_0", 1.3125}, {"tq1_0", 1.6875}, {"tq2_0", 2.0625}, {"q2_0", 2.25},
                 {"q8_0", 8.5},      {"f16", 16},       {"bf16", 16}};
    sol_model_file c;
    double linear = 0;
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
    for (int i = 0; i < c.model->n_params; i++)
        if (c.model->params[i].quantized) linear += (double)sol_param_count(&c.model->params[i]);
    sol_model_file_free(&c);
    double rest = (double)exported_bytes("f32") - 4 * linear;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double want = rest + linear * cases[k].bits / 8, is = (double)exported_bytes(cases[k].type);
        ck_assert_msg(fabs(is - want) < 0.01 * want, "%s: %.0f bytes, predicted %.0f",
                      cases[k].type, is, want);
    }
}
END_TEST

/* Channel 4 j + p of a chunk of 64 is at j + 16 p of the file. */
static int64_t moved(int64_t channel)
{
    return channel / 64 * 64 + channel % 64 / 4 + channel % 4 * 16;
}

/* The row of the file that row r of the model became: rows of q and k in pairs (i, i + 32) of a
 * head of 64, the others with their channels. */
static int64_t row_in_file(sol_role which, int64_t r)
{
    if (which == SOL_ROLE_Q || which == SOL_ROLE_K) return r / 64 * 64 + r % 32 * 2 + r % 64 / 32;
    return moved(r);
}

START_TEST(stq_blocks_are_the_trained_ones)
{
    static const struct {
        sol_role which;
        const char *name;
    } linears[] = {{SOL_ROLE_Q, "attn_q"},      {SOL_ROLE_K, "attn_k"},
                   {SOL_ROLE_V, "attn_v"},      {SOL_ROLE_O, "attn_output"},
                   {SOL_ROLE_GATE, "ffn_gate"}, {SOL_ROLE_UP, "ffn_up"},
                   {SOL_ROLE_DOWN, "ffn_down"}};
    sol_gguf g;
    sol_model_file c;
    float *q, out[512];
    char name[64];
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
    ck_ok(sol_alloc_array((void **)&q, 512 * 512, sizeof *q, err));
    for (int id = 42; id <= 43; id++) {
        export("stq1_0", "f16", id == 42);
        ck_ok(sol_gguf_open(&g, file, err));
        for (int k = 0; k < 14; k++) {
            const sol_param *p = sol_model_by_role(c.model, k / 7, linears[k % 7].which);
            snprintf(name, sizeof name, "blk.%d.%s.weight", k / 7, linears[k % 7].name);
            const sol_gguf_tensor *t = sol_gguf_tensor_named(&g, name);
            ck_assert_str_eq(t->type->name, "STQ1_0");
            /* Its number stands in the header behind name, number of dimensions and two dimensions.
             */
            ck_assert_int_eq(*(const uint8_t *)(t->name.at + t->name.n + 20), id);
            sol_quant_effective(ctx, &c.quant, sol_model_f32(c.model, p), p->rows, p->cols,
                                (sol_residual_mix){1, 0}, q);
            for (int64_t r = 0; r < p->rows; r++) {
                uint64_t row =
                    (uint64_t)(row_in_file(linears[k % 7].which, r) * p->cols / 256 * 42);
                sol_ggml_decode(t->type, g.map.data + t->offset + row, p->cols, out);
                int64_t wrong = 0; /* one assertion a row: Check writes to a file at each */
                for (int64_t i = 0; i < p->cols; i++) wrong += out[moved(i)] != q[r * p->cols + i];
                ck_assert_msg(wrong == 0, "%s: row %d", name, (int)r);
            }
        }
        sol_gguf_close(&g);
    }
    sol_free(q);
    sol_model_file_free(&c);
}
END_TEST

START_TEST(metadata_and_tokenizer)
{
    sol_gguf g;
    sol_model_file a, b;
    int64_t v;
    double real;
    sol_span s;
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    export("q8_0", "q8_0", false);
    ck_ok(sol_gguf_open(&g, file, err));
    ck_assert(sol_gguf_integer(sol_gguf_find(&g, "llama.block_count"), &v) && v == 2);
    ck_assert(sol_gguf_integer(sol_gguf_find(&g, "general.file_type"), &v) && v == 7);
    ck_assert(sol_gguf_real(sol_gguf_find(&g, "llama.rope.freq_base"), &real) && real == 5e5);
    ck_assert(sol_gguf_text(sol_gguf_find(&g, "solera.quant.method"), &s) && s.n == 6 &&
              memcmp(s.at, "sherry", 6) == 0);
    ck_assert(sol_gguf_text(sol_gguf_find(&g, "general.quantized_by"), &s) && s.n == 8 &&
              memcmp(s.at, "solera 1", 8) == 0);
    ck_assert(sol_gguf_text(sol_gguf_find(&g, "general.description"), &s) &&
              memmem(s.at, s.n, "per_channel scales, blocks contiguous", 37));
    ck_assert_ptr_null(sol_gguf_tensor_named(&g, "output.weight"));
    ck_assert_ptr_nonnull(sol_gguf_tensor_named(&g, "rope_freqs.weight"));
    ck_assert_str_eq(sol_gguf_tensor_named(&g, "token_embd.weight")->type->name, "Q8_0");
    ck_assert_str_eq(sol_gguf_tensor_named(&g, "blk.0.attn_norm.weight")->type->name, "F32");
    sol_gguf_close(&g);
    import();
    ck_ok(sol_model_file_read(&a, model, SOL_F32, NULL, err));
    ck_ok(sol_model_file_read(&b, back, SOL_F32, NULL, err));
    ck_assert_mem_eq(&a.model->config, &b.model->config, sizeof a.model->config);
    ck_assert_uint_eq(sol_tokenizer_hash(a.tokenizer), sol_tokenizer_hash(b.tokenizer));
    sol_model_file_free(&a);
    sol_model_file_free(&b);
}
END_TEST

static sol_status try_export(const char *type, const char *embed, bool requantize,
                             sol_gguf_result *r, sol_err *err)
{
    sol_gguf_opts o = {.type = type, .embed_type = embed, .requantize = requantize};
    return sol_export_gguf(ctx, model, file, &o, r, err);
}

START_TEST(refused_exports)
{
    sol_gguf_result r;
    sol_model_file c;
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_GROUP, 32);
    ck_fails(try_export("stq1_0", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "one scale for 256 weights, this model one for 32: train with");
    ck_fails(try_export("tq1_0", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "one scale for 256 weights");
    ck_fails(try_export("q2_0", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "one scale for 64 weights, this model one for 32");
    ck_fails(try_export("q4_0", NULL, false, &r, err), SOL_ERR_USAGE, "stq1_0, q2_0, tq1_0");
    ck_fails(try_export("f16", "tq1_0", false, &r, err), SOL_ERR_USAGE,
             "embedding and head are written as");
    ck_assert(!sol_file_exists(file));
    ck_ok(try_export("stq1_0", NULL, true, &r, err));
    ck_assert(r.nmse > 1e-4 && r.nmse < 0.2);
    ck_ok(sol_model_file_read(&c, model, SOL_F32, NULL, err));
    c.quant.method = NULL;
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    ck_fails(try_export("tq1_0", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "was trained in full precision");
    ck_ok(try_export("bf16", NULL, false, &r, err));
    ck_assert(!r.dequantized);
    c.quant = (sol_quant_spec){.method = sol_quantizer_find("absmean"),
                               .granularity = SOL_PER_CHANNEL,
                               .scale_dtype = SOL_F16};
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    ck_fails(try_export("stq1_0", NULL, false, &r, err), SOL_ERR_UNSUPPORTED, "are not 3:4 sparse");
    ck_ok(try_export("tq2_0", NULL, false, &r, err));
    sol_tokenizer_free(&c.tokenizer);
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    ck_fails(try_export("f16", NULL, false, &r, err), SOL_ERR_UNSUPPORTED, "has no tokenizer");
    sol_model_config config = c.model->config;
    config.qk_norm = true;
    sol_model_free(&c.model);
    ck_ok(sol_model_create(&c.model, &config, SOL_F32, err));
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    ck_fails(try_export("f16", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "has norms of q and k, which a llama model");
    config.qk_norm = false;
    config.tie_word_embeddings = false;
    config.rope_factor = 0;
    sol_family_add_sub_norms(&config);
    sol_model_free(&c.model);
    ck_ok(sol_model_create(&c.model, &config, SOL_F32, err));
    ck_ok(sol_model_file_write(&c, model, SOL_F32, NULL, err));
    ck_fails(try_export("f16", NULL, false, &r, err), SOL_ERR_UNSUPPORTED,
             "llama.cpp takes the embedding of a bitnet model for its head");
    sol_model_file_free(&c);
}
END_TEST

/* ---- hostile files ---- */

START_TEST(damaged_files)
{
    char *bytes, *copy;
    size_t n;
    sol_rng rng = sol_rng_make(9, SOL_STREAM_TEST);
    write_model(true, SOL_LAYOUT_CONTIGUOUS, SOL_PER_CHANNEL, 0);
    export("tq2_0", "q8_0", false);
    ck_ok(sol_file_read(file, &bytes, &n, err));
    ck_ok(sol_alloc_array((void **)&copy, n, 1, err));
    size_t header = n < 16384 ? n : 16384;
    for (size_t cut = 0; cut < n; cut += n / 61) {
        sol_gguf g = {.in.fd = -1};
        sol_err e = {0};
        if (cut < n - n / 61)
            ck_assert_int_ne(sol_gguf_parse(&g, (const uint8_t *)bytes, cut, &e), SOL_OK);
        sol_gguf_close(&g);
    }
    for (int round = 0; round < (SOL_TEST_SLOW ? 300 : 3000); round++) {
        sol_gguf g = {.in.fd = -1};
        memcpy(copy, bytes, n);
        for (uint64_t k = 0, m = 1 + sol_rng_below(&rng, 6); k < m; k++) {
            size_t at = (size_t)sol_rng_below(&rng, header - 8);
            uint64_t word = sol_rng_u32(&rng) % 2 ? sol_rng_below(&rng, 300) : sol_rng_u64(&rng);
            memcpy(copy + at, &word, 1 + (size_t)sol_rng_below(&rng, 8));
        }
        sol_gguf_parse(&g, (const uint8_t *)copy, n, NULL);
        sol_gguf_close(&g);
    }
    sol_free(bytes);
    sol_free(copy);
}
END_TEST

/* magic, version, tensors, values, then what a case puts there. */
static sol_status parse(const char *tail, size_t n, uint32_t version, uint64_t tensors,
                        uint64_t values, sol_err *err)
{
    char bytes[512] = "GGUF";
    sol_gguf g = {.in.fd = -1};
    memcpy(bytes + 4, &version, 4);
    memcpy(bytes + 8, &tensors, 8);
    memcpy(bytes + 16, &values, 8);
    memcpy(bytes + 24, tail, n);
    sol_status st = sol_gguf_parse(&g, (const uint8_t *)bytes, 24 + n, err);
    sol_gguf_close(&g);
    return st;
}

#define U32(c) c "\0\0\0"
#define U64(c) c "\0\0\0\0\0\0\0"
#define MOST "\xff\xff\xff\xff\xff\xff\xff\x7f"
#define ALL_ONES "\xff\xff\xff\xff\xff\xff\xff\xff"
#define KEY(c) U64("\x01") c
#define AS_UINT8 U32("\x00")
#define AS_STRING U32("\x08")
#define AS_ARRAY U32("\x09") /* then the type of the elements and how many there are */
#define NEST AS_ARRAY U64("\x01")
#define SEVENTEEN "12345678901234567"
#define SIXTY_EIGHT SEVENTEEN SEVENTEEN SEVENTEEN SEVENTEEN
/* 512 weights of type 42: 144 bytes as Q2_0, 84 as STQ1_0, 136 in a fork. */
#define OF_42 KEY("t") U32("\x01") "\x00\x02\0\0\0\0\0\0" U32("\x2a") U64("\0") "1234567"
#define BYTES(s) s, sizeof s - 1

START_TEST(bad_headers)
{
    static const struct {
        const char *tail;
        size_t n;
        uint64_t tensors, values;
        sol_status status;
        const char *part;
    } cases[] = {
        {BYTES(KEY("a") U32("\x0d") U32("\0")), 0, 1, SOL_ERR_FORMAT, "a: has type 13"},
        {BYTES(KEY("a") AS_ARRAY AS_ARRAY U64("\0")), 0, 1, SOL_OK, ""},
        {BYTES(KEY("a") AS_ARRAY AS_ARRAY U64("\x02") AS_STRING U64("\x01") KEY("s")
                   AS_UINT8 U64("\x02") "xy"),
         0, 1, SOL_OK, ""},
        {BYTES(KEY("a") AS_ARRAY AS_ARRAY U64("\x02") AS_STRING U64("\x01") KEY("s")), 0, 1,
         SOL_ERR_FORMAT, "beyond the end"},
        {BYTES(KEY("a") AS_ARRAY AS_ARRAY MOST AS_ARRAY), 0, 1, SOL_ERR_FORMAT, "beyond the end"},
        {BYTES(KEY("a") AS_ARRAY NEST NEST NEST NEST NEST NEST NEST NEST), 0, 1, SOL_ERR_FORMAT,
         "a: arrays lie more than 8 deep"},
        {BYTES(KEY("a") AS_ARRAY U32("\x0d") U64("\0")), 0, 1, SOL_ERR_FORMAT, "a: has type 13"},
        {BYTES(KEY("a") AS_ARRAY U32("\x06") MOST), 0, 1, SOL_ERR_FORMAT, "beyond the end"},
        {BYTES(KEY("a") AS_STRING ALL_ONES), 0, 1, SOL_ERR_FORMAT, "beyond the end"},
        {BYTES(KEY("a") AS_UINT8 "x" KEY("a") AS_UINT8 "y"), 0, 2, SOL_ERR_FORMAT,
         "a: is there twice"},
        /* Name, dimensions, type, offset. */
        {BYTES(KEY("t") U32("\0") U32("\0") U64("\0")), 1, 0, SOL_ERR_FORMAT,
         "tensor t: has 0 dimensions"},
        {BYTES(KEY("t") U32("\x01") U64("\x01") U32("\x63") U64("\0")), 1, 0, SOL_ERR_UNSUPPORTED,
         "has type 99"},
        {BYTES(KEY("t") U32("\x01") U64("\x21") U32("\x08") U64("\0")), 1, 0, SOL_ERR_FORMAT,
         "no multiple of 32"},
        {BYTES(KEY("t") U32("\x01") U64("\x01") U32("\0") U64("\0")), 1, 0, SOL_ERR_FORMAT,
         "lie outside the file"},
        {BYTES(KEY("t") U32("\x02") MOST U64("\x04") U32("\0") U64("\0")), 1, 0, SOL_ERR_FORMAT,
         "dimension 1 is not a size"},
        {BYTES(OF_42 SIXTY_EIGHT SIXTY_EIGHT "12345678"), 1, 0, SOL_OK, ""},
        {BYTES(OF_42 SIXTY_EIGHT "1234567890123456"), 1, 0, SOL_OK, ""},
        {BYTES(OF_42 SIXTY_EIGHT SIXTY_EIGHT), 1, 0, SOL_ERR_UNSUPPORTED,
         "stands for another type here"},
    };
    ck_ok(parse("", 0, 3, 0, 0, err));
    ck_fails(parse("", 0, 1, 0, 0, err), SOL_ERR_UNSUPPORTED, "GGUF version 1");
    ck_fails(parse("", 0, 0, 0, 0, err), SOL_ERR_UNSUPPORTED, "GGUF version 0");
    ck_fails(parse("", 0, 0x03000000, 0, 0, err), SOL_ERR_UNSUPPORTED, "is a big-endian GGUF file");
    ck_fails(parse("", 0, 0x02000000, 0, 0, err), SOL_ERR_UNSUPPORTED, "is a big-endian GGUF file");
    ck_fails(parse("", 0, 3, 1ull << 60, 0, err), SOL_ERR_FORMAT,
             "tensors, more than it has room for");
    ck_fails(parse("", 0, 3, 0, 1ull << 60, err), SOL_ERR_FORMAT,
             "metadata values, more than it has room for");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_err e = {0};
        sol_status st = parse(cases[i].tail, cases[i].n, 3, cases[i].tensors, cases[i].values, &e);
        ck_assert_msg(st == cases[i].status && strstr(e.text, cases[i].part),
                      "case %zu: status %d '%s' lacks '%s'", i, st, e.text, cases[i].part);
    }
}
END_TEST

SOL_TEST_MAIN("gguf", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, same_as_llama2c); tcase_add_test(tc, exact_exports);
              tcase_add_test(tc, learned_parameters_stay_behind);
              tcase_add_test(tc, eos_lists_come_back); tcase_add_test(tc, sizes_are_as_predicted);
              tcase_add_test(tc, stq_blocks_are_the_trained_ones);
              tcase_add_test(tc, metadata_and_tokenizer); tcase_add_test(tc, refused_exports);
              tcase_add_test(tc, damaged_files); tcase_add_test(tc, bad_headers))
