/* Tokenizers: byte-level BPE (Hugging Face tokenizer.json, GGUF "gpt2") and SentencePiece-style BPE
 * (llama2.c, GGUF "llama", tokenizer.json with byte_fallback).
 *
 *     sol_tokenizer *t;
 *     st = sol_tokenizer_open(&t, "tokenizer.json", err);
 *     st = sol_tokenizer_encode(t, text, n, SOL_ENCODE_BOS, &ids, err);
 *
 * A tokenizer is immutable after loading and may be shared by threads. decode(encode(x)) = x for
 * every byte string (for SentencePiece: up to the leading blank it adds), as far as the vocabulary
 * has a token for each byte; SmolLM2's lacks 21 control and invalid bytes, which are left out. */
#ifndef SOLERA_TEXT_TOKENIZER_H
#define SOLERA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/status.h"
#include "text/filekind.h"

typedef struct sol_tokenizer sol_tokenizer;

typedef struct sol_ids {
    int32_t *id; /* owned; sol_ids_free */
    size_t n, capacity;
} sol_ids;
void sol_ids_free(sol_ids *ids);

enum {
    SOL_ENCODE_BOS = 1,     /* put BOS (what the template has in front) before the text */
    SOL_ENCODE_TAIL = 8,    /* put what the template has behind (usually nothing) after the text */
    SOL_ENCODE_SPECIAL = 2, /* recognize special tokens in the text, e.g. <|endoftext|> */
    SOL_ENCODE_CONTINUE =
        4, /* the text goes on from an earlier call: no leading blank (see sol_tokenizer_cut) */
};

/* A tokenizer.json, a llama2.c tokenizer.bin or a serialized tokenizer, told apart by content; each
 * may be gzipped. What would change the ids and is not computed here is refused by name:
 * SOL_ERR_UNSUPPORTED. The caller owns *t. */
sol_status sol_tokenizer_open(sol_tokenizer **t, const char *path, sol_err *err);
/* What other files add to the tokens of a tokenizer.json. */
enum { SOL_MORE_TOKENS_TEXT = 64 };
typedef struct sol_more_tokens {
    const char *json; /* an array of added tokens in the form of tokenizer.json, without ids. One
                       * that is there already takes over what the new one says; where that has
                       * "named": true, only that it is special. */
    int64_t limit;    /* a token that would get this id, or one beyond, is left out */
    int64_t left_out; /* how many were */
    char first[SOL_MORE_TOKENS_TEXT]; /* the text of the first of them, cut; "": none */
} sol_more_tokens;
sol_status sol_tokenizer_open_more(sol_tokenizer **t, const char *path, sol_more_tokens *more,
                                   sol_err *err);
/* The same from bytes in memory, which are not needed afterwards. name: for errors. */
sol_status sol_tokenizer_from_memory(sol_tokenizer **t, const char *name, const void *data,
                                     size_t size, sol_err *err);
void sol_tokenizer_free(sol_tokenizer **t);

/* n bytes, not 0-terminated. */
typedef struct sol_span {
    const char *at;
    size_t n;
} sol_span;

/* What GGUF metadata says about a tokenizer (tokenizer.ggml.*); everything is copied. */
typedef struct sol_tokenizer_arrays {
    const char *model;      /* "gpt2" (byte-level, wants merges) or "llama" (SentencePiece, wants
                             * scores) */
    const char *pre;        /* tokenizer.ggml.pre: llama-bpe, smollm, gpt-2, default, ...; NULL:
                             * default */
    const sol_span *tokens; /* [n_tokens] */
    int64_t n_tokens;
    const float *scores;    /* [n_tokens] or NULL */
    const int32_t *types;   /* [n_tokens] or NULL; 1 normal, 2 unknown, 3 control, 4 user-defined, 5
                               unused, 6 byte */
    const sol_span *merges; /* [n_merges], "left right" */
    int64_t n_merges;
    int64_t bos, eos;                       /* -1: none */
    int add_bos, add_eos, add_space_prefix; /* 0, 1, or -1: the default of the model */
    int nfc;     /* texts are brought to NFC first; 0, 1, or -1: where `pre` means so */
    int64_t unk; /* only written: the unknown token, -1: none */
} sol_tokenizer_arrays;
sol_status sol_tokenizer_from_arrays(sol_tokenizer **t, const char *name,
                                     const sol_tokenizer_arrays *a, sol_err *err);
