/* Reads a GGUF file of one of our families as a source, which import.c streams into a model
 * file: gguf.c has parsed it, gguf_keys.c refuses what would be computed otherwise. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "foreign/gguf.h"
#include "foreign/gguf_keys.h"
#include "foreign/gguf_numbers.h"
#include "foreign/origin.h"
#include "foreign/source.h"

typedef struct gguf_source {
    sol_gguf g;
    const sol_gguf_tensor **tensor; /* [n_params]; owned */
} gguf_source;

static void close_file(sol_source *s)
{
    gguf_source *f = s->impl;
    sol_gguf_close(&f->g);
    sol_free(f->tensor);
    sol_free(f);
}

/* ---- configuration ---- */

static sol_status need_int(const sol_gguf *g, const char *key, int64_t absent, int64_t *out,
                           sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    *out = absent;
    if (!v)
        return absent == INT64_MIN ? sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", g->path, key)
                                   : SOL_OK;
    if (sol_gguf_equal_integers(v, out)) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT,
                    v->kind == SOL_GGUF_ARRAY
                        ? "%s: %s differs from block to block, which is not computed"
                        : "%s: %s is not a whole number",
                    g->path, key);
}

static sol_status need_real(const sol_gguf *g, const char *key, double absent, double *out,
                            sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    *out = absent;
    if (!v)
        return isnan(absent) ? sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", g->path, key)
                             : SOL_OK;
    if (!sol_gguf_real(v, out))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is not a number", g->path, key);
    return SOL_OK;
}

static bool is_text(const sol_gguf_value *v, const char *want)
{
    sol_span s;
    return v && sol_gguf_text(v, &s) && s.n == strlen(want) && memcmp(s.at, want, s.n) == 0;
}

static const sol_gguf_value *find_of(const sol_gguf *g, const sol_model_config *c, const char *name)
{
    char key[SOL_GGUF_KEY];
    return sol_gguf_find(g, sol_gguf_key(c, name, key));
}

/* The same for keys of the architecture. */
static sol_status int_of(const sol_gguf *g, const sol_model_config *c, const char *name,
                         int64_t absent, int64_t *out, sol_err *err)
{
    char key[SOL_GGUF_KEY];
    return need_int(g, sol_gguf_key(c, name, key), absent, out, err);
}

static sol_status real_of(const sol_gguf *g, const sol_model_config *c, const char *name,
                          double absent, double *out, sol_err *err)
{
    char key[SOL_GGUF_KEY];
    return need_real(g, sol_gguf_key(c, name, key), absent, out, err);
}

/* A text value, cut to what fits, and 0-terminated; "" where there is none. */
static const char *text_of(const sol_gguf *g, const char *key, char out[64])
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    sol_span s = {"", 0};
    if (v) sol_gguf_text(v, &s);
    snprintf(out, 64, "%.*s", s.n < 63 ? (int)s.n : 63, s.at);
    return out;
}

/* Of the families that share the architecture of f: the one that our own files name, else one that
 * has windows where the file has. */
static const sol_family_row *choose_family(const sol_gguf *g, const sol_family_row *f,
                                           bool windowed)
{
    char type[64];
    const sol_family_row *said = sol_family_named(text_of(g, "solera.model_type", type));
    if (said && strcmp(said->gguf, f->gguf) == 0) return said;
    if (windowed)
        for (const sol_family_row *r = sol_families; r < sol_families + SOL_FAMILIES; r++)
            if (r->has & SOL_FAMILY_WINDOW && strcmp(r->gguf, f->gguf) == 0) return r;
    return f;
}

