/* solera distill-cache: runs the teacher of a job over its data and appends windows to the
 * cache. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "job_teacher.h"

struct args {
    sol_words set;
};

static const sol_opt options[] = {
    {.name = "--set",
     .value = "SECTION.KEY=VALUE",
     .kind = SOL_OPT_EACH,
     .offset = offsetof(struct args, set),
     .help = "change a key of the job"},
    {0},
};

static const double commit_seconds = 20;

typedef struct maker {
    sol_program *program;
    const sol_config *config;
    sol_ctx *ctx;
    sol_model_config student;
    sol_tokenizer *tokenizer; /* of the student */
    sol_job_data data;
    sol_batcher batcher;
    sol_job_teacher teacher;
    sol_teacher_graph *graph;
    int32_t *batch; /* inputs, targets, doc_start of [B, T] */
} maker;

static sol_status check_keys(const sol_config *c, sol_err *err)
{
    if (!sol_job_has_teacher(c)) return sol_config_fail(c, "distill.teacher", err, "is needed");
    if (!c->distill.cache[0])
        return sol_config_fail(c, "distill.cache", err, "is needed: the file to write");
    if (c->distill.top_k == 0)
        return sol_config_fail(c, "distill.top_k", err,
                               "is needed: how many tokens a cache keeps; 64 is a good start");
    if (c->data.source == SOL_DATA_SELF)
        return sol_config_fail(
            c, "data.source", err,
            "self has no text before its run: name tokens-self.h5 of a run as data.train");
    return SOL_OK;
}

/* A text file is tokenized beside the cache, as a run does it in its directory. */
static void made_tokens(const sol_config *c, char out[SOL_PATH_MAX])
{
    snprintf(out, SOL_PATH_MAX, "%s.tokens", c->distill.cache);
}

static sol_status open_data(maker *m, sol_err *err)
{
    const sol_config *c = m->config;
    char made[SOL_PATH_MAX];
    made_tokens(c, made);
    bool goes_on = sol_file_exists(c->distill.cache);
    SOL_TRY(sol_job_open_data(m->program, c, "data.train", c->data.train, made,
                              sol_job_made_how(true, goes_on, false), m->tokenizer, &m->data, err));
    SOL_TRY(sol_job_batcher(c, &m->data, &m->batcher, err));
    m->batcher.answers_only = false; /* a cache is of all tokens: training counts those it learns */
    return SOL_OK;
}

static sol_status open_all(maker *m, sol_err *err)
{
    const sol_config *c = m->config;
    SOL_TRY(sol_program_ctx(m->program, &m->ctx, err));
    SOL_TRY(sol_job_model_header(c, &m->student, &m->tokenizer, err));
    sol_job_student student = {&m->student, m->tokenizer, &m->data};
    if (!m->tokenizer)
        return sol_config_fail(c, "model.init", err, "%s: holds no tokenizer", c->model.init);
    SOL_TRY(open_data(m, err));
    SOL_TRY(sol_job_teacher_open_maker(m->program, c, &student, &m->teacher, err));
    SOL_TRY(sol_teacher_graph_create(&m->graph, m->ctx, m->teacher.teacher, c->train.batch,
                                     c->train.seq, &m->teacher.loss, c->train.compute, err));
    return sol_alloc_array((void **)&m->batch, (size_t)(c->train.batch * c->train.seq),
                           3 * sizeof *m->batch, err);
}

/* A job that is refused leaves nothing that was not there. */
static sol_status open_or_leave_nothing(maker *m, sol_err *err)
{
    const char *cache = m->config->distill.cache;
    char made[SOL_PATH_MAX], path[SOL_PATH_MAX];
    bool had_cache = sol_file_exists(cache), had_tokens[SOL_MIX_MAX];
    int n = m->config->data.train->n;
    made_tokens(m->config, made);
    for (int i = 0; i < n; i++) {
        sol_job_made_name(made, i, path);
        had_tokens[i] = sol_file_exists(path);
    }
    sol_status st = open_all(m, err);
    if (st == SOL_OK) return SOL_OK;
    if (!had_cache) unlink(cache);
    for (int i = 0; i < n; i++) {
        sol_job_made_name(made, i, path);
        if (!had_tokens[i]) unlink(path);
    }
    return st;
}

static void close_all(maker *m)
{
    sol_teacher_graph_free(&m->graph);
    sol_job_teacher_close(&m->teacher);
    sol_job_close_data(&m->data);
    sol_tokenizer_free(&m->tokenizer);
    sol_free(m->batch);
}

