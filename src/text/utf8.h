/* UTF-8, a character at a time. */
#ifndef SOLERA_TEXT_UTF8_H
#define SOLERA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at the start of text[0, n), n > 0; 0 when there is none. */
size_t sol_utf8_char(const char *text, size_t n);
/* Length of the longest prefix of text that is valid UTF-8 (no surrogates, no overlong forms). */
size_t sol_utf8_valid_prefix(const char *text, size_t n);
/* The code point of a valid character of len bytes. */
uint32_t sol_utf8_get(const char *text, size_t len);
/* Writes 1 to 4 bytes and returns how many. */
size_t sol_utf8_put(uint32_t c, char *out);
/* Unicode's White_Space. */
bool sol_is_space(uint32_t c);

#endif
