/* llama2.c files: read as the independent reader of the tests reads them, refused when a byte is
 * missing. */
#include "suite.h"

#include <string.h>

#include "foreign/source.h"
#include "llama2c_file.h"

static char dir[64], path[96], out[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a.bin", dir);
    snprintf(out, sizeof out, "%s/m.h5", dir);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

/* sol_import without a tokenizer, which it asks for, and back into memory. */
static sol_status import(sol_model_file *f, const char *from, sol_err *err)
{
    sol_source s;
    int64_t weights;
    SOL_TRY(sol_source_open_llama2c(&s, from, err));
    sol_status st = sol_source_to_file(&s, out, SOL_F32, NULL, NULL, &weights, err);
    sol_source_close(&s);
    return st == SOL_OK ? sol_model_file_read(f, out, SOL_F32, NULL, err) : st;
}

START_TEST(real_model)
{
    sol_model_file c;
    sol_model *m;
    char model[256], tokenizer[256];
    const char *p = sol_test_data("models/stories260K.bin");
    if (!p) return;
    snprintf(model, sizeof model, "%s", p);
    snprintf(tokenizer, sizeof tokenizer, "%s", sol_test_data("models/tok512.bin"));
    sol_import_opts o = {.tokenizer = tokenizer};
    sol_import_result r;
    ck_ok(sol_import(model, out, &o, &r, err));
    ck_assert_str_eq(r.source, "llama2.c");
    ck_ok(sol_model_file_read(&c, out, SOL_F32, NULL, err));
    sol_test_llama2c_read(&m, model);
    ck_assert_int_eq(c.model->n_elements, m->n_elements);
    ck_assert_mem_eq(c.model->data, m->data, (size_t)m->n_elements * 4);
    ck_assert_int_eq(c.model->config.max_position_embeddings, 512);
    sol_model_free(&m);

    sol_tokenizer *t;
    ck_ok(sol_store_tokenizer(&t, tokenizer, err));
    ck_assert_int_eq(sol_tokenizer_vocab_size(c.tokenizer), 512);
    ck_assert_uint_eq(sol_tokenizer_hash(c.tokenizer), sol_tokenizer_hash(t));
    sol_tokenizer_free(&t);
    sol_model_file_free(&c);
}
END_TEST

/* Header, and so many bytes behind it. dim 8, 2 heads, 1 kv head, ffn 12, 1 layer, vocab 5, seq 3.
 */
static void write_file(const int32_t header[7], size_t bytes)
{
    char *data;
    ck_ok(sol_alloc_array((void **)&data, 28 + bytes, 1, err));
    memcpy(data, header, 28);
    float *w = (float *)(data + 28);
    for (size_t i = 0; i < bytes / 4; i++) w[i] = (float)i;
    ck_ok(sol_file_write(path, data, 28 + bytes, err));
    sol_free(data);
}

/* 5*8 + 8 + 64 + 2*32 + 64 + 8 + 3*96 + 8 + 3*4 */
enum { FLOATS = 40 + 8 + 64 + 64 + 64 + 8 + 288 + 8 + 12 };

START_TEST(small_file)
{
    const int32_t header[7] = {8, 12, 1, 2, 1, 5, 3}, untied[7] = {8, 12, 1, 2, 1, -5, 3};
    sol_model_file c;
    sol_model *m;
    write_file(header, FLOATS * 4);
    ck_ok(import(&c, path, err));
    sol_test_llama2c_read(&m, path);
    ck_assert_int_eq(c.model->n_elements, m->n_elements);
    ck_assert_mem_eq(c.model->data, m->data, (size_t)m->n_elements * 4);
    sol_model_free(&m);
    const float *q = sol_model_f32(c.model, sol_model_by_role(c.model, 0, SOL_ROLE_Q));
    const float *up = sol_model_f32(c.model, sol_model_by_role(c.model, 0, SOL_ROLE_UP));
    /* head_dim 4: rows 0 2 1 3 of the file, then 4 6 5 7 */
    ck_assert(q[0] == 48 && q[8] == 48 + 16 && q[16] == 48 + 8 && q[4 * 8] == 48 + 32 &&
              q[5 * 8] == 48 + 48);
    ck_assert(up[0] == 40 + 8 + 64 + 64 + 64 + 8 + 192);
    ck_assert(c.model->config.tie_word_embeddings);
    sol_model_file_free(&c);
    write_file(untied, FLOATS * 4 + 160);
    ck_ok(import(&c, path, err));
    ck_assert(!c.model->config.tie_word_embeddings);
    ck_assert(sol_model_f32(c.model, sol_model_head(c.model))[0] == FLOATS);
    sol_model_file_free(&c);
}
END_TEST

START_TEST(bad_files)
{
    const int32_t good[7] = {8, 12, 1, 2, 1, 5, 3}, heads[7] = {8, 12, 1, 3, 1, 5, 3},
                  negative[7] = {8, -12, 1, 2, 1, 5, 3};
    const int32_t huge[7] = {1 << 20, 1 << 22, 1 << 12, 1 << 10, 1 << 10, INT32_MAX, 1 << 30},
                  magic[7] = {0x616b3432, 1};
    const int32_t least[7] = {8, 12, 1, 2, 1, INT32_MIN, 3};
    sol_model_file c;
    write_file(good, FLOATS * 4 - 1);
    ck_fails(import(&c, path, err), SOL_ERR_FORMAT, "its header (llama2.c) asks for");
    write_file(good, FLOATS * 4 + 4);
    ck_fails(import(&c, path, err), SOL_ERR_FORMAT, "its header (llama2.c) asks for");
    write_file(heads, FLOATS * 4);
    ck_fails(import(&c, path, err), SOL_ERR_FORMAT, "width 8 and 3 heads");
    write_file(negative, FLOATS * 4);
    ck_fails(import(&c, path, err), SOL_ERR_RANGE, "intermediate_size is -12");
    write_file(huge, 4);
    ck_fails(import(&c, path, err), SOL_ERR_RANGE, "vocab_size");
    write_file(least, 4);
    ck_fails(import(&c, path, err), SOL_ERR_RANGE, "vocab_size");
    write_file(magic, 4);
    ck_fails(import(&c, path, err), SOL_ERR_UNSUPPORTED, "version 1");
    ck_ok(sol_file_write(path, "short", 5, err));
    ck_fails(import(&c, path, err), SOL_ERR_FORMAT, "has 5 bytes");
    ck_fails(import(&c, "/nonexistent", err), SOL_ERR_IO, "/nonexistent");
}
END_TEST

START_TEST(not_finite)
{
    const int32_t header[7] = {8, 12, 1, 2, 1, 5, 3};
    sol_model_file c;
    char *data;
    size_t n;
    write_file(header, FLOATS * 4);
    ck_ok(sol_file_read(path, &data, &n, err));
    const uint32_t nan_bits = 0x7fc00000;
    memcpy(data + 28 + 4 * (8 * 2 + 3), &nan_bits, 4);
    ck_ok(sol_file_write(path, data, n, err));
    sol_free(data);
    ck_fails(import(&c, path, err), SOL_ERR_FORMAT,
             "model.embed_tokens.weight: element [2, 3] is not a finite");
}
END_TEST

SOL_TEST_MAIN("import_llama2c", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, real_model); tcase_add_test(tc, small_file);
              tcase_add_test(tc, bad_files); tcase_add_test(tc, not_finite))
