/* checkkern: the products against what their headers say, computed here the slow way, in every tier this processor has;
 * operands lie against guard pages at either end. */
#include "suite.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/segments.h"

/* ---- memory between guard pages ---- */

typedef struct guarded {
    uint8_t *map;
    size_t map_bytes;
    void *p;
} guarded;

/* `bytes` bytes that end at a guard page (at_end) or begin behind one; what is touched beyond ends the test. */
static guarded guard(size_t bytes, bool at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page + page;
    guarded g = {.map_bytes = body + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(g.map, MAP_FAILED);
    ck_assert_int_eq(mprotect(g.map, page, PROT_NONE), 0);
    ck_assert_int_eq(mprotect(g.map + page + body, page, PROT_NONE), 0);
    g.p = at_end ? g.map + page + body - bytes : g.map + page;
    return g;
}

static void unguard(guarded *g)
{
    munmap(g->map, g->map_bytes);
}

/* ---- data ---- */

typedef enum { NORMAL, ZERO, HUGE_BESIDE_TINY, DENORMAL, TIES, EXTREME, NOT_FINITE, N_KINDS } kind;

static void fill(float *x, int64_t n, kind k, sol_rng *rng)
{
    for (int64_t i = 0; i < n; i++) {
        float z = sol_rng_normal(rng);
        switch (k) {
        case ZERO: x[i] = 0; break;
        case HUGE_BESIDE_TINY: x[i] = sol_rng_below(rng, 50) == 0 ? z * 1e30f : z * 1e-30f; break;
        case DENORMAL: x[i] = z * 1e-40f; break;
        case TIES: x[i] = i % 32 == 0 ? 127 : (float)sol_rng_below(rng, 127) + 0.5f; break;
        case EXTREME: x[i] = z < 0 ? -3 : 3; break;
        case NOT_FINITE: x[i] = i % 97 == 13 ? (i & 1 ? INFINITY : NAN) : z; break;
        default: x[i] = z; break;
        }
    }
}

typedef struct matrix {
    int64_t rows, cols, group; /* group 0: one scale */
    sol_block_layout layout;
    guarded codes, signs, scales;
} matrix;

static matrix random_matrix(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout, bool at_end, sol_rng *rng)
{
    matrix m = {.rows = rows, .cols = cols, .group = group, .layout = layout};
    size_t code_bytes = (size_t)(rows * ((cols / 4 + 1) / 2)), sign_bytes = (size_t)(rows * ((cols / 4 + 7) / 8));
    size_t n_scales = group ? (size_t)(rows * (cols / group)) : 1;
    m.codes = guard(code_bytes, at_end);
    m.signs = guard(sign_bytes, at_end);
    m.scales = guard(n_scales * sizeof(sol_f16), at_end);
    for (size_t i = 0; i < code_bytes; i++) ((uint8_t *)m.codes.p)[i] = (uint8_t)sol_rng_u32(rng);
    for (size_t i = 0; i < sign_bytes; i++) ((uint8_t *)m.signs.p)[i] = (uint8_t)sol_rng_u32(rng);
    for (size_t i = 0; i < n_scales; i++) ((sol_f16 *)m.scales.p)[i] = sol_f32_to_f16(0.001f + 0.05f * sol_rng_uniform(rng));
    return m;
}

static void free_matrix(matrix *m)
{
    unguard(&m->codes);
    unguard(&m->signs);
    unguard(&m->scales);
}

static sol_ternary_part part_of(const matrix *m)
{
    return (sol_ternary_part){.rows = m->rows, .codes = m->codes.p, .signs = m->signs.p, .scales = m->scales.p};
}

/* ---- the definitions, the slow way ---- */

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

/* Rounds the activation block [first, end) as ternary.h says. */
static float round_block(const float *x, int64_t first, int64_t end, int *q)
{
    float top = 0;
    bool finite = true;
    for (int64_t c = first; c < end; c++) {
        finite = finite && isfinite(x[c]);
        top = fmaxf(top, fabsf(x[c]));
    }
    bool none = !finite || top < ldexpf(1, -100);
    for (int64_t c = first; c < end; c++) q[c] = none ? 0 : (int)nearbyintf(x[c] * (127.0f / top));
    return !finite ? NAN : none ? 0 : top / 127.0f;
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

static bool same_bits(float a, float b)
{
    return (isnan(a) && isnan(b)) || sol_f32_bits(a) == sol_f32_bits(b);
}

/* ---- the tiers ---- */

static const sol_tier tiers[] = {SOL_TIER_C, SOL_TIER_AVX2, SOL_TIER_AVX512, SOL_TIER_NEON};

/* A context of tier i, or NULL where this processor has no such tier. */
static sol_ctx *tier_context(size_t i, int threads)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, threads, tiers[i], NULL, err));
    if (ctx->k.tier != tiers[i]) sol_ctx_free(&ctx);
    return ctx;
}
#define EACH_TIER(i) for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)

