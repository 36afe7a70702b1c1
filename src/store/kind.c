/* What kind a solera file is, and what can be asked of any kind: its header, its tokenizer, its
 * checksums, the digest of its model. */
#include "store/kind.h"

#include <string.h>

#include "base/crc.h"
#include "base/file.h"
#include "store/parts.h"
#include "store/teacher_cache.h"

static sol_status kind_of(const sol_h5_file *f, sol_file_kind *kind, sol_err *err)
{
    const char *format;
    SOL_TRY(sol_h5_get_text(f, &f->tree.node[0], "format", &format, err));
    if (strcmp(format, SOL_FORMAT_CHECKPOINT) == 0)
        *kind = sol_h5_find(f, "/state") ? SOL_FILE_CHECKPOINT : SOL_FILE_MODEL;
    else if (strcmp(format, SOL_FORMAT_PACKED) == 0)
        *kind = SOL_FILE_PACKED;
    else if (strcmp(format, SOL_FORMAT_DATASET) == 0)
        *kind = SOL_FILE_DATASET;
    else if (strcmp(format, SOL_FORMAT_STUDY) == 0)
        *kind = SOL_FILE_STUDY;
    else if (strcmp(format, SOL_FORMAT_TEACHER_CACHE) == 0)
        *kind = SOL_FILE_TEACHER_CACHE;
    else
        return sol_fail(err, SOL_ERR_FORMAT, "%s: is a %.40s, not a file of solera", f->path,
                        format);
    return SOL_OK;
}

sol_status sol_store_kind(const char *path, sol_file_kind *kind, sol_err *err)
{
    sol_h5_file f;
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = kind_of(&f, kind, err);
    sol_h5_close(&f);
    return st;
}

const char *sol_file_kind_text(sol_file_kind kind)
{
    static const char *const names[] = {
        [SOL_FILE_CHECKPOINT] = "a checkpoint", [SOL_FILE_MODEL] = "a model file",
        [SOL_FILE_PACKED] = "a packed model",   [SOL_FILE_DATASET] = "a dataset",
        [SOL_FILE_STUDY] = "a study",           [SOL_FILE_TEACHER_CACHE] = "a teacher's cache"};
    return names[kind];
}

sol_status sol_store_model_kind(const char *path, sol_file_kind *kind, sol_err *err)
{
    SOL_TRY(sol_store_kind(path, kind, err));
    if (*kind <= SOL_FILE_PACKED) return SOL_OK;
    return sol_fail(err, SOL_ERR_FORMAT, "%s: holds %s; a model is needed", path,
                    sol_file_kind_text(*kind));
}

static sol_status get_tokenizer(const sol_h5_file *f, sol_tokenizer **t, sol_err *err)
{
    sol_model_config any = {.vocab_size = INT32_MAX};
    const sol_h5_node *n = sol_h5_find(f, "/tokenizer");
    if (!n || !n->is_dataset)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: holds no tokenizer", f->path);
    return sol_part_get_tokenizer(f, &any, t, err);
}

sol_status sol_store_tokenizer(sol_tokenizer **t, const char *path, sol_err *err)
{
    static const char hdf5[8] = "\x89HDF\r\n\x1a\n";
    char head[sizeof hdf5];
    sol_h5_file f;
    *t = NULL;
    SOL_TRY(sol_file_head(path, head, sizeof head, err));
    if (memcmp(head, hdf5, sizeof head) != 0) return sol_tokenizer_open(t, path, err);
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = get_tokenizer(&f, t, err);
    sol_h5_close(&f);
    return st;
}

/* Datasets that go on changing have no checksum of their own; a teacher's cache has one for each of
 * its windows. */
static sol_status verify(const sol_h5_file *f, int64_t *n_objects, uint64_t *bytes, sol_err *err)
{
    sol_file_kind kind = SOL_FILE_MODEL;
    if (!f->sealed)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: has no checksums: another program made it",
                        f->path);
    SOL_TRY(kind_of(f, &kind, err));
    if (kind == SOL_FILE_TEACHER_CACHE) SOL_TRY(sol_teacher_cache_verify(f->path, bytes, err));
    *n_objects = (int64_t)f->tree.n;
    for (size_t i = 0; i < f->tree.n; i++) {
        const sol_h5_node *n = &f->tree.node[i];
        if (!n->is_dataset || !n->has_crc) continue;
        SOL_TRY(sol_h5_verify(f, n, err));
        *bytes += n->bytes;
    }
    return SOL_OK;
}

sol_status sol_store_verify(const char *path, int64_t *n_objects, uint64_t *bytes, sol_err *err)
{
    sol_h5_file f;
    *n_objects = 0;
    *bytes = 0;
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = verify(&f, n_objects, bytes, err);
    sol_h5_close(&f);
    return st;
}

static sol_status digest_of(const sol_h5_file *f, uint64_t *digest, sol_err *err)
{
    sol_file_kind kind = SOL_FILE_MODEL;
    SOL_TRY(kind_of(f, &kind, err));
    if (kind > SOL_FILE_PACKED)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: is not a model with its weights", f->path);
    *digest = SOL_FNV_START;
    for (size_t i = 0; i < f->tree.n; i++) { /* in the order of the paths */
        const sol_h5_node *n = &f->tree.node[i];
        if (strcmp(n->path, "/model") != 0 && strncmp(n->path, "/params/", 8) != 0) continue;
        uint32_t crc = n->is_dataset && !n->has_crc
                           ? sol_crc32c(0, f->map.data + n->offset, n->bytes)
                           : n->crc;
        *digest = sol_h5_node_digest(*digest, n, crc);
    }
    return SOL_OK;
}

sol_status sol_store_model_digest(const char *path, uint64_t *digest, sol_err *err)
{
    sol_h5_file f;
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = digest_of(&f, digest, err);
    sol_h5_close(&f);
    return st;
}

sol_status sol_store_read_windows(const char *path, sol_windows *w, sol_err *err)
{
    sol_h5_file f;
    SOL_TRY(sol_h5_open(&f, path, err));
    sol_status st = sol_part_get_windows(&f, w, err);
    sol_h5_close(&f);
    return st;
}
