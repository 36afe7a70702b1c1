/* Finds the patterns and scales of a layer whose target solve.c has computed: the first assignment,
 * then scales and sweeps in turn. Work is cut into tiles of rows, and a tile goes through runs of
 * columns one after the other: what the columns outside a run mean for it comes from one product,
 * what its own blocks mean for each other is updated block by block. Every step asks one question
 * of a block: which pattern t has the least alpha^2 |t|^2 - 2 alpha t.v, under a norm and for a v
 * of the step's own? */
#include "calib/assign.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/num.h"
#include "kernels/factor.h"
#include "kernels/gemm.h"

/* ---- a block ---- */

/* cost[t] = alpha^2 norm[t] - 2 alpha t.v */
static void costs_of(const sol_solver *z, const float *norm, const float *v, float alpha,
                     float *cost)
{
    const int n = z->n_patterns;
    for (int t = 0; t < n; t++) cost[t] = alpha * alpha * norm[t];
    for (int j = 0; j < z->m; j++)
        for (int t = 0; t < n; t++) cost[t] -= 2 * alpha * v[j] * z->by_lane[j * n + t];
}

/* The first of the patterns with the least cost; `kept` (-1: none) stays where no other is less. */
static int choose(const sol_solver *z, const float *norm, const float *v, float alpha, int kept)
{
    float cost[SOL_ASSIGN_MAX_PATTERNS];
    costs_of(z, norm, v, alpha, cost);
    int best = kept < 0 ? 0 : kept;
    for (int t = 0; t < z->n_patterns; t++)
        if (cost[t] < cost[best]) best = t;
    return best;
}

/* norm[t] = |t A|^2 for a [m, m] matrix A. */
static void norms_through(const sol_solver *z, const float *a, int64_t ld, float *norm)
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
static void norms_under(const sol_solver *z, const float *a, int64_t ld, float *norm)
{
    for (int t = 0; t < z->n_patterns; t++) {
        const int8_t *p = z->pattern + t * z->m;
        norm[t] = 0;
        for (int i = 0; i < z->m; i++)
            for (int j = 0; j < z->m; j++) norm[t] += (float)(p[i] * p[j]) * a[i * ld + j];
    }
}

/* flat[t] = |t|^2 */
static void flat_norms(const sol_solver *z, float *flat)
{
    for (int t = 0; t < z->n_patterns; t++) {
        flat[t] = 0;
        for (int j = 0; j < z->m; j++)
            flat[t] += (float)(z->pattern[t * z->m + j] * z->pattern[t * z->m + j]);
    }
}

static float round_scale(const sol_solver *z, double alpha)
{
    float a = (float)alpha;
    return z->spec->scale_dtype == SOL_F16 ? sol_f16_to_f32(sol_f32_to_f16(a)) : a;
}

/* The scale of the nearest patterns to w [n]: the optimum where the patterns do not depend on it,
 * else near to it. */
static float nearest_scale(const sol_solver *z, const float *w, int64_t n)
{
    float flat[SOL_ASSIGN_MAX_PATTERNS];
    double sum = 0;
    flat_norms(z, flat);
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
    float *workspace;  /* of this thread */
} tile;

static tile tile_at(const sol_solver *z, int64_t i, int thread)
{
    tile t = {.row = i * SOL_ASSIGN_TILE_ROWS,
              .workspace = (float *)(void *)(z->scratch + (size_t)thread * z->scratch_bytes)};
    t.rows = sol_min_i64(z->rows - t.row, SOL_ASSIGN_TILE_ROWS);
    return t;
}

static void each_tile(sol_solver *z, sol_tile_fn fn)
{
    sol_pool_run(z->ctx->pool, sol_ceil_div(z->rows, SOL_ASSIGN_TILE_ROWS), fn, z);
}

static int64_t run_end(const sol_solver *z, int64_t from)
{
    return z->cols - from < z->run ? z->cols : from + z->run;
}

