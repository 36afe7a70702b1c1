/* Measures of a study against closed forms, Jacobi's singular values and plain loops. */
#include "suite.h"

#include <math.h>
#include <string.h>

/* Singular values by one-sided Jacobi rotations in double: slow, accurate, shares nothing with the
 * code under test. */
static void jacobi_singular_values(const float *g, int rows, int cols, double *sigma)
{
    int m = rows > cols ? rows : cols, n = rows > cols ? cols : rows;
    double *a = malloc(sizeof *a * (size_t)(m * n)); /* n columns of length m */
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++)
            a[j * m + i] = (double)(rows > cols ? g[i * cols + j] : g[j * cols + i]);
    for (int sweep = 0; sweep < 60; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                double app = 0, aqq = 0, apq = 0;
                for (int i = 0; i < m; i++) {
                    app += a[p * m + i] * a[p * m + i];
                    aqq += a[q * m + i] * a[q * m + i];
                    apq += a[p * m + i] * a[q * m + i];
                }
                if (fabs(apq) <= 1e-17 * sqrt(app * aqq)) continue;
                double zeta = (aqq - app) / (2 * apq);
                double t = (zeta >= 0 ? 1 : -1) / (fabs(zeta) + sqrt(1 + zeta * zeta)),
                       c = 1 / sqrt(1 + t * t);
                for (int i = 0; i < m; i++) {
                    double x = a[p * m + i], y = a[q * m + i];
                    a[p * m + i] = c * x - c * t * y;
                    a[q * m + i] = c * t * x + c * y;
                }
            }
    for (int j = 0; j < n; j++) {
        sigma[j] = 0;
        for (int i = 0; i < m; i++) sigma[j] += a[j * m + i] * a[j * m + i];
        sigma[j] = sqrt(sigma[j]);
    }
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (sigma[j] > sigma[i]) {
                double t = sigma[i];
                sigma[i] = sigma[j], sigma[j] = t;
            }
    free(a);
}

static double rank_of(const float *g, int64_t rows, int64_t cols)
{
    double *work = malloc(sol_rank_work(rows, cols) * sizeof *work);
    double er = sol_effective_rank(g, rows, cols, work);
    free(work);
    return er;
}

START_TEST(effective_rank_closed_forms)
{
    enum { N = 12, M = 20 };
    float g[N * M] = {0};
    for (int i = 0; i < N; i++) g[i * M + i] = 3;
    ck_assert_double_eq_tol(rank_of(g, N, M), N, 1e-9);
    for (int i = 0; i < N; i++) /* rank one */
        for (int j = 0; j < M; j++) g[i * M + j] = (float)((i + 1) * (j - 4));
    ck_assert_double_eq_tol(rank_of(g, N, M), 1, 1e-5);
    memset(g, 0, sizeof g);
    double sum = 0, entropy = 0;
    for (int i = 0; i < N; i++) { /* a permuted diagonal of 1e-3 2^-i */
        g[i * M + (i * 5) % N] = ldexpf(1e-3f, -i);
        sum += ldexp(1, -i);
    }
    for (int i = 0; i < N; i++) entropy -= ldexp(1, -i) / sum * log(ldexp(1, -i) / sum);
    ck_assert_double_eq_tol(rank_of(g, N, M), exp(entropy), 1e-6);
    float tiny[N * M]; /* transposed, and far below what fp32 squares could hold */
    for (int i = 0; i < N; i++)
        for (int j = 0; j < M; j++) tiny[j * N + i] = g[i * M + j] * 1e-25f;
    ck_assert_double_eq_tol(rank_of(tiny, M, N), exp(entropy), 1e-6);
}
END_TEST

START_TEST(effective_rank_undefined)
{
    float g[6] = {0};
    ck_assert(isnan(rank_of(g, 2, 3)));
    g[4] = NAN;
    ck_assert(isnan(rank_of(g, 2, 3)));
    g[4] = INFINITY;
    ck_assert(isnan(rank_of(g, 2, 3)));
    g[4] = -2;
    ck_assert_double_eq(rank_of(g, 2, 3), 1);
    ck_assert_double_eq(rank_of(g, 6, 1), 1);
}
END_TEST

