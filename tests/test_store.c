/* Checkpoints, packed models, datasets: what is written is read back bit for bit, what does not fit
 * is refused by name. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "h5/h5.h"

static char dir[64], path[96];
static sol_ctx *ctx;

static void setup(void)
{
    sol_test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a.h5", dir);
    ck_ok(sol_ctx_create(&ctx, 1, SOL_TIER_BEST, NULL, err));
}

static void teardown(void)
{
    sol_ctx_free(&ctx);
    sol_test_dir_remove(dir);
}

static sol_model_config small_config(bool tied, bool scaled)
{
    sol_model_config c = {
        .vocab_size = 40,
        .hidden_size = 64,
        .intermediate_size = 128,
        .num_hidden_layers = 2,
        .num_attention_heads = 4,
        .num_key_value_heads = 2,
        .head_dim = 16,
        .max_position_embeddings = 32,
        .rms_norm_eps = 1e-5,
        .rope_theta = 1e4,
        .tie_word_embeddings = tied,
        .bos_token_id = 1,
        .eos_token_id = -1,
    };
    for (int i = 0; tied && i < 3; i++) ck_ok(sol_model_add_eos(&c, (int64_t[]){7, 39, 0}[i], err));
    if (scaled) {
        c.rope_factor = 32;
        c.rope_low_freq_factor = 1;
        c.rope_high_freq_factor = 4;
        c.rope_original_max_position = 16;
    }
    return c;
}

static sol_quant_spec small_spec(void)
{
    return (sol_quant_spec){.method = sol_quantizer_find("sherry"),
                            .granularity = SOL_PER_GROUP,
                            .group_size = 32,
                            .scale_dtype = SOL_F16};
}

/* Norms and biases that differ from each other and from place to place, exact in bf16: those of a
 * start are all 1 or 0. */
static void fill_vectors(sol_model *m)
{
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *p = &m->params[i];
        float x[128];
        ck_assert_int_le(p->cols, 128);
        if (!sol_param_is_vector(p)) continue;
        for (int64_t k = 0; k < p->cols; k++) x[k] = (float)(1 + (i * 37 + k) % 255) / 128;
        sol_convert(sol_model_at(m, p), m->dtype, x, SOL_F32, p->cols);
    }
}

static void make_checkpoint(sol_checkpoint *c, sol_model_config config, sol_dtype dtype)
{
    sol_adamw_config a = {
        .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .seed = 7};
    *c = (sol_checkpoint){0};
    ck_ok(sol_model_create(&c->file.model, &config, dtype, err));
    sol_model_init_random(NULL, c->file.model, 42);
    fill_vectors(c->file.model);
    ck_ok(sol_adamw_create(&c->optim, c->file.model, &a, err));
    for (int64_t i = 0; i < c->optim->n_elements; i++) {
        ((float *)c->optim->m)[i] = (float)(i % 97) * 1e-3f;
        ((float *)c->optim->v)[i] = (float)(i % 89) * 1e-6f;
    }
    c->optim->t = 123;
    c->state = (sol_run_state){.step = 123,
                               .tokens = 1ull << 40,
                               .drawn = 99,
                               .skipped = 1,
                               .seed = ~0ull,
                               .best_eval_loss = INFINITY,
                               .full_loss = 2.5,
                               .best_step = 5,
                               .metrics_bytes = 77,
                               .ema_loss = 1.0 / 3,
                               .model_digest = 9,
                               .data_digest = 6,
                               .teacher_digest = 7,
                               .cache_digest = 8,
                               .eval_digest = 1ull << 63};
    ck_ok(sol_copy_string(&c->file.config_yaml, "run:\n  seed: 1\n", 15, err));
    c->file.quant = small_spec();
    c->file.windows = (sol_windows){.seq = 48, .max = 5, .apart = true};
}

static void check_windows(const sol_windows *w, int64_t seq, int64_t max, bool apart)
{
    ck_assert_int_eq(w->seq, seq);
    ck_assert_int_eq(w->max, max);
    ck_assert_int_eq(w->apart, apart);
}

