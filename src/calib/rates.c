/* How fast this machine calibrates: small problems by the functions that solve the large ones, each
 * timed as the best of some tries, since other programs only ever slow one down. `solera plan` adds
 * up what a job takes from it. */
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "calib/solve.h"
#include "kernels/factor.h"

enum { TRIES = 3, PROBE_TOKENS = 1024, PROBE_STEPS = 6 };
enum { HEAD = 64, LEAST_WIDTH = 256, MOST_NARROW = 768, MOST_WIDTH = 2048 }; /* of layers */

/* A layer with random moments: H = I + u u^T for some u, so that it is positive definite. */
typedef struct probe_layer {
    int64_t rows, cols;
    float *w, *h, *b, *q;
    double *factor, *solution; /* [cols, cols], [rows, cols]: for the factors alone */
} probe_layer;

static sol_status layer_alloc(probe_layer *l, sol_err *err)
{
    size_t weights = (size_t)(l->rows * l->cols), square = (size_t)(l->cols * l->cols);
    SOL_TRY(sol_alloc_array((void **)&l->w, weights, sizeof *l->w, err));
    SOL_TRY(sol_alloc_array((void **)&l->h, square, sizeof *l->h, err));
    SOL_TRY(sol_alloc_array((void **)&l->b, weights, sizeof *l->b, err));
    SOL_TRY(sol_alloc_array((void **)&l->q, weights, sizeof *l->q, err));
    SOL_TRY(sol_alloc_array((void **)&l->factor, square, sizeof *l->factor, err));
    return sol_alloc_array((void **)&l->solution, weights, sizeof *l->solution, err);
}

static void layer_free(probe_layer *l)
{
    sol_free(l->w);
    sol_free(l->h);
    sol_free(l->b);
    sol_free(l->q);
    sol_free(l->factor);
    sol_free(l->solution);
}

static void layer_fill(probe_layer *l)
{
    sol_rng r = sol_rng_make(1, SOL_STREAM_CALIB);
    for (int64_t i = 0; i < l->rows * l->cols; i++) l->w[i] = l->b[i] = sol_rng_normal(&r);
    for (int64_t i = 0; i < l->cols; i++)
        for (int64_t j = 0; j < l->cols; j++)
            l->h[i * l->cols + j] = (i == j) + (i % 3 == 0 && j % 3 == 0 ? 0.01f : 0);
    for (int64_t i = 0; i < l->cols * l->cols; i++) l->factor[i] = l->h[i];
    for (int64_t i = 0; i < l->rows * l->cols; i++) l->solution[i] = l->w[i];
}

/* *whole: seconds of a solve; *factors: of the factors in it. */
static sol_status time_layer(const sol_ctx *ctx, const sol_quant_spec *spec,
                             const sol_calib_opts *o, probe_layer *l, double *whole,
                             double *factors, sol_err *err)
{
    *whole = *factors = INFINITY;
    for (int i = 0; i < TRIES; i++) {
        sol_calib_system s = {.cols = l->cols,
                              .n_parts = 1,
                              .part_rows = {l->rows},
                              .w = l->w,
                              .h = l->h,
                              .b = l->b,
                              .q = l->q};
        layer_fill(l);
        double from = sol_clock();
        SOL_TRY(sol_calib_solve(ctx, spec, "probe", o, &s, err));
        double to = sol_clock();
        if (!sol_factor_upper(ctx, l->factor, l->cols))
            return sol_fail(err, SOL_ERR_NONFINITE, "probe: not positive definite");
        sol_factor_solve(ctx, l->factor, l->cols, l->solution, l->rows);
        *whole = fmin(*whole, to - from);
        *factors = fmin(*factors, sol_clock() - to);
    }
    return SOL_OK;
}

static sol_status probe_solver(const sol_ctx *ctx, const sol_quant_spec *spec,
                               const sol_calib_opts *o, int64_t rows, int64_t cols, double *seconds,
                               double *factors, sol_err *err)
{
    probe_layer l = {.rows = rows, .cols = cols};
    sol_status st = layer_alloc(&l, err);
    if (st == SOL_OK) st = time_layer(ctx, spec, o, &l, seconds, factors, err);
    layer_free(&l);
    return st;
}

/* Columns of the narrow layer, which blocks, groups and heads of 64 divide. Groups that would make
 * it wide become whole rows in *spec: what is timed must stay small. */
static int64_t narrow_width(sol_quant_spec *spec)
{
    int64_t step = HEAD * sol_quant_block(spec), width = sol_round_up(LEAST_WIDTH, step);
    if (spec->granularity != SOL_PER_GROUP) return width;
    for (int64_t whole = width; whole <= MOST_NARROW; whole += step)
        if (whole % spec->group_size == 0) return whole;
    spec->granularity = SOL_PER_CHANNEL;
    return width;
}

/* Columns of the wide one, twice as many or more: as wide as the widest input of a layer, up to
 * MOST_WIDTH. Each tile of rows reads the whole of H, which wide layers do from memory. */
static int64_t wide_width(const sol_model *m, int64_t narrow)
{
    int64_t widest = 0;
    for (int i = 0; i < m->n_params; i++)
        if (m->params[i].quantized) widest = sol_max_i64(widest, m->params[i].cols);
    return narrow * sol_max_i64(sol_min_i64(widest, MOST_WIDTH) / narrow, 2);
}

/* Rates of solver, factors and search, from a narrow layer, where the search is most of the time,
 * and a wide one; with so many rows that they, and not the copies of H, are its time. */
