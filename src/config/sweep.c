/* Reads a sweep file, multiplies its points and grid out, and checks the job of every point.
 * train/sweep_runs.c runs them. */
#include "config/sweep.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/scalar.h"
#include "config/yaml_read.h"

enum { MAX_POINTS = 10000, MAX_SEEDS = 1000, MAX_PAIRS = 10000, MAX_NAME = 200 };

typedef struct reader {
    const char *path;
    const sol_sweep_opts *opts;
    sol_sweep *s;
    const sol_yaml *set, *points, *grid, *against; /* NULL: not there */
} reader;

#define fail_at(r, at, err, ...) sol_yaml_fail((r)->path, at, err, __VA_ARGS__)

/* The text of a scalar; NULL for anything else, and for one that holds a 0 byte. */
static const char *text_of(const sol_yaml *n)
{
    return n->kind == SOL_YAML_SCALAR && strlen(n->text) == n->size ? n->text : NULL;
}

static int pair_count(const sol_yaml *n)
{
    return n ? n->n / 2 : 0;
}

static const sol_yaml *pair_key(const sol_yaml *n, int i)
{
    return &n->item[2 * i];
}

static const sol_yaml *pair_value(const sol_yaml *n, int i)
{
    return &n->item[2 * i + 1];
}

static void free_texts(char **text, int n)
{
    if (text)
        for (int i = 0; i < n; i++) sol_free(text[i]);
    sol_free(text);
}

static sol_status copy_text(char **out, const char *s, sol_err *err)
{
    return sol_copy_string(out, s, strlen(s), err);
}

/* ---- the single entries ---- */

static sol_status take_text(reader *r, const sol_yaml *n, char **out, sol_err *err)
{
    const char *s = text_of(n);
    return s && *s ? copy_text(out, s, err) : fail_at(r, n, err, "expected a text");
}

static sol_status take_path(reader *r, const sol_yaml *n, const char *name, const char *what,
                            sol_err *err)
{
    sol_err why = {0};
    const char *s = text_of(n);
    if (!s || !*s) return fail_at(r, n, err, "%s: expected %s", name, what);
    return sol_path_check(s, &why) == SOL_OK ? SOL_OK
                                             : fail_at(r, n, err, "%s: %s", name, why.text);
}

/* Relative to the sweep's own file, so that both can be moved together. */
static sol_status take_base(reader *r, const sol_yaml *n, sol_err *err)
{
    if (r->opts->base) return copy_text(&r->s->base, r->opts->base, err);
    const char *s = text_of(n), *slash = strrchr(r->path, '/');
    sol_text t = {0};
    SOL_TRY(take_path(r, n, "base", "the path of a job file", err));
    if (s[0] != '/' && slash) sol_text_add(&t, err, "%.*s", (int)(slash + 1 - r->path), r->path);
    sol_text_add(&t, err, "%s", s);
    r->s->base = t.data;
    return t.status;
}

static bool read_integer(const sol_yaml *n, int64_t lo, int64_t hi, int64_t *out)
{
    const char *s = n->quoted ? NULL : text_of(n);
    return s && sol_scalar_int(s, out, NULL) == SOL_OK && *out >= lo && *out <= hi;
}

static sol_status take_bool(reader *r, const sol_yaml *n, const char *name, bool *out, sol_err *err)
{
    const char *s = n->quoted ? NULL : text_of(n);
    return s && sol_scalar_bool(s, out, NULL) == SOL_OK
               ? SOL_OK
               : fail_at(r, n, err, "%s: expected true or false", name);
}

static sol_status take_seeds(reader *r, const sol_yaml *n, sol_err *err)
{
    if (n->kind != SOL_YAML_LIST || n->n < 1 || n->n > MAX_SEEDS)
        return fail_at(r, n, err, "seeds: expected a list of 1 to %d whole numbers", MAX_SEEDS);
    int count = n->n;
    SOL_TRY(sol_alloc_array((void **)&r->s->seed, (size_t)count, sizeof *r->s->seed, err));
    for (int i = 0; i < count; i++) {
        const sol_yaml *item = &n->item[i];
        if (!read_integer(item, 0, INT64_C(9007199254740991), &r->s->seed[i]))
            return fail_at(r, item, err,
                           "seeds: expected a whole number from 0 to 9007199254740991");
        for (int k = 0; k < i; k++)
            if (r->s->seed[k] == r->s->seed[i])
                return fail_at(r, item, err, "seeds: %lld is there twice",
                               (long long)r->s->seed[i]);
        r->s->n_seeds++;
    }
    return SOL_OK;
}

