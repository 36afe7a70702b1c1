/* Hugging Face config.json: reads it into a configuration for hf_import.c, refusing what is not
 * computed here, and writes it for hf_export.c. */
#include <fnmatch.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "foreign/hf.h"

sol_status sol_hf_read_json(const char *path, size_t max_bytes, json_t **root, sol_err *err)
{
    char *text = NULL;
    size_t n = 0;
    uint64_t bytes;
    json_error_t why;
    *root = NULL;
    sol_status st = sol_file_size(path, &bytes, err);
    if (st == SOL_OK && bytes > max_bytes)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: has %llu bytes, at most %zu are read", path,
                      (unsigned long long)bytes, max_bytes);
    if (st == SOL_OK) st = sol_file_read(path, &text, &n, err);
    if (st == SOL_OK) {
        *root = sol_json_load(text, n, JSON_REJECT_DUPLICATES, &why);
        if (!*root)
            st =
                sol_fail(err, SOL_ERR_FORMAT, "%s:%d:%d: %s", path, why.line, why.column, why.text);
    }
    if (st == SOL_OK && !json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: is not a JSON object", path);
    }
    sol_free(text);
    return st;
}

/* A value for a message: JSON, cut. */
static const char *value_text(const json_t *v, char out[64])
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(out, 64, "%.60s", text ? text : "?");
    free(text);
    return out;
}

static sol_status wrong(const char *path, const char *key, const json_t *v, const char *want,
                        sol_err *err)
{
    char text[64];
    return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is %s, expected %s", path, key,
                    value_text(v, text), want);
}

/* A whole number, be it written as 16 or as 16.0. */
static bool get_whole(const json_t *v, int64_t *out)
{
    double x = json_number_value(v);
    if (!json_is_number(v) || x != floor(x) || fabs(x) > 9e15) return false;
    *out = (int64_t)x;
    return true;
}

/* absent: the value when the key is missing or null; INT64_MIN: it must be there. */
static sol_status get_int(const char *path, const json_t *o, const char *key, int64_t absent,
                          int64_t *out, sol_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        if (absent == INT64_MIN) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", path, key);
        *out = absent;
        return SOL_OK;
    }
    return get_whole(v, out) ? SOL_OK : wrong(path, key, v, "a whole number", err);
}

static sol_status get_real(const char *path, const json_t *o, const char *key, double absent,
                           double *out, sol_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        if (isnan(absent)) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", path, key);
        *out = absent;
        return SOL_OK;
    }
    if (!json_is_number(v)) return wrong(path, key, v, "a number", err);
    *out = json_number_value(v);
    return SOL_OK;
}

/* What is missing or null leaves *out as it is. */
static sol_status get_bool(const char *path, const json_t *o, const char *key, bool *out,
                           sol_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (v && !json_is_null(v)) *out = json_is_true(v);
    return !v || json_is_boolean(v) || json_is_null(v) ? SOL_OK
                                                       : wrong(path, key, v, "true or false", err);
}

static sol_status refuse(const char *path, const char *key, const json_t *v, const char *why,
                         sol_err *err)
{
    char text[64];
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: %.80s is %s: %s", path, key, value_text(v, text),
                    why);
}

/* ---- keys that change what a model computes, and the values at which they change nothing ---- */

typedef enum {
    WHEN_ABSENT, /* only null, as if it were not there */
    WHEN_OFF,    /* false, 0, "", [], {}, and lists of these */
    WHEN_ONE,    /* 1, and lists of it */
    WHEN_TRUE,
} neutral;

