/* Products with dense matrices, Q8 to Q4 and floats, and with several forms in one, against slow
 * ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "checkkern.h"

static void multiply_dense(const sol_ctx *ctx, const sol_matrix *d, sol_act act, const float *x,
                           int64_t n, float *y)
{
    void *scratch;
    REQUIRE_OK(sol_alloc_array(&scratch, sol_matrix_scratch_bytes(ctx, d, n), 1, err));
    memset(scratch, 0x5a, sol_matrix_scratch_bytes(ctx, d, n));
    sol_matrix_matmul(ctx, d, act, x, n, y, scratch);
    sol_free(scratch);
}

static void decode(const sol_ctx *ctx, const sol_matrix *d, int64_t r, float *row)
{
    void *scratch = get(sol_matrix_scratch_bytes(ctx, d, 1), 1);
    sol_matrix_row(d, r, row, scratch);
    sol_free(scratch);
}

/* Largest rounding error of a block of normal numbers, as a share of its largest element. */
static double worst_step(sol_dtype type)
{
    return type == SOL_Q8     ? 0.009
           : type == SOL_Q6   ? 0.05
           : type == SOL_Q4   ? 0.19
           : type == SOL_BF16 ? 0.004
                              : 0.0005;
}

/* Column c of a stored row as dtype.h lays it out. */
static float stored_number(sol_dtype type, const void *row, const sol_f16 *scales, int64_t cols,
                           int64_t c)
{
    const uint8_t *low = row, *high = low + (cols + 1) / 2;
    int nibble = type == SOL_Q4 || type == SOL_Q6 ? low[c / 2] >> 4 * (c % 2) & 15 : 0;
    if (type == SOL_F32) return ((const float *)row)[c];
    if (type == SOL_F16) return sol_f16_to_f32(((const sol_f16 *)row)[c]);
    if (type == SOL_BF16) return sol_bf16_to_f32(((const sol_bf16 *)row)[c]);
    int q = type == SOL_Q8   ? ((const int8_t *)row)[c]
            : type == SOL_Q6 ? (nibble | (high[c / 4] >> 2 * (c % 4) & 3) << 4) - 32
                             : nibble - 8;
    return sol_f16_to_f32(scales[c / 32]) * (float)q;
}

/* The integer product of a row with rounded activations, from the decoded row w = scale * q. */
static float slow_dense(const float *w, const sol_f16 *scales, const float *x, int64_t cols)
{
    float y = 0;
    int q[32];
    for (int64_t c = 0; c < cols; c += 32) {
        int64_t n = cols - c < 32 ? cols - c : 32;
        float scale = sol_f16_to_f32(scales[c / 32]), d = round_block(x + c, 0, n, q);
        int sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += scale == 0 ? 0 : (int)lrintf(w[c + i] / scale) * q[i];
        y = fmaf(scale, d * (float)sum, y);
    }
    return y;
}

