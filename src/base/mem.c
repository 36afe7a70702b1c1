/* The memory of the library: checked sizes, aligned blocks, the count of allocations, plans. Every
 * room allocates here and nowhere else; the libraries below it have their own. */
#include "base/mem.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* The one counter of the process: a statistic, never an input of a computation. */
static _Atomic uint64_t alloc_count;

sol_status sol_size_mul(size_t a, size_t b, size_t *out, sol_err *err)
{
    if (__builtin_mul_overflow(a, b, out))
        return sol_fail(err, SOL_ERR_RANGE, "a size of %zu x %zu bytes does not fit this machine",
                        a, b);
    return SOL_OK;
}

static sol_status size_add(size_t a, size_t b, size_t *out, sol_err *err)
{
    if (__builtin_add_overflow(a, b, out))
        return sol_fail(err, SOL_ERR_RANGE, "a size of %zu + %zu bytes does not fit this machine",
                        a, b);
    return SOL_OK;
}

/* Blocks from this size on lie on huge pages where the system has them. */
enum { HUGE_PAGE = 2 << 20, HUGE_BLOCK = 2 * HUGE_PAGE };

sol_status sol_alloc_array(void **out, size_t count, size_t size, sol_err *err)
{
    size_t bytes, padded;
    *out = NULL;
    SOL_TRY(sol_size_mul(count, size, &bytes, err));
    SOL_TRY(size_add(bytes, SOL_ALIGN, &padded, err));
    padded &= ~(size_t)(SOL_ALIGN - 1);
    if (padded == 0) padded = SOL_ALIGN;
    void *block;
    if (posix_memalign(&block, padded >= HUGE_BLOCK ? HUGE_PAGE : SOL_ALIGN, padded) != 0)
        return sol_fail(err, SOL_ERR_NOMEM, "out of memory: %zu bytes more were asked for", bytes);
#ifdef MADV_HUGEPAGE
    if (padded >= HUGE_BLOCK)
        madvise(block, padded, MADV_HUGEPAGE); /* a hint; weights are streamed */
#endif
    memset(block, 0, padded);
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    *out = block;
    return SOL_OK;
}

sol_status sol_grow_array(void **block, size_t *capacity, size_t count, size_t size, sol_err *err)
{
    if (count <= *capacity) return SOL_OK;
    size_t want = *capacity + *capacity / 2 + 16;
    if (want < count) want = count;
    void *bigger;
    SOL_TRY(sol_alloc_array(&bigger, want, size, err));
    if (*capacity) memcpy(bigger, *block, *capacity * size);
    sol_free(*block);
    *block = bigger;
    *capacity = want;
    return SOL_OK;
}

sol_status sol_grow_bytes(char **block, size_t *capacity, size_t count, sol_err *err)
{
    if (count <= *capacity) return SOL_OK;
    size_t want = *capacity + *capacity / 2 + 16;
    if (want < count) want = count;
    char *bigger = realloc(*block, want);
    if (!bigger)
        return sol_fail(err, SOL_ERR_NOMEM, "out of memory: %zu bytes more were asked for", want);
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    *block = bigger;
    *capacity = want;
    return SOL_OK;
}

sol_status sol_copy_string(char **out, const char *s, size_t n, sol_err *err)
{
    size_t bytes;
    *out = NULL;
    SOL_TRY(size_add(n, 1, &bytes, err));
    SOL_TRY(sol_alloc_array((void **)out, bytes, 1, err));
    if (n) memcpy(*out, s, n);
    return SOL_OK;
}

void sol_free(void *block)
{
    free(block);
}

void sol_mem_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

uint64_t sol_alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

#ifdef __linux__
/* Read from /proc, since getrusage's figure survives an exec: it would be the peak of the program
 * that started this one, where that is larger. */
uint64_t sol_peak_rss(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "VmHWM: %llu kB", &kib) != 1) continue;
    if (f) fclose(f);
    return kib * 1024;
}
#else
uint64_t sol_peak_rss(void)
{
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) != 0) return 0;
#ifdef __APPLE__
    return (uint64_t)use.ru_maxrss;
#else
    return (uint64_t)use.ru_maxrss * 1024;
#endif
}
#endif

void sol_plan_add(sol_plan *plan, const char *what, size_t bytes)
{
    for (int i = 0; i < plan->n; i++) {
        if (strcmp(plan->row[i].what, what) == 0) {
            plan->row[i].bytes += bytes;
            return;
        }
    }
    if (plan->n == (int)(sizeof plan->row / sizeof plan->row[0])) {
        plan->row[plan->n - 1].bytes += bytes;
        return;
    }
    plan->row[plan->n++] = (sol_plan_row){what, bytes};
}

size_t sol_plan_total(const sol_plan *plan)
{
    size_t total = 0;
    for (int i = 0; i < plan->n; i++) total += plan->row[i].bytes;
    return total;
}
