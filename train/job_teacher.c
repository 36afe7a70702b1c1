/* The teacher of a job: opens or describes it, checks it against student and data, and feeds the
 * graph with what it says about a micro-batch. */
#include "job_teacher.h"

#include <string.h>

#include "base/crc.h"
#include "base/num.h"
#include "run_model.h"

const char *sol_job_teacher_path(const sol_config *c)
{
    return sol_config_teaches_itself(c) ? c->model.init : c->distill.teacher;
}

static sol_status check_config(const sol_config *c, const sol_model_config *student,
                               const sol_model_config *teacher, sol_err *err)
{
    const char *path = sol_job_teacher_path(c);
    if (teacher->vocab_size != student->vocab_size)
        return sol_config_fail(c, "distill.teacher", err,
                               "%s has a vocabulary of %lld tokens, the model one of %lld", path,
                               (long long)teacher->vocab_size, (long long)student->vocab_size);
    if (teacher->max_position_embeddings < c->train.seq)
        return sol_config_fail(
            c, "distill.teacher", err, "%s has %lld positions, train.seq is %lld", path,
            (long long)teacher->max_position_embeddings, (long long)c->train.seq);
    if (c->distill.top_k > teacher->vocab_size)
        return sol_config_fail(c, "distill.top_k", err,
                               "%lld is more than the vocabulary of %lld tokens",
                               (long long)c->distill.top_k, (long long)teacher->vocab_size);
    if (c->distill.hidden_weight > 0 && (teacher->hidden_size != student->hidden_size ||
                                         teacher->num_hidden_layers != student->num_hidden_layers))
        return sol_config_fail(
            c, "distill.hidden_weight", err,
            "needs a teacher of %lld layers of width %lld; %s has %lld of %lld",
            (long long)student->num_hidden_layers, (long long)student->hidden_size, path,
            (long long)teacher->num_hidden_layers, (long long)teacher->hidden_size);
    if (c->distill.relation_weight > 0 &&
        (teacher->num_attention_heads != student->num_attention_heads ||
         teacher->num_key_value_heads != student->num_key_value_heads))
        return sol_config_fail(
            c, "distill.relation_weight", err,
            "needs a teacher of %lld heads, %lld of keys; %s has %lld, %lld of keys",
            (long long)student->num_attention_heads, (long long)student->num_key_value_heads, path,
            (long long)teacher->num_attention_heads, (long long)teacher->num_key_value_heads);
    int64_t least = student->num_hidden_layers < teacher->num_hidden_layers
                        ? student->num_hidden_layers
                        : teacher->num_hidden_layers;
    if (c->distill.relation_weight > 0 &&
        (c->distill.relation_layer >= least || c->distill.relation_layer < -least))
        return sol_config_fail(c, "distill.relation_layer", err, "%lld is no block of %lld",
                               (long long)c->distill.relation_layer, (long long)least);
    return SOL_OK;
}

static sol_status check_file(const sol_config *c, const sol_model_file *f,
                             const sol_tokenizer *tokenizer, sol_err *err)
{
    const char *path = sol_job_teacher_path(c);
    if (f->tokenizer && sol_tokenizer_hash(f->tokenizer) != sol_tokenizer_hash(tokenizer))
        return sol_config_fail(c, "distill.teacher", err,
                               "%s: has another tokenizer than the model", path);
    /* Its own quantizer is no part of a model that the student starts from: `self` is the weights
     * as they are. */
    if (f->quant.method && !sol_config_teaches_itself(c))
        return sol_config_fail(
            c, "distill.teacher", err,
            "%s: was trained with quant.method %s; a teacher is a full-precision model", path,
            f->quant.method->name);
    return SOL_OK;
}

static sol_status check_teacher(const sol_config *c, const sol_job_student *s,
                                const sol_model_file *f, sol_err *err)
{
    SOL_TRY(check_config(c, s->config, &f->model->config, err));
    return check_file(c, f, s->tokenizer, err);
}

