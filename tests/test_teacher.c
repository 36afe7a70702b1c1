/* Training graphs with a teacher: what the losses mean, that their gradients are theirs, and the
 * same bits everywhere.
 * */
#include <math.h>
#include <string.h>

#include "suite.h"

enum { V = 50, B = 2, T = 12, N = B * T };

static sol_model *make_model(int64_t hidden, int64_t layers, uint64_t seed)
{
    sol_model *m;
    sol_model_config c = {.vocab_size = V,
                          .hidden_size = hidden,
                          .intermediate_size = 48,
                          .num_hidden_layers = layers,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = hidden / 2,
                          .max_position_embeddings = 64,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    ck_ok(sol_model_create(&m, &c, SOL_F32, err));
    sol_model_init_random(NULL, m, seed);
    for (int i = 0; i < m->n_params; i++) /* larger than a start, so that distributions differ */
        for (int64_t j = 0; j < sol_param_count(&m->params[i]); j++)
            if (m->params[i].kind != SOL_PARAM_NORM) sol_model_f32(m, &m->params[i])[j] *= 8;
    return m;
}

typedef struct world {
    sol_ctx *ctx;
    sol_model *student;
    sol_teacher *teacher;
    int32_t tokens[N], targets[N], start[N];
} world;

static void world_make(world *w, int threads, const sol_model *teacher, sol_dtype type)
{
    ck_ok(sol_ctx_create(&w->ctx, threads, SOL_TIER_BEST, NULL, err));
    w->student = make_model(32, 2, 1);
    ck_ok(sol_teacher_create(&w->teacher, w->ctx, teacher ? teacher : w->student, type, err));
    for (int i = 0; i < N; i++) {
        w->tokens[i] = i * 7 % V;
        w->targets[i] = i % 5 == 4 ? -1 : (i * 7 + 7) % V;
        w->start[i] = i % T < 5 ? 0 : 5;
    }
}

static void world_free(world *w)
{
    sol_teacher_free(&w->teacher);
    sol_model_free(&w->student);
    sol_ctx_free(&w->ctx);
}

static sol_graph *make_graph(world *w, sol_graph_opts o, const sol_quant_spec *spec)
{
    sol_graph *g;
    o.batch = B;
    o.seq = T;
    ck_ok(sol_graph_create(&g, w->ctx, w->student, spec, &o, err));
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
    return g;
}

static double total(const sol_graph *g, const sol_graph_opts *o, double next_token)
{
    sol_graph_distilled d = sol_graph_last_distilled(g);
    return o->distill->weight * d.distill + o->distill->ce_weight * next_token +
           o->hidden_weight * d.hidden + o->relation_weight * d.relation;
}

START_TEST(a_model_agrees_with_itself)
{
    world w;
    sol_distill d = {SOL_DISTILL_CAKLD, 1, 0, 1, 0, 0.5f, 0};
    world_make(&w, 2, NULL, SOL_F32);
    sol_graph_opts o = {
        .distill = &d, .teacher = w.teacher, .hidden_weight = 1, .relation_weight = 1};
    sol_graph *g = make_graph(&w, o, NULL);
    double loss;
    int64_t n;
    sol_graph_accumulate(g, w.tokens, w.targets, w.start, 1, &loss, &n);
    sol_graph_distilled sum = sol_graph_last_distilled(g);
    ck_assert_double_lt(fabs(sum.distill), 1e-5);
    ck_assert(sum.hidden == 0);
    ck_assert_double_lt(fabs(sum.relation), 1e-5);
    ck_assert_double_gt(sum.teacher, 0);
    ck_assert_double_gt(loss / (double)n, 1);
    for (int64_t i = 0; i < w.student->n_elements; i++)
        ck_assert_float_lt(fabsf(sol_graph_grads(g)[i]), 1e-4f);
    sol_graph_free(&g);
    world_free(&w);
}
END_TEST

/* (L(w + h v) - L(w - h v)) / 2h along v = the gradient itself, against |gradient|^2. */
static void check_slope(world *w, const sol_graph_opts *o)
{
    sol_graph *g = make_graph(w, *o, NULL);
    double loss, side[2], square = 0;
    int64_t n;
    float *weights = w->student->data, *keep, *grads = sol_graph_grads(g);
    ck_ok(sol_alloc_array((void **)&keep, (size_t)w->student->n_elements, sizeof *keep, err));
    memcpy(keep, weights, (size_t)w->student->n_elements * sizeof *keep);
    sol_graph_accumulate(g, w->tokens, w->targets, w->start, 1, &loss, &n);
    for (int64_t i = 0; i < w->student->n_elements; i++) square += (double)grads[i] * grads[i];
    const float h = (float)(2e-3 / sqrt(square));
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < w->student->n_elements; i++)
            weights[i] = keep[i] + (s ? -h : h) * grads[i];
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
        sol_graph_loss(g, w->tokens, w->targets, w->start, &loss, &n);
        side[s] = total(g, o, loss);
    }
    ck_assert_double_eq_tol((side[0] - side[1]) / (2 * h) / square, 1, 2e-3);
    memcpy(weights, keep, (size_t)w->student->n_elements * sizeof *keep);
    sol_free(keep);
    sol_graph_free(&g);
}

