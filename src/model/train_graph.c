#include "model/train_graph.h"

#include <string.h>

#include "autograd/ops.h"
#include "kernels/gemm.h"

struct sol_graph {
    sol_ctx *ctx;
    const sol_model *model;
    sol_quant_spec spec;
    sol_graph_opts opts;
    sol_quant_mix mix; /* read by the fake-quant nodes */
    sol_tape *tape;
    float *grads;                 /* [model->n_elements] */
    bool fresh_grads;             /* the next micro-batch sets them */
    sol_graph_done_fn done;       /* by_layer; NULL: none */
    void *done_user;
    sol_var *weight;              /* [layers * SOL_BLOCK_PARAMS]: the tensor each block multiplies by */
    sol_var *bias;                /* the same: a bias that the method makes, and -1 without one */
    float *row_bias, *d_row_bias; /* of all linear layers, in the order of `weight`; NULL: the method has none */
    sol_var tokens, targets, doc_start, position, cosine, sine; /* inputs */
    sol_var embedding, head, hidden, loss;
    float *wide; /* the largest linear layer in f32, for gradients of a bf16 model that are not straight through; NULL: not needed */
    sol_graph_watch_fn watch; /* NULL: none */
    void *watch_user;
};

static sol_shape param_shape(const sol_param *p)
{
    return sol_shape2(p->rows, p->cols);
}

/* ---- gradients: of the whole model, or (by_layer) of one block, then of what lies outside the blocks ---- */

/* Elements from a block's first parameter to the end of its last. */
static int64_t block_elements(const sol_model *m)
{
    const sol_param *last = sol_model_block_param(m, 0, SOL_BLOCK_DOWN);
    return last->offset + sol_param_count(last) - sol_model_block_param(m, 0, SOL_BLOCK_INPUT_NORM)->offset;
}

static int64_t round_up(int64_t n)
{
    return (n + SOL_PARAM_ALIGN - 1) / SOL_PARAM_ALIGN * SOL_PARAM_ALIGN;
}

/* The first parameter whose gradient lies together with that of p. */
static const sol_param *group_start(const sol_model *m, const sol_param *p)
{
    if (p->layer >= 0) return sol_model_block_param(m, p->layer, SOL_BLOCK_INPUT_NORM);
    return p == sol_model_embedding(m) ? p : sol_model_final_norm(m);
}

static int64_t grad_count(const sol_model *m, const sol_graph_opts *o)
{
    if (o->no_grad) return 0;
    if (!o->by_layer) return m->n_elements;
    return round_up(block_elements(m)) + round_up(sol_param_count(sol_model_embedding(m))) +
           (m->n_elements - sol_model_final_norm(m)->offset);
}

/* Where the gradient of p begins in g->grads. */
static int64_t grad_offset(const sol_graph *g, const sol_param *p)
{
    const sol_model *m = g->model;
    if (!g->opts.by_layer) return p->offset;
    int64_t at = p->offset - group_start(m, p)->offset;
    if (p->layer >= 0) return at;
    at += round_up(block_elements(m));
    return p == sol_model_embedding(m) ? at : at + round_up(sol_param_count(sol_model_embedding(m)));
}

/* ---- recording ---- */

/* A parameter in f32: a bf16 parameter is widened, once a step in the prologue, or by_layer where its block needs it. */
static sol_var leaf(sol_graph *g, const sol_param *p)
{
    const void *data = g->model->data ? sol_model_at(g->model, p) : NULL;
    float *grad = g->grads ? g->grads + grad_offset(g, p) : NULL;
    sol_var v = sol_tape_param(g->tape, g->model->dtype, param_shape(p), data, grad);
    return g->model->dtype == SOL_F32 ? v : sol_widen(g->tape, v);
}

static bool has_bias(const sol_graph *g)
{
    return g->spec.method && g->spec.method->dead_bias != 0;
}

/* Rows of the linear layers before parameter p; of all of them with NULL. */
static int64_t rows_before(const sol_model *m, const sol_param *p)
{
    int64_t rows = 0;
    for (int i = 0; i < m->n_params && &m->params[i] != p; i++)
        if (m->params[i].kind == SOL_PARAM_LINEAR) rows += m->params[i].rows;
    return rows;
}