static float *alpha_of(const sol_solver *z, int64_t row, int64_t col)
{
    return &z->alpha[row * z->groups + col / z->group];
}

/* Q of a row from its patterns and scales, columns [from, to). */
static void write_q(const sol_solver *z, int64_t row, int64_t from, int64_t to)
{
    float *q = z->s->q + row * z->cols;
    for (int64_t c = from; c < to; c += z->m) {
        const int8_t *p = z->pattern + z->chosen[row * (z->cols / z->m) + c / z->m] * z->m;
        float alpha = *alpha_of(z, row, c);
        for (int j = 0; j < z->m; j++) q[c + j] = alpha * (float)p[j];
    }
}

/* ---- 1. the first assignment ---- */

/* Scales of the groups that begin in a run, of W* as the errors to its left have moved it: W* + S
 * V^-1. */
static void run_scales(const sol_solver *z, const tile *t, int64_t from, int64_t n, const float *s,
                       float *moved)
{
    if (z->group > z->run) return;
    memcpy(moved, s, (size_t)(t->rows * n) * sizeof *moved);
    sol_solve_tile(t->rows, n, z->v + from * z->cols + from, z->cols, moved, n);
    for (int64_t r = 0; r < t->rows; r++) {
        const float *w = z->target + (t->row + r) * z->cols + from;
        for (int64_t c = 0; c < n; c++) moved[r * n + c] += w[c];
        for (int64_t c = 0; c < n; c += z->group)
            *alpha_of(z, t->row + r, from + c) =
                round_scale(z, z->start * nearest_scale(z, moved + r * n + c, z->group));
    }
}

/* x = V u for the [m, m] block v of the factor. */
static void multiply_block(const sol_solver *z, const float *v, const float *u, float *x)
{
    for (int i = 0; i < z->m; i++) {
        x[i] = 0;
        for (int j = i; j < z->m; j++) x[i] += v[i * z->cols + j] * u[j];
    }
}

/* x with x V = u: what W* has become in a block. */
static void solve_block(const sol_solver *z, const float *v, const float *u, float *x)
{
    for (int j = 0; j < z->m; j++) {
        x[j] = u[j];
        for (int i = 0; i < j; i++) x[j] -= x[i] * v[i * z->cols + j];
        x[j] /= v[j * z->cols + j];
    }
}

/* Block b of a run for one row: w [m] becomes its error, s [n] what that means for the run. */
static void first_block(const sol_solver *z, int64_t row, int64_t col, const float *norm, float *w,
                        float *s, int64_t n, int64_t b)
{
    const float *v = z->v + col * z->cols + (col - b);
    float u[SOL_ASSIGN_MAX_M], x[SOL_ASSIGN_MAX_M], alpha = *alpha_of(z, row, col);
    for (int j = 0; j < z->m; j++) {
        u[j] = s[b + j];
        for (int i = 0; i <= j; i++) u[j] += w[i] * v[i * z->cols + b + j];
    }
    if (z->nearest)
        solve_block(z, v + b, u, x);
    else
        multiply_block(z, v + b, u, x);
    int best = choose(z, norm, x, alpha, -1);
    z->chosen[row * (z->cols / z->m) + col / z->m] = (uint16_t)best;
    for (int i = 0; i < z->m; i++) {
        w[i] -= alpha * (float)z->pattern[best * z->m + i];
        for (int64_t c = b + z->m; c < n; c++) s[c] += w[i] * v[i * z->cols + c];
    }
}

