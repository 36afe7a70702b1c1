/* bf16.h for AVX-512 without instructions for bf16, which is cast to float: bf16_tmpl.h. */
#include <immintrin.h>

/* To nearest even; a NaN stays one. */
static inline __m256i round_half(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_srli_epi32(_mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000)), 16));
}

static inline __m512i round_32(__m512 low, __m512 high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(round_half(low)), round_half(high), 1);
}

static inline __m512 dot_pairs(__m512 sum, __m512i a, __m512i b)
{
    __m512i high = _mm512_set1_epi32((int)0xffff0000);
    __m512 even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16)),
                                  _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), sum);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(a, high)),
                           _mm512_castsi512_ps(_mm512_and_si512(b, high)), even);
}

#include "kernels/x86/bf16_tmpl.h"

void sol_bf16_ops_avx512(sol_bf16_ops *k)
{
    k->name = "avx512";
    k->pack = pack;
    k->tile = tile;
    k->to_bf16 = to_bf16;
}
