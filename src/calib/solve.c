/* One layer: the target W*, the first assignment, the sweeps. Everything after the target is done for a tile of rows at a time, a run of
 * columns after the other: what all other columns mean for a run comes from one product, what the blocks of a run mean for each other is
 * kept up to date by hand. Both steps ask the same of a block: the pattern t with the least alpha^2 |t|^2 - 2 alpha t.v, under a norm
 * and for a v of their own. */
#include "calib/solve.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/num.h"
#include "calib/calib.h"
#include "kernels/factor.h"
#include "kernels/gemm.h"

enum { MAX_M = 8, MAX_PATTERNS = 2048, PAIR_PATTERNS = 32, TILE_ROWS = 64, RUN = 64, LONGEST_RUN = 256, DAMPING_TRIES = 4 };

typedef struct solver {
    const sol_ctx *ctx;
    const sol_quant_spec *spec;
    sol_calib_system *s;
    int m, n_patterns;
    int8_t *pattern;  /* [n_patterns, m] */
    float *by_lane;   /* [m, n_patterns]: the same, as floats */
    int64_t rows, cols, group, groups; /* weights of a row that share a scale, and how many such there are */
    int64_t run;      /* columns of a run now: in the first assignment a whole scale group where that is not too long */
    float *h, *b;     /* as in s, columns ordered so that blocks are contiguous */
    float *v;         /* [cols, cols] factor of H; zeros below the diagonal */
    float *target;    /* W* [rows, cols]; the errors W* - Q where the first assignment has been */
    uint16_t *chosen; /* [rows, cols / m] */
    float *alpha;     /* [rows, groups]; per tensor: the same in all rows of a part */
    double *moments;  /* [rows, 2], per tensor: what each row adds to the scale's quadratic and linear term */
    double *gain;     /* [rows]: objective of each row */
    float start;      /* the scales of the first assignment, times this */
    uint16_t *best_chosen; /* of the best start so far, as chosen, alpha and gain; NULL: there is but one start */
    float *best_alpha;
    double *best_gain;
    char *scratch;    /* [threads, scratch_bytes] */
    size_t scratch_bytes;
} solver;

/* ---- a block ---- */

/* cost[t] = alpha^2 norm[t] - 2 alpha t.v */
static void costs_of(const solver *z, const float *norm, const float *v, float alpha, float *cost)
{
    const int n = z->n_patterns;
    for (int t = 0; t < n; t++) cost[t] = alpha * alpha * norm[t];
    for (int j = 0; j < z->m; j++)
        for (int t = 0; t < n; t++) cost[t] -= 2 * alpha * v[j] * z->by_lane[j * n + t];
}

/* The first of the patterns with the least cost; `kept` (-1: none) stays where no other is less. */
static int choose(const solver *z, const float *norm, const float *v, float alpha, int kept)
{
    float cost[MAX_PATTERNS];
    costs_of(z, norm, v, alpha, cost);
    int best = kept < 0 ? 0 : kept;
    for (int t = 0; t < z->n_patterns; t++)
        if (cost[t] < cost[best]) best = t;
    return best;
}

/* norm[t] = |t A|^2 for a [m, m] matrix A. */
static void norms_through(const solver *z, const float *a, int64_t ld, float *norm)
{
    for (int t = 0; t < z->n_patterns; t++) {
        norm[t] = 0;
        for (int j = 0; j < z->m; j++) {
            float x = 0;
            for (int i = 0; i < z->m; i++) x += (float)z->pattern[t * z->m + i] * a[i * ld + j];
            norm[t] += x * x;
        }
    }
}

/* norm[t] = t A t for a [m, m] matrix A. */
static void norms_under(const solver *z, const float *a, int64_t ld, float *norm)
{
    for (int t = 0; t < z->n_patterns; t++) {
        const int8_t *p = z->pattern + t * z->m;
        norm[t] = 0;
        for (int i = 0; i < z->m; i++)
            for (int j = 0; j < z->m; j++) norm[t] += (float)(p[i] * p[j]) * a[i * ld + j];
    }
}

static float round_scale(const solver *z, double alpha)
{
    float a = (float)alpha;
    return z->spec->scale_dtype == SOL_F16 ? sol_f16_to_f32(sol_f32_to_f16(a)) : a;
}

