/* The recorder beside a short real training: what it writes is what the formulas say, a resume
 * loses nothing, and the training does not notice. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "autograd/ops.h"

enum { BATCH = 2, SEQ = 16, TOKENS = BATCH * SEQ, STEPS = 12, EVERY = 4, MAX_LAYERS = 14 };

static char dir[64], path[96];

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/study.h5", dir);
}

static void teardown(void)
{
    sol_test_dir_remove(dir);
}

static const sol_quant_spec *sherry(void)
{
    static sol_quant_spec spec;
    spec = (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                            .granularity = SOL_PER_GROUP,
                            .group_size = 8,
                            .scale_dtype = SOL_F16};
    return &spec;
}

/* A training of two blocks that can stop, be saved and go on. */
typedef struct trainer {
    sol_ctx *ctx;
    sol_model *model;
    sol_adamw *optim;
    sol_graph *graph;
    sol_study *study; /* NULL: none */
    int64_t step, steps, every;
} trainer;

static sol_study_opts study_opts(void)
{
    return (sol_study_opts){
        .every = EVERY, .steps = STEPS, .layers = "all", .sample_rows = 12, .tokens = TOKENS};
}

static void trainer_make(trainer *t, int threads, bool study)
{
    sol_model_config c = {.vocab_size = 37,
                          .hidden_size = 16,
                          .intermediate_size = 24,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 4,
                          .num_key_value_heads = 2,
                          .head_dim = 4,
                          .max_position_embeddings = 64,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = -1,
                          .eos_token_id = -1};
    sol_adamw_config adamw = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f};
    *t = (trainer){.steps = STEPS, .every = EVERY};
    ck_ok(sol_ctx_create(&t->ctx, threads, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_model_create(&t->model, &c, SOL_F32, err));
    sol_model_init_random(t->ctx, t->model, 3);
    ck_ok(sol_adamw_create(&t->optim, t->model, &adamw, err));
    ck_ok(sol_graph_create(&t->graph, t->ctx, t->model, sherry(),
                           &(sol_graph_opts){.batch = BATCH, .seq = SEQ}, err));
    sol_study_opts o = study_opts();
    if (study) ck_ok(sol_study_create(&t->study, t->ctx, t->model, sherry(), &o, err));
}

static void trainer_free(trainer *t)
{
    sol_study_free(&t->study);
    sol_graph_free(&t->graph);
    sol_adamw_free(&t->optim);
    sol_model_free(&t->model);
    sol_ctx_free(&t->ctx);
}

/* Forward and backward of step t->step, watched when a record is due. */
static double gradients(trainer *t, bool due)
{
    int32_t tokens[TOKENS], targets[TOKENS];
    sol_rng rng = sol_rng_make((uint64_t)t->step, SOL_STREAM_TEST);
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t)sol_rng_below(&rng, 37);
        targets[i] = (tokens[i] * 5 + 1) % 37;
    }
    double loss;
    int64_t n;
    sol_graph_begin_step(t->graph, (sol_residual_mix){1, 0.25f}, 1);
    if (due) sol_study_watch(t->study, t->graph);
    sol_graph_accumulate(t->graph, tokens, targets, NULL, 1.0f / TOKENS, &loss, &n);
    return loss / TOKENS;
}

static void train_to(trainer *t, int64_t end)
{
    for (; t->step < end; t->step++) {
        bool due = t->study && sol_study_due(t->every, t->steps, t->step);
        double loss = gradients(t, due);
        sol_study_at at = {
            .step = t->step, .tokens = t->step * TOKENS, .lambda = 0.25, .lr = 0.01, .loss = loss};
        if (due) ck_ok(sol_study_record(t->study, t->graph, &at, err));
        sol_adamw_update(t->ctx, t->optim, t->model, sol_graph_grads(t->graph), 1, 0.01f);
    }
}

static void run_whole(const char *file, int threads)
{
    trainer t;
    trainer_make(&t, threads, true);
    ck_ok(sol_study_start(t.study, file, 0, err));
    train_to(&t, STEPS);
    trainer_free(&t);
}

static void same_files(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    ck_ok(sol_file_read(a, &x, &n, err));
    ck_ok(sol_file_read(b, &y, &m, err));
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(x[i] == y[i], "%s and %s differ at byte %zu of %zu", a, b, i, n);
    sol_free(x);
    sol_free(y);
}

