/* Activations rounded to 8 bits, against the definition. */
#include "checkkern.h"

#include <stdlib.h>
#include <string.h>

/* q, d, nsum of one row against round_block; x starts at any float. */
static void check_row(const sol_ctx *ctx, int64_t cols, int64_t group, int64_t block, kind k,
                      bool at_end, sol_rng *rng)
{
    sol_segments s = sol_segments_make(cols, group, block);
    guarded x = guard((size_t)cols * sizeof(float), at_end), q = guard((size_t)s.cols_pad, at_end);
    guarded d = guard((size_t)s.n_segs * sizeof(float), at_end),
            nsum = guard((size_t)s.n_segs * sizeof(int32_t), at_end);
    int *want = calloc((size_t)s.cols_pad + 1, sizeof *want);
    fill(x.p, cols, k, rng);
    memset(q.p, 0x5a, (size_t)s.cols_pad);
    ctx->kernels.act_quantize(&s, x.p, q.p, d.p, nsum.p);
    for (int64_t i = 0; i < s.n_segs; i++) {
        int64_t len, start = sol_segment_at(&s, i, &len), first = start, end = start + len;
        if (group < block) {
            first = start / (s.groups_per_block * group) * s.groups_per_block * group;
            end = sol_min_i64(first + s.groups_per_block * group, cols);
        }
        float scale = round_block(x.p, first, end, want);
        int sum = 0;
        for (int64_t c = start; c < start + len; c++) {
            REQUIRE(((int8_t *)q.p)[c] == want[c],
                    "%s, %d columns, group %d, kind %d: q[%d] is %d, not %d", label(ctx), (int)cols,
                    (int)group, k, (int)c, ((int8_t *)q.p)[c], want[c]);
            sum += want[c];
        }
        REQUIRE(same_bits(((float *)d.p)[i], scale), "d[%d] is %a, not %a", (int)i,
                (double)((float *)d.p)[i], (double)scale);
        REQUIRE(((int32_t *)nsum.p)[i] == -sum, "nsum[%d] is %d, not %d", (int)i,
                ((int32_t *)nsum.p)[i], -sum);
    }
    for (int64_t c = cols; c < s.cols_pad; c++)
        REQUIRE(((int8_t *)q.p)[c] == 0, "q[%d] behind the end", (int)c);
    free(want);
    unguard(&x);
    unguard(&q);
    unguard(&d);
    unguard(&nsum);
}

void check_acts(void)
{
    static const int64_t shape[][3] = {
        {4, 4, 128},     {172, 172, 128}, {512, 128, 128}, {500, 100, 128}, {384, 12, 128},
        {384, 192, 128}, {31, 32, 32},    {33, 32, 32},    {576, 32, 32},   {2048, 2048, 128}};
    sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
    for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx))
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            for (int k = 0; k < N_KINDS; k++)
                check_row(ctx, shape[i][0], shape[i][1], shape[i][2], (kind)k, (i + (size_t)k) % 2,
                          &rng);
}
