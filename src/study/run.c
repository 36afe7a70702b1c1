/* Holds the records of a run in memory, from study.h5 or from the weights of a model file, and
 * answers what report.c and the figures ask of them. */
#include "study/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

const sol_study_column sol_study_columns[SOL_STUDY_COLUMNS] = {
    {"/step", SOL_STUDY_U64, false, 1, "step", "Optimizer steps done before the record"},
    {"/tokens", SOL_STUDY_U64, false, 1, "tokens", "Tokens seen before the record"},
    {"/lambda", SOL_STUDY_F64, false, 1, "1", "Residual factor of the step"},
    {"/lr", SOL_STUDY_F64, false, 1, "1", "Learning rate of the step"},
    {"/loss", SOL_STUDY_F64, false, 1, "nats a token", "Training loss of the step"},
#define SOL_MEASURE(name, unit, formula, title, good) \
    {"/measures/" #name, SOL_STUDY_F32, true, 1, unit, title},
#include "study/measures.def"
#undef SOL_MEASURE
    {"/histograms/zeroed", SOL_STUDY_U32, true, SOL_HIST_X_BINS, "weights",
     "|w|/alpha of the zeroed weights, 100 bins over [0, 4), the last one open"},
    {"/histograms/kept", SOL_STUDY_U32, true, SOL_HIST_X_BINS, "weights",
     "|w|/alpha of the other weights, 100 bins over [0, 4), the last one open"},
    {"/histograms/w", SOL_STUDY_U32, true, SOL_HIST_W_BINS, "weights",
     "w, 96 bins over [-w_range, w_range) of the layer, the outer ones open"},
    {"/histograms/log2", SOL_STUDY_U32, true, SOL_HIST_LOG2_BINS, "weights",
     "|w|, 8 bins from each power of two to the next, from 2^-18 to 2^2, the outer ones open"},
};

int sol_hist_bins(int kind)
{
    return (int)sol_study_columns[SOL_STUDY_HISTOGRAMS + kind].width;
}

static sol_status allocate(sol_study_run *run, sol_err *err)
{
    size_t records = (size_t)run->n_records, cells = records * (size_t)run->n_layers;
    SOL_TRY(sol_alloc_array((void **)&run->step, records, sizeof *run->step, err));
    SOL_TRY(sol_alloc_array((void **)&run->lambda, records, sizeof *run->lambda, err));
    SOL_TRY(sol_alloc_array((void **)&run->loss, records, sizeof *run->loss, err));
    for (int m = 0; m < SOL_MEASURE_COUNT; m++)
        SOL_TRY(sol_alloc_array((void **)&run->measure[m], cells, sizeof **run->measure, err));
    for (int k = 0; k < SOL_HIST_KINDS; k++)
        SOL_TRY(sol_alloc_array((void **)&run->hist[k],
                                (size_t)run->n_slices * (size_t)run->n_layers,
                                sizeof **run->hist * (size_t)sol_hist_bins(k), err));
    return SOL_OK;
}

static sol_status copy_layers(sol_study_run *run, const sol_study_layer *layers, int n,
                              sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&run->layers, (size_t)n, sizeof *layers, err));
    memcpy(run->layers, layers, (size_t)n * sizeof *layers);
    run->n_layers = n;
    return SOL_OK;
}

/* Chooses the records whose histograms are kept: the first, the last, and some between, evenly. */
static void choose_slices(sol_study_run *run)
{
    int64_t n = run->n_records;
    run->n_slices = n < SOL_STUDY_SLICES ? (int)n : SOL_STUDY_SLICES;
    for (int i = 0; i < run->n_slices; i++)
        run->slice[i] = run->n_slices > 1 ? i * (n - 1) / (run->n_slices - 1) : 0;
}