/* The scale of the nearest patterns to w [n]: the optimum where the patterns do not depend on it, else near to it. */
static float nearest_scale(const solver *z, const float *w, int64_t n)
{
    float flat[MAX_PATTERNS];
    double sum = 0;
    for (int t = 0; t < z->n_patterns; t++) {
        flat[t] = 0;
        for (int j = 0; j < z->m; j++) flat[t] += (float)(z->pattern[t * z->m + j] * z->pattern[t * z->m + j]);
    }
    for (int64_t i = 0; i < n; i++) sum += fabsf(w[i]);
    double alpha = sum / (double)n;
    for (int pass = 0; pass < 3; pass++) {
        double dot = 0, count = 0;
        for (int64_t i = 0; i < n; i += z->m) {
            int t = choose(z, flat, w + i, (float)alpha, -1);
            for (int j = 0; j < z->m; j++) dot += (double)z->pattern[t * z->m + j] * w[i + j];
            count += flat[t];
        }
        if (count > 0) alpha = dot / count;
    }
    return round_scale(z, alpha);
}

/* ---- tiles ---- */

typedef struct tile {
    int64_t row, rows; /* [row, row + rows) */
    float *room;       /* of this thread */
} tile;

static tile tile_at(const solver *z, int64_t i, int thread)
{
    tile t = {.row = i * TILE_ROWS, .room = (float *)(void *)(z->scratch + (size_t)thread * z->scratch_bytes)};
    t.rows = sol_min_i64(z->rows - t.row, TILE_ROWS);
    return t;
}

static void each_tile(solver *z, sol_tile_fn fn)
{
    sol_pool_run(z->ctx->pool, sol_ceil_div(z->rows, TILE_ROWS), fn, z);
}

static int64_t run_end(const solver *z, int64_t from)
{
    return z->cols - from < z->run ? z->cols : from + z->run;
}

static float *alpha_of(const solver *z, int64_t row, int64_t col)
{
    return &z->alpha[row * z->groups + col / z->group];
}

/* Q of a row from its patterns and scales, columns [from, to). */
static void write_q(const solver *z, int64_t row, int64_t from, int64_t to)
{
    float *q = z->s->q + row * z->cols;
    for (int64_t c = from; c < to; c += z->m) {
        const int8_t *p = z->pattern + z->chosen[row * (z->cols / z->m) + c / z->m] * z->m;
        float alpha = *alpha_of(z, row, c);
        for (int j = 0; j < z->m; j++) q[c + j] = alpha * (float)p[j];
    }
}

/* ---- 1. the first assignment ---- */

/* Scales of the groups that begin in a run, of W* as the errors to its left have moved it: W* + S V^-1. */
static void run_scales(const solver *z, const tile *t, int64_t from, int64_t n, const float *s, float *moved)
{
    if (z->group > z->run) return;
    memcpy(moved, s, (size_t)(t->rows * n) * sizeof *moved);
    sol_solve_tile(t->rows, n, z->v + from * z->cols + from, z->cols, moved, n);
    for (int64_t r = 0; r < t->rows; r++) {
        const float *w = z->target + (t->row + r) * z->cols + from;
        for (int64_t c = 0; c < n; c++) moved[r * n + c] += w[c];
        for (int64_t c = 0; c < n; c += z->group) *alpha_of(z, t->row + r, from + c) = round_scale(z, z->start * nearest_scale(z, moved + r * n + c, z->group));
    }
}

/* Block b of a run for one row: w [m] becomes its error, s [n] what that means for the run. */
static void first_block(const solver *z, int64_t row, int64_t col, const float *norm, float *w, float *s, int64_t n, int64_t b)
{
    const float *v = z->v + col * z->cols + (col - b);
    float u[MAX_M], pull[MAX_M], alpha = *alpha_of(z, row, col);
    for (int j = 0; j < z->m; j++) {
        u[j] = s[b + j];
        for (int i = 0; i <= j; i++) u[j] += w[i] * v[i * z->cols + b + j];
    }
    for (int i = 0; i < z->m; i++) {
        pull[i] = 0;
        for (int j = i; j < z->m; j++) pull[i] += v[i * z->cols + b + j] * u[j];
    }
    int best = choose(z, norm, pull, alpha, -1);
    z->chosen[row * (z->cols / z->m) + col / z->m] = (uint16_t)best;
    for (int i = 0; i < z->m; i++) {
        w[i] -= alpha * (float)z->pattern[best * z->m + i];
        for (int64_t c = b + z->m; c < n; c++) s[c] += w[i] * v[i * z->cols + c];
    }
}

