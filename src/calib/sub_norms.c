/* Fits the weights of norms before o_proj and down_proj: block after block, over the stream of the
 * model without them. `model.sub_norm` of a job calls it before the training or calibration. */
#include "calib/sub_norms.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "calib/draw.h"
#include "calib/sizes.h"

enum { CHANNELS = 64 }; /* that a tile sums up */

typedef struct fitter {
    const sol_ctx *ctx;
    sol_model *model, *block; /* block: a copy of the one at work, in f32 */
    sol_model_config without; /* the norms: of the blocks that run */
    sol_calib_opts opts;
    float *x; /* [n T, C] the stream */
    int32_t *doc_start;
    sol_stage stage[SOL_STAGES]; /* those that end in what o and down read */
    int64_t chunk;               /* windows of a run */
    void *scratch;               /* of products */
    float *inputs;               /* [chunk T, F] */
    double *by_r, *by_r2;        /* [chunk T] s / r, s / r^2 of each token */
    double *s;                   /* [chunk T] */
    double *sum[3];              /* [F] of s x^2 / r, s x^2 / r^2, s x^2 */
} fitter;

/* The norms, what makes their inputs, and the layer that reads them. */
typedef struct place {
    sol_role norm, reader;
    sol_stage_kind stage;
} place;
static const place places[] = {{SOL_ROLE_ATTN_SUB_NORM, SOL_ROLE_O, SOL_STAGE_HEADS},
                               {SOL_ROLE_FFN_SUB_NORM, SOL_ROLE_DOWN, SOL_STAGE_GATED}};
enum { PLACES = sizeof places / sizeof *places };

/* ---- sums over tokens ---- */

typedef struct tokens {
    const fitter *f;
    int64_t n, width;
} tokens;

/* The weights of a token: inputs [n, width], x [n, C] behind the layer. */
static void weigh(const fitter *f, const float *inputs, const float *x, int64_t n, int64_t width)
{
    int64_t C = f->model->config.hidden_size;
    double eps = f->model->config.rms_norm_eps;
    for (int64_t i = 0; i < n; i++) {
        double size = 0, square = 0;
        for (int64_t c = 0; c < C; c++) size += (double)x[i * C + c] * x[i * C + c];
        for (int64_t c = 0; c < width; c++)
            square += (double)inputs[i * width + c] * inputs[i * width + c];
        double r2 = square / (double)width + eps;
        f->s[i] = size > 0 ? (double)C / size : 1;
        f->by_r[i] = f->s[i] / sqrt(r2);
        f->by_r2[i] = f->s[i] / r2;
    }
}

static void sum_tile(void *arg, int64_t tile, int thread)
{
    const tokens *t = arg;
    const fitter *f = t->f;
    int64_t from = tile * CHANNELS, to = sol_min_i64(from + CHANNELS, t->width);
    (void)thread;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t c = from; c < to; c++) {
            double x = f->inputs[i * t->width + c];
            f->sum[0][c] += x * x * f->by_r[i];
            f->sum[1][c] += x * x * f->by_r2[i];
            f->sum[2][c] += x * x * f->s[i];
        }
}

/* The tokens of a chunk: the stream moves past the layer, and the sums grow. */
static void add_chunk(fitter *f, const place *p, int64_t first, int64_t width)
{
    int64_t C = f->model->config.hidden_size,
            windows = sol_min_i64(f->opts.windows - first, f->chunk), n = windows * f->opts.seq;
    float *x = f->x + first * f->opts.seq * C;
    const void *in =
        sol_stage_run(&f->stage[p->stage], x, f->doc_start + first * f->opts.seq, windows);
    sol_stage_project(f->ctx, f->block, p->reader, f->opts.compute, in, n, 1, x, C, f->scratch);
    sol_convert(f->inputs, SOL_F32, in, f->opts.compute, n * width);
    weigh(f, f->inputs, x, n, width);
    tokens t = {f, n, width};
    sol_pool_run(f->ctx->pool, sol_ceil_div(width, CHANNELS), sum_tile, &t);
}

/* g [width] from the sums; returns the change that is left, NaN where inputs are not finite. */
static double fit(const fitter *f, int64_t width, float *g)
{
    double total[3] = {0}, kept = 0;
    for (int k = 0; k < 3; k++)
        for (int64_t c = 0; c < width; c++) total[k] += f->sum[k][c];
    if (!isfinite(total[0] + total[1] + total[2])) return NAN;
    double all = total[1] > 0 ? total[0] / total[1] : 1;
    for (int64_t c = 0; c < width; c++) {
        double a = f->sum[0][c], b = f->sum[1][c];
        g[c] = (float)(b > 0 ? a / b : all);
        if (b > 0) kept += a * a / b; /* sum s x^2 - sum s (g x / r - x)^2 */
    }
    return total[2] > 0 ? sqrt(fmax(0, 1 - kept / total[2])) : 0;
}

