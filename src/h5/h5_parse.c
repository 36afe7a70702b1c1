/* A reader of HDF5 structure for the form that solera writes (HDF5 File Format Specification 3.0:
 * superblock version 0 or 1, symbol-table groups, version 1 object headers, contiguous layout), and
 * for what h5py makes of a Python string or bool as an attribute: variable-length strings in a
 * global heap, enumerations. Everything is a bounds-checked read from the mapped bytes; the number
 * of objects, the depth, the memory and the work are bounded by the size of the file. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h5/h5.h"

/* Our objects have up to 30 attributes, each looked up by a walk over those before it. */
enum { MAX_DEPTH = 8, MAX_NAME = 256, MAX_ATTRS = 256 };
#define UNDEFINED UINT64_MAX

typedef struct parser {
    const uint8_t *data;
    uint64_t size;
    sol_h5_tree *tree;
    uint64_t budget;  /* structures that may still be visited: stops cycles */
    uint64_t held;    /* bytes of paths, datasets and attributes so far */
    const char *path; /* of the object at hand; the tree's own */
    sol_err *err;
} parser;

typedef struct span { /* bytes of the file, walked front to back */
    const uint8_t *p;
    uint64_t left;
} span;

static sol_status bad(parser *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static sol_status bad(parser *s, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sol_fail(s->err, SOL_ERR_FORMAT, "%s: %s", s->path, text);
}

static bool span_at(const parser *s, uint64_t address, uint64_t n, span *out)
{
    if (address > s->size || n > s->size - address) return false;
    *out = (span){s->data + address, n};
    return true;
}

/* The next n bytes as a little-endian number; 0 when the span is too short, and empties it. */
static uint64_t take(span *b, int n)
{
    uint64_t v = 0;
    if (b->left < (uint64_t)n) {
        b->left = 0;
        return 0;
    }
    for (int i = 0; i < n; i++) v |= (uint64_t)b->p[i] << 8 * i;
    b->p += n;
    b->left -= (uint64_t)n;
    return v;
}

static bool cut(span *b, uint64_t n, span *out)
{
    if (b->left < n) return false;
    *out = (span){b->p, n};
    b->p += n;
    b->left -= n;
    return true;
}

static sol_status visit(parser *s)
{
    if (s->budget == 0) return bad(s, "the structure is larger than the file");
    s->budget--;
    return SOL_OK;
}

/* ---- messages of an object header ---- */

typedef struct shape {
    int n_dims;
    uint64_t dim[SOL_H5_MAX_DIMS];
    uint64_t count;
} shape;

static sol_status parse_space(parser *s, span b, shape *out)
{
    int version = (int)take(&b, 1), n = (int)take(&b, 1), flags = (int)take(&b, 1);
    if (version == 1)
        take(&b, 5);
    else if (version == 2) {
        if (take(&b, 1) > 1) return bad(s, "an empty dataspace is not used by solera");
    } else
        return bad(s, "dataspace version %d, expected 1 or 2", version);
    if (n > SOL_H5_MAX_DIMS)
        return bad(s, "%d dimensions, expected at most %d", n, SOL_H5_MAX_DIMS);
    if (flags > 1) return bad(s, "dataspace flags %d, expected 0 or 1", flags);
    *out = (shape){.n_dims = n, .count = 1};
    if (b.left < 8 * (uint64_t)n) return bad(s, "the dataspace ends early");
    for (int i = 0; i < n; i++) {
        out->dim[i] = take(&b, 8);
        if (__builtin_mul_overflow(out->count, out->dim[i], &out->count))
            return bad(s, "its shape overflows");
    }
    return SOL_OK;
}

typedef struct type {
    sol_h5_type type;
    uint64_t size;
    bool in_heap; /* a string of variable length: its bytes lie in a global heap */
} type;

static sol_h5_type integer_type(uint64_t size, bool is_signed)
{
    switch (size) {
    case 1: return is_signed ? SOL_H5_I8 : SOL_H5_U8;
    case 2: return is_signed ? SOL_H5_I16 : SOL_H5_U16;
    case 4: return is_signed ? SOL_H5_I32 : SOL_H5_U32;
    case 8: return is_signed ? SOL_H5_I64 : SOL_H5_U64;
    default: return SOL_H5_OTHER;
    }
}

static sol_h5_type float_type(uint64_t size, uint32_t bits, span b)
{
    static const struct {
        sol_h5_type type;
        uint64_t size, sign, precision, exp_at, exp_bits, man_bits, bias;
    } forms[] = {{SOL_H5_F16, 2, 15, 16, 10, 5, 10, 15},
                 {SOL_H5_F32, 4, 31, 32, 23, 8, 23, 127},
                 {SOL_H5_F64, 8, 63, 64, 52, 11, 52, 1023}};
    uint64_t offset = take(&b, 2), precision = take(&b, 2), exp_at = take(&b, 1),
             exp_bits = take(&b, 1);
    uint64_t man_at = take(&b, 1), man_bits = take(&b, 1), bias = take(&b, 4);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].size == size && (bits & 0xff) == 0x20 && bits >> 8 == forms[i].sign &&
            offset == 0 && man_at == 0 && precision == forms[i].precision &&
            exp_at == forms[i].exp_at && exp_bits == forms[i].exp_bits &&
            man_bits == forms[i].man_bits && bias == forms[i].bias)
            return forms[i].type;
    return SOL_H5_OTHER;
}

