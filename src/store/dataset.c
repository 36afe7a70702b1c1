/* Token datasets. A writer streams /tokens into the file and appends /doc_offsets at the end; a
 * reader maps the tokens where they lie. train/tokenize.c writes them, text/batcher.c draws windows
 * from them. */
#include "store/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/parts.h"

/* Tokens of up to this size are checked against their checksum when the file is opened; larger ones
 * only by `inspect --verify`. */
#define VERIFY_BYTES (64u << 20)

enum { BUFFER = 1 << 15 }; /* tokens that wait to be written */

struct sol_dataset_writer {
    sol_h5_writer *file;
    int tokens; /* object */
    int width;  /* bytes of a token */
    int32_t vocab_size;
    uint64_t n;     /* tokens so far */
    uint64_t *ends; /* [n_docs]; owned */
    size_t n_docs, capacity;
    uint64_t *answers; /* [2 n_answers]; owned */
    size_t n_answers, cap_answers;
    size_t waiting; /* tokens in the buffer */
    union {
        uint16_t u16[BUFFER];
        uint32_t u32[BUFFER];
    } buffer;
};

static sol_status begin(sol_dataset_writer *w, const char *path, uint64_t tokenizer_hash,
                        uint64_t origin, sol_err *err)
{
    int group;
    SOL_TRY(sol_h5_create(&w->file, path, SOL_FORMAT_DATASET, err));
    SOL_TRY(sol_h5_set_i64(w->file, 0, "vocab_size", w->vocab_size, err));
    if (origin) SOL_TRY(sol_h5_set_u64(w->file, 0, "origin", origin, err));
    SOL_TRY(sol_h5_growing(w->file, "/tokens", w->width == 2 ? SOL_H5_U16 : SOL_H5_U32, &w->tokens,
                           err));
    SOL_TRY(sol_h5_group(w->file, "/tokenizer", &group, err));
    SOL_TRY(sol_h5_set_u64(w->file, group, "hash", tokenizer_hash, err));
    return sol_h5_begin(w->file, err);
}

sol_status sol_dataset_writer_open_from(sol_dataset_writer **out, const char *path,
                                        int32_t vocab_size, uint64_t tokenizer_hash,
                                        uint64_t origin, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->vocab_size = vocab_size;
    (*out)->width = vocab_size <= 0x10000 ? 2 : 4;
    sol_status st = begin(*out, path, tokenizer_hash, origin, err);
    if (st != SOL_OK) sol_dataset_writer_abort(out);
    return st;
}

sol_status sol_dataset_writer_open(sol_dataset_writer **out, const char *path, int32_t vocab_size,
                                   uint64_t tokenizer_hash, sol_err *err)
{
    return sol_dataset_writer_open_from(out, path, vocab_size, tokenizer_hash, 0, err);
}

void sol_dataset_writer_abort(sol_dataset_writer **out)
{
    sol_dataset_writer *w = *out;
    if (!w) return;
    sol_h5_abort(&w->file);
    sol_free(w->ends);
    sol_free(w->answers);
    sol_free(w);
    *out = NULL;
}

/* Where the document begins that is being written. */
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

sol_status sol_dataset_writer_append(sol_dataset_writer *w, const int32_t *ids, size_t n,
                                     sol_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= w->vocab_size)
            return sol_fail(err, SOL_ERR_RANGE,
                            "document %zu: token %llu is id %d, the vocabulary has %d", w->n_docs,
                            (unsigned long long)(w->n - last_end(w)) + i, (int)ids[i],
                            (int)w->vocab_size);
        if (w->width == 2)
            w->buffer.u16[w->waiting++] = (uint16_t)ids[i];
        else
            w->buffer.u32[w->waiting++] = (uint32_t)ids[i];
        if (w->waiting == BUFFER) SOL_TRY(flush(w, err));
    }
    w->n += n;
    return SOL_OK;
}

