/* The table of parameters (params.def) as data: names, shapes and kinds, from which model.c lays
 * out a model and every reader and writer takes what a file calls a parameter. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "model/model.h"

enum { MODEL = false, BLOCK = true }; /* the words of the column `place` */

const sol_param_row sol_param_rows[SOL_ROLES] = {
#define PARAM(role, label, place, hf, gguf, rows, cols, kind, quantized, present) \
    [SOL_ROLE_##role] = { \
        hf, gguf, label, place, SOL_DIM_##rows, SOL_DIM_##cols, SOL_PARAM_##kind, quantized},
#include "model/params.def"
#undef PARAM
};

bool sol_role_present(const sol_model_config *c, sol_role role)
{
    switch (role) {
#define PARAM(role, label, place, hf, gguf, rows, cols, kind, quantized, present) \
    case SOL_ROLE_##role: \
        return present;
#include "model/params.def"
#undef PARAM
    case SOL_ROLES: break;
    }
    return false;
}

int sol_block_params(const sol_model_config *c)
{
    int n = 0;
    for (int role = 0; role < SOL_ROLES; role++)
        n += sol_param_rows[role].in_block && sol_role_present(c, (sol_role)role);
    return n;
}

int64_t sol_dim_size(const sol_model_config *c, sol_dim dim)
{
    switch (dim) {
    case SOL_DIM_ONE: break;
    case SOL_DIM_V: return c->vocab_size;
    case SOL_DIM_C: return c->hidden_size;
    case SOL_DIM_F: return c->intermediate_size;
    case SOL_DIM_D: return c->head_dim;
    case SOL_DIM_HD: return c->num_attention_heads * c->head_dim;
    case SOL_DIM_KD: return c->num_key_value_heads * c->head_dim;
    }
    return 1;
}

static const char hf_blocks[] = "model.layers", gguf_blocks[] = "blk";

/* A name in the way of one kind of file: that of a block's parameter stands behind the block's
 * own. */
static const char *place_name(const sol_param_row *r, const char *blocks, int layer,
                              const char *tail, char name[SOL_PARAM_NAME])
{
    if (r->in_block)
        snprintf(name, SOL_PARAM_NAME, "%s.%d.%s", blocks, layer, tail);
    else
        snprintf(name, SOL_PARAM_NAME, "%s", tail);
    return name;
}

const char *sol_role_name(sol_role role, int layer, char name[SOL_PARAM_NAME])
{
    return place_name(&sol_param_rows[role], hf_blocks, layer, sol_param_rows[role].name, name);
}

const char *sol_role_gguf_name(sol_role role, int layer, char name[SOL_PARAM_NAME])
{
    return place_name(&sol_param_rows[role], gguf_blocks, layer, sol_param_rows[role].gguf_name,
                      name);
}

/* What follows the number of the block in a name, behind a dot; NULL: no parameter of a block. */
static const char *behind_block(const char *name, const char *blocks, size_t *prefix)
{
    size_t n = strlen(blocks);
    if (strncmp(name, blocks, n) != 0 || name[n] != '.') return NULL;
    *prefix = n + 1;
    const char *at = name + *prefix;
    while (isdigit((unsigned char)*at)) at++;
    return at > name + *prefix && *at == '.' ? at + 1 : NULL;
}

const char *sol_param_pattern(const char *name, char pattern[SOL_PARAM_NAME])
{
    size_t prefix = 0;
    const char *tail = behind_block(name, hf_blocks, &prefix);
    if (!tail) tail = behind_block(name, gguf_blocks, &prefix);
    if (tail)
        snprintf(pattern, SOL_PARAM_NAME, "%.*s*.%s", (int)prefix, name, tail);
    else
        snprintf(pattern, SOL_PARAM_NAME, "%s", name);
    return pattern;
}

bool sol_role_find(const char *name, sol_role *role)
{
    size_t prefix;
    const char *tail = behind_block(name, hf_blocks, &prefix);
    for (int i = 0; i < SOL_ROLES; i++) {
        const sol_param_row *r = &sol_param_rows[i];
        const char *own = r->in_block ? tail : name;
        if (!own || strcmp(own, r->name) != 0) continue;
        *role = (sol_role)i;
        return true;
    }
    return false;
}

static sol_status check_row(const sol_model *m, const sol_quant_spec *spec,
                            const sol_quant_override *row, sol_err *err)
{
    int matched = 0;
    SOL_TRY(sol_quant_override_check(spec, row, err));
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized || fnmatch(row->match, p->name, 0) != 0) continue;
        const sol_quant_override *first = sol_quant_override_of(spec, p->name);
        if (first != row)
            return sol_fail(err, SOL_ERR_CONFIG, "'%s' and '%s' both match %s", first->match,
                            row->match, p->name);
        matched++;
    }
    if (matched) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG,
                    "'%s' matches no linear layer, as model.layers.0.mlp.down_proj.weight is",
                    row->match);
}

sol_status sol_model_check_overrides(const sol_model *m, const sol_quant_spec *spec, sol_err *err)
{
    int n = spec->overrides ? spec->overrides->n : 0;
    for (int i = 0; i < n; i++) SOL_TRY(check_row(m, spec, &spec->overrides->row[i], err));
    return SOL_OK;
}

sol_dtype sol_param_shipped(const sol_param *p, const sol_quant_spec *spec)
{
    if (!spec->method) return SOL_F32;
    if (p->kind == SOL_PARAM_EMBED || p->kind == SOL_PARAM_HEAD) return spec->embed_type;
    return p->quantized && !sol_quant_for(spec, p->name).method ? SOL_F16 : SOL_F32;
}
