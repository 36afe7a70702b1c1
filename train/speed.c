/* Counts the operations of a training step, and measures the rate of large products on this
 * machine: `solera plan` and the trainer tell the share that training reaches. */
#include "speed.h"

#include "probe.h"

size_t sol_linear_weights(const sol_model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->n_params; i++)
        if (m->params[i].quantized) n += (size_t)sol_param_count(&m->params[i]);
    return n;
}

/* The forward pass of a token: 2 N for N weights in products; causal attention reads T / 2
 * positions on average. */
static double block_flops(const sol_config *c, const sol_model *m)
{
    const sol_model_config *k = &m->config;
    double attention =
        2.0 * (double)(k->num_hidden_layers * c->train.seq * k->num_attention_heads * k->head_dim);
    return 2 * (double)sol_linear_weights(m) + attention;
}

static double head_flops(const sol_model *m)
{
    return 2 * (double)m->config.vocab_size * (double)m->config.hidden_size;
}

double sol_block_backward_flops(const sol_config *c, const sol_model *m)
{
    double passes = c->train.activation_checkpoints ? 3 : 2;
    return passes * block_flops(c, m) / (double)m->config.num_hidden_layers;
}

/* The backward pass takes twice the forward pass. Recomputation adds one forward pass of the
 * blocks, a teacher one of its own. */
double sol_step_flops(const sol_config *c, const sol_model *m, const sol_teacher *teacher,
                      int64_t tokens)
{
    double blocks = block_flops(c, m), flops = 3 * (blocks + head_flops(m));
    if (c->train.activation_checkpoints) flops += blocks;
    if (teacher) flops += block_flops(c, teacher->table) + head_flops(teacher->table);
    return (double)tokens * flops;
}

enum { N = 768 };

static void multiply(const sol_ctx *ctx, sol_dtype type, float *x, void *scratch)
{
    sol_operand a = {x, N, false, false}, b = {x + N * N, N, true, false};
    float *c = x + 2 * N * N;
    if (type == SOL_BF16)
        sol_gemm_bf16(ctx, N, N, N, 1, &a, &b, 0, c, N, scratch);
    else
        sol_gemm(ctx, false, true, N, N, N, 1, a.data, N, b.data, N, 0, c, N);
}

static sol_status alloc_operands(sol_dtype type, float **x, void **scratch, sol_err *err)
{
    SOL_TRY(sol_alloc_array((void **)x, 3 * N * N, sizeof **x, err));
    if (type == SOL_BF16) SOL_TRY(sol_alloc_array(scratch, sol_gemm_bf16_scratch(N, N), 1, err));
    for (int i = 0; i < 2 * N * N; i++) (*x)[i] = (float)(i % 7) - 3.0f;
    return SOL_OK;
}

/* Products for so many seconds at most, one at least. */
static sol_status probe_products(const sol_ctx *ctx, sol_dtype type, double seconds, double *rate,
                                 sol_err *err)
{
    float *x = NULL;
    void *scratch = NULL;
    SOL_TRY(sol_gemm_reserve(ctx, err));
    sol_status st = alloc_operands(type, &x, &scratch, err);
    sol_probe p = sol_probe_begin(seconds);
    while (st == SOL_OK && !sol_probe_settled(&p)) {
        double from = sol_clock();
        multiply(ctx, type, x, scratch);
        sol_probe_add(&p, 2.0 * N * N * N / (sol_clock() - from));
    }
    sol_free(x);
    sol_free(scratch);
    *rate = p.best;
    return st;
}

sol_status sol_product_rate(const sol_ctx *ctx, sol_dtype type, double *rate, sol_err *err)
{
    return probe_products(ctx, type, 1, rate, err);
}

sol_status sol_product_once(const sol_ctx *ctx, sol_dtype type, sol_err *err)
{
    double rate;
    return probe_products(ctx, type, 0, &rate, err);
}
