/* Packed models: makes one from a trained model, writes it and reads it. A dataset or group has the
 * name of the parameter that it stands for. The verb export makes the files, infer/net.c and
 * foreign/view.c read them. */
#include "store/packed.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/enums.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"

const sol_stored *sol_packed_matrix(const sol_packed_model *p, int64_t layer, sol_role role)
{
    const sol_param *param = sol_model_by_role(p->table, layer, role);
    return param ? &p->matrix[param - p->table->params] : NULL;
}

void sol_packed_model_free(sol_packed_model *p)
{
    if (p->matrix)
        for (int i = 0; i < p->table->n_params; i++) sol_stored_free(&p->matrix[i]);
    sol_free(p->matrix);
    sol_quant_overrides_free(&p->overrides);
    sol_free(p->vector);
    sol_free(p->vectors);
    sol_model_free(&p->table);
    sol_tokenizer_free(&p->tokenizer);
    *p = (sol_packed_model){0};
}

static size_t vector_elements(const sol_model *table)
{
    size_t n = 0;
    for (int i = 0; i < table->n_params; i++)
        n += sol_param_is_vector(&table->params[i]) ? (size_t)table->params[i].cols : 0;
    return n;
}

/* The arrays for p->table. */
static sol_status alloc_arrays(sol_packed_model *p, sol_err *err)
{
    int n = p->table->n_params;
    const sol_param *param = p->table->params;
    size_t elements = vector_elements(p->table);
    SOL_TRY(sol_alloc_array((void **)&p->matrix, (size_t)n, sizeof *p->matrix, err));
    SOL_TRY(sol_alloc_array((void **)&p->vector, (size_t)n, sizeof *p->vector, err));
    SOL_TRY(sol_alloc_array((void **)&p->vectors, elements, sizeof *p->vectors, err));
    float *at = p->vectors;
    for (int i = 0; i < n; i++) {
        if (!sol_param_is_vector(&param[i])) continue;
        p->vector[i] = at;
        at += param[i].cols;
    }
    return SOL_OK;
}

sol_status sol_packed_model_begin(sol_packed_model *p, const sol_model_config *c, sol_err *err)
{
    p->config = *c;
    SOL_TRY(sol_model_describe(&p->table, c, SOL_F32, err));
    return alloc_arrays(p, err);
}

/* Whether layer i is in the 1.25-bit code: overrides keep those that are not. */
static bool is_packed_layer(const sol_packed_model *p, int i)
{
    const sol_param *param = &p->table->params[i];
    bool kept = p->quant.method && !sol_quant_for(&p->quant, param->name).method;
    return param->quantized && !kept;
}

/* The type of matrix i. */
static sol_dtype type_of(const sol_packed_model *p, int i, sol_dtype embed_type)
{
    if (p->table->params[i].kind != SOL_PARAM_LINEAR) return embed_type;
    return is_packed_layer(p, i) ? SOL_TERNARY : SOL_F16;
}

/* The same of one that is there already. */
static bool is_packed(const sol_packed_model *p, int i)
{
    return p->matrix[i].type == SOL_TERNARY;
}

/* ---- from a model ---- */

sol_status sol_embed_type_from_name(const char *name, sol_dtype *type, sol_err *err)
{
    const sol_enumerator *types = SOL_ENUM_TABLE(SOL_EMBED_TYPES);
    char list[64];
    int value;
    if (!sol_enum_find(types, name, strlen(name), &value))
        return sol_fail(err, SOL_ERR_USAGE, "unknown type '%s' of a dense matrix: one of %s", name,
                        sol_enum_list(types, ", ", ", ", list, sizeof list));
    *type = (sol_dtype)value;
    return SOL_OK;
}

/* Parameter `p` as fp32: in place, or converted into the buffer. */
static const float *as_f32(const sol_model *m, const sol_param *p, float *buffer)
{
    if (m->dtype == SOL_F32) return sol_model_at(m, p);
    sol_convert(buffer, SOL_F32, sol_model_at(m, p), m->dtype, sol_param_count(p));
    return buffer;
}

