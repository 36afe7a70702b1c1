/* Reads jobs: takes the tree that yaml_read.c makes of a file, sections and keys below them, into a
 * sol_config, on top of the file that it extends. finish.c then checks what spans keys. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "config/keys.h"
#include "config/scalar.h"
#include "config/yaml_read.h"

typedef struct reader {
    sol_config *c;
    int file;                         /* index of c->file */
    sol_config_mark section_mark[64]; /* line 0: not seen yet */
    sol_config_mark seen[SOL_CONFIG_KEYS];
} reader;

#define fail_at(r, at, err, ...) sol_yaml_fail((r)->c->file[(r)->file], at, err, __VA_ARGS__)

static sol_config_mark mark_of(const reader *r, const sol_yaml *n)
{
    return (sol_config_mark){n->line, n->column, r->file};
}

/* A name that may be printed and compared: short, no control characters. */
static bool take_name(char out[64], const sol_yaml *n)
{
    if (n->size == 0 || n->size >= 64) return false;
    for (size_t i = 0; i < n->size; i++)
        if ((unsigned char)n->text[i] < 0x20) return false;
    memcpy(out, n->text, n->size);
    out[n->size] = 0;
    return true;
}

static sol_status unknown_section(const reader *r, const sol_yaml *key, const char *name,
                                  const char *const *names, int n, sol_err *err)
{
    char hint[SOL_HINT];
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        if (strcmp(sol_keys[i].name, name) == 0)
            return fail_at(r, key, err, "unknown section '%s'; did you mean '%s'?", name,
                           sol_keys[i].path);
    return fail_at(r, key, err, "unknown section '%s'%s", name,
                   sol_name_hint(hint, name, names, n, NULL));
}

/* *section: the number of the section that `key` names; it may be there once. */
static sol_status find_section(reader *r, const sol_yaml *key, int *section, sol_err *err)
{
    const char *names[64];
    char name[64];
    int n = sol_key_section_count;
    if (!take_name(name, key)) return fail_at(r, key, err, "this is not the name of a section");
    for (int i = 0; i < n; i++) {
        names[i] = sol_key_sections[i].name;
        if (strcmp(names[i], name) != 0) continue;
        if (r->section_mark[i].line)
            return fail_at(r, key, err, "section '%s' is there twice: first in line %d", name,
                           r->section_mark[i].line);
        r->section_mark[i] = mark_of(r, key);
        *section = i;
        return SOL_OK;
    }
    if (sol_key_find(name) >= 0) {
        char *dot = strchr(name, '.');
        return fail_at(r, key, err, "key '%s': write it as '%s' inside the section '%.*s:'", name,
                       dot + 1, (int)(dot - name), name);
    }
    return unknown_section(r, key, name, names, n, err);
}

/* *index: the number of the key that `key` names in the section; it may be there once. */
static sol_status find_key(reader *r, int section, const sol_yaml *key, int *index, sol_err *err)
{
    char name[64], path[160], hint[SOL_HINT];
    if (!take_name(name, key)) return fail_at(r, key, err, "this is not the name of a key");
    snprintf(path, sizeof path, "%s.%s", sol_key_sections[section].name, name);
    int i = sol_key_find(path);
    if (i < 0)
        return fail_at(r, key, err, "key '%s': unknown key%s", path, sol_key_hint(hint, path));
    if (r->seen[i].line)
        return fail_at(r, key, err, "key '%s': is there twice: first in line %d", path,
                       r->seen[i].line);
    r->seen[i] = mark_of(r, key);
    *index = i;
    return SOL_OK;
}

static sol_status take_list(reader *r, int i, const sol_yaml *value, sol_err *err)
{
    sol_err why = {0};
    const sol_yaml *at = value;
    sol_status st = sol_key_set_list(r->c, i, value, &at, &why);
    if (st == SOL_ERR_NOMEM) return sol_fail(err, st, "%s", why.text);
    if (st != SOL_OK) return fail_at(r, at, err, "key '%s': %s", sol_keys[i].path, why.text);
    r->c->mark[i] = mark_of(r, value);
    return SOL_OK;
}