static sol_ternary *prepare(const sol_ctx *ctx, const matrix *m, int n)
{
    sol_ternary *t;
    sol_ternary_part parts[4];
    for (int i = 0; i < n; i++) parts[i] = part_of(&m[i]);
    ck_ok(sol_ternary_prepare(&t, ctx, m->cols, m->group, m->layout, parts, n, err));
    return t;
}

static void multiply(const sol_ctx *ctx, const sol_ternary *t, sol_act act, const float *x, int64_t n, float *y)
{
    void *scratch;
    ck_ok(sol_alloc_array(&scratch, sol_ternary_scratch_bytes(ctx, t, n), 1, err));
    memset(scratch, 0x5a, sol_ternary_scratch_bytes(ctx, t, n));
    sol_ternary_matmul(ctx, t, act, x, n, y, scratch);
    sol_free(scratch);
}

/* Every tier gives slow_ternary's bits for n tokens of kind k, operands against the guard pages. */
static void check_shape(int64_t rows, int64_t cols, int64_t group, sol_block_layout layout, int64_t n, kind k, bool at_end)
{
    sol_rng rng = sol_rng_make((uint64_t)(rows * 1000003 + cols * 101 + group * 7 + n), SOL_STREAM_TEST);
    matrix m = random_matrix(rows, cols, group, layout, at_end, &rng);
    guarded x = guard((size_t)(n * cols) * sizeof(float), at_end), y = guard((size_t)(n * rows) * sizeof(float), at_end);
    float *want = calloc((size_t)(n * rows), sizeof *want);
    fill(x.p, n * cols, k, &rng);
    for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t r = 0; r < rows; r++)
                want[i * rows + r] = slow_ternary(&m, r, (const float *)x.p + i * cols, (sol_act)act);
        EACH_TIER(tier) {
            sol_ctx *ctx = tier_context(tier, 1);
            if (!ctx) continue;
            sol_ternary *t = prepare(ctx, &m, 1);
            memset(y.p, 0x5a, (size_t)(n * rows) * sizeof(float));
            multiply(ctx, t, (sol_act)act, x.p, n, y.p);
            for (int64_t i = 0; i < n * rows; i++)
                ck_assert_msg(same_bits(((float *)y.p)[i], want[i]), "%s [%d x %d] group %d layout %d n %d kind %d act %d at %d: %a, not %a",
                              sol_tier_name(tiers[tier]), (int)rows, (int)cols, (int)group, layout, (int)n, k, act, (int)i,
                              (double)((float *)y.p)[i], (double)want[i]);
            sol_ternary_free(&t);
            sol_ctx_free(&ctx);
        }
    }
    free(want);
    free_matrix(&m);
    unguard(&x);
    unguard(&y);
}

START_TEST(ternary_any_shape)
{
    static const int64_t cols[] = {4, 8, 12, 36, 64, 68, 100, 128, 132, 172, 192, 256, 344, 384, 576, 1000};
    static const int64_t rows[] = {1, 2, 7, 16, 33, 64, 130};
    for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            check_shape(rows[r], cols[c], c % 2 ? 0 : cols[c], SOL_LAYOUT_CONTIGUOUS, (int64_t)(r % 3) + 1, NORMAL, (r + c) % 2);
}
END_TEST

