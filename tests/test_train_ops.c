/* The row kernels of training with every set of features of this machine, against their definitions
 * in double, at odd sizes. */
#include <math.h>
#include <string.h>

#include "suite.h"

enum { MAX_N = 4200, GUARD = 32 };

static const int64_t sizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100, 1025, 4100};
enum { SIZES = sizeof sizes / sizeof sizes[0] };
static const float UNTOUCHED = 12345.5f;

typedef struct data {
    sol_kernels k;
    float x[MAX_N + GUARD], y[MAX_N + GUARD], z[MAX_N + GUARD], a[MAX_N + GUARD], b[MAX_N + GUARD];
} data;

static void fill(data *d, int64_t n)
{
    sol_rng rng = sol_rng_make((uint64_t)n, SOL_STREAM_TEST);
    for (int64_t i = 0; i < MAX_N + GUARD; i++) {
        bool in = i < n;
        d->x[i] = in ? 3 * sol_rng_normal(&rng) : UNTOUCHED;
        d->y[i] = in ? sol_rng_normal(&rng) : UNTOUCHED;
        d->z[i] = in ? sol_rng_normal(&rng) : UNTOUCHED;
        d->a[i] = in ? sol_rng_normal(&rng) : UNTOUCHED;
        d->b[i] = in ? sol_rng_normal(&rng) : UNTOUCHED;
    }
}

static void assert_guard(const float *x, int64_t n)
{
    for (int64_t i = n; i < n + GUARD; i++) ck_assert_float_eq(x[i], UNTOUCHED);
}

static void assert_near(double got, double want, double tolerance, const data *d, int64_t n,
                        const char *what)
{
    ck_assert_msg(fabs(got - want) <= tolerance, "%s, tier %s, n %d: %.9g, not %.9g", what,
                  sol_tier_name(d->k.features), (int)n, got, want);
}

static void each(void (*check)(data *d, int64_t n))
{
    data *d;
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    ck_ok(sol_alloc_array((void **)&d, 1, sizeof *d, err));
    for (int f = 0; f < n_sets; f++) {
        sol_kernels_init(&d->k, set[f]);
        for (int s = 0; s < SIZES; s++) {
            fill(d, sizes[s]);
            check(d, sizes[s]);
        }
    }
    sol_free(d);
}

static void check_softmax(data *d, int64_t n)
{
    int64_t from = n / 3, to = n - n / 5;
    static float s[MAX_N + GUARD], dp[MAX_N + GUARD];
    float norm[2];
    double m = -INFINITY, sum = 0, dot = 0;
    for (int64_t i = from; i < to; i++) m = fmax(m, (double)d->x[i]);
    for (int64_t i = from; i < to; i++) sum += exp(d->x[i] - m);
    for (int64_t i = from; i < to; i++) dot += exp(d->x[i] - m) / sum * d->y[i];
    memcpy(s, d->x, sizeof s);
    d->k.train_ops.softmax(s, n, from, to, norm);
    assert_guard(s, n);
    ck_assert_float_eq(norm[0], (float)m);
    assert_near(norm[1] * sum, 1, 1e-6, d, n, "1 / sum");
    for (int64_t i = 0; i < n; i++)
        assert_near(s[i], i >= from && i < to ? exp(d->x[i] - m) : 0, 1e-6, d, n, "softmax");
    memcpy(s, d->x, sizeof s);
    memcpy(dp, d->y, sizeof dp);
    d->k.train_ops.softmax_backward(s, dp, n, from, to, norm, 0.5f);
    assert_guard(s, n);
    assert_guard(dp, n);
    for (int64_t i = 0; i < n; i++) {
        double p = i >= from && i < to ? exp(d->x[i] - m) / sum : 0;
        assert_near(s[i], p, 1e-6, d, n, "p");
        assert_near(dp[i], p * (d->y[i] - dot) * 0.5, 2e-6, d, n, "ds");
    }
}

START_TEST(softmax)
{
    each(check_softmax);
}
END_TEST

