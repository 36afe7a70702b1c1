#include "config/sweep.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { MAX_POINTS = 10000, MAX_SEEDS = 1000 };

typedef struct reader {
    const char *path;
    const sol_sweep_opts *opts;
    yaml_document_t doc;
    sol_sweep *s;
    yaml_node_t *set, *points, *grid, *against; /* NULL: not there */
} reader;

static sol_status fail_at(const reader *r, const yaml_node_t *n, sol_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static sol_status fail_at(const reader *r, const yaml_node_t *n, sol_err *err, const char *fmt, ...)
{
    char text[640];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%zu:%zu: %s", r->path, n->start_mark.line + 1, n->start_mark.column + 1, text);
}

static yaml_node_t *node(reader *r, int index)
{
    return yaml_document_get_node(&r->doc, index);
}

/* The text of a scalar; NULL for anything else, and for one that holds a 0 byte. */
static const char *text_of(const yaml_node_t *n)
{
    if (n->type != YAML_SCALAR_NODE) return NULL;
    const char *s = (const char *)n->data.scalar.value;
    return strlen(s) == n->data.scalar.length ? s : NULL;
}

static int list_length(const yaml_node_t *n)
{
    return (int)(n->data.sequence.items.top - n->data.sequence.items.start);
}

static int pair_count(const yaml_node_t *n)
{
    return n ? (int)(n->data.mapping.pairs.top - n->data.mapping.pairs.start) : 0;
}

static yaml_node_t *pair_key(reader *r, const yaml_node_t *n, int i)
{
    return node(r, n->data.mapping.pairs.start[i].key);
}

static yaml_node_t *pair_value(reader *r, const yaml_node_t *n, int i)
{
    return node(r, n->data.mapping.pairs.start[i].value);
}

static sol_status copy_text(char **out, const char *s, sol_err *err)
{
    return sol_copy_string(out, s, strlen(s), err);
}

/* ---- the single entries ---- */

static sol_status take_text(reader *r, const yaml_node_t *n, char **out, sol_err *err)
{
    const char *s = text_of(n);
    return s && *s ? copy_text(out, s, err) : fail_at(r, n, err, "expected a text");
}

/* Relative to the sweep's own file, so that both can be moved together. */
static sol_status take_base(reader *r, const yaml_node_t *n, sol_err *err)
{
    if (r->opts->base) return copy_text(&r->s->base, r->opts->base, err);
    const char *s = text_of(n), *slash = strrchr(r->path, '/');
    sol_text t = {0};
    if (!s || !*s) return fail_at(r, n, err, "base: expected the path of a job file");
    if (s[0] != '/' && slash) sol_text_add(&t, err, "%.*s", (int)(slash + 1 - r->path), r->path);
    sol_text_add(&t, err, "%s", s);
    r->s->base = t.data;
    return t.status;
}

static bool read_integer(const yaml_node_t *n, int64_t lo, int64_t hi, int64_t *out)
{
    const char *s = text_of(n);
    char *end;
    errno = 0;
    if (!s || !*s) return false;
    *out = strtoll(s, &end, 10);
    return errno == 0 && *end == 0 && *out >= lo && *out <= hi;
}

static sol_status take_bool(reader *r, const yaml_node_t *n, const char *name, bool *out, sol_err *err)
{
    const char *s = text_of(n);
    *out = s && strcmp(s, "true") == 0;
    return *out || (s && strcmp(s, "false") == 0) ? SOL_OK : fail_at(r, n, err, "%s: expected true or false", name);
}

static sol_status take_seeds(reader *r, yaml_node_t *n, sol_err *err)
{
    if (n->type != YAML_SEQUENCE_NODE || list_length(n) < 1 || list_length(n) > MAX_SEEDS)
        return fail_at(r, n, err, "seeds: expected a list of 1 to %d whole numbers", MAX_SEEDS);
    int count = list_length(n);
    sol_status st = sol_alloc_array((void **)&r->s->seed, (size_t)count, sizeof *r->s->seed, err);
    for (int i = 0; st == SOL_OK && i < count; i++) {
        const yaml_node_t *item = node(r, n->data.sequence.items.start[i]);
        if (!read_integer(item, 0, INT64_C(9007199254740991), &r->s->seed[i]))
            return fail_at(r, item, err, "seeds: expected a whole number from 0 to 9007199254740991");
        for (int k = 0; k < i; k++)
            if (r->s->seed[k] == r->s->seed[i]) return fail_at(r, item, err, "seeds: %lld is there twice", (long long)r->s->seed[i]);
        r->s->n_seeds++;
    }
    return st;
}

static sol_status take_measures(reader *r, yaml_node_t *n, sol_err *err)
{
    if (n->type != YAML_SEQUENCE_NODE) return fail_at(r, n, err, "measures: expected a list of names");
    int count = list_length(n);
    sol_status st = sol_alloc_array((void **)&r->s->measure, (size_t)count, sizeof *r->s->measure, err);
    for (; st == SOL_OK && r->s->n_measures < count; r->s->n_measures++)
        st = take_text(r, node(r, n->data.sequence.items.start[r->s->n_measures]), &r->s->measure[r->s->n_measures], err);
    return st;
}

static sol_status take_mapping(reader *r, yaml_node_t *n, const char *name, yaml_node_t **out, sol_err *err)
{
    if (n->type != YAML_MAPPING_NODE) return fail_at(r, n, err, "%s: expected a mapping", name);
    for (int i = 0; i < pair_count(n); i++) {
        const yaml_node_t *key = pair_key(r, n, i);
        const char *s = text_of(key);
        if (!s || !*s) return fail_at(r, key, err, "%s: expected a name", name);
        for (int k = 0; k < i; k++)
            if (strcmp(text_of(pair_key(r, n, k)), s) == 0) return fail_at(r, key, err, "%s: '%s' is there twice", name, s);
    }
    *out = n;
    return SOL_OK;
}

static sol_status take_entry(reader *r, const yaml_node_t *key, yaml_node_t *value, sol_err *err)
{
    static const char *const names[] = {"base", "dir", "seeds", "jobs", "keep_checkpoints", "set", "points", "grid", "against", "measures"};
    const char *name = text_of(key);
    if (!name) return fail_at(r, key, err, "expected a name");
    if (strcmp(name, "base") == 0) return take_base(r, value, err);
    if (strcmp(name, "dir") == 0 && r->opts->dir) return copy_text(&r->s->dir, r->opts->dir, err);
    if (strcmp(name, "dir") == 0) return take_text(r, value, &r->s->dir, err);
    if (strcmp(name, "seeds") == 0) return take_seeds(r, value, err);
    if (strcmp(name, "measures") == 0) return take_measures(r, value, err);
    if (strcmp(name, "set") == 0) return take_mapping(r, value, name, &r->set, err);
    if (strcmp(name, "points") == 0) return take_mapping(r, value, name, &r->points, err);
    if (strcmp(name, "grid") == 0) return take_mapping(r, value, name, &r->grid, err);
    if (strcmp(name, "keep_checkpoints") == 0) return take_bool(r, value, name, &r->s->keep_checkpoints, err);
    if (strcmp(name, "against") == 0) {
        r->against = value;
        return SOL_OK;
    }
    if (strcmp(name, "jobs") == 0)
        return read_integer(value, 1, 1024, &r->s->jobs) ? SOL_OK : fail_at(r, value, err, "jobs: expected a whole number from 1 to 1024");
    const char *near = sol_nearest_name(name, names, (int)(sizeof names / sizeof *names));
    return fail_at(r, key, err, "unknown key '%.60s'%s%s%s", name, near ? "; did you mean '" : ": expected base, dir, seeds, jobs, "
                   "keep_checkpoints, set, points, grid, against or measures", near ? near : "", near ? "'?" : "");
}

static sol_status take_entries(reader *r, sol_err *err)
{
    yaml_node_t *root = yaml_document_get_root_node(&r->doc), *all;
    if (!root) return sol_fail(err, SOL_ERR_CONFIG, "%s: is empty", r->path);
    sol_status st = take_mapping(r, root, "sweep", &all, err);
    for (int i = 0; st == SOL_OK && i < pair_count(root); i++) st = take_entry(r, pair_key(r, root, i), pair_value(r, root, i), err);
    if (st != SOL_OK) return st;
    if (!r->s->base && r->opts->base) st = copy_text(&r->s->base, r->opts->base, err);
    if (st == SOL_OK && !r->s->dir && r->opts->dir) st = copy_text(&r->s->dir, r->opts->dir, err);
    if (st != SOL_OK) return st;
    if (!r->s->base) return sol_fail(err, SOL_ERR_CONFIG, "%s: has no base, the job that is run", r->path);
    if (!r->s->dir) return sol_fail(err, SOL_ERR_CONFIG, "%s: has no dir, where the runs live", r->path);
    if (r->s->n_seeds == 0) return sol_fail(err, SOL_ERR_CONFIG, "%s: has no seeds", r->path);
    return SOL_OK;
}

/* ---- points ---- */

/* One "key: value" as an assignment of the point, tried on the job. */
static sol_status add_setting(reader *r, sol_sweep_point *p, sol_config *c, const yaml_node_t *key, const yaml_node_t *value, sol_err *err)
{
    sol_text t = {0};
    sol_err why = {0};
    const char *name = text_of(key), *v = text_of(value);
    if (!v) return fail_at(r, value, err, "%s: expected one value", name);
    if (strcmp(name, "run.dir") == 0 || strcmp(name, "run.seed") == 0)
        return fail_at(r, key, err, "%s: is set by the sweep, by dir and seeds", name);
    if (sol_text_add(&t, err, "%s=%s", name, v) != SOL_OK) return t.status;
    p->set[p->n_set++] = t.data;
    sol_status st = sol_config_set(c, t.data, &why);
    if (st == SOL_ERR_CONFIG) return fail_at(r, key, err, "%s", strncmp(why.text, "--set ", 6) == 0 ? why.text + 6 : why.text);
    return st == SOL_OK ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

static sol_status add_settings(reader *r, sol_sweep_point *p, sol_config *c, yaml_node_t *mapping, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int i = 0; st == SOL_OK && i < pair_count(mapping); i++)
        st = add_setting(r, p, c, pair_key(r, mapping, i), pair_value(r, mapping, i), err);
    return st;
}

/* "a", "32" become "a_32": letters, digits, dot, plus and minus stay what they are. */
static sol_status make_name(sol_sweep_point *p, int n_cells, sol_err *err)
{
    sol_text t = {0};
    for (int i = 0; i < n_cells; i++) {
        sol_text_add(&t, err, "%s", i ? "_" : "");
        for (const char *s = p->cell[i]; *s; s++)
            sol_text_add(&t, err, "%c", isalnum((unsigned char)*s) || strchr(".+-", *s) ? *s : '-');
    }
    if (n_cells == 0) sol_text_add(&t, err, "job");
    p->name = t.data;
    return t.status;
}

static sol_status check_point(reader *r, const sol_sweep_point *p, sol_config *c, sol_err *err)
{
    sol_err why = {0};
    sol_status st = sol_config_set(c, "run.dir=x", err);
    if (st == SOL_OK && sol_config_finish(c, &why) != SOL_OK)
        st = sol_fail(err, SOL_ERR_CONFIG, "%s: point %s: %s", r->path, p->name, why.text);
    for (const sol_sweep_point *q = r->s->point; st == SOL_OK && q < p; q++)
        if (strcmp(q->name, p->name) == 0)
            st = sol_fail(err, SOL_ERR_CONFIG, "%s: two points would share the directory %s", r->path, p->name);
    return st;
}

/* Those of the command line, whose errors name it. */
static sol_status add_options(reader *r, sol_sweep_point *p, sol_config *c, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int i = 0; st == SOL_OK && i < r->opts->n_set; i++) {
        const char *s = r->opts->set[i];
        if (strncmp(s, "run.dir=", 8) == 0 || strncmp(s, "run.seed=", 9) == 0)
            return sol_fail(err, SOL_ERR_USAGE, "--set %s: is set by the sweep, by dir and seeds", s);
        st = sol_config_set(c, s, err);
        if (st == SOL_OK) st = copy_text(&p->set[p->n_set], s, err);
        if (st == SOL_OK) p->n_set++;
    }
    return st;
}

