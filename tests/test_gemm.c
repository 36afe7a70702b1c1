/* Dense products, in fp32 and in bf16, against the definition in double: every form, odd sizes, any
 * number of threads the same bits. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { PAD = 3 };

typedef struct product {
    bool trans_a, trans_b;
    int64_t m, n, k;
} product;

static void fill(float *x, size_t n, uint64_t seed)
{
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (size_t i = 0; i < n; i++) x[i] = sol_rng_normal(&rng);
}

/* What C [m, n] holds before: with beta 0 anything, so NaN; numbers in the gaps between rows. */
static void fill_before(float *c, int64_t m, int64_t n, int64_t ldc, float beta)
{
    fill(c, (size_t)(m * ldc), 3);
    for (int64_t i = 0; beta == 0 && i < m * ldc; i++)
        if (i % ldc < n) c[i] = NAN;
}

/* NaN is the largest. Errors are gathered so, and asserted once: Check writes to a file at every
 * assertion. */
static double larger(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

/* Against the definition in double, with rows further apart than they are long; the gaps stay as
 * they were. */
static void check_product(const product *p, float alpha, float beta)
{
    int64_t lda = (p->trans_a ? p->m : p->k) + PAD, ldb = (p->trans_b ? p->k : p->n) + PAD,
            ldc = p->n + PAD;
    size_t na = (size_t)((p->trans_a ? p->k : p->m) * lda),
           nb = (size_t)((p->trans_b ? p->n : p->k) * ldb);
    size_t nc = (size_t)(p->m * ldc);
    float *a, *b, *c[3], *before;
    ck_ok(sol_alloc_array((void **)&a, na, sizeof *a, err));
    ck_ok(sol_alloc_array((void **)&b, nb, sizeof *b, err));
    ck_ok(sol_alloc_array((void **)&before, nc, sizeof *before, err));
    fill(a, na, 1);
    fill(b, nb, 2);
    fill_before(before, p->m, p->n, ldc, beta);
    for (int threads = 1; threads <= 3; threads++) {
        sol_ctx *ctx;
        float **to = &c[threads - 1];
        ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
        ck_ok(sol_alloc_array((void **)to, nc, sizeof **to, err));
        memcpy(*to, before, nc * sizeof **to);
        sol_gemm(ctx, p->trans_a, p->trans_b, p->m, p->n, p->k, alpha, a, lda, b, ldb, beta, *to,
                 ldc);
        ck_assert_mem_eq(*to, c[0], nc * sizeof **to);
        sol_ctx_free(&ctx);
    }
    double worst = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < ldc; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; j < p->n && l < p->k; l++) {
                double t = (double)a[p->trans_a ? l * lda + i : i * lda + l] *
                           b[p->trans_b ? j * ldb + l : l * ldb + j];
                sum += t;
                size += fabs(t);
            }
            double old = j < p->n && beta == 0 ? 0 : before[i * ldc + j];
            double want = j < p->n ? alpha * sum + beta * old : old;
            if (c[0][i * ldc + j] != want)
                worst = larger(worst, fabs(c[0][i * ldc + j] - want) / (size + fabs(old)));
        }
    }
    ck_assert_double_le(worst, 1e-6);
    sol_free(a);
    sol_free(b);
    sol_free(before);
    for (int t = 0; t < 3; t++) sol_free(c[t]);
}

START_TEST(products_of_all_forms)
{
    static const int64_t dims[][3] = {{1, 1, 1},    {3, 5, 7},      {130, 257, 33},
                                      {600, 20, 3}, {17, 1100, 12}, {129, 129, 65}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int form = 0; form < 4; form++) {
            product p = {form & 1, form & 2, dims[i][0], dims[i][1], dims[i][2]};
            check_product(&p, 1, 0);
            check_product(&p, 0.5f, 1);
        }
}
END_TEST

/* The number that a product in bf16 takes for x. */
static double rounded(float x)
{
    return sol_bf16_to_f32(sol_f32_to_bf16(x));
}

/* The result in bf16 is that in fp32, rounded. */
static void check_rounded(const sol_ctx *ctx, const product *p, const sol_operand *x,
                          const sol_operand *y, const float *c, void *scratch)
{
    int64_t ld = p->n + PAD;
    sol_bf16 *rounded;
    ck_ok(sol_alloc_array((void **)&rounded, (size_t)(p->m * ld), sizeof *rounded, err));
    sol_gemm_bf16_rounded(ctx, p->m, p->n, p->k, x, y, rounded, ld, scratch);
    int64_t wrong = 0;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < ld; j++)
            wrong += rounded[i * ld + j] != (j < p->n ? sol_f32_to_bf16(c[i * ld + j]) : 0);
    ck_assert_int_eq(wrong, 0);
    sol_free(rounded);
}

/* The same in bf16: operands in fp32 and in bf16, against sums of the rounded numbers in double;
 * all threads the same bits. */
