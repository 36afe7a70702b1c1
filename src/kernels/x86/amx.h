/* The tile registers of AMX, for the products that use them. Instructions stand in `asm`: they need
 * no flags of the compiler. */
#ifndef SOLERA_KERNELS_X86_AMX_H
#define SOLERA_KERNELS_X86_AMX_H

#include <stdint.h>

/* All tiles have 16 rows of 64 bytes. */
static inline void begin_tiles(void)
{
    uint8_t config[64] = {1}; /* palette */
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64; /* bytes of a row */
        config[48 + i] = 16;     /* rows */
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static inline void end_tiles(void)
{
    __asm__ volatile("tilerelease");
}

/* Tile n, a number as it is written; `stride` bytes (an int64_t) lie between its rows at p. */
#define TILE_ZERO(n) __asm__ volatile("tilezero %%tmm" #n : :)
#define TILE_LOAD(n, p, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #n : : "r"(p), "r"(stride) : "memory")
#define TILE_STORE(n, p, stride) \
    __asm__ volatile("tilestored %%tmm" #n ", (%0,%1,1)" : : "r"(p), "r"(stride) : "memory")

#endif
