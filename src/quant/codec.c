/* The 1.25-bit packed form: encodes blocks, packs and decodes matrices. store writes what it
 * packs, infer multiplies by it. */
#include "quant/codec.h"

#include <float.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

static int64_t row_code_bytes(int64_t cols)
{
    return (cols / 4 + 1) / 2;
}

static int64_t row_sign_bytes(int64_t cols)
{
    return sol_ceil_div(cols / 4, 8);
}

size_t sol_packed_code_bytes(int64_t rows, int64_t cols)
{
    return (size_t)(rows * row_code_bytes(cols));
}

size_t sol_packed_sign_bytes(int64_t rows, int64_t cols)
{
    return (size_t)(rows * row_sign_bytes(cols));
}

int64_t sol_packed_scale_count(const sol_stored *m)
{
    return m->group_size == 0 ? 1 : m->rows * (m->cols / m->group_size);
}

sol_status sol_packed_alloc(sol_stored *m, sol_err *err)
{
    *m = (sol_stored){.type = SOL_TERNARY,
                      .rows = m->rows,
                      .cols = m->cols,
                      .group_size = m->group_size,
                      .layout = m->layout};
    int64_t step = m->layout == SOL_LAYOUT_STRIDE16 ? 64 : 4;
    if (m->rows < 1 || m->cols < 1 || m->cols % step != 0 || m->rows > INT64_MAX / 4 / m->cols)
        return sol_fail(
            err, SOL_ERR_SHAPE,
            "a packed matrix cannot be [%lld, %lld]: the width must be a multiple of %lld",
            (long long)m->rows, (long long)m->cols, (long long)step);
    if (m->group_size != 0 &&
        (m->group_size < step || m->group_size % step != 0 || m->cols % m->group_size != 0))
        return sol_fail(err, SOL_ERR_SHAPE,
                        "a packed matrix of width %lld cannot have groups of %lld",
                        (long long)m->cols, (long long)m->group_size);
    sol_status st = sol_alloc_array(&m->data, sol_packed_code_bytes(m->rows, m->cols), 1, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&m->signs, sol_packed_sign_bytes(m->rows, m->cols), 1, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&m->scales, (size_t)sol_packed_scale_count(m),
                             sizeof *m->scales, err);
    if (st != SOL_OK) sol_stored_free(m);
    return st;
}

int sol_code_encode(const int8_t t[4])
{
    int zero = -1, first = 0, differs[2], n = 0;
    for (int p = 0; p < 4; p++) {
        if (t[p] == 0) {
            if (zero >= 0) return -1;
            zero = p;
            continue;
        }
        if (t[p] != 1 && t[p] != -1) return -1;
        if (n == 0)
            first = t[p];
        else if (n < 3)
            differs[n - 1] = t[p] != first;
        n++;
    }
    if (zero < 0) return -1;
    return (first < 0) << 4 | 4 * zero | differs[0] | 2 * differs[1];
}

typedef struct pack_args {
    sol_stored *m;
    const int8_t *t;
} pack_args;

/* Packs the levels of a row, whose codes and signs are 0 so far. */
static void pack_row(void *arg, int64_t r, int thread)
{
    const pack_args *a = arg;
    const sol_stored *m = a->m;
    uint8_t *codes = (uint8_t *)m->data + r * row_code_bytes(m->cols),
            *signs = m->signs + r * row_sign_bytes(m->cols);
    (void)thread;
    for (int64_t g = 0; g < m->cols / 4; g++) {
        int8_t block[4];
        for (int p = 0; p < 4; p++)
            block[p] = a->t[r * m->cols + sol_block_column(m->layout, g, p)];
        int code = sol_code_encode(block);
        codes[g / 2] |= (uint8_t)((code & 15) << 4 * (g & 1));
        signs[g / 8] |= (uint8_t)(code >> 4 << (g & 7));
    }
}

static sol_status not_packable(const sol_quant_spec *spec, sol_err *err)
{
    return sol_fail(err, SOL_ERR_UNSUPPORTED,
                    "%s weights have no 1.25-bit form (that needs one zero in each block of four): "
                    "export them as safetensors or dequantized, or train with quant.method sherry",
                    spec->method ? spec->method->name : "full-precision");
}

