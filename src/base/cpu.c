/* Detects the features of the processor, and reads, names and walks sets of them. Called once a
 * program by sol_ctx_create, and where --cpu and --tier are read. All that is known of a feature
 * stands in its row of cpu_features.def. */
#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#ifdef __x86_64__
#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

static bool cpuid_bit(unsigned leaf, unsigned subleaf, int in, int bit)
{
    unsigned r[4] = {0};
    return __get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) &&
           (r[in] >> bit & 1);
}

/* __builtin_cpu_supports also asks whether the operating system saves the registers; what older
 * compilers have no name for is read from cpuid. */
static bool has_avx2(void)
{
    bool f16c = cpuid_bit(1, 0, ECX, 29);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("fma") && f16c;
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_vbmi(void)
{
    return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
}

/* Tiles of int8 and of bf16, which Linux lets a process use on request. */
static bool has_amx(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return cpuid_bit(7, 0, EDX, 24) && cpuid_bit(7, 0, EDX, 25) && cpuid_bit(7, 0, EDX, 22) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}
#define SOL_CPU_X86(ID, name, needs, flags, detected) \
    if (((needs) & ~f) == 0 && (detected)) f |= SOL_CPU_##ID;
#elif defined(__aarch64__)
static bool has_dotprod(void)
{
#ifdef __linux__
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__APPLE__)
    return true;
#else
    return false;
#endif
}

static bool has_i8mm(void)
{
#ifdef __linux__
    return getauxval(AT_HWCAP2) & HWCAP2_I8MM;
#else
    return false;
#endif
}
#define SOL_CPU_ARM(ID, name, needs, flags, detected) \
    if (((needs) & ~f) == 0 && (detected)) f |= SOL_CPU_##ID;
#endif

static sol_cpu_features detect_features(void)
{
    sol_cpu_features f = 0;
#include "base/cpu_features.def"
    return f;
}

static int online_processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static void model_name(char *out, size_t size)
{
    snprintf(out, size, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon + 2);
        break;
    }
    fclose(f);
}

void sol_cpu_detect(sol_cpu *cpu)
{
    memset(cpu, 0, sizeof *cpu);
    cpu->features = detect_features();
    cpu->n_online = online_processors();
    model_name(cpu->model, sizeof cpu->model);
}

/* ---- sets of features ---- */

static const struct {
    const char *name;
    sol_cpu_features needs;
} rows[SOL_CPU_COUNT] = {
#define SOL_CPU_X86(ID, name, needs, flags, detected) {#name, needs},
#define SOL_CPU_ARM(ID, name, needs, flags, detected) {#name, needs},
#include "base/cpu_features.def"
};

sol_cpu_features sol_cpu_usable(const sol_cpu *cpu, sol_cpu_features wanted)
{
    sol_cpu_features f = wanted & cpu->features;
    for (int i = 0; i < SOL_CPU_COUNT; i++) /* what a row needs stands above it */
        if (rows[i].needs & ~f) f &= ~(1u << i);
    return f;
}

sol_cpu_features sol_cpu_next(const sol_cpu *cpu, sol_cpu_features f)
{
    do f = (f - cpu->features) & cpu->features; /* the subsets of a mask in rising order */
    while (sol_cpu_usable(cpu, f) != f);
    return f;
}

const char *sol_cpu_text(sol_cpu_features f, char *buffer)
{
    size_t n = 0;
    snprintf(buffer, SOL_CPU_TEXT, "c");
    for (int i = 0; i < SOL_CPU_COUNT; i++)
        if (f >> i & 1)
            n += (size_t)snprintf(buffer + n, SOL_CPU_TEXT - n, "%s%s", n ? " " : "", rows[i].name);
    return buffer;
}

/* The row of a name of n bytes; SOL_CPU_COUNT: none. */
static int find_row(const char *name, size_t n)
{
    int i = 0;
    while (i < SOL_CPU_COUNT && (strlen(rows[i].name) != n || memcmp(rows[i].name, name, n) != 0))
        i++;
    return i;
}

static sol_status lacks(const sol_cpu *cpu, const char *name, sol_err *err)
{
    char has[SOL_CPU_TEXT];
    return sol_fail(err, SOL_ERR_USAGE, "this processor (%s) lacks '%s'; kernels for it: %s",
                    cpu->model, name, sol_cpu_text(cpu->features, has));
}

/* One name of n bytes of a list, added to *f or taken away. */
static sol_status parse_name(const sol_cpu *cpu, const char *name, size_t n, sol_cpu_features *f,
                             sol_err *err)
{
    bool best = n == 4 && memcmp(name, "best", 4) == 0, c = n == 1 && *name == 'c';
    bool without = n > 3 && memcmp(name, "no-", 3) == 0;
    int i = find_row(name + 3 * without, n - 3 * without);
    if (best || c) {
        *f = best ? cpu->features : 0;
    } else if (i == SOL_CPU_COUNT) {
        char all[SOL_CPU_TEXT];
        return sol_fail(err, SOL_ERR_USAGE,
                        "unknown processor feature '%.*s': best, c, or of %s, each also with no- "
                        "before it",
                        (int)n, name, sol_cpu_text(SOL_CPU_ALL, all));
    } else if (without) {
        *f = sol_cpu_usable(cpu, *f & ~(1u << i));
    } else if (!(cpu->features >> i & 1)) {
        return lacks(cpu, rows[i].name, err);
    } else {
        *f |= 1u << i;
        for (; i >= 0; i--)
            if (*f >> i & 1) *f |= rows[i].needs;
    }
    return SOL_OK;
}

sol_status sol_cpu_parse(const sol_cpu *cpu, const char *list, sol_cpu_features *f, sol_err *err)
{
    *f = strncmp(list, "no-", 3) == 0 ? cpu->features : 0;
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, ",");
        SOL_TRY(parse_name(cpu, at, n, f, err));
        at += n;
        if (*at == 0) return SOL_OK;
    }
}

/* A tier has the name of a feature; its set holds more. */
static const struct {
    const char *name;
    sol_cpu_features feature, set;
} tiers[] = {{"c", 0, SOL_TIER_C},
             {"avx2", SOL_CPU_AVX2, SOL_TIER_AVX2},
             {"avx512", SOL_CPU_AVX512, SOL_TIER_AVX512},
             {"neon", SOL_CPU_NEON, SOL_TIER_NEON}};
enum { N_TIERS = sizeof tiers / sizeof *tiers };

const char *sol_tier_name(sol_cpu_features f)
{
    int i = N_TIERS - 1;
    while (tiers[i].feature & ~f) i--;
    return tiers[i].name;
}

sol_status sol_tier_parse(const sol_cpu *cpu, const char *name, sol_cpu_features *f, sol_err *err)
{
    for (int i = 0; i < N_TIERS; i++) {
        if (strcmp(name, tiers[i].name) != 0) continue;
        *f = sol_cpu_usable(cpu, tiers[i].set);
        return tiers[i].feature & ~*f ? lacks(cpu, name, err) : SOL_OK;
    }
    return sol_fail(err, SOL_ERR_USAGE, "unknown kernel tier '%s': one of c, avx2, avx512, neon",
                    name);
}
