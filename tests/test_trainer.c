/* The trainer on a tiny model: everything that does not need a second process. tests/cli/train_*.sh
 * has the rest. */
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "../train/trainer.h"

enum { VOCAB = 280, SEQ = 16, DOCS = 120 };

typedef struct world {
    char dir[64];
    char warning[2048]; /* the warnings of the trainer, one after the other */
    sol_program program;
} world;

static void on_log(void *user, sol_log_level level, const char *text)
{
    world *w = user;
    size_t n = strlen(w->warning);
    if (level == SOL_LOG_WARN) snprintf(w->warning + n, sizeof w->warning - n, "%s\n", text);
}

static void path_in(const world *w, const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", w->dir, name);
}

/* Sentences with a grammar, so that there is something to learn. */
static void make_text(const world *w)
{
    static const char *const who[] = {"the cat", "a dog", "our bird"}, *const what[] = {"sees",
                                                                                        "likes",
                                                                                        "hears"};
    char path[160];
    path_in(w, "text.txt", path);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 400; i++)
        fprintf(f, "%s %s %s.\n", who[i % 3], what[i / 3 % 3], who[i / 9 % 3]);
    fclose(f);
}

static void make_dataset(const world *w, const char *name, const sol_tokenizer *t, int seed,
                         int bad_id)
{
    char path[160];
    sol_dataset_writer *out;
    path_in(w, name, path);
    ck_ok(sol_dataset_writer_open(&out, path, VOCAB, sol_tokenizer_hash(t), err));
    for (int d = 0; d < DOCS; d++) {
        static const char *const who[] = {"the cat", "a dog", "our bird"}, *const what[] = {
                                                                               "sees", "likes",
                                                                               "hears"};
        char text[128];
        sol_ids ids = {0};
        int k = d * 7 + seed;
        int n =
            snprintf(text, sizeof text, "%s %s %s.", who[k % 3], what[k / 3 % 3], who[k / 9 % 3]);
        ck_ok(sol_tokenizer_encode(t, text, (size_t)n, SOL_ENCODE_BOS, &ids, err));
        if (bad_id && d == 5) ids.id[1] = bad_id;
        ck_ok(sol_dataset_writer_add(out, ids.id, ids.n, err));
        sol_ids_free(&ids);
    }
    ck_ok(sol_dataset_writer_close(&out, err));
}

static void make_model(const world *w, const char *name, sol_tokenizer *t, float poison)
{
    char path[160];
    sol_model_config c = {.vocab_size = VOCAB,
                          .hidden_size = 32,
                          .intermediate_size = 64,
                          .num_hidden_layers = 2,
                          .num_attention_heads = 2,
                          .num_key_value_heads = 1,
                          .head_dim = 16,
                          .max_position_embeddings = 64,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = sol_tokenizer_bos(t),
                          .eos_token_id = sol_tokenizer_eos(t)};
    sol_model_file file = {.tokenizer = t};
    ck_ok(sol_model_create(&file.model, &c, SOL_F32, err));
    sol_model_init_random(NULL, file.model, 3);
    if (poison != 0) sol_model_f32(file.model, sol_model_final_norm(file.model))[0] = poison;
    path_in(w, name, path);
    ck_ok(sol_model_file_write(&file, path, SOL_F32, err));
    file.tokenizer = NULL;
    sol_model_file_free(&file);
}

static void world_make(world *w)
{
    char text[160], json[160];
    const char *files[1] = {text};
    sol_tokenizer *t;
    memset(w, 0, sizeof *w);
    sol_test_dir_make(w->dir);
    make_text(w);
    path_in(w, "text.txt", text);
    path_in(w, "tokenizer.json", json);
    sol_bpe_opts bpe = {.files = files, .n_files = 1, .vocab_size = VOCAB};
    ck_ok(sol_bpe_train(&bpe, json, err));
    ck_ok(sol_tokenizer_open(&t, json, err));
    make_dataset(w, "train.h5", t, 0, 0);
    make_dataset(w, "eval.h5", t, 3, 0);
    make_model(w, "model.h5", t, 0);
    sol_tokenizer_free(&t);
    sol_program_init(&w->program);
    w->program.terminal = false;
    w->program.log = (sol_log){.line = on_log, .user = w};
    w->program.threads = 1;
}

