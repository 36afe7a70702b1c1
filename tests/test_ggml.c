/* The element types of GGUF, block by block: against the bytes of llama.cpp and of the package
 * gguf, by their published layout, and out and in again. */
#include "suite.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "foreign/ggml.h"

START_TEST(bytes_of_llama_cpp)
{
    static const char *const names[] = {"tq1_0", "tq2_0"};
    char *x, *want, *values, name[64];
    size_t n, n_want, n_values;
    const char *p = sol_test_data("oracles/ggml-tq-input.f32");
    if (!p) return;
    ck_ok(sol_file_read(p, &x, &n, err));
    for (int k = 0; k < 2; k++) {
        const sol_ggml_type *t = sol_ggml_type_named(names[k]);
        uint8_t bytes[1024];
        float out[1024];
        snprintf(name, sizeof name, "oracles/ggml-%s.bytes", names[k]);
        ck_ok(sol_file_read(sol_test_data(name), &want, &n_want, err));
        snprintf(name, sizeof name, "oracles/ggml-%s-dequant.f32", names[k]);
        ck_ok(sol_file_read(sol_test_data(name), &values, &n_values, err));
        sol_ggml_encode(t, (const float *)x, 1024, bytes);
        ck_assert_uint_eq(n_want, 4 * t->bytes);
        ck_assert_mem_eq(bytes, want, n_want);
        sol_ggml_decode(t, bytes, 1024, out);
        ck_assert_mem_eq(out, values, n_values);
        sol_free(want);
        sol_free(values);
    }
    sol_free(x);
}
END_TEST

/* The same of the package gguf, and of Q2_0 by its description
 * (scripts/make_golden_transformers.py). */
START_TEST(bytes_of_package_gguf)
{
    static const char *const names[] = {"q8_0", "tq1_0", "tq2_0", "q2_0"};
    json_t *j = json_load_file("tests/golden/ggml_tq.json", 0, NULL);
    float x[1024], values[1024];
    ck_assert_ptr_nonnull(j);
    for (uint32_t i = 0; i < 1024; i++)
        x[i] = ((float)((i * 2654435761u) >> 8) / 0x1p24f - 0.5f) * (float)(1 + i / 256);
    for (int k = 0; k < 4; k++) {
        const sol_ggml_type *t = sol_ggml_type_named(names[k]);
        const char *want =
            json_string_value(json_object_get(json_object_get(j, names[k]), "bytes"));
        uint8_t bytes[1024 / 32 * 34]; /* of Q8_0, the longest */
        char hex[2 * sizeof bytes + 1], hash[24];
        uint64_t h = 0xCBF29CE484222325u;
        sol_ggml_encode(t, x, 1024, bytes);
        for (size_t i = 0; i < (size_t)(1024 / t->block) * t->bytes; i++)
            snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
        ck_assert_str_eq(hex, want);
        sol_ggml_decode(t, bytes, 1024, values);
        for (size_t i = 0; i < sizeof values; i++)
            h = (h ^ ((const uint8_t *)values)[i]) * 0x100000001B3u;
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)h);
        ck_assert_str_eq(
            hash, json_string_value(json_object_get(json_object_get(j, names[k]), "values")));
    }
    json_decref(j);
}
END_TEST

/* What each type decodes to, from its definition in words, for a block whose bytes are a fixed
 * pattern. */
static void pattern(uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) b[i] = (uint8_t)(i * 73 + 19);
    memcpy(b, "\x00\x38\x00\x3c", 4); /* halves 0.5 and 1 */
}

START_TEST(blocks_decode)
{
    uint8_t b[256];
    float out[256];
    pattern(b, sizeof b);
    for (int j = 0; j < 32; j++) {
        int nibble = j < 16 ? b[2 + j] & 15 : b[2 + j - 16] >> 4,
            nibble1 = j < 16 ? b[4 + j] & 15 : b[4 + j - 16] >> 4;
        int five = (j < 16 ? b[6 + j] & 15 : b[6 + j - 16] >> 4) + 16 * (b[2 + j / 8] >> j % 8 & 1);
        int five1 =
            (j < 16 ? b[8 + j] & 15 : b[8 + j - 16] >> 4) + 16 * (b[4 + j / 8] >> j % 8 & 1);
        sol_ggml_decode(sol_ggml_type_named("q4_0"), b, 32, out);
        ck_assert(out[j] == 0.5f * (float)(nibble - 8));
        sol_ggml_decode(sol_ggml_type_named("q4_1"), b, 32, out);
        ck_assert(out[j] == 0.5f * (float)nibble1 + 1);
        sol_ggml_decode(sol_ggml_type_named("q5_0"), b, 32, out);
        ck_assert(out[j] == 0.5f * (float)(five - 16));
        sol_ggml_decode(sol_ggml_type_named("q5_1"), b, 32, out);
        ck_assert(out[j] == 0.5f * (float)five1 + 1);
        sol_ggml_decode(sol_ggml_type_named("q8_0"), b, 32, out);
        ck_assert(out[j] == 0.5f * (float)(int8_t)b[2 + j]);
    }
}
END_TEST

