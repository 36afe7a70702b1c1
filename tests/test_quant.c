/* Sherry and absmean against their definitions and published errors: every layout and granularity,
 * ties and numbers that are not finite, the same bits for any threads and features. */
#include "suite.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const sol_residual_mix deployed = {1, 0};

static sol_quant_spec spec_of(const char *method, sol_granularity granularity, int group_size,
                              sol_block_layout layout, sol_dtype scale_dtype)
{
    sol_quant_spec s = {.method = sol_quantizer_find(method),
                        .granularity = granularity,
                        .group_size = group_size,
                        .layout = layout,
                        .scale_dtype = scale_dtype,
                        .n = 2,
                        .m = 4};
    ck_assert_ptr_nonnull(s.method);
    return s;
}

static sol_ctx *context(int threads, sol_cpu_features features)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, features, NULL, err));
    return ctx;
}

static float *floats(int64_t n)
{
    float *x;
    ck_ok(sol_alloc_array((void **)&x, (size_t)n, sizeof *x, err));
    return x;
}

static float gaussian(sol_rng *r)
{
    return sol_rng_normal(r);
}

static float laplace(sol_rng *r)
{
    float sign = sol_rng_u32(r) & 1 ? 1.0f : -1.0f;
    return -sign * logf(1.0f - sol_rng_uniform(r));
}

static float student5(sol_rng *r)
{
    float chi = 0;
    for (int i = 0; i < 5; i++) {
        float z = sol_rng_normal(r);
        chi += z * z;
    }
    return sol_rng_normal(r) / sqrtf(chi / 5);
}

static double nmse(const float *w, const float *q, int64_t n)
{
    double error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)w[i] - (double)q[i];
        error += d * d;
        power += (double)w[i] * (double)w[i];
    }
    return error / power;
}

START_TEST(published_errors_on_many_samples)
{
    enum { N = 1 << 18, COLS = 4096 };
    static const struct {
        const char *method;
        float (*draw)(sol_rng *);
        double nmse, tol;
    } want[] = {
        {"sherry", gaussian, 0.2818, 0.001},
        {"sherry", laplace, 0.4097, 0.0015},
        {"sherry", student5, 0.3772, 0.003},
        {"absmean", gaussian, 0.2611, 0.001},
    };
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    float *w = floats(N), *q = floats(N);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        sol_quant_spec spec =
            spec_of(want[i].method, SOL_PER_GROUP, 128, SOL_LAYOUT_CONTIGUOUS, SOL_F16);
        sol_rng rng = sol_rng_make(7, SOL_STREAM_TEST);
        for (int k = 0; k < N; k++) w[k] = want[i].draw(&rng);
        sol_quant_effective(ctx, &spec, w, N / COLS, COLS, deployed, q);
        ck_assert_double_eq_tol(nmse(w, q, N), want[i].nmse, want[i].tol);
    }
    /* alpha / sigma of the 3:4 quantizer */
    sol_quant_spec spec = spec_of("sherry", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, SOL_F32);
    sol_rng rng = sol_rng_make(8, SOL_STREAM_TEST);
    int8_t *t = (int8_t *)q;
    float alpha;
    for (int k = 0; k < N; k++) w[k] = 0.02f * sol_rng_normal(&rng);
    sol_quant_split(ctx, &spec, w, N / COLS, COLS, t, &alpha);
    ck_assert_double_eq_tol(alpha / 0.02, 0.9766, 0.002);
    sol_free(w);
    sol_free(q);
    sol_ctx_free(&ctx);
}
END_TEST

/* Against every pattern of three blocks, each with its own best scale: error = |w|^2 - <w, T>^2
 * / 9. */
