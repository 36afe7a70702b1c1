/* The trainer on a tiny model: everything that does not need a second process: steps, evaluation,
 * refusals (a run that goes on: test_resume.c). tests/cli/train_*.sh has the rest. */
#include "trainer_world.h"

#include <math.h>
#include <string.h>

START_TEST(a_line_of_metrics)
{
    char line[SOL_STEP_LINE];
    sol_step_record r = {.step = 3,
                         .tokens = 192,
                         .loss = 2.5,
                         .lambda = 0.25,
                         .lr = 1e-4,
                         .grad_norm = INFINITY,
                         .tok_s = 10,
                         .skipped = true};
    size_t n = sol_step_record_json(&r, line);
    ck_assert_uint_eq(n, strlen(line));
    ck_assert_str_eq(line, "{\"step\": 3, \"tokens\": 192, \"loss\": 2.5, \"lr\": 0.0001, "
                           "\"lambda\": 0.25, \"grad_norm\": null, "
                           "\"skipped\": true, \"tok_s\": 10}\n");
    r = (sol_step_record){.step = UINT64_MAX,
                          .tokens = UINT64_MAX,
                          .loss = -1.23456789e-300,
                          .lambda = -1.23456789e-300,
                          .lr = -1.23456789e-300,
                          .grad_norm = -1.23456789e-300,
                          .tok_s = -1.23456789e-300,
                          .skipped = true,
                          .has_eval = true,
                          .has_packed = true,
                          .eval_loss = -1.23456789e-300,
                          .packed_loss = -1.23456789e-300};
    ck_assert_uint_lt(sol_step_record_json(&r, line), sizeof line);
}
END_TEST

START_TEST(a_whole_run)
{
    world w;
    sol_checkpoint first, last;
    world_make(&w);
    ck_ok(world_run(&w, "a", NULL, false, err));
    ck_assert_str_eq(w.warning, "");
    char *m = world_metrics(&w, "a");
    int lines = 0, evals = 0, packed = 0;
    double loss = 0, first_loss = 0;
    for (char *line = strtok(m, "\n"); line; line = strtok(NULL, "\n")) {
        lines++;
        evals += strstr(line, "eval_loss") != NULL;
        packed += strstr(line, "packed_loss") != NULL;
        ck_assert_int_eq(sscanf(strstr(line, "\"loss\""), "\"loss\": %lf", &loss), 1);
        if (lines == 1) first_loss = loss;
    }
    sol_free(m);
    ck_assert_int_eq(lines, 12);
    ck_assert_int_eq(evals, 3);
    ck_assert_int_eq(packed, 3);
    ck_assert_double_lt(loss, first_loss - 1.0);
    ck_assert_double_gt(first_loss, log(WORLD_VOCAB) - 1.0);
    world_checkpoint(&w, "a", 12, &last);
    ck_assert_uint_eq(last.state.step, 12);
    ck_assert_uint_eq(last.state.tokens, 12 * 2 * 2 * WORLD_SEQ);
    ck_assert_int_eq(last.optim->t, 12);
    ck_assert_uint_gt(last.state.best_step, 0);
    world_checkpoint(&w, "a", 9, &first);
    sol_checkpoint_free(&first);
    sol_checkpoint_free(&last);
    ck_assert_int_eq(world_count(&w, "a/ckpt", ".tmp"), 0);
    char path[160];
    world_path(&w, "a/ckpt/best.h5", path);
    ck_assert(sol_file_exists(path));
    world_path(&w, "a/config.yaml", path);
    ck_assert(sol_file_exists(path));
    ck_ok(world_run(&w, "a", NULL, true, err)); /* nothing is left to do */
    world_remove(&w);
}
END_TEST

