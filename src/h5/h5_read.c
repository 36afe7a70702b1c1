/* Reading: a file parsed by h5_parse.c, typed access to its objects, and their bytes checked
 * against their checksums. store reads all our files through it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "h5/h5.h"

void sol_h5_close(sol_h5_file *f)
{
    sol_map_close(&f->map);
    sol_in_close(&f->in);
    sol_h5_tree_free(&f->tree);
    sol_free(f->path);
    *f = (sol_h5_file){.in.fd = -1};
}

/* All checksums or none: a file of another program has none, a damaged file of ours lacks one. */
static sol_status check_seal(sol_h5_file *f, sol_err *err)
{
    const sol_h5_attr *digest = sol_h5_node_attr(&f->tree.node[0], "digest");
    uint64_t want, is;
    f->sealed = digest != NULL;
    for (size_t i = 0; i < f->tree.n; i++) {
        const sol_h5_node *n = &f->tree.node[i];
        if (n->is_dataset && n->has_crc != f->sealed && !(f->sealed && sol_h5_node_attr(n, "live")))
            return sol_fail(err, SOL_ERR_FORMAT,
                            "%s: %s: %s; the file is damaged or was changed by another program",
                            f->path, n->path,
                            f->sealed ? "has no checksum"
                                      : "has a checksum, but the root has no digest");
    }
    if (!f->sealed) return SOL_OK;
    if (digest->type != SOL_H5_U64)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /: attribute digest has type %s, expected uint64",
                        f->path, sol_h5_type_name(digest->type));
    memcpy(&want, digest->value, sizeof want);
    SOL_TRY(sol_h5_tree_digest(&f->tree, &is, err));
    if (is != want)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: /: names, shapes, attributes and checksums have digest %016" PRIx64
                        ", the file says %016" PRIx64
                        ": it is damaged or was changed by another program",
                        f->path, is, want);
    return SOL_OK;
}

sol_status sol_h5_open(sol_h5_file *f, const char *path, sol_err *err)
{
    *f = (sol_h5_file){.in.fd = -1};
    sol_status st = sol_copy_string(&f->path, path, strlen(path), err);
    if (st == SOL_OK) st = sol_in_open(&f->in, f->path, err);
    if (st == SOL_OK) st = sol_in_map(&f->in, &f->map, err);
    if (st == SOL_OK) {
        st = sol_h5_parse(&f->tree, f->map.data, f->map.size, err);
        if (st != SOL_OK) sol_err_prefix(err, st, "%s", path);
    }
    if (st == SOL_OK) st = check_seal(f, err);
    if (st != SOL_OK) sol_h5_close(f);
    return st;
}

const sol_h5_node *sol_h5_find(const sol_h5_file *f, const char *path)
{
    size_t lo = 0, hi = f->tree.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(path, f->tree.node[mid].path);
        if (c == 0) return &f->tree.node[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static sol_status need(const sol_h5_file *f, const char *path, bool dataset, const sol_h5_node **n,
                       sol_err *err)
{
    *n = sol_h5_find(f, path);
    if (!*n) return sol_fail(err, SOL_ERR_FORMAT, "%s: has no %s", f->path, path);
    if ((*n)->is_dataset != dataset)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: is a %s, expected a %s", f->path, path,
                        dataset ? "group" : "dataset", dataset ? "dataset" : "group");
    return SOL_OK;
}

sol_status sol_h5_need_group(const sol_h5_file *f, const char *path, const sol_h5_node **n,
                             sol_err *err)
{
    return need(f, path, false, n, err);
}

static const char *shape_text(int n, const uint64_t *dim, char out[128])
{
    size_t at = (size_t)snprintf(out, 128, "[");
    for (int i = 0; i < n; i++) {
        if ((int64_t)dim[i] < 0)
            at += (size_t)snprintf(out + at, 128 - at, "%sany", i ? ", " : "");
        else
            at += (size_t)snprintf(out + at, 128 - at, "%s%" PRIu64, i ? ", " : "", dim[i]);
    }
    snprintf(out + at, 128 - at, "]");
    return out;
}

sol_status sol_h5_need_dataset(const sol_h5_file *f, const char *path, sol_h5_type type, int n_dims,
                               const int64_t *dims, const sol_h5_node **n, sol_err *err)
{
    uint64_t want[SOL_H5_MAX_DIMS];
    char has_text[128], want_text[128];
    SOL_TRY(need(f, path, true, n, err));
    if ((*n)->type != type)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: has type %s, expected %s", f->path, path,
                        sol_h5_type_name((*n)->type), sol_h5_type_name(type));
    bool same = (*n)->n_dims == n_dims;
    for (int i = 0; i < n_dims; i++) {
        want[i] = (uint64_t)dims[i];
        if (same && dims[i] >= 0) same = (*n)->dim[i] == want[i];
    }
    if (!same)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: has shape %s, expected %s", f->path, path,
                        shape_text((*n)->n_dims, (*n)->dim, has_text),
                        shape_text(n_dims, want, want_text));
    return SOL_OK;
}

