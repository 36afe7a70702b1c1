/* Writes checkpoints and model files: parameters, and beside them what a run needs to go on. Reads
 * the state of a run; what a checkpoint shares with a model file is read by model_file.c. */
#include "store/checkpoint.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "store/parts.h"

void sol_checkpoint_free(sol_checkpoint *c)
{
    sol_model_file_free(&c->file);
    sol_adamw_free(&c->optim);
    sol_free(c->study);
    *c = (sol_checkpoint){0};
}

/* ---- run state ---- */

typedef struct state_row {
    const char *name;
    bool real;
    size_t offset;
} state_row;

#define ROW(member, real) \
    { \
#member, real, offsetof(sol_run_state, member) \
    }
static const state_row state_rows[] = {
    ROW(step, false),         ROW(tokens, false),         ROW(drawn, false),
    ROW(skipped, false),      ROW(seed, false),           ROW(best_eval_loss, true),
    ROW(best_step, false),    ROW(metrics_bytes, false),  ROW(ema_loss, true),
    ROW(data_digest, false),  ROW(teacher_digest, false), ROW(full_loss, true),
    ROW(cache_digest, false), ROW(model_digest, false),   ROW(eval_digest, false),
};
#undef ROW
enum { N_STATE_ROWS = sizeof state_rows / sizeof *state_rows };

static sol_status put_state(sol_h5_writer *w, const sol_run_state *s, sol_err *err)
{
    int id;
    SOL_TRY(sol_h5_group(w, "/state", &id, err));
    for (int i = 0; i < N_STATE_ROWS; i++) {
        const void *at = (const char *)s + state_rows[i].offset;
        SOL_TRY(state_rows[i].real
                    ? sol_h5_set_f64(w, id, state_rows[i].name, *(const double *)at, err)
                    : sol_h5_set_u64(w, id, state_rows[i].name, *(const uint64_t *)at, err));
    }
    return SOL_OK;
}

static sol_status get_state(const sol_h5_file *f, sol_run_state *s, sol_err *err)
{
    const sol_h5_node *n;
    SOL_TRY(sol_h5_need_group(f, "/state", &n, err));
    for (int i = 0; i < N_STATE_ROWS; i++) {
        void *at = (char *)s + state_rows[i].offset;
        /* The first files had neither digests nor full_loss. */
        bool later =
            strstr(state_rows[i].name, "_digest") || strcmp(state_rows[i].name, "full_loss") == 0;
        if (later && !sol_h5_node_attr(n, state_rows[i].name)) continue;
        SOL_TRY(state_rows[i].real ? sol_h5_get_f64(f, n, state_rows[i].name, at, err)
                                   : sol_h5_get_u64(f, n, state_rows[i].name, at, err));
    }
    return SOL_OK;
}

/* The recorder's state, as it is: only the recorder knows what it means. */
static const char study_path[] = "/state/study";

static sol_status put_study(sol_h5_writer *w, size_t bytes, int *id, sol_err *err)
{
    int64_t n = (int64_t)bytes;
    return sol_h5_dataset(w, study_path, SOL_H5_U8, 1, &n, id, err);
}

static sol_status get_study(const sol_h5_file *f, sol_checkpoint *c, sol_err *err)
{
    const sol_h5_node *n;
    int64_t any = -1;
    SOL_TRY(sol_h5_need_dataset(f, study_path, SOL_H5_U8, 1, &any, &n, err));
    SOL_TRY(sol_alloc_array(&c->study, n->bytes, 1, err));
    c->study_bytes = n->bytes;
    return sol_h5_read(f, n, c->study, err);
}

/* ---- optimizer ---- */

enum { N_MOMENT_PARTS = 4 };
static const sol_enumerator *const moments_names = SOL_ENUM_TABLE(SOL_MOMENTS);

/* A dataset of the moments. */
typedef struct moment_part {
    const char *path;
    void *data;
    sol_h5_type type;
    int64_t n;
} moment_part;

