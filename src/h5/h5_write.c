/* Writing: the tree is declared, laid out (h5_layout.c), filled, and the structure is written last,
 * when all checksums are known. store writes all our files through it. */
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "h5/h5.h"

/* An attribute lies in the object's header, whose messages hold less than 64 KiB. */
#define MAX_ATTR 64000

struct sol_h5_writer {
    sol_h5_tree tree;
    sol_h5_image image;
    sol_replace replace;
    sol_out out;
    char *path;  /* owned */
    int growing; /* the node of the growing dataset, 0: none */
    bool begun;  /* the temporary file is there */
};

/* The root with its attributes; the digest is set once more, when it is known. */
static sol_status declare_root(sol_h5_writer *w, const char *path, const char *format, sol_err *err)
{
    SOL_TRY(sol_copy_string(&w->path, path, strlen(path), err));
    SOL_TRY(sol_h5_tree_add(&w->tree, "/", 1, err));
    SOL_TRY(sol_h5_set_text(w, 0, "format", format, err));
    SOL_TRY(sol_h5_set_i64(w, 0, "version", 1, err));
    return sol_h5_set_u64(w, 0, "digest", 0, err);
}

sol_status sol_h5_create(sol_h5_writer **out, const char *path, const char *format, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->out.fd = -1;
    sol_status st = declare_root(*out, path, format, err);
    if (st != SOL_OK) sol_h5_abort(out);
    return st;
}

void sol_h5_abort(sol_h5_writer **out)
{
    sol_h5_writer *w = *out;
    if (!w) return;
    sol_out_close(&w->out, NULL);
    if (w->begun) sol_replace_abort(&w->replace);
    sol_h5_tree_free(&w->tree);
    sol_h5_image_free(&w->image);
    sol_free(w->path);
    sol_free(w);
    *out = NULL;
}

sol_status sol_h5_group(sol_h5_writer *w, const char *path, int *id, sol_err *err)
{
    *id = (int)w->tree.n;
    return sol_h5_tree_add(&w->tree, path, strlen(path), err);
}

sol_status sol_h5_dataset(sol_h5_writer *w, const char *path, sol_h5_type type, int n_dims,
                          const int64_t *dims, int *id, sol_err *err)
{
    size_t bytes = sol_h5_type_size(type);
    SOL_TRY(sol_h5_group(w, path, id, err));
    sol_h5_node *n = &w->tree.node[*id];
    n->is_dataset = n->has_crc = true;
    n->type = type;
    n->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        n->dim[i] = (uint64_t)dims[i];
        SOL_TRY(sol_size_mul(bytes, (size_t)dims[i], &bytes, err));
    }
    n->bytes = bytes;
    return SOL_OK;
}

sol_status sol_h5_live(sol_h5_writer *w, const char *path, sol_h5_type type, int n_dims,
                       const int64_t *dims, int *id, sol_err *err)
{
    SOL_TRY(sol_h5_dataset(w, path, type, n_dims, dims, id, err));
    w->tree.node[*id].has_crc = false;
    return sol_h5_set_i64(w, *id, "live", 1, err);
}

sol_status sol_h5_growing(sol_h5_writer *w, const char *path, sol_h5_type type, int *id,
                          sol_err *err)
{
    int64_t some = 4096; /* its place in the file does not depend on this */
    SOL_TRY(sol_h5_dataset(w, path, type, 1, &some, id, err));
    w->growing = *id;
    return SOL_OK;
}

static sol_status set(sol_h5_writer *w, int id, const char *name, sol_h5_type type,
                      const void *value, size_t size, sol_err *err)
{
    if (size > MAX_ATTR)
        return sol_fail(err, SOL_ERR_RANGE,
                        "%s: %s: attribute %s has %zu bytes, at most %d can be stored", w->path,
                        w->tree.node[id].path, name, size, MAX_ATTR);
    return sol_h5_node_set(&w->tree.node[id], name, type, value, size, err);
}

sol_status sol_h5_set_text(sol_h5_writer *w, int id, const char *name, const char *text,
                           sol_err *err)
{
    return set(w, id, name, SOL_H5_STRING, text, strlen(text), err);
}

sol_status sol_h5_set_i64(sol_h5_writer *w, int id, const char *name, int64_t value, sol_err *err)
{
    return set(w, id, name, SOL_H5_I64, &value, sizeof value, err);
}

sol_status sol_h5_set_u64(sol_h5_writer *w, int id, const char *name, uint64_t value, sol_err *err)
{
    return set(w, id, name, SOL_H5_U64, &value, sizeof value, err);
}

sol_status sol_h5_set_f64(sol_h5_writer *w, int id, const char *name, double value, sol_err *err)
{
    return set(w, id, name, SOL_H5_F64, &value, sizeof value, err);
}

