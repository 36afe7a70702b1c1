/* Configuration, quantizer, windows and tokenizer in a file: attributes by table, so that writing
 * and reading cannot drift apart. */
#include "store/parts.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

sol_status sol_part_check_format(const sol_h5_file *f, const char *format, sol_err *err)
{
    const sol_h5_node *root = &f->tree.node[0];
    const char *is;
    int64_t version;
    SOL_TRY(sol_h5_get_text(f, root, "format", &is, err));
    if (strcmp(is, format) != 0)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: is a %.40s, expected a %s", f->path, is, format);
    SOL_TRY(sol_h5_get_i64(f, root, "version", 0, INT32_MAX, &version, err));
    if (version != 1)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: is version %lld of %s, this program reads version 1", f->path,
                        (long long)version, format);
    return SOL_OK;
}

sol_status sol_part_put_root(sol_h5_writer *w, const char *config_yaml, uint64_t step,
                             uint64_t tokens, sol_err *err)
{
    SOL_TRY(sol_h5_set_u64(w, 0, "step", step, err));
    SOL_TRY(sol_h5_set_u64(w, 0, "tokens", tokens, err));
    return config_yaml ? sol_h5_set_text(w, 0, "config", config_yaml, err) : SOL_OK;
}

sol_status sol_part_get_root(const sol_h5_file *f, char **config_yaml, uint64_t *step,
                             uint64_t *tokens, sol_err *err)
{
    const sol_h5_node *root = &f->tree.node[0];
    const char *text;
    *config_yaml = NULL;
    *step = *tokens = 0;
    if (sol_h5_node_attr(root, "step")) SOL_TRY(sol_h5_get_u64(f, root, "step", step, err));
    if (sol_h5_node_attr(root, "tokens")) SOL_TRY(sol_h5_get_u64(f, root, "tokens", tokens, err));
    if (!sol_h5_node_attr(root, "config")) return SOL_OK;
    SOL_TRY(sol_h5_get_text(f, root, "config", &text, err));
    return sol_copy_string(config_yaml, text, strlen(text), err);
}

/* ---- configuration ---- */

/* FLAG: left out when false, COUNT: when 0, ID: when -1. */
typedef enum { FIELD_INT, FIELD_REAL, FIELD_BOOL, FIELD_FLAG, FIELD_COUNT, FIELD_ID } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset;
} field;

#define FIELD(name, kind, member) \
    { \
        name, kind, offsetof(sol_model_config, member) \
    }
static const field model_fields[] = {
    FIELD("vocab_size", FIELD_INT, vocab_size),
    FIELD("hidden_size", FIELD_INT, hidden_size),
    FIELD("intermediate_size", FIELD_INT, intermediate_size),
    FIELD("num_hidden_layers", FIELD_INT, num_hidden_layers),
    FIELD("num_attention_heads", FIELD_INT, num_attention_heads),
    FIELD("num_key_value_heads", FIELD_INT, num_key_value_heads),
    FIELD("head_dim", FIELD_INT, head_dim),
    FIELD("max_position_embeddings", FIELD_INT, max_position_embeddings),
    FIELD("rms_norm_eps", FIELD_REAL, rms_norm_eps),
    FIELD("rope_theta", FIELD_REAL, rope_theta),
    FIELD("tie_word_embeddings", FIELD_BOOL, tie_word_embeddings),
    FIELD("qkv_bias", FIELD_FLAG, qkv_bias),
    FIELD("qk_norm", FIELD_FLAG, qk_norm),
    FIELD("sub_norm", FIELD_FLAG, sub_norm),
    FIELD("sliding_window", FIELD_COUNT, sliding_window),
    FIELD("max_window_layers", FIELD_COUNT, max_window_layers),
    FIELD("no_rope_layer_interval", FIELD_COUNT, no_rope_layer_interval),
    FIELD("bos_token_id", FIELD_ID, bos_token_id),
    FIELD("eos_token_id", FIELD_ID, eos_token_id),
};
static const field rope_fields[] = {
    FIELD("factor", FIELD_REAL, rope_factor),
    FIELD("low_freq_factor", FIELD_REAL, rope_low_freq_factor),
    FIELD("high_freq_factor", FIELD_REAL, rope_high_freq_factor),
    FIELD("original_max_position_embeddings", FIELD_INT, rope_original_max_position),
};
#undef FIELD
enum {
    N_MODEL_FIELDS = sizeof model_fields / sizeof(field),
    N_ROPE_FIELDS = sizeof rope_fields / sizeof(field)
};