static sol_status take_measures(reader *r, const sol_yaml *n, sol_err *err)
{
    if (n->kind != SOL_YAML_LIST || n->n > MAX_SEEDS)
        return fail_at(r, n, err, "measures: expected a list of names");
    int count = n->n;
    SOL_TRY(sol_alloc_array((void **)&r->s->measure, (size_t)count, sizeof *r->s->measure, err));
    for (int i = 0; i < count; i++) {
        SOL_TRY(take_text(r, &n->item[i], &r->s->measure[i], err));
        r->s->n_measures++;
    }
    return SOL_OK;
}

static sol_status take_mapping(reader *r, const sol_yaml *n, const char *name, const sol_yaml **out,
                               sol_err *err)
{
    if (n->kind != SOL_YAML_MAPPING) return fail_at(r, n, err, "%s: expected a mapping", name);
    if (pair_count(n) > MAX_PAIRS)
        return fail_at(r, n, err, "%s: has more than %d entries", name, MAX_PAIRS);
    for (int i = 0; i < pair_count(n); i++) {
        const sol_yaml *key = pair_key(n, i);
        const char *s = text_of(key);
        if (!s || !*s) return fail_at(r, key, err, "%s: expected a name", name);
        for (int k = 0; k < i; k++)
            if (strcmp(text_of(pair_key(n, k)), s) == 0)
                return fail_at(r, key, err, "%s: '%s' is there twice", name, s);
    }
    *out = n;
    return SOL_OK;
}

static sol_status take_entry(reader *r, const sol_yaml *key, const sol_yaml *value, sol_err *err)
{
    static const char *const names[] = {"base", "dir",    "seeds", "jobs",    "keep_checkpoints",
                                        "set",  "points", "grid",  "against", "measures"};
    const char *name = text_of(key);
    char hint[SOL_HINT];
    if (!name) return fail_at(r, key, err, "expected a name");
    if (strcmp(name, "base") == 0) return take_base(r, value, err);
    if (strcmp(name, "dir") == 0 && r->opts->dir) return copy_text(&r->s->dir, r->opts->dir, err);
    if (strcmp(name, "dir") == 0) {
        SOL_TRY(take_path(r, value, name, "the path of a directory", err));
        return copy_text(&r->s->dir, text_of(value), err);
    }
    if (strcmp(name, "seeds") == 0) return take_seeds(r, value, err);
    if (strcmp(name, "measures") == 0) return take_measures(r, value, err);
    if (strcmp(name, "set") == 0) return take_mapping(r, value, name, &r->set, err);
    if (strcmp(name, "points") == 0) return take_mapping(r, value, name, &r->points, err);
    if (strcmp(name, "grid") == 0) return take_mapping(r, value, name, &r->grid, err);
    if (strcmp(name, "keep_checkpoints") == 0)
        return take_bool(r, value, name, &r->s->keep_checkpoints, err);
    if (strcmp(name, "against") == 0) {
        r->against = value;
        return SOL_OK;
    }
    if (strcmp(name, "jobs") == 0)
        return read_integer(value, 1, 1024, &r->s->jobs)
                   ? SOL_OK
                   : fail_at(r, value, err, "jobs: expected a whole number from 1 to 1024");
    return fail_at(r, key, err, "unknown key '%.60s'%s", name,
                   sol_name_hint(hint, name, names, (int)(sizeof names / sizeof *names), NULL));
}

