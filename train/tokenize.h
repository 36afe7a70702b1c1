/* Text files into a token dataset: read, encode and write at the same time, the same file for any number of
 * threads. */
#ifndef SOLERA_TRAIN_TOKENIZE_H
#define SOLERA_TRAIN_TOKENIZE_H

#include "program.h"
#include "text/docs.h"

typedef struct sol_tokenize_job {
    const sol_tokenizer *tokenizer;
    sol_docs_options docs;
    bool special; /* recognize special tokens in the text */
    const char *out;
} sol_tokenize_job;

typedef struct sol_tokenize_result {
    int64_t documents, tokens;
    uint64_t text_bytes;
    double seconds;
} sol_tokenize_result;

/* Each document becomes: the template's head (BOS), its ids, EOS when the tokenizer has one. Nothing is left
 * under job->out unless all went well; SOL_ERR_INTERRUPTED after a signal. */
sol_status sol_tokenize_files(sol_program *p, const sol_tokenize_job *job, sol_tokenize_result *r,
                              sol_err *err);

#endif
