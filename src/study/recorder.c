/* The recorder of a training run: watches gradients, measures layers, appends records to
 * study.h5, and keeps the state that a resume needs. */
#include "study/recorder.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/file.h"
#include "base/num.h"
#include "kernels/gemm.h"
#include "study/rank.h"

/* The state: this head, then for each layer the sampled rows of its weights and of its gradient,
 * then its packed states. */
typedef struct state_head {
    uint64_t layout; /* digest of names, shapes and samples */
    uint32_t has_weights, has_gradient;
} state_head;

typedef struct layer {
    const sol_param *param;
    int64_t *weight_row, *token_row; /* sampled rows; owned by sol_study.rows */
    float *w, *g;                    /* in the state: [weight_rows, cols] */
    uint8_t *states;                 /* in the state */
    float *dx;                       /* [token_rows, cols]; NULL without tokens */
} layer;

struct sol_study {
    sol_ctx *ctx;
    const sol_model *model;
    sol_quant_spec spec;
    sol_study_opts opts;
    sol_study_head head;
    int n_layers;
    sol_study_layer *info;
    layer *layer;
    sol_study_file *file;
    state_head *state; /* one block of state_bytes */
    size_t state_bytes;
    int64_t *rows;   /* all samples */
    float *dx;       /* of all layers */
    bool has_dx;     /* the watch has seen this step's gradients */
    float *dense;    /* the largest layer in fp32 when the model is not */
    float *dy;       /* sampled rows of dL/dY of the widest layer */
    void *product;   /* scratch of a product in bf16 */
    double *rank;    /* [threads] times rank_size doubles */
    float *gathered; /* [threads] times gather_size floats */
    size_t rank_size, gather_size;
    sol_measure_scratch scratch;
    double seconds;                 /* in looks and records */
    float *measure;                 /* [SOL_MEASURE_COUNT, n_layers] */
    uint32_t *hist[SOL_HIST_KINDS]; /* [n_layers, bins] */
};

/* ---- which layers ---- */

static bool term_matches(const sol_param *p, const char *term)
{
    char *end, pattern[128];
    long first = strtol(term, &end, 10), last = first;
    if (strcmp(term, "all") == 0) return true;
    if (end != term) {
        if (*end == '-') {
            char *from = end + 1;
            last = strtol(from, &end, 10);
            if (end == from) return false;
        }
        if (*end == 0) return p->layer >= first && p->layer <= last;
    }
    snprintf(pattern, sizeof pattern, "*%s*", term);
    return fnmatch(pattern, p->name, 0) == 0;
}

static bool selectable(const sol_param *p)
{
    return p->quantized && p->layer >= 0;
}

sol_status sol_study_select(const sol_model *m, const char *terms, bool *chosen, int *n,
                            sol_err *err)
{
    char term[96];
    *n = 0;
    memset(chosen, 0, (size_t)m->n_params * sizeof *chosen);
    for (const char *s = terms;; s++) {
        s += strspn(s, ", ");
        size_t len = strcspn(s, ", ");
        if (len == 0) break;
        bool found = false;
        snprintf(term, sizeof term, "%.*s", (int)(len < sizeof term ? len : sizeof term - 1), s);
        for (int i = 0; i < m->n_params; i++) {
            if (!selectable(&m->params[i]) || !term_matches(&m->params[i], term)) continue;
            *n += !chosen[i];
            chosen[i] = found = true;
        }
        if (!found)
            return sol_fail(err, SOL_ERR_CONFIG,
                            "'%s' names no linear layer, expected all, a block from 0 to %lld, "
                            "blocks as 0-3, or a part of a name as down_proj",
                            term, (long long)m->config.num_hidden_layers - 1);
        s += len;
        if (*s == 0) break;
    }
    return *n > 0
               ? SOL_OK
               : sol_fail(err, SOL_ERR_CONFIG, "is empty, expected all, blocks or parts of names");
}

/* ---- sizes ---- */

typedef struct sizes {
    int n_layers;
    size_t state, dx, rank, gather, product; /* bytes; rank and gather of one thread */
    int64_t rows, largest,
        widest; /* sampled rows in all; weights of the largest layer; rows of the tallest */
} sizes;

