/* A disk that is full and writes that fail: an error with its cause, no temporary file, and the
 * earlier file as it was. */
#include "suite.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[64], path[96], temp[112];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a.h5", dir);
    snprintf(temp, sizeof temp, "%s.tmp", path);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

static void make_model(sol_model_file *c, int64_t vocab)
{
    sol_model_config config = {
        .vocab_size = vocab,
        .hidden_size = 64,
        .intermediate_size = 64,
        .num_hidden_layers = 1,
        .num_attention_heads = 1,
        .num_key_value_heads = 1,
        .head_dim = 64,
        .max_position_embeddings = 8,
        .rms_norm_eps = 1e-5,
        .rope_theta = 1e4,
        .tie_word_embeddings = true,
        .bos_token_id = -1,
        .eos_token_id = -1,
    };
    *c = (sol_model_file){0};
    ck_ok(sol_model_create(&c->model, &config, SOL_F32, err));
    sol_model_init_random(NULL, c->model, 1);
}

static void check_intact(const char *want, size_t n_want)
{
    char *data;
    size_t n;
    ck_assert(!sol_file_exists(temp));
    ck_ok(sol_file_read(path, &data, &n, err));
    ck_assert_uint_eq(n, n_want);
    ck_assert_mem_eq(data, want, n);
    sol_free(data);
}

/* A limit on the size of a file stands for the n-th write that fails; it needs no rights. */
START_TEST(each_write_may_fail)
{
    sol_model_file c;
    char *before;
    size_t n;
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    make_model(&c, 100);
    ck_ok(sol_model_file_write(&c, path, SOL_F32, NULL, err));
    ck_ok(sol_file_read(path, &before, &n, err));
    signal(SIGXFSZ, SIG_IGN);
    for (size_t limit_bytes = 0; limit_bytes < n; limit_bytes += n / 37) {
        limit.rlim_cur = limit_bytes;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_fails(sol_model_file_write(&c, path, SOL_F32, NULL, err), SOL_ERR_NOSPACE,
                 "a.h5: cannot write: File too large");
        limit.rlim_cur = RLIM_INFINITY;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        check_intact(before, n);
    }
    ck_ok(sol_model_file_write(&c, path, SOL_F32, NULL, err));
    check_intact(before, n);
    sol_free(before);
    sol_model_file_free(&c);
}
END_TEST

static void write_text(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");
    if (!f) return;
    fputs(text, f);
    fclose(f);
}

/* A file system of 512 KiB at dir; who is not root may mount it in a name space of his own, where
 * the system allows them. */
static bool mount_small(void)
{
    char user[32], group[32];
    snprintf(user, sizeof user, "0 %d 1", (int)geteuid());
    snprintf(group, sizeof group, "0 %d 1", (int)getegid());
    if (geteuid() != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
        write_text("/proc/self/uid_map", user);
        write_text("/proc/self/setgroups", "deny");
        write_text("/proc/self/gid_map", group);
    }
    return mount("tmpfs", dir, "tmpfs", 0, "size=512k") == 0;
}

START_TEST(full_disk)
{
    sol_model_file small, large;
    sol_dataset_writer *w;
    sol_status st = SOL_OK;
    sol_err why = {0};
    int32_t ids[1000] = {0};
    char *before;
    size_t n;
    if (!mount_small()) {
        printf("skipped: needs the right to mount a tmpfs\n");
        return;
    }
    make_model(&small, 100);
    make_model(&large, 4000);
    ck_ok(sol_model_file_write(&small, path, SOL_F32, NULL, err));
    ck_ok(sol_file_read(path, &before, &n, err));
    ck_fails(sol_model_file_write(&large, path, SOL_F32, NULL, err), SOL_ERR_NOSPACE,
             "are free on its file system");
    check_intact(before, n);
    /* The length of a token stream is not known before: it fails on the way. */
    ck_ok(sol_dataset_writer_open(&w, path, 100000, 0, err));
    for (int i = 0; st == SOL_OK && i < 1000; i++) st = sol_dataset_writer_add(w, ids, 1000, &why);
    ck_assert_int_eq(st, SOL_ERR_NOSPACE);
    ck_assert_ptr_nonnull(strstr(why.text, "a.h5: cannot write: No space left on device"));
    sol_dataset_writer_abort(&w);
    check_intact(before, n);
    ck_ok(sol_model_file_write(&small, path, SOL_F32, NULL, err));
    ck_assert_int_eq(umount(dir), 0);
    sol_free(before);
    sol_model_file_free(&small);
    sol_model_file_free(&large);
}
END_TEST

SOL_TEST_MAIN("store_space", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, each_write_may_fail); tcase_add_test(tc, full_disk))
