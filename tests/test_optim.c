/* AdamW and its moments of 16 and 8 bits against a reference in double, norms, clipping,
 * schedules. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "optim/moments.h"

static const sol_adamw_config plain = {
    .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f};

/* A gradient with the alignment gaps left zero, as the engine leaves them. */
static float *gradient(const sol_model *m, uint64_t seed)
{
    float *g;
    ck_ok(sol_alloc_array((void **)&g, (size_t)m->n_elements, sizeof *g, err));
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int i = 0; i < m->n_params; i++)
        for (int64_t k = 0; k < sol_param_count(&m->params[i]); k++)
            g[m->params[i].offset + k] = sol_rng_normal(&rng);
    return g;
}

static sol_ctx *context(int threads, sol_cpu_features features)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, features, NULL, err));
    return ctx;
}

static const sol_dtype kinds[] = {SOL_F32, SOL_BF16, SOL_U8}; /* of moments */

START_TEST(adamw_by_hand)
{
    /* Two steps of one parameter worked out with a pocket calculator: g = 0.5, then -1; lr 0.1,
     * decay 0.1. t=1: m=0.05, v=0.00025, m^=0.5, v^=0.25:       p = 0.99*1 - 0.1*0.5/0.5 = 0.89
     * t=2: m=-0.055, v=0.00124975, m^=-0.28947368, v^=0.62518759: p = 0.99*0.89 +
     * 0.1*0.28947368/0.79068805 */
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    sol_model *m = sol_test_tiny_model(SOL_F32, true);
    sol_adamw *o;
    ck_ok(sol_adamw_create(&o, m, &plain, err));
    float *g = gradient(m, 1), *p = sol_model_f32(m, sol_model_by_role(m, 1, SOL_ROLE_K));
    int64_t at = sol_model_by_role(m, 1, SOL_ROLE_K)->offset;
    *p = 1;
    g[at] = 0.5f;
    sol_adamw_update(ctx, o, m, g, 1, 0.1f);
    ck_assert_float_eq_tol(*p, 0.89f, 1e-6f);
    g[at] = -2; /* halved by grad_scale */
    sol_adamw_update(ctx, o, m, g, 0.5f, 0.1f);
    ck_assert_float_eq_tol(*p, 0.8811f + 0.036610f, 2e-6f);
    ck_assert_int_eq(o->t, 2);
    sol_free(g);
    sol_adamw_free(&o);
    ck_assert_ptr_null(o);
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

/* 20 steps beside a reference in double; decay on linears and untied head only; gaps stay zero. */
START_TEST(adamw_follows_the_double_reference)
{
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    sol_model *m = sol_test_tiny_model(SOL_F32, false);
    int64_t n = m->n_elements;
    sol_adamw *o;
    ck_ok(sol_adamw_create(&o, m, &plain, err));
    double *p = calloc((size_t)n, 8), *m1 = calloc((size_t)n, 8), *m2 = calloc((size_t)n, 8);
    bool *decays = calloc((size_t)n, 1), *used = calloc((size_t)n, 1);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *q = &m->params[i];
        bool decay = strstr(q->name, "_proj") || strcmp(q->name, "lm_head.weight") == 0;
        for (int64_t k = 0; k < sol_param_count(q); k++)
            decays[q->offset + k] = decay, used[q->offset + k] = true;
    }
    for (int64_t i = 0; i < n; i++) p[i] = ((float *)m->data)[i];
    for (int t = 1; t <= 20; t++) {
        float *g = gradient(m, (uint64_t)t);
        double lr = 0.01 / t;
        sol_adamw_update(ctx, o, m, g, 0.25f, (float)lr);
        for (int64_t i = 0; i < n; i++) {
            double x = 0.25 * g[i], b1 = 0.9, b2 = 0.999;
            m1[i] = b1 * m1[i] + (1 - b1) * x;
            m2[i] = b2 * m2[i] + (1 - b2) * x * x;
            double step = m1[i] / (1 - pow(b1, t)) / (sqrt(m2[i] / (1 - pow(b2, t))) + 1e-8);
            p[i] = p[i] * (decays[i] ? 1 - lr * 0.1 : 1) - lr * step;
        }
        sol_free(g);
    }
    for (int64_t i = 0; i < n; i++) {
        float got = ((float *)m->data)[i];
        if (used[i])
            ck_assert_double_eq_tol(got, p[i], 2e-6);
        else
            ck_assert(got == 0);
    }
    free(p);
    free(m1);
    free(m2);
    free(decays);
    free(used);
    sol_adamw_free(&o);
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(adamw_same_bits_for_any_threads_and_features)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    for (int kind = 0; kind < 9; kind++) { /* fp32, bf16, bf16 with stochastic rounding; the same
                                              with each form of moments */
        sol_adamw_config c = plain;
        c.stochastic_rounding = kind % 3 == 2;
        c.moments = kinds[kind / 3];
        c.seed = 11;
        sol_model *first = NULL;
        for (int k = 0; k < 3 * n_sets; k++) {
            sol_ctx *ctx = context(1 + k % 3, set[k / 3]);
            sol_model *m = sol_test_tiny_model(kind % 3 ? SOL_BF16 : SOL_F32, true);
            sol_adamw *o;
            ck_ok(sol_adamw_create(&o, m, &c, err));
            for (int t = 0; t < 3; t++) {
                float *g = gradient(m, (uint64_t)t);
                uint64_t before = sol_alloc_count();
                if (k % 2) { /* in parts, backwards */
                    sol_adamw_begin(o, 0.001f);
                    sol_adamw_update_params(ctx, o, m, 5, m->n_params - 5, g + m->params[5].offset,
                                            0.3f);
                    sol_adamw_update_params(ctx, o, m, 0, 5, g, 0.3f);
                } else {
                    sol_adamw_update(ctx, o, m, g, 0.3f, 0.001f);
                }
                ck_assert_uint_eq(sol_alloc_count(), before);
                sol_free(g);
            }
            if (!first)
                first = m;
            else
                ck_assert_mem_eq(first->data, m->data,
                                 (size_t)m->n_elements * sol_dtype_size(m->dtype));
            if (first != m) sol_model_free(&m);
            sol_adamw_free(&o);
            sol_ctx_free(&ctx);
        }
        sol_model_free(&first);
    }
}
END_TEST

