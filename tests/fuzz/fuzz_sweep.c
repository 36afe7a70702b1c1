/* A sweep from a stranger, on a job of ours: an error of one line, or points whose directories are
 * apart from each other and inside that of the sweep, each with a finished job. */
#include <string.h>
#include <strings.h>

#include "fuzz.h"

static void check_error(const sol_err *err)
{
    fuzz_check(err->text[0]);
    for (const char *c = err->text; *c; c++) fuzz_check((unsigned char)*c >= ' ');
}

static void check_name(const sol_sweep *s, int i)
{
    const char *name = s->point[i].name;
    fuzz_check(name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    if (i > 0) fuzz_check(strcasecmp(name, s->point[i - 1].name) != 0);
}

static void check_job(const sol_sweep *s, int i)
{
    sol_config *c;
    sol_err err = {0};
    size_t dir = strlen(s->dir), name = strlen(s->point[i].name);
    if (sol_sweep_job(s, i, s->n_seeds - 1, &c, &err) != SOL_OK) {
        check_error(&err);
        return;
    }
    fuzz_check(strncmp(c->run.dir, s->dir, dir) == 0 &&
               strncmp(c->run.dir + dir + 1, s->point[i].name, name) == 0);
    fuzz_check(c->run.seed == s->seed[s->n_seeds - 1]);
    sol_config_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char job[256];
    static const char text[] = "run: {dir: r}\nmodel: {init: m.h5}\ndata: {train: d.h5}\n";
    sol_sweep *s;
    sol_err err = {0};
    if (!job[0]) {
        snprintf(job, sizeof job, "%s/job.yaml", fuzz_dir());
        fuzz_write(job, text, sizeof text - 1);
    }
    sol_sweep_opts o = {.base = job};
    if (sol_sweep_read(&s, fuzz_file(data, size), &o, &err) != SOL_OK) {
        check_error(&err);
        return 0;
    }
    for (int i = 0; i < s->n_points; i++) check_name(s, i);
    check_job(s, 0);
    check_job(s, s->n_points - 1);
    sol_sweep_free(&s);
    return 0;
}
