/* Quantizes one layer after the other in its place, under a network that reads the model's own
 * weights, and measures each time. `solera study --sensitivity` calls it. */
#include "eval/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct measurement {
    sol_sensitivity *s;
    sol_ctx *ctx;
    sol_model *model;
    const sol_quant_spec *spec;
    const sol_tokens *tokens;
    sol_eval_opts eval;
    const sol_progress *progress;
    sol_net *net;
    float *weights; /* of the layer at hand, as they were */
} measurement;

/* The layers, and room for the largest of them. */
static sol_status list_layers(measurement *k, sol_err *err)
{
    int64_t largest = 1;
    SOL_TRY(sol_alloc_array((void **)&k->s->layer, (size_t)k->model->n_params, sizeof *k->s->layer,
                            err));
    for (int i = 0; i < k->model->n_params; i++) {
        const sol_param *p = &k->model->params[i];
        sol_quant_spec own = sol_quant_for(k->spec, p->name);
        if (!p->quantized || !own.method) continue;
        SOL_TRY(sol_quant_check(&own, p->name, p->rows, p->cols, err));
        k->s->layer[k->s->n++] = (sol_sensitivity_layer){p, NAN};
        if (sol_param_count(p) > largest) largest = sol_param_count(p);
    }
    return sol_alloc_array((void **)&k->weights, (size_t)largest, sizeof *k->weights, err);
}

/* The loss that all others are compared with. */
static sol_status measure_full(const measurement *k, sol_err *err)
{
    sol_eval_result r;
    SOL_TRY(sol_eval_windows(k->net, k->tokens, &k->eval, &r, err));
    k->s->loss = r.loss;
    k->s->tokens = r.tokens;
    return SOL_OK;
}

/* Of a layer, what is not finite is an answer, too: it cannot be quantized so. */
static sol_status measure_loss(const measurement *k, double *loss, sol_err *err)
{
    sol_eval_result r;
    sol_err why = {0};
    sol_status st = sol_eval_windows(k->net, k->tokens, &k->eval, &r, &why);
    *loss = st == SOL_OK ? r.loss : NAN;
    return st == SOL_OK || st == SOL_ERR_NONFINITE ? SOL_OK : sol_fail(err, st, "%s", why.text);
}

static sol_status measure_layer(measurement *k, sol_sensitivity_layer *l, sol_err *err)
{
    float *w = sol_model_f32(k->model, l->param);
    size_t bytes = (size_t)sol_param_count(l->param) * sizeof *w;
    sol_quant_spec own = sol_quant_for(k->spec, l->param->name);
    sol_quant_matrix x = {.rows = l->param->rows, .cols = l->param->cols};
    if (k->model->n_learned == own.method->n_learned)
        x = sol_model_quant_matrix(k->model, l->param);
    x.w = k->weights;
    memcpy(k->weights, w, bytes);
    sol_quant_forward(k->ctx, &own, &x, (sol_residual_mix){1, 0}, w, NULL);
    sol_status st = measure_loss(k, &l->loss, err);
    memcpy(w, k->weights, bytes);
    return st;
}

/* Dearest first, what is no number before all; equal ones in the order of the model. */
static int by_cost(const void *a, const void *b)
{
    const sol_sensitivity_layer *x = a, *y = b;
    if (isnan(x->loss) != isnan(y->loss)) return isnan(x->loss) ? -1 : 1;
    if (x->loss != y->loss && !isnan(x->loss)) return x->loss > y->loss ? -1 : 1;
    return x->param < y->param ? -1 : 1;
}

static sol_status measure_all(measurement *k, sol_err *err)
{
    const sol_net_opts full = {.full_precision = true};
    SOL_TRY(list_layers(k, err));
    SOL_TRY(sol_net_from_model(&k->net, k->ctx, k->model, NULL, NULL, &full, err));
    SOL_TRY(measure_full(k, err));
    for (int i = 0; i < k->s->n; i++) {
        sol_sensitivity_layer *l = &k->s->layer[i];
        if (!sol_progress_show(k->progress, l->param->name, i, k->s->n))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        SOL_TRY(measure_layer(k, l, err));
    }
    qsort(k->s->layer, (size_t)k->s->n, sizeof *k->s->layer, by_cost);
    return SOL_OK;
}

sol_status sol_sensitivity_measure(sol_sensitivity *s, sol_ctx *ctx, sol_model *m,
                                   const sol_quant_spec *spec, const sol_tokens *tokens,
                                   const sol_windows *windows, const sol_progress *progress,
                                   sol_err *err)
{
    measurement k = {.s = s,
                     .ctx = ctx,
                     .model = m,
                     .spec = spec,
                     .tokens = tokens,
                     .eval = {.windows = *windows},
                     .progress = progress};
    *s = (sol_sensitivity){.loss = NAN};
    sol_status st = measure_all(&k, err);
    sol_net_free(&k.net);
    sol_free(k.weights);
    if (st != SOL_OK) sol_sensitivity_free(s);
    return st;
}

void sol_sensitivity_free(sol_sensitivity *s)
{
    sol_free(s->layer);
    *s = (sol_sensitivity){0};
}
