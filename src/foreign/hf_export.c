/* Writes a folder that Hugging Face transformers reads: config.json, safetensors, tokenizer.
 * `solera export` calls it; view.c gives the parameters. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"
#include "foreign/export.h"
#include "foreign/hf.h"
#include "foreign/view.h"

enum { PIECE = 1 << 18 }; /* elements, at least one row */

typedef struct folder {
    const char *dir; /* borrowed */
    sol_view view;
    sol_dtype dtype;
    sol_replace replace;
    sol_out out;
    bool begun;
    uint64_t at; /* next byte of the weights file */
    float *rows; /* owned */
    void *bytes; /* owned */
    const sol_progress *progress;
    int64_t done;
} folder;

/* One line per tensor, padded with blanks so that the data begin at a multiple of 64. */
static sol_status make_header(const folder *f, sol_text *t, sol_err *err)
{
    static const char *const names[] = {[SOL_F32] = "F32", [SOL_F16] = "F16", [SOL_BF16] = "BF16"};
    uint64_t at = 0;
    sol_text_add(t, err, "{\"__metadata__\":{\"format\":\"pt\",\"made_by\":\"solera\"}");
    for (int i = 0; i < f->view.table->n_plain; i++) {
        const sol_param *p = &f->view.table->params[i];
        uint64_t end = at + (uint64_t)sol_param_count(p) * sol_dtype_size(f->dtype);
        sol_text_add(t, err, ",\n\"%s\":{\"dtype\":\"%s\",\"shape\":[", p->name, names[f->dtype]);
        if (!sol_param_is_vector(p)) sol_text_add(t, err, "%lld,", (long long)p->rows);
        sol_text_add(t, err, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)p->cols,
                     (unsigned long long)at, (unsigned long long)end);
        at = end;
    }
    sol_text_add(t, err, "}");
    while (t->status == SOL_OK && (t->n + 8) % 64 != 0) sol_text_add(t, err, " ");
    return t->status;
}

static sol_status begin_weights(folder *f, sol_err *err)
{
    char path[SOL_PATH_MAX];
    sol_text header = {0};
    uint8_t length[8];
    uint64_t need;
    sol_status st = make_header(f, &header, err);
    need = header.n + 8 + (uint64_t)f->view.table->n_weights * sol_dtype_size(f->dtype);
    if (st == SOL_OK) st = sol_path_join(path, f->dir, "model.safetensors", err);
    if (st == SOL_OK) st = sol_replace_begin(&f->replace, path, need, err);
    if (st == SOL_OK) {
        f->begun = true;
        st = sol_out_open(&f->out, &f->replace, err);
    }
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.n >> 8 * i);
    if (st == SOL_OK) st = sol_out_write(&f->out, 0, length, 8, err);
    if (st == SOL_OK) st = sol_out_write(&f->out, 8, header.data, header.n, err);
    f->at = 8 + header.n;
    sol_free(header.data);
    return st;
}

static sol_status write_param(folder *f, int index, sol_err *err)
{
    const sol_param *p = &f->view.table->params[index];
    int64_t step = PIECE / p->cols > 1 ? PIECE / p->cols : 1;
    SOL_TRY(sol_view_begin(&f->view, index, err));
    for (int64_t row = 0; row < p->rows; row += step) {
        int64_t rows = sol_min_i64(p->rows - row, step), n = rows * p->cols;
        size_t bytes = (size_t)n * sol_dtype_size(f->dtype);
        SOL_TRY(sol_view_next(&f->view, f->rows, rows, err));
        SOL_TRY(sol_part_refuse_beyond(p->name, f->rows, n, sol_dtype_name(f->dtype),
                                       sol_dtype_max(f->dtype), err));
        sol_convert(f->bytes, f->dtype, f->rows, SOL_F32, n);
        SOL_TRY(sol_out_write(&f->out, f->at, f->bytes, bytes, err));
        f->at += bytes;
        f->done += n;
        if (!sol_progress_show(f->progress, p->name, f->done, f->view.table->n_weights))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "%s: export interrupted", f->dir);
    }
    return SOL_OK;
}

static sol_status write_all(folder *f, sol_err *err)
{
    int n = f->view.table->n_plain;
    int64_t widest = PIECE;
    for (int i = 0; i < n; i++)
        if (f->view.table->params[i].cols > widest) widest = f->view.table->params[i].cols;
    SOL_TRY(sol_alloc_array((void **)&f->rows, (size_t)widest, sizeof *f->rows, err));
    SOL_TRY(sol_alloc_array(&f->bytes, (size_t)widest, 4, err));
    SOL_TRY(begin_weights(f, err));
    for (int i = 0; i < n; i++) SOL_TRY(write_param(f, i, err));
    return SOL_OK;
}

