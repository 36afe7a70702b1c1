/* Tokenizers: byte-level BPE (Hugging Face tokenizer.json) and SentencePiece-style BPE (llama2.c, GGUF).
 *
 *     sol_tokenizer *t;
 *     st = sol_tokenizer_open(&t, "tokenizer.json", err);
 *     st = sol_tokenizer_encode(t, text, n, SOL_ENCODE_BOS, &ids, err);
 *
 * A tokenizer is immutable after loading and may be shared by threads. decode(encode(x)) = x for every byte string (for
 * SentencePiece: up to the leading blank it adds). */
#ifndef SOLERA_TEXT_TOKENIZER_H
#define SOLERA_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sol_tokenizer sol_tokenizer;

typedef struct sol_ids {
    int32_t *id; /* owned; sol_ids_free */
    size_t n, capacity;
} sol_ids;
void sol_ids_free(sol_ids *ids);

enum {
    SOL_ENCODE_BOS = 1,     /* put BOS (and what the template asks for) in front */
    SOL_ENCODE_SPECIAL = 2, /* recognize special tokens in the text, e.g. <|endoftext|> */
};

/* By content: a tokenizer.json (also gzipped), a llama2.c tokenizer.bin. The caller owns *t. */
sol_status sol_tokenizer_open(sol_tokenizer **t, const char *path, sol_err *err);
/* From the bytes that sol_tokenizer_serialize made, or from a tokenizer.json in memory. `name` appears in errors. */
sol_status sol_tokenizer_from_memory(sol_tokenizer **t, const char *name, const void *data, size_t size, sol_err *err);
void sol_tokenizer_free(sol_tokenizer **t);

/* A self-contained byte string that sol_tokenizer_from_memory reads back; stored in checkpoints under /tokenizer.
 * *data is owned by the caller. */
sol_status sol_tokenizer_serialize(const sol_tokenizer *t, void **data, size_t *size, sol_err *err);
/* FNV-1a of the serialized form: names a vocabulary in datasets. */
uint64_t sol_tokenizer_hash(const sol_tokenizer *t);

/* Appends to *ids (start from {0}). text need not be UTF-8 nor 0-terminated. Thread-safe. */
sol_status sol_tokenizer_encode(const sol_tokenizer *t, const char *text, size_t n, int flags, sol_ids *ids, sol_err *err);
/* The bytes of one token (not 0-terminated) as decoding appends them; *n = 0 for an id outside or a control token.
 * prev is the token before it, or -1 at the start (SentencePiece drops the blank after BOS). */
const char *sol_tokenizer_piece(const sol_tokenizer *t, int32_t prev, int32_t id, size_t *n);

int32_t sol_tokenizer_vocab_size(const sol_tokenizer *t);
int32_t sol_tokenizer_bos(const sol_tokenizer *t); /* -1: none */
int32_t sol_tokenizer_eos(const sol_tokenizer *t);
/* Id of a token by its text, special or not; -1: none. */
int32_t sol_tokenizer_find(const sol_tokenizer *t, const char *text);
const char *sol_tokenizer_kind(const sol_tokenizer *t); /* "byte-level BPE", "SentencePiece BPE" */

/* Trains a byte-level BPE with the LLaMA-3 pre-tokenizer regex and writes tokenizer.json atomically.
 * vocab_size counts 256 bytes, merges and the special tokens <|begin_of_text|>, <|end_of_text|>. */
sol_status sol_bpe_train(const char *const *files, int n_files, int32_t vocab_size, const char *out_path, sol_err *err);

#endif
