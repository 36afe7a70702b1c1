/* Parts of a block on tapes that are planned once and run for every block: the weights change in
 * their place. calib.c runs them over both streams. */
#include "calib/stage.h"

#include <string.h>

#include "kernels/gemm.h"

static sol_var weight(void *user, int64_t layer, sol_role which)
{
    const sol_stage *s = user;
    const sol_param *p = sol_model_by_role(s->weights, layer, which);
    const float *data = s->weights->data ? sol_model_f32(s->weights, p) : NULL;
    return sol_tape_constant(s->tape, SOL_F32, sol_shape2(p->rows, p->cols), data);
}

static sol_var record(const sol_block *b, sol_stage_kind kind, sol_var x)
{
    bool attention = kind == SOL_STAGE_INPUT_NORM || kind == SOL_STAGE_HEADS;
    sol_var h = sol_block_norm(b, 0, attention ? SOL_ROLE_INPUT_NORM : SOL_ROLE_POST_NORM, x);
    if (kind == SOL_STAGE_HEADS) return sol_block_heads(b, 0, h);
    if (kind == SOL_STAGE_GATED) return sol_block_gated(b, 0, h);
    return h;
}

sol_status sol_stage_create(sol_stage *s, sol_stage_kind kind, const sol_ctx *ctx,
                            const sol_model *weights, const sol_model_config *config, int64_t batch,
                            int64_t seq, sol_dtype compute, sol_err *err)
{
    *s = (sol_stage){.weights = weights};
    sol_tape_opts o = {.no_grad = true};
    sol_status st = sol_tape_create(&s->tape, ctx, err);
    if (st != SOL_OK) return st;
    sol_block_inputs_record(&s->in, s->tape, batch, seq);
    s->block = (sol_block){.t = s->tape,
                           .config = config,
                           .in = &s->in,
                           .compute = compute,
                           .weight = weight,
                           .user = s};
    sol_block_tables_record(&s->block);
    s->x = sol_tape_input(s->tape, SOL_F32, sol_shape2(batch * seq, weights->config.hidden_size));
    s->out = record(&s->block, kind, s->x);
    st = sol_tape_plan(s->tape, s->out, &o, err);
    if (st == SOL_OK && weights->data) st = sol_tape_allocate(s->tape, err);
    if (st == SOL_OK && weights->data) sol_block_tables_fill(&s->block);
    if (st != SOL_OK) sol_stage_free(s);
    return st;
}

void sol_stage_free(sol_stage *s)
{
    sol_tape_free(&s->tape);
}

const void *sol_stage_run(sol_stage *s, const float *x, const int32_t *doc_start, int64_t n)
{
    int64_t tokens = n * s->in.seq, all = s->in.batch * s->in.seq,
            C = s->weights->config.hidden_size;
    float *in = sol_tape_data(s->tape, s->x);
    sol_block_inputs_place(&s->in, s->tape, doc_start, n);
    memcpy(in, x, (size_t)(tokens * C) * sizeof *in);
    memset(in + tokens * C, 0, (size_t)((all - tokens) * C) * sizeof *in); /* beyond n windows */
    sol_tape_run_forward(s->tape);
    return sol_tape_data(s->tape, s->out);
}

void sol_stage_take_block(const sol_model *m, int64_t layer, sol_model *block)
{
    for (int i = 0; i < block->n_block; i++) {
        const sol_param *from = sol_model_block(m, layer) + i, *to = sol_model_block(block, 0) + i;
        sol_convert(sol_model_f32(block, to), SOL_F32, sol_model_at(m, from), m->dtype,
                    sol_param_count(to));
    }
}

void sol_stage_project(const sol_ctx *ctx, const sol_model *block, sol_role which,
                       sol_dtype compute, const void *x, int64_t n, float beta, float *y,
                       int64_t ldy, void *scratch)
{
    const sol_param *p = sol_model_by_role(block, 0, which);
    bool bf16 = compute == SOL_BF16;
    sol_operand a = {x, p->cols, false, bf16}, b = {sol_model_f32(block, p), p->cols, true, false};
    sol_product(ctx, bf16, n, p->rows, p->cols, 1, &a, &b, beta, y, ldy, scratch);
}
