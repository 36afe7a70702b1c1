/* Methods that learn parameters or make a bias, through model, graph, optimizer, checkpoint and
 * inference. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { B = 2, T = 12 };

static sol_model *tiny_model(void)
{
    sol_model_config c = {.vocab_size = 29,
                          .hidden_size = 24,
                          .intermediate_size = 36,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 3,
                          .num_key_value_heads = 1,
                          .head_dim = 8,
                          .max_position_embeddings = 32,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    sol_model *m;
    ck_ok(sol_model_create(&m, &c, SOL_F32, err));
    sol_model_init_random(NULL, m, 3);
    float *w = m->data;
    for (int64_t i = 0; i < m->n_elements; i++)
        w[i] *= w[i] == 1 ? 1 : 4; /* so that layers matter */
    return m;
}

static sol_quant_spec spec_of(const char *method, sol_granularity granularity)
{
    return (sol_quant_spec){.method = sol_quantizer_find(method),
                            .granularity = granularity,
                            .group_size = 12,
                            .scale_dtype = SOL_F32};
}

static void draw_tokens(int32_t *tokens, int32_t *targets)
{
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (int32_t)sol_rng_below(&rng, 29);
        targets[i] = (int32_t)sol_rng_below(&rng, 29);
    }
}

static sol_graph *graph_of(sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec)
{
    sol_graph *g;
    ck_ok(sol_graph_create(&g, ctx, m, spec, &(sol_graph_opts){.batch = B, .seq = T}, err));
    return g;
}

/* Gradients of the sum of losses, and that sum. */
static double run(sol_graph *g, sol_residual_mix mix, int micro_batches)
{
    int32_t tokens[B * T], targets[B * T];
    double loss, sum = 0;
    int64_t n;
    draw_tokens(tokens, targets);
    sol_graph_begin_step(g, mix, micro_batches);
    for (int i = 0; i < micro_batches; i++) {
        sol_graph_accumulate(g, tokens, targets, NULL, 1.0f, &loss, &n);
        sum += loss;
    }
    return sum;
}

START_TEST(table_and_starting_values)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    sol_model *m = tiny_model(), *plain = tiny_model();
    sol_quant_spec dlt = spec_of("dlt", SOL_PER_GROUP), lsq = spec_of("lsq", SOL_PER_CHANNEL),
                   sherry = spec_of("sherry", SOL_PER_CHANNEL);
    int64_t n = m->n_elements;
    int n_params = m->n_params;
    ck_ok(sol_model_add_learned(m, &dlt, err));
    ck_assert_int_eq(m->n_params, n_params + 2 * 7 * 2);
    ck_assert_int_eq(m->n_plain, n_params);
    ck_assert_mem_eq(m->data, plain->data, (size_t)n * 4);
    const sol_param *shift = sol_model_param(m, "model.layers.1.mlp.down_proj.quant_shift");
    const sol_param *down = sol_model_by_role(m, 1, SOL_ROLE_DOWN);
    ck_assert_ptr_nonnull(shift);
    ck_assert_ptr_eq(shift, sol_model_learned(m, down, 1));
    ck_assert_int_eq(shift->kind, SOL_PARAM_QUANT);
    ck_assert_int_eq(shift->rows, 24 * 3);
    ck_assert_int_eq(shift->offset % SOL_PARAM_ALIGN, 0);
    ck_assert_int_eq(m->n_elements, shift->offset + (72 + 15) / 16 * 16);
    sol_model_start_learned(ctx, m, &dlt);
    float max = 0;
    for (int i = 0; i < 12; i++) max = fmaxf(max, fabsf(sol_model_f32(m, down)[i]));
    ck_assert_float_eq(*sol_model_f32(m, sol_model_learned(m, down, 0)), max);
    ck_assert_ptr_null(sol_model_learned(m, sol_model_final_norm(m), 0));
    ck_ok(sol_model_add_learned(m, &lsq, err)); /* others in their place */
    ck_assert_int_eq(m->n_params, n_params + 2 * 7);
    ck_assert_ptr_null(sol_model_param(m, "model.layers.1.mlp.down_proj.quant_shift"));
    ck_ok(sol_model_add_learned(m, &sherry, err));
    ck_assert_int_eq(m->n_params, n_params);
    ck_assert_int_eq(m->n_elements, n);
    ck_assert_int_eq(m->n_weights, plain->n_weights);
    ck_assert_mem_eq(m->data, plain->data, (size_t)n * 4);
    lsq.granularity = SOL_PER_GROUP;
    lsq.group_size = 16;
    ck_fails(sol_model_add_learned(m, &lsq, err), SOL_ERR_SHAPE, "groups of 16");
    ck_assert_int_eq(m->n_params, n_params);
    sol_model_free(&m);
    sol_model_free(&plain);
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(a_graph_wants_the_learned_parameters)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    sol_model *m = tiny_model();
    sol_graph *g;
    sol_quant_spec lsq = spec_of("lsq", SOL_PER_CHANNEL);
    sol_graph_opts o = {.batch = B, .seq = T};
    ck_fails(sol_graph_create(&g, ctx, m, &lsq, &o, err), SOL_ERR_USAGE,
             "lacks the parameters that lsq learns");
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

