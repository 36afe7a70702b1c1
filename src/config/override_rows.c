/* Reads the rows of quant.overrides from YAML, for parse.c from a job and for keys.c from one line
 * of --set or of a sweep. */
#include <string.h>

#include "config/keys.h"
#include "config/scalar.h"

/* A pattern stands between quotation marks wherever it is written. */
static sol_status take_match(sol_quant_override *row, const sol_yaml *v, sol_err *err)
{
    if (v->size == 0 || v->size >= sizeof row->match)
        return sol_fail(err, SOL_ERR_CONFIG, "match: wants a pattern of 1 to %d characters",
                        SOL_QUANT_MATCH - 1);
    for (size_t i = 0; i < v->size; i++)
        if (v->text[i] <= ' ' || v->text[i] > '~' || strchr("\"'\\", v->text[i]))
            return sol_fail(err, SOL_ERR_CONFIG,
                            "match: no name has what stands at character %zu of the pattern",
                            i + 1);
    memcpy(row->match, v->text, v->size);
    row->match[v->size] = 0;
    return SOL_OK;
}

static sol_status take_method(sol_quant_override *row, const sol_yaml *v, sol_err *err)
{
    row->none = strcmp(v->text, "none") == 0;
    row->method = sol_quantizer_find(v->text);
    if (row->none || row->method) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG,
                    "method: '%.40s' is no quantizer: `solera help config quant` lists them",
                    v->text);
}

static sol_status take_group(sol_quant_override *row, const sol_yaml *v, sol_err *err)
{
    int64_t n = 0;
    sol_err why = {0};
    sol_status st = v->quoted ? SOL_ERR_CONFIG : sol_scalar_int(v->text, &n, &why);
    if (st == SOL_OK && n >= 4 && n <= 1000000000 && n % 4 == 0) {
        row->group_size = (int)n;
        return SOL_OK;
    }
    return sol_fail(err, SOL_ERR_CONFIG,
                    "group_size: '%.40s' is no multiple of 4 from 4 to 1000000000", v->text);
}

static const struct {
    const char *name;
    sol_status (*take)(sol_quant_override *row, const sol_yaml *v, sol_err *err);
} fields[] = {{"match", take_match}, {"method", take_method}, {"group_size", take_group}};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static sol_status take_field(sol_quant_override *row, const sol_yaml *key, const sol_yaml *v,
                             bool seen[N_FIELDS], sol_err *err)
{
    for (int f = 0; f < N_FIELDS; f++) {
        if (strcmp(key->text, fields[f].name) != 0) continue;
        if (seen[f]) return sol_fail(err, SOL_ERR_CONFIG, "%s is there twice", fields[f].name);
        if (v->kind != SOL_YAML_SCALAR)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: wants one value", fields[f].name);
        seen[f] = true;
        return fields[f].take(row, v, err);
    }
    return sol_fail(err, SOL_ERR_CONFIG, "unknown field '%.40s': match, method or group_size",
                    key->text);
}

static sol_status take_row(sol_quant_override *row, const sol_yaml *item, const sol_yaml **at,
                           sol_err *err)
{
    bool seen[N_FIELDS] = {false};
    *row = (sol_quant_override){.none = false};
    *at = item;
    if (item->kind != SOL_YAML_MAPPING)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "wants rows as {match: \"*.down_proj.weight\", group_size: 32}");
    for (int i = 0; i < item->n; i += 2) {
        *at = &item->item[i];
        SOL_TRY(take_field(row, &item->item[i], &item->item[i + 1], seen, err));
    }
    *at = item;
    if (!row->match[0]) return sol_fail(err, SOL_ERR_CONFIG, "a row without match");
    if (row->none && row->group_size)
        return sol_fail(err, SOL_ERR_CONFIG, "'%s': method none has no group_size", row->match);
    if (!row->none && !row->method && !row->group_size)
        return sol_fail(err, SOL_ERR_CONFIG, "'%s': says neither method nor group_size",
                        row->match);
    return SOL_OK;
}

sol_status sol_overrides_read(sol_quant_overrides **o, const sol_yaml *list, const sol_yaml **at,
                              sol_err *err)
{
    *o = NULL;
    *at = list;
    if (list->kind == SOL_YAML_SCALAR && !list->quoted && sol_scalar_null(list->text, list->size))
        return SOL_OK;
    if (list->kind != SOL_YAML_LIST)
        return sol_fail(err, SOL_ERR_CONFIG, "wants a list of rows, [] for none");
    for (int i = 0; i < list->n; i++) {
        sol_quant_override row;
        SOL_TRY(take_row(&row, &list->item[i], at, err));
        SOL_TRY(sol_quant_overrides_add(o, &row, err));
    }
    return SOL_OK;
}
