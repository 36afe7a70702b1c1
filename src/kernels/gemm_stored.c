/* Products of training with stored matrices, over gemm.h: in place where the product takes the type
 * of the matrix, otherwise with rows cast block by block. A teacher's head is multiplied so. */
#include "base/mem.h"
#include "base/num.h"
#include "kernels/gemm.h"
#include "kernels/stored.h"

/* A block of rows that is cast is large enough that the product runs at full speed, small enough to
 * come back out of a cache. */
enum { BLOCK_ELEMENTS = 1 << 21, BLOCK_ROWS = 256 };

static bool as_it_lies(const sol_stored *s, bool bf16)
{
    return s->type == SOL_F32 || (bf16 && s->type == SOL_BF16);
}

static int64_t block_rows(const sol_stored *s, bool bf16)
{
    int64_t rows = BLOCK_ELEMENTS / s->cols;
    if (rows < BLOCK_ROWS) rows = BLOCK_ROWS;
    return rows < s->rows && !as_it_lies(s, bf16) ? rows : s->rows;
}

static size_t cast_bytes(const sol_stored *s, bool bf16)
{
    size_t bytes = (size_t)(block_rows(s, bf16) * s->cols) * sizeof(float);
    return as_it_lies(s, bf16) ? 0 : sol_round_up_size(bytes, SOL_ALIGN);
}

size_t sol_stored_scratch_bytes(const sol_stored *s, bool bf16)
{
    return cast_bytes(s, bf16) + sol_product_scratch(bf16, block_rows(s, bf16), s->cols);
}

void sol_stored_gemm(const sol_ctx *ctx, bool bf16, const float *x, int64_t m, const sol_stored *s,
                     float *y, void *scratch)
{
    int64_t C = s->cols, block = block_rows(s, bf16);
    bool lies = as_it_lies(s, bf16);
    char *work = (char *)scratch + cast_bytes(s, bf16);
    sol_operand a = {.data = x, .ld = C};
    sol_operand w = {.data = s->data, .ld = C, .trans = true, .bf16 = s->type == SOL_BF16};
    if (!lies) w.data = scratch, w.bf16 = false;
    for (int64_t r = 0; r < s->rows; r += block) {
        int64_t n = sol_min_i64(s->rows - r, block);
        sol_stored part = sol_stored_part(s, r, n);
        if (!lies) sol_stored_to_f32(ctx, &part, scratch);
        sol_product(ctx, bf16, m, n, C, 1, &a, &w, 0, y + r, s->rows, work);
    }
}
