/* The training graph: records weights (fake-quantized where a method is given), blocks and loss on
 * a tape, once, and runs it for each micro-batch. The block itself is in block.c; what a gradient
 * takes from the loss to the parameter is the tape's (autograd/plan.c). */
#include "model/train_graph.h"

#include "kernels/gemm.h"
#include "model/block.h"
#include "model/teacher_net.h"
#include "quant/codec.h"

struct sol_graph {
    sol_ctx *ctx;
    const sol_model *model;
    sol_quant_spec spec;
    sol_graph_opts opts;
    sol_quant_mix mix; /* read by the fake-quant nodes */
    sol_tape *tape;
    float *grads;                /* [grad_count] */
    int64_t n_micro, done_micro; /* micro-batches of a step, and those that are through */
    sol_graph_done_fn done;      /* NULL: none */
    void *done_user;
    sol_var *weight; /* [model->n_params]: what the blocks compute with; -1 outside them */
    sol_var *bias;   /* the same: a bias that the method makes; -1 without one */
    sol_block_inputs in;
    sol_block block;
    sol_var embedding, head, hidden, loss;
    sol_distill distill;                  /* read by the loss */
    float distill_weight, ce_weight;      /* of its terms, when they are chosen */
    float hidden_factor, relation_factor; /* read by theirs */
    sol_var teacher_qkv[3], qkv[3];       /* of the block whose relations are compared */
    float *starts;                        /* [B T], too; NULL: it draws no samples */
    sol_teacher_net teacher;
    sol_var extra, hidden_sum, relation_sum, parts, top_ids, top_probs;
    sol_graph_watch_fn watch; /* NULL: none */
    void *watch_user;
};

/* A parameter as the tape sees it: every one is a matrix. */
static sol_shape param_shape(const sol_param *p)
{
    return sol_shape2(p->rows, p->cols);
}

/* ---- gradients: of the whole model, or (by_layer) of one block or two, then of what lies outside
 * the blocks ---- */

/* Elements of a block, the gaps behind its parameters included. */
static int64_t block_elements(const sol_model *m)
{
    return sol_model_block(m, 1)->offset - sol_model_block(m, 0)->offset;
}

/* Of all blocks that have gradients at a time. */
static int64_t blocks_elements(const sol_model *m, const sol_graph_opts *o)
{
    return (o->in_turns ? 2 : 1) * block_elements(m);
}

/* The first parameter behind the blocks. */
static const sol_param *behind_blocks(const sol_model *m)
{
    return sol_model_block(m, m->config.num_hidden_layers);
}

/* Elements of g->grads. */
static int64_t grad_count(const sol_model *m, const sol_graph_opts *o)
{
    if (o->no_grad) return 0;
    if (!o->by_layer) return m->n_elements;
    return blocks_elements(m, o) + sol_model_block(m, 0)->offset +
           (m->n_elements - behind_blocks(m)->offset);
}

/* Where the gradient of p begins in g->grads. By layer: of one block, or of an even and an odd one,
 * then of what lies before the blocks, then of what lies behind. */
static int64_t grad_offset(const sol_graph *g, const sol_param *p)
{
    const sol_model *m = g->model;
    int64_t blocks = blocks_elements(m, &g->opts);
    if (!g->opts.by_layer) return p->offset;
    if (p->layer >= 0)
        return p->offset - sol_model_block(m, p->layer)->offset +
               (g->opts.in_turns ? p->layer % 2 * block_elements(m) : 0);
    if (p < behind_blocks(m)) return blocks + p->offset;
    return blocks + sol_model_block(m, 0)->offset + (p->offset - behind_blocks(m)->offset);
}

/* ---- recording ---- */

/* A parameter as it is held. */
static sol_var record_param(sol_graph *g, const sol_param *p)
{
    const void *data = g->model->data ? sol_model_at(g->model, p) : NULL;
    float *grad = g->grads ? g->grads + grad_offset(g, p) : NULL;
    return sol_tape_param(g->tape, g->model->dtype, param_shape(p), data, grad);
}

/* A parameter in fp32. One held in bf16 is cast: once a step in the prologue, or by_layer where its
 * block needs it. */
