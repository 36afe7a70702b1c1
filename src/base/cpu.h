/* What the processor can do: a set of features, by which kernels are chosen (kernels/kernels.h).
 *
 *     sol_cpu cpu;
 *     sol_cpu_detect(&cpu);
 *     sol_cpu_features features = sol_cpu_usable(&cpu, SOL_CPU_ALL & ~SOL_CPU_AMX);
 *
 * Features need others (cpu_features.def says which); no function here returns a set that holds a
 * feature and not what it needs. */
#ifndef SOLERA_BASE_CPU_H
#define SOLERA_BASE_CPU_H

#include <stdint.h>

#include "base/status.h"

typedef uint32_t sol_cpu_features; /* bits SOL_CPU_<ID> */

enum sol_cpu_bit {
#define SOL_CPU_X86(ID, ...) SOL_CPU_BIT_##ID,
#define SOL_CPU_ARM(ID, ...) SOL_CPU_BIT_##ID,
#include "base/cpu_features.def"
    SOL_CPU_COUNT,
};

enum {
#define SOL_CPU_X86(ID, ...) SOL_CPU_##ID = 1 << SOL_CPU_BIT_##ID,
#define SOL_CPU_ARM(ID, ...) SOL_CPU_##ID = 1 << SOL_CPU_BIT_##ID,
#include "base/cpu_features.def"
    SOL_CPU_ALL = (1 << SOL_CPU_COUNT) - 1,
};

/* Tiers: short names for sets of features. */
enum {
    SOL_TIER_C = 0, /* runs everywhere */
    SOL_TIER_AVX2 = SOL_CPU_AVX2,
    SOL_TIER_AVX512 =
        SOL_CPU_AVX2 | SOL_CPU_AVX512 | SOL_CPU_VNNI | SOL_CPU_VBMI | SOL_CPU_BF16 | SOL_CPU_AMX,
    SOL_TIER_NEON = SOL_CPU_NEON | SOL_CPU_DOTPROD | SOL_CPU_I8MM,
    SOL_TIER_BEST = SOL_CPU_ALL,
};

typedef struct sol_cpu {
    sol_cpu_features features; /* that the processor has and the operating system permits */
    int n_online;              /* processors this process may run on */
    char model[64];            /* as the operating system names it */
} sol_cpu;

/* Sets every field. A feature that the operating system does not enable is not in the set. */
void sol_cpu_detect(sol_cpu *cpu);

/* Those of `wanted` that the processor has; without a feature go those that need it. */
sol_cpu_features sol_cpu_usable(const sol_cpu *cpu, sol_cpu_features wanted);

/* Walks all sets of features of this processor: returns the one after f, and 0 after the last.
 *     sol_cpu_features f = 0;
 *     do { ... } while ((f = sol_cpu_next(&cpu, f)) != 0); */
sol_cpu_features sol_cpu_next(const sol_cpu *cpu, sol_cpu_features f);

/* Writes the names of a set, "avx2 avx512 vnni" or "c" for none, into a buffer of SOL_CPU_TEXT
 * bytes and returns it. */
enum { SOL_CPU_TEXT = 16 * SOL_CPU_COUNT };
const char *sol_cpu_text(sol_cpu_features f, char *buffer);

/* Reads a list of names with commas between them, from left to right, into a set. NAME adds a
 * feature with all that it needs, "no-NAME" removes it with all that need it, "best" stands for all
 * features of the processor, "c" for none; a list that begins with "no-" starts from all.
 * SOL_ERR_USAGE: a word that is no name, or NAME of a feature that the processor lacks. */
sol_status sol_cpu_parse(const sol_cpu *cpu, const char *list, sol_cpu_features *f, sol_err *err);

/* The tier of a set, "c", "avx2", "avx512" or "neon": the highest whose feature of that name is in
 * it. */
const char *sol_tier_name(sol_cpu_features f);
/* *f becomes the features of a tier that the processor has. SOL_ERR_USAGE: an unknown name, or the
 * processor lacks the feature of that name. */
sol_status sol_tier_parse(const sol_cpu *cpu, const char *name, sol_cpu_features *f, sol_err *err);

#endif