static sol_status parse_type(parser *s, span b, type *out)
{
    if (b.left < 8) return bad(s, "the datatype ends early");
    int head = (int)take(&b, 1), version = head >> 4, class = head & 15;
    uint32_t bits = (uint32_t)take(&b, 3);
    *out = (type){SOL_H5_OTHER, take(&b, 4), false};
    if (version < 1 || version > 3) return bad(s, "datatype version %d, expected 1 to 3", version);
    if (class == 0) {
        uint64_t offset = take(&b, 2), precision = take(&b, 2);
        if ((bits & ~8u) == 0 && offset == 0 && precision == 8 * out->size)
            out->type = integer_type(out->size, bits & 8);
    } else if (class == 1) {
        out->type = float_type(out->size, bits, b);
    } else if (class == 3 && (bits & 15) <= 1) { /* terminated or padded with 0 */
        out->type = SOL_H5_STRING;
    } else if (class == 9 && (bits & 15) == 1 && out->size == 16) {
        out->in_heap = true;
    }
    return SOL_OK;
}

/* A Python bool is an enumeration over int8: as an attribute, its number. The type of its numbers
 * follows the first 8 bytes. */
static sol_status parse_attr_type(parser *s, span b, type *out)
{
    type base;
    SOL_TRY(parse_type(s, b, out));
    if ((b.p[0] & 15) != 8) return SOL_OK;
    b.p += 8;
    b.left -= 8;
    if (b.left < 8 || (b.p[0] & 15) != 0) return SOL_OK;
    SOL_TRY(parse_type(s, b, &base));
    if (base.size == out->size) out->type = base.type;
    return SOL_OK;
}

static uint64_t padded(uint64_t n, int version)
{
    return version == 1 ? (n + 7) & ~(uint64_t)7 : n;
}

/* No two objects share bytes in a file of ours, and an object takes more of them than its path, so
 * that the memory for all of them is bounded by its size. */
static sol_status hold(parser *s, uint64_t bytes)
{
    s->held += bytes;
    return s->held > s->size ? bad(s, "the objects together are larger than the file") : SOL_OK;
}

/* The string of variable length that the 16 bytes of `b` refer to: length, address of a global heap
 * collection, index of the object in it. */
static sol_status find_in_heap(parser *s, const char *name, span b, span *out)
{
    span heap, object = {0};
    uint64_t length = take(&b, 4), address = take(&b, 8), want = take(&b, 4), index = 0;
    *out = (span){(const uint8_t *)"", 0};
    if (length == 0) return SOL_OK;
    if (!span_at(s, address, 16, &heap) || memcmp(heap.p, "GCOL\1", 5) != 0)
        return bad(s, "attribute %s: its global heap is missing", name);
    take(&heap, 8);
    uint64_t size = take(&heap, 8);
    if (size < 16 || !span_at(s, address + 16, size - 16, &heap))
        return bad(s, "attribute %s: its global heap ends outside the file", name);
    while (heap.left >= 16) {
        sol_status st = visit(s);
        if (st != SOL_OK) return st;
        index = take(&heap, 2);
        take(&heap, 6);
        uint64_t bytes = take(&heap, 8);
        if (index == 0 || index == want) { /* 0: the free rest */
            if (index != 0) cut(&heap, bytes, &object);
            break;
        }
        if (bytes > heap.left || !cut(&heap, padded(bytes, 1), &object))
            return bad(s, "attribute %s: its global heap is malformed", name);
    }
    if (index == 0 || index != want || object.left < length)
        return bad(s, "attribute %s: its text is not in the global heap", name);
    *out = (span){object.p, length};
    return SOL_OK;
}