sol_status sol_packed_shape(const sol_quant_spec *spec, const char *name, int64_t rows,
                            int64_t cols, sol_stored *m, sol_err *err)
{
    *m = (sol_stored){.type = SOL_TERNARY, .rows = rows, .cols = cols, .layout = spec->layout};
    if (!spec->method || !spec->method->packable) return not_packable(spec, err);
    SOL_TRY(sol_quant_check(spec, name, rows, cols, err));
    if (spec->granularity != SOL_PER_TENSOR)
        m->group_size = sol_quant_group_weights(spec, rows, cols);
    return SOL_OK;
}

/* Rounds the scales into m. One that is not finite fails here, before a broken model is shipped. */
static sol_status take_scales(const float *scales, sol_stored *m, sol_err *err)
{
    int64_t n = sol_packed_scale_count(m), per_row = m->group_size ? m->cols / m->group_size : 1;
    int64_t bad = sol_first_beyond(scales, n, FLT_MAX); /* they are rounded to fp16 already */
    if (bad >= 0)
        return sol_fail(
            err, SOL_ERR_NONFINITE,
            "scale %lld of row %lld is %g: its weights are not numbers, or their mean is above "
            "65504, the largest fp16",
            (long long)(bad % per_row), (long long)(bad / per_row), (double)scales[bad]);
    for (int64_t i = 0; i < n; i++) m->scales[i] = sol_f32_to_f16(scales[i]);
    return SOL_OK;
}

sol_status sol_packed_from_weights(const sol_ctx *ctx, const sol_quant_spec *spec, const float *w,
                                   int64_t rows, int64_t cols, sol_stored *m, sol_err *err)
{
    int8_t *t = NULL;
    float *scales = NULL;
    SOL_TRY(sol_packed_shape(spec, "packing", rows, cols, m, err));
    sol_quant_spec as_shipped = *spec;
    as_shipped.scale_dtype = SOL_F16;
    sol_status st = sol_packed_alloc(m, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&t, (size_t)rows * (size_t)cols, 1, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&scales, (size_t)sol_packed_scale_count(m), sizeof *scales,
                             err);
    if (st == SOL_OK) {
        sol_quant_split(ctx, &as_shipped, w, rows, cols, t, scales);
        pack_args a = {m, t};
        sol_pool_run(ctx->pool, rows, pack_row, &a);
        st = take_scales(scales, m, err);
    }
    if (st != SOL_OK) sol_stored_free(m);
    sol_free(t);
    sol_free(scales);
    return st;
}

sol_status sol_packed_round(const sol_ctx *ctx, const sol_quant_spec *spec, sol_dtype type,
                            const char *name, const float *w, int64_t rows, int64_t cols,
                            float *out, sol_err *err)
{
    sol_stored shape;
    if (type != SOL_TERNARY) return sol_stored_round(ctx, type, w, rows, cols, out, err);
    SOL_TRY(sol_packed_shape(spec, name, rows, cols, &shape, err));
    sol_quant_spec as_shipped = *spec;
    as_shipped.scale_dtype = SOL_F16;
    sol_quant_effective(ctx, &as_shipped, w, rows, cols, (sol_residual_mix){1, 0}, out);
    return SOL_OK;
}

void sol_packed_decode_row(const sol_stored *m, int64_t r, float *w)
{
    const uint8_t *codes = (const uint8_t *)m->data + r * row_code_bytes(m->cols),
                  *signs = m->signs + r * row_sign_bytes(m->cols);
    int64_t group = m->group_size ? m->group_size : m->cols;
    const sol_f16 *scales = m->group_size ? m->scales + r * (m->cols / m->group_size) : m->scales;
    for (int64_t g = 0; g < m->cols / 4; g++) {
        int code = (codes[g / 2] >> 4 * (g & 1) & 15) | (signs[g / 8] >> (g & 7) & 1) << 4;
        for (int p = 0; p < 4; p++) {
            int64_t i = sol_block_column(m->layout, g, p);
            float scale = sol_f16_to_f32(scales[i / group]);
            int level = sol_code_levels[code][p];
            w[i] = level == 0 ? 0.0f : level < 0 ? -scale : scale;
        }
    }
}

double sol_packed_bits(const sol_stored *m)
{
    double bytes = (double)sol_packed_code_bytes(m->rows, m->cols) +
                   (double)sol_packed_sign_bytes(m->rows, m->cols) +
                   (double)sol_packed_scale_count(m) * sizeof(sol_f16);
    return bytes * 8 / ((double)m->rows * (double)m->cols);
}
