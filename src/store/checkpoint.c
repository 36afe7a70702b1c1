/* Checkpoints and model files: parameters, and beside them what a run needs to go on. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"
#include "store/store.h"

void sol_checkpoint_free(sol_checkpoint *c)
{
    sol_model_free(&c->model);
    sol_tokenizer_free(&c->tokenizer);
    sol_adamw_free(&c->optim);
    sol_free(c->config_yaml);
    sol_free(c->study);
    sol_quant_overrides_free(&c->overrides);
    *c = (sol_checkpoint){0};
}

/* ---- run state ---- */

typedef struct state_row {
    const char *name;
    bool real;
    size_t offset;
} state_row;

#define ROW(member, real) {#member, real, offsetof(sol_run_state, member)}
static const state_row state_rows[] = {
    ROW(step, false), ROW(tokens, false), ROW(drawn, false), ROW(skipped, false), ROW(seed, false),
    ROW(best_eval_loss, true), ROW(best_step, false), ROW(metrics_bytes, false), ROW(ema_loss, true),
    ROW(data_digest, false), ROW(teacher_digest, false),
};
#undef ROW
enum { N_STATE_ROWS = sizeof state_rows / sizeof *state_rows };

static sol_status put_state(sol_h5_writer *w, const sol_run_state *s, sol_err *err)
{
    int id;
    sol_status st = sol_h5_group(w, "/state", &id, err);
    for (int i = 0; st == SOL_OK && i < N_STATE_ROWS; i++) {
        const void *at = (const char *)s + state_rows[i].offset;
        st = state_rows[i].real ? sol_h5_set_f64(w, id, state_rows[i].name, *(const double *)at, err)
                                : sol_h5_set_u64(w, id, state_rows[i].name, *(const uint64_t *)at, err);
    }
    return st;
}

static sol_status get_state(const sol_h5_file *f, sol_run_state *s, sol_err *err)
{
    const sol_h5_node *n;
    sol_status st = sol_h5_need_group(f, "/state", &n, err);
    for (int i = 0; st == SOL_OK && i < N_STATE_ROWS; i++) {
        void *at = (char *)s + state_rows[i].offset;
        /* The first files had no digests. */
        bool later = strstr(state_rows[i].name, "_digest") != NULL;
        if (later && !sol_h5_node_attr(n, state_rows[i].name)) continue;
        st = state_rows[i].real ? sol_h5_get_f64(f, n, state_rows[i].name, at, err)
                                : sol_h5_get_u64(f, n, state_rows[i].name, at, err);
    }
    return st;
}

/* The recorder's state, as it is: only the recorder knows what it means. */
static const char study_path[] = "/state/study";

static sol_status put_study(sol_h5_writer *w, const sol_checkpoint *c, int *id, sol_err *err)
{
    int64_t n = (int64_t)c->study_bytes;
    return sol_h5_dataset(w, study_path, SOL_H5_U8, 1, &n, id, err);
}

static sol_status get_study(const sol_h5_file *f, sol_checkpoint *c, sol_err *err)
{
    const sol_h5_node *n;
    int64_t any = -1;
    sol_status st = sol_h5_need_dataset(f, study_path, SOL_H5_U8, 1, &any, &n, err);
    if (st == SOL_OK) st = sol_alloc_array(&c->study, n->bytes, 1, err);
    if (st != SOL_OK) return st;
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
    static const sol_h5_type type[] = {[SOL_MOMENTS_F32] = SOL_H5_F32, [SOL_MOMENTS_BF16] = SOL_H5_U16, [SOL_MOMENTS_8BIT] = SOL_H5_U8};
    part[0] = (moment_part){"/optim/m", o->m, type[o->config.moments], o->n_elements};
    part[1] = (moment_part){"/optim/v", o->v, type[o->config.moments], o->n_elements};
    part[2] = (moment_part){"/optim/m_scale", o->m_scale, SOL_H5_F32, o->n_blocks};
    part[3] = (moment_part){"/optim/v_scale", o->v_scale, SOL_H5_F32, o->n_blocks};
    return o->config.moments == SOL_MOMENTS_8BIT ? N_MOMENT_PARTS : 2;
}

