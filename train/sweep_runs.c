/* Runs a sweep: starts and awaits a process for each run, so many at a time on each rank, and
 * leaves alone what is done. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "job.h"
#include "metrics.h"
#include "ranks.h"
#include "run_dir.h"
#include "sweep_table.h"

static const char *point_name(const sol_sweep_runs *r, const sol_sweep_run *run)
{
    return r->sweep->point[run->point].name;
}

static long long seed_of(const sol_sweep_runs *r, const sol_sweep_run *run)
{
    return (long long)r->sweep->seed[run->seed];
}

static int this_rank(const sol_sweep_runs *r)
{
    return sol_dist_rank(r->program->dist);
}

/* ---- looking at what is there ---- */

/* Every key of a run is set on a command line, which is not the user's: its place in errors says
 * nothing. */
static const char *without_set(const char *text)
{
    return strncmp(text, "--set: ", 7) == 0 ? text + 7 : text;
}

/* *m becomes the model of the job, described, which the caller frees. */
static sol_status describe_and_check(const sol_config *c, sol_model **m, sol_err *err)
{
    sol_model_config config;
    sol_quant_spec spec;
    SOL_TRY(sol_config_quant(c, &spec, err));
    SOL_TRY(sol_job_model_config(c, &config, err));
    SOL_TRY(sol_model_describe(m, &config, SOL_F32, err));
    return sol_job_check_quant(c, *m, &spec, err);
}

/* The points differ in the quantizer and perhaps in the model: the first seed stands for all. */
static sol_status check_model(const sol_config *c, const char *point, sol_err *err)
{
    sol_model *m = NULL;
    sol_err why = {0};
    sol_status st = describe_and_check(c, &m, &why);
    sol_model_free(&m);
    if (st == SOL_OK) return SOL_OK;
    return sol_fail(err, st, "point %s: %s", point, without_set(why.text));
}

/* A run that is done stays what it is: the table must not show its losses as those of a job with
 * other data to measure on, or another length. */
static sol_status compare_jobs(const sol_config *now, const char *file, bool done, sol_err *err)
{
    sol_config *old = NULL;
    char *text = NULL;
    bool fatal = false;
    sol_status st = sol_config_read(&old, file, err);
    if (st == SOL_OK)
        st = sol_config_diff(old, now, done ? SOL_CONFIG_ENDED : old->train.steps, &text, &fatal,
                             err);
    if (st == SOL_OK && fatal)
        st = sol_fail(err, SOL_ERR_CONFIG, "%s: holds another run, by these keys: %s%s",
                      now->run.dir, text,
                      done ? "; it is done: take another dir, or remove it" : "");
    sol_free(text);
    sol_config_free(&old);
    return st;
}

/* Also where more steps than the job has are done. */
static sol_status is_done(const sol_sweep_runs *r, const sol_config *c, bool *done, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_study_curve curve = {0};
    double last = 0;
    sol_status st = sol_path_join(path, c->run.dir, "metrics.jsonl", err);
    if (st == SOL_OK && sol_file_exists(path)) st = sol_metrics_read(path, &curve, err);
    if (st == SOL_OK && curve.n > 0) last = curve.step[curve.n - 1];
    *done = last >= (double)c->train.steps;
    sol_metrics_free(&curve);
    snprintf(path, sizeof path, "%s/ckpt/step-%06" PRId64 ".h5", c->run.dir, c->train.steps);
    if (r->sweep->keep_checkpoints && last == (double)c->train.steps && !sol_file_exists(path))
        *done = false; /* killed between its last line and its checkpoint */
    return st;
}

