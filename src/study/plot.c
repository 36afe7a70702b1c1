/* Writes gnuplot scripts, runs gnuplot and checks what it drew. figures.c says what is drawn,
 * report.c puts the pictures on the page. */
#include "study/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

#define LOG "gnuplot.log"

void sol_plot_begin(sol_plot *p, const char *name, int width, int height)
{
    *p = (sol_plot){.width = width, .height = height};
    snprintf(p->name, sizeof p->name, "%s", name);
}

void sol_plot_free(sol_plot *p)
{
    sol_free(p->data.data);
    sol_free(p->draw.data);
    *p = (sol_plot){0};
}

void sol_plot_quote(sol_text *t, const char *s)
{
    sol_text_add(t, NULL, "\"");
    for (; *s; s++)
        if (strchr("'\"\\`", *s)) /* inside of do for {}, gnuplot does not know '' for ' */
            sol_text_add(t, NULL, "\\%03o", (unsigned)*s);
        else if ((unsigned char)*s >= ' ')
            sol_text_add(t, NULL, "%c", *s);
    sol_text_add(t, NULL, "\"");
}

void sol_plot_title(sol_text *t, const char *s, int width)
{
    size_t max = (size_t)width / 7, n = strlen(s), cut = n > max ? n - max + 1 : 0;
    while (cut > 0 && ((unsigned char)s[cut] & 0xc0) == 0x80) cut++; /* not within a character */
    char text[256];
    snprintf(text, sizeof text, "%s%.240s", cut ? "\xe2\x80\xa6" : "", s + cut);
    sol_text_add(t, NULL, "set title ");
    sol_plot_quote(t, text);
    sol_text_add(t, NULL, "\n");
}

/* The same drawing in both formats. The SVG's ids get the figure's name, because several figures
 * share one page. */
static const char frame[] = "# gnuplot %s.gp makes %s.svg and %s.png\n"
                            "reset\n"
                            "%s"
                            "do for [kind in \"svg png\"] {\n"
                            "if (kind eq \"svg\") {\n"
                            "    set terminal svg size %d,%d noenhanced font 'Helvetica,12' "
                            "background '#ffffff' name '%s'\n"
                            "} else {\n"
                            "    set terminal pngcairo size %d,%d noenhanced font 'Helvetica,12' "
                            "fontscale 1.5 linewidth 2 pointscale 2\n"
                            "}\n"
                            "set output '%s.'.kind\n"
                            "%s"
                            "unset output\n"
                            "}\n";

sol_status sol_plot_write(const sol_plot *p, const char *dir, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_text all = {0};
    sol_status st = p->data.status != SOL_OK ? p->data.status : p->draw.status;
    if (st != SOL_OK) return sol_fail(err, st, "figure %s: out of memory", p->name);
    snprintf(path, sizeof path, "%s/%s.gp", dir, p->name);
    st = sol_text_add(&all, err, frame, p->name, p->name, p->name, p->data.data ? p->data.data : "",
                      p->width, p->height, p->name, 2 * p->width, 2 * p->height, p->name,
                      p->draw.data ? p->draw.data : "");
    if (st == SOL_OK) st = sol_file_write(path, all.data, all.n, err);
    sol_free(all.data);
    return st;
}

/* In the child, after fork: only calls that are safe there. 127 when gnuplot is not there, as the
 * shell has it. */
static void exec_gnuplot(const char *dir, int log, char **argv)
{
    if (chdir(dir) != 0) _exit(126);
    int null = open("/dev/null", O_RDWR);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    execvp("gnuplot", argv);
    _exit(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
}

/* log: where its stderr goes, -1: nowhere. *status: as waitpid has it. */
static sol_status spawn(const char *dir, int log, char **argv, int *status, sol_err *err)
{
    pid_t child = fork();
    if (child == 0) exec_gnuplot(dir, log, argv);
    if (child < 0) return sol_fail_errno(err, "gnuplot", "cannot start");
    while (waitpid(child, status, 0) < 0)
        if (errno != EINTR) return sol_fail_errno(err, "gnuplot", "cannot wait for it");
    if (WIFEXITED(*status) && WEXITSTATUS(*status) == 127)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "gnuplot is not installed; the figures need it: package gnuplot-nox on Debian and "
            "Ubuntu, gnuplot elsewhere");
    return SOL_OK;
}

sol_status sol_plot_available(sol_err *err)
{
    char *argv[] = {(char[]){"gnuplot"}, (char[]){"--version"}, NULL};
    int status;
    return spawn(".", -1, argv, &status, err);
}

/* gnuplot writes through links. */
static sol_status check_pictures(const char *dir, const char *const *names, int n, sol_err *err)
{
    char path[SOL_PATH_MAX];
    int fd;
    for (int i = 0; i < 2 * n; i++) {
        snprintf(path, sizeof path, "%s/%s.%s", dir, names[i / 2], i % 2 ? "png" : "svg");
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0) continue;
        SOL_TRY(sol_own_open(&fd, path, path, O_WRONLY, err));
        close(fd);
    }
    return SOL_OK;
}

/* What it said becomes the log; its last line, the error: warnings stand before it. */
static sol_status gnuplot_failed(const char *dir, FILE *said, sol_err *err)
{
    char path[SOL_PATH_MAX], text[4096];
    snprintf(path, sizeof path, "%s/" LOG, dir);
    rewind(said);
    size_t size = fread(text, 1, sizeof text - 1, said);
    SOL_TRY(sol_file_write(path, text, size, err));
    while (size > 0 && strchr(" \n", text[size - 1])) size--;
    text[size] = 0;
    const char *line = strrchr(text, '\n');
    return sol_fail(err, SOL_ERR_LIBRARY, "%s: gnuplot failed: %s", path, line ? line + 1 : text);
}

/* Runs gnuplot on NAME.gp of each name; argv [n + 2], all NULL, is freed by the caller. */
static sol_status run_gnuplot(const char *dir, const char *const *names, int n, char **argv,
                              FILE *said, sol_err *err)
{
    char program[] = "gnuplot";
    int status = 0;
    argv[0] = program;
    for (int i = 0; i < n; i++) {
        size_t size = strlen(names[i]) + sizeof ".gp";
        SOL_TRY(sol_alloc_array((void **)&argv[i + 1], size, 1, err));
        snprintf(argv[i + 1], size, "%s.gp", names[i]);
    }
    SOL_TRY(spawn(dir, fileno(said), argv, &status, err));
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return done ? SOL_OK : gnuplot_failed(dir, said, err);
}

sol_status sol_plot_run(const char *dir, const char *const *names, int n, sol_err *err)
{
    char **argv = NULL;
    FILE *said = tmpfile(); /* what gnuplot says: shown where it fails */
    if (!said) return sol_fail_errno(err, "gnuplot", "cannot make a temporary file");
    sol_status st = check_pictures(dir, names, n, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&argv, (size_t)n + 2, sizeof *argv, err);
    if (st == SOL_OK) {
        st = run_gnuplot(dir, names, n, argv, said, err);
        for (int i = 0; i < n; i++) sol_free(argv[i + 1]);
    }
    sol_free(argv);
    fclose(said);
    return st;
}
