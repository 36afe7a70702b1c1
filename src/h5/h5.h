/* The container below every solera file: HDF5 with a small vocabulary.
 *
 * Groups, contiguous datasets of numbers, attributes that are one number or one fixed-length
 * string: the oldest and most widely read form of HDF5 (superblock 0, object headers 1). Every
 * dataset (but live ones) carries an attribute `crc32c` of its bytes, the root an attribute
 * `digest` over everything else (sol_h5_tree_digest). checkpoints/SCHEMA.md is the description for
 * users.
 *
 * Writing: libhdf5 lays out the structure over a driver in memory (h5_layout.c), so that it sees no
 * disk and no data; the bytes of the datasets and the structure are then written at their places
 * through base/file.h. So a full disk or a failed write never happens inside libhdf5, the size is
 * known before the first byte, and a dataset may stream.
 *
 * Reading: our own parser (h5_parse.c) walks the map of the file. libhdf5 was not made for files
 * from strangers; this parser is, and refuses what we never write: links, filters, chunks, external
 * files. Strings of variable length are read as attributes, because h5py writes them.
 *
 * One thread at a time may write (libhdf5 has global state); readers are independent of each
 * other. */
#ifndef SOLERA_H5_H5_H
#define SOLERA_H5_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "kernels/dtype.h"

typedef enum sol_h5_type {
#define SOL_H5_TYPE(name, size, text) SOL_H5_##name,
#include "h5/h5_types.def"
#undef SOL_H5_TYPE
} sol_h5_type;

size_t sol_h5_type_size(sol_h5_type t);      /* bytes of a value; 0 for STRING and OTHER */
const char *sol_h5_type_name(sol_h5_type t); /* static storage */

typedef struct sol_h5_attr {
    char *name;       /* owned */
    sol_h5_type type; /* one value; OTHER: something that solera does not write */
    size_t size;      /* bytes of value; a string's without the 0 that follows it in memory */
    void *value;      /* owned, followed by a 0 byte */
} sol_h5_attr;

#define SOL_H5_MAX_DIMS 4

typedef struct sol_h5_node {
    char *path; /* "/", "/params/x"; owned */
    bool is_dataset;
    sol_h5_type type;
    int n_dims;
    uint64_t dim[SOL_H5_MAX_DIMS];
    uint64_t offset, bytes; /* of the data in the file */
    sol_h5_attr *attr;      /* owned */
    size_t n_attrs, attr_capacity;
    uint64_t filled; /* writer: bytes so far */
    uint32_t crc;    /* of the bytes; reader: what the file says */
    bool has_crc;
} sol_h5_node;

/* node[0] is the root. A reader's nodes are sorted by path. */
typedef struct sol_h5_tree {
    sol_h5_node *node;
    size_t n, capacity;
} sol_h5_tree;

void sol_h5_tree_free(sol_h5_tree *t);
/* Appends a node with this path, path_len bytes; all else is 0. */
sol_status sol_h5_tree_add(sol_h5_tree *t, const char *path, size_t path_len, sol_err *err);
const sol_h5_attr *sol_h5_node_attr(const sol_h5_node *n, const char *name); /* NULL: none */
/* Adds or replaces; a replaced value must keep its size once the layout is made. */
sol_status sol_h5_node_set(sol_h5_node *n, const char *name, sol_h5_type type, const void *value,
                           size_t size, sol_err *err);
/* FNV-1a over a canonical text of all nodes in path order: path, type, shape, crc32c, attributes by
 * name (but the root's `digest`). _node_digest continues h by one node; crc: of its bytes. */
uint64_t sol_h5_node_digest(uint64_t h, const sol_h5_node *n, uint32_t crc);
sol_status sol_h5_tree_digest(const sol_h5_tree *t, uint64_t *digest, sol_err *err);

/* ---- writing ---- */

typedef struct sol_h5_writer sol_h5_writer;

/* Nothing is on disk before sol_h5_begin. `format` becomes the root attribute, with version 1. */
sol_status sol_h5_create(sol_h5_writer **w, const char *path, const char *format, sol_err *err);
/* Parents first. *id names the object in the calls below; the root is 0. */
sol_status sol_h5_group(sol_h5_writer *w, const char *path, int *id, sol_err *err);
sol_status sol_h5_dataset(sol_h5_writer *w, const char *path, sol_h5_type type, int n_dims,
                          const int64_t *dims, int *id, sol_err *err);
/* A dataset whose bytes go on changing after the commit (store/study_file.h): without crc32c,
 * marked by the attribute `live`. What is not appended before the commit is zeros, which take no
 * disk space. */
sol_status sol_h5_live(sol_h5_writer *w, const char *path, sol_h5_type type, int n_dims,
                       const int64_t *dims, int *id, sol_err *err);
/* A one-dimensional dataset whose length shows at the end: at most one, and the first object of the
 * file. */