/* The graph's gradients are those of a full-precision model that holds W_eff, taken through
 * sol_quant_backward. */
static void check_gradients(const char *method, sol_granularity granularity)
{
    static const sol_residual_mix mix = {0.7f, 0.4f};
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    sol_model *m = tiny_model(), *dense = tiny_model();
    sol_quant_spec spec = spec_of(method, granularity);
    ck_ok(sol_model_add_learned(m, &spec, err));
    sol_model_start_learned(ctx, m, &spec);
    for (int i = m->n_plain; i < m->n_params; i++) /* steps within the weights, shifts off zero */
        for (int64_t k = 0; k < m->params[i].rows; k++) {
            float *x = sol_model_f32(m, &m->params[i]) + k;
            *x = strstr(m->params[i].name, "quant_shift") ? 0.01f : 0.4f * *x;
        }
    for (int i = 0; i < m->n_plain; i++) {
        if (!m->params[i].quantized) continue;
        sol_quant_matrix x = sol_model_quant_matrix(m, &m->params[i]);
        sol_quant_forward(ctx, &spec, &x, mix, sol_model_f32(dense, &dense->params[i]), NULL);
    }
    sol_graph *g = graph_of(ctx, m, &spec), *d = graph_of(ctx, dense, NULL);
    double loss = run(g, mix, 2), want = run(d, (sol_residual_mix){1, 0}, 2);
    ck_assert_double_eq_tol(loss, want, 1e-6 * want);
    double moved = 0;
    for (int i = 0; i < m->n_plain; i++) {
        const sol_param *p = &m->params[i];
        float *got = sol_graph_grads(g) + p->offset, *dw = sol_graph_grads(d) + p->offset;
        float learned[2][128] = {{0}};
        if (p->quantized) {
            sol_quant_matrix x = sol_model_quant_matrix(m, p);
            sol_quant_backward(
                ctx, &spec, &x, mix,
                &(sol_quant_grads){.dw_eff = dw, .dw = dw, .d_learned = {learned[0], learned[1]}});
        }
        for (int64_t k = 0; k < sol_param_count(p); k++)
            if (fabsf(got[k] - dw[k]) > 1e-4f)
                ck_abort_msg("%s of %s: %g, want %g", method, p->name, got[k], dw[k]);
        for (int k = 0; p->quantized && k < m->n_learned; k++) {
            const sol_param *l = sol_model_learned(m, p, k);
            for (int64_t r = 0; r < l->rows; r++) {
                float value = sol_graph_grads(g)[l->offset + r];
                if (fabsf(value - learned[k][r]) > 1e-4f)
                    ck_abort_msg("%s: %g, want %g", l->name, value, learned[k][r]);
                moved += fabsf(value);
            }
        }
    }
    ck_assert(moved > 0);
    sol_graph_free(&g);
    sol_graph_free(&d);
    sol_model_free(&m);
    sol_model_free(&dense);
    sol_ctx_free(&ctx);
}

START_TEST(gradients_of_learned_methods)
{
    static const char *const methods[] = {"lsq", "seq", "dlt"};
    for (int i = 0; i < 3; i++)
        for (int granularity = SOL_PER_TENSOR; granularity <= SOL_PER_GROUP; granularity++)
            check_gradients(methods[i], (sol_granularity)granularity);
}
END_TEST

/* Moves dead weights of a row up and as many kept ones down, or the other way, by `by` each: mean
 * |w| and all levels stay, so that nothing but the bias changes. Returns how many pairs. */
static int move_pairs(float *w, const int8_t *t, int n, float threshold, float by)
{
    const float room = 0.006f;
    int kept = 0, pairs = 0;
    for (int i = 0; i < n; i++) {
        if (t[i] != 0 || w[i] < room || w[i] > threshold - room) continue;
        while (kept < n && (t[kept] != 1 || w[kept] < threshold + room)) kept++;
        if (kept == n) break;
        w[i] += by;
        w[kept++] -= by;
        pairs++;
    }
    return pairs;
}