START_TEST(checkpoint_round_trip)
{
    for (int k = 0; k < 4; k++) {
        sol_dtype dtype = k & 1 ? SOL_BF16 : SOL_F32;
        sol_checkpoint a, b;
        sol_file_kind kind;
        sol_model_config config = small_config(k & 2, k & 1);
        config.qkv_bias = k & 1;
        config.qk_norm = k & 2;
        config.sub_norm = k & 1;
        config.family = (sol_family)k;
        config.sliding_window = 5 * (k & 1);
        config.max_window_layers = k & 1;
        config.no_rope_layer_interval = k & 2;
        make_checkpoint(&a, config, dtype);
        ck_ok(sol_test_write_checkpoint(&a, path, dtype, err));
        ck_ok(sol_store_kind(path, &kind, err));
        ck_assert_int_eq(kind, SOL_FILE_CHECKPOINT);
        ck_ok(sol_checkpoint_read(&b, path, dtype, err));
        ck_assert_mem_eq(&a.file.model->config, &b.file.model->config, sizeof config);
        size_t bytes = (size_t)a.file.model->n_elements * sol_dtype_size(dtype);
        ck_assert_mem_eq(a.file.model->data, b.file.model->data, bytes);
        ck_assert_mem_eq(a.optim->m, b.optim->m, (size_t)a.optim->n_elements * 4);
        ck_assert_mem_eq(a.optim->v, b.optim->v, (size_t)a.optim->n_elements * 4);
        ck_assert_int_eq(b.optim->t, 123);
        ck_assert(b.optim->config.beta2 == 0.95f && b.optim->config.seed == 7 &&
                  !b.optim->config.stochastic_rounding);
        ck_assert_mem_eq(&a.state, &b.state, sizeof a.state);
        ck_assert_str_eq(b.file.config_yaml, a.file.config_yaml);
        ck_assert_mem_eq(&b.file.quant, &a.file.quant, sizeof a.file.quant);
        check_windows(&b.file.windows, 48, 5, true);
        ck_assert_ptr_null(b.file.tokenizer);
        sol_checkpoint_free(&b);
        sol_model_file f;
        ck_ok(sol_model_file_read(&f, path, dtype, NULL, err));
        ck_assert_mem_eq(a.file.model->data, f.model->data, bytes);
        ck_assert_uint_eq(f.step, 123);
        ck_assert_uint_eq(f.tokens, 1ull << 40);
        sol_model_file_free(&f);
        sol_checkpoint_free(&a);
        ck_assert_ptr_null(a.file.model);
    }
}
END_TEST

/* How far a read is; `left` calls until it is stopped. */
typedef struct seen {
    int64_t done, total;
    int calls, left;
} seen;

static bool see(void *user, const char *part, int64_t done, int64_t total)
{
    seen *s = user;
    ck_assert_ptr_nonnull(part);
    ck_assert(done >= s->done && done <= total && (s->calls == 0 || total == s->total));
    s->done = done;
    s->total = total;
    s->calls++;
    return --s->left != 0;
}

/* A read tells how far it is, to its last byte, and may be stopped at each call. */
START_TEST(progress_of_a_read)
{
    sol_checkpoint a, b;
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    int64_t weights = a.file.model->n_weights * 4, moments = a.optim->n_elements * 8;
    for (int how = SOL_MOMENTS_READ; how <= SOL_MOMENTS_LEFT; how++) {
        seen all = {0};
        sol_progress progress = {see, &all};
        ck_ok(sol_checkpoint_read_with(&b, path, SOL_F32, (sol_moments_how)how, &progress, err));
        sol_checkpoint_free(&b);
        ck_assert_int_eq(all.done, all.total);
        ck_assert_int_eq(all.total, weights + (how == SOL_MOMENTS_LEFT ? 0 : moments));
        for (int left = 1; left <= all.calls; left++) {
            seen some = {.left = left};
            progress.user = &some;
            ck_fails(
                sol_checkpoint_read_with(&b, path, SOL_F32, (sol_moments_how)how, &progress, err),
                SOL_ERR_INTERRUPTED, "interrupted");
            ck_assert_ptr_null(b.file.model);
        }
    }
    sol_checkpoint_free(&a);
}
END_TEST

/* A rank reads the moments of its shard alone: here of 8 bits, with a scale a block. */
START_TEST(moments_of_a_shard)
{
    sol_checkpoint a, b;
    sol_adamw_config config = {.moments = SOL_U8};
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    const sol_model *m = a.file.model;
    sol_adamw_free(&a.optim);
    ck_ok(sol_adamw_create(&a.optim, m, &config, err));
    a.optim->t = 123;
    for (int64_t i = 0; i < m->n_elements; i++) {
        ((uint8_t *)a.optim->m)[i] = (uint8_t)(i % 251);
        ((uint8_t *)a.optim->v)[i] = (uint8_t)(i % 241);
    }
    for (int64_t i = 0; i < a.optim->n_blocks; i++) {
        a.optim->m_scale[i] = (float)i;
        a.optim->v_scale[i] = (float)-i;
    }
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    for (int how = SOL_MOMENTS_VERIFIED; how <= SOL_MOMENTS_LEFT; how++) {
        ck_ok(sol_checkpoint_read_with(&b, path, SOL_F32, (sol_moments_how)how, NULL, err));
        ck_assert(b.has_optim && !b.optim);
        sol_checkpoint_free(&b);
    }
    int64_t at[3];
    for (int i = 0; i < 3; i++) at[i] = sol_moment_align(m, m->n_elements * (i + 1) / 4);
    sol_stretch stretch[2] = {{at[0], at[1] - at[0]}, {at[2], m->n_elements - at[2]}};
    sol_shard shard = {stretch, 2};
    sol_adamw *part;
    ck_ok(sol_checkpoint_read_shard(&part, path, m, &shard, err));
    ck_assert_int_eq(part->t, 123);
    ck_assert_int_eq(part->shard_elements, stretch[0].n + stretch[1].n);
    int64_t element = 0, block = 0;
    for (int i = 0; i < 2; i++) {
        sol_stretch before = {0, stretch[i].first};
        int64_t first = sol_stretch_blocks(part, m, before),
                n = sol_stretch_blocks(part, m, stretch[i]);
        ck_assert_int_gt(n, 0);
        for (int64_t k = 0; k < stretch[i].n; k++) {
            ck_assert_int_eq(((uint8_t *)part->m)[element + k], (stretch[i].first + k) % 251);
            ck_assert_int_eq(((uint8_t *)part->v)[element + k], (stretch[i].first + k) % 241);
        }
        for (int64_t k = 0; k < n; k++) {
            ck_assert(part->m_scale[block + k] == (float)(first + k));
            ck_assert(part->v_scale[block + k] == (float)-(first + k));
        }
        element += stretch[i].n;
        block += n;
    }
    sol_adamw_free(&part);
    sol_checkpoint_free(&a);
}
END_TEST

