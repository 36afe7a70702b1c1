/* The metadata of a GGUF file, as gguf_export.c writes it: what the model is, for llama.cpp, and
 * under keys of our own what llama.cpp does not ask for. */
#include "foreign/gguf_metadata.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "foreign/gguf.h"
#include "foreign/gguf_numbers.h"

void sol_gguf_put(sol_gguf_blob *b, const void *data, size_t n, sol_err *err)
{
    if (b->status != SOL_OK) return;
    b->status = sol_grow_array((void **)&b->data, &b->capacity, b->n + n, 1, err);
    if (b->status != SOL_OK) return;
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

void sol_gguf_put_u32(sol_gguf_blob *b, uint32_t v, sol_err *err)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(v >> 8 * i);
    sol_gguf_put(b, bytes, 4, err);
}

void sol_gguf_put_u64(sol_gguf_blob *b, uint64_t v, sol_err *err)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> 8 * i);
    sol_gguf_put(b, bytes, 8, err);
}

void sol_gguf_put_text(sol_gguf_blob *b, const char *s, size_t n, sol_err *err)
{
    sol_gguf_put_u64(b, n, err);
    sol_gguf_put(b, s, n, err);
}

static void put_key(sol_gguf_blob *b, const char *key, sol_gguf_kind kind, sol_err *err)
{
    sol_gguf_put_text(b, key, strlen(key), err);
    sol_gguf_put_u32(b, kind, err);
    b->n_values++;
}

static void put_key_text(sol_gguf_blob *b, const char *key, const char *text, sol_err *err)
{
    put_key(b, key, SOL_GGUF_STRING, err);
    sol_gguf_put_text(b, text, strlen(text), err);
}

static void put_key_u32(sol_gguf_blob *b, const char *key, int64_t v, sol_err *err)
{
    put_key(b, key, SOL_GGUF_U32, err);
    sol_gguf_put_u32(b, (uint32_t)v, err);
}

static void put_key_f32(sol_gguf_blob *b, const char *key, double v, sol_err *err)
{
    float x = (float)v;
    uint32_t bits;
    memcpy(&bits, &x, 4);
    put_key(b, key, SOL_GGUF_F32, err);
    sol_gguf_put_u32(b, bits, err);
}

/* Keys of the model's architecture. */
static void put_model_u32(sol_gguf_blob *b, const sol_model_config *c, const char *name, int64_t v,
                          sol_err *err)
{
    char key[SOL_GGUF_KEY];
    put_key_u32(b, sol_gguf_key(c, name, key), v, err);
}

static void put_model_f32(sol_gguf_blob *b, const sol_model_config *c, const char *name, double v,
                          sol_err *err)
{
    char key[SOL_GGUF_KEY];
    put_key_f32(b, sol_gguf_key(c, name, key), v, err);
}

static void put_key_bool(sol_gguf_blob *b, const char *key, int v, sol_err *err)
{
    uint8_t byte = v != 0;
    if (v < 0) return; /* the default of the reader */
    put_key(b, key, SOL_GGUF_BOOL, err);
    sol_gguf_put(b, &byte, 1, err);
}

static void put_key_spans(sol_gguf_blob *b, const char *key, const sol_span *s, int64_t n,
                          sol_err *err)
{
    put_key(b, key, SOL_GGUF_ARRAY, err);
    sol_gguf_put_u32(b, SOL_GGUF_STRING, err);
    sol_gguf_put_u64(b, (uint64_t)n, err);
    for (int64_t i = 0; i < n; i++) sol_gguf_put_text(b, s[i].at, s[i].n, err);
}

/* Arrays of 4-byte numbers; little-endian hosts only, as everywhere here. */
static void put_key_words(sol_gguf_blob *b, const char *key, sol_gguf_kind element,
                          const void *data, int64_t n, sol_err *err)
{
    put_key(b, key, SOL_GGUF_ARRAY, err);
    sol_gguf_put_u32(b, element, err);
    sol_gguf_put_u64(b, (uint64_t)n, err);
    sol_gguf_put(b, data, (size_t)n * 4, err);
}

/* llama.cpp has names for three tokens that end a text, the second for the end of a turn, the third
 * for the end of a message; by what the token says, else in order. solera.eos_token_ids keeps any
 * number of them, also none, where the tokenizer alone has one, and which is the first. */
