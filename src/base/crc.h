/* CRC-32C (Castagnoli polynomial 0x1EDC6F41, as in RFC 3720): the checksum of everything solera
 * stores. It detects any change of one byte and any burst error of up to 32 bits.
 *
 *     uint32_t c = sol_crc32c(0, a, n);
 *     c = sol_crc32c(c, b, m); // the next m bytes of a stream */
#ifndef SOLERA_BASE_CRC_H
#define SOLERA_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* crc: the checksum of the bytes before these n, 0 for none. Returns the checksum of all. */
uint32_t sol_crc32c(uint32_t crc, const void *data, size_t n);

/* FNV-1a, 64 bits (Fowler, Noll, Vo): h over the bytes before these n, SOL_FNV_START for none. For
 * names and digests of small things. */
#define SOL_FNV_START 0xcbf29ce484222325ull
static inline uint64_t sol_fnv1a(uint64_t h, const void *data, size_t n)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
    return h;
}

#endif