typedef struct streamed {
    const sol_model *want;
    int begun, blocks;
    int64_t elements;
} streamed;

static sol_status see_header(void *user, const sol_model_file *f, sol_err *err)
{
    streamed *s = user;
    ck_assert_ptr_null(f->model->data);
    ck_assert_ptr_nonnull(f->quant.method);
    ck_assert_mem_eq(&f->model->config, &s->want->config, sizeof s->want->config);
    return s->begun++ ? sol_fail(err, SOL_ERR_USAGE, "begun twice") : SOL_OK;
}

static sol_status see_rows(void *user, const sol_param *p, int64_t from, int64_t n,
                           const float *rows, sol_err *err)
{
    streamed *s = user;
    const sol_param *own = sol_model_param(s->want, p->name);
    ck_assert_int_le(from + n, own->rows);
    ck_assert_mem_eq(rows, sol_model_f32(s->want, own) + from * p->cols,
                     (size_t)(n * p->cols) * sizeof *rows);
    s->blocks++;
    s->elements += n * p->cols;
    return s->blocks > 100 ? sol_fail(err, SOL_ERR_USAGE, "enough") : SOL_OK;
}

START_TEST(a_model_is_streamed_in_blocks_of_rows)
{
    sol_checkpoint a;
    sol_model_config config = small_config(true, false);
    config.vocab_size = 40000; /* a matrix that is larger than a block */
    make_checkpoint(&a, config, SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    streamed s = {.want = a.file.model};
    sol_param_sink sink = {see_header, see_rows, &s};
    ck_ok(sol_model_file_stream(path, &sink, err));
    ck_assert_int_eq(s.begun, 1);
    ck_assert_int_gt(s.blocks, a.file.model->n_params);
    ck_assert_int_eq(s.elements, a.file.model->n_weights);
    ck_fails(sol_model_file_stream(path, &sink, err), SOL_ERR_USAGE, "begun twice");
    s = (streamed){.want = a.file.model, .blocks = 100};
    ck_fails(sol_model_file_stream(path, &sink, err), SOL_ERR_USAGE, "enough");
    sol_checkpoint_free(&a);
}
END_TEST

/* Described is as read, without the weights. */
START_TEST(a_model_is_described)
{
    sol_checkpoint a;
    sol_model_file f;
    make_checkpoint(&a, small_config(true, true), SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_ok(sol_model_file_describe(&f, path, SOL_F32, err));
    ck_assert_ptr_null(f.model->data);
    ck_assert_int_eq(f.model->n_params, a.file.model->n_params);
    ck_assert_mem_eq(&f.model->config, &a.file.model->config, sizeof f.model->config);
    ck_assert_mem_eq(&f.quant, &a.file.quant, sizeof f.quant);
    ck_assert_str_eq(f.config_yaml, a.file.config_yaml);
    check_windows(&f.windows, 48, 5, true);
    ck_assert_uint_eq(f.step, 123);
    sol_model_file_free(&f);
    a.file.model->config.num_hidden_layers = 1;
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_fails(sol_model_file_describe(&f, path, SOL_F32, err), SOL_ERR_SHAPE,
             "is not a parameter of this model");
    ck_assert_ptr_null(f.model);
    a.file.model->config.num_hidden_layers = 2;
    sol_checkpoint_free(&a);
}
END_TEST

static uint64_t digest_of(const sol_checkpoint *c)
{
    uint64_t digest;
    ck_ok(sol_test_write_checkpoint(c, path, SOL_F32, err));
    ck_ok(sol_store_model_digest(path, &digest, err));
    return digest;
}

/* The digest of a model is that of its configuration and parameters, whatever lies beside them. */
START_TEST(digest_of_a_model)
{
    sol_checkpoint a;
    uint64_t other;
    make_checkpoint(&a, small_config(false, true), SOL_F32);
    uint64_t digest = digest_of(&a);
    a.state.step = a.optim->t = 124;
    ((float *)a.optim->m)[3] = 5;
    a.file.config_yaml[0] = 'R';
    a.file.windows.seq = 49;
    ck_assert_uint_eq(digest_of(&a), digest);
    sol_adamw_free(&a.optim);
    ck_assert_uint_eq(digest_of(&a), digest);
    ((float *)a.file.model->data)[a.file.model->params[2].offset] += 1;
    other = digest_of(&a);
    ck_assert_uint_ne(other, digest);
    a.file.model->config.rope_theta = 2e4;
    ck_assert_uint_ne(digest_of(&a), other);
    ck_ok(sol_file_write(path, "none of ours", 12, err));
    ck_fails(sol_store_model_digest(path, &other, err), SOL_ERR_FORMAT, "is not an HDF5 file");
    sol_checkpoint_free(&a);
}
END_TEST

START_TEST(tokenizer_of_a_model)
{
    sol_checkpoint a;
    sol_tokenizer *t;
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_fails(sol_store_tokenizer(&t, path, err), SOL_ERR_FORMAT, "a.h5");
    ck_assert_ptr_null(t);
    sol_model_config config = small_config(true, false);
    config.vocab_size = SOL_TEST_BYTE_VOCAB;
    sol_checkpoint_free(&a);
    make_checkpoint(&a, config, SOL_F32);
    sol_test_byte_tokenizer(&a.file.tokenizer);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_ok(sol_store_tokenizer(&t, path, err));
    ck_assert_uint_eq(sol_tokenizer_hash(t), sol_tokenizer_hash(a.file.tokenizer));
    sol_tokenizer_free(&t);
    sol_checkpoint_free(&a);
}
END_TEST

START_TEST(model_file_converts)
{
    sol_checkpoint a, b;
    sol_file_kind kind;
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    sol_adamw_free(&a.optim);
    a.file.quant.method = NULL;
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_BF16, err));
    ck_ok(sol_store_kind(path, &kind, err));
    ck_assert_int_eq(kind, SOL_FILE_MODEL);
    ck_ok(sol_checkpoint_read(&b, path, SOL_F32, err));
    ck_assert_ptr_null(b.optim);
    ck_assert_ptr_null(b.file.quant.method);
    const float *x = a.file.model->data, *y = b.file.model->data;
    for (int64_t i = 0; i < a.file.model->n_elements; i++)
        ck_assert(y[i] == sol_bf16_to_f32(sol_f32_to_bf16(x[i])));
    sol_checkpoint_free(&a);
    sol_checkpoint_free(&b);
}
END_TEST

