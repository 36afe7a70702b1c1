/* Products with packed ternary matrices against slow ones: every shape, group, layout and count. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "checkkern.h"

matrix random_matrix(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout,
                     bool at_end, sol_rng *rng)
{
    matrix m = {.rows = rows, .cols = cols, .group = group, .layout = layout};
    size_t code_bytes = (size_t)(rows * ((cols / 4 + 1) / 2)),
           sign_bytes = (size_t)(rows * ((cols / 4 + 7) / 8));
    size_t n_scales = group ? (size_t)(rows * (cols / group)) : 1;
    m.codes = guard(code_bytes, at_end);
    m.signs = guard(sign_bytes, at_end);
    m.scales = guard(n_scales * sizeof(sol_f16), at_end);
    for (size_t i = 0; i < code_bytes; i++) ((uint8_t *)m.codes.p)[i] = (uint8_t)sol_rng_u32(rng);
    for (size_t i = 0; i < sign_bytes; i++) ((uint8_t *)m.signs.p)[i] = (uint8_t)sol_rng_u32(rng);
    for (size_t i = 0; i < n_scales; i++)
        ((sol_f16 *)m.scales.p)[i] = sol_f32_to_f16(0.001f + 0.05f * sol_rng_uniform(rng));
    return m;
}

void free_matrix(matrix *m)
{
    unguard(&m->codes);
    unguard(&m->signs);
    unguard(&m->scales);
}

sol_stored part_of(const matrix *m)
{
    return (sol_stored){.type = SOL_TERNARY,
                        .rows = m->rows,
                        .cols = m->cols,
                        .group_size = m->group,
                        .layout = m->layout,
                        .data = m->codes.p,
                        .signs = m->signs.p,
                        .scales = m->scales.p};
}

static int weight(const matrix *m, int64_t r, int64_t block, int64_t lane)
{
    const uint8_t *codes = (const uint8_t *)m->codes.p + r * ((m->cols / 4 + 1) / 2);
    const uint8_t *signs = (const uint8_t *)m->signs.p + r * ((m->cols / 4 + 7) / 8);
    int slot = codes[block / 2] >> 4 * (block & 1) & 15, z = slot >> 2, flips = slot & 3;
    if (lane == z) return 0;
    int nth = (int)(lane - (lane > z)), first = signs[block / 8] >> block % 8 & 1 ? -1 : 1;
    return nth == 0 ? first : flips >> (nth - 1) & 1 ? -first : first;
}

static float scale_of(const matrix *m, int64_t r, int64_t group)
{
    const sol_f16 *s = m->scales.p;
    return sol_f16_to_f32(m->group ? s[r * (m->cols / m->group) + group] : s[0]);
}

static float fold(const float *w, const float *x, int64_t n)
{
    float lane[16] = {0};
    for (int64_t c = 0; c < n; c++) lane[c % 16] += w[c] * x[c];
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    return lane[0];
}

/* One token and one row; x in column order. */
static float slow_ternary(const matrix *m, int64_t r, const float *x_in, sol_act act)
{
    int64_t cols = m->cols, group = m->group ? m->group : cols;
    float *w = calloc((size_t)cols, sizeof *w), *x = calloc((size_t)cols, sizeof *x), y = 0;
    int *q = calloc((size_t)cols, sizeof *q);
    for (int64_t b = 0; b < cols / 4; b++) {
        for (int64_t p = 0; p < 4; p++) {
            x[4 * b + p] = x_in[sol_block_column(m->layout, b, p)];
            w[4 * b + p] = (float)weight(m, r, b, p);
        }
    }
    int64_t shared = group < 128 ? 128 / group * group : 128;
    for (int64_t g = 0; g < cols / group; g++) {
        float u = 0;
        for (int64_t c = g * group; c < (g + 1) * group;) {
            int64_t end = group < 128 || c + 128 > (g + 1) * group ? (g + 1) * group : c + 128;
            int64_t first = group < 128 ? c / shared * shared : c;
            int64_t block_end = group < 128 ? (first + shared < cols ? first + shared : cols) : end;
            if (act == SOL_ACT_INT8) {
                float d = round_block(x, first, block_end, q);
                int sum = 0;
                for (int64_t i = c; i < end; i++) sum += (int)w[i] * q[i];
                u = fmaf(d, (float)sum, u);
            } else {
                u += fold(w + c, x + c, end - c);
            }
            c = end;
        }
        y = fmaf(scale_of(m, r, g), u, y);
    }
    free(w);
    free(x);
    free(q);
    return y;
}

