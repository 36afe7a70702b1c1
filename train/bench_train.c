/* The bench of training: steps of a model of random weights, and the products of a step alone in
 * turn. */
#include "bench_train.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "bench_report.h"
#include "bench_series.h"
#include "probe.h"

enum { MAX_OPS = 32, MAX_PRODUCTS = 32, CACHED_TOKENS = 64 };

/* ---- the products of a step alone ---- */

/* C[m, n] = op(A) op(B) as linear and head_loss call it, `count` times a step. */
typedef struct product {
    bool trans_a, trans_b;
    bool a_bf16, b_bf16; /* in a step in bf16 */
    int64_t m, n, k, count;
    sol_bench_series seconds;
} product;

typedef struct products {
    product list[MAX_PRODUCTS];
    int n;
    float *a, *b, *c;
    void *scratch; /* NULL: the products are of fp32 */
} products;

static void add_product(products *p, product x)
{
    for (int i = 0; i < p->n; i++) {
        product *q = &p->list[i];
        if (q->trans_a == x.trans_a && q->trans_b == x.trans_b && q->m == x.m && q->n == x.n &&
            q->k == x.k && q->b_bf16 == x.b_bf16) {
            q->count++;
            return;
        }
    }
    x.count = 1;
    if (p->n < MAX_PRODUCTS) p->list[p->n++] = x;
}

/* Y = X W^T, dX = dY W, dW = dY^T X for W [out, in]. In the blocks X and W are made in the type of
 * the products, those of the head are rounded on the way. */
static void add_linear(products *p, int64_t tokens, int64_t out, int64_t in, bool head)
{
    add_product(
        p, (product){
               .trans_b = true, .m = tokens, .n = out, .k = in, .a_bf16 = !head, .b_bf16 = !head});
    add_product(p, (product){.m = tokens, .n = in, .k = out, .b_bf16 = !head});
    add_product(p, (product){.trans_a = true, .m = out, .n = in, .k = tokens, .b_bf16 = !head});
}

static void list_products(products *p, const sol_model *m, int64_t tokens)
{
    const sol_param *head = sol_model_head(m);
    for (int i = 0; i < m->n_params; i++) {
        const sol_param *w = &m->params[i];
        if (w->kind == SOL_PARAM_LINEAR) add_linear(p, tokens, w->rows, w->cols, false);
    }
    add_linear(p, tokens, head->rows, head->cols, true);
}

static sol_status alloc_products(products *p, bool bf16, sol_err *err)
{
    int64_t a = 0, b = 0, c = 0;
    size_t scratch = 0;
    for (int i = 0; i < p->n; i++) {
        a = sol_max_i64(a, p->list[i].m * p->list[i].k);
        b = sol_max_i64(b, p->list[i].k * p->list[i].n);
        c = sol_max_i64(c, p->list[i].m * p->list[i].n);
        size_t bytes = sol_gemm_bf16_scratch(p->list[i].n, p->list[i].k);
        if (bytes > scratch) scratch = bytes;
    }
    SOL_TRY(sol_alloc_array((void **)&p->a, (size_t)a, sizeof *p->a, err));
    SOL_TRY(sol_alloc_array((void **)&p->b, (size_t)b, sizeof *p->b, err));
    SOL_TRY(sol_alloc_array((void **)&p->c, (size_t)c, sizeof *p->c, err));
    if (bf16) SOL_TRY(sol_alloc_array(&p->scratch, scratch, 1, err));
    for (int64_t i = 0; i < a; i++) p->a[i] = (float)(i % 7) - 3.0f;
    for (int64_t i = 0; i < b; i++) p->b[i] = (float)(i % 5) - 2.0f;
    return SOL_OK;
}

static void free_products(products *p)
{
    sol_free(p->a);
    sol_free(p->b);
    sol_free(p->c);
    sol_free(p->scratch);
}

static double product_flops(const product *q)
{
    return 2.0 * (double)q->m * (double)q->n * (double)q->k;
}

