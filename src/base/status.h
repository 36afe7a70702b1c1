/* Status codes and error texts. A function that can fail returns a sol_status and takes a sol_err:
 *
 *     sol_err why = {0};
 *     uint64_t size;
 *     if (sol_file_size("model.h5", &size, &why) != SOL_OK) fprintf(stderr, "%s\n", why.text);
 *
 * The sol_err may be NULL. On success it is left untouched. The text is one line and holds what a
 * user needs: the file, the place in it, the value, and what was expected.
 *
 * A function that owns nothing yet returns at the first failure:
 *
 *     static sol_status sizes_of(uint64_t *sum, const char *a, const char *b, sol_err *err)
 *     {
 *         uint64_t first, second;
 *         SOL_TRY(sol_file_size(a, &first, err));
 *         SOL_TRY(sol_file_size(b, &second, err));
 *         *sum = first + second;
 *         return SOL_OK;
 *     }
 *
 * One that must release what it took leaves the work to such a function, keeps its status, releases
 * and returns it. */
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

/* Returns from the calling function with the status of `call`, unless that is SOL_OK. */
#define SOL_TRY(call) \
    do { \
        sol_status sol_try_status = (call); \
        if (sol_try_status != SOL_OK) return sol_try_status; \
    } while (0)

/* Fills *err, unless it is NULL, and returns `status`: a function that fails says `return
 * sol_fail(err, ...)`. A text that does not fit is cut off; line breaks and tabs become blanks,
 * other control characters "?". */
sol_status sol_fail(sol_err *err, sol_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: ", a file or key that the callee did not know, before the text in *err and returns
 * `status`. */
sol_status sol_err_prefix(sol_err *err, sol_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The general text, in static storage, and the exit code of a process that ends with this status: 0
 * done, 1 failed, 2 bad input or usage, 130 interrupted. */
const char *sol_status_text(sol_status status);
int sol_status_exit_code(sol_status status);

/* What the error about a word that is none of names[n] ends with: "; did you mean 'NAME'?" of the
 * nearest name (by Levenshtein's distance, the first of equals) where no more than a third of the
 * word differs; else `otherwise`, or where that is NULL ": one of NAME, NAME, ...". Writes to out,
 * and returns it. */
enum { SOL_HINT = 640 };
const char *sol_name_hint(char out[SOL_HINT], const char *word, const char *const *names, int n,
                          const char *otherwise);

#endif