sol_matrix *prepare(const sol_ctx *ctx, const matrix *m, int n)
{
    sol_matrix *t;
    sol_stored parts[4];
    for (int i = 0; i < n; i++) parts[i] = part_of(&m[i]);
    REQUIRE_OK(sol_matrix_prepare(&t, ctx, parts, n, NULL, NULL, err));
    return t;
}

static void multiply(const sol_ctx *ctx, const sol_matrix *t, sol_act act, const float *x,
                     int64_t n, float *y)
{
    void *scratch;
    REQUIRE_OK(sol_alloc_array(&scratch, sol_matrix_scratch_bytes(ctx, t, n), 1, err));
    memset(scratch, 0x5a, sol_matrix_scratch_bytes(ctx, t, n));
    sol_matrix_matmul(ctx, t, act, x, n, y, scratch);
    sol_free(scratch);
}

/* Every set of features gives slow_ternary's bits for n tokens of kind k, operands against the
 * guard pages. */
static void check_shape(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout,
                        int64_t n, kind k, bool at_end)
{
    sol_rng rng =
        sol_rng_make((uint64_t)(rows * 1000003 + cols * 101 + group * 7 + n), SOL_STREAM_TEST);
    matrix m = random_matrix(rows, cols, group, layout, at_end, &rng);
    guarded x = guard((size_t)(n * cols) * sizeof(float), at_end),
            y = guard((size_t)(n * rows) * sizeof(float), at_end);
    float *want = calloc((size_t)(n * rows), sizeof *want);
    fill(x.p, n * cols, k, &rng);
    for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t r = 0; r < rows; r++)
                want[i * rows + r] =
                    slow_ternary(&m, r, (const float *)x.p + i * cols, (sol_act)act);
        for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx)) {
            sol_matrix *t = prepare(ctx, &m, 1);
            memset(y.p, 0x5a, (size_t)(n * rows) * sizeof(float));
            multiply(ctx, t, (sol_act)act, x.p, n, y.p);
            for (int64_t i = 0; i < n * rows; i++)
                REQUIRE(same_bits(((float *)y.p)[i], want[i]),
                        "%s [%d x %d] group %d layout %d n %d kind %d act %d at %d: %a, not %a",
                        label(ctx), (int)rows, (int)cols, (int)group, layout, (int)n, k, act,
                        (int)i, (double)((float *)y.p)[i], (double)want[i]);
            sol_matrix_free(&t);
        }
    }
    free(want);
    free_matrix(&m);
    unguard(&x);
    unguard(&y);
}

void check_ternary_shapes(void)
{
    static const int64_t cols[] = {4,   8,   12,  36,  64,  68,  100, 128,
                                   132, 172, 192, 256, 344, 384, 576, 1000};
    static const int64_t rows[] = {1, 2, 7, 16, 33, 64, 130};
    static const int64_t tokens[] = {1, 2, 9, 33};
    for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            check_shape(rows[r], cols[c], c % 2 ? 0 : cols[c], SOL_LAYOUT_CONTIGUOUS,
                        tokens[(r + c) % 4], NORMAL, (r + c) % 2);
}

void check_ternary_groups(void)
{
    static const int64_t shape[][2] = {{384, 4},   {384, 12},   {384, 32},  {384, 64},  {384, 96},
                                       {384, 128}, {384, 192},  {500, 100}, {688, 172}, {768, 256},
                                       {1024, 32}, {1024, 128}, {600, 300}, {1056, 528}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int64_t n = 1; n <= 19; n += 9)
            check_shape(70, shape[i][0], shape[i][1], SOL_LAYOUT_CONTIGUOUS, n, NORMAL, i % 2);
}

void check_ternary_stride16(void)
{
    static const int64_t shape[][2] = {{64, 0},    {64, 64},   {192, 64},  {256, 256},
                                       {384, 128}, {576, 192}, {576, 576}, {1024, 0}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int64_t n = 1; n <= 17; n += 8)
            check_shape(40, shape[i][0], shape[i][1], SOL_LAYOUT_STRIDE16, n, NORMAL, i % 2);
}