static sol_status read_columns(sol_study_run *run, const sol_study_file *f, sol_err *err)
{
    int64_t n = run->n_records;
    SOL_TRY(sol_study_file_read(f, SOL_STUDY_LAMBDA, 0, n, run->lambda, err));
    SOL_TRY(sol_study_file_read(f, SOL_STUDY_LOSS, 0, n, run->loss, err));
    for (int64_t i = 0; i < n; i++) {
        uint64_t step = 0;
        SOL_TRY(sol_study_file_read(f, SOL_STUDY_STEP, i, 1, &step, err));
        run->step[i] = (double)step;
    }
    for (int m = 0; m < SOL_MEASURE_COUNT; m++)
        SOL_TRY(sol_study_file_read(f, SOL_STUDY_MEASURES + m, 0, n, run->measure[m], err));
    for (int k = 0; k < SOL_HIST_KINDS; k++) {
        size_t slice = (size_t)run->n_layers * (size_t)sol_hist_bins(k);
        for (int s = 0; s < run->n_slices; s++)
            SOL_TRY(sol_study_file_read(f, SOL_STUDY_HISTOGRAMS + k, run->slice[s], 1,
                                        run->hist[k] + (size_t)s * slice, err));
    }
    return SOL_OK;
}

sol_status sol_study_run_read(sol_study_run *run, const char *path, const char *name, sol_err *err)
{
    sol_study_file *f = NULL;
    int n = 0;
    memset(run, 0, sizeof *run);
    sol_status st = sol_study_file_open(&f, path, false, sol_study_columns, SOL_STUDY_COLUMNS, err);
    if (st != SOL_OK) return st;
    run->n_records = sol_study_file_records(f);
    run->head = *sol_study_file_head(f);
    choose_slices(run);
    if (run->n_records == 0)
        st = sol_fail(err, SOL_ERR_FORMAT,
                      "%s: holds no record yet (a record is made every %lld steps)", path,
                      (long long)run->head.every);
    if (st == SOL_OK) st = sol_copy_string(&run->name, name, strlen(name), err);
    const sol_study_layer *layers = sol_study_file_layers(f, &n);
    if (st == SOL_OK) st = copy_layers(run, layers, n, err);
    if (st == SOL_OK) st = allocate(run, err);
    if (st == SOL_OK) st = read_columns(run, f, err);
    sol_study_file_close(&f);
    if (st != SOL_OK) sol_study_run_free(run);
    return st;
}

void sol_study_head_quant(sol_study_head *head, const sol_quant_spec *spec)
{
    snprintf(head->method, sizeof head->method, "%s", spec->method->name);
    snprintf(head->granularity, sizeof head->granularity, "%s",
             sol_granularity_name(spec->granularity));
    snprintf(head->block_layout, sizeof head->block_layout, "%s", sol_layout_name(spec->layout));
    head->group_size = spec->granularity == SOL_PER_GROUP ? spec->group_size : 0;
}

sol_status sol_study_view(const sol_model *m, const bool *chosen, const sol_quant_spec *spec,
                          sol_quant_spec *view, sol_err *err)
{
    *view = *spec;
    if (spec->method) return SOL_OK;
    view->method = sol_quantizer_find("sherry");
    view->granularity = SOL_PER_GROUP;
    view->scale_dtype = SOL_F16;
    if (view->group_size == 0) view->group_size = 128;
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized || p->layer < 0 || (chosen && !chosen[i])) continue;
        if (sol_quant_check(view, p->name, p->rows, p->cols, NULL) == SOL_OK) continue;
        view->granularity = SOL_PER_CHANNEL;
        SOL_TRY(sol_quant_check(view, p->name, p->rows, p->cols, err));
    }
    return SOL_OK;
}

sol_quant_spec sol_study_layer_view(const sol_quant_spec *view, const char *name)
{
    sol_quant_spec own = sol_quant_for(view, name);
    if (!own.method) own = *view;
    return own;
}

