/* The closed-form calibration of a layer against a reference in numpy (tests/golden/calibrate.txt,
 * made by scripts/make_golden_calibrate.py) and against every possibility. test_calib_model.c has
 * that of a model. */
#include <math.h>
#include <string.h>

#include "calib/calib.h"
#include "calib/soften.h"
#include "calib/solve.h"
#include "kernels/factor.h"
#include "kernels/gemm.h"
#include "suite.h"

static sol_ctx *make_ctx(int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
    return ctx;
}

static float *floats(int64_t n)
{
    float *x;
    ck_ok(sol_alloc_array((void **)&x, (size_t)n, sizeof *x, err));
    return x;
}

static sol_quant_spec spec_of(const char *method, sol_granularity granularity, int group,
                              sol_block_layout layout, int n, int m)
{
    sol_quant_spec s = {.method = sol_quantizer_find(method),
                        .granularity = granularity,
                        .group_size = group,
                        .layout = layout,
                        .scale_dtype = SOL_F16,
                        .n = n,
                        .m = m};
    ck_assert_ptr_nonnull(s.method);
    return s;
}

/* A problem: correlated inputs, outputs of other weights and some noise. */
typedef struct problem {
    int64_t n, in, parts[2];
    int n_parts;
    float *x, *y, *w, *h, *b, *q;
    sol_calib_system s;
} problem;

static int64_t out_rows(const problem *p)
{
    return p->parts[0] + (p->n_parts > 1 ? p->parts[1] : 0);
}

/* H and B, anew: a solve spoils them. */
static void moments(const sol_ctx *ctx, problem *p)
{
    float scale = 1.0f / (float)p->n;
    sol_gemm(ctx, true, false, p->in, p->in, p->n, scale, p->x, p->in, p->x, p->in, 0, p->h, p->in);
    sol_gemm(ctx, true, false, out_rows(p), p->in, p->n, scale, p->y, out_rows(p), p->x, p->in, 0,
             p->b, p->in);
    p->s = (sol_calib_system){.cols = p->in,
                              .n_parts = p->n_parts,
                              .part_rows = {p->parts[0], p->parts[1]},
                              .w = p->w,
                              .h = p->h,
                              .b = p->b,
                              .q = p->q};
}

static problem problem_make(int64_t n, int64_t in, int n_parts, int64_t rows)
{
    problem p = {
        .n = n, .in = in, .parts = {rows, n_parts > 1 ? rows / 2 + 1 : 0}, .n_parts = n_parts};
    int64_t out = out_rows(&p);
    p.x = floats(n * in), p.y = floats(n * out), p.w = floats(out * in), p.h = floats(in * in),
    p.b = floats(out * in), p.q = floats(out * in);
    return p;
}

static problem problem_random(const sol_ctx *ctx, int64_t n, int64_t in, int n_parts, int64_t rows,
                              uint64_t seed)
{
    problem p = problem_make(n, in, n_parts, rows);
    sol_rng r = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int64_t i = 0; i < n; i++) {
        float shared = sol_rng_normal(&r);
        for (int64_t c = 0; c < in; c++)
            p.x[i * in + c] = sol_rng_normal(&r) * (c % 7 == 3 ? 3 : 1) + 0.7f * shared;
    }
    for (int64_t i = 0; i < out_rows(&p) * in; i++) p.w[i] = 0.1f * sol_rng_normal(&r);
    sol_gemm(ctx, false, true, n, out_rows(&p), in, 1, p.x, in, p.w, in, 0, p.y, out_rows(&p));
    for (int64_t i = 0; i < n * out_rows(&p); i++) p.y[i] += 0.1f * sol_rng_normal(&r);
    moments(ctx, &p);
    return p;
}

static void problem_free(problem *p)
{
    float *all[] = {p->x, p->y, p->w, p->h, p->b, p->q};
    for (int i = 0; i < 6; i++) sol_free(all[i]);
}

static sol_status solve(const sol_ctx *ctx, const sol_quant_spec *spec, const char *name,
                        double damping, int sweeps, int starts, sol_calib_system *s, sol_err *err)
{
    sol_calib_opts o = {.damping = damping, .sweeps = sweeps, .starts = starts};
    return sol_calib_solve(ctx, spec, name, &o, s, err);
}

