#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/enums.h"
#include "base/json.h"
#include "base/num.h"
#include "base/textio.h"

START_TEST(half_round_trip)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = sol_f16_to_f32((sol_f16)h), b = sol_bf16_to_f32((sol_bf16)h);
        if (!isnan(f)) ck_assert_uint_eq(sol_f32_to_f16(f), h);
        if (!isnan(b)) ck_assert_uint_eq(sol_f32_to_bf16(b), h);
    }
}
END_TEST

START_TEST(f16_rounds_to_nearest_even)
{
    /* Between every pair of neighbours the midpoint goes to the even one, a hair beside it to the
     * nearer one. */
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double lo = sol_f16_to_f32((sol_f16)h), hi = sol_f16_to_f32((sol_f16)(h + 1)),
               mid = (lo + hi) / 2;
        ck_assert_uint_eq(sol_f32_to_f16((float)mid), h + (h & 1));
        ck_assert_uint_eq(sol_f32_to_f16(nextafterf((float)mid, 0)), h);
        ck_assert_uint_eq(sol_f32_to_f16(nextafterf((float)mid, INFINITY)), h + 1);
    }
    ck_assert_uint_eq(sol_f32_to_f16(65519.99f), 0x7bff);
    ck_assert_uint_eq(sol_f32_to_f16(65520.0f), 0x7c00);
    ck_assert_uint_eq(sol_f32_to_f16(-1e30f), 0xfc00);
    ck_assert(isnan(sol_f16_to_f32(sol_f32_to_f16(NAN))));
    ck_assert(isnan(sol_bf16_to_f32(sol_f32_to_bf16(NAN))));
}
END_TEST

/* Whole rows convert as single numbers do, from every 16-bit pattern and from floats of every
 * exponent. */
START_TEST(convert_as_single_numbers)
{
    enum { N = 1 << 16 };
    float *f32 = malloc(N * sizeof *f32);
    uint16_t *half = malloc(N * sizeof *half), *back = malloc(N * sizeof *back);
    for (int i = 0; i < N; i++) half[i] = (uint16_t)i;
    for (int kind = 0; kind < 2; kind++) {
        sol_dtype type = kind ? SOL_BF16 : SOL_F16, other = kind ? SOL_F16 : SOL_BF16;
        sol_convert(f32, SOL_F32, half, type, N);
        for (int i = 0; i < N; i++)
            ck_assert_uint_eq(sol_f32_bits(f32[i]), sol_f32_bits(kind ? sol_bf16_to_f32(half[i])
                                                                      : sol_f16_to_f32(half[i])));
        sol_convert(back, other, half, type, N - 3);
        for (int i = 0; i < N - 3; i++)
            ck_assert_uint_eq(back[i], kind ? sol_f32_to_f16(f32[i]) : sol_f32_to_bf16(f32[i]));
        for (int i = 0; i < N; i++)
            f32[i] = sol_f32_from_bits((uint32_t)i << 16 | ((uint32_t)i * 40503u & 0xffff));
        sol_convert(back, type, f32, SOL_F32, N - 1);
        for (int i = 0; i < N - 1; i++)
            ck_assert_uint_eq(back[i], kind ? sol_f32_to_bf16(f32[i]) : sol_f32_to_f16(f32[i]));
    }
    free(f32);
    free(half);
    free(back);
}
END_TEST

START_TEST(philox_known_answers)
{
    /* Random123's kat_vectors for philox4x32-10. */
    uint32_t out[4];
    sol_philox4x32(0, 0, 0, out);
    ck_assert_uint_eq(out[0], 0x6627e8d5);
    ck_assert_uint_eq(out[3], 0x9b00dbd8);
    sol_philox4x32(~0ull, ~0ull, ~0ull, out);
    ck_assert_uint_eq(out[0], 0x408f276d);
    ck_assert_uint_eq(out[1], 0x41c83b0e);
    ck_assert_uint_eq(out[3], 0x6d5451fd);
}
END_TEST

