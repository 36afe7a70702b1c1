/* Token datasets: /tokens streams in, /doc_offsets follows, and reading maps the tokens where they lie. */
#include "store/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/parts.h"

/* Tokens of a file up to this size are checked against their checksum when it is opened; larger ones by `inspect --verify`. */
#define VERIFY_BYTES (64u << 20)

enum { BUFFER = 1 << 15 }; /* tokens that wait to be written */

struct sol_dataset_writer {
    sol_h5_writer *file;
    int tokens;         /* object */
    int width;          /* bytes of a token */
    int32_t vocab_size;
    uint64_t n;         /* tokens so far */
    uint64_t *ends;     /* [n_docs]; owned */
    size_t n_docs, capacity;
    size_t waiting;     /* tokens in the buffer */
    union {
        uint16_t u16[BUFFER];
        uint32_t u32[BUFFER];
    } buffer;
};

sol_status sol_dataset_writer_open(sol_dataset_writer **out, const char *path, int32_t vocab_size, uint64_t tokenizer_hash,
                                   sol_err *err)
{
    sol_dataset_writer *w = NULL;
    int group;
    sol_status st = sol_alloc_array((void **)&w, 1, sizeof *w, err);
    *out = w;
    if (st != SOL_OK) return st;
    w->vocab_size = vocab_size;
    w->width = vocab_size <= 0x10000 ? 2 : 4;
    st = sol_h5_create(&w->file, path, SOL_FORMAT_DATASET, err);
    if (st == SOL_OK) st = sol_h5_set_i64(w->file, 0, "vocab_size", vocab_size, err);
    if (st == SOL_OK) st = sol_h5_growing(w->file, "/tokens", w->width == 2 ? SOL_H5_U16 : SOL_H5_U32, &w->tokens, err);
    if (st == SOL_OK) st = sol_h5_group(w->file, "/tokenizer", &group, err);
    if (st == SOL_OK) st = sol_h5_set_u64(w->file, group, "hash", tokenizer_hash, err);
    if (st == SOL_OK) st = sol_h5_begin(w->file, err);
    if (st != SOL_OK) sol_dataset_writer_abort(out);
    return st;
}

void sol_dataset_writer_abort(sol_dataset_writer **out)
{
    sol_dataset_writer *w = *out;
    if (!w) return;
    sol_h5_abort(&w->file);
    sol_free(w->ends);
    sol_free(w);
    *out = NULL;
}

static uint64_t last_end(const sol_dataset_writer *w)
{
    return w->n_docs ? w->ends[w->n_docs - 1] : 0;
}

static sol_status flush(sol_dataset_writer *w, sol_err *err)
{
    size_t n = w->waiting;
    w->waiting = 0;
    return n ? sol_h5_append(w->file, w->tokens, &w->buffer, n * (size_t)w->width, err) : SOL_OK;
}

sol_status sol_dataset_writer_append(sol_dataset_writer *w, const int32_t *ids, size_t n, sol_err *err)
{
    sol_status st = SOL_OK;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= w->vocab_size)
            return sol_fail(err, SOL_ERR_RANGE, "document %zu: token %llu is id %d, the vocabulary has %d", w->n_docs,
                            (unsigned long long)(w->n - last_end(w)) + i, (int)ids[i], (int)w->vocab_size);
        if (w->width == 2)
            w->buffer.u16[w->waiting++] = (uint16_t)ids[i];
        else
            w->buffer.u32[w->waiting++] = (uint32_t)ids[i];
        if (w->waiting == BUFFER && (st = flush(w, err)) != SOL_OK) return st;
    }
    w->n += n;
    return SOL_OK;
}

sol_status sol_dataset_writer_end(sol_dataset_writer *w, sol_err *err)
{
    if (w->n == last_end(w)) return SOL_OK; /* an empty document would be invisible to the reader */
    sol_status st = sol_grow_array((void **)&w->ends, &w->capacity, w->n_docs + 1, sizeof *w->ends, err);
    if (st == SOL_OK) w->ends[w->n_docs++] = w->n;
    return st;
}

sol_status sol_dataset_writer_add(sol_dataset_writer *w, const int32_t *ids, size_t n, sol_err *err)
{
    sol_status st = sol_dataset_writer_append(w, ids, n, err);
    return st == SOL_OK ? sol_dataset_writer_end(w, err) : st;
}

