/* Damage: each byte of a checkpoint, a packed model and a dataset flipped, and each file cut at
 * every 1/64. The result is an error that names the file, or exactly what was written. */
#include "suite.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[96];
static sol_ctx *ctx;
static sol_checkpoint original;
static sol_packed_model packed;
static const int32_t text_ids[] = {1, 2, 3, 4, 3, 2, 1, 0};

static void setup(void)
{
    sol_model_config c = {
        .vocab_size = SOL_TEST_BYTE_VOCAB,
        .hidden_size = 4,
        .intermediate_size = 4,
        .num_hidden_layers = 1,
        .num_attention_heads = 1,
        .num_key_value_heads = 1,
        .head_dim = 4,
        .max_position_embeddings = 8,
        .rms_norm_eps = 1e-5,
        .rope_theta = 1e4,
        .tie_word_embeddings = true,
        .bos_token_id = 1,
        .eos_token_id = 2,
    };
    sol_adamw_config a = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a.h5", dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    original = (sol_checkpoint){0};
    ck_ok(sol_model_create(&original.file.model, &c, SOL_F32, err));
    sol_model_init_random(NULL, original.file.model, 3);
    ck_ok(sol_adamw_create(&original.optim, original.file.model, &a, err));
    sol_test_byte_tokenizer(&original.file.tokenizer);
    for (int64_t i = 0; i < original.optim->n_elements; i++)
        ((float *)original.optim->v)[i] = (float)i;
    original.state.step = 9;
    original.file.quant = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                                           .granularity = SOL_PER_CHANNEL,
                                           .scale_dtype = SOL_F16};
    ck_ok(sol_copy_string(&original.file.config_yaml, "run:\n", 5, err));
    ck_ok(sol_packed_model_from(ctx, &packed, original.file.model, &original.file.quant, SOL_Q8,
                                NULL, err));
}

static void teardown(void)
{
    sol_packed_model_free(&packed);
    sol_checkpoint_free(&original);
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

/* Loads the file: its status; when it loads, it must be what was written. */
typedef sol_status (*loader)(sol_err *err);

static sol_status load_checkpoint(sol_err *err)
{
    sol_checkpoint c;
    sol_status st = sol_checkpoint_read(&c, path, SOL_F32, err);
    if (st != SOL_OK) return st;
    ck_assert_mem_eq(c.file.model->data, original.file.model->data,
                     (size_t)original.file.model->n_elements * 4);
    ck_assert_mem_eq(&c.file.model->config, &original.file.model->config,
                     sizeof c.file.model->config);
    ck_assert_mem_eq(c.optim->m, original.optim->m, (size_t)original.optim->n_elements * 4);
    ck_assert_mem_eq(c.optim->v, original.optim->v, (size_t)original.optim->n_elements * 4);
    ck_assert_mem_eq(&c.state, &original.state, sizeof c.state);
    ck_assert_mem_eq(&c.file.quant, &original.file.quant, sizeof c.file.quant);
    ck_assert_str_eq(c.file.config_yaml, original.file.config_yaml);
    ck_assert_uint_eq(sol_tokenizer_hash(c.file.tokenizer),
                      sol_tokenizer_hash(original.file.tokenizer));
    sol_checkpoint_free(&c);
    return SOL_OK;
}

static sol_status load_packed(sol_err *err)
{
    sol_packed_model p;
    sol_status st = sol_packed_model_read(&p, path, err);
    if (st != SOL_OK) return st;
    for (int i = 0; i < p.table->n_params; i++) {
        if (!p.table->params[i].quantized) continue;
        const sol_stored *x = &p.matrix[i], *y = &packed.matrix[i];
        ck_assert_int_eq(x->group_size, y->group_size);
        ck_assert_int_eq(x->layout, y->layout);
        ck_assert_mem_eq(x->data, y->data, sol_packed_code_bytes(y->rows, y->cols));
        ck_assert_mem_eq(x->signs, y->signs, sol_packed_sign_bytes(y->rows, y->cols));
        ck_assert_mem_eq(x->scales, y->scales, (size_t)sol_packed_scale_count(y) * 2);
    }
    const sol_stored *embed = sol_packed_matrix(&packed, -1, SOL_ROLE_EMBED),
                     *read = sol_packed_matrix(&p, -1, SOL_ROLE_EMBED);
    ck_assert_mem_eq(read->data, embed->data, SOL_TEST_BYTE_VOCAB * sol_dtype_row_bytes(SOL_Q8, 4));
    ck_assert_mem_eq(read->scales, embed->scales, SOL_TEST_BYTE_VOCAB * 2);
    ck_assert_mem_eq(p.vectors, packed.vectors, 3 * 4 * 4);
    ck_assert_mem_eq(&p.config, &packed.config, sizeof p.config);
    ck_assert_uint_eq(sol_tokenizer_hash(p.tokenizer), sol_tokenizer_hash(original.file.tokenizer));
    sol_packed_model_free(&p);
    return SOL_OK;
}

static sol_status load_dataset(sol_err *err)
{
    sol_dataset d;
    sol_status st = sol_dataset_open(&d, path, err);
    if (st != SOL_OK) return st;
    ck_assert_int_eq(d.tokens.n, 8);
    ck_assert_int_eq(d.tokens.n_docs, 2);
    ck_assert_int_eq(d.tokens.width, 2);
    ck_assert_int_eq(d.vocab_size, 8);
    ck_assert_uint_eq(d.tokens.tokenizer_hash, 77);
    ck_assert_uint_eq(d.tokens.doc_offsets[1], 5);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(((const uint16_t *)d.tokens.data)[i], text_ids[i]);
    sol_dataset_close(&d);
    return SOL_OK;
}

static bool is_one_line(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < ' ') return false;
    return true;
}

