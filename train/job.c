/* Opens what a job names: model, tokenizer, token data; and compares the job of a resume with
 * that of its run. */
#include "job.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "run_model.h"
#include "tokenize.h"

static sol_status choose_compute(sol_program *p, sol_config *c, sol_err *err)
{
    sol_ctx *ctx;
    if (p->threads == 0) p->threads = c->run.threads;
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    c->train.compute = sol_gemm_bf16_native(ctx) ? SOL_BF16 : SOL_F32;
    return SOL_OK;
}

sol_status sol_job_choose_compute(sol_program *p, sol_config *c, sol_err *err)
{
    bool asked = (int)c->train.compute == SOL_COMPUTE_AUTO;
    sol_status st = asked && sol_dist_rank(p->dist) == 0 ? choose_compute(p, c, err) : SOL_OK;
    if (!p->dist) return st;
    sol_dtype of_first = c->train.compute;
    SOL_TRY(sol_dist_agree(p->dist, st, err));
    SOL_TRY(sol_dist_broadcast(p->dist, &of_first, sizeof of_first, err));
    if (asked) c->train.compute = of_first;
    return SOL_OK;
}

static sol_status set_and_finish(sol_program *p, sol_config *c, const sol_words *set, sol_err *err)
{
    for (int i = 0; i < set->n; i++) SOL_TRY(sol_config_set(c, set->word[i], err));
    SOL_TRY(sol_config_finish(c, err));
    return sol_job_choose_compute(p, c, err);
}

sol_status sol_job_read(sol_program *p, sol_config **c, const char *path, const sol_words *set,
                        sol_err *err)
{
    SOL_TRY(sol_config_read(c, path, err));
    sol_status st = set_and_finish(p, *c, set, err);
    if (st != SOL_OK) sol_config_free(c);
    return st;
}

sol_status sol_job_blame(const sol_config *c, const char *key, sol_status st, const sol_err *why,
                         sol_err *err)
{
    if (st == SOL_ERR_NOMEM || st == SOL_ERR_INTERRUPTED) return sol_fail(err, st, "%s", why->text);
    sol_config_fail(c, key, err, "%s", why->text);
    if (err) err->status = st;
    return st;
}

sol_status sol_job_plan_study(const sol_config *c, const sol_model *m, const sol_study_opts *o,
                              int threads, sol_plan *plan, sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_study_plan(m, o, threads, plan, &why);
    return st == SOL_OK ? SOL_OK : sol_job_blame(c, "study.layers", st, &why, err);
}

static bool has_suffix(const char *path, const char *suffix)
{
    size_t n = strlen(path), k = strlen(suffix);
    return n >= k && strcmp(path + n - k, suffix) == 0;
}

/* The shape by name, with the tokenizer's own begin and end tokens. */
static sol_status random_config(const sol_config *c, sol_model_config *m, sol_tokenizer **t,
                                sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_model_config_named(sol_config_random_shape(c), m, &why);
    if (st != SOL_OK) return sol_job_blame(c, "model.init", st, &why, err);
    st = sol_store_tokenizer(t, c->model.tokenizer, &why);
    if (st != SOL_OK) return sol_job_blame(c, "model.tokenizer", st, &why, err);
    int64_t n = sol_tokenizer_vocab_size(*t);
    if (n > m->vocab_size)
        return sol_config_fail(c, "model.tokenizer", err,
                               "%s has %lld tokens, the shape '%s' only %lld", c->model.tokenizer,
                               (long long)n, sol_config_random_shape(c), (long long)m->vocab_size);
    if (c->model.sub_norm) sol_family_add_sub_norms(m);
    m->bos_token_id = sol_tokenizer_bos(*t);
    m->eos_token_id = sol_tokenizer_eos(*t);
    return SOL_OK;
}

static sol_status check_seq(const sol_config *c, const sol_model_config *m, sol_err *err)
{
    bool calibrates = c->calibrate.seq > m->max_position_embeddings;
    int64_t seq = calibrates ? c->calibrate.seq : c->train.seq;
    if (seq <= m->max_position_embeddings) return SOL_OK;
    return sol_config_fail(c, calibrates ? "calibrate.seq" : "train.seq", err,
                           "%lld is more than the model's %lld positions", (long long)seq,
                           (long long)m->max_position_embeddings);
}