START_TEST(ternary_any_group)
{
    static const int64_t shape[][2] = {{384, 4},   {384, 12},  {384, 32},  {384, 64},  {384, 96},  {384, 128}, {384, 192},
                                       {500, 100}, {688, 172}, {768, 256}, {1024, 32}, {1024, 128}, {600, 300}, {1056, 528}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int64_t n = 1; n <= 9; n += 4) check_shape(70, shape[i][0], shape[i][1], SOL_LAYOUT_CONTIGUOUS, n, NORMAL, i % 2);
}
END_TEST

START_TEST(ternary_stride16)
{
    static const int64_t shape[][2] = {{64, 0}, {64, 64}, {192, 64}, {256, 256}, {384, 128}, {576, 192}, {576, 576}, {1024, 0}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int64_t n = 1; n <= 6; n += 5) check_shape(40, shape[i][0], shape[i][1], SOL_LAYOUT_STRIDE16, n, NORMAL, i % 2);
}
END_TEST

START_TEST(ternary_edge_data)
{
    for (int k = 0; k < N_KINDS; k++) {
        check_shape(35, 512, 128, SOL_LAYOUT_CONTIGUOUS, 1, (kind)k, k % 2);
        check_shape(35, 512, 128, SOL_LAYOUT_STRIDE16, 5, (kind)k, k % 2);
        check_shape(33, 260, 0, SOL_LAYOUT_CONTIGUOUS, 3, (kind)k, k % 2);
        check_shape(20, 320, 20, SOL_LAYOUT_CONTIGUOUS, 2, (kind)k, k % 2);
    }
}
END_TEST

/* Many tokens, stacked parts, several threads: row by row the bits of a token alone with one part on one thread. */
START_TEST(ternary_batches_parts_threads)
{
    enum { N = 301, COLS = 320 };
    sol_rng rng = sol_rng_make(5, SOL_STREAM_TEST);
    EACH_TIER(tier) {
        sol_ctx *one = tier_context(tier, 1), *three = one ? tier_context(tier, 3) : NULL;
        if (!one) continue;
        for (int64_t group = 0; group <= 64; group += 64) {
            matrix m[3] = {random_matrix(37, COLS, group, SOL_LAYOUT_CONTIGUOUS, true, &rng),
                           random_matrix(300, COLS, group, SOL_LAYOUT_CONTIGUOUS, false, &rng),
                           random_matrix(5, COLS, group, SOL_LAYOUT_CONTIGUOUS, true, &rng)};
            float *x = calloc(N * COLS, sizeof *x), *y = calloc(N * 342, sizeof *y), alone[300];
            fill(x, N * COLS, NORMAL, &rng);
            sol_ternary *all = prepare(three, m, 3);
            ck_assert_int_eq(sol_ternary_rows(all), 342);
            ck_assert_int_eq(sol_ternary_cols(all), COLS);
            for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
                multiply(three, all, (sol_act)act, x, N, y);
                for (int64_t p = 0, base = 0; p < 3; base += m[p].rows, p++) {
                    sol_ternary *t = prepare(one, &m[p], 1);
                    for (int64_t i = 0; i < N; i += 43) {
                        multiply(one, t, (sol_act)act, x + i * COLS, 1, alone);
                        for (int64_t r = 0; r < m[p].rows; r++) ck_assert(same_bits(alone[r], y[i * 342 + base + r]));
                    }
                    sol_ternary_free(&t);
                }
            }
            sol_ternary_free(&all);
            free(x);
            free(y);
            for (int p = 0; p < 3; p++) free_matrix(&m[p]);
        }
        sol_ctx_free(&one);
        sol_ctx_free(&three);
    }
}
END_TEST

