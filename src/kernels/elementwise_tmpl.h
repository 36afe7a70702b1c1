/* The source of the vector forms of elementwise.h; the same bits as elementwise.c. The including
 * file defines
 *
 *   VW                floats a vector (4, 8, 16)
 *   SQRT(v)           square roots of a vector, correctly rounded
 *   ELEMENTWISE_NAME  name of the exported function */
#include <string.h>

#include "base/half.h"
#include "kernels/elementwise.h"

enum { NV = SOL_SUM_LANES / VW };

typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef uint32_t vu __attribute__((vector_size(VW * 4)));
typedef uint16_t vh __attribute__((vector_size(VW * 2)));
typedef int8_t vb __attribute__((vector_size(VW)));
typedef float vhalf __attribute__((vector_size(VW * 2)));
typedef double vd __attribute__((vector_size(VW * 4)));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE vf splat(float x)
{
    return x - (vf){0};
}

ALWAYS_INLINE vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

ALWAYS_INLINE void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

ALWAYS_INLINE vi magnitude(vf x)
{
    return (vi)x & 0x7fffffff;
}

/* The lanes of a vector and those 8, 4, 2 and 1 further, as far as there are so many. */
#if VW == 4
#define AND_8_FURTHER(x) (x)
#define AND_4_FURTHER(x) (x)
#define AND_2_FURTHER(x) ((x) + __builtin_shufflevector(x, x, 2, 3, 0, 1))
#define AND_1_FURTHER(x) ((x) + __builtin_shufflevector(x, x, 1, 0, 3, 2))
#elif VW == 8
#define AND_8_FURTHER(x) (x)
#define AND_4_FURTHER(x) ((x) + __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3))
#define AND_2_FURTHER(x) ((x) + __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5))
#define AND_1_FURTHER(x) ((x) + __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6))
#else
#define AND_8_FURTHER(x) \
    ((x) + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7))
#define AND_4_FURTHER(x) \
    ((x) + __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11))
#define AND_2_FURTHER(x) \
    ((x) + __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13))
#define AND_1_FURTHER(x) \
    ((x) + __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14))
#endif

ALWAYS_INLINE void fold(const vf acc[NV], double *sum)
{
    vf part[NV];
    memcpy(part, acc, sizeof part);
    for (int apart = NV / 2; apart > 0; apart /= 2)
        for (int v = 0; v < apart; v++) part[v] += part[v + apart];
    vf by8 = AND_8_FURTHER(part[0]), by4 = AND_4_FURTHER(by8), by2 = AND_2_FURTHER(by4),
       by1 = AND_1_FURTHER(by2);
    *sum += (double)by1[0];
}

/* Of contiguous blocks of four: -1 in the lanes that are kept. Lane i is not the one left out if a
 * later lane of its block is smaller or an earlier one is not larger; adding -1 to the earlier ones
 * makes both the same comparison. */
#if VW == 4
#define ROTATE(x, a, b, c, d) __builtin_shufflevector(x, x, a, b, c, d)
#define PER_BLOCK(a, b, c, d) ((vi){a, b, c, d})
#elif VW == 8
#define ROTATE(x, a, b, c, d) __builtin_shufflevector(x, x, a, b, c, d, 4 + a, 4 + b, 4 + c, 4 + d)
#define PER_BLOCK(a, b, c, d) ((vi){a, b, c, d, a, b, c, d})
#else
#define ROTATE(x, a, b, c, d) \
    __builtin_shufflevector(x, x, a, b, c, d, 4 + a, 4 + b, 4 + c, 4 + d, 8 + a, 8 + b, 8 + c, \
                            8 + d, 12 + a, 12 + b, 12 + c, 12 + d)
#define PER_BLOCK(a, b, c, d) ((vi){a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d})
#endif

ALWAYS_INLINE vi kept_contiguous(vi mag)
{
    vi one = ROTATE(mag, 1, 2, 3, 0) + PER_BLOCK(0, 0, 0, -1);
    vi two = ROTATE(mag, 2, 3, 0, 1) + PER_BLOCK(0, 0, -1, -1);
    vi three = ROTATE(mag, 3, 0, 1, 2) + PER_BLOCK(0, -1, -1, -1);
    return (mag > one) | (mag > two) | (mag > three);
}

/* Of blocks whose four lanes lie in four vectors. */
ALWAYS_INLINE void kept_stride16(const vi mag[4], vi kept[4])
{
    kept[0] = (mag[0] > mag[1]) | (mag[0] > mag[2]) | (mag[0] > mag[3]);
    kept[1] = (mag[1] >= mag[0]) | (mag[1] > mag[2]) | (mag[1] > mag[3]);
    kept[2] = (mag[2] >= mag[0]) | (mag[2] >= mag[1]) | (mag[2] > mag[3]);
    kept[3] = (mag[3] >= mag[0]) | (mag[3] >= mag[1]) | (mag[3] >= mag[2]);
}

