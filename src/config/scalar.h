/* Inside the config module: what a plain scalar means, by the core schema of YAML 1.2. What older
 * readers of YAML take for another value (010, 1_000, yes) is refused, so that a file means the
 * same to all of them. Errors have neither place nor key. */
#ifndef SOLERA_CONFIG_SCALAR_H
#define SOLERA_CONFIG_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Nothing, ~, null, Null, NULL. */
bool sol_scalar_null(const char *text, size_t size);
/* true, True, TRUE, false, False, FALSE. */
sol_status sol_scalar_bool(const char *text, bool *value, sol_err *err);
/* 12, -3, 0x1f, 0o17; SOL_ERR_RANGE where no int64_t holds it. */
sol_status sol_scalar_int(const char *text, int64_t *value, sol_err *err);
/* 12, .5, 1., 3e-4, -1.5E+3; infinite where it is too large, refused where it is too small. */
sol_status sol_scalar_real(const char *text, double *value, sol_err *err);

#endif