static sol_status read_family(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    char name[64], type[64];
    int64_t window = 0;
    if (sol_gguf_find(g, "general.type") && strcmp(text_of(g, "general.type", type), "model") != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: general.type is '%.40s', only a whole model is read", g->path, type);
    const sol_family_row *f = sol_family_of_gguf(text_of(g, "general.architecture", name));
    if (!f) return sol_family_refuse(g->path, "general.architecture", name, err);
    sol_family_apply(f, c);
    SOL_TRY(int_of(g, c, "attention.sliding_window", 0, &window, err));
    SOL_TRY(int_of(g, c, "context_length", f->positions, &c->max_position_embeddings, err));
    SOL_TRY(need_int(g, "solera.context_length", c->max_position_embeddings,
                     &c->max_position_embeddings, err));
    sol_family_apply(choose_family(g, f, window > 0 && window < c->max_position_embeddings), c);
    bool upper = sol_gguf_find(g, "solera.max_window_layers");
    if (upper) SOL_TRY(need_int(g, "solera.max_window_layers", 0, &c->max_window_layers, err));
    if (upper || sol_family_of(c)->has & SOL_FAMILY_WINDOW) c->sliding_window = window;
    if (sol_family_of(c)->has & SOL_FAMILY_NOPE)
        c->no_rope_layer_interval = SOL_GGUF_NO_ROPE_INTERVAL;
    return SOL_OK;
}

/* The vocabulary is as large as the embedding. */
static sol_status read_vocab(const sol_gguf *g, int64_t *vocab, sol_err *err)
{
    const sol_gguf_tensor *t = sol_gguf_tensor_named(g, "token_embd.weight");
    if (!t || t->n_dims != 2)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: has no tensor token_embd.weight of two dimensions",
                        g->path);
    *vocab = t->dim[1];
    return SOL_OK;
}

/* rope_freqs.weight holds, for each pair, what its frequency is divided by. The llama3 parameters
 * are in our own files only; but there is one published set beside the factor, which the largest
 * divisor is. The table must be the one they give. */
static sol_status read_rope_table(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    const sol_gguf_tensor *t = sol_gguf_tensor_named(g, "rope_freqs.weight");
    if (!t) return SOL_OK;
    int64_t half = c->head_dim / 2;
    if (t->n_dims != 1 || t->dim[0] != half || t->type->id != SOL_GGML_F32)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: rope_freqs.weight: expected F32 [%" PRId64 "]",
                        g->path, half);
    double largest = 0;
    for (int64_t i = 0; i < half; i++) {
        float x;
        sol_ggml_decode(t->type, sol_gguf_tensor_bytes(g, t) + 4 * i, 1, &x);
        if (x > largest) largest = x;
    }
    SOL_TRY(need_real(g, "solera.rope.factor", largest, &c->rope_factor, err));
    SOL_TRY(need_real(g, "solera.rope.low_freq_factor", 1, &c->rope_low_freq_factor, err));
    SOL_TRY(need_real(g, "solera.rope.high_freq_factor", 4, &c->rope_high_freq_factor, err));
    SOL_TRY(need_int(g, "solera.rope.original_max_position", 8192, &c->rope_original_max_position,
                     err));
    bool same = c->rope_factor >= 1 && c->rope_factor <= 1e6;
    for (int64_t i = 0; i < half; i++) {
        float x;
        sol_ggml_decode(t->type, sol_gguf_tensor_bytes(g, t) + 4 * i, 1, &x);
        if (!(fabs(x - sol_gguf_rope_divisor(c, i)) <= 1e-4 * fabs(x))) same = false;
    }
    if (same && c->rope_factor == 1) c->rope_factor = 0;
    return same ? SOL_OK
                : sol_fail(err, SOL_ERR_UNSUPPORTED,
                           "%s: rope_freqs.weight is not a llama3 scaling", g->path);
}

/* As llama.cpp: 0 and a missing factor scale nothing. A factor without the type was refused. */
static sol_status read_linear_scaling(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    const char *key =
        find_of(g, c, "rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
    double factor = 0;
    if (is_text(find_of(g, c, "rope.scaling.type"), "linear"))
        SOL_TRY(real_of(g, c, key, 0, &factor, err));
    if (factor == 0 || factor == 1) return SOL_OK;
    if (sol_gguf_tensor_named(g, "rope_freqs.weight"))
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: %s.%s beside rope_freqs.weight: two scalings of RoPE, which are not "
                        "computed together",
                        g->path, sol_family_of(c)->gguf, key);
    sol_rope_set_linear(c, sol_gguf_decimal(factor));
    return SOL_OK;
}

/* Some converters write the embedding a second time as the head. */
static bool is_tied(const sol_gguf *g)
{
    const sol_gguf_tensor *head = sol_gguf_tensor_named(g, "output.weight"),
                          *embed = sol_gguf_tensor_named(g, "token_embd.weight");
    if (!head || !embed) return true;
    return head->type == embed->type && head->bytes == embed->bytes &&
           memcmp(sol_gguf_tensor_bytes(g, head), sol_gguf_tensor_bytes(g, embed), head->bytes) ==
               0;
}

/* What llama.cpp takes for a SentencePiece vocabulary that does not name its BOS or EOS, but for a
 * token that a text can hold: it neither begins nor ends one. Our own files name what there is. */