/* Measures each product once: the second of two calls counts, when the operands lie in the caches
 * as a step would have them. */
static void measure_products(products *p, const sol_ctx *ctx)
{
    for (int i = 0; i < p->n; i++) {
        product *q = &p->list[i];
        double took = 0;
        for (int turn = 0; turn < 2; turn++) {
            double from = sol_clock();
            sol_operand a = {p->a, q->trans_a ? q->m : q->k, q->trans_a, p->scratch && q->a_bf16};
            sol_operand b = {p->b, q->trans_b ? q->k : q->n, q->trans_b, p->scratch && q->b_bf16};
            if (p->scratch)
                sol_gemm_bf16(ctx, q->m, q->n, q->k, 1, &a, &b, 0, p->c, q->n, p->scratch);
            else
                sol_gemm(ctx, a.trans, b.trans, q->m, q->n, q->k, 1, a.data, a.ld, b.data, b.ld, 0,
                         p->c, q->n);
            took = sol_clock() - from;
        }
        sol_bench_series_add(&q->seconds, took);
    }
}

/* ---- the steps ---- */

/* Seconds of a step by kind of op; what is not an op of the tape comes last. */
typedef struct profile {
    double at; /* sol_clock() of the last call's end */
    double forward[MAX_OPS], backward[MAX_OPS], clip, update;
} profile;

/* Steps that learn from a teacher; graph NULL: none were asked for. */
typedef struct taught {
    sol_teacher *teacher; /* NULL: a cache */
    sol_graph *graph;
    sol_bench_series step;
} taught;

typedef struct bench {
    const sol_bench_train_opts *o;
    sol_ctx *ctx;
    sol_model_config config;
    sol_model *model;
    sol_graph *graph;
    sol_adamw *optim;
    int32_t *tokens, *targets;
    products products;
    sol_bench_series step;
    profile profile; /* of the steps without a teacher */
    int steps;       /* in the profile */
    taught taught;
    uint64_t memory; /* at most, before the products got theirs */
} bench;

static void add_time(void *user, const sol_op *op, bool backward)
{
    profile *p = user;
    double now = sol_clock();
    for (int i = 0; i < sol_op_count() && i < MAX_OPS; i++)
        if (sol_op_at(i) == op) *(backward ? &p->backward[i] : &p->forward[i]) += now - p->at;
    p->at = now;
}

static double passed(profile *p)
{
    double from = p->at;
    p->at = sol_clock();
    return p->at - from;
}

/* What sol_trainer_step does with its batch. */
static double run_step(bench *b, sol_graph *g, profile *p)
{
    double begun = sol_clock(), loss;
    int64_t counted;
    p->at = begun;
    sol_graph_begin_step(g, (sol_residual_mix){1, 0.5f}, 1);
    sol_graph_accumulate(g, b->tokens, b->targets, NULL, 1.0f / (float)(b->o->batch * b->o->seq),
                         &loss, &counted);
    passed(p);
    double norm = sol_global_norm(b->ctx, sol_graph_grads(g), b->model->n_elements);
    p->clip += passed(p);
    sol_adamw_update(b->ctx, b->optim, b->model, sol_graph_grads(g), sol_clip_scale(norm, 1),
                     1e-4f);
    p->update += passed(p);
    return p->at - begun;
}

/* 128 weights a scale where that divides the width of every layer, else 64 or 32. */
static int64_t group_size(const sol_model_config *c)
{
    int64_t q = c->num_attention_heads * c->head_dim, g = 128;
    while (g > 32 && (c->hidden_size % g || c->intermediate_size % g || q % g)) g /= 2;
    return g;
}