static sol_status look(const sol_sweep_runs *r, sol_sweep_run *run, sol_err *err)
{
    char path[SOL_PATH_MAX];
    bool done = false;
    SOL_TRY(sol_sweep_job(r->sweep, run->point, run->seed, &run->job, err));
    run->chose = (int)run->job->train.compute == SOL_COMPUTE_AUTO;
    SOL_TRY(sol_job_choose_compute(r->program, run->job, err));
    if (run->seed == 0) SOL_TRY(check_model(run->job, point_name(r, run), err));
    if (r->sweep->n_measures > 0 && run->job->study.every == 0)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "point %s: has no study.every, which the measures need",
                        point_name(r, run));
    SOL_TRY(sol_path_join(path, run->job->run.dir, "config.yaml", err));
    if (this_rank(r) == 0 && sol_file_exists(path)) {
        SOL_TRY(is_done(r, run->job, &done, err));
        SOL_TRY(compare_jobs(run->job, path, done, err));
    }
    run->phase = done ? SOL_RUN_DONE : SOL_RUN_WAITS;
    return SOL_OK;
}

static sol_status look_at_all(sol_sweep_runs *r, sol_err *err)
{
    int n = r->sweep->n_points * r->sweep->n_seeds;
    SOL_TRY(sol_alloc_array((void **)&r->run, (size_t)n, sizeof *r->run, err));
    for (r->n = 0; r->n < n;) {
        sol_sweep_run *run = &r->run[r->n];
        run->point = r->n / r->sweep->n_seeds;
        run->seed = r->n % r->sweep->n_seeds;
        r->n++;
        SOL_TRY(look(r, run, err));
    }
    return SOL_OK;
}

static sol_status add_to_digest(uint64_t *digest, const sol_config *c, sol_err *err)
{
    char *yaml = NULL;
    SOL_TRY(sol_config_write(c, &yaml, err));
    *digest = sol_fnv1a(*digest, yaml, strlen(yaml));
    sol_free(yaml);
    return SOL_OK;
}

static sol_status digest_jobs(const sol_sweep_runs *r, uint64_t *digest, sol_err *err)
{
    *digest = sol_fnv1a(SOL_FNV_START, &r->sweep->jobs, sizeof r->sweep->jobs);
    for (int i = 0; i < r->n; i++) SOL_TRY(add_to_digest(digest, r->run[i].job, err));
    return SOL_OK;
}

/* Ranks start runs by what they know: all must have the same of them. */
static sol_status compare_ranks(sol_sweep_runs *r, sol_err *err)
{
    uint64_t digest = 0;
    SOL_TRY(sol_dist_agree(r->program->dist, digest_jobs(r, &digest, err), err));
    return sol_ranks_compare(r->program->dist, "another sweep", digest, err);
}

/* Rank 0 has looked into the directories: a directory that a rank has looked for in vain over NFS
 * stays away from it for a while. */
static sol_status share_phases(sol_sweep_runs *r, sol_err *err)
{
    int *phase = r->news;
    for (int i = 0; i < r->n; i++) phase[i] = (int)r->run[i].phase;
    phase[r->n] = r->n_failed;
    SOL_TRY(sol_dist_broadcast(r->program->dist, phase, (size_t)(r->n + 1) * sizeof *phase, err));
    for (int i = 0; i < r->n; i++) r->run[i].phase = (sol_run_phase)phase[i];
    r->n_failed = phase[r->n];
    return SOL_OK;
}

static sol_status open_runs(sol_sweep_runs *r, sol_err *err)
{
    size_t ranks = (size_t)sol_dist_size(r->program->dist);
    sol_status st = look_at_all(r, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&r->news, (ranks + 1) * (size_t)(r->n + 1), sizeof *r->news,
                             err);
    SOL_TRY(sol_ranks_end(r->program->dist, st, err));
    SOL_TRY(compare_ranks(r, err));
    return share_phases(r, err);
}

sol_status sol_sweep_runs_open(sol_sweep_runs **out, sol_program *p, const sol_sweep *s,
                               sol_err *err)
{
    sol_sweep_runs *r = NULL;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&r, 1, sizeof *r, err));
    r->program = p;
    r->sweep = s;
    sol_status st = open_runs(r, err);
    if (st != SOL_OK) sol_sweep_runs_free(&r);
    *out = r;
    return st;
}

void sol_sweep_runs_free(sol_sweep_runs **rp)
{
    sol_sweep_runs *r = *rp;
    if (!r) return;
    for (int i = 0; i < r->n; i++) sol_config_free(&r->run[i].job);
    sol_free(r->run);
    sol_free(r->news);
    sol_free(r);
    *rp = NULL;
}

