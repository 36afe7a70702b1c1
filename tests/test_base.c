/* The floor of the library: half precision, random numbers, threads, files and locks, errors, JSON
 * numbers, sets of processor features, memory. */
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
#include "base/text.h"
#include "base/textio.h"

/* What a pattern of 16 bits stands for by IEEE 754, with so many bits of exponent. */
static double half_value(uint32_t h, int exponent_bits)
{
    int fraction_bits = 15 - exponent_bits, top = (1 << exponent_bits) - 1, bias = top / 2;
    int exponent = (int)(h >> fraction_bits) & top;
    double fraction = (double)(h & ((1u << fraction_bits) - 1)), sign = h >> 15 ? -1 : 1;
    if (exponent == top) return fraction > 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static void check_half(float value, double want)
{
    ck_assert(isnan(want) ? isnan(value) : value == want && !signbit(value) == !signbit(want));
}

START_TEST(half_round_trip)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = sol_f16_to_f32((sol_f16)h), b = sol_bf16_to_f32((sol_bf16)h);
        check_half(f, half_value(h, 5));
        check_half(b, half_value(h, 8));
        if (!isnan(f)) ck_assert_uint_eq(sol_f32_to_f16(f), h);
        if (!isnan(b)) ck_assert_uint_eq(sol_f32_to_bf16(b), h);
    }
}
END_TEST

/* Between every pair of neighbours the midpoint goes to the even one, a hair beside it to the
 * nearer one. */
START_TEST(f16_rounds_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double lo = sol_f16_to_f32((sol_f16)h), hi = sol_f16_to_f32((sol_f16)(h + 1)),
               mid = (lo + hi) / 2;
        ck_assert_uint_eq(sol_f32_to_f16((float)mid), h + (h & 1));
        ck_assert_uint_eq(sol_f32_to_f16(nextafterf((float)mid, 0)), h);
        ck_assert_uint_eq(sol_f32_to_f16(nextafterf((float)mid, INFINITY)), h + 1);
    }
    ck_assert_uint_eq(sol_f32_to_f16(SOL_F16_MAX), 0x7bff);
    ck_assert_uint_eq(sol_f32_to_f16(65520.0f), 0x7c00);
    ck_assert_float_eq(nextafterf(SOL_F16_MAX, INFINITY), 65520.0f);
    ck_assert_uint_eq(sol_f32_to_f16(-1e30f), 0xfc00);
    ck_assert(isnan(sol_f16_to_f32(sol_f32_to_f16(NAN))));
}
END_TEST

START_TEST(bf16_rounds_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        float mid = (float)((half_value(h, 8) + half_value(h + 1, 8)) / 2);
        ck_assert_uint_eq(sol_f32_to_bf16(mid), h + (h & 1));
        ck_assert_uint_eq(sol_f32_to_bf16(nextafterf(mid, 0)), h);
        ck_assert_uint_eq(sol_f32_to_bf16(nextafterf(mid, INFINITY)), h + 1);
    }
    ck_assert_uint_eq(sol_f32_to_bf16(SOL_BF16_MAX), 0x7f7f);
    ck_assert_uint_eq(sol_f32_to_bf16(nextafterf(SOL_BF16_MAX, INFINITY)), 0x7f80);
    ck_assert_uint_eq(sol_f32_to_bf16(-FLT_MAX), 0xff80);
    ck_assert(isnan(sol_bf16_to_f32(sol_f32_to_bf16(NAN))));
    ck_assert(isnan(sol_bf16_to_f32(sol_f32_to_bf16(sol_f32_from_bits(0x7f800001)))));
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
    /* Random123's kat_vectors for philox4x32-10: key, counter, output. */
    static const struct {
        uint64_t seed, stream, block;
        uint32_t out[4];
    } want[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x0370734413198a2e,
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        uint32_t out[4];
        sol_philox4x32(want[i].seed, want[i].stream, want[i].block, out);
        ck_assert_mem_eq(out, want[i].out, sizeof out);
    }
}
END_TEST