static sizes measure_sizes(const sol_model *m, const bool *chosen, const sol_study_opts *o)
{
    sizes z = {.state = sizeof(state_head)};
    int64_t tokens = sol_min_i64(o->tokens, o->sample_rows);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!chosen[i]) continue;
        int64_t sampled = sol_min_i64(p->rows, o->sample_rows),
                taller = sol_max_i64(sampled, tokens);
        z.n_layers++;
        z.rows += sampled + tokens;
        z.state += (size_t)(2 * sampled * p->cols) * sizeof(float) +
                   sol_round_up_size(sol_state_bytes(p->rows, p->cols), 4);
        z.dx += (size_t)(tokens * p->cols) * sizeof(float);
        z.largest = sol_max_i64(z.largest, p->rows * p->cols);
        z.widest = sol_max_i64(z.widest, p->rows);
        size_t rank = sol_rank_work(taller, p->cols) * sizeof(double),
               gather = (size_t)(sampled * p->cols) * sizeof(float);
        if (rank > z.rank) z.rank = rank;
        if (gather > z.gather) z.gather = gather;
        size_t product = sol_gemm_bf16_scratch(p->cols, p->rows);
        if (product > z.product) z.product = product;
    }
    return z;
}

static sol_status choose(const sol_model *m, const sol_study_opts *o, bool **chosen, sizes *z,
                         sol_err *err)
{
    int n;
    SOL_TRY(sol_alloc_array((void **)chosen, (size_t)m->n_params, sizeof **chosen, err));
    SOL_TRY(sol_study_select(m, o->layers, *chosen, &n, err));
    *z = measure_sizes(m, *chosen, o);
    return SOL_OK;
}

sol_status sol_study_plan(const sol_model *m, const sol_study_opts *o, int threads, sol_plan *plan,
                          sol_err *err)
{
    bool *chosen = NULL;
    sizes z = {0};
    sol_status st = choose(m, o, &chosen, &z, err);
    if (st == SOL_OK)
        sol_plan_add(plan, "study",
                     z.state + z.dx + z.product + (size_t)threads * (z.rank + z.gather) +
                         (size_t)z.largest * 3 +
                         (m->dtype == SOL_F32 ? 0 : (size_t)z.largest * sizeof(float)));
    sol_free(chosen);
    return st;
}

/* ---- creating ---- */

static void fill_head(sol_study *s, const sol_quant_spec *spec)
{
    sol_study_head *h = &s->head;
    sol_study_head_quant(h, &s->spec);
    if (!spec->method) snprintf(h->method, sizeof h->method, "none");
    h->every = s->opts.every;
    h->steps = s->opts.steps;
    h->sample_rows = s->opts.sample_rows;
}

static sol_status allocate(sol_study *s, const sizes *z, sol_err *err)
{
    size_t threads = (size_t)sol_pool_threads(s->ctx->pool), n = (size_t)z->n_layers;
    s->n_layers = z->n_layers;
    s->state_bytes = z->state;
    s->rank_size = z->rank / sizeof *s->rank;
    s->gather_size = z->gather / sizeof *s->gathered;
    SOL_TRY(sol_alloc_array((void **)&s->info, n, sizeof *s->info, err));
    SOL_TRY(sol_alloc_array((void **)&s->layer, n, sizeof *s->layer, err));
    SOL_TRY(sol_alloc_array((void **)&s->state, z->state, 1, err));
    SOL_TRY(sol_alloc_array((void **)&s->rows, (size_t)z->rows, sizeof *s->rows, err));
    SOL_TRY(sol_alloc_array((void **)&s->dx, z->dx, 1, err));
    if (s->model->dtype != SOL_F32)
        SOL_TRY(sol_alloc_array((void **)&s->dense, (size_t)z->largest, sizeof *s->dense, err));
    SOL_TRY(sol_alloc_array((void **)&s->dy,
                            (size_t)(z->widest * sol_min_i64(s->opts.tokens, s->opts.sample_rows)),
                            sizeof *s->dy, err));
    SOL_TRY(sol_alloc_array(&s->product, z->product, 1, err));
    SOL_TRY(sol_alloc_array((void **)&s->rank, threads, z->rank, err));
    SOL_TRY(sol_alloc_array((void **)&s->gathered, threads, z->gather, err));
    SOL_TRY(sol_measure_scratch_create(&s->scratch, z->largest, err));
    SOL_TRY(sol_alloc_array((void **)&s->measure, n * SOL_MEASURE_COUNT, sizeof *s->measure, err));
    for (int k = 0; k < SOL_HIST_KINDS; k++)
        SOL_TRY(sol_alloc_array((void **)&s->hist[k], n * (size_t)sol_hist_bins(k),
                                sizeof **s->hist, err));
    return SOL_OK;
}

