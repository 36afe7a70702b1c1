/* Distillation losses against PyTorch's numbers (tests/golden/distill.txt, made by
 * scripts/make_golden_distill.py), and their parts. */
#include <math.h>
#include <string.h>

#include "autograd/distill.h"
#include "autograd/distill_row.h"
#include "suite.h"

enum { MAX_ITEMS = 256 };

typedef struct golden {
    FILE *f;
    int N, C, Ct, V, cases;
    float x[MAX_ITEMS], w[MAX_ITEMS], xt[MAX_ITEMS], wt[MAX_ITEMS];
    int32_t targets[MAX_ITEMS];
} golden;

static void read_floats(FILE *f, const char *name, int n, float *out)
{
    char word[32];
    ck_assert_int_eq(fscanf(f, "%31s", word), 1);
    ck_assert_str_eq(word, name);
    for (int i = 0; i < n; i++) ck_assert_int_eq(fscanf(f, "%f", &out[i]), 1);
}

static void golden_open(golden *g)
{
    g->f = fopen("tests/golden/distill.txt", "r");
    ck_assert_ptr_nonnull(g->f);
    ck_assert_int_eq(fscanf(g->f, "shape %d %d %d %d %d", &g->N, &g->C, &g->Ct, &g->V, &g->cases),
                     5);
    read_floats(g->f, "x", g->N * g->C, g->x);
    read_floats(g->f, "w", g->V * g->C, g->w);
    read_floats(g->f, "xt", g->N * g->Ct, g->xt);
    read_floats(g->f, "wt", g->V * g->Ct, g->wt);
    ck_assert_int_eq(fscanf(g->f, " targets"), 0);
    for (int i = 0; i < g->N; i++) ck_assert_int_eq(fscanf(g->f, "%d", &g->targets[i]), 1);
}

static void next_case(golden *g, sol_distill *d)
{
    int kind, k;
    int n = fscanf(g->f, " case %d %f %d %f %f %f", &kind, &d->temperature, &k, &d->weight,
                   &d->ce_weight, &d->gamma);
    ck_assert_int_eq(n, 6);
    d->kind = (sol_distill_kind)kind;
    d->top_k = k;
}

static void compare(FILE *f, const char *name, const float *got, int stride, int n, float tolerance)
{
    float want[MAX_ITEMS];
    read_floats(f, name, n, want);
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabsf(got[i * stride] - want[i]) <= tolerance * (1 + fabsf(want[i])),
                      "%s[%d]: %.9g, not %.9g", name, i, (double)got[i * stride], (double)want[i]);
}

typedef struct head {
    sol_tape *t;
    sol_var loss, parts, targets, given[2];
    float dx[MAX_ITEMS], dw[MAX_ITEMS];
} head;

typedef struct way {
    bool cached; /* from ids and probabilities instead of the teacher's states */
    sol_dtype compute;
    float tolerance, grad_tolerance;
} way;

/* The loss on a tape of its own. */
static void head_make(head *h, const sol_ctx *ctx, const golden *g, const sol_stored *wt,
                      const sol_distill *d, const way *how)
{
    memset(h, 0, sizeof *h);
    ck_ok(sol_tape_create(&h->t, ctx, err));
    sol_var x = sol_tape_param(h->t, SOL_F32, sol_shape2(g->N, g->C), g->x, h->dx);
    sol_var w = sol_tape_param(h->t, SOL_F32, sol_shape2(g->V, g->C), g->w, h->dw);
    h->targets = sol_tape_input(h->t, SOL_I32, sol_shape1(g->N));
    if (how->cached) {
        h->given[0] = sol_tape_input(h->t, SOL_I32, sol_shape2(g->N, d->top_k));
        h->given[1] = sol_tape_input(h->t, SOL_F32, sol_shape2(g->N, d->top_k + 1));
        h->loss = sol_distill_cached(h->t, x, w, h->targets, h->given[0], h->given[1], d,
                                     how->compute, &h->parts);
    } else {
        h->given[0] = sol_tape_input(h->t, SOL_F32, sol_shape2(g->N, g->Ct));
        h->given[1] = sol_tape_input(h->t, SOL_F32, sol_shape2(g->N, 1));
        h->loss = sol_distill_loss(h->t, x, w, h->targets, h->given[0], h->given[1], wt, d, NULL,
                                   how->compute, &h->parts);
    }
    sol_tape_keep(h->t, h->parts);
    ck_ok(sol_tape_plan(h->t, h->loss, &(sol_tape_opts){0}, err));
    ck_ok(sol_tape_allocate(h->t, err));
    memcpy(sol_tape_data(h->t, h->targets), g->targets, (size_t)g->N * sizeof(int32_t));
    for (int n = 0; n < g->N; n++) sol_tape_grad(h->t, h->loss)[n] = (float)(n + 1);
}

