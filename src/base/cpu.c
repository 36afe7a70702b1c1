#include "base/cpu.h"

#include <sched.h>
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

static bool amx_permitted(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

static void detect_arch(sol_cpu *cpu)
{
    unsigned a, b, c, d;
    __builtin_cpu_init();
    cpu->avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    cpu->fma = __builtin_cpu_supports("fma");
    cpu->f16c = cpu->avx2 && __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1); /* older clang does not know the name */
    cpu->avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    cpu->avx512_vnni = cpu->avx512 && __builtin_cpu_supports("avx512vnni");
    cpu->avx512_vbmi = cpu->avx512 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
    if (cpu->avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) cpu->avx512_bf16 = a >> 5 & 1;
    if (cpu->avx512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && amx_permitted()) {
        cpu->amx_bf16 = d >> 22 & 1;
        cpu->amx_int8 = d >> 25 & 1;
    }
}
#elif defined(__aarch64__)
static void detect_arch(sol_cpu *cpu)
{
    cpu->neon = true;
#ifdef __linux__
    cpu->dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__APPLE__)
    cpu->dotprod = true;
#endif
}
#else
static void detect_arch(sol_cpu *cpu)
{
    (void)cpu;
}
#endif

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
    detect_arch(cpu);
    cpu->n_online = online_processors();
    model_name(cpu->model, sizeof cpu->model);
}

sol_tier sol_cpu_tier(const sol_cpu *cpu)
{
    if (cpu->avx512_vnni && cpu->avx512_vbmi) return SOL_TIER_AVX512;
    if (cpu->avx2 && cpu->fma && cpu->f16c) return SOL_TIER_AVX2;
    if (cpu->neon && cpu->dotprod) return SOL_TIER_NEON;
    return SOL_TIER_C;
}

static const char *const tier_names[] = {"c", "avx2", "avx512", "neon"};

const char *sol_tier_name(sol_tier tier)
{
    return tier_names[tier];
}

sol_status sol_tier_from_name(const char *name, sol_tier *tier, sol_err *err)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, tier_names[i]) == 0) {
            *tier = (sol_tier)i;
            return SOL_OK;
        }
    }
    return sol_fail(err, SOL_ERR_USAGE, "unknown kernel tier '%s': one of c, avx2, avx512, neon", name);
}
