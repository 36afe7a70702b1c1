/* Configurations, tables of parameters, starting weights and RoPE, against what is published. */
#include "suite.h"

#include <math.h>
#include <string.h>

static sol_model_config named(const char *name)
{
    sol_model_config c;
    ck_ok(sol_model_config_named(name, &c, err));
    return c;
}

START_TEST(named_shapes_are_valid)
{
    for (int i = 0; i < sol_model_shape_count(); i++) {
        sol_model_config c = named(sol_model_shape_name(i));
        ck_ok(sol_model_config_check(&c, err));
    }
    sol_model_config c;
    ck_fails(sol_model_config_named("llama-3.2-1B", &c, err), SOL_ERR_USAGE,
             "did you mean 'llama-3.2-1b'");
    ck_fails(sol_model_config_named("zzzzzzzzzzzzzzzzzzzz", &c, err), SOL_ERR_USAGE,
             "one of llama-3.2-1b, ");
}
END_TEST

START_TEST(published_parameter_counts)
{
    static const struct {
        const char *name;
        int64_t weights, linear;
    } want[] = {
        {"llama-3.2-1b", 1235814400, 973078528},
        {"qwen2.5-0.5b", 494032768, 357826560},
        {"qwen3-0.6b", 596049920, 440401920},
        {"smollm3-3b", 3075098624, 2812280832},
        {"llama-3.2-3b", 3212749824, 2818572288},
        {"smollm2-135m", 134515008, 106168320},
        {"15m", 15191712, 5971968},
        {"embedded", 3672320, 3145728},
        {"mini", 1443456, 1179648},
        {"tiny", 106816, 73728},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        sol_model_config c = named(want[i].name);
        sol_model *m;
        ck_ok(sol_model_describe(&m, &c, SOL_F32, err));
        int64_t linear = 0, end = 0;
        for (int k = 0; k < m->n_params; k++) {
            const sol_param *p = &m->params[k];
            if (p->quantized) linear += sol_param_count(p);
            ck_assert_int_eq(p->offset % SOL_PARAM_ALIGN, 0);
            ck_assert_int_ge(p->offset, end);
            ck_assert_int_lt(p->offset, end + SOL_PARAM_ALIGN);
            end = p->offset + sol_param_count(p);
            ck_assert_ptr_eq(sol_model_param(m, p->name), p);
        }
        ck_assert_int_le(end, m->n_elements);
        ck_assert_int_eq(m->n_weights, want[i].weights);
        ck_assert_int_eq(linear, want[i].linear);
        ck_assert_ptr_null(m->data);
        sol_model_free(&m);
        ck_assert_ptr_null(m);
    }
}
END_TEST

START_TEST(parameter_names_and_shapes)
{
    sol_model_config c = named("embedded");
    c.tie_word_embeddings = false;
    c.head_dim = 32; /* the width of attention need not be the hidden size */
    sol_model *m;
    ck_ok(sol_model_create(&m, &c, SOL_F32, err));
    ck_assert_int_eq(m->n_params, 1 + 4 * 9 + 2);
    ck_assert_int_eq(m->n_block, 9);
    const sol_param *k = sol_model_param(m, "model.layers.3.self_attn.k_proj.weight");
    ck_assert_ptr_eq(k, sol_model_by_role(m, 3, SOL_ROLE_K));
    ck_assert_int_eq(k->rows, 2 * 32);
    ck_assert_int_eq(k->cols, 256);
    const sol_param *o = sol_model_param(m, "model.layers.0.self_attn.o_proj.weight");
    ck_assert_int_eq(o->rows, 256);
    ck_assert_int_eq(o->cols, 4 * 32);
    const sol_param *down = sol_model_by_role(m, 1, SOL_ROLE_DOWN);
    ck_assert_str_eq(down->name, "model.layers.1.mlp.down_proj.weight");
    ck_assert_int_eq(down->rows, 256);
    ck_assert_int_eq(down->cols, 768);
    ck_assert_int_eq(down->layer, 1);
    ck_assert_str_eq(sol_model_final_norm(m)->name, "model.norm.weight");
    ck_assert_str_eq(sol_model_head(m)->name, "lm_head.weight");
    ck_assert_int_eq(sol_model_head(m)->kind, SOL_PARAM_HEAD);
    ck_assert_ptr_null(sol_model_param(m, "model.layers.4.mlp.down_proj.weight"));
    ck_assert_ptr_eq(sol_model_at(m, down), sol_model_f32(m, down));
    int64_t nonzero = 0;
    for (int64_t i = 0; i < m->n_elements; i++) nonzero += ((float *)m->data)[i] != 0;
    ck_assert_int_eq(nonzero, 0);
    sol_model_free(&m);
    ck_fails(sol_model_create(&m, &c, SOL_I8, err), SOL_ERR_UNSUPPORTED, "i8");
    ck_assert_ptr_null(m);
}
END_TEST