static void teacher_choice(const golden *g, const sol_ctx *ctx, const sol_distill *d, int32_t *ids,
                           float *probs)
{
    float t[MAX_ITEMS];
    for (int n = 0; n < g->N; n++) {
        for (int v = 0; v < g->V; v++) {
            t[v] = 0;
            for (int c = 0; c < g->Ct; c++) t[v] += g->xt[n * g->Ct + c] * g->wt[v * g->Ct + c];
        }
        sol_distill_row_select(&ctx->kernels.train_ops, t, g->V, d, 0, -1, ids + n * d->top_k,
                               probs + n * (d->top_k + 1));
    }
}

static void check_case(const sol_ctx *ctx, golden *g, const sol_distill *d, const way *how)
{
    head h;
    sol_stored wt = {.type = SOL_F32, .rows = g->V, .cols = g->Ct, .data = g->wt};
    head_make(&h, ctx, g, &wt, d, how);
    if (how->cached)
        teacher_choice(g, ctx, d, sol_tape_data(h.t, h.given[0]), sol_tape_data(h.t, h.given[1]));
    else
        memcpy(sol_tape_data(h.t, h.given[0]), g->xt, (size_t)(g->N * g->Ct) * sizeof(float));
    sol_tape_run_backward(h.t, true, true);
    const float *parts = sol_tape_data(h.t, h.parts);
    compare(g->f, "loss", sol_tape_data(h.t, h.loss), 1, g->N, how->tolerance);
    compare(g->f, "ce", parts + SOL_PART_NEXT_TOKEN, SOL_PARTS, g->N, how->tolerance);
    compare(g->f, "divergence", parts + SOL_PART_DISTILL, SOL_PARTS, g->N, how->tolerance);
    float none[MAX_ITEMS];
    if (how->cached)
        read_floats(g->f, "teacher", g->N, none);
    else
        compare(g->f, "teacher", parts + SOL_PART_TEACHER, SOL_PARTS, g->N, how->tolerance);
    compare(g->f, "dx", h.dx, 1, g->N * g->C, how->grad_tolerance);
    compare(g->f, "dw", h.dw, 1, g->V * g->C, how->grad_tolerance);
    sol_tape_free(&h.t);
}

static void skip_case(golden *g)
{
    float none[MAX_ITEMS];
    for (const char *name = "loss\0ce\0divergence\0teacher\0"; *name; name += strlen(name) + 1)
        read_floats(g->f, name, g->N, none);
    read_floats(g->f, "dx", g->N * g->C, none);
    read_floats(g->f, "dw", g->V * g->C, none);
}

static void check_golden(const way *how)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    for (int k = 0; k < n_sets; k++) {
        sol_ctx *ctx;
        golden g;
        int done = 0;
        ck_ok(sol_ctx_create(&ctx, 2, set[k], NULL, err));
        golden_open(&g);
        for (int i = 0; i < g.cases; i++) {
            sol_distill d = {0};
            next_case(&g, &d);
            if (how->cached && d.top_k == 0) {
                skip_case(&g);
                continue;
            }
            check_case(ctx, &g, &d, how);
            done++;
        }
        ck_assert_int_gt(done, 2);
        fclose(g.f);
        sol_ctx_free(&ctx);
    }
}

START_TEST(losses_and_gradients_are_those_of_pytorch)
{
    check_golden(&(way){false, SOL_F32, 3e-6f, 1e-5f});
}
END_TEST

START_TEST(from_a_cache_too)
{
    check_golden(&(way){true, SOL_F32, 3e-6f, 1e-5f});
}
END_TEST

/* Operands are off by at most 2^-9 of themselves. */
START_TEST(with_products_in_bf16)
{
    for (int cached = 0; cached < 2; cached++) check_golden(&(way){cached, SOL_BF16, 0.02f, 0.04f});
}
END_TEST

