/* study.h5: a file that is created with room for all its records, which are then written in place.
 * study/recorder.c appends, study/run.c reads. */
#include "store/study_file.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"

enum { MAX_LAYERS = 1 << 20 };

struct sol_study_file {
    sol_study_head head;
    sol_study_layer *layers; /* owned */
    int n_layers, n_columns;
    const sol_study_column *columns; /* borrowed */
    uint64_t *offset;                /* [n_columns] of the first row; owned */
    uint64_t count_offset;           /* of /n_records */
    int64_t capacity, n_records;
    char *path; /* owned */
    sol_in in;
    sol_out out;
};

static const sol_h5_type h5_type[] = {[SOL_STUDY_U32] = SOL_H5_U32,
                                      [SOL_STUDY_U64] = SOL_H5_U64,
                                      [SOL_STUDY_F32] = SOL_H5_F32,
                                      [SOL_STUDY_F64] = SOL_H5_F64};

/* The bytes of one record in a column. */
static size_t row_bytes(const sol_study_column *c, int n_layers)
{
    return sol_h5_type_size(h5_type[c->type]) * (size_t)c->width *
           (c->per_layer ? (size_t)n_layers : 1);
}

/* Fills in the shape of a column and returns its rank. A capacity of -1 matches any. */
static int column_dims(const sol_study_column *c, int64_t capacity, int n_layers, int64_t dims[3])
{
    int n = 0;
    dims[n++] = capacity;
    if (c->per_layer) dims[n++] = n_layers;
    if (c->width > 1) dims[n++] = c->width;
    return n;
}

/* ---- creating ---- */

static sol_status declare_head(sol_h5_writer *w, const sol_study_head *h, sol_err *err)
{
    SOL_TRY(sol_h5_set_text(w, 0, "method", h->method, err));
    SOL_TRY(sol_h5_set_text(w, 0, "granularity", h->granularity, err));
    SOL_TRY(sol_h5_set_text(w, 0, "block_layout", h->block_layout, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "group_size", h->group_size, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "every", h->every, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "steps", h->steps, err));
    return sol_h5_set_i64(w, 0, "sample_rows", h->sample_rows, err);
}

static sol_status declare_layers(sol_h5_writer *w, const sol_study_layer *layers, int n,
                                 sol_err *err)
{
    char path[32];
    int id;
    SOL_TRY(sol_h5_group(w, "/layers", &id, err));
    for (int i = 0; i < n; i++) {
        const sol_study_layer *l = &layers[i];
        snprintf(path, sizeof path, "/layers/%d", i);
        SOL_TRY(sol_h5_group(w, path, &id, err));
        SOL_TRY(sol_h5_set_text(w, id, "name", l->name, err));
        SOL_TRY(sol_h5_set_i64(w, id, "block", l->block, err));
        SOL_TRY(sol_h5_set_i64(w, id, "rows", l->rows, err));
        SOL_TRY(sol_h5_set_i64(w, id, "cols", l->cols, err));
        SOL_TRY(sol_h5_set_i64(w, id, "weight_rows", l->weight_rows, err));
        SOL_TRY(sol_h5_set_i64(w, id, "token_rows", l->token_rows, err));
        SOL_TRY(sol_h5_set_f64(w, id, "w_range", l->w_range, err));
    }
    return SOL_OK;
}

/* Makes the group of "/group/name" when the column before was not in it. */
static sol_status declare_group(sol_h5_writer *w, const sol_study_column *c, int i, sol_err *err)
{
    char group[64];
    const char *slash = strrchr(c[i].path, '/');
    int n = (int)(slash - c[i].path), id;
    if (n == 0 || (i > 0 && strncmp(c[i - 1].path, c[i].path, (size_t)n + 1) == 0)) return SOL_OK;
    snprintf(group, sizeof group, "%.*s", n, c[i].path);
    return sol_h5_group(w, group, &id, err);
}

