/* GGUF version 3, as llama.cpp reads it: types, what fits in them, and the tensors; keys come from
 * gguf_metadata.c.
 *
 * STQ1_0 takes its blocks of four in stride 16 inside 64 columns. A model with contiguous blocks
 * becomes one with such blocks when every channel 4 j + p of a chunk of 64 moves to place j + 16 p,
 * wherever the channel is used: columns of the embedding and of what reads the residual stream,
 * rows of what writes it, norms; rows of gate and up with columns of down; rows of v with columns
 * of o inside each head. The function stays the same. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "foreign/gguf_metadata.h"
#include "foreign/gguf_numbers.h"
#include "store/kind.h"

enum { PIECE = 1 << 18 };

typedef struct gguf_writer {
    sol_view view;
    const sol_gguf_opts *o;
    const sol_ggml_type *linear, *embed, *f32;
    const sol_ggml_type *kept; /* of layers without a quantizer in a file of ternary ones */
    bool permute;              /* contiguous blocks to stride 16 */
    sol_replace replace;
    sol_out out;
    uint64_t at, predicted;
    float *rows, *permuted; /* owned */
    uint8_t *bytes;         /* owned */
    double error, energy;   /* of --requantize */
    int64_t done;
} gguf_writer;

/* ---- tensors ---- */

static const sol_ggml_type *type_of(const gguf_writer *w, const sol_param *p)
{
    bool kept = p->kind == SOL_PARAM_LINEAR && !sol_quant_for(&w->view.quant, p->name).method;
    if (kept && w->linear->ternary) return w->kept;
    return sol_param_is_vector(p) ? w->f32 : p->kind == SOL_PARAM_LINEAR ? w->linear : w->embed;
}

static uint64_t tensor_bytes(const sol_ggml_type *t, int64_t rows, int64_t cols)
{
    return (uint64_t)rows * (uint64_t)(cols / t->block) * t->bytes;
}

static uint64_t aligned(uint64_t n)
{
    return sol_round_up_size(n, SOL_GGUF_ALIGNMENT);
}

static void put_tensor(sol_gguf_blob *b, const gguf_writer *w, const char *name,
                       const sol_ggml_type *t, int64_t rows, int64_t cols, uint64_t *offset,
                       sol_err *err)
{
    sol_gguf_put_text(b, name, strlen(name), err);
    sol_gguf_put_u32(b, rows > 0 ? 2 : 1, err);
    sol_gguf_put_u64(b, (uint64_t)cols, err);
    if (rows > 0) sol_gguf_put_u64(b, (uint64_t)rows, err);
    bool first_id = t->id == SOL_GGML_STQ1_0 && w->o->stq_first_id;
    sol_gguf_put_u32(b, first_id ? (uint32_t)SOL_GGML_STQ1_0_FIRST : (uint32_t)t->id, err);
    sol_gguf_put_u64(b, *offset, err);
    *offset = aligned(*offset + tensor_bytes(t, rows > 0 ? rows : 1, cols));
}

/* *data_bytes: what follows the header. */
static sol_status make_header(const gguf_writer *w, sol_gguf_blob *b, uint64_t *data_bytes,
                              sol_err *err)
{
    const sol_model *m = w->view.table;
    bool freqs = sol_gguf_has_rope_table(&m->config);
    sol_gguf_blob values = {0};
    char name[SOL_PARAM_NAME];
    *data_bytes = 0;
    sol_gguf_put_metadata(
        &values,
        &(sol_gguf_described){
            .view = &w->view, .opts = w->o, .linear = w->linear, .permute = w->permute},
        err);
    sol_gguf_put(b, "GGUF", 4, err);
    sol_gguf_put_u32(b, 3, err);
    sol_gguf_put_u64(b, (uint64_t)(m->n_plain + freqs), err);
    sol_gguf_put_u64(b, values.n_values, err);
    sol_gguf_put(b, values.data, values.n, err);
    for (int i = 0; i < m->n_plain; i++) {
        const sol_param *p = &m->params[i];
        sol_role_gguf_name(p->role, p->layer, name);
        put_tensor(b, w, name, type_of(w, p), sol_param_is_vector(p) ? 0 : p->rows, p->cols,
                   data_bytes, err);
    }
    if (freqs)
        put_tensor(b, w, "rope_freqs.weight", w->f32, 0, m->config.head_dim / 2, data_bytes, err);
    while (b->status == SOL_OK && b->n % SOL_GGUF_ALIGNMENT) sol_gguf_put(b, "", 1, err);
    sol_free(values.data);
    return values.status != SOL_OK ? values.status : b->status;
}