static sol_status take_entries(reader *r, const sol_yaml *root, sol_err *err)
{
    const sol_yaml *all;
    if (root->kind == SOL_YAML_SCALAR && root->size == 0)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: is empty", r->path);
    SOL_TRY(take_mapping(r, root, "sweep", &all, err));
    for (int i = 0; i < pair_count(root); i++)
        SOL_TRY(take_entry(r, pair_key(root, i), pair_value(root, i), err));
    if (!r->s->base && r->opts->base) SOL_TRY(copy_text(&r->s->base, r->opts->base, err));
    if (!r->s->dir && r->opts->dir) SOL_TRY(copy_text(&r->s->dir, r->opts->dir, err));
    if (!r->s->base)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: has no base, the job that is run", r->path);
    if (!r->s->dir)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: has no dir, where the runs live", r->path);
    if (r->s->n_seeds == 0) return sol_fail(err, SOL_ERR_CONFIG, "%s: has no seeds", r->path);
    return SOL_OK;
}

/* ---- points ---- */

/* A run gets its keys on a command line, where there are no quotes. */
static sol_status check_quoted(reader *r, sol_config *c, const char *name, const sol_yaml *value,
                               sol_err *err)
{
    sol_err why = {0};
    int i = sol_key_find(name);
    if (i < 0 || !value->quoted) return SOL_OK; /* an unknown key is refused next */
    if (value->size > 0 && sol_scalar_null(value->text, value->size))
        return fail_at(r, value, err, "%s: the text \"%s\" cannot be set by a sweep", name,
                       value->text);
    sol_status st = sol_key_set(c, i, value->text, value->size, true, &why);
    return st == SOL_ERR_CONFIG ? fail_at(r, value, err, "%s: %s", name, why.text)
           : st == SOL_OK       ? SOL_OK
                                : sol_fail(err, st, "%s", why.text);
}

/* One "key: value" as an assignment of the point, tried on the job. */
static sol_status add_setting(reader *r, sol_sweep_point *p, sol_config *c, const sol_yaml *key,
                              const sol_yaml *value, sol_err *err)
{
    sol_text t = {0};
    sol_err why = {0};
    const char *name = text_of(key), *v = text_of(value);
    if (!v) return fail_at(r, value, err, "%s: expected one value", name);
    if (strcmp(name, "run.dir") == 0 || strcmp(name, "run.seed") == 0)
        return fail_at(r, key, err, "%s: is set by the sweep, by dir and seeds", name);
    sol_status st = check_quoted(r, c, name, value, err);
    if (st != SOL_OK) return st;
    if (sol_text_add(&t, err, "%s=%s", name, v) != SOL_OK) return t.status;
    p->set[p->n_set++] = t.data;
    st = sol_config_set(c, t.data, &why);
    if (st == SOL_ERR_CONFIG)
        return fail_at(r, key, err, "%s",
                       strncmp(why.text, "--set ", 6) == 0 ? why.text + 6 : why.text);
    return st == SOL_OK ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

static sol_status add_settings(reader *r, sol_sweep_point *p, sol_config *c,
                               const sol_yaml *mapping, sol_err *err)
{
    for (int i = 0; i < pair_count(mapping); i++)
        SOL_TRY(add_setting(r, p, c, pair_key(mapping, i), pair_value(mapping, i), err));
    return SOL_OK;
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

/* The directory of the point, beside the tables. */
static sol_status check_name(const reader *r, const char *name, sol_err *err)
{
    static const char *const taken[] = {".",
                                        "..",
                                        "table.md",
                                        "table.csv",
                                        "table.md.tmp",
                                        "table.csv.tmp",
                                        "index.html",
                                        "index.html.tmp"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcasecmp(name, taken[i]) == 0)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: a point cannot have the directory '%s'",
                            r->path, name);
    if (strlen(name) <= MAX_NAME) return SOL_OK;
    return sol_fail(
        err, SOL_ERR_CONFIG,
        "%s: the directory of a point would have a name of %zu bytes, %.40s..., more than %d",
        r->path, strlen(name), name, MAX_NAME);
}

static sol_status check_point(reader *r, const sol_sweep_point *p, sol_config *c, sol_err *err)
{
    sol_err why = {0};
    SOL_TRY(sol_config_set(c, "run.dir=x", err));
    if (sol_config_finish(c, &why) != SOL_OK)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: point %s: %s", r->path, p->name, why.text);
    for (const sol_sweep_point *q = r->s->point; q < p; q++)
        if (strcasecmp(q->name, p->name) == 0)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: two points would share the directory %s%s",
                            r->path, p->name,
                            strcmp(q->name, p->name) == 0 ? ""
                                                          : " where capital letters do not count");
    return check_name(r, p->name, err);
}