static void world_remove(world *w)
{
    sol_program_free(&w->program);
    sol_test_dir_remove(w->dir);
}

/* The job in YAML; run is the name of the run directory, more is more YAML. */
static sol_config *make_job(const world *w, const char *run, const char *const *set)
{
    char yaml[1200];
    sol_config *c;
    int n = snprintf(
        yaml, sizeof yaml,
        "run: {dir: %s/%s, seed: 5}\nmodel: {init: %s/model.h5}\ndata: {train: %s/train.h5, eval: "
        "%s/eval.h5}\n"
        "quant: {group_size: 16}\ntrain: {steps: 12, batch: 2, seq: %d, accumulate: 2, eval_every: "
        "4, log_every: "
        "1000}\n"
        "optim: {lr: 0.01, schedule: cosine, warmup_steps: 2}\ncheckpoint: {every: 3, keep: 2}\n",
        w->dir, run, w->dir, w->dir, w->dir, SEQ);
    ck_ok(sol_config_parse(&c, "job.yaml", yaml, (size_t)n, err));
    for (; set && *set; set++) ck_ok(sol_config_set(c, *set, err));
    return c;
}

static sol_status open_job(world *w, sol_trainer **t, sol_config *c, bool resume, sol_err *err)
{
    sol_status st = sol_config_finish(c, err);
    *t = NULL;
    return st == SOL_OK ? sol_trainer_open(t, &w->program, c, resume, err) : st;
}

static sol_status run_job(world *w, const char *run, const char *const *set, bool resume,
                          sol_err *err)
{
    sol_trainer *t;
    sol_config *c = make_job(w, run, set);
    sol_status st = open_job(w, &t, c, resume, err);
    if (st == SOL_OK) st = sol_trainer_run(t, err);
    sol_trainer_free(&t);
    sol_config_free(&c);
    return st;
}

/* metrics.jsonl without the timing, which is the last field of a line. Owned by the caller. */
static char *metrics_of(const world *w, const char *run)
{
    char name[64], path[160], *text;
    size_t n;
    snprintf(name, sizeof name, "%s/metrics.jsonl", run);
    path_in(w, name, path);
    ck_ok(sol_file_read(path, &text, &n, err));
    char *to = text;
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n'), *cut = strstr(line, ", \"tok_s\"");
        ck_assert_msg(end && cut && cut < end, "torn line: %s", line);
        memmove(to, line, (size_t)(cut - line));
        to += cut - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = 0;
    return text;
}

static void read_checkpoint(const world *w, const char *run, int step, sol_checkpoint *ck)
{
    char name[64], path[160];
    snprintf(name, sizeof name, "%s/ckpt/step-%06d.h5", run, step);
    path_in(w, name, path);
    memset(ck, 0, sizeof *ck);
    ck_ok(sol_checkpoint_read(ck, path, SOL_F32, err));
}

static void expect_same_run(const world *w, const char *a, const char *b, int step)
{
    sol_checkpoint x, y;
    char *m = metrics_of(w, a), *n = metrics_of(w, b);
    ck_assert_str_eq(m, n);
    sol_free(m);
    sol_free(n);
    read_checkpoint(w, a, step, &x);
    read_checkpoint(w, b, step, &y);
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
    path_in(w, a, path);
    ck_ok(sol_file_read(path, &x, &n, err));
    path_in(w, b, path);
    ck_ok(sol_file_read(path, &y, &m, err));
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(x, y, n);
    sol_free(x);
    sol_free(y);
}