typedef struct two_grads {
    int calls;
    float dy[2][2];
} two_grads;

static void note_two(void *user, const sol_op *op, const sol_var *in, const sol_op_call *call)
{
    two_grads *s = user;
    ck_assert_ptr_eq(op, &sol_op_linear);
    ck_assert_int_ge(in[1], 0);
    if (s->calls < 2) memcpy(s->dy[s->calls], call->out[0].grad, sizeof s->dy[0]);
    s->calls++;
}

/* dL/dY of two chained linear layers in closed form: what was asked for, and that times the
 * second's weights. */
START_TEST(tape_watch)
{
    sol_ctx *ctx;
    sol_tape *tape;
    two_grads seen = {0};
    float a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, grad_a[4] = {0}, grad_b[4] = {0};
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    ck_ok(sol_tape_create(&tape, ctx, err));
    sol_var x = sol_tape_input(tape, SOL_F32, sol_shape2(1, 2));
    sol_var wa = sol_tape_param(tape, SOL_F32, sol_shape2(2, 2), a, grad_a),
            wb = sol_tape_param(tape, SOL_F32, sol_shape2(2, 2), b, grad_b);
    sol_var y = sol_linear(tape, sol_linear(tape, x, wa, SOL_F32), wb, SOL_F32);
    ck_ok(sol_tape_plan(tape, y, &(sol_tape_opts){0}, err));
    ck_ok(sol_tape_allocate(tape, err));
    float *in = sol_tape_data(tape, x), *out = sol_tape_grad(tape, y);
    in[0] = in[1] = 1;
    sol_tape_watch(tape, note_two, &seen);
    for (int i = 0; i < 2; i++) {
        out[0] = 1, out[1] = -2;
        sol_tape_run_backward(tape, true, true);
        sol_tape_watch(tape, NULL, NULL); /* the second run is not seen */
    }
    ck_assert_int_eq(seen.calls, 2);
    ck_assert(seen.dy[0][0] == 1 && seen.dy[0][1] == -2);
    ck_assert(seen.dy[1][0] == 5 - 2 * 7 && seen.dy[1][1] == 6 - 2 * 8);
    sol_tape_free(&tape);
    sol_ctx_free(&ctx);
}
END_TEST

typedef struct seen {
    int calls;
    float dx[MAX_LAYERS][TOKENS * 24];
    const sol_param *param[MAX_LAYERS];
} seen;

static void note(void *user, const sol_param *p, const sol_operand *op, const sol_operand *d,
                 int64_t tokens)
{
    const float *w = op->data, *dy = d->data;
    seen *s = user;
    ck_assert_int_eq(tokens, TOKENS);
    ck_assert_int_lt(s->calls, MAX_LAYERS);
    float *dx = s->dx[s->calls];
    s->param[s->calls++] = p;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < p->cols; c++) {
            double sum = 0;
            for (int64_t r = 0; r < p->rows; r++)
                sum += (double)dy[t * p->rows + r] * (double)w[r * p->cols + c];
            dx[t * p->cols + c] = (float)sum;
        }
}

static double share_of_rank(const float *g, const int64_t *row, int64_t n, int64_t cols)
{
    float *sample = malloc((size_t)(n * cols) * sizeof *sample);
    double *work = malloc(sol_rank_work(n, cols) * sizeof *work);
    for (int64_t r = 0; r < n; r++)
        memcpy(sample + r * cols, g + row[r] * cols, (size_t)cols * sizeof *sample);
    double er = sol_effective_rank(sample, n, cols, work) / (double)(n < cols ? n : cols);
    free(sample);
    free(work);
    return er;
}

static const float *measure(const sol_study_run *r, int m, int64_t record)
{
    return r->measure[m] + record * r->n_layers;
}