/* Those of the command line, whose errors name it. */
static sol_status add_options(reader *r, sol_sweep_point *p, sol_config *c, sol_err *err)
{
    for (int i = 0; i < r->opts->n_set; i++) {
        const char *s = r->opts->set[i];
        if (strncmp(s, "run.dir=", 8) == 0 || strncmp(s, "run.seed=", 9) == 0)
            return sol_fail(err, SOL_ERR_USAGE, "--set %s: is set by the sweep, by dir and seeds",
                            s);
        SOL_TRY(sol_config_set(c, s, err));
        SOL_TRY(copy_text(&p->set[p->n_set], s, err));
        p->n_set++;
    }
    return SOL_OK;
}

/* What would break a row of the table. */
static bool is_cell(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127 || *s == '|') return false;
    return true;
}

/* A name that tells nothing apart or leads elsewhere is a slip. */
static sol_status check_listed_name(reader *r, const sol_yaml *key, sol_err *err)
{
    const char *name = text_of(key);
    if (!is_cell(name) || name[strcspn(name, "/\\")])
        return fail_at(r, key, err,
                       "points: '%.60s': a name holds no slash, no bar and no control character",
                       name);
    return strspn(name, ".") == strlen(name)
               ? fail_at(r, key, err, "points: '%.60s' is no name of a directory", name)
               : SOL_OK;
}

/* What the list says of the point: its name and its keys, which may be none. */
static sol_status add_listed(reader *r, sol_sweep_point *p, sol_config *c, int which, sol_err *err)
{
    const sol_yaml *keys = pair_value(r->points, which);
    const char *nothing = text_of(keys);
    SOL_TRY(check_listed_name(r, pair_key(r->points, which), err));
    SOL_TRY(copy_text(&p->cell[0], text_of(pair_key(r->points, which)), err));
    if ((nothing && !keys->quoted && sol_scalar_null(nothing, keys->size))) return SOL_OK;
    if (keys->kind != SOL_YAML_MAPPING)
        return fail_at(r, keys, err, "points: expected a mapping of keys");
    SOL_TRY(take_mapping(r, keys, "points", &keys, err));
    return add_settings(r, p, c, keys, err);
}

/* Combination `rest` of the grid, the last key turning fastest. */
static sol_status add_combination(reader *r, sol_sweep_point *p, sol_config *c, int64_t rest,
                                  sol_err *err)
{
    int first = r->points ? 1 : 0;
    for (int k = pair_count(r->grid) - 1; k >= 0; k--) {
        const sol_yaml *list = pair_value(r->grid, k);
        const sol_yaml *value = &list->item[rest % list->n];
        rest /= list->n;
        if (text_of(value) && !is_cell(text_of(value)))
            return fail_at(r, value, err,
                           "grid: '%.60s': a value holds no bar and no control character",
                           text_of(value));
        SOL_TRY(add_setting(r, p, c, pair_key(r->grid, k), value, err));
        SOL_TRY(copy_text(&p->cell[first + k], text_of(value), err));
    }
    return SOL_OK;
}

/* The assignments that a point can have: those of set, the command line, the grid and the list. */
static int max_settings(const reader *r, int which)
{
    const sol_yaml *listed = r->points ? pair_value(r->points, which) : NULL;
    int n = pair_count(r->set) + r->opts->n_set + pair_count(r->grid);
    return n + (listed && listed->kind == SOL_YAML_MAPPING ? pair_count(listed) : 0);
}