/* A buffer for the largest parameter in fp32; of one element where none is needed. */
static sol_status alloc_buffer(const sol_model *m, float **buffer, sol_err *err)
{
    int64_t max = 1;
    if (m->dtype != SOL_F32)
        for (int i = 0; i < m->n_params; i++)
            max = sol_max_i64(max, sol_param_count(&m->params[i]));
    return sol_alloc_array((void **)buffer, (size_t)max, sizeof **buffer, err);
}

static sol_status pack_dense(sol_ctx *ctx, const sol_model *m, const sol_param *from,
                             sol_dtype type, float *buffer, sol_stored *d, sol_err *err)
{
    float *weight;
    const float *w = as_f32(m, from, buffer);
    SOL_TRY(sol_part_refuse_beyond(from->name, w, sol_param_count(from), sol_dtype_name(type),
                                   sol_dtype_max(type), err));
    *d = (sol_stored){.type = type, .rows = from->rows, .cols = from->cols};
    SOL_TRY(sol_stored_alloc(d, err));
    SOL_TRY(sol_alloc_array((void **)&weight, (size_t)from->cols, sizeof *weight, err));
    sol_stored_fill(ctx, d, w, weight);
    sol_free(weight);
    return SOL_OK;
}

static sol_status pack_linear(sol_ctx *ctx, const sol_quant_spec *spec, const sol_param *from,
                              const float *w, sol_stored *m, sol_err *err)
{
    sol_quant_spec layer = sol_quant_for(spec, from->name);
    SOL_TRY(sol_quant_check(&layer, from->name, from->rows, from->cols, err));
    sol_status st = sol_packed_from_weights(ctx, &layer, w, from->rows, from->cols, m, err);
    return st == SOL_ERR_NONFINITE ? sol_err_prefix(err, st, "%s", from->name) : st;
}

static sol_status take_vector(const sol_model *m, const sol_param *from, float *out, sol_err *err)
{
    sol_convert(out, SOL_F32, sol_model_at(m, from), m->dtype, from->cols);
    return sol_part_refuse_beyond(from->name, out, from->cols, "f32", FLT_MAX, err);
}

/* Parameters 0 to n - 1 of m are those of p; what m has beyond them was learned by a quantizer. */
static sol_status pack_param(sol_ctx *ctx, sol_packed_model *p, const sol_model *m, int i,
                             sol_dtype embed_type, float *buffer, sol_err *err)
{
    const sol_param *from = &m->params[i];
    sol_dtype type = type_of(p, i, embed_type);
    if (p->vector[i]) return take_vector(m, from, p->vector[i], err);
    if (type == SOL_TERNARY)
        return pack_linear(ctx, &p->quant, from, as_f32(m, from, buffer), &p->matrix[i], err);
    return pack_dense(ctx, m, from, type, buffer, &p->matrix[i], err);
}