START_TEST(sherry_is_the_l2_optimum)
{
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    sol_quant_spec spec = spec_of("sherry", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, SOL_F32);
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    for (int turn = 0; turn < 30; turn++) {
        float w[12], q[12];
        double dot[3][32], best = 0, power = 0, error = 0;
        for (int i = 0; i < 12; i++) {
            w[i] = turn % 2 ? laplace(&rng) : gaussian(&rng);
            power += (double)w[i] * w[i];
        }
        for (int block = 0; block < 3; block++) {
            for (int code = 0; code < 32; code++) {
                const int8_t *t = sol_code_levels[code];
                dot[block][code] = 0;
                for (int p = 0; p < 4; p++) dot[block][code] += t[p] * (double)w[4 * block + p];
            }
        }
        for (int code = 0; code < 32 * 32 * 32; code++)
            best = fmax(best, dot[0][code & 31] + dot[1][code >> 5 & 31] + dot[2][code >> 10]);
        sol_quant_effective(ctx, &spec, w, 1, 12, deployed, q);
        for (int i = 0; i < 12; i++) error += ((double)w[i] - q[i]) * ((double)w[i] - q[i]);
        ck_assert_double_eq_tol(error, power - best * best / 9, 1e-6 * power);
    }
    sol_ctx_free(&ctx);
}
END_TEST

static void expect_levels(const sol_ctx *ctx, const char *method, const float w[4],
                          const int8_t want[4], float scale)
{
    sol_quant_spec spec = spec_of(method, SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, SOL_F32);
    int8_t t[4];
    float s, q[4];
    sol_quant_split(ctx, &spec, w, 1, 4, t, &s);
    sol_quant_effective(ctx, &spec, w, 1, 4, deployed, q);
    for (int p = 0; p < 4; p++) {
        ck_assert_int_eq(t[p], want[p]);
        if (!isnan(s)) ck_assert_float_eq(q[p], t[p] ? (float)t[p] * s : 0.0f);
        if (t[p] == 0)
            ck_assert_uint_eq(sol_f32_bits(q[p]), 0); /* +0, also where the scale is not finite */
    }
    if (isnan(scale))
        ck_assert(isnan(s));
    else if (isinf(scale))
        ck_assert(isinf(s));
    else
        ck_assert(fabsf(s - scale) <= 1e-6f * fabsf(scale) + 1e-44f);
}

#define LEVELS(method, w0, w1, w2, w3, t0, t1, t2, t3, scale) \
    expect_levels(ctx, method, (float[]){w0, w1, w2, w3}, (int8_t[]){t0, t1, t2, t3}, scale)