START_TEST(permute_is_a_permutation)
{
    for (uint64_t n = 1; n < 200; n += 7) {
        bool seen[200] = {0};
        for (uint64_t i = 0; i < n; i++) {
            uint64_t p = sol_permute(42, SOL_STREAM_DATA, n, i);
            ck_assert_uint_lt(p, n);
            ck_assert(!seen[p]);
            seen[p] = true;
        }
    }
}
END_TEST

static void add_square(void *arg, int64_t i, int thread)
{
    (void)thread;
    ((int64_t *)arg)[i] += i * i;
}

START_TEST(pool_runs_every_tile_once)
{
    enum { N = 1000 };
    for (int threads = 1; threads <= 4; threads++) {
        sol_pool *pool;
        int64_t x[N] = {0};
        ck_ok(sol_pool_create(&pool, threads, err));
        for (int turn = 0; turn < 50; turn++) sol_pool_run(pool, N, add_square, x);
        for (int64_t i = 0; i < N; i++) ck_assert_int_eq(x[i], 50 * i * i);
        sol_pool_free(&pool);
        ck_assert_ptr_null(pool);
    }
}
END_TEST

static void add_one(void *arg)
{
    ++*(int *)arg;
}

START_TEST(worker_does_one_thing_at_a_time)
{
    sol_worker *w;
    int done = 0;
    ck_ok(sol_worker_create(&w, err));
    sol_worker_wait(w); /* for nothing */
    for (int i = 0; i < 1000; i++) {
        sol_worker_start(w, add_one, &done);
        sol_worker_wait(w);
        ck_assert_int_eq(done, i + 1);
    }
    sol_worker_start(w, add_one, &done);
    sol_worker_free(&w);
    ck_assert_int_eq(done, 1001);
    ck_assert_ptr_null(w);
}
END_TEST

START_TEST(replace_is_atomic)
{
    char dir[64], path[96], *data;
    size_t n;
    sol_replace r;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    ck_ok(sol_file_write(path, "old", 3, err));
    ck_ok(sol_replace_begin(&r, path, 0, err));
    ck_assert(sol_file_exists(r.temp_path));
    ck_ok(sol_file_read(path, &data, &n, err));
    ck_assert_str_eq(data, "old");
    sol_free(data);
    char temp[SOL_PATH_MAX];
    memcpy(temp, r.temp_path, sizeof temp);
    sol_replace_abort(&r);
    ck_assert(!sol_file_exists(temp));
    ck_ok(sol_file_write(path, "new!", 4, err));
    ck_ok(sol_file_read(path, &data, &n, err));
    ck_assert_uint_eq(n, 4);
    ck_assert_str_eq(data, "new!");
    sol_free(data);
    ck_fails(sol_file_write("/nonexistent/x", "a", 1, err), SOL_ERR_IO, "/nonexistent/x");
    ck_fails(sol_file_read(dir, &data, &n, err), SOL_ERR_IO, "regular");
    sol_test_dir_remove(dir);
}
END_TEST

START_TEST(replacement_keeps_permissions)
{
    static const mode_t modes[] = {0600, 0640, 0444};
    char dir[64], path[96];
    sol_replace r;
    struct stat s;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    umask(027);
    ck_ok(sol_file_write(path, "new", 3, err));
    ck_assert_int_eq(stat(path, &s), 0);
    ck_assert_uint_eq(s.st_mode & 0777, 0640);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        ck_ok(sol_replace_begin(&r, path, 0, err));
        ck_assert_int_eq(stat(r.temp_path, &s), 0);
        ck_assert_uint_eq(s.st_mode & 0777,
                          modes[i] | 0600); /* nobody else reads it while it is written */
        ck_ok(sol_replace_commit(&r, err));
        ck_assert_int_eq(stat(path, &s), 0);
        ck_assert_uint_eq(s.st_mode & 0777, modes[i]);
    }
    sol_test_dir_remove(dir);
}
END_TEST