static sol_status declare_columns(sol_h5_writer *w, const sol_study_column *c, int n, int n_layers,
                                  int64_t capacity, int *first, int *id, sol_err *err)
{
    int64_t one = 1, dims[3];
    SOL_TRY(sol_h5_live(w, "/n_records", SOL_H5_U64, 1, &one, first, err));
    for (int i = 0; i < n; i++) {
        SOL_TRY(declare_group(w, c, i, err));
        int n_dims = column_dims(&c[i], capacity, n_layers, dims);
        SOL_TRY(sol_h5_live(w, c[i].path, h5_type[c[i].type], n_dims, dims, &id[i], err));
        SOL_TRY(sol_h5_set_text(w, id[i], "unit", c[i].unit, err));
        SOL_TRY(sol_h5_set_text(w, id[i], "title", c[i].title, err));
    }
    return SOL_OK;
}

/* Copies the first records of a column, a row at a time. */
static sol_status copy_column(sol_h5_writer *w, int id, const sol_study_file *from, int column,
                              uint8_t *row, sol_err *err)
{
    size_t bytes = row_bytes(&from->columns[column], from->n_layers);
    for (int64_t i = 0; i < from->n_records; i++) {
        SOL_TRY(sol_study_file_read(from, column, i, 1, row, err));
        SOL_TRY(sol_h5_append(w, id, row, bytes, err));
    }
    return SOL_OK;
}

static sol_status copy_columns(sol_h5_writer *w, const int *id, const sol_study_file *from,
                               uint8_t *row, sol_err *err)
{
    for (int c = 0; c < from->n_columns; c++) SOL_TRY(copy_column(w, id[c], from, c, row, err));
    return SOL_OK;
}

/* Fills a new file with the records of `from`. */
static sol_status copy_records(sol_h5_writer *w, int count_id, const int *id,
                               const sol_study_file *from, sol_err *err)
{
    uint64_t n = (uint64_t)from->n_records;
    uint8_t *row;
    size_t max_bytes = 0;
    for (int c = 0; c < from->n_columns; c++)
        max_bytes = sol_max_size(max_bytes, row_bytes(&from->columns[c], from->n_layers));
    SOL_TRY(sol_h5_append(w, count_id, &n, sizeof n, err));
    SOL_TRY(sol_alloc_array((void **)&row, max_bytes, 1, err));
    sol_status st = copy_columns(w, id, from, row, err);
    sol_free(row);
    return st;
}

sol_status sol_study_file_create(sol_study_file **f, const char *path, const sol_study_head *head,
                                 const sol_study_layer *layers, int n_layers,
                                 const sol_study_column *columns, int n_columns, int64_t capacity,
                                 const sol_study_file *from, sol_err *err)
{
    sol_h5_writer *w = NULL;
    int *id = NULL, count_id;
    *f = NULL;
    sol_status st = sol_h5_create(&w, path, SOL_FORMAT_STUDY, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&id, (size_t)n_columns, sizeof *id, err);
    if (st == SOL_OK) st = declare_head(w, head, err);
    if (st == SOL_OK)
        st = declare_columns(w, columns, n_columns, n_layers, capacity, &count_id, id, err);
    if (st == SOL_OK) st = declare_layers(w, layers, n_layers, err);
    if (st == SOL_OK) st = sol_h5_begin(w, err);
    if (st == SOL_OK && from) st = copy_records(w, count_id, id, from, err);
    if (st == SOL_OK) st = sol_h5_commit(&w, err);
    sol_h5_abort(&w);
    sol_free(id);
    return st == SOL_OK ? sol_study_file_open(f, path, true, columns, n_columns, err) : st;
}

/* ---- opening ---- */

static sol_status read_text(const sol_h5_file *h, const sol_h5_node *n, const char *name, char *out,
                            size_t size, sol_err *err)
{
    const char *text;
    SOL_TRY(sol_h5_get_text(h, n, name, &text, err));
    if (strlen(text) >= size)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: attribute %s is longer than %zu bytes",
                        h->path, n->path, name, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return SOL_OK;
}

