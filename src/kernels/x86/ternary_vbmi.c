/* What AVX-512 VBMI lays over the table of kernels: the ternary product, ternary_tmpl.h with
 * vpdpbusd for many tokens. That wants unsigned weights: weight + 1, for which each sum starts at
 * minus the sum of the activations. */
#define TABLE_TOKENS 4
#define WEIGHT_BIAS 1
#include "kernels/x86/ternary_tmpl.h"

/* vpdpbusd in place. Through the intrinsic gcc 12 copies and spills the accumulators of a loop
 * around every one. */
ALWAYS_INLINE void dot_4(__m512i *acc, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(w), "v"(x));
}

/* T tokens by 64 rows over one segment. q, d, nsum: of the first token, at distances q_stride,
 * n_segs. Accumulators are named, not an array: compilers then keep all of them in registers. */
#define START(t) \
    const int8_t *q##t = q + (t)*s->q_stride; \
    _mm_prefetch((const char *)q##t + ahead, _MM_HINT_T0); \
    _mm_prefetch((const char *)q##t + ahead + 64, _MM_HINT_T0); \
    __m512i a##t##0 = _mm512_set1_epi32(nsum[(t)*s->n_segs]), a##t##1 = a##t##0, \
            a##t##2 = a##t##0, a##t##3 = a##t##0;
#define DOT(t) \
    memcpy(&four, q##t + 4 * i, 4); \
    x = _mm512_set1_epi32(four); \
    dot_4(&a##t##0, w[0][i], x); \
    dot_4(&a##t##1, w[1][i], x); \
    dot_4(&a##t##2, w[2][i], x); \
    dot_4(&a##t##3, w[3][i], x);
#define FINISH_ONE(t, j) \
    u = _mm512_fmadd_ps(dt, _mm512_cvtepi32_ps(a##t##j), to->only ? zero : to->to[t][j]); \
    to->to[t][j] = to->only ? _mm512_fmadd_ps(to->scale[j], u, to->to[t][j]) : u;
#define FINISH(t) \
    dt = _mm512_set1_ps(d[(t)*s->n_segs]); \
    FINISH_ONE(t, 0) FINISH_ONE(t, 1) FINISH_ONE(t, 2) FINISH_ONE(t, 3)
#define EACH_1(F) F(0)
#define EACH_2(F) F(0) F(1)
#define EACH_6(F) F(0) F(1) F(2) F(3) F(4) F(5)
#define GEMM(T) \
    static void gemm_##T(const sol_segments *s, __m512i(*w)[SEGMENT_BLOCKS], int64_t blocks, \
                         const int8_t *q, const float *d, const int32_t *nsum, \
                         const gemm_sums *to) \
    { \
        int32_t four; \
        int64_t ahead = (T)*s->q_stride; /* the next tokens */ \
        __m512i x; \
        __m512 dt, u, zero = _mm512_setzero_ps(); \
        EACH_##T(START) for (int64_t i = 0; i < blocks; i++) \
        { \
            EACH_##T(DOT) \
        } \
        if (to->only) { \
            EACH_##T(FINISH) \
        } else { \
            EACH_##T(FINISH) \
        } \
    }
GEMM(1)
GEMM(2)
GEMM(6)

static void multiply_segment(const sol_segments *s, __m512i (*w)[SEGMENT_BLOCKS], int64_t seg,
                             const sol_acts *a, gemm_sums to)
{
    int64_t len, start = sol_segment_at(s, seg, &len), blocks = len / 4, t = 0, n = a->n;
    const int8_t *q = a->q + start;
    const float *d = a->d + seg;
    const int32_t *nsum = a->nsum + seg;
    for (; t + 6 <= n; t += 6, to.to += 6)
        gemm_6(s, w, blocks, q + t * s->q_stride, d + t * s->n_segs, nsum + t * s->n_segs, &to);
    for (; t + 2 <= n; t += 2, to.to += 2)
        gemm_2(s, w, blocks, q + t * s->q_stride, d + t * s->n_segs, nsum + t * s->n_segs, &to);
    if (t < n)
        gemm_1(s, w, blocks, q + t * s->q_stride, d + t * s->n_segs, nsum + t * s->n_segs, &to);
}

static void product(const sol_tile_call *call, int64_t first, int64_t last, void *thread,
                    int64_t *ready)
{
    if (call->acts->n <= TABLE_TOKENS)
        product_by_tables(call, first, last, thread, ready);
    else
        product_by_gemm(call, first, last, thread);
}

static const sol_tile_ops ops = {
    .tile_rows = TILE_ROWS,
    .max_tokens = TOKENS,
    .tile_bytes = tile_bytes,
    .pack = pack,
    .unpack = unpack,
    .thread_bytes = thread_bytes,
    .product = product,
};

void sol_kernels_vbmi(sol_kernels *k)
{
    k->tiles[SOL_TERNARY] = &ops;
}