/* W_eff = a Q(W) + b W of a linear layer, and its bias where the method makes one. */
static void record_quantized(sol_graph *g, const sol_param *p, int64_t index)
{
    const sol_quantizer *q = g->spec.method;
    sol_quant_extra extra = {{0}, NULL};
    for (int k = 0; g->model->data && k < q->n_learned; k++)
        extra.learned[k] = sol_model_f32(g->model, sol_model_learned(g->model, p, k));
    if (has_bias(g)) {
        int64_t row = rows_before(g->model, p);
        extra.bias = g->row_bias ? g->row_bias + row : NULL;
        float *d = g->d_row_bias ? g->d_row_bias + row : NULL;
        g->bias[index] = sol_tape_param(g->tape, SOL_F32, sol_shape2(1, p->rows), extra.bias, d);
    }
    g->weight[index] = sol_fake_quant(g->tape, g->weight[index], &g->spec, &g->mix, &extra);
}

static sol_status check_quant(const sol_graph *g, sol_err *err)
{
    const sol_model *m = g->model;
    const sol_quantizer *q = g->spec.method;
    sol_status st = SOL_OK;
    if (q && m->data && m->n_learned != q->n_learned)
        return sol_fail(err, SOL_ERR_USAGE, "the model lacks the parameters that %s learns", q->name);
    if (q && q->n_learned > 0 && g->opts.by_layer)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "%s learns parameters: their gradients are not made block by block", q->name);
    for (int i = 0; q && st == SOL_OK && i < m->n_params; i++)
        if (m->params[i].kind == SOL_PARAM_LINEAR)
            st = sol_quant_check(&g->spec, m->params[i].name, m->params[i].rows, m->params[i].cols, err);
    return st;
}

/* What block `layer` computes with in place of a parameter. */
static void record_weight(sol_graph *g, int64_t layer, sol_block_param which)
{
    const sol_param *p = sol_model_block_param(g->model, layer, which);
    int64_t index = layer * SOL_BLOCK_PARAMS + which;
    g->weight[index] = leaf(g, p);
    g->bias[index] = -1;
    if (p->kind == SOL_PARAM_LINEAR && g->spec.method) record_quantized(g, p, index);
}

/* Of all blocks, once a step. */
static void record_weights(sol_graph *g)
{
    sol_tape_prologue(g->tape, true);
    for (int64_t l = 0; l < g->model->config.num_hidden_layers; l++)
        for (int i = 0; i < SOL_BLOCK_PARAMS; i++) record_weight(g, l, (sol_block_param)i);
    sol_tape_prologue(g->tape, false);
}

static sol_var weight(sol_graph *g, int64_t layer, sol_block_param which)
{
    if (g->opts.by_layer) record_weight(g, layer, which);
    return g->weight[layer * SOL_BLOCK_PARAMS + which];
}

static void record_inputs(sol_graph *g)
{
    const sol_model_config *c = &g->model->config;
    sol_tape *t = g->tape;
    int64_t n = g->opts.batch * g->opts.seq;
    g->tokens = sol_tape_input(t, SOL_I32, sol_shape1(n));
    g->targets = sol_tape_input(t, SOL_I32, sol_shape1(n));
    g->doc_start = sol_tape_input(t, SOL_I32, sol_shape1(n));
    g->position = sol_tape_input(t, SOL_I32, sol_shape1(n));
    g->cosine = sol_tape_input(t, SOL_F32, sol_shape2(g->opts.seq, c->head_dim / 2));
    g->sine = sol_tape_input(t, SOL_F32, sol_shape2(g->opts.seq, c->head_dim / 2));
}

/* A linear layer of a block. */
static sol_var project(sol_graph *g, int64_t layer, sol_block_param which, sol_var x)
{
    int64_t index = layer * SOL_BLOCK_PARAMS + which;
    sol_var y = sol_linear(g->tape, x, weight(g, layer, which));
    return g->bias[index] < 0 ? y : sol_add_bias(g->tape, y, g->bias[index]);
}

/* x + attention(norm(x)) */
static sol_var record_attention(sol_graph *g, int64_t l, sol_var x)
{
    const sol_model_config *c = &g->model->config;
    sol_attention_shape shape = {g->opts.batch, g->opts.seq, c->num_attention_heads, c->num_key_value_heads,
                                 c->head_dim};
    sol_tape *t = g->tape;
    sol_var h = sol_rmsnorm(t, x, weight(g, l, SOL_BLOCK_INPUT_NORM), (float)c->rms_norm_eps);
    sol_var q = sol_rope(t, project(g, l, SOL_BLOCK_Q, h), g->position, g->cosine, g->sine, c->head_dim);
    sol_var k = sol_rope(t, project(g, l, SOL_BLOCK_K, h), g->position, g->cosine, g->sine, c->head_dim);
    sol_var v = project(g, l, SOL_BLOCK_V, h);
    sol_var o = sol_attention(t, q, k, v, g->doc_start, &shape);
    return sol_add(t, x, project(g, l, SOL_BLOCK_O, o));
}

