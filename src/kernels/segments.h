/* How a row is cut for integer products, and activations rounded to int8 in those cuts (the rule is
 * in matrix.h). Columns here are in block order: stride16 rows have been permuted before. Inside
 * kernels only. */
#ifndef SOLERA_KERNELS_SEGMENTS_H
#define SOLERA_KERNELS_SEGMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/num.h"

typedef struct sol_segments {
    int64_t cols, cols_pad;   /* cols rounded up to 64: q is zero from cols on */
    int64_t q_stride;         /* distance of rows of q: an odd number of lines, so that they do not
                               * share sets of a cache */
    int64_t group, n_groups;  /* the last group may be shorter (dense matrices only) */
    int64_t block;            /* longest segment */
    int64_t segs_per_group;   /* 1 when group <= block */
    int64_t groups_per_block; /* that share an activation scale; 1 when group >= block */
    int64_t n_segs;           /* n_groups * segs_per_group */
} sol_segments;

static inline sol_segments sol_segments_make(int64_t cols, int64_t group, int64_t block)
{
    sol_segments s = {
        .cols = cols, .cols_pad = sol_round_up(cols, 64), .group = group, .block = block};
    s.q_stride = s.cols_pad | 64;
    s.n_groups = sol_ceil_div(cols, group);
    s.segs_per_group = sol_ceil_div(group, block);
    s.groups_per_block = group < block ? block / group : 1;
    s.n_segs = s.n_groups * s.segs_per_group;
    return s;
}

/* First column of segment i, and its length (0 only in a short last group). */
static inline int64_t sol_segment_at(const sol_segments *s, int64_t i, int64_t *len)
{
    int64_t g = i / s->segs_per_group, in_group = i % s->segs_per_group * s->block;
    int64_t start = g * s->group + in_group, end = sol_min_i64(g * s->group + s->group, s->cols);
    *len = start < end ? sol_min_i64(s->block, end - start) : 0;
    return start;
}

/* Activations of n tokens as int8. */
typedef struct sol_acts {
    int64_t n;
    int8_t *q;     /* [n, q_stride], cols_pad of them set */
    float *d;      /* [n, n_segs] */
    int32_t *nsum; /* [n, n_segs]: minus the sum of q over the segment */
} sol_acts;

/* One token: x[cols] -> q[cols_pad], d[n_segs], nsum[n_segs]. */
typedef void (*sol_act_quantize_fn)(const sol_segments *s, const float *x, int8_t *q, float *d,
                                    int32_t *nsum);
void sol_act_quantize_ref(const sol_segments *s, const float *x, int8_t *q, float *d,
                          int32_t *nsum);

#endif
