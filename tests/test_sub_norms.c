/* Norms that are added before o_proj and down_proj: the model around them, their weights against
 * the definition in double and against other weights, and what a calibration makes of them. */
#include <math.h>
#include <string.h>

#include "suite.h"

enum { WINDOWS = 12, V = 512 };

typedef struct toy {
    sol_model *model;
    uint16_t ids[1200];
    uint64_t docs[3];
    sol_tokens tokens;
    sol_mixture data;
    sol_calib_opts opts;
    sol_sub_norm_change off[2];
} toy;

static sol_ctx *make_ctx(int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
    return ctx;
}

/* A model whose norms were added, with weights as large as trained ones. */
static void toy_make(toy *t, const sol_ctx *ctx, sol_dtype dtype, int64_t seq)
{
    sol_model_config c;
    sol_model *f32;
    ck_ok(sol_model_config_named("tiny", &c, err));
    ck_ok(sol_model_create(&f32, &c, SOL_F32, err));
    sol_model_init_random(ctx, f32, 3);
    for (int i = 0; i < f32->n_params; i++) {
        const sol_param *p = &f32->params[i];
        for (int64_t k = 0; p->quantized && k < sol_param_count(p); k++)
            sol_model_f32(f32, p)[k] *= 6;
    }
    ck_ok(sol_model_create(&t->model, &c, dtype, err));
    sol_convert(t->model->data, dtype, f32->data, SOL_F32, f32->n_elements);
    sol_model_free(&f32);
    sol_rng r = sol_rng_make(2, SOL_STREAM_TEST);
    for (int i = 0; i < 1200; i++) t->ids[i] = (uint16_t)sol_rng_below(&r, V);
    memcpy(t->docs, (uint64_t[]){0, 500, 1200}, sizeof t->docs);
    t->tokens =
        (sol_tokens){.data = t->ids, .width = 2, .n = 1200, .doc_offsets = t->docs, .n_docs = 2};
    t->data = (sol_mixture){.n = 1, .stream = {{&t->tokens, 1}}};
    t->opts = (sol_calib_opts){.windows = WINDOWS, .seq = seq, .seed = 1, .compute = SOL_F32};
    ck_ok(sol_model_add_sub_norms(t->model, err));
}

static size_t bytes_of(const sol_model *m)
{
    return (size_t)m->n_elements * sol_dtype_size(m->dtype);
}

static sol_status fit(toy *t, const sol_ctx *ctx, sol_err *err)
{
    return sol_calib_sub_norms(ctx, t->model, &t->opts, &t->data, t->off, err);
}

START_TEST(a_model_gets_norms)
{
    sol_model_config c;
    sol_model *m, *was, *table;
    ck_ok(sol_model_config_named("tiny", &c, err));
    for (int k = 0; k < 2; k++) {
        sol_dtype dtype = k ? SOL_BF16 : SOL_F32;
        c.tie_word_embeddings = k;
        ck_ok(sol_model_create(&m, &c, dtype, err));
        ck_ok(sol_model_create(&was, &c, dtype, err));
        sol_model_init_random(NULL, m, 7);
        sol_model_init_random(NULL, was, 7);
        ck_ok(sol_model_add_sub_norms(m, err));
        ck_assert(m->config.sub_norm && m->config.family == SOL_FAMILY_BITNET);
        ck_assert_int_eq(m->n_params, was->n_params + 4);
        for (int i = 0; i < m->n_params; i++) {
            const sol_param *p = &m->params[i], *from = sol_model_by_role(was, p->layer, p->role);
            const char *at = sol_model_at(m, p);
            float x;
            if (from)
                ck_assert_mem_eq(at, sol_model_at(was, from),
                                 (size_t)sol_param_count(p) * sol_dtype_size(dtype));
            for (int64_t j = 0; !from && j < p->cols; j++) {
                sol_convert(&x, SOL_F32, at + (size_t)j * sol_dtype_size(dtype), dtype, 1);
                ck_assert_float_eq(x, 1);
            }
        }
        ck_ok(sol_model_describe(&table, &c, dtype, err));
        ck_ok(sol_model_add_sub_norms(table, err));
        ck_assert_int_eq(table->n_elements, m->n_elements);
        const void *block = m->data;
        ck_ok(sol_model_add_sub_norms(m, err)); /* it has them */
        ck_assert_ptr_eq(m->data, block);
        sol_model_free(&table);
        sol_model_free(&was);
        sol_model_free(&m);
    }
    /* What bitnet models lack stays with its own family. */
    c.qk_norm = true;
    c.family = SOL_FAMILY_QWEN3;
    sol_family_add_sub_norms(&c);
    ck_assert(c.sub_norm && c.family == SOL_FAMILY_QWEN3);
}
END_TEST

