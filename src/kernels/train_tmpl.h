/* The source of all forms of train_ops.h; follows float_tmpl.h in the same file and uses its
 * vectors. The including file defines TRAIN_OPS_NAME, the name of the exported function.
 *
 * A kernel is a step on m floats at i, inlined twice: with m = VW, a constant, in the loop, and
 * with what is left. */
#include "kernels/train_ops.h"

ALWAYS_INLINE vf load_some(const float *p, int64_t m, float fill)
{
    if (m == VW) return load_f32(p);
    float part[VW];
    for (int j = 0; j < VW; j++) part[j] = j < m ? p[j] : fill;
    return load_f32(part);
}

ALWAYS_INLINE void store_some(float *p, vf v, int64_t m, bool add)
{
    if (add) v = load_some(p, m, 0) + v;
    if (m == VW) {
        store_f32(p, v);
        return;
    }
    float part[VW];
    store_f32(part, v);
    memcpy(p, part, (size_t)m * sizeof *p);
}

/* Sums in 16 lanes: vector number i / VW goes to its lanes. */
typedef struct lane_sum {
    vf v[NV];
} lane_sum;

ALWAYS_INLINE vf *lanes_at(lane_sum *s, int64_t i)
{
    return &s->v[i / VW % NV];
}

typedef double vd __attribute__((vector_size(VW * 8)));

/* The same in double: the sums of RMSNorm scale whole rows, so that their rounding would not
 * average out. */
typedef struct double_sum {
    vd v[NV];
} double_sum;

ALWAYS_INLINE void double_add(double_sum *s, int64_t i, vf a, vf b)
{
    s->v[i / VW % NV] += __builtin_convertvector(a, vd) * __builtin_convertvector(b, vd);
}

ALWAYS_INLINE double double_total(const double_sum *s)
{
    double lane[LANES];
    memcpy(lane, s->v, sizeof lane);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    return lane[0];
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

ALWAYS_INLINE void exp_step(float *x, int64_t i, int64_t m, float high, bool keep, lane_sum *sum)
{
    vf e = vexp(load_some(x + i, m, -INFINITY) - splat(high));
    if (keep) store_some(x + i, e, m, false);
    *lanes_at(sum, i) += e;
}

/* Sum of exp(x - high), which replaces x when `keep`; the lanes go to a double every SOL_TRAIN_RUN
 * elements. */
ALWAYS_INLINE double exp_sum(float *x, int64_t n, float high, bool keep)
{
    double sum = 0;
    for (int64_t first = 0; first < n; first += SOL_TRAIN_RUN) {
        int64_t i = 0, count = n - first < SOL_TRAIN_RUN ? n - first : SOL_TRAIN_RUN;
        lane_sum part = {0};
        for (; i + VW <= count; i += VW) exp_step(x + first, i, VW, high, keep, &part);
        if (i < count) exp_step(x + first, i, count - i, high, keep, &part);
        sum += add_lanes(part.v);
    }
    return sum;
}

/* Zeros outside [from, to). */
static void clear_outside(float *x, int64_t n, int64_t from, int64_t to)
{
    memset(x, 0, (size_t)from * sizeof *x);
    memset(x + to, 0, (size_t)(n - to) * sizeof *x);
}

static void train_softmax(float *s, int64_t n, int64_t from, int64_t to, float *norm)
{
    norm[0] = train_max(s + from, to - from);
    norm[1] = (float)(1 / exp_sum(s + from, to - from, norm[0], true));
    clear_outside(s, n, from, to);
}

/* s becomes p; adds p dp to the sum. */
ALWAYS_INLINE void probability_step(float *s, const float *dp, int64_t i, int64_t m,
                                    const float *norm, lane_sum *dot)
{
    vf p = vexp(load_some(s + i, m, -INFINITY) - splat(norm[0])) * splat(norm[1]);
    store_some(s + i, p, m, false);
    *lanes_at(dot, i) = FMA(p, load_some(dp + i, m, 0), *lanes_at(dot, i));
}

ALWAYS_INLINE void score_step(const float *p, float *dp, int64_t i, int64_t m, vf dot, vf scale)
{
    store_some(dp + i, load_some(p + i, m, 0) * (load_some(dp + i, m, 0) - dot) * scale, m, false);
}

static void train_softmax_backward(float *s, float *dp, int64_t n, int64_t from, int64_t to,
                                   const float *norm, float scale)
{
    float *seen = s + from, *d = dp + from;
    int64_t i = 0, count = to - from;
    lane_sum dot = {0};
    for (; i + VW <= count; i += VW) probability_step(seen, d, i, VW, norm, &dot);
    if (i < count) probability_step(seen, d, i, count - i, norm, &dot);
    vf sum = splat(add_lanes(dot.v));
    for (i = 0; i + VW <= count; i += VW) score_step(seen, d, i, VW, sum, splat(scale));
    if (i < count) score_step(seen, d, i, count - i, sum, splat(scale));
    clear_outside(s, n, from, to);
    clear_outside(dp, n, from, to);
}

ALWAYS_INLINE void scale_step(float *x, int64_t i, int64_t m, vf factor)
{
    store_some(x + i, load_some(x + i, m, 0) * factor, m, false);
}

static float train_cross_entropy(float *z, int64_t n, int64_t target, const float *dloss)
{
    float high = train_max(z, n), at = z[target];
    double sum = dloss ? exp_sum(z, n, high, true) : exp_sum(z, n, high, false);
    if (dloss) {
        int64_t i = 0;
        vf factor = splat((float)(*dloss / sum));
        for (; i + VW <= n; i += VW) scale_step(z, i, VW, factor);
        if (i < n) scale_step(z, i, n - i, factor);
        z[target] -= *dloss;
    }
    return (float)(log(sum) + ((double)high - at));
}

ALWAYS_INLINE void swiglu_step(const sol_swiglu_grad *a, int64_t i, int64_t m)
{
    vf one = splat(1.0f), g = load_some(a->g + i, m, 0), d = load_some(a->dh + i, m, 0);
    vf s = one / (one + vexp(-g)), y = g * s;
    if (a->dg)
        store_some(a->dg + i, d * load_some(a->u + i, m, 0) * (s + y * (one - s)), m, a->add_g);
    if (a->du) store_some(a->du + i, d * y, m, a->add_u);
}

static void train_swiglu_backward(const sol_swiglu_grad *a, int64_t n)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) swiglu_step(a, i, VW);
    if (i < n) swiglu_step(a, i, n - i);
}