static sol_status solver_rates(const sol_ctx *ctx, const sol_quant_spec *spec,
                               const sol_calib_opts *o, int64_t narrow, int64_t wide,
                               sol_calib_work *rates, sol_err *err)
{
    int64_t rows = 64 * sol_max_i64(sol_pool_threads(ctx->pool), 4), cols[2] = {narrow, wide};
    double time[2], factors;
    sol_calib_work w[2];
    for (int i = 0; i < 2; i++) {
        SOL_TRY(probe_solver(ctx, spec, o, rows, cols[i], &time[i], &factors, err));
        w[i] = sol_calib_solve_work(spec, o, rows, cols[i]);
        time[i] -= fmin(factors, 0.9 * time[i]);
    }
    rates->factors = w[1].factors / factors;
    /* time[i] = w[i].solver / solver + w[i].search / search; neither is free. */
    double det = w[0].solver * w[1].search - w[1].solver * w[0].search;
    double a = (time[0] * w[1].search - time[1] * w[0].search) / det,
           b = (w[0].solver * time[1] - w[1].solver * time[0]) / det;
    a = fmin(fmax(a, 0.05 * time[1] / w[1].solver), time[1] / w[1].solver);
    b = fmin(fmax(b, 0.05 * time[0] / w[0].search), time[0] / w[0].search);
    rates->solver = 1 / a;
    rates->search = 1 / b;
    return SOL_OK;
}

/* ---- a block ---- */

/* Seconds of one block; *work: what they went to. */
static sol_status time_block(sol_ctx *ctx, const sol_quant_spec *spec, const sol_calib_opts *o,
                             const sol_model_config *shape, const sol_tokens *tokens,
                             double *seconds, sol_calib_work *work, sol_err *err)
{
    sol_model *m = NULL;
    sol_calib *c = NULL;
    sol_calib_report report;
    sol_mixture data = {.n = 1, .stream = {{tokens, 1}}};
    sol_status st = sol_model_create(&m, shape, SOL_F32, err);
    *seconds = INFINITY;
    for (int i = 0; i < TRIES; i++) {
        if (st != SOL_OK) break;
        sol_model_init_random(ctx, m, 1);
        st = sol_calib_create(&c, ctx, m, spec, o, &data, err);
        double from = sol_clock();
        if (st == SOL_OK) st = sol_calib_block(c, 0, &report, err);
        *seconds = fmin(*seconds, sol_clock() - from);
        sol_calib_free(&c);
    }
    if (st == SOL_OK) *work = sol_calib_count(m, spec, o);
    sol_model_free(&m);
    return st;
}

/* Rates of running and of training a block: what is left of its time behind the solver. */
static sol_status block_rates(sol_ctx *ctx, const sol_quant_spec *spec, const sol_calib_opts *o,
                              int64_t width, sol_calib_work *rates, sol_err *err)
{
    static const uint64_t ends[] = {0, PROBE_TOKENS};
    uint16_t ids[PROBE_TOKENS];
    sol_model_config shape;
    sol_tokens tokens = {
        .data = ids, .width = 2, .n = PROBE_TOKENS, .doc_offsets = ends, .n_docs = 1};
    sol_calib_opts some = *o;
    sol_calib_work w;
    double seconds;
    SOL_TRY(sol_model_config_named("tiny", &shape, err));
    shape.num_hidden_layers = 1;
    shape.hidden_size = width;
    shape.intermediate_size = 2 * width;
    shape.head_dim = HEAD;
    shape.num_attention_heads = shape.num_key_value_heads = width / HEAD;
    for (int i = 0; i < PROBE_TOKENS; i++) ids[i] = (uint16_t)(i * 37 % shape.vocab_size);
    some.seq = o->seq < 256 ? o->seq : 256;
    some.windows = PROBE_TOKENS / (some.seq + 1);
    some.held_out = 0;
    some.steps = 0;
    some.batch = some.windows < o->batch ? some.windows : o->batch;
    SOL_TRY(time_block(ctx, spec, &some, &shape, &tokens, &seconds, &w, err));
    double solved =
        w.solver / rates->solver + w.factors / rates->factors + w.search / rates->search;
    rates->products = w.products / fmax(seconds - solved, 0.1 * seconds);
    rates->training = rates->products;
    if (o->steps == 0) return SOL_OK;
    some.steps = PROBE_STEPS;
    SOL_TRY(time_block(ctx, spec, &some, &shape, &tokens, &seconds, &w, err));
    double rest = solved + w.products / rates->products;
    rates->training = w.training / fmax(seconds - rest, 0.1 * seconds);
    return SOL_OK;
}

sol_status sol_calib_rates(sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec,
                           const sol_calib_opts *o, sol_calib_work *rates, sol_err *err)
{
    sol_quant_spec plain = *spec;
    plain.overrides = NULL;
    plain.embed_type = SOL_F32;
    int64_t narrow = narrow_width(&plain);
    *rates = (sol_calib_work){0};
    SOL_TRY(solver_rates(ctx, &plain, o, narrow, wide_width(m, narrow), rates, err));
    return block_rates(ctx, &plain, o, narrow, rates, err);
}

double sol_calib_seconds(const sol_calib_work *work, const sol_calib_work *rates)
{
    return work->products / rates->products + work->training / rates->training +
           work->solver / rates->solver + work->factors / rates->factors +
           work->search / rates->search;
}
