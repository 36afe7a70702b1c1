/* Element types of GGUF files: rows of blocks. Internal to foreign.
 *
 * Decoding is exact as the format defines it; encoding of Q8_0, TQ1_0 and TQ2_0 gives the bytes of
 * llama.cpp. */
#ifndef SOLERA_FOREIGN_GGML_H
#define SOLERA_FOREIGN_GGML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/dtype.h"

/* SOL_GGML_Q4_K, ...: the ids. */
typedef enum {
#define SOL_GGML(name, id, ...) SOL_GGML_##name = id,
#include "foreign/ggml_types.def"
} sol_ggml_id;

/* What the first files of STQ1_0 call it; Q2_0 in all others. */
enum { SOL_GGML_STQ1_0_FIRST = SOL_GGML_Q2_0 };

typedef struct sol_ggml_type {
    const char *name; /* "Q4_K" */
    sol_ggml_id id;
    uint32_t file_type; /* LLAMA_FTYPE of a model whose linear layers are of it */
    sol_dtype numbers;  /* whose casts decode and encode it; SOL_DTYPES: it has blocks */
    bool ternary;
    int64_t block;                                    /* elements */
    size_t bytes;                                     /* of a block */
    void (*decode)(const uint8_t *block, float *out); /* one block */
    void (*encode)(const float *x, uint8_t *block);   /* one block; NULL: is not */
    float max; /* largest magnitude that encode takes: above it, and for what is no number, there is
                  no scale */
    const char *readers; /* which programs read it; NULL: it is not written */
} sol_ggml_type;

/* NULL for an id that is not known. */
const sol_ggml_type *sol_ggml_type_of(uint32_t id);
/* The names of all types that are read, with blanks between them. */
const char *sol_ggml_names(void);
/* By the lower-case name: "q8_0", "stq1_0"; NULL: none. */
const sol_ggml_type *sol_ggml_type_named(const char *name);

/* n elements, a multiple of the block. */
void sol_ggml_decode(const sol_ggml_type *t, const uint8_t *data, int64_t n, float *out);
void sol_ggml_encode(const sol_ggml_type *t, const float *x, int64_t n, uint8_t *data);

#endif
