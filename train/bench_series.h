/* Measurements of one kind, a round each, their median and spread. */
#ifndef SOLERA_TRAIN_BENCH_SERIES_H
#define SOLERA_TRAIN_BENCH_SERIES_H

enum { SOL_BENCH_MAX_ROUNDS = 200 };

typedef struct sol_bench_series {
    double value[SOL_BENCH_MAX_ROUNDS];
    int n;
} sol_bench_series;

/* Values beyond SOL_BENCH_MAX_ROUNDS are dropped. */
void sol_bench_series_add(sol_bench_series *s, double value);
/* Sorts the values; 0 when there are none. */
double sol_bench_series_median(sol_bench_series *s);
/* Likewise; the value that `part` of them, 0 to 1, do not exceed. */
double sol_bench_series_quantile(sol_bench_series *s, double part);

#endif