static sol_status take_key(reader *r, int section, const sol_yaml *key, const sol_yaml *value,
                           sol_err *err)
{
    sol_err why = {0};
    int i = 0;
    sol_status st = find_key(r, section, key, &i, err);
    if (st != SOL_OK) return st;
    if (sol_keys[i].type == SOL_TYPE_OVERRIDES ||
        (sol_keys[i].type == SOL_TYPE_SOURCES && value->kind != SOL_YAML_SCALAR))
        return take_list(r, i, value, err);
    if (value->kind != SOL_YAML_SCALAR)
        return fail_at(r, value, err, "key '%s': wants a value, not a %s", sol_keys[i].path,
                       value->kind == SOL_YAML_MAPPING ? "mapping" : "list");
    st = sol_key_set(r->c, i, value->text, value->size, value->quoted, &why);
    if (st == SOL_ERR_CONFIG)
        return fail_at(r, value, err, "key '%s': %s", sol_keys[i].path, why.text);
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    r->c->mark[i] = mark_of(r, value);
    return SOL_OK;
}

static bool is_nothing(const sol_yaml *n)
{
    return n->kind == SOL_YAML_SCALAR && !n->quoted && sol_scalar_null(n->text, n->size);
}

static bool is_extends(const sol_yaml *key)
{
    return key->kind == SOL_YAML_SCALAR && strcmp(key->text, "extends") == 0;
}

/* Does the first entry name a file that this one extends? */
static bool extends(const sol_yaml *root)
{
    return root->kind == SOL_YAML_MAPPING && root->n > 0 && is_extends(&root->item[0]);
}

static sol_status take_section(reader *r, const sol_yaml *key, const sol_yaml *value, sol_err *err)
{
    int section = 0;
    if (is_extends(key)) return fail_at(r, key, err, "extends: comes first in a file, and once");
    SOL_TRY(find_section(r, key, &section, err));
    if (is_nothing(value)) return SOL_OK; /* "train:" with nothing below */
    if (value->kind == SOL_YAML_LIST) return fail_at(r, value, err, "a list has no place here");
    if (value->kind == SOL_YAML_SCALAR)
        return fail_at(r, value, err, "section '%s': wants keys below it, not a value",
                       sol_key_sections[section].name);
    for (int i = 0; i < value->n; i += 2)
        SOL_TRY(take_key(r, section, &value->item[i], &value->item[i + 1], err));
    return SOL_OK;
}

static sol_status take_root(reader *r, const sol_yaml *root, sol_err *err)
{
    if (is_nothing(root)) return SOL_OK; /* all defaults */
    if (root->kind == SOL_YAML_LIST) return fail_at(r, root, err, "a list has no place here");
    if (root->kind == SOL_YAML_SCALAR)
        return fail_at(r, root, err, "a job file is a mapping of sections, this is a single value");
    for (int i = extends(root) ? 2 : 0; i < root->n; i += 2)
        SOL_TRY(take_section(r, &root->item[i], &root->item[i + 1], err));
    return SOL_OK;
}

/* The text, and before it what it extends; path NULL: it is no file and extends none. */
static sol_status read_text(sol_config *c, const char *name, const char *path, const char *yaml,
                            size_t size, sol_err *err);

static sol_status read_file(sol_config *c, const char *path, sol_err *err)
{
    char *text;
    size_t size;
    sol_status st = sol_yaml_file(path, &text, &size, err);
    if (st == SOL_OK) st = read_text(c, path, path, text, size, err);
    sol_free(text);
    return st;
}