/* p NULL: without weights, here and below. */
static sol_status make_random(sol_program *p, const sol_config *c, sol_model_file *f, sol_err *err)
{
    sol_ctx *ctx;
    sol_model_config m;
    sol_dtype dtype = sol_config_param_dtype(c);
    SOL_TRY(random_config(c, &m, &f->tokenizer, err));
    if (!p) return sol_model_describe(&f->model, &m, dtype, err);
    SOL_TRY(sol_program_ctx(p, &ctx, err));
    SOL_TRY(sol_model_create(&f->model, &m, dtype, err));
    sol_model_init_random(ctx, f->model, (uint64_t)c->run.seed);
    return SOL_OK;
}

static sol_status read_weights(sol_program *p, const char *path, sol_dtype dtype, sol_model_file *f,
                               sol_err *err)
{
    sol_phase phase = {p, "reading the model", "weights", sol_clock()};
    sol_progress progress = {sol_phase_show_part, &phase};
    sol_status st = sol_model_file_read(f, path, dtype, &progress, err);
    sol_live_clear(p);
    return st;
}

static sol_status read_model_file(sol_program *p, const char *path, sol_dtype dtype,
                                  sol_model_file *f, sol_err *err)
{
    sol_file_kind kind;
    if (sol_is_directory(path)) return sol_run_refuse(path, err);
    SOL_TRY(sol_store_kind(path, &kind, err));
    if (kind != SOL_FILE_MODEL && kind != SOL_FILE_CHECKPOINT)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: is %s, not a model to train", path,
                        sol_file_kind_text(kind));
    SOL_TRY(p ? read_weights(p, path, dtype, f, err)
              : sol_model_file_describe(f, path, dtype, err));
    return f->tokenizer ? SOL_OK : sol_fail(err, SOL_ERR_FORMAT, "%s: holds no tokenizer", path);
}

/* The weights alone: what trained them, and how, is the history of another run. */
static sol_status read_model(sol_program *p, const sol_config *c, sol_model_file *f, sol_err *err)
{
    sol_err why = {0};
    sol_status st = read_model_file(p, c->model.init, sol_config_param_dtype(c), f, &why);
    sol_free(f->config_yaml);
    sol_quant_overrides_free(&f->overrides);
    *f = (sol_model_file){.model = f->model, .tokenizer = f->tokenizer, .windows = f->windows};
    return st == SOL_OK ? SOL_OK : sol_job_blame(c, "model.init", st, &why, err);
}

sol_status sol_job_open_model(sol_program *p, const sol_config *c, sol_model_file *f, sol_err *err)
{
    *f = (sol_model_file){0};
    SOL_TRY(sol_config_random_shape(c) ? make_random(p, c, f, err) : read_model(p, c, f, err));
    return check_seq(c, &f->model->config, err);
}

sol_status sol_job_model_header(const sol_config *c, sol_model_config *m, sol_tokenizer **t,
                                sol_err *err)
{
    sol_model_file f;
    *t = NULL;
    sol_status st = sol_job_open_model(NULL, c, &f, err);
    if (st == SOL_OK) {
        *m = f.model->config;
        *t = f.tokenizer;
        f.tokenizer = NULL;
    }
    sol_model_file_free(&f);
    return st;
}

sol_status sol_job_model_config(const sol_config *c, sol_model_config *m, sol_err *err)
{
    sol_tokenizer *t;
    sol_status st = sol_job_model_header(c, m, &t, err);
    sol_tokenizer_free(&t);
    return st;
}

sol_status sol_job_check_quant(const sol_config *c, const sol_model *m, const sol_quant_spec *spec,
                               sol_err *err)
{
    sol_err why = {0};
    if (!spec->method) return SOL_OK;
    sol_status st = sol_model_check_overrides(m, spec, &why);
    if (st != SOL_OK) return sol_job_blame(c, "quant.overrides", st, &why, err);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized) continue;
        sol_quant_spec own = sol_quant_for(spec, p->name);
        st = sol_quant_check(&own, p->name, p->rows, p->cols, &why);
        if (st != SOL_OK && sol_quant_override_of(spec, p->name))
            return sol_job_blame(c, "quant.overrides", st, &why, err);
        if (st != SOL_OK)
            return sol_job_blame(
                c, spec->granularity == SOL_PER_GROUP ? "quant.group_size" : "quant.method", st,
                &why, err);
    }
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (sol_param_shipped(p, spec) != SOL_TERNARY) continue;
        st = sol_packed_shape(spec, p->name, p->rows, p->cols, &(sol_stored){0}, &why);
        if (st != SOL_OK) return sol_job_blame(c, "quant.embed_type", st, &why, err);
    }
    return SOL_OK;
}