/* x + down(silu(gate(norm(x))) * up(norm(x))) */
static sol_var record_mlp(sol_graph *g, int64_t l, sol_var x)
{
    sol_tape *t = g->tape;
    sol_var h = sol_rmsnorm(t, x, weight(g, l, SOL_BLOCK_POST_NORM), (float)g->model->config.rms_norm_eps);
    sol_var a = sol_swiglu(t, project(g, l, SOL_BLOCK_GATE, h), project(g, l, SOL_BLOCK_UP, h));
    return sol_add(t, x, project(g, l, SOL_BLOCK_DOWN, a));
}

static sol_status record(sol_graph *g, sol_err *err)
{
    const sol_model *m = g->model;
    sol_tape *t = g->tape;
    sol_status st = check_quant(g, err);
    if (st != SOL_OK) return st;
    record_inputs(g);
    sol_tape_prologue(t, true);
    g->embedding = leaf(g, sol_model_embedding(m));
    sol_var final_norm = leaf(g, sol_model_final_norm(m));
    g->head = m->config.tie_word_embeddings ? g->embedding : leaf(g, sol_model_head(m));
    sol_tape_prologue(t, false);
    if (!g->opts.by_layer) record_weights(g);
    sol_var x = sol_embedding(t, g->tokens, g->embedding);
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        sol_tape_segment(t, (int)l);
        x = record_attention(g, l, x);
        x = record_mlp(g, l, x);
    }
    sol_tape_segment(t, -1);
    g->hidden = sol_rmsnorm(t, x, final_norm, (float)m->config.rms_norm_eps);
    sol_tape_keep(t, g->hidden);
    g->loss = sol_head_loss(t, g->hidden, g->head, g->targets);
    return sol_tape_plan(t, g->loss, &(sol_tape_opts){g->opts.no_grad, g->opts.activation_checkpoints}, err);
}

/* Biases of all linear layers in one block, their gradients in another. */
static sol_status alloc_biases(sol_graph *g, sol_err *err)
{
    int64_t rows = rows_before(g->model, NULL);
    sol_status st = sol_alloc_array((void **)&g->row_bias, (size_t)rows, sizeof *g->row_bias, err);
    if (st == SOL_OK && !g->opts.no_grad)
        st = sol_alloc_array((void **)&g->d_row_bias, (size_t)rows, sizeof *g->d_row_bias, err);
    return st;
}

static size_t wide_count(const sol_graph *g)
{
    int64_t most = 0;
    if (g->model->dtype == SOL_F32 || g->opts.no_grad || sol_quant_is_straight_through(&g->spec)) return 0;
    for (int i = 0; i < g->model->n_params; i++) {
        const sol_param *p = &g->model->params[i];
        if (p->kind == SOL_PARAM_LINEAR && sol_param_count(p) > most) most = sol_param_count(p);
    }
    return (size_t)most;
}

static sol_status check(const sol_graph_opts *o, sol_err *err)
{
    if (o->batch < 1 || o->seq < 1 || o->batch > INT32_MAX / o->seq)
        return sol_fail(err, SOL_ERR_RANGE, "a batch of %lld x %lld tokens is out of range", (long long)o->batch,
                        (long long)o->seq);
    return SOL_OK;
}

static sol_status create(sol_graph **out, sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec,
                         const sol_graph_opts *o, bool dry, sol_err *err)
{
    *out = NULL;
    sol_graph *g;
    sol_status st = check(o, err);
    if (st == SOL_OK) st = sol_alloc_array((void **)&g, 1, sizeof *g, err);
    if (st != SOL_OK) return st;
    *g = (sol_graph){.ctx = ctx, .model = m, .opts = *o, .mix = {{1, 0}, 1}, .fresh_grads = true};
    if (spec) g->spec = *spec;
    st = sol_tape_create(&g->tape, ctx, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&g->weight, (size_t)m->config.num_hidden_layers * SOL_BLOCK_PARAMS,
                             sizeof *g->weight, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&g->bias, (size_t)m->config.num_hidden_layers * SOL_BLOCK_PARAMS, sizeof *g->bias,
                             err);
    if (st == SOL_OK && !dry && has_bias(g)) st = alloc_biases(g, err);
    if (st == SOL_OK && !dry) st = sol_alloc_array((void **)&g->wide, wide_count(g), sizeof *g->wide, err);
    if (st == SOL_OK && !dry && !o->no_grad)
        st = sol_alloc_array((void **)&g->grads, (size_t)grad_count(m, o), sizeof(float), err);
    if (st == SOL_OK) st = record(g, err);
    if (st == SOL_OK && !dry) st = sol_tape_allocate(g->tape, err);
    if (st != SOL_OK) sol_graph_free(&g);
    *out = g;
    return st;
}

