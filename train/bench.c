/* What the verb bench measures: a network of random packed weights, the rate of memory, a
 * product alone. */
#include "bench.h"

#include <string.h>

#include "base/mem.h"

/* ---- a network of random weights ---- */

/* Random bytes, the same for a seed. */
static void fill_random(void *to, size_t bytes, uint64_t seed)
{
    uint32_t word[4];
    for (size_t at = 0; at < bytes; at += sizeof word) {
        sol_philox4x32(seed, SOL_STREAM_INIT, at / sizeof word, word);
        memcpy((char *)to + at, word, bytes - at < sizeof word ? bytes - at : sizeof word);
    }
}

static void fill_scales(sol_f16 *scales, size_t n, float around, uint64_t seed)
{
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_INIT);
    for (size_t i = 0; i < n; i++)
        scales[i] = sol_f32_to_f16(around * (0.5f + sol_rng_uniform(&rng)));
}

static sol_status random_linear(sol_stored *m, int64_t rows, int64_t cols, int64_t group_size,
                                uint64_t seed, sol_err *err)
{
    *m = (sol_stored){.rows = rows, .cols = cols, .group_size = group_size};
    SOL_TRY(sol_packed_alloc(m, err));
    fill_random(m->data, sol_packed_code_bytes(rows, cols), seed);
    fill_random(m->signs, sol_packed_sign_bytes(rows, cols), seed + 1);
    fill_scales(m->scales, (size_t)sol_packed_scale_count(m), 0.02f, seed + 2);
    return SOL_OK;
}

static sol_status random_dense(sol_stored *d, sol_dtype type, int64_t rows, int64_t cols,
                               uint64_t seed, sol_err *err)
{
    *d = (sol_stored){.type = type, .rows = rows, .cols = cols};
    SOL_TRY(sol_stored_alloc(d, err));
    sol_rng rng = sol_rng_make(seed, SOL_STREAM_INIT);
    if (type == SOL_F32)
        for (int64_t i = 0; i < rows * cols; i++)
            ((float *)d->data)[i] = 0.04f * (sol_rng_uniform(&rng) - 0.5f);
    else if (type == SOL_F16)
        for (int64_t i = 0; i < rows * cols; i++)
            ((sol_f16 *)d->data)[i] = sol_f32_to_f16(0.04f * (sol_rng_uniform(&rng) - 0.5f));
    else
        fill_random(d->data, sol_stored_bytes(d), seed);
    fill_scales(d->scales, sol_stored_scale_bytes(d) / sizeof(sol_f16), 0.005f, seed + 1);
    return SOL_OK;
}

static sol_status random_packed(sol_packed_model *p, const sol_model_config *c, int64_t group_size,
                                sol_dtype embed_type, sol_err *err)
{
    int seed = 0;
    *p = (sol_packed_model){0};
    SOL_TRY(sol_packed_model_begin(p, c, err));
    for (int i = 0; i < p->table->n_params; i++) {
        const sol_param *q = &p->table->params[i];
        if (p->vector[i])
            for (int64_t k = 0; k < q->cols; k++) p->vector[i][k] = 1;
        if (!q->quantized) continue;
        if (group_size && q->cols % group_size != 0)
            return sol_fail(err, SOL_ERR_USAGE,
                            "--group-size %lld does not divide the width %lld of %s",
                            (long long)group_size, (long long)q->cols, q->name);
        SOL_TRY(
            random_linear(&p->matrix[i], q->rows, q->cols, group_size, 16 * (uint64_t)seed++, err));
    }
    const sol_stored *embed = sol_packed_matrix(p, -1, SOL_ROLE_EMBED),
                     *head = sol_packed_matrix(p, -1, SOL_ROLE_HEAD);
    SOL_TRY(random_dense(&p->matrix[embed - p->matrix], embed_type, c->vocab_size, c->hidden_size,
                         7, err));
    if (head)
        SOL_TRY(random_dense(&p->matrix[head - p->matrix], embed_type, c->vocab_size,
                             c->hidden_size, 9, err));
    return SOL_OK;
}

sol_status sol_bench_random_net(sol_net **net, sol_packed_model *packed, sol_ctx *ctx,
                                const sol_model_config *c, int64_t group_size, sol_dtype embed_type,
                                const sol_net_opts *o, double *load_seconds, sol_err *err)
{
    *net = NULL;
    sol_status st = random_packed(packed, c, group_size, embed_type, err);
    double from = sol_clock();
    if (st == SOL_OK) st = sol_net_from_packed(net, ctx, packed, o, err);
    *load_seconds = sol_clock() - from;
    /* The net has the linears in its own layout now. */
    if (packed->matrix)
        for (int i = 0; i < packed->table->n_params; i++)
            if (packed->matrix[i].type == SOL_TERNARY) sol_stored_free(&packed->matrix[i]);
    if (st != SOL_OK) sol_packed_model_free(packed);
    return st;
}

/* ---- memory ---- */

/* Ways to read a share: as one stream or as several side by side, with or without asking for lines
 * ahead. Which is fastest differs between processors. */
