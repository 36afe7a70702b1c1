/* Makes a network that runs, from a model or a packed model: finds parameters by their role and
 * stacks them into the matrices of a layer. forward.c runs it. */
#include "infer/net.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/gemm.h"
#include "store/kind.h"

enum { MAX_ROWS = 512, MAX_HEAD_DIM = 512 };

const char *sol_net_kind_name(sol_net_kind k)
{
    static const char *const names[] = {
        [SOL_NET_FP] = "fp", [SOL_NET_LATENT] = "latent", [SOL_NET_PACKED] = "packed"};
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
        for (int m = 0; m < NET_MATRICES; m++) bytes += sol_matrix_bytes(net->layers[l].matrix[m]);
    return bytes + sol_matrix_bytes(net->head);
}

void sol_net_free(sol_net **netp)
{
    sol_net *net = *netp;
    if (!net) return;
    int64_t L = net->config.num_hidden_layers;
    if (net->layers)
        for (int64_t l = 0; l < L; l++)
            for (int m = 0; m < NET_MATRICES; m++) sol_matrix_free(&net->layers[l].matrix[m]);
    sol_free(net->layers);
    sol_free(net->missing);
    if (net->head != net->embed) sol_matrix_free(&net->head);
    sol_matrix_free(&net->embed);
    if (net->latent)
        for (int64_t i = 0; i < L * NET_MATRICES; i++) sol_free(net->latent[i]);
    sol_free(net->latent);
    for (int k = 0; k < 2; k++) sol_free(net->rounded[k]);
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
    if (net->tokenizer)
        for (int32_t id = 0; id < net->config.vocab_size; id++) {
            if (sol_tokenizer_has(net->tokenizer, id)) continue;
            SOL_TRY(sol_grow_array((void **)&net->missing, &net->cap_missing, net->n_missing + 1,
                                   sizeof *net->missing, err));
            net->missing[net->n_missing++] = id;
        }
    return SOL_OK;
}

