/* Samples the training text of a job from its model, and keeps what is finished. trainer_open.c
 * calls it on rank 0. */
#include "job_self.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/crc.h"
#include "job_data.h"

static const double log_seconds = 30; /* between two lines of progress, at least */

/* One sampling while it runs. */
typedef struct text {
    sol_program *program;
    const sol_tokenizer *tokenizer;
    sol_run_dir *dir;
    char part[SOL_PATH_MAX];
    uint64_t origin;
    int64_t restored, total; /* tokens: of an earlier process, in all */
    double begun, logged;    /* sol_clock() */
} text;

/* ---- files ---- */

static sol_status add_document(sol_dataset_writer *w, const sol_tokens *data, int64_t d,
                               int32_t **ids, size_t *capacity, sol_err *err)
{
    int64_t from = (int64_t)data->doc_offsets[d], n = (int64_t)data->doc_offsets[d + 1] - from;
    SOL_TRY(sol_grow_array((void **)ids, capacity, (size_t)n, sizeof **ids, err));
    for (int64_t i = 0; i < n; i++) (*ids)[i] = sol_tokens_at(data, from + i);
    return sol_dataset_writer_add(w, *ids, (size_t)n, err);
}

static sol_status write_documents(const sol_tokenizer *tokenizer, const sol_tokens *data,
                                  uint64_t origin, const char *path, sol_err *err)
{
    sol_dataset_writer *w = NULL;
    int32_t *ids = NULL;
    size_t capacity = 0;
    SOL_TRY(sol_dataset_writer_open_from(&w, path, sol_tokenizer_vocab_size(tokenizer),
                                         sol_tokenizer_hash(tokenizer), origin, err));
    sol_status st = SOL_OK;
    for (int64_t d = 0; d < data->n_docs; d++) {
        if (st != SOL_OK) break;
        st = add_document(w, data, d, &ids, &capacity, err);
    }
    sol_free(ids);
    if (st == SOL_OK) return sol_dataset_writer_close(&w, err);
    sol_dataset_writer_abort(&w);
    return st;
}

/* All that a document depends on beside its number. */
static sol_status origin_of(const sol_config *c, const sol_self_opts *o, uint64_t *origin,
                            sol_err *err)
{
    SOL_TRY(sol_store_model_digest(c->model.init, origin, err));
    *origin = sol_fnv1a(*origin, &o->seed, sizeof o->seed);
    *origin = sol_fnv1a(*origin, &o->max_len, sizeof o->max_len);
    *origin = sol_fnv1a(*origin, &o->temperature, sizeof o->temperature);
    return SOL_OK;
}

/* What an earlier process has sampled, from the same model. */
static sol_status open_sampled(const text *x, const char *path, sol_dataset *d, sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_dataset_open(d, path, &why);
    if (st != SOL_OK)
        return sol_fail(err, st, "%s%s", why.text,
                        st == SOL_ERR_FORMAT ? "; without this file the text is sampled anew" : "");
    if (d->origin == x->origin && d->tokens.tokenizer_hash == sol_tokenizer_hash(x->tokenizer))
        return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG,
                    "%s: cannot resume, this is not the model its text was sampled from", path);
}

/* A text that is finished is taken as it is. */
static sol_status take_finished(const text *x, const char *path, sol_err *err)
{
    sol_dataset d = {0};
    sol_status st = open_sampled(x, path, &d, err);
    sol_dataset_close(&d);
    if (st == SOL_OK) unlink(x->part); /* of a process that was killed just before it did */
    return st;
}

/* ---- progress ---- */

static const char *left(const text *x, int64_t done, char out[48])
{
    return sol_left_text(x->begun, (double)(done - x->restored), (double)(x->total - x->restored),
                         out);
}

static bool watch(void *user, int64_t done, int64_t total)
{
    text *x = user;
    char time[48];
    sol_live_show(x->program, false,
                  "sampling training text  %" PRId64 " of %" PRId64 " tokens  %s", done, total,
                  left(x, done, time));
    if (sol_clock() - x->logged >= log_seconds) {
        x->logged = sol_clock();
        sol_log_line(&x->program->log, SOL_LOG_INFO,
                     "sampled %" PRId64 " of %" PRId64 " tokens, %s", done, total,
                     left(x, done, time));
    }
    return !sol_interrupted();
}

