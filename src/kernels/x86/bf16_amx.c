/* bf16.h for AMX: the tiles. Packing and rounding are those of AVX512-BF16 (bf16_bf16.c). Tile
 * registers: 0 to 3 are sums, 4 and 5 the halves of A, 6 and 7 those of B. */
#include "kernels/x86/amx.h"
#include "kernels/x86/kernels_x86.h"

enum { EDGE = SOL_BF16_EDGE, BLOCK = SOL_BF16_BLOCK, TILE = SOL_BF16_TILE };

#define TILE_DOT(sums, x, w) __asm__ volatile("tdpbf16ps %%tmm" #w ", %%tmm" #x ", %%tmm" #sums : :)

static void tile(const sol_bf16_rows *rows, const uint16_t *b, int64_t half_b, int64_t blocks,
                 bool add, float *c, int64_t ldc)
{
    const uint16_t *a = rows->data;
    int64_t step = rows->step, half_a = rows->half, row = 2 * rows->row, line = 64;
    if (add) {
        TILE_LOAD(0, c, 4 * ldc);
        TILE_LOAD(1, c + EDGE, 4 * ldc);
        TILE_LOAD(2, c + EDGE * ldc, 4 * ldc);
        TILE_LOAD(3, c + EDGE * ldc + EDGE, 4 * ldc);
    } else {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    /* The lines of C are fetched on the way, two at a time, so that the stores at the end find
     * them. */
    for (int64_t k = 0; k < blocks * BLOCK; k += BLOCK, a += step) {
        const float *ahead = c + k / BLOCK % TILE * ldc;
        __asm__ volatile("prefetchw (%0)\n\tprefetchw 64(%0)" : : "r"(ahead));
        TILE_LOAD(6, b + k, line);
        TILE_LOAD(4, a, row);
        TILE_LOAD(7, b + half_b + k, line);
        TILE_LOAD(5, a + half_a, row);
        TILE_DOT(0, 4, 6);
        TILE_DOT(1, 4, 7);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
    TILE_STORE(0, c, 4 * ldc);
    TILE_STORE(1, c + EDGE, 4 * ldc);
    TILE_STORE(2, c + EDGE * ldc, 4 * ldc);
    TILE_STORE(3, c + EDGE * ldc + EDGE, 4 * ldc);
}

void sol_bf16_ops_amx(sol_bf16_ops *k)
{
    k->name = "amx-bf16";
    k->tile = tile;
    k->begin = begin_tiles;
    k->end = end_tiles;
}
