/* Block after block: the two streams, a system for every set of layers with the same input, which
 * solve.c solves, and the training of the block by refine.c. The program calls it for
 * `solera calibrate`. */
#include "calib/calib.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "calib/draw.h"
#include "calib/refine.h"
#include "calib/share.h"
#include "calib/sizes.h"
#include "calib/soften.h"
#include "calib/solve.h"
#include "calib/stage.h"
#include "kernels/gemm.h"
#include "quant/codec.h"

struct sol_calib {
    sol_ctx *ctx;
    sol_model *model; /* borrowed */
    sol_quant_spec spec;
    sol_calib_opts opts;
    sol_model *original, *latent,
        *effective;           /* one block each: W, the latent weights, what they quantize to */
    sol_model_config wanted;  /* of the block whose outputs are wanted */
    float *x_fp, *x_q, *x_in; /* [n T, C]: the streams; x_in: x_q as it entered the block */
    int32_t *doc_start;       /* [n T] */
    sol_stage fp[SOL_STAGES], q[SOL_STAGES]; /* over `original` and over `effective` */
    sol_refine refine;
    sol_share share;
    int64_t chunk;           /* windows of a run of a stage */
    float *inputs, *outputs; /* [chunk T, widest in], [chunk T, widest out] of a set */
    void *scratch;           /* of products */
    float *moments, *lane;   /* [in in + out in] H above B: of all windows, of a lane */
    float *w, *solved;
    double *error; /* [n T] of each token */
    sol_calib_watch_fn watch;
    void *watch_user;
    int64_t layer; /* the block at work, -1 before the first; the watch function hears of it */
    int set;       /* of its layers, at work */
    double passed[2 * SOL_LAYER_SETS + 1]; /* sol_calib_shares */
};

static int64_t all_windows(const sol_calib *c)
{
    return c->opts.windows + c->opts.held_out;
}

/* Tells the watch function, which may interrupt, on any rank. */
static sol_status tell(sol_calib *c, const char *phase, int64_t done, int64_t total, double share,
                       sol_err *err)
{
    sol_status st = SOL_OK;
    if (c->watch && !c->watch(c->watch_user, c->layer, phase, done, total, share))
        st = sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    return sol_share_agree(&c->share, st, err);
}

/* ---- products outside the tapes ---- */

static void project(const sol_calib *c, const sol_model *block, sol_role which, const void *x,
                    int64_t n, float beta, float *y, int64_t ldy)
{
    sol_stage_project(c->ctx, block, which, c->opts.compute, x, n, beta, y, ldy, c->scratch);
}

/* sum += y^T x over n rows; y [n, out], x [n, in] in f32. */
static void correlate(const sol_calib *c, const float *y, int64_t out, const float *x, int64_t in,
                      int64_t n, float *sum)
{
    bool bf16 = c->opts.compute == SOL_BF16;
    sol_operand a = {y, out, true, false}, b = {x, in, false, false};
    sol_product(c->ctx, bf16, out, in, n, 1, &a, &b, 1, sum, in, c->scratch);
}

/* ---- walking over the windows ---- */

typedef struct chunk {
    int64_t first, n;  /* windows */
    int64_t row, rows; /* tokens */
    int64_t counted;   /* rows of windows that are calibrated on: the first ones */
} chunk;

static chunk chunk_at(const sol_calib *c, int64_t i)
{
    chunk k = {.first = i * c->chunk, .n = all_windows(c) - i * c->chunk};
    if (k.n > c->chunk) k.n = c->chunk;
    k.row = k.first * c->opts.seq;
    k.rows = k.n * c->opts.seq;
    int64_t left = c->opts.windows * c->opts.seq - k.row;
    k.counted = left < 0 ? 0 : sol_min_i64(left, k.rows);
    return k;
}

static int64_t chunk_count(const sol_calib *c)
{
    return sol_ceil_div(all_windows(c), c->chunk);
}

/* Calls fn for the chunks of a lane; of all lanes of this rank. */
typedef void (*chunk_fn)(const sol_calib *c, const chunk *k, void *arg);