/* An update inside the backward pass gives the bits of the one after it, in every storage. */
START_TEST(a_fused_update_gives_the_same_bits)
{
    static const char *const storage[][2] = {
        {"train.param_dtype=fp32", "optim.moments=fp32"},
        {"train.param_dtype=bf16_stochastic", "optim.moments=8bit"}};
    const char *set[] = {"train.grad_clip=0",
                         "train.accumulate=1",
                         NULL,
                         NULL,
                         "optim.fused=false",
                         NULL,
                         NULL,
                         NULL};
    world w;
    sol_checkpoint a, b;
    world_make(&w);
    for (int i = 0; i < 4; i++) {
        char run[16];
        snprintf(run, sizeof run, "f%d", i);
        set[2] = storage[i / 2][0];
        set[3] = storage[i / 2][1];
        set[4] = i % 2 ? "optim.fused=true" : "optim.fused=false";
        set[5] = i % 2 ? "train.activation_checkpoints=true" : "train.activation_checkpoints=false";
        set[6] = i / 2 ? "distill.teacher=self" : NULL;
        sol_program_free(&w.program);
        w.program.threads = 1 + i % 2;
        ck_ok(world_run(&w, run, set, false, err));
    }
    for (int i = 0; i < 4; i += 2) {
        world_checkpoint(&w, i ? "f2" : "f0", 12, &a);
        world_checkpoint(&w, i ? "f3" : "f1", 12, &b);
        size_t n = (size_t)a.file.model->n_elements;
        ck_assert_mem_eq(a.file.model->data, b.file.model->data, n * sizeof(float));
        ck_assert_mem_eq(a.optim->m, b.optim->m, n * (i ? 1 : 4));
        ck_assert_mem_eq(a.optim->v, b.optim->v, n * (i ? 1 : 4));
        ck_assert(a.state.best_eval_loss == b.state.best_eval_loss &&
                  a.state.ema_loss == b.state.ema_loss);
        sol_checkpoint_free(&a);
        sol_checkpoint_free(&b);
    }
    set[4] = "optim.fused=true";
    set[5] = set[6] = NULL;
    static const char *const refused[][2] = {
        {"train.grad_clip=1", "needs train.grad_clip 0, not 1"},
        {"train.accumulate=2", "needs train.accumulate 1, not 2"},
        {"study.every=2", "study.every 2"},
        {"quant.method=lsq", "not for lsq"}};
    set[2] = "train.param_dtype=fp32";
    for (int i = 0; i < 4; i++) {
        set[5] = refused[i][0];
        ck_fails(world_run(&w, "g", set, false, err), SOL_ERR_CONFIG, refused[i][1]);
    }
    world_remove(&w);
}
END_TEST

