/* Model files, read: what belongs to a model beside its weights, and the weights: whole, as a table
 * without data, or streamed. checkpoint.c reads this part of a checkpoint through it, and writes
 * both kinds of file. */
#include "store/model_file.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "store/parts.h"

void sol_model_file_free(sol_model_file *f)
{
    sol_model_free(&f->model);
    sol_tokenizer_free(&f->tokenizer);
    sol_free(f->config_yaml);
    sol_quant_overrides_free(&f->overrides);
    *f = (sol_model_file){0};
}

/* Makes the table of a file's parameters and checks that the file has all of them. */
static sol_status read_table(const sol_h5_file *h5, const sol_model_config *config,
                             const sol_quant_spec *quant, sol_dtype dtype, sol_model **table,
                             sol_err *err)
{
    bool all_bf16;
    SOL_TRY(sol_model_describe(table, config, dtype, err));
    SOL_TRY(sol_model_add_learned(*table, quant, err));
    return sol_params_check(h5, *table, &all_bf16, err);
}

/* Reads the weights, after the table was checked: a damaged file does not cost their memory. */
static sol_status read_params(const sol_h5_file *h5, const sol_model_config *config,
                              const sol_quant_spec *quant, sol_dtype dtype,
                              const sol_progress *progress, sol_model **m, sol_err *err)
{
    int64_t done = 0;
    sol_model *table = NULL;
    sol_status st = read_table(h5, config, quant, dtype, &table, err);
    sol_model_free(&table);
    SOL_TRY(st);
    SOL_TRY(sol_model_create(m, config, dtype, err));
    SOL_TRY(sol_model_add_learned(*m, quant, err));
    for (int i = 0; i < (*m)->n_params; i++) {
        const sol_param *p = &(*m)->params[i];
        SOL_TRY(sol_params_get(h5, p, sol_model_at(*m, p), dtype, err));
        done += sol_param_count(p);
        if (!sol_progress_show(progress, p->name, done, (*m)->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: interrupted", h5->path);
    }
    return SOL_OK;
}

/* Reads all but the weights. */
static sol_status read_beside(const sol_h5_file *h5, sol_model_file *f, sol_model_config *config,
                              sol_err *err)
{
    SOL_TRY(sol_part_check_format(h5, SOL_FORMAT_CHECKPOINT, err));
    SOL_TRY(sol_part_get_root(h5, &f->config_yaml, &f->step, &f->tokens, err));
    SOL_TRY(sol_part_get_config(h5, config, err));
    SOL_TRY(sol_part_get_quant(h5, &f->quant, &f->overrides, err));
    SOL_TRY(sol_part_get_windows(h5, &f->windows, err));
    return sol_part_get_tokenizer(h5, config, &f->tokenizer, err);
}

sol_status sol_part_get_model_file(const sol_h5_file *h5, sol_model_file *f, sol_dtype dtype,
                                   const sol_progress *progress, sol_err *err)
{
    sol_model_config config;
    SOL_TRY(read_beside(h5, f, &config, err));
    return read_params(h5, &config, &f->quant, dtype, progress, &f->model, err);
}

static sol_status describe(const sol_h5_file *h5, sol_model_file *f, sol_dtype dtype, sol_err *err)
{
    sol_model_config config;
    SOL_TRY(read_beside(h5, f, &config, err));
    return read_table(h5, &config, &f->quant, dtype, &f->model, err);
}

static sol_status read_file(sol_model_file *f, const char *path, sol_dtype dtype, bool weights,
                            const sol_progress *progress, sol_err *err)
{
    sol_h5_file h5;
    *f = (sol_model_file){0};
    SOL_TRY(sol_h5_open(&h5, path, err));
    sol_status st = weights ? sol_part_get_model_file(&h5, f, dtype, progress, err)
                            : describe(&h5, f, dtype, err);
    sol_h5_close(&h5);
    if (st != SOL_OK) sol_model_file_free(f);
    return st;
}

sol_status sol_model_file_read(sol_model_file *f, const char *path, sol_dtype dtype,
                               const sol_progress *progress, sol_err *err)
{
    return read_file(f, path, dtype, true, progress, err);
}

sol_status sol_model_file_describe(sol_model_file *f, const char *path, sol_dtype dtype,
                                   sol_err *err)
{
    return read_file(f, path, dtype, false, NULL, err);
}

enum { STREAM_ITEMS = 1 << 20 };

/* Hands a parameter to the sink in pieces of up to max_rows rows. rows: a buffer of [max_rows,
 * p->cols]. */
static sol_status stream_rows(sol_params_in *in, const sol_param *p, float *rows, int64_t max_rows,
                              const sol_param_sink *sink, sol_err *err)
{
    for (int64_t at = 0; at < p->rows; at += max_rows) {
        int64_t n = sol_min_i64(p->rows - at, max_rows);
        SOL_TRY(sol_params_in_next(in, rows, SOL_F32, n * p->cols, err));
        SOL_TRY(sink->rows(sink->user, p, at, n, rows, err));
    }
    return SOL_OK;
}

static sol_status stream_param(const sol_h5_file *h5, const sol_param *p,
                               const sol_param_sink *sink, sol_err *err)
{
    sol_params_in in = {0};
    float *rows = NULL;
    int64_t max_rows = p->cols < STREAM_ITEMS ? STREAM_ITEMS / p->cols : 1;
    if (max_rows > p->rows) max_rows = p->rows;
    sol_status st =
        sol_alloc_array((void **)&rows, (size_t)(max_rows * p->cols), sizeof *rows, err);
    if (st == SOL_OK) st = sol_params_in_open(&in, h5, p, err);
    if (st == SOL_OK) st = stream_rows(&in, p, rows, max_rows, sink, err);
    sol_params_in_free(&in);
    sol_free(rows);
    return st;
}

static sol_status stream(const sol_h5_file *h5, sol_model_file *f, const sol_param_sink *sink,
                         sol_err *err)
{
    SOL_TRY(describe(h5, f, SOL_F32, err));
    SOL_TRY(sink->begin(sink->user, f, err));
    for (int i = 0; i < f->model->n_params; i++)
        SOL_TRY(stream_param(h5, &f->model->params[i], sink, err));
    return SOL_OK;
}

sol_status sol_model_file_stream(const char *path, const sol_param_sink *sink, sol_err *err)
{
    sol_h5_file h5;
    sol_model_file f = {0};
    SOL_TRY(sol_h5_open(&h5, path, err));
    sol_status st = stream(&h5, &f, sink, err);
    sol_model_file_free(&f);
    sol_h5_close(&h5);
    return st;
}
