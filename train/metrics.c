/* Reads metrics.jsonl and calibrate.jsonl of a run, for reports and sweeps. */
#include "metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static double number(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* The last one that a line says: a run that goes on may be measured on other data. 0: on none.
 * Returns whether it is another one than before. */
static bool take_digest(uint64_t *digest, const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    uint64_t was = *digest, now = text ? strtoull(text, NULL, 16) : 0;
    if (now) *digest = now;
    return was && *digest != was;
}

typedef struct capacities {
    size_t step, loss, lambda, lr, eval_step, eval_loss, packed_loss;
} capacities;

static sol_status add(double **array, size_t *capacity, int64_t n, double x, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)array, capacity, (size_t)n + 1, sizeof **array, err));
    (*array)[n] = x;
    return SOL_OK;
}

static sol_status add_line(sol_study_curve *c, capacities *k, const json_t *line, sol_err *err)
{
    double step = number(line, "step");
    take_digest(&c->data_digest, line, "data_digest");
    if (take_digest(&c->eval_digest, line, "eval_digest")) c->first_eval = c->n_evals;
    SOL_TRY(add(&c->step, &k->step, c->n, step, err));
    SOL_TRY(add(&c->loss, &k->loss, c->n, number(line, "loss"), err));
    SOL_TRY(add(&c->lambda, &k->lambda, c->n, number(line, "lambda"), err));
    SOL_TRY(add(&c->lr, &k->lr, c->n, number(line, "lr"), err));
    c->n++;
    if (!json_object_get(line, "eval_loss") && !json_object_get(line, "packed_loss")) return SOL_OK;
    SOL_TRY(add(&c->eval_step, &k->eval_step, c->n_evals, step, err));
    SOL_TRY(add(&c->eval_loss, &k->eval_loss, c->n_evals, number(line, "eval_loss"), err));
    SOL_TRY(add(&c->packed_loss, &k->packed_loss, c->n_evals, number(line, "packed_loss"), err));
    c->n_evals++;
    return SOL_OK;
}

static sol_status read_line(sol_study_curve *c, capacities *k, const char *path,
                            int64_t number_of_line, const char *text, size_t n, sol_err *err)
{
    json_error_t where;
    json_t *line = json_loadb(text, n, 0, &where);
    sol_status st;
    if (!line || isnan(number(line, "step")))
        st = sol_fail(err, SOL_ERR_FORMAT, "%s:%lld: is no line of metrics: %s", path,
                      (long long)number_of_line, line ? "no step" : where.text);
    else
        st = add_line(c, k, line, err);
    json_decref(line);
    return st;
}

static sol_status read_lines(sol_study_curve *c, const char *path, const char *text, size_t size,
                             sol_err *err)
{
    capacities k = {0};
    const char *at = text, *end;
    for (int64_t i = 1; (end = memchr(at, '\n', size - (size_t)(at - text))); i++) {
        SOL_TRY(read_line(c, &k, path, i, at, (size_t)(end - at), err));
        at = end + 1;
    }
    return SOL_OK;
}

sol_status sol_metrics_read(const char *path, sol_study_curve *c, sol_err *err)
{
    char *text;
    size_t size;
    *c = (sol_study_curve){0};
    SOL_TRY(sol_file_read(path, &text, &size, err));
    sol_status st = read_lines(c, path, text, size, err);
    sol_free(text);
    if (st != SOL_OK) sol_metrics_free(c);
    return st;
}

void sol_metrics_free(sol_study_curve *c)
{
    sol_free(c->step);
    sol_free(c->loss);
    sol_free(c->lambda);
    sol_free(c->lr);
    sol_free(c->eval_step);
    sol_free(c->eval_loss);
    sol_free(c->packed_loss);
    *c = (sol_study_curve){0};
}

static sol_status add_errors(sol_study_calibration *c, size_t capacity[SOL_CALIB_ERRORS],
                             const json_t *line, sol_err *err)
{
    static const char *const names[SOL_CALIB_ERRORS] = {"error_before", "error_solved",
                                                        "error_after", "error_held_out"};
    if (!json_is_integer(json_object_get(line, "block"))) return SOL_OK;
    for (int k = 0; k < SOL_CALIB_ERRORS; k++)
        SOL_TRY(add(&c->error[k], &capacity[k], c->n, number(line, names[k]), err));
    c->n++;
    return SOL_OK;
}

sol_status sol_calibration_read(const char *path, sol_study_calibration *c, sol_err *err)
{
    size_t size, capacity[SOL_CALIB_ERRORS] = {0};
    char *text;
    *c = (sol_study_calibration){0};
    SOL_TRY(sol_file_read(path, &text, &size, err));
    sol_status st = SOL_OK;
    for (const char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        st = json_is_object(line)
                 ? add_errors(c, capacity, line, err)
                 : sol_fail(err, SOL_ERR_FORMAT, "%s: holds a line that is no JSON object", path);
        json_decref(line);
        if (st != SOL_OK) break;
    }
    sol_free(text);
    return st;
}