/* The value of an integer that is not there. */
static int64_t absent_of(const field *f)
{
    return f->kind == FIELD_ID ? -1 : 0;
}

static sol_status put_field(sol_h5_writer *w, int id, const field *row, const void *base,
                            sol_err *err)
{
    const void *at = (const char *)base + row->offset;
    switch (row->kind) {
    case FIELD_REAL: return sol_h5_set_f64(w, id, row->name, *(const double *)at, err);
    case FIELD_FLAG:
        if (!*(const bool *)at) return SOL_OK;
        /* fallthrough */
    case FIELD_BOOL: return sol_h5_set_i64(w, id, row->name, *(const bool *)at, err);
    case FIELD_ID:
    case FIELD_COUNT:
        if (*(const int64_t *)at <= absent_of(row)) return SOL_OK;
        /* fallthrough */
    case FIELD_INT: return sol_h5_set_i64(w, id, row->name, *(const int64_t *)at, err);
    }
    return SOL_OK;
}

static sol_status put_fields(sol_h5_writer *w, int id, const field *rows, int n, const void *base,
                             sol_err *err)
{
    for (int i = 0; i < n; i++) SOL_TRY(put_field(w, id, &rows[i], base, err));
    return SOL_OK;
}

static sol_status get_field(const sol_h5_file *f, const sol_h5_node *node, const field *row,
                            void *base, sol_err *err)
{
    void *at = (char *)base + row->offset;
    bool is_bool = row->kind == FIELD_BOOL || row->kind == FIELD_FLAG;
    bool may_lack = row->kind == FIELD_ID || row->kind == FIELD_FLAG || row->kind == FIELD_COUNT;
    bool lacks = may_lack && !sol_h5_node_attr(node, row->name);
    int64_t v = absent_of(row), lo = is_bool ? 0 : INT64_MIN, hi = is_bool ? 1 : INT64_MAX;
    if (row->kind == FIELD_REAL) return sol_h5_get_f64(f, node, row->name, at, err);
    if (!lacks) SOL_TRY(sol_h5_get_i64(f, node, row->name, lo, hi, &v, err));
    if (is_bool)
        *(bool *)at = v == 1;
    else
        *(int64_t *)at = v;
    return SOL_OK;
}

static sol_status get_fields(const sol_h5_file *f, const sol_h5_node *node, const field *rows,
                             int n, void *base, sol_err *err)
{
    for (int i = 0; i < n; i++) SOL_TRY(get_field(f, node, &rows[i], base, err));
    return SOL_OK;
}

/* eos_token_id is one number; where there are several, eos_token_ids is a JSON array of all, that
 * one first. */
static sol_status put_eos_list(sol_h5_writer *w, int id, const sol_model_config *c, sol_err *err)
{
    char text[SOL_MAX_EOS * 12];
    if (c->n_more_eos == 0) return SOL_OK;
    int n = snprintf(text, sizeof text, "[%lld", (long long)c->eos_token_id);
    for (int64_t i = 0; i < c->n_more_eos; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, ",%lld", (long long)c->more_eos[i]);
    snprintf(text + n, sizeof text - (size_t)n, "]");
    return sol_h5_set_text(w, id, "eos_token_ids", text, err);
}

/* Whether it is an array of token ids that begins with this one. */
static bool is_eos_list(const json_t *list, int64_t first)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    }
    return json_array_size(list) > 0 && json_integer_value(json_array_get(list, 0)) == first;
}

static sol_status add_eos_list(const json_t *list, sol_model_config *c, sol_err *err)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) SOL_TRY(sol_model_add_eos(c, json_integer_value(v), err));
    return SOL_OK;
}