START_TEST(ties_zeros_and_strange_numbers)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    for (int f = 0; f < n_sets; f++) {
        sol_ctx *ctx = context(1, set[f]);
        LEVELS("sherry", 1, 2, 3, 4, 0, 1, 1, 1, 3);
        LEVELS("sherry", -4, 3, -2, 1, -1, 1, -1, 0, 3);
        LEVELS("sherry", 1, -1, 1, -1, 0, -1, 1, -1, 1); /* a tie zeroes the lowest index */
        LEVELS("sherry", 2, -1, 1, 3, 1, 0, 1, 1, 2);
        LEVELS("sherry", 5, 4, -2, 2, 1, 1, 0, 1, 11.0f / 3);
        LEVELS("sherry", 0, 0, 0, 0, 0, 1, 1, 1, 0);          /* kept zeros are + */
        LEVELS("sherry", 0.0f, -0.0f, -3, 0, 0, 1, -1, 1, 1); /* -0 is a zero */
        LEVELS("sherry", -0.0f, 0.0f, 0, 3, 0, 1, 1, 1, 1);
        /* Denormals are numbers. */
        LEVELS("sherry", 1e-45f, -3e-45f, 2e-44f, 1e-38f, 0, -1, 1, 1, 1e-38f / 3);
        /* The sum is a float one. */
        LEVELS("sherry", FLT_MAX, -FLT_MAX, 1, 2, 1, -1, 0, 1, INFINITY);
        /* Kept and seen, never hidden. */
        LEVELS("sherry", INFINITY, 1, -2, 3, 1, 0, -1, 1, INFINITY);
        LEVELS("sherry", -NAN, 1, -2, 3, 1, 0, -1, 1, NAN);
        LEVELS("sherry", NAN, NAN, NAN, NAN, 0, 1, 1, 1, NAN);
        LEVELS("sherry", NAN, INFINITY, -INFINITY, NAN, 1, 0, -1, 1, NAN);
        LEVELS("absmean", 1, -1, 3, -3, 0, 0, 1, -1, 2); /* |w| = alpha / 2 rounds to the even 0 */
        LEVELS("absmean", 0, 0, 0, 0, 0, 0, 0, 0, 0);
        LEVELS("absmean", NAN, 1, -1, 0, 0, 0, 0, 0, NAN);
        LEVELS("absmean", 4, -0.1f, 0.1f, -4, 1, 0, 0, -1, 2.05f);
        LEVELS("absmean", INFINITY, 1, -1, 0, 0, 0, 0, 0, INFINITY);
        LEVELS("binary", 1, -2, 0, -0.0f, 1, -1, 1, 1, 0.75f);
        LEVELS("binary", -INFINITY, 1, -1, 0, -1, 1, -1, 1, INFINITY);
        LEVELS("binary", -NAN, 1, -1, 0, 1, 1, -1, 1, NAN);
        LEVELS("nm", 1, -1, 1, -1, 0, 0, 1, -1, 1);
        LEVELS("nm", 0, 0, 0, 0, 0, 0, 1, 1, 0);
        LEVELS("nm", INFINITY, 1, -3, 2, 1, 0, -1, 0, INFINITY);
        LEVELS("nm", -NAN, 1, -INFINITY, 2, 1, 0, -1, 0, NAN);
        LEVELS("twn", 4, -4, 1, 0, 1, -1, 0, 0, 4);
        LEVELS("twn", INFINITY, 1, -1, 0, 0, 0, 0, 0, INFINITY);
        LEVELS("absmedian", 4, -3, 1, 0.5f, 1, -1, 1, 0, 1);
        sol_ctx_free(&ctx);
    }
}
END_TEST

/* A scale in fp16 is rounded to nearest even: to 0 up to half the least number, to infinity from
 * half a step above the largest. */
START_TEST(scales_in_fp16)
{
    static const float scale[][2] = {{0x1p-25f, 0},
                                     {0x1.8p-25f, 0x1p-24f},
                                     {65504, 65504},
                                     {65519, 65504},
                                     {65520, INFINITY},
                                     {1 + 0x1p-11f, 1},
                                     {1 + 0x1.8p-10f, 1 + 0x1p-9f}};
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    for (int k = 0; k < sol_quantizer_count(); k++) {
        sol_quant_spec spec =
            spec_of(sol_quantizer_at(k)->name, SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, SOL_F16);
        if (spec.method->n_learned) continue;
        for (size_t i = 0; i < sizeof scale / sizeof *scale; i++) {
            float w[4], s;
            int8_t t[4];
            for (int p = 0; p < 4; p++) w[p] = p % 2 ? -scale[i][0] : scale[i][0];
            sol_quant_split(ctx, &spec, w, 1, 4, t, &s);
            ck_assert_msg(s == scale[i][1], "%s: %g, not %g", spec.method->name, (double)s,
                          (double)scale[i][1]);
        }
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* Fills with what a trained matrix holds and the patterns that are easy to get wrong. */
static void fill_edges(float *w, int64_t n, sol_rng *rng)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t kind = sol_rng_u32(rng) % 16;
        float z = sol_rng_normal(rng);
        w[i] = kind == 0            ? 0.0f
               : kind == 1          ? -0.0f
               : kind == 2          ? copysignf(0.5f, z)
               : kind == 3          ? z * 1e-41f
               : kind == 4          ? z * 1e4f
               : kind == 5 && i > 0 ? -w[i - 1]
                                    : 0.02f * z;
    }
}

typedef struct case_ {
    sol_granularity granularity;
    int group_size;
    sol_block_layout layout;
    int64_t rows, cols;
} case_;

