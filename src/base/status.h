/* Status codes and error texts. A function that can fail returns a sol_status and takes a sol_err:
 *
 *     sol_err why = {0};
 *     uint64_t size;
 *     if (sol_file_size("model.h5", &size, &why) != SOL_OK) fprintf(stderr, "%s\n", why.text);
 *
 * The sol_err may be NULL. On success it is left untouched. The text is one line and holds what a
 * user needs: the file, the place in it, the value, and what was expected. */
#ifndef SOLERA_BASE_STATUS_H
#define SOLERA_BASE_STATUS_H

#include <stdarg.h>

typedef enum sol_status {
#define SOL_STATUS(name, value, exit_code, text) SOL_##name = (value),
#include "status.def"
#undef SOL_STATUS
} sol_status;

typedef struct sol_err {
    sol_status status;
    char text[768];
} sol_err;

/* Fills *err, unless it is NULL, and returns `status`: a function that fails says `return
 * sol_fail(err, ...)`. A text that does not fit is cut off; line breaks and tabs become blanks,
 * other control characters "?". */
sol_status sol_fail(sol_err *err, sol_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: ", a file or key that the callee did not know, before the text in *err and returns
 * `status`. */
sol_status sol_err_prefix(sol_err *err, sol_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The name ("ERR_IO"), the general text and the exit code of a process that ends with this status:
 * 0 done, 1 failed, 2 bad input or usage, 130 interrupted. Static storage. */
const char *sol_status_name(sol_status status);
const char *sol_status_text(sol_status status);
int sol_status_exit_code(sol_status status);

/* The name with the least edit distance (Levenshtein) to `word`, the first of equals, for "did you
 * mean"; NULL when that is more than a third of its length plus 2. */
const char *sol_nearest_name(const char *word, const char *const *names, int n);

#endif
