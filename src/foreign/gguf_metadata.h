/* The head of a GGUF file on its way out: bytes that grow, and the keys that describe a model.
 * Internal to foreign. */
#ifndef SOLERA_FOREIGN_GGUF_METADATA_H
#define SOLERA_FOREIGN_GGUF_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foreign/export.h"
#include "foreign/ggml.h"
#include "foreign/view.h"

enum { SOL_GGUF_ALIGNMENT = 32 }; /* bytes, of the data of a tensor */

/* Bytes in memory. The first failure stays in `status`, and nothing is put behind it. */
typedef struct sol_gguf_blob {
    uint8_t *data; /* owned */
    size_t n, capacity;
    uint64_t n_values; /* keys so far */
    sol_status status;
} sol_gguf_blob;

/* Append bytes, numbers in little-endian order, and a text of n bytes behind its length. */
void sol_gguf_put(sol_gguf_blob *b, const void *data, size_t n, sol_err *err);
void sol_gguf_put_u32(sol_gguf_blob *b, uint32_t v, sol_err *err);
void sol_gguf_put_u64(sol_gguf_blob *b, uint64_t v, sol_err *err);
void sol_gguf_put_text(sol_gguf_blob *b, const char *s, size_t n, sol_err *err);

/* What the keys are made of; all borrowed. */
typedef struct sol_gguf_described {
    const sol_view *view;
    const sol_gguf_opts *opts;
    const sol_ggml_type *linear; /* of the linear layers */
    bool permute;                /* blocks of four go from contiguous to stride 16 */
} sol_gguf_described;

/* Appends all keys with their values. */
void sol_gguf_put_metadata(sol_gguf_blob *b, const sol_gguf_described *d, sol_err *err);

/* The context that a file names: llama.cpp has no windows in the architectures that our families
 * share with it, and up to the length of one it computes the same. */
int64_t sol_gguf_context_length(const sol_model_config *c);
/* Whether the file has a table of RoPE divisors, rope_freqs.weight. */
bool sol_gguf_has_rope_table(const sol_model_config *c);

#endif