/* Rows of the table that a configuration asks for, and that others do not have. */
START_TEST(optional_parameters)
{
    static const struct {
        sol_role role;
        const char *name, *gguf;
        int64_t n;
    } want[] = {
        {SOL_ROLE_Q_BIAS, "model.layers.2.self_attn.q_proj.bias", "blk.2.attn_q.bias", 4 * 64},
        {SOL_ROLE_K_BIAS, "model.layers.2.self_attn.k_proj.bias", "blk.2.attn_k.bias", 2 * 64},
        {SOL_ROLE_V_BIAS, "model.layers.2.self_attn.v_proj.bias", "blk.2.attn_v.bias", 2 * 64},
        {SOL_ROLE_Q_NORM, "model.layers.2.self_attn.q_norm.weight", "blk.2.attn_q_norm.weight", 64},
        {SOL_ROLE_K_NORM, "model.layers.2.self_attn.k_norm.weight", "blk.2.attn_k_norm.weight", 64},
        {SOL_ROLE_ATTN_SUB_NORM, "model.layers.2.self_attn.attn_sub_norm.weight",
         "blk.2.attn_sub_norm.weight", 4 * 64},
        {SOL_ROLE_FFN_SUB_NORM, "model.layers.2.mlp.ffn_sub_norm.weight",
         "blk.2.ffn_sub_norm.weight", 768}};
    static const int flag[] = {1, 1, 1, 2, 2, 4, 4};
    for (int flags = 0; flags < 8; flags++) {
        sol_model_config c = named("embedded");
        c.qkv_bias = flags & 1;
        c.qk_norm = flags & 2;
        c.sub_norm = flags & 4;
        sol_model *m;
        ck_ok(sol_model_create(&m, &c, SOL_F32, err));
        sol_model_init_random(NULL, m, 1);
        ck_assert_int_eq(m->n_block,
                         9 + (flags & 1 ? 3 : 0) + (flags & 2 ? 2 : 0) + (flags & 4 ? 2 : 0));
        ck_assert_ptr_null(sol_model_by_role(m, -1, SOL_ROLE_HEAD));
        ck_assert_ptr_eq(sol_model_head(m), sol_model_embedding(m));
        for (int i = 0; i < 7; i++) {
            const sol_param *p = sol_model_by_role(m, 2, want[i].role);
            char name[SOL_PARAM_NAME];
            bool bias = i < 3;
            ck_assert_ptr_eq(p, sol_model_param(m, want[i].name));
            ck_assert_int_eq(p != NULL, (flags & flag[i]) != 0);
            if (!p) continue;
            ck_assert(p->rows == 1 && p->cols == want[i].n && sol_param_is_vector(p) &&
                      !p->quantized && p->layer == 2);
            ck_assert_float_eq(*sol_model_f32(m, p), bias ? 0 : 1);
            ck_assert_str_eq(sol_role_gguf_name(p->role, p->layer, name), want[i].gguf);
        }
        for (int role = 0; role < SOL_ROLES;
             role++) { /* the last block ends where the rows behind the blocks begin */
            const sol_param *p = sol_model_by_role(m, 3, (sol_role)role);
            if (!p) continue;
            ck_assert_int_eq(p->role, role);
            ck_assert_int_eq(p >= sol_model_block(m, 3) && p < sol_model_block(m, 4),
                             p->layer == 3);
        }
        sol_model_free(&m);
    }
}
END_TEST

