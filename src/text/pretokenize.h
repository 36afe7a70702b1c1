/* Pre-tokenizers: stages that cut text into words before BPE merges inside them, as Hugging Face
 * `tokenizers` does it. */
#ifndef SOLERA_TEXT_PRETOKENIZE_H
#define SOLERA_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "text/regex.h"

#define SOL_REGEX_LLAMA3 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SOL_REGEX_GPT2 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SOL_REGEX_QWEN2 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* Digits, one by one and in runs. These very texts stand for what Rust takes for a number. */
#define SOL_REGEX_DIGIT "\\p{N}"
#define SOL_REGEX_DIGITS "\\p{N}+"

/* What the regex crate of Rust takes for \\w: white space and added tokens go by that. */
#define SOL_REGEX_RUST_WORD_SET \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}" \
    "\\x{1F150}-\\x{1F169}" \
    "\\x{1F170}-\\x{1F189}"
#define SOL_REGEX_RUST_WORD "[" SOL_REGEX_RUST_WORD_SET "]"

enum { SOL_PRETOK_STAGES = 8 };

typedef enum { SOL_STAGE_SPLIT, SOL_STAGE_PREFIX_SPACE, SOL_STAGE_METASPACE } sol_stage_kind;

/* What becomes of a match; the text between two matches stays together. */
typedef enum {
    SOL_SPLIT_ISOLATED,
    SOL_SPLIT_REMOVED,
    SOL_SPLIT_MERGED_WITH_PREVIOUS,
    SOL_SPLIT_MERGED_WITH_NEXT,
    SOL_SPLIT_CONTIGUOUS
} sol_split;

typedef enum { SOL_PREPEND_NEVER, SOL_PREPEND_FIRST, SOL_PREPEND_ALWAYS } sol_prepend;

typedef struct sol_stage {
    sol_stage_kind kind;
    char *source; /* SPLIT: the regex as tokenizer.json writes it; METASPACE: what stands for a
                     blank; owned */
    sol_regex *regex;
    sol_split split;
    bool invert;         /* what does not match is the match */
    sol_prepend prepend; /* METASPACE */
    bool cut;            /* METASPACE: and cuts in front of each blank */
} sol_stage;

typedef struct sol_pretok {
    int n;
    sol_stage stage[SOL_PRETOK_STAGES];
} sol_pretok; /* start from {0}; immutable after the last add */

/* Each appends a stage. */
sol_status sol_pretok_add_split(sol_pretok *p, const char *regex, sol_split split, bool invert,
                                sol_err *err);
/* A blank in front of what does not begin with one. */
sol_status sol_pretok_add_prefix_space(sol_pretok *p, sol_err *err);
sol_status sol_pretok_add_metaspace(sol_pretok *p, const char *space, sol_prepend prepend, bool cut,
                                    sol_err *err);
/* Isolates the matches: the form that byte-level vocabularies use. */
sol_status sol_pretok_add(sol_pretok *p, const char *regex, sol_err *err);
void sol_pretok_free(sol_pretok *p);

/* The stages that a GGUF name stands for; NULL means "default". */
sol_status sol_pretok_add_named(sol_pretok *p, const char *name, bool *ignore_merges, bool *add_bos,
                                sol_err *err);
/* True when the stages are those of a row of pretok.def. */
bool sol_pretok_is_known(const sol_pretok *p);
/* The first name that stands for these stages and this way with merges; NULL: none. */
const char *sol_pretok_name(const sol_pretok *p, bool ignore_merges);
/* Whether the models of a name bring their texts to NFC before they are cut. */
bool sol_pretok_name_means_nfc(const char *name);
/* Nothing but regexes that isolate their matches. */
bool sol_pretok_is_plain(const sol_pretok *p);

/* Scratch memory of one thread. */
typedef struct sol_pretok_scratch sol_pretok_scratch;
sol_status sol_pretok_scratch_create(sol_pretok_scratch **s, sol_err *err);
void sol_pretok_scratch_free(sol_pretok_scratch **s);
sol_regex_scratch *sol_pretok_regex_scratch(sol_pretok_scratch *s); /* borrowed */

typedef sol_status (*sol_word_fn)(void *user, const char *word, size_t n, sol_err *err);
/* Where a text begins: inside a longer one that was cut there, behind something else such as an
 * added token, or a document. A blank is put in front by SOL_PREPEND_FIRST where a document begins,
 * otherwise anywhere but inside. */
typedef enum { SOL_PLACE_INSIDE, SOL_PLACE_BEHIND, SOL_PLACE_FIRST } sol_place;

/* Calls fn for each word, in order. Bytes that are not valid UTF-8 form words of their own. Stops
 * at the first error. */
sol_status sol_pretok_run(const sol_pretok *p, sol_pretok_scratch *s, const char *text, size_t n,
                          sol_place place, sol_word_fn fn, void *user, sol_err *err);

#endif