static const struct meaning {
    const char *key; /* a pattern of fnmatch; the first that fits counts */
    neutral neutral;
    const char *words[2]; /* strings that are neutral, too */
    const char *why;      /* it is refused otherwise, and what would help */
} meanings[] = {
    {"hidden_act", WHEN_ABSENT, {"silu", "swish"}, "only silu is computed"},
    {"quantization_config",
     WHEN_ABSENT,
     {0},
     "only plain weights are read: save the model as float32, float16 or bfloat16 first"},
    {"compression_config",
     WHEN_ABSENT,
     {0},
     "only plain weights are read: save the model as float32, float16 or bfloat16 first"},
    {"*_bias",
     WHEN_OFF,
     {0},
     "linear layers with a bias are not computed: a model without them is needed"},
    {"layer_types",
     WHEN_OFF,
     {"full_attention"},
     "every layer must attend to the whole text: full_attention"},
    {"attention_chunk_size", WHEN_OFF, {0}, "every layer must attend to the whole text"},
    {"use_bidirectional_attention", WHEN_OFF, {0}, "only causal attention is computed"},
    {"is_causal", WHEN_TRUE, {0}, "only causal attention is computed"},
    {"is_encoder_decoder", WHEN_OFF, {0}, "only decoders are computed"},
    {"add_cross_attention", WHEN_OFF, {0}, "only decoders without cross-attention are computed"},
    {"*_experts", WHEN_OFF, {0}, "mixtures of experts are not computed"},
    {"per_layer_config", WHEN_OFF, {0}, "all layers must be of one kind"},
    {"pruned_heads", WHEN_OFF, {0}, "all heads must be there"},
    {"*alibi", WHEN_OFF, {0}, "positions are computed by RoPE alone"},
    {"rope_interleaved",
     WHEN_OFF,
     {0},
     "the rows of q and k must be in the order of transformers, halves"},
    {"partial_rotary_factor", WHEN_ONE, {0}, "RoPE must rotate whole heads"},
    {"rope_ratio", WHEN_ONE, {0}, "the base of RoPE is rope_theta alone: multiply that by it"},
    {"no_rope_layers", WHEN_ONE, {0}, "RoPE must be in every layer"},
    {"*qk_*norm", WHEN_OFF, {0}, "norms of q and k are not computed"},
    {"clip_qkv", WHEN_OFF, {0}, "q, k and v are not clipped here"},
    {"*_lora_rank", WHEN_OFF, {0}, "latent attention is not computed"},
    {"*parallel_residual", WHEN_OFF, {0}, "the MLP must follow attention, not stand beside it"},
    {"*softcap*", WHEN_OFF, {0}, "nothing is capped here"},
    {"query_pre_attn_scalar",
     WHEN_ABSENT,
     {0},
     "scores of attention are divided by the root of head_dim alone"},
    {"attention_multiplier",
     WHEN_ABSENT,
     {0},
     "scores of attention are divided by the root of head_dim alone"},
    {"embedding_multiplier",
     WHEN_ONE,
     {0},
     "embeddings are not scaled here: multiply them into the weights"},
    {"scale_emb", WHEN_ONE, {0}, "embeddings are not scaled here: multiply them into the weights"},
    {"scale_embedding*",
     WHEN_OFF,
     {0},
     "embeddings are not scaled here: multiply them into the weights"},
    {"residual_multiplier",
     WHEN_ONE,
     {0},
     "what a layer adds is not scaled here: multiply it into o_proj and down_proj"},
    {"lm_head_multiplier",
     WHEN_ONE,
     {0},
     "logits are not scaled here: scale the weights of the head"},
    {"logit*_scal*", WHEN_ONE, {0}, "logits are not scaled here: scale the weights of the head"},
};

static const struct meaning *find_meaning(const char *key)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (fnmatch(meanings[i].key, key, 0) == 0) return &meanings[i];
    return NULL;
}

