/* Reading: libyaml's events, each with its place. The grammar we take is two levels deep, so that one state machine
 * does. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"
#include "config/keys.h"

typedef struct reader {
    sol_config *c;
    yaml_parser_t parser;
    char section[64]; /* open section; empty: between sections */
    char key[64];     /* key whose value comes next; empty: none */
    yaml_mark_t key_mark;
    int depth; /* 0 outside, 1 in the root mapping, 2 in a section */
    int documents;
    sol_config_mark section_mark[64]; /* line 0: not seen yet */
    sol_config_mark seen[SOL_CONFIG_KEYS];
} reader;

static sol_status fail_at(const reader *r, yaml_mark_t m, sol_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static sol_status fail_at(const reader *r, yaml_mark_t m, sol_err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%zu:%zu: %s", r->c->file, m.line + 1, m.column + 1, text);
}

/* A name that may be printed and compared: short, no control characters. */
static bool take_name(char out[64], const yaml_event_t *e)
{
    size_t n = e->data.scalar.length;
    if (n == 0 || n >= 64) return false;
    for (size_t i = 0; i < n; i++)
        if (e->data.scalar.value[i] < 0x20) return false;
    memcpy(out, e->data.scalar.value, n);
    out[n] = 0;
    return true;
}

static sol_status open_section(reader *r, const yaml_event_t *e, sol_err *err)
{
    const char *names[64];
    int n = sol_key_section_count;
    if (!take_name(r->key, e)) return fail_at(r, e->start_mark, err, "this is not the name of a section");
    r->key_mark = e->start_mark;
    for (int i = 0; i < n; i++) {
        names[i] = sol_key_sections[i].name;
        if (strcmp(names[i], r->key) != 0) continue;
        if (r->section_mark[i].line)
            return fail_at(r, e->start_mark, err, "section '%s' is there twice: first in line %d", r->key,
                           r->section_mark[i].line);
        r->section_mark[i] = (sol_config_mark){(int)e->start_mark.line + 1, (int)e->start_mark.column + 1};
        return SOL_OK;
    }
    if (sol_key_find(r->key) >= 0) {
        char *dot = strchr(r->key, '.');
        return fail_at(r, e->start_mark, err, "key '%s': write it as '%s' inside the section '%.*s:'", r->key,
                       dot + 1, (int)(dot - r->key), r->key);
    }
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        if (strcmp(sol_keys[i].name, r->key) == 0)
            return fail_at(r, e->start_mark, err, "unknown section '%s'; did you mean '%s'?", r->key,
                           sol_keys[i].path);
    const char *near = sol_nearest_name(r->key, names, n);
    if (near) return fail_at(r, e->start_mark, err, "unknown section '%s'; did you mean '%s'?", r->key, near);
    sol_text all = {0};
    sol_status st = SOL_OK;
    for (int i = 0; st == SOL_OK && i < n; i++) st = sol_text_add(&all, err, "%s%s", i ? ", " : "", names[i]);
    if (st == SOL_OK) st = fail_at(r, e->start_mark, err, "unknown section '%s': one of %s", r->key, all.data);
    sol_free(all.data);
    return st;
}

static sol_status take_key(reader *r, const yaml_event_t *e, sol_err *err)
{
    char path[160];
    if (!take_name(r->key, e)) return fail_at(r, e->start_mark, err, "this is not the name of a key");
    r->key_mark = e->start_mark;
    snprintf(path, sizeof path, "%s.%s", r->section, r->key);
    int i = sol_key_find(path);
    if (i < 0) {
        const char *near = sol_key_nearest(path);
        return fail_at(r, e->start_mark, err, "key '%s': unknown key%s%s%s", path, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : "; `solera help config` lists them");
    }
    if (r->seen[i].line)
        return fail_at(r, e->start_mark, err, "key '%s': is there twice: first in line %d", path, r->seen[i].line);
    r->seen[i] = (sol_config_mark){(int)e->start_mark.line + 1, (int)e->start_mark.column + 1};
    return SOL_OK;
}

static sol_status take_value(reader *r, const yaml_event_t *e, sol_err *err)
{
    char path[160];
    sol_err why = {0};
    snprintf(path, sizeof path, "%s.%s", r->section, r->key);
    int i = sol_key_find(path);
    bool quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    sol_status st = sol_key_set(r->c, i, (const char *)e->data.scalar.value, e->data.scalar.length, quoted, &why);
    if (st == SOL_ERR_CONFIG) return fail_at(r, e->start_mark, err, "key '%s': %s", path, why.text);
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    r->c->mark[i] = (sol_config_mark){(int)e->start_mark.line + 1, (int)e->start_mark.column + 1};
    r->key[0] = 0;
    return SOL_OK;
}

static bool is_empty_scalar(const yaml_event_t *e)
{
    const char *v = (const char *)e->data.scalar.value;
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*v == 0 || strcmp(v, "null") == 0 || strcmp(v, "~") == 0);
}

static sol_status on_scalar(reader *r, const yaml_event_t *e, sol_err *err)
{
    if (e->data.scalar.anchor) return fail_at(r, e->start_mark, err, "anchors (&) are not supported");
    if (e->data.scalar.tag) return fail_at(r, e->start_mark, err, "tags (!) are not supported");
    if (r->depth == 0 && is_empty_scalar(e)) return SOL_OK; /* an empty document: all defaults */
    if (r->depth == 0)
        return fail_at(r, e->start_mark, err, "a job file is a mapping of sections, this is a single value");
    if (r->depth == 1 && !r->key[0]) return open_section(r, e, err);
    if (r->depth == 1 && !is_empty_scalar(e))
        return fail_at(r, e->start_mark, err, "section '%s': wants keys below it, not a value", r->key);
    if (r->depth == 1) { /* "train:" with nothing below */
        r->key[0] = 0;
        return SOL_OK;
    }
    return r->key[0] ? take_value(r, e, err) : take_key(r, e, err);
}