/* Relative to the file that says so, so that both can be moved together. */
static sol_status read_extended(reader *r, const char *path, const sol_yaml *value, sol_err *err)
{
    char base[SOL_PATH_MAX];
    sol_err why = {0};
    if (!path) return fail_at(r, value, err, "extends: a job extends another one only in a file");
    if (value->kind != SOL_YAML_SCALAR || value->size == 0 || strlen(value->text) != value->size)
        return fail_at(r, value, err, "extends: wants the path of a job file");
    if (sol_path_check(value->text, &why) != SOL_OK)
        return fail_at(r, value, err, "extends: %s", why.text);
    if (r->c->n_files == SOL_CONFIG_FILES)
        return fail_at(r, value, err,
                       "extends: is the file number %d in a row: does one extend itself?",
                       SOL_CONFIG_FILES + 1);
    const char *slash = value->text[0] == '/' ? NULL : strrchr(path, '/');
    int folder = slash ? (int)(slash + 1 - path) : 0;
    if (snprintf(base, sizeof base, "%.*s%s", folder, path, value->text) >= (int)sizeof base)
        return fail_at(r, value, err, "extends: the path is too long");
    sol_status st = read_file(r->c, base, &why);
    if (st == SOL_OK) return SOL_OK;
    return st == SOL_ERR_CONFIG || st == SOL_ERR_NOMEM
               ? sol_fail(err, st, "%s", why.text)
               : fail_at(r, value, err, "extends: %s", why.text);
}

static sol_status read_text(sol_config *c, const char *name, const char *path, const char *yaml,
                            size_t size, sol_err *err)
{
    reader r = {.c = c, .file = c->n_files};
    sol_yaml *root = NULL;
    sol_status st = sol_copy_string(&c->file[c->n_files++], name, strlen(name), err);
    if (st == SOL_OK) st = sol_yaml_read(&root, name, "a job file", yaml, size, err);
    if (st == SOL_OK && extends(root)) st = read_extended(&r, path, &root->item[1], err);
    if (st == SOL_OK) st = take_root(&r, root, err);
    sol_yaml_free(&root);
    return st;
}

static sol_status set_defaults(sol_config *c, sol_err *err)
{
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        const char *preset = sol_keys[i].preset;
        SOL_TRY(sol_key_set(c, i, preset, strlen(preset), false, err));
    }
    return SOL_OK;
}

sol_status sol_config_create(sol_config **out, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_status st = set_defaults(*out, err);
    if (st != SOL_OK) sol_config_free(out);
    return st;
}

sol_status sol_config_parse(sol_config **out, const char *name, const char *yaml, size_t size,
                            sol_err *err)
{
    sol_status st = sol_config_create(out, err);
    if (st == SOL_OK) st = read_text(*out, name, NULL, yaml, size, err);
    if (st != SOL_OK) sol_config_free(out);
    return st;
}

sol_status sol_config_read(sol_config **out, const char *path, sol_err *err)
{
    sol_status st = sol_config_create(out, err);
    if (st == SOL_OK) st = read_file(*out, path, err);
    if (st != SOL_OK) sol_config_free(out);
    return st;
}

void sol_config_free(sol_config **c)
{
    if (!*c) return;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++) {
        void *field = (char *)*c + sol_keys[i].offset;
        if (sol_keys[i].type == SOL_TYPE_TEXT) sol_free(*(char **)field);
        if (sol_keys[i].type == SOL_TYPE_OVERRIDES) sol_quant_overrides_free(field);
        if (sol_keys[i].type == SOL_TYPE_SOURCES) sol_sources_free(field);
    }
    for (int i = 0; i < (*c)->n_files; i++) sol_free((*c)->file[i]);
    sol_free(*c);
    *c = NULL;
}

sol_status sol_config_set(sol_config *c, const char *assignment, sol_err *err)
{
    char path[160], hint[SOL_HINT];
    sol_err why = {0};
    size_t n = strcspn(assignment, "=");
    if (!assignment[n] || n == 0 || n >= sizeof path)
        return sol_fail(err, SOL_ERR_CONFIG, "--set %.200s: wants section.key=value", assignment);
    memcpy(path, assignment, n);
    path[n] = 0;
    int i = sol_key_find(path);
    if (i < 0)
        return sol_fail(err, SOL_ERR_CONFIG, "--set %.200s: key '%s': unknown key%s", assignment,
                        path, sol_key_hint(hint, path));
    sol_status st = sol_key_set(c, i, assignment + n + 1, strlen(assignment + n + 1), false, &why);
    if (st == SOL_ERR_CONFIG)
        return sol_fail(err, st, "--set %.200s: key '%s': %s", assignment, path, why.text);
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    c->mark[i] = (sol_config_mark){.line = -1};
    return SOL_OK;
}
