/* Decides what a plain YAML scalar means: null, a truth value, a whole or a real number.
 * parse.c, keys.c and sweep.c ask it before they store a value. */
#include "config/scalar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *text, size_t size, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strlen(words[i]) == size && memcmp(words[i], text, size) == 0) return true;
    return false;
}

bool sol_scalar_null(const char *text, size_t size)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    return is_one_of(text, size, nulls, 5);
}

sol_status sol_scalar_bool(const char *text, bool *value, sol_err *err)
{
    static const char *const yes[] = {"true", "True", "TRUE"}, *const no[] = {"false", "False",
                                                                              "FALSE"};
    *value = is_one_of(text, strlen(text), yes, 3);
    if (*value || is_one_of(text, strlen(text), no, 3)) return SOL_OK;
    return sol_fail(err, SOL_ERR_CONFIG, "'%s' is neither true nor false", text);
}

/* Forms that YAML 1.1 and 1.2 read differently. */
static sol_status check_form(const char *text, const char *what, sol_err *err)
{
    const char *digits = text + (text[0] == '+' || text[0] == '-');
    size_t n = strspn(digits, "0123456789_");
    if (memchr(digits, '_', n))
        return sol_fail(err, SOL_ERR_CONFIG, "'%s' is not %s: write it without _", text, what);
    if (n > 1 && digits[0] == '0' && digits[n] == 0)
        return sol_fail(err, SOL_ERR_CONFIG,
                        "'%s' is not %s: write it without the leading 0 (octal is 0o17)", text,
                        what);
    return SOL_OK;
}

static bool is_real(const char *text, double *x)
{
    char *end;
    if (strspn(text, "+-.0123456789eE") != strlen(text))
        return false; /* no hexadecimal, no blanks, no nan, no inf */
    *x = strtod(text, &end);
    return end != text && *end == 0;
}

sol_status sol_scalar_int(const char *text, int64_t *value, sol_err *err)
{
    int base = strncmp(text, "0x", 2) == 0 ? 16 : strncmp(text, "0o", 2) == 0 ? 8 : 10;
    const char *digits = text + (base == 10 ? text[0] == '+' || text[0] == '-' : 2);
    static const char all[] = "0123456789abcdefABCDEF";
    size_t n = base == 16  ? strspn(digits, all)
               : base == 8 ? strspn(digits, "01234567")
                           : strspn(digits, "0123456789");
    double x;
    SOL_TRY(check_form(text, "a whole number", err));
    if (n == 0 || digits[n]) {
        if (is_real(text, &x) && x == floor(x) && fabs(x) < 1e15)
            return sol_fail(err, SOL_ERR_CONFIG, "'%s' is not a whole number: write %.0f", text, x);
        return sol_fail(err, SOL_ERR_CONFIG, "'%s' is not a whole number", text);
    }
    errno = 0;
    *value = strtoll(base == 10 ? text : digits, NULL, base);
    return errno ? sol_fail(err, SOL_ERR_RANGE, "%s is out of range", text) : SOL_OK;
}

sol_status sol_scalar_real(const char *text, double *value, sol_err *err)
{
    SOL_TRY(check_form(text, "a number", err));
    errno = 0;
    if (!is_real(text, value)) return sol_fail(err, SOL_ERR_CONFIG, "'%s' is not a number", text);
    if (errno == ERANGE && fabs(*value) < 1)
        return sol_fail(err, SOL_ERR_CONFIG, "'%s' is too small to be told from 0", text);
    return SOL_OK;
}
