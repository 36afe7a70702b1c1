/* The table of families (families.def) as data, and the words for an architecture that is in none
 * of its rows. */
#include "model/family.h"

#include <ctype.h>
#include <fnmatch.h>
#include <string.h>

#include "model/model.h"

/* The words of the columns `order` and `has`. */
#define HALVES SOL_GGUF_HALVES
#define PAIRS SOL_GGUF_PAIRS
enum {
    QKV_BIAS = SOL_FAMILY_QKV_BIAS,
    QK_NORM = SOL_FAMILY_QK_NORM,
    WINDOW = SOL_FAMILY_WINDOW,
    UPPER_WINDOW = SOL_FAMILY_UPPER_WINDOW,
    NOPE = SOL_FAMILY_NOPE,
    ROPE_TABLE = SOL_FAMILY_ROPE_TABLE,
    SUB_NORM = SOL_FAMILY_SUB_NORM
};

const sol_family_row sol_families[SOL_FAMILIES] = {
#define FAMILY(id, ...) [SOL_FAMILY_##id] = {SOL_FAMILY_##id, __VA_ARGS__},
#include "model/families.def"
};

static const struct {
    const char *pattern, *has;
} foreign[] = {
#define FOREIGN(pattern, has) {pattern, has},
#include "model/families.def"
};

const sol_family_row *sol_family_named(const char *model_type)
{
    for (int i = 0; i < SOL_FAMILIES; i++)
        if (strcmp(sol_families[i].model_type, model_type) == 0) return &sol_families[i];
    return NULL;
}

const sol_family_row *sol_family_of_gguf(const char *architecture)
{
    for (int i = 0; i < SOL_FAMILIES; i++)
        if (strcmp(sol_families[i].gguf, architecture) == 0) return &sol_families[i];
    return NULL;
}

const sol_family_row *sol_family_of(const sol_model_config *c)
{
    return &sol_families[c->family];
}

void sol_family_apply(const sol_family_row *f, sol_model_config *c)
{
    c->family = f->family;
    c->qkv_bias = f->has & SOL_FAMILY_QKV_BIAS;
    c->qk_norm = f->has & SOL_FAMILY_QK_NORM;
    c->sub_norm = f->has & SOL_FAMILY_SUB_NORM;
}

sol_status sol_family_check(const sol_model_config *c, sol_err *err)
{
    const sol_family_row *f = sol_family_of(c);
    const struct {
        const char *what;
        int flag;
        bool has, always;
    } rows[] = {
        {"biases of q, k and v", SOL_FAMILY_QKV_BIAS, c->qkv_bias, true},
        {"norms of q and k", SOL_FAMILY_QK_NORM, c->qk_norm, true},
        {"norms before o_proj and down_proj", SOL_FAMILY_SUB_NORM, c->sub_norm, true},
        {"a sliding window", SOL_FAMILY_WINDOW | SOL_FAMILY_UPPER_WINDOW, c->sliding_window != 0,
         false},
        {"a sliding window in some layers", SOL_FAMILY_UPPER_WINDOW, c->max_window_layers != 0,
         false},
        {"layers without RoPE", SOL_FAMILY_NOPE, c->no_rope_layer_interval != 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool may = f->has & rows[i].flag;
        if (rows[i].has && !may)
            return sol_fail(err, SOL_ERR_UNSUPPORTED, "has %s, which a %s model has no place for",
                            rows[i].what, f->model_type);
        if (!rows[i].has && may && rows[i].always)
            return sol_fail(err, SOL_ERR_UNSUPPORTED, "lacks %s, which every %s model has",
                            rows[i].what, f->model_type);
    }
    int64_t heads = c->num_attention_heads * c->head_dim;
    if (c->sub_norm && heads != c->hidden_size)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "has heads of %lld numbers and a hidden_size of %lld, which are one in a "
                        "%s model",
                        (long long)heads, (long long)c->hidden_size, f->model_type);
    return SOL_OK;
}

void sol_family_add_sub_norms(sol_model_config *c)
{
    sol_family was = c->family;
    c->sub_norm = true;
    c->family = SOL_FAMILY_BITNET;
    if (sol_family_check(c, NULL) != SOL_OK) c->family = was;
}

sol_status sol_family_refuse(const char *path, const char *key, const char *name, sol_err *err)
{
    static const char ours[] =
#define FAMILY(id, model_type, ...) ", " model_type
#include "model/families.def"
        ;
    char lower[64] = "";
    const char *has = NULL;
    for (size_t i = 0; name[i] && i < sizeof lower - 1; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (!has && fnmatch(foreign[i].pattern, lower, 0) == 0) has = foreign[i].has;
    if (has)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: %s is '%.40s': %s are not computed here: a model of %s is needed",
                        path, key, name, has, ours + 2);
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "%s: %s is '%.40s', which is not known here: a model of %s is needed", path,
                    key, name, ours + 2);
}