/* A fused step that is not finite moves nothing when the loss shows it. */
START_TEST(a_fused_step_that_is_not_finite)
{
    static const char *const set[] = {"train.grad_clip=0",     "train.accumulate=1",
                                      "optim.fused=true",      "train.eval_every=0",
                                      "checkpoint.every=1000", NULL};
    world w;
    sol_trainer *t;
    world_make(&w);
    sol_config *c = world_job(&w, "a", set);
    ck_ok(world_open(&w, &t, c, false, err));
    ck_ok(sol_trainer_advance(t, err));
    size_t bytes = (size_t)t->model->n_elements * sizeof(float);
    float *x = sol_model_f32(t->model, sol_model_final_norm(t->model)), *copy = malloc(bytes);
    *x = NAN;
    memcpy(copy, t->model->data, bytes);
    ck_ok(sol_trainer_advance(t, err));
    ck_assert_mem_eq(copy, t->model->data, bytes);
    ck_assert_uint_eq(t->skipped, 1);
    ck_assert_int_eq(t->optim->t, 1);
    *x = 1;
    uint64_t before = sol_alloc_count();
    ck_ok(sol_trainer_advance(t, err));
    ck_assert_uint_eq(sol_alloc_count(), before);
    ck_assert_int_eq(t->optim->t, 2);
    ck_assert_int_ne(memcmp(copy, t->model->data, bytes), 0);
    free(copy);
    sol_trainer_free(&t);
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

/* The packed loss alone: the same figure, and what the best checkpoint goes by. */
START_TEST(only_the_packed_form_is_evaluated)
{
    world w;
    sol_checkpoint a, b;
    world_make(&w);
    ck_ok(world_run(&w, "a", NULL, false, err));
    ck_ok(world_run(&w, "b", (const char *const[]){"train.eval_form=packed", NULL}, false, err));
    char *both = world_metrics(&w, "a"), *packed = world_metrics(&w, "b");
    ck_assert_ptr_null(strstr(packed, "eval_loss"));
    const char *x = strstr(both, "packed_loss"), *y = strstr(packed, "packed_loss");
    ck_assert(x && y && strncmp(x, y, strcspn(x, "}\n")) == 0);
    world_checkpoint(&w, "a", 12, &a);
    world_checkpoint(&w, "b", 12, &b);
    ck_assert_mem_eq(a.file.model->data, b.file.model->data,
                     (size_t)a.file.model->n_elements * sizeof(float));
    ck_assert_uint_gt(b.state.best_step, 0);
    ck_assert_double_eq_tol(a.state.best_eval_loss, b.state.best_eval_loss, 0.05);
    ck_fails(
        world_run(&w, "c",
                  (const char *const[]){"train.eval_form=packed", "quant.method=absmean", NULL},
                  false, err),
        SOL_ERR_CONFIG,
        "packed needs a method that can be packed, with scales in fp16, not absmean in fp16");
    sol_free(both);
    sol_free(packed);
    sol_checkpoint_free(&a);
    sol_checkpoint_free(&b);
    world_remove(&w);
}
END_TEST

/* The three ways of holding parameters are three different runs, and the file holds what they are
 * in memory. */
START_TEST(storage_of_parameters)
{
    static const char *const word[] = {"fp32", "bf16_stochastic", "bf16_nearest"};
    sol_checkpoint ck[3];
    world w;
    world_make(&w);
    for (int i = 0; i < 3; i++) {
        char run[16], set[64];
        snprintf(run, sizeof run, "r%d", i);
        snprintf(set, sizeof set, "train.param_dtype=%s", word[i]);
        ck_ok(world_run(&w, run, (const char *const[]){set, NULL}, false, err));
        world_checkpoint(&w, run, 12, &ck[i]);
        const uint32_t *bits = ck[i].file.model->data;
        uint32_t low = 0;
        for (int64_t k = 0; k < ck[i].file.model->n_elements; k++) low |= bits[k] & 0xffff;
        ck_assert(i == 0 ? low != 0 : low == 0);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_ne(memcmp(ck[i].file.model->data, ck[(i + 1) % 3].file.model->data,
                                (size_t)ck[i].file.model->n_elements * 4),
                         0);
    ck_fails(world_run(&w, "r1", (const char *const[]){"train.param_dtype=fp32", NULL}, true, err),
             SOL_ERR_CONFIG, "another run: train.param_dtype: bf16_stochastic -> fp32");
    ck_fails(
        world_run(&w, "r3",
                  (const char *const[]){"train.param_dtype=bf16_nearest", "quant.method=lsq", NULL},
                  false, err),
        SOL_ERR_CONFIG, "key 'train.param_dtype': lsq learns");
    for (int i = 0; i < 3; i++) sol_checkpoint_free(&ck[i]);
    world_remove(&w);
}
END_TEST

START_TEST(a_step_allocates_nothing)
{
    static const char *const set[] = {"train.eval_every=0", "checkpoint.every=1000",
                                      "study.every=2", NULL};
    world w;
    sol_trainer *t;
    world_make(&w);
    sol_config *c = world_job(&w, "a", set);
    ck_ok(world_open(&w, &t, c, false, err));
    ck_ok(sol_trainer_advance(t, err));
    uint64_t before = sol_alloc_count();
    for (int i = 0; i < 5; i++) ck_ok(sol_trainer_advance(t, err));
    ck_assert_uint_eq(sol_alloc_count(), before);
    sol_trainer_free(&t);
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(a_step_that_is_not_finite_is_skipped)
{
    static const char *const set[] = {"train.max_skipped=2", "checkpoint.every=2",
                                      "train.eval_every=0", NULL};
    world w;
    sol_trainer *t;
    world_make(&w);
    sol_config *c = world_job(&w, "a", set);
    ck_ok(world_open(&w, &t, c, false, err));
    ck_ok(sol_trainer_advance(t, err));
    ck_ok(sol_trainer_advance(t, err));
    float *x = sol_model_f32(t->model, sol_model_final_norm(t->model)), keep = *x;
    float other = x[1];
    *x = NAN;
    ck_ok(sol_trainer_advance(t, err));
    ck_assert_uint_eq(t->skipped, 1);
    ck_assert_int_eq(t->optim->t, 2);
    ck_assert(x[1] == other);
    ck_assert_ptr_nonnull(strstr(w.warning, "step 3: loss nan"));
    *x = keep;
    ck_ok(sol_trainer_advance(t, err));
    ck_assert_int_eq(t->optim->t, 3);
    ck_assert_int_eq(t->saved_step, 4);
    *x = INFINITY;
    ck_ok(sol_trainer_advance(t, err));
    ck_fails(sol_trainer_run(t, err), SOL_ERR_NONFINITE,
             "3 skipped steps are more than train.max_skipped; the last checkpoint is of step 4");
    sol_trainer_free(&t);
    sol_config_free(&c);
    char *m = world_metrics(&w, "a");
    ck_assert_ptr_nonnull(strstr(m, "{\"step\": 3, \"tokens\": 192, \"loss\": null"));
    sol_free(m);
    sol_checkpoint ck;
    world_checkpoint(&w, "a", 4, &ck);
    ck_assert_uint_eq(ck.state.skipped, 1);
    sol_checkpoint_free(&ck);
    world_remove(&w);
}
END_TEST

START_TEST(without_a_quantizer)
{
    static const char *const set[] = {"quant.method=none", NULL}, *const dense[] = {
                                                                      "quant.method=absmean", NULL};
    world w;
    world_make(&w);
    ck_ok(world_run(&w, "fp", set, false, err));
    char *m = world_metrics(&w, "fp");
    ck_assert_ptr_null(strstr(m, "packed_loss"));
    ck_assert_ptr_nonnull(strstr(m, "\"lambda\": 0,"));
    sol_free(m);
    ck_ok(world_run(&w, "dense", dense, false, err));
    m = world_metrics(&w, "dense");
    ck_assert_ptr_null(strstr(m, "packed_loss"));
    ck_assert_ptr_nonnull(strstr(m, "eval_loss"));
    sol_free(m);
    world_remove(&w);
}
END_TEST

static void expect_refusal(world *w, const char *set, sol_status status, const char *part)
{
    const char *const sets[] = {set, NULL};
    char path[160];
    ck_fails(world_run(w, "refused", sets, false, err), status, part);
    world_path(w, "refused", path);
    ck_assert_msg(!sol_file_exists(path), "%s: left a run directory behind", set);
}

/* Of the packed model, in the lines of the evaluations, and the same as a run of the task alone. */
START_TEST(tasks_go_into_the_metrics)
{
    world w;
    char path[160], name[200], last_step[160];
    sol_net *net;
    sol_task *task;
    sol_task_opts o = {0};
    sol_task_result r;
    world_make(&w);
    world_path(&w, "piqa.jsonl", path);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 7; i++)
        fprintf(f, "{\"goal\": \"a%d\", \"sol1\": \"b c%d\", \"sol2\": \"d\", \"label\": %d}\n", i,
                i, i % 2);
    fclose(f);
    snprintf(name, sizeof name, "eval.tasks=piqa=%s", path);
    const char *const set[] = {name, "eval.limit=5", NULL};
    ck_ok(world_run(&w, "a", set, false, err));
    char *m = world_metrics(&w, "a"), *line = m, *at;
    int lines = 0;
    double acc = -1, norm = -1;
    long long items = 0;
    for (; (at = strstr(line, "\"tasks\": {")) != NULL; line = at + 1, lines++)
        ck_assert_int_eq(
            sscanf(at, "\"tasks\": {\"piqa\": {\"acc\": %lf, \"acc_norm\": %lf, \"items\": %lld}}",
                   &acc, &norm, &items),
            3);
    sol_free(m);
    ck_assert_int_eq(lines, 3);
    ck_assert_int_eq(items, 5);
    world_path(&w, "a/ckpt/step-000012.h5", last_step);
    sol_model_file c;
    sol_packed_model packed = {0};
    sol_ctx *ctx;
    ck_ok(sol_program_ctx(&w.program, &ctx, err));
    ck_ok(sol_model_file_read(&c, last_step, SOL_F32, NULL, err));
    ck_ok(sol_packed_model_from(ctx, &packed, c.model, &c.quant, SOL_F16, NULL, err));
    packed.tokenizer = c.tokenizer; /* lent */
    ck_ok(sol_net_from_packed(&net, ctx, &packed, NULL, err));
    ck_ok(sol_task_read(&task, sol_task_find("piqa"), path, 5, err));
    ck_ok(sol_task_run(net, task, &o, &r, err));
    ck_assert_double_eq_tol(r.acc, acc, 1e-6);
    ck_assert_double_eq_tol(r.acc_norm, norm, 1e-6);
    sol_task_free(&task);
    sol_net_free(&net);
    packed.tokenizer = NULL;
    sol_packed_model_free(&packed);
    sol_model_file_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(bad_input_is_refused_and_leaves_nothing)
{
    world w;
    char path[160], set[240];
    sol_tokenizer *t;
    world_make(&w);
    expect_refusal(&w, "model.init=/nowhere/m.h5", SOL_ERR_IO,
                   "--set: key 'model.init': /nowhere/m.h5");
    expect_refusal(&w, "data.train=/nowhere/d.h5", SOL_ERR_IO, "key 'data.train': /nowhere/d.h5");
    expect_refusal(&w, "data.eval=/nowhere/d.h5", SOL_ERR_IO, "key 'data.eval': /nowhere/d.h5");
    expect_refusal(&w, "eval.tasks=piqqa", SOL_ERR_CONFIG,
                   "--set: key 'eval.tasks': unknown task 'piqqa'; did you mean 'piqa'?");
    expect_refusal(&w, "eval.tasks=piqa=/nowhere.jsonl", SOL_ERR_CONFIG,
                   "key 'eval.tasks': /nowhere.jsonl");
    expect_refusal(&w, "train.seq=65", SOL_ERR_CONFIG, "65 is more than the model's 64 positions");
    expect_refusal(&w, "quant.group_size=24", SOL_ERR_SHAPE, "q_proj");
    snprintf(set, sizeof set, "data.train=%s/model.h5", w.dir);
    expect_refusal(&w, set, SOL_ERR_FORMAT, "data.train");
    snprintf(set, sizeof set, "model.init=%s/train.h5", w.dir);
    expect_refusal(&w, set, SOL_ERR_FORMAT, "is a dataset, not a model to train");
    snprintf(set, sizeof set, "model.init=%s/text.txt", w.dir);
    expect_refusal(&w, set, SOL_ERR_FORMAT, "text.txt");
    ck_fails(world_run(&w, "text.txt", NULL, false, err), SOL_ERR_IO, "text.txt");

    world_path(&w, "tokenizer.json", path);
    ck_ok(sol_tokenizer_open(&t, path, err));
    world_model(&w, "nan.h5", t, NAN);
    sol_tokenizer_free(&t);
    snprintf(set, sizeof set, "model.init=%s/nan.h5", w.dir);
    const char *const nan[] = {set, "train.max_skipped=1", NULL};
    ck_fails(world_run(&w, "nan", nan, false, err), SOL_ERR_NONFINITE,
             "there is no checkpoint yet");
    world_remove(&w);
}
END_TEST

SOL_TEST_MAIN("trainer", tcase_add_test(tc, a_line_of_metrics); tcase_add_test(tc, a_whole_run);
              tcase_add_test(tc, only_the_packed_form_is_evaluated);
              tcase_add_test(tc, storage_of_parameters);
              tcase_add_test(tc, a_fused_update_gives_the_same_bits);
              tcase_add_test(tc, a_fused_step_that_is_not_finite);
              tcase_add_test(tc, a_step_allocates_nothing);
              tcase_add_test(tc, a_step_that_is_not_finite_is_skipped);
              tcase_add_test(tc, without_a_quantizer);
              tcase_add_test(tc, tasks_go_into_the_metrics);
              tcase_add_test(tc, bad_input_is_refused_and_leaves_nothing))