static sol_status get_eos_list(const sol_h5_file *f, const sol_h5_node *n, sol_model_config *c,
                               sol_err *err)
{
    const char *text;
    if (!sol_h5_node_attr(n, "eos_token_ids")) return SOL_OK;
    SOL_TRY(sol_h5_get_text(f, n, "eos_token_ids", &text, err));
    json_t *list = json_loads(text, 0, NULL);
    sol_status st = is_eos_list(list, c->eos_token_id)
                        ? add_eos_list(list, c, err)
                        : sol_fail(err, SOL_ERR_FORMAT,
                                   "%s: /model: eos_token_ids is '%.60s', expected a JSON array of "
                                   "token ids that begins "
                                   "with eos_token_id",
                                   f->path, text);
    json_decref(list);
    return st;
}

/* /origin: absent where nothing is known. */
static const struct origin_field {
    const char *name;
    size_t offset, size;
} origin_fields[] = {
#define ROW(field, bytes) {#field, offsetof(sol_origin, field), bytes},
    SOL_ORIGIN_FIELDS(ROW)
#undef ROW
};
enum { N_ORIGIN_FIELDS = sizeof origin_fields / sizeof *origin_fields };

static sol_status put_origin(sol_h5_writer *w, const sol_origin *o, sol_err *err)
{
    int id = -1;
    for (int i = 0; i < N_ORIGIN_FIELDS; i++) {
        const char *text = (const char *)o + origin_fields[i].offset;
        if (!text[0]) continue;
        if (id < 0) SOL_TRY(sol_h5_group(w, "/origin", &id, err));
        SOL_TRY(sol_h5_set_text(w, id, origin_fields[i].name, text, err));
    }
    return SOL_OK;
}

static sol_status get_origin(const sol_h5_file *f, sol_origin *o, sol_err *err)
{
    const sol_h5_node *n = sol_h5_find(f, "/origin");
    const char *text;
    if (n)
        for (int i = 0; i < N_ORIGIN_FIELDS; i++) {
            const struct origin_field *row = &origin_fields[i];
            if (!sol_h5_node_attr(n, row->name)) continue;
            SOL_TRY(sol_h5_get_text(f, n, row->name, &text, err));
            sol_origin_take((char *)o + row->offset, row->size, text, strlen(text));
        }
    return SOL_OK;
}

sol_status sol_part_put_config(sol_h5_writer *w, const sol_model_config *c, sol_err *err)
{
    int id;
    SOL_TRY(sol_h5_group(w, "/model", &id, err));
    SOL_TRY(sol_h5_set_text(w, id, "model_type", sol_family_of(c)->model_type, err));
    SOL_TRY(put_fields(w, id, model_fields, N_MODEL_FIELDS, c, err));
    SOL_TRY(put_eos_list(w, id, c, err));
    SOL_TRY(put_origin(w, &c->origin, err));
    if (c->rope_factor == 0) return SOL_OK;
    SOL_TRY(sol_h5_group(w, "/model/rope_scaling", &id, err));
    SOL_TRY(sol_h5_set_text(w, id, "rope_type", "llama3", err));
    return put_fields(w, id, rope_fields, N_ROPE_FIELDS, c, err);
}

static sol_status get_rope(const sol_h5_file *f, const sol_h5_node *rope, sol_model_config *c,
                           sol_err *err)
{
    const char *type;
    SOL_TRY(sol_h5_get_text(f, rope, "rope_type", &type, err));
    if (strcmp(type, "llama3") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: %s: rope_type is %.40s, expected llama3",
                        f->path, rope->path, type);
    return get_fields(f, rope, rope_fields, N_ROPE_FIELDS, c, err);
}

static sol_status check_config(const sol_h5_file *f, const sol_model_config *c, sol_err *err)
{
    SOL_TRY(sol_model_config_check(c, err));
    if (c->num_hidden_layers <= (int64_t)f->tree.n / sol_block_params(c)) return SOL_OK;
    return sol_fail(err, SOL_ERR_SHAPE, "num_hidden_layers is %lld, but there are only %zu objects",
                    (long long)c->num_hidden_layers, f->tree.n);
}

