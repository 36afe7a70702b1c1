/* The source of all forms of float_ops.h. The including file defines
 *
 *   VW                 floats a vector (4, 8, 16)
 *   FMA(a, b, c)       a * b + c on vectors
 *   LOAD_F16(p)        a vector from VW float16 at p
 *   DOT_OUTS           outputs whose products with DOT_ROWS rows fit the registers, a vector each
 *   IN_REGISTER(v)     nothing, or keeps gcc from reading vector v from memory each time it is used
 *   ATTEND_REGISTERS   registers of attention: accumulators and a factor of each head
 *   FLOAT_OPS_NAME     name of the exported function */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "kernels/float_ops.h"

enum {
    LANES = 16,          /* partial sums of a sum (float_ops.h) */
    NV = LANES / VW,     /* vectors that hold them */
    DOT_ROWS = 4,        /* rows of x at a time */
    DOT_RUN = 768,       /* columns at a time: 12 KiB of x, which stay in the first cache */
    DOT_BLOCK = 60,      /* rows of w that meet a run before the next: any DOT_OUTS divides it */
    ATTEND_RUN = 64,     /* positions of a step of the online softmax (float_ops.h) */
    ATTEND_HEADS = 4,    /* at most, that read a key or a value together */
    ATTEND_QUERIES = 24, /* at most, whose states are in the cache together */
    ATTEND_VECTORS = 4,  /* at most, of sums of a head side by side */
    MAX_HEAD_DIM = 512   /* D (float_ops.h) */
};

typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef uint32_t vu __attribute__((vector_size(VW * 4)));
typedef uint16_t vh __attribute__((vector_size(VW * 2)));
typedef int8_t vb __attribute__((vector_size(VW)));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE vf splat(float x)
{
    return x - (vf){0};
}

