/* What each form of the ternary product implements (ternary_ref.c, x86/, arm/). Inside kernels (and its tests) only. */
#ifndef SOLERA_KERNELS_TERNARY_IMPL_H
#define SOLERA_KERNELS_TERNARY_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/num.h"
#include "kernels/codebook.h"
#include "kernels/segments.h"

enum { SOL_TERNARY_TILE_MAX = 256 };

/* Rows in canonical form, for packing one tile. */
typedef struct sol_ternary_source {
    int n;                                        /* 1..tile_rows */
    const uint8_t *codes[SOL_TERNARY_TILE_MAX];   /* [(cols/4 + 1) / 2] each */
    const uint8_t *signs[SOL_TERNARY_TILE_MAX];   /* [(cols/4 + 7) / 8] each */
    const sol_f16 *scales[SOL_TERNARY_TILE_MAX];  /* [n_groups] each */
} sol_ternary_source;

/* A tile is one stream of memory: codes and scales alternate in units of the fewest chunks of 64
 * columns that hold whole scale groups. A unit is its chunks, then the scales of its groups,
 * [groups, tile_rows] fp16. */
typedef struct sol_unit {
    int64_t chunks, groups, count; /* of a unit; units of a tile, the last may be partly empty */
    int64_t scales, bytes;         /* where the scales begin; bytes of the unit */
} sol_unit;

static inline sol_unit sol_unit_make(const sol_segments *s, int64_t chunk_bytes, int64_t tile_rows)
{
    sol_unit u = {.groups = 1};
    while (u.groups < s->n_groups && u.groups * s->group % 64 != 0) u.groups++;
    u.chunks = (u.groups * s->group + 63) / 64;
    u.count = sol_ceil_div(s->n_groups, u.groups);
    u.scales = u.chunks * chunk_bytes;
    u.bytes = u.scales + u.groups * tile_rows * (int64_t)sizeof(sol_f16);
    return u;
}

/* Where chunk c of a tile lies, and the scales of group g. */
static inline int64_t sol_unit_chunk(const sol_unit *u, int64_t c)
{
    return c / u->chunks * u->bytes + c % u->chunks * (u->scales / u->chunks);
}

static inline int64_t sol_unit_scales(const sol_unit *u, int64_t g)
{
    return g / u->groups * u->bytes + u->scales + g % u->groups * ((u->bytes - u->scales) / u->groups);
}

/* A product of tiles [first, last) with the tokens of acts. */
typedef struct sol_ternary_job {
    const sol_segments *seg;
    const uint8_t *tiles; /* of the whole matrix */
    size_t tile_bytes;
    int64_t rows;
    const sol_acts *acts;
    float *y; /* [acts->n, rows] */
} sol_ternary_job;

typedef struct sol_ternary_ops {
    int64_t tile_rows;   /* rows that lie together; at most SOL_TERNARY_TILE_MAX */
    int64_t max_tokens;  /* of one job */
    size_t (*tile_bytes)(const sol_segments *s); /* a multiple of 64 */
    void (*pack)(const sol_segments *s, const sol_ternary_source *rows, uint8_t *tile);
    /* Row r of a tile: one code (0..31) a byte, [cols / 4], and its scales [n_groups]. */
    void (*unpack)(const sol_segments *s, const uint8_t *tile, int64_t r, uint8_t *codes, sol_f16 *scales);
    /* Scratch of a thread: *ready is 0 at the start of a matmul and the kernel's own afterwards. */
    size_t (*thread_bytes)(const sol_segments *s);
    void (*product)(const sol_ternary_job *job, int64_t first, int64_t last, void *thread, int64_t *ready);
} sol_ternary_ops;

extern const sol_ternary_ops sol_ternary_ops_ref;

/* [32][4] weights of every code. */
void sol_code_table(int8_t table[32][4]);

#endif
