/* solera study --sensitivity: which layers of a model, or of a job's, it costs most to quantize. */
#include "study_layers.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "job.h"
#include "run_model.h"

/* What is measured, and how. */
typedef struct subject {
    sol_config *config; /* of a job; NULL: the word is a model */
    sol_model_file model;
    sol_quant_spec spec;
    sol_windows windows;
    const char *key, *data; /* key: of the job that names the data; NULL: --data does */
    sol_job_tokens of_job;
    sol_dataset dataset;
    const sol_tokens *tokens; /* of one of the two */
} subject;

static bool is_job(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static sol_status open_job(subject *s, sol_program *p, const char *path, sol_err *err)
{
    SOL_TRY(sol_config_read(&s->config, path, err));
    SOL_TRY(sol_config_finish(s->config, err));
    if (!sol_config_quantizes(s->config))
        return sol_config_fail(s->config, "quant.method", err, "none leaves nothing to measure");
    SOL_TRY(sol_job_open_model(p, s->config, &s->model, err));
    SOL_TRY(sol_config_quant(s->config, &s->spec, err));
    SOL_TRY(sol_job_check_quant(s->config, s->model.model, &s->spec, err));
    SOL_TRY(sol_model_add_learned(s->model.model, NULL, err)); /* the job will start its own */
    s->windows = sol_job_windows(s->config);
    const sol_sources *train = s->config->data.train;
    bool eval = s->config->data.eval[0];
    s->key = eval ? "data.eval" : "data.train";
    s->data = eval ? s->config->data.eval : train && train->n == 1 ? train->row[0].path : NULL;
    return SOL_OK;
}

/* A model without a quantizer is looked at as a report looks at it. */
static sol_status open_model(subject *s, const char *path, sol_err *err)
{
    sol_file_kind kind;
    SOL_TRY(sol_store_kind(path, &kind, err));
    if (kind == SOL_FILE_PACKED)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: is a packed model, whose latent weights are gone", path);
    SOL_TRY(sol_model_file_read(&s->model, path, SOL_F32, NULL, err));
    s->windows = s->model.windows;
    sol_status st = sol_study_view(s->model.model, NULL, &s->model.quant, &s->spec, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "%s", path);
}

/* The data of a job may be text, too. */
static sol_status open_tokens(subject *s, sol_program *p, const char *path, sol_err *err)
{
    if (!s->data || !s->data[0])
        return sol_fail(err, SOL_ERR_USAGE, "%s: --data says what to measure the loss on", path);
    if (s->key) {
        s->tokens = &s->of_job.file.tokens;
        return sol_job_look_at_tokens(p, s->config, s->key, s->data, s->model.tokenizer, &s->of_job,
                                      err);
    }
    SOL_TRY(sol_dataset_open(&s->dataset, s->data, err));
    s->tokens = &s->dataset.tokens;
    if (s->model.tokenizer && s->tokens->tokenizer_hash != sol_tokenizer_hash(s->model.tokenizer))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: was made with another tokenizer than that of %s",
                        s->data, path);
    return SOL_OK;
}

static sol_status open_subject(subject *s, sol_program *p, const sol_sensitivity_args *a,
                               sol_err *err)
{
    const char *path = p->word[0];
    SOL_TRY(is_job(path) ? open_job(s, p, path, err) : open_model(s, path, err));
    int64_t context = s->model.model->config.max_position_embeddings;
    if (s->windows.seq == 0) s->windows.seq = 256;
    if (a->seq >= 0) s->windows.seq = a->seq ? a->seq : 2048;
    if (s->windows.seq > context) s->windows.seq = context;
    s->windows.max = a->windows;
    if (a->data) s->data = a->data, s->key = NULL;
    return open_tokens(s, p, path, err);
}

static void close_subject(subject *s)
{
    if (s->tokens == &s->dataset.tokens) sol_dataset_close(&s->dataset);
    sol_job_close_tokens(&s->of_job);
    sol_model_file_free(&s->model);
    sol_config_free(&s->config);
}

static double cost(const sol_sensitivity *s, int i)
{
    return s->layer[i].loss - s->loss;
}

static void print_json(const subject *j, const sol_sensitivity *s)
{
    printf("{\"loss\": %.9g, \"tokens\": %" PRId64 ", \"seq\": %" PRId64 ", \"windows\": %" PRId64
           ", \"method\": \"%s\", \"layers\": [",
           s->loss, s->tokens, j->windows.seq, j->windows.max, j->spec.method->name);
    for (int i = 0; i < s->n; i++) {
        const sol_param *p = s->layer[i].param;
        printf("%s{\"name\": \"%s\", \"weights\": %" PRId64, i ? ", " : "", p->name,
               sol_param_count(p));
        if (isfinite(s->layer[i].loss))
            printf(", \"loss\": %.9g, \"cost\": %.9g}", s->layer[i].loss, cost(s, i));
        else
            printf(", \"loss\": null, \"cost\": null}");
    }
    printf("]}\n");
}

static void print_table(const subject *j, const sol_sensitivity *s)
{
    printf("loss %.4f in full precision, %" PRId64 " tokens; each layer alone by %s:\n", s->loss,
           s->tokens, j->spec.method->name);
    printf("   cost      loss   weights  layer\n");
    for (int i = 0; i < s->n; i++) {
        const sol_param *p = s->layer[i].param;
        char count[32];
        printf("%+7.4f %9.4f %9s  %s\n", cost(s, i), s->layer[i].loss,
               sol_count_text((double)sol_param_count(p), count), p->name);
    }
}

sol_status sol_study_sensitivity(sol_program *p, const sol_sensitivity_args *a, sol_err *err)
{
    subject j = {0};
    sol_sensitivity s = {0};
    sol_ctx *ctx;
    sol_phase phase = {p, "measuring", "layers", 0};
    sol_progress progress = {sol_phase_show_part, &phase};
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    SOL_TRY(sol_program_find_model(p, err));
    sol_interrupt_catch(false);
    sol_status st = open_subject(&j, p, a, err);
    if (st == SOL_OK) {
        phase.begun = sol_clock();
        st = sol_sensitivity_measure(&s, ctx, j.model.model, &j.spec, j.tokens, &j.windows,
                                     &progress, err);
        if (st != SOL_OK && st != SOL_ERR_INTERRUPTED)
            sol_err_prefix(err, st, "%s on %s", p->word[0], j.data);
    }
    sol_live_clear(p);
    if (st == SOL_OK && a->json) print_json(&j, &s);
    if (st == SOL_OK && !a->json) print_table(&j, &s);
    sol_sensitivity_free(&s);
    close_subject(&j);
    return st;
}