enum { STRIDE = SOL_TEST_SLOW ? 17 : 1, ROUNDS = SOL_TEST_SLOW ? 300 : 3000 };

static void damage(loader load)
{
    char *bytes;
    size_t n;
    int refused = 0;
    sol_err err = {0};
    ck_assert_msg(load(&err) == SOL_OK, "%s", err.text);
    ck_assert_int_eq(sol_file_read(path, &bytes, &n, &err), SOL_OK);
    int fd = open(path, O_RDWR);
    for (size_t i = 0; i < n; i += STRIDE) {
        char flipped = (char)(bytes[i] ^ (i % 3 == 0 ? 0xff : 1 << i % 8));
        ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)i), 1);
        err.text[0] = 0;
        if (load(&err) != SOL_OK) {
            refused++;
            ck_assert_msg(strstr(err.text, path) == err.text,
                          "byte %zu: '%s' does not name the file", i, err.text);
            ck_assert_msg(is_one_line(err.text), "byte %zu: '%s'", i, err.text);
        }
        ck_assert_int_eq(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    ck_assert_int_gt(refused, 500 / STRIDE); /* the rest are gaps between objects */
    for (size_t k = 0; k < 64; k++) {
        ck_assert_int_eq(ftruncate(fd, (off_t)(n * k / 64)), 0);
        ck_assert_int_ne(load(&err), SOL_OK);
        ck_assert_ptr_eq(strstr(err.text, path), err.text);
        ck_assert_int_eq(pwrite(fd, bytes, n, 0), (ssize_t)n);
    }
    ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)n), 1);
    ck_assert_int_ne(load(&err), SOL_OK);
    close(fd);
    sol_free(bytes);
}

START_TEST(damaged_checkpoint)
{
    ck_ok(sol_test_write_checkpoint(&original, path, SOL_F32, err));
    damage(load_checkpoint);
}
END_TEST

START_TEST(damaged_packed)
{
    ck_ok(sol_packed_model_write(&packed, original.file.tokenizer, path, err));
    damage(load_packed);
}
END_TEST

START_TEST(damaged_dataset)
{
    sol_dataset_writer *w;
    ck_ok(sol_dataset_writer_open(&w, path, 8, 77, err));
    ck_ok(sol_dataset_writer_add(w, text_ids, 5, err));
    ck_ok(sol_dataset_writer_add(w, text_ids + 5, 3, err));
    ck_ok(sol_dataset_writer_close(&w, err));
    damage(load_dataset);
}
END_TEST

/* Many bytes at once, from a fixed seed: no crash, no hang, and what loads is right. */
START_TEST(damaged_at_random)
{
    char *bytes, *copy;
    size_t n;
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    ck_ok(sol_packed_model_write(&packed, original.file.tokenizer, path, err));
    ck_ok(sol_file_read(path, &bytes, &n, err));
    ck_ok(sol_alloc_array((void **)&copy, n, 1, err));
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(copy, bytes, n);
        for (uint64_t k = 0, m = 1 + sol_rng_below(&rng, 20); k < m; k++) {
            size_t at = (size_t)sol_rng_below(&rng, n);
            /* Half of the changes are words that look like sizes or addresses. */
            uint64_t word = sol_rng_u32(&rng) % 2 ? sol_rng_below(&rng, n) : sol_rng_u64(&rng);
            memcpy(copy + at, &word, n - at < 8 ? n - at : 8);
        }
        int fd = open(path, O_WRONLY);
        ck_assert_int_eq(pwrite(fd, copy, n, 0), (ssize_t)n);
        close(fd);
        sol_err err = {0};
        if (load_packed(&err) != SOL_OK) ck_assert(is_one_line(err.text));
    }
    sol_free(bytes);
    sol_free(copy);
}
END_TEST

SOL_TEST_MAIN("store_corrupt", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, damaged_checkpoint); tcase_add_test(tc, damaged_packed);
              tcase_add_test(tc, damaged_dataset); tcase_add_test(tc, damaged_at_random))