/* ---- blocks ---- */

static sol_status fit_place(fitter *f, int64_t layer, const place *p, double *off, sol_err *err)
{
    const sol_param *to = sol_model_by_role(f->model, layer, p->norm),
                    *own = sol_model_by_role(f->block, 0, p->norm);
    float *g = sol_model_f32(f->block, own);
    for (int k = 0; k < 3; k++) memset(f->sum[k], 0, (size_t)to->cols * sizeof *f->sum[k]);
    for (int64_t first = 0; first < f->opts.windows; first += f->chunk)
        add_chunk(f, p, first, to->cols);
    *off = fit(f, to->cols, g);
    if (!isfinite(*off))
        return sol_fail(err, SOL_ERR_NONFINITE, "%s: its inputs are not finite", to->name);
    sol_convert(sol_model_at(f->model, to), f->model->dtype, g, SOL_F32, to->cols);
    return SOL_OK;
}

static sol_status fit_block(fitter *f, int64_t layer, sol_sub_norm_change *off, sol_err *err)
{
    sol_stage_take_block(f->model, layer, f->block);
    SOL_TRY(fit_place(f, layer, &places[0], &off->o, err));
    return fit_place(f, layer, &places[1], &off->down, err);
}

/* ---- making one ---- */

static sol_status make(fitter *f, sol_err *err)
{
    const sol_model_config *c = &f->model->config;
    sol_model_config one = sol_calib_one_block(c);
    size_t stream = (size_t)(f->opts.windows * f->opts.seq),
           rows = (size_t)(f->chunk * f->opts.seq), widest = 0;
    SOL_TRY(sol_model_create(&f->block, &one, SOL_F32, err));
    f->without = one;
    f->without.sub_norm = false;
    for (int i = 0; i < PLACES; i++) {
        size_t width = (size_t)sol_model_by_role(f->block, 0, places[i].norm)->cols;
        widest = sol_max_size(widest, width);
        SOL_TRY(sol_stage_create(&f->stage[places[i].stage], places[i].stage, f->ctx, f->block,
                                 &f->without, f->chunk, f->opts.seq, f->opts.compute, err));
    }
    sol_layer_extent e = sol_layer_widest(f->block, (int64_t)rows, f->opts.compute == SOL_BF16);
    SOL_TRY(sol_alloc_array((void **)&f->x, stream * (size_t)c->hidden_size, sizeof *f->x, err));
    SOL_TRY(sol_alloc_array((void **)&f->doc_start, stream, sizeof *f->doc_start, err));
    SOL_TRY(sol_alloc_array(&f->scratch, (size_t)e.scratch, 1, err));
    SOL_TRY(sol_alloc_array((void **)&f->inputs, rows * widest, sizeof *f->inputs, err));
    SOL_TRY(sol_alloc_array((void **)&f->by_r, rows, sizeof *f->by_r, err));
    SOL_TRY(sol_alloc_array((void **)&f->by_r2, rows, sizeof *f->by_r2, err));
    SOL_TRY(sol_alloc_array((void **)&f->s, rows, sizeof *f->s, err));
    for (int k = 0; k < 3; k++)
        SOL_TRY(sol_alloc_array((void **)&f->sum[k], widest, sizeof *f->sum[k], err));
    return SOL_OK;
}

static sol_status draw(fitter *f, const sol_mixture *data, sol_err *err)
{
    size_t n = (size_t)(f->opts.windows * f->opts.seq);
    int32_t *ids;
    SOL_TRY(sol_alloc_array((void **)&ids, n, 2 * sizeof *ids, err));
    sol_status st = sol_calib_draw(data, &f->opts, f->model, ids, f->doc_start, f->x, err);
    sol_free(ids);
    return st;
}

static void release(fitter *f)
{
    void *own[] = {f->x,     f->doc_start, f->scratch, f->inputs, f->by_r,
                   f->by_r2, f->s,         f->sum[0],  f->sum[1], f->sum[2]};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sol_free(own[i]);
    for (int i = 0; i < SOL_STAGES; i++) sol_stage_free(&f->stage[i]);
    sol_model_free(&f->block);
}

sol_status sol_calib_sub_norms(const sol_ctx *ctx, sol_model *m, const sol_calib_opts *o,
                               const sol_mixture *data, sol_sub_norm_change *off, sol_err *err)
{
    fitter f = {.ctx = ctx, .model = m, .opts = *o};
    f.opts.held_out = 0;
    f.chunk = sol_calib_chunk_windows(&f.opts);
    sol_status st = make(&f, err);
    if (st == SOL_OK) st = draw(&f, data, err);
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        if (st != SOL_OK) break;
        st = fit_block(&f, l, &off[l], err);
    }
    release(&f);
    return st;
}
