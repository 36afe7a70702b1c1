/* The trainer stopped and resumed, on a tiny model: the bits of the undisturbed run, damaged
 * checkpoints, and one run a directory. tests/cli/train_kill.sh kills processes. */
#include "trainer_world.h"

#include <string.h>
#include <unistd.h>

static void expect_same_run(const world *w, const char *a, const char *b, int step)
{
    sol_checkpoint x, y;
    char *m = world_metrics(w, a), *n = world_metrics(w, b);
    ck_assert_str_eq(m, n);
    sol_free(m);
    sol_free(n);
    world_checkpoint(w, a, step, &x);
    world_checkpoint(w, b, step, &y);
    size_t bytes = (size_t)x.file.model->n_elements * sizeof(float);
    ck_assert_mem_eq(x.file.model->data, y.file.model->data, bytes);
    ck_assert_int_eq(x.optim->config.moments, y.optim->config.moments);
    size_t size = x.optim->config.moments == SOL_F32    ? 4
                  : x.optim->config.moments == SOL_BF16 ? 2
                                                        : 1;
    ck_assert_mem_eq(x.optim->m, y.optim->m, (size_t)x.file.model->n_elements * size);
    ck_assert_mem_eq(x.optim->v, y.optim->v, (size_t)x.file.model->n_elements * size);
    if (size == 1)
        ck_assert_mem_eq(x.optim->m_scale, y.optim->m_scale,
                         (size_t)x.optim->n_blocks * sizeof(float));
    if (size == 1)
        ck_assert_mem_eq(x.optim->v_scale, y.optim->v_scale,
                         (size_t)x.optim->n_blocks * sizeof(float));
    ck_assert_int_eq(x.optim->t, y.optim->t);
    ck_assert_uint_eq(x.state.drawn, y.state.drawn);
    ck_assert_uint_eq(x.state.step, y.state.step);
    ck_assert_uint_eq(x.state.best_step, y.state.best_step);
    ck_assert(x.state.best_eval_loss == y.state.best_eval_loss);
    ck_assert(x.state.ema_loss == y.state.ema_loss);
    sol_checkpoint_free(&x);
    sol_checkpoint_free(&y);
}

static void expect_same_file(const world *w, const char *a, const char *b)
{
    char path[160], *x, *y;
    size_t n, m;
    world_path(w, a, path);
    ck_ok(sol_file_read(path, &x, &n, err));
    world_path(w, b, path);
    ck_ok(sol_file_read(path, &y, &m, err));
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(x, y, n);
    sol_free(x);
    sol_free(y);
}

/* The undisturbed run against one that lost everything after its checkpoint three times, with other
 * thread counts. */
static void check_resume(const char *const *set)
{
    static const int stop_after[] = {2, 5, 10};
    world w;
    world_make(&w);
    ck_ok(world_run(&w, "a", set, false, err));
    for (int i = 0; i <= 3; i++) {
        sol_trainer *t;
        sol_config *c = world_job(&w, "b", set);
        sol_program_free(&w.program);
        w.program.threads = 1 + i % 3;
        ck_ok(world_open(&w, &t, c, i > 0, err));
        if (i == 3) {
            ck_ok(sol_trainer_run(t, err));
        } else {
            while (t->step < (uint64_t)stop_after[i]) ck_ok(sol_trainer_advance(t, err));
        }
        sol_trainer_free(&t);
        sol_config_free(&c);
        char path[160];
        world_path(&w, "b/metrics.jsonl", path);
        FILE *f = fopen(path, "a");
        if (i < 3)
            fputs("{\"step\": 99, \"tok", f); /* a line that a killed process did not finish */
        fclose(f);
    }
    expect_same_run(&w, "a", "b", 12);
    expect_same_file(&w, "a/study.h5", "b/study.h5");
    world_remove(&w);
}

START_TEST(a_resume_gives_the_same_bits)
{
    static const char *const sets[][5] = {
        {"study.every=2"},
        {"study.every=2", "train.param_dtype=bf16_stochastic", "optim.moments=bf16"},
        {"study.every=2", "train.param_dtype=bf16_nearest", "optim.moments=8bit"},
        {"study.every=2", "train.compute=bf16"},
        {"study.every=2", "distill.teacher=self", "distill.loss=cakld",
         "distill.hidden_weight=0.1"}};
    check_resume(sets[_i]);
}
END_TEST