/* Every other fifth of the elements, from fifth `first` on. */
static sol_shard fifths(const sol_model *m, int first, sol_stretch stretch[3])
{
    sol_shard s = {stretch, 0};
    for (int i = first; i < 5; i += 2) {
        int64_t from = sol_moment_align(m, m->n_elements * i / 5),
                to = i == 4 ? m->n_elements : sol_moment_align(m, m->n_elements * (i + 1) / 5);
        stretch[s.n++] = (sol_stretch){from, to - from};
    }
    return s;
}

/* The elements of a shard, out of all of `size` bytes. */
static void *gathered(const sol_shard *s, const void *all, size_t size)
{
    char *out;
    size_t n = 0;
    for (int i = 0; i < s->n; i++) n += (size_t)s->stretch[i].n * size;
    ck_ok(sol_alloc_array((void **)&out, n, 1, err));
    n = 0;
    for (int i = 0; i < s->n; i++) {
        size_t bytes = (size_t)s->stretch[i].n * size;
        memcpy(out + n, (const char *)all + (size_t)s->stretch[i].first * size, bytes);
        n += bytes;
    }
    return out;
}

/* An optimizer of a shard updates its elements as that of all does, by each of its functions, and
 * leaves the others alone; the moments of all, cut, are its moments. */
static void check_shard(const sol_ctx *ctx, const sol_adamw_config *c, sol_dtype dtype, int first)
{
    sol_model *m = sol_test_tiny_model(dtype, false), *part = sol_test_tiny_model(dtype, false),
              *start = sol_test_tiny_model(dtype, false);
    sol_stretch stretch[3];
    sol_shard shard = fifths(m, first, stretch);
    size_t size = sol_dtype_size(dtype), moment = sol_dtype_size(c->moments);
    sol_adamw *all, *o, *cut;
    ck_ok(sol_adamw_create(&all, m, c, err));
    ck_assert_uint_eq(sol_adamw_bytes(m, c),
                      2 * ((size_t)m->n_elements * moment +
                           (size_t)all->n_blocks * sizeof *all->m_scale * (c->moments == SOL_U8)));
    ck_ok(sol_adamw_create_shard(&o, part, c, &shard, err));
    for (int t = 0; t < 3; t++) {
        float *g = gradient(m, (uint64_t)t), *own = gathered(&shard, g, sizeof *g);
        sol_adamw_update(ctx, all, m, g, 0.3f, 0.01f);
        if (t == 0) {
            sol_adamw_update(ctx, o, part, g, 0.3f, 0.01f);
        } else {
            sol_adamw_begin(o, 0.01f);
            for (int i = m->n_params - 1; i >= 0; i--)
                if (t == 1)
                    sol_adamw_update_params(ctx, o, part, i, 1, g + m->params[i].offset, 0.3f);
                else
                    sol_adamw_update_shard(ctx, o, part, i, 1, own, 0.3f);
        }
        sol_free(g);
        sol_free(own);
    }
    bool *mine = calloc((size_t)m->n_elements, sizeof *mine);
    for (int i = 0; i < shard.n; i++) memset(mine + stretch[i].first, true, (size_t)stretch[i].n);
    for (int64_t i = 0; i < m->n_elements; i++)
        ck_assert_mem_eq((char *)part->data + (size_t)i * size,
                         (char *)(mine[i] ? m : start)->data + (size_t)i * size, size);
    free(mine);
    ck_ok(sol_adamw_cut(&cut, all, m, &shard, err));
    void *want = gathered(&shard, all->v, moment);
    ck_assert_int_eq(cut->t, 3);
    ck_assert_mem_eq(cut->v, want, (size_t)o->shard_elements * moment);
    ck_assert_mem_eq(o->v, want, (size_t)o->shard_elements * moment);
    ck_assert_mem_eq(o->m, cut->m, (size_t)o->shard_elements * moment);
    if (c->moments == SOL_U8) {
        ck_assert_mem_eq(o->m_scale, cut->m_scale, (size_t)o->shard_blocks * sizeof(float));
        ck_assert_mem_eq(o->v_scale, cut->v_scale, (size_t)o->shard_blocks * sizeof(float));
    }
    sol_free(want);
    sol_adamw_free(&all);
    sol_adamw_free(&o);
    sol_adamw_free(&cut);
    sol_model_free(&m);
    sol_model_free(&part);
    sol_model_free(&start);
}

