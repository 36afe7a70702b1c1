/* Numbers that GGUF files hold in another form than a configuration does; gguf_import.c and
 * gguf_export.c share them. */
#include "foreign/gguf_numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *sol_gguf_key(const sol_model_config *c, const char *name, char key[SOL_GGUF_KEY])
{
    snprintf(key, SOL_GGUF_KEY, "%s.%s", sol_family_of(c)->gguf, name);
    return key;
}

double sol_gguf_rope_divisor(const sol_model_config *c, int64_t i)
{
    double wavelength = 2 * M_PI * pow(c->rope_theta, 2.0 * (double)i / (double)c->head_dim);
    double original = (double)c->rope_original_max_position;
    if (wavelength < original / c->rope_high_freq_factor) return 1;
    if (wavelength > original / c->rope_low_freq_factor) return c->rope_factor;
    double smooth = (original / wavelength - c->rope_low_freq_factor) /
                    (c->rope_high_freq_factor - c->rope_low_freq_factor);
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