sol_status sol_part_get_config(const sol_h5_file *f, sol_model_config *c, sol_err *err)
{
    const sol_h5_node *n, *rope = sol_h5_find(f, "/model/rope_scaling");
    const char *type;
    *c = (sol_model_config){0};
    SOL_TRY(sol_h5_need_group(f, "/model", &n, err));
    SOL_TRY(sol_h5_get_text(f, n, "model_type", &type, err));
    const sol_family_row *family = sol_family_named(type);
    if (!family) return sol_family_refuse(f->path, "/model: model_type", type, err);
    c->family = family->family;
    SOL_TRY(get_fields(f, n, model_fields, N_MODEL_FIELDS, c, err));
    SOL_TRY(get_eos_list(f, n, c, err));
    SOL_TRY(get_origin(f, &c->origin, err));
    if (rope) SOL_TRY(get_rope(f, rope, c, err));
    sol_status st = check_config(f, c, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "%s: /model", f->path);
}

/* ---- quantizer ---- */

static const sol_enumerator *const scale_dtypes = SOL_ENUM_TABLE(SOL_SCALE_DTYPES);

static sol_status get_enum(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                           const sol_enumerator *table, int *value, sol_err *err)
{
    const char *text;
    char list[128];
    SOL_TRY(sol_h5_get_text(f, n, name, &text, err));
    if (sol_enum_find(table, text, strlen(text), value)) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: attribute %s is '%.40s', expected %s", f->path,
                    n->path, name, text, sol_enum_list(table, ", ", " or ", list, sizeof list));
}

sol_status sol_part_get_layout(const sol_h5_file *f, const sol_h5_node *n, sol_block_layout *layout,
                               sol_err *err)
{
    int value = 0;
    SOL_TRY(get_enum(f, n, "block_layout", SOL_ENUM_TABLE(SOL_BLOCK_LAYOUTS), &value, err));
    *layout = (sol_block_layout)value;
    return SOL_OK;
}

static sol_status put_overrides(sol_h5_writer *w, int id, const sol_quant_overrides *o,
                                sol_err *err)
{
    sol_text t = {0};
    if (!o) return SOL_OK;
    sol_status st = sol_quant_overrides_write(o, &t, err);
    if (st == SOL_OK) st = sol_h5_set_text(w, id, "overrides", t.data, err);
    sol_free(t.data);
    return st;
}

sol_status sol_part_put_quant(sol_h5_writer *w, const sol_quant_spec *q, sol_err *err)
{
    int id;
    if (!q->method) return SOL_OK;
    SOL_TRY(sol_h5_group(w, "/quant", &id, err));
    SOL_TRY(sol_h5_set_text(w, id, "method", q->method->name, err));
    SOL_TRY(sol_h5_set_text(w, id, "granularity", sol_granularity_name(q->granularity), err));
    SOL_TRY(sol_h5_set_i64(w, id, "group_size", q->group_size, err));
    SOL_TRY(sol_h5_set_text(w, id, "block_layout", sol_layout_name(q->layout), err));
    SOL_TRY(
        sol_h5_set_text(w, id, "scale_dtype", sol_enum_name(scale_dtypes, q->scale_dtype), err));
    if (q->method->block == 0) SOL_TRY(sol_h5_set_i64(w, id, "n", q->n, err));
    if (q->method->block == 0) SOL_TRY(sol_h5_set_i64(w, id, "m", q->m, err));
    if (q->embed_type != SOL_F32)
        SOL_TRY(sol_h5_set_text(w, id, "embed_type", sol_dtype_name(q->embed_type), err));
    return put_overrides(w, id, q->overrides, err);
}

