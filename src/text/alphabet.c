/* How vocabularies write bytes: in the alphabet of byte-level BPE (GPT-2), where printable Latin-1
 * bytes stand for themselves and the other 68 for U+0100 onwards, or as SentencePiece's <0xHH>. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

static bool stands_for_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

uint32_t sol_byte_to_rune(uint8_t byte)
{
    if (stands_for_itself(byte)) return byte;
    uint32_t rune = 0x100;
    for (uint32_t b = 0; b < byte; b++) rune += !stands_for_itself(b);
    return rune;
}

static int rune_to_byte(uint32_t rune)
{
    if (rune < 0x100) return stands_for_itself(rune) ? (int)rune : -1;
    for (uint32_t b = 0, next = 0x100; b < 0x100; b++)
        if (!stands_for_itself(b) && next++ == rune) return (int)b;
    return -1;
}

bool sol_runes_to_bytes(const char *text, size_t n, char *out, size_t *n_out)
{
    const uint8_t *s = (const uint8_t *)text;
    *n_out = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t rune = s[i];
        if (rune >= 0x80) {
            if ((rune & 0xE0) != 0xC0 || i + 1 == n || (s[i + 1] & 0xC0) != 0x80) return false;
            rune = (rune & 0x1F) << 6 | (s[++i] & 0x3F);
        }
        int byte = rune_to_byte(rune);
        if (byte < 0) return false;
        out[(*n_out)++] = (char)byte;
    }
    return true;
}

size_t sol_bytes_to_runes(const char *bytes, size_t n, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t rune = sol_byte_to_rune((uint8_t)bytes[i]);
        if (rune >= 0x80) {
            out[at++] = (char)(0xC0 | rune >> 6);
            out[at++] = (char)(0x80 | (rune & 0x3F));
        } else {
            out[at++] = (char)rune;
        }
    }
    return at;
}

int sol_byte_token(const char *text, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)((high - digits) << 4 | (low - digits)) : -1;
}

size_t sol_underscores_to_blanks(const char *text, size_t n, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        bool blank = n - i >= 3 && memcmp(text + i, "\xE2\x96\x81", 3) == 0;
        out[at++] = blank ? ' ' : text[i];
        i += blank ? 2 : 0;
    }
    return at;
}

static size_t blanks_to_underscores(const char *text, size_t n, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + at, "\xE2\x96\x81", 3);
            at += 3;
        } else {
            out[at++] = text[i];
        }
    }
    return at;
}

sol_status sol_tok_file_text(const sol_tokenizer *t, int32_t id, char **out, size_t *n,
                             sol_err *err)
{
    size_t len, size;
    const char *text = sol_tok_text(t, id, &len);
    SOL_TRY(sol_size_mul(len + 3, 3, &size, err));
    SOL_TRY(sol_alloc_array((void **)out, size, 1, err));
    if (t->type[id] == SOL_TOKEN_BYTE) {
        *n = (size_t)snprintf(*out, size, "<0x%02X>", (unsigned)(uint8_t)text[0]);
    } else if (t->type[id] != SOL_TOKEN_NORMAL) {
        memcpy(*out, text, len);
        *n = len;
    } else {
        *n = t->kind == SOL_TOK_BYTE_LEVEL ? sol_bytes_to_runes(text, len, *out)
                                           : blanks_to_underscores(text, len, *out);
    }
    (*out)[*n] = 0;
    return SOL_OK;
}
