/* What the processor can do, and the kernel tier that follows from it. */
#ifndef SOLERA_BASE_CPU_H
#define SOLERA_BASE_CPU_H

#include <stdbool.h>

#include "base/status.h"

typedef struct sol_cpu {
    bool avx2, fma, f16c;                       /* x86; avx2 with BMI2 */
    bool avx512;                                /* F, BW, DQ, VL together */
    bool avx512_vnni, avx512_vbmi, avx512_bf16; /* each only together with avx512; vbmi: 1 and 2 */
    bool amx_int8, amx_bf16;                    /* tile data permitted by the kernel, too */
    bool neon, dotprod;                         /* arm64 */
    int n_online;                               /* processors this process may run on */
    char model[64];                             /* as the operating system names it */
} sol_cpu;

/* Ordered: a higher tier of one architecture includes the lower ones. SOL_TIER_C runs
 * everywhere. */
typedef enum sol_tier { SOL_TIER_C, SOL_TIER_AVX2, SOL_TIER_AVX512, SOL_TIER_NEON } sol_tier;

/* Sets every field. A feature that the processor has and the operating system does not enable is
 * false. */
void sol_cpu_detect(sol_cpu *cpu);
/* The best tier for this processor: AVX512 wants VNNI and VBMI, AVX2 wants FMA and F16C, NEON wants
 * dotprod. */
sol_tier sol_cpu_tier(const sol_cpu *cpu);
const char *sol_tier_name(sol_tier tier);                                   /* "c", "avx2", "avx512", "neon" */
sol_status sol_tier_from_name(const char *name, sol_tier *tier, sol_err *err);

#endif
