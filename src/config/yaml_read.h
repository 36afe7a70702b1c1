/* Inside the config module: a YAML text as a tree. Jobs and sweeps are read through this and
 * nothing else.
 *
 *     sol_yaml *root;
 *     st = sol_yaml_read(&root, "job.yaml", "a job file", text, size, err);
 *     sol_yaml_free(&root);
 *
 * What such files do not need is refused, so that no file costs more than its bytes: more than
 * SOL_YAML_DEPTH levels or SOL_YAML_BYTES bytes, anchors, aliases, tags, a second document, keys
 * that are no scalars. A byte order mark is skipped. */
#ifndef SOLERA_CONFIG_YAML_READ_H
#define SOLERA_CONFIG_YAML_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { SOL_YAML_DEPTH = 8, SOL_YAML_BYTES = 1 << 20 };

typedef enum { SOL_YAML_SCALAR, SOL_YAML_MAPPING, SOL_YAML_LIST } sol_yaml_kind;

typedef struct sol_yaml {
    sol_yaml_kind kind;
    bool quoted;      /* a scalar in quotes, or a block: never a number, a truth value or null */
    int line, column; /* from 1 */
    char *text;       /* of a scalar; UTF-8, may hold zeros, a 0 behind it; owned */
    size_t size;
    struct sol_yaml *item; /* [n] of a list; key, value, key, value... of a mapping; owned */
    int n;
} sol_yaml;

/* Errors read "name:2:3: ..."; `what` is what they call the file. An empty text is a plain scalar
 * of no bytes. */
sol_status sol_yaml_read(sol_yaml **root, const char *name, const char *what, const char *text,
                         size_t size, sol_err *err);
void sol_yaml_free(sol_yaml **root);

/* SOL_ERR_CONFIG with the place of `at` in the file of that name. */
sol_status sol_yaml_fail(const char *name, const sol_yaml *at, sol_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The text of a file that may be YAML; the caller owns it (sol_free). */
sol_status sol_yaml_file(const char *path, char **text, size_t *size, sol_err *err);

#endif