/* The teacher, as its file is read. */
typedef struct reading {
    const sol_ctx *ctx;
    sol_progress progress;
    int64_t done, total; /* weights */
    const sol_config *config;
    const sol_job_student *student;
    sol_teacher *teacher;
    bool blamed; /* err is complete */
} reading;

static sol_status begin_reading(void *user, const sol_model_file *f, sol_err *err)
{
    reading *r = user;
    r->total = f->model->n_weights;
    r->blamed = true;
    sol_status st = check_teacher(r->config, r->student, f, err);
    if (st == SOL_OK)
        st = sol_teacher_describe(&r->teacher, &f->model->config, r->config->distill.teacher_dtype,
                                  err);
    if (st == SOL_OK) st = sol_teacher_allocate(r->teacher, err);
    r->blamed = st != SOL_OK;
    return st;
}

static sol_status read_rows(void *user, const sol_param *p, int64_t from, int64_t n,
                            const float *rows, sol_err *err)
{
    reading *r = user;
    sol_teacher_fill(r->teacher, r->ctx, p, from, n, rows);
    r->done += n * p->cols;
    if (sol_progress_show(&r->progress, p->name, r->done, r->total)) return SOL_OK;
    return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: interrupted", sol_job_teacher_path(r->config));
}

static sol_status read_weights(sol_program *p, const sol_config *c, const sol_job_student *s,
                               sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    sol_ctx *ctx;
    sol_phase phase = {p, "reading the teacher", "weights", sol_clock()};
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    reading r = {.ctx = ctx, .config = c, .student = s, .progress = {sol_phase_show_part, &phase}};
    sol_param_sink sink = {begin_reading, read_rows, &r};
    sol_status st = sol_model_file_stream(sol_job_teacher_path(c), &sink, &why);
    sol_live_clear(p);
    t->teacher = r.teacher;
    if (st == SOL_OK) return st;
    if (!r.blamed) return sol_job_blame(c, "distill.teacher", st, &why, err);
    if (err) *err = why;
    return st;
}

static sol_status read_digest(const sol_config *c, sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    *t = (sol_job_teacher){.loss = sol_config_distill(c)};
    const char *path = sol_job_teacher_path(c);
    sol_status st = sol_is_directory(path) ? sol_run_refuse(path, &why)
                                           : sol_store_model_digest(path, &t->digest, &why);
    return st == SOL_OK ? st : sol_job_blame(c, "distill.teacher", st, &why, err);
}

/* ---- the cache ---- */

static sol_teacher_cache_head wanted_head(const sol_config *c, const sol_job_student *s,
                                          const sol_job_teacher *t)
{
    int64_t windows = 0;
    for (int i = 0; i < s->data->n; i++)
        windows += (s->data->file[i].file.tokens.n - 1) / c->train.seq;
    sol_teacher_cache_head h = {.data_digest = s->data->content,
                                .teacher_digest = t->digest,
                                .tokenizer_hash = sol_tokenizer_hash(s->tokenizer),
                                .vocab_size = s->config->vocab_size,
                                .windows = windows,
                                .seq = c->train.seq,
                                .k = c->distill.top_k,
                                .samples = sol_distill_samples(&t->loss, s->config->vocab_size),
                                .seed = c->run.seed,
                                .temperature = (float)c->distill.temperature};
    snprintf(h.teacher_dtype, sizeof h.teacher_dtype, "%s",
             sol_config_word(c, "distill.teacher_dtype"));
    snprintf(h.compute, sizeof h.compute, "%s", sol_config_word(c, "train.compute"));
    return h;
}

static sol_status check_cache(const sol_config *c, const sol_teacher_cache_head *want,
                              const sol_teacher_cache_head *is, sol_err *err)
{
    const char *path = c->distill.cache, *what = NULL;
    if (is->tokenizer_hash != want->tokenizer_hash)
        what = "another tokenizer than the model's";
    else if (is->vocab_size != want->vocab_size)
        what = "another vocabulary";
    else if (is->data_digest != want->data_digest)
        what = "other data than data.train";
    else if (is->teacher_digest != want->teacher_digest)
        what = "another teacher";
    if (what) return sol_config_fail(c, "distill.cache", err, "%s: was made for %s", path, what);
    if (is->seq != want->seq || is->windows != want->windows)
        return sol_config_fail(c, "distill.cache", err, "%s: was made for train.seq %lld, not %lld",
                               path, (long long)is->seq, (long long)want->seq);
    if (is->temperature != want->temperature)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: was made for distill.temperature %g, not %g", path,
                               is->temperature, want->temperature);
    return SOL_OK;
}