START_TEST(ternary_refuses)
{
    sol_ctx *ctx;
    sol_ternary *t;
    uint8_t byte = 0;
    sol_f16 scale = 0;
    sol_ternary_part p = {.rows = 1, .codes = &byte, .signs = &byte, .scales = &scale};
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_C, NULL, err));
    ck_fails(sol_ternary_prepare(&t, ctx, 6, 0, SOL_LAYOUT_CONTIGUOUS, &p, 1, err), SOL_ERR_RANGE, "width 6");
    ck_fails(sol_ternary_prepare(&t, ctx, 0, 0, SOL_LAYOUT_CONTIGUOUS, &p, 1, err), SOL_ERR_RANGE, "width 0");
    ck_fails(sol_ternary_prepare(&t, ctx, 68, 0, SOL_LAYOUT_STRIDE16, &p, 1, err), SOL_ERR_RANGE, "multiple of 64");
    ck_fails(sol_ternary_prepare(&t, ctx, 16, 12, SOL_LAYOUT_CONTIGUOUS, &p, 1, err), SOL_ERR_RANGE, "group size 12");
    ck_fails(sol_ternary_prepare(&t, ctx, 128, 32, SOL_LAYOUT_STRIDE16, &p, 1, err), SOL_ERR_RANGE, "group size 32");
    p.rows = 0;
    ck_fails(sol_ternary_prepare(&t, ctx, 8, 0, SOL_LAYOUT_CONTIGUOUS, &p, 1, err), SOL_ERR_RANGE, "0 rows");
    ck_assert_ptr_null(t);
    sol_ctx_free(&ctx);
}
END_TEST

/* ---- dense ---- */

static void multiply_dense(const sol_ctx *ctx, const sol_dense *d, sol_act act, const float *x, int64_t n, float *y)
{
    void *scratch;
    ck_ok(sol_alloc_array(&scratch, sol_dense_scratch_bytes(ctx, d, n), 1, err));
    memset(scratch, 0x5a, sol_dense_scratch_bytes(ctx, d, n));
    sol_dense_matmul(ctx, d, act, x, n, y, scratch);
    sol_free(scratch);
}

/* Largest rounding error of a block of normal numbers, as a share of its largest element. */
static double worst_step(sol_dense_type type)
{
    return type == SOL_DENSE_Q8 ? 0.009 : type == SOL_DENSE_Q6 ? 0.05 : type == SOL_DENSE_Q4 ? 0.19 : 0.0005;
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
        for (int64_t i = 0; i < n; i++) sum += scale == 0 ? 0 : (int)lrintf(w[c + i] / scale) * q[i];
        y = fmaf(scale, d * (float)sum, y);
    }
    return y;
}