static void check_cross_entropy(data *d, int64_t n)
{
    static float z[MAX_N + GUARD];
    int64_t target = n / 2;
    float dloss = 0.25f;
    double m = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, (double)d->x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(d->x[i] - m);
    memcpy(z, d->x, sizeof z);
    assert_near(d->k.train_ops.cross_entropy(z, n, target, NULL), log(sum) + m - d->x[target], 3e-6,
                d, n, "loss");
    ck_assert_mem_eq(z, d->x, sizeof z);
    assert_near(d->k.train_ops.cross_entropy(z, n, target, &dloss), log(sum) + m - d->x[target],
                3e-6, d, n, "loss");
    assert_guard(z, n);
    for (int64_t i = 0; i < n; i++)
        assert_near(z[i], dloss * (exp(d->x[i] - m) / sum - (i == target)), 2e-7, d, n, "dz");
}

START_TEST(cross_entropy)
{
    each(check_cross_entropy);
}
END_TEST

static void check_swiglu_backward(data *d, int64_t n)
{
    for (int add = 0; add < 2; add++) {
        static float dg[MAX_N + GUARD], du[MAX_N + GUARD];
        memcpy(dg, d->a, sizeof dg);
        memcpy(du, d->b, sizeof du);
        sol_swiglu_grad a = {
            .g = d->x, .u = d->y, .dh = d->z, .dg = dg, .du = du, .add_g = add, .add_u = !add};
        d->k.train_ops.swiglu_backward(&a, n);
        assert_guard(dg, n);
        assert_guard(du, n);
        for (int64_t i = 0; i < n; i++) {
            double g = d->x[i], s = 1 / (1 + exp(-g));
            assert_near(dg[i],
                        (double)d->z[i] * d->y[i] * s * (1 + g * (1 - s)) + (add ? d->a[i] : 0),
                        1e-5, d, n, "dg");
            assert_near(du[i], d->z[i] * g * s + (add ? 0 : d->b[i]), 1e-5, d, n, "du");
        }
        a.dg = NULL;
        d->k.train_ops.swiglu_backward(&a, n);
        a.du = NULL;
        d->k.train_ops.swiglu_backward(&a, n);
    }
}

START_TEST(swiglu_backward)
{
    each(check_swiglu_backward);
}
END_TEST

static void check_rmsnorm(data *d, int64_t n)
{
    static float y[MAX_N + GUARD], dw[MAX_N + GUARD], dx[MAX_N + GUARD];
    const float eps = 0.01f;
    double sum = 0, dot = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)d->x[i] * d->x[i];
    double r = 1 / sqrt(sum / (double)n + eps);
    for (int64_t i = 0; i < n; i++) dot += (double)d->z[i] * d->y[i] * d->x[i] * r;
    memcpy(y, d->a, sizeof y);
    assert_near(d->k.train_ops.rmsnorm(d->x, d->y, eps, n, y), r, 1e-6 * r, d, n, "r");
    assert_guard(y, n);
    for (int64_t i = 0; i < n; i++) assert_near(y[i], d->x[i] * r * d->y[i], 1e-5, d, n, "rmsnorm");
    memcpy(dx, d->x, sizeof dx);
    d->k.train_ops.rmsnorm(dx, d->y, eps, n, dx);
    ck_assert_mem_eq(dx, y, (size_t)n * sizeof *y);
    assert_guard(dx, n);
    for (int add = 0; add < 2; add++) {
        memcpy(dw, d->a, sizeof dw);
        memcpy(dx, d->b, sizeof dx);
        sol_rmsnorm_grad a = {
            .x = d->x, .w = d->y, .dy = d->z, .r = (float)r, .dw = dw, .dx = dx, .add = add};
        d->k.train_ops.rmsnorm_backward(&a, n);
        assert_guard(dw, n);
        assert_guard(dx, n);
        for (int64_t i = 0; i < n; i++) {
            double want = r * ((double)d->y[i] * d->z[i] - d->x[i] * r * dot / (double)n);
            assert_near(dw[i], d->a[i] + d->z[i] * d->x[i] * r, 1e-5, d, n, "dw");
            assert_near(dx[i], want + (add ? d->b[i] : 0), 1e-5, d, n, "dx");
        }
    }
    sol_rmsnorm_grad only_w = {.x = d->x, .w = d->y, .dy = d->z, .r = (float)r, .dw = dw};
    d->k.train_ops.rmsnorm_backward(&only_w, n);
}