static void place_layers(sol_study *s, const bool *chosen)
{
    int64_t *rows = s->rows;
    float *values = (float *)(s->state + 1), *dx = s->dx;
    uint64_t digest = SOL_FNV_START;
    int n = 0;
    for (int i = 0; i < s->model->n_params; i++) {
        const sol_param *p = &s->model->params[i];
        if (!chosen[i]) continue;
        sol_study_layer *info = &s->info[n];
        layer *l = &s->layer[n++];
        memcpy(info->name, p->name, sizeof info->name);
        *l = (layer){.param = p, .weight_row = rows};
        info->block = p->layer;
        info->rows = p->rows;
        info->cols = p->cols;
        info->weight_rows = sol_sample_rows(p->rows, s->opts.sample_rows, rows);
        l->token_row = rows += info->weight_rows;
        info->token_rows =
            s->opts.tokens > 0 ? sol_sample_rows(s->opts.tokens, s->opts.sample_rows, rows) : 0;
        rows += info->token_rows;
        l->w = values;
        l->g = values + info->weight_rows * p->cols;
        l->states = (uint8_t *)(l->g + info->weight_rows * p->cols);
        values = (float *)(l->states + sol_round_up_size(sol_state_bytes(p->rows, p->cols), 4));
        l->dx = info->token_rows ? dx : NULL;
        dx += info->token_rows * p->cols;
        int64_t shape[4] = {p->rows, p->cols, info->weight_rows, s->spec.layout};
        digest = sol_fnv1a(sol_fnv1a(digest, p->name, strlen(p->name)), shape, sizeof shape);
    }
    s->state->layout = digest;
}

sol_status sol_study_create(sol_study **out, sol_ctx *ctx, const sol_model *m,
                            const sol_quant_spec *spec, const sol_study_opts *o, sol_err *err)
{
    sol_study *s;
    bool *chosen = NULL;
    sizes z = {0};
    sol_status st = sol_alloc_array((void **)&s, 1, sizeof *s, err);
    *out = s;
    if (st != SOL_OK) return st;
    s->ctx = ctx;
    s->model = m;
    s->opts = *o;
    s->opts.layers = NULL; /* the caller's text is not kept */
    st = choose(m, o, &chosen, &z, err);
    if (st == SOL_OK) st = sol_study_view(m, chosen, spec, &s->spec, err);
    if (st == SOL_OK) st = allocate(s, &z, err);
    if (st == SOL_OK) {
        place_layers(s, chosen);
        fill_head(s, spec);
    }
    sol_free(chosen);
    if (st != SOL_OK) sol_study_free(out);
    return st;
}

void sol_study_free(sol_study **sp)
{
    sol_study *s = *sp;
    if (!s) return;
    sol_study_file_close(&s->file);
    sol_free(s->info);
    sol_free(s->layer);
    sol_free(s->state);
    sol_free(s->rows);
    sol_free(s->dx);
    sol_free(s->dense);
    sol_free(s->dy);
    sol_free(s->product);
    sol_free(s->rank);
    sol_free(s->gathered);
    sol_measure_scratch_free(&s->scratch);
    sol_free(s->measure);
    for (int k = 0; k < SOL_HIST_KINDS; k++) sol_free(s->hist[k]);
    sol_free(s);
    *sp = NULL;
}

/* ---- the file ---- */

