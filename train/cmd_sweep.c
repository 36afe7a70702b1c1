/* solera sweep: options and checks of a sweep, which sweep_runs.c runs and sweep_table.c sums
 * up. */
#include <string.h>

#include "output.h"
#include "ranks.h"
#include "sweep_runs.h"

struct args {
    const char *base, *dir;
    int64_t jobs;
    sol_words set;
    bool table, force;
};

static const sol_opt options[] = {
    {.name = "--base",
     .value = "JOB.yaml",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, base),
     .help = "the job, in the place of the file's base"},
    {.name = "--dir",
     .value = "DIR",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, dir),
     .help = "where the runs and tables go, in the place of the file's dir"},
    {.name = "--jobs",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, jobs),
     .min = 1,
     .max = 1024,
     .without = "--table",
     .help = "processes at a time (on each rank); default: jobs of the file, 1"},
    {.name = "--set",
     .value = "SECTION.KEY=VALUE",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, set),
     .help = "change a key of every point's job; what the point itself sets goes before it"},
    {.name = "--table",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, table),
     .help = "start nothing: the table of the runs that are done"},
    {.name = "--force",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, force),
     .help = "replace the tables and the page in DIR even where solera did not write them"},
    {0},
};

/* A measure of study.h5 by its name. */
static sol_status check_measures(const sol_sweep *s, const char *path, sol_err *err)
{
    const char *names[SOL_MEASURE_COUNT];
    char hint[SOL_HINT];
    for (int i = 0; i < SOL_MEASURE_COUNT; i++) names[i] = sol_measure_at(i)->name;
    for (int i = 0; i < s->n_measures; i++) {
        bool known = false;
        for (int k = 0; k < SOL_MEASURE_COUNT; k++)
            known = known || strcmp(names[k], s->measure[i]) == 0;
        if (!known)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: measures: there is no '%.60s'%s", path,
                            s->measure[i],
                            sol_name_hint(hint, s->measure[i], names, SOL_MEASURE_COUNT, NULL));
    }
    return SOL_OK;
}

static sol_status read_sweep(sol_program *p, const struct args *args, sol_sweep **s, sol_err *err)
{
    sol_sweep_opts o = {.base = args->base,
                        .dir = args->dir,
                        .jobs = args->jobs,
                        .set = args->set.word,
                        .n_set = args->set.n};
    SOL_TRY(sol_sweep_read(s, p->word[0], &o, err));
    SOL_TRY(check_measures(*s, p->word[0], err));
    if (sol_dist_rank(p->dist) > 0) return SOL_OK;
    return sol_output_check((*s)->dir, SOL_OUTPUT_TABLES, args->force, err);
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_dist *dist;
    sol_sweep *s = NULL;
    sol_sweep_runs *r = NULL;
    SOL_TRY(sol_program_dist(p, &dist, err));
    sol_status st = sol_dist_agree(dist, read_sweep(p, args, &s, err), err);
    if (st == SOL_OK) st = sol_sweep_runs_open(&r, p, s, err);
    if (st == SOL_OK && !args->table) {
        sol_interrupt_catch(true);
        st = sol_sweep_runs_go(r, err);
    }
    if (st == SOL_OK && sol_dist_rank(dist) == 0) st = sol_sweep_report(r, err);
    if (st == SOL_OK && r->n_failed > 0)
        st = sol_fail(err, SOL_ERR_LIBRARY, "%s: %d of %d runs failed, first %s", s->dir,
                      r->n_failed, r->n, r->failed);
    st = sol_ranks_end(dist, st, err);
    sol_sweep_runs_free(&r);
    sol_sweep_free(&s);
    return st;
}

const sol_verb sol_verb_sweep = {
    .name = "sweep",
    .words = "SWEEP.yaml",
    .min_words = 1,
    .max_words = 1,
    .ranks = true,
    .summary = "run a job for every point of a list or grid with several seeds, and compare",
    .details =
        "SWEEP.yaml:\n"
        "  base: qat.yaml                     the job, relative to this file\n"
        "  dir: runs/methods                  runs go to DIR/POINT/seed-N\n"
        "  seeds: [1, 2, 3]\n"
        "  jobs: 1                            processes at a time\n"
        "  keep_checkpoints: true             false: those of finished runs are removed\n"
        "  set: {train.steps: 600}            for every point\n"
        "  points: {naive: {residual.schedule: none}, arenas: {}}\n"
        "  grid: {quant.group_size: [32, 128], optim.lr: [0.001, 0.002]}\n"
        "  against: naive                     a point; the others' loss minus its, seed by seed\n"
        "  measures: [near_alpha, er_dw]      of study.h5, where study.every is set\n"
        "A point's name becomes that of a directory: without slashes, bars and control characters, "
        "and different from the others\n"
        "in more than capital letters. Points and grid multiply; both may be left out. The table, "
        "mean and sample deviation over\n"
        "the seeds, of differences the mean and its 95 % interval, goes to stdout, DIR/table.md "
        "and "
        "DIR/table.csv; DIR/index.html\n"
        "shows it while the sweep goes on, with the time left, and when it has ended. After a "
        "kill\n"
        "the same command goes on: every run resumes, and what is done is not repeated.\n"
        "`mpirun -n N solera sweep ...` spreads the runs over N ranks, each of which trains its "
        "own "
        "as if alone: the same\n"
        "table. DIR lies on a file system that all of them share.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