static void measure_static(sol_study_run *run, const sol_ctx *ctx, const sol_model *m,
                           const sol_quant_spec *spec, const sol_measure_scratch *scratch,
                           uint8_t *states, int i)
{
    const sol_study_layer *l = &run->layers[i];
    double v[SOL_MEASURE_COUNT];
    sol_histograms h;
    for (int k = 0; k < SOL_MEASURE_COUNT; k++) v[k] = NAN;
    sol_quant_matrix x = sol_model_quant_matrix(m, sol_model_param(m, l->name));
    sol_quant_spec own = sol_study_layer_view(spec, l->name);
    sol_measure_layer(ctx, &own, &x, (float)l->w_range, scratch, states, false, v, &h);
    for (int k = 0; k < SOL_MEASURE_COUNT; k++) run->measure[k][i] = (float)v[k];
    const uint32_t *parts[SOL_HIST_KINDS] = {h.zeroed, h.kept, h.w, h.log2};
    for (int k = 0; k < SOL_HIST_KINDS; k++)
        memcpy(run->hist[k] + (size_t)i * (size_t)sol_hist_bins(k), parts[k],
               (size_t)sol_hist_bins(k) * sizeof **run->hist);
}

/* The linear layers of the blocks; *largest: weights of the largest. */
static sol_status list_layers(sol_study_run *run, const sol_model *m, const sol_quant_spec *spec,
                              int64_t *largest, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&run->layers, (size_t)m->n_params, sizeof *run->layers, err));
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized || p->layer < 0) continue;
        sol_study_layer *l = &run->layers[run->n_layers++];
        *l = (sol_study_layer){
            .block = p->layer,
            .rows = p->rows,
            .cols = p->cols,
            .weight_rows = p->rows,
            .w_range = (double)sol_histogram_range(sol_model_f32(m, p), p->rows * p->cols)};
        memcpy(l->name, p->name, sizeof l->name);
        if (p->rows * p->cols > *largest) *largest = p->rows * p->cols;
        sol_quant_spec own = sol_study_layer_view(spec, p->name);
        SOL_TRY(sol_quant_check(&own, p->name, p->rows, p->cols, err));
    }
    return SOL_OK;
}

sol_status sol_study_run_static(sol_study_run *run, const sol_ctx *ctx, const sol_model *model,
                                const sol_quant_spec *spec, const char *name, sol_err *err)
{
    sol_measure_scratch scratch = {0};
    sol_quant_spec view;
    uint8_t *states = NULL;
    int64_t largest = 0;
    memset(run, 0, sizeof *run);
    run->is_static = true;
    run->n_records = 1;
    choose_slices(run);
    sol_status st = sol_study_view(model, NULL, spec, &view, err);
    if (st != SOL_OK) return st;
    sol_study_head_quant(&run->head, &view);
    if (!spec->method) snprintf(run->head.method, sizeof run->head.method, "none");
    st = sol_copy_string(&run->name, name, strlen(name), err);
    if (st == SOL_OK) st = list_layers(run, model, &view, &largest, err);
    if (st == SOL_OK) st = allocate(run, err);
    if (st == SOL_OK) st = sol_measure_scratch_create(&scratch, largest, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&states, (size_t)largest, 1, err);
    if (st == SOL_OK) run->loss[0] = NAN;
    if (st == SOL_OK)
        for (int i = 0; i < run->n_layers; i++)
            measure_static(run, ctx, model, &view, &scratch, states, i);
    sol_measure_scratch_free(&scratch);
    sol_free(states);
    if (st != SOL_OK) sol_study_run_free(run);
    return st;
}

void sol_study_run_free(sol_study_run *run)
{
    sol_study_curve *c = &run->curve;
    double *curve[] = {c->step,      c->loss,        c->lambda,   c->lr,       c->eval_step,
                       c->eval_loss, c->packed_loss, c->eval_low, c->eval_high};
    sol_free(run->name);
    sol_free(run->layers);
    sol_free(run->step);
    sol_free(run->lambda);
    sol_free(run->loss);
    for (int m = 0; m < SOL_MEASURE_COUNT; m++) {
        sol_free(run->measure[m]);
        sol_free(run->low[m]);
        sol_free(run->high[m]);
    }
    for (int k = 0; k < SOL_HIST_KINDS; k++) sol_free(run->hist[k]);
    for (size_t i = 0; i < sizeof curve / sizeof *curve; i++) sol_free(curve[i]);
    for (int k = 0; k < SOL_CALIB_ERRORS; k++) sol_free(run->calibration.error[k]);
    memset(run, 0, sizeof *run);
}