/* What the list says of the point: its name and its keys, which may be none. */
static sol_status add_listed(reader *r, sol_sweep_point *p, sol_config *c, int which, sol_err *err)
{
    yaml_node_t *keys = pair_value(r, r->points, which);
    const char *nothing = text_of(keys);
    sol_status st = copy_text(&p->cell[0], text_of(pair_key(r, r->points, which)), err);
    if (st != SOL_OK || (nothing && !*nothing)) return st;
    if (keys->type != YAML_MAPPING_NODE) return fail_at(r, keys, err, "points: expected a mapping of keys");
    st = take_mapping(r, keys, "points", &keys, err);
    return st == SOL_OK ? add_settings(r, p, c, keys, err) : st;
}

/* Combination `rest` of the grid, the last key turning fastest. */
static sol_status add_combination(reader *r, sol_sweep_point *p, sol_config *c, int64_t rest, sol_err *err)
{
    sol_status st = SOL_OK;
    int first = r->points ? 1 : 0;
    for (int k = pair_count(r->grid) - 1; st == SOL_OK && k >= 0; k--) {
        yaml_node_t *list = pair_value(r, r->grid, k);
        const yaml_node_t *value = node(r, list->data.sequence.items.start[rest % list_length(list)]);
        rest /= list_length(list);
        st = add_setting(r, p, c, pair_key(r, r->grid, k), value, err);
        if (st == SOL_OK) st = copy_text(&p->cell[first + k], text_of(value), err);
    }
    return st;
}

