/* The source of all tiers of train_ops.h; follows float_impl.h in the same file and uses its vectors. The including file defines
 * TRAIN_OPS_NAME, the name of the exported function. */
#include "kernels/train_ops.h"

/* The m <= VW floats at p, `fill` behind them. */
ALWAYS_INLINE vf load_part(const float *p, int64_t m, float fill)
{
    float part[VW];
    for (int j = 0; j < VW; j++) part[j] = j < m ? p[j] : fill;
    return load_f32(part);
}

ALWAYS_INLINE void store_part(float *p, vf v, int64_t m)
{
    float part[VW];
    store_f32(part, v);
    memcpy(p, part, (size_t)m * sizeof *p);
}

/* `m` is a constant VW in the loops and the rest behind them. */
ALWAYS_INLINE vf load_some(const float *p, int64_t m, float fill)
{
    return m == VW ? load_f32(p) : load_part(p, m, fill);
}

ALWAYS_INLINE void store_some(float *p, vf v, int64_t m, bool add)
{
    if (add) v = load_some(p, m, 0) + v;
    if (m == VW)
        store_f32(p, v);
    else
        store_part(p, v, m);
}

/* body(i, m) for i = 0, VW, 2 VW, ... and once more for what is left. */
#define FOR_VECTORS(n, body)                                                                                               \
    do {                                                                                                                   \
        int64_t i_ = 0;                                                                                                    \
        for (; i_ + VW <= (n); i_ += VW) body(i_, VW);                                                                     \
        if (i_ < (n)) body(i_, (n) - i_);                                                                                  \
    } while (0)

typedef double vd __attribute__((vector_size(VW * 8)));

/* 16 double lanes: the sums of RMSNorm scale whole rows, so that their rounding would not average out. */
typedef struct wide_sum {
    vd lane[NV];
    int next;
} wide_sum;

ALWAYS_INLINE void wide_add(wide_sum *s, vf a, vf b)
{
    s->lane[s->next] += __builtin_convertvector(a, vd) * __builtin_convertvector(b, vd);
    s->next = (s->next + 1) % NV;
}

ALWAYS_INLINE double wide_total(const wide_sum *s)
{
    double lane[LANES];
    memcpy(lane, s->lane, sizeof lane);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    return lane[0];
}

ALWAYS_INLINE void train_zero(vf v[NV])
{
    for (int j = 0; j < NV; j++) v[j] = splat(0.0f);
}

static float train_max(const float *x, int64_t n)
{
    vf top[NV];
    int64_t i = 0;
    for (int j = 0; j < NV; j++) top[j] = splat(-INFINITY);
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < NV; j++) top[j] = vmax(load_f32(x + i + j * VW), top[j]);
    float high = max_lanes(top);
    for (; i < n; i++) high = x[i] > high ? x[i] : high;
    return high;
}

/* x becomes exp(x - m); returns the sum. At most SOL_TRAIN_RUN elements keep the float lanes exact enough. */
static float train_exp(float *x, int64_t n, float m)
{
    vf sum[NV];
    int64_t i = 0;
    train_zero(sum);
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < NV; j++) {
            vf e = vexp(load_f32(x + i + j * VW) - splat(m));
            store_f32(x + i + j * VW, e);
            sum[j] += e;
        }
    for (int j = 0; i < n; j++, i += VW) {
        int64_t rest = n - i < VW ? n - i : VW;
        vf e = vexp(load_part(x + i, rest, -INFINITY) - splat(m));
        store_part(x + i, e, rest);
        sum[j] += e;
    }
    return add_lanes(sum);
}

static double train_exp_runs(float *x, int64_t n, float m)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += SOL_TRAIN_RUN) sum += train_exp(x + i, n - i < SOL_TRAIN_RUN ? n - i : SOL_TRAIN_RUN, m);
    return sum;
}

static void train_softmax(float *s, int64_t n, int64_t from, int64_t to, float *norm)
{
    float m = train_max(s + from, to - from);
    double sum = train_exp_runs(s + from, to - from, m);
    memset(s, 0, (size_t)from * sizeof *s);
    memset(s + to, 0, (size_t)(n - to) * sizeof *s);
    norm[0] = m;
    norm[1] = (float)(1 / sum);
}

static void train_softmax_backward(float *s, float *dp, int64_t n, int64_t from, int64_t to, const float *norm, float scale)
{
    vf dot[NV];
    int lane = 0;
    train_zero(dot);
#define PROBABILITY(i, m)                                                                                                  \
    do {                                                                                                                   \
        vf p_ = vexp(load_some(s + from + (i), m, -INFINITY) - splat(norm[0])) * splat(norm[1]);                           \
        store_some(s + from + (i), p_, m, false);                                                                          \
        dot[lane] = FMA(p_, load_some(dp + from + (i), m, 0), dot[lane]);                                                  \
        lane = (lane + 1) % NV;                                                                                            \
    } while (0)
    FOR_VECTORS(to - from, PROBABILITY);
#undef PROBABILITY
    vf sum = splat(add_lanes(dot)), factor = splat(scale);
#define SCORE(i, m)                                                                                                        \
    store_some(dp + from + (i), load_some(s + from + (i), m, 0) * (load_some(dp + from + (i), m, 0) - sum) * factor, m, false)
    FOR_VECTORS(to - from, SCORE);
#undef SCORE
    memset(s, 0, (size_t)from * sizeof *s);
    memset(dp, 0, (size_t)from * sizeof *dp);
    memset(s + to, 0, (size_t)(n - to) * sizeof *s);
    memset(dp + to, 0, (size_t)(n - to) * sizeof *dp);
}