/* ---- processes ---- */

static void output_path(const sol_sweep_runs *r, const sol_sweep_run *run, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s/%s/seed-%lld.txt", r->sweep->dir, point_name(r, run),
             seed_of(r, run));
}

/* Several at a time on a machine share its processors, unless -t or the job say how many threads
 * each one has. */
static int64_t threads_of(const sol_sweep_runs *r, const sol_config *c)
{
    const sol_dist *d = r->program->dist;
    int64_t here = 0;
    for (int i = 0; i < sol_dist_size(d); i++)
        if (strcmp(sol_dist_host(d, i), sol_dist_host(d, this_rank(r))) == 0)
            here += r->sweep->jobs;
    if (r->program->threads > 0 || c->run.threads > 0 || here == 1) return r->program->threads;
    sol_cpu cpu;
    sol_cpu_detect(&cpu);
    return cpu.n_online > here ? cpu.n_online / here : 1;
}

/* Between fork and exec only what POSIX allows there. The process dies with its parent: its run is
 * as safe as after any kill, and a sweep that is started again finds it free. */
static void become(char *const *argv, char *const *environment, int output, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 ||
        dup2(output, 2) < 0)
        _exit(1);
    execve("/proc/self/exe", argv, environment);
    _exit(1);
}

/* This process' environment, for one that is no rank; the caller frees the array alone. */
static sol_status alone_environment(char ***environment, sol_err *err)
{
    size_t n = 0, kept = 0;
    while (environ[n]) n++;
    SOL_TRY(sol_alloc_array((void **)environment, n + 1, sizeof **environment, err));
    for (size_t i = 0; i < n; i++)
        if (!sol_dist_is_launch(environ[i])) (*environment)[kept++] = environ[i];
    return SOL_OK;
}

/* The process of a run, with what it prints in the file at `path`. */
static sol_status spawn(sol_sweep_run *run, const char *const *argv, const char *path, sol_err *err)
{
    int output = -1;
    char **environment = NULL;
    pid_t parent = getpid();
    SOL_TRY(sol_own_open(&output, path, path, O_WRONLY | O_CREAT, err));
    sol_status st = ftruncate(output, 0) == 0 ? SOL_OK : sol_fail_errno(err, path, "cannot write");
    if (st == SOL_OK) st = alone_environment(&environment, err);
    if (st == SOL_OK && (run->pid = fork()) == 0)
        become((char *const *)argv, environment, output, parent);
    if (st == SOL_OK && run->pid < 0)
        st = sol_fail(err, SOL_ERR_LIBRARY, "cannot start a process: %s", strerror(errno));
    sol_free(environment);
    close(output);
    return st;
}

/* The process reads the files of the job anew: runs of two jobs would not compare. */
static sol_status check_unchanged(const sol_sweep_runs *r, const sol_sweep_run *run, sol_err *err)
{
    sol_config *now = NULL;
    char *text = NULL;
    bool other = false;
    sol_status st = sol_sweep_job(r->sweep, run->point, run->seed, &now, err);
    if (st == SOL_OK && run->chose) now->train.compute = run->job->train.compute;
    if (st == SOL_OK) st = sol_config_diff(run->job, now, SOL_CONFIG_ENDED, &text, &other, err);
    if (st == SOL_OK && other)
        st = sol_fail(err, SOL_ERR_CONFIG,
                      "%s: has changed since the sweep began, in these keys: %s", r->sweep->base,
                      text);
    sol_free(text);
    sol_config_free(&now);
    return st;
}