START_TEST(one_run_a_directory)
{
    static const char *const other[] = {"optim.lr=0.02", NULL}, *const longer[] = {"train.steps=13",
                                                                                   NULL};
    static const char *const harmless[] = {"checkpoint.every=4", "run.threads=2", NULL};
    world w;
    sol_trainer *t, *u;
    world_make(&w);
    sol_config *c = world_job(&w, "a", NULL);
    ck_ok(world_open(&w, &t, c, false, err));
    ck_fails(world_open(&w, &u, c, true, err), SOL_ERR_LOCKED, "in use by process");
    ck_assert_ptr_null(u);
    while (t->step < 5) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    char *before = world_metrics(&w, "a");
    ck_fails(world_run(&w, "a", NULL, false, err), SOL_ERR_USAGE, "holds a run already; --resume");
    ck_fails(world_run(&w, "a", other, true, err), SOL_ERR_CONFIG,
             "another run: optim.lr: 0.01 -> 0.02");
    ck_fails(world_run(&w, "a", longer, true, err), SOL_ERR_CONFIG,
             "another run: train.steps: 12 -> 13");
    ck_assert_str_eq(w.warning, "");
    char *after = world_metrics(&w, "a");
    /* A refusal touches nothing, not even lines after the checkpoint. */
    ck_assert_str_eq(before, after);
    sol_free(before);
    sol_free(after);
    ck_ok(world_run(&w, "a", harmless, true, err));
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_put_aside)
{
    static const char *const longer[] = {"train.steps=13", NULL};
    world w;
    sol_trainer *t;
    char path[160];
    world_make(&w);
    ck_ok(world_run(&w, "a", NULL, false, err));
    sol_config *c = world_job(&w, "b", NULL);
    ck_ok(world_open(&w, &t, c, false, err));
    while (t->step < 7) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    world_path(&w, "b/ckpt/step-000006.h5", path);
    ck_assert_int_eq(truncate(path, 5000), 0);
    world_path(&w, "b/ckpt/step-000009.h5.tmp", path);
    ck_ok(sol_file_write(path, "half", 4, err));
    /* That checkpoint is whole. */
    ck_fails(world_run(&w, "b", longer, true, err), SOL_ERR_CONFIG, "/b/ckpt/step-000004.h5 ");
    ck_ok(world_run(&w, "b", NULL, true, err));
    ck_assert_ptr_nonnull(strstr(w.warning, "going back to step"));
    ck_assert_int_eq(world_count(&w, "b/ckpt", ".damaged"), 1);
    ck_assert_int_eq(world_count(&w, "b/ckpt", ".tmp"), 0);
    expect_same_run(&w, "a", "b", 12);
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(lost_metrics_do_not_stop_a_resume)
{
    world w;
    sol_trainer *t;
    char path[160];
    world_make(&w);
    sol_config *c = world_job(&w, "a", NULL);
    ck_ok(world_open(&w, &t, c, false, err));
    while (t->step < 6) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    world_path(&w, "a/metrics.jsonl", path);
    ck_assert_int_eq(unlink(path), 0);
    ck_ok(world_run(&w, "a", NULL, true, err));
    ck_assert_ptr_nonnull(strstr(w.warning, "lacks lines of steps before the checkpoint"));
    char *m = world_metrics(&w, "a");
    ck_assert_ptr_eq(strstr(m, "{\"step\": 7,"), m);
    sol_free(m);
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

/* Alone, and as three windows in four of a mixture. */
START_TEST(text_from_the_model_itself)
{
    static const char *const sets[][4] = {
        {"data.source=self", "data.self_tokens=500", "data.train="},
        {"data.source=self", "data.self_tokens=500", "data.self_weight=3"}};
    const char *const *set = sets[_i];
    world w;
    sol_trainer *t;
    char path[160];
    world_make(&w);
    ck_ok(world_run(&w, "a", set, false, err));
    sol_config *c = world_job(&w, "b", set);
    ck_ok(world_open(&w, &t, c, false, err));
    for (int i = 0; i < 4; i++) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    sol_config_free(&c);
    ck_ok(world_run(&w, "b", set, true, err));
    expect_same_run(&w, "a", "b", 12);
    world_path(&w, "a/tokens-self.h5", path);
    ck_assert(sol_file_exists(path));
    world_remove(&w);
}
END_TEST

SOL_TEST_MAIN("resume",
              tcase_add_loop_test(tc, a_resume_gives_the_same_bits, 0, SOL_TEST_SLOW ? 2 : 5);
              tcase_add_test(tc, one_run_a_directory);
              tcase_add_test(tc, a_damaged_checkpoint_is_put_aside);
              tcase_add_test(tc, lost_metrics_do_not_stop_a_resume);
              tcase_add_loop_test(tc, text_from_the_model_itself, 0, SOL_TEST_SLOW ? 1 : 2))