static void first_tile(void *arg, int64_t i, int thread)
{
    const solver *z = arg;
    tile t = tile_at(z, i, thread);
    float *s = t.room, *moved = s + TILE_ROWS * LONGEST_RUN, *norm = moved + TILE_ROWS * LONGEST_RUN;
    for (int64_t from = 0; from < z->cols; from = run_end(z, from)) {
        int64_t n = run_end(z, from) - from;
        float *error = z->target + t.row * z->cols;
        if (from > 0)
            sol_gemm_tile(false, false, t.rows, n, from, 1, error, z->cols, z->v + from, z->cols, 0, s, n);
        else
            memset(s, 0, (size_t)(t.rows * n) * sizeof *s);
        run_scales(z, &t, from, n, s, moved);
        for (int64_t b = 0; b < n; b += z->m) {
            norms_through(z, z->v + (from + b) * (z->cols + 1), z->cols, norm);
            for (int64_t r = 0; r < t.rows; r++)
                first_block(z, t.row + r, from + b, norm, error + r * z->cols + from + b, s + r * n, n, b);
        }
    }
    for (int64_t r = t.row; r < t.row + t.rows; r++) write_q(z, r, 0, z->cols);
}

/* ---- 2. scales by least squares ---- */

/* M [groups, groups] and c [groups] of a row: its objective is a M a - 2 c a. products: [groups of the row, cols] T_k H of this row. */
static void row_moments(const solver *z, int64_t row, const float *products, int64_t stride, double *M, double *c)
{
    const uint16_t *chosen = z->chosen + row * (z->cols / z->m);
    const float *b = z->b + row * z->cols;
    for (int64_t k = 0; k < z->groups; k++) {
        double sum = 0;
        for (int64_t i = k * z->group; i < (k + 1) * z->group; i++)
            sum += (double)z->pattern[chosen[i / z->m] * z->m + i % z->m] * b[i];
        c[k] = sum;
        for (int64_t l = 0; l <= k; l++) {
            const float *p = products + k * stride;
            sum = 0;
            for (int64_t i = l * z->group; i < (l + 1) * z->group; i++)
                sum += (double)z->pattern[chosen[i / z->m] * z->m + i % z->m] * p[i];
            M[k * z->groups + l] = M[l * z->groups + k] = sum;
        }
    }
}

static double row_objective(const solver *z, const double *M, const double *c, const float *a)
{
    double sum = 0;
    for (int64_t k = 0; k < z->groups; k++) {
        sum -= 2 * c[k] * a[k];
        for (int64_t l = 0; l < z->groups; l++) sum += M[k * z->groups + l] * a[k] * a[l];
    }
    return sum;
}

/* New scales of a row, where they are better. A scale must stay a fifth of what it was: smaller ones come from patterns that do not fit,
 * which the next sweep changes. */
static void row_scales(const solver *z, int64_t row, double *M, double *c, double *room, float *fresh)
{
    int64_t n = z->groups;
    float *a = z->alpha + row * n;
    double mean = 0;
    for (int64_t k = 0; k < n; k++) mean += M[k * n + k] / (double)n;
    memcpy(room, M, (size_t)(n * n) * sizeof *room);
    memcpy(room + n * n, c, (size_t)n * sizeof *room);
    for (int64_t k = 0; k < n; k++) room[k * n + k] += 1e-4 * mean;
    double before = row_objective(z, M, c, a);
    z->gain[row] = before;
    if (!sol_solve_spd(room, n, room + n * n)) return;
    for (int64_t k = 0; k < n; k++) fresh[k] = room[n * n + k] > 0.2 * a[k] ? round_scale(z, room[n * n + k]) : a[k];
    double after = row_objective(z, M, c, fresh);
    if (!(after < before)) return;
    memcpy(a, fresh, (size_t)n * sizeof *a);
    z->gain[row] = after;
}

/* T of the tile's columns [from, to), as floats [rows, to - from]. */
static void write_t(const solver *z, const tile *t, int64_t from, int64_t to, float *out)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = from; c < to; c++)
            *out++ = (float)z->pattern[z->chosen[(t->row + r) * (z->cols / z->m) + c / z->m] * z->m + c % z->m];
}