static int64_t default_token(const sol_gguf *g, int64_t id)
{
    enum { CONTROL = 3 };
    const sol_gguf_value *types = sol_gguf_find(g, "tokenizer.ggml.token_type");
    int32_t type = CONTROL;
    if (!is_text(sol_gguf_find(g, "tokenizer.ggml.model"), "llama") ||
        sol_gguf_find(g, "solera.version"))
        return -1;
    if (types && types->kind == SOL_GGUF_ARRAY && types->element == SOL_GGUF_I32 &&
        (uint64_t)id < types->count)
        memcpy(&type, types->at + 4 * id, sizeof type);
    return type == CONTROL ? id : -1;
}

/* Calls take for each id of the list, in order; a file without it has none. */
static sol_status read_ids(const sol_gguf *g, const char *key, sol_model_config *c,
                           sol_status (*take)(sol_model_config *c, int64_t id, sol_err *err),
                           sol_err *err)
{
    const sol_gguf_value *list = sol_gguf_find(g, key);
    if (!list) return SOL_OK;
    if (list->kind != SOL_GGUF_ARRAY ||
        (list->element != SOL_GGUF_I32 && list->element != SOL_GGUF_U32))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is not an array of int32", g->path, key);
    for (uint64_t i = 0; i < list->count; i++) {
        int32_t id;
        memcpy(&id, list->at + 4 * i, 4);
        if (id < c->vocab_size) SOL_TRY(take(c, id, err));
    }
    return SOL_OK;
}

static sol_status take_bos(sol_model_config *c, int64_t id, sol_err *err)
{
    (void)err;
    c->bos_token_id = id;
    return SOL_OK;
}

/* Our own files say where the model has another BOS than its tokenizer, or none. */
static sol_status read_bos(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    if (sol_gguf_find(g, "solera.bos_token_ids"))
        return read_ids(g, "solera.bos_token_ids", c, take_bos, err);
    return need_int(g, "tokenizer.ggml.bos_token_id", default_token(g, 1), &c->bos_token_id, err);
}

/* eos, and what else ends a text for llama.cpp (eot, eom) and Ollama (a list). Our own files have
 * them all, in order. */
static sol_status read_eos(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    if (sol_gguf_find(g, "solera.eos_token_ids"))
        return read_ids(g, "solera.eos_token_ids", c, sol_model_add_eos, err);
    for (int i = 0; i < 3; i++) {
        int64_t id;
        SOL_TRY(need_int(g, keys[i], i == 0 ? default_token(g, 2) : -1, &id, err));
        if (id < c->vocab_size) SOL_TRY(sol_model_add_eos(c, id, err));
    }
    return read_ids(g, "tokenizer.ggml.eos_token_ids", c, sol_model_add_eos, err);
}

static sol_status read_config(const sol_gguf *g, sol_model_config *c, sol_err *err)
{
    int64_t rotated = 0, value_dim = 0, heads = 0;
    *c = (sol_model_config){.bos_token_id = -1, .eos_token_id = -1};
    SOL_TRY(read_family(g, c, err));
    SOL_TRY(read_vocab(g, &c->vocab_size, err));
    SOL_TRY(int_of(g, c, "embedding_length", INT64_MIN, &c->hidden_size, err));
    SOL_TRY(int_of(g, c, "feed_forward_length", INT64_MIN, &c->intermediate_size, err));
    SOL_TRY(int_of(g, c, "block_count", INT64_MIN, &c->num_hidden_layers, err));
    SOL_TRY(int_of(g, c, "attention.head_count", INT64_MIN, &heads, err));
    SOL_TRY(int_of(g, c, "attention.head_count_kv", heads, &c->num_key_value_heads, err));
    SOL_TRY(int_of(g, c, "attention.key_length", heads > 0 ? c->hidden_size / heads : 0,
                   &c->head_dim, err));
    SOL_TRY(int_of(g, c, "attention.value_length", c->head_dim, &value_dim, err));
    SOL_TRY(int_of(g, c, "rope.dimension_count", c->head_dim, &rotated, err));
    SOL_TRY(real_of(g, c, "attention.layer_norm_rms_epsilon", NAN, &c->rms_norm_eps, err));
    SOL_TRY(real_of(g, c, "rope.freq_base", 10000, &c->rope_theta, err));
    SOL_TRY(read_bos(g, c, err));
    SOL_TRY(read_eos(g, c, err));
    SOL_TRY(sol_gguf_check_model_keys(g, c, err));
    SOL_TRY(read_linear_scaling(g, c, err));
    /* Decimal constants went through a float. */
    c->rms_norm_eps = sol_gguf_decimal(c->rms_norm_eps);
    c->rope_theta = sol_gguf_decimal(c->rope_theta);
    c->num_attention_heads = heads;
    c->tie_word_embeddings = is_tied(g);
    if (c->bos_token_id >= c->vocab_size || c->bos_token_id < 0) c->bos_token_id = -1;
    if (rotated != c->head_dim || value_dim != c->head_dim)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: key, value and RoPE widths %" PRId64 ", %" PRId64 ", %" PRId64
                        " differ",
                        g->path, c->head_dim, value_dim, rotated);
    if (c->num_hidden_layers > (int64_t)g->n_tensors)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: block_count is %" PRId64 ", but there are only %zu tensors", g->path,
                        c->num_hidden_layers, g->n_tensors);
    sol_status st = sol_model_config_check(c, err);
    if (st != SOL_OK) return sol_err_prefix(err, st, "%s", g->path);
    return read_rope_table(g, c, err);
}