/* Lays the tree out once more; what is written already must be where it was, at offset [n]. */
static sol_status lay_out_again(sol_h5_writer *w, uint64_t *offset, sol_err *err)
{
    const sol_h5_tree *t = &w->tree;
    for (size_t i = 0; i < t->n; i++) offset[i] = t->node[i].offset;
    SOL_TRY(sol_h5_layout(&w->tree, &w->image, w->path, err));
    for (size_t i = 0; i < t->n; i++)
        if (t->node[i].filled && t->node[i].offset != offset[i])
            return sol_fail(err, SOL_ERR_LIBRARY, "%s: libhdf5 moved %s while the file grew",
                            w->path, t->node[i].path);
    return SOL_OK;
}

/* Ends the growing dataset: what was written so far is its length. */
static sol_status settle(sol_h5_writer *w, sol_err *err)
{
    uint64_t *offset;
    if (w->growing) {
        sol_h5_node *n = &w->tree.node[w->growing];
        n->bytes = n->filled;
        n->dim[0] = n->filled / sol_h5_type_size(n->type);
    }
    SOL_TRY(sol_alloc_array((void **)&offset, w->tree.n, sizeof *offset, err));
    sol_status st = lay_out_again(w, offset, err);
    sol_free(offset);
    return st;
}

sol_status sol_h5_size(sol_h5_writer *w, uint64_t *bytes, sol_err *err)
{
    sol_status st = sol_h5_layout(&w->tree, &w->image, w->path, err);
    *bytes = w->image.end;
    return st;
}

sol_status sol_h5_begin(sol_h5_writer *w, sol_err *err)
{
    if (w->begun) return settle(w, err);
    SOL_TRY(sol_h5_layout(&w->tree, &w->image, w->path, err));
    SOL_TRY(sol_replace_begin(&w->replace, w->path, w->image.end, err));
    w->begun = true;
    return sol_out_open(&w->out, &w->replace, err);
}

sol_status sol_h5_append(sol_h5_writer *w, int id, const void *data, size_t n, sol_err *err)
{
    sol_h5_node *d = &w->tree.node[id];
    if (id != w->growing && n > d->bytes - d->filled)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: more data than its shape holds", w->path,
                        d->path);
    SOL_TRY(sol_out_write(&w->out, d->offset + d->filled, data, n, err));
    if (d->has_crc) d->crc = sol_crc32c(d->crc, data, n);
    d->filled += n;
    return SOL_OK;
}

static sol_status check_filled(const sol_h5_writer *w, sol_err *err)
{
    for (size_t i = 0; i < w->tree.n; i++) {
        const sol_h5_node *n = &w->tree.node[i];
        if (n->has_crc && n->filled != n->bytes)
            return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: %llu of %llu bytes were written", w->path,
                            n->path, (unsigned long long)n->filled, (unsigned long long)n->bytes);
    }
    return SOL_OK;
}

/* Makes the structure once more, at the same places, now with all checksums, and writes it. */
static sol_status write_structure(sol_h5_writer *w, sol_err *err)
{
    uint64_t digest, end = w->image.end, reach = 0;
    SOL_TRY(sol_h5_tree_digest(&w->tree, &digest, err));
    SOL_TRY(sol_h5_set_u64(w, 0, "digest", digest, err));
    SOL_TRY(sol_h5_layout(&w->tree, &w->image, w->path, err));
    if (w->image.end != end)
        return sol_fail(err, SOL_ERR_LIBRARY,
                        "%s: an attribute changed its size while the file was written", w->path);
    for (size_t i = 0; i < w->image.n_pieces; i++) {
        const sol_h5_piece *p = &w->image.piece[i];
        SOL_TRY(sol_out_write(&w->out, p->address, w->image.bytes + p->at, p->size, err));
        if (p->address + p->size > reach) reach = p->address + p->size;
    }
    for (size_t i = 0; i < w->tree.n; i++) {
        const sol_h5_node *n = &w->tree.node[i];
        if (n->offset + n->filled > reach) reach = n->offset + n->filled;
    }
    /* Readers expect the file to reach the end of the last allocation. */
    return reach < end ? sol_out_write(&w->out, end - 1, "", 1, err) : SOL_OK;
}

sol_status sol_h5_commit(sol_h5_writer **out, sol_err *err)
{
    sol_h5_writer *w = *out;
    sol_status st = check_filled(w, err);
    if (st == SOL_OK) st = write_structure(w, err);
    sol_status closed = sol_out_close(&w->out, st == SOL_OK ? err : NULL);
    if (st == SOL_OK) st = closed;
    if (st == SOL_OK) st = sol_replace_commit(&w->replace, err);
    sol_h5_abort(out);
    return st;
}