START_TEST(a_shard_is_a_part_of_the_whole)
{
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    for (int kind = 0; kind < 9; kind++) {
        sol_adamw_config c = plain;
        c.stochastic_rounding = kind % 3 == 2;
        c.moments = kinds[kind / 3];
        c.seed = 11;
        for (int first = 0; first < 2; first++)
            check_shard(ctx, &c, kind % 3 ? SOL_BF16 : SOL_F32, first);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* A step far below the spacing of bf16 never moves a weight that is rounded to nearest, and moves
 * it by its mean with stochastic rounding. */
START_TEST(stochastic_rounding_keeps_the_mean)
{
    sol_ctx *ctx = context(1, SOL_TIER_BEST);
    for (int stochastic = 0; stochastic < 2; stochastic++) {
        sol_model *m = sol_test_tiny_model(SOL_BF16, true);
        sol_adamw_config c = {
            .beta1 = 0, .beta2 = 0, .eps = 1e-30f, .stochastic_rounding = stochastic, .seed = 5};
        sol_adamw *o;
        ck_ok(sol_adamw_create(&o, m, &c, err));
        const sol_param *p = sol_model_by_role(m, 0, SOL_ROLE_GATE);
        sol_bf16 *w = (sol_bf16 *)sol_model_at(m, p);
        int64_t n = sol_param_count(p);
        float *g = gradient(m, 1);
        for (int64_t i = 0; i < n; i++) w[i] = sol_f32_to_bf16(1.5f), g[p->offset + i] = 1;
        double sum = 0, step = 0x1p-7 / 16; /* the spacing at 1.5 is 2^-7 */
        for (int t = 0; t < 16; t++) sol_adamw_update(ctx, o, m, g, 1, (float)step);
        for (int64_t i = 0; i < n; i++) sum += sol_bf16_to_f32(w[i]);
        if (stochastic) /* deviation of the mean: 16 draws of p = 1/16, n = 720 weights */
            ck_assert_double_eq_tol(sum / (double)n, 1.5 - 0x1p-7,
                                    5 * 0x1p-7 * sqrt(15.0 / 16 / 720));
        else
            ck_assert_double_eq(sum / (double)n, 1.5);
        sol_free(g);
        sol_adamw_free(&o);
        sol_model_free(&m);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* Moments of the first 8-bit blocks of a model set to x, packed and unpacked. */
static void through_8bit(const float *x, int64_t n, float *m, float *v)
{
    sol_model *model = sol_test_tiny_model(SOL_F32, true);
    sol_adamw_config c = plain;
    sol_adamw *o;
    float size[SOL_MOMENT_CHUNK];
    c.moments = SOL_U8;
    ck_ok(sol_adamw_create(&o, model, &c, err));
    sol_moment_chunk chunk = {.o = o, .n = n};
    for (int64_t i = 0; i < n; i++) size[i] = fabsf(x[i]);
    sol_moments_store(&chunk, x, size);
    ck_assert_ptr_eq(sol_moment_load(&chunk, false, m), m);
    ck_assert_ptr_eq(sol_moment_load(&chunk, true, v), v);
    sol_adamw_free(&o);
    sol_model_free(&model);
}

/* Ratios keep to 1/16, whatever the size of the block; the largest is exact; v above 0 stays above
 * 0. */
START_TEST(codes_of_8_bits)
{
    enum { N = 600 }; /* two blocks and a part */
    static const float size[] = {1, 1e-30f, 1e30f, 1e-40f, 3e-45f, 0};
    for (int k = 0; k < 6; k++) {
        float x[N], m[N], v[N], again[N], unused[N];
        sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
        for (int i = 0; i < N; i++)
            x[i] = i % 7 == 3 ? 0
                              : size[k] * exp2f(-20 * sol_rng_uniform(&rng)) *
                                    (sol_rng_u32(&rng) & 1 ? 1 : -1);
        x[5] = x[300] = x[599] = -size[k];
        through_8bit(x, N, m, v);
        for (int i = 0; i < N; i++) {
            double want = x[i], least = (double)size[k] / 1.875;
            ck_assert_msg(fabs(m[i] - want) <= fabs(want) / 16 + least * 0x1p-18 + 2e-45,
                          "m %g became %g", want, (double)m[i]);
            ck_assert_msg(fabs(v[i] - fabs(want)) <= fabs(want) / 16 + least * 0x1p-33 + 2e-45,
                          "v %g became %g", want, (double)v[i]);
            if (size[k] > 1e-35f) ck_assert((x[i] == 0) == (v[i] == 0));
        }
        ck_assert_float_eq_tol(m[5], x[5], 1e-6f * size[k] + 1e-44f);
        ck_assert_float_eq_tol(v[300], -x[300], 1e-6f * size[k] + 1e-44f);
        if (size[k] < 1e-35f) continue;
        through_8bit(m, N, again, unused);
        for (int i = 0; i < N; i++) ck_assert_float_eq_tol(again[i], m[i], 1e-6f * size[k]);
    }
}
END_TEST

/* Without gradients v falls by 0.999 a step in every form, although no single step is as large as
 * the spacing of bf16. */
START_TEST(moments_decay)
{
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    sol_model *m = sol_test_tiny_model(SOL_F32, true);
    float *g = gradient(m, 1), buffer[SOL_MOMENT_CHUNK];
    for (int kind = 0; kind < 3; kind++) {
        sol_adamw_config c = plain;
        sol_adamw *o;
        double sum[2];
        c.moments = kinds[kind];
        c.seed = 4;
        ck_ok(sol_adamw_create(&o, m, &c, err));
        sol_moment_chunk chunk = {.o = o, .n = 656}; /* the embedding, 33 x 20, but for its end */
        for (int k = 0; k < 2; k++) {
            sum[k] = 0;
            for (int t = 0; t < (k ? 1000 : 1); t++) sol_adamw_update(ctx, o, m, g, k ? 0 : 1, 0);
            const float *v = sol_moment_load(&chunk, true, buffer);
            for (int i = 0; i < 656; i++) sum[k] += (double)v[i];
        }
        ck_assert_double_eq_tol(sum[1] / sum[0], pow(0.999, 1000), kind == 1 ? 0.01 : 1e-3);
        sol_adamw_free(&o);
    }
    sol_free(g);
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

/* Noisy gradients of |p - target|^2: every form of moments comes as near as fp32 does. */
START_TEST(moments_minimize_alike)
{
    double distance[3];
    sol_ctx *ctx = context(2, SOL_TIER_BEST);
    for (int kind = 0; kind < 3; kind++) {
        sol_model *m = sol_test_tiny_model(SOL_F32, true);
        sol_adamw_config c = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .moments = kinds[kind]};
        sol_adamw *o;
        float *p = m->data, *target = gradient(m, 99);
        ck_ok(sol_adamw_create(&o, m, &c, err));
        for (int t = 0; t < 400; t++) {
            float *g = gradient(m, (uint64_t)t); /* noise of 1, of different size in every weight */
            for (int64_t i = 0; i < m->n_elements; i++)
                g[i] = (g[i] + 2 * (p[i] - target[i])) * exp2f((float)(i % 13) - 6);
            sol_adamw_update(ctx, o, m, g, 1, 0.02f * (float)(400 - t) / 400);
            sol_free(g);
        }
        distance[kind] = 0;
        for (int64_t i = 0; i < m->n_elements; i++)
            distance[kind] +=
                (double)(p[i] - target[i]) * (double)(p[i] - target[i]) / (double)m->n_weights;
        sol_free(target);
        sol_adamw_free(&o);
        sol_model_free(&m);
    }
    ck_assert_double_lt(distance[0], 0.1);
    for (int kind = 1; kind < 3; kind++) ck_assert_double_lt(distance[kind], 1.2 * distance[0]);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(global_norm)
{
    sol_cpu_features set[SOL_TEST_SETS];
    int n_sets = sol_test_sets(set);
    enum { N = 3 * 32768 + 77 };
    float *x;
    double sum = 0, first = 0;
    ck_ok(sol_alloc_array((void **)&x, N, sizeof *x, err));
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    for (int i = 0; i < N; i++) {
        /* Squares leave the range of float. */
        x[i] = sol_rng_normal(&rng) * (i % 1000 == 0 ? 1e25f : 1e-3f);
        sum += (double)x[i] * x[i];
    }
    for (int k = 0; k < 3 * n_sets; k++) {
        sol_ctx *ctx = context(1 + k % 3, set[k / 3]);
        x[N - 1] = 1;
        double norm = sol_global_norm(ctx, x, N);
        if (k == 0) first = norm;
        ck_assert(norm == first);
        ck_assert_double_eq_tol(norm / sqrt(sum), 1, 1e-12);
        double square[SOL_NORM_TILES]; /* the same in two parts, the last first */
        int64_t tiles = sol_ceil_div(N, sol_norm_tile(N));
        ck_assert_int_le(tiles, SOL_NORM_TILES);
        sol_norm_squares(ctx, x, N, tiles / 3, tiles, square);
        sol_norm_squares(ctx, x, N, 0, tiles / 3, square);
        ck_assert(sol_norm_of(square, tiles) == norm);
        ck_assert(sol_global_norm(ctx, x, 0) == 0);
        x[N - 1] = NAN;
        ck_assert(isnan(sol_global_norm(ctx, x, N)));
        x[N - 1] = -INFINITY;
        ck_assert(isinf(sol_global_norm(ctx, x, N)));
        sol_ctx_free(&ctx);
    }
    sol_free(x);
}
END_TEST

START_TEST(clipping)
{
    ck_assert_float_eq(sol_clip_scale(0.5, 1), 1);
    ck_assert_float_eq(sol_clip_scale(0, 1), 1);
    ck_assert_float_eq_tol(sol_clip_scale(4, 1), 0.25f, 1e-6f);
    ck_assert_float_eq_tol(sol_clip_scale(4, 2), 0.5f, 1e-6f);
    ck_assert_float_eq(sol_clip_scale(1e9, 0), 1); /* off */
}
END_TEST

START_TEST(schedules_at_their_corners)
{
    sol_lr_schedule s = {.peak = 2, .min_ratio = 0.1f, .warmup_steps = 10, .decay_fraction = 0.2f};
    for (int kind = SOL_LR_CONSTANT; kind <= SOL_LR_WSD; kind++) {
        s.kind = (sol_lr_kind)kind;
        ck_assert_float_eq_tol(sol_lr_at(&s, 0, 100), 0.2f, 1e-6f);
        ck_assert_float_eq_tol(sol_lr_at(&s, 4, 100), 1.0f, 1e-6f);
        ck_assert_float_eq(sol_lr_at(&s, 9, 100), 2);
        ck_assert_float_eq(sol_lr_at(&s, 10, 100), 2);
        for (int step = 10; step < 120; step++) {
            ck_assert_float_le(sol_lr_at(&s, step + 1, 100), sol_lr_at(&s, step, 100));
            ck_assert_float_ge(sol_lr_at(&s, step, 100), 0.2f - 1e-6f);
        }
        ck_assert_float_eq_tol(sol_lr_at(&s, 100, 100), kind == SOL_LR_CONSTANT ? 2 : 0.2f, 1e-6f);
        for (int step = 0; step < 3; step++)
            ck_assert(isfinite(sol_lr_at(&s, step, 1))); /* warm-up longer than the run */
    }
    s.kind = SOL_LR_COSINE;
    ck_assert_float_eq_tol(sol_lr_at(&s, 55, 100), 1.1f, 1e-6f);
    ck_assert_float_eq_tol(sol_lr_at(&s, 40, 100), 0.2f + 1.8f * 0.75f, 1e-6f);
    s.kind = SOL_LR_LINEAR;
    ck_assert_float_eq_tol(sol_lr_at(&s, 55, 100), 1.1f, 1e-6f);
    s.kind = SOL_LR_WSD;
    ck_assert_float_eq(sol_lr_at(&s, 80, 100), 2);
    ck_assert_float_eq_tol(sol_lr_at(&s, 90, 100), 1.1f, 1e-6f);
    ck_assert_float_eq_tol(sol_lr_at(&s, 99, 100), 0.2f + 1.8f / 20, 1e-6f);
    s.warmup_steps = 0;
    ck_assert_float_eq(sol_lr_at(&s, 0, 100), 2);
    s.decay_fraction = 0;
    ck_assert_float_eq(sol_lr_at(&s, 99, 100), 2);
}
END_TEST

/* The rate of the last step, and of runs of one and two: with d falling steps 1/d of the way is
 * left, sin^2(pi / 2d) in cosine. */
START_TEST(where_schedules_end)
{
    static const struct {
        sol_lr_kind kind;
        int warmup, steps, fall; /* d */
    } cases[] = {
        {SOL_LR_LINEAR, 0, 50, 50}, {SOL_LR_LINEAR, 10, 50, 40}, {SOL_LR_LINEAR, 0, 2, 2},
        {SOL_LR_LINEAR, 0, 1, 1},   {SOL_LR_COSINE, 0, 50, 50},  {SOL_LR_COSINE, 10, 50, 40},
        {SOL_LR_COSINE, 0, 2, 2},   {SOL_LR_COSINE, 0, 1, 1},    {SOL_LR_COSINE, 1, 2, 1},
        {SOL_LR_WSD, 0, 50, 10},    {SOL_LR_WSD, 45, 50, 5},     {SOL_LR_WSD, 0, 10, 2},
        {SOL_LR_WSD, 0, 5, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sol_lr_schedule s = {.kind = cases[i].kind,
                             .peak = 2,
                             .min_ratio = 0.25f,
                             .warmup_steps = cases[i].warmup,
                             .decay_fraction = 0.2f};
        double d = cases[i].fall,
               left = s.kind == SOL_LR_COSINE ? pow(sin(M_PI / (2 * d)), 2) : 1 / d;
        ck_assert_float_eq_tol(sol_lr_at(&s, cases[i].steps - 1, cases[i].steps),
                               (float)(0.5 + 1.5 * left), 1e-6f);
        /* The step after it. */
        ck_assert_float_eq_tol(sol_lr_at(&s, cases[i].steps, cases[i].steps), 0.5f, 1e-6f);
    }
    /* A fifth of two steps, or one, is none. */
    sol_lr_schedule two = {.kind = SOL_LR_WSD, .peak = 2, .decay_fraction = 0.2f};
    ck_assert_float_eq(sol_lr_at(&two, 0, 1), 2);
    ck_assert_float_eq(sol_lr_at(&two, 0, 2), 2);
    ck_assert_float_eq(sol_lr_at(&two, 1, 2), 2);
    two.warmup_steps = 5; /* longer than the run: it ends on the way up */
    ck_assert_float_eq_tol(sol_lr_at(&two, 1, 2), 0.8f, 1e-6f);
}
END_TEST

SOL_TEST_MAIN("optim", tcase_add_test(tc, adamw_by_hand);
              tcase_add_test(tc, adamw_follows_the_double_reference);
              tcase_add_test(tc, adamw_same_bits_for_any_threads_and_features);
              tcase_add_test(tc, a_shard_is_a_part_of_the_whole);
              tcase_add_test(tc, stochastic_rounding_keeps_the_mean);
              tcase_add_test(tc, codes_of_8_bits); tcase_add_test(tc, moments_decay);
              tcase_add_test(tc, moments_minimize_alike); tcase_add_test(tc, global_norm);
              tcase_add_test(tc, clipping); tcase_add_test(tc, schedules_at_their_corners);
              tcase_add_test(tc, where_schedules_end))