/* What a dead weight does through the bias, against central differences of the loss: all rows at
 * once, each in the direction that raises it. */
static void check_bias_differences(sol_graph *g, sol_model *m, const sol_param *p, const int8_t *t,
                                   float scale, const float *row_part)
{
    const float by = 0.005f;
    float *w = sol_model_f32(m, p), *before = malloc((size_t)sol_param_count(p) * sizeof *before);
    double loss[2], want = 0;
    memcpy(before, w, (size_t)sol_param_count(p) * sizeof *before);
    for (int side = 0; side < 2; side++) {
        want = 0;
        memcpy(w, before, (size_t)sol_param_count(p) * sizeof *before);
        for (int64_t r = 0; r < p->rows; r++) {
            if (isnan(row_part[r])) continue;
            int pairs = move_pairs(w + r * p->cols, t + r * p->cols, (int)p->cols, scale / 2,
                                   (row_part[r] > 0) == (side == 1) ? by : -by);
            want += pairs * (double)by * fabs((double)row_part[r]);
        }
        loss[side] = run(g, (sol_residual_mix){1, 0}, 1);
    }
    ck_assert_double_eq_tol((loss[1] - loss[0]) / 2, want, 0.1 * want);
    free(before);
}

START_TEST(gradient_through_tequilas_bias)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    sol_model *m = tiny_model();
    sol_quant_spec spec = spec_of("tequila", SOL_PER_TENSOR),
                   absmean = spec_of("absmean", SOL_PER_TENSOR);
    const sol_param *p = sol_model_by_role(m, 1, SOL_ROLE_UP);
    sol_graph *g = graph_of(ctx, m, &spec), *straight = graph_of(ctx, m, &absmean);
    sol_residual_mix mix = {1, 0};
    float *bias_free = malloc((size_t)m->n_elements * 4);
    double with_bias = run(g, mix, 1), without = run(straight, mix, 1);
    ck_assert(fabs(with_bias - without) > 1e-7); /* the bias does something */
    memcpy(bias_free, sol_graph_grads(g) + p->offset, (size_t)sol_param_count(p) * 4);
    /* The bias adds the same amount to every dead weight of a row, and nothing to the others. */
    float row_part[36], scale;
    int8_t t[36 * 24];
    sol_quant_split(ctx, &absmean, sol_model_f32(m, p), 36, 24, t, &scale);
    sol_graph *twin = graph_of(ctx, m, &spec);
    int64_t n;
    double loss;
    int32_t tokens[B * T], targets[B * T];
    draw_tokens(tokens, targets);
    sol_graph_begin_step(twin, mix, 2);
    /* Not the last: the straight part alone. */
    sol_graph_accumulate(twin, tokens, targets, NULL, 1, &loss, &n);
    for (int r = 0; r < 36; r++) {
        row_part[r] = NAN;
        for (int i = r * 24; i < (r + 1) * 24; i++) {
            float part = bias_free[i] - sol_graph_grads(twin)[p->offset + i];
            if (t[i] != 0)
                ck_assert(part == 0);
            else if (isnan(row_part[r]))
                row_part[r] = part;
            else
                ck_assert_float_eq_tol(part, row_part[r], 1e-6f);
        }
    }
    ck_assert(row_part[0] != 0);
    check_bias_differences(g, m, p, t, scale, row_part);
    free(bias_free);
    sol_graph_free(&twin);
    sol_graph_free(&straight);
    sol_graph_free(&g);
    sol_model_free(&m);
    sol_ctx_free(&ctx);
}
END_TEST

/* Some steps of training lower the loss and move the learned parameters; inference gives the
 * graph's logits; a checkpoint brings all of it back. */
static void expect_logits(sol_net *net, const int32_t *tokens, const float *want, const char *what)
{
    static float got[T * 29];
    sol_kv *kv;
    sol_row rows[T];
    ck_ok(sol_kv_create(&kv, net, T, err));
    for (int t = 0; t < T; t++)
        rows[t] = (sol_row){.kv = kv, .token = tokens[t], .want_logits = true};
    ck_ok(sol_net_forward(net, rows, T, got, err));
    for (int k = 0; k < T * 29; k++)
        if (fabsf(got[k] - want[k]) > 1e-4f)
            ck_abort_msg("%s: logit %d is %g, want %g", what, k, got[k], want[k]);
    sol_kv_free(&kv);
}

/* Exported as Q(W) with what the method learned, and read as a plain model: the same logits. Biases
 * have no place there. */
