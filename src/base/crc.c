/* CRC-32C, by the crc32 instruction of x86 or by tables, eight bytes at a time. h5 computes it
 * over everything that it writes or reads. */
#include "base/crc.h"

#include <string.h>

#if defined(__SSE4_2__)

/* One crc32 instruction for 8 bytes; three interleaved streams would hide its latency, but one
 * keeps up with the disk. */
uint32_t sol_crc32c(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t c = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    for (; n > 0; n--, p++) c = __builtin_ia32_crc32qi((uint32_t)c, *p);
    return ~(uint32_t)c;
}

#else

#define CASTAGNOLI 0x82f63b78u /* reflected */

static uint32_t shift_byte(uint32_t c)
{
    for (int k = 0; k < 8; k++) c = c >> 1 ^ (CASTAGNOLI & (0u - (c & 1)));
    return c;
}

/* Slicing by 8. table[k][b]: what byte b contributes when k more bytes follow it. Built for each
 * long call on the stack: 2048 steps, nothing beside the data, and no global state. */
static uint32_t crc_sliced(uint32_t c, const uint8_t **p, size_t *n)
{
    uint32_t table[8][256];
    for (uint32_t b = 0; b < 256; b++) table[0][b] = shift_byte(b);
    for (int k = 1; k < 8; k++)
        for (uint32_t b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
    for (; *n >= 8; *n -= 8, *p += 8) {
        const uint8_t *q = *p;
        c = table[7][(c ^ q[0]) & 255] ^ table[6][(c >> 8 ^ q[1]) & 255] ^
            table[5][(c >> 16 ^ q[2]) & 255] ^ table[4][(c >> 24 ^ q[3]) & 255] ^ table[3][q[4]] ^
            table[2][q[5]] ^ table[1][q[6]] ^ table[0][q[7]];
    }
    return c;
}

uint32_t sol_crc32c(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;
    if (n >= 4096) c = crc_sliced(c, &p, &n);
    for (; n > 0; n--, p++) c = c >> 8 ^ shift_byte((c ^ *p) & 255);
    return ~c;
}

#endif