sol_status sol_study_runs_check(const sol_study_run *runs, int n, sol_err *err)
{
    for (int r = 1; r < n; r++) {
        if (runs[r].is_static != runs[0].is_static)
            return sol_fail(err, SOL_ERR_USAGE,
                            "%s and %s: a run and a model file cannot stand in one report",
                            runs[0].name, runs[r].name);
        if (runs[r].n_layers != runs[0].n_layers)
            return sol_fail(err, SOL_ERR_SHAPE,
                            "%s and %s: %d and %d layers cannot stand side by side", runs[0].name,
                            runs[r].name, runs[0].n_layers, runs[r].n_layers);
        for (int i = 0; i < runs[0].n_layers; i++) {
            const sol_study_layer *a = &runs[0].layers[i], *b = &runs[r].layers[i];
            if (strcmp(a->name, b->name) != 0)
                return sol_fail(err, SOL_ERR_SHAPE,
                                "%s and %s: layer %d is %s in one and %s in the other",
                                runs[0].name, runs[r].name, i, a->name, b->name);
            if (a->rows != b->rows || a->cols != b->cols)
                return sol_fail(
                    err, SOL_ERR_SHAPE,
                    "%s and %s: %s is [%lld, %lld] in one and [%lld, %lld] in the other",
                    runs[0].name, runs[r].name, a->name, (long long)a->rows, (long long)a->cols,
                    (long long)b->rows, (long long)b->cols);
        }
    }
    return SOL_OK;
}

double sol_study_mean(const sol_study_run *run, int m, int64_t record)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < run->n_layers; i++) {
        double x = (double)run->measure[m][record * run->n_layers + i];
        if (!isfinite(x)) continue;
        sum += x;
        n++;
    }
    return n ? sum / n : NAN;
}

bool sol_study_comparable(const sol_study_run *run, int m, int64_t record)
{
    bool since = m == SOL_M_zero_flips || m == SOL_M_sign_flips || m == SOL_M_state_flips ||
                 m == SOL_M_unchanged;
    if (!since || record == 0) return true;
    double every = (double)run->head.every, interval = run->step[record] - run->step[record - 1];
    return fabs(interval - every) <= 0.02 * every;
}

double sol_study_first(const sol_study_run *run, int m)
{
    for (int64_t i = 0; i < run->n_records; i++) {
        double x = sol_study_mean(run, m, i);
        if (isfinite(x)) return x;
    }
    return NAN;
}

double sol_study_last(const sol_study_run *run, int m)
{
    for (int64_t i = run->n_records - 1; i >= 0; i--) {
        double x = sol_study_comparable(run, m, i) ? sol_study_mean(run, m, i) : NAN;
        if (isfinite(x)) return x;
    }
    return NAN;
}

sol_study_divergence sol_study_find_divergence(const sol_study_run *run)
{
    const sol_study_curve *c = &run->curve;
    const double *loss = c->n ? c->loss : run->loss, *step = c->n ? c->step : run->step;
    int64_t steps = run->is_static ? 0 : c->n ? c->n : run->n_records;
    bool before = true;
    sol_study_divergence d = {.first = -1, .from = -1};
    for (int64_t i = 0; i < steps; i++) {
        bool finite = isfinite(loss[i]);
        if (finite) d.from = -1;
        if (!finite && before) d.from = step[i];
        if (!finite && d.n++ == 0) d.first = step[i];
        before = finite;
    }
    return d;
}

const char *sol_study_layer_label(const sol_study_layer *layer, char *buffer, size_t size)
{
    sol_role role;
    if (sol_role_find(layer->name, &role) && sol_param_rows[role].in_block)
        snprintf(buffer, size, "%d %s", (int)layer->block, sol_param_rows[role].label);
    else
        snprintf(buffer, size, "%s", layer->name);
    return buffer;
}

const char *sol_study_layer_kind(const sol_study_layer *layer)
{
    sol_role role;
    bool known = sol_role_find(layer->name, &role) && sol_param_rows[role].in_block;
    return known ? sol_param_rows[role].label : layer->name;
}