/* Rows are taken a few at a time, as many as the room for their products holds. */
static void scale_tile(void *arg, int64_t i, int thread)
{
    const solver *z = arg;
    tile whole = tile_at(z, i, thread);
    int64_t some = RUN / z->groups > 1 ? RUN / z->groups : 1, n = z->groups;
    double *M = (double *)(void *)whole.room, *c = M + n * n, *room = c + n;
    float *fresh = (float *)(void *)(room + n * n + n), *signs = fresh + n, *products = signs + some * z->group;
    for (tile t = whole; t.row < whole.row + whole.rows; t.row += some) {
        t.rows = sol_min_i64(whole.row + whole.rows - t.row, some);
        for (int64_t k = 0; k < n; k++) {
            write_t(z, &t, k * z->group, (k + 1) * z->group, signs);
            /* row r, group k at products[(r groups + k) cols] */
            sol_gemm_tile(false, false, t.rows, z->cols, z->group, 1, signs, z->group, z->h + k * z->group * z->cols, z->cols, 0,
                          products + k * z->cols, n * z->cols);
        }
        for (int64_t r = 0; r < t.rows; r++) {
            row_moments(z, t.row + r, products + r * n * z->cols, z->cols, M, c);
            if (z->moments)
                z->moments[2 * (t.row + r)] = M[0], z->moments[2 * (t.row + r) + 1] = c[0];
            else
                row_scales(z, t.row + r, M, c, room, fresh);
        }
    }
}

/* Per tensor: one scale for all rows of a part. */
static void part_scales(const solver *z)
{
    int64_t row = 0;
    for (int p = 0; p < z->s->n_parts; p++) {
        int64_t end = row + z->s->part_rows[p];
        double M = 0, c = 0, old = z->alpha[row];
        for (int64_t r = row; r < end; r++) M += z->moments[2 * r], c += z->moments[2 * r + 1];
        float fresh = M > 0 && c / M > 0.2 * old ? round_scale(z, c / M) : (float)old;
        bool better = M * fresh * fresh - 2 * c * fresh < M * old * old - 2 * c * old;
        for (; row < end; row++) {
            if (better) z->alpha[row] = fresh;
            double a = z->alpha[row];
            z->gain[row] = z->moments[2 * row] * a * a - 2 * z->moments[2 * row + 1] * a;
        }
    }
}

/* Returns the objective. */
static double fit_scales(solver *z)
{
    double sum = 0;
    each_tile(z, scale_tile);
    if (z->moments) part_scales(z);
    for (int64_t r = 0; r < z->rows; r++) {
        sum += z->gain[r];
        write_q(z, r, 0, z->cols);
    }
    return sum;
}

/* ---- 3. a sweep over the patterns ---- */

/* What the search over a pair of neighbouring blocks needs: the norms of each, and twice the product under H of all pairs of patterns. */
typedef struct pair_table {
    float *first, *second, *cross; /* [n_patterns], [n_patterns], [n_patterns, n_patterns] */
} pair_table;

static void cross_under(const solver *z, const float *h, float *cross)
{
    for (int t = 0; t < z->n_patterns; t++)
        for (int u = 0; u < z->n_patterns; u++) {
            const int8_t *p = z->pattern + t * z->m, *q = z->pattern + u * z->m;
            float sum = 0;
            for (int i = 0; i < z->m; i++)
                for (int j = 0; j < z->m; j++) sum += (float)(p[i] * q[j]) * h[i * z->cols + j];
            cross[t * z->n_patterns + u] = 2 * sum;
        }
}

/* back [n]: (W* - Q) H of the row in this run, which Q[block at col] = alpha * pattern `fresh` changes from `from` on. */
static void put_block(const solver *z, int64_t row, int64_t col, int fresh, float *back, int64_t from, int64_t n, int64_t b)
{
    const float *h = z->h + col * z->cols + (col - b);
    float *q = z->s->q + row * z->cols + col, alpha = *alpha_of(z, row, col);
    uint16_t *chosen = &z->chosen[row * (z->cols / z->m) + col / z->m];
    if (fresh == *chosen) return;
    *chosen = (uint16_t)fresh;
    for (int i = 0; i < z->m; i++) {
        float x = alpha * (float)z->pattern[fresh * z->m + i], d = q[i] - x;
        q[i] = x;
        for (int64_t c = from; d != 0 && c < n; c++) back[c] += d * h[i * z->cols + c];
    }
}

