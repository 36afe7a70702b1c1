/* The file of a teacher's probabilities: what comes back, what a process that dies leaves, damage.
 */
#include "suite.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { WINDOWS = 5, SEQ = 7, K = 4 };

static const sol_teacher_cache_head head = {.data_digest = 11,
                                            .teacher_digest = UINT64_MAX,
                                            .tokenizer_hash = 13,
                                            .vocab_size = 300,
                                            .windows = WINDOWS,
                                            .seq = SEQ,
                                            .k = K,
                                            .temperature = 1.5,
                                            .teacher_dtype = "int8",
                                            .compute = "bf16"};

/* Numbers that say where they belong: no two positions have the same, and fp16 holds them. */
static void fill(int window, int32_t *ids, float *probs)
{
    for (int n = 0; n < SEQ; n++) {
        float place = (float)(window * SEQ + n) / 256;
        const float p[K + 2] = {0.5f - place, 0.25f,           0.125f,
                                0.0625f,      0.0625f + place, 0.3f + place};
        for (int j = 0; j < K; j++) ids[n * K + j] = (window * 31 + n * 7 + j) % 300;
        memcpy(probs + n * (K + 2), p, sizeof p);
    }
}

static void append(sol_teacher_cache *c, int from, int to)
{
    int32_t ids[SEQ * K];
    float probs[SEQ * (K + 2)];
    for (int w = from; w < to; w++) {
        fill(w, ids, probs);
        ck_ok(sol_teacher_cache_append(c, ids, probs, err));
    }
}

static void expect_window(sol_teacher_cache *c, int w)
{
    int32_t ids[SEQ * K], want[SEQ * K];
    float probs[SEQ * (K + 1)], full[SEQ * (K + 2)], target[SEQ];
    fill(w, want, full);
    ck_ok(sol_teacher_cache_read(c, w, K, ids, probs, target, err));
    ck_assert_mem_eq(ids, want, sizeof ids);
    for (int n = 0; n < SEQ; n++) {
        ck_assert_mem_eq(probs + n * (K + 1), full + n * (K + 2), (K + 1) * sizeof(float));
        ck_assert_float_eq(target[n], full[n * (K + 2) + K + 1]);
    }
    ck_ok(sol_teacher_cache_read(c, w, 2, ids, probs, NULL, err));
    for (int n = 0; n < SEQ; n++) {
        const float *p = full + n * (K + 2);
        ck_assert_mem_eq(ids + n * 2, want + n * K, 2 * sizeof *ids);
        ck_assert_mem_eq(probs + n * 3, p, 2 * sizeof *probs);
        ck_assert_float_eq(probs[n * 3 + 2], p[2] + p[3] + p[4]); /* the others join the rest */
    }
}

START_TEST(what_goes_in_comes_out)
{
    char dir[64], path[80];
    sol_teacher_cache *c;
    sol_file_kind kind;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/c.h5", dir);
    ck_ok(sol_teacher_cache_create(&c, path, &head, err));
    append(c, 0, 2);
    ck_ok(sol_teacher_cache_commit(c, err));
    append(c, 2, 3);
    sol_teacher_cache_close(&c); /* a process that dies: the third window is not counted */
    ck_ok(sol_teacher_cache_open(&c, path, true, err));
    ck_assert_int_eq(sol_teacher_cache_done(c), 2);
    ck_fails(sol_teacher_cache_read(c, 2, K, NULL, NULL, NULL, err), SOL_ERR_RANGE, "window 2");
    append(c, 2, WINDOWS);
    ck_fails(sol_teacher_cache_append(c, NULL, NULL, err), SOL_ERR_RANGE, "is full with 5 windows");
    ck_ok(sol_teacher_cache_commit(c, err));
    sol_teacher_cache_close(&c);
    ck_ok(sol_teacher_cache_open(&c, path, false, err));
    ck_assert_int_eq(sol_teacher_cache_done(c), WINDOWS);
    ck_assert_uint_eq(sol_teacher_cache_get_head(c)->teacher_digest, UINT64_MAX);
    ck_assert(sol_teacher_cache_get_head(c)->temperature == 1.5);
    ck_assert_str_eq(sol_teacher_cache_get_head(c)->teacher_dtype, "int8");
    ck_assert_str_eq(sol_teacher_cache_get_head(c)->compute, "bf16");
    uint64_t before = sol_alloc_count();
    for (int w = 0; w < WINDOWS; w++) expect_window(c, w);
    ck_assert_uint_eq(sol_alloc_count(), before);
    sol_teacher_cache_close(&c);
    ck_ok(sol_store_kind(path, &kind, err));
    ck_assert_int_eq(kind, SOL_FILE_TEACHER_CACHE);
    int64_t objects;
    uint64_t bytes;
    ck_ok(sol_store_verify(path, &objects, &bytes, err));
    ck_assert_uint_eq(bytes, WINDOWS * SEQ * (K * (2 + 2) + 4 + 4));
    sol_test_dir_remove(dir);
}
END_TEST

/* How many of the counted windows read with an error; what reads without one must be what was
 * written. */
static int bad_windows(sol_teacher_cache *c)
{
    int bad = 0;
    for (int w = 0; w < sol_teacher_cache_done(c); w++) {
        int32_t ids[SEQ * K];
        float probs[SEQ * (K + 1)];
        sol_status st = sol_teacher_cache_read(c, w, K, ids, probs, NULL, NULL);
        if (st == SOL_OK)
            expect_window(c, w);
        else
            ck_assert_int_eq(st, SOL_ERR_FORMAT);
        bad += st != SOL_OK;
    }
    return bad;
}

/* A changed byte in any window shows when that window is read; a file that ends early when it is
 * opened or read. */
START_TEST(damage_shows)
{
    char dir[64], path[80], *data;
    size_t n, found = 0, step = SOL_TEST_SLOW ? 31 : 3;
    sol_teacher_cache *c;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/c.h5", dir);
    ck_ok(sol_teacher_cache_create(&c, path, &head, err));
    append(c, 0, WINDOWS);
    ck_ok(sol_teacher_cache_commit(c, err));
    sol_teacher_cache_close(&c);
    ck_ok(sol_file_read(path, &data, &n, err));
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    for (size_t at = 0; at < n; at += step) {
        const char changed = data[at] ^ 0x10;
        ck_assert_int_eq(pwrite(fd, &changed, 1, (off_t)at), 1);
        int bad = 0;
        sol_status st = sol_teacher_cache_open(&c, path, false, NULL);
        if (st == SOL_OK) bad = bad_windows(c);
        found += bad > 0;
        sol_teacher_cache_close(&c);
        int64_t objects;
        uint64_t bytes;
        sol_status verified = sol_store_verify(path, &objects, &bytes, NULL);
        if (verified != SOL_ERR_UNSUPPORTED) /* the byte took its checksums away */
            ck_assert_int_eq(verified == SOL_OK, st == SOL_OK && bad == 0);
        ck_assert_int_eq(pwrite(fd, data + at, 1, (off_t)at), 1);
    }
    close(fd);
    ck_assert_uint_ge(found, WINDOWS * SEQ * (K * (2 + 2) + 4 + 4) / step);
    ck_ok(sol_file_write(path, data, n - 300, err));
    ck_assert_int_ne(sol_teacher_cache_open(&c, path, false, NULL), SOL_OK);
    sol_free(data);
    sol_test_dir_remove(dir);
}
END_TEST

SOL_TEST_MAIN("teacher_cache", tcase_add_test(tc, what_goes_in_comes_out);
              tcase_add_test(tc, damage_shows))