START_TEST(several_eos)
{
    sol_model_config c = {.eos_token_id = -1};
    ck_assert(!sol_model_is_eos(&c, -1) && !sol_model_is_eos(&c, 0));
    ck_ok(sol_model_add_eos(&c, -1, err));
    ck_assert_int_eq(c.eos_token_id, -1);
    for (int64_t i = 0; i < SOL_MAX_EOS; i++) {
        ck_ok(sol_model_add_eos(&c, 3 * i, err));
        ck_ok(sol_model_add_eos(&c, 3 * i, err)); /* there already */
    }
    ck_assert(c.eos_token_id == 0 && c.n_more_eos == SOL_MAX_EOS - 1 && c.more_eos[1] == 6);
    ck_assert(sol_model_is_eos(&c, 0) && sol_model_is_eos(&c, 93) && !sol_model_is_eos(&c, 94));
    ck_fails(sol_model_add_eos(&c, 1, err), SOL_ERR_UNSUPPORTED, "more than 32 tokens end a text");
}
END_TEST

START_TEST(linear_scaling_divides_all)
{
    float plain[32], scaled[32];
    sol_model_config c = named("smollm2-135m");
    ck_assert(!sol_rope_is_linear(&c));
    sol_rope_inv_freq(&c, plain);
    sol_rope_set_linear(&c, 4);
    ck_ok(sol_model_config_check(&c, err));
    ck_assert(sol_rope_is_linear(&c));
    sol_rope_inv_freq(&c, scaled);
    for (int i = 0; i < 32; i++) ck_assert(scaled[i] == plain[i] / 4);
    c = named("llama-3.2-1b");
    ck_assert(!sol_rope_is_linear(&c));
}
END_TEST

/* One field of a good configuration made bad: the error names it. */
START_TEST(config_check_names_the_field)
{
    sol_model_config c;
#define BAD(field, value, status, text) \
    c = named("llama-3.2-1b"); \
    c.field = value; \
    ck_fails(sol_model_config_check(&c, err), status, text)
    BAD(vocab_size, 0, SOL_ERR_RANGE, "vocab_size is 0");
    BAD(hidden_size, -5, SOL_ERR_RANGE, "hidden_size is -5");
    BAD(hidden_size, INT64_MAX, SOL_ERR_RANGE, "hidden_size");
    BAD(intermediate_size, 0, SOL_ERR_RANGE, "intermediate_size");
    BAD(num_hidden_layers, 5000, SOL_ERR_RANGE, "num_hidden_layers is 5000: must lie in 1..4096");
    BAD(num_attention_heads, 0, SOL_ERR_RANGE, "num_attention_heads");
    BAD(num_key_value_heads, 5, SOL_ERR_SHAPE, "multiple of num_key_value_heads, 5");
    BAD(head_dim, 63, SOL_ERR_SHAPE, "head_dim is 63");
    BAD(max_position_embeddings, 0, SOL_ERR_RANGE, "max_position_embeddings");
    BAD(rms_norm_eps, 0, SOL_ERR_RANGE, "rms_norm_eps");
    BAD(rms_norm_eps, NAN, SOL_ERR_RANGE, "rms_norm_eps");
    BAD(rope_theta, NAN, SOL_ERR_RANGE, "rope_theta");
    BAD(rope_theta, INFINITY, SOL_ERR_RANGE, "rope_theta");
    BAD(rope_factor, NAN, SOL_ERR_RANGE, "factor");
    BAD(rope_factor, -1, SOL_ERR_RANGE, "factor is -1");
    BAD(rope_low_freq_factor, 4, SOL_ERR_RANGE, "low_freq_factor 4");
    BAD(rope_original_max_position, 0, SOL_ERR_RANGE, "original_max_position_embeddings");
    BAD(bos_token_id, 128256, SOL_ERR_RANGE, "bos_token_id is 128256");
    BAD(eos_token_id, -2, SOL_ERR_RANGE, "eos_token_id is -2");
    BAD(n_more_eos, SOL_MAX_EOS, SOL_ERR_RANGE, "number of further EOS is 32");
    c = named("llama-3.2-1b");
    c.n_more_eos = 1;
    c.more_eos[0] = 128256;
    ck_fails(sol_model_config_check(&c, err), SOL_ERR_RANGE, "eos_token_id is 128256");
#undef BAD
    /* The smallest model there is. */
    c = (sol_model_config){.vocab_size = 1,
                           .hidden_size = 1,
                           .intermediate_size = 1,
                           .num_hidden_layers = 1,
                           .num_attention_heads = 1,
                           .num_key_value_heads = 1,
                           .head_dim = 2,
                           .max_position_embeddings = 1,
                           .rms_norm_eps = 1e-5,
                           .rope_theta = 10000,
                           .bos_token_id = -1,
                           .eos_token_id = -1};
    ck_ok(sol_model_config_check(&c, err));
}
END_TEST

