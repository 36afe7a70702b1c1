/* The n-th allocation, write, sync, rename, open or read fails, for every n ($SOL_FAULTS=every;
 * else for a sample) of a short training, export, import and evaluation. The calls are those that
 * the program makes to the C library, intercepted by the linker (--wrap, see the Makefile), so that
 * everything below base/mem.h and base/file.h is covered, and nothing in the library knows of it.
 */
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../train/trainer.h"

/* ---- the calls that fail ---- */

typedef enum { MEMORY, WRITE, SYNC, RENAME, OPEN, READ, CUT, MAP, KINDS } kind;
static const char *const kind_names[] = {"allocation", "write", "sync", "rename",
                                         "open",       "read",  "cut",  "map"};
static long countdown[KINDS]; /* 0: never fails; 1: the next one does */
static int fault_errno;
static bool fired, paused;

static bool fails(kind k)
{
    if (paused || countdown[k] == 0 || --countdown[k] > 0) return false;
    fired = true;
    errno = fault_errno;
    return true;
}

int __real_posix_memalign(void **out, size_t align, size_t n);
int __wrap_posix_memalign(void **out, size_t align, size_t n);
int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
    return fails(MEMORY) ? ENOMEM : __real_posix_memalign(out, align, n);
}

ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at)
{
    if (!fails(WRITE)) return __real_pwrite(fd, data, n, at);
    if (n > 1 && __real_pwrite(fd, data, n / 2, at) < 0)
        return -1; /* a full disk takes a part first */
    errno = fault_errno;
    return -1;
}

ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    if (!fails(WRITE)) return __real_write(fd, data, n);
    if (n > 1 && __real_write(fd, data, n / 2) < 0) return -1;
    errno = fault_errno;
    return -1;
}

/* PCRE2 does without its JIT where there is no memory for it; that is no fault. */
int __real_pcre2_jit_compile_8(void *code, uint32_t options);
int __wrap_pcre2_jit_compile_8(void *code, uint32_t options);
int __wrap_pcre2_jit_compile_8(void *code, uint32_t options)
{
    paused = true;
    int rc = __real_pcre2_jit_compile_8(code, options);
    paused = false;
    return rc;
}

void *__real_pcre2_jit_stack_create_8(size_t start, size_t max, void *context);
void *__wrap_pcre2_jit_stack_create_8(size_t start, size_t max, void *context);
void *__wrap_pcre2_jit_stack_create_8(size_t start, size_t max, void *context)
{
    paused = true;
    void *stack = __real_pcre2_jit_stack_create_8(start, max, context);
    paused = false;
    return stack;
}

/* Thousands of real ones would keep the disk busy for minutes. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return fails(SYNC) ? -1 : 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return __wrap_fsync(fd);
}

#define WRAP(k, type, failed, name, params, args) \
    type __real_##name params; \
    type __wrap_##name params; \
    type __wrap_##name params \
    { \
        return fails(k) ? failed : __real_##name args; \
    }
WRAP(RENAME, int, -1, rename, (const char *from, const char *to), (from, to))
WRAP(RENAME, int, -1, symlink, (const char *from, const char *to), (from, to))
WRAP(OPEN, DIR *, NULL, opendir, (const char *path), (path))
WRAP(READ, ssize_t, -1, pread, (int fd, void *data, size_t n, off_t at), (fd, data, n, at))
WRAP(READ, ssize_t, -1, read, (int fd, void *data, size_t n), (fd, data, n))
WRAP(CUT, int, -1, ftruncate, (int fd, off_t n), (fd, n))
WRAP(MAP, void *, MAP_FAILED, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t from),
     (at, n, prot, flags, fd, from))

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    /* The processor is known without its name, too. */
    bool must_be = strncmp(path, "/proc/", 6) != 0;
    return must_be && fails(OPEN) ? NULL : __real_fopen(path, mode);
}

int __real_open(const char *path, int flags, ...);
/* An unused argument does no harm in the ABIs we build for. */
int __wrap_open(const char *path, int flags, int mode);
int __wrap_open(const char *path, int flags, int mode)
{
    return fails(OPEN) ? -1 : __real_open(path, flags, mode);
}

#define TRAIN \
    "train @/job.yaml --resume --set run.dir=@/run --set model.tokenizer=@/tokenizer.json " \
    "--set data.train=@/data.h5 --set data.eval=@/data.h5"

/* ---- the world: files that every round starts from ---- */

static char dir[64], base[80], here[80];

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    ck_assert_msg(system(command) == 0, "%s", command);
}

static void quiet(void *user, sol_log_level level, const char *text)
{
    (void)user;
    (void)level;
    (void)text;
}

/* A verb as main runs it. The words after the verb, separated by blanks; @ is the directory of this
 * round. */