/* Fills a point: entry `which` of the list with one combination of the grid, tried on the job c. */
static sol_status fill_point(reader *r, sol_sweep_point *p, sol_config *c, int which,
                             int64_t combination, sol_err *err)
{
    size_t columns = (size_t)r->s->n_columns, settings = (size_t)max_settings(r, which);
    SOL_TRY(sol_alloc_array((void **)&p->cell, columns, sizeof *p->cell, err));
    SOL_TRY(sol_alloc_array((void **)&p->set, settings, sizeof *p->set, err));
    if (r->set) SOL_TRY(add_settings(r, p, c, r->set, err));
    SOL_TRY(add_options(r, p, c, err));
    if (r->points) SOL_TRY(add_listed(r, p, c, which, err));
    SOL_TRY(add_combination(r, p, c, combination, err));
    SOL_TRY(make_name(p, r->s->n_columns, err));
    return check_point(r, p, c, err);
}

static sol_status make_point(reader *r, int which, int64_t combination, sol_err *err)
{
    sol_sweep *s = r->s;
    sol_sweep_point *p = &s->point[s->n_points++];
    sol_config *c;
    SOL_TRY(sol_config_read(&c, s->base, err));
    sol_status st = fill_point(r, p, c, which, combination, err);
    sol_config_free(&c);
    return st;
}

static sol_status find_against(reader *r, sol_err *err)
{
    const char *name = r->against ? text_of(r->against) : NULL;
    r->s->against = -1;
    if (!r->against) return SOL_OK;
    if (name)
        for (int i = 0; i < r->s->n_points; i++)
            if (strcmp(r->s->point[i].name, name) == 0) r->s->against = i;
    return r->s->against >= 0
               ? SOL_OK
               : fail_at(r, r->against, err, "against: expected the name of a point, as %s",
                         r->s->point[0].name);
}

static sol_status count_grid(reader *r, int64_t *combinations, sol_err *err)
{
    *combinations = 1;
    for (int k = 0; k < pair_count(r->grid); k++) {
        const sol_yaml *list = pair_value(r->grid, k);
        if (list->kind != SOL_YAML_LIST || list->n < 1)
            return fail_at(r, list, err, "grid: %s: expected a list of values",
                           text_of(pair_key(r->grid, k)));
        *combinations *= list->n;
        if (*combinations > MAX_POINTS)
            return fail_at(r, list, err, "grid: has more than %d combinations", MAX_POINTS);
    }
    return SOL_OK;
}

/* *text: what the value of a grid means, as a job has it written; NULL for one that no key takes,
 * which is refused where its point is made. Owned by the caller. */
static sol_status meaning_of(sol_config *c, int key, const sol_yaml *value, char **text,
                             sol_err *err)
{
    sol_text t = {0};
    sol_err why = {0};
    *text = NULL;
    if (key < 0 || !text_of(value)) return SOL_OK;
    sol_status st = sol_key_set(c, key, value->text, value->size, value->quoted, &why);
    if (st != SOL_OK) return st == SOL_ERR_NOMEM ? sol_fail(err, st, "%s", why.text) : SOL_OK;
    st = sol_key_add_value(&t, c, key, err);
    *text = t.data;
    return st;
}

/* Two spellings of one value, as 0.001 and 1e-3, would be the same run twice. meaning [list->n]:
 * freed by the caller. */
static sol_status compare_values(reader *r, sol_config *c, const char *name, const sol_yaml *list,
                                 char **meaning, sol_err *err)
{
    int key = sol_key_find(name);
    for (int i = 0; i < list->n; i++) {
        SOL_TRY(meaning_of(c, key, &list->item[i], &meaning[i], err));
        for (int k = 0; k < i && meaning[i]; k++)
            if (meaning[k] && strcmp(meaning[k], meaning[i]) == 0)
                return fail_at(r, &list->item[i], err,
                               "grid: %s: %.60s and %.60s are the same value: take one of them out",
                               name, list->item[k].text, list->item[i].text);
    }
    return SOL_OK;
}

