/* A network to run: made from a model or a packed model, whose parameters are found by their
 * role and stacked into the matrices of a layer. */
#include "infer/net.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "kernels/gemm.h"
#include "store/kind.h"

enum { MAX_ROWS = 512, MAX_HEAD_DIM = 512 };

const char *sol_net_kind_name(sol_net_kind k)
{
    static const char *const names[] = {[SOL_NET_FP] = "fp", [SOL_NET_LATENT] = "latent", [SOL_NET_PACKED] = "packed"};
    return names[k];
}

const sol_model_config *sol_net_config(const sol_net *net)
{
    return &net->config;
}

const sol_tokenizer *sol_net_tokenizer(const sol_net *net)
{
    return net->tokenizer;
}

void sol_net_hide_missing(const sol_net *net, float *logits)
{
    for (size_t i = 0; i < net->n_missing; i++) logits[net->missing[i]] = -INFINITY;
}

sol_net_kind sol_net_kind_of(const sol_net *net)
{
    return net->kind;
}

double sol_net_bits_per_weight(const sol_net *net)
{
    return net->bits_per_weight;
}

uint64_t sol_net_bytes_per_token(const sol_net *net)
{
    uint64_t bytes = 0;
    for (int64_t l = 0; l < net->config.num_hidden_layers; l++)
        for (int m = 0; m < NET_MATRICES; m++) bytes += net_matrix_bytes(&net->layers[l].matrix[m]);
    for (int64_t p = 0; p < net->n_head; p++) bytes += net_matrix_bytes(&net->head[p]);
    return bytes;
}

static void free_runs(net_matrix **runs, int64_t n)
{
    if (*runs)
        for (int64_t p = 0; p < n; p++) net_matrix_free(&(*runs)[p]);
    sol_free(*runs);
    *runs = NULL;
}

void sol_net_free(sol_net **netp)
{
    sol_net *net = *netp;
    if (!net) return;
    int64_t L = net->config.num_hidden_layers;
    if (net->layers)
        for (int64_t l = 0; l < L; l++)
            for (int m = 0; m < NET_MATRICES; m++) net_matrix_free(&net->layers[l].matrix[m]);
    sol_free(net->layers);
    sol_free(net->missing);
    if (net->head != net->embed) free_runs(&net->head, net->n_head);
    free_runs(&net->embed, net->n_embed);
    if (net->latent)
        for (int64_t i = 0; i < L * NET_MATRICES; i++) sol_free(net->latent[i]);
    sol_free(net->latent);
    sol_free(net->vectors);
    sol_free(net->biases);
    sol_free(net->weights);
    sol_free(net->rope_cos);
    sol_free(net->rope_sin);
    net_scratch_free(&net->scratch);
    sol_model_file_free(&net->file);
    sol_packed_model_free(&net->packed);
    sol_free(net);
    *netp = NULL;
}

static sol_status find_missing(sol_net *net, sol_err *err)
{
    sol_status st = SOL_OK;
    for (int32_t id = 0; st == SOL_OK && net->tokenizer && id < net->config.vocab_size; id++) {
        if (sol_tokenizer_has(net->tokenizer, id)) continue;
        st = sol_grow_array((void **)&net->missing, &net->cap_missing, net->n_missing + 1, sizeof *net->missing, err);
        if (st == SOL_OK) net->missing[net->n_missing++] = id;
    }
    return st;
}