static void put_eos(sol_gguf_blob *b, const sol_model_config *c, const sol_tokenizer *t,
                    int64_t eos, sol_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int32_t ids[SOL_MAX_EOS] = {0};
    bool used[2] = {false, false};
    if (eos >= 0) put_key_u32(b, "tokenizer.ggml.eos_token_id", eos, err);
    for (int64_t i = 0; i <= c->n_more_eos; i++) {
        int32_t id = ids[i] = (int32_t)(i ? c->more_eos[i - 1] : c->eos_token_id);
        size_t n;
        const char *text = id >= 0 && id != eos ? sol_tokenizer_text(t, id, &n) : NULL;
        if (!text || (used[0] && used[1])) continue;
        int k = used[0] || (n >= 3 && memmem(text, n, "eom", 3) && !used[1]);
        put_key_u32(b, keys[k], id, err);
        used[k] = true;
    }
    int64_t n = c->eos_token_id < 0 ? 0 : c->n_more_eos + 1;
    if (c->n_more_eos || c->eos_token_id != eos)
        put_key_words(b, "solera.eos_token_ids", SOL_GGUF_I32, ids, n, err);
}

/* solera.bos_token_ids: the same of BOS. */
static void put_bos(sol_gguf_blob *b, const sol_model_config *c, int64_t bos, sol_err *err)
{
    int32_t id = (int32_t)c->bos_token_id;
    if (bos >= 0) put_key_u32(b, "tokenizer.ggml.bos_token_id", bos, err);
    if (id != bos) put_key_words(b, "solera.bos_token_ids", SOL_GGUF_I32, &id, id >= 0, err);
}

static void put_tokenizer(sol_gguf_blob *b, const sol_tokenizer *t, const sol_model_config *c,
                          const char *path, sol_err *err)
{
    sol_tokenizer_arrays a;
    sol_arrays_owner *owner = NULL;
    if (b->status != SOL_OK) return;
    b->status = sol_tokenizer_to_arrays(t, c->vocab_size, &a, &owner, err);
    if (b->status != SOL_OK) {
        sol_err_prefix(err, b->status, "%s", path);
        return;
    }
    put_key_text(b, "tokenizer.ggml.model", a.model, err);
    if (a.pre) put_key_text(b, "tokenizer.ggml.pre", a.pre, err);
    put_key_spans(b, "tokenizer.ggml.tokens", a.tokens, a.n_tokens, err);
    if (a.scores)
        put_key_words(b, "tokenizer.ggml.scores", SOL_GGUF_F32, a.scores, a.n_tokens, err);
    put_key_words(b, "tokenizer.ggml.token_type", SOL_GGUF_I32, a.types, a.n_tokens, err);
    if (a.merges) put_key_spans(b, "tokenizer.ggml.merges", a.merges, a.n_merges, err);
    put_bos(b, c, a.bos, err);
    put_eos(b, c, t, a.eos, err);
    put_key_bool(b, "tokenizer.ggml.add_bos_token", a.add_bos, err);
    put_key_bool(b, "tokenizer.ggml.add_eos_token", a.add_eos, err);
    put_key_bool(b, "tokenizer.ggml.add_space_prefix", a.add_space_prefix, err);
    put_key_bool(b, "solera.tokenizer.nfc", a.nfc, err);
    const char *chat = sol_tokenizer_chat_template(t), *generation = sol_tokenizer_generation(t);
    if (chat) put_key_text(b, "tokenizer.chat_template", chat, err);
    if (generation) put_key_text(b, "solera.generation", generation, err);
    sol_arrays_owner_free(&owner);
}

static void put_overrides(sol_gguf_blob *b, const sol_quant_overrides *o, sol_err *err)
{
    sol_text t = {0};
    if (!o || b->status != SOL_OK) return;
    b->status = sol_quant_overrides_write(o, &t, err);
    if (b->status == SOL_OK) put_key_text(b, "solera.quant.overrides", t.data, err);
    sol_free(t.data);
}

/* Whose model it was, under the keys that llama.cpp's converter writes. */
static void put_base_model(sol_gguf_blob *b, const sol_origin *o, sol_err *err)
{
    char url[sizeof o->repo + 32], org[sizeof o->repo];
    if (o->license[0]) put_key_text(b, "general.license", o->license, err);
    if (o->license_name[0]) put_key_text(b, "general.license.name", o->license_name, err);
    if (o->license_link[0]) put_key_text(b, "general.license.link", o->license_link, err);
    if (!o->name[0]) return;
    put_key_u32(b, "general.base_model.count", 1, err);
    put_key_text(b, "general.base_model.0.name", o->name, err);
    if (!o->repo[0]) return;
    bool is_url = strstr(o->repo, "://") != NULL;
    snprintf(url, sizeof url, "%s%s", is_url ? "" : "https://huggingface.co/", o->repo);
    snprintf(org, sizeof org, "%.*s", (int)strcspn(o->repo, "/"), o->repo);
    if (!is_url) put_key_text(b, "general.base_model.0.organization", org, err);
    put_key_text(b, "general.base_model.0.repo_url", url, err);
}

