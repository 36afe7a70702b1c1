/* The 1.25-bit code: every block of four there and back, whole matrices against the effective
 * weights, what cannot be packed. */
#include "suite.h"

#include <math.h>
#include <string.h>

START_TEST(all_codes_round_trip)
{
    static const uint8_t published[32] = {0xA9, 0x89, 0x29, 0x09, 0xA6, 0x86, 0x26, 0x06,
                                          0x9A, 0x92, 0x1A, 0x12, 0x6A, 0x62, 0x4A, 0x42,
                                          0x01, 0x21, 0x81, 0xA1, 0x04, 0x24, 0x84, 0xA4,
                                          0x10, 0x18, 0x90, 0x98, 0x40, 0x48, 0x60, 0x68};
    for (int code = 0; code < 32; code++) {
        const int8_t *t = sol_code_levels[code];
        int zeros = 0;
        ck_assert_int_eq(sol_code_encode(t), code);
        for (int p = 0; p < 4; p++) {
            ck_assert_int_eq(published[code] >> 2 * p & 3, t[p] + 1);
            zeros += t[p] == 0;
        }
        ck_assert_int_eq(zeros, 1);
        /* The parts of the code, as they are defined. */
        int zero = code >> 2 & 3, lane[3], n = 0;
        for (int p = 0; p < 4; p++)
            if (p != zero) lane[n++] = t[p];
        ck_assert_int_eq(t[zero], 0);
        ck_assert_int_eq(code >> 4, lane[0] < 0);
        ck_assert_int_eq(code & 1, lane[1] != lane[0]);
        ck_assert_int_eq(code >> 1 & 1, lane[2] != lane[0]);
    }
}
END_TEST

START_TEST(only_one_zero_has_a_code)
{
    int valid = 0;
    for (int x = 0; x < 5 * 5 * 5 * 5; x++) {
        int8_t t[4] = {(int8_t)(x % 5 - 2), (int8_t)(x / 5 % 5 - 2), (int8_t)(x / 25 % 5 - 2),
                       (int8_t)(x / 125 - 2)};
        int zeros = 0, strange = 0;
        for (int p = 0; p < 4; p++) zeros += t[p] == 0, strange += t[p] > 1 || t[p] < -1;
        int code = sol_code_encode(t);
        ck_assert_int_eq(code >= 0, zeros == 1 && strange == 0);
        valid += code >= 0;
    }
    ck_assert_int_eq(valid, 32);
}
END_TEST

typedef struct case_ {
    sol_granularity granularity;
    int group_size;
    sol_block_layout layout;
    int64_t rows, cols;
    double bits;
} case_;

static const case_ cases[] = {
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 7, 256, 1.25 + 16.0 / 256},
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_STRIDE16, 7, 320, 1.25 + 16.0 / 320},
    {SOL_PER_TENSOR, 0, SOL_LAYOUT_CONTIGUOUS, 64, 64, 1.25 + 16.0 / 4096},
    {SOL_PER_TENSOR, 0, SOL_LAYOUT_STRIDE16, 3, 128, 1.25 + 16.0 / 384},
    {SOL_PER_GROUP, 256, SOL_LAYOUT_STRIDE16, 5, 512, 1.3125},
    {SOL_PER_GROUP, 128, SOL_LAYOUT_CONTIGUOUS, 5, 512, 1.375},
    {SOL_PER_GROUP, 32, SOL_LAYOUT_CONTIGUOUS, 33, 96, 1.75},
    {SOL_PER_GROUP, 4, SOL_LAYOUT_CONTIGUOUS, 2, 12,
     8 * (2 + 1 + 6) / 12.0}, /* 3 blocks: 2 code bytes, 1 sign byte, 3 scales */
    {SOL_PER_CHANNEL, 0, SOL_LAYOUT_CONTIGUOUS, 3, 172, 8 * (22 + 6 + 2) / 172.0},
};

static void fill(float *w, int64_t n, uint64_t seed)
{
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_TEST);
    for (int64_t i = 0; i < n; i++)
        w[i] = sol_rng_u32(&rng) % 8 ? 0.02f * sol_rng_normal(&rng) : 0.0f;
}

