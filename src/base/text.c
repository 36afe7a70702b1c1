/* A string that grows by formatted pieces, for texts that the library makes: YAML, JSON, HTML,
 * error lists. */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

sol_status sol_text_add(sol_text *t, sol_err *err, const char *fmt, ...)
{
    va_list ap, again;
    if (t->status != SOL_OK) return t->status;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    t->status = sol_grow_array((void **)&t->data, &t->capacity, t->n + (size_t)n + 1, 1, err);
    if (t->status == SOL_OK) {
        vsnprintf(t->data + t->n, (size_t)n + 1, fmt, again);
        t->n += (size_t)n;
    }
    va_end(again);
    va_end(ap);
    return t->status;
}

sol_status sol_text_add_bytes(sol_text *t, sol_err *err, const char *bytes, size_t n)
{
    if (t->status != SOL_OK) return t->status;
    t->status = sol_grow_array((void **)&t->data, &t->capacity, t->n + n + 1, 1, err);
    if (t->status != SOL_OK) return t->status;
    if (n) memcpy(t->data + t->n, bytes, n);
    t->n += n;
    t->data[t->n] = 0;
    return SOL_OK;
}