static sol_status start(const sol_sweep_runs *r, sol_sweep_run *run, sol_err *err)
{
    const sol_sweep_point *p = &r->sweep->point[run->point];
    char path[SOL_PATH_MAX], threads[32], dir[SOL_PATH_MAX + 16], seed[48], compute[48];
    const char **argv;
    int n = 0;
    run->pid = -1;
    SOL_TRY(check_unchanged(r, run, err));
    SOL_TRY(sol_path_join(path, r->sweep->dir, p->name, err));
    SOL_TRY(sol_dir_create(path, err));
    SOL_TRY(sol_alloc_array((void **)&argv, 20 + 2 * (size_t)p->n_set, sizeof *argv, err));
    snprintf(threads, sizeof threads, "%" PRId64, threads_of(r, run->job));
    snprintf(dir, sizeof dir, "run.dir=%s", run->job->run.dir);
    snprintf(seed, sizeof seed, "run.seed=%lld", seed_of(r, run));
    const char *const head[] = {"solera", "train",  r->sweep->base,   "--resume", "-t",
                                threads,  "--tier", r->program->tier, "--cpu",    r->program->cpu};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++) argv[n++] = head[i];
    snprintf(compute, sizeof compute, "train.compute=%s",
             sol_config_word(run->job, "train.compute"));
    const char *const tail[] = {dir, seed, compute};
    for (int i = 0; i < p->n_set + (run->chose ? 3 : 2); i++) {
        argv[n++] = "--set";
        argv[n++] = i < p->n_set ? p->set[i] : tail[i - p->n_set];
    }
    output_path(r, run, path);
    sol_status st = spawn(run, argv, path, err);
    sol_free(argv);
    return st;
}

/* The last line that the process wrote, without "solera train: ". */
static void last_words(const sol_sweep_runs *r, const sol_sweep_run *run, char *out, size_t size)
{
    char path[SOL_PATH_MAX], *text = NULL;
    size_t n = 0;
    snprintf(out, size, "it said nothing");
    output_path(r, run, path);
    if (sol_file_read(path, &text, &n, NULL) != SOL_OK) return;
    while (n > 0 && text[n - 1] == '\n') text[--n] = 0;
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    if (strncmp(line, "solera train: ", 14) == 0) line += 14;
    if (*line) snprintf(out, size, "%s", without_set(line));
    sol_free(text);
}

static void remove_checkpoints(const sol_config *c)
{
    char path[SOL_PATH_MAX], file[SOL_PATH_MAX];
    uint64_t step;
    DIR *dir = sol_path_join(path, c->run.dir, "ckpt", NULL) == SOL_OK ? opendir(path) : NULL;
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!sol_run_dir_step_of(e->d_name, &step) && strcmp(e->d_name, "best.h5") != 0) continue;
        if (sol_path_join(file, path, e->d_name, NULL) == SOL_OK) unlink(file);
    }
    closedir(dir);
}

static int count(const sol_sweep_runs *r, sol_run_phase phase)
{
    int n = 0;
    for (int i = 0; i < r->n; i++) n += r->run[i].phase == phase;
    return n;
}

static void finish_failed(sol_sweep_runs *r, sol_sweep_run *run, int status)
{
    char words[320];
    last_words(r, run, words, sizeof words);
    if (WIFSIGNALED(status)) snprintf(words, sizeof words, "killed by signal %d", WTERMSIG(status));
    run->phase = SOL_RUN_FAILED;
    if (r->n_failed++ == 0)
        snprintf(r->failed, sizeof r->failed, "%.120s seed %lld: %s", point_name(r, run),
                 seed_of(r, run), words);
    sol_log_line(&r->program->log, SOL_LOG_WARN, "%s seed %lld failed: %s", point_name(r, run),
                 seed_of(r, run), words);
}

/* What became of a run, in a turn; else how its process ended, as waitpid has it. */
enum { STILL_GOES = -1, WAS_DONE = -2, NOT_STARTED = -3 };

/* Looked at on the rank of the run, which sees at once what was written there. */
static sol_status look_after(const sol_sweep_runs *r, sol_sweep_run *run, int *news, sol_err *err)
{
    int status = 0;
    bool done = false;
    *news = run->pid < 0 ? NOT_STARTED : STILL_GOES;
    if (run->pid < 0 || waitpid(run->pid, &status, WNOHANG) != run->pid) return SOL_OK;
    *news = status;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return SOL_OK;
    SOL_TRY(is_done(r, run->job, &done, err));
    if (done) *news = WAS_DONE;
    return SOL_OK;
}