/* An empty net with its options and tables of layers. */
static sol_status begin(sol_net **out, sol_ctx *ctx, const sol_model_config *c, const sol_tokenizer *t, const sol_net_opts *o,
                        sol_err *err)
{
    sol_net *net = NULL;
    *out = NULL;
    if (c->head_dim > MAX_HEAD_DIM)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "head_dim is %lld: inference supports up to %d", (long long)c->head_dim,
                        MAX_HEAD_DIM);
    if (t && sol_tokenizer_vocab_size(t) > c->vocab_size)
        return sol_fail(err, SOL_ERR_SHAPE, "the tokenizer has %d tokens, the model's vocabulary %lld",
                        sol_tokenizer_vocab_size(t), (long long)c->vocab_size);
    sol_status st = sol_alloc_array((void **)&net, 1, sizeof *net, err);
    if (st != SOL_OK) return st;
    net->ctx = ctx;
    net->config = *c;
    net->tokenizer = t;
    net->max_rows = o && o->max_rows > 0 ? o->max_rows : MAX_ROWS;
    net->kv_type = o ? o->kv_type : SOL_F32;
    net->activations = o ? o->activations : SOL_ACTIVATIONS_INT8;
    net->act = net->activations == SOL_ACTIVATIONS_INT8 ? SOL_ACT_INT8 : SOL_ACT_FLOAT;
    if (net->kv_type != SOL_F32 && net->kv_type != SOL_F16 && net->kv_type != SOL_I8)
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "a KV cache of %s: f32, f16 and i8 are possible", sol_dtype_name(net->kv_type));
    if (st == SOL_OK) st = find_missing(net, err);
    if (st == SOL_OK) st = sol_gemm_reserve(ctx, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&net->layers, (size_t)c->num_hidden_layers, sizeof *net->layers, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

static int64_t runs_of(int64_t rows)
{
    return sol_ceil_div(rows, HEAD_COLS);
}

/* Rows of the run that begins at row `first`. */
static int64_t run_rows(int64_t rows, int64_t first)
{
    return sol_min_i64(rows - first, HEAD_COLS);
}

/* Cuts a dense [V, C] matrix into runs of HEAD_COLS rows. */
static sol_status cut_runs(net_matrix **runs, int64_t *n, const void *data, sol_dtype type, int64_t V, int64_t C, sol_err *err)
{
    *n = runs_of(V);
    sol_status st = sol_alloc_array((void **)runs, (size_t)*n, sizeof **runs, err);
    for (int64_t p = 0; st == SOL_OK && p < *n; p++) {
        int64_t first = p * HEAD_COLS, rows = run_rows(V, first);
        (*runs)[p] = (net_matrix){.rows = rows, .cols = C, .type = type, .n_parts = 1, .part_rows = {rows},
                                  .part = {(const char *)data + (size_t)(first * C) * sol_dtype_size(type)}};
    }
    return st;
}

/* The parameters behind each matrix of a block. */
static const struct {
    int n;
    sol_role role[NET_MAX_PARTS];
} stacks[NET_MATRICES] = {
    [NET_QKV] = {3, {SOL_ROLE_Q, SOL_ROLE_K, SOL_ROLE_V}},
    [NET_O] = {1, {SOL_ROLE_O}},
    [NET_GATE_UP] = {2, {SOL_ROLE_GATE, SOL_ROLE_UP}},
    [NET_DOWN] = {1, {SOL_ROLE_DOWN}},
};

static void borrow_matrix(net_matrix *to, const sol_model *m, int64_t layer, int which)
{
    *to = (net_matrix){.type = m->dtype, .n_parts = stacks[which].n};
    for (int i = 0; i < to->n_parts; i++) {
        const sol_param *p = sol_model_by_role(m, layer, stacks[which].role[i]);
        to->part[i] = sol_model_at(m, p);
        to->part_rows[i] = p->rows;
        to->rows += p->rows;
        to->cols = p->cols;
    }
}

/* Replaces a borrowed matrix by its Q(W) in fp32, owned by the net; a bias that the method makes lies behind it. */
static sol_status make_latent(sol_net *net, const sol_model *m, const sol_quant_spec *spec, int64_t layer, int which,
                              sol_err *err)
{
    net_matrix *to = &net->layers[layer].matrix[which];
    float **owned = &net->latent[layer * NET_MATRICES + which], *wide = NULL, *q;
    bool biased = spec->method->dead_bias != 0;
    sol_status st = sol_alloc_array((void **)owned, (size_t)(to->rows * (to->cols + biased)), sizeof(float), err);
    if (st == SOL_OK && m->dtype != SOL_F32)
        st = sol_alloc_array((void **)&wide, (size_t)(to->part_rows[0] * to->cols), sizeof(float), err);
    q = *owned;
    float *bias = biased && st == SOL_OK ? q + to->rows * to->cols : NULL;
    to->bias = bias;
    for (int i = 0; st == SOL_OK && i < to->n_parts; i++) {
        const sol_param *p = sol_model_by_role(m, layer, stacks[which].role[i]);
        sol_quant_spec own = sol_quant_for(spec, p->name);
        sol_quant_matrix x = {.w = to->part[i], .rows = p->rows, .cols = p->cols};
        st = sol_quant_check(&own, p->name, p->rows, p->cols, err);
        if (st != SOL_OK) break;
        if (wide) {
            sol_convert(wide, SOL_F32, to->part[i], m->dtype, p->rows * p->cols);
            x.w = wide;
        } else if (own.method && m->n_learned == own.method->n_learned) {
            x = sol_model_quant_matrix(m, p);
        }
        float *made = own.method && own.method->dead_bias != 0 ? bias : NULL;
        sol_quant_forward(net->ctx, &own, &x, (sol_residual_mix){1.0f, 0.0f}, q, made);
        if (bias) bias += p->rows;
        to->part[i] = q;
        q += p->rows * p->cols;
    }
    to->type = SOL_F32;
    sol_free(wide);
    return st;
}

/* What the linears would take packed, scales of 16 bits included; 32 where a method cannot be
 * packed. */
static double latent_bits(const sol_model *m, const sol_quant_spec *spec)
{
    double bits = 0, weights = 0;
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized) continue;
        sol_quant_spec own = sol_quant_for(spec, p->name);
        if (own.method && !own.method->packable) return 32;
        bits += !own.method ? 16.0 * (double)sol_param_count(p)
                            : 1.25 * (double)sol_param_count(p) +
                                  16.0 * (double)sol_quant_scale_count(&own, p->rows, p->cols);
        weights += (double)sol_param_count(p);
    }
    return bits / weights;
}