static sol_status keep(void *user, const sol_tokens *first, sol_err *err)
{
    text *x = user;
    SOL_TRY(write_documents(x->tokenizer, first, x->origin, x->part, err));
    sol_run_dir_keep(x->dir);
    return SOL_OK;
}

/* ---- the whole ---- */

static sol_status sample(text *x, const sol_model *m, sol_self_opts *o, const char *path,
                         sol_err *err)
{
    sol_net *net = NULL;
    sol_self_data data = {0};
    sol_ctx *ctx;
    SOL_TRY(sol_program_ctx(x->program, &ctx, err));
    o->watch = (sol_eval_watch){.fn = watch, .user = x};
    o->keep = keep;
    o->keep_user = x;
    x->begun = x->logged = sol_clock();
    sol_status st = sol_net_from_model(&net, ctx, m, x->tokenizer, NULL, NULL, err);
    if (st == SOL_OK) st = sol_self_data_sample(net, o, &data, err);
    sol_live_clear(x->program);
    if (st == SOL_OK) st = write_documents(x->tokenizer, &data.tokens, x->origin, path, err);
    sol_self_data_free(&data);
    sol_net_free(&net);
    return st;
}

static sol_status check_model(const sol_config *c, const sol_model_config *m,
                              const sol_tokenizer *t, sol_err *err)
{
    sol_self_opts o = sol_job_self(c);
    sol_err why = {0};
    const char *length = c->data.self_length ? "data.self_length" : "train.seq";
    sol_status st = sol_self_check(m, t, &o, &why);
    if (st == SOL_OK) return SOL_OK;
    return sol_job_blame(c, st == SOL_ERR_RANGE ? length : "data.source", st, &why, err);
}

sol_status sol_job_check_self(sol_program *p, const sol_config *c, const sol_model_config *m,
                              const sol_tokenizer *t, sol_err *err)
{
    sol_job_data d;
    sol_batcher b;
    SOL_TRY(check_model(c, m, t, err));
    if (!c->data.train) return SOL_OK;
    sol_status st = sol_job_look_at_data(p, c, "data.train", c->data.train, t, &d, err);
    if (st == SOL_OK) st = sol_job_batcher(c, &d, &b, err);
    sol_job_close_data(&d);
    return st;
}

sol_status sol_job_sample_self(sol_program *p, const sol_config *c, sol_run_dir *dir,
                               const sol_model *m, const sol_tokenizer *t, const char *path,
                               sol_err *err)
{
    sol_self_opts o = sol_job_self(c);
    sol_dataset part = {0};
    text x = {.program = p, .tokenizer = t, .dir = dir, .total = o.n_tokens};
    char duration[32];
    sol_run_dir_file(dir, "tokens-self-part.h5", x.part);
    SOL_TRY(origin_of(c, &o, &x.origin, err));
    if (dir->has_run && sol_file_exists(path)) return take_finished(&x, path, err);
    SOL_TRY(sol_job_check_self(p, c, &m->config, t, err));
    sol_status st = sol_file_exists(x.part) ? open_sampled(&x, x.part, &part, err) : SOL_OK;
    x.restored = part.tokens.n;
    if (st == SOL_OK && x.restored > 0)
        sol_log_line(&p->log, SOL_LOG_INFO, "%" PRId64 " sampled tokens taken from %s", x.restored,
                     x.part);
    if (st == SOL_OK)
        sol_log_line(&p->log, SOL_LOG_INFO,
                     "sampling %" PRId64 " tokens of training text from the model", o.n_tokens);
    o.done = x.restored > 0 ? &part.tokens : NULL;
    if (st == SOL_OK) st = sample(&x, m, &o, path, err);
    sol_dataset_close(&part);
    if (st == SOL_ERR_INTERRUPTED && sol_file_exists(x.part))
        sol_log_line(&p->log, SOL_LOG_INFO, "%s: --resume goes on with it", x.part);
    if (st != SOL_OK) return st;
    unlink(x.part);
    sol_log_line(&p->log, SOL_LOG_INFO, "sampled in %s",
                 sol_duration_text(sol_clock() - x.begun, duration));
    return SOL_OK;
}