sol_status sol_graph_plan(const sol_model *m, const sol_quant_spec *spec, const sol_graph_opts *o, sol_plan *plan,
                          sol_err *err)
{
    sol_graph *g;
    sol_status st = create(&g, NULL, m, spec, o, true, err);
    if (st != SOL_OK) return st;
    if (!o->no_grad) sol_plan_add(plan, "parameter gradients", (size_t)grad_count(m, o) * sizeof(float));
    if (wide_count(g)) sol_plan_add(plan, "layer in fp32", wide_count(g) * sizeof(float));
    sol_tape_report(g->tape, plan);
    sol_graph_free(&g);
    return SOL_OK;
}

sol_status sol_graph_create(sol_graph **out, sol_ctx *ctx, const sol_model *m, const sol_quant_spec *spec,
                            const sol_graph_opts *o, sol_err *err)
{
    sol_status st = create(out, ctx, m, spec, o, false, err);
    if (st != SOL_OK) return st;
    sol_graph *g = *out;
    sol_rope_tables(&m->config, o->seq, sol_tape_data(g->tape, g->cosine), sol_tape_data(g->tape, g->sine));
    return SOL_OK;
}

void sol_graph_free(sol_graph **gp)
{
    sol_graph *g = *gp;
    if (!g) return;
    sol_tape_free(&g->tape);
    sol_free(g->grads);
    sol_free(g->weight);
    sol_free(g->bias);
    sol_free(g->row_bias);
    sol_free(g->d_row_bias);
    sol_free(g->wide);
    sol_free(g);
    *gp = NULL;
}

void sol_graph_begin_step(sol_graph *g, sol_residual_mix mix)
{
    g->mix = (sol_quant_mix){mix, mix.a + mix.b};
    sol_tape_prepare(g->tape);
}

static void set_inputs(sol_graph *g, const int32_t *tokens, const int32_t *targets, const int32_t *doc_start)
{
    int64_t n = g->opts.batch * g->opts.seq, T = g->opts.seq;
    int32_t *start = sol_tape_data(g->tape, g->doc_start), *position = sol_tape_data(g->tape, g->position);
    memcpy(sol_tape_data(g->tape, g->tokens), tokens, (size_t)n * sizeof *tokens);
    memcpy(sol_tape_data(g->tape, g->targets), targets, (size_t)n * sizeof *targets);
    for (int64_t i = 0; i < n; i++) {
        start[i] = doc_start ? doc_start[i] : 0;
        position[i] = (int32_t)(i % T) - start[i];
    }
}

static void read_loss(const sol_graph *g, double *loss_sum, int64_t *n)
{
    int64_t count = g->opts.batch * g->opts.seq;
    const int32_t *target = sol_tape_data(g->tape, g->targets);
    const float *loss = sol_tape_data(g->tape, g->loss);
    *loss_sum = 0;
    *n = 0;
    for (int64_t i = 0; i < count; i++) {
        *loss_sum += loss[i];
        *n += target[i] >= 0;
    }
}

static sol_quant_matrix quant_matrix(const sol_graph *g, const sol_param *p)
{
    if (g->model->dtype == SOL_F32) return sol_model_quant_matrix(g->model, p);
    sol_convert(g->wide, SOL_F32, sol_model_at(g->model, p), g->model->dtype, sol_param_count(p));
    return (sol_quant_matrix){.w = g->wide, .rows = p->rows, .cols = p->cols};
}

/* The gradients of W_eff become those of W, for parameters [first, first + n). */
static void finish_gradients(sol_graph *g, int first, int n)
{
    if (sol_quant_is_straight_through(&g->spec)) return;
    for (int i = first; i < first + n; i++) {
        const sol_param *p = &g->model->params[i];
        if (p->kind != SOL_PARAM_LINEAR) continue;
        sol_quant_matrix x = quant_matrix(g, p);
        const float *d_bias = g->d_row_bias ? g->d_row_bias + rows_before(g->model, p) : NULL;
        float *d_learned[SOL_QUANT_MAX_LEARNED] = {NULL};
        for (int k = 0; k < g->model->n_learned; k++)
            d_learned[k] = g->grads + sol_model_learned(g->model, p, k)->offset;
        sol_quant_backward(g->ctx, &g->spec, &x, g->mix.mix, d_bias, g->grads + grad_offset(g, p), d_learned);
    }
}

