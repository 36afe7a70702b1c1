/* Normalizers: steps that change a text before it is cut into words, as Hugging Face `tokenizers`
 * does it. */
#ifndef SOLERA_TEXT_NORMALIZE_H
#define SOLERA_TEXT_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/regex.h"

enum { SOL_NORMAL_STEPS = 16 };

typedef enum {
    SOL_NORMAL_PREPEND,
    SOL_NORMAL_REPLACE,
    SOL_NORMAL_STRIP,
    SOL_NORMAL_LOWERCASE,
    SOL_NORMAL_NFC,
    SOL_NORMAL_NFD,
    SOL_NORMAL_NFKC,
    SOL_NORMAL_NFKD
} sol_normal_kind;

typedef struct sol_normal_step {
    sol_normal_kind kind;
    bool left, right; /* STRIP */
    char *find;       /* REPLACE: this string, or what `regex` matches; owned */
    sol_regex *regex;
    char *content; /* REPLACE, PREPEND; owned */
} sol_normal_step;

typedef struct sol_normalizer {
    int n;
    sol_normal_step step[SOL_NORMAL_STEPS];
} sol_normalizer; /* start from {0}; immutable after the last add */

/* Each appends a step; what is not asked for is NULL or false. */
sol_status sol_normalizer_add(sol_normalizer *z, sol_normal_kind kind, sol_err *err);
sol_status sol_normalizer_add_prepend(sol_normalizer *z, const char *content, sol_err *err);
sol_status sol_normalizer_add_strip(sol_normalizer *z, bool left, bool right, sol_err *err);
/* One of find and regex, not empty. */
sol_status sol_normalizer_add_replace(sol_normalizer *z, const char *find, const char *regex,
                                      const char *content, sol_err *err);
void sol_normalizer_free(sol_normalizer *z);

/* Memory of one thread. Start from {0}. */
typedef struct sol_normal_scratch {
    char *text[2]; /* what a step reads and what it writes */
    size_t cap_text[2];
    int32_t *runes;
    size_t cap_runes;
} sol_normal_scratch;
void sol_normal_scratch_free(sol_normal_scratch *s);

/* Replaces *text and *n by the normalized text, which lives in s until its next use, or is the text
 * itself. Unless the text `begins` here, nothing is put in front. Bytes that are not valid UTF-8
 * stay as they are. */
sol_status sol_normalizer_run(const sol_normalizer *z, sol_normal_scratch *s,
                              sol_regex_scratch *regex, bool begins, const char **text, size_t *n,
                              sol_err *err);

/* A character as a small letter: UTF-8 into out, returns its bytes. The small sigma of the end of a
 * word is not made. */
size_t sol_letter_lower(uint32_t c, char out[8]);

#endif
