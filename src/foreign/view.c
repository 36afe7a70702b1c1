/* One way to read what is exported, for every writer of a foreign format: parameters in order,
 * in fp32, from a model file or a packed one. */
#include "foreign/view.h"

#include <string.h>

#include "base/mem.h"
#include "store/kind.h"

void sol_view_close(sol_view *v)
{
    sol_quant_overrides_free(&v->overrides);
    sol_packed_model_free(&v->packed);
    sol_params_in_free(&v->in);
    sol_h5_close(&v->file);
    sol_model_free(&v->table);
    sol_tokenizer_free(&v->tokenizer);
    for (int k = 0; k < SOL_QUANT_MAX_LEARNED; k++) sol_free(v->learned[k]);
    sol_free(v->whole);
    sol_free(v->latent);
    sol_free(v->path);
    *v = (sol_view){.file.in.fd = -1};
}

static sol_status open_packed(sol_view *v, sol_err *err)
{
    SOL_TRY(sol_packed_model_read(&v->packed, v->path, err));
    v->is_packed = v->dequantize = true;
    v->quant = v->packed.quant;
    v->tokenizer = v->packed.tokenizer;
    v->packed.tokenizer = NULL;
    return sol_model_describe(&v->table, &v->packed.config, SOL_F32, err);
}

/* The quantizer must fit before anything is written. */
static sol_status check_quant(const sol_view *v, sol_err *err)
{
    for (int i = 0; i < v->table->n_params; i++) {
        const sol_param *p = &v->table->params[i];
        if (!p->quantized) continue;
        sol_quant_spec spec = sol_quant_for(&v->quant, p->name);
        sol_status st = sol_quant_check(&spec, p->name, p->rows, p->cols, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "%s", v->path);
    }
    return SOL_OK;
}

static sol_status open_model(sol_view *v, const sol_quant_spec *quant, sol_err *err)
{
    sol_model_config config;
    SOL_TRY(sol_h5_open(&v->file, v->path, err));
    SOL_TRY(sol_part_check_format(&v->file, SOL_FORMAT_CHECKPOINT, err));
    SOL_TRY(sol_part_get_config(&v->file, &config, err));
    SOL_TRY(sol_part_get_quant(&v->file, &v->quant, &v->overrides, err));
    SOL_TRY(sol_part_get_tokenizer(&v->file, &config, &v->tokenizer, err));
    SOL_TRY(sol_model_describe(&v->table, &config, SOL_F32, err));
    SOL_TRY(sol_model_add_learned(v->table, &v->quant, err));
    SOL_TRY(sol_params_check(&v->file, v->table, &v->all_bf16, err));
    v->untrained = !v->quant.method;
    if (quant) {
        v->quant = *quant;
        v->rounded_anew = true;
    }
    if (!v->dequantize) return SOL_OK;
    if (!v->quant.method)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: was trained in full precision: name a quantizer to round it with, "
                        "e.g. --method sherry",
                        v->path);
    if (v->quant.method->dead_bias != 0)
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "%s: %s makes biases, which a file of another program has no place for: export its "
            "latent weights",
            v->path, v->quant.method->name);
    return check_quant(v, err);
}

sol_status sol_view_open(sol_view *v, sol_ctx *ctx, const char *path, const sol_quant_spec *quant,
                         bool dequantize, sol_err *err)
{
    sol_file_kind kind = SOL_FILE_MODEL;
    *v = (sol_view){.ctx = ctx, .dequantize = dequantize, .file.in.fd = -1};
    sol_status st = sol_copy_string(&v->path, path, strlen(path), err);
    if (st == SOL_OK) st = sol_store_model_kind(path, &kind, err);
    if (st == SOL_OK && kind == SOL_FILE_PACKED && quant)
        st = sol_fail(err, SOL_ERR_USAGE,
                      "%s: is packed already, it cannot be quantized in another way", path);
    if (st == SOL_OK)
        st = kind == SOL_FILE_PACKED ? open_packed(v, err) : open_model(v, quant, err);
    if (st == SOL_OK) {
        st = sol_family_check(&v->table->config, err);
        if (st != SOL_OK) sol_err_prefix(err, st, "%s", path);
    }
    if (st != SOL_OK) sol_view_close(v);
    return st;
}