static int most_settings(reader *r, int which)
{
    const yaml_node_t *listed = r->points ? pair_value(r, r->points, which) : NULL;
    int n = pair_count(r->set) + r->opts->n_set + pair_count(r->grid);
    return n + (listed && listed->type == YAML_MAPPING_NODE ? pair_count(listed) : 0);
}

static sol_status make_point(reader *r, int which, int64_t combination, sol_err *err)
{
    sol_sweep *s = r->s;
    sol_sweep_point *p = &s->point[s->n_points++];
    sol_config *c = NULL;
    sol_status st = sol_config_read(&c, s->base, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&p->cell, (size_t)s->n_columns, sizeof *p->cell, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&p->set, (size_t)most_settings(r, which), sizeof *p->set, err);
    if (st == SOL_OK && r->set) st = add_settings(r, p, c, r->set, err);
    if (st == SOL_OK) st = add_options(r, p, c, err);
    if (st == SOL_OK && r->points) st = add_listed(r, p, c, which, err);
    if (st == SOL_OK) st = add_combination(r, p, c, combination, err);
    if (st == SOL_OK) st = make_name(p, s->n_columns, err);
    if (st == SOL_OK) st = check_point(r, p, c, err);
    sol_config_free(&c);
    return st;
}

static sol_status find_against(reader *r, sol_err *err)
{
    const char *name = r->against ? text_of(r->against) : NULL;
    r->s->against = -1;
    if (!r->against) return SOL_OK;
    for (int i = 0; name && i < r->s->n_points; i++)
        if (strcmp(r->s->point[i].name, name) == 0) r->s->against = i;
    return r->s->against >= 0 ? SOL_OK : fail_at(r, r->against, err, "against: expected the name of a point, as %s", r->s->point[0].name);
}