/* ---- tokenizer ---- */

static sol_status need_array(const sol_gguf *g, const char *key, sol_gguf_kind element, uint64_t n,
                             const uint8_t **at, sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    *at = NULL;
    if (!v) return SOL_OK;
    if (v->kind != SOL_GGUF_ARRAY || v->element != element || v->count != n)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: %s is not an array of %" PRIu64 " numbers of 4 bytes", g->path, key,
                        n);
    *at = v->at;
    return SOL_OK;
}

static sol_status get_flag(const sol_gguf *g, const char *key, int *flag, sol_err *err)
{
    int64_t v;
    SOL_TRY(need_int(g, key, -1, &v, err));
    *flag = v < 0 ? -1 : v != 0;
    return SOL_OK;
}

static sol_status get_name(const sol_gguf *g, const char *key, char out[64], const char **name,
                           sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    sol_span s;
    *name = NULL;
    if (!v) return SOL_OK;
    if (!sol_gguf_text(v, &s) || s.n >= 64 || memchr(s.at, 0, s.n))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is not a name", g->path, key);
    memcpy(out, s.at, s.n);
    out[s.n] = 0;
    *name = out;
    return SOL_OK;
}

/* A text of any length; *text stays NULL where there is none. */
static sol_status read_text(const sol_gguf *g, const char *key, char **text, sol_err *err)
{
    const sol_gguf_value *v = sol_gguf_find(g, key);
    sol_span s;
    if (!v) return SOL_OK;
    if (!sol_gguf_text(v, &s) || memchr(s.at, 0, s.n))
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is not a text", g->path, key);
    return sol_copy_string(text, s.at, s.n, err);
}

static sol_status copy_words(const uint8_t *from, uint64_t n, void **out, sol_err *err)
{
    *out = NULL;
    if (!from) return SOL_OK;
    SOL_TRY(sol_alloc_array(out, n, 4, err)); /* the file need not be aligned */
    memcpy(*out, from, n * 4);
    return SOL_OK;
}

/* The memory of a tokenizer's arrays while it is made; owned. */
typedef struct token_memory {
    char model[64], pre[64];
    sol_span *tokens, *merges;
    void *scores, *types;
} token_memory;

