/* Numbers at the edges of what there is, through the real paths: training, packing, kernels,
 * export, import. What each of them does is said in quant/quant.h, quant/codec.h, kernels/dtype.h
 * and foreign/export.h. */
#include "suite.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "../train/trainer.h"

static char dir[64];
static sol_ctx *ctx;

static void setup(void)
{
    sol_test_dir_make(dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

/* "<dir>/name"; static storage, a slot for each of the last four calls. */
static const char *at(const char *name)
{
    static char text[4][256];
    static int next;
    char *out = text[next++ % 4];
    snprintf(out, sizeof text[0], "%s/%s", dir, name);
    return out;
}

/* A tokenizer of letters, the last one a pair of them where there are that many. */
static sol_tokenizer *make_tokenizer(int vocab)
{
    char json[512];
    sol_tokenizer *t;
    size_t n = (size_t)snprintf(json, sizeof json,
                                "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                                "\"add_prefix_space\": false, \"use_regex\": true}, "
                                "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": "
                                "\"BPE\", \"merges\": [%s], \"vocab\": {",
                                vocab > 2 ? "\"a b\"" : "");
    for (int i = 0; i < vocab; i++) {
        bool pair = i > 1 && i == vocab - 1;
        const char *text = &"abcdefghijklmnop"[pair ? 0 : i];
        n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%.*s\": %d", i ? ", " : "",
                              pair ? 2 : 1, text, i);
    }
    n += (size_t)snprintf(json + n, sizeof json - n, "}}}");
    ck_ok(sol_file_write(at("tokenizer.json"), json, n, err));
    ck_ok(sol_tokenizer_open(&t, at("tokenizer.json"), err));
    return t;
}

/* One layer of width C, heads of D, with a tokenizer and a quantizer of one scale a row. */
static void make(sol_model_file *c, int64_t V, int64_t C, int64_t D)
{
    sol_model_config m = {.vocab_size = V,
                          .hidden_size = C,
                          .intermediate_size = C,
                          .num_hidden_layers = 1,
                          .num_attention_heads = C / D,
                          .num_key_value_heads = C / D,
                          .head_dim = D,
                          .max_position_embeddings = 16,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    *c = (sol_model_file){
        .quant = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_CHANNEL}};
    c->quant.scale_dtype = SOL_F16;
    ck_ok(sol_model_create(&c->model, &m, SOL_F32, err));
    sol_model_init_random(NULL, c->model, 3);
    c->tokenizer = make_tokenizer((int)V);
}

static const sol_param *linear(const sol_model_file *c, sol_role which)
{
    return sol_model_by_role(c->model, 0, which);
}

static float *weights(const sol_model_file *c, sol_role which)
{
    return sol_model_f32(c->model, linear(c, which));
}

static float *embedding(const sol_model_file *c)
{
    return sol_model_f32(c->model, sol_model_embedding(c->model));
}

START_TEST(the_largest_of_a_type)
{
    static const sol_dtype types[] = {SOL_F16, SOL_BF16};
    for (int i = 0; i < 2; i++) {
        float max = sol_dtype_max(types[i]), x[3] = {max, -max, nextafterf(max, INFINITY)}, back[3];
        uint16_t half[3];
        sol_convert(half, types[i], x, SOL_F32, 3);
        sol_convert(back, SOL_F32, half, types[i], 3);
        ck_assert(isfinite(back[0]) && back[1] == -back[0] && isinf(back[2]));
        ck_assert_int_eq(sol_first_beyond(x, 3, max), 2);
    }
    float x[6] = {0, -1, FLT_MAX, -0.0f, 1e-45f, 3};
    ck_assert_int_eq(sol_first_beyond(x, 6, FLT_MAX), -1);
    ck_assert_int_eq(sol_first_beyond(x, 0, 0), -1);
    x[3] = -INFINITY;
    ck_assert_int_eq(sol_first_beyond(x, 6, FLT_MAX), 3);
    x[1] = -NAN;
    ck_assert_int_eq(sol_first_beyond(x, 6, FLT_MAX), 1);
}
END_TEST

static const sol_dtype embed_types[] = {SOL_F32, SOL_F16, SOL_Q8, SOL_Q6, SOL_Q4};
enum { N_EMBED_TYPES = sizeof embed_types / sizeof *embed_types };

static void expect_no_pack(const sol_model_file *c, sol_dtype type, const char *text)
{
    sol_packed_model p;
    ck_fails(sol_packed_model_from(ctx, &p, c->model, &c->quant, type, NULL, err),
             SOL_ERR_NONFINITE, text);
    ck_assert_ptr_null(p.matrix);
}

START_TEST(what_is_no_number_is_not_packed)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    sol_model_file c;
    make(&c, 8, 64, 16);
    float *up = weights(&c, SOL_ROLE_UP), *embed = embedding(&c);
    float *norm = sol_model_f32(c.model, sol_model_final_norm(c.model));
    for (int i = 0; i < 4; i++) {
        float keep = up[130];
        up[130] = bad[i];
        expect_no_pack(&c, SOL_F16, "layers.0.mlp.up_proj.weight: scale 0 of row 2 is");
        up[130] = keep;
        for (int k = 0; k < N_EMBED_TYPES; k++) {
            keep = embed[7];
            embed[7] = bad[i];
            expect_no_pack(&c, embed_types[k], "model.embed_tokens.weight: a weight is");
            embed[7] = keep;
        }
        keep = norm[1];
        norm[1] = bad[i];
        expect_no_pack(&c, SOL_F32, "model.norm.weight: a weight is");
        norm[1] = keep;
    }
    for (int i = 0; i < 64; i++)
        up[64 + i] = 1e5f; /* numbers, but their mean is above the largest fp16 */
    expect_no_pack(&c, SOL_F16, "scale 0 of row 1 is inf");
    for (int i = 0; i < 64; i++) up[64 + i] = 65504;
    for (int k = 0; k < N_EMBED_TYPES; k++) {
        static const float max[] = {FLT_MAX, 65504, 127 * 65504.0f, 32 * 65504.0f, 8 * 65504.0f};
        const sol_dtype type = embed_types[k];
        sol_packed_model p;
        float row[64];
        embed[64] = -max[k];
        ck_ok(sol_packed_model_from(ctx, &p, c.model, &c.quant, type, NULL, err));
        sol_packed_decode_row(sol_packed_matrix(&p, 0, SOL_ROLE_UP), 1, row);
        ck_assert_float_eq(row[1], 65504);
        sol_stored_rows(sol_packed_matrix(&p, -1, SOL_ROLE_EMBED), 1, 1, row);
        ck_assert_msg(row[0] == -max[k], "%s: %g", sol_dtype_name(type), (double)row[0]);
        sol_packed_model_free(&p);
        embed[64] = nextafterf(sol_dtype_max(type), INFINITY);
        expect_no_pack(&c, type, "model.embed_tokens.weight: a weight is");
    }
    sol_model_file_free(&c);
}
END_TEST