/* Whether so many lanes have equal shares of a step. */
static bool cut_step(const sol_config *c, int64_t lanes, sol_job_cut *cut)
{
    int64_t batch = c->train.batch, accumulate = c->train.accumulate;
    *cut = (sol_job_cut){.lanes = lanes, .micro = 1, .rows = batch};
    if (accumulate % lanes == 0)
        cut->micro = accumulate / lanes;
    else
        cut->rows = batch * accumulate / lanes;
    return accumulate % lanes == 0 ||
           (lanes % accumulate == 0 && batch % (lanes / accumulate) == 0);
}

/* "1, 2, 4 or 8": the powers of two up to `last`, of which c, unless it is NULL, can be cut into.
 */
static void list_powers(const sol_config *c, int64_t last, char out[128])
{
    sol_job_cut cut;
    int64_t good[16];
    int n = 0;
    for (int64_t k = 1; k <= last && n < 16; k *= 2)
        if (!c || cut_step(c, k, &cut)) good[n++] = k;
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, 128 - used, "%s%lld",
                                 i == 0       ? ""
                                 : i + 1 == n ? " or "
                                              : ", ",
                                 (long long)good[i]);
}

/* What a rank has of the lanes, and how its gradients come. */
static sol_status share_lanes(const sol_config *c, int ranks, sol_job_cut *cut, sol_err *err)
{
    sol_quant_spec spec;
    SOL_TRY(sol_config_quant(c, &spec, err));
    bool learns = spec.method && spec.method->n_learned > 0;
    cut->own = cut->lanes / ranks;
    cut->in_parts = c->optim.fused || cut->lanes > 1;
    cut->by_layer = cut->in_parts && cut->own * cut->micro == 1 && !learns && c->study.every == 0 &&
                    c->distill.grad_norms == 0;
    cut->in_turns = cut->by_layer && ranks > 1;
    return SOL_OK;
}

sol_status sol_job_cut_step(const sol_config *c, int ranks, sol_job_cut *cut, sol_err *err)
{
    enum { MAX_LANES = 4096 };
    int64_t lanes = sol_max_i64(c->train.lanes, 1);
    char list[128];
    if ((lanes & (lanes - 1)) != 0 || !cut_step(c, lanes, cut)) {
        list_powers(c, MAX_LANES, list);
        return sol_config_fail(c, "train.lanes", err,
                               "%lld lanes%s do not share the %lld windows of a step, "
                               "train.accumulate %lld times train.batch %lld: %s do",
                               (long long)lanes, lanes == ranks ? ", one a rank," : "",
                               (long long)(c->train.batch * c->train.accumulate),
                               (long long)c->train.accumulate, (long long)c->train.batch, list);
    }
    if (lanes % ranks == 0) return share_lanes(c, ranks, cut, err);
    list_powers(NULL, lanes, list);
    return sol_config_fail(c, "train.lanes", err,
                           "%d ranks do not share the %lld lane%s of the run: %s do%s", ranks,
                           (long long)lanes, lanes == 1 ? "" : "s", list, lanes == 1 ? "es" : "");
}

sol_self_opts sol_job_self(const sol_config *c)
{
    return (sol_self_opts){.n_tokens = c->data.self_tokens,
                           .max_len = c->data.self_length ? c->data.self_length : c->train.seq,
                           .temperature = (float)c->data.self_temperature,
                           .seed = (uint64_t)c->run.seed};
}

/* As sol_batcher cuts the data that the model is trained on. */
sol_windows sol_job_windows(const sol_config *c)
{
    return (sol_windows){.seq = c->train.seq, .max = c->train.eval_windows, .apart = true};
}

/* Why c is another run than the old one, and how to go on where only its length makes it so. */
static sol_status refuse_other_run(const sol_config *old, const sol_config *c, const char *dir,
                                   int64_t done, const char *text, sol_err *err)
{
    char model[SOL_PATH_MAX];
    bool best;
    const char *lambda =
        done >= old->train.steps && sol_config_residual(old).schedule != SOL_RESIDUAL_NONE
            ? " --set residual.schedule=none"
            : "";
    if (old->train.steps == c->train.steps || sol_run_model(dir, model, &best, NULL) != SOL_OK)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "%s: cannot resume, these keys would make it another run: %s", dir, text);
    if (!best && done > 0) /* the newest may be damaged; that one was read */
        snprintf(model, sizeof model, "%s/ckpt/step-%06lld.h5", dir, (long long)done);
    return sol_fail(err, SOL_ERR_CONFIG,
                    "%s: cannot resume, these keys would make it another run: %s (the schedules of "
                    "the steps that are done depend on train.steps, and no checkpoint before that "
                    "is kept); a new run goes on with the weights: --set model.init=%s --set "
                    "run.dir=NEW%s",
                    dir, text, model, lambda);
}