START_TEST(rmsnorm)
{
    each(check_rmsnorm);
}
END_TEST

static void check_rope(data *d, int64_t n)
{
    static float y[MAX_N + GUARD];
    int64_t half = n / 2;
    for (int add = 0; add < 2; add++) {
        memcpy(y, d->a, sizeof y);
        sol_rope_rotation t = {
            .x = d->x, .cosine = d->y, .sine = d->z, .sign = -1, .half = half, .y = y, .add = add};
        d->k.train_ops.rope(&t);
        assert_guard(y, n);
        for (int64_t i = 0; i < half; i++) {
            double x0 = d->x[i], x1 = d->x[i + half];
            assert_near(y[i], x0 * d->y[i] + x1 * d->z[i] + (add ? d->a[i] : 0), 1e-5, d, n,
                        "rope, first half");
            assert_near(y[i + half], x1 * d->y[i] - x0 * d->z[i] + (add ? d->a[i + half] : 0), 1e-5,
                        d, n, "rope, second half");
        }
    }
    memcpy(y, d->a, sizeof y);
    sol_rope_rotation in_place = {
        .x = y, .cosine = d->y, .sine = d->z, .sign = 1, .half = half, .y = y};
    d->k.train_ops.rope(&in_place);
    assert_guard(y, n);
    for (int64_t i = 0; i < half; i++) {
        double x0 = d->a[i], x1 = d->a[i + half];
        assert_near(y[i], x0 * d->y[i] - x1 * d->z[i], 1e-5, d, n, "rope in place, first half");
        assert_near(y[i + half], x1 * d->y[i] + x0 * d->z[i], 1e-5, d, n,
                    "rope in place, second half");
    }
}

START_TEST(rope)
{
    each(check_rope);
}
END_TEST

/* One position on which everything sits has no gradient at all, however large the scores; the rest
 * is 0 and not tiny noise. */
START_TEST(saturated_softmax_has_no_gradient)
{
    data *d;
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    ck_ok(sol_alloc_array((void **)&d, 1, sizeof *d, err));
    for (int f = 0; f < n_sets; f++) {
        sol_kernels_init(&d->k, set[f]);
        fill(d, 100);
        for (int i = 0; i < 100; i++) d->x[i] = d->z[i] = i == 41 ? 700.3f : 500 + d->x[i];
        float norm[2];
        d->k.train_ops.softmax(d->z, 100, 0, 100, norm);
        d->k.train_ops.softmax_backward(d->x, d->y, 100, 0, 100, norm, 3);
        for (int i = 0; i < 100; i++) ck_assert_float_eq(d->y[i], 0);
    }
    sol_free(d);
}
END_TEST

/* What is not a number is not hidden. */
START_TEST(non_finite_values_show)
{
    static const float bad[] = {NAN, INFINITY};
    data *d;
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    ck_ok(sol_alloc_array((void **)&d, 1, sizeof *d, err));
    for (int f = 0; f < n_sets; f++) {
        sol_kernels_init(&d->k, set[f]);
        for (int at = 0; at < 40; at++)
            for (int b = 0; b < 2; b++) {
                fill(d, 40);
                d->x[at] = bad[b];
                ck_assert(!isfinite(d->k.train_ops.cross_entropy(d->x, 40, 3, NULL)));
                d->k.train_ops.rmsnorm(d->x, d->y, 0.1f, 40, d->z);
                ck_assert(!isfinite(d->z[at]));
                float norm[2];
                d->k.train_ops.softmax(d->x, 40, 0, 40, norm);
                ck_assert(!isfinite(norm[1]));
            }
    }
    sol_free(d);
}
END_TEST

SOL_TEST_MAIN("train_ops", tcase_add_test(tc, softmax); tcase_add_test(tc, cross_entropy);
              tcase_add_test(tc, swiglu_backward); tcase_add_test(tc, rmsnorm);
              tcase_add_test(tc, rope); tcase_add_test(tc, saturated_softmax_has_no_gradient);
              tcase_add_test(tc, non_finite_values_show))