typedef struct form {
    const char *name;
    float max; /* the largest number that goes in */
} form;

/* Writes the model in this form; the file or folder is at(name). */
static sol_status write_form(const sol_model_file *c, const char *name, sol_err *why)
{
    ck_ok(sol_model_file_write(c, at("m.h5"), SOL_F32, NULL, err));
    if (strcmp(name, "model") == 0) return sol_model_file_write(c, at(name), SOL_BF16, NULL, why);
    if (strncmp(name, "hf-", 3) == 0) {
        sol_export_opts o = {.dtype = SOL_TO_F32};
        if (strcmp(name, "hf-f16") == 0) o.dtype = SOL_TO_F16;
        if (strcmp(name, "hf-bf16") == 0) o.dtype = SOL_TO_BF16;
        sol_export_result r;
        return sol_export_safetensors(ctx, at("m.h5"), at(name), &o, &r, why);
    }
    sol_gguf_opts o = {.type = "f16", .embed_type = name};
    sol_gguf_result r;
    return sol_export_gguf(ctx, at("m.h5"), at(name), &o, &r, why);
}

static bool is_there(const char *name)
{
    char file[160];
    snprintf(file, sizeof file, "%s/model.safetensors", name);
    return sol_file_exists(at(strncmp(name, "hf-", 3) == 0 ? file : name));
}