static void place_vector(sol_net *net, const sol_param *p, const float *vector)
{
    if (p->layer >= 0)
        net->layers[p->layer].vector[p->role] = vector;
    else
        net->final_norm = vector;
}

/* Norms as fp32. */
static sol_status take_vectors(sol_net *net, const sol_model *m, sol_err *err)
{
    size_t n = 0;
    for (int i = 0; i < m->n_params; i++) n += sol_param_is_vector(&m->params[i]) ? (size_t)m->params[i].cols : 0;
    sol_status st = sol_alloc_array((void **)&net->vectors, n, sizeof(float), err);
    float *to = net->vectors;
    for (int i = 0; st == SOL_OK && i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!sol_param_is_vector(p)) continue;
        sol_convert(to, SOL_F32, sol_model_at(m, p), m->dtype, p->cols);
        place_vector(net, p, to);
        to += p->cols;
    }
    return st;
}

static sol_status place_embedding(sol_net *net, const void *embed, const void *head, sol_dtype type, sol_err *err)
{
    const sol_model_config *c = &net->config;
    sol_status st = cut_runs(&net->embed, &net->n_embed, embed, type, c->vocab_size, c->hidden_size, err);
    if (st == SOL_OK && head != embed)
        return cut_runs(&net->head, &net->n_head, head, type, c->vocab_size, c->hidden_size, err);
    net->head = net->embed;
    net->n_head = net->n_embed;
    return st;
}

/* The biases of q, k and v one behind the other, as their matrix adds them, on top of what a
 * quantizer made. */
static sol_status place_biases(sol_net *net, sol_err *err)
{
    static const sol_role role[] = {SOL_ROLE_Q_BIAS, SOL_ROLE_K_BIAS, SOL_ROLE_V_BIAS};
    int64_t L = net->config.num_hidden_layers;
    if (!net->config.qkv_bias) return SOL_OK;
    sol_status st = sol_alloc_array((void **)&net->biases, (size_t)(L * net->layers[0].matrix[NET_QKV].rows), sizeof(float), err);
    float *to = net->biases;
    for (int64_t l = 0; st == SOL_OK && l < L; l++) {
        net_matrix *m = &net->layers[l].matrix[NET_QKV];
        const float *made = m->bias;
        m->bias = to;
        for (int i = 0; i < 3; i++) {
            const float *bias = net->layers[l].vector[role[i]];
            int64_t n = sol_dim_size(&net->config, sol_param_rows[role[i]].cols);
            for (int64_t k = 0; k < n; k++) *to++ = bias[k] + (made ? *made++ : 0);
        }
    }
    return st;
}