static sol_var leaf(sol_graph *g, const sol_param *p)
{
    sol_var v = record_param(g, p);
    return g->model->dtype == SOL_F32 ? v : sol_cast(g->tape, v, SOL_F32);
}

/* How layer p is quantized; method NULL: not at all. */
static sol_quant_spec spec_of(const sol_graph *g, const sol_param *p)
{
    return p->quantized ? sol_quant_for(&g->spec, p->name) : (sol_quant_spec){0};
}

/* What no quantizer makes, as it ships. */
static sol_var shipped_leaf(sol_graph *g, const sol_param *p)
{
    sol_var w = leaf(g, p);
    sol_dtype type = sol_param_shipped(p, &g->spec);
    return type == SOL_F32 ? w : sol_fake_dense(g->tape, w, type, &g->spec);
}

/* W_eff = a Q(W) + b W of a linear layer, and its bias where the method makes one. */
static void record_quantized(sol_graph *g, const sol_param *p, const sol_quant_spec *spec,
                             int64_t index)
{
    sol_var learned[SOL_QUANT_MAX_LEARNED];
    sol_var w = record_param(g, p);
    bool has = sol_model_learned(g->model, p, 0); /* a table for plans may lack them */
    int n = has ? spec->method->n_learned : 0;
    for (int k = 0; k < n; k++) learned[k] = record_param(g, sol_model_learned(g->model, p, k));
    g->weight[index] = sol_fake_quant(g->tape, w, has ? learned : NULL, spec, &g->mix,
                                      g->opts.compute, &g->bias[index]);
}

/* Whether the model can be quantized so. */
static sol_status check_quant(const sol_graph *g, sol_err *err)
{
    const sol_model *m = g->model;
    const sol_quantizer *q = g->spec.method;
    if (!q) return SOL_OK;
    if (m->data && m->n_learned != q->n_learned)
        return sol_fail(err, SOL_ERR_USAGE, "the model lacks the parameters that %s learns",
                        q->name);
    if (q->n_learned > 0 && g->opts.by_layer)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s learns parameters: their gradients are not made block by block",
                        q->name);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        sol_quant_spec spec = spec_of(g, p);
        SOL_TRY(sol_quant_check(&spec, p->name, p->rows, p->cols, err));
        if (sol_param_shipped(p, &g->spec) == SOL_TERNARY)
            SOL_TRY(sol_packed_shape(&g->spec, p->name, p->rows, p->cols, &(sol_stored){0}, err));
    }
    return SOL_OK;
}

/* What block `layer` computes with in place of a parameter. */
static void record_weight(sol_graph *g, const sol_param *p)
{
    int64_t index = p - g->model->params;
    sol_quant_spec spec = spec_of(g, p);
    if (spec.method)
        record_quantized(g, p, &spec, index);
    else
        g->weight[index] = shipped_leaf(g, p);
}

/* Of all blocks, once a step. */
static void record_weights(sol_graph *g)
{
    sol_tape_prologue(g->tape, true);
    for (const sol_param *p = sol_model_block(g->model, 0); p < behind_blocks(g->model); p++)
        record_weight(g, p);
    sol_tape_prologue(g->tape, false);
}

/* What the block asks for while it is recorded: the tensor that stands for a parameter, and the
 * bias that the method adds to its product. */
static sol_var block_weight(void *user, int64_t layer, sol_role role)
{
    sol_graph *g = user;
    const sol_param *p = sol_model_by_role(g->model, layer, role);
    if (g->opts.by_layer) record_weight(g, p);
    return g->weight[p - g->model->params];
}

static sol_var block_bias(void *user, int64_t layer, sol_role role)
{
    const sol_graph *g = user;
    return g->bias[sol_model_by_role(g->model, layer, role) - g->model->params];
}

static int64_t layer_of(int64_t layer, int64_t layers)
{
    return layer < 0 ? layers + layer : layer;
}

/* relation_weight times the mean of the three relations; while the block is recorded, so that it is
 * recomputed with it. */