/* The drawn numbers by their definitions, from the words of the stream. */
START_TEST(numbers_drawn)
{
    uint32_t word[8];
    sol_philox4x32(5, SOL_STREAM_TEST, 0, word);
    sol_philox4x32(5, SOL_STREAM_TEST, 1, word + 4);
    sol_rng r = sol_rng_make(5, SOL_STREAM_TEST);
    ck_assert_uint_eq(sol_rng_u32(&r), word[0]);
    ck_assert_uint_eq(sol_rng_u64(&r), (uint64_t)word[1] << 32 | word[2]);
    ck_assert_float_eq(sol_rng_uniform(&r), (float)(word[3] >> 8) / 0x1p24f);
    double u = (word[4] + 1.0) / 0x1p32, v = word[5] / 0x1p32;
    ck_assert_float_eq(sol_rng_normal(&r), (float)(sqrt(-2 * log(u)) * cos(2 * acos(-1) * v)));
    ck_assert_uint_eq(sol_rng_below(&r, 1000), ((uint64_t)word[6] << 32 | word[7]) % 1000);
    ck_assert_uint_eq(sol_rng_below(&r, 1), 0);
    r.counter = 6;
    ck_assert_uint_eq(sol_rng_u32(&r), word[6]);
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
        /* Nobody else reads it while it is written. */
        ck_assert_uint_eq(s.st_mode & 0777, modes[i] | 0600);
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

START_TEST(parts_of_files)
{
    char dir[64], path[96], head[6], *data = NULL;
    size_t n;
    sol_in in;
    sol_map map;
    uint32_t crc;
    uint64_t size;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    ck_ok(sol_file_write(path, "123456789", 9, err));
    ck_ok(sol_file_crc(path, &crc, err));
    ck_assert_uint_eq(crc, 0xe3069283); /* as in RFC 3720 */
    ck_ok(sol_file_size(path, &size, err));
    ck_assert_uint_eq(size, 9);
    ck_ok(sol_file_head(path, head, 4, err));
    ck_assert_mem_eq(head, "1234", 4);
    ck_ok(sol_in_open(&in, path, err));
    ck_ok(sol_in_read(&in, 6, head, 3, err));
    ck_assert_mem_eq(head, "789", 3);
    ck_fails(sol_in_read(&in, 7, head, 3, err), SOL_ERR_FORMAT, "/a: ends at byte 9, 1 bytes");
    ck_ok(sol_in_map(&in, &map, err));
    sol_in_close(&in);
    ck_assert_uint_eq(map.size, 9);
    ck_assert_mem_eq(map.data, "123456789", 9);
    sol_map_close(&map);
    ck_assert(map.data == NULL && map.size == 0);
    sol_map_close(&map);

    ck_ok(sol_file_write(path, "ab", 2, err));
    ck_ok(sol_file_head(path, head, sizeof head, err));
    ck_assert_mem_eq(head, "ab\0\0\0", sizeof head);
    ck_ok(sol_file_write(path, NULL, 0, err));
    ck_ok(sol_map_open(&map, path, err));
    ck_assert(map.data == NULL && map.size == 0);
    ck_ok(sol_file_crc(path, &crc, err));
    ck_assert_uint_eq(crc, 0);
    ck_ok(sol_file_read(path, &data, &n, err));
    ck_assert(n == 0 && data[0] == 0);
    sol_free(data);
    ck_fails(sol_map_open(&map, dir, err), SOL_ERR_IO, "regular");
    ck_assert(map.data == NULL && map.size == 0);
    sol_test_dir_remove(dir);
}
END_TEST

/* Only a file with one name of its own is changed in place; a pipe without a reader is not waited
 * for. */
START_TEST(a_file_of_its_own)
{
    char dir[64], path[96], other[96];
    int fd;
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    snprintf(other, sizeof other, "%s/b", dir);
    ck_fails(sol_own_open(&fd, path, "name", O_WRONLY, err), SOL_ERR_IO, "name: cannot write");
    ck_ok(sol_own_open(&fd, path, "name", O_WRONLY | O_CREAT, err));
    close(fd);
    ck_ok(sol_file_differs(path, other, err));
    ck_ok(sol_file_differs(other, path, err));
    ck_assert_int_eq(symlink(path, other), 0);
    ck_fails(sol_own_open(&fd, other, "name", O_WRONLY, err), SOL_ERR_IO, "is a symbolic link");
    ck_fails(sol_file_differs(path, other, err), SOL_ERR_USAGE, "/b: is read, too");
    unlink(other);
    ck_assert_int_eq(link(path, other), 0);
    ck_fails(sol_own_open(&fd, other, "name", O_WRONLY, err), SOL_ERR_IO, "a hard link");
    ck_assert_int_eq(fd, -1);
    ck_fails(sol_file_differs(path, other, err), SOL_ERR_USAGE, "/b: is read, too");
    unlink(other);
    ck_assert_int_eq(mkfifo(other, 0600), 0);
    ck_fails(sol_own_open(&fd, other, "name", O_WRONLY, err), SOL_ERR_IO, "is not a regular file");
    ck_fails(sol_own_open(&fd, other, "name", O_RDWR, err), SOL_ERR_IO, "is not a regular file");
    ck_fails(sol_own_open(&fd, dir, "name", O_WRONLY, err), SOL_ERR_IO, "name: ");
    sol_test_dir_remove(dir);
}
END_TEST

START_TEST(parts_of_paths)
{
    static const char *const bad[] = {"~/a", "~", "a/$HOME", "${X}", "$$_", "a$b"},
                             *const good[] = {"a~", "./~", "a$", "$1", "a/~b", "", "$-$"};
    static const char *const last[][2] = {{"a", "a"},      {"/a/bc", "bc"}, {"a/b/", "b"},
                                          {"a/b///", "b"}, {"/", ""},       {"//", ""},
                                          {"", ""},        {"/x", "x"}};
    char dir[64], path[96], deep[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_fails(sol_path_check(bad[i], err), SOL_ERR_USAGE, bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) ck_ok(sol_path_check(good[i], err));
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        size_t n;
        const char *at = sol_path_last(last[i][0], &n);
        ck_assert_uint_eq(n, strlen(last[i][1]));
        ck_assert_mem_eq(at, last[i][1], n);
    }
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a/b", dir);
    ck_ok(sol_dir_create(path, err));
    ck_ok(sol_dir_create(path, err));
    ck_assert(sol_file_exists(path));
    snprintf(path, sizeof path, "%s/file", dir);
    ck_ok(sol_file_write(path, "x", 1, err));
    ck_fails(sol_dir_create(path, err), SOL_ERR_IO, "/file: exists and is not a directory");
    snprintf(deep, sizeof deep, "%s/c", path);
    ck_fails(sol_dir_create(deep, err), SOL_ERR_IO, "/file/c: cannot make directory");
    ck_fails(sol_dir_create("$HOME/x", err), SOL_ERR_USAGE, "$HOME/x");
    ck_fails(sol_dir_create("", err), SOL_ERR_IO, "usable");
    sol_test_dir_remove(dir);
    char name[SOL_PATH_MAX] = "", joined[SOL_PATH_MAX];
    memset(name, 'x', SOL_PATH_MAX - 3);
    ck_ok(sol_path_join(joined, "d", name, err));
    ck_assert_uint_eq(strlen(joined), SOL_PATH_MAX - 1);
    ck_fails(sol_path_join(joined, "dd", name, err), SOL_ERR_IO, "path is too long");
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
    const char *names[] = {"train.steps", "train.batch", "quant.method"};
    char hint[SOL_HINT], word[400];
    ck_assert_str_eq(sol_name_hint(hint, "train.step", names, 3, NULL),
                     "; did you mean 'train.steps'?");
    ck_assert_str_eq(sol_name_hint(hint, "zzzzzzzzzz", names, 3, "; none"), "; none");
    sol_name_hint(hint, "zzzzzzzzzz", names, 3, NULL);
    ck_assert(strncmp(hint, ": one of ", 9) == 0 && strstr(hint, names[2]));
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = 0;
    names[0] = names[1] = word; /* a list that does not fit is cut */
    ck_assert_uint_eq(strlen(sol_name_hint(hint, "y", names, 3, NULL)), SOL_HINT - 1);
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
    /* C, AVX2, and AVX-512 with nothing, VNNI, VNNI and VBMI, each without and with BF16. */
    ck_assert_int_eq(n, 8);
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

START_TEST(memory)
{
    uint64_t before = sol_alloc_count();
    void *p;
    unsigned char *block = NULL;
    size_t capacity = 0;
    char *bytes = NULL, *copy;
    ck_ok(sol_alloc_array(&p, 0, 8, err));
    ck_assert_ptr_nonnull(p);
    sol_free(p);
    ck_ok(sol_alloc_array(&p, 7, 13, err));
    ck_assert_uint_eq((uintptr_t)p % SOL_ALIGN, 0);
    for (int i = 0; i < 7 * 13; i++) ck_assert_uint_eq(((unsigned char *)p)[i], 0);
    sol_free(p);
    ck_assert_uint_eq(sol_alloc_count(), before + 2);
    ck_fails(sol_alloc_array(&p, SIZE_MAX / 4, 8, err), SOL_ERR_RANGE, "does not fit");
    ck_assert_ptr_null(p);
    if (!SOL_TEST_SLOW) /* a sanitizer ends the process */
        ck_fails(sol_alloc_array(&p, SIZE_MAX / 4, 1, err), SOL_ERR_NOMEM, "out of memory");
    ck_assert_ptr_null(p);
    for (size_t n = 1; n < 5000; n = n * 2 + 1) {
        size_t had = capacity;
        ck_ok(sol_grow_array((void **)&block, &capacity, n, 1, err));
        ck_assert(capacity >= n && (capacity == had || capacity >= had + had / 2));
        for (size_t i = 0; i < capacity; i++) ck_assert_uint_eq(block[i], i < had ? 7 : 0);
        memset(block, 7, capacity);
    }
    unsigned char *kept = block;
    size_t had = capacity;
    ck_fails(sol_grow_array((void **)&block, &capacity, SIZE_MAX / 2, 4, err), SOL_ERR_RANGE, "");
    ck_assert(block == kept && capacity == had && block[had - 1] == 7);
    sol_free(block);
    capacity = 0;
    ck_ok(sol_grow_bytes(&bytes, &capacity, 3, err));
    memcpy(bytes, "ab", 3);
    ck_ok(sol_grow_bytes(&bytes, &capacity, 1 << 20, err));
    ck_assert(capacity >= 1 << 20);
    ck_assert_str_eq(bytes, "ab");
    sol_free(bytes);
    ck_ok(sol_copy_string(&copy, "abc", 2, err));
    ck_assert_str_eq(copy, "ab");
    sol_free(copy);
    ck_ok(sol_copy_string(&copy, NULL, 0, err));
    ck_assert_str_eq(copy, "");
    sol_free(copy);
    sol_free(NULL);
}
END_TEST

START_TEST(plans_add_up)
{
    static char name[40][8];
    sol_plan plan = {0};
    ck_assert_uint_eq(sol_plan_total(&plan), 0);
    for (size_t i = 0; i < 40; i++) {
        snprintf(name[i], sizeof name[i], "row %zu", i);
        sol_plan_add(&plan, name[i], i);
        sol_plan_add(&plan, name[0], 1);
    }
    ck_assert_int_eq(plan.n, 32);
    ck_assert_uint_eq(plan.row[0].bytes, 40);
    ck_assert_uint_eq(plan.row[30].bytes, 30);
    ck_assert_uint_eq(plan.row[31].bytes, 31 + 32 + 33 + 34 + 35 + 36 + 37 + 38 + 39);
    ck_assert_uint_eq(sol_plan_total(&plan), 39 * 40 / 2 + 40);
}
END_TEST

static void keep_line(void *user, sol_log_level level, const char *text)
{
    ck_assert_int_eq(level, SOL_LOG_WARN);
    snprintf(user, 2048, "%s", text);
}

START_TEST(texts_and_lines_of_any_length)
{
    char line[2048];
    sol_text t = {0};
    sol_log log = {.line = keep_line, .user = line};
    ck_ok(sol_text_add_bytes(&t, err, "", 0));
    ck_assert_str_eq(t.data, "");
    ck_ok(sol_text_add(&t, err, "%1500d", 7));
    ck_ok(sol_text_add_bytes(&t, err, "a\0b", 3));
    ck_assert_uint_eq(t.n, 1503);
    ck_assert_mem_eq(t.data + 1499, "7a\0b", 5);
    sol_log_line(&log, SOL_LOG_WARN, "%s", t.data);
    ck_assert_uint_eq(strlen(line), 1023);
    ck_assert_mem_eq(line, t.data, 1023);
    sol_log_line(NULL, SOL_LOG_WARN, "nobody hears this");
    sol_log_line(&(sol_log){0}, SOL_LOG_WARN, "nor this");
    sol_free(t.data);
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
    /* No more than `size` bytes of the text count. */
    ck_assert(sol_enum_find(colors, "red", 2, &value) && value == -2);
    ck_assert(!sol_enum_find(colors, "reds", 4, &value) && !sol_enum_find(colors, "", 0, &value) &&
              value == -2);
    ck_assert_str_eq(sol_enum_name(colors, 3), "blue");
    ck_assert_ptr_null(sol_enum_name(colors, 0));
    ck_assert_str_eq(sol_enum_list(colors, ", ", " or ", list, sizeof list), "red, re or blue");
    /* Cut, not beyond the buffer. */
    ck_assert_str_eq(sol_enum_list(colors, "|", "|", list, 6), "red|r");
    ck_assert_str_eq(sol_enum_list(colors + 2, ", ", " or ", list, sizeof list), "blue");
}
END_TEST

SOL_TEST_MAIN(
    "base", tcase_add_test(tc, numbers_rounded_up); tcase_add_test(tc, names_of_enum_constants);
    tcase_add_test(tc, sets_of_features_hold_what_they_need); tcase_add_test(tc, lists_of_features);
    tcase_add_test(tc, tiers_are_sets_of_features); tcase_add_test(tc, json_numbers_of_any_size);
    tcase_add_test(tc, half_round_trip); tcase_add_test(tc, f16_rounds_to_nearest_even);
    tcase_add_test(tc, bf16_rounds_to_nearest_even); tcase_add_test(tc, numbers_drawn);
    tcase_add_test(tc, parts_of_files); tcase_add_test(tc, a_file_of_its_own);
    tcase_add_test(tc, parts_of_paths); tcase_add_test(tc, memory);
    tcase_add_test(tc, plans_add_up); tcase_add_test(tc, texts_and_lines_of_any_length);
    tcase_add_test(tc, convert_as_single_numbers); tcase_add_test(tc, philox_known_answers);
    tcase_add_test(tc, permute_is_a_permutation); tcase_add_test(tc, pool_runs_every_tile_once);
    tcase_add_test(tc, worker_does_one_thing_at_a_time); tcase_add_test(tc, replace_is_atomic);
    tcase_add_test(tc, replacement_is_locked); tcase_add_test(tc, a_lock_is_waited_for);
    tcase_add_test(tc, replacement_keeps_permissions); tcase_add_test(tc, causes_of_the_system);
    tcase_add_test(tc, a_file_that_shrinks); tcase_add_test(tc, errors_are_one_line_of_text);
    tcase_add_test(tc, status_names_and_nearest))
