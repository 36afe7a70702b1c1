/* Shapes of tensors. Row-major, last dimension fastest. Dimension letters: B
 * batch, T time, C hidden, H heads, K kv heads, D head_dim, F ffn, V vocab, G scale group.
 *
 *     sol_shape s = sol_shape2(32, 64);
 *     st = sol_shape_bytes(&s, SOL_BF16, &bytes, err);
 *     sol_convert(half, SOL_BF16, x, SOL_F32, sol_shape_count(&s)); // kernels/dtype.h */
#ifndef SOLERA_TENSOR_TENSOR_H
#define SOLERA_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/dtype.h"

#define SOL_MAX_DIMS 4
typedef struct sol_shape {
    int n_dims;
    int64_t dim[SOL_MAX_DIMS];
} sol_shape;

/* The shapes [a], [a, b] and [a, b, c, d]. */
sol_shape sol_shape1(int64_t a);
sol_shape sol_shape2(int64_t a, int64_t b);
sol_shape sol_shape4(int64_t a, int64_t b, int64_t c, int64_t d);
/* The number of elements. It may overflow for dimensions from a file: sol_shape_bytes checks. */
int64_t sol_shape_count(const sol_shape *s);
/* Whether both have the same dimensions. */
bool sol_shape_equal(const sol_shape *a, const sol_shape *b);
/* "[32, 64]" into a buffer of at least 96 bytes; returns the buffer. */
const char *sol_shape_text(const sol_shape *s, char *buffer);
/* Bytes of a tensor. SOL_ERR_RANGE: they do not fit a size_t. */
sol_status sol_shape_bytes(const sol_shape *s, sol_dtype t, size_t *bytes, sol_err *err);

#endif