static sol_status open_cache(const sol_config *c, const sol_job_student *s, bool write,
                             sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    sol_teacher_cache_head want = wanted_head(c, s, t);
    sol_status st = sol_teacher_cache_open(&t->cache, c->distill.cache, write, &why);
    return st == SOL_OK ? check_cache(c, &want, sol_teacher_cache_get_head(t->cache), err)
                        : sol_job_blame(c, "distill.cache", st, &why, err);
}

/* Caches of one teacher differ in how many tokens they hold, in those that were drawn, in the type
 * that the teacher had: all of it shows in the first window. */
static sol_status digest_cache(sol_job_teacher *t, int64_t seq, sol_err *err)
{
    int64_t k = t->loss.top_k;
    int32_t *ids = NULL;
    float *probs = NULL;
    sol_status st = sol_alloc_array((void **)&ids, (size_t)(seq * k), sizeof *ids, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&probs, (size_t)(seq * (k + 1)), sizeof *probs, err);
    if (st == SOL_OK) st = sol_teacher_cache_read(t->cache, 0, k, ids, probs, NULL, err);
    if (st == SOL_OK) {
        uint64_t digest = sol_fnv1a(SOL_FNV_START, ids, (size_t)(seq * k) * sizeof *ids);
        t->cache_digest = sol_fnv1a(digest, probs, (size_t)(seq * (k + 1)) * sizeof *probs);
    }
    sol_free(ids);
    sol_free(probs);
    return st;
}

static sol_status open_trained_cache(const sol_config *c, const sol_job_student *s,
                                     sol_job_teacher *t, sol_err *err)
{
    SOL_TRY(open_cache(c, s, false, t, err));
    const sol_teacher_cache_head *h = sol_teacher_cache_get_head(t->cache);
    if (sol_teacher_cache_done(t->cache) < h->windows)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: holds %lld of %lld windows: solera distill-cache completes it",
                               c->distill.cache, (long long)sol_teacher_cache_done(t->cache),
                               (long long)h->windows);
    if (c->distill.top_k > h->k)
        return sol_config_fail(c, "distill.top_k", err, "%lld: %s holds %lld",
                               (long long)c->distill.top_k, c->distill.cache, (long long)h->k);
    if (c->distill.top_k > 0 && c->distill.top_k < h->k && h->samples)
        return sol_config_fail(
            c, "distill.top_k", err, "%lld: %s holds %lld, %lld of them drawn: they go together",
            (long long)c->distill.top_k, c->distill.cache, (long long)h->k, (long long)h->samples);
    if (c->distill.top_k == 0) t->loss.top_k = h->k;
    t->loss.samples = h->samples;
    return digest_cache(t, h->seq, err);
}

/* ---- opening ---- */

sol_status sol_job_teacher_open(sol_program *p, const sol_config *c, const sol_job_student *s,
                                sol_job_teacher *t, sol_err *err)
{
    SOL_TRY(read_digest(c, t, err));
    return c->distill.cache[0] ? open_trained_cache(c, s, t, err) : read_weights(p, c, s, t, err);
}