/* ---- what fits ---- */

/* A type that takes the rows of p. */
static const char *wider_type(const sol_ggml_type *t, const sol_param *p)
{
    if (p->kind != SOL_PARAM_LINEAR) return "--embed-type f16";
    if (t->ternary && t->block > 64 && p->cols % 64 == 0) return "--type q2_0, q8_0 or f16";
    return p->cols % 32 == 0 ? "--type q8_0 or f16" : "--type f16";
}

static sol_status check_width(const gguf_writer *w, const sol_param *p, sol_err *err)
{
    const sol_ggml_type *t = type_of(w, p);
    if (p->cols % t->block == 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_SHAPE,
                    "%s: %s: %s needs rows of a multiple of %" PRId64 ", not %" PRId64 ": use %s",
                    w->view.path, p->name, t->name, t->block, p->cols, wider_type(t, p));
}

static sol_status check_scales(const gguf_writer *w, const sol_quant_spec *q, sol_err *err)
{
    int block = (int)w->linear->block;
    bool by_64 = q->group_size % 64 == 0;
    if (q->granularity != SOL_PER_GROUP || q->group_size % block == 0 || w->o->requantize)
        return SOL_OK;
    return sol_fail(
        err, SOL_ERR_UNSUPPORTED,
        "%s: %s has one scale for %d weights, this model one for %d: %s"
        "train with quant.granularity per_channel or group_size %d, or accept the error "
        "of --requantize",
        w->view.path, w->linear->name, block, q->group_size, by_64 ? "use --type q2_0, " : "",
        block);
}

static sol_status check_codes(const gguf_writer *w, const sol_quant_spec *q, sol_err *err)
{
    if (q->method->shifted)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: %s weights have levels beside a shift, which %s cannot hold: use "
                        "--type q8_0 or f16",
                        w->view.path, q->method->name, w->linear->name);
    if (q->method->packable || w->linear->id != SOL_GGML_STQ1_0) return SOL_OK;
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "%s: %s weights are not 3:4 sparse, STQ1_0 cannot hold them: use --type q2_0, "
                    "tq1_0 or tq2_0",
                    w->view.path, q->method->name);
}

/* A layer in the type of ternary ones. */
static sol_status check_ternary(const gguf_writer *w, const sol_param *p, sol_err *err)
{
    sol_quant_spec q = sol_quant_for(&w->view.quant, p->name);
    if (!p->quantized || !q.method) return SOL_OK;
    SOL_TRY(check_scales(w, &q, err));
    return check_codes(w, &q, err);
}

static sol_status check_stq(const gguf_writer *w, sol_err *err)
{
    const sol_model_config *c = &w->view.table->config;
    if (w->permute && c->head_dim % 64)
        return sol_fail(
            err, SOL_ERR_SHAPE,
            "%s: head_dim %" PRId64
            " is no multiple of 64, which the exact conversion of contiguous blocks "
            "to STQ1_0 needs: train with quant.block_layout stride16, or use --type tq1_0",
            w->view.path, c->head_dim);
    return SOL_OK;
}

/* What llama.cpp computes for the family of the model. */
static sol_status check_family(const gguf_writer *w, sol_err *err)
{
    const sol_model_config *c = &w->view.table->config;
    const sol_family_row *f = sol_family_of(c);
    if (c->rope_factor != 0 && !sol_gguf_has_rope_table(c) && !sol_rope_is_linear(c))
        return sol_fail(
            err, SOL_ERR_UNSUPPORTED,
            "%s: llama.cpp knows no llama3 scaling of RoPE in %s models: use --format safetensors",
            w->view.path, f->model_type);
    if (f->has & SOL_FAMILY_SUB_NORM && !c->tie_word_embeddings)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: llama.cpp takes the embedding of a %s model for its head, this one "
                        "has another: use --format safetensors",
                        w->view.path, f->model_type);
    if (f->has & SOL_FAMILY_NOPE)
        for (int64_t i = 0; i < c->num_hidden_layers; i++)
            if (sol_layer_has_rope(c, i) != ((i + 1) % SOL_GGUF_NO_ROPE_INTERVAL != 0))
                return sol_fail(err, SOL_ERR_UNSUPPORTED,
                                "%s: llama.cpp leaves each fourth layer of a %s model without "
                                "RoPE, this one has "
                                "no_rope_layer_interval %" PRId64 ": use --format safetensors",
                                w->view.path, f->model_type, c->no_rope_layer_interval);
    return SOL_OK;
}

