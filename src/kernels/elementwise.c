/* The C forms of the elementwise kernels, which define the bits of every tier. */
#include "kernels/elementwise.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

static void fold(float lane[SOL_SUM_LANES], double *sum)
{
    for (int apart = SOL_SUM_LANES / 2; apart > 0; apart /= 2)
        for (int i = 0; i < apart; i++) lane[i] += lane[i + apart];
    *sum += (double)lane[0];
    memset(lane, 0, SOL_SUM_LANES * sizeof *lane);
}

static void abs_sum(const float *w, int64_t n, double *sum)
{
    float lane[SOL_SUM_LANES] = {0};
    for (int64_t run = 0; run < n; run += SOL_SUM_RUN) {
        int64_t end = n - run < SOL_SUM_RUN ? n : run + SOL_SUM_RUN;
        for (int64_t i = run; i < end; i++) lane[i % SOL_SUM_LANES] += fabsf(w[i]);
        fold(lane, sum);
    }
}

/* How far the lanes of a block lie apart. */
static inline int block_stride(sol_block_layout layout)
{
    return layout == SOL_LAYOUT_STRIDE16 ? 16 : 1;
}

/* Magnitudes compare as integers: the same order for numbers, and one for infinity and NaN, too. */
static inline int zero_lane(const float *w, int stride)
{
    int zero = 0;
    uint32_t least = sol_f32_bits(w[0]) & 0x7fffffffu;
    for (int p = 1; p < 4; p++) {
        uint32_t mag = sol_f32_bits(w[p * stride]) & 0x7fffffffu;
        if (mag < least) zero = p, least = mag;
    }
    return zero;
}

static void sherry_sum(const float *w, int64_t n, sol_block_layout layout, double *sum)
{
    float lane[SOL_SUM_LANES] = {0};
    int stride = block_stride(layout);
    for (int64_t run = 0; run < n; run += SOL_SUM_RUN) {
        int64_t end = n - run < SOL_SUM_RUN ? n : run + SOL_SUM_RUN;
        for (int64_t g = run / 4; g < end / 4; g++) {
            int64_t first = sol_block_column(layout, g, 0);
            int zero = zero_lane(w + first, stride);
            for (int p = 0; p < 4; p++) {
                int64_t i = first + p * stride;
                if (p != zero) lane[i % SOL_SUM_LANES] += fabsf(w[i]);
            }
        }
        fold(lane, sum);
    }
}

static void sherry_levels(const float *w, int64_t n, sol_block_layout layout, int8_t *t)
{
    int stride = block_stride(layout);
    for (int64_t g = 0; g < n / 4; g++) {
        int64_t first = sol_block_column(layout, g, 0);
        int zero = zero_lane(w + first, stride);
        for (int p = 0; p < 4; p++) {
            int64_t i = first + p * stride;
            t[i] = (int8_t)(p == zero ? 0 : w[i] < 0 ? -1 : 1);
        }
    }
}

static void sherry_effective(const float *w, int64_t n, sol_block_layout layout, float scale,
                             float b, float *out)
{
    int stride = block_stride(layout);
    for (int64_t g = 0; g < n / 4; g++) {
        int64_t first = sol_block_column(layout, g, 0);
        int zero = zero_lane(w + first, stride);
        for (int p = 0; p < 4; p++) {
            int64_t i = first + p * stride;
            float q = p == zero ? 0.0f : w[i] < 0 ? -scale : scale;
            out[i] = b == 0 ? q : q + b * w[i];
        }
    }
}

static void adamw(const sol_adamw_step *s, const float *grad, int64_t n, float *p, float *m,
                  float *v)
{
    for (int64_t i = 0; i < n; i++) {
        float g = s->grad_scale * grad[i];
        m[i] = s->beta1 * m[i] + s->one_minus_1 * g;
        v[i] = s->beta2 * v[i] + s->one_minus_2 * g * g;
        float d = sqrtf(v[i]) * s->inv_sqrt_correction + s->eps;
        p[i] = s->keep * p[i] - s->rate * (m[i] / d);
    }
}

static void square_sum(const float *x, int64_t n, double *sum)
{
    double lane[SOL_SUM_LANES] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % SOL_SUM_LANES] += (double)x[i] * (double)x[i];
    for (int apart = SOL_SUM_LANES / 2; apart > 0; apart /= 2)
        for (int i = 0; i < apart; i++) lane[i] += lane[i + apart];
    *sum += lane[0];
}

static void to_bf16(const float *x, int64_t n, uint16_t *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_f32_to_bf16(x[i]);
}

static void from_bf16(const uint16_t *x, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = sol_bf16_to_f32(x[i]);
}

void sol_elementwise_c(sol_elementwise *k)
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