/* How many of the parts there are. */
static int moment_parts(const sol_adamw *o, moment_part part[N_MOMENT_PARTS])
{
    static const sol_h5_type type[] = {
        [SOL_F32] = SOL_H5_F32, [SOL_BF16] = SOL_H5_U16, [SOL_U8] = SOL_H5_U8};
    part[0] = (moment_part){"/optim/m", o->m, type[o->config.moments], o->n_elements};
    part[1] = (moment_part){"/optim/v", o->v, type[o->config.moments], o->n_elements};
    part[2] = (moment_part){"/optim/m_scale", o->m_scale, SOL_H5_F32, o->n_blocks};
    part[3] = (moment_part){"/optim/v_scale", o->v_scale, SOL_H5_F32, o->n_blocks};
    return o->config.moments == SOL_U8 ? N_MOMENT_PARTS : 2;
}

static sol_status put_optim(sol_h5_writer *w, const sol_adamw *o, int ids[N_MOMENT_PARTS],
                            sol_err *err)
{
    int id;
    SOL_TRY(sol_h5_group(w, "/optim", &id, err));
    SOL_TRY(sol_h5_set_text(w, id, "kind", "adamw", err));
    SOL_TRY(sol_h5_set_i64(w, id, "t", o->t, err));
    SOL_TRY(sol_h5_set_f64(w, id, "beta1", o->config.beta1, err));
    SOL_TRY(sol_h5_set_f64(w, id, "beta2", o->config.beta2, err));
    SOL_TRY(sol_h5_set_f64(w, id, "eps", o->config.eps, err));
    SOL_TRY(sol_h5_set_f64(w, id, "weight_decay", o->config.weight_decay, err));
    SOL_TRY(sol_h5_set_i64(w, id, "stochastic_rounding", o->config.stochastic_rounding, err));
    SOL_TRY(sol_h5_set_u64(w, id, "seed", o->config.seed, err));
    SOL_TRY(sol_h5_set_text(w, id, "moments", sol_enum_name(moments_names, (int)o->config.moments),
                            err));
    moment_part part[N_MOMENT_PARTS];
    int n = moment_parts(o, part);
    for (int i = 0; i < n; i++)
        SOL_TRY(sol_h5_dataset(w, part[i].path, part[i].type, 1, &part[i].n, &ids[i], err));
    return SOL_OK;
}

/* Where the bytes of the moments go. */
typedef struct moment_target {
    sol_h5_writer *w;
    const int *ids;
} moment_target;

/* sol_moments_put */
static sol_status append_moments(void *user, int array, const void *data, size_t bytes,
                                 sol_err *err)
{
    const moment_target *to = user;
    return sol_h5_append(to->w, to->ids[array], data, bytes, err);
}

static sol_status append_all_moments(moment_target *to, const sol_adamw *o, sol_err *err)
{
    moment_part part[N_MOMENT_PARTS];
    int n = moment_parts(o, part);
    for (int i = 0; i < n; i++) {
        size_t bytes = (size_t)part[i].n * sol_h5_type_size(part[i].type);
        SOL_TRY(append_moments(to, i, part[i].data, bytes, err));
    }
    return SOL_OK;
}

/* A file without the attribute holds fp32: it is older than the choice. */
static sol_status get_moments_kind(const sol_h5_file *f, const sol_h5_node *group, sol_dtype *kind,
                                   sol_err *err)
{
    int value = SOL_F32;
    const char *name = sol_enum_name(moments_names, value);
    if (sol_h5_node_attr(group, "moments"))
        SOL_TRY(sol_h5_get_text(f, group, "moments", &name, err));
    if (!sol_enum_find(moments_names, name, strlen(name), &value)) {
        char list[128];
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: /optim: moments is %.40s, expected %s",
                        f->path, name,
                        sol_enum_list(moments_names, ", ", " or ", list, sizeof list));
    }
    *kind = (sol_dtype)value;
    return SOL_OK;
}

/* Finds all datasets of the moments: node[moment_parts]. */
static sol_status find_moments(const sol_h5_file *f, const sol_model *m, const sol_adamw_config *c,
                               const sol_h5_node **node, sol_err *err)
{
    moment_part part[N_MOMENT_PARTS];
    sol_adamw sizes = {.config = *c, .n_elements = m->n_elements};
    for (int i = 0; i < m->n_params; i++) sizes.n_blocks += sol_moment_blocks(&m->params[i]);
    int n = moment_parts(&sizes, part);
    for (int i = 0; i < n; i++)
        SOL_TRY(sol_h5_need_dataset(f, part[i].path, part[i].type, 1, &part[i].n, &node[i], err));
    return SOL_OK;
}

