/* The float kernels of every set of features against plain double arithmetic, and the promise that
 * a row's bits do not depend on the call. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

typedef struct set_ops {
    char name[SOL_CPU_TEXT];
    sol_float_ops f;
} set_ops;

/* With every set of features of this processor. */
static int sets(set_ops out[SOL_TEST_SETS])
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n = sol_test_sets(set);
    for (int i = 0; i < n; i++) {
        sol_kernels k;
        sol_kernels_init(&k, set[i]);
        sol_cpu_text(set[i], out[i].name);
        out[i].f = k.float_ops;
    }
    return n;
}

static float *normals(int64_t n, uint64_t stream)
{
    float *x = NULL;
    sol_rng r = sol_rng_make(11, SOL_STREAM_TEST + (stream << 8));
    ck_ok(sol_alloc_array((void **)&x, (size_t)n, sizeof *x, err));
    for (int64_t i = 0; i < n; i++) x[i] = sol_rng_normal(&r);
    return x;
}

enum { MAX_ROWS = 9, MAX_OUTS = 17, MAX_K = 133 };

START_TEST(dot_matches_double_in_every_shape)
{
    set_ops t[SOL_TEST_SETS];
    int n = sets(t);
    float *x = normals(MAX_ROWS * MAX_K, 1), *w = normals(MAX_OUTS * MAX_K, 2);
    sol_bf16 *wb = NULL;
    sol_f16 *wh = NULL;
    ck_ok(sol_alloc_array((void **)&wb, MAX_OUTS * MAX_K, sizeof *wb, err));
    ck_ok(sol_alloc_array((void **)&wh, MAX_OUTS * MAX_K, sizeof *wh, err));
    for (int i = 0; i < MAX_OUTS * MAX_K; i++) {
        wb[i] = sol_f32_to_bf16(w[i]);
        wh[i] = sol_f32_to_f16(w[i]);
        w[i] = sol_f16_to_f32(wh[i]);
    }
    static const int ks[] = {1, 4, 15, 16, 17, 64, 133};
    for (int i = 0; i < n; i++)
        for (int rows = 1; rows <= MAX_ROWS; rows += 2)
            for (int outs = 1; outs <= MAX_OUTS; outs += 4)
                for (int c = 0; c < 7; c++) {
                    float y[3][MAX_ROWS * MAX_OUTS];
                    int k = ks[c];
                    t[i].f.dot[SOL_F32](w, MAX_K, outs, x, MAX_K, rows, k, y[0], outs);
                    t[i].f.dot[SOL_F16](wh, MAX_K, outs, x, MAX_K, rows, k, y[1], outs);
                    t[i].f.dot[SOL_BF16](wb, MAX_K, outs, x, MAX_K, rows, k, y[2], outs);
                    ck_assert_mem_eq(y[0], y[1], sizeof(float) * (size_t)(rows * outs));
                    for (int r = 0; r < rows; r++)
                        for (int o = 0; o < outs; o++) {
                            double want = 0, want_bf16 = 0, size = 1e-6;
                            for (int j = 0; j < k; j++) {
                                double a = x[r * MAX_K + j];
                                want += a * w[o * MAX_K + j];
                                want_bf16 += a * sol_bf16_to_f32(wb[o * MAX_K + j]);
                                size += fabs(a * w[o * MAX_K + j]);
                            }
                            ck_assert_msg(fabs(y[0][r * outs + o] - want) <= 1e-6 * size,
                                          "%s %d %d %d", t[i].name, r, o, k);
                            ck_assert_msg(fabs(y[2][r * outs + o] - want_bf16) <= 1e-6 * size,
                                          "%s %d %d %d", t[i].name, r, o, k);
                        }
                }
    sol_free(x);
    sol_free(w);
    sol_free(wb);
    sol_free(wh);
}
END_TEST

/* Shapes beyond what a kernel takes at once: of rows, outputs and columns. */
START_TEST(dot_bits_do_not_depend_on_the_call)
{
    enum { ROWS = 7, OUTS = 62, K = 1555 };
    set_ops t[SOL_TEST_SETS];
    int n = sets(t);
    float *x = normals(ROWS * K, 3), *w = normals(OUTS * K, 4);
    for (int i = 0; i < n; i++) {
        float all[ROWS * OUTS], one[ROWS * OUTS];
        for (int r = 0; r < ROWS; r++)
            for (int o = 0; o < OUTS; o++)
                t[i].f.dot[SOL_F32](w + o * K, K, 1, x + r * K, K, 1, K, &one[r * OUTS + o], 1);
        for (int rows = 1; rows <= ROWS; rows++) {
            t[i].f.dot[SOL_F32](w, K, OUTS, x, K, rows, K, all, OUTS);
            ck_assert_mem_eq(one, all, sizeof(float) * (size_t)(rows * OUTS));
        }
    }
    sol_free(x);
    sol_free(w);
}
END_TEST