ALWAYS_INLINE void square_step(const float *x, int64_t i, int64_t m, double_sum *sum)
{
    vf a = load_some(x + i, m, 0);
    double_add(sum, i, a, a);
}

ALWAYS_INLINE void normalize_step(const float *x, const float *w, int64_t i, int64_t m, vf r,
                                  float *y)
{
    store_some(y + i, load_some(x + i, m, 0) * r * load_some(w + i, m, 0), m, false);
}

static float train_rmsnorm(const float *x, const float *w, float eps, int64_t n, float *y)
{
    double_sum sum = {0};
    int64_t i = 0;
    for (; i + VW <= n; i += VW) square_step(x, i, VW, &sum);
    if (i < n) square_step(x, i, n - i, &sum);
    float r = (float)(1 / sqrt(double_total(&sum) / (double)n + eps));
    for (i = 0; i + VW <= n; i += VW) normalize_step(x, w, i, VW, splat(r), y);
    if (i < n) normalize_step(x, w, i, n - i, splat(r), y);
    return r;
}

/* With h = x r: dw += dy h, and w dy h joins the sum. */
ALWAYS_INLINE void norm_weight_step(const sol_rmsnorm_grad *a, int64_t i, int64_t m,
                                    double_sum *dot)
{
    vf h = load_some(a->x + i, m, 0) * splat(a->r), d = load_some(a->dy + i, m, 0);
    store_some(a->dw + i, d * h, m, true);
    double_add(dot, i, d * load_some(a->w + i, m, 0), h);
}

ALWAYS_INLINE void norm_input_step(const sol_rmsnorm_grad *a, int64_t i, int64_t m, vf mean)
{
    vf h = load_some(a->x + i, m, 0) * splat(a->r),
       g = load_some(a->dy + i, m, 0) * load_some(a->w + i, m, 0);
    store_some(a->dx + i, splat(a->r) * (g - h * mean), m, a->add);
}

static void train_rmsnorm_backward(const sol_rmsnorm_grad *a, int64_t n)
{
    double_sum dot = {0};
    int64_t i = 0;
    for (; i + VW <= n; i += VW) norm_weight_step(a, i, VW, &dot);
    if (i < n) norm_weight_step(a, i, n - i, &dot);
    if (!a->dx) return;
    vf mean = splat((float)(double_total(&dot) / (double)n));
    for (i = 0; i + VW <= n; i += VW) norm_input_step(a, i, VW, mean);
    if (i < n) norm_input_step(a, i, n - i, mean);
}

ALWAYS_INLINE void rotate_step(const sol_rope_rotation *r, int64_t i, int64_t m)
{
    vf x0 = load_some(r->x + i, m, 0), x1 = load_some(r->x + r->half + i, m, 0);
    vf c = load_some(r->cosine + i, m, 0), s = load_some(r->sine + i, m, 0) * splat(r->sign);
    store_some(r->y + i, x0 * c - x1 * s, m, r->add);
    store_some(r->y + r->half + i, x1 * c + x0 * s, m, r->add);
}