START_TEST(gradients_are_slopes)
{
    static const sol_distill d[] = {{SOL_DISTILL_FORWARD_KL, 2, 0, 1, 0.5f, 0, 0},
                                    {SOL_DISTILL_REVERSE_KL, 1, 6, 1, 0, 0, 0}};
    sol_model *other = make_model(48, 3, 9), *alike = make_model(32, 2, 5);
    world w;
    world_make(&w, 2, other, SOL_BF16);
    for (int i = 0; i < 2; i++)
        check_slope(&w, &(sol_graph_opts){.distill = &d[i], .teacher = w.teacher});
    check_slope(&w,
                &(sol_graph_opts){.distill = &d[0], .teacher = w.teacher, .relation_weight = 20});
    world_free(&w);
    world_make(&w, 2, alike, SOL_Q8);
    check_slope(&w,
                &(sol_graph_opts){.distill = &d[0], .teacher = w.teacher, .hidden_weight = 0.5f});
    check_slope(&w, &(sol_graph_opts){.distill = &d[0],
                                      .teacher = w.teacher,
                                      .hidden_weight = 0.5f,
                                      .hidden_form = SOL_HIDDEN_RELATIVE,
                                      .relation_weight = 2,
                                      .relation_layer = 0});
    world_free(&w);
    sol_model_free(&other);
    sol_model_free(&alike);
}
END_TEST

/* Gradients of one micro-batch with 3:4 weights; owned by the caller. */
static float *gradients(int threads, sol_dtype compute, bool checkpoints, bool cached,
                        const sol_distill *d, double *distilled)
{
    sol_model *other = make_model(48, 3, 9);
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_CHANNEL,
                           .scale_dtype = SOL_F16};
    world w;
    float *out;
    double loss;
    int64_t n;
    world_make(&w, threads, other, SOL_BF16);
    sol_graph_opts o = {.distill = d,
                        .teacher = cached ? NULL : w.teacher,
                        .activation_checkpoints = checkpoints,
                        .compute = compute};
    sol_graph *g = make_graph(&w, o, &spec);
    if (cached) {
        sol_teacher_graph *tg;
        const int32_t *ids;
        const float *probs;
        int32_t *in_ids;
        float *in_probs;
        ck_ok(sol_teacher_graph_create(&tg, w.ctx, w.teacher, B, T, d, compute, err));
        sol_teacher_graph_run(tg, w.tokens, w.targets, w.start, &ids, &probs);
        sol_graph_cached_inputs(g, &in_ids, &in_probs);
        memcpy(in_ids, ids, (size_t)(N * d->top_k) * sizeof *ids);
        for (int i = 0; i < N; i++)
            memcpy(in_probs + i * (d->top_k + 1), probs + i * (d->top_k + 2),
                   (size_t)(d->top_k + 1) * sizeof *probs);
        sol_teacher_graph_free(&tg);
    }
    uint64_t allocations = sol_alloc_count();
    sol_graph_accumulate(g, w.tokens, w.targets, w.start, 1, &loss, &n);
    ck_assert_uint_eq(sol_alloc_count(), allocations);
    *distilled = sol_graph_last_distilled(g).distill;
    ck_ok(sol_alloc_array((void **)&out, (size_t)w.student->n_elements, sizeof *out, err));
    memcpy(out, sol_graph_grads(g), (size_t)w.student->n_elements * sizeof *out);
    sol_graph_free(&g);
    world_free(&w);
    sol_model_free(&other);
    return out;
}

