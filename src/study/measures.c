/* The measures of one layer from its weights, states and scales, summed over tiles of rows.
 * recorder.c and run.c call it. */
#include "study/measures.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"

static const sol_measure_row measure_table[SOL_MEASURE_COUNT] = {
#define SOL_MEASURE(name, unit, formula, title, good) {#name, unit, formula, title, good},
#include "study/measures.def"
#undef SOL_MEASURE
};

const sol_measure_row *sol_measure_at(int i)
{
    return &measure_table[i];
}

/* At most this many tiles a layer, each a run of whole rows: fixed by the shape, so that sums have
 * one order. */
enum { MAX_TILES = 64 };

typedef struct tile_sums {
    double x[4];               /* sums of x, x^2, x^3, x^4 */
    double w2, error2, margin; /* sums */
    int64_t valley, near_alpha, pow2, n_margins;
    int64_t zero_flips, sign_flips, state_flips;
    int64_t lane_zeros[4];
    sol_histograms h;
} tile_sums;

typedef struct weights_args {
    const sol_layer_view *v;
    int64_t tile_rows, per_scale, row_blocks;
    uint8_t *state;
    bool has_previous;
    tile_sums *sums;
} weights_args;

static int64_t blocks_a_row(int64_t cols)
{
    return sol_ceil_div(cols, 4);
}

size_t sol_state_bytes(int64_t rows, int64_t cols)
{
    return (size_t)(rows * blocks_a_row(cols));
}

static inline int clamp_bin(double position, int bins)
{
    if (!(position >= 0)) return 0; /* NaN, too */
    return position >= bins ? bins - 1 : (int)position;
}

static inline int log2_bin(float w)
{
    int eighth =
        (int)(sol_f32_bits(w) >> 20 & 0x7ff); /* exponent and the top 3 bits of the mantissa */
    int bin = eighth - 8 * (SOL_HIST_LOG2_MIN + 127);
    return bin < 0 ? 0 : bin >= SOL_HIST_LOG2_BINS ? SOL_HIST_LOG2_BINS - 1 : bin;
}

static inline bool near_pow2(float w)
{
    uint32_t mantissa = sol_f32_bits(w) >> 16 & 0x7f;
    return w != 0 && (mantissa == 0 || mantissa == 127);
}

static inline void add_weight(tile_sums *s, const sol_layer_view *v, float w, int t, double alpha,
                              double shift)
{
    double x = alpha > 0 ? (double)w / alpha : 0, ax = fabs(x), x2 = x * x,
           e = (double)w - (t * alpha + shift);
    s->x[0] += x;
    s->x[1] += x2;
    s->x[2] += x2 * x;
    s->x[3] += x2 * x2;
    s->w2 += (double)w * w;
    s->error2 += e * e;
    s->valley += ax < 0.25;
    s->near_alpha += fabs(ax - 1) < 0.1;
    s->pow2 += near_pow2(w);
    int bin = clamp_bin(ax * (SOL_HIST_X_BINS / SOL_HIST_X_MAX), SOL_HIST_X_BINS);
    if (t == 0)
        s->h.zeroed[bin]++;
    else
        s->h.kept[bin]++;
    s->h.w[clamp_bin(((double)w / v->w_range + 1) * (SOL_HIST_W_BINS / 2.0), SOL_HIST_W_BINS)]++;
    s->h.log2[log2_bin(w)]++;
}

static inline void count_flips(tile_sums *s, unsigned before, unsigned now)
{
    /* Bit 2p is set where lane p is zero: t + 1 = 01. */
    unsigned zero_before = before & ~(before >> 1) & 0x55, zero_now = now & ~(now >> 1) & 0x55;
    unsigned differ = before ^ now;
    s->zero_flips += zero_before != zero_now;
    s->state_flips += __builtin_popcount((differ | differ >> 1) & 0x55);
    s->sign_flips += __builtin_popcount(differ >> 1 & 0x55 & ~zero_before & ~zero_now);
}

static void measure_block(tile_sums *s, const weights_args *a, int64_t row, int64_t b)
{
    const sol_layer_view *v = a->v;
    unsigned now = 0;
    double largest_zero = -1, smallest_kept = INFINITY, margin_alpha = 0;
    for (int p = 0; p < 4; p++) {
        int64_t col = sol_block_column(v->layout, b, p), i = row * v->cols + col;
        if (col >= v->cols) { /* padding of the last block: its state never changes */
            now |= 1u << 2 * p;
            continue;
        }
        float w = v->w[i];
        int t = (v->ternary[i] > 0) - (v->ternary[i] < 0);
        double alpha = v->scales[i / a->per_scale], aw = fabs((double)w);
        double shift = v->shifts ? (double)v->shifts[i / a->per_scale] : 0;
        add_weight(s, v, w, t, alpha, shift);
        now |= (unsigned)(t + 1) << 2 * p;
        if (t == 0) {
            s->lane_zeros[p]++;
            largest_zero = fmax(largest_zero, aw);
        } else {
            smallest_kept = fmin(smallest_kept, aw);
            margin_alpha = alpha;
        }
    }
    if (largest_zero >= 0 && margin_alpha > 0) {
        s->margin += (smallest_kept - largest_zero) / margin_alpha;
        s->n_margins++;
    }
    uint8_t *state = a->state + row * a->row_blocks + b;
    if (a->has_previous) count_flips(s, *state, now);
    *state = (uint8_t)now;
}