/* The second record (step 4) of a run, against a training that is watched by hand. */
START_TEST(records_are_what_they_say)
{
    static seen s;
    sol_study_run run;
    trainer t;
    int64_t row[TOKENS];
    run_whole(path, 2);
    ck_ok(sol_study_run_read(&run, path, "x", err));
    ck_assert_int_eq(run.n_records, 4);
    ck_assert(run.step[0] == 0 && run.step[1] == 4 && run.step[2] == 8 && run.step[3] == 11);
    ck_assert_int_eq(run.n_layers, 14);
    ck_assert_str_eq(run.head.method, "sherry");
    ck_assert_double_eq(run.lambda[2], 0.25);
    trainer_make(&t, 1, false);
    gradients(&t, false);
    float *old_grads = malloc((size_t)t.model->n_elements * sizeof *old_grads);
    float *old_weights = malloc((size_t)t.model->n_elements * sizeof *old_weights);
    memcpy(old_grads, sol_graph_grads(t.graph), (size_t)t.model->n_elements * sizeof *old_grads);
    memcpy(old_weights, t.model->data, (size_t)t.model->n_elements * sizeof *old_weights);
    train_to(&t, 4);
    s.calls = 0;
    sol_graph_watch(t.graph, note, &s);
    double loss = gradients(&t, false);
    ck_assert_double_eq_tol(run.loss[1], loss, 1e-12);
    ck_assert_int_eq(s.calls, 14);
    for (int i = 0; i < run.n_layers; i++) {
        const sol_param *p = sol_model_param(t.model, run.layers[i].name);
        int64_t n = p->rows * p->cols, rows = sol_sample_rows(p->rows, 12, row);
        const float *g = sol_graph_grads(t.graph) + p->offset, *w = sol_model_f32(t.model, p);
        ck_assert_double_eq_tol(measure(&run, SOL_M_er_dw, 1)[i],
                                share_of_rank(g, row, rows, p->cols), 1e-5);
        double dot = 0, a = 0, b = 0;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < p->cols; c++) {
                double x = g[row[r] * p->cols + c], y = old_grads[p->offset + row[r] * p->cols + c];
                dot += x * y, a += x * x, b += y * y;
            }
        ck_assert_double_eq_tol(measure(&run, SOL_M_grad_cosine, 1)[i], dot / sqrt(a * b), 1e-5);
        a = 0;
        for (int64_t k = 0; k < n; k++) a += (double)g[k] * (double)g[k];
        ck_assert_double_eq_tol(measure(&run, SOL_M_grad_norm, 1)[i], sqrt(a), 1e-5 * sqrt(a));
        int8_t was[16 * 24], now[16 * 24];
        float scales[16 * 24];
        sol_quant_split(t.ctx, sherry(), old_weights + p->offset, p->rows, p->cols, was, scales);
        sol_quant_split(t.ctx, sherry(), w, p->rows, p->cols, now, scales);
        double flips = 0;
        for (int64_t k = 0; k < n; k++) flips += was[k] != now[k];
        ck_assert(flips > 0);
        ck_assert_double_eq_tol(measure(&run, SOL_M_state_flips, 1)[i], flips / (double)n, 1e-6);
        ck_assert_float_eq(measure(&run, SOL_M_unchanged, 1)[i], 0);
        int64_t sampled = sol_sample_rows(TOKENS, 12, row);
        for (int k = 0; k < 14; k++)
            if (s.param[k] == p)
                ck_assert_double_eq_tol(measure(&run, SOL_M_er_dx, 1)[i],
                                        share_of_rank(s.dx[k], row, sampled, p->cols), 1e-4);
    }
    ck_assert(isnan(measure(&run, SOL_M_state_flips, 0)[0]) &&
              isnan(measure(&run, SOL_M_grad_cosine, 0)[0]));
    ck_assert(!isnan(measure(&run, SOL_M_er_dx, 0)[0]));
    free(old_grads);
    free(old_weights);
    trainer_free(&t);
    sol_study_run_free(&run);
}
END_TEST

START_TEST(training_does_not_notice)
{
    trainer with, without;
    trainer_make(&with, 1, true);
    trainer_make(&without, 1, false);
    ck_ok(sol_study_start(with.study, path, 0, err));
    train_to(&with, 1);
    uint64_t before = sol_alloc_count();
    train_to(&with, STEPS);
    ck_assert_uint_eq(sol_alloc_count(), before);
    train_to(&without, STEPS);
    ck_assert_int_eq(memcmp(with.model->data, without.model->data,
                            (size_t)with.model->n_elements * sizeof(float)),
                     0);
    trainer_free(&with);
    trainer_free(&without);
}
END_TEST

