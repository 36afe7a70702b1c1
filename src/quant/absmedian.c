/* The quantizer absmedian, which quant.c drives group by group: dense ternary with alpha =
 * median |w| (of an even number the lower one, as PyTorch has it) and threshold alpha / 2.
 *
 * The median is found by bisection on the bit patterns of |w|, which order like the numbers: each
 * pass counts the weights that are at most the middle of what is left. 31 passes, no memory, counts
 * add up in any order. */
#include "base/half.h"
#include "quant/dense_levels.h"

static uint32_t middle(const sol_quant_group *g)
{
    return g->low + (g->high - g->low) / 2;
}

static void measure(const sol_kernels *k, const sol_quant_spec *spec, int pass,
                    const sol_quant_group *g, const float *w, int64_t n, sol_quant_acc *acc)
{
    uint32_t limit = pass == 0 ? 0x7fffffffu / 2 : middle(g);
    int64_t count = 0;
    (void)k, (void)spec;
    for (int64_t i = 0; i < n; i++) count += (sol_f32_bits(w[i]) & 0x7fffffffu) <= limit;
    acc->count += count;
}

static bool settle(const sol_quant_spec *spec, int pass, int64_t n, const sol_quant_acc *acc,
                   sol_quant_group *g)
{
    (void)spec;
    if (pass == 0) {
        g->low = 0;
        g->high = 0x7fffffffu;
    }
    if (acc->count > (n - 1) / 2) /* the median has index (n - 1) / 2 in rising order */
        g->high = middle(g);
    else
        g->low = middle(g) + 1;
    if (g->low < g->high) return true;
    g->scale = sol_f32_from_bits(g->low);
    g->threshold = g->scale / 2;
    return false;
}

const sol_quantizer sol_quantizer_absmedian = {
    .name = "absmedian",
    .summary = "dense ternary, 1.58 bits a weight: as absmean with the median of |w|",
    .block = 1,
    .measure = measure,
    .settle = settle,
    .levels = sol_dense_levels,
};
