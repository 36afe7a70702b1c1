/* The rounds in which ranks share the batches of an evaluation; windows.c, plain_text.c and
 * task_run.c compute their batches by it. */
#include "eval/turns.h"

#include <string.h>

#include "base/mem.h"

bool sol_turns_mine(const sol_turns *t)
{
    return t->batch == sol_dist_rank(t->dist);
}

sol_status sol_turns_begin(sol_turns *t, size_t n, double **value, sol_err *err)
{
    size_t ranks = (size_t)sol_dist_size(t->dist);
    SOL_TRY(sol_grow_array((void **)&t->range, &t->range_capacity, ranks, sizeof *t->range, err));
    SOL_TRY(sol_grow_array((void **)&t->value, &t->capacity, t->n + n, sizeof *t->value, err));
    *value = t->value + t->n;
    if (n > 0) memset(*value, 0, n * sizeof **value);
    t->range[t->batch] = (sol_dist_range){t->n * sizeof **value, n * sizeof **value};
    t->n += n;
    return SOL_OK;
}

/* Ends a round, maybe before each rank has had its batch. */
static sol_status share(sol_turns *t, sol_status st, sol_err *err)
{
    int ranks = sol_dist_size(t->dist);
    if (ranks > 1) {
        st = sol_dist_agree(t->dist, st, err);
        t->ended = st != SOL_OK;
    }
    SOL_TRY(st);
    for (int i = t->batch; i < ranks && t->range; i++) t->range[i] = (sol_dist_range){0};
    if (ranks > 1 && t->n > 0) SOL_TRY(sol_dist_share(t->dist, t->value, t->range, err));
    size_t n = t->n;
    t->batch = 0;
    t->n = 0;
    return n > 0 ? t->take(t->user, t->value, n, err) : SOL_OK;
}

sol_status sol_turns_done(sol_turns *t, sol_status st, sol_err *err)
{
    t->batch++;
    return st != SOL_OK || t->batch == sol_dist_size(t->dist) ? share(t, st, err) : SOL_OK;
}

sol_status sol_turns_end(sol_turns *t, sol_status st, sol_err *err)
{
    if (!t->ended) st = share(t, st, err);
    /* What was taken of the last round may have failed on one rank alone. */
    if (!t->ended && sol_dist_size(t->dist) > 1) st = sol_dist_agree(t->dist, st, err);
    sol_free(t->value);
    sol_free(t->range);
    return st;
}