static sol_status pack_params(sol_ctx *ctx, sol_packed_model *p, const sol_model *m,
                              sol_dtype embed_type, float *buffer, const sol_progress *progress,
                              sol_err *err)
{
    int64_t done = 0;
    for (int i = 0; i < p->table->n_params; i++) {
        const sol_param *from = &m->params[i];
        SOL_TRY(pack_param(ctx, p, m, i, embed_type, buffer, err));
        done += sol_param_count(from);
        if (!sol_progress_show(progress, from->name, done, p->table->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted: nothing was written");
    }
    return SOL_OK;
}

sol_status sol_packed_model_from(sol_ctx *ctx, sol_packed_model *p, const sol_model *m,
                                 const sol_quant_spec *spec, sol_dtype embed_type,
                                 const sol_progress *progress, sol_err *err)
{
    float *buffer = NULL;
    *p = (sol_packed_model){.quant = *spec};
    sol_status st = sol_packed_model_begin(p, &m->config, err);
    if (st == SOL_OK) st = alloc_buffer(m, &buffer, err);
    if (st == SOL_OK) st = pack_params(ctx, p, m, embed_type, buffer, progress, err);
    sol_free(buffer);
    if (st != SOL_OK) sol_packed_model_free(p);
    return st;
}

/* ---- file ---- */

enum { STAGES = 3 };

static void param_path(char out[160], const char *name, const char *part)
{
    snprintf(out, 160, "/params/%s%s", name, part);
}

/* An array of a matrix: its name, type and shape are the same when it is written and read. */
typedef struct part_shape {
    const char *name;
    sol_h5_type type;
    int64_t dim[2];
} part_shape;

/* The three arrays of a linear. */
static void linear_shapes(const sol_stored *m, part_shape s[3])
{
    int64_t per_row = m->group_size ? m->cols / m->group_size : 1;
    s[0] = (part_shape){"/codes", SOL_H5_U8, {m->rows, (int64_t)sol_packed_code_bytes(1, m->cols)}};
    s[1] = (part_shape){"/signs", SOL_H5_U8, {m->rows, (int64_t)sol_packed_sign_bytes(1, m->cols)}};
    s[2] = (part_shape){"/scales", SOL_H5_F16, {m->group_size ? m->rows : 1, per_row}};
}

static sol_status declare_linear(sol_h5_writer *w, const sol_param *p, const sol_stored *m,
                                 int *first, sol_err *err)
{
    char path[160];
    part_shape parts[3];
    int id;
    param_path(path, p->name, "");
    SOL_TRY(sol_h5_group(w, path, &id, err));
    *first = id + 1;
    SOL_TRY(sol_h5_set_i64(w, id, "rows", m->rows, err));
    SOL_TRY(sol_h5_set_i64(w, id, "cols", m->cols, err));
    SOL_TRY(sol_h5_set_i64(w, id, "group_size", m->group_size, err));
    SOL_TRY(sol_h5_set_text(w, id, "block_layout", sol_layout_name(m->layout), err));
    linear_shapes(m, parts);
    for (int k = 0; k < 3; k++) {
        param_path(path, p->name, parts[k].name);
        SOL_TRY(sol_h5_dataset(w, path, parts[k].type, 2, parts[k].dim, &id, err));
    }
    return SOL_OK;
}

static sol_status fill_linear(sol_h5_writer *w, const sol_stored *m, int first, sol_err *err)
{
    SOL_TRY(sol_h5_append(w, first, m->data, sol_packed_code_bytes(m->rows, m->cols), err));
    SOL_TRY(sol_h5_append(w, first + 1, m->signs, sol_packed_sign_bytes(m->rows, m->cols), err));
    return sol_h5_append(w, first + 2, m->scales,
                         (size_t)sol_packed_scale_count(m) * sizeof *m->scales, err);
}

static bool is_plain(sol_dtype t)
{
    return t == SOL_F32 || t == SOL_F16;
}

/* Where data and scales of a dense matrix lie: of fp32 or fp16 it is a dataset, of any other type a
 * group of both. */
static void dense_shapes(const sol_stored *d, part_shape *data, part_shape *scales)
{
    *data = (part_shape){"", d->type == SOL_F16 ? SOL_H5_F16 : SOL_H5_F32, {d->rows, d->cols}};
    if (!is_plain(d->type))
        *data = (part_shape){
            "/data", SOL_H5_U8, {d->rows, (int64_t)sol_dtype_row_bytes(d->type, d->cols)}};
    *scales =
        (part_shape){"/scales", SOL_H5_F16, {d->rows, sol_dtype_row_scales(d->type, d->cols)}};
}

static sol_status declare_dense(sol_h5_writer *w, const sol_param *p, const sol_stored *d,
                                int *first, sol_err *err)
{
    char path[160];
    part_shape data, scales;
    int id;
    dense_shapes(d, &data, &scales);
    if (!is_plain(d->type)) {
        param_path(path, p->name, "");
        SOL_TRY(sol_h5_group(w, path, &id, err));
        SOL_TRY(sol_h5_set_text(w, id, "type", sol_dtype_name(d->type), err));
        SOL_TRY(sol_h5_set_i64(w, id, "rows", d->rows, err));
        SOL_TRY(sol_h5_set_i64(w, id, "cols", d->cols, err));
    }
    param_path(path, p->name, data.name);
    SOL_TRY(sol_h5_dataset(w, path, data.type, 2, data.dim, first, err));
    if (is_plain(d->type)) return SOL_OK;
    param_path(path, p->name, scales.name);
    return sol_h5_dataset(w, path, scales.type, 2, scales.dim, &id, err);
}

static sol_status fill_dense(sol_h5_writer *w, const sol_stored *d, int first, sol_err *err)
{
    SOL_TRY(sol_h5_append(w, first, d->data, sol_stored_bytes(d), err));
    if (is_plain(d->type)) return SOL_OK;
    return sol_h5_append(w, first + 1, d->scales, sol_stored_scale_bytes(d), err);
}

double sol_packed_model_bits(const sol_packed_model *p)
{
    double bits = 0, weights = 0;
    for (int i = 0; i < p->table->n_params; i++) {
        if (!p->table->params[i].quantized) continue;
        double n = (double)sol_param_count(&p->table->params[i]);
        bits += n * (is_packed(p, i) ? sol_packed_bits(&p->matrix[i]) : 16);
        weights += n;
    }
    return bits / weights;
}

/* The order in a file: first what is packed, then the dense matrices, then the vectors. */
static int stage_of(const sol_packed_model *p, int i)
{
    return is_packed(p, i) ? 0 : sol_param_is_vector(&p->table->params[i]) ? 2 : 1;
}

static sol_status declare_param(sol_h5_writer *w, const sol_packed_model *p, int i, int *id,
                                sol_err *err)
{
    const sol_param *param = &p->table->params[i];
    char path[160];
    if (is_packed(p, i)) return declare_linear(w, param, &p->matrix[i], id, err);
    if (!sol_param_is_vector(param)) return declare_dense(w, param, &p->matrix[i], id, err);
    param_path(path, param->name, "");
    return sol_h5_dataset(w, path, SOL_H5_F32, 1, &param->cols, id, err);
}

/* Declares all that the file will hold. ids: [table->n_params] is filled with the first dataset of
 * each parameter. */
static sol_status declare(sol_h5_writer *w, const sol_packed_model *p,
                          const sol_tokenizer *tokenizer, sol_part_blob *blob, int *ids,
                          sol_err *err)
{
    int id;
    SOL_TRY(sol_h5_set_f64(w, 0, "bits_per_weight", sol_packed_model_bits(p), err));
    SOL_TRY(sol_part_put_config(w, &p->config, err));
    SOL_TRY(sol_part_put_quant(w, &p->quant, err));
    SOL_TRY(sol_part_put_windows(w, &p->windows, err));
    SOL_TRY(sol_part_put_tokenizer(w, tokenizer, blob, err));
    SOL_TRY(sol_h5_group(w, "/params", &id, err));
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < p->table->n_params; i++)
            if (stage_of(p, i) == stage) SOL_TRY(declare_param(w, p, i, &ids[i], err));
    return SOL_OK;
}

static sol_status fill_param(sol_h5_writer *w, const sol_packed_model *p, int i, int id,
                             sol_err *err)
{
    const sol_param *param = &p->table->params[i];
    if (is_packed(p, i)) return fill_linear(w, &p->matrix[i], id, err);
    if (!sol_param_is_vector(param)) return fill_dense(w, &p->matrix[i], id, err);
    return sol_h5_append(w, id, p->vector[i], (size_t)param->cols * sizeof(float), err);
}

static sol_status fill(sol_h5_writer *w, const sol_packed_model *p, sol_part_blob *blob,
                       const int *ids, sol_err *err)
{
    SOL_TRY(sol_part_fill(w, blob, err));
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < p->table->n_params; i++)
            if (stage_of(p, i) == stage) SOL_TRY(fill_param(w, p, i, ids[i], err));
    return SOL_OK;
}

