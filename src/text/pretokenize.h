/* Pre-tokenizers: regular expressions that cut text into words before BPE merges inside them. */
#ifndef SOLERA_TEXT_PRETOKENIZE_H
#define SOLERA_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

#define SOL_REGEX_LLAMA3                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"   \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SOL_REGEX_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SOL_REGEX_QWEN2                                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"        \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

enum { SOL_PRETOK_STAGES = 8, SOL_PRETOK_MAX_REGEX = 8192 };

typedef struct sol_pretok {
    int n;
    char *source[SOL_PRETOK_STAGES]; /* as tokenizer.json writes it; owned */
    void *code[SOL_PRETOK_STAGES];   /* compiled */
} sol_pretok;                        /* start from {0}; immutable after the last add */

/* Appends a stage: each match stands alone, the text between two matches stays together (Split, behavior
 * Isolated). The dialect is Oniguruma's as far as tokenizers use it; \s is Unicode White_Space. */
sol_status sol_pretok_add(sol_pretok *p, const char *regex, sol_err *err);
void sol_pretok_free(sol_pretok *p);

/* The stages that a GGUF name stands for; NULL means "default". */
sol_status sol_pretok_add_named(sol_pretok *p, const char *name, bool *ignore_merges, bool *add_bos,
                                sol_err *err);
/* True when the stages are those of a row of pretok.def. */
bool sol_pretok_is_known(const sol_pretok *p);
/* The first name that stands for these stages and this way with merges; NULL: none. */
const char *sol_pretok_name(const sol_pretok *p, bool ignore_merges);

/* Scratch memory of one thread. */
typedef struct sol_pretok_scratch sol_pretok_scratch;
sol_status sol_pretok_scratch_create(sol_pretok_scratch **s, sol_err *err);
void sol_pretok_scratch_free(sol_pretok_scratch **s);

typedef sol_status (*sol_word_fn)(void *user, const char *word, size_t n, sol_err *err);
/* Calls fn for each word, in order; their concatenation is the text. Bytes that are not valid UTF-8 form words
 * of their own. Stops at the first error. */
sol_status sol_pretok_run(const sol_pretok *p, sol_pretok_scratch *s, const char *text, size_t n,
                          sol_word_fn fn, void *user, sol_err *err);

/* Bytes of the UTF-8 character at the start of text[0, n), n > 0; 0 when there is none. */
size_t sol_utf8_char(const char *text, size_t n);
/* Length of the longest prefix of text that is valid UTF-8 (no surrogates, no overlong forms). */
size_t sol_utf8_valid_prefix(const char *text, size_t n);

#endif