/* Attention in double, from keys [n, D]. */
static void attend_double(const float *q, const float *k, const float *v, int64_t n, int64_t D,
                          double *out)
{
    double *p = malloc((size_t)n * sizeof *p), high = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        for (int64_t d = 0; d < D; d++) p[j] += (double)q[d] * k[j * D + d];
        p[j] /= sqrt((double)D);
        high = fmax(high, p[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += p[j] = exp(p[j] - high);
    for (int64_t d = 0; d < D; d++) {
        out[d] = 0;
        for (int64_t j = 0; j < n; j++) out[d] += p[j] / sum * v[j * D + d];
    }
    free(p);
}

enum { MAX_N = 200, MAX_HEADS = 7, MAX_D = 72, MAX_ATTEND_ROWS = 19 };

typedef enum { F32, F16, I8 } cache_type;

/* `rows` rows, the last of which sees n positions, where there is no window. */
static void check_attend(const set_ops *t, int64_t rows, int64_t heads, int64_t D, int64_t n,
                         cache_type type)
{
    float *q = normals(rows * heads * D, 5), *k = normals(n * D, 6), *v = normals(n * D, 7),
          *keys = NULL;
    void *kh = NULL, *vh = NULL;
    int64_t blocks = (n + SOL_KV_BLOCK - 1) / SOL_KV_BLOCK * SOL_KV_BLOCK;
    double want[MAX_D];
    float out[MAX_ATTEND_ROWS * MAX_HEADS * MAX_D];
    float *scale = normals(n + SOL_KV_BLOCK, 8);
    for (int64_t j = 0; j < n; j++) scale[j] = 0.01f + fabsf(scale[j]) / 100;
    if (type == I8) { /* the reference sees the rounded numbers */
        for (int64_t i = 0; i < n * D; i++)
            k[i] = scale[i / D] * fmaxf(-127, fminf(127, rintf(k[i] * 50)));
        for (int64_t i = 0; i < n * D; i++)
            v[i] = scale[i / D] * fmaxf(-127, fminf(127, rintf(v[i] * 50)));
    }
    if (type == F16) {
        for (int64_t i = 0; i < n * D; i++) k[i] = sol_f16_to_f32(sol_f32_to_f16(k[i]));
        for (int64_t i = 0; i < n * D; i++) v[i] = sol_f16_to_f32(sol_f32_to_f16(v[i]));
    }
    ck_ok(sol_alloc_array((void **)&keys, (size_t)(blocks * D), sizeof *keys, err));
    for (int64_t j = 0; j < blocks; j++)
        for (int64_t d = 0; d < D; d++)
            keys[(j / SOL_KV_BLOCK * D + d) * SOL_KV_BLOCK + j % SOL_KV_BLOCK] =
                j < n ? k[j * D + d] : 1e30f;
    ck_ok(sol_alloc_array(&kh, (size_t)(blocks * D), 2, err));
    ck_ok(sol_alloc_array(&vh, (size_t)(n * D), 2, err));
    sol_convert(kh, SOL_F16, keys, SOL_F32, blocks * D);
    sol_convert(vh, SOL_F16, v, SOL_F32, n * D);
    for (int64_t j = 0; type == I8 && j < blocks; j++)
        for (int64_t d = 0; d < D; d++) {
            int64_t at = (j / SOL_KV_BLOCK * D + d) * SOL_KV_BLOCK + j % SOL_KV_BLOCK;
            ((int8_t *)kh)[at] = j < n ? (int8_t)lrintf(k[j * D + d] / scale[j]) : 99;
            if (j < n) ((int8_t *)vh)[j * D + d] = (int8_t)lrintf(v[j * D + d] / scale[j]);
        }
    void (*attend)(const sol_attend_args *) = type == F32   ? t->f.attend_f32
                                              : type == F16 ? t->f.attend_f16
                                                            : t->f.attend_i8;
    sol_attend_args a = {.q = q,
                         .keys = type == F32 ? keys : kh,
                         .values = type == F32 ? v : vh,
                         .key_scale = scale,
                         .value_scale = scale,
                         .out = out,
                         .ldq = heads * D,
                         .ldout = heads * D,
                         .rows = rows,
                         .heads = heads,
                         .D = D,
                         .n = n - rows + 1,
                         .window = heads % 2 ? 0 : (n + 2) / 3,
                         .scale = 1.0f / sqrtf((float)D)};
    attend(&a);
    for (int64_t i = 0; i < rows * heads; i++) {
        int64_t sees = a.n + i / heads, from = a.window ? sol_max_i64(0, sees - a.window) : 0;
        attend_double(q + i * D, k + from * D, v + from * D, sees - from, D, want);
        for (int64_t d = 0; d < D; d++)
            ck_assert_msg(fabs(out[i * D + d] - want[d]) < 3e-6,
                          "%s: heads %ld D %ld n %ld row %ld: %g, not %g", t->name, (long)heads,
                          (long)D, (long)n, (long)(i / heads), out[i * D + d], want[d]);
        float one[MAX_D]; /* a head of a row alone gives the same bits */
        sol_attend_args b = a;
        b.q = q + i * D, b.out = one, b.rows = b.heads = 1, b.n = sees;
        attend(&b);
        ck_assert_mem_eq(one, out + i * D, sizeof(float) * (size_t)D);
    }
    sol_free(q);
    sol_free(k);
    sol_free(v);
    sol_free(keys);
    sol_free(kh);
    sol_free(vh);
    sol_free(scale);
}

START_TEST(attend_matches_double)
{
    static const int64_t ns[] = {1, 2, 15, 16, 17, 63, 64, 65, 130, MAX_N},
                         ds[] = {2, 8, 20, 64, MAX_D};
    set_ops t[SOL_TEST_SETS];
    int n = sets(t);
    for (int i = 0; i < n; i++)
        for (int64_t heads = 1; heads <= MAX_HEADS; heads++)
            for (int a = 0; a < 10; a++)
                for (int b = 0; b < 5; b++) {
                    int64_t rows = (a + b) % 3 == 0 ? sol_min_i64(ns[a], MAX_ATTEND_ROWS) : 1;
                    check_attend(&t[i], rows, heads, ds[b], ns[a], F32);
                    check_attend(&t[i], rows, heads, ds[b], ns[a], F16);
                    check_attend(&t[i], rows, heads, ds[b], ns[a], I8);
                }
}
END_TEST

START_TEST(attend_is_finite_for_huge_scores_and_tells_nan)
{
    set_ops t[SOL_TEST_SETS];
    int n = sets(t);
    for (int i = 0; i < n; i++) {
        float q[16], keys[16 * 16], values[20 * 16], out[16];
        for (int j = 0; j < 16; j++) q[j] = 1e4f;
        for (int j = 0; j < 256; j++) keys[j] = j % 16 == 3 ? 1e4f : -1e4f;
        for (int j = 0; j < 320; j++) values[j] = (float)(j / 16);
        sol_attend_args a = {.q = q,
                             .keys = keys,
                             .values = values,
                             .out = out,
                             .ldq = 16,
                             .ldout = 16,
                             .rows = 1,
                             .heads = 1,
                             .D = 16,
                             .n = 16,
                             .scale = 0.25f};
        t[i].f.attend_f32(&a);
        for (int d = 0; d < 16; d++) ck_assert_float_eq(out[d], 3.0f);
        q[0] = NAN;
        t[i].f.attend_f32(&a);
        ck_assert(isnan(out[0]));
    }
}
END_TEST

START_TEST(elementwise_match_double)
{
    enum { N = 77 };
    set_ops t[SOL_TEST_SETS];
    int n = sets(t);
    float *x = normals(N, 8), *w = normals(N, 9), y[N], max;
    x[3] = 95.0f, x[4] = -95.0f, x[5] = 0.0f;
    for (int i = 0; i < n; i++)
        for (int m = 1; m <= N; m++) {
            double sum = 0, high = -INFINITY;
            for (int j = 0; j < m; j++) high = fmax(high, x[j]);
            for (int j = 0; j < m; j++) sum += exp(x[j] - high);
            t[i].f.swiglu(x, w, m, y);
            for (int j = 0; j < m; j++)
                ck_assert_double_eq_tol(y[j], x[j] / (1 + exp(-(double)x[j])) * w[j],
                                        1e-6 * (1 + fabs(y[j])));
            size_t bytes = (size_t)m * sizeof *y;
            float in_place[N + 1] = {0};
            memcpy(in_place, x, bytes);
            t[i].f.swiglu(in_place, w, m, in_place);
            ck_assert_mem_eq(in_place, y, bytes);
            memcpy(in_place, w, bytes);
            t[i].f.swiglu(x, in_place, m, in_place);
            ck_assert_mem_eq(in_place, y, bytes);
            t[i].f.add(in_place, x, m);
            for (int j = 0; j < m; j++) ck_assert_float_eq(in_place[j], y[j] + x[j]);
            ck_assert_float_eq(in_place[m], 0);
            ck_assert_double_eq_tol(t[i].f.sumexp(x, m, &max), sum, 1e-6 * sum);
            ck_assert_float_eq(max, (float)high);
        }
    sol_free(x);
    sol_free(w);
}
END_TEST

SOL_TEST_MAIN("float_ops", tcase_add_test(tc, dot_matches_double_in_every_shape);
              tcase_add_test(tc, dot_bits_do_not_depend_on_the_call);
              tcase_add_test(tc, attend_matches_double);
              tcase_add_test(tc, attend_is_finite_for_huge_scores_and_tells_nan);
              tcase_add_test(tc, elementwise_match_double))
