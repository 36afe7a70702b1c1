/* The measures of runs for spreadsheets and data frames: the text of measures.csv and of its key.
 */
#include <math.h>

#include "base/mem.h"
#include "base/text.h"
#include "study/measures.h"
#include "study/report.h"

static void add_number(sol_text *t, double x)
{
    if (isfinite(x))
        sol_text_add(t, NULL, ",%.6g", x);
    else
        sol_text_add(t, NULL, ",");
}

static void add_quoted(sol_text *t, const char *s)
{
    sol_text_add(t, NULL, "\"");
    for (; *s; s++) sol_text_add(t, NULL, *s == '"' ? "\"\"" : "%c", *s);
    sol_text_add(t, NULL, "\"");
}

/* Hands the text over, or frees it where there was no memory for all of it. */
static sol_status hand_over(sol_text *t, char **csv, sol_err *err)
{
    *csv = t->data;
    if (t->status == SOL_OK) return SOL_OK;
    sol_free(t->data);
    *csv = NULL;
    return sol_fail(err, t->status, "out of memory for the measures");
}

sol_status sol_report_csv(const sol_study_run *runs, int n, char **csv, sol_err *err)
{
    sol_text t = {0};
    sol_text_add(&t, NULL, "run,step,lambda,loss");
    for (int m = 0; m < SOL_MEASURE_COUNT; m++)
        sol_text_add(&t, NULL, ",%s", sol_measure_at(m)->name);
    sol_text_add(&t, NULL, "\n");
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < runs[r].n_records; i++) {
            add_quoted(&t, runs[r].name);
            sol_text_add(&t, NULL, ",%.0f", runs[r].step[i]);
            add_number(&t, runs[r].lambda[i]);
            add_number(&t, runs[r].loss[i]);
            for (int m = 0; m < SOL_MEASURE_COUNT; m++)
                add_number(&t, sol_study_mean(&runs[r], m, i));
            sol_text_add(&t, NULL, "\n");
        }
    return hand_over(&t, csv, err);
}

sol_status sol_report_csv_key(char **csv, sol_err *err)
{
    sol_text t = {0};
    sol_text_add(&t, NULL, "column,unit,title,formula\n");
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
        const sol_measure_row *row = sol_measure_at(m);
        const char *const cells[] = {row->unit, row->title, row->formula};
        sol_text_add(&t, NULL, "%s", row->name);
        for (int i = 0; i < 3; i++) {
            sol_text_add(&t, NULL, ",");
            add_quoted(&t, cells[i]);
        }
        sol_text_add(&t, NULL, "\n");
    }
    return hand_over(&t, csv, err);
}