/* v = (W* - Q) H of a block without what its own columns, and the m at `other` (-1: none), take from it. */
static void pull_of(const solver *z, int64_t row, int64_t col, int64_t other, const float *back, float *v)
{
    const float *q = z->s->q + row * z->cols;
    for (int i = 0; i < z->m; i++) {
        const float *h = z->h + (col + i) * z->cols;
        v[i] = back[i];
        for (int j = 0; j < z->m; j++) v[i] += h[col + j] * q[col + j];
        for (int j = 0; other >= 0 && j < z->m; j++) v[i] += h[other + j] * q[other + j];
    }
}

static void sweep_block(const solver *z, int64_t row, int64_t col, const float *norm, float *back, int64_t n, int64_t b)
{
    float v[MAX_M];
    pull_of(z, row, col, -1, back + b, v);
    int kept = z->chosen[row * (z->cols / z->m) + col / z->m];
    put_block(z, row, col, choose(z, norm, v, *alpha_of(z, row, col), kept), back, b + z->m, n, b);
}

/* The best patterns for the block at col and the next one together. */
static void sweep_pair(const solver *z, int64_t row, int64_t col, const pair_table *p, float *back, int64_t n, int64_t b)
{
    float v[MAX_M], first[PAIR_PATTERNS], second[PAIR_PATTERNS];
    const int N = z->n_patterns;
    const uint16_t *chosen = &z->chosen[row * (z->cols / z->m) + col / z->m];
    float alpha = *alpha_of(z, row, col), beta = *alpha_of(z, row, col + z->m), both = alpha * beta;
    pull_of(z, row, col, col + z->m, back + b, v);
    costs_of(z, p->first, v, alpha, first);
    pull_of(z, row, col + z->m, col, back + b + z->m, v);
    costs_of(z, p->second, v, beta, second);
    int best_t = chosen[0], best_u = chosen[1];
    float least = first[best_t] + (second[best_u] + both * p->cross[best_t * N + best_u]);
    for (int t = 0; t < N; t++) {
        const float *cross = p->cross + t * N;
        float row_least = second[0] + both * cross[0];
        for (int u = 1; u < N; u++) {
            float cost = second[u] + both * cross[u];
            row_least = cost < row_least ? cost : row_least;
        }
        if (!(first[t] + row_least < least)) continue;
        least = first[t] + row_least;
        best_t = t;
        for (best_u = 0; best_u < N - 1 && second[best_u] + both * cross[best_u] != row_least;) best_u++;
    }
    put_block(z, row, col, best_t, back, b + z->m, n, b);
    put_block(z, row, col + z->m, best_u, back, b + z->m, n, b + z->m);
}

static void sweep_tile(void *arg, int64_t i, int thread)
{
    const solver *z = arg;
    tile t = tile_at(z, i, thread);
    bool pairs = z->n_patterns <= PAIR_PATTERNS;
    float *back = t.room, *norm = back + TILE_ROWS * LONGEST_RUN;
    pair_table p = {norm, norm + PAIR_PATTERNS, norm + 2 * PAIR_PATTERNS};
    for (int64_t from = 0; from < z->cols; from = run_end(z, from)) {
        int64_t n = run_end(z, from) - from;
        for (int64_t r = 0; r < t.rows; r++)
            memcpy(back + r * n, z->b + (t.row + r) * z->cols + from, (size_t)n * sizeof *back);
        sol_gemm_tile(false, false, t.rows, n, z->cols, -1, z->s->q + t.row * z->cols, z->cols, z->h + from, z->cols, 1, back, n);
        for (int64_t b = 0; b < n; b += z->m) {
            const float *h = z->h + (from + b) * (z->cols + 1);
            bool pair = pairs && b + z->m < n;
            norms_under(z, h, z->cols, norm);
            if (pair) norms_under(z, h + z->m * (z->cols + 1), z->cols, p.second);
            if (pair) cross_under(z, h + z->m, p.cross);
            for (int64_t r = 0; r < t.rows; r++)
                if (pair)
                    sweep_pair(z, t.row + r, from + b, &p, back + r * n, n, b);
                else
                    sweep_block(z, t.row + r, from + b, norm, back + r * n, n, b);
        }
    }
}

/* ---- the target ---- */

static bool all_finite(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * 0.0f;
    return sum == 0;
}

