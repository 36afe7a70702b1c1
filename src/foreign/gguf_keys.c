/* Decides for each metadata key of a GGUF file whether it may stand there: a key that changes
 * the model and is not computed is refused. */
#include "foreign/gguf_keys.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "foreign/gguf_numbers.h"

/* What the value of a key must be. */
typedef enum key_want {
    ANYTHING, /* is read elsewhere, or says nothing about what is computed */
    NOTHING,  /* 0, false, empty: as if it were not there */
    ONE,      /* a factor */
    ONE_OR_0, /* a factor that 0 switches off */
    TRUE,
    ATTENTION_SCALE, /* 0, or 1 / sqrt(head_dim) */
    WINDOW,          /* 0, or no smaller than the context, or of a family that has windows */
    SILU,
    WINDOW_LAYERS, /* all, where there is a window */
    SCALING_TYPE,
    SCALING_FACTOR, /* ONE_OR_0, unless the type of the scaling says what it is for */
    LAYOUT
} key_want;

typedef struct rule {
    const char *key; /* behind the prefix; ends in '*': every key that begins so */
    key_want want;
} rule;

/* Of the architecture; a key that is not listed is one that this program does not know: NOTHING. */
static const rule model_rules[] = {
    {"attention.causal", TRUE},
    {"attention.head_count", ANYTHING},
    {"attention.head_count_kv", ANYTHING},
    {"attention.key_length", ANYTHING},
    {"attention.layer_norm_epsilon", ANYTHING}, /* of norms that these models do not have */
    {"attention.layer_norm_rms_epsilon", ANYTHING},
    {"attention.scale", ATTENTION_SCALE},
    {"attention.sliding_window", WINDOW},
    {"attention.sliding_window_pattern", WINDOW_LAYERS},
    {"attention.value_length", ANYTHING},
    {"block_count", ANYTHING},
    {"context_length", ANYTHING},
    {"embedding_length", ANYTHING},
    {"embedding_scale", ONE_OR_0},
    {"feed_forward_length", ANYTHING},
    {"hidden_act", SILU},
    {"logit_scale", ONE_OR_0},
    {"pooling_type", ANYTHING}, /* of embeddings */
    {"residual_scale", ONE_OR_0},
    {"rope.dimension_count", ANYTHING},
    {"rope.freq_base", ANYTHING},
    {"rope.scale_linear", SCALING_FACTOR}, /* the old name of the factor */
    {"rope.scaling.attn_factor", ONE},
    {"rope.scaling.factor", SCALING_FACTOR},
    {"rope.scaling.finetuned", ANYTHING},
    {"rope.scaling.original_context_length", ANYTHING}, /* of yarn, as the next two */
    {"rope.scaling.type", SCALING_TYPE},
    {"rope.scaling.yarn_attn_factor", ONE},
    {"rope.scaling.yarn_beta_*", ANYTHING},
    {"tensor_data_layout", LAYOUT},
    {"vocab_size", ANYTHING},
    {0},
};

/* Of "tokenizer.ggml."; the same holds for what is not listed. */
static const rule tokenizer_rules[] = {
    {"add_bos_token", ANYTHING},
    {"add_eos_token", ANYTHING},
    {"add_space_prefix", ANYTHING},
    {"merges", ANYTHING},
    {"model", ANYTHING},
    {"pre", ANYTHING},
    {"scores", ANYTHING},
    {"token_type", ANYTHING},
    {"token_type_count", ANYTHING}, /* of models like BERT */
    {"tokens", ANYTHING},
    {0},
};

static bool begins(sol_span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.at, with, n) == 0;
}

static bool contains(sol_span s, const char *what)
{
    return s.n > 0 && memmem(s.at, s.n, what, strlen(what)) != NULL;
}

static bool is_text(const sol_gguf_value *v, const char *text)
{
    sol_span s;
    return v && sol_gguf_text(v, &s) && s.n == strlen(text) && begins(s, text);
}

static bool is_number(const sol_gguf_value *v, double x)
{
    double real;
    return sol_gguf_real(v, &real) && real == x;
}

static bool is_nothing(const sol_gguf_value *v)
{
    return is_number(v, 0) || is_text(v, "") || (v->kind == SOL_GGUF_ARRAY && v->count == 0);
}

