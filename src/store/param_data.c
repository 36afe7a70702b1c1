/* Parameters as datasets: declares all of them at once, then writes and reads them a piece at a
 * time and converts each piece on the way. model_file.c and checkpoint.c call it. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"

enum { PIECE = 1 << 16 }; /* elements that are converted at a time */

static void param_path(char out[128], const sol_param *p)
{
    snprintf(out, 128, "/params/%s", p->name);
}

static int param_shape(const sol_param *p, int64_t dims[2])
{
    dims[0] = p->rows;
    dims[1] = p->cols;
    if (!sol_param_is_vector(p)) return 2;
    dims[0] = p->cols;
    return 1;
}

static sol_status declare_param(sol_h5_writer *w, const sol_param *p, sol_dtype dtype, sol_err *err)
{
    char path[128];
    int64_t dims[2];
    int id, n_dims = param_shape(p, dims);
    param_path(path, p);
    SOL_TRY(sol_h5_dataset(w, path, dtype == SOL_BF16 ? SOL_H5_U16 : SOL_H5_F32, n_dims, dims, &id,
                           err));
    return dtype == SOL_BF16 ? sol_h5_set_text(w, id, "dtype", "bf16", err) : SOL_OK;
}

sol_status sol_params_declare(sol_params_out *o, sol_h5_writer *w, const sol_model *table,
                              sol_dtype dtype, sol_err *err)
{
    int id;
    *o = (sol_params_out){.w = w, .table = table, .dtype = dtype};
    SOL_TRY(sol_alloc_array(&o->buffer, PIECE, sol_dtype_size(dtype), err));
    SOL_TRY(sol_h5_group(w, "/params", &id, err));
    o->first = id + 1;
    for (int i = 0; i < table->n_params; i++)
        SOL_TRY(declare_param(w, &table->params[i], dtype, err));
    return SOL_OK;
}

sol_status sol_part_refuse_beyond(const char *name, const float *w, int64_t n, const char *type,
                                  float max, sol_err *err)
{
    int64_t bad = sol_first_beyond(w, n, max);
    if (bad < 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_NONFINITE, "%s: a weight is %g: %s holds numbers up to %g", name,
                    (double)w[bad], type, (double)max);
}

sol_status sol_params_put(sol_params_out *o, int index, const void *data, sol_dtype from, int64_t n,
                          sol_err *err)
{
    const char *name = o->table->params[index].name, *type = sol_dtype_name(o->dtype);
    if (from == o->dtype)
        return sol_h5_append(o->w, o->first + index, data, (size_t)n * sol_dtype_size(from), err);
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t some = sol_min_i64(n - at, PIECE);
        const void *here = (const char *)data + (size_t)at * sol_dtype_size(from);
        if (from == SOL_F32)
            SOL_TRY(sol_part_refuse_beyond(name, here, some, type, sol_dtype_max(o->dtype), err));
        sol_convert(o->buffer, o->dtype, here, from, some);
        SOL_TRY(sol_h5_append(o->w, o->first + index, o->buffer,
                              (size_t)some * sol_dtype_size(o->dtype), err));
    }
    return SOL_OK;
}

void sol_params_out_free(sol_params_out *o)
{
    sol_free(o->buffer);
    o->buffer = NULL;
}

static sol_status find_param(const sol_h5_file *f, const sol_param *p, const sol_h5_node **n,
                             sol_dtype *stored, sol_err *err)
{
    char path[128];
    int64_t dims[2];
    int n_dims = param_shape(p, dims);
    param_path(path, p);
    const sol_h5_node *found = sol_h5_find(f, path);
    const sol_h5_attr *dtype = found ? sol_h5_node_attr(found, "dtype") : NULL;
    bool bf16 = dtype && dtype->type == SOL_H5_STRING && strcmp(dtype->value, "bf16") == 0;
    if (dtype && !bf16)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: attribute dtype is not \"bf16\"", f->path,
                        path);
    *stored = bf16 ? SOL_BF16 : SOL_F32;
    return sol_h5_need_dataset(f, path, bf16 ? SOL_H5_U16 : SOL_H5_F32, n_dims, dims, n, err);
}

/* Refuses a file that has something below /params that the table has not. */
static sol_status refuse_strangers(const sol_h5_file *f, const sol_model *table, sol_err *err)
{
    for (size_t i = 0; i < f->tree.n; i++) {
        const char *path = f->tree.node[i].path;
        if (strncmp(path, "/params/", 8) == 0 && !sol_model_param(table, path + 8))
            return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: is not a parameter of this model", f->path,
                            path);
    }
    return SOL_OK;
}

sol_status sol_params_check(const sol_h5_file *f, const sol_model *table, bool *all_bf16,
                            sol_err *err)
{
    *all_bf16 = true;
    for (int i = 0; i < table->n_params; i++) {
        const sol_h5_node *n;
        sol_dtype stored = SOL_F32;
        SOL_TRY(find_param(f, &table->params[i], &n, &stored, err));
        if (stored != SOL_BF16) *all_bf16 = false;
    }
    return refuse_strangers(f, table, err);
}

sol_status sol_params_in_open(sol_params_in *in, const sol_h5_file *f, const sol_param *p,
                              sol_err *err)
{
    const sol_h5_node *n;
    sol_params_in_free(in);
    SOL_TRY(find_param(f, p, &n, &in->stored, err));
    in->stream = (sol_h5_stream){.file = f, .node = n};
    int64_t count = sol_param_count(p);
    return sol_alloc_array(&in->buffer, (size_t)sol_min_i64(count, PIECE), 4, err);
}

sol_status sol_params_in_next(sol_params_in *in, void *out, sol_dtype to, int64_t n, sol_err *err)
{
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t some = sol_min_i64(n - at, PIECE);
        void *here = (char *)out + (size_t)at * sol_dtype_size(to);
        void *raw = in->stored == to ? here : in->buffer;
        SOL_TRY(
            sol_h5_stream_next(&in->stream, raw, (size_t)some * sol_dtype_size(in->stored), err));
        if (raw != here) sol_convert(here, to, raw, in->stored, some);
    }
    return SOL_OK;
}

void sol_params_in_free(sol_params_in *in)
{
    sol_free(in->buffer);
    *in = (sol_params_in){0};
}

sol_status sol_params_get(const sol_h5_file *f, const sol_param *p, void *out, sol_dtype to,
                          sol_err *err)
{
    sol_params_in in = {0};
    sol_status st = sol_params_in_open(&in, f, p, err);
    if (st == SOL_OK) st = sol_params_in_next(&in, out, to, sol_param_count(p), err);
    sol_params_in_free(&in);
    return st;
}