static void weights_tile(void *arg, int64_t tile, int thread)
{
    const weights_args *a = arg;
    int64_t begin = tile * a->tile_rows, end = begin + a->tile_rows;
    (void)thread;
    for (int64_t row = begin; row < end && row < a->v->rows; row++)
        for (int64_t b = 0; b < a->row_blocks; b++) measure_block(&a->sums[tile], a, row, b);
}

static void add_tile(tile_sums *to, const tile_sums *s)
{
    for (int i = 0; i < 4; i++) {
        to->x[i] += s->x[i];
        to->lane_zeros[i] += s->lane_zeros[i];
    }
    to->w2 += s->w2;
    to->error2 += s->error2;
    to->margin += s->margin;
    to->valley += s->valley;
    to->near_alpha += s->near_alpha;
    to->pow2 += s->pow2;
    to->n_margins += s->n_margins;
    to->zero_flips += s->zero_flips;
    to->sign_flips += s->sign_flips;
    to->state_flips += s->state_flips;
    for (int i = 0; i < SOL_HIST_X_BINS; i++) {
        to->h.zeroed[i] += s->h.zeroed[i];
        to->h.kept[i] += s->h.kept[i];
    }
    for (int i = 0; i < SOL_HIST_W_BINS; i++) to->h.w[i] += s->h.w[i];
    for (int i = 0; i < SOL_HIST_LOG2_BINS; i++) to->h.log2[i] += s->h.log2[i];
}

/* Kurtosis and bimodality coefficient from raw moments; x is centred so near 0 that nothing
 * cancels. */
static void shape_measures(const double sum[4], double n, double *m)
{
    double m1 = sum[0] / n, r2 = sum[1] / n, r3 = sum[2] / n, r4 = sum[3] / n;
    double m2 = r2 - m1 * m1, m3 = r3 - 3 * m1 * r2 + 2 * m1 * m1 * m1;
    double m4 = r4 - 4 * m1 * r3 + 6 * m1 * m1 * r2 - 3 * m1 * m1 * m1 * m1;
    bool spread = m2 > 1e-12 * r2;
    double skew = m3 / (m2 * sqrt(m2)), kurtosis = m4 / (m2 * m2);
    m[SOL_M_kurtosis] = spread ? kurtosis : NAN;
    m[SOL_M_bimodality] = spread ? (skew * skew + 1) / kurtosis : NAN;
}

static void scale_measures(const float *scales, int64_t n, double *m)
{
    double sum = 0, spread = 0, lowest = INFINITY, highest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)scales[i];
        lowest = fmin(lowest, (double)scales[i]);
        highest = fmax(highest, (double)scales[i]);
    }
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        spread += ((double)scales[i] - mean) * ((double)scales[i] - mean);
    m[SOL_M_alpha_mean] = mean;
    m[SOL_M_alpha_std] = sqrt(spread / (double)n);
    m[SOL_M_alpha_min] = lowest;
    m[SOL_M_alpha_max] = highest;
}

static double lane_entropy(const int64_t zeros[4])
{
    double all = 0, entropy = 0;
    for (int p = 0; p < 4; p++) all += (double)zeros[p];
    if (all == 0) return NAN;
    for (int p = 0; p < 4; p++) {
        double q = (double)zeros[p] / all;
        if (q > 0) entropy -= q * log(q);
    }
    return entropy / log(4);
}

static void fill_measures(const weights_args *a, const tile_sums *s, double *m)
{
    double n = (double)(a->v->rows * a->v->cols), blocks = (double)(a->v->rows * a->row_blocks);
    m[SOL_M_valley_mass] = (double)s->valley / n;
    m[SOL_M_near_alpha] = (double)s->near_alpha / n;
    m[SOL_M_pow2_mass] = (double)s->pow2 / n;
    m[SOL_M_zero_flips] = a->has_previous ? (double)s->zero_flips / blocks : NAN;
    m[SOL_M_sign_flips] = a->has_previous ? (double)s->sign_flips / n : NAN;
    m[SOL_M_state_flips] = a->has_previous ? (double)s->state_flips / n : NAN;
    m[SOL_M_zero_entropy] = lane_entropy(s->lane_zeros);
    m[SOL_M_margin] = s->n_margins ? s->margin / (double)s->n_margins : NAN;
    m[SOL_M_nmse] = s->w2 > 0 ? s->error2 / s->w2 : NAN;
    m[SOL_M_w_rms] = sqrt(s->w2 / n);
    shape_measures(s->x, n, m);
    scale_measures(a->v->scales, a->v->n_scales, m);
}