static void walk_lane(const sol_calib *c, int64_t lane, chunk_fn fn, void *arg)
{
    int64_t n = chunk_count(c), end = sol_share_first_chunk(n, lane + 1);
    for (int64_t i = sol_share_first_chunk(n, lane); i < end; i++) {
        chunk k = chunk_at(c, i);
        fn(c, &k, arg);
    }
}

static void walk(const sol_calib *c, chunk_fn fn, void *arg)
{
    for (int64_t lane = 0; lane < sol_share_lanes(chunk_count(c)); lane++)
        if (sol_share_mine(&c->share, lane)) walk_lane(c, lane, fn, arg);
}

/* Completes an array with `bytes` a token. */
static sol_status share_tokens(sol_calib *c, void *data, size_t bytes, sol_err *err)
{
    size_t window = (size_t)c->opts.seq * bytes;
    return sol_share_rows(&c->share, data, chunk_count(c), (size_t)c->chunk * window,
                          (size_t)all_windows(c) * window, err);
}

static const void *run_stage(const sol_calib *c, const sol_stage *stages, sol_stage_kind kind,
                             const chunk *k, const float *x)
{
    sol_stage *s = (sol_stage *)(uintptr_t)&stages[kind];
    return sol_stage_run(s, x + k->row * c->model->config.hidden_size, c->doc_start + k->row, k->n);
}

/* Both halves of a block over the windows of this rank: x moves from the block's inputs to its
 * outputs. */
typedef struct block_run {
    const sol_stage *stages;
    const sol_model *block;
    float *x;
} block_run;

static void run_chunk(const sol_calib *c, const chunk *k, void *arg)
{
    const block_run *r = arg;
    int64_t C = c->model->config.hidden_size;
    float *x = r->x + k->row * C;
    project(c, r->block, SOL_ROLE_O, run_stage(c, r->stages, SOL_STAGE_HEADS, k, r->x), k->rows, 1,
            x, C);
    project(c, r->block, SOL_ROLE_DOWN, run_stage(c, r->stages, SOL_STAGE_GATED, k, r->x), k->rows,
            1, x, C);
}

static void run_block(const sol_calib *c, const sol_stage *stages, const sol_model *block, float *x)
{
    block_run r = {stages, block, x};
    walk(c, run_chunk, &r);
}

/* |x_q - x_fp|^2 / |x_fp|^2 of each token. */
static void find_errors(const sol_calib *c, const chunk *k, void *arg)
{
    int64_t C = c->model->config.hidden_size;
    (void)arg;
    for (int64_t i = k->row; i < k->row + k->rows; i++) {
        const float *x = c->x_q + i * C, *y = c->x_fp + i * C;
        double off = 0, size = 0;
        for (int64_t j = 0; j < C; j++) {
            off += ((double)x[j] - y[j]) * ((double)x[j] - y[j]);
            size += (double)y[j] * y[j];
        }
        c->error[i] = off / (size > 0 ? size : 1);
    }
}

/* The mean over the tokens of windows [from, to). */
static double mean_error(const sol_calib *c, int64_t from, int64_t to)
{
    int64_t n = (to - from) * c->opts.seq;
    double sum = 0;
    for (int64_t i = from * c->opts.seq; i < to * c->opts.seq; i++) sum += c->error[i];
    return n == 0 ? NAN : sum / (double)n;
}

/* ---- E1: a set of layers ---- */

/* root[n]: the root of the weight of each token of a chunk. */
static void token_roots(const sol_calib *c, const chunk *k, const sol_layer_set *s, float *root)
{
    int64_t C = c->model->config.hidden_size;
    for (int64_t i = 0; i < k->counted; i++) {
        const float *x = c->x_fp + (k->row + i) * C;
        double size = 0, weight = 1;
        if (s->adds)
            for (int64_t j = 0; j < C; j++) size += (double)x[j] * x[j];
        if (s->adds && c->opts.token_weights && size > 0) weight = (double)C / size;
        bool first = c->doc_start[k->row + i] == (k->row + i) % c->opts.seq;
        if (s->adds && first) weight *= c->opts.first_token;
        root[i] = (float)sqrt(weight);
    }
}