static sol_status write_all(const sol_packed_model *p, const sol_tokenizer *tokenizer,
                            sol_h5_writer **w, const char *path, sol_part_blob *blob, int *ids,
                            sol_err *err)
{
    SOL_TRY(sol_h5_create(w, path, SOL_FORMAT_PACKED, err));
    SOL_TRY(declare(*w, p, tokenizer, blob, ids, err));
    SOL_TRY(sol_h5_begin(*w, err));
    SOL_TRY(fill(*w, p, blob, ids, err));
    return sol_h5_commit(w, err);
}

sol_status sol_packed_model_write(const sol_packed_model *p, const sol_tokenizer *tokenizer,
                                  const char *path, sol_err *err)
{
    sol_h5_writer *w = NULL;
    sol_part_blob blob = {0};
    int *ids;
    SOL_TRY(sol_alloc_array((void **)&ids, (size_t)p->table->n_params, sizeof *ids, err));
    sol_status st = write_all(p, tokenizer, &w, path, &blob, ids, err);
    sol_free(blob.data);
    sol_free(ids);
    sol_h5_abort(&w);
    return st;
}

/* Gives every matrix the type and shape that sol_packed_model_from would give it, without data. */
static sol_status describe(sol_packed_model *p, const sol_quant_spec *spec, sol_dtype embed_type,
                           sol_err *err)
{
    for (int i = 0; i < p->table->n_params; i++) {
        const sol_param *param = &p->table->params[i];
        sol_quant_spec layer = sol_quant_for(spec, param->name);
        sol_dtype type = type_of(p, i, embed_type);
        if (sol_param_is_vector(param)) continue;
        if (type == SOL_TERNARY)
            SOL_TRY(sol_packed_shape(&layer, param->name, param->rows, param->cols, &p->matrix[i],
                                     err));
        else
            p->matrix[i] = (sol_stored){.type = type, .rows = param->rows, .cols = param->cols};
    }
    return SOL_OK;
}

