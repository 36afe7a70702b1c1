/* What the processor can do: a set of features, which the kernels are chosen by
 * (kernels/kernels.h).
 *
 *     sol_cpu cpu;
 *     sol_cpu_detect(&cpu);
 *     sol_cpu_features features = sol_cpu_usable(&cpu, SOL_CPU_ALL & ~SOL_CPU_AMX);
 *
 * A set that holds a feature and not what that feature needs is no use to anyone: the functions
 * here neither return nor keep one. Names and needs: cpu_features.def. */
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
    SOL_TIER_AVX512 = SOL_CPU_AVX2 | SOL_CPU_AVX512 | SOL_CPU_VNNI | SOL_CPU_VBMI | SOL_CPU_BF16 | SOL_CPU_AMX,
    SOL_TIER_NEON = SOL_CPU_NEON | SOL_CPU_DOTPROD,
    SOL_TIER_BEST = SOL_CPU_ALL,
};

typedef struct sol_cpu {
    sol_cpu_features features; /* that the processor has and the operating system permits */
    int n_online;              /* processors this process may run on */
    char model[64];            /* as the operating system names it */
} sol_cpu;

/* Sets every field. A feature that the processor has and the operating system does not enable is
 * not among them. */
void sol_cpu_detect(sol_cpu *cpu);

/* Those of `wanted` that the processor has; without a feature go those that need it. */
sol_cpu_features sol_cpu_usable(const sol_cpu *cpu, sol_cpu_features wanted);

/* The sets that a processor can be asked for: from 0 the next one after f, and 0 again after the
 * last.
 *     sol_cpu_features f = 0;
 *     do { ... } while ((f = sol_cpu_next(&cpu, f)) != 0); */
sol_cpu_features sol_cpu_next(const sol_cpu *cpu, sol_cpu_features f);

/* The names of a set into a buffer of SOL_CPU_TEXT bytes, "avx2 avx512 vnni"; "c" for none. Returns
 * the buffer. */
enum { SOL_CPU_TEXT = 16 * SOL_CPU_COUNT };
const char *sol_cpu_text(sol_cpu_features f, char *buffer);

/* Reads names with commas between them: these features and what they need. "no-NAME" takes one
 * away, with those that need it; a list that begins so begins with all that the processor has,
 * which "best" stands for, too; "c" stands for none. SOL_ERR_USAGE: a name that is none, or of a
 * feature that the processor lacks. */
sol_status sol_cpu_parse(const sol_cpu *cpu, const char *list, sol_cpu_features *f, sol_err *err);

/* The tier that a set belongs to, "c", "avx2", "avx512", "neon": that of the last feature in it
 * that gives its name to one. */
const char *sol_tier_name(sol_cpu_features f);
/* As much of a tier as the processor has; SOL_ERR_USAGE for an unknown name and where it lacks the
 * feature of that name. */
sol_status sol_tier_parse(const sol_cpu *cpu, const char *name, sol_cpu_features *f, sol_err *err);

#endif