/* The same job with a teacher: the model as it starts, or the k most probable tokens of a cache. */
static sol_status prepare_taught(bench *b, const sol_quant_spec *spec, const sol_graph_opts *plain,
                                 sol_err *err)
{
    sol_distill d = {.kind = SOL_DISTILL_FORWARD_KL, .temperature = 1, .weight = 1};
    sol_graph_opts o = *plain;
    sol_status st = SOL_OK;
    if (b->o->teacher == SOL_BENCH_TEACHER_NONE) return SOL_OK;
    bool cache = b->o->teacher == SOL_BENCH_TEACHER_CACHE;
    if (cache) d.top_k = sol_min_i64(b->config.vocab_size, CACHED_TOKENS);
    if (cache) d.samples = d.top_k / 4;
    if (!cache) st = sol_teacher_create(&b->taught.teacher, b->ctx, b->model, SOL_BF16, err);
    o.distill = &d;
    o.teacher = b->taught.teacher;
    if (st == SOL_OK) st = sol_graph_create(&b->taught.graph, b->ctx, b->model, spec, &o, err);
    if (st != SOL_OK || !cache) return st;
    int32_t *ids;
    float *probs;
    sol_graph_cached_inputs(b->taught.graph, &ids, &probs);
    for (int64_t n = 0; n < b->o->batch * b->o->seq; n++) {
        for (int64_t i = 0; i < d.top_k; i++)
            ids[n * d.top_k + i] = (int32_t)((n + i) % b->config.vocab_size);
        for (int64_t i = 0; i <= d.top_k; i++)
            probs[n * (d.top_k + 1) + i] = 1.0f / (float)(d.top_k + 1);
    }
    return SOL_OK;
}

static sol_status prepare(bench *b, sol_err *err)
{
    const sol_bench_train_opts *o = b->o;
    sol_quant_spec spec = {.method = sol_quantizer_find("sherry"), .granularity = SOL_PER_GROUP};
    sol_graph_opts g = {.batch = o->batch, .seq = o->seq, .one_batch = true, .compute = o->compute};
    sol_adamw_config adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .moments = o->moments};
    int64_t n = o->batch * o->seq;
    SOL_TRY(sol_model_config_named(o->shape, &b->config, err));
    SOL_TRY(sol_model_create(&b->model, &b->config, SOL_F32, err));
    sol_model_init_random(b->ctx, b->model, 1);
    spec.group_size = group_size(&b->config);
    SOL_TRY(sol_graph_create(&b->graph, b->ctx, b->model, &spec, &g, err));
    SOL_TRY(prepare_taught(b, &spec, &g, err));
    SOL_TRY(sol_adamw_create(&b->optim, b->model, &adamw, err));
    SOL_TRY(sol_alloc_array((void **)&b->tokens, (size_t)n, sizeof *b->tokens, err));
    SOL_TRY(sol_alloc_array((void **)&b->targets, (size_t)n, sizeof *b->targets, err));
    sol_rng rng = sol_rng_make(1, SOL_STREAM_TEST);
    for (int64_t i = 0; i < n; i++) {
        b->tokens[i] = (int32_t)(sol_rng_uniform(&rng) * (float)b->config.vocab_size);
        b->targets[i] = (int32_t)(sol_rng_uniform(&rng) * (float)b->config.vocab_size);
    }
    return SOL_OK;
}

/* Steps and products alternate, so that a slow moment of the machine meets both. */
static sol_status measure(bench *b, sol_program *p, sol_err *err)
{
    double end = sol_clock() + b->o->seconds;
    profile unread = {0};
    run_step(b, b->graph, &b->profile);
    if (b->taught.graph) run_step(b, b->taught.graph, &unread);
    b->memory = sol_peak_rss();
    SOL_TRY(alloc_products(&b->products, b->o->compute == SOL_BF16, err));
    b->profile = (profile){0};
    sol_graph_trace(b->graph, add_time, &b->profile);
    for (int round = 0; round < 2 || sol_clock() < end; round++) {
        if (sol_interrupted()) return sol_fail(err, SOL_ERR_INTERRUPTED, "interrupted");
        sol_live_show(p, false, "bench: round %d", round + 1);
        measure_products(&b->products, b->ctx);
        sol_bench_series_add(&b->step, run_step(b, b->graph, &b->profile));
        b->steps++;
        if (b->taught.graph)
            sol_bench_series_add(&b->taught.step, run_step(b, b->taught.graph, &unread));
    }
    return SOL_OK;
}