static bool same_paths(const sol_sources *a, const sol_sources *b)
{
    int n = a ? a->n : 0;
    if (n != (b ? b->n : 0)) return false;
    for (int i = 0; i < n; i++)
        if (strcmp(a->row[i].path, b->row[i].path) != 0) return false;
    return true;
}

static void compare_names(const sol_config *old, const sol_config *c, sol_job_same *same)
{
    same->train = same->train && same_paths(old->data.train, c->data.train);
    same->eval = same->eval && strcmp(old->data.eval, c->data.eval) == 0;
    same->calibrate = same->calibrate && strcmp(old->calibrate.data, c->calibrate.data) == 0;
}

sol_status sol_job_compare(sol_program *p, const sol_config *c, const char *dir, int64_t done,
                           const char *name, const char *yaml, bool say, sol_job_same *same,
                           sol_err *err)
{
    sol_config *old = NULL;
    char *text = NULL;
    bool fatal = false;
    sol_status st = sol_config_parse(&old, name, yaml, strlen(yaml), err);
    if (st == SOL_OK) st = sol_config_diff(old, c, done, &text, &fatal, err);
    if (st == SOL_OK && fatal) st = refuse_other_run(old, c, dir, done, text, err);
    if (st == SOL_OK && done > c->train.steps)
        st = sol_config_fail(c, "train.steps", err,
                             "%lld, but %s has done %lld: it does not go back",
                             (long long)c->train.steps, dir, (long long)done);
    if (st == SOL_OK) compare_names(old, c, same);
    if (st == SOL_OK && say && text[0])
        sol_log_line(&p->log, SOL_LOG_INFO, "changed since the last time: %s", text);
    sol_free(text);
    sol_config_free(&old);
    return st;
}

sol_status sol_job_compare_run(sol_program *p, const sol_config *c, const sol_run_dir *dir,
                               int64_t done, bool say, sol_job_same *same, sol_err *err)
{
    char path[SOL_PATH_MAX], *yaml = NULL;
    size_t n;
    sol_run_dir_file(dir, "config.yaml", path);
    sol_status st = sol_file_read(path, &yaml, &n, err);
    if (st == SOL_OK) st = sol_job_compare(p, c, dir->path, done, path, yaml, say, same, err);
    sol_free(yaml);
    return st;
}

/* Everything but HDF5, by content: other kinds of files are refused by name when they are read as
 * text. A pipe is text: to look into it would take away what it holds. */
static bool is_text(const char *path)
{
    static const char hdf5[] = "\x89HDF\r\n\x1A\n";
    char head[sizeof hdf5 - 1];
    struct stat s;
    if (has_suffix(path, ".h5")) return false;
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) return true;
    return sol_file_head(path, head, sizeof head, NULL) != SOL_OK ||
           memcmp(head, hdf5, sizeof head) != 0;
}

/* max_bytes: as in sol_tokenize_opts. */
static sol_status make_dataset(sol_program *p, const sol_config *c, const char *path,
                               const char *made, const sol_tokenizer *t, uint64_t max_bytes,
                               bool *part, sol_err *err)
{
    sol_tokenize_result r;
    sol_tokenize_opts opts = {.tokenizer = t,
                              .docs = {.files = &path, .n_files = 1},
                              .special = c->data.special,
                              .special_yes = "data.special: yes",
                              .out = made,
                              .max_bytes = max_bytes};
    sol_status st = sol_tokenize_files(p, &opts, &r, err);
    *part = max_bytes > 0 && r.text_bytes >= max_bytes;
    return st;
}

/* A run that goes on keeps the dataset that it made, whatever became of the text. */
static void warn_of_newer(const sol_program *p, const char *path, const char *made)
{
    struct stat text, set;
    if (stat(path, &text) != 0 || stat(made, &set) != 0) return;
    if (text.st_mtim.tv_sec < set.st_mtim.tv_sec ||
        (text.st_mtim.tv_sec == set.st_mtim.tv_sec && text.st_mtim.tv_nsec <= set.st_mtim.tv_nsec))
        return;
    sol_log_line(&p->log, SOL_LOG_WARN,
                 "%s: is newer than %s, which was made of it: the run goes on with that as it is",
                 path, made);
}

static sol_status open_dataset(const char *path, sol_job_tokens *d, sol_err *err)
{
    sol_status st = sol_dataset_open(&d->file, path, err);
    d->open = st == SOL_OK;
    return st;
}