static void record_relations(sol_graph *g)
{
    const sol_model_config *c = &g->model->config;
    int64_t heads[3] = {c->num_attention_heads, c->num_key_value_heads, c->num_key_value_heads};
    sol_var sum = g->extra;
    for (int i = 0; i < 3; i++)
        sum = sol_attention_relation(g->tape, g->qkv[i], g->teacher_qkv[i], g->in.doc_start, sum,
                                     g->opts.seq, heads[i], &g->relation_factor);
    g->relation_sum = sum;
}

/* All blocks; out[layer], unless out is NULL: what each puts out. */
static sol_var record_blocks(sol_graph *g, sol_var x, sol_var *out)
{
    for (int64_t l = 0; l < g->model->config.num_hidden_layers; l++) {
        sol_tape_segment(g->tape, (int)l);
        x = sol_block_record(&g->block, l, x);
        if (out) out[l] = x;
        if (g->block.qkv && l == g->block.watched) record_relations(g);
    }
    sol_tape_segment(g->tape, -1);
    return x;
}

/* Whether the model can learn from this teacher, or from a cache. */
static sol_status check_teacher(const sol_graph *g, sol_err *err)
{
    const sol_model_config *s = &g->model->config,
                           *t = g->opts.teacher ? &g->opts.teacher->config : NULL;
    if (t && t->vocab_size != s->vocab_size)
        return sol_fail(err, SOL_ERR_SHAPE, "the teacher has %lld tokens, the model %lld",
                        (long long)t->vocab_size, (long long)s->vocab_size);
    if (t && g->opts.hidden_weight > 0 &&
        (t->hidden_size != s->hidden_size || t->num_hidden_layers != s->num_hidden_layers))
        return sol_fail(err, SOL_ERR_SHAPE,
                        "hidden states of %lld layers of %lld cannot follow %lld of %lld",
                        (long long)s->num_hidden_layers, (long long)s->hidden_size,
                        (long long)t->num_hidden_layers, (long long)t->hidden_size);
    if (t && g->opts.relation_weight > 0) {
        int64_t here = layer_of(g->opts.relation_layer, s->num_hidden_layers),
                there = layer_of(g->opts.relation_layer, t->num_hidden_layers);
        if (here < 0 || here >= s->num_hidden_layers || there < 0 || there >= t->num_hidden_layers)
            return sol_fail(err, SOL_ERR_RANGE,
                            "there is no block %lld in %lld of the model and %lld of the teacher",
                            (long long)g->opts.relation_layer, (long long)s->num_hidden_layers,
                            (long long)t->num_hidden_layers);
        if (s->num_attention_heads != t->num_attention_heads ||
            s->num_key_value_heads != t->num_key_value_heads)
            return sol_fail(err, SOL_ERR_SHAPE,
                            "relations of %lld heads, %lld of keys, cannot follow %lld and %lld",
                            (long long)s->num_attention_heads, (long long)s->num_key_value_heads,
                            (long long)t->num_attention_heads, (long long)t->num_key_value_heads);
    }
    if (!t && (g->opts.hidden_weight > 0 || g->opts.relation_weight > 0 || g->distill.top_k < 1))
        return sol_fail(err, SOL_ERR_USAGE,
                        "a cache holds no hidden states, and some most probable tokens");
    return SOL_OK;
}

/* Records the teacher's side, which comes first: when the student's begins, nothing of it is left
 * but its last hidden states. */
static sol_status record_teacher(sol_graph *g, sol_var *x, sol_var *out, sol_err *err)
{
    int64_t n = g->opts.batch * g->opts.seq, k = g->distill.top_k;
    SOL_TRY(check_teacher(g, err));
    if (g->opts.teacher) {
        g->extra = sol_tape_input(g->tape, SOL_F32, sol_shape2(n, 1)); /* stays zero */
        bool relates = g->opts.relation_weight > 0;
        g->relation_sum = g->extra;
        g->block.qkv = relates ? g->qkv : NULL;
        g->block.watched = layer_of(g->opts.relation_layer, g->model->config.num_hidden_layers);
        *x = sol_teacher_record(
            &g->teacher, g->opts.teacher, g->tape, &g->in, g->opts.compute, out,
            layer_of(g->opts.relation_layer, g->opts.teacher->config.num_hidden_layers),
            relates ? g->teacher_qkv : NULL);
    } else {
        g->top_ids = sol_tape_input(g->tape, SOL_I32, sol_shape2(n, k));
        g->top_probs = sol_tape_input(g->tape, SOL_F32, sol_shape2(n, k + 1));
    }
    return SOL_OK;
}