/* Bits [at, at + n) of a little-endian bit string. */
static int bits(const uint8_t *p, int at, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) v |= (p[(at + i) / 8] >> (at + i) % 8 & 1) << i;
    return v;
}

START_TEST(k_blocks_decode)
{
    uint8_t b[256];
    float out[256], out5[256], out6[256];
    pattern(b, sizeof b);
    sol_ggml_decode(sol_ggml_type_named("q4_k"), b, 256, out);
    sol_ggml_decode(sol_ggml_type_named("q5_k"), b, 256, out5);
    for (int i = 0; i < 256; i++) {
        int g = i / 32, l = i % 32;
        const uint8_t *s = b + 4;
        int scale = g < 4 ? bits(s + g, 0, 6) : bits(s + g + 4, 0, 4) | bits(s + g - 4, 6, 2) << 4;
        int min = g < 4 ? bits(s + g + 4, 0, 6) : bits(s + g + 4, 4, 4) | bits(s + g, 6, 2) << 4;
        int q4 = bits(b + 16 + g / 2 * 32 + l, 4 * (g & 1), 4),
            q5 = bits(b + 48 + g / 2 * 32 + l, 4 * (g & 1), 4) | bits(b + 16 + l, g, 1) << 4;
        ck_assert(out[i] == 0.5f * (float)scale * (float)q4 - (float)min);
        ck_assert(out5[i] == 0.5f * (float)scale * (float)q5 - (float)min);
    }
    memcpy(b + 80, "\x00\x34\x00\x3c", 4); /* 0.25, 1 */
    sol_ggml_decode(sol_ggml_type_named("q2_k"), b, 256, out);
    for (int i = 0; i < 256; i++) {
        int q2 = bits(b + 16 + i / 128 * 32 + i % 32, i % 128 / 32 * 2, 2);
        ck_assert(out[i] == 0.25f * (float)bits(b + i / 16, 0, 4) * (float)q2 -
                                (float)bits(b + i / 16, 4, 4));
    }
    memcpy(b + 108, "\x00\x34", 2);
    sol_ggml_decode(sol_ggml_type_named("q3_k"), b, 256, out);
    for (int i = 0; i < 256; i++) {
        int g = i / 16;
        int scale = bits(b + 96 + g % 8, g / 8 * 4, 4) | bits(b + 104 + g % 4, g / 4 * 2, 2) << 4;
        int q3 = bits(b + 32 + i / 128 * 32 + i % 32, i % 128 / 32 * 2, 2) -
                 4 * !bits(b + i % 32, i / 32, 1);
        ck_assert(out[i] == 0.25f * (float)(scale - 32) * (float)q3);
    }
    memcpy(b + 208, "\x00\x34", 2);
    sol_ggml_decode(sol_ggml_type_named("q6_k"), b, 256, out6);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i % 128 / 32, l = i % 32;
        int low = bits(b + 64 * half + 32 * (part & 1) + l, part < 2 ? 0 : 4, 4),
            high = bits(b + 128 + 32 * half + l, 2 * part, 2);
        int scale = (int8_t)b[192 + i / 16];
        ck_assert(out6[i] == 0.25f * (float)scale * (float)((low | high << 4) - 32));
    }
}
END_TEST

START_TEST(iq4_blocks_decode)
{
    static const int levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
    uint8_t b[136];
    float out[256];
    pattern(b, sizeof b);
    sol_ggml_decode(sol_ggml_type_named("iq4_nl"), b, 32, out);
    for (int i = 0; i < 32; i++)
        ck_assert(out[i] == 0.5f * (float)levels[bits(b + 2 + i % 16, i / 16 * 4, 4)]);
    sol_ggml_decode(sol_ggml_type_named("iq4_xs"), b, 256, out);
    for (int i = 0; i < 256; i++) {
        int part = i / 32, scale = bits(b + 4, 4 * part, 4) | bits(b + 2, 2 * part, 2) << 4;
        int level = levels[bits(b + 8 + 16 * part + i % 16, i % 32 / 16 * 4, 4)];
        ck_assert(out[i] == 0.5f * (float)(scale - 32) * (float)level);
    }
}
END_TEST