/* The dataset of a text, which leaves no file. */
static sol_status open_unkept(sol_program *p, const sol_config *c, const char *path,
                              const sol_tokenizer *t, uint64_t max_bytes, sol_job_tokens *d,
                              sol_err *err)
{
    const char *temp = getenv("TMPDIR");
    char dir[SOL_PATH_MAX / 2], made[SOL_PATH_MAX];
    snprintf(dir, sizeof dir, "%s/solera-XXXXXX", temp && temp[0] ? temp : "/tmp");
    if (!mkdtemp(dir)) return sol_fail_errno(err, dir, "cannot make directory");
    snprintf(made, sizeof made, "%s/tokens.h5", dir);
    sol_status st = make_dataset(p, c, path, made, t, max_bytes, &d->part, err);
    if (st == SOL_OK) st = open_dataset(made, d, err);
    unlink(made); /* it stays mapped */
    rmdir(dir);
    return st;
}

/* Is the dataset that was made once of this text? */
static sol_status compare_text(sol_program *p, const sol_config *c, const char *path,
                               const sol_dataset *was, const sol_tokenizer *t, sol_err *err)
{
    sol_job_tokens now = {0};
    sol_status st = open_unkept(p, c, path, t, 0, &now, err);
    if (st == SOL_OK && now.file.digest != was->digest)
        st = sol_fail(err, SOL_ERR_CONFIG,
                      "%s: cannot resume, this is not the text that the run began with", path);
    sol_job_close_tokens(&now);
    return st;
}

static sol_status open_text(sol_program *p, const sol_config *c, const char *path, const char *made,
                            sol_job_made how, const sol_tokenizer *t, sol_job_tokens *d,
                            sol_err *err)
{
    bool again = how == SOL_MADE_AGAIN || !sol_file_exists(made);
    if (again) SOL_TRY(make_dataset(p, c, path, made, t, 0, &d->part, err));
    SOL_TRY(open_dataset(made, d, err));
    if (again) return SOL_OK;
    if (how == SOL_MADE_COMPARED) return compare_text(p, c, path, &d->file, t, err);
    warn_of_newer(p, path, made);
    return SOL_OK;
}

/* What was opened, with status st and `why`, against the job. */
static sol_status check_tokens(const sol_config *c, const char *key, const char *path,
                               const sol_tokenizer *t, sol_job_tokens *d, sol_status st,
                               sol_err *why, sol_err *err)
{
    if (st == SOL_OK && d->file.tokens.tokenizer_hash != sol_tokenizer_hash(t))
        st = sol_fail(why, SOL_ERR_CONFIG, "%s: was made with another tokenizer than the model's",
                      path);
    if (st == SOL_OK) return SOL_OK;
    sol_job_close_tokens(d);
    return sol_job_blame(c, key, st, why, err);
}

sol_job_made sol_job_made_how(bool is_first, bool goes_on, bool same)
{
    if (is_first && !goes_on) return SOL_MADE_AGAIN;
    return is_first && !same ? SOL_MADE_COMPARED : SOL_MADE_TAKEN;
}

sol_status sol_job_open_tokens(sol_program *p, const sol_config *c, const char *key,
                               const char *path, const char *made, sol_job_made how,
                               const sol_tokenizer *t, sol_job_tokens *d, sol_err *err)
{
    sol_err why = {0};
    bool text = is_text(path);
    *d = (sol_job_tokens){0};
    sol_status st =
        text ? open_text(p, c, path, made, how, t, d, &why) : open_dataset(path, d, &why);
    return check_tokens(c, key, text ? made : path, t, d, st, &why, err);
}

sol_status sol_job_look_at_tokens(sol_program *p, const sol_config *c, const char *key,
                                  const char *path, const sol_tokenizer *t, sol_job_tokens *d,
                                  sol_err *err)
{
    struct stat s;
    sol_err why = {0};
    sol_status st;
    *d = (sol_job_tokens){0};
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode))
        st = sol_fail(
            &why, SOL_ERR_USAGE,
            "%s: is no regular file: what is read here the run would miss; plan with a file", path);
    else if (is_text(path))
        st = open_unkept(p, c, path, t, SOL_LOOK_BYTES, d, &why);
    else
        st = open_dataset(path, d, &why);
    return check_tokens(c, key, path, t, d, st, &why, err);
}

void sol_job_close_tokens(sol_job_tokens *d)
{
    if (d->open) sol_dataset_close(&d->file);
    memset(d, 0, sizeof *d);
}