/* hidden_weight / L sum_l D(x_l, teacher_l) of each token, on top of its relations. */
static sol_var record_hidden(sol_graph *g, const sol_var *student, const sol_var *teacher)
{
    int64_t L = g->model->config.num_hidden_layers;
    sol_var sum = g->relation_sum;
    if (g->opts.hidden_weight <= 0) return sum;
    for (int64_t l = 0; l < L; l++)
        sum = sol_hidden_mse(g->tape, student[l], teacher[l], sum, g->opts.hidden_form,
                             &g->hidden_factor);
    return sum;
}

/* What is minimized: next-token loss, or the loss of distillation, which adds `hidden`. */
static sol_var record_loss(sol_graph *g, sol_var teacher_x, sol_var hidden)
{
    if (!g->opts.distill)
        return sol_head_loss(g->tape, g->hidden, g->head, g->in.targets, g->opts.compute);
    sol_var loss;
    if (g->opts.teacher)
        loss = sol_distill_loss(g->tape, g->hidden, g->head, g->in.targets, teacher_x, hidden,
                                sol_teacher_head(g->opts.teacher), &g->distill, g->starts,
                                g->opts.compute, &g->parts);
    else
        loss = sol_distill_cached(g->tape, g->hidden, g->head, g->in.targets, g->top_ids,
                                  g->top_probs, &g->distill, g->opts.compute, &g->parts);
    sol_tape_keep(g->tape, g->parts);
    if (g->opts.hidden_weight > 0) sol_tape_keep(g->tape, hidden);
    if (g->opts.relation_weight > 0) sol_tape_keep(g->tape, g->relation_sum);
    g->hidden_sum = hidden;
    return loss;
}

/* Records the whole graph and plans it. student, teacher: as `out` of record_blocks. */
static sol_status record_all(sol_graph *g, sol_var *student, sol_var *teacher, sol_err *err)
{
    const sol_model *m = g->model;
    sol_tape *t = g->tape;
    sol_var teacher_x = -1;
    SOL_TRY(check_quant(g, err));
    sol_block_inputs_record(&g->in, t, g->opts.batch, g->opts.seq);
    g->block = (sol_block){.t = t,
                           .config = &m->config,
                           .in = &g->in,
                           .weight = block_weight,
                           .bias = block_bias,
                           .user = g,
                           .compute = g->opts.compute};
    sol_block_tables_record(&g->block);
    sol_tape_prologue(t, true);
    g->embedding = shipped_leaf(g, sol_model_embedding(m));
    sol_var final_norm = leaf(g, sol_model_final_norm(m));
    g->head = m->config.tie_word_embeddings ? g->embedding : shipped_leaf(g, sol_model_head(m));
    sol_tape_prologue(t, false);
    if (!g->opts.by_layer) record_weights(g);
    if (g->opts.distill) SOL_TRY(record_teacher(g, &teacher_x, teacher, err));
    sol_var x = record_blocks(g, sol_embedding(t, g->in.tokens, g->embedding), student);
    sol_var hidden = g->opts.teacher ? record_hidden(g, student, teacher) : -1;
    g->hidden = sol_rmsnorm(t, x, final_norm, (float)m->config.rms_norm_eps, SOL_F32);
    sol_tape_keep(t, g->hidden);
    g->loss = record_loss(g, teacher_x, hidden);
    sol_tape_opts opts = {.no_grad = g->opts.no_grad,
                          .recompute = g->opts.activation_checkpoints,
                          .one_run = g->opts.one_batch};
    return sol_tape_plan(t, g->loss, &opts, err);
}

/* Records the graph; where hidden states are compared, with the outputs of the blocks of both sides
 * at hand. */
