/* GGUF files, versions 2 and 3: metadata and tensors, parsed from a map. Internal to foreign. */
#ifndef SOLERA_FOREIGN_GGUF_H
#define SOLERA_FOREIGN_GGUF_H

#include "base/file.h"
#include "foreign/ggml.h"
#include "text/tokenizer.h"

typedef enum sol_gguf_kind {
    SOL_GGUF_U8,
    SOL_GGUF_I8,
    SOL_GGUF_U16,
    SOL_GGUF_I16,
    SOL_GGUF_U32,
    SOL_GGUF_I32,
    SOL_GGUF_F32,
    SOL_GGUF_BOOL,
    SOL_GGUF_STRING,
    SOL_GGUF_ARRAY,
    SOL_GGUF_U64,
    SOL_GGUF_I64,
    SOL_GGUF_F64,
    SOL_GGUF_KINDS
} sol_gguf_kind;

/* Names and values point into the bytes. */
typedef struct sol_gguf_value {
    sol_span key;
    sol_gguf_kind kind, element; /* element: of an ARRAY */
    uint64_t count;              /* of an ARRAY; otherwise 1 */
    const uint8_t *at;           /* the value; of an array its first element */
} sol_gguf_value;

typedef struct sol_gguf_tensor {
    sol_span name;
    int n_dims;
    int64_t dim[4]; /* fastest first: [columns, rows] */
    const sol_ggml_type *type;
    uint64_t offset, bytes; /* in the file */
    int part;               /* 0: in the file itself; k: in part[k - 1] */
} sol_gguf_tensor;

typedef struct sol_gguf {
    sol_in in;
    sol_map map;
    char *path;            /* owned */
    sol_gguf_value *value; /* owned; sorted by key */
    size_t n_values;
    sol_gguf_tensor *tensor; /* owned; sorted by name; of a split model those of all parts */
    size_t n_tensors;
    struct sol_gguf
        *part; /* owned; the files of a split model behind the first, which has the metadata */
    size_t n_parts;
} sol_gguf;

/* The first part of a split model opens the others, NAME-00002-of-0000N.gguf, beside it. */
sol_status sol_gguf_open(sol_gguf *g, const char *path, sol_err *err);
void sol_gguf_close(sol_gguf *g);
/* Bytes in memory; they must outlive g. */
sol_status sol_gguf_parse(sol_gguf *g, const uint8_t *data, size_t size, sol_err *err);

const sol_gguf_value *sol_gguf_find(const sol_gguf *g, const char *key); /* NULL: none */
const sol_gguf_tensor *sol_gguf_tensor_named(const sol_gguf *g, const char *name);
/* The file that holds a tensor, and its bytes there. */
const sol_in *sol_gguf_tensor_in(const sol_gguf *g, const sol_gguf_tensor *t);
const uint8_t *sol_gguf_tensor_bytes(const sol_gguf *g, const sol_gguf_tensor *t);
/* A scalar; false when it is of another kind. Integers of every width, bool as 0 and 1. */
bool sol_gguf_integer(const sol_gguf_value *v, int64_t *out);
/* The same of an array whose integers are all equal, one a block, as some writers put it. */
bool sol_gguf_equal_integers(const sol_gguf_value *v, int64_t *out);
bool sol_gguf_real(const sol_gguf_value *v, double *out);
bool sol_gguf_text(const sol_gguf_value *v, sol_span *out);
/* The strings of an array of them, as spans; *out is owned by the caller. */
sol_status sol_gguf_strings(const sol_gguf *g, const sol_gguf_value *v, sol_span **out,
                            sol_err *err);

#endif