/* Every form holds its largest number and comes back with it; the next float and what is no number
 * leave nothing. */
START_TEST(what_is_written_is_a_number)
{
    static const form forms[] = {{"f16", SOL_F16_MAX},      {"bf16", SOL_BF16_MAX},
                                 {"f32", FLT_MAX},          {"hf-f16", SOL_F16_MAX},
                                 {"hf-bf16", SOL_BF16_MAX}, {"hf-f32", FLT_MAX},
                                 {"model", SOL_BF16_MAX},   {"q8_0", 127 * SOL_F16_MAX}};
    sol_model_file c;
    make(&c, 8, 64, 16);
    float *x = embedding(&c) + 70;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const float bad[] = {nextafterf(forms[i].max, INFINITY), NAN, -INFINITY};
        for (int k = 0; k < 3; k++) {
            *x = bad[k];
            ck_fails(write_form(&c, forms[i].name, err), SOL_ERR_NONFINITE,
                     "model.embed_tokens.weight: a weight is");
            ck_assert_msg(!is_there(forms[i].name), "%s is left", forms[i].name);
        }
        *x = -forms[i].max;
        ck_ok(write_form(&c, forms[i].name, err));
        ck_assert(is_there(forms[i].name));
        sol_model_file back;
        if (strcmp(forms[i].name, "model") != 0) {
            sol_import_opts o = {.dtype = SOL_TO_F32};
            sol_import_result r;
            ck_ok(sol_import(at(forms[i].name), at("back.h5"), &o, &r, err));
        }
        ck_ok(sol_model_file_read(&back,
                                  at(strcmp(forms[i].name, "model") == 0 ? "model" : "back.h5"),
                                  SOL_F32, NULL, err));
        ck_assert_float_eq_tol(embedding(&back)[70] / *x, 1, 0.002f);
        sol_model_file_free(&back);
    }
    sol_model_file_free(&c);
}
END_TEST

/* fp32 that bf16 would round to infinity is refused on the way in, too. */
START_TEST(an_import_does_not_round_to_infinity)
{
    sol_import_opts o = {.dtype = SOL_TO_BF16};
    sol_import_result r;
    sol_model_file c;
    make(&c, 8, 64, 16);
    embedding(&c)[3] = FLT_MAX;
    ck_ok(write_form(&c, "f32", err));
    ck_fails(sol_import(at("f32"), at("back.h5"), &o, &r, err), SOL_ERR_FORMAT,
             "model.embed_tokens.weight: element [0, 3] is not a finite number in bf16");
    o.dtype = SOL_TO_F16;
    ck_fails(sol_import(at("f32"), at("back.h5"), &o, &r, err), SOL_ERR_USAGE,
             "back.h5: a model file holds f32 or bf16, not f16");
    ck_assert(!sol_file_exists(at("back.h5")));
    sol_model_file_free(&c);
}
END_TEST

/* Rows of zeros, of one constant, of denormals, of ties, near the largest fp16, with one weight
 * that is not zero, of the smallest fp16; and a layer of zeros. */
static void fill_edges(const sol_model_file *c)
{
    for (int i = 0; i < c->model->n_params; i++) {
        const sol_param *p = &c->model->params[i];
        if (!p->quantized) continue;
        float *w = sol_model_f32(c->model, p);
        for (int64_t k = 0; k < p->cols; k++) {
            w[k] = 0;
            w[p->cols + k] = -0.5f;
            w[2 * p->cols + k] = (float)(k % 7 - 3) * 1e-40f;
            w[3 * p->cols + k] = k % 3 ? 0.25f : -0.25f;
            w[4 * p->cols + k] = k % 2 ? 60000 : -60000;
            w[5 * p->cols + k] = k == 9 ? 1 : -0.0f;
            w[6 * p->cols + k] = k % 2 ? 0x1p-24f : -0x1p-24f; /* the smallest fp16 */
        }
        if (p->role == SOL_ROLE_UP) memset(w, 0, (size_t)sol_param_count(p) * sizeof *w);
    }
}

