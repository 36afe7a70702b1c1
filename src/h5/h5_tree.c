/* The tree of objects that writer and reader share, and its digest. h5_write.c declares a tree,
 * h5_parse.c makes one from a file. */
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "h5/h5.h"

size_t sol_h5_type_size(sol_h5_type t)
{
    static const size_t sizes[] = {
#define SOL_H5_TYPE(name, size, text) size,
#include "h5/h5_types.def"
#undef SOL_H5_TYPE
    };
    return sizes[t];
}

const char *sol_h5_type_name(sol_h5_type t)
{
    static const char *const names[] = {
#define SOL_H5_TYPE(name, size, text) text,
#include "h5/h5_types.def"
#undef SOL_H5_TYPE
    };
    return names[t];
}

void sol_h5_tree_free(sol_h5_tree *t)
{
    for (size_t i = 0; i < t->n; i++) {
        sol_h5_node *n = &t->node[i];
        for (size_t k = 0; k < n->n_attrs; k++) {
            sol_free(n->attr[k].name);
            sol_free(n->attr[k].value);
        }
        sol_free(n->attr);
        sol_free(n->path);
    }
    sol_free(t->node);
    *t = (sol_h5_tree){0};
}

sol_status sol_h5_tree_add(sol_h5_tree *t, const char *path, size_t path_len, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)&t->node, &t->capacity, t->n + 1, sizeof *t->node, err));
    t->node[t->n] = (sol_h5_node){0};
    SOL_TRY(sol_copy_string(&t->node[t->n].path, path, path_len, err));
    t->n++;
    return SOL_OK;
}

static sol_h5_attr *find_attr(const sol_h5_node *n, const char *name)
{
    for (size_t i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attr[i].name, name) == 0) return &n->attr[i];
    return NULL;
}

const sol_h5_attr *sol_h5_node_attr(const sol_h5_node *n, const char *name)
{
    return find_attr(n, name);
}

/* Adds an attribute that has a name and no value yet. */
static sol_status add_attr(sol_h5_node *n, const char *name, sol_h5_attr **a, sol_err *err)
{
    SOL_TRY(
        sol_grow_array((void **)&n->attr, &n->attr_capacity, n->n_attrs + 1, sizeof *n->attr, err));
    *a = &n->attr[n->n_attrs];
    **a = (sol_h5_attr){0};
    SOL_TRY(sol_copy_string(&(*a)->name, name, strlen(name), err));
    n->n_attrs++;
    return SOL_OK;
}

sol_status sol_h5_node_set(sol_h5_node *n, const char *name, sol_h5_type type, const void *value,
                           size_t size, sol_err *err)
{
    char *copy;
    SOL_TRY(sol_copy_string(&copy, value, size, err));
    sol_h5_attr *a = find_attr(n, name);
    sol_status st = a ? SOL_OK : add_attr(n, name, &a, err);
    if (st != SOL_OK) {
        sol_free(copy);
        return st;
    }
    sol_free(a->value);
    a->type = type;
    a->size = size;
    a->value = copy;
    return SOL_OK;
}

static uint64_t put_u64(uint64_t h, uint64_t v)
{
    uint8_t b[8];
    for (int i = 0; i < 8; i++) b[i] = (uint8_t)(v >> 8 * i);
    return sol_fnv1a(h, b, 8);
}

static uint64_t put_text(uint64_t h, const char *s)
{
    return sol_fnv1a(h, s, strlen(s) + 1);
}

/* The attribute with the smallest name above `after` (NULL: of all) by strcmp; NULL when there is
 * none. A walk is quadratic, over a handful of attributes. */
static const sol_h5_attr *next_attr(const sol_h5_node *n, const char *after)
{
    const sol_h5_attr *best = NULL;
    for (size_t i = 0; i < n->n_attrs; i++) {
        const sol_h5_attr *a = &n->attr[i];
        if ((!after || strcmp(a->name, after) > 0) && (!best || strcmp(a->name, best->name) < 0))
            best = a;
    }
    return best;
}

uint64_t sol_h5_node_digest(uint64_t h, const sol_h5_node *n, uint32_t crc)
{
    bool is_root = strcmp(n->path, "/") == 0;
    h = put_text(h, n->path);
    h = put_text(h, n->is_dataset ? sol_h5_type_name(n->type) : "group");
    if (n->is_dataset) {
        h = put_u64(h, (uint64_t)n->n_dims);
        for (int i = 0; i < n->n_dims; i++) h = put_u64(h, n->dim[i]);
        h = put_u64(h, crc);
    }
    for (const sol_h5_attr *a = next_attr(n, NULL); a; a = next_attr(n, a->name)) {
        if (is_root && strcmp(a->name, "digest") == 0) continue;
        h = put_text(h, a->name);
        h = put_text(h, sol_h5_type_name(a->type));
        h = put_u64(h, a->size);
        h = sol_fnv1a(h, a->value, a->size);
    }
    return h;
}

static int by_path(const void *a, const void *b)
{
    const sol_h5_node *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

sol_status sol_h5_tree_digest(const sol_h5_tree *t, uint64_t *digest, sol_err *err)
{
    const sol_h5_node **order;
    SOL_TRY(sol_alloc_array((void **)&order, t->n, sizeof *order, err));
    for (size_t i = 0; i < t->n; i++) order[i] = &t->node[i];
    qsort(order, t->n, sizeof *order, by_path);
    uint64_t h = SOL_FNV_START;
    for (size_t i = 0; i < t->n; i++) h = sol_h5_node_digest(h, order[i], order[i]->crc);
    sol_free(order);
    *digest = h;
    return SOL_OK;
}