static void scale_rows(float *x, int64_t n, int64_t width, const float *root)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) x[i * width + j] *= root[i];
}

/* What the layers of a set should put out for a chunk: [rows, out], with the full-precision stream
 * moved on where they add to it. */
static void wanted_outputs(const sol_calib *c, const sol_layer_set *s, const chunk *k,
                           const void *input, float *y, int64_t out)
{
    int64_t C = c->model->config.hidden_size, at = 0;
    if (s->adds) {
        float *x_fp = c->x_fp + k->row * C;
        const float *x_q = c->x_q + k->row * C;
        project(c, c->original, s->which[0], run_stage(c, c->fp, s->input, k, c->x_fp), k->rows, 1,
                x_fp, C);
        for (int64_t i = 0; i < k->counted * C; i++) y[i] = x_fp[i] - x_q[i];
    }
    if (k->counted == 0 || (s->adds && c->opts.asymmetric)) return;
    if (c->opts.asymmetric) input = run_stage(c, c->fp, s->input, k, c->x_fp);
    for (int i = 0; i < s->n; at += sol_layer_param(c->original, s->which[i])->rows, i++)
        project(c, c->original, s->which[i], input, k->counted, 0, y + at, out);
}

/* Inputs of a chunk in f32. */
static void copy_inputs(const sol_calib *c, const void *input, int64_t n, float *x)
{
    if (c->opts.compute == SOL_BF16)
        c->ctx->kernels.elementwise.from_bf16(input, n, x);
    else
        memcpy(x, input, (size_t)n * sizeof *x);
}

/* size[i] += |y|^2 of the outputs of part i; y [n, out]. */
static void add_sizes(const sol_calib *c, const sol_layer_set *s, const float *y, int64_t n,
                      int64_t out, double *size)
{
    int64_t at = 0;
    for (int i = 0; i < s->n; i++) {
        int64_t rows = sol_layer_param(c->original, s->which[i])->rows;
        for (int64_t t = 0; t < n; t++)
            for (int64_t j = at; j < at + rows; j++)
                size[i] += (double)y[t * out + j] * y[t * out + j];
        at += rows;
    }
}

/* A set of layers and its moments. */
typedef struct moments_run {
    const sol_layer_set *set;
    int64_t in, out;
    double size[SOL_CALIB_MAX_PARTS]; /* of a lane */
} moments_run;

/* Adds what a chunk has of H and B to c->lane. */
static void add_moments(const sol_calib *c, const chunk *k, void *arg)
{
    moments_run *r = arg;
    const sol_layer_set *s = r->set;
    int64_t in = r->in, out = r->out;
    float root[SOL_CALIB_CHUNK_TOKENS];
    const void *input = run_stage(c, c->q, s->input, k, c->x_q);
    copy_inputs(c, input, k->counted * in, c->inputs);
    wanted_outputs(c, s, k, input, c->outputs, out);
    if (k->counted == 0) return;
    for (int64_t at = 0; at < k->counted; at += SOL_CALIB_CHUNK_TOKENS) {
        chunk part = *k;
        part.row += at;
        part.counted = sol_min_i64(k->counted - at, SOL_CALIB_CHUNK_TOKENS);
        token_roots(c, &part, s, root);
        scale_rows(c->inputs + at * in, part.counted, in, root);
        scale_rows(c->outputs + at * out, part.counted, out, root);
    }
    add_sizes(c, s, c->outputs, k->counted, out, r->size);
    correlate(c, c->inputs, in, c->inputs, in, k->counted, c->lane);
    correlate(c, c->outputs, out, c->inputs, in, k->counted, c->lane + in * in);
}

/* size[n] += that of the lanes from `first` on, one a rank, in order. */
static sol_status sum_sizes(sol_calib *c, const moments_run *r, int64_t first, int64_t lanes,
                            double *size, sol_err *err)
{
    double all[SOL_DIST_MAX][SOL_CALIB_MAX_PARTS];
    int ranks = sol_dist_size(c->opts.dist);
    memcpy(all[0], r->size, sizeof all[0]);
    if (ranks > 1) SOL_TRY(sol_dist_gather(c->opts.dist, r->size, sizeof r->size, all, err));
    for (int i = 0; i < ranks && first + i < lanes; i++)
        for (int k = 0; k < r->set->n; k++) size[k] += all[i][k];
    return SOL_OK;
}