static const case_ cases[] = {
    {SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 37, 172},
    {SOL_PER_TENSOR, 0, SOL_LAYOUT_STRIDE16, 310, 320},
    {SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 1, 4},
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 130, 1028},
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_STRIDE16, 65, 1344},
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 3, 3332},
    {SOL_PER_GROUP, 4, SOL_LAYOUT_CONTIGUOUS, 5, 20},
    {SOL_PER_GROUP, 12, SOL_LAYOUT_CONTIGUOUS, 9, 36},
    {SOL_PER_GROUP, 128, SOL_LAYOUT_CONTIGUOUS, 129, 512},
    {SOL_PER_GROUP, 64, SOL_LAYOUT_STRIDE16, 40, 192},
    {SOL_PER_GROUP, 1280, SOL_LAYOUT_STRIDE16, 4, 2560},
    {SOL_PER_GROUP, 32, SOL_LAYOUT_CONTIGUOUS, 300, 256},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* A plain restatement of the definition, in double. */
static void plain_sherry(const case_ *c, const float *w, int8_t *t, double *alpha)
{
    int64_t n = c->granularity == SOL_PER_TENSOR  ? c->rows * c->cols
                : c->granularity == SOL_PER_GROUP ? c->group_size
                                                  : c->cols;
    for (int64_t g = 0; g < c->rows * c->cols / n; g++) alpha[g] = 0;
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t b = 0; b < c->cols / 4; b++) {
            int64_t at[4], zero = 0;
            for (int p = 0; p < 4; p++)
                at[p] = r * c->cols + (c->layout == SOL_LAYOUT_CONTIGUOUS
                                           ? 4 * b + p
                                           : b / 16 * 64 + b % 16 + 16 * p);
            for (int p = 1; p < 4; p++)
                if (fabsf(w[at[p]]) < fabsf(w[at[zero]])) zero = p;
            for (int p = 0; p < 4; p++) {
                t[at[p]] = (int8_t)(p == zero ? 0 : w[at[p]] < 0 ? -1 : 1);
                if (p != zero) alpha[at[p] / n] += fabs((double)w[at[p]]) / (0.75 * (double)n);
            }
        }
    }
}

START_TEST(sherry_follows_its_definition)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
    for (int i = 0; i < N_CASES; i++) {
        const case_ *c = &cases[i];
        int64_t n = c->rows * c->cols;
        sol_quant_spec spec = spec_of("sherry", c->granularity, c->group_size, c->layout, SOL_F32);
        ck_ok(sol_quant_check(&spec, "layer", c->rows, c->cols, err));
        int64_t n_scales = sol_quant_scale_count(&spec, c->rows, c->cols);
        float *w = floats(n), *scales = floats(n_scales);
        double *alpha = malloc((size_t)n_scales * sizeof *alpha);
        int8_t *t = malloc((size_t)n), *want = malloc((size_t)n);
        fill_edges(w, n, &rng);
        plain_sherry(c, w, want, alpha);
        for (int f = 0; f < n_sets; f++) {
            sol_ctx *ctx = context(2, set[f]);
            sol_quant_split(ctx, &spec, w, c->rows, c->cols, t, scales);
            ck_assert_mem_eq(t, want, (size_t)n);
            for (int64_t g = 0; g < n_scales; g++)
                ck_assert_double_eq_tol(scales[g], alpha[g], 1e-6 * alpha[g]);
            sol_ctx_free(&ctx);
        }
        free(t);
        free(want);
        free(alpha);
        sol_free(w);
        sol_free(scales);
    }
}
END_TEST

/* W_eff = (a alpha) T + b W from the parts, bit for bit, at every mix; and the fp16 scale is an
 * fp16 number. */