START_TEST(singular_values_match_jacobi)
{
    static const int shape[][2] = {{1, 7}, {9, 4}, {24, 24}, {17, 40}, {40, 17}};
    sol_rng r = sol_rng_make(11, SOL_STREAM_TEST);
    for (size_t s = 0; s < sizeof shape / sizeof shape[0]; s++) {
        int rows = shape[s][0], cols = shape[s][1], n = rows < cols ? rows : cols;
        float g[40 * 40];
        double sigma[40], want[40], *work = malloc(sol_rank_work(rows, cols) * sizeof *work);
        /* Columns of falling size: singular values over six decades. */
        for (int i = 0; i < rows * cols; i++)
            g[i] = sol_rng_normal(&r) * powf(10, -6.0f * (float)(i % cols) / (float)cols);
        ck_assert_int_eq(sol_singular_values(g, rows, cols, work, sigma), 0);
        jacobi_singular_values(g, rows, cols, want);
        for (int i = 0; i < n; i++) ck_assert_double_eq_tol(sigma[i], want[i], 2e-8 * want[0]);
        free(work);
    }
}
END_TEST

START_TEST(row_samples)
{
    int64_t a[64], b[64];
    ck_assert_int_eq(sol_sample_rows(10, 64, a), 10);
    for (int i = 0; i < 10; i++) ck_assert_int_eq(a[i], i);
    ck_assert_int_eq(sol_sample_rows(1000, 64, a), 64);
    ck_assert_int_eq(sol_sample_rows(1000, 64, b), 64);
    ck_assert_int_eq(memcmp(a, b, sizeof a), 0);
    double mean = 0;
    for (int i = 0; i < 64; i++) {
        ck_assert(a[i] >= 0 && a[i] < 1000 && (i == 0 || a[i] > a[i - 1]));
        mean += (double)a[i] / 64;
    }
    ck_assert(mean > 350 && mean < 650);
}
END_TEST

/* The rule of 3:4 in a few lines: contiguous blocks of one row-major matrix, a scale for every
 * `group` weights. */
static void quantize_34(const float *w, int64_t n, int64_t group, int8_t *t, float *scales)
{
    for (int64_t b = 0; b < n; b += 4) {
        int zero = 0;
        for (int p = 1; p < 4; p++)
            if (fabsf(w[b + p]) < fabsf(w[b + zero])) zero = p;
        for (int p = 0; p < 4; p++) t[b + p] = p == zero ? 0 : w[b + p] < 0 ? -1 : 1;
    }
    for (int64_t s = 0; s < n / group; s++) {
        double sum = 0;
        for (int64_t i = s * group; i < (s + 1) * group; i++) sum += t[i] ? fabs((double)w[i]) : 0;
        scales[s] = (float)(sum / (0.75 * (double)group));
    }
}

typedef struct layer {
    int64_t rows, cols, group;
    float *w, *scales;
    int8_t *t;
    uint8_t *state;
    void *work;
    double m[SOL_MEASURE_COUNT];
    sol_histograms h;
} layer;

static void layer_make(layer *l, int64_t rows, int64_t cols, int64_t group)
{
    sol_err *err = NULL;
    size_t n = (size_t)(rows * cols);
    *l = (layer){.rows = rows, .cols = cols, .group = group};
    ck_assert_int_eq(sol_alloc_array((void **)&l->w, n, sizeof *l->w, err), SOL_OK);
    ck_assert_int_eq(
        sol_alloc_array((void **)&l->scales, n / (size_t)group, sizeof *l->scales, err), SOL_OK);
    ck_assert_int_eq(sol_alloc_array((void **)&l->t, n, 1, err), SOL_OK);
    ck_assert_int_eq(sol_alloc_array((void **)&l->state, sol_state_bytes(rows, cols), 1, err),
                     SOL_OK);
    ck_assert_int_eq(sol_alloc_array((void **)&l->work, sol_measure_work(), 1, err), SOL_OK);
}

static void layer_free(layer *l)
{
    sol_free(l->w);
    sol_free(l->scales);
    sol_free(l->t);
    sol_free(l->state);
    sol_free(l->work);
}