/* H and B of a set, in c->moments; size[n]: the mean of |y|^2 of each layer. */
static sol_status gather(sol_calib *c, const sol_layer_set *s, int64_t in, int64_t out,
                         double *size, sol_err *err)
{
    int64_t n = in * in + out * in, lanes = sol_share_lanes(chunk_count(c));
    double begun = c->passed[2 * c->set], done = c->passed[2 * c->set + 1];
    for (int64_t first = 0; first < lanes; first += sol_dist_size(c->opts.dist)) {
        moments_run r = {.set = s, .in = in, .out = out};
        int64_t lane = first + sol_dist_rank(c->opts.dist);
        SOL_TRY(tell(c, s->phase, c->set, SOL_LAYER_SETS,
                     begun + (done - begun) * (double)first / (double)lanes, err));
        memset(c->lane, 0, (size_t)n * sizeof *c->lane);
        if (lane < lanes) walk_lane(c, lane, add_moments, &r);
        SOL_TRY(sol_share_add(&c->share, first, lanes, c->lane, c->moments, n, err));
        SOL_TRY(sum_sizes(c, &r, first, lanes, size, err));
    }
    SOL_TRY(sol_share_sum(&c->share, c->moments, n, err));
    float tokens = (float)(c->opts.windows * c->opts.seq);
    for (int64_t i = 0; i < n; i++) c->moments[i] /= tokens;
    for (int i = 0; i < s->n; i++) size[i] /= (double)tokens;
    return SOL_OK;
}

/* effective = what layer p ships as: Q(w), or w in fp16 where an override keeps it. */
static void ship_layer(const sol_calib *c, const sol_param *p, const float *w)
{
    sol_quant_spec spec = sol_layer_quant(&c->spec, c->layer, p->role);
    float *to = sol_model_f32(c->effective, p);
    if (spec.method)
        sol_quant_effective(c->ctx, &spec, w, p->rows, p->cols, (sol_residual_mix){1, 0}, to);
    else
        for (int64_t i = 0; i < sol_param_count(p); i++)
            to[i] = sol_f16_to_f32(sol_f32_to_f16(w[i]));
}

/* The latent weights of a layer that was solved to q, or kept. */
static void place_solved(const sol_calib *c, const sol_quant_spec *spec, const sol_param *p,
                         const float *q)
{
    float *latent = sol_model_f32(c->latent, p);
    ship_layer(c, p, q);
    if (spec->method && c->opts.latent == SOL_LATENT_SOFT)
        sol_calib_soften(c->ctx, spec, sol_model_f32(c->original, p), q, p->rows, p->cols, latent);
    else
        memcpy(latent, q, (size_t)sol_param_count(p) * sizeof *q);
}

/* The quantized stream behind o and down. */
static void move_quantized(const sol_calib *c, const chunk *k, void *arg)
{
    const sol_layer_set *s = arg;
    int64_t C = c->model->config.hidden_size;
    project(c, c->effective, s->which[0], run_stage(c, c->q, s->input, k, c->x_q), k->rows, 1,
            c->x_q + k->row * C, C);
}

/* By rank 0, for all. */
static sol_status solve(sol_calib *c, const sol_layer_set *s, const sol_quant_spec *spec,
                        sol_calib_system *system, sol_err *err)
{
    const sol_param *named = sol_model_by_role(c->model, c->layer, s->which[0]);
    int64_t out = sol_layer_set_rows(c->original, s);
    sol_status st = SOL_OK;
    if (sol_dist_rank(c->opts.dist) == 0)
        st = sol_calib_solve(c->ctx, spec, named->name, &c->opts, system, err);
    SOL_TRY(sol_share_agree(&c->share, st, err));
    SOL_TRY(sol_share_send(&c->share, system->misfit, sizeof system->misfit, err));
    return sol_share_send(&c->share, c->solved, (size_t)(out * system->cols) * sizeof *c->solved,
                          err);
}

