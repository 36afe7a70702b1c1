#include "distill.h"

#include <string.h>

const char *sol_job_teacher_path(const sol_config *c)
{
    return strcmp(c->distill.teacher, "self") == 0 ? c->model.init : c->distill.teacher;
}

static sol_status check_config(const sol_config *c, const sol_model_config *student, const sol_model_config *teacher,
                               sol_err *err)
{
    const char *path = sol_job_teacher_path(c);
    if (teacher->vocab_size != student->vocab_size)
        return sol_config_fail(c, "distill.teacher", err, "%s has a vocabulary of %lld tokens, the model one of %lld",
                               path, (long long)teacher->vocab_size, (long long)student->vocab_size);
    if (teacher->max_position_embeddings < c->train.seq)
        return sol_config_fail(c, "distill.teacher", err, "%s has %lld positions, train.seq is %lld", path,
                               (long long)teacher->max_position_embeddings, (long long)c->train.seq);
    if (c->distill.top_k > teacher->vocab_size)
        return sol_config_fail(c, "distill.top_k", err, "%lld is more than the vocabulary of %lld tokens",
                               (long long)c->distill.top_k, (long long)teacher->vocab_size);
    if (c->distill.hidden_weight > 0 && (teacher->hidden_size != student->hidden_size ||
                                         teacher->num_hidden_layers != student->num_hidden_layers))
        return sol_config_fail(c, "distill.hidden_weight", err,
                               "needs a teacher of %lld layers of width %lld; %s has %lld of %lld",
                               (long long)student->num_hidden_layers, (long long)student->hidden_size, path,
                               (long long)teacher->num_hidden_layers, (long long)teacher->hidden_size);
    return SOL_OK;
}

sol_status sol_job_teacher_config(const sol_config *c, const sol_model_config *student, sol_model_config *teacher,
                                  sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_store_read_header(sol_job_teacher_path(c), teacher, NULL, &why);
    if (st != SOL_OK) return sol_job_blame(c, "distill.teacher", st, &why, err);
    return check_config(c, student, teacher, err);
}

static sol_status check_file(const sol_config *c, const sol_checkpoint *ck, const sol_tokenizer *tokenizer,
                             sol_err *err)
{
    const char *path = sol_job_teacher_path(c);
    if (ck->tokenizer && sol_tokenizer_hash(ck->tokenizer) != sol_tokenizer_hash(tokenizer))
        return sol_config_fail(c, "distill.teacher", err, "%s: has another tokenizer than the model", path);
    /* Its own quantizer is no part of a model that the student starts from: `self` is the weights as they are. */
    if (ck->quant.method && strcmp(c->distill.teacher, "self") != 0)
        return sol_config_fail(c, "distill.teacher", err,
                               "%s: was trained with quant.method %s; a teacher is a full-precision model", path,
                               ck->quant.method->name);
    return SOL_OK;
}

static sol_status read_weights(const sol_ctx *ctx, const sol_config *c, const sol_model_config *student,
                               const sol_tokenizer *tokenizer, sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    sol_checkpoint ck = {0};
    sol_status st = sol_checkpoint_read_model(&ck, sol_job_teacher_path(c), SOL_F32, &why);
    if (st != SOL_OK) return sol_job_blame(c, "distill.teacher", st, &why, err);
    st = check_config(c, student, &ck.model->config, err);
    if (st == SOL_OK) st = check_file(c, &ck, tokenizer, err);
    if (st == SOL_OK) st = sol_teacher_create(&t->teacher, ctx, ck.model, sol_config_teacher_type(c), err);
    sol_checkpoint_free(&ck);
    return st;
}

sol_status sol_job_teacher_open(const sol_ctx *ctx, const sol_config *c, const sol_model_config *student,
                                const sol_tokenizer *tokenizer, sol_job_teacher *t, sol_err *err)
{
    sol_err why = {0};
    *t = (sol_job_teacher){.loss = sol_config_distill(c)};
    sol_status st = sol_store_model_digest(sol_job_teacher_path(c), &t->digest, &why);
    if (st != SOL_OK) return sol_job_blame(c, "distill.teacher", st, &why, err);
    return read_weights(ctx, c, student, tokenizer, t, err);
}

void sol_job_teacher_close(sol_job_teacher *t)
{
    sol_teacher_free(&t->teacher);
    *t = (sol_job_teacher){0};
}

void sol_job_teacher_opts(const sol_config *c, const sol_job_teacher *t, sol_graph_opts *o)
{
    o->distill = &t->loss;
    o->teacher = t->teacher;
    o->hidden_weight = (float)c->distill.hidden_weight;
}

float sol_job_teacher_gamma(const sol_config *c, sol_graph *g, const sol_batcher *data, int32_t *buffer)
{
    int64_t B = c->train.batch, T = c->train.seq, windows = sol_batcher_windows(data), counted = 0;
    int32_t *inputs = buffer, *targets = buffer + B * T, *doc_start = buffer + 2 * B * T;
    double sum = 0;
    if (windows > SOL_GAMMA_WINDOWS) windows = SOL_GAMMA_WINDOWS;
    sol_graph_begin_step(g, (sol_residual_mix){1, 0});
    for (int64_t i = 0; i < windows; i += B) {
        double loss;
        int64_t n;
        for (int64_t b = 0; b < B; b++) { /* what is left of the last batch does not count */
            sol_batcher_window(data, (i + b) % windows, inputs + b * T, targets + b * T, doc_start + b * T);
            for (int64_t k = 0; i + b >= windows && k < T; k++) targets[b * T + k] = -1;
        }
        sol_graph_loss(g, inputs, targets, doc_start, &loss, &n);
        sum += sol_graph_last_distilled(g).teacher;
        counted += n;
    }
    return counted ? (float)(sum / (double)counted) : 0;
}