static sol_status check_fit(gguf_writer *w, sol_err *err)
{
    const sol_model *table = w->view.table;
    SOL_TRY(check_family(w, err));
    if (!w->view.tokenizer)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: has no tokenizer, which a GGUF file needs",
                        w->view.path);
    for (int i = 0; i < table->n_plain; i++) SOL_TRY(check_width(w, &table->params[i], err));
    if (w->linear->ternary)
        for (int i = 0; i < table->n_plain; i++) SOL_TRY(check_ternary(w, &table->params[i], err));
    if (w->linear->id != SOL_GGML_STQ1_0) return SOL_OK;
    w->permute = w->view.quant.layout == SOL_LAYOUT_CONTIGUOUS;
    return check_stq(w, err);
}

/* ---- data ---- */

/* Where channel i of the file comes from. */
static int64_t old_channel(int64_t i)
{
    int64_t in_chunk = i % 64;
    return i - in_chunk + in_chunk % 16 * 4 + in_chunk / 16;
}

/* Row of the model that becomes row r of the file: rows of q and k in interleaved pairs; channels
 * that move. */
static int64_t source_row(const gguf_writer *w, const sol_param *p, int64_t r)
{
    int64_t D = w->view.table->config.head_dim;
    switch (p->role) {
    case SOL_ROLE_Q:
    case SOL_ROLE_K:
        if (sol_family_of(&w->view.table->config)->order == SOL_GGUF_HALVES) return r;
        return r - r % D + r % D / 2 + r % 2 * (D / 2);
    case SOL_ROLE_V:
    case SOL_ROLE_O:
    case SOL_ROLE_GATE:
    case SOL_ROLE_UP:
    case SOL_ROLE_DOWN: return w->permute ? old_channel(r) : r;
    default: return r;
    }
}

/* The same for columns. Biases and norms of q and k stand beside rows that do not move. */
static int64_t source_column(const gguf_writer *w, const sol_param *p, int64_t i)
{
    bool stays = p->role == SOL_ROLE_Q_BIAS || p->role == SOL_ROLE_K_BIAS ||
                 p->role == SOL_ROLE_Q_NORM || p->role == SOL_ROLE_K_NORM;
    return w->permute && !stays ? old_channel(i) : i;
}

/* One scale a block of the type: the mean of the magnitudes, the best one for given signs. */
static void requantize(gguf_writer *w, float *row, int64_t cols)
{
    int64_t block = w->linear->block;
    for (int64_t from = 0; from < cols; from += block) {
        double sum = 0;
        int64_t n = 0;
        for (int64_t i = from; i < from + block; i++)
            if (row[i] != 0) {
                sum += fabs((double)row[i]);
                n++;
            }
        float scale = n ? sol_f16_to_f32(sol_f32_to_f16((float)(sum / (double)n))) : 0;
        for (int64_t i = from; i < from + block; i++) {
            float now = row[i] == 0 ? 0 : copysignf(scale, row[i]);
            w->error += ((double)now - row[i]) * ((double)now - row[i]);
            w->energy += (double)row[i] * row[i];
            row[i] = now;
        }
    }
}