static sol_status write_weights(folder *f, sol_err *err)
{
    sol_status st = write_all(f, err);
    sol_status closed = sol_out_close(&f->out, st == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = closed;
    if (st == SOL_OK) st = sol_replace_commit(&f->replace, err);
    if (st != SOL_OK && f->begun) sol_replace_abort(&f->replace);
    return st;
}

static sol_status write_json(const char *dir, const char *name, json_t *root, sol_err *err)
{
    char path[SOL_PATH_MAX];
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    sol_status st = text ? sol_path_join(path, dir, name, err)
                         : sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", name);
    if (st == SOL_OK) st = sol_file_write(path, text, strlen(text), err);
    free(text);
    return st;
}

static void set_token(json_t *o, const char *key, const sol_tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *text = id >= 0 ? sol_tokenizer_text(t, id, &n) : NULL;
    if (text) json_object_set_new(o, key, json_stringn(text, n));
}

static sol_status remove_file(const char *dir, const char *name, sol_err *err)
{
    char path[SOL_PATH_MAX];
    SOL_TRY(sol_path_join(path, dir, name, err));
    if (unlink(path) != 0 && errno != ENOENT) SOL_TRY(sol_fail_errno(err, path, "cannot remove"));
    return SOL_OK;
}

const char *const sol_hf_strays[] = {"chat_template.jinja", "added_tokens.json",
                                     "special_tokens_map.json", "adapter_config.json", NULL};

static sol_status remove_strays(const char *dir, sol_err *err)
{
    for (int i = 0; sol_hf_strays[i]; i++) SOL_TRY(remove_file(dir, sol_hf_strays[i], err));
    return SOL_OK;
}

/* The tokenizer of an earlier export is none of this model's. */
static sol_status remove_tokenizer(const char *dir, sol_err *err)
{
    SOL_TRY(remove_file(dir, "tokenizer.json", err));
    return remove_file(dir, "tokenizer_config.json", err);
}

/* What has no tokenizer.json comes in a folder without one. */
static sol_status write_tokenizer(const char *dir, const sol_tokenizer *t, int64_t positions,
                                  bool *written, sol_err *err)
{
    char path[SOL_PATH_MAX];
    char *json = NULL;
    size_t n;
    sol_err why = {0};
    *written = false;
    if (!t) return remove_tokenizer(dir, err);
    sol_status st = sol_tokenizer_to_json(t, &json, &n, &why);
    if (st == SOL_ERR_UNSUPPORTED) return remove_tokenizer(dir, err);
    if (st != SOL_OK) return sol_fail(err, st, "tokenizer.json: %s", why.text);
    st = sol_path_join(path, dir, "tokenizer.json", err);
    if (st == SOL_OK) st = sol_file_write(path, json, n, err);
    sol_free(json);
    if (st != SOL_OK) return st;
    json_t *o =
        json_pack("{s:s, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast",
                  "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)positions);
    set_token(o, "bos_token", t, sol_tokenizer_bos(t));
    set_token(o, "eos_token", t, sol_tokenizer_eos(t));
    const char *chat = sol_tokenizer_chat_template(t);
    if (chat) json_object_set_new(o, "chat_template", json_string(chat));
    st = write_json(dir, "tokenizer_config.json", o, err);
    json_decref(o);
    *written = st == SOL_OK;
    return st;
}

static sol_status write_configs(const folder *f, sol_err *err)
{
    static const char *const names[] = {
        [SOL_F32] = "float32", [SOL_F16] = "float16", [SOL_BF16] = "bfloat16"};
    const sol_model_config *c = &f->view.table->config;
    const char *kept = f->view.tokenizer ? sol_tokenizer_generation(f->view.tokenizer) : NULL;
    json_t *config, *generation = kept ? json_loads(kept, 0, NULL) : NULL;
    if (!json_is_object(generation)) { /* an imported GGUF may hold any text there */
        json_decref(generation);
        generation = json_object();
    }
    if (c->bos_token_id >= 0)
        json_object_set_new(generation, "bos_token_id", json_integer((json_int_t)c->bos_token_id));
    if (c->eos_token_id >= 0) json_object_set_new(generation, "eos_token_id", sol_hf_eos_json(c));
    sol_status st = write_json(f->dir, "generation_config.json", generation, err);
    json_decref(generation);
    if (st == SOL_OK) st = sol_hf_config_make(c, names[f->dtype], &config, err);
    if (st != SOL_OK) return st;
    st = write_json(f->dir, "config.json", config, err);
    json_decref(config);
    return st;
}

sol_status sol_export_safetensors(sol_ctx *ctx, const char *source, const char *dir,
                                  const sol_export_opts *o, sol_export_result *r, sol_err *err)
{
    folder f = {.dir = dir, .out.fd = -1, .progress = &o->progress};
    *r = (sol_export_result){0};
    sol_status st = sol_view_open(&f.view, ctx, source, o->quant, o->dequantize, err);
    if (st != SOL_OK) return st;
    f.dtype =
        sol_dtype_wished(o->dtype, f.view.all_bf16 && !f.view.dequantize ? SOL_BF16 : SOL_F32);
    bool had_dir = sol_file_exists(dir);
    st = sol_dir_create(dir, err);
    if (st == SOL_OK) st = write_weights(&f, err);
    if (st == SOL_OK) st = remove_strays(dir, err);
    if (st == SOL_OK)
        st = write_tokenizer(dir, f.view.tokenizer, f.view.table->config.max_position_embeddings,
                             &r->has_tokenizer, err);
    if (st == SOL_OK) st = write_configs(&f, err);
    if (st != SOL_OK && !had_dir) rmdir(dir);
    r->bytes = f.at;
    r->dtype = f.dtype;
    r->dequantized = f.view.dequantize;
    r->untrained = f.view.dequantize && f.view.untrained;
    sol_free(f.rows);
    sol_free(f.bytes);
    sol_view_close(&f.view);
    return st;
}