static sol_status read_head(const sol_h5_file *h, sol_study_head *head, sol_err *err)
{
    const sol_h5_node *root = &h->tree.node[0];
    SOL_TRY(sol_part_check_format(h, SOL_FORMAT_STUDY, err));
    SOL_TRY(read_text(h, root, "method", head->method, sizeof head->method, err));
    SOL_TRY(read_text(h, root, "granularity", head->granularity, sizeof head->granularity, err));
    SOL_TRY(read_text(h, root, "block_layout", head->block_layout, sizeof head->block_layout, err));
    SOL_TRY(sol_h5_get_i64(h, root, "group_size", 0, INT64_MAX, &head->group_size, err));
    SOL_TRY(sol_h5_get_i64(h, root, "every", 1, INT64_MAX, &head->every, err));
    SOL_TRY(sol_h5_get_i64(h, root, "steps", 0, INT64_MAX, &head->steps, err));
    return sol_h5_get_i64(h, root, "sample_rows", 1, INT64_MAX, &head->sample_rows, err);
}

static sol_status read_layer(const sol_h5_file *h, int i, sol_study_layer *l, sol_err *err)
{
    char path[32];
    const sol_h5_node *n;
    snprintf(path, sizeof path, "/layers/%d", i);
    SOL_TRY(sol_h5_need_group(h, path, &n, err));
    SOL_TRY(read_text(h, n, "name", l->name, sizeof l->name, err));
    SOL_TRY(sol_h5_get_i64(h, n, "block", 0, INT64_MAX, &l->block, err));
    SOL_TRY(sol_h5_get_i64(h, n, "rows", 1, INT32_MAX, &l->rows, err));
    SOL_TRY(sol_h5_get_i64(h, n, "cols", 1, INT32_MAX, &l->cols, err));
    SOL_TRY(sol_h5_get_i64(h, n, "weight_rows", 1, l->rows, &l->weight_rows, err));
    SOL_TRY(sol_h5_get_i64(h, n, "token_rows", 0, INT32_MAX, &l->token_rows, err));
    SOL_TRY(sol_h5_get_f64(h, n, "w_range", &l->w_range, err));
    if (!(l->w_range > 0))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: attribute w_range is %g, expected above 0",
                        h->path, path, l->w_range);
    return SOL_OK;
}

/* Layers are the groups /layers/0, /layers/1 and so on: as many as there are without a gap. */
static sol_status read_layers(sol_study_file *f, const sol_h5_file *h, sol_err *err)
{
    char path[32];
    while (f->n_layers < MAX_LAYERS) {
        snprintf(path, sizeof path, "/layers/%d", f->n_layers);
        if (!sol_h5_find(h, path)) break;
        f->n_layers++;
    }
    if (f->n_layers == 0) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no /layers/0", h->path);
    SOL_TRY(sol_alloc_array((void **)&f->layers, (size_t)f->n_layers, sizeof *f->layers, err));
    for (int i = 0; i < f->n_layers; i++) SOL_TRY(read_layer(h, i, &f->layers[i], err));
    return SOL_OK;
}

/* Finds where each column lies, and takes the capacity from the first: all must have it. */
static sol_status find_columns(sol_study_file *f, const sol_h5_file *h, sol_err *err)
{
    const sol_h5_node *n;
    int64_t one = 1, dims[3];
    uint64_t count;
    SOL_TRY(sol_h5_need_dataset(h, "/n_records", SOL_H5_U64, 1, &one, &n, err));
    SOL_TRY(sol_h5_read(h, n, &count, err));
    f->count_offset = n->offset;
    SOL_TRY(sol_alloc_array((void **)&f->offset, (size_t)f->n_columns, sizeof *f->offset, err));
    f->capacity = -1; /* any, until the first column says it */
    for (int i = 0; i < f->n_columns; i++) {
        const sol_study_column *c = &f->columns[i];
        int n_dims = column_dims(c, f->capacity, f->n_layers, dims);
        SOL_TRY(sol_h5_need_dataset(h, c->path, h5_type[c->type], n_dims, dims, &n, err));
        f->offset[i] = n->offset;
        f->capacity = (int64_t)n->dim[0];
    }
    if (count > (uint64_t)f->capacity)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /n_records is %llu, expected at most %lld",
                        h->path, (unsigned long long)count, (long long)f->capacity);
    f->n_records = (int64_t)count;
    return SOL_OK;
}

