/* White space as Python has it. task_read.c, task_run.c and wikitext.c cut texts by it, so that
 * they come out as those of lm-evaluation-harness. */
#include "text/blank.h"

#include "text/utf8.h"

/* Python counts four control characters in, too. */
static bool is_blank(uint32_t c)
{
    return sol_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

size_t sol_blank_first(const char *text, size_t n)
{
    size_t k = n > 0 ? sol_utf8_char(text, n) : 0;
    return k > 0 && is_blank(sol_utf8_get(text, k)) ? k : 0;
}

size_t sol_blank_last(const char *text, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++)
        if (sol_utf8_char(text + n - k, k) == k)
            return is_blank(sol_utf8_get(text + n - k, k)) ? k : 0;
    return 0;
}

void sol_blank_strip(const char **text, size_t *n)
{
    for (size_t k; (k = sol_blank_first(*text, *n)) > 0; *text += k) *n -= k;
    for (size_t k; (k = sol_blank_last(*text, *n)) > 0;) *n -= k;
}