START_TEST(same_state_same_bytes)
{
    sol_checkpoint a;
    char *one, *two;
    size_t n_one, n_two;
    make_checkpoint(&a, small_config(true, true), SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_ok(sol_file_read(path, &one, &n_one, err));
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_ok(sol_file_read(path, &two, &n_two, err));
    ck_assert(n_one == n_two && memcmp(one, two, n_one) == 0);
    sol_free(one);
    sol_free(two);
    sol_checkpoint_free(&a);
}
END_TEST

static void check_dense(const sol_stored *a, const sol_stored *b)
{
    ck_assert_int_eq(a->type, b->type);
    ck_assert_int_eq(a->rows, b->rows);
    ck_assert_int_eq(a->cols, b->cols);
    ck_assert_mem_eq(a->data, b->data, (size_t)a->rows * sol_dtype_row_bytes(a->type, a->cols));
    if (a->scales)
        ck_assert_mem_eq(a->scales, b->scales,
                         (size_t)(a->rows * sol_dtype_row_scales(a->type, a->cols)) *
                             sizeof(sol_f16));
}

/* The file opened, and its matrices loaded one by one from the last to the first: as read whole. */
static void check_loaded(const sol_packed_model *whole)
{
    sol_packed_model p;
    sol_packed_file *f;
    ck_ok(sol_packed_file_open(&f, &p, path, err));
    for (int i = p.table->n_params - 1; i >= 0; i--) {
        const sol_stored *x = &whole->matrix[i], *y = &p.matrix[i];
        ck_assert(y->type == x->type && y->rows == x->rows && y->cols == x->cols);
        if (sol_param_is_vector(&p.table->params[i])) {
            ck_assert_mem_eq(p.vector[i], whole->vector[i],
                             (size_t)p.table->params[i].cols * sizeof(float));
            continue;
        }
        ck_assert_ptr_null(y->data);
        ck_ok(sol_packed_file_load(f, i, err));
        if (x->type != SOL_TERNARY) {
            check_dense(x, y);
            continue;
        }
        ck_assert_mem_eq(x->data, y->data, sol_packed_code_bytes(x->rows, x->cols));
        ck_assert_mem_eq(x->signs, y->signs, sol_packed_sign_bytes(x->rows, x->cols));
        ck_assert_mem_eq(x->scales, y->scales, (size_t)sol_packed_scale_count(x) * sizeof(sol_f16));
    }
    sol_packed_file_close(&f);
    sol_packed_model_free(&p);
}

START_TEST(packed_round_trip)
{
    static const sol_granularity granularity[] = {SOL_PER_GROUP, SOL_PER_CHANNEL, SOL_PER_TENSOR};
    for (int k = 0; k < 6; k++) {
        sol_packed_model p, q;
        sol_checkpoint a;
        sol_file_kind kind;
        sol_model_config config = small_config(k & 1, false);
        static const sol_dtype types[] = {SOL_F32, SOL_F16, SOL_Q8, SOL_Q6, SOL_Q4};
        sol_dtype named;
        config.qkv_bias = k >= 2;
        config.qk_norm = k >= 3;
        config.sub_norm = k >= 4;
        ck_ok(sol_embed_type_from_name(sol_dtype_name(types[k % 5]), &named, err));
        ck_assert_int_eq(named, types[k % 5]);
        make_checkpoint(&a, config, k == 5 ? SOL_BF16 : SOL_F32);
        a.file.quant.granularity = granularity[k % 3];
        a.file.quant.layout = k == 4 ? SOL_LAYOUT_STRIDE16 : SOL_LAYOUT_CONTIGUOUS;
        ck_ok(sol_packed_model_from(ctx, &p, a.file.model, &a.file.quant, types[k % 5], NULL, err));
        p.windows = (sol_windows){.seq = k, .max = k & 1, .apart = k > 3}; /* k 0: none are known */
        ck_ok(sol_packed_model_write(&p, NULL, path, err));
        ck_ok(sol_store_kind(path, &kind, err));
        ck_assert_int_eq(kind, SOL_FILE_PACKED);
        uint64_t size, planned;
        ck_ok(sol_file_size(path, &size, err));
        ck_ok(sol_packed_model_bytes(a.file.model, NULL, &a.file.quant, &p.windows, types[k % 5],
                                     &planned, err));
        ck_assert_uint_eq(planned, size);
        ck_ok(sol_packed_model_read(&q, path, err));
        check_loaded(&q);
        ck_assert_mem_eq(&p.config, &q.config, sizeof config);
        for (int i = 0; i < p.table->n_params; i++) {
            const sol_stored *x = &p.matrix[i], *y = &q.matrix[i];
            const sol_param *own = &a.file.model->params[i];
            if (sol_param_is_vector(own)) {
                float want[128];
                sol_convert(want, SOL_F32, sol_model_at(a.file.model, own), a.file.model->dtype,
                            own->cols);
                ck_assert_mem_eq(q.vector[i], want, (size_t)own->cols * sizeof *want);
            }
            if (!own->quantized) continue;
            ck_assert_int_eq(x->group_size, y->group_size);
            ck_assert_int_eq(x->layout, y->layout);
            ck_assert_mem_eq(x->data, y->data, sol_packed_code_bytes(x->rows, x->cols));
            ck_assert_mem_eq(x->signs, y->signs, sol_packed_sign_bytes(x->rows, x->cols));
            ck_assert_mem_eq(x->scales, y->scales,
                             (size_t)sol_packed_scale_count(x) * sizeof(sol_f16));
        }
        const sol_stored *head = sol_packed_matrix(&p, -1, SOL_ROLE_HEAD);
        check_dense(sol_packed_matrix(&p, -1, SOL_ROLE_EMBED),
                    sol_packed_matrix(&q, -1, SOL_ROLE_EMBED));
        ck_assert_int_eq(head != NULL, !(k & 1));
        if (head) check_dense(head, sol_packed_matrix(&q, -1, SOL_ROLE_HEAD));
        ck_assert_mem_eq(&q.quant, &a.file.quant, sizeof q.quant);
        check_windows(&q.windows, k, k & 1, k > 3);
        sol_windows w;
        ck_ok(sol_store_read_windows(path, &w, err));
        check_windows(&w, k, k & 1, k > 3);
        sol_packed_model_free(&p);
        sol_packed_model_free(&q);
        sol_checkpoint_free(&a);
    }
}
END_TEST

START_TEST(dataset_round_trip)
{
    for (int32_t vocab = 300; vocab < 200000; vocab *= 500) {
        sol_dataset_writer *w;
        sol_dataset d;
        sol_file_kind kind;
        int32_t ids[5000];
        int64_t n = 0;
        ck_ok(sol_dataset_writer_open(&w, path, vocab, 0x1234567890abcdefull, err));
        for (int doc = 0; doc < 50; doc++) {
            for (int i = 0; i < doc * 100; i++) ids[i] = (int32_t)((n + i) * 7 % vocab);
            ck_ok(sol_dataset_writer_add(w, ids, (size_t)doc * 100, err));
            n += doc * 100;
        }
        ck_ok(sol_dataset_writer_close(&w, err));
        ck_ok(sol_store_kind(path, &kind, err));
        ck_assert_int_eq(kind, SOL_FILE_DATASET);
        ck_ok(sol_dataset_open(&d, path, err));
        ck_assert_int_eq(d.tokens.n, n);
        ck_assert_int_eq(d.tokens.n_docs, 49);
        ck_assert_int_eq(d.tokens.width, vocab <= 65536 ? 2 : 4);
        ck_assert_int_eq(d.vocab_size, vocab);
        ck_assert_uint_eq(d.tokens.tokenizer_hash, 0x1234567890abcdefull);
        ck_assert_uint_eq(d.tokens.doc_offsets[2], 300);
        for (int64_t i = 0; i < n; i++) {
            int64_t id = d.tokens.width == 2 ? ((const uint16_t *)d.tokens.data)[i]
                                             : ((const uint32_t *)d.tokens.data)[i];
            ck_assert_int_eq(id, i * 7 % vocab);
        }
        sol_dataset_close(&d);
    }
}
END_TEST

/* A digest depends on the content alone; what the documents were made of is given back. */
START_TEST(digest_of_a_dataset)
{
    static const int32_t ids[] = {1, 2, 3, 4};
    uint64_t digest[4];
    for (int i = 0; i < 4; i++) {
        sol_dataset_writer *w;
        sol_dataset d;
        char name[96];
        snprintf(name, sizeof name, "%s/d%d.h5", dir, i);
        ck_ok(sol_dataset_writer_open_from(&w, name, 300, 7, 5, err));
        /* A document in one piece, the same in two, as two documents, one id less. */
        size_t first = i == 0 ? 4 : 2;
        ck_ok(sol_dataset_writer_append(w, ids, first, err));
        if (i == 2) ck_ok(sol_dataset_writer_end(w, err));
        ck_ok(sol_dataset_writer_append(w, ids + first, 4 - first - (i == 3), err));
        ck_ok(sol_dataset_writer_end(w, err));
        ck_ok(sol_dataset_writer_end(w, err)); /* one without tokens is left out */
        ck_ok(sol_dataset_writer_close(&w, err));
        ck_ok(sol_dataset_open(&d, name, err));
        ck_assert_uint_eq(d.origin, 5);
        ck_assert_int_eq(d.tokens.n_docs, 1 + (i == 2));
        digest[i] = d.digest;
        sol_dataset_close(&d);
    }
    ck_assert_uint_eq(digest[1], digest[0]);
    ck_assert_uint_ne(digest[2], digest[0]);
    ck_assert_uint_ne(digest[3], digest[0]);
}
END_TEST

START_TEST(dataset_refuses)
{
    sol_dataset_writer *w;
    int32_t bad[] = {1, 300};
    char temp[128];
    snprintf(temp, sizeof temp, "%s.tmp", path);
    ck_ok(sol_dataset_writer_open(&w, path, 300, 0, err));
    ck_fails(sol_dataset_writer_add(w, bad, 2, err), SOL_ERR_RANGE, "token 1 is id 300");
    sol_dataset_writer_abort(&w);
    ck_assert(!sol_file_exists(path) && !sol_file_exists(temp));
    ck_ok(sol_dataset_writer_open(&w, path, 300, 0, err));
    ck_fails(sol_dataset_writer_close(&w, err), SOL_ERR_FORMAT, "no tokens");
    ck_assert_ptr_null(w);
    ck_assert(!sol_file_exists(path) && !sol_file_exists(temp));
    ck_ok(sol_dataset_writer_open(&w, path, 300, 0, err));
    ck_ok(sol_dataset_writer_append(w, (int32_t[]){299, 0}, 2, err));
    ck_fails(sol_dataset_writer_append(w, (int32_t[]){-1}, 1, err), SOL_ERR_RANGE, "is id -1");
    ck_fails(sol_dataset_writer_close(&w, err), SOL_ERR_USAGE, "");
    ck_assert_ptr_null(w);
    ck_assert(!sol_file_exists(path) && !sol_file_exists(temp));
}
END_TEST

START_TEST(wrong_kind_and_foreign)
{
    sol_checkpoint a, c;
    sol_packed_model p;
    sol_dataset d;
    sol_file_kind kind;
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_fails(sol_packed_model_read(&p, path, err), SOL_ERR_FORMAT,
             "is a solera-checkpoint, expected a solera-packed");
    ck_fails(sol_dataset_open(&d, path, err), SOL_ERR_FORMAT,
             "is a solera-checkpoint, expected a solera-dataset");
    a.file.quant.method = sol_quantizer_find("absmean");
    ck_fails(sol_packed_model_from(ctx, &p, a.file.model, &a.file.quant, SOL_F32, NULL, err),
             SOL_ERR_UNSUPPORTED, "absmean");
    a.file.quant = small_spec();
    a.file.quant.group_size = 48;
    ck_fails(sol_packed_model_from(ctx, &p, a.file.model, &a.file.quant, SOL_F32, NULL, err),
             SOL_ERR_SHAPE, "q_proj");
    ck_ok(sol_file_write(path, "not a file of ours, by far", 26, err));
    ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), SOL_ERR_FORMAT, "is not an HDF5 file");
    ck_fails(sol_store_kind(path, &kind, err), SOL_ERR_FORMAT, "is not an HDF5 file");
    ck_ok(sol_file_write(path, "", 0, err));
    ck_fails(sol_store_kind(path, &kind, err), SOL_ERR_FORMAT, "is not an HDF5 file");
    ck_fails(sol_store_kind("/nonexistent/x.h5", &kind, err), SOL_ERR_IO, "/nonexistent/x.h5");
    ck_fails(sol_test_write_checkpoint(&a, "/nonexistent/x.h5", SOL_F32, err), SOL_ERR_IO,
             "/nonexistent/x.h5");
    sol_checkpoint_free(&a);
}
END_TEST