static void train_rope(const sol_rope_rotation *r)
{
    int64_t i = 0;
    for (; i + VW <= r->half; i += VW) rotate_step(r, i, VW);
    if (i < r->half) rotate_step(r, i, r->half - i);
}

/* What stands for logits beyond the end of a row: its exponential is 0, and differences of it stay
 * finite. */
#define NO_LOGIT (-1e30f)

ALWAYS_INLINE vf log_probability(const float *x, int64_t i, int64_t m, float scale, float lse)
{
    return FMA(load_some(x + i, m, NO_LOGIT), splat(scale), splat(-lse));
}

static float train_log_sum_exp(const float *x, int64_t n, float scale)
{
    float high = train_max(x, n) * scale;
    double sum = 0;
    for (int64_t first = 0; first < n; first += SOL_TRAIN_RUN) {
        int64_t i = 0, count = n - first < SOL_TRAIN_RUN ? n - first : SOL_TRAIN_RUN;
        const float *at = x + first;
        lane_sum part = {0};
        for (; i + VW <= count; i += VW)
            *lanes_at(&part, i) += vexp(log_probability(at, i, VW, scale, high));
        if (i < count) *lanes_at(&part, i) += vexp(log_probability(at, i, count - i, scale, high));
        sum += add_lanes(part.v);
    }
    /* cppcheck-suppress invalidFunctionArg -- n > 0, and the largest element adds 1 */
    return (float)(high + log(sum));
}

ALWAYS_INLINE void kl_step(const sol_kl_row *r, int64_t i, int64_t m, lane_sum *forward,
                           lane_sum *reverse)
{
    vf u = log_probability(r->z, i, m, r->scale, r->lse_z),
       v = log_probability(r->t, i, m, r->scale, r->lse_t);
    *lanes_at(forward, i) = FMA(vexp(v), v - u, *lanes_at(forward, i));
    *lanes_at(reverse, i) = FMA(vexp(u), u - v, *lanes_at(reverse, i));
}

static void train_kl(const sol_kl_row *r, int64_t n, double kl[2])
{
    kl[0] = kl[1] = 0;
    for (int64_t first = 0; first < n; first += SOL_TRAIN_RUN) {
        int64_t i = 0, count = n - first < SOL_TRAIN_RUN ? n - first : SOL_TRAIN_RUN;
        sol_kl_row at = {r->z + first, r->t + first, r->scale, r->lse_z, r->lse_t};
        lane_sum forward = {0}, reverse = {0};
        for (; i + VW <= count; i += VW) kl_step(&at, i, VW, &forward, &reverse);
        if (i < count) kl_step(&at, i, count - i, &forward, &reverse);
        kl[0] += add_lanes(forward.v);
        kl[1] += add_lanes(reverse.v);
    }
}

ALWAYS_INLINE void distill_grad_step(const sol_distill_grad *g, int64_t i, int64_t m, bool teacher,
                                     bool ce, float *z)
{
    vf u = log_probability(z, i, m, g->row.scale, g->row.lse_z), factor = splat(g->q), sum = {0};
    if (teacher) {
        vf v = log_probability(g->row.t, i, m, g->row.scale, g->row.lse_t);
        factor = FMA(splat(g->log), u - v, factor);
        sum = splat(g->p) * vexp(v);
    }
    if (ce) sum = FMA(splat(g->ce), vexp(log_probability(z, i, m, 1, g->lse_1)), sum);
    store_some(z + i, FMA(vexp(u), factor, sum), m, false);
}

ALWAYS_INLINE void distill_grad_row(const sol_distill_grad *g, int64_t n, bool teacher, bool ce,
                                    float *z)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW) distill_grad_step(g, i, VW, teacher, ce, z);
    if (i < n) distill_grad_step(g, i, n - i, teacher, ce, z);
}

static void train_distill_grad(const sol_distill_grad *g, int64_t n, float *z)
{
    if (g->row.t && g->ce != 0)
        distill_grad_row(g, n, true, true, z);
    else if (g->row.t)
        distill_grad_row(g, n, true, false, z);
    else if (g->ce != 0)
        distill_grad_row(g, n, false, true, z);
    else
        distill_grad_row(g, n, false, false, z);
}

void TRAIN_OPS_NAME(sol_train_ops *t)
{
    *t = (sol_train_ops){.softmax = train_softmax,
                         .softmax_backward = train_softmax_backward,
                         .cross_entropy = train_cross_entropy,
                         .swiglu_backward = train_swiglu_backward,
                         .rmsnorm = train_rmsnorm,
                         .rmsnorm_backward = train_rmsnorm_backward,
                         .rope = train_rope,
                         .log_sum_exp = train_log_sum_exp,
                         .kl = train_kl,
                         .distill_grad = train_distill_grad};
}
