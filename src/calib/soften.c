/* Soft latent weights: calib.c begins the training of a solved layer from them. A scale group is a
 * tile, since its mean is what must stay. */
#include "calib/soften.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"

static const float min_kept = 0.3f;   /* of alpha */
static const float max_zeroed = 0.8f; /* of the smallest kept weight of the block */

typedef struct softening {
    const sol_quant_spec *spec;
    const float *w, *q;
    float *latent;
    int64_t cols, group; /* weights of a row; that share a scale */
} softening;

/* Gives the kept weights of [from, from + group) their own sizes back, with alpha as their mean,
 * and the others what they were. */
static void soften_kept(const softening *s, int64_t from)
{
    double sum = 0, kept = 0;
    float alpha = 0;
    for (int64_t i = from; i < from + s->group; i++) {
        float q = s->q[i], size = q < 0 ? -s->w[i] : s->w[i];
        alpha = fmaxf(alpha, fabsf(q));
        s->latent[i] = q == 0 ? s->w[i] : fmaxf(size, min_kept * fabsf(q));
        sum += q == 0 ? 0 : s->latent[i];
        kept += q != 0;
    }
    float factor = sum > 0 ? (float)(alpha * kept / sum) : 0;
    for (int64_t i = from; i < from + s->group; i++)
        if (s->q[i] != 0) s->latent[i] *= s->q[i] < 0 ? -factor : factor;
}

/* Bounds the zeros of the block whose lane p is weight at[p], so that Q keeps the same ones. */
static void soften_zeros(const softening *s, const int64_t *at, int m)
{
    float least = INFINITY;
    for (int p = 0; p < m; p++)
        if (s->q[at[p]] != 0) least = fminf(least, fabsf(s->latent[at[p]]));
    for (int p = 0; p < m; p++) {
        float max = isfinite(least) ? max_zeroed * least : 0;
        if (s->q[at[p]] == 0) s->latent[at[p]] = fminf(fmaxf(s->latent[at[p]], -max), max);
    }
}

/* The blocks of columns [begin, end) of the row that begins at weight `row`. */
static void soften_blocks(const softening *s, int64_t row, int64_t begin, int64_t end)
{
    int m = sol_quant_block(s->spec);
    int64_t at[SOL_QUANT_MAX_M];
    for (int64_t b = begin / m; b < end / m; b++) {
        for (int p = 0; p < m; p++)
            at[p] = row + (m == 4 ? sol_block_column(s->spec->layout, b, p) : b * m + p);
        soften_zeros(s, at, m);
    }
}

static void soften_group(void *arg, int64_t tile, int thread)
{
    const softening *s = arg;
    int64_t from = tile * s->group, width = sol_min_i64(s->group, s->cols);
    (void)thread;
    soften_kept(s, from);
    for (int64_t i = from; i < from + s->group; i += width)
        soften_blocks(s, i / s->cols * s->cols, i % s->cols, i % s->cols + width);
}

void sol_calib_soften(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                      const float *q, int64_t rows, int64_t cols, float *latent)
{
    if (sol_quant_block(spec) == 1) { /* its levels depend on sizes, which would change */
        memcpy(latent, q, (size_t)(rows * cols) * sizeof *q);
        return;
    }
    softening s = {.spec = spec,
                   .w = w,
                   .q = q,
                   .latent = latent,
                   .cols = cols,
                   .group = sol_quant_group_weights(spec, rows, cols)};
    sol_pool_run(ctx->pool, rows * cols / s.group, soften_group, &s);
}
