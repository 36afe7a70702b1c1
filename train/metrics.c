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

/* A curve that grows: the capacities of its arrays. */
typedef struct curve {
    sol_study_curve *c;
    size_t step, loss, lambda, lr, eval_step, eval_loss, packed_loss;
} curve;

static sol_status add(double **array, size_t *capacity, int64_t n, double x, sol_err *err)
{
    SOL_TRY(sol_grow_array((void **)array, capacity, (size_t)n + 1, sizeof **array, err));
    (*array)[n] = x;
    return SOL_OK;
}

/* line_fn: one more step. */
static sol_status add_step(void *to, const json_t *line, sol_err *err)
{
    curve *k = to;
    sol_study_curve *c = k->c;
    double step = number(line, "step");
    if (isnan(step)) return sol_fail(err, SOL_ERR_FORMAT, "no step");
    take_digest(&c->model_digest, line, "model_digest");
    take_digest(&c->teacher_digest, line, "teacher_digest");
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

typedef sol_status (*line_fn)(void *to, const json_t *line, sol_err *err);

static sol_status read_line(const char *text, size_t n, line_fn take, void *to, sol_err *err)
{
    json_error_t why;
    json_t *line = json_loadb(text, n, 0, &why);
    sol_status st = json_is_object(line)
                        ? take(to, line, err)
                        : sol_fail(err, SOL_ERR_FORMAT, "%s", line ? "no JSON object" : why.text);
    json_decref(line);
    return st;
}

/* what: the kind of its lines, for errors. */
static sol_status read_lines(const char *path, const char *what, line_fn take, void *to,
                             sol_err *err)
{
    char *text;
    size_t size;
    SOL_TRY(sol_file_read(path, &text, &size, err));
    sol_status st = SOL_OK;
    const char *at = text, *end;
    for (int64_t i = 1; (end = memchr(at, '\n', size - (size_t)(at - text))); i++) {
        st = read_line(at, (size_t)(end - at), take, to, err);
        at = end + 1;
        if (st == SOL_OK) continue;
        sol_err_prefix(err, st, "%s:%lld: is no line of %s", path, (long long)i, what);
        break;
    }
    sol_free(text);
    return st;
}

sol_status sol_metrics_read(const char *path, sol_study_curve *c, sol_err *err)
{
    curve k = {.c = c};
    *c = (sol_study_curve){0};
    sol_status st = read_lines(path, "metrics", add_step, &k, err);
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

typedef struct calibration {
    sol_study_calibration *c;
    size_t capacity[SOL_CALIB_ERRORS];
} calibration;

/* line_fn: one more block; the first line says of what the blocks are. */
static sol_status add_block(void *to, const json_t *line, sol_err *err)
{
    static const char *const names[SOL_CALIB_ERRORS] = {"error_before", "error_solved",
                                                        "error_after", "error_held_out"};
    calibration *k = to;
    if (!json_is_integer(json_object_get(line, "block"))) return SOL_OK;
    for (int i = 0; i < SOL_CALIB_ERRORS; i++)
        SOL_TRY(add(&k->c->error[i], &k->capacity[i], k->c->n, number(line, names[i]), err));
    k->c->n++;
    return SOL_OK;
}

sol_status sol_calibration_read(const char *path, sol_study_calibration *c, sol_err *err)
{
    calibration k = {.c = c};
    *c = (sol_study_calibration){0};
    return read_lines(path, "a calibration", add_block, &k, err);
}