static const float *weights(const sol_study *s, const sol_param *p)
{
    const void *data = sol_model_at(s->model, p);
    if (s->model->dtype == SOL_F32) return data;
    sol_convert(s->dense, SOL_F32, data, s->model->dtype, p->rows * p->cols);
    return s->dense;
}

/* Exactly those from `step` to the end, so that a resume finds room and a file of the same bits. */
static int64_t records_needed(const sol_study *s, int64_t step)
{
    int64_t every = s->opts.every, end = s->opts.steps;
    bool last_alone = step < end && (end - 1) % every != 0;
    return sol_max_i64(sol_ceil_div(end, every) - sol_ceil_div(step, every), 0) + last_alone;
}

static sol_status create_file(sol_study *s, const char *path, int64_t step,
                              const sol_study_file *from, sol_err *err)
{
    sol_study_file *f;
    int64_t n = sol_max_i64(records_needed(s, step) + (from ? sol_study_file_records(from) : 0), 1);
    if (!from)
        for (int i = 0; i < s->n_layers; i++) {
            const sol_param *p = s->layer[i].param;
            s->info[i].w_range = (double)sol_histogram_range(weights(s, p), p->rows * p->cols);
        }
    sol_status st = sol_study_file_create(&f, path, &s->head, s->info, s->n_layers,
                                          sol_study_columns, SOL_STUDY_COLUMNS, n, from, err);
    sol_study_file_close(&s->file);
    s->file = f;
    return st;
}

/* The layers of a file that is continued: the same as now, up to the range of the histogram, which
 * stays the file's. */
static sol_status adopt_layers(sol_study *s, const char *path, sol_err *err)
{
    int n;
    const sol_study_layer *was = sol_study_file_layers(s->file, &n);
    for (int i = 0; i < n && i < s->n_layers; i++) {
        const sol_study_layer *a = &was[i];
        sol_study_layer *b = &s->info[i];
        if (strcmp(a->name, b->name) != 0 || a->rows != b->rows || a->cols != b->cols ||
            a->weight_rows != b->weight_rows || a->token_rows != b->token_rows)
            n = -1;
        b->w_range = a->w_range;
    }
    if (n != s->n_layers)
        return sol_fail(
            err, SOL_ERR_CONFIG,
            "%s: holds records of other layers or samples than study.layers, study.rows and the "
            "batch ask for now; set them back, or move the file away",
            path);
    return SOL_OK;
}

static sol_status cut_records(sol_study *s, int64_t step, sol_err *err)
{
    int64_t n = sol_study_file_records(s->file);
    sol_status st = SOL_OK;
    while (st == SOL_OK && n > 0) {
        uint64_t last;
        st = sol_study_file_read(s->file, SOL_STUDY_STEP, n - 1, 1, &last, err);
        if (st != SOL_OK || last < (uint64_t)step) break;
        n--;
    }
    return st == SOL_OK ? sol_study_file_cut(s->file, n, err) : st;
}

sol_status sol_study_start(sol_study *s, const char *path, int64_t step, sol_err *err)
{
    sol_study_file_close(&s->file);
    if (step == 0 || !sol_file_exists(path)) return create_file(s, path, step, NULL, err);
    sol_status st =
        sol_study_file_open(&s->file, path, true, sol_study_columns, SOL_STUDY_COLUMNS, err);
    if (st == SOL_OK) st = adopt_layers(s, path, err);
    if (st == SOL_OK) st = cut_records(s, step, err);
    if (st == SOL_OK && sol_study_file_capacity(s->file) <
                            sol_study_file_records(s->file) + records_needed(s, step))
        st = create_file(s, path, step, s->file, err);
    if (st != SOL_OK) sol_study_file_close(&s->file);
    return st;
}

/* ---- records ---- */

bool sol_study_due(int64_t every, int64_t steps, int64_t step)
{
    return every > 0 && (step % every == 0 || step == steps - 1);
}

static int find_layer(const sol_study *s, const sol_param *p)
{
    for (int i = 0; i < s->n_layers; i++)
        if (s->layer[i].param == p) return i;
    return -1;
}

/* dL/dX of the layer alone, on the sampled tokens: dY W_eff, in the type the training computes in.
 */
