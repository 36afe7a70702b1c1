/* The 3:4 block: which four weights form it, and the 5-bit code of its 32 patterns (the codebook of
 * llama.cpp's STQ1_0).
 *
 * z = zero lane (0..3); s = 1 if the first non-zero lane is -1; a = 1 if the second non-zero
 * differs in sign from the first; b = 1 if the third does. slot = 4 z + a + 2 b (4 bits), sign bit
 * = s, code = s << 4 | slot. */
#ifndef SOLERA_KERNELS_CODEBOOK_H
#define SOLERA_KERNELS_CODEBOOK_H

#include <stdint.h>

#include "base/enums.h"

/* The weight at lane p of block g. Contiguous (the paper): 4g + p. Stride16 (STQ1_0): (g/16)*64 +
 * g%16 + 16p, which needs widths and scale groups that are multiples of 64. */
#define SOL_BLOCK_LAYOUTS(ROW) \
    ROW(SOL_LAYOUT_CONTIGUOUS, "contiguous") \
    ROW(SOL_LAYOUT_STRIDE16, "stride16")
typedef enum { SOL_BLOCK_LAYOUTS(SOL_ENUM_CONSTANT) } sol_block_layout;

/* The levels of a code, lane by lane. */
extern const int8_t sol_code_levels[32][4];

/* The column of lane p of block g in a row. */
static inline int64_t sol_block_column(sol_block_layout layout, int64_t g, int64_t p)
{
    return layout == SOL_LAYOUT_CONTIGUOUS ? 4 * g + p : g / 16 * 64 + g % 16 + 16 * p;
}

#endif
