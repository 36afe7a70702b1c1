/* Which layers a model quantizes in another way, by the pattern of their names. config reads the
 * list from a job, store keeps it as text, and model asks sol_quant_for of every layer. */
#include "quant/overrides.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

sol_status sol_quant_overrides_add(sol_quant_overrides **o, const sol_quant_override *row,
                                   sol_err *err)
{
    if (*o && (*o)->n == SOL_QUANT_MAX_OVERRIDES)
        return sol_fail(err, SOL_ERR_RANGE, "more than %d overrides", SOL_QUANT_MAX_OVERRIDES);
    if (!*o) SOL_TRY(sol_alloc_array((void **)o, 1, sizeof **o, err));
    (*o)->row[(*o)->n++] = *row;
    return SOL_OK;
}

void sol_quant_overrides_free(sol_quant_overrides **o)
{
    sol_free(*o);
    *o = NULL;
}

static sol_status write_row(const sol_quant_override *row, sol_text *t, sol_err *err)
{
    const char *method = row->none ? "none" : row->method ? row->method->name : NULL;
    SOL_TRY(sol_text_add(t, err, "{match: \"%s\"", row->match));
    if (method) SOL_TRY(sol_text_add(t, err, ", method: %s", method));
    if (row->group_size) SOL_TRY(sol_text_add(t, err, ", group_size: %d", row->group_size));
    return sol_text_add(t, err, "}");
}

sol_status sol_quant_overrides_write(const sol_quant_overrides *o, sol_text *t, sol_err *err)
{
    int n = o ? o->n : 0;
    SOL_TRY(sol_text_add(t, err, "["));
    for (int i = 0; i < n; i++) {
        if (i > 0) SOL_TRY(sol_text_add(t, err, ", "));
        SOL_TRY(write_row(&o->row[i], t, err));
    }
    return sol_text_add(t, err, "]");
}

/* Moves *at past `word`, if that is what stands there. */
static bool skip(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

/* Copies what stands before one of the bytes of `end` into out [size]; false: nothing, or too much.
 */
static bool take(const char **at, const char *end, char *out, size_t size)
{
    size_t n = strcspn(*at, end);
    if (n == 0 || n >= size) return false;
    memcpy(out, *at, n);
    out[n] = 0;
    *at += n;
    return true;
}

/* The number of weights of a group, above 0, that the whole text is. */
static bool read_group(const char *text, int *group_size)
{
    char *end;
    long n = strtol(text, &end, 10);
    *group_size = n > 0 && n <= INT_MAX ? (int)n : 0;
    return *end == 0 && *group_size > 0;
}

/* Reads one row as write_row writes it; other forms are for the YAML of a job alone. */
static sol_status parse_row(const char **at, sol_quant_override *row, sol_err *err)
{
    char method[32] = "", group[16] = "";
    *row = (sol_quant_override){.none = false};
    bool right =
        skip(at, "{match: \"") && take(at, "\"", row->match, sizeof row->match) && skip(at, "\"");
    if (right && skip(at, ", method: ")) right = take(at, ",}", method, sizeof method);
    if (right && skip(at, ", group_size: "))
        right = take(at, "}", group, sizeof group) && read_group(group, &row->group_size);
    row->none = strcmp(method, "none") == 0;
    row->method = row->none ? NULL : sol_quantizer_find(method);
    if (!right || !skip(at, "}") || (!method[0] && !group[0]))
        return sol_fail(err, SOL_ERR_FORMAT, "is no list of overrides at '%.40s'", *at);
    if (method[0] && !row->none && !row->method)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "this program has no quantizer '%s'", method);
    return SOL_OK;
}

static sol_status parse_rows(sol_quant_overrides **o, const char *at, sol_err *err)
{
    for (bool more = skip(&at, "["); more; more = skip(&at, ", ")) {
        sol_quant_override row;
        SOL_TRY(parse_row(&at, &row, err));
        SOL_TRY(sol_quant_overrides_add(o, &row, err));
    }
    if (strcmp(at, "]") == 0) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "is no list of overrides at '%.40s'", at);
}

sol_status sol_quant_overrides_parse(sol_quant_overrides **o, const char *text, sol_err *err)
{
    *o = NULL;
    if (strcmp(text, "[]") == 0) return SOL_OK;
    sol_status st = parse_rows(o, text, err);
    if (st != SOL_OK) sol_quant_overrides_free(o);
    return st;
}

const sol_quant_override *sol_quant_override_of(const sol_quant_spec *spec, const char *name)
{
    if (spec->overrides)
        for (int i = 0; i < spec->overrides->n; i++)
            if (fnmatch(spec->overrides->row[i].match, name, 0) == 0)
                return &spec->overrides->row[i];
    return NULL;
}

sol_quant_spec sol_quant_for(const sol_quant_spec *spec, const char *name)
{
    const sol_quant_override *row = sol_quant_override_of(spec, name);
    sol_quant_spec layer = *spec;
    layer.overrides = NULL;
    if (!row) return layer;
    if (row->none) layer.method = NULL;
    if (row->method) layer.method = row->method;
    if (row->group_size) {
        layer.granularity = SOL_PER_GROUP;
        layer.group_size = row->group_size;
    }
    return layer;
}

bool sol_quant_packable(const sol_quant_spec *spec)
{
    if (!spec->method || !spec->method->packable || spec->scale_dtype != SOL_F16) return false;
    int n = spec->overrides ? spec->overrides->n : 0;
    for (int i = 0; i < n; i++) {
        const sol_quantizer *q = spec->overrides->row[i].method;
        if (q && !q->packable) return false;
    }
    return true;
}

bool sol_quant_same(const sol_quant_spec *a, const sol_quant_spec *b)
{
    return a->method == b->method && a->granularity == b->granularity &&
           a->group_size == b->group_size && a->layout == b->layout &&
           a->scale_dtype == b->scale_dtype && a->n == b->n && a->m == b->m;
}

sol_status sol_quant_override_check(const sol_quant_spec *spec, const sol_quant_override *row,
                                    sol_err *err)
{
    const sol_quantizer *q = row->method;
    if (!spec->method)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%s': quant.method none leaves nothing to override", row->match);
    if (!q || q == spec->method) return SOL_OK;
    if (q->n_learned > 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%s': %s learns parameters: it is for all layers or none", row->match,
                        q->name);
    if (q->dead_bias != 0)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "'%s': %s makes biases: it is for all layers or none", row->match, q->name);
    return SOL_OK;
}