static void expect_exported(sol_ctx *ctx, const char *dir, const char *path, const char *method,
                            const int32_t *tokens, const float *want)
{
    char folder[96], plain[96];
    sol_export_opts o = {.dequantize = true};
    sol_export_result r;
    sol_import_opts in = {.dtype = SOL_TO_F32};
    sol_import_result done;
    sol_net *net;
    snprintf(folder, sizeof folder, "%s/%s", dir, method);
    snprintf(plain, sizeof plain, "%s/plain.h5", dir);
    if (strcmp(method, "tequila") == 0) {
        ck_fails(sol_export_safetensors(ctx, path, folder, &o, &r, err), SOL_ERR_UNSUPPORTED,
                 "tequila makes biases");
        return;
    }
    ck_ok(sol_export_safetensors(ctx, path, folder, &o, &r, err));
    ck_ok(sol_import(folder, plain, &in, &done, err));
    ck_ok(sol_net_open(&net, ctx, plain, NULL, err));
    ck_assert_int_eq(sol_net_kind_of(net), SOL_NET_FP);
    expect_logits(net, tokens, want, method);
    sol_net_free(&net);
}

START_TEST(train_write_read_infer)
{
    static const char *const methods[] = {"lsq", "seq", "dlt", "tequila"};
    char dir[64], path[96];
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/c.h5", dir);
    for (int i = 0; i < 4; i++) {
        sol_ctx *ctx;
        ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
        sol_checkpoint c = {.file = {.model = tiny_model(),
                                     .quant = spec_of(methods[i], SOL_PER_CHANNEL)}},
                       back;
        ck_ok(sol_model_add_learned(c.file.model, &c.file.quant, err));
        sol_model_start_learned(ctx, c.file.model, &c.file.quant);
        float *start = malloc((size_t)c.file.model->n_elements * 4);
        memcpy(start, c.file.model->data, (size_t)c.file.model->n_elements * 4);
        sol_adamw_config a = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f};
        ck_ok(sol_adamw_create(&c.optim, c.file.model, &a, err));
        sol_graph *g = graph_of(ctx, c.file.model, &c.file.quant);
        double first = 0, loss = 0;
        for (int s = 0; s < 40; s++) {
            loss = run(g, (sol_residual_mix){1, 0}, 1);
            if (s == 0) first = loss;
            sol_adamw_update(ctx, c.optim, c.file.model, sol_graph_grads(g), 1.0f / (B * T), 0.01f);
        }
        ck_assert_msg(loss < 0.9 * first, "%s: %g after %g", methods[i], loss, first);
        for (int k = c.file.model->n_plain; k < c.file.model->n_params; k++)
            ck_assert(c.file.model->params[k].rows == 0 ||
                      sol_model_f32(c.file.model, &c.file.model->params[k])[0] !=
                          start[c.file.model->params[k].offset] ||
                      strstr(c.file.model->params[k].name, "shift"));
        ck_ok(sol_test_write_checkpoint(&c, path, SOL_F32, err));
        ck_ok(sol_checkpoint_read(&back, path, SOL_F32, err));
        ck_assert_int_eq(back.file.model->n_learned, c.file.model->n_learned);
        ck_assert_int_eq(back.file.model->n_elements, c.file.model->n_elements);
        ck_assert_mem_eq(back.file.model->data, c.file.model->data,
                         (size_t)c.file.model->n_elements * 4);
        ck_assert_mem_eq(back.optim->v, c.optim->v, (size_t)c.file.model->n_elements * 4);

        int32_t tokens[B * T], targets[B * T];
        static float want[B * T * 29];
        int64_t n;
        draw_tokens(tokens, targets);
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_loss(g, tokens, targets, NULL, &loss, &n);
        sol_graph_logits(g, want);
        sol_net *net;
        ck_ok(sol_net_from_model(&net, ctx, back.file.model, NULL, &back.file.quant, NULL, err));
        expect_logits(net, tokens, want, methods[i]);
        expect_exported(ctx, dir, path, methods[i], tokens, want);
        sol_net_free(&net);
        sol_graph_free(&g);
        sol_checkpoint_free(&back);
        sol_checkpoint_free(&c);
        sol_ctx_free(&ctx);
        free(start);
    }
    sol_test_dir_remove(dir);
}
END_TEST

SOL_TEST_MAIN("learned", tcase_add_test(tc, table_and_starting_values);
              tcase_add_test(tc, a_graph_wants_the_learned_parameters);
              tcase_add_test(tc, gradients_of_learned_methods);
              tcase_add_test(tc, gradient_through_tequilas_bias);
              tcase_add_test(tc, train_write_read_infer))