static void moments(const float *x, int64_t n, double *mean, double *std)
{
    double s = 0, q = 0;
    for (int64_t i = 0; i < n; i++) s += x[i], q += (double)x[i] * x[i];
    *mean = s / (double)n;
    *std = sqrt(q / (double)n - *mean * *mean);
}

START_TEST(init_is_normal_and_the_same_for_any_threads)
{
    sol_model_config c = named("embedded");
    c.vocab_size = 2051; /* no multiple of a tile */
    sol_model *m, *other;
    ck_ok(sol_model_create(&m, &c, SOL_F32, err));
    sol_model_init_random(NULL, m, 42);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        double mean, std, n = (double)sol_param_count(p);
        moments(sol_model_f32(m, p), sol_param_count(p), &mean, &std);
        if (p->kind == SOL_PARAM_NORM) {
            ck_assert(mean == 1 && std == 0);
            continue;
        }
        bool residual = strstr(p->name, "o_proj") || strstr(p->name, "down_proj");
        double want = residual ? 0.02 / sqrt(8) : 0.02;
        ck_assert_double_eq_tol(std, want, 5 * want / sqrt(2 * n));
        ck_assert_double_eq_tol(mean, 0, 5 * want / sqrt(n));
    }
    for (int threads = 1; threads <= 3; threads++) {
        sol_ctx *ctx;
        ck_ok(sol_ctx_create(&ctx, threads, SOL_TIER_BEST, NULL, err));
        ck_ok(sol_model_create(&other, &c, SOL_F32, err));
        sol_model_init_random(ctx, other, 42);
        ck_assert_mem_eq(m->data, other->data, (size_t)m->n_elements * 4);
        sol_model_init_random(ctx, other, 43);
        ck_assert(memcmp(m->data, other->data, 4096) != 0);
        sol_model_free(&other);
        sol_ctx_free(&ctx);
    }
    ck_ok(sol_model_create(&other, &c, SOL_BF16, err));
    sol_model_init_random(NULL, other, 42);
    int64_t different = 0;
    for (int64_t i = 0; i < m->n_elements; i++)
        different += ((sol_bf16 *)other->data)[i] != sol_f32_to_bf16(((float *)m->data)[i]);
    ck_assert_int_eq(different, 0);
    /* Any stretch of a parameter, drawn by itself. */
    for (int i = 0; i < m->n_params; i++) {
        int64_t n = sol_param_count(&m->params[i]), first = n / 3 + 1, some = n / 2;
        float *f32;
        sol_bf16 *bf16;
        ck_ok(sol_alloc_array((void **)&f32, (size_t)some, sizeof *f32, err));
        ck_ok(sol_alloc_array((void **)&bf16, (size_t)some, sizeof *bf16, err));
        sol_param_init_random(NULL, m, i, 42, first, some, SOL_F32, f32);
        sol_param_init_random(NULL, m, i, 42, first, some, SOL_BF16, bf16);
        int64_t at = m->params[i].offset + first;
        ck_assert_mem_eq(f32, (float *)m->data + at, (size_t)some * sizeof *f32);
        ck_assert_mem_eq(bf16, (sol_bf16 *)other->data + at, (size_t)some * sizeof *bf16);
        sol_free(f32);
        sol_free(bf16);
    }
    sol_model_free(&other);
    sol_model_free(&m);
}
END_TEST