/* What the definition says of these rows. */
static void expect_edges(const float *w, int64_t cols, bool all_zero)
{
    static const float scale[] = {0, 0.5f, 0, 0.25f, 60000, 1.0f / 192, 0x1p-24f};
    for (int64_t r = 0; r < 7; r++) {
        float want = all_zero ? 0 : sol_f16_to_f32(sol_f32_to_f16(scale[r]));
        for (int64_t b = 0; b < cols / 4; b++) {
            const float *q = w + r * cols + 4 * b;
            int zeros = 0;
            for (int i = 0; i < 4; i++) zeros += q[i] == 0;
            ck_assert_int_eq(zeros, want == 0 ? 4 : 1);
            for (int i = 0; i < 4; i++)
                ck_assert_msg(fabsf(q[i]) == want || q[i] == 0, "row %d: %g, not %g", (int)r,
                              (double)q[i], (double)want);
            if (want != 0 && r != 5) ck_assert(q[0] == 0); /* ties zero the first */
            if (r == 5 && b == 2 && want != 0) ck_assert(q[1] == want);
        }
    }
}

static void logprobs(sol_net *net, double out[5])
{
    static const int32_t ids[] = {1, 2, 3, 7, 0, 5};
    sol_kv *kv;
    sol_row rows[5];
    ck_ok(sol_kv_create(&kv, net, 5, err));
    for (int i = 0; i < 5; i++) rows[i] = (sol_row){.kv = kv, .token = ids[i]};
    ck_ok(sol_net_logprobs(net, rows, 5, ids + 1, out, err));
    for (int i = 0; i < 5; i++) ck_assert(isfinite(out[i]) && out[i] <= 0);
    sol_kv_free(&kv);
}

static void expect_near(const double *got, const double *want, double tolerance)
{
    for (int i = 0; i < 5; i++) ck_assert_double_eq_tol(got[i], want[i], tolerance);
}

START_TEST(edges_pack_to_what_their_definition_says)
{
    sol_model_file c;
    sol_packed_model p;
    sol_net *net;
    double want[5], got[5], int8[5];
    make(&c, 8, 256, 64);
    fill_edges(&c);
    ck_ok(sol_packed_model_from(ctx, &p, c.model, &c.quant, SOL_F32, NULL, err));
    ck_ok(sol_packed_model_write(&p, c.tokenizer, at("p.h5"), err));
    sol_packed_model_free(&p);
    ck_ok(sol_packed_model_read(&p, at("p.h5"), err));
    for (int i = 0; i < p.table->n_params; i++) {
        float w[7 * 256];
        if (!p.table->params[i].quantized) continue;
        for (int64_t r = 0; r < 7; r++) sol_packed_decode_row(&p.matrix[i], r, w + 256 * r);
        expect_edges(w, 256, p.table->params[i].role == SOL_ROLE_UP);
    }
    ck_ok(sol_net_from_model(&net, ctx, c.model, NULL, &c.quant, NULL, err));
    logprobs(net, want);
    sol_net_free(&net);
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    for (int i = 0; i < n_sets; i++) {
        sol_ctx *one;
        ck_ok(sol_ctx_create(&one, 1, set[i], NULL, err));
        for (int exact = 0; exact < 2; exact++) {
            sol_net_opts o = {.activations = exact ? SOL_ACTIVATIONS_FLOAT : SOL_ACTIVATIONS_INT8};
            ck_ok(sol_net_from_packed(&net, one, &p, &o, err));
            logprobs(net, got);
            expect_near(got, exact ? want : i == 0 ? got : int8, 1e-4);
            if (!exact && i == 0) memcpy(int8, got, sizeof int8);
            sol_net_free(&net);
        }
        sol_ctx_free(&one);
    }
    sol_packed_model_free(&p);
    sol_model_file_free(&c);
}
END_TEST

