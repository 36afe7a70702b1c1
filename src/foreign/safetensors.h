/* safetensors files: u64 length of the header, a JSON object of {name: {dtype, shape,
 * data_offsets}}, then the bytes. Internal to foreign.
 *
 *     sol_safetensors t;
 *     st = sol_safetensors_open(&t, "model.safetensors", err);
 *     const sol_st_tensor *x = sol_safetensors_find(&t, "model.norm.weight"); */
#ifndef SOLERA_FOREIGN_SAFETENSORS_H
#define SOLERA_FOREIGN_SAFETENSORS_H

#include "base/file.h"
#include "tensor/tensor.h"

typedef struct sol_st_tensor {
    char *name;    /* owned */
    char dtype[8]; /* as the file says */
    bool readable; /* F32, F16 or BF16: `type` is set */
    sol_dtype type;
    sol_shape shape;
    uint64_t begin, end; /* bytes in the file */
} sol_st_tensor;

typedef struct sol_safetensors {
    char *path; /* owned */
    sol_in in;
    sol_st_tensor *tensor; /* sorted by name; owned */
    size_t n, capacity;
} sol_safetensors;

/* Opens a file and parses its header. SOL_ERR_FORMAT, SOL_ERR_UNSUPPORTED name the tensor. */
sol_status sol_safetensors_open(sol_safetensors *t, const char *path, sol_err *err);
void sol_safetensors_close(sol_safetensors *t);
const sol_st_tensor *sol_safetensors_find(const sol_safetensors *t,
                                          const char *name); /* NULL: none */

#endif
