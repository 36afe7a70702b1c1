/* The list of quantizers, from quantizers.def, and what a spec means for a matrix: checks, group
 * sizes, counts. */
#include <stdio.h>
#include <string.h>

#include "quant/quant.h"

#define SOL_QUANTIZER(name) extern const sol_quantizer name;
#include "quant/quantizers.def"
#undef SOL_QUANTIZER

static const sol_quantizer *const quantizers[] = {
#define SOL_QUANTIZER(name) &name,
#include "quant/quantizers.def"
#undef SOL_QUANTIZER
};

int sol_quantizer_count(void)
{
    return (int)(sizeof quantizers / sizeof quantizers[0]);
}

const sol_quantizer *sol_quantizer_at(int i)
{
    return quantizers[i];
}

const char *sol_granularity_name(sol_granularity granularity)
{
    return sol_enum_name(SOL_ENUM_TABLE(SOL_GRANULARITIES), (int)granularity);
}

const char *sol_layout_name(sol_block_layout layout)
{
    return sol_enum_name(SOL_ENUM_TABLE(SOL_BLOCK_LAYOUTS), (int)layout);
}

const sol_quantizer *sol_quantizer_find(const char *name)
{
    for (int i = 0; i < sol_quantizer_count(); i++)
        if (strcmp(quantizers[i]->name, name) == 0) return quantizers[i];
    return NULL;
}

int sol_quant_block(const sol_quant_spec *spec)
{
    return spec->method->block ? spec->method->block : spec->m;
}

/* Weights that a scale group must hold whole: the blocks of the method in this layout. */
static int64_t granule(const sol_quant_spec *spec)
{
    int block = sol_quant_block(spec);
    return block > 1 && spec->layout == SOL_LAYOUT_STRIDE16 ? 16 * block : block;
}

/* The least group size: whole blocks, and a multiple of 4. */
static int64_t least_group(const sol_quant_spec *spec)
{
    int64_t g = granule(spec);
    return g % 4 == 0 ? g : g % 2 == 0 ? 2 * g : 4 * g;
}

/* "; groups that fit: 192, 96, 64, ..." into text: divisors of the width that hold whole blocks,
 * the largest first. */
static void groups_that_fit(const sol_quant_spec *spec, int64_t cols, char *text, size_t size)
{
    int64_t step = least_group(spec);
    size_t used = 0;
    int listed = 0;
    text[0] = 0;
    for (int64_t group = cols / step * step; group >= step && listed < 16; group -= step) {
        if (cols % group != 0) continue;
        int n = snprintf(text + used, size - used, "%s%lld",
                         listed ? ", " : "; groups that fit: ", (long long)group);
        if (n < 0 || (size_t)n >= size - used) return;
        used += (size_t)n;
        listed++;
    }
    if (listed == 0) snprintf(text, size, "; no group size fits, per_channel or per_tensor may");
}

static sol_status check_method(const sol_quant_spec *spec, const char *layer, sol_err *err)
{
    if (spec->scale_dtype != SOL_F16 && spec->scale_dtype != SOL_F32)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: scales are f16 or f32, not %s", layer,
                        sol_dtype_name(spec->scale_dtype));
    if (spec->method->block != 0) return SOL_OK;
    if (spec->m < 2 || spec->m > SOL_QUANT_MAX_M || spec->n < 1 || spec->n >= spec->m)
        return sol_fail(err, SOL_ERR_RANGE,
                        "%s: %s keeps %d of %d weights: must be n of m with 1 <= n < m <= %d",
                        layer, spec->method->name, spec->n, spec->m, SOL_QUANT_MAX_M);
    if (spec->layout == SOL_LAYOUT_STRIDE16)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s: %s has contiguous blocks only, not block layout stride16", layer,
                        spec->method->name);
    return SOL_OK;
}

sol_status sol_quant_check(const sol_quant_spec *spec, const char *layer, int64_t rows,
                           int64_t cols, sol_err *err)
{
    char fit[256];
    if (!spec->method) return SOL_OK;
    if (rows < 1 || cols < 1)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: nothing to quantize in [%lld, %lld]", layer,
                        (long long)rows, (long long)cols);
    SOL_TRY(check_method(spec, layer, err));
    int64_t step = granule(spec), least = least_group(spec);
    const char *why =
        step == 64 && spec->layout == SOL_LAYOUT_STRIDE16 ? " in block layout stride16" : "";
    if (cols % step != 0)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: its width %lld is no multiple of %lld, which %s needs%s%s", layer,
                        (long long)cols, (long long)step, spec->method->name, why,
                        *why ? " (contiguous needs a multiple of 4)" : "");
    if (spec->granularity != SOL_PER_GROUP) return SOL_OK;
    groups_that_fit(spec, cols, fit, sizeof fit);
    if (spec->group_size < 4 || spec->group_size % least != 0)
        return sol_fail(err, SOL_ERR_RANGE,
                        "%s: group_size %d: %s needs a positive multiple of %lld%s%s", layer,
                        spec->group_size, spec->method->name, (long long)least, why, fit);
    if (cols % spec->group_size != 0)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "%s: its width %lld does not divide into groups of %d%s", layer,
                        (long long)cols, spec->group_size, fit);
    return SOL_OK;
}

int64_t sol_quant_group_weights(const sol_quant_spec *spec, int64_t rows, int64_t cols)
{
    if (spec->granularity == SOL_PER_TENSOR) return rows * cols;
    return spec->granularity == SOL_PER_GROUP ? spec->group_size : cols;
}

int64_t sol_quant_scale_count(const sol_quant_spec *spec, int64_t rows, int64_t cols)
{
    return rows * cols / sol_quant_group_weights(spec, rows, cols);
}
