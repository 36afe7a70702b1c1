#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/hf.h"

sol_status sol_hf_read_json(const char *path, size_t max_bytes, json_t **root, sol_err *err)
{
    char *text = NULL;
    size_t n = 0;
    uint64_t bytes;
    json_error_t why;
    *root = NULL;
    sol_status st = sol_file_size(path, &bytes, err);
    if (st == SOL_OK && bytes > max_bytes)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: has %llu bytes, at most %zu are read", path, (unsigned long long)bytes, max_bytes);
    if (st == SOL_OK) st = sol_file_read(path, &text, &n, err);
    if (st == SOL_OK) {
        *root = sol_json_load(text, n, JSON_REJECT_DUPLICATES, &why);
        if (!*root) st = sol_fail(err, SOL_ERR_FORMAT, "%s:%d:%d: %s", path, why.line, why.column, why.text);
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

static sol_status wrong(const char *path, const char *key, const json_t *v, const char *want, sol_err *err)
{
    char text[64];
    return sol_fail(err, SOL_ERR_FORMAT, "%s: %s is %s, expected %s", path, key, value_text(v, text), want);
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
static sol_status get_int(const char *path, const json_t *o, const char *key, int64_t absent, int64_t *out, sol_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        if (absent == INT64_MIN) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", path, key);
        *out = absent;
        return SOL_OK;
    }
    return get_whole(v, out) ? SOL_OK : wrong(path, key, v, "a whole number", err);
}

static sol_status get_real(const char *path, const json_t *o, const char *key, double absent, double *out, sol_err *err)
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

static sol_status get_bool(const char *path, const json_t *o, const char *key, bool *out, sol_err *err)
{
    const json_t *v = json_object_get(o, key);
    *out = json_is_true(v);
    return !v || json_is_boolean(v) || json_is_null(v) ? SOL_OK : wrong(path, key, v, "true or false", err);
}

static sol_status refuse(const char *path, const char *key, const json_t *v, const char *why, sol_err *err)
{
    char text[64];
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: %s is %s: %s", path, key, value_text(v, text), why);
}

static sol_status check_supported(const char *path, const json_t *root, sol_err *err)
{
    const json_t *type = json_object_get(root, "model_type"), *act = json_object_get(root, "hidden_act");
    const json_t *quant = json_object_get(root, "quantization_config");
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    if (!json_is_string(type) || strcmp(json_string_value(type), "llama") != 0)
        return refuse(path, "model_type", type ? type : json_null(), "only llama models are read", err);
    if (act && (!json_is_string(act) || strcmp(json_string_value(act), "silu") != 0))
        return refuse(path, "hidden_act", act, "only silu is computed", err);
    if (quant && !json_is_null(quant)) return refuse(path, "quantization_config", quant, "only plain weights are read", err);
    for (int i = 0; i < 2; i++) {
        bool bias;
        sol_status st = get_bool(path, root, biases[i], &bias, err);
        if (st != SOL_OK) return st;
        if (bias) return refuse(path, biases[i], json_object_get(root, biases[i]), "linear layers with a bias are not computed", err);
    }
    return SOL_OK;
}

/* rope_scaling (theta beside it), or rope_parameters (theta inside) in newer files. */
static sol_status read_rope(const char *path, const json_t *root, sol_model_config *c, sol_err *err)
{
    const json_t *params = json_object_get(root, "rope_parameters");
    const char *key = json_is_object(params) ? "rope_parameters" : "rope_scaling";
    const json_t *scaling = json_object_get(root, key), *type;
    sol_status st = get_real(path, json_is_object(params) ? params : root, "rope_theta", 10000, &c->rope_theta, err);
    if (st != SOL_OK || !scaling || json_is_null(scaling)) return st;
    if (!json_is_object(scaling)) return wrong(path, key, scaling, "an object", err);
    type = json_object_get(scaling, "rope_type");
    if (!type) type = json_object_get(scaling, "type");
    const char *name = json_string_value(type);
    if (!name) return sol_fail(err, SOL_ERR_FORMAT, "%s: %s has no rope_type", path, key);
    if (strcmp(name, "default") == 0) return SOL_OK;
    if (strcmp(name, "llama3") != 0) return refuse(path, "rope_type", type, "only default and llama3 are computed", err);
    st = get_real(path, scaling, "factor", NAN, &c->rope_factor, err);
    if (st == SOL_OK) st = get_real(path, scaling, "low_freq_factor", NAN, &c->rope_low_freq_factor, err);
    if (st == SOL_OK) st = get_real(path, scaling, "high_freq_factor", NAN, &c->rope_high_freq_factor, err);
    if (st == SOL_OK)
        st = get_int(path, scaling, "original_max_position_embeddings", INT64_MIN, &c->rope_original_max_position, err);
    if (st == SOL_OK && c->rope_factor == 0)
        st = sol_fail(err, SOL_ERR_RANGE, "%s: %s factor is 0: must be at least 1", path, key);
    return st;
}

static sol_status get_id(const char *path, const char *key, const json_t *v, int64_t vocab_size, int64_t *id, sol_err *err)
{
    if (!get_whole(v, id)) return wrong(path, key, v, "a token id", err);
    return *id < vocab_size ? SOL_OK : wrong(path, key, v, "an id in the vocabulary", err);
}

static sol_status read_eos(const char *path, const json_t *root, sol_model_config *c, sol_err *err)
{
    static const char key[] = "eos_token_id";
    sol_model_config found = {.eos_token_id = -1};
    const json_t *v = json_object_get(root, key);
    size_t n = json_is_array(v) ? json_array_size(v) : v && !json_is_null(v);
    sol_status st = SOL_OK;
    for (size_t i = 0; st == SOL_OK && i < n; i++) {
        int64_t id = -1;
        st = get_id(path, key, json_is_array(v) ? json_array_get(v, i) : v, c->vocab_size, &id, err);
        if (st == SOL_OK) st = sol_model_add_eos(&found, id, err); /* some configurations say -1 for none */
        if (st == SOL_ERR_UNSUPPORTED) sol_err_prefix(err, st, "%s: %s", path, key);
    }
    if (st != SOL_OK || found.eos_token_id < 0) return st;
    c->eos_token_id = found.eos_token_id;
    c->n_more_eos = found.n_more_eos;
    memcpy(c->more_eos, found.more_eos, sizeof c->more_eos);
    return SOL_OK;
}

sol_status sol_hf_token_ids(const char *path, const json_t *root, sol_model_config *c, sol_err *err)
{
    static const char key[] = "bos_token_id";
    const json_t *v = json_object_get(root, key);
    int64_t id = -1;
    if (json_is_array(v)) v = json_array_get(v, 0);
    sol_status st = v && !json_is_null(v) ? get_id(path, key, v, c->vocab_size, &id, err) : SOL_OK;
    if (id >= 0) c->bos_token_id = id;
    return st == SOL_OK ? read_eos(path, root, c, err) : st;
}

sol_status sol_hf_config(const char *path, const json_t *root, sol_model_config *c, sol_err *err)
{
    int64_t heads = 0;
    *c = (sol_model_config){.bos_token_id = -1, .eos_token_id = -1};
    sol_status st = check_supported(path, root, err);
    if (st == SOL_OK) st = get_int(path, root, "vocab_size", INT64_MIN, &c->vocab_size, err);
    if (st == SOL_OK) st = get_int(path, root, "hidden_size", INT64_MIN, &c->hidden_size, err);
    if (st == SOL_OK) st = get_int(path, root, "intermediate_size", INT64_MIN, &c->intermediate_size, err);
    if (st == SOL_OK) st = get_int(path, root, "num_hidden_layers", INT64_MIN, &c->num_hidden_layers, err);
    if (st == SOL_OK) st = get_int(path, root, "num_attention_heads", INT64_MIN, &heads, err);
    if (st == SOL_OK) st = get_int(path, root, "num_key_value_heads", heads, &c->num_key_value_heads, err);
    if (st == SOL_OK) st = get_int(path, root, "head_dim", heads > 0 ? c->hidden_size / heads : 0, &c->head_dim, err);
    if (st == SOL_OK) st = get_int(path, root, "max_position_embeddings", 2048, &c->max_position_embeddings, err);
    if (st == SOL_OK) st = get_real(path, root, "rms_norm_eps", 1e-6, &c->rms_norm_eps, err);
    if (st == SOL_OK) st = get_bool(path, root, "tie_word_embeddings", &c->tie_word_embeddings, err);
    if (st == SOL_OK) st = read_rope(path, root, c, err);
    c->num_attention_heads = heads;
    if (st == SOL_OK) st = sol_hf_token_ids(path, root, c, err);
    if (st != SOL_OK) return st;
    st = sol_model_config_check(c, err);
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
    for (int64_t i = 0; i < c->n_more_eos; i++) json_array_append_new(list, id_or_null(c->more_eos[i]));
    return list;
}

sol_status sol_hf_config_make(const sol_model_config *c, const char *torch_dtype, json_t **root, sol_err *err)
{
    json_t *rope = json_null();
    if (c->rope_factor != 0)
        rope = json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", c->rope_factor, "low_freq_factor",
                         c->rope_low_freq_factor, "high_freq_factor", c->rope_high_freq_factor,
                         "original_max_position_embeddings", (json_int_t)c->rope_original_max_position);
    *root = json_pack("{s:[s], s:s, s:s, s:b, s:b, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:b, s:o, s:o, s:s, s:f}",
                      "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu", "attention_bias", 0,
                      "mlp_bias", 0, "attention_dropout", 0.0,
                      "vocab_size", (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size,
                      "intermediate_size", (json_int_t)c->intermediate_size, "num_hidden_layers", (json_int_t)c->num_hidden_layers,
                      "num_attention_heads", (json_int_t)c->num_attention_heads,
                      "num_key_value_heads", (json_int_t)c->num_key_value_heads, "head_dim", (json_int_t)c->head_dim,
                      "max_position_embeddings", (json_int_t)c->max_position_embeddings, "rms_norm_eps", c->rms_norm_eps,
                      "rope_theta", c->rope_theta, "rope_scaling", rope, "tie_word_embeddings", (int)c->tie_word_embeddings,
                      "bos_token_id", id_or_null(c->bos_token_id), "eos_token_id", sol_hf_eos_json(c), "torch_dtype",
                      torch_dtype, "initializer_range", 0.02);
    return *root ? SOL_OK : sol_fail(err, SOL_ERR_NOMEM, "config.json: out of memory");
}