/* The objective of q by its definition, in double, after a solve (h and b hold H + d I and B + d
 * W). */
static double objective(const problem *p, const float *q)
{
    double sum = 0;
    for (int64_t r = 0; r < out_rows(p); r++)
        for (int64_t i = 0; i < p->in; i++) {
            double a = q[r * p->in + i];
            sum -= 2 * a * p->b[r * p->in + i];
            for (int64_t j = 0; j < p->in; j++) sum += a * p->h[i * p->in + j] * q[r * p->in + j];
        }
    return sum;
}

/* ---- golden ---- */

static void read_floats(FILE *f, const char *name, int64_t n, float *out)
{
    char word[32];
    ck_assert_int_eq(fscanf(f, "%31s", word), 1);
    ck_assert_str_eq(word, name);
    int64_t read = 0;
    while (read < n && fscanf(f, "%f", &out[read]) == 1) read++;
    ck_assert_int_eq(read, n);
}

static double furthest(const float *a, const float *b, int64_t n)
{
    double max = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, fabs((double)a[i] - b[i]));
    return max;
}

START_TEST(golden_layer)
{
    sol_ctx *ctx = make_ctx(2);
    int n, out, in, cases;
    double damping, optimum;
    FILE *f = fopen("tests/golden/calibrate.txt", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "shape %d %d %d %d %lf", &n, &out, &in, &cases, &damping), 5);
    problem p = problem_make(n, in, 1, out);
    float *h = floats(in * in), *b = floats(out * in), *q = floats(out * in),
          value[SOL_CALIB_MAX_SWEEPS + 1];
    read_floats(f, "x", n * in, p.x);
    read_floats(f, "y", n * out, p.y);
    read_floats(f, "w", out * in, p.w);
    read_floats(f, "h", in * in, h);
    read_floats(f, "b", out * in, b);
    ck_assert_int_eq(fscanf(f, " optimum %lf", &optimum), 1);
    moments(ctx, &p);
    ck_assert_double_le(furthest(p.h, h, in * in), 2e-5);
    ck_assert_double_le(furthest(p.b, b, out * in), 2e-5);
    for (int i = 0; i < cases; i++) {
        char method[16], assign[16];
        int kept, m, group, sweeps;
        ck_assert_int_eq(
            fscanf(f, " case %15s %d %d %d %d %15s", method, &kept, &m, &group, &sweeps, assign),
            6);
        sol_calib_opts o = {.damping = damping, .sweeps = sweeps, .starts = 1};
        o.assign = strcmp(assign, "nearest") == 0 ? SOL_ASSIGN_NEAREST : SOL_ASSIGN_SEARCHED;
        sol_quant_spec spec = spec_of(method, SOL_PER_GROUP, group, SOL_LAYOUT_CONTIGUOUS, kept, m);
        moments(ctx, &p);
        ck_ok(sol_calib_solve(ctx, &spec, "golden", &o, &p.s, err));
        ck_assert_double_eq_tol(p.s.optimum, optimum, 1e-5 * fabs(optimum));
        ck_assert_double_eq(p.s.damping, damping);
        read_floats(f, "objective", sweeps + 1, value);
        for (int k = 0; k <= sweeps; k++)
            ck_assert_double_eq_tol(p.s.objective[k], value[k], 1e-5 * fabs((double)value[k]));
        read_floats(f, "q", out * in, q);
        ck_assert_double_le(furthest(p.q, q, out * in), 1e-7);
    }
    fclose(f);
    sol_free(h), sol_free(b), sol_free(q);
    problem_free(&p);
    sol_ctx_free(&ctx);
}
END_TEST

/* ---- against every possibility ---- */

/* The least objective of a row over all patterns of all its blocks, with the best scale for each
 * choice. */
static double brute_force(const problem *p, const sol_quant_spec *spec, int64_t row)
{
    int8_t t[64 * 8];
    int m = sol_quant_block(spec), n = spec->method->patterns(spec, 64, t),
        blocks = (int)(p->in / m);
    int64_t combinations = 1;
    double best = 0;
    for (int i = 0; i < blocks; i++) combinations *= n;
    for (int64_t k = 0; k < combinations; k++) {
        double quadratic = 0, linear = 0, signs[16];
        int64_t rest = k;
        for (int b = 0; b < blocks; b++, rest /= n)
            for (int j = 0; j < m; j++) signs[b * m + j] = t[rest % n * m + j];
        for (int64_t i = 0; i < p->in; i++) {
            linear += signs[i] * p->b[row * p->in + i];
            for (int64_t j = 0; j < p->in; j++)
                quadratic += signs[i] * signs[j] * p->h[i * p->in + j];
        }
        if (linear > 0 && quadratic > 0 && -linear * linear / quadratic < best)
            best = -linear * linear / quadratic;
    }
    return best;
}