/* What ended on this rank since the last look. */
static sol_status reap(sol_sweep_runs *r, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int i = 0; i < r->n; i++) {
        bool mine = r->run[i].phase == SOL_RUN_GOES && r->run[i].rank == this_rank(r);
        r->news[i] = STILL_GOES;
        if (!mine) continue;
        sol_status one = look_after(r, &r->run[i], &r->news[i], st == SOL_OK ? err : NULL);
        if (st == SOL_OK) st = one;
    }
    r->news[r->n] = sol_interrupted();
    return st;
}

/* By rank 0. */
static void finish(sol_sweep_runs *r, sol_sweep_run *run, int news)
{
    char took[32];
    if (news == NOT_STARTED || (news != WAS_DONE && r->stopping)) {
        run->phase = SOL_RUN_WAITS;
        return;
    }
    if (news != WAS_DONE) {
        finish_failed(r, run, news);
        return;
    }
    run->phase = SOL_RUN_DONE;
    if (!r->sweep->keep_checkpoints) remove_checkpoints(run->job);
    sol_log_line(&r->program->log, SOL_LOG_INFO, "%d of %d: %s seed %lld, %s",
                 count(r, SOL_RUN_DONE), r->n, point_name(r, run), seed_of(r, run),
                 sol_duration_text(sol_clock() - run->started, took));
}

/* What ended on any rank becomes known to all. Fails on all alike. */
static sol_status share_news(sol_sweep_runs *r, sol_err *err)
{
    const sol_dist *d = r->program->dist;
    int each = r->n + 1, *all = r->news + each;
    SOL_TRY(sol_dist_gather(r->program->dist, r->news, (size_t)each * sizeof *all, all, err));
    for (int i = 0; i < sol_dist_size(d); i++) r->stopping = r->stopping || all[i * each + r->n];
    for (int i = 0; i < r->n && this_rank(r) == 0; i++) {
        sol_sweep_run *run = &r->run[i];
        int news = all[run->rank * each + i];
        if (run->phase == SOL_RUN_GOES && news != STILL_GOES) finish(r, run, news);
    }
    return share_phases(r, err);
}

static void tell_all(const sol_sweep_runs *r, int sig)
{
    for (int i = 0; i < r->n; i++)
        if (r->run[i].phase == SOL_RUN_GOES && r->run[i].pid > 0) kill(r->run[i].pid, sig);
}

/* One sweep at a time goes on in a directory. The lock is on the directory itself, so that it
 * leaves nothing there; where a file system has no locks, nothing is locked. */
static sol_status lock_dir(const char *path, int *fd, sol_err *err)
{
    *fd = -1;
    SOL_TRY(sol_dir_create(path, err));
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return sol_fail_errno(err, path, "cannot open");
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return SOL_OK;
    return sol_fail(err, SOL_ERR_LOCKED, "%s: in use by another sweep", path);
}

/* The rank with the fewest runs at work; -1: each has as many as it may have. */
static int free_rank(const sol_sweep_runs *r)
{
    int best = -1;
    int64_t fewest = r->sweep->jobs;
    for (int rank = 0; rank < sol_dist_size(r->program->dist); rank++) {
        int64_t going = 0;
        for (int i = 0; i < r->n; i++)
            going += r->run[i].phase == SOL_RUN_GOES && r->run[i].rank == rank;
        if (going >= fewest) continue;
        best = rank;
        fewest = going;
    }
    return best;
}

/* Gives runs from *next on to ranks, as many as may go at a time: all ranks do so alike, and each
 * starts its own. */
static sol_status start_more(sol_sweep_runs *r, int *next, sol_err *err)
{
    sol_status st = SOL_OK;
    while (*next < r->n) {
        int rank = free_rank(r);
        if (rank < 0) break;
        sol_sweep_run *run = &r->run[(*next)++];
        if (run->phase != SOL_RUN_WAITS) continue;
        run->phase = SOL_RUN_GOES;
        run->rank = rank;
        run->started = sol_clock();
        if (rank == this_rank(r) && st == SOL_OK) st = start(r, run, err);
    }
    return st;
}