sol_status sol_dataset_writer_answer(sol_dataset_writer *w, size_t n, sol_err *err)
{
    if (n == 0) return SOL_OK;
    SOL_TRY(sol_grow_array((void **)&w->answers, &w->cap_answers, 2 * w->n_answers + 2,
                           sizeof *w->answers, err));
    w->answers[2 * w->n_answers] = w->n;
    w->answers[2 * w->n_answers + 1] = w->n + n;
    w->n_answers++;
    return SOL_OK;
}

sol_status sol_dataset_writer_end(sol_dataset_writer *w, sol_err *err)
{
    if (w->n == last_end(w)) return SOL_OK; /* an empty document would be invisible to the reader */
    SOL_TRY(sol_grow_array((void **)&w->ends, &w->capacity, w->n_docs + 1, sizeof *w->ends, err));
    w->ends[w->n_docs++] = w->n;
    return SOL_OK;
}

sol_status sol_dataset_writer_add(sol_dataset_writer *w, const int32_t *ids, size_t n, sol_err *err)
{
    SOL_TRY(sol_dataset_writer_append(w, ids, n, err));
    return sol_dataset_writer_end(w, err);
}

static sol_status finish(sol_dataset_writer *w, sol_err *err)
{
    int id;
    int64_t n_offsets = (int64_t)w->n_docs + 1, n_answers = 2 * (int64_t)w->n_answers;
    uint64_t zero = 0;
    SOL_TRY(flush(w, err));
    if (w->n != last_end(w)) return sol_fail(err, SOL_ERR_USAGE, "the last document was not ended");
    if (w->n == 0) return sol_fail(err, SOL_ERR_FORMAT, "no tokens: the input has no text");
    SOL_TRY(sol_h5_dataset(w->file, "/doc_offsets", SOL_H5_U64, 1, &n_offsets, &id, err));
    SOL_TRY(sol_h5_begin(w->file, err));
    SOL_TRY(sol_h5_append(w->file, id, &zero, sizeof zero, err));
    SOL_TRY(sol_h5_append(w->file, id, w->ends, w->n_docs * sizeof *w->ends, err));
    if (n_answers) {
        SOL_TRY(sol_h5_dataset(w->file, "/answers", SOL_H5_U64, 1, &n_answers, &id, err));
        SOL_TRY(sol_h5_begin(w->file, err));
        SOL_TRY(
            sol_h5_append(w->file, id, w->answers, (size_t)n_answers * sizeof *w->answers, err));
    }
    return sol_h5_commit(&w->file, err);
}

sol_status sol_dataset_writer_close(sol_dataset_writer **out, sol_err *err)
{
    sol_status st = finish(*out, err);
    sol_dataset_writer_abort(out);
    return st;
}

/* ---- reading ---- */

/* Documents follow each other from the first token to the last, and none is empty. */
static sol_status check_offsets(const sol_h5_file *f, const sol_tokens *t, sol_err *err)
{
    if (t->doc_offsets[0] != 0 || t->doc_offsets[t->n_docs] != (uint64_t)t->n)
        return sol_fail(err, SOL_ERR_FORMAT,
                        "%s: /doc_offsets: runs from %llu to %llu, expected 0 to %lld", f->path,
                        (unsigned long long)t->doc_offsets[0],
                        (unsigned long long)t->doc_offsets[t->n_docs], (long long)t->n);
    for (int64_t i = 0; i < t->n_docs; i++)
        if (t->doc_offsets[i] >= t->doc_offsets[i + 1])
            return sol_fail(err, SOL_ERR_FORMAT, "%s: /doc_offsets[%lld]: does not increase",
                            f->path, (long long)i + 1);
    return SOL_OK;
}