START_TEST(edges_go_through_gguf_and_back)
{
    static const char *const types[] = {"tq1_0", "tq2_0", "f16", "f32"};
    sol_model_file c, back;
    make(&c, 8, 256, 64);
    fill_edges(&c);
    ck_ok(sol_model_file_write(&c, at("m.h5"), SOL_F32, NULL, err));
    for (int i = 0; i < 4; i++) {
        sol_gguf_opts o = {.type = types[i], .embed_type = "f32"};
        sol_gguf_result r;
        sol_import_opts in = {.dtype = SOL_TO_F32};
        sol_import_result done;
        ck_ok(sol_export_gguf(ctx, at("m.h5"), at("m.gguf"), &o, &r, err));
        ck_ok(sol_import(at("m.gguf"), at("back.h5"), &in, &done, err));
        ck_ok(sol_model_file_read(&back, at("back.h5"), SOL_F32, NULL, err));
        expect_edges(weights(&back, SOL_ROLE_V), 256, false);
        expect_edges(weights(&back, SOL_ROLE_DOWN), 256, false);
        expect_edges(weights(&back, SOL_ROLE_UP), 256, true);
        sol_model_file_free(&back);
    }
    sol_model_file_free(&c);
}
END_TEST

/* Latent weights of denormals: the fp16 scale of Q8_0 is 0, what comes back is zeros. */
START_TEST(denormals_become_zeros_in_q8_0)
{
    sol_model_file c, back;
    make(&c, 8, 64, 16);
    for (int i = 0; i < 64; i++) embedding(&c)[i] = (float)(i - 31) * 1e-45f;
    ck_ok(write_form(&c, "q8_0", err));
    sol_import_opts o = {.dtype = SOL_TO_F32};
    sol_import_result r;
    ck_ok(sol_import(at("q8_0"), at("back.h5"), &o, &r, err));
    ck_ok(sol_model_file_read(&back, at("back.h5"), SOL_F32, NULL, err));
    for (int i = 0; i < 64; i++) ck_assert_float_eq(embedding(&back)[i], 0);
    sol_model_file_free(&back);
    sol_model_file_free(&c);
}
END_TEST

/* ---- training ---- */

static void quiet(void *user, sol_log_level level, const char *text)
{
    (void)user, (void)level, (void)text;
}

static void make_dataset(const char *name, const sol_model_file *c, int tokens)
{
    sol_dataset_writer *w;
    int32_t V = (int32_t)c->model->config.vocab_size;
    ck_ok(sol_dataset_writer_open(&w, at(name), V, sol_tokenizer_hash(c->tokenizer), err));
    for (int32_t i = 0; i < tokens; i++) {
        int32_t id = i * i % 7 % V;
        ck_ok(sol_dataset_writer_append(w, &id, 1, err));
    }
    ck_ok(sol_dataset_writer_end(w, err));
    ck_ok(sol_dataset_writer_close(&w, err));
}

/* Three steps from this model; its last checkpoint into *out. more: settings, NULL at the end. */
static sol_status train(const sol_model_file *c, const char *const *more, sol_checkpoint *out,
                        sol_err *why)
{
    char yaml[800];
    sol_program program;
    sol_config *config;
    sol_trainer *t = NULL;
    ck_ok(sol_model_file_write(c, at("init.h5"), SOL_F32, NULL, err));
    make_dataset("data.h5", c, 40);
    int n = snprintf(yaml, sizeof yaml,
                     "run: {dir: %s/run}\nmodel: {init: %s/init.h5}\ndata: {train: %s/data.h5, "
                     "eval: %s/data.h5}\n"
                     "quant: {granularity: per_channel}\ntrain: {steps: 3, batch: 2, seq: 8, "
                     "eval_every: 3, max_skipped: 1}\n"
                     "optim: {lr: 0.01}\n",
                     dir, dir, dir, dir);
    ck_ok(sol_config_parse(&config, "job.yaml", yaml, (size_t)n, err));
    for (; more && *more; more++) ck_ok(sol_config_set(config, *more, err));
    ck_ok(sol_config_finish(config, err));
    sol_program_init(&program);
    program.terminal = false;
    program.threads = 1;
    program.log = (sol_log){.line = quiet};
    sol_status st = sol_trainer_open(&t, &program, config, false, why);
    if (st == SOL_OK) st = sol_trainer_run(t, why);
    sol_trainer_free(&t);
    sol_config_free(&config);
    sol_program_free(&program);
    if (st == SOL_OK) ck_ok(sol_checkpoint_read(out, at("run/ckpt/step-000003.h5"), SOL_F32, err));
    return st;
}

