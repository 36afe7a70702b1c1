/* Builds the tree of a YAML text from libyaml's events, each with its place. parse.c reads jobs
 * from it, sweep.c sweeps. */
#include "config/yaml_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"

typedef struct reader {
    const char *name, *what;
    yaml_parser_t parser;
    yaml_event_t event; /* the one at hand */
} reader;

static sol_status fail_at(const reader *r, yaml_mark_t m, sol_err *err, const char *text)
{
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%zu:%zu: %s", r->name, m.line + 1, m.column + 1, text);
}

static sol_status parser_error(const reader *r, sol_err *err)
{
    const yaml_parser_t *p = &r->parser;
    yaml_mark_t m = p->problem_mark;
    if (p->error == YAML_MEMORY_ERROR)
        return sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory while parsing", r->name);
    const char *problem = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_READER_ERROR)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: byte %zu: %s", r->name, p->problem_offset,
                        problem);
    bool tab = p->buffer.pointer < p->buffer.last && *p->buffer.pointer == '\t';
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%zu:%zu: not YAML: %s%s%s%s", r->name, m.line + 1,
                    m.column + 1, problem, p->context ? " " : "", p->context ? p->context : "",
                    tab ? "; a tab does not indent, blanks do" : "");
}

static sol_status next_event(reader *r, sol_err *err)
{
    yaml_event_delete(&r->event);
    return yaml_parser_parse(&r->parser, &r->event) ? SOL_OK : parser_error(r, err);
}

static void free_inside(sol_yaml *n)
{
    for (int i = 0; i < n->n; i++) free_inside(&n->item[i]);
    sol_free(n->item);
    sol_free(n->text);
}

/* What hangs on a node; only scalars, mappings and lists come here. */
static sol_status check_properties(const reader *r, sol_err *err)
{
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = e->type == YAML_SCALAR_EVENT ? e->data.scalar.anchor
                                : e->type == YAML_MAPPING_START_EVENT
                                    ? e->data.mapping_start.anchor
                                    : e->data.sequence_start.anchor;
    const yaml_char_t *tag = e->type == YAML_SCALAR_EVENT          ? e->data.scalar.tag
                             : e->type == YAML_MAPPING_START_EVENT ? e->data.mapping_start.tag
                                                                   : e->data.sequence_start.tag;
    if (anchor) return fail_at(r, e->start_mark, err, "anchors (&) are not supported");
    return tag ? fail_at(r, e->start_mark, err, "tags (!) are not supported") : SOL_OK;
}

static sol_status read_node(reader *r, int depth, sol_yaml *n, sol_err *err);

/* The items of a list or the keys and values of a mapping, up to its end. */
static sol_status read_items(reader *r, int depth, sol_yaml *n, sol_err *err)
{
    size_t capacity = 0;
    yaml_event_type_t end =
        n->kind == SOL_YAML_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
    SOL_TRY(next_event(r, err));
    while (r->event.type != end) {
        if (n->kind == SOL_YAML_MAPPING && n->n % 2 == 0 &&
            r->event.type == YAML_MAPPING_START_EVENT)
            return fail_at(r, r->event.start_mark, err, "a mapping cannot be a key");
        if (n->kind == SOL_YAML_MAPPING && n->n % 2 == 0 &&
            r->event.type == YAML_SEQUENCE_START_EVENT)
            return fail_at(r, r->event.start_mark, err, "a list cannot be a key");
        SOL_TRY(
            sol_grow_array((void **)&n->item, &capacity, (size_t)n->n + 1, sizeof *n->item, err));
        n->item[n->n] = (sol_yaml){0};
        SOL_TRY(read_node(r, depth + 1, &n->item[n->n++], err));
        SOL_TRY(next_event(r, err));
    }
    return SOL_OK;
}

/* The node that begins with the event at hand, up to its last event. */
static sol_status read_node(reader *r, int depth, sol_yaml *n, sol_err *err)
{
    const yaml_event_t *e = &r->event;
    char text[64];
    if (e->type == YAML_ALIAS_EVENT)
        return fail_at(r, e->start_mark, err, "aliases (*) are not supported");
    snprintf(text, sizeof text, "is nested deeper than %d levels", SOL_YAML_DEPTH);
    if (depth > SOL_YAML_DEPTH) return fail_at(r, e->start_mark, err, text);
    SOL_TRY(check_properties(r, err));
    n->line = (int)e->start_mark.line + 1;
    n->column = (int)e->start_mark.column + 1;
    n->kind = e->type == YAML_SCALAR_EVENT          ? SOL_YAML_SCALAR
              : e->type == YAML_MAPPING_START_EVENT ? SOL_YAML_MAPPING
                                                    : SOL_YAML_LIST;
    if (n->kind != SOL_YAML_SCALAR) return read_items(r, depth, n, err);
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->size = e->data.scalar.length;
    return sol_copy_string(&n->text, (const char *)e->data.scalar.value, n->size, err);
}