static sol_status count_grid(reader *r, int64_t *combinations, sol_err *err)
{
    *combinations = 1;
    for (int k = 0; k < pair_count(r->grid); k++) {
        const yaml_node_t *list = pair_value(r, r->grid, k);
        if (list->type != YAML_SEQUENCE_NODE || list_length(list) < 1)
            return fail_at(r, list, err, "grid: %s: expected a list of values", text_of(pair_key(r, r->grid, k)));
        *combinations *= list_length(list);
        if (*combinations > MAX_POINTS) return fail_at(r, list, err, "grid: has more than %d combinations", MAX_POINTS);
    }
    return SOL_OK;
}

static sol_status make_points(reader *r, sol_err *err)
{
    sol_sweep *s = r->s;
    int64_t combinations = 1;
    int listed = r->points ? pair_count(r->points) : 1, n_grid = pair_count(r->grid);
    if (listed == 0) return fail_at(r, r->points, err, "points: is empty");
    sol_status st = count_grid(r, &combinations, err);
    if (st == SOL_OK && listed * combinations > MAX_POINTS)
        st = fail_at(r, r->points, err, "points: with the grid there are more than %d", MAX_POINTS);
    if (st == SOL_OK) st = sol_alloc_array((void **)&s->column, (size_t)n_grid + 1, sizeof *s->column, err);
    if (st == SOL_OK && r->points) st = copy_text(&s->column[s->n_columns++], "point", err);
    for (int k = 0; st == SOL_OK && k < n_grid; k++) st = copy_text(&s->column[s->n_columns++], text_of(pair_key(r, r->grid, k)), err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&s->point, (size_t)(listed * combinations), sizeof *s->point, err);
    for (int i = 0; st == SOL_OK && i < listed; i++)
        for (int64_t k = 0; st == SOL_OK && k < combinations; k++) st = make_point(r, i, k, err);
    return st == SOL_OK ? find_against(r, err) : st;
}

