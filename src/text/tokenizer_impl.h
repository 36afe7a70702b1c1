/* The inside of a tokenizer: filled by one of the readers, checked and indexed by sol_tok_finish,
 * then never changed. */
#ifndef SOLERA_TEXT_TOKENIZER_IMPL_H
#define SOLERA_TEXT_TOKENIZER_IMPL_H

#include <string.h>

#include "text/bytemap.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

typedef enum {
    SOL_TOK_BYTE_LEVEL,    /* texts are bytes */
    SOL_TOK_SENTENCEPIECE, /* texts have a blank where the file has U+2581 */
    SOL_TOK_CHARACTERS     /* texts as in the tokenizer.json, whose normalizer and pre-tokenizer say
                              what a blank becomes */
} sol_tok_kind;

enum {
    SOL_TOKEN_NORMAL,
    SOL_TOKEN_CONTROL, /* special: recognized with SOL_ENCODE_SPECIAL only, decodes to nothing */
    SOL_TOKEN_USER,    /* recognized in every text before anything else, decodes to its text */
    SOL_TOKEN_BYTE, /* byte fallback; SentencePiece: its text is the one byte, CHARACTERS: <0xHH> */
    SOL_TOKEN_UNUSED,
    SOL_TOKEN_TYPES
};

enum {
    SOL_TOK_MAX_IDS = 1 << 24,
    SOL_TOK_MAX_TEMPLATE = 8, /* ids in front of or behind a text */
    SOL_TOK_MAX_TOKEN_BYTES = 1 << 16,
};

/* How a control or user token of a tokenizer.json is recognized. */
enum {
    SOL_ADDED_LSTRIP = 1, /* with the white space on its left */
    SOL_ADDED_RSTRIP = 2,
    SOL_ADDED_SINGLE_WORD = 4, /* not as a part of a word */
    SOL_ADDED_NORMALIZED = 8,  /* in the normalized text */
    SOL_ADDED_IN_VOCAB = 16    /* merges may make it, too */
};

typedef struct sol_added {
    const char *text; /* what is looked for; not 0-terminated */
    size_t n;
    int32_t id;
} sol_added;

typedef struct sol_added_set {
    sol_added *token; /* by their bytes, of equal texts the lowest id first */
    int32_t n;
    int32_t first[257]; /* range of `token` for each first byte */
} sol_added_set;

/* How the tokens of a CHARACTERS tokenizer become text. */
enum { SOL_TOK_MAX_REPLACE = 4 };
typedef struct sol_decoder {
    int n_replace;
    char *find[SOL_TOK_MAX_REPLACE],
        *content[SOL_TOK_MAX_REPLACE]; /* in each token, one after the other; owned */
    bool bytes;                        /* <0xHH> is that byte */
    char strip[5];                     /* this character is dropped at the start of the text, */
    int n_strip;                       /* at most so often */
    char space[5];                     /* Metaspace: this character is a blank; "": none */
    bool drop_first;                   /* and nothing in the first token */
} sol_decoder;

/* Decoded texts of all tokens, one after the other. */
typedef struct sol_pieces {
    char *bytes;
    size_t n_bytes, cap_bytes;
    uint64_t *end; /* [n_tokens] */
} sol_pieces;

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
    char *json; /* the tokenizer.json it comes from, where version 1 of the serialized form cannot
                   hold it; NULL */
    size_t n_json;
    const char *beyond; /* what it is that needs `json` */
    bool only_nfc;      /* `beyond` is a normalizer to NFC, and nothing else */
    uint8_t *added;     /* [n_tokens] SOL_ADDED_*; NULL: 0 for all */
    sol_normalizer normalizer;
    sol_decoder decoder;
    bool fuse_unk, byte_fallback;
    bool underscore_is_blank; /* SentencePiece: U+2581 in a text */
    char space[5];            /* CHARACTERS: what a blank becomes; "": itself */
    bool ignore_merges;       /* a word that is a token is that token, whatever the merges say */
    bool add_space_prefix;    /* SentencePiece: a blank in front of every text */
    int32_t head[SOL_TOK_MAX_TEMPLATE], tail[SOL_TOK_MAX_TEMPLATE];
    int n_head, n_tail;
    int32_t bos, eos;
    int32_t unk; /* stands for a byte that no token stands for; -1: such bytes are left out, as
                    other programs do */

    /* indexes */
    sol_bytemap words;    /* normal tokens by text */
    int32_t byte_id[256]; /* the token of each byte; -1: none */
    sol_merge *pair;      /* open addressing by (left, right); left -1: empty */
    size_t pair_mask;
    sol_added_set set[2];        /* control and user tokens: in the text, in the normalized text */
    char *normal_text;           /* what the tokens of set[1] look like there */
    sol_regex *word_char;        /* for SOL_ADDED_SINGLE_WORD */
    sol_pieces piece[2];         /* CHARACTERS: decoded anywhere, as the first token */
    bool can_cut, can_cut_words; /* at blanks; inside words, where encoding shows that ids stay */
    bool word_local; /* not BYTE_LEVEL: no token has a blank behind a non-blank, so words are
                        independent */
    uint64_t hash;
    char *chat_template, *generation; /* beside the vocabulary, not in its hash; owned; or NULL */
};