/* How far a read is, of the bytes of parameters and moments. */
typedef struct reading {
    const sol_progress *to;
    int64_t done, params, total;
} reading;

static reading reading_begin(const sol_h5_file *f, const sol_progress *to, sol_moments_how how)
{
    reading r = {.to = to};
    for (size_t i = 0; i < f->tree.n; i++) {
        const sol_h5_node *n = &f->tree.node[i];
        bool moments = strncmp(n->path, "/optim/", 7) == 0;
        if (strncmp(n->path, "/params/", 8) == 0) r.params += (int64_t)n->bytes;
        if (moments && how != SOL_MOMENTS_LEFT) r.total += (int64_t)n->bytes;
    }
    r.total += r.params;
    return r;
}

/* sol_progress of the parameters, in weights. */
static bool show_params(void *user, const char *part, int64_t done, int64_t total)
{
    reading *r = user;
    r->done = (int64_t)((double)r->params * (double)done / (double)total);
    return sol_progress_show(r->to, part, r->done, r->total);
}

/* `here` bytes of a dataset of the moments are read. */
static sol_status show_moments(const reading *r, const sol_h5_file *f, const sol_h5_node *n,
                               uint64_t here, sol_err *err)
{
    if (sol_progress_show(r->to, n->path + 1, r->done + (int64_t)here, r->total)) return SOL_OK;
    return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: interrupted", f->path);
}

static sol_status read_moments(const sol_h5_file *f, const sol_h5_node *n, char *out, reading *r,
                               sol_err *err)
{
    enum { PIECE = 1 << 20 }; /* the checksum is computed while a piece is in the cache */
    sol_h5_stream s = {.file = f, .node = n};
    while (s.done < n->bytes) {
        uint64_t some = n->bytes - s.done < PIECE ? n->bytes - s.done : PIECE;
        SOL_TRY(sol_h5_stream_next(&s, out + s.done, (size_t)some, err));
        SOL_TRY(show_moments(r, f, n, s.done, err));
    }
    r->done += (int64_t)n->bytes;
    return SOL_OK;
}

/* They are found before the optimizer is allocated, so that a damaged file does not cost the memory
 * of a good one. */
static sol_status get_moments(const sol_h5_file *f, const sol_model *m, const sol_adamw_config *c,
                              reading *r, sol_adamw **o, sol_err *err)
{
    const sol_h5_node *node[N_MOMENT_PARTS];
    moment_part part[N_MOMENT_PARTS];
    SOL_TRY(find_moments(f, m, c, node, err));
    SOL_TRY(sol_adamw_create(o, m, c, err));
    int n = moment_parts(*o, part);
    for (int i = 0; i < n; i++) SOL_TRY(read_moments(f, node[i], part[i].data, r, err));
    return SOL_OK;
}

static sol_status verify_moments(const sol_h5_file *f, const sol_model *m,
                                 const sol_adamw_config *c, reading *r, sol_err *err)
{
    const sol_h5_node *node[N_MOMENT_PARTS] = {NULL};
    SOL_TRY(find_moments(f, m, c, node, err));
    for (int i = 0; i < N_MOMENT_PARTS; i++) {
        if (!node[i]) break;
        SOL_TRY(sol_h5_verify(f, node[i], err));
        r->done += (int64_t)node[i]->bytes;
        SOL_TRY(show_moments(r, f, node[i], 0, err));
    }
    return SOL_OK;
}

