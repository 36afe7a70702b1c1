/* Reads JSON that other programs wrote, through jansson, and the numbers that jansson refuses.
 * Configurations, tokenizers, tasks and conversations are parsed here. */
#include "base/json.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_NUMBER = 512, REPLACED_BYTES = 32 };

/* The string at `at`, quotes included; what is not closed reaches to the end. */
static size_t string_length(const char *text, size_t n, size_t at)
{
    for (size_t i = at + 1; i < n; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1 - at;
    }
    return n - at;
}

static size_t word_length(const char *text, size_t n, double *value)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"NaN", DBL_MAX}, {"Infinity", DBL_MAX}, {"-Infinity", -DBL_MAX}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t k = strlen(words[i].word);
        if (n < k || memcmp(text, words[i].word, k) != 0) continue;
        *value = words[i].value;
        return k;
    }
    return 0;
}

/* A number at text[0]: its length, and whether jansson would refuse it for its size. A longer one
 * than anybody writes counts as such. */
static size_t number_length(const char *text, size_t n, bool *beyond, double *value)
{
    char copy[MAX_NUMBER];
    size_t k = 0;
    while (k < n && text[k] && strchr("+-.eE0123456789", text[k])) k++;
    *beyond = k >= MAX_NUMBER;
    *value = text[0] == '-' ? -DBL_MAX : DBL_MAX;
    if (k == 0 || *beyond) return k;
    memcpy(copy, text, k);
    copy[k] = 0;
    char *end;
    double x = strtod(copy, &end);
    if (*end) return k; /* no number: jansson says so */
    bool real = strpbrk(copy, ".eE") != NULL;
    errno = 0;
    long long whole = real ? 0 : strtoll(copy, NULL, 10);
    *beyond = real ? isinf(x) : (whole == LLONG_MIN || whole == LLONG_MAX) && errno == ERANGE;
    if (!isinf(x)) *value = x;
    return k;
}

/* The next token of text[at, n): its length; *replace: *value is to stand in its place. */
static size_t token_length(const char *text, size_t n, size_t at, bool *replace, double *value)
{
    *replace = false;
    if (text[at] == '"') return string_length(text, n, at);
    size_t k = word_length(text + at, n - at, value);
    *replace = k > 0;
    if (k == 0) k = number_length(text + at, n - at, replace, value);
    return k ? k : 1;
}

/* json_loadb, whose error for a character 0 names a flag of its C interface instead of the fault.
 */
static json_t *load(const char *text, size_t n, size_t flags, json_error_t *why)
{
    json_t *root = json_loadb(text, n, flags, why);
    if (!root && json_error_code(why) == json_error_null_character)
        snprintf(why->text, sizeof why->text, "a string holds the character 0 (\\u0000)");
    return root;
}

json_t *sol_json_load(const char *text, size_t n, size_t flags, json_error_t *why)
{
    size_t found = 0, to = 0;
    bool replace;
    double value;
    for (size_t at = 0; at < n; found += replace) at += token_length(text, n, at, &replace, &value);
    if (found == 0) return load(text, n, flags, why);
    char *copy;
    if (sol_alloc_array((void **)&copy, n + found * REPLACED_BYTES, 1, NULL) != SOL_OK)
        return load(text, n, flags, why); /* which fails, too */
    for (size_t at = 0, k; at < n; at += k) {
        k = token_length(text, n, at, &replace, &value);
        if (replace) {
            to += (size_t)snprintf(copy + to, REPLACED_BYTES, "%.17e", value);
        } else {
            memcpy(copy + to, text + at, k);
            to += k;
        }
    }
    json_t *root = load(copy, to, flags, why);
    sol_free(copy);
    return root;
}
