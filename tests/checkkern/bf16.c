/* Packing to bf16 and the tiles of its product, against the definition in double. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "checkkern.h"
#include "kernels/bf16.h"

/* Instructions for bf16 take a denormal for zero. */
static uint16_t rounded(const sol_bf16_ops *ops, float x)
{
    uint16_t h = sol_f32_to_bf16(x);
    return ops->native && fabsf(x) < 0x1p-126f ? h & 0x8000 : h;
}

/* One block of a matrix whose rows lie against a guard page, all four ways to pack it. */
static void check_pack(const sol_bf16_ops *ops, int64_t edge, int64_t depth, bool bf16, float scale,
                       kind k, sol_rng *rng)
{
    for (int way = 0; way < 4; way++) {
        bool k_inner = way & 1, pairs = way & 2;
        int64_t rows = k_inner ? edge : depth, cols = k_inner ? depth : edge, ld = cols + 3,
                n = (rows - 1) * ld + cols;
        float *x = get((size_t)n, sizeof *x);
        uint16_t block[SOL_BF16_BLOCK];
        fill(x, n, k, rng);
        guarded g = guard((size_t)n * (bf16 ? 2 : 4), true);
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = sol_f32_to_bf16(x[i]);
            memcpy((char *)g.p + i * (bf16 ? 2 : 4), bf16 ? (void *)&h : (void *)&x[i],
                   bf16 ? 2 : 4);
            if (bf16) x[i] = sol_bf16_to_f32(h);
        }
        sol_bf16_source s = {g.p, ld, bf16, k_inner, edge, depth, scale};
        memset(block, 0x5a, sizeof block);
        ops->pack(&s, pairs, block);
        for (int64_t e = 0; e < SOL_BF16_EDGE; e++)
            for (int64_t d = 0; d < SOL_BF16_DEPTH; d++) {
                uint16_t got =
                    block[pairs ? d / 2 * SOL_BF16_DEPTH + 2 * e + d % 2 : e * SOL_BF16_DEPTH + d];
                bool in = e < edge && d < depth;
                float value = in ? scale * x[k_inner ? e * ld + d : d * ld + e] : 0;
                uint16_t want = bf16 && scale == 1 ? sol_f32_to_bf16(value) : rounded(ops, value);
                bool nan = isnan(value) && isnan(sol_bf16_to_f32(got));
                REQUIRE(got == want || nan, "%s: way %d, %d x %d, element %d %d: %04x, not %04x",
                        ops->name, way, (int)edge, (int)depth, (int)e, (int)d, got, want);
            }
        unguard(&g);
        sol_free(x);
    }
}

void check_bf16_packing(void)
{
    static const int64_t part[][2] = {{16, 32}, {1, 1}, {16, 31}, {7, 32}, {15, 2}};
    sol_rng rng = sol_rng_make(11, SOL_STREAM_TEST);
    for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx))
        for (size_t p = 0; p < sizeof part / sizeof *part; p++)
            for (int k = 0; k < N_KINDS; k++)
                for (int bf16 = 0; bf16 < 2; bf16++)
                    for (int scaled = 0; scaled < 2; scaled++)
                        check_pack(&ctx->kernels.bf16, part[p][0], part[p][1], bf16,
                                   scaled ? 1.5f : 1, (kind)k, &rng);
}

/* Against sums in double: each product is exact in fp32, each addition may be off by a rounding. */
static void check_tile(const sol_bf16_ops *ops, int64_t blocks, bool add, bool in_blocks,
                       sol_rng *rng)
{
    enum { PAD = 5 };
    int64_t half = blocks * SOL_BF16_BLOCK, ldc = SOL_BF16_TILE + PAD;
    uint16_t *a = get((size_t)(2 * half), sizeof *a), *b = get((size_t)(2 * half), sizeof *b);
    float *c = get((size_t)(SOL_BF16_TILE * ldc), sizeof *c),
          *before = get((size_t)(SOL_BF16_TILE * ldc), sizeof *before);
    sol_bf16_rows rows = {a, in_blocks ? SOL_BF16_DEPTH : blocks * SOL_BF16_DEPTH, half,
                          in_blocks ? SOL_BF16_BLOCK : SOL_BF16_DEPTH};
    for (int64_t i = 0; i < 2 * half; i++) {
        a[i] = sol_f32_to_bf16(sol_rng_normal(rng));
        b[i] = sol_f32_to_bf16(sol_rng_normal(rng));
    }
    fill(before, SOL_BF16_TILE * ldc, NORMAL, rng);
    memcpy(c, before, (size_t)(SOL_BF16_TILE * ldc) * sizeof *c);
    ops->begin();
    ops->tile(&rows, b, half, blocks, add, c, ldc);
    ops->end();
    for (int64_t i = 0; i < SOL_BF16_TILE; i++)
        for (int64_t j = 0; j < ldc; j++) {
            const uint16_t *x = a + i / SOL_BF16_EDGE * half + i % SOL_BF16_EDGE * rows.row;
            const uint16_t *y = b + j / SOL_BF16_EDGE * half + j % SOL_BF16_EDGE * 2;
            double old = (double)before[i * ldc + j], sum = add ? old : 0, size = fabs(sum);
            for (int64_t k = 0; j < SOL_BF16_TILE && k < blocks * SOL_BF16_DEPTH; k++) {
                int64_t at = k / SOL_BF16_DEPTH * SOL_BF16_BLOCK, d = k % SOL_BF16_DEPTH;
                double t = (double)sol_bf16_to_f32(x[k / SOL_BF16_DEPTH * rows.step + d]) *
                           (double)sol_bf16_to_f32(y[at + d / 2 * SOL_BF16_DEPTH + d % 2]);
                sum += t;
                size += fabs(t);
            }
            double want = j < SOL_BF16_TILE ? sum : old;
            REQUIRE(fabs((double)c[i * ldc + j] - want) <= 2e-6 * size,
                    "%s: %d blocks, sum %d %d: %g, not %g", ops->name, (int)blocks, (int)i, (int)j,
                    (double)c[i * ldc + j], want);
        }
    sol_free(a);
    sol_free(b);
    sol_free(c);
    sol_free(before);
}

void check_bf16_tiles(void)
{
    sol_rng rng = sol_rng_make(12, SOL_STREAM_TEST);
    for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx))
        for (int64_t blocks = 1; blocks <= 40; blocks = blocks * 2 + 1)
            for (int way = 0; way < 4; way++)
                check_tile(&ctx->kernels.bf16, blocks, way & 1, way & 2, &rng);
}