/* ---- reading ---- */

static sol_status parser_error(const char *path, const yaml_parser_t *p, sol_err *err)
{
    if (p->error == YAML_MEMORY_ERROR) return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory while parsing", path);
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%zu:%zu: not YAML: %s", path, p->problem_mark.line + 1, p->problem_mark.column + 1,
                    p->problem ? p->problem : "unknown problem");
}

static sol_status parse(reader *r, const char *text, size_t size, sol_err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", r->path);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    sol_status st = SOL_OK;
    if (!yaml_parser_load(&parser, &r->doc)) {
        st = parser_error(r->path, &parser, err);
    } else {
        st = take_entries(r, err);
        if (st == SOL_OK) st = make_points(r, err);
        yaml_document_delete(&r->doc);
    }
    yaml_parser_delete(&parser);
    return st;
}

sol_status sol_sweep_read(sol_sweep **out, const char *path, const sol_sweep_opts *o, sol_err *err)
{
    reader r = {.path = path, .opts = o ? o : &(sol_sweep_opts){0}};
    char *text = NULL;
    size_t size;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&r.s, 1, sizeof *r.s, err);
    if (st != SOL_OK) return st;
    r.s->jobs = 1;
    r.s->keep_checkpoints = true;
    st = sol_file_read(path, &text, &size, err);
    if (st == SOL_OK) st = parse(&r, text, size, err);
    if (st == SOL_OK && r.opts->jobs > 0) r.s->jobs = r.opts->jobs;
    sol_free(text);
    if (st != SOL_OK) sol_sweep_free(&r.s);
    *out = r.s;
    return st;
}

static void free_texts(char **text, int n)
{
    for (int i = 0; text && i < n; i++) sol_free(text[i]);
    sol_free(text);
}

void sol_sweep_free(sol_sweep **sp)
{
    sol_sweep *s = *sp;
    if (!s) return;
    for (int i = 0; i < s->n_points; i++) {
        sol_sweep_point *p = &s->point[i];
        free_texts(p->cell, s->n_columns);
        free_texts(p->set, p->n_set);
        sol_free(p->name);
    }
    sol_free(s->point);
    free_texts(s->column, s->n_columns);
    free_texts(s->measure, s->n_measures);
    sol_free(s->seed);
    sol_free(s->base);
    sol_free(s->dir);
    sol_free(s);
    *sp = NULL;
}

sol_status sol_sweep_job(const sol_sweep *s, int p, int seed, sol_config **c, sol_err *err)
{
    char text[64];
    sol_text dir = {0};
    sol_status st = sol_config_read(c, s->base, err);
    for (int i = 0; st == SOL_OK && i < s->point[p].n_set; i++) st = sol_config_set(*c, s->point[p].set[i], err);
    if (st == SOL_OK) st = sol_text_add(&dir, err, "run.dir=%s/%s/seed-%lld", s->dir, s->point[p].name, (long long)s->seed[seed]);
    if (st == SOL_OK) st = sol_config_set(*c, dir.data, err);
    snprintf(text, sizeof text, "run.seed=%lld", (long long)s->seed[seed]);
    if (st == SOL_OK) st = sol_config_set(*c, text, err);
    if (st == SOL_OK) st = sol_config_finish(*c, err);
    if (st != SOL_OK) sol_config_free(c);
    sol_free(dir.data);
    return st;
}