/* A model file whose tree is edited before it is written: what the schema forbids although all
 * checksums are right. */
static void write_model_with(void (*edit)(sol_h5_writer *w), const char *skip)
{
    sol_h5_writer *w;
    int id;
    int64_t dims[2] = {40, 64}, C = 64;
    ck_ok(sol_h5_create(&w, path, "solera-checkpoint", err));
    ck_ok(sol_h5_group(w, "/model", &id, err));
    ck_ok(sol_h5_set_text(w, id, "model_type", "llama", err));
    static const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"vocab_size", 40},         {"hidden_size", 64},
                {"intermediate_size", 128}, {"num_hidden_layers", 1},
                {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                {"head_dim", 16},           {"max_position_embeddings", 32},
                {"tie_word_embeddings", 1}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (strcmp(skip, ints[i].name) != 0)
            ck_ok(sol_h5_set_i64(w, id, ints[i].name, ints[i].value, err));
    ck_ok(sol_h5_set_f64(w, id, "rms_norm_eps", 1e-5, err));
    ck_ok(sol_h5_set_f64(w, id, "rope_theta", 1e4, err));
    ck_ok(sol_h5_group(w, "/params", &id, err));
    ck_ok(sol_h5_dataset(w, "/params/model.embed_tokens.weight", SOL_H5_F32, 2, dims, &id, err));
    ck_ok(sol_h5_dataset(w, "/params/model.norm.weight", SOL_H5_F32, 1, &C, &id, err));
    int last = id;
    if (edit) edit(w);
    float *zeros;
    ck_ok(sol_alloc_array((void **)&zeros, 40 * 64, sizeof *zeros, err));
    ck_ok(sol_h5_begin(w, err));
    ck_ok(sol_h5_append(w, last - 1, zeros, 40 * 64 * 4, err));
    ck_ok(sol_h5_append(w, last, zeros, 64 * 4, err));
    ck_ok(sol_h5_commit(&w, err));
    sol_free(zeros);
}