static sol_status put_optim(sol_h5_writer *w, const sol_adamw *o, int ids[N_MOMENT_PARTS], sol_err *err)
{
    int id;
    sol_status st = sol_h5_group(w, "/optim", &id, err);
    if (st == SOL_OK) st = sol_h5_set_text(w, id, "kind", "adamw", err);
    if (st == SOL_OK) st = sol_h5_set_i64(w, id, "t", o->t, err);
    if (st == SOL_OK) st = sol_h5_set_f64(w, id, "beta1", o->config.beta1, err);
    if (st == SOL_OK) st = sol_h5_set_f64(w, id, "beta2", o->config.beta2, err);
    if (st == SOL_OK) st = sol_h5_set_f64(w, id, "eps", o->config.eps, err);
    if (st == SOL_OK) st = sol_h5_set_f64(w, id, "weight_decay", o->config.weight_decay, err);
    if (st == SOL_OK) st = sol_h5_set_i64(w, id, "stochastic_rounding", o->config.stochastic_rounding, err);
    if (st == SOL_OK) st = sol_h5_set_u64(w, id, "seed", o->config.seed, err);
    if (st == SOL_OK) st = sol_h5_set_text(w, id, "moments", sol_enum_name(moments_names, (int)o->config.moments), err);
    moment_part part[N_MOMENT_PARTS];
    for (int i = 0, n = moment_parts(o, part); st == SOL_OK && i < n; i++)
        st = sol_h5_dataset(w, part[i].path, part[i].type, 1, &part[i].n, &ids[i], err);
    return st;
}

static sol_status append_moments(sol_h5_writer *w, const sol_adamw *o, const int ids[N_MOMENT_PARTS], sol_err *err)
{
    moment_part part[N_MOMENT_PARTS];
    sol_status st = SOL_OK;
    for (int i = 0, n = moment_parts(o, part); st == SOL_OK && i < n; i++)
        st = sol_h5_append(w, ids[i], part[i].data, (size_t)part[i].n * sol_h5_type_size(part[i].type), err);
    return st;
}

/* Files from before there was a choice hold fp32. */
static sol_status get_moments_kind(const sol_h5_file *f, const sol_h5_node *group, sol_moments *kind, sol_err *err)
{
    int value = SOL_MOMENTS_F32;
    const char *name = sol_enum_name(moments_names, value);
    sol_status st = sol_h5_node_attr(group, "moments") ? sol_h5_get_text(f, group, "moments", &name, err) : SOL_OK;
    if (st != SOL_OK) return st;
    if (!sol_enum_find(moments_names, name, strlen(name), &value)) {
        char list[128];
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: /optim: moments is %.40s, expected %s", f->path, name,
                        sol_enum_list(moments_names, ", ", " or ", list, sizeof list));
    }
    *kind = (sol_moments)value;
    return SOL_OK;
}

/* The datasets are all there before memory for them is taken. */
static sol_status get_moments(const sol_h5_file *f, const sol_model *m, const sol_adamw_config *c, sol_adamw **o, sol_err *err)
{
    const sol_h5_node *node;
    moment_part part[N_MOMENT_PARTS];
    sol_adamw sizes = {.config = *c, .n_elements = m->n_elements};
    for (int i = 0; i < m->n_params; i++) sizes.n_blocks += sol_moment_blocks(&m->params[i]);
    sol_status st = SOL_OK;
    for (int i = 0, n = moment_parts(&sizes, part); st == SOL_OK && i < n; i++)
        st = sol_h5_need_dataset(f, part[i].path, part[i].type, 1, &part[i].n, &node, err);
    if (st == SOL_OK) st = sol_adamw_create(o, m, c, err);
    if (st != SOL_OK) return st;
    for (int i = 0, n = moment_parts(*o, part); st == SOL_OK && i < n; i++) {
        st = sol_h5_need_dataset(f, part[i].path, part[i].type, 1, &part[i].n, &node, err);
        if (st == SOL_OK) st = sol_h5_read(f, node, part[i].data, err);
    }
    return st;
}

