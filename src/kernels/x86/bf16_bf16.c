/* What AVX512-BF16 lays over the table of kernels: bf16_tmpl.h with its instructions, written out
 * since not every compiler has intrinsics for them. */
#include <immintrin.h>

static inline __m512i round_32(__m512 low, __m512 high)
{
    __m512i out;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(out) : "v"(low), "v"(high));
    return out;
}

/* zmm += zmm . zmm, pairs of bf16. */
static inline __m512 dot_pairs(__m512 sum, __m512i a, __m512i b)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

#include "kernels/x86/bf16_tmpl.h"

void sol_kernels_bf16(sol_kernels *k)
{
    k->bf16.name = "avx512-bf16";
    k->bf16.native = true;
    k->bf16.pack = pack;
    k->bf16.tile = tile;
    k->bf16.to_bf16 = to_bf16;
}