/* The way back, for writers of GGUF. *owner holds all that *a points to; release it with
 * sol_arrays_owner_free. n_tokens: of the model; ids that the tokenizer lacks get placeholders.
 * Merges of a SentencePiece tokenizer become scores. A pre-tokenizer that no GGUF name stands for,
 * a normalizer but NFC with a name that means it, and merges whose order no scores can express, are
 * SOL_ERR_UNSUPPORTED. */
typedef struct sol_arrays_owner sol_arrays_owner;
sol_status sol_tokenizer_to_arrays(const sol_tokenizer *t, int64_t n_tokens,
                                   sol_tokenizer_arrays *a, sol_arrays_owner **owner, sol_err *err);
void sol_arrays_owner_free(sol_arrays_owner **owner);

/* For importers, before the tokenizer is shared: the ids that a model's config or
 * generation_config.json names, which tokenizer.json does not. -1 leaves one as it is. Changes the
 * hash. */
sol_status sol_tokenizer_set_bos_eos(sol_tokenizer *t, int32_t bos, int32_t eos, sol_err *err);

/* The chat template in Jinja that was published with it, which files keep beside the vocabulary:
 * neither serialized nor in the hash. Set before the tokenizer is shared; the text is copied. NULL:
 * there is none. What it means: chat/chat.h. */
sol_status sol_tokenizer_set_chat_template(sol_tokenizer *t, const char *jinja, size_t n,
                                           sol_err *err);
const char *sol_tokenizer_chat_template(const sol_tokenizer *t);
/* The same of the model's generation_config.json: a JSON object, kept for exports. */
sol_status sol_tokenizer_set_generation(sol_tokenizer *t, const char *json, size_t n, sol_err *err);
const char *sol_tokenizer_generation(const sol_tokenizer *t);

/* A self-contained byte string that sol_tokenizer_from_memory reads back; stored in checkpoints
 * under /tokenizer. *data is owned by the caller. */
sol_status sol_tokenizer_serialize(const sol_tokenizer *t, void **data, size_t *size, sol_err *err);
/* tokenizer.json as Hugging Face `tokenizers` reads it, 0-terminated, owned by the caller. */
sol_status sol_tokenizer_to_json(const sol_tokenizer *t, char **json, size_t *size, sol_err *err);
/* FNV-1a of the serialized form: names a vocabulary in datasets. */
uint64_t sol_tokenizer_hash(const sol_tokenizer *t);

/* Appends the ids of text[n], which need not be UTF-8 or 0-terminated, to *ids (start from {0}).
 * flags: SOL_ENCODE_*, or 0. Any number of threads may call it on one tokenizer. */
sol_status sol_tokenizer_encode(const sol_tokenizer *t, const char *text, size_t n, int flags,
                                sol_ids *ids, sol_err *err);

/* An encoder gives the same ids faster for many texts, because it keeps a workspace and a cache of
 * words. One thread at a time uses it; the tokenizer is borrowed. The ids never depend on what was
 * encoded before. */
typedef struct sol_encoder sol_encoder;
sol_status sol_encoder_create(sol_encoder **e, const sol_tokenizer *t, sol_err *err);
void sol_encoder_free(sol_encoder **e);
sol_status sol_encoder_run(sol_encoder *e, const char *text, size_t n, int flags, sol_ids *ids,
                           sol_err *err);
/* The same for a text of any length, whose ids need not lie in memory: `take` gets them in lumps,
 * in order. The encoder borrows the text and holds in memory what a normalizer that changes it
 * makes of it, and what a Metaspace makes of that: `solera tokenize` takes 73 to 164 MB for 50 MB
 * in one word, and 278 MB where a Replace makes it twice as long. SOL_ERR_UNSUPPORTED: a word
 * of more than 256 K ids in which merges reach farther than 64 KiB. */