static sol_status run_verb(const char *line, sol_err *err)
{
    char text[1024], *argv[32];
    size_t n = 0, words = 0;
    for (; *line; line++)
        n += (size_t)snprintf(text + n, sizeof text - n, *line == '@' ? "%s" : "%.1s",
                              *line == '@' ? here : line);
    for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) argv[words++] = w;
    sol_program p;
    void *args = NULL;
    bool help;
    sol_program_init(&p);
    p.terminal = false;
    p.log = (sol_log){.line = quiet};
    p.verb = sol_verb_find(argv[0]);
    sol_status st = sol_alloc_array(&args, 1, p.verb->args_size, err);
    if (st == SOL_OK) st = sol_args_parse(&p, (int)words - 1, argv + 1, args, &help, err);
    p.threads = 1;
    if (st == SOL_OK) st = p.verb->run(&p, args, err);
    if (args) sol_args_free(&p, args);
    sol_free(args);
    sol_program_free(&p);
    return st;
}

/* Words of random letters: enough different pairs for the 512 tokens of the tiny shape. */
static void write_text(void)
{
    char path[96];
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    snprintf(path, sizeof path, "%s/text.txt", here);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 3000; i++)
        fputc(i % 60 == 59 ? '\n' : i % 5 == 4 ? ' ' : 'a' + (int)sol_rng_below(&rng, 20), f);
    fclose(f);
}

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(base, sizeof base, "%s/base", dir);
    snprintf(here, sizeof here, "%s/here", dir);
    ck_assert_int_eq(mkdir(here, 0777), 0);
    write_text();
    /* Results of eval go to stdout; setup and checks print nothing. */
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stdout));
    const char *const steps[] = {
        "train-tokenizer --vocab 512 --input @/text.txt -o @/tokenizer.json",
        "tokenize --tokenizer @/tokenizer.json --input @/text.txt -o @/data.h5",
        TRAIN " --set checkpoint.keep=9",
        "export @/run/ckpt/step-000002.h5 -o @/f16.gguf --format gguf --type f16",
        "export @/run/ckpt/step-000002.h5 -o @/packed.h5",
    };
    char path[96];
    static const char job[] =
        "run: {dir: x}\nmodel: {init: 'random:tiny', tokenizer: x}\ndata: {train: x, eval: "
        "x}\nquant: {group_size: 64}\n"
        "train: {steps: 4, batch: 1, seq: 8, eval_every: 2, eval_windows: 1}\noptim: {schedule: "
        "constant, lr: 0.01}\nstudy: {every: 2}\ncheckpoint: {every: 1, keep: 1}\n";
    snprintf(path, sizeof path, "%s/job.yaml", here);
    ck_ok(sol_file_write(path, job, sizeof job - 1, err));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) ck_ok(run_verb(steps[i], err));
    /* As if the run had been killed after step 2: metrics and study are ahead of the checkpoint. */
    shell(
        "cd %s/run/ckpt && rm step-000003.h5 step-000004.h5 best.h5 && mkdir %s/out && cp -r %s %s",
        here, here, here, base);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

/* ---- what must hold after a fault ---- */

static const char *at_hand; /* which fault, for messages */

/* No file is half written: those of ours verify, none is temporary. */
static int check_file(const char *path, const struct stat *about, int type, struct FTW *place)
{
    int64_t objects;
    uint64_t bytes;
    sol_err err = {0};
    size_t n = strlen(path);
    (void)about, (void)place;
    if (type != FTW_F) return 0;
    ck_assert_msg(strcmp(path + n - 4, ".tmp") != 0, "%s: %s is left", at_hand, path);
    if (strcmp(path + n - 3, ".h5") == 0)
        ck_assert_msg(sol_store_verify(path, &objects, &bytes, &err) == SOL_OK, "%s: %s", at_hand,
                      err.text);
    return 0;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *place)
{
    (void)about, (void)type, (void)place;
    return remove(path);
}

static int copy_one(const char *path, const struct stat *about, int type, struct FTW *place)
{
    char to[256];
    static char bytes[4 << 20];
    (void)place;
    snprintf(to, sizeof to, "%s%s", here, path + strlen(base));
    if (type == FTW_D) return mkdir(to, 0777);
    FILE *in = fopen(path, "rb"), *out = fopen(to, "wb");
    ck_assert(in && out && about->st_size < (off_t)sizeof bytes);
    size_t n = fread(bytes, 1, sizeof bytes, in);
    ck_assert_uint_eq(fwrite(bytes, 1, n, out), n);
    fclose(in);
    fclose(out);
    return 0;
}