size_t sol_measure_work(void)
{
    return MAX_TILES * sizeof(tile_sums);
}

void sol_measure_weights(sol_pool *pool, const sol_layer_view *v, uint8_t *state, bool has_previous,
                         void *work, double *m, sol_histograms *h)
{
    int64_t tile_rows = sol_ceil_div(v->rows, MAX_TILES);
    int64_t n_tiles = sol_ceil_div(v->rows, tile_rows);
    weights_args a = {.v = v,
                      .tile_rows = tile_rows,
                      .per_scale = v->rows * v->cols / v->n_scales,
                      .row_blocks = blocks_a_row(v->cols),
                      .state = state,
                      .has_previous = has_previous,
                      .sums = work};
    memset(work, 0, (size_t)n_tiles * sizeof(tile_sums));
    sol_pool_run(pool, n_tiles, weights_tile, &a);
    for (int64_t i = 1; i < n_tiles; i++) add_tile(&a.sums[0], &a.sums[i]);
    fill_measures(&a, &a.sums[0], m);
    *h = a.sums[0].h;
}

sol_status sol_measure_scratch_create(sol_measure_scratch *s, int64_t largest, sol_err *err)
{
    *s = (sol_measure_scratch){0};
    sol_status st = sol_alloc_array((void **)&s->ternary, (size_t)largest, 1, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&s->scales, (size_t)largest / 4 + 1, sizeof *s->scales, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&s->shifts, (size_t)largest / 4 + 1, sizeof *s->shifts, err);
    if (st == SOL_OK) st = sol_alloc_array(&s->work, sol_measure_work(), 1, err);
    if (st != SOL_OK) sol_measure_scratch_free(s);
    return st;
}

void sol_measure_scratch_free(sol_measure_scratch *s)
{
    sol_free(s->ternary);
    sol_free(s->scales);
    sol_free(s->shifts);
    sol_free(s->work);
    *s = (sol_measure_scratch){0};
}

void sol_measure_layer(const sol_ctx *ctx, const sol_quant_spec *spec, const sol_quant_matrix *x,
                       float w_range, const sol_measure_scratch *scratch, uint8_t *state,
                       bool has_previous, double *m, sol_histograms *h)
{
    sol_layer_view v = {.w = x->w,
                        .rows = x->rows,
                        .cols = x->cols,
                        .ternary = scratch->ternary,
                        .scales = scratch->scales,
                        .shifts = spec->method->shifted ? scratch->shifts : NULL,
                        .n_scales = sol_quant_scale_count(spec, x->rows, x->cols),
                        .layout = spec->layout,
                        .w_range = w_range};
    sol_quant_parts parts = {
        .ternary = scratch->ternary, .scales = scratch->scales, .shifts = scratch->shifts};
    sol_quant_take_apart(ctx, spec, x, &parts);
    sol_measure_weights(ctx->pool, &v, state, has_previous, scratch->work, m, h);
}

typedef struct norm_args {
    const float *g;
    int64_t n, tile;
    double sums[MAX_TILES];
} norm_args;

static void norm_tile(void *arg, int64_t tile, int thread)
{
    norm_args *a = arg;
    int64_t begin = tile * a->tile, end = sol_min_i64(begin + a->tile, a->n);
    double sum = 0;
    (void)thread;
    for (int64_t i = begin; i < end; i++) sum += (double)a->g[i] * (double)a->g[i];
    a->sums[tile] = sum;
}

double sol_measure_norm(sol_pool *pool, const float *g, int64_t n)
{
    norm_args a = {.g = g, .n = n, .tile = sol_ceil_div(n, MAX_TILES)};
    double sum = 0;
    if (n > 0) sol_pool_run(pool, sol_ceil_div(n, a.tile), norm_tile, &a);
    for (int i = 0; i < MAX_TILES; i++) sum += a.sums[i];
    return sqrt(sum);
}

double sol_share_unchanged(const float *now, const float *previous, int64_t n)
{
    int64_t same = 0;
    for (int64_t i = 0; i < n; i++) same += sol_f32_bits(now[i]) == sol_f32_bits(previous[i]);
    return n > 0 ? (double)same / (double)n : NAN;
}

double sol_cosine(const float *now, const float *previous, int64_t n)
{
    double dot = 0, a2 = 0, b2 = 0;
    for (int64_t i = 0; i < n; i++) {
        dot += (double)now[i] * (double)previous[i];
        a2 += (double)now[i] * (double)now[i];
        b2 += (double)previous[i] * (double)previous[i];
    }
    return a2 > 0 && b2 > 0 ? dot / sqrt(a2) / sqrt(b2) : NAN;
}

float sol_histogram_range(const float *w, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)w[i] * (double)w[i];
    double range = 4 * sqrt(sum / (double)n);
    if (!(range > 0) || !isfinite(range)) return 1;
    double digit = pow(10, floor(log10(range)) - 1);
    return (float)(ceil(range / digit) * digit);
}
