/* bf16.h in plain C: the form that the others are checked against, and the one in use where the
 * processor has no AVX2. */
#include <string.h>

#include "base/half.h"
#include "kernels/bf16.h"

static sol_bf16 number(const sol_bf16_source *s, int64_t edge, int64_t k)
{
    if (edge >= s->edge || k >= s->depth) return 0;
    int64_t at = s->k_inner ? edge * s->ld + k : k * s->ld + edge;
    float x =
        s->bf16 ? sol_bf16_to_f32(((const sol_bf16 *)s->data)[at]) : ((const float *)s->data)[at];
    return sol_f32_to_bf16(s->scale * x);
}

static void pack(const sol_bf16_source *s, bool pairs, uint16_t *block)
{
    for (int64_t e = 0; e < SOL_BF16_EDGE; e++)
        for (int64_t k = 0; k < SOL_BF16_DEPTH; k++)
            block[pairs ? k / 2 * SOL_BF16_DEPTH + 2 * e + k % 2 : e * SOL_BF16_DEPTH + k] =
                number(s, e, k);
}

/* 16 x 16 sums in float over all blocks. */
static void quarter(const uint16_t *a, const sol_bf16_rows *at, const uint16_t *b, int64_t blocks,
                    bool add, float *c, int64_t ldc)
{
    float sum[SOL_BF16_EDGE][SOL_BF16_EDGE] = {{0}};
    if (add)
        for (int m = 0; m < SOL_BF16_EDGE; m++) memcpy(sum[m], c + m * ldc, sizeof sum[m]);
    for (int64_t i = 0; i < blocks; i++, a += at->step, b += SOL_BF16_BLOCK) {
        float f32[SOL_BF16_DEPTH][SOL_BF16_EDGE];
        for (int k = 0; k < SOL_BF16_DEPTH; k++)
            for (int n = 0; n < SOL_BF16_EDGE; n++)
                f32[k][n] = sol_bf16_to_f32(b[k / 2 * SOL_BF16_DEPTH + 2 * n + k % 2]);
        for (int m = 0; m < SOL_BF16_EDGE; m++)
            for (int k = 0; k < SOL_BF16_DEPTH; k++) {
                float x = sol_bf16_to_f32(a[m * at->row + k]);
                for (int n = 0; n < SOL_BF16_EDGE; n++) sum[m][n] += x * f32[k][n];
            }
    }
    for (int m = 0; m < SOL_BF16_EDGE; m++) memcpy(c + m * ldc, sum[m], sizeof sum[m]);
}

static void tile(const sol_bf16_rows *a, const uint16_t *b, int64_t half_b, int64_t blocks,
                 bool add, float *c, int64_t ldc)
{
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            quarter(a->data + i * a->half, a, b + j * half_b, blocks, add,
                    c + i * SOL_BF16_EDGE * ldc + j * SOL_BF16_EDGE, ldc);
}

static void to_bf16(const float *sums, int64_t rows, int64_t cols, uint16_t *c, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++, sums += SOL_BF16_TILE, c += ldc)
        for (int64_t j = 0; j < cols; j++) c[j] = sol_f32_to_bf16(sums[j]);
}

static void nothing(void)
{
}

void sol_bf16_ops_c(sol_bf16_ops *k)
{
    *k = (sol_bf16_ops){"c", false, pack, tile, nothing, nothing, to_bf16};
}