/* Sum over the windows of the loss of each token. */
static double loss_of(const sol_model *m, sol_ctx *ctx, const toy *t)
{
    sol_graph *g;
    double loss, sum = 0;
    int64_t n, T = t->opts.seq;
    int32_t tokens[64], targets[64], start[64];
    sol_batcher b;
    ck_ok(sol_graph_create(&g, ctx, m, NULL,
                           &(sol_graph_opts){.batch = 1, .seq = T, .no_grad = true}, err));
    ck_ok(sol_batcher_init_mixed(&b, &t->data, T, t->opts.seed, err));
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
    for (int i = 0; i < WINDOWS; i++) {
        sol_batcher_next(&b, 1, tokens, targets, start);
        sol_graph_loss(g, tokens, targets, start, &loss, &n);
        sum += loss;
    }
    sol_graph_free(&g);
    return sum;
}

/* Attention of a window of one token is its value, so that what o_proj reads is known. */
START_TEST(weights_by_definition)
{
    sol_ctx *ctx = make_ctx(2);
    toy t;
    toy_make(&t, ctx, SOL_F32, 1);
    const sol_model *m = t.model;
    const sol_model_config *c = &m->config;
    enum { C = 64, HD = 64, GROUP = 2, D = 32 };
    double a[HD] = {0}, b[HD] = {0}, d[HD] = {0}, kept = 0, all = 0;
    ck_assert(c->hidden_size == C && c->num_key_value_heads == 1 && c->head_dim == D);
    const float *embed = sol_model_f32(m, sol_model_embedding(m)),
                *v = sol_model_f32(m, sol_model_by_role(m, 0, SOL_ROLE_V)),
                *o = sol_model_f32(m, sol_model_by_role(m, 0, SOL_ROLE_O));
    sol_batcher batcher;
    int32_t tokens[WINDOWS], targets[WINDOWS], start[WINDOWS];
    ck_ok(sol_batcher_init_mixed(&batcher, &t.data, 1, t.opts.seed, err));
    sol_batcher_next(&batcher, WINDOWS, tokens, targets, start);
    for (int i = 0; i < WINDOWS; i++) {
        const float *x = embed + tokens[i] * C;
        double square = 0, h[HD], size = 0, r = 0;
        for (int k = 0; k < C; k++) square += (double)x[k] * x[k];
        double norm = 1 / sqrt(square / C + c->rms_norm_eps);
        for (int k = 0; k < HD; k++) {
            h[k] = 0;
            for (int j = 0; j < C; j++) h[k] += (double)v[k % D * C + j] * x[j] * norm;
            r += h[k] * h[k];
        }
        for (int k = 0; k < C; k++) {
            double y = x[k];
            for (int j = 0; j < HD; j++) y += o[k * HD + j] * h[j];
            size += y * y;
        }
        double s = C / size;
        r = sqrt(r / HD + c->rms_norm_eps);
        for (int k = 0; k < HD; k++) {
            a[k] += s * h[k] * h[k] / r;
            b[k] += s * h[k] * h[k] / (r * r);
            d[k] += s * h[k] * h[k];
        }
    }
    ck_ok(fit(&t, ctx, err));
    const float *g = sol_model_f32(m, sol_model_by_role(m, 0, SOL_ROLE_ATTN_SUB_NORM));
    for (int k = 0; k < HD; k++) {
        ck_assert_double_eq_tol(g[k], a[k] / b[k], 1e-4 * a[k] / b[k]);
        kept += a[k] * a[k] / b[k];
        all += d[k];
    }
    ck_assert_double_eq_tol(t.off[0].o, sqrt(1 - kept / all), 1e-4);
    ck_assert(t.off[0].o > 0.01 && t.off[0].o < 1);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

/* One token: nothing is lost. Many: far less than with weights of 1, which scale all that is
 * read. */
START_TEST(function_is_kept)
{
    sol_ctx *ctx = make_ctx(2);
    toy t;
    toy_make(&t, ctx, SOL_F32, 1);
    t.opts.windows = 1;
    ck_ok(fit(&t, ctx, err));
    ck_assert(t.off[0].o < 1e-6 && t.off[1].down < 1e-6);
    sol_model_free(&t.model);
    toy_make(&t, ctx, SOL_F32, 32);
    sol_model without = sol_model_without_sub_norms(t.model);
    double plain = loss_of(&without, ctx, &t), ones = loss_of(t.model, ctx, &t);
    ck_ok(fit(&t, ctx, err));
    double fitted = loss_of(t.model, ctx, &t);
    ck_assert_msg(fabs(fitted - plain) < 0.3 * fabs(ones - plain), "%g: %g fitted, %g of 1", plain,
                  fitted, ones);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(threads_and_types)
{
    for (int k = 0; k < 2; k++) {
        sol_ctx *one = make_ctx(1), *three = make_ctx(3);
        toy a, b;
        toy_make(&a, one, k ? SOL_BF16 : SOL_F32, 32);
        toy_make(&b, one, k ? SOL_BF16 : SOL_F32, 32);
        a.opts.compute = b.opts.compute = k ? SOL_BF16 : SOL_F32;
        ck_ok(fit(&a, one, err));
        ck_ok(fit(&b, three, err));
        ck_assert_mem_eq(a.model->data, b.model->data, bytes_of(a.model));
        ck_assert_mem_eq(a.off, b.off, sizeof a.off);
        sol_model_free(&a.model);
        sol_model_free(&b.model);
        sol_ctx_free(&one);
        sol_ctx_free(&three);
    }
}
END_TEST

START_TEST(what_cannot_be_fitted)
{
    sol_ctx *ctx = make_ctx(1);
    toy t;
    toy_make(&t, ctx, SOL_F32, 32);
    sol_model_f32(t.model, sol_model_by_role(t.model, 1, SOL_ROLE_GATE))[5] = NAN;
    ck_fails(fit(&t, ctx, err), SOL_ERR_NONFINITE,
             "model.layers.1.mlp.ffn_sub_norm.weight: its inputs are not finite");
    t.opts.windows = 1000;
    ck_fails(fit(&t, ctx, err), SOL_ERR_RANGE, "calibration wants 1000");
    sol_model_free(&t.model);
    /* No channel says anything: the norms stay 1. */
    toy_make(&t, ctx, SOL_F32, 32);
    const sol_param *p = sol_model_by_role(t.model, 0, SOL_ROLE_V);
    memset(sol_model_f32(t.model, p), 0, (size_t)sol_param_count(p) * sizeof(float));
    ck_ok(fit(&t, ctx, err));
    ck_assert_float_eq(
        *sol_model_f32(t.model, sol_model_by_role(t.model, 0, SOL_ROLE_ATTN_SUB_NORM)), 1);
    ck_assert(t.off[0].o == 0);
    sol_model_free(&t.model);
    sol_ctx_free(&ctx);
}
END_TEST

/* The full-precision stream of a calibration goes without norms that were added: what is missed is
 * what they change, where nothing is quantized. */
START_TEST(calibration_wants_the_model_as_it_was)
{
    sol_ctx *ctx = make_ctx(2);
    sol_quant_override kept = {.match = "*", .none = true};
    sol_quant_overrides *overrides = NULL;
    ck_ok(sol_quant_overrides_add(&overrides, &kept, err));
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_GROUP,
                           .group_size = 64,
                           .scale_dtype = SOL_F16,
                           .overrides = overrides};
    for (int k = 0; k < 2; k++) {
        toy t;
        sol_calib *c;
        sol_calib_report r;
        toy_make(&t, ctx, SOL_F32, 32);
        ck_ok(fit(&t, ctx, err));
        t.opts.steps = 8;
        t.opts.batch = 4;
        t.opts.lr = 0.01;
        t.opts.norms = true;
        t.opts.added_norms = k == 0;
        ck_ok(sol_calib_create(&c, ctx, t.model, &spec, &t.opts, &t.data, err));
        ck_ok(sol_calib_block(c, 0, &r, err));
        if (k == 0)
            ck_assert_msg(r.solved > 1e-4 && r.trained < r.solved, "%g, trained %g", r.solved,
                          r.trained);
        else
            ck_assert_msg(r.solved < 1e-5, "%g", r.solved);
        sol_calib_free(&c);
        sol_model_free(&t.model);
    }
    sol_quant_overrides_free(&overrides);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("sub_norms", tcase_add_test(tc, a_model_gets_norms);
              tcase_add_test(tc, weights_by_definition); tcase_add_test(tc, function_is_kept);
              tcase_add_test(tc, threads_and_types); tcase_add_test(tc, what_cannot_be_fitted);
              tcase_add_test(tc, calibration_wants_the_model_as_it_was))
