/* The inside of a tokenizer: filled by one of the readers, checked and indexed by sol_tok_finish, then never
 * changed. */
#ifndef SOLERA_TEXT_TOKENIZER_IMPL_H
#define SOLERA_TEXT_TOKENIZER_IMPL_H

#include "text/bytemap.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

typedef enum { SOL_TOK_BYTE_LEVEL, SOL_TOK_SENTENCEPIECE } sol_tok_kind;

enum {
    SOL_TOKEN_NORMAL,
    SOL_TOKEN_CONTROL, /* special: recognized with SOL_ENCODE_SPECIAL only, decodes to nothing */
    SOL_TOKEN_USER,    /* recognized in every text before anything else, decodes to its text */
    SOL_TOKEN_BYTE,    /* SentencePiece byte fallback; its text is the one byte */
    SOL_TOKEN_UNUSED,
    SOL_TOKEN_TYPES
};

enum {
    SOL_TOK_MAX_IDS = 1 << 24,
    SOL_TOK_MAX_TEMPLATE = 8, /* ids in front of or behind a text */
    SOL_TOK_MAX_TOKEN_BYTES = 1 << 16,
};

typedef struct sol_merge {
    int32_t left, right, result;
    int32_t rank; /* lower merges first; equal ranks: leftmost first */
} sol_merge;

struct sol_tokenizer {
    sol_tok_kind kind;
    int32_t n_tokens;
    char *bytes; /* the texts of all tokens, one after the other */
    size_t n_bytes, cap_bytes;
    uint64_t *offset; /* [n_tokens + 1] */
    size_t cap_offset;
    uint8_t *type; /* [n_tokens] */
    size_t cap_type;
    float *score; /* [n_tokens], SentencePiece without explicit merges only */
    size_t cap_score;
    sol_merge *merges; /* as given; SentencePiece by score: derived from the scores */
    size_t n_merges, cap_merges;
    bool merges_given;
    sol_pretok pretok;
    bool ignore_merges;    /* a word that is a token is that token, whatever the merges say */
    bool add_space_prefix; /* SentencePiece: a blank in front of every text */
    int32_t head[SOL_TOK_MAX_TEMPLATE], tail[SOL_TOK_MAX_TEMPLATE];
    int n_head, n_tail;
    int32_t bos, eos;
    int32_t
        unk; /* stands for a byte that no token stands for; -1: such bytes are left out, as other programs do */

    /* indexes */
    sol_bytemap words;    /* normal tokens by text */
    int32_t byte_id[256]; /* the token of each byte; -1: none */
    sol_merge *pair;      /* open addressing by (left, right); left -1: empty */
    size_t pair_mask;
    int32_t *special; /* control and user tokens, by first byte, then longest first */
    int32_t n_special;
    int32_t special_first[257]; /* range of `special` for each first byte */
    bool word_local; /* SentencePiece: no token has a blank behind a non-blank, so words are independent */
    uint64_t hash;
};

/* An empty tokenizer; the caller owns it. */
sol_status sol_tok_create(sol_tokenizer **t, sol_tok_kind kind, sol_err *err);
/* Appends the token with the next id. */
sol_status sol_tok_add(sol_tokenizer *t, const char *text, size_t n, uint8_t type, float score, sol_err *err);
sol_status sol_tok_add_merge(sol_tokenizer *t, int32_t left, int32_t right, int32_t result, sol_err *err);
/* Checks everything and builds the indexes. `name` is what errors begin with. */
sol_status sol_tok_finish(sol_tokenizer *t, const char *name, sol_err *err);

static inline const char *sol_tok_text(const sol_tokenizer *t, int32_t id, size_t *n)
{
    *n = (size_t)(t->offset[id + 1] - t->offset[id]);
    return t->bytes ? t->bytes + t->offset[id] : ""; /* tokens without any text between them have no bytes */
}

/* NULL when the pair does not merge. */
const sol_merge *sol_tok_pair(const sol_tokenizer *t, int32_t left, int32_t right);

/* Into rank[n_tokens]: what the merges make of each normal token's own text. When they make the token, as it is for tokens that training made by
 * merges, the rank of the merge that completes it; no other merge ever makes it in any text. */
enum { SOL_TOK_NOT_MERGED = -1, /* the token is a first symbol, or no normal token */
       SOL_TOK_TWO_LEFT = -2,   /* two symbols are left: a merge of theirs is missing */
       SOL_TOK_MORE_LEFT = -3 };
sol_status sol_tok_last_ranks(const sol_tokenizer *t, int32_t *rank, sol_err *err);

/* The readers; each returns an unfinished error-free or no tokenizer. */
sol_status sol_tok_from_json(sol_tokenizer **t, const char *name, const char *data, size_t size, sol_err *err);
sol_status sol_tok_from_llama2c(sol_tokenizer **t, const char *name, const uint8_t *data, size_t size,
                                sol_err *err);
sol_status sol_tok_from_serialized(sol_tokenizer **t, const char *name, const uint8_t *data, size_t size,
                                   sol_err *err);
#define SOL_TOK_MAGIC "solera-tokenizer\n" /* first bytes of the serialized form */

/* The printable alphabet of byte-level BPE: each byte has a code point, written as 1 or 2 bytes of UTF-8. */
uint32_t sol_byte_to_rune(uint8_t byte);
/* UTF-8 text in that alphabet -> bytes, at most n of them. False: a character outside the alphabet. */
bool sol_runes_to_bytes(const char *text, size_t n, char *out, size_t *n_out);
/* out must hold 2 n bytes. Returns the length. */
size_t sol_bytes_to_runes(const char *bytes, size_t n, char *out);

/* The byte of a SentencePiece token "<0xHH>"; -1: it is none. */
int sol_byte_token(const char *text, size_t n);
/* SentencePiece writes U+2581 for a blank. Returns the new length, at most n. */
size_t sol_underscores_to_blanks(const char *text, size_t n, char *out);

/* A token's text as tokenizer.json and GGUF write it; *out is 0-terminated and owned by the caller. */
sol_status sol_tok_file_text(const sol_tokenizer *t, int32_t id, char **out, size_t *n, sol_err *err);

#endif