void sol_graph_finish_step(sol_graph *g)
{
    if (!g->opts.by_layer) finish_gradients(g, 0, sol_model_plain_params(g->model));
}

/* Hands out the gradients of n parameters that lie together. */
static void hand_out(sol_graph *g, const sol_param *p, int n)
{
    const sol_param *last = p + n - 1;
    sol_graph_part part = {.first = (int)(p - g->model->params), .n = n, .grads = g->grads + grad_offset(g, p),
                           .n_elements = last->offset + sol_param_count(last) - p->offset};
    int64_t counted;
    finish_gradients(g, part.first, n);
    read_loss(g, &part.loss_sum, &counted);
    if (g->done) g->done(g->done_user, &part);
}

static void after_block(void *user, int layer)
{
    sol_graph *g = user;
    hand_out(g, sol_model_block_param(g->model, layer, SOL_BLOCK_INPUT_NORM), SOL_BLOCK_PARAMS);
}

void sol_graph_on_gradients(sol_graph *g, sol_graph_done_fn fn, void *user)
{
    g->done = fn;
    g->done_user = user;
    sol_tape_after_segment(g->tape, fn ? after_block : NULL, g);
}

void sol_graph_accumulate(sol_graph *g, const int32_t *tokens, const int32_t *targets, const int32_t *doc_start,
                          float scale, double *loss_sum, int64_t *n)
{
    const sol_model *m = g->model;
    float *dloss = sol_tape_grad(g->tape, g->loss);
    set_inputs(g, tokens, targets, doc_start);
    for (int64_t i = 0; i < g->opts.batch * g->opts.seq; i++) dloss[i] = scale;
    sol_tape_run_backward(g->tape, g->fresh_grads || g->opts.by_layer);
    g->fresh_grads = false;
    read_loss(g, loss_sum, n);
    if (!g->opts.by_layer) return;
    hand_out(g, sol_model_embedding(m), 1);
    hand_out(g, sol_model_final_norm(m), m->config.tie_word_embeddings ? 1 : 2);
}

void sol_graph_loss(sol_graph *g, const int32_t *tokens, const int32_t *targets, const int32_t *doc_start,
                    double *loss_sum, int64_t *n)
{
    set_inputs(g, tokens, targets, doc_start);
    sol_tape_run_forward(g->tape);
    read_loss(g, loss_sum, n);
}

static const float *head_data(const sol_graph *g)
{
    if (g->model->dtype == SOL_F32) return sol_model_f32(g->model, sol_model_head(g->model));
    return sol_tape_data(g->tape, g->head);
}

void sol_graph_logits(sol_graph *g, float *logits)
{
    const sol_model_config *c = &g->model->config;
    sol_gemm(g->ctx, false, true, g->opts.batch * g->opts.seq, c->vocab_size, c->hidden_size, 1,
             sol_tape_data(g->tape, g->hidden), c->hidden_size, head_data(g), c->hidden_size, 0, logits, c->vocab_size);
}

static void watch_linear(void *user, const sol_op *op, const sol_var *in, const sol_op_call *call)
{
    const sol_graph *g = user;
    int64_t n = g->model->config.num_hidden_layers * SOL_BLOCK_PARAMS;
    if (op != &sol_op_linear) return;
    for (int64_t i = 0; i < n; i++) {
        if (g->weight[i] != in[1]) continue;
        const sol_param *p =
            sol_model_block_param(g->model, i / SOL_BLOCK_PARAMS, (sol_block_param)(i % SOL_BLOCK_PARAMS));
        g->watch(g->watch_user, p, call->in[1].data, call->out[0].grad, call->out[0].shape.dim[0]);
    }
}

void sol_graph_watch(sol_graph *g, sol_graph_watch_fn fn, void *user)
{
    g->watch = fn;
    g->watch_user = user;
    sol_tape_watch(g->tape, fn ? watch_linear : NULL, g);
}

float *sol_graph_grads(sol_graph *g)
{
    return g->opts.by_layer ? NULL : g->grads;
}

/* Only what is added to outside the tape needs zeros: the gradients of learned parameters. */
void sol_graph_new_grads(sol_graph *g)
{
    const sol_model *m = g->model;
    for (int i = sol_model_plain_params(m); i < m->n_params; i++)
        memset(g->grads + m->params[i].offset, 0, (size_t)sol_param_count(&m->params[i]) * sizeof *g->grads);
    g->fresh_grads = true;
}

void sol_graph_trace(sol_graph *g, sol_tape_trace_fn fn, void *user)
{
    sol_tape_trace(g->tape, fn, user);
}
