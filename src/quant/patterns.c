/* Tables of what a block of weights may become. The quantizers that have such a table offer it
 * through sol_quantizer.patterns; calib searches it for the best pattern of a block. */
#include "quant/quant.h"

int sol_quant_patterns(int m, int kept_min, int kept_max, int max, int8_t *t)
{
    int8_t digit[SOL_QUANT_MAX_M];
    int n = 0;
    /* t counts up as a number of m digits -1, 0, 1, the first of which changes fastest. */
    for (int i = 0; i < m; i++) digit[i] = -1;
    for (int carry = 0; carry < m;) {
        int kept = 0;
        for (int i = 0; i < m; i++) kept += digit[i] != 0;
        if (kept >= kept_min && kept <= kept_max) {
            if (n == max) return 0;
            if (t)
                for (int i = 0; i < m; i++) t[n * m + i] = digit[i];
            n++;
        }
        for (carry = 0; carry < m && digit[carry] == 1; carry++) digit[carry] = -1;
        if (carry < m) digit[carry]++;
    }
    return n;
}
