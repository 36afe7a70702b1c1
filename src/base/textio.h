/* Reading files that may be gzipped, as a stream of bytes.
 *
 *     sol_reader *r;
 *     st = sol_reader_open(&r, "corpus.txt.gz", NULL, err);
 *     char bytes[4096];
 *     size_t n = 1;
 *     while (st == SOL_OK && n > 0) {
 *         st = sol_reader_read(r, bytes, sizeof bytes, &n, err);
 *         if (st == SOL_OK) fwrite(bytes, 1, n, file);
 *     }
 *     sol_reader_close(&r); */
#ifndef SOLERA_BASE_TEXTIO_H
#define SOLERA_BASE_TEXTIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "base/status.h"

typedef struct sol_reader sol_reader;

/* By content: gzip (any number of members, zeros behind them) is decompressed, everything else
 * passes through. The path is copied. The open does not wait for who writes into a FIFO; a read of
 * it, of a pipe or of a terminal does, and tells `waits` (borrowed until close; NULL: nobody) ten
 * times a second with a total of 0: false ends it with SOL_ERR_INTERRUPTED. */
sol_status sol_reader_open(sol_reader **r, const char *path, const sol_progress *waits,
                           sol_err *err);
void sol_reader_close(sol_reader **r);
/* Up to `size` bytes; *n = 0 only at the end. A gzip file that ends early, fails its checksum, or
 * goes on with something that is no gzip (the text says with how much) is SOL_ERR_FORMAT; a file
 * that becomes shorter while it is read is SOL_ERR_IO. */
sol_status sol_reader_read(sol_reader *r, void *buf, size_t size, size_t *n, sol_err *err);
/* Bytes of the file (compressed ones, where it is) that were consumed so far. */
uint64_t sol_reader_position(const sol_reader *r);

/* The whole decompressed content plus a 0 byte that *size does not count; more than `limit` bytes
 * are SOL_ERR_RANGE. Owned by the caller (sol_free). `waits` as above. */
sol_status sol_text_read(const char *path, size_t limit, const sol_progress *waits, char **data,
                         size_t *size, sol_err *err);

#endif