START_TEST(threads_change_nothing)
{
    char other[96];
    snprintf(other, sizeof other, "%s/other.h5", dir);
    run_whole(path, 1);
    run_whole(other, 3);
    same_files(path, other);
}
END_TEST

/* Saved after 6 steps, killed after 10 (with the record of step 8 written), gone on from 6: the
 * same file as of a whole run. */
START_TEST(resume_is_exact)
{
    char whole[96];
    trainer t;
    size_t size;
    snprintf(whole, sizeof whole, "%s/whole.h5", dir);
    run_whole(whole, 1);
    trainer_make(&t, 1, true);
    ck_ok(sol_study_start(t.study, path, 0, err));
    train_to(&t, 6);
    const void *state = sol_study_state(t.study, &size);
    char *saved = malloc(size);
    memcpy(saved, state, size);
    size_t bytes = (size_t)t.model->n_elements * sizeof(float);
    char *model = malloc(bytes), *m = malloc(bytes), *v = malloc(bytes);
    memcpy(model, t.model->data, bytes);
    memcpy(m, t.optim->m, bytes);
    memcpy(v, t.optim->v, bytes);
    int64_t updates = t.optim->t;
    train_to(&t, 10);
    trainer_free(&t);

    trainer_make(&t, 1, true);
    memcpy(t.model->data, model, bytes);
    memcpy(t.optim->m, m, bytes);
    memcpy(t.optim->v, v, bytes);
    t.optim->t = updates;
    t.step = 6;
    ck_ok(sol_study_start(t.study, path, 6, err));
    ck_ok(sol_study_restore(t.study, saved, size, err));
    ck_fails(sol_study_restore(t.study, saved, size - 1, err), SOL_ERR_FORMAT,
             "of other layers or samples");
    train_to(&t, STEPS);
    trainer_free(&t);
    same_files(path, whole);
    free(saved), free(model), free(m), free(v);
}
END_TEST

/* A file has room for the records of its run and no more, so that a resume at any step, also
 * behind the last one, leaves its bits alone. */
START_TEST(room_is_exact)
{
    char before[96];
    snprintf(before, sizeof before, "%s/before.h5", dir);
    for (int64_t every = 1; every <= STEPS + 1; every++) {
        trainer t;
        sol_study_opts o = study_opts();
        char *data;
        size_t n;
        o.every = every;
        trainer_make(&t, 1, false);
        t.every = every;
        ck_ok(sol_study_create(&t.study, t.ctx, t.model, sherry(), &o, err));
        ck_ok(sol_study_start(t.study, path, 0, err));
        train_to(&t, STEPS);
        ck_ok(sol_file_read(path, &data, &n, err));
        ck_ok(sol_file_write(before, data, n, err));
        sol_free(data);
        ck_ok(sol_study_start(t.study, path, STEPS, err));
        same_files(path, before);
        trainer_free(&t);
    }
}
END_TEST

START_TEST(longer_and_other_runs)
{
    trainer t;
    sol_study_run run;
    sol_study *s;
    sol_study_opts o = study_opts();
    run_whole(path, 1);
    trainer_make(&t, 1, false);
    o.steps = t.steps = 40; /* more steps than the file has room for */
    ck_ok(sol_study_create(&s, t.ctx, t.model, sherry(), &o, err));
    ck_ok(sol_study_start(s, path, STEPS, err));
    t.study = s;
    t.step = STEPS;
    train_to(&t, 40);
    ck_ok(sol_study_run_read(&run, path, "x", err));
    ck_assert_int_eq(run.n_records, 4 + 8);
    ck_assert(run.step[3] == 11 && run.step[4] == 12 && run.step[11] == 39);
    ck_assert(isnan(measure(&run, SOL_M_state_flips, 4)[0])); /* no state was restored */
    sol_study_run_free(&run);
    sol_study_free(&t.study);
    o.layers = "1";
    ck_ok(sol_study_create(&t.study, t.ctx, t.model, sherry(), &o, err));
    ck_fails(sol_study_start(t.study, path, STEPS, err), SOL_ERR_CONFIG,
             "holds records of other layers or samples");
    trainer_free(&t);
}
END_TEST

