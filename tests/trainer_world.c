/* A small world for tests of the trainer: a tokenizer, data and a job. */
#include "trainer_world.h"

#include <dirent.h>
#include <string.h>

enum { DOCS = 120 };

static void on_log(void *user, sol_log_level level, const char *text)
{
    world *w = user;
    size_t n = strlen(w->warning);
    if (level == SOL_LOG_WARN) snprintf(w->warning + n, sizeof w->warning - n, "%s\n", text);
}

void world_path(const world *w, const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", w->dir, name);
}

/* Sentence k of a grammar, so that there is something to learn; returns its length. */
static int sentence(int k, char text[64])
{
    static const char *const who[] = {"the cat", "a dog", "our bird"};
    static const char *const what[] = {"sees", "likes", "hears"};
    return snprintf(text, 64, "%s %s %s.", who[k % 3], what[k / 3 % 3], who[k / 9 % 3]);
}

static void make_text(const world *w)
{
    char path[160], text[64];
    world_path(w, "text.txt", path);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 400; i++) {
        sentence(i, text);
        fprintf(f, "%s\n", text);
    }
    fclose(f);
}

static void make_dataset(const world *w, const char *name, const sol_tokenizer *t, int seed)
{
    char path[160];
    sol_dataset_writer *out;
    world_path(w, name, path);
    ck_ok(sol_dataset_writer_open(&out, path, WORLD_VOCAB, sol_tokenizer_hash(t), err));
    for (int d = 0; d < DOCS; d++) {
        char text[64];
        sol_ids ids = {0};
        int n = sentence(d * 7 + seed, text);
        ck_ok(sol_tokenizer_encode(t, text, (size_t)n, SOL_ENCODE_BOS, &ids, err));
        ck_ok(sol_dataset_writer_add(out, ids.id, ids.n, err));
        sol_ids_free(&ids);
    }
    ck_ok(sol_dataset_writer_close(&out, err));
}

void world_model(const world *w, const char *name, sol_tokenizer *t, float poison)
{
    char path[160];
    sol_model_config c = {.vocab_size = WORLD_VOCAB,
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
    world_path(w, name, path);
    ck_ok(sol_model_file_write(&file, path, SOL_F32, NULL, err));
    file.tokenizer = NULL;
    sol_model_file_free(&file);
}

void world_make(world *w)
{
    char text[160], json[160];
    const char *files[1] = {text};
    sol_tokenizer *t;
    memset(w, 0, sizeof *w);
    sol_test_dir_make(w->dir);
    make_text(w);
    world_path(w, "text.txt", text);
    world_path(w, "tokenizer.json", json);
    sol_bpe_opts bpe = {.files = files, .n_files = 1, .vocab_size = WORLD_VOCAB};
    ck_ok(sol_bpe_train(&bpe, json, err));
    ck_ok(sol_tokenizer_open(&t, json, err));
    make_dataset(w, "train.h5", t, 0);
    make_dataset(w, "eval.h5", t, 3);
    world_model(w, "model.h5", t, 0);
    sol_tokenizer_free(&t);
    sol_program_init(&w->program);
    w->program.terminal = false;
    w->program.log = (sol_log){.line = on_log, .user = w};
    w->program.threads = 1;
}

void world_remove(world *w)
{
    sol_program_free(&w->program);
    sol_test_dir_remove(w->dir);
}

sol_config *world_job(const world *w, const char *run, const char *const *set)
{
    char yaml[1200];
    sol_config *c;
    int n = snprintf(
        yaml, sizeof yaml,
        "run: {dir: %s/%s, seed: 5}\n"
        "model: {init: %s/model.h5}\n"
        "data: {train: %s/train.h5, eval: %s/eval.h5}\n"
        "quant: {group_size: 16}\n"
        "train: {steps: 12, batch: 2, seq: %d, accumulate: 2, eval_every: 4, log_every: 1000}\n"
        "optim: {lr: 0.01, schedule: cosine, warmup_steps: 2}\n"
        "checkpoint: {every: 3, keep: 2}\n",
        w->dir, run, w->dir, w->dir, w->dir, WORLD_SEQ);
    ck_ok(sol_config_parse(&c, "job.yaml", yaml, (size_t)n, err));
    for (; set && *set; set++) ck_ok(sol_config_set(c, *set, err));
    return c;
}

sol_status world_open(world *w, sol_trainer **t, sol_config *c, bool resume, sol_err *err)
{
    sol_status st = sol_config_finish(c, err);
    *t = NULL;
    return st == SOL_OK ? sol_trainer_open(t, &w->program, c, resume, err) : st;
}

sol_status world_run(world *w, const char *run, const char *const *set, bool resume, sol_err *err)
{
    sol_trainer *t;
    sol_config *c = world_job(w, run, set);
    sol_status st = world_open(w, &t, c, resume, err);
    if (st == SOL_OK) st = sol_trainer_run(t, err);
    sol_trainer_free(&t);
    sol_config_free(&c);
    return st;
}

char *world_metrics(const world *w, const char *run)
{
    char name[64], path[160], *text;
    size_t n;
    snprintf(name, sizeof name, "%s/metrics.jsonl", run);
    world_path(w, name, path);
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

void world_checkpoint(const world *w, const char *run, int step, sol_checkpoint *ck)
{
    char name[64], path[160];
    snprintf(name, sizeof name, "%s/ckpt/step-%06d.h5", run, step);
    world_path(w, name, path);
    memset(ck, 0, sizeof *ck);
    ck_ok(sol_checkpoint_read(ck, path, SOL_F32, err));
}

int world_count(const world *w, const char *sub, const char *suffix)
{
    char path[160];
    int n = 0;
    world_path(w, sub, path);
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), s = strlen(suffix);
        n += len >= s && strcmp(e->d_name + len - s, suffix) == 0;
    }
    closedir(d);
    return n;
}