static void stop_all(sol_sweep_runs *r)
{
    int going = count(r, SOL_RUN_GOES);
    tell_all(r, SIGTERM);
    if (going > 0)
        sol_log_line(&r->program->log, SOL_LOG_INFO, "stopping: %d runs save what they have",
                     going);
}

/* The page as things stand. That it cannot be written stops no run. */
static void show_page(const sol_sweep_runs *r, const char *left)
{
    sol_sweep_table t;
    if (this_rank(r) != 0) return;
    if (sol_sweep_table_make(&t, r, NULL) == SOL_OK) (void)sol_sweep_page_write(&t, left, NULL);
    sol_sweep_table_free(&t);
}

/* One look at all runs, and the next ones: the same on all ranks. *st, the status so far, becomes
 * that of what failed first on any of them. Fails where ranks do not hear of each other. */
static sol_status turn(sol_sweep_runs *r, int *next, sol_status *st, sol_err *err)
{
    sol_dist *d = r->program->dist;
    sol_err *why = *st == SOL_OK ? err : NULL;
    sol_status now = reap(r, why);
    SOL_TRY(share_news(r, err));
    if (*st != SOL_OK) return SOL_OK;
    if (now == SOL_OK && !r->stopping) now = start_more(r, next, why);
    *st = sol_dist_agree(d, now, err);
    return *st == SOL_OK || sol_dist_agreed(d) ? SOL_OK : *st;
}

/* After a failure or a signal no run is started, and those that go are waited for. */
static sol_status go(sol_sweep_runs *r, sol_err *err)
{
    sol_status st = SOL_OK;
    bool stopped = false;
    int next = 0, done_before = count(r, SOL_RUN_DONE), shown = -1;
    double begun = sol_clock();
    char left[48];
    sol_log_line(&r->program->log, SOL_LOG_INFO, "%s: %d runs, %d of them done", r->sweep->dir,
                 r->n, done_before);
    for (;;) {
        SOL_TRY(turn(r, &next, &st, err));
        if ((st != SOL_OK || r->stopping) && !stopped) {
            stop_all(r);
            stopped = true;
        }
        int going = count(r, SOL_RUN_GOES), done = count(r, SOL_RUN_DONE);
        if (going == 0 && (next == r->n || stopped)) break;
        sol_left_text(begun, done - done_before, r->n - done_before, left);
        sol_live_show(r->program, false, "%d of %d runs done  %d at work  %s", done, r->n, going,
                      left);
        if (!stopped && done + r->n_failed != shown) {
            show_page(r, left);
            shown = done + r->n_failed;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    sol_live_clear(r->program);
    if (st == SOL_OK && r->stopping)
        st = sol_fail(err, SOL_ERR_INTERRUPTED,
                      "interrupted with %d of %d runs done; the same command goes on",
                      count(r, SOL_RUN_DONE), r->n);
    if (st != SOL_OK && shown >= 0) show_page(r, ""); /* it goes on no more */
    return st;
}

/* Rank 0 has made the directory and locked it. */
static sol_status check_shared(const sol_sweep_runs *r, sol_err *err)
{
    struct stat s = {0};
    char what[SOL_PATH_MAX + 64];
    snprintf(what, sizeof what, "another directory %s, which all ranks must share,", r->sweep->dir);
    (void)stat(r->sweep->dir, &s);
    return sol_ranks_compare(r->program->dist, what, (uint64_t)s.st_ino, err);
}

sol_status sol_sweep_runs_go(sol_sweep_runs *r, sol_err *err)
{
    sol_dist *d = r->program->dist;
    int fd = -1;
    sol_status st = this_rank(r) == 0 ? lock_dir(r->sweep->dir, &fd, err) : SOL_OK;
    st = sol_dist_agree(d, st, err);
    if (st == SOL_OK) st = check_shared(r, err);
    if (st == SOL_OK) st = go(r, err);
    if (fd >= 0) close(fd);
    return st;
}
