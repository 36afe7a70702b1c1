/* The codebook of the 3:4 block: the four levels of each code. The packed form (quant/codec.c),
 * the ternary kernels and STQ1_0 of GGUF read it. */
#include "kernels/codebook.h"

/* From the published bytes: bits 2p..2p+1 hold level + 1 of lane p. */
#define LEVELS(b) \
    { \
        ((b)&3) - 1, ((b) >> 2 & 3) - 1, ((b) >> 4 & 3) - 1, ((b) >> 6 & 3) - 1 \
    }

const int8_t sol_code_levels[32][4] = {
    LEVELS(0xA9), LEVELS(0x89), LEVELS(0x29), LEVELS(0x09), LEVELS(0xA6), LEVELS(0x86),
    LEVELS(0x26), LEVELS(0x06), LEVELS(0x9A), LEVELS(0x92), LEVELS(0x1A), LEVELS(0x12),
    LEVELS(0x6A), LEVELS(0x62), LEVELS(0x4A), LEVELS(0x42), LEVELS(0x01), LEVELS(0x21),
    LEVELS(0x81), LEVELS(0xA1), LEVELS(0x04), LEVELS(0x24), LEVELS(0x84), LEVELS(0xA4),
    LEVELS(0x10), LEVELS(0x18), LEVELS(0x90), LEVELS(0x98), LEVELS(0x40), LEVELS(0x48),
    LEVELS(0x60), LEVELS(0x68),
};