void check_ternary_edge_data(void)
{
    for (int k = 0; k < N_KINDS; k++) {
        check_shape(35, 512, 128, SOL_LAYOUT_CONTIGUOUS, 1, (kind)k, k % 2);
        check_shape(35, 512, 128, SOL_LAYOUT_STRIDE16, 18, (kind)k, k % 2);
        check_shape(33, 260, 0, SOL_LAYOUT_CONTIGUOUS, 3, (kind)k, k % 2);
        check_shape(20, 320, 20, SOL_LAYOUT_CONTIGUOUS, 16, (kind)k, k % 2);
    }
}

/* y[n, rows], at distance ldy: of some tokens, the last few among them, the bits of one alone. */
static void check_alone(const sol_ctx *ctx, const matrix *m, sol_act act, const float *x, int64_t n,
                        const float *y, int64_t ldy)
{
    float alone[300];
    sol_matrix *t = prepare(ctx, m, 1);
    for (int64_t i = 0; i < n; i += 29) {
        multiply(ctx, t, act, x + i * m->cols, 1, alone);
        for (int64_t r = 0; r < m->rows; r++)
            REQUIRE(same_bits(alone[r], y[i * ldy + r]),
                    "token %d of %d alone differs in row %d of %d", (int)i, (int)n, (int)r,
                    (int)m->rows);
    }
    sol_matrix_free(&t);
}

/* Many tokens, stacked parts, several threads: row by row the bits of a token alone with one part
 * on one thread. Behind whole blocks of 32 tokens the last 13 or 9 take another road. */
void check_ternary_batches(void)
{
    enum { N = 301, COLS = 320 };
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    for (sol_ctx *one = first_context(1), *three = first_context(3); one;
         one = next_context(one), three = next_context(three)) {
        for (int64_t group = 0; group <= 64; group += 64) {
            matrix m[3] = {random_matrix(37, COLS, group, SOL_LAYOUT_CONTIGUOUS, true, &rng),
                           random_matrix(300, COLS, group, SOL_LAYOUT_CONTIGUOUS, false, &rng),
                           random_matrix(5, COLS, group, SOL_LAYOUT_CONTIGUOUS, true, &rng)};
            float *x = calloc(N * COLS, sizeof *x), *y = calloc(N * 342, sizeof *y);
            fill(x, N * COLS, NORMAL, &rng);
            sol_matrix *all = prepare(three, m, 3);
            REQUIRE(sol_matrix_rows(all) == 342, "%lld", (long long)sol_matrix_rows(all));
            REQUIRE(sol_matrix_cols(all) == COLS, "%lld", (long long)sol_matrix_cols(all));
            for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++)
                for (int64_t n = N - 4; n <= N; n += 4) {
                    multiply(three, all, (sol_act)act, x, n, y);
                    for (int64_t p = 0, base = 0; p < 3; base += m[p].rows, p++)
                        check_alone(one, &m[p], (sol_act)act, x, n, y + base, 342);
                }
            sol_matrix_free(&all);
            free(x);
            free(y);
            for (int p = 0; p < 3; p++) free_matrix(&m[p]);
        }
    }
}

static void refused(const sol_ctx *ctx, int64_t rows, int64_t cols, int64_t group,
                    sol_block_layout layout, const char *part)
{
    uint8_t byte = 0;
    sol_f16 scale = 0;
    sol_err err = {0};
    sol_matrix *t;
    sol_stored p = {.type = SOL_TERNARY,
                    .rows = rows,
                    .cols = cols,
                    .group_size = group,
                    .layout = layout,
                    .data = &byte,
                    .signs = &byte,
                    .scales = &scale};
    sol_status st = sol_matrix_prepare(&t, ctx, &p, 1, NULL, NULL, &err);
    REQUIRE(st == SOL_ERR_RANGE && !t && strstr(err.text, part), "status %d, '%s' lacks '%s'", st,
            err.text, part);
}

void check_ternary_refusals(void)
{
    sol_ctx *ctx = first_context(1);
    refused(ctx, 1, 6, 0, SOL_LAYOUT_CONTIGUOUS, "width 6");
    refused(ctx, 1, 0, 0, SOL_LAYOUT_CONTIGUOUS, "shape [1, 0]");
    refused(ctx, 1, 68, 0, SOL_LAYOUT_STRIDE16, "multiple of 64");
    refused(ctx, 1, 16, 12, SOL_LAYOUT_CONTIGUOUS, "group size 12");
    refused(ctx, 1, 128, 32, SOL_LAYOUT_STRIDE16, "group size 32");
    refused(ctx, 0, 8, 0, SOL_LAYOUT_CONTIGUOUS, "shape [0, 8]");
    sol_ctx_free(&ctx);
}