static sol_status check_grid(reader *r, sol_err *err)
{
    sol_config *c = NULL;
    sol_status st = r->grid ? sol_config_create(&c, err) : SOL_OK;
    for (int k = 0; k < pair_count(r->grid); k++) {
        const sol_yaml *list = pair_value(r->grid, k);
        char **meaning = NULL;
        if (st != SOL_OK) break;
        st = sol_alloc_array((void **)&meaning, (size_t)list->n, sizeof *meaning, err);
        if (st == SOL_OK)
            st = compare_values(r, c, text_of(pair_key(r->grid, k)), list, meaning, err);
        free_texts(meaning, list->n);
    }
    sol_config_free(&c);
    return st;
}

static sol_status make_points(reader *r, sol_err *err)
{
    sol_sweep *s = r->s;
    int64_t combinations = 1;
    int listed = r->points ? pair_count(r->points) : 1, n_grid = pair_count(r->grid);
    if (listed == 0) return fail_at(r, r->points, err, "points: is empty");
    SOL_TRY(count_grid(r, &combinations, err));
    SOL_TRY(check_grid(r, err));
    if (listed * combinations > MAX_POINTS)
        SOL_TRY(
            fail_at(r, r->points, err, "points: with the grid there are more than %d", MAX_POINTS));
    SOL_TRY(sol_alloc_array((void **)&s->column, (size_t)n_grid + 1, sizeof *s->column, err));
    if (r->points) SOL_TRY(copy_text(&s->column[s->n_columns++], "point", err));
    for (int k = 0; k < n_grid; k++)
        SOL_TRY(copy_text(&s->column[s->n_columns++], text_of(pair_key(r->grid, k)), err));
    SOL_TRY(sol_alloc_array((void **)&s->point, (size_t)(listed * combinations), sizeof *s->point,
                            err));
    for (int i = 0; i < listed; i++)
        for (int64_t k = 0; k < combinations; k++) SOL_TRY(make_point(r, i, k, err));
    return find_against(r, err);
}

/* ---- reading ---- */

static sol_status read_tree(reader *r, const sol_yaml *root, sol_err *err)
{
    r->s->jobs = 1;
    r->s->keep_checkpoints = true;
    SOL_TRY(take_entries(r, root, err));
    SOL_TRY(make_points(r, err));
    if (r->opts->jobs > 0) r->s->jobs = r->opts->jobs;
    return SOL_OK;
}

sol_status sol_sweep_read(sol_sweep **out, const char *path, const sol_sweep_opts *o, sol_err *err)
{
    reader r = {.path = path, .opts = o ? o : &(sol_sweep_opts){0}};
    char *text = NULL;
    size_t size;
    sol_yaml *root = NULL;
    *out = NULL;
    SOL_TRY(sol_alloc_array((void **)&r.s, 1, sizeof *r.s, err));
    sol_status st = sol_yaml_file(path, &text, &size, err);
    if (st == SOL_OK) st = sol_yaml_read(&root, path, "a sweep", text, size, err);
    if (st == SOL_OK) st = read_tree(&r, root, err);
    sol_yaml_free(&root);
    sol_free(text);
    if (st != SOL_OK) sol_sweep_free(&r.s);
    *out = r.s;
    return st;
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

/* Makes the job c that of one run of a point; `dir` is freed by the caller. */
static sol_status set_run(const sol_sweep *s, const sol_sweep_point *p, int64_t seed, sol_config *c,
                          sol_text *dir, sol_err *err)
{
    char text[64];
    for (int i = 0; i < p->n_set; i++) SOL_TRY(sol_config_set(c, p->set[i], err));
    SOL_TRY(sol_text_add(dir, err, "run.dir=%s/%s/seed-%lld", s->dir, p->name, (long long)seed));
    SOL_TRY(sol_config_set(c, dir->data, err));
    snprintf(text, sizeof text, "run.seed=%lld", (long long)seed);
    SOL_TRY(sol_config_set(c, text, err));
    return sol_config_finish(c, err);
}

sol_status sol_sweep_job(const sol_sweep *s, int p, int seed, sol_config **c, sol_err *err)
{
    sol_text dir = {0};
    SOL_TRY(sol_config_read(c, s->base, err));
    sol_status st = set_run(s, &s->point[p], s->seed[seed], *c, &dir, err);
    if (st != SOL_OK) sol_config_free(c);
    sol_free(dir.data);
    return st;
}
