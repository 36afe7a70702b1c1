/* The tensors that a model's file holds, whoever wrote it: for lists and model cards.
 *
 *     st = sol_file_tensors("model.gguf", show, NULL, err); // show prints a line a tensor */
#ifndef SOLERA_FOREIGN_TENSORS_H
#define SOLERA_FOREIGN_TENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sol_tensor_info {
    const char *name; /* [n_name] bytes, no 0 behind them; borrowed for the call */
    int n_name;
    const char *type; /* as its format calls it: "F16", "STQ1_0", "bf16", "3:4 ternary" */
    int n_dims;
    int64_t dim[4]; /* the slowest first: [rows, columns] */
    uint64_t bytes; /* in the file, scales included */
} sol_tensor_info;

typedef void (*sol_tensor_fn)(void *user, const sol_tensor_info *t);

/* Calls `each` for every tensor, in the order of the format's own table. path: a GGUF file, a
 * Hugging Face folder with model.safetensors, or a model file or packed model of ours.
 * SOL_ERR_FORMAT: none of these. */
sol_status sol_file_tensors(const char *path, sol_tensor_fn each, void *user, sol_err *err);

/* Whether a file is a GGUF that sol_export_gguf wrote with a version. */
bool sol_gguf_is_ours(const char *path);

#endif