START_TEST(the_largest_come_first_and_equal_ones_in_order)
{
    static float x[1000];
    static int32_t id[1000];
    sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
    for (int i = 0; i < 1000; i++) x[i] = floorf(20 * sol_rng_uniform(&rng));
    for (int k = 1; k <= 1000; k += k < 20 ? 1 : 97) {
        bool taken[1000] = {false};
        sol_top_k(x, 1000, k, id);
        for (int i = 0; i < k; i++) {
            ck_assert(id[i] >= 0 && id[i] < 1000 && !taken[id[i]]);
            taken[id[i]] = true;
            if (i > 0)
                ck_assert(x[id[i - 1]] > x[id[i]] ||
                          (x[id[i - 1]] == x[id[i]] && id[i - 1] < id[i]));
        }
        for (int j = 0; j < 1000; j++)
            if (!taken[j])
                ck_assert(x[j] < x[id[k - 1]] || (x[j] == x[id[k - 1]] && j > id[k - 1]));
    }
}
END_TEST

/* Tokens that are drawn are none of the most probable ones, and stand for the rest: sums over them,
 * weighted with the rest's probability, are those over the rest. */
START_TEST(samples_stand_for_the_rest)
{
    enum { N = 400, SIZE = 3000, K = 24, S = 16 };
    static float t[SIZE];
    sol_distill d = {.temperature = 2, .top_k = K, .samples = S};
    sol_ctx *ctx;
    sol_rng rng = sol_rng_make(11, SOL_STREAM_TEST);
    double drawn = 0, exact = 0, mass = 0;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    for (int n = 0; n < N; n++) {
        int32_t ids[K], again[K], plain[K];
        float probs[K + 1], p2[K + 1];
        for (int v = 0; v < SIZE; v++)
            t[v] = floorf(16 * sol_rng_normal(&rng)) / 4; /* with many ties */
        double lse = ctx->kernels.train_ops.log_sum_exp(t, SIZE, 0.5f), rest = 0;
        float start = sol_distill_start(11, (uint64_t)n);
        sol_distill_row_select(&ctx->kernels.train_ops, t, SIZE, &d, start, -1, ids, probs);
        sol_distill_row_select(&ctx->kernels.train_ops, t, SIZE, &d, start, -1, again, p2);
        ck_assert_mem_eq(ids, again, sizeof ids);
        sol_top_k(t, SIZE, K - S, plain);
        ck_assert_mem_eq(ids, plain, (K - S) * sizeof *ids);
        for (int i = K - S; i < K; i++) {
            ck_assert(ids[i] >= 0 && ids[i] < SIZE);
            ck_assert_double_eq_tol(probs[i], exp(t[ids[i]] * 0.5 - lse), 1e-6);
            for (int j = 0; j < K - S; j++) ck_assert_int_ne(ids[i], ids[j]);
            /* Of a function of token and logit. */
            drawn += (double)probs[K] / S * (t[ids[i]] + (ids[i] % 3 == 0));
        }
        for (int v = 0; v < SIZE; v++) {
            bool top = false;
            for (int j = 0; j < K - S; j++) top = top || ids[j] == v;
            double p = top ? 0 : exp(t[v] * 0.5 - lse);
            rest += p;
            exact += p * (t[v] + (v % 3 == 0));
        }
        ck_assert_double_eq_tol(probs[K], rest, 1e-5);
        mass += rest;
    }
    ck_assert_double_eq_tol(drawn / mass, exact / mass, 0.1); /* deviation 3 / sqrt(N S) */
    ck_assert_double_gt(exact / mass, 1);
    sol_ctx_free(&ctx);
}
END_TEST

/* A teacher whose logits are no numbers: the tokens are some of the vocabulary, and their
 * probabilities show it. */
START_TEST(a_teacher_that_gives_nan_is_seen)
{
    enum { SIZE = 300, K = 8, S = 5 };
    sol_distill d = {.temperature = 1, .top_k = K, .samples = S};
    sol_ctx *ctx;
    float *t, probs[K + 1];
    int32_t ids[K];
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_alloc_array((void **)&t, SIZE, sizeof *t, err));
    for (int v = 0; v < SIZE; v++) t[v] = NAN;
    sol_distill_row_select(&ctx->kernels.train_ops, t, SIZE, &d, 0.5f, -1, ids, probs);
    for (int i = 0; i < K; i++) ck_assert(ids[i] >= 0 && ids[i] < SIZE && isnan(probs[i]));
    ck_assert(isnan(probs[K]));
    sol_free(t);
    sol_ctx_free(&ctx);
}
END_TEST

