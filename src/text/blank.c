/* White space as Python has it. task_read.c, task_run.c and wikitext.c cut texts by it, so that
 * they come out as those of lm-evaluation-harness. */
#include "text/blank.h"

#include <stdbool.h>

static bool is_byte_blank(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

/* U+0085 and U+00A0. */
static bool is_pair_blank(const unsigned char *s)
{
    return s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0);
}

/* U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000. */
static bool is_triple_blank(const unsigned char *s)
{
    unsigned c = (unsigned)(s[0] & 0x0F) << 12 | (unsigned)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    if ((s[0] & 0xF0) != 0xE0 || (s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80) return false;
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t sol_blank_first(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    if (n >= 1 && is_byte_blank(s[0])) return 1;
    if (n >= 2 && is_pair_blank(s)) return 2;
    return n >= 3 && is_triple_blank(s) ? 3 : 0;
}

size_t sol_blank_last(const char *text, size_t n)
{
    const unsigned char *end = (const unsigned char *)text + n;
    if (n >= 1 && is_byte_blank(end[-1])) return 1;
    if (n >= 2 && is_pair_blank(end - 2)) return 2;
    return n >= 3 && is_triple_blank(end - 3) ? 3 : 0;
}

void sol_blank_strip(const char **text, size_t *n)
{
    for (size_t k; (k = sol_blank_first(*text, *n)) > 0; *text += k) *n -= k;
    for (size_t k; (k = sol_blank_last(*text, *n)) > 0;) *n -= k;
}