/* H + d I = V V^T, W* = (B + d W) (H + d I)^-1. */
static sol_status find_target(solver *z, const char *name, double damping, sol_err *err)
{
    int64_t n = z->cols, rows = z->rows;
    double *v = NULL, *b = NULL, mean = 0;
    sol_status st = SOL_OK;
    bool done = false;
    for (int64_t i = 0; i < n; i++) mean += z->h[i * n + i] / (double)n;
    if (!(mean > 0)) mean = 1; /* no input, or none but 0: then any d does */
    double d = damping * mean;
    st = sol_alloc_array((void **)&v, (size_t)(n * n), sizeof *v, err);
    for (int i = 0; st == SOL_OK && !done && i < DAMPING_TRIES; i++) {
        if (i > 0) d *= 10;
        for (int64_t k = 0; k < n * n; k++) v[k] = z->h[k];
        for (int64_t k = 0; k < n; k++) v[k * n + k] += d;
        done = sol_factor_upper(z->ctx, v, n);
    }
    if (st == SOL_OK && !done)
        st = sol_fail(err, SOL_ERR_NONFINITE, "%s: the second moments of its inputs are not positive definite, with damping up to %g of their mean",
                      name, d / mean);
    if (st == SOL_OK) st = sol_alloc_array((void **)&b, (size_t)(rows * n), sizeof *b, err);
    if (st == SOL_OK) {
        for (int64_t k = 0; k < n; k++) z->h[k * n + k] += (float)d;
        for (int64_t k = 0; k < rows * n; k++) z->b[k] += (float)d * z->target[k];
        for (int64_t k = 0; k < rows * n; k++) b[k] = z->b[k];
        sol_factor_solve(z->ctx, v, n, b, rows);
        z->s->damping = d / mean;
        z->s->optimum = 0;
        for (int64_t k = 0; k < rows * n; k++) z->s->optimum -= b[k] * z->b[k];
        for (int64_t k = 0; k < rows * n; k++) z->target[k] = (float)b[k];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) z->v[i * n + j] = j < i ? 0 : (float)v[i * n + j];
    }
    sol_free(v);
    sol_free(b);
    return st;
}

/* ---- the order of columns ---- */

/* Column of place i: blocks become contiguous. */
static int64_t column(const solver *z, int64_t i)
{
    return z->spec->method->block == 4 ? sol_block_column(z->spec->layout, i / 4, i % 4) : i;
}

static void reorder_row(const solver *z, float *x, float *room, bool back)
{
    memcpy(room, x, (size_t)z->cols * sizeof *x);
    for (int64_t i = 0; i < z->cols; i++) {
        int64_t c = column(z, i);
        if (back)
            x[c] = room[i];
        else
            x[i] = room[c];
    }
}

static void reorder(const solver *z, float *x, int64_t rows, bool back)
{
    if (z->spec->layout == SOL_LAYOUT_CONTIGUOUS) return;
    for (int64_t r = 0; r < rows; r++) reorder_row(z, x + r * z->cols, (float *)(void *)z->scratch, back);
}

/* ---- the whole ---- */

sol_status sol_calib_check_quant(const sol_quant_spec *spec, sol_err *err)
{
    char list[256] = "";
    if (spec->method && spec->method->patterns && sol_quant_block(spec) <= MAX_M && spec->method->patterns(spec, MAX_PATTERNS, NULL) > 0)
        return SOL_OK;
    for (int i = 0; i < sol_quantizer_count(); i++)
        if (sol_quantizer_at(i)->patterns) {
            strcat(list, list[0] ? ", " : "");
            strcat(list, sol_quantizer_at(i)->name);
        }
    if (spec->method && spec->method->patterns)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%d:%d has too many patterns of a block to be calibrated: at most %d weights, %d patterns",
                        spec->n, spec->m, MAX_M, MAX_PATTERNS);
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s cannot be calibrated, only %s", spec->method ? spec->method->name : "none", list);
}

/* Everything that follows from the shape: rows, cols and spec are set. */
static void find_sizes(solver *z)
{
    z->m = sol_quant_block(z->spec);
    z->n_patterns = z->spec->method->patterns(z->spec, MAX_PATTERNS, NULL);
    z->group = z->spec->granularity == SOL_PER_GROUP ? z->spec->group_size : z->cols;
    z->groups = z->cols / z->group;
    /* What the two kinds of tile keep: two matrices of a run and the norms; moments, signs and products of some rows. */
    int64_t some = RUN / z->groups > 1 ? RUN / z->groups : 1;
    size_t runs = (size_t)(2 * TILE_ROWS * LONGEST_RUN + MAX_PATTERNS + PAIR_PATTERNS * PAIR_PATTERNS) * sizeof(float);
    size_t scales = (size_t)(2 * z->groups * z->groups + 2 * z->groups) * sizeof(double) +
                    (size_t)(z->groups + some * z->group + some * z->groups * z->cols) * sizeof(float);
    size_t row = (size_t)z->cols * sizeof(float); /* reorder */
    size_t most = runs > scales ? runs : scales;
    z->scratch_bytes = sol_round_up_size(most > row ? most : row, SOL_ALIGN);
}