/* What is needed of the file's structure; from then on records are read and written by offset. */
static sol_status read_structure(sol_study_file *f, sol_err *err)
{
    sol_h5_file h;
    SOL_TRY(sol_h5_open(&h, f->path, err));
    sol_status st = read_head(&h, &f->head, err);
    if (st == SOL_OK) st = read_layers(f, &h, err);
    if (st == SOL_OK) st = find_columns(f, &h, err);
    sol_h5_close(&h);
    return st;
}

static sol_status open_at(sol_study_file *f, const char *path, bool write, sol_err *err)
{
    SOL_TRY(sol_copy_string(&f->path, path, strlen(path), err));
    SOL_TRY(read_structure(f, err));
    SOL_TRY(sol_in_open(&f->in, f->path, err));
    return write ? sol_out_reopen(&f->out, f->path, err) : SOL_OK;
}

sol_status sol_study_file_open(sol_study_file **out, const char *path, bool write,
                               const sol_study_column *columns, int n_columns, sol_err *err)
{
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_study_file *f = *out;
    f->in.fd = f->out.fd = -1;
    f->columns = columns;
    f->n_columns = n_columns;
    sol_status st = open_at(f, path, write, err);
    if (st != SOL_OK) sol_study_file_close(out);
    return st;
}

void sol_study_file_close(sol_study_file **fp)
{
    sol_study_file *f = *fp;
    if (!f) return;
    sol_in_close(&f->in);
    sol_out_close(&f->out, NULL);
    sol_free(f->layers);
    sol_free(f->offset);
    sol_free(f->path);
    sol_free(f);
    *fp = NULL;
}

/* ---- records ---- */

int64_t sol_study_file_records(const sol_study_file *f)
{
    return f->n_records;
}

int64_t sol_study_file_capacity(const sol_study_file *f)
{
    return f->capacity;
}

const sol_study_head *sol_study_file_head(const sol_study_file *f)
{
    return &f->head;
}

const sol_study_layer *sol_study_file_layers(const sol_study_file *f, int *n)
{
    *n = f->n_layers;
    return f->layers;
}

/* Sets the number of records in the file, which readers go by. */
static sol_status count_records(sol_study_file *f, int64_t n, sol_err *err)
{
    uint64_t count = (uint64_t)n;
    SOL_TRY(sol_out_write(&f->out, f->count_offset, &count, sizeof count, err));
    SOL_TRY(sol_out_sync(&f->out, err));
    f->n_records = n;
    return SOL_OK;
}

sol_status sol_study_file_append(sol_study_file *f, const void *const *rows, sol_err *err)
{
    if (f->n_records == f->capacity)
        return sol_fail(err, SOL_ERR_RANGE, "%s: is full with %lld records", f->path,
                        (long long)f->capacity);
    for (int c = 0; c < f->n_columns; c++) {
        size_t bytes = row_bytes(&f->columns[c], f->n_layers);
        SOL_TRY(sol_out_write(&f->out, f->offset[c] + (uint64_t)f->n_records * bytes, rows[c],
                              bytes, err));
    }
    SOL_TRY(sol_out_sync(&f->out, err));
    return count_records(f, f->n_records + 1, err);
}

sol_status sol_study_file_cut(sol_study_file *f, int64_t n, sol_err *err)
{
    return n < f->n_records ? count_records(f, n, err) : SOL_OK;
}

sol_status sol_study_file_read(const sol_study_file *f, int column, int64_t first, int64_t n,
                               void *out, sol_err *err)
{
    size_t bytes = row_bytes(&f->columns[column], f->n_layers);
    if (first < 0 || n < 0 || first > f->n_records - n)
        return sol_fail(err, SOL_ERR_RANGE, "%s: records %lld to %lld are not among its %lld",
                        f->path, (long long)first, (long long)(first + n - 1),
                        (long long)f->n_records);
    return sol_in_read(&f->in, f->offset[column] + (uint64_t)first * bytes, out, (size_t)n * bytes,
                       err);
}
