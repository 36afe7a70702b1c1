/* Tables of what a block of weights may become. */
#include "quant/quant.h"

int sol_quant_patterns(int m, int kept_least, int kept_most, int most, int8_t *t)
{
    int8_t digit[SOL_QUANT_MAX_M];
    int n = 0;
    for (int i = 0; i < m; i++) digit[i] = -1;
    for (int carry = 0; carry < m;) {
        int kept = 0;
        for (int i = 0; i < m; i++) kept += digit[i] != 0;
        if (kept >= kept_least && kept <= kept_most) {
            if (n == most) return 0;
            if (t)
                for (int i = 0; i < m; i++) t[n * m + i] = digit[i];
            n++;
        }
        for (carry = 0; carry < m && digit[carry] == 1; carry++) digit[carry] = -1;
        if (carry < m) digit[carry]++;
    }
    return n;
}
