/* Text files as a stream of documents: .txt (documents end at a line that is a separator; blanks and line
 * breaks on both sides of it are not theirs), .jsonl (a document a line: the string under "text"), gzip of
 * both. Nothing is loaded whole: the stream comes in batches of pieces, and a long document may come in several
 * pieces. Batches depend on the files alone. */
#ifndef SOLERA_TEXT_DOCS_H
#define SOLERA_TEXT_DOCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define SOL_DOCS_SEPARATOR "<|endoftext|>" /* the usual separator line */

enum {
    SOL_DOCS_PIECE =
        128 << 10,           /* a document is cut into pieces of about this many bytes, where that is allowed */
    SOL_DOCS_BATCH = 8 << 20 /* bytes of text a batch, at least: one more piece may exceed it */
};

typedef struct sol_docs_options {
    const char *const *files;
    int n_files;
    const char *separator[2]; /* texts of separator lines; NULL: none */
    bool unix_lines;          /* read CR LF as LF */
    bool cut;                 /* cut long .txt documents where a blank follows a character that is none */
    bool cut_lines;           /* and where a single line break lies between two such characters */
} sol_docs_options;

typedef struct sol_piece {
    size_t at, n; /* in the batch's text; a JSON line as it stands in the file */
    int64_t line; /* of its beginning, from 1 */
    int file;
    bool json;
    bool first, last; /* of its document */
} sol_piece;

typedef struct sol_batch {
    char *text;
    size_t n_text, cap_text;
    sol_piece *piece;
    size_t n_pieces, cap_pieces;
} sol_batch; /* start from {0}; reused by every read */
void sol_batch_free(sol_batch *b);

typedef struct sol_docs sol_docs;
/* Options are borrowed until close. Every file is looked at before the first is read. */
sol_status sol_docs_open(sol_docs **d, const sol_docs_options *o, sol_err *err);
void sol_docs_close(sol_docs **d);
/* The next batch; no pieces at the end. Documents of blanks alone are left out. */
sol_status sol_docs_read(sol_docs *d, sol_batch *b, sol_err *err);
/* Progress: bytes of the files consumed and in all (0: unknown). */
void sol_docs_progress(const sol_docs *d, uint64_t *done, uint64_t *total);

/* The document text of a piece: the bytes themselves, or the string of a JSON line, which lives until *owner is
 * released. */
sol_status sol_piece_text(const sol_docs *d, const sol_batch *b, const sol_piece *p, const char **text,
                          size_t *n, void **owner, sol_err *err);
void sol_piece_release(void *owner);

/* The last place in text[0, n) where a blank follows a character that is none or, with `lines`, behind a single line break between two
 * such characters; 0: none. Characters that are rarely there (invalid UTF-8, U+1000 to U+2FFF) do not count. */
size_t sol_text_last_cut(const char *text, size_t n, bool lines);
/* Nothing but ASCII white space. */
bool sol_text_is_blank(const char *text, size_t n);

#endif