static char *metrics(void)
{
    char *text;
    size_t n;
    ck_ok(sol_file_read(at("run/metrics.jsonl"), &text, &n, err));
    return text;
}

/* Learning rate 0, in every way of holding parameters: not a bit moves, and the loss is measured as
 * ever. */
START_TEST(a_learning_rate_of_zero_moves_nothing)
{
    static const char *const sets[][6] = {
        {"optim.weight_decay=0.1", NULL},
        {"train.param_dtype=bf16_stochastic", "optim.moments=8bit", NULL},
        {"train.compute=bf16", "train.param_dtype=bf16_nearest", NULL},
        {"optim.fused=true", "train.grad_clip=0", NULL}};
    sol_model_file c;
    sol_checkpoint out;
    const char *set[8] = {"optim.lr=0"};
    make(&c, 8, 64, 16);
    float *w = c.model->data;
    for (int64_t i = 0; i < c.model->n_elements; i++) w[i] = sol_bf16_to_f32(sol_f32_to_bf16(w[i]));
    memcpy(set + 1, sets[_i], sizeof sets[0]);
    ck_ok(train(&c, set, &out, err));
    ck_assert_mem_eq(out.file.model->data, c.model->data,
                     (size_t)c.model->n_elements * sizeof(float));
    ck_assert(out.state.best_eval_loss > 1 && out.state.best_eval_loss < 4);
    sol_checkpoint_free(&out);
    sol_model_file_free(&c);
}
END_TEST

/* A vocabulary of one token, one layer, windows of one token, the smallest heads: nothing to learn,
 * nothing that fails. */
START_TEST(the_smallest_model)
{
    static const char *const set[] = {"train.seq=1", "train.batch=1", NULL};
    sol_model_file c;
    sol_checkpoint out;
    sol_packed_model p;
    sol_net *net;
    make(&c, 1, 4, 2);
    ck_ok(train(&c, set, &out, err));
    char *m = metrics();
    ck_assert_ptr_nonnull(strstr(m, "\"step\": 3, \"tokens\": 3, \"loss\": 0,"));
    ck_assert_ptr_nonnull(strstr(m, "\"grad_norm\": 0,"));
    ck_assert_ptr_nonnull(strstr(m, "\"eval_loss\": 0"));
    ck_assert_ptr_nonnull(strstr(m, "\"packed_loss\": 0"));
    sol_free(m);
    ck_assert_mem_eq(out.file.model->data, c.model->data,
                     (size_t)c.model->n_elements * sizeof(float));
    ck_ok(sol_packed_model_from(ctx, &p, out.file.model, &c.quant, SOL_Q6, NULL, err));
    ck_ok(sol_net_from_packed(&net, ctx, &p, NULL, err));
    int32_t prompt = 0;
    sol_generate_opts o = {.max_tokens = 15,
                           .sampler = {.temperature = 1, .top_p = 1, .repetition_penalty = 1}};
    sol_generate_result r;
    ck_ok(sol_generate(net, &prompt, 1, &o, &r, err));
    ck_assert_int_eq(r.tokens, 15);
    for (int i = 0; i < 15; i++) ck_assert_int_eq(r.ids[i], 0);
    sol_free(r.ids);
    sol_net_free(&net);
    sol_packed_model_free(&p);
    sol_checkpoint_free(&out);
    sol_model_file_free(&c);
}
END_TEST

/* One token is no window: its successor is missing. */
START_TEST(a_dataset_of_one_token)
{
    sol_model_file c;
    sol_dataset d;
    sol_net *net;
    make(&c, 8, 64, 16);
    make_dataset("one.h5", &c, 1);
    ck_ok(sol_dataset_open(&d, at("one.h5"), err));
    ck_ok(sol_net_from_model(&net, ctx, c.model, NULL, &c.quant, NULL, err));
    sol_eval_opts o = {.windows = {.seq = 8}};
    sol_eval_result r;
    ck_fails(sol_eval_windows(net, &d.tokens, &o, &r, err), SOL_ERR_SHAPE,
             "the data holds 1 tokens: at least 2");
    sol_net_free(&net);
    sol_dataset_close(&d);
    sol_model_file_free(&c);
}
END_TEST