static void layer_measure(layer *l, sol_pool *pool, sol_block_layout layout, bool has_previous)
{
    sol_layer_view v = {.w = l->w,
                        .rows = l->rows,
                        .cols = l->cols,
                        .ternary = l->t,
                        .scales = l->scales,
                        .n_scales = l->rows * l->cols / l->group,
                        .layout = layout,
                        .w_range = 2};
    sol_measure_weights(pool, &v, l->state, has_previous, l->work, l->m, &l->h);
}

static int64_t total(const uint32_t *h, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += h[i];
    return sum;
}

START_TEST(gaussian_layer)
{
    layer l;
    layer_make(&l, 512, 512, 128);
    sol_rng r = sol_rng_make(3, SOL_STREAM_TEST);
    int64_t n = l.rows * l.cols;
    for (int64_t i = 0; i < n; i++) l.w[i] = 0.02f * sol_rng_normal(&r);
    quantize_34(l.w, n, l.group, l.t, l.scales);
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, false);
    ck_assert_double_eq_tol(l.m[SOL_M_nmse], 0.2818, 0.003);
    ck_assert_double_eq_tol(l.m[SOL_M_alpha_mean] / 0.02, 0.9766, 0.003);
    ck_assert_double_eq_tol(l.m[SOL_M_near_alpha], 0.0967, 0.003);
    ck_assert_double_eq_tol(l.m[SOL_M_valley_mass], erf(0.25 * 0.9766 / sqrt(2)), 0.003);
    ck_assert_double_eq_tol(l.m[SOL_M_kurtosis], 3, 0.1);
    ck_assert_double_eq_tol(l.m[SOL_M_bimodality], 1 / 3.0, 0.015);
    ck_assert_double_eq_tol(l.m[SOL_M_pow2_mass], 2 / 128.0, 0.002);
    ck_assert_double_eq_tol(l.m[SOL_M_zero_entropy], 1, 1e-4);
    ck_assert_double_eq_tol(l.m[SOL_M_w_rms], 0.02, 1e-4);
    ck_assert(isnan(l.m[SOL_M_zero_flips]) && isnan(l.m[SOL_M_sign_flips]) &&
              isnan(l.m[SOL_M_state_flips]));
    ck_assert_int_eq(total(l.h.zeroed, SOL_HIST_X_BINS), n / 4);
    ck_assert_int_eq(total(l.h.kept, SOL_HIST_X_BINS), n / 4 * 3);
    ck_assert_int_eq(total(l.h.w, SOL_HIST_W_BINS), n);
    ck_assert_int_eq(total(l.h.log2, SOL_HIST_LOG2_BINS), n);
    layer_free(&l);
}
END_TEST

/* The error of a quantizer whose levels have a shift is that against Q(w), not against t alpha. */
START_TEST(shifted_levels)
{
    layer l;
    layer_make(&l, 4, 64, 64);
    float shifts[] = {0.25f, -0.5f, 0, 0.125f};
    for (int64_t i = 0; i < 4 * 64; i++) {
        l.t[i] = (int8_t)(i % 3 - 1);
        l.scales[i / 64] = 0.5f;
        l.w[i] = 0.5f * (float)l.t[i] + shifts[i / 64];
    }
    sol_layer_view v = {.w = l.w,
                        .rows = 4,
                        .cols = 64,
                        .ternary = l.t,
                        .scales = l.scales,
                        .shifts = shifts,
                        .n_scales = 4,
                        .w_range = 2};
    sol_measure_weights(NULL, &v, l.state, false, l.work, l.m, &l.h);
    ck_assert_double_eq(l.m[SOL_M_nmse], 0);
    v.shifts = NULL;
    sol_measure_weights(NULL, &v, l.state, false, l.work, l.m, &l.h);
    ck_assert_double_gt(l.m[SOL_M_nmse], 0.1);
    layer_free(&l);
}
END_TEST