START_TEST(effective_is_made_of_the_parts)
{
    static const sol_residual_mix mixes[] = {{1, 0}, {1, 0.7f}, {0.3f, 0.7f}, {0, 1}};
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    sol_rng rng = sol_rng_make(4, SOL_STREAM_TEST);
    for (int i = 0; i < N_CASES * sol_quantizer_count(); i++) {
        const case_ *c = &cases[i % N_CASES];
        int64_t n = c->rows * c->cols;
        sol_quant_spec spec = spec_of(sol_quantizer_at(i / N_CASES)->name, c->granularity,
                                      c->group_size, c->layout, SOL_F16);
        int64_t group = sol_quant_group_weights(&spec, c->rows, c->cols);
        float *w = floats(n), *scales = floats(n / group), *got = floats(n), *want = floats(n);
        int8_t *t = malloc((size_t)n);
        fill_edges(w, n, &rng);
        sol_quant_split(ctx, &spec, w, c->rows, c->cols, t, scales);
        for (int64_t g = 0; g < n / group; g++)
            ck_assert_float_eq(sol_f16_to_f32(sol_f32_to_f16(scales[g])), scales[g]);
        for (size_t k = 0; k < sizeof mixes / sizeof mixes[0]; k++) {
            for (int64_t e = 0; e < n; e++) {
                float scale = mixes[k].a * scales[e / group], q = t[e] == 0  ? 0.0f
                                                                  : t[e] < 0 ? -scale
                                                                             : scale;
                want[e] = mixes[k].b == 0 ? q : q + mixes[k].b * w[e];
            }
            sol_quant_effective(ctx, &spec, w, c->rows, c->cols, mixes[k], got);
            ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
        }
        free(t);
        sol_free(w);
        sol_free(scales);
        sol_free(got);
        sol_free(want);
    }
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(same_bits_for_any_threads_and_features)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    for (int i = 0; i < N_CASES * sol_quantizer_count(); i++) {
        const case_ *c = &cases[i % N_CASES];
        int64_t n = c->rows * c->cols;
        sol_quant_spec spec = spec_of(sol_quantizer_at(i / N_CASES)->name, c->granularity,
                                      c->group_size, c->layout, SOL_F16);
        float *w = floats(n), *first = floats(n), *got = floats(n);
        fill_edges(w, n, &rng);
        sol_ctx *ctx = context(1, SOL_TIER_C);
        sol_quant_effective(ctx, &spec, w, c->rows, c->cols, (sol_residual_mix){1, 0.25f}, first);
        sol_ctx_free(&ctx);
        for (int k = 0; k < 3 * n_sets; k++) {
            ctx = context(1 + k % 3, set[k / 3]);
            uint64_t before = sol_alloc_count();
            sol_quant_effective(ctx, &spec, w, c->rows, c->cols, (sol_residual_mix){1, 0.25f}, got);
            ck_assert_uint_eq(sol_alloc_count(), before);
            ck_assert_mem_eq(got, first, (size_t)n * sizeof *got);
            sol_ctx_free(&ctx);
        }
        sol_free(w);
        sol_free(first);
        sol_free(got);
    }
}
END_TEST