sol_status sol_h5_growing(sol_h5_writer *w, const char *path, sol_h5_type type, int *id,
                          sol_err *err);
sol_status sol_h5_set_text(sol_h5_writer *w, int id, const char *name, const char *text,
                           sol_err *err);
sol_status sol_h5_set_i64(sol_h5_writer *w, int id, const char *name, int64_t value, sol_err *err);
sol_status sol_h5_set_u64(sol_h5_writer *w, int id, const char *name, uint64_t value, sol_err *err);
sol_status sol_h5_set_f64(sol_h5_writer *w, int id, const char *name, double value, sol_err *err);

/* What is declared, as bytes of a file. */
sol_status sol_h5_size(sol_h5_writer *w, uint64_t *bytes, sol_err *err);
/* Lays the file out, checks that it fits the file system, opens the temporary file. When the
 * growing dataset is complete or others were added behind those that are full: call it again. */
sol_status sol_h5_begin(sol_h5_writer *w, sol_err *err);
/* Appends n bytes to a dataset (datasets in any order). */
sol_status sol_h5_append(sol_h5_writer *w, int id, const void *data, size_t n, sol_err *err);
/* Every dataset must be full. Writes the structure, syncs, renames; frees the writer in any
 * case. */
sol_status sol_h5_commit(sol_h5_writer **w, sol_err *err);
void sol_h5_abort(sol_h5_writer **w); /* NULL is fine */

/* h5_layout.c: places of all datasets and the bytes of the structure. */
typedef struct sol_h5_piece {
    uint64_t address;
    size_t size, at; /* at: first byte in sol_h5_image.bytes */
} sol_h5_piece;
typedef struct sol_h5_image {
    sol_h5_piece *piece; /* owned; in the order of writing, later ones on top */
    size_t n_pieces, piece_capacity;
    uint8_t *bytes; /* owned */
    size_t n_bytes, byte_capacity;
    uint64_t end; /* size of the file */
    bool failed;  /* out of memory */
} sol_h5_image;
void sol_h5_image_free(sol_h5_image *m);
/* Sets offset and bytes of every dataset of the tree. path: for errors. */
sol_status sol_h5_layout(sol_h5_tree *t, sol_h5_image *image, const char *path, sol_err *err);

/* ---- reading ---- */

typedef struct sol_h5_file {
    sol_h5_tree tree;
    sol_in in;
    sol_map map;
    char *path;  /* owned */
    bool sealed; /* has checksums; files of other programs may come without */
} sol_h5_file;

/* Parses the structure and compares its digest. Datasets are not read yet. */
sol_status sol_h5_open(sol_h5_file *f, const char *path, sol_err *err);
void sol_h5_close(sol_h5_file *f);
/* h5_parse.c: fills the tree from `size` bytes in memory. */
sol_status sol_h5_parse(sol_h5_tree *t, const uint8_t *data, size_t size, sol_err *err);

/* The object at a path; NULL: none. */
const sol_h5_node *sol_h5_find(const sol_h5_file *f, const char *path);
/* Must be there: a group, or a dataset of this type and shape (a dimension of -1: any). Errors name
 * file, object and difference. */
sol_status sol_h5_need_group(const sol_h5_file *f, const char *path, const sol_h5_node **n,
                             sol_err *err);
sol_status sol_h5_need_dataset(const sol_h5_file *f, const char *path, sol_h5_type type, int n_dims,
                               const int64_t *dims, const sol_h5_node **n, sol_err *err);
/* Attributes that must be there. Integers of any width are read as int64. The text is borrowed from
 * the file. */
sol_status sol_h5_get_text(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                           const char **text, sol_err *err);
sol_status sol_h5_get_i64(const sol_h5_file *f, const sol_h5_node *n, const char *name, int64_t lo,
                          int64_t hi, int64_t *value, sol_err *err);
sol_status sol_h5_get_u64(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                          uint64_t *value, sol_err *err);
sol_status sol_h5_get_f64(const sol_h5_file *f, const sol_h5_node *n, const char *name,
                          double *value, sol_err *err);

/* The bytes of a dataset, checked against its crc32c: into a buffer of n->bytes; or in pieces,
 * where the last piece checks. */
sol_status sol_h5_read(const sol_h5_file *f, const sol_h5_node *n, void *out, sol_err *err);
typedef struct sol_h5_stream {
    const sol_h5_file *file;
    const sol_h5_node *node;
    uint64_t done;
    uint32_t crc;
} sol_h5_stream; /* start from {file, node} */
sol_status sol_h5_stream_next(sol_h5_stream *s, void *out, size_t n, sol_err *err);
/* Reads a dataset for its checksum alone. */
sol_status sol_h5_verify(const sol_h5_file *f, const sol_h5_node *n, sol_err *err);

#endif