/* Every measure again, one weight at a time, from the formulas of the header. */
static void naive_measures(const layer *l, sol_block_layout layout, const int8_t *before, double *m)
{
    int64_t n = l->rows * l->cols, lane_zeros[4] = {0}, zeros = 0, blocks = n / 4, margins = 0;
    double *x = malloc((size_t)n * sizeof *x), mean = 0, c[5] = {0}, w2 = 0, e2 = 0, margin = 0;
    for (int i = 0; i < SOL_MEASURE_COUNT; i++) m[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        double alpha = (double)l->scales[i / l->group];
        x[i] = alpha > 0 ? (double)l->w[i] / alpha : 0;
        mean += x[i] / (double)n;
        m[SOL_M_valley_mass] += (fabs(x[i]) < 0.25) / (double)n;
        m[SOL_M_near_alpha] += (fabs(fabs(x[i]) - 1) < 0.1) / (double)n;
        int exponent;
        double fraction = 2 * frexp(fabs((double)l->w[i]), &exponent);
        m[SOL_M_pow2_mass] +=
            (l->w[i] != 0 && (fraction < 1 + 1 / 128.0 || fraction >= 2 - 1 / 128.0)) / (double)n;
        w2 += (double)l->w[i] * (double)l->w[i];
        e2 += pow((double)l->w[i] - l->t[i] * alpha, 2);
        m[SOL_M_sign_flips] += (before[i] * l->t[i] == -1) / (double)n;
        m[SOL_M_state_flips] += (before[i] != l->t[i]) / (double)n;
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 2; k <= 4; k++) c[k] += pow(x[i] - mean, k) / (double)n;
    m[SOL_M_kurtosis] = c[4] / (c[2] * c[2]);
    m[SOL_M_bimodality] = (c[3] * c[3] / pow(c[2], 3) + 1) / m[SOL_M_kurtosis];
    for (int64_t b = 0; b < blocks; b++) {
        int64_t row = b / (l->cols / 4), in_row = b % (l->cols / 4);
        double zeroed = -1, kept = 1e30, alpha = 0;
        bool moved = false;
        for (int p = 0; p < 4; p++) {
            int64_t col = layout == SOL_LAYOUT_CONTIGUOUS ? 4 * in_row + p
                                                          : in_row / 16 * 64 + in_row % 16 + 16 * p;
            int64_t i = row * l->cols + col;
            double aw = fabs((double)l->w[i]);
            moved |= (before[i] == 0) != (l->t[i] == 0);
            if (l->t[i] == 0) {
                zeros++;
                lane_zeros[p]++;
                zeroed = fmax(zeroed, aw);
            } else {
                kept = fmin(kept, aw);
                alpha = (double)l->scales[i / l->group];
            }
        }
        m[SOL_M_zero_flips] += (double)moved / (double)blocks;
        if (zeroed >= 0 && kept < 1e30) {
            margin += (kept - zeroed) / alpha;
            margins++;
        }
    }
    m[SOL_M_margin] = margin / (double)margins;
    for (int p = 0; p < 4; p++) {
        double q = (double)lane_zeros[p] / (double)zeros;
        m[SOL_M_zero_entropy] -= q > 0 ? q * log(q) / log(4) : 0;
    }
    m[SOL_M_nmse] = e2 / w2;
    m[SOL_M_w_rms] = sqrt(w2 / (double)n);
    free(x);
}

/* Random states that obey no rule, so that blocks with 0 to 4 zeros occur. */
static void random_states(sol_rng *r, int8_t *t, int64_t n)
{
    for (int64_t i = 0; i < n; i++) t[i] = (int8_t)(sol_rng_below(r, 3)) - 1;
}