static sol_status solve_set(sol_calib *c, const sol_layer_set *s, sol_calib_report *r, sol_err *err)
{
    double size[SOL_CALIB_MAX_PARTS] = {0};
    int64_t in = sol_layer_param(c->original, s->which[0])->cols,
            out = sol_layer_set_rows(c->original, s), at = 0;
    sol_calib_system system = {.cols = in, .n_parts = s->n, .w = c->w, .q = c->solved};
    system.h = c->moments;
    system.b = c->moments + in * in;
    for (int i = 0; i < s->n; i++) {
        const sol_param *p = sol_layer_param(c->original, s->which[i]);
        system.part_rows[i] = p->rows;
        memcpy(c->w + at, sol_model_f32(c->original, p), (size_t)sol_param_count(p) * sizeof *c->w);
        at += sol_param_count(p);
    }
    SOL_TRY(gather(c, s, in, out, size, err));
    sol_quant_spec spec = sol_layer_quant(&c->spec, c->layer, s->which[0]);
    if (spec.method)
        SOL_TRY(solve(c, s, &spec, &system, err));
    else
        memcpy(c->solved, c->w, (size_t)(out * in) * sizeof *c->solved);
    const float *q = c->solved;
    for (int i = 0; i < s->n; i++) {
        const sol_param *p = sol_layer_param(c->original, s->which[i]);
        if (spec.method && size[i] > 0) r->layer[p->role] = (system.misfit[i] + size[i]) / size[i];
        place_solved(c, &spec, p, q);
        q += sol_param_count(p);
    }
    if (s->adds) walk(c, move_quantized, (void *)(uintptr_t)s);
    return SOL_OK;
}

/* Layers that overrides set apart are solved one by one. */
static sol_status solve_apart(sol_calib *c, const sol_layer_set *s, sol_calib_report *r,
                              sol_err *err)
{
    sol_quant_spec first = sol_layer_quant(&c->spec, c->layer, s->which[0]);
    bool alike = true;
    for (int i = 1; i < s->n; i++) {
        sol_quant_spec other = sol_layer_quant(&c->spec, c->layer, s->which[i]);
        alike = alike && sol_quant_same(&first, &other);
    }
    if (alike) return solve_set(c, s, r, err);
    for (int i = 0; i < s->n; i++) {
        sol_layer_set one = {s->input, 1, {s->which[i]}, s->adds, s->phase};
        SOL_TRY(solve_set(c, &one, r, err));
    }
    return SOL_OK;
}

/* ---- a block ---- */

/* The latent weights become the model's, in its type, and what it holds becomes the latent weights.
 */
static void give_block(const sol_calib *c, int64_t layer)
{
    for (int i = 0; i < c->latent->n_block; i++) {
        const sol_param *to = sol_model_block(c->model, layer) + i,
                        *from = sol_model_block(c->latent, 0) + i;
        sol_convert(sol_model_at(c->model, to), c->model->dtype, sol_model_f32(c->latent, from),
                    SOL_F32, sol_param_count(to));
    }
    sol_stage_take_block(c->model, layer, c->latent);
}

/* effective = what `source` ships as, norms as they are. */
static void quantize_block(const sol_calib *c, const sol_model *source)
{
    for (int i = 0; i < source->n_block; i++) {
        const sol_param *p = sol_model_block(source, 0) + i;
        const float *from = sol_model_f32(source, p);
        if (p->quantized)
            ship_layer(c, p, from);
        else
            memcpy(sol_model_f32(c->effective, p), from, (size_t)sol_param_count(p) * sizeof *from);
    }
}

/* The block's outputs from x_in by `effective`, in x_q, and their errors. */
static sol_status run_effective(sol_calib *c, sol_err *err)
{
    memcpy(c->x_q, c->x_in,
           (size_t)(all_windows(c) * c->opts.seq * c->model->config.hidden_size) * sizeof *c->x_q);
    run_block(c, c->q, c->effective, c->x_q);
    walk(c, find_errors, NULL);
    return share_tokens(c, c->error, sizeof *c->error, err);
}