static const struct {
    int streams;
    bool prefetch;
} read_ways[] = {{1, false}, {1, true}, {2, true}, {4, true}};
enum { READ_WAYS = sizeof read_ways / sizeof read_ways[0], READ_STEP = 256 };

typedef struct read_args {
    const sol_bench_memory *m;
    int64_t shares;
    int way;
    uint64_t sum[64];
} read_args;

typedef uint64_t words __attribute__((vector_size(64)));

/* Not instrumented in sanitizer builds, where that would be most of what the tests wait for. */
#define PLAIN_READS __attribute__((no_sanitize("thread", "address")))

PLAIN_READS static inline void read_step(const uint8_t *p, bool prefetch, words sum[4])
{
    for (int k = 0; k < 4; k++) {
        words v;
        if (prefetch) __builtin_prefetch(p + 64 * k + 1536);
        memcpy(&v, p + 64 * k, sizeof v);
        sum[k] += v;
    }
}

PLAIN_READS static void read_share(void *arg, int64_t i, int thread)
{
    read_args *a = arg;
    int streams = read_ways[a->way].streams;
    size_t length = a->m->bytes / (size_t)(a->shares * streams) / READ_STEP * READ_STEP;
    const uint8_t *p = a->m->data + (size_t)i * length * (size_t)streams;
    words sum[4] = {{0}};
    (void)thread;
    for (size_t at = 0; at < length; at += READ_STEP)
        for (int s = 0; s < streams; s++)
            read_step(p + (size_t)s * length + at, read_ways[a->way].prefetch, sum);
    sum[0] += sum[1] + sum[2] + sum[3];
    a->sum[i % 64] = sum[0][0] + sum[0][3];
}

sol_status sol_bench_memory_create(sol_bench_memory *m, size_t bytes, sol_err *err)
{
    m->bytes = bytes;
    SOL_TRY(sol_alloc_array((void **)&m->data, bytes, 1, err));
    memset(m->data, 1, bytes);
    return SOL_OK;
}

void sol_bench_memory_free(sol_bench_memory *m)
{
    sol_free(m->data);
    *m = (sol_bench_memory){0};
}

double sol_bench_memory_rate(const sol_bench_memory *m, const sol_ctx *ctx)
{
    double best = 1e30;
    for (int way = 0; way < READ_WAYS; way++) {
        read_args a = {.m = m, .shares = sol_pool_threads(ctx->pool), .way = way};
        double from = sol_clock();
        sol_pool_run(ctx->pool, a.shares, read_share, &a);
        double took = sol_clock() - from;
        best = took < best ? took : best;
    }
    return (double)m->bytes / best;
}

/* ---- the product alone ---- */

static sol_status random_matrix(sol_matrix **out, const sol_ctx *ctx, int64_t rows, int64_t cols,
                                int64_t group_size, sol_err *err)
{
    sol_stored m = {0};
    sol_status st = random_linear(&m, rows, cols, group_size, 3, err);
    if (st == SOL_OK) st = sol_matrix_prepare(out, ctx, &m, 1, NULL, NULL, err);
    sol_stored_free(&m);
    return st;
}

static sol_status create_product(sol_bench_product *b, const sol_ctx *ctx, int64_t rows,
                                 int64_t cols, int64_t group_size, sol_err *err)
{
    int64_t n = b->n;
    SOL_TRY(random_matrix(&b->m, ctx, rows, cols, group_size, err));
    SOL_TRY(sol_alloc_array((void **)&b->x, (size_t)(n * cols), sizeof(float), err));
    SOL_TRY(sol_alloc_array((void **)&b->y, (size_t)(n * rows), sizeof(float), err));
    SOL_TRY(sol_alloc_array(&b->scratch, sol_matrix_scratch_bytes(ctx, b->m, n), 1, err));
    for (int64_t i = 0; i < n * cols; i++) b->x[i] = (float)(i % 255) - 127;
    return SOL_OK;
}

sol_status sol_bench_product_create(sol_bench_product *b, const sol_ctx *ctx, int64_t rows,
                                    int64_t cols, int64_t group_size, int64_t n, sol_err *err)
{
    *b = (sol_bench_product){.n = n};
    sol_status st = create_product(b, ctx, rows, cols, group_size, err);
    if (st != SOL_OK) sol_bench_product_free(b);
    return st;
}

void sol_bench_product_free(sol_bench_product *b)
{
    sol_matrix_free(&b->m);
    sol_free(b->x);
    sol_free(b->y);
    sol_free(b->scratch);
    *b = (sol_bench_product){0};
}

double sol_bench_product_rate(const sol_bench_product *b, const sol_ctx *ctx)
{
    double from = sol_clock();
    sol_matrix_matmul(ctx, b->m, SOL_ACT_INT8, b->x, b->n, b->y, b->scratch);
    double took = sol_clock() - from;
    return (double)sol_matrix_rows(b->m) * (double)sol_matrix_cols(b->m) * (double)b->n / took;
}