/* ln sum exp(z - m) without keeping the exponentials. */
static double train_sumexp_runs(const float *z, int64_t n, float m)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += SOL_TRAIN_RUN) {
        int64_t count = n - i < SOL_TRAIN_RUN ? n - i : SOL_TRAIN_RUN;
        vf part[NV];
        int lane = 0;
        train_zero(part);
#define ONE(k, m_)                                                                                                         \
    do {                                                                                                                   \
        part[lane] += vexp(load_some(z + i + (k), m_, -INFINITY) - splat(m));                                              \
        lane = (lane + 1) % NV;                                                                                            \
    } while (0)
        FOR_VECTORS(count, ONE);
#undef ONE
        sum += add_lanes(part);
    }
    return sum;
}

static float train_cross_entropy(float *z, int64_t n, int64_t target, const float *dloss)
{
    float m = train_max(z, n), at = z[target];
    double sum = dloss ? train_exp_runs(z, n, m) : train_sumexp_runs(z, n, m);
    if (dloss) {
        vf factor = splat((float)(*dloss / sum));
#define SCALE(i, m_) store_some(z + (i), load_some(z + (i), m_, 0) * factor, m_, false)
        FOR_VECTORS(n, SCALE);
#undef SCALE
        z[target] -= *dloss;
    }
    return (float)(log(sum) + ((double)m - at));
}

static void train_swiglu_backward(const float *g, const float *u, const float *dh, int64_t n, float *dg, bool add_g, float *du,
                                  bool add_u)
{
    vf one = splat(1.0f);
#define ONE(i, m)                                                                                                          \
    do {                                                                                                                   \
        vf g_ = load_some(g + (i), m, 0), d_ = load_some(dh + (i), m, 0), s_ = one / (one + vexp(-g_)), y_ = g_ * s_;      \
        if (dg) store_some(dg + (i), d_ * load_some(u + (i), m, 0) * (s_ + y_ * (one - s_)), m, add_g);                    \
        if (du) store_some(du + (i), d_ * y_, m, add_u);                                                                   \
    } while (0)
    FOR_VECTORS(n, ONE);
#undef ONE
}

static float train_rmsnorm(const float *x, const float *w, float eps, int64_t n, float *y)
{
    wide_sum sum = {0};
#define SQUARE(i, m) wide_add(&sum, load_some(x + (i), m, 0), load_some(x + (i), m, 0))
    FOR_VECTORS(n, SQUARE);
#undef SQUARE
    float r = (float)(1 / sqrt(wide_total(&sum) / (double)n + eps));
#define SCALE(i, m) store_some(y + (i), load_some(x + (i), m, 0) * splat(r) * load_some(w + (i), m, 0), m, false)
    FOR_VECTORS(n, SCALE);
#undef SCALE
    return r;
}

static void train_rmsnorm_backward(const float *x, const float *w, const float *dy, float r, int64_t n, float *dw, float *dx,
                                   bool add)
{
    vf factor = splat(r);
    wide_sum dot = {0};
#define WEIGHT(i, m)                                                                                                       \
    do {                                                                                                                   \
        vf h_ = load_some(x + (i), m, 0) * factor, d_ = load_some(dy + (i), m, 0);                                         \
        store_some(dw + (i), d_ * h_, m, true);                                                                            \
        wide_add(&dot, d_ * load_some(w + (i), m, 0), h_);                                                                 \
    } while (0)
    FOR_VECTORS(n, WEIGHT);
#undef WEIGHT
    if (!dx) return;
    vf mean = splat((float)(wide_total(&dot) / (double)n));
#define INPUT(i, m)                                                                                                        \
    do {                                                                                                                   \
        vf h_ = load_some(x + (i), m, 0) * factor, g_ = load_some(dy + (i), m, 0) * load_some(w + (i), m, 0);              \
        store_some(dx + (i), factor * (g_ - h_ * mean), m, add);                                                           \
    } while (0)
    FOR_VECTORS(n, INPUT);
#undef INPUT
}

static void train_rope(const float *x, const float *c, const float *s, float sign, int64_t half, float *y, bool add)
{
#define TURN(i, m)                                                                                                         \
    do {                                                                                                                   \
        vf a_ = load_some(x + (i), m, 0), b_ = load_some(x + half + (i), m, 0);                                            \
        vf c_ = load_some(c + (i), m, 0), s_ = load_some(s + (i), m, 0) * splat(sign);                                     \
        store_some(y + (i), a_ * c_ - b_ * s_, m, add);                                                                    \
        store_some(y + half + (i), b_ * c_ + a_ * s_, m, add);                                                             \
    } while (0)
    FOR_VECTORS(half, TURN);
#undef TURN
}

void TRAIN_OPS_NAME(sol_train_ops *t)
{
    *t = (sol_train_ops){.softmax = train_softmax, .softmax_backward = train_softmax_backward,
                         .cross_entropy = train_cross_entropy, .swiglu_backward = train_swiglu_backward,
                         .rmsnorm = train_rmsnorm, .rmsnorm_backward = train_rmsnorm_backward, .rope = train_rope};
}

#undef FOR_VECTORS
