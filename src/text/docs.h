/* Text files as a stream of documents:
 *   plain text   documents end at a separator line; blanks and line breaks around it are dropped
 *   JSON         a value a line, or the items of one array: strings, or objects with a string under
 *                "text"
 * and gzip of both (text/filekind.h: what is taken for what, and what is refused). No file is
 * loaded whole: the stream comes in batches of pieces of UTF-8, and a long document in several
 * pieces where it may be cut. A value of JSON, and a document that may be cut nowhere (for a
 * normalizer that strips or replaces, added tokens that strip, an unknown regex), lie in memory as
 * a whole. Batches depend on the files alone, those of a pipe also on how much each read gives; the
 * documents do not.
 *
 *     st = sol_docs_open(&d, &options, err);
 *     while (st == SOL_OK && (st = sol_docs_read(d, &batch, err)) == SOL_OK && batch.n_pieces > 0)
 *         n_pieces += batch.n_pieces;
 *     if (st == SOL_OK) sol_docs_report(d);
 *     sol_docs_close(&d); */
#ifndef SOLERA_TEXT_DOCS_H
#define SOLERA_TEXT_DOCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/status.h"
#include "text/filekind.h"

#define SOL_DOCS_SEPARATOR "<|endoftext|>" /* the usual separator line */

struct sol_tokenizer;

enum {
    SOL_DOCS_PIECE = 128 << 10, /* a document is cut into pieces of about this many bytes, where
                                 * that is allowed */
    SOL_DOCS_BATCH = 3 << 20    /* bytes of text a batch, at least: one more piece may exceed it */
};

typedef struct sol_docs_opts {
    const char *const *files;
    int n_files;
    const char *separator[2]; /* texts of separator lines; NULL: none */
    bool unix_lines;          /* read CR LF as LF */
    bool cut;                 /* cut long documents where a blank follows a character that is
                               * none */
    bool cut_lines;           /* and where a single line break lies between two such characters */
    const struct sol_tokenizer *cut_words; /* long texts without such a place inside a word, where
                                            * this tokenizer's ids stay the same; NULL: nowhere;
                                            * borrowed until close */
    sol_read_as as;                        /* SOL_READ_AUTO: by content and name */
    bool skip_bad;             /* leave out, and count, values of JSON without a text and bytes
                                * that are no UTF-8 */
    const sol_log *log;        /* where warnings go; NULL: nowhere */
    const sol_progress *waits; /* told while a pipe says nothing, as sol_reader_open has it */
} sol_docs_opts;

typedef struct sol_piece {
    size_t at, n; /* in the batch's text */
    int64_t line; /* of its beginning, from 1 */
    int file;
    bool first, last; /* of its document */
} sol_piece;

typedef struct sol_batch {
    char *text; /* pieces in order; the bytes between them belong to none */
    size_t n_text, cap_text;
    sol_piece *piece;
    size_t n_pieces, cap_pieces;
} sol_batch; /* start from {0}; reused by every read */
void sol_batch_free(sol_batch *b);

typedef struct sol_docs sol_docs;
/* Options are borrowed until close. Every regular file is looked at before the first is read. */
sol_status sol_docs_open(sol_docs **d, const sol_docs_opts *o, sol_err *err);
void sol_docs_close(sol_docs **d);
/* The next batch; no pieces at the end. Documents of blanks alone are left out. */
sol_status sol_docs_read(sol_docs *d, sol_batch *b, sol_err *err);
/* Progress: bytes of the files consumed and in all (0: unknown). */
void sol_docs_progress(const sol_docs *d, uint64_t *done, uint64_t *total);

/* At the end of the work: warns of what was left out for skip_bad, and of a file that was taken for
 * JSON for its content alone. */
void sol_docs_report(const sol_docs *d);
/* Values that were left out for skip_bad, and bytes. */
void sol_docs_skipped(const sol_docs *d, int64_t *values, uint64_t *bytes);

/* A file of plain text as one document, without its byte order mark: *text is owned by the caller
 * (sol_free). JSON is refused; more than `limit` bytes are SOL_ERR_RANGE. */
sol_status sol_docs_plain(const char *path, size_t limit, char **text, size_t *n, sol_err *err);

/* The last place in text[0, n) where a blank follows a character that is none or, with `lines`,
 * behind a single line break between two such characters; 0: none. Characters that are rarely there
 * (controls, U+0080 to U+00BF, U+1000 to U+2FFF, invalid UTF-8) do not count. */
size_t sol_text_last_cut(const char *text, size_t n, bool lines);
/* Nothing but ASCII white space. */
bool sol_text_is_blank(const char *text, size_t n);

#endif
