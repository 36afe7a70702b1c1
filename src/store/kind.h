/* What kind a file of ours is, and what can be asked of it without reading all of it. */
#ifndef SOLERA_STORE_KIND_H
#define SOLERA_STORE_KIND_H

#include <stdint.h>

#include "store/model_file.h"

/* What holds a model comes first. */
typedef enum {
    SOL_FILE_CHECKPOINT,
    SOL_FILE_MODEL,
    SOL_FILE_PACKED,
    SOL_FILE_DATASET,
    SOL_FILE_STUDY,
    SOL_FILE_TEACHER_CACHE
} sol_file_kind;
/* What kind of file it is, by its root attributes; SOL_ERR_FORMAT: none of these. */
sol_status sol_store_kind(const char *path, sol_file_kind *kind, sol_err *err);
/* The same of a file that must hold a model; SOL_ERR_FORMAT, too: it holds something else. */
sol_status sol_store_model_kind(const char *path, sol_file_kind *kind, sol_err *err);
/* "a packed model", for messages; static storage. */
const char *sol_file_kind_text(sol_file_kind kind);
/* A tokenizer from any file: alone from a checkpoint, model or packed file (SOL_ERR_FORMAT when
 * there is none in it), or what sol_tokenizer_open reads. */
sol_status sol_store_tokenizer(sol_tokenizer **t, const char *path, sol_err *err);
/* A digest of the configuration and the parameters in a checkpoint, model or packed file; nothing
 * else in the file counts. */
sol_status sol_store_model_digest(const char *path, uint64_t *digest, sol_err *err);
/* Reads the windows of a checkpoint, model file or packed model. */
sol_status sol_store_read_windows(const char *path, sol_windows *w, sol_err *err);
/* Reads a file of ours for its checksums: of every dataset, and of the windows of a teacher's
 * cache; the records of a study have none. On damage the error names the object. *n_objects: groups
 * and datasets, whose names, shapes and attributes were compared; *bytes: of data that were. A file
 * without checksums (made by another program) is SOL_ERR_UNSUPPORTED. */
sol_status sol_store_verify(const char *path, int64_t *n_objects, uint64_t *bytes, sol_err *err);

#endif