/* An empty tokenizer; the caller owns it. */
sol_status sol_tok_create(sol_tokenizer **t, sol_tok_kind kind, sol_err *err);
/* Appends the token with the next id. */
sol_status sol_tok_add(sol_tokenizer *t, const char *text, size_t n, uint8_t type, float score,
                       sol_err *err);
sol_status sol_tok_add_merge(sol_tokenizer *t, int32_t left, int32_t right, int32_t result,
                             sol_err *err);
/* Checks everything and builds the indexes. `name` is what errors begin with. */
sol_status sol_tok_finish(sol_tokenizer *t, const char *name, sol_err *err);

static inline const char *sol_tok_text(const sol_tokenizer *t, int32_t id, size_t *n)
{
    *n = (size_t)(t->offset[id + 1] - t->offset[id]);
    return t->bytes ? t->bytes + t->offset[id]
                    : ""; /* tokens without any text between them have no bytes */
}

/* NULL when the pair does not merge. */
const sol_merge *sol_tok_pair(const sol_tokenizer *t, int32_t left, int32_t right);

/* Into rank[n_tokens]: what the merges make of each normal token's own text. When they make the
 * token, as it is for tokens that training made by merges, the rank of the merge that completes it;
 * no other merge ever makes it in any text. */
enum {
    SOL_TOK_NOT_MERGED = -1, /* the token is a first symbol, or no normal token */
    SOL_TOK_TWO_LEFT = -2,   /* two symbols are left: a merge of theirs is missing */
    SOL_TOK_MORE_LEFT = -3
};
sol_status sol_tok_last_ranks(const sol_tokenizer *t, int32_t *rank, sol_err *err);

static inline uint8_t sol_tok_added(const sol_tokenizer *t, int32_t id)
{
    return t->added ? t->added[id] : 0;
}

static inline bool sol_tok_is_added(const sol_tokenizer *t, int32_t id)
{
    return t->type[id] == SOL_TOKEN_CONTROL || t->type[id] == SOL_TOKEN_USER;
}

/* Builds set[] and what belongs to it. */
sol_status sol_tok_index_added(sol_tokenizer *t, sol_err *err);
/* The longest token of the set at text[0, n), n > 0; NULL: none. */
const sol_added *sol_tok_longest_added(const sol_added_set *s, const char *text, size_t n);
void sol_tok_added_free(sol_tokenizer *t);
/* What decoding shows of a token before the decoder's steps: of a SOL_ADDED_NORMALIZED token its
 * normalized text. */
const char *sol_tok_shown_text(const sol_tokenizer *t, int32_t id, size_t *n);
/* The decoded texts of a CHARACTERS tokenizer. */
sol_status sol_tok_index_pieces(sol_tokenizer *t, sol_err *err);
void sol_decoder_free(sol_decoder *d);

/* The readers; each returns an unfinished error-free or no tokenizer. */
sol_status sol_tok_from_json(sol_tokenizer **t, const char *name, const char *data, size_t size,
                             sol_more_tokens *more, sol_err *err);
/* Puts more tokens, unless it is NULL, into the tree of a tokenizer.json. */
struct json_t;
sol_status sol_tok_add_more(struct json_t *root, sol_more_tokens *more, sol_err *err);
/* What tokenizer.json says beside the model: normalizer, pre_tokenizer and decoder into t. */
sol_status sol_tok_read_steps(sol_tokenizer *t, const struct json_t *root, bool *byte_level,
                              sol_err *err);
sol_status sol_tok_from_llama2c(sol_tokenizer **t, const char *name, const uint8_t *data,
                                size_t size, sol_err *err);
sol_status sol_tok_from_serialized(sol_tokenizer **t, const char *name, const uint8_t *data,
                                   size_t size, sol_err *err);
#define SOL_TOK_MAGIC "solera-tokenizer\n" /* first bytes of the serialized form */

/* The printable alphabet of byte-level BPE: each byte has a code point, written as 1 or 2 bytes of
 * UTF-8. */
uint32_t sol_byte_to_rune(uint8_t byte);
/* UTF-8 text in that alphabet -> bytes, at most n of them. False: a character outside the
 * alphabet. */
bool sol_runes_to_bytes(const char *text, size_t n, char *out, size_t *n_out);
/* out must hold 2 n bytes. Returns the length. */
size_t sol_bytes_to_runes(const char *bytes, size_t n, char *out);

/* The byte of a SentencePiece token "<0xHH>"; -1: it is none. */
int sol_byte_token(const char *text, size_t n);
/* SentencePiece writes U+2581 for a blank. Returns the new length, at most n. */
size_t sol_underscores_to_blanks(const char *text, size_t n, char *out);

/* A token's text as tokenizer.json and GGUF write it; *out is 0-terminated and owned by the
 * caller. */
sol_status sol_tok_file_text(const sol_tokenizer *t, int32_t id, char **out, size_t *n,
                             sol_err *err);

#endif
