/* Reads the files of data.train, one or a list with weights, for parse.c from a job and for keys.c
 * from one line of --set or of a sweep. */
#include <string.h>

#include "base/mem.h"
#include "config/keys.h"
#include "config/scalar.h"

void sol_sources_free(sol_sources **s)
{
    if (*s)
        for (int i = 0; i < (*s)->n; i++) sol_free((*s)->row[i].path);
    sol_free(*s);
    *s = NULL;
}

sol_status sol_sources_add(sol_sources **s, const char *path, size_t size, double weight,
                           sol_err *err)
{
    char *copy;
    if (*s && (*s)->n == SOL_MIX_MAX)
        return sol_fail(err, SOL_ERR_CONFIG, "more than %d files", SOL_MIX_MAX);
    if (!*s) SOL_TRY(sol_alloc_array((void **)s, 1, sizeof **s, err));
    SOL_TRY(sol_key_copy_path(&copy, path, size, err));
    (*s)->row[(*s)->n].path = copy;
    (*s)->row[(*s)->n++].weight = weight;
    for (int i = 0; i + 1 < (*s)->n; i++)
        if (strcmp((*s)->row[i].path, copy) == 0)
            return sol_fail(err, SOL_ERR_CONFIG, "%s is there twice", copy);
    return SOL_OK;
}

static sol_status take_weight(const sol_yaml *v, double *weight, sol_err *err)
{
    static const double largest = 1e9;
    sol_err why = {0};
    sol_status st = v->quoted ? SOL_ERR_CONFIG : sol_scalar_real(v->text, weight, &why);
    if (st == SOL_OK && *weight > 0 && *weight <= largest) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG, "weight: '%.40s' is no number above 0, to %g", v->text,
                    largest);
}

static sol_status take_mapping(sol_sources **s, const sol_yaml *row, const sol_yaml **at,
                               sol_err *err)
{
    const sol_yaml *path = NULL, *weight = NULL;
    double w = 1;
    for (int i = 0; i < row->n; i += 2) {
        const sol_yaml *key = *at = &row->item[i], *value = &row->item[i + 1];
        const sol_yaml **field = strcmp(key->text, "path") == 0     ? &path
                                 : strcmp(key->text, "weight") == 0 ? &weight
                                                                    : NULL;
        if (!field)
            return sol_fail(err, SOL_ERR_CONFIG, "unknown field '%.40s': path or weight",
                            key->text);
        if (*field) return sol_fail(err, SOL_ERR_CONFIG, "%s is there twice", key->text);
        if (value->kind != SOL_YAML_SCALAR)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: wants one value", key->text);
        *field = value;
    }
    *at = row;
    if (!path || path->size == 0) return sol_fail(err, SOL_ERR_CONFIG, "a row without path");
    if (weight) {
        *at = weight;
        SOL_TRY(take_weight(weight, &w, err));
    }
    *at = path;
    return sol_sources_add(s, path->text, path->size, w, err);
}

sol_status sol_sources_read(sol_sources **s, const sol_yaml *list, const sol_yaml **at,
                            sol_err *err)
{
    *at = list;
    if (list->kind != SOL_YAML_LIST || list->n == 0)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "wants a file, or a list of files as [{path: a.h5, weight: 3}, b.h5]");
    for (int i = 0; i < list->n; i++) {
        const sol_yaml *row = *at = &list->item[i];
        if (row->kind == SOL_YAML_LIST || (row->kind == SOL_YAML_SCALAR && row->size == 0))
            return sol_fail(err, SOL_ERR_CONFIG, "wants rows as {path: a.h5, weight: 3}");
        SOL_TRY(row->kind == SOL_YAML_MAPPING ? take_mapping(s, row, at, err)
                                              : sol_sources_add(s, row->text, row->size, 1, err));
    }
    return SOL_OK;
}