/* An empty net with its options and tables of layers. */
static sol_status begin(sol_net **out, sol_ctx *ctx, const sol_model_config *c,
                        const sol_tokenizer *t, const sol_net_opts *o, sol_err *err)
{
    sol_net *net = NULL;
    *out = NULL;
    if (c->head_dim > MAX_HEAD_DIM)
        return sol_fail(err, SOL_ERR_UNSUPPORTED, "head_dim is %lld: inference supports up to %d",
                        (long long)c->head_dim, MAX_HEAD_DIM);
    if (t && sol_tokenizer_vocab_size(t) > c->vocab_size)
        return sol_fail(err, SOL_ERR_SHAPE,
                        "the tokenizer has %d tokens, the model's vocabulary %lld",
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
        st = sol_fail(err, SOL_ERR_UNSUPPORTED, "a KV cache of %s: f32, f16 and i8 are possible",
                      sol_dtype_name(net->kv_type));
    if (st == SOL_OK) st = find_missing(net, err);
    if (st == SOL_OK) st = sol_gemm_reserve(ctx, err);
    if (st == SOL_OK)
        st = sol_alloc_array((void **)&net->layers, (size_t)c->num_hidden_layers,
                             sizeof *net->layers, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

/* The parameters behind each matrix of a block. */
enum { MAX_PARTS = 3 };
static const struct {
    int n;
    sol_role role[MAX_PARTS];
} stacks[NET_MATRICES] = {
    [NET_QKV] = {3, {SOL_ROLE_Q, SOL_ROLE_K, SOL_ROLE_V}},
    [NET_O] = {1, {SOL_ROLE_O}},
    [NET_GATE_UP] = {2, {SOL_ROLE_GATE, SOL_ROLE_UP}},
    [NET_DOWN] = {1, {SOL_ROLE_DOWN}},
};

/* The biases of q, k and v of a layer one behind the other, as their matrix adds them, on top of
 * what a quantizer made. */
static const float *stack_biases(const sol_net *net, int64_t layer, const float *made)
{
    static const sol_role role[] = {SOL_ROLE_Q_BIAS, SOL_ROLE_K_BIAS, SOL_ROLE_V_BIAS};
    const int n_roles = sizeof role / sizeof *role;
    int64_t rows = 0;
    for (int i = 0; i < n_roles; i++)
        rows += sol_dim_size(&net->config, sol_param_rows[role[i]].cols);
    float *stacked = net->biases + layer * rows, *to = stacked;
    for (int i = 0; i < n_roles; i++) {
        const float *bias = net->layers[layer].vector[role[i]];
        int64_t n = sol_dim_size(&net->config, sol_param_rows[role[i]].cols);
        for (int64_t k = 0; k < n; k++) *to++ = bias[k] + (made ? *made++ : 0);
    }
    return stacked;
}

static int64_t total_rows(const sol_stored *parts, int n)
{
    int64_t rows = 0;
    for (int i = 0; i < n; i++) rows += parts[i].rows;
    return rows;
}

/* Prepares a matrix in memory of net->weights, as far as it needs any. */
static sol_status prepare(sol_net *net, sol_matrix **m, const sol_stored *parts, int n,
                          const float *bias, sol_err *err)
{
    size_t bytes = sol_matrix_tile_bytes(net->ctx, parts, n);
    uint8_t *tiles = bytes ? net->weights + net->weights_used : NULL;
    net->weights_used += bytes;
    return sol_matrix_prepare(m, net->ctx, parts, n, bias, tiles, err);
}

/* Matrix `which` of a layer; made: the bias that a quantizer made, or NULL. */
static sol_status place_matrix(sol_net *net, int64_t layer, int which, const sol_stored *parts,
                               const float *made, sol_err *err)
{
    const float *bias =
        which == NET_QKV && net->config.qkv_bias ? stack_biases(net, layer, made) : made;
    return prepare(net, &net->layers[layer].matrix[which], parts, stacks[which].n, bias, err);
}

/* head NULL: tied. */
static sol_status place_embedding(sol_net *net, const sol_stored *embed, const sol_stored *head,
                                  sol_err *err)
{
    SOL_TRY(prepare(net, &net->embed, embed, 1, NULL, err));
    if (head) return prepare(net, &net->head, head, 1, NULL, err);
    net->head = net->embed;
    return SOL_OK;
}

/* ---- from a model ---- */

static sol_stored stored_param(const sol_model *m, const sol_param *p)
{
    return (sol_stored){
        .type = m->dtype, .rows = p->rows, .cols = p->cols, .data = sol_model_at(m, p)};
}

/* q = Q(W) of one part, which then points to it; made: the biases of its rows, or NULL; as_f32:
 * scratch for a part that is not fp32, or NULL. */
static sol_status quantize_part(sol_net *net, const sol_model *m, const sol_quant_spec *spec,
                                const sol_param *p, sol_stored *part, float *as_f32, float *q,
                                float *made, sol_err *err)
{
    sol_quant_spec own = sol_quant_for(spec, p->name);
    sol_quant_matrix x = {.w = part->data, .rows = p->rows, .cols = p->cols};
    SOL_TRY(sol_quant_check(&own, p->name, p->rows, p->cols, err));
    if (as_f32) {
        sol_convert(as_f32, SOL_F32, part->data, m->dtype, p->rows * p->cols);
        x.w = as_f32;
    } else if (own.method && m->n_learned == own.method->n_learned) {
        x = sol_model_quant_matrix(m, p);
    }
    bool biases = own.method && own.method->dead_bias != 0;
    part->type = SOL_F32;
    part->data = q;
    if (!own.method)
        return sol_packed_round(net->ctx, spec, sol_param_shipped(p, spec), p->name, x.w, p->rows,
                                p->cols, q, err);
    sol_quant_forward(net->ctx, &own, &x, (sol_residual_mix){1.0f, 0.0f}, q, biases ? made : NULL);
    return SOL_OK;
}

/* Replaces the parts of a matrix by their Q(W) in fp32, owned by the net; *bias: what the method
 * makes of each row, which lies behind them, or NULL. */
static sol_status make_latent(sol_net *net, const sol_model *m, const sol_quant_spec *spec,
                              int64_t layer, int which, sol_stored *parts, float **bias,
                              sol_err *err)
{
    float **owned = &net->latent[layer * NET_MATRICES + which], *as_f32 = NULL;
    bool biased = spec->method->dead_bias != 0;
    int64_t rows = total_rows(parts, stacks[which].n), cols = parts[0].cols;
    sol_status st =
        sol_alloc_array((void **)owned, (size_t)(rows * (cols + biased)), sizeof(float), err);
    if (st == SOL_OK && m->dtype != SOL_F32)
        st = sol_alloc_array((void **)&as_f32, (size_t)(parts[0].rows * cols), sizeof(float), err);
    if (st != SOL_OK) return st; /* *owned goes with the net */
    float *q = *owned, *made = biased ? q + rows * cols : NULL;
    *bias = made;
    for (int i = 0; i < stacks[which].n; i++) {
        const sol_param *p = sol_model_by_role(m, layer, stacks[which].role[i]);
        st = quantize_part(net, m, spec, p, &parts[i], as_f32, q, made, err);
        if (st != SOL_OK) break;
        q += p->rows * p->cols;
        if (made) made += p->rows;
    }
    sol_free(as_f32);
    return st;
}

/* spec NULL: the weights as they are. */
static sol_status place_layer(sol_net *net, const sol_model *m, const sol_quant_spec *spec,
                              int64_t layer, sol_err *err)
{
    for (int which = 0; which < NET_MATRICES; which++) {
        sol_stored parts[MAX_PARTS];
        float *made = NULL;
        for (int i = 0; i < stacks[which].n; i++)
            parts[i] = stored_param(m, sol_model_by_role(m, layer, stacks[which].role[i]));
        if (spec) SOL_TRY(make_latent(net, m, spec, layer, which, parts, &made, err));
        SOL_TRY(place_matrix(net, layer, which, parts, made, err));
    }
    return SOL_OK;
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
    for (int i = 0; i < m->n_params; i++)
        n += sol_param_is_vector(&m->params[i]) ? (size_t)m->params[i].cols : 0;
    SOL_TRY(sol_alloc_array((void **)&net->vectors, n, sizeof(float), err));
    float *to = net->vectors;
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!sol_param_is_vector(p)) continue;
        sol_convert(to, SOL_F32, sol_model_at(m, p), m->dtype, p->cols);
        place_vector(net, p, to);
        to += p->cols;
    }
    return SOL_OK;
}

static sol_status alloc_biases(sol_net *net, sol_err *err)
{
    const sol_model_config *c = &net->config;
    int64_t qkv = sol_dim_size(c, SOL_DIM_HD) + 2 * sol_dim_size(c, SOL_DIM_KD);
    if (!c->qkv_bias) return SOL_OK;
    return sol_alloc_array((void **)&net->biases, (size_t)(c->num_hidden_layers * qkv),
                           sizeof(float), err);
}

/* *s, the embedding or head p, becomes what a packed file would hold of it, in memory of the
 * net. */
static sol_status round_matrix(const sol_net *net, const sol_model *m, const sol_quant_spec *spec,
                               const sol_param *p, sol_stored *s, float **out, sol_err *err)
{
    size_t n = (size_t)(s->rows * s->cols);
    float *f32 = NULL;
    sol_status st = sol_alloc_array((void **)out, n, sizeof **out, err);
    if (st == SOL_OK && m->dtype != SOL_F32)
        st = sol_alloc_array((void **)&f32, n, sizeof *f32, err);
    if (st == SOL_OK && f32) sol_convert(f32, SOL_F32, s->data, m->dtype, (int64_t)n);
    if (st == SOL_OK)
        st = sol_packed_round(net->ctx, spec, spec->embed_type, p->name, f32 ? f32 : s->data,
                              s->rows, s->cols, *out, err);
    s->type = SOL_F32;
    s->data = *out;
    sol_free(f32);
    return st;
}

static sol_status fill_from_model(sol_net *net, const sol_model *m, const sol_quant_spec *spec,
                                  sol_err *err)
{
    int64_t L = m->config.num_hidden_layers;
    const sol_param *embed_param = sol_model_embedding(m), *head_param = sol_model_head(m);
    sol_stored embed = stored_param(m, embed_param), head = stored_param(m, head_param);
    SOL_TRY(take_vectors(net, m, err));
    SOL_TRY(alloc_biases(net, err));
    if (spec && spec->embed_type != SOL_F32) {
        SOL_TRY(round_matrix(net, m, spec, embed_param, &embed, &net->rounded[0], err));
        if (!m->config.tie_word_embeddings)
            SOL_TRY(round_matrix(net, m, spec, head_param, &head, &net->rounded[1], err));
    }
    SOL_TRY(place_embedding(net, &embed, m->config.tie_word_embeddings ? NULL : &head, err));
    if (spec)
        SOL_TRY(sol_alloc_array((void **)&net->latent, (size_t)(L * NET_MATRICES),
                                sizeof *net->latent, err));
    for (int64_t l = 0; l < L; l++) SOL_TRY(place_layer(net, m, spec, l, err));
    return SOL_OK;
}

sol_status sol_net_from_model(sol_net **out, sol_ctx *ctx, const sol_model *m,
                              const sol_tokenizer *t, const sol_quant_spec *spec,
                              const sol_net_opts *o, sol_err *err)
{
    sol_net *net;
    *out = NULL;
    SOL_TRY(begin(&net, ctx, &m->config, t, o, err));
    bool latent = spec && spec->method && !(o && o->full_precision);
    net->kind = latent ? SOL_NET_LATENT : SOL_NET_FP;
    net->bits_per_weight = latent ? latent_bits(m, spec) : 8.0 * (double)sol_dtype_size(m->dtype);
    sol_status st = fill_from_model(net, m, latent ? spec : NULL, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

/* ---- from a packed model ---- */

/* What stands behind matrix `which` of a layer. */
static void packed_parts(const sol_packed_model *p, int64_t layer, int which,
                         sol_stored parts[MAX_PARTS])
{
    for (int i = 0; i < stacks[which].n; i++)
        parts[i] = *sol_packed_matrix(p, layer, stacks[which].role[i]);
}

/* Weights in the kernels' layout take their memory from one block, which lies on huge pages:
 * reading them waits less for addresses to be translated. */
static size_t packed_tile_bytes(const sol_net *net, const sol_packed_model *p)
{
    const sol_stored *head = sol_packed_matrix(p, -1, SOL_ROLE_HEAD);
    size_t bytes = sol_matrix_tile_bytes(net->ctx, sol_packed_matrix(p, -1, SOL_ROLE_EMBED), 1);
    if (head) bytes += sol_matrix_tile_bytes(net->ctx, head, 1);
    for (int64_t l = 0; l < p->config.num_hidden_layers; l++) {
        for (int which = 0; which < NET_MATRICES; which++) {
            sol_stored parts[MAX_PARTS];
            packed_parts(p, l, which, parts);
            bytes += sol_matrix_tile_bytes(net->ctx, parts, stacks[which].n);
        }
    }
    return bytes;
}

/* Releases what the kernels hold in a layout of their own; float types are used where they are. */
static void drop_copied(const sol_net *net, sol_stored *s)
{
    if (s->rows && sol_matrix_tile_bytes(net->ctx, s, 1)) sol_stored_free(s);
}

/* A packed model: in memory, or p is that of a file, from which matrices come when they are
 * placed. */
typedef struct packed_source {
    const sol_packed_model *packed;
    sol_packed_file *file; /* NULL: in memory */
    sol_packed_model *p;   /* `packed`, of a file */
} packed_source;

/* Brings the matrix of a role into memory. */
static sol_status fetch(const packed_source *from, int64_t layer, sol_role role, sol_err *err)
{
    const sol_stored *m = sol_packed_matrix(from->packed, layer, role);
    return from->file && m ? sol_packed_file_load(from->file, (int)(m - from->packed->matrix), err)
                           : SOL_OK;
}

/* It is placed. */
static void release(const sol_net *net, const packed_source *from, int64_t layer, sol_role role)
{
    const sol_stored *m = sol_packed_matrix(from->packed, layer, role);
    if (from->file && m) drop_copied(net, &from->p->matrix[m - from->packed->matrix]);
}

static sol_status place_packed_matrix(sol_net *net, const packed_source *from, int64_t layer,
                                      int which, sol_err *err)
{
    sol_stored parts[MAX_PARTS];
    int n = stacks[which].n;
    for (int i = 0; i < n; i++) SOL_TRY(fetch(from, layer, stacks[which].role[i], err));
    packed_parts(from->packed, layer, which, parts);
    SOL_TRY(place_matrix(net, layer, which, parts, NULL, err));
    for (int i = 0; i < n; i++) release(net, from, layer, stacks[which].role[i]);
    return SOL_OK;
}

static sol_status place_packed_embedding(sol_net *net, const packed_source *from, sol_err *err)
{
    const sol_role role[] = {SOL_ROLE_EMBED, SOL_ROLE_HEAD};
    for (int i = 0; i < 2; i++) SOL_TRY(fetch(from, -1, role[i], err));
    SOL_TRY(place_embedding(net, sol_packed_matrix(from->packed, -1, SOL_ROLE_EMBED),
                            sol_packed_matrix(from->packed, -1, SOL_ROLE_HEAD), err));
    for (int i = 0; i < 2; i++) release(net, from, -1, role[i]);
    return SOL_OK;
}

static sol_status fill_from_packed(sol_net *net, const packed_source *from,
                                   const sol_progress *progress, sol_err *err)
{
    const sol_packed_model *p = from->packed;
    int64_t layers = p->config.num_hidden_layers;
    for (int i = 0; i < p->table->n_params; i++)
        if (p->vector[i]) place_vector(net, &p->table->params[i], p->vector[i]);
    SOL_TRY(alloc_biases(net, err));
    SOL_TRY(sol_alloc_array((void **)&net->weights, packed_tile_bytes(net, p), 1, err));
    SOL_TRY(place_packed_embedding(net, from, err));
    for (int64_t l = 0; l < layers; l++) {
        for (int which = 0; which < NET_MATRICES; which++)
            SOL_TRY(place_packed_matrix(net, from, l, which, err));
        if (!sol_progress_show(progress, "layers", l + 1, layers))
            return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
    }
    return SOL_OK;
}

static sol_status from_packed(sol_net **out, sol_ctx *ctx, const packed_source *from,
                              const sol_net_opts *o, sol_err *err)
{
    sol_net *net;
    const sol_packed_model *p = from->packed;
    *out = NULL;
    SOL_TRY(begin(&net, ctx, &p->config, p->tokenizer, o, err));
    net->kind = SOL_NET_PACKED;
    net->bits_per_weight = sol_packed_model_bits(p);
    sol_status st = fill_from_packed(net, from, o ? &o->progress : NULL, err);
    if (st != SOL_OK) sol_net_free(&net);
    *out = net;
    return st;
}

sol_status sol_net_from_packed(sol_net **net, sol_ctx *ctx, const sol_packed_model *p,
                               const sol_net_opts *o, sol_err *err)
{
    return from_packed(net, ctx, &(packed_source){.packed = p}, o, err);
}

static sol_status open_model(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o,
                             sol_err *err)
{
    sol_model_file file;
    sol_dtype type = o ? o->weights : SOL_F32;
    SOL_TRY(sol_model_file_read(&file, path, type, o ? &o->progress : NULL, err));
    sol_status st = SOL_OK;
    if (type != SOL_F32 && file.quant.method && !o->full_precision)
        st = sol_fail(err, SOL_ERR_USAGE,
                      "weights in %s are those of full precision: the quantizer %s makes others",
                      sol_dtype_name(type), file.quant.method->name);
    if (st == SOL_OK)
        st = sol_net_from_model(net, ctx, file.model, file.tokenizer, &file.quant, o, err);
    if (st != SOL_OK) {
        sol_model_file_free(&file);
        return sol_err_prefix(err, st, "%s", path);
    }
    (*net)->file = file;
    return SOL_OK;
}

static sol_status open_packed(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o,
                              sol_err *err)
{
    sol_packed_model p;
    packed_source from = {.packed = &p, .p = &p};
    SOL_TRY(sol_packed_file_open(&from.file, &p, path, err));
    sol_status st = from_packed(net, ctx, &from, o, err);
    sol_packed_file_close(&from.file);
    if (st != SOL_OK) {
        sol_packed_model_free(&p);
        return sol_err_prefix(err, st, "%s", path);
    }
    (*net)->packed = p;
    return SOL_OK;
}

sol_status sol_net_open(sol_net **net, sol_ctx *ctx, const char *path, const sol_net_opts *o,
                        sol_err *err)
{
    sol_file_kind kind;
    *net = NULL;
    SOL_TRY(sol_store_model_kind(path, &kind, err));
    if (kind == SOL_FILE_PACKED && o && o->full_precision)
        return sol_fail(err, SOL_ERR_USAGE, "%s: a packed model has no full-precision weights",
                        path);
    if (kind == SOL_FILE_PACKED && o && o->weights != SOL_F32)
        return sol_fail(err, SOL_ERR_USAGE, "%s: a packed model's weights are not of type %s", path,
                        sol_dtype_name(o->weights));
    return kind == SOL_FILE_PACKED ? open_packed(net, ctx, path, o, err)
                                   : open_model(net, ctx, path, o, err);
}
