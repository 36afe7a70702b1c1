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

const sol_quantizer *sol_quantizer_find(const char *name)
{
    for (int i = 0; i < sol_quantizer_count(); i++)
        if (strcmp(quantizers[i]->name, name) == 0) return quantizers[i];
    return NULL;
}

/* Weights that a scale group must hold whole: the blocks of the method in this layout. */
static int64_t granule(const sol_quant_spec *spec)
{
    if (spec->method->block > 1 && spec->layout == SOL_LAYOUT_STRIDE16) return 64;
    return spec->method->block;
}

/* "groups that fit: 192, 96, 64, ..." into text: divisors of the width that hold whole blocks, the largest first. */
static void groups_that_fit(const sol_quant_spec *spec, int64_t cols, char *text, size_t size)
{
    int64_t step = granule(spec) % 4 == 0 ? granule(spec) : 4 * granule(spec);
    size_t used = 0;
    int listed = 0;
    text[0] = 0;
    for (int64_t group = cols / step * step; group >= step && listed < 16; group -= step) {
        if (cols % group != 0) continue;
        int n = snprintf(text + used, size - used, "%s%lld", listed ? ", " : "; groups that fit: ", (long long)group);
        if (n < 0 || (size_t)n >= size - used) return;
        used += (size_t)n;
        listed++;
    }
    if (listed == 0) snprintf(text, size, "; no group size fits, per_channel or per_tensor may");
}

sol_status sol_quant_check(const sol_quant_spec *spec, const char *layer, int64_t rows, int64_t cols, sol_err *err)
{
    char fit[256];
    if (!spec->method) return SOL_OK;
    int64_t step = granule(spec);
    if (rows < 1 || cols < 1)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: nothing to quantize in [%lld, %lld]", layer, (long long)rows, (long long)cols);
    if (spec->scale_dtype != SOL_F16 && spec->scale_dtype != SOL_F32)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s: scales are f16 or f32, not %s", layer, sol_dtype_name(spec->scale_dtype));
    if (cols % step != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: its width %lld is no multiple of %lld, which %s needs%s", layer,
                        (long long)cols, (long long)step, spec->method->name,
                        step == 64 ? " in block layout stride16 (contiguous needs a multiple of 4)" : "");
    if (spec->granularity != SOL_PER_GROUP) return SOL_OK;
    groups_that_fit(spec, cols, fit, sizeof fit);
    if (spec->group_size < 4 || spec->group_size % 4 != 0 || spec->group_size % step != 0)
        return sol_fail(err, SOL_ERR_RANGE, "%s: group_size %d: %s needs a positive multiple of %lld%s%s", layer,
                        spec->group_size, spec->method->name, (long long)(step % 4 == 0 ? step : 4 * step),
                        step == 64 ? " in block layout stride16" : "", fit);
    if (cols % spec->group_size != 0)
        return sol_fail(err, SOL_ERR_SHAPE, "%s: its width %lld does not divide into groups of %d%s", layer, (long long)cols,
                        spec->group_size, fit);
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