/* ---- the result ---- */

typedef struct result {
    double step;      /* seconds */
    double tokens;    /* of a step */
    double executed;  /* operations of its products, those inside attention too */
    double six_n;     /* 6 N a token for N weights */
    double gemm_rate; /* operations a second of the products alone */
    double share; /* of the step in products at that rate; NaN: they were slower than the step */
    double distill_ratio; /* a step with a teacher to one without; 0: not asked for */
    uint64_t memory;
} result;

/* Attention: two products forward and five backward, over T / 2 positions on average. */
static result evaluate(bench *b)
{
    result r = {.step = sol_bench_series_median(&b->step),
                .tokens = (double)(b->o->batch * b->o->seq)};
    double alone = 0, with_weights = 0;
    const sol_model_config *c = &b->config;
    for (int i = 0; i < b->products.n; i++) {
        product *q = &b->products.list[i];
        with_weights += (double)q->count * product_flops(q);
        alone += (double)q->count * sol_bench_series_median(&q->seconds);
    }
    r.six_n = 6 * (double)b->model->n_weights * r.tokens;
    r.executed = with_weights + 7 * r.tokens *
                                    (double)(b->o->seq * c->num_attention_heads * c->head_dim *
                                             c->num_hidden_layers);
    r.gemm_rate = with_weights / alone;
    r.share = sol_probe_share(alone, r.step);
    r.memory = b->memory;
    if (b->taught.graph) r.distill_ratio = sol_bench_series_median(&b->taught.step) / r.step;
    return r;
}

static const char *teacher_name(const sol_bench_train_opts *o)
{
    return sol_enum_name(SOL_ENUM_TABLE(SOL_BENCH_TEACHERS), (int)o->teacher);
}

static const char *compute_name(const sol_bench_train_opts *o)
{
    return sol_enum_name(SOL_ENUM_TABLE(SOL_COMPUTE_DTYPES), (int)o->compute);
}

static void print_json(const bench *b, const result *r)
{
    char share[32];
    printf("{\"train_tok_s\": %.2f, \"step_seconds\": %.6f, \"gflops_6n\": %.2f, "
           "\"gflops_executed\": %.2f, \"gemm_gflops\": %.2f, "
           "\"gemm_share\": %s, \"peak_memory_bytes\": %" PRIu64
           ", \"compute\": \"%s\", \"moments\": \"%s\", \"shape\": \"%s\", \"batch\": %" PRId64
           ", \"seq\": %" PRId64 ", \"threads\": %d, \"tier\": \"%s\", \"rounds\": %d, ",
           r->tokens / r->step, r->step, r->six_n / r->step / 1e9, r->executed / r->step / 1e9,
           r->gemm_rate / 1e9, sol_share_json(r->share, share), r->memory, compute_name(b->o),
           sol_enum_name(SOL_ENUM_TABLE(SOL_MOMENTS), b->o->moments), b->o->shape, b->o->batch,
           b->o->seq, sol_pool_threads(b->ctx->pool), sol_tier_name(b->ctx->kernels.features),
           b->step.n);
    if (b->taught.graph)
        printf("\"distill\": \"%s\", \"distill_ratio\": %.4f, ", teacher_name(b->o),
               r->distill_ratio);
    printf("\"profile\": {");
    for (int i = 0; i < sol_op_count() && i < MAX_OPS; i++)
        if (b->profile.forward[i] + b->profile.backward[i] > 0)
            printf("\"%s\": [%.6f, %.6f], ", sol_op_at(i)->name, b->profile.forward[i] / b->steps,
                   b->profile.backward[i] / b->steps);
    printf("\"norm\": [%.6f, 0], \"adamw\": [%.6f, 0]}}\n", b->profile.clip / b->steps,
           b->profile.update / b->steps);
}