sol_status sol_job_teacher_open_maker(sol_program *p, const sol_config *c, const sol_job_student *s,
                                      sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    sol_status st = read_digest(c, t, err);
    sol_teacher_cache_head want = wanted_head(c, s, t);
    if (st == SOL_OK) st = read_weights(p, c, s, t, err);
    if (st != SOL_OK) return st;
    if (!sol_file_exists(c->distill.cache)) {
        st = sol_teacher_cache_create(&t->cache, c->distill.cache, &want, &why);
        return st == SOL_OK ? st : sol_job_blame(c, "distill.cache", st, &why, err);
    }
    st = open_cache(c, s, true, t, err);
    if (st != SOL_OK) return st;
    const sol_teacher_cache_head *is = sol_teacher_cache_get_head(t->cache);
    if (is->k != want.k)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: was made for distill.top_k %lld, not %lld", c->distill.cache,
                               (long long)is->k, (long long)want.k);
    if (is->samples != want.samples)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: was made for distill.samples %lld, not %lld", c->distill.cache,
                               (long long)is->samples, (long long)want.samples);
    if (is->samples && is->seed >= 0 && is->seed != want.seed)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: its samples were drawn for run.seed %lld, not %lld",
                               c->distill.cache, (long long)is->seed, (long long)want.seed);
    if (is->teacher_dtype[0] && strcmp(is->teacher_dtype, want.teacher_dtype) != 0)
        return sol_config_fail(c, "distill.cache", err,
                               "%s: was made for distill.teacher_dtype %s, not %s",
                               c->distill.cache, is->teacher_dtype, want.teacher_dtype);
    if (is->compute[0] && strcmp(is->compute, want.compute) != 0)
        return sol_config_fail(c, "distill.cache", err, "%s: was made for train.compute %s, not %s",
                               c->distill.cache, is->compute, want.compute);
    return st;
}

static sol_status describe_weights(const sol_config *c, const sol_job_student *s,
                                   sol_job_teacher *t, sol_err *err)
{
    sol_model_file f;
    sol_err why = {0};
    sol_status st = sol_model_file_describe(&f, sol_job_teacher_path(c), SOL_F32, &why);
    if (st != SOL_OK) return sol_job_blame(c, "distill.teacher", st, &why, err);
    st = check_teacher(c, s, &f, err);
    if (st == SOL_OK)
        st = sol_teacher_describe(&t->teacher, &f.model->config, c->distill.teacher_dtype, err);
    sol_model_file_free(&f);
    return st;
}

/* Of a cache that is not looked into k is that of the job, or the usual one. */
sol_status sol_job_teacher_describe(const sol_config *c, const sol_job_student *s,
                                    sol_job_teacher *t, sol_err *err)
{
    *t = (sol_job_teacher){0};
    if (!sol_job_has_teacher(c)) return SOL_OK;
    SOL_TRY(read_digest(c, t, err));
    if (!c->distill.cache[0]) return describe_weights(c, s, t, err);
    if (s->data) return open_trained_cache(c, s, t, err);
    if (t->loss.top_k == 0) t->loss.top_k = sol_min_i64(s->config->vocab_size, 64);
    return SOL_OK;
}

void sol_job_teacher_close(sol_job_teacher *t)
{
    sol_teacher_free(&t->teacher);
    sol_teacher_cache_close(&t->cache);
    *t = (sol_job_teacher){0};
}

void sol_job_teacher_opts(const sol_config *c, const sol_job_teacher *t, sol_graph_opts *o)
{
    o->distill = &t->loss;
    o->teacher = t->teacher;
    o->hidden_weight = (float)c->distill.hidden_weight;
    o->hidden_form = c->distill.hidden_form;
    o->relation_weight = (float)c->distill.relation_weight;
    o->relation_layer = c->distill.relation_layer;
}

void sol_job_teacher_starts(const sol_batcher *b, int64_t window, float *start)
{
    uint64_t from = (uint64_t)(window * b->seq);
    for (int64_t i = 0; i < b->seq; i++) start[i] = sol_distill_start(b->seed, from + (uint64_t)i);
}

sol_status sol_job_teacher_feed(const sol_config *c, sol_job_teacher *t, sol_graph *g,
                                const sol_batcher *b, uint64_t drawn, int64_t rows, sol_err *err)
{
    int64_t k = t->loss.top_k, T = c->train.seq;
    int32_t *ids;
    float *probs, *start = sol_graph_starts(g);
    if (start)
        for (int64_t row = 0; row < rows; row++)
            sol_job_teacher_starts(b, sol_batcher_index(b, drawn + (uint64_t)row), start + row * T);
    if (!t->cache) return SOL_OK;
    sol_graph_cached_inputs(g, &ids, &probs);
    for (int64_t row = 0; row < rows; row++)
        SOL_TRY(sol_teacher_cache_read(t->cache, sol_batcher_index(b, drawn + (uint64_t)row), k,
                                       ids + row * T * k, probs + row * T * (k + 1), NULL, err));
    return SOL_OK;
}

