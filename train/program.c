/* What all verbs share: their table, the context, stderr (log lines and the live line), signals. */
#include "program.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SOL_VERB(name) extern const sol_verb sol_verb_##name;
#include "commands.def"
#undef SOL_VERB

static const sol_verb *const verbs[] = {
#define SOL_VERB(name) &sol_verb_##name,
#include "commands.def"
#undef SOL_VERB
};

int sol_verb_count(void)
{
    return (int)(sizeof verbs / sizeof verbs[0]);
}

const sol_verb *sol_verb_at(int i)
{
    return verbs[i];
}

const sol_verb *sol_verb_find(const char *name)
{
    for (int i = 0; i < sol_verb_count(); i++)
        if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
    return NULL;
}

/* ---- stderr ---- */

static int terminal_width(void)
{
    struct winsize w;
    const char *columns = getenv("COLUMNS");
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0) return w.ws_col;
    long n = columns ? strtol(columns, NULL, 10) : 0;
    return n > 0 && n < 10000 ? (int)n : 80;
}

/* The live line without the fields that there is no room for: the first and the last one stay. */
static void fit_live(const char *text, size_t width, char *out)
{
    const char *last = text;
    for (const char *at = text; (at = strstr(at, "  ")); at = last) last = at + 2;
    if (strlen(text) <= width) last = text;
    size_t n = 0, tail = strlen(last) + 2;
    for (const char *at = text, *end; at < last; at = end + 2) {
        end = strstr(at, "  ");
        size_t field = (size_t)(end - at) + (n ? 2 : 0);
        if (n && n + field + tail > width) continue;
        n += (size_t)sprintf(out + n, "%s%.*s", n ? "  " : "", (int)(end - at), at);
    }
    sprintf(out + n, "%s%s", n ? "  " : "", last);
    if (strlen(out) > width) out[width] = 0;
}

/* One column stays free: a full line would wrap on many terminals. Bytes count as columns: the line
 * is ASCII. */
static void draw_live(sol_program *p)
{
    char line[sizeof p->live];
    fit_live(p->live, (size_t)terminal_width() - 1, line);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    p->live_at = sol_clock();
}

bool sol_live_due(const sol_program *p)
{
    return p->terminal && !p->quiet && sol_clock() - p->live_at >= 0.1;
}

void sol_live_show(sol_program *p, bool now, const char *fmt, ...)
{
    if (!p->terminal || p->quiet || (!now && !sol_live_due(p))) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->live, sizeof p->live, fmt, ap);
    va_end(ap);
    draw_live(p);
}

void sol_live_clear(sol_program *p)
{
    if (!p->live[0]) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->live[0] = 0;
}

static void write_log_file(FILE *f, const char *prefix, const char *text)
{
    char when[32];
    time_t now = time(NULL);
    struct tm parts;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &parts));
    fprintf(f, "%s %s%s\n", when, prefix, text);
    fflush(f);
}

/* DEBUG lines go to the log file alone, unless -v asks for them. */
static void log_line(void *user, sol_log_level level, const char *text)
{
    static const char *const prefix[] = {"", "", "warning: "};
    sol_program *p = user;
    if (p->log_file) write_log_file(p->log_file, prefix[level], text);
    if ((level == SOL_LOG_DEBUG && !p->verbose) || (level == SOL_LOG_INFO && p->quiet)) return;
    bool yellow = p->color && level == SOL_LOG_WARN;
    fprintf(stderr, "%s%s%s%s%s\n", p->live[0] ? "\r\033[K" : "", yellow ? "\033[33m" : "",
            prefix[level], yellow ? "\033[0m" : "", text);
    if (p->live[0]) draw_live(p);
}

/* ---- phases ---- */

/* Nothing was drawn since the phase began: its first line does not wait, so that none of a few
 * milliseconds goes by unseen. */
static bool is_first(const sol_phase *f)
{
    return f->program->live_at < f->begun;
}

bool sol_phase_show(void *phase, int64_t done, int64_t total)
{
    const sol_phase *f = phase;
    char left[48];
    sol_live_show(f->program, is_first(f), "%s  %lld of %lld %s  %s", f->what, (long long)done,
                  (long long)total, f->unit,
                  sol_left_text(f->begun, (double)done, (double)total, left));
    return !sol_interrupted();
}

bool sol_phase_show_part(void *phase, const char *part, int64_t done, int64_t total)
{
    const sol_phase *f = phase;
    char left[48];
    if (is_first(f) || sol_live_due(f->program))
        sol_live_show(f->program, true, "%s  %d %%  %s  %s", f->what,
                      (int)(100.0 * (double)done / (double)total), part,
                      sol_left_text(f->begun, (double)done, (double)total, left));
    return !sol_interrupted();
}