/* A leftover of a killed process is taken over; a file that another one writes is not. */
START_TEST(replacement_is_locked)
{
    char dir[64], path[96], temp[112], *data;
    size_t n;
    sol_replace r, second;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    snprintf(temp, sizeof temp, "%s.tmp", path);
    FILE *f = fopen(temp, "w");
    ck_assert(f && fputs("half of a file", f) >= 0 && fclose(f) == 0);
    ck_ok(sol_replace_begin(&r, path, 0, err));
    ck_fails(sol_replace_begin(&second, path, 0, err), SOL_ERR_LOCKED,
             "/a: another process is writing it");
    sol_replace_abort(&second);
    ck_assert(sol_file_exists(temp));
    ck_ok(sol_replace_commit(&r, err));
    ck_assert(!sol_file_exists(temp));
    ck_ok(sol_file_read(path, &data, &n, err));
    ck_assert_uint_eq(n, 0);
    sol_free(data);
    ck_fails(sol_replace_begin(&r, path, UINT64_MAX, err), SOL_ERR_NOSPACE, "/a: needs");
    ck_assert(!sol_file_exists(temp));
    ck_ok(sol_replace_begin(&r, path, 1, err));
    sol_replace_abort(&r);
    sol_test_dir_remove(dir);
}
END_TEST

static void on_alarm(int signal)
{
    (void)signal;
}

/* Holds the lock for a while, and says that it will let go before it does. */
static void hold_lock(const sol_lock *what, int said)
{
    int fd;
    bool taken;
    sol_lock_open(&fd, what, &taken, NULL);
    bool locked = write(said, "l", 1) == 1 && usleep(60000) == 0;
    _exit(locked && write(said, "r", 1) == 1 ? 0 : 1);
}