static bool satisfies(const sol_gguf *g, const sol_model_config *c, const sol_gguf_value *v,
                      key_want want)
{
    double x;
    int64_t every;
    char key[SOL_GGUF_KEY];
    switch (want) {
    case ANYTHING: return true;
    case ONE: return is_number(v, 1);
    case TRUE: return v->kind == SOL_GGUF_BOOL && is_number(v, 1);
    case SCALING_FACTOR:
        return sol_gguf_find(g, sol_gguf_key(c, "rope.scaling.type", key)) || is_nothing(v) ||
               is_number(v, 1); /* the type is checked by its own rule */
    case ONE_OR_0: return is_nothing(v) || is_number(v, 1);
    case ATTENTION_SCALE:
        return is_nothing(v) ||
               (sol_gguf_real(v, &x) && fabs(x * sqrt((double)c->head_dim) - 1) < 1e-5);
    case WINDOW:
        return is_nothing(v) || c->sliding_window ||
               (sol_gguf_real(v, &x) && x >= (double)c->max_position_embeddings);
    case SILU: return is_text(v, "silu");
    case WINDOW_LAYERS:
        return c->sliding_window == 0 || is_nothing(v) ||
               (sol_gguf_equal_integers(v, &every) && every == 1);
    case SCALING_TYPE: return is_text(v, "none") || is_text(v, "linear");
    case LAYOUT: return is_text(v, "") || is_text(v, "Meta AI original pth");
    case NOTHING: break;
    }
    return is_nothing(v);
}

static key_want want_of(const rule *rules, sol_span name)
{
    for (; rules->key; rules++) {
        size_t n = strlen(rules->key);
        if (rules->key[n - 1] == '*' ? name.n >= n && memcmp(name.at, rules->key, n - 1) == 0
                                     : name.n == n && begins(name, rules->key))
            return rules->want;
    }
    return NOTHING;
}

/* " = 0.25" for the values that fit; "" for arrays. */
static const char *value_text(const sol_gguf_value *v, char out[64])
{
    double x;
    int64_t n;
    sol_span s;
    out[0] = 0;
    if (sol_gguf_text(v, &s))
        snprintf(out, 64, " = '%.*s'", s.n < 40 ? (int)s.n : 40, s.at);
    else if (sol_gguf_integer(v, &n))
        snprintf(out, 64, v->kind == SOL_GGUF_BOOL ? n ? " = true" : " = false" : " = %" PRId64, n);
    else if (sol_gguf_real(v, &x))
        snprintf(out, 64, " = %.6g", x);
    return out;
}

static sol_status refuse(const sol_gguf *g, const sol_gguf_value *v, const char *what, sol_err *err)
{
    char value[64];
    int shown = v->key.n < 100 ? (int)v->key.n : 100;
    return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: %.*s%s: %s", g->path ? g->path : "GGUF", shown,
                    v->key.at, value_text(v, value), what);
}

static const char remove_it[] = "this program does not compute what it says; `gguf-new-metadata "
                                "--remove-metadata KEY OLD NEW` of the Python "
                                "package gguf takes a key out that changes nothing";

static sol_status check_model_key(const sol_gguf *g, const sol_model_config *c,
                                  const sol_gguf_value *v, sol_err *err)
{
    sol_span name = v->key;
    char arch[SOL_GGUF_KEY];
    if (begins(name, sol_gguf_key(c, "", arch))) {
        size_t prefix = strlen(arch);
        key_want want = want_of(model_rules, (sol_span){name.at + prefix, name.n - prefix});
        if (satisfies(g, c, v, want)) return SOL_OK;
        if (want == SCALING_TYPE)
            return refuse(g, v, "this scaling of RoPE is not computed, only linear and llama3 are",
                          err);
        if (want == SCALING_FACTOR)
            return refuse(g, v,
                          "there is no rope.scaling.type beside it, and some programs scale by it "
                          "and some do not: where it is linear scaling, say "
                          "so in a copy of the file with that key",
                          err);
        return refuse(g, v, remove_it, err);
    }
    if (begins(name, "general.") || begins(name, "tokenizer.")) return SOL_OK;
    if (contains(name, "hadamard") || contains(name, "rotation") || contains(name, "rotated"))
        return refuse(g, v,
                      "its weights are rotated and want activations that are rotated, too: import "
                      "the model before the rotation",
                      err);
    if (begins(name, "adapter."))
        return refuse(g, v, "is an adapter: merge it into its model, and import that", err);
    return begins(name, "xielu.") ? refuse(g, v, "this activation is not computed", err) : SOL_OK;
}

sol_status sol_gguf_check_model_keys(const sol_gguf *g, const sol_model_config *c, sol_err *err)
{
    for (size_t i = 0; i < g->n_values; i++) SOL_TRY(check_model_key(g, c, &g->value[i], err));
    return SOL_OK;
}

static bool ends(sol_span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.at + s.n - n, with, n) == 0;
}

sol_status sol_gguf_check_tokenizer_keys(const sol_gguf *g, sol_err *err)
{
    static const char prefix[] = "tokenizer.ggml.";
    for (size_t i = 0; i < g->n_values; i++) {
        const sol_gguf_value *v = &g->value[i];
        if (!begins(v->key, prefix)) continue;
        sol_span name = {v->key.at + strlen(prefix), v->key.n - strlen(prefix)};
        bool is_id = ends(name, "_id") || ends(name, "_ids"); /* of tokens that have a name */
        if (!is_id && !satisfies(g, NULL, v, want_of(tokenizer_rules, name)))
            return refuse(g, v,
                          "the tokenizer does not do it: import with --tokenizer, and the "
                          "tokenizer.json of the model",
                          err);
    }
    return SOL_OK;
}
