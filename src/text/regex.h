/* Regular expressions of tokenizers: Oniguruma's dialect, as far as PCRE2 means the same by it, or
 * refused. */
#ifndef SOLERA_TEXT_REGEX_H
#define SOLERA_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { SOL_REGEX_MAX = 8192 }; /* bytes of a pattern */

typedef struct sol_regex sol_regex;
/* The caller owns *r. What would match other texts than Oniguruma's is SOL_ERR_UNSUPPORTED. */
sol_status sol_regex_create(sol_regex **r, const char *source, sol_err *err);
void sol_regex_free(sol_regex **r);
/* Whether a match may be empty. */
bool sol_regex_may_be_empty(const sol_regex *r);

/* Scratch memory of one thread. */
typedef struct sol_regex_scratch sol_regex_scratch;
sol_status sol_regex_scratch_create(sol_regex_scratch **s, sol_err *err);
void sol_regex_scratch_free(sol_regex_scratch **s);

/* Where a search goes on; start from {0}. */
typedef struct sol_regex_at {
    size_t from, to; /* of the match */
    /* private */
    const void *code;
    size_t next, last_end;
    bool begun, any; /* there was a match before, which ended at last_end */
} sol_regex_at;
/* The next match in text[0, n), which must be valid UTF-8; *found is false behind the last one. An
 * empty match at the end of the match before it does not count. */
sol_status sol_regex_next(const sol_regex *r, sol_regex_scratch *s, const char *text, size_t n,
                          sol_regex_at *at, bool *found, sol_err *err);

#endif
