/* llama2.c files for tests, read and put in order independently of the importer. */
#include "llama2c_file.h"

#include <string.h>

#include "suite.h"

const char *const sol_test_llama2c_kind[SOL_TEST_LLAMA2C_KINDS] = {
    "tok_emb", "att_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3", "final_norm"};
/* Which parameter of a block a kind is; -1: outside the blocks. */
static const int block_param[SOL_TEST_LLAMA2C_KINDS] = {
    -1,         SOL_ROLE_INPUT_NORM, SOL_ROLE_Q,    SOL_ROLE_K,    SOL_ROLE_V,
    SOL_ROLE_O, SOL_ROLE_POST_NORM,  SOL_ROLE_GATE, SOL_ROLE_DOWN, SOL_ROLE_UP,
    -1};

static const sol_param *param_of(const sol_model *m, int kind, int64_t layer)
{
    if (block_param[kind] >= 0) return sol_model_by_role(m, layer, (sol_role)block_param[kind]);
    return kind == 0 ? sol_model_embedding(m) : sol_model_final_norm(m);
}

static int64_t layers_of(const sol_model *m, int kind)
{
    return block_param[kind] >= 0 ? m->config.num_hidden_layers : 1;
}

int64_t sol_test_llama2c_count(const sol_model *m, int kind)
{
    return sol_param_count(param_of(m, kind, 0)) * layers_of(m, kind);
}

/* Row r of a half-split q or k matrix is row `interleaved` of the file: lane i of the first half
 * was 2 i, of the second 2 i + 1. */
static int64_t file_row(int kind, int64_t row, int64_t head_dim)
{
    if (kind != 2 && kind != 3) return row;
    int64_t lane = row % head_dim, half = head_dim / 2;
    return row - lane + (lane < half ? 2 * lane : 2 * (lane - half) + 1);
}

void sol_test_llama2c_order(const sol_model *m, float *flat, float *file, bool to_file)
{
    for (int kind = 0; kind < SOL_TEST_LLAMA2C_KINDS; kind++) {
        for (int64_t l = 0; l < layers_of(m, kind); l++) {
            const sol_param *p = param_of(m, kind, l);
            for (int64_t r = 0; r < p->rows; r++) {
                float *a = flat + p->offset + r * p->cols;
                float *b = file + file_row(kind, r, m->config.head_dim) * p->cols;
                memcpy(to_file ? b : a, to_file ? a : b, (size_t)p->cols * sizeof *a);
            }
            file += sol_param_count(p);
        }
    }
}

void sol_test_llama2c_read(sol_model **m, const char *path)
{
    sol_map map;
    ck_ok(sol_map_open(&map, path, err));
    int32_t h[7];
    memcpy(h, map.data, sizeof h);
    sol_model_config c = {.vocab_size = h[5],
                          .hidden_size = h[0],
                          .intermediate_size = h[1],
                          .num_hidden_layers = h[2],
                          .num_attention_heads = h[3],
                          .num_key_value_heads = h[4],
                          .head_dim = h[0] / h[3],
                          .max_position_embeddings = h[6],
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .tie_word_embeddings = true,
                          .bos_token_id = 1,
                          .eos_token_id = -1};
    ck_ok(sol_model_create(m, &c, SOL_F32, err));
    ck_assert_uint_ge(map.size, sizeof h + (size_t)(*m)->n_weights * sizeof(float));
    sol_test_llama2c_order(*m, (*m)->data, (float *)(uintptr_t)(map.data + sizeof h), false);
    sol_map_close(&map);
}