static sol_status grow(float **block, size_t *capacity, const sol_param *p, sol_err *err)
{
    return sol_grow_array((void **)block, capacity, (size_t)sol_param_count(p), sizeof **block,
                          err);
}

/* What the method learned beside the weights of p. */
static sol_status read_learned(sol_view *v, const sol_param *p, sol_quant_matrix *x, sol_err *err)
{
    if (!p->learned) return SOL_OK;
    for (int k = 0; k < v->table->n_learned; k++) {
        const sol_param *learned = sol_model_learned(v->table, p, k);
        SOL_TRY(grow(&v->learned[k], &v->learned_capacity[k], learned, err));
        SOL_TRY(sol_params_get(&v->file, learned, v->learned[k], SOL_F32, err));
        x->learned[k] = v->learned[k];
    }
    return SOL_OK;
}

/* What parameter p, which no quantizer makes, was trained to ship as; SOL_F32: as it is. */
static sol_dtype shipped(const sol_view *v, const sol_param *p)
{
    return v->dequantize ? sol_param_shipped(p, &v->quant) : SOL_F32;
}

/* Whether parameter p comes as Q(W). */
static bool rounds(const sol_view *v, const sol_param *p)
{
    return v->dequantize && p->quantized && sol_quant_for(&v->quant, p->name).method;
}

sol_status sol_view_begin(sol_view *v, int index, sol_err *err)
{
    const sol_param *p = &v->table->params[index];
    v->at = index;
    v->row = 0;
    if (v->is_packed) return SOL_OK;
    SOL_TRY(sol_params_in_open(&v->in, &v->file, p, err));
    if (!rounds(v, p) && shipped(v, p) == SOL_F32) return SOL_OK;
    SOL_TRY(grow(&v->latent, &v->latent_capacity, p, err));
    SOL_TRY(grow(&v->whole, &v->whole_capacity, p, err));
    SOL_TRY(sol_params_in_next(&v->in, v->latent, SOL_F32, sol_param_count(p), err));
    if (!rounds(v, p))
        return sol_packed_round(v->ctx, &v->quant, shipped(v, p), p->name, v->latent, p->rows,
                                p->cols, v->whole, err);
    sol_quant_spec spec = sol_quant_for(&v->quant, p->name);
    sol_quant_matrix x = {.w = v->latent, .rows = p->rows, .cols = p->cols};
    if (!v->rounded_anew) SOL_TRY(read_learned(v, p, &x, err));
    sol_quant_forward(v->ctx, &spec, &x, (sol_residual_mix){1.0f, 0.0f}, v->whole, NULL);
    return SOL_OK;
}

static void next_packed(sol_view *v, const sol_param *p, float *out, int64_t rows)
{
    const sol_stored *m = &v->packed.matrix[v->at];
    if (sol_param_is_vector(p))
        memcpy(out, v->packed.vector[v->at], (size_t)p->cols * sizeof *out);
    else if (m->type != SOL_TERNARY)
        sol_stored_rows(m, v->row, rows, out);
    else
        for (int64_t r = 0; r < rows; r++) sol_packed_decode_row(m, v->row + r, out + r * p->cols);
}

sol_status sol_view_next(sol_view *v, float *out, int64_t rows, sol_err *err)
{
    const sol_param *p = &v->table->params[v->at];
    sol_status st = SOL_OK;
    if (v->is_packed)
        next_packed(v, p, out, rows);
    else if (rounds(v, p) || shipped(v, p) != SOL_F32)
        memcpy(out, v->whole + v->row * p->cols, (size_t)(rows * p->cols) * sizeof *out);
    else
        st = sol_params_in_next(&v->in, out, SOL_F32, rows * p->cols, err);
    v->row += rows;
    return st;
}