static sol_status need_attr(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                            const sol_h5_attr **a, sol_err *err)
{
    *a = sol_h5_node_attr(n, name);
    return *a ? SOL_OK
              : sol_fail(err, SOL_ERR_FORMAT, "%s: %s: has no attribute %s", f->path, n->path,
                         name);
}

static sol_status wrong_type(const sol_h5_file *f, const sol_h5_node *n, const sol_h5_attr *a,
                             const char *want, sol_err *err)
{
    return sol_fail(err, SOL_ERR_FORMAT, "%s: %s: attribute %s has type %s, expected %s", f->path,
                    n->path, a->name, sol_h5_type_name(a->type), want);
}

sol_status sol_h5_get_text(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                           const char **text, sol_err *err)
{
    const sol_h5_attr *a;
    *text = NULL;
    SOL_TRY(need_attr(f, n, name, &a, err));
    if (a->type != SOL_H5_STRING) return wrong_type(f, n, a, "a string", err);
    *text = a->value;
    return SOL_OK;
}

/* Any integer type as 64 bits, sign-extended. */
static bool integer_value(const sol_h5_attr *a, uint64_t *v)
{
    const uint8_t *b = a->value;
    if (a->type > SOL_H5_I64) return false;
    *v = 0;
    for (size_t i = 0; i < a->size; i++) *v |= (uint64_t)b[i] << 8 * i;
    bool is_signed = a->type == SOL_H5_I8 || a->type == SOL_H5_I16 || a->type == SOL_H5_I32;
    if (is_signed && *v >> (8 * a->size - 1)) *v |= ~(uint64_t)0 << 8 * a->size;
    return true;
}

sol_status sol_h5_get_i64(const sol_h5_file *f, const sol_h5_node *n, const char *name, int64_t lo,
                          int64_t hi, int64_t *value, sol_err *err)
{
    const sol_h5_attr *a;
    uint64_t v;
    SOL_TRY(need_attr(f, n, name, &a, err));
    if (!integer_value(a, &v)) return wrong_type(f, n, a, "an integer", err);
    *value = (int64_t)v;
    if (*value < lo || *value > hi || (a->type == SOL_H5_U64 && *value < 0))
        return sol_fail(err, SOL_ERR_RANGE,
                        "%s: %s: attribute %s is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                        f->path, n->path, name, *value, lo, hi);
    return SOL_OK;
}

sol_status sol_h5_get_u64(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                          uint64_t *value, sol_err *err)
{
    const sol_h5_attr *a;
    SOL_TRY(need_attr(f, n, name, &a, err));
    return integer_value(a, value) ? SOL_OK : wrong_type(f, n, a, "an integer", err);
}

sol_status sol_h5_get_f64(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                          double *value, sol_err *err)
{
    const sol_h5_attr *a;
    float single;
    SOL_TRY(need_attr(f, n, name, &a, err));
    if (a->type == SOL_H5_F64) {
        memcpy(value, a->value, sizeof *value);
    } else if (a->type == SOL_H5_F32) {
        memcpy(&single, a->value, sizeof single);
        *value = single;
    } else {
        return wrong_type(f, n, a, "float64", err);
    }
    return SOL_OK;
}

sol_status sol_h5_stream_next(sol_h5_stream *s, void *out, size_t n, sol_err *err)
{
    const sol_h5_node *d = s->node;
    if (n > d->bytes - s->done)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: %s: more is read than it holds", s->file->path,
                        d->path);
    SOL_TRY(sol_in_read(&s->file->in, d->offset + s->done, out, n, err));
    s->done += n;
    if (!d->has_crc) return SOL_OK;
    s->crc = sol_crc32c(s->crc, out, n);
    if (s->done == d->bytes && s->crc != d->crc)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: %s: its bytes have checksum %08x, the file says %08x: it is damaged",
                        s->file->path, d->path, (unsigned)s->crc, (unsigned)d->crc);
    return SOL_OK;
}

/* What is left of the stream's dataset, but no more than `piece` bytes. */
static size_t next_piece(const sol_h5_stream *s, size_t piece)
{
    uint64_t left = s->node->bytes - s->done;
    return left < piece ? (size_t)left : piece;
}

sol_status sol_h5_read(const sol_h5_file *f, const sol_h5_node *n, void *out, sol_err *err)
{
    enum { PIECE = 1 << 20 }; /* the checksum is computed while a piece is in the cache */
    sol_h5_stream s = {.file = f, .node = n};
    while (s.done < n->bytes)
        SOL_TRY(sol_h5_stream_next(&s, (uint8_t *)out + s.done, next_piece(&s, PIECE), err));
    return SOL_OK;
}

sol_status sol_h5_verify(const sol_h5_file *f, const sol_h5_node *n, sol_err *err)
{
    enum { PIECE = 1 << 18 };
    uint8_t *buffer;
    sol_h5_stream s = {.file = f, .node = n};
    sol_status st = sol_alloc_array((void **)&buffer, next_piece(&s, PIECE), 1, err);
    while (st == SOL_OK && s.done < n->bytes)
        st = sol_h5_stream_next(&s, buffer, next_piece(&s, PIECE), err);
    sol_free(buffer);
    return st;
}