/* Those of a shard, out of the mapped file. */
static sol_status cut_moments(const sol_h5_file *f, const sol_model *m, sol_adamw *head,
                              const sol_shard *shard, sol_adamw **o, sol_err *err)
{
    const sol_h5_node *node[N_MOMENT_PARTS] = {NULL};
    void *data[N_MOMENT_PARTS] = {NULL};
    SOL_TRY(find_moments(f, m, &head->config, node, err));
    for (int i = 0; i < N_MOMENT_PARTS; i++)
        if (node[i]) data[i] = (char *)(uintptr_t)f->map.data + node[i]->offset;
    head->m = data[0];
    head->v = data[1];
    head->m_scale = data[2];
    head->v_scale = data[3];
    return sol_adamw_cut(o, head, m, shard, err);
}

static sol_status get_real32(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                             float *value, sol_err *err)
{
    double v;
    SOL_TRY(sol_h5_get_f64(f, n, name, &v, err));
    *value = (float)v;
    return SOL_OK;
}

/* All but the moments. */
static sol_status get_optim_head(const sol_h5_file *f, sol_adamw *head, sol_err *err)
{
    const sol_h5_node *group;
    sol_adamw_config c = {0};
    const char *kind;
    int64_t stochastic = 0;
    SOL_TRY(sol_h5_need_group(f, "/optim", &group, err));
    SOL_TRY(sol_h5_get_text(f, group, "kind", &kind, err));
    if (strcmp(kind, "adamw") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: /optim: kind is %.40s, expected adamw",
                        f->path, kind);
    *head = (sol_adamw){0};
    SOL_TRY(sol_h5_get_i64(f, group, "t", 0, INT64_MAX, &head->t, err));
    SOL_TRY(get_real32(f, group, "beta1", &c.beta1, err));
    SOL_TRY(get_real32(f, group, "beta2", &c.beta2, err));
    SOL_TRY(get_real32(f, group, "eps", &c.eps, err));
    SOL_TRY(get_real32(f, group, "weight_decay", &c.weight_decay, err));
    SOL_TRY(sol_h5_get_i64(f, group, "stochastic_rounding", 0, 1, &stochastic, err));
    SOL_TRY(sol_h5_get_u64(f, group, "seed", &c.seed, err));
    c.stochastic_rounding = stochastic;
    SOL_TRY(get_moments_kind(f, group, &c.moments, err));
    head->config = c;
    return SOL_OK;
}

static sol_status get_optim(const sol_h5_file *f, sol_checkpoint *c, sol_moments_how how,
                            reading *r, sol_err *err)
{
    sol_adamw head;
    SOL_TRY(get_optim_head(f, &head, err));
    c->has_optim = true;
    if (how == SOL_MOMENTS_LEFT) return SOL_OK;
    if (how == SOL_MOMENTS_VERIFIED) return verify_moments(f, c->file.model, &head.config, r, err);
    SOL_TRY(get_moments(f, c->file.model, &head.config, r, &c->optim, err));
    c->optim->t = head.t;
    return SOL_OK;
}

/* ---- the whole ---- */

/* The datasets of a file, from their declaration until their bytes are appended. */
typedef struct declared {
    sol_params_out params;
    sol_part_blob tokenizer;
    int moments[N_MOMENT_PARTS], study;
    bool gathered; /* the moments of all ranks */
} declared;

/* Everything but the bytes of the datasets. */
static sol_status declare(const sol_checkpoint_view *v, sol_h5_writer *w, sol_dtype dtype,
                          declared *d, sol_err *err)
{
    SOL_TRY(sol_part_put_root(w, v->config_yaml, v->state.step, v->state.tokens, err));
    SOL_TRY(sol_part_put_config(w, &v->model->config, err));
    SOL_TRY(sol_part_put_quant(w, &v->quant, err));
    SOL_TRY(sol_part_put_windows(w, &v->windows, err));
    SOL_TRY(sol_part_put_tokenizer(w, v->tokenizer, &d->tokenizer, err));
    SOL_TRY(sol_params_declare(&d->params, w, v->model, dtype, err));
    if (!v->optim) return SOL_OK;
    SOL_TRY(put_optim(w, v->optim, d->moments, err));
    SOL_TRY(put_state(w, &v->state, err));
    return v->study ? put_study(w, v->study_bytes, &d->study, err) : SOL_OK;
}

