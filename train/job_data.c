/* Opens the files of data.train and mixes them. The verbs of a job share it. */
#include "job_data.h"

#include <inttypes.h>
#include <string.h>

#include "base/crc.h"
#include "base/file.h"

sol_sources sol_one_source(const char *path)
{
    return (sol_sources){.n = 1, .row = {{(char *)path, 1}}};
}

sol_sources sol_job_sampled_source(const sol_config *c, const char *path)
{
    sol_sources all = {.n = 1, .row = {{(char *)path, c->data.self_weight}}};
    for (int i = 0; c->data.train && i < c->data.train->n; i++)
        all.row[all.n++] = c->data.train->row[i];
    return all;
}

void sol_job_made_name(const char *made, int i, char out[SOL_PATH_MAX])
{
    size_t n = strlen(made);
    const char *suffix = n > 3 && strcmp(made + n - 3, ".h5") == 0 ? ".h5" : "";
    if (i == 0)
        snprintf(out, SOL_PATH_MAX, "%s", made);
    else
        snprintf(out, SOL_PATH_MAX, "%.*s-%d%s", (int)(n - strlen(suffix)), made, i + 1, suffix);
}

/* File i, open, into the mixture. */
static void add_file(sol_job_data *d, const sol_sources *files, int i)
{
    const sol_dataset *file = &d->file[i].file;
    d->n = d->mix.n = i + 1;
    d->name[i] = files->row[i].path;
    d->mix.stream[i].tokens = &file->tokens;
    d->mix.stream[i].weight = files->row[i].weight;
}

/* Of the mixture: what is to blame is file i. */
static sol_status blame(const sol_config *c, const sol_job_data *d, const char *key, int i,
                        sol_status st, sol_err *why, sol_err *err)
{
    sol_err_prefix(why, st, "%s", d->name[i]);
    return sol_job_blame(c, key, st, why, err);
}

/* Weights count by their proportion, as they do when windows are drawn: 6 and 2 are 3 and 1. */
static sol_status take_digests(const sol_config *c, const char *key, sol_job_data *d, sol_err *err)
{
    int64_t share[SOL_MIX_MAX] = {0}, round;
    int at = 0;
    sol_err why = {0};
    sol_status st = sol_mixture_shares(&d->mix, share, &round, &at, &why);
    if (st != SOL_OK) return blame(c, d, key, at, st, &why, err);
    d->content = d->digest = SOL_FNV_START;
    for (int i = 0; i < d->n; i++) {
        const uint64_t *file = &d->file[i].file.digest;
        double weight = (double)share[i];
        d->content = sol_fnv1a(d->content, file, sizeof *file);
        d->digest = sol_fnv1a(d->digest, file, sizeof *file);
        d->digest = sol_fnv1a(d->digest, &weight, sizeof weight);
    }
    if (d->n == 1) d->content = d->digest = d->file[0].file.digest;
    return SOL_OK;
}

/* One file under two names would count twice. */
static sol_status check_once(const sol_config *c, const char *key, const sol_sources *files,
                             sol_err *err)
{
    for (int i = 0; i < files->n; i++)
        for (int k = 0; k < i; k++)
            if (sol_file_differs(files->row[k].path, files->row[i].path, NULL) != SOL_OK)
                return sol_config_fail(c, key, err, "%s and %s are the same file: name it once",
                                       files->row[k].path, files->row[i].path);
    return SOL_OK;
}

sol_status sol_job_open_data(sol_program *p, const sol_config *c, const char *key,
                             const sol_sources *files, const char *made, sol_job_made how,
                             const sol_tokenizer *t, sol_job_data *d, sol_err *err)
{
    *d = (sol_job_data){0};
    SOL_TRY(check_once(c, key, files, err));
    for (int i = 0; i < files->n; i++) {
        char path[SOL_PATH_MAX];
        sol_job_made_name(made, i, path);
        SOL_TRY(sol_job_open_tokens(p, c, key, files->row[i].path, path, how, t, &d->file[i], err));
        add_file(d, files, i);
    }
    return take_digests(c, key, d, err);
}

sol_status sol_job_look_at_data(sol_program *p, const sol_config *c, const char *key,
                                const sol_sources *files, const sol_tokenizer *t, sol_job_data *d,
                                sol_err *err)
{
    *d = (sol_job_data){0};
    SOL_TRY(check_once(c, key, files, err));
    for (int i = 0; i < files->n; i++) {
        SOL_TRY(sol_job_look_at_tokens(p, c, key, files->row[i].path, t, &d->file[i], err));
        add_file(d, files, i);
    }
    return take_digests(c, key, d, err);
}

void sol_job_close_data(sol_job_data *d)
{
    for (int i = 0; i < d->n; i++) sol_job_close_tokens(&d->file[i]);
    *d = (sol_job_data){0};
}

bool sol_job_data_whole(const sol_job_data *d)
{
    for (int i = 0; i < d->n; i++)
        if (d->file[i].part) return false;
    return d->n > 0;
}

sol_status sol_job_batcher(const sol_config *c, const sol_job_data *d, sol_batcher *b, sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_batcher_init_mixed(b, &d->mix, c->train.seq, (uint64_t)c->run.seed, &why);
    if (st != SOL_OK) return blame(c, d, "data.train", d->n > 1 ? b->n : 0, st, &why, err);
    b->answers_only = c->data.loss_on == SOL_LOSS_ON_ANSWERS;
    if (b->answers_only)
        for (int i = 0; i < d->n; i++)
            if (!d->mix.stream[i].tokens->answers)
                return sol_config_fail(
                    c, "data.loss_on", err,
                    "answers: %s has no answers: `solera tokenize` makes a dataset "
                    "with them from lines of JSON with messages",
                    d->name[i]);
    return SOL_OK;
}

sol_status sol_job_data_describe(const sol_config *c, const sol_job_data *d, const sol_batcher *b,
                                 int i, sol_text *t, sol_err *err)
{
    char count[32];
    const sol_job_tokens *file = &d->file[i];
    int64_t step = c->train.batch * c->train.accumulate;
    if (d->n > 1)
        SOL_TRY(sol_text_add(t, err, "%.3g %% ",
                             100.0 * (double)b->stream[i].share / (double)b->round));
    SOL_TRY(sol_text_add(t, err, "%s: %s%s tokens, %" PRId64 " documents", d->name[i],
                         file->part ? "more than " : "",
                         sol_count_text((double)file->file.tokens.n, count),
                         file->file.tokens.n_docs));
    if (file->part) return SOL_OK;
    int64_t epoch = sol_batcher_stream_epoch(b, i);
    return sol_text_add(t, err, ", an epoch %" PRId64 " steps, %.3g epochs", epoch / step,
                        (double)(c->train.steps * step) / (double)epoch);
}