static void put_origin(sol_gguf_blob *b, const sol_gguf_described *d, sol_err *err)
{
    const sol_quant_spec *q = &d->view->quant;
    const char *layout = sol_layout_name(d->permute ? SOL_LAYOUT_STRIDE16 : q->layout);
    char text[160];
    put_key_text(b, "general.architecture", sol_family_of(&d->view->table->config)->gguf, err);
    put_key_text(b, "general.type", "model", err);
    put_key_text(b, "general.name", d->opts->name ? d->opts->name : "solera", err);
    snprintf(text, sizeof text, "solera %s", d->opts->version ? d->opts->version : "");
    put_key_text(b, "general.quantized_by", text, err);
    if (d->view->dequantize && q->granularity == SOL_PER_GROUP)
        snprintf(text, sizeof text, "%s, a scale for %d weights, blocks %s", q->method->name,
                 q->group_size, layout);
    else
        snprintf(text, sizeof text, "%s, %s scales, blocks %s", q->method ? q->method->name : "",
                 sol_granularity_name(q->granularity), layout);
    put_base_model(b, &d->view->table->config.origin, err);
    put_key_text(b, "general.description",
                 d->view->dequantize ? text : "weights as they are, without a quantizer", err);
    put_key_u32(b, "general.quantization_version", 2, err);
    put_key_u32(b, "general.file_type", d->linear->file_type, err);
    put_key_u32(b, "general.alignment", SOL_GGUF_ALIGNMENT, err);
    put_key_text(b, "solera.version", d->opts->version ? d->opts->version : "", err);
    if (!d->view->dequantize) return;
    put_key_text(b, "solera.quant.method", q->method->name, err);
    put_key_text(b, "solera.quant.granularity", sol_granularity_name(q->granularity), err);
    put_key_u32(b, "solera.quant.group_size", q->group_size, err);
    put_key_text(b, "solera.quant.block_layout", layout, err);
    put_overrides(b, q->overrides, err);
}

int64_t sol_gguf_context_length(const sol_model_config *c)
{
    return c->sliding_window ? sol_min_i64(c->sliding_window, c->max_position_embeddings)
                             : c->max_position_embeddings;
}

bool sol_gguf_has_rope_table(const sol_model_config *c)
{
    return c->rope_factor != 0 && sol_family_of(c)->has & SOL_FAMILY_ROPE_TABLE;
}

/* What the architecture of the file does not say about the family, or not as all others. */
static void put_family(sol_gguf_blob *b, const sol_model_config *c, sol_err *err)
{
    const sol_family_row *f = sol_family_of(c);
    char key[SOL_GGUF_KEY];
    if (sol_family_of_gguf(f->gguf) != f) put_key_text(b, "solera.model_type", f->model_type, err);
    if (c->sliding_window) {
        put_model_u32(b, c, "attention.sliding_window", c->sliding_window, err);
        put_key_u32(b, "solera.context_length", c->max_position_embeddings, err);
        if (f->has & SOL_FAMILY_UPPER_WINDOW)
            put_key_u32(b, "solera.max_window_layers", c->max_window_layers, err);
    }
    if (c->rope_factor == 0 || sol_gguf_has_rope_table(c)) return;
    put_key_text(b, sol_gguf_key(c, "rope.scaling.type", key), "linear", err);
    put_model_f32(b, c, "rope.scaling.factor", c->rope_factor, err);
}

void sol_gguf_put_metadata(sol_gguf_blob *b, const sol_gguf_described *d, sol_err *err)
{
    const sol_model_config *c = &d->view->table->config;
    put_origin(b, d, err);
    put_model_u32(b, c, "vocab_size", c->vocab_size, err);
    put_model_u32(b, c, "context_length", sol_gguf_context_length(c), err);
    put_model_u32(b, c, "embedding_length", c->hidden_size, err);
    put_model_u32(b, c, "block_count", c->num_hidden_layers, err);
    put_model_u32(b, c, "feed_forward_length", c->intermediate_size, err);
    put_model_u32(b, c, "rope.dimension_count", c->head_dim, err);
    put_model_u32(b, c, "attention.head_count", c->num_attention_heads, err);
    put_model_u32(b, c, "attention.head_count_kv", c->num_key_value_heads, err);
    put_model_u32(b, c, "attention.key_length", c->head_dim, err);
    put_model_u32(b, c, "attention.value_length", c->head_dim, err);
    put_model_f32(b, c, "attention.layer_norm_rms_epsilon", c->rms_norm_eps, err);
    put_model_f32(b, c, "rope.freq_base", c->rope_theta, err);
    put_family(b, c, err);
    /* llama.cpp reads the table of divisors; an import wants what made them. */
    if (sol_gguf_has_rope_table(c)) {
        put_key_f32(b, "solera.rope.factor", c->rope_factor, err);
        put_key_f32(b, "solera.rope.low_freq_factor", c->rope_low_freq_factor, err);
        put_key_f32(b, "solera.rope.high_freq_factor", c->rope_high_freq_factor, err);
        put_key_u32(b, "solera.rope.original_max_position", c->rope_original_max_position, err);
    }
    put_tokenizer(b, d->view->tokenizer, c, d->view->path, err);
}
