/* Reads and writes characters of UTF-8 text. */
#include "text/utf8.h"

#include <string.h>

/* The valid sequences are those of Unicode 15, table 3-7. */
size_t sol_utf8_char(const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    uint8_t c = s[0];
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < len) return 0;
    uint8_t lo = c == 0xE0   ? 0xA0
                 : c == 0xF0 ? 0x90
                             : 0x80,
            hi = c == 0xED   ? 0x9F
                 : c == 0xF4 ? 0x8F
                             : 0xBF;
    if (s[1] < lo || s[1] > hi) return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return len;
}

size_t sol_utf8_valid_prefix(const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        if (i + 8 <= n && (memcpy(&w, s + i, 8), (w & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = sol_utf8_char(text + i, n - i);
        if (!len) break;
        i += len;
    }
    return i;
}

uint32_t sol_utf8_get(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    if (len == 1) return s[0];
    uint32_t c = s[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) c = c << 6 | (s[i] & 0x3F);
    return c;
}

size_t sol_utf8_put(uint32_t c, char *out)
{
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(lead[len] | c);
    return len;
}

bool sol_is_space(uint32_t c)
{
    return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}