/* What a kernel does with VW weights and their mask of kept lanes. at: index of the first of them,
 * v = at / VW % NV. */
typedef struct pass {
    vf acc[NV];     /* sums */
    float scale, b; /* effective weights */
    float *out;
    int8_t *levels;
} pass;
typedef void (*pass_fn)(pass *p, vf w, vi kept, int64_t at, int v);

ALWAYS_INLINE void pass_sum(pass *p, vf w, vi kept, int64_t at, int v)
{
    (void)at;
    p->acc[v] += (vf)(magnitude(w) & kept);
}

ALWAYS_INLINE void pass_levels(pass *p, vf w, vi kept, int64_t at, int v)
{
    (void)v;
    vb t = __builtin_convertvector(kept & ((w < splat(0)) | 1), vb);
    memcpy(p->levels + at, &t, sizeof t);
}

ALWAYS_INLINE vf quantized(const pass *p, vf w, vi kept)
{
    vi sign = (w < splat(0)) & INT32_MIN;
    return (vf)(kept & (sign ^ (vi)splat(p->scale)));
}

ALWAYS_INLINE void pass_ternary(pass *p, vf w, vi kept, int64_t at, int v)
{
    (void)v;
    store(p->out + at, quantized(p, w, kept));
}

ALWAYS_INLINE void pass_mixed(pass *p, vf w, vi kept, int64_t at, int v)
{
    (void)v;
    store(p->out + at, quantized(p, w, kept) + splat(p->b) * w);
}

/* Whole vectors of weights [0, n): n a multiple of 16, of 64 for stride16. `fn` is inlined: a
 * constant in every caller. */
ALWAYS_INLINE void each_vector(pass *p, pass_fn fn, const float *w, int64_t n,
                               sol_block_layout layout)
{
    if (layout == SOL_LAYOUT_CONTIGUOUS) {
        for (int64_t i = 0; i < n; i += SOL_SUM_LANES)
            for (int v = 0; v < NV; v++) {
                vf x = load(w + i + v * VW);
                fn(p, x, kept_contiguous(magnitude(x)), i + v * VW, v);
            }
        return;
    }
    for (int64_t i = 0; i < n; i += 64)
        for (int v = 0; v < NV; v++) {
            vf x[4];
            vi mag[4], kept[4];
            for (int k = 0; k < 4; k++) {
                x[k] = load(w + i + 16 * k + v * VW);
                mag[k] = magnitude(x[k]);
            }
            kept_stride16(mag, kept);
            for (int k = 0; k < 4; k++) fn(p, x[k], kept[k], i + 16 * k + v * VW, v);
        }
}

/* The last weights, fewer than 16, padded with zeros (never in stride16). */
ALWAYS_INLINE int64_t load_tail(const float *w, int64_t n, float tail[SOL_SUM_LANES])
{
    int64_t rest = n % SOL_SUM_LANES;
    memset(tail, 0, SOL_SUM_LANES * sizeof *tail);
    memcpy(tail, w + n - rest, (size_t)rest * sizeof *tail);
    return rest;
}

static void abs_sum(const float *w, int64_t n, double *sum)
{
    float tail[SOL_SUM_LANES];
    for (int64_t run = 0; run < n; run += SOL_SUM_RUN) {
        vf acc[NV] = {0};
        int64_t m = n - run < SOL_SUM_RUN ? n - run : SOL_SUM_RUN, whole = m - m % SOL_SUM_LANES;
        for (int64_t i = run; i < run + whole; i += SOL_SUM_LANES)
            for (int v = 0; v < NV; v++) acc[v] += (vf)magnitude(load(w + i + v * VW));
        if (whole < m) {
            load_tail(w + run, m, tail);
            for (int v = 0; v < NV; v++) acc[v] += (vf)magnitude(load(tail + v * VW));
        }
        fold(acc, sum);
    }
}

static void sherry_sum(const float *w, int64_t n, sol_block_layout layout, double *sum)
{
    float tail[SOL_SUM_LANES];
    for (int64_t run = 0; run < n; run += SOL_SUM_RUN) {
        pass p = {0};
        int64_t m = n - run < SOL_SUM_RUN ? n - run : SOL_SUM_RUN, whole = m - m % SOL_SUM_LANES;
        each_vector(&p, pass_sum, w + run, whole, layout);
        if (whole < m) {
            load_tail(w + run, m, tail);
            each_vector(&p, pass_sum, tail, SOL_SUM_LANES, SOL_LAYOUT_CONTIGUOUS);
        }
        fold(p.acc, sum);
    }
}

static void sherry_levels(const float *w, int64_t n, sol_block_layout layout, int8_t *t)
{
    float tail[SOL_SUM_LANES];
    int8_t tail_levels[SOL_SUM_LANES];
    int64_t whole = n - n % SOL_SUM_LANES;
    pass p = {.levels = t};
    each_vector(&p, pass_levels, w, whole, layout);
    if (whole == n) return;
    int64_t rest = load_tail(w, n, tail);
    p.levels = tail_levels;
    each_vector(&p, pass_levels, tail, SOL_SUM_LANES, SOL_LAYOUT_CONTIGUOUS);
    memcpy(t + whole, tail_levels, (size_t)rest);
}