static bool several_starts(const sol_quant_spec *spec, int starts)
{
    return starts > 1 && spec->granularity != SOL_PER_TENSOR; /* where rows do not choose apart from each other */
}

/* As prepare and find_target allocate it. */
size_t sol_calib_solve_bytes(const sol_quant_spec *spec, int64_t rows, int64_t cols, int starts, int threads)
{
    solver z = {.spec = spec, .rows = rows, .cols = cols};
    find_sizes(&z);
    size_t weights = (size_t)(rows * cols), square = (size_t)(cols * cols), scales = (size_t)(rows * z.groups);
    size_t each = weights / (size_t)z.m * sizeof *z.chosen + scales * sizeof *z.alpha + (size_t)rows * sizeof *z.gain;
    return square * (sizeof(double) + sizeof *z.v) + weights * (sizeof(double) + sizeof *z.target) +
           each * (several_starts(spec, starts) ? 2 : 1) + (size_t)threads * z.scratch_bytes;
}

static sol_status prepare(solver *z, int starts, sol_err *err)
{
    sol_calib_system *s = z->s;
    const sol_quant_spec *spec = z->spec;
    size_t threads = (size_t)sol_pool_threads(z->ctx->pool);
    z->cols = s->cols;
    for (int i = 0; i < s->n_parts; i++) z->rows += s->part_rows[i];
    find_sizes(z);
    z->h = s->h;
    z->b = s->b;
    size_t weights = (size_t)(z->rows * z->cols);
    sol_status st = sol_alloc_array((void **)&z->pattern, (size_t)(z->n_patterns * z->m), 1, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->by_lane, (size_t)(z->n_patterns * z->m), sizeof *z->by_lane, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->v, (size_t)(z->cols * z->cols), sizeof *z->v, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->target, weights, sizeof *z->target, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->chosen, weights / (size_t)z->m, sizeof *z->chosen, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->alpha, (size_t)(z->rows * z->groups), sizeof *z->alpha, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->gain, (size_t)z->rows, sizeof *z->gain, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&z->scratch, threads, z->scratch_bytes, err);
    if (st == SOL_OK && spec->granularity == SOL_PER_TENSOR)
        st = sol_alloc_array((void **)&z->moments, (size_t)z->rows, 2 * sizeof *z->moments, err);
    if (st == SOL_OK && several_starts(spec, starts)) {
        st = sol_alloc_array((void **)&z->best_chosen, weights / (size_t)z->m, sizeof *z->best_chosen, err);
        if (st == SOL_OK) st = sol_alloc_array((void **)&z->best_alpha, (size_t)(z->rows * z->groups), sizeof *z->best_alpha, err);
        if (st == SOL_OK) st = sol_alloc_array((void **)&z->best_gain, (size_t)z->rows, sizeof *z->best_gain, err);
    }
    if (st != SOL_OK) return st;
    spec->method->patterns(spec, MAX_PATTERNS, z->pattern);
    for (int t = 0; t < z->n_patterns; t++)
        for (int j = 0; j < z->m; j++) z->by_lane[j * z->n_patterns + t] = (float)z->pattern[t * z->m + j];
    return sol_gemm_reserve(z->ctx, err);
}

static void release(solver *z)
{
    sol_free(z->pattern);
    sol_free(z->by_lane);
    sol_free(z->v);
    sol_free(z->target);
    sol_free(z->chosen);
    sol_free(z->alpha);
    sol_free(z->gain);
    sol_free(z->scratch);
    sol_free(z->moments);
    sol_free(z->best_chosen);
    sol_free(z->best_alpha);
    sol_free(z->best_gain);
}

