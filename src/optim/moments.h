/* How moments are held between updates. Internal to optim: AdamW computes in fp32 on a chunk at a
 * time.
 *
 * bf16: rounded up or down at random (to nearest, v would never decay: a step takes 1/1000 of it
 * away, less than half the spacing).
 *
 * 8 bit, block-wise: blocks of SOL_MOMENT_BLOCK elements of one parameter share a scale s, the
 * block's largest magnitude over the largest code; the idea and its proof in training are Dettmers
 * et al. 2022 (arXiv 2110.02861), the code is ours: a small float, whose levels are as evenly
 * spread in ratio as those of their dynamic map, but are computed instead of looked up.
 *   m: sign and 7 bits, code c = 8 e + f:  s (e ? (1 + f/8) 2^(e-15) : f/8 2^-14),  at most 1.875 s
 *   v: 8 bits, code c = 8 e + f:           s (e ? (1 + f/8) 2^(e-31) : f/8 2^-30),  at most 1.875 s
 * to nearest, ties to even. A v above 0 keeps a code above 0, since m / sqrt(v) is divided by it.
 * Nearest is right here, unlike for bf16: the scale moves with every step and the codes stay, so
 * that a block decays as a whole; at random, the coarse steps of v would add up to a walk. */
#ifndef SOLERA_OPTIM_MOMENTS_H
#define SOLERA_OPTIM_MOMENTS_H

#include "optim/optim.h"

/* Elements that are unpacked at a time: a multiple of SOL_MOMENT_BLOCK. */
enum { SOL_MOMENT_CHUNK = 1024 };

/* 16 random bits for each of n elements from flat index `first` (a multiple of 8) of a stream:
 * element i takes half-word i % 8 of block i / 8. */
void sol_moment_draws(uint64_t seed, uint64_t stream, int64_t first, int64_t n, uint16_t *draw);

/* Elements [first, first + n) of the flat block, n <= SOL_MOMENT_CHUNK, whose moments and scales
 * begin at `at` and `block` of the shard. load returns where they are as floats: in place for fp32,
 * else in buffer. store packs what load returned. */
typedef struct sol_moment_chunk {
    const sol_adamw *o;
    int64_t first, n, at, block;
} sol_moment_chunk;
float *sol_moment_load(const sol_moment_chunk *c, bool second, float *buffer);
void sol_moments_store(const sol_moment_chunk *c, const float *m, const float *v);

#endif