/* The same with what `source` ships as; *error: over the windows that are calibrated on. */
static sol_status run_quantized(sol_calib *c, const sol_model *source, double *error, sol_err *err)
{
    quantize_block(c, source);
    SOL_TRY(run_effective(c, err));
    *error = mean_error(c, 0, c->opts.windows);
    return SOL_OK;
}

static sol_status refine_step(void *user, int64_t done, sol_err *err)
{
    sol_calib *c = user;
    double solved = c->passed[2 * SOL_LAYER_SETS], trained = (double)done / (double)c->opts.steps;
    return tell(c, "training", done, c->opts.steps, solved + (1 - solved) * trained, err);
}

/* Ranks train on each other's windows; what rank 0 finds counts, for processors may differ. */
static sol_status refine(sol_calib *c, sol_err *err)
{
    size_t token = (size_t)c->model->config.hidden_size * sizeof(float);
    SOL_TRY(share_tokens(c, c->x_in, token, err));
    SOL_TRY(share_tokens(c, c->x_fp, token, err));
    SOL_TRY(
        sol_refine_run(&c->refine, c->layer, c->x_in, c->x_fp, c->doc_start, refine_step, c, err));
    return sol_share_send(&c->share, c->latent->data, sol_calib_block_bytes(c->latent), err);
}

/* Keeps what the training found where it is better than what was solved; *error: that of what
 * stays. */
static sol_status train_block(sol_calib *c, double *error, sol_err *err)
{
    double trained;
    if (c->opts.steps == 0) return SOL_OK;
    /* Keeps the solved block where the original was, which is not needed any more. */
    memcpy(c->original->data, c->latent->data, sol_calib_block_bytes(c->latent));
    SOL_TRY(refine(c, err));
    SOL_TRY(run_quantized(c, c->latent, &trained, err));
    if (trained < *error) {
        *error = trained;
        return SOL_OK;
    }
    memcpy(c->latent->data, c->original->data, sol_calib_block_bytes(c->latent));
    return run_quantized(c, c->latent, error, err);
}

static sol_status begin_block(sol_calib *c, int64_t layer, sol_err *err)
{
    if (layer != c->layer + 1)
        return sol_fail(err, SOL_ERR_USAGE, "block %lld: calibration is at block %lld",
                        (long long)layer, (long long)c->layer + 1);
    c->layer = layer;
    sol_calib_shares(c->model, &c->spec, &c->opts, layer, c->passed);
    sol_stage_take_block(c->model, layer, c->original);
    memcpy(c->latent->data, c->original->data, sol_calib_block_bytes(c->latent));
    memcpy(c->effective->data, c->original->data, sol_calib_block_bytes(c->latent));
    memcpy(c->x_in, c->x_q,
           (size_t)(all_windows(c) * c->opts.seq * c->model->config.hidden_size) * sizeof *c->x_in);
    return SOL_OK;
}

static sol_status solve_block(sol_calib *c, sol_calib_report *r, sol_err *err)
{
    for (int i = 0; i < SOL_ROLES; i++) r->layer[i] = NAN;
    for (int i = 0; i < SOL_LAYER_SETS; i++) {
        c->set = i;
        SOL_TRY(solve_apart(c, &sol_layer_sets[i], r, err));
    }
    return SOL_OK;
}

sol_status sol_calib_block(sol_calib *c, int64_t layer, sol_calib_report *r, sol_err *err)
{
    SOL_TRY(begin_block(c, layer, err));
    SOL_TRY(solve_block(c, r, err));
    r->block = layer;
    SOL_TRY(run_quantized(c, c->original, &r->rounded, err));
    SOL_TRY(run_quantized(c, c->latent, &r->solved, err));
    r->trained = r->solved;
    SOL_TRY(train_block(c, &r->trained, err));
    give_block(c, layer);
    if (c->model->dtype != SOL_F32) /* what the model could hold of it */
        SOL_TRY(run_quantized(c, c->latent, &r->trained, err));
    r->held_out = mean_error(c, c->opts.windows, all_windows(c));
    if (!isfinite(r->trained))
        return sol_fail(err, SOL_ERR_NONFINITE, "model.layers.%lld: its outputs are not finite",
                        (long long)layer);
    return SOL_OK;
}