static void compare_with_naive(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout)
{
    static const int checked[] = {SOL_M_valley_mass, SOL_M_near_alpha,  SOL_M_kurtosis,
                                  SOL_M_bimodality,  SOL_M_pow2_mass,   SOL_M_zero_flips,
                                  SOL_M_sign_flips,  SOL_M_state_flips, SOL_M_zero_entropy,
                                  SOL_M_margin,      SOL_M_nmse,        SOL_M_w_rms};
    layer l;
    sol_rng r = sol_rng_make(5, SOL_STREAM_TEST);
    layer_make(&l, rows, cols, group);
    int64_t n = rows * cols;
    int8_t *before = malloc((size_t)n);
    double want[SOL_MEASURE_COUNT];
    random_states(&r, before, n);
    for (int64_t i = 0; i < n; i++) l.w[i] = i % 9 == 0 ? 0.25f : expf(sol_rng_normal(&r)) - 0.9f;
    for (int64_t i = 0; i < n / group; i++) l.scales[i] = 0.2f + sol_rng_uniform(&r);
    memcpy(l.t, before, (size_t)n);
    layer_measure(&l, NULL, layout, false);
    random_states(&r, l.t, n);
    memcpy(l.t, before, (size_t)n / 2); /* the first half does not move */
    layer_measure(&l, NULL, layout, true);
    naive_measures(&l, layout, before, want);
    for (size_t i = 0; i < sizeof checked / sizeof checked[0]; i++)
        ck_assert_msg(fabs(l.m[checked[i]] - want[checked[i]]) <=
                          1e-9 * (1 + fabs(want[checked[i]])),
                      "%s: %g, naive %g", sol_measure_at(checked[i])->name, l.m[checked[i]],
                      want[checked[i]]);
    layer_measure(&l, NULL, layout, true); /* nothing moved since */
    ck_assert(l.m[SOL_M_zero_flips] == 0 && l.m[SOL_M_sign_flips] == 0 &&
              l.m[SOL_M_state_flips] == 0);
    free(before);
    layer_free(&l);
}

START_TEST(matches_naive)
{
    compare_with_naive(7, 64, 16, SOL_LAYOUT_CONTIGUOUS);
    compare_with_naive(131, 20, 20, SOL_LAYOUT_CONTIGUOUS);
    compare_with_naive(5, 128, 64, SOL_LAYOUT_STRIDE16);
    compare_with_naive(3, 64, 192, SOL_LAYOUT_STRIDE16);
}
END_TEST

START_TEST(two_spikes)
{
    layer l;
    layer_make(&l, 16, 32, 32);
    for (int64_t i = 0; i < 16 * 32; i++) l.w[i] = i % 2 ? 0.5f : -0.5f;
    quantize_34(l.w, 16 * 32, 32, l.t, l.scales);
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, false);
    ck_assert_double_eq_tol(l.m[SOL_M_kurtosis], 1, 1e-12);
    ck_assert_double_eq_tol(l.m[SOL_M_bimodality], 1, 1e-12);
    ck_assert_double_eq(l.m[SOL_M_near_alpha], 1);
    ck_assert_double_eq(l.m[SOL_M_pow2_mass], 1);
    ck_assert_double_eq(l.m[SOL_M_zero_entropy], 0); /* ties zero the first lane, always */
    ck_assert_double_eq(l.m[SOL_M_margin], 0);
    ck_assert_double_eq(l.m[SOL_M_nmse], 0.25);
    ck_assert_int_eq(l.h.kept[25], 16 * 24);
    ck_assert_int_eq(l.h.log2[8 * 17], 16 * 32); /* 2^-1 opens its octave */
    ck_assert_int_eq(l.h.w[SOL_HIST_W_BINS / 8 * 5], 16 * 16);
    layer_free(&l);
}
END_TEST

/* No zeros (binary), all zeros, not finite, a width that is no multiple of four: defined answers,
 * no trap. */