static sol_status parse_attr(parser *s, span b, sol_h5_node *n)
{
    int version = (int)take(&b, 1), flags = (int)take(&b, 1);
    uint64_t name_size = take(&b, 2), type_size = take(&b, 2), space_size = take(&b, 2);
    if (version < 1 || version > 3) return bad(s, "attribute version %d, expected 1 to 3", version);
    if (flags != 0) return bad(s, "an attribute with a shared type is not used by solera");
    if (version == 3) take(&b, 1); /* character set of the name */
    span name, type_bytes, space_bytes;
    if (!cut(&b, padded(name_size, version), &name) ||
        !cut(&b, padded(type_size, version), &type_bytes) ||
        !cut(&b, padded(space_size, version), &space_bytes))
        return bad(s, "an attribute ends early");
    if (name_size < 2 || name_size > MAX_NAME || name.p[name_size - 1] != 0 ||
        memchr(name.p, 0, name_size - 1))
        return bad(s, "an attribute's name is malformed");
    const char *text = (const char *)name.p;
    if (n->n_attrs == MAX_ATTRS) return bad(s, "has more than %d attributes", MAX_ATTRS);
    if (sol_h5_node_attr(n, text)) return bad(s, "attribute %s is there twice", text);
    type t;
    shape sh;
    SOL_TRY(parse_attr_type(s, type_bytes, &t));
    SOL_TRY(parse_space(s, space_bytes, &sh));
    uint64_t size;
    if (__builtin_mul_overflow(t.size, sh.count, &size) || size > b.left)
        return bad(s, "attribute %s ends early", text);
    if (sh.count != 1) t.type = SOL_H5_OTHER;
    if (sh.count == 1 && t.in_heap) {
        SOL_TRY(find_in_heap(s, text, b, &b));
        t.type = SOL_H5_STRING;
        size = b.left;
    }
    if (t.type == SOL_H5_STRING) size = strnlen((const char *)b.p, size);
    if (n->is_dataset && t.type == SOL_H5_U32 && strcmp(text, "crc32c") == 0) {
        n->crc = (uint32_t)take(&b, 4);
        n->has_crc = true;
        return SOL_OK;
    }
    SOL_TRY(hold(s, size));
    return sol_h5_node_set(n, text, t.type, b.p, size, s->err);
}

static sol_status parse_layout(parser *s, span b, sol_h5_node *n)
{
    static const char *const classes[] = {"compact", "contiguous", "chunked", "virtual"};
    int version = (int)take(&b, 1), class = (int)take(&b, 1);
    if (version != 3 && version != 4) return bad(s, "layout version %d, expected 3", version);
    if (class != 1)
        return bad(s, "is stored %s, expected contiguous",
                   class < 4 ? classes[class] : "in an unknown form");
    if (b.left < 16) return bad(s, "the layout ends early");
    n->offset = take(&b, 8);
    n->bytes = take(&b, 8);
    return SOL_OK;
}

typedef struct object { /* what a header says */
    bool has_space, has_type, has_layout, has_table;
    shape space;
    type type;
    uint64_t btree, heap;
} object;

enum {
    MSG_SPACE = 0x01,
    MSG_LINK_INFO = 0x02,
    MSG_TYPE = 0x03,
    MSG_LINK = 0x06,
    MSG_EXTERNAL = 0x07,
    MSG_LAYOUT = 0x08,
    MSG_FILTER = 0x0b,
    MSG_ATTR = 0x0c,
    MSG_CONTINUATION = 0x10,
    MSG_TABLE = 0x11,
    MSG_ATTR_INFO = 0x15
};

/* One message. Attributes wait for the second pass, because `crc32c` is one only on a dataset. */
static sol_status parse_message(parser *s, int id, span b, sol_h5_node *n, object *o, bool attrs)
{
    if (attrs) return id == MSG_ATTR ? parse_attr(s, b, n) : SOL_OK;
    switch (id) {
    case MSG_SPACE: o->has_space = true; return parse_space(s, b, &o->space);
    case MSG_TYPE: o->has_type = true; return parse_type(s, b, &o->type);
    case MSG_LAYOUT: o->has_layout = true; return parse_layout(s, b, n);
    case MSG_TABLE:
        if (b.left < 16) return bad(s, "the symbol table message ends early");
        o->has_table = true;
        o->btree = take(&b, 8);
        o->heap = take(&b, 8);
        return SOL_OK;
    case MSG_FILTER: return bad(s, "is stored through a filter, which solera does not use");
    case MSG_EXTERNAL: return bad(s, "lies in an external file, which solera does not use");
    case MSG_LINK:
    case MSG_LINK_INFO:
    case MSG_ATTR_INFO:
        return bad(s, "is in the newer form of HDF5, expected version 1 object headers");
    default: return SOL_OK;
    }
}