START_TEST(the_same_bits_everywhere)
{
    sol_distill d = {SOL_DISTILL_CAKLD, 1.5f, 6, 1, 0.25f, 0.4f, 2};
    sol_model *m = make_model(32, 2, 1);
    size_t bytes = (size_t)m->n_elements * sizeof(float);
    double sum, other;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        sol_dtype compute = bf16 ? SOL_BF16 : SOL_F32;
        float *want = gradients(1, compute, false, false, &d, &sum);
        for (int i = 0; i < 4; i++) {
            float *got = gradients(1 + i % 3, compute, i & 1, i == 3, &d, &other);
            ck_assert_mem_eq(got, want, bytes);
            ck_assert(other == sum);
            sol_free(got);
        }
        sol_free(want);
    }
    sol_model_free(&m);
}
END_TEST

/* Relations and relative hidden states, by threads and with the blocks recomputed; and each term by
 * itself: gradients add up to that of all. */
START_TEST(relations_and_terms)
{
    sol_distill d = {SOL_DISTILL_FORWARD_KL, 1, 0, 1, 0.25f, 0, 0};
    sol_model *alike = make_model(32, 2, 5);
    double loss, sum = 0;
    int64_t n;
    float *want = NULL;
    for (int i = 0; i < 4; i++) {
        world w;
        world_make(&w, 1 + i % 3, alike, SOL_F32);
        size_t count = (size_t)w.student->n_elements;
        sol_graph_opts o = {.distill = &d,
                            .teacher = w.teacher,
                            .activation_checkpoints = i & 1,
                            .hidden_weight = 0.5f,
                            .hidden_form = SOL_HIDDEN_RELATIVE,
                            .relation_weight = 3,
                            .relation_layer = -1};
        sol_graph *g = make_graph(&w, o, NULL);
        sol_graph_accumulate(g, w.tokens, w.targets, w.start, 1, &loss, &n);
        sol_graph_distilled got = sol_graph_last_distilled(g);
        ck_assert(got.relation > 0 && got.hidden > 0);
        ck_assert_double_eq_tol(total(g, &o, loss), got.objective, 1e-4 * got.objective);
        if (i == 0) {
            sum = got.relation;
            ck_ok(sol_alloc_array((void **)&want, count, sizeof *want, err));
            memcpy(want, sol_graph_grads(g), count * sizeof *want);
        }
        ck_assert_mem_eq(sol_graph_grads(g), want, count * sizeof *want);
        ck_assert(got.relation == sum);
        sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 4);
        for (int term = SOL_TERM_NEXT_TOKEN; term <= SOL_TERM_RELATION; term *= 2) {
            sol_graph_choose_terms(g, term);
            sol_graph_accumulate(g, w.tokens, w.targets, w.start, 1, &loss, &n);
        }
        for (size_t k = 0; k < count; k++)
            ck_assert_float_eq_tol(sol_graph_grads(g)[k], want[k], 1e-4f);
        sol_graph_free(&g);
        world_free(&w);
    }
    sol_free(want);
    sol_model_free(&alike);
}
END_TEST

enum { ROWS = 4, DRAWN_K = 8 };

/* A step of ROWS windows, `batch` at a time: its loss, gradients (owned by the caller), and the
 * teacher's tokens of each position. */