/* A signal does not end a wait for a lock. */
START_TEST(a_lock_is_waited_for)
{
    char dir[64], path[96], heard[2] = {0};
    int said[2], fd;
    bool taken;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    sol_lock what = {.path = path, .name = path, .wait = true};
    ck_assert_int_eq(pipe(said), 0);
    pid_t holder = fork();
    if (holder == 0) hold_lock(&what, said[1]);
    ck_assert_int_eq(read(said[0], &heard[0], 1), 1);
    struct sigaction interrupts = {.sa_handler = on_alarm}; /* and no SA_RESTART */
    struct itimerval often = {.it_interval.tv_usec = 5000, .it_value.tv_usec = 5000}, never = {0};
    sigaction(SIGALRM, &interrupts, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    ck_ok(sol_lock_open(&fd, &what, &taken, err));
    setitimer(ITIMER_REAL, &never, NULL);
    fcntl(said[0], F_SETFL, O_NONBLOCK);
    ck_assert_int_eq(read(said[0], &heard[1], 1), 1);
    ck_assert(heard[0] == 'l' && heard[1] == 'r' && !taken);
    close(fd);
    ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
    sol_test_dir_remove(dir);
}
END_TEST

/* What is cut off while it is read is no shorter text. */
START_TEST(a_file_that_shrinks)
{
    enum { BYTES = 1 << 20, LEFT = 600000 };
    static char text[BYTES];
    char dir[64], path[96];
    sol_reader *r;
    sol_status st = SOL_OK;
    size_t n = 1, all = 0;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/text", dir);
    memset(text, 'a', BYTES);
    ck_ok(sol_file_write(path, text, BYTES, err));
    ck_ok(sol_reader_open(&r, path, NULL, err));
    ck_ok(sol_reader_read(r, text, 10, &n, err));
    ck_assert_int_eq(truncate(path, LEFT), 0);
    sol_err e = {0};
    for (all = n; st == SOL_OK && n > 0; all += n) st = sol_reader_read(r, text, BYTES, &n, &e);
    ck_assert_int_eq(st, SOL_ERR_IO);
    ck_assert_uint_eq(all, LEFT);
    ck_assert_ptr_nonnull(strstr(e.text, "became shorter while it was read: 600000 of 1048576"));
    sol_reader_close(&r);
    sol_test_dir_remove(dir);
}
END_TEST

/* Exit code 2 is for what the user can mend in a path, 1 for what the system lacks. */
START_TEST(causes_of_the_system)
{
    static const struct {
        int cause;
        sol_status status;
    } want[] = {{ENOENT, SOL_ERR_IO},     {EACCES, SOL_ERR_IO},      {ENOSPC, SOL_ERR_NOSPACE},
                {EFBIG, SOL_ERR_NOSPACE}, {EDQUOT, SOL_ERR_NOSPACE}, {EMFILE, SOL_ERR_SYSTEM},
                {EIO, SOL_ERR_SYSTEM},    {ENOMEM, SOL_ERR_SYSTEM}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        sol_err e = {0};
        errno = want[i].cause;
        ck_assert_int_eq(sol_fail_errno(&e, "f", "cannot read"), want[i].status);
        ck_assert_int_eq(sol_status_exit_code(want[i].status),
                         want[i].status == SOL_ERR_IO ? 2 : 1);
    }
}
END_TEST

/* What a file or a command line holds cannot move the cursor of the terminal that shows the error.
 */
START_TEST(errors_are_one_line_of_text)
{
    sol_err e = {0};
    sol_fail(&e, SOL_ERR_FORMAT, "%s",
             "a\nb\r\tc\033[2Jd\177e\xc2\x9b"
             "f\xc3\xa9\xc2");
    ck_assert_str_eq(e.text, "a b  c?[2Jd?e??f\xc3\xa9\xc2");
}
END_TEST

START_TEST(status_names_and_nearest)
{
    static const char *const names[] = {"train.steps", "train.batch", "quant.method"};
    ck_assert_str_eq(sol_nearest_name("train.step", names, 3), "train.steps");
    ck_assert_ptr_null(sol_nearest_name("zzzzzzzzzz", names, 3));
    ck_assert_int_eq(sol_status_exit_code(SOL_ERR_FORMAT), 2);
    ck_assert_int_eq(sol_status_exit_code(SOL_ERR_INTERRUPTED), 130);
    size_t out;
    ck_fails(sol_size_mul((size_t)-1, 2, &out, err), SOL_ERR_RANGE, "fit");
}
END_TEST

/* Numbers of any size, and Python's words, are numbers; what stands in a string, or is no JSON at
 * all, is not touched. */
START_TEST(json_numbers_of_any_size)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"9223372036854775807", 9223372036854775807.0},
        {"-9223372036854775808", -9223372036854775808.0},
        {"9223372036854775808", 9223372036854775808.0},
        {"123456789012345678901234567890", 123456789012345678901234567890.0},
        {"-123456789012345678901234567890", -123456789012345678901234567890.0},
        {"1e400", DBL_MAX},
        {"-1.5E+999", -DBL_MAX},
        {"1e-400", 0},
        {"NaN", DBL_MAX},
        {"Infinity", DBL_MAX},
        {"-Infinity", -DBL_MAX},
        {"16.0", 16},
    };
    static const char *const bad[] = {"{\"v\":NaNa}", "{\"v\":-}",       "{\"v\":1e400e5}",
                                      "{\"v\":0x10}", "{\"v\":nan}",     "{\"v",
                                      "{NaN:1}",      "{\"v\":1e400 \"w"};
    char text[640];
    json_error_t why;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "{\"NaN\":\"1e400 \\\" NaN\",\"v\":[%s],\"w\":2}",
                 good[i].text);
        json_t *o = sol_json_load(text, strlen(text), 0, &why);
        ck_assert_msg(o != NULL, "%s: %s", good[i].text, why.text);
        ck_assert_str_eq(json_string_value(json_object_get(o, "NaN")), "1e400 \" NaN");
        ck_assert(json_number_value(json_array_get(json_object_get(o, "v"), 0)) == good[i].value);
        ck_assert_int_eq(json_integer_value(json_object_get(o, "w")), 2);
        json_decref(o);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_ptr_null(sol_json_load(bad[i], strlen(bad[i]), 0, &why));
    memset(text, '7', sizeof text);
    text[0] = '[';
    text[sizeof text - 1] = ']';
    json_t *o = sol_json_load(text, sizeof text, 0, &why);
    ck_assert(json_real_value(json_array_get(o, 0)) == DBL_MAX);
    json_decref(o);
}
END_TEST

static const sol_cpu no_cpu = {.model = "none"},
                     avx512_cpu = {.features = SOL_TIER_AVX512 & ~SOL_CPU_AMX, .model = "some"};