typedef sol_status (*sol_ids_fn)(void *user, const int32_t *id, size_t n, sol_err *err);
sol_status sol_encoder_stream(sol_encoder *e, const char *text, size_t n, int flags,
                              sol_ids_fn take, void *user, sol_err *err);

/* The last place in text[0, n) where it may be cut so that encoding both parts (the second with
 * SOL_ENCODE_CONTINUE) gives the ids of the whole; 0: no such place is known. Special tokens must
 * not lie across it. */
size_t sol_tokenizer_cut(const sol_tokenizer *t, const char *text, size_t n);
/* The same inside a word, for a long text that has no such place, which goes on behind n or
 * `continues` an earlier one. The place is found by encoding and checked against the text from
 * there to n, at least 16 KiB, beyond which no vocabulary's merges reach. */
size_t sol_tokenizer_cut_word(const sol_tokenizer *t, const char *text, size_t n, bool continues);
/* Whether such places are known at all: then every blank behind another character is one. */
bool sol_tokenizer_can_cut(const sol_tokenizer *t);
/* Whether the place behind a line break is one, too, where neither the character before the break
 * nor the one behind it is white space. */
bool sol_tokenizer_can_cut_lines(const sol_tokenizer *t);

/* The bytes of one token (not 0-terminated) as decoding appends them; *n = 0 for an id outside or a
 * control token. prev is the token before it, or -1 at the start (SentencePiece drops the blank
 * after BOS). */
const char *sol_tokenizer_piece(const sol_tokenizer *t, int32_t prev, int32_t id, size_t *n);
/* Any token's own text for people to read, control tokens included; NULL for an id outside. */
const char *sol_tokenizer_text(const sol_tokenizer *t, int32_t id, size_t *n);

int32_t sol_tokenizer_vocab_size(const sol_tokenizer *t); /* ids lie below it */
/* Whether an id stands for something: tokenizer.json may leave ids out. */
bool sol_tokenizer_has(const sol_tokenizer *t, int32_t id);
int32_t sol_tokenizer_bos(const sol_tokenizer *t); /* -1: none */
int32_t sol_tokenizer_eos(const sol_tokenizer *t);
/* The flags for the beginning of text[n]: SOL_ENCODE_BOS, unless `special` reads special tokens in
 * it and it spells BOS by itself; with SOL_ENCODE_SPECIAL where it does. */
int sol_tokenizer_begin(const sol_tokenizer *t, const char *text, size_t n, bool special);
/* How often text[n] spells a control token, which is encoded as that token only with
 * SOL_ENCODE_SPECIAL. *first: the id of the first one, -1 for none. */
int64_t sol_tokenizer_count_special(const sol_tokenizer *t, const char *text, size_t n,
                                    int32_t *first);
/* The id of the token with this text, special or not; -1: none. */
int32_t sol_tokenizer_find(const sol_tokenizer *t, const char *text);
/* "byte-level BPE", "SentencePiece BPE", "character BPE"; static storage. */
const char *sol_tokenizer_kind(const sol_tokenizer *t);

/* Trains a byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909) with the LLaMA-3 pre-tokenizer
 * regex. The most frequent pair is merged first, of equal ones that with the lower ids, so that the
 * same text gives the same file. */
typedef struct sol_bpe_opts {
    const char *const *files; /* as text/docs.h reads them */
    int n_files;
    bool unix_lines; /* read CR LF as LF */
    bool skip_bad;   /* and the next two as in sol_docs_opts */
    sol_read_as as;
    const sol_log *log;
    int32_t vocab_size;    /* 256 bytes, merges, and last <|begin_of_text|> and <|end_of_text|> */
    sol_progress progress; /* show NULL: none; parts "words", in bytes of the files (a total of 0:
                            * unknown), then "merges" */
} sol_bpe_opts;
/* Writes tokenizer.json to out_path, atomically. */
sol_status sol_bpe_train(const sol_bpe_opts *o, const char *out_path, sol_err *err);

#endif
