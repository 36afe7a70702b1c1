/* Runs the checks of all kernels with every set of features; operands lie against guard pages. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "base/mem.h"
#include "checkkern.h"

static const char *running = "";
static jmp_buf next_check;

void fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    printf("%s:%d: %s: ", file, line, running);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
    longjmp(next_check, 1);
}

/* A kernel ran into a guard page: nothing can be repaired. */
static void on_fault(int sig)
{
    char text[160];
    int n =
        snprintf(text, sizeof text, "%s: signal %d: a kernel left its operands\n", running, sig);
    if (write(STDOUT_FILENO, text, (size_t)n) < 0) _exit(2);
    _exit(1);
}

guarded guard(size_t bytes, bool at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page + page;
    guarded g = {.map_bytes = body + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(g.map != MAP_FAILED, "no memory for %zu bytes", bytes);
    REQUIRE(mprotect(g.map, page, PROT_NONE) == 0 &&
                mprotect(g.map + page + body, page, PROT_NONE) == 0,
            "mprotect");
    g.p = at_end ? g.map + page + body - bytes : g.map + page;
    return g;
}

void unguard(guarded *g)
{
    munmap(g->map, g->map_bytes);
}

void *get(size_t count, size_t size)
{
    void *p;
    REQUIRE_OK(sol_alloc_array(&p, count, size, err));
    return p;
}

void fill(float *x, int64_t n, kind k, sol_rng *rng)
{
    for (int64_t i = 0; i < n; i++) {
        float z = sol_rng_normal(rng);
        switch (k) {
        case ZERO: x[i] = 0; break;
        case HUGE_BESIDE_TINY: x[i] = sol_rng_below(rng, 50) == 0 ? z * 1e30f : z * 1e-30f; break;
        case DENORMAL: x[i] = z * 1e-40f; break;
        case TIES: x[i] = i % 32 == 0 ? 127 : (float)sol_rng_below(rng, 127) + 0.5f; break;
        case EXTREME: x[i] = z < 0 ? -3 : 3; break;
        case NOT_FINITE: x[i] = i % 97 == 13 ? (i & 1 ? INFINITY : NAN) : z; break;
        default: x[i] = z; break;
        }
    }
}

bool same_bits(float a, float b)
{
    return (isnan(a) && isnan(b)) || sol_f32_bits(a) == sol_f32_bits(b);
}

float round_block(const float *x, int64_t first, int64_t end, int *q)
{
    float top = 0;
    bool finite = true;
    for (int64_t c = first; c < end; c++) {
        finite = finite && isfinite(x[c]);
        top = fmaxf(top, fabsf(x[c]));
    }
    bool none = !finite || top < ldexpf(1, -100);
    for (int64_t c = first; c < end; c++) q[c] = none ? 0 : (int)nearbyintf(x[c] * (127.0f / top));
    return !finite ? NAN : none ? 0 : top / 127.0f;
}

sol_ctx *first_context(int threads)
{
    sol_ctx *ctx;
    REQUIRE_OK(sol_ctx_create(&ctx, threads, SOL_TIER_C, NULL, err));
    return ctx;
}

/* The last set where a processor has AVX-512 VNNI and not AVX-VNNI: the kernels of the latter in
 * the encoding of the former (x86/evex_avxvnni.c). False: there is no such set, or it was this. */
static bool next_is_evex(sol_ctx *ctx)
{
#if defined(__x86_64__)
    void evex_kernels_avxvnni(sol_kernels * k);
    bool can = (ctx->cpu.features & SOL_CPU_VNNI) && !(ctx->cpu.features & SOL_CPU_AVXVNNI);
    if (can && !(ctx->kernels.features & SOL_CPU_AVXVNNI)) {
        sol_kernels_init(&ctx->kernels, SOL_CPU_AVX2);
        evex_kernels_avxvnni(&ctx->kernels);
        ctx->kernels.features |= SOL_CPU_AVXVNNI;
        return true;
    }
#endif
    (void)ctx;
    return false;
}

sol_ctx *next_context(sol_ctx *ctx)
{
    bool own = (ctx->kernels.features & ~ctx->cpu.features) == 0;
    sol_cpu_features next = own ? sol_cpu_next(&ctx->cpu, ctx->kernels.features) : 0;
    if (next)
        sol_kernels_init(&ctx->kernels, next);
    else if (!next_is_evex(ctx))
        sol_ctx_free(&ctx);
    return ctx;
}

const char *label(const sol_ctx *ctx)
{
    static char text[SOL_CPU_TEXT + 16];
    sol_cpu_text(ctx->kernels.features, text);
    if (ctx->kernels.features & ~ctx->cpu.features) strcat(text, " (by EVEX)");
    return text;
}

static const struct {
    const char *name;
    void (*run)(void);
} checks[] = {
    {"int8 activations", check_acts},
    {"ternary: any shape", check_ternary_shapes},
    {"ternary: any scale group", check_ternary_groups},
    {"ternary: stride16", check_ternary_stride16},
    {"ternary: edge data", check_ternary_edge_data},
    {"ternary: batches, parts, threads", check_ternary_batches},
    {"ternary: refusals", check_ternary_refusals},
    {"dense: any shape", check_dense_shapes},
    {"dense: edges", check_dense_edges},
    {"dense: columns by weight", check_dense_weight},
    {"matrix: parts, bias, runs of rows", check_matrix_parts},
    {"matrix: parts of several forms", check_matrix_forms},
    {"bf16: packing", check_bf16_packing},
    {"bf16: tiles", check_bf16_tiles},
};
enum { N_CHECKS = sizeof checks / sizeof *checks };

int main(int argc, char **argv)
{
    volatile int failed = 0; /* written between setjmp and longjmp */
    if (argc > 1) {
        if (strcmp(argv[1], "--bench") != 0) {
            fprintf(stderr, "usage: checkkern [--bench]\n");
            return 2;
        }
        bench();
        return 0;
    }
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    for (volatile int i = 0; i < N_CHECKS; i++) {
        running = checks[i].name;
        if (setjmp(next_check) == 0)
            checks[i].run();
        else
            failed++;
    }
    for (sol_ctx *ctx = first_context(1); ctx; ctx = next_context(ctx))
        printf("checked: %s\n", label(ctx));
    printf("%d%%: Checks: %d, Failures: %d, Errors: 0\n", 100 * (N_CHECKS - failed) / N_CHECKS,
           N_CHECKS, failed);
    return failed != 0;
}