START_TEST(sets_of_features_hold_what_they_need)
{
    char text[SOL_CPU_TEXT];
    sol_cpu_features f = 0;
    int n = 0;
    ck_assert_uint_eq(sol_cpu_usable(&avx512_cpu, SOL_TIER_BEST), avx512_cpu.features);
    ck_assert_uint_eq(sol_cpu_usable(&avx512_cpu, SOL_TIER_BEST & ~SOL_CPU_AVX512), SOL_CPU_AVX2);
    ck_assert_uint_eq(sol_cpu_usable(&avx512_cpu, SOL_CPU_VNNI), 0);
    ck_assert_uint_eq(sol_cpu_usable(&no_cpu, SOL_TIER_BEST), 0);
    do {
        ck_assert_uint_eq(sol_cpu_usable(&avx512_cpu, f), f);
        ck_assert(!(f & SOL_CPU_VBMI) || (f & SOL_CPU_VNNI));
        n++;
    } while ((f = sol_cpu_next(&avx512_cpu, f)) != 0);
    ck_assert_int_eq(
        n,
        8); /* C, AVX2, and AVX-512 with nothing, VNNI, VNNI and VBMI, each without and with BF16 */
    ck_assert_uint_eq(sol_cpu_next(&no_cpu, 0), 0);
    ck_assert_str_eq(sol_cpu_text(SOL_CPU_ALL & SOL_TIER_AVX512, text),
                     "avx2 avx512 vnni vbmi bf16 amx");
    ck_assert_uint_lt(strlen(sol_cpu_text(SOL_CPU_ALL, text)), SOL_CPU_TEXT - 1);
    ck_assert_str_eq(sol_cpu_text(0, text), "c");
}
END_TEST

START_TEST(lists_of_features)
{
    static const struct {
        const char *list;
        sol_cpu_features want;
    } good[] = {{"best", SOL_TIER_AVX512 & ~SOL_CPU_AMX},
                {"c", 0},
                {"avx2", SOL_CPU_AVX2},
                {"bf16", SOL_CPU_AVX2 | SOL_CPU_AVX512 | SOL_CPU_BF16},
                {"vbmi,bf16", SOL_TIER_AVX512 & ~SOL_CPU_AMX},
                {"no-vnni", SOL_CPU_AVX2 | SOL_CPU_AVX512 | SOL_CPU_BF16},
                {"no-bf16,no-vbmi", SOL_CPU_AVX2 | SOL_CPU_AVX512 | SOL_CPU_VNNI},
                {"no-amx", SOL_TIER_AVX512 & ~SOL_CPU_AMX},
                {"no-neon,no-avx2", 0},
                {"best,no-avx512", SOL_CPU_AVX2},
                {"vnni,no-avx512", SOL_CPU_AVX2}};
    static const char *const bad[][2] = {{"amx", "'amx'"},
                                         {"avx2,neon", "'neon'"},
                                         {"", "''"},
                                         {"avx2,", "''"},
                                         {"avx", "'avx'"},
                                         {"avx22", "'avx22'"},
                                         {"no-", "'no-'"},
                                         {"no-c", "'no-c'"},
                                         {"AVX2", "'AVX2'"},
                                         {"avx2 vnni", "'avx2 vnni'"},
                                         {"no-no-amx", "'no-no-amx'"}};
    sol_cpu_features f;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_ok(sol_cpu_parse(&avx512_cpu, good[i].list, &f, err));
        ck_assert_msg(f == good[i].want, "%s: %x, not %x", good[i].list, f, good[i].want);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_fails(sol_cpu_parse(&avx512_cpu, bad[i][0], &f, err), SOL_ERR_USAGE, bad[i][1]);
}
END_TEST