/* Fills *a, which borrows from *m. tokens: the value of tokenizer.ggml.tokens. */
static sol_status read_token_arrays(const sol_gguf *g, const sol_gguf_value *tokens,
                                    sol_tokenizer_arrays *a, token_memory *m, sol_err *err)
{
    const uint8_t *scores, *types;
    const sol_gguf_value *merges = sol_gguf_find(g, "tokenizer.ggml.merges");
    SOL_TRY(sol_gguf_strings(g, tokens, &m->tokens, err));
    if (merges) SOL_TRY(sol_gguf_strings(g, merges, &m->merges, err));
    SOL_TRY(need_int(g, "tokenizer.ggml.bos_token_id", default_token(g, 1), &a->bos, err));
    SOL_TRY(need_int(g, "tokenizer.ggml.eos_token_id", default_token(g, 2), &a->eos, err));
    SOL_TRY(get_name(g, "tokenizer.ggml.model", m->model, &a->model, err));
    if (!a->model) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no tokenizer.ggml.model", g->path);
    SOL_TRY(get_name(g, "tokenizer.ggml.pre", m->pre, &a->pre, err));
    SOL_TRY(need_array(g, "tokenizer.ggml.scores", SOL_GGUF_F32, tokens->count, &scores, err));
    SOL_TRY(need_array(g, "tokenizer.ggml.token_type", SOL_GGUF_I32, tokens->count, &types, err));
    SOL_TRY(get_flag(g, "tokenizer.ggml.add_bos_token", &a->add_bos, err));
    SOL_TRY(get_flag(g, "tokenizer.ggml.add_eos_token", &a->add_eos, err));
    SOL_TRY(get_flag(g, "tokenizer.ggml.add_space_prefix", &a->add_space_prefix, err));
    SOL_TRY(get_flag(g, "solera.tokenizer.nfc", &a->nfc, err));
    SOL_TRY(copy_words(scores, tokens->count, &m->scores, err));
    SOL_TRY(copy_words(types, tokens->count, &m->types, err));
    a->tokens = m->tokens;
    a->n_tokens = (int64_t)tokens->count;
    a->scores = m->scores;
    a->types = m->types;
    a->merges = m->merges;
    a->n_merges = merges ? (int64_t)merges->count : 0;
    return SOL_OK;
}

static sol_status make_tokenizer(sol_source *s, const sol_gguf *g, const sol_gguf_value *tokens,
                                 token_memory *m, sol_err *err)
{
    sol_tokenizer_arrays a = {0};
    SOL_TRY(sol_gguf_check_tokenizer_keys(g, err));
    SOL_TRY(read_token_arrays(g, tokens, &a, m, err));
    if (a.bos < 0 || a.bos >= s->config.vocab_size) a.bos = -1;
    if (a.eos < 0 || a.eos >= s->config.vocab_size) a.eos = -1;
    if (a.n_tokens > s->config.vocab_size)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: tokenizer.ggml.tokens has %" PRId64
                        " tokens, token_embd.weight %" PRId64 " rows",
                        g->path, a.n_tokens, s->config.vocab_size);
    sol_err why = {0};
    sol_status st = sol_tokenizer_from_arrays(&s->tokenizer, g->path, &a, &why);
    if (st != SOL_OK)
        return sol_fail(err, st, "%s%s", why.text,
                        st == SOL_ERR_UNSUPPORTED
                            ? "; import with --tokenizer, and the tokenizer.json of the model"
                            : "");
    int64_t bos = s->config.bos_token_id; /* tokenizer.ggml has what stands in front of a text */
    if (bos >= 0 && bos < a.n_tokens)
        SOL_TRY(sol_tokenizer_set_bos_eos(s->tokenizer, (int32_t)bos, -1, err));
    if (!a.pre && strcmp(a.model, "gpt2") == 0)
        sol_source_note(s, "there is no tokenizer.ggml.pre: the text is cut into words as "
                           "llama.cpp does by default, which need not be how the "
                           "model was trained; --tokenizer takes its tokenizer.json");
    return SOL_OK;
}

static sol_status read_tokenizer(sol_source *s, const sol_gguf *g, sol_err *err)
{
    token_memory m = {0};
    const sol_gguf_value *tokens = sol_gguf_find(g, "tokenizer.ggml.tokens");
    if (!tokens) return SOL_OK;
    sol_status st = make_tokenizer(s, g, tokens, &m, err);
    sol_free(m.tokens);
    sol_free(m.merges);
    sol_free(m.scores);
    sol_free(m.types);
    return st;
}

/* ---- parameters ---- */

static bool is_known(const sol_model *table, const sol_gguf_tensor *t)
{
    char name[SOL_PARAM_NAME];
    if (t->name.n == 17 && memcmp(t->name.at, "rope_freqs.weight", 17) == 0) return true;
    if (t->name.n == 13 && memcmp(t->name.at, "output.weight", 13) == 0)
        return true; /* a tied head, or found already */
    for (int i = 0; i < table->n_params; i++) {
        sol_role_gguf_name(table->params[i].role, table->params[i].layer, name);
        if (strlen(name) == t->name.n && memcmp(name, t->name.at, t->name.n) == 0) return true;
    }
    return false;
}

