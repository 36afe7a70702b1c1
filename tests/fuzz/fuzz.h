/* What every libFuzzer target includes. `make fuzz` runs each of tests/fuzz/fuzz_*.c for a minute,
 * starting from small good files and from what earlier runs found (build/fuzz/corpus/<name>/). */
#ifndef SOLERA_TESTS_FUZZ_H
#define SOLERA_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "foreign/source.h"
#include "solera.h"

#define fuzz_check(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* tiny.c. A file in memory with these bytes; its path is valid until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);
/* The same for HDF5: the names of the checksums are changed first (digest, crc32c), as if another
 * program had made the file, so that what follows them is reached. */
const char *fuzz_h5_file(const uint8_t *data, size_t size);
/* A model of one layer with a vocabulary of `vocab` (at least 3), hidden layers of `width` (a
 * multiple of 4); the caller owns it. */
sol_model *fuzz_tiny_model(int64_t vocab, int64_t width);
/* Three control tokens, a token a byte and a word: 260 tokens. */
sol_tokenizer *fuzz_tiny_tokenizer(void);
/* A fresh directory for files that a target needs by name; static storage. */
const char *fuzz_dir(void);
void fuzz_write(const char *path, const void *data, size_t size);
/* Streams an opened source into a model file and closes it: an error, or a file that opens. */
void fuzz_import(sol_source *s);

#endif