/* The folder that a round writes into is as it was. */
static void start_anew(const char *folder)
{
    char from[128], to[128];
    snprintf(from, sizeof from, "%s/%s", base, folder);
    snprintf(to, sizeof to, "%s/%s", here, folder);
    nftw(to, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    ck_assert_int_eq(nftw(from, copy_one, 8, FTW_PHYS), 0);
}

/* Runs the line once, or with the n-th call of this kind failing; false when there are less than n.
 */
static bool run_with_fault(const char *line, const char *folder, kind k, long n, const char *what)
{
    sol_err err = {0};
    start_anew(folder);
    at_hand = what;
    fired = false;
    countdown[k] = n;
    sol_status st = run_verb(line, &err);
    countdown[k] = 0;
    if (!fired) {
        ck_assert_msg(st == SOL_OK, "%s: %s", what, err.text);
        return false;
    }
    const char *cause = k == MEMORY ? "memory" : strerror(fault_errno);
    nftw(here, check_file, 8, FTW_PHYS);
    ck_assert_msg(st != SOL_OK, "%s: no error", what);
    ck_assert_msg(err.status == st, "%s: status %d, its error %d", what, st, err.status);
    ck_assert_msg(strstr(err.text, cause) != NULL, "%s: '%s' does not say '%s'", what, err.text,
                  cause);
    return true;
}

/* The checkpoint of the run's beginning is there until the next one is, and a resume ends as if
 * nothing had happened. */
static void check_resume(const char *what, const sol_checkpoint *want)
{
    char path[128];
    sol_err why = {0};
    sol_checkpoint got;
    ck_assert_msg(run_verb(TRAIN, &why) == SOL_OK, "%s, then: %s", what, why.text);
    snprintf(path, sizeof path, "%s/run/ckpt/step-000004.h5", here);
    ck_ok(sol_checkpoint_read(&got, path, SOL_F32, err));
    size_t bytes = (size_t)want->file.model->n_elements * sizeof(float);
    ck_assert_mem_eq(got.file.model->data, want->file.model->data, bytes);
    ck_assert_mem_eq(got.optim->v, want->optim->v, bytes);
    ck_assert_uint_eq(got.state.drawn, want->state.drawn);
    ck_assert_msg(access(strcat(path, ".damaged"), F_OK) != 0,
                  "%s: a good checkpoint was put aside", what);
    shell("test $(grep -c '\"step\"' %s/run/metrics.jsonl) -eq 4 && ! ls %s/run/ckpt | grep -q "
          "damaged",
          here, here);
    sol_checkpoint_free(&got);
}

/* $SOL_FAULTS=every: each single call. Otherwise a sample, denser among the first. */
static long next(long n)
{
    const char *how = getenv("SOL_FAULTS");
    if (how && strcmp(how, "every") == 0) return n + 1;
    return n + 1 + n / (SOL_TEST_SLOW ? 2 : 16);
}

static void every_fault(const char *line, const char *folder)
{
    bool is_training = strcmp(folder, "run") == 0;
    sol_checkpoint want = {0};
    char what[160], path[128];
    run_with_fault(line, folder, MEMORY, 0, "no fault");
    snprintf(path, sizeof path, "%s/run/ckpt/step-000004.h5", here);
    if (is_training) ck_ok(sol_checkpoint_read(&want, path, SOL_F32, err));
    for (kind k = 0; k < KINDS; k++) {
        long n = 1;
        for (int full = 0; full < (k == WRITE ? 2 : 1); full++) {
            fault_errno = k == MEMORY ? ENOMEM : full ? ENOSPC : EIO;
            for (n = 1;; n = next(n)) {
                snprintf(what, sizeof what, "%.60s: %s %ld fails", line, kind_names[k], n);
                if (!run_with_fault(line, folder, k, n, what)) break;
                if (is_training && (k != MEMORY || n % 16 == 1)) check_resume(what, &want);
            }
        }
        fprintf(stderr, "%.40s: %ld x %s\n", line, n - 1, kind_names[k]);
    }
    sol_checkpoint_free(&want);
}

START_TEST(training)
{
    every_fault(TRAIN, "run");
}
END_TEST

START_TEST(exports)
{
    every_fault("export @/run/ckpt/step-000002.h5 -o @/out/m.h5", "out");
    every_fault("export @/run/ckpt/step-000002.h5 -o @/out/hf --format safetensors --dequantize",
                "out");
    every_fault("export @/run/ckpt/step-000002.h5 -o @/out/m.gguf --format gguf --type q8_0",
                "out");
}
END_TEST

START_TEST(imports)
{
    every_fault("import @/f16.gguf -o @/out/m.h5", "out");
}
END_TEST

START_TEST(evaluation)
{
    every_fault("eval @/packed.h5 --data @/data.h5 --seq 8", "out");
    every_fault("tokenize --tokenizer @/tokenizer.json --input @/text.txt -o @/out/m.h5", "out");
}
END_TEST

/* Under mpirun: one rank has no memory, and no other one waits for it. */
START_TEST(ranks)
{
    sol_dist *d;
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *n = getenv("SOL_FAULT_AT");
    countdown[MEMORY] = rank && rank[0] == '1' && n ? atol(n) : 0;
    fault_errno = ENOMEM;
    sol_err why = {0};
    sol_status st = sol_dist_open(&d, &why);
    countdown[MEMORY] = 0;
    ck_assert_int_eq(st, n ? SOL_ERR_NOMEM : SOL_OK);
    sol_dist_close(&d);
}
END_TEST

SOL_TEST_MAIN("faults", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, training); tcase_add_test(tc, exports);
              tcase_add_test(tc, imports); tcase_add_test(tc, evaluation);
              TCase *of_ranks = tcase_create("ranks"); tcase_add_test(of_ranks, ranks);
              suite_add_tcase(suite, of_ranks))