static float *step_in_parts(int64_t batch, int threads, uint64_t seed, double *distilled,
                            int32_t ids[ROWS * T][DRAWN_K])
{
    sol_distill d = {SOL_DISTILL_FORWARD_KL, 2, DRAWN_K, 1, 0.25f, 0, 2};
    sol_model *other = make_model(48, 3, 9);
    sol_teacher_graph *tg;
    sol_graph *g;
    float *out;
    world w;
    world_make(&w, threads, other, SOL_F32);
    sol_graph_opts o = {.batch = batch, .seq = T, .distill = &d, .teacher = w.teacher};
    ck_ok(sol_graph_create(&g, w.ctx, w.student, NULL, &o, err));
    ck_ok(sol_teacher_graph_create(&tg, w.ctx, w.teacher, batch, T, &d, SOL_F32, err));
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, ROWS / batch);
    *distilled = 0;
    for (int64_t row = 0; row < ROWS; row += batch) {
        int32_t tokens[ROWS * T], targets[ROWS * T];
        const int32_t *top;
        const float *probs;
        double loss;
        int64_t n;
        for (int64_t i = 0; i < batch * T; i++) {
            int64_t place = row * T + i;
            tokens[i] = (int32_t)(place * 7 % V);
            targets[i] = (int32_t)((place * 7 + 7) % V);
            sol_graph_starts(g)[i] = sol_teacher_graph_starts(tg)[i] =
                sol_distill_start(seed, (uint64_t)place);
        }
        sol_teacher_graph_run(tg, tokens, targets, NULL, &top, &probs);
        memcpy(ids[row * T], top, (size_t)(batch * T * DRAWN_K) * sizeof *top);
        sol_graph_accumulate(g, tokens, targets, NULL, 1.0f / (ROWS * T), &loss, &n);
        *distilled += sol_graph_last_distilled(g).distill;
    }
    ck_ok(sol_alloc_array((void **)&out, (size_t)w.student->n_elements, sizeof *out, err));
    memcpy(out, sol_graph_grads(g), (size_t)w.student->n_elements * sizeof *out);
    sol_teacher_graph_free(&tg);
    sol_graph_free(&g);
    world_free(&w);
    sol_model_free(&other);
    return out;
}

START_TEST(draws_depend_on_seed_and_place_alone)
{
    static int32_t ids[ROWS * T][DRAWN_K], want_ids[ROWS * T][DRAWN_K];
    sol_model *m = make_model(32, 2, 1);
    double want_sum, sum;
    float *want = step_in_parts(ROWS, 1, 3, &want_sum, want_ids);
    for (int i = 0; i < 3; i++) {
        float *got = step_in_parts((int64_t[]){2, 1, 4}[i], 1 + i, 3, &sum, ids);
        ck_assert_mem_eq(ids, want_ids, sizeof ids);
        ck_assert_double_eq_tol(sum, want_sum, 1e-5 * want_sum);
        for (int64_t k = 0; k < m->n_elements; k++) ck_assert_float_eq_tol(got[k], want[k], 1e-5f);
        sol_free(got);
    }
    sol_free(step_in_parts(2, 2, 4, &sum, ids));
    ck_assert_mem_ne(ids, want_ids, sizeof ids);
    ck_assert_double_gt(fabs(sum - want_sum), 1e-3 * want_sum);
    sol_free(want);
    sol_model_free(&m);
}
END_TEST

START_TEST(teachers_that_do_not_fit)
{
    sol_distill d = {SOL_DISTILL_FORWARD_KL, 1, 0, 1, 0, 0, 0};
    sol_model *other = make_model(48, 3, 9);
    sol_graph *g;
    world w;
    world_make(&w, 1, other, SOL_F32);
    sol_graph_opts o = {
        .batch = B, .seq = T, .distill = &d, .teacher = w.teacher, .hidden_weight = 1};
    ck_fails(sol_graph_create(&g, w.ctx, w.student, NULL, &o, err), SOL_ERR_SHAPE,
             "hidden states of 2 layers of 32");
    o = (sol_graph_opts){.batch = B, .seq = T, .distill = &d};
    ck_fails(sol_graph_create(&g, w.ctx, w.student, NULL, &o, err), SOL_ERR_USAGE, "a cache holds");
    o.teacher = w.teacher;
    d.top_k = V + 1;
    ck_fails(sol_graph_create(&g, w.ctx, w.student, NULL, &o, err), SOL_ERR_RANGE,
             "51 most probable tokens of 50");
    d.top_k = 0;
    w.teacher->config.vocab_size = V - 1;
    ck_fails(sol_graph_create(&g, w.ctx, w.student, NULL, &o, err), SOL_ERR_SHAPE,
             "49 tokens, the model 50");
    world_free(&w);
    sol_model_free(&other);
}
END_TEST