START_TEST(tiers_are_sets_of_features)
{
    static const char *const names[] = {"c", "avx2", "avx512"};
    sol_cpu_features f;
    for (int i = 0; i < 3; i++) {
        ck_ok(sol_tier_parse(&avx512_cpu, names[i], &f, err));
        ck_assert_str_eq(sol_tier_name(f), names[i]);
    }
    ck_assert_uint_eq(f, avx512_cpu.features);
    ck_assert_str_eq(sol_tier_name(SOL_TIER_NEON), "neon");
    ck_assert_str_eq(sol_tier_name(SOL_CPU_AVX2 | SOL_CPU_AVX512), "avx512");
    ck_fails(sol_tier_parse(&avx512_cpu, "neon", &f, err), SOL_ERR_USAGE, "lacks 'neon'");
    ck_fails(sol_tier_parse(&no_cpu, "avx2", &f, err), SOL_ERR_USAGE, "lacks 'avx2'");
    ck_fails(sol_tier_parse(&no_cpu, "sse", &f, err), SOL_ERR_USAGE, "unknown kernel tier 'sse'");
}
END_TEST

START_TEST(numbers_rounded_up)
{
    ck_assert_int_eq(sol_ceil_div(0, 8), 0);
    ck_assert_int_eq(sol_ceil_div(1, 8), 1);
    ck_assert_int_eq(sol_ceil_div(8, 8), 1);
    ck_assert_int_eq(sol_ceil_div(9, 8), 2);
    ck_assert_int_eq(sol_round_up(9, 6), 12);
    ck_assert_int_eq(sol_round_up(12, 6), 12);
    ck_assert_uint_eq(sol_round_up_size(1, 64), 64);
    ck_assert_uint_eq(sol_round_up_size(0, 64), 0);
    ck_assert_int_eq(sol_min_i64(-1, INT64_MAX), -1);
    ck_assert_int_eq(sol_max_i64(-1, INT64_MIN), -1);
    ck_assert_uint_eq(sol_max_size(SIZE_MAX, 1), SIZE_MAX);
}
END_TEST

/* A list names some of the constants of an enum, in its own order. */
#define COLORS(ROW) ROW(7, "red") ROW(-2, "re") ROW(3, "blue")

START_TEST(names_of_enum_constants)
{
    const sol_enumerator *colors = SOL_ENUM_TABLE(COLORS);
    char list[32];
    int value = 99;
    ck_assert(sol_enum_find(colors, "red", 3, &value) && value == 7);
    ck_assert(sol_enum_find(colors, "red", 2, &value) &&
              value == -2); /* size bytes of the text count */
    ck_assert(!sol_enum_find(colors, "reds", 4, &value) && !sol_enum_find(colors, "", 0, &value) &&
              value == -2);
    ck_assert_str_eq(sol_enum_name(colors, 3), "blue");
    ck_assert_ptr_null(sol_enum_name(colors, 0));
    ck_assert_str_eq(sol_enum_list(colors, ", ", " or ", list, sizeof list), "red, re or blue");
    ck_assert_str_eq(sol_enum_list(colors, "|", "|", list, 6),
                     "red|r"); /* cut, not beyond the buffer */
    ck_assert_str_eq(sol_enum_list(colors + 2, ", ", " or ", list, sizeof list), "blue");
}
END_TEST

SOL_TEST_MAIN(
    "base", tcase_add_test(tc, numbers_rounded_up); tcase_add_test(tc, names_of_enum_constants);
    tcase_add_test(tc, sets_of_features_hold_what_they_need); tcase_add_test(tc, lists_of_features);
    tcase_add_test(tc, tiers_are_sets_of_features); tcase_add_test(tc, json_numbers_of_any_size);
    tcase_add_test(tc, half_round_trip); tcase_add_test(tc, f16_rounds_to_nearest_even);
    tcase_add_test(tc, convert_as_single_numbers); tcase_add_test(tc, philox_known_answers);
    tcase_add_test(tc, permute_is_a_permutation); tcase_add_test(tc, pool_runs_every_tile_once);
    tcase_add_test(tc, worker_does_one_thing_at_a_time); tcase_add_test(tc, replace_is_atomic);
    tcase_add_test(tc, replacement_is_locked); tcase_add_test(tc, a_lock_is_waited_for);
    tcase_add_test(tc, replacement_keeps_permissions); tcase_add_test(tc, causes_of_the_system);
    tcase_add_test(tc, a_file_that_shrinks); tcase_add_test(tc, errors_are_one_line_of_text);
    tcase_add_test(tc, status_names_and_nearest))
