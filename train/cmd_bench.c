/* solera bench: rates of decoding, prefill and training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_infer.h"
#include "bench_report.h"
#include "bench_train.h"
#include "open_net.h"

struct args {
    sol_net_args net;
    const char *shape, *embed_type;
    int64_t group, context, prompt;
    double seconds;
    bool json, train, report;
    int64_t batch, seq;
    sol_dtype compute;
    sol_dtype moments;
    sol_bench_teacher teacher;
};

static const sol_opt options[] = {
    {.name = "--shape",
     .value = "NAME",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, shape),
     .help = "random packed weights of this shape, where no MODEL is given: llama-3.2-1b (the "
             "default), smollm2-135m (the default "
             "of --train), ..."},
    {.name = "--group-size",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, group),
     .preset = "128",
     .min = 0,
     .max = 1e6,
     .without = "--train",
     .help = "of the random weights: columns a scale; 0: one scale a matrix"},
    {.name = "--embed-type",
     .value = "TYPE",
     .kind = SOL_OPT_TEXT,
     .offset = offsetof(struct args, embed_type),
     .preset = "q6",
     .choices = "f32|f16|q8|q6|q4",
     .without = "--train",
     .help = "of the random weights: embedding and head"},
    {.name = "--context",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, context),
     .min = 0,
     .max = 1e6,
     .without = "--train",
     .help = "decode behind N positions"},
    {.name = "--prompt",
     .value = "N",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, prompt),
     .preset = "512",
     .min = 1,
     .max = 1e6,
     .without = "--train",
     .help = "tokens of the prefill"},
    {.name = "--seconds",
     .value = "S",
     .kind = SOL_OPT_REAL,
     .offset = offsetof(struct args, seconds),
     .preset = "10",
     .min = 0.1,
     .max = 3600,
     .help = "how long to measure"},
    {.name = "--train",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, train),
     .help = "whole training steps of a model of random weights (--shape), instead of inference"},
    {.name = "--batch",
     .value = "B",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, batch),
     .preset = "4",
     .min = 1,
     .max = 4096,
     .with = "--train",
     .help = "--train: windows a step"},
    {.name = "--seq",
     .value = "T",
     .kind = SOL_OPT_INT,
     .offset = offsetof(struct args, seq),
     .preset = "256",
     .min = 1,
     .max = 65536,
     .with = "--train",
     .help = "--train: tokens a window"},
    {.name = "--compute",
     .value = "TYPE",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, compute),
     .preset = "fp32",
     .names = SOL_ENUM_TABLE(SOL_COMPUTE_DTYPES),
     .with = "--train",
     .help = "--train: as train.compute"},
    {.name = "--moments",
     .value = "TYPE",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, moments),
     .preset = "fp32",
     .names = SOL_ENUM_TABLE(SOL_MOMENTS),
     .with = "--train",
     .help = "--train: as optim.moments"},
    {.name = "--distill",
     .value = "TEACHER",
     .kind = SOL_OPT_ENUM,
     .offset = offsetof(struct args, teacher),
     .preset = "none",
     .names = SOL_ENUM_TABLE(SOL_BENCH_TEACHERS),
     .with = "--train",
     .help = "--train: in turns, steps with a teacher too"},
    {.name = "--report",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, report),
     .without = "--json|--train|--context|--prompt",
     .help = "all of it as one table in Markdown: memory, decoding, 32 texts side by side, prompts "
             "of 128, 512 and 4,096 tokens, training in fp32 and bf16; a few minutes"},
    {.name = "--json",
     .kind = SOL_OPT_FLAG,
     .offset = offsetof(struct args, json),
     .help = "print one JSON object"},
    SOL_NET_OPTIONS,
    {0},
};

typedef struct bench {
    const struct args *a;
    sol_bench_infer of;
    sol_packed_model packed; /* of random weights */
    double load_seconds;
} bench;

