/* The calibration of a whole model, block after block, on a toy of four thousand tokens; what it
 * plans of memory and of time. */
#include <math.h>
#include <string.h>

#include "calib/calib.h"
#include "suite.h"

static sol_ctx *make_ctx(int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
    return ctx;
}

typedef struct toy {
    sol_model *model;
    sol_tokens tokens;
    sol_mixture data;
    uint16_t ids[4000];
    uint64_t docs[4];
    sol_quant_spec spec;
    sol_calib_opts opts;
} toy;

static void toy_make(toy *t, const sol_ctx *ctx)
{
    sol_model_config c;
    ck_ok(sol_model_config_named("tiny", &c, err));
    ck_ok(sol_model_create(&t->model, &c, SOL_F32, err));
    sol_model_init_random(ctx, t->model, 3);
    /* As large as trained weights: else a block hardly changes what goes through it. */
    for (int i = 0; i < t->model->n_params; i++) {
        const sol_param *p = &t->model->params[i];
        float *w = sol_model_f32(t->model, p);
        for (int64_t k = 0; p->quantized && k < sol_param_count(p); k++) w[k] *= 6;
    }
    sol_rng r = sol_rng_make(2, SOL_STREAM_TEST);
    for (int i = 0; i < 4000; i++) t->ids[i] = (uint16_t)sol_rng_below(&r, (uint64_t)c.vocab_size);
    memcpy(t->docs, (uint64_t[]){0, 1000, 1003, 4000}, sizeof t->docs);
    t->tokens =
        (sol_tokens){.data = t->ids, .width = 2, .n = 4000, .doc_offsets = t->docs, .n_docs = 3};
    t->data = (sol_mixture){.n = 1, .stream = {{&t->tokens, 1}}};
    t->spec = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                               .granularity = SOL_PER_GROUP,
                               .group_size = 64,
                               .layout = SOL_LAYOUT_CONTIGUOUS,
                               .scale_dtype = SOL_F16};
    t->opts = (sol_calib_opts){.windows = 24,
                               .held_out = 3,
                               .seq = 32,
                               .seed = 1,
                               .compute = SOL_F32,
                               .damping = 0.02,
                               .sweeps = 2,
                               .starts = 1,
                               .asymmetric = true,
                               .token_weights = true,
                               .first_token = 2,
                               .steps = 12,
                               .batch = 4,
                               .lr = 0.02,
                               .norms = true};
}

static size_t model_bytes(const sol_model *m)
{
    return (size_t)m->n_elements * sizeof(float);
}

START_TEST(model_is_calibrated)
{
    sol_ctx *ctx = make_ctx(2), *other = make_ctx(1);
    toy a, b;
    sol_calib *c;
    sol_calib_report r;
    toy_make(&a, ctx);
    toy_make(&b, ctx);
    sol_model *first = NULL; /* block 0 as it was kept */
    ck_ok(sol_calib_create(&c, ctx, a.model, &a.spec, &a.opts, &a.data, err));
    for (int64_t l = 0; l < a.model->config.num_hidden_layers; l++) {
        ck_ok(sol_calib_block(c, l, &r, err));
        ck_assert_int_eq(r.block, l);
        ck_assert_double_lt(r.solved, 0.7 * r.rounded);
        ck_assert_double_le(r.trained, r.solved);
        ck_assert_double_gt(r.held_out, 0);
        for (int role = 0; role < SOL_ROLES; role++) {
            bool layer = sol_param_rows[role].quantized;
            ck_assert(layer ? r.layer[role] > 0 && r.layer[role] < 1 : isnan(r.layer[role]));
        }
        const sol_model *done = sol_calib_block_model(c);
        if (l == 0) ck_ok(sol_model_create(&first, &done->config, SOL_F32, err));
        if (l == 0) memcpy(first->data, done->data, model_bytes(done));
    }
    sol_calib_free(&c);
    ck_assert_ptr_null(c);
    /* The rest after block 0 was taken from where it was kept, by another number of threads: the
     * same bits. */
    ck_ok(sol_calib_create(&c, other, b.model, &b.spec, &b.opts, &b.data, err));
    ck_ok(sol_calib_restore(c, 0, first, err));
    for (int64_t l = 1; l < b.model->config.num_hidden_layers; l++)
        ck_ok(sol_calib_block(c, l, &r, err));
    ck_assert_mem_eq(a.model->data, b.model->data, model_bytes(a.model));
    sol_calib_free(&c);
    sol_model_free(&first);
    sol_model_free(&a.model);
    sol_model_free(&b.model);
    sol_ctx_free(&ctx);
    sol_ctx_free(&other);
}
END_TEST

