/* Element types of GGUF: numbers cast, blocks decoded to floats and encoded from them.
 * gguf_import.c and gguf_export.c go through the table of ggml_types.def. */
#include "foreign/ggml.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/codebook.h"

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static float get_half(const uint8_t *p)
{
    return sol_f16_to_f32(get_u16(p));
}

static float largest(const float *x, int n)
{
    float max = 0;
    for (int j = 0; j < n; j++) max = fabsf(x[j]) > max ? fabsf(x[j]) : max;
    return max;
}

/* What values are multiplied by to be encoded with scale d; 0 for one far below what fp16 holds, so
 * that 1 / d stays a number. */
static float inverse_of(float d)
{
    return d > 0x1p-100f ? 1 / d : 0;
}

/* ---- blocks of 32: a scale (and a minimum), then nibbles: low ones are elements 0..15, high
 * ones 16..31 ---- */

static void decode_q4_0(const uint8_t *b, float *out)
{
    float d = get_half(b);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((b[2 + j] & 15) - 8) * d;
        out[j + 16] = (float)((b[2 + j] >> 4) - 8) * d;
    }
}

static void decode_q4_1(const uint8_t *b, float *out)
{
    float d = get_half(b), m = get_half(b + 2);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(b[4 + j] & 15) * d + m;
        out[j + 16] = (float)(b[4 + j] >> 4) * d + m;
    }
}