static sol_status open_net(bench *b, sol_program *p, sol_err *err)
{
    const struct args *a = b->a;
    sol_model_config c;
    sol_dtype type = SOL_Q4;
    double from = sol_clock();
    if (p->n_words) {
        if (a->shape)
            return sol_fail(err, SOL_ERR_USAGE, "--shape %s and a model file: one of them",
                            a->shape);
        if (sol_args_given(p, "--group-size|--embed-type"))
            return sol_fail(
                err, SOL_ERR_USAGE,
                "options '--group-size' and '--embed-type' have no effect with a model file");
        sol_status st = sol_program_net(p, &a->net, p->word[0], &b->of.net, err);
        b->load_seconds = sol_clock() - from;
        return st;
    }
    if (sol_args_given(p, "--full-precision|--weights"))
        return sol_fail(err, SOL_ERR_USAGE,
                        "options '--full-precision' and '--weights' have no effect without a model "
                        "file: random weights are packed");
    sol_status st = sol_model_config_named(a->shape ? a->shape : "llama-3.2-1b", &c, err);
    if (st == SOL_OK) st = sol_embed_type_from_name(a->embed_type, &type, err);
    if (st != SOL_OK) return st;
    sol_net_opts o = sol_program_net_opts(&a->net);
    return sol_bench_random_net(&b->of.net, &b->packed, b->of.ctx, &c, a->group, type, &o,
                                &b->load_seconds, err);
}

static void print(bench *b)
{
    sol_bench_infer *of = &b->of;
    const char *kind = sol_net_kind_name(sol_net_kind_of(of->net)),
               *tier = sol_tier_name(of->ctx->kernels.features);
    char features[SOL_CPU_TEXT];
    uint64_t bytes = sol_net_bytes_per_token(of->net);
    double decode = sol_bench_series_median(&of->decode),
           prefill = sol_bench_series_median(&of->prefill[0]), bandwidth = of->bandwidth.best,
           of_product = sol_bench_infer_product_share(of, 0),
           of_memory = sol_bench_infer_memory_share(of);
    char product[64] = "", memory[64] = "; decoding reads from caches, faster than that",
         number[2][32];
    if (isfinite(of_product))
        snprintf(product, sizeof product, "; %.0f %% of the rate of the product alone",
                 100 * of_product);
    if (isfinite(of_memory))
        snprintf(memory, sizeof memory, ", decoding uses %.0f %% of it", 100 * of_memory);
    int threads = sol_pool_threads(of->ctx->pool);
    if (b->a->json)
        printf(
            "{\"decode_tok_s\": %.3f, \"prefill_tok_s\": %.2f, \"gemm_share\": %s, \"threads\": "
            "%d, \"tier\": \"%s\", \"features\": \"%s\", "
            "\"bytes_per_token\": %llu, \"bandwidth_gb_s\": %.3f, \"bandwidth_share\": %s, "
            "\"context\": %lld, "
            "\"prompt\": %lld, \"model_kind\": \"%s\", \"load_seconds\": %.3f, \"rounds\": %d}\n",
            decode, prefill, sol_share_json(of_product, number[0]), threads, tier,
            sol_cpu_text(of->ctx->kernels.features, features), (unsigned long long)bytes,
            bandwidth / 1e9, sol_share_json(of_memory, number[1]), (long long)b->a->context,
            (long long)b->a->prompt, kind, b->load_seconds, of->decode.n);
    else
        printf("decode      %.1f tokens/s behind %lld positions\n"
               "prefill     %.1f tokens/s for %lld tokens%s\n"
               "weights     %.1f MB a token; memory reads %.1f GB/s%s\n"
               "model       %s, layout made in %.2f s\n"
               "kernels     %s, %d threads; medians of %d rounds\n",
               decode, (long long)b->a->context, prefill, (long long)b->a->prompt, product,
               (double)bytes / 1e6, bandwidth / 1e9, memory, kind, b->load_seconds, tier, threads,
               of->decode.n);
}

static sol_status run_train(sol_program *p, const struct args *a, sol_err *err)
{
    if (p->n_words)
        return sol_fail(err, SOL_ERR_USAGE, "bench --train takes a --shape, no model file: %s",
                        p->word[0]);
    if (sol_args_given(p, "--full-precision|--weights|--activations|--kv"))
        return sol_fail(
            err, SOL_ERR_USAGE,
            "options '--full-precision', '--weights', '--activations' and '--kv' have no effect "
            "with --train");
    sol_bench_train_opts o = {.shape = a->shape ? a->shape : "smollm2-135m",
                              .batch = a->batch,
                              .seq = a->seq,
                              .seconds = a->seconds,
                              .compute = a->compute,
                              .moments = a->moments,
                              .json = a->json,
                              .teacher = a->teacher};
    return sol_bench_train(p, &o, err);
}