/* Long rows with odd tails, with every set of features, against the definitions in double. */
START_TEST(row_kernels)
{
    static const int sizes[] = {1, 2, 7, 16, 17, 1025, 2600};
    static float z[2600], t[2600], dz[2600];
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    sol_kernels k;
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    for (int i = 0; i < 2600; i++) z[i] = 3 * sol_rng_normal(&rng);
    for (int i = 0; i < 2600; i++) t[i] = z[i] + sol_rng_normal(&rng);
    for (int f = 0; f < n_sets; f++) {
        sol_kernels_init(&k, set[f]);
        for (int s = 0; s < 7; s++) {
            int n = sizes[s];
            double sz = 0, st = 0, s1 = 0, kl[2], want[2] = {0, 0};
            for (int i = 0; i < n; i++)
                sz += exp(z[i] * 0.5), st += exp(t[i] * 0.5), s1 += exp(z[i]);
            for (int i = 0; i < n; i++) {
                double q = exp(z[i] * 0.5) / sz, p = exp(t[i] * 0.5) / st;
                want[0] += p * log(p / q);
                want[1] += q * log(q / p);
            }
            ck_assert_double_eq_tol(k.train_ops.log_sum_exp(z, n, 0.5f), log(sz), 2e-6);
            sol_kl_row row = {z, t, 0.5f, (float)log(sz), (float)log(st)};
            k.train_ops.kl(&row, n, kl);
            ck_assert_double_eq_tol(kl[0], want[0], 2e-6);
            ck_assert_double_eq_tol(kl[1], want[1], 2e-6);
            sol_distill_grad g = {
                .row = row, .lse_1 = (float)log(s1), .ce = 0.3f, .q = 2, .p = -1, .log = 0.5f};
            memcpy(dz, z, sizeof dz);
            g.row.z = dz;
            k.train_ops.distill_grad(&g, n, dz);
            for (int i = 0; i < n; i++) {
                double q = exp(z[i] * 0.5) / sz, p = exp(t[i] * 0.5) / st;
                ck_assert_double_eq_tol(
                    dz[i], 0.3 * exp(z[i]) / s1 + q * (2 + 0.5 * log(q / p)) - p, 2e-6);
            }
            for (int i = n; i < 2600; i++) ck_assert_float_eq(dz[i], z[i]);
        }
        dz[3] = NAN;
        ck_assert(isnan(k.train_ops.log_sum_exp(dz, 20, 1)));
    }
}
END_TEST