static void first_tile(void *arg, int64_t i, int thread)
{
    const sol_solver *z = arg;
    tile t = tile_at(z, i, thread);
    float *s = t.workspace, *moved = s + SOL_ASSIGN_TILE_ROWS * SOL_ASSIGN_LONGEST_RUN,
          *norm = moved + SOL_ASSIGN_TILE_ROWS * SOL_ASSIGN_LONGEST_RUN;
    for (int64_t from = 0; from < z->cols; from = run_end(z, from)) {
        int64_t n = run_end(z, from) - from;
        float *error = z->target + t.row * z->cols;
        if (from > 0)
            sol_gemm_tile(false, false, t.rows, n, from, 1, error, z->cols, z->v + from, z->cols, 0,
                          s, n);
        else
            memset(s, 0, (size_t)(t.rows * n) * sizeof *s);
        run_scales(z, &t, from, n, s, moved);
        for (int64_t b = 0; b < n; b += z->m) {
            if (z->nearest)
                flat_norms(z, norm);
            else
                norms_through(z, z->v + (from + b) * (z->cols + 1), z->cols, norm);
            for (int64_t r = 0; r < t.rows; r++)
                first_block(z, t.row + r, from + b, norm, error + r * z->cols + from + b, s + r * n,
                            n, b);
        }
    }
    for (int64_t r = t.row; r < t.row + t.rows; r++) write_q(z, r, 0, z->cols);
}

/* Scale groups longer than a run start from the target as it is. */
static void start_scales(const sol_solver *z)
{
    if (z->group <= z->run) return;
    for (int64_t r = 0; r < z->rows; r++)
        for (int64_t c = 0; c < z->cols; c += z->group)
            *alpha_of(z, r, c) =
                round_scale(z, z->start * nearest_scale(z, z->target + r * z->cols + c, z->group));
    int64_t row = 0;
    if (z->moments)
        for (int p = 0; p < z->s->n_parts; p++) {
            double sum = 0;
            int64_t end = row + z->s->part_rows[p];
            for (int64_t r = row; r < end; r++) sum += z->alpha[r];
            float mean = round_scale(z, sum / (double)(end - row));
            for (; row < end; row++) z->alpha[row] = mean;
        }
}

void sol_assign_first(sol_solver *z, float factor)
{
    z->start = factor;
    z->run = z->group <= SOL_ASSIGN_LONGEST_RUN ? z->group : SOL_ASSIGN_RUN / z->m * z->m;
    start_scales(z);
    each_tile(z, first_tile);
}

/* ---- 2. scales by least squares ---- */

/* M [groups, groups] and c [groups] of a row: its objective is a M a - 2 c a. products: [groups of
 * the row, cols] T_k H of this row. */
static void row_moments(const sol_solver *z, int64_t row, const float *products, int64_t stride,
                        double *M, double *c)
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

static double row_objective(const sol_solver *z, const double *M, const double *c, const float *a)
{
    double sum = 0;
    for (int64_t k = 0; k < z->groups; k++) {
        sum -= 2 * c[k] * a[k];
        for (int64_t l = 0; l < z->groups; l++) sum += M[k * z->groups + l] * a[k] * a[l];
    }
    return sum;
}

/* New scales of a row, where they are better. M gets a ten-thousandth of its mean diagonal on top:
 * groups without influence would make it singular. A scale must stay a fifth of what it was:
 * smaller ones come from patterns that do not fit, which the next sweep changes. */
static void row_scales(const sol_solver *z, int64_t row, double *M, double *c, double *workspace,
                       float *fresh)
{
    int64_t n = z->groups;
    float *a = z->alpha + row * n;
    double mean = 0;
    for (int64_t k = 0; k < n; k++) mean += M[k * n + k] / (double)n;
    memcpy(workspace, M, (size_t)(n * n) * sizeof *workspace);
    memcpy(workspace + n * n, c, (size_t)n * sizeof *workspace);
    for (int64_t k = 0; k < n; k++) workspace[k * n + k] += 1e-4 * mean;
    double before = row_objective(z, M, c, a);
    z->gain[row] = before;
    if (!sol_solve_spd(workspace, n, workspace + n * n)) return;
    for (int64_t k = 0; k < n; k++)
        fresh[k] = workspace[n * n + k] > 0.2 * a[k] ? round_scale(z, workspace[n * n + k]) : a[k];
    double after = row_objective(z, M, c, fresh);
    if (!(after < before)) return;
    memcpy(a, fresh, (size_t)n * sizeof *a);
    z->gain[row] = after;
}