static bool is_off(const json_t *v)
{
    return json_is_false(v) || json_is_null(v) ||
           (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

static bool is_neutral(const struct meaning *m, const json_t *v)
{
    const char *text = json_string_value(v);
    if (!v || json_is_null(v) || (m->neutral == WHEN_OFF && is_off(v))) return true;
    if (m->neutral == WHEN_ONE && json_is_number(v)) return json_number_value(v) == 1;
    if (m->neutral == WHEN_TRUE) return json_is_true(v);
    if (text)
        for (int i = 0; i < 2; i++)
            if (m->words[i] && strcmp(text, m->words[i]) == 0) return true;
    if (!json_is_array(v) || m->neutral == WHEN_ABSENT) return false;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        if (json_is_array(one) || !is_neutral(m, one)) return false;
    }
    return true;
}

/* A window that is as long as the model's positions hides nothing. */
static sol_status check_window(const char *path, const json_t *root, sol_err *err)
{
    const json_t *window = json_object_get(root, "sliding_window"),
                 *used = json_object_get(root, "use_sliding_window");
    const json_t *positions = json_object_get(root, "max_position_embeddings");
    if (!window || is_off(window) || (used && is_off(used))) return SOL_OK;
    if (json_is_number(window) && json_is_number(positions) &&
        json_number_value(window) >= json_number_value(positions))
        return SOL_OK;
    return refuse(path, "sliding_window", window,
                  "every layer must attend to the whole text: set it to null where it is not used",
                  err);
}

/* What a family has is read by its own rules. */
static bool is_of_family(const sol_family_row *f, const char *key)
{
    return ((f->has & SOL_FAMILY_NOPE) && strcmp(key, "no_rope_layers") == 0) ||
           ((f->has & SOL_FAMILY_UPPER_WINDOW) && strcmp(key, "layer_types") == 0);
}

static sol_status check_supported(const char *path, const json_t *root,
                                  const sol_family_row **family, sol_err *err)
{
    const json_t *type = json_object_get(root, "model_type");
    if (!json_is_string(type))
        return wrong(path, "model_type", type ? type : json_null(), "a name", err);
    *family = sol_family_named(json_string_value(type));
    if (!*family) return sol_family_refuse(path, "model_type", json_string_value(type), err);
    const char *key = "hidden_act";
    json_t *v = json_object_get(root, key);
    /* Where it is silent, transformers takes relu2 in this class alone. */
    if ((*family)->has & SOL_FAMILY_SUB_NORM && (!v || json_is_null(v)))
        return refuse(path, key, v ? v : json_null(), find_meaning(key)->why, err);
    json_object_foreach((json_t *)root, key, v)
    {
        const struct meaning *m = find_meaning(key);
        if (m && !is_of_family(*family, key) && !is_neutral(m, v))
            return refuse(path, key, v, m->why, err);
    }
    bool windows = (*family)->has & (SOL_FAMILY_WINDOW | SOL_FAMILY_UPPER_WINDOW);
    return windows ? SOL_OK : check_window(path, root, err);
}

/* Which layers have the window, as Qwen2Config of transformers 5 resolves it: those that
 * layer_types says, else those from max_window_layers on. */
static sol_status read_window_layers(const char *path, const json_t *root, bool used,
                                     sol_model_config *c, sol_err *err)
{
    static const char key[] = "layer_types", window[] = "sliding_attention";
    const json_t *list = json_object_get(root, key);
    int64_t n = c->num_hidden_layers, first = 0;
    if (!list || json_is_null(list))
        return get_int(path, root, "max_window_layers", 28, &c->max_window_layers, err);
    if (!json_is_array(list) || (int64_t)json_array_size(list) != n)
        return wrong(path, key, list, "a type a layer", err);
    for (int64_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(list, (size_t)i));
        bool slides = type && strcmp(type, window) == 0;
        if (!slides && (!type || strcmp(type, "full_attention") != 0))
            return wrong(path, key, list, "full_attention and sliding_attention", err);
        if (!slides && first < i)
            return refuse(path, key, list, "only the last layers may have a window", err);
        if (!slides) first = i + 1;
    }
    if (first < n && !used)
        return refuse(path, key, list, "has windows, but use_sliding_window is not true", err);
    c->max_window_layers = first;
    return SOL_OK;
}

/* A window that is null is none; one that is not there is that of the family. */
static sol_status read_window(const char *path, const json_t *root, const sol_family_row *f,
                              sol_model_config *c, sol_err *err)
{
    const json_t *v = json_object_get(root, "sliding_window");
    bool upper = f->has & SOL_FAMILY_UPPER_WINDOW, used = !upper;
    if (!upper && !(f->has & SOL_FAMILY_WINDOW)) return SOL_OK;
    if (upper) SOL_TRY(get_bool(path, root, "use_sliding_window", &used, err));
    if (upper) SOL_TRY(read_window_layers(path, root, used, c, err));
    c->sliding_window = v ? 0 : f->window;
    if (v && !json_is_null(v) && !get_whole(v, &c->sliding_window))
        return wrong(path, "sliding_window", v, "a whole number or null", err);
    if (!used || c->max_window_layers >= c->num_hidden_layers) c->sliding_window = 0;
    if (c->sliding_window == 0) c->max_window_layers = 0;
    return SOL_OK;
}