START_TEST(selection)
{
    static const struct {
        const char *terms;
        int n;
    } good[] = {{"all", 14},
                {"0", 7},
                {"0-1", 14},
                {"1,down_proj", 8},
                {" q_proj , k_proj", 4},
                {"layers.1.mlp", 3},
                {"self_*.o", 2}};
    static const char *const bad[] = {"2", "embed_tokens", "norm", "0,nothing", "0-", "", ","};
    trainer t;
    bool *chosen;
    int n;
    trainer_make(&t, 1, false);
    ck_ok(sol_alloc_array((void **)&chosen, (size_t)t.model->n_params, sizeof *chosen, err));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_ok(sol_study_select(t.model, good[i].terms, chosen, &n, err));
        ck_assert_msg(n == good[i].n, "'%s': %d layers", good[i].terms, n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_fails(sol_study_select(t.model, bad[i], chosen, &n, err), SOL_ERR_CONFIG,
                 ", expected all,");
    sol_free(chosen);
    trainer_free(&t);
}
END_TEST

/* Full precision is looked at as 3:4 would round it; groups that do not fit give way to channels.
 */
START_TEST(full_precision_and_static)
{
    trainer t;
    sol_study *s;
    sol_study_run run, still;
    sol_study_opts o = study_opts();
    sol_quant_spec none = {.granularity = SOL_PER_GROUP, .group_size = 128, .scale_dtype = SOL_F16},
                   by_channel = none;
    trainer_make(&t, 1, false);
    ck_ok(sol_study_create(&s, t.ctx, t.model, &none, &o, err));
    ck_ok(sol_study_start(s, path, 0, err));
    t.study = s;
    train_to(&t, 1);
    trainer_free(&t);
    ck_ok(sol_study_run_read(&run, path, "fp", err));
    ck_assert_str_eq(run.head.method, "none");
    ck_assert_str_eq(run.head.granularity, "per_channel");
    trainer_make(&t, 1, false);
    by_channel.method = sol_quantizer_find("sherry");
    by_channel.granularity = SOL_PER_CHANNEL;
    ck_ok(sol_study_run_static(&still, t.ctx, t.model, &none, "m", err));
    ck_assert_str_eq(still.head.method, "none");
    ck_assert_str_eq(still.head.granularity, "per_channel");
    sol_study_run_free(&still);
    ck_ok(sol_study_run_static(&still, t.ctx, t.model, &by_channel, "m", err));
    ck_assert_str_eq(still.head.method, "sherry");
    ck_assert(still.is_static && still.n_records == 1 && still.n_layers == 14);
    for (int i = 0; i < 14; i++) {
        ck_assert_float_eq(measure(&still, SOL_M_nmse, 0)[i], measure(&run, SOL_M_nmse, 0)[i]);
        ck_assert_float_eq(measure(&still, SOL_M_kurtosis, 0)[i],
                           measure(&run, SOL_M_kurtosis, 0)[i]);
        ck_assert(isnan(measure(&still, SOL_M_er_dw, 0)[i]));
    }
    ck_assert_int_eq(memcmp(still.hist[0], run.hist[0], 14 * SOL_HIST_X_BINS * sizeof(uint32_t)),
                     0);
    ck_fails(sol_study_runs_check((sol_study_run[]){run, still}, 2, err), SOL_ERR_USAGE,
             "cannot stand in one report");
    still.is_static = false;
    still.layers[3].rows++;
    ck_fails(sol_study_runs_check((sol_study_run[]){run, still}, 2, err), SOL_ERR_SHAPE,
             "o_proj.weight is [16, 16] in one and [17, 16]");
    still.n_layers = 13;
    ck_fails(sol_study_runs_check((sol_study_run[]){run, still}, 2, err), SOL_ERR_SHAPE,
             "14 and 13 layers");
    sol_study_run_free(&run);
    sol_study_run_free(&still);
    trainer_free(&t);
}
END_TEST

SOL_TEST_MAIN("study recorder", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, tape_watch); tcase_add_test(tc, records_are_what_they_say);
              tcase_add_test(tc, training_does_not_notice);
              tcase_add_test(tc, threads_change_nothing); tcase_add_test(tc, resume_is_exact);
              tcase_add_test(tc, room_is_exact); tcase_add_test(tc, longer_and_other_runs);
              tcase_add_test(tc, selection); tcase_add_test(tc, full_precision_and_static))