START_TEST(packed_equals_effective)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 2, SOL_TIER_BEST, NULL, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const case_ *c = &cases[i];
        size_t n = (size_t)(c->rows * c->cols);
        sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                               .granularity = c->granularity,
                               .group_size = c->group_size,
                               .layout = c->layout,
                               .scale_dtype = SOL_F16};
        sol_stored m;
        float *w = malloc(n * 4), *q = malloc(n * 4), *unpacked = malloc(n * 4);
        fill(w, (int64_t)n, i);
        ck_ok(sol_packed_from_weights(ctx, &spec, w, c->rows, c->cols, &m, err));
        ck_assert_int_eq(sol_packed_scale_count(&m),
                         sol_quant_scale_count(&spec, c->rows, c->cols));
        ck_assert_double_eq_tol(sol_packed_bits(&m), c->bits, 1e-12);
        sol_quant_effective(ctx, &spec, w, c->rows, c->cols, (sol_residual_mix){1, 0}, q);
        for (int64_t r = 0; r < c->rows; r++) sol_packed_decode_row(&m, r, unpacked + r * c->cols);
        ck_assert_mem_eq(q, unpacked, n * 4);
        /* Packing what was unpacked changes nothing. */
        sol_stored again;
        ck_ok(sol_packed_from_weights(ctx, &spec, unpacked, c->rows, c->cols, &again, err));
        ck_assert_mem_eq(m.data, again.data, sol_packed_code_bytes(c->rows, c->cols));
        ck_assert_mem_eq(m.signs, again.signs, sol_packed_sign_bytes(c->rows, c->cols));
        ck_assert_mem_eq(m.scales, again.scales, (size_t)sol_packed_scale_count(&m) * 2);
        sol_stored_free(&m);
        sol_stored_free(&again);
        ck_assert_ptr_null(m.data);
        free(w);
        free(q);
        free(unpacked);
    }
    sol_ctx_free(&ctx);
}
END_TEST

/* Whatever the bytes say, each block has one zero, and packing what was decoded gives the bytes
 * again. */
START_TEST(any_bytes_decode_to_valid_blocks)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    for (int layout = 0; layout < 2; layout++) {
        enum { ROWS = 16, COLS = 640 };
        sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                               .granularity = SOL_PER_GROUP,
                               .group_size = 64,
                               .layout = (sol_block_layout)layout,
                               .scale_dtype = SOL_F16};
        sol_stored m = {.rows = ROWS,
                        .cols = COLS,
                        .group_size = 64,
                        .layout = (sol_block_layout)layout},
                   again;
        static float w[ROWS * COLS];
        ck_ok(sol_packed_alloc(&m, err));
        sol_rng rng = sol_rng_make(9, SOL_STREAM_TEST);
        for (size_t i = 0; i < sol_packed_code_bytes(ROWS, COLS); i++)
            ((uint8_t *)m.data)[i] = (uint8_t)sol_rng_u32(&rng);
        for (size_t i = 0; i < sol_packed_sign_bytes(ROWS, COLS); i++)
            m.signs[i] = (uint8_t)sol_rng_u32(&rng);
        for (int64_t i = 0; i < sol_packed_scale_count(&m); i++)
            m.scales[i] =
                (sol_f16)(1 + sol_rng_below(&rng, 0x7bff)); /* denormal fp16 scales, too */
        for (int r = 0; r < ROWS; r++) sol_packed_decode_row(&m, r, w + r * COLS);
        for (int g = 0; g < ROWS * COLS / 4; g++) {
            int zeros = 0;
            int row = g / (COLS / 4), block = g % (COLS / 4);
            for (int p = 0; p < 4; p++) {
                int col = layout ? block / 16 * 64 + block % 16 + 16 * p : 4 * block + p;
                zeros += w[row * COLS + col] == 0;
            }
            ck_assert_int_eq(zeros, 1);
        }
        ck_ok(sol_packed_from_weights(ctx, &spec, w, ROWS, COLS, &again, err));
        ck_assert_mem_eq(m.data, again.data, sol_packed_code_bytes(ROWS, COLS));
        ck_assert_mem_eq(m.signs, again.signs, sol_packed_sign_bytes(ROWS, COLS));
        ck_assert_mem_eq(m.scales, again.scales, (size_t)sol_packed_scale_count(&m) * 2);
        sol_stored_free(&m);
        sol_stored_free(&again);
    }
    sol_ctx_free(&ctx);
}
END_TEST

