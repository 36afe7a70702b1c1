/* Norms before o_proj and down_proj that a job adds to its model. cmd_calibrate.c and
 * trainer_open.c do so before they change any other weight. */
#include "job_norms.h"

#include <inttypes.h>
#include <math.h>

bool sol_job_adds_norms(const sol_config *c, const sol_model_config *m)
{
    return c->model.sub_norm && !m->sub_norm;
}

sol_status sol_job_add_norms(const sol_config *c, sol_model *m, sol_job_norms *n, sol_err *err)
{
    sol_err why = {0};
    *n = (sol_job_norms){.n = m->config.num_hidden_layers};
    if (!sol_job_adds_norms(c, &m->config)) return SOL_OK;
    n->added = true;
    sol_status st = sol_model_add_sub_norms(m, &why);
    return st == SOL_OK ? st : sol_job_blame(c, "model.sub_norm", st, &why, err);
}

/* As many windows as the data give without one that comes twice. */
static sol_status limit_windows(const sol_job_data *data, sol_calib_opts *o, sol_err *err)
{
    sol_batcher b;
    SOL_TRY(sol_batcher_init_mixed(&b, &data->mix, o->seq, o->seed, err));
    while (o->windows > 1 && sol_batcher_short_stream(&b, o->windows) >= 0) o->windows /= 2;
    return SOL_OK;
}

sol_status sol_job_fit_norms(sol_job_norms *n, const sol_ctx *ctx, const sol_config *c,
                             const char *key, const sol_job_data *data, sol_model *m, sol_err *err)
{
    sol_calib_opts o = sol_config_calib(c);
    sol_err why = {0};
    if (!n->added) return SOL_OK;
    o.held_out = 0;
    SOL_TRY(sol_alloc_array((void **)&n->off, (size_t)n->n, sizeof *n->off, err));
    sol_status st = limit_windows(data, &o, &why);
    if (st == SOL_OK) st = sol_calib_sub_norms(ctx, m, &o, &data->mix, n->off, &why);
    return st == SOL_OK ? st : sol_job_blame(c, key, st, &why, err);
}

/* The root of the mean square of all blocks; the largest, and its block. */
void sol_job_log_norms(const sol_job_norms *n, const sol_log *log)
{
    double o = 0, down = 0, max = -1;
    int64_t block = 0;
    if (!n->added || !n->off) return;
    for (int64_t i = 0; i < n->n; i++) {
        o += n->off[i].o * n->off[i].o;
        down += n->off[i].down * n->off[i].down;
        double here = fmax(n->off[i].o, n->off[i].down);
        if (here > max) block = i;
        max = fmax(max, here);
    }
    sol_log_line(log, SOL_LOG_INFO,
                 "norms added before o_proj and down_proj: they change what these read by %.1f and "
                 "%.1f %%, in block %" PRId64 " by %.1f %%",
                 100 * sqrt(o / (double)n->n), 100 * sqrt(down / (double)n->n), block + 1,
                 100 * max);
}

void sol_job_free_norms(sol_job_norms *n)
{
    sol_free(n->off);
    *n = (sol_job_norms){0};
}
