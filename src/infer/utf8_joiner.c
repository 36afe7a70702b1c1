/* Joins the bytes of tokens to whole UTF-8 characters, for text that generate.c shows as it
 * comes. */
#include <string.h>

#include "infer/infer.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* Bytes of the character that starts with `lead`; 0: none does. */
static unsigned length_of(unsigned char lead)
{
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/* May `next` follow the held bytes? No overlong forms, no surrogates, nothing above U+10FFFF. */
static int may_follow(const sol_utf8_joiner *j, unsigned char next)
{
    unsigned char lead = j->held[0];
    if (next < 0x80 || next > 0xBF) return 0;
    if (j->n > 1) return 1;
    if (lead == 0xE0) return next >= 0xA0;
    if (lead == 0xED) return next <= 0x9F;
    if (lead == 0xF0) return next >= 0x90;
    return lead != 0xF4 || next <= 0x8F;
}

void sol_utf8_join(sol_utf8_joiner *j, const char *bytes, size_t n, sol_text_fn text, void *user)
{
    char out[256];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)bytes[i];
        if (used + 8 > sizeof out) {
            text(user, out, used);
            used = 0;
        }
        if (j->n > 0 && !may_follow(j, b)) {
            memcpy(out + used, replacement, 3);
            used += 3;
            j->n = 0;
        }
        if (j->n == 0 && length_of(b) == 0) {
            memcpy(out + used, replacement, 3);
            used += 3;
            continue;
        }
        j->held[j->n++ & 3] = b;
        if (j->n < length_of(j->held[0])) continue;
        memcpy(out + used, j->held, j->n);
        used += j->n;
        j->n = 0;
    }
    if (used) text(user, out, used);
}

void sol_utf8_finish(sol_utf8_joiner *j, sol_text_fn text, void *user)
{
    if (j->n) text(user, replacement, 3);
    j->n = 0;
}