static sol_status get_overrides(const sol_h5_file *f, const sol_h5_node *n, sol_quant_overrides **o,
                                sol_err *err)
{
    const char *text;
    if (!sol_h5_node_attr(n, "overrides")) return SOL_OK;
    SOL_TRY(sol_h5_get_text(f, n, "overrides", &text, err));
    sol_status st = sol_quant_overrides_parse(o, text, err);
    return st == SOL_OK ? SOL_OK
                        : sol_err_prefix(err, st, "%s: /quant: attribute overrides", f->path);
}

/* The attributes of /quant. */
static sol_status get_quant(const sol_h5_file *f, const sol_h5_node *n, sol_quant_spec *q,
                            sol_err *err)
{
    const char *method;
    int granularity = 0, scale = 0, embed = SOL_F32;
    int64_t group, kept = 0, of = 0;
    SOL_TRY(sol_h5_get_text(f, n, "method", &method, err));
    q->method = sol_quantizer_find(method);
    if (!q->method)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: /quant: this program has no quantizer '%.40s'", f->path, method);
    SOL_TRY(get_enum(f, n, "granularity", SOL_ENUM_TABLE(SOL_GRANULARITIES), &granularity, err));
    SOL_TRY(sol_h5_get_i64(f, n, "group_size", 0, INT32_MAX, &group, err));
    SOL_TRY(sol_part_get_layout(f, n, &q->layout, err));
    SOL_TRY(get_enum(f, n, "scale_dtype", scale_dtypes, &scale, err));
    if (q->method->block == 0) SOL_TRY(sol_h5_get_i64(f, n, "n", 1, SOL_QUANT_MAX_M, &kept, err));
    if (q->method->block == 0) SOL_TRY(sol_h5_get_i64(f, n, "m", 2, SOL_QUANT_MAX_M, &of, err));
    if (sol_h5_node_attr(n, "embed_type"))
        SOL_TRY(get_enum(f, n, "embed_type", SOL_ENUM_TABLE(SOL_TRAINED_EMBED_TYPES), &embed, err));
    q->granularity = (sol_granularity)granularity;
    q->group_size = (int)group;
    q->n = (int)kept;
    q->m = (int)of;
    q->scale_dtype = (sol_dtype)scale;
    q->embed_type = (sol_dtype)embed;
    return SOL_OK;
}

sol_status sol_part_get_quant(const sol_h5_file *f, sol_quant_spec *q,
                              sol_quant_overrides **overrides, sol_err *err)
{
    const sol_h5_node *n;
    *q = (sol_quant_spec){.scale_dtype = SOL_F16};
    *overrides = NULL;
    if (!sol_h5_find(f, "/quant")) return SOL_OK;
    SOL_TRY(sol_h5_need_group(f, "/quant", &n, err));
    SOL_TRY(get_quant(f, n, q, err));
    SOL_TRY(get_overrides(f, n, overrides, err));
    q->overrides = *overrides;
    return SOL_OK;
}

/* ---- windows of an evaluation ---- */

static const sol_enumerator joins[] = {
    {"joined", false}, {"apart", true}, {NULL, 0}}; /* sol_windows.apart */
static const char no_bos[] = "none";                /* stands in front of a window */

sol_status sol_part_put_windows(sol_h5_writer *w, const sol_windows *s, sol_err *err)
{
    int id;
    if (s->seq == 0) return SOL_OK;
    SOL_TRY(sol_h5_group(w, "/evaluation", &id, err));
    SOL_TRY(sol_h5_set_i64(w, id, "seq", s->seq, err));
    SOL_TRY(sol_h5_set_i64(w, id, "windows", s->max, err));
    SOL_TRY(sol_h5_set_text(w, id, "documents", sol_enum_name(joins, s->apart), err));
    return sol_h5_set_text(w, id, "bos", no_bos, err);
}

