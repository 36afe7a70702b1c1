/* Text files into a token dataset: read, encode and write at the same time, the same file for any
 * number of threads. */
#ifndef SOLERA_TRAIN_TOKENIZE_H
#define SOLERA_TRAIN_TOKENIZE_H

#include "program.h"
#include "text/docs.h"

#define SOL_INPUT_HELP \
    "plain text, lines or an array of JSON with \"text\", gzip of these; -: stdin"
#define SOL_FORMAT_HELP \
    "what --input holds; auto: by content, and JSON by the names .json, .jsonl, .ndjson"
#define SOL_SKIP_BAD_HELP \
    "leave out and count values of JSON that have no text, and bytes that are no UTF-8"

typedef struct sol_tokenize_opts {
    const sol_tokenizer *tokenizer;
    sol_docs_opts docs;       /* the files and how to read them; what the tokenizer says of
                               * separators and of cuts is added */
    sol_special_mode special; /* auto: text, with a warning of the special tokens it spells */
    const char *special_yes;  /* what the warning names to make them tokens */
    uint64_t max_bytes;       /* ends after about so many bytes of text, for a look; 0: reads all */
    const char *out;
} sol_tokenize_opts;

typedef struct sol_tokenize_result {
    int64_t documents, tokens;
    uint64_t text_bytes; /* of the documents, without the syntax of JSON */
    int64_t skipped;     /* values of JSON left out */
    double seconds;
} sol_tokenize_result;

/* Each document becomes: the template's head (BOS), its ids, EOS when the tokenizer has one.
 * Nothing is left under opts->out unless all went well; SOL_ERR_INTERRUPTED after a signal. */
sol_status sol_tokenize_files(sol_program *p, const sol_tokenize_opts *opts, sol_tokenize_result *r,
                              sol_err *err);

#endif