/* T of the tile's columns [from, to), as floats [rows, to - from]. */
static void write_t(const sol_solver *z, const tile *t, int64_t from, int64_t to, float *out)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = from; c < to; c++)
            *out++ =
                (float)z->pattern[z->chosen[(t->row + r) * (z->cols / z->m) + c / z->m] * z->m +
                                  c % z->m];
}

/* Rows are taken a few at a time, as many as the workspace for their products holds. */
static void scale_tile(void *arg, int64_t i, int thread)
{
    const sol_solver *z = arg;
    tile whole = tile_at(z, i, thread);
    int64_t some = SOL_ASSIGN_RUN / z->groups > 1 ? SOL_ASSIGN_RUN / z->groups : 1, n = z->groups;
    double *M = (double *)(void *)whole.workspace, *c = M + n * n, *workspace = c + n;
    float *fresh = (float *)(void *)(workspace + n * n + n), *signs = fresh + n,
          *products = signs + some * z->group;
    for (tile t = whole; t.row < whole.row + whole.rows; t.row += some) {
        t.rows = sol_min_i64(whole.row + whole.rows - t.row, some);
        for (int64_t k = 0; k < n; k++) {
            write_t(z, &t, k * z->group, (k + 1) * z->group, signs);
            /* row r, group k at products[(r groups + k) cols] */
            sol_gemm_tile(false, false, t.rows, z->cols, z->group, 1, signs, z->group,
                          z->h + k * z->group * z->cols, z->cols, 0, products + k * z->cols,
                          n * z->cols);
        }
        for (int64_t r = 0; r < t.rows; r++) {
            row_moments(z, t.row + r, products + r * n * z->cols, z->cols, M, c);
            if (z->moments)
                z->moments[2 * (t.row + r)] = M[0], z->moments[2 * (t.row + r) + 1] = c[0];
            else
                row_scales(z, t.row + r, M, c, workspace, fresh);
        }
    }
}

/* Per tensor: one scale for all rows of a part, a new one or that of its first row. The first
 * assignment of a narrow layer gives every row its own (run_scales). */
static void part_scales(const sol_solver *z)
{
    int64_t row = 0;
    for (int p = 0; p < z->s->n_parts; p++) {
        int64_t end = row + z->s->part_rows[p];
        double M = 0, c = 0, old = z->alpha[row];
        for (int64_t r = row; r < end; r++) M += z->moments[2 * r], c += z->moments[2 * r + 1];
        float fresh = M > 0 && c / M > 0.2 * old ? round_scale(z, c / M) : (float)old;
        bool better = M * fresh * fresh - 2 * c * fresh < M * old * old - 2 * c * old;
        double a = better ? fresh : (float)old;
        for (; row < end; row++) {
            z->alpha[row] = (float)a;
            z->gain[row] = z->moments[2 * row] * a * a - 2 * z->moments[2 * row + 1] * a;
        }
    }
}

/* Returns the objective. */
double sol_assign_fit_scales(sol_solver *z)
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

/* What the search over a pair of neighbouring blocks needs: the norms of each, and twice the
 * product under H of all pairs of patterns. */
typedef struct pair_table {
    float *first, *second, *cross; /* [n_patterns], [n_patterns], [n_patterns, n_patterns] */
} pair_table;

static void cross_under(const sol_solver *z, const float *h, float *cross)
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

/* back [n]: (W* - Q) H of the row in this run, which Q[block at col] = alpha * pattern `fresh`
 * changes from `from` on. */
static void put_block(const sol_solver *z, int64_t row, int64_t col, int fresh, float *back,
                      int64_t from, int64_t n, int64_t b)
{
    const float *h = z->h + col * z->cols + (col - b);
    float *q = z->s->q + row * z->cols + col, alpha = *alpha_of(z, row, col);
    uint16_t *chosen = &z->chosen[row * (z->cols / z->m) + col / z->m];
    if (fresh == *chosen) return;
    *chosen = (uint16_t)fresh;
    for (int i = 0; i < z->m; i++) {
        float x = alpha * (float)z->pattern[fresh * z->m + i], d = q[i] - x;
        q[i] = x;
        if (d != 0)
            for (int64_t c = from; c < n; c++) back[c] += d * h[i * z->cols + c];
    }
}

