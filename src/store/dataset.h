/* Dataset files: the tokens of documents, for training and evaluation.
 *
 *     sol_dataset d;
 *     st = sol_dataset_open(&d, "tokens.h5", err);
 *     if (st == SOL_OK) printf("%" PRId64 " tokens\n", d.tokens.n);
 *     if (st == SOL_OK) sol_dataset_close(&d); */
#ifndef SOLERA_STORE_DATASET_H
#define SOLERA_STORE_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/batcher.h"

/* A dataset file, mapped: tokens point into the map and are paged in when they are read. A small
 * file is checked against its checksum when it is opened, a large one by sol_store_verify. Token
 * ids are not checked here. */
typedef struct sol_dataset {
    sol_tokens tokens;
    int64_t vocab_size; /* as the file says: ids should lie below it */
    uint64_t origin;    /* of sol_dataset_writer_open_from; 0: none */
    uint64_t digest;    /* of the content: the same data give the same number wherever the file
                         * lies */
    void *impl;
} sol_dataset;
sol_status sol_dataset_open(sol_dataset *d, const char *path, sol_err *err);
void sol_dataset_close(sol_dataset *d);

/* Streams documents into a dataset file, which appears under its name at close. Ids are stored in
 * 16 bits where vocab_size allows, else in 32. */
typedef struct sol_dataset_writer sol_dataset_writer;
sol_status sol_dataset_writer_open(sol_dataset_writer **w, const char *path, int32_t vocab_size,
                                   uint64_t tokenizer_hash, sol_err *err);
/* With a digest of what the documents were made of, which the reader gives back; 0: none. */
sol_status sol_dataset_writer_open_from(sol_dataset_writer **w, const char *path,
                                        int32_t vocab_size, uint64_t tokenizer_hash,
                                        uint64_t origin, sol_err *err);
/* Adds a document of n ids. SOL_ERR_RANGE: one is outside the vocabulary. */
sol_status sol_dataset_writer_add(sol_dataset_writer *w, const int32_t *ids, size_t n,
                                  sol_err *err);
/* A document in pieces: any number of appends, then an end. One without tokens is left out.
 * SOL_ERR_RANGE: an id outside the vocabulary. */
sol_status sol_dataset_writer_append(sol_dataset_writer *w, const int32_t *ids, size_t n,
                                     sol_err *err);
sol_status sol_dataset_writer_end(sol_dataset_writer *w, sol_err *err);
/* Notes an answer of the open document: the next `n` ids that are appended. A file in which one was
 * noted knows its answers. */
sol_status sol_dataset_writer_answer(sol_dataset_writer *w, size_t n, sol_err *err);
/* Commits and frees the writer in any case. SOL_ERR_USAGE: the last document has no end;
 * SOL_ERR_FORMAT: there are no tokens. */
sol_status sol_dataset_writer_close(sol_dataset_writer **w, sol_err *err);
/* Removes what was written, and frees the writer. */
void sol_dataset_writer_abort(sol_dataset_writer **w);

#endif