sol_status sol_calib_restore(sol_calib *c, int64_t layer, const sol_model *block, sol_err *err)
{
    double error;
    if (block->n_elements != c->latent->n_elements || block->dtype != SOL_F32)
        return sol_fail(err, SOL_ERR_SHAPE, "block %lld: is not one of this model",
                        (long long)layer);
    SOL_TRY(begin_block(c, layer, err));
    run_block(c, c->fp, c->original, c->x_fp);
    memcpy(c->latent->data, block->data, sol_calib_block_bytes(c->latent));
    give_block(c, layer);
    return run_quantized(c, c->latent, &error, err);
}

const sol_model *sol_calib_block_model(const sol_calib *c)
{
    return c->latent;
}

void sol_calib_watch(sol_calib *c, sol_calib_watch_fn fn, void *user)
{
    c->watch = fn;
    c->watch_user = user;
}

/* ---- making one ---- */

/* The quantized stream begins with the embedding as it ships. */
static sol_status fill_rounded(sol_calib *c, const int32_t *ids, int64_t n, sol_err *err)
{
    const sol_param *p = sol_model_embedding(c->model);
    const float *exact = sol_model_at(c->model, p);
    size_t all = (size_t)sol_param_count(p), row = (size_t)p->cols * sizeof(float);
    float *wide = NULL, *rounded = NULL;
    sol_status st = sol_alloc_array((void **)&rounded, all, sizeof *rounded, err);
    if (st == SOL_OK && c->model->dtype != SOL_F32) {
        st = sol_alloc_array((void **)&wide, all, sizeof *wide, err);
        if (st == SOL_OK) sol_convert(wide, SOL_F32, exact, c->model->dtype, (int64_t)all);
        exact = wide;
    }
    if (st == SOL_OK)
        st = sol_packed_round(c->ctx, &c->spec, c->spec.embed_type, p->name, exact, p->rows,
                              p->cols, rounded, err);
    if (st == SOL_OK)
        for (int64_t i = 0; i < n; i++)
            memcpy(c->x_q + i * p->cols, rounded + ids[i] * p->cols, row);
    sol_free(wide);
    sol_free(rounded);
    return st;
}

/* Fills the streams with the hidden states that enter the first block: x_fp from the embedding, x_q
 * from it as it ships. */
static sol_status fill_streams(sol_calib *c, const sol_mixture *data, sol_err *err)
{
    int64_t n = all_windows(c) * c->opts.seq;
    size_t stream = (size_t)(n * c->model->config.hidden_size);
    int32_t *ids;
    SOL_TRY(sol_alloc_array((void **)&ids, (size_t)n, 2 * sizeof *ids, err));
    sol_status st = sol_calib_draw(data, &c->opts, c->model, ids, c->doc_start, c->x_fp, err);
    if (st == SOL_OK && c->spec.embed_type != SOL_F32)
        st = fill_rounded(c, ids, n, err);
    else if (st == SOL_OK)
        memcpy(c->x_q, c->x_fp, stream * sizeof *c->x_q);
    sol_free(ids);
    return st;
}

static sol_status make_stages(sol_calib *c, sol_err *err)
{
    for (int i = 0; i < SOL_STAGES; i++) {
        sol_stage_kind kind = (sol_stage_kind)i;
        SOL_TRY(sol_stage_create(&c->fp[i], kind, c->ctx, c->original, &c->wanted, c->chunk,
                                 c->opts.seq, c->opts.compute, err));
        SOL_TRY(sol_stage_create(&c->q[i], kind, c->ctx, c->effective, &c->effective->config,
                                 c->chunk, c->opts.seq, c->opts.compute, err));
    }
    return SOL_OK;
}