const char *sol_left_text(double begun, double done, double total, char *buffer)
{
    char text[32] = "?";
    if (done > 0) sol_duration_text((sol_clock() - begun) * (total / done - 1), text);
    snprintf(buffer, 48, "%s left", text);
    return buffer;
}

/* ---- texts ---- */

const char *sol_duration_text(double seconds, char *buffer)
{
    if (!(seconds >= 0 && seconds < 1e10)) {
        snprintf(buffer, 32, "?");
        return buffer;
    }
    long s = lround(seconds);
    if (s < 60)
        snprintf(buffer, 32, "%lds", s);
    else if (s < 3600)
        snprintf(buffer, 32, "%ldm%02lds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buffer, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(buffer, 32, "%ldd%02ldh", s / 86400, s / 3600 % 24);
    return buffer;
}

static const char *scaled_text(double x, double base, const char *const *unit, int n_units,
                               char *buffer)
{
    int i = 0;
    for (; i < n_units - 1 && x >= base; i++) x /= base;
    snprintf(buffer, 32,
             i == 0    ? "%.0f%s"
             : x < 10  ? "%.2f%s"
             : x < 100 ? "%.1f%s"
                       : "%.0f%s",
             x, unit[i]);
    return buffer;
}

const char *sol_bytes_text(double bytes, char *buffer)
{
    static const char *const unit[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
    return scaled_text(bytes, 1024, unit, 6, buffer);
}

const char *sol_count_text(double count, char *buffer)
{
    static const char *const unit[] = {"", " k", " M", " G", " T", " P", " E"};
    return scaled_text(count, 1000, unit, 7, buffer);
}

/* ---- signals: the only state outside a context, because a handler has no argument ---- */

/* Lock-free: a signal may be delivered to any thread of the pool. */
static atomic_int interrupted, interrupted_by_hand;

/* A second SIGINT does not wait; one beside a SIGTERM is no second one: a sweep passes on with
 * SIGTERM what a terminal has sent its runs as well, in either order. */
static void on_interrupt(int sig)
{
    interrupted = 1;
    if (sig == SIGINT && interrupted_by_hand++ > 0) _exit(130);
}

void sol_interrupt_catch(bool writes_files)
{
    struct sigaction a = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGUSR1, &a, NULL); /* mpirun passes it on and waits; after SIGTERM it kills */
    signal(SIGHUP, SIG_IGN);
    if (writes_files) signal(SIGPIPE, SIG_IGN);
}

bool sol_interrupted(void)
{
    return interrupted != 0;
}

static bool go_on(void *user, const char *part, int64_t done, int64_t total)
{
    (void)user, (void)part, (void)done, (void)total;
    return !sol_interrupted();
}

const sol_progress sol_until_interrupted = {.show = go_on};

void sol_interrupt_forget(void)
{
    interrupted = 0;
    interrupted_by_hand = 0;
}

/* ---- the program ---- */

void sol_program_init(sol_program *p)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    memset(p, 0, sizeof *p);
    p->log = (sol_log){.line = log_line, .user = p};
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    p->color = p->terminal && !(no_color && no_color[0]);
    p->tier = p->cpu = "best";
    p->features = SOL_TIER_BEST;
}

void sol_program_free(sol_program *p)
{
    sol_ctx_free(&p->ctx);
    sol_dist_close(&p->dist);
}

sol_status sol_program_choose_kernels(sol_program *p, sol_err *err)
{
    sol_cpu cpu;
    bool tier = strcmp(p->tier, "best") != 0, features = strcmp(p->cpu, "best") != 0;
    sol_cpu_detect(&cpu);
    if (tier && features)
        return sol_fail(err, SOL_ERR_USAGE,
                        "options '--tier' and '--cpu' both choose the kernels: give one of them");
    if (tier) return sol_tier_parse(&cpu, p->tier, &p->features, err);
    return features ? sol_cpu_parse(&cpu, p->cpu, &p->features, err) : SOL_OK;
}

/* What ranks other than the first have to say, it says for them (sol_dist_agree). */
sol_status sol_program_dist(sol_program *p, sol_dist **dist, sol_err *err)
{
    sol_status st = p->dist ? SOL_OK : sol_dist_open(&p->dist, err);
    *dist = p->dist;
    if (sol_dist_rank(p->dist) == 0) return st;
    p->log = (sol_log){0};
    p->terminal = p->color = false;
    if (!freopen("/dev/null", "w", stdout) && st == SOL_OK)
        st = sol_fail_errno(err, "/dev/null", "cannot open");
    return st;
}

sol_status sol_program_ctx(sol_program *p, sol_ctx **ctx, sol_err *err)
{
    sol_status st =
        p->ctx ? SOL_OK : sol_ctx_create(&p->ctx, (int)p->threads, p->features, &p->log, err);
    *ctx = p->ctx;
    return st;
}