/* The ranges of answers, where the file has them: in order, apart from each other, inside. */
static sol_status read_answers(sol_dataset *d, const sol_h5_file *f, sol_err *err)
{
    const sol_h5_node *node;
    int64_t any = -1;
    uint64_t *answers, end = 0;
    if (!sol_h5_find(f, "/answers")) return SOL_OK;
    SOL_TRY(sol_h5_need_dataset(f, "/answers", SOL_H5_U64, 1, &any, &node, err));
    SOL_TRY(sol_alloc_array((void **)&answers, node->dim[0], sizeof *answers, err));
    d->tokens.answers = answers;
    d->tokens.n_answers = (int64_t)node->dim[0] / 2;
    SOL_TRY(sol_h5_read(f, node, answers, err));
    for (int64_t i = 0; i < d->tokens.n_answers; i++) {
        if (answers[2 * i] < end || answers[2 * i + 1] <= answers[2 * i])
            return sol_fail(err, SOL_ERR_FORMAT, "%s: /answers[%lld]: is no range behind the last",
                            f->path, (long long)(2 * i));
        end = answers[2 * i + 1];
    }
    if (end > (uint64_t)d->tokens.n || node->dim[0] % 2)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /answers: go beyond the tokens", f->path);
    return SOL_OK;
}

static sol_status read_all(sol_dataset *d, sol_h5_file *f, sol_err *err)
{
    const sol_h5_node *tokens, *offsets = NULL, *tokenizer;
    int64_t any = -1;
    uint64_t *doc_offsets = NULL;
    const sol_h5_node *probe = sol_h5_find(f, "/tokens");
    bool is_u32 = probe && probe->type == SOL_H5_U32;
    SOL_TRY(sol_part_check_format(f, SOL_FORMAT_DATASET, err));
    SOL_TRY(sol_h5_get_i64(f, &f->tree.node[0], "vocab_size", 1, INT32_MAX, &d->vocab_size, err));
    if (sol_h5_node_attr(&f->tree.node[0], "origin"))
        SOL_TRY(sol_h5_get_u64(f, &f->tree.node[0], "origin", &d->origin, err));
    SOL_TRY(
        sol_h5_need_dataset(f, "/tokens", is_u32 ? SOL_H5_U32 : SOL_H5_U16, 1, &any, &tokens, err));
    SOL_TRY(sol_h5_need_dataset(f, "/doc_offsets", SOL_H5_U64, 1, &any, &offsets, err));
    SOL_TRY(sol_h5_need_group(f, "/tokenizer", &tokenizer, err));
    SOL_TRY(sol_h5_get_u64(f, tokenizer, "hash", &d->tokens.tokenizer_hash, err));
    if (offsets->dim[0] < 2) return sol_fail(err, SOL_ERR_FORMAT, "%s: holds no document", f->path);
    SOL_TRY(sol_alloc_array((void **)&doc_offsets, offsets->dim[0], sizeof *doc_offsets, err));
    d->tokens.doc_offsets = doc_offsets;
    d->tokens.width = is_u32 ? 4 : 2;
    d->tokens.data = f->map.data + tokens->offset;
    d->tokens.n = (int64_t)tokens->dim[0];
    d->tokens.n_docs = (int64_t)offsets->dim[0] - 1;
    SOL_TRY(sol_h5_read(f, offsets, doc_offsets, err));
    SOL_TRY(check_offsets(f, &d->tokens, err));
    SOL_TRY(read_answers(d, f, err));
    if (tokens->offset % (uint64_t)d->tokens.width)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: /tokens: lies at byte %llu, which is not aligned",
                        f->path, (unsigned long long)tokens->offset);
    if (tokens->bytes <= VERIFY_BYTES) SOL_TRY(sol_h5_verify(f, tokens, err));
    return SOL_OK;
}

sol_status sol_dataset_open(sol_dataset *d, const char *path, sol_err *err)
{
    sol_h5_file *f;
    *d = (sol_dataset){0};
    SOL_TRY(sol_alloc_array((void **)&f, 1, sizeof *f, err));
    f->in.fd = -1;
    d->impl = f;
    sol_status st = sol_h5_open(f, path, err);
    if (st == SOL_OK) st = read_all(d, f, err);
    if (st == SOL_OK) st = sol_h5_tree_digest(&f->tree, &d->digest, err);
    if (st != SOL_OK) sol_dataset_close(d);
    return st;
}

void sol_dataset_close(sol_dataset *d)
{
    sol_free((void *)d->tokens.doc_offsets);
    sol_free((void *)d->tokens.answers);
    if (d->impl) sol_h5_close(d->impl);
    sol_free(d->impl);
    *d = (sol_dataset){0};
}