static sol_status read_document(reader *r, sol_yaml *root, sol_err *err)
{
    char text[160];
    SOL_TRY(next_event(r, err)); /* the stream starts */
    SOL_TRY(next_event(r, err));
    if (r->event.type == YAML_STREAM_END_EVENT) return sol_copy_string(&root->text, "", 0, err);
    SOL_TRY(next_event(r, err));
    SOL_TRY(read_node(r, 1, root, err));
    for (int i = 0; i < 2; i++)
        SOL_TRY(next_event(r, err)); /* the document ends, then the stream */
    if (r->event.type == YAML_STREAM_END_EVENT) return SOL_OK;
    snprintf(text, sizeof text, "%s holds one document, a second one starts here", r->what);
    return fail_at(r, r->event.start_mark, err, text);
}

/* Refuses what libyaml should not see: it takes quadratic time for %TAG lines, it reads UTF-16,
 * which a job is not written in, and it takes the line breaks of YAML 1.1 for breaks, where
 * YAML 1.2 has ordinary characters. */
static sol_status check_text(const char *name, const char *text, size_t size, sol_err *err)
{
    static const char *const breaks[] = {"\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    if (size > SOL_YAML_BYTES)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: has %zu bytes; no job or sweep has more than %d",
                        name, size, SOL_YAML_BYTES);
    if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return sol_fail(err, SOL_ERR_CONFIG, "%s: byte 0: is UTF-16: save it as UTF-8", name);
    for (int i = 0; i < 3; i++) {
        const char *at = memmem(text, size, breaks[i], strlen(breaks[i]));
        if (at)
            return sol_fail(err, SOL_ERR_CONFIG,
                            "%s: byte %zu: a line break of Unicode (U+0085, U+2028, U+2029) is not "
                            "read: take it out",
                            name, (size_t)(at - text));
    }
    for (const char *at = text; (at = memchr(at, '%', size - (size_t)(at - text))); at++)
        if ((at == text || at[-1] == '\n' || at[-1] == '\r') && size - (size_t)(at - text) >= 4 &&
            memcmp(at, "%TAG", 4) == 0)
            return sol_fail(err, SOL_ERR_CONFIG, "%s: byte %zu: tags (%%TAG) are not supported",
                            name, (size_t)(at - text));
    return SOL_OK;
}

sol_status sol_yaml_read(sol_yaml **root, const char *name, const char *what, const char *text,
                         size_t size, sol_err *err)
{
    reader r = {.name = name, .what = what};
    *root = NULL;
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    sol_status st = check_text(name, text, size, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)root, 1, sizeof **root, err);
    if (st != SOL_OK) return st;
    if (!yaml_parser_initialize(&r.parser)) {
        st = sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory", name);
    } else {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
        st = read_document(&r, *root, err);
        yaml_event_delete(&r.event);
        yaml_parser_delete(&r.parser);
    }
    if (st != SOL_OK) sol_yaml_free(root);
    return st;
}

void sol_yaml_free(sol_yaml **root)
{
    if (!*root) return;
    free_inside(*root);
    sol_free(*root);
    *root = NULL;
}

sol_status sol_yaml_fail(const char *name, const sol_yaml *at, sol_err *err, const char *fmt, ...)
{
    char text[640];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sol_fail(err, SOL_ERR_CONFIG, "%s:%d:%d: %s", name, at->line, at->column, text);
}

sol_status sol_yaml_file(const char *path, char **text, size_t *size, sol_err *err)
{
    sol_in in;
    *text = NULL;
    SOL_TRY(sol_in_open(&in, path, err));
    sol_in_close(&in);
    if (in.size > SOL_YAML_BYTES + 3)
        return sol_fail(err, SOL_ERR_CONFIG, "%s: has %llu bytes; no job or sweep has more than %d",
                        path, (unsigned long long)in.size, SOL_YAML_BYTES);
    return sol_file_read(path, text, size, err);
}