static void check_dense(sol_dtype type, int64_t rows, int64_t cols, int64_t n, bool at_end)
{
    sol_rng rng = sol_rng_make((uint64_t)(rows * 31 + cols), SOL_STREAM_TEST);
    int64_t row_scales = sol_dtype_row_scales(type, cols);
    guarded data = guard((size_t)rows * sol_dtype_row_bytes(type, cols), at_end);
    guarded scales = guard((size_t)(rows * row_scales) * sizeof(sol_f16), at_end);
    guarded x = guard((size_t)(n * cols) * sizeof(float), at_end),
            y = guard((size_t)(n * rows) * sizeof(float), at_end);
    float *w = calloc((size_t)(rows * cols), sizeof *w), *row = calloc((size_t)cols, sizeof *row);
    float *stored = calloc((size_t)cols, sizeof *stored);
    float alone[200];
    fill(w, rows * cols, NORMAL, &rng);
    fill(x.p, n * cols, NORMAL, &rng);
    for (sol_ctx *ctx = first_context(2); ctx; ctx = next_context(ctx)) {
        sol_matrix *d;
        sol_stored src = {
            .type = type, .rows = rows, .cols = cols, .data = data.p, .scales = scales.p};
        sol_stored_fill(ctx, &src, w, NULL);
        REQUIRE_OK(sol_matrix_prepare(&d, ctx, &src, 1, NULL, NULL, err));
        for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
            multiply_dense(ctx, d, (sol_act)act, x.p, n, y.p);
            for (int64_t r = 0; r < rows; r++) {
                decode(ctx, d, r, row);
                for (int64_t i = 0; i < n; i++) {
                    const float *xi = (const float *)x.p + i * cols;
                    float got = ((float *)y.p)[i * rows + r];
                    double sum = 0, size = 1e-30;
                    for (int64_t c = 0; c < cols; c++) sum += (double)row[c] * xi[c];
                    for (int64_t c = 0; c < cols; c++) size += fabs((double)row[c] * xi[c]);
                    if (type >= SOL_Q8 && act == SOL_ACT_INT8)
                        REQUIRE(same_bits(
                                    got, slow_dense(row, (const sol_f16 *)scales.p + r * row_scales,
                                                    xi, cols)),
                                "%s %s [%d x %d] row %d token %d", label(ctx), sol_dtype_name(type),
                                (int)rows, (int)cols, (int)r, (int)i);
                    else
                        REQUIRE(fabs(got - sum) / size < 2e-6, "%s [%d x %d]: %g, not %g",
                                sol_dtype_name(type), (int)rows, (int)cols, (double)got, sum);
                }
            }
            for (int64_t i = 0; i < n; i++) {
                multiply_dense(ctx, d, (sol_act)act, (const float *)x.p + i * cols, 1, alone);
                for (int64_t r = 0; r < rows; r++)
                    REQUIRE(same_bits(alone[r], ((float *)y.p)[i * rows + r]),
                            "%s: token %d alone differs in row %d", sol_dtype_name(type), (int)i,
                            (int)r);
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            decode(ctx, d, r, row);
            sol_stored_rows(&src, r, 1, stored);
            REQUIRE(memcmp(row, stored, (size_t)cols * sizeof *row) == 0,
                    "%s: row %d is not the stored one", sol_dtype_name(type), (int)r);
            for (int64_t c = 0; c < cols; c++) {
                float top = 0,
                      want = stored_number(
                          type, (const char *)data.p + (size_t)r * sol_dtype_row_bytes(type, cols),
                          (const sol_f16 *)scales.p + r * row_scales, cols, c);
                REQUIRE(row[c] == want, "%s: column %d of row %d is %g, stored as %g",
                        sol_dtype_name(type), (int)c, (int)r, (double)row[c], (double)want);
                for (int64_t i = c / 32 * 32; i < cols && i < c / 32 * 32 + 32; i++)
                    top = fmaxf(top, fabsf(w[r * cols + i]));
                REQUIRE(fabs((double)row[c] - w[r * cols + c]) <= worst_step(type) * top,
                        "%s: %g becomes %g", sol_dtype_name(type), (double)w[r * cols + c],
                        (double)row[c]);
            }
        }
        sol_matrix_free(&d);
    }
    free(w);
    free(row);
    free(stored);
    unguard(&data);
    unguard(&scales);
    unguard(&x);
    unguard(&y);
}