static void sample_dx(sol_study *s, const layer *l, int i, const sol_operand *w,
                      const sol_operand *dy)
{
    const sol_param *p = l->param;
    int64_t n = s->info[i].token_rows;
    sol_dtype type = dy->bf16 ? SOL_BF16 : SOL_F32;
    for (int64_t r = 0; r < n; r++)
        sol_convert(s->dy + r * p->rows, SOL_F32,
                    (const char *)dy->data +
                        (size_t)(l->token_row[r] * dy->ld) * sol_dtype_size(type),
                    type, p->rows);
    sol_operand a = {.data = s->dy, .ld = p->rows};
    if (w->bf16)
        sol_gemm_bf16(s->ctx, n, p->cols, p->rows, 1, &a, w, 0, l->dx, p->cols, s->product);
    else
        sol_gemm(s->ctx, false, false, n, p->cols, p->rows, 1, s->dy, p->rows, w->data, p->cols, 0,
                 l->dx, p->cols);
    s->has_dx = true;
}

/* sol_graph_watch_fn */
static void look(void *user, const sol_param *p, const sol_operand *w, const sol_operand *dy,
                 int64_t tokens)
{
    sol_study *s = user;
    double begun = sol_clock();
    int i = find_layer(s, p);
    (void)tokens;
    if (i >= 0 && s->layer[i].dx) sample_dx(s, &s->layer[i], i, w, dy);
    s->seconds += sol_clock() - begun;
}

void sol_study_watch(sol_study *s, sol_graph *g)
{
    s->has_dx = false;
    sol_graph_watch(g, look, s);
}

static float *measure_cell(const sol_study *s, int m, int i)
{
    return &s->measure[m * s->n_layers + i];
}

static void measure_weights_of(sol_study *s, int i)
{
    const sol_param *p = s->layer[i].param;
    double m[SOL_MEASURE_COUNT];
    sol_histograms h;
    for (int k = 0; k < SOL_MEASURE_COUNT; k++) m[k] = NAN;
    sol_quant_matrix x = {.w = weights(s, p), .rows = p->rows, .cols = p->cols};
    if (s->model->n_learned > 0) x = sol_model_quant_matrix(s->model, p);
    sol_quant_spec own = sol_study_layer_view(&s->spec, p->name);
    sol_measure_layer(s->ctx, &own, &x, (float)s->info[i].w_range, &s->scratch, s->layer[i].states,
                      s->state->has_weights, m, &h);
    for (int k = 0; k < SOL_MEASURE_COUNT; k++) *measure_cell(s, k, i) = (float)m[k];
    const uint32_t *parts[SOL_HIST_KINDS] = {h.zeroed, h.kept, h.w, h.log2};
    for (int k = 0; k < SOL_HIST_KINDS; k++)
        memcpy(s->hist[k] + (size_t)i * (size_t)sol_hist_bins(k), parts[k],
               (size_t)sol_hist_bins(k) * sizeof **s->hist);
}

typedef struct sample_args {
    sol_study *s;
    const float *grads; /* NULL: none */
} sample_args;

static void gather(float *out, const float *from, const int64_t *row, int64_t n, int64_t cols)
{
    for (int64_t r = 0; r < n; r++)
        memcpy(out + r * cols, from + row[r] * cols, (size_t)cols * sizeof *out);
}

static float rank_share(const float *g, int64_t rows, int64_t cols, double *work)
{
    return (float)(sol_effective_rank(g, rows, cols, work) / (double)sol_min_i64(rows, cols));
}

