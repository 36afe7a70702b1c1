/* A growing text.
 *
 *     sol_text t = {0};
 *     sol_text_add(&t, err, "%d layers\n", n);     // the first failure sticks: later calls return it and add nothing
 *     ...
 *     if (t.status == SOL_OK) use t.data, t.n
 *     sol_free(t.data); */
#ifndef SOLERA_BASE_TEXT_H
#define SOLERA_BASE_TEXT_H

#include <stddef.h>

#include "base/status.h"

typedef struct sol_text {
    char *data; /* 0-terminated once something was added; owned by whoever holds the struct */
    size_t n, capacity;
    sol_status status;
} sol_text;

sol_status sol_text_add(sol_text *t, sol_err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
