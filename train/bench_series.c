/* Collects measurements of one kind and tells their median and quantiles, for the files of the
 * bench. */
#include "bench_series.h"

#include <stdlib.h>

void sol_bench_series_add(sol_bench_series *s, double value)
{
    if (s->n < SOL_BENCH_MAX_ROUNDS) s->value[s->n++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sort(sol_bench_series *s)
{
    qsort(s->value, (size_t)s->n, sizeof *s->value, compare_doubles);
}

double sol_bench_series_median(sol_bench_series *s)
{
    if (s->n == 0) return 0;
    sort(s);
    return (s->value[s->n / 2] + s->value[(s->n - 1) / 2]) / 2;
}

double sol_bench_series_quantile(sol_bench_series *s, double part)
{
    if (s->n == 0) return 0;
    sort(s);
    return s->value[(int)(part * (s->n - 1) + 0.5)];
}
