/* A hash map from byte strings to int64 values that keeps the strings in the order they came. */
#ifndef SOLERA_TEXT_BYTEMAP_H
#define SOLERA_TEXT_BYTEMAP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

typedef struct sol_bytemap_entry {
    size_t at; /* in bytes */
    uint32_t n, hash;
    int64_t value;
} sol_bytemap_entry;

typedef struct sol_bytemap {
    char *bytes;
    size_t n_bytes, cap_bytes;
    sol_bytemap_entry *entry; /* [n] */
    size_t n, cap_entry;
    uint32_t *slot; /* entry index + 1; 0: empty */
    size_t n_slots; /* a power of two */
} sol_bytemap;      /* start from {0} */

void sol_bytemap_free(sol_bytemap *m);
/* The entry of a string or NULL. Valid until the next put. */
sol_bytemap_entry *sol_bytemap_get(const sol_bytemap *m, const char *key, size_t n);
/* The entry of a string, made with value 0 when it is new (*is_new, which may be NULL). At most
 * 2^32 - 2 entries. */
sol_status sol_bytemap_put(sol_bytemap *m, const char *key, size_t n, sol_bytemap_entry **entry,
                           int *is_new, sol_err *err);

static inline uint64_t sol_hash_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 u128;
    u128 p = (u128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Not for storage: only equality within one run matters. */
static inline uint64_t sol_hash_bytes(const char *s, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15u, w;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&w, s, 8);
        h = sol_hash_mix(h ^ w, 0xA0761D6478BD642Fu);
    }
    w = 0;
    memcpy(&w, s, n);
    h = sol_hash_mix(h ^ w, 0xE7037ED1A0B428DBu);
    return h ^ h >> 29;
}

#endif