/* no_rope_layers says 1 where RoPE is used; without that list every no_rope_layer_interval-th layer
 * is without it. */
static sol_status read_nope(const char *path, const json_t *root, const sol_family_row *f,
                            sol_model_config *c, sol_err *err)
{
    static const char key[] = "no_rope_layers";
    const json_t *list = json_object_get(root, key);
    int64_t n = c->num_hidden_layers, first = 0;
    if (!(f->has & SOL_FAMILY_NOPE)) return SOL_OK;
    if (!list || json_is_null(list))
        return get_int(path, root, "no_rope_layer_interval", 4, &c->no_rope_layer_interval, err);
    if (!json_is_array(list) || (int64_t)json_array_size(list) < n)
        return wrong(path, key, list, "a number a layer", err);
    while (first < n && !is_off(json_array_get(list, (size_t)first))) first++;
    c->no_rope_layer_interval = first < n ? first + 1 : 0;
    for (int64_t i = 0; i < n; i++)
        if (is_off(json_array_get(list, (size_t)i)) == sol_layer_has_rope(c, i))
            return refuse(path, key, list, "layers without RoPE must come at equal distances", err);
    return SOL_OK;
}

/* ---- RoPE, as RotaryEmbeddingConfigMixin of transformers 5 resolves it ---- */

/* Where the settings are: an object, or NULL when there are none. rope_scaling wins over
 * rope_parameters unless it is empty. */
static sol_status find_rope(const char *path, const json_t *root, const json_t **rope,
                            const char **key, sol_err *err)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    const char *inner;
    json_t *v;
    *rope = NULL;
    for (int i = 0; i < 2; i++) {
        *key = keys[i];
        *rope = json_object_get(root, keys[i]);
        if (is_off(*rope)) *rope = NULL;
        if (*rope) break;
    }
    if (!*rope) return SOL_OK;
    if (!json_is_object(*rope)) return wrong(path, *key, *rope, "an object", err);
    json_object_foreach((json_t *)*rope, inner, v)
    {
        if (json_is_object(v))
            return sol_fail(err, SOL_ERR_UNSUPPORTED,
                            "%s: %s has settings of its own for %.40s: only one RoPE for all "
                            "layers is computed",
                            path, *key, inner);
    }
    v = json_object_get(*rope, "partial_rotary_factor");
    if (v && (!json_is_number(v) || json_number_value(v) != 1))
        return refuse(path, "partial_rotary_factor", v, "RoPE must rotate whole heads", err);
    return SOL_OK;
}

static sol_status read_theta(const char *path, const json_t *root, const json_t *rope,
                             sol_model_config *c, sol_err *err)
{
    const json_t *v = json_object_get(rope, "rope_theta");
    if (!v) v = json_object_get(root, "rope_theta");
    c->rope_theta = v ? json_number_value(v) : sol_family_of(c)->theta;
    return v && !json_is_number(v) ? wrong(path, "rope_theta", v, "a number", err) : SOL_OK;
}

static sol_status read_llama3(const char *path, const json_t *root, const json_t *rope,
                              sol_model_config *c, sol_err *err)
{
    static const char original[] = "original_max_position_embeddings";
    int64_t inside = 0;
    SOL_TRY(get_real(path, rope, "low_freq_factor", NAN, &c->rope_low_freq_factor, err));
    SOL_TRY(get_real(path, rope, "high_freq_factor", NAN, &c->rope_high_freq_factor, err));
    /* The one place where the top level is asked first. */
    SOL_TRY(get_int(path, rope, original, c->max_position_embeddings, &inside, err));
    return get_int(path, root, original, inside, &c->rope_original_max_position, err);
}

