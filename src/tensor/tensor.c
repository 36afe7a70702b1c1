/* Shapes of tensors: made, counted, compared, printed. autograd plans its buffers by them, model
 * and the readers of files check parameters against them. */
#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

sol_shape sol_shape1(int64_t a)
{
    return (sol_shape){1, {a}};
}

sol_shape sol_shape2(int64_t a, int64_t b)
{
    return (sol_shape){2, {a, b}};
}

sol_shape sol_shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (sol_shape){4, {a, b, c, d}};
}

int64_t sol_shape_count(const sol_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->n_dims; i++) n *= s->dim[i];
    return n;
}

bool sol_shape_equal(const sol_shape *a, const sol_shape *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->dim, b->dim, (size_t)a->n_dims * sizeof a->dim[0]) == 0;
}

const char *sol_shape_text(const sol_shape *s, char *buffer)
{
    char *p = buffer;
    *p++ = '[';
    for (int i = 0; i < s->n_dims; i++)
        p += sprintf(p, "%s%lld", i ? ", " : "", (long long)s->dim[i]);
    strcpy(p, "]");
    return buffer;
}

sol_status sol_shape_bytes(const sol_shape *s, sol_dtype t, size_t *bytes, sol_err *err)
{
    *bytes = sol_dtype_size(t);
    for (int i = 0; i < s->n_dims; i++)
        SOL_TRY(sol_size_mul(*bytes, (size_t)s->dim[i], bytes, err));
    return SOL_OK;
}