/* ---- the report ---- */

/* Those of the usual lengths that the model has room for. */
static void choose_prompts(sol_bench_infer *b)
{
    static const int64_t usual[SOL_BENCH_PROMPTS] = {128, 512, 4096};
    for (int i = 0; i < SOL_BENCH_PROMPTS; i++)
        if (usual[i] <= sol_net_config(b->net)->max_position_embeddings)
            b->prompt[b->n_prompts++] = usual[i];
}

static sol_status report_inference(bench *b, sol_program *p, sol_err *err)
{
    const char *model = p->n_words ? p->word[0] : b->a->shape ? b->a->shape : "llama-3.2-1b";
    b->of.at_once = 32;
    SOL_TRY(open_net(b, p, err));
    choose_prompts(&b->of);
    SOL_TRY(sol_bench_infer_prepare(&b->of, err));
    SOL_TRY(sol_bench_infer_measure(&b->of, p, 3 * b->a->seconds, err));
    sol_live_clear(p);
    sol_bench_report_begin(&b->of, model, b->load_seconds);
    return SOL_OK;
}

static sol_status report_training(sol_program *p, const struct args *a, sol_err *err)
{
    sol_bench_train_opts o = {.shape = a->shape ? a->shape : "smollm2-135m",
                              .batch = a->batch,
                              .seq = a->seq,
                              .seconds = a->seconds,
                              .compute = SOL_F32,
                              .moments = SOL_F32,
                              .teacher = SOL_BENCH_TEACHER_NONE,
                              .row = true};
    SOL_TRY(sol_bench_train(p, &o, err));
    o.compute = SOL_BF16;
    return sol_bench_train(p, &o, err);
}

static void free_bench(bench *b)
{
    sol_bench_infer_free(&b->of);
    sol_net_free(&b->of.net);
    sol_packed_model_free(&b->packed);
}

/* Training after inference is gone: the two need no memory side by side. */
static sol_status run_report(sol_program *p, const struct args *a, sol_err *err)
{
    bench b = {.a = a};
    sol_interrupt_catch(false);
    sol_status st = sol_program_ctx(p, &b.of.ctx, err);
    if (st == SOL_OK) st = report_inference(&b, p, err);
    free_bench(&b);
    return st == SOL_OK ? report_training(p, a, err) : st;
}

static sol_status run(sol_program *p, void *argsp, sol_err *err)
{
    if (((struct args *)argsp)->report) return run_report(p, argsp, err);
    if (((struct args *)argsp)->train) return run_train(p, argsp, err);
    bench b = {.a = argsp, .of = {.n_prompts = 1}};
    b.of.prompt[0] = b.a->prompt;
    b.of.context = b.a->context;
    sol_interrupt_catch(false);
    sol_status st = sol_program_ctx(p, &b.of.ctx, err);
    if (st == SOL_OK) st = open_net(&b, p, err);
    if (st == SOL_OK) st = sol_bench_infer_prepare(&b.of, err);
    if (st == SOL_OK) st = sol_bench_infer_measure(&b.of, p, b.a->seconds, err);
    sol_live_clear(p);
    if (st == SOL_OK) print(&b);
    free_bench(&b);
    return st;
}

const sol_verb sol_verb_bench = {
    .name = "bench",
    .words = "[MODEL]",
    .min_words = 0,
    .max_words = 1,
    .takes_model = true,
    .summary = "speed of inference or training on this machine",
    .details = "Measures in turns, and gives medians: decoding one token after the other, prefill, "
               "reading of memory (as many bytes as a\n"
               "token needs), and the ternary product alone: of these two the best, tried until it "
               "grows no more. Shares are of that; where a\n"
               "model was faster (its weights stay in caches) there is none, in JSON null. Without "
               "MODEL the weights are random: their values\n"
               "change no time.\n"
               "--train: optimizer steps of 3:4 quantization-aware training, and in turns the same "
               "products of matrices alone;\n"
               "gemm_share is the part of a step that they would take. --distill: forward KL to a "
               "teacher of the same shape in memory (self,\n"
               "in bf16) or to 64 of its tokens a position (cache, without the reading of the "
               "file); distill_ratio: a step with to one without.",
    .options = options,
    .args_size = sizeof(struct args),
    .run = run,
};