sol_status sol_net_from_model(sol_net **out, sol_ctx *ctx, const sol_model *m, const sol_tokenizer *t,
                              const sol_quant_spec *spec, const sol_net_opts *o, sol_err *err)
{
    sol_net *net;
    sol_status st = begin(&net, ctx, &m->config, t, o, err);
    if (st != SOL_OK) return st;
    int64_t L = m->config.num_hidden_layers;
    bool latent = spec && spec->method && !(o && o->full_precision);
    net->kind = latent ? SOL_NET_LATENT : SOL_NET_FP;
    net->bits_per_weight = latent ? latent_bits(m, spec) : 8.0 * (double)sol_dtype_size(m->dtype);
    st = take_vectors(net, m, err);
    if (st == SOL_OK) {
        const void *embed = sol_model_at(m, sol_model_embedding(m)), *head = sol_model_at(m, sol_model_head(m));
        st = place_embedding(net, embed, head, m->dtype, err);
    }
    if (st == SOL_OK && latent)
        st = sol_alloc_array((void **)&net->latent, (size_t)(L * NET_MATRICES), sizeof *net->latent, err);
    for (int64_t l = 0; st == SOL_OK && l < L; l++)
        for (int which = 0; st == SOL_OK && which < NET_MATRICES; which++) {
            borrow_matrix(&net->layers[l].matrix[which], m, l, which);
            if (latent) st = make_latent(net, m, spec, l, which, err);
        }
    if (st == SOL_OK) st = place_biases(net, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

/* The stored forms of a part: packed, or dense where an override keeps it. */
typedef struct stored_part {
    const sol_packed_mat *packed; /* rows 0: none */
    const sol_dense_src *kept;
} stored_part;

static stored_part stored(const sol_packed_model *p, int64_t layer, int which, int i)
{
    int64_t index = sol_model_by_role(p->table, layer, stacks[which].role[i]) - p->table->params;
    return (stored_part){&p->linear[index], &p->kept[index]};
}

static int64_t stack_rows(const sol_packed_model *p, int64_t layer, int which)
{
    int64_t rows = 0;
    for (int i = 0; i < stacks[which].n; i++)
        rows += sol_model_by_role(p->table, layer, stacks[which].role[i])->rows;
    return rows;
}

/* Whether one product can make the rows of all parts: packed ones with groups of one size. */
static bool is_one(const sol_packed_model *p, int64_t layer, int which)
{
    const sol_packed_mat *first = stored(p, layer, which, 0).packed;
    for (int i = 0; i < stacks[which].n; i++) {
        const sol_packed_mat *m = stored(p, layer, which, i).packed;
        if (m->rows == 0 || m->group_size != first->group_size) return false;
    }
    return true;
}

static size_t part_room(const sol_net *net, stored_part s)
{
    const sol_packed_mat *m = s.packed;
    if (m->rows) return sol_ternary_room(net->ctx, m->rows, m->cols, m->group_size);
    return sol_dense_room(net->ctx, s.kept->type, s.kept->rows, s.kept->cols);
}

static size_t stack_room(const sol_net *net, const sol_packed_model *p, int64_t layer, int which)
{
    size_t bytes = 0;
    const sol_packed_mat *m = stored(p, layer, which, 0).packed;
    if (is_one(p, layer, which))
        return sol_ternary_room(net->ctx, stack_rows(p, layer, which), m->cols, m->group_size);
    for (int i = 0; i < stacks[which].n; i++) bytes += part_room(net, stored(p, layer, which, i));
    return bytes;
}

/* Weights in the kernels' layout take their memory from one block, which lies on huge pages: reading them waits less for
 * addresses to be translated. */
static size_t packed_room(const sol_net *net, const sol_packed_model *p)
{
    const sol_dense_src *dense[] = {&p->embed, &p->head};
    size_t bytes = 0;
    for (int k = 0; k < 2; k++)
        if (dense[k]->data)
            for (int64_t first = 0; first < dense[k]->rows; first += HEAD_COLS)
                bytes += sol_dense_room(net->ctx, dense[k]->type, run_rows(dense[k]->rows, first), dense[k]->cols);
    for (int64_t l = 0; l < p->config.num_hidden_layers; l++) {
        for (int which = 0; which < NET_MATRICES; which++) bytes += stack_room(net, p, l, which);
    }
    return bytes;
}

static void *take_room(sol_net *net, size_t bytes)
{
    uint8_t *at = net->weights + net->weights_used;
    net->weights_used += bytes;
    return at;
}

static sol_ternary_part ternary_part(const sol_packed_mat *m)
{
    return (sol_ternary_part){.rows = m->rows,
                              .codes = m->codes,
                              .signs = m->signs,
                              .scales = m->scales};
}

/* One part as a matrix of its own. */
static sol_status place_part(sol_net *net, net_matrix *to, stored_part s, sol_err *err)
{
    const sol_packed_mat *m = s.packed;
    void *room = take_room(net, part_room(net, s));
    if (m->rows == 0) {
        *to = (net_matrix){.rows = s.kept->rows, .cols = s.kept->cols};
        return sol_dense_prepare(&to->dense, net->ctx, s.kept, room, err);
    }
    sol_ternary_part part = ternary_part(m);
    *to = (net_matrix){.rows = m->rows, .cols = m->cols};
    return sol_ternary_prepare(&to->ternary, net->ctx, m->cols, m->group_size, m->layout, &part, 1,
                               room, err);
}

/* Stacks the matrices behind matrix `which` of a layer. */
static sol_status stack_packed(sol_net *net, const sol_packed_model *p, int64_t layer, int which, sol_err *err)
{
    sol_ternary_part part[NET_MAX_PARTS];
    net_matrix *to = &net->layers[layer].matrix[which];
    const sol_packed_mat *m = stored(p, layer, which, 0).packed;
    int n = stacks[which].n;
    sol_status st = SOL_OK;
    *to = (net_matrix){.rows = stack_rows(p, layer, which), .cols = m->cols, .n_parts = n};
    if (is_one(p, layer, which)) {
        for (int i = 0; i < n; i++) part[i] = ternary_part(stored(p, layer, which, i).packed);
        void *room = take_room(net, stack_room(net, p, layer, which));
        return sol_ternary_prepare(&to->ternary, net->ctx, m->cols, m->group_size, m->layout, part,
                                   n, room, err);
    }
    to->cols = sol_model_by_role(p->table, layer, stacks[which].role[0])->cols;
    if (n == 1) return place_part(net, to, stored(p, layer, which, 0), err);
    st = sol_alloc_array((void **)&to->piece, (size_t)n, sizeof *to->piece, err);
    for (int i = 0; st == SOL_OK && i < n; i++)
        st = place_part(net, &to->piece[i], stored(p, layer, which, i), err);
    return st;
}

/* Prepares the runs of a stored matrix for the dense kernels. */
static sol_status prepare_runs(sol_net *net, net_matrix **runs, int64_t *n, const sol_dense_src *src, sol_err *err)
{
    *n = runs_of(src->rows);
    sol_status st = sol_alloc_array((void **)runs, (size_t)*n, sizeof **runs, err);
    for (int64_t p = 0; st == SOL_OK && p < *n; p++) {
        int64_t first = p * HEAD_COLS;
        sol_dense_src run = *src;
        run.rows = run_rows(src->rows, first);
        run.data = (const char *)src->data + (size_t)first * sol_dense_row_bytes(src->type, src->cols);
        if (src->scales) run.scales = src->scales + first * sol_dense_row_scales(src->type, src->cols);
        (*runs)[p] = (net_matrix){.rows = run.rows, .cols = run.cols};
        void *room = take_room(net, sol_dense_room(net->ctx, run.type, run.rows, run.cols));
        st = sol_dense_prepare(&(*runs)[p].dense, net->ctx, &run, room, err);
    }
    return st;
}

sol_status sol_net_from_packed(sol_net **out, sol_ctx *ctx, const sol_packed_model *p, const sol_net_opts *o, sol_err *err)
{
    sol_net *net;
    sol_status st = begin(&net, ctx, &p->config, p->tokenizer, o, err);
    if (st != SOL_OK) return st;
    net->kind = SOL_NET_PACKED;
    net->bits_per_weight = sol_packed_model_bits(p);
    for (int i = 0; i < p->table->n_params; i++)
        if (p->vector[i]) place_vector(net, &p->table->params[i], p->vector[i]);
    st = sol_alloc_array((void **)&net->weights, packed_room(net, p), 1, err);
    if (st == SOL_OK) st = prepare_runs(net, &net->embed, &net->n_embed, &p->embed, err);
    if (st == SOL_OK && p->head.data) {
        st = prepare_runs(net, &net->head, &net->n_head, &p->head, err);
    } else {
        net->head = net->embed;
        net->n_head = net->n_embed;
    }
    for (int64_t l = 0; st == SOL_OK && l < p->config.num_hidden_layers; l++)
        for (int which = 0; st == SOL_OK && which < NET_MATRICES; which++) st = stack_packed(net, p, l, which, err);
    if (st == SOL_OK) st = place_biases(net, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

static sol_status open_model(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o, sol_err *err)
{
    sol_model_file file;
    SOL_TRY(sol_model_file_read(&file, path, SOL_F32, err));
    sol_status st = sol_net_from_model(net, ctx, file.model, file.tokenizer, &file.quant, o, err);
    if (st != SOL_OK) {
        sol_model_file_free(&file);
        return sol_err_prefix(err, st, "%s", path);
    }
    (*net)->file = file;
    return SOL_OK;
}

/* Releases a stored matrix that the kernels hold in a layout of their own; float types are used where they are. */
static void drop_copied(sol_dense_src *d)
{
    if (d->type == SOL_DENSE_F32 || d->type == SOL_DENSE_F16) return;
    sol_free((void *)d->data);
    sol_free((void *)d->scales);
    d->data = NULL;
    d->scales = NULL;
}

/* The prepared linears are copies: the canonical ones go. */
static sol_status open_packed(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o, sol_err *err)
{
    sol_packed_model p = {0};
    sol_status st = sol_packed_model_read(&p, path, err);
    if (st != SOL_OK) return st;
    st = sol_net_from_packed(net, ctx, &p, o, err);
    if (st != SOL_OK) {
        sol_packed_model_free(&p);
        return sol_err_prefix(err, st, "%s", path);
    }
    for (int i = 0; i < p.table->n_params; i++) sol_packed_free(&p.linear[i]);
    drop_copied(&p.embed);
    drop_copied(&p.head);
    (*net)->packed = p;
    return SOL_OK;
}

sol_status sol_net_open(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o, sol_err *err)
{
    sol_file_kind kind;
    *net = NULL;
    sol_status st = sol_store_kind(path, &kind, err);
    if (st != SOL_OK) return st;
    if (kind == SOL_FILE_DATASET || kind == SOL_FILE_STUDY || kind == SOL_FILE_TEACHER_CACHE)
        return sol_fail(err, SOL_ERR_FORMAT, "%s: holds a %s; a model is needed", path,
                        kind == SOL_FILE_DATASET ? "dataset" : kind == SOL_FILE_STUDY ? "study" : "teacher's cache");
    if (kind == SOL_FILE_PACKED && o && o->full_precision)
        return sol_fail(err, SOL_ERR_USAGE, "%s: a packed model has no full-precision weights", path);
    return kind == SOL_FILE_PACKED ? open_packed(net, ctx, path, o, err) : open_model(net, ctx, path, o, err);
}