sol_status sol_packed_model_bytes(const sol_model *table, const sol_tokenizer *t,
                                  const sol_quant_spec *spec, const sol_windows *windows,
                                  sol_dtype embed_type, uint64_t *bytes, sol_err *err)
{
    sol_packed_model p = {.quant = *spec, .windows = *windows};
    sol_h5_writer *w = NULL;
    sol_part_blob blob = {0};
    int *ids = NULL;
    sol_status st = sol_packed_model_begin(&p, &table->config, err);
    if (st == SOL_OK) st = describe(&p, spec, embed_type, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&ids, (size_t)p.table->n_params, sizeof *ids, err);
    if (st == SOL_OK) st = sol_h5_create(&w, "packed", SOL_FORMAT_PACKED, err);
    if (st == SOL_OK) st = declare(w, &p, t, &blob, ids, err);
    if (st == SOL_OK) st = sol_h5_size(w, bytes, err);
    sol_h5_abort(&w);
    sol_free(blob.data);
    sol_free(ids);
    sol_packed_model_free(&p);
    return st;
}

/* ---- reading ---- */

/* Checks the dataset `s` of parameter `name`, and reads it unless out is NULL. */
static sol_status read_into(const sol_h5_file *f, const char *name, const part_shape *s, void *out,
                            sol_err *err)
{
    char path[160];
    const sol_h5_node *n;
    param_path(path, name, s->name);
    SOL_TRY(sol_h5_need_dataset(f, path, s->type, 2, s->dim, &n, err));
    return out ? sol_h5_read(f, n, out, err) : SOL_OK;
}

static sol_status read_rows_cols(const sol_h5_file *f, const sol_h5_node *n, const sol_param *p,
                                 sol_err *err)
{
    int64_t rows, cols;
    SOL_TRY(sol_h5_get_i64(f, n, "rows", 0, INT64_MAX, &rows, err));
    SOL_TRY(sol_h5_get_i64(f, n, "cols", 0, INT64_MAX, &cols, err));
    if (rows != p->rows || cols != p->cols)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: %s: has shape [%lld, %lld], the model wants [%lld, %lld]", f->path,
                        n->path, (long long)rows, (long long)cols, (long long)p->rows,
                        (long long)p->cols);
    return SOL_OK;
}