static sol_status record(sol_graph *g, sol_err *err)
{
    size_t L = (size_t)g->model->config.num_hidden_layers;
    sol_var *out = NULL;
    if (g->opts.hidden_weight > 0) SOL_TRY(sol_alloc_array((void **)&out, 2 * L, sizeof *out, err));
    sol_status st = record_all(g, out, out ? out + L : NULL, err);
    sol_free(out);
    return st;
}

/* Whether the loss draws tokens of the teacher's. */
static bool draws(const sol_graph *g)
{
    return g->opts.teacher && sol_distill_samples(&g->distill, g->model->config.vocab_size) > 0;
}

/* Whether a micro-batch has a size that its tensors can have. */
static sol_status check(const sol_graph_opts *o, sol_err *err)
{
    if (o->batch < 1 || o->seq < 1 || o->batch > INT32_MAX / o->seq)
        return sol_fail(err, SOL_ERR_RANGE, "a batch of %lld x %lld tokens is out of range",
                        (long long)o->batch, (long long)o->seq);
    return SOL_OK;
}

/* The tables from parameters to tensors. */
static sol_status alloc_vars(sol_graph *g, sol_err *err)
{
    size_t n = (size_t)g->model->n_params;
    SOL_TRY(sol_alloc_array((void **)&g->weight, n, sizeof *g->weight, err));
    SOL_TRY(sol_alloc_array((void **)&g->bias, n, sizeof *g->bias, err));
    for (size_t i = 0; i < n; i++) g->weight[i] = g->bias[i] = -1;
    return SOL_OK;
}

/* Makes all that a graph owns; its memory only if it is not dry. */
static sol_status fill(sol_graph *g, bool dry, sol_err *err)
{
    const sol_graph_opts *o = &g->opts;
    SOL_TRY(sol_tape_create(&g->tape, g->ctx, err));
    SOL_TRY(alloc_vars(g, err));
    if (!dry && draws(g))
        SOL_TRY(sol_alloc_array((void **)&g->starts, (size_t)(o->batch * o->seq), sizeof *g->starts,
                                err));
    if (!dry && !o->no_grad)
        SOL_TRY(sol_alloc_array((void **)&g->grads, (size_t)grad_count(g->model, o), sizeof(float),
                                err));
    SOL_TRY(record(g, err));
    return dry ? SOL_OK : sol_tape_allocate(g->tape, err);
}

/* Makes a graph and plans it; a dry one has no memory to run in. */
static sol_status create(sol_graph **out, sol_ctx *ctx, const sol_model *m,
                         const sol_quant_spec *spec, const sol_graph_opts *o, bool dry,
                         sol_err *err)
{
    *out = NULL;
    SOL_TRY(check(o, err));
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    sol_graph *g = *out;
    *g = (sol_graph){.ctx = ctx, .model = m, .opts = *o, .mix = {{1, 0}, 1}, .n_micro = 1};
    if (spec) g->spec = *spec;
    if (o->distill) g->distill = *o->distill;
    g->distill_weight = g->distill.weight;
    g->ce_weight = g->distill.ce_weight;
    sol_graph_choose_terms(g, SOL_TERMS_ALL);
    sol_status st = fill(g, dry, err);
    if (st != SOL_OK) sol_graph_free(out);
    return st;
}

sol_status sol_graph_plan(const sol_model *m, const sol_quant_spec *spec, const sol_graph_opts *o,
                          sol_plan *plan, sol_err *err)
{
    sol_graph *g;
    SOL_TRY(create(&g, NULL, m, spec, o, true, err));
    if (!o->no_grad)
        sol_plan_add(plan, "parameter gradients", (size_t)grad_count(m, o) * sizeof(float));
    sol_tape_report(g->tape, plan);
    sol_graph_free(&g);
    return SOL_OK;
}

sol_status sol_graph_create(sol_graph **out, sol_ctx *ctx, const sol_model *m,
                            const sol_quant_spec *spec, const sol_graph_opts *o, sol_err *err)
{
    SOL_TRY(create(out, ctx, m, spec, o, false, err));
    sol_graph *g = *out;
    sol_block_tables_fill(&g->block);
    if (o->teacher) sol_block_tables_fill(&g->teacher.block);
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
    sol_free(g->starts);
    sol_free(g);
    *gp = NULL;
}