enum { REAL_T = 128 };

/* Mean divergence of a model half way to 3:4 from itself in full precision, on the start of a
 * story. */
static double divergence(sol_ctx *ctx, const sol_model *m, const int32_t *tokens,
                         const sol_teacher *teacher, int64_t top_k, int64_t samples,
                         sol_distill_kind kind)
{
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_CHANNEL,
                           .scale_dtype = SOL_F16};
    sol_distill d = {kind, 1, top_k, 1, 0, 0, samples};
    sol_graph *g;
    double loss;
    int64_t n;
    sol_graph_opts o = {
        .batch = 1, .seq = REAL_T, .distill = &d, .teacher = teacher, .no_grad = true};
    ck_ok(sol_graph_create(&g, ctx, m, &spec, &o, err));
    for (uint64_t i = 0; sol_graph_starts(g) && i < REAL_T; i++)
        sol_graph_starts(g)[i] = sol_distill_start(1, i);
    sol_graph_begin_step(g, (sol_residual_mix){0.5f, 0.5f}, 1);
    sol_graph_loss(g, tokens, tokens + 1, NULL, &loss, &n);
    double sum = sol_graph_last_distilled(g).distill;
    sol_graph_free(&g);
    return sum / (double)n;
}

START_TEST(few_tokens_say_nearly_all_on_a_real_model)
{
    sol_model_file ck;
    sol_ctx *ctx;
    sol_teacher *teacher;
    sol_ids ids = {0};
    char *text;
    size_t size;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_file_read(&ck, "checkpoints/embedded.h5", SOL_F32, NULL, err));
    ck_ok(sol_file_read("data/sample/stories.txt", &text, &size, err));
    ck_ok(sol_tokenizer_encode(ck.tokenizer, text, size, SOL_ENCODE_BOS, &ids, err));
    sol_free(text);
    const sol_model *m = ck.model;
    ck_ok(sol_teacher_create(&teacher, ctx, m, SOL_F32, err));
    for (int kind = 0; kind < 2; kind++) {
        double full = divergence(ctx, m, ids.id, teacher, 0, 0, (sol_distill_kind)kind);
        double few = divergence(ctx, m, ids.id, teacher, 256, 0, (sol_distill_kind)kind);
        ck_assert_double_gt(full, 0.1);
        ck_assert_double_le(few, full + 1e-4);
        double drawn = divergence(ctx, m, ids.id, teacher, 12, 4, (sol_distill_kind)kind);
        if (kind ==
            SOL_DISTILL_FORWARD_KL) { /* 8 tokens and 4 of the others drawn say what 12 do not */
            ck_assert_double_lt(divergence(ctx, m, ids.id, teacher, 12, 0, SOL_DISTILL_FORWARD_KL),
                                0.97 * full);
            ck_assert_double_eq_tol(drawn, full, 0.03 * full);
        }
        /* The reverse divergence sees what a student that is still far away puts on tokens the
         * teacher excludes. */
        ck_assert_msg(few > (kind == SOL_DISTILL_FORWARD_KL ? 0.97 : 0.9) * full,
                      "kind %d: %g of %g", kind, few, full);
    }
    sol_teacher_free(&teacher);
    sol_ids_free(&ids);
    sol_model_file_free(&ck);
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("teacher", tcase_add_test(tc, a_model_agrees_with_itself);
              tcase_add_test(tc, gradients_are_slopes);
              tcase_add_test(tc, the_same_bits_everywhere); tcase_add_test(tc, relations_and_terms);
              tcase_add_test(tc, draws_depend_on_seed_and_place_alone);
              tcase_add_test(tc, teachers_that_do_not_fit);
              tcase_add_test(tc, few_tokens_say_nearly_all_on_a_real_model))