START_TEST(none_copies)
{
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    sol_quant_spec none = {0};
    float w[3] = {1, -2, 3}, out[3] = {0};
    ck_ok(sol_quant_check(&none, "layer", 1, 3, err));
    sol_quant_effective(ctx, &none, w, 1, 3, (sol_residual_mix){1, 0.5f}, out);
    ck_assert_mem_eq(w, out, sizeof w);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(check_names_layer_and_groups_that_fit)
{
    sol_quant_spec s = spec_of("sherry", SOL_PER_GROUP, 128, SOL_LAYOUT_CONTIGUOUS, SOL_F16);
    ck_fails(sol_quant_check(&s, "model.layers.3.mlp.down_proj.weight", 64, 192, err),
             SOL_ERR_SHAPE,
             "model.layers.3.mlp.down_proj.weight: its width 192 does not divide into groups of "
             "128; groups that fit: 192, 96, 64, "
             "48, 32, 24, 16, 12, 8, 4");
    s.group_size = 30;
    ck_fails(sol_quant_check(&s, "l", 64, 60, err), SOL_ERR_RANGE,
             "group_size 30: sherry needs a positive multiple of 4");
    s.group_size = 0;
    ck_fails(sol_quant_check(&s, "l", 64, 60, err), SOL_ERR_RANGE, "group_size 0");
    s.group_size = -4;
    ck_fails(sol_quant_check(&s, "l", 64, 60, err), SOL_ERR_RANGE, "group_size -4");
    s.group_size = 4;
    ck_fails(sol_quant_check(&s, "l", 64, 63, err), SOL_ERR_SHAPE, "width 63 is no multiple of 4");
    ck_fails(sol_quant_check(&s, "l", 0, 64, err), SOL_ERR_SHAPE, "nothing to quantize");
    s.layout = SOL_LAYOUT_STRIDE16;
    ck_fails(sol_quant_check(&s, "l", 64, 96, err), SOL_ERR_SHAPE, "stride16");
    s.group_size = 32;
    ck_fails(sol_quant_check(&s, "l", 64, 192, err), SOL_ERR_RANGE,
             "multiple of 64 in block layout stride16; groups that fit: 192, 64");
    s.group_size = 192;
    ck_ok(sol_quant_check(&s, "l", 64, 192, err));
    /* No blocks: any width. */
    s = spec_of("absmean", SOL_PER_CHANNEL, 0, SOL_LAYOUT_STRIDE16, SOL_F16);
    ck_ok(sol_quant_check(&s, "l", 64, 63, err));
    s.granularity = SOL_PER_GROUP;
    s.group_size = 4;
    ck_fails(sol_quant_check(&s, "l", 64, 63, err), SOL_ERR_SHAPE,
             "does not divide into groups of 4; no group size fits, per_channel");
    s.scale_dtype = SOL_I8;
    ck_fails(sol_quant_check(&s, "l", 64, 64, err), SOL_ERR_UNSUPPORTED, "not i8");
    ck_assert_ptr_null(sol_quantizer_find("sherri"));
}
END_TEST

static sol_residual residual(sol_residual_schedule schedule, bool warmup)
{
    return (sol_residual){.schedule = schedule,
                          .warmup = warmup,
                          .lambda_max = 1,
                          .warmup_fraction = 0.1f,
                          .end_fraction = 1};
}

START_TEST(residual_schedules_at_their_corners)
{
    /* The published trajectory: cosine with warm-up, 30 steps. */
    sol_residual r = residual(SOL_RESIDUAL_COSINE, true);
    static const double head[] = {1.0 / 3, 2.0 / 3, 1, 0.9968561049466214, 0.9874639560909118};
    for (int s = 0; s < 5; s++)
        ck_assert_double_eq_tol(sol_residual_lambda(&r, s, 30), head[s], 1e-7);
    ck_assert_double_eq_tol(sol_residual_lambda(&r, 16, 30), 0.5, 1e-7);
    ck_assert_double_eq_tol(sol_residual_lambda(&r, 29, 30), 0.003143895053378698, 1e-7);
    ck_assert_float_eq(sol_residual_lambda(&r, 30, 30), 0);
    for (int kind = SOL_RESIDUAL_LINEAR; kind <= SOL_RESIDUAL_EXP; kind++) {
        for (int warm = 0; warm < 2; warm++) {
            r = residual((sol_residual_schedule)kind, warm);
            r.lambda_max = 2;
            r.end_fraction = 0.8f;
            int peak = warm ? 9 : 0;
            ck_assert_float_eq(sol_residual_lambda(&r, peak, 100), 2);
            for (int s = 1; s < 80; s++) {
                float before = sol_residual_lambda(&r, s - 1, 100),
                      now = sol_residual_lambda(&r, s, 100);
                ck_assert(s <= peak ? now > before : now < before);
            }
            ck_assert_float_gt(sol_residual_lambda(&r, 78, 100), 0);
            for (int s = 80; s < 101; s++) ck_assert_float_eq(sol_residual_lambda(&r, s, 100), 0);
            r.end_fraction = 0.05f; /* shorter than the warm-up: cut, never negative */
            for (int s = 5; s < 100; s++) ck_assert_float_eq(sol_residual_lambda(&r, s, 100), 0);
            r.end_fraction = 0;
            ck_assert_float_eq(sol_residual_lambda(&r, 0, 100), 0);
            r.end_fraction = 1;
            for (int n = 0; n < 4; n++) /* tiny runs are defined */
                for (int s = 0; s <= n; s++) ck_assert(isfinite(sol_residual_lambda(&r, s, n)));
        }
    }
    r = residual(SOL_RESIDUAL_EXP, false);
    ck_assert_double_eq_tol(sol_residual_lambda(&r, 50, 100), exp(-2.5), 1e-7);
    ck_assert_float_gt(sol_residual_lambda(&r, 98, 100), 0);
    ck_assert_float_eq(sol_residual_lambda(&r, 99, 100), 0);
    r = residual(SOL_RESIDUAL_LINEAR, false);
    ck_assert_double_eq_tol(sol_residual_lambda(&r, 25, 100), 0.75, 1e-7);
    /* The last step, and runs of one and two: lambda reaches 0 with the step after it, exp with it.
     */
    static const double last[3][3] = {{0.5, 1, 1.0 / 30}, {0.5, 1, 0.0027390523158633}, {0, 0, 0}};
    for (int kind = SOL_RESIDUAL_LINEAR; kind <= SOL_RESIDUAL_EXP; kind++) {
        r = residual((sol_residual_schedule)kind, false);
        const double *want = last[kind - SOL_RESIDUAL_LINEAR];
        ck_assert_double_eq_tol(sol_residual_lambda(&r, 0, 2), 1, 1e-7);
        ck_assert_double_eq_tol(sol_residual_lambda(&r, 1, 2), want[0], 1e-7);
        ck_assert_double_eq_tol(sol_residual_lambda(&r, 0, 1), want[1], 1e-7);
        ck_assert_double_eq_tol(sol_residual_lambda(&r, 29, 30), want[2], 1e-7);
    }
    r = residual(SOL_RESIDUAL_NONE, true);
    for (int s = 0; s < 100; s++) ck_assert_float_eq(sol_residual_lambda(&r, s, 100), 0);
}
END_TEST

START_TEST(residual_forms)
{
    sol_residual_mix m = sol_residual_coeffs(SOL_RESIDUAL_ADDITIVE, 0.25f);
    ck_assert(m.a == 1 && m.b == 0.25f);
    m = sol_residual_coeffs(SOL_RESIDUAL_BLEND, 0.25f);
    ck_assert(m.a == 0.75f && m.b == 0.25f);
    /* The blend at lambda 1 is the full-precision model, exactly; both forms at 0 are the deployed
     * one. */
    m = sol_residual_coeffs(SOL_RESIDUAL_BLEND, 1);
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    sol_quant_spec spec = spec_of("sherry", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, SOL_F16);
    float w[8] = {0.3f, -0.1f, 1e-40f, 7, -3e-5f, 0.25f, 11, -2}, out[8];
    sol_quant_effective(ctx, &spec, w, 1, 8, m, out);
    for (int i = 0; i < 8; i++) ck_assert_float_eq(out[i], w[i]);
    sol_ctx_free(&ctx);
    for (int form = SOL_RESIDUAL_ADDITIVE; form <= SOL_RESIDUAL_BLEND; form++) {
        m = sol_residual_coeffs((sol_residual_form)form, 0);
        ck_assert(m.a == 1 && m.b == 0);
    }
}
END_TEST

SOL_TEST_MAIN("quant", tcase_add_test(tc, published_errors_on_many_samples);
              tcase_add_test(tc, sherry_is_the_l2_optimum); tcase_add_test(tc, scales_in_fp16);
              tcase_add_test(tc, ties_zeros_and_strange_numbers);
              tcase_add_test(tc, sherry_follows_its_definition);
              tcase_add_test(tc, effective_is_made_of_the_parts);
              tcase_add_test(tc, same_bits_for_any_threads_and_features);
              tcase_add_test(tc, none_copies);
              tcase_add_test(tc, check_names_layer_and_groups_that_fit);
              tcase_add_test(tc, residual_schedules_at_their_corners);
              tcase_add_test(tc, residual_forms))