static sol_status append(const sol_checkpoint_view *v, sol_h5_writer *w, declared *d, sol_err *err)
{
    const sol_model *m = v->model;
    int64_t done = 0;
    SOL_TRY(sol_part_fill(w, &d->tokenizer, err));
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        int64_t n = sol_param_count(p);
        SOL_TRY(sol_params_put(&d->params, i, sol_model_at(m, p), m->dtype, n, err));
        done += n;
        if (!sol_progress_show(v->progress, p->name, done, m->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted: nothing was written");
    }
    if (!v->optim) return SOL_OK;
    moment_target to = {w, d->moments};
    d->gathered = v->lanes != NULL;
    SOL_TRY(v->lanes ? sol_lanes_gather_moments(v->lanes, v->optim, append_moments, &to, err)
                     : append_all_moments(&to, v->optim, err));
    return v->study ? sol_h5_append(w, d->study, v->study, v->study_bytes, err) : SOL_OK;
}

static sol_status write_all(const sol_checkpoint_view *v, sol_h5_writer **w, const char *path,
                            sol_dtype params_dtype, declared *d, sol_err *err)
{
    SOL_TRY(sol_h5_create(w, path, SOL_FORMAT_CHECKPOINT, err));
    SOL_TRY(declare(v, *w, params_dtype, d, err));
    SOL_TRY(sol_h5_begin(*w, err));
    SOL_TRY(append(v, *w, d, err));
    return sol_h5_commit(w, err);
}

sol_status sol_checkpoint_write(const sol_checkpoint_view *v, const char *path,
                                sol_dtype params_dtype, sol_err *err)
{
    sol_h5_writer *w = NULL;
    declared d = {0};
    sol_status st = write_all(v, &w, path, params_dtype, &d, err);
    if (v->lanes && !d.gathered) sol_lanes_gather_moments(v->lanes, v->optim, NULL, NULL, NULL);
    sol_params_out_free(&d.params);
    sol_free(d.tokenizer.data);
    sol_h5_abort(&w);
    return st;
}

sol_status sol_model_file_write(const sol_model_file *f, const char *path, sol_dtype params_dtype,
                                const sol_progress *progress, sol_err *err)
{
    sol_checkpoint_view v = {.model = f->model,
                             .tokenizer = f->tokenizer,
                             .config_yaml = f->config_yaml,
                             .quant = f->quant,
                             .windows = f->windows,
                             .state = {.step = f->step, .tokens = f->tokens},
                             .progress = progress};
    return sol_checkpoint_write(&v, path, params_dtype, err);
}

static sol_status get_checkpoint(const sol_h5_file *f, sol_checkpoint *c, sol_dtype dtype,
                                 sol_moments_how how, const sol_progress *progress, sol_err *err)
{
    reading r = reading_begin(f, progress, how);
    sol_progress params = {show_params, &r};
    SOL_TRY(sol_part_get_model_file(f, &c->file, dtype, &params, err));
    if (sol_h5_find(f, "/state")) SOL_TRY(get_state(f, &c->state, err));
    if (sol_h5_find(f, "/optim")) SOL_TRY(get_optim(f, c, how, &r, err));
    return sol_h5_find(f, study_path) ? get_study(f, c, err) : SOL_OK;
}

sol_status sol_checkpoint_read_with(sol_checkpoint *c, const char *path, sol_dtype dtype,
                                    sol_moments_how how, const sol_progress *progress, sol_err *err)
{
    sol_h5_file f;
    *c = (sol_checkpoint){0};
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = get_checkpoint(&f, c, dtype, how, progress, err);
    sol_h5_close(&f);
    if (st != SOL_OK) sol_checkpoint_free(c);
    return st;
}

sol_status sol_checkpoint_read(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err)
{
    return sol_checkpoint_read_with(c, path, dtype, SOL_MOMENTS_READ, NULL, err);
}

sol_status sol_checkpoint_read_shard(sol_adamw **o, const char *path, const sol_model *m,
                                     const sol_shard *shard, sol_err *err)
{
    sol_h5_file f;
    sol_adamw head;
    *o = NULL;
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = get_optim_head(&f, &head, err);
    if (st == SOL_OK) st = cut_moments(&f, m, &head, shard, o, err);
    sol_h5_close(&f);
    return st;
}