/* The block of llama.cpp's STQ1_0 from its definition in words: 32 bytes of 4-bit slots, 8 of
 * signs, then the scale. Slot = 4 * zero lane
 * + (second non-zero lane differs in sign from the first) + 2 * (third does); sign = the first is
 * negative. Lane p of group g is weight g / 16 * 64 + g % 16 + 16 p. */
START_TEST(stq_block_as_published)
{
    const sol_ggml_type *t = sol_ggml_type_named("stq1_0");
    uint8_t want[42] = {[40] = 0x00, [41] = 0x3a}, has[42]; /* 0.75 */
    float x[256], out[256];
    for (int g = 0; g < 64; g++) {
        int code = (g * 7 + 3) % 32, slot = code & 15, n = 0;
        want[g / 2] |= (uint8_t)(slot << 4 * (g & 1));
        want[32 + g / 8] |= (uint8_t)((code >> 4) << g % 8);
        for (int p = 0; p < 4; p++) {
            bool negative = (code >> 4) ^ (n == 1 ? slot & 1 : n == 2 ? slot >> 1 & 1 : 0);
            x[g / 16 * 64 + g % 16 + 16 * p] = p == slot >> 2 ? 0 : negative ? -0.75f : 0.75f;
            n += p != slot >> 2;
        }
    }
    ck_assert_uint_eq(t->id, 43);
    ck_assert_ptr_eq(sol_ggml_type_of(43), t);
    /* STQ1_0 in its first files, which the room tells. */
    ck_assert_str_eq(sol_ggml_type_of(42)->name, "Q2_0");
    ck_assert_ptr_null(sol_ggml_type_of(41));
    ck_assert_uint_eq(t->bytes, sizeof want);
    sol_ggml_encode(t, x, 256, has);
    ck_assert_mem_eq(has, want, sizeof want);
    sol_ggml_decode(t, want, 256, out);
    for (int i = 0; i < 256; i++) ck_assert(out[i] == x[i]);
}
END_TEST

START_TEST(encoders_keep_what_they_can_hold)
{
    float x[256], out[256];
    uint8_t b[1024];
    sol_rng rng = sol_rng_make(3, SOL_STREAM_TEST);
    for (int g = 0; g < 64; g++) {
        int zero = (int)sol_rng_below(&rng, 4);
        for (int p = 0; p < 4; p++)
            x[sol_block_column(SOL_LAYOUT_STRIDE16, g, p)] = p == zero                ? 0
                                                             : sol_rng_below(&rng, 2) ? 0.375f
                                                                                      : -0.375f;
    }
    static const char *const names[] = {"stq1_0", "tq1_0", "tq2_0", "f16", "bf16", "f32", "q2_0"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const sol_ggml_type *t = sol_ggml_type_named(names[k]);
        sol_ggml_encode(t, x, 256, b);
        sol_ggml_decode(t, b, 256, out);
        for (int i = 0; i < 256; i++) ck_assert_msg(out[i] == x[i], "%s: element %d", names[k], i);
    }
    const sol_ggml_type *q8 = sol_ggml_type_named("q8_0");
    sol_ggml_encode(q8, x, 256, b);
    sol_ggml_decode(q8, b, 256, out);
    for (int i = 0; i < 256; i++) ck_assert(fabsf(out[i] - x[i]) < 2e-4f);
    memset(x, 0, sizeof x);
    for (int k = 0; k < 3; k++) {
        const sol_ggml_type *t = sol_ggml_type_named(names[k]);
        sol_ggml_encode(t, x, 256, b);
        sol_ggml_decode(t, b, 256, out);
        for (int i = 0; i < 256; i++) ck_assert(out[i] == 0);
    }
}
END_TEST

SOL_TEST_MAIN("ggml", tcase_add_test(tc, bytes_of_llama_cpp);
              tcase_add_test(tc, bytes_of_package_gguf); tcase_add_test(tc, blocks_decode);
              tcase_add_test(tc, k_blocks_decode); tcase_add_test(tc, iq4_blocks_decode);
              tcase_add_test(tc, stq_block_as_published);
              tcase_add_test(tc, encoders_keep_what_they_can_hold))
