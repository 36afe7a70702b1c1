/* What each form of an integer product implements (matrix_ref.c, x86/, arm/): tiles, which are rows
 * that lie together in the order its loops read. Inside kernels (and its tests) only. */
#ifndef SOLERA_KERNELS_MATRIX_IMPL_H
#define SOLERA_KERNELS_MATRIX_IMPL_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "base/num.h"
#include "kernels/codebook.h"
#include "kernels/dtype.h"
#include "kernels/segments.h"

enum { SOL_TILE_ROWS_MAX = 256 };

/* Rows as they are stored (dtype.h), for packing one tile. */
typedef struct sol_tile_rows {
    int n;                                    /* 1..tile_rows */
    const uint8_t *data[SOL_TILE_ROWS_MAX];   /* [sol_dtype_row_bytes] each */
    const uint8_t *signs[SOL_TILE_ROWS_MAX];  /* [(cols/4 + 7) / 8] each; of a ternary matrix */
    const sol_f16 *scales[SOL_TILE_ROWS_MAX]; /* [n_groups] each */
} sol_tile_rows;

/* A product of tiles [first, last) with the tokens of acts. */
typedef struct sol_tile_call {
    sol_dtype type;
    const sol_segments *seg;
    const uint8_t *tiles; /* those of `rows` rows */
    size_t tile_bytes;
    int64_t rows;
    const sol_acts *acts;
    float *y;    /* [acts->n, rows] */
    int64_t ldy; /* between tokens in y */
} sol_tile_call;

typedef struct sol_tile_ops {
    int64_t tile_rows;  /* divides SOL_TILE_ROWS_MAX */
    int64_t max_tokens; /* rounded at once */
    /* More than few_tokens go to `product` run_tokens at a time (0: all of them), run_tiles tiles
     * or more, for which it builds what the tokens alone decide. */
    int64_t few_tokens, run_tokens, run_tiles;
    size_t (*tile_bytes)(sol_dtype type, const sol_segments *s); /* a multiple of 64 */
    /* Into a tile of zeros. */
    void (*pack)(sol_dtype type, const sol_segments *s, const sol_tile_rows *rows, uint8_t *tile);
    /* Row r of a tile: q [cols] and scales [n_groups]. */
    void (*unpack)(sol_dtype type, const sol_segments *s, const uint8_t *tile, int64_t r, int8_t *q,
                   sol_f16 *scales);
    /* Scratch of a thread: *ready is 0 at the start of a matmul and the kernel's own afterwards; at
     * most one of a matmul's groups of run_tokens has fewer than these. */
    size_t (*thread_bytes)(const sol_segments *s);
    void (*product)(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready);
} sol_tile_ops;

/* The C form, of every type with scales. */
extern const sol_tile_ops sol_tile_ops_ref;

/* How the vector forms lay ternary tiles out: one stream of memory, where codes and scales
 * alternate in units of the fewest chunks of 64 columns that hold whole scale groups. A unit is its
 * chunks, then the scales of its groups, [groups, tile_rows] fp16. */
typedef struct sol_unit {
    int64_t chunks, groups, count; /* of a unit; units of a tile, the last may be partly empty */
    int64_t scales, bytes;         /* where the scales begin; bytes of the unit */
} sol_unit;

static inline sol_unit sol_unit_make(const sol_segments *s, int64_t chunk_bytes, int64_t tile_rows)
{
    sol_unit u = {.groups = 1};
    while (u.groups < s->n_groups && u.groups * s->group % 64 != 0) u.groups++;
    u.chunks = sol_ceil_div(u.groups * s->group, 64);
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
    return g / u->groups * u->bytes + u->scales +
           g % u->groups * ((u->bytes - u->scales) / u->groups);
}

#endif