START_TEST(edges)
{
    layer l;
    layer_make(&l, 3, 6, 6);
    for (int64_t i = 0; i < 18; i++) l.w[i] = 1, l.t[i] = 1;
    for (int i = 0; i < 3; i++) l.scales[i] = 1;
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, false);
    ck_assert(isnan(l.m[SOL_M_zero_entropy]) && isnan(l.m[SOL_M_margin]) &&
              isnan(l.m[SOL_M_kurtosis]));
    ck_assert_double_eq(l.m[SOL_M_nmse], 0);
    for (int64_t i = 0; i < 18; i++) l.t[i] = -1;
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, true);
    ck_assert(l.m[SOL_M_sign_flips] == 1 && l.m[SOL_M_state_flips] == 1 &&
              l.m[SOL_M_zero_flips] == 0);
    memset(l.w, 0, 18 * sizeof *l.w);
    memset(l.t, 0, 18);
    memset(l.scales, 0, 3 * sizeof *l.scales);
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, true);
    ck_assert(isnan(l.m[SOL_M_nmse]) && isnan(l.m[SOL_M_margin]) && l.m[SOL_M_state_flips] == 1);
    ck_assert_int_eq(l.h.zeroed[0], 18);
    l.w[0] = NAN, l.w[1] = INFINITY, l.w[2] = -INFINITY, l.w[3] = 1e-40f, l.w[4] = 3e38f;
    layer_measure(&l, NULL, SOL_LAYOUT_CONTIGUOUS, true);
    ck_assert_int_eq(total(l.h.w, SOL_HIST_W_BINS), 18);
    ck_assert_int_eq(total(l.h.log2, SOL_HIST_LOG2_BINS), 18);
    layer_free(&l);
}
END_TEST

START_TEST(threads_change_nothing)
{
    layer a, b;
    sol_pool *pool = NULL;
    sol_rng r = sol_rng_make(8, SOL_STREAM_TEST);
    ck_ok(sol_pool_create(&pool, 3, err));
    layer_make(&a, 197, 64, 64);
    layer_make(&b, 197, 64, 64);
    for (int64_t i = 0; i < 197 * 64; i++) a.w[i] = b.w[i] = sol_rng_normal(&r);
    quantize_34(a.w, 197 * 64, 64, a.t, a.scales);
    quantize_34(b.w, 197 * 64, 64, b.t, b.scales);
    layer_measure(&a, NULL, SOL_LAYOUT_STRIDE16, false);
    layer_measure(&b, pool, SOL_LAYOUT_STRIDE16, false);
    layer_measure(&a, NULL, SOL_LAYOUT_STRIDE16, true);
    layer_measure(&b, pool, SOL_LAYOUT_STRIDE16, true);
    a.m[SOL_M_grad_norm] = sol_measure_norm(NULL, a.w, 197 * 64);
    b.m[SOL_M_grad_norm] = sol_measure_norm(pool, b.w, 197 * 64);
    ck_assert_int_eq(memcmp(a.m, b.m, sizeof a.m), 0);
    ck_assert_int_eq(memcmp(&a.h, &b.h, sizeof a.h), 0);
    ck_assert_double_eq_tol(a.m[SOL_M_grad_norm], a.m[SOL_M_w_rms] * sqrt(197 * 64), 1e-9);
    layer_free(&a);
    layer_free(&b);
    sol_pool_free(&pool);
}
END_TEST

START_TEST(pairs_of_records)
{
    float a[] = {1, 2, 3, 0.0f}, b[] = {1, 2, -3, -0.0f}, zero[4] = {0};
    ck_assert_double_eq(sol_share_unchanged(a, b, 4), 0.5);
    ck_assert_double_eq_tol(sol_cosine(a, a, 4), 1, 1e-15);
    ck_assert_double_eq_tol(sol_cosine(a, b, 4), -4 / 14.0, 1e-15);
    ck_assert(isnan(sol_cosine(a, zero, 4)));
    ck_assert_float_eq(sol_histogram_range(zero, 4), 1);
    float c[] = {0.25f, -0.25f};
    ck_assert_float_eq(sol_histogram_range(c, 2), 1);
    c[0] = c[1] = 0.02009f;
    ck_assert_float_eq_tol(sol_histogram_range(c, 2), 0.081f, 1e-6f);
}
END_TEST

SOL_TEST_MAIN("study measures", tcase_add_test(tc, effective_rank_closed_forms);
              tcase_add_test(tc, effective_rank_undefined);
              tcase_add_test(tc, singular_values_match_jacobi); tcase_add_test(tc, row_samples);
              tcase_add_test(tc, gaussian_layer); tcase_add_test(tc, shifted_levels);
              tcase_add_test(tc, matches_naive); tcase_add_test(tc, two_spikes);
              tcase_add_test(tc, edges); tcase_add_test(tc, threads_change_nothing);
              tcase_add_test(tc, pairs_of_records))