/* A layer of zeros has no gradient behind it: it stays as it is, the run goes on beside it.
 * Denormal groups get the scale 0. */
START_TEST(a_layer_of_zeros_trains)
{
    sol_model_file c;
    sol_checkpoint out;
    make(&c, 8, 64, 16);
    for (int i = 0; i < 64 * 64; i++) {
        weights(&c, SOL_ROLE_GATE)[i] = weights(&c, SOL_ROLE_UP)[i] =
            weights(&c, SOL_ROLE_DOWN)[i] = 0;
        weights(&c, SOL_ROLE_Q)[i] = (float)(i % 5 - 2) * 1e-41f;
    }
    ck_ok(train(&c, NULL, &out, err));
    for (int i = 0; i < 64 * 64; i++)
        ck_assert(weights(&out.file, SOL_ROLE_UP)[i] == 0 &&
                  weights(&out.file, SOL_ROLE_DOWN)[i] == 0);
    ck_assert_int_ne(
        memcmp(weights(&out.file, SOL_ROLE_V), weights(&c, SOL_ROLE_V), 64 * 64 * sizeof(float)),
        0);
    ck_assert_int_eq(sol_first_beyond(out.file.model->data, out.file.model->n_elements, 100), -1);
    ck_assert(isfinite(out.state.best_eval_loss));
    sol_checkpoint_free(&out);
    sol_model_file_free(&c);
}
END_TEST

/* A scale above fp16: with scales in fp16 no step is made, with scales in fp32 it trains. */
START_TEST(a_scale_above_fp16)
{
    static const char *const wide[] = {"quant.scale_dtype=fp32", NULL};
    sol_model_file c;
    sol_checkpoint out;
    make(&c, 8, 64, 16);
    for (int i = 0; i < 64 * 64; i++) weights(&c, SOL_ROLE_V)[i] *= 1e8f;
    ck_fails(train(&c, NULL, &out, err), SOL_ERR_NONFINITE,
             "2 skipped steps are more than train.max_skipped");
    ck_assert(!sol_file_exists(at("run/ckpt/step-000003.h5")));
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s/run'", dir);
    ck_assert_int_eq(system(command), 0);
    ck_ok(train(&c, wide, &out, err));
    ck_assert(isfinite(out.state.best_eval_loss));
    sol_checkpoint_free(&out);
    sol_model_file_free(&c);
}
END_TEST

/* A run whose evaluation meets weights that cannot ship says null and goes on. */
START_TEST(weights_that_cannot_ship_do_not_end_a_run)
{
    static const char *const set[] = {"train.eval_form=packed", "optim.lr=0", NULL};
    sol_model_file c;
    sol_checkpoint out;
    make(&c, 8, 64, 16);
    embedding(&c)[7] = 70000; /* above the fp16 of the packed embedding */
    ck_ok(train(&c, set, &out, err));
    char *m = metrics();
    ck_assert_ptr_nonnull(strstr(m, "\"packed_loss\": null"));
    sol_free(m);
    sol_checkpoint_free(&out);
    sol_model_file_free(&c);
}
END_TEST

SOL_TEST_MAIN("numbers", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, the_largest_of_a_type);
              tcase_add_test(tc, what_is_no_number_is_not_packed);
              tcase_add_test(tc, what_is_written_is_a_number);
              tcase_add_test(tc, an_import_does_not_round_to_infinity);
              tcase_add_test(tc, edges_pack_to_what_their_definition_says);
              tcase_add_test(tc, edges_go_through_gguf_and_back);
              tcase_add_test(tc, denormals_become_zeros_in_q8_0);
              tcase_add_loop_test(tc, a_learning_rate_of_zero_moves_nothing, 0, 4);
              tcase_add_test(tc, the_smallest_model); tcase_add_test(tc, a_dataset_of_one_token);
              tcase_add_test(tc, a_layer_of_zeros_trains); tcase_add_test(tc, a_scale_above_fp16);
              tcase_add_test(tc, weights_that_cannot_ship_do_not_end_a_run))