static void check_dense(sol_dense_type type, int64_t rows, int64_t cols, int64_t n, bool at_end)
{
    sol_rng rng = sol_rng_make((uint64_t)(rows * 31 + cols), SOL_STREAM_TEST);
    int64_t row_scales = sol_dense_row_scales(type, cols);
    guarded data = guard((size_t)rows * sol_dense_row_bytes(type, cols), at_end);
    guarded scales = guard((size_t)(rows * row_scales) * sizeof(sol_f16), at_end);
    guarded x = guard((size_t)(n * cols) * sizeof(float), at_end), y = guard((size_t)(n * rows) * sizeof(float), at_end);
    float *w = calloc((size_t)(rows * cols), sizeof *w), *row = calloc((size_t)cols, sizeof *row);
    float alone[200];
    fill(w, rows * cols, NORMAL, &rng);
    fill(x.p, n * cols, NORMAL, &rng);
    EACH_TIER(tier) {
        sol_ctx *ctx = tier_context(tier, 2);
        if (!ctx) continue;
        sol_dense *d;
        sol_dense_quantize(ctx, type, w, rows, cols, data.p, scales.p);
        sol_dense_src src = {.type = type, .rows = rows, .cols = cols, .data = data.p, .scales = scales.p};
        ck_ok(sol_dense_prepare(&d, ctx, &src, err));
        for (int act = SOL_ACT_INT8; act <= SOL_ACT_FLOAT; act++) {
            multiply_dense(ctx, d, (sol_act)act, x.p, n, y.p);
            for (int64_t r = 0; r < rows; r++) {
                sol_dense_row(d, r, row);
                for (int64_t i = 0; i < n; i++) {
                    const float *xi = (const float *)x.p + i * cols;
                    float got = ((float *)y.p)[i * rows + r];
                    double sum = 0, size = 1e-30;
                    for (int64_t c = 0; c < cols; c++) sum += (double)row[c] * xi[c];
                    for (int64_t c = 0; c < cols; c++) size += fabs((double)row[c] * xi[c]);
                    if (type >= SOL_DENSE_Q8 && act == SOL_ACT_INT8)
                        ck_assert_msg(same_bits(got, slow_dense(row, (const sol_f16 *)scales.p + r * row_scales, xi, cols)),
                                      "%s %s [%d x %d] row %d token %d", sol_tier_name(tiers[tier]), sol_dense_type_name(type),
                                      (int)rows, (int)cols, (int)r, (int)i);
                    else
                        ck_assert_double_le(fabs(got - sum) / size, 2e-6);
                }
            }
            for (int64_t i = 0; i < n; i++) {
                multiply_dense(ctx, d, (sol_act)act, (const float *)x.p + i * cols, 1, alone);
                for (int64_t r = 0; r < rows; r++) ck_assert(same_bits(alone[r], ((float *)y.p)[i * rows + r]));
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            sol_dense_row(d, r, row);
            for (int64_t c = 0; c < cols; c++) {
                float top = 0;
                for (int64_t i = c / 32 * 32; i < cols && i < c / 32 * 32 + 32; i++) top = fmaxf(top, fabsf(w[r * cols + i]));
                ck_assert_double_le(fabs((double)row[c] - w[r * cols + c]), worst_step(type) * top);
            }
        }
        sol_dense_free(&d);
        sol_ctx_free(&ctx);
    }
    free(w);
    free(row);
    unguard(&data);
    unguard(&scales);
    unguard(&x);
    unguard(&y);
}

START_TEST(dense_any_shape)
{
    static const int64_t shape[][3] = {{1, 1, 1},    {5, 7, 2},    {16, 32, 3},  {33, 64, 1},  {64, 96, 9},
                                       {70, 172, 5}, {130, 100, 4}, {40, 576, 17}, {3, 1030, 2}, {128, 256, 6}};
    for (int type = SOL_DENSE_F32; type <= SOL_DENSE_Q4; type++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            check_dense((sol_dense_type)type, shape[i][0], shape[i][1], shape[i][2], i % 2);
}
END_TEST

START_TEST(dense_zero_and_names)
{
    sol_ctx *ctx;
    sol_dense *d;
    sol_dense_type type;
    float w[64] = {0}, row[64], x[64] = {1, 2, 3}, y[1];
    uint8_t data[64];
    sol_f16 scales[2];
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    for (int t = SOL_DENSE_F32; t <= SOL_DENSE_Q4; t++) {
        ck_ok(sol_dense_type_from_name(sol_dense_type_name((sol_dense_type)t), &type, err));
        ck_assert_int_eq((int)type, t);
        if (t < SOL_DENSE_Q8) continue;
        sol_dense_quantize(ctx, type, w, 1, 64, data, scales);
        sol_dense_src src = {.type = type, .rows = 1, .cols = 64, .data = data, .scales = scales};
        ck_ok(sol_dense_prepare(&d, ctx, &src, err));
        sol_dense_row(d, 0, row);
        for (int c = 0; c < 64; c++) ck_assert(row[c] == 0);
        multiply_dense(ctx, d, SOL_ACT_INT8, x, 1, y);
        ck_assert(y[0] == 0);
        sol_dense_free(&d);
    }
    ck_fails(sol_dense_type_from_name("q5", &type, err), SOL_ERR_USAGE, "q5");
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("kernels", tcase_add_test(tc, ternary_any_shape); tcase_add_test(tc, ternary_any_group);
              tcase_add_test(tc, ternary_stride16); tcase_add_test(tc, ternary_edge_data);
              tcase_add_test(tc, ternary_batches_parts_threads); tcase_add_test(tc, ternary_refuses);
              tcase_add_test(tc, dense_any_shape); tcase_add_test(tc, dense_zero_and_names))
