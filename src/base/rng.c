/* Philox4x32-10, and what is drawn from it: initial weights, the order of data, samples. A
 * number depends on seed and counter alone, so a resumed run draws the same ones. */
#include "base/rng.h"

#include <math.h>

static inline void mul_hi_lo(uint32_t a, uint32_t b, uint32_t *hi, uint32_t *lo)
{
    uint64_t p = (uint64_t)a * b;
    *hi = (uint32_t)(p >> 32);
    *lo = (uint32_t)p;
}

void sol_philox4x32(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint32_t hi0, lo0, hi1, lo1;
        mul_hi_lo(0xD2511F53u, c0, &hi0, &lo0);
        mul_hi_lo(0xCD9E8D57u, c2, &hi1, &lo1);
        c0 = hi1 ^ c1 ^ k0;
        c1 = lo1;
        c2 = hi0 ^ c3 ^ k1;
        c3 = lo0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

sol_rng sol_rng_make(uint64_t seed, uint64_t stream)
{
    return (sol_rng){.seed = seed, .stream = stream, .counter = 0};
}

uint32_t sol_rng_u32(sol_rng *r)
{
    uint32_t word[4];
    sol_philox4x32(r->seed, r->stream, r->counter >> 2, word);
    return word[r->counter++ & 3];
}

uint64_t sol_rng_u64(sol_rng *r)
{
    uint64_t hi = sol_rng_u32(r);
    return hi << 32 | sol_rng_u32(r);
}

uint64_t sol_rng_below(sol_rng *r, uint64_t n)
{
    uint64_t reject = (0 - n) % n; /* 2^64 mod n */
    uint64_t x;
    do x = sol_rng_u64(r);
    while (x < reject);
    return x % n;
}

float sol_rng_uniform(sol_rng *r)
{
    return (float)(sol_rng_u32(r) >> 8) * 0x1p-24f;
}

float sol_rng_normal(sol_rng *r)
{
    double u = ((double)sol_rng_u32(r) + 1.0) * 0x1p-32; /* (0, 1] */
    double v = (double)sol_rng_u32(r) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint64_t sol_permute(uint64_t seed, uint64_t stream, uint64_t n, uint64_t i)
{
    int half = 1; /* bits of one half of the Feistel block: 4^half >= n */
    while (half < 32 && (1ull << (2 * half)) < n) half++;
    uint64_t mask = (1ull << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint32_t f[4];
            sol_philox4x32(seed, stream ^ (round + 1) << 56, right, f);
            uint64_t next = left ^ (((uint64_t)f[1] << 32 | f[0]) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