static sol_status read_rope(const char *path, const json_t *root, sol_model_config *c,
                            const char **note, sol_err *err)
{
    const json_t *rope, *type;
    const char *key;
    SOL_TRY(find_rope(path, root, &rope, &key, err));
    SOL_TRY(read_theta(path, root, rope, c, err));
    type = json_object_get(rope, "rope_type");
    if (!type) type = json_object_get(rope, "type");
    if (type && !json_is_string(type)) return wrong(path, "rope_type", type, "a name", err);
    const char *name = type ? json_string_value(type) : "default";
    bool linear = strcmp(name, "linear") == 0, dynamic = strcmp(name, "dynamic") == 0;
    if (strcmp(name, "default") == 0) return SOL_OK;
    if (!linear && !dynamic && strcmp(name, "llama3") != 0)
        return refuse(path, "rope_type", type,
                      "only default, linear, llama3 and dynamic are computed: a model without this "
                      "scaling is needed",
                      err);
    SOL_TRY(get_real(path, rope, "factor", NAN, &c->rope_factor, err));
    if (c->rope_factor == 0)
        return sol_fail(err, SOL_ERR_RANGE, "%s: %s factor is 0: must be at least 1", path, key);
    if (!linear && !dynamic) return read_llama3(path, root, rope, c, err);
    if (linear) {
        sol_rope_set_linear(c, c->rope_factor);
    } else {
        c->rope_factor = 0;
        *note = "RoPE scaling \"dynamic\" begins beyond max_position_embeddings, where this model "
                "ends: it is left out";
    }
    return SOL_OK;
}

/* *id: -1, as some configurations say for none, where the vocabulary lacks it, too. */
static sol_status get_id(const char *path, const char *key, const json_t *v, int64_t vocab_size,
                         int64_t *id, int64_t *beyond, sol_err *err)
{
    if (!get_whole(v, id)) return wrong(path, key, v, "a token id", err);
    if (*id < vocab_size) return SOL_OK;
    *beyond = *id;
    *id = -1;
    return SOL_OK;
}

static sol_status read_eos(const char *path, const json_t *root, sol_model_config *c,
                           int64_t *beyond, sol_err *err)
{
    static const char key[] = "eos_token_id";
    sol_model_config found = {.eos_token_id = -1};
    const json_t *v = json_object_get(root, key);
    size_t n = json_is_array(v) ? json_array_size(v) : v && !json_is_null(v);
    for (size_t i = 0; i < n; i++) {
        int64_t id = -1;
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        SOL_TRY(get_id(path, key, one, c->vocab_size, &id, beyond, err));
        sol_status st = sol_model_add_eos(&found, id, err);
        if (st != SOL_OK) return sol_err_prefix(err, st, "%s: %s", path, key);
    }
    if (found.eos_token_id < 0) return SOL_OK;
    c->eos_token_id = found.eos_token_id;
    c->n_more_eos = found.n_more_eos;
    memcpy(c->more_eos, found.more_eos, sizeof c->more_eos);
    return SOL_OK;
}

sol_status sol_hf_token_ids(const char *path, const json_t *root, sol_model_config *c,
                            int64_t *beyond, sol_err *err)
{
    static const char key[] = "bos_token_id";
    const json_t *v = json_object_get(root, key);
    int64_t id = -1;
    *beyond = -1;
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (v && !json_is_null(v)) SOL_TRY(get_id(path, key, v, c->vocab_size, &id, beyond, err));
    if (id >= 0) c->bos_token_id = id;
    return read_eos(path, root, c, beyond, err);
}

sol_status sol_hf_config(const char *path, const json_t *root, sol_model_config *c,
                         const char **note, sol_err *err)
{
    *note = NULL;
    int64_t heads = 0;
    const sol_family_row *f = NULL;
    *c = (sol_model_config){.bos_token_id = -1, .eos_token_id = -1};
    SOL_TRY(check_supported(path, root, &f, err));
    sol_family_apply(f, c);
    c->tie_word_embeddings = f->tied;
    SOL_TRY(get_int(path, root, "vocab_size", INT64_MIN, &c->vocab_size, err));
    SOL_TRY(get_int(path, root, "hidden_size", INT64_MIN, &c->hidden_size, err));
    SOL_TRY(get_int(path, root, "intermediate_size", INT64_MIN, &c->intermediate_size, err));
    SOL_TRY(get_int(path, root, "num_hidden_layers", INT64_MIN, &c->num_hidden_layers, err));
    SOL_TRY(get_int(path, root, "num_attention_heads", INT64_MIN, &heads, err));
    SOL_TRY(get_int(path, root, "num_key_value_heads", heads, &c->num_key_value_heads, err));
    int64_t head_dim = f->head_dim;
    if (head_dim == 0 && heads > 0) head_dim = c->hidden_size / heads;
    SOL_TRY(get_int(path, root, "head_dim", head_dim, &c->head_dim, err));
    SOL_TRY(get_int(path, root, "max_position_embeddings", f->positions,
                    &c->max_position_embeddings, err));
    SOL_TRY(get_real(path, root, "rms_norm_eps", f->eps, &c->rms_norm_eps, err));
    SOL_TRY(get_bool(path, root, "tie_word_embeddings", &c->tie_word_embeddings, err));
    SOL_TRY(read_rope(path, root, c, note, err));
    SOL_TRY(read_window(path, root, f, c, err));
    SOL_TRY(read_nope(path, root, f, c, err));
    c->num_attention_heads = heads;
    sol_status st = sol_model_config_check(c, err);
    return st == SOL_OK ? SOL_OK : sol_err_prefix(err, st, "%s", path);
}