static sol_status get_real32(const sol_h5_file *f, const sol_h5_node *n, const char *name, float *value, sol_err *err)
{
    double v = 0;
    sol_status st = sol_h5_get_f64(f, n, name, &v, err);
    *value = (float)v;
    return st;
}

static sol_status get_optim(const sol_h5_file *f, const sol_model *m, sol_adamw **o, sol_err *err)
{
    const sol_h5_node *group;
    sol_adamw_config c = {0};
    const char *kind;
    int64_t t, stochastic = 0;
    sol_status st = sol_h5_need_group(f, "/optim", &group, err);
    if (st == SOL_OK) st = sol_h5_get_text(f, group, "kind", &kind, err);
    if (st == SOL_OK && strcmp(kind, "adamw") != 0)
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: /optim: kind is %.40s, expected adamw", f->path, kind);
    if (st == SOL_OK) st = sol_h5_get_i64(f, group, "t", 0, INT64_MAX, &t, err);
    if (st == SOL_OK) st = get_real32(f, group, "beta1", &c.beta1, err);
    if (st == SOL_OK) st = get_real32(f, group, "beta2", &c.beta2, err);
    if (st == SOL_OK) st = get_real32(f, group, "eps", &c.eps, err);
    if (st == SOL_OK) st = get_real32(f, group, "weight_decay", &c.weight_decay, err);
    if (st == SOL_OK) st = sol_h5_get_i64(f, group, "stochastic_rounding", 0, 1, &stochastic, err);
    if (st == SOL_OK) st = sol_h5_get_u64(f, group, "seed", &c.seed, err);
    c.stochastic_rounding = stochastic;
    if (st == SOL_OK) st = get_moments_kind(f, group, &c.moments, err);
    if (st == SOL_OK) st = get_moments(f, m, &c, o, err);
    if (st == SOL_OK) (*o)->t = t;
    return st;
}

/* ---- the whole ---- */

/* Everything but the bytes of the datasets. */
static sol_status declare(const sol_checkpoint *c, sol_h5_writer *w, sol_dtype dtype, sol_params_out *params,
                          sol_part_blob *tokenizer, int moments[N_MOMENT_PARTS], int *study, sol_err *err)
{
    sol_status st = sol_part_put_root(w, c->config_yaml, c->state.step, c->state.tokens, err);
    if (st == SOL_OK) st = sol_part_put_config(w, &c->model->config, err);
    if (st == SOL_OK) st = sol_part_put_quant(w, &c->quant, err);
    if (st == SOL_OK) st = sol_part_put_windows(w, &c->windows, err);
    if (st == SOL_OK) st = sol_part_put_tokenizer(w, c->tokenizer, tokenizer, err);
    if (st == SOL_OK) st = sol_params_declare(params, w, c->model, dtype, err);
    if (st == SOL_OK && c->optim) st = put_optim(w, c->optim, moments, err);
    if (st == SOL_OK && c->optim) st = put_state(w, &c->state, err);
    if (st == SOL_OK && c->optim && c->study) st = put_study(w, c, study, err);
    return st;
}