/* v = (W* - Q) H of a block as if Q were 0 in its own columns, and in the m at `other` (-1: none).
 */
static void without_block(const sol_solver *z, int64_t row, int64_t col, int64_t other,
                          const float *back, float *v)
{
    const float *q = z->s->q + row * z->cols;
    for (int i = 0; i < z->m; i++) {
        const float *h = z->h + (col + i) * z->cols;
        v[i] = back[i];
        for (int j = 0; j < z->m; j++) v[i] += h[col + j] * q[col + j];
        if (other >= 0)
            for (int j = 0; j < z->m; j++) v[i] += h[other + j] * q[other + j];
    }
}

static void sweep_block(const sol_solver *z, int64_t row, int64_t col, const float *norm,
                        float *back, int64_t n, int64_t b)
{
    float v[SOL_ASSIGN_MAX_M];
    without_block(z, row, col, -1, back + b, v);
    int kept = z->chosen[row * (z->cols / z->m) + col / z->m];
    put_block(z, row, col, choose(z, norm, v, *alpha_of(z, row, col), kept), back, b + z->m, n, b);
}

/* The best patterns for the block at col and the next one together. */
static void sweep_pair(const sol_solver *z, int64_t row, int64_t col, const pair_table *p,
                       float *back, int64_t n, int64_t b)
{
    float v[SOL_ASSIGN_MAX_M], first[SOL_ASSIGN_PAIR_PATTERNS], second[SOL_ASSIGN_PAIR_PATTERNS];
    const int N = z->n_patterns;
    const uint16_t *chosen = &z->chosen[row * (z->cols / z->m) + col / z->m];
    float alpha = *alpha_of(z, row, col), beta = *alpha_of(z, row, col + z->m), both = alpha * beta;
    without_block(z, row, col, col + z->m, back + b, v);
    costs_of(z, p->first, v, alpha, first);
    without_block(z, row, col + z->m, col, back + b + z->m, v);
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
        for (best_u = 0; best_u < N - 1 && second[best_u] + both * cross[best_u] != row_least;)
            best_u++;
    }
    put_block(z, row, col, best_t, back, b + z->m, n, b);
    put_block(z, row, col + z->m, best_u, back, b + z->m, n, b + z->m);
}

static void sweep_tile(void *arg, int64_t i, int thread)
{
    const sol_solver *z = arg;
    tile t = tile_at(z, i, thread);
    bool pairs = z->n_patterns <= SOL_ASSIGN_PAIR_PATTERNS;
    float *back = t.workspace, *norm = back + SOL_ASSIGN_TILE_ROWS * SOL_ASSIGN_LONGEST_RUN;
    pair_table p = {norm, norm + SOL_ASSIGN_PAIR_PATTERNS, norm + 2 * SOL_ASSIGN_PAIR_PATTERNS};
    for (int64_t from = 0; from < z->cols; from = run_end(z, from)) {
        int64_t n = run_end(z, from) - from;
        for (int64_t r = 0; r < t.rows; r++)
            memcpy(back + r * n, z->b + (t.row + r) * z->cols + from, (size_t)n * sizeof *back);
        sol_gemm_tile(false, false, t.rows, n, z->cols, -1, z->s->q + t.row * z->cols, z->cols,
                      z->h + from, z->cols, 1, back, n);
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

void sol_assign_sweep(sol_solver *z)
{
    z->run = SOL_ASSIGN_RUN / z->m * z->m;
    each_tile(z, sweep_tile);
}

void sol_assign_write_row(const sol_solver *z, int64_t row)
{
    write_q(z, row, 0, z->cols);
}