static json_t *id_or_null(int64_t id)
{
    return id < 0 ? json_null() : json_integer((json_int_t)id);
}

json_t *sol_hf_eos_json(const sol_model_config *c)
{
    if (c->n_more_eos == 0) return id_or_null(c->eos_token_id);
    json_t *list = json_array();
    json_array_append_new(list, id_or_null(c->eos_token_id));
    for (int64_t i = 0; i < c->n_more_eos; i++)
        json_array_append_new(list, id_or_null(c->more_eos[i]));
    return list;
}

/* What the family has beside LLaMA. */
static void add_of_family(const sol_model_config *c, json_t *root)
{
    int has = sol_family_of(c)->has;
    if (has & SOL_FAMILY_UPPER_WINDOW && c->sliding_window) {
        json_object_set_new(root, "use_sliding_window", json_true());
        json_object_set_new(root, "sliding_window", json_integer((json_int_t)c->sliding_window));
        json_object_set_new(root, "max_window_layers",
                            json_integer((json_int_t)c->max_window_layers));
    }
    if (has & SOL_FAMILY_WINDOW)
        json_object_set_new(root, "sliding_window",
                            c->sliding_window ? json_integer((json_int_t)c->sliding_window)
                                              : json_null());
    if (!(has & SOL_FAMILY_NOPE)) return;
    json_t *list = json_array();
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
        json_array_append_new(list, json_integer(sol_layer_has_rope(c, i)));
    json_object_set_new(root, "no_rope_layers", list);
}

sol_status sol_hf_config_make(const sol_model_config *c, const char *torch_dtype, json_t **root,
                              sol_err *err)
{
    json_t *rope = json_null();
    if (sol_rope_is_linear(c))
        rope = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", c->rope_factor);
    else if (c->rope_factor != 0)
        rope =
            json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->rope_factor,
                      "low_freq_factor", c->rope_low_freq_factor, "high_freq_factor",
                      c->rope_high_freq_factor, "original_max_position_embeddings",
                      (json_int_t)c->rope_original_max_position);
    *root = json_pack(
        "{s:[s], s:s, s:s, s:b, s:b, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, "
        "s:b, s:o, s:o, s:n, s:s, s:f}",
        "architectures", sol_family_of(c)->architecture, "model_type", sol_family_of(c)->model_type,
        "hidden_act", "silu", "attention_bias", 0, "mlp_bias", 0, "attention_dropout", 0.0,
        "vocab_size", (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size,
        "intermediate_size", (json_int_t)c->intermediate_size, "num_hidden_layers",
        (json_int_t)c->num_hidden_layers, "num_attention_heads", (json_int_t)c->num_attention_heads,
        "num_key_value_heads", (json_int_t)c->num_key_value_heads, "head_dim",
        (json_int_t)c->head_dim, "max_position_embeddings", (json_int_t)c->max_position_embeddings,
        "rms_norm_eps", c->rms_norm_eps, "rope_theta", c->rope_theta, "rope_scaling", rope,
        "tie_word_embeddings", (int)c->tie_word_embeddings, "bos_token_id",
        id_or_null(c->bos_token_id), "eos_token_id", sol_hf_eos_json(c), "pad_token_id",
        "torch_dtype", torch_dtype, "initializer_range", 0.02);
    if (!*root) return sol_fail(err, SOL_ERR_NOMEM, "config.json: out of memory");
    add_of_family(c, *root);
    return SOL_OK;
}
