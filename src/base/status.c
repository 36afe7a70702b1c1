/* Fills error texts, and holds the tables of status.def: texts and exit codes. */
#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Names from files come into these texts, and these on terminals: no control characters, also not
 * those of two bytes. */
static void one_line(char *s)
{
    for (unsigned char *c = (unsigned char *)s; *c; c++) {
        bool two = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        if (two) c[1] = '?';
        if (two || *c < ' ' || *c == 0x7f) *c = *c == '\n' || *c == '\r' || *c == '\t' ? ' ' : '?';
    }
}

sol_status sol_fail(sol_err *err, sol_status status, const char *fmt, ...)
{
    if (!err) return status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    one_line(err->text);
    err->status = status;
    return status;
}

sol_status sol_err_prefix(sol_err *err, sol_status status, const char *fmt, ...)
{
    if (!err) return status;
    char text[sizeof err->text], prefix[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    memcpy(text, err->text, sizeof text);
    return sol_fail(err, status, "%s: %s", prefix, text);
}

const char *sol_status_text(sol_status status)
{
    switch (status) {
#define SOL_STATUS(name, value, exit_code, text) \
    case SOL_##name: \
        return text;
#include "status.def"
#undef SOL_STATUS
    }
    return "unknown error";
}

int sol_status_exit_code(sol_status status)
{
    switch (status) {
#define SOL_STATUS(name, value, exit_code, text) \
    case SOL_##name: \
        return exit_code;
#include "status.def"
#undef SOL_STATUS
    }
    return 1;
}

enum { NAME_MAX_LEN = 63 };

static int edit_distance(const char *a, const char *b)
{
    int row[NAME_MAX_LEN + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > NAME_MAX_LEN || nb > NAME_MAX_LEN) return NAME_MAX_LEN;
    for (size_t j = 0; j <= nb; j++) row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diag = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = diag + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diag = row[j];
            row[j] = best;
        }
    }
    return row[nb];
}

/* NULL: none is near. */
static const char *nearest_name(const char *word, const char *const *names, int n)
{
    int limit = ((int)strlen(word) + 2) / 3, best = limit + 1;
    const char *nearest = NULL;
    for (int i = 0; i < n; i++) {
        int d = edit_distance(word, names[i]);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

const char *sol_name_hint(char out[SOL_HINT], const char *word, const char *const *names, int n,
                          const char *otherwise)
{
    const char *near = nearest_name(word, names, n);
    size_t used = 0;
    out[0] = 0;
    if (near)
        snprintf(out, SOL_HINT, "; did you mean '%s'?", near);
    else if (otherwise)
        snprintf(out, SOL_HINT, "%s", otherwise);
    else
        for (int i = 0; i < n && used < SOL_HINT; i++)
            used += (size_t)snprintf(out + used, SOL_HINT - used, "%s%s", i ? ", " : ": one of ",
                                     names[i]);
    return out;
}