static int count_files(const world *w, const char *sub, const char *suffix)
{
    char path[160];
    int n = 0;
    path_in(w, sub, path);
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), s = strlen(suffix);
        n += len >= s && strcmp(e->d_name + len - s, suffix) == 0;
    }
    closedir(d);
    return n;
}

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
    ck_ok(run_job(&w, "a", NULL, false, err));
    ck_assert_str_eq(w.warning, "");
    char *m = metrics_of(&w, "a");
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
    ck_assert_double_gt(first_loss, log(VOCAB) - 1.0);
    read_checkpoint(&w, "a", 12, &last);
    ck_assert_uint_eq(last.state.step, 12);
    ck_assert_uint_eq(last.state.tokens, 12 * 2 * 2 * SEQ);
    ck_assert_int_eq(last.optim->t, 12);
    ck_assert_uint_gt(last.state.best_step, 0);
    read_checkpoint(&w, "a", 9, &first);
    sol_checkpoint_free(&first);
    sol_checkpoint_free(&last);
    ck_assert_int_eq(count_files(&w, "a/ckpt", ".tmp"), 0);
    char path[160];
    path_in(&w, "a/ckpt/best.h5", path);
    ck_assert(sol_file_exists(path));
    path_in(&w, "a/config.yaml", path);
    ck_assert(sol_file_exists(path));
    ck_ok(run_job(&w, "a", NULL, true, err)); /* nothing is left to do */
    world_remove(&w);
}
END_TEST

/* The undisturbed run against one that lost everything after its checkpoint three times, with other
 * thread counts. */