ALWAYS_INLINE vf load_f32(const void *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

ALWAYS_INLINE void store_f32(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

ALWAYS_INLINE vf load_bf16(const void *p)
{
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

ALWAYS_INLINE vf load_f16(const void *p)
{
    return LOAD_F16(p);
}

ALWAYS_INLINE vf load_i8(const void *p)
{
    vb b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, vi), vf);
}

/* The lanes of NV vectors, added in halves. By vectors of four: gcc makes a slow loop through
 * memory of lanes. */
ALWAYS_INLINE float add_lanes(const vf v[NV])
{
    typedef float four __attribute__((vector_size(16)));
    four x[LANES / 4];
    memcpy(x, v, sizeof x);
    four sum = (x[0] + x[2]) + (x[1] + x[3]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

ALWAYS_INLINE vf select_f(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* The larger one; b where a is not a number. */
ALWAYS_INLINE vf vmax(vf a, vf b)
{
    return select_f(a > b, a, b);
}

ALWAYS_INLINE float max_lanes(const vf v[NV])
{
    float lane[LANES], high = -INFINITY;
    memcpy(lane, v, sizeof lane);
    for (int j = 0; j < LANES; j++) high = lane[j] > high ? lane[j] : high;
    return high;
}

/* exp(x) to 2 units in the last place; 0 below -87.3, 2.4e38 above 88. Cephes' reduction and
 * polynomial. */
ALWAYS_INLINE vf vexp(vf x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = select_f(x > splat(88.0f), splat(88.0f), x);
    vf t = FMA(x, splat(1.44269504088896341f), splat(magic));
    vf n = t - splat(magic);
    vf r = FMA(n, splat(-0.693359375f), x);
    r = FMA(n, splat(2.12194440e-4f), r);
    vf p = splat(1.9875691500e-4f);
    p = FMA(p, r, splat(1.3981999507e-3f));
    p = FMA(p, r, splat(8.3334519073e-3f));
    p = FMA(p, r, splat(4.1665795894e-2f));
    p = FMA(p, r, splat(1.6666665459e-1f));
    p = FMA(p, r, splat(5.0000001201e-1f));
    vf y = FMA(p, r * r, r) + splat(1.0f);
    vf scale = (vf)(((vu)t + 127u) << 23); /* the low bits of t hold n */
    return select_f(x < splat(-87.3f), splat(0.0f), y * scale);
}

typedef vf (*load_fn)(const void *);

/* Vector v of 16 lanes, of which n elements are at p; the others are 0. */
ALWAYS_INLINE vf load_tail(load_fn load, size_t size, const void *p, int64_t n, int v)
{
    uint8_t lanes[LANES * 4] = {0};
    memcpy(lanes, p, (size_t)n * size);
    return load(lanes + (size_t)(v * VW) * size);
}

/* One row of x by O rows of w. The loads are inlined: `load` and `size` are constants in every
 * caller. */
ALWAYS_INLINE void dot_row_tile(load_fn load, size_t size, int O, const uint8_t *w, int64_t ldw,
                                const float *x, int64_t k, float *y)
{
    vf acc[DOT_OUTS][NV];
    int64_t i = 0;
    for (int o = 0; o < O; o++)
        for (int v = 0; v < NV; v++) acc[o][v] = splat(0.0f);
    for (; i + LANES <= k; i += LANES)
        for (int v = 0; v < NV; v++) {
            vf a = load_f32(x + i + v * VW);
            for (int o = 0; o < O; o++)
                acc[o][v] = FMA(a, load(w + (size_t)(o * ldw + i + v * VW) * size), acc[o][v]);
        }
    if (i < k)
        for (int v = 0; v < NV; v++) {
            vf a = load_tail(load_f32, 4, x + i, k - i, v);
            for (int o = 0; o < O; o++) {
                vf b = load_tail(load, size, w + (size_t)(o * ldw + i) * size, k - i, v);
                acc[o][v] = FMA(a, b, acc[o][v]);
            }
        }
    for (int o = 0; o < O; o++) y[o] = add_lanes(acc[o]);
}

ALWAYS_INLINE void dot_row(load_fn load, size_t size, const uint8_t *w, int64_t ldw, int64_t outs,
                           const float *x, int64_t k, float *y)
{
    int64_t o = 0;
    for (; o + DOT_OUTS <= outs; o += DOT_OUTS)
        dot_row_tile(load, size, DOT_OUTS, w + (size_t)(o * ldw) * size, ldw, x, k, y + o);
    for (; o < outs; o++)
        dot_row_tile(load, size, 1, w + (size_t)(o * ldw) * size, ldw, x, k, y + o);
}

/* Columns of a product of several rows, few enough that those of x stay in the first cache. */
typedef struct dot_run {
    vf x[NV * (DOT_RUN / LANES) * DOT_ROWS]; /* [NV, ceil(k / 16), rows] */
    int64_t k;
    bool first, last;
    vf sum[DOT_BLOCK][DOT_ROWS][NV]; /* of the runs before this one */
} dot_run;

ALWAYS_INLINE void pack_run(dot_run *run, int R, const float *x, int64_t ldx)
{
    vf *to = run->x;
    for (int v = 0; v < NV; v++) {
        int64_t i = 0;
        for (; i + LANES <= run->k; i += LANES)
            for (int r = 0; r < R; r++) *to++ = load_f32(x + r * ldx + i + v * VW);
        if (i < run->k)
            for (int r = 0; r < R; r++)
                *to++ = load_tail(load_f32, 4, x + r * ldx + i, run->k - i, v);
    }
}

/* acc[r][o] += x[r] b[o] */
ALWAYS_INLINE void dot_step(int R, int O, const vf *x, const vf *b, vf acc[DOT_ROWS][DOT_OUTS])
{
    for (int r = 0; r < R; r++)
        for (int o = 0; o < O; o++) acc[r][o] = FMA(x[r], b[o], acc[r][o]);
}

/* R rows of x by O rows of w, whose sums of earlier runs are in sum[O]. Each vector of the lanes
 * has its turn, so that a register holds one for each of R * O outputs. Beside it a share of the
 * next rows of w is called for, which may come from memory. */
ALWAYS_INLINE void dot_tile(load_fn load, size_t size, int R, int O, const uint8_t *w, int64_t ldw,
                            const dot_run *run, vf sum[][DOT_ROWS][NV], float *y, int64_t ldy)
{
    const vf *x = run->x;
    vf part[DOT_ROWS][DOT_OUTS][NV];
    for (int v = 0; v < NV; v++) {
        vf acc[DOT_ROWS][DOT_OUTS];
        const uint8_t *wv = w + (size_t)(v * VW) * size, *next = w + (size_t)((O + v) * ldw) * size;
        int64_t i = 0;
        for (int r = 0; r < R; r++)
            for (int o = 0; o < O; o++) acc[r][o] = run->first ? splat(0.0f) : sum[o][r][v];
        for (; i + LANES <= run->k; i += LANES, x += R) {
            vf b[DOT_OUTS];
            for (int o = 0; o < O; o += NV) __builtin_prefetch(next + (size_t)(o * ldw + i) * size);
            for (int o = 0; o < O; o++) {
                b[o] = load(wv + (size_t)(o * ldw + i) * size);
                IN_REGISTER(b[o]);
            }
            dot_step(R, O, x, b, acc);
        }
        if (i < run->k) {
            vf b[DOT_OUTS];
            for (int o = 0; o < O; o++)
                b[o] = load_tail(load, size, w + (size_t)(o * ldw + i) * size, run->k - i, v);
            dot_step(R, O, x, b, acc);
            x += R;
        }
        for (int r = 0; r < R; r++)
            for (int o = 0; o < O; o++) part[r][o][v] = acc[r][o];
    }
    for (int r = 0; r < R; r++)
        for (int o = 0; o < O; o++)
            if (run->last)
                y[r * ldy + o] = add_lanes(part[r][o]);
            else
                memcpy(sum[o][r], part[r][o], sizeof sum[o][r]);
}

/* R rows of x by at most DOT_BLOCK rows of w. */
ALWAYS_INLINE void dot_rows(load_fn load, size_t size, int R, const uint8_t *w, int64_t ldw,
                            int64_t outs, const float *x, int64_t ldx, int64_t k, float *y,
                            int64_t ldy)
{
    dot_run run;
    for (int64_t i = 0; i < k; i += run.k) {
        const uint8_t *wi = w + (size_t)i * size;
        int64_t o = 0;
        run.k = k - i < DOT_RUN ? k - i : DOT_RUN;
        run.first = i == 0;
        run.last = i + run.k == k;
        pack_run(&run, R, x + i, ldx);
        for (; o + DOT_OUTS <= outs; o += DOT_OUTS)
            dot_tile(load, size, R, DOT_OUTS, wi + (size_t)(o * ldw) * size, ldw, &run, run.sum + o,
                     y + o, ldy);
        for (; o < outs; o++)
            dot_tile(load, size, R, 1, wi + (size_t)(o * ldw) * size, ldw, &run, run.sum + o, y + o,
                     ldy);
    }
}

ALWAYS_INLINE void dot_any(load_fn load, size_t size, const void *weights, int64_t ldw,
                           int64_t outs, const float *x, int64_t ldx, int64_t rows, int64_t k,
                           float *y, int64_t ldy)
{
    if (rows == 1) {
        dot_row(load, size, weights, ldw, outs, x, k, y);
        return;
    }
    for (int64_t o = 0; o < outs; o += DOT_BLOCK) {
        const uint8_t *w = (const uint8_t *)weights + (size_t)(o * ldw) * size;
        int64_t n = outs - o < DOT_BLOCK ? outs - o : DOT_BLOCK, r = 0;
        for (; r + DOT_ROWS <= rows; r += DOT_ROWS)
            dot_rows(load, size, DOT_ROWS, w, ldw, n, x + r * ldx, ldx, k, y + r * ldy + o, ldy);
        const float *xr = x + r * ldx;
        float *yr = y + r * ldy + o;
        if (rows - r == 3) dot_rows(load, size, 3, w, ldw, n, xr, ldx, k, yr, ldy);
        if (rows - r == 2) dot_rows(load, size, 2, w, ldw, n, xr, ldx, k, yr, ldy);
        if (rows - r == 1) dot_row(load, size, w, ldw, n, xr, k, yr);
    }
}

static void dot_f32(const void *w, int64_t ldw, int64_t outs, const float *x, int64_t ldx,
                    int64_t rows, int64_t k, float *y, int64_t ldy)
{
    dot_any(load_f32, 4, w, ldw, outs, x, ldx, rows, k, y, ldy);
}

static void dot_bf16(const void *w, int64_t ldw, int64_t outs, const float *x, int64_t ldx,
                     int64_t rows, int64_t k, float *y, int64_t ldy)
{
    dot_any(load_bf16, 2, w, ldw, outs, x, ldx, rows, k, y, ldy);
}

static void dot_f16(const void *w, int64_t ldw, int64_t outs, const float *x, int64_t ldx,
                    int64_t rows, int64_t k, float *y, int64_t ldy)
{
    dot_any(load_f16, 2, w, ldw, outs, x, ldx, rows, k, y, ldy);
}

/* One head of one row, and what it carries from run to run of the online softmax. */
typedef struct attend_state {
    const float *q;  /* [D] */
    int64_t from, n; /* it sees positions [from, n) */
    float max, sum, rescale;
    float p[ATTEND_RUN] __attribute__((aligned(64)));
    float out[MAX_HEAD_DIM] __attribute__((aligned(64)));
} attend_state;

/* Vectors that `heads` heads take at once, 1, 2 or ATTEND_VECTORS: sums side by side hide the time
 * that each addition takes, as far as they fit the registers beside a factor of each head. */
ALWAYS_INLINE int attend_vectors(int heads)
{
    int n = ATTEND_REGISTERS / heads - 1;
    return n >= ATTEND_VECTORS ? ATTEND_VECTORS : n >= 2 ? 2 : 1;
}

/* Keys and values are each read one run ahead, where `ahead`: a cache that is longer than the
 * processor's would else be waited for.
 *
 * p[j..] = scaled scores of `heads` heads over `blocks` blocks of keys from first + j on: each key
 * vector is loaded once for all heads. */
ALWAYS_INLINE void attend_blocks(load_fn load, size_t size, int heads, int blocks, bool ahead,
                                 const sol_attend_args *a, int64_t first, int64_t j,
                                 attend_state *s)
{
    vf acc[ATTEND_HEADS][ATTEND_RUN / SOL_KV_BLOCK][NV];
    const uint8_t *keys = (const uint8_t *)a->keys + (size_t)((first + j) * a->D) * size;
    size_t block_bytes = (size_t)(a->D * SOL_KV_BLOCK) * size,
           run_bytes = (size_t)(a->D * ATTEND_RUN) * size;
    for (int h = 0; h < heads; h++)
        for (int b = 0; b < blocks; b++)
            for (int v = 0; v < NV; v++) acc[h][b][v] = splat(0.0f);
    for (int64_t d = 0; d < a->D; d++) {
        vf q[ATTEND_HEADS];
        for (int h = 0; h < heads; h++) {
            q[h] = splat(s[h].q[d]);
            IN_REGISTER(q[h]);
        }
        for (int b = 0; b < blocks; b++)
            for (int v = 0; v < NV; v++) {
                const uint8_t *at =
                    keys + (size_t)b * block_bytes + (size_t)(d * SOL_KV_BLOCK + v * VW) * size;
                vf key = load(at);
                if (ahead && (size_t)(v * VW) * size % 64 == 0) __builtin_prefetch(at + run_bytes);
                for (int h = 0; h < heads; h++) acc[h][b][v] = FMA(q[h], key, acc[h][b][v]);
            }
    }
    for (int b = 0; b < blocks; b++)
        for (int v = 0; v < NV; v++) {
            int64_t at = j + b * SOL_KV_BLOCK + v * VW;
            vf scale = splat(a->scale);
            if (size == 1) scale *= load_f32(a->key_scale + first + at);
            for (int h = 0; h < heads; h++) store_f32(s[h].p + at, acc[h][b][v] * scale);
        }
}

ALWAYS_INLINE void attend_scores(load_fn load, size_t size, int heads, bool ahead,
                                 const sol_attend_args *a, int64_t first, int64_t n,
                                 attend_state *s)
{
    int blocks = attend_vectors(heads) / NV > 1 ? attend_vectors(heads) / NV : 1;
    int64_t j = 0, step = blocks * SOL_KV_BLOCK,
            end = (n + SOL_KV_BLOCK - 1) / SOL_KV_BLOCK * SOL_KV_BLOCK;
    for (; j + step <= end; j += step)
        attend_blocks(load, size, heads, blocks, ahead, a, first, j, s);
    for (; j < end; j += SOL_KV_BLOCK) attend_blocks(load, size, heads, 1, ahead, a, first, j, s);
}

/* Scores p[n] of one run become exp(p - max); max, sum and rescale move on. */
ALWAYS_INLINE void attend_softmax(int64_t n, attend_state *s)
{
    for (int64_t j = n; j % LANES != 0; j++) s->p[j] = -INFINITY;
    vf top[NV], sum[NV];
    for (int v = 0; v < NV; v++) top[v] = splat(s->max), sum[v] = splat(0.0f);
    for (int64_t j = 0; j < n; j += LANES)
        for (int v = 0; v < NV; v++) top[v] = vmax(load_f32(s->p + j + v * VW), top[v]);
    float high = max_lanes(top);
    for (int64_t j = 0; j < n; j += LANES)
        for (int v = 0; v < NV; v++) {
            vf e = vexp(load_f32(s->p + j + v * VW) - splat(high));
            store_f32(s->p + j + v * VW, e);
            sum[v] += e;
        }
    s->rescale = vexp(splat(s->max - high))[0];
    s->sum = s->sum * s->rescale + add_lanes(sum);
    s->max = high;
}

/* acc += p V of one value, whose vectors are whole or end `left` bytes on. */
ALWAYS_INLINE void attend_value(load_fn load, size_t size, int heads, int vectors,
                                const uint8_t *value, bool whole, size_t left,
                                const attend_state *s, int64_t j,
                                vf acc[ATTEND_HEADS][ATTEND_VECTORS])
{
    vf p[ATTEND_HEADS];
    for (int h = 0; h < heads; h++) {
        p[h] = splat(s[h].p[j]);
        IN_REGISTER(p[h]);
    }
    for (int c = 0; c < vectors; c++) {
        uint8_t padded[VW * 4] = {0};
        const uint8_t *at = value + (size_t)(c * VW) * size;
        size_t begin = (size_t)(c * VW) * size;
        if (!whole && begin < left) {
            size_t rest = left - begin;
            memcpy(padded, at, rest < VW * size ? rest : VW * size);
        }
        vf x = load(whole ? at : padded);
        for (int h = 0; h < heads; h++) acc[h][c] = FMA(p[h], x, acc[h][c]);
    }
}

/* Columns [d, d + vectors * VW) of out = out * rescale + p V for `heads` states at once: each value
 * is loaded once. Columns from D on hold what the loads found there, and are never read. */
ALWAYS_INLINE void attend_columns(load_fn load, size_t size, int heads, int vectors, bool ahead,
                                  const sol_attend_args *a, int64_t first, int64_t n, int64_t d,
                                  attend_state *s)
{
    vf acc[ATTEND_HEADS][ATTEND_VECTORS];
    const uint8_t *value = (const uint8_t *)a->values + (size_t)(first * a->D + d) * size;
    /* A load may run into the next value; at the end of them there is none. */
    size_t step = (size_t)a->D * size, wide = (size_t)(vectors * VW) * size,
           left = (size_t)((a->n + a->rows - 1 - first) * a->D - d) * size;
    int64_t j = 0;
    for (int h = 0; h < heads; h++)
        for (int c = 0; c < vectors; c++)
            acc[h][c] = load_f32(s[h].out + d + c * VW) * splat(s[h].rescale);
    for (; j < n && left >= wide; j++, value += step, left -= step) {
        for (size_t line = 0; ahead && line < wide; line += 64)
            __builtin_prefetch(value + (size_t)(ATTEND_RUN * a->D) * size + line);
        attend_value(load, size, heads, vectors, value, true, left, s, j, acc);
    }
    for (; j < n; j++, value += step, left -= step)
        attend_value(load, size, heads, vectors, value, false, left, s, j, acc);
    for (int h = 0; h < heads; h++)
        for (int c = 0; c < vectors; c++) store_f32(s[h].out + d + c * VW, acc[h][c]);
}

ALWAYS_INLINE void attend_values(load_fn load, size_t size, int heads, bool ahead,
                                 const sol_attend_args *a, int64_t first, int64_t n,
                                 attend_state *s)
{
    int vectors = attend_vectors(heads);
    int64_t d = 0;
    for (; d + vectors * VW <= a->D; d += vectors * VW)
        attend_columns(load, size, heads, vectors, ahead, a, first, n, d, s);
    for (; d < a->D; d += VW) attend_columns(load, size, heads, 1, ahead, a, first, n, d, s);
}

/* Positions [first, first + n) of one run for `heads` states that see them all. */
ALWAYS_INLINE void attend_heads(load_fn load, size_t size, int heads, bool ahead,
                                const sol_attend_args *a, int64_t first, int64_t n, attend_state *s)
{
    attend_scores(load, size, heads, ahead, a, first, n, s);
    for (int h = 0; h < heads; h++) {
        for (int64_t j = 0; j < s[h].from - first; j++) s[h].p[j] = -INFINITY; /* unseen */
        attend_softmax(n, &s[h]);
        if (size == 1)
            for (int64_t j = 0; j < n; j++) s[h].p[j] *= a->value_scale[first + j];
    }
    attend_values(load, size, heads, ahead, a, first, n, s);
}

/* How many positions of the run from `first` on a state sees. */
ALWAYS_INLINE int64_t attend_seen(const attend_state *s, int64_t first)
{
    int64_t n = s->n - first;
    return n < 0 ? 0 : n < ATTEND_RUN ? n : ATTEND_RUN;
}

/* One run for all states, of which those that see the same of it go together. */
ALWAYS_INLINE void attend_run(load_fn load, size_t size, const sol_attend_args *a, int64_t first,
                              int states, attend_state *s)
{
    for (int i = 0, heads; i < states; i += heads) {
        int64_t n = attend_seen(&s[i], first);
        heads = 1;
        while (heads < ATTEND_HEADS && i + heads < states && attend_seen(&s[i + heads], first) == n)
            heads++;
        if (n == 0) continue;
        if (heads == 4) attend_heads(load, size, 4, i == 0, a, first, n, s + i);
        if (heads == 3) attend_heads(load, size, 3, i == 0, a, first, n, s + i);
        if (heads == 2) attend_heads(load, size, 2, i == 0, a, first, n, s + i);
        if (heads == 1) attend_heads(load, size, 1, i == 0, a, first, n, s + i);
    }
}

/* States of the queries from `query` on, as many as fit and have their first run in common; returns
 * how many. */
static int attend_begin(const sol_attend_args *a, int64_t query, attend_state s[ATTEND_QUERIES])
{
    int states = 0;
    for (; states < ATTEND_QUERIES && query < a->rows * a->heads; states++, query++) {
        int64_t row = query / a->heads, n = a->n + row,
                from = a->window && n > a->window ? n - a->window : 0;
        attend_state *at = &s[states];
        if (states && from / SOL_KV_BLOCK != s[0].from / SOL_KV_BLOCK) break;
        at->q = a->q + row * a->ldq + query % a->heads * a->D;
        at->from = from;
        at->n = n;
        at->max = -INFINITY;
        at->sum = 0.0f;
        for (int64_t d = 0; d < a->D; d += VW) store_f32(at->out + d, splat(0.0f));
    }
    return states;
}

static void attend_end(const sol_attend_args *a, int64_t query, int states, const attend_state *s)
{
    for (int i = 0; i < states; i++, query++) {
        float *out = a->out + query / a->heads * a->ldout + query % a->heads * a->D,
              inverse = 1.0f / s[i].sum;
        for (int64_t d = 0; d < a->D; d++) out[d] = s[i].out[d] * inverse;
    }
}

ALWAYS_INLINE void attend_any(load_fn load, size_t size, const sol_attend_args *a)
{
    attend_state s[ATTEND_QUERIES];
    int states;
    for (int64_t query = 0; query < a->rows * a->heads; query += states) {
        states = attend_begin(a, query, s);
        int64_t first = s[0].from - s[0].from % SOL_KV_BLOCK, end = s[states - 1].n;
        for (; first < end; first += ATTEND_RUN) attend_run(load, size, a, first, states, s);
        attend_end(a, query, states, s);
    }
}

static void attend_f32(const sol_attend_args *a)
{
    attend_any(load_f32, 4, a);
}

static void attend_f16(const sol_attend_args *a)
{
    attend_any(load_f16, 2, a);
}

static void attend_i8(const sol_attend_args *a)
{
    attend_any(load_i8, 1, a);
}

ALWAYS_INLINE vf silu_times(vf g, vf u)
{
    return g / (splat(1.0f) + vexp(-g)) * u;
}

static void swiglu(const float *gate, const float *up, int64_t n, float *y)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) store_f32(y + i, silu_times(load_f32(gate + i), load_f32(up + i)));
    if (i == n) return;
    float g[VW] = {0}, u[VW] = {0};
    memcpy(g, gate + i, (size_t)(n - i) * 4);
    memcpy(u, up + i, (size_t)(n - i) * 4);
    store_f32(g, silu_times(load_f32(g), load_f32(u)));
    memcpy(y + i, g, (size_t)(n - i) * 4);
}

static void add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] += y[i];
}

