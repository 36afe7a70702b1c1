/* study.h5: the records of a trapping study, one row a record, for h5py and for `solera study`.
 *
 * Every dataset has its full length from the start (rows of the future are zeros, and take no disk
 * space), so that the structure of the file never changes: a record is written at its place,
 * synced, and only then counted in /n_records. A process that dies at any moment leaves a file that
 * reads up to the last counted record, by any HDF5 reader:
 *
 *   f = h5py.File("study.h5"); n = f["n_records"][0]
 *   f["measures/valley_mass"][:n]                           # [n, layers]
 *
 *   /                 attributes format="solera-study" version, and those of sol_study_head
 *   /layers/<i>       group; attributes as in sol_study_layer
 *   /n_records        uint64 [1]
 *   the columns       [capacity] or [capacity, layers] or [capacity, layers, width];
 *                     attributes `unit` and `title`
 *
 *     sol_study_file *f;
 *     st = sol_study_file_create(&f, "study.h5", &head, layers, n_layers, columns, n_columns, 100,
 *                                NULL, err);
 *     st = sol_study_file_append(f, rows, err);            // rows[c]: the row of column c
 *     sol_study_file_close(&f); */
#ifndef SOLERA_STORE_STUDY_FILE_H
#define SOLERA_STORE_STUDY_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sol_study_head {
    char method[32], granularity[16], block_layout[16]; /* as in YAML */
    int64_t group_size;                                 /* 0 unless per_group */
    int64_t every, steps;                               /* of the run */
    int64_t sample_rows; /* rows of a gradient that effective ranks look at, at most */
} sol_study_head;

typedef struct sol_study_layer {
    char name[96]; /* Hugging Face tensor name */
    int64_t block; /* number of the transformer block */
    int64_t rows, cols;
    int64_t weight_rows; /* rows of dL/dW sampled: er_dw is of [weight_rows, cols]; also of
                          * unchanged and grad_cosine */
    int64_t token_rows;  /* rows of dL/dX sampled: er_dx is of [token_rows, cols] */
    double w_range;      /* the histogram of w spans [-w_range, w_range) */
} sol_study_layer;

typedef enum { SOL_STUDY_U32, SOL_STUDY_U64, SOL_STUDY_F32, SOL_STUDY_F64 } sol_study_type;

typedef struct sol_study_column {
    const char *path; /* "/measures/er_dw"; one group deep at most */
    sol_study_type type;
    bool per_layer;
    int64_t width; /* values a layer (or a record); 1: no last dimension */
    const char *unit, *title;
} sol_study_column;

typedef struct sol_study_file sol_study_file;

/* Atomically replaces the file at `path` by a new one for up to `capacity` records. columns are
 * borrowed until close. The records of `from` (NULL: none), a file with the same layers and
 * columns, are copied: so a file grows, also onto its own path. The caller owns *f. */
sol_status sol_study_file_create(sol_study_file **f, const char *path, const sol_study_head *head,
                                 const sol_study_layer *layers, int n_layers,
                                 const sol_study_column *columns, int n_columns, int64_t capacity,
                                 const sol_study_file *from, sol_err *err);
/* Opens an existing file, to append with `write`. SOL_ERR_FORMAT: it is damaged or lacks one of the
 * columns. */
sol_status sol_study_file_open(sol_study_file **f, const char *path, bool write,
                               const sol_study_column *columns, int n_columns, sol_err *err);
/* Nothing is left to save. NULL is fine. */
void sol_study_file_close(sol_study_file **f);

int64_t sol_study_file_records(const sol_study_file *f);                       /* appended so far */
int64_t sol_study_file_capacity(const sol_study_file *f);                      /* records at most */
const sol_study_head *sol_study_file_head(const sol_study_file *f);            /* borrowed */
const sol_study_layer *sol_study_file_layers(const sol_study_file *f, int *n); /* [*n], borrowed */

/* Appends a record: rows[c] is the row of column c, in its type, [layers or 1, width].
 * SOL_ERR_RANGE: the file is full. */
sol_status sol_study_file_append(sol_study_file *f, const void *const *rows, sol_err *err);
/* Drops the records from number n on. */
sol_status sol_study_file_cut(sol_study_file *f, int64_t n, sol_err *err);
/* Reads records [first, first + n) of column number `column` to out, in its type. SOL_ERR_RANGE:
 * there are fewer. */
sol_status sol_study_file_read(const sol_study_file *f, int column, int64_t first, int64_t n,
                               void *out, sol_err *err);

#endif