static sol_status place_param(const sol_source *s, gguf_source *f, const sol_param *p, int index,
                              sol_err *err)
{
    char name[SOL_PARAM_NAME];
    sol_role_gguf_name(p->role, p->layer, name);
    const sol_gguf_tensor *t = sol_gguf_tensor_named(&f->g, name);
    if (!t) return sol_fail(err, SOL_ERR_SHAPE, "%s: has no tensor %s", s->path, name);
    if (t->dim[0] != p->cols || t->dim[1] != p->rows || t->dim[2] != 1 || t->dim[3] != 1)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: %s: has shape [%" PRId64 ", %" PRId64 ", %" PRId64
                        "], expected [%" PRId64 ", %" PRId64 "]",
                        s->path, name, t->dim[0], t->dim[1], t->dim[2], p->cols, p->rows);
    f->tensor[index] = t;
    return SOL_OK;
}

static sol_status check_known(const sol_source *s, const gguf_source *f, const sol_model *table,
                              sol_err *err)
{
    for (size_t i = 0; i < f->g.n_tensors; i++)
        if (!is_known(table, &f->g.tensor[i]))
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "%s: tensor %.*s is not a part of the %s models that are computed",
                            s->path, (int)f->g.tensor[i].name.n, f->g.tensor[i].name.at,
                            sol_family_of(&s->config)->model_type);
    return SOL_OK;
}

static sol_status place_table(sol_source *s, gguf_source *f, const sol_model *table, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&f->tensor, (size_t)table->n_params, sizeof *f->tensor, err));
    s->dtype = SOL_BF16;
    for (int i = 0; i < table->n_params; i++) {
        const sol_param *p = &table->params[i];
        SOL_TRY(place_param(s, f, p, i, err));
        bool is_bf16 = f->tensor[i]->type->id == SOL_GGML_BF16;
        if (!is_bf16 && !sol_param_is_vector(p)) s->dtype = SOL_F32;
    }
    if ((size_t)table->n_params < f->g.n_tensors) return check_known(s, f, table, err);
    return SOL_OK;
}

static sol_status place_params(sol_source *s, gguf_source *f, sol_err *err)
{
    sol_model *table;
    SOL_TRY(sol_model_describe(&table, &s->config, SOL_F32, err));
    sol_status st = place_table(s, f, table, err);
    sol_model_free(&table);
    return st;
}

static sol_status read_rows(const sol_source *s, int param, const sol_param *p, int64_t row,
                            int64_t n, sol_source_scratch *scratch, void *out, sol_err *err)
{
    const gguf_source *f = s->impl;
    const sol_gguf_tensor *t = f->tensor[param];
    size_t row_bytes = (size_t)(p->cols / t->type->block) * t->type->bytes,
           bytes = (size_t)n * row_bytes;
    SOL_TRY(sol_grow_array(&scratch->data, &scratch->capacity, bytes, 1, err));
    SOL_TRY(sol_in_read(sol_gguf_tensor_in(&f->g, t), t->offset + (uint64_t)row * row_bytes,
                        scratch->data, bytes, err));
    sol_ggml_decode(t->type, scratch->data, n * p->cols, out);
    return SOL_OK;
}

static sol_status open_source(sol_source *s, gguf_source *f, const char *path, bool with_tokenizer,
                              sol_err *err)
{
    SOL_TRY(sol_copy_string(&s->path, path, strlen(path), err));
    SOL_TRY(sol_gguf_open(&f->g, path, err));
    SOL_TRY(read_config(&f->g, &s->config, err));
    SOL_TRY(place_params(s, f, err));
    s->interleaved = sol_family_of(&s->config)->order == SOL_GGUF_PAIRS;
    if (with_tokenizer) SOL_TRY(read_tokenizer(s, &f->g, err));
    /* These are the model's own, whatever tokenizer comes with it. */
    SOL_TRY(read_text(&f->g, "tokenizer.chat_template", &s->chat_template, err));
    SOL_TRY(read_text(&f->g, "solera.generation", &s->generation, err));
    sol_source_drop_long_texts(s);
    sol_origin_of_gguf(s, &f->g);
    return SOL_OK;
}

sol_status sol_source_open_gguf(sol_source *s, const char *path, bool with_tokenizer, sol_err *err)
{
    gguf_source *f;
    *s = (sol_source){0};
    SOL_TRY(sol_alloc_array((void **)&f, 1, sizeof *f, err));
    f->g.in.fd = -1;
    s->impl = f;
    s->read = read_rows;
    s->close = close_file;
    sol_status st = open_source(s, f, path, with_tokenizer, err);
    if (st != SOL_OK) sol_source_close(s);
    return st;
}