static float sumexp(const float *x, int64_t n, float *max)
{
    vf top[NV], sum[NV];
    float tail[LANES];
    int64_t whole = n / LANES * LANES;
    for (int j = 0; j < LANES; j++) tail[j] = whole + j < n ? x[whole + j] : -INFINITY;
    for (int v = 0; v < NV; v++) top[v] = load_f32(tail + v * VW), sum[v] = splat(0.0f);
    for (int64_t i = 0; i < whole; i += LANES)
        for (int v = 0; v < NV; v++) top[v] = vmax(load_f32(x + i + v * VW), top[v]);
    float high = *max = max_lanes(top);
    for (int64_t i = 0; i < whole; i += LANES)
        for (int v = 0; v < NV; v++) sum[v] += vexp(load_f32(x + i + v * VW) - splat(high));
    for (int v = 0; v < NV; v++) sum[v] += vexp(load_f32(tail + v * VW) - splat(high));
    return add_lanes(sum);
}

void FLOAT_OPS_NAME(sol_float_ops *f)
{
    *f = (sol_float_ops){.dot = {[SOL_F32] = dot_f32, [SOL_BF16] = dot_bf16, [SOL_F16] = dot_f16},
                         .attend_f32 = attend_f32,
                         .attend_f16 = attend_f16,
                         .attend_i8 = attend_i8,
                         .swiglu = swiglu,
                         .add = add,
                         .sumexp = sumexp};
}