static void huge_vocab(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_i64(w, 1, "vocab_size", 1 << 25, err));
}
static void zero_heads(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_i64(w, 1, "num_attention_heads", 0, err));
}
static void many_layers(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_i64(w, 1, "num_hidden_layers", 4000, err));
}
static void nan_eps(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_f64(w, 1, "rms_norm_eps", NAN, err));
}
static void text_theta(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_text(w, 1, "rope_theta", "1e4", err));
}
static void version_2(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_i64(w, 0, "version", 2, err));
}
static void other_family(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_text(w, 1, "model_type", "gptneox", err));
}

static void put_windows(sol_h5_writer *w, int64_t seq, const char *documents, const char *bos)
{
    int id;
    ck_ok(sol_h5_group(w, "/evaluation", &id, err));
    ck_ok(sol_h5_set_i64(w, id, "seq", seq, err));
    ck_ok(sol_h5_set_i64(w, id, "windows", 0, err));
    ck_ok(sol_h5_set_text(w, id, "documents", documents, err));
    ck_ok(sol_h5_set_text(w, id, "bos", bos, err));
}

static void no_seq(sol_h5_writer *w)
{
    put_windows(w, 0, "apart", "none");
}
static void other_join(sol_h5_writer *w)
{
    put_windows(w, 8, "mixed", "none");
}
static void other_bos(sol_h5_writer *w)
{
    put_windows(w, 8, "apart", "each");
}