sol_status sol_part_get_windows(const sol_h5_file *f, sol_windows *s, sol_err *err)
{
    const sol_h5_node *n;
    const char *bos;
    int apart = 0;
    *s = (sol_windows){0};
    if (!sol_h5_find(f, "/evaluation")) return SOL_OK;
    SOL_TRY(sol_h5_need_group(f, "/evaluation", &n, err));
    SOL_TRY(sol_h5_get_i64(f, n, "seq", 1, INT32_MAX, &s->seq, err));
    SOL_TRY(sol_h5_get_i64(f, n, "windows", 0, INT64_MAX, &s->max, err));
    SOL_TRY(get_enum(f, n, "documents", joins, &apart, err));
    SOL_TRY(sol_h5_get_text(f, n, "bos", &bos, err));
    if (strcmp(bos, no_bos) != 0)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: /evaluation: attribute bos is '%.40s', expected %s", f->path, bos,
                        no_bos);
    s->apart = apart;
    return SOL_OK;
}

/* ---- tokenizer ---- */

sol_status sol_part_put_tokenizer(sol_h5_writer *w, const sol_tokenizer *t, sol_part_blob *blob,
                                  sol_err *err)
{
    *blob = (sol_part_blob){0};
    if (!t) return SOL_OK;
    SOL_TRY(sol_tokenizer_serialize(t, &blob->data, &blob->size, err));
    int64_t n = (int64_t)blob->size;
    SOL_TRY(sol_h5_dataset(w, "/tokenizer", SOL_H5_U8, 1, &n, &blob->id, err));
    SOL_TRY(sol_h5_set_text(w, blob->id, "kind", sol_tokenizer_kind(t), err));
    SOL_TRY(sol_h5_set_u64(w, blob->id, "hash", sol_tokenizer_hash(t), err));
    const char *chat = sol_tokenizer_chat_template(t), *generation = sol_tokenizer_generation(t);
    if (chat) SOL_TRY(sol_h5_set_text(w, blob->id, "chat_template", chat, err));
    if (generation) SOL_TRY(sol_h5_set_text(w, blob->id, "generation", generation, err));
    return SOL_OK;
}

sol_status sol_part_fill(sol_h5_writer *w, sol_part_blob *blob, sol_err *err)
{
    sol_status st = blob->data ? sol_h5_append(w, blob->id, blob->data, blob->size, err) : SOL_OK;
    sol_free(blob->data);
    blob->data = NULL;
    return st;
}

/* The tokenizer from the bytes of its dataset; `name` is for messages. */
static sol_status parse_tokenizer(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                                  uint8_t *data, sol_tokenizer **t, sol_err *err)
{
    const char *text;
    SOL_TRY(sol_h5_read(f, n, data, err));
    SOL_TRY(sol_tokenizer_from_memory(t, name, data, n->bytes, err));
    if (sol_h5_node_attr(n, "chat_template")) {
        SOL_TRY(sol_h5_get_text(f, n, "chat_template", &text, err));
        SOL_TRY(sol_tokenizer_set_chat_template(*t, text, strlen(text), err));
    }
    if (!sol_h5_node_attr(n, "generation")) return SOL_OK;
    SOL_TRY(sol_h5_get_text(f, n, "generation", &text, err));
    return sol_tokenizer_set_generation(*t, text, strlen(text), err);
}

sol_status sol_part_get_tokenizer(const sol_h5_file *f, const sol_model_config *c,
                                  sol_tokenizer **t, sol_err *err)
{
    const sol_h5_node *n;
    int64_t any = -1;
    uint8_t *data;
    char name[SOL_PATH_MAX + 16];
    *t = NULL;
    if (!sol_h5_find(f, "/tokenizer")) return SOL_OK;
    snprintf(name, sizeof name, "%s: /tokenizer", f->path);
    SOL_TRY(sol_h5_need_dataset(f, "/tokenizer", SOL_H5_U8, 1, &any, &n, err));
    SOL_TRY(sol_alloc_array((void **)&data, n->bytes, 1, err));
    sol_status st = parse_tokenizer(f, n, name, data, t, err);
    sol_free(data);
    if (st == SOL_OK && sol_tokenizer_vocab_size(*t) > c->vocab_size)
        st = sol_fail(err, SOL_ERR_SHAPE, "%s: has %d tokens, the model's vocab_size is %lld", name,
                      (int)sol_tokenizer_vocab_size(*t), (long long)c->vocab_size);
    if (st != SOL_OK) sol_tokenizer_free(t);
    return st;
}