static sol_status parse_header(parser *s, uint64_t address, sol_h5_node *n, object *o, bool attrs)
{
    span block;
    if (!span_at(s, address, 16, &block)) return bad(s, "its header lies outside the file");
    int version = (int)take(&block, 1);
    take(&block, 1);
    uint64_t messages = take(&block, 2);
    take(&block, 4);
    uint64_t size = take(&block, 4), next = address + 16;
    if (version != 1) return bad(s, "object header version %d, expected 1", version);
    SOL_TRY(visit(s));
    if (!span_at(s, next, size, &block)) return bad(s, "its header ends outside the file");
    /* Continuations wait in order: at most one block a continuation message, all counted. */
    struct {
        uint64_t address, size;
    } wait[64];
    size_t n_wait = 0, done = 0;
    while (messages > 0) {
        if (block.left < 8) {
            if (done == n_wait) return bad(s, "its header ends early");
            if (!span_at(s, wait[done].address, wait[done].size, &block))
                return bad(s, "its header goes on outside the file");
            done++;
            SOL_TRY(visit(s));
            continue;
        }
        int id = (int)take(&block, 2);
        uint64_t bytes = take(&block, 2);
        int flags = (int)take(&block, 1);
        take(&block, 3);
        span body;
        if (!cut(&block, bytes, &body)) return bad(s, "a message of its header ends early");
        if (flags & 2) return bad(s, "a shared message is not used by solera");
        messages--;
        SOL_TRY(visit(s));
        if (id == MSG_CONTINUATION) {
            if (n_wait == sizeof wait / sizeof *wait || body.left < 16)
                return bad(s, "its header is in too many pieces");
            wait[n_wait].address = take(&body, 8);
            wait[n_wait++].size = take(&body, 8);
        } else {
            SOL_TRY(parse_message(s, id, body, n, o, attrs));
        }
    }
    return SOL_OK;
}

/* ---- groups ---- */

static sol_status parse_object(parser *s, const char *path, uint64_t address, int depth);

typedef struct group {
    const char *path; /* the tree's own */
    span names;       /* of the local heap */
    int depth;
} group;

static sol_status parse_entry(parser *s, const group *g, span b)
{
    char path[MAX_DEPTH * MAX_NAME];
    uint64_t at = take(&b, 8), address = take(&b, 8), cache = take(&b, 4);
    if (cache == 2) return bad(s, "holds a soft link, which solera does not use");
    if (at >= g->names.left) return bad(s, "holds a name that is malformed");
    const char *name = (const char *)g->names.p + at;
    size_t len = strnlen(name, g->names.left - at);
    if (len == 0 || len >= MAX_NAME || at + len >= g->names.left)
        return bad(s, "holds a name that is malformed");
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
            return bad(s, "holds a name that is malformed");
    if (name[0] == '.') return bad(s, "holds a name that is malformed");
    snprintf(path, sizeof path, "%s/%s", g->path[1] ? g->path : "", name);
    return parse_object(s, path, address, g->depth + 1);
}

/* Entries of 40 bytes. */
static sol_status parse_table_node(parser *s, const group *g, uint64_t address)
{
    span b, entry;
    SOL_TRY(visit(s));
    if (!span_at(s, address, 8, &b) || memcmp(b.p, "SNOD\1", 5) != 0)
        return bad(s, "a symbol table node is missing");
    uint64_t count = b.p[6] | (uint64_t)b.p[7] << 8;
    if (!span_at(s, address + 8, count * 40, &b))
        return bad(s, "a symbol table node ends outside the file");
    while (cut(&b, 40, &entry)) {
        SOL_TRY(parse_entry(s, g, entry));
        s->path = g->path; /* it was left at the child's */
    }
    return SOL_OK;
}

static sol_status parse_btree(parser *s, const group *g, uint64_t address, int level)
{
    span b;
    SOL_TRY(visit(s));
    if (!span_at(s, address, 24, &b) || memcmp(b.p, "TREE\0", 5) != 0)
        return bad(s, "its B-tree is missing");
    int here = b.p[5];
    uint64_t count = b.p[6] | (uint64_t)b.p[7] << 8;
    if (level >= 0 && here != level)
        return bad(s, "its B-tree has level %d where %d was expected", here, level);
    if (here > 4) return bad(s, "its B-tree has level %d, expected at most 4", here);
    if (!span_at(s, address + 24, count * 16 + 8, &b))
        return bad(s, "its B-tree ends outside the file");
    for (uint64_t i = 0; i < count; i++) {
        take(&b, 8); /* key */
        uint64_t child = take(&b, 8);
        SOL_TRY(here == 0 ? parse_table_node(s, g, child) : parse_btree(s, g, child, here - 1));
    }
    return SOL_OK;
}

