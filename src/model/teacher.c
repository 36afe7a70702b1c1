/* A teacher: weights in a compact type, its forward pass on the tape of a student, and what it
 * makes of a batch by itself. */
#include "model/teacher.h"

#include "base/num.h"
#include "model/teacher_net.h"

/* ---- weights ---- */

static size_t aligned(size_t bytes)
{
    return sol_round_up_size(bytes, SOL_ALIGN);
}

static sol_status describe(sol_teacher *t, sol_dtype type, sol_err *err)
{
    SOL_TRY(sol_model_describe(&t->table, &t->config, SOL_F32, err));
    SOL_TRY(sol_alloc_array((void **)&t->param, (size_t)t->table->n_params, sizeof *t->param, err));
    for (int i = 0; i < t->table->n_params; i++) {
        const sol_param *p = &t->table->params[i];
        t->param[i] = (sol_stored){
            .type = sol_param_is_vector(p) ? SOL_F32 : type, .rows = p->rows, .cols = p->cols};
        t->bytes +=
            aligned(sol_stored_bytes(&t->param[i])) + aligned(sol_stored_scale_bytes(&t->param[i]));
    }
    return SOL_OK;
}

sol_status sol_teacher_describe(sol_teacher **out, const sol_model_config *c, sol_dtype type,
                                sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->config = *c;
    sol_status st = describe(*out, type, err);
    if (st != SOL_OK) sol_teacher_free(out);
    return st;
}

sol_status sol_teacher_allocate(sol_teacher *t, sol_err *err)
{
    SOL_TRY(sol_alloc_array(&t->block, t->bytes, 1, err));
    char *at = t->block;
    for (int i = 0; i < t->table->n_params; i++) {
        sol_stored *s = &t->param[i];
        size_t scales = sol_stored_scale_bytes(s);
        s->data = at;
        at += aligned(sol_stored_bytes(s));
        s->scales = scales ? (sol_f16 *)at : NULL;
        at += aligned(scales);
    }
    return SOL_OK;
}

/* The matrix of a parameter of t->table. */
static const sol_stored *matrix_of(const sol_teacher *t, const sol_param *p)
{
    return &t->param[p - t->table->params];
}

void sol_teacher_fill(sol_teacher *t, const sol_ctx *ctx, const sol_param *p, int64_t from,
                      int64_t n, const float *rows)
{
    const sol_param *own = sol_model_param(t->table, p->name);
    if (!own) return; /* what a quantizer learned */
    sol_stored part = sol_stored_part(matrix_of(t, own), from, n);
    sol_stored_fill(ctx, &part, rows, NULL);
}

sol_status sol_teacher_create(sol_teacher **out, const sol_ctx *ctx, const sol_model *m,
                              sol_dtype type, sol_err *err)
{
    sol_status st = sol_teacher_describe(out, &m->config, type, err);
    if (st == SOL_OK) st = sol_teacher_allocate(*out, err);
    if (st != SOL_OK) {
        sol_teacher_free(out);
        return st;
    }
    for (int i = 0; i < (*out)->table->n_params; i++) {
        const sol_param *p = &(*out)->table->params[i];
        sol_teacher_fill(*out, ctx, p, 0, p->rows, sol_model_f32(m, &m->params[i]));
    }
    return SOL_OK;
}

void sol_teacher_free(sol_teacher **tp)
{
    sol_teacher *t = *tp;
    if (!t) return;
    sol_model_free(&t->table);
    sol_free(t->param);
    sol_free(t->block);
    sol_free(t);
    *tp = NULL;
}

const sol_stored *sol_teacher_head(const sol_teacher *t)
{
    return matrix_of(t, sol_model_head(t->table));
}

/* ---- its forward pass ---- */

/* Records a matrix: itself where products take its type; otherwise a cast of it to fp32, which
 * lives until it is read. */