START_TEST(nothing_much_better_exists)
{
    sol_ctx *ctx = make_ctx(1);
    sol_quant_spec spec = spec_of("sherry", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0);
    for (uint64_t seed = 1; seed <= (SOL_TEST_SLOW ? 2 : 8); seed++) {
        problem p = problem_random(ctx, 64, 12, 1, 8, seed);
        ck_ok(solve(ctx, &spec, "tiny", 0.01, 4, 5, &p.s, err));
        double best = 0;
        for (int64_t r = 0; r < 8; r++) best += brute_force(&p, &spec, r);
        ck_assert_msg(p.s.objective[4] <= best * 0.99, "seed %d: %.9g, the best is %.9g", (int)seed,
                      p.s.objective[4], best);
        problem_free(&p);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* ---- properties ---- */

typedef struct variant {
    const char *method;
    sol_granularity granularity;
    int group;
    sol_block_layout layout;
    int n, m;
} variant;

static const variant variants[] = {
    {"sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_STRIDE16, 0, 0},
    {"sherry", SOL_PER_GROUP, 32, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"sherry", SOL_PER_GROUP, 4, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"sherry", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"sherry", SOL_PER_CHANNEL, 0, SOL_LAYOUT_STRIDE16, 0, 0},
    {"sherry", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"nm", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 2, 4},
    {"nm", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 4, 8},
    {"nm", SOL_PER_GROUP, 96, SOL_LAYOUT_CONTIGUOUS, 2, 3},
    {"twn", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"binary", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"sherry", SOL_PER_TENSOR, 0, SOL_LAYOUT_STRIDE16, 0, 0},
    {"nm", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 2, 4},
    {"twn", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"twn", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"binary", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0},
    {"binary", SOL_PER_CHANNEL, 0, SOL_LAYOUT_STRIDE16, 0, 0},
    {"nm", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 5, 8},
    {"nm", SOL_PER_GROUP, 24, SOL_LAYOUT_CONTIGUOUS, 1, 2},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants, EVERY = SOL_TEST_SLOW ? 3 : 1 };

/* What is left of each part's outputs, computed from them. */
static void expect_misfit(const sol_ctx *ctx, const problem *p)
{
    int64_t out = out_rows(p), at = 0;
    float *y = floats(p->n * out);
    sol_gemm(ctx, false, true, p->n, out, p->in, 1, p->x, p->in, p->q, p->in, 0, y, out);
    for (int part = 0; part < p->n_parts; at += p->parts[part++]) {
        double left = 0, size = 0;
        for (int64_t i = 0; i < p->n; i++)
            for (int64_t j = i * out + at; j < i * out + at + p->parts[part]; j++) {
                left += ((double)y[j] - p->y[j]) * ((double)y[j] - p->y[j]) / (double)p->n;
                size += (double)p->y[j] * p->y[j] / (double)p->n;
            }
        ck_assert_double_eq_tol(p->s.misfit[part] + size, left, 1e-4 * size);
    }
    sol_free(y);
}

/* Soft latent weights quantize to the same bits, for any number of threads, and are no levels. */
static void expect_soft(const sol_ctx *ctx, const sol_quant_spec *spec, const problem *p,
                        float *again)
{
    sol_ctx *one = make_ctx(1);
    float *soft = floats(out_rows(p) * p->in), *other = floats(out_rows(p) * p->in);
    int64_t at = 0;
    for (int part = 0; part < 2; at += p->parts[part] * p->in, part++) {
        sol_calib_soften(ctx, spec, p->w + at, p->q + at, p->parts[part], p->in, soft + at);
        sol_calib_soften(one, spec, p->w + at, p->q + at, p->parts[part], p->in, other + at);
        sol_quant_effective(ctx, spec, soft + at, p->parts[part], p->in, (sol_residual_mix){1, 0},
                            again + at);
    }
    size_t bytes = (size_t)at * sizeof *soft;
    ck_assert_mem_eq(soft, other, bytes);
    ck_assert_mem_eq(again, p->q, bytes);
    ck_assert((memcmp(soft, p->q, bytes) == 0) == (sol_quant_block(spec) == 1));
    sol_free(soft);
    sol_free(other);
    sol_ctx_free(&one);
}

START_TEST(objective_never_rises_and_q_is_its_own_quantization)
{
    const variant *v = &variants[_i * EVERY];
    sol_quant_spec spec = spec_of(v->method, v->granularity, v->group, v->layout, v->n, v->m);
    sol_ctx *ctx = make_ctx(2);
    problem p = problem_random(ctx, 256, 192, 2, 40, 3);
    float *again = floats(out_rows(&p) * p.in);
    ck_ok(solve(ctx, &spec, "layer", 0.02, 3, 2, &p.s, err));
    for (int i = 0; i < 3; i++)
        ck_assert_double_le(p.s.objective[i + 1], p.s.objective[i] + 1e-6 * fabs(p.s.objective[i]));
    ck_assert_double_ge(p.s.objective[3], p.s.optimum);
    if (v->layout == SOL_LAYOUT_CONTIGUOUS) /* else h and b are in another order than q */
        ck_assert_double_eq_tol(objective(&p, p.q), p.s.objective[3],
                                1e-4 * fabs(p.s.objective[3]));
    int64_t at = 0;
    for (int part = 0; part < 2; at += p.parts[part] * p.in, part++)
        sol_quant_effective(ctx, &spec, p.q + at, p.parts[part], p.in, (sol_residual_mix){1, 0},
                            again + at);
    ck_assert_mem_eq(again, p.q, (size_t)(out_rows(&p) * p.in) * sizeof *again);
    expect_misfit(ctx, &p);
    expect_soft(ctx, &spec, &p, again);
    sol_free(again);
    problem_free(&p);
    sol_ctx_free(&ctx);
}
END_TEST

/* Per tensor, narrow: rows begin with scales of their own, and the first one's happens to be the
 * best that all can have. */
START_TEST(one_scale_a_tensor)
{
    enum { ROWS = 3, COLS = 8 };
    static const float size[ROWS] = {1, 0.5f, 1.5f};
    float w[ROWS * COLS], b[ROWS * COLS], q[ROWS * COLS], again[ROWS * COLS], h[COLS * COLS] = {0};
    sol_quant_spec spec = spec_of("sherry", SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0);
    sol_ctx *ctx = make_ctx(1);
    for (int sweeps = 0; sweeps < 3; sweeps += 2) {
        for (int i = 0; i < ROWS * COLS; i++) w[i] = b[i] = size[i / COLS] * (i % 2 ? -1 : 1);
        for (int i = 0; i < COLS; i++)
            for (int j = 0; j < COLS; j++) h[i * COLS + j] = i == j;
        sol_calib_system s = {
            .cols = COLS, .n_parts = 1, .part_rows = {ROWS}, .w = w, .h = h, .b = b, .q = q};
        ck_ok(solve(ctx, &spec, "layer", 0.01, sweeps, 1, &s, err));
        sol_quant_effective(ctx, &spec, q, ROWS, COLS, (sol_residual_mix){1, 0}, again);
        ck_assert_mem_eq(again, q, sizeof q);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* The same problem with its columns in STQ1_0's order is the same problem. */
START_TEST(stride16_is_a_permutation)
{
    sol_ctx *ctx = make_ctx(1);
    problem a = problem_random(ctx, 200, 128, 1, 20, 4),
            b = problem_random(ctx, 200, 128, 1, 20, 4);
    for (int64_t c = 0; c < 128; c++) {
        int64_t to = sol_block_column(SOL_LAYOUT_STRIDE16, c / 4, c % 4);
        for (int64_t i = 0; i < 200; i++) b.x[i * 128 + to] = a.x[i * 128 + c];
        for (int64_t r = 0; r < 20; r++) b.w[r * 128 + to] = a.w[r * 128 + c];
    }
    moments(ctx, &b);
    sol_quant_spec plain = spec_of("sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0),
                   strided = plain;
    strided.layout = SOL_LAYOUT_STRIDE16;
    ck_ok(solve(ctx, &plain, "a", 0.02, 1, 1, &a.s, err));
    ck_ok(solve(ctx, &strided, "b", 0.02, 1, 1, &b.s, err));
    int64_t differ = 0;
    for (int64_t r = 0; r < 20; r++)
        for (int64_t c = 0; c < 128; c++)
            differ +=
                fabsf(a.q[r * 128 + c] -
                      b.q[r * 128 + sol_block_column(SOL_LAYOUT_STRIDE16, c / 4, c % 4)]) > 1e-6f;
    ck_assert_int_eq(differ, 0);
    problem_free(&a);
    problem_free(&b);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(threads_never_change_the_result)
{
    sol_quant_spec spec = spec_of("sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0);
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        sol_ctx *ctx = make_ctx(threads);
        problem p = problem_random(ctx, 300, 192, 2, 70, 5);
        ck_ok(solve(ctx, &spec, "layer", 0.02, 2, 3, &p.s, err));
        size_t bytes = (size_t)(out_rows(&p) * p.in) * sizeof(float);
        if (first)
            ck_assert_mem_eq(first, p.q, bytes);
        else
            memcpy(first = floats(out_rows(&p) * p.in), p.q, bytes);
        problem_free(&p);
        sol_ctx_free(&ctx);
    }
    sol_free(first);
}
END_TEST

static sol_status solve_spoiled(const sol_ctx *ctx, problem *p, sol_err *err)
{
    sol_quant_spec spec = spec_of("sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0);
    return solve(ctx, &spec, "model.layers.3.mlp.down_proj.weight", 0.02, 2, 1, &p->s, err);
}

/* Where inputs say nothing, the layer's own weights are the target. */
START_TEST(inputs_without_information)
{
    sol_ctx *ctx = make_ctx(1);
    problem p = problem_random(ctx, 100, 64, 1, 16, 6);
    float *rounded = floats(16 * 64);
    sol_quant_spec spec = spec_of("sherry", SOL_PER_GROUP, 64, SOL_LAYOUT_CONTIGUOUS, 0, 0);
    /* all zero: W rounded */
    memset(p.x, 0, (size_t)(100 * 64) * sizeof *p.x);
    moments(ctx, &p);
    ck_ok(solve_spoiled(ctx, &p, err));
    sol_quant_effective(ctx, &spec, p.w, 16, 64, (sol_residual_mix){1, 0}, rounded);
    for (int64_t i = 0; i < 16 * 64; i++)
        ck_assert_float_eq_tol(p.q[i], rounded[i], 1e-3f * fabsf(rounded[i]) + 1e-9f);
    /* constant inputs: rank one */
    for (int64_t i = 0; i < 100 * 64; i++) p.x[i] = 2;
    moments(ctx, &p);
    ck_ok(solve_spoiled(ctx, &p, err));
    for (int64_t i = 0; i < 16 * 64; i++) ck_assert(isfinite(p.q[i]));
    problem_free(&p);
    /* a dead channel, and one that repeats another */
    p = problem_random(ctx, 100, 64, 1, 16, 7);
    for (int64_t i = 0; i < 100; i++) p.x[i * 64 + 5] = 0, p.x[i * 64 + 9] = p.x[i * 64 + 8];
    moments(ctx, &p);
    ck_ok(solve_spoiled(ctx, &p, err));
    ck_assert_double_le(p.s.objective[2], p.s.objective[0]);
    sol_free(rounded);
    problem_free(&p);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(what_cannot_be_solved_is_named)
{
    sol_ctx *ctx = make_ctx(1);
    problem p = problem_random(ctx, 100, 64, 1, 16, 8);
    p.h[3] = NAN;
    ck_fails(solve_spoiled(ctx, &p, err), SOL_ERR_NONFINITE,
             "model.layers.3.mlp.down_proj.weight: its inputs");
    moments(ctx, &p);
    p.b[7] = INFINITY;
    ck_fails(solve_spoiled(ctx, &p, err), SOL_ERR_NONFINITE, "not finite");
    moments(ctx, &p);
    for (int64_t i = 0; i < 64; i++)
        p.h[i * 64 + (i + 1) % 64] = p.h[(i + 1) % 64 * 64 + i] = 1e4f; /* no matrix of moments */
    ck_fails(solve_spoiled(ctx, &p, err), SOL_ERR_NONFINITE,
             "not positive definite, with damping up to 20");
    problem_free(&p);
    sol_ctx_free(&ctx);
    static const char *const none[] = {"absmean", "absmedian", "tequila", "lsq", "seq", "dlt"};
    for (int i = 0; i < 6; i++) {
        sol_quant_spec spec = spec_of(none[i], SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 0, 0);
        ck_fails(sol_calib_check_quant(&spec, err), SOL_ERR_UNSUPPORTED, "only sherry");
        ck_fails(sol_calib_check_quant(&spec, err), SOL_ERR_UNSUPPORTED, none[i]);
    }
    sol_quant_spec many = spec_of("nm", SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 8, 16);
    ck_fails(sol_calib_check_quant(&many, err), SOL_ERR_UNSUPPORTED, "8:16 has too many patterns");
    ck_fails(sol_calib_check_quant(&(sol_quant_spec){0}, err), SOL_ERR_UNSUPPORTED,
             "none cannot be calibrated");
}
END_TEST

START_TEST(factors_of_a_matrix)
{
    sol_ctx *ctx = make_ctx(2);
    static const int64_t sizes[] = {1, 5, 64, 65, 200};
    for (int k = 0; k < 5; k++) {
        int64_t n = sizes[k];
        problem p = problem_random(ctx, n + 20, n, 1, 3, 9);
        double *a, b[3 * 200];
        ck_ok(sol_alloc_array((void **)&a, (size_t)(n * n), sizeof *a, err));
        for (int64_t i = 0; i < n * n; i++) a[i] = p.h[i] + (i % (n + 1) == 0 ? 0.1 : 0);
        for (int64_t i = 0; i < 3 * n; i++) b[i] = p.b[i];
        ck_assert(sol_factor_upper(ctx, a, n));
        sol_factor_solve(ctx, a, n, b, 3);
        double worst = 0;
        for (int64_t r = 0; r < 3; r++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0.1 * b[r * n + j];
                for (int64_t i = 0; i < n; i++) sum += b[r * n + i] * p.h[i * n + j];
                worst = fmax(worst, fabs(sum - p.b[r * n + j]));
            }
        ck_assert_double_le(worst, 1e-6);
        sol_free(a);
        problem_free(&p);
    }
    double bad[4] = {1, 2, 2, 1}, right[2] = {1, 1};
    ck_assert(!sol_factor_upper(ctx, bad, 2));
    double bad2[4] = {1, 2, 2, 1};
    ck_assert(!sol_solve_spd(bad2, 2, right));
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(tables_of_patterns)
{
    int8_t t[4096];
    ck_assert_int_eq(sol_quant_patterns(4, 3, 3, 512, t), 32);
    for (int i = 0; i < 32; i++) {
        int zeros = 0;
        for (int j = 0; j < 4; j++) zeros += t[4 * i + j] == 0;
        ck_assert_int_eq(zeros, 1);
        for (int k = 0; k < i; k++) ck_assert_int_ne(memcmp(t + 4 * i, t + 4 * k, 4), 0);
    }
    ck_assert_int_eq(sol_quant_patterns(4, 2, 2, 100, NULL), 24);
    ck_assert_int_eq(sol_quant_patterns(1, 0, 1, 3, t), 3);
    ck_assert_int_eq(sol_quant_patterns(8, 4, 4, 4096, NULL), 70 * 16);
    ck_assert_int_eq(sol_quant_patterns(8, 4, 4, 100, NULL), 0);
}
END_TEST

SOL_TEST_MAIN("calib", tcase_add_test(tc, golden_layer);
              tcase_add_test(tc, nothing_much_better_exists);
              tcase_add_loop_test(tc, objective_never_rises_and_q_is_its_own_quantization, 0,
                                  (N_VARIANTS + EVERY - 1) / EVERY);
              tcase_add_test(tc, one_scale_a_tensor); tcase_add_test(tc, stride16_is_a_permutation);
              tcase_add_test(tc, threads_never_change_the_result);
              tcase_add_test(tc, inputs_without_information);
              tcase_add_test(tc, what_cannot_be_solved_is_named);
              tcase_add_test(tc, factors_of_a_matrix); tcase_add_test(tc, tables_of_patterns))