/* The formula of distill.h, head by head and pair by pair. */
START_TEST(relations_of_heads)
{
    enum { TIME = 3, TOKENS = 6, HEADS = 2, D = 3, DT = 2 };
    static const int32_t start[TOKENS] = {0, 0, 2, 0, 0, 0};
    static const float factor = 0.5f;
    float x[TOKENS * HEADS * D], t[TOKENS * HEADS * DT], zero[TOKENS] = {0};
    sol_ctx *ctx;
    sol_tape *tape;
    sol_rng r = sol_rng_make(3, SOL_STREAM_TEST);
    for (int i = 0; i < TOKENS * HEADS * D; i++) x[i] = sol_rng_normal(&r);
    for (int i = 0; i < TOKENS * HEADS * DT; i++) t[i] = sol_rng_normal(&r);
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_tape_create(&tape, ctx, err));
    sol_var starts = sol_tape_input(tape, SOL_I32, sol_shape1(TOKENS));
    sol_var got = sol_attention_relation(
        tape, sol_tape_constant(tape, SOL_F32, sol_shape2(TOKENS, HEADS * D), x),
        sol_tape_constant(tape, SOL_F32, sol_shape2(TOKENS, HEADS * DT), t), starts,
        sol_tape_constant(tape, SOL_F32, sol_shape2(TOKENS, 1), zero), TIME, HEADS, &factor);
    ck_ok(sol_tape_plan(tape, got, &(sol_tape_opts){.no_grad = true}, err));
    ck_ok(sol_tape_allocate(tape, err));
    memcpy(sol_tape_data(tape, starts), start, sizeof start);
    sol_tape_run_forward(tape);
    for (int n = 0; n < TOKENS; n++) {
        double want = 0;
        int row = n / TIME * TIME;
        for (int h = 0; h < HEADS; h++) {
            double p[TIME], q[TIME], all_p = 0, all_q = 0;
            for (int m = row + start[n]; m <= n; m++) {
                double s = 0, u = 0;
                for (int d = 0; d < D; d++)
                    s += (double)x[(n * HEADS + h) * D + d] * x[(m * HEADS + h) * D + d];
                for (int d = 0; d < DT; d++)
                    u += (double)t[(n * HEADS + h) * DT + d] * t[(m * HEADS + h) * DT + d];
                all_q += q[m - row] = exp(s / sqrt(D));
                all_p += p[m - row] = exp(u / sqrt(DT));
            }
            for (int m = row + start[n]; m <= n; m++)
                want += p[m - row] / all_p * log(p[m - row] / all_p / (q[m - row] / all_q));
        }
        ck_assert_double_eq_tol(((const float *)sol_tape_data(tape, got))[n],
                                (double)factor * want / HEADS, 1e-6);
    }
    sol_tape_free(&tape);
    sol_ctx_free(&ctx);
}
END_TEST

/* What is held in fewer bits comes back near, and its product is that of what comes back. */
START_TEST(stored_matrices)
{
    enum { ROWS = 300, COLS = 70, M = 3 };
    static float w[ROWS * COLS], f32[ROWS * COLS], x[M * COLS], y[M * ROWS], want[M * ROWS];
    static const struct {
        sol_dtype type;
        double tolerance;
    } types[] = {{SOL_F32, 0},
                 {SOL_F16, 1.0 / 2048},
                 {SOL_BF16, 1.0 / 256},
                 {SOL_Q8, 1.0 / 64},
                 {SOL_Q6, 1.0 / 16}};
    sol_ctx *ctx;
    sol_rng rng = sol_rng_make(9, SOL_STREAM_TEST);
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (int i = 0; i < ROWS * COLS; i++) w[i] = sol_rng_normal(&rng);
    for (int i = 0; i < M * COLS; i++) x[i] = sol_rng_normal(&rng);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const sol_dtype type = types[k].type;
        sol_stored s = {.type = type, .rows = ROWS, .cols = COLS};
        ck_ok(sol_stored_alloc(&s, err));
        sol_stored_fill(ctx, &s, w, NULL);
        sol_stored_to_f32(ctx, &s, f32);
        for (int i = 0; i < ROWS * COLS; i++)
            ck_assert_msg(fabs(f32[i] - w[i]) <=
                              types[k].tolerance * fmax(fabs(w[i]), s.scales ? 2 : 0),
                          "type %d, item %d: %g, not %g", type, i, (double)f32[i], (double)w[i]);
        sol_gemm(ctx, false, true, M, ROWS, COLS, 1, x, COLS, f32, COLS, 0, want, ROWS);
        for (int bf16 = 0; bf16 < 2; bf16++) {
            void *scratch;
            ck_ok(sol_alloc_array(&scratch, sol_stored_scratch_bytes(&s, bf16), 1, err));
            sol_stored_gemm(ctx, bf16, x, M, &s, y, scratch);
            for (int i = 0; i < M * ROWS; i++)
                ck_assert_float_eq_tol(y[i], want[i], bf16 ? 0.15f : 1e-4f);
            sol_free(scratch);
        }
        sol_stored_free(&s);
    }
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("distill", tcase_add_test(tc, losses_and_gradients_are_those_of_pytorch);
              tcase_add_test(tc, from_a_cache_too); tcase_add_test(tc, with_products_in_bf16);
              tcase_add_test(tc, samples_stand_for_the_rest);
              tcase_add_test(tc, a_teacher_that_gives_nan_is_seen);
              tcase_add_test(tc, the_largest_come_first_and_equal_ones_in_order);
              tcase_add_test(tc, row_kernels); tcase_add_test(tc, relations_of_heads);
              tcase_add_test(tc, stored_matrices))