ALWAYS_INLINE void effective(pass_fn fn, const float *w, int64_t n, sol_block_layout layout,
                             float scale, float b, float *out)
{
    float tail[SOL_SUM_LANES], tail_out[SOL_SUM_LANES];
    int64_t whole = n - n % SOL_SUM_LANES;
    pass p = {.scale = scale, .b = b, .out = out};
    each_vector(&p, fn, w, whole, layout);
    if (whole == n) return;
    int64_t rest = load_tail(w, n, tail);
    p.out = tail_out;
    each_vector(&p, fn, tail, SOL_SUM_LANES, SOL_LAYOUT_CONTIGUOUS);
    memcpy(out + whole, tail_out, (size_t)rest * sizeof *out);
}

static void sherry_effective(const float *w, int64_t n, sol_block_layout layout, float scale,
                             float b, float *out)
{
    if (b == 0)
        effective(pass_ternary, w, n, layout, scale, b, out);
    else
        effective(pass_mixed, w, n, layout, scale, b, out);
}

ALWAYS_INLINE void adamw_vector(const sol_adamw_step *s, vf grad, float *p, float *m, float *v)
{
    vf g = splat(s->grad_scale) * grad;
    vf m1 = splat(s->beta1) * load(m) + splat(s->one_minus_1) * g;
    vf v1 = splat(s->beta2) * load(v) + splat(s->one_minus_2) * g * g;
    vf d = SQRT(v1) * splat(s->inv_sqrt_correction) + splat(s->eps);
    store(m, m1);
    store(v, v1);
    store(p, splat(s->keep) * load(p) - splat(s->rate) * (m1 / d));
}

static void adamw(const sol_adamw_step *s, const float *grad, int64_t n, float *p, float *m,
                  float *v)
{
    const sol_adamw_step step = *s; /* a copy that the stores cannot change */
    int64_t i = 0, rest = n % VW;
    for (; i + VW <= n; i += VW) adamw_vector(&step, load(grad + i), p + i, m + i, v + i);
    if (rest == 0) return;
    float tail[4][VW] = {{0}};
    float *const from[4] = {NULL, p + i, m + i, v + i};
    memcpy(tail[0], grad + i, (size_t)rest * sizeof *grad);
    for (int k = 1; k < 4; k++) memcpy(tail[k], from[k], (size_t)rest * sizeof *grad);
    adamw_vector(&step, load(tail[0]), tail[1], tail[2], tail[3]);
    for (int k = 1; k < 4; k++) memcpy(from[k], tail[k], (size_t)rest * sizeof *grad);
}

ALWAYS_INLINE void add_squares(vd acc[2 * NV], const float *x)
{
    for (int v = 0; v < 2 * NV; v++) {
        vhalf half;
        memcpy(&half, x + v * (VW / 2), sizeof half);
        vd d = __builtin_convertvector(half, vd);
        acc[v] += d * d;
    }
}

static void square_sum(const float *x, int64_t n, double *sum)
{
    vd acc[2 * NV] = {0};
    double lane[SOL_SUM_LANES];
    float tail[SOL_SUM_LANES];
    int64_t i = 0;
    for (; i + SOL_SUM_LANES <= n; i += SOL_SUM_LANES) add_squares(acc, x + i);
    if (i < n) {
        load_tail(x, n, tail);
        add_squares(acc, tail);
    }
    memcpy(lane, acc, sizeof lane);
    for (int apart = SOL_SUM_LANES / 2; apart > 0; apart /= 2)
        for (int k = 0; k < apart; k++) lane[k] += lane[k + apart];
    *sum += lane[0];
}

static void to_bf16(const float *x, int64_t n, uint16_t *out)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        vf v = load(x + i);
        vu bits = (vu)v, up = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
        vi is_nan = v != v;
        vh h = __builtin_convertvector(((vu)is_nan & nan) | (~(vu)is_nan & up), vh);
        memcpy(out + i, &h, sizeof h);
    }
    for (; i < n; i++) out[i] = sol_f32_to_bf16(x[i]);
}

static void from_bf16(const uint16_t *x, int64_t n, float *out)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        vh h;
        memcpy(&h, x + i, sizeof h);
        store(out + i, (vf)(__builtin_convertvector(h, vu) << 16));
    }
    for (; i < n; i++) out[i] = sol_bf16_to_f32(x[i]);
}

void ELEMENTWISE_NAME(sol_elementwise *k)
{
    *k = (sol_elementwise){
        .abs_sum = abs_sum,
        .sherry_sum = sherry_sum,
        .sherry_levels = sherry_levels,
        .sherry_effective = sherry_effective,
        .adamw = adamw,
        .square_sum = square_sum,
        .to_bf16 = to_bf16,
        .from_bf16 = from_bf16,
    };
}