START_TEST(hostile_models)
{
    static const struct {
        void (*edit)(sol_h5_writer *);
        sol_status status;
        const char *text;
    } cases[] = {
        {NULL, SOL_ERR_SHAPE, "num_hidden_layers is 1, but there are only"},
        {zero_heads, SOL_ERR_RANGE, "num_attention_heads is 0"},
        {many_layers, SOL_ERR_SHAPE, "num_hidden_layers is 4000"},
        {nan_eps, SOL_ERR_RANGE, "rms_norm_eps"},
        {text_theta, SOL_ERR_FORMAT, "attribute rope_theta has type string, expected float64"},
        {version_2, SOL_ERR_UNSUPPORTED, "version 2"},
        {other_family, SOL_ERR_UNSUPPORTED, "gptneox"},
    };
    sol_checkpoint c;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_model_with(cases[i].edit, "");
        ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), cases[i].status, cases[i].text);
    }
    write_model_with(NULL, "head_dim");
    ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), SOL_ERR_FORMAT,
             "/model: has no attribute head_dim");
}
END_TEST

START_TEST(windows_that_are_not_understood)
{
    sol_windows w;
    write_model_with(no_seq, "");
    ck_fails(sol_store_read_windows(path, &w, err), SOL_ERR_RANGE, "seq is 0");
    write_model_with(other_join, "");
    ck_fails(sol_store_read_windows(path, &w, err), SOL_ERR_FORMAT,
             "documents is 'mixed', expected joined or apart");
    write_model_with(other_bos, "");
    ck_fails(sol_store_read_windows(path, &w, err), SOL_ERR_FORMAT, "bos is 'each', expected none");
    write_model_with(NULL, "");
    ck_ok(sol_store_read_windows(path, &w, err));
    check_windows(&w, 0, 0, false);
}
END_TEST