static sol_status describe_linear(const sol_h5_file *f, const sol_param *p, sol_stored *m,
                                  sol_err *err)
{
    char path[160];
    const sol_h5_node *n;
    part_shape parts[3];
    param_path(path, p->name, "");
    *m = (sol_stored){.type = SOL_TERNARY, .rows = p->rows, .cols = p->cols};
    SOL_TRY(sol_h5_need_group(f, path, &n, err));
    SOL_TRY(read_rows_cols(f, n, p, err));
    SOL_TRY(sol_h5_get_i64(f, n, "group_size", 0, p->cols, &m->group_size, err));
    SOL_TRY(sol_part_get_layout(f, n, &m->layout, err));
    if (m->group_size && p->cols % m->group_size)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: %s: group_size %lld does not divide the width %lld", f->path, path,
                        (long long)m->group_size, (long long)p->cols);
    linear_shapes(m, parts);
    for (int k = 0; k < 3; k++) SOL_TRY(read_into(f, p->name, &parts[k], NULL, err));
    return SOL_OK;
}

static sol_status load_linear(const sol_h5_file *f, const sol_param *p, sol_stored *m, sol_err *err)
{
    part_shape parts[3];
    linear_shapes(m, parts);
    sol_status st = sol_packed_alloc(m, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s: %s", f->path, p->name);
    SOL_TRY(read_into(f, p->name, &parts[0], m->data, err));
    SOL_TRY(read_into(f, p->name, &parts[1], m->signs, err));
    return read_into(f, p->name, &parts[2], m->scales, err);
}

/* Whether the file has parameter i in the 1.25-bit code; of embedding and head it says so. */
static bool is_packed_in(const sol_packed_model *m, int i, const sol_h5_file *f)
{
    char path[160];
    const sol_param *p = &m->table->params[i];
    if (p->kind == SOL_PARAM_LINEAR) return is_packed_layer(m, i);
    param_path(path, p->name, "");
    const sol_h5_node *n = sol_h5_find(f, path);
    return n && sol_h5_node_attr(n, "block_layout");
}

static sol_status describe_dense(const sol_h5_file *f, const sol_param *p, sol_stored *d,
                                 sol_err *err)
{
    char path[160];
    const char *name;
    sol_dtype type;
    part_shape data, scales;
    param_path(path, p->name, "");
    const sol_h5_node *n = sol_h5_find(f, path);
    if (!n || n->is_dataset) {
        type = n && n->type == SOL_H5_F16 ? SOL_F16 : SOL_F32;
    } else {
        SOL_TRY(sol_h5_get_text(f, n, "type", &name, err));
        SOL_TRY(sol_embed_type_from_name(name, &type, err));
        if (type == SOL_TERNARY)
            return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: is ternary, but has no block_layout",
                            f->path, path);
        if (is_plain(type))
            return sol_fail(err, SOL_ERR_FORMAT,
                            "%s: %s: a matrix of type %s is a dataset, not a group", f->path, path,
                            name);
        SOL_TRY(read_rows_cols(f, n, p, err));
    }
    *d = (sol_stored){.type = type, .rows = p->rows, .cols = p->cols};
    dense_shapes(d, &data, &scales);
    if (!is_plain(type)) SOL_TRY(read_into(f, p->name, &scales, NULL, err));
    return read_into(f, p->name, &data, NULL, err);
}

static sol_status load_dense(const sol_h5_file *f, const sol_param *p, sol_stored *d, sol_err *err)
{
    part_shape data, scales;
    dense_shapes(d, &data, &scales);
    SOL_TRY(sol_stored_alloc(d, err));
    SOL_TRY(read_into(f, p->name, &data, d->data, err));
    return d->scales ? read_into(f, p->name, &scales, d->scales, err) : SOL_OK;
}