static void print_op(const bench *b, const char *name, double forward, double backward)
{
    double total = 0;
    for (int i = 0; i < MAX_OPS; i++) total += b->profile.forward[i] + b->profile.backward[i];
    total += b->profile.clip + b->profile.update;
    if (forward + backward > 0)
        printf("  %-12s %9.2f %9.2f %6.1f\n", name, 1e3 * forward / b->steps,
               1e3 * backward / b->steps, 100 * (forward + backward) / total);
}

static void print_text(const bench *b, const result *r)
{
    char memory[32], share[64] = "";
    if (isfinite(r->share))
        snprintf(share, sizeof share, " and would take %.0f %% of the step", 100 * r->share);
    printf("training    %.0f tokens/s; a step of %.0f tokens takes %.3f s\n"
           "arithmetic  %.1f GFLOP/s; the products alone reach %.1f%s\n"
           "memory      at most %s\n"
           "kernels     %s, products in %s by %s, %d threads; medians of %d rounds\n",
           r->tokens / r->step, r->tokens, r->step, r->executed / r->step / 1e9, r->gemm_rate / 1e9,
           share, sol_bytes_text((double)r->memory, memory),
           sol_tier_name(b->ctx->kernels.features), compute_name(b->o),
           b->o->compute == SOL_BF16 ? sol_gemm_bf16_kernel(b->ctx) : sol_gemm_library(),
           sol_pool_threads(b->ctx->pool), b->step.n);
    if (b->taught.graph)
        printf("with a teacher (%s) a step takes %.2f times as long\n", teacher_name(b->o),
               r->distill_ratio);
    puts("ms a step      forward  backward      %");
    for (int i = 0; i < sol_op_count() && i < MAX_OPS; i++)
        print_op(b, sol_op_at(i)->name, b->profile.forward[i], b->profile.backward[i]);
    print_op(b, "norm", b->profile.clip, 0);
    print_op(b, "adamw", b->profile.update, 0);
}

/* A step's seconds as a rate: the slowest step is the lowest. */
static void print_row(bench *b, const result *r)
{
    char what[96], share[64] = "";
    double slow = sol_bench_series_quantile(&b->step, 0.9),
           fast = sol_bench_series_quantile(&b->step, 0.1);
    snprintf(what, sizeof what, "train %s, %lld x %lld, %s", b->o->shape, (long long)b->o->batch,
             (long long)b->o->seq, compute_name(b->o));
    if (isfinite(r->share)) snprintf(share, sizeof share, "%.2f of a step in products", r->share);
    sol_bench_report_row(what, r->tokens / r->step, r->tokens / slow, r->tokens / fast, "tokens/s",
                         share);
}

sol_status sol_bench_train(sol_program *p, const sol_bench_train_opts *o, sol_err *err)
{
    bench b = {.o = o};
    sol_interrupt_catch(false);
    sol_status st = sol_program_ctx(p, &b.ctx, err);
    if (st == SOL_OK) st = prepare(&b, err);
    if (st == SOL_OK) list_products(&b.products, b.model, o->batch * o->seq);
    if (st == SOL_OK) st = measure(&b, p, err);
    sol_live_clear(p);
    if (st == SOL_OK) {
        result r = evaluate(&b);
        if (o->row)
            print_row(&b, &r);
        else if (o->json)
            print_json(&b, &r);
        else
            print_text(&b, &r);
    }
    free_products(&b.products);
    sol_free(b.tokens);
    sol_free(b.targets);
    sol_adamw_free(&b.optim);
    sol_graph_free(&b.taught.graph);
    sol_teacher_free(&b.taught.teacher);
    sol_graph_free(&b.graph);
    sol_model_free(&b.model);
    return st;
}