void sol_graph_begin_step(sol_graph *g, sol_residual_mix mix, int64_t n)
{
    g->n_micro = n;
    g->done_micro = 0;
    g->mix = (sol_quant_mix){mix, mix.a + mix.b};
    sol_tape_prepare(g->tape);
}

/* With a teacher the loss that is reported stays the next-token loss. */
static void read_loss(const sol_graph *g, double *loss_sum, int64_t *n)
{
    int64_t count = g->opts.batch * g->opts.seq, stride = g->opts.distill ? SOL_PARTS : 1;
    const int32_t *target = sol_tape_data(g->tape, g->in.targets);
    const float *loss = sol_tape_data(g->tape, g->opts.distill ? g->parts : g->loss);
    *loss_sum = 0;
    *n = 0;
    for (int64_t i = 0; i < count; i++) {
        *loss_sum += loss[i * stride];
        *n += target[i] >= 0;
    }
}

sol_graph_distilled sol_graph_last_distilled(const sol_graph *g)
{
    sol_graph_distilled sum = {0};
    const int32_t *target = sol_tape_data(g->tape, g->in.targets);
    const float *part = sol_tape_data(g->tape, g->parts), *loss = sol_tape_data(g->tape, g->loss);
    const float *hidden = g->opts.hidden_weight > 0 ? sol_tape_data(g->tape, g->hidden_sum) : NULL;
    const float *relation =
        g->opts.relation_weight > 0 ? sol_tape_data(g->tape, g->relation_sum) : NULL;
    for (int64_t i = 0; i < g->opts.batch * g->opts.seq; i++, part += SOL_PARTS) {
        sum.distill += part[SOL_PART_DISTILL];
        sum.teacher += part[SOL_PART_TEACHER];
        sum.objective += loss[i];
        if (target[i] < 0) continue;
        double related = relation ? relation[i] : 0;
        if (relation) sum.relation += related / g->opts.relation_weight;
        if (hidden) sum.hidden += (hidden[i] - related) / g->opts.hidden_weight;
    }
    return sum;
}

void sol_graph_choose_terms(sol_graph *g, int terms)
{
    float L = (float)g->model->config.num_hidden_layers;
    g->hidden_factor = terms & SOL_TERM_HIDDEN ? g->opts.hidden_weight / L : 0;
    g->relation_factor = terms & SOL_TERM_RELATION ? g->opts.relation_weight / 3 : 0;
    g->distill.weight = terms & SOL_TERM_DISTILL ? g->distill_weight : 0;
    g->distill.ce_weight = terms & SOL_TERM_NEXT_TOKEN ? g->ce_weight : 0;
}

void sol_graph_set_gamma(sol_graph *g, float gamma)
{
    g->distill.gamma = gamma;
}

void sol_graph_cached_inputs(sol_graph *g, int32_t **ids, float **probs)
{
    *ids = sol_tape_data(g->tape, g->top_ids);
    *probs = sol_tape_data(g->tape, g->top_probs);
}

float *sol_graph_starts(sol_graph *g)
{
    return g->starts;
}

/* n parameters that lie together. */
static sol_graph_part part_of(const sol_model *m, const sol_param *p, int n)
{
    const sol_param *last = p + n - 1;
    return (sol_graph_part){.first = (int)(p - m->params),
                            .n = n,
                            .n_elements = last->offset + sol_param_count(last) - p->offset};
}

int sol_graph_part_count(const sol_model *m, bool by_layer)
{
    return by_layer ? (int)m->config.num_hidden_layers + 2 : 1;
}

sol_graph_part sol_graph_part_at(const sol_model *m, bool by_layer, int i)
{
    const sol_param *behind = behind_blocks(m);
    if (!by_layer) return (sol_graph_part){.n = m->n_params, .n_elements = m->n_elements};
    if (i == 0) return part_of(m, m->params, m->first_block);
    if (i <= m->config.num_hidden_layers) return part_of(m, sol_model_block(m, i - 1), m->n_block);
    return part_of(m, behind, (int)(m->params + m->n_params - behind));
}