static sol_status read_vector(const sol_h5_file *f, const sol_param *p, float *out, sol_err *err)
{
    char path[160];
    const sol_h5_node *n;
    param_path(path, p->name, "");
    SOL_TRY(sol_h5_need_dataset(f, path, SOL_H5_F32, 1, &p->cols, &n, err));
    return sol_h5_read(f, n, out, err);
}

/* Vectors first: they take little memory, and a file that is not what its configuration says is
 * refused by them. The shapes of all matrices are checked before memory is allocated for any. */
static sol_status describe_params(sol_packed_model *p, const sol_h5_file *f, sol_err *err)
{
    const sol_model *table = p->table;
    for (int i = 0; i < table->n_params; i++)
        if (p->vector[i]) SOL_TRY(read_vector(f, &table->params[i], p->vector[i], err));
    for (int i = 0; i < table->n_params; i++)
        if (!p->vector[i] && is_packed_in(p, i, f))
            SOL_TRY(describe_linear(f, &table->params[i], &p->matrix[i], err));
    for (int i = 0; i < table->n_params; i++)
        if (!is_packed(p, i) && !p->vector[i])
            SOL_TRY(describe_dense(f, &table->params[i], &p->matrix[i], err));
    return SOL_OK;
}

static sol_status describe_all(sol_packed_model *p, const sol_h5_file *f, sol_err *err)
{
    SOL_TRY(sol_part_check_format(f, SOL_FORMAT_PACKED, err));
    SOL_TRY(sol_part_get_config(f, &p->config, err));
    SOL_TRY(sol_part_get_quant(f, &p->quant, &p->overrides, err));
    SOL_TRY(sol_part_get_windows(f, &p->windows, err));
    SOL_TRY(sol_part_get_tokenizer(f, &p->config, &p->tokenizer, err));
    SOL_TRY(sol_model_describe(&p->table, &p->config, SOL_F32, err));
    size_t vectors = vector_elements(p->table) * sizeof *p->vectors;
    if (vectors > f->map.size)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: /model: norms and biases of this configuration take %zu bytes, the "
                        "file has %zu",
                        f->path, vectors, f->map.size);
    SOL_TRY(alloc_arrays(p, err));
    return describe_params(p, f, err);
}

struct sol_packed_file {
    sol_h5_file h5;
    sol_packed_model *model; /* borrowed */
};

sol_status sol_packed_file_open(sol_packed_file **out, sol_packed_model *p, const char *path,
                                sol_err *err)
{
    sol_packed_file *f;
    *out = NULL;
    *p = (sol_packed_model){0};
    SOL_TRY(sol_alloc_array((void **)&f, 1, sizeof *f, err));
    f->model = p;
    sol_status st = sol_h5_open(&f->h5, path, err);
    if (st != SOL_OK) {
        sol_free(f);
        return st;
    }
    *out = f;
    st = describe_all(p, &f->h5, err);
    if (st == SOL_OK) return SOL_OK;
    sol_packed_file_close(out);
    sol_packed_model_free(p);
    return st;
}

sol_status sol_packed_file_load(sol_packed_file *f, int i, sol_err *err)
{
    const sol_param *param = &f->model->table->params[i];
    sol_stored *m = &f->model->matrix[i];
    return is_packed(f->model, i) ? load_linear(&f->h5, param, m, err)
                                  : load_dense(&f->h5, param, m, err);
}

void sol_packed_file_close(sol_packed_file **f)
{
    if (!*f) return;
    sol_h5_close(&(*f)->h5);
    sol_free(*f);
    *f = NULL;
}

sol_status sol_packed_model_read(sol_packed_model *p, const char *path, sol_err *err)
{
    sol_packed_file *f;
    SOL_TRY(sol_packed_file_open(&f, p, path, err));
    sol_status st = SOL_OK;
    for (int i = 0; i < p->table->n_params; i++) {
        if (p->vector[i]) continue;
        st = sol_packed_file_load(f, i, err);
        if (st != SOL_OK) break;
    }
    sol_packed_file_close(&f);
    if (st != SOL_OK) sol_packed_model_free(p);
    return st;
}