static void check_bf16(const product *p, float alpha, float beta, bool a_bf16, bool b_bf16)
{
    int64_t lda = (p->trans_a ? p->m : p->k) + PAD, ldb = (p->trans_b ? p->k : p->n) + PAD,
            ldc = p->n + PAD;
    size_t na = (size_t)((p->trans_a ? p->k : p->m) * lda),
           nb = (size_t)((p->trans_b ? p->n : p->k) * ldb);
    size_t nc = (size_t)(p->m * ldc);
    float *a, *b, *c[3], *before;
    sol_bf16 *a16, *b16;
    ck_ok(sol_alloc_array((void **)&a, na, sizeof *a, err));
    ck_ok(sol_alloc_array((void **)&b, nb, sizeof *b, err));
    ck_ok(sol_alloc_array((void **)&a16, na, sizeof *a16, err));
    ck_ok(sol_alloc_array((void **)&b16, nb, sizeof *b16, err));
    ck_ok(sol_alloc_array((void **)&before, nc, sizeof *before, err));
    fill(a, na, 1);
    fill(b, nb, 2);
    fill_before(before, p->m, p->n, ldc, beta);
    sol_convert(a16, SOL_BF16, a, SOL_F32, (int64_t)na);
    sol_convert(b16, SOL_BF16, b, SOL_F32, (int64_t)nb);
    for (int threads = 1; threads <= 3; threads++) {
        sol_ctx *ctx;
        void *scratch;
        float **to = &c[threads - 1];
        sol_operand x = {a_bf16 ? (void *)a16 : (void *)a, lda, p->trans_a, a_bf16},
                    y = {b_bf16 ? (void *)b16 : (void *)b, ldb, p->trans_b, b_bf16};
        ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
        ck_ok(sol_alloc_array((void **)to, nc, sizeof **to, err));
        ck_ok(sol_alloc_array(&scratch, sol_gemm_bf16_scratch(p->n, p->k), 1, err));
        memcpy(*to, before, nc * sizeof **to);
        sol_gemm_bf16(ctx, p->m, p->n, p->k, alpha, &x, &y, beta, *to, ldc, scratch);
        ck_assert_mem_eq(*to, c[0], nc * sizeof **to);
        if (alpha == 1 && beta == 0) check_rounded(ctx, p, &x, &y, *to, scratch);
        sol_free(scratch);
        sol_ctx_free(&ctx);
    }
    double worst = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < ldc; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; j < p->n && l < p->k; l++) {
                float x = a[p->trans_a ? l * lda + i : i * lda + l];
                double t = rounded(a_bf16 ? alpha * (float)rounded(x) : alpha * x) *
                           rounded(b[p->trans_b ? j * ldb + l : l * ldb + j]);
                sum += t;
                size += fabs(t);
            }
            double old = j < p->n && beta == 0 ? 0 : before[i * ldc + j];
            double want = j < p->n ? sum + beta * old : old;
            if (c[0][i * ldc + j] != want)
                worst = larger(worst, fabs(c[0][i * ldc + j] - want) / (size + fabs(old)));
        }
    }
    ck_assert_double_le(worst, 2e-6);
    sol_free(a);
    sol_free(b);
    sol_free(a16);
    sol_free(b16);
    sol_free(before);
    for (int t = 0; t < 3; t++) sol_free(c[t]);
}

START_TEST(bf16_products_of_all_forms)
{
    static const int64_t dims[][3] = {{1, 1, 1},     {3, 5, 7},      {40, 64, 1090},
                                      {300, 20, 32}, {17, 4200, 12}, {129, 129, 65}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int form = 0; form < 4; form++) {
            product p = {form & 1, form & 2, dims[i][0], dims[i][1], dims[i][2]};
            check_bf16(&p, 1, 0, form < 2, form < 2);
            check_bf16(&p, 0.75f, 1, form == 1, true);
            check_bf16(&p, 1, 0.5f, true, form == 2);
        }
}
END_TEST

/* A sum is the same whatever else is summed beside it: rows and columns of a part of C, cut
 * anywhere, are those of the whole, with every set of features and for every beta, over more of k
 * than is packed at a time. */
START_TEST(bf16_sums_do_not_depend_on_their_place)
{
    enum { M = 96, N = 64, K = 1090 };
    static float a[M * K], b[K * N], whole[M * N], part[M * N];
    static const float betas[] = {0, 1, 0.5f};
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    fill(a, M * K, 1);
    fill(b, K * N, 2);
    for (int f = 0; f < n_sets; f++) {
        sol_ctx *ctx;
        void *scratch;
        ck_ok(sol_ctx_create(&ctx, 2, set[f], NULL, err));
        ck_ok(sol_alloc_array(&scratch, sol_gemm_bf16_scratch(N, K), 1, err));
        for (int i = 0; i < 3; i++) {
            sol_operand x = {a, K, false, false}, y = {b, N, false, false};
            fill_before(whole, M, N, N, betas[i]);
            memcpy(part, whole, sizeof part);
            sol_gemm_bf16(ctx, M, N, K, 1, &x, &y, betas[i], whole, N, scratch);
            sol_gemm_bf16(ctx, M - 13, N - 27, K, 1, &x, &y, betas[i], part, N, scratch);
            for (int r = 0; r < M - 13; r++)
                ck_assert_mem_eq(part + r * N, whole + r * N, (N - 27) * sizeof *part);
        }
        sol_free(scratch);
        sol_ctx_free(&ctx);
    }
}
END_TEST

