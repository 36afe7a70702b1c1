/* The element-wise kernels of every set of features against C: bit for bit, every length,
 * unaligned, strange numbers, nothing touched beyond the end. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { MAX_N = 600, GUARD = 64 };

static float numbers[MAX_N + 16];

static void fill(uint64_t seed, bool strange)
{
    static const float odd[] = {0, -0.0f, 1e-45f, -1e-40f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN};
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int i = 0; i < MAX_N + 16; i++) {
        uint32_t kind = sol_rng_u32(&rng) % 8;
        numbers[i] = sol_rng_normal(&rng);
        if (kind == 0 && i > 0) numbers[i] = -numbers[i - 1];
        if (kind == 1) numbers[i] = odd[sol_rng_u32(&rng) % (strange ? 9 : 4)];
    }
}

static void expect_same(const float *got, const float *want, int64_t n, const char *what,
                        int64_t length)
{
    for (int64_t i = 0; i < n; i++) {
        bool same =
            sol_f32_bits(got[i]) == sol_f32_bits(want[i]) || (isnan(got[i]) && isnan(want[i]));
        if (!same)
            ck_abort_msg("%s of %d, element %d: %a, C says %a", what, (int)length, (int)i, got[i],
                         want[i]);
    }
}

static void expect_same_sum(double got, double want, const char *what, int64_t n)
{
    if (got != want && !(isnan(got) && isnan(want)))
        ck_abort_msg("%s of %d: %a, C says %a", what, (int)n, got, want);
}

static void check_sums(const sol_elementwise *c, const sol_elementwise *k, const float *w,
                       int64_t n)
{
    double want = 0.25, got = 0.25;
    c->abs_sum(w, n, &want);
    k->abs_sum(w, n, &got);
    expect_same_sum(got, want, "abs_sum", n);
    c->square_sum(w, n, &want);
    k->square_sum(w, n, &got);
    expect_same_sum(got, want, "square_sum", n);
    if (n % 4 != 0) return;
    for (int layout = SOL_LAYOUT_CONTIGUOUS;
         layout <= SOL_LAYOUT_STRIDE16 && (layout == 0 || n % 64 == 0); layout++) {
        want = got = 0;
        c->sherry_sum(w, n, (sol_block_layout)layout, &want);
        k->sherry_sum(w, n, (sol_block_layout)layout, &got);
        expect_same_sum(got, want, "sherry_sum", n);
    }
}

static void check_sherry(const sol_elementwise *c, const sol_elementwise *k, const float *w,
                         int64_t n, sol_block_layout layout)
{
    static const float scales[] = {0.75f, INFINITY, 0}, bs[] = {0, 0.3f, 1};
    float want[MAX_N], got[MAX_N + GUARD];
    int8_t levels[MAX_N], other[MAX_N + GUARD];
    memset(other, 77, sizeof other);
    c->sherry_levels(w, n, layout, levels);
    k->sherry_levels(w, n, layout, other);
    ck_assert_mem_eq(levels, other, (size_t)n);
    for (int i = 0; i < GUARD; i++)
        if (other[n + i] != 77) ck_abort_msg("sherry_levels of %d writes behind its end", (int)n);
    for (int s = 0; s < 3; s++) {
        for (int b = 0; b < 3; b++) {
            for (int i = 0; i < GUARD; i++) got[n + i] = 77;
            c->sherry_effective(w, n, layout, scales[s], bs[b], want);
            k->sherry_effective(w, n, layout, scales[s], bs[b], got);
            expect_same(got, want, n, "sherry_effective", n);
            for (int i = 0; i < GUARD; i++)
                if (got[n + i] != 77)
                    ck_abort_msg("sherry_effective of %d writes behind its end", (int)n);
        }
    }
}

static void check_adamw(const sol_elementwise *c, const sol_elementwise *k, const float *grad,
                        int64_t n)
{
    const sol_adamw_step s = {.grad_scale = 0.7f,
                              .beta1 = 0.9f,
                              .one_minus_1 = 0.1f,
                              .beta2 = 0.999f,
                              .one_minus_2 = 0.001f,
                              .inv_sqrt_correction = 31.6f,
                              .eps = 1e-8f,
                              .keep = 0.99f,
                              .rate = 1e-3f};
    float want[3][MAX_N], got[3][MAX_N + GUARD];
    for (int64_t i = 0; i < n + GUARD; i++)
        for (int x = 0; x < 3; x++) got[x][i] = i < n ? fabsf(sinf((float)(3 * i + x))) : 77;
    for (int x = 0; x < 3; x++) memcpy(want[x], got[x], (size_t)n * sizeof(float));
    c->adamw(&s, grad, n, want[0], want[1], want[2]);
    k->adamw(&s, grad, n, got[0], got[1], got[2]);
    for (int x = 0; x < 3; x++) {
        expect_same(got[x], want[x], n, "adamw", n);
        for (int i = 0; i < GUARD; i++)
            if (got[x][n + i] != 77) ck_abort_msg("adamw of %d writes behind its end", (int)n);
    }
}

static void check_bf16(const sol_elementwise *c, const sol_elementwise *k, const float *w,
                       int64_t n)
{
    uint16_t want[MAX_N + 1], got[MAX_N + 1];
    want[n] = got[n] = 0x5a5a;
    c->to_bf16(w, n, want);
    k->to_bf16(w, n, got);
    ck_assert_mem_eq(got, want, (size_t)(n + 1) * sizeof *got);
    for (int64_t i = 0; i < n; i++) ck_assert_uint_eq(want[i], sol_f32_to_bf16(w[i]));
    float back[MAX_N + 1];
    back[n] = 77;
    k->from_bf16(got, n, back);
    for (int64_t i = 0; i < n; i++)
        ck_assert_uint_eq(sol_f32_bits(back[i]), sol_f32_bits(sol_bf16_to_f32(got[i])));
    ck_assert(back[n] == 77);
}

static void check_against_c(sol_cpu_features features)
{
    sol_kernels c, k;
    sol_kernels_init(&c, SOL_TIER_C);
    sol_kernels_init(&k, features);
    for (int strange = 0; strange < 2; strange++) {
        fill((uint64_t)(10 + strange), strange);
        for (int64_t n = 0; n <= MAX_N; n += n < 140 ? 1 : 23) {
            const float *w = numbers + n % 5; /* unaligned */
            check_sums(&c.elementwise, &k.elementwise, w, n);
            check_adamw(&c.elementwise, &k.elementwise, w, n);
            check_bf16(&c.elementwise, &k.elementwise, w, n);
            if (n % 4 == 0)
                check_sherry(&c.elementwise, &k.elementwise, w, n, SOL_LAYOUT_CONTIGUOUS);
            if (n % 64 == 0)
                check_sherry(&c.elementwise, &k.elementwise, w, n, SOL_LAYOUT_STRIDE16);
        }
        for (int64_t n = 256; n <= 576; n += 64)
            check_sherry(&c.elementwise, &k.elementwise, numbers + 3, n, SOL_LAYOUT_STRIDE16);
    }
}

