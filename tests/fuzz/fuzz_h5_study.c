/* The records of a study from a stranger: an error, or a run that a report can be made of and a
 * recorder can go on with. */
#include <string.h>

#include "fuzz.h"
#include "study/run.h"

static void look(const char *path)
{
    sol_study_run run = {0};
    sol_err err = {0};
    if (sol_study_run_read(&run, path, "fuzz", &err) != SOL_OK) {
        fuzz_check(err.text[0]);
        return;
    }
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
        for (int64_t i = 0; i < run.n_records; i++) sol_study_mean(&run, m, i);
        sol_study_last(&run, m);
    }
    sol_study_find_divergence(&run);
    fuzz_check(sol_study_runs_check(&run, 1, &err) == SOL_OK);
    sol_study_run_free(&run);
}

static void go_on(const char *path)
{
    static char copy[256];
    static const double zero[1 << 16];
    const void *rows[SOL_STUDY_COLUMNS];
    char *bytes;
    size_t n;
    int n_layers;
    sol_study_file *f;
    sol_err err = {0};
    if (!copy[0]) snprintf(copy, sizeof copy, "%s/study.h5", fuzz_dir());
    fuzz_check(sol_file_read(path, &bytes, &n, &err) == SOL_OK);
    fuzz_write(copy, bytes, n);
    sol_free(bytes);
    if (sol_study_file_open(&f, copy, true, sol_study_columns, SOL_STUDY_COLUMNS, &err) != SOL_OK) {
        fuzz_check(err.text[0]);
        return;
    }
    int64_t records = sol_study_file_records(f);
    sol_study_file_layers(f, &n_layers);
    fuzz_check(n_layers > 0 && records >= 0 && records <= sol_study_file_capacity(f));
    for (int i = 0; i < SOL_STUDY_COLUMNS; i++) rows[i] = zero;
    if (n_layers <= 64) { /* rows that fit in the zeros */
        sol_status st = sol_study_file_append(f, rows, &err);
        fuzz_check(st == SOL_OK ? records < sol_study_file_capacity(f) : err.text[0]);
        fuzz_check(sol_study_file_records(f) == records + (st == SOL_OK));
    }
    fuzz_check(sol_study_file_cut(f, records / 2, &err) == SOL_OK &&
               sol_study_file_records(f) == records / 2);
    sol_study_file_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_h5_file(data, size);
    look(path);
    go_on(path);
    return 0;
}