static void add_blocks(sol_h5_writer *w, bool wrong, bool stranger)
{
    sol_model *table;
    sol_model_config c = small_config(true, false);
    int id;
    c.num_hidden_layers = 1;
    ck_ok(sol_model_describe(&table, &c, SOL_F32, err));
    for (int i = 0; i < table->n_block; i++) {
        const sol_param *p = sol_model_block(table, 0) + i;
        char name[128];
        int64_t dims[2] = {p->rows, p->cols};
        snprintf(name, sizeof name, "/params/%s", p->name);
        if (wrong && p->role == SOL_ROLE_K)
            dims[1] = 0;
        else
            dims[0] = 0; /* shapes are compared before anything is filled: empty ones keep the test
                            small */
        ck_ok(sol_h5_dataset(w, name, SOL_H5_F32, 2, dims, &id, err));
    }
    int64_t none = 0;
    if (stranger)
        ck_ok(sol_h5_dataset(w, "/params/adapter.weight", SOL_H5_F32, 1, &none, &id, err));
    sol_model_free(&table);
}

static void wrong_shapes(sol_h5_writer *w)
{
    add_blocks(w, true, true);
}
static void huge_with_blocks(sol_h5_writer *w)
{
    huge_vocab(w);
    add_blocks(w, false, false);
}

static void wide_and_packed(sol_h5_writer *w)
{
    ck_ok(sol_h5_set_text(w, 0, "format", "solera-packed", err));
    ck_ok(sol_h5_set_i64(w, 1, "hidden_size", 6000, err));
    add_blocks(w, false, false);
}

START_TEST(shapes_before_memory)
{
    sol_checkpoint c;
    sol_packed_model packed;
    write_model_with(wide_and_packed, "");
    ck_fails(sol_packed_model_read(&packed, path, err), SOL_ERR_SHAPE,
             "/model: norms and biases of this configuration take 72000 bytes, the file has ");
    write_model_with(wrong_shapes, "");
    ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), SOL_ERR_SHAPE, "expected [64]");
    write_model_with(huge_with_blocks, "");
    uint64_t before = sol_peak_rss();
    ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), SOL_ERR_SHAPE,
             "has shape [40, 64], expected [33554432, 64]");
    ck_assert_uint_lt(sol_peak_rss() - before, 64u << 20);
}
END_TEST

START_TEST(stranger_is_named)
{
    sol_checkpoint a, c;
    make_checkpoint(&a, small_config(true, false), SOL_F32);
    sol_model_config fewer = a.file.model->config;
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    /* The same parameters under a configuration with one layer less. */
    fewer.num_hidden_layers = 1;
    a.file.model->config = fewer;
    ck_ok(sol_test_write_checkpoint(&a, path, SOL_F32, err));
    ck_fails(sol_checkpoint_read(&c, path, SOL_F32, err), SOL_ERR_SHAPE,
             "/params/model.layers.1.input_layernorm.weight: is not a parameter of this model");
    a.file.model->config.num_hidden_layers = 2;
    sol_checkpoint_free(&a);
}
END_TEST

SOL_TEST_MAIN("store", tcase_add_checked_fixture(tc, setup, teardown);
              tcase_add_test(tc, checkpoint_round_trip); tcase_add_test(tc, progress_of_a_read);
              tcase_add_test(tc, moments_of_a_shard); tcase_add_test(tc, model_file_converts);
              tcase_add_test(tc, a_model_is_streamed_in_blocks_of_rows);
              tcase_add_test(tc, same_state_same_bytes); tcase_add_test(tc, packed_round_trip);
              tcase_add_test(tc, dataset_round_trip); tcase_add_test(tc, dataset_refuses);
              tcase_add_test(tc, digest_of_a_dataset); tcase_add_test(tc, a_model_is_described);
              tcase_add_test(tc, digest_of_a_model); tcase_add_test(tc, tokenizer_of_a_model);
              tcase_add_test(tc, wrong_kind_and_foreign); tcase_add_test(tc, hostile_models);
              tcase_add_test(tc, windows_that_are_not_understood);
              tcase_add_test(tc, shapes_before_memory); tcase_add_test(tc, stranger_is_named))