void check_dense_shapes(void)
{
    static const int64_t shape[][3] = {{1, 1, 1},    {5, 7, 2},    {16, 32, 3},   {33, 64, 1},
                                       {64, 96, 9},  {70, 172, 5}, {130, 100, 4}, {40, 576, 17},
                                       {3, 1030, 2}, {128, 256, 6}};
    for (int type = SOL_F32; type <= SOL_Q4; type++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            check_dense((sol_dtype)type, shape[i][0], shape[i][1], shape[i][2], i % 2);
}

/* Squared error of a rounded matrix, each column times its mean square. */
static double weighed_error(const sol_ctx *ctx, sol_dtype type, const float *w, int64_t rows,
                            int64_t cols, float *weight)
{
    uint8_t *data = get((size_t)rows, sol_dtype_row_bytes(type, cols));
    sol_f16 *scales = get((size_t)(rows * sol_dtype_row_scales(type, cols)), sizeof *scales);
    float *row = get((size_t)cols, sizeof *row);
    double error = 0, *square = get((size_t)cols, sizeof *square);
    sol_matrix *d;
    for (int64_t i = 0; i < rows * cols; i++) square[i % cols] += (double)w[i] * w[i];
    sol_stored src = {.type = type, .rows = rows, .cols = cols, .data = data, .scales = scales};
    sol_stored_fill(ctx, &src, w, weight);
    REQUIRE_OK(sol_matrix_prepare(&d, ctx, &src, 1, NULL, NULL, err));
    for (int64_t r = 0; r < rows; r++) {
        decode(ctx, d, r, row);
        for (int64_t c = 0; c < cols; c++)
            error +=
                square[c] * ((double)row[c] - w[r * cols + c]) * ((double)row[c] - w[r * cols + c]);
    }
    sol_matrix_free(&d);
    sol_free(data);
    sol_free(scales);
    sol_free(row);
    sol_free(square);
    return error;
}

/* Rounding by weight of the columns serves the large ones, at every width. */
void check_dense_weight(void)
{
    enum { ROWS = 40, COLS = 100 };
    float w[ROWS * COLS], weight[COLS];
    sol_rng rng = sol_rng_make(12, SOL_STREAM_TEST);
    sol_ctx *ctx;
    REQUIRE_OK(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    fill(w, ROWS * COLS, NORMAL, &rng);
    for (int i = 0; i < ROWS * COLS; i++) w[i] *= i % COLS % 32 == 7 ? 3.0f : 1.0f;
    for (int type = SOL_Q6; type <= SOL_Q4; type++) {
        double alike = weighed_error(ctx, (sol_dtype)type, w, ROWS, COLS, NULL);
        double weighed = weighed_error(ctx, (sol_dtype)type, w, ROWS, COLS, weight);
        REQUIRE(weighed < 0.97 * alike, "%s: %g by weight, %g alike",
                sol_dtype_name((sol_dtype)type), weighed, alike);
        REQUIRE(weight[7] > 5 && weight[8] < 3, "weights %g, %g", (double)weight[7],
                (double)weight[8]);
    }
    sol_ctx_free(&ctx);
}

void check_dense_edges(void)
{
    sol_ctx *ctx;
    sol_matrix *d;
    float w[64] = {0}, row[64], x[64] = {1, 2, 3}, y[1];
    uint8_t data[64];
    sol_f16 scales[2];
    REQUIRE_OK(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    for (int type = SOL_Q8; type <= SOL_Q4; type++) {
        sol_stored src = {
            .type = (sol_dtype)type, .rows = 1, .cols = 64, .data = data, .scales = scales};
        sol_stored_fill(ctx, &src, w, NULL);
        REQUIRE_OK(sol_matrix_prepare(&d, ctx, &src, 1, NULL, NULL, err));
        decode(ctx, d, 0, row);
        for (int c = 0; c < 64; c++) REQUIRE(row[c] == 0, "%g", (double)row[c]);
        multiply_dense(ctx, d, SOL_ACT_INT8, x, 1, y);
        REQUIRE(y[0] == 0, "%g", (double)y[0]);
        sol_matrix_free(&d);
    }
    sol_ctx_free(&ctx);
}

/* Stacked parts, a bias and a run of rows, in every type: the sums of the whole without a bias, and
 * its bits. */
void check_matrix_parts(void)
{
    enum { COLS = 64, N = 9, FIRST = SOL_MATRIX_RUN, REST = 77, ROWS = FIRST + REST, CUT = 131 };
    sol_rng rng = sol_rng_make(21, SOL_STREAM_TEST);
    float *w = get(ROWS * COLS, sizeof *w), *x = get(N * COLS, sizeof *x),
          *bias = get(ROWS, sizeof *bias);
    float *whole = get(N * ROWS, sizeof *whole), *y = get(N * ROWS, sizeof *y);
    fill(w, ROWS * COLS, NORMAL, &rng);
    fill(x, N * COLS, NORMAL, &rng);
    fill(bias, ROWS, NORMAL, &rng);
    for (sol_ctx *ctx = first_context(3); ctx; ctx = next_context(ctx)) {
        for (int type = SOL_F32; type <= SOL_TERNARY; type++) {
            matrix m = random_matrix(ROWS, COLS, COLS, SOL_LAYOUT_CONTIGUOUS, true, &rng);
            sol_stored src = {.type = (sol_dtype)type, .rows = ROWS, .cols = COLS}, part[2];
            sol_matrix *plain, *stacked;
            if (type == SOL_TERNARY) {
                part[0] = part[1] = src = part_of(&m);
                part[1].data = (uint8_t *)src.data + CUT * COLS / 8;
                part[1].signs = src.signs + CUT * COLS / 32;
                part[1].scales = src.scales + CUT;
                part[0].rows = CUT, part[1].rows = ROWS - CUT;
            } else {
                REQUIRE_OK(sol_stored_alloc(&src, err));
                sol_stored_fill(ctx, &src, w, NULL);
                part[0] = sol_stored_part(&src, 0, CUT);
                part[1] = sol_stored_part(&src, CUT, ROWS - CUT);
            }
            REQUIRE_OK(sol_matrix_prepare(&plain, ctx, &src, 1, NULL, NULL, err));
            REQUIRE_OK(sol_matrix_prepare(&stacked, ctx, part, 2, bias, NULL, err));
            void *scratch = get(sol_matrix_scratch_bytes(ctx, plain, N), 1);
            for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
                sol_matrix_matmul(ctx, plain, (sol_act)act, x, N, whole, scratch);
                sol_matrix_matmul(ctx, stacked, (sol_act)act, x, N, y, scratch);
                for (int i = 0; i < N * ROWS; i++)
                    REQUIRE(same_bits(y[i], whole[i] + bias[i % ROWS]), "%s: stacked, output %d",
                            sol_dtype_name((sol_dtype)type), i);
                sol_matrix_matmul_rows(ctx, stacked, FIRST, REST, (sol_act)act, x, N, y, REST,
                                       scratch);
                for (int i = 0; i < N * REST; i++) {
                    int r = FIRST + i % REST;
                    REQUIRE(same_bits(y[i], whole[i / REST * ROWS + r] + bias[r]),
                            "%s: row %d of a run", sol_dtype_name((sol_dtype)type), r);
                }
            }
            sol_matrix_free(&plain);
            sol_matrix_free(&stacked);
            sol_free(scratch);
            if (type != SOL_TERNARY) sol_stored_free(&src);
            free_matrix(&m);
        }
    }
    sol_free(w);
    sol_free(x);
    sol_free(bias);
    sol_free(whole);
    sol_free(y);
}

/* Parts of several forms, stacked: outputs and decoded rows are those of each part alone, with its
 * piece of the bias, where the tiles lie in the caller's memory, too. */
void check_matrix_forms(void)
{
    enum { COLS = 64, N = 5, EACH = 37, PARTS = 5, ROWS = PARTS * EACH };
    static const sol_dtype type[PARTS] = {SOL_F16, SOL_TERNARY, SOL_TERNARY, SOL_Q8, SOL_F32};
    sol_rng rng = sol_rng_make(22, SOL_STREAM_TEST);
    float *w = get(EACH * COLS, sizeof *w), *x = get(N * COLS, sizeof *x),
          *bias = get(ROWS, sizeof *bias);
    float *alone = get(N * EACH, sizeof *alone), *y = get(N * ROWS, sizeof *y);
    fill(w, EACH * COLS, NORMAL, &rng);
    fill(x, N * COLS, NORMAL, &rng);
    fill(bias, ROWS, NORMAL, &rng);
    for (sol_ctx *ctx = first_context(3); ctx; ctx = next_context(ctx)) {
        matrix ternary = random_matrix(EACH, COLS, COLS, SOL_LAYOUT_CONTIGUOUS, true, &rng);
        matrix strided = random_matrix(EACH, COLS, COLS, SOL_LAYOUT_STRIDE16, true, &rng);
        sol_stored part[PARTS];
        for (int p = 0; p < PARTS; p++) {
            part[p] = (sol_stored){.type = type[p], .rows = EACH, .cols = COLS};
            if (type[p] == SOL_TERNARY) {
                part[p] = part_of(p == 1 ? &ternary : &strided);
            } else {
                REQUIRE_OK(sol_stored_alloc(&part[p], err));
                sol_stored_fill(ctx, &part[p], w, NULL);
            }
        }
        sol_matrix *m, *one;
        void *tiles = get(sol_matrix_tile_bytes(ctx, part, PARTS), 1);
        REQUIRE_OK(sol_matrix_prepare(&m, ctx, part, PARTS, bias, tiles, err));
        void *scratch = get(sol_matrix_scratch_bytes(ctx, m, N), 1);
        for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
            sol_matrix_matmul(ctx, m, (sol_act)act, x, N, y, scratch);
            for (int p = 0; p < PARTS; p++) {
                REQUIRE_OK(sol_matrix_prepare(&one, ctx, &part[p], 1, NULL, NULL, err));
                sol_matrix_matmul(ctx, one, (sol_act)act, x, N, alone, scratch);
                for (int i = 0; i < N * EACH; i++) {
                    int r = p * EACH + i % EACH;
                    REQUIRE(same_bits(y[i / EACH * ROWS + r], alone[i] + bias[r]),
                            "part %d of several forms, row %d", p, r);
                }
                float has[COLS], want[COLS];
                sol_matrix_row(m, p * EACH + 3, has, scratch);
                sol_matrix_row(one, 3, want, scratch);
                REQUIRE(memcmp(has, want, sizeof has) == 0, "a decoded row of part %d", p);
                sol_matrix_free(&one);
            }
        }
        sol_matrix_free(&m);
        sol_free(tiles);
        sol_free(scratch);
        for (int p = 0; p < PARTS; p++)
            if (type[p] != SOL_TERNARY) sol_stored_free(&part[p]);
        free_matrix(&ternary);
        free_matrix(&strided);
    }
    sol_free(w);
    sol_free(x);
    sol_free(bias);
    sol_free(alone);
    sol_free(y);
}
