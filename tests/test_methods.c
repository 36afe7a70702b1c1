/* The methods that are compared with sherry: forward against their formulas, learned parameters,
 * backward against the derivative of the surrogate. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { ROWS = 12, COLS = 192 };

static sol_ctx *context(int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
    return ctx;
}

static sol_quant_spec spec_of(const char *method, sol_granularity granularity, int group)
{
    return (sol_quant_spec){.method = sol_quantizer_find(method),
                            .granularity = granularity,
                            .group_size = group,
                            .scale_dtype = SOL_F32,
                            .n = 2,
                            .m = 4};
}

static void draw(float *w, int64_t n, uint64_t seed)
{
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int64_t i = 0; i < n; i++) w[i] = 0.05f * sol_rng_normal(&rng);
}

static double nmse_of(const sol_ctx *ctx, const char *method)
{
    enum { N = 1 << 18 };
    static float w[N], q[N];
    sol_quant_spec spec = spec_of(method, SOL_PER_GROUP, 128);
    double error = 0, power = 0;
    draw(w, N, 7);
    sol_quant_effective(ctx, &spec, w, N / 1024, 1024, (sol_residual_mix){1, 0}, q);
    for (int i = 0; i < N; i++) {
        error += pow((double)w[i] - (double)q[i], 2);
        power += (double)w[i] * w[i];
    }
    return error / power;
}

START_TEST(published_errors)
{
    sol_ctx *ctx = context(2);
    ck_assert_double_eq_tol(nmse_of(ctx, "binary"), 0.3605, 0.003);
    ck_assert_double_eq_tol(nmse_of(ctx, "twn"), 0.1880, 0.003);
    ck_assert_double_eq_tol(nmse_of(ctx, "absmean"), 0.2611, 0.003);
    sol_ctx_free(&ctx);
}
END_TEST

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

START_TEST(absmedian_finds_the_lower_median)
{
    sol_ctx *ctx = context(2);
    for (int n = 1; n <= 600; n += n < 20 ? 1 : 29) {
        float w[600], mag[600], scale;
        int8_t t[600];
        draw(w, n, (uint64_t)n);
        for (int i = 0; i < n; i++) {
            if (n % 3 == 0) w[i] = (float)(i % 5 - 2); /* ties */
            mag[i] = fabsf(w[i]);
        }
        qsort(mag, (size_t)n, sizeof *mag, rising);
        for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_CHANNEL; granularity++) {
            sol_quant_spec spec = spec_of("absmedian", (sol_granularity)granularity, 0);
            sol_quant_split(ctx, &spec, w, 1, n, t, &scale);
            ck_assert_float_eq(scale, mag[(n - 1) / 2]);
            for (int i = 0; i < n; i++)
                ck_assert_int_eq(t[i],
                                 fabsf(w[i]) > mag[(n - 1) / 2] / 2 ? (w[i] < 0 ? -1 : 1) : 0);
        }
    }
    float w[4] = {NAN, 1, INFINITY, -2}, scale; /* numbers, infinity, NaN */
    int8_t t[4];
    sol_quant_spec spec = spec_of("absmedian", SOL_PER_TENSOR, 0);
    sol_quant_split(ctx, &spec, w, 1, 4, t, &scale);
    ck_assert_float_eq(scale, 2);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(twn_keeps_above_its_threshold)
{
    sol_ctx *ctx = context(1);
    sol_quant_spec spec = spec_of("twn", SOL_PER_CHANNEL, 0);
    /* Mean 1.5, threshold 1.125, kept 2 4 3. */
    float w[8] = {1, -1, 2, -4, 0, 0.5f, -0.5f, 3}, scale;
    int8_t t[8], want[8] = {0, 0, 1, -1, 0, 0, 0, 1};
    sol_quant_split(ctx, &spec, w, 1, 8, t, &scale);
    ck_assert_mem_eq(t, want, 8);
    ck_assert_float_eq(scale, 3);
    memset(w, 0, sizeof w);
    sol_quant_split(ctx, &spec, w, 1, 8, t, &scale);
    ck_assert(scale == 0 && t[0] == 0);
    w[3] = NAN;
    sol_quant_split(ctx, &spec, w, 1, 8, t, &scale);
    ck_assert(isnan(scale)); /* seen, not hidden */
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(nm_keeps_the_n_largest_of_m)
{
    static const int shapes[][2] = {{1, 2}, {2, 4}, {3, 4},   {1, 4},
                                    {4, 6}, {5, 8}, {63, 64}, {1, 3}};
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS];
    static int8_t t[ROWS * COLS], other[ROWS * COLS];
    float scales[ROWS], others[ROWS];
    draw(w, ROWS * COLS, 5);
    for (int i = 0; i < ROWS * COLS; i += 7) w[i] = i % 2 ? 0.0f : w[(i + 1) % COLS];
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        sol_quant_spec spec = spec_of("nm", SOL_PER_CHANNEL, 0);
        spec.n = shapes[s][0];
        spec.m = shapes[s][1];
        ck_ok(sol_quant_check(&spec, "layer", ROWS, COLS, err));
        sol_quant_split(ctx, &spec, w, ROWS, COLS, t, scales);
        for (int b = 0; b < ROWS * COLS; b += spec.m) {
            int kept = 0;
            float least_kept = INFINITY, most_zeroed = 0;
            for (int i = b; i < b + spec.m; i++) {
                kept += t[i] != 0;
                if (t[i])
                    least_kept = fminf(least_kept, fabsf(w[i]));
                else
                    most_zeroed = fmaxf(most_zeroed, fabsf(w[i]));
            }
            if (kept != spec.n || most_zeroed > least_kept)
                ck_abort_msg("block %d of %d:%d", b / spec.m, spec.n, spec.m);
        }
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int i = 0; i < COLS; i++)
                sum += t[r * COLS + i] ? fabs((double)w[r * COLS + i]) : 0;
            ck_assert_double_eq_tol(scales[r], sum * spec.m / (COLS * spec.n), 1e-6);
        }
        if (spec.n == 3 && spec.m == 4) {
            sol_quant_spec sherry = spec_of("sherry", SOL_PER_CHANNEL, 0);
            sol_quant_split(ctx, &sherry, w, ROWS, COLS, other, others);
            ck_assert_mem_eq(t, other, sizeof t);
            for (int r = 0; r < ROWS; r++) ck_assert_float_eq_tol(scales[r], others[r], 1e-6f);
        }
    }
    sol_quant_spec bad = spec_of("nm", SOL_PER_CHANNEL, 0);
    bad.n = 4;
    ck_fails(sol_quant_check(&bad, "l", 4, 64, err), SOL_ERR_RANGE, "l: nm keeps 4 of 4 weights");
    bad.n = 2;
    bad.m = 6;
    ck_fails(sol_quant_check(&bad, "l", 4, 64, err), SOL_ERR_SHAPE, "width 64 is no multiple of 6");
    bad.granularity = SOL_PER_GROUP;
    bad.group_size = 32;
    ck_fails(sol_quant_check(&bad, "l", 4, 72, err), SOL_ERR_RANGE,
             "multiple of 12; groups that fit: 72, 36, 24, 12");
    bad.layout = SOL_LAYOUT_STRIDE16;
    ck_fails(sol_quant_check(&bad, "l", 4, 72, err), SOL_ERR_UNSUPPORTED, "contiguous blocks only");
    sol_ctx_free(&ctx);
}
END_TEST