/* Scale groups longer than a run start from the target as it is. */
static void start_scales(const solver *z)
{
    if (z->group <= z->run) return;
    for (int64_t r = 0; r < z->rows; r++)
        for (int64_t c = 0; c < z->cols; c += z->group)
            *alpha_of(z, r, c) = round_scale(z, z->start * nearest_scale(z, z->target + r * z->cols + c, z->group));
    int64_t row = 0;
    for (int p = 0; z->moments && p < z->s->n_parts; p++) {
        double sum = 0;
        int64_t end = row + z->s->part_rows[p];
        for (int64_t r = row; r < end; r++) sum += z->alpha[r];
        float mean = round_scale(z, sum / (double)(end - row));
        for (; row < end; row++) z->alpha[row] = mean;
    }
}

/* Of each row what is better, this start or the best before it, becomes both. Returns the objective of it. */
static double keep_better(solver *z)
{
    size_t blocks = (size_t)(z->cols / z->m), groups = (size_t)z->groups;
    double sum = 0;
    for (int64_t r = 0; r < z->rows; r++) {
        uint16_t *chosen = z->chosen + (size_t)r * blocks, *best = z->best_chosen + (size_t)r * blocks;
        float *alpha = z->alpha + (size_t)r * groups, *best_alpha = z->best_alpha + (size_t)r * groups;
        bool better = z->gain[r] < z->best_gain[r];
        memcpy(better ? best : chosen, better ? chosen : best, blocks * sizeof *best);
        memcpy(better ? best_alpha : alpha, better ? alpha : best_alpha, groups * sizeof *alpha);
        if (better)
            z->best_gain[r] = z->gain[r];
        else
            write_q(z, r, 0, z->cols);
        sum += z->best_gain[r];
    }
    return sum;
}

/* The target is left as it is found. */
static void solve_from(solver *z, float factor, int sweeps, bool first)
{
    sol_calib_system *s = z->s;
    z->start = factor;
    z->run = z->group <= LONGEST_RUN ? z->group : RUN / z->m * z->m;
    start_scales(z);
    each_tile(z, first_tile);
    for (int64_t i = 0; i < z->rows * z->cols; i++) z->target[i] += s->q[i];
    double value = fit_scales(z);
    if (first) s->objective[0] = value;
    z->run = RUN / z->m * z->m;
    for (int i = 0; i < sweeps; i++) {
        each_tile(z, sweep_tile);
        value = fit_scales(z);
        if (first) s->objective[i + 1] = value;
    }
    for (int64_t r = 0; first && z->best_gain && r < z->rows; r++) z->best_gain[r] = INFINITY;
    if (z->best_gain) s->objective[sweeps] = keep_better(z);
}

sol_status sol_calib_solve(const sol_ctx *ctx, const sol_quant_spec *spec, const char *name, double damping, int sweeps, int starts,
                           sol_calib_system *s, sol_err *err)
{
    static const float start_factors[SOL_CALIB_MAX_STARTS] = {1, 0.8f, 1.2f, 0.6f, 1.4f};
    solver z = {.ctx = ctx, .spec = spec, .s = s};
    sol_status st = sol_calib_check_quant(spec, err);
    if (st == SOL_OK) st = prepare(&z, starts, err);
    if (st == SOL_OK && !(all_finite(s->h, z.cols * z.cols) && all_finite(s->b, z.rows * z.cols) && all_finite(s->w, z.rows * z.cols)))
        st = sol_fail(err, SOL_ERR_NONFINITE, "%s: its inputs, outputs or weights hold a number that is not finite", name);
    if (st == SOL_OK) {
        memcpy(z.target, s->w, (size_t)(z.rows * z.cols) * sizeof *z.target);
        for (int64_t c = 0; spec->layout != SOL_LAYOUT_CONTIGUOUS && c < z.cols; c++) {
            /* rows of H, then its columns below */
            int64_t from = column(&z, c);
            memcpy(z.v + c * z.cols, s->h + from * z.cols, (size_t)z.cols * sizeof *z.v);
        }
        if (spec->layout != SOL_LAYOUT_CONTIGUOUS) memcpy(s->h, z.v, (size_t)(z.cols * z.cols) * sizeof *s->h);
        reorder(&z, s->h, z.cols, false);
        reorder(&z, s->b, z.rows, false);
        reorder(&z, z.target, z.rows, false);
        st = find_target(&z, name, damping, err);
    }
    for (int i = 0; st == SOL_OK && i < starts && (i == 0 || z.best_chosen); i++) solve_from(&z, start_factors[i], sweeps, i == 0);
    if (st == SOL_OK) reorder(&z, s->q, z.rows, true);
    release(&z);
    return st;
}