/* ---- gamma ---- */

typedef struct gamma_sum {
    double sum;
    int64_t counted;
} gamma_sum;

typedef struct cached_window {
    int32_t *ids;  /* [T, k] */
    float *probs;  /* [T, k + 1] */
    float *target; /* [T]: of the token that follows */
} cached_window;

static sol_status sum_cache(sol_job_teacher *t, const sol_batcher *data, int64_t windows,
                            int32_t *buffer, cached_window *w, gamma_sum *s, sol_err *err)
{
    int64_t T = data->seq, k = t->loss.top_k;
    int32_t *targets = buffer + T;
    SOL_TRY(sol_alloc_array((void **)&w->ids, (size_t)(T * k), sizeof *w->ids, err));
    SOL_TRY(sol_alloc_array((void **)&w->probs, (size_t)(T * (k + 1)), sizeof *w->probs, err));
    SOL_TRY(sol_alloc_array((void **)&w->target, (size_t)T, sizeof *w->target, err));
    for (int64_t i = 0; i < windows; i++) {
        sol_batcher_window(data, i, buffer, targets, buffer + 2 * T);
        SOL_TRY(sol_teacher_cache_read(t->cache, i, k, w->ids, w->probs, w->target, err));
        for (int64_t n = 0; n < T; n++) {
            s->sum += targets[n] >= 0 ? w->target[n] : 0;
            s->counted += targets[n] >= 0;
        }
    }
    return SOL_OK;
}

static sol_status gamma_of_cache(sol_job_teacher *t, const sol_batcher *data, int64_t windows,
                                 int32_t *buffer, gamma_sum *s, sol_err *err)
{
    cached_window w = {0};
    sol_status st = sum_cache(t, data, windows, buffer, &w, s, err);
    sol_free(w.ids);
    sol_free(w.probs);
    sol_free(w.target);
    return st;
}

static void gamma_of_teacher(sol_graph *g, const sol_batcher *data, int64_t windows, int64_t B,
                             int32_t *buffer, gamma_sum *s)
{
    int64_t T = data->seq;
    int32_t *inputs = buffer, *targets = buffer + B * T, *doc_start = buffer + 2 * B * T;
    sol_graph_begin_step(g, (sol_residual_mix){1, 0}, 1);
    for (int64_t i = 0; i < windows; i += B) {
        double loss;
        int64_t n;
        for (int64_t b = 0; b < B; b++) { /* what fills the last batch does not count */
            sol_batcher_window(data, (i + b) % windows, inputs + b * T, targets + b * T,
                               doc_start + b * T);
            if (i + b >= windows)
                for (int64_t j = 0; j < T; j++) targets[b * T + j] = -1;
        }
        sol_graph_loss(g, inputs, targets, doc_start, &loss, &n);
        s->sum += sol_graph_last_distilled(g).teacher;
        s->counted += n;
    }
}

sol_status sol_job_teacher_gamma(sol_job_teacher *t, sol_graph *g, const sol_batcher *data,
                                 int64_t rows, int32_t *buffer, sol_err *err)
{
    int64_t windows = sol_batcher_windows(data);
    gamma_sum s = {0, 0};
    sol_status st = SOL_OK;
    if (t->loss.kind != SOL_DISTILL_CAKLD) return SOL_OK;
    if (windows > SOL_GAMMA_WINDOWS) windows = SOL_GAMMA_WINDOWS;
    if (t->cache)
        st = gamma_of_cache(t, data, windows, buffer, &s, err);
    else
        gamma_of_teacher(g, data, windows, rows, buffer, &s);
    t->loss.gamma = s.counted ? (float)(s.sum / (double)s.counted) : 0;
    sol_graph_set_gamma(g, t->loss.gamma);
    return st;
}
