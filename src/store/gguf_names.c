#include "store/gguf_names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *sol_gguf_param_name(const sol_model *table, int index, char *name)
{
    static const char *const block[SOL_BLOCK_PARAMS] = {
        [SOL_ROLE_INPUT_NORM] = "attn_norm", [SOL_ROLE_Q] = "attn_q", [SOL_ROLE_K] = "attn_k", [SOL_ROLE_V] = "attn_v",
        [SOL_ROLE_O] = "attn_output", [SOL_ROLE_POST_NORM] = "ffn_norm", [SOL_ROLE_GATE] = "ffn_gate",
        [SOL_ROLE_UP] = "ffn_up", [SOL_ROLE_DOWN] = "ffn_down"};
    const sol_param *p = &table->params[index];
    if (p->layer >= 0)
        snprintf(name, 96, "blk.%d.%s.weight", p->layer, block[(index - 1) % SOL_BLOCK_PARAMS]);
    else
        snprintf(name, 96, "%s.weight", p->kind == SOL_PARAM_EMBED ? "token_embd" : p->kind == SOL_PARAM_NORM ? "output_norm" : "output");
    return name;
}

double sol_gguf_rope_divisor(const sol_model_config *c, int64_t i)
{
    double wavelength = 2 * M_PI * pow(c->rope_theta, 2.0 * (double)i / (double)c->head_dim);
    double original = (double)c->rope_original_max_position;
    if (wavelength < original / c->rope_high_freq_factor) return 1;
    if (wavelength > original / c->rope_low_freq_factor) return c->rope_factor;
    double smooth = (original / wavelength - c->rope_low_freq_factor) / (c->rope_high_freq_factor - c->rope_low_freq_factor);
    return 1 / ((1 - smooth) / c->rope_factor + smooth);
}

double sol_gguf_decimal(double x)
{
    for (int digits = 1; digits < 9; digits++) {
        char text[32];
        snprintf(text, sizeof text, "%.*g", digits, x);
        double y = strtod(text, NULL);
        if ((float)y == (float)x) return y;
    }
    return x;
}