START_TEST(column_of_a_block)
{
    ck_assert_int_eq(sol_block_column(SOL_LAYOUT_CONTIGUOUS, 5, 3), 23);
    for (int g = 0; g < 64; g++)
        for (int p = 0; p < 4; p++)
            ck_assert_int_eq(sol_block_column(SOL_LAYOUT_STRIDE16, g, p),
                             (g / 16) * 64 + g % 16 + 16 * p);
    bool seen[256] = {0};
    for (int g = 0; g < 64; g++) {
        for (int p = 0; p < 4; p++) {
            int64_t column = sol_block_column(SOL_LAYOUT_STRIDE16, g, p);
            ck_assert(column >= 0 && column < 256 && !seen[column]);
            seen[column] = true;
        }
    }
}
END_TEST

START_TEST(what_cannot_be_packed_says_so)
{
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    sol_quant_spec spec = {.method = sol_quantizer_find("absmean"),
                           .granularity = SOL_PER_CHANNEL,
                           .scale_dtype = SOL_F16};
    sol_stored m;
    float w[64] = {0};
    ck_fails(sol_packed_from_weights(ctx, &spec, w, 1, 64, &m, err), SOL_ERR_UNSUPPORTED,
             "absmean weights have no 1.25-bit form");
    spec.method = NULL;
    ck_fails(sol_packed_from_weights(ctx, &spec, w, 1, 64, &m, err), SOL_ERR_UNSUPPORTED,
             "full-precision");
    spec.method = sol_quantizer_find("sherry");
    ck_fails(sol_packed_from_weights(ctx, &spec, w, 1, 62, &m, err), SOL_ERR_SHAPE, "width 62");
    m = (sol_stored){.rows = 1, .cols = 32, .group_size = 32, .layout = SOL_LAYOUT_STRIDE16};
    ck_fails(sol_packed_alloc(&m, err), SOL_ERR_SHAPE, "multiple of 64");
    m = (sol_stored){.rows = 1, .cols = 64, .group_size = 24};
    ck_fails(sol_packed_alloc(&m, err), SOL_ERR_SHAPE, "groups of 24");
    m = (sol_stored){.rows = INT64_MAX / 8, .cols = 64, .group_size = 64};
    ck_fails(sol_packed_alloc(&m, err), SOL_ERR_SHAPE, "cannot be");
    sol_ctx_free(&ctx);
}
END_TEST

/* A scale that fp16 does not hold is refused, the largest that it does is kept; what was allocated
 * is freed. */
START_TEST(scales_beyond_fp16)
{
    static const float bad[] = {65520, -1e30f, INFINITY, NAN};
    sol_ctx *ctx;
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"),
                           .granularity = SOL_PER_GROUP,
                           .group_size = 32,
                           .scale_dtype = SOL_F32};
    for (int i = 0; i <= 4; i++) {
        sol_stored m;
        float w[128];
        for (int k = 0; k < 128; k++) w[k] = k < 96 ? 1 : i < 4 ? bad[i] : 65519;
        if (i < 4) {
            ck_fails(sol_packed_from_weights(ctx, &spec, w, 2, 64, &m, err), SOL_ERR_NONFINITE,
                     "scale 1 of row 1 is");
            ck_assert_ptr_null(m.data);
            continue;
        }
        ck_ok(sol_packed_from_weights(ctx, &spec, w, 2, 64, &m, err));
        ck_assert_float_eq(sol_f16_to_f32(m.scales[2]), 1);
        ck_assert_float_eq(sol_f16_to_f32(m.scales[3]), 65504);
        sol_stored_free(&m);
    }
    sol_ctx_free(&ctx);
}
END_TEST

SOL_TEST_MAIN("codec", tcase_add_test(tc, all_codes_round_trip);
              tcase_add_test(tc, only_one_zero_has_a_code);
              tcase_add_test(tc, packed_equals_effective);
              tcase_add_test(tc, any_bytes_decode_to_valid_blocks);
              tcase_add_test(tc, column_of_a_block); tcase_add_test(tc, scales_beyond_fp16);
              tcase_add_test(tc, what_cannot_be_packed_says_so))