static sol_status make_arrays(sol_calib *c, sol_err *err)
{
    size_t stream = (size_t)(all_windows(c) * c->opts.seq),
           C = (size_t)c->model->config.hidden_size;
    sol_layer_extent e =
        sol_layer_widest(c->latent, c->chunk * c->opts.seq, c->opts.compute == SOL_BF16);
    size_t rows = (size_t)(c->chunk * c->opts.seq), moments = (size_t)(e.in * e.in + e.weights);
    SOL_TRY(sol_alloc_array((void **)&c->x_fp, stream * C, sizeof *c->x_fp, err));
    SOL_TRY(sol_alloc_array((void **)&c->x_q, stream * C, sizeof *c->x_q, err));
    SOL_TRY(sol_alloc_array((void **)&c->x_in, stream * C, sizeof *c->x_in, err));
    SOL_TRY(sol_alloc_array((void **)&c->doc_start, stream, sizeof *c->doc_start, err));
    SOL_TRY(sol_alloc_array((void **)&c->inputs, rows * (size_t)e.in, sizeof *c->inputs, err));
    SOL_TRY(sol_alloc_array((void **)&c->outputs, rows * (size_t)e.out, sizeof *c->outputs, err));
    SOL_TRY(sol_alloc_array(&c->scratch, (size_t)e.scratch, 1, err));
    SOL_TRY(sol_share_create(&c->share, c->ctx, c->opts.dist, (int64_t)moments, err));
    SOL_TRY(sol_alloc_array((void **)&c->moments, moments, sizeof *c->moments, err));
    SOL_TRY(sol_alloc_array((void **)&c->lane, moments, sizeof *c->lane, err));
    SOL_TRY(sol_alloc_array((void **)&c->error, stream, sizeof *c->error, err));
    SOL_TRY(sol_alloc_array((void **)&c->w, (size_t)e.weights, sizeof *c->w, err));
    return sol_alloc_array((void **)&c->solved, (size_t)e.weights, sizeof *c->solved, err);
}

sol_status sol_calib_create(sol_calib **out, sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec,
                            const sol_calib_opts *o, const sol_mixture *data, sol_err *err)
{
    sol_calib *c = NULL;
    sol_model_config one = sol_calib_one_block(&m->config);
    *out = NULL;
    sol_status st = sol_calib_check_quant(spec, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&c, 1, sizeof *c, err);
    if (st != SOL_OK) return st;
    c->ctx = ctx;
    c->model = m;
    c->layer = -1;
    c->spec = *spec;
    c->opts = *o;
    c->chunk = sol_calib_chunk_windows(o);
    c->wanted = one;
    c->wanted.sub_norm = one.sub_norm && !o->added_norms;
    st = sol_model_create(&c->original, &one, SOL_F32, err);
    if (st == SOL_OK) st = sol_model_create(&c->latent, &one, SOL_F32, err);
    if (st == SOL_OK) st = sol_model_create(&c->effective, &one, SOL_F32, err);
    if (st == SOL_OK) st = make_stages(c, err);
    if (st == SOL_OK && o->steps > 0)
        st = sol_refine_create(&c->refine, ctx, c->latent, spec, &c->opts, err);
    if (st == SOL_OK) st = make_arrays(c, err);
    if (st == SOL_OK) st = fill_streams(c, data, err);
    if (st != SOL_OK) sol_calib_free(&c);
    *out = c;
    return st;
}

void sol_calib_free(sol_calib **cp)
{
    sol_calib *c = *cp;
    if (!c) return;
    sol_refine_free(&c->refine);
    for (int i = 0; i < SOL_STAGES; i++) {
        sol_stage_free(&c->fp[i]);
        sol_stage_free(&c->q[i]);
    }
    sol_model_free(&c->original);
    sol_model_free(&c->latent);
    sol_model_free(&c->effective);
    sol_free(c->x_fp);
    sol_free(c->x_q);
    sol_free(c->x_in);
    sol_free(c->doc_start);
    sol_free(c->inputs);
    sol_free(c->outputs);
    sol_free(c->scratch);
    sol_share_free(&c->share);
    sol_free(c->moments);
    sol_free(c->lane);
    sol_free(c->error);
    sol_free(c->w);
    sol_free(c->solved);
    sol_free(c);
    *cp = NULL;
}