/* A soft start solves the same layers and ends with other latent weights. */
START_TEST(soft_latent_start)
{
    sol_ctx *ctx = make_ctx(2);
    double solved[2];
    toy t[2];
    for (int i = 0; i < 2; i++) {
        sol_calib *c;
        sol_calib_report r;
        toy_make(&t[i], ctx);
        t[i].opts.latent = i ? SOL_LATENT_SOFT : SOL_LATENT_HARD;
        t[i].opts.steps = 0;
        ck_ok(sol_calib_create(&c, ctx, t[i].model, &t[i].spec, &t[i].opts, &t[i].data, err));
        ck_ok(sol_calib_block(c, 0, &r, err));
        solved[i] = r.solved;
        sol_calib_free(&c);
    }
    ck_assert(solved[0] == solved[1]);
    ck_assert(memcmp(t[0].model->data, t[1].model->data, model_bytes(t[0].model)) != 0);
    for (int i = 0; i < 2; i++) sol_model_free(&t[i].model);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(model_in_bf16_without_training)
{
    sol_ctx *ctx = make_ctx(2);
    toy t;
    sol_calib *c;
    sol_calib_report r;
    sol_model *m;
    toy_make(&t, ctx);
    t.opts.compute = SOL_BF16;
    t.opts.steps = 0;
    t.opts.held_out = 0;
    ck_ok(sol_model_create(&m, &t.model->config, SOL_BF16, err));
    sol_convert(m->data, SOL_BF16, t.model->data, SOL_F32, m->n_elements);
    ck_ok(sol_calib_create(&c, ctx, m, &t.spec, &t.opts, &t.data, err));
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        ck_ok(sol_calib_block(c, l, &r, err));
        ck_assert_double_lt(r.trained, 0.7 * r.rounded); /* of the scales as bf16 holds them */
        ck_assert(isnan(r.held_out));
    }
    sol_calib_free(&c);
    sol_model_free(&m);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

static bool stop_at_once(void *user, int64_t block, const char *phase, int64_t done, int64_t total,
                         double share)
{
    int *calls = user;
    (void)block, (void)phase, (void)done, (void)total, (void)share;
    return --*calls > 0;
}

/* Shares grow from 0 to nearly 1. */
typedef struct shares {
    double last;
    int calls;
} shares;

static bool watch_shares(void *user, int64_t block, const char *phase, int64_t done, int64_t total,
                         double share)
{
    shares *s = user;
    (void)block, (void)phase, (void)done, (void)total;
    ck_assert(s->calls == 0 ? share == 0 : share > s->last);
    s->last = share;
    s->calls++;
    return true;
}

START_TEST(progress_of_a_block)
{
    sol_ctx *ctx = make_ctx(1);
    toy t;
    sol_calib *c;
    sol_calib_report r;
    toy_make(&t, ctx);
    ck_ok(sol_calib_create(&c, ctx, t.model, &t.spec, &t.opts, &t.data, err));
    for (int64_t layer = 0; layer < t.model->config.num_hidden_layers; layer++) {
        shares s = {0};
        sol_calib_watch(c, watch_shares, &s);
        ck_ok(sol_calib_block(c, layer, &r, err));
        ck_assert(s.last > 0.8 && s.last <= 1);
        ck_assert_int_gt(s.calls, 4);
    }
    sol_calib_free(&c);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(interrupted_and_refused)
{
    sol_ctx *ctx = make_ctx(1);
    toy t;
    sol_calib *c;
    sol_calib_report r;
    toy_make(&t, ctx);
    float *before;
    ck_ok(sol_alloc_array((void **)&before, (size_t)t.model->n_elements, sizeof *before, err));
    memcpy(before, t.model->data, model_bytes(t.model));
    for (int calls = 1; calls < 8; calls += 3) {
        int left = calls;
        ck_ok(sol_calib_create(&c, ctx, t.model, &t.spec, &t.opts, &t.data, err));
        sol_calib_watch(c, stop_at_once, &left);
        ck_fails(sol_calib_block(c, 1, &r, err), SOL_ERR_USAGE,
                 "block 1: calibration is at block 0");
        ck_fails(sol_calib_block(c, 0, &r, err), SOL_ERR_INTERRUPTED, "interrupted");
        ck_fails(sol_calib_block(c, 0, &r, err), SOL_ERR_USAGE, "calibration is at block 1");
        ck_assert_mem_eq(before, t.model->data, model_bytes(t.model));
        sol_calib_free(&c);
    }
    t.opts.windows = 200;
    ck_fails(sol_calib_create(&c, ctx, t.model, &t.spec, &t.opts, &t.data, err), SOL_ERR_RANGE,
             "holds 124 windows of 32 tokens");
    ck_assert_ptr_null(c);
    t.opts.windows = 24;
    t.ids[17] = 60000;
    t.opts.held_out = 100;
    ck_fails(sol_calib_create(&c, ctx, t.model, &t.spec, &t.opts, &t.data, err), SOL_ERR_FORMAT,
             "holds the token 60000");
    sol_free(before);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

/* Rounding the embedding takes the rounded floats, and the stored matrix they are cast from. */
START_TEST(bytes_of_a_rounded_embedding)
{
    sol_ctx *ctx = make_ctx(1);
    toy t;
    sol_model *m;
    toy_make(&t, ctx);
    sol_model_config c = t.model->config;
    c.vocab_size = 1 << 20; /* more than any layer takes to be solved */
    ck_ok(sol_model_describe(&m, &c, SOL_F32, err));
    const sol_param *p = sol_model_embedding(m);
    size_t ternary, bytes;
    t.spec.embed_type = SOL_TERNARY;
    ck_ok(sol_calib_bytes(m, &t.spec, &t.opts, 1, &ternary, err));
    for (int i = 0; i < 2; i++) {
        sol_stored s = {.type = i ? SOL_Q4 : SOL_Q8, .rows = p->rows, .cols = p->cols};
        t.spec.embed_type = s.type;
        ck_ok(sol_calib_bytes(m, &t.spec, &t.opts, 1, &bytes, err));
        ck_assert_uint_eq(bytes - ternary, sol_stored_bytes(&s) + sol_stored_scale_bytes(&s) +
                                               (size_t)p->cols * sizeof(float));
    }
    sol_model_free(&m);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

/* Groups too wide for a small problem: it stays small. */
START_TEST(rates_of_wide_groups)
{
    sol_ctx *ctx = make_ctx(1);
    toy t;
    sol_calib_work rates;
    toy_make(&t, ctx);
    t.spec.group_size = 1024;
    t.opts.sweeps = 0;
    t.opts.steps = 0;
    uint64_t before = sol_peak_rss();
    ck_ok(sol_calib_rates(ctx, t.model, &t.spec, &t.opts, &rates, err));
    ck_assert(rates.solver > 0 && rates.factors > 0 && rates.search > 0 && rates.products > 0);
    ck_assert_uint_lt(sol_peak_rss() - before, (size_t)(SOL_TEST_SLOW ? 800 : 200) << 20);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("calib_model", tcase_add_test(tc, model_is_calibrated);
              tcase_add_test(tc, soft_latent_start);
              tcase_add_test(tc, model_in_bf16_without_training);
              tcase_add_test(tc, progress_of_a_block); tcase_add_test(tc, interrupted_and_refused);
              tcase_add_test(tc, bytes_of_a_rounded_embedding);
              tcase_add_test(tc, rates_of_wide_groups))