static sol_status write_row(gguf_writer *w, const sol_param *p, const sol_ggml_type *t,
                            const float *row, sol_err *err)
{
    float *permuted = w->permuted;
    for (int64_t i = 0; i < p->cols; i++) permuted[i] = row[source_column(w, p, i)];
    if (w->o->requantize && t->ternary && p->kind == SOL_PARAM_LINEAR)
        requantize(w, permuted, p->cols);
    sol_status st = sol_part_refuse_beyond(p->name, permuted, p->cols, t->name, t->max, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s", w->view.path);
    sol_ggml_encode(t, permuted, p->cols, w->bytes);
    size_t n = (size_t)tensor_bytes(t, 1, p->cols);
    st = sol_out_write(&w->out, w->at, w->bytes, n, err);
    w->at += n;
    return st;
}

static sol_status pad(gguf_writer *w, sol_err *err)
{
    static const uint8_t zeros[SOL_GGUF_ALIGNMENT];
    size_t n = (size_t)(aligned(w->at) - w->at);
    sol_status st = sol_out_write(&w->out, w->at, zeros, n, err);
    w->at += n;
    return st;
}

/* Linear layers whole, because their rows move; the others in pieces. */
static sol_status write_param(gguf_writer *w, int index, sol_err *err)
{
    const sol_param *p = &w->view.table->params[index];
    int64_t step = p->kind == SOL_PARAM_LINEAR ? p->rows
                   : PIECE / p->cols > 1       ? PIECE / p->cols
                                               : 1;
    const sol_progress *progress = &w->o->progress;
    SOL_TRY(sol_view_begin(&w->view, index, err));
    for (int64_t from = 0; from < p->rows; from += step) {
        int64_t n = sol_min_i64(p->rows - from, step);
        SOL_TRY(sol_view_next(&w->view, w->rows, n, err));
        for (int64_t r = 0; r < n; r++) {
            const float *row = w->rows + source_row(w, p, r) * p->cols;
            SOL_TRY(write_row(w, p, type_of(w, p), row, err));
        }
        w->done += n * p->cols;
        if (!sol_progress_show(progress, p->name, w->done, w->view.table->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "export interrupted");
    }
    return pad(w, err);
}

static sol_status write_freqs(gguf_writer *w, sol_err *err)
{
    const sol_model_config *c = &w->view.table->config;
    if (!sol_gguf_has_rope_table(c)) return pad(w, err);
    for (int64_t i = 0; i < c->head_dim / 2; i++, w->at += 4) {
        float x = (float)sol_gguf_rope_divisor(c, i);
        SOL_TRY(sol_out_write(&w->out, w->at, &x, 4, err));
    }
    return pad(w, err);
}

static sol_status alloc_rows(gguf_writer *w, sol_err *err)
{
    int64_t largest = PIECE, widest = 1;
    for (int i = 0; i < w->view.table->n_plain; i++) {
        const sol_param *p = &w->view.table->params[i];
        int64_t n = p->kind == SOL_PARAM_LINEAR ? sol_param_count(p) : p->cols;
        if (n > largest) largest = n;
        if (p->cols > widest) widest = p->cols;
    }
    SOL_TRY(sol_alloc_array((void **)&w->rows, (size_t)largest, sizeof *w->rows, err));
    SOL_TRY(sol_alloc_array((void **)&w->permuted, (size_t)widest, sizeof *w->permuted, err));
    return sol_alloc_array((void **)&w->bytes, (size_t)widest, 4, err);
}

static sol_status write_all(gguf_writer *w, const sol_gguf_blob *header, sol_err *err)
{
    SOL_TRY(sol_out_open(&w->out, &w->replace, err));
    SOL_TRY(sol_out_write(&w->out, 0, header->data, header->n, err));
    w->at = header->n;
    for (int i = 0; i < w->view.table->n_plain; i++) SOL_TRY(write_param(w, i, err));
    return write_freqs(w, err);
}

static sol_status write_file(gguf_writer *w, const char *path, sol_err *err)
{
    sol_gguf_blob header = {0};
    uint64_t data = 0;
    sol_status st = make_header(w, &header, &data, err);
    w->predicted = header.n + data;
    if (st == SOL_OK) st = alloc_rows(w, err);
    if (st == SOL_OK) st = sol_replace_begin(&w->replace, path, w->predicted, err);
    if (st == SOL_OK) {
        st = write_all(w, &header, err);
        sol_status closed = sol_out_close(&w->out, st == SOL_OK ? err : NULL);
        if (st == SOL_OK) st = closed;
        if (st == SOL_OK) st = sol_replace_commit(&w->replace, err);
        if (st != SOL_OK) sol_replace_abort(&w->replace);
    }
    sol_free(header.data);
    return st;
}

bool sol_gguf_is_ternary(const char *type)
{
    const sol_ggml_type *t = sol_ggml_type_named(type);
    return t && t->ternary;
}

static sol_status choose_types(gguf_writer *w, sol_err *err)
{
    const sol_gguf_opts *o = w->o;
    w->f32 = sol_ggml_type_named("f32");
    w->kept = sol_ggml_type_named("f16");
    w->linear = sol_ggml_type_named(o->type);
    w->embed = sol_ggml_type_named(o->embed_type ? o->embed_type : "f16");
    if (!w->linear || !w->linear->readers)
        return sol_fail(
            err, SOL_ERR_USAGE,
            "GGUF type %.40s: stq1_0, q2_0, tq1_0, tq2_0, q8_0, f16, bf16 and f32 are written",
            o->type);
    if (!w->embed || !w->embed->readers || w->embed->ternary)
        return sol_fail(err, SOL_ERR_USAGE,
                        "GGUF type %.40s: embedding and head are written as q8_0, f16, bf16 or f32",
                        o->embed_type);
    return SOL_OK;
}

/* With its quantizer when it has one (or is given one); ternary types need it. */
static sol_status open_view(gguf_writer *w, sol_ctx *ctx, const char *source, sol_err *err)
{
    sol_file_kind kind;
    SOL_TRY(sol_store_kind(source, &kind, err));
    SOL_TRY(sol_view_open(&w->view, ctx, source, w->o->quant, false, err));
    if (kind == SOL_FILE_PACKED || w->o->latent) return SOL_OK;
    if (!w->view.quant.method && !w->linear->ternary) return SOL_OK;
    sol_view_close(&w->view);
    return sol_view_open(&w->view, ctx, source, w->o->quant, true, err);
}

sol_status sol_export_gguf_bytes(sol_model *table, sol_tokenizer *t, const sol_quant_spec *q,
                                 const sol_gguf_opts *o, uint64_t *bytes, sol_err *err)
{
    char who[] = "the model";
    gguf_writer w = {.o = o,
                     .view = {.path = who,
                              .table = table,
                              .tokenizer = t,
                              .quant = *q,
                              .dequantize = q->method && !o->latent}};
    sol_gguf_blob header = {0};
    uint64_t data = 0;
    sol_status st = choose_types(&w, err);
    if (st == SOL_OK && w.linear->ternary && !w.view.dequantize)
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "%s has no quantizer: %s holds ternary weights",
                      who, w.linear->name);
    if (st == SOL_OK) st = check_fit(&w, err);
    if (st == SOL_OK) st = make_header(&w, &header, &data, err);
    if (st == SOL_OK) *bytes = header.n + data;
    sol_free(header.data);
    return st;
}

/* A file cannot say that there is no EOS. */
static int32_t taken_eos(const sol_tokenizer *t)
{
    if (!t || sol_tokenizer_eos(t) >= 0) return -1;
    return strcmp(sol_tokenizer_kind(t), "SentencePiece BPE") == 0 ? 2 : 11;
}

sol_status sol_export_gguf(sol_ctx *ctx, const char *source, const char *path,
                           const sol_gguf_opts *o, sol_gguf_result *r, sol_err *err)
{
    gguf_writer w = {.o = o, .out.fd = -1, .view.file.in.fd = -1};
    *r = (sol_gguf_result){0};
    sol_status st = choose_types(&w, err);
    if (st == SOL_OK && o->latent && w.linear->ternary)
        st = sol_fail(err, SOL_ERR_USAGE, "latent weights are not ternary: %s cannot hold them",
                      w.linear->name);
    if (st == SOL_OK) st = open_view(&w, ctx, source, err);
    if (st == SOL_OK) st = check_fit(&w, err);
    if (st == SOL_OK) st = write_file(&w, path, err);
    r->bytes = w.at;
    r->predicted = w.predicted;
    r->permuted = w.permute;
    r->dequantized = w.view.dequantize;
    r->untrained = w.view.dequantize && w.view.untrained;
    r->scales_rounded = st == SOL_OK && w.linear->ternary && w.view.quant.scale_dtype == SOL_F32;
    r->readers = st == SOL_OK ? w.linear->readers : NULL;
    if (st == SOL_OK && sol_gguf_context_length(&w.view.table->config) <
                            w.view.table->config.max_position_embeddings)
        r->cut_context = sol_gguf_context_length(&w.view.table->config);
    r->taken_eos = taken_eos(w.view.tokenizer);
    r->nmse = w.energy > 0 ? w.error / w.energy : 0;
    sol_free(w.rows);
    sol_free(w.permuted);
    sol_free(w.bytes);
    sol_view_close(&w.view);
    return st;
}