sol_status sol_checkpoint_write(const sol_checkpoint *c, const char *path, sol_dtype params_dtype, sol_err *err)
{
    sol_h5_writer *w = NULL;
    sol_params_out params = {0};
    sol_part_blob tokenizer = {0};
    int moments[N_MOMENT_PARTS], study;
    const sol_model *m = c->model;
    sol_status st = sol_h5_create(&w, path, SOL_FORMAT_CHECKPOINT, err);
    if (st == SOL_OK) st = declare(c, w, params_dtype, &params, &tokenizer, moments, &study, err);
    if (st == SOL_OK) st = sol_h5_begin(w, err);
    if (st == SOL_OK) st = sol_part_fill(w, &tokenizer, err);
    for (int i = 0; st == SOL_OK && i < m->n_params; i++)
        st = sol_params_put(&params, i, sol_model_at(m, &m->params[i]), m->dtype, sol_param_count(&m->params[i]), err);
    if (st == SOL_OK && c->optim) {
        st = append_moments(w, c->optim, moments, err);
        if (st == SOL_OK && c->study) st = sol_h5_append(w, study, c->study, c->study_bytes, err);
    }
    sol_params_out_free(&params);
    sol_free(tokenizer.data);
    if (st == SOL_OK) return sol_h5_commit(&w, err);
    sol_h5_abort(&w);
    return st;
}

/* The table of a file's parameters, which are all there. */
static sol_status read_table(const sol_h5_file *f, const sol_model_config *config, const sol_quant_spec *quant, sol_dtype dtype,
                             sol_model **table, sol_err *err)
{
    bool all_bf16;
    sol_status st = sol_model_describe(table, config, dtype, err);
    if (st == SOL_OK) st = sol_model_add_learned(*table, quant, err);
    if (st == SOL_OK) st = sol_params_check(f, *table, &all_bf16, err);
    return st;
}

static sol_status read_params(const sol_h5_file *f, const sol_model_config *config, const sol_quant_spec *quant, sol_dtype dtype,
                              sol_model **m, sol_err *err)
{
    sol_model *table = NULL;
    sol_status st = read_table(f, config, quant, dtype, &table, err);
    sol_model_free(&table);
    if (st == SOL_OK) st = sol_model_create(m, config, dtype, err);
    if (st == SOL_OK) st = sol_model_add_learned(*m, quant, err);
    for (int i = 0; st == SOL_OK && i < (*m)->n_params; i++)
        st = sol_params_get(f, &(*m)->params[i], sol_model_at(*m, &(*m)->params[i]), dtype, err);
    return st;
}

static sol_status read_config_text(const sol_h5_file *f, char **out, sol_err *err)
{
    const char *text;
    if (!sol_h5_node_attr(&f->tree.node[0], "config")) return SOL_OK;
    sol_status st = sol_h5_get_text(f, &f->tree.node[0], "config", &text, err);
    return st == SOL_OK ? sol_copy_string(out, text, strlen(text), err) : st;
}

/* What stands beside the weights. */
static sol_status read_beside(const sol_h5_file *f, sol_checkpoint *c, sol_model_config *config, sol_err *err)
{
    sol_status st = sol_part_check_format(f, SOL_FORMAT_CHECKPOINT, err);
    if (st == SOL_OK) st = sol_part_get_config(f, config, err);
    if (st == SOL_OK) st = sol_part_get_quant(f, &c->quant, &c->overrides, err);
    if (st == SOL_OK) st = sol_part_get_windows(f, &c->windows, err);
    if (st == SOL_OK) st = read_config_text(f, &c->config_yaml, err);
    if (st == SOL_OK && sol_h5_find(f, "/state")) st = get_state(f, &c->state, err);
    if (st == SOL_OK) st = sol_part_get_tokenizer(f, config, &c->tokenizer, err);
    return st;
}

static sol_status read_file(sol_checkpoint *c, const char *path, sol_dtype dtype, bool with_optim, sol_err *err)
{
    sol_h5_file f;
    sol_model_config config;
    *c = (sol_checkpoint){0};
    sol_status st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = read_beside(&f, c, &config, err);
    if (st == SOL_OK) st = read_params(&f, &config, &c->quant, dtype, &c->model, err);
    if (st == SOL_OK && with_optim && sol_h5_find(&f, "/optim")) st = get_optim(&f, c->model, &c->optim, err);
    if (st == SOL_OK && with_optim && sol_h5_find(&f, study_path)) st = get_study(&f, c, err);
    sol_h5_close(&f);
    if (st != SOL_OK) sol_checkpoint_free(c);
    return st;
}

