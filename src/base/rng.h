/* Random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011), a counter-based generator. Its state is seed, stream and position, so every place of a
 * stream is reachable in O(1) and threads never change a result.
 *
 *     sol_rng r = sol_rng_make(seed, SOL_STREAM_SAMPLER);
 *     float u = sol_rng_uniform(&r); */
#ifndef SOLERA_BASE_RNG_H
#define SOLERA_BASE_RNG_H

#include <stdint.h>

typedef struct sol_rng {
    uint64_t seed;    /* key */
    uint64_t stream;  /* high half of the counter */
    uint64_t counter; /* 32-bit words drawn so far */
} sol_rng;

/* Streams that must never overlap under one seed. */
enum {
    SOL_STREAM_INIT = 1,     /* weight initialization; + parameter index << 8 */
    SOL_STREAM_DATA = 2,     /* order of the training data; + (epoch, stream) << 8 */
    SOL_STREAM_SAMPLER = 3,  /* text generation */
    SOL_STREAM_ROUNDING = 4, /* stochastic rounding; + step << 8 */
    SOL_STREAM_STUDY = 5,    /* row samples of the study measures */
    SOL_STREAM_SELF = 6,     /* self-generated training text; + document << 8 */
    SOL_STREAM_TEST = 7,
    SOL_STREAM_MOMENTS = 8, /* stochastic rounding of moments; + step << 8 */
    SOL_STREAM_TEACHER = 9, /* samples of a teacher's improbable tokens */
    SOL_STREAM_CALIB = 10,  /* order of the windows that a block is trained on; + (layer, round)
                             * << 8 */
    SOL_STREAM_MIX = 11,    /* which stream of a mixture a window comes from; + round << 8 */
};

/* The beginning of a stream. */
sol_rng sol_rng_make(uint64_t seed, uint64_t stream);

/* Words 4 block to 4 block + 3 of a stream, without any state: for loops that are cut into
 * tiles. */
void sol_philox4x32(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);

/* 32 and 64 uniform bits: the next word, the next two (the high half first). */
uint32_t sol_rng_u32(sol_rng *r);
uint64_t sol_rng_u64(sol_rng *r);
/* Uniform in [0, n) without bias; n > 0. */
uint64_t sol_rng_below(sol_rng *r, uint64_t n);
/* Uniform in [0, 1) with 24 bits. */
float sol_rng_uniform(sol_rng *r);
/* Standard normal, by Box and Muller from two uniform numbers. */
float sol_rng_normal(sol_rng *r);

/* A pseudo-random permutation of [0, n): the image of i, i < n. It is a Feistel network of four
 * rounds over the next power of four with cycle walking (Black & Rogaway, CT-RSA 2002), so that
 * drawing without replacement needs no memory. */
uint64_t sol_permute(uint64_t seed, uint64_t stream, uint64_t n, uint64_t i);

#endif
