/* A string that grows.
 *
 *     sol_text t = {0};
 *     sol_text_add(&t, err, "%d layers\n", 16);
 *     sol_text_add(&t, err, "%d heads\n", 32); // after a failure later calls add nothing
 *     if (t.status == SOL_OK) fwrite(t.data, 1, t.n, file);
 *     sol_free(t.data); */
#ifndef SOLERA_BASE_TEXT_H
#define SOLERA_BASE_TEXT_H

#include <stddef.h>

#include "base/status.h"

typedef struct sol_text {
    char *data; /* 0-terminated once something was added; owned by whoever holds the struct */
    size_t n, capacity; /* bytes, without the 0 */
    sol_status status;  /* of the first call that failed */
} sol_text;             /* start from {0} */

/* Appends formatted text. SOL_ERR_NOMEM is kept in t->status; later calls return it and add
 * nothing. */
sol_status sol_text_add(sol_text *t, sol_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of n bytes, which may hold a 0. */
sol_status sol_text_add_bytes(sol_text *t, sol_err *err, const char *bytes, size_t n);

#endif
