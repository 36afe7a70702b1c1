/* Records a transformer block on the tape, through calls that give its weights: for training, a
 * teacher and calibration alike. */
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

void sol_block_inputs_place(const sol_block_inputs *in, sol_tape *t, const int32_t *doc_start,
                            int64_t n)
{
    int32_t *start = sol_tape_data(t, in->doc_start), *position = sol_tape_data(t, in->position);
    for (int64_t i = 0; i < in->batch * in->seq; i++) {
        start[i] = doc_start && i < n * in->seq ? doc_start[i] : 0;
        position[i] = (int32_t)(i % in->seq) - start[i];
    }
}

void sol_block_inputs_fill(const sol_block_inputs *in, sol_tape *t, const int32_t *tokens,
                           const int32_t *targets, const int32_t *doc_start)
{
    int64_t n = in->batch * in->seq;
    memcpy(sol_tape_data(t, in->tokens), tokens, (size_t)n * sizeof *tokens);
    memcpy(sol_tape_data(t, in->targets), targets, (size_t)n * sizeof *targets);
    sol_block_inputs_place(in, t, doc_start, in->batch);
}

void sol_block_tables_record(sol_block *b)
{
    b->cosine = sol_tape_input(b->t, SOL_F32, sol_shape2(b->in->seq, b->config->head_dim / 2));
    b->sine = sol_tape_input(b->t, SOL_F32, sol_shape2(b->in->seq, b->config->head_dim / 2));
}

void sol_block_tables_fill(const sol_block *b)
{
    sol_rope_tables(b->config, b->in->seq, sol_tape_data(b->t, b->cosine),
                    sol_tape_data(b->t, b->sine));
}

/* x by the matrix of a role, with its bias where it has one; `out` as in sol_linear. */
static sol_var project(const sol_block *b, int64_t layer, sol_role role, sol_var x, sol_dtype out)
{
    sol_var w = b->weight(b->user, layer, role),
            bias = b->bias ? b->bias(b->user, layer, role) : -1;
    sol_var y = sol_linear(b->t, x, w, bias < 0 ? out : SOL_F32);
    return bias < 0 ? y : sol_add_bias(b->t, y, bias);
}

sol_var sol_block_norm(const sol_block *b, int64_t layer, sol_role role, sol_var x)
{
    return sol_rmsnorm(b->t, x, b->weight(b->user, layer, role), (float)b->config->rms_norm_eps,
                       b->compute);
}

/* RoPE of q or k by the position of each row, in the layers that have it. */
static sol_var rotate(const sol_block *b, int64_t layer, sol_var x)
{
    if (!sol_layer_has_rope(b->config, layer)) return x;
    return sol_rope(b->t, x, b->in->position, b->cosine, b->sine, b->config->head_dim);
}

/* q, k or v of normed x: its projection, plus a bias and normed by head where the architecture
 * has it so. */
static sol_var head_rows(const sol_block *b, int64_t layer, sol_role matrix, sol_role bias,
                         sol_role norm, sol_var x)
{
    sol_var y = project(b, layer, matrix, x, SOL_F32);
    if (sol_role_present(b->config, bias))
        y = sol_add_bias(b->t, y, b->weight(b->user, layer, bias));
    if (!sol_role_present(b->config, norm)) return y;
    return sol_rmsnorm(b->t, y, b->weight(b->user, layer, norm), (float)b->config->rms_norm_eps,
                       SOL_F32);
}

sol_var sol_block_heads(const sol_block *b, int64_t layer, sol_var x)
{
    const sol_model_config *c = b->config;
    sol_attention_shape shape = {b->in->batch,           b->in->seq,  c->num_attention_heads,
                                 c->num_key_value_heads, c->head_dim, sol_layer_window(c, layer)};
    sol_var q =
        rotate(b, layer, head_rows(b, layer, SOL_ROLE_Q, SOL_ROLE_Q_BIAS, SOL_ROLE_Q_NORM, x));
    sol_var k =
        rotate(b, layer, head_rows(b, layer, SOL_ROLE_K, SOL_ROLE_K_BIAS, SOL_ROLE_K_NORM, x));
    sol_var v = head_rows(b, layer, SOL_ROLE_V, SOL_ROLE_V_BIAS, SOL_ROLES, x);
    if (b->qkv && layer == b->watched) memcpy(b->qkv, (sol_var[]){q, k, v}, 3 * sizeof *b->qkv);
    sol_var heads = sol_attention(b->t, q, k, v, b->in->doc_start, &shape, b->compute);
    if (!b->config->sub_norm) return heads;
    if (b->compute != SOL_F32) heads = sol_cast(b->t, heads, SOL_F32);
    return sol_block_norm(b, layer, SOL_ROLE_ATTN_SUB_NORM, heads);
}

sol_var sol_block_gated(const sol_block *b, int64_t layer, sol_var x)
{
    sol_var gate = project(b, layer, SOL_ROLE_GATE, x, b->compute);
    sol_var up = project(b, layer, SOL_ROLE_UP, x, b->compute);
    if (!b->config->sub_norm) return sol_swiglu(b->t, gate, up, b->compute);
    return sol_block_norm(b, layer, SOL_ROLE_FFN_SUB_NORM, sol_swiglu(b->t, gate, up, SOL_F32));
}

sol_var sol_block_record(const sol_block *b, int64_t layer, sol_var x)
{
    sol_var h = sol_block_heads(b, layer, sol_block_norm(b, layer, SOL_ROLE_INPUT_NORM, x));
    x = sol_add(b->t, x, project(b, layer, SOL_ROLE_O, h, SOL_F32));
    h = sol_block_gated(b, layer, sol_block_norm(b, layer, SOL_ROLE_POST_NORM, x));
    return sol_add(b->t, x, project(b, layer, SOL_ROLE_DOWN, h, SOL_F32));
}