static sol_status parse_group(parser *s, const char *path, const object *o, int depth)
{
    group g = {.path = path, .depth = depth};
    span heap;
    if (depth >= MAX_DEPTH) return bad(s, "groups are nested deeper than %d", MAX_DEPTH);
    if (!span_at(s, o->heap, 32, &heap) || memcmp(heap.p, "HEAP\0", 5) != 0)
        return bad(s, "its local heap is missing");
    take(&heap, 8);
    uint64_t size = take(&heap, 8);
    take(&heap, 8);
    if (!span_at(s, take(&heap, 8), size, &g.names))
        return bad(s, "its local heap lies outside the file");
    return parse_btree(s, &g, o->btree, -1);
}

/* ---- objects ---- */

static sol_status check_dataset(parser *s, sol_h5_node *n, const object *o)
{
    uint64_t bytes;
    n->type = o->type.type;
    n->n_dims = o->space.n_dims;
    memcpy(n->dim, o->space.dim, sizeof n->dim);
    if (n->type == SOL_H5_OTHER || n->type == SOL_H5_STRING)
        return bad(s, "has an element type that solera does not use");
    if (__builtin_mul_overflow(o->space.count, o->type.size, &bytes))
        return bad(s, "its shape overflows");
    if (bytes == 0 && n->offset == UNDEFINED) n->offset = n->bytes = 0;
    if (n->bytes != bytes)
        return bad(s, "%" PRIu64 " bytes are stored, its shape wants %" PRIu64, n->bytes, bytes);
    if (n->offset > s->size || bytes > s->size - n->offset)
        return bad(s, "its data lie outside the file");
    return hold(s, bytes);
}

static sol_status parse_object(parser *s, const char *path, uint64_t address, int depth)
{
    object o = {0};
    SOL_TRY(sol_h5_tree_add(s->tree, path, strlen(path), s->err));
    sol_h5_node *n = &s->tree->node[s->tree->n - 1];
    s->path = path = n->path;
    SOL_TRY(hold(s, strlen(path)));
    SOL_TRY(parse_header(s, address, n, &o, false));
    n->is_dataset = o.has_layout;
    if (n->is_dataset && (!o.has_space || !o.has_type))
        return bad(s, "a dataset without type or shape");
    if (n->is_dataset == o.has_table) return bad(s, "is neither a group nor a dataset");
    SOL_TRY(parse_header(s, address, n, &o, true));
    return n->is_dataset ? check_dataset(s, n, &o) : parse_group(s, path, &o, depth);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const sol_h5_node *)a)->path, ((const sol_h5_node *)b)->path);
}

sol_status sol_h5_parse(sol_h5_tree *t, const uint8_t *data, size_t size, sol_err *err)
{
    parser s = {data, size, t, 4096 + size / 4, 0, "superblock", err};
    span b;
    if (size < 8 || memcmp(data, "\x89HDF\r\n\x1a\n", 8) != 0)
        return sol_fail(err, SOL_ERR_FORMAT, "is not an HDF5 file (no signature at its start)");
    if (size < 100) return bad(&s, "the file ends after %zu bytes", size);
    int version = data[8], offsets = data[13], lengths = data[14];
    if (version > 1)
        return bad(&s,
                   "version %d, expected 0: written with libver=\"latest\"? h5py's default, "
                   "libver=\"earliest\", is read",
                   version);
    if (offsets != 8 || lengths != 8)
        return bad(&s, "offsets of %d and lengths of %d bytes, expected 8", offsets, lengths);
    b = (span){data + 24 + 4 * version, size - 24 - 4 * (size_t)version};
    uint64_t base = take(&b, 8);
    take(&b, 8);
    uint64_t end = take(&b, 8), driver = take(&b, 8);
    take(&b, 8);
    uint64_t root = take(&b, 8);
    if (base != 0) return bad(&s, "base address %" PRIu64 ", expected 0", base);
    if (driver != UNDEFINED) return bad(&s, "made with a special file driver");
    if (end != size)
        return bad(&s, "the file has %zu bytes, it was written with %" PRIu64, size, end);
    SOL_TRY(parse_object(&s, "/", root, 0));
    qsort(t->node, t->n, sizeof *t->node, by_path);
    for (size_t i = 1; i < t->n; i++)
        if (by_path(&t->node[i - 1], &t->node[i]) == 0)
            return sol_fail(err, SOL_ERR_FORMAT, "%s: is there twice", t->node[i].path);
    return SOL_OK;
}
