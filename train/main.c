/* The program's entry: signals, standard descriptors, the choice of a verb, and the exit code of
 * its status. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "program.h"
#include "ranks.h"
#include "run_model.h"

/* A reader that closed our stdout has seen enough. */
static void on_sigpipe(int sig)
{
    (void)sig;
    _exit(0);
}

/* The path of what is mapped at this address; "" when it is no file. For a signal handler: no
 * allocation, no stdio. */
static const char *mapped_path(uint64_t address)
{
    static char maps[1 << 16];
    size_t n = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return "";
    while (n < sizeof maps - 1) {
        ssize_t got = read(fd, maps + n, sizeof maps - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    for (char *line = maps, *end = line; *line; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        char *dash, *path = memchr(line, '/', (size_t)(end - line));
        uint64_t from = strtoull(line, &dash, 16),
                 to = *dash == '-' ? strtoull(dash + 1, NULL, 16) : 0;
        if (address < from || address >= to || !path) continue;
        *end = 0;
        return path;
    }
    return "";
}

static void say(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

/* Datasets and models are mapped: when another process makes such a file shorter, or its disk
 * fails, the next look at it is a signal. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    say("solera: ");
    say(mapped_path((uint64_t)(uintptr_t)info->si_addr));
    say(": a file in use became shorter or can no longer be read\n");
    _exit(1);
}

static sol_status unknown_verb(const char *word, sol_err *err)
{
    const char *names[64];
    int n = 0;
    for (; n < sol_verb_count() && n < 64; n++) names[n] = sol_verb_at(n)->name;
    char hint[SOL_HINT];
    return sol_fail(err, SOL_ERR_USAGE, "unknown verb '%s'%s `solera help` lists them all", word,
                    sol_name_hint(hint, word, names, n, ";"));
}

static sol_status prepare_verb(sol_program *p, sol_err *err)
{
    SOL_TRY(sol_program_choose_kernels(p, err));
    return p->verb->takes_model ? sol_program_find_model(p, err) : SOL_OK;
}

static sol_status start_verb(sol_program *p, void *args, sol_err *err)
{
    sol_status st = prepare_verb(p, err);
    if (p->dist) st = sol_dist_agree(p->dist, st, err);
    return st == SOL_OK ? p->verb->run(p, args, err) : st;
}

static sol_status run_verb(sol_program *p, int argc, char **argv, sol_err *err)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    void *args = NULL;
    bool help = false;
    if (!name || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
    p->verb = sol_verb_find(name);
    if (!p->verb) return sol_ranks_join(p, unknown_verb(name, err), err);
    sol_status st = sol_alloc_array(&args, 1, p->verb->args_size, err);
    if (st == SOL_OK) st = sol_args_parse(p, argc > 2 ? argc - 2 : 0, argv + 2, args, &help, err);
    if (st != SOL_OK || (p->verb->words && !help)) st = sol_ranks_join(p, st, err);
    if (st == SOL_OK && help)
        sol_verb_usage(p->verb, stdout);
    else if (st == SOL_OK)
        st = start_verb(p, args, err);
    if (args) sol_args_free(p, args);
    sol_free(args);
    return st;
}

/* OpenBLAS starts a thread a processor before main. Under `ulimit -v` they may not get their
 * buffers of 128 MB and then try again without end, at exit, too. We use none of them, but the only
 * way to say so is the environment of a program that starts. */
static void restart_without_blas_threads(char **argv)
{
    char self[SOL_PATH_MAX];
    struct rlimit limit;
    const char *name = "OPENBLAS_NUM_THREADS";
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || getenv(name))
        return;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || setenv(name, "1", 1) != 0) return;
    self[n] = 0;
    execv(self, argv);
}

/* Products keep 256 KiB of sums on the stack. */
static sol_status check_stack(sol_err *err)
{
    const rlim_t least = 1 << 20;
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= least) return SOL_OK;
    return sol_fail(err, SOL_ERR_NOMEM,
                    "the stack may grow to %llu KiB (ulimit -s): %llu are needed",
                    (unsigned long long)limit.rlim_cur / 1024, (unsigned long long)least / 1024);
}

/* The next file that is opened gets the lowest free number: with stderr closed, log lines would go
 * into a checkpoint. What holds the place fails as the closed one would: nothing can be read from
 * 0, nothing written to 1 and 2. */
static void reserve_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(1);
}

/* What all ranks know of is said by rank 0; what the others do not know of would keep them
 * waiting. */
static void say_failure(const sol_program *p, sol_status st, const sol_err *err)
{
    const char *verb = p->verb ? p->verb->name : "", *text = err->text;
    int rank = sol_dist_rank(p->dist);
    bool several = sol_dist_size(p->dist) > 1, agreed = several && sol_dist_agreed(p->dist);
    if (agreed && rank > 0) return;
    fprintf(stderr, "solera%s%s: ", verb[0] ? " " : "", verb);
    if (several && !agreed) fprintf(stderr, "rank %d on %s: ", rank, sol_dist_host(p->dist, rank));
    fprintf(stderr, "%s\n", text[0] ? text : sol_status_text(st));
    if (several && !agreed) sol_dist_abort(p->dist, sol_status_exit_code(st));
}

int main(int argc, char **argv)
{
    sol_err err = {0};
    sol_program p;
    struct sigaction bus = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    reserve_standard_descriptors();
    restart_without_blas_threads(argv);
    sol_program_init(&p);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, on_sigpipe);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond `ulimit -f` is an error like a full disk */
    sol_status st = check_stack(&err);
    if (st == SOL_OK) st = run_verb(&p, argc, argv, &err);
    sol_live_clear(&p);
    if ((fflush(stdout) != 0 || ferror(stdout)) && st == SOL_OK)
        st = sol_fail(&err, SOL_ERR_LIBRARY, "stdout: not all of the output could be written");
    if (st != SOL_OK) say_failure(&p, st, &err);
    sol_program_free(&p);
    return sol_status_exit_code(st);
}