/* Operands that are packed once give the sums of sol_gemm_bf16, whole and in part: from the
 * second pair of panels on, over the last steps of k. */
START_TEST(packed_operands_give_the_same_sums)
{
    enum { M = 50, N = 37, K = 100, ROW = 32, COL = 32, FROM = 64 };
    static float a[M * K], b[K * N], want[M * N], got[M * N];
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    fill(a, M * K, 1);
    fill(b, K * N, 2);
    for (int f = 0; f < n_sets; f++) {
        sol_ctx *ctx;
        void *scratch, *pa, *pb;
        ck_ok(sol_ctx_create(&ctx, 1, set[f], NULL, err));
        ck_ok(sol_alloc_array(&scratch, sol_gemm_bf16_scratch(N, K), 1, err));
        ck_ok(sol_alloc_array(&pa, sol_bf16_packed_bytes(M, K), 1, err));
        ck_ok(sol_alloc_array(&pb, sol_bf16_packed_bytes(N, K), 1, err));
        ck_assert_uint_eq(sol_bf16_packed_bytes(M, K) % 64, 0);
        sol_operand x = {a, K, false, false}, y = {b, N, false, false};
        for (int beta = 0; beta < 2; beta++) {
            sol_packed_operand left = sol_bf16_pack(ctx, &x, false, M, K, 1, pa),
                               right = sol_bf16_pack(ctx, &y, true, N, K, 1, pb);
            fill_before(want, M, N, N, (float)beta);
            memcpy(got, want, sizeof got);
            sol_gemm_bf16(ctx, M, N, K, 1, &x, &y, (float)beta, want, N, scratch);
            sol_bf16_multiply(ctx, left, right, M, N, K, (float)beta, got, N);
            ck_assert_mem_eq(got, want, sizeof got);
            sol_operand low = {a + ROW * K + FROM, K, false, false},
                        part = {b + FROM * N + COL, N, false, false};
            sol_gemm_bf16(ctx, M - ROW, N - COL, K - FROM, 1, &low, &part, (float)beta, want, N,
                          scratch);
            sol_bf16_multiply(ctx, sol_packed_part(left, ROW, FROM),
                              sol_packed_part(right, COL, FROM), M - ROW, N - COL, K - FROM,
                              (float)beta, got, N);
            ck_assert_mem_eq(got, want, sizeof got);
            left = sol_bf16_pack(ctx, &x, false, M, K, 0.75f, pa);
            sol_gemm_bf16(ctx, M, N, K, 0.75f, &x, &y, (float)beta, want, N, scratch);
            sol_bf16_multiply(ctx, left, right, M, N, K, (float)beta, got, N);
            ck_assert_mem_eq(got, want, sizeof got);
        }
        sol_free(scratch);
        sol_free(pa);
        sol_free(pb);
        sol_ctx_free(&ctx);
    }
}
END_TEST

/* X V = B for upper triangular V, of which nothing below the diagonal is read. */
START_TEST(triangular_systems)
{
    static const int64_t dims[][2] = {{1, 1}, {1, 7}, {5, 1}, {33, 20}, {64, 129}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        int64_t m = dims[i][0], n = dims[i][1], ldv = n + PAD, ldx = n + 2 * PAD;
        float *x, *v, *b;
        ck_ok(sol_alloc_array((void **)&x, (size_t)(m * ldx), sizeof *x, err));
        ck_ok(sol_alloc_array((void **)&b, (size_t)(m * ldx), sizeof *b, err));
        ck_ok(sol_alloc_array((void **)&v, (size_t)(n * ldv), sizeof *v, err));
        fill(x, (size_t)(m * ldx), 1);
        fill(v, (size_t)(n * ldv), 2);
        memcpy(b, x, (size_t)(m * ldx) * sizeof *b);
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < ldv; c++) {
                float *at = &v[r * ldv + c];
                *at = c < r || c >= n ? NAN : c == r ? 2 + fabsf(*at) : *at / (float)n;
            }
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < n; c++) {
                double sum = 0;
                for (int64_t k = 0; k <= c; k++) sum += (double)x[r * ldx + k] * v[k * ldv + c];
                b[r * ldx + c] = (float)sum;
            }
        sol_solve_tile(m, n, v, ldv, b, ldx);
        for (int64_t k = 0; k < m * ldx; k++) ck_assert_float_eq_tol(b[k], x[k], 1e-5f);
        sol_free(x);
        sol_free(b);
        sol_free(v);
    }
}
END_TEST

SOL_TEST_MAIN("gemm", tcase_add_test(tc, products_of_all_forms);
              tcase_add_test(tc, bf16_products_of_all_forms);
              tcase_add_test(tc, bf16_sums_do_not_depend_on_their_place);
              tcase_add_test(tc, packed_operands_give_the_same_sums);
              tcase_add_test(tc, triangular_systems))