static sol_var weight(const sol_teacher_net *n, const sol_param *p)
{
    const sol_stored *s = matrix_of(n->teacher, p);
    if (s->type == SOL_F32)
        return sol_tape_constant(n->block.t, SOL_F32, sol_shape2(s->rows, s->cols), s->data);
    if (s->type == SOL_BF16 && n->block.compute == SOL_BF16)
        return sol_tape_constant(n->block.t, SOL_BF16, sol_shape2(s->rows, s->cols), s->data);
    return sol_stored_weight(n->block.t, s);
}

static sol_var block_weight(void *user, int64_t layer, sol_role role)
{
    const sol_teacher_net *n = user;
    return weight(n, sol_model_by_role(n->teacher->table, layer, role));
}

sol_var sol_teacher_record(sol_teacher_net *n, const sol_teacher *teacher, sol_tape *t,
                           const sol_block_inputs *in, sol_dtype compute, sol_var *out,
                           int64_t watched, sol_var *qkv)
{
    const sol_model *table = teacher->table;
    n->teacher = teacher;
    n->block = (sol_block){.t = t,
                           .config = &teacher->config,
                           .in = in,
                           .compute = compute,
                           .weight = block_weight,
                           .user = n,
                           .qkv = qkv,
                           .watched = watched};
    sol_block_tables_record(&n->block);
    sol_var x = sol_stored_embedding(t, in->tokens, matrix_of(teacher, sol_model_embedding(table)));
    for (int64_t l = 0; l < teacher->config.num_hidden_layers; l++) {
        x = sol_block_record(&n->block, l, x);
        if (out) out[l] = x;
    }
    return sol_rmsnorm(t, x, weight(n, sol_model_final_norm(table)),
                       (float)teacher->config.rms_norm_eps, SOL_F32);
}

/* ---- its predictions for a batch ---- */

struct sol_teacher_graph {
    sol_tape *tape;
    sol_teacher_net net;
    sol_block_inputs in;
    sol_distill d;
    float *starts; /* [B T] */
    sol_var probs, ids;
};

static sol_status record(sol_teacher_graph *g, sol_ctx *ctx, const sol_teacher *t, int64_t batch,
                         int64_t seq, sol_dtype compute, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)&g->starts, (size_t)(batch * seq), sizeof *g->starts, err));
    SOL_TRY(sol_tape_create(&g->tape, ctx, err));
    sol_block_inputs_record(&g->in, g->tape, batch, seq);
    sol_var x = sol_teacher_record(&g->net, t, g->tape, &g->in, compute, NULL, 0, NULL);
    g->probs = sol_teacher_top(g->tape, x, g->in.targets, sol_teacher_head(t), &g->d, g->starts,
                               compute, &g->ids);
    sol_tape_keep(g->tape, g->ids);
    SOL_TRY(sol_tape_plan(g->tape, g->probs, &(sol_tape_opts){.no_grad = true}, err));
    return sol_tape_allocate(g->tape, err);
}

sol_status sol_teacher_graph_create(sol_teacher_graph **out, sol_ctx *ctx, const sol_teacher *t,
                                    int64_t batch, int64_t seq, const sol_distill *d,
                                    sol_dtype compute, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)out, 1, sizeof **out, err));
    (*out)->d = *d;
    sol_status st = record(*out, ctx, t, batch, seq, compute, err);
    if (st == SOL_OK)
        sol_block_tables_fill(&(*out)->net.block);
    else
        sol_teacher_graph_free(out);
    return st;
}

void sol_teacher_graph_free(sol_teacher_graph **gp)
{
    sol_teacher_graph *g = *gp;
    if (!g) return;
    sol_tape_free(&g->tape);
    sol_free(g->starts);
    sol_free(g);
    *gp = NULL;
}

float *sol_teacher_graph_starts(sol_teacher_graph *g)
{
    return g->starts;
}

void sol_teacher_graph_run(sol_teacher_graph *g, const int32_t *tokens, const int32_t *targets,
                           const int32_t *doc_start, const int32_t **ids, const float **probs)
{
    sol_block_inputs_fill(&g->in, g->tape, tokens, targets, doc_start);
    sol_tape_run_forward(g->tape);
    *ids = sol_tape_data(g->tape, g->ids);
    *probs = sol_tape_data(g->tape, g->probs);
}