/* ---- learned methods ---- */

static double clamp(double x, double limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

/* Q of one weight as published. */
static double formula(const char *method, double w, double step, double shift)
{
    if (strcmp(method, "seq") == 0) return step * rint(clamp(w / step, 0.99) * 1.5) / 1.5;
    if (strcmp(method, "lsq") == 0) shift = 0;
    return step * rint(clamp((w - shift) / step, 1)) + shift;
}

/* The surrogate: rounding adds what it adds at w0, step0, shift0. In seq a weight beyond the clamp
 * counts as sign * step. */
static double surrogate(const char *method, double w, double step, double shift, double w0,
                        double step0, double shift0)
{
    bool seq = strcmp(method, "seq") == 0;
    double limit = seq ? 0.99 : 1, x0 = (w0 - shift0) / step0;
    if (seq && fabs(x0) > limit) return copysign(step, x0);
    double offset = (formula(method, w0, step0, shift0) - shift0) / step0 - clamp(x0, limit);
    return step * (clamp((w - shift) / step, limit) + offset) + shift;
}

static const char *const learned_methods[] = {"lsq", "seq", "dlt"};

START_TEST(learned_forward_follows_the_formula)
{
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], q[ROWS * COLS];
    static int8_t t[ROWS * COLS];
    draw(w, ROWS * COLS, 11);
    for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_GROUP; granularity++) {
        for (int m = 0; m < 3; m++) {
            sol_quant_spec spec = spec_of(learned_methods[m], (sol_granularity)granularity, 64);
            int64_t group = sol_quant_group_weights(&spec, ROWS, COLS), n = ROWS * COLS / group;
            static float step[ROWS * COLS], shift[ROWS * COLS], scales[ROWS * COLS],
                shifts[ROWS * COLS];
            sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS};
            sol_quant_parts parts = {
                .ternary = t, .scales = scales, .shifts = shifts, .learned = {step, shift}};
            sol_quant_take_apart(ctx, &spec, &x, &parts); /* the starting values */
            for (int64_t g = 0; g < n; g++) {
                float max = 0;
                for (int64_t i = g * group; i < (g + 1) * group; i++) max = fmaxf(max, fabsf(w[i]));
                ck_assert_float_eq(step[g], max);
                if (m == 2) ck_assert_float_eq(shift[g], 0);
                step[g] *= 0.4f;
                shift[g] = 0.01f;
            }
            x.learned[0] = step;
            x.learned[1] = m == 2 ? shift : NULL;
            sol_quant_forward(ctx, &spec, &x, (sol_residual_mix){1, 0}, q, NULL);
            sol_quant_take_apart(ctx, &spec, &x, &parts);
            for (int64_t i = 0; i < ROWS * COLS; i++) {
                double want = formula(learned_methods[m], w[i], step[i / group], shift[i / group]);
                if (fabs(q[i] - want) > 1e-6)
                    ck_abort_msg("%s, weight %d: %g, want %g", learned_methods[m], (int)i, q[i],
                                 want);
                float from_parts =
                    (float)t[i] * scales[i / group] + (m == 2 ? shifts[i / group] : 0);
                if (from_parts != q[i])
                    ck_abort_msg("%s: the parts give %g for %g", learned_methods[m], from_parts,
                                 q[i]);
            }
        }
    }
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(a_step_stays_positive)
{
    sol_ctx *ctx = context(1);
    for (int m = 0; m < 3; m++) {
        sol_quant_spec spec = spec_of(learned_methods[m], SOL_PER_CHANNEL, 0);
        float w[4] = {0, 1e-6f, -1, 2}, q[4], step = -3, shift = 0;
        sol_quant_matrix x = {.w = w, .rows = 1, .cols = 4, .learned = {&step, &shift}};
        sol_quant_forward(ctx, &spec, &x, (sol_residual_mix){1, 0}, q, NULL);
        ck_assert_float_eq_tol(q[3], m == 1 ? 2e-5f / 3 : 1e-5f, 1e-10f);
        w[0] = NAN; /* the starting value of the step is NaN, which counts as the least step */
        x.learned[0] = x.learned[1] = NULL;
        sol_quant_forward(ctx, &spec, &x, (sol_residual_mix){1, 0}, q, NULL);
        ck_assert_float_eq_tol(q[3], m == 1 ? 2e-5f / 3 : 1e-5f, 1e-10f);
        sol_quant_take_apart(ctx, &spec, &x, &(sol_quant_parts){.learned = {&step, &shift}});
        ck_assert(isnan(step));
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* L = sum d (a S + b w): dw and dlearned against central differences of the surrogate, in double.
 */
START_TEST(learned_backward_is_the_derivative_of_the_surrogate)
{
    static const sol_residual_mix mix = {0.6f, 0.3f};
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], d[ROWS * COLS], dw[ROWS * COLS];
    draw(w, ROWS * COLS, 21);
    draw(d, ROWS * COLS, 22);
    for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_GROUP; granularity++) {
        for (int m = 0; m < 3; m++) {
            const char *method = learned_methods[m];
            sol_quant_spec spec = spec_of(method, (sol_granularity)granularity, 64);
            int64_t group = sol_quant_group_weights(&spec, ROWS, COLS), n = ROWS * COLS / group;
            float step[ROWS * COLS / 64], shift[ROWS * COLS / 64], d_step[ROWS * COLS / 64],
                d_shift[ROWS * COLS / 64];
            for (int64_t g = 0; g < n; g++)
                step[g] = 0.06f, shift[g] = m == 2 ? 0.011f : 0, d_step[g] = d_shift[g] = 1;
            sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS, .learned = {step, shift}};
            memcpy(dw, d, sizeof dw);
            float *wanted[2] = {d_step, d_shift};
            sol_quant_backward(
                ctx, &spec, &x, mix,
                &(sol_quant_grads){.dw_eff = dw, .dw = dw, .d_learned = {wanted[0], wanted[1]}});
            for (int64_t g = 0; g < n; g++) {
                double s = step[g], z = shift[g], h = 1e-7, by_step = 0, by_shift = 0;
                for (int64_t i = g * group; i < (g + 1) * group; i++) {
                    double v = w[i], x0 = fabs((v - z) / s), limit = m == 1 ? 0.99 : 1;
                    if (fabs(x0 - limit) < 4e-6) continue; /* the kink itself */
#define DIFFERENCE(dv, ds, dz) \
    (surrogate(method, v + dv, s + ds, z + dz, v, s, z) - \
     surrogate(method, v - dv, s - ds, z - dz, v, s, z)) / \
        (2 * h)
                    double want = d[i] * (mix.a * (DIFFERENCE(h, 0, 0)) + mix.b);
                    if (fabs(dw[i] - want) > 1e-6)
                        ck_abort_msg("%s: dw is %g, want %g", method, dw[i], want);
                    by_step += d[i] * (DIFFERENCE(0, h, 0));
                    by_shift += d[i] * (DIFFERENCE(0, 0, h));
                }
                double factor = mix.a / sqrt(ROWS * COLS); /* added to the 1 that was there */
                ck_assert_double_eq_tol(d_step[g], 1 + factor * by_step, 1e-5);
                ck_assert_double_eq_tol(d_shift[g], m == 2 ? 1 + factor * by_shift : 1, 1e-5);
            }
        }
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* In bf16 the effective weights are those of sol_quant_forward, rounded; the biases are the same.
 */
START_TEST(forward_in_bf16_rounds)
{
    static const sol_residual_mix mixes[] = {{1, 0}, {0.75f, 0.3f}};
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], q[ROWS * COLS];
    static sol_bf16 half[ROWS * COLS];
    float bias[ROWS], other[ROWS];
    draw(w, ROWS * COLS, 61);
    for (int k = 0; k < sol_quantizer_count(); k++) {
        for (int i = 0; i < 2; i++) {
            sol_quant_spec spec = spec_of(sol_quantizer_at(k)->name, SOL_PER_GROUP, 96);
            sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS};
            sol_quant_forward(ctx, &spec, &x, mixes[i], q, bias);
            sol_quant_forward_bf16(ctx, &spec, &x, mixes[i], half, other);
            ck_assert_mem_eq(bias, other, sizeof bias);
            for (int e = 0; e < ROWS * COLS; e++) ck_assert_uint_eq(half[e], sol_f32_to_bf16(q[e]));
        }
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* dL/dW added is dL/dW set, and what was there; no dL/dW_eff is a dL/dW_eff of zeros. */
START_TEST(backward_adds_and_takes_nothing_for_zero)
{
    static const sol_residual_mix mix = {0.75f, 0.3f};
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], d[ROWS * COLS], zeros[ROWS * COLS], dw[ROWS * COLS],
        sum[ROWS * COLS];
    float d_bias[ROWS];
    draw(w, ROWS * COLS, 71);
    draw(d, ROWS * COLS, 72);
    draw(d_bias, ROWS, 73);
    for (int k = 0; k < sol_quantizer_count(); k++) {
        sol_quant_spec spec = spec_of(sol_quantizer_at(k)->name, SOL_PER_CHANNEL, 0);
        sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS};
        sol_quant_grads g = {.dw_eff = d, .d_bias = d_bias, .dw = dw};
        sol_quant_backward(ctx, &spec, &x, mix, &g);
        memcpy(sum, w, sizeof sum);
        g.dw = sum;
        g.add = true;
        sol_quant_backward(ctx, &spec, &x, mix, &g);
        for (int i = 0; i < ROWS * COLS; i++)
            ck_assert_float_eq_tol(sum[i], w[i] + dw[i], 1e-6f * fabsf(dw[i]) + 1e-8f);
        sol_quant_backward(ctx, &spec, &x, mix,
                           &(sol_quant_grads){.dw_eff = zeros, .d_bias = d_bias, .dw = dw});
        sol_quant_backward(ctx, &spec, &x, mix, &(sol_quant_grads){.d_bias = d_bias, .dw = sum});
        for (int i = 0; i < ROWS * COLS; i++) ck_assert_float_eq(sum[i], dw[i]);
    }
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(straight_through_scales_the_gradient)
{
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], d[ROWS * COLS], dw[ROWS * COLS];
    draw(w, ROWS * COLS, 31);
    draw(d, ROWS * COLS, 32);
    int straight = 0;
    for (int k = 0; k < sol_quantizer_count(); k++) {
        sol_quant_spec spec = spec_of(sol_quantizer_at(k)->name, SOL_PER_GROUP, 32);
        if (!sol_quant_is_straight_through(&spec)) continue;
        straight++;
        sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS};
        memcpy(dw, d, sizeof dw);
        sol_quant_backward(ctx, &spec, &x, (sol_residual_mix){1, 0.5f},
                           &(sol_quant_grads){.dw_eff = dw, .dw = dw});
        for (int i = 0; i < ROWS * COLS; i++)
            if (fabsf(dw[i] - 1.5f * d[i]) > 1e-7f)
                ck_abort_msg("%s: %g, want %g", spec.method->name, dw[i], 1.5f * d[i]);
    }
    ck_assert_int_eq(straight, 6); /* sherry, absmean, absmedian, twn, binary, nm */
    sol_ctx_free(&ctx);
}
END_TEST