/* Hands out the gradients of part i by layer. */
static void hand_out(sol_graph *g, int i)
{
    sol_graph_part part = sol_graph_part_at(g->model, true, i);
    part.grads = g->grads + grad_offset(g, &g->model->params[part.first]);
    int64_t counted;
    read_loss(g, &part.loss_sum, &counted);
    g->done(g->done_user, &part);
}

/* Whether gradients of a block are complete when the backward pass is through with it. */
static bool blocks_at_once(const sol_graph *g)
{
    return g->opts.by_layer || !sol_tape_ends_in_prologue(g->tape);
}

/* Called by the tape when the backward pass is through with a block. */
static void after_block(void *user, int layer)
{
    hand_out(user, layer + 1);
}

/* Those that are complete behind the whole backward pass. */
static void hand_out_rest(sol_graph *g)
{
    int L = (int)g->model->config.num_hidden_layers;
    if (!blocks_at_once(g))
        for (int i = L; i > 0; i--) hand_out(g, i);
    hand_out(g, 0);
    hand_out(g, L + 1);
}

void sol_graph_on_gradients(sol_graph *g, sol_graph_done_fn fn, void *user)
{
    g->done = fn;
    g->done_user = user;
    sol_tape_after_segment(g->tape, fn && blocks_at_once(g) ? after_block : NULL, g);
}

void sol_graph_accumulate(sol_graph *g, const int32_t *tokens, const int32_t *targets,
                          const int32_t *doc_start, float weight, double *loss_sum, int64_t *n)
{
    float *dloss = sol_tape_grad(g->tape, g->loss);
    sol_block_inputs_fill(&g->in, g->tape, tokens, targets, doc_start);
    for (int64_t i = 0; i < g->opts.batch * g->opts.seq; i++) dloss[i] = weight;
    bool alone = g->opts.by_layer || g->opts.one_batch, last = g->done_micro + 1 == g->n_micro;
    sol_tape_run_backward(g->tape, alone || g->done_micro == 0, alone || last);
    g->done_micro = last ? 0 : g->done_micro + 1;
    read_loss(g, loss_sum, n);
    if (g->done) hand_out_rest(g);
}

void sol_graph_loss(sol_graph *g, const int32_t *tokens, const int32_t *targets,
                    const int32_t *doc_start, double *loss_sum, int64_t *n)
{
    sol_block_inputs_fill(&g->in, g->tape, tokens, targets, doc_start);
    sol_tape_run_forward(g->tape);
    read_loss(g, loss_sum, n);
}

/* The output head in fp32. */
static const float *head_data(const sol_graph *g)
{
    const sol_param *head = sol_model_head(g->model);
    if (g->model->dtype == SOL_F32 && sol_param_shipped(head, &g->spec) == SOL_F32)
        return sol_model_f32(g->model, head);
    return sol_tape_data(g->tape, g->head);
}

void sol_graph_logits(sol_graph *g, float *logits)
{
    const sol_model_config *c = &g->model->config;
    sol_gemm(g->ctx, false, true, g->opts.batch * g->opts.seq, c->vocab_size, c->hidden_size, 1,
             sol_tape_data(g->tape, g->hidden), c->hidden_size, head_data(g), c->hidden_size, 0,
             logits, c->vocab_size);
}

/* A node that reads what stands for the matrix of a linear layer is the product of that layer. */
static void watch_linear(void *user, const sol_op *op, const sol_var *in, const sol_op_call *call)
{
    const sol_graph *g = user;
    if (op->n_in < 2) return;
    for (int i = 0; i < g->model->n_params; i++) {
        const sol_param *p = &g->model->params[i];
        if (p->kind != SOL_PARAM_LINEAR || g->weight[i] != in[1]) continue;
        sol_operand w = {call->in[1].data, call->in[1].shape.dim[1], false,
                         call->in[1].dtype == SOL_BF16};
        sol_operand dy = {call->out[0].grad, call->out[0].shape.dim[1], false,
                          call->out[0].grad_bf16};
        g->watch(g->watch_user, p, &w, &dy, call->out[0].shape.dim[0]);
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

void sol_graph_trace(sol_graph *g, sol_tape_trace_fn fn, void *user)
{
    sol_tape_trace(g->tape, fn, user);
}