START_TEST(every_set_equals_c)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n = sol_test_sets(set);
    for (int i = 0; i < n; i++) check_against_c(set[i]);
}
END_TEST

/* Reads end with the last weight: a heap block of exactly n floats, which the sanitizer build
 * guards. */
static void check_reads(sol_cpu_features features)
{
    sol_kernels k;
    sol_kernels_init(&k, features);
    for (size_t n = 4; n <= 132; n += 4) {
        float *w = malloc(n * sizeof *w), *out = malloc(n * sizeof *out);
        int8_t *t = malloc(n);
        double sum = 0;
        for (size_t i = 0; i < n; i++) w[i] = (float)i;
        k.elementwise.abs_sum(w, (int64_t)n - 1, &sum);
        k.elementwise.square_sum(w, (int64_t)n - 1, &sum);
        k.elementwise.sherry_sum(w, (int64_t)n, SOL_LAYOUT_CONTIGUOUS, &sum);
        k.elementwise.sherry_levels(w, (int64_t)n, SOL_LAYOUT_CONTIGUOUS, t);
        k.elementwise.sherry_effective(w, (int64_t)n, SOL_LAYOUT_CONTIGUOUS, 1, 1, out);
        ck_assert(isfinite(sum) && t[n - 4] == 0);
        free(w);
        free(out);
        free(t);
    }
}

START_TEST(reads_stay_inside)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n = sol_test_sets(set);
    for (int i = 0; i < n; i++) check_reads(set[i]);
}
END_TEST

SOL_TEST_MAIN("elementwise", tcase_add_test(tc, every_set_equals_c);
              tcase_add_test(tc, reads_stay_inside))