enum { STREAM_ITEMS = 1 << 20 };

static sol_status stream_param(const sol_h5_file *f, const sol_param *p, const sol_param_sink *sink, sol_err *err)
{
    sol_params_in in = {0};
    float *rows = NULL;
    int64_t most = p->cols < STREAM_ITEMS ? STREAM_ITEMS / p->cols : 1;
    if (most > p->rows) most = p->rows;
    sol_status st = sol_alloc_array((void **)&rows, (size_t)(most * p->cols), sizeof *rows, err);
    if (st == SOL_OK) st = sol_params_in_open(&in, f, p, err);
    for (int64_t at = 0; st == SOL_OK && at < p->rows; at += most) {
        int64_t n = sol_min_i64(p->rows - at, most);
        st = sol_params_in_next(&in, rows, SOL_F32, n * p->cols, err);
        if (st == SOL_OK) st = sink->rows(sink->user, p, at, n, rows, err);
    }
    sol_params_in_free(&in);
    sol_free(rows);
    return st;
}

static sol_status describe(const sol_h5_file *f, sol_checkpoint *c, sol_dtype dtype, sol_err *err)
{
    sol_model_config config;
    sol_status st = read_beside(f, c, &config, err);
    return st == SOL_OK ? read_table(f, &config, &c->quant, dtype, &c->model, err) : st;
}

sol_status sol_checkpoint_describe(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err)
{
    sol_h5_file f;
    *c = (sol_checkpoint){0};
    sol_status st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = describe(&f, c, dtype, err);
    sol_h5_close(&f);
    if (st != SOL_OK) sol_checkpoint_free(c);
    return st;
}

sol_status sol_checkpoint_stream(const char *path, const sol_param_sink *sink, sol_err *err)
{
    sol_h5_file f;
    sol_checkpoint c = {0};
    sol_status st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = describe(&f, &c, SOL_F32, err);
    if (st == SOL_OK) st = sink->begin(sink->user, &c, err);
    for (int i = 0; st == SOL_OK && i < c.model->n_params; i++) st = stream_param(&f, &c.model->params[i], sink, err);
    sol_checkpoint_free(&c);
    sol_h5_close(&f);
    return st;
}

sol_status sol_checkpoint_read(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err)
{
    return read_file(c, path, dtype, true, err);
}

sol_status sol_checkpoint_read_model(sol_checkpoint *c, const char *path, sol_dtype dtype, sol_err *err)
{
    return read_file(c, path, dtype, false, err);
}

sol_status sol_store_read_header(const char *path, sol_model_config *config, sol_tokenizer **tokenizer, sol_err *err)
{
    sol_h5_file f;
    sol_model_config c;
    sol_file_kind kind;
    if (tokenizer) *tokenizer = NULL;
    sol_status st = sol_store_kind(path, &kind, err);
    if (st == SOL_OK && (kind == SOL_FILE_DATASET || kind == SOL_FILE_STUDY || kind == SOL_FILE_TEACHER_CACHE))
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: holds a %s, not a model", path,
                      kind == SOL_FILE_DATASET ? "dataset" : kind == SOL_FILE_STUDY ? "study" : "teacher's cache");
    if (st == SOL_OK) st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = sol_part_get_config(&f, &c, err);
    if (st == SOL_OK && tokenizer) st = sol_part_get_tokenizer(&f, &c, tokenizer, err);
    if (st == SOL_OK && config) *config = c;
    sol_h5_close(&f);
    return st;
}

sol_status sol_store_read_windows(const char *path, sol_windows *w, sol_err *err)
{
    sol_h5_file f;
    sol_status st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = sol_part_get_windows(&f, w, err);
    sol_h5_close(&f);
    return st;
}