static void decode_q5_0(const uint8_t *b, float *out)
{
    float d = get_half(b);
    uint32_t high = get_u32(b + 2);
    for (int j = 0; j < 16; j++) {
        int lo = (b[6 + j] & 15) | (int)(high >> j & 1) << 4,
            hi = b[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
        out[j] = (float)(lo - 16) * d;
        out[j + 16] = (float)(hi - 16) * d;
    }
}

static void decode_q5_1(const uint8_t *b, float *out)
{
    float d = get_half(b), m = get_half(b + 2);
    uint32_t high = get_u32(b + 4);
    for (int j = 0; j < 16; j++) {
        int lo = (b[8 + j] & 15) | (int)(high >> j & 1) << 4,
            hi = b[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
        out[j] = (float)lo * d + m;
        out[j + 16] = (float)hi * d + m;
    }
}

static void decode_q8_0(const uint8_t *b, float *out)
{
    float d = get_half(b);
    for (int j = 0; j < 32; j++) out[j] = (float)(int8_t)b[2 + j] * d;
}

static void encode_q8_0(const float *x, uint8_t *b)
{
    float d = largest(x, 32) / 127, inverse = inverse_of(d);
    put_u16(b, sol_f32_to_f16(d));
    for (int j = 0; j < 32; j++) b[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
}

/* ---- 4 bits of unequal steps ---- */

static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* 32 elements in 16 bytes: low nibbles are elements 0..15, high ones 16..31. */
static void decode_iq4(const uint8_t *q, float d, float *out)
{
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)iq4_levels[q[j] & 15];
        out[j + 16] = d * (float)iq4_levels[q[j] >> 4];
    }
}

/* f16 d, then the nibbles. */
static void decode_iq4_nl(const uint8_t *b, float *out)
{
    decode_iq4(b + 2, get_half(b), out);
}

/* f16 d; of 8 scales 6 bits each, the upper pairs in 2 bytes, the lower nibbles in 4; 128 bytes of
 * nibbles. */
static void decode_iq4_xs(const uint8_t *b, float *out)
{
    float d = get_half(b);
    int high = get_u16(b + 2);
    for (int part = 0; part < 8; part++) {
        int scale = (b[4 + part / 2] >> 4 * (part & 1) & 15) | (high >> 2 * part & 3) << 4;
        decode_iq4(b + 8 + 16 * part, d * (float)(scale - 32), out + 32 * part);
    }
}

/* ---- blocks of 256 ---- */

/* 16 bytes, a scale in the low and a minimum in the high nibble, each for 16 elements; 64 bytes of
 * bit pairs: pair `part` of byte l of each half is element 32 part + l of that half; f16 d, f16
 * min. */
static void decode_q2_k(const uint8_t *b, float *out)
{
    float d = get_half(b + 80), dmin = get_half(b + 82);
    for (int j = 0; j < 256; j++) {
        int half = j / 128, part = j % 128 / 32, scale = b[j / 16];
        int q = b[16 + 32 * half + j % 32] >> 2 * part & 3;
        out[j] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
    }
}

/* 32 bytes of third bits: bit j / 32 of byte j % 32; 64 bytes of bit pairs as above; of 16 scales 6
 * bits each, the lower nibbles in 8 bytes, the upper pairs in 4; f16 d. Without its third bit an
 * element is 4 less. */
static void decode_q3_k(const uint8_t *b, float *out)
{
    float d = get_half(b + 108);
    for (int j = 0; j < 256; j++) {
        int half = j / 128, part = j % 128 / 32, s = j / 16;
        int scale = (b[96 + s % 8] >> 4 * (s / 8) & 15) | (b[104 + s % 4] >> 2 * (s / 4) & 3) << 4;
        int q = (b[32 + 32 * half + j % 32] >> 2 * part & 3) | (b[j % 32] >> j / 32 & 1) << 2;
        out[j] = d * (float)(scale - 32) * (float)(q - 4);
    }
}

/* Scale and minimum j of 8, 6 bits each, in 12 bytes. */
static void scale_min(const uint8_t *s, int j, float *scale, float *min)
{
    if (j < 4) {
        *scale = (float)(s[j] & 63);
        *min = (float)(s[j + 4] & 63);
    } else {
        *scale = (float)((s[j + 4] & 15) | s[j - 4] >> 6 << 4);
        *min = (float)(s[j + 4] >> 4 | s[j] >> 6 << 4);
    }
}

/* f16 d, f16 min, 12 bytes of scales, 128 bytes of nibbles. */
static void decode_q4_k(const uint8_t *b, float *out)
{
    float d = get_half(b), dmin = get_half(b + 2);
    const uint8_t *q = b + 16;
    for (int part = 0; part < 8; part++) {
        float scale, min;
        scale_min(b + 4, part, &scale, &min);
        float ds = d * scale, dm = dmin * min;
        const uint8_t *from = q + part / 2 * 32;
        for (int l = 0; l < 32; l++)
            out[32 * part + l] = ds * (float)(part & 1 ? from[l] >> 4 : from[l] & 15) - dm;
    }
}

/* The same with 32 bytes of fifth bits before the nibbles: bit `part` of byte l. */
static void decode_q5_k(const uint8_t *b, float *out)
{
    float d = get_half(b), dmin = get_half(b + 2);
    const uint8_t *high = b + 16, *q = b + 48;
    for (int part = 0; part < 8; part++) {
        float scale, min;
        scale_min(b + 4, part, &scale, &min);
        float ds = d * scale, dm = dmin * min;
        const uint8_t *from = q + part / 2 * 32;
        for (int l = 0; l < 32; l++) {
            int v = (part & 1 ? from[l] >> 4 : from[l] & 15) + (high[l] >> part & 1) * 16;
            out[32 * part + l] = ds * (float)v - dm;
        }
    }
}

/* 128 bytes of low nibbles, 64 of upper bit pairs, 16 int8 scales of 16 elements, f16 d. */
static void decode_q6_k(const uint8_t *b, float *out)
{
    float d = get_half(b + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half,
                      *scale = b + 192 + 8 * half;
        for (int part = 0; part < 4; part++)
            for (int l = 0; l < 32; l++) {
                uint8_t nibbles = low[l + 32 * (part & 1)];
                int q = (part < 2 ? nibbles & 15 : nibbles >> 4) | (high[l] >> 2 * part & 3) << 4;
                out[128 * half + 32 * part + l] =
                    d * (float)(int8_t)scale[2 * part + l / 16] * (float)(q - 32);
            }
    }
}

/* ---- ternary ---- */

/* 0, 1, 2 for -1, 0, 1. */
static int trit(float x, float inverse)
{
    return (int)lroundf(x * inverse) + 1;
}

/* Q2_0: f16 d, then bit pair j % 4 of byte j / 4 for element j, which is (pair - 1) d. */
static void decode_q2_0(const uint8_t *b, float *out)
{
    float d = get_half(b);
    for (int j = 0; j < 64; j++) out[j] = (float)((b[2 + j / 4] >> 2 * (j % 4) & 3) - 1) * d;
}

static void encode_q2_0(const float *x, uint8_t *b)
{
    float d = largest(x, 64), inverse = inverse_of(d);
    put_u16(b, sol_f32_to_f16(d));
    memset(b + 2, 0, 16);
    for (int j = 0; j < 64; j++) b[2 + j / 4] |= (uint8_t)(trit(x[j], inverse) << 2 * (j % 4));
}

/* TQ2_0: bit pair n of byte m of each half is element 32 n + m of that half; f16 d last. */
static void decode_tq2_0(const uint8_t *b, float *out)
{
    float d = get_half(b + 64);
    for (int j = 0; j < 64; j++)
        for (int n = 0; n < 4; n++)
            out[j / 32 * 128 + 32 * n + j % 32] = (float)((b[j] >> 2 * n & 3) - 1) * d;
}

static void encode_tq2_0(const float *x, uint8_t *b)
{
    float d = largest(x, 256), inverse = inverse_of(d);
    for (int j = 0; j < 64; j++) {
        int q = 0;
        for (int n = 0; n < 4; n++)
            q |= (trit(x[j / 32 * 128 + 32 * n + j % 32], inverse) & 3) << 2 * n;
        b[j] = (uint8_t)q;
    }
    put_u16(b + 64, sol_f32_to_f16(d));
}

/* TQ1_0: 52 bytes that hold base-3 numbers as fractions of 243 in 256ths, so that multiplying by 3
 * brings the next digit out on top. Bytes 0..31 hold elements m + 32 n (n < 5), 32..47 hold 160 + m
 * + 16 n (n < 5), 48..51 hold 240 + m + 4 n (n < 4). */
static const struct {
    int first_byte, bytes, first, digits;
} tq1_runs[3] = {{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}};

static void decode_tq1_0(const uint8_t *b, float *out)
{
    float d = get_half(b + 52);
    for (int r = 0; r < 3; r++)
        for (int m = 0; m < tq1_runs[r].bytes; m++) {
            uint8_t q = b[tq1_runs[r].first_byte + m];
            for (int n = 0; n < tq1_runs[r].digits; n++, q = (uint8_t)(q * 3))
                out[tq1_runs[r].first + m + n * tq1_runs[r].bytes] = (float)((q * 3 >> 8) - 1) * d;
        }
}

static void encode_tq1_0(const float *x, uint8_t *b)
{
    float d = largest(x, 256), inverse = inverse_of(d);
    for (int r = 0; r < 3; r++)
        for (int m = 0; m < tq1_runs[r].bytes; m++) {
            int q = 0;
            for (int n = 0; n < 5; n++) {
                int t = n < tq1_runs[r].digits
                            ? trit(x[tq1_runs[r].first + m + n * tq1_runs[r].bytes], inverse)
                            : 0;
                q = q * 3 + t;
            }
            b[tq1_runs[r].first_byte + m] = (uint8_t)((q * 256 + 242) / 243);
        }
    put_u16(b + 52, sol_f32_to_f16(d));
}

/* STQ1_0: 64 slots, 64 sign bits, f16 d; blocks in the order of SOL_LAYOUT_STRIDE16. */
static void decode_stq1_0(const uint8_t *b, float *out)
{
    float d = get_half(b + 40);
    for (int g = 0; g < 64; g++) {
        int code = (b[g / 2] >> 4 * (g & 1) & 15) | (b[32 + g / 8] >> g % 8 & 1) << 4;
        for (int p = 0; p < 4; p++)
            out[sol_block_column(SOL_LAYOUT_STRIDE16, g, p)] = (float)sol_code_levels[code][p] * d;
    }
}

/* x must be 3:4 sparse with one magnitude, as the writer gives it; a block that is not falls to its
 * nearest code. */
static void encode_stq1_0(const float *x, uint8_t *b)
{
    float d = largest(x, 256);
    memset(b, 0, 40);
    put_u16(b + 40, sol_f32_to_f16(d));
    for (int g = 0; g < 64; g++) {
        float lane[4];
        int zero = 0, first = 0, n = 0, code = 0;
        for (int p = 0; p < 4; p++) {
            lane[p] = x[sol_block_column(SOL_LAYOUT_STRIDE16, g, p)];
            if (fabsf(lane[p]) < fabsf(lane[zero])) zero = p;
        }
        for (int p = 0; p < 4; p++) {
            int sign = signbit(lane[p]) && lane[p] != 0 ? -1 : 1;
            if (p == zero) continue;
            if (n == 0)
                first = sign;
            else
                code |= (sign != first) << (n - 1);
            n++;
        }
        code |= 4 * zero;
        b[g / 2] |= (uint8_t)(code << 4 * (g & 1));
        b[32 + g / 8] |= (uint8_t)((first < 0) << g % 8);
    }
}

/* ---- the table ---- */

static const sol_ggml_type types[] = {
#define BLOCKS SOL_DTYPES
#define SOL_GGML(name, id, ...) {#name, id, __VA_ARGS__},
#include "foreign/ggml_types.def"
};
enum { N_TYPES = sizeof types / sizeof *types };

const sol_ggml_type *sol_ggml_type_of(uint32_t id)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const char *sol_ggml_names(void)
{
#define SOL_GGML(name, ...) " " #name
    static const char names[] =
#include "foreign/ggml_types.def"
        ;
    return names + 1;
}

const sol_ggml_type *sol_ggml_type_named(const char *name)
{
    for (int i = 0; i < N_TYPES; i++) {
        size_t k = 0;
        while (name[k] && tolower((unsigned char)types[i].name[k]) == name[k]) k++;
        if (!name[k] && !types[i].name[k]) return &types[i];
    }
    return NULL;
}

void sol_ggml_decode(const sol_ggml_type *t, const uint8_t *data, int64_t n, float *out)
{
    if (t->numbers != SOL_DTYPES) {
        sol_convert(out, SOL_F32, data, t->numbers, n);
        return;
    }
    for (int64_t i = 0; i < n / t->block; i++)
        t->decode(data + (size_t)i * t->bytes, out + i * t->block);
}

void sol_ggml_encode(const sol_ggml_type *t, const float *x, int64_t n, uint8_t *data)
{
    if (t->numbers != SOL_DTYPES) {
        sol_convert(data, t->numbers, x, SOL_F32, n);
        return;
    }
    for (int64_t i = 0; i < n / t->block; i++)
        t->encode(x + i * t->block, data + (size_t)i * t->bytes);
}
