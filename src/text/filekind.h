/* What a file that should hold text holds, by its first bytes (behind gzip) and its name. */
#ifndef SOLERA_TEXT_FILEKIND_H
#define SOLERA_TEXT_FILEKIND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/enums.h"
#include "base/status.h"

enum { SOL_FILE_HEAD = 8 << 10 }; /* bytes that decide */

typedef enum { SOL_TEXT_PLAIN, SOL_TEXT_JSON_LINES, SOL_TEXT_JSON_ARRAY } sol_text_kind;

/* How to read files: by content and name, or whatever they look like. */
#define SOL_READ_FORMS(ROW) \
    ROW(SOL_READ_AUTO, "auto") \
    ROW(SOL_READ_TEXT, "text") \
    ROW(SOL_READ_JSON, "json")
typedef enum { SOL_READ_FORMS(SOL_ENUM_CONSTANT) } sol_read_as;

/* head[n]: the first bytes, all of them where the file is shorter than SOL_FILE_HEAD. A file named
 * .json, .jsonl or .ndjson (.gz too) is JSON; any other one is when it begins as an array or object
 * of JSON must, and *by_content says so. Tables, binary formats and other encodings are
 * SOL_ERR_FORMAT: the text names the format and what would help. */
sol_status sol_text_kind_of(const char *path, const char *head, size_t n, sol_read_as as,
                            sol_text_kind *kind, bool *by_content, sol_err *err);
/* Bytes of a UTF-8 byte order mark at the beginning of text: 3 or 0. */
size_t sol_text_bom(const char *text, size_t n);
/* A byte that is no UTF-8, for errors: what it may be instead. */
#define SOL_TEXT_RECODE \
    "if the text is Latin-1 or Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8` converts it"

#endif