/* Tile 2 i: the gradient of layer i; tile 2 i + 1: dL/dX. */
static void sample_tile(void *arg, int64_t tile, int thread)
{
    const sample_args *a = arg;
    sol_study *s = a->s;
    int i = (int)(tile / 2);
    const layer *l = &s->layer[i];
    const sol_study_layer *info = &s->info[i];
    double *work = s->rank + (size_t)thread * s->rank_size;
    int64_t n = info->weight_rows * info->cols;
    if (tile % 2) {
        *measure_cell(s, SOL_M_er_dx, i) =
            s->has_dx && l->dx ? rank_share(l->dx, info->token_rows, info->cols, work) : NAN;
        return;
    }
    if (!a->grads) return;
    float *now = s->gathered + (size_t)thread * s->gather_size;
    gather(now, a->grads + l->param->offset, l->weight_row, info->weight_rows, info->cols);
    if (s->state->has_gradient)
        *measure_cell(s, SOL_M_grad_cosine, i) = (float)sol_cosine(now, l->g, n);
    *measure_cell(s, SOL_M_er_dw, i) = rank_share(now, info->weight_rows, info->cols, work);
    memcpy(l->g, now, (size_t)n * sizeof *now);
}

static void sample_weights(sol_study *s, int i)
{
    const layer *l = &s->layer[i];
    const sol_study_layer *info = &s->info[i];
    const float *w = weights(s, l->param);
    int64_t n = info->weight_rows * info->cols;
    gather(s->gathered, w, l->weight_row, info->weight_rows, info->cols);
    if (s->state->has_weights)
        *measure_cell(s, SOL_M_unchanged, i) = (float)sol_share_unchanged(s->gathered, l->w, n);
    memcpy(l->w, s->gathered, (size_t)n * sizeof *l->w);
}

static sol_status append(sol_study *s, const sol_study_at *at, sol_err *err)
{
    uint64_t step = (uint64_t)at->step, tokens = (uint64_t)at->tokens;
    const void *rows[SOL_STUDY_COLUMNS] = {[SOL_STUDY_STEP] = &step,
                                           [SOL_STUDY_TOKENS] = &tokens,
                                           [SOL_STUDY_LAMBDA] = &at->lambda,
                                           [SOL_STUDY_LR] = &at->lr,
                                           [SOL_STUDY_LOSS] = &at->loss};
    for (int m = 0; m < SOL_MEASURE_COUNT; m++)
        rows[SOL_STUDY_MEASURES + m] = measure_cell(s, m, 0);
    for (int k = 0; k < SOL_HIST_KINDS; k++) rows[SOL_STUDY_HISTOGRAMS + k] = s->hist[k];
    return sol_study_file_append(s->file, rows, err);
}

sol_status sol_study_record(sol_study *s, sol_graph *g, const sol_study_at *at, sol_err *err)
{
    sample_args a = {s, sol_graph_grads(g)};
    double begun = sol_clock();
    sol_graph_watch(g, NULL, NULL);
    for (int i = 0; i < s->n_layers; i++) {
        const sol_param *p = s->layer[i].param;
        measure_weights_of(s, i);
        sample_weights(s, i);
        if (a.grads)
            *measure_cell(s, SOL_M_grad_norm, i) =
                (float)sol_measure_norm(s->ctx->pool, a.grads + p->offset, p->rows * p->cols);
    }
    sol_pool_run(s->ctx->pool, 2 * s->n_layers, sample_tile, &a);
    s->state->has_weights = 1;
    s->state->has_gradient = a.grads != NULL;
    s->has_dx = false;
    sol_status st = append(s, at, err);
    s->seconds += sol_clock() - begun;
    return st;
}

sol_study_record_view sol_study_newest(const sol_study *s)
{
    return (sol_study_record_view){.n_layers = s->n_layers,
                                   .layers = s->info,
                                   .measure = s->measure,
                                   .w = s->hist[SOL_HIST_W]};
}

double sol_study_seconds(const sol_study *s)
{
    return s ? s->seconds : 0;
}

/* ---- the state ---- */

const void *sol_study_state(const sol_study *s, size_t *size)
{
    *size = s->state_bytes;
    return s->state;
}

sol_status sol_study_restore(sol_study *s, const void *state, size_t size, sol_err *err)
{
    state_head head = {0};
    if (size == s->state_bytes) memcpy(&head, state, sizeof head);
    if (size != s->state_bytes || head.layout != s->state->layout)
        return sol_fail(
            err, SOL_ERR_FORMAT,
            "the state of the study is of other layers or samples than study.layers and study.rows "
            "ask for now");
    memcpy(s->state, state, size);
    return SOL_OK;
}
