#include "model/block.h"

#include <string.h>

void sol_block_inputs_record(sol_block_inputs *in, sol_tape *t, int64_t batch, int64_t seq)
{
    int64_t n = batch * seq;
    in->batch = batch;
    in->seq = seq;
    in->tokens = sol_tape_input(t, SOL_I32, sol_shape1(n));
    in->targets = sol_tape_input(t, SOL_I32, sol_shape1(n));
    in->doc_start = sol_tape_input(t, SOL_I32, sol_shape1(n));
    in->position = sol_tape_input(t, SOL_I32, sol_shape1(n));
}

void sol_block_inputs_fill(const sol_block_inputs *in, sol_tape *t, const int32_t *tokens, const int32_t *targets,
                           const int32_t *doc_start)
{
    int64_t n = in->batch * in->seq;
    int32_t *start = sol_tape_data(t, in->doc_start), *position = sol_tape_data(t, in->position);
    memcpy(sol_tape_data(t, in->tokens), tokens, (size_t)n * sizeof *tokens);
    memcpy(sol_tape_data(t, in->targets), targets, (size_t)n * sizeof *targets);
    for (int64_t i = 0; i < n; i++) {
        start[i] = doc_start ? doc_start[i] : 0;
        position[i] = (int32_t)(i % in->seq) - start[i];
    }
}

void sol_block_tables_record(sol_block *b)
{
    b->cosine = sol_tape_input(b->t, SOL_F32, sol_shape2(b->in->seq, b->config->head_dim / 2));
    b->sine = sol_tape_input(b->t, SOL_F32, sol_shape2(b->in->seq, b->config->head_dim / 2));
}

void sol_block_tables_fill(const sol_block *b)
{
    sol_rope_tables(b->config, b->in->seq, sol_tape_data(b->t, b->cosine), sol_tape_data(b->t, b->sine));
}

/* type: of what comes out, where no bias is added. */
static sol_var project(const sol_block *b, int64_t layer, sol_block_param which, sol_var x, sol_dtype type)
{
    sol_var w = b->weight(b->user, layer, which), bias = b->bias ? b->bias(b->user, layer, which) : -1;
    sol_var y = sol_linear(b->t, x, w, bias < 0 ? type : SOL_F32);
    return bias < 0 ? y : sol_add_bias(b->t, y, bias);
}

static sol_var norm(const sol_block *b, int64_t layer, sol_block_param which, sol_var x)
{
    return sol_rmsnorm(b->t, x, b->weight(b->user, layer, which), (float)b->config->rms_norm_eps, b->compute);
}

static sol_var turn(const sol_block *b, sol_var x)
{
    return sol_rope(b->t, x, b->in->position, b->cosine, b->sine, b->config->head_dim);
}

sol_var sol_block_record(const sol_block *b, int64_t layer, sol_var x)
{
    const sol_model_config *c = b->config;
    sol_attention_shape shape = {b->in->batch, b->in->seq, c->num_attention_heads, c->num_key_value_heads,
        c->head_dim};
    sol_var h = norm(b, layer, SOL_BLOCK_INPUT_NORM, x);
    sol_var q = turn(b, project(b, layer, SOL_BLOCK_Q, h, SOL_F32)), k = turn(b, project(b, layer, SOL_BLOCK_K, h, SOL_F32));
    sol_var v = project(b, layer, SOL_BLOCK_V, h, SOL_F32);
    sol_var o = sol_attention(b->t, q, k, v, b->in->doc_start, &shape, b->compute);
    x = sol_add(b->t, x, project(b, layer, SOL_BLOCK_O, o, SOL_F32));
    h = norm(b, layer, SOL_BLOCK_POST_NORM, x);
    sol_var gate = project(b, layer, SOL_BLOCK_GATE, h, b->compute), up = project(b, layer, SOL_BLOCK_UP, h, b->compute);
    h = sol_swiglu(b->t, gate, up, b->compute);
    return sol_add(b->t, x, project(b, layer, SOL_BLOCK_DOWN, h, SOL_F32));
}
