/* What the ranks of a program compare, of every verb: called by main before a verb begins, and by
 * the verbs that run on ranks. */
#include "ranks.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"

sol_status sol_ranks_compare(sol_dist *d, const char *what, uint64_t number, sol_err *err)
{
    uint64_t all[SOL_DIST_MAX];
    SOL_TRY(sol_dist_gather(d, &number, sizeof number, all, err));
    for (int i = 1; i < sol_dist_size(d); i++) {
        if (all[i] == all[0]) continue;
        sol_status st = sol_fail(err, SOL_ERR_CONFIG, "rank %d on %s has %s than rank 0 on %s", i,
                                 sol_dist_host(d, i), what, sol_dist_host(d, 0));
        return sol_dist_agree(d, st, err);
    }
    return SOL_OK;
}

sol_status sol_ranks_compare_text(sol_dist *d, const char *what, const char *text, sol_err *err)
{
    return sol_ranks_compare(d, what, sol_fnv1a(SOL_FNV_START, text, strlen(text)), err);
}

typedef struct share_of_machine {
    int threads, processors;
} share_of_machine;

/* The first machine whose ranks have more threads together than it has processors. */
static void warn_crowded(const sol_program *p, const share_of_machine *all)
{
    char advice[64] = "fewer ranks would each have one";
    int size = sol_dist_size(p->dist);
    for (int i = 0; i < size; i++) {
        const char *host = sol_dist_host(p->dist, i);
        int threads = all[i].threads, ranks = 1;
        for (int k = i + 1; k < size; k++) {
            if (strcmp(sol_dist_host(p->dist, k), host) != 0) continue;
            threads += all[k].threads;
            ranks++;
        }
        if (threads <= all[i].processors) continue;
        int fit = all[i].processors / ranks;
        if (fit > 0) snprintf(advice, sizeof advice, "-t %d would give each one its own", fit);
        sol_log_line(&p->log, SOL_LOG_WARN,
                     "%d ranks on %s have %d threads, which is more than its %d processors: %s",
                     ranks, host, threads, all[i].processors, advice);
        return;
    }
}

sol_status sol_ranks_compare_threads(sol_program *p, int threads, sol_err *err)
{
    share_of_machine all[SOL_DIST_MAX],
        mine = {.threads = threads, .processors = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    SOL_TRY(sol_dist_gather(p->dist, &mine, sizeof mine, all, err));
    if (sol_dist_size(p->dist) > 1) warn_crowded(p, all);
    return SOL_OK;
}

sol_status sol_ranks_send_text(sol_dist *d, char **text, size_t *n, sol_err *err)
{
    sol_status st = SOL_OK;
    SOL_TRY(sol_dist_broadcast(d, n, sizeof *n, err));
    if (sol_dist_rank(d) > 0) st = sol_alloc_array((void **)text, *n + 1, 1, err);
    SOL_TRY(sol_dist_agree(d, st, err));
    return sol_dist_broadcast(d, *text, *n, err);
}

/* The keys that differ are named. */
static sol_status compare_with(const sol_config *c, const char *yaml, sol_err *err)
{
    sol_config *first = NULL;
    char *text = NULL;
    bool fatal;
    sol_status st = sol_config_parse(&first, "the job of rank 0", yaml, strlen(yaml), err);
    if (st == SOL_OK) st = sol_config_diff(first, c, 0, &text, &fatal, err);
    if (st == SOL_OK && text[0])
        st = sol_fail(err, SOL_ERR_CONFIG, "has another job than rank 0: %s", text);
    sol_free(text);
    sol_config_free(&first);
    return st;
}

sol_status sol_ranks_compare_job(sol_dist *d, const sol_config *c, sol_err *err)
{
    char *yaml = NULL; /* of rank 0 */
    sol_status st = sol_dist_rank(d) == 0 ? sol_config_write(c, &yaml, err) : SOL_OK;
    SOL_TRY(sol_dist_agree(d, st, err));
    size_t n = yaml ? strlen(yaml) : 0;
    st = sol_ranks_send_text(d, &yaml, &n, err);
    if (st == SOL_OK) st = sol_dist_agree(d, compare_with(c, yaml, err), err);
    sol_free(yaml);
    return st;
}

sol_status sol_ranks_open_dir(sol_dist *d, sol_run_dir *dir, const char *path, bool resume,
                              sol_err *err)
{
    bool is_first = sol_dist_rank(d) == 0;
    sol_status st = is_first ? sol_run_dir_open(dir, path, resume, err) : SOL_OK;
    SOL_TRY(sol_dist_agree(d, st, err));
    sol_run_dir first = *dir;
    SOL_TRY(sol_dist_broadcast(d, &first, sizeof first, err));
    return sol_dist_agree(d, is_first ? SOL_OK : sol_run_dir_join(dir, &first, err), err);
}

sol_status sol_ranks_end(sol_dist *d, sol_status st, sol_err *err)
{
    return st != SOL_OK && sol_dist_agreed(d) ? st : sol_dist_agree(d, st, err);
}

/* Several processes that each do the whole would only be in each other's way. */
static sol_status check_verb(const sol_program *p, sol_err *err)
{
    char list[128] = "";
    if (p->verb->ranks || sol_dist_size(p->dist) == 1) return SOL_OK;
    for (int i = 0; i < sol_verb_count(); i++)
        if (sol_verb_at(i)->ranks) {
            strcat(list, list[0] ? ", " : "");
            strcat(list, sol_verb_at(i)->name);
        }
    return sol_fail(err, SOL_ERR_USAGE, "runs in one process, not on %d ranks: mpirun is for %s",
                    sol_dist_size(p->dist), list);
}

sol_status sol_ranks_join(sol_program *p, sol_status st, sol_err *err)
{
    sol_dist *d;
    char build[64];
    if (!sol_dist_launched()) return st;
    sol_err why = {0};
    sol_status opened = sol_program_dist(p, &d, &why);
    if (opened != SOL_OK) return st != SOL_OK ? st : sol_fail(err, opened, "%s", why.text);
    if (st == SOL_OK) st = check_verb(p, err);
    SOL_TRY(sol_dist_agree(d, st, err));
    snprintf(build, sizeof build, "%s %s", SOL_VERSION, sol_build_commit);
    SOL_TRY(sol_ranks_compare_text(d, "another version of solera", build, err));
    return sol_ranks_compare_text(d, "another verb", p->verb->name, err);
}
