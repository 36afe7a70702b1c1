/* Parameters that a quantizer learns. They stand behind the others in the flat block, one vector of
 * scales for each linear layer and kind, and are parameters like any other: the training graph
 * hands them to sol_fake_quant, whose backward call gives their gradients. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/model.h"

/* Back to the table without learned parameters; the block keeps its size. */
static void drop_learned(sol_model *m)
{
    m->n_params = m->n_plain;
    m->n_learned = 0;
    m->n_elements = m->n_weights = 0;
    for (int i = 0; i < m->n_params; i++) {
        sol_param *p = &m->params[i];
        p->learned = 0;
        m->n_weights += sol_param_count(p);
        m->n_elements = p->offset + sol_round_up(sol_param_count(p), SOL_PARAM_ALIGN);
    }
}

/* Adds a vector of n numbers behind the last parameter, named after its linear layer. */
static void append(sol_model *m, const sol_param *linear, const char *suffix, int64_t n)
{
    sol_param *p = &m->params[m->n_params++];
    size_t stem = strlen(linear->name) - strlen(".weight");
    *p = (sol_param){.role = linear->role,
                     .kind = SOL_PARAM_QUANT,
                     .layer = linear->layer,
                     .rows = n,
                     .cols = 1,
                     .offset = m->n_elements};
    snprintf(p->name, sizeof p->name, "%.*s.%s", (int)stem, linear->name, suffix);
    m->n_weights += n;
    m->n_elements += sol_round_up(n, SOL_PARAM_ALIGN);
}

/* Makes the table n rows longer. */
static sol_status grow_table(sol_model *m, int n, sol_err *err)
{
    sol_param *more;
    SOL_TRY(sol_alloc_array((void **)&more, (size_t)(m->n_params + n), sizeof *more, err));
    memcpy(more, m->params, (size_t)m->n_params * sizeof *more);
    sol_free(m->params);
    m->params = more;
    return SOL_OK;
}

/* Makes the flat block as long as the table says; what is new is zero, the first `from` elements
 * stay. */
static sol_status grow_block(sol_model *m, int64_t from, sol_err *err)
{
    float *more;
    SOL_TRY(sol_alloc_array((void **)&more, (size_t)m->n_elements, sizeof *more, err));
    memcpy(more, m->data, (size_t)from * sizeof *more);
    sol_free(m->data);
    m->data = more;
    return SOL_OK;
}

sol_status sol_model_add_learned(sol_model *m, const sol_quant_spec *spec, sol_err *err)
{
    const sol_quantizer *q = spec ? spec->method : NULL;
    int n_learned = q ? q->n_learned : 0, n_learning = 0;
    drop_learned(m);
    if (n_learned == 0) return SOL_OK;
    if (m->dtype != SOL_F32)
        return sol_fail(err, SOL_ERR_UNSUPPORTED,
                        "%s learns parameters: it needs a model in f32, not in %s", q->name,
                        sol_dtype_name(m->dtype));
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        if (!p->quantized) continue;
        sol_quant_spec layer = sol_quant_for(spec, p->name);
        SOL_TRY(sol_quant_check(&layer, p->name, p->rows, p->cols, err));
        n_learning += layer.method == q;
    }
    SOL_TRY(grow_table(m, n_learning * n_learned, err));
    int64_t from = m->n_elements;
    for (int i = 0; i < m->n_plain; i++) {
        sol_param *p = &m->params[i];
        sol_quant_spec layer = sol_quant_for(spec, p->name);
        if (!p->quantized || layer.method != q) continue;
        p->learned = m->n_params;
        for (int k = 0; k < n_learned; k++)
            append(m, p, q->learned_name[k], sol_quant_scale_count(&layer, p->rows, p->cols));
    }
    m->n_learned = n_learned;
    sol_status st = m->data ? grow_block(m, from, err) : SOL_OK;
    if (st != SOL_OK) drop_learned(m);
    return st;
}

const sol_param *sol_model_learned(const sol_model *m, const sol_param *linear, int k)
{
    return k < m->n_learned && linear->learned ? &m->params[linear->learned + k] : NULL;
}

sol_quant_matrix sol_model_quant_matrix(const sol_model *m, const sol_param *linear)
{
    sol_quant_matrix x = {
        .w = m->data ? sol_model_f32(m, linear) : NULL, .rows = linear->rows, .cols = linear->cols};
    if (m->data && linear->learned)
        for (int k = 0; k < m->n_learned; k++)
            x.learned[k] = sol_model_f32(m, sol_model_learned(m, linear, k));
    return x;
}

void sol_model_start_learned(const sol_ctx *ctx, sol_model *m, const sol_quant_spec *spec)
{
    if (m->n_learned == 0) return;
    for (int i = 0; i < m->n_plain; i++) {
        const sol_param *p = &m->params[i];
        if (!p->learned) continue;
        sol_quant_spec layer = sol_quant_for(spec, p->name);
        sol_quant_matrix from_weights = {
            .w = sol_model_f32(m, p), .rows = p->rows, .cols = p->cols};
        sol_quant_parts parts = {0};
        for (int k = 0; k < m->n_learned; k++)
            parts.learned[k] = sol_model_f32(m, sol_model_learned(m, p, k));
        sol_quant_take_apart(ctx, &layer, &from_weights, &parts);
    }
}