sol_status sol_dataset_writer_close(sol_dataset_writer **out, sol_err *err)
{
    sol_dataset_writer *w = *out;
    int id;
    int64_t n_offsets = (int64_t)w->n_docs + 1;
    uint64_t zero = 0;
    sol_status st = flush(w, err);
    if (st == SOL_OK && w->n != last_end(w)) st = sol_fail(err, SOL_ERR_USAGE, "the last document was not ended");
    if (st == SOL_OK && w->n == 0) st = sol_fail(err, SOL_ERR_FORMAT, "no tokens: the input has no text");
    if (st == SOL_OK) st = sol_h5_dataset(w->file, "/doc_offsets", SOL_H5_U64, 1, &n_offsets, &id, err);
    if (st == SOL_OK) st = sol_h5_begin(w->file, err);
    if (st == SOL_OK) st = sol_h5_append(w->file, id, &zero, sizeof zero, err);
    if (st == SOL_OK) st = sol_h5_append(w->file, id, w->ends, w->n_docs * sizeof *w->ends, err);
    if (st == SOL_OK) st = sol_h5_commit(&w->file, err);
    sol_dataset_writer_abort(out);
    return st;
}

/* ---- reading ---- */

static sol_status check_offsets(const sol_h5_file *f, const sol_tokens *t, sol_err *err)
{
    if (t->doc_offsets[0] != 0 || t->doc_offsets[t->n_docs] != (uint64_t)t->n)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /doc_offsets: runs from %llu to %llu, expected 0 to %lld", f->path,
                        (unsigned long long)t->doc_offsets[0], (unsigned long long)t->doc_offsets[t->n_docs], (long long)t->n);
    for (int64_t i = 0; i < t->n_docs; i++)
        if (t->doc_offsets[i] >= t->doc_offsets[i + 1])
            return sol_fail(err, SOL_ERR_FORMAT, "%s: /doc_offsets[%lld]: does not increase", f->path, (long long)i + 1);
    return SOL_OK;
}

static sol_status read_all(sol_dataset *d, sol_h5_file *f, sol_err *err)
{
    const sol_h5_node *tokens, *offsets = NULL, *tokenizer;
    int64_t any = -1;
    uint64_t *doc_offsets = NULL;
    const sol_h5_node *probe = sol_h5_find(f, "/tokens");
    bool wide = probe && probe->type == SOL_H5_U32;
    sol_status st = sol_part_check_format(f, SOL_FORMAT_DATASET, err);
    if (st == SOL_OK) st = sol_h5_get_i64(f, &f->tree.node[0], "vocab_size", 1, INT32_MAX, &d->vocab_size, err);
    if (st == SOL_OK) st = sol_h5_need_dataset(f, "/tokens", wide ? SOL_H5_U32 : SOL_H5_U16, 1, &any, &tokens, err);
    if (st == SOL_OK) st = sol_h5_need_dataset(f, "/doc_offsets", SOL_H5_U64, 1, &any, &offsets, err);
    if (st == SOL_OK) st = sol_h5_need_group(f, "/tokenizer", &tokenizer, err);
    if (st == SOL_OK) st = sol_h5_get_u64(f, tokenizer, "hash", &d->tokens.tokenizer_hash, err);
    if (st == SOL_OK && offsets->dim[0] < 2) st = sol_fail(err, SOL_ERR_FORMAT, "%s: holds no document", f->path);
    if (st == SOL_OK) st = sol_alloc_array((void **)&doc_offsets, offsets->dim[0], sizeof *doc_offsets, err);
    if (st != SOL_OK) return st;
    d->tokens.doc_offsets = doc_offsets;
    d->tokens.width = wide ? 4 : 2;
    d->tokens.data = f->map.data + tokens->offset;
    d->tokens.n = (int64_t)tokens->dim[0];
    d->tokens.n_docs = (int64_t)offsets->dim[0] - 1;
    st = sol_h5_read(f, offsets, doc_offsets, err);
    if (st == SOL_OK) st = check_offsets(f, &d->tokens, err);
    if (st == SOL_OK && tokens->offset % (uint64_t)d->tokens.width)
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: /tokens: lies at byte %llu, which is not aligned", f->path,
                      (unsigned long long)tokens->offset);
    if (st == SOL_OK && tokens->bytes <= VERIFY_BYTES) st = sol_h5_verify(f, tokens, err);
    return st;
}

sol_status sol_dataset_open(sol_dataset *d, const char *path, sol_err *err)
{
    sol_h5_file *f = NULL;
    *d = (sol_dataset){0};
    sol_status st = sol_alloc_array((void **)&f, 1, sizeof *f, err);
    if (st != SOL_OK) return st;
    f->in.fd = -1;
    d->impl = f;
    st = sol_h5_open(f, path, err);
    if (st == SOL_OK) st = read_all(d, f, err);
    if (st == SOL_OK) st = sol_h5_tree_digest(&f->tree, &d->digest, err);
    if (st != SOL_OK) sol_dataset_close(d);
    return st;
}

void sol_dataset_close(sol_dataset *d)
{
    sol_free((void *)d->tokens.doc_offsets);
    if (d->impl) sol_h5_close(d->impl);
    sol_free(d->impl);
    *d = (sol_dataset){0};
}