/* bias = a 1e-3 sum of the dead weights; its gradient reaches them, and only them. */
START_TEST(tequila_feeds_its_dead_weights_into_a_bias)
{
    sol_ctx *ctx = context(2);
    static float w[ROWS * COLS], q[ROWS * COLS], plain[ROWS * COLS], d[ROWS * COLS],
        dw[ROWS * COLS];
    float bias[ROWS], d_bias[ROWS];
    static int8_t t[ROWS * COLS];
    draw(w, ROWS * COLS, 41);
    draw(d, ROWS * COLS, 42);
    draw(d_bias, ROWS, 43);
    for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_GROUP; granularity++) {
        sol_quant_spec spec = spec_of("tequila", (sol_granularity)granularity, 48);
        sol_quant_spec absmean = spec_of("absmean", (sol_granularity)granularity, 48);
        sol_quant_matrix x = {.w = w, .rows = ROWS, .cols = COLS};
        ck_assert(!sol_quant_is_straight_through(&spec));
        sol_quant_forward(ctx, &spec, &x, (sol_residual_mix){0.5f, 0.5f}, q, bias);
        sol_quant_effective(ctx, &absmean, w, ROWS, COLS, (sol_residual_mix){0.5f, 0.5f}, plain);
        ck_assert_mem_eq(q, plain, sizeof q);
        sol_quant_take_apart(ctx, &spec, &x, &(sol_quant_parts){.ternary = t});
        memcpy(dw, d, sizeof dw);
        sol_quant_backward(ctx, &spec, &x, (sol_residual_mix){0.5f, 0.5f},
                           &(sol_quant_grads){.dw_eff = dw, .d_bias = d_bias, .dw = dw});
        for (int r = 0; r < ROWS; r++) {
            double dead = 0;
            for (int i = r * COLS; i < (r + 1) * COLS; i++) {
                dead += t[i] == 0 ? w[i] : 0;
                double want = d[i] + (t[i] == 0 ? 0.5 * 1e-3 * d_bias[r] : 0);
                if (fabs(dw[i] - want) > 1e-7) ck_abort_msg("gradient %g, want %g", dw[i], want);
            }
            ck_assert_double_eq_tol(bias[r], 0.5e-3 * dead, 1e-8);
        }
    }
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(backward_same_bits_for_any_threads)
{
    enum { R = 200, C = 768 };
    static float w[R * C], d[R * C], dw[R * C], first[R * C];
    draw(w, R * C, 51);
    draw(d, R * C, 52);
    for (int k = 0; k < sol_quantizer_count(); k++) {
        for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_GROUP; granularity++) {
            sol_quant_spec spec =
                spec_of(sol_quantizer_at(k)->name, (sol_granularity)granularity, 256);
            static float learned[2][R * C / 256], sums[2][R * C / 256], first_sums[2][R * C / 256];
            for (int i = 0; i < R * C / 256; i++) learned[0][i] = 0.05f, learned[1][i] = 0.001f;
            sol_quant_matrix x = {
                .w = w, .rows = R, .cols = C, .learned = {learned[0], learned[1]}};
            for (int threads = 1; threads <= 3; threads++) {
                sol_ctx *ctx = context(threads);
                float *wanted[2] = {sums[0], sums[1]};
                memset(sums, 0, sizeof sums);
                memcpy(dw, d, sizeof dw);
                uint64_t before = sol_alloc_count();
                sol_quant_backward(
                    ctx, &spec, &x, (sol_residual_mix){1, 0.25f},
                    &(sol_quant_grads){
                        .dw_eff = dw, .d_bias = d, .dw = dw, .d_learned = {wanted[0], wanted[1]}});
                ck_assert_uint_eq(sol_alloc_count(), before);
                if (threads == 1) {
                    memcpy(first, dw, sizeof dw);
                    memcpy(first_sums, sums, sizeof sums);
                }
                ck_assert_mem_eq(first, dw, sizeof dw);
                ck_assert_mem_eq(first_sums, sums, sizeof sums);
                sol_ctx_free(&ctx);
            }
        }
    }
}
END_TEST

SOL_TEST_MAIN("methods", tcase_add_test(tc, published_errors);
              tcase_add_test(tc, absmedian_finds_the_lower_median);
              tcase_add_test(tc, twn_keeps_above_its_threshold);
              tcase_add_test(tc, nm_keeps_the_n_largest_of_m);
              tcase_add_test(tc, learned_forward_follows_the_formula);
              tcase_add_test(tc, a_step_stays_positive);
              tcase_add_test(tc, learned_backward_is_the_derivative_of_the_surrogate);
              tcase_add_test(tc, forward_in_bf16_rounds);
              tcase_add_test(tc, backward_adds_and_takes_nothing_for_zero);
              tcase_add_test(tc, straight_through_scales_the_gradient);
              tcase_add_test(tc, tequila_feeds_its_dead_weights_into_a_bias);
              tcase_add_test(tc, backward_same_bits_for_any_threads))