static sol_status on_mapping(reader *r, const yaml_event_t *e, sol_err *err)
{
    if (e->data.mapping_start.anchor) return fail_at(r, e->start_mark, err, "anchors (&) are not supported");
    if (e->data.mapping_start.tag) return fail_at(r, e->start_mark, err, "tags (!) are not supported");
    if (r->depth == 2 && r->key[0])
        return fail_at(r, e->start_mark, err, "key '%s.%s': wants a value, not a mapping", r->section, r->key);
    if (r->depth >= 1 && !r->key[0]) return fail_at(r, e->start_mark, err, "a mapping cannot be a key");
    if (r->depth == 1) memcpy(r->section, r->key, sizeof r->section);
    r->key[0] = 0;
    r->depth++;
    return SOL_OK;
}

static sol_status on_event(reader *r, const yaml_event_t *e, sol_err *err)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (r->documents++)
            return fail_at(r, e->start_mark, err, "a job file holds one document, a second one starts here");
        return SOL_OK;
    case YAML_SCALAR_EVENT:
        return on_scalar(r, e, err);
    case YAML_MAPPING_START_EVENT:
        return on_mapping(r, e, err);
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        r->section[0] = 0;
        return SOL_OK;
    case YAML_SEQUENCE_START_EVENT:
        if (r->depth == 2 && r->key[0])
            return fail_at(r, e->start_mark, err, "key '%s.%s': wants a value, not a list", r->section, r->key);
        return fail_at(r, e->start_mark, err, "a list has no place here");
    case YAML_ALIAS_EVENT:
        return fail_at(r, e->start_mark, err, "aliases (*) are not supported");
    default:
        return SOL_OK;
    }
}

static sol_status parser_error(const reader *r, sol_err *err)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory while parsing", r->c->file);
    const char *problem = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_READER_ERROR)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: byte %zu: %s", r->c->file, p->problem_offset, problem);
    return fail_at(r, p->problem_mark, err, "not YAML: %s%s%s", problem, p->context ? " " : "",
                   p->context ? p->context : "");
}

static sol_status read_events(reader *r, sol_err *err)
{
    sol_status st = SOL_OK;
    for (bool end = false; st == SOL_OK && !end;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) return parser_error(r, err);
        st = on_event(r, &e, err);
        end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    return st;
}

sol_status sol_config_create(sol_config **out, sol_err *err)
{
    sol_config *c;
    *out = NULL;
    sol_status st = sol_alloc_array((void **)&c, 1, sizeof *c, err);
    if (st != SOL_OK) return st;
    st = sol_copy_string(&c->file, "defaults", 8, err);
    for (int i = 0; st == SOL_OK && i < SOL_CONFIG_KEYS; i++) {
        const char *preset = sol_keys[i].preset;
        st = sol_key_set(c, i, preset, strlen(preset), false, err);
    }
    if (st != SOL_OK) sol_config_free(&c);
    *out = c;
    return st;
}

sol_status sol_config_parse(sol_config **out, const char *name, const char *yaml, size_t size, sol_err *err)
{
    reader r = {0};
    *out = NULL;
    sol_status st = sol_config_create(&r.c, err);
    if (st != SOL_OK) return st;
    sol_free(r.c->file);
    st = sol_copy_string(&r.c->file, name, strlen(name), err);
    if (st == SOL_OK && !yaml_parser_initialize(&r.parser))
        st = sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", name);
    if (st == SOL_OK) {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml, size);
        st = read_events(&r, err);
        yaml_parser_delete(&r.parser);
    }
    if (st != SOL_OK) sol_config_free(&r.c);
    *out = r.c;
    return st;
}

sol_status sol_config_read(sol_config **out, const char *path, sol_err *err)
{
    char *text;
    size_t size;
    *out = NULL;
    sol_status st = sol_file_read(path, &text, &size, err);
    if (st == SOL_OK) st = sol_config_parse(out, path, text, size, err);
    sol_free(text);
    return st;
}

void sol_config_free(sol_config **c)
{
    if (!*c) return;
    for (int i = 0; i < SOL_CONFIG_KEYS; i++)
        if (sol_keys[i].type == SOL_TYPE_TEXT) sol_free(*(char **)((char *)*c + sol_keys[i].offset));
    sol_free((*c)->file);
    sol_free(*c);
    *c = NULL;
}

sol_status sol_config_set(sol_config *c, const char *assignment, sol_err *err)
{
    char path[160];
    sol_err why = {0};
    size_t n = strcspn(assignment, "=");
    if (!assignment[n] || n == 0 || n >= sizeof path)
        return sol_fail(err, SOL_ERR_CONFIG, "--set %.200s: wants section.key=value", assignment);
    memcpy(path, assignment, n);
    path[n] = 0;
    int i = sol_key_find(path);
    if (i < 0) {
        const char *near = sol_key_nearest(path);
        return sol_fail(err, SOL_ERR_CONFIG, "--set %.200s: key '%s': unknown key%s%s%s", assignment, path,
                        near ? "; did you mean '" : "", near ? near : "",
                        near ? "'?" : "; `solera help config` lists them");
    }
    sol_status st = sol_key_set(c, i, assignment + n + 1, strlen(assignment + n + 1), false, &why);
    if (st == SOL_ERR_CONFIG) return sol_fail(err, st, "--set %.200s: key '%s': %s", assignment, path, why.text);
    if (st != SOL_OK) return sol_fail(err, st, "%s", why.text);
    c->mark[i] = (sol_config_mark){-1, 0};
    return SOL_OK;
}