/* The windows from `first` on that fit a batch; the rest of the batch repeats the last one. */
static sol_status add_batch(maker *m, int64_t first, sol_err *err)
{
    int64_t B = m->config->train.batch, T = m->config->train.seq,
            windows = sol_batcher_windows(&m->batcher);
    int64_t k = m->config->distill.top_k, n = sol_min_i64(windows - first, B);
    int32_t *inputs = m->batch, *targets = inputs + B * T, *doc_start = targets + B * T;
    const int32_t *ids;
    const float *probs;
    for (int64_t b = 0; b < B; b++) {
        int64_t window = first + (b < n ? b : n - 1);
        sol_batcher_window(&m->batcher, window, inputs + b * T, targets + b * T, doc_start + b * T);
        sol_job_teacher_starts(&m->batcher, window, sol_teacher_graph_starts(m->graph) + b * T);
    }
    for (int64_t i = 0; i < B * T; i++)
        if (inputs[i] < 0 || inputs[i] >= m->student.vocab_size ||
            targets[i] >= m->student.vocab_size)
            return sol_fail(
                err, SOL_ERR_FORMAT,
                "%s: holds the token %" PRId32 ", the model's vocabulary ends at %" PRId64,
                m->data
                    .name[sol_batcher_stream(&m->batcher, sol_min_i64(first + i / T, windows - 1))],
                inputs[i] < m->student.vocab_size ? targets[i] : inputs[i],
                m->student.vocab_size - 1);
    sol_teacher_graph_run(m->graph, inputs, targets, doc_start, &ids, &probs);
    for (int64_t b = 0; b < n; b++)
        SOL_TRY(sol_teacher_cache_append(m->teacher.cache, ids + b * T * k, probs + b * T * (k + 2),
                                         err));
    return SOL_OK;
}

/* Batches until all windows are in the cache, committed every few seconds. */
static sol_status add_batches(maker *m, sol_err *err)
{
    sol_teacher_cache *c = m->teacher.cache;
    int64_t windows = sol_batcher_windows(&m->batcher), begun_at = sol_teacher_cache_done(c);
    double begun = sol_clock(), committed = begun;
    char left[48];
    for (int64_t done = begun_at; done < windows; done = sol_teacher_cache_done(c)) {
        if (sol_interrupted())
            return sol_fail(err, SOL_ERR_INTERRUPTED,
                            "interrupted, saved; the same command goes on");
        SOL_TRY(add_batch(m, done, err));
        done = sol_teacher_cache_done(c);
        sol_live_show(
            m->program, false, "window %" PRId64 " of %" PRId64 "  %s", done, windows,
            sol_left_text(begun, (double)(done - begun_at), (double)(windows - begun_at), left));
        if (sol_clock() - committed < commit_seconds) continue;
        SOL_TRY(sol_teacher_cache_commit(c, err));
        committed = sol_clock();
    }
    return SOL_OK;
}

/* Whatever ends it, what is complete is kept. */
static sol_status make(maker *m, sol_err *err)
{
    double begun = sol_clock();
    char took[32];
    sol_status st = add_batches(m, err);
    sol_status saved = sol_teacher_cache_commit(m->teacher.cache, st == SOL_OK ? err : NULL);
    sol_live_clear(m->program);
    if (st != SOL_OK) return st;
    SOL_TRY(saved);
    sol_log_line(&m->program->log, SOL_LOG_INFO,
                 "%s: %" PRId64 " windows of %" PRId64 " tokens, %" PRId64
                 " tokens of the teacher each, in %s",
                 m->config->distill.cache, sol_batcher_windows(&m->batcher), m->config->train.seq,
                 m->config->distill.top_k, sol_duration_text(sol_clock() - begun, took));
    return SOL_OK;
}

static sol_status open_and_make(maker *m, sol_err *err)
{
    sol_program *p = m->program;
    SOL_TRY(check_keys(m->config, err));
    sol_interrupt_catch(true);
    if (p->threads == 0) p->threads = m->config->run.threads;
    SOL_TRY(open_or_leave_nothing(m, err));
    return make(m, err);
}

static sol_status run(sol_program *p, void *argp, sol_err *err)
{
    struct args *args = argp;
    sol_config *c;
    SOL_TRY(sol_job_read(p, &c, p->word[0], &args->set, err));
    maker m = {.program = p, .config = c};
    sol_status st = open_and_make(&m, err);
    close_all(&m);
    sol_config_free(&c);
    return st;
}

const sol_verb sol_verb_distill_cache = {
    .name = "distill-cache",
    .words = "CONFIG.yaml",
    .min_words = 1,
    .max_words = 1,
    .summary =
        "write what a job's teacher thinks of its data to distill.cache, for any number of runs",
    .details =
        "Keeps distill.top_k next tokens of every position (the most probable ones, and "
        "distill.samples drawn from the others), their\n"
        "probabilities (fp16) and the rest.\n"
        "A file that is there for the same data, teacher, distill.temperature and train.seq is "
        "completed, any other one\n"
        "refused. `solera train` with the same job then trains without the teacher in memory.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