/* The three cases as Hugging Face writes them, by wavelength. */
static double llama3_freq(int i, int dim, double theta)
{
    double f = exp(-2.0 * i / dim * log(theta)), wavelength = 2 * M_PI / f;
    double low_wavelength = 8192 / 1.0, high_wavelength = 8192 / 4.0;
    if (wavelength < high_wavelength) return f;
    if (wavelength > low_wavelength) return f / 32;
    double smooth = (8192 / wavelength - 1) / (4 - 1);
    return (1 - smooth) * f / 32 + smooth * f;
}

START_TEST(rope_frequencies_of_llama3)
{
    static const char *const names[] = {"llama-3.2-1b", "llama-3.2-3b"};
    for (int n = 0; n < 2; n++) {
        sol_model_config c = named(names[n]);
        float inv_freq[64];
        int kept = 0, divided = 0, half = (int)c.head_dim / 2;
        sol_rope_inv_freq(&c, inv_freq);
        for (int i = 0; i < half; i++) {
            double want = llama3_freq(i, (int)c.head_dim, 500000),
                   plain = pow(500000, -2.0 * i / (double)c.head_dim);
            ck_assert_double_eq_tol(inv_freq[i] / want, 1, 1e-7);
            kept += fabs(inv_freq[i] / plain - 1) < 1e-6;
            divided += fabs(inv_freq[i] / plain * 32 - 1) < 1e-6;
        }
        ck_assert_int_gt(kept, 0);
        ck_assert_int_gt(divided, 0);
        ck_assert_int_lt(kept + divided, half); /* so that the joint in between was tested too */
    }
    sol_model_config c = named("15m");
    float inv_freq[24];
    sol_rope_inv_freq(&c, inv_freq);
    ck_assert_float_eq(inv_freq[0], 1.0f);
    ck_assert_float_eq_tol(inv_freq[12], 0.01f, 1e-9f);
}
END_TEST

START_TEST(rope_tables_turn)
{
    enum { T = 300 };
    sol_model_config c = named("llama-3.2-1b");
    static float cos_table[T * 32], sin_table[T * 32];
    float inv_freq[32];
    sol_rope_tables(&c, T, cos_table, sin_table);
    sol_rope_inv_freq(&c, inv_freq);
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < 32; i++) {
            double angle = (double)t * inv_freq[i];
            ck_assert_double_eq_tol(cos_table[t * 32 + i], cos(angle), 1e-7);
            ck_assert_double_eq_tol(sin_table[t * 32 + i], sin(angle), 1e-7);
        }
    }
}
END_TEST

SOL_TEST_MAIN("model", tcase_add_test(tc, named_shapes_are_valid);
              tcase_add_test(tc, published_parameter_counts);
              tcase_add_test(tc, parameter_names_and_shapes);
              tcase_add_test(tc, optional_parameters); tcase_add_test(tc, several_eos);
              tcase_add_test(tc, linear_scaling_divides_all);
              tcase_add_test(tc, config_check_names_the_field);
              tcase_add_test(tc, init_is_normal_and_the_same_for_any_threads);
              tcase_add_test(tc, rope_frequencies_of_llama3); tcase_add_test(tc, rope_tables_turn))