static void check_resume(const char *const *set)
{
    static const int stop_after[] = {2, 5, 10};
    world w;
    world_make(&w);
    ck_ok(run_job(&w, "a", set, false, err));
    for (int i = 0; i <= 3; i++) {
        sol_trainer *t;
        sol_config *c = make_job(&w, "b", set);
        sol_program_free(&w.program);
        w.program.threads = 1 + i % 3;
        ck_ok(open_job(&w, &t, c, i > 0, err));
        if (i == 3) {
            ck_ok(sol_trainer_run(t, err));
        } else {
            while (t->step < (uint64_t)stop_after[i]) ck_ok(sol_trainer_advance(t, err));
        }
        sol_trainer_free(&t);
        sol_config_free(&c);
        char path[160];
        path_in(&w, "b/metrics.jsonl", path);
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
        ck_ok(run_job(&w, run, set, false, err));
    }
    for (int i = 0; i < 4; i += 2) {
        read_checkpoint(&w, i ? "f2" : "f0", 12, &a);
        read_checkpoint(&w, i ? "f3" : "f1", 12, &b);
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
        ck_fails(run_job(&w, "g", set, false, err), SOL_ERR_CONFIG, refused[i][1]);
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
    sol_config *c = make_job(&w, "a", set);
    ck_ok(open_job(&w, &t, c, false, err));
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
    ck_ok(run_job(&w, "a", NULL, false, err));
    ck_ok(run_job(&w, "b", (const char *const[]){"train.eval_form=packed", NULL}, false, err));
    char *both = metrics_of(&w, "a"), *packed = metrics_of(&w, "b");
    ck_assert_ptr_null(strstr(packed, "eval_loss"));
    const char *x = strstr(both, "packed_loss"), *y = strstr(packed, "packed_loss");
    ck_assert(x && y && strncmp(x, y, strcspn(x, "}\n")) == 0);
    read_checkpoint(&w, "a", 12, &a);
    read_checkpoint(&w, "b", 12, &b);
    ck_assert_mem_eq(a.file.model->data, b.file.model->data,
                     (size_t)a.file.model->n_elements * sizeof(float));
    ck_assert_uint_gt(b.state.best_step, 0);
    ck_assert_double_eq_tol(a.state.best_eval_loss, b.state.best_eval_loss, 0.05);
    ck_fails(run_job(&w, "c",
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
        ck_ok(run_job(&w, run, (const char *const[]){set, NULL}, false, err));
        read_checkpoint(&w, run, 12, &ck[i]);
        const uint32_t *bits = ck[i].file.model->data;
        uint32_t low = 0;
        for (int64_t k = 0; k < ck[i].file.model->n_elements; k++) low |= bits[k] & 0xffff;
        ck_assert(i == 0 ? low != 0 : low == 0);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_ne(memcmp(ck[i].file.model->data, ck[(i + 1) % 3].file.model->data,
                                (size_t)ck[i].file.model->n_elements * 4),
                         0);
    ck_fails(run_job(&w, "r1", (const char *const[]){"train.param_dtype=fp32", NULL}, true, err),
             SOL_ERR_CONFIG, "another run: train.param_dtype: bf16_stochastic -> fp32");
    ck_fails(
        run_job(&w, "r3",
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
    sol_config *c = make_job(&w, "a", set);
    ck_ok(open_job(&w, &t, c, false, err));
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
    sol_config *c = make_job(&w, "a", set);
    ck_ok(open_job(&w, &t, c, false, err));
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
    char *m = metrics_of(&w, "a");
    ck_assert_ptr_nonnull(strstr(m, "{\"step\": 3, \"tokens\": 192, \"loss\": null"));
    sol_free(m);
    sol_checkpoint ck;
    read_checkpoint(&w, "a", 4, &ck);
    ck_assert_uint_eq(ck.state.skipped, 1);
    sol_checkpoint_free(&ck);
    world_remove(&w);
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
    sol_config *c = make_job(&w, "a", NULL);
    ck_ok(open_job(&w, &t, c, false, err));
    ck_fails(open_job(&w, &u, c, true, err), SOL_ERR_LOCKED, "in use by process");
    ck_assert_ptr_null(u);
    while (t->step < 5) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    char *before = metrics_of(&w, "a");
    ck_fails(run_job(&w, "a", NULL, false, err), SOL_ERR_USAGE, "holds a run already; --resume");
    ck_fails(run_job(&w, "a", other, true, err), SOL_ERR_CONFIG,
             "another run: optim.lr: 0.01 -> 0.02");
    ck_fails(run_job(&w, "a", longer, true, err), SOL_ERR_CONFIG,
             "another run: train.steps: 12 -> 13");
    ck_assert_str_eq(w.warning, "");
    char *after = metrics_of(&w, "a");
    ck_assert_str_eq(before,
                     after); /* a refusal touches nothing, not even lines after the checkpoint */
    sol_free(before);
    sol_free(after);
    ck_ok(run_job(&w, "a", harmless, true, err));
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_put_aside)
{
    world w;
    sol_trainer *t;
    char path[160];
    world_make(&w);
    ck_ok(run_job(&w, "a", NULL, false, err));
    sol_config *c = make_job(&w, "b", NULL);
    ck_ok(open_job(&w, &t, c, false, err));
    while (t->step < 7) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    path_in(&w, "b/ckpt/step-000006.h5", path);
    ck_assert_int_eq(truncate(path, 5000), 0);
    path_in(&w, "b/ckpt/step-000009.h5.tmp", path);
    ck_ok(sol_file_write(path, "half", 4, err));
    ck_ok(run_job(&w, "b", NULL, true, err));
    ck_assert_ptr_nonnull(strstr(w.warning, "going back to step"));
    ck_assert_int_eq(count_files(&w, "b/ckpt", ".damaged"), 1);
    ck_assert_int_eq(count_files(&w, "b/ckpt", ".tmp"), 0);
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
    sol_config *c = make_job(&w, "a", NULL);
    ck_ok(open_job(&w, &t, c, false, err));
    while (t->step < 6) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    path_in(&w, "a/metrics.jsonl", path);
    ck_assert_int_eq(unlink(path), 0);
    ck_ok(run_job(&w, "a", NULL, true, err));
    ck_assert_ptr_nonnull(strstr(w.warning, "lacks lines of steps before the checkpoint"));
    char *m = metrics_of(&w, "a");
    ck_assert_ptr_eq(strstr(m, "{\"step\": 7,"), m);
    sol_free(m);
    sol_config_free(&c);
    world_remove(&w);
}
END_TEST

START_TEST(without_a_quantizer)
{
    static const char *const set[] = {"quant.method=none", NULL}, *const dense[] = {
                                                                      "quant.method=absmean", NULL};
    world w;
    world_make(&w);
    ck_ok(run_job(&w, "fp", set, false, err));
    char *m = metrics_of(&w, "fp");
    ck_assert_ptr_null(strstr(m, "packed_loss"));
    ck_assert_ptr_nonnull(strstr(m, "\"lambda\": 0,"));
    sol_free(m);
    ck_ok(run_job(&w, "dense", dense, false, err));
    m = metrics_of(&w, "dense");
    ck_assert_ptr_null(strstr(m, "packed_loss"));
    ck_assert_ptr_nonnull(strstr(m, "eval_loss"));
    sol_free(m);
    world_remove(&w);
}
END_TEST

START_TEST(text_from_the_model_itself)
{
    static const char *const set[] = {"data.source=self", "data.train=", "data.self_tokens=2000",
                                      NULL};
    world w;
    sol_trainer *t;
    char path[160];
    world_make(&w);
    ck_ok(run_job(&w, "a", set, false, err));
    sol_config *c = make_job(&w, "b", set);
    ck_ok(open_job(&w, &t, c, false, err));
    for (int i = 0; i < 4; i++) ck_ok(sol_trainer_advance(t, err));
    sol_trainer_free(&t);
    sol_config_free(&c);
    ck_ok(run_job(&w, "b", set, true, err));
    expect_same_run(&w, "a", "b", 12);
    path_in(&w, "a/tokens-self.h5", path);
    ck_assert(sol_file_exists(path));
    world_remove(&w);
}
END_TEST

static void expect_refusal(world *w, const char *set, sol_status status, const char *part)
{
    const char *const sets[] = {set, NULL};
    char path[160];
    ck_fails(run_job(w, "refused", sets, false, err), status, part);
    path_in(w, "refused", path);
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
    path_in(&w, "piqa.jsonl", path);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 7; i++)
        fprintf(f, "{\"goal\": \"a%d\", \"sol1\": \"b c%d\", \"sol2\": \"d\", \"label\": %d}\n", i,
                i, i % 2);
    fclose(f);
    snprintf(name, sizeof name, "eval.tasks=piqa=%s", path);
    const char *const set[] = {name, "eval.limit=5", NULL};
    ck_ok(run_job(&w, "a", set, false, err));
    char *m = metrics_of(&w, "a"), *line = m, *at;
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
    path_in(&w, "a/ckpt/step-000012.h5", last_step);
    sol_model_file c;
    sol_packed_model packed = {0};
    sol_ctx *ctx;
    ck_ok(sol_program_ctx(&w.program, &ctx, err));
    ck_ok(sol_model_file_read(&c, last_step, SOL_F32, err));
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
                   "--set: key 'eval.tasks': unknown task 'piqqa'; did you mean piqa");
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
    ck_fails(run_job(&w, "text.txt", NULL, false, err), SOL_ERR_IO, "text.txt");

    path_in(&w, "tokenizer.json", path);
    ck_ok(sol_tokenizer_open(&t, path, err));
    make_model(&w, "nan.h5", t, NAN);
    sol_tokenizer_free(&t);
    snprintf(set, sizeof set, "model.init=%s/nan.h5", w.dir);
    const char *const nan[] = {set, "train.max_skipped=1", NULL};
    ck_fails(run_job(&w, "nan", nan, false, err), SOL_ERR_NONFINITE, "there is no checkpoint yet");
    world_remove(&w);
}
END_TEST

SOL_TEST_MAIN("trainer", tcase_add_test(tc, a_line_of_metrics); tcase_add_test(tc, a_whole_run);
              tcase_add_loop_test(tc, a_resume_gives_the_same_bits, 0, 5);
              tcase_add_test(tc, only_the_packed_form_is_evaluated);
              tcase_add_test(tc, storage_of_parameters);
              tcase_add_test(tc, a_fused_update_gives_the_same_bits);
              tcase_add_test(tc, a_fused_step_that_is_not_finite);
              tcase_add_test(tc, a_step_allocates_nothing);
              tcase_add_test(tc, a_step_that_is_not_finite_is_skipped);
              tcase_add_test(tc, one_run_a_directory);
              tcase_add_test(tc, a_damaged_checkpoint_is_put_aside);
              tcase_add_test(tc, lost_metrics_do_not_stop_a_resume);
              tcase_add_test(tc, without_a_quantizer);
              tcase_add_test(tc, text_from_the_model_itself);
              tcase_add_test(tc, tasks_go_into_the_metrics);
              tcase_add_test(tc, bad_input_is_refused_and_leaves_nothing))
